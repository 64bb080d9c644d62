//! Which pages are written when: the simulator's models of a dirtying guest
//! (`models/src/dirty.rs`), written for real.
//!
//! A model is classes of pages that are each written at a rate, round and round
//! or at random; Zipf's law is one class whose pages are drawn by their rank
//! exactly, where the simulator cuts it into 64 classes. Phases of a trace set
//! the rate and the size of its one class. A timer of 50 ms writes what is due by
//! the clock since the last tick; remainders are carried on. (Each tick costs some
//! 4 ms of a processor that is emulated twice: at 5 ms a guest did nothing else.) A
//! tick that comes over 20 ms late is counted, and what is due after more than a
//! second is not written but counted as skipped.
//!
//! Leaves out: which pages of real programs lie next to each other. Who would
//! notice: transports that compress runs of neighbouring pages.

use std::time::Duration;

use crate::arguments::Arguments;
use crate::memory::{Image, mix};

/// From tick to tick.
pub(crate) const TICK: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_millis(20);
const CATCH_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq)]
enum Order {
    Sequential,
    Random,
    /// Cumulated weights of the ranks, scaled to all of `u64`.
    Zipf(Vec<u64>),
}

#[derive(Clone, Debug, PartialEq)]
struct Class {
    first: usize,
    pages: usize,
    /// Writes a second.
    rate: f64,
    order: Order,
    cursor: usize,
    /// Writes due and not done; below one after a tick.
    due: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Phase {
    start: Duration,
    rate: f64,
    pages: usize,
}

/// A model at work.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    classes: Vec<Class>,
    phases: Vec<Phase>,
    age: Duration,
    random: u64,
    late: u64,
    skipped: f64,
}

impl Writer {
    /// The model of a `dirty` command; its pages must fit into `nonzero`.
    pub(crate) fn parse(arguments: &Arguments, nonzero: usize) -> Result<Self, String> {
        let Some((model, phases)) = arguments.plain().split_first() else {
            return Err("dirty needs constant, hotcold, zipf, trace or off".to_string());
        };
        let mut writer = match *model {
            "constant" => constant(arguments)?,
            "hotcold" => hot_cold(arguments)?,
            "zipf" => zipf(arguments, nonzero)?,
            "trace" => trace(arguments, phases)?,
            "off" => Self::default(),
            other => return Err(format!("dirty {other} is unknown")),
        };
        if *model != "trace" && !phases.is_empty() {
            return Err(format!("{} is not key=value", phases.join(" ")));
        }
        let needed = writer.classes.iter().map(|class| class.first + class.pages);
        if needed.max().unwrap_or(0) > nonzero {
            return Err(format!(
                "the set does not fit into the {nonzero} pages with content; fill more"
            ));
        }
        writer.random = mix(arguments.or("seed", 1)?);
        Ok(writer)
    }

    /// Whether there is nothing to write, now or later.
    pub(crate) fn is_off(&self) -> bool {
        self.classes.is_empty()
    }

    /// Ticks that came late.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    /// Writes that were given up.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped as u64
    }

    /// Writes what became due in the time since the last tick.
    pub(crate) fn tick(&mut self, elapsed: Duration, image: &mut Image) {
        self.late += u64::from(elapsed > TICK + LATE);
        let given_up = elapsed.saturating_sub(CATCH_UP);
        self.skipped += self.advance(given_up);
        for class in &mut self.classes {
            class.due = class.due.fract();
        }
        self.advance(elapsed - given_up);
        for class in &mut self.classes {
            while class.due >= 1.0 {
                class.due -= 1.0;
                image.write(class.next(&mut self.random));
            }
        }
    }

    /// Lets time pass: adds what becomes due and returns how much that was.
    fn advance(&mut self, elapsed: Duration) -> f64 {
        let mut due = 0.0;
        let mut left = elapsed;
        while !left.is_zero() {
            let span = self.enter_phase().map_or(left, |rest| rest.min(left));
            for class in &mut self.classes {
                let writes = class.rate * span.as_secs_f64();
                class.due += writes;
                due += writes;
            }
            self.age += span;
            left -= span;
        }
        due
    }

    /// Sets the class of a trace to the phase of this instant; returns what is
    /// left of the phase if another follows.
    fn enter_phase(&mut self) -> Option<Duration> {
        let next = self.phases.partition_point(|phase| phase.start <= self.age);
        let now = next.checked_sub(1).map(|index| self.phases[index]);
        if !self.phases.is_empty() {
            self.classes[0].rate = now.map_or(0.0, |phase| phase.rate);
            self.classes[0].pages = now.map_or(1, |phase| phase.pages);
        }
        self.phases.get(next).map(|phase| phase.start - self.age)
    }
}

impl Class {
    fn new(first: usize, pages: usize, rate: f64, order: Order) -> Result<Self, String> {
        if !rate.is_finite() || rate < 0.0 {
            return Err("a rate is a number of pages a second, not negative".to_string());
        }
        Ok(Self {
            first,
            pages,
            rate: if pages == 0 { 0.0 } else { rate },
            order,
            cursor: 0,
            due: 0.0,
        })
    }

    /// The page of the next write.
    fn next(&mut self, random: &mut u64) -> usize {
        let offset = match &self.order {
            Order::Sequential => {
                let now = if self.cursor < self.pages {
                    self.cursor
                } else {
                    0
                };
                self.cursor = now + 1;
                now
            }
            Order::Random => {
                let draw = u128::from(draw(random)) * self.pages as u128;
                usize::try_from(draw >> 64).expect("below the number of pages")
            }
            Order::Zipf(cumulated) => {
                let draw = draw(random);
                let rank = cumulated.partition_point(|edge| *edge <= draw);
                rank.min(self.pages - 1)
            }
        };
        self.first + offset
    }
}

/// `SplitMix64`.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

fn order(arguments: &Arguments, default: Order) -> Result<Order, String> {
    match arguments.text("pattern") {
        None => Ok(default),
        Some("sequential") => Ok(Order::Sequential),
        Some("random" | "uniform") => Ok(Order::Random),
        Some(other) => Err(format!("pattern={other} is neither sequential nor random")),
    }
}

fn constant(arguments: &Arguments) -> Result<Writer, String> {
    arguments.only(&["rate", "set", "pattern", "seed"])?;
    let order = order(arguments, Order::Sequential)?;
    let (set, rate) = (arguments.required("set")?, arguments.required("rate")?);
    Ok(Writer {
        classes: vec![Class::new(0, set, rate, order)?],
        ..Writer::default()
    })
}

fn hot_cold(arguments: &Arguments) -> Result<Writer, String> {
    arguments.only(&["hot", "hot_rate", "cold", "cold_rate", "pattern", "seed"])?;
    let order = order(arguments, Order::Random)?;
    let (hot, cold) = (arguments.required("hot")?, arguments.required("cold")?);
    let hot_rate = arguments.required("hot_rate")?;
    let cold_rate = arguments.or("cold_rate", 0.0)?;
    Ok(Writer {
        classes: vec![
            Class::new(0, hot, hot_rate, order.clone())?,
            Class::new(hot, cold, cold_rate, order)?,
        ],
        ..Writer::default()
    })
}

fn zipf(arguments: &Arguments, nonzero: usize) -> Result<Writer, String> {
    arguments.only(&["rate", "set", "skew", "seed"])?;
    let (set, skew) = (
        arguments.required("set")?,
        arguments.required::<f64>("skew")?,
    );
    if set > nonzero {
        return Err(format!(
            "set={set} is more than the {nonzero} pages with content"
        ));
    }
    let order = Order::Zipf(cumulated_zipf(set, skew));
    Ok(Writer {
        classes: vec![Class::new(0, set, arguments.required("rate")?, order)?],
        ..Writer::default()
    })
}

/// Cumulated probabilities of the ranks 1..=n, proportional to rank^-skew.
fn cumulated_zipf(pages: usize, skew: f64) -> Vec<u64> {
    let weight = |rank: usize| (rank as f64).powf(-skew);
    let total: f64 = (1..=pages).map(weight).sum();
    let mut sum = 0.0;
    let edge = |rank| {
        sum += weight(rank);
        (sum / total * u64::MAX as f64) as u64
    };
    (1..=pages).map(edge).collect()
}

fn trace(arguments: &Arguments, words: &[&str]) -> Result<Writer, String> {
    arguments.only(&["pattern", "seed"])?;
    let phases = words.iter().map(|word| phase(word));
    let phases = phases.collect::<Result<Vec<_>, _>>()?;
    if phases.is_empty() || !phases.is_sorted_by(|a, b| a.start < b.start) {
        return Err("a trace needs phases in the order of their starts".to_string());
    }
    let largest = phases.iter().map(|phase| phase.pages).max().unwrap_or(0);
    let order = order(arguments, Order::Random)?;
    Ok(Writer {
        classes: vec![Class::new(0, largest, 0.0, order)?],
        phases,
        ..Writer::default()
    })
}

/// `start_ms:rate:set`.
fn phase(word: &str) -> Result<Phase, String> {
    let wrong = || format!("{word} is not start_ms:pages_a_second:set");
    let mut parts = word.split(':');
    let (Some(start), Some(rate), Some(set), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let pages: usize = set.parse().map_err(|_| wrong())?;
    let rate: f64 = rate.parse().map_err(|_| wrong())?;
    if !rate.is_finite() || rate < 0.0 || (pages == 0 && rate > 0.0) {
        return Err(wrong());
    }
    Ok(Phase {
        start: Duration::from_millis(start.parse().map_err(|_| wrong())?),
        rate,
        pages: pages.max(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Content;

    const PAGES: usize = 1000;
    /// Finer than [`TICK`]: what is written does not depend on it.
    const STEP: Duration = Duration::from_millis(5);

    fn image() -> Image {
        let mut image = Image::zero(PAGES).expect("memory");
        image.fill(Content {
            nonzero: PAGES,
            seed: 1,
            random: 0.0,
            change: 0.0,
        });
        image
    }

    fn writer(command: &str) -> Result<Writer, String> {
        Writer::parse(&Arguments::new(command.split(' ')), PAGES)
    }

    /// Runs for a number of steps; returns how often each page was written.
    fn run(command: &str, steps: u32) -> Vec<u32> {
        let (mut writer, mut image) = (writer(command).expect("a model"), image());
        for _ in 0..steps {
            writer.tick(STEP, &mut image);
        }
        image.generations().to_vec()
    }

    fn total(writes: &[u32]) -> u32 {
        writes.iter().sum()
    }

    fn dirty(writes: &[u32]) -> usize {
        writes.iter().filter(|count| **count > 0).count()
    }

    // 333 pages a second over 3 s in steps of 5 ms: 1.665 pages a step.
    #[test]
    fn remainders_are_carried_on() {
        let writes = run("constant rate=333 set=1000", 600);
        assert!((998..=999).contains(&total(&writes)), "{}", total(&writes));
    }

    #[test]
    fn sequential_writes_hit_no_page_twice_before_every_page_once() {
        let writes = run("constant rate=200 set=400 pattern=sequential", 600);
        assert_eq!((total(&writes), dirty(&writes)), (600, 400));
        assert_eq!(writes.iter().max(), Some(&2));
    }

    // 1000 random writes into 1000 pages hit 1000 * (1 - 1/e) = 632 of them; the
    // variance of the occupancy law, n (e - 2) / e^2 = 97, makes 50 five deviations.
    #[test]
    fn random_writes_follow_the_occupancy_law() {
        let writes = run("constant rate=1000 set=1000 pattern=random seed=3", 200);
        assert_eq!(total(&writes), 1000);
        assert!(dirty(&writes).abs_diff(632) < 50, "{}", dirty(&writes));
    }

    #[test]
    fn hot_pages_come_first_and_cold_pages_after_them() {
        let writes = run("hotcold hot=10 hot_rate=1000 cold=90 cold_rate=200", 200);
        assert_eq!(total(&writes[..10]), 1000);
        assert_eq!(total(&writes[10..100]), 200);
        assert_eq!(total(&writes[100..]), 0);
    }

    // Over 10 pages with skew 1 the first page gets 1 / H_10 = 0.341 of all writes:
    // 3414 of 10000 with a deviation of 47.
    #[test]
    fn the_first_page_gets_its_share_of_zipf_writes() {
        let writes = run("zipf rate=10000 set=10 skew=1", 200);
        assert_eq!(total(&writes), 10_000);
        assert!(writes[0].abs_diff(3414) < 240, "{}", writes[0]);
        assert!(writes[9].abs_diff(341) < 100, "{}", writes[9]);
    }

    // 100 ms at 100 pages a second over 5 pages, then 100 ms at 1000 over 50.
    #[test]
    fn a_trace_uses_the_rate_and_set_of_each_phase() {
        let writes = run("trace pattern=sequential 0:100:5 100:1000:50", 40);
        assert_eq!((total(&writes), dirty(&writes)), (110, 50));
        let early = run("trace 1000:100:5", 100);
        assert_eq!(total(&early), 0);
    }

    #[test]
    fn a_phase_that_begins_between_ticks_counts_from_its_start() {
        let mut writer = writer("trace 0:0:5 7:1000:5").expect("a model");
        let mut image = image();
        writer.tick(Duration::from_millis(10), &mut image);
        assert_eq!(image.writes(), 3);
    }

    #[test]
    fn a_long_pause_is_caught_up_for_a_second_and_the_rest_is_counted() {
        let (mut writer, mut image) = (writer("constant rate=100 set=10").unwrap(), image());
        writer.tick(Duration::from_secs(5), &mut image);
        assert_eq!(image.writes(), 100);
        assert_eq!((writer.skipped(), writer.late()), (400, 1));
    }

    #[test]
    fn a_command_that_cannot_be_obeyed_says_why() {
        for (command, words) in [
            ("constant rate=1 set=1001", "does not fit"),
            ("constant rate=-1 set=1", "not negative"),
            ("constant set=1", "rate= is missing"),
            ("constant rate=1 set=1 skew=1", "skew= is unknown"),
            ("trace 5:1:1 0:1:1", "order"),
            ("trace 5:1", "start_ms"),
            ("fast", "unknown"),
        ] {
            let error = writer(command).expect_err(command);
            assert!(error.contains(words), "{command}: {error}");
        }
    }
}
