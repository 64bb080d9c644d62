//! The same cases on real kernels, real IPsec and real virtual machines.
//!
//! - [`plan`] is pure: a case becomes steps with their argument vectors, the files
//!   they write and what undoes them, printable as a shell script;
//! - [`apply`] runs the steps and undoes them in reverse whatever happens;
//! - [`measure`] reads what the steps printed into a row of the record;
//! - [`run`] does these for every case on this machine, and [`lab`] carries it
//!   into a virtual machine;
//! - [`guest`] is the guest's memory image and the conversation with its workload;
//! - [`tool`] holds the small programs that steps call and that can be used
//!   alone: `watari tool NAME`. They print JSON lines with instants of the
//!   monotonic clock in nanoseconds;
//! - [`doctor`] finds out what this machine can do;
//! - [`clean`] removes what a killed run left behind.
//!
//! It may not be used by `plots` or `models`, and does not use `plots`.

pub mod apply;
pub mod calibrate;
pub mod clean;
pub mod doctor;
pub mod event;
pub mod guest;
pub mod lab;
pub mod measure;
pub mod plan;
pub mod qmp;
pub mod run;
pub mod tool;
