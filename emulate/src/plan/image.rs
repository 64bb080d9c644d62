//! Moving the disk image instead of the memory: the guest is shut down, its
//! image compressed, encrypted, copied with scp, decrypted, decompressed, and
//! the guest booted from it.
//!
//! Nothing is piped: each phase begins when the one before has ended, as in the
//! published method.

use std::time::Duration;

use models::scenario::{Method, Migrate, Scenario};

use super::guest::{self, From, Role};
use super::network::{Network, Node};
use super::{Argv, Assets, Plan, Ready, argv};

/// Longest time for one phase.
const LONG: Duration = Duration::from_secs(3600);
/// Cipher of the image, as openssl spells it.
pub const CIPHER: &str = "-aes-128-cbc";

/// The steps, from a running guest to a running guest.
pub fn steps(
    scenario: &Scenario,
    order: &Migrate,
    hosts: &[Node; 2],
    assets: &Assets,
    plan: &mut Plan,
) {
    let vm = &scenario.vms[order.vm];
    let compressed = order.method == Method::CompressedImage;
    let at = |host: &str, name: &str| assets.path(&format!("{host}.{name}"));
    let image = at("source", "img");
    plan.run(
        "the guest's disk image",
        disk(vm.disk.get(), vm.compressed, &image, assets),
    );
    ssh_server(&hosts[1].namespace, assets, plan);
    let from = From::Boot {
        disk: image.clone(),
    };
    guest::start(vm, Role::Source, &from, &hosts[0].namespace, assets, plan);
    guest::prepare(vm, assets, plan);
    guest::work(vm, assets, plan);
    guest::shut_down(Role::Source, assets, plan);
    let mut sent = image.clone();
    if compressed {
        sent = at("source", "img.gz");
        plan.measure("compress", "compress", LONG, pack(&image));
    }
    let encrypted = at("source", "enc");
    plan.measure(
        "encrypt",
        "encrypt",
        LONG,
        openssl("-e", &sent, &encrypted, assets),
    );
    plan.measure(
        "size of what is sent",
        "sent-size",
        LONG,
        argv(["stat", "-c", "{\"bytes\":%s}", &encrypted]),
    );
    let arrived = at("target", "enc");
    plan.measure(
        "copy",
        "transfer",
        LONG,
        assets.inside(&hosts[0].namespace, copy(&encrypted, &arrived, assets)),
    );
    let clear = at("target", if compressed { "img.gz" } else { "img" });
    plan.measure(
        "decrypt",
        "decrypt",
        LONG,
        openssl("-d", &arrived, &clear, assets),
    );
    if compressed {
        plan.measure("decompress", "decompress", LONG, unpack(&clear));
    }
    let from = From::Boot {
        disk: at("target", "img"),
    };
    guest::start(vm, Role::Target, &from, &hosts[1].namespace, assets, plan);
    guest::booted(Role::Target, assets, plan);
    plan.run(
        "the image arrived whole",
        argv(["cmp", &image, &at("target", "img")]),
    );
}

/// Compresses a file; the result bears `.gz` behind its name.
pub fn pack(path: &str) -> Argv {
    argv(["gzip", "-1", "-k", "-f", path])
}

/// Decompresses a file that bears `.gz` behind its name.
pub fn unpack(path: &str) -> Argv {
    argv(["gzip", "-d", "-k", "-f", path])
}

/// Makes a disk image of this content.
pub fn disk(bytes: u64, compressed: f64, path: &str, assets: &Assets) -> Argv {
    let share = compressed.to_string();
    let bytes = bytes.to_string();
    assets.tool(["disk", "--bytes", &bytes, "--random", &share, "--out", path])
}

/// Encrypts (`-e`) or decrypts (`-d`) a file.
pub fn openssl(direction: &str, from: &str, to: &str, assets: &Assets) -> Argv {
    let secret = format!("pass:{}", assets.run);
    argv([
        "openssl", "enc", direction, CIPHER, "-pbkdf2", "-iter", "1", "-pass", &secret, "-in",
        from, "-out", to,
    ])
}

/// A server that the image can be copied to, with keys of its own.
fn ssh_server(host: &str, assets: &Assets, plan: &mut Plan) {
    for name in ["ssh-host", "ssh-user"] {
        let path = assets.path(name);
        let words = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            name,
            "-f",
            &path,
        ];
        plan.run(format!("key {name}"), argv(words));
    }
    let config = format!(
        "Port 22\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\n\
         PidFile none\nSubsystem sftp internal-sftp\n",
        assets.path("ssh-host"),
        assets.path("ssh-user.pub"),
    );
    let path = assets.path("sshd.conf");
    plan.write("settings of sshd", path.clone(), config);
    plan.start(
        format!("sshd at {host}"),
        "sshd",
        assets.inside(host, argv(["/usr/sbin/sshd", "-D", "-e", "-f", &path])),
        Ready::Now,
    );
}

fn copy(from: &str, to: &str, assets: &Assets) -> Argv {
    let target = format!("root@{}:{to}", Network::address(1));
    let key = assets.path("ssh-user");
    argv([
        "scp",
        "-q",
        "-i",
        &key,
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "BatchMode=yes",
        from,
        &target,
    ])
}
