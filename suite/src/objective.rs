//! The losses as pure tensor functions: SFT, group advantages, clipped policy loss, KL.
//!
//! Knows no model and no text. GRPO is that of DeepSeekMath (Shao et al. 2024, equations 3 and 4)
//! as the study states it: advantage over the group's deviation, mean over the tokens of each
//! answer and then over answers, clip, KL inside the loss.

use burn::tensor::Tensor;

/// Group-normalised advantages `(reward - mean) / (deviation + epsilon)` with the deviation of a
/// sample (n - 1), as in TRL and verl. Zero where all rewards are equal.
pub fn advantages(rewards: &[f64], epsilon: f64) -> Vec<f64> {
    let n = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / n;
    let variance = rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let deviation = variance.sqrt();
    if deviation < 1e-9 {
        return vec![0.0; rewards.len()];
    }
    rewards.iter().map(|r| (r - mean) / (deviation + epsilon)).collect()
}

/// Weighted negative log-likelihood, in nats.
///
/// # Shapes
/// `log_probs` and `weights` `[tokens]`; returns `[1]`.
pub fn nll(log_probs: Tensor<1>, weights: Tensor<1>) -> Tensor<1> {
    (log_probs * weights).sum().neg()
}

/// What GRPO needs for each token of the answers in a batch; every vector is `[tokens]`.
#[derive(Debug, Clone)]
pub struct PolicyTokens {
    /// Under the policy being trained; carries the gradient.
    pub log_probs: Tensor<1>,
    /// Under the policy that sampled.
    pub old_log_probs: Tensor<1>,
    /// Under the frozen reference policy.
    pub reference_log_probs: Tensor<1>,
    pub advantages: Tensor<1>,
    /// 1 / (answers in the mini-batch x tokens of the answer).
    pub weights: Tensor<1>,
}

/// Policy loss plus `beta` times KL, and the KL itself, each `[1]`.
///
/// `-min(r A, clip(r, 1 - e, 1 + e) A) + beta (exp(d) - d - 1)` with `r = exp(lp - old)` and
/// `d = reference - lp`: the k3 estimator (Schulman 2020), which is never negative.
pub fn grpo(tokens: PolicyTokens, epsilon: f64, beta: f64) -> (Tensor<1>, Tensor<1>) {
    let PolicyTokens { log_probs, old_log_probs, reference_log_probs, advantages, weights } =
        tokens;
    let ratio = (log_probs.clone() - old_log_probs).exp();
    let clipped = ratio.clone().clamp(1.0 - epsilon, 1.0 + epsilon);
    let gain = (ratio * advantages.clone()).min_pair(clipped * advantages);
    let distance = reference_log_probs - log_probs;
    let kl = distance.clone().exp() - distance - 1.0;
    let loss = ((kl.clone().mul_scalar(beta) - gain) * weights.clone()).sum();
    (loss, (kl * weights).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use proptest::prelude::*;

    fn vector(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex().autodiff())
    }

    fn scalar(t: Tensor<1>) -> f32 {
        t.into_scalar::<f32>()
    }

    fn tokens(
        log_probs: Tensor<1>,
        old: &[f32],
        reference: &[f32],
        advantages: &[f32],
    ) -> PolicyTokens {
        PolicyTokens {
            log_probs,
            old_log_probs: vector(old),
            reference_log_probs: vector(reference),
            advantages: vector(advantages),
            weights: vector(&vec![1.0 / old.len() as f32; old.len()]),
        }
    }

    #[test]
    fn a_first_update_has_the_policy_gradient() {
        let lp = vector(&[-1.0, -2.0]).require_grad();
        let (loss, kl) =
            grpo(tokens(lp.clone(), &[-1.0, -2.0], &[-1.0, -2.0], &[1.0, -0.5]), 0.2, 0.005);
        assert!(scalar(kl).abs() < 1e-7);
        let gradient = lp.grad(&loss.backward()).unwrap().try_to_vec_as::<f32>().unwrap();
        assert!(
            (gradient[0] + 0.5).abs() < 1e-6 && (gradient[1] - 0.25).abs() < 1e-6,
            "{gradient:?}"
        );
    }

    #[test]
    fn beyond_the_clip_range_a_good_token_has_no_gradient_and_a_bad_one_has() {
        let lp = vector(&[0.0, 0.0]).require_grad();
        let (loss, _) =
            grpo(tokens(lp.clone(), &[-1.0, -1.0], &[0.0, 0.0], &[1.0, -1.0]), 0.2, 0.0);
        let gradient = lp.grad(&loss.backward()).unwrap().try_to_vec_as::<f32>().unwrap();
        assert!(gradient[0].abs() < 1e-9 && gradient[1] > 1.0, "{gradient:?}");
    }

    proptest! {
        #[test]
        fn advantages_sum_to_zero(rewards in proptest::collection::vec(0.0f64..1.0, 2..9)) {
            prop_assert!(advantages(&rewards, 1e-4).iter().sum::<f64>().abs() < 1e-6);
        }

        #[test]
        fn equal_rewards_give_no_advantage(reward in 0.0f64..1.0, n in 1usize..9) {
            prop_assert_eq!(advantages(&vec![reward; n], 1e-4), vec![0.0; n]);
        }

        #[test]
        fn kl_is_never_negative(a in -5f32..0.0, b in -5f32..0.0) {
            let (_, kl) = grpo(tokens(vector(&[a]), &[a], &[b], &[0.0]), 0.2, 1.0);
            prop_assert!(scalar(kl) >= -1e-6);
        }
    }
}
