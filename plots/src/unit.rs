//! Units of labels and of measured times.

/// What a unit measures. Labels of one axis can only be compared within a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Percent,
    Time,
    Bytes,
    BitRate,
    ByteRate,
}

/// A unit and its size in the base unit of its kind (ns, B, bit/s, B/s).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) size: f64,
}

const fn unit(name: &'static str, kind: Kind, size: f64) -> Unit {
    Unit { name, kind, size }
}

const KIB: f64 = 1024.0;

const UNITS: [Unit; 28] = [
    unit("", Kind::Plain, 1.0),
    unit("%", Kind::Percent, 1.0),
    unit("ns", Kind::Time, 1.0),
    unit("us", Kind::Time, 1e3),
    unit("µs", Kind::Time, 1e3),
    unit("ms", Kind::Time, 1e6),
    unit("s", Kind::Time, 1e9),
    unit("min", Kind::Time, 60e9),
    unit("h", Kind::Time, 3600e9),
    unit("B", Kind::Bytes, 1.0),
    unit("kB", Kind::Bytes, 1e3),
    unit("MB", Kind::Bytes, 1e6),
    unit("GB", Kind::Bytes, 1e9),
    unit("KiB", Kind::Bytes, KIB),
    unit("MiB", Kind::Bytes, KIB * KIB),
    unit("GiB", Kind::Bytes, KIB * KIB * KIB),
    unit("TiB", Kind::Bytes, KIB * KIB * KIB * KIB),
    unit("bit/s", Kind::BitRate, 1.0),
    unit("kbit/s", Kind::BitRate, 1e3),
    unit("Mbit/s", Kind::BitRate, 1e6),
    unit("Gbit/s", Kind::BitRate, 1e9),
    unit("B/s", Kind::ByteRate, 1.0),
    unit("kB/s", Kind::ByteRate, 1e3),
    unit("MB/s", Kind::ByteRate, 1e6),
    unit("GB/s", Kind::ByteRate, 1e9),
    unit("KiB/s", Kind::ByteRate, KIB),
    unit("MiB/s", Kind::ByteRate, KIB * KIB),
    unit("GiB/s", Kind::ByteRate, KIB * KIB * KIB),
];

/// The number and the unit of a label such as `20ms` or `1.5 GiB`.
pub(crate) fn parse(label: &str) -> Option<(f64, Unit)> {
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+');
    let split = label.find(|c| !digits(c)).unwrap_or(label.len());
    let (number, rest) = label.split_at(split);
    let value: f64 = number
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())?;
    let unit = UNITS.into_iter().find(|unit| unit.name == rest.trim())?;
    Some((value, unit))
}

/// A label for people: `20ms` as `20 ms`, other labels as they are.
pub(crate) fn spaced(label: &str) -> String {
    match parse(label) {
        Some((_, unit)) if !unit.name.is_empty() => {
            let number = label.trim_end().strip_suffix(unit.name).unwrap_or(label);
            format!("{} {}", number.trim_end(), unit.name)
        }
        _ => label.to_owned(),
    }
}

/// The values of all labels in one unit, or `None` if one is no number or the kinds differ. A bare
/// 0 goes with every kind. The unit is that of the largest label.
pub(crate) fn parse_all(labels: &[String]) -> Option<(Vec<f64>, Unit)> {
    let parsed: Vec<(f64, Unit)> = labels
        .iter()
        .map(|label| parse(label))
        .collect::<Option<_>>()?;
    let largest =
        |a: &&(f64, Unit), b: &&(f64, Unit)| (a.0 * a.1.size).total_cmp(&(b.0 * b.1.size));
    let bare_zero = |p: &(f64, Unit)| p.0 == 0.0 && p.1.kind == Kind::Plain;
    let unit = parsed.iter().filter(|p| !bare_zero(p)).max_by(largest)?.1;
    let same_kind = |p: &(f64, Unit)| bare_zero(p) || p.1.kind == unit.kind;
    let values = parsed
        .iter()
        .map(|(value, own)| value * own.size / unit.size);
    parsed
        .iter()
        .all(same_kind)
        .then(|| (values.collect(), unit))
}

/// A unit in which times up to `largest_ms` read well: its name, and milliseconds in one of it.
pub(crate) fn time(largest_ms: f64) -> (&'static str, f64) {
    match largest_ms {
        t if t < 1.0 => ("µs", 1e-3),
        t if t < 2e3 => ("ms", 1.0),
        t if t < 600e3 => ("s", 1e3),
        t if t < 3.0 * 3600e3 => ("min", 60e3),
        _ => ("h", 3600e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(labels: &[&str]) -> Option<(Vec<f64>, &'static str)> {
        let labels: Vec<String> = labels.iter().map(|&label| label.into()).collect();
        parse_all(&labels).map(|(values, unit)| (values, unit.name))
    }

    #[test]
    fn labels_with_units_are_numbers_in_the_unit_of_the_largest() {
        assert_eq!(
            all(&["0", "20ms", "200ms"]),
            Some((vec![0.0, 20.0, 200.0], "ms"))
        );
        assert_eq!(all(&["512MiB", "1 GiB"]), Some((vec![0.5, 1.0], "GiB")));
        assert_eq!(all(&["500us", "0.5s"]), Some((vec![0.0005, 0.5], "s")));
        assert_eq!(all(&["0.01%", "1%"]), Some((vec![0.01, 1.0], "%")));
        assert_eq!(all(&["1", "2.5"]), Some((vec![1.0, 2.5], "")));
    }

    #[test]
    fn a_blank_stands_between_a_number_and_its_unit() {
        assert_eq!(
            ["20ms", "0.1%", "4 GiB", "esp"].map(spaced),
            ["20 ms", "0.1 %", "4 GiB", "esp"]
        );
    }

    #[test]
    fn words_and_mixed_kinds_are_no_numbers() {
        for labels in [
            &["none", "1%"][..],
            &["1s", "1MiB"],
            &["inf", "nan"],
            &["1", "2ms"],
            &["-"],
        ] {
            assert_eq!(all(labels), None, "{labels:?}");
        }
    }
}
