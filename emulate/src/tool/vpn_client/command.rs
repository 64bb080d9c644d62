//! Commands of the configuration: run without a shell, for a bounded time.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A command under way; whatever of it still runs is killed on drop.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    over: bool,
    /// When its time is up.
    pub(super) until: u64,
}

impl Running {
    /// Starts a command; it finds the gateway's name in `WATARI_GATEWAY`. What it
    /// prints goes to standard error, for standard output carries events only.
    pub(super) fn start(argv: &[String], gateway: &str, until: u64) -> io::Result<Self> {
        let child = Command::new(&argv[0])
            .args(&argv[1..])
            .env("WATARI_GATEWAY", gateway)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .process_group(0)
            .spawn()?;
        let over = false;
        Ok(Self { child, over, until })
    }

    /// How it ended, or `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        self.over = true;
        Some(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // The group is there until its leader, our child, is waited for.
        let _ = killpg(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.child.wait();
    }
}

/// In words, or `None` when all went well.
pub(super) fn failure(status: ExitStatus) -> Option<String> {
    if status.success() {
        return None;
    }
    Some(match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "no exit code".into(),
    })
}
