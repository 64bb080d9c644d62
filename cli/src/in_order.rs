//! Work on many threads, taken back in the order in which it was numbered.
//!
//! Results reach the caller one by one and in order whatever the number of
//! threads, so that a file can be written while the work goes on. The work is
//! done in chunks, so that memory stays flat however long it is.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// Pieces of a chunk for each thread: enough that the threads seldom wait for
/// one another, few enough that progress shows.
const CHUNK: u64 = 64;

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
    let pool = ThreadPoolBuilder::new()
        .num_threads(jobs)
        .build()
        .context("cannot start threads")?;
    let wanted = |piece| (!stop.load(Ordering::Relaxed)).then(|| work(piece));
    let mut taken = 0;
    while taken < count {
        let chunk = taken..count.min(taken + CHUNK * jobs as u64);
        let results: Vec<Option<T>> = pool.install(|| chunk.into_par_iter().map(wanted).collect());
        for result in results {
            let Some(result) = result else {
                return Ok(taken);
            };
            take(result)?;
            taken += 1;
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::thread;
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
    fn nobody_runs_further_ahead_than_a_chunk() {
        let taken = AtomicU64::new(0);
        let furthest = AtomicU64::new(0);
        let work = |piece: u64| {
            furthest.fetch_max(piece - taken.load(Ordering::SeqCst), Ordering::SeqCst);
        };
        let take = |()| {
            taken.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        in_order(5000, 4, &AtomicBool::new(false), work, take).unwrap();
        assert!(furthest.into_inner() < 4 * CHUNK);
    }

    #[test]
    fn a_failing_taker_ends_the_work() {
        let mut left = 10;
        let take = |_| {
            left -= 1;
            anyhow::ensure!(left > 0, "full");
            Ok(())
        };
        let stop = AtomicBool::new(false);
        let error = in_order(u64::MAX, 3, &stop, |piece| piece, take).unwrap_err();
        assert_eq!(error.to_string(), "full");
    }

    #[test]
    fn a_stop_keeps_an_unbroken_beginning() {
        for moment in 0..50 {
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
                in_order(u64::MAX, 4, &stop, |piece| piece, take).unwrap()
            });
            assert_eq!(results, (0..taken).collect::<Vec<_>>());
        }
    }
}
