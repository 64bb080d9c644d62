//! The memory image: pages whose content is a function of a seed, the page's
//! index and how often it was written, so that a copy can be checked.
//!
//! The first pages have content, the rest are zero. Of a page with content the
//! first part is a Weyl sequence folded on itself, which compressors leave as it
//! is, and the rest one repeated byte; the share decides how well the page
//! compresses. Each write replaces the same first words of its page. How often
//! each page was written is kept in a table beside the pages, and the sum of the
//! table once more beside the table: a page, or a part of the table, that is older
//! than the rest is therefore found.
//!
//! Leaves out: structure within a page such as real programs have. Who would
//! notice: compressors that look for more than repetition.

use std::io;

use crate::system::Mapping;

/// Words of a page.
pub(crate) const PAGE_WORDS: usize = 512;

/// What the image is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Content {
    /// Pages with content; the first ones.
    pub(crate) nonzero: usize,
    /// Seed of all content.
    pub(crate) seed: u64,
    /// Share of a page with content that is random.
    pub(crate) random: f64,
    /// Share of a page that a write replaces; at least one word.
    pub(crate) change: f64,
}

/// The memory image.
#[derive(Debug)]
pub(crate) struct Image {
    words: Mapping,
    generations: Vec<u32>,
    writes: u64,
    seed: u64,
    random_words: usize,
    changed_words: usize,
}

/// What a check of the image found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Pages that do not hold what they must.
    pub(crate) bad: usize,
    /// The first of them.
    pub(crate) first: Option<usize>,
    /// Writes by the table of generations.
    pub(crate) counted: u64,
    /// Writes by the running sum.
    pub(crate) writes: u64,
}

impl Verdict {
    /// Whether all is as it must be.
    pub(crate) fn is_well(&self) -> bool {
        self.bad == 0 && self.counted == self.writes
    }
}

impl Image {
    /// Takes memory and touches every page, which leaves it zero.
    pub(crate) fn zero(pages: usize) -> io::Result<Self> {
        let mut words = Mapping::new(pages * PAGE_WORDS)?;
        for page in words.chunks_exact_mut(PAGE_WORDS) {
            touch(&mut page[0]);
        }
        Ok(Self {
            words,
            generations: Vec::new(),
            writes: 0,
            seed: 0,
            random_words: 0,
            changed_words: 0,
        })
    }

    /// Gives the first pages content.
    pub(crate) fn fill(&mut self, content: Content) {
        let share =
            |share: f64, least| ((PAGE_WORDS as f64 * share) as usize).clamp(least, PAGE_WORDS);
        self.seed = content.seed;
        self.random_words = share(content.random, 1);
        self.changed_words = share(content.change, 1);
        self.generations = vec![0; content.nonzero];
        self.writes = 0;
        for index in 0..content.nonzero {
            let (seed, random) = (self.seed, self.random_words);
            let page = self.page_mut(index);
            let (start, rest) = page.split_at_mut(random);
            write_stream(start, Stream::new(seed, index, 0));
            rest.fill(filler(seed, index));
        }
    }

    /// All pages.
    pub(crate) fn pages(&self) -> usize {
        self.words.len() / PAGE_WORDS
    }

    /// Pages with content.
    pub(crate) fn nonzero(&self) -> usize {
        self.generations.len()
    }

    /// Writes since the image was filled.
    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    /// How often each page with content was written.
    #[cfg(test)]
    pub(crate) fn generations(&self) -> &[u32] {
        &self.generations
    }

    /// Writes to a page once; it must have content.
    pub(crate) fn write(&mut self, index: usize) {
        self.generations[index] += 1;
        self.writes += 1;
        let stream = Stream::new(self.seed, index, self.generations[index]);
        let changed = self.changed_words;
        write_stream(&mut self.page_mut(index)[..changed], stream);
    }

    /// Changes the last byte of a page without accounting for it.
    pub(crate) fn corrupt(&mut self, index: usize) {
        self.page_mut(index)[PAGE_WORDS - 1] ^= 1 << 56;
    }

    /// Checks every page.
    pub(crate) fn verify(&self) -> Verdict {
        let (mut bad, mut first) = (0, None);
        for (index, page) in self.words.chunks_exact(PAGE_WORDS).enumerate() {
            if !self.holds(index, page) {
                bad += 1;
                first = first.or(Some(index));
            }
        }
        Verdict {
            bad,
            first,
            counted: self.generations.iter().map(|count| u64::from(*count)).sum(),
            writes: self.writes,
        }
    }

    /// Whether a page holds what it must.
    fn holds(&self, index: usize, page: &[u64]) -> bool {
        let Some(&generation) = self.generations.get(index) else {
            return page.iter().fold(0, |all, word| all | word) == 0;
        };
        let (seed, random) = (self.seed, self.random_words);
        let changed = if generation == 0 {
            0
        } else {
            self.changed_words
        };
        let written = Stream::new(seed, index, generation);
        let original = Stream::new(seed, index, 0).skip_words(changed);
        let repeated = &page[random.max(changed)..];
        differs(&page[..changed], written) == 0
            && differs(&page[changed..random.max(changed)], original) == 0
            && repeated
                .iter()
                .fold(0, |all, word| all | (word ^ filler(seed, index)))
                == 0
    }

    fn page_mut(&mut self, index: usize) -> &mut [u64] {
        &mut self.words[index * PAGE_WORDS..][..PAGE_WORDS]
    }
}

/// Content of a page: `x ^ (x >> 32)` over a Weyl sequence `x` whose start and
/// step are mixed from the seed, the page and its generation.
#[derive(Clone, Copy, Debug)]
struct Stream {
    next: u64,
    step: u64,
}

impl Stream {
    fn new(seed: u64, index: usize, generation: u32) -> Self {
        let start = mix(seed ^ mix(index as u64 ^ (u64::from(generation) << 32)));
        Self {
            next: start,
            step: mix(start) | 1,
        }
    }

    fn skip_words(self, words: usize) -> Self {
        let next = self.next.wrapping_add(self.step.wrapping_mul(words as u64));
        Self { next, ..self }
    }

    fn word(&mut self) -> u64 {
        let word = self.next ^ (self.next >> 32);
        self.next = self.next.wrapping_add(self.step);
        word
    }
}

fn write_stream(words: &mut [u64], mut stream: Stream) {
    for word in words {
        *word = stream.word();
    }
}

/// Zero if the words are those of the stream. No branch a word: it vectorises.
fn differs(words: &[u64], mut stream: Stream) -> u64 {
    words
        .iter()
        .fold(0, |all, word| all | (word ^ stream.word()))
}

/// The repeated byte of a page, never zero, as a word.
fn filler(seed: u64, index: usize) -> u64 {
    0x0101_0101_0101_0101 * (mix(seed ^ index as u64) % 255 + 1)
}

/// The finaliser of `SplitMix64`.
pub(crate) fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Writes a zero that the compiler must not leave out.
fn touch(word: &mut u64) {
    *std::hint::black_box(word) = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(random: f64, change: f64) -> Image {
        let mut image = Image::zero(40).expect("memory");
        image.fill(Content {
            nonzero: 30,
            seed: 7,
            random,
            change,
        });
        image
    }

    #[test]
    fn a_filled_image_holds_what_it_must() {
        for random in [0.0, 0.35, 1.0] {
            let verdict = filled(random, 0.0).verify();
            assert!(verdict.is_well(), "{random}: {verdict:?}");
        }
    }

    #[test]
    fn the_first_pages_have_content_and_the_rest_are_zero() {
        let image = filled(0.0, 0.0);
        let is_zero = |page: &[u64]| page.iter().all(|word| *word == 0);
        let zero = image.words.chunks(PAGE_WORDS).filter(|page| is_zero(page));
        assert_eq!(zero.count(), 10);
        assert!(is_zero(&image.words[30 * PAGE_WORDS..]));
    }

    #[test]
    fn writes_are_accounted_for() {
        for (random, change) in [(1.0, 0.0), (0.1, 0.5), (0.35, 1.0), (0.5, 0.05)] {
            let mut image = filled(random, change);
            for write in 0..100 {
                image.write(write * 7 % 29);
            }
            let verdict = image.verify();
            assert!(verdict.is_well(), "{random} {change}: {verdict:?}");
            assert_eq!(verdict.writes, 100);
        }
    }

    #[test]
    fn a_changed_byte_is_found_in_a_page_of_either_kind() {
        for page in [0, 29, 30, 39] {
            let mut image = filled(0.35, 0.05);
            image.corrupt(page);
            let verdict = image.verify();
            assert_eq!((verdict.bad, verdict.first), (1, Some(page)));
        }
    }

    // The page as it was before its last write is what a migration that loses a
    // dirty page leaves behind.
    #[test]
    fn a_page_that_is_one_write_old_is_found() {
        let mut image = filled(1.0, 0.05);
        image.write(3);
        let old = image.page_mut(3).to_vec();
        image.write(3);
        image.page_mut(3).copy_from_slice(&old);
        assert_eq!(image.verify().first, Some(3));
    }

    // Page and table are both old: only the sum knows.
    #[test]
    fn a_page_and_its_generation_that_are_both_old_are_found() {
        let mut image = filled(1.0, 0.0);
        image.write(3);
        let old = image.page_mut(3).to_vec();
        image.write(3);
        image.page_mut(3).copy_from_slice(&old);
        image.generations[3] = 1;
        let verdict = image.verify();
        assert_eq!(verdict.bad, 0);
        assert!(!verdict.is_well());
    }

    #[test]
    fn pages_differ_from_each_other_and_from_seed_to_seed() {
        let mut first = Stream::new(1, 0, 0);
        assert_ne!(first.word(), Stream::new(1, 1, 0).word());
        assert_ne!(first.word(), Stream::new(2, 0, 0).word());
        assert_ne!(first.word(), Stream::new(1, 0, 1).word());
    }
}
