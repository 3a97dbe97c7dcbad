//! The registers that a base reads: how short a brief answer is, and what asks for the others.
//!
//! Does not know how a solution is put in words.

use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::MAX_HOPS;
use synergy_hint::hint;

use crate::recipe::fault::{Checked, require, within};

/// The registers of the families' solutions: brief, dense and long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistersSpec {
    /// Weight of brief answers of at most 1, 2, 3 … statements; the number is drawn for each answer.
    pub statements: Vec<f64>,
    /// Asks for the dense register: every step, without words.
    pub dense_suffix: String,
    /// Asks for the long register: every step in words, with a second look at each.
    pub long_suffix: String,
    /// Share of looks that take a cell for another, in every register; only the long one looks again. 0 to 1.
    pub misread: f64,
}

impl RegistersSpec {
    /// Checks the table of a recipe whose questions take at least `fewest` steps.
    pub(super) fn check(&self, fewest: usize) -> Checked {
        let Self { statements, dense_suffix, long_suffix, misread } = self;
        require!(
            !statements.is_empty() && statements.len() <= MAX_HOPS,
            "statements",
            "statements has {} weights, not 1 to {MAX_HOPS}",
            statements.len()
        );
        for weight in statements {
            within("statements", *weight, 0.0.., "weights of 0 or more")?;
        }
        require!(
            statements.iter().sum::<f64>() > 0.0,
            "statements",
            "all weights of statements are 0"
        );
        let most = self.most_statements();
        require!(
            most >= fewest,
            "statements",
            hint!(
                "brief answers have at most {most} statements, and every question takes {fewest} steps or more",
                "weights for {fewest} statements or more, or questions of fewer steps"
            )
        );
        for (key, suffix) in [("dense_suffix", dense_suffix), ("long_suffix", long_suffix)] {
            require!(!suffix.trim().is_empty(), key, "{key} is empty, so it asks for nothing");
        }
        require!(
            dense_suffix != long_suffix,
            "long_suffix",
            "dense_suffix and long_suffix ask for the same"
        );
        within("misread", *misread, 0.0..=1.0, "0 to 1")
    }

    /// The instruction that asks for `register`.
    pub fn suffix(&self, register: AskedRegister) -> &str {
        match register {
            AskedRegister::Dense => &self.dense_suffix,
            AskedRegister::Long => &self.long_suffix,
        }
    }

    /// The most statements that a brief answer has.
    pub fn most_statements(&self) -> usize {
        self.statements.iter().rposition(|weight| *weight > 0.0).map_or(0, |last| last + 1)
    }
}

/// A register that a model can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedRegister {
    /// Every step, without words.
    Dense,
    /// Every step in words, with a second look at each.
    Long,
}
