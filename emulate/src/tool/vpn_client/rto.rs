//! The retransmission time-out of the probes (RFC 2988).
//!
//! The simulator's `Detection::Probe` takes the larger of the floor and the
//! round-trip time, which is where this ends up on a path whose round-trip time
//! is steady: the variance dies out.

/// The time-out before anything was measured; RFC 6298 lowered it to a second.
const FIRST_NS: u64 = 1_000_000_000;

/// Smoothed round-trip time, its variation and the time-out, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimator {
    floor: u64,
    measured: Option<(u64, u64)>,
}

impl Estimator {
    /// `floor` is the least time-out.
    pub(super) fn new(floor: u64) -> Self {
        let measured = None;
        Self { floor, measured }
    }

    pub(super) fn add(&mut self, rtt: u64) {
        self.measured = Some(match self.measured {
            None => (rtt, rtt / 2),
            Some((srtt, rttvar)) => {
                let apart = srtt.abs_diff(rtt);
                // beta = 1/4, alpha = 1/8; the old smoothed time is used first.
                ((7 * srtt + rtt) / 8, (3 * rttvar + apart) / 4)
            }
        });
    }

    pub(super) fn srtt(&self) -> Option<u64> {
        self.measured.map(|(srtt, _)| srtt)
    }

    pub(super) fn rttvar(&self) -> Option<u64> {
        self.measured.map(|(_, rttvar)| rttvar)
    }

    pub(super) fn rto(&self) -> u64 {
        let estimate = self
            .measured
            .map_or(FIRST_NS, |(srtt, rttvar)| srtt + 4 * rttvar);
        self.floor.max(estimate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::ipsec::dpd::{Situation, detection};
    use models::scenario::Detection;
    use models::units::Span;
    use sim_core::SimTime;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_first_measurement_gives_three_times_itself() {
        let mut estimator = Estimator::new(MS);
        assert_eq!(estimator.rto(), FIRST_NS);
        estimator.add(100 * MS);
        // SRTT + 4 RTTVAR = 100 + 4 * 50.
        assert_eq!(estimator.rto(), 300 * MS);
        estimator.add(180 * MS);
        // SRTT 110, RTTVAR (150 + 80) / 4 = 57.5.
        assert_eq!(estimator.srtt(), Some(110 * MS));
        assert_eq!(estimator.rttvar(), Some(57_500_000));
        assert_eq!(estimator.rto(), 340 * MS);
    }

    // With probes at multiples of 500 ms and a failure at 15.4 s, the last answered
    // probe is that of 15.0 s; the simulator gives up three time-outs later.
    #[test]
    fn on_a_steady_path_it_gives_up_when_the_simulator_does() {
        for (floor, rtt) in [(1000, 13), (200, 13), (200, 320)] {
            let mut estimator = Estimator::new(floor * MS);
            for _ in 0..200 {
                estimator.add(rtt * MS);
            }
            let detector = Detection::Probe {
                interval: Span::from_millis(500).get(),
                rto_multiple: 3.0,
                min_rto: Span::from_millis(floor).get(),
            };
            let situation = Situation {
                failed: SimTime::ZERO + Span::from_millis(15_400).get(),
                rtt: Span::from_millis(rtt).get(),
                phase: Span::from_millis(0).get(),
                busy: true,
            };
            let simulated = detection(&detector, situation).as_nanos();
            let real = 15_000 * MS + 3 * estimator.rto();
            assert!(real.abs_diff(simulated) < 1000, "{real} {simulated}");
        }
    }
}
