//! Finds and removes what a run left behind.
//!
//! Nothing is written down while a run goes on: its processes carry its name in
//! their environment, its namespaces in their names, and its files are in one
//! folder below [`FOLDER`]. A run that is still going holds a lock on its folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::apply::MARK;

/// Where the folders of runs are.
pub const FOLDER: &str = "/run/watari";
/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";
/// How names of runs begin.
pub const PREFIX: &str = "watari-";
/// File in a run's folder that its owner holds a lock on.
const LOCK: &str = "lock";
/// Longest wait for killed processes to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds the name of a run: while it lives, [`all`] leaves the run alone.
#[derive(Debug)]
pub struct Claim {
    _lock: Flock<File>,
}

/// Claims the folder of a run.
///
/// # Errors
///
/// When the folder cannot be made, or another process has claimed it.
pub fn claim(folder: &Path) -> std::io::Result<Claim> {
    fs::create_dir_all(folder)?;
    let file = File::create(folder.join(LOCK))?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    lock.map(|lock| Claim { _lock: lock })
        .map_err(|(_, error)| error.into())
}

/// Removes what dead runs left below `root`; gives what was found, in words.
///
/// # Errors
///
/// When the folder of runs cannot be read.
pub fn all(root: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    for run in dead_runs(root)? {
        found.extend(left_of(&run));
        let folder = root.join(&run);
        if folder.exists() {
            found.push(format!("folder {}", folder.display()));
        }
        remove(&run, &folder);
    }
    Ok(found)
}

/// Names of runs that something is left of and that nobody has claimed.
fn dead_runs(root: &Path) -> std::io::Result<Vec<String>> {
    let mut runs: Vec<String> = folders(root)?;
    let owner = |name: &str| {
        let mut parts = name.splitn(3, '-');
        let _ = parts.next();
        parts.next().map(|id| format!("{PREFIX}{id}"))
    };
    runs.extend(
        folders(Path::new(NAMESPACES))?
            .iter()
            .filter_map(|n| owner(n)),
    );
    runs.extend(marked().into_iter().map(|(_, run)| run));
    runs.retain(|run| run.starts_with(PREFIX));
    runs.sort();
    runs.dedup();
    runs.retain(|run| !is_claimed(&root.join(run)));
    Ok(runs)
}

fn folders(parent: &Path) -> std::io::Result<Vec<String>> {
    match fs::read_dir(parent) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<std::io::Result<Vec<String>>>()
            .map(|names| {
                names
                    .into_iter()
                    .filter(|n| n.starts_with(PREFIX))
                    .collect()
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_claimed(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(LOCK)) else {
        return false;
    };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
}

/// What is left of a run, in words: processes and namespaces.
pub fn left_of(run: &str) -> Vec<String> {
    let processes = marked().into_iter().filter(|(_, of)| of == run);
    let mut left: Vec<String> = processes
        .map(|(pid, _)| format!("process {pid} ({})", name_of(pid)))
        .collect();
    let spaces = namespaces(run);
    left.extend(spaces.into_iter().map(|name| format!("namespace {name}")));
    left
}

/// Kills the processes of a run, removes its namespaces and its folder.
pub fn remove(run: &str, folder: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut some = false;
        for (pid, _) in marked().into_iter().filter(|(_, of)| of == run) {
            some = true;
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if !some || Instant::now() > deadline {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for name in namespaces(run) {
        let _ = Command::new("ip")
            .args(["netns", "del", &name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
    let _ = fs::remove_dir_all(folder);
}

fn namespaces(run: &str) -> Vec<String> {
    let names = folders(Path::new(NAMESPACES)).unwrap_or_default();
    let of_run = |name: &String| {
        name.strip_prefix(run)
            .is_some_and(|rest| rest.starts_with('-'))
    };
    names.into_iter().filter(of_run).collect()
}

/// Living processes that a run started: their number and the run's name. This
/// process itself is none of them.
fn marked() -> Vec<(i32, String)> {
    let own = std::process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|&pid: &i32| pid != own)
        .filter_map(|pid| Some((pid, mark_of(pid)?)))
        .collect()
}

fn mark_of(pid: i32) -> Option<String> {
    let path: PathBuf = ["/proc", &pid.to_string(), "environ"].iter().collect();
    let environment = fs::read(path).ok()?;
    let mark = format!("{MARK}=");
    environment
        .split(|&byte| byte == 0)
        .find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix(&mark))
        .map(str::to_owned)
}

fn name_of(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}
