//! One connection: its window, its counters, and when something happens next.
//!
//! Models what [`super`] says of one connection; the links are shared out there.
//!
//! Leaves out: what [`super`] leaves out.
//!
//! Who would notice: those named there.

use rand::RngExt;
use sim_core::{EventId, Queue, SimDuration, SimTime, Stream};

use super::Goal;
use crate::scenario::{Congestion, Transport};
use crate::tcp::buffer::{self, Memory};
use crate::tcp::rto::{Bounds, Ladder};
use crate::tcp::{Repair, Round, Window, Windows};
use crate::units::Bytes;
use crate::wan::Route;
use crate::world::Event;

/// Payload that QEMU has written in a burst when it looks around: it looks at
/// every 64th page, so half of 64 pages in the mean (`ram.c: ram_save_iterate`).
const WRITTEN: f64 = 32.0 * 4096.0;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) route: Route,
    base_rtt: f64,
    pub(super) window: Option<Windows>,
    /// Largest amount in flight beside the congestion window, bytes.
    flight_cap: f64,
    /// Payload that the sender keeps at most, bytes.
    send_buffer: f64,
    /// Whether that is less than what the receiver offers.
    buffer_binds: bool,
    /// Rate of the application, payload bytes a second: as the transport has
    /// it, and with the limit of its owner.
    pub(super) own_rate: f64,
    pub(super) max_rate: f64,
    pub(super) bounds: Bounds,
    pub(super) losses: Option<Losses>,
    pub(super) state: State,
    /// Whether the path is dead.
    pub(super) blocked: bool,
    pub(super) goal: Goal,
    pub(super) goal_since: SimTime,
    pub(super) left: f64,
    pub(super) sent: f64,
    /// Payload that counts as sent and still stands in the queue.
    pub(super) ahead: f64,
    pub(super) wire: f64,
    pub(super) rate: f64,
    pub(super) demand: f64,
    /// Buffer this connection may fill, bytes on the link.
    pub(super) room: f64,
    /// Rate of the bottleneck, bytes a second on the link.
    pub(super) bottleneck: f64,
    updated: SimTime,
    round_end: SimTime,
    /// Until when losses belong to a flight that was answered already.
    repaired_until: Option<SimTime>,
    pub(super) next: Next,
    pub(super) timer: Option<EventId>,
    /// Rate at which goodput counts as recovered, after a dead path.
    pub(super) recovery: Option<f64>,
    pub(super) recorder: Option<Recorder>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Idle { since: SimTime },
    Sending,
    Stalled { ladder: Ladder, flight: f64 },
    Closed,
}

/// What the timer of a connection stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Goal,
    Round,
    Loss,
    Retry,
}

#[derive(Debug)]
pub(super) struct Losses {
    probability: f64,
    stream: Stream,
    /// Packets until the next one is lost.
    packets: f64,
}

/// Payload sent in every interval of a time series.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) interval: SimDuration,
    pub(super) bins: Vec<f64>,
}

impl Connection {
    pub(super) fn new(transport: &Transport, route: Route, streams: u32, now: SimTime) -> Self {
        let fluid = transport.congestion == Congestion::Fluid;
        let window = (!fluid).then(|| {
            let window = Window::new(
                transport.congestion,
                transport.hystart,
                transport.initial_window,
            );
            Windows::new(window, streams)
        });
        let channel = transport
            .channel_window
            .map_or(f64::INFINITY, Bytes::as_f64);
        let flight_cap = transport
            .receive_window
            .as_f64()
            .min(transport.send_buffer.as_f64())
            .min(channel)
            .max(route.mss)
            * f64::from(streams);
        let own_rate = transport
            .max_rate
            .map_or(f64::INFINITY, |rate| rate.bytes_per_second());
        Self {
            base_rtt: route.rtt().as_secs_f64(),
            window,
            flight_cap,
            buffer_binds: transport.send_buffer.as_f64()
                < transport.receive_window.as_f64().min(channel),
            send_buffer: transport.send_buffer.as_f64() * f64::from(streams),
            own_rate,
            max_rate: own_rate,
            bounds: Bounds {
                min: transport.min_rto,
                max: transport.max_rto,
                retries: transport.retries,
                probe: transport.tail_loss_probe,
                tick: transport.timer_tick,
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
    pub(super) fn flight(&self) -> f64 {
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
    pub(super) fn wanted(&self) -> f64 {
        if self.window.is_none() {
            return self.max_rate;
        }
        let rtt = self.loaded_rtt();
        let rate = if rtt > 0.0 {
            self.flight() / rtt
        } else {
            f64::INFINITY
        };
        rate.min(self.refilled()).min(self.max_rate)
    }

    /// Payload rate of a program that fills its send buffer again whenever a part
    /// of it is free, which is once that part has passed the bottleneck and was
    /// acknowledged. Only where this buffer is the smallest of all.
    fn refilled(&self) -> f64 {
        if !self.buffer_binds {
            return f64::INFINITY;
        }
        let part = self.send_buffer * buffer::WOKEN * self.route.ratio / self.bottleneck;
        self.send_buffer / (self.base_rtt + part)
    }

    /// Payload rate with the largest window.
    pub(super) fn fastest(&self) -> f64 {
        if self.window.is_none() || self.base_rtt == 0.0 {
            return self.max_rate;
        }
        self.max_rate.min(self.flight_cap / self.base_rtt)
    }

    /// Takes a share of `granted` bytes a second on the link, and says whether
    /// the rate is another one now.
    pub(super) fn set_rate(
        &mut self,
        granted: f64,
        bottleneck: f64,
        room: f64,
        now: SimTime,
    ) -> bool {
        self.bottleneck = bottleneck;
        // 1e15 bytes a second stand for a path without links.
        let demand = self.wanted().min(1e15);
        let rate = demand.min(granted / self.route.ratio);
        let changes = rate != self.rate;
        if changes {
            self.advance(now);
        }
        self.demand = demand;
        self.rate = rate;
        self.room = room;
        changes
    }

    /// Goes another way.
    pub(super) fn take_route(&mut self, route: Route) {
        self.base_rtt = route.rtt().as_secs_f64();
        if let Some(losses) = &mut self.losses {
            losses.set(route.loss);
        }
        self.route = route;
    }

    /// Round-trip time with queues at the current rate.
    pub(super) fn rtt(&self) -> f64 {
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
    pub(super) fn unsent(&self) -> f64 {
        if self.window.is_none() || self.rate >= self.demand {
            return self.left;
        }
        let standing = self.flight() - self.rate * self.loaded_rtt();
        (self.left - (standing - self.ahead).max(0.0)).max(0.0)
    }

    /// Payload that the program has yet to write: what its kernel holds for it, as
    /// long as nothing but the network holds it back, is written already.
    pub(super) fn unwritten(&self) -> f64 {
        let Some(window) = &self.window else {
            return self.left;
        };
        if self.rate >= self.max_rate {
            return self.left;
        }
        let room = self.route.memory.room(window.widest()) * window.count();
        let room = room.min(self.send_buffer);
        let held = Memory::held(room, WRITTEN);
        let behind = held - self.rate * self.loaded_rtt();
        (self.left - (behind - self.ahead).max(0.0)).max(0.0)
    }

    /// Time in which the path takes the part of the send buffer that its program
    /// fills in one burst; nothing where the program is what holds it back.
    pub(super) fn cycle(&self) -> SimDuration {
        let Some(window) = self.window.as_ref().filter(|_| self.rate < self.max_rate) else {
            return SimDuration::ZERO;
        };
        let room = self.route.memory.room(window.widest()) * window.count();
        self.time_to_send(buffer::WOKEN * room.min(self.send_buffer))
    }

    /// From a question of the receiver until an answer arrives. The program is woken
    /// when a third of its buffer is free, and writes the answer first: the rest of
    /// the buffer, or of what it has `left`, goes before. Bytes that are under way
    /// are part of the buffer until they are acknowledged, so this is the round trip.
    pub(super) fn answer(&self, left: f64) -> SimDuration {
        let round_trip = SimDuration::from_secs_f64(self.base_rtt);
        let Some(window) = &self.window else {
            return round_trip;
        };
        let room = self.route.memory.room(window.widest()) * window.count();
        let held = Memory::held(room.min(self.send_buffer), 0.0).min(left);
        round_trip.max(self.time_to_send(held))
    }

    /// Takes back what the program has not written yet.
    pub(super) fn withdraw(&mut self) -> f64 {
        let unwritten = self.unwritten();
        self.left -= unwritten;
        unwritten
    }

    /// Whether goodput is back after a dead path; says so once.
    pub(super) fn has_recovered(&mut self) -> bool {
        let sending = matches!(self.state, State::Sending);
        let back = sending && self.recovery.is_some_and(|level| self.rate >= level);
        if back {
            self.recovery = None;
        }
        back
    }

    /// Moves the counters to `now`.
    pub(super) fn advance(&mut self, now: SimTime) {
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
    pub(super) fn wake(&mut self, now: SimTime, since: SimTime) {
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
                ladder: Ladder::new(self.bounds, now, self.put_off(), srtt),
                flight: 1.0,
            }
        } else {
            State::Sending
        };
        self.round_end = now + SimDuration::from_secs_f64(self.loaded_rtt());
    }

    /// From the last acknowledgement of a dead path until the retransmission timer
    /// is set for good. The sender goes on until its window is full.
    pub(super) fn put_off(&self) -> SimDuration {
        let srtt = SimDuration::from_secs_f64(self.rtt());
        let spare = self.flight() - self.rate * self.rtt();
        let sending = if self.rate > 0.0 {
            SimDuration::from_secs_f64((spare / self.rate).max(0.0))
        } else {
            SimDuration::ZERO
        };
        self.bounds.put_off(sending, srtt)
    }

    /// Goes on after a time-out.
    pub(super) fn restart(&mut self, now: SimTime, flight: f64) {
        if let Some(window) = &mut self.window {
            window.on_timeout(flight);
        }
        self.state = State::Sending;
        self.round_end = now + SimDuration::from_secs_f64(self.loaded_rtt());
    }

    /// Whether the connection has nothing left to do.
    pub(super) fn reach_goal(&mut self, now: SimTime) -> bool {
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

    pub(super) fn end_round(&mut self, now: SimTime) -> Option<Repair> {
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
            Some(window.on_overflow((flight - overflow / self.route.ratio) / mss))
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

    pub(super) fn lose_packet(&mut self, now: SimTime) -> Repair {
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
    pub(super) fn lose_flight(&mut self) {
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
    pub(super) fn set_timer(&mut self, id: usize, queue: &mut Queue<Event>) {
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
        match self.goal {
            Goal::Silent => None,
            Goal::Drained => Some(now + self.time_to_send(self.unsent())),
            Goal::Time(span) => {
                let served = now - self.goal_since;
                let all = self.time_to_send(self.unwritten());
                Some(now + span.saturating_sub(served).min(all))
            }
            Goal::Lead { left, at_least } => {
                let all = self.time_to_send(self.unwritten());
                let served = now - self.goal_since;
                // The program looks around once in each cycle of its send buffer, so
                // half a cycle too late in the mean. A nanosecond more, so that no
                // rounding leaves a byte too much.
                let cycle = self.cycle();
                let at_least = at_least.max(cycle);
                let until_left = all.saturating_sub(left) + SimDuration::from_nanos(1);
                let wait = (until_left + cycle / 2).max(at_least.saturating_sub(served));
                Some(now + wait.min(all))
            }
        }
    }

    pub(super) fn time_to_send(&self, bytes: f64) -> SimDuration {
        SimDuration::from_secs_f64((bytes / self.rate).max(0.0))
    }
}

impl Losses {
    pub(super) fn new(probability: f64, stream: Stream) -> Self {
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
