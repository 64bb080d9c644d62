//! `watari emulate`: the cases of a scenario on real systems.
//!
//! - [`choose`] finds out which lab it will be, and what is in it;
//! - [`labs`] runs the cases there, several labs side by side;
//! - [`inside`] is what runs in a lab VM;
//! - [`store`] keeps what the labs say on disk;
//! - [`show`] says how far it is;
//! - [`report`] holds the prediction against what was measured.

mod choose;
mod inside;
mod labs;
mod report;
mod show;
mod store;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use emulate::clean;
use emulate::doctor::Lab;
use emulate::lab::vm::LARGEST_GUEST_MIB;
use emulate::plan::script::script;
use emulate::run::{self as host, Host};
use jiff::Timestamp;
use models::scenario::{Case, Study};

use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::load::{self, Loaded};
use crate::manifest::{self, Facts};
use crate::output::{Output, count};
use choose::Chosen;
use labs::Work;
use show::Show;
use store::{Mode, Store};

/// What to emulate first: small, and through IPsec.
pub(crate) const FIRST: &str =
    "watari emulate scenarios/validation/distance.toml --case rtt=60ms,tunnel=esp-gcm";

/// Run the cases of a scenario with real kernels, IPsec and virtual machines.
///
/// The lab VM needs no root and no KVM: it is emulated in software, with a
/// clock that does not depend on how fast that is. At the end the same cases
/// are simulated, and prediction and measurement stand side by side.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watari lab build                            once, before the first emulation
  watari emulate x.toml                       in the lab VM, or on this host if it can
  watari emulate x.toml --case rtt=20ms       one case of the sweep
  watari emulate x.toml --resume              go on after an interruption
  watari emulate x.toml --dry-run > steps.sh  what would be done, as a script")]
pub(crate) struct Args {
    /// The scenario.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this case of the sweep, for example `rtt=20ms,method=diff`; may be
    /// given several times.
    #[arg(long, value_name = "ID")]
    case: Vec<String>,
    /// Runs of every case.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Where to run.
    #[arg(long, value_enum, default_value_t = LabWord::Auto)]
    lab: LabWord,
    /// How time passes; `virtual` in the lab VM and `real` on the host by default.
    #[arg(long, value_enum)]
    clock: Option<ClockWord>,
    /// Lab VMs side by side, each on a processor of its own; as many as there
    /// are processors or cases by default.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Folder for the record, time series, profile and logs.
    #[arg(long, value_name = "DIR", default_value = "out/emulated")]
    out: PathBuf,
    /// Keep the runs that are on disk without an error, and do the others.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Replace the record that is on disk.
    #[arg(long)]
    force: bool,
    /// Name every step.
    #[arg(long, short)]
    verbose: bool,
    /// Print what would be done as a shell script, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    inside: inside::Inside,
}

/// Where to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LabWord {
    /// This host if it has what it takes (see `watari doctor`), else the lab VM.
    Auto,
    /// This host: needs root, and a kernel with netem and esp4.
    Host,
    /// The lab VM: needs QEMU, and `watari lab build` once.
    Vm,
}

/// How time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ClockWord {
    /// As instructions are executed: repeatable, whatever else the machine does.
    Virtual,
    /// As on the wall.
    Real,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let (loaded, ids) = load_one(args, output).map_err(Failure::Input)?;
    if args.inside.events {
        return inside::run(args, &loaded.study);
    }
    check_supported(&loaded.study).map_err(Failure::Input)?;
    if args.dry_run {
        return dry_run(&loaded.study, output);
    }
    let lab = choose::settle(args, output)?;
    check_size(&loaded.study, lab.lab).map_err(Failure::Input)?;
    let mode = match (args.resume, args.force) {
        (true, _) => Mode::Resume,
        (_, true) => Mode::Replace,
        _ => Mode::New,
    };
    let mut store =
        Store::open(&args.out, &loaded.study, ids, lab.clock, mode).map_err(Failure::Input)?;
    let chosen = choose::probe(lab, output)?;
    let stop = interrupt::flag()?;
    let started = (Timestamp::now(), Instant::now());
    let work = Work::new(args, &loaded, &chosen, &store);
    let result = emulate(&work, &mut store, args, &stop, output);
    let complete = loaded.study.cases.iter().all(|case| {
        let mut repeats = 0..args.repeat;
        repeats.all(|repeat| store.has(&case.id, repeat))
    });
    write_manifest(&loaded, &store, &chosen, (started, complete, args, &work))?;
    conclude(args, loaded, &store, &stop, (result, complete), output)
}

/// Runs what is to be run and keeps what comes out.
fn emulate(
    work: &Work<'_>,
    store: &mut Store,
    args: &Args,
    stop: &AtomicBool,
    output: Output,
) -> Result<(), Failure> {
    if work.runs() == 0 {
        output.note("every run is on disk already\n");
        return Ok(());
    }
    let mut show = Show::new(work.jobs, work.runs(), args.verbose, output);
    work.run(stop, &mut |lab, event| {
        let rows = store.take(&event)?;
        show.event(lab, &event, &rows);
        Ok(())
    })
}

type Circumstances<'a> = ((Timestamp, Instant), bool, &'a Args, &'a Work<'a>);

fn write_manifest(
    loaded: &Loaded,
    store: &Store,
    chosen: &Chosen,
    ((started, clock), complete, args, work): Circumstances<'_>,
) -> Result<()> {
    let outputs = store.written();
    let facts = Facts {
        complete,
        rows: store.rows().count() as u64,
        errors: store.rows().filter(|row| row.error.is_some()).count(),
        outputs: &outputs,
        started,
        duration: clock.elapsed(),
        jobs: work.jobs,
        replications: args.repeat,
        lab: Some(chosen.facts()),
    };
    manifest::write(&args.out, loaded, &facts)
}

/// Says what came out, and what to do next.
fn conclude(
    args: &Args,
    loaded: Loaded,
    store: &Store,
    stop: &AtomicBool,
    (result, complete): (Result<(), Failure>, bool),
    output: Output,
) -> Result<Exit, Failure> {
    let path = store.record_path();
    let so_far = || {
        let rows = count(store.rows().count(), "run");
        let path = path.display();
        format!("{rows} on disk in `{path}`; the same command with --resume goes on")
    };
    match result {
        Err(failure @ Failure::Work(_)) => return Err(failure),
        _ if stop.load(Ordering::Relaxed) => {
            output.error(&format!("interrupted, everything was undone; {}", so_far()));
            return Ok(Exit::Interrupted);
        }
        Err(failure) => {
            output.note(&format!("{}\n", so_far()));
            return Err(failure);
        }
        Ok(()) => {}
    }
    report::print(args, loaded, store, output)?;
    let failed = store.rows().any(|row| row.error.is_some());
    Ok(if failed || !complete {
        Exit::Failed
    } else {
        Exit::Success
    })
}

/// The scenario with the cases that are wanted, and the names of all its cases.
fn load_one(args: &Args, output: Output) -> Result<(Loaded, Vec<String>)> {
    let nothing = |error: anyhow::Error| error.context("nothing was run");
    if args.file.is_dir() {
        bail!(
            "`{}` is a folder; one scenario at a time is emulated",
            args.file.display()
        );
    }
    let mut studies = load::studies(std::slice::from_ref(&args.file), output).map_err(nothing)?;
    let ids = |loaded: &Loaded| loaded.study.cases.iter().map(|c| c.id.clone()).collect();
    let ids: Vec<String> = studies.first().map(ids).unwrap_or_default();
    if !args.case.is_empty() {
        load::choose(&mut studies, &args.case).map_err(nothing)?;
    }
    match studies.pop() {
        Some(loaded) => Ok((loaded, ids)),
        None => bail!("`{}` has no case", args.file.display()),
    }
}

/// What a plan refers to where there is no lab yet.
fn placeholder(guest: &Path) -> Host {
    Host {
        watari: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("watari")),
        guest: guest.to_owned(),
        accel: "tcg".to_owned(),
        clock: "real".to_owned(),
        runs: PathBuf::from(clean::FOLDER),
    }
}

/// Every case that has no counterpart on real systems, before anything is run.
fn check_supported(study: &Study) -> Result<()> {
    let host = placeholder(Path::new("."));
    let mut faults = String::new();
    for case in &study.cases {
        let assets = host.assets("watari-check", case);
        if let Err(unsupported) = host::plan(study, case, 0, false, &assets) {
            faults.push_str(&format!("\n  {}: {unsupported}", case.id));
        }
    }
    if !faults.is_empty() {
        bail!("nothing was run, as these cases cannot be emulated:{faults}");
    }
    Ok(())
}

/// A guest and its copy must fit into the lab VM.
fn check_size(study: &Study, lab: Lab) -> Result<()> {
    let large = |case: &&Case| host::memory_mib(case) > LARGEST_GUEST_MIB;
    match study.cases.iter().find(large) {
        Some(case) if lab == Lab::Vm => bail!(
            "nothing was run, as the guest of case `{}` has {} MiB; the lab VM has room for \
             guests of {LARGEST_GUEST_MIB} MiB",
            case.id,
            host::memory_mib(case)
        ),
        _ => Ok(()),
    }
}

/// Prints the script of every case; several are subshells one after the other.
fn dry_run(study: &Study, output: Output) -> Result<Exit, Failure> {
    let image = choose::image();
    let host = placeholder(image.as_ref().map_or(Path::new("."), |i| &i.folder));
    let several = study.cases.len() > 1;
    for case in &study.cases {
        let assets = host.assets("watari-byhand", case);
        let plan = host::plan(study, case, 0, false, &assets)
            .map_err(|error| Failure::Input(error.into()))?;
        let mut about = format!("{}, case {}", study.name, case.id);
        if image.is_err() {
            about.push_str(
                "\nThe lab VM is not built: put its vmlinuz and guest.cpio into this folder.",
            );
        }
        let text = script(&plan, &assets, &about);
        output.result(&if several {
            format!("(\n{text})\n")
        } else {
            text
        })?;
    }
    Ok(Exit::Success)
}
