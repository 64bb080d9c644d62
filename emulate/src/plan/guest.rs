//! The guest in a plan: a QEMU at each end, and orders to its workload.

use std::time::Duration;

use models::scenario::{Dirty, Pattern, Vm};

use super::network::ip_batch;
use super::{Argv, Assets, Plan, Ready};
use crate::guest::machine::{Accelerator, Machine, qemu_arguments};

/// Hardware address of the guest.
pub const MAC: &str = "52:54:00:77:61:01";
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Longest time for the guest to fill or check its memory.
const LONG: Duration = Duration::from_secs(600);

/// Which of the two machines of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Where the guest runs at first.
    Source,
    /// Where it goes.
    Target,
}

impl Role {
    /// Its name in the plan.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// The QMP socket of a machine.
pub fn qmp(role: Role, assets: &Assets) -> String {
    assets.path(&format!("{}.qmp", role.name()))
}

/// The socket of a machine's control port.
fn control(role: Role, assets: &Assets) -> String {
    assets.path(&format!("{}.control", role.name()))
}

/// How a machine gets its guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// From the saved state, or by booting where there is none.
    Ready,
    /// By migration.
    Migration,
    /// By booting, with this disk.
    Boot {
        /// The image.
        disk: String,
    },
}

/// Starts a machine in a host's namespace, plugged into its bridge.
pub fn start(vm: &Vm, role: Role, from: &From, host: &str, assets: &Assets, plan: &mut Plan) {
    let tap = format!("tap-{}", role.name());
    let batch = format!(
        "tuntap add name {tap} mode tap\nlink set {tap} master bridge\nlink set {tap} up\n"
    );
    plan.feed(
        format!("a port for the guest at {host}"),
        ip_batch(host, assets),
        batch,
    );
    let incoming = match from {
        From::Ready => assets.state.as_ref().map(|path| format!("exec:cat {path}")),
        From::Migration => Some("defer".to_owned()),
        From::Boot { .. } => None,
    };
    let machine = Machine {
        accelerator: if assets.accel == "kvm" {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        },
        memory_mib: u32::try_from(vm.memory.get() >> 20).unwrap_or(u32::MAX),
        kernel: assets.kernel.clone().into(),
        initrd: assets.initrd.clone().into(),
        mac: MAC.to_owned(),
        tap: Some(tap),
        disk: match from {
            From::Boot { disk } => Some(disk.into()),
            _ => None,
        },
        control: control(role, assets).into(),
        qmp: qmp(role, assets).into(),
        console: Some(assets.path(&format!("{}.console", role.name())).into()),
        incoming,
    };
    let mut line: Argv = vec!["qemu-system-x86_64".to_owned()];
    line.extend(qemu_arguments(&machine));
    plan.start(
        format!("QEMU at {host}"),
        &format!("qemu-{}", role.name()),
        assets.inside(host, line),
        Ready::Exists(qmp(role, assets)),
    );
}

/// An order to the guest's workload.
fn order(role: Role, words: &str, assets: &Assets) -> Argv {
    let seconds = LONG.as_secs().to_string();
    let mut line = assets.tool([
        "workload",
        "--socket",
        &control(role, assets),
        "--timeout",
        &seconds,
    ]);
    line.extend(words.split(' ').map(str::to_owned));
    line
}

/// The guest gets its address and its memory's content.
pub fn prepare(vm: &Vm, assets: &Assets, plan: &mut Plan) {
    let mut tell = |title: &str, keep: &str, words: &str| {
        plan.measure(title, keep, LONG, order(Role::Source, words, assets));
    };
    tell("the guest is there", "guest-hello", "hello");
    let address = super::migration::GUEST;
    tell(
        "the guest's address",
        "guest-net",
        &format!("net address={address}/24"),
    );
    let pages = vm.memory.get() / PAGE;
    let content = (pages as f64 * (1.0 - vm.zero)).round();
    // A write changes this share of its page.
    let change = vm.dirty_change.as_f64() / PAGE as f64;
    tell(
        "the guest fills its memory",
        "guest-fill",
        &format!("fill pages=all target_nonzero={content:.0} change={change} seed=1"),
    );
}

/// The guest gets its work.
pub fn work(vm: &Vm, assets: &Assets, plan: &mut Plan) {
    if working_set(&vm.dirty) > 0 {
        let words = dirty(&vm.dirty);
        plan.measure(
            "the guest writes to its memory",
            "guest-dirty",
            LONG,
            order(Role::Source, &words, assets),
        );
    }
}

/// The guest's memory is checked where it runs now.
pub fn verify(role: Role, assets: &Assets, plan: &mut Plan) {
    let mut tell = |title: &str, keep: &str, words: &str| {
        plan.measure(title, keep, LONG, order(role, words, assets));
    };
    tell("what the guest did", "guest-stats", "stats");
    tell("the guest checks its memory", "guest-verify", "verify");
}

/// The guest shuts down; its machine ends.
pub fn shut_down(role: Role, assets: &Assets, plan: &mut Plan) {
    plan.measure(
        "the guest shuts down",
        &format!("guest-poweroff-{}", role.name()),
        LONG,
        order(role, "poweroff", assets),
    );
    plan.push(
        "its machine ends",
        super::Action::Join {
            name: format!("qemu-{}", role.name()),
            limit: LONG,
        },
    );
}

/// The guest answers.
pub fn booted(role: Role, assets: &Assets, plan: &mut Plan) {
    plan.measure(
        "the guest boots",
        "boot",
        LONG,
        order(role, "hello", assets),
    );
}

/// Memory that is written to, in bytes.
fn working_set(dirty: &Dirty) -> u64 {
    match dirty {
        Dirty::Idle => 0,
        Dirty::Constant { working_set, .. } | Dirty::Zipf { working_set, .. } => working_set.get(),
        Dirty::HotCold { hot, cold, .. } => hot.get() + cold.get(),
        Dirty::Trace { phases, .. } => {
            let sets = phases.iter().map(|phase| phase.working_set.get());
            sets.max().unwrap_or(0)
        }
    }
}

fn dirty(model: &Dirty) -> String {
    let pages = |bytes: u64| bytes.div_ceil(PAGE);
    let rate = |rate: &models::units::ByteRate| rate.bytes_per_second() / PAGE;
    match model {
        Dirty::Idle => "dirty off".to_owned(),
        Dirty::Constant {
            rate: r,
            working_set,
            pattern,
        } => format!(
            "dirty constant rate={} set={} pattern={}",
            rate(r),
            pages(working_set.get()),
            word(*pattern)
        ),
        Dirty::HotCold {
            hot,
            hot_rate,
            cold,
            cold_rate,
            pattern,
        } => format!(
            "dirty hotcold hot={} hot_rate={} cold={} cold_rate={} pattern={}",
            pages(hot.get()),
            rate(hot_rate),
            pages(cold.get()),
            rate(cold_rate),
            word(*pattern)
        ),
        Dirty::Zipf {
            rate: r,
            skew,
            working_set,
        } => format!(
            "dirty zipf rate={} set={} skew={skew}",
            rate(r),
            pages(working_set.get())
        ),
        Dirty::Trace { phases, pattern } => {
            let mut line = format!("dirty trace pattern={}", word(*pattern));
            for phase in phases {
                line.push_str(&format!(
                    " {}:{}:{}",
                    phase.start.as_nanos() / 1_000_000,
                    rate(&phase.rate),
                    pages(phase.working_set.get())
                ));
            }
            line
        }
    }
}

fn word(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::Sequential => "sequential",
        Pattern::Random => "random",
    }
}
