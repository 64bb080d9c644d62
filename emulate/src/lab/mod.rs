//! Labs: where plans are applied.
//!
//! The `host` lab is this machine, as root. The `vm` lab is a virtual machine
//! that is made of Debian packages ([`build`]), started from QEMU by an
//! ordinary user and emulated in software ([`vm`]); inside it the same watari
//! runs with the `host` lab. There is one code path: the VM only carries it.

pub mod build;
pub mod vm;

use std::path::PathBuf;

use crate::clean::{self, Cleaned};

/// What a machine lacks for a lab, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}\n  fix: {fix}")]
pub struct Lacks {
    /// What is missing.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Lacks {
    /// Something is missing.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
        }
    }
}

/// Where images are kept: `WATARI_CACHE`, else the user's cache folder.
///
/// # Errors
///
/// When there is no home.
pub fn cache() -> Result<PathBuf, Lacks> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let of_user = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
    variable("WATARI_CACHE")
        .map(PathBuf::from)
        .or_else(|| of_user.map(|folder| folder.join("watari")))
        .ok_or_else(|| {
            Lacks::new(
                "there is no home folder to keep images in",
                "set WATARI_CACHE",
            )
        })
}

/// Removes what killed emulations, lab VMs and builds left behind.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn clean() -> std::io::Result<Cleaned> {
    let mut temporary = vec![std::env::temp_dir()];
    if let Ok(cache) = cache() {
        // Images are below the cache, and states are made in them.
        let entries = std::fs::read_dir(&cache).into_iter().flatten();
        let images = entries.filter_map(|entry| Some(entry.ok()?.path()));
        temporary.extend(images.filter(|path| path.is_dir()));
        temporary.push(cache);
    }
    clean::all(std::path::Path::new(clean::FOLDER), &temporary)
}
