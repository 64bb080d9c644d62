//! When a VPN client declares its gateway dead.
//!
//! Models three detectors as the instant at which they give up, computed from
//! the instant of the failure, so that a healthy tunnel costs no events:
//!
//! - an in-tunnel echo probe with a time-out of a multiple of the RTO (BitVisor:
//!   3 x RTO). The clock runs from the sending of the last
//!   probe that was answered, so detection never takes longer than the multiple.
//! - strongSwan: silence for `dpd_delay`, a request, and its retransmissions
//!   after `timeout * base^n`; with the defaults 165.06 s (`charon` at 3b902ea5).
//! - libreswan: the first interval twice, then doubling ones; dead at the first
//!   timer at or after the time-out (`retransmit.c`): with 0.5 and 60 s, 64 s.
//!
//! Leaves out: lost probes on a healthy path (no false alarms), jitter of the
//! retransmissions (off by default), MOBIKE.
//!
//! Who would notice: users of lossy paths with a small multiple.

use crate::scenario::Detection;
use sim_core::{SimDuration, SimTime};

/// What a detector knows of the tunnel when the path dies.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// When the path died.
    pub failed: SimTime,
    /// Round-trip time of the path to the gateway.
    pub rtt: SimDuration,
    /// Instant of the first probe, modulo its interval.
    pub phase: SimDuration,
    /// Whether traffic was coming in until the failure.
    pub busy: bool,
}

/// The instant at which the detector declares the gateway dead.
pub fn detection(detector: &Detection, situation: Situation) -> SimTime {
    match *detector {
        Detection::Probe {
            interval,
            rto_multiple,
            min_rto,
        } => {
            // RFC 2988 with a variance that has died out: max(floor, SRTT).
            let rto = min_rto.max(situation.rtt);
            last_answered(interval, situation) + rto.mul_f64(rto_multiple)
        }
        Detection::Strongswan {
            dpd_delay,
            timeout,
            base,
            tries,
        } => first_unanswered(dpd_delay, situation) + strongswan_ladder(timeout, base, tries),
        Detection::Libreswan {
            dpd_delay,
            retransmit_interval,
            retransmit_timeout,
        } => {
            let ladder = libreswan_ladder(retransmit_interval, retransmit_timeout);
            first_unanswered(dpd_delay, situation) + ladder
        }
    }
}

/// Time from a request of strongSwan until it gives up:
/// `timeout * (base^0 + ... + base^tries)`.
pub fn strongswan_ladder(timeout: SimDuration, base: f64, tries: u32) -> SimDuration {
    let mut total = SimDuration::ZERO;
    let mut factor = 1.0;
    for _ in 0..=tries {
        total += timeout.mul_f64(factor);
        factor *= base;
    }
    total
}

/// Time from a request of libreswan until it gives up: the interval, the
/// interval again, then twice as long each time while that is shorter than the
/// time-out; over at the first timer at or after the time-out.
pub fn libreswan_ladder(interval: SimDuration, timeout: SimDuration) -> SimDuration {
    let (mut total, mut delay) = (interval, interval);
    while total < timeout {
        total += delay;
        if delay * 2 < timeout {
            delay = delay * 2;
        }
    }
    total
}

/// Instant at which the last probe that found the gateway alive was sent.
fn last_answered(interval: SimDuration, situation: Situation) -> SimTime {
    let reach = (situation.rtt / 2).as_nanos();
    let latest = situation.failed.as_nanos().saturating_sub(reach);
    let phase = situation.phase.as_nanos() % interval.as_nanos();
    // Before the first probe the tunnel's own set-up counts as an answer.
    let sent = latest
        .checked_sub(phase)
        .map_or(0, |since| latest - since % interval.as_nanos());
    SimTime::from_nanos(sent)
}

/// Instant at which the first request that finds nobody is sent.
fn first_unanswered(dpd_delay: SimDuration, situation: Situation) -> SimTime {
    let half = situation.rtt / 2;
    if situation.busy {
        // The last packet the gateway let through arrives half a round trip later.
        return situation.failed + half + dpd_delay;
    }
    let latest_answered = situation.failed.as_nanos().saturating_sub(half.as_nanos());
    let period = dpd_delay.as_nanos().max(1);
    SimTime::from_nanos(latest_answered.div_ceil(period).max(1) * period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> SimDuration = SimDuration::from_millis;

    // 4, 4 + 7.2, + 12.96, + 23.328, + 41.99, + 75.58 seconds.
    #[test]
    fn the_strongswan_ladder_gives_up_after_165_seconds() {
        let ladder = |tries| strongswan_ladder(MS(4000), 1.8, tries).as_secs_f64();
        let published = [4.0, 11.2, 24.16, 47.488, 89.4784, 165.06112];
        for (tries, seconds) in published.into_iter().enumerate() {
            assert!((ladder(u32::try_from(tries).unwrap()) - seconds).abs() < 1e-6);
        }
    }

    #[test]
    fn a_probe_never_takes_longer_than_its_multiple_nor_less_than_one_interval_short_of_it() {
        let detector = Detection::Probe {
            interval: MS(500),
            rto_multiple: 3.0,
            min_rto: MS(1000),
        };
        for phase in 0..500 {
            let failed = SimTime::ZERO + MS(15_100);
            let situation = Situation {
                failed,
                rtt: MS(13),
                phase: MS(phase),
                busy: true,
            };
            let delay = (detection(&detector, situation) - failed).as_millis_f64();
            assert!(delay <= 3000.0, "{delay}");
            assert!(delay > 3000.0 - 500.0 - 13.0, "{delay}");
        }
    }

    // 0.5 + 0.5 + 1 + 2 + 4 + 8 + 16 + 32 = 64: the first timer after 60 s.
    #[test]
    fn libreswan_gives_up_at_the_first_timer_after_its_time_out() {
        assert_eq!(libreswan_ladder(MS(500), MS(60_000)), MS(64_000));
        assert_eq!(libreswan_ladder(MS(7_000), MS(60_000)), MS(112_000));
        assert_eq!(libreswan_ladder(MS(60_000), MS(60_000)), MS(60_000));
    }

    #[test]
    fn an_idle_tunnel_is_asked_every_dpd_delay() {
        let detector = Detection::Libreswan {
            dpd_delay: MS(30_000),
            retransmit_interval: MS(500),
            retransmit_timeout: MS(60_000),
        };
        let at = |failed, busy| {
            let failed = SimTime::ZERO + MS(failed);
            detection(
                &detector,
                Situation {
                    failed,
                    rtt: MS(20),
                    phase: SimDuration::ZERO,
                    busy,
                },
            )
        };
        assert_eq!(at(31_000, false), SimTime::ZERO + MS(60_000 + 64_000));
        assert_eq!(at(30_000, false), SimTime::ZERO + MS(30_000 + 64_000));
        assert_eq!(
            at(31_000, true),
            SimTime::ZERO + MS(31_010 + 30_000 + 64_000)
        );
    }
}
