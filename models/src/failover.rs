//! A VPN client, its gateways, and what happens when one dies.
//!
//! Models the client of a tunnel as a state machine: it uses a gateway, finds
//! out that the way there is dead ([`crate::ipsec::dpd`]), and connects to the
//! next one in its list ([`crate::ipsec::ike`]). With a packet relay the
//! connections through the tunnel go on, for guest and server see no change of
//! address: the relay learns the new way from the client's first packet. For
//! data that flows towards the client that is the next probe. Without a relay
//! the guest's address changes with the gateway, and its connections are
//! severed: they wait until TCP gives up (BitVisor: Matsuhashi et al., FGCS
//! 2012).
//!
//! Leaves out: going back to a gateway that was repaired, re-keying, MOBIKE,
//! multiple sessions held open at once.
//!
//! Who would notice: users with a cold first gateway and a preferred one.

use sim_core::{SimDuration, SimTime};

use crate::ipsec::dpd::{Situation, detection};
use crate::ipsec::ike;
use crate::scenario::{Detection, Tunnel, Vpn};

/// The client of one tunnel.
#[derive(Clone, Debug)]
pub struct Client {
    vpn: Vpn,
    tunnel: Tunnel,
    /// Index into the tunnel's list of gateways.
    current: usize,
    status: Status,
    /// When it wants to be woken; other wake-ups are out of date.
    wake: Option<SimTime>,
    /// Instant of the first probe, modulo its interval.
    probe_phase: SimDuration,
    times: Times,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Up,
    /// The way is dead, the client does not know yet.
    Suspecting,
    /// Since `since` it connects to the gateway with index `next` into its list,
    /// which answers or does not.
    Connecting {
        next: usize,
        since: SimTime,
        answered: bool,
    },
}

/// When the first fail-over of a tunnel went through its steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// The gateway failed.
    pub failed: Option<SimTime>,
    /// The client declared it dead.
    pub detected: Option<SimTime>,
    /// The first packet to the gateway that answered was sent.
    pub contacted: Option<SimTime>,
    /// The IKE association stood.
    pub phase1: Option<SimTime>,
    /// The tunnel could carry data.
    pub reconnected: Option<SimTime>,
}

/// What the client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until something happens.
    Wait,
    /// Wake it at this instant.
    At(SimTime),
    /// The tunnel works again.
    Up {
        /// Whether through another gateway.
        moved: bool,
    },
}

impl Client {
    /// A client whose tunnel stands, through its first gateway.
    pub fn new(tunnel: &Tunnel, vpn: &Vpn, probe_phase: SimDuration) -> Self {
        Self {
            vpn: vpn.clone(),
            tunnel: tunnel.clone(),
            current: 0,
            status: Status::Up,
            wake: None,
            probe_phase,
            times: Times::default(),
        }
    }

    /// The gateway in use, an index into the scenario's gateways.
    pub fn gateway(&self) -> usize {
        self.vpn.gateways[self.current]
    }

    /// Whether the tunnel stands as far as the client knows.
    pub fn is_up(&self) -> bool {
        self.status == Status::Up
    }

    /// Whether addresses stay the same when the gateway changes.
    pub fn has_relay(&self) -> bool {
        self.vpn.relay.is_some()
    }

    /// When things happened.
    pub fn times(&self) -> Times {
        self.times
    }

    /// The way to the gateway died. `busy` is whether data was coming in.
    pub fn on_failure(&mut self, now: SimTime, rtt: SimDuration, busy: bool) -> Step {
        if self.status != Status::Up {
            return Step::Wait;
        }
        self.times.failed.get_or_insert(now);
        self.status = Status::Suspecting;
        let Some(detector) = &self.vpn.detection else {
            return Step::Wait;
        };
        let situation = Situation {
            failed: now,
            rtt,
            phase: self.probe_phase,
            busy,
        };
        let at = detection(detector, situation).max(now);
        self.wake_at(at)
    }

    /// The way to the gateway works again before the client gave it up.
    pub fn on_repair(&mut self) {
        if self.status == Status::Suspecting {
            self.status = Status::Up;
            self.wake = None;
            // An outage that nobody noticed is no fail-over.
            if self.times.detected.is_none() {
                self.times.failed = None;
            }
        }
    }

    /// The instant it asked for has come. `way` tells whether a gateway answers
    /// and the round-trip time there.
    pub fn on_wake(&mut self, now: SimTime, way: impl Fn(usize) -> (bool, SimDuration)) -> Step {
        if self.wake != Some(now) {
            return Step::Wait;
        }
        self.wake = None;
        match self.status {
            Status::Up => Step::Wait,
            Status::Suspecting => {
                self.times.detected.get_or_insert(now);
                self.connect(now, self.current, way)
            }
            Status::Connecting {
                next,
                since,
                answered,
            } => {
                if !answered {
                    return self.connect(now, next, way);
                }
                if !way(self.vpn.gateways[next]).0 {
                    // It died half-way; the client waits for its answer in vain.
                    let answered = false;
                    self.status = Status::Connecting {
                        next,
                        since,
                        answered,
                    };
                    return self.wake_at(now.max(since + self.tunnel.connect_timeout));
                }
                let moved = self.current != next;
                self.current = next;
                self.status = Status::Up;
                self.times.reconnected.get_or_insert(now);
                Step::Up { moved }
            }
        }
    }

    /// How long after the tunnel is up the relay knows the new way, for data
    /// that flows towards the client.
    pub fn relay_lag(&self, up: SimTime) -> SimDuration {
        let Some(Detection::Probe { interval, .. }) = self.vpn.detection else {
            return SimDuration::ZERO;
        };
        let since = (up.as_nanos() + interval.as_nanos() - self.probe_phase.as_nanos())
            % interval.as_nanos();
        SimDuration::from_nanos((interval.as_nanos() - since) % interval.as_nanos())
    }

    /// Turns to the gateway after `last` in the list.
    fn connect(
        &mut self,
        now: SimTime,
        last: usize,
        way: impl Fn(usize) -> (bool, SimDuration),
    ) -> Step {
        let next = (last + 1) % self.vpn.gateways.len();
        let (answered, rtt) = way(self.vpn.gateways[next]);
        let since = now;
        self.status = Status::Connecting {
            next,
            since,
            answered,
        };
        if !answered {
            return self.wake_at(now + self.tunnel.connect_timeout);
        }
        let compute = (self.tunnel.phase1_time, self.tunnel.phase2_time);
        let (phase1, phase2) = ike::durations(self.tunnel.ike, rtt, compute);
        if self.times.reconnected.is_none() {
            // Of several attempts the last one counts.
            self.times.contacted = Some(now);
            self.times.phase1 = Some(now + phase1);
        }
        self.wake_at(now + phase1 + phase2)
    }

    fn wake_at(&mut self, at: SimTime) -> Step {
        self.wake = Some(at);
        Step::At(at)
    }
}
