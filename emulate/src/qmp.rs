//! QEMU's machine protocol: commands, replies and events over a Unix socket.
//!
//! One JSON object a line (QEMU's `docs/interop/qmp-spec`). Replies are read as
//! untyped JSON, so that versions 7.2 to current are understood alike: what a
//! version lacks is asked with `query-...`, never guessed from its number.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest wait for the reply to a command.
const REPLY: Duration = Duration::from_secs(120);
/// Events that are kept until somebody asks for them.
const EVENTS: usize = 10_000;

/// Why a conversation with QEMU failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket cannot be used.
    #[error("QEMU's control socket `{path}` does not answer; its error output says why it ended")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// QEMU said something that is not its protocol.
    #[error("QEMU sent a line that is not JSON: {0:.200}")]
    Protocol(String),
    /// QEMU refused a command.
    #[error("QEMU refused `{command}`: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        reason: String,
    },
    /// Nothing came in time.
    #[error("QEMU did not answer `{0}` in time")]
    Timeout(String),
}

/// Something that happened in QEMU.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, for example `STOP`.
    pub name: String,
    /// When, in nanoseconds of the wall clock; QEMU gives microseconds.
    pub t_ns: u64,
    /// What QEMU says about it.
    pub data: Value,
}

/// A conversation with one QEMU.
#[derive(Debug)]
pub struct Qmp {
    path: PathBuf,
    lines: BufReader<UnixStream>,
    partial: Vec<u8>,
    events: VecDeque<Event>,
}

impl Qmp {
    /// Greets the QEMU that listens on `path`.
    ///
    /// # Errors
    ///
    /// When nobody listens or what listens is not QEMU.
    pub fn connect(path: &Path) -> Result<Self, QmpError> {
        let socket = |source| QmpError::Socket {
            path: path.to_owned(),
            source,
        };
        let stream = UnixStream::connect(path).map_err(socket)?;
        let mut qmp = Self {
            path: path.to_owned(),
            lines: BufReader::new(stream),
            partial: Vec::new(),
            events: VecDeque::new(),
        };
        let greeting = qmp.line(Instant::now() + REPLY)?;
        if greeting.as_ref().and_then(|line| line.get("QMP")).is_none() {
            return Err(QmpError::Timeout("greeting".to_owned()));
        }
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and gives what it returns.
    ///
    /// # Errors
    ///
    /// When QEMU refuses it, is gone, or does not answer.
    pub fn command(&mut self, name: &str, arguments: &Value) -> Result<Value, QmpError> {
        let request = json!({ "execute": name, "arguments": arguments });
        let written = writeln!(self.lines.get_mut(), "{request}");
        written.map_err(|source| self.socket_error(source))?;
        let deadline = Instant::now() + REPLY;
        while let Some(mut line) = self.line(deadline)? {
            if let Some(value) = line.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = line.get("error") {
                let reason = error["desc"].as_str().unwrap_or("no reason given");
                return Err(QmpError::Refused {
                    command: name.to_owned(),
                    reason: reason.to_owned(),
                });
            }
            self.keep_event(&line);
        }
        Err(QmpError::Timeout(name.to_owned()))
    }

    /// The next event, or `None` when none comes before `deadline`.
    ///
    /// # Errors
    ///
    /// When QEMU is gone.
    pub fn event(&mut self, deadline: Instant) -> Result<Option<Event>, QmpError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let Some(line) = self.line(deadline)? else {
                return Ok(None);
            };
            self.keep_event(&line);
        }
    }

    fn keep_event(&mut self, line: &Value) {
        let Some(name) = line["event"].as_str() else {
            return;
        };
        let stamp = |unit: &str| line["timestamp"][unit].as_u64().unwrap_or(0);
        if self.events.len() < EVENTS {
            self.events.push_back(Event {
                name: name.to_owned(),
                t_ns: stamp("seconds") * 1_000_000_000 + stamp("microseconds") * 1000,
                data: line["data"].clone(),
            });
        }
    }

    /// One line, or `None` when it does not come before `deadline`.
    fn line(&mut self, deadline: Instant) -> Result<Option<Value>, QmpError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = self.lines.get_ref().set_read_timeout(Some(left));
            timeout.map_err(|source| self.socket_error(source))?;
            match self.lines.read_until(b'\n', &mut self.partial) {
                Ok(0) => {
                    let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(self.socket_error(gone));
                }
                Ok(_) if self.partial.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.partial);
                    return serde_json::from_slice(&line).map(Some).map_err(|_| {
                        QmpError::Protocol(String::from_utf8_lossy(&line).into_owned())
                    });
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(self.socket_error(error)),
            }
        }
    }

    fn socket_error(&self, source: io::Error) -> QmpError {
        QmpError::Socket {
            path: self.path.clone(),
            source,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A peer that answers each line with the next of `answers`.
    fn peer(answers: &'static [&'static str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, "{{\"QMP\": {{}}}}").unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for (answer, _) in answers.iter().zip(lines) {
                writeln!(stream, "{answer}").unwrap();
            }
        });
        (folder, path)
    }

    #[test]
    fn events_that_come_before_a_reply_are_kept() {
        let (_folder, path) = peer(&[
            r#"{"return": {}}"#,
            "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\n{\"return\": {\"status\": \"paused\"}}",
        ]);
        let mut qmp = Qmp::connect(&path).unwrap();
        let status = qmp.command("query-status", &json!({})).unwrap();
        assert_eq!(status["status"], "paused");
        let event = qmp.event(Instant::now() + REPLY).unwrap().unwrap();
        assert_eq!((event.name.as_str(), event.t_ns), ("STOP", 1_000_002_000));
    }

    #[test]
    fn a_refusal_carries_qemus_words() {
        let (_folder, path) = peer(&[
            r#"{"return": {}}"#,
            r#"{"error": {"class": "GenericError", "desc": "no such thing"}}"#,
        ]);
        let mut qmp = Qmp::connect(&path).unwrap();
        let error = qmp.command("dance", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused `dance`: no such thing");
    }

    #[test]
    fn a_qemu_that_went_away_is_an_error_and_no_hang() {
        let (_folder, path) = peer(&[r#"{"return": {}}"#]);
        let mut qmp = Qmp::connect(&path).unwrap();
        let error = qmp.event(Instant::now() + REPLY).unwrap_err();
        assert!(matches!(error, QmpError::Socket { .. }), "{error}");
    }
}
