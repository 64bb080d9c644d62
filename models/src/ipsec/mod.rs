//! What tunnels add to packets: exact sizes of ESP; WireGuard's are in
//! [`wireguard`].
//!
//! Models the size of an ESP packet as Linux builds it (`esp4_offload.c`:
//! 8 bytes of SPI and sequence number, the initialisation vector, payload and
//! two trailer bytes padded to the cipher's block or to 4 bytes, the integrity
//! check value; RFC 4303), the new IP header of tunnel mode, and ESP in UDP
//! (RFC 3948). Sizes of vectors and check values are those of RFC 3602, 2451,
//! 4106, 7634, 2404, 2403 and 4868.
//!
//! Leaves out: IPv6, AH, traffic-flow-confidentiality padding, extended
//! sequence numbers (which travel in no packet), IP options.
//!
//! Who would notice: users of IPv6 tunnels (20 bytes more a packet).

pub mod dpd;
pub mod ike;
pub mod wireguard;

use crate::scenario::{Cipher, Integrity, Mode, Tunnel};

/// IPv4 header without options.
pub const IP_HEADER: u64 = 20;
const UDP_HEADER: u64 = 8;
const ESP_HEADER: u64 = 8;
const ESP_TRAILER: u64 = 2;

/// What a tunnel does to the size of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// IPsec.
    Esp(Esp),
    /// WireGuard.
    Wireguard,
}

impl Encapsulation {
    /// That of a tunnel.
    pub fn of(tunnel: &Tunnel) -> Self {
        let wrapped = match tunnel.mode {
            Mode::Transport => false,
            Mode::Tunnel => true,
            Mode::Wireguard => return Self::Wireguard,
        };
        Self::Esp(Esp::new(
            wrapped,
            tunnel.cipher,
            tunnel.integrity,
            tunnel.nat_traversal,
        ))
    }

    /// Size of the IP packet on the wire for an IP packet of `inner` bytes on a
    /// path with this MTU.
    pub fn outer(&self, inner: u64, mtu: u64) -> u64 {
        match self {
            Self::Esp(esp) => esp.outer(inner),
            Self::Wireguard => wireguard::outer(inner, mtu),
        }
    }

    /// Largest IP packet that fits when packets on the wire may have `mtu`
    /// bytes, or `None` when nothing fits.
    pub fn largest_inner(&self, mtu: u64) -> Option<u64> {
        match self {
            Self::Esp(esp) => esp.largest_inner(mtu),
            Self::Wireguard => wireguard::largest_inner(mtu),
        }
    }
}

/// What ESP does to the size of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esp {
    /// Whether the whole packet is wrapped: tunnel mode.
    wrapped: bool,
    nat_traversal: bool,
    iv: u64,
    align: u64,
    icv: u64,
}

impl Esp {
    /// ESP with these algorithms, in tunnel mode or else in transport mode.
    /// `integrity` is `None` for an AEAD cipher, whose tag is its check value.
    pub fn new(
        wrapped: bool,
        cipher: Cipher,
        integrity: Option<Integrity>,
        nat_traversal: bool,
    ) -> Self {
        let (iv, block, tag) = cipher_sizes(cipher);
        let icv = tag + integrity.map_or(0, icv_size);
        Self {
            wrapped,
            nat_traversal,
            iv,
            align: block.max(4),
            icv,
        }
    }

    /// Size of the IP packet on the wire for an IP packet of `inner` bytes.
    pub fn outer(&self, inner: u64) -> u64 {
        let payload = if self.wrapped {
            inner
        } else {
            inner - IP_HEADER
        };
        self.fixed() + (payload + ESP_TRAILER).next_multiple_of(self.align)
    }

    /// Largest IP packet that fits when packets on the wire may have `mtu`
    /// bytes, or `None` when nothing fits.
    pub fn largest_inner(&self, mtu: u64) -> Option<u64> {
        let room = mtu.checked_sub(self.fixed())? / self.align * self.align;
        let payload = room.checked_sub(ESP_TRAILER)?;
        Some(if self.wrapped {
            payload
        } else {
            payload + IP_HEADER
        })
    }

    fn fixed(&self) -> u64 {
        let udp = if self.nat_traversal { UDP_HEADER } else { 0 };
        IP_HEADER + udp + ESP_HEADER + self.iv + self.icv
    }
}

/// Initialisation vector, cipher block and AEAD tag, in bytes.
fn cipher_sizes(cipher: Cipher) -> (u64, u64, u64) {
    match cipher {
        Cipher::Aes128Cbc | Cipher::Aes256Cbc => (16, 16, 0),
        Cipher::TripleDesCbc => (8, 8, 0),
        Cipher::Aes128Gcm | Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => (8, 1, 16),
        Cipher::Null => (0, 1, 0),
    }
}

/// Integrity check value in bytes, truncated as ESP sends it.
fn icv_size(integrity: Integrity) -> u64 {
    match integrity {
        Integrity::HmacMd5 | Integrity::HmacSha1 => 12,
        Integrity::HmacSha256 => 16,
        Integrity::HmacSha384 => 24,
        Integrity::HmacSha512 => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn esp(wrapped: bool, cipher: Cipher, nat: bool) -> Esp {
        let integrity = (cipher == Cipher::Aes128Cbc).then_some(Integrity::HmacSha1);
        Esp::new(wrapped, cipher, integrity, nat)
    }

    // 1500 - 20 (IP) - 8 (ESP) - 16 (IV) - 12 (ICV) = 1444, down to a multiple
    // of 16 is 1440, minus 2 trailer bytes is 1438; NAT-T takes 8 more: 1436
    // -> 1424 -> 1422. GCM: 1500 - 20 - 8 - 8 - 16 = 1448 -> 1446.
    #[test]
    fn largest_payloads_at_1500_bytes_are_those_of_rfc_arithmetic() {
        let largest = |cipher, nat| esp(true, cipher, nat).largest_inner(1500).unwrap();
        assert_eq!(largest(Cipher::Aes128Cbc, false), 1438);
        assert_eq!(largest(Cipher::Aes128Cbc, true), 1422);
        assert_eq!(largest(Cipher::Aes128Gcm, false), 1446);
        assert_eq!(largest(Cipher::ChaCha20Poly1305, true), 1438);
        let transport = esp(false, Cipher::Aes128Cbc, false);
        assert_eq!(transport.largest_inner(1500), Some(1458));
    }

    #[test]
    fn the_largest_inner_packet_fits_and_one_byte_more_does_not() {
        for wrapped in [false, true] {
            for cipher in [Cipher::Aes128Cbc, Cipher::Aes128Gcm, Cipher::TripleDesCbc] {
                for mtu in 576..=1600 {
                    let esp = esp(wrapped, cipher, mtu % 2 == 0);
                    let inner = esp.largest_inner(mtu).unwrap();
                    assert!(esp.outer(inner) <= mtu);
                    assert!(esp.outer(inner + 1) > mtu);
                }
            }
        }
    }

    // An ACK of 52 bytes in tunnel mode: 20 + 8 + 16 + pad16(54) = 64, + 12 = 120.
    #[test]
    fn a_bare_acknowledgement_grows_to_120_bytes_with_cbc() {
        assert_eq!(esp(true, Cipher::Aes128Cbc, false).outer(52), 120);
    }
}
