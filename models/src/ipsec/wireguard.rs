//! What WireGuard adds to packets.
//!
//! Models the data message of WireGuard (Donenfeld, NDSS 2017; Linux
//! `drivers/net/wireguard`): an IPv4 and a UDP header, 16 bytes of type,
//! receiver and counter, the packet padded to 16 bytes but not beyond the
//! device's MTU (`send.c: calculate_skb_padding`), and a tag of 16 bytes. The
//! device's MTU leaves room for an IPv6 header in any case (`device.c:
//! wg_setup`): 80 bytes less than the path's.
//!
//! Leaves out: outer IPv6, keep-alives, a new handshake every two minutes
//! (which stops no data), the cookie under load.
//!
//! Who would notice: users whose devices have an MTU set by hand.

use super::{IP_HEADER, UDP_HEADER};

/// Type, receiver and counter.
const HEADER: u64 = 16;
/// Poly1305.
const TAG: u64 = 16;
const PADDING: u64 = 16;
/// `wg_setup`: what the device's MTU is smaller than the path's.
const ROOM: u64 = HEADER + TAG + UDP_HEADER + 40;

/// Largest IP packet that the device takes when packets on the wire may have
/// `mtu` bytes, or `None` when nothing fits.
pub fn largest_inner(mtu: u64) -> Option<u64> {
    mtu.checked_sub(ROOM)
}

/// Size of the IP packet on the wire for an IP packet of `inner` bytes on a path
/// with this MTU.
pub fn outer(inner: u64, mtu: u64) -> u64 {
    let device = largest_inner(mtu).unwrap_or(inner).max(inner);
    let padded = inner.next_multiple_of(PADDING).min(device);
    IP_HEADER + UDP_HEADER + HEADER + padded + TAG
}

#[cfg(test)]
mod tests {
    use super::*;

    // 1500 - 80 = 1420, which is no multiple of 16 (1424 is the next) but fills the
    // device: no padding, 1420 + 60 = 1480. An acknowledgement of 52 bytes is
    // padded to 64: 124.
    #[test]
    fn a_full_packet_has_60_bytes_more_and_a_small_one_is_padded() {
        assert_eq!(largest_inner(1500), Some(1420));
        assert_eq!(outer(1420, 1500), 1480);
        assert_eq!(outer(1416, 1500), 1480);
        assert_eq!(outer(52, 1500), 124);
    }
}
