//! The clock of every measurement: `CLOCK_MONOTONIC`, one for all namespaces.

use std::io::Write as _;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since some fixed instant.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
}

/// Prints a JSON object as one line and flushes it.
///
/// # Errors
///
/// When nobody reads standard output any more.
pub fn emit(object: &serde_json::Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{object}")?;
    out.flush()
}

pub(super) fn print() -> anyhow::Result<()> {
    Ok(emit(&serde_json::json!({ "t_ns": now_ns() }))?)
}
