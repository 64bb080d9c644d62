//! CUBIC's congestion avoidance (RFC 9438).
//!
//! Models the cubic function of section 4.2, the Reno-friendly region of 4.3,
//! the bound of half a window a round trip of 4.4, multiplicative decrease of
//! 4.6 and fast convergence of 4.7, with the constants of RFC and Linux.
//!
//! Leaves out: the time an application was idle inside an epoch (Linux shifts
//! the epoch; here a long idle period starts a new one).
//!
//! Who would notice: users of flows that pause for less than a time-out.

use super::Round;

/// Multiplicative decrease (section 4.6; Linux 717/1024).
const BETA: f64 = 0.7;
/// Scaling constant in segments a second cubed (section 5.1).
const C: f64 = 0.4;
/// Reno-friendly increase a round before the old maximum is reached (section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

#[derive(Clone, Debug, Default)]
pub(super) struct Cubic {
    /// Window before the last reduction; 0 before the first.
    w_max: f64,
    /// The same without fast convergence (`cwnd_prior`).
    prior: f64,
    epoch: Option<Epoch>,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: f64,
    /// Time until the plateau, seconds.
    k: f64,
    /// Window of the plateau.
    origin: f64,
    /// Window Reno would have.
    friendly: f64,
}

impl Cubic {
    /// The window after a round without loss.
    pub(super) fn grow(&mut self, size: f64, round: Round) -> f64 {
        let (w_max, prior) = (self.w_max, self.prior);
        let epoch = self
            .epoch
            .get_or_insert_with(|| Epoch::new(size, w_max, round));
        let alpha = if epoch.friendly >= prior { 1.0 } else { ALPHA };
        epoch.friendly += alpha;
        // One round trip ahead, as section 4.2 has it.
        let t = round.now - epoch.start + round.base_rtt - epoch.k;
        let target = C * t * t * t + epoch.origin;
        target.clamp(size, 1.5 * size).max(epoch.friendly)
    }

    /// The window after a loss with `flight` segments under way.
    pub(super) fn reduce(&mut self, flight: f64) -> f64 {
        self.epoch = None;
        self.prior = flight;
        // Fast convergence: a flow that lost below its old maximum leaves room.
        let converging = flight < self.w_max;
        self.w_max = if converging {
            flight * (1.0 + BETA) / 2.0
        } else {
            flight
        };
        flight * BETA
    }

    /// The next round starts a new epoch.
    pub(super) fn forget_epoch(&mut self) {
        self.epoch = None;
    }
}

impl Epoch {
    fn new(size: f64, w_max: f64, round: Round) -> Self {
        let (k, origin) = if size < w_max {
            (libm::cbrt((w_max - size) / C), w_max)
        } else {
            (0.0, size)
        };
        Self {
            start: round.now - round.rtt,
            k,
            origin,
            friendly: size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::tests::round;

    // W_max = 1000: the reduction leaves 700, K = cbrt(300 / 0.4) = 9.086 s.
    #[test]
    fn the_window_is_back_at_its_maximum_after_k_seconds() {
        let mut cubic = Cubic::default();
        let mut size = cubic.reduce(1000.0);
        assert_eq!(size, 700.0);
        for i in 1..=90 {
            size = cubic.grow(size, round(0.1 * f64::from(i)));
        }
        assert!((size - 1000.0).abs() < 0.1, "{size}");
    }

    // Small windows on short paths follow Reno: 0.529 segments a round.
    #[test]
    fn a_small_window_grows_as_reno_would() {
        let mut cubic = Cubic::default();
        let size = cubic.reduce(20.0);
        let fast = |now| Round {
            now,
            rtt: 0.001,
            base_rtt: 0.001,
            train: 0.0,
            limited: true,
        };
        let grown = (1..=10).fold(size, |size, i| cubic.grow(size, fast(0.001 * f64::from(i))));
        assert!((grown - (14.0 + 10.0 * ALPHA)).abs() < 1e-9, "{grown}");
    }

    #[test]
    fn a_loss_below_the_old_maximum_lowers_it_further() {
        let mut cubic = Cubic::default();
        cubic.reduce(1000.0);
        cubic.reduce(800.0);
        assert_eq!(cubic.w_max, 680.0);
    }
}
