//! Work on many threads, taken back in the order in which it was numbered.
//!
//! Results reach the caller one by one and in order whatever the number of
//! threads, so that a file can be written while the work goes on. A thread may
//! run ahead of the slowest by at most [`AHEAD`] pieces a thread, so that memory
//! stays flat however long the work is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::Result;

/// How many pieces a thread may be ahead.
const AHEAD: u64 = 64;

/// Does pieces `0..count` with `work` on `jobs` threads and hands each result
/// to `take` in order, on the calling thread. Ends early when `stop` is set or
/// `take` fails. Gives the number of pieces taken.
pub(crate) fn in_order<T: Send>(
    count: u64,
    jobs: usize,
    stop: &AtomicBool,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<u64> {
    let next = AtomicU64::new(0);
    let gate = Gate::new(AHEAD * jobs as u64);
    let (sender, receiver) = mpsc::channel();
    let worker = |sender: mpsc::Sender<(u64, T)>| {
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count || !gate.pass(piece) {
                return;
            }
            if stop.load(Ordering::Relaxed) {
                // This piece will never come, so nobody must wait for the gate to move.
                gate.open();
                return;
            }
            if sender.send((piece, work(piece))).is_err() {
                // The caller has failed and wants nothing more.
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            let sender = sender.clone();
            scope.spawn(|| worker(sender));
        }
        drop(sender);
        // The receiver is gone when this returns, and the gate open, so that every thread ends.
        let taken = take_in_order(receiver, &gate, &mut take);
        gate.open();
        taken
    })
}

fn take_in_order<T>(
    receiver: mpsc::Receiver<(u64, T)>,
    gate: &Gate,
    take: &mut impl FnMut(T) -> Result<()>,
) -> Result<u64> {
    let mut early = BTreeMap::new();
    let mut taken = 0;
    for (piece, result) in receiver {
        early.insert(piece, result);
        while let Some(result) = early.remove(&taken) {
            take(result)?;
            taken += 1;
        }
        gate.advance(taken);
    }
    Ok(taken)
}

/// Holds threads back that are too far ahead.
struct Gate {
    limit: Mutex<u64>,
    moved: Condvar,
    ahead: u64,
}

impl Gate {
    fn new(ahead: u64) -> Self {
        Self {
            limit: Mutex::new(ahead),
            moved: Condvar::new(),
            ahead,
        }
    }

    /// Waits until `piece` may be worked on; false when nothing is wanted any more.
    fn pass(&self, piece: u64) -> bool {
        let limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.moved.wait_while(limit, |limit| *limit <= piece);
        *limit.unwrap_or_else(PoisonError::into_inner) != u64::MAX
    }

    /// So many pieces are taken.
    fn advance(&self, taken: u64) {
        self.set(taken + self.ahead);
    }

    /// Nothing more is wanted: whoever waits may go home.
    fn open(&self) {
        self.set(u64::MAX);
    }

    /// Once open, it stays open.
    fn set(&self, new: u64) {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        *limit = new.max(*limit);
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn run(count: u64, jobs: usize, work: impl Fn(u64) -> u64 + Sync) -> Vec<u64> {
        let mut results = Vec::new();
        let stop = AtomicBool::new(false);
        let take = |result| {
            results.push(result);
            Ok(())
        };
        assert_eq!(in_order(count, jobs, &stop, work, take).unwrap(), count);
        results
    }

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        let uneven = |piece: u64| {
            thread::sleep(Duration::from_micros(piece * 7 % 50));
            piece
        };
        for jobs in [1, 2, 7] {
            assert_eq!(run(500, jobs, uneven), (0..500).collect::<Vec<_>>());
        }
        assert!(run(0, 3, uneven).is_empty());
    }

    #[test]
    fn nobody_runs_further_ahead_than_allowed() {
        let taken = AtomicU64::new(0);
        let furthest = AtomicU64::new(0);
        let work = |piece: u64| {
            furthest.fetch_max(piece - taken.load(Ordering::SeqCst), Ordering::SeqCst);
            if piece.is_multiple_of(1000) {
                thread::sleep(Duration::from_millis(2));
            }
        };
        let take = |()| {
            taken.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        in_order(5000, 4, &AtomicBool::new(false), work, take).unwrap();
        assert!(furthest.into_inner() < 4 * AHEAD);
    }

    #[test]
    fn a_failing_taker_ends_the_work() {
        let mut left = 10;
        let take = |_| {
            left -= 1;
            anyhow::ensure!(left > 0, "full");
            Ok(())
        };
        let error =
            in_order(u64::MAX, 3, &AtomicBool::new(false), |piece| piece, take).unwrap_err();
        assert_eq!(error.to_string(), "full");
    }

    #[test]
    fn a_stop_keeps_an_unbroken_beginning_and_leaves_nobody_waiting() {
        // A thread that is held up between taking a number and seeing the stop leaves a hole,
        // before which the others wait. That is a matter of luck: many threads, many stops.
        for moment in 0..200 {
            let stop = AtomicBool::new(false);
            let mut results = Vec::new();
            let take = |piece| {
                results.push(piece);
                Ok(())
            };
            let taken = thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_micros(50 * moment));
                    stop.store(true, Ordering::Relaxed);
                });
                in_order(u64::MAX, 8, &stop, |piece| piece, take).unwrap()
            });
            assert_eq!(results, (0..taken).collect::<Vec<_>>());
        }
    }
}
