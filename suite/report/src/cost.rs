//! What training has cost, so that accuracy can be read per budget.
//!
//! This module does not know clocks or models beyond their number of parameters. The formula for operations is the usual
//! one (Kaplan et al. 2020, section 2.1): 2 for each parameter of the decoder and token forward, twice as
//! many backward. The embedding is a look-up and is left out, the head is counted; attention's own products
//! are left out, and so is the tower, which every regime freezes and runs once a picture.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Figures of one training step by name: `loss`, `reward`, `length`, …
pub type StepFigures = BTreeMap<String, f64>;

/// What training has cost: one stage, or a regime with every stage it builds on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Tokens sampled in rollouts and for data.
    pub tokens_generated: u64,
    /// Tokens passed through the model forward and backward, prompts and every epoch counted.
    pub tokens_trained: u64,
    /// Tokens passed through it forward only: prompts of rollouts, sampled tokens, and the reference policy's.
    pub tokens_forward: u64,
    /// Updates of the parameters.
    pub optimizer_steps: u64,
    /// Floating-point operations: 2 for each of the decoder's parameters and token forward, twice as many backward.
    #[schemars(range(min = 0))]
    pub flops: f64,
    /// Wall time in seconds.
    #[schemars(range(min = 0))]
    pub wall_time_s: f64,
}

/// A regime's cost in one seed, with every stage it builds on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Name of the regime's row.
    pub regime: String,
    /// Training seed.
    pub seed: u64,
    /// What it has cost.
    pub cost: Cost,
}

impl Cost {
    /// Adds up the cost of `steps`, whose figures count tokens. `forward_flops` is the number of floating-point operations
    /// of one token's way forward through the decoder.
    pub fn of(
        steps: &[StepFigures],
        optimizer_steps: usize,
        forward_flops: f64,
        wall_time_s: f64,
    ) -> Cost {
        let sum = |name: &str| steps.iter().filter_map(|s| s.get(name)).sum::<f64>();
        let (trained, forward) = (sum("tokens_trained"), sum("tokens_forward"));
        Cost {
            tokens_generated: sum("tokens_generated") as u64,
            tokens_trained: trained as u64,
            tokens_forward: forward as u64,
            optimizer_steps: optimizer_steps as u64,
            flops: forward_flops * (3.0 * trained + forward),
            wall_time_s,
        }
    }

    /// Returns the sum of two costs.
    pub fn plus(self, other: Cost) -> Cost {
        Cost {
            tokens_generated: self.tokens_generated + other.tokens_generated,
            tokens_trained: self.tokens_trained + other.tokens_trained,
            tokens_forward: self.tokens_forward + other.tokens_forward,
            optimizer_steps: self.optimizer_steps + other.optimizer_steps,
            flops: self.flops + other.flops,
            wall_time_s: self.wall_time_s + other.wall_time_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_follow_the_formula_and_costs_add_up() {
        let figures = |pairs: &[(&str, f64)]| -> StepFigures {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let steps = [
            figures(&[("tokens_trained", 10.0), ("loss", 1.0)]),
            figures(&[("tokens_trained", 5.0), ("tokens_forward", 8.0), ("tokens_generated", 3.0)]),
        ];
        let cost = Cost::of(&steps, 4, 100.0, 2.0);
        assert_eq!((cost.tokens_trained, cost.tokens_forward, cost.tokens_generated), (15, 8, 3));
        assert!((cost.flops - 5300.0).abs() < 1e-9);
        let twice = cost.plus(cost);
        assert_eq!((twice.optimizer_steps, twice.tokens_trained), (8, 30));
        assert!((twice.flops / cost.flops - 2.0).abs() < 1e-12);
    }
}
