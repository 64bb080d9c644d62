//! The commands. A page is 4096 bytes; rates are pages a second.
//!
//! - `hello`: kernel, pages of memory the kernel manages, free pages.
//! - `net address=10.9.0.2/24 [gateway=..] [mac=..] [mtu=..]`: eth0 comes up; UDP
//!   port 7 sends datagrams back, TCP port 9 discards, TCP port 19 sends on and on.
//! - `clean`: all free memory is written with zeros.
//! - `count`: pages of RAM that are not zero, by looking at every one.
//! - `fill pages=N|all [nonzero=K | target_nonzero=P] [seed=S] [compressed=1.0]
//!   [change=0]`: replaces the memory image (see `memory.rs`) and stops the writer;
//!   `target_nonzero` chooses K so that P pages of the whole RAM are not zero.
//!   A page with content compresses to about `compressed` of its size. A write
//!   changes the share `change` of its page; at least a word.
//! - `dirty constant rate= set= [pattern=sequential]`,
//!   `dirty hotcold hot= hot_rate= cold= [cold_rate=0] [pattern=random]`,
//!   `dirty zipf rate= set= skew=`,
//!   `dirty trace [pattern=random] start_ms:rate:set ...`, each with `[seed=1]`;
//!   `dirty off`: which pages are written when (see `writer.rs`).
//! - `stats`: writes done, late ticks, writes given up, uptime, service counters.
//! - `verify`: checks the whole image; `ok pages= writes=` or
//!   `bad pages= first= writes= counted=`.
//! - `corrupt page=I`: changes a byte of a page, for the test of `verify`.
//! - `disk checksum [bytes=N]`: hash of the first N bytes of /dev/vda.
//! - `poweroff`: switches the machine off; the answer comes before.

use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::memory::{Content, Image};
use crate::network::{self, Network};
use crate::writer::{TICK, Writer};
use crate::{disk, ram, system};

const PAGE: u64 = 4096;
/// Memory that `fill` leaves to the kernel.
const RESERVE: u64 = 6 << 20;

/// The image and who writes to it.
#[derive(Debug)]
struct Work {
    image: Option<Image>,
    writer: Writer,
    last_tick: Instant,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

/// The guest as the host sees it.
#[derive(Debug)]
pub(crate) struct Guest {
    shared: Arc<Shared>,
    network: Network,
    started: Instant,
    done: bool,
}

type Answer = Result<String, String>;

impl Guest {
    /// Starts the writer, which waits for work.
    pub(crate) fn new() -> Self {
        let work = Work {
            image: None,
            writer: Writer::default(),
            last_tick: Instant::now(),
        };
        let shared = Arc::new(Shared {
            work: Mutex::new(work),
            changed: Condvar::new(),
        });
        let writers = Arc::clone(&shared);
        thread::spawn(move || writers.write_for_ever());
        Self {
            shared,
            network: Network::default(),
            started: Instant::now(),
            done: false,
        }
    }

    /// Whether `poweroff` was asked for.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Obeys a command; the answer is a line without its end.
    pub(crate) fn obey(&mut self, command: &str) -> String {
        let mut words = command.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let arguments = Arguments::new(words);
        let answer = match name {
            "hello" => hello(),
            "net" => self.network.configure(&arguments),
            "clean" => ram::clean().map(|pages| format!("ok cleaned_pages={pages}")),
            "count" => count(),
            "fill" => self.fill(&arguments),
            "dirty" => self.dirty(&arguments),
            "stats" => Ok(self.stats()),
            "verify" => self.verify(),
            "corrupt" => self.corrupt(&arguments),
            "disk" => disk::checksum(&arguments),
            "poweroff" => {
                self.done = true;
                Ok("ok".to_string())
            }
            other => Err(format!("the command {other:?} is unknown")),
        };
        answer.unwrap_or_else(|words| format!("error {words}"))
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.shared.lock()
    }

    fn fill(&self, arguments: &Arguments) -> Answer {
        let known = [
            "pages",
            "nonzero",
            "target_nonzero",
            "seed",
            "compressed",
            "change",
        ];
        arguments.only(&known)?;
        let mut work = self.work();
        work.writer = Writer::default();
        work.image = None;
        let pages = pages_of(arguments)?;
        let mut image = Image::zero(pages).map_err(|error| format!("no memory: {error}"))?;
        let nonzero = match arguments.optional::<u64>("target_nonzero")? {
            None => arguments.or("nonzero", pages)?,
            Some(target) => nonzero_for(target)?,
        };
        if nonzero > pages {
            return Err(format!("nonzero={nonzero} is more than pages={pages}"));
        }
        image.fill(Content {
            nonzero,
            seed: arguments.or("seed", 1)?,
            random: arguments.or("compressed", 1.0)?,
            change: arguments.or("change", 0.0)?,
        });
        work.image = Some(image);
        Ok(format!("ok pages={pages} nonzero={nonzero}"))
    }

    fn dirty(&self, arguments: &Arguments) -> Answer {
        let mut work = self.work();
        let nonzero = work.image.as_ref().map_or(0, Image::nonzero);
        work.writer = Writer::parse(arguments, nonzero)?;
        work.last_tick = Instant::now();
        self.shared.changed.notify_one();
        Ok("ok".to_string())
    }

    fn stats(&self) -> String {
        let work = self.work();
        let count = |read: fn(&Image) -> u64| work.image.as_ref().map_or(0, read);
        format!(
            "ok writes={} late={} skipped={} pages={} nonzero={} free_pages={} uptime_ms={} \
             echoed={} discarded={} sent={}",
            count(Image::writes),
            work.writer.late(),
            work.writer.skipped(),
            count(|image| image.pages() as u64),
            count(|image| image.nonzero() as u64),
            system::memory_bytes().1 / PAGE,
            self.started.elapsed().as_millis(),
            network::ECHOED.load(Ordering::Relaxed),
            network::DISCARDED.load(Ordering::Relaxed),
            network::SENT.load(Ordering::Relaxed),
        )
    }

    fn verify(&self) -> Answer {
        let work = self.work();
        let image = work.image.as_ref().ok_or("there is no image; fill first")?;
        let verdict = image.verify();
        if verdict.is_well() {
            return Ok(format!(
                "ok pages={} writes={}",
                image.pages(),
                verdict.writes
            ));
        }
        let first = verdict
            .first
            .map_or("none".to_string(), |page| page.to_string());
        Ok(format!(
            "bad pages={} first={first} writes={} counted={}",
            verdict.bad, verdict.writes, verdict.counted
        ))
    }

    fn corrupt(&self, arguments: &Arguments) -> Answer {
        let mut work = self.work();
        let image = work.image.as_mut().ok_or("there is no image; fill first")?;
        let page = arguments.required("page")?;
        if page >= image.pages() {
            return Err(format!("page={page} is outside of {} pages", image.pages()));
        }
        image.corrupt(page);
        Ok("ok".to_string())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("a panic ends the program")
    }

    /// The writer's thread: ticks while there is work, else waits for some.
    fn write_for_ever(&self) {
        let mut next = Instant::now();
        let mut work = self.lock();
        loop {
            while work.writer.is_off() {
                work = self.changed.wait(work).expect("a panic ends the program");
            }
            let now = Instant::now();
            let elapsed = now - work.last_tick;
            work.last_tick = now;
            let Work { image, writer, .. } = &mut *work;
            if let Some(image) = image {
                writer.tick(elapsed, image);
            }
            drop(work);
            next = (next + TICK).max(now);
            thread::sleep(next.saturating_duration_since(Instant::now()));
            work = self.lock();
        }
    }
}

fn hello() -> Answer {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (total, free) = system::memory_bytes();
    Ok(format!(
        "ok kernel={} memory_pages={} free_pages={}",
        kernel.trim(),
        total / PAGE,
        free / PAGE
    ))
}

fn count() -> Answer {
    let counted = ram::count().map_err(|error| format!("/proc/kcore: {error}"))?;
    Ok(format!(
        "ok pages={} nonzero={}",
        counted.pages, counted.nonzero
    ))
}

/// The size of the image asked for, if there is memory for it.
fn pages_of(arguments: &Arguments) -> Result<usize, String> {
    let free = system::memory_bytes().1;
    // The table of generations has four bytes a page.
    let most = (free.saturating_sub(RESERVE) / (PAGE + 4)) as usize;
    if arguments.text("pages") == Some("all") {
        return Ok(most);
    }
    let pages = arguments.required("pages")?;
    if pages > most {
        return Err(format!(
            "pages={pages} is more than the {most} there is memory for"
        ));
    }
    Ok(pages)
}

/// Pages to fill so that `target` pages of RAM are not zero.
fn nonzero_for(target: u64) -> Result<usize, String> {
    let counted = ram::count().map_err(|error| format!("/proc/kcore: {error}"))?;
    let missing = target.checked_sub(counted.nonzero).ok_or_else(|| {
        format!(
            "{} pages are not zero already; ask for more",
            counted.nonzero
        )
    })?;
    Ok(missing as usize)
}
