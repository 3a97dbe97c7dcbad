//! The likelihood of learned tokens, and what each weighs by its own probability.
//!
//! Does not know where tokens come from.

use synergy_report::cost::StepFigures;

use super::Loss;
use crate::recipe::TokenWeight;

/// The negative log-likelihood in nats: `weight` times the sum over predictions, each times what it weighs by its own
/// probability, if it weighs by that; their mean is a figure then.
pub(super) fn sft_loss(log_probs: &[f32], weight: f64, by: Option<TokenWeight>) -> Loss {
    let log_probs = || log_probs.iter().map(|x| f64::from(*x));
    let Some(by) = by else {
        let slopes = vec![-weight as f32; log_probs().len()];
        let value = -weight * log_probs().sum::<f64>();
        return Loss { value, slopes, figures: StepFigures::new() };
    };
    // The weights are numbers here: no slope runs through them.
    let weights: Vec<f64> = log_probs().map(|log_prob| weight * weight_of(by, log_prob)).collect();
    Loss {
        value: -weights.iter().zip(log_probs()).map(|(weight, x)| weight * x).sum::<f64>(),
        slopes: weights.iter().map(|weight| -weight as f32).collect(),
        figures: [("token_weight".to_owned(), weights.iter().sum())].into(),
    }
}

/// The weight of a learned token by its log-probability (nats).
pub(super) fn weight_of(by: TokenWeight, log_prob: f64) -> f64 {
    let p = log_prob.exp();
    match by {
        TokenWeight::Dft {} => p,
        TokenWeight::Phi {} => p * (1.0 - p),
        TokenWeight::TrustRegion { alpha } => (p / alpha).min(1.0),
        TokenWeight::Gft { tau } => {
            if p < tau {
                p
            } else {
                1.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_weigh_by_their_probability_are_those_of_the_reference() {
        #[derive(serde::Deserialize)]
        struct Recorded {
            cases: Vec<Case>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            token_weight: TokenWeight,
            log_probs: Vec<f64>,
            loss: f64,
            gradient: Vec<f64>,
        }
        let text = include_str!("../../../golden/parity/fixtures/demonstrations.json");
        let Recorded { cases } = serde_json::from_str(text).unwrap();
        assert_eq!(cases.len(), 6);
        for Case { token_weight, log_probs, loss, gradient } in cases {
            let log_probs: Vec<f32> = log_probs.into_iter().map(|x| x as f32).collect();
            let weight = 1.0 / log_probs.len() as f64;
            let found = sft_loss(&log_probs, weight, Some(token_weight));
            assert!((found.value - loss).abs() < 1e-6, "{token_weight:?}: {}", found.value);
            for (slope, want) in found.slopes.iter().zip(&gradient) {
                assert!(
                    (f64::from(*slope) - want).abs() < 1e-7,
                    "{token_weight:?}: {slope} {want}"
                );
            }
            let mean = -gradient.iter().sum::<f64>();
            assert!((found.figures["token_weight"] - mean).abs() < 1e-6, "{token_weight:?}");
        }
    }
}
