//! What a lab does on its own: how fast it encrypts and compresses, how long a
//! guest takes to boot and to shut down, what the state of its devices weighs.
//!
//! Measured before any case and never on a migration between hosts: predictions
//! are checked on runs that the calibration never saw. The saving of a guest
//! into the void stands for what QEMU does before the first byte.

use std::time::Duration;

use models::scenario::Vm;

use super::guest::{self, From, Role};
use super::network::{ip_batch, namespace};
use super::{Action, Assets, Plan, argv, image};

/// Size of the image that is encrypted and compressed.
pub const IMAGE: u64 = 32 << 20;
/// Longest time for one step.
const LONG: Duration = Duration::from_secs(900);
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
    guest::start(vm, Role::Source, &from, HOST, assets, &mut plan);
    guest::booted(Role::Source, assets, &mut plan);
    guest::prepare(vm, assets, &mut plan);
    let qmp = guest::qmp(Role::Source, assets);
    plan.push("the guest writes", Action::Pause(Duration::from_secs(1)));
    let save = assets.tool(["save", "--qmp", &qmp, "--count", &assets.path("count")]);
    plan.measure("the guest is saved into the void", "save", LONG, save);
    guest::shut_down(Role::Source, assets, &mut plan);
    plan
}
