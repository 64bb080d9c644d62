//! Which memory pages a guest dirties.
//!
//! Models writes as classes of pages that are written at one rate each. A class
//! is written round and round (no page twice before every page once: `n`
//! writes dirty `min(n, pages)`) or at random (`n` writes dirty
//! `pages * (1 - exp(-n / pages))`, the occupancy law). Zipf's law is cut into
//! classes of pages with nearly the same popularity. Everything is an expected
//! value: migration sees numbers of pages, not their addresses.
//!
//! Leaves out: which pages lie next to each other, and the guest's slowing down
//! while its pages are write-protected. Sources: the hot and cold sets of
//! Clark et al. (NSDI 2005) and mVM (`hotDirtySize`, `coldDirtyRate`), the
//! dirty-rate curve of QEMU's `predict_migration.py`.
//!
//! Who would notice: transports that compress runs of neighbouring pages.

use crate::scenario::{Background, Dirty, DirtyPhase, Pattern};
use crate::units::Bytes;
use sim_core::SimTime;

/// Bytes of a memory page.
pub const PAGE: u64 = 4096;
/// Classes Zipf's law is cut into: steps of about 20 % in rank at 10^6 pages.
const ZIPF_CLASSES: u32 = 64;

/// Number of pages in a class, as an expected value.
pub type Pages = f64;

/// The dirty-page model of one guest.
#[derive(Clone, Debug)]
pub struct DirtyModel {
    classes: Vec<Class>,
    phases: Vec<DirtyPhase>,
    pattern: Pattern,
    /// The class that the guest's system writes.
    background: Option<usize>,
    rest: Pages,
}

#[derive(Clone, Copy, Debug)]
struct Class {
    pages: Pages,
    writes_per_second: f64,
}

impl DirtyModel {
    /// The model of a guest with this much memory.
    pub fn new(dirty: &Dirty, memory: Bytes) -> Self {
        let mut phases = Vec::new();
        let (classes, pattern) = match dirty {
            Dirty::Idle => (Vec::new(), Pattern::Random),
            Dirty::Constant {
                rate,
                working_set,
                pattern,
            } => (vec![class(*working_set, rate.as_f64())], *pattern),
            Dirty::HotCold {
                hot,
                hot_rate,
                cold,
                cold_rate,
                pattern,
            } => {
                let hot = class(*hot, hot_rate.as_f64());
                (vec![hot, class(*cold, cold_rate.as_f64())], *pattern)
            }
            Dirty::Zipf {
                rate,
                skew,
                working_set,
            } => (
                zipf(pages(*working_set), rate.as_f64() / PAGE as f64, *skew),
                Pattern::Random,
            ),
            Dirty::Trace {
                phases: trace,
                pattern,
            } => {
                phases.clone_from(trace);
                let largest = trace.iter().map(|phase| phase.working_set).max();
                (vec![class(largest.unwrap_or_default(), 0.0)], *pattern)
            }
        };
        let written: Pages = classes.iter().map(|class| class.pages).sum();
        Self {
            classes,
            phases,
            pattern,
            background: None,
            rest: (pages(memory) - written).max(0.0),
        }
    }

    /// Adds a class that the guest's own system writes at random, all the time.
    pub fn with_background(mut self, background: Background) -> Self {
        self.background = Some(self.classes.len());
        let class = class(background.working_set, background.rate.as_f64());
        self.rest = (self.rest - class.pages).max(0.0);
        self.classes.push(class);
        self
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Pages of a class that may be written between two instants.
    pub fn pages_of(&self, class: usize, from: SimTime, to: SimTime) -> Pages {
        self.writes(class, from, to).1
    }

    /// How many ranges of neighbours so many dirty pages are expected to form.
    pub fn ranges(&self, dirty: Pages) -> f64 {
        let pages: Pages = self.rest + self.classes.iter().map(|class| class.pages).sum::<Pages>();
        match self.pattern {
            Pattern::Sequential => dirty.min(self.classes.len() as f64),
            // A range begins where a dirty page follows a clean one.
            Pattern::Random => dirty * (1.0 - dirty / pages.max(1.0)).max(0.0),
        }
    }

    /// Pages that are never written.
    pub fn rest(&self) -> Pages {
        self.rest
    }

    /// Expected number of pages of `class` that are dirty at `to` when all were
    /// clean at `from`. `speed` scales the guest: 0.8 writes at 80 %.
    pub fn dirtied(&self, class: usize, from: SimTime, to: SimTime, speed: f64) -> Pages {
        let (writes, pages) = self.writes(class, from, to);
        saturate(writes * speed, pages, self.pattern_of(class))
    }

    /// Pages of a class of this size that are in one of two sets: two that were
    /// written in turn have nothing in common before the class is full.
    pub fn union(&self, class: usize, a: Pages, b: Pages, size: Pages) -> Pages {
        let common = match self.pattern_of(class) {
            Pattern::Random if size > 0.0 => a * b / size,
            _ => 0.0,
        };
        (a + b - common).min(size.max(a))
    }

    fn pattern_of(&self, class: usize) -> Pattern {
        if self.background == Some(class) {
            Pattern::Random
        } else {
            self.pattern
        }
    }

    /// Expected share of a class that is dirty when its turn comes, averaged
    /// over a scan of memory from `from` to `to` that starts clean.
    pub fn dirtied_during_scan(&self, class: usize, from: SimTime, to: SimTime, speed: f64) -> f64 {
        let (writes, pages) = self.writes(class, from, to);
        let load = writes * speed / pages;
        if pages == 0.0 || load == 0.0 {
            return 0.0;
        }
        match self.pattern_of(class) {
            Pattern::Sequential if load <= 1.0 => load / 2.0,
            Pattern::Sequential => 1.0 - 0.5 / load,
            Pattern::Random => 1.0 + libm::expm1(-load) / load,
        }
    }

    /// Writes to a class between two instants, and the pages they go to.
    fn writes(&self, class: usize, from: SimTime, to: SimTime) -> (f64, Pages) {
        let of_trace = self.background != Some(class) && !self.phases.is_empty();
        let class = self.classes[class];
        if !of_trace {
            return (
                class.writes_per_second * (to - from).as_secs_f64(),
                class.pages,
            );
        }
        let mut writes = 0.0;
        let mut largest: Pages = 0.0;
        for (index, phase) in self.phases.iter().enumerate() {
            let end = self
                .phases
                .get(index + 1)
                .map_or(SimTime::MAX, |next| next.start);
            let (start, end) = (phase.start.max(from), end.min(to));
            if start < end {
                writes += phase.rate.as_f64() / PAGE as f64 * (end - start).as_secs_f64();
                largest = largest.max(pages(phase.working_set));
            }
        }
        (writes, largest)
    }
}

/// Expected number of distinct pages hit by `writes`.
fn saturate(writes: f64, pages: Pages, pattern: Pattern) -> Pages {
    if pages == 0.0 {
        return 0.0;
    }
    match pattern {
        Pattern::Sequential => writes.min(pages),
        Pattern::Random => -pages * libm::expm1(-writes / pages),
    }
}

/// Pages that hold `size` bytes.
pub fn pages(size: Bytes) -> Pages {
    size.get().div_ceil(PAGE) as f64
}

fn class(size: Bytes, bytes_per_second: f64) -> Class {
    let pages = pages(size);
    let writes_per_second = if pages > 0.0 {
        bytes_per_second / PAGE as f64
    } else {
        0.0
    };
    Class {
        pages,
        writes_per_second,
    }
}

/// Pages of ranks 1..=n written with probability proportional to rank^-skew,
/// cut at ranks that grow geometrically.
fn zipf(total: Pages, writes_per_second: f64, skew: f64) -> Vec<Class> {
    if total < 1.0 {
        return Vec::new();
    }
    let step = libm::pow(total + 1.0, 1.0 / f64::from(ZIPF_CLASSES));
    let mut classes = Vec::new();
    let (mut from, mut edge) = (1.0, 1.0);
    while from <= total {
        edge *= step;
        let to = f64::max(edge.round(), from + 1.0).min(total + 1.0);
        classes.push((to - from, zipf_mass(from, to, skew)));
        from = to;
    }
    let mass: f64 = classes.iter().map(|(_, mass)| mass).sum();
    let share = |(pages, part)| Class {
        pages,
        writes_per_second: writes_per_second * part / mass,
    };
    classes.into_iter().map(share).collect()
}

/// Sum of rank^-skew over from..to, by the midpoint rule for sums.
fn zipf_mass(from: f64, to: f64, skew: f64) -> f64 {
    let (low, high) = (from - 0.5, to - 0.5);
    if (skew - 1.0).abs() < 1e-9 {
        return libm::log(high / low);
    }
    (libm::pow(high, 1.0 - skew) - libm::pow(low, 1.0 - skew)) / (1.0 - skew)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteRate;
    use sim_core::SimDuration;

    const GIB: u64 = 1 << 30;

    fn at(seconds: f64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs_f64(seconds)
    }

    fn constant(pattern: Pattern) -> DirtyModel {
        let dirty = Dirty::Constant {
            rate: ByteRate::from_bytes_per_second(PAGE * 1000),
            working_set: Bytes::new(PAGE * 2000),
            pattern,
        };
        DirtyModel::new(&dirty, Bytes::new(GIB))
    }

    #[test]
    fn sequential_writes_dirty_a_new_page_each_until_the_set_is_full() {
        let model = constant(Pattern::Sequential);
        assert_eq!(model.dirtied(0, at(1.0), at(2.5), 1.0), 1500.0);
        assert_eq!(model.dirtied(0, at(1.0), at(9.0), 1.0), 2000.0);
        assert_eq!(model.dirtied(0, at(1.0), at(2.0), 0.25), 250.0);
        assert_eq!(model.rest(), (GIB / PAGE - 2000) as f64);
    }

    // 2000 random writes into 2000 pages leave 1/e of them clean.
    #[test]
    fn random_writes_follow_the_occupancy_law() {
        let dirty = constant(Pattern::Random).dirtied(0, at(0.0), at(2.0), 1.0);
        assert!((dirty - 2000.0 * (1.0 - (-1.0_f64).exp_m1() - 1.0).abs()).abs() < 2000.0);
        assert!((dirty - 1264.241).abs() < 0.001, "{dirty}");
    }

    // The idle guest of the Xen log: 308 pages, 1536 writes a second, 7.826 s:
    // 1 - (1 - e^-a)/a with a = 39.0 is 0.974.
    #[test]
    fn a_slow_scan_finds_most_of_a_hot_set_dirty() {
        let share = constant(Pattern::Random).dirtied_during_scan(0, at(0.0), at(78.0), 1.0);
        assert!((share - (1.0 - 1.0 / 39.0)).abs() < 1e-9, "{share}");
    }

    #[test]
    fn zipf_classes_hold_every_page_once_and_all_writes() {
        for skew in [0.0, 0.7, 1.0, 1.3] {
            let classes = zipf(262_144.0, 5000.0, skew);
            let pages: f64 = classes.iter().map(|class| class.pages).sum();
            let writes: f64 = classes.iter().map(|class| class.writes_per_second).sum();
            assert_eq!(pages, 262_144.0);
            assert!((writes - 5000.0).abs() < 1e-6);
        }
    }

    // Over 10 pages with skew 1 the first page gets 1 / H_10 = 1 / 2.928968.
    #[test]
    fn the_first_page_gets_its_share_of_zipf_writes() {
        let classes = zipf(10.0, 1.0, 1.0);
        assert!((classes[0].writes_per_second - 1.0 / 2.928968).abs() < 0.03);
    }

    #[test]
    fn a_trace_uses_the_rate_of_each_phase() {
        let phase = |start, pages: u64| DirtyPhase {
            start: at(start),
            rate: ByteRate::from_bytes_per_second(PAGE * pages),
            working_set: Bytes::new(GIB),
        };
        let dirty = Dirty::Trace {
            phases: vec![phase(0.0, 100), phase(10.0, 1000)],
            pattern: Pattern::Sequential,
        };
        let model = DirtyModel::new(&dirty, Bytes::new(GIB));
        assert_eq!(model.dirtied(0, at(8.0), at(11.0), 1.0), 200.0 + 1000.0);
    }

    // After so long that all of both sets is written: 2000 pages of work, 100 of the system.
    #[test]
    fn the_background_is_a_class_of_its_own() {
        let background = Background {
            rate: ByteRate::from_bytes_per_second(PAGE * 50),
            working_set: Bytes::new(PAGE * 100),
        };
        let model = constant(Pattern::Sequential).with_background(background);
        assert_eq!(model.rest(), (GIB / PAGE - 2100) as f64);
        let dirtied = |class| model.dirtied(class, at(0.0), at(100.0), 1.0);
        assert_eq!(dirtied(0), 2000.0);
        assert!((dirtied(1) - 100.0).abs() < 1e-9);
        // 50 writes to 100 pages: 100 (1 - exp(-0.5)).
        assert!((model.dirtied(1, at(0.0), at(1.0), 1.0) - 39.346934).abs() < 1e-5);
    }
}
