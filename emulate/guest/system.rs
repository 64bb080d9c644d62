//! The system calls that the standard library does not offer; all of the
//! program's `unsafe` code.

#![expect(unsafe_code, reason = "system calls without a crate")]

use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::File;
use std::io::{self, Error};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
    fn mmap(
        address: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn munmap(address: *mut c_void, length: usize) -> c_int;
    fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    fn sysinfo(info: *mut SystemInfo) -> c_int;
    fn sync();
    fn reboot(command: c_int) -> c_int;
}

const SYS_FINIT_MODULE: c_long = 313;
const RB_POWER_OFF: c_int = 0x4321_fedc;
const PROT_READ_WRITE: c_int = 3;
const MAP_PRIVATE_ANONYMOUS_NORESERVE: c_int = 0x2 | 0x20 | 0x4000;
const MADV_NOHUGEPAGE: c_int = 15;
const POLL_IN: i16 = 1;
const POLL_HUP: i16 = 16;

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    returned: i16,
}

#[repr(C)]
#[derive(Default)]
struct SystemInfo {
    uptime: i64,
    loads: [u64; 3],
    total: u64,
    free: u64,
    rest: [u64; 8],
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

/// Mounts a file system that has no device.
pub(crate) fn mount_at(kind: &str, target: &str) -> io::Result<()> {
    let (kind, target) = (CString::new(kind)?, CString::new(target)?);
    // SAFETY: three strings that end in NUL and outlive the call; no data.
    check(unsafe {
        mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    })
}

/// Loads a kernel module.
pub(crate) fn load_module(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: an open descriptor, an empty string of parameters, no flags.
    let result = unsafe { syscall(SYS_FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) };
    check(c_int::from(result != 0))
}

/// An `ioctl` whose argument is a structure, given as its bytes.
pub(crate) fn ioctl_bytes(fd: RawFd, request: c_ulong, bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: callers pass a buffer as large as the structure of the request.
    check(unsafe { ioctl(fd, request, bytes.as_mut_ptr()) })
}

/// What a wait for input ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// There are bytes to read.
    Input,
    /// Nobody is at the other end.
    HungUp,
    /// Neither.
    Nothing,
}

/// Waits for input; without a limit when `timeout_ms` is negative.
pub(crate) fn wait_input(fd: RawFd, timeout_ms: c_int) -> Readiness {
    let mut entry = PollFd {
        fd,
        events: POLL_IN,
        returned: 0,
    };
    // SAFETY: one entry, alive during the call.
    unsafe { poll(&raw mut entry, 1, timeout_ms) };
    if entry.returned & POLL_IN != 0 {
        Readiness::Input
    } else if entry.returned & POLL_HUP != 0 {
        Readiness::HungUp
    } else {
        Readiness::Nothing
    }
}

/// Total and free memory in bytes.
pub(crate) fn memory_bytes() -> (u64, u64) {
    let mut info = SystemInfo::default();
    // SAFETY: a structure of the kernel's layout on 64-bit machines (112 bytes).
    unsafe { sysinfo(&raw mut info) };
    (info.total, info.free)
}

/// Writes out what is cached and switches the machine off.
pub(crate) fn power_off() {
    // SAFETY: no arguments but a constant.
    unsafe {
        sync();
        reboot(RB_POWER_OFF);
    }
}

/// Anonymous memory, all zero, in pages of 4 KiB, seen as words.
#[derive(Debug)]
pub(crate) struct Mapping {
    words: *mut u64,
    length: usize,
}

// SAFETY: the mapping is owned, like a boxed slice.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps memory; the kernel gives pages as they are touched.
    pub(crate) fn new(words: usize) -> io::Result<Self> {
        let bytes = words.max(512) * 8;
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                PROT_READ_WRITE,
                MAP_PRIVATE_ANONYMOUS_NORESERVE,
                -1,
                0,
            )
        };
        if address.addr() == usize::MAX {
            return Err(Error::last_os_error());
        }
        // SAFETY: the mapping just made. A kernel without huge pages refuses; well.
        unsafe { madvise(address, bytes, MADV_NOHUGEPAGE) };
        Ok(Self {
            words: address.cast(),
            length: words,
        })
    }

    /// The same memory as bytes.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: every word is eight initialised bytes; borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.words.cast(), self.length * 8) }
    }
}

impl Deref for Mapping {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // SAFETY: mapped, aligned, initialised to zero by the kernel, and owned.
        unsafe { std::slice::from_raw_parts(self.words, self.length) }
    }
}

impl DerefMut for Mapping {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above, and borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.words, self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: what was mapped in `new`; no reference outlives the owner.
        unsafe { munmap(self.words.cast(), self.length.max(512) * 8) };
    }
}
