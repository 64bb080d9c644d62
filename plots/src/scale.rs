//! From values to places along an axis, and the ticks of the axis.

/// An axis without its place on the paper.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Values and texts.
    pub(crate) ticks: Vec<(f64, String)>,
    /// Ticks without a text.
    pub(crate) minor: Vec<f64>,
}

impl Scale {
    /// From `low` to `high` in equal steps, with at most `most` ticks (at least two).
    pub(crate) fn linear(low: f64, high: f64, most: usize) -> Self {
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        };
        let (step, decimals) = step(high - low, most.max(2));
        let first = (low / step - 1e-9).ceil();
        let last = (high / step + 1e-9).floor();
        let count = (last - first) as usize + 1;
        let tick = |index| {
            let value = (first + index as f64) * step;
            (value, crate::style::decimal(value, decimals))
        };
        let ticks = (0..count).map(tick).collect();
        Self {
            low,
            high,
            log: false,
            ticks,
            minor: Vec::new(),
        }
    }

    /// From `low` to `high`, both positive, by factors. The ends move outwards to 1, 2 or 5 times a
    /// power of ten.
    pub(crate) fn log(low: f64, high: f64) -> Self {
        let mut power = 1.0;
        while power > low {
            power /= 10.0;
        }
        while power * 10.0 <= low {
            power *= 10.0;
        }
        let (mut ends, mut ticks, mut minor) = ((power, power), Vec::new(), Vec::new());
        let mut from = power;
        'decades: loop {
            for factor in 1..10 {
                let value = from * f64::from(factor);
                if matches!(factor, 1 | 2 | 5) {
                    if value <= low * (1.0 + 1e-9) {
                        ends.0 = value;
                    }
                    ends.1 = value;
                    if value >= high * (1.0 - 1e-9) {
                        break 'decades;
                    }
                }
            }
            from *= 10.0;
        }
        while power <= ends.1 * (1.0 + 1e-9) {
            for factor in 1..10 {
                let value = power * f64::from(factor);
                if value < ends.0 * (1.0 - 1e-9) || value > ends.1 * (1.0 + 1e-9) {
                    continue;
                }
                match factor {
                    1 => ticks.push((value, crate::style::number(value))),
                    _ => minor.push(value),
                }
            }
            power *= 10.0;
        }
        Self {
            low: ends.0,
            high: ends.1,
            log: true,
            ticks,
            minor,
        }
    }

    /// Like [`Scale::log`], with more texts where there are few powers of ten.
    pub(crate) fn log_labelled(low: f64, high: f64) -> Self {
        let mut scale = Self::log(low, high);
        if scale.ticks.len() > 2 {
            return scale;
        }
        let leads = |value: f64, digit: f64| {
            let mantissa = value / libm::pow(10.0, libm::floor(libm::log10(value) + 1e-9));
            (mantissa - digit).abs() < 1e-6
        };
        let labelled = |value: &f64| leads(*value, 2.0) || leads(*value, 5.0);
        let (more, rest): (Vec<f64>, _) = scale.minor.iter().partition(|value| labelled(value));
        let text = |value: f64| (value, crate::style::number(value));
        scale.ticks.extend(more.into_iter().map(text));
        scale.ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        scale.minor = rest;
        scale
    }

    /// With ticks at these values instead.
    pub(crate) fn with_ticks(mut self, ticks: Vec<(f64, String)>) -> Self {
        (self.ticks, self.minor) = (ticks, Vec::new());
        self
    }

    /// How far along the axis a value is: 0 at its low end, 1 at its high end, never beyond.
    pub(crate) fn share(&self, value: f64) -> f64 {
        let share = match self.log {
            true if value <= 0.0 => 0.0,
            true => libm::log10(value / self.low) / libm::log10(self.high / self.low),
            false => (value - self.low) / (self.high - self.low),
        };
        share.clamp(0.0, 1.0)
    }

    /// The inverse of [`Scale::share`].
    pub(crate) fn value(&self, share: f64) -> f64 {
        match self.log {
            true => self.low * libm::pow(self.high / self.low, share),
            false => self.low + share * (self.high - self.low),
        }
    }
}

/// The smallest of the steps 1, 2, 2.5 and 5 times a power of ten that cuts `range` into fewer
/// than `most` pieces, and its digits after the point.
fn step(range: f64, most: usize) -> (f64, usize) {
    let pieces = most as f64 - 1.0;
    let (mut power, mut decimals) = (1e-9, 9_i32);
    while range / (power * 10.0) > pieces {
        power *= 10.0;
        decimals -= 1;
    }
    let (step, digits) = [(1.0, 0), (2.0, 0), (2.5, 1), (5.0, 0), (10.0, 0)]
        .into_iter()
        .find(|(factor, _)| range / (power * factor) <= pieces)
        .unwrap_or((10.0, 0));
    (
        step * power,
        usize::try_from(decimals + digits).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers() {
        assert_eq!(
            texts(&Scale::linear(0.0, 200.0, 5)),
            ["0", "50", "100", "150", "200"]
        );
        assert_eq!(
            texts(&Scale::linear(0.0, 0.7, 5)),
            ["0", "0.2", "0.4", "0.6"]
        );
        assert_eq!(
            texts(&Scale::linear(-1.0, 1.0, 5)),
            ["-1", "-0.5", "0", "0.5", "1"]
        );
        assert_eq!(texts(&Scale::linear(7.0, 7.0, 3)), ["6.5", "7", "7.5"]);
    }

    #[test]
    fn log_ticks_are_powers_of_ten() {
        let scale = Scale::log(3.0, 700.0);
        assert_eq!(texts(&scale), ["10", "100", "1000"]);
        assert_eq!((scale.low, scale.high), (2.0, 1000.0));
        let share = scale.share(44.72135955);
        assert!((share - 0.5).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_log_axis_of_one_decade_has_more_texts() {
        let scale = Scale::log_labelled(15.0, 130.0);
        assert_eq!(texts(&scale), ["10", "20", "50", "100", "200"]);
        assert_eq!(texts(&Scale::log_labelled(0.2, 0.5)), ["0.2", "0.5"]);
        let wide = Scale::log_labelled(3.0, 7000.0);
        assert_eq!(texts(&wide), ["10", "100", "1000", "10000"]);
    }

    #[test]
    fn share_and_value_are_inverse_and_stay_on_the_axis() {
        for scale in [Scale::linear(10.0, 30.0, 5), Scale::log(1.0, 100.0)] {
            assert!((scale.value(scale.share(17.0)) - 17.0).abs() < 1e-9);
            assert_eq!((scale.share(-1.0), scale.share(1e9)), (0.0, 1.0));
        }
    }
}
