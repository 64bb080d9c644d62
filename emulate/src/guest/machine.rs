//! The virtual machine of the guest: QEMU's arguments and the kernel's.
//!
//! Source, target, and a machine that is restored from a saved state must have
//! the same devices, so there is one machine, of a fixed type: a control port, a
//! network card (without a cable when there is no tap), a serial port, and a disk
//! if asked for.
//!
//! The machine type is that of QEMU 7.2, the oldest that is supported. The
//! processor is `qemu64`, which all versions have and both accelerators can do;
//! later models need what TCG lacks or differ from version to version. The card
//! does no offloads: a packet of the guest is a packet of the wire.
//!
//! Two traps of QEMU that were seen with 7.2:
//!
//! - Live migration with TCG loses pages. Guests that wrote 500 to 1100 pages a second at
//!   100 Mbit/s arrived damaged, or crashed, in each of 4 runs; `verify` tells. QEMU
//!   collects dirty bits 64 pages at a time where it can, and it seems that old
//!   entries of the emulated TLB then let writes pass unseen. It collects them one
//!   by one when memory is no multiple of 64 pages, and none of 4 runs was damaged
//!   then: so the machine has 8 KiB more than asked for.
//! - `cont` while a saved state is still being read is forgotten, and the
//!   machine stays as paused as it was saved: wait until `query-status` says
//!   something else than `inmigrate`.

use std::path::{Path, PathBuf};

/// The type of machine.
pub const MACHINE: &str = "pc-q35-7.2";
/// The model of processor.
pub const PROCESSOR: &str = "qemu64";

/// The kernel's command line: what makes it boot with fewer instructions and
/// occupy less memory.
///
/// - `tsc=reliable clocksource=tsc`: reading the time is an instruction, where the
///   HPET would be a device; a state is saved in the lab that restores it, so the
///   rate of the TSC is the same;
/// - `init_on_free=1`: free pages are zero, so that a migration need not send them;
/// - `nokaslr`: the guest finds all RAM for its `count`;
/// - `panic=-1`: with QEMU's `-no-reboot`, a guest that fails ends;
/// - the file system for tracing alone takes 8 MiB; `lsm=`, tests of ciphers,
///   integrity and certificates take time.
pub const KERNEL_LINE: &str = "quiet loglevel=0 console=ttyS0 panic=-1 nokaslr no_timer_check \
     tsc=reliable clocksource=tsc init_on_free=1 ipv6.disable=1 mitigations=off transparent_hugepage=never lsm= \
     cryptomgr.notests \
     initcall_blacklist=tracer_init_tracefs,init_ima,init_evm,load_system_certificate_list";

/// How the guest's processor is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By translation, in software.
    Tcg,
    /// By the processor.
    Kvm,
}

/// A virtual machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// How it is executed.
    pub accelerator: Accelerator,
    /// Its memory in MiB; it gets 8 KiB more.
    pub memory_mib: u32,
    /// The kernel to boot.
    pub kernel: PathBuf,
    /// The initramfs to boot with.
    pub initrd: PathBuf,
    /// Hardware address of the network card.
    pub mac: String,
    /// The tap interface that the card is plugged into.
    pub tap: Option<String>,
    /// A raw image that is the disk.
    pub disk: Option<PathBuf>,
    /// Socket of the guest's control port.
    pub control: PathBuf,
    /// Socket of QEMU's monitor.
    pub qmp: PathBuf,
    /// File that the guest's serial port writes to.
    pub console: Option<PathBuf>,
    /// Where it comes from instead of booting: `defer`, `exec:cat FILE`.
    pub incoming: Option<String>,
}

/// The arguments of `qemu-system-x86_64`.
pub fn qemu_arguments(machine: &Machine) -> Vec<String> {
    let accelerator = match machine.accelerator {
        Accelerator::Tcg => "tcg",
        Accelerator::Kvm => "kvm",
    };
    let mut arguments: Vec<String> = ["-nodefaults", "-no-user-config", "-no-reboot"]
        .map(str::to_string)
        .to_vec();
    let mut option = |name: &str, value: String| arguments.extend([format!("-{name}"), value]);
    option("display", "none".to_string());
    option("machine", MACHINE.to_string());
    option("accel", accelerator.to_string());
    option("cpu", PROCESSOR.to_string());
    option("m", format!("{}k", memory_kib(machine.memory_mib)));
    option("kernel", machine.kernel.display().to_string());
    option("initrd", machine.initrd.display().to_string());
    option("append", KERNEL_LINE.to_string());
    let console = machine.console.as_deref();
    option(
        "serial",
        console.map_or("null".to_string(), |path| {
            format!("file:{}", path.display())
        }),
    );
    option(
        "qmp",
        format!("unix:{},server=on,wait=off", escaped(&machine.qmp)),
    );
    let control = escaped(&machine.control);
    option(
        "chardev",
        format!("socket,id=control,path={control},server=on,wait=off"),
    );
    option("device", "virtio-serial-pci".to_string());
    option(
        "device",
        "virtserialport,chardev=control,name=watari.control".to_string(),
    );
    if let Some(tap) = &machine.tap {
        option(
            "netdev",
            format!("tap,id=net,ifname={tap},script=no,downscript=no"),
        );
    }
    option("device", card(machine));
    if let Some(disk) = &machine.disk {
        let file = escaped(disk);
        option(
            "blockdev",
            format!("driver=raw,node-name=disk,file.driver=file,file.filename={file}"),
        );
        option("device", "virtio-blk-pci,drive=disk".to_string());
    }
    if let Some(incoming) = &machine.incoming {
        option("incoming", incoming.clone());
    }
    arguments
}

/// Memory of the machine in KiB: two pages more than a multiple of 64, against the
/// loss of pages (see above).
pub fn memory_kib(memory_mib: u32) -> u32 {
    memory_mib * 1024 + 8
}

fn card(machine: &Machine) -> String {
    let cable = machine.tap.as_ref().map_or("", |_| ",netdev=net");
    let offloads = [
        "csum",
        "gso",
        "guest_csum",
        "guest_tso4",
        "guest_tso6",
        "guest_ecn",
        "guest_ufo",
        "host_tso4",
        "host_tso6",
        "host_ecn",
        "host_ufo",
    ];
    let off: String = offloads.map(|name| format!(",{name}=off")).concat();
    format!("virtio-net-pci,romfile=,mac={}{cable}{off}", machine.mac)
}

/// A path within an option of QEMU: a comma is doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            accelerator: Accelerator::Tcg,
            memory_mib: 128,
            kernel: "vmlinuz".into(),
            initrd: "guest.cpio".into(),
            mac: "52:54:00:00:00:02".to_string(),
            tap: None,
            disk: None,
            control: "a,b/control".into(),
            qmp: "qmp".into(),
            console: None,
            incoming: None,
        }
    }

    fn has(arguments: &[String], option: &str, value: &str) -> bool {
        arguments
            .windows(2)
            .any(|pair| pair[0] == option && pair[1].starts_with(value))
    }

    #[test]
    fn a_machine_without_a_tap_has_a_card_without_a_cable() {
        let arguments = qemu_arguments(&machine());
        assert!(has(
            &arguments,
            "-device",
            "virtio-net-pci,romfile=,mac=52:54:00:00:00:02,csum=off"
        ));
        assert!(
            !arguments
                .iter()
                .any(|word| word == "-netdev" || word == "-incoming")
        );
        assert!(has(
            &arguments,
            "-chardev",
            "socket,id=control,path=a,,b/control,"
        ));
    }

    #[test]
    fn tap_disk_and_origin_are_given_to_qemu() {
        let arguments = qemu_arguments(&Machine {
            tap: Some("tap0".to_string()),
            disk: Some("disk.img".into()),
            incoming: Some("defer".to_string()),
            ..machine()
        });
        assert!(has(
            &arguments,
            "-netdev",
            "tap,id=net,ifname=tap0,script=no"
        ));
        assert!(has(&arguments, "-device", "virtio-blk-pci"));
        assert!(has(&arguments, "-incoming", "defer"));
    }

    // 64 pages are 256 KiB.
    #[test]
    fn memory_is_no_multiple_of_sixty_four_pages() {
        assert!(has(&qemu_arguments(&machine()), "-m", "131080k"));
        for mib in 1..2048 {
            assert_ne!(memory_kib(mib) % 256, 0);
        }
    }

    #[test]
    fn both_ends_of_a_migration_have_the_same_devices() {
        let devices = |machine: &Machine| {
            let arguments = qemu_arguments(machine);
            let pairs = arguments.windows(2).filter(|pair| pair[0] == "-device");
            pairs
                .map(|pair| pair[1].replace(",netdev=net", ""))
                .collect::<Vec<_>>()
        };
        let target = Machine {
            incoming: Some("defer".to_string()),
            tap: Some("tap1".to_string()),
            ..machine()
        };
        assert_eq!(devices(&machine()), devices(&target));
    }
}
