//! A plan as a shell script that a person can read and paste.
//!
//! Every word is quoted, so nothing in a scenario can become a command.

use std::fmt::Write as _;

use super::{Action, Argv, Assets, Plan, Ready, Step};

/// The script of a plan; `about` is a comment at its head.
pub fn script(plan: &Plan, assets: &Assets, about: &str) -> String {
    let mut text = String::from("#!/bin/bash\n");
    for line in about.lines() {
        writeln!(text, "# {line}").expect("a string takes it");
    }
    let folder = quote(&assets.folder);
    write!(
        text,
        "# Needs root, and a kernel with sch_netem (and esp4 for IPsec).\n\
         set -eu\n\
         export WATARI_RUN={run}\n\
         mkdir -p {folder}\n\
         undo() {{\n  set +e\n\
         \x20 for pid in $(jobs -p); do kill \"$pid\" 2>/dev/null; done\n  wait\n",
        run = quote(&assets.run),
    )
    .expect("a string takes it");
    for step in plan.steps.iter().rev() {
        if let Some(undo) = &step.undo {
            writeln!(text, "  {} 2>/dev/null", line(undo)).expect("a string takes it");
        }
    }
    writeln!(text, "  rm -rf {folder}\n}}\ntrap undo EXIT\n").expect("a string takes it");
    for step in &plan.steps {
        add(&mut text, step, assets);
    }
    text
}

fn add(text: &mut String, step: &Step, assets: &Assets) {
    let mut put = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    put(&format!("# {}", step.title.replace('\n', " ")));
    match &step.action {
        Action::Write { path, text } => put(&here(&format!("cat > {}", quote(path)), text)),
        Action::Run { argv, input, .. } if input.is_empty() => put(&line(argv)),
        Action::Run { argv, input, .. } => put(&here(&line(argv), input)),
        Action::Start { name, argv, ready } => {
            let out = quote(&assets.path(&format!("{name}.out")));
            let error = quote(&assets.path(&format!("{name}.err")));
            put(&format!("{} >{out} 2>{error} &", line(argv)));
            put(&format!("{}=$!", variable(name)));
            match ready {
                Ready::Now => {}
                Ready::Exists(path) => {
                    put(&format!(
                        "until [ -e {} ]; do sleep 0.05; done",
                        quote(path)
                    ));
                }
                Ready::Prints => put(&format!("until [ -s {out} ]; do sleep 0.05; done")),
            }
        }
        Action::Stop { name } => {
            let variable = variable(name);
            put(&format!(
                "kill -TERM \"${variable}\" && wait \"${variable}\" || true"
            ));
            put(&format!(
                "cat {}",
                quote(&assets.path(&format!("{name}.out")))
            ));
        }
        Action::Join { name, .. } => {
            put(&format!("wait \"${}\"", variable(name)));
            put(&format!(
                "cat {}",
                quote(&assets.path(&format!("{name}.out")))
            ));
        }
        Action::Pause(span) => put(&format!("sleep {}", span.as_secs_f64())),
        Action::Begin => put("begin=$(date +%s%N)"),
        Action::Until(span) => put(&format!(
            "left=$(( begin + {} - $(date +%s%N) ))\n\
             [ $left -le 0 ] || sleep \"$(printf %d.%09d $((left / 1000000000)) $((left % 1000000000)))\"",
            span.as_nanos()
        )),
    }
}

/// A command that reads a text.
fn here(command: &str, text: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{command} <<'WATARI'\n{text}{end}WATARI")
}

/// The variable that holds the process of a started program.
fn variable(name: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("pid_{}", name.chars().map(word).collect::<String>())
}

fn line(argv: &Argv) -> String {
    let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
    words.join(" ")
}

/// A word as the shell reads it back unchanged.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_word_that_the_shell_would_read_otherwise_is_quoted() {
        assert_eq!(quote("10.1.0.2/24"), "10.1.0.2/24");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("$(reboot)"), "'$(reboot)'");
        assert_eq!(quote("it's"), "'it'\\''s'");
    }
}
