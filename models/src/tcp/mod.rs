//! The congestion window of one TCP connection, round by round.
//!
//! Models a sender's window as one number that changes once a round trip: slow
//! start (RFC 5681), HyStart as Linux does it (ACK train and delay increase,
//! `tcp_cubic.c: hystart_update`; the window grows with each acknowledgement
//! until half a round-trip time of them has come in, and stops there), CUBIC (RFC
//! 9438) or Reno (RFC 5681) in congestion avoidance, one reduction a round however
//! many packets were lost, a time-out when the window is too small for three
//! duplicate acknowledgements (RFC 5681), and the halving of an idle window a
//! time-out (RFC 7661's predecessor, Linux's `tcp_slow_start_after_idle`).
//!
//! Leaves out: single packets, SACK scoreboards and PRR (a reduction takes
//! effect in one step), delayed acknowledgements (Linux counts bytes), pacing,
//! ECN, BBR. After an overshoot of slow start the window becomes beta times
//! what path and queue hold, for the packets beyond were dropped.
//!
//! Who would notice: users who compare single transfers of a few round trips,
//! and those who run BBR.

pub mod buffer;
mod cubic;
mod reno;
pub mod rto;

use crate::scenario::Congestion;
use cubic::Cubic;

/// Fewest segments in flight that make three duplicate acknowledgements.
const FAST_RETRANSMIT: f64 = 4.0;
/// HyStart looks at windows of at least this many segments (Linux).
const HYSTART_LOW_WINDOW: f64 = 16.0;
/// Bounds of HyStart's delay threshold, seconds (Linux: 4 and 16 ms).
const HYSTART_DELAY: (f64, f64) = (0.004, 0.016);

/// A congestion window in segments.
#[derive(Clone, Debug)]
pub struct Window {
    size: f64,
    threshold: f64,
    initial: f64,
    control: Control,
    hystart: bool,
}

#[derive(Clone, Debug)]
enum Control {
    Cubic(Cubic),
    Reno,
}

/// What a sender has seen in the round that ends.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// End of the round, seconds since the start.
    pub now: f64,
    /// Round-trip time with queues, seconds.
    pub rtt: f64,
    /// Round-trip time without queues, seconds.
    pub base_rtt: f64,
    /// Time the bottleneck takes for one window, seconds.
    pub train: f64,
    /// Whether the window was what held the sender back.
    pub limited: bool,
}

/// What a loss did to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Duplicate acknowledgements told the sender; it goes on with less.
    FastRetransmit,
    /// Only the retransmission timer can tell.
    Timeout,
}

impl Window {
    /// A window at the start of a connection.
    ///
    /// # Panics
    /// With [`Congestion::Fluid`], which has no window.
    pub fn new(congestion: Congestion, hystart: bool, initial: u32) -> Self {
        let (control, hystart) = match congestion {
            Congestion::Cubic => (Control::Cubic(Cubic::default()), hystart),
            Congestion::Reno => (Control::Reno, false),
            Congestion::Fluid => panic!("a fluid connection has no window"),
        };
        let initial = f64::from(initial);
        Self {
            size: initial,
            threshold: f64::INFINITY,
            initial,
            control,
            hystart,
        }
    }

    /// Segments that may be in flight.
    pub fn size(&self) -> f64 {
        self.size
    }

    /// Whether the window doubles every round.
    pub fn in_slow_start(&self) -> bool {
        self.size < self.threshold
    }

    /// A round without loss has ended.
    pub fn on_round(&mut self, round: Round) {
        if !round.limited {
            return;
        }
        if !self.in_slow_start() {
            match &mut self.control {
                Control::Cubic(cubic) => self.size = cubic.grow(self.size, round),
                Control::Reno => self.size = reno::grow(self.size),
            }
        } else if self.hystart && self.size >= HYSTART_LOW_WINDOW && hystart_stops(round) {
            self.size += self.size * hystart_grown(round);
            self.threshold = self.size;
        } else {
            // A threshold inside the doubling is where slow start ends.
            self.size = (self.size * 2.0).min(self.threshold);
        }
    }

    /// Packets of a round were lost while `flight` segments were under way.
    pub fn on_loss(&mut self, flight: f64) -> Repair {
        if flight < FAST_RETRANSMIT {
            return Repair::Timeout;
        }
        self.size = self.reduced(flight);
        self.threshold = self.size;
        Repair::FastRetransmit
    }

    /// The retransmission timer fired while `flight` segments were under way.
    pub fn on_timeout(&mut self, flight: f64) {
        self.threshold = self.reduced(flight);
        self.size = 1.0;
    }

    /// Nothing was sent for `idle` seconds; `rto` is the time-out.
    pub fn on_idle(&mut self, idle: f64, rto: f64) {
        if idle <= rto {
            return;
        }
        if self.in_slow_start() && self.threshold.is_infinite() {
            self.size = self.size.min(self.initial).max(1.0);
            return;
        }
        // Linux remembers three quarters of the window as the threshold.
        self.threshold = self.threshold.max(0.75 * self.size);
        let halvings = (idle / rto).min(64.0);
        let restart = self.initial.min(self.size);
        self.size = (self.size * libm::exp2(-halvings)).max(restart);
        if let Control::Cubic(cubic) = &mut self.control {
            cubic.forget_epoch();
        }
    }

    fn reduced(&mut self, flight: f64) -> f64 {
        let size = match &mut self.control {
            Control::Cubic(cubic) => cubic.reduce(flight),
            Control::Reno => reno::reduce(flight),
        };
        size.max(2.0)
    }
}

/// The windows of connections that carry one stream of bytes together.
///
/// They start and grow alike. A lost packet belongs to one of them, in turn; a
/// queue that overflows and a time-out meet all.
#[derive(Clone, Debug)]
pub struct Windows {
    windows: Vec<Window>,
    /// Which one loses the next packet.
    next: usize,
    /// Largest size of one of them so far.
    widest: f64,
}

impl Windows {
    /// As many of this window.
    pub fn new(window: Window, count: u32) -> Self {
        Self {
            widest: window.size(),
            windows: vec![window; count.max(1) as usize],
            next: 0,
        }
    }

    /// How many.
    pub fn count(&self) -> f64 {
        self.windows.len() as f64
    }

    /// Segments that may be in flight over all.
    pub fn size(&self) -> f64 {
        self.windows.iter().map(Window::size).sum()
    }

    /// Largest size that one of them had.
    pub fn widest(&self) -> f64 {
        self.widest
    }

    /// A round without loss has ended.
    pub fn on_round(&mut self, round: Round) {
        for window in &mut self.windows {
            window.on_round(round);
            self.widest = self.widest.max(window.size());
        }
    }

    /// Packets of all were lost while `flight` segments were under way.
    pub fn on_overflow(&mut self, flight: f64) -> Repair {
        let each = flight / self.count();
        let mut repair = Repair::FastRetransmit;
        for window in &mut self.windows {
            if window.on_loss(each) == Repair::Timeout {
                repair = Repair::Timeout;
            }
        }
        repair
    }

    /// A packet of one of them was lost while `flight` segments were under way.
    pub fn on_loss(&mut self, flight: f64) -> Repair {
        let each = flight / self.count();
        let at = self.next;
        self.next = (at + 1) % self.windows.len();
        self.windows[at].on_loss(each)
    }

    /// The retransmission timer fired while `flight` segments were under way.
    pub fn on_timeout(&mut self, flight: f64) {
        let each = flight / self.count();
        self.windows
            .iter_mut()
            .for_each(|window| window.on_timeout(each));
    }

    /// Nothing was sent for `idle` seconds; `rto` is the time-out.
    pub fn on_idle(&mut self, idle: f64, rto: f64) {
        self.windows
            .iter_mut()
            .for_each(|window| window.on_idle(idle, rto));
    }
}

/// HyStart leaves slow start when the acknowledgements of a window take half
/// the round-trip time, or when the round-trip time has grown by an eighth,
/// within bounds.
fn hystart_stops(round: Round) -> bool {
    let allowed = (round.base_rtt / 8.0).clamp(HYSTART_DELAY.0, HYSTART_DELAY.1);
    round.train >= round.base_rtt / 2.0 || round.rtt - round.base_rtt >= allowed
}

/// Share of a window that is acknowledged, and lets the window grow, before
/// HyStart stops: until the acknowledgements have come in for half the round-trip
/// time; nearly none where the delay gave the queue away at the first ones.
fn hystart_grown(round: Round) -> f64 {
    if round.train >= round.base_rtt / 2.0 && round.train > 0.0 {
        round.base_rtt / 2.0 / round.train
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round of 100 ms without a queue.
    pub(super) fn round(now: f64) -> Round {
        Round {
            now,
            rtt: 0.1,
            base_rtt: 0.1,
            train: 0.0,
            limited: true,
        }
    }

    #[test]
    fn slow_start_doubles_and_stops_at_the_threshold() {
        let mut window = Window::new(Congestion::Reno, false, 10);
        window.on_round(round(0.1));
        assert_eq!(window.size(), 20.0);
        window.on_timeout(20.0);
        assert_eq!(window.size(), 1.0);
        for (i, expected) in [2.0, 4.0, 8.0, 10.0, 11.0].into_iter().enumerate() {
            window.on_round(round(0.2 + 0.1 * i as f64));
            assert_eq!(window.size(), expected);
        }
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::new(Congestion::Cubic, true, 10);
        window.on_round(Round {
            limited: false,
            ..round(0.1)
        });
        assert_eq!(window.size(), 10.0);
    }

    #[test]
    fn hystart_leaves_slow_start_when_the_ack_train_fills_half_a_round_trip() {
        let mut window = Window::new(Congestion::Cubic, true, 64);
        window.on_round(Round {
            train: 0.05,
            ..round(0.1)
        });
        assert!(!window.in_slow_start());
        assert_eq!(window.size(), 128.0);
        // Of a train twice as long half was acknowledged by then, and grew the window.
        let mut window = Window::new(Congestion::Cubic, true, 64);
        window.on_round(Round {
            train: 0.1,
            ..round(0.1)
        });
        assert_eq!(window.size(), 96.0);
    }

    #[test]
    fn three_segments_in_flight_cannot_trigger_fast_retransmit() {
        let mut window = Window::new(Congestion::Reno, false, 10);
        assert_eq!(window.on_loss(3.0), Repair::Timeout);
        assert_eq!(window.on_loss(8.0), Repair::FastRetransmit);
        assert_eq!(window.size(), 4.0);
    }
}
