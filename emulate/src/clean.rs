//! Finds and removes what a run left behind.
//!
//! Nothing is written down while a run goes on: its processes carry its name in
//! their environment, its namespaces in their names, and its files are in one
//! folder, below [`FOLDER`] or, of a lab VM, below the folder for temporary
//! files. Who still works with a folder holds a lock in it.

use std::fs::{self, File};
use std::io::ErrorKind::{NotFound, PermissionDenied};
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
/// How names of runs and of their folders begin.
pub const PREFIX: &str = "watari-";
/// The variable that tells the folder of a lab VM.
pub const MARK_FOLDER: &str = "WATARI_FOLDER";
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

/// A folder for a while, claimed; it goes when this goes.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    _claim: Claim,
}

impl Scratch {
    /// A new folder below `parent`, which has `word` in its name.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new(parent: &Path, word: &str) -> std::io::Result<Self> {
        let prefix = format!("{PREFIX}{word}-");
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(parent)?;
        let claim = claim(folder.path())?;
        Ok(Self {
            folder,
            _claim: claim,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its name, which no other folder has.
    pub fn name(&self) -> String {
        let name = self.path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// What cleaning came to, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// What was found and is gone.
    pub removed: Vec<String>,
    /// What was found and could not be removed.
    pub left: Vec<String>,
}

/// Something that may have been left behind: a run's name and its folder.
type Found = (String, PathBuf);

/// Removes what dead runs left below `root`, and dead labs below the folders in
/// `temporary`.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn all(root: &Path, temporary: &[PathBuf]) -> std::io::Result<Cleaned> {
    let mut cleaned = Cleaned::default();
    for (run, folder) in dead(root, temporary)? {
        let found = traces(&run, &folder);
        remove(&run, &folder);
        let left = traces(&run, &folder);
        let gone = found.into_iter().filter(|thing| !left.contains(thing));
        cleaned.removed.extend(gone);
        cleaned.left.extend(left);
    }
    Ok(cleaned)
}

fn traces(run: &str, folder: &Path) -> Vec<String> {
    let mut found = left_of(run);
    if folder.exists() {
        found.push(format!("folder {}", folder.display()));
    }
    found
}

/// Runs and labs that something is left of and that nobody has claimed.
fn dead(root: &Path, temporary: &[PathBuf]) -> std::io::Result<Vec<Found>> {
    let below = |parent: &Path, name: String| (name.clone(), parent.join(name));
    let mut found: Vec<Found> = Vec::new();
    for parent in temporary {
        let named = folders(parent)?.into_iter().map(|name| below(parent, name));
        // Other people's folders may be called so too; ours have a lock.
        found.extend(named.filter(|(_, folder)| folder.join(LOCK).exists()));
    }
    found.extend(folders(root)?.into_iter().map(|name| below(root, name)));
    let spaces = folders(Path::new(NAMESPACES))?;
    let owners = spaces.iter().filter_map(|name| owner(name));
    found.extend(owners.map(|run| below(root, run)));
    for marked in marked() {
        let folder = marked.folder.unwrap_or_else(|| root.join(&marked.run));
        found.push((marked.run, folder));
    }
    found.retain(|(run, folder)| run.starts_with(PREFIX) && !is_claimed(folder));
    found.sort();
    found.dedup();
    Ok(found)
}

/// The run that a namespace belongs to.
fn owner(namespace: &str) -> Option<String> {
    let id = namespace.strip_prefix(PREFIX)?.split('-').next()?;
    Some(format!("{PREFIX}{id}"))
}

/// The folders of ours in a folder.
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
        // What this user cannot look into is another user's.
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(Vec::new()),
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
    let processes = marked().into_iter().filter(|marked| marked.run == run);
    let mut left: Vec<String> = processes
        .map(|marked| format!("process {} ({})", marked.pid, name_of(marked.pid)))
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
        for marked in marked().iter().filter(|marked| marked.run == run) {
            some = true;
            let _ = kill(Pid::from_raw(marked.pid), Signal::SIGKILL);
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

/// A living process that a run started.
struct Marked {
    pid: i32,
    run: String,
    folder: Option<PathBuf>,
}

/// Living processes that runs started. This process itself is none of them.
fn marked() -> Vec<Marked> {
    let own = std::process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|&pid: &i32| pid != own)
        .filter_map(marks_of)
        .collect()
}

fn marks_of(pid: i32) -> Option<Marked> {
    let path: PathBuf = ["/proc", &pid.to_string(), "environ"].iter().collect();
    let environment = fs::read(path).ok()?;
    let variable = |name: &str| {
        let mark = format!("{name}=");
        environment
            .split(|&byte| byte == 0)
            .find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix(&mark))
            .map(str::to_owned)
    };
    Some(Marked {
        pid,
        run: variable(MARK)?,
        folder: variable(MARK_FOLDER).map(PathBuf::from),
    })
}

fn name_of(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // `all` would also end what other programs on this machine run.
    #[test]
    fn a_folder_is_claimed_until_its_owner_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path(), "vm").unwrap();
        let (name, path) = (scratch.name(), scratch.path().to_owned());
        assert_eq!(folders(parent.path()).unwrap(), std::slice::from_ref(&name));
        assert!(is_claimed(&path));
        let Scratch { folder, _claim } = scratch;
        // As if the owner had been killed.
        let _ = folder.keep();
        drop(_claim);
        assert!(!is_claimed(&path));
        remove(&name, &path);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_only_sounds_like_ours_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let ours = parent.path().join("watari-vm-dead");
        let theirs = parent.path().join("watari-thesis");
        drop(claim(&ours).unwrap());
        fs::create_dir(&theirs).unwrap();
        let found = dead(&parent.path().join("runs"), &[parent.path().to_owned()]).unwrap();
        assert!(found.iter().any(|(_, folder)| *folder == ours));
        assert!(found.iter().all(|(_, folder)| *folder != theirs));
    }

    #[test]
    fn a_namespace_belongs_to_the_run_whose_name_it_begins_with() {
        assert_eq!(owner("watari-12x3-host-a").unwrap(), "watari-12x3");
        assert_eq!(owner("other-1-a"), None);
    }
}
