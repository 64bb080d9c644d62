//! Figures from records.
//!
//! Records go in, SVG and PNG come out. The crate never runs a model and never reads a
//! scenario: what a figure shows, its axes, lines and panels, follows from the record alone. Equal
//! input gives equal bytes.
//!
//! - [`figures()`] draws every figure that a record supports;
//! - [`comparison()`] draws how far a simulated record is from an emulated one;
//! - [`png()`] turns one of them into pixels with the bundled font, so that it looks the same
//!   everywhere.
//!
//! A reader of the code starts at `select.rs` (what becomes x, lines and panels), goes on to
//! `figures/lines.rs`, and ends at `chart.rs` (how it gets onto the paper).

#![forbid(unsafe_code)]

mod canvas;
mod chart;
mod figures;
mod png;
mod scale;
mod select;
mod style;
mod unit;

pub use figures::{comparison, figures};
pub use png::png;

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// File stem, for example `yamashita.total_time`. Safe as a file name, whatever the scenario
    /// is called.
    pub name: String,
    /// What is seen, how many replications stand behind it, and at which confidence level.
    pub caption: String,
    /// The drawing: a whole SVG document, sized in millimetres.
    pub svg: String,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// A confidence level that is none.
    #[error("confidence level {0} is not between 0 and 1")]
    Confidence(f64),
    /// The drawing library refused.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// Not an SVG document that can be rendered.
    #[error("cannot render the SVG document")]
    Svg(#[from] resvg::usvg::Error),
    /// An image of no or of too many pixels.
    #[error("an image of {width} x {height} pixels cannot be made")]
    Size {
        /// Pixels across.
        width: f32,
        /// Pixels down.
        height: f32,
    },
    /// The PNG encoder refused.
    #[error("cannot encode the image: {0}")]
    Encode(String),
}
