//! The lab VM: started with a job, read until the job says that it ended.
//!
//! The job travels in the memory image that QEMU loads behind the lab's own:
//! watari itself with the libraries it runs on, the scenario, and the guest.
//! What the job says comes back through a virtio-serial port that is QEMU's
//! standard output; writes to it block rather than get lost. The last line must
//! be [`Event::End`], or something was lost and the job failed.
//!
//! QEMU dies with the process that started it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Lacks;
use super::build::{Image, find_program};
use crate::apply::MARK;
use crate::clean::{MARK_FOLDER, Scratch};
use crate::event::Event;
use crate::guest::initramfs::Archive;
use crate::plan::script::quote;

/// Memory of the lab VM.
const MEMORY_MIB: u32 = 4096;
/// Largest guest that fits into it: two copies run, and a saved state is a file in memory.
pub const LARGEST_GUEST_MIB: u64 = 1024;
/// A lab that says nothing for so long (wall time) is dead.
const SILENCE: Duration = Duration::from_secs(900);
const START: &str = include_str!("start.sh");
/// What a shell in the lab is.
const SHELL: &str = "exec < /dev/console > /dev/console 2>&1\n\
    echo 'the lab VM: exit ends it, Ctrl-A X kills it; a guest is in /job'\n\
    cd /root\n\
    PS1='lab:\\w# ' $b setsid $b cttyhack $b sh\n";

/// How time passes in a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// An instruction takes a nanosecond; waiting takes no time.
    Virtual,
    /// The machine's.
    Real,
}

impl Clock {
    /// The word in the record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Virtual => "virtual",
            Self::Real => "real",
        }
    }
}

/// What runs in the lab.
#[derive(Clone, Debug)]
pub struct Job {
    /// Arguments of watari.
    pub arguments: Vec<String>,
    /// Files for `/job`: name, with folders, and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// A file that the job writes to as `/dev/vda`, and its size.
    pub disk: Option<(PathBuf, u64)>,
}

/// Runs a job in a lab VM and hands every event on as it comes.
///
/// # Errors
///
/// When the VM does not start, the job fails, or `stop` is set.
pub fn run(
    image: &Image,
    job: &Job,
    clock: Clock,
    stop: &AtomicBool,
    event: &mut dyn FnMut(Event),
) -> Result<()> {
    let scratch = scratch("vm")?;
    let words: Vec<String> = job.arguments.iter().map(|word| quote(word)).collect();
    let line = format!("watari {}\n", words.join(" "));
    let mut command = machine(image, clock, &scratch, &line, &job.files)?;
    let console = scratch.path().join("console");
    command
        .arg("-serial")
        .arg(file_option("file:", &console))
        .args(["-chardev", "stdio,id=record,signal=off"]);
    if let Some((path, size)) = &job.disk {
        fs::File::create(path)?.set_len(*size)?;
        let disk = file_option("file=", path);
        let disk = format!("{},format=raw,if=virtio", disk.display());
        command.args(["-drive", &disk]);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(scratch.path().join("qemu"))?)
        // Ctrl-C is for watari, which ends the lab in order.
        .process_group(0);
    let mut child = command.spawn().context("cannot start the lab VM's QEMU")?;
    let result = listen(&mut child, stop, event);
    // The pipe is what keeps the record port open, so it lives until here.
    let _ = child.kill();
    let _ = child.wait();
    result.map_err(|error| {
        let words = last_words(&console, &scratch.path().join("qemu"));
        error.context(format!("the lab VM failed{words}"))
    })
}

/// Runs a shell in a lab VM, on the terminal of this program.
///
/// # Errors
///
/// When the VM does not start.
pub fn shell(image: &Image, clock: Clock) -> Result<()> {
    let scratch = scratch("vm")?;
    let files = guest_files(image)?;
    let mut command = machine(image, clock, &scratch, SHELL, &files)?;
    command.args(["-chardev", "stdio,id=terminal,mux=on,signal=off"]);
    command.args(["-serial", "chardev:terminal", "-mon", "chardev=terminal"]);
    command.args(["-chardev", "null,id=record"]);
    let status = command.status().context("cannot start the lab VM's QEMU")?;
    if !status.success() {
        bail!("the lab VM failed: {status}");
    }
    Ok(())
}

fn scratch(word: &str) -> Result<Scratch> {
    let parent = std::env::temp_dir();
    Scratch::new(&parent, word).with_context(|| {
        format!(
            "cannot make a folder for the lab VM in `{}`",
            parent.display()
        )
    })
}

/// What a guest boots from, as files of a job.
///
/// # Errors
///
/// When the image lacks it.
pub fn guest_files(image: &Image) -> Result<Vec<(String, Vec<u8>)>> {
    let parts = [("vmlinuz", image.kernel()), ("guest.cpio", image.guest())];
    let read = |(name, path): (&str, PathBuf)| {
        let bytes = fs::read(&path).with_context(|| {
            format!(
                "cannot read `{}`; `watari lab build --force`",
                path.display()
            )
        })?;
        Ok((name.to_owned(), bytes))
    };
    parts.into_iter().map(read).collect()
}

fn listen(child: &mut Child, stop: &AtomicBool, event: &mut dyn FnMut(Event)) -> Result<()> {
    let output = child.stdout.take().expect("standard output is a pipe");
    let (sender, lines) = channel();
    // A thread of its own, as a pipe has no reading with a time limit.
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut heard = Instant::now();
    while let Some(line) = next_line(&lines, stop, &mut heard)? {
        let message: Event = serde_json::from_str(&line)
            .with_context(|| format!("the lab said something that is no event: {line:.200}"))?;
        match message {
            Event::End => return Ok(()),
            Event::Failed(reason) => bail!("{reason}"),
            other => event(other),
        }
    }
    bail!("the lab VM ended before its job did")
}

fn next_line(
    lines: &Receiver<std::io::Result<String>>,
    stop: &AtomicBool,
    heard: &mut Instant,
) -> Result<Option<String>> {
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                *heard = Instant::now();
                return Ok(Some(line.context("cannot read what the lab says")?));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => {
                bail!("interrupted")
            }
            Err(RecvTimeoutError::Timeout) if heard.elapsed() > SILENCE => {
                bail!("the lab VM said nothing for {} s", SILENCE.as_secs())
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// The end of the console and of QEMU's error output.
fn last_words(console: &Path, error: &Path) -> String {
    let mut words = String::new();
    for (who, path) in [("console", console), ("QEMU", error)] {
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        for line in &lines[lines.len().saturating_sub(8)..] {
            words.push_str(&format!("\n  {who}: {}", line.trim_end()));
        }
    }
    words
}

/// The lab's memory image with the job behind it; the kernel reads both.
fn memory_image(image: &Image, line: &str, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let initrd = image.initrd();
    let mut bytes = fs::read(&initrd)
        .with_context(|| format!("cannot read `{}`; run `watari lab build`", initrd.display()))?;
    let mut archive = Archive::default();
    archive.directory("job");
    archive.directory("job/lib");
    // This very program, even if another one has taken its place on disk.
    archive.file("job/watari", &fs::read("/proc/self/exe")?);
    for library in libraries()? {
        let name = library.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let place = if name.starts_with("ld-") {
            "job/loader".to_owned()
        } else {
            format!("job/lib/{name}")
        };
        archive.file(&place, &fs::read(&library)?);
    }
    archive.file("job/start", START.as_bytes());
    archive.file("job/command", line.as_bytes());
    let mut folders = std::collections::BTreeSet::new();
    for (name, content) in files {
        for (end, _) in name.match_indices('/') {
            if folders.insert(&name[..end]) {
                archive.directory(&format!("job/{}", &name[..end]));
            }
        }
        archive.file(&format!("job/{name}"), content);
    }
    bytes.extend(archive.end());
    Ok(bytes)
}

/// The shared libraries that this program runs on, the loader among them.
fn libraries() -> Result<Vec<PathBuf>> {
    let mut maps = String::new();
    fs::File::open("/proc/self/maps")?.read_to_string(&mut maps)?;
    let mut found: Vec<PathBuf> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .map(PathBuf::from)
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// QEMU's command line without its serial port and the end of the record port,
/// the chardev `record`.
fn machine(
    image: &Image,
    clock: Clock,
    scratch: &Scratch,
    line: &str,
    files: &[(String, Vec<u8>)],
) -> Result<Command> {
    let initrd = scratch.path().join("initrd");
    fs::write(&initrd, memory_image(image, line, files)?)
        .with_context(|| format!("cannot write `{}`", initrd.display()))?;
    let mut command = bare_with(image, scratch, &initrd)?;
    // An emulated processor counts every byte of a fast string operation as an
    // instruction; without these two the kernel moves eight at a time.
    command.args(["-accel", "tcg", "-cpu", "max,erms=off,fsrm=off"]);
    let memory = format!("{MEMORY_MIB}M,slots=1,maxmem={}M", 2 * MEMORY_MIB);
    command.args(["-m", &memory]);
    if clock == Clock::Virtual {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    command.args([
        "-append",
        "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr \
         random.trust_cpu=on tsc=reliable",
    ]);
    // Memory and no disk: while the lab waits for a disk its virtual clock runs
    // ahead, by minutes of virtual time for milliseconds of the machine's.
    let system = image.system();
    let size = fs::metadata(&system)?.len();
    let module = file_option("memory-backend-file,id=system,mem-path=", &system);
    let module = format!("{},size={size},share=on,readonly=on", module.display());
    command.args(["-object", &module]);
    command.args(["-device", "nvdimm,memdev=system,unarmed=on"]);
    command.args(["-device", "virtio-serial-pci", "-device", "virtio-rng-pci"]);
    command.args([
        "-device",
        "virtserialport,chardev=record,name=watari.record",
    ]);
    Ok(command)
}

/// A machine with the lab's kernel and first memory image and nothing else.
///
/// # Errors
///
/// When there is no QEMU.
pub fn bare(image: &Image, scratch: &Scratch) -> Result<Command, Lacks> {
    bare_with(image, scratch, &image.initrd())
}

fn bare_with(image: &Image, scratch: &Scratch, initrd: &Path) -> Result<Command, Lacks> {
    let program = find_program("qemu-system-x86_64").ok_or_else(|| {
        let fix = "sudo apt-get install qemu-system-x86";
        Lacks::new("QEMU is not installed", fix)
    })?;
    let mut command = Command::new(program);
    command
        .env(MARK, scratch.name())
        .env(MARK_FOLDER, scratch.path())
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-machine", "q35,nvdimm=on"])
        .arg("-kernel")
        .arg(image.kernel())
        .arg("-initrd")
        .arg(initrd);
    die_with_parent(&mut command);
    Ok(command)
}

/// `prefix` and a path; commas separate QEMU's options, so they are doubled.
pub(crate) fn file_option(prefix: &str, path: &Path) -> std::ffi::OsString {
    format!("{prefix}{}", path.display().to_string().replace(',', ",,")).into()
}

#[expect(unsafe_code, reason = "prctl must be called between fork and exec")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            Ok(())
        });
    }
}

/// The saved state of a guest with so much memory; made in the lab when it is
/// not there yet.
///
/// # Errors
///
/// When the lab fails.
pub fn guest_state(
    image: &Image,
    mebibytes: u64,
    stop: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let state = image.state(mebibytes);
    if state.exists() {
        return Ok(state);
    }
    say(&format!(
        "booting a guest of {mebibytes} MiB once, to save its state"
    ));
    let scratch = Scratch::new(&image.folder, "state")
        .with_context(|| format!("cannot write in `{}`", image.folder.display()))?;
    let disk = scratch.path().join("disk");
    let memory = mebibytes.to_string();
    let arguments = [
        "tool",
        "state",
        "--guest",
        "/job",
        "--memory",
        &memory,
        "--folder",
        "/run/guest",
        "--device",
        "/dev/vda",
    ];
    let job = Job {
        arguments: arguments.map(str::to_owned).to_vec(),
        files: guest_files(image)?,
        disk: Some((disk.clone(), (mebibytes + 64) << 20)),
    };
    let mut bytes = None;
    run(image, &job, Clock::Virtual, stop, &mut |event| {
        if let Event::Log { text, .. } = event {
            bytes = text.parse::<u64>().ok();
        }
    })?;
    let bytes = bytes.context("the lab did not say how large the guest's state is")?;
    fs::OpenOptions::new()
        .write(true)
        .open(&disk)?
        .set_len(bytes)?;
    fs::rename(&disk, &state)?;
    Ok(state)
}
