//! Benches: our figures as JSON lines, alone or beside a peer's on the same work.
//!
//! Does not know what is measured: `suite/benches/speed/main.rs` and, for a peer, `suite/benches/peer.py` do the
//! work and print a line for each figure.
//!
//! Decisions:
//! - The two take turns at each work, A B A B, so that whatever else the machine does falls on both. A ratio is
//!   given with the lowest and the highest that any round of one has to any round of the other.
//! - Lines are read with code of our own: both programs write a flat object of known keys, and xtask stays
//!   without dependencies that take long to compile.
//! - Nothing is judged: figures depend on the machine, so they are looked at and never fail a check.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use xshell::{Shell, cmd};

use crate::{process, python, synergy};

/// Where the peer is installed and figures are kept; git ignores it.
const WORK: &str = "target/bench";

/// Load of an idle machine, at most.
const LOAD_MAX: f64 = 0.5;

/// Another program that can do the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// transformers and TRL on PyTorch
    Pytorch,
}

/// One line that a program printed.
#[derive(Debug, Clone, PartialEq)]
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
    fs::create_dir_all(&work).with_context(|| format!("failed to create `{}`", work.display()))?;
    let sh = synergy::shell(root)?;
    let path = work.join("figures.jsonl");
    let mut file = File::create(&path)
        .with_context(|| format!("failed to create the file `{}`", path.display()))?;
    let Some(Peer::Pytorch) = against else {
        let arguments = [&["--json".to_owned()], parts].concat();
        measure(speed(&sh, &arguments), &mut file)?;
        return Ok(ExitCode::SUCCESS);
    };

    if let Some(load) = load().filter(|&load| load > LOAD_MAX) {
        eprintln!(
            "the machine is busy (load {load}): the ratios will say little\n\
             hint: PyTorch's threads wait for each other in a loop and lose many times more than their \
             share of a core; measure on an idle machine"
        );
    }
    let requirements = root.join("suite/benches/requirements.txt");
    let python = python::environment(&work, &requirements, "the peer", "7 GB")?;
    let script = root.join("suite/benches/peer.py");
    let dumped = work.join("work");
    eprintln!("writing the work in `{}`", dumped.display());
    let dump = ["--dump".to_owned(), dumped.display().to_string()];
    ensure!(process::wait(speed(&sh, &dump))? == 0, "the work was not written\nhint: see above");
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
    ensure!(!figures.is_empty(), "the peer has no such work\nhint: it has {}", listed(&names));
    print!("{}", table(&figures));
    Ok(ExitCode::SUCCESS)
}

/// Whether a work is among those asked for, as `speed.rs` decides it.
fn is_asked(name: &str, parts: &[String]) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}

/// Lines as a sentence lists them.
fn listed(lines: &str) -> String {
    format!("`{}`", lines.lines().collect::<Vec<_>>().join("`, `"))
}

/// How many programs wanted a core during the last minute, where the system tells.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// The bench, built if need be. The profile and the whole workspace are those of every other build, so that
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
            figures.push(parse(&line).with_context(|| format!("not a figure: `{line}`"))?);
        }
    }
    let status = child.wait().with_context(|| format!("failed to wait for `{program}`"))?;
    ensure!(status.success(), "`{program}` failed while measuring\nhint: see above");
    Ok(figures)
}

/// Reads a line of ours: a flat object whose strings hold no quotes.
fn parse(line: &str) -> Option<Figure> {
    let text = |key: &str| field(line, key)?.strip_prefix('"').map(str::to_owned);
    Some(Figure {
        figure: text("figure")?,
        program: text("program")?,
        value: field(line, "value")?.parse().ok()?,
        unit: text("unit")?,
    })
}

/// What stands after `key`: a number, or a string with its first quote.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, value) = line.split_once(&format!("\"{key}\":"))?;
    let value = value.trim_start();
    let end = match value.strip_prefix('"') {
        Some(text) => text.find('"')? + 1,
        None => value.find([',', '}'])?,
    };
    Some(&value[..end])
}

/// A line for every work that both programs did.
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
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for [first, rest @ ..] in &rows {
        text += &format!("{first:<0$}", widths[0]);
        for (cell, width) in rest.iter().zip(&widths[1..]) {
            text += &format!("  {cell:>width$}");
        }
        text += "\n";
    }
    text + "A ratio above 1 says that synergy does more in the time, or takes less time or memory.\n"
}

/// Three digits at least, no more than a reader compares.
fn quantity(value: f64, unit: &str) -> String {
    let decimals = if value < 100.0 { 2 } else { 0 };
    format!("{value:.decimals$} {unit}")
}

/// The middle one, or the mean of the two in the middle. `values` is not empty.
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
        assert_eq!(parse(ours), Some(figure("GRPO step, text only", "synergy", 2.5, "s")));
        assert_eq!(parse(theirs), Some(figure("train step", "pytorch", 1456.188, "tokens/s")));
    }

    #[test]
    fn parts_choose_works() {
        let parts = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
        assert!(is_asked("grpo/step", &parts(&[])));
        assert!(is_asked("grpo/step", &parts(&["train", "grpo"])));
        assert!(!is_asked("grpo/step", &parts(&["train"])));
        assert_eq!(listed("a/b\nc"), "`a/b`, `c`");
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        let whole = r#"{"figure":"a","program":"b","value":1,"unit":"s"}"#;
        assert!(parse(whole).is_some());
        for broken in [
            "",
            "Benchmarking train/step",
            &whole[..whole.len() - 3],
            &whole.replace("value", "worth"),
            &whole.replace(":1", ":\"1\""),
            &whole.replace("\"b\"", "2"),
        ] {
            assert_eq!(parse(broken), None, "{broken}");
        }
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
            "A ratio above 1 says that synergy does more in the time, or takes less time or memory.",
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
        let error = measure(print("hello"), &mut file).unwrap_err().to_string();
        assert_eq!(error, "not a figure: `hello`");
        let error = measure(Command::new("false"), &mut file).unwrap_err().to_string();
        assert!(error.starts_with("`false` failed while measuring\nhint: "), "{error}");
        fs::remove_file(&path).unwrap();
    }
}
