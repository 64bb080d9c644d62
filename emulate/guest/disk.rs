//! What the disk holds.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use crate::arguments::Arguments;
use crate::system::Mapping;

const DEVICE: &str = "/dev/vda";
/// Past the page cache, which would otherwise fill memory with the disk.
const O_DIRECT: i32 = 0x4000;
const CHUNK: usize = 256 << 10;

/// Answers `disk checksum`: a hash of the first bytes of the disk, or of all.
pub(crate) fn checksum(arguments: &Arguments) -> Result<String, String> {
    if arguments.plain() != ["checksum"] {
        return Err("disk knows checksum only".to_string());
    }
    arguments.only(&["bytes"])?;
    let describe = |error: std::io::Error| format!("{DEVICE}: {error}");
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(O_DIRECT).open(DEVICE);
    let mut disk = opened.map_err(describe)?;
    let size = disk.seek(SeekFrom::End(0)).map_err(describe)?;
    disk.rewind().map_err(describe)?;
    let bytes = arguments.or("bytes", size)?;
    if bytes > size || bytes % 512 != 0 {
        return Err(format!("bytes={bytes} is no multiple of 512 up to {size}"));
    }
    let mut buffer = Mapping::new(CHUNK / 8).map_err(describe)?;
    let (mut hash, mut left) = (OFFSET, bytes);
    while left > 0 {
        let wanted = left.min(CHUNK as u64) as usize;
        let chunk = &mut buffer.bytes_mut()[..wanted];
        disk.read_exact(chunk).map_err(describe)?;
        hash = buffer[..wanted / 8].iter().fold(hash, step);
        left -= wanted as u64;
    }
    Ok(format!("ok bytes={bytes} checksum={hash:016x}"))
}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over little-endian words of 64 bits, with a fold so that high bits count.
fn step(hash: u64, word: &u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_bit_and_on_the_order() {
        let hash = |words: &[u64]| words.iter().fold(OFFSET, step);
        let mut seen = vec![hash(&[0, 0]), hash(&[1, 2]), hash(&[2, 1])];
        seen.extend((0..64).map(|bit| hash(&[1 << bit, 0])));
        seen.extend((0..64).map(|bit| hash(&[0, 1 << bit])));
        seen.sort_unstable();
        assert!(seen.is_sorted_by(|a, b| a < b));
    }
}
