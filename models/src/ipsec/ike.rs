//! How long a key exchange takes.
//!
//! Models the messages of IKEv1 (RFC 2409: main mode 6, aggressive mode 3,
//! quick mode 3) and IKEv2 (RFC 7296: 4) as round trips the initiator waits
//! for, plus the computation of both ends. After quick mode's second message
//! the initiator may send data, so its third costs it no waiting; the same
//! holds for the third message of aggressive mode. WireGuard's handshake is a
//! message each way.
//!
//! Leaves out: lost messages (the BitVisor client sends none again), cookies,
//! certificates that need fragments, EAP.
//!
//! Who would notice: users of lossy paths, where one lost message costs a
//! retransmission interval of 0.5 s (libreswan) to 4 s (strongSwan).

use crate::scenario::Ike;
use sim_core::SimDuration;

/// Messages of a whole exchange up to the first child association.
pub fn messages(ike: Ike) -> u32 {
    match ike {
        Ike::None => 0,
        Ike::Ikev1Main => 6 + 3,
        Ike::Ikev1Aggressive => 3 + 3,
        Ike::Ikev2 => 4,
        Ike::Wireguard => 2,
    }
}

/// Round trips the initiator waits for in phase 1 and in phase 2.
pub fn round_trips(ike: Ike) -> (u64, u64) {
    match ike {
        Ike::None => (0, 0),
        Ike::Ikev1Main => (3, 1),
        Ike::Ikev1Aggressive => (1, 1),
        Ike::Ikev2 => (2, 0),
        Ike::Wireguard => (1, 0),
    }
}

/// Phase 1 and phase 2 over a path with round-trip time `rtt` when both ends
/// together compute for `compute`.
pub fn durations(
    ike: Ike,
    rtt: SimDuration,
    compute: (SimDuration, SimDuration),
) -> (SimDuration, SimDuration) {
    if ike == Ike::None {
        return (SimDuration::ZERO, SimDuration::ZERO);
    }
    let (first, second) = round_trips(ike);
    (rtt * first + compute.0, rtt * second + compute.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_mode_waits_three_round_trips_and_quick_mode_one() {
        let ms = SimDuration::from_millis;
        let (first, second) = durations(Ike::Ikev1Main, ms(13), (ms(158), ms(122)));
        assert_eq!(first, ms(3 * 13 + 158));
        assert_eq!(second, ms(13 + 122));
        assert_eq!(messages(Ike::Ikev1Main), 9);
        assert_eq!(messages(Ike::Ikev2), 4);
    }
}
