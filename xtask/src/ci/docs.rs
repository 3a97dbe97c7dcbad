//! Runs the documents: every command that a `console` block of them shows.
//!
//! Does not know what a command does. A line that begins with `$ ` is a command, and the lines below it are what it
//! prints. What cannot run here (it takes hours, needs a network, a card or a server of one's own, or is a job by
//! itself) is in [`NOT_HERE`] with the reason; its command line is still checked, by asking for its help.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use synergy_hint::{Explain as _, hint};
use xshell::{Shell, cmd};

use super::gate::build;
use super::outcome::{Outcome, Section};
use crate::files::{remove_file, remove_folder, unread};
use crate::process::forget_package;
use crate::synergy::{self, Arguments, device_in};

/// What the documents call by a name of the reader's own, and what stands for it here.
const NAMED: [(&str, &str); 2] =
    [("DIR", "golden/base/nano"), ("picture.png", "golden/parity/fixtures/processor/palette.png")];

/// What a command that does not run here contains, `#` standing for its end, and why it does not.
const NOT_HERE: [(&str, &str); 18] = [
    ("--profile small", "needs the run of hours that it speaks of"),
    ("runs/small/", "needs a run of hours"),
    ("xtask reproduce #", "takes hours"),
    ("xtask test", "is the job `test`"),
    ("xtask gate", "is the jobs `smoke` and `self-test`"),
    ("xtask fetch", "needs the hub; the jobs `evaluate` and `full` fetch"),
    ("--benchmark mathvision", "needs files of the hub"),
    ("xtask libtorch", "is part of the job `libtorch`"),
    ("xtask engine", "is part of the job `engine`"),
    ("--engine vllm", "needs vLLM; the job `engine` has it"),
    ("--features mpi", "needs an MPI; the job `ranks` builds with it"),
    ("mpirun", "needs an MPI; the job `ranks` starts several processes"),
    ("--device", "needs libtorch or a card"),
    ("--adapter ADAPTER", "needs an adapter of the reader's own"),
    ("--endpoint", "needs a server; the job `endpoint` has one"),
    ("--benchmark mine", "stands for questions of the reader's own"),
    ("serve.py", "serves until it is stopped"),
    ("BASE A B OUT", "stands for checkpoints of the reader's own"),
];

/// A command of a document and what it is said to print.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    line: usize,
    /// As written, without its comment.
    command: String,
    /// Empty where the document shows none.
    output: String,
}

/// Runs what the documents show. The tree must be the same afterwards.
///
/// # Errors
/// If a document cannot be read, or a program cannot be started.
pub(super) fn run(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    {
        let _section = Section::new("the run that the documents speak of");
        let built = build(sh, root, device)?;
        if built != Outcome::Passed {
            return Ok(built);
        }
        let smoke = ["reproduce", "--profile", "smoke"];
        let code = synergy::run(sh, &Arguments::new(smoke))?;
        ensure!(code == 0, hint!("the smoke run failed", "see above"));
    }
    let before = changed(sh)?;
    let mut unused: Vec<&str> = NOT_HERE.iter().map(|(part, _)| *part).collect();
    let mut outcome = Outcome::Passed;
    let files = cmd!(sh, "git ls-files *.md").read()?;
    for file in files.lines().filter(|file| !file.starts_with("golden/LOG")) {
        let path = root.join(file);
        let text = fs::read_to_string(&path).with_context(|| unread(&path))?;
        for shown in commands(&text) {
            let _section = Section::new(&format!("{file}:{}: {}", shown.line, shown.command));
            let whole = format!("{} #", shown.command);
            let reason = NOT_HERE.iter().find(|(part, _)| whole.contains(part));
            unused.retain(|part| reason.is_none_or(|(reason, _)| reason != part));
            let fault = match reason {
                Some((_, why)) => {
                    println!("not run: it {why}");
                    check_help(root, &shown)?
                }
                None => check(root, &shown)?,
            };
            if let Some(fault) = fault {
                println!("{file}:{}: {fault}", shown.line);
                outcome = Outcome::Failed;
            }
        }
    }
    for part in unused {
        println!("no document has a command with `{part}`: take it from the list");
        outcome = Outcome::Failed;
    }
    let after = changed(sh)?;
    if after != before {
        println!("a command of the documents has changed the tree:\n{after}");
        outcome = Outcome::Failed;
    }
    Ok(outcome)
}

/// What git sees as changed or new.
fn changed(sh: &Shell) -> anyhow::Result<String> {
    Ok(cmd!(sh, "git status --porcelain --untracked-files=all").quiet().read()?)
}

/// The commands in the `console` blocks of a document, in order.
fn commands(text: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut is_console = false;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if is_console {
            match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => {
                    let command = command.split_once(" #").map_or(command, |(command, _)| command);
                    let command = command.trim_end().to_owned();
                    found.push(Shown { line: at + 1, command, output: String::new() });
                }
                (None, Some(last)) => last.output += &format!("{line}\n"),
                (None, None) => {}
            }
        }
    }
    found
}

/// Runs a command and returns what is wrong, if anything is.
fn check(root: &Path, shown: &Shown) -> anyhow::Result<Option<String>> {
    let mut command = shown.command.clone();
    for (name, value) in NAMED {
        command = command.replace(name, value);
    }
    // What an earlier round wrote; an output that is there already may be refused.
    let mut words = command.split_whitespace().skip_while(|word| *word != "--out").skip(1);
    if let Some(out) = words.next().filter(|out| out.starts_with("runs/")) {
        let out = root.join(out);
        if out.is_dir() { remove_folder(&out)? } else { remove_file(&out)? }
    }
    let output = shell(root, &command)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let fault = if !output.status.success() {
        Some(format!("`{command}` failed, {}", output.status))
    } else if !shown.output.is_empty() && printed.trim_end() != shown.output.trim_end() {
        Some(format!("`{command}` does not print what the document shows, but:\n{printed}"))
    } else {
        None
    };
    if fault.is_some() {
        print!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(fault)
}

/// Has the command line of a command read without running it: an unknown verb or option is refused before the help.
fn check_help(root: &Path, shown: &Shown) -> anyhow::Result<Option<String>> {
    let command = &shown.command;
    let Some((_, words)) = command.split_once("cargo xtask ") else { return Ok(None) };
    // The device decides what is built, and help needs none.
    let mut words: Vec<&str> = words.split_whitespace().collect();
    if let Some((at, _)) = device_in(&words) {
        words.drain(at);
    }
    let output = shell(root, &format!("cargo xtask {} --help", words.join(" ")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok((!output.status.success()).then(|| format!("`{command}` is refused: {said}")))
}

fn shell(root: &Path, command: &str) -> anyhow::Result<Output> {
    let mut program = Command::new("bash");
    program.args(["-euo", "pipefail", "-c", command]).current_dir(root).stdin(Stdio::null());
    forget_package(&mut program);
    program
        .output()
        .explain(|| hint!("failed to start bash", "the documents' commands are for bash"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# A\n```console\n$ one --two   # why\n$ three\nfour\n5\n```\n```toml\n$ six\n```\n";

    #[test]
    fn commands_are_found_with_their_lines_and_outputs() {
        let shown = |line, command: &str, output: &str| Shown {
            line,
            command: command.to_owned(),
            output: output.to_owned(),
        };
        let want = [shown(3, "one --two", ""), shown(4, "three", "four\n5\n")];
        assert_eq!(commands(TEXT), want);
    }

    #[test]
    fn a_command_that_fails_or_prints_something_else_is_a_fault() {
        let fault = |command: &str, output: &str| {
            let shown = Shown { line: 1, command: command.to_owned(), output: output.to_owned() };
            check(Path::new("."), &shown).unwrap()
        };
        assert_eq!(fault("echo DIR", "golden/base/nano\n"), None);
        assert_eq!(fault("echo anything", ""), None);
        assert!(fault("echo a", "b\n").unwrap().contains("but:\na"));
        assert!(fault("false | cat", "").unwrap().contains("failed"));
    }

    #[test]
    fn what_does_not_run_here_is_named_by_its_part_and_not_twice() {
        for (at, (part, why)) in NOT_HERE.iter().enumerate() {
            assert!(!part.is_empty() && !why.is_empty());
            assert!(NOT_HERE.iter().skip(at + 1).all(|(other, _)| other != part));
        }
    }
}
