//! Virtual machines and how their guests write to memory.

use super::Builder;
use crate::scenario::fault::Fault;
use crate::scenario::file::{ConstantFile, DirtyFile, HotColdFile, VmFile, ZipfFile};
use crate::scenario::{Dirty, DirtyPhase, Vm};
use crate::units::{ByteRate, Bytes};

const PAGE: u64 = 4096;
const SMALLEST_MEMORY: u64 = 1 << 20;
const LARGEST_MEMORY: u64 = 16 << 40;

impl Builder<'_, '_, '_> {
    pub(super) fn vm(&mut self, name: &str, vm: &VmFile) -> Vm {
        let host = self
            .refer_host(&vm.host, &["vm", name, "host"])
            .unwrap_or(0);
        let memory = vm.memory.get();
        let at = ["vm", name, "memory"];
        if !(SMALLEST_MEMORY..=LARGEST_MEMORY).contains(&memory) {
            let message = format!("`vm.{name}.memory` is {}", vm.memory);
            self.fault(&at, message, "the memory of a VM is 1 MiB to 16 TiB");
        } else if !memory.is_multiple_of(PAGE) {
            let help = format!(
                "the next size is \"{}\"",
                Bytes::new(memory.next_multiple_of(PAGE))
            );
            self.fault(
                &at,
                format!("`vm.{name}.memory` is no multiple of 4 KiB"),
                &help,
            );
        }
        if !(1..=PAGE).contains(&vm.dirty_change.get()) {
            let message = format!("`vm.{name}.dirty_change` is {}", vm.dirty_change);
            self.fault(
                &["vm", name, "dirty_change"],
                message,
                "a write changes 1 B to 4096 B of a page",
            );
        }
        Vm {
            name: name.to_owned(),
            host,
            memory: vm.memory,
            disk: vm.disk,
            zero: vm.zero,
            compressed: vm.compressed,
            device_state: vm.device_state,
            suspend: vm.suspend.get(),
            suspend_pages: vm.suspend_pages,
            resume: vm.resume.get(),
            shutdown: vm.shutdown.get(),
            boot: vm.boot.get(),
            dirty: self.dirty(name, vm),
            background: None,
            dirty_change: vm.dirty_change,
            dirty_variation: vm.dirty_variation,
        }
    }

    fn dirty(&mut self, vm: &str, file: &VmFile) -> Dirty {
        let memory = file.memory;
        match &file.dirty {
            None => Dirty::Idle,
            Some(DirtyFile::Constant(ConstantFile {
                rate,
                working_set,
                pattern,
            })) => {
                let working_set = working_set.unwrap_or(memory);
                self.written(
                    &["vm", vm, "dirty", "constant", "working_set"],
                    working_set,
                    *rate,
                    memory,
                );
                Dirty::Constant {
                    rate: *rate,
                    working_set,
                    pattern: *pattern,
                }
            }
            Some(DirtyFile::HotCold(hot_cold)) => self.hot_cold(vm, hot_cold, memory),
            Some(DirtyFile::Zipf(ZipfFile {
                rate,
                skew,
                working_set,
            })) => {
                let working_set = working_set.unwrap_or(memory);
                self.written(
                    &["vm", vm, "dirty", "zipf", "working_set"],
                    working_set,
                    *rate,
                    memory,
                );
                Dirty::Zipf {
                    rate: *rate,
                    skew: *skew,
                    working_set,
                }
            }
            Some(DirtyFile::Trace(trace)) => {
                let phases = self.phases(vm, &trace.file, memory);
                Dirty::Trace {
                    phases,
                    pattern: trace.pattern,
                }
            }
        }
    }

    fn hot_cold(&mut self, vm: &str, file: &HotColdFile, memory: Bytes) -> Dirty {
        let at = |key| ["vm", vm, "dirty", "hot_cold", key];
        self.written(&at("hot"), file.hot, file.hot_rate, memory);
        if file.cold_rate > ByteRate::default() && file.hot == memory {
            let message = "the hot set is all memory, so nothing is cold";
            let help = "make `hot` smaller, or remove `cold_rate`";
            self.fault(&at("cold_rate"), message, help);
        }
        Dirty::HotCold {
            hot: file.hot,
            hot_rate: file.hot_rate,
            cold: Bytes::new(memory.get().saturating_sub(file.hot.get())),
            cold_rate: file.cold_rate,
            pattern: file.pattern,
        }
    }

    /// Checks a set of pages that is written to.
    fn written(&mut self, path: &[&str], set: Bytes, rate: ByteRate, memory: Bytes) {
        let shown = path.join(".");
        if set > memory {
            let message = format!("`{shown}` is {set}, more than the memory of {memory}");
            let fault = Fault::new(self.span(path), message, "")
                .related(self.span(&[path[0], path[1], "memory"]), "the memory")
                .help("a guest writes to its own memory only");
            self.faults.push(fault);
        } else if set.get() < PAGE && rate > ByteRate::default() {
            let message = format!("`{shown}` is smaller than a page of 4 KiB");
            self.fault(path, message, "give at least one page, or a rate of zero");
        }
    }

    fn phases(&mut self, vm: &str, file: &str, memory: Bytes) -> Vec<DirtyPhase> {
        let path = ["vm", vm, "dirty", "trace", "file"];
        let phases = match self.traces.get(file) {
            Ok(phases) => phases,
            Err((message, help)) => {
                self.fault(&path, message, &help);
                return Vec::new();
            }
        };
        // The header is line 1.
        for (phase, line) in phases.iter().zip(2..) {
            let problem = if phase.working_set > memory {
                format!("more than the memory of {memory}")
            } else if phase.working_set.get() < PAGE && phase.rate > ByteRate::default() {
                "smaller than a page of 4 KiB".to_owned()
            } else {
                continue;
            };
            let message = format!("line {line} of the trace file: the working set is {problem}");
            self.fault(
                &path,
                message,
                &format!("it is written for another VM than `{vm}`?"),
            );
            break;
        }
        phases
    }
}
