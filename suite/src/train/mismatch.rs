//! Answers that another engine gave: how far its probabilities are from those of training, and what corrects for it.
//!
//! Does not know which engine it was. The policy's own log-probabilities of the sampled tokens take the place of the
//! engine's, as if the suite had sampled them, and the ratio of both is an importance weight.

use anyhow::{Result, ensure};
use synergy_hint::hint;
use synergy_models::weights::ComputeDtype;

use crate::recipe::{Correction, CorrectionLevel};
use crate::train::StepFigures;
use crate::train::group::Rollout;

/// The largest logarithm of an answer's ratio before it is cut, so that the exponential stays a number.
const LOG_RATIO_MAX: f64 = 20.0;

/// How far apart sampling and training may be before any update: both compute the same, one with cached keys and one
/// without. A maximum over hundreds of thousands of tokens is a statement about the rarest of them, so it only warns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GapLimit {
    /// A sampled token's log-probability is rounded by at most this many nats.
    pub nats: f64,
    /// The share of tokens that may be beyond it, in an update.
    pub share: f64,
}

/// In f32, where at most 4.4e-4 nats have been seen.
const GAP_LIMIT: GapLimit = GapLimit { nats: 1e-3, share: 1e-3 };
/// In bf16, where a log-probability is up to 0.2 from that of f32, in sampling and in training. Public measurements of two
/// engines on one model of 7B have a root mean square of 0.04 nats, and longer tails than that.
const GAP_LIMIT_BF16: GapLimit = GapLimit { nats: 0.5, share: 1e-2 };

impl GapLimit {
    /// The limit where both compute in `dtype`.
    pub fn of(dtype: ComputeDtype) -> GapLimit {
        match dtype {
            ComputeDtype::F32 => GAP_LIMIT,
            ComputeDtype::Bf16 => GAP_LIMIT_BF16,
        }
    }
}

/// How far an engine's log-probabilities are from those of training, token by token.
#[derive(Debug, Default)]
pub(super) struct Mismatch {
    /// The distance of each sampled token in nats.
    gaps: Vec<f64>,
    /// The importance weight of each.
    weights: Vec<f64>,
    /// Tokens whose weight was cut.
    num_cut: usize,
}

impl Mismatch {
    /// Gives `rollout` the policy's `own` log-probabilities in place of the engine's, and weights where `correction` asks for
    /// them.
    pub(super) fn take(
        &mut self,
        rollout: &mut Rollout,
        own: Vec<f64>,
        correction: Option<Correction>,
    ) {
        let log_ratios: Vec<f64> =
            own.iter().zip(&rollout.log_probs).map(|(own, theirs)| own - theirs).collect();
        self.gaps.extend(log_ratios.iter().map(|ratio| ratio.abs()));
        rollout.log_probs = own;
        let Some(correction) = correction else { return };
        let (weights, num_cut) = weights(correction, &log_ratios);
        self.num_cut += num_cut;
        self.weights.extend(&weights);
        rollout.weights = weights;
    }

    /// Adds what was found to `figures`.
    ///
    /// # Errors
    /// If more tokens are apart than rounding explains: a maximum is a statement about the rarest of them, and ends nothing.
    pub(super) fn tell(mut self, limit: GapLimit, figures: &mut StepFigures) -> Result<()> {
        self.gaps.sort_by(f64::total_cmp);
        let num = self.gaps.len().max(1) as f64;
        // NaN is beyond.
        let within = self.gaps.iter().filter(|gap| **gap <= limit.nats).count() as f64;
        let beyond = (self.gaps.len() as f64 - within) / num;
        let quantile = |share: f64| {
            let place = (share * self.gaps.len() as f64) as usize;
            self.gaps.get(place.min(self.gaps.len().saturating_sub(1))).copied().unwrap_or(0.0)
        };
        let mean = self.gaps.iter().sum::<f64>() / num;
        for (name, value) in [
            ("engine_gap_nats", mean),
            ("engine_gap_p99", quantile(0.99)),
            ("engine_gap_max", quantile(1.0)),
            ("engine_gap_share", beyond),
        ] {
            figures.insert(name.to_owned(), value);
        }
        if !self.weights.is_empty() {
            let mean = self.weights.iter().sum::<f64>() / self.weights.len() as f64;
            figures.insert("engine_weight".to_owned(), mean);
            figures.insert("engine_weights_cut".to_owned(), self.num_cut as f64 / num);
        }
        ensure!(
            mean.is_finite() && beyond <= limit.share,
            hint!(
                (
                    "the engine and training give {:.2} % of sampled tokens log-probabilities more than {} \
                     apart, {mean:.2e} in the mean",
                    100.0 * beyond,
                    limit.nats
                ),
                (
                    "more than {:.1} % is no rounding: does the engine have the weights of this step?",
                    100.0 * limit.share
                )
            )
        );
        Ok(())
    }
}

/// The importance weight of each token, and the number of tokens whose weight was cut.
fn weights(correction: Correction, log_ratios: &[f64]) -> (Vec<f64>, usize) {
    let Correction { level, max } = correction;
    let of = |log_ratio: f64| log_ratio.clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX).exp();
    let raw: Vec<f64> = match level {
        CorrectionLevel::Token => log_ratios.iter().map(|ratio| of(*ratio)).collect(),
        CorrectionLevel::Sequence => vec![of(log_ratios.iter().sum()); log_ratios.len()],
    };
    let num_cut = raw.iter().filter(|weight| **weight > max).count();
    (raw.into_iter().map(|weight| weight.min(max)).collect(), num_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG_RATIOS: [f64; 3] = [0.1, -0.3, 1.2];

    fn found(level: CorrectionLevel, max: f64) -> (Vec<f64>, usize) {
        weights(Correction { level, max }, &LOG_RATIOS)
    }

    /// The values of `compute_rollout_correction_weights` in verl 0.6, with a threshold of 2: exponentials of clamped
    /// log-ratios, of tokens or of their sum, cut above.
    #[test]
    fn weights_are_ratios_of_tokens_or_answers_cut_above() {
        let close = |found: &[f64], wanted: &[f64]| {
            assert_eq!(found.len(), wanted.len());
            for (a, b) in found.iter().zip(wanted) {
                assert!((a - b).abs() < 1e-12, "{found:?}");
            }
        };
        let (tokens, num_cut) = found(CorrectionLevel::Token, 2.0);
        close(&tokens, &[0.1_f64.exp(), (-0.3_f64).exp(), 2.0]);
        assert_eq!(num_cut, 1);
        let (answer, num_cut) = found(CorrectionLevel::Sequence, 3.0);
        close(&answer, &[1.0_f64.exp(); 3]);
        assert_eq!(num_cut, 0);
        let far = Correction { level: CorrectionLevel::Sequence, max: 1e12 };
        close(&weights(far, &[900.0]).0, &[20.0_f64.exp()]);
    }

    #[test]
    fn the_policys_own_log_probabilities_take_the_place_of_the_engines() {
        let mut rollout = Rollout { log_probs: vec![-1.0, -2.0], ..Rollout::default() };
        let mut mismatch = Mismatch::default();
        mismatch.take(&mut rollout, vec![-1.5, -2.0], None);
        assert_eq!(
            (rollout.log_probs.as_slice(), rollout.weights.len()),
            ([-1.5, -2.0].as_slice(), 0)
        );
        let token = Correction { level: CorrectionLevel::Token, max: 2.0 };
        let mut other = Rollout { log_probs: vec![-1.0], ..Rollout::default() };
        mismatch.take(&mut other, vec![-1.0], Some(token));
        assert_eq!(other.weights, [1.0]);
        let mut figures = StepFigures::new();
        let limit = GapLimit { nats: 0.4, share: 0.5 };
        mismatch.tell(limit, &mut figures).unwrap();
        let wanted = [
            ("engine_gap_max", 0.5),
            ("engine_gap_nats", 0.5 / 3.0),
            ("engine_gap_p99", 0.5),
            ("engine_gap_share", 1.0 / 3.0),
            ("engine_weight", 1.0),
            ("engine_weights_cut", 0.0),
        ];
        assert_eq!(figures, wanted.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn one_token_far_away_ends_nothing_and_many_do() {
        let tell = |gaps: Vec<f64>| {
            let mismatch = Mismatch { gaps, ..Mismatch::default() };
            mismatch.tell(GapLimit::of(ComputeDtype::F32), &mut StepFigures::new())
        };
        let mut gaps = vec![1e-6; 5000];
        gaps[17] = 3.0;
        tell(gaps.clone()).unwrap();
        gaps[..10].fill(2e-3);
        let error = synergy_hint::text(&tell(gaps).unwrap_err());
        assert!(
            error.contains("0.22 % of sampled tokens") && error.contains("\nhint: "),
            "{error}"
        );
        tell(vec![f64::NAN; 3]).unwrap_err();
        tell(Vec::new()).unwrap();
    }
}
