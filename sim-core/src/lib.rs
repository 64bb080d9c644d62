//! A kernel for discrete-event simulation. It knows time, order and chance, and nothing of
//! networks.
//!
//! - [`time`]: instants and spans in whole nanoseconds, [`SimTime`] and [`SimDuration`];
//! - [`queue`]: the events to come, in a total order, [`Queue`];
//! - [`mod@run`]: the loop, [`run()`](run()), over anything that is a [`World`];
//! - [`rng`]: random numbers from named streams, [`Streams`];
//! - [`stats`]: what was observed, [`Tally`] and [`TimeWeighted`].
//!
//! The crate reads no clock and no environment, keeps no global state and starts no threads: a
//! run is a function of the world, the queue and the streams that it is given.
//!
//! ```
//! use sim_core::{Limits, Queue, SimDuration, SimTime, Stop, World, run};
//!
//! /// Counts down, once a second.
//! struct Countdown(u32);
//!
//! struct Tick;
//!
//! impl World for Countdown {
//!     type Event = Tick;
//!
//!     fn handle(&mut self, now: SimTime, Tick: Tick, queue: &mut Queue<Tick>) {
//!         self.0 -= 1;
//!         if self.0 > 0 {
//!             queue.schedule(now + SimDuration::from_secs(1), Tick);
//!         }
//!     }
//! }
//!
//! let mut queue = Queue::new();
//! queue.schedule(SimTime::ZERO, Tick);
//! let limits = Limits { until: SimTime::MAX, max_events: 1_000 };
//! let summary = run(&mut Countdown(10), &mut queue, limits);
//! assert_eq!(summary.stop, Stop::Empty);
//! assert_eq!(summary.events, 10);
//! assert_eq!(summary.end.as_secs_f64(), 9.0);
//! ```

#![forbid(unsafe_code)]

mod heap;
pub mod queue;
pub mod rng;
pub mod run;
pub mod stats;
pub mod time;

pub use queue::{EventId, Queue};
pub use rng::{Stream, Streams};
pub use run::{Limits, Stop, Summary, World, run};
pub use stats::{Interval, Tally, TimeWeighted, quantile};
pub use time::{SimDuration, SimTime};
