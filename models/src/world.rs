//! The one place that knows every model: events, and who handles them.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_distr::{Distribution, Exp, LogNormal, Weibull};
use sim_core::{Queue, SimDuration, SimTime, Streams};

use crate::failover::{Client, Step};
use crate::migration::Migration;
use crate::network::{Goal, Network, Signals};
use crate::scenario::{Action, Detection, Element, Migrate, Scenario, Traffic, What, When};
use crate::wan::{self, Route, Through, Topology};

/// Everything that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An action of the scenario.
    Action(u32),
    /// The timer of a connection.
    Connection(u32),
    /// The timer of a migration.
    Migration(u32),
    /// A migration has taken as long as it may.
    TimeLimit(u32),
    /// The timer of a VPN client, by tunnel.
    Client(u32),
    /// The relay of a tunnel has learned the new way.
    Relay(u32),
    /// A bulk flow starts.
    Start(u32),
    /// A bulk flow stops.
    Stop(u32),
}

/// The state of one case.
#[derive(Debug)]
pub struct World<'a> {
    scenario: &'a Scenario,
    topology: Topology,
    streams: Streams,
    network: Network,
    /// What each connection serves.
    owners: Vec<Owner>,
    migrations: Vec<Migration>,
    clients: BTreeMap<usize, Client>,
    flows: Vec<Flow>,
    link_down: Vec<bool>,
    gateway_down: Vec<bool>,
}

/// What a connection serves, and whether its address is still good.
#[derive(Clone, Copy, Debug)]
struct Owner {
    task: Task,
    ends: [usize; 2],
    transport: usize,
    tunnel: Option<usize>,
    severed: bool,
    /// The relay still sends its packets the old way.
    misled: bool,
}

/// Where a connection goes, and for what.
#[derive(Clone, Copy, Debug)]
struct Way {
    task: Task,
    ends: [usize; 2],
    transport: usize,
    tunnel: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Migration(usize),
    Flow(usize),
}

/// A bulk flow and what happened to it.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Its connection, once started.
    pub connection: Option<usize>,
    /// When it stopped or finished.
    pub stopped: Option<SimTime>,
    /// Times without data, in their order: the path died, and the first
    /// retransmission got through.
    pub outages: Vec<(SimTime, Option<SimTime>)>,
    /// Time-outs until the first of them was over.
    pub rung: Option<u32>,
    /// When goodput was back after the first of them.
    pub recovered: Option<SimTime>,
    /// Whether its address is no longer good.
    pub severed: bool,
    /// When the oldest unanswered byte was sent first, and when TCP gave up.
    pub aborted: Option<(SimTime, SimTime)>,
}

impl Flow {
    /// The first outage.
    pub fn first_outage(&self) -> Option<(SimTime, Option<SimTime>)> {
        self.outages.first().copied()
    }

    fn fail(&mut self, now: SimTime) {
        if self.outages.last().is_none_or(|last| last.1.is_some()) {
            self.outages.push((now, None));
        }
    }

    fn resume(&mut self, now: SimTime, rung: u32) {
        if let Some(last) = self.outages.last_mut() {
            last.1.get_or_insert(now);
            self.rung.get_or_insert(rung);
        }
    }
}

impl<'a> World<'a> {
    /// The state at time zero, with the actions and flows in the queue.
    pub fn new(scenario: &'a Scenario, streams: Streams, queue: &mut Queue<Event>) -> Self {
        let clients = scenario
            .tunnels
            .iter()
            .enumerate()
            .filter_map(|(index, tunnel)| {
                let vpn = tunnel.vpn.as_ref()?;
                let phase = probe_phase(vpn.detection.as_ref(), &streams, &tunnel.name);
                Some((index, Client::new(tunnel, vpn, phase)))
            });
        let world = Self {
            scenario,
            topology: Topology::new(scenario),
            network: Network::new(wan::capacities(scenario), wan::buffers(scenario)),
            owners: Vec::new(),
            migrations: Vec::new(),
            clients: clients.collect(),
            flows: vec![Flow::default(); scenario.traffic.len()],
            link_down: vec![false; scenario.links.len()],
            gateway_down: vec![false; scenario.gateways.len()],
            streams,
        };
        for (index, flow) in scenario.traffic.iter().enumerate() {
            queue.schedule(flow.start, Event::Start(number(index)));
            queue.schedule(flow.stop, Event::Stop(number(index)));
        }
        for (index, action) in scenario.actions.iter().enumerate() {
            queue.schedule(
                instant(action, &world.streams),
                Event::Action(number(index)),
            );
        }
        world
    }

    /// Migrations in the order in which they started.
    pub fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    /// Bulk flows in the scenario's order.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// The connections.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// VPN clients by tunnel.
    pub fn clients(&self) -> &BTreeMap<usize, Client> {
        &self.clients
    }

    /// Route between two sites, through a tunnel as it stands.
    pub fn route(&self, ends: [usize; 2], transport: usize, tunnel: Option<usize>) -> Route {
        let through = tunnel.map(|index| Through {
            index,
            tunnel: &self.scenario.tunnels[index],
            gateway: self
                .clients
                .get(&index)
                .map(|client| self.scenario.gateways[client.gateway()].site),
        });
        let transport = &self.scenario.transports[transport];
        wan::route(self.scenario, &self.topology, ends, transport, through)
            .expect("validation has found a route")
    }

    /// Drops all events when nothing is left that could change a result.
    fn stop_if_settled(&self, queue: &mut Queue<Event>) {
        let migrates = |action: &&Action| matches!(action.what, What::Migrate(_));
        let planned = self.scenario.actions.iter().filter(migrates).count();
        let over =
            self.migrations.len() == planned && self.migrations.iter().all(Migration::is_over);
        if over && self.scenario.traffic.is_empty() {
            queue.clear();
        }
    }

    /// Ends what is still running, so that its counters are up to date.
    pub fn finish(&mut self, end: SimTime) {
        for id in 0..self.owners.len() {
            self.network.advance(id, end);
        }
    }

    fn act(&mut self, index: usize, queue: &mut Queue<Event>) {
        match &self.scenario.actions[index].what {
            What::Migrate(order) => self.migrate(order, queue),
            What::Fail(element) => self.set_down(*element, true, queue),
            What::Repair(element) => self.set_down(*element, false, queue),
        }
    }

    fn migrate(&mut self, order: &Migrate, queue: &mut Queue<Event>) {
        let scenario = self.scenario;
        let vm = &scenario.vms[order.vm];
        let ends = [scenario.hosts[vm.host].site, scenario.hosts[order.to].site];
        let index = self.migrations.len();
        let task = Task::Migration(index);
        let name = format!("connection.vm.{}", vm.name);
        let way = Way {
            task,
            ends,
            transport: order.transport,
            tunnel: order.tunnel,
        };
        let channels = order.multifd();
        let connection = self.connect(way, channels.unwrap_or(1), &name, queue);
        let main = channels.map(|_| self.connect(way, 1, &format!("{name}.main"), queue));
        let speed = write_speed(vm.dirty_variation, &self.streams, &vm.name);
        let network = &mut self.network;
        let migration = Migration::start(
            number(index),
            order,
            scenario,
            (connection, main),
            speed,
            network,
            queue,
        );
        self.migrations.push(migration);
    }

    fn start_flow(&mut self, index: usize, queue: &mut Queue<Event>) {
        let Traffic {
            name,
            from,
            to,
            transport,
            tunnel,
            size,
            ..
        } = &self.scenario.traffic[index];
        let name = format!("connection.traffic.{name}");
        let task = Task::Flow(index);
        let way = Way {
            task,
            ends: [*from, *to],
            transport: *transport,
            tunnel: *tunnel,
        };
        let connection = self.connect(way, 1, &name, queue);
        self.flows[index].connection = Some(connection);
        if let (0, Some(interval)) = (index, self.scenario.series) {
            self.network.record(connection, interval);
        }
        let bytes = size.map_or(f64::INFINITY, |size| size.as_f64());
        self.network.send(connection, bytes, Goal::Drained, queue);
    }

    fn stop_flow(&mut self, index: usize, queue: &mut Queue<Event>) {
        let flow = &mut self.flows[index];
        if flow.stopped.is_none() {
            flow.stopped = Some(queue.now());
            if let Some(connection) = flow.connection {
                self.network.close(connection, queue);
            }
        }
    }

    /// Opens a connection that stands for so many of TCP's.
    fn connect(&mut self, way: Way, streams: u32, stream: &str, queue: &mut Queue<Event>) -> usize {
        let Way {
            task,
            ends,
            transport,
            tunnel,
        } = way;
        let route = self.route(ends, transport, tunnel);
        let losses = self.streams.stream(stream);
        let settings = &self.scenario.transports[transport];
        let id = self
            .network
            .open(route, settings, streams, losses, queue.now());
        self.owners.push(Owner {
            task,
            ends,
            transport,
            tunnel,
            severed: false,
            misled: false,
        });
        if !self.is_alive(id) {
            self.network.block(id, queue);
        }
        id
    }

    /// Whether packets of a connection arrive.
    fn is_alive(&self, id: usize) -> bool {
        let owner = self.owners[id];
        let links = &self.network.route(id).links;
        let tunnel_up = owner
            .tunnel
            .and_then(|tunnel| self.clients.get(&tunnel))
            .is_none_or(|client| client.is_up() && !self.gateway_down[client.gateway()]);
        !owner.severed
            && !owner.misled
            && tunnel_up
            && links.iter().all(|&link| !self.link_down[link])
    }

    fn set_down(&mut self, element: Element, down: bool, queue: &mut Queue<Event>) {
        match element {
            Element::Gateway(gateway) => self.gateway_down[gateway] = down,
            Element::Link(link) => self.link_down[link] = down,
        }
        let tunnels: Vec<usize> = self.clients.keys().copied().collect();
        for tunnel in tunnels {
            self.tell_client(tunnel, queue);
        }
        for id in 0..self.owners.len() {
            self.refresh(id, None, queue);
        }
    }

    /// Tells a VPN client that the way to its gateway has changed.
    fn tell_client(&mut self, tunnel: usize, queue: &mut Queue<Event>) {
        let gateway = self.clients[&tunnel].gateway();
        let (alive, rtt) = self.way_to_gateway(tunnel, gateway);
        let busy = self.is_busy(tunnel);
        let client = self
            .clients
            .get_mut(&tunnel)
            .expect("the key is from the map");
        if alive {
            client.on_repair();
        } else if let Step::At(at) = client.on_failure(queue.now(), rtt, busy) {
            queue.schedule(at, Event::Client(number(tunnel)));
        }
    }

    fn wake_client(&mut self, tunnel: usize, queue: &mut Queue<Event>) {
        let mut client = self.clients[&tunnel].clone();
        let step = client.on_wake(queue.now(), |gateway| self.way_to_gateway(tunnel, gateway));
        let lag = client.relay_lag(queue.now());
        let relay = client.has_relay();
        self.clients.insert(tunnel, client);
        match step {
            Step::Wait => {}
            Step::At(at) => {
                queue.schedule(at, Event::Client(number(tunnel)));
            }
            Step::Up { moved } => {
                self.reroute(tunnel, moved, relay, queue);
                if moved && relay {
                    queue.schedule(queue.now() + lag, Event::Relay(number(tunnel)));
                }
            }
        }
    }

    /// The tunnel stands again. Through the same gateway everything goes on.
    /// Through another one a relay is needed: connections from the client go on
    /// at once, those towards it when the relay has learned the new way; without
    /// a relay they are severed, for the client's address is another one.
    fn reroute(&mut self, tunnel: usize, moved: bool, relay: bool, queue: &mut Queue<Event>) {
        let client = self.scenario.tunnels[tunnel]
            .vpn
            .as_ref()
            .map(|vpn| vpn.client);
        for id in 0..self.owners.len() {
            let owner = self.owners[id];
            if owner.tunnel != Some(tunnel) {
                continue;
            }
            self.owners[id].severed |= moved && !relay;
            if let (Task::Flow(flow), true) = (owner.task, self.owners[id].severed) {
                self.flows[flow].severed = true;
            }
            self.owners[id].misled = moved && relay && Some(owner.ends[0]) != client;
            if !self.owners[id].severed && !self.owners[id].misled {
                let route = self.route(owner.ends, owner.transport, owner.tunnel);
                self.refresh(id, Some(route), queue);
            }
        }
    }

    /// The relay has seen a packet of the client: data flows towards it again.
    fn relay_learned(&mut self, tunnel: usize, queue: &mut Queue<Event>) {
        for id in 0..self.owners.len() {
            let owner = self.owners[id];
            if owner.tunnel == Some(tunnel) && owner.misled {
                self.owners[id].misled = false;
                let route = self.route(owner.ends, owner.transport, owner.tunnel);
                self.refresh(id, Some(route), queue);
            }
        }
    }

    fn refresh(&mut self, id: usize, route: Option<Route>, queue: &mut Queue<Event>) {
        // The new way first: whether the old one is alive no longer matters.
        if let Some(route) = route {
            self.network.reroute(id, route, queue);
        }
        if self.is_alive(id) {
            self.network.unblock(id);
            return;
        }
        let worked = !self.network.is_blocked(id);
        self.network.block(id, queue);
        if let Task::Flow(flow) = self.owners[id].task
            && worked
            && self.flows[flow].stopped.is_none()
        {
            self.flows[flow].fail(queue.now());
        }
    }

    /// Whether a gateway answers, and the round-trip time there.
    fn way_to_gateway(&self, tunnel: usize, gateway: usize) -> (bool, SimDuration) {
        let vpn = self.scenario.tunnels[tunnel]
            .vpn
            .as_ref()
            .expect("only VPNs have clients");
        let site = self.scenario.gateways[gateway].site;
        let hops = wan::hops(self.scenario, &self.topology, &[vpn.client, site])
            .expect("validation has found a route");
        let up = hops.iter().all(|&(link, _)| !self.link_down[link]);
        let delay: SimDuration = hops
            .iter()
            .map(|&(link, _)| self.scenario.links[link].delay)
            .sum();
        (up && !self.gateway_down[gateway], delay * 2)
    }

    /// Whether packets come in through a tunnel.
    fn is_busy(&self, tunnel: usize) -> bool {
        let mut owners = self.owners.iter().enumerate();
        owners.any(|(id, owner)| owner.tunnel == Some(tunnel) && self.network.is_sending(id))
    }

    fn on_connection(&mut self, id: usize, queue: &mut Queue<Event>) {
        let unanswered = self.network.stalled_since(id);
        let signals = self.network.on_timer(id, queue);
        if signals == Signals::default() {
            return;
        }
        match self.owners[id].task {
            Task::Migration(index) => {
                let (migration, network) = (&mut self.migrations[index], &mut self.network);
                if signals.done {
                    migration.on_sent(number(index), id, network, queue);
                }
                if signals.aborted {
                    migration.fail("TCP gave the migration's connection up", network, queue);
                    self.stop_if_settled(queue);
                }
            }
            Task::Flow(index) => {
                let flow = &mut self.flows[index];
                let now = queue.now();
                if let Some(rung) = signals.resumed {
                    flow.resume(now, rung);
                }
                if signals.aborted {
                    flow.aborted = Some((unanswered.unwrap_or(now), now));
                }
                if signals.done || signals.aborted {
                    flow.stopped.get_or_insert(now);
                }
            }
        }
    }
}

impl sim_core::World for World<'_> {
    type Event = Event;

    fn handle(&mut self, now: SimTime, event: Event, queue: &mut Queue<Event>) {
        match event {
            Event::Connection(id) => self.on_connection(id as usize, queue),
            Event::Action(index) => self.act(index as usize, queue),
            Event::Migration(index) => {
                self.migrations[index as usize].on_timer(index, &mut self.network, queue);
                self.stop_if_settled(queue);
            }
            Event::TimeLimit(index) => {
                self.migrations[index as usize].on_time_limit(&mut self.network, queue);
                self.stop_if_settled(queue);
            }
            Event::Client(tunnel) => self.wake_client(tunnel as usize, queue),
            Event::Relay(tunnel) => self.relay_learned(tunnel as usize, queue),
            Event::Start(index) => self.start_flow(index as usize, queue),
            Event::Stop(index) => self.stop_flow(index as usize, queue),
        }
        while let Some(id) = self.network.pop_recovered() {
            if let Task::Flow(flow) = self.owners[id].task {
                self.flows[flow].recovered.get_or_insert(now);
            }
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("validation bounds the number of entries")
}

/// When an action happens in this replication.
pub(crate) fn instant(action: &Action, streams: &Streams) -> SimTime {
    let mut stream = streams.stream(&format!("action.{}", action.name));
    let seconds = match action.when {
        When::At(at) => return at,
        When::Exponential { mean } => {
            let exponential = Exp::new(1.0).expect("one is a rate");
            mean.as_secs_f64() * exponential.sample(&mut stream)
        }
        When::Uniform { low, high } => {
            let share = stream.random::<f64>();
            low.as_secs_f64() + (high - low).as_secs_f64() * share
        }
        When::Weibull { scale, shape } => {
            let weibull = Weibull::new(1.0, shape).expect("validation bounds the shape");
            scale.as_secs_f64() * weibull.sample(&mut stream)
        }
    };
    SimTime::ZERO + SimDuration::from_secs_f64(seconds)
}

/// Where in its interval the first probe falls: anywhere.
pub(crate) fn probe_phase(
    detection: Option<&Detection>,
    streams: &Streams,
    tunnel: &str,
) -> SimDuration {
    let Some(Detection::Probe { interval, .. }) = detection else {
        return SimDuration::ZERO;
    };
    let share = streams
        .stream(&format!("tunnel.{tunnel}.probe"))
        .random::<f64>();
    SimDuration::from_nanos((interval.as_nanos() as f64 * share) as u64)
}

/// How fast the guest writes in this replication: lognormal with mean 1.
fn write_speed(variation: f64, streams: &Streams, vm: &str) -> f64 {
    if variation == 0.0 {
        return 1.0;
    }
    let variance = libm::log1p(variation * variation);
    let normal = LogNormal::new(-variance / 2.0, variance.sqrt()).expect("the variance is finite");
    normal.sample(&mut streams.stream(&format!("vm.{vm}.dirty")))
}
