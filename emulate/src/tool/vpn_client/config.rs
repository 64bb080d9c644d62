//! The configuration of the VPN client, a JSON file.

use std::fs::File;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

const LARGEST_FILE: u64 = 64 << 10;
const MOST_GATEWAYS: usize = 64;
const MOST_WORDS: usize = 64;

/// A program and its arguments; no shell reads them.
pub(super) type Argv = Vec<String>;

/// What the client has to do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) gateways: Vec<Gateway>,
    #[serde(default)]
    pub(super) detector: Detector,
    /// Of the external detector: a command whose end means that the gateway is dead.
    #[serde(default)]
    pub(super) detect: Argv,
    #[serde(default = "interval_ms")]
    pub(super) interval_ms: u64,
    #[serde(default = "rto_multiple")]
    pub(super) rto_multiple: f64,
    #[serde(default = "min_rto_ms")]
    pub(super) min_rto_ms: u64,
    #[serde(default = "connect_timeout_ms")]
    pub(super) connect_timeout_ms: u64,
    /// Whether the tunnel to the first gateway stands already.
    #[serde(default)]
    pub(super) connected: bool,
    #[serde(default)]
    pub(super) relay_control: Option<PathBuf>,
}

/// One way out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) name: String,
    /// Its address inside the tunnel.
    pub(super) probe: Option<Ipv4Addr>,
    /// The client's address in this tunnel; the routes decide when left out.
    pub(super) local: Option<Ipv4Addr>,
    pub(super) connect: Argv,
    #[serde(default)]
    pub(super) switch: Argv,
    #[serde(default)]
    pub(super) disconnect: Argv,
}

/// Who finds out that a gateway is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Detector {
    #[default]
    Probe,
    External,
}

fn interval_ms() -> u64 {
    500
}

fn rto_multiple() -> f64 {
    3.0
}

fn min_rto_ms() -> u64 {
    1000
}

fn connect_timeout_ms() -> u64 {
    5000
}

impl Config {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let place = || path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {}", place()))?;
        let mut text = String::new();
        file.take(LARGEST_FILE + 1)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {}", place()))?;
        ensure!(
            text.len() as u64 <= LARGEST_FILE,
            "{} is larger than {LARGEST_FILE} bytes",
            place()
        );
        Self::parse(&text).with_context(|| format!("{} is no configuration", place()))
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = serde_json::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let number = self.gateways.len();
        ensure!(
            (1..=MOST_GATEWAYS).contains(&number),
            "`gateways` has {number} entries; between 1 and {MOST_GATEWAYS} are right"
        );
        for gateway in &self.gateways {
            gateway.check(self.detector)?;
        }
        within("interval_ms", self.interval_ms, 1, 3_600_000)?;
        within("min_rto_ms", self.min_rto_ms, 1, 3_600_000)?;
        within("connect_timeout_ms", self.connect_timeout_ms, 10, 600_000)?;
        ensure!(
            (1.0..=100.0).contains(&self.rto_multiple),
            "`rto_multiple` is {}; between 1 and 100 is right",
            self.rto_multiple
        );
        match self.detector {
            Detector::External => command("detect", &self.detect, true),
            Detector::Probe => {
                let least = self.rto_multiple * self.min_rto_ms as f64;
                ensure!(
                    least > self.interval_ms as f64,
                    "with `rto_multiple` x `min_rto_ms` = {least} ms no longer than `interval_ms` \
                     = {} ms a gateway would be declared dead between two probes",
                    self.interval_ms
                );
                Ok(())
            }
        }
    }
}

impl Gateway {
    fn check(&self, detector: Detector) -> anyhow::Result<()> {
        let name = &self.name;
        ensure!(
            (1..=64).contains(&name.len()) && !name.contains(char::is_control),
            "a gateway's name has between 1 and 64 letters"
        );
        if detector == Detector::Probe && self.probe.is_none() {
            bail!("gateway `{name}` has no `probe`, the address inside the tunnel to ask");
        }
        command("connect", &self.connect, true)?;
        command("switch", &self.switch, false)?;
        command("disconnect", &self.disconnect, false)
    }
}

fn within(name: &str, value: u64, least: u64, most: u64) -> anyhow::Result<()> {
    ensure!(
        (least..=most).contains(&value),
        "`{name}` is {value}; between {least} and {most} is right"
    );
    Ok(())
}

fn command(name: &str, argv: &[String], needed: bool) -> anyhow::Result<()> {
    ensure!(
        !(needed && argv.is_empty()),
        "`{name}` is empty; write the program and its arguments as a list"
    );
    ensure!(
        argv.len() <= MOST_WORDS && !argv.iter().any(|word| word.contains('\0')),
        "`{name}` has more than {MOST_WORDS} words or a NUL in one"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = r#"{"name": "tokyo", "probe": "10.1.0.1", "connect": ["true"]}"#;

    fn fault(text: &str) -> String {
        format!("{:#}", Config::parse(text).unwrap_err())
    }

    #[test]
    fn what_is_left_out_is_as_in_the_paper() {
        let config = Config::parse(&format!(r#"{{"gateways": [{GATEWAY}]}}"#)).unwrap();
        assert_eq!((config.interval_ms, config.min_rto_ms), (500, 1000));
        assert_eq!(config.connect_timeout_ms, 5000);
        assert!(!config.connected);
        assert_eq!(config.detector, Detector::Probe);
    }

    #[test]
    fn a_detector_that_would_fire_between_two_probes_is_refused() {
        let text = format!(r#"{{"gateways": [{GATEWAY}], "min_rto_ms": 100}}"#);
        assert!(fault(&text).contains("between two probes"));
    }

    #[test]
    fn a_mistake_is_named() {
        let with = |more: &str| fault(&format!(r#"{{"gateways": [{GATEWAY}], {more}}}"#));
        assert!(with(r#""intervall_ms": 5"#).contains("intervall_ms"));
        assert!(with(r#""rto_multiple": 0.5"#).contains("rto_multiple"));
        assert!(with(r#""detector": "external""#).contains("detect"));
        assert!(with(r#""interval_ms": 0"#).contains("interval_ms"));
        assert!(fault(r#"{"gateways": []}"#).contains("0 entries"));
        assert!(fault(r#"{"gateways": [{"name": "a", "connect": ["true"]}]}"#).contains("probe"));
        let empty = r#"{"gateways": [{"name": "a", "probe": "10.1.0.1", "connect": []}]}"#;
        assert!(fault(empty).contains("connect"));
    }
}
