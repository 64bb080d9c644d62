//! A VPN gateway dies: a client, its gateways in their sites, a server behind them.
//!
//! The client's namespace is that of the VMM: it holds the VPN client, the end of
//! the packet relay, and the guest's end of the TCP connection. Every gateway
//! stands in a namespace of its own; behind it packets go over the scenario's
//! links to the server. Gateway number k has the address 10.8.k.1 inside the
//! tunnel and gives the client 10.8.k.2, so a connection that was made through
//! one gateway cannot go on through another. With a relay the connection is
//! between 10.7.0.2 and 10.7.0.1, addresses of the relay, which do not change.
//! Nothing leaves the client from an inner address but through a tunnel, so what
//! belongs to a dead gateway is lost and not sent in clear.
//!
//! How a gateway dies: its only interface is taken down. That is one command, so
//! both directions end at the same instant; nothing that its kernel or its charon
//! would still say comes out; its neighbour keeps the route, so nobody answers
//! "unreachable" in its place. To everybody else this is a machine without power.
//! A link dies in both directions when its netem drops all; what is on its way
//! arrives. The process alone cannot be made to die: a scenario has no word for it.

use std::time::Duration;

use models::ipsec::Encapsulation;
use models::scenario::{
    Action as Event, Case, Detection, Element, Ike, Mode, Scenario, Study, Traffic, Transport,
    Tunnel, Vpn, What,
};
use models::simulate::{Draws, draws};
use serde_json::json;

use super::ipsec::{self, End};
use super::network::{Network, Node, metrics, qdisc, smallest_mtu};
use super::{Action, Argv, Assets, Plan, Ready, Unsupported, argv, calibrate};

/// Namespace of the client.
pub const CLIENT: &str = "client";
/// Namespace of the server.
pub const SERVER: &str = "server";
/// The guest's address on the relay, and the server's.
const STABLE: [&str; 2] = ["10.7.0.2", "10.7.0.1"];
/// Where the receiver, or the sender, of the flow waits.
const PORT: u16 = 5001;
/// An IP header around each packet of the relay.
const CAPSULE: u64 = 20;
/// How often the sender notes what its kernel knows of the connection.
const SAMPLE: &str = "10ms";
/// Width of the receiver's bins.
pub const BIN: &str = "10ms";
/// Priority of the policy that lets nothing out in clear: after all others.
const LAST: &str = "4000000000";

/// What a fail-over is about: one flow through one tunnel with gateways.
struct Parts<'a> {
    scenario: &'a Scenario,
    assets: &'a Assets,
    traffic: &'a Traffic,
    tunnel: &'a Tunnel,
    vpn: &'a Vpn,
    draws: Draws,
    /// When the first probe is sent.
    phase: Duration,
    network: Network,
}

/// The plan of a case without a migration. `calibrated` says whether the path was
/// measured before and need not be again.
///
/// # Errors
///
/// When the case needs something that no lab has.
pub fn plan(
    study: &Study,
    case: &Case,
    repeat: u32,
    calibrated: bool,
    assets: &Assets,
) -> Result<Plan, Unsupported> {
    let parts = Parts::new(study, case, repeat, assets)?;
    let timeline = parts.timeline()?;
    let mut plan = Plan::default();
    parts.network.build(&case.scenario, assets, &mut plan)?;
    Network::impair(&case.scenario, assets, &mut plan);
    parts.addresses(&mut plan);
    parts.tunnels(&mut plan);
    if let Some(switch) = parts.switch(0) {
        let switch = assets.inside(CLIENT, switch);
        plan.run("the server is behind the first gateway", switch);
    }
    parts.relay(&mut plan);
    if !calibrated {
        let words = ["ping", "-q", "-n", "-c", "10", "-i", "0.2", &parts.server()];
        plan.measure(
            "round trips through the tunnel",
            calibrate::PING,
            Duration::from_secs(60),
            assets.inside(CLIENT, argv(words)),
        );
    }
    plan.write(
        "gateways of the VPN client",
        assets.path("vpn-client.json"),
        parts.client_config(),
    );
    plan.push("the case begins", Action::Begin);
    for (at, mut part) in timeline {
        if at > Duration::ZERO {
            plan.push("until the next event", Action::Until(at));
        }
        plan.steps.append(&mut part.steps);
    }
    parts.finish(&mut plan);
    Ok(plan)
}

/// The namespace of a gateway.
pub fn gateway(name: &str) -> String {
    format!("gw-{name}")
}

/// The name under which an action's instants are kept.
pub fn kept(action: &Event) -> String {
    format!("action-{}", action.name)
}

/// The gateway's address inside the tunnel, and the client's.
fn inner(number: usize) -> [String; 2] {
    [1, 2].map(|end| format!("10.8.{number}.{end}"))
}

fn unsupported<T>(why: &str) -> Result<T, Unsupported> {
    Err(Unsupported(why.to_owned()))
}

impl<'a> Parts<'a> {
    fn new(
        study: &Study,
        case: &'a Case,
        repeat: u32,
        assets: &'a Assets,
    ) -> Result<Self, Unsupported> {
        let scenario = &case.scenario;
        let [traffic] = &scenario.traffic[..] else {
            return unsupported(
                "a case without a migration needs exactly one flow of `traffic` to be emulated",
            );
        };
        let vpn = traffic.tunnel.and_then(|index| {
            let tunnel = &scenario.tunnels[index];
            Some((index, tunnel, tunnel.vpn.as_ref()?))
        });
        let Some((index, tunnel, vpn)) = vpn else {
            return unsupported("the flow goes through no tunnel with a client and gateways");
        };
        check(tunnel, vpn, traffic)?;
        let draws = draws(study, case, repeat);
        let node = |namespace: String, site, transport| Node {
            namespace,
            site,
            transport,
            send_memory: None,
        };
        let far = if traffic.from == vpn.client {
            traffic.to
        } else {
            traffic.from
        };
        let transport = Some(traffic.transport);
        let mut nodes = vec![
            node(CLIENT.to_owned(), vpn.client, transport),
            node(SERVER.to_owned(), far, transport),
        ];
        nodes.extend(vpn.gateways.iter().map(|&index| {
            let found = &scenario.gateways[index];
            node(gateway(&found.name), found.site, None)
        }));
        Ok(Self {
            scenario,
            assets,
            traffic,
            tunnel,
            vpn,
            phase: Duration::from_nanos(draws.probes[index].as_nanos()),
            draws,
            network: Network { nodes },
        })
    }

    fn transport(&self) -> &Transport {
        &self.scenario.transports[self.traffic.transport]
    }

    /// The client's and the gateway's end of the tunnel to a gateway.
    fn ends(&self, number: usize) -> [End; 2] {
        let [gateway, client] = inner(number);
        let at = |node: usize, networks| End {
            namespace: self.network.nodes[node].namespace.clone(),
            address: Network::address(node),
            networks,
        };
        let server = format!("{}/32", Network::address(1));
        [
            at(0, vec![format!("{client}/32")]),
            at(2 + number, vec![server, format!("{gateway}/32")]),
        ]
    }

    /// Inner addresses, routes to them, and gateways that forward.
    fn addresses(&self, plan: &mut Plan) {
        let number = self.vpn.gateways.len();
        let mut batch = String::new();
        for gateway in 0..number {
            let [own, client] = inner(gateway);
            batch.push_str(&format!("address add {client}/32 dev wan\n"));
            let node = 2 + gateway;
            self.network.lead(
                &format!("10.8.{gateway}.0/24"),
                node,
                self.scenario,
                self.assets,
                plan,
            );
            let namespace = &self.network.nodes[node].namespace;
            let forward = [
                "sysctl",
                "-q",
                "-w",
                "net.ipv4.ip_forward=1",
                "net.ipv4.conf.all.send_redirects=0",
                "net.ipv4.conf.wan.send_redirects=0",
            ];
            let forward = self.assets.inside(namespace, argv(forward));
            plan.run(format!("{namespace} forwards packets"), forward);
            let address = format!("{own}/32");
            let full = self.assets.namespace(namespace);
            let add = ["ip", "-n", &full, "address", "add", &address, "dev", "lo"];
            plan.run(format!("inner address of {namespace}"), argv(add));
        }
        batch.push_str(&format!(
            "xfrm policy add src 10.8.0.0/16 dst 0.0.0.0/0 dir out action block priority {LAST}\n"
        ));
        let ip = super::network::ip_batch(CLIENT, self.assets);
        plan.feed("inner addresses of the client", ip, batch);
    }

    /// The tunnels; of those that are negotiated only the first one stands.
    fn tunnels(&self, plan: &mut Plan) {
        let ends: Vec<[End; 2]> = (0..self.vpn.gateways.len())
            .map(|number| self.ends(number))
            .collect();
        if self.tunnel.ike == Ike::None {
            for (number, [client, gateway]) in ends.iter().enumerate() {
                ipsec::by_hand(self.tunnel, [client, gateway], number, self.assets, plan);
            }
            return;
        }
        for [client, gateway] in &ends {
            ipsec::daemon(self.tunnel, &[[gateway, client]], self.assets, plan);
        }
        let pairs: Vec<[&End; 2]> = ends
            .iter()
            .map(|[client, gateway]| [client, gateway])
            .collect();
        ipsec::daemon(self.tunnel, &pairs, self.assets, plan);
        let [client, gateway] = &ends[0];
        plan.measure(
            "IKE with the first gateway",
            "ike-first",
            Duration::from_secs(60),
            ipsec::initiate(client, gateway, self.assets),
        );
    }

    /// What the guest connects to.
    fn server(&self) -> String {
        match self.vpn.relay {
            Some(_) => STABLE[1].to_owned(),
            None => Network::address(1),
        }
    }

    /// Without a relay: makes new connections use a gateway's inner address.
    fn switch(&self, number: usize) -> Option<Argv> {
        if self.vpn.relay.is_some() {
            return None;
        }
        let [_, own] = inner(number);
        let line = format!(
            "ip route replace {} via 10.2.0.1 dev wan src {own}{}",
            self.server(),
            metrics(Some(self.transport()))
        );
        Some(line.split(' ').map(str::to_owned).collect())
    }

    fn relay(&self, plan: &mut Plan) {
        if self.vpn.relay.is_none() {
            return;
        }
        let assets = self.assets;
        let mtu = self.inner_mtu().saturating_sub(CAPSULE).to_string();
        let server = Network::address(1);
        let net = STABLE.map(|address| format!("{address}/24"));
        let listen = [
            "relay-server",
            "--listen",
            &server,
            "--address",
            &net[1],
            "--mtu",
            &mtu,
            "--from",
            "10.8.0.0/16",
        ];
        let [_, local] = inner(0);
        let mut client = assets.tool([
            "relay-client",
            "--server",
            &server,
            "--address",
            &net[0],
            "--mtu",
            &mtu,
            "--local",
            &local,
            "--control",
            &self.control(),
            "--keepalive-to",
            STABLE[1],
        ]);
        if let Some(Detection::Probe { interval, .. }) = self.vpn.detection {
            // The scenario's relay learns the new way from the next probe.
            let interval = format!("{}us", interval.as_nanos() / 1000);
            client.extend(argv(["--quiet-switch", "--keepalive", &interval]));
        }
        let programs = [
            (SERVER, "relay-server", assets.tool(listen)),
            (CLIENT, "relay-client", client),
        ];
        for (namespace, name, program) in programs {
            let program = assets.inside(namespace, program);
            plan.start(name.replace('-', " of the "), name, program, Ready::Prints);
        }
        for (namespace, [own, other]) in [(CLIENT, STABLE), (SERVER, [STABLE[1], STABLE[0]])] {
            let metrics = metrics(Some(self.transport()));
            let batch = format!("route replace {other} dev relay0 src {own}{metrics}\n");
            let ip = super::network::ip_batch(namespace, assets);
            plan.feed(format!("route of the relay at {namespace}"), ip, batch);
        }
    }

    /// Largest packet that fits into the tunnel.
    fn inner_mtu(&self) -> u64 {
        let mtu = smallest_mtu(self.scenario);
        Encapsulation::of(self.tunnel)
            .largest_inner(mtu)
            .unwrap_or(mtu)
    }

    /// The socket on which the relay client takes commands.
    fn control(&self) -> String {
        self.assets.path("relay.sock")
    }

    fn client_config(&self) -> String {
        let gateways = self.vpn.gateways.iter().enumerate();
        let gateways = gateways.map(|(number, &index)| {
            let [probe, local] = inner(number);
            let [client, gateway] = self.ends(number);
            let connect = if self.tunnel.ike == Ike::None {
                argv(["true"])
            } else {
                ipsec::connect(&client, &gateway, self.assets)
            };
            json!({
                "name": self.scenario.gateways[index].name,
                "probe": probe,
                "local": local,
                "connect": connect,
                "switch": self.switch(number).unwrap_or_default(),
            })
        });
        let mut config = json!({
            "gateways": gateways.collect::<Vec<_>>(),
            "connected": true,
            "connect_timeout_ms": self.tunnel.connect_timeout.as_nanos() / 1_000_000,
            "relay_control": self.vpn.relay.map(|_| self.control()),
        });
        self.detector(&mut config);
        format!("{config:#}\n")
    }

    /// Who finds out that a gateway is dead: probes, or charon itself.
    fn detector(&self, config: &mut serde_json::Value) {
        match self.vpn.detection {
            Some(Detection::Probe {
                interval,
                rto_multiple,
                min_rto,
            }) => {
                config["interval_ms"] = (interval.as_nanos() / 1_000_000).into();
                config["rto_multiple"] = rto_multiple.into();
                config["min_rto_ms"] = (min_rto.as_nanos() / 1_000_000).into();
            }
            _ => {
                let log = ipsec::log(CLIENT, self.assets);
                let [up, down] = ["CONNECTING => ESTABLISHED", "ESTABLISHED => D"];
                let words = ["watch", "--file", &log, "--up", up, "--down", down];
                config["detector"] = "external".into();
                config["detect"] = self.assets.tool(words).into();
            }
        }
    }

    /// What happens when, in order.
    fn timeline(&self) -> Result<Vec<(Duration, Plan)>, Unsupported> {
        let mut events = vec![(
            Duration::from_nanos(self.traffic.start.as_nanos()),
            self.flow(),
        )];
        if self.vpn.detection.is_some() {
            let mut plan = Plan::default();
            let config = self.assets.path("vpn-client.json");
            let client = self.assets.tool(["vpn-client", "--config", &config]);
            let client = self.assets.inside(CLIENT, client);
            plan.start("the VPN client", "vpn-client", client, Ready::Now);
            events.push((self.phase, plan));
        }
        for (action, &at) in self.scenario.actions.iter().zip(&self.draws.actions) {
            if at < self.scenario.until {
                events.push((Duration::from_nanos(at.as_nanos()), self.act(action)?));
            }
        }
        let end = self.scenario.until.min(self.traffic.stop);
        let mut plan = Plan::default();
        plan.stop("what the sender's kernel says", "flow");
        plan.stop("what was received", "sink");
        events.push((Duration::from_nanos(end.as_nanos()), plan));
        events.push((
            Duration::from_nanos(self.scenario.until.as_nanos()),
            Plan::default(),
        ));
        events.sort_by_key(|(at, _)| *at);
        Ok(events)
    }

    /// Namespaces of sender and receiver, and whether each listens.
    fn roles(&self) -> [(&'static str, bool); 2] {
        if self.traffic.from == self.vpn.client {
            [(CLIENT, false), (SERVER, true)]
        } else {
            [(SERVER, true), (CLIENT, false)]
        }
    }

    fn flow(&self) -> Plan {
        let [sender, receiver] = self.roles();
        let there = format!("{}:{PORT}", self.server());
        let here = format!("0.0.0.0:{PORT}");
        let ends = |listens| {
            if listens {
                ["--listen", &here]
            } else {
                ["--to", &there]
            }
        };
        let [role, address] = ends(sender.1);
        let mut flow = self
            .assets
            .tool(["flow", role, address, "--sample", SAMPLE]);
        if let Some(rate) = self.transport().max_rate {
            let rate = format!("{}bit/s", rate.bits_per_second());
            flow.extend(argv(["--rate", &rate]));
        }
        if let Some(size) = self.traffic.size {
            flow.extend(argv(["--bytes", &format!("{}B", size.get())]));
        }
        let [role, address] = ends(receiver.1);
        let sink = self.assets.tool(["sink", role, address, "--bin", BIN]);
        let mut programs = vec![
            ("the receiver", "sink", receiver.0, sink),
            ("the sender", "flow", sender.0, flow),
        ];
        if sender.1 {
            programs.reverse();
        }
        let mut plan = Plan::default();
        for (title, name, namespace, program) in programs {
            let program = self.assets.inside(namespace, program);
            plan.start(title, name, program, Ready::Prints);
        }
        plan
    }

    fn act(&self, action: &Event) -> Result<Plan, Unsupported> {
        let (element, fails) = match action.what {
            What::Fail(element) => (element, true),
            What::Repair(element) => (element, false),
            What::Migrate(_) => return unsupported("a migration during a fail-over"),
        };
        let name = &action.name;
        let commands = match element {
            Element::Link(index) => self.cut(index, fails),
            Element::Gateway(_) if !fails => {
                return unsupported("a gateway cannot be repaired: its power-off is for good");
            }
            Element::Gateway(index) if self.vpn.gateways.contains(&index) => {
                let namespace = gateway(&self.scenario.gateways[index].name);
                let full = self.assets.namespace(&namespace);
                vec![argv(["ip", "-n", &full, "link", "set", "wan", "down"])]
            }
            Element::Gateway(_) => Vec::new(),
        };
        let mut plan = Plan::default();
        for (number, command) in commands.into_iter().enumerate() {
            let title = format!("{name}: {}", if fails { "fails" } else { "works again" });
            if number == 0 {
                plan.measure(&title, &kept(action), Duration::from_secs(10), command);
            } else {
                plan.run(title, command);
            }
        }
        Ok(plan)
    }

    /// Both ends of a link drop all, or what they drop otherwise.
    fn cut(&self, index: usize, fails: bool) -> Vec<Argv> {
        let mut link = self.scenario.links[index].clone();
        if fails {
            link.loss = 1.0;
        }
        let sites = link.sites.map(|site| &self.scenario.sites[site]);
        sites
            .map(|site| qdisc("change", index, &link, site, self.assets))
            .to_vec()
    }

    /// Ends the programs and keeps what they know.
    fn finish(&self, plan: &mut Plan) {
        if self.vpn.detection.is_some() {
            plan.stop("what the VPN client did", "vpn-client");
        }
        if self.vpn.relay.is_some() {
            plan.stop("what the relay client did", "relay-client");
            plan.stop("what the relay server did", "relay-server");
        }
        if self.tunnel.ike != Ike::None {
            let log = ipsec::log(CLIENT, self.assets);
            plan.measure(
                "what the client's charon did",
                "charon-client",
                Duration::from_secs(10),
                argv(["cat", &log]),
            );
        }
    }
}

fn check(tunnel: &Tunnel, vpn: &Vpn, traffic: &Traffic) -> Result<(), Unsupported> {
    if tunnel.mode != Mode::Tunnel {
        return unsupported("a VPN with gateways is emulated with `mode = \"tunnel\"` only");
    }
    if ![traffic.from, traffic.to].contains(&vpn.client) {
        return unsupported("neither end of the flow is at the client of its tunnel");
    }
    match vpn.detection {
        Some(Detection::Libreswan { .. }) => {
            unsupported("the lab has no libreswan; use `detection.probe` or `detection.strongswan`")
        }
        Some(Detection::Strongswan { .. }) if tunnel.ike == Ike::None => {
            unsupported("strongSwan detects nothing with `ike = \"none\"`; use `detection.probe`")
        }
        _ => Ok(()),
    }
}
