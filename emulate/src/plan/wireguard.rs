//! WireGuard between two hosts: an interface at each end, with its own address.

use models::ipsec::wireguard::largest_inner;
use sha2::{Digest as _, Sha256};

use super::ipsec::End;
use super::network::ip_batch;
use super::{Assets, Plan, Unsupported};

/// Where each end listens.
const PORT: u16 = 51820;

/// The address of an end inside the tunnel.
pub fn address(index: usize) -> String {
    format!("10.8.0.{}", index + 1)
}

/// A private key of the run: any 32 bytes are one.
fn private_key(run: &str, index: usize) -> String {
    let digest = Sha256::digest(format!("{run} wireguard {index}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts a tunnel between two ends, whose path carries packets of `mtu` bytes.
///
/// # Errors
///
/// When no packet fits through the tunnel.
pub fn between(
    ends: &[End; 2],
    mtu: u64,
    assets: &Assets,
    plan: &mut Plan,
) -> Result<(), Unsupported> {
    let inner = largest_inner(mtu)
        .ok_or_else(|| Unsupported(format!("an MTU of {mtu} B leaves WireGuard no room")))?;
    for (index, end) in ends.iter().enumerate() {
        let own = address(index);
        let batch = format!(
            "link add name wg0 mtu {inner} type wireguard\naddress add {own}/24 dev wg0\n\
             link set wg0 up\n"
        );
        plan.feed(
            format!("WireGuard at {}", end.namespace),
            ip_batch(&end.namespace, assets),
            batch,
        );
    }
    for (index, end) in ends.iter().enumerate() {
        let other = 1 - index;
        let key = |index| private_key(&assets.run, index);
        let tool = assets.tool([
            "wireguard",
            "--interface",
            "wg0",
            "--port",
            &PORT.to_string(),
            "--key",
            &key(index),
            "--peer-key",
            &key(other),
            "--endpoint",
            &format!("{}:{PORT}", ends[other].address),
            "--allowed",
            &format!("{}/32", address(other)),
        ]);
        plan.run(
            format!("key and peer of {}", end.namespace),
            assets.inside(&end.namespace, tool),
        );
    }
    Ok(())
}
