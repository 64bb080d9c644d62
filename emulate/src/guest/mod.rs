//! The guest of the emulation: its memory image on disk, the machine it runs in,
//! and the conversation with its workload.
//!
//! Its user space is the program in `emulate/guest`, which says what it does.

pub mod control;
pub mod initramfs;
pub mod machine;
pub mod modules;
