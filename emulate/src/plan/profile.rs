//! What a lab does on its own: how fast it encrypts and compresses, how long a
//! guest takes to boot and to shut down, what the state of its devices weighs,
//! and which pages a guest without work writes while a user asks it.
//!
//! Measured before any case and never on a migration between hosts: predictions
//! are checked on runs that the calibration never saw. The saving of a guest
//! into the void stands for what QEMU does before the first byte.

use std::time::Duration;

use models::scenario::Vm;

use super::guest::{self, From, Role};
use super::network::{ip_batch, namespace};
use super::{Action, Assets, Plan, argv, image, migration};

/// Size of the image that is encrypted and compressed.
pub const IMAGE: u64 = 32 << 20;
/// Longest time for one step.
const LONG: Duration = Duration::from_secs(900);
/// The idle guest is saved at two rates, which take about these times.
const SHORT: u64 = 1;
const LONGER: u64 = 8;
/// The host's namespace.
const HOST: &str = "bench";

/// The plan; it needs nothing of a network.
pub fn plan(vm: &Vm, assets: &Assets) -> Plan {
    let mut plan = Plan::default();
    namespace(HOST, assets, &mut plan);
    let bridge = "link add name bridge type bridge\nlink set bridge up\n".to_owned();
    plan.feed("a bridge for the guest", ip_batch(HOST, assets), bridge);
    let at = |name: &str| assets.path(name);
    let [plain, packed, secret, clear] = ["img", "img.gz", "enc", "dec"].map(at);
    plan.run(
        "an image to work on",
        image::disk(IMAGE, 1.0, &plain, assets),
    );
    plan.measure(
        "encrypt",
        "encrypt",
        LONG,
        image::openssl("-e", &plain, &secret, assets),
    );
    plan.measure(
        "decrypt",
        "decrypt",
        LONG,
        image::openssl("-d", &secret, &clear, assets),
    );
    plan.run(
        "an image to pack",
        image::disk(IMAGE, vm.compressed, &plain, assets),
    );
    plan.measure("compress", "compress", LONG, image::pack(&plain));
    let size = argv(["stat", "-c", "{\"bytes\":%s}", &packed]);
    plan.measure("size when packed", "packed", LONG, size);
    plan.measure("decompress", "decompress", LONG, image::unpack(&packed));
    let from = From::Boot { disk: plain };
    guest::start(vm, Role::Target, &from, HOST, assets, &mut plan);
    guest::booted(Role::Target, assets, &mut plan);
    guest::shut_down(Role::Target, assets, &mut plan);
    idle(vm, assets, &mut plan);
    plan
}

/// Saves a guest, as every run starts it, into the void: at two rates while a user
/// asks it, and stopped.
fn idle(vm: &Vm, assets: &Assets, plan: &mut Plan) {
    guest::start(vm, Role::Source, &From::Ready, HOST, assets, plan);
    guest::prepare(vm, assets, plan);
    migration::user(HOST, assets, plan);
    plan.push("the guest idles", Action::Pause(Duration::from_secs(1)));
    let content = (vm.memory.as_f64() * (1.0 - vm.zero)) as u64;
    let saves = [
        (
            "save",
            "the idle guest is saved into the void",
            content / SHORT,
            false,
        ),
        (
            "save-longer",
            "and again, for longer",
            content / LONGER,
            false,
        ),
        ("save-stopped", "and once more, stopped", 0, true),
    ];
    for (name, title, rate, stopped) in saves {
        let qmp = guest::qmp(Role::Source, assets);
        let count = assets.path("count");
        let rate = rate.to_string();
        let mut save = assets.tool(["save", "--qmp", &qmp, "--count", &count, "--rate", &rate]);
        save.extend(stopped.then(|| "--stopped".to_owned()));
        plan.measure(title, name, LONG, save);
    }
    plan.stop("the user's account", "probe");
    guest::shut_down(Role::Source, assets, plan);
}
