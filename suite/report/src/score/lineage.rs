//! What the rows of a run stand on, read off the stages that its results record. Pure.
//!
//! This module does not know the recipe. A stage's record names every regime that needs it, joined by `+`, and its figures
//! say what it did: a stage with a reward is RL, one with other steps is SFT on demonstrations, one that measured the
//! distance of its parents is a merge, and any other makes data. A stage that reads a model which others have trained
//! says so, and by what.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Results, RowKind, Training};
use crate::rows::regime_and_control;

/// A way of post-training.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Supervised fine-tuning on demonstrations.
    Sft,
    /// Reinforcement learning.
    Rl,
    /// A merge of models.
    Merge,
}

impl Way {
    /// As a person reads it.
    pub fn name(self) -> &'static str {
        StageKind::from(self).name()
    }
}

impl From<Way> for StageKind {
    fn from(way: Way) -> StageKind {
        match way {
            Way::Sft => StageKind::Sft,
            Way::Rl => StageKind::Rl,
            Way::Merge => StageKind::Merge,
        }
    }
}

/// What a stage did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageKind {
    /// Made data.
    Data,
    /// Trained on demonstrations.
    Sft,
    /// Trained with rewards.
    Rl,
    /// Merged two models.
    Merge,
    /// Read a model that others have trained.
    Published,
}

impl StageKind {
    fn of(stage: &Training) -> StageKind {
        let has = |name: &str| stage.summary.contains_key(name);
        if stage.published.is_some() {
            StageKind::Published
        } else if has("reward_end") {
            StageKind::Rl
        } else if has("sign_conflicts") {
            StageKind::Merge
        } else if stage.cost.optimizer_steps > 0 {
            StageKind::Sft
        } else {
            StageKind::Data
        }
    }

    fn name(self) -> &'static str {
        match self {
            StageKind::Data => "data",
            StageKind::Sft => "SFT",
            StageKind::Rl => "RL",
            StageKind::Merge => "merge",
            StageKind::Published => "published",
        }
    }
}

/// The stages of every row.
#[derive(Debug, Clone, Default)]
pub struct Lineage<'a> {
    /// Stages of each regime in the order of the record, each once.
    stages: BTreeMap<&'a str, Vec<(&'a str, StageKind)>>,
    /// What others have done to the models that each regime stands on.
    done_by_others: BTreeMap<&'a str, BTreeSet<StageKind>>,
}

impl<'a> Lineage<'a> {
    /// Reads what the rows of `results` stand on.
    pub fn of(results: &'a Results) -> Lineage<'a> {
        let mut lineage = Lineage::default();
        for stage in &results.training {
            for regime in stage.regime.split('+') {
                let own = lineage.stages.entry(regime).or_default();
                if !own.iter().any(|(name, _)| *name == stage.stage) {
                    own.push((&stage.stage, StageKind::of(stage)));
                }
                let ways = stage.published.iter().flatten().map(|way| StageKind::from(*way));
                lineage.done_by_others.entry(regime).or_default().extend(ways);
            }
        }
        lineage
    }

    /// The stages that a row stands on; a control of a regime stands on the regime's.
    fn stages(&self, row: &str) -> &[(&'a str, StageKind)] {
        self.stages.get(regime_and_control(row).0).map_or(&[], Vec::as_slice)
    }

    /// Names of the stages in which something was learned. A model that others have trained is the same for every seed, as
    /// the base is.
    pub fn trained(&self, row: &str) -> BTreeSet<&'a str> {
        let learns = |kind: StageKind| matches!(kind, StageKind::Sft | StageKind::Rl);
        self.stages(row).iter().filter(|(_, kind)| learns(*kind)).map(|(name, _)| *name).collect()
    }

    /// Tells whether both rows stand on one stage in which something was learned.
    pub fn are_related(&self, a: &str, b: &str) -> bool {
        !self.trained(a).is_disjoint(&self.trained(b))
    }

    /// Tells whether the row stands on a stage of this kind, or on a model to which others have done the same.
    pub fn has(&self, row: &str, kind: StageKind) -> bool {
        let by_others = self.done_by_others.get(regime_and_control(row).0);
        self.stages(row).iter().any(|(_, own)| *own == kind)
            || by_others.is_some_and(|kinds| kinds.contains(&kind))
    }

    /// Names of the regimes of `results` that stand on a model which others have trained, in their order.
    pub fn by_others<'r>(&self, results: &'r Results) -> Vec<&'r str> {
        let regimes = results.rows.iter().filter(|row| row.kind == RowKind::Regime);
        let names = regimes.map(|row| row.name.as_str());
        names.filter(|row| self.has(row, StageKind::Published)).collect()
    }

    /// Names of the stages, those that make data too, that both rows stand on.
    pub fn shared(&self, a: &str, b: &str) -> BTreeSet<&'a str> {
        let names = |row| self.stages(row).iter().map(|(name, _)| *name).collect::<BTreeSet<_>>();
        names(a).intersection(&names(b)).copied().collect()
    }

    /// How a row was trained: the kinds of its stages in the order of the record, repeats and data left out, such as
    /// `SFT > RL`; empty where nothing was trained.
    pub fn chain(&self, row: &str) -> String {
        chain(self.stages(row).iter().map(|(_, kind)| *kind))
    }

    /// As [`Lineage::chain`], of the trained stages that both rows stand on; empty if they share none.
    pub fn shared_chain(&self, a: &str, b: &str) -> String {
        let other = self.trained(b);
        let own = self.trained(a);
        let shared = |name: &str| own.contains(name) && other.contains(name);
        chain(self.stages(a).iter().filter(|(name, _)| shared(name)).map(|(_, kind)| *kind))
    }

    /// The class of rows that share their noise of training: how they were trained, and how they are asked where that is
    /// a control's. A regime without a recorded stage is a class of its own.
    pub fn class(&self, row: &str, is_trained: bool) -> String {
        let chain = self.chain(row);
        match (chain.is_empty(), is_trained, regime_and_control(row).1) {
            (true, false, _) => String::new(),
            (true, true, _) => format!("row {row}"),
            (false, _, None) => chain,
            (false, _, Some(control)) => format!("{chain}, {control}"),
        }
    }

    /// Tells whether a row combines both: it was trained with rewards, and stands on demonstrations or on a stage of
    /// row `sft` besides.
    pub fn is_hybrid(&self, row: &str, sft: &str) -> bool {
        row != sft
            && self.has(row, StageKind::Rl)
            && (self.has(row, StageKind::Sft) || !self.shared(row, sft).is_empty())
    }
}

fn chain(kinds: impl Iterator<Item = StageKind>) -> String {
    let mut names: Vec<&str> =
        kinds.filter(|kind| *kind != StageKind::Data).map(StageKind::name).collect();
    names.dedup();
    names.join(" > ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::score::fixture::study;

    fn stage(regime: &str, stage: &str, figure: &str, optimizer_steps: u64) -> Training {
        Training {
            regime: regime.to_owned(),
            seed: 1,
            stage: stage.to_owned(),
            cost: Cost { optimizer_steps, ..Cost::default() },
            summary: [(figure.to_owned(), 0.5)].into(),
            published: None,
        }
    }

    #[test]
    fn what_others_have_trained_is_no_training_of_ours_and_yet_a_combination() {
        let mut results = study(4, &[1]);
        let by = |regime: &str, name: &str, ways: &[Way]| Training {
            summary: [].into(),
            published: Some(ways.to_vec()),
            ..stage(regime, name, "", 0)
        };
        results.training = vec![
            by("sft", "sft_published", &[Way::Sft]),
            by("rl+more", "rl_published", &[Way::Rl]),
            by("two_stage", "two_stage_published", &[Way::Sft, Way::Rl]),
            by("unknown", "unknown_published", &[]),
            stage("more", "more", "loss_end", 40),
        ];
        let lineage = Lineage::of(&results);
        assert_eq!(lineage.chain("two_stage"), "published");
        assert_eq!(lineage.class("rl/shuffled", true), "published, shuffled");
        // Our training on top of a model of others is not trained like one from the base.
        assert_eq!(lineage.chain("more"), "published > SFT");
        assert!(lineage.trained("two_stage").is_empty() && !lineage.are_related("rl", "more"));
        let hybrids = ["sft", "rl", "two_stage", "unknown", "more"]
            .into_iter()
            .filter(|row| lineage.is_hybrid(row, "sft"));
        assert_eq!(hybrids.collect::<Vec<_>>(), ["two_stage", "more"]);
    }

    #[test]
    fn rows_stand_on_what_the_record_says() {
        let mut results = study(4, &[1]);
        results.training = vec![
            stage("sft+mixed+merged+interleaved", "traces", "examples", 0),
            stage("sft+sft_again+merged", "sft", "loss_end", 40),
            stage("sft_again", "sft_again", "loss_end", 40),
            stage("rl+merged+mixed", "grpo", "reward_end", 20),
            stage("rl_more", "asked", "examples", 0),
            stage("rl_more", "grpo_more", "reward_end", 20),
            stage("mixed", "sft_mixed", "loss_end", 30),
            stage("merged", "merged", "sign_conflicts", 0),
            stage("interleaved", "both", "reward_end", 20),
        ];
        let lineage = Lineage::of(&results);
        assert_eq!(lineage.chain("merged"), "SFT > RL > merge");
        assert_eq!(lineage.chain("mixed/shuffled"), "RL > SFT");
        assert_eq!(lineage.class("rl/shuffled", true), "RL, shuffled");
        assert_eq!(
            (lineage.class("base", false), lineage.class("new", true)),
            (String::new(), "row new".into())
        );
        assert_eq!(lineage.shared_chain("merged", "rl"), "RL");
        assert_eq!(lineage.shared_chain("interleaved", "sft"), "");
        let hybrids: Vec<&str> =
            ["sft", "sft_again", "rl", "rl_more", "mixed", "merged", "interleaved", "base"]
                .into_iter()
                .filter(|row| lineage.is_hybrid(row, "sft"))
                .collect();
        assert_eq!(hybrids, ["mixed", "merged", "interleaved"]);
    }
}
