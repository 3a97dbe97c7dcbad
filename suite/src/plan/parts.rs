//! The order of work: the base first, then for each seed every regime with the stages that nothing before it has trained.
//!
//! Breadth first: all rows of the first seed come before any of the second, so that a first table is there soon and gets
//! better. No key and no stream depends on the order.

use std::collections::BTreeSet;

use synergy_report::rows::regime_and_control;
use synergy_report::score::Missing;

use super::{Plan, PlannedRow, PlannedStage, Selection};
use crate::recipe::{BASE, Recipe};

/// What comes together: the base's rows, or a row of one seed with its stages and controls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Name of the regime; `base` for the base and its controls.
    pub regime: String,
    /// The seed of a regime.
    pub seed: Option<u64>,
    /// Places in [`Plan::stages`], each after those that it needs.
    pub stages: Vec<usize>,
    /// Places in [`Plan::rows`].
    pub rows: Vec<usize>,
}

/// Divides stages and rows into parts, in the order of work; the first `num_base` rows are the base's.
pub(super) fn parts(
    recipe: &Recipe,
    seeds: &[u64],
    stages: &[PlannedStage],
    rows: &[PlannedRow],
    num_base: usize,
) -> Vec<Part> {
    let base = (0..num_base).collect();
    let base = Part { regime: BASE.to_owned(), seed: None, stages: Vec::new(), rows: base };
    let mut parts = vec![base];
    let mut taken = BTreeSet::new();
    for &seed in seeds {
        for regime in &recipe.regimes {
            let is_own =
                |stage: &PlannedStage| stage.seed == seed && stage.regimes.contains(&regime.name);
            let own = (0..stages.len()).filter(|place| is_own(&stages[*place]));
            let stages: Vec<usize> = own.filter(|place| taken.insert(*place)).collect();
            let is_own = |row: &PlannedRow| {
                row.seed == seed && regime_and_control(&row.name).0 == regime.name
            };
            let rows: Vec<usize> =
                (num_base..rows.len()).filter(|place| is_own(&rows[*place])).collect();
            if !stages.is_empty() || !rows.is_empty() {
                parts.push(Part { regime: regime.name.clone(), seed: Some(seed), stages, rows });
            }
        }
    }
    parts
}

impl Plan {
    /// Stages in the order of work.
    pub fn stages_in_order(&self) -> impl Iterator<Item = &PlannedStage> {
        self.parts.iter().flat_map(|part| &part.stages).map(|place| &self.stages[*place])
    }

    /// What the recipe has and a run lacks that has evaluated `rows`.
    pub fn missing<'a>(&self, rows: impl IntoIterator<Item = &'a PlannedRow>) -> Vec<Missing> {
        let done: BTreeSet<(&str, u64)> =
            rows.into_iter().map(|row| (row.name.as_str(), row.seed)).collect();
        let whole = self.whole.iter().map(|(name, seed)| (name.as_str(), *seed));
        Missing::of(whole.filter(|row| !done.contains(row)))
    }

    /// Tells whether less or more than the recipe is planned.
    pub fn is_selected(&self) -> bool {
        !self.extra_seeds.is_empty() || !self.missing(&self.rows).is_empty()
    }
}

/// What is planned of a recipe, as a line of the plan: regimes and seeds; `None` for all of it.
pub(super) fn selected(plan: &Plan, selection: &Selection) -> Option<String> {
    plan.is_selected().then(|| {
        format!(
            "  partial:{}; such a run shows what it has and never becomes golden",
            selection.words()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Place;
    use crate::key::Key;
    use crate::plan::{KeyInputs, plan_selected};
    use serde_json::json;
    use synergy_models::qwen2_5_vl::config::{Preset, SpecialIds, VlmConfig};

    /// A plan of profile `smoke`, which has three seeds.
    fn planned(recipe: &Recipe, selection: &Selection) -> Plan {
        let ids =
            SpecialIds { image: 0, vision_start: 0, vision_end: 0, bos: 0, eos: 0, video: None };
        let inputs = KeyInputs {
            base: Key::of(&json!("base")),
            clone: None,
            config: &VlmConfig::preset(Preset::Nano, 512, ids),
            backend: "flex".to_owned(),
            place: Place::Slices,
            code: "code",
            files: [].into(),
            external: None,
            num_external: 0,
            num_published: 0,
            planted: None,
            base_seed: 0,
        };
        plan_selected(recipe, &inputs, selection)
    }

    fn smoke() -> Recipe {
        Recipe::parse(include_str!("../../recipes/smoke.toml")).unwrap()
    }

    fn only(regimes: &[&str], seeds: &[u64]) -> Selection {
        let names = regimes.iter().map(|name| (*name).to_owned()).collect();
        Selection { regimes: Some(names), seeds: Some(seeds.to_vec()) }
    }

    #[test]
    fn work_is_the_base_first_then_every_regime_of_one_seed_after_the_other() {
        let recipe = smoke();
        let plan = planned(&recipe, &Selection::default());
        let order: Vec<(&str, Option<u64>)> =
            plan.parts.iter().map(|part| (part.regime.as_str(), part.seed)).collect();
        let regimes = || recipe.regimes.iter().map(|regime| regime.name.as_str()).skip(1);
        let of_seed = |seed: &u64| regimes().map(|name| (name, Some(*seed))).collect::<Vec<_>>();
        let mut want = vec![("base", None)];
        want.extend(recipe.seeds.iter().flat_map(of_seed));
        assert_eq!(order, want);
        // Everything once, and nothing before what it needs.
        let mut rows: Vec<usize> = plan.parts.iter().flat_map(|part| part.rows.clone()).collect();
        rows.sort_unstable();
        assert_eq!(rows, Vec::from_iter(0..plan.rows.len()));
        let mut there: BTreeSet<&Key> = BTreeSet::new();
        let base = Key::of(&json!("base"));
        there.insert(&base);
        for part in &plan.parts {
            for stage in part.stages.iter().map(|place| &plan.stages[*place]) {
                let needed = stage.from.iter().chain(&stage.parents).chain(&stage.data);
                assert!(needed.clone().all(|key| there.contains(key)), "{}", stage.name);
                assert!(there.insert(&stage.key), "{} twice", stage.name);
            }
            for row in part.rows.iter().map(|place| &plan.rows[*place]) {
                assert!(there.contains(&row.checkpoint), "{}", row.name);
            }
        }
        assert_eq!(there.len(), 1 + plan.stages.len());
        assert!(!plan.is_selected() && plan.missing(&plan.rows).is_empty());
    }

    #[test]
    fn what_is_selected_is_planned_as_it_is_in_the_whole() {
        let recipe = smoke();
        let whole = planned(&recipe, &Selection::default());
        let part = planned(&recipe, &only(&["rl", "two_stage"], &[2, 9]));
        assert!(part.stages.iter().any(|stage| stage.name == "sft"), "two_stage needs it");
        for stage in part.stages.iter().filter(|stage| stage.seed == 2) {
            assert!(whole.stages.contains(stage), "{}", stage.name);
        }
        let names: BTreeSet<(&str, u64)> = part
            .rows
            .iter()
            .skip(6)
            .map(|row| (regime_and_control(&row.name).0, row.seed))
            .collect();
        assert_eq!(
            Vec::from_iter(names),
            [("rl", 2), ("rl", 9), ("two_stage", 2), ("two_stage", 9)]
        );
        for row in part.rows.iter().filter(|row| row.seed != 9) {
            assert!(whole.rows.contains(row), "{}", row.name);
        }
        assert_eq!(part.extra_seeds, [9]);
        let missing = part.missing(&part.rows);
        let of = |name: &str| missing.iter().find(|m| m.row == name).map(|m| m.seeds.clone());
        assert_eq!(of("rl"), Some(vec![1, 3]));
        assert_eq!(of("sft"), Some(vec![1, 2, 3]));
        assert_eq!((of("base"), of("levels")), (None, None));
        assert!(part.is_selected());
        // The base alone.
        let base = planned(&recipe, &only(&[BASE], &[1]));
        assert_eq!((base.parts.len(), base.stages.len()), (1, 0));
    }
}
