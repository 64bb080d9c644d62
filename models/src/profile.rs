//! The profile of a lab: what its hosts, guests and tunnels were measured to do.
//!
//! A profile replaces parameters of a checked scenario that belong to the
//! machines it runs on, everywhere alike: rates of encryption and compression,
//! times of boot and resume, the size of the device state, the throughput of
//! tunnels. It holds no result of a migration: those are what is predicted.
//!
//! Leaves out: hosts that differ from each other.
//!
//! Who would notice: labs of two generations of machines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::scenario::{Background, Cipher, Mode, Scenario, Vm};
use crate::simulate::{cipher_name, tunnel_name};
use crate::units::{BitRate, ByteRate, Bytes, Span};

/// Longest time in a profile, seconds.
const LONGEST: u64 = 24 * 3600;
/// Largest device state.
const LARGEST_STATE: u64 = 1 << 40;
/// Bytes of a page.
const PAGE: u64 = crate::dirty::PAGE;

/// Measured parameters; those that are not there leave the scenario's as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Encryption of an image, file to file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<ByteRate>,
    /// Decryption of an image, file to file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decrypt: Option<ByteRate>,
    /// Compression of an image, counted in bytes of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<ByteRate>,
    /// Decompression of an image, counted in bytes of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decompress: Option<ByteRate>,
    /// Scan of guest memory that turns out to be all zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_scan: Option<ByteRate>,
    /// Reading of a guest's dirty bitmap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitmap_sync: Option<Span>,
    /// Size of the compressed image divided by that of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed: Option<f64>,
    /// Pages of a guest that hold anything but zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonzero_pages: Option<u64>,
    /// Pages that a guest's system writes a second beside its work, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background_rate: Option<ByteRate>,
    /// The pages that it writes to, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background_set: Option<Bytes>,
    /// State of virtual devices and processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_state: Option<Bytes>,
    /// From the order to suspend until the guest has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Span>,
    /// From the last byte at the target until the guest runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Span>,
    /// Shut-down of the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Span>,
    /// Boot of the guest until its services run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Span>,
    /// Processing until a connection carries data, beside its round trips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_time: Option<Span>,
    /// Throughput of tunnels, by their name in the record: `esp transport aes128-gcm`,
    /// `wireguard`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tunnel_throughput: BTreeMap<String, BitRate>,
}

/// A profile that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct ProfileError {
    /// The field at fault.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

fn fault(field: &str, message: impl Into<String>) -> ProfileError {
    ProfileError {
        field: field.to_owned(),
        message: message.into(),
    }
}

impl Profile {
    /// Reads a profile in TOML.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let fields = toml::from_str(text);
        Self::from_fields(fields.map_err(|error| fault("(file)", error.message()))?)
    }

    /// Reads a profile in JSON.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn from_json(text: &str) -> Result<Self, ProfileError> {
        let fields = serde_json::from_str(text);
        Self::from_fields(fields.map_err(|error| fault("(file)", error.to_string()))?)
    }

    /// The profile in JSON.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("texts and numbers make JSON") + "\n"
    }

    /// Field by field, so that an error names its own.
    fn from_fields(fields: Map<String, Value>) -> Result<Self, ProfileError> {
        for (field, value) in &fields {
            let one = Map::from_iter([(field.clone(), value.clone())]);
            let read: Result<Self, _> = serde_json::from_value(Value::Object(one));
            read.map_err(|error| fault(field, error.to_string()))?;
        }
        let profile: Self = serde_json::from_value(Value::Object(fields))
            .map_err(|error| fault("(file)", error.to_string()))?;
        profile.check()?;
        Ok(profile)
    }

    /// Bounds that a unit does not say.
    fn check(&self) -> Result<(), ProfileError> {
        let rates = [
            ("encrypt", self.encrypt),
            ("decrypt", self.decrypt),
            ("compress", self.compress),
            ("decompress", self.decompress),
            ("zero_scan", self.zero_scan),
        ];
        for (field, rate) in rates {
            if rate == Some(ByteRate::default()) {
                return Err(fault(
                    field,
                    "a rate of zero; leave it out if it is unknown",
                ));
            }
        }
        let spans = [
            ("bitmap_sync", self.bitmap_sync),
            ("suspend", self.suspend),
            ("resume", self.resume),
            ("shutdown", self.shutdown),
            ("boot", self.boot),
            ("setup_time", self.setup_time),
        ];
        for (field, span) in spans {
            if span.is_some_and(|span| span > Span::from_secs(LONGEST)) {
                return Err(fault(field, "longer than a day"));
            }
        }
        if self
            .compressed
            .is_some_and(|share| !(share > 0.0 && share <= 1.0))
        {
            return Err(fault("compressed", "expected a share above 0, up to 1"));
        }
        if self
            .device_state
            .is_some_and(|state| state.get() > LARGEST_STATE)
        {
            return Err(fault("device_state", "more than 1 TiB"));
        }
        if self.background_rate.is_some() != self.background_set.is_some() {
            let message = "`background_rate` and `background_set` need each other";
            return Err(fault("background_rate", message));
        }
        for (name, rate) in &self.tunnel_throughput {
            let field = format!("tunnel_throughput.{name}");
            if !is_tunnel(name) {
                let message = "no tunnel is called so in a record; \
                               one is called `esp transport aes128-gcm` or `wireguard`";
                return Err(fault(&field, message));
            }
            if *rate == BitRate::default() {
                return Err(fault(
                    &field,
                    "a rate of zero; leave it out if it is unknown",
                ));
            }
        }
        Ok(())
    }

    /// Replaces what was measured in a checked scenario.
    ///
    /// # Errors
    /// When a guest of the scenario cannot have so many pages that are not zero.
    pub fn apply(&self, scenario: &mut Scenario) -> Result<(), ProfileError> {
        for host in &mut scenario.hosts {
            replace(&mut host.encrypt, self.encrypt);
            replace(&mut host.decrypt, self.decrypt);
            replace(&mut host.compress, self.compress);
            replace(&mut host.decompress, self.decompress);
            replace(&mut host.zero_scan, self.zero_scan);
            replace(&mut host.bitmap_sync, self.bitmap_sync.map(Span::get));
        }
        for vm in &mut scenario.vms {
            self.apply_to_vm(vm)?;
        }
        for transport in &mut scenario.transports {
            replace(&mut transport.setup_time, self.setup_time.map(Span::get));
        }
        for tunnel in &mut scenario.tunnels {
            let measured = self.tunnel_throughput.get(&tunnel_name(tunnel));
            tunnel.throughput = measured.copied().or(tunnel.throughput);
        }
        Ok(())
    }

    fn apply_to_vm(&self, vm: &mut Vm) -> Result<(), ProfileError> {
        if let Some(nonzero) = self.nonzero_pages {
            let pages = vm.memory.get() / PAGE;
            if nonzero > pages {
                let message = format!("{nonzero}, but VM `{}` has {pages} pages", vm.name);
                return Err(fault("nonzero_pages", message));
            }
            vm.zero = 1.0 - nonzero as f64 / pages as f64;
        }
        replace(&mut vm.compressed, self.compressed);
        if let (Some(rate), Some(working_set)) = (self.background_rate, self.background_set) {
            if working_set > vm.memory {
                let message = format!("{working_set}, but VM `{}` has {}", vm.name, vm.memory);
                return Err(fault("background_set", message));
            }
            vm.background = Some(Background { rate, working_set });
        }
        replace(&mut vm.device_state, self.device_state);
        replace(&mut vm.suspend, self.suspend.map(Span::get));
        replace(&mut vm.resume, self.resume.map(Span::get));
        replace(&mut vm.shutdown, self.shutdown.map(Span::get));
        replace(&mut vm.boot, self.boot.map(Span::get));
        Ok(())
    }
}

fn replace<T>(place: &mut T, measured: Option<T>) {
    if let Some(measured) = measured {
        *place = measured;
    }
}

/// Whether a record may call a tunnel so.
fn is_tunnel(name: &str) -> bool {
    let ciphers = [
        Cipher::Aes128Cbc,
        Cipher::Aes256Cbc,
        Cipher::TripleDesCbc,
        Cipher::Aes128Gcm,
        Cipher::Aes256Gcm,
        Cipher::ChaCha20Poly1305,
        Cipher::Null,
    ];
    let modes = [Mode::Transport, Mode::Tunnel, Mode::Wireguard];
    modes.into_iter().any(|mode| {
        let mut names = ciphers.iter().map(|&cipher| cipher_name(mode, cipher));
        names.any(|known| known == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;
    use sim_core::SimDuration;

    const SCENARIO: &str = r#"
name = "small"
seed = 1
[site.a]
[site.b]
[link.wan]
between = ["a", "b"]
rtt = "20ms"
rate = "100 Mbit/s"
[host.a]
site = "a"
[host.b]
site = "b"
encrypt = "1 GB/s"
[vm.web]
host = "a"
memory = "1 GiB"
boot = "30s"
[transport.tcp]
[tunnel.esp]
mode = "tunnel"
cipher = "aes128-gcm"
[tunnel.wg]
mode = "wireguard"
"#;

    fn scenario() -> Scenario {
        let study = parse(SCENARIO, &mut |_| Err(String::new())).unwrap();
        study.cases[0].scenario.clone()
    }

    // 65536 of 262144 pages are not zero: three quarters are.
    #[test]
    fn what_was_measured_replaces_what_the_scenario_says_everywhere() {
        let profile = Profile::from_toml(
            "encrypt = \"50 MB/s\"\nresume = \"12ms\"\nnonzero_pages = 65536\n\
             tunnel_throughput = { \"esp tunnel aes128-gcm\" = \"90 Mbit/s\" }\n",
        )
        .unwrap();
        let mut scenario = scenario();
        profile.apply(&mut scenario).unwrap();
        let rates: Vec<u64> = scenario
            .hosts
            .iter()
            .map(|host| host.encrypt.bytes_per_second())
            .collect();
        assert_eq!(rates, [50_000_000, 50_000_000]);
        let vm = &scenario.vms[0];
        assert_eq!((vm.resume, vm.zero), (SimDuration::from_millis(12), 0.75));
        assert_eq!(vm.boot, SimDuration::from_secs(30));
        let through: Vec<_> = scenario.tunnels.iter().map(|t| t.throughput).collect();
        let measured = BitRate::from_bits_per_second(90_000_000);
        assert_eq!(through, [Some(measured), None]);
    }

    #[test]
    fn a_profile_reads_back_as_written() {
        let profile = Profile {
            boot: Some(Span::from_millis(2500)),
            compressed: Some(0.4),
            tunnel_throughput: BTreeMap::from([(
                "wireguard".to_owned(),
                BitRate::from_bits_per_second(27_000_000),
            )]),
            ..Profile::default()
        };
        assert_eq!(Profile::from_json(&profile.to_json()).unwrap(), profile);
        assert_eq!(Profile::from_json("{}").unwrap(), Profile::default());
    }

    #[test]
    fn a_fault_names_its_field() {
        let message = |text: &str| Profile::from_toml(text).unwrap_err().to_string();
        assert_eq!(
            message("boot = 3"),
            "`boot`: invalid type: integer `3`, expected a string"
        );
        assert!(message("boots = \"3s\"").starts_with("`boots`: unknown field `boots`"));
        assert_eq!(
            message("encrypt = \"5\""),
            "`encrypt`: \"5\" has no unit; \"5 B/s\" or \"5 MB/s\"?"
        );
        assert_eq!(message("boot = \"25h\""), "`boot`: longer than a day");
        assert_eq!(
            message("compressed = 0.0"),
            "`compressed`: expected a share above 0, up to 1"
        );
        assert!(
            message("tunnel_throughput.gcm = \"1 Mbit/s\"")
                .starts_with("`tunnel_throughput.gcm`: no tunnel is called so")
        );
        let profile = Profile::from_toml("nonzero_pages = 262145").unwrap();
        assert_eq!(
            profile.apply(&mut scenario()).unwrap_err().to_string(),
            "`nonzero_pages`: 262145, but VM `web` has 262144 pages"
        );
    }
}
