//! The scenario, the record, and the models between them.
//!
//! - [`scenario`]: text in, checked cases or faults out;
//! - [`simulate()`](simulate::simulate): one replication of one case, a pure function;
//! - [`record`]: the row that comes out, the same for simulation and emulation;
//! - [`summary`], [`verify`](mod@verify) and [`compare`](mod@compare): rows brought together and
//!   judged;
//! - [`profile`]: what a lab was measured to do, in place of a scenario's parameters;
//! - the models: [`wan`] and [`fair`] (links), [`tcp`] and [`network`]
//!   (connections), [`ipsec`], [`dirty`] (guest memory), [`migration`],
//!   [`failover`]. They do not know each other; [`world`] knows them all.
//!
//! The crate does no I/O, reads no clock and no environment.

#![forbid(unsafe_code)]

pub mod compare;
pub mod dirty;
pub mod failover;
pub mod fair;
pub mod ipsec;
pub mod migration;
pub mod network;
pub mod profile;
pub mod record;
pub mod scenario;
pub mod simulate;
pub mod summary;
pub mod tcp;
pub mod units;
pub mod verify;
pub mod wan;
pub mod world;
