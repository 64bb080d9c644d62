//! The little that the relay and the VPN client read and write of IPv4 and ICMP.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;

const ICMP: u8 = 1;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// A raw socket of an IP protocol that does not block.
#[expect(unsafe_code, reason = "nix has no name for these protocols")]
pub(super) fn open_raw(protocol: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes integers only.
    let fd = Errno::result(unsafe { libc::socket(libc::AF_INET, kind, protocol) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Length of the IPv4 header that the bytes start with; no less than 20.
pub(super) fn header_length(packet: &[u8]) -> usize {
    let words = packet.first().map_or(5, |first| first & 15);
    usize::from(words.max(5)) * 4
}

/// Source and destination of an IPv4 packet that is whole.
pub(super) fn ends(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (source, rest) = packet.get(12..)?.split_first_chunk::<4>()?;
    let (destination, _) = rest.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let whole = packet[0] >> 4 == 4
        && packet[0] & 15 >= 5
        && length == packet.len()
        && length >= header_length(packet);
    whole.then(|| ((*source).into(), (*destination).into()))
}

/// An ICMP echo request with a payload of a token and a number.
pub(super) fn echo_request(identifier: u16, token: u64, number: u64) -> [u8; 24] {
    let mut message = [0; 24];
    message[0] = ECHO_REQUEST;
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    // The low bits of the number, for those who look at packets.
    message[6..8].copy_from_slice(&number.to_be_bytes()[6..]);
    message[8..16].copy_from_slice(&token.to_be_bytes());
    message[16..].copy_from_slice(&number.to_be_bytes());
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The number of an echo reply to a request of this token, from a whole IPv4 packet.
pub(super) fn echo_reply(packet: &[u8], token: u64) -> Option<u64> {
    let message = packet.get(header_length(packet)..)?;
    let fits = packet.get(9) == Some(&ICMP) && message.first() == Some(&ECHO_REPLY);
    let (payload, _) = message.get(8..)?.split_first_chunk::<16>()?;
    let (theirs, number) = payload.split_at(8);
    (fits && theirs == token.to_be_bytes())
        .then(|| u64::from_be_bytes(number.try_into().expect("eight bytes")))
}

/// An IPv4 packet around an ICMP message.
pub(super) fn icmp_packet(from: Ipv4Addr, to: Ipv4Addr, message: &[u8; 24]) -> [u8; 44] {
    let mut packet = [0; 44];
    packet[0] = 0x45;
    packet[3] = 44;
    packet[8] = 64;
    packet[9] = ICMP;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[20..].copy_from_slice(message);
    packet
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2);
    let mut sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to sixteen bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
    const TO: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

    // A sum over words that include their checksum is all ones, so its complement zero.
    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let message = echo_request(7, 1 << 40, 3);
        assert_eq!(checksum(&message), 0);
        let packet = icmp_packet(FROM, TO, &message);
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(ends(&packet), Some((FROM, TO)));
    }

    #[test]
    fn a_reply_is_known_by_its_token() {
        let mut message = echo_request(7, 99, 3);
        let request = icmp_packet(FROM, TO, &message);
        assert_eq!(echo_reply(&request, 99), None);
        message[0] = ECHO_REPLY;
        let reply = icmp_packet(TO, FROM, &message);
        assert_eq!(echo_reply(&reply, 99), Some(3));
        assert_eq!(echo_reply(&reply, 98), None);
    }

    #[test]
    fn a_packet_that_is_cut_or_no_ipv4_has_no_ends() {
        let packet = icmp_packet(FROM, TO, &echo_request(7, 99, 3));
        for length in 0..packet.len() {
            assert_eq!(ends(&packet[..length]), None, "{length}");
            assert_eq!(echo_reply(&packet[..length], 99), None, "{length}");
        }
        let mut six = packet;
        six[0] = 0x65;
        assert_eq!(ends(&six), None);
        // A header that claims more than the packet has.
        let mut long = packet;
        long[0] = 0x4F;
        assert_eq!(ends(&long), None);
    }
}
