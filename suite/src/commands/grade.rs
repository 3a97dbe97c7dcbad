//! `synergy grade`: answers from standard input judged by a named grader, one JSON object a line.
//!
//! Does not know the graders' rules.

use std::io::{BufRead, Write};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use synergy_grade::answer::Outcome;
use synergy_grade::{Grader, Target, grade};
use synergy_hint::{Explain as _, hint};

const EXAMPLES: &str = "\
Examples:
  echo '{\"gold\": \"1/2\", \"response\": \"so \\\\boxed{0.5}\"}' | synergy grade
  synergy grade --grader mathruler < answers.jsonl > judged.jsonl";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GradeArgs {
    /// Rules that judge: boxed-1, synergy-1, mathruler, math-verify, vlmevalkit-2025-07, vlmevalkit-2026-08,
    /// lmms-eval-2026-08
    #[arg(long, default_value = "synergy-1", value_name = "NAME")]
    grader: String,
}

pub(super) fn run(args: &GradeArgs) -> Result<u8> {
    grade_lines(grader(&args.grader)?, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(0)
}

/// Returns the grader called `name`.
///
/// # Errors
/// If no grader has that name; the error lists those that exist.
pub(super) fn grader(name: &str) -> Result<Grader> {
    Grader::from_name(name).explain(|| {
        let known: Vec<&str> = Grader::ALL.into_iter().map(Grader::name).collect();
        hint!("there is no grader `{name}`", ("graders are {}", known.join(", ")))
    })
}

/// A line of input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    gold: String,
    response: String,
    #[serde(default)]
    choices: Vec<String>,
    /// Decimals that the benchmark asks for.
    #[serde(default)]
    precision: Option<u32>,
    /// Whose rules apply where they differ by benchmark.
    #[serde(default)]
    benchmark: String,
    /// False if the length limit cut it.
    #[serde(default = "finished")]
    finished: bool,
}

fn finished() -> bool {
    true
}

/// A line of output.
#[derive(Debug, Serialize)]
struct Graded {
    outcome: Outcome,
    extracted: Option<String>,
}

/// Grades every line of `input` and writes a line of output for each, in order; empty lines are skipped.
///
/// # Errors
/// Names the first line that is not a valid record; also if reading or writing fails.
fn grade_lines(grader: Grader, input: impl BufRead, mut output: impl Write) -> Result<()> {
    for (index, line) in input.lines().enumerate() {
        let line =
            line.explain(|| hint!("failed to read standard input", "lines are UTF-8 text"))?;
        // Some editors and tables begin a file with a byte order mark.
        let line = if index == 0 { line.trim_start_matches('\u{feff}') } else { line.as_str() };
        if line.trim().is_empty() {
            continue;
        }
        let asked: Request = serde_json::from_str(line).explain(|| {
            hint!(("line {} cannot be graded", index + 1), "a line is like {{\"gold\": \"3\", \"response\": \"\\\\boxed{{3}}\", \"choices\": [\"3\", \"4\"]}}")
        })?;
        let target = Target {
            gold: &asked.gold,
            choices: &asked.choices,
            precision: asked.precision,
            benchmark: asked.benchmark.as_str().into(),
        };
        let judgement = grade(grader, &target, &asked.response, asked.finished);
        let graded = Graded { outcome: judgement.outcome, extracted: judgement.extracted };
        let text = serde_json::to_string(&graded).context("plain data")?;
        writeln!(output, "{text}")
            .explain(|| hint!("failed to write to standard output", "is the disk full?"))?;
    }
    output.flush().explain(|| hint!("failed to write to standard output", "is the disk full?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_graded_in_order_and_a_bad_one_is_named() {
        let input = concat!(
            "\u{feff}{\"gold\": \"1/2\", \"response\": \"so \\\\boxed{0.5}\"}\n\n",
            "{\"gold\": \"B\", \"response\": \"no idea\", \"choices\": [\"1\", \"2\"]}\n",
            "{\"gold\": \"3\", \"response\": \"\\\\boxed{3}\", \"finished\": false}\n",
        );
        let mut output = Vec::new();
        grade_lines(Grader::Synergy1, input.as_bytes(), &mut output).unwrap();
        let outcomes: Vec<String> = String::from_utf8(output)
            .unwrap()
            .lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                value["outcome"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(outcomes, ["correct", "unparsed", "truncated"]);
        for bad in [
            "{\"gold\": 3, \"response\": \"\"}",
            "{\"gold\": \"3\"}",
            "[",
            "{\"gold\": \"\", \"response\": \"\", \"x\": 1}",
        ] {
            let error = grade_lines(Grader::Synergy1, bad.as_bytes(), Vec::new()).unwrap_err();
            assert!(synergy_hint::text(&error).starts_with("line 1 cannot be graded: "), "{error}");
        }
    }
}
