//! The same cases on real kernels, real IPsec and real virtual machines.
//!
//! The crate has its place and its rules, and no code yet:
//!
//! - `plan(case)` will be pure: steps with their argument vectors, the files
//!   they write and what undoes them, printable as a shell script;
//! - `apply(plan, lab)` will run the steps and undo them in reverse whatever
//!   happens, and return the same [`models::record::Row`] that
//!   [`models::simulate::simulate`] returns;
//! - a lab is a token that only a preflight hands out, with reasons when it
//!   does not; tests take it and skip with the reason.
//!
//! It may not be used by `plots` or `models`, and does not use `plots`.

#![forbid(unsafe_code)]
