//! Which regimes and seeds of a recipe are run.
//!
//! Does not know how anything is planned. The base and its controls are always run: every gain is measured against them.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use synergy_hint::hint;
use synergy_report::score::{Results, RowKind};

use crate::recipe::{BASE, Recipe};

/// More seeds than anybody waits for: a mistyped range is refused before it is planned.
const SEEDS_MAX: u64 = 100;

/// Shown with every refused list of seeds.
const SEEDS_HINT: &str = "--seeds 1..4 for 1, 2, 3 and 4; --seeds 1,3; --seeds 2";

/// The part of a recipe that is run; all of it by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names of regimes; `None` for all.
    pub regimes: Option<Vec<String>>,
    /// Seeds, the recipe's or others; `None` for the recipe's.
    pub seeds: Option<Vec<u64>>,
}

impl Selection {
    /// The part of a recipe that `results` are of.
    pub fn of(results: &Results) -> Selection {
        if results.is_whole() {
            return Selection::default();
        }
        let regimes = || results.rows.iter().filter(|row| row.kind == RowKind::Regime);
        let seeds: BTreeSet<u64> =
            regimes().flat_map(|row| row.seeds.iter().map(|seed| seed.seed)).collect();
        Selection {
            regimes: Some(regimes().map(|row| row.name.clone()).collect()),
            seeds: Some(seeds.into_iter().collect()),
        }
    }

    /// Checks that `recipe` has what is selected.
    ///
    /// # Errors
    /// If it has no regime of a name, or nothing is selected.
    pub fn check(&self, recipe: &Recipe) -> Result<()> {
        let known = || recipe.regimes.iter().map(|regime| regime.name.as_str());
        for name in self.regimes.iter().flatten() {
            if name != BASE && !known().any(|other| other == name) {
                let known: Vec<&str> = known().collect();
                bail!(hint!(
                    "unknown regime `{name}`",
                    ("regimes of `{}` are {}", recipe.name, known.join(", "))
                ));
            }
        }
        let is_empty = self.regimes.as_ref().is_some_and(Vec::is_empty);
        ensure!(
            !is_empty,
            hint!("no regime is selected", "--only rl,sft; without it, all are run")
        );
        Ok(())
    }

    /// Tells whether the regime `name` is run.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.regimes.as_ref().is_none_or(|names| names.iter().any(|own| own == name))
    }

    /// The seeds that are run: those of the recipe in its order, then others.
    pub(super) fn seeds(&self, recipe: &Recipe) -> Vec<u64> {
        let Some(seeds) = &self.seeds else { return recipe.seeds.clone() };
        let own = recipe.seeds.iter().copied().filter(|seed| seeds.contains(seed));
        own.chain(self.extra_seeds(recipe)).collect()
    }

    /// The seeds that the recipe does not have, in order.
    pub(super) fn extra_seeds(&self, recipe: &Recipe) -> Vec<u64> {
        let seeds: BTreeSet<u64> = self.seeds.iter().flatten().copied().collect();
        seeds.into_iter().filter(|seed| !recipe.seeds.contains(seed)).collect()
    }

    /// The options of the command line that select this, each with a space before it.
    pub fn words(&self) -> String {
        let regimes = self.regimes.as_ref().map(|names| format!(" --only {}", names.join(",")));
        let seeds = self.seeds.as_ref().map(|seeds| {
            let all: Vec<String> = seeds.iter().map(u64::to_string).collect();
            format!(" --seeds {}", all.join(","))
        });
        regimes.into_iter().chain(seeds).collect()
    }
}

/// Reads seeds such as `1..4`, which has both ends, `1,3` or `2`.
///
/// # Errors
/// If the text is nothing of the kind, a range runs backwards, a seed occurs twice or there are too many.
pub fn seeds_of(text: &str) -> Result<Vec<u64>> {
    let mut seeds: Vec<u64> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else {
            bail!(hint!("`{part}` is neither a seed nor a range of seeds", "{SEEDS_HINT}"));
        };
        ensure!(first <= last, hint!("the seeds `{part}` run backwards", "{SEEDS_HINT}"));
        ensure!(
            last - first < SEEDS_MAX,
            hint!("the seeds `{part}` are more than {SEEDS_MAX}", "{SEEDS_HINT}")
        );
        for seed in first..=last {
            ensure!(!seeds.contains(&seed), hint!("seed {seed} occurs twice", "{SEEDS_HINT}"));
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_ranges_with_both_ends_and_lists() {
        for (text, want) in [
            ("2", vec![2]),
            ("1..4", vec![1, 2, 3, 4]),
            ("1,3", vec![1, 3]),
            ("1..2, 7", vec![1, 2, 7]),
            ("5..5", vec![5]),
        ] {
            assert_eq!(seeds_of(text).unwrap(), want, "{text}");
        }
        for text in
            ["", "x", "1,", "1..", "..3", "1..x", "3..1", "1,1", "1..3,2", "0..100", "-1", "1..=3"]
        {
            let said = synergy_hint::text(&seeds_of(text).unwrap_err());
            assert!(said.contains("\nhint: --seeds 1..4"), "{text}: {said}");
        }
    }
}
