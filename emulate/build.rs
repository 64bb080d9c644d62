//! Builds the guest's program: a static executable without crates, which the
//! library embeds. Cargo has no stable way to build one target of a package for
//! another linkage, so this calls the compiler.
//!
//! Where no static C library is installed the file is empty, and the library
//! says so when a guest is needed; nothing else misses it.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const OPTIONS: [&str; 16] = [
    "--edition",
    "2024",
    "--target",
    "x86_64-unknown-linux-gnu",
    "--crate-name",
    "guest",
    "-C",
    "opt-level=3",
    "-C",
    "panic=abort",
    "-C",
    "target-feature=+crt-static",
    "-C",
    "relocation-model=static",
    "-C",
    "strip=symbols",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=guest");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let program = Path::new(&out).join("guest");
    let compiler = env::var("RUSTC").expect("cargo sets RUSTC");
    let output = Command::new(compiler)
        .args(OPTIONS)
        .arg("-o")
        .arg(&program)
        .arg("guest/main.rs")
        .output();
    let complaint = match output {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    println!("cargo:warning=the guest's program was not built; emulation with guests needs the");
    println!(
        "cargo:warning=static C library (Debian: libc6-dev, Fedora: glibc-static) and a rebuild"
    );
    for line in complaint.lines().take(5) {
        println!("cargo:warning=  {line}");
    }
    fs::write(&program, "").expect("OUT_DIR can be written");
}
