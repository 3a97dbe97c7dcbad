//! The gate of a base: what must be true of it before a regime run on it means anything.
//!
//! Does not train and never touches the test split. The conditions are those of the small study's
//! prototype: a base that reads pictures, has mastered the terse register, has met the verbose one
//! on easy questions and is not tied to positions.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::families::{Family, MAX_HOPS, Split};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_grade::Grader;
use synergy_grade::answer::Outcome;
use synergy_hint::{Explain as _, hint};
use synergy_report::completion::Completion;
use synergy_report::score::{cut_levels, score};

use crate::device::Compute;
use crate::recipe::{Drawn, EvaluationSpec, FAMILIES};
use crate::run::base::Base;
use crate::train::engine::{Engine, Question, completions};
use crate::train::rollout::LocalEngine;
use crate::train::sequence::{Prompter, test_samples};

/// The smallest accuracy of verbose answers in every family.
pub const VERBOSE_MIN: f64 = 0.9;
/// The accuracy that a shift of the answer's positions may cost, exclusive.
pub const SHIFT_MAX: f64 = 0.02;
/// Number of positions that answers are shifted by.
pub const SHIFT: u32 = 6;
/// The smallest share of the recipe's questions in every level.
pub const LEVEL_MIN: f64 = 0.08;
/// Most hops of the questions that the verbose register is asked on.
const EASY_HOPS: usize = 4;
/// Seed of the gate's questions and draws: the same for every base, so that reports compare, and in no recipe.
const SEED: u64 = 31;
/// Longest greedy answer, in tokens; verbose answers to easy questions stay well below it.
const MAX_NEW_TOKENS: usize = 256;
/// The rules that the gate judges by, whatever those of the recipe are.
const GRADER: Grader = Grader::Boxed1;

/// Figures of the validation split: greedy but for the levels, and on hops 1 to 4 but for accuracy by hops and the
/// levels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    /// Tells whether there are no faults.
    pub passed: bool,
    /// Questions asked of each family, at least 1.
    pub questions_per_family: usize,
    /// Accuracy by family, in [0, 1], asked for a short trace.
    pub terse: BTreeMap<Family, f64>,
    /// Accuracy by family, in [0, 1], asked for a long trace.
    pub verbose: BTreeMap<Family, f64>,
    /// Accuracy by family, in [0, 1], asked for a short trace whose positions are shifted by [`SHIFT`].
    pub terse_shifted: BTreeMap<Family, f64>,
    /// Terse accuracy by hops from 1 up, over all families: the knob must be difficulty.
    pub terse_by_hops: Vec<f64>,
    /// Shares of L1 to L5 among validation questions asked as the recipe asks its test questions.
    pub level_shares: Vec<f64>,
    /// Conditions that the base does not meet, one sentence each.
    pub faults: Vec<String>,
}

/// Measures `base` on `per_family` questions of each family.
///
/// # Errors
/// If a picture cannot be drawn or the chat template fails.
pub fn measure(
    base: &Base,
    compute: &Compute,
    evaluation: &EvaluationSpec,
    per_family: usize,
) -> Result<GateReport> {
    let prompter = &base.prompter;
    let mut engine = LocalEngine::new(&prompter.config, compute, evaluation.dtype());
    engine.load(&base.parameters)?;
    let gate = Gate { prompter, engine: &engine, per_family };
    let (suffix, verbose_suffix) = (&prompter.prompt.suffix, &prompter.prompt.verbose_suffix);
    let all = gate.answers(MAX_HOPS, suffix, 0)?;
    let of_hops = |hops| share(all.iter().filter(|a| a.hops == hops).map(|a| a.is_right));
    let mut report = GateReport {
        passed: false,
        questions_per_family: per_family,
        terse: gate.accuracy(suffix, 0)?,
        verbose: gate.accuracy(verbose_suffix, 0)?,
        terse_shifted: gate.accuracy(suffix, SHIFT)?,
        terse_by_hops: (1..=MAX_HOPS).map(of_hops).collect(),
        level_shares: gate.level_shares(evaluation)?,
        faults: Vec::new(),
    };
    report.faults = faults(&report);
    report.passed = report.faults.is_empty();
    Ok(report)
}

/// Whoever asks the base, and how much.
struct Gate<'a> {
    prompter: &'a Prompter,
    engine: &'a dyn Engine,
    per_family: usize,
}

/// A greedy answer and its judgement.
struct Answer {
    family: Family,
    hops: usize,
    is_right: bool,
}

impl Gate<'_> {
    /// Greedy answers to questions of up to `max_hops` hops of every family, asked with the instruction `suffix`; the
    /// positions of the answers are shifted by `shift`.
    fn answers(&self, max_hops: usize, suffix: &str, shift: u32) -> Result<Vec<Answer>> {
        let draw = |family: Family| {
            (0..self.per_family as u64)
                .map(move |i| Sample::procedural(family, SEED, Split::Validation, i, 1..=max_hops))
        };
        let ask = |sample: Sample| -> Result<Question> {
            let text = format!("{} {suffix}", sample.question);
            let question = Question::of_text(self.prompter, sample, &text)?;
            Ok(Question { position_gap: shift, ..question })
        };
        let questions: Vec<Question> =
            FAMILIES.into_iter().flat_map(draw).map(ask).collect::<Result<_>>()?;
        let tokenizer = &self.prompter.tokenizer;
        let sampling = self.prompter.greedy(MAX_NEW_TOKENS);
        let seed = Seed::root(SEED);
        let completions = completions(self.engine, tokenizer, &questions, 1, &sampling, seed)?;
        let answer = |c: Completion| {
            let is_right = c.outcome(GRADER) == Outcome::Correct;
            Ok(Answer { family: c.benchmark.parse()?, hops: c.hops, is_right })
        };
        completions.into_iter().map(answer).collect()
    }

    /// Greedy accuracy on easy questions, by family.
    fn accuracy(&self, suffix: &str, shift: u32) -> Result<BTreeMap<Family, f64>> {
        let answers = self.answers(EASY_HOPS, suffix, shift)?;
        let of = |family: Family| {
            let own = answers.iter().filter(|a| a.family == family);
            (family, share(own.map(|a| a.is_right)))
        };
        Ok(FAMILIES.into_iter().map(of).collect())
    }

    /// Shares of the levels, L1 first, among validation questions asked as `evaluation` asks its test questions.
    fn level_shares(&self, evaluation: &EvaluationSpec) -> Result<Vec<f64>> {
        let (drawn, num_samples) = evaluation.drawn().explain(|| {
            hint!("the recipe asks no questions of the families", "--profile small or smoke")
        })?;
        let drawn = Drawn { per_family: self.per_family, seed: SEED, ..drawn };
        let ask = |sample| Question::new(self.prompter, sample, true);
        let questions: Vec<Question> =
            test_samples(drawn, Split::Validation)?.into_iter().map(ask).collect::<Result<_>>()?;
        let tokenizer = &self.prompter.tokenizer;
        let sampling = evaluation.sampling(&self.prompter.end_tokens);
        let seed = Seed::root(SEED).fold_in("levels");
        let completions =
            completions(self.engine, tokenizer, &questions, num_samples, &sampling, seed)?;
        let scores: Vec<_> = completions.iter().map(|c| score(c, GRADER)).collect();
        let levels = cut_levels(&scores);
        Ok(Level::ALL.into_iter().map(|l| share(levels.values().map(|v| *v == l))).collect())
    }
}

/// The conditions that a base with these figures does not meet.
fn faults(report: &GateReport) -> Vec<String> {
    let GateReport { terse, verbose, terse_shifted, level_shares, .. } = report;
    let mut faults = Vec::new();
    for (level, share) in Level::ALL.into_iter().zip(level_shares) {
        if *share < LEVEL_MIN {
            faults.push(format!(
                "{level} has {share:.3} of the questions, at least {LEVEL_MIN} is needed"
            ));
        }
    }
    for family in FAMILIES {
        let accuracy = verbose[&family];
        if accuracy < VERBOSE_MIN {
            faults.push(format!("{family}: verbose accuracy {accuracy:.3} is below {VERBOSE_MIN}"));
        }
    }
    let mean = |m: &BTreeMap<Family, f64>| m.values().sum::<f64>() / m.len() as f64;
    let (terse, verbose, shifted) = (mean(terse), mean(verbose), mean(terse_shifted));
    if verbose < terse {
        faults.push(format!("verbose accuracy {verbose:.3} is below terse {terse:.3}"));
    }
    let cost = terse - shifted;
    if cost >= SHIFT_MAX {
        faults.push(format!("a shift of {SHIFT} positions costs {cost:.3}, not under {SHIFT_MAX}"));
    }
    faults
}

fn share(outcomes: impl Iterator<Item = bool>) -> f64 {
    let (right, all) = outcomes.fold((0, 0), |(right, all), o| (right + usize::from(o), all + 1));
    f64::from(u32::try_from(right).unwrap_or(u32::MAX))
        / f64::from(u32::try_from(all.max(1)).unwrap_or(u32::MAX))
}

/// Renders the report for a person.
pub fn describe(report: &GateReport) -> String {
    let mut lines =
        vec![format!("{:<8} {:>7} {:>8} {:>10}", "family", "terse", "verbose", "shifted")];
    for family in FAMILIES {
        lines.push(format!(
            "{:<8} {:>7.3} {:>8.3} {:>10.3}",
            family.name(),
            report.terse[&family],
            report.verbose[&family],
            report.terse_shifted[&family]
        ));
    }
    let hops: Vec<String> = report.terse_by_hops.iter().map(|a| format!("{a:.2}")).collect();
    lines.push(format!("terse by hops from 1: {}", hops.join(" ")));
    let shares: Vec<String> = report.level_shares.iter().map(|a| format!("{a:.2}")).collect();
    lines.push(format!("shares of L1 to L5: {}", shares.join(" ")));
    lines.extend(report.faults.iter().map(|f| format!("fault: {f}")));
    lines.push(format!("gate {}", if report.passed { "passed" } else { "not passed" }));
    lines.join("\n")
}
