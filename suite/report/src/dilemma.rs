//! The dilemma: whether a combination of SFT and RL keeps on hard questions what the one gains, and on easy ones what the
//! other does. Pure.
//!
//! This module does not know any regime but the two parents: which rows combine them follows from what they stand on. A
//! combination is held against the better parent of each half, since that is what it has to keep there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::{Compared, Measure, Part, Question, Shown, Study, Wanted};
use crate::score::{RowKind, StageKind};
use crate::statistics::Interval;

/// Points that a half may lose before it counts as lost.
pub const MARGIN: f64 = 2.0;

/// A row writes long answers if at least this share of them is long on some level.
pub const LONG_SHARE: f64 = 0.1;

/// The parents by name.
pub const SFT: &str = "sft";
/// The other one.
pub const RL: &str = "rl";

/// The rule, as it is printed with every table.
pub const RULE: &str = "\
Hard and easy are the halves of each family's questions by its number of steps; beside them, L4 and L5 against L1 to L3.
Each half is held against the parent (SFT or RL) that is better there. A combination beats the dilemma if it is not below
that parent on either half by more than 2 points and above the better parent on all questions. It is caught if one of the
three is refuted, and not testable if it writes no long answers: fewer than a tenth of its answers on every level.
Every verdict is at 5 % for one row by itself; claim C13 corrects for their number.";

/// Every combination on both ways to halve the questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dilemma {
    /// Points that a half may lose before it counts as lost.
    #[schemars(range(min = 0))]
    pub margin: f64,
    /// By the number of steps first, then by level; a way that the questions do not allow is left out.
    pub splits: Vec<Split>,
}

/// All rows on one way to halve the questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// What is harder: `knob`, the number of steps, or `level`.
    #[schemars(extend("enum" = ["knob", "level"]))]
    pub by: String,
    /// The parents, then the combinations.
    pub rows: Vec<Standing>,
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Name of the row.
    #[schemars(length(min = 1))]
    pub row: String,
    /// True for SFT and RL themselves.
    pub is_parent: bool,
    /// The greatest share of long answers on a level, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub long: f64,
    /// Accuracy on the hard half against the better parent there, wanted not below the margin.
    pub hard: Compared,
    /// Accuracy on the easy half against the better parent there, wanted not below the margin.
    pub easy: Compared,
    /// Accuracy on all questions against the better parent there, wanted above.
    pub whole: Compared,
    /// Tokens on the easy half, in parts of the base's.
    pub tokens_to_base: Interval,
    /// Tokens on the easy half, in parts of those of the better parent there.
    pub tokens_to_parent: Interval,
    /// What follows from it.
    pub verdict: Outcome,
}

/// How a row fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is a parent, and what others are held against.
    Parent,
    /// It keeps both halves and is better on the whole.
    Beats,
    /// It loses a half, or is not better on the whole.
    Caught,
    /// It could be either.
    Undecided,
    /// It writes no long answers.
    NotTestable,
}

impl Outcome {
    /// As a person reads it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Parent => "parent",
            Outcome::Beats => "beats the dilemma",
            Outcome::Caught => "caught in it",
            Outcome::Undecided => "undecided",
            Outcome::NotTestable => "not testable, no long answers",
        }
    }
}

impl Standing {
    /// Judges the row's comparisons, and the row by them.
    pub fn judge(&mut self) {
        // Losing in one of three places is enough to be caught.
        let all = [&mut self.hard, &mut self.easy, &mut self.whole];
        all.into_iter().for_each(|compared| compared.judge_among(1.0, 3.0, 1.0, 0.0));
        let shown = [&self.hard, &self.easy, &self.whole].map(|compared| compared.verdict);
        self.verdict = if self.is_parent {
            Outcome::Parent
        } else if self.long < LONG_SHARE {
            Outcome::NotTestable
        } else if shown.iter().all(|shown| *shown == Shown::Holds) {
            Outcome::Beats
        } else if shown.contains(&Shown::Fails) {
            Outcome::Caught
        } else {
            Outcome::Undecided
        };
    }
}

impl Dilemma {
    /// Places every row; `None` without both parents.
    pub fn of(study: &Study<'_>) -> Option<Dilemma> {
        study.row(SFT).and(study.row(RL))?;
        let splits: Vec<Split> = [
            ("knob", Part::HardByKnob, Part::EasyByKnob),
            ("level", Part::HardByLevel, Part::EasyByLevel),
        ]
        .into_iter()
        .filter_map(|(by, hard, easy)| split(study, by, hard, easy))
        .collect();
        (!splits.is_empty()).then_some(Dilemma { margin: MARGIN, splits })
    }
}

/// Names of the rows that combine SFT and RL, in the order of the results.
pub fn hybrids<'a>(study: &Study<'a>) -> Vec<&'a str> {
    let regimes = study.results.rows.iter().filter(|row| row.kind == RowKind::Regime);
    let names = regimes.map(|row| row.name.as_str());
    names.filter(|name| study.lineage.is_hybrid(name, SFT)).collect()
}

/// The parents of a combination: RL, and the row of SFT that it shares stages with, `sft` before any other.
fn parents<'a>(study: &Study<'a>, row: &str) -> [&'a str; 2] {
    let lineage = study.lineage;
    let shared = |other: &str| lineage.shared(row, other).len();
    let is_sft = |name: &&str| {
        lineage.has(name, StageKind::Sft)
            && !lineage.has(name, StageKind::Rl)
            && !lineage.has(name, StageKind::Merge)
    };
    let regimes = study.results.rows.iter().filter(|row| row.kind == RowKind::Regime);
    let other = regimes.map(|row| row.name.as_str()).filter(is_sft).max_by_key(|name| shared(name));
    let sft = match other {
        Some(other) if shared(SFT) == 0 && shared(other) > 0 => other,
        _ => SFT,
    };
    [sft, RL]
}

fn split(study: &Study<'_>, by: &str, hard: Part, easy: Part) -> Option<Split> {
    study.effects(hard, Measure::Accuracy)?;
    let rows: Vec<Standing> = [SFT, RL]
        .into_iter()
        .chain(hybrids(study))
        .filter_map(|row| standing(study, row, [hard, easy]))
        .collect();
    Some(Split { by: by.to_owned(), rows })
}

fn standing(study: &Study<'_>, row: &str, [hard, easy]: [Part; 2]) -> Option<Standing> {
    let is_parent = [SFT, RL].contains(&row);
    let parents = if is_parent { [SFT, RL] } else { parents(study, row) };
    let better = |part: Part| {
        let mean = |parent| study.mean(parent, part, Measure::Accuracy);
        // Of equals the first.
        let [first, second] = parents;
        Some(if mean(second)? > mean(first)? { second } else { first })
    };
    let accuracy = |part: Part, wanted, margin| {
        let less = better(part)?;
        let metric = Measure::Accuracy;
        study.compare(Question { row, less, metric, part, wanted, margin })
    };
    let tokens = |less: &str| {
        let metric = Measure::Length;
        let (part, wanted) = (easy, Wanted::NotAbove);
        let found = study.compare(Question { row, less, metric, part, wanted, margin: 0.0 })?;
        let Interval { mean, low, high } = found.effect.scaled(0.01);
        Some(Interval { mean: 1.0 + mean, low: (1.0 + low).max(0.0), high: 1.0 + high })
    };
    let mut standing = Standing {
        row: row.to_owned(),
        is_parent,
        long: study.longest_share(row)?,
        hard: accuracy(hard, Wanted::NotBelow, MARGIN)?,
        easy: accuracy(easy, Wanted::NotBelow, MARGIN)?,
        whole: accuracy(Part::All, Wanted::Above, 0.0)?,
        tokens_to_base: tokens(crate::score::BASE)?,
        tokens_to_parent: tokens(better(easy)?)?,
        verdict: Outcome::Undecided,
    };
    standing.judge();
    Some(standing)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::score::fixture::{Behavior, LONG, SHARP, UNTUNED, header, levels, row};
    use crate::score::{BASE, Lineage, Results, Row, Training};

    /// A study of SFT, RL and hybrids of three seeds, with what they stand on.
    pub(crate) fn combined(hybrids: &[(&str, Behavior)]) -> Results {
        let parents = [(SFT, LONG), (RL, SHARP)];
        let mut rows: Vec<Row> = vec![row(BASE, RowKind::Baseline, UNTUNED, 1, 120, 4)];
        for (name, behavior) in parents.iter().chain(hybrids) {
            let of_seed = |seed| row(name, RowKind::Regime, *behavior, seed, 120, 4);
            rows.extend([1, 2, 3].map(of_seed));
        }
        let names: Vec<&str> = hybrids.iter().map(|(name, _)| *name).collect();
        let stage = |regimes: &[&str], stage: &str, figure: &str| Training {
            regime: regimes.join("+"),
            seed: 1,
            stage: stage.to_owned(),
            cost: Cost { optimizer_steps: 10, ..Cost::default() },
            summary: [(figure.to_owned(), 0.5)].into(),
            published: None,
        };
        let mut header = header();
        header.training = vec![
            stage(&[&[SFT], &names[..]].concat(), "traces", "loss_end"),
            stage(&[SFT], "sft", "loss_end"),
            stage(&[RL], "grpo", "reward_end"),
        ];
        header.training.extend(names.iter().map(|name| stage(&[name], name, "reward_end")));
        Results::assemble(header, &levels(120), &rows).unwrap()
    }

    /// Better than both parents on every level, and as long as SFT.
    pub(crate) const BEST: Behavior =
        Behavior { accuracy: [1.0, 0.9, 0.7, 0.6, 0.5], truncated: 0.0, ..LONG };

    fn outcomes(results: &Results, by: &str) -> Vec<(String, Outcome)> {
        let lineage = Lineage::of(results);
        let dilemma = Dilemma::of(&Study::of(results, &lineage)).unwrap();
        let split = dilemma.splits.into_iter().find(|split| split.by == by).unwrap();
        split.rows.into_iter().map(|standing| (standing.row, standing.verdict)).collect()
    }

    #[test]
    fn a_combination_beats_the_dilemma_only_if_it_keeps_both_halves() {
        let brief = Behavior { num_tokens: 16, num_waits: 0, ..BEST };
        let results = combined(&[("best", BEST), ("as_sft", LONG), ("brief", brief)]);
        let want = [
            (SFT, Outcome::Parent),
            (RL, Outcome::Parent),
            ("best", Outcome::Beats),
            ("as_sft", Outcome::Caught),
            ("brief", Outcome::NotTestable),
        ];
        let want = want.map(|(row, outcome)| (row.to_owned(), outcome));
        for by in ["knob", "level"] {
            assert_eq!(outcomes(&results, by), want, "{by}");
        }
    }

    #[test]
    fn each_half_is_held_against_the_parent_that_is_better_there() {
        let results = combined(&[("best", BEST)]);
        let lineage = Lineage::of(&results);
        let dilemma = Dilemma::of(&Study::of(&results, &lineage)).unwrap();
        let by_level = &dilemma.splits[1].rows[2];
        assert_eq!((by_level.hard.less.as_str(), by_level.easy.less.as_str()), (SFT, RL));
        let Interval { mean, .. } = by_level.tokens_to_parent;
        assert!((mean - 60.0 / 18.0).abs() < 0.1, "{mean}");
        let mut without = results.clone();
        without.rows.retain(|row| row.name != RL);
        let lineage = Lineage::of(&without);
        assert_eq!(Dilemma::of(&Study::of(&without, &lineage)), None);
    }
}
