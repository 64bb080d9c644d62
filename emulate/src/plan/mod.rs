//! What an emulation does, as a value: steps that can be printed, compared and
//! tested without privileges.
//!
//! [`migration`] and [`failover`] make a [`Plan`] of a case. A plan knows names,
//! addresses and argument vectors, and nothing of the machine. `apply` runs it;
//! [`script`] prints it for people.

pub mod calibrate;
pub mod failover;
pub mod guest;
pub mod image;
pub mod ipsec;
pub mod migration;
pub mod network;
pub mod profile;
pub mod script;
pub mod wireguard;

use std::time::Duration;

/// A program and its arguments; never a line for a shell.
pub type Argv = Vec<String>;

/// Longest time for a step that does not say its own.
const LIMIT: Duration = Duration::from_secs(120);

/// Makes an argument vector of words.
pub fn argv<const N: usize>(words: [&str; N]) -> Argv {
    words.map(str::to_owned).to_vec()
}

/// What the plan of a case refers to on the machine that runs it.
#[derive(Clone, Debug)]
pub struct Assets {
    /// Names the run: every namespace starts with it.
    pub run: String,
    /// Folder for sockets, configurations and logs of the run.
    pub folder: String,
    /// The watari program.
    pub watari: String,
    /// Kernel of the guests.
    pub kernel: String,
    /// Memory image that a guest starts from.
    pub initrd: String,
    /// Saved state of a booted guest; the guest is booted anew without it.
    pub state: Option<String>,
    /// `kvm` or `tcg`.
    pub accel: String,
}

impl Assets {
    /// A path inside the folder of the run.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// The name of a namespace of the run.
    pub fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.run)
    }

    /// A program inside a namespace of the run.
    pub fn inside(&self, namespace: &str, program: Argv) -> Argv {
        let mut line = argv(["ip", "netns", "exec"]);
        line.push(self.namespace(namespace));
        line.extend(program);
        line
    }

    /// One of watari's own programs.
    pub fn tool<const N: usize>(&self, words: [&str; N]) -> Argv {
        let mut line = vec![self.watari.clone(), "tool".to_owned()];
        line.extend(words.map(str::to_owned));
        line
    }
}

/// Everything that is done for one run of a case, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One thing that is done, and what takes it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it is for, for people.
    pub title: String,
    /// What is done.
    pub action: Action,
    /// Takes it back.
    pub undo: Option<Argv>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Writes a file.
    Write {
        /// Where.
        path: String,
        /// What.
        text: String,
    },
    /// Runs a program to its end.
    Run {
        /// The program.
        argv: Argv,
        /// What it reads from standard input.
        input: String,
        /// Name under which its output and its instants are kept.
        keep: Option<String>,
        /// Longest time it may take.
        limit: Duration,
    },
    /// Starts a program that goes on; it ends with the plan.
    Start {
        /// Its name in the plan.
        name: String,
        /// The program.
        argv: Argv,
        /// When the next step may begin.
        ready: Ready,
    },
    /// Ends a started program with SIGTERM and keeps its output under its name.
    Stop {
        /// Its name in the plan.
        name: String,
    },
    /// Waits until a started program has ended by itself; keeps its output.
    Join {
        /// Its name in the plan.
        name: String,
        /// Longest time it may take.
        limit: Duration,
    },
    /// Lets time pass.
    Pause(Duration),
    /// The case begins: its clock is zero now.
    Begin,
    /// Lets time pass until the case's clock stands at this.
    Until(Duration),
}

/// When a started program is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// At once.
    Now,
    /// When this file or socket is there.
    Exists(String),
    /// When it has printed something.
    Prints,
}

impl Plan {
    /// Adds a step.
    pub fn push(&mut self, title: impl Into<String>, action: Action) -> &mut Step {
        self.steps.push(Step {
            title: title.into(),
            action,
            undo: None,
        });
        self.steps.last_mut().expect("a step was just added")
    }

    /// Adds a program that is run to its end.
    pub fn run(&mut self, title: impl Into<String>, argv: Argv) -> &mut Step {
        self.push(
            title,
            Action::Run {
                argv,
                input: String::new(),
                keep: None,
                limit: LIMIT,
            },
        )
    }

    /// Adds a program whose output is kept.
    pub fn measure(&mut self, title: &str, keep: &str, limit: Duration, argv: Argv) -> &mut Step {
        self.push(
            title,
            Action::Run {
                argv,
                input: String::new(),
                keep: Some(keep.to_owned()),
                limit,
            },
        )
    }

    /// Adds a program that reads `input`.
    pub fn feed(&mut self, title: impl Into<String>, argv: Argv, input: String) -> &mut Step {
        self.push(
            title,
            Action::Run {
                argv,
                input,
                keep: None,
                limit: LIMIT,
            },
        )
    }

    /// Adds a file.
    pub fn write(&mut self, title: impl Into<String>, path: String, text: String) -> &mut Step {
        self.push(title, Action::Write { path, text })
    }

    /// Adds a program that goes on.
    pub fn start(
        &mut self,
        title: impl Into<String>,
        name: &str,
        argv: Argv,
        ready: Ready,
    ) -> &mut Step {
        let name = name.to_owned();
        self.push(title, Action::Start { name, argv, ready })
    }

    /// Ends a started program and keeps its output.
    pub fn stop(&mut self, title: impl Into<String>, name: &str) -> &mut Step {
        let name = name.to_owned();
        self.push(title, Action::Stop { name })
    }
}

impl Step {
    /// Sets what takes the step back.
    pub fn undone_by(&mut self, argv: Argv) -> &mut Self {
        self.undo = Some(argv);
        self
    }
}

/// Why a case cannot be emulated as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);
