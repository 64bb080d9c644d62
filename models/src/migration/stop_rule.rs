//! When pre-copy stops the guest: the rules of Xen, QEMU and SimGrid.
//!
//! Models the conditions as the programs compute them:
//!
//! - Xen 4.0 (`xc_domain_save.c`, lines 1474 to 1477): after a round, when it
//!   was the 29th, or fewer than 50 pages were sent or skipped in it, or more
//!   than three times the guest's pages were sent in all. The clause on the
//!   rate is dead code without `ADAPTIVE_SAVE`.
//! - Xen 4.6 (`xc_sr_save.c`): a further round when fewer than 5 were sent and
//!   more than 50 pages were dirty before the last one.
//! - QEMU (`migration.c`, `ram.c` at 00580786): when what is left fits into the
//!   downtime limit at the current bandwidth. Auto-converge takes vCPU time
//!   away when, in periods of more than a second, more than half of what was
//!   sent was dirtied, twice.
//! - SimGrid (`VmLiveMigration.cpp` at 12a63c78): QEMU's rule of 2013 with the
//!   bandwidth of the last round, its round trip included.
//!
//! Leaves out: QEMU's `x-` options and the dirty limit, Xen's abort-if-busy.
//!
//! Who would notice: users of those options.

use crate::scenario::AutoConverge;
use sim_core::{SimDuration, SimTime};

/// Xen 4.0: `DEF_MAX_ITERS`.
const XEN40_ROUNDS: u32 = 29;
/// Xen 4.0: `DEF_MAX_FACTOR`.
const XEN40_FACTOR: f64 = 3.0;
/// Xen 4.0 and 4.6: pages below which a last round pays.
const XEN_PAGES: f64 = 50.0;
/// Xen 4.6: `SPP_MAX_ITERATIONS`.
const XEN46_ROUNDS: u32 = 5;

/// Xen 4.0 starts the last round: `round` is the number of rounds sent.
pub fn xen40_stops(round: u32, sent: f64, skipped: f64, total_sent: f64, pages: f64) -> bool {
    round >= XEN40_ROUNDS || sent + skipped < XEN_PAGES || total_sent > pages * XEN40_FACTOR
}

/// Xen 4.6 starts the last round: `round` is the number of rounds sent and
/// `dirty` the pages that the last of them was to send.
pub fn xen46_stops(round: u32, dirty: f64) -> bool {
    round >= XEN46_ROUNDS || dirty <= XEN_PAGES
}

/// QEMU switches over: `left` bytes at `bandwidth` bytes a second.
pub fn qemu_stops(left: f64, bandwidth: f64, downtime_limit: SimDuration) -> bool {
    left <= bandwidth * downtime_limit.as_secs_f64()
}

/// QEMU's auto-converge.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    parameters: AutoConverge,
    percent: u32,
    high: u32,
    period_start: SimTime,
    dirtied: f64,
    sent_before: f64,
}

impl Throttle {
    /// No throttle yet; the first period begins at `now`.
    pub fn new(parameters: AutoConverge, now: SimTime) -> Self {
        Self {
            parameters,
            percent: 0,
            high: 0,
            period_start: now,
            dirtied: 0.0,
            sent_before: 0.0,
        }
    }

    /// Share of vCPU time taken away, in percent.
    pub fn percent(&self) -> u32 {
        self.percent
    }

    /// The dirty bitmap was read: `dirtied` bytes are new in it, and `sent`
    /// bytes were sent since the migration began.
    pub fn on_sync(&mut self, now: SimTime, dirtied: f64, sent: f64) {
        self.dirtied += dirtied;
        if now - self.period_start <= SimDuration::from_secs(1) {
            return;
        }
        let allowed = (sent - self.sent_before) * f64::from(self.parameters.trigger) / 100.0;
        if self.dirtied > allowed {
            self.high += 1;
        }
        if self.high >= 2 {
            self.high = 0;
            self.percent = if self.percent == 0 {
                self.parameters.initial
            } else {
                (self.percent + self.parameters.increment).min(self.parameters.max)
            };
        }
        self.period_start = now;
        self.dirtied = 0.0;
        self.sent_before = sent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xen_4_0_stops_at_29_rounds_below_50_pages_or_beyond_three_times_the_memory() {
        assert!(!xen40_stops(28, 50.0, 0.0, 1000.0, 1000.0));
        assert!(xen40_stops(29, 50.0, 0.0, 1000.0, 1000.0));
        assert!(xen40_stops(1, 49.0, 0.0, 1000.0, 1000.0));
        assert!(!xen40_stops(1, 49.0, 1.0, 1000.0, 1000.0));
        assert!(!xen40_stops(1, 50.0, 0.0, 3000.0, 1000.0));
        assert!(xen40_stops(1, 50.0, 0.0, 3001.0, 1000.0));
    }

    #[test]
    fn xen_4_6_sends_at_most_five_rounds_and_goes_on_above_50_pages() {
        assert!(!xen46_stops(4, 51.0));
        assert!(xen46_stops(5, 51.0));
        assert!(xen46_stops(1, 50.0));
    }

    // Every period of 1.1 s dirties 60 of 100 bytes sent: the second, fourth,
    // ... period raises the throttle: 20, 30, ... and at most 99.
    #[test]
    fn auto_converge_takes_20_then_10_more_after_every_second_high_period() {
        let defaults = AutoConverge {
            trigger: 50,
            initial: 20,
            increment: 10,
            max: 99,
        };
        let mut throttle = Throttle::new(defaults, SimTime::ZERO);
        let mut seen = Vec::new();
        for period in 1..=20_u64 {
            let now = SimTime::ZERO + SimDuration::from_millis(1100 * period);
            throttle.on_sync(now, 60.0, 100.0 * period as f64);
            seen.push(throttle.percent());
        }
        assert_eq!(seen[..6], [0, 20, 20, 30, 30, 40]);
        assert_eq!(*seen.last().unwrap(), 99);
    }

    #[test]
    fn half_of_what_was_sent_is_not_yet_too_much() {
        let defaults = AutoConverge {
            trigger: 50,
            initial: 20,
            increment: 10,
            max: 99,
        };
        let mut throttle = Throttle::new(defaults, SimTime::ZERO);
        for period in 1..=10_u64 {
            let now = SimTime::ZERO + SimDuration::from_millis(1100 * period);
            throttle.on_sync(now, 50.0, 100.0 * period as f64);
        }
        assert_eq!(throttle.percent(), 0);
    }
}
