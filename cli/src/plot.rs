//! `watari plot`: figures of records.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use models::record::{self, ReadError, Row, SeriesPoint};

use crate::exit::{Exit, Failure};
use crate::figures::{self, Options};
use crate::files;
use crate::output::Output;
use crate::records::series_path;

/// Draw figures of records.
///
/// Writes every figure that fits the records as SVG and PNG, and the captions
/// into captions.md. The time series in NAME.series.csv beside a record
/// NAME.csv are drawn too.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  watari plot out/ --out figures")]
pub(crate) struct Args {
    /// Records that `watari run` wrote, or folders of them.
    #[arg(required = true)]
    records: Vec<PathBuf>,
    /// Folder to write to.
    #[arg(long, value_name = "DIR", default_value = "figures")]
    out: PathBuf,
    /// Level of the confidence intervals.
    #[arg(long, value_name = "LEVEL", default_value_t = 0.95, value_parser = confidence)]
    confidence: f64,
    /// Pixels of the PNG for each pixel of the SVG.
    #[arg(long, value_name = "FACTOR", default_value_t = 3.0, value_parser = png_scale)]
    png_scale: f32,
    /// Write no PNG.
    #[arg(long)]
    no_png: bool,
}

pub(crate) fn confidence(text: &str) -> Result<f64, String> {
    let level = text
        .parse()
        .ok()
        .filter(|level| (0.5..=0.999).contains(level));
    level.ok_or_else(|| "a level between 0.5 and 0.999 is wanted, such as 0.95".to_owned())
}

fn png_scale(text: &str) -> Result<f32, String> {
    let scale = text
        .parse()
        .ok()
        .filter(|scale| (0.1..=10.0).contains(scale));
    scale.ok_or_else(|| "a factor between 0.1 and 10 is wanted, such as 3".to_owned())
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let (rows, series) = read_all(&args.records).map_err(Failure::Input)?;
    files::create_folder(&args.out).map_err(Failure::Input)?;
    let options = Options {
        folder: &args.out,
        confidence: args.confidence,
        png_scale: (!args.no_png).then_some(args.png_scale),
    };
    let written = figures::draw(&rows, &series, &options)?;
    if written.is_empty() {
        output.note("There is nothing to draw in these records.\n");
    }
    for path in &written {
        output.result(&format!("{}\n", path.display()))?;
    }
    Ok(Exit::Success)
}

/// Every row of the records in `paths`, with the time series beside them.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<(Vec<Row>, Vec<SeriesPoint>)> {
    let mut records = Vec::new();
    for path in paths {
        // A glob over a folder of records brings the time series along; each comes with its record.
        let found = files::walk(path, &|file| {
            file.extension().is_some_and(|end| end == "csv")
        })?;
        records.extend(found.into_iter().filter(|file| !is_series(file)));
    }
    if records.is_empty() {
        bail!("there is no record (*.csv) in what was given; `watari run` writes records");
    }
    let (mut rows, mut series) = (Vec::new(), Vec::new());
    for path in &records {
        let (more_rows, more_series) = read(path)?;
        rows.extend(more_rows);
        series.extend(more_series);
    }
    refuse_duplicates(&rows)?;
    Ok((rows, series))
}

fn is_series(path: &Path) -> bool {
    files::name(path).ends_with(".series.csv")
}

/// Reads a record and the time series beside it, if there are any.
pub(crate) fn read(path: &Path) -> Result<(Vec<Row>, Vec<SeriesPoint>)> {
    let context = || format!("cannot read `{}`", path.display());
    let file = File::open(path).with_context(context)?;
    let rows = record::read(BufReader::new(file)).with_context(context)?;
    let path = series_path(path);
    if !path.exists() {
        return Ok((rows, Vec::new()));
    }
    let context = || format!("cannot read `{}`", path.display());
    let file = File::open(&path).with_context(context)?;
    let series = record::read_series(BufReader::new(file)).with_context(context)?;
    Ok((rows, series))
}

/// One record has no row twice, but two records may have the same one.
fn refuse_duplicates(rows: &[Row]) -> Result<()> {
    let key = |row: &Row| {
        (
            row.scenario.clone(),
            row.case.clone(),
            row.replication,
            row.backend,
        )
    };
    let mut keys: Vec<_> = rows.iter().map(key).collect();
    keys.sort();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        let (scenario, case, replication, _) = pair[0].clone();
        let error = ReadError::Duplicate {
            scenario,
            case,
            replication,
        };
        return Err(error).context("two of the records have the same row; give one of them");
    }
    Ok(())
}
