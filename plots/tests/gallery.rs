//! Every kind of figure from made-up records: drawn, checked, and written as PNG to the target
//! folder's `tmp/gallery`, for people to look at.

mod records;

use models::compare::compare;
use plots::{Figure, PlotError, comparison, figures, png};
use records::{bars, crowded, failover, halves, live, migration, row, vpn, wide, yamashita};
use std::path::Path;

use models::record::{Backend, Measure, Row, SeriesPoint};

fn gallery() -> (Vec<Row>, Vec<SeriesPoint>) {
    let mut rows = yamashita("yamashita", 3);
    rows.extend(yamashita("single", 1));
    rows.extend(wide("wide"));
    rows.extend(live("live"));
    rows.extend(vpn("vpn"));
    rows.extend(crowded("crowded"));
    rows.extend(bars("bars"));
    let (more, series) = failover("failover");
    rows.extend(more);
    (rows, series)
}

fn names(figures: &[Figure]) -> Vec<&str> {
    figures.iter().map(|figure| figure.name.as_str()).collect()
}

fn draw(rows: &[Row]) -> Vec<Figure> {
    figures(rows, &[], 0.95).unwrap()
}

/// Draws a figure as PNG to the gallery and checks what every figure has to be.
fn hang(figure: &Figure) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gallery");
    std::fs::create_dir_all(&folder).unwrap();
    let bytes = png(&figure.svg, 2.5).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    assert!(
        bytes.len() > 4_000,
        "{} has {} bytes",
        figure.name,
        bytes.len()
    );
    let stem = folder.join(&figure.name);
    std::fs::write(stem.with_added_extension("png"), bytes).unwrap();
    std::fs::write(stem.with_added_extension("svg"), &figure.svg).unwrap();
    std::fs::write(stem.with_added_extension("txt"), &figure.caption).unwrap();
    let height = figure.svg.split("height=\"").nth(1).unwrap();
    let height: f64 = height.split("mm").next().unwrap().parse().unwrap();
    assert!(height < 240.0, "{} is {height} mm high", figure.name);
    assert!(figure.caption.contains("n = "), "{}", figure.caption);
}

#[test]
fn every_figure_renders_with_ink_and_fits_a_page() {
    let (rows, series) = gallery();
    let drawn = figures(&rows, &series, 0.95).unwrap();
    drawn.iter().for_each(hang);
    assert_eq!(
        names(&drawn),
        [
            "yamashita.total_time",
            "yamashita.downtime",
            "yamashita.ratio",
            "yamashita.phases",
            "single.total_time",
            "single.downtime",
            "single.ratio",
            "single.phases",
            "wide.total_time",
            "wide.downtime",
            "wide.ratio",
            "wide.phases",
            "live.total_time",
            "live.downtime",
            "live.ratio",
            "live.phases",
            "vpn.latency",
            "vpn.throughput",
            "crowded.total_time",
            "crowded.downtime",
            "crowded.ratio",
            "bars.latency",
            "failover.timeline",
            "failover.recovery",
        ]
    );
}

/// The figures of a comparison of made-up halves; the emulated fail-over is a later replication.
fn compared() -> Vec<Figure> {
    let (mut simulated, mut emulated) = halves("lab");
    let (rows, series) = failover("fail");
    let emulate = |row: &Row| Row {
        backend: Backend::Emulated,
        ..row.clone()
    };
    let of = |replications: std::ops::Range<u32>| {
        let own = rows
            .iter()
            .filter(move |row| replications.contains(&row.replication));
        own.cloned().collect::<Vec<Row>>()
    };
    simulated.extend(of(0..20));
    emulated.extend(of(20..25).iter().map(emulate));
    let half = |replication| -> Vec<SeriesPoint> {
        let own = series.iter().filter(|p| p.replication == replication);
        own.cloned().collect()
    };
    // The clocks of the two halves do not start together.
    let mut measured = half(1);
    measured.iter_mut().for_each(|point| point.t_ms += 1234.0);
    let joined = compare(&simulated, &emulated, &[], 0.95).unwrap();
    comparison(&joined, &half(0), &measured).unwrap()
}

#[test]
fn a_comparison_is_drawn() {
    let drawn = compared();
    drawn.iter().for_each(hang);
    assert_eq!(
        names(&drawn),
        [
            "compare.predicted",
            "compare.recovery",
            "compare.errors",
            "fail.overlay"
        ]
    );
    assert_eq!(drawn, compared());
}

#[test]
fn equal_records_give_equal_bytes() {
    let (rows, series) = gallery();
    assert_eq!(
        figures(&rows, &series, 0.9).unwrap(),
        figures(&rows, &series, 0.9).unwrap()
    );
}

#[test]
fn hostile_names_stay_text() {
    let name = "../<script>alert(1)</script>&\"'\u{0}\u{202e}";
    let mut rows = Vec::new();
    for rtt in [0, 10, 20] {
        for method in ["</svg><script>", "b&\"\u{1}", "]]>"] {
            let case = format!("rtt={rtt}ms,method={method}");
            rows.push(migration(name, &case, f64::from(rtt), "diff", 0));
        }
    }
    let series: Vec<SeriesPoint> = (0..9)
        .flat_map(|bin| ["goodput_mbit_s", "event.<i>&"].map(|series| (bin, series)))
        .map(|(bin, series)| SeriesPoint {
            scenario: name.into(),
            case: "</title>".into(),
            replication: 0,
            backend: Backend::Simulated,
            series: series.into(),
            t_ms: f64::from(bin),
            value: 1.0,
        })
        .collect();
    let drawn = figures(&rows, &series, 0.95).unwrap();
    assert!(drawn.len() >= 4);
    for figure in &drawn {
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        assert!(
            figure.name.chars().all(safe) && !figure.name.starts_with('.'),
            "{}",
            figure.name
        );
        assert!(!figure.svg.contains("<script") && !figure.svg.contains("<i>"));
        assert!(!figure.svg.contains(['\u{0}', '\u{1}', '\u{202e}']));
        assert_eq!(figure.svg.matches("</title>").count(), 1);
        assert!(figure.svg.contains("<title>../&lt;script&gt;"));
        assert!(png(&figure.svg, 1.0).is_ok());
    }
}

#[test]
fn failed_and_missing_rows_are_left_out_and_counted() {
    let mut rows = yamashita("y", 3);
    rows[0].error = Some("no route".into());
    rows[1].error = Some("no route".into());
    rows[5] = row("y", &rows[5].case, rows[5].replication, &[]);
    let drawn = draw(&rows);
    assert!(
        drawn[0]
            .caption
            .contains("n = 1 to 3 replications, 95 % confidence"),
        "{}",
        drawn[0].caption
    );
    let left_out = "Left out: 2 rows with an error. Left out: 1 row without a value.";
    assert!(drawn[0].caption.ends_with(left_out), "{}", drawn[0].caption);
}

#[test]
fn values_that_are_no_numbers_never_reach_a_figure() {
    let mut bytes = Vec::new();
    models::record::write(&yamashita("y", 2), &mut bytes).unwrap();
    let header = models::record::header();
    let column = header
        .iter()
        .position(|name| *name == "total_time_ms")
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let broken = text.lines().enumerate().map(|(line, text)| {
        let mut cells: Vec<&str> = text.split(',').collect();
        // The case is quoted and holds a comma, so that the columns after it are one further on.
        match line {
            3 => cells[column + 1] = "NaN",
            4 => cells[column + 1] = "inf",
            _ => {}
        }
        cells.join(",") + "\n"
    });
    let broken: String = broken.collect();
    let Ok(rows) = models::record::read(broken.as_bytes()) else {
        return;
    };
    let broken = |row: &&Row| {
        row.values
            .get(Measure::TotalTime)
            .is_some_and(|v| !v.is_finite())
    };
    assert_eq!(rows.iter().filter(broken).count(), 2);
    let drawn = draw(&rows);
    assert!(
        drawn[0].caption.contains("2 rows without a value"),
        "{}",
        drawn[0].caption
    );
    assert!(
        drawn
            .iter()
            .all(|figure| !figure.svg.contains("NaN") && !figure.svg.contains("inf"))
    );
}

#[test]
fn a_single_replication_has_no_bands_and_says_so() {
    let drawn = draw(&yamashita("y", 1));
    assert!(drawn[0].caption.contains("without confidence intervals"));
    assert!(!drawn[0].svg.contains("opacity=\"0.18\""));
    assert!(draw(&yamashita("y", 2))[0].svg.contains("opacity=\"0.18\""));
}

#[test]
fn one_value_of_x_falls_back_to_bars_and_one_case_to_nothing_but_phases() {
    let rows = yamashita("y", 3);
    let one_rtt: Vec<Row> = rows
        .iter()
        .filter(|row| row.axis("rtt") == Some("20ms"))
        .cloned()
        .collect();
    let drawn = draw(&one_rtt);
    assert_eq!(
        names(&drawn),
        ["y.total_time", "y.downtime", "y.ratio", "y.phases"]
    );
    assert!(drawn[0].caption.contains("Bars and numbers"));
    let mut only_one_left = rows;
    for row in &mut only_one_left {
        row.error = (row.axis("rtt") != Some("20ms")).then(|| "failed".into());
    }
    assert!(draw(&only_one_left)[0].caption.contains("Bars and numbers"));
    assert_eq!(names(&draw(&one_rtt[..3])), ["y.phases"]);
}

#[test]
fn nothing_to_draw_is_no_figure_and_no_error() {
    assert!(draw(&[]).is_empty());
    assert!(draw(&[row("empty", "base", 0, &[])]).is_empty());
    let mut failed = row("failed", "base", 0, &[(Measure::TotalTime, 1.0)]);
    failed.error = Some("timeout".into());
    assert!(draw(&[failed]).is_empty());
    let zero: Vec<Row> = ["a", "b"]
        .iter()
        .map(|label| {
            row(
                "zero",
                &format!("method={label}"),
                0,
                &[(Measure::TotalTime, 0.0)],
            )
        })
        .collect();
    assert_eq!(names(&draw(&zero)), ["zero.total_time"]);
}

#[test]
fn a_confidence_level_that_is_none_is_refused() {
    for level in [0.0, 1.0, f64::NAN] {
        assert!(matches!(
            figures(&[], &[], level),
            Err(PlotError::Confidence(_))
        ));
    }
}

#[test]
fn scenarios_and_backends_never_share_a_file_name() {
    let mut rows = yamashita("a/b", 1);
    rows.extend(yamashita("a:b", 1));
    rows.extend(yamashita("A_b", 1).into_iter().map(|row| Row {
        backend: Backend::Emulated,
        ..row
    }));
    rows.extend(yamashita("a/b", 1).into_iter().map(|row| Row {
        backend: Backend::Emulated,
        ..row
    }));
    let drawn = draw(&rows);
    let totals = drawn
        .iter()
        .filter(|figure| figure.name.ends_with(".total_time"));
    let totals: Vec<&str> = totals.map(|figure| figure.name.as_str()).collect();
    assert_eq!(
        totals,
        [
            "a_b.total_time",
            "a_b-2.total_time",
            "A_b-3.total_time",
            "a_b-emulated.total_time"
        ]
    );
    assert!(
        drawn
            .iter()
            .any(|figure| figure.caption.contains("Measured on the emulator"))
    );
}
