//! Which lab it will be, and what is in it.

use emulate::doctor::{self, Lab, Probe};
use emulate::lab::build::{self, Image};
use emulate::lab::vm::Clock;
use emulate::lab::{Lacks, cache};

use crate::exit::Failure;
use crate::manifest::LabFacts;
use crate::output::Output;

use super::{Args, ClockWord, LabWord};

/// A lab and how time passes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) lab: Lab,
    pub(super) clock: Clock,
}

/// A lab that can be used.
pub(super) struct Chosen {
    pub(super) lab: Lab,
    pub(super) clock: Clock,
    pub(super) image: Image,
    pub(super) accel: &'static str,
}

/// The image of the lab VM.
pub(super) fn image() -> Result<Image, Lacks> {
    build::current(&cache()?)
}

/// Decides between the labs, and says why.
pub(super) fn settle(args: &Args, output: Output) -> Result<Settled, Failure> {
    let lab = match args.lab {
        LabWord::Host => Lab::Host,
        LabWord::Vm => Lab::Vm,
        LabWord::Auto => {
            let (lab, why) = decide(args.clock, &doctor::host());
            output.note(&format!("{why}\n"));
            lab
        }
    };
    let unfit = |words: &str| Err(Failure::Input(anyhow::anyhow!("nothing was run: {words}")));
    if lab == Lab::Host && args.clock == Some(ClockWord::Virtual) {
        return unfit("only the lab VM has a virtual clock; leave out --clock, or use --lab vm");
    }
    if lab == Lab::Host && args.jobs.is_some_and(|jobs| jobs > 1) {
        return unfit(
            "runs on the host would disturb each other; leave out --jobs, or use --lab vm",
        );
    }
    let clock = match (args.clock, lab) {
        (Some(ClockWord::Real), _) | (None, Lab::Host) => Clock::Real,
        _ => Clock::Virtual,
    };
    Ok(Settled { lab, clock })
}

/// The lab of `auto`, with the reason.
fn decide(clock: Option<ClockWord>, probes: &[Probe]) -> (Lab, String) {
    let lacking: Vec<&str> = probes
        .iter()
        .filter(|probe| probe.stops(Lab::Host))
        .map(|probe| probe.what)
        .collect();
    if clock == Some(ClockWord::Virtual) {
        let why = "lab: the lab VM, which alone has a virtual clock";
        return (Lab::Vm, why.to_owned());
    }
    if lacking.is_empty() {
        let why = "lab: this host, which has all that is needed (--lab vm for the other one)";
        return (Lab::Host, why.to_owned());
    }
    let why = format!("lab: the lab VM, as this host lacks {}", lacking.join(", "));
    (Lab::Vm, why)
}

/// Whether the lab has all it needs.
pub(super) fn probe(settled: Settled, output: Output) -> Result<Chosen, Failure> {
    let Settled { lab, clock } = settled;
    if lab == Lab::Host {
        let probes = doctor::host();
        let lacking: Vec<&Probe> = probes.iter().filter(|p| p.stops(lab)).collect();
        if !lacking.is_empty() {
            return Err(Failure::lacks(lacks(&lacking)));
        }
    }
    let image = image().map_err(Failure::lacks)?;
    let mut accel = "tcg";
    if lab == Lab::Host {
        let kvm = doctor::kvm(Some(&image));
        if kvm.found == Some(true) {
            accel = "kvm";
        } else {
            output.note(&format!(
                "guests are emulated in software; KVM: {}\n",
                kvm.detail
            ));
        }
    }
    Ok(Chosen {
        lab,
        clock,
        image,
        accel,
    })
}

fn lacks(probes: &[&Probe]) -> Lacks {
    let what: Vec<String> = probes
        .iter()
        .map(|probe| match probe.detail.as_str() {
            "" => probe.what.to_owned(),
            detail => format!("{} ({detail})", probe.what),
        })
        .collect();
    let fixes: Vec<&str> = probes.iter().map(|probe| probe.fix).collect();
    Lacks::new(
        format!("this host lacks {}", what.join("; ")),
        fixes.join("\n       "),
    )
}

impl Chosen {
    /// What is written down of the lab.
    pub(super) fn facts(&self) -> LabFacts {
        let host_kernel = doctor::kernel_release();
        let host_qemu = doctor::qemu_version();
        let packages = ["linux-image-", "qemu-system-x86", "strongswan-swanctl"];
        LabFacts {
            lab: self.lab,
            clock: self.clock.name(),
            accelerator: self.accel,
            image: self.image.name(),
            packages: match self.lab {
                Lab::Vm => self.image.versions(&packages),
                Lab::Host => Vec::new(),
            },
            host_kernel,
            host_qemu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(found: bool) -> Probe {
        Probe {
            what: "root",
            found: Some(found),
            detail: "you are nobody".to_owned(),
            purpose: "",
            fix: "sudo",
            needed_by: &[Lab::Host],
        }
    }

    #[test]
    fn the_host_is_chosen_when_it_lacks_nothing() {
        assert_eq!(decide(None, &[probe(true)]).0, Lab::Host);
        let (lab, why) = decide(None, &[probe(false), probe(true)]);
        assert_eq!(lab, Lab::Vm);
        assert_eq!(why, "lab: the lab VM, as this host lacks root");
        let clock = Some(ClockWord::Virtual);
        assert_eq!(decide(clock, &[probe(true)]).0, Lab::Vm);
    }

    #[test]
    fn what_is_lacking_is_said_with_what_to_do() {
        let text = lacks(&[&probe(false)]).to_string();
        assert_eq!(text, "this host lacks root (you are nobody)\n  fix: sudo");
    }
}
