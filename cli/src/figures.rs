//! Figures of records, as files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use models::record::{Row, SeriesPoint};
use plots::Figure;

use crate::files;

/// Name of the file with all captions of a folder.
const CAPTIONS: &str = "captions.md";

/// How figures are written.
pub(crate) struct Options<'a> {
    /// Where to.
    pub(crate) folder: &'a Path,
    /// Level of the confidence intervals.
    pub(crate) confidence: f64,
    /// Pixels of the PNG for a pixel of the SVG; `None`: no PNG.
    pub(crate) png_scale: Option<f32>,
}

/// Draws the figures that fit `rows` and `series`. Gives the files.
pub(crate) fn draw(
    rows: &[Row],
    series: &[SeriesPoint],
    options: &Options<'_>,
) -> Result<Vec<PathBuf>> {
    let figures =
        plots::figures(rows, series, options.confidence).context("cannot draw the figures")?;
    write(&figures, options.folder, options.png_scale)
}

/// Writes figures and their captions. Gives the files.
pub(crate) fn write(
    figures: &[Figure],
    folder: &Path,
    png_scale: Option<f32>,
) -> Result<Vec<PathBuf>> {
    if figures.is_empty() {
        return Ok(Vec::new());
    }
    files::create_folder(folder)?;
    let mut written = Vec::new();
    for figure in figures {
        let path = folder.join(format!("{}.svg", figure.name));
        files::write(&path, figure.svg.as_bytes())?;
        written.push(path);
        if let Some(scale) = png_scale {
            let path = folder.join(format!("{}.png", figure.name));
            let png = plots::png(&figure.svg, scale);
            let png = png.with_context(|| format!("cannot draw `{}`", path.display()))?;
            files::write(&path, &png)?;
            written.push(path);
        }
    }
    let path = folder.join(CAPTIONS);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let there = |name: &str| folder.join(format!("{name}.svg")).exists();
    files::write(&path, captions(&old, figures, there).as_bytes())?;
    Ok(written)
}

/// The captions of `figures` and those of older figures that are still there.
fn captions(old: &str, figures: &[Figure], there: impl Fn(&str) -> bool) -> String {
    let mut entries: BTreeMap<String, String> = old
        .split("\n## ")
        .skip(1)
        .filter_map(|entry| entry.split_once('\n'))
        .filter(|(name, _)| there(name))
        .map(|(name, text)| (name.to_owned(), text.trim().to_owned()))
        .collect();
    for Figure { name, caption, .. } in figures {
        entries.insert(
            name.clone(),
            format!("![{name}]({name}.svg)\n\n{}", caption.trim()),
        );
    }
    let mut text = "# Figures\n\n<!-- written by watari; do not edit -->\n".to_owned();
    for (name, entry) in entries {
        text.push_str(&format!("\n## {name}\n\n{entry}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, caption: &str) -> Figure {
        Figure {
            name: name.into(),
            caption: caption.into(),
            svg: String::new(),
        }
    }

    #[test]
    fn captions_of_other_runs_are_kept_while_their_figures_are() {
        let old = [
            figure("a", "Old a."),
            figure("b", "Old b."),
            figure("gone", "Gone."),
        ];
        let old = captions("", &old, |_| true);
        let new = captions(&old, &[figure("b", "New b.")], |name| name != "gone");
        let wanted = "# Figures\n\n<!-- written by watari; do not edit -->\n\
                      \n## a\n\n![a](a.svg)\n\nOld a.\n\n## b\n\n![b](b.svg)\n\nNew b.\n";
        assert_eq!(new, wanted);
    }
}
