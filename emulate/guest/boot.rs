//! From the kernel's hand-over to a machine with its devices.

use std::fs;
use std::io::{self, Write as _};

use crate::system;

/// Where the initramfs holds the modules; their names begin with their order.
const MODULES: &str = "/modules";

/// Mounts the kernel's file systems and loads the modules, which are then
/// removed to give their memory back.
pub(crate) fn boot() -> io::Result<()> {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        fs::create_dir_all(target)?;
        system::mount_at(kind, target).map_err(|e| context(&format!("mount {target}"), &e))?;
    }
    let mut modules: Vec<_> = fs::read_dir(MODULES)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    modules.sort();
    for module in modules {
        let name = module.display().to_string();
        system::load_module(&module).map_err(|e| context(&format!("load {name}"), &e))?;
        fs::remove_file(&module)?;
    }
    fs::remove_file("/init")?;
    Ok(())
}

/// Tells the console why the guest cannot work.
pub(crate) fn report(error: &io::Error) {
    if let Ok(mut console) = fs::OpenOptions::new().write(true).open("/dev/console") {
        // There is nowhere to report that this failed.
        let _ = writeln!(console, "watari guest: {error}");
    }
}

fn context(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
