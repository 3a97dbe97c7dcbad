//! Benches: our figures as JSON lines, alone or beside a peer's on the same work.
//!
//! Does not know what is measured: `suite/benches/speed/main.rs` and, for a peer, `suite/benches/peer.py` do the
//! work and print a line of JSON for each figure.
//!
//! Decisions:
//! - The two take turns at each work, A B A B, so that whatever else the machine does falls on both. A ratio is
//!   given with the lowest and the highest that any round of one has to any round of the other.
//! - Nothing is judged: figures depend on the machine, so they are looked at and never fail a check.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::Deserialize;
use synergy_hint::Hinted;
use xshell::{Shell, cmd};

use crate::files::{create_folder, uncreated};
use crate::units::columns;
use crate::{process, python, synergy};

/// The folder in which the peer is installed and figures are kept; git ignores it.
const WORK: &str = "target/bench";

/// The highest load of a machine that counts as idle.
const LOAD_MAX: f64 = 0.5;

/// Another program that can do the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// transformers and TRL on PyTorch
    Pytorch,
}

/// The keys of a printed line that are compared.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Figure {
    figure: String,
    program: String,
    value: f64,
    unit: String,
}

/// Measures the works whose name holds one of `parts`, all of them without parts; with a peer both programs
/// in turn, `rounds` times, and prints how they compare.
///
/// # Errors
/// If a program cannot be built, installed or run, or the peer finds that its work is not ours.
pub(crate) fn run(
    root: &Path,
    against: Option<Peer>,
    rounds: u32,
    parts: &[String],
) -> anyhow::Result<ExitCode> {
    let work = root.join(WORK);
    create_folder(&work)?;
    let sh = synergy::shell(root)?;
    let path = work.join("figures.jsonl");
    let mut file = File::create(&path).with_context(|| uncreated(&path))?;
    let Some(Peer::Pytorch) = against else {
        let arguments = [&["--json".to_owned()], parts].concat();
        measure(speed(&sh, &arguments), &mut file)?;
        return Ok(ExitCode::SUCCESS);
    };

    if let Some(load) = load().filter(|&load| load > LOAD_MAX) {
        eprintln!(
            "the machine is busy (load {load}): the ratios will say little\n\
             hint: measure on an idle machine, because PyTorch's threads wait for each other in a loop and \
             lose many times more than their share of a core"
        );
    }
    let requirements = root.join("suite/benches/requirements.txt");
    let python = python::environment(&work, &requirements, "the peer", "7 GB")?;
    let script = root.join("suite/benches/peer.py");
    let dumped = work.join("work");
    eprintln!("writing the work in `{}`", dumped.display());
    let dump = ["--dump".to_owned(), dumped.display().to_string()];
    let dumped_all = process::wait(speed(&sh, &dump))? == 0;
    ensure!(dumped_all, Hinted::new("the work was not written", "see above"));
    let names = cmd!(sh, "{python} {script} --names").quiet().read()?;
    let mut figures = Vec::new();
    for name in names.lines().filter(|name| is_asked(name, parts)) {
        for round in 1..=rounds {
            eprintln!("{name}, round {round} of {rounds}: synergy, then the peer");
            let arguments = ["--json".to_owned(), name.to_owned()];
            figures.extend(measure(speed(&sh, &arguments), &mut file)?);
            let mut peer = Command::new(&python);
            peer.arg(&script).arg(&dumped).arg(name);
            figures.extend(measure(peer, &mut file)?);
        }
    }
    let known = format!("it has `{}`", names.replace('\n', "`, `"));
    ensure!(!figures.is_empty(), Hinted::new("the peer has no such work", known));
    print!("{}", table(&figures));
    Ok(ExitCode::SUCCESS)
}

/// Returns whether a work is among those asked for, by the same rule as in `suite/benches/speed`.
fn is_asked(name: &str, parts: &[String]) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}

/// Reads how many programs wanted a core during the last minute, where the system reports it.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Builds the command of the bench. The profile and the whole workspace are those of every other build, so that
/// burn is compiled once.
fn speed(sh: &Shell, arguments: &[String]) -> Command {
    cmd!(sh, "cargo bench --quiet --profile dev --workspace --bench speed -- {arguments...}")
        // As the program is run.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .into()
}

/// Runs `command`, passes its lines on as they come, to standard output and to `file`, and reads them.
fn measure(mut command: Command, file: &mut File) -> anyhow::Result<Vec<Figure>> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{program}`"))?;
    let mut figures = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.with_context(|| format!("failed to read what `{program}` prints"))?;
            println!("{line}");
            writeln!(file, "{line}").context("failed to write a figure")?;
            let figure = serde_json::from_str(&line);
            figures.push(figure.with_context(|| format!("`{line}` is not a figure"))?);
        }
    }
    let status = child.wait().with_context(|| format!("failed to wait for `{program}`"))?;
    let failed = || Hinted::new(format!("`{program}` failed while measuring"), "see above");
    ensure!(status.success(), failed());
    Ok(figures)
}

/// Writes a table with a line for every work that both programs did.
fn table(figures: &[Figure]) -> String {
    let mut seen = BTreeSet::new();
    let mut rows = vec![["", "synergy", "peer", "ratio", "lowest", "highest"].map(str::to_owned)];
    for Figure { figure, unit, .. } in figures {
        let values = |ours: bool| -> Vec<f64> {
            let of = |f: &&Figure| f.figure == *figure && (f.program == "synergy") == ours;
            figures.iter().filter(of).map(|f| f.value).collect()
        };
        let (ours, peers) = (values(true), values(false));
        if ours.is_empty() || peers.is_empty() || !seen.insert(figure) {
            continue;
        }
        let ratios: Vec<f64> = ours
            .iter()
            .flat_map(|a| {
                peers.iter().map(move |b| if unit.ends_with("/s") { a / b } else { b / a })
            })
            .collect();
        let spread = ratios.iter().fold((f64::MAX, f64::MIN), |(l, h), &r| (l.min(r), h.max(r)));
        rows.push([
            figure.clone(),
            quantity(median(&ours), unit),
            quantity(median(&peers), unit),
            format!("{:.2}", median(&ratios)),
            format!("{:.2}", spread.0),
            format!("{:.2}", spread.1),
        ]);
    }
    columns(&rows, true)
        + "A ratio above 1 means that synergy does more in the time, or takes less time or memory.\n"
}

/// Writes a value with at least three digits, and no more than a reader compares.
fn quantity(value: f64, unit: &str) -> String {
    let decimals = if value < 100.0 { 2 } else { 0 };
    format!("{value:.decimals$} {unit}")
}

/// Computes the median of `values`, which must not be empty.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = ((sorted.len() - 1) / 2, sorted.len() / 2);
    f64::midpoint(sorted[low], sorted[high])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(figure: &str, program: &str, value: f64, unit: &str) -> Figure {
        let owned = str::to_owned;
        Figure { figure: owned(figure), program: owned(program), value, unit: owned(unit) }
    }

    #[test]
    fn lines_of_both_programs_are_read() {
        // Rust writes without spaces, Python with them.
        let ours = r#"{"figure":"GRPO step, text only","program":"synergy","value":2.5,"unit":"s","low":2.1,"high":3.0,"machine":"made-up, 2 cores","commit":"0123"}"#;
        let theirs = r#"{"figure": "train step", "program": "pytorch", "value": 1456.188, "unit": "tokens/s", "low": 1, "high": 2}"#;
        let read = |line| serde_json::from_str::<Figure>(line).unwrap();
        assert_eq!(read(ours), figure("GRPO step, text only", "synergy", 2.5, "s"));
        assert_eq!(read(theirs), figure("train step", "pytorch", 1456.188, "tokens/s"));
    }

    #[test]
    fn parts_choose_works() {
        let parts = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
        assert!(is_asked("grpo/step", &parts(&[])));
        assert!(is_asked("grpo/step", &parts(&["train", "grpo"])));
        assert!(!is_asked("grpo/step", &parts(&["train"])));
    }

    #[test]
    fn a_ratio_above_one_is_better_whatever_the_unit() {
        let text = table(&[
            figure("step", "synergy", 300.0, "tokens/s"),
            figure("time", "synergy", 2.0, "s"),
            figure("ours alone", "synergy", 2.0, "s"),
            figure("step", "pytorch", 100.0, "tokens/s"),
            figure("time", "trl", 8.0, "s"),
            figure("step", "synergy", 500.0, "tokens/s"),
            figure("time", "synergy", 1.0, "s"),
            figure("step", "pytorch", 200.0, "tokens/s"),
            figure("time", "trl", 4.0, "s"),
        ]);
        let want = [
            "           synergy          peer  ratio  lowest  highest",
            "step  400 tokens/s  150 tokens/s   2.75    1.50     5.00",
            "time        1.50 s        6.00 s   4.00    2.00     8.00",
            "A ratio above 1 means that synergy does more in the time, or takes less time or memory.",
            "",
        ];
        assert_eq!(text, want.join("\n"));
    }

    #[test]
    fn lines_are_passed_on_kept_and_read() {
        let path = std::env::temp_dir().join(format!("synergy-bench-{}", std::process::id()));
        let line = r#"{"figure":"a","program":"b","value":1,"unit":"s"}"#;
        let print = |text: &str| {
            let mut command = Command::new("printf");
            command.args(["%s\n", text]);
            command
        };
        let mut file = File::create(&path).unwrap();
        assert_eq!(measure(print(line), &mut file).unwrap(), [figure("a", "b", 1.0, "s")]);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{line}\n"));
        for broken in ["hello", r#"{"figure":"a","program":"b","value":"1","unit":"s"}"#] {
            let error = measure(print(broken), &mut file).unwrap_err().to_string();
            assert_eq!(error, format!("`{broken}` is not a figure"));
        }
        let error = synergy_hint::text(&measure(Command::new("false"), &mut file).unwrap_err());
        assert_eq!(error, "`false` failed while measuring\nhint: see above");
        fs::remove_file(&path).unwrap();
    }
}
