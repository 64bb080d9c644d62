//! What an emulation says while it goes on, the same from both labs.
//!
//! The lab VM sends these as JSON, one a line, so rows and series travel as the
//! CSV they will be.

use serde::{Deserialize, Serialize};

/// Something that an emulation says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A step of a run begins.
    Step {
        /// The case.
        case: String,
        /// The repeat, from 0.
        repeat: u32,
        /// What the step is for.
        title: String,
    },
    /// A run ended; the record of it, a CSV with header.
    Record {
        /// Rows.
        rows: String,
        /// Time series; empty without.
        series: String,
    },
    /// Text to keep beside the record, such as the raw counters of a run.
    Log {
        /// File name, without folders.
        name: String,
        /// Content.
        text: String,
    },
    /// What the lab was measured to do; see [`models::profile`].
    Profile {
        /// The profile.
        json: String,
    },
    /// The job cannot go on.
    Failed(String),
    /// The job is done.
    End,
}
