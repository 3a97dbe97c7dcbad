//! The gate of a base: what must be true of it before a regime run on it means anything.
//!
//! Does not train and never touches the test split. A base must read every register that it is asked for on all hops
//! that it was trained on, its brief answers must be right where a statement is enough, every level must have questions,
//! and what the middle levels hold must be solved sometimes rather than guessed.

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
use synergy_models::generate::Sampling;
use synergy_report::completion::Completion;
use synergy_report::score::{cut_levels, score};

use crate::device::Compute;
use crate::recipe::{Drawn, EvaluationSpec, FAMILIES, RegistersSpec};
use crate::run::base::Base;
use crate::train::engine::{Engine, Question, completions};
use crate::train::rollout::LocalEngine;
use crate::train::sequence::{Prompter, test_samples};

/// The smallest accuracy of dense and of long answers, asked for by their instructions, in every family and on all hops:
/// fifteen looks of which one in fifty fails leave three answers of four right.
pub const FULL_MIN: f64 = 0.7;
/// The smallest accuracy of brief answers to questions of one step, in every chain; a glance at a maze is a guess.
pub const BRIEF_MIN: f64 = 0.8;
/// The accuracy that a shift of the answer's positions may cost, exclusive.
pub const SHIFT_MAX: f64 = 0.03;
/// Number of positions that answers are shifted by.
pub const SHIFT: u32 = 6;
/// The smallest share of the recipe's questions in every level.
pub const LEVEL_MIN: f64 = 0.08;
/// The greatest share of guesses in L3 and L4 together.
pub const GUESSES_MAX: f64 = 1.0 / 3.0;
/// Seed of the gate's questions and draws: the same for every base, so that reports compare, and in no recipe.
const SEED: u64 = 31;
/// Longest answer, in tokens: a long search of fifteen steps.
const MAX_NEW_TOKENS: usize = 640;
/// The rules that the gate judges by, whatever those of the recipe are.
const GRADER: Grader = Grader::Boxed1;

/// Accuracy by family, in [0, 1].
type ByFamily = BTreeMap<Family, f64>;

/// Figures of the validation split, on 1 to 15 hops but for the levels. Brief answers and levels are sampled as the recipe
/// samples, the others are greedy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    /// Tells whether there are no faults.
    pub passed: bool,
    /// Questions asked of each family, at least 1.
    pub questions_per_family: usize,
    /// Accuracy of brief answers to questions of one step.
    pub brief: ByFamily,
    /// Accuracy of dense answers.
    pub dense: ByFamily,
    /// Accuracy of long answers.
    pub long: ByFamily,
    /// Accuracy of long answers whose positions are shifted by [`SHIFT`].
    pub long_shifted: ByFamily,
    /// Accuracy of brief answers by hops from 1 up, over all families: the knob must be difficulty.
    pub brief_by_hops: Vec<f64>,
    /// Shares of L1 to L5 among validation questions asked as the recipe asks its test questions.
    pub level_shares: Vec<f64>,
    /// Share of guesses in each of L1 to L5: questions of more steps than a brief answer has statements, and all mazes,
    /// whose brief answer is a glance.
    pub guesses: Vec<f64>,
    /// Conditions that the base does not meet, one sentence each.
    pub faults: Vec<String>,
}

/// Measures `base` on `per_family` questions of each family.
///
/// # Errors
/// If a picture cannot be drawn, the chat template fails, or the recipe does not say the registers.
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
    let registers = prompter.registers()?;
    let (suffix, sampling) = (&prompter.prompt.suffix, evaluation.sampling(&prompter.end_tokens));
    let all = gate.answers([1, MAX_HOPS], suffix, 0, Some(&sampling))?;
    let of_hops = |hops| share(all.iter().filter(|a| a.hops == hops).map(|a| a.is_right));
    let (level_shares, guesses) = gate.levels(evaluation, registers)?;
    let mut report = GateReport {
        passed: false,
        questions_per_family: per_family,
        brief: by_family(&gate.answers([1, 1], suffix, 0, Some(&sampling))?),
        dense: by_family(&gate.answers([1, MAX_HOPS], &registers.dense_suffix, 0, None)?),
        long: by_family(&gate.answers([1, MAX_HOPS], &registers.long_suffix, 0, None)?),
        long_shifted: by_family(&gate.answers(
            [1, MAX_HOPS],
            &registers.long_suffix,
            SHIFT,
            None,
        )?),
        brief_by_hops: (1..=MAX_HOPS).map(of_hops).collect(),
        level_shares,
        guesses,
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
    /// Answers to questions of so many hops of every family, asked with the instruction `suffix`, greedy unless `sampling`
    /// is given; the positions of the answers are shifted by `shift`.
    fn answers(
        &self,
        [low, high]: [usize; 2],
        suffix: &str,
        shift: u32,
        sampling: Option<&Sampling>,
    ) -> Result<Vec<Answer>> {
        let draw = |family: Family| {
            (0..self.per_family as u64)
                .map(move |i| Sample::procedural(family, SEED, Split::Validation, i, low..=high))
        };
        let ask = |sample: Sample| -> Result<Question> {
            let text = format!("{} {suffix}", sample.question);
            let question = Question::of_text(self.prompter, sample, &text)?;
            Ok(Question { position_gap: shift, ..question })
        };
        let questions: Vec<Question> =
            FAMILIES.into_iter().flat_map(draw).map(ask).collect::<Result<_>>()?;
        let tokenizer = &self.prompter.tokenizer;
        let greedy = self.prompter.greedy(MAX_NEW_TOKENS);
        let sampling = sampling.unwrap_or(&greedy);
        let seed = Seed::root(SEED);
        let completions = completions(self.engine, tokenizer, &questions, 1, sampling, seed)?;
        let answer = |c: Completion| {
            let is_right = c.outcome(GRADER) == Outcome::Correct;
            Ok(Answer { family: c.benchmark.parse()?, hops: c.hops, is_right })
        };
        completions.into_iter().map(answer).collect()
    }

    /// Shares of the levels, L1 first, among validation questions asked as `evaluation` asks its test questions, and the
    /// share of guesses in each.
    fn levels(
        &self,
        evaluation: &EvaluationSpec,
        registers: &RegistersSpec,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
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
        let is_guess: BTreeMap<&str, bool> = questions
            .iter()
            .map(|question| {
                let Sample { id, benchmark, hops, .. } = &question.sample;
                let is_maze = benchmark == Family::Maze.name();
                (id.as_str(), is_maze || *hops > registers.most_statements())
            })
            .collect();
        let shares = Level::ALL.map(|level| share(levels.values().map(|own| *own == level)));
        let guesses = Level::ALL.map(|level| {
            let own = levels.iter().filter(|(_, own)| **own == level);
            share(own.map(|(id, _)| is_guess[id.as_str()]))
        });
        Ok((shares.to_vec(), guesses.to_vec()))
    }
}

/// Accuracy of answers by the family of their questions.
fn by_family(answers: &[Answer]) -> ByFamily {
    let of = |family: Family| {
        let own = answers.iter().filter(|a| a.family == family);
        (family, share(own.map(|a| a.is_right)))
    };
    FAMILIES.into_iter().map(of).collect()
}

/// The conditions that a base with these figures does not meet.
fn faults(report: &GateReport) -> Vec<String> {
    let GateReport { brief, dense, long, long_shifted, level_shares, guesses, .. } = report;
    let mut faults = Vec::new();
    for (level, share) in Level::ALL.into_iter().zip(level_shares) {
        if *share < LEVEL_MIN {
            faults.push(format!(
                "{level} has {share:.3} of the questions, at least {LEVEL_MIN} is needed"
            ));
        }
    }
    let middle = level_shares.iter().zip(guesses).skip(2).take(2);
    let (all, guessed) = middle
        .fold((0.0, 0.0), |(all, guessed), (level, guess)| (all + level, guessed + level * guess));
    if guessed > GUESSES_MAX * all {
        let share = guessed / all;
        faults.push(format!("{share:.3} of L3 and L4 is guessed, at most a third may be"));
    }
    for (register, accuracies, least) in
        [("brief", brief, BRIEF_MIN), ("dense", dense, FULL_MIN), ("long", long, FULL_MIN)]
    {
        for family in FAMILIES {
            let is_glance = register == "brief" && family == Family::Maze;
            let accuracy = accuracies[&family];
            if accuracy < least && !is_glance {
                faults
                    .push(format!("{family}: {register} accuracy {accuracy:.3} is below {least}"));
            }
        }
    }
    let mean = |m: &ByFamily| m.values().sum::<f64>() / m.len() as f64;
    let cost = mean(long) - mean(long_shifted);
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
    let mut lines = vec![format!(
        "{:<8} {:>7} {:>7} {:>7} {:>8}",
        "family", "brief", "dense", "long", "shifted"
    )];
    for family in FAMILIES {
        lines.push(format!(
            "{:<8} {:>7.3} {:>7.3} {:>7.3} {:>8.3}",
            family.name(),
            report.brief[&family],
            report.dense[&family],
            report.long[&family],
            report.long_shifted[&family]
        ));
    }
    let list = |shares: &[f64]| {
        shares.iter().map(|share| format!("{share:.2}")).collect::<Vec<String>>().join(" ")
    };
    lines.push(format!("brief by hops from 1: {}", list(&report.brief_by_hops)));
    lines.push(format!("shares of L1 to L5: {}", list(&report.level_shares)));
    lines.push(format!("guesses in L1 to L5: {}", list(&report.guesses)));
    lines.extend(report.faults.iter().map(|f| format!("fault: {f}")));
    lines.push(format!("gate {}", if report.passed { "passed" } else { "not passed" }));
    lines.join("\n")
}
