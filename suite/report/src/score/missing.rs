//! What a run lacks of its recipe. Pure.
//!
//! This module does not know the recipe: who plans a run knows which rows it has. A run without anything missing and with
//! no other seeds is the recipe's whole run; only such a run becomes golden.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Results;

/// A row that the recipe has and the run lacks, in whole or in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Name of the row.
    #[schemars(length(min = 1))]
    pub row: String,
    /// The seeds of it that are missing, each once.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub seeds: Vec<u64>,
}

impl Missing {
    /// Joins rows of one name; they keep the order in which their names first occur.
    pub fn of<'a>(rows: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<Missing> {
        let mut joined: Vec<Missing> = Vec::new();
        for (row, seed) in rows {
            match joined.iter_mut().find(|known| known.row == row) {
                Some(known) => known.seeds.push(seed),
                None => joined.push(Missing { row: row.to_owned(), seeds: vec![seed] }),
            }
        }
        joined
    }
}

impl Results {
    /// Tells whether the run is its recipe's: it lacks no row and no seed, and has no seed that the recipe does not have.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.extra_seeds.is_empty()
    }

    /// The first row that is both there and missing.
    pub(super) fn there_and_missing(&self) -> Option<&str> {
        let is_there = |missing: &&Missing| {
            let seeds = self.row(&missing.row).into_iter().flat_map(|row| &row.seeds);
            seeds.into_iter().any(|seed| missing.seeds.contains(&seed.seed))
        };
        Some(self.missing.iter().find(is_there)?.row.as_str())
    }
}
