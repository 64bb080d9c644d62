//! What was observed: counts, means, intervals, quantiles and averages over time.
//!
//! Nothing here sorts or keeps samples; a caller who wants quantiles keeps and sorts them itself.
//! Every sample must be finite: an infinity or a NaN is a bug in the model, and is stopped where
//! it comes in and not where it has become a wrong mean.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::time::SimTime;

/// Count, mean, spread and range of samples, without keeping them.
///
/// Mean and variance are updated sample by sample as in B. P. Welford, "Note on a method for
/// calculating corrected sums of squares and products", Technometrics 4(3), 1962. The sum of
/// squares less the squared sum would cancel away when the spread is small beside the mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    count: u64,
    mean: f64,
    /// Sum of the squared deviations from the mean.
    squares: f64,
    /// Zero before the first sample.
    min: f64,
    /// Zero before the first sample.
    max: f64,
}

impl Tally {
    /// A tally of no samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample.
    ///
    /// # Panics
    ///
    /// If `sample` is infinite or not a number.
    #[track_caller]
    pub fn add(&mut self, sample: f64) {
        assert!(sample.is_finite(), "a sample of {sample}");
        if self.count == 0 {
            self.min = sample;
            self.max = sample;
        }
        self.count += 1;
        let deviation = sample - self.mean;
        self.mean += deviation / self.count as f64;
        self.squares += deviation * (sample - self.mean);
        self.min = self.min.min(sample);
        self.max = self.max.max(sample);
    }

    /// The number of samples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The arithmetic mean, if there is a sample.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The unbiased sample variance (divided by n - 1), if there are two samples.
    pub fn variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// The square root of the [variance](Self::variance), if there are two samples.
    pub fn std_dev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The smallest sample, if there is one.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest sample, if there is one.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The two-sided confidence interval of the mean by Student's t, if there are two samples.
    ///
    /// It holds for independent samples whose mean is about normal: the means of replications,
    /// say, and not the successive waits of one run.
    ///
    /// # Panics
    ///
    /// If `confidence` is not strictly between 0 and 1.
    #[track_caller]
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        assert!(
            confidence > 0.0 && confidence < 1.0,
            "a confidence of {confidence}"
        );
        let std_dev = self.std_dev()?;
        let n = self.count as f64;
        let half = t_quantile(0.5 + confidence / 2.0, n - 1.0) * std_dev / n.sqrt();
        Some(Interval {
            low: self.mean - half,
            high: self.mean + half,
        })
    }
}

/// A range that holds an unknown value with some confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The `p`-quantile of `sorted`, interpolated between the two nearest samples.
///
/// This is type 7 of R. J. Hyndman and Y. Fan, "Sample quantiles in statistical packages", The
/// American Statistician 50(4), 1996: the default of R and NumPy.
///
/// # Panics
///
/// If `sorted` is empty, or `p` is not between 0 and 1.
#[track_caller]
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    assert!(!sorted.is_empty(), "a quantile of no samples");
    assert!((0.0..=1.0).contains(&p), "a quantile at {p}");
    debug_assert!(sorted.is_sorted(), "a quantile of unsorted samples");
    let position = (sorted.len() - 1) as f64 * p;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - position.floor()) * (sorted[above] - sorted[below])
}

/// A signal that stays constant between changes, averaged over simulated time: a queue length,
/// a link that is up (1) or down (0).
#[derive(Clone, Copy, Debug)]
pub struct TimeWeighted {
    start: SimTime,
    /// The time of the last change.
    changed: SimTime,
    /// The value since then.
    value: f64,
    /// The integral up to then, in value-seconds.
    integral: f64,
    max: f64,
}

impl TimeWeighted {
    /// A signal that is `value` from `start` on.
    ///
    /// # Panics
    ///
    /// If `value` is infinite or not a number.
    #[track_caller]
    pub fn new(start: SimTime, value: f64) -> Self {
        assert!(value.is_finite(), "a signal of {value}");
        Self {
            start,
            changed: start,
            value,
            integral: 0.0,
            max: value,
        }
    }

    /// Makes the signal `value` from `now` on.
    ///
    /// # Panics
    ///
    /// If `now` is before the last change, or `value` is infinite or not a number.
    #[track_caller]
    pub fn set(&mut self, now: SimTime, value: f64) {
        assert!(value.is_finite(), "a signal of {value}");
        self.integral = self.integral(now);
        self.changed = now;
        self.value = value;
        self.max = self.max.max(value);
    }

    /// Raises the signal by `delta` from `now` on.
    ///
    /// # Panics
    ///
    /// As [`set`](Self::set).
    #[track_caller]
    pub fn add(&mut self, now: SimTime, delta: f64) {
        self.set(now, self.value + delta);
    }

    /// The value since the last change.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The integral from the start to `now`, in value-seconds.
    ///
    /// # Panics
    ///
    /// If `now` is before the last change.
    #[track_caller]
    pub fn integral(&self, now: SimTime) -> f64 {
        self.integral + self.value * now.since(self.changed).as_secs_f64()
    }

    /// The mean from the start to `now`. While no time has passed, that is the value itself.
    ///
    /// # Panics
    ///
    /// If `now` is before the last change.
    #[track_caller]
    pub fn mean(&self, now: SimTime) -> f64 {
        let elapsed = now.since(self.start);
        if elapsed.is_zero() {
            self.value
        } else {
            self.integral(now) / elapsed.as_secs_f64()
        }
    }

    /// The largest value so far, even if the signal left it within the same instant.
    pub fn max(&self) -> f64 {
        self.max
    }
}

/// The `p`-quantile of Student's t with `freedom` degrees of freedom.
fn t_quantile(p: f64, freedom: f64) -> f64 {
    let t = StudentsT::new(0.0, 1.0, freedom).expect("degrees of freedom are positive");
    t.inverse_cdf(p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SimDuration;

    fn tally(samples: &[f64]) -> Tally {
        let mut tally = Tally::new();
        for &sample in samples {
            tally.add(sample);
        }
        tally
    }

    fn at(secs: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(secs)
    }

    #[track_caller]
    fn assert_near(actual: f64, expected: f64, tolerance: f64) {
        let distance = (actual - expected).abs();
        assert!(
            distance <= tolerance,
            "{actual} is {distance} from {expected}"
        );
    }

    #[test]
    fn an_empty_tally_knows_nothing() {
        let tally = tally(&[]);
        assert_eq!(tally.count(), 0);
        assert_eq!(tally.mean(), None);
        assert_eq!(tally.variance(), None);
        assert_eq!(tally.min(), None);
        assert_eq!(tally.max(), None);
        assert_eq!(tally.interval(0.95), None);
    }

    #[test]
    fn one_sample_has_a_mean_and_no_spread() {
        let tally = tally(&[-3.0]);
        assert_eq!(tally.mean(), Some(-3.0));
        assert_eq!(tally.min(), Some(-3.0));
        assert_eq!(tally.max(), Some(-3.0));
        assert_eq!(tally.variance(), None);
        assert_eq!(tally.std_dev(), None);
        assert_eq!(tally.interval(0.95), None);
    }

    /// The sum is 40, so the mean is 5. The deviations are -3, -1, -1, -1, 0, 0, 2, 4 and their
    /// squares sum to 32, so the variance is 32/7.
    #[test]
    fn mean_and_variance_meet_the_hand_calculation() {
        let tally = tally(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!(tally.count(), 8);
        assert_near(tally.mean().unwrap(), 5.0, 1e-15);
        assert_near(tally.variance().unwrap(), 32.0 / 7.0, 1e-14);
        assert_near(tally.std_dev().unwrap(), (32.0_f64 / 7.0).sqrt(), 1e-14);
        assert_eq!(tally.min(), Some(2.0));
        assert_eq!(tally.max(), Some(9.0));
    }

    /// The deviations are -6, -3, 3, 6 and their squares sum to 90. The squares of the samples,
    /// near 10^18, have a last place of 128: the textbook formula would be off by whole units.
    #[test]
    fn a_small_spread_on_a_large_mean_is_not_cancelled_away() {
        let tally = tally(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert_near(tally.mean().unwrap(), 1e9 + 10.0, 1e-6);
        assert_near(tally.variance().unwrap(), 30.0, 1e-6);
    }

    #[test]
    #[should_panic(expected = "a sample of NaN")]
    fn a_sample_that_is_no_number_is_a_bug() {
        tally(&[1.0, f64::NAN]);
    }

    /// Three decimals as printed in NIST/SEMATECH, e-Handbook of Statistical Methods, 1.3.6.7.2.
    #[test]
    fn t_quantiles_meet_the_published_table() {
        let table = [
            (1.0, 0.95, 6.314),
            (1.0, 0.975, 12.706),
            (1.0, 0.995, 63.657),
            (2.0, 0.975, 4.303),
            (4.0, 0.975, 2.776),
            (5.0, 0.995, 4.032),
            (9.0, 0.95, 1.833),
            (9.0, 0.975, 2.262),
            (9.0, 0.995, 3.250),
            (29.0, 0.975, 2.045),
            (30.0, 0.995, 2.750),
            (99.0, 0.975, 1.984),
        ];
        for (freedom, p, expected) in table {
            assert_near(t_quantile(p, freedom), expected, 0.0005);
        }
    }

    /// With one degree of freedom Student's t is the Cauchy distribution, whose quantile is
    /// tan(pi (p - 1/2)). With two it is (2p - 1) sqrt(2 / (4p (1 - p))).
    #[test]
    fn t_quantiles_meet_the_closed_forms() {
        for p in [0.6, 0.75, 0.9, 0.95, 0.975, 0.995, 0.9995] {
            let one = (std::f64::consts::PI * (p - 0.5)).tan();
            assert_near(t_quantile(p, 1.0) / one, 1.0, 1e-9);
            let two = (2.0 * p - 1.0) * (2.0 / (4.0 * p * (1.0 - p))).sqrt();
            assert_near(t_quantile(p, 2.0) / two, 1.0, 1e-9);
        }
    }

    /// The mean is 2 and the standard deviation 1, so at 95% and two degrees of freedom the half
    /// width is 4.303 / sqrt(3) = 2.484.
    #[test]
    fn the_interval_of_three_samples_meets_the_hand_calculation() {
        let interval = tally(&[1.0, 2.0, 3.0]).interval(0.95).unwrap();
        assert_near(interval.low, 2.0 - 2.484, 0.0005);
        assert_near(interval.high, 2.0 + 2.484, 0.0005);
    }

    #[test]
    fn the_interval_of_equal_samples_is_a_point() {
        let interval = tally(&[3.5; 10]).interval(0.99).unwrap();
        assert_eq!(
            interval,
            Interval {
                low: 3.5,
                high: 3.5
            }
        );
    }

    #[test]
    #[should_panic(expected = "a confidence of 95")]
    fn a_confidence_in_percent_is_a_bug() {
        let _ = tally(&[1.0, 2.0]).interval(95.0);
    }

    /// By the definition of type 7, the p-quantile of 1, 2, 3, 4 is 1 + 3p.
    #[test]
    fn quantiles_are_interpolated_as_in_type_7() {
        let sorted = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 0.25), 1.75);
        assert_eq!(quantile(&sorted, 0.5), 2.5);
        assert_near(quantile(&sorted, 0.9), 3.7, 1e-15);
        assert_eq!(quantile(&sorted, 1.0), 4.0);
        assert_eq!(quantile(&[8.0], 0.3), 8.0);
    }

    #[test]
    #[should_panic(expected = "a quantile of no samples")]
    fn a_quantile_of_nothing_is_a_bug() {
        quantile(&[], 0.5);
    }

    /// 2 for 2 s, then 5 for 1 s, then 0 for 2 s: the integral is 4 + 5 + 0 = 9 over 5 s.
    #[test]
    fn a_signal_is_averaged_over_the_time_it_holds() {
        let mut signal = TimeWeighted::new(at(1), 2.0);
        signal.set(at(3), 5.0);
        assert_eq!(signal.value(), 5.0);
        signal.add(at(4), -5.0);
        assert_eq!(signal.value(), 0.0);
        assert_eq!(signal.integral(at(6)), 9.0);
        assert_eq!(signal.mean(at(6)), 1.8);
        assert_eq!(signal.max(), 5.0);
    }

    #[test]
    fn a_value_held_for_no_time_counts_only_for_the_maximum() {
        let mut signal = TimeWeighted::new(at(0), 1.0);
        signal.set(at(2), 100.0);
        signal.set(at(2), 3.0);
        assert_eq!(signal.integral(at(4)), 8.0);
        assert_eq!(signal.max(), 100.0);
    }

    #[test]
    fn the_mean_over_no_time_is_the_value() {
        let mut signal = TimeWeighted::new(at(5), 2.0);
        assert_eq!(signal.mean(at(5)), 2.0);
        signal.set(at(5), 7.0);
        assert_eq!(signal.mean(at(5)), 7.0);
    }

    #[test]
    #[should_panic(expected = "1s is before 2s")]
    fn a_signal_that_changes_in_the_past_is_a_bug() {
        let mut signal = TimeWeighted::new(at(2), 0.0);
        signal.set(at(1), 1.0);
    }
}
