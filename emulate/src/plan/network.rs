//! Sites, hosts, gateways and links as namespaces, veth pairs and netem.
//!
//! Every site is a router namespace; every host, gateway and other end stands
//! in a namespace of its own behind its site's router. A link is a veth pair
//! between two routers with one netem qdisc at each end: rate and delay in one
//! qdisc, so that packets are serialised and then travel, and each half of the
//! round trip where it belongs. Nothing else delays: veth pairs to the routers
//! are as fast as the machine.
//!
//! Where a netem is not what it seems:
//!
//! - its limit counts packets under way as well as queued ones, so it is the
//!   link's bandwidth-delay product and the scenario's queue;
//! - it counts 14 bytes of Ethernet header in a packet; the scenario's framing
//!   is put in their place;
//! - segmentation offload would make one packet of 64 KiB: offloads are off;
//! - the first packet would wait for ARP: neighbours are static.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use models::scenario::{Congestion, Link, Scenario, Transport};
use models::wan::Topology;

use super::{Argv, Assets, Plan, Unsupported, argv};

/// Most links, and most ends: an octet of an address each.
const MOST: usize = 250;
/// Bytes of Ethernet header that netem sees.
const ETHERNET: i64 = 14;

/// Something that stands at a site, in its own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its namespace, without the name of the run.
    pub namespace: String,
    /// Its site.
    pub site: usize,
    /// TCP configuration of its connections.
    pub transport: Option<usize>,
    /// Kernel memory of a connection's send buffer; the transport's payload
    /// without.
    pub send_memory: Option<u64>,
}

/// The network of a case: its nodes have addresses by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// What stands at the sites.
    pub nodes: Vec<Node>,
}

impl Network {
    /// The address of a node.
    pub fn address(index: usize) -> String {
        format!("10.2.{index}.2")
    }

    /// The node in this namespace.
    ///
    /// # Panics
    ///
    /// When there is none: a plan names only nodes it made.
    pub fn node(&self, namespace: &str) -> usize {
        let found = self.nodes.iter().position(|n| n.namespace == namespace);
        found.expect("a plan names only nodes it made")
    }

    /// The steps that build it. Links have no impairment yet.
    ///
    /// # Errors
    ///
    /// When there is more of something than addresses, or something that has no
    /// counterpart in a kernel.
    pub fn build(
        &self,
        scenario: &Scenario,
        assets: &Assets,
        plan: &mut Plan,
    ) -> Result<(), Unsupported> {
        if scenario.links.len() > MOST || self.nodes.len() > MOST {
            return Err(Unsupported(format!(
                "a lab has at most {MOST} links and as many hosts, gateways and ends"
            )));
        }
        let routers = scenario.sites.iter().map(|site| router(site));
        let nodes = self.nodes.iter().map(|node| node.namespace.clone());
        for name in routers.chain(nodes) {
            namespace(&name, assets, plan);
        }
        let batch = self.pairs(scenario, assets);
        plan.feed("join the namespaces", argv(["ip", "-batch", "-"]), batch);
        self.configure_routers(scenario, assets, plan);
        for (index, node) in self.nodes.iter().enumerate() {
            let transport = node.transport.map(|index| &scenario.transports[index]);
            configure_node(index, node, transport, assets, plan)?;
        }
        Ok(())
    }

    fn pairs(&self, scenario: &Scenario, assets: &Assets) -> String {
        let mut batch = String::new();
        for (index, link) in scenario.links.iter().enumerate() {
            let ends = link.sites.map(|site| {
                let name = router(&scenario.sites[site]);
                assets.namespace(&name)
            });
            let [a, b] = [0, 1].map(|side| link_mac(index, side));
            let mtu = link.mtu.get();
            writeln!(
                batch,
                "link add name link{index} mtu {mtu} address {a} netns {} type veth \
                 peer name link{index} mtu {mtu} address {b} netns {}",
                ends[0], ends[1]
            )
            .expect("a string takes it");
        }
        let mtu = smallest_mtu(scenario);
        for (index, node) in self.nodes.iter().enumerate() {
            let [a, b] = [0, 1].map(|side| node_mac(index, side));
            writeln!(
                batch,
                "link add name node{index} mtu {mtu} address {a} netns {} type veth \
                 peer name wan mtu {mtu} address {b} netns {}",
                assets.namespace(&router(&scenario.sites[node.site])),
                assets.namespace(&node.namespace)
            )
            .expect("a string takes it");
        }
        batch
    }

    fn configure_routers(&self, scenario: &Scenario, assets: &Assets, plan: &mut Plan) {
        let topology = Topology::new(scenario);
        for (site, name) in scenario.sites.iter().enumerate() {
            let namespace = router(name);
            let mut batch = String::from("link set lo up\n");
            let mut devices = Vec::new();
            for (index, link) in scenario.links.iter().enumerate() {
                let Some(side) = link.sites.iter().position(|&end| end == site) else {
                    continue;
                };
                let other = 1 - side;
                let device = format!("link{index}");
                let own = format!("10.1.{index}.{}", side + 1);
                let peer = format!("10.1.{index}.{}", other + 1);
                join(&mut batch, &device, &own, &peer, &link_mac(index, other));
                devices.push(device);
            }
            for (index, node) in self.nodes.iter().enumerate() {
                if node.site == site {
                    let device = format!("node{index}");
                    let own = format!("10.2.{index}.1");
                    join(
                        &mut batch,
                        &device,
                        &own,
                        &Self::address(index),
                        &node_mac(index, 1),
                    );
                    devices.push(device);
                } else if let Some(hop) = next_hop(scenario, &topology, site, node.site) {
                    writeln!(batch, "route add 10.2.{index}.0/24 via {hop}")
                        .expect("a string takes it");
                }
            }
            plan.feed(
                format!("addresses and routes of site {name}"),
                ip_batch(&namespace, assets),
                batch,
            );
            let forward = argv(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
            plan.run(
                format!("site {name} forwards packets"),
                assets.inside(&namespace, forward),
            );
            offloads_off(&namespace, &devices, assets, plan);
        }
    }

    /// Leads packets for a network of addresses from every site to a node.
    pub fn lead(
        &self,
        to: &str,
        node: usize,
        scenario: &Scenario,
        assets: &Assets,
        plan: &mut Plan,
    ) {
        let topology = Topology::new(scenario);
        for (site, name) in scenario.sites.iter().enumerate() {
            let hop = if self.nodes[node].site == site {
                Some(Self::address(node))
            } else {
                next_hop(scenario, &topology, site, self.nodes[node].site)
            };
            let Some(hop) = hop else { continue };
            let namespace = assets.namespace(&router(name));
            let words = ["ip", "-n", &namespace, "route", "add", to, "via", &hop];
            plan.run(format!("route to {to} at site {name}"), argv(words));
        }
    }

    /// Delay, rate, loss and queue of every link.
    pub fn impair(scenario: &Scenario, assets: &Assets, plan: &mut Plan) {
        for (index, link) in scenario.links.iter().enumerate() {
            for site in link.sites {
                plan.run(
                    format!("link {}: delay, rate, loss and queue", link.name),
                    qdisc("add", index, link, &scenario.sites[site], assets),
                );
            }
        }
    }
}

/// Gives a link, or takes from it, what a netem does at one of its sites.
pub fn qdisc(what: &str, index: usize, link: &Link, site: &str, assets: &Assets) -> Argv {
    let namespace = assets.namespace(&router(site));
    let device = format!("link{index}");
    let words = [
        "tc", "-n", &namespace, "qdisc", what, "dev", &device, "root", "netem",
    ];
    let mut line = argv(words);
    line.extend(netem(link));
    line
}

/// The namespace of a site's router.
pub fn router(site: &str) -> String {
    format!("site-{site}")
}

/// The parameters of a link's netem.
pub fn netem(link: &Link) -> Argv {
    let delay = format!("{}us", link.delay.as_nanos() / 1000);
    let rate = format!("{}bit", link.rate.bits_per_second());
    let framing = i64::try_from(link.framing.get()).unwrap_or(i64::MAX);
    let overhead = (framing - ETHERNET).to_string();
    let limit = limit(link).to_string();
    let mut words = argv(["limit", &limit, "delay", &delay, "rate", &rate, &overhead]);
    if link.loss > 0.0 {
        let percent = format!("{}%", 100.0 * link.loss);
        words.extend(argv(["loss", "random", &percent]));
    }
    words
}

/// Packets that a link may hold: on their way and in its queue.
fn limit(link: &Link) -> u64 {
    let flight = link.rate.bytes_per_second() * link.delay.as_secs_f64();
    let packets =
        (flight / link.mtu.as_f64()).ceil() + (link.queue.as_f64() / link.mtu.as_f64()).ceil();
    (packets as u64).max(2)
}

/// The MTU of a path over all links.
pub fn smallest_mtu(scenario: &Scenario) -> u64 {
    let mtus = scenario.links.iter().map(|link| link.mtu.get());
    mtus.min().unwrap_or(1500)
}

/// A namespace with its loopback; removing it removes all that is in it.
pub fn namespace(name: &str, assets: &Assets, plan: &mut Plan) {
    let full = assets.namespace(name);
    plan.run(
        format!("namespace of {name}"),
        argv(["ip", "netns", "add", &full]),
    )
    .undone_by(argv(["ip", "netns", "del", &full]));
}

/// `ip -batch` in a namespace.
pub fn ip_batch(namespace: &str, assets: &Assets) -> Argv {
    argv(["ip", "-n", &assets.namespace(namespace), "-batch", "-"])
}

/// An interface that is up, with an address and a neighbour it knows.
fn join(batch: &mut String, device: &str, own: &str, peer: &str, mac: &str) {
    write!(
        batch,
        "link set {device} up\n\
         address add {own}/24 dev {device}\n\
         neighbour add {peer} lladdr {mac} dev {device} nud permanent\n"
    )
    .expect("a string takes it");
}

/// The address of the next router from one site towards another.
fn next_hop(scenario: &Scenario, topology: &Topology, from: usize, to: usize) -> Option<String> {
    let hops = models::wan::hops(scenario, topology, &[from, to])?;
    let &(link, direction) = hops.first()?;
    // Direction 0 leads from the link's first site to its second.
    Some(format!("10.1.{link}.{}", 2 - direction))
}

fn configure_node(
    index: usize,
    node: &Node,
    transport: Option<&Transport>,
    assets: &Assets,
    plan: &mut Plan,
) -> Result<(), Unsupported> {
    let router = format!("10.2.{index}.1");
    let mut batch = String::from("link set lo up\n");
    join(
        &mut batch,
        "wan",
        &Network::address(index),
        &router,
        &node_mac(index, 0),
    );
    writeln!(
        batch,
        "route add default via {router}{}",
        metrics(transport)
    )
    .expect("a string takes it");
    plan.feed(
        format!("address and route of {}", node.namespace),
        ip_batch(&node.namespace, assets),
        batch,
    );
    if let Some(transport) = transport {
        plan.run(
            format!("TCP settings of {}", node.namespace),
            assets.inside(&node.namespace, tcp_settings(transport, node.send_memory)?),
        );
    }
    offloads_off(&node.namespace, &["wan".to_owned()], assets, plan);
    Ok(())
}

/// What a route says of the connections that use it.
pub fn metrics(transport: Option<&Transport>) -> String {
    transport.map_or_else(String::new, |transport| {
        format!(
            " initcwnd {} rto_min {}ms",
            transport.initial_window,
            transport.min_rto.as_nanos() / 1_000_000
        )
    })
}

/// Settings of a namespace that make its connections those of the scenario.
fn tcp_settings(transport: &Transport, send_memory: Option<u64>) -> Result<Argv, Unsupported> {
    let congestion = match transport.congestion {
        Congestion::Cubic => "cubic",
        Congestion::Reno => "reno",
        other => {
            return Err(Unsupported(format!(
                "transport `{}` has congestion control {other:?}, which no kernel has; \
                 use `cubic` or `reno`",
                transport.name
            )));
        }
    };
    // Linux offers half of its receive buffer as a window (tcp_adv_win_scale = 1).
    let receive = 2 * transport.receive_window.get();
    let send = send_memory.unwrap_or(transport.send_buffer.get());
    let settings = BTreeMap::from([
        ("net.ipv4.tcp_congestion_control", congestion.to_owned()),
        (
            "net.ipv4.tcp_rmem",
            format!("4096 {} {receive}", receive.min(131_072)),
        ),
        (
            "net.ipv4.tcp_wmem",
            format!("4096 {} {send}", send.min(16_384)),
        ),
        (
            "net.ipv4.tcp_timestamps",
            u8::from(transport.timestamps).to_string(),
        ),
        ("net.ipv4.tcp_retries2", transport.retries.to_string()),
        // 3 is the default: only tail loss probes are left of early retransmits.
        (
            "net.ipv4.tcp_early_retrans",
            if transport.tail_loss_probe { "3" } else { "0" }.to_owned(),
        ),
        ("net.ipv4.tcp_no_metrics_save", "1".to_owned()),
    ]);
    let mut line = argv(["sysctl", "-q", "-w"]);
    line.extend(
        settings
            .into_iter()
            .map(|(key, value)| format!("{key}={value}")),
    );
    Ok(line)
}

/// Packets must be packets: no segmentation, no merging, checksums in software.
fn offloads_off(namespace: &str, devices: &[String], assets: &Assets, plan: &mut Plan) {
    for device in devices {
        let mut line = argv(["ethtool", "-K", device]);
        for feature in ["tso", "gso", "gro", "tx", "rx"] {
            line.extend(argv([feature, "off"]));
        }
        plan.run(
            format!("no offloads on {device} of {namespace}"),
            assets.inside(namespace, line),
        );
    }
}

fn link_mac(link: usize, side: usize) -> String {
    format!("02:01:00:00:{link:02x}:{:02x}", side + 1)
}

fn node_mac(node: usize, side: usize) -> String {
    format!("02:02:00:00:{node:02x}:{:02x}", side + 1)
}
