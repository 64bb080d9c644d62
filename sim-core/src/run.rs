//! The loop that runs a world: take the next event, hand it over, repeat.

use crate::queue::Queue;
use crate::time::SimTime;

/// What is simulated: a state that events change.
pub trait World {
    /// What can happen in this world.
    type Event;

    /// Changes the state as `event` demands and schedules what follows from it.
    ///
    /// `now` is the time of the event, and the earliest time `queue` accepts.
    fn handle(&mut self, now: SimTime, event: Self::Event, queue: &mut Queue<Self::Event>);
}

/// How far a run may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The last instant simulated. Events at exactly this time are still handled.
    pub until: SimTime,
    /// The most events handled. A model that never comes to rest ends here.
    pub max_events: u64,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No event was left.
    Empty,
    /// The next event was later than [`Limits::until`].
    Until,
    /// There was an event to handle, but [`Limits::max_events`] had been handled already.
    Budget,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Why it ended.
    pub stop: Stop,
    /// How many events it handled.
    pub events: u64,
    /// Up to when the world is known: [`Limits::until`] if the run got there, since nothing
    /// happens between the last event and then; else the time of the last event.
    pub end: SimTime,
}

/// Runs `world` until a limit is met or no event is left.
///
/// Events beyond the limits stay in the queue, so a further call goes on where this one ended.
pub fn run<W: World>(world: &mut W, queue: &mut Queue<W::Event>, limits: Limits) -> Summary {
    let mut events = 0;
    let stop = loop {
        match queue.peek_time() {
            None => break Stop::Empty,
            Some(time) if time > limits.until => break Stop::Until,
            Some(_) if events == limits.max_events => break Stop::Budget,
            Some(_) => {}
        }
        let Some((now, event)) = queue.pop() else {
            break Stop::Empty;
        };
        world.handle(now, event, queue);
        events += 1;
    };
    let end = match stop {
        Stop::Until => limits.until,
        Stop::Empty | Stop::Budget => queue.now(),
    };
    Summary { stop, events, end }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::rng::{Stream, Streams};
    use crate::time::SimDuration;

    const FOREVER: Limits = Limits {
        until: SimTime::MAX,
        max_events: u64::MAX,
    };

    /// Schedules a child for every event it handles, until it runs out of children.
    struct Chain {
        children: u32,
        trace: Vec<(SimTime, u32)>,
    }

    impl Chain {
        fn of(children: u32) -> Self {
            Self {
                children,
                trace: Vec::new(),
            }
        }
    }

    impl World for Chain {
        type Event = u32;

        fn handle(&mut self, now: SimTime, event: u32, queue: &mut Queue<u32>) {
            self.trace.push((now, event));
            if event < self.children {
                queue.schedule(now + SimDuration::from_secs(1), event + 1);
            }
        }
    }

    fn at(secs: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(secs)
    }

    fn first(event: u32) -> Queue<u32> {
        let mut queue = Queue::new();
        queue.schedule(SimTime::ZERO, event);
        queue
    }

    #[test]
    fn a_run_ends_when_no_event_is_left() {
        let mut chain = Chain::of(2);
        let summary = run(&mut chain, &mut first(0), FOREVER);
        assert_eq!(
            summary,
            Summary {
                stop: Stop::Empty,
                events: 3,
                end: at(2)
            }
        );
        assert_eq!(chain.trace, [(at(0), 0), (at(1), 1), (at(2), 2)]);
    }

    #[test]
    fn a_run_of_nothing_ends_at_once() {
        let summary = run(&mut Chain::of(0), &mut Queue::new(), FOREVER);
        assert_eq!(
            summary,
            Summary {
                stop: Stop::Empty,
                events: 0,
                end: SimTime::ZERO
            }
        );
    }

    #[test]
    fn events_at_the_limit_are_handled_and_later_ones_stay() {
        let mut queue = first(0);
        let limits = Limits {
            until: at(3),
            ..FOREVER
        };
        let summary = run(&mut Chain::of(10), &mut queue, limits);
        assert_eq!(
            summary,
            Summary {
                stop: Stop::Until,
                events: 4,
                end: at(3)
            }
        );
        assert_eq!(queue.peek_time(), Some(at(4)));
    }

    #[test]
    fn a_run_stopped_between_events_ends_at_the_limit() {
        let until = SimTime::from_nanos(2_500_000_000);
        let summary = run(
            &mut Chain::of(10),
            &mut first(0),
            Limits { until, ..FOREVER },
        );
        assert_eq!(
            summary,
            Summary {
                stop: Stop::Until,
                events: 3,
                end: until
            }
        );
    }

    #[test]
    fn a_run_that_never_rests_ends_with_its_budget() {
        let mut queue = first(0);
        let limits = Limits {
            max_events: 5,
            ..FOREVER
        };
        let summary = run(&mut Chain::of(u32::MAX), &mut queue, limits);
        assert_eq!(
            summary,
            Summary {
                stop: Stop::Budget,
                events: 5,
                end: at(4)
            }
        );
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_budget_that_is_just_enough_does_not_stop_the_run() {
        let limits = Limits {
            max_events: 3,
            ..FOREVER
        };
        assert_eq!(
            run(&mut Chain::of(2), &mut first(0), limits).stop,
            Stop::Empty
        );
    }

    #[test]
    fn a_run_in_parts_is_the_run_as_a_whole() {
        let mut whole = Chain::of(10);
        run(&mut whole, &mut first(0), FOREVER);

        let (mut parts, mut queue) = (Chain::of(10), first(0));
        run(
            &mut parts,
            &mut queue,
            Limits {
                max_events: 2,
                ..FOREVER
            },
        );
        run(
            &mut parts,
            &mut queue,
            Limits {
                until: at(7),
                ..FOREVER
            },
        );
        run(&mut parts, &mut queue, FOREVER);
        assert_eq!(parts.trace, whole.trace);
    }

    /// Branches at random: each event has up to two children, now or soon, and may cancel the
    /// event scheduled last.
    struct Thicket {
        delay: Stream,
        choice: Stream,
        trace: Vec<(SimTime, u32)>,
    }

    impl World for Thicket {
        type Event = u32;

        fn handle(&mut self, now: SimTime, event: u32, queue: &mut Queue<u32>) {
            self.trace.push((now, event));
            for child in 0..2 {
                let delay = SimDuration::from_nanos(self.delay.random_range(0..5));
                let id = queue.schedule(now + delay, 2 * (event % 1000) + child);
                match self.choice.random_range(0..10) {
                    0 | 1 => drop(queue.cancel(id)),
                    2 => drop(queue.reschedule(id, now)),
                    _ => {}
                }
            }
        }
    }

    fn thicket(seed: u64, queue: &mut Queue<u32>) -> Vec<(SimTime, u32)> {
        let streams = Streams::new(seed, 0);
        let (delay, choice) = (streams.stream("delay"), streams.stream("choice"));
        let mut world = Thicket {
            delay,
            choice,
            trace: Vec::new(),
        };
        queue.schedule(SimTime::ZERO, 1);
        run(
            &mut world,
            queue,
            Limits {
                max_events: 5_000,
                ..FOREVER
            },
        );
        world.trace
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        let trace = thicket(1, &mut Queue::new());
        assert_eq!(trace.len(), 5_000);
        assert_eq!(thicket(1, &mut Queue::new()), trace);
        assert_ne!(thicket(2, &mut Queue::new()), trace);
    }

    #[test]
    fn a_cleared_queue_gives_the_trace_of_a_new_one() {
        let mut queue = Queue::new();
        thicket(2, &mut queue);
        queue.clear();
        assert_eq!(thicket(1, &mut queue), thicket(1, &mut Queue::new()));
    }
}
