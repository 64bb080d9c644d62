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
use crate::clean;
use crate::event::Event;
use crate::guest::initramfs::Archive;
use crate::plan::script::quote;

/// Memory of the lab VM.
const MEMORY_MIB: u32 = 4096;
/// A lab that says nothing for so long (wall time) is dead.
const SILENCE: Duration = Duration::from_secs(900);
const START: &str = include_str!("start.sh");

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
    /// Files for `/job`: name and content.
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
    let name = format!("{}vm{:x}", clean::PREFIX, std::process::id());
    let scratch = tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir()
        .context("cannot make a folder for the lab VM")?;
    let initrd = scratch.path().join("initrd");
    fs::write(&initrd, memory_image(image, job)?)
        .with_context(|| format!("cannot write `{}`", initrd.display()))?;
    let console = scratch.path().join("console");
    let mut command = qemu(image, job, clock, &initrd, &console)?;
    command.env(MARK, &name);
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
fn memory_image(image: &Image, job: &Job) -> Result<Vec<u8>> {
    let initrd = image.initrd();
    let mut bytes = fs::read(&initrd)
        .with_context(|| format!("cannot read `{}`; run `watari lab build`", initrd.display()))?;
    let mut archive = Archive::default();
    archive.directory("job");
    archive.directory("job/lib");
    let own = std::env::current_exe().context("cannot find this program")?;
    archive.file("job/watari", &fs::read(own)?);
    for library in libraries()? {
        let name = library
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let content = fs::read(&library)?;
        let place = if name.starts_with("ld-") {
            "job/loader".to_owned()
        } else {
            format!("job/lib/{name}")
        };
        archive.file(&place, &content);
    }
    archive.file("job/start", START.as_bytes());
    let words: Vec<String> = job.arguments.iter().map(|word| quote(word)).collect();
    let command = format!("watari {}\n", words.join(" "));
    archive.file("job/command", command.as_bytes());
    for (name, content) in &job.files {
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

fn qemu(
    image: &Image,
    job: &Job,
    clock: Clock,
    initrd: &Path,
    console: &Path,
) -> Result<Command, anyhow::Error> {
    let Some(program) = find_program("qemu-system-x86_64") else {
        let fix = "sudo apt-get install qemu-system-x86";
        return Err(Lacks::new("QEMU is not installed", fix).into());
    };
    let mut command = Command::new(program);
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ]);
    // An emulated processor counts every byte of a fast string operation as an
    // instruction; without these two the kernel moves eight at a time.
    let processor = "max,erms=off,fsrm=off";
    command.args(["-machine", "q35,nvdimm=on", "-accel", "tcg"]);
    command.args(["-cpu", processor]);
    let memory = format!("{MEMORY_MIB}M,slots=1,maxmem={}M", 2 * MEMORY_MIB);
    command.args(["-m", &memory]);
    if clock == Clock::Virtual {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    command
        .arg("-kernel")
        .arg(image.kernel())
        .arg("-initrd")
        .arg(initrd);
    command.args([
        "-append",
        "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off nokaslr \
         random.trust_cpu=on tsc=reliable",
    ]);
    command.arg("-serial").arg(file_option("file:", console));
    // Memory and no disk: while the lab waits for a disk its virtual clock runs
    // ahead, by minutes of virtual time for milliseconds of the machine's.
    let system = image.system();
    let size = fs::metadata(&system)?.len();
    let module = file_option("memory-backend-file,id=system,mem-path=", &system);
    let module = format!("{},size={size},share=on,readonly=on", module.display());
    command.args([
        "-object",
        &module,
        "-device",
        "nvdimm,memdev=system,unarmed=on",
    ]);
    if let Some((path, size)) = &job.disk {
        fs::File::create(path)?.set_len(*size)?;
        let disk = file_option("file=", path);
        let disk = format!("{},format=raw,if=virtio", disk.display());
        command.args(["-drive", &disk]);
    }
    command.args(["-device", "virtio-serial-pci", "-device", "virtio-rng-pci"]);
    command.args(["-chardev", "stdio,id=record,signal=off"]);
    command.args([
        "-device",
        "virtserialport,chardev=record,name=watari.record",
    ]);
    let error = fs::File::create(initrd.with_file_name("qemu"))?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(error);
    die_with_parent(&mut command);
    Ok(command)
}

/// `prefix` and a path; commas separate QEMU's options, so they are doubled.
fn file_option(prefix: &str, path: &Path) -> std::ffi::OsString {
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
    let scratch = tempfile::Builder::new()
        .prefix("state-")
        .tempdir_in(&image.folder)?;
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
        files: vec![
            ("vmlinuz".to_owned(), fs::read(image.kernel())?),
            ("guest.cpio".to_owned(), fs::read(image.guest())?),
        ],
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
