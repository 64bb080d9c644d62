//! What a page costs on QEMU's wire: plain, all zero, XBZRLE, multifd, post-copy.
//!
//! Models the stream of QEMU 7.2:
//!
//! - a page is 8 bytes of flags and offset and 4 KiB (`ram.c: save_page_header`);
//!   an all-zero page is the 8 bytes and one more;
//! - XBZRLE (`ram.c: save_xbzrle_page`, `xbzrle.c`): after the first pass a page
//!   is looked up in a cache. A page that is not there goes plain and is put
//!   there; one that is there goes as 8 + 3 bytes and its encoding: the length
//!   of the unchanged run, of the changed run (`uleb128`, 1 or 2 bytes each) and
//!   the changed bytes. An encoding longer than the page goes plain. The cache
//!   maps a page to one place and does not give up a page that was used in the
//!   last two passes (`page_cache.c`);
//! - multifd (`multifd.h`): packets of 128 pages whose header has 320 bytes
//!   and 8 for each of the 128 places, and at the end of a pass one empty packet
//!   a channel;
//! - post-copy (`postcopy-ram.c`): ranges to forget, 16 bytes each, twelve in a
//!   message with 13 bytes of header.
//!
//! Leaves out: section headers (18 bytes each time the sender looks up, at most
//! every 50 ms), the name of the memory block before its first page, multifd's
//! empty packets between the ends of passes (0.4 % with two channels at
//! 100 Mbit/s), the processor time of encoding. Every write to a page changes the
//! same run of bytes. Written pages lie side by side, so that two of them share
//! a place in the cache only where they are more than the cache holds.
//!
//! Who would notice: users of XBZRLE at rates at which encoding binds.

use crate::dirty::{PAGE, Pages};
use crate::units::Bytes;

/// A page's header on the wire (QEMU: flags and offset; Xen: its frame number).
pub const PAGE_HEADER: f64 = 8.0;
/// QEMU sends a zero page as a header and one byte.
pub const ZERO_PAGE: f64 = 9.0;
/// `ENCODING_FLAG_XBZRLE` and the length of the encoding.
const XBZRLE_HEADER: f64 = 3.0;
/// Pages of a multifd packet: `MULTIFD_PACKET_SIZE` of 512 KiB.
const PACKET_PAGES: f64 = 128.0;
/// `MultiFDPacket_t` with its 128 offsets.
const PACKET_HEADER: f64 = 320.0 + 8.0 * PACKET_PAGES;
/// A range of pages to forget, and its share of a message.
const DISCARD: f64 = 16.0 + 13.0 / 12.0;

/// Bytes of a plain page, over several channels or one.
pub fn page(multifd: bool) -> f64 {
    let header = if multifd {
        PACKET_HEADER / PACKET_PAGES
    } else {
        PAGE_HEADER
    };
    PAGE as f64 + header
}

/// Bytes that end a pass over this many channels.
pub fn end_of_pass(channels: u32) -> f64 {
    f64::from(channels) * PACKET_HEADER
}

/// Mean bytes of a page when this share of pages is all zero.
pub fn mean_page(zero: f64, plain: f64) -> f64 {
    zero * ZERO_PAGE + (1.0 - zero) * plain
}

/// Bytes of the message that has the target forget so many ranges of pages.
pub fn discard(ranges: f64) -> f64 {
    ranges.ceil() * DISCARD
}

/// Bytes of a page of which a run of this length has changed; `None` where the
/// page goes plain.
pub fn encoded(change: Bytes) -> Option<f64> {
    let length = |run: u64| if run < 128 { 1.0 } else { 2.0 };
    // The unchanged run in front has 128 bytes or more in 31 of 32 pages.
    let encoding = length(PAGE) + length(change.get()) + change.as_f64();
    (encoding <= PAGE as f64).then_some(PAGE_HEADER + XBZRLE_HEADER + encoding)
}

/// XBZRLE's cache: expected numbers of cached pages, per class of pages.
#[derive(Clone, Debug)]
pub struct Cache {
    capacity: Pages,
    cached: Vec<Pages>,
}

impl Cache {
    /// An empty cache of this size.
    pub fn new(size: Bytes) -> Self {
        Self {
            capacity: (size.get() / PAGE) as f64,
            cached: Vec::new(),
        }
    }

    /// Looks up `dirty` pages of classes that have `pages` each: the share that
    /// is found. The others are put into the cache as far as there is room.
    pub fn look_up(&mut self, dirty: &[Pages], pages: &[Pages]) -> f64 {
        self.cached.resize(dirty.len(), 0.0);
        let mut found = 0.0;
        let mut missed = Vec::with_capacity(dirty.len());
        for ((&dirty, &pages), &cached) in dirty.iter().zip(pages).zip(&self.cached) {
            let share = if pages > 0.0 {
                (cached / pages).min(1.0)
            } else {
                0.0
            };
            found += dirty * share;
            missed.push(dirty * (1.0 - share));
        }
        let all: Pages = missed.iter().sum();
        let room = self.capacity - self.cached.iter().sum::<Pages>();
        let taken = if all > 0.0 {
            (room / all).clamp(0.0, 1.0)
        } else {
            0.0
        };
        for (cached, missed) in self.cached.iter_mut().zip(missed) {
            *cached += missed * taken;
        }
        let dirty: Pages = dirty.iter().sum();
        if dirty > 0.0 { found / dirty } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // 8 + 3 + (2 + 1 + 8) = 22; 200 bytes: 8 + 3 + (2 + 2 + 200) = 215. 4092
    // bytes make an encoding of 4096, the last that QEMU takes.
    #[test]
    fn a_changed_word_costs_22_bytes_and_a_changed_page_goes_plain() {
        assert_eq!(encoded(Bytes::new(8)), Some(22.0));
        assert_eq!(encoded(Bytes::new(200)), Some(215.0));
        assert_eq!(encoded(Bytes::new(4092)), Some(4107.0));
        assert_eq!(encoded(Bytes::new(4093)), None);
    }

    // 320 + 1024 = 1344 bytes for 128 pages are 10.5 a page.
    #[test]
    fn multifd_costs_ten_and_a_half_bytes_a_page() {
        assert_eq!(page(true), 4106.5);
        assert_eq!(page(false), 4104.0);
        assert_eq!(end_of_pass(2), 2688.0);
    }

    // A set of 100 pages, all dirty each time: nothing is found the first time
    // and all from then on; of 400 pages in a cache of 100, a quarter.
    #[test]
    fn the_cache_finds_what_it_had_room_for() {
        let mut cache = Cache::new(Bytes::new(100 * PAGE));
        assert_eq!(cache.look_up(&[100.0], &[100.0]), 0.0);
        assert_eq!(cache.look_up(&[100.0], &[100.0]), 1.0);
        let mut cache = Cache::new(Bytes::new(100 * PAGE));
        assert_eq!(cache.look_up(&[400.0], &[400.0]), 0.0);
        assert_eq!(cache.look_up(&[400.0], &[400.0]), 0.25);
        assert_eq!(cache.look_up(&[40.0], &[400.0]), 0.25);
    }
}
