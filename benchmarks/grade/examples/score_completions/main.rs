//! Scores a file of completions: one JSON object a line, with the answer key as `gold` and the text as `response`.
//!
//! ```console
//! $ cargo run -p synergy-grade --example score_completions
//! $ cargo run -p synergy-grade --example score_completions -- completions.jsonl math-verify
//! ```

#![expect(clippy::print_stdout, reason = "an example reports to its terminal")]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use synergy_grade::answer::Outcome;
use synergy_grade::{Grader, Target, grade};
use synergy_hint::{Explain as _, hint};

/// A line of the file. Other keys are ignored.
#[derive(Deserialize)]
struct Completion {
    gold: String,
    response: String,
    /// The texts of the options, A first, for a multiple-choice question.
    #[serde(default)]
    choices: Vec<String>,
}

fn main() -> Result<()> {
    let shipped =
        concat!(env!("CARGO_MANIFEST_DIR"), "/examples/score_completions/completions.jsonl");
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| shipped.to_owned());
    let name = arguments.next().unwrap_or_else(|| Grader::Synergy1.name().to_owned());
    let grader = Grader::from_name(&name).explain(|| {
        hint!(
            "unknown grader `{name}`",
            ("use one of {}", Grader::ALL.map(Grader::name).join(", "))
        )
    })?;

    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
    let mut counts: BTreeMap<Outcome, u32> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let Completion { gold, response, choices } = serde_json::from_str(line)
            .with_context(|| format!("failed to read `{path}`, line {}", index + 1))?;
        let target = Target { gold: &gold, choices: &choices, ..Target::default() };
        // The file holds completions that ended by themselves; one that hit the length cap would be `false` here.
        let judgement = grade(grader, &target, &response, true);
        let found = judgement.extracted.as_deref().unwrap_or("no answer");
        println!("line {}: {:?}, found {found}, the key is {gold}", index + 1, judgement.outcome);
        *counts.entry(judgement.outcome).or_default() += 1;
    }

    let num_completions: u32 = counts.values().sum();
    println!("\n{num_completions} completions by {name}");
    for outcome in Outcome::ALL {
        println!("{:>4} {outcome:?}", counts.get(&outcome).copied().unwrap_or_default());
    }
    let num_correct = counts.get(&Outcome::Correct).copied().unwrap_or_default();
    println!("accuracy {:.1} %", 100.0 * f64::from(num_correct) / f64::from(num_completions));
    Ok(())
}
