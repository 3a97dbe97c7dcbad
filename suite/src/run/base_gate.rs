//! The gate of a base: what must be true of it before a regime run on it means anything.
//!
//! Does not train and never touches the test split. The conditions are those of the small study's
//! prototype: a base that reads pictures, has mastered the terse register, has met the verbose one
//! on easy questions and is not tied to positions.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;
use synergy_benchmarks::answer::Outcome;
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::families::{Family, MAX_HOPS, Split};
use synergy_benchmarks::grade::Grader;
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::Sampling;
use synergy_models::vlm::Vlm;
use synergy_report::completion::Completion;
use synergy_report::score::{cut_levels, score};

use crate::device::Compute;
use crate::recipe::{Drawn, EvaluationSpec, FAMILIES, TrainingSpec};
use crate::run::base::Base;
use crate::train::Context;
use crate::train::rollout::{Question, evaluate};
use crate::train::sequence::test_samples;

/// Verbose answers must be right this often in every family.
pub const VERBOSE_MIN: f64 = 0.9;
/// A shift of the answer's positions may cost less than this.
pub const SHIFT_MAX: f64 = 0.02;
/// How far positions are shifted.
pub const SHIFT: u32 = 6;
/// Every level must hold at least this share of the recipe's questions.
pub const LEVEL_MIN: f64 = 0.08;
/// The verbose register is asked on questions of up to this many hops.
const HOPS: usize = 4;

/// What the gate measured on the validation split: greedy but for the levels, and on hops 1 to 4
/// but for accuracy by hops and the levels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    pub passed: bool,
    pub questions_per_family: usize,
    pub terse: BTreeMap<Family, f64>,
    pub verbose: BTreeMap<Family, f64>,
    pub terse_shifted: BTreeMap<Family, f64>,
    /// Terse accuracy by hops from 1 up, over all families: the knob must be difficulty.
    pub terse_by_hops: Vec<f64>,
    /// Shares of L1 to L5 among validation questions asked as the recipe asks its test questions.
    pub level_shares: Vec<f64>,
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
    let model = Vlm::computing(&prompter.config, &base.parameters, evaluation.dtype());
    let unused = TrainingSpec::none();
    let context = Context::new(prompter, compute, &unused);
    let samples = |hops: usize| -> Vec<Sample> {
        let draw = |f: Family| {
            (0..per_family as u64)
                .map(move |i| Sample::procedural(f, 31, Split::Validation, i, 1..=hops))
        };
        FAMILIES.into_iter().flat_map(draw).collect()
    };
    let run = |samples: &[Sample], suffix: &str, gap: u32| -> Result<Vec<(Family, usize, bool)>> {
        let questions: Vec<Question> = samples
            .iter()
            .map(|sample| {
                let text = format!("{} {suffix}", sample.question);
                Ok(Question {
                    position_gap: gap,
                    ..Question::of_text(prompter, sample.clone(), &text)?
                })
            })
            .collect::<Result<_>>()?;
        let sampling = Sampling::greedy(256, prompter.tokenizer.ids.eos);
        let completions = evaluate(&model, &context, &questions, 1, &sampling, Seed::root(31))?;
        let right = |c: &Completion| c.outcome(Grader::Boxed1) == Outcome::Correct;
        completions.iter().map(|c| Ok((c.benchmark.parse()?, c.hops, right(c)))).collect()
    };
    let by_family = |rows: &[(Family, usize, bool)]| -> BTreeMap<Family, f64> {
        FAMILIES
            .into_iter()
            .map(|f| (f, share(rows.iter().filter(|r| r.0 == f).map(|r| r.2))))
            .collect()
    };
    let easy = samples(HOPS);
    let (suffix, verbose_suffix) = (&prompter.prompt.suffix, &prompter.prompt.verbose_suffix);
    let terse = by_family(&run(&easy, suffix, 0)?);
    let verbose = by_family(&run(&easy, verbose_suffix, 0)?);
    let terse_shifted = by_family(&run(&easy, suffix, SHIFT)?);
    let all = run(&samples(MAX_HOPS), suffix, 0)?;
    let terse_by_hops =
        (1..=MAX_HOPS).map(|h| share(all.iter().filter(|r| r.1 == h).map(|r| r.2))).collect();

    let (drawn, num_samples) = evaluation
        .drawn()
        .context("the recipe asks the families nothing\nhint: --profile small or smoke")?;
    let asked = test_samples(Drawn { per_family, seed: 31, ..drawn }, Split::Validation)?;
    let asked: Vec<Question> =
        asked.into_iter().map(|s| Question::new(prompter, s, true)).collect::<Result<_>>()?;
    let (num, sampling) = (num_samples, evaluation.sampling(prompter.tokenizer.ids.eos));
    let seed = Seed::root(31).fold_in("levels");
    let completions = evaluate(&model, &context, &asked, num, &sampling, seed)?;
    let levels =
        cut_levels(&completions.iter().map(|c| score(c, Grader::Boxed1)).collect::<Vec<_>>());
    let level_shares: Vec<f64> =
        Level::ALL.into_iter().map(|l| share(levels.values().map(|v| *v == l))).collect();

    let mut faults = Vec::new();
    for (level, held) in Level::ALL.into_iter().zip(&level_shares) {
        if *held < LEVEL_MIN {
            faults.push(format!("{level} holds {held:.3} of the questions, not {LEVEL_MIN}"));
        }
    }
    for family in FAMILIES {
        if verbose[&family] < VERBOSE_MIN {
            faults.push(format!(
                "{family}: verbose accuracy {:.3} is below {VERBOSE_MIN}",
                verbose[&family]
            ));
        }
    }
    let mean = |m: &BTreeMap<Family, f64>| m.values().sum::<f64>() / m.len() as f64;
    if mean(&verbose) < mean(&terse) {
        faults.push(format!(
            "verbose accuracy {:.3} is below terse {:.3}",
            mean(&verbose),
            mean(&terse)
        ));
    }
    let cost = mean(&terse) - mean(&terse_shifted);
    if cost >= SHIFT_MAX {
        faults.push(format!("a shift of {SHIFT} positions costs {cost:.3}, not under {SHIFT_MAX}"));
    }
    Ok(GateReport {
        passed: faults.is_empty(),
        questions_per_family: per_family,
        terse,
        verbose,
        terse_shifted,
        terse_by_hops,
        level_shares,
        faults,
    })
}

fn share(outcomes: impl Iterator<Item = bool>) -> f64 {
    let (right, all) = outcomes.fold((0, 0), |(right, all), o| (right + usize::from(o), all + 1));
    f64::from(u32::try_from(right).unwrap_or(u32::MAX))
        / f64::from(u32::try_from(all.max(1)).unwrap_or(u32::MAX))
}

/// The report as a person reads it.
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
