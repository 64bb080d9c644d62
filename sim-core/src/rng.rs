//! Chance: named streams of random numbers.
//!
//! Each thing that is random in a model draws from a stream of its own, asked for by name. The
//! key of a stream is a hash of the seed, the number of the replication and the name, and of
//! nothing else, so that
//!
//! - a stream added to a model moves no draw of any other stream, and neither does the order in
//!   which the streams are created or drawn from;
//! - two scenarios which share a seed share their chance wherever they share a stream name, which
//!   makes the difference between them less noisy than either (common random numbers);
//! - any replication can be rerun alone.
//!
//! The generator is ChaCha8, not `rand`'s `StdRng`: `StdRng` is documented as not portable, free
//! to become another algorithm in any release, whereas `ChaCha8Rng` is tied to its algorithm and
//! draws the same numbers on every platform. ChaCha keyed by a cryptographic hash also means that
//! neighbouring seeds and similar names give unrelated streams.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A stream of random numbers.
pub type Stream = ChaCha8Rng;

/// Begins each hashed text. Changing how keys are derived moves every result, so such a change
/// must come with another version here.
const DOMAIN: &[u8] = b"watari-rng-v1";

/// The source of all the streams of one replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
    replication: u32,
}

impl Streams {
    /// The streams of replication `replication` of the experiment seeded with `seed`.
    pub const fn new(seed: u64, replication: u32) -> Self {
        Self { seed, replication }
    }

    /// The stream called `name`, from its beginning.
    ///
    /// Asking twice for a name gives the same numbers twice, so ask once and keep the stream.
    /// The key is SHA-256 of `watari-rng-v1`, the seed (8 bytes, little-endian), the replication
    /// (4 bytes, little-endian) and the bytes of the name.
    pub fn stream(&self, name: &str) -> Stream {
        let key = Sha256::new()
            .chain_update(DOMAIN)
            .chain_update(self.seed.to_le_bytes())
            .chain_update(self.replication.to_le_bytes())
            .chain_update(name)
            .finalize();
        Stream::from_seed(key.into())
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    const LOSS: [u64; 4] = [
        0x0e20_b0ac_929b_155f,
        0x8ddf_063d_471b_8a5e,
        0x0360_7d94_50a6_e502,
        0x1479_2a49_a0ab_3fa1,
    ];
    const JITTER: [u64; 4] = [
        0xcd68_7dd2_0671_f761,
        0xd79b_9868_fa25_1566,
        0x2ade_1b20_34e2_c715,
        0xbb4b_accb_b95c_3357,
    ];

    fn draws(mut stream: Stream) -> [u64; 4] {
        std::array::from_fn(|_| stream.next_u64())
    }

    /// The values come from a ChaCha8 written for the purpose in another language, keyed as
    /// [`Streams::stream`] says. They must never change: every published result rests on them.
    #[test]
    fn the_first_draws_are_the_same_for_ever_and_everywhere() {
        let streams = Streams::new(42, 0);
        assert_eq!(draws(streams.stream("loss")), LOSS);
        assert_eq!(draws(streams.stream("jitter")), JITTER);
    }

    #[test]
    fn a_stream_begins_anew_each_time_it_is_asked_for() {
        let streams = Streams::new(7, 3);
        assert_eq!(draws(streams.stream("loss")), draws(streams.stream("loss")));
    }

    #[test]
    fn a_stream_is_not_moved_by_draws_from_another() {
        let streams = Streams::new(7, 3);
        let alone = draws(streams.stream("loss"));
        let (mut other, loss) = (streams.stream("jitter"), streams.stream("loss"));
        other.next_u64();
        assert_eq!(draws(loss), alone);
    }

    #[test]
    fn seed_replication_and_name_each_give_another_stream() {
        let draws = [
            draws(Streams::new(7, 3).stream("loss")),
            draws(Streams::new(8, 3).stream("loss")),
            draws(Streams::new(7, 4).stream("loss")),
            draws(Streams::new(7, 3).stream("los")),
        ];
        for (i, one) in draws.iter().enumerate() {
            assert!(!draws[..i].contains(one));
        }
    }
}
