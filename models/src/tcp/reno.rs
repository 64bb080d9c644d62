//! Reno's congestion avoidance (RFC 5681, section 3.1).
//!
//! Models one segment more a round trip and half the flight after a loss.
//!
//! Leaves out: everything [`super`] leaves out.
//!
//! Who would notice: nobody beyond those named there.

/// The window after a round without loss.
pub(super) fn grow(size: f64) -> f64 {
    size + 1.0
}

/// The window after a loss with `flight` segments under way.
pub(super) fn reduce(flight: f64) -> f64 {
    flight / 2.0
}
