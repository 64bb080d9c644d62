//! Runs a plan, and takes everything back in reverse, whatever happens.
//!
//! Every process that a plan starts has `WATARI_RUN` in its environment, every
//! namespace the run's name in its own, and every file is in the run's folder:
//! so what a killed run left behind is found without a journal ([`crate::clean`]),
//! and the end of every run checks that nothing is left.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use signal_hook::consts::SIGTERM;

use crate::clean;
use crate::plan::{Action, Argv, Assets, Plan, Ready, Step};
use crate::tool::clock::now_ns;

/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Longest wait for a started program to be ready.
const READY: Duration = Duration::from_secs(60);
/// Longest wait after SIGTERM before SIGKILL.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a program's last words in a message.
const LAST_WORDS: usize = 12;
/// Name under which the instant is kept at which the case began.
pub const BEGIN: &str = "begin";
/// The variable that marks our processes.
pub const MARK: &str = "WATARI_RUN";

/// What the steps printed, and when they ran, by the names under which they are kept.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Outputs {
    /// Standard output.
    pub text: BTreeMap<String, String>,
    /// Start and end in nanoseconds of the monotonic clock.
    pub spans: BTreeMap<String, (u64, u64)>,
}

/// Why a plan was not finished; what it had done is undone.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A step failed.
    #[error("step \"{title}\" failed: {reason}\n  command: {command}{words}")]
    Step {
        /// What the step was for.
        title: String,
        /// What it ran.
        command: String,
        /// What went wrong.
        reason: String,
        /// The end of the program's error output.
        words: String,
    },
    /// A signal ended it.
    #[error("interrupted; everything was undone")]
    Interrupted,
    /// Something of ours outlived the run.
    #[error("the run left something behind, which is a bug: {0}")]
    Left(String),
}

struct Running {
    name: String,
    title: String,
    argv: Argv,
    child: Child,
    started: u64,
}

/// A run under way; dropping it undoes it.
struct Run<'a> {
    assets: &'a Assets,
    stop: &'a AtomicBool,
    done: Vec<&'a Argv>,
    running: Vec<Running>,
    /// When the case began.
    began: u64,
    outputs: Outputs,
}

/// Runs the steps in their order and undoes them. `stop` ends it early;
/// `progress` is told the title of each step.
///
/// # Errors
///
/// When a step fails, `stop` is set, or something is left behind.
pub fn apply(
    plan: &Plan,
    assets: &Assets,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str),
) -> Result<Outputs, ApplyError> {
    let mut run = Run {
        assets,
        stop,
        done: Vec::new(),
        running: Vec::new(),
        began: 0,
        outputs: Outputs::default(),
    };
    let mut result = run.prepare();
    for step in &plan.steps {
        if result.is_err() {
            break;
        }
        progress(&step.title);
        result = run.step(step);
    }
    let outputs = std::mem::take(&mut run.outputs);
    drop(run);
    let left = clean::left_of(&assets.run);
    result?;
    if left.is_empty() {
        Ok(outputs)
    } else {
        Err(ApplyError::Left(left.join(", ")))
    }
}

impl<'a> Run<'a> {
    fn prepare(&self) -> Result<(), ApplyError> {
        let made = fs::create_dir_all(&self.assets.folder);
        made.map_err(|error| ApplyError::Step {
            title: "folder of the run".to_owned(),
            command: format!("mkdir -p {}", self.assets.folder),
            reason: error.to_string(),
            words: String::new(),
        })
    }

    fn step(&mut self, step: &'a Step) -> Result<(), ApplyError> {
        // Half-done counts: what a failing step may have made is undone as well.
        self.done.extend(&step.undo);
        match &step.action {
            Action::Write { path, text } => fs::write(path, text)
                .map_err(|error| failed(step, &[format!("write {path}")], &error.to_string(), "")),
            Action::Run {
                argv,
                input,
                keep,
                limit,
            } => self.run(step, argv, input, keep.as_deref(), *limit),
            Action::Start { name, argv, ready } => self.start(step, name, argv, ready),
            Action::Stop { name } => self.end(step, name, true, PATIENCE),
            Action::Join { name, limit } => self.end(step, name, false, *limit),
            Action::Pause(span) => self.pause(*span),
            Action::Begin => {
                self.began = now_ns();
                let span = (self.began, self.began);
                self.outputs.spans.insert(BEGIN.to_owned(), span);
                Ok(())
            }
            Action::Until(span) => {
                let passed = Duration::from_nanos(now_ns() - self.began);
                self.pause(span.saturating_sub(passed))
            }
        }
    }

    fn command(&self, name: &str, argv: &Argv) -> std::io::Result<Command> {
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .env(MARK, &self.assets.run)
            // Ctrl-C is for watari, which ends its programs in order.
            .process_group(0)
            .stdout(File::create(self.assets.path(&format!("{name}.out")))?)
            .stderr(File::create(self.assets.path(&format!("{name}.err")))?);
        Ok(command)
    }

    fn run(
        &mut self,
        step: &Step,
        argv: &Argv,
        input: &str,
        keep: Option<&str>,
        limit: Duration,
    ) -> Result<(), ApplyError> {
        let name = keep.unwrap_or("step");
        let started = now_ns();
        let spawned = self.command(name, argv).and_then(|mut command| {
            command.stdin(Stdio::piped());
            command.spawn()
        });
        let mut child = spawned.map_err(|error| failed(step, argv, &cannot_start(&error), ""))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that ends without reading says why itself.
            let _ = pipe.write_all(input.as_bytes());
        }
        let status = self.wait(&mut child, limit)?;
        self.judge(step, name, argv, status, limit)?;
        if let Some(keep) = keep {
            self.keep(keep, started);
        }
        Ok(())
    }

    /// Waits for the end of a program; `None` when it took too long and was killed.
    fn wait(&self, child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, ApplyError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Ok(Some(status));
            }
            let interrupted = self.stop.load(Ordering::Relaxed);
            if interrupted || Instant::now() > deadline {
                end_child(child, Duration::from_secs(2));
                return if interrupted {
                    Err(ApplyError::Interrupted)
                } else {
                    Ok(None)
                };
            }
            std::thread::sleep(POLL);
        }
    }

    fn judge(
        &self,
        step: &Step,
        name: &str,
        argv: &Argv,
        status: Option<ExitStatus>,
        limit: Duration,
    ) -> Result<(), ApplyError> {
        let reason = match status {
            Some(status) if status.success() => return Ok(()),
            Some(status) => status.to_string(),
            None => format!("it took longer than {} s", limit.as_secs()),
        };
        Err(failed(step, argv, &reason, &self.last_words(name)))
    }

    fn last_words(&self, name: &str) -> String {
        let read = |end: &str| {
            let bytes = fs::read(self.assets.path(&format!("{name}.{end}"))).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let mut text = read("err");
        if text.trim().is_empty() {
            text = read("out");
        }
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }

    fn keep(&mut self, name: &str, started: u64) {
        let bytes = fs::read(self.assets.path(&format!("{name}.out"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.outputs.text.insert(name.to_owned(), text);
        self.outputs
            .spans
            .insert(name.to_owned(), (started, now_ns()));
    }

    fn start(
        &mut self,
        step: &Step,
        name: &str,
        argv: &Argv,
        ready: &Ready,
    ) -> Result<(), ApplyError> {
        let spawned = self.command(name, argv).and_then(|mut command| {
            command.stdin(Stdio::null());
            command.spawn()
        });
        let child = spawned.map_err(|error| failed(step, argv, &cannot_start(&error), ""))?;
        self.running.push(Running {
            name: name.to_owned(),
            title: step.title.clone(),
            argv: argv.clone(),
            child,
            started: now_ns(),
        });
        let deadline = Instant::now() + READY;
        while !self.is_ready(name, ready) {
            let running = self.running.last_mut().expect("it was just added");
            if let Ok(Some(status)) = running.child.try_wait() {
                let words = self.last_words(name);
                return Err(failed(
                    step,
                    argv,
                    &format!("it ended at once: {status}"),
                    &words,
                ));
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(ApplyError::Interrupted);
            }
            if Instant::now() > deadline {
                let reason = format!("it was not ready after {} s", READY.as_secs());
                return Err(failed(step, argv, &reason, &self.last_words(name)));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn is_ready(&self, name: &str, ready: &Ready) -> bool {
        match ready {
            Ready::Now => true,
            Ready::Exists(path) => Path::new(path).exists(),
            Ready::Prints => fs::metadata(self.assets.path(&format!("{name}.out")))
                .is_ok_and(|file| file.len() > 0),
        }
    }

    /// Ends a started program, or waits until it has ended; keeps its output.
    fn end(
        &mut self,
        step: &Step,
        name: &str,
        ask: bool,
        limit: Duration,
    ) -> Result<(), ApplyError> {
        let at = self.running.iter().position(|running| running.name == name);
        let at = at.expect("a plan ends only what it started");
        let mut running = self.running.remove(at);
        if ask {
            terminate(&running.child);
        }
        let status = self.wait(&mut running.child, limit)?;
        let by_our_signal = ask && status.is_some_and(|status| status.signal() == Some(SIGTERM));
        if !by_our_signal {
            let step = Step {
                title: format!("{} ({})", step.title, running.title),
                ..step.clone()
            };
            self.judge(&step, name, &running.argv, status, limit)?;
        }
        self.keep(name, running.started);
        Ok(())
    }

    fn pause(&self, span: Duration) -> Result<(), ApplyError> {
        let deadline = Instant::now() + span;
        while Instant::now() < deadline {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ApplyError::Interrupted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        Ok(())
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        for running in self.running.iter().rev() {
            terminate(&running.child);
        }
        while let Some(mut running) = self.running.pop() {
            end_child(&mut running.child, PATIENCE);
        }
        for undo in self.done.drain(..).rev() {
            // What a failed step never made cannot be undone, and need not.
            let _ = Command::new(&undo[0])
                .args(&undo[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        clean::remove(&self.assets.run, Path::new(&self.assets.folder));
    }
}

fn terminate(child: &Child) {
    let pid = Pid::from_raw(child.id().cast_signed());
    let _ = kill(pid, Signal::SIGTERM);
}

/// Ends a program: SIGTERM, patience, SIGKILL.
fn end_child(child: &mut Child, patience: Duration) {
    terminate(child);
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn cannot_start(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        "the program is not installed; `watari doctor` says what to install".to_owned()
    } else {
        format!("it cannot be started: {error}")
    }
}

fn failed(step: &Step, argv: &[String], reason: &str, words: &str) -> ApplyError {
    let words = words.trim();
    ApplyError::Step {
        title: step.title.clone(),
        command: argv.join(" "),
        reason: reason.to_owned(),
        words: if words.is_empty() {
            String::new()
        } else {
            format!("\n  it said: {}", words.replace('\n', "\n           "))
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::argv;

    fn assets(folder: &Path) -> Assets {
        // Tests run side by side; a run ends every process that bears its name.
        let name = folder.parent().unwrap().file_name().unwrap();
        Assets {
            // Not a name that `watari lab clean` looks for.
            run: format!("test{}", name.display()),
            folder: folder.display().to_string(),
            watari: "watari".to_owned(),
            kernel: String::new(),
            initrd: String::new(),
            state: None,
            accel: "tcg".to_owned(),
        }
    }

    fn try_apply(plan: &Plan, stop: bool) -> Result<Outputs, ApplyError> {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("run");
        let result = apply(plan, &assets(&inside), &AtomicBool::new(stop), &mut |_| {});
        assert!(!inside.exists(), "the folder of the run is left behind");
        result
    }

    #[test]
    fn outputs_are_kept_under_their_names() {
        let mut plan = Plan::default();
        plan.measure(
            "say",
            "word",
            Duration::from_secs(5),
            argv(["echo", "hello"]),
        );
        plan.start(
            "serve",
            "server",
            argv(["sh", "-c", "echo up; sleep 100"]),
            Ready::Prints,
        );
        plan.push(
            "stop",
            Action::Join {
                name: "server".to_owned(),
                limit: Duration::ZERO,
            },
        );
        let mut good = plan.clone();
        good.steps.truncate(1);
        assert_eq!(try_apply(&good, false).unwrap().text["word"], "hello\n");
        let error = try_apply(&plan, false).unwrap_err().to_string();
        assert!(error.contains("took longer than 0 s"), "{error}");
    }

    #[test]
    fn a_failing_step_is_named_with_its_command_and_its_last_words() {
        let mut plan = Plan::default();
        plan.run("break", argv(["sh", "-c", "echo no such luck >&2; exit 3"]));
        let error = try_apply(&plan, false).unwrap_err().to_string();
        assert_eq!(
            error,
            "step \"break\" failed: exit status: 3\n  command: sh -c echo no such luck >&2; exit 3\n  it said: no such luck"
        );
    }

    #[test]
    fn steps_are_undone_in_reverse_also_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let note = |word: &str| argv(["sh", "-c", &format!("echo {word} >> {}", log.display())]);
        let mut plan = Plan::default();
        plan.run("one", note("one")).undone_by(note("not-one"));
        plan.run("two", note("two")).undone_by(note("not-two"));
        plan.run("three", argv(["false"]));
        plan.run("four", note("four"));
        try_apply(&plan, false).unwrap_err();
        assert_eq!(
            fs::read_to_string(log).unwrap(),
            "one\ntwo\nnot-two\nnot-one\n"
        );
    }

    #[test]
    fn a_program_that_is_missing_is_said_to_be_missing() {
        let mut plan = Plan::default();
        plan.run("call", argv(["watari-has-no-such-program"]));
        let error = try_apply(&plan, false).unwrap_err().to_string();
        assert!(error.contains("not installed"), "{error}");
    }

    #[test]
    fn an_interruption_ends_a_long_step() {
        let mut plan = Plan::default();
        plan.run("wait", argv(["sleep", "1000"]));
        assert!(matches!(
            try_apply(&plan, true),
            Err(ApplyError::Interrupted)
        ));
    }
}
