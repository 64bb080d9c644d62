//! Tunnels: security associations by hand, or strongSwan.
//!
//! With `ike = "none"` the associations and policies are given to the kernel by
//! `ip xfrm`. With a key exchange, one charon runs in each namespace, with its
//! own configuration, socket and log, and the proposals, mode, dead peer
//! detection and retransmission of the scenario. Keys are made from the name of
//! the run: they protect nothing but a lab.

use std::fmt::Write as _;

use models::scenario::{Cipher, Detection, Ike, Integrity, Mode, Tunnel};
use sha2::{Digest as _, Sha256};

use super::{Argv, Assets, Plan, Ready, argv};

/// One end of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its namespace, without the name of the run.
    pub namespace: String,
    /// Its address.
    pub address: String,
    /// Networks behind it; its own address in transport mode.
    pub networks: Vec<String>,
}

/// Kernel names of a cipher: of the algorithm, and bytes of its key with what
/// is mixed into it.
struct Kernel {
    name: &'static str,
    key: usize,
    aead: bool,
}

fn kernel(cipher: Cipher) -> Kernel {
    let (name, key, aead) = match cipher {
        Cipher::Aes128Cbc => ("cbc(aes)", 16, false),
        Cipher::Aes256Cbc => ("cbc(aes)", 32, false),
        Cipher::TripleDesCbc => ("cbc(des3_ede)", 24, false),
        Cipher::Aes128Gcm => ("rfc4106(gcm(aes))", 20, true),
        Cipher::Aes256Gcm => ("rfc4106(gcm(aes))", 36, true),
        Cipher::ChaCha20Poly1305 => ("rfc7539esp(chacha20,poly1305)", 36, true),
        Cipher::Null => ("ecb(cipher_null)", 0, false),
    };
    Kernel { name, key, aead }
}

/// Kernel name, bytes of the key and bits that are sent.
fn authentication(integrity: Integrity) -> (&'static str, usize, u32) {
    match integrity {
        Integrity::HmacMd5 => ("hmac(md5)", 16, 96),
        Integrity::HmacSha1 => ("hmac(sha1)", 20, 96),
        Integrity::HmacSha256 => ("hmac(sha256)", 32, 128),
        Integrity::HmacSha384 => ("hmac(sha384)", 48, 192),
        Integrity::HmacSha512 => ("hmac(sha512)", 64, 256),
    }
}

/// The name of an ESP proposal as strongSwan spells it.
pub fn proposal(tunnel: &Tunnel) -> String {
    let cipher = match tunnel.cipher {
        Cipher::Aes128Cbc => "aes128",
        Cipher::Aes256Cbc => "aes256",
        Cipher::TripleDesCbc => "3des",
        Cipher::Aes128Gcm => "aes128gcm16",
        Cipher::Aes256Gcm => "aes256gcm16",
        Cipher::ChaCha20Poly1305 => "chacha20poly1305",
        Cipher::Null => "null",
    };
    let integrity = tunnel.integrity.map(|integrity| match integrity {
        Integrity::HmacMd5 => "md5",
        Integrity::HmacSha1 => "sha1",
        Integrity::HmacSha256 => "sha256",
        Integrity::HmacSha384 => "sha384",
        Integrity::HmacSha512 => "sha512",
    });
    integrity.map_or_else(|| cipher.to_owned(), |name| format!("{cipher}-{name}"))
}

/// A key of so many bytes for a purpose, in hexadecimal digits.
fn key(run: &str, purpose: &str, bytes: usize) -> String {
    let mut text = String::from("0x");
    let mut block = 0_u32;
    while text.len() < 2 + 2 * bytes {
        let digest = Sha256::digest(format!("{run} {purpose} {block}"));
        for byte in digest {
            write!(text, "{byte:02x}").expect("a string takes it");
        }
        block += 1;
    }
    text.truncate(2 + 2 * bytes);
    text
}

/// Puts a tunnel between two ends.
pub fn between(tunnel: &Tunnel, ends: [&End; 2], assets: &Assets, plan: &mut Plan) {
    if tunnel.ike == Ike::None {
        by_hand(tunnel, ends, 0, assets, plan);
    } else {
        for [own, other] in [ends, [ends[1], ends[0]]] {
            daemon(tunnel, &[[own, other]], assets, plan);
        }
        plan.run(
            format!("IKE of tunnel {}", tunnel.name),
            initiate(ends[0], ends[1], assets),
        );
    }
}

/// Where the charon of a namespace writes what it does.
pub fn log(namespace: &str, assets: &Assets) -> String {
    assets.path(&format!("{namespace}.charon.log"))
}

/// The name of the association from one end to another.
fn child(other: &End) -> String {
    format!("to-{}", other.namespace)
}

/// The socket of an end's charon.
fn socket(end: &End, assets: &Assets) -> String {
    assets.path(&format!("{}.vici", end.namespace))
}

/// Connects one end to another through its charon.
pub fn initiate(own: &End, other: &End, assets: &Assets) -> Argv {
    assets.inside(&own.namespace, connect(own, other, assets))
}

/// The same for a program that is in the namespace already.
pub fn connect(own: &End, other: &End, assets: &Assets) -> Argv {
    let uri = format!("unix://{}", socket(own, assets));
    let words = [
        "swanctl",
        "--initiate",
        "--uri",
        &uri,
        "--child",
        &child(other),
    ];
    argv(words)
}

/// Security associations and policies by `ip xfrm`, both directions at both ends.
/// Tunnels that share an end have different numbers.
pub fn by_hand(tunnel: &Tunnel, ends: [&End; 2], number: usize, assets: &Assets, plan: &mut Plan) {
    let reqid = number + 1;
    let mode = match tunnel.mode {
        Mode::Transport => "transport",
        Mode::Tunnel | Mode::Wireguard => "tunnel",
    };
    for (at, end) in ends.iter().enumerate() {
        let mut batch = String::new();
        for (from, to) in [(0, 1), (1, 0)] {
            let direction = if from == at { "out" } else { "in" };
            let (a, b) = (&ends[from].address, &ends[to].address);
            let spi = format!("0x{:x}", 0x1000 + 2 * number + from);
            let purpose = format!("{} {spi}", tunnel.name);
            writeln!(
                batch,
                "xfrm state add src {a} dst {b} proto esp spi {spi} reqid {reqid} mode {mode} {}",
                algorithms(tunnel, &assets.run, &purpose)
            )
            .expect("a string takes it");
            for inner in selectors(tunnel.mode, ends[from], ends[to]) {
                for direction in policies(direction, tunnel.mode) {
                    writeln!(
                        batch,
                        "xfrm policy add {inner} dir {direction} \
                         tmpl src {a} dst {b} proto esp reqid {reqid} mode {mode}"
                    )
                    .expect("a string takes it");
                }
            }
        }
        plan.feed(
            format!("tunnel {} at {}", tunnel.name, end.namespace),
            super::network::ip_batch(&end.namespace, assets),
            batch,
        );
    }
}

/// Directions of the policies that let packets in this direction pass.
fn policies(direction: &'static str, mode: Mode) -> Vec<&'static str> {
    match (direction, mode) {
        ("in", Mode::Tunnel) => vec!["in", "fwd"],
        _ => vec![direction],
    }
}

fn selectors(mode: Mode, from: &End, to: &End) -> Vec<String> {
    if mode == Mode::Transport {
        return vec![format!("src {} dst {}", from.address, to.address)];
    }
    let pairs = from
        .networks
        .iter()
        .flat_map(|a| to.networks.iter().map(move |b| (a, b)));
    pairs.map(|(a, b)| format!("src {a} dst {b}")).collect()
}

fn algorithms(tunnel: &Tunnel, run: &str, purpose: &str) -> String {
    let cipher = kernel(tunnel.cipher);
    let encryption = key(run, &format!("{purpose} encryption"), cipher.key);
    if cipher.aead {
        return format!("aead {} {encryption} 128", cipher.name);
    }
    // ip(8) wants a key even where there is none.
    let encryption = if cipher.key == 0 { "0x" } else { &encryption };
    let mut words = format!("enc {} {encryption}", cipher.name);
    if let Some(integrity) = tunnel.integrity {
        let (name, bytes, bits) = authentication(integrity);
        let secret = key(run, &format!("{purpose} integrity"), bytes);
        write!(words, " auth-trunc {name} {secret} {bits}").expect("a string takes it");
    }
    words
}

/// A charon that waits for orders. The first of each pair is its own end, as the
/// other one knows it.
///
/// # Panics
///
/// Without a pair.
pub fn daemon(tunnel: &Tunnel, pairs: &[[&End; 2]], assets: &Assets, plan: &mut Plan) {
    let own = pairs[0][0];
    let name = &own.namespace;
    let settings = assets.path(&format!("{name}.strongswan.conf"));
    let connections = assets.path(&format!("{name}.swanctl.conf"));
    let log = log(name, assets);
    let vici = socket(own, assets);
    plan.write(
        format!("settings of charon at {name}"),
        settings.clone(),
        strongswan_conf(tunnel, &vici, &log),
    );
    plan.write(
        format!("connections of charon at {name}"),
        connections.clone(),
        swanctl_conf(tunnel, pairs, &assets.run),
    );
    let with = format!("STRONGSWAN_CONF={settings}");
    let charon = argv(["env", &with, "/usr/sbin/charon-systemd"]);
    plan.start(
        format!("charon at {name}"),
        &format!("charon-{name}"),
        assets.inside(name, charon),
        Ready::Exists(vici.clone()),
    );
    let uri = format!("unix://{vici}");
    let load = [
        "swanctl",
        "--load-all",
        "--uri",
        &uri,
        "--file",
        &connections,
    ];
    plan.run(
        format!("charon at {name} loads its connections"),
        assets.inside(name, argv(load)),
    );
}

fn strongswan_conf(tunnel: &Tunnel, vici: &str, log: &str) -> String {
    let (timeout, base, tries) = match tunnel.vpn.as_ref().and_then(|vpn| vpn.detection.as_ref()) {
        Some(Detection::Strongswan {
            timeout,
            base,
            tries,
            ..
        }) => (timeout.as_secs_f64(), *base, *tries),
        // The defaults of charon.
        _ => (4.0, 1.8, 5),
    };
    format!(
        "charon {{\n\
         \x20 load_modular = no\n\
         \x20 load = random nonce openssl sha1 sha2 hmac kdf pem pkcs1 x509 \
         kernel-netlink socket-default vici updown\n\
         \x20 install_routes = no\n\
         \x20 install_virtual_ip = no\n\
         \x20 retransmit_timeout = {timeout}\n\
         \x20 retransmit_base = {base}\n\
         \x20 retransmit_tries = {tries}\n\
         \x20 plugins {{ vici {{ socket = unix://{vici} }} }}\n\
         \x20 filelog {{ log {{ path = {log}\n default = 1\n ike = 2\n flush_line = yes\n\
         \x20 time_format = %s\n time_add_ms = yes }} }}\n\
         \x20 syslog {{ }}\n\
         }}\n"
    )
}

fn swanctl_conf(tunnel: &Tunnel, pairs: &[[&End; 2]], run: &str) -> String {
    let version = if tunnel.ike == Ike::Ikev2 { 2 } else { 1 };
    let aggressive = if tunnel.ike == Ike::Ikev1Aggressive {
        "    aggressive = yes\n"
    } else {
        ""
    };
    let mode = match tunnel.mode {
        Mode::Transport => "transport",
        Mode::Tunnel | Mode::Wireguard => "tunnel",
    };
    let encapsulation = if tunnel.nat_traversal { "yes" } else { "no" };
    let esp = proposal(tunnel);
    let dpd = match tunnel.vpn.as_ref().and_then(|vpn| vpn.detection.as_ref()) {
        Some(Detection::Strongswan { dpd_delay, .. }) => {
            format!("    dpd_delay = {}s\n", dpd_delay.as_secs_f64())
        }
        _ => String::new(),
    };
    let mut text = String::from("connections {\n");
    for [own, other] in pairs {
        let selectors = match tunnel.mode {
            Mode::Transport => String::new(),
            Mode::Tunnel | Mode::Wireguard => format!(
                "        local_ts = {}\n        remote_ts = {}\n",
                own.networks.join(","),
                other.networks.join(",")
            ),
        };
        write!(
            text,
            "  {0} {{\n\
             \x20   version = {version}\n{aggressive}\
             \x20   local_addrs = {1}\n\
             \x20   remote_addrs = {2}\n\
             \x20   proposals = aes128-sha256-modp2048\n\
             \x20   encap = {encapsulation}\n\
             \x20   mobike = no\n{dpd}\
             \x20   local {{\n      auth = psk\n      id = {1}\n    }}\n\
             \x20   remote {{\n      auth = psk\n      id = {2}\n    }}\n\
             \x20   children {{\n      {0} {{\n\
             \x20       mode = {mode}\n\
             \x20       esp_proposals = {esp}\n{selectors}\
             \x20       dpd_action = clear\n\
             \x20     }}\n    }}\n  }}\n",
            child(other),
            own.address,
            other.address,
        )
        .expect("a string takes it");
    }
    let secret = key(run, "pre-shared key", 32);
    write!(
        text,
        "}}\nsecrets {{\n  ike-lab {{\n    secret = {secret}\n  }}\n}}\n"
    )
    .expect("a string takes it");
    text
}
