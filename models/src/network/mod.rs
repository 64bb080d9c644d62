//! TCP connections that share links.
//!
//! Models each connection as a fluid whose rate changes at few instants: at the
//! end of a round trip while its window grows, at a packet loss, when it is
//! done, when another connection changes, and on the ladder of its
//! retransmission timer while the path is dead. Between two instants the rate
//! is constant: what the window allows in a round trip, cut to a max-min fair
//! share ([`crate::fair`]). A window beyond the pipe stands in the queue, adds
//! to the round-trip time, and overflows it. Losses come after a geometrically
//! distributed number of packets. Packets that a client processes one by one
//! form a closed queueing network with one station (mean value analysis after
//! Reiser and Lavenberg, JACM 1980, in Schweitzer's approximation).
//!
//! Leaves out: bursts inside a round trip, queues of other flows (each flow
//! sees its share of the buffer), lost acknowledgements, reordering.
//!
//! Who would notice: users of buffers much smaller than a window.

mod connection;

use sim_core::{Queue, SimDuration, SimTime, Stream};

use crate::fair::{Fair, Share};
use crate::scenario::Transport;
use crate::tcp::Repair;
use crate::tcp::rto::{Ladder, Rung};
use crate::wan::Route;
use crate::world::Event;
use connection::{Connection, Losses, Next, Recorder, State};

/// Goodput counts as recovered at this share of what it was.
const RECOVERED: f64 = 0.9;

/// What a connection's owner is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// The goal of the last `send` is reached.
    pub done: bool,
    /// The first retransmission after a dead path got through: that of this
    /// time-out in a row.
    pub resumed: Option<u32>,
    /// TCP has given up.
    pub aborted: bool,
}

/// When a connection tells its owner that it is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// When everything is sent.
    Drained,
    /// When what is left to write takes `left` at the current rate, but not before
    /// `at_least` of sending, nor after everything is written.
    Lead {
        /// Time that what is left to write may take.
        left: SimDuration,
        /// Least time of sending.
        at_least: SimDuration,
    },
    /// After so much time of sending, or when everything is written.
    Time(SimDuration),
    /// Never.
    Silent,
}

/// All connections and the resources they share.
#[derive(Debug)]
pub struct Network {
    capacity: Vec<f64>,
    buffer: Vec<f64>,
    connections: Vec<Connection>,
    /// Connections that are sending, in the order of their indices.
    sending: Vec<usize>,
    fair: Fair,
    /// Scratch memory of [`Self::gather`], kept between calls.
    reached: Vec<bool>,
    others: Vec<usize>,
    /// Connections whose rate is back at 90 % of what it was before their path
    /// died, until somebody asks.
    recovered: Vec<usize>,
}

impl Network {
    /// A network with these capacities (bytes a second) and buffers (bytes).
    pub fn new(capacity: Vec<f64>, buffer: Vec<f64>) -> Self {
        let reached = vec![false; capacity.len()];
        let (connections, sending, others) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            capacity,
            buffer,
            connections,
            sending,
            fair: Fair::default(),
            reached,
            others,
            recovered: Vec::new(),
        }
    }

    /// Opens a connection; its index is how it is called from now on. `streams` is
    /// the number of TCP connections that it stands for, `losses` the random
    /// stream of its packet losses.
    pub fn open(
        &mut self,
        route: Route,
        transport: &Transport,
        streams: u32,
        losses: Stream,
        now: SimTime,
    ) -> usize {
        let mut connection = Connection::new(transport, route, streams, now);
        if connection.window.is_some() {
            connection.losses = Some(Losses::new(connection.route.loss, losses));
        }
        self.connections.push(connection);
        self.connections.len() - 1
    }

    /// Records the payload of a connection in intervals.
    pub fn record(&mut self, id: usize, interval: SimDuration) {
        self.connections[id].recorder = Some(Recorder {
            interval,
            bins: Vec::new(),
        });
    }

    /// Payload in bytes of every interval since the start of the simulation.
    pub fn recorded(&self, id: usize) -> Option<(SimDuration, &[f64])> {
        let recorder = self.connections[id].recorder.as_ref()?;
        Some((recorder.interval, &recorder.bins))
    }

    /// Adds bytes to what a connection has to send. `f64::INFINITY` sends on.
    pub fn send(&mut self, id: usize, bytes: f64, goal: Goal, queue: &mut Queue<Event>) {
        let now = queue.now();
        let connection = &mut self.connections[id];
        connection.advance(now);
        connection.left += bytes;
        connection.goal = goal;
        connection.goal_since = now;
        if let State::Idle { since } = connection.state {
            connection.wake(now, since);
            if !connection.blocked {
                self.start(id);
            }
        }
        self.settle(id, queue);
    }

    /// Holds a connection's application to a rate in payload bytes a second,
    /// beside the rate of its transport. `f64::INFINITY` lifts it.
    pub fn limit(&mut self, id: usize, rate: f64, queue: &mut Queue<Event>) {
        let connection = &mut self.connections[id];
        connection.advance(queue.now());
        connection.max_rate = connection.own_rate.min(rate);
        self.settle(id, queue);
    }

    /// The timer of a connection fired.
    pub fn on_timer(&mut self, id: usize, queue: &mut Queue<Event>) -> Signals {
        let now = queue.now();
        let connection = &mut self.connections[id];
        connection.timer = None;
        connection.advance(now);
        let mut signals = Signals::default();
        match connection.next {
            Next::Goal => {
                signals.done = true;
                if connection.reach_goal(now) {
                    self.stop(id);
                }
            }
            Next::Round => {
                if connection.end_round(now) == Some(Repair::Timeout) {
                    self.stall(id, now, SimDuration::ZERO);
                }
            }
            Next::Loss => {
                if connection.lose_packet(now) == Repair::Timeout {
                    self.stall(id, now, SimDuration::ZERO);
                }
            }
            Next::Retry => self.retry(id, now, &mut signals),
        }
        self.settle(id, queue);
        signals
    }

    /// The path of a connection died.
    pub fn block(&mut self, id: usize, queue: &mut Queue<Event>) {
        let now = queue.now();
        let connection = &mut self.connections[id];
        if std::mem::replace(&mut connection.blocked, true) {
            return;
        }
        let sends = matches!(connection.state, State::Sending);
        // One that waits for the time-out of a lost packet was alive as well.
        if sends || matches!(connection.state, State::Stalled { .. }) {
            connection
                .recovery
                .get_or_insert(connection.rate * RECOVERED);
        }
        if sends {
            connection.advance(now);
            connection.lose_flight();
            // The last acknowledgement arrives half a round trip later.
            let first = now + connection.route.delay;
            let later = connection.put_off();
            self.stall(id, first, later);
            self.settle(id, queue);
        }
    }

    /// The path of a connection works again.
    pub fn unblock(&mut self, id: usize) {
        self.connections[id].blocked = false;
    }

    /// A connection whose goodput is back after its path had died; each is named once.
    pub fn pop_recovered(&mut self) -> Option<usize> {
        self.recovered.pop()
    }

    /// Whether a connection is sending.
    pub fn is_sending(&self, id: usize) -> bool {
        self.sending.binary_search(&id).is_ok()
    }

    /// Whether the path of a connection is dead.
    pub fn is_blocked(&self, id: usize) -> bool {
        self.connections[id].blocked
    }

    /// A connection goes another way from now on.
    pub fn reroute(&mut self, id: usize, route: Route, queue: &mut Queue<Event>) {
        let connection = &mut self.connections[id];
        if connection.route == route {
            return;
        }
        connection.advance(queue.now());
        let sends = matches!(connection.state, State::Sending);
        if sends {
            // Those it leaves behind share what it had.
            self.stop(id);
            self.settle(id, queue);
        }
        self.connections[id].take_route(route);
        if sends {
            self.start(id);
            self.settle(id, queue);
        }
    }

    /// Ends a connection.
    pub fn close(&mut self, id: usize, queue: &mut Queue<Event>) {
        self.connections[id].advance(queue.now());
        self.connections[id].state = State::Closed;
        self.stop(id);
        self.settle(id, queue);
    }

    /// Time from the end of sending until the last byte is at the receiver.
    pub fn arrival_delay(&self, id: usize) -> SimDuration {
        let connection = &self.connections[id];
        let processing = SimDuration::from_secs_f64(connection.route.service);
        connection.route.delay + processing + connection.time_to_send(connection.ahead)
    }

    /// The current rate in payload bytes a second: of an idle connection, when
    /// it last sent; of one that never sent, what its links, its buffers and its
    /// application could make of it.
    pub fn rate(&self, id: usize) -> f64 {
        let connection = &self.connections[id];
        if connection.rate > 0.0 {
            return connection.rate;
        }
        let links = connection
            .route
            .resources
            .iter()
            .map(|&resource| self.capacity[resource]);
        let links = links.fold(f64::INFINITY, f64::min).min(1e15) / connection.route.ratio;
        links.min(connection.fastest())
    }

    /// Payload bytes that the program has yet to write: the rest of what was given
    /// is in its kernel or under way.
    pub fn unwritten(&self, id: usize) -> f64 {
        self.connections[id].unwritten()
    }

    /// How often a program that writes as fast as it may looks around: once in each
    /// cycle of filling and draining its send buffer.
    pub fn cycle(&self, id: usize) -> SimDuration {
        self.connections[id].cycle()
    }

    /// From a question of the receiver until an answer arrives behind all that the
    /// sender's kernel holds for a program with `left` bytes more to write.
    pub fn answer(&self, id: usize, left: f64) -> SimDuration {
        self.connections[id].answer(left)
    }

    /// Takes back what the program has not written yet, and says how much it was.
    pub fn withdraw(&mut self, id: usize, queue: &mut Queue<Event>) -> f64 {
        let connection = &mut self.connections[id];
        connection.advance(queue.now());
        let unwritten = connection.withdraw();
        self.settle(id, queue);
        unwritten
    }

    /// Payload bytes sent until the last event of the connection.
    pub fn sent(&self, id: usize) -> f64 {
        self.connections[id].sent
    }

    /// Bytes of IP packets sent until the last event of the connection.
    pub fn wire(&self, id: usize) -> f64 {
        self.connections[id].wire
    }

    /// The route of a connection.
    pub fn route(&self, id: usize) -> &Route {
        &self.connections[id].route
    }

    /// Whether the connection is still waiting for an answer on a dead path.
    pub fn stalled_since(&self, id: usize) -> Option<SimTime> {
        match self.connections[id].state {
            State::Stalled { ladder, .. } => Some(ladder.first()),
            _ => None,
        }
    }

    /// Brings a connection's counters up to now.
    pub fn advance(&mut self, id: usize, now: SimTime) {
        self.connections[id].advance(now);
    }

    fn retry(&mut self, id: usize, now: SimTime, signals: &mut Signals) {
        let connection = &mut self.connections[id];
        let State::Stalled { mut ladder, flight } = connection.state else {
            unreachable!("only a stalled connection has a retry timer")
        };
        if !connection.blocked {
            connection.restart(now, flight);
            signals.resumed = connection.recovery.map(|_| ladder.rung());
            self.start(id);
        } else if ladder.climb() == Rung::Abort {
            connection.state = State::Closed;
            signals.aborted = true;
        } else {
            connection.state = State::Stalled { ladder, flight };
        }
    }

    /// Stops a connection until its timer, set `later` than `first`, fires.
    fn stall(&mut self, id: usize, first: SimTime, later: SimDuration) {
        let connection = &mut self.connections[id];
        let srtt = SimDuration::from_secs_f64(connection.rtt());
        let flight = connection.flight() / connection.route.mss;
        let ladder = Ladder::new(connection.bounds, first, later, srtt);
        connection.state = State::Stalled { ladder, flight };
        // The queue is empty long before the timer fires.
        connection.ahead = 0.0;
        self.stop(id);
    }

    fn start(&mut self, id: usize) {
        if let Err(at) = self.sending.binary_search(&id) {
            self.sending.insert(at, id);
        }
    }

    fn stop(&mut self, id: usize) {
        if let Ok(at) = self.sending.binary_search(&id) {
            self.sending.remove(at);
        }
    }

    /// Gives a connection and all that share a link with it, however
    /// indirectly, their rates, and sets the timers of those that changed and
    /// its own. No other connection is touched: what happens elsewhere leaves
    /// no trace in its numbers.
    fn settle(&mut self, id: usize, queue: &mut Queue<Event>) {
        match *self.sending {
            [] => {}
            [only] if only == id => self.settle_alone(id, id, queue),
            _ => match *self.gather(id) {
                [] => {}
                [only] => self.settle_alone(only, id, queue),
                ref party => self.settle_shared(party, id, queue),
            },
        }
        self.connections[id].set_timer(id, queue);
    }

    /// The sending connections that compete with `id`, itself among them.
    fn gather(&mut self, id: usize) -> Vec<usize> {
        let Self {
            connections,
            sending,
            reached,
            others,
            ..
        } = self;
        reached.fill(false);
        for &resource in &connections[id].route.resources {
            reached[resource] = true;
        }
        others.clone_from(sending);
        let mut party = Vec::with_capacity(others.len());
        loop {
            let before = party.len();
            others.retain(|&other| {
                let resources = &connections[other].route.resources;
                let joins = other == id || resources.iter().any(|&resource| reached[resource]);
                if joins {
                    party.push(other);
                    for &resource in resources {
                        reached[resource] = true;
                    }
                }
                !joins
            });
            if party.len() == before {
                party.sort_unstable();
                return party;
            }
        }
    }

    /// One connection gets what its links have.
    fn settle_alone(&mut self, id: usize, touched: usize, queue: &mut Queue<Event>) {
        let room = self
            .tightest(id)
            .map_or(f64::INFINITY, |resource| self.buffer[resource]);
        let capacity = self.slowest(id);
        self.grant(id, (capacity, capacity, room), touched, queue);
    }

    fn settle_shared(&mut self, party: &[usize], touched: usize, queue: &mut Queue<Event>) {
        let mut shares: Vec<Share<'_>> = Vec::with_capacity(party.len());
        for &id in party {
            let connection = &self.connections[id];
            shares.push(Share {
                demand: connection.wanted() * connection.route.ratio,
                resources: &connection.route.resources,
                rate: 0.0,
                bottleneck: None,
            });
        }
        self.fair.allocate(&self.capacity, &mut shares);
        let granted: Vec<_> = shares
            .iter()
            .map(|share| (share.rate, share.bottleneck))
            .collect();
        for (&id, (rate, bottleneck)) in party.iter().zip(granted) {
            let grant = match bottleneck {
                Some(resource) => {
                    let capacity = self.capacity[resource];
                    (rate, capacity, self.buffer[resource] * (rate / capacity))
                }
                None => (f64::INFINITY, self.slowest(id), f64::INFINITY),
            };
            self.grant(id, grant, touched, queue);
        }
    }

    /// Gives a connection its rate, the bottleneck's, and its share of the buffer.
    fn grant(
        &mut self,
        id: usize,
        (granted, capacity, room): (f64, f64, f64),
        touched: usize,
        queue: &mut Queue<Event>,
    ) {
        let connection = &mut self.connections[id];
        let changes = connection.set_rate(granted, capacity, room, queue.now());
        if changes && id != touched {
            connection.set_timer(id, queue);
        }
        if connection.has_recovered() {
            self.recovered.push(id);
        }
    }

    /// The slowest resource of a connection's route.
    fn tightest(&self, id: usize) -> Option<usize> {
        let resources = self.connections[id].route.resources.iter().copied();
        resources.min_by(|&a, &b| self.capacity[a].total_cmp(&self.capacity[b]))
    }

    /// Capacity of the slowest resource.
    fn slowest(&self, id: usize) -> f64 {
        self.tightest(id)
            .map_or(f64::INFINITY, |resource| self.capacity[resource])
    }
}
