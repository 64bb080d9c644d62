//! The conversation with the guest's program over its control port, which QEMU
//! offers as a Unix socket. One line asks, one line answers; numbers tell the
//! answer to this command from the late answer to an earlier one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::tool::clock;

/// What went wrong in the conversation.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nothing listens.
    #[error("cannot connect to the guest's control port {path}: {source}; is QEMU running?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The guest does not answer.
    #[error(
        "the guest did not answer `{command}` in {seconds} s; look at its console and whether \
         it is paused, or wait longer"
    )]
    Timeout {
        /// What was asked.
        command: String,
        /// How long was waited.
        seconds: f64,
    },
    /// QEMU went away.
    #[error("the guest's control port closed during `{command}`: QEMU ended")]
    Closed {
        /// What was asked.
        command: String,
    },
    /// The guest cannot do it.
    #[error("the guest cannot do `{command}`: {words}")]
    Refused {
        /// What was asked.
        command: String,
        /// The guest's words.
        words: String,
    },
    /// The guest's memory is not what it must be.
    #[error("the guest's memory is damaged: {reply}")]
    Bad {
        /// What it found.
        reply: String,
    },
    /// An answer without what was asked for.
    #[error("the guest's answer has no number {key}: {reply}; are both of this version?")]
    NoNumber {
        /// What was looked for.
        key: String,
        /// The answer.
        reply: String,
    },
    /// The socket fails.
    #[error("the guest's control port: {0}")]
    Socket(#[from] std::io::Error),
}

/// What the guest answered to a command that it could do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    fields: BTreeMap<String, String>,
}

impl Reply {
    /// The values by their keys.
    pub fn fields(&self) -> &BTreeMap<String, String> {
        &self.fields
    }

    /// A number of the answer.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn number(&self, key: &str) -> Result<u64, ControlError> {
        let value = self.fields.get(key).and_then(|text| text.parse().ok());
        value.ok_or_else(|| ControlError::NoNumber {
            key: key.to_string(),
            reply: format!("{:?}", self.fields),
        })
    }

    /// Reads an answer without its number.
    fn parse(command: &str, line: &str) -> Result<Self, ControlError> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "ok" => Ok(Self {
                fields: rest
                    .split_ascii_whitespace()
                    .filter_map(|word| word.split_once('='))
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect(),
            }),
            "bad" => Err(ControlError::Bad {
                reply: rest.to_string(),
            }),
            _ => Err(ControlError::Refused {
                command: command.to_string(),
                words: line.trim_start_matches("error ").to_string(),
            }),
        }
    }
}

/// A connection with the guest's control port. QEMU serves one at a time.
#[derive(Debug)]
pub struct Control {
    stream: BufReader<UnixStream>,
    number: u64,
}

impl Control {
    /// Connects, waiting for QEMU to listen. The guest need not have booted:
    /// what is sent waits for it.
    ///
    /// # Errors
    ///
    /// When nothing listens in time.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ControlError> {
        let started = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    return Ok(Self {
                        stream: BufReader::new(stream),
                        number: clock::now_ns(),
                    });
                }
                Err(source) if started.elapsed() >= timeout => {
                    let path = path.to_path_buf();
                    return Err(ControlError::Connect { path, source });
                }
                Err(_) => sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    ///
    /// When the guest answers `error` or `bad`, or not in time, or QEMU ends.
    pub fn command(&mut self, command: &str, timeout: Duration) -> Result<Reply, ControlError> {
        self.number += 1;
        let mark = format!("#{} ", self.number);
        let line = format!("{mark}{command}\n");
        let late = || ControlError::Timeout {
            command: command.to_string(),
            seconds: timeout.as_secs_f64(),
        };
        let deadline = Instant::now() + timeout;
        self.stream.get_ref().set_write_timeout(Some(timeout))?;
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut answer = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late());
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            match self.stream.read_until(b'\n', &mut answer) {
                Ok(0) => {
                    let command = command.to_string();
                    return Err(ControlError::Closed { command });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            let text = String::from_utf8_lossy(&answer);
            if let Some(reply) = text.trim_end().strip_prefix(&mark) {
                return Reply::parse(command, reply);
            }
            answer.clear(); // The late answer to an earlier command.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    const SECOND: Duration = Duration::from_secs(1);

    /// A guest that answers one command with these lines; `#N` is its number.
    fn guest(lines: &'static [&'static str]) -> (tempfile::TempDir, JoinHandle<()>) {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("control")).unwrap();
        let answer = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            reader.read_line(&mut line).unwrap();
            let number = line.split(' ').next().unwrap();
            for line in lines {
                let line = line.replace("#N", number);
                stream.write_all(line.as_bytes()).unwrap();
            }
            reader.read_line(&mut line).unwrap();
        };
        (directory, thread::spawn(answer))
    }

    fn ask(lines: &'static [&'static str], timeout: Duration) -> Result<Reply, ControlError> {
        let (directory, answers) = guest(lines);
        let mut control = Control::connect(&directory.path().join("control"), SECOND)?;
        let reply = control.command("stats", timeout);
        drop(control);
        answers.join().unwrap();
        reply
    }

    #[test]
    fn an_answer_is_read_by_its_keys() {
        let reply = ask(&["#N ok writes=12 ker", "nel=6.1\n"], SECOND).unwrap();
        assert_eq!(reply.number("writes").unwrap(), 12);
        assert_eq!(reply.fields()["kernel"], "6.1");
        assert!(reply.number("late").is_err());
    }

    #[test]
    fn the_late_answer_to_an_earlier_command_is_passed_over() {
        let reply = ask(
            &["#1 ok writes=1\nok writes=2\n", "#N ok writes=3\n"],
            SECOND,
        );
        assert_eq!(reply.unwrap().number("writes").unwrap(), 3);
    }

    #[test]
    fn a_refusal_and_damage_are_errors() {
        let refused = ask(&["#N error there is no image\n"], SECOND).unwrap_err();
        assert!(
            matches!(refused, ControlError::Refused { words, .. } if words == "there is no image")
        );
        let bad = ask(&["#N bad pages=1 first=5\n"], SECOND).unwrap_err();
        assert!(matches!(bad, ControlError::Bad { reply } if reply == "pages=1 first=5"));
    }

    #[test]
    fn a_guest_that_is_silent_is_not_waited_for_for_ever() {
        let error = ask(&["#N ok wri"], Duration::from_millis(30)).unwrap_err();
        assert!(matches!(error, ControlError::Timeout { .. }), "{error}");
    }

    #[test]
    fn without_qemu_there_is_no_connection() {
        let error = Control::connect(Path::new("/nonexistent/control"), Duration::ZERO);
        assert!(matches!(error, Err(ControlError::Connect { .. })));
    }
}
