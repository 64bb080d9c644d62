//! Numbers for people: a unit that fits, and as many digits as are of use.

/// A unit to print in, and what to divide by to get there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unit<'a> {
    /// Its symbol; empty for a plain number.
    pub(crate) symbol: &'a str,
    divisor: f64,
}

const fn unit(symbol: &str, divisor: f64) -> Unit<'_> {
    Unit { symbol, divisor }
}

/// Units of time by the milliseconds from which on they fit.
const TIMES: [(f64, Unit<'static>); 4] = [
    (0.0, unit("ms", 1.0)),
    (1_000.0, unit("s", 1_000.0)),
    (120_000.0, unit("min", 60_000.0)),
    (7_200_000.0, unit("h", 3_600_000.0)),
];

const SIZES: [(f64, Unit<'static>); 4] = [
    (0.0, unit("B", 1.0)),
    (1e4, unit("kB", 1e3)),
    (1e6, unit("MB", 1e6)),
    (1e9, unit("GB", 1e9)),
];

const RATES: [(f64, Unit<'static>); 3] = [
    (0.0, unit("kbit/s", 1e-3)),
    (1.0, unit("Mbit/s", 1.0)),
    (1e4, unit("Gbit/s", 1e3)),
];

impl<'a> Unit<'a> {
    /// The unit that fits numbers up to `largest` of the unit that a record
    /// calls `name`.
    pub(crate) fn fitting(name: &'a str, largest: f64) -> Self {
        let ladder: &[(f64, Unit<'static>)] = match name {
            "ms" => &TIMES,
            "byte" => &SIZES,
            "Mbit/s" => &RATES,
            "round" => return unit("rounds", 1.0),
            "page of 4 KiB" => return unit("pages", 1.0),
            "1" | "1 or 0" => return unit("", 1.0),
            _ => return unit(name, 1.0),
        };
        let fits = ladder.iter().rev().find(|(from, _)| largest.abs() >= *from);
        fits.map_or(ladder[0].1, |(_, unit)| *unit)
    }

    /// A value of the record in this unit.
    pub(crate) fn of(self, value: f64) -> f64 {
        value / self.divisor
    }
}

/// Digits after the point that show the smallest of `values` to about three
/// digits; none when all are whole.
pub(crate) fn decimals(values: impl Iterator<Item = f64> + Clone) -> usize {
    if values.clone().all(|value| value.fract() == 0.0) {
        return 0;
    }
    let smallest = values
        .map(f64::abs)
        .filter(|&value| value > 0.0)
        .fold(f64::INFINITY, f64::min);
    match smallest {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    }
}

/// A number without noise: `95`, `99.9`.
pub(crate) fn number(value: f64) -> String {
    format!("{}", (value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_fit_the_largest_value() {
        let symbol = |name, largest| Unit::fitting(name, largest).symbol;
        assert_eq!(symbol("ms", 999.0), "ms");
        assert_eq!(symbol("ms", 1_000.0), "s");
        assert_eq!(symbol("ms", 600_000.0), "min");
        assert_eq!(symbol("byte", 2e9), "GB");
        assert_eq!(symbol("Mbit/s", 0.2), "kbit/s");
        assert_eq!(symbol("1", 5.0), "");
        assert_eq!(Unit::fitting("ms", 90_000.0).of(90_000.0), 90.0);
    }

    #[test]
    fn three_digits_are_enough() {
        let digits = |values: &[f64]| decimals(values.iter().copied());
        assert_eq!(digits(&[1234.5, 100.2]), 0);
        assert_eq!(digits(&[1234.5, 12.3]), 1);
        assert_eq!(digits(&[0.25, 0.0]), 3);
        assert_eq!(digits(&[3.0, 250.0]), 0);
        assert_eq!(digits(&[]), 0);
    }
}
