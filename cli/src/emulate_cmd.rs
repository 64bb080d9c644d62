//! `watari emulate`: the cases of a scenario on real systems.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use emulate::event::Event;
use emulate::lab::vm::{self, Clock, Job};
use emulate::lab::{Lacks, build, cache};
use emulate::plan::script::script;
use emulate::run::{self as host, Host, memory_mib};
use emulate::{clean, tool};
use models::record;
use models::scenario::Study;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::interrupt;
use crate::load::{self, Loaded};
use crate::output::Output;
use crate::records::series_path;

/// Run the cases of a scenario with real kernels, IPsec and virtual machines.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  watari emulate x.toml                  in the lab VM, or on this host if it can
  watari emulate x.toml --dry-run        print what would be done, as a script
  watari emulate x.toml --repeat 3 --out results/emulated")]
pub(crate) struct Args {
    /// The scenario.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this case of the sweep; may be given several times.
    #[arg(long, value_name = "ID")]
    case: Vec<String>,
    /// Runs of every case.
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,
    /// Where to run: `host` needs root and a kernel with netem and esp4.
    #[arg(long, value_enum, default_value_t = Lab::Auto)]
    lab: Lab,
    /// How time passes: `virtual` in the lab VM, `real` on the host.
    #[arg(long, value_enum)]
    clock: Option<ClockWord>,
    /// Folder for the record.
    #[arg(long, value_name = "DIR", default_value = "out/emulated")]
    out: PathBuf,
    /// Print what would be done as a shell script, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Folder with the guest's kernel, memory image and saved states.
    #[arg(long, value_name = "DIR", hide = true)]
    guest: Option<PathBuf>,
    /// Say what happens as JSON, one event a line.
    #[arg(long, hide = true)]
    events: bool,
}

/// Where to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lab {
    /// This host if it has what it takes, else the lab VM.
    Auto,
    /// This host.
    Host,
    /// The lab VM.
    Vm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ClockWord {
    Virtual,
    Real,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: Output) -> Result<Exit, Failure> {
    let mut loaded = load::studies(std::slice::from_ref(&args.file), output)
        .map_err(|error| Failure::Input(error.context("nothing was run")))?;
    let mut loaded = loaded.remove(0);
    if !args.case.is_empty() {
        loaded
            .study
            .cases
            .retain(|case| args.case.contains(&case.id));
    }
    if args.dry_run {
        return dry_run(args, &loaded.study, output);
    }
    let stop = interrupt::flag()?;
    if args.events {
        let result = on_host(args, &loaded.study, &stop, &mut |event| print_event(&event));
        print_event(&match result {
            Ok(()) => Event::End,
            Err(error) => Event::Failed(format!("{error:#}")),
        });
        return Ok(Exit::Success);
    }
    files::create_folder(&args.out).map_err(Failure::Input)?;
    let mut rows: Vec<record::Row> = Vec::new();
    let mut points: Vec<record::SeriesPoint> = Vec::new();
    let mut take = |event: Event| match event {
        Event::Step {
            case,
            repeat,
            title,
        } => {
            output.note(&format!("{case} #{repeat}: {title}\n"));
        }
        Event::Record { rows: text, series } => {
            if let Ok(more) = record::read(text.as_bytes()) {
                rows.extend(more);
            }
            if let Ok(more) = record::read_series(series.as_bytes()) {
                points.extend(more);
            }
        }
        Event::Log { name, text } => {
            let _ = std::fs::write(args.out.join(name), text);
        }
        Event::Failed(_) | Event::End => {}
    };
    let result = match args.lab {
        Lab::Host => on_host(args, &loaded.study, &stop, &mut take),
        _ => in_vm(args, &loaded, &stop, output, &mut take),
    };
    let mut bytes = Vec::new();
    record::write(&rows, &mut bytes).context("cannot write the record")?;
    let path = args.out.join(format!("{}.csv", loaded.study.name));
    files::write(&path, &bytes)?;
    if !points.is_empty() {
        let mut bytes = Vec::new();
        record::write_series(&points, &mut bytes).context("cannot write the time series")?;
        files::write(&series_path(&path), &bytes)?;
    }
    output.result(&String::from_utf8_lossy(&bytes))?;
    result.map_err(Failure::of_lab)?;
    Ok(Exit::Success)
}

fn print_event(event: &Event) {
    if let Ok(value) = serde_json::to_value(event) {
        let _ = tool::clock::emit(&value);
    }
}

fn host_of(args: &Args) -> Result<Host, Lacks> {
    let guest = match &args.guest {
        Some(folder) => folder.clone(),
        None => build::current(&cache()?)?.folder,
    };
    Ok(Host {
        watari: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("watari")),
        guest,
        accel: "tcg".to_owned(),
        runs: PathBuf::from(clean::FOLDER),
    })
}

fn dry_run(args: &Args, study: &Study, output: Output) -> Result<Exit, Failure> {
    let host = host_of(args).map_err(Failure::lacks)?;
    for case in &study.cases {
        let assets = host.assets("watari-byhand", case);
        let plan = host::plan(study, case, 0, false, &assets)
            .map_err(|error| Failure::Input(error.into()))?;
        let about = format!("{}, case {}", study.name, case.id);
        output.result(&script(&plan, &assets, &about))?;
    }
    Ok(Exit::Success)
}

fn on_host(
    args: &Args,
    study: &Study,
    stop: &AtomicBool,
    event: &mut dyn FnMut(Event),
) -> Result<()> {
    let mut host = host_of(args)?;
    if Path::new("/usr/local/bin/watari").exists() && args.guest.is_some() {
        // In the lab VM this program runs through a loader.
        host.watari = PathBuf::from("/usr/local/bin/watari");
    }
    emulate::calibrate::run(&study.cases[0], &host, stop, event)?;
    host::run(study, 0..args.repeat, &host, stop, event)
}

fn in_vm(
    args: &Args,
    loaded: &Loaded,
    stop: &AtomicBool,
    output: Output,
    event: &mut dyn FnMut(Event),
) -> Result<()> {
    let image = build::current(&cache()?)?;
    let clock = match args.clock {
        Some(ClockWord::Real) => Clock::Real,
        _ => Clock::Virtual,
    };
    let mut files = vec![
        ("scenario.toml".to_owned(), std::fs::read(&args.file)?),
        ("vmlinuz".to_owned(), std::fs::read(image.kernel())?),
        ("guest.cpio".to_owned(), std::fs::read(image.guest())?),
    ];
    let mut sizes: Vec<u64> = loaded.study.cases.iter().map(memory_mib).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes.into_iter().filter(|&size| size > 0) {
        let state = vm::guest_state(&image, size, stop, &mut |what| {
            output.note(&format!("{what}\n"));
        })?;
        files.push((format!("guest-{size}.state"), std::fs::read(state)?));
    }
    let mut arguments: Vec<String> = ["emulate", "/job/scenario.toml", "--lab", "host"]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(["--guest", "/job", "--events", "--clock", clock.name()].map(str::to_owned));
    arguments.extend(["--repeat".to_owned(), args.repeat.to_string()]);
    for case in &loaded.study.cases {
        arguments.extend(["--case".to_owned(), case.id.clone()]);
    }
    let job = Job {
        arguments,
        files,
        disk: None,
    };
    vm::run(&image, &job, clock, stop, event)
}
