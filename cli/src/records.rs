//! Records and time series on their way to disk or to standard output.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use models::record::{self, SeriesPoint};
use models::simulate::Outcome;

use crate::files::{NewFile, Written, remove};

/// Where the rows of a scenario go.
pub(crate) enum Records {
    /// To files in a folder.
    Folder(Box<RecordFiles>),
    /// To standard output, without the time series.
    Stdout(Box<csv::Writer<io::Stdout>>),
}

impl Records {
    /// The files of the scenario `name` in `folder`.
    pub(crate) fn in_folder(folder: &Path, name: &str) -> Result<Self> {
        let path = record_path(folder, name);
        let mut rows = csv::Writer::from_writer(NewFile::create(&path)?);
        header(&mut rows)?;
        Ok(Self::Folder(Box::new(RecordFiles {
            path,
            rows,
            series: None,
        })))
    }

    /// Standard output; the header comes with the `first` scenario only.
    pub(crate) fn on_stdout(first: bool) -> Result<Self> {
        let mut rows = csv::Writer::from_writer(io::stdout());
        if first {
            header(&mut rows)?;
        }
        Ok(Self::Stdout(Box::new(rows)))
    }

    /// Writes a row and what belongs to it.
    pub(crate) fn add(&mut self, outcome: &Outcome) -> Result<()> {
        let cells = record::cells(&outcome.row);
        match self {
            Self::Stdout(rows) => rows.write_record(cells).map_err(io_error)?,
            Self::Folder(files) => {
                let written = files.rows.write_record(cells).map_err(io_error);
                written.with_context(|| format!("cannot write `{}`", files.path.display()))?;
                files.add_series(&outcome.series)?;
            }
        }
        Ok(())
    }

    /// Brings everything to its place. Gives the files.
    pub(crate) fn finish(self) -> Result<Vec<Written>> {
        match self {
            Self::Stdout(mut rows) => {
                rows.flush()?;
                Ok(Vec::new())
            }
            Self::Folder(files) => files.finish(),
        }
    }
}

/// The record of a scenario and, once there is a point, its time series.
pub(crate) struct RecordFiles {
    path: PathBuf,
    rows: csv::Writer<NewFile>,
    series: Option<NewFile>,
}

impl RecordFiles {
    fn add_series(&mut self, points: &[SeriesPoint]) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        let mut table = Vec::new();
        record::write_series(points, &mut table)?;
        let path = series_path(&self.path);
        let mut rest = table.as_slice();
        let file = match &mut self.series {
            Some(file) => {
                // The table brings its header along; the file has it already.
                let header = table.iter().position(|&byte| byte == b'\n');
                rest = &table[header.map_or(0, |end| end + 1)..];
                file
            }
            empty => empty.insert(NewFile::create(&path)?),
        };
        file.write_all(rest)
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    fn finish(self) -> Result<Vec<Written>> {
        let rows = self
            .rows
            .into_inner()
            .map_err(|error| io::Error::other(error.to_string()));
        let mut written = vec![
            rows.with_context(|| format!("cannot write `{}`", self.path.display()))?
                .finish()?,
        ];
        match self.series {
            Some(series) => written.push(series.finish()?),
            None => remove(&series_path(&self.path))?,
        }
        Ok(written)
    }
}

/// Where the record of a scenario is.
pub(crate) fn record_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.csv"))
}

/// Where the time series that belong to a record are.
pub(crate) fn series_path(record: &Path) -> PathBuf {
    record.with_extension("series.csv")
}

fn header<W: io::Write>(rows: &mut csv::Writer<W>) -> Result<()> {
    Ok(rows.write_record(record::header()).map_err(io_error)?)
}

/// The error below one of the `csv` crate, which hides it.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
