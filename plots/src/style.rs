//! Colours, dashes, markers, sizes and words: what every figure has in common.
//!
//! Lengths are in points (1/72 inch). The colours are those of Okabe and Ito, which people with any
//! of the common colour blindnesses can tell apart; lines differ in dash and marker as well, so
//! that a print in black and white still reads.

use plotters::style::RGBColor;

pub(crate) const FONT: &str = "DejaVu Sans, Verdana, sans-serif";

/// Widths of a column and of a page of a journal, in mm.
pub(crate) const ONE_COLUMN_MM: f64 = 88.0;
pub(crate) const TWO_COLUMNS_MM: f64 = 180.0;

/// Text at ticks, in legends and beside marks.
pub(crate) const SMALL: f64 = 7.0;
/// Axis titles.
pub(crate) const NORMAL: f64 = 7.5;

pub(crate) const BLACK: RGBColor = RGBColor(0, 0, 0);
pub(crate) const WHITE: RGBColor = RGBColor(255, 255, 255);
pub(crate) const GREY: RGBColor = RGBColor(110, 110, 110);
/// The ground of an outage.
pub(crate) const SHADE: RGBColor = RGBColor(232, 232, 232);
pub(crate) const GRID: RGBColor = RGBColor(225, 225, 225);

const ORANGE: RGBColor = RGBColor(230, 159, 0);
const SKY: RGBColor = RGBColor(86, 180, 233);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILLION: RGBColor = RGBColor(213, 94, 0);
const PURPLE: RGBColor = RGBColor(204, 121, 167);

/// The shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    Circle,
    Square,
    Up,
    Down,
    Diamond,
    Cross,
    Plus,
    Bar,
}

/// How one line, or one kind of bar, looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) color: RGBColor,
    /// Lengths of strokes and gaps; empty for a solid line.
    pub(crate) dash: &'static [f64],
    pub(crate) marker: Marker,
}

/// No figure has more lines than this.
pub(crate) const LOOKS: usize = 8;

const fn look(color: RGBColor, dash: &'static [f64], marker: Marker) -> Look {
    Look {
        color,
        dash,
        marker,
    }
}

/// The look of the nth line. The first is the reference: black and solid.
pub(crate) fn line(index: usize) -> Look {
    const ALL: [Look; LOOKS] = [
        look(BLACK, &[], Marker::Circle),
        look(VERMILLION, &[5.0, 2.0], Marker::Square),
        look(BLUE, &[1.5, 1.5], Marker::Up),
        look(GREEN, &[6.0, 1.8, 1.2, 1.8], Marker::Diamond),
        look(PURPLE, &[9.0, 2.0], Marker::Down),
        look(ORANGE, &[3.0, 1.2], Marker::Cross),
        look(SKY, &[6.0, 1.5, 1.2, 1.5, 1.2, 1.5], Marker::Plus),
        look(GREY, &[1.0, 2.5], Marker::Bar),
    ];
    ALL[index % LOOKS]
}

/// The fill of the nth bar of a group: paler than lines, so that an error bar stands out from it.
pub(crate) fn bar(index: usize) -> RGBColor {
    const ALL: [RGBColor; LOOKS] = [
        RGBColor(150, 150, 150),
        paler(VERMILLION),
        paler(BLUE),
        paler(GREEN),
        paler(PURPLE),
        paler(ORANGE),
        paler(SKY),
        RGBColor(215, 215, 215),
    ];
    ALL[index % LOOKS]
}

/// The fill of a phase. A pair that undoes each other has the strong and the pale form of a colour.
pub(crate) fn phase(name: &str) -> RGBColor {
    match name {
        "shutdown" => GREY,
        "compress" => ORANGE,
        "decompress" => pale(ORANGE),
        "encrypt" => VERMILLION,
        "decrypt" => pale(VERMILLION),
        "connect" => RGBColor(240, 228, 66),
        "pre_copy" => SKY,
        "transfer" => BLUE,
        "stop_and_copy" => PURPLE,
        "suspend" => BLACK,
        "resume" => GREEN,
        "boot" => pale(GREEN),
        _ => RGBColor(190, 190, 190),
    }
}

/// The look of an event on a time axis. Those that watari knows keep theirs in every figure.
pub(crate) fn event(name: &str, index: usize) -> Look {
    match name {
        "failure" => look(BLACK, &[], Marker::Cross),
        "detected" => look(VERMILLION, &[], Marker::Square),
        "ike_phase1" => look(PURPLE, &[], Marker::Diamond),
        "reconnected" => look(ORANGE, &[], Marker::Down),
        "resumed" => look(BLUE, &[], Marker::Up),
        "recovered" => look(GREEN, &[], Marker::Circle),
        _ => line(index + 6),
    }
}

/// Mixed with white, half and half.
const fn pale(color: RGBColor) -> RGBColor {
    RGBColor(color.0 / 2 + 127, color.1 / 2 + 127, color.2 / 2 + 127)
}

/// Mixed with a fourth of white.
const fn paler(color: RGBColor) -> RGBColor {
    RGBColor(
        color.0 / 4 * 3 + 63,
        color.1 / 4 * 3 + 63,
        color.2 / 4 * 3 + 63,
    )
}

/// Advance widths of U+0020 to U+007E in the bundled font, thousandths of an em.
const WIDTHS: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
];

/// How long a text gets. Exact for plain ASCII, on the safe side for most of the rest.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let width = |character: char| {
        let index = (character as usize).checked_sub(0x20);
        match index.and_then(|index| WIDTHS.get(index)) {
            Some(&width) => f64::from(width),
            None if (character as u32) < 0x2e80 => 700.0,
            None => 1000.0,
        }
    };
    text.chars().map(width).sum::<f64>() * size / 1000.0
}

/// Text for a drawing: without what XML forbids and without what turns the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let bad = |c: char| c.is_control() || turns(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars()
        .map(|c| if bad(c) { '\u{fffd}' } else { c })
        .collect()
}

/// The text, or its beginning and an ellipsis if it is longer than `width`.
pub(crate) fn shorten(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short: Vec<char> = text.chars().collect();
    while short.pop().is_some() {
        let candidate = format!("{}…", short.iter().collect::<String>().trim_end());
        if text_width(&candidate, size) <= width {
            return candidate;
        }
    }
    "…".to_owned()
}

/// The text, or its beginning and its end around an ellipsis if it is longer than `width`: names
/// that belong together often differ in their last character only.
fn squeeze(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    let tail: String = characters[characters.len().saturating_sub(2)..]
        .iter()
        .collect();
    let head: String = characters[..characters.len().saturating_sub(2)]
        .iter()
        .collect();
    format!(
        "{}{tail}",
        shorten(&head, size, width - text_width(&tail, size))
    )
}

/// The text in at most three lines, broken where words meet if it does not fit into one.
pub(crate) fn lines(text: &str, size: f64, width: f64) -> Vec<String> {
    const LINES: usize = 3;
    let meets = |c: char| matches!(c, ' ' | '-' | '_' | '/' | '+');
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_inclusive(meets) {
        let last = lines.len() - 1;
        let longer = format!("{}{word}", lines[last]);
        if text_width(longer.trim_end(), size) > width
            && !lines[last].is_empty()
            && last + 1 < LINES
        {
            lines.push(word.to_owned());
        } else {
            lines[last] = longer;
        }
    }
    lines
        .iter()
        .map(|line| squeeze(line.trim_end(), size, width))
        .collect()
}

/// A number with three significant digits, or all digits before the point: `0.125`, `12.5`, `1250`.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        v if v >= 0.09995 => 3,
        v if v >= 0.009995 => 4,
        _ => 6,
    };
    decimal(value, decimals)
}

/// A number with three significant digits, zeros included, for numbers that stand side by side:
/// `20.0`, `2.86`, `1250`.
pub(crate) fn three_digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.9995 => format!("{value:.2}"),
        // Smaller ones stand beside larger ones, where more would be clutter.
        v if v >= 0.0005 => decimal(value, 3),
        _ => number(value),
    }
}

/// A label of an axis of the sweep, for people.
pub(crate) fn label(text: &str) -> String {
    clean(&crate::unit::spaced(text))
}

/// A number without trailing zeros after the point.
pub(crate) fn decimal(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    if text == "-0" { "0".to_owned() } else { text }
}

/// What people call an axis of a sweep or a phase: known abbreviations in words, the rest as it is.
pub(crate) fn words(name: &str) -> String {
    match name {
        "rtt" => "round-trip time".into(),
        "loss" => "packet loss".into(),
        "dirty" => "rate of page writes".into(),
        "mtu" | "mss" | "vpn" | "dpd" => name.to_uppercase(),
        "ike_phase1" => "IKE phase 1".into(),
        "ike_phase2" => "IKE phase 2".into(),
        "pre_copy" => "pre-copy".into(),
        "stop_and_copy" => "stop and copy".into(),
        "shutdown" => "shut-down".into(),
        _ => clean(name).replace('_', " "),
    }
}

/// With a capital first letter.
pub(crate) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_no_idle_zeros() {
        let cases = [
            (0.0, "0"),
            (1234.5, "1234"),
            (12.34, "12.3"),
            (9.999, "10"),
            (0.125, "0.125"),
            (-0.0, "0"),
            (50.0, "50"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn long_names_are_broken_or_cut() {
        assert_eq!(
            lines("strongSwan gateway", 7.0, 200.0),
            ["strongSwan gateway"]
        );
        assert_eq!(
            lines("strongSwan gateway", 7.0, 50.0),
            ["strongSwan", "gateway"]
        );
        assert_eq!(
            lines("gateway number 3", 7.0, 30.0),
            ["gateway", "number", "3"]
        );
        assert_eq!(lines("gatewaynumber3", 7.0, 35.0), ["gatew…r3"]);
        assert_eq!(shorten("abcdefghij", 7.0, 25.0), "abcd…");
        assert!(text_width(&shorten("abcdefghij", 7.0, 25.0), 7.0) <= 25.0);
    }

    #[test]
    fn characters_that_xml_forbids_are_replaced() {
        assert_eq!(clean("a\u{0}b\u{202e}c\nd"), "a\u{fffd}b\u{fffd}c\u{fffd}d");
    }
}
