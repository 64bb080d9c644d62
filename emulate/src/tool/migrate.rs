//! Moves a running guest from one QEMU to another, and says when what happened.
//!
//! `return-path` and `events` are on at both ends: without the return path QEMU
//! calls a migration completed while megabytes are still in the socket, and its
//! own `downtime` is wrong. Downtime here is from the source's `STOP` to the
//! target's `RESUME`; total time from the `migrate` command to `RESUME`, for
//! post-copy to the last page.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::clock::emit;
use crate::qmp::{Event, Qmp};

/// How often progress is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Moves a running guest from one QEMU to another.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// QMP socket of the QEMU that runs the guest.
    #[arg(long)]
    source: PathBuf,
    /// QMP socket of the QEMU that waits with `-incoming defer`.
    #[arg(long)]
    target: PathBuf,
    /// Where the target listens, as the source reaches it: `tcp:10.2.1.2:4444`.
    #[arg(long)]
    uri: String,
    /// How to move it.
    #[arg(long, value_enum)]
    method: Method,
    /// QEMU's `downtime-limit`.
    #[arg(long, default_value_t = 300)]
    downtime_limit_ms: u64,
    /// QEMU's `max-bandwidth` in bytes a second; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    max_bandwidth: u64,
    /// Cache of XBZRLE in bytes, a power of two; off without it.
    #[arg(long)]
    xbzrle_cache: Option<u64>,
    /// Channels of multifd; off without it.
    #[arg(long)]
    multifd_channels: Option<u8>,
    /// Trigger, first throttle, step and largest throttle of auto-converge, in
    /// percent; off without it.
    #[arg(long, num_args = 4)]
    auto_converge: Option<Vec<u8>>,
    /// File that is made some two seconds before the guest stops.
    #[arg(long)]
    herald: Option<PathBuf>,
    /// Given up after this time; the guest then runs on at the source.
    #[arg(long, default_value_t = 3600)]
    time_limit_s: u64,
}

/// How long before the guest stops that is told.
const HERALD: Duration = Duration::from_secs(2);

/// Migration methods of QEMU.
#[expect(clippy::enum_variant_names, reason = "these are the field's terms")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Method {
    /// Rounds while the guest runs, then a stop.
    PreCopy,
    /// One round, then the guest runs at the target and pages follow.
    PostCopy,
    /// The guest is stopped first.
    StopAndCopy,
}

/// When things happened, nanoseconds of the wall clock.
#[derive(Debug, Default)]
struct Times {
    started: u64,
    setup: Option<u64>,
    active: Option<u64>,
    stopped: Option<u64>,
    switchover: Option<u64>,
    resumed: Option<u64>,
    completed: Option<u64>,
    passes: Vec<u64>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let mut source = Qmp::connect(&args.source).context("source")?;
    let mut target = Qmp::connect(&args.target).context("target")?;
    for qemu in [&mut source, &mut target] {
        configure(qemu, args)?;
    }
    target.command("migrate-incoming", &json!({ "uri": args.uri }))?;
    let mut times = Times::default();
    let mut herald = Herald::new(args.herald.clone());
    if args.method == Method::StopAndCopy {
        herald.announce()?;
        std::thread::sleep(HERALD / 4);
        source.command("stop", &json!({}))?;
    }
    times.started = wall_ns();
    source.command("migrate", &json!({ "uri": args.uri }))?;
    let deadline = Instant::now() + Duration::from_secs(args.time_limit_s);
    let outcome = follow(
        &mut source,
        &mut target,
        args,
        &mut times,
        &mut herald,
        deadline,
    );
    if let Err(error) = outcome {
        give_up(&mut source, args.method);
        return Err(error);
    }
    let info = final_info(&mut source)?;
    emit(&summary(&times, &info, args.method == Method::PostCopy))?;
    Ok(())
}

fn wall_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Capabilities and parameters, the same at both ends.
fn configure(qemu: &mut Qmp, args: &Args) -> Result<()> {
    let on = |name: &str, state: bool| json!({ "capability": name, "state": state });
    let capabilities = [
        on("return-path", true),
        on("events", true),
        on("postcopy-ram", args.method == Method::PostCopy),
        on("xbzrle", args.xbzrle_cache.is_some()),
        on("multifd", args.multifd_channels.is_some()),
        on("auto-converge", args.auto_converge.is_some()),
    ];
    qemu.command(
        "migrate-set-capabilities",
        &json!({ "capabilities": capabilities }),
    )?;
    let mut parameters = json!({
        "downtime-limit": args.downtime_limit_ms,
        "max-bandwidth": args.max_bandwidth,
        "max-postcopy-bandwidth": args.max_bandwidth,
    });
    if let Some(cache) = args.xbzrle_cache {
        parameters["xbzrle-cache-size"] = json!(cache);
    }
    if let Some(channels) = args.multifd_channels {
        parameters["multifd-channels"] = json!(channels);
    }
    if let Some([trigger, initial, step, largest]) = args.auto_converge.as_deref() {
        parameters["throttle-trigger-threshold"] = json!(trigger);
        parameters["cpu-throttle-initial"] = json!(initial);
        parameters["cpu-throttle-increment"] = json!(step);
        parameters["max-cpu-throttle"] = json!(largest);
    }
    qemu.command("migrate-set-parameters", &parameters)?;
    Ok(())
}

/// Waits until the guest runs at the target and the source has ended.
fn follow(
    source: &mut Qmp,
    target: &mut Qmp,
    args: &Args,
    times: &mut Times,
    herald: &mut Herald,
    deadline: Instant,
) -> Result<()> {
    let (mut pulling, mut continued) = (false, false);
    while times.completed.is_none() || times.resumed.is_none() {
        let poll = Instant::now() + POLL;
        if let Some(event) = source.event(poll)? {
            on_source(&event, times)?;
        }
        while let Some(event) = target.event(Instant::now() + Duration::from_millis(1))? {
            if event.name == "RESUME" {
                times.resumed.get_or_insert(event.t_ns);
            }
        }
        herald.look(source, times)?;
        // A guest that was stopped by hand stays stopped where it arrives.
        if args.method == Method::StopAndCopy && !continued && times.completed.is_some() {
            start(target, deadline)?;
            continued = true;
        }
        // The first pass is announced when it begins, the second when all was sent once.
        if args.method == Method::PostCopy && !pulling && times.passes.len() >= 2 {
            source.command("migrate-start-postcopy", &json!({}))?;
            pulling = true;
        }
        if Instant::now() > deadline {
            bail!(
                "the migration did not end within {} s; it sends less than the guest dirties, \
                 so raise `downtime_limit` or `time_limit`",
                args.time_limit_s
            );
        }
    }
    Ok(())
}

/// Tells that the guest will stop soon.
struct Herald {
    /// Made when it is told; nothing when it was.
    file: Option<PathBuf>,
    looked: Instant,
}

impl Herald {
    fn new(file: Option<PathBuf>) -> Self {
        let looked = Instant::now();
        Self { file, looked }
    }

    /// Tells when all was sent once, or the rest takes little time at QEMU's own rate.
    fn look(&mut self, source: &mut Qmp, times: &Times) -> Result<()> {
        if self.file.is_none() || self.looked.elapsed() < HERALD / 8 {
            return Ok(());
        }
        self.looked = Instant::now();
        let ram = source.command("query-migrate", &json!({}))?["ram"].take();
        let bits = ram["remaining"].as_f64().unwrap_or(0.0) * 8.0;
        let soon = bits < ram["mbps"].as_f64().unwrap_or(0.0) * 1e6 * HERALD.as_secs_f64();
        if soon || times.passes.len() >= 2 {
            self.announce()?;
        }
        Ok(())
    }

    fn announce(&mut self) -> Result<()> {
        if let Some(file) = self.file.take() {
            std::fs::write(&file, "").with_context(|| format!("cannot write {file:?}"))?;
        }
        Ok(())
    }
}

/// Starts a guest that has arrived. QEMU refuses while it still reads the state.
fn start(target: &mut Qmp, deadline: Instant) -> Result<()> {
    while let Err(error) = target.command("cont", &json!({})) {
        if Instant::now() > deadline {
            return Err(error.into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn on_source(event: &Event, times: &mut Times) -> Result<()> {
    match event.name.as_str() {
        "STOP" => {
            times.stopped.get_or_insert(event.t_ns);
        }
        "MIGRATION_PASS" => times.passes.push(event.t_ns),
        "MIGRATION" => match event.data["status"].as_str().unwrap_or("") {
            "setup" => times.setup = Some(event.t_ns),
            "active" => times.active = Some(event.t_ns),
            "device" => times.switchover = Some(event.t_ns),
            "completed" => times.completed = Some(event.t_ns),
            status @ ("failed" | "cancelled" | "postcopy-paused") => {
                bail!("QEMU ended the migration: {status}; its error output says why")
            }
            _ => {}
        },
        _ => {}
    }
    Ok(())
}

/// Leaves the guest running at the source, if the source still has it.
fn give_up(source: &mut Qmp, method: Method) {
    // The error that led here is the one to report.
    let _ = source.command("migrate_cancel", &json!({}));
    if method == Method::StopAndCopy {
        let _ = source.command("cont", &json!({}));
    }
}

/// What QEMU counted. `completed` can be seen before the totals are filled in.
fn final_info(source: &mut Qmp) -> Result<Value> {
    for _ in 0..250 {
        let info = source.command("query-migrate", &json!({}))?;
        if info["total-time"].as_u64().unwrap_or(0) > 0 {
            return Ok(info);
        }
        std::thread::sleep(POLL);
    }
    bail!("QEMU gives no totals of a migration that it calls completed")
}

fn summary(times: &Times, info: &Value, pulled: bool) -> Value {
    let since = |instant: Option<u64>| instant.map(|t| t.saturating_sub(times.started));
    let ram = &info["ram"];
    json!({
        "started_wall_ns": times.started,
        "setup_ns": since(times.setup),
        "active_ns": since(times.active),
        "stop_ns": since(times.stopped).unwrap_or(0),
        "device_ns": since(times.switchover),
        "resume_ns": since(times.resumed),
        "completed_ns": since(times.completed),
        "total_ns": since(if pulled { times.completed } else { times.resumed }),
        "passes_ns": times.passes.iter().map(|&t| t - times.started).collect::<Vec<_>>(),
        "bytes": ram["transferred"],
        "normal_pages": ram["normal"],
        "duplicate_pages": ram["duplicate"],
        "rounds": ram["dirty-sync-count"],
        "throttle_percent": info["cpu-throttle-percentage"],
        "qemu": info,
    })
}
