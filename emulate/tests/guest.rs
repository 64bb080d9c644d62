//! The guest in real virtual machines: it boots, is saved and restored, and is
//! migrated while it writes, and its memory is what it must be.
//!
//! Needs `qemu-system-x86_64` and, in the folder that `WATARI_CACHE` names, an image
//! of the lab VM: its kernel and its guest are what is tested. Without them the
//! tests say so and end.

#![expect(clippy::print_stdout, reason = "a test that is skipped says why")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use emulate::guest::control::{Control, ControlError, Reply};
use emulate::guest::machine::{Accelerator, Machine, qemu_arguments};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// What all machines of a test share.
struct Lab {
    directory: tempfile::TempDir,
    image: PathBuf,
}

impl Lab {
    fn find() -> Option<Self> {
        let image = std::env::var_os("WATARI_CACHE").and_then(|cache| {
            let cache = PathBuf::from(cache);
            let name = fs::read_to_string(cache.join("current")).ok()?;
            Some(cache.join(name.trim()))
        });
        let Some(image) = image else {
            println!("skipped: WATARI_CACHE names no folder with a lab VM");
            return None;
        };
        let version = Command::new("qemu-system-x86_64").arg("--version").output();
        if version.is_err() {
            println!("skipped: there is no qemu-system-x86_64");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        Some(Self { directory, image })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn machine(&self, name: &str, incoming: Option<String>) -> Machine {
        Machine {
            accelerator: Accelerator::Tcg,
            memory_mib: 128,
            kernel: self.image.join("vmlinuz"),
            initrd: self.image.join("guest.cpio"),
            mac: "52:54:00:00:00:02".to_string(),
            tap: None,
            disk: None,
            control: self.path(&format!("{name}.control")),
            qmp: self.path(&format!("{name}.qmp")),
            console: Some(self.path(&format!("{name}.console"))),
            incoming,
        }
    }

    fn start(&self, machine: Machine) -> Running {
        let mut command = Command::new("qemu-system-x86_64");
        let child = command.args(qemu_arguments(&machine)).stdin(Stdio::null());
        Running {
            child: child.spawn().unwrap(),
            machine,
        }
    }

    fn boot(&self, name: &str) -> Running {
        self.start(self.machine(name, None))
    }
}

/// A machine that ends with the test.
struct Running {
    child: Child,
    machine: Machine,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn control(&self) -> Control {
        Control::connect(&self.machine.control, PATIENCE).unwrap()
    }

    fn monitor(&self) -> Monitor {
        let started = Instant::now();
        let stream = loop {
            match UnixStream::connect(&self.machine.qmp) {
                Ok(stream) => break stream,
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
            sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut monitor = Monitor(BufReader::new(stream));
        monitor.read();
        monitor.execute("qmp_capabilities", &json!({}));
        monitor
    }

    fn wait_end(&mut self) {
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "QEMU does not end");
            sleep(Duration::from_millis(10));
        }
    }
}

/// QEMU's monitor.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Value {
        let order = json!({ "execute": command, "arguments": arguments });
        writeln!(self.0.get_mut(), "{order}").unwrap();
        loop {
            let mut answer = self.read();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if answer.get("return").is_some() {
                return answer["return"].take();
            }
        }
    }

    /// Waits until a machine has read its state.
    fn restored(&mut self) -> &mut Self {
        while self.execute("query-status", &json!({}))["status"] == "inmigrate" {
            sleep(Duration::from_millis(10));
        }
        self
    }

    /// Waits for the end of a migration; returns what QEMU says about it.
    fn migrated(&mut self) -> Value {
        loop {
            let state = self.execute("query-migrate", &json!({}));
            match state["status"].as_str() {
                Some("completed") => return state,
                Some("failed" | "cancelled") => panic!("{state}"),
                _ => sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn ask(control: &mut Control, command: &str) -> Reply {
    control.command(command, PATIENCE).unwrap()
}

fn number(control: &mut Control, command: &str, key: &str) -> u64 {
    ask(control, command).number(key).unwrap()
}

/// Writes a second over a time, by the guest's own clock.
fn measured_rate(control: &mut Control, during: Duration) -> f64 {
    let before = ask(control, "stats");
    sleep(during);
    let after = ask(control, "stats");
    let grown = |key| (after.number(key).unwrap() - before.number(key).unwrap()) as f64;
    grown("writes") * 1000.0 / grown("uptime_ms")
}

#[test]
fn a_guest_that_was_saved_and_restored_works_on() {
    let Some(lab) = Lab::find() else {
        return;
    };
    let state = lab.path("state");
    {
        let mut source = lab.boot("source");
        let mut control = source.control();
        ask(&mut control, "hello");
        ask(&mut control, "clean");
        drop(control);
        let mut monitor = source.monitor();
        monitor.execute("stop", &json!({}));
        let uri = format!("exec:cat > {}", state.display());
        monitor.execute("migrate", &json!({ "uri": uri }));
        monitor.migrated();
        monitor.execute("quit", &json!({}));
        source.wait_end();
    }
    // About 42 MiB: the kernel occupies 30 MiB and the guest is clean.
    let size = fs::metadata(&state).unwrap().len();
    assert!(size < 48 << 20, "{size}");
    let incoming = format!("exec:cat {}", state.display());
    let mut target = lab.start(lab.machine("target", Some(incoming)));
    let mut control = target.control();
    target.monitor().restored().execute("cont", &json!({}));
    ask(
        &mut control,
        "net address=10.9.0.2/24 gateway=10.9.0.1 mac=52:54:00:00:00:03",
    );
    let used = number(&mut control, "count", "nonzero");
    let filled = number(
        &mut control,
        "fill pages=12000 target_nonzero=20000 seed=3",
        "nonzero",
    );
    let now = number(&mut control, "count", "nonzero");
    assert!(filled.abs_diff(20_000 - used) < 100, "{used} {filled}");
    assert!(now.abs_diff(20_000) < 100, "{now}");
    ask(
        &mut control,
        "dirty constant rate=500 set=8000 pattern=sequential",
    );
    let rate = measured_rate(&mut control, Duration::from_secs(2));
    assert!((rate - 500.0).abs() < 25.0, "{rate}");
    ask(&mut control, "dirty off");
    assert!(number(&mut control, "verify", "writes") > 900);
    ask(&mut control, "corrupt page=11999");
    let found = control.command("verify", PATIENCE);
    assert!(matches!(found, Err(ControlError::Bad { reply }) if reply.contains("first=11999")));
    ask(&mut control, "poweroff");
    target.wait_end();
}

#[test]
fn a_guest_that_writes_while_it_is_migrated_loses_nothing() {
    let Some(lab) = Lab::find() else {
        return;
    };
    let source = lab.boot("source");
    let mut control = source.control();
    ask(&mut control, "clean");
    ask(
        &mut control,
        "fill pages=12000 nonzero=8000 compressed=0.5 change=0.05",
    );
    ask(
        &mut control,
        "dirty hotcold hot=300 hot_rate=800 cold=7000 cold_rate=300 seed=5",
    );
    let target = lab.start(lab.machine("target", Some("defer".to_string())));
    let mut listening = target.monitor();
    let socket = format!("unix:{}", lab.path("migration").display());
    listening.execute("migrate-incoming", &json!({ "uri": socket }));
    let mut monitor = source.monitor();
    let limits = json!({ "max-bandwidth": 12_500_000, "downtime-limit": 300 });
    monitor.execute("migrate-set-parameters", &limits);
    monitor.execute("migrate", &json!({ "uri": socket }));
    let report = monitor.migrated();
    assert!(
        report["ram"]["dirty-sync-count"].as_u64().unwrap() > 2,
        "{report}"
    );
    let mut moved = target.control();
    let rate = measured_rate(&mut moved, Duration::from_secs(2));
    assert!((rate - 1100.0).abs() < 55.0, "{rate}");
    let writes = number(&mut moved, "stats", "writes");
    assert!(number(&mut moved, "verify", "writes") >= writes);
    // What the host did not wait for is not taken for the next answer.
    let hurried = moved.command("verify", Duration::from_millis(1));
    assert!(matches!(hurried, Err(ControlError::Timeout { .. })));
    assert_eq!(number(&mut moved, "verify", "pages"), 12_000);
}

#[test]
fn a_disk_has_the_same_checksum_whoever_reads_it() {
    let Some(lab) = Lab::find() else {
        return;
    };
    let image: Vec<u8> = (0..3 << 20).map(|byte: u32| (byte / 7) as u8).collect();
    let sum = |name: &str, content: &[u8]| {
        fs::write(lab.path(name), content).unwrap();
        let machine = Machine {
            disk: Some(lab.path(name)),
            ..lab.machine(name, None)
        };
        let running = lab.start(machine);
        let reply = ask(&mut running.control(), "disk checksum");
        assert_eq!(reply.number("bytes").unwrap(), content.len() as u64);
        reply.fields()["checksum"].clone()
    };
    let first = sum("first", &image);
    assert_eq!(first, sum("second", &image));
    let mut other = image.clone();
    other[2 << 20] ^= 1;
    assert_ne!(first, sum("third", &other));
}
