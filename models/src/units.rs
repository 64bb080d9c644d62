//! Quantities as people write them: `"1.5 GiB"`, `"100 Mbit/s"`, `"20ms"`.
//!
//! Each type holds a whole number of its smallest unit and reads its text with
//! integer arithmetic only, so that what is written is exactly what is
//! simulated. A unit is always required, and spellings that mean different
//! things to different tools (`G`, `Mbps`, `m`) are refused with the choice
//! spelled out: mixing up bits with bytes, or GB with GiB, is the most common
//! mistake in this field and the hardest to see in a result.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sim_core::SimDuration;

/// An amount of data in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(u64);

impl Bytes {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, to the precision of an `f64`.
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }
}

/// A rate of a link or flow in bits a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(u64);

impl BitRate {
    /// So many bits a second.
    pub const fn from_bits_per_second(bits: u64) -> Self {
        Self(bits)
    }

    /// Bits a second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// Bytes a second, to the precision of an `f64`.
    pub const fn bytes_per_second(self) -> f64 {
        self.0 as f64 / 8.0
    }
}

/// A rate of a processor, disk or guest in bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(u64);

impl ByteRate {
    /// So many bytes a second.
    pub const fn from_bytes_per_second(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes a second.
    pub const fn bytes_per_second(self) -> u64 {
        self.0
    }

    /// Bytes a second, to the precision of an `f64`.
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }
}

/// A length of time as written in a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(SimDuration);

impl Span {
    /// So long.
    pub const fn new(duration: SimDuration) -> Self {
        Self(duration)
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(SimDuration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(SimDuration::from_secs(secs))
    }

    /// The simulated time.
    pub const fn get(self) -> SimDuration {
        self.0
    }
}

/// A text that is no quantity of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {help}")]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// A kind of quantity: how it is written and read.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Value of `format` in the JSON Schema.
    pub(crate) format: &'static str,
    /// Plain words with the article.
    pub(crate) noun: &'static str,
    /// Typical texts; the first one stands in messages.
    examples: &'static [&'static str],
    /// Accepted units and what they are worth in the smallest one, which comes first.
    units: &'static [(&'static str, u64)],
    /// Values from here on do not fit.
    end: u128,
    /// What to say about a unit that is not accepted.
    hint: fn(&str, &str) -> Option<String>,
}

const WHOLE_RANGE: u128 = 1 << 64;

pub(crate) const DURATION: Kind = Kind {
    format: "duration",
    noun: "a duration",
    examples: &["20ms", "1.5s", "90min", "2h"],
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ],
    // The largest `u64` means "for ever" to the simulator.
    end: WHOLE_RANGE - 1,
    hint: duration_hint,
};

pub(crate) const SIZE: Kind = Kind {
    format: "size",
    noun: "a size",
    examples: &["1 GiB", "1.5 GB", "64 KiB", "1500 B"],
    units: &[
        ("B", 1),
        ("kB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("TB", 1_000_000_000_000),
        ("TiB", 1 << 40),
    ],
    end: WHOLE_RANGE,
    hint: size_hint,
};

pub(crate) const BIT_RATE: Kind = Kind {
    format: "bit-rate",
    noun: "a bit rate",
    examples: &["100 Mbit/s", "1 Gbit/s", "64 kbit/s"],
    units: &[
        ("bit/s", 1),
        ("kbit/s", 1_000),
        ("Mbit/s", 1_000_000),
        ("Gbit/s", 1_000_000_000),
        ("Tbit/s", 1_000_000_000_000),
    ],
    end: WHOLE_RANGE,
    hint: bit_rate_hint,
};

pub(crate) const BYTE_RATE: Kind = Kind {
    format: "byte-rate",
    noun: "a byte rate",
    examples: &["125 MB/s", "40 MiB/s", "1.5 GB/s"],
    units: &[
        ("B/s", 1),
        ("kB/s", 1_000),
        ("KiB/s", 1 << 10),
        ("MB/s", 1_000_000),
        ("MiB/s", 1 << 20),
        ("GB/s", 1_000_000_000),
        ("GiB/s", 1 << 30),
    ],
    end: WHOLE_RANGE,
    hint: byte_rate_hint,
};

impl Kind {
    /// The kind with this `format` in the JSON Schema.
    pub(crate) fn by_format(format: &str) -> Option<&'static Self> {
        [&DURATION, &SIZE, &BIT_RATE, &BYTE_RATE]
            .into_iter()
            .find(|kind| kind.format == format)
    }

    /// For messages: `a duration such as "20ms"`.
    pub(crate) fn wanted(&self) -> String {
        format!("{} such as \"{}\"", self.noun, self.examples[0])
    }

    /// Reads a text; the value counts the smallest unit.
    pub(crate) fn read(&self, text: &str) -> Result<u64, UnitError> {
        let (number, unit) = self.split(text)?;
        match self.value(number, unit) {
            Ok(value) => Ok(value),
            Err(Misfit::Unit) => Err(self.unknown_unit(text, number, unit)),
            Err(Misfit::Large) => Err(UnitError {
                message: format!("\"{}\" is too large", shorten(text)),
                help: format!("the largest possible is {}", self.print_largest()),
            }),
            Err(Misfit::Fine) => {
                let smallest = self.units[0].0;
                Err(UnitError {
                    message: format!("\"{}\" is not a whole number of {smallest}", shorten(text)),
                    help: format!("the smallest step is 1 {smallest}"),
                })
            }
        }
    }

    /// The value of a decimal number in a unit: exact or a misfit.
    fn value(&self, number: &str, unit: &str) -> Result<u64, Misfit> {
        let (_, scale) = self
            .units
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(Misfit::Unit)?;
        let scale = u128::from(*scale);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u128 = whole.parse().map_err(|_| Misfit::Large)?;
        let scaled = whole.checked_mul(scale).ok_or(Misfit::Large)?;
        let value = scaled
            .checked_add(exact_fraction(fraction, scale)?)
            .ok_or(Misfit::Large)?;
        if value < self.end {
            u64::try_from(value).map_err(|_| Misfit::Large)
        } else {
            Err(Misfit::Large)
        }
    }

    /// Divides the text into digits and unit.
    fn split<'a>(&self, text: &'a str) -> Result<(&'a str, &'a str), UnitError> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let unit = rest.trim_start_matches(' ');
        let fault = |message: &str, help: &str| {
            Err(UnitError {
                message: format!("\"{}\" {message}", shorten(text)),
                help: if help.is_empty() {
                    format!("write {}", self.wanted())
                } else {
                    help.into()
                },
            })
        };
        if text.trim().is_empty() {
            return Err(UnitError {
                message: format!("an empty text is not {}", self.noun),
                help: format!("write {}", self.wanted()),
            });
        }
        if text.trim() != text {
            return fault("has a space at its start or end", "take it away");
        }
        if text.starts_with(['-', '\u{2212}']) {
            return fault("is negative", "");
        }
        if number.is_empty() {
            return fault(&format!("is not {}", self.noun), "");
        }
        if rest.starts_with([',', '_', '\'']) {
            return fault(
                "has a separator between its digits",
                "write digits and a decimal point only",
            );
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
            return fault(
                "is not a decimal number",
                "write digits on both sides of one point, as in 0.5",
            );
        }
        if unit.is_empty() {
            return fault("has no unit", &self.unit_choice(number));
        }
        if unit.starts_with(['e', 'E']) && unit.contains(|c: char| c.is_ascii_digit()) {
            return fault(
                "has an exponent",
                "write all digits, or use a larger or smaller unit",
            );
        }
        if unit.contains(|c: char| c.is_ascii_digit()) {
            return fault("has more than one number", "write one number and one unit");
        }
        Ok((number, unit))
    }

    fn unit_choice(&self, number: &str) -> String {
        let number = shorten(number);
        match self.format {
            "duration" => format!("\"{number}ms\" or \"{number}s\"?"),
            "size" => format!("\"{number} B\" or \"{number} MiB\"?"),
            "bit-rate" => format!("\"{number} bit/s\" or \"{number} Mbit/s\"?"),
            _ => format!("\"{number} B/s\" or \"{number} MB/s\"?"),
        }
    }

    fn unknown_unit(&self, text: &str, number: &str, unit: &str) -> UnitError {
        let help = (self.hint)(number, unit).unwrap_or_else(|| {
            let same = |name: &&(&'static str, u64)| name.0.eq_ignore_ascii_case(unit);
            match self.units.iter().find(same) {
                Some((name, _)) => format!("write \"{} {name}\"", shorten(number)),
                None => format!("the units are {}", self.unit_list()),
            }
        });
        UnitError {
            message: format!(
                "`{}` in \"{}\" is not a unit of {}",
                shorten(unit),
                shorten(text),
                self.noun
            ),
            help,
        }
    }

    fn unit_list(&self) -> String {
        // One of the two code points of the micro sign is enough for people.
        let names: Vec<&str> = self
            .units
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| *name != "μs")
            .collect();
        names.join(", ")
    }

    fn print_largest(&self) -> String {
        let (name, scale) = self.units[self.units.len() - 1];
        format!("{} {name}", (self.end - 1) / u128::from(scale))
    }

    /// Writes a value so that [`Kind::read`] gives it back: a whole number of
    /// the largest unit that allows one.
    fn print(&self, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(&str, u64)| value != 0 && value.is_multiple_of(unit.1);
        let (name, scale) = self.units.iter().rev().find(fits).unwrap_or(&self.units[0]);
        f.pad(&format!("{} {name}", value / scale))
    }

    fn schema(&self) -> Schema {
        let units: Vec<&str> = self.units.iter().map(|(name, _)| *name).collect();
        json_schema!({
            "type": "string",
            "format": self.format,
            "pattern": format!(r"^[0-9]+(\.[0-9]+)? *({})$", units.join("|")),
            "examples": self.examples,
        })
    }
}

/// Why a number with a unit has no value.
enum Misfit {
    Unit,
    Large,
    Fine,
}

/// The digits after the point times the unit.
fn exact_fraction(digits: &str, scale: u128) -> Result<u128, Misfit> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    // 24 digits times the largest unit (a day in ns) still fit into 128 bits.
    if digits.len() > 24 {
        return Err(Misfit::Fine);
    }
    let value: u128 = digits.parse().map_err(|_| Misfit::Fine)?;
    let product = value * scale;
    let divisor = 10_u128.pow(digits.len() as u32);
    if product.is_multiple_of(divisor) {
        Ok(product / divisor)
    } else {
        Err(Misfit::Fine)
    }
}

/// Keeps a text from the file short enough for a message.
fn shorten(text: &str) -> String {
    const MOST: usize = 40;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn duration_hint(number: &str, unit: &str) -> Option<String> {
    let number = shorten(number);
    let right = match unit.to_ascii_lowercase().as_str() {
        "m" => {
            return Some(format!(
                "\"{number}min\" (minutes) or \"{number}ms\" (milliseconds)?"
            ));
        }
        "nsec" | "nanosecond" | "nanoseconds" => "ns",
        "usec" | "microsecond" | "microseconds" => "us",
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "mins" | "minute" | "minutes" | "min" => "min",
        "hr" | "hrs" | "hour" | "hours" | "h" => "h",
        "day" | "days" | "d" => "d",
        _ => return None,
    };
    Some(format!("write \"{number}{right}\""))
}

fn size_hint(number: &str, unit: &str) -> Option<String> {
    let number = shorten(number);
    let (decimal, binary, power) = match unit.to_ascii_lowercase().as_str() {
        "k" | "kb" | "ki" => ("kB", "KiB", (3, 10)),
        "m" | "mb" | "mi" => ("MB", "MiB", (6, 20)),
        "g" | "gb" | "gi" => ("GB", "GiB", (9, 30)),
        "t" | "tb" | "ti" => ("TB", "TiB", (12, 40)),
        "b" | "byte" | "bytes" => return Some(format!("write \"{number} B\"")),
        _ => return None,
    };
    let (ten, two) = power;
    Some(format!(
        "\"{number} {decimal}\" (10^{ten} B) or \"{number} {binary}\" (2^{two} B)?"
    ))
}

fn bit_rate_hint(number: &str, unit: &str) -> Option<String> {
    if let Ok(bytes) = BYTE_RATE.value(number, unit) {
        let (rate, bits) = (ByteRate(bytes), BitRate(bytes.checked_mul(8)?));
        return Some(format!("`{unit}` counts bytes; {rate} is \"{bits}\""));
    }
    let right = bits_a_second(unit)?;
    Some(format!("write \"{} {right}\"", shorten(number)))
}

/// The right spelling for one that can only mean bits a second.
fn bits_a_second(unit: &str) -> Option<&'static str> {
    // `MBps` counts bytes to some and bits to others: the list of units is the better answer.
    if unit.contains('B') {
        return None;
    }
    Some(match unit.to_ascii_lowercase().as_str() {
        "bps" | "b/s" | "bit" | "bits/s" | "bit/sec" | "bit/s" => "bit/s",
        "k" | "kbps" | "kb/s" | "kbit" | "kb" | "kbits/s" | "kbit/sec" | "kbit/s" => "kbit/s",
        "m" | "mbps" | "mb/s" | "mbit" | "mb" | "mbits/s" | "mbit/sec" | "mbit/s" => "Mbit/s",
        "g" | "gbps" | "gb/s" | "gbit" | "gb" | "gbits/s" | "gbit/sec" | "gbit/s" => "Gbit/s",
        "t" | "tbps" | "tb/s" | "tbit" | "tb" | "tbits/s" | "tbit/sec" | "tbit/s" => "Tbit/s",
        _ => return None,
    })
}

fn byte_rate_hint(number: &str, unit: &str) -> Option<String> {
    let right = bits_a_second(unit);
    let bits = BIT_RATE.value(number, right.unwrap_or(unit));
    let short = shorten(number);
    match (bits, unit) {
        // A single letter says nothing about bits, so offer bytes.
        (_, "k" | "K") => Some(format!("\"{short} kB/s\" or \"{short} KiB/s\"?")),
        (_, "m" | "M") => Some(format!("\"{short} MB/s\" or \"{short} MiB/s\"?")),
        (_, "g" | "G") => Some(format!("\"{short} GB/s\" or \"{short} GiB/s\"?")),
        (Ok(bits), _) if bits % 8 == 0 => {
            let (bits, bytes) = (BitRate(bits), ByteRate(bits / 8));
            Some(format!("`{unit}` counts bits; {bits} is \"{bytes}\""))
        }
        (_, "B" | "kB" | "MB" | "GB" | "KiB" | "MiB" | "GiB") => {
            Some(format!("write \"{short} {unit}/s\""))
        }
        (_, "KB" | "KB/s") => Some(format!(
            "\"{short} kB/s\" (10^3) or \"{short} KiB/s\" (2^10)?"
        )),
        (_, "Bps" | "kBps" | "MBps" | "GBps") => Some(format!(
            "write \"{short} {}/s\"",
            unit.trim_end_matches("ps")
        )),
        _ => None,
    }
}

/// The text form of a quantity is the same five times over; a macro keeps the
/// four types from drifting apart.
macro_rules! written_as_text {
    ($type:ident, $kind:expr, $name:literal, $read:expr) => {
        impl FromStr for $type {
            type Err = UnitError;

            fn from_str(text: &str) -> Result<Self, UnitError> {
                $kind.read(text).map($read)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $kind.schema()
            }
        }
    };
}

written_as_text!(Bytes, SIZE, "Size", Self);
written_as_text!(BitRate, BIT_RATE, "BitRate", Self);
written_as_text!(ByteRate, BYTE_RATE, "ByteRate", Self);
written_as_text!(Span, DURATION, "Duration", |nanos| Self(
    SimDuration::from_nanos(nanos)
));

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SIZE.print(self.0, f)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BIT_RATE.print(self.0, f)
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BYTE_RATE.print(self.0, f)
    }
}

impl fmt::Display for Span {
    /// As in `1.5s` and `20ms`; the longest span reads `forever`, which no file can say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault<T: FromStr<Err = UnitError> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err().to_string()
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!("1.5 GiB".parse(), Ok(Bytes::new(3 << 29)));
        assert_eq!("1.5GB".parse(), Ok(Bytes::new(1_500_000_000)));
        assert_eq!("20ms".parse(), Ok(Span::from_millis(20)));
        assert_eq!("90min".parse(), Ok(Span::from_secs(5400)));
        assert_eq!("2h".parse(), Ok(Span::from_secs(7200)));
        assert_eq!("0.1s".parse(), Ok(Span::from_millis(100)));
        assert_eq!("2.5µs".parse::<Span>().unwrap().get().as_nanos(), 2_500);
        assert_eq!(
            "1Gbit/s".parse(),
            Ok(BitRate::from_bits_per_second(1_000_000_000))
        );
        assert_eq!(
            "125 MB/s".parse(),
            Ok(ByteRate::from_bytes_per_second(125_000_000))
        );
        assert_eq!("0 B".parse(), Ok(Bytes::default()));
        assert_eq!("18446744073709551615 B".parse(), Ok(Bytes::new(u64::MAX)));
    }

    #[test]
    fn a_missing_unit_is_a_fault() {
        assert_eq!(
            fault::<Span>("20"),
            "\"20\" has no unit; \"20ms\" or \"20s\"?"
        );
        assert_eq!(
            fault::<Bytes>("0"),
            "\"0\" has no unit; \"0 B\" or \"0 MiB\"?"
        );
    }

    #[test]
    fn what_does_not_fit_is_a_fault() {
        assert_eq!(
            fault::<Bytes>("16777216 TiB"),
            "\"16777216 TiB\" is too large; the largest possible is 16777215 TiB"
        );
        assert_eq!(
            fault::<Span>("0.5ns"),
            "\"0.5ns\" is not a whole number of ns; the smallest step is 1 ns"
        );
        assert!(fault::<BitRate>("0.0001 kbit/s").contains("whole number of bit/s"));
        assert!(
            fault::<Bytes>("99999999999999999999999999999999999999999999 B").contains("too large")
        );
        assert!(fault::<Span>("18446744073709551615ns").contains("too large"));
        assert!(fault::<Span>("1.0000000000000000000000000000001s").contains("whole number"));
    }

    #[test]
    fn ambiguous_units_name_the_choice() {
        assert!(fault::<Bytes>("2G").ends_with("\"2 GB\" (10^9 B) or \"2 GiB\" (2^30 B)?"));
        assert!(fault::<Bytes>("2KB").ends_with("\"2 kB\" (10^3 B) or \"2 KiB\" (2^10 B)?"));
        assert!(fault::<BitRate>("100 Mbps").ends_with("write \"100 Mbit/s\""));
        assert!(fault::<BitRate>("100 mb/s").ends_with("write \"100 Mbit/s\""));
        assert!(fault::<BitRate>("125 MB/s").ends_with("125 MB/s is \"1 Gbit/s\""));
        assert!(fault::<ByteRate>("800 Mbit/s").ends_with("800 Mbit/s is \"100 MB/s\""));
        assert!(fault::<ByteRate>("800 Mbps").ends_with("800 Mbit/s is \"100 MB/s\""));
        assert!(fault::<ByteRate>("40 MiB").ends_with("write \"40 MiB/s\""));
        assert!(fault::<Span>("5 m").ends_with("\"5min\" (minutes) or \"5ms\" (milliseconds)?"));
        assert!(fault::<Span>("5 parsec").ends_with("the units are ns, us, µs, ms, s, min, h, d"));
        assert!(fault::<Bytes>("5 gib").ends_with("write \"5 GiB\""));
    }

    #[test]
    fn what_is_no_number_is_a_fault() {
        for (text, part) in [
            ("", "an empty text"),
            (" 1s", "a space"),
            ("-1s", "negative"),
            ("s", "not a duration"),
            ("1,5 s", "separator"),
            ("1_000 s", "separator"),
            (".5s", "not a decimal number"),
            ("1.s", "not a decimal number"),
            ("1.2.3s", "not a decimal number"),
            ("1e3 s", "exponent"),
            ("2h 30min", "more than one number"),
            ("inf", "not a duration"),
        ] {
            assert!(
                fault::<Span>(text).contains(part),
                "{text}: {}",
                fault::<Span>(text)
            );
        }
    }

    proptest! {
        #[test]
        fn every_quantity_reads_back_as_printed(value: u64, zeros in 0_u32..64) {
            let value = value >> zeros;
            let bytes = Bytes::new(value);
            prop_assert_eq!(bytes.to_string().parse(), Ok(bytes));
            let rate = BitRate::from_bits_per_second(value);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            let rate = ByteRate::from_bytes_per_second(value);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            let span = Span::new(SimDuration::from_nanos(value.min(u64::MAX - 1)));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9.]{0,50} ?[a-zA-Z/]{0,9}") {
            let _ = text.parse::<Span>();
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<BitRate>();
            let _ = text.parse::<ByteRate>();
        }
    }
}
