//! Demonstrations that are learned where rollouts fail: how much of one is given, and what its tokens cost.
//!
//! Knows nothing of models. A new loss on demonstrations is a variant of [`Weighting`] and an arm of [`loss`]. Deviations
//! from the study: it does not give the weight of the SFT loss where training is interleaved, nor the shape of the prefix's
//! schedule; the recipe gives both.

use crate::recipe::{MeanOver, Weighting};

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
    /// Questions of the update, with a demonstration or without; at least 1.
    pub(super) num_questions: usize,
    /// Those of them that have one.
    pub(super) num_guided: usize,
    /// Tokens of all demonstrations of the update.
    pub(super) num_tokens: usize,
}

/// Computes the loss of a demonstration's tokens from their log-probabilities (nats).
pub(super) fn loss(weighting: &Weighting, log_probs: &[f64], guided: Guided) -> DemonstrationLoss {
    match weighting {
        Weighting::Sft { weight, mean_over } => {
            let weight = weight / guided.num_questions as f64;
            let weight = match mean_over.unwrap_or(MeanOver::Answers) {
                MeanOver::Answers => weight / log_probs.len().max(1) as f64,
                MeanOver::Tokens => {
                    weight * guided.num_guided as f64 / guided.num_tokens.max(1) as f64
                }
            };
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
    fn a_short_demonstration_weighs_as_much_as_a_long_one_or_as_its_tokens() {
        let guided = Guided { num_questions: 8, num_guided: 2, num_tokens: 100 };
        let of = |len: usize, mean_over| {
            let weighting = Weighting::Sft { weight: 0.4, mean_over };
            loss(&weighting, &vec![-1.0; len], guided).value
        };
        // Two of eight questions are a quarter of the loss, whichever way.
        for mean_over in [None, Some(MeanOver::Answers), Some(MeanOver::Tokens)] {
            let both = of(10, mean_over) + of(90, mean_over);
            assert!((both - 0.4 * 0.25).abs() < 1e-12, "{mean_over:?}: {both}");
            let share = if mean_over == Some(MeanOver::Tokens) { 0.1 } else { 0.5 };
            assert!((of(10, mean_over) / both - share).abs() < 1e-12, "{mean_over:?}");
        }
    }

    #[test]
    fn slopes_are_those_of_the_value() {
        let guided = Guided { num_questions: 4, num_guided: 2, num_tokens: 7 };
        let log_probs = [-0.5, -2.0, -3.0];
        for mean_over in [None, Some(MeanOver::Tokens)] {
            let weighting = Weighting::Sft { weight: 0.3, mean_over };
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
