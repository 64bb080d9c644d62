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

use rand::RngExt;
use sim_core::{EventId, Queue, SimDuration, SimTime, Stream};

use crate::fair::{Fair, Share};
use crate::scenario::{Congestion, Transport};
use crate::tcp::rto::{Bounds, Ladder, Rung};
use crate::tcp::{Repair, Round, Window};
use crate::units::Bytes;
use crate::wan::Route;
use crate::world::Event;

/// Goodput counts as recovered at this share of what it was.
const RECOVERED: f64 = 0.9;

/// What a connection's owner is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// The goal of the last `send` is reached.
    pub done: bool,
    /// The first retransmission after a dead path got through.
    pub resumed: bool,
    /// The rate is back at 90 % of what it was before the path died.
    pub recovered: bool,
    /// TCP has given up.
    pub aborted: bool,
}

/// When a connection tells its owner that it is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// When everything is sent.
    Drained,
    /// When what is left takes `left` at the current rate, but not before
    /// `at_least` of sending, nor after everything is sent.
    Lead {
        /// Time that what is left may take.
        left: SimDuration,
        /// Least time of sending.
        at_least: SimDuration,
    },
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
}

#[derive(Debug)]
struct Connection {
    route: Route,
    base_rtt: f64,
    window: Option<Window>,
    /// Largest amount in flight beside the congestion window, bytes.
    flight_cap: f64,
    /// Rate of the application, payload bytes a second: as the transport has
    /// it, and with the limit of its owner.
    own_rate: f64,
    max_rate: f64,
    bounds: Bounds,
    losses: Option<Losses>,
    state: State,
    /// Whether the path is dead.
    blocked: bool,
    goal: Goal,
    goal_since: SimTime,
    left: f64,
    sent: f64,
    /// Payload that counts as sent and still stands in the queue.
    ahead: f64,
    wire: f64,
    rate: f64,
    demand: f64,
    /// Buffer this connection may fill, bytes on the link.
    room: f64,
    /// Rate of the bottleneck, bytes a second on the link.
    bottleneck: f64,
    updated: SimTime,
    round_end: SimTime,
    /// Until when losses belong to a flight that was answered already.
    repaired_until: Option<SimTime>,
    next: Next,
    timer: Option<EventId>,
    /// Rate at which goodput counts as recovered, after a dead path.
    recovery: Option<f64>,
    recorder: Option<Recorder>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle { since: SimTime },
    Sending,
    Stalled { ladder: Ladder, flight: f64 },
    Closed,
}

/// What the timer of a connection stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Goal,
    Round,
    Loss,
    Retry,
}

#[derive(Debug)]
struct Losses {
    probability: f64,
    stream: Stream,
    /// Packets until the next one is lost.
    packets: f64,
}

/// Payload sent in every interval of a time series.
#[derive(Debug)]
pub struct Recorder {
    interval: SimDuration,
    bins: Vec<f64>,
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
        }
    }

    /// Opens a connection; its index is how it is called from now on. `losses`
    /// is the random stream of its packet losses.
    pub fn open(
        &mut self,
        route: Route,
        transport: &Transport,
        losses: Stream,
        now: SimTime,
    ) -> usize {
        let mut connection = Connection::new(transport, route, now);
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
                    self.stall(id, now);
                }
            }
            Next::Loss => {
                if connection.lose_packet(now) == Repair::Timeout {
                    self.stall(id, now);
                }
            }
            Next::Retry => self.retry(id, now, &mut signals),
        }
        self.settle(id, queue);
        let connection = &mut self.connections[id];
        signals.recovered = connection.has_recovered();
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
            self.stall(id, first);
            self.settle(id, queue);
        }
    }

    /// The path of a connection works again.
    pub fn unblock(&mut self, id: usize) {
        self.connections[id].blocked = false;
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

    /// Payload bytes that wait to be sent.
    pub fn left(&self, id: usize) -> f64 {
        self.connections[id].unsent()
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
            signals.resumed = connection.recovery.is_some();
            self.start(id);
        } else if ladder.climb() == Rung::Abort {
            connection.state = State::Closed;
            signals.aborted = true;
        } else {
            connection.state = State::Stalled { ladder, flight };
        }
    }

    /// Stops a connection until its timer, counted from `first`, fires.
    fn stall(&mut self, id: usize, first: SimTime) {
        let connection = &mut self.connections[id];
        let srtt = SimDuration::from_secs_f64(connection.rtt());
        let flight = connection.flight() / connection.route.mss;
        let ladder = Ladder::new(connection.bounds, first, srtt);
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
        let changes = self.connections[id].set_rate(capacity, capacity, room, queue.now());
        if changes && id != touched {
            self.connections[id].set_timer(id, queue);
        }
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
            let (granted, capacity, room) = match bottleneck {
                Some(resource) => {
                    let capacity = self.capacity[resource];
                    (rate, capacity, self.buffer[resource] * (rate / capacity))
                }
                None => (f64::INFINITY, self.slowest(id), f64::INFINITY),
            };
            let changes = self.connections[id].set_rate(granted, capacity, room, queue.now());
            if changes && id != touched {
                self.connections[id].set_timer(id, queue);
            }
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

impl Connection {
    fn new(transport: &Transport, route: Route, now: SimTime) -> Self {
        let fluid = transport.congestion == Congestion::Fluid;
        let window = (!fluid).then(|| {
            Window::new(
                transport.congestion,
                transport.hystart,
                transport.initial_window,
            )
        });
        let channel = transport
            .channel_window
            .map_or(f64::INFINITY, Bytes::as_f64);
        let flight_cap = transport
            .receive_window
            .as_f64()
            .min(transport.send_buffer.as_f64())
            .min(channel)
            .max(route.mss);
        let own_rate = transport
            .max_rate
            .map_or(f64::INFINITY, |rate| rate.bytes_per_second());
        Self {
            base_rtt: route.rtt().as_secs_f64(),
            window,
            flight_cap,
            own_rate,
            max_rate: own_rate,
            bounds: Bounds {
                min: transport.min_rto,
                max: transport.max_rto,
                retries: transport.retries,
            },
            losses: None,
            state: State::Idle { since: now },
            blocked: false,
            goal: Goal::Silent,
            goal_since: now,
            left: 0.0,
            sent: 0.0,
            ahead: 0.0,
            wire: 0.0,
            rate: 0.0,
            demand: 0.0,
            room: 0.0,
            bottleneck: f64::INFINITY,
            updated: now,
            round_end: now,
            repaired_until: None,
            next: Next::Goal,
            timer: None,
            recovery: None,
            recorder: None,
            route,
        }
    }

    /// Bytes that may be in flight.
    fn flight(&self) -> f64 {
        let window = self
            .window
            .as_ref()
            .map_or(f64::INFINITY, |w| w.size() * self.route.mss);
        window.min(self.flight_cap)
    }

    /// Round-trip time of an empty path with the serial processing of a flight.
    fn loaded_rtt(&self) -> f64 {
        let service = self.route.service;
        if service == 0.0 {
            return self.base_rtt;
        }
        // R = s (1 + (n-1)/n Q), X = n / (Z + R), Q = X R, solved for R.
        let excess = service * (self.flight() / self.route.mss) - self.base_rtt;
        let root = (excess * excess + 4.0 * service * self.base_rtt).sqrt();
        self.base_rtt + f64::midpoint(excess, root)
    }

    /// Payload rate the window and the application ask for.
    fn wanted(&self) -> f64 {
        if self.window.is_none() {
            return self.max_rate;
        }
        let rtt = self.loaded_rtt();
        let rate = if rtt > 0.0 {
            self.flight() / rtt
        } else {
            f64::INFINITY
        };
        rate.min(self.max_rate)
    }

    /// Payload rate with the largest window.
    fn fastest(&self) -> f64 {
        if self.window.is_none() || self.base_rtt == 0.0 {
            return self.max_rate;
        }
        self.max_rate.min(self.flight_cap / self.base_rtt)
    }

    /// Takes a share of `granted` bytes a second on the link, and says whether
    /// the rate is another one now.
    fn set_rate(&mut self, granted: f64, bottleneck: f64, room: f64, now: SimTime) -> bool {
        // 1e15 bytes a second stand for a path without links.
        let demand = self.wanted().min(1e15);
        let rate = demand.min(granted / self.route.ratio);
        let changes = rate != self.rate;
        if changes {
            self.advance(now);
        }
        self.demand = demand;
        self.rate = rate;
        self.bottleneck = bottleneck;
        self.room = room;
        changes
    }

    /// Goes another way.
    fn take_route(&mut self, route: Route) {
        self.base_rtt = route.rtt().as_secs_f64();
        if let Some(losses) = &mut self.losses {
            losses.set(route.loss);
        }
        self.route = route;
    }

    /// Round-trip time with queues at the current rate.
    fn rtt(&self) -> f64 {
        let loaded = self.loaded_rtt();
        if self.window.is_some() && self.rate > 0.0 && self.rate < self.demand {
            loaded.max(self.flight() / self.rate)
        } else {
            loaded
        }
    }

    /// Bytes on the link that stand in the queue beyond the buffer. A sender
    /// that its window or its application holds back leaves no queue.
    fn overflow(&self) -> f64 {
        if self.rate >= self.demand {
            return 0.0;
        }
        let pipe = self.rate * self.loaded_rtt();
        (self.flight() - pipe) * self.route.ratio - self.room
    }

    /// Payload that the sender has yet to hand to the path. Between two goals what
    /// leaves the bottleneck is counted; of that the sender is ahead by the queue.
    fn unsent(&self) -> f64 {
        if self.window.is_none() || self.rate >= self.demand {
            return self.left;
        }
        let standing = self.flight() - self.rate * self.loaded_rtt();
        (self.left - (standing - self.ahead).max(0.0)).max(0.0)
    }

    /// Whether goodput is back after a dead path; says so once.
    fn has_recovered(&mut self) -> bool {
        let sending = matches!(self.state, State::Sending);
        let back = sending && self.recovery.is_some_and(|level| self.rate >= level);
        if back {
            self.recovery = None;
        }
        back
    }

    /// Moves the counters to `now`.
    fn advance(&mut self, now: SimTime) {
        let from = std::mem::replace(&mut self.updated, now);
        if from == now || !matches!(self.state, State::Sending) {
            return;
        }
        let bytes = (self.rate * (now - from).as_secs_f64()).min(self.left);
        self.left -= bytes;
        self.sent += bytes;
        self.wire += bytes * self.route.ratio;
        if let Some(losses) = &mut self.losses {
            losses.packets -= bytes / self.route.mss;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.add(from, now, bytes);
        }
    }

    /// Leaves the idle state.
    fn wake(&mut self, now: SimTime, since: SimTime) {
        let idle = (now - since).as_secs_f64();
        self.ahead = (self.ahead - self.rate * idle).max(0.0);
        let rto = self.bounds.timeout(SimDuration::from_secs_f64(self.rtt()));
        if let Some(window) = &mut self.window
            && self.sent > 0.0
        {
            window.on_idle(idle, rto.as_secs_f64());
        }
        self.state = if self.blocked {
            let srtt = SimDuration::from_secs_f64(self.base_rtt);
            State::Stalled {
                ladder: Ladder::new(self.bounds, now, srtt),
                flight: 1.0,
            }
        } else {
            State::Sending
        };
        self.round_end = now + SimDuration::from_secs_f64(self.loaded_rtt());
    }

    /// Goes on after a time-out.
    fn restart(&mut self, now: SimTime, flight: f64) {
        if let Some(window) = &mut self.window {
            window.on_timeout(flight);
        }
        self.state = State::Sending;
        self.round_end = now + SimDuration::from_secs_f64(self.loaded_rtt());
    }

    /// Whether the connection has nothing left to do.
    fn reach_goal(&mut self, now: SimTime) -> bool {
        if self.goal != Goal::Drained {
            self.goal = Goal::Silent;
            return false;
        }
        // What is left stands in the queue, but for rounding to nanoseconds.
        let rest = std::mem::take(&mut self.left);
        self.ahead += rest;
        self.sent += rest;
        self.wire += rest * self.route.ratio;
        if let Some(losses) = &mut self.losses {
            losses.packets -= rest / self.route.mss;
        }
        let drained = now + self.time_to_send(rest);
        if let Some(recorder) = &mut self.recorder {
            recorder.add(now, drained, rest);
        }
        self.state = State::Idle { since: now };
        true
    }

    fn end_round(&mut self, now: SimTime) -> Option<Repair> {
        let overflow = self.overflow();
        let rtt = self.rtt();
        let limited = self.is_window_limited();
        let train = self.flight() * self.route.ratio / self.bottleneck;
        let mss = self.route.mss;
        let flight = self.flight();
        let window = self.window.as_mut()?;
        let repair = if overflow > 0.0 {
            // What did not fit is sent again; it never used the bottleneck.
            self.wire += overflow;
            self.repaired_until = Some(now + SimDuration::from_secs_f64(rtt));
            Some(window.on_loss((flight - overflow / self.route.ratio) / mss))
        } else if self.repaired_until.take().is_some_and(|until| now <= until) {
            // The round trip of a fast recovery; the next one grows again.
            None
        } else {
            let now = now.as_secs_f64();
            window.on_round(Round {
                now,
                rtt,
                base_rtt: self.base_rtt,
                train,
                limited,
            });
            None
        };
        self.round_end = now + SimDuration::from_secs_f64(rtt);
        repair
    }

    fn lose_packet(&mut self, now: SimTime) -> Repair {
        let flight = self.flight() / self.route.mss;
        let again = self.route.mss.min(self.sent);
        self.left += again;
        self.sent -= again;
        if let Some(losses) = &mut self.losses {
            losses.draw();
        }
        if self.repaired_until.is_some_and(|until| now < until) {
            return Repair::FastRetransmit;
        }
        self.round_end = now + SimDuration::from_secs_f64(self.rtt());
        self.repaired_until = Some(self.round_end);
        self.window
            .as_mut()
            .map_or(Repair::FastRetransmit, |window| window.on_loss(flight))
    }

    /// What was on its way to a path that died has to be sent again.
    fn lose_flight(&mut self) {
        let flying = self.rate * self.route.delay.as_secs_f64() + self.ahead;
        let lost = flying.min(self.sent);
        self.left += lost;
        self.sent -= lost;
    }

    /// Whether the congestion window, and neither the application nor the
    /// receiver, holds the sender back.
    fn is_window_limited(&self) -> bool {
        let window = self
            .window
            .as_ref()
            .map_or(f64::INFINITY, |w| w.size() * self.route.mss);
        window < self.flight_cap && self.rate < self.max_rate
    }

    /// Sets the timer for what happens next at the current rate.
    fn set_timer(&mut self, id: usize, queue: &mut Queue<Event>) {
        if let Some(timer) = self.timer.take() {
            queue.cancel(timer);
        }
        if let Some((at, next)) = self.next_instant(queue.now()) {
            self.next = next;
            let id = u32::try_from(id).expect("fewer than 2^32 connections");
            self.timer = Some(queue.schedule(at, Event::Connection(id)));
        }
    }

    fn next_instant(&self, now: SimTime) -> Option<(SimTime, Next)> {
        match self.state {
            State::Idle { .. } | State::Closed => return None,
            State::Stalled { ladder, .. } => return Some((ladder.next(), Next::Retry)),
            State::Sending => {}
        }
        let mut first = self.goal_instant(now).map(|at| (at, Next::Goal));
        let mut offer = |at: SimTime, next: Next| {
            if first.is_none_or(|(earliest, _)| at < earliest) {
                first = Some((at, next));
            }
        };
        if self.window.is_some() && (self.is_window_limited() || self.overflow() > 0.0) {
            offer(self.round_end.max(now), Next::Round);
        }
        if let Some(losses) = self
            .losses
            .as_ref()
            .filter(|losses| losses.probability > 0.0)
        {
            offer(
                now + self.time_to_send(losses.packets * self.route.mss),
                Next::Loss,
            );
        }
        first
    }

    fn goal_instant(&self, now: SimTime) -> Option<SimTime> {
        let all = self.time_to_send(self.unsent());
        match self.goal {
            Goal::Silent => None,
            Goal::Drained => Some(now + all),
            Goal::Lead { left, at_least } => {
                let served = now - self.goal_since;
                // A nanosecond more, so that no rounding leaves a byte too much.
                let until_left = all.saturating_sub(left) + SimDuration::from_nanos(1);
                let wait = until_left.max(at_least.saturating_sub(served));
                Some(now + wait.min(all))
            }
        }
    }

    fn time_to_send(&self, bytes: f64) -> SimDuration {
        SimDuration::from_secs_f64((bytes / self.rate).max(0.0))
    }
}

impl Losses {
    fn new(probability: f64, stream: Stream) -> Self {
        let mut losses = Self {
            probability: 0.0,
            stream,
            packets: f64::INFINITY,
        };
        losses.set(probability);
        losses
    }

    /// Losses have no memory: with another probability they begin anew.
    fn set(&mut self, probability: f64) {
        if probability != self.probability {
            self.probability = probability;
            self.draw();
        }
    }

    /// Packets until the next loss: geometric, by inversion, so that a higher
    /// probability with the same draws never loses later.
    fn draw(&mut self) {
        if self.probability == 0.0 {
            self.packets = f64::INFINITY;
            return;
        }
        let uniform = 1.0 - self.stream.random::<f64>();
        let packets = libm::log(uniform) / libm::log1p(-self.probability);
        self.packets = packets.floor() + 1.0;
    }
}

impl Recorder {
    fn add(&mut self, from: SimTime, to: SimTime, bytes: f64) {
        let interval = self.interval.as_nanos();
        let span = (to - from).as_nanos();
        let mut start = from.as_nanos();
        while start < to.as_nanos() {
            let bin = start / interval;
            let end = ((bin + 1) * interval).min(to.as_nanos());
            let bin = usize::try_from(bin).expect("time series fit in memory");
            if self.bins.len() <= bin {
                self.bins.resize(bin + 1, 0.0);
            }
            self.bins[bin] += bytes * ((end - start) as f64 / span as f64);
            start = end;
        }
    }
}
