//! A made-up study for the tests of this crate: completions by chance, judged for real.
//!
//! This module does not know the families' questions or any model; only the pass rates are made up.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, RngExt as _};
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::seed::Seed;
use synergy_grade::Grader;

use super::{
    External, Header, Machine, Missing, Provenance, Results, Row, RowKind, Training, score,
};
use crate::completion::Completion;
use crate::cost::{Budget, Cost};
use crate::rows::{control_note, regime_and_control};

/// How a made-up model answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behavior {
    /// Chance of a correct answer on L1 to L5.
    pub(crate) accuracy: [f64; 5],
    pub(crate) num_tokens: u32,
    pub(crate) num_waits: usize,
    pub(crate) truncated: f64,
    pub(crate) unparsed: f64,
}

pub(crate) const UNTUNED: Behavior = Behavior {
    accuracy: [0.88, 0.62, 0.38, 0.20, 0.06],
    num_tokens: 16,
    num_waits: 0,
    truncated: 0.01,
    unparsed: 0.01,
};
pub(crate) const LONG: Behavior = Behavior {
    accuracy: [0.70, 0.55, 0.45, 0.32, 0.18],
    num_tokens: 58,
    num_waits: 4,
    truncated: 0.05,
    unparsed: 0.0,
};
pub(crate) const SHARP: Behavior =
    Behavior { accuracy: [0.97, 0.80, 0.52, 0.24, 0.09], unparsed: 0.0, ..UNTUNED };
pub(crate) const CHANCE: Behavior = Behavior { accuracy: [0.2; 5], ..UNTUNED };

const FAMILIES: [&str; 5] = ["chart", "count", "path", "sum", "swap"];

/// One answer of each of `num_samples` to each question.
pub(crate) fn row(
    name: &str,
    kind: RowKind,
    behavior: Behavior,
    seed: u64,
    per_family: usize,
    num_samples: u32,
) -> Row {
    let mut rng = Seed::root(seed).fold_in(name).rng();
    let mut scores = Vec::new();
    for family in FAMILIES {
        for index in 0..per_family {
            for sample in 0..num_samples {
                let level = level_of(index);
                let completion = completion(family, index, sample, level, behavior, &mut rng);
                scores.push(score(&completion, Grader::Boxed1));
            }
        }
    }
    let note = control_note(name).unwrap_or("A regime.").to_owned();
    Row { name: name.to_owned(), kind, note, seed, scores }
}

fn level_of(index: usize) -> Level {
    // Shares .35 .20 .15 .15 .15, in every family.
    const LEVELS: [usize; 20] = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4];
    Level::ALL[LEVELS[index % LEVELS.len()]]
}

fn completion(
    family: &str,
    index: usize,
    sample: u32,
    level: Level,
    behavior: Behavior,
    rng: &mut impl Rng,
) -> Completion {
    let chance = behavior.accuracy[level as usize];
    let answer = if rng.random::<f64>() < chance { "red" } else { "blue" };
    let finished = rng.random::<f64>() >= behavior.truncated;
    let parsed = rng.random::<f64>() >= behavior.unparsed;
    let waits = " wait check".repeat(behavior.num_waits);
    let boxed = if parsed { format!("\\boxed{{ {answer} }}") } else { answer.to_owned() };
    Completion {
        sample_id: format!("{family}/test/1/{index:05}"),
        benchmark: family.to_owned(),
        hops: 1 + index % 10,
        sample,
        answer: "red".to_owned(),
        choices: Vec::new(),
        precision: None,
        text: format!("<think> b2 up 1 b1 red{waits} </think> {boxed}"),
        num_tokens: behavior.num_tokens + rng.random_range(0..5),
        finished,
        unanswered: None,
    }
}

/// An external benchmark's answers, for a row that was asked it.
pub(crate) fn external(row: &mut Row, num_questions: usize, behavior: Behavior) {
    let mut rng = Seed::root(row.seed).fold_in("external").fold_in(&row.name).rng();
    for index in 0..num_questions {
        let mut answer = completion("easy_vqa", index, 0, Level::L1, behavior, &mut rng);
        answer.hops = 0;
        row.scores.push(score(&answer, Grader::Boxed1));
    }
}

/// Every question's level, as the binning would have cut it.
pub(crate) fn levels(per_family: usize) -> BTreeMap<String, Level> {
    FAMILIES
        .iter()
        .flat_map(|family| {
            (0..per_family).map(move |i| (format!("{family}/test/1/{i:05}"), level_of(i)))
        })
        .collect()
}

pub(crate) fn header() -> Header {
    let cost = Cost {
        tokens_generated: 820_000,
        tokens_trained: 1_100_000,
        tokens_forward: 2_300_000,
        optimizer_steps: 200,
        flops: 6.2e12,
        wall_time_s: 178.0,
    };
    Header {
        profile: "small".to_owned(),
        recipe_hash: "5f1d0c2a".to_owned(),
        grader: Grader::Boxed1,
        split: None,
        provenance: Provenance {
            date: "2026-01-31".to_owned(),
            commit: "0123456789abcdef".to_owned(),
            code_hash: None,
            dirty: false,
            command: "synergy reproduce --profile small".to_owned(),
            machine: Machine { cpu: "made-up".to_owned(), cores: 2 },
            backend: "flex".to_owned(),
            rustc: "1.95.0".to_owned(),
            wall_time_s: 1234.5,
            base_hash: "abcdef".to_owned(),
            base_provisional: true,
            base_note: "verbose accuracy .81 on sum, .9 needed".to_owned(),
        },
        asked: None,
        missing: Vec::new(),
        extra_seeds: Vec::new(),
        external: vec![External {
            benchmark: "easy_vqa".to_owned(),
            row: "question only".to_owned(),
            accuracy: 0.671,
        }],
        training: vec![Training {
            regime: "rl".to_owned(),
            seed: 1,
            stage: "grpo".to_owned(),
            cost,
            summary: [("reward_start", 0.52), ("reward_end", 0.66)]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            published: None,
        }],
        budgets: vec![Budget { regime: "rl".to_owned(), seed: 1, cost }],
    }
}

/// A whole study of `per_family` questions in each of five families.
pub(crate) fn study(per_family: usize, seeds: &[u64]) -> Results {
    use RowKind::{Baseline, Control, Regime};
    let greedy = Behavior { accuracy: [0.99, 0.75, 0.36, 0.15, 0.02], ..UNTUNED };
    let bare = Behavior { accuracy: [0.5, 0.4, 0.3, 0.2, 0.1], num_tokens: 8, ..UNTUNED };
    let both = Behavior { accuracy: [0.72, 0.60, 0.48, 0.33, 0.2], ..LONG };
    let mut rows = Vec::new();
    for (name, kind, behavior, num_samples) in [
        ("base", Baseline, UNTUNED, 4),
        ("null", Control, UNTUNED, 4),
        ("greedy", Control, greedy, 1),
        ("no_template", Control, bare, 4),
        ("shuffled", Control, CHANCE, 4),
        ("sft", Regime, LONG, 4),
        ("rl", Regime, SHARP, 4),
        ("two_stage", Regime, both, 4),
        ("sft/shuffled", Control, Behavior { accuracy: [0.2; 5], ..LONG }, 4),
        ("rl/shuffled", Control, CHANCE, 4),
        ("two_stage/shuffled", Control, Behavior { accuracy: [0.2; 5], ..LONG }, 4),
    ] {
        let seeds = if kind == Regime { seeds } else { &seeds[..1] };
        for &seed in seeds {
            let mut row = row(name, kind, behavior, seed, per_family, num_samples);
            if kind != Control {
                external(&mut row, 40, Behavior { accuracy: [0.75; 5], ..behavior });
            }
            rows.push(row);
        }
    }
    Results::assemble(header(), &levels(per_family), &rows).unwrap()
}

/// What a run of `whole` has that was asked for the regimes and seeds that `keeps` says, as it would have been written:
/// its questions know the answers of its own rows alone.
pub(crate) fn part_of(whole: &Results, keeps: impl Fn(&str, u64) -> bool) -> Results {
    let mut part = whole.clone();
    let is_regime = |name: &str| whole.row(name).is_some_and(|row| row.kind == RowKind::Regime);
    let is_kept = |row: &str, seed: u64| {
        let (regime, _) = regime_and_control(row);
        !is_regime(regime) || keeps(regime, seed)
    };
    let all = whole.rows.iter().flat_map(|r| r.seeds.iter().map(|s| (r.name.as_str(), s.seed)));
    part.missing = Missing::of(all.filter(|(row, seed)| !is_kept(row, *seed)));
    for row in &mut part.rows {
        row.seeds.retain(|seed| is_kept(&row.name, seed.seed));
    }
    part.rows.retain(|row| !row.seeds.is_empty());
    part.spreads.retain(|spread| is_kept(&spread.row, spread.seed));
    part.budgets.retain(|budget| is_kept(&budget.regime, budget.seed));
    part.training.retain(|stage| stage.regime.split('+').any(|name| keeps(name, stage.seed)));
    for (place, question) in part.questions.iter_mut().enumerate() {
        let seeds = part.rows.iter().flat_map(|row| &row.seeds);
        let used: BTreeSet<u32> =
            seeds.filter_map(|s| s.answers.get(place)).flatten().copied().collect();
        let old = std::mem::take(&mut question.answers);
        let kept: Vec<u32> = used.into_iter().filter(|at| *at > 0).collect();
        question.answers = kept.iter().map(|at| old[*at as usize - 1].clone()).collect();
        for seed in part.rows.iter_mut().flat_map(|row| &mut row.seeds) {
            for at in seed.answers.get_mut(place).into_iter().flatten().filter(|at| **at > 0) {
                *at = kept.binary_search(at).unwrap() as u32 + 1;
            }
        }
    }
    part.validate().unwrap();
    part
}
