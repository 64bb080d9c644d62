//! The same cases on real kernels, real IPsec and real virtual machines.
//!
//! - `plan` is pure: a case becomes steps with their argument vectors, the files
//!   they write and what undoes them, printable as a shell script;
//! - `apply` runs the steps and undoes them in reverse whatever happens;
//! - [`tool`] holds the small programs that steps call and that can be used
//!   alone: `watari tool NAME`. They print JSON lines with instants of the
//!   monotonic clock in nanoseconds;
//! - [`guest`] is the guest: its kernel and initramfs, its machine, and the
//!   conversation with its workload.
//!
//! It may not be used by `plots` or `models`, and does not use `plots`.

pub mod guest;
pub mod tool;
