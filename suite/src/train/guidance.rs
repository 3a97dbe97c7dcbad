//! Demonstrations that are learned where rollouts fail: how much of one is given, and what its tokens cost.
//!
//! Knows nothing of models. A new loss on demonstrations is a variant of [`Weighting`] and an arm of [`loss`]. Deviations
//! from the study: it does not give the weight of the SFT loss where training is interleaved, nor the shape of the prefix's
//! schedule; the recipe gives both.

use crate::recipe::Weighting;

/// The loss of the learned tokens of one group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DemonstrationLoss {
    /// Weighted so that the groups of an update add up.
    pub(super) value: f64,
    /// Slope of the loss along the log-probability of each token.
    pub(super) slopes: Vec<f64>,
}

/// What demonstrations of an update share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guided {
    /// Share of the update's questions that have a demonstration; every question weighs the same.
    pub(super) share: f64,
    /// Tokens of all demonstrations of the update.
    pub(super) num_tokens: usize,
}

/// Computes the loss of a demonstration's tokens from their log-probabilities (nats).
pub(super) fn loss(weighting: &Weighting, log_probs: &[f64], guided: Guided) -> DemonstrationLoss {
    match weighting {
        // The mean over the update's demonstrations.
        Weighting::Sft { weight } => {
            let weight = weight * guided.share / guided.num_tokens.max(1) as f64;
            let value = -(log_probs.iter().sum::<f64>() * weight);
            DemonstrationLoss { value, slopes: vec![-weight; log_probs.len()] }
        }
    }
}

/// The share of a demonstration that is given where `done` is the share of the stage's steps that is behind: all of it
/// in the first step, nothing from `until` on; always all of it if `until` is 0.
pub(super) fn prefix_share(until: f64, done: f64) -> f64 {
    if until > 0.0 { (1.0 - done / until).clamp(0.0, 1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_shrinks_from_all_to_nothing() {
        let shares = [0.0, 0.35, 0.7, 1.0].map(|done| prefix_share(0.7, done));
        for (share, want) in shares.into_iter().zip([1.0, 0.5, 0.0, 0.0]) {
            assert!((share - want).abs() < 1e-12, "{share} {want}");
        }
        assert!((prefix_share(0.0, 0.9) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn slopes_are_those_of_the_value() {
        let guided = Guided { share: 0.5, num_tokens: 7 };
        let log_probs = [-0.5, -2.0, -3.0];
        for weighting in [Weighting::Sft { weight: 0.3 }] {
            let slopes = loss(&weighting, &log_probs, guided).slopes;
            for (i, slope) in slopes.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut log_probs = log_probs;
                    log_probs[i] += by;
                    loss(&weighting, &log_probs, guided).value
                };
                let want = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((slope - want).abs() < 1e-6, "{weighting:?}: {slope} {want}");
            }
        }
    }
}
