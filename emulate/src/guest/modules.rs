//! The kernel of the guest and the modules that it needs.
//!
//! A kernel is looked for in a directory that a kernel package was extracted
//! into: `boot/vmlinuz-VERSION` and `lib/modules/VERSION`. Dependencies come from
//! `modules.dep` where `depmod` has run, and else from the modules themselves,
//! which name what they depend on: packages come without that file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Modules of a guest with a network card and a control port.
pub const NETWORK: [&str; 3] = ["virtio_pci", "virtio_console", "virtio_net"];
/// The module of a guest with a disk.
pub const DISK: &str = "virtio_blk";

/// Why there is no kernel, or not all of its modules.
#[derive(Debug, Error)]
pub enum ModulesError {
    /// The directory holds no kernel.
    #[error(
        "no boot/vmlinuz-* with its lib/modules/* in {0}: extract a kernel package there, \
         such as Debian's linux-image-cloud-amd64, with `dpkg-deb -x`"
    )]
    NoKernel(PathBuf),
    /// A module is not there.
    #[error("the kernel's package has no module {0}; take one that has, or has it built in")]
    Missing(String),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn read<T>(path: &Path, result: std::io::Result<T>) -> Result<T, ModulesError> {
    result.map_err(|source| ModulesError::Read {
        path: path.to_path_buf(),
        source,
    })
}

/// A kernel with its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its version, as in `uname -r`.
    pub version: String,
    /// The file to boot.
    pub image: PathBuf,
    /// The directory of its modules.
    pub modules: PathBuf,
}

impl Kernel {
    /// The kernel in a directory that its package was extracted into; the one
    /// of the highest name when there are many.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find(root: &Path) -> Result<Self, ModulesError> {
        let missing = || ModulesError::NoKernel(root.to_path_buf());
        let entries = fs::read_dir(root.join("boot")).map_err(|_| missing())?;
        let names = entries.flatten().map(|entry| entry.file_name());
        let kernel = |name: std::ffi::OsString| {
            let version = name.to_str()?.strip_prefix("vmlinuz-")?;
            let modules = ["lib/modules", "usr/lib/modules"]
                .map(|directory| root.join(directory).join(version));
            Some(Self {
                version: version.to_string(),
                image: root.join("boot").join(&name),
                modules: modules.into_iter().find(|path| path.is_dir())?,
            })
        };
        let kernels = names.filter_map(kernel);
        kernels
            .max_by(|a, b| a.version.cmp(&b.version))
            .ok_or_else(missing)
    }

    /// The modules of these names and what they depend on, in the order to load
    /// them: file names and contents.
    ///
    /// # Errors
    ///
    /// When one is missing or cannot be read.
    pub fn load(&self, names: &[&str]) -> Result<Vec<(String, Vec<u8>)>, ModulesError> {
        let listed = self.modules.join("modules.dep");
        let dependencies = if listed.exists() {
            Dependencies::parse(&read(&listed, fs::read_to_string(&listed))?)
        } else {
            self.scan()?
        };
        let paths = dependencies.resolve(names)?;
        let content = |path: String| {
            let file = self.modules.join(&path);
            let name = path.rsplit('/').next().unwrap_or_default().to_string();
            Ok((name, read(&file, fs::read(&file))?))
        };
        paths.into_iter().map(content).collect()
    }

    /// Dependencies as the modules below `kernel/` state them.
    fn scan(&self) -> Result<Dependencies, ModulesError> {
        let mut found = Dependencies::default();
        let mut directories = vec![self.modules.join("kernel")];
        while let Some(directory) = directories.pop() {
            for entry in read(&directory, fs::read_dir(&directory))?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|ending| ending == "ko") {
                    let inside = path.strip_prefix(&self.modules).unwrap_or(&path);
                    let needs = stated(&read(&path, fs::read(&path))?);
                    found.add(&inside.to_string_lossy(), needs);
                }
            }
        }
        Ok(found)
    }
}

/// Files of modules, and the names of those that each depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    modules: BTreeMap<String, (String, Vec<String>)>,
}

impl Dependencies {
    /// Reads the text of `modules.dep`: `path: path path ...` on each line.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            if let Some((path, needs)) = line.split_once(':') {
                // The file lists what is needed directly or not, the last to be loaded first.
                let needs = needs.split_whitespace().rev().map(name_of);
                found.add(path, needs.collect());
            }
        }
        found
    }

    fn add(&mut self, path: &str, needs: Vec<String>) {
        self.modules
            .insert(name_of(path), (path.to_string(), needs));
    }

    /// The files of these modules and of what they depend on, each once, after
    /// what it depends on.
    ///
    /// # Errors
    ///
    /// When one of them is missing.
    pub fn resolve(&self, names: &[&str]) -> Result<Vec<String>, ModulesError> {
        let mut order = Vec::new();
        for name in names {
            self.visit(&name_of(name), &mut order)?;
        }
        let paths = order.iter().map(|name| self.modules[name].0.clone());
        Ok(paths.collect())
    }

    fn visit(&self, name: &str, order: &mut Vec<String>) -> Result<(), ModulesError> {
        if order.iter().any(|loaded| loaded == name) {
            return Ok(());
        }
        let missing = || ModulesError::Missing(name.to_string());
        let (_, needs) = self.modules.get(name).ok_or_else(missing)?;
        for need in needs {
            self.visit(need, order)?;
        }
        order.push(name.to_string());
        Ok(())
    }
}

/// The name of a module by its file: dashes and underscores are the same.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    let name = file.split(".ko").next().unwrap_or_default();
    name.replace('-', "_")
}

/// What a module says that it depends on: `depends=a,b` in its `.modinfo`.
fn stated(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|bytes| bytes == key) else {
        return Vec::new();
    };
    let rest = &module[at + key.len()..];
    let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(name_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/net/core/failover.ko.xz:
kernel/drivers/net/net-failover.ko.xz: kernel/net/core/failover.ko.xz
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net-failover.ko.xz \
kernel/net/core/failover.ko.xz kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
";

    #[test]
    fn modules_come_after_what_they_depend_on() {
        let paths = Dependencies::parse(DEP).resolve(&["virtio_net", "virtio"]);
        let names: Vec<_> = paths.unwrap().iter().map(|path| name_of(path)).collect();
        let expected = [
            "virtio_ring",
            "virtio",
            "failover",
            "net_failover",
            "virtio_net",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let error = Dependencies::parse(DEP).resolve(&["virtio_blk"]);
        assert!(error.unwrap_err().to_string().contains("virtio_blk"));
    }

    #[test]
    fn a_module_states_what_it_depends_on() {
        let module = b"\x7fELF\0license=GPL\0depends=virtio_ring,net-failover\0name=x\0";
        assert_eq!(stated(module), ["virtio_ring", "net_failover"]);
        assert!(stated(b"\0depends=\0").is_empty());
        assert!(stated(b"none").is_empty());
    }

    #[test]
    fn a_directory_without_a_kernel_says_what_to_put_there() {
        let error = Kernel::find(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("dpkg-deb -x"));
    }
}
