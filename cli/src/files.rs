//! Files, with limits on what is read and nothing half written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// Reads a text file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, to tell a file of just the limit from a longer one.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    ensure!(
        bytes.len() as u64 <= limit,
        "`{}` is longer than {} MiB, the most that is read",
        path.display(),
        limit >> 20
    );
    String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("`{}` is not UTF-8 text", path.display()))
}

/// The files under `path` that `wanted` picks, in the order of their names;
/// `path` itself when it is no folder. Folders named `invalid` and names that
/// start with a dot are left out.
pub(crate) fn walk(path: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    walk_folder(path, wanted, &mut found)?;
    Ok(found)
}

fn walk_folder(
    folder: &Path,
    wanted: &dyn Fn(&Path) -> bool,
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    let context = || format!("cannot list `{}`", folder.display());
    let mut entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .with_context(context)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name == "invalid" {
            continue;
        }
        // The type of the entry itself: a link to a folder could lead round in a circle.
        if entry.file_type().with_context(context)?.is_dir() {
            walk_folder(&entry.path(), wanted, found)?;
        } else if wanted(&entry.path()) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A file that is all there, with its size and digest.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Written {
    /// Its name, without the folder.
    pub(crate) file: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub(crate) sha256: String,
}

/// A file that appears under its name only when it is finished.
pub(crate) struct NewFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    digest: Sha256,
    bytes: u64,
}

impl NewFile {
    /// Starts a file that will be `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let context = || format!("cannot write `{}`", path.display());
        let mut builder = tempfile::Builder::new();
        builder.prefix(".watari-").suffix(".part");
        public(&mut builder);
        let file = builder.tempfile_in(folder(path)).with_context(context)?;
        let file = BufWriter::new(file);
        Ok(Self {
            path: path.to_owned(),
            file,
            digest: Sha256::new(),
            bytes: 0,
        })
    }

    /// Puts the file at its path, in place of one that was there.
    pub(crate) fn finish(self) -> Result<Written> {
        let context = || format!("cannot write `{}`", self.path.display());
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        let file = file.with_context(context)?;
        file.as_file().sync_all().with_context(context)?;
        file.persist(&self.path)
            .map_err(|error| error.error)
            .with_context(context)?;
        Ok(Written {
            file: name(&self.path),
            bytes: self.bytes,
            sha256: hexadecimal(&self.digest.finalize()),
        })
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Temporary files are private by default; a finished one is as public as any other.
#[cfg(unix)]
fn public(builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt as _;
    builder.permissions(fs::Permissions::from_mode(0o666));
}

#[cfg(not(unix))]
fn public(_: &mut tempfile::Builder<'_, '_>) {}

/// Writes a whole file, or leaves what was there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<Written> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    file.finish()
}

/// Removes what an earlier run left: it would be taken for a part of this one.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the old `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)
        .with_context(|| format!("cannot create the folder `{}`", path.display()))
}

/// The folder a path is in.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The SHA-256 of a text in hexadecimal digits.
pub(crate) fn sha256(text: &str) -> String {
    hexadecimal(&Sha256::digest(text.as_bytes()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
