//! Sites, links and routes, and what a packet costs on them.
//!
//! Models an undirected graph of sites (petgraph) whose links have a delay, a
//! rate, a loss probability, a buffer and an MTU each way. Routes have the
//! least delay, then the fewest hops, and stay as they are when a link fails.
//! A route through a VPN goes by way of its gateway. The size of packets comes
//! from the path MTU and from ESP ([`crate::ipsec`]).
//!
//! Leaves out: routing protocols, asymmetric routes, fragmentation (TCP's
//! segments always fit), the bandwidth of acknowledgements. ESP is charged on
//! every link of a route, also behind the gateway.
//!
//! Who would notice: users of saturated reverse paths, and of leased lines that
//! are slower than the access link by less than the ESP overhead.

use petgraph::algo::astar;
use petgraph::graph::{NodeIndex, UnGraph};

use crate::ipsec::{Encapsulation, IP_HEADER};
use crate::scenario::{Congestion, Link, Mode, Scenario, Transport, Tunnel};
use crate::tcp::buffer::Memory;
use sim_core::SimDuration;

const TCP_HEADER: u64 = 20;
const TIMESTAMPS: u64 = 12;
/// The capsule of a packet relay is one more IP header.
const RELAY_HEADER: u64 = IP_HEADER;
/// Buffer in front of an encryption engine: Linux's `txqueuelen` in packets.
const CRYPTO_QUEUE: f64 = 1000.0;
/// Rate within one site, bytes a second: high enough to never bind.
const LOCAL_RATE: f64 = 1e15;

/// Index of a thing with a capacity: a link in one direction, or the
/// encryption engine of a tunnel.
pub type Resource = usize;

/// The graph of sites.
#[derive(Clone, Debug)]
pub struct Topology {
    graph: UnGraph<(), usize, u32>,
}

/// What a connection needs to know of its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Links in their direction, and the encryption engine.
    pub resources: Vec<Resource>,
    /// Links, without direction.
    pub links: Vec<usize>,
    /// One-way delay without queues.
    pub delay: SimDuration,
    /// TCP payload of a full packet.
    pub mss: f64,
    /// Bytes on the link for a byte of payload.
    pub ratio: f64,
    /// What its segments cost the sender's kernel.
    pub memory: Memory,
    /// Probability that a data packet is lost.
    pub loss: f64,
    /// Serial processing of a packet, seconds.
    pub service: f64,
}

impl Route {
    /// Round-trip time without queues and processing.
    pub fn rtt(&self) -> SimDuration {
        self.delay * 2
    }
}

/// How a tunnel changes a route.
#[derive(Clone, Copy, Debug)]
pub struct Through<'a> {
    /// Its index.
    pub index: usize,
    /// The tunnel.
    pub tunnel: &'a Tunnel,
    /// Site of the gateway in use, where there are gateways.
    pub gateway: Option<usize>,
}

impl Topology {
    /// The graph of a scenario's sites and links.
    pub fn new(scenario: &Scenario) -> Self {
        let mut graph = UnGraph::default();
        for _ in &scenario.sites {
            graph.add_node(());
        }
        for (index, link) in scenario.links.iter().enumerate() {
            let [a, b] = link.sites.map(NodeIndex::new);
            graph.add_edge(a, b, index);
        }
        Self { graph }
    }

    /// Sites of the path with the least delay, both ends included.
    fn path(&self, links: &[Link], from: usize, to: usize) -> Option<Vec<usize>> {
        let target = NodeIndex::new(to);
        // Delay first, then hops: a hop counts less than a nanosecond.
        let cost = |link: usize| (u128::from(links[link].delay.as_nanos()) << 32) + 1;
        let found = astar(
            &self.graph,
            NodeIndex::new(from),
            |node| node == target,
            |edge| cost(*edge.weight()),
            |_| 0,
        )?;
        Some(found.1.into_iter().map(NodeIndex::index).collect())
    }

    /// The best link between two neighbours.
    fn link_between(&self, links: &[Link], a: usize, b: usize) -> usize {
        let edges = self
            .graph
            .edges_connecting(NodeIndex::new(a), NodeIndex::new(b));
        edges
            .map(|edge| *edge.weight())
            .min_by_key(|&link| (links[link].delay, link))
            .expect("neighbours on a path are joined by a link")
    }
}

/// The route of a connection, or `None` when no links lead there.
pub fn route(
    scenario: &Scenario,
    topology: &Topology,
    ends: [usize; 2],
    transport: &Transport,
    through: Option<Through<'_>>,
) -> Option<Route> {
    let links = &scenario.links;
    let gateway = through.and_then(|through| through.gateway);
    let hops = match gateway {
        Some(gateway) => hops(scenario, topology, &[ends[0], gateway, ends[1]])?,
        None => hops(scenario, topology, &ends)?,
    };
    let used = || hops.iter().map(|&(link, _)| &links[link]);
    let relay = through.and_then(|through| through.tunnel.vpn.as_ref()?.relay);
    let delay = used().map(|link| link.delay).sum::<SimDuration>() + relay.unwrap_or_default();
    let (mss, ratio) = packet(used(), transport, through.map(|through| through.tunnel));
    let mut resources: Vec<Resource> = hops
        .iter()
        .map(|&(link, direction)| 2 * link + direction)
        .collect();
    if let Some(through) = through.filter(|through| through.tunnel.throughput.is_some()) {
        resources.push(2 * links.len() + through.index);
    }
    let mtu = used().map(|link| link.mtu.get()).min().unwrap_or(1500);
    // Before ESP a sender hands down packet by packet; a gateway's client encrypts
    // for it, and WireGuard's device takes larger pieces.
    let pieces = through.is_none_or(|through| {
        through.tunnel.vpn.is_some() || through.tunnel.mode == Mode::Wireguard
    });
    Some(Route {
        memory: Memory::new(mtu, mss, pieces),
        resources,
        links: hops.iter().map(|&(link, _)| link).collect(),
        delay,
        mss,
        ratio,
        loss: 1.0 - used().map(|link| 1.0 - link.loss).product::<f64>(),
        service: through.map_or(0.0, |through| through.tunnel.packet_time.as_secs_f64()),
    })
}

/// The links, each with its direction, of the way along these sites, or `None`
/// when no links lead there.
pub fn hops(
    scenario: &Scenario,
    topology: &Topology,
    stops: &[usize],
) -> Option<Vec<(usize, usize)>> {
    let links = &scenario.links;
    let mut hops = Vec::new();
    for leg in stops.windows(2) {
        let sites = topology.path(links, leg[0], leg[1])?;
        hops.extend(sites.windows(2).map(|pair| {
            let link = topology.link_between(links, pair[0], pair[1]);
            (link, usize::from(links[link].sites[0] != pair[0]))
        }));
    }
    Some(hops)
}

/// Payload of a full packet, and bytes on the link for a byte of payload.
fn packet<'a>(
    links: impl Iterator<Item = &'a Link> + Clone,
    transport: &Transport,
    tunnel: Option<&Tunnel>,
) -> (f64, f64) {
    let mtu = links
        .clone()
        .map(|link| link.mtu.get())
        .min()
        .unwrap_or(1500);
    let framing = links.map(|link| link.framing.get()).max().unwrap_or(0);
    let headers = IP_HEADER + TCP_HEADER + if transport.timestamps { TIMESTAMPS } else { 0 };
    let relay = tunnel
        .and_then(|tunnel| tunnel.vpn.as_ref()?.relay)
        .map_or(0, |_| RELAY_HEADER);
    let wrap = tunnel.map(Encapsulation::of);
    let inner = wrap.map_or(Some(mtu), |wrap| wrap.largest_inner(mtu));
    let inner = inner.expect("links carry at least 576 bytes");
    let mss = (inner - relay - headers) as f64;
    let wire = wrap.map_or(inner, |wrap| wrap.outer(inner, mtu)) + framing;
    if transport.congestion == Congestion::Fluid {
        (mss, 1.0)
    } else {
        (mss, wire as f64 / mss)
    }
}

/// Capacity of every resource in bytes a second.
pub fn capacities(scenario: &Scenario) -> Vec<f64> {
    let links = scenario
        .links
        .iter()
        .flat_map(|link| [link.rate.bytes_per_second(); 2]);
    let tunnels = scenario.tunnels.iter().map(|tunnel| {
        tunnel
            .throughput
            .map_or(LOCAL_RATE, |throughput| throughput.bytes_per_second())
    });
    links.chain(tunnels).collect()
}

/// Buffer in front of every resource in bytes.
pub fn buffers(scenario: &Scenario) -> Vec<f64> {
    let links = scenario
        .links
        .iter()
        .flat_map(|link| [link.queue.as_f64(); 2]);
    let tunnels = scenario.tunnels.iter().map(|_| CRYPTO_QUEUE * 1500.0);
    links.chain(tunnels).collect()
}
