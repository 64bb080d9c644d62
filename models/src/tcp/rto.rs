//! The retransmission timer when nobody answers.
//!
//! Models RFC 6298 with Linux's bounds: the time-out is the smoothed round-trip
//! time plus at least the minimum (Linux puts the floor under the variance
//! term), doubles after each retransmission up to the maximum, and the
//! connection is given up at the first time-out after the time that
//! `tcp_retries2` stands for (`tcp_model_timeout` in `tcp_timer.c`: 924.6 s for
//! 15 retries, 200 ms and 120 s).
//!
//! Leaves out: that Linux counts this time from the first retransmission, so that
//! a connection may live for one time-out more; clock granularity, the variance of the round-trip time (0 on a
//! steady path), tail loss probes, F-RTO, user time-outs.
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
}

impl Bounds {
    /// The time-out of a connection with this smoothed round-trip time.
    pub fn timeout(&self, srtt: SimDuration) -> SimDuration {
        (srtt + self.min).min(self.max)
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

/// The retransmissions of one unanswered byte: at `first + rto * (2^k - 1)`.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    bounds: Bounds,
    first: SimTime,
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
    /// The oldest unanswered byte was sent, or last acknowledged, at `first`.
    pub fn new(bounds: Bounds, first: SimTime, srtt: SimDuration) -> Self {
        let timeout = bounds.timeout(srtt);
        Self {
            bounds,
            first,
            next: first + timeout,
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
        if self.next - self.first >= self.bounds.patience() {
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
    };

    // 0.2 * (1 + 2 + ... + 512) = 204.6 s, then six times 120 s.
    #[test]
    fn linux_gives_up_after_924_6_seconds() {
        assert_eq!(LINUX.patience(), SimDuration::from_millis(924_600));
        let mut ladder = Ladder::new(LINUX, SimTime::ZERO, SimDuration::ZERO);
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
        let mut ladder = Ladder::new(LINUX, SimTime::ZERO, SimDuration::ZERO);
        for k in 1..=9_u32 {
            let expected = SimDuration::from_millis(200 * ((1 << k) - 1));
            assert_eq!(ladder.next() - SimTime::ZERO, expected);
            assert_eq!(ladder.rung(), k);
            ladder.climb();
        }
    }
}
