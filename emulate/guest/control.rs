//! The control port: a line in, a line out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::commands::Guest;
use crate::system::{Readiness, wait_input};

const NAME: &str = "watari.control";
/// A longer line is not a command.
const LONGEST: usize = 64 * 1024;

/// Obeys commands until one of them is `poweroff`.
pub(crate) fn serve() -> io::Result<()> {
    let mut port = open()?;
    let mut guest = Guest::new();
    let mut pending = Vec::new();
    while !guest.is_done() {
        match wait_input(port.as_raw_fd(), -1) {
            Readiness::Input if receive(&mut port, &mut pending)? => {}
            // Without a host the kernel says that there is input, and there is none.
            Readiness::Input | Readiness::HungUp => {
                pending.clear(); // Half a line of a host that left.
                sleep(Duration::from_millis(50));
            }
            Readiness::Nothing => {} // Interrupted.
        }
        while let Some(line) = take_line(&mut pending) {
            let mut answer = answer(&mut guest, &line);
            answer.push('\n');
            // A write would wait for the next host, which did not ask.
            if wait_input(port.as_raw_fd(), 0) != Readiness::HungUp {
                port.write_all(answer.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// Opens the port; the kernel finds it some time after the module is loaded.
fn open() -> io::Result<File> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        for entry in fs::read_dir("/sys/class/virtio-ports")? {
            let entry = entry?;
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == NAME {
                let device = format!("/dev/{}", entry.file_name().display());
                return OpenOptions::new().read(true).write(true).open(device);
            }
        }
        sleep(Duration::from_millis(1));
    }
    let message = format!("no virtio-serial port is named {NAME}");
    Err(io::Error::new(ErrorKind::NotFound, message))
}

/// Reads what is there; says whether a host is.
fn receive(port: &mut File, pending: &mut Vec<u8>) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    match port.read(&mut bytes) {
        Ok(0) => return Ok(false),
        Ok(count) => pending.extend_from_slice(&bytes[..count]),
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    if pending.len() > LONGEST {
        pending.clear();
    }
    Ok(true)
}

fn take_line(pending: &mut Vec<u8>) -> Option<String> {
    let end = pending.iter().position(|byte| *byte == b'\n')?;
    let line: Vec<u8> = pending.drain(..=end).collect();
    Some(String::from_utf8_lossy(&line).trim().to_string())
}

/// The answer to a line, with the number that the line begins with.
fn answer(guest: &mut Guest, line: &str) -> String {
    let (number, command) = match line.split_once(' ') {
        Some((number, command)) if number.starts_with('#') => (Some(number), command),
        _ => (None, line),
    };
    let answer = guest.obey(command);
    number.map_or(answer.clone(), |number| format!("{number} {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_one_by_one_and_the_rest_is_kept() {
        let mut pending = b"hello\r\nstats\nver".to_vec();
        assert_eq!(take_line(&mut pending).as_deref(), Some("hello"));
        assert_eq!(take_line(&mut pending).as_deref(), Some("stats"));
        assert_eq!(take_line(&mut pending), None);
        assert_eq!(pending, b"ver");
    }

    #[test]
    fn an_answer_bears_the_number_of_its_command() {
        let mut guest = Guest::new();
        assert!(answer(&mut guest, "#9 nonsense").starts_with("#9 error"));
        assert!(answer(&mut guest, "nonsense").starts_with("error"));
    }
}
