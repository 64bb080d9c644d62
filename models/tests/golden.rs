//! Every shipped scenario, as a table that is reviewed like code.
//!
//! Two replications of at most twelve cases of each scenario, spread over its
//! sweep, at its own seed. `INSTA_UPDATE=always cargo test` writes the tables in
//! `tests/golden`; read the difference, and say in the commit why it is right.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use models::record::{MEASURES, Measure, Row};
use models::scenario::{Case, fault, parse};
use models::simulate::simulate;

/// Most cases of a scenario, and the replications of each.
const CASES: usize = 12;
const REPLICATIONS: u32 = 2;

/// The measures of the tables; the phases follow from them and the scenario.
const SHOWN: [Measure; 17] = [
    Measure::TotalTime,
    Measure::Downtime,
    Measure::BytesSent,
    Measure::WireBytes,
    Measure::Rounds,
    Measure::PagesSent,
    Measure::PagesSkipped,
    Measure::DuplicatePages,
    Measure::Throttle,
    Measure::Throughput,
    Measure::Mss,
    Measure::FailoverDetect,
    Measure::FailoverReconnect,
    Measure::FailoverResume,
    Measure::FailoverRecover,
    Measure::RetransmissionRung,
    Measure::TcpAbort,
];

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

/// The scenario files in all folders but `invalid`.
fn shipped() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in fs::read_dir(scenarios()).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() || folder.ends_with("invalid") {
            continue;
        }
        files.extend(
            fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    files
}

/// At most twelve cases: the first, the last, and evenly between.
fn spread(cases: &[Case]) -> Vec<&Case> {
    let shown = cases.len().min(CASES);
    (0..shown)
        .map(|at| &cases[at * (cases.len() - 1) / (shown - 1).max(1)])
        .collect()
}

/// Measures that some row has, one column each, at the record's precision but
/// never more than three digits after the point.
fn table(rows: &[Row]) -> String {
    let shown: Vec<Measure> = SHOWN
        .into_iter()
        .filter(|&measure| rows.iter().any(|row| row.values.get(measure).is_some()))
        .collect();
    let head = ["case", "r"].map(str::to_owned).into_iter();
    let mut lines = vec![
        head.chain(shown.iter().map(|measure| measure.info().name.to_owned()))
            .collect::<Vec<_>>(),
    ];
    for row in rows {
        let cells = shown.iter().map(|&measure| {
            let decimals = MEASURES[measure as usize].decimals.min(3);
            row.values
                .get(measure)
                .map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
        });
        lines.push(
            [row.case.clone(), row.replication.to_string()]
                .into_iter()
                .chain(cells)
                .collect(),
        );
    }
    let widths: Vec<usize> = (0..shown.len() + 2)
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].len())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        write!(text, "{:<1$}", line[0], widths[0]).unwrap();
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            write!(text, "  {cell:>width$}").unwrap();
        }
        if let Some(error) = at.checked_sub(1).and_then(|at| rows[at].error.as_ref()) {
            write!(text, "  {error}").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn every_shipped_scenario_gives_the_numbers_it_gave() {
    let files = shipped();
    assert!(files.len() >= 19, "only {} scenarios", files.len());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let folder = path.parent().unwrap();
        let mut load =
            |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
        let shown = path.display().to_string();
        let study = parse(&text, &mut load)
            .unwrap_or_else(|faults| panic!("{}", fault::render(&shown, &text, &faults, false)));
        let rows: Vec<Row> = spread(&study.cases)
            .into_iter()
            .flat_map(|case| (0..REPLICATIONS.min(study.replications)).map(move |r| (case, r)))
            .map(|(case, replication)| simulate(&study, case, replication).row)
            .collect();
        insta::with_settings!({
            snapshot_path => "golden",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(study.name.as_str(), table(&rows));
        });
    }
}

#[test]
fn no_table_is_left_over() {
    let texts: Vec<String> = shipped()
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    // While the tables are written for the first time there are none.
    for entry in fs::read_dir(tables).into_iter().flatten() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let name = file.split('.').next().unwrap_or_default();
        let line = format!("name = \"{name}\"");
        assert!(
            texts
                .iter()
                .any(|text| text.lines().any(|other| other == line)),
            "{file} belongs to no scenario"
        );
    }
}
