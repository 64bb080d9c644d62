//! What RAM holds as a migration sees it: which pages are zero.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::system::{Mapping, memory_bytes};

const PAGE: usize = 4096;
/// Memory that `clean` leaves alone, for the kernel's sake.
const RESERVE: u64 = 1 << 20;
/// The kernel's window on all RAM, where it is without address randomisation and with
/// page tables of four levels.
const DIRECT_MAP: std::ops::Range<u64> = 0xffff_8880_0000_0000..0xffff_c880_0000_0000;

/// Takes nearly all free memory, which the kernel clears, and gives it back.
/// Returns the number of pages. With `init_on_free=1` pages that are freed later
/// are cleared too, so once after boot is enough.
pub(crate) fn clean() -> Result<u64, String> {
    let describe = |error: io::Error| format!("clean: {error}");
    fs::write("/proc/sys/vm/min_free_kbytes", "128").map_err(describe)?;
    fs::write("/proc/sys/vm/drop_caches", "3").map_err(describe)?;
    let free = memory_bytes().1;
    let mut memory = Mapping::new((free / 8) as usize).map_err(describe)?;
    let mut pages = 0;
    for page in memory.chunks_exact_mut(PAGE / 8) {
        if pages % 16 == 0 && memory_bytes().1 < RESERVE {
            break;
        }
        page[0] = std::hint::black_box(0);
        pages += 1;
    }
    Ok(pages)
}

/// Pages of RAM, and those of them that are not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) pages: u64,
    pub(crate) nonzero: u64,
}

/// Looks at all RAM that the kernel manages.
pub(crate) fn count() -> io::Result<Count> {
    let file = File::open("/proc/kcore")?;
    let mut header = vec![0; PAGE];
    let length = file.read_at(&mut header, 0)?;
    let mut count = Count::default();
    let mut buffer = vec![0; 16 * PAGE];
    for segment in segments(&header[..length]) {
        let (mut at, end) = (segment.offset, segment.offset + segment.size);
        while at < end {
            let wanted = (end - at).min(buffer.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..wanted], at)?;
            for page in buffer[..wanted].chunks_exact(PAGE) {
                count.pages += 1;
                count.nonzero += u64::from(!is_zero(page));
            }
            at += wanted as u64;
        }
    }
    if count.pages == 0 {
        let message = "no RAM where it should be; boot with nokaslr and a processor without LA57";
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    Ok(count)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    size: u64,
}

/// The segments of an ELF64 file that lie in the direct map.
fn segments(header: &[u8]) -> Vec<Segment> {
    let number = |at: usize, bytes: usize| {
        let field = header.get(at..at + bytes).unwrap_or_default();
        field
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | u64::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let entries = (0..count).map(|index| (table + index * size) as usize);
    let direct = entries.filter(|entry| DIRECT_MAP.contains(&number(entry + 16, 8)));
    let segment = |entry: usize| Segment {
        offset: number(entry + 8, 8),
        size: number(entry + 32, 8),
    };
    direct.map(segment).collect()
}

fn is_zero(page: &[u8]) -> bool {
    page.iter().fold(0, |all, byte| all | byte) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    // An ELF64 header with two program headers of 56 bytes at 64: one in the
    // direct map, one in the kernel's text.
    #[test]
    fn only_segments_of_the_direct_map_are_read() {
        let mut header = vec![0; 64 + 2 * 56];
        header[32] = 64;
        header[54] = 56;
        header[56] = 2;
        let mut put = |at: usize, value: u64| {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(64 + 8, 0x1000);
        put(64 + 16, DIRECT_MAP.start + 0x1000);
        put(64 + 32, 0x9e000);
        put(120 + 16, 0xffff_ffff_8100_0000);
        let expected = Segment {
            offset: 0x1000,
            size: 0x9e000,
        };
        assert_eq!(segments(&header), [expected]);
    }
}
