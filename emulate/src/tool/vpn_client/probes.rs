//! The echo requests through the tunnel, and when their silence means death.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::libc;
use nix::sys::socket::{SockaddrIn, bind};
use serde_json::{Value, json};

use super::super::clock::now_ns;
use super::super::packet;
use super::super::wait::{Want, is_idle};
use super::MS;
use super::config::Config;
use super::rto::Estimator;

/// Probes under way that are remembered.
const MOST_OPEN: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Open {
    number: u64,
    sent: u64,
    lost: bool,
}

/// The probes to the gateway in use.
#[derive(Debug)]
pub(super) struct Probes {
    interval: u64,
    multiple: f64,
    floor: u64,
    /// A raw ICMP socket, which takes the same calls.
    socket: Option<UdpSocket>,
    to: Ipv4Addr,
    token: u64,
    next: u64,
    number: u64,
    open: VecDeque<Open>,
    estimator: Estimator,
    /// When the last probe that was answered had been sent.
    last_answered: u64,
    /// When the tunnel in use stood.
    pub(super) connected: u64,
    /// Whether this gateway has answered, and whether it was called tight.
    seen: (bool, bool),
    answered: u64,
    send_errors: u64,
}

impl Probes {
    pub(super) fn new(config: &Config, now: u64) -> Self {
        let floor = config.min_rto_ms * MS;
        Self {
            interval: config.interval_ms * MS,
            multiple: config.rto_multiple,
            floor,
            socket: None,
            to: Ipv4Addr::UNSPECIFIED,
            token: now,
            next: now,
            number: 0,
            open: VecDeque::new(),
            estimator: Estimator::new(floor),
            last_answered: now,
            connected: now,
            seen: (false, false),
            answered: 0,
            send_errors: 0,
        }
    }

    /// Turns to another gateway; the schedule goes on. The answer is why probes
    /// cannot be sent from `local`, if so.
    pub(super) fn aim(
        &mut self,
        to: Ipv4Addr,
        local: Option<Ipv4Addr>,
    ) -> io::Result<Option<String>> {
        let fd = packet::open_raw(libc::IPPROTO_ICMP)?;
        let mut fault = None;
        if let Some(local) = local {
            let address = SockaddrIn::from(SocketAddrV4::new(local, 0));
            let bound = bind(fd.as_raw_fd(), &address);
            fault = bound.err().map(|error| format!("{local}: {error}"));
        }
        self.socket = Some(UdpSocket::from(fd));
        self.to = to;
        self.open.clear();
        self.estimator = Estimator::new(self.floor);
        self.seen = (false, false);
        let now = now_ns();
        self.last_answered = now;
        if now > self.next {
            self.next += (now - self.next).div_ceil(self.interval) * self.interval;
        }
        Ok(fault)
    }

    pub(super) fn want(&self) -> Want<'_> {
        let socket = self.socket.as_ref();
        socket.map_or(Want::Skip, |socket| Want::Read(socket.as_fd()))
    }

    pub(super) fn rto(&self) -> u64 {
        self.estimator.rto()
    }

    /// When the gateway is dead unless an answer comes.
    pub(super) fn deadline(&self) -> u64 {
        let patience = self.multiple * self.rto() as f64;
        self.last_answered.saturating_add(patience as u64)
    }

    pub(super) fn evidence(&self) -> (u64, u64) {
        (self.last_answered, self.rto())
    }

    /// When there is something to do again.
    pub(super) fn next_instant(&self) -> u64 {
        let lost = self.open.iter().find(|probe| !probe.lost);
        let lost = lost.map_or(u64::MAX, |probe| probe.sent.saturating_add(self.rto()));
        self.next.min(self.deadline()).min(lost)
    }

    pub(super) fn send_when_due(&mut self, now: u64) {
        if now < self.next {
            return;
        }
        self.next += ((now - self.next) / self.interval + 1) * self.interval;
        let message = packet::echo_request(0x5756, self.token, self.number);
        let to = SocketAddrV4::new(self.to, 0);
        let socket = self.socket.as_ref();
        let sent = socket.is_some_and(|socket| socket.send_to(&message, to).is_ok());
        // One that could not be sent is a lost one: the way is dead.
        self.send_errors += u64::from(!sent);
        if self.open.len() >= MOST_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(Open {
            number: self.number,
            sent: now,
            lost: false,
        });
        self.number += 1;
    }

    /// Takes answers; the round-trip time of the first one of this gateway.
    pub(super) fn receive(&mut self) -> Option<u64> {
        let mut first = None;
        let mut buffer = [0; 2048];
        for _ in 0..64 {
            let (length, from) = match self.socket.as_ref()?.recv_from(&mut buffer) {
                Ok((length, SocketAddr::V4(from))) => (length, from),
                Err(error) if is_idle(&error) => break,
                _ => continue,
            };
            if *from.ip() == self.to
                && let Some(number) = packet::echo_reply(&buffer[..length], self.token)
            {
                first = first.or(self.note(number, now_ns()));
            }
        }
        first
    }

    fn note(&mut self, number: u64, now: u64) -> Option<u64> {
        let place = self.open.iter().position(|probe| probe.number == number)?;
        let probe = self.open.remove(place)?;
        let rtt = now - probe.sent;
        self.estimator.add(rtt);
        self.answered += 1;
        if probe.sent > self.last_answered {
            self.last_answered = probe.sent;
        }
        let first = !self.seen.0;
        self.seen.0 = true;
        first.then_some(rtt)
    }

    /// When a probe was sent whose answer is overdue, each once.
    pub(super) fn newly_lost(&mut self, now: u64) -> Option<u64> {
        let rto = self.rto();
        let probe = self.open.iter_mut().find(|probe| !probe.lost)?;
        if now < probe.sent.saturating_add(rto) {
            return None;
        }
        probe.lost = true;
        Some(probe.sent)
    }

    /// Whether a healthy gateway may be declared dead between two probes; true once.
    pub(super) fn became_tight(&mut self) -> bool {
        let patience = self.deadline() - self.last_answered;
        let Some(srtt) = self.estimator.srtt() else {
            return false;
        };
        let news = patience <= self.interval + srtt && !self.seen.1;
        self.seen.1 |= news;
        news
    }

    pub(super) fn object(&self) -> Value {
        json!({
            "probes_sent": self.number,
            "probes_answered": self.answered,
            "send_errors": self.send_errors,
            "srtt_ns": self.estimator.srtt(),
            "rttvar_ns": self.estimator.rttvar(),
            "rto_ns": self.rto(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes() -> Probes {
        let text = r#"{"gateways": [{"name": "a", "probe": "10.1.0.1", "connect": ["true"]}]}"#;
        Probes::new(&Config::parse(text).unwrap(), 0)
    }

    #[test]
    fn death_is_three_time_outs_after_the_sending_of_the_last_answered_probe() {
        let mut probes = probes();
        for slot in 0..30 {
            probes.send_when_due(slot * 500 * MS);
            assert_eq!(
                probes.note(slot, (slot * 500 + 13) * MS).is_some(),
                slot == 0
            );
        }
        probes.send_when_due(15_000 * MS);
        // The last answered one was sent at 14.5 s, and the floor is 1 s.
        assert_eq!(probes.deadline(), 17_500 * MS);
        assert_eq!(probes.newly_lost(15_999 * MS), None);
        assert_eq!(probes.newly_lost(16_000 * MS), Some(15_000 * MS));
        assert_eq!(probes.newly_lost(16_000 * MS), None);
    }

    #[test]
    fn a_late_answer_of_an_old_probe_does_not_move_the_deadline_back() {
        let mut probes = probes();
        probes.send_when_due(0);
        probes.send_when_due(500 * MS);
        probes.note(1, 510 * MS);
        let deadline = probes.deadline();
        probes.note(0, 600 * MS);
        assert!(probes.deadline() >= deadline);
    }

    #[test]
    fn slots_that_were_slept_through_are_left_out() {
        let mut probes = probes();
        probes.send_when_due(0);
        probes.send_when_due(1_700 * MS);
        assert_eq!((probes.number, probes.next), (2, 2_000 * MS));
    }

    #[test]
    fn a_round_trip_as_long_as_the_patience_is_called_tight_once() {
        let mut probes = probes();
        assert!(!probes.became_tight());
        probes.multiple = 1.0;
        for slot in 0..100 {
            probes.send_when_due(slot * 500 * MS);
            probes.note(slot, slot * 500 * MS + 600 * MS);
        }
        // The floor of 1 s is less than the interval and 600 ms.
        assert!(probes.became_tight());
        assert!(!probes.became_tight());
    }
}
