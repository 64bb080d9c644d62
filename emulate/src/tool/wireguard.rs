//! Gives an interface of WireGuard its key and its peer. Both private keys are
//! given, as in a lab, and `wg` makes the peer's public key of its private one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Gives an interface of WireGuard its key and its peer.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The interface.
    #[arg(long)]
    interface: String,
    /// Where it listens.
    #[arg(long)]
    port: u16,
    /// Its private key, 64 hexadecimal digits.
    #[arg(long)]
    key: String,
    /// The private key of its peer.
    #[arg(long)]
    peer_key: String,
    /// Address and port of its peer.
    #[arg(long)]
    endpoint: String,
    /// Network behind its peer.
    #[arg(long)]
    allowed: String,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let peer = wg(&["pubkey"], &base64(&args.peer_key)?)?;
    let port = args.port.to_string();
    let words = [
        "set",
        &args.interface,
        "listen-port",
        &port,
        "private-key",
        "/proc/self/fd/0",
        "peer",
        peer.trim(),
        "endpoint",
        &args.endpoint,
        "allowed-ips",
        &args.allowed,
    ];
    wg(&words, &base64(&args.key)?)?;
    Ok(())
}

fn wg(words: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("wg")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run wg; it is in the package wireguard-tools")?;
    let mut pipe = child.stdin.take().context("wg has no input")?;
    writeln!(pipe, "{input}")?;
    drop(pipe);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "wg {} failed: {}",
        words[0],
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A key of hexadecimal digits in base 64, as `wg` reads it.
fn base64(hex: &str) -> Result<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    ensure!(
        hex.len() == 64 && hex.is_ascii(),
        "a key has 64 hexadecimal digits"
    );
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16);
    let bytes: Vec<u8> = (0..32).map(byte).collect::<Result<_, _>>()?;
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0_u32, |word, &byte| (word << 8) | u32::from(byte));
        let word = word << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = (word >> (18 - 6 * digit)) & 63;
            let filled = digit <= group.len();
            text.push(if filled {
                char::from(DIGITS[index as usize])
            } else {
                '='
            });
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn a_key_becomes_44_digits_of_base_64() {
        // 32 bytes of 0xff: 42 full digits, the last with 4 bits, and a filler.
        let full = base64(&"ff".repeat(32)).unwrap();
        assert_eq!(full, format!("{}8=", "/".repeat(42)));
        assert!(base64("12").is_err());
    }
}
