//! The retransmission timer when nobody answers.
//!
//! Models RFC 6298 with Linux's bounds: the time-out is the smoothed round-trip
//! time plus at least the minimum (Linux puts the floor under the variance
//! term), doubles after each retransmission up to the maximum, and the
//! connection is given up at the first time-out after the time that
//! `tcp_retries2` stands for (`tcp_model_timeout` in `tcp_timer.c`: 924.6 s for
//! 15 retries, 200 ms and 120 s).
//!
//! Before the first time-out a tail loss probe goes out (RFC 8985, section 7; Linux
//! since 3.10, `tcp_output.c`): two round trips after the last new packet was
//! sent, but no later than the oldest packet's time-out. Having sent it,
//! `tcp_send_loss_probe` lets the retransmission timer run anew, so the whole
//! ladder is that much later. A sender that still sends new packets then puts the
//! timer off with each; two round trips after the last one it finds the oldest
//! packet overdue, and the ladder begins.
//!
//! Leaves out: the timer wheel, which lets timers of 0.25 to 2 s fire up to 32 ms
//! late and those of 2 to 16 s up to 256 ms (`timer.c`, 250 Hz); that Linux counts this time from the first retransmission, so that
//! a connection may live for one time-out more; clock granularity, the variance of the
//! round-trip time (0 on a steady path), F-RTO, user time-outs.
//!
//! Who would notice: users with round-trip times that vary by 50 ms and more,
//! whose time-outs are longer.

use sim_core::{SimDuration, SimTime};

/// Bounds of the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Smallest time-out.
    pub min: SimDuration,
    /// Largest time-out.
    pub max: SimDuration,
    /// Time-outs in a row after which TCP gives up.
    pub retries: u32,
    /// Whether a tail loss probe goes before.
    pub probe: bool,
}

impl Bounds {
    /// The time-out of a connection with this smoothed round-trip time.
    pub fn timeout(&self, srtt: SimDuration) -> SimDuration {
        (srtt + self.min).min(self.max)
    }

    /// From the last acknowledgement until the retransmission timer is set for
    /// good, when new packets were sent for `sending` after it.
    pub fn put_off(&self, sending: SimDuration, srtt: SimDuration) -> SimDuration {
        if !self.probe {
            return SimDuration::ZERO;
        }
        let probe = sending + srtt * 2;
        // The oldest packet was sent a round trip before the last acknowledgement.
        let overdue = self.timeout(srtt).saturating_sub(srtt);
        if sending > overdue {
            probe.saturating_sub(self.timeout(srtt))
        } else {
            probe.min(overdue)
        }
    }

    /// Unanswered time after which the next time-out is the last.
    pub fn patience(&self) -> SimDuration {
        let mut total = SimDuration::ZERO;
        let mut step = self.min;
        for _ in 0..=self.retries {
            total += step;
            step = (step * 2).min(self.max);
        }
        total
    }
}

/// The retransmissions of one unanswered byte: `rto * (2^k - 1)` after the timer
/// was set.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    bounds: Bounds,
    first: SimTime,
    /// When the timer was set first.
    set: SimTime,
    next: SimTime,
    timeout: SimDuration,
    rung: u32,
}

/// What the timer does when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// It sends the oldest byte again and waits until this instant.
    Wait(SimTime),
    /// It gives the connection up.
    Abort,
}

impl Ladder {
    /// The oldest unanswered byte was sent, or last acknowledged, at `first`; the
    /// timer was set `later`.
    pub fn new(bounds: Bounds, first: SimTime, later: SimDuration, srtt: SimDuration) -> Self {
        let timeout = bounds.timeout(srtt);
        Self {
            bounds,
            first,
            set: first + later,
            next: first + later + timeout,
            timeout,
            rung: 1,
        }
    }

    /// Which time-out fires next, from 1.
    pub fn rung(&self) -> u32 {
        self.rung
    }

    /// When the timer fires next.
    pub fn next(&self) -> SimTime {
        self.next
    }

    /// When the oldest byte was sent first.
    pub fn first(&self) -> SimTime {
        self.first
    }

    /// The timer fired and the retransmission is lost as well.
    pub fn climb(&mut self) -> Rung {
        if self.next - self.set >= self.bounds.patience() {
            return Rung::Abort;
        }
        self.timeout = (self.timeout * 2).min(self.bounds.max);
        self.next += self.timeout;
        self.rung += 1;
        Rung::Wait(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: Bounds = Bounds {
        min: SimDuration::from_millis(200),
        max: SimDuration::from_secs(120),
        retries: 15,
        probe: true,
    };

    // 0.2 * (1 + 2 + ... + 512) = 204.6 s, then six times 120 s.
    #[test]
    fn linux_gives_up_after_924_6_seconds() {
        assert_eq!(LINUX.patience(), SimDuration::from_millis(924_600));
        let mut ladder = Ladder::new(LINUX, SimTime::ZERO, SimDuration::ZERO, SimDuration::ZERO);
        let mut rungs = 1;
        while ladder.climb() != Rung::Abort {
            rungs += 1;
        }
        assert_eq!(rungs, 16);
        assert_eq!(
            ladder.next(),
            SimTime::ZERO + SimDuration::from_millis(924_600)
        );
    }

    #[test]
    fn retransmissions_fall_on_rto_times_two_to_the_k_minus_one() {
        let mut ladder = Ladder::new(LINUX, SimTime::ZERO, SimDuration::ZERO, SimDuration::ZERO);
        for k in 1..=9_u32 {
            let expected = SimDuration::from_millis(200 * ((1 << k) - 1));
            assert_eq!(ladder.next() - SimTime::ZERO, expected);
            assert_eq!(ladder.rung(), k);
            ladder.climb();
        }
    }

    // 2 * 13 ms after the last packet of 20 ms; or when the oldest packet, sent a
    // round trip of 120 ms before the last acknowledgement, is 320 ms old.
    #[test]
    fn the_timer_runs_from_the_tail_loss_probe() {
        let ms = SimDuration::from_millis;
        assert_eq!(LINUX.put_off(ms(20), ms(13)), ms(46));
        assert_eq!(LINUX.put_off(ms(0), ms(120)), ms(200));
        let old = Bounds {
            probe: false,
            ..LINUX
        };
        assert_eq!(old.put_off(ms(20), ms(13)), ms(0));
    }

    // Packets for 393 ms, of which the oldest is overdue after 200: the first
    // time-out is 2 * 120 ms after the last packet. Linux 6.1 in the lab: 650 to
    // 660 ms after the last acknowledgement.
    #[test]
    fn new_packets_put_the_timer_off() {
        let ms = SimDuration::from_millis;
        let later = LINUX.put_off(ms(393), ms(120));
        let ladder = Ladder::new(LINUX, SimTime::ZERO, later, ms(120));
        assert_eq!(ladder.next(), SimTime::ZERO + ms(393 + 240));
    }
}
