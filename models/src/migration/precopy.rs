//! The rounds of pre-copy.
//!
//! Models what each program sends in a round, in expected numbers of pages per
//! class of the dirty-page model:
//!
//! - Xen sends the pages of the last bitmap but those that were dirtied again
//!   before the scan reached them (`to_skip`), and reads the bitmap at the end
//!   of the round; version 4.6 skips none.
//! - QEMU sends until what is left fits the downtime limit, then reads the
//!   bitmap; pages that are still left and dirty again count once. Zero pages
//!   cost a header and the scan. Between two readings at least 50 ms pass
//!   (`MAX_WAIT` in `ram.c`). What XBZRLE and multifd make of pages is in
//!   [`super::wire`]. Post-copy ends the rounds at the first reading.
//! - SimGrid sends whole rounds, waits for each to arrive, and counts in whole
//!   bytes.
//!
//! Leaves out: the cost of reading the bitmap, pages that are freed, QEMU's
//! clearing of the bitmap in chunks of 1 GiB, that QEMU's bandwidth is that of
//! the last 100 ms. A socket takes bytes in bursts of a third of its buffer; where
//! in such a cycle QEMU looks is taken at its mean.
//! The source learns of the target's success half a round trip later
//! (`return-path`): that lengthens neither downtime nor total time, which end
//! when the guest runs.
//!
//! Who would notice: users with hundreds of GiB of memory, where a reading of
//! the bitmap takes longer than a round.

use sim_core::{SimDuration, SimTime};

use crate::dirty::{DirtyModel, PAGE};
use crate::migration::stop_rule::{Throttle, qemu_stops, xen40_stops, xen46_stops};
use crate::migration::wire::{self, Cache, PAGE_HEADER};
use crate::network::Goal;
use crate::record::Measure;
use crate::scenario::{Host, Qemu, StopRule, Vm};
use crate::units::ByteRate;

/// Bisections of the number of skipped pages: to a millionth of the round.
const SKIP_STEPS: u32 = 20;
/// QEMU sends at least this long between two readings of the dirty bitmap.
const QEMU_MAX_WAIT: SimDuration = SimDuration::from_millis(50);

/// Pre-copy under way.
#[derive(Debug)]
pub struct PreCopy {
    rule: StopRule,
    model: DirtyModel,
    /// Pages of the guest.
    pages: f64,
    zero: f64,
    zero_scan: ByteRate,
    /// Reading of the dirty bitmap.
    sync: SimDuration,
    /// Scale of the guest's writes.
    speed: f64,
    throttle: Option<Throttle>,
    /// Rounds begun.
    round: u32,
    round_start: SimTime,
    /// Since when the bitmap that is being filled collects.
    clean_since: SimTime,
    /// How long this round lasts where the next look is the last in the mean.
    look: Option<SimDuration>,
    /// Pages this round was to send, and of those skipped and sent.
    dirty: f64,
    skipped: f64,
    sent: f64,
    bytes: f64,
    total_sent: f64,
    total_skipped: f64,
    /// Zero pages sent as a header and a byte.
    duplicates: f64,
    total_bytes: f64,
    /// Of the pages that wait, the share of each class.
    shares: Vec<f64>,
    /// What the last reading left to send: pages, with SimGrid bytes.
    remaining: f64,
    /// Bytes of a plain page, and the mean of those that are being sent.
    plain: f64,
    page: f64,
    xbzrle: Option<Xbzrle>,
    /// Channels of multifd.
    channels: u32,
    /// Whether post-copy follows, and the pages that are left to it.
    post_copy: bool,
    postponed: Option<f64>,
}

/// XBZRLE's cache, and the bytes of a page that is in it.
#[derive(Debug)]
struct Xbzrle {
    cache: Cache,
    encoded: Option<f64>,
}

/// What the migration sees of its connection.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Current rate, payload bytes a second.
    pub rate: f64,
    /// Payload that the program has not written to its socket yet.
    pub left: f64,
    /// From one look around to the next.
    pub cycle: SimDuration,
}

/// What comes after a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Send these bytes.
    Send(f64, Goal),
    /// Stop the guest.
    Suspend,
    /// Stop the guest; post-copy sends what is not written yet.
    SwitchOver,
}

impl PreCopy {
    /// Pre-copy of a guest whose writes are scaled by `speed`.
    pub fn new(
        rule: &StopRule,
        model: DirtyModel,
        vm: &Vm,
        host: &Host,
        speed: f64,
        post_copy: bool,
    ) -> Self {
        let qemu = match rule {
            StopRule::Qemu(qemu) => Some(qemu),
            _ => None,
        };
        let channels = qemu.and_then(|qemu| qemu.multifd);
        let plain = wire::page(channels.is_some());
        let xbzrle = qemu.and_then(|qemu| qemu.xbzrle).map(|size| Xbzrle {
            cache: Cache::new(size),
            encoded: wire::encoded(vm.dirty_change),
        });
        Self {
            rule: rule.clone(),
            model,
            pages: vm.memory.as_f64() / PAGE as f64,
            zero: qemu.map_or(0.0, |_| vm.zero),
            zero_scan: host.zero_scan,
            sync: host.bitmap_sync,
            speed,
            throttle: None,
            round: 0,
            round_start: SimTime::ZERO,
            clean_since: SimTime::ZERO,
            look: None,
            dirty: 0.0,
            skipped: 0.0,
            sent: 0.0,
            bytes: 0.0,
            total_sent: 0.0,
            total_skipped: 0.0,
            duplicates: 0.0,
            total_bytes: 0.0,
            shares: Vec::new(),
            remaining: 0.0,
            plain,
            page: plain,
            xbzrle,
            channels: channels.unwrap_or(0),
            post_copy,
            postponed: None,
        }
    }

    /// All of memory.
    pub fn first_round(&mut self, now: SimTime, sight: Sight) -> (f64, Goal) {
        self.clean_since = now;
        if let StopRule::Qemu(Qemu {
            auto_converge: Some(parameters),
            ..
        }) = self.rule
        {
            self.throttle = Some(Throttle::new(parameters, now));
        }
        let skip = match self.rule {
            StopRule::Xen40 => self.skip(now, self.pages, sight.rate, None),
            _ => 0.0,
        };
        self.begin_round(now, self.pages, skip, self.zero)
    }

    /// The round was sent and its end was waited for.
    pub fn next_round(&mut self, now: SimTime, sight: Sight) -> Step {
        match self.rule {
            StopRule::Xen40 => {
                if xen40_stops(
                    self.round,
                    self.sent,
                    self.skipped,
                    self.total_sent,
                    self.pages,
                ) {
                    return Step::Suspend;
                }
                let (dirty, per_class) = self.read_bitmap(now);
                let skip = self.skip(now, dirty, sight.rate, Some(&per_class));
                self.send(now, dirty, skip)
            }
            StopRule::Xen46 => {
                if xen46_stops(self.round, self.dirty) {
                    return Step::Suspend;
                }
                let (dirty, _) = self.read_bitmap(now);
                if dirty == 0.0 {
                    Step::Suspend
                } else {
                    self.send(now, dirty, 0.0)
                }
            }
            StopRule::Simgrid { max_downtime } => self.simgrid_round(now, max_downtime),
            StopRule::Qemu(ref qemu) => {
                let limit = qemu.downtime_limit;
                self.qemu_round(now, sight, limit)
            }
        }
    }

    /// Bytes of memory, or of what stands for it, to send while the guest is stopped.
    pub fn last_round(&mut self, now: SimTime, suspend_pages: f64) -> f64 {
        self.round += 1;
        if matches!(self.rule, StopRule::Simgrid { .. }) {
            self.total_sent += self.remaining / PAGE as f64;
            return self.remaining;
        }
        let (dirty, _) = self.read_bitmap(now);
        let pages = (dirty + suspend_pages).min(self.pages);
        if let Some(postponed) = self.postponed {
            let postponed = self.merge(pages, postponed);
            self.postponed = Some(postponed);
            return wire::discard(self.model.ranges(postponed));
        }
        let new = self.merge(pages, self.remaining);
        self.total_sent += new;
        new * self.page + wire::end_of_pass(self.channels)
    }

    /// Bytes of memory that were given to the network and not written to the
    /// socket: post-copy sends them.
    pub fn take_back(&mut self, bytes: f64) {
        self.total_bytes -= bytes;
        self.total_sent -= bytes / self.page;
    }

    /// Bytes of the pages that are left to post-copy.
    pub fn postponed(&self) -> f64 {
        self.postponed.unwrap_or(0.0) * self.plain
    }

    /// Sends the pages that are left to post-copy; their bytes.
    pub fn send_postponed(&mut self) -> f64 {
        let pages = self.postponed.unwrap_or(0.0);
        if pages > 0.0 {
            self.round += 1;
            self.total_sent += pages;
        }
        self.postponed()
    }

    /// When the round that was sent at `now`, and will have arrived at
    /// `arrival`, is over.
    pub fn round_ready(&self, now: SimTime, arrival: SimTime) -> SimTime {
        match self.rule {
            StopRule::Simgrid { .. } => arrival,
            // One thread scans and sends; while it waits for the network it scans on.
            StopRule::Qemu(_) if self.round == 1 => {
                let scanned = self.pages * self.zero * PAGE as f64 / self.zero_scan.as_f64();
                now.max(self.round_start + SimDuration::from_secs_f64(scanned)) + self.sync
            }
            // The network goes on with what its kernel holds.
            StopRule::Qemu(_) => now + self.sync,
            _ => now,
        }
    }

    /// Counts for the record.
    pub fn report(&self, add: &mut impl FnMut(Measure, f64)) {
        add(Measure::Rounds, f64::from(self.round));
        add(Measure::PagesSent, self.total_sent.round());
        add(Measure::PagesSkipped, self.total_skipped.round());
        if matches!(self.rule, StopRule::Qemu(_)) {
            add(Measure::DuplicatePages, self.duplicates.round());
        }
    }

    /// Share of vCPU time that auto-converge has taken away, where it is on.
    pub fn throttle_percent(&self) -> Option<u32> {
        self.throttle.map(|throttle| throttle.percent())
    }

    fn begin_round(&mut self, now: SimTime, dirty: f64, skip: f64, zero: f64) -> (f64, Goal) {
        self.round += 1;
        self.round_start = now;
        self.dirty = dirty;
        self.skipped = skip;
        self.sent = dirty - skip;
        let bytes = match self.rule {
            StopRule::Simgrid { .. } => (dirty * PAGE as f64).floor(),
            _ => self.sent * wire::mean_page(zero, self.page) + wire::end_of_pass(self.channels),
        };
        self.bytes = bytes;
        self.total_sent += self.sent;
        self.total_skipped += skip;
        self.duplicates += self.sent * zero;
        self.total_bytes += bytes;
        (bytes, self.goal())
    }

    fn send(&mut self, now: SimTime, dirty: f64, skip: f64) -> Step {
        let (bytes, goal) = self.begin_round(now, dirty, skip, 0.0);
        Step::Send(bytes, goal)
    }

    fn goal(&self) -> Goal {
        match &self.rule {
            StopRule::Qemu(qemu) => match self.look {
                Some(wait) => Goal::Time(wait),
                None => Goal::Lead {
                    left: qemu.downtime_limit,
                    at_least: QEMU_MAX_WAIT,
                },
            },
            _ => Goal::Drained,
        }
    }

    fn guest_speed(&self) -> f64 {
        let taken = self.throttle.map_or(0, |throttle| throttle.percent());
        self.speed * f64::from(100 - taken) / 100.0
    }

    /// Dirty pages since the last reading, all and per class, and starts anew.
    fn read_bitmap(&mut self, now: SimTime) -> (f64, Vec<f64>) {
        let speed = self.guest_speed();
        let since = self.clean_since;
        let per_class: Vec<f64> = (0..self.model.classes())
            .map(|class| self.model.dirtied(class, since, now, speed))
            .collect();
        self.clean_since = now;
        (per_class.iter().sum(), per_class)
    }

    /// Pages of `dirty` that are dirtied again before the scan reaches them
    /// when the round is sent at about `rate`. `per_class` is `None` for all of
    /// memory.
    fn skip(&self, now: SimTime, dirty: f64, rate: f64, per_class: Option<&[f64]>) -> f64 {
        if rate <= 0.0 || dirty == 0.0 || self.model.classes() == 0 {
            return 0.0;
        }
        let speed = self.guest_speed();
        let skipped_in = |span: f64| -> f64 {
            let end = now + SimDuration::from_secs_f64(span);
            (0..self.model.classes())
                .map(|class| {
                    // A trace may write to a smaller set now than it did before.
                    let written = self.model.pages_of(class, now, end);
                    let pages = per_class.map_or(written, |per| per[class].min(written));
                    pages * self.model.dirtied_during_scan(class, now, end, speed)
                })
                .sum()
        };
        // The more is skipped, the shorter the scan, and the less is skipped:
        // what is skipped lies where the two meet.
        let span = |pages: f64| pages * (PAGE as f64 + PAGE_HEADER) / rate;
        let (mut low, mut high) = (0.0, dirty);
        for _ in 0..SKIP_STEPS {
            let guess = f64::midpoint(low, high);
            if skipped_in(span(dirty - guess)) > guess {
                low = guess;
            } else {
                high = guess;
            }
        }
        low
    }

    fn qemu_round(&mut self, now: SimTime, sight: Sight, limit: SimDuration) -> Step {
        let since = self.clean_since;
        let (new, per_class) = self.read_bitmap(now);
        if let Some(throttle) = &mut self.throttle {
            throttle.on_sync(now, new * PAGE as f64, self.total_bytes - sight.left);
        }
        let waiting = sight.left / self.page;
        let pending = self.join(waiting, &per_class, (since, now));
        // What waits is in the connection already; only the rest is added.
        let added = pending - waiting;
        let page = self.mean_page(&per_class, since, now);
        let timed = self.look.take().is_some();
        let wait = self.last_look(now, sight, (pending, page), limit);
        if qemu_stops(pending * PAGE as f64, sight.rate, limit) && (timed || wait.is_none()) {
            // The last round sends what is added; nothing is dirtied any more.
            self.remaining = added;
            self.page = page;
            return Step::Suspend;
        }
        if self.post_copy {
            self.postponed = Some(pending);
            return Step::SwitchOver;
        }
        self.page = page;
        self.look = wait;
        self.send(now, added, 0.0)
    }

    /// When QEMU looks for the last time, after a reading that left so many pages of
    /// so many bytes; `None` where that is now or more than a cycle away.
    ///
    /// Looks are a cycle of the send buffer apart and nobody knows where the first one
    /// fell, so the last one finds anything between the limit and a cycle's work below
    /// it: this is when the mean of these is left.
    fn last_look(
        &self,
        now: SimTime,
        sight: Sight,
        (pending, page): (f64, f64),
        limit: SimDuration,
    ) -> Option<SimDuration> {
        let cycle = sight.cycle;
        let sent = sight.rate * cycle.as_secs_f64() / page;
        let speed = self.guest_speed();
        let dirtied: f64 = (0..self.model.classes())
            .map(|class| self.model.dirtied(class, now, now + cycle, speed))
            .sum();
        let work = sent - dirtied;
        if work <= 0.0 || sent > pending {
            return None;
        }
        let mean = sight.rate * limit.as_secs_f64() / PAGE as f64 - work / 2.0;
        let above = (pending - mean) / work;
        (0.25..=1.5).contains(&above).then(|| cycle.mul_f64(above))
    }

    /// Mean bytes of the pages of a reading.
    fn mean_page(&mut self, dirty: &[f64], since: SimTime, now: SimTime) -> f64 {
        let Some(xbzrle) = &mut self.xbzrle else {
            return self.plain;
        };
        let pages: Vec<f64> = (0..self.model.classes())
            .map(|class| self.model.pages_of(class, since, now))
            .collect();
        let found = xbzrle.cache.look_up(dirty, &pages);
        let encoded = xbzrle.encoded.unwrap_or(self.plain);
        found * encoded + (1.0 - found) * self.plain
    }

    /// Pages that wait or were dirtied, class by class: those that are written at
    /// random may be both. What waits is mixed as the last reading was.
    fn join(&mut self, waiting: f64, dirty: &[f64], (from, to): (SimTime, SimTime)) -> f64 {
        let mut pending = waiting;
        let mut joined = Vec::with_capacity(dirty.len());
        for (class, &new) in dirty.iter().enumerate() {
            let size = self.model.pages_of(class, from, to);
            let share = self.shares.get(class).copied();
            let old = waiting * share.unwrap_or(size / self.pages);
            let both = self.model.union(class, old, new, size);
            pending += both - old;
            joined.push(both);
        }
        let share = |pages: &f64| if pending > 0.0 { pages / pending } else { 0.0 };
        self.shares = joined.iter().map(share).collect();
        pending
    }

    /// Pages that are in one of two sets of these sizes, spread at random.
    fn merge(&self, a: f64, b: f64) -> f64 {
        a + b - a * b / self.pages
    }

    fn simgrid_round(&mut self, now: SimTime, max_downtime: SimDuration) -> Step {
        let span = (now - self.round_start).as_secs_f64();
        let bandwidth = self.bytes / span;
        let threshold = (bandwidth * max_downtime.as_secs_f64()).floor();
        let (dirty, _) = self.read_bitmap(now);
        self.remaining = (dirty * PAGE as f64).floor();
        if threshold < self.remaining {
            self.send(now, dirty, 0.0)
        } else {
            Step::Suspend
        }
    }
}
