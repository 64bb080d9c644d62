//! The programs of `tool` between network namespaces of this machine.
//!
//! Needs root, network namespaces, veth and TUN; says `skipped: reason` where
//! one of them is missing.
#![expect(clippy::print_stdout, reason = "tests tell what they measured")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use emulate::tool::clock::now_ns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::{Value, json};

/// Why these tests cannot run here.
fn obstacle() -> Option<String> {
    if !geteuid().is_root() {
        return Some("not root".into());
    }
    let tun = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    if let Err(error) = tun {
        return Some(format!("/dev/net/tun: {error}"));
    }
    let lab = std::panic::catch_unwind(|| {
        let lab = Lab::new(&["x", "y"]);
        lab.join("x", "xy", "y", "yx");
    });
    lab.err().map(|_| "no network namespaces with veth".into())
}

/// These tests measure time, so they run one after the other.
static TURN: Mutex<()> = Mutex::new(());

/// The turn to go on, if that is possible.
fn turn() -> Option<MutexGuard<'static, ()>> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let obstacle = obstacle();
    if let Some(reason) = &obstacle {
        println!("skipped: {reason}");
    }
    obstacle.is_none().then_some(turn)
}

/// Namespaces that are gone when this is dropped.
struct Lab {
    prefix: String,
    names: Vec<String>,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    fn new(names: &[&str]) -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let mut lab = Self {
            prefix: format!("watari-{}-{number}", std::process::id()),
            names: Vec::new(),
        };
        for name in names {
            let name = lab.name(name);
            batch(&[], &format!("netns add {name}\n"));
            batch(&["-n", &name], "link set lo up\n");
            lab.names.push(name);
        }
        lab
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// A veth pair from a device in one namespace to one in another.
    fn join(&self, one: &str, device: &str, other: &str, peer: &str) {
        let (one, other) = (self.name(one), self.name(other));
        let line = format!(
            "link add name {device} netns {one} type veth peer name {peer} netns {other}\n"
        );
        batch(&[], &line);
    }

    /// Runs lines of `ip` in a namespace.
    fn ip(&self, name: &str, lines: &str) {
        batch(&["-n", &self.name(name)], lines);
    }

    fn forward(&self, name: &str) {
        let status = Command::new("ip")
            .args(["netns", "exec", &self.name(name)])
            .args(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Starts a program in a namespace.
    fn start(&self, name: &str, arguments: &[&str]) -> Program {
        Program::new(&["ip", "netns", "exec", &self.name(name)], arguments)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            // Nothing more can be done about one that stays.
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn batch(options: &[&str], lines: &str) {
    let mut child = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "ip refused: {lines}");
}

/// A program under way, ended at the latest when this is dropped.
struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    fn new(before: &[&str], arguments: &[&str]) -> Self {
        let mut child = Command::new("timeout")
            .arg("60")
            .args(before)
            .arg(env!("CARGO_BIN_EXE_watari-tool"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line with this event.
    fn event(&mut self, event: &str) -> Value {
        loop {
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).unwrap();
            assert!(length > 0, "the program ended without `{event}`");
            let object: Value = serde_json::from_str(&line).unwrap();
            if object["event"] == event {
                return object;
            }
        }
    }

    /// Its summary, which has to be the last line; it ends by itself.
    fn summary(mut self) -> Value {
        let summary = self.event("summary");
        let mut rest = String::new();
        assert_eq!(self.lines.read_line(&mut rest).unwrap(), 0, "{rest}");
        assert!(self.child.wait().unwrap().success());
        summary
    }

    fn stop(self) -> Value {
        self.signal();
        self.summary()
    }

    fn signal(&self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // It may have ended already.
        let _ = kill(pid, Signal::SIGTERM);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal();
            let _ = self.child.wait();
        }
    }
}

fn ns(object: &Value, field: &str) -> u64 {
    object[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field}: {object}"))
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[test]
fn a_probe_sees_a_hole_of_the_length_the_link_was_down() {
    let Some(_turn) = turn() else {
        return;
    };
    let lab = Lab::new(&["in", "out"]);
    lab.join("in", "eth0", "out", "eth0");
    // Fixed neighbours: the first answer would wait for ARP for up to a second.
    let setup = |own: u8, other: u8| {
        format!(
            "link set dev eth0 address 02:00:00:00:00:0{own} up\n\
             address replace 10.0.0.{own}/24 dev eth0\n\
             neigh replace 10.0.0.{other} lladdr 02:00:00:00:00:0{other} dev eth0 nud permanent\n"
        )
    };
    lab.ip("in", &setup(1, 2));
    lab.ip("out", &setup(2, 1));
    let mut echo = lab.start("in", &["echo", "--listen", "10.0.0.1:7"]);
    echo.event("listening");
    let mut probe = lab.start("out", &["probe", "--to", "10.0.0.1:7", "--interval", "5ms"]);
    probe.event("probing");
    std::thread::sleep(Duration::from_millis(200));
    lab.ip("in", "link set dev eth0 down\n");
    let down = now_ns();
    std::thread::sleep(Duration::from_millis(300));
    lab.ip("in", &setup(1, 2));
    let down = now_ns() - down;
    std::thread::sleep(Duration::from_millis(300));
    let seen = probe.stop();
    let echoed = echo.stop();
    let gap = ns(&seen, "longest_gap_ns");
    println!(
        "link down {:.1} ms, gap {:.1} ms, rtt {}",
        ms(down),
        ms(gap),
        seen["rtt_ns"]
    );
    // The gap has up to an interval at each end, and `ip` takes its time.
    assert!((290.0..500.0).contains(&ms(gap)), "{seen}");
    assert_eq!(seen["gaps"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(seen["unanswered_at_end"], 0, "{seen}");
    assert_eq!(seen["received"], echoed["echoed"]);
}

/// A client with two gateways to one server: `c - a - s` and `c - b - s`. The
/// server is 10.50.0.1, its relay 10.60.0.1.
fn two_gateways() -> Lab {
    let lab = Lab::new(&["c", "a", "b", "s"]);
    for (gateway, number) in [("a", 1), ("b", 2)] {
        lab.join("c", gateway, gateway, "c");
        lab.join("s", gateway, gateway, "s");
        let own =
            format!("address add 10.{number}.0.2/24 dev {gateway}\nlink set dev {gateway} up\n");
        lab.ip("c", &own);
        let far =
            format!("address add 10.1{number}.0.2/24 dev {gateway}\nlink set dev {gateway} up\n");
        lab.ip("s", &far);
        let between = format!(
            "address add 10.{number}.0.1/24 dev c\nlink set c up\n\
             address add 10.1{number}.0.1/24 dev s\nlink set s up\n\
             route add 10.50.0.1 via 10.1{number}.0.2\nroute add 10.60.0.1 via 10.1{number}.0.2\n"
        );
        lab.ip(gateway, &between);
        lab.forward(gateway);
        lab.ip(
            "s",
            &format!("route add 10.{number}.0.0/24 via 10.1{number}.0.1\n"),
        );
    }
    lab.ip(
        "s",
        "address add 10.50.0.1/32 dev lo\naddress add 10.60.0.1/32 dev lo\n",
    );
    lab
}

/// A VPN client whose tunnels are routes. What it connects to with the relay is
/// the relay only, without it the server itself.
fn vpn_client(lab: &Lab, folder: &Path, target: &str, relay: Option<&Path>) -> Program {
    let file = |name: &str, lines: &str| {
        let path = folder.join(name);
        fs::write(&path, lines).unwrap();
        path.display().to_string()
    };
    let a = file(
        "a",
        &format!("route replace {target} via 10.1.0.1 src 10.1.0.2\n"),
    );
    // A VPN takes the old gateway's address away when it gets a new one.
    let b = file(
        "b",
        &format!(
            "route replace {target} via 10.2.0.1 src 10.2.0.2\naddress del 10.1.0.2/24 dev a\n"
        ),
    );
    let config = json!({
        "gateways": [
            { "name": "a", "probe": "10.1.0.1", "local": "10.1.0.2", "connect": ["ip", "-batch", a] },
            { "name": "b", "probe": "10.2.0.1", "local": "10.2.0.2", "connect": ["ip", "-batch", b] },
        ],
        "interval_ms": 50,
        "min_rto_ms": 100,
        "relay_control": relay,
    });
    let config = file("vpn.json", &config.to_string());
    let mut client = lab.start("c", &["vpn-client", "--config", &config]);
    assert_eq!(client.event("answered")["gateway"], "a");
    client
}

/// Switches gateway a off; an instant just after. (The command itself may have to
/// wait while the kernel takes the namespaces of another test down.)
fn fail(lab: &Lab) -> u64 {
    lab.ip("a", "link set dev c down\n");
    now_ns()
}

fn report(name: &str, failed: u64, vpn: &Value, flow: &Value, sink: &Value) {
    let step = &vpn["steps"][0];
    println!(
        "{name}: detected {:.1} ms after the failure, connected in {:.1} ms, \
         data again {:.1} ms after the failure, pause {:.1} ms, resumptions {}",
        ms(ns(step, "detected_ns") - failed),
        ms(ns(step, "connected_ns") - ns(step, "connecting_ns")),
        ms(ns(sink, "longest_pause_end_ns") - failed),
        ms(ns(sink, "longest_pause_ns")),
        flow["resumptions"],
    );
}

/// Both ends of the relay; the server's first.
fn relay(lab: &Lab, transport: &str, control: &Path) -> (Program, Program) {
    let common = ["--transport", transport, "--tun", "relay0", "--mtu", "1380"];
    let own = [
        "relay-server",
        "--listen",
        "10.60.0.1",
        "--address",
        "10.99.0.1/24",
    ];
    let pools = ["--from", "10.1.0.0/24", "--from", "10.2.0.0/24"];
    let mut server = lab.start("s", &[&own[..], &common, &pools].concat());
    server.event("ready");
    let own = [
        "relay-client",
        "--server",
        "10.60.0.1",
        "--address",
        "10.99.0.2/24",
    ];
    let inner = ["--route", "10.50.0.1/32", "--keepalive-to", "10.99.0.1"];
    let control = control.display().to_string();
    let control = ["--control", &control];
    let mut client = lab.start("c", &[&own[..], &common, &inner, &control].concat());
    client.event("ready");
    (server, client)
}

/// A flow that stands between client and server, and its sink.
fn flow(lab: &Lab, download: bool) -> (Program, Program) {
    let flow = [
        "flow",
        "--duration",
        "2s",
        "--rate",
        "20Mbit/s",
        "--sample",
        "5ms",
    ];
    let flow = [&flow[..], &["--congestion", "cubic"]].concat();
    let (waits, connects) = if download {
        (flow, vec!["sink"])
    } else {
        (vec!["sink"], flow)
    };
    let mut waits = lab.start("s", &[&waits[..], &["--listen", "10.50.0.1:5001"]].concat());
    waits.event("listening");
    let mut connects = lab.start("c", &[&connects[..], &["--to", "10.50.0.1:5001"]].concat());
    connects.event("connected");
    if download {
        (waits, connects)
    } else {
        (connects, waits)
    }
}

/// A flow through the relay over a change of gateway.
fn survives(name: &str, transport: &str, download: bool) {
    let Some(_turn) = turn() else {
        return;
    };
    let lab = two_gateways();
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("relay.sock");
    let (server, mut client) = relay(&lab, transport, &control);
    let mut vpn = vpn_client(&lab, folder.path(), "10.60.0.1", Some(&control));
    client.event("confirmed");
    let (flow, sink) = flow(&lab, download);
    std::thread::sleep(Duration::from_millis(300));
    let failed = fail(&lab);
    assert_eq!(vpn.event("switched")["gateway"], "b");
    client.event("confirmed");
    let (flow, sink) = (flow.summary(), sink.summary());
    let (vpn, client, server) = (vpn.stop(), client.stop(), server.stop());
    report(name, failed, &vpn, &flow, &sink);
    assert_eq!(
        (&flow["end"], &sink["end"]),
        (&json!("complete"), &json!("fin")),
        "{flow}"
    );
    assert_eq!(flow["accepted_bytes"], sink["total_bytes"]);
    assert_eq!(vpn["failovers"], 1);
    assert_eq!(
        (&client["switches"], &server["moves"]),
        (&json!(2), &json!(2))
    );
    assert!(ns(&sink, "longest_pause_end_ns") > failed);
    // Three time-outs of 100 ms.
    let step = &vpn["steps"][0];
    let patience = ns(step, "detected_ns") - ns(step, "last_answered_sent_ns");
    assert!((300.0..400.0).contains(&ms(patience)), "{vpn}");
}

#[test]
fn an_upload_survives_a_change_of_gateway_through_the_relay() {
    survives("upload, ipip", "ipip", false);
}

#[test]
fn a_download_survives_a_change_of_gateway_through_the_relay() {
    survives("download, ipip", "ipip", true);
}

#[test]
fn the_relay_also_works_over_udp() {
    survives("download, udp", "udp", true);
}

#[test]
fn without_the_relay_the_connection_does_not_survive() {
    let Some(_turn) = turn() else {
        return;
    };
    let lab = two_gateways();
    let folder = tempfile::tempdir().unwrap();
    let mut vpn = vpn_client(&lab, folder.path(), "10.50.0.1", None);
    let mut sink = lab.start("s", &["sink", "--listen", "10.50.0.1:5001"]);
    sink.event("listening");
    let flow = [
        "flow",
        "--to",
        "10.50.0.1:5001",
        "--rate",
        "20Mbit/s",
        "--user-timeout",
        "1s",
    ];
    let mut flow = lab.start("c", &flow);
    flow.event("connected");
    std::thread::sleep(Duration::from_millis(300));
    let failed = fail(&lab);
    assert_eq!(vpn.event("switched")["gateway"], "b");
    // The tunnel works again, the connection does not.
    assert_eq!(vpn.event("answered")["gateway"], "b");
    let flow = flow.summary();
    let sink = sink.stop();
    let vpn = vpn.stop();
    println!(
        "without relay: {} {:.1} ms after the failure; the sink's last byte {:.1} ms after it, {}",
        flow["error"],
        ms(ns(&flow, "t_ns") - failed),
        ms(ns(&sink, "last_ns").saturating_sub(failed)),
        sink["end"],
    );
    assert_eq!(flow["end"], "error", "{flow}");
    // The user time-out ends it and names the last thing that went wrong.
    let errors = ["ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH"];
    assert!(errors.iter().any(|error| flow["error"] == *error), "{flow}");
    assert_eq!(sink["end"], "open", "{sink}");
    assert!(ns(&sink, "last_ns") < ns(&vpn["steps"][0], "connected_ns"));
}

#[test]
fn a_gateway_that_cannot_be_connected_to_is_given_up_for_the_next_in_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vpn.json");
    // The first gateway's command checks that it is told which one is meant.
    let config = json!({
        "gateways": [
            { "name": "good", "connect": ["sh", "-c", "test \"$WATARI_GATEWAY\" = good"] },
            { "name": "broken", "connect": ["false"] },
            { "name": "slow", "connect": ["sleep", "1234.5"] },
        ],
        "detector": "external",
        "detect": ["sleep", "0.05"],
        "connect_timeout_ms": 100,
    });
    fs::write(&path, config.to_string()).unwrap();
    let config = path.display().to_string();
    let mut client = Program::new(&[], &["vpn-client", "--config", &config]);
    assert_eq!(client.event("switched")["gateway"], "good");
    assert_eq!(client.event("detected")["gateway"], "good");
    let broken = client.event("connect_failed");
    assert_eq!(
        (&broken["gateway"], &broken["reason"]),
        (&json!("broken"), &json!("exit code 1"))
    );
    let slow = client.event("connect_failed");
    assert_eq!(
        (&slow["gateway"], &slow["reason"]),
        (&json!("slow"), &json!("timed out"))
    );
    assert!(
        (100.0..1000.0).contains(&ms(ns(&slow, "took_ns"))),
        "{slow}"
    );
    // Round the ring it comes back to the first.
    assert_eq!(client.event("switched")["gateway"], "good");
    let summary = client.stop();
    assert!(ns(&summary, "failovers") >= 1);
    assert_eq!(summary["steps"][0]["to"], "good");
}
