//! Makes a disk image of given compressibility.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// Written at once; a share of each block is random, the rest one byte.
const BLOCK: usize = 4096;

/// Makes a disk image of given compressibility.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Its size.
    #[arg(long)]
    bytes: u64,
    /// Share of it that no program compresses.
    #[arg(long, default_value_t = 1.0)]
    random: f64,
    /// The file.
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<()> {
    ensure!(
        (0.0..=1.0).contains(&args.random),
        "--random is between 0 and 1"
    );
    let file =
        File::create(&args.out).with_context(|| format!("cannot make `{}`", args.out.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = args.bytes;
    while left > 0 {
        let mut block = [0x5a_u8; BLOCK];
        let random = (args.random * BLOCK as f64).round() as usize;
        for word in block[..random].chunks_mut(8) {
            // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
        let size = left.min(BLOCK as u64);
        out.write_all(&block[..size as usize])?;
        left -= size;
    }
    out.into_inner()
        .context("cannot write the image")?
        .sync_all()?;
    super::clock::emit(&serde_json::json!({ "bytes": args.bytes }))?;
    Ok(())
}
