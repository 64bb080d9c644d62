//! Simulated time: instants, spans, and the arithmetic between them.
//!
//! Both types count whole nanoseconds in a `u64`, which reaches 584 years. Integers make time
//! exact: adding a span a million times gives the same instant as adding its millionfold, and
//! two events meant for the same instant do fall on it. Instants and spans are different types,
//! so adding two instants does not compile.
//!
//! Arithmetic that leaves the range upwards stops at `MAX`, which therefore means *never* (an
//! instant) or *forever* (a span). Arithmetic that would go below zero panics: an effect before
//! its cause is a bug in the model.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

const NANOS_PER_MICRO: u64 = 1_000;
const NANOS_PER_MILLI: u64 = 1_000_000;
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// An instant: nanoseconds since the start of the simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimTime(u64);

impl SimTime {
    /// The start of the simulation.
    pub const ZERO: Self = Self(0);

    /// The latest instant there is. It means *never*: sums which pass it stay on it.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the start, to the precision of an `f64`.
    pub fn as_secs_f64(self) -> f64 {
        SimDuration(self.0).as_secs_f64()
    }

    /// Milliseconds since the start, to the precision of an `f64`.
    pub fn as_millis_f64(self) -> f64 {
        SimDuration(self.0).as_millis_f64()
    }

    /// The span from `earlier` to this instant.
    ///
    /// # Panics
    ///
    /// If `earlier` is the later of the two. Where that is no bug, use
    /// [`saturating_since`](Self::saturating_since).
    #[track_caller]
    pub fn since(self, earlier: Self) -> SimDuration {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => SimDuration(nanos),
            None => panic!("{self} is before {earlier}: the span between them would be negative"),
        }
    }

    /// The span from `earlier` to this instant, or zero if `earlier` is the later of the two.
    pub const fn saturating_since(self, earlier: Self) -> SimDuration {
        SimDuration(self.0.saturating_sub(earlier.0))
    }
}

/// A span of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimDuration(u64);

impl SimDuration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// The longest span there is. It means *forever*: sums and products which pass it stay on it.
    pub const MAX: Self = Self(u64::MAX);

    /// A span of `nanos` nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A span of `micros` microseconds, at most [`MAX`](Self::MAX).
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(NANOS_PER_MICRO))
    }

    /// A span of `millis` milliseconds, at most [`MAX`](Self::MAX).
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// A span of `secs` seconds, at most [`MAX`](Self::MAX).
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SEC))
    }

    /// A span of `secs` seconds to the nearest nanosecond, at most [`MAX`](Self::MAX).
    ///
    /// # Panics
    ///
    /// If `secs` is negative or not a number.
    #[track_caller]
    pub fn from_secs_f64(secs: f64) -> Self {
        assert!(secs >= 0.0, "a span of {secs} seconds");
        Self::from_nanos_f64(secs * NANOS_PER_SEC as f64)
    }

    /// The span in nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The span in seconds, to the precision of an `f64`.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// The span in milliseconds, to the precision of an `f64`.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_MILLI as f64
    }

    /// Whether this is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This span less `other`, or zero if `other` is the longer of the two.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This span times `factor` to the nearest nanosecond, at most [`MAX`](Self::MAX).
    ///
    /// The product is taken in `f64`, so it is exact to the nanosecond for spans below 2^53 ns
    /// (104 days) and to 53 bits above.
    ///
    /// # Panics
    ///
    /// If `factor` is negative or not a number, or if no time is multiplied by infinity.
    #[track_caller]
    pub fn mul_f64(self, factor: f64) -> Self {
        let nanos = self.0 as f64 * factor;
        assert!(factor >= 0.0 && nanos >= 0.0, "{self} times {factor}");
        Self::from_nanos_f64(nanos)
    }

    /// Rounds to the nearest nanosecond. The cast from `f64` to `u64` saturates, which turns
    /// infinity and whatever else is too large into `MAX`.
    fn from_nanos_f64(nanos: f64) -> Self {
        Self(nanos.round() as u64)
    }
}

impl Add<SimDuration> for SimTime {
    type Output = Self;

    /// The instant `span` later, at most [`SimTime::MAX`].
    fn add(self, span: SimDuration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<SimDuration> for SimTime {
    fn add_assign(&mut self, span: SimDuration) {
        *self = *self + span;
    }
}

impl Sub for SimTime {
    type Output = SimDuration;

    /// The same as [`SimTime::since`].
    #[track_caller]
    fn sub(self, earlier: Self) -> SimDuration {
        self.since(earlier)
    }
}

impl Add for SimDuration {
    type Output = Self;

    /// The two spans one after the other, at most [`SimDuration::MAX`].
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for SimDuration {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for SimDuration {
    type Output = Self;

    /// This span less `other`. Panics if `other` is the longer of the two.
    #[track_caller]
    fn sub(self, other: Self) -> Self {
        match self.0.checked_sub(other.0) {
            Some(nanos) => Self(nanos),
            None => panic!("{self} less {other} would be negative"),
        }
    }
}

impl Mul<u64> for SimDuration {
    type Output = Self;

    /// This span `times` over, at most [`SimDuration::MAX`].
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Div<u64> for SimDuration {
    type Output = Self;

    /// One of `parts` equal parts, rounded down. Panics if `parts` is zero.
    #[track_caller]
    fn div(self, parts: u64) -> Self {
        assert!(parts > 0, "{self} divided by zero");
        Self(self.0 / parts)
    }
}

impl Sum for SimDuration {
    fn sum<I: Iterator<Item = Self>>(spans: I) -> Self {
        spans.fold(Self::ZERO, Add::add)
    }
}

impl<'a> Sum<&'a Self> for SimDuration {
    fn sum<I: Iterator<Item = &'a Self>>(spans: I) -> Self {
        spans.copied().sum()
    }
}

impl fmt::Display for SimTime {
    /// The span since the start, as in `1.5s`; [`SimTime::MAX`] reads `never`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MAX => f.pad("never"),
            Self(nanos) => fmt::Display::fmt(&SimDuration(nanos), f),
        }
    }
}

impl fmt::Display for SimDuration {
    /// The exact span in the largest unit that fits once, as in `1.5s`, `20ms`, `3.2us` and `7ns`;
    /// [`SimDuration::MAX`] reads `forever`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, digits, name) = match self.0 {
            u64::MAX => return f.pad("forever"),
            0 => return f.pad("0s"),
            NANOS_PER_SEC.. => (NANOS_PER_SEC, 9, "s"),
            NANOS_PER_MILLI.. => (NANOS_PER_MILLI, 6, "ms"),
            NANOS_PER_MICRO.. => (NANOS_PER_MICRO, 3, "us"),
            _ => (1, 0, "ns"),
        };
        let (whole, rest) = (self.0 / unit, self.0 % unit);
        if rest == 0 {
            return f.pad(&format!("{whole}{name}"));
        }
        let fraction = format!("{rest:0digits$}");
        f.pad(&format!("{whole}.{}{name}", fraction.trim_end_matches('0')))
    }
}

impl fmt::Debug for SimTime {
    /// The same as `Display`, which is exact: a failed assertion should be readable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SimDuration {
    /// The same as `Display`, which is exact: a failed assertion should be readable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(nanos: u64) -> SimDuration {
        SimDuration::from_nanos(nanos)
    }

    fn at(nanos: u64) -> SimTime {
        SimTime::from_nanos(nanos)
    }

    #[test]
    fn units_agree() {
        assert_eq!(SimDuration::from_secs(2), SimDuration::from_millis(2_000));
        assert_eq!(SimDuration::from_millis(2), SimDuration::from_micros(2_000));
        assert_eq!(SimDuration::from_micros(2), nanos(2_000));
        assert_eq!(SimDuration::from_millis(1_500).as_secs_f64(), 1.5);
        assert_eq!(SimDuration::from_micros(1_500).as_millis_f64(), 1.5);
        assert_eq!(at(1_500_000).as_millis_f64(), 1.5);
        assert_eq!(at(1_500_000_000).as_secs_f64(), 1.5);
    }

    #[test]
    fn units_too_large_mean_forever() {
        assert_eq!(SimDuration::from_secs(u64::MAX), SimDuration::MAX);
        assert_eq!(SimDuration::from_millis(u64::MAX), SimDuration::MAX);
        assert_eq!(SimDuration::from_micros(u64::MAX), SimDuration::MAX);
    }

    #[test]
    fn seconds_are_rounded_to_the_nearest_nanosecond() {
        assert_eq!(
            SimDuration::from_secs_f64(0.1),
            SimDuration::from_millis(100)
        );
        assert_eq!(SimDuration::from_secs_f64(1.4e-9), nanos(1));
        assert_eq!(SimDuration::from_secs_f64(1.6e-9), nanos(2));
        assert_eq!(SimDuration::from_secs_f64(0.4e-9), SimDuration::ZERO);
        assert_eq!(SimDuration::from_secs_f64(-0.0), SimDuration::ZERO);
    }

    #[test]
    fn seconds_too_many_mean_forever() {
        assert_eq!(SimDuration::from_secs_f64(1e11), SimDuration::MAX);
        assert_eq!(SimDuration::from_secs_f64(f64::MAX), SimDuration::MAX);
        assert_eq!(SimDuration::from_secs_f64(f64::INFINITY), SimDuration::MAX);
    }

    #[test]
    #[should_panic(expected = "a span of -1 seconds")]
    fn negative_seconds_are_a_bug() {
        SimDuration::from_secs_f64(-1.0);
    }

    #[test]
    #[should_panic(expected = "a span of NaN seconds")]
    fn seconds_that_are_no_number_are_a_bug() {
        SimDuration::from_secs_f64(f64::NAN);
    }

    #[test]
    fn spans_scale_by_fractions() {
        assert_eq!(
            nanos(10).mul_f64(0.25),
            nanos(3),
            "2.5 rounds away from zero"
        );
        assert_eq!(
            SimDuration::from_secs(2).mul_f64(1.5),
            SimDuration::from_secs(3)
        );
        assert_eq!(nanos(1).mul_f64(f64::INFINITY), SimDuration::MAX);
    }

    #[test]
    #[should_panic(expected = "1s times -0.5")]
    fn a_negative_factor_is_a_bug() {
        SimDuration::from_secs(1).mul_f64(-0.5);
    }

    #[test]
    fn an_instant_past_the_range_is_never() {
        assert_eq!(at(5) + nanos(7), at(12));
        assert_eq!(at(5) + SimDuration::MAX, SimTime::MAX);
        assert_eq!(SimTime::MAX + nanos(1), SimTime::MAX);
        let mut now = at(5);
        now += nanos(1);
        assert_eq!(now, at(6));
    }

    #[test]
    fn the_span_between_instants_is_their_difference() {
        assert_eq!(at(12) - at(5), nanos(7));
        assert_eq!(at(12).since(at(12)), SimDuration::ZERO);
        assert_eq!(at(5).saturating_since(at(12)), SimDuration::ZERO);
    }

    #[test]
    #[should_panic(expected = "5ns is before 12ns")]
    fn a_negative_span_between_instants_is_a_bug() {
        let _ = at(5) - at(12);
    }

    #[test]
    fn spans_add_subtract_multiply_and_divide() {
        assert_eq!(nanos(5) + nanos(7), nanos(12));
        assert_eq!(nanos(5) + SimDuration::MAX, SimDuration::MAX);
        assert_eq!(nanos(12) - nanos(5), nanos(7));
        assert_eq!(nanos(5).saturating_sub(nanos(12)), SimDuration::ZERO);
        assert_eq!(nanos(5) * 3, nanos(15));
        assert_eq!(nanos(5) * u64::MAX, SimDuration::MAX);
        assert_eq!(nanos(14) / 5, nanos(2));
        let spans = [nanos(1), nanos(2), nanos(3)];
        assert_eq!(spans.iter().sum::<SimDuration>(), nanos(6));
        assert_eq!(spans.into_iter().sum::<SimDuration>(), nanos(6));
    }

    #[test]
    #[should_panic(expected = "5ns less 12ns would be negative")]
    fn a_negative_difference_of_spans_is_a_bug() {
        let _ = nanos(5) - nanos(12);
    }

    #[test]
    fn spans_are_shown_exactly_in_the_largest_unit_that_fits() {
        let shown = [
            (0, "0s"),
            (7, "7ns"),
            (999, "999ns"),
            (1_000, "1us"),
            (3_200, "3.2us"),
            (20_000_000, "20ms"),
            (999_999_999, "999.999999ms"),
            (1_500_000_000, "1.5s"),
            (1_000_000_001, "1.000000001s"),
            (90_000_000_000, "90s"),
            (u64::MAX, "forever"),
        ];
        for (span, text) in shown {
            assert_eq!(nanos(span).to_string(), text);
        }
    }

    #[test]
    fn instants_are_shown_as_the_span_since_the_start() {
        assert_eq!(at(1_500_000_000).to_string(), "1.5s");
        assert_eq!(format!("{:?}", at(20_000_000)), "20ms");
        assert_eq!(SimTime::MAX.to_string(), "never");
        assert_eq!(format!("{:>6}|", at(7)), "   7ns|");
    }
}
