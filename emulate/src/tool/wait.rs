//! Blocking until something is ready, an instant has come or a signal asks for
//! the end.
//!
//! Every program here has one thread and one such place where it sleeps, and
//! does nothing in between: under software emulation each instruction costs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;

use super::clock::now_ns;

/// A descriptor that becomes readable when a signal comes.
#[derive(Debug)]
pub struct Arrival(UnixStream);

impl Arrival {
    /// Becomes readable for good at SIGTERM and SIGINT.
    ///
    /// # Errors
    ///
    /// When the system refuses a descriptor.
    pub fn stop() -> io::Result<Self> {
        Self::of(&[Signal::SIGTERM, Signal::SIGINT])
    }

    /// Becomes readable when a child process ends.
    ///
    /// # Errors
    ///
    /// When the system refuses a descriptor.
    pub fn child() -> io::Result<Self> {
        Self::of(&[Signal::SIGCHLD])
    }

    fn of(signals: &[Signal]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        for signal in signals {
            signal_hook::low_level::pipe::register(*signal as i32, write.try_clone()?)?;
        }
        Ok(Self(read))
    }

    /// Forgets the signals that came.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!(io::Read::read(&mut &self.0, &mut bytes), Ok(n) if n == bytes.len()) {}
    }
}

impl AsFd for Arrival {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug)]
pub enum Want<'a> {
    /// Data, a connection or an end.
    Read(BorrowedFd<'a>),
    /// Room for data, or an error.
    Write(BorrowedFd<'a>),
    /// Both.
    Either(BorrowedFd<'a>),
    /// Nothing: a place that keeps the numbering.
    Skip,
}

/// Which of at most 32 descriptors are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready(u32);

impl Ready {
    /// Whether the descriptor at this place of the list is.
    pub fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }

    /// Whether none is: the instant has come.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Sleeps until one of the descriptors is ready or `until` has come.
///
/// # Errors
///
/// Those of `ppoll` but interruption.
pub fn wait(wants: &[Want<'_>], until: Option<u64>) -> io::Result<Ready> {
    let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(wants.len());
    let mut places: Vec<usize> = Vec::with_capacity(wants.len());
    for (place, want) in wants.iter().enumerate() {
        let (fd, flags) = match *want {
            Want::Read(fd) => (fd, PollFlags::POLLIN),
            Want::Write(fd) => (fd, PollFlags::POLLOUT),
            Want::Either(fd) => (fd, PollFlags::POLLIN | PollFlags::POLLOUT),
            Want::Skip => continue,
        };
        polled.push(PollFd::new(fd, flags));
        places.push(place);
    }
    loop {
        let left = until.map(|at| span(at.saturating_sub(now_ns())));
        match ppoll(&mut polled, left, None) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut ready = Ready::default();
    for (fd, place) in polled.iter().zip(places) {
        if fd.any().unwrap_or(false) {
            ready.0 |= 1 << place;
        }
    }
    Ok(ready)
}

fn span(ns: u64) -> TimeSpec {
    const SECOND: u64 = 1_000_000_000;
    // Both fit: a u64 of nanoseconds is less than 2^35 seconds.
    TimeSpec::new((ns / SECOND).cast_signed(), (ns % SECOND).cast_signed())
}

/// Whether a call on a non-blocking descriptor has nothing to do now.
pub fn is_idle(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The name of a system error, such as `ETIMEDOUT`, or its text.
pub fn error_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_at_the_instant_asked_for() {
        let at = now_ns() + 5_000_000;
        let (silent, _other) = UnixStream::pair().unwrap();
        let ready = wait(&[Want::Skip, Want::Read(silent.as_fd())], Some(at)).unwrap();
        assert!(ready.is_empty());
        assert!(now_ns() >= at);
    }

    #[test]
    fn a_ready_descriptor_is_named_by_its_place() {
        let (one, other) = UnixStream::pair().unwrap();
        let wants = [
            Want::Read(one.as_fd()),
            Want::Skip,
            Want::Write(other.as_fd()),
        ];
        let ready = wait(&wants, None).unwrap();
        assert_eq!(
            (ready.has(0), ready.has(1), ready.has(2)),
            (false, false, true)
        );
    }
}
