//! How long the event queue takes for an event.
//!
//! `hold` is the classical measure: with a given number of events pending, take the first one and
//! schedule another an exponential time later. Its peers are the standard library's heap holding
//! nothing but keys: a bare time (`binary_heap_u64`), and a time with a sequence number
//! (`binary_heap_pair`), the least that gives a total order. They carry no event and cannot
//! cancel. Ours carries 32 bytes, and is to stay within twice their time.
//!
//! `near` is what a network does: 20 packets are under way, and whatever follows from one happens
//! soon, while the timers that make up the rest of the queue are far off.
//!
//! `timers` is what a transport protocol does: 1000 timers are pending, and each one that fires
//! is started again together with two others that have not fired.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::RngExt;
use sim_core::{EventId, Queue, SimDuration, SimTime, Streams};

const PENDING: [usize; 3] = [100, 10_000, 1_000_000];
const TIMERS: usize = 1000;
const PACKETS: usize = 20;

/// Beyond what any run of `near` reaches, in nanoseconds.
const FAR: u64 = 1 << 62;

/// How many times shorter than the drawn increments those of packets are.
const NEARER: u64 = 1_000_000;

type Event = [u64; 4];

fn hold(c: &mut Criterion) {
    let mut group = c.benchmark_group("hold");
    for pending in PENDING {
        group.bench_function(BenchmarkId::new("watari", pending), |b| {
            let mut increments = Increments::new();
            let mut queue = Queue::with_capacity(pending);
            for i in 0..pending {
                queue.schedule(SimTime::from_nanos(increments.next()), [i as u64; 4]);
            }
            b.iter(|| {
                let (now, event): (SimTime, Event) = queue.pop().expect("events are pending");
                queue.schedule(
                    now + SimDuration::from_nanos(increments.next()),
                    black_box(event),
                )
            });
        });
        group.bench_function(BenchmarkId::new("binary_heap_u64", pending), |b| {
            let mut increments = Increments::new();
            let mut heap: BinaryHeap<_> =
                (0..pending).map(|_| Reverse(increments.next())).collect();
            b.iter(|| {
                let Reverse(now) = heap.pop().expect("keys are pending");
                heap.push(Reverse(black_box(now) + increments.next()));
            });
        });
        group.bench_function(BenchmarkId::new("binary_heap_pair", pending), |b| {
            let mut increments = Increments::new();
            let mut sequence = pending as u64;
            let mut heap: BinaryHeap<_> = (0..sequence)
                .map(|i| Reverse((increments.next(), i)))
                .collect();
            b.iter(|| {
                let Reverse((now, i)) = heap.pop().expect("keys are pending");
                black_box(i);
                heap.push(Reverse((now + increments.next(), sequence)));
                sequence += 1;
            });
        });
    }
    group.finish();
}

fn near(c: &mut Criterion) {
    let mut group = c.benchmark_group("near");
    for far in PENDING {
        group.bench_function(BenchmarkId::new("watari", far), |b| {
            let mut increments = Increments::new();
            let mut queue = Queue::with_capacity(far + PACKETS);
            for i in 0..far {
                let at = SimTime::from_nanos(FAR + increments.next());
                queue.schedule(at, [i as u64; 4]);
            }
            for i in 0..PACKETS {
                queue.schedule(
                    SimTime::from_nanos(increments.next() / NEARER),
                    [i as u64; 4],
                );
            }
            b.iter(|| {
                let (now, event): (SimTime, Event) = queue.pop().expect("events are pending");
                let span = SimDuration::from_nanos(increments.next() / NEARER);
                queue.schedule(now + span, black_box(event))
            });
        });
    }
    group.finish();
}

fn timers(c: &mut Criterion) {
    c.bench_function("timers/watari/1000", |b| {
        let mut increments = Increments::new();
        let mut queue = Queue::with_capacity(TIMERS);
        let mut ids: Vec<EventId> = (0..TIMERS)
            .map(|timer| queue.schedule(SimTime::from_nanos(increments.next()), timer))
            .collect();
        b.iter(|| {
            let (now, fired) = queue.pop().expect("timers are pending");
            ids[fired] = queue.schedule(now + SimDuration::from_nanos(increments.next()), fired);
            for other in [(fired + 1) % TIMERS, (fired + TIMERS / 2) % TIMERS] {
                let at = now + SimDuration::from_nanos(increments.next());
                ids[other] = queue
                    .reschedule(ids[other], at)
                    .expect("the timer is pending");
            }
        });
    });
}

/// Exponential increments with a mean of one second, drawn beforehand.
struct Increments {
    nanos: Vec<u64>,
    next: usize,
}

impl Increments {
    const COUNT: usize = 1 << 16;

    fn new() -> Self {
        let mut stream = Streams::new(1, 0).stream("increments");
        let nanos = (0..Self::COUNT)
            .map(|_| exponential(stream.random()).as_nanos())
            .collect();
        Self { nanos, next: 0 }
    }

    fn next(&mut self) -> u64 {
        self.next = (self.next + 1) % Self::COUNT;
        self.nanos[self.next]
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark may differ in the last bit"
)]
fn exponential(uniform: f64) -> SimDuration {
    SimDuration::from_secs_f64(-(1.0 - uniform).ln())
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = hold, near, timers
}
criterion_main!(benches);
