//! How much payload the sender's kernel holds for a program that writes as fast
//! as it may.
//!
//! Models the send buffer of Linux 6.1 as it tunes itself (`tcp_input.c:
//! tcp_sndbuf_expand`): twice the congestion window, each segment taken for the
//! memory that it costs at worst, and never less than before. What a segment
//! really costs is less (`skbuff.c: __alloc_skb`): its payload and 1280 bytes
//! of bookkeeping, which up to 64 KiB of payload share where the kernel may
//! hand them down in one piece, and every segment pays alone where it may not:
//! before ESP (`sock.c: sk_setup_caps`). A program that has filled the buffer
//! sleeps until a third of it is free (`sk_stream_write_space`), and then fills
//! it again in a burst: when the program runs, the buffer is two thirds full and
//! what was written since. Where the
//! buffer is smaller than what path and receiver would take, this costs rate too:
//! a third is written when all of the third before it has been acknowledged, so
//! a buffer passes in a round trip and the bottleneck's time for a third.
//!
//! Leaves out: memory pressure, buffers that the program sets itself
//! (`SO_SNDBUF`), kernels with another size of the bookkeeping, the moment in
//! the cycle of filling and draining. `send_buffer` of a scenario bounds the
//! payload; Linux's `tcp_wmem` bounds the memory: [`Memory::of_payload`]
//! translates.
//!
//! Who would notice: users whose downtime is less than what the buffer holds.

/// `TCP_INIT_CWND`: fewest segments the buffer is made for.
const FEWEST_SEGMENTS: f64 = 10.0;
/// Windows that the buffer is made for (`sndmem` in `tcp_sndbuf_expand`).
const WINDOWS: f64 = 2.0;
/// `MAX_TCP_HEADER` and `skb_shared_info`, 320 bytes each, beside a segment.
const SEGMENT_EXTRA: u64 = 640;
/// `sizeof(struct sk_buff)`, aligned.
const SK_BUFF: u64 = 256;
/// `truesize` of a buffer without payload: 1 KiB of head and the `sk_buff`.
const BOOKKEEPING: f64 = 1280.0;
/// Largest buffer that is handed down in one piece.
const LARGEST_PIECE: f64 = 65_536.0;
/// Share of the buffer that is free when the program is woken.
pub const WOKEN: f64 = 1.0 / 3.0;

/// What segments cost in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Taken for a segment when the buffer is sized.
    reserved: f64,
    /// Payload for a byte of memory.
    density: f64,
}

impl Memory {
    /// Of segments with `mss` bytes of payload over links with this MTU;
    /// `pieces` is whether several may share a buffer.
    pub fn new(mtu: u64, mss: f64, pieces: bool) -> Self {
        let advertised = mtu.saturating_sub(40);
        let segments = if pieces {
            (LARGEST_PIECE / mss).floor().max(1.0)
        } else {
            1.0
        };
        let payload = segments * mss;
        Self {
            reserved: ((advertised + SEGMENT_EXTRA).next_power_of_two() + SK_BUFF) as f64,
            density: payload / (payload + BOOKKEEPING),
        }
    }

    /// Payload that fits after the congestion window had `segments`.
    pub fn room(&self, segments: f64) -> f64 {
        WINDOWS * segments.max(FEWEST_SEGMENTS) * self.reserved * self.density
    }

    /// Payload held of a buffer with this room when its program has written so
    /// much since it was woken.
    pub fn held(room: f64, written: f64) -> f64 {
        ((1.0 - WOKEN) * room + written).min(room)
    }

    /// Memory for this much payload: the `tcp_wmem` that stands for a `send_buffer`.
    pub fn of_payload(&self, payload: f64) -> f64 {
        payload / self.density
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // 1460 + 640 = 2100 bytes round up to 4096, and 256: 4352 a segment. A
    // segment of 1386 bytes costs 2666: 2 * 100 * 4352 / 2666 = 326 segments.
    #[test]
    fn behind_esp_the_buffer_holds_three_windows() {
        let memory = Memory::new(1500, 1386.0, false);
        assert_eq!(memory.reserved, 4352.0);
        let segments = memory.room(100.0) / 1386.0;
        assert!((segments - 326.48).abs() < 0.01, "{segments}");
        // 4 MiB of memory hold 4194304 * 1386 / 2666 = 2180535 bytes.
        assert!((memory.of_payload(2_180_535.0) - 4_194_304.0).abs() < 2.0);
    }

    // 45 segments of 1448 share 1280 bytes: 870400 * 65160 / 66440.
    #[test]
    fn without_esp_nearly_all_memory_is_payload() {
        let room = Memory::new(1500, 1448.0, true).room(100.0);
        assert!((room - 853_631.0).abs() < 1.0, "{room}");
        assert_eq!(Memory::new(1500, 1448.0, true).room(1.0), room / 10.0);
    }
}
