//! The whole user space of the emulation's guest: `/init` of its initramfs.
//!
//! It mounts what it needs, loads the virtio modules, and then obeys commands
//! that come as lines of text on the virtio-serial port `watari.control`; each is
//! answered by one line, `ok key=value ...`, `bad key=value ...` or `error words`.
//! A command may begin with a number, `#17 stats`; the answer then begins with it
//! too, so that a host that gave up waiting for an answer does not take it for
//! that of its next command. The commands are listed in `commands.rs`.
//!
//! Everything is meant to cost few instructions: this runs under an emulated
//! processor that runs under an emulated processor. It waits without a timer
//! while a host is connected, prints nothing, and writes one word a page.
//!
//! Uses the standard library only: it is built by `emulate/build.rs`, which calls
//! the compiler on this file, as a static program. It is also an example of the
//! crate, for the sake of its tests and of `cargo fmt` and `cargo clippy`.

mod arguments;
mod boot;
mod commands;
mod control;
mod disk;
mod memory;
mod network;
mod ram;
mod system;
mod writer;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        return ExitCode::from(2); // Not the first process of a guest: touch nothing.
    }
    match boot::boot().and_then(|()| control::serve()) {
        Ok(()) => system::power_off(),
        Err(error) => boot::report(&error),
    }
    ExitCode::FAILURE // The kernel panics, reboots by `panic=-1`, and QEMU exits.
}
