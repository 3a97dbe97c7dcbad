//! The losses as pure functions of log-probabilities: SFT, group advantages, clipped policy loss, KL.
//!
//! Knows no model, no text and no tensors: it takes a number for each token and returns the loss and its slope along each
//! of them, in f64. The recipe chooses the formula ([`ObjectiveSpec`]); all of them are compared with other implementations
//! (`golden/parity/losses.py`).

use crate::recipe::{
    Advantage, Aggregation, KlEstimator, KlPlace, ObjectiveSpec, RatioLevel, Signed,
};
use crate::train::likelihood::weight_of;

/// Turns the rewards of each group into advantages, which are 0 where all rewards of a group are equal.
pub fn advantages(spec: &ObjectiveSpec, groups: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let all: Vec<f64> = groups.concat();
    let over_all = deviation(&all, spec.advantage_ddof);
    let of_group = |rewards: &Vec<f64>| -> Vec<f64> {
        let own = deviation(rewards, spec.advantage_ddof);
        // Equal but for rounding.
        if own < 1e-9 {
            return vec![0.0; rewards.len()];
        }
        let divisor = match spec.advantage {
            Advantage::GroupStd => own + spec.advantage_epsilon,
            Advantage::GroupMean => 1.0,
            Advantage::BatchStd => over_all + spec.advantage_epsilon,
        };
        let mean = mean(rewards);
        rewards.iter().map(|reward| (reward - mean) / divisor).collect()
    };
    groups.iter().map(of_group).collect()
}

/// The mean of `values`; 0 of none.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn deviation(values: &[f64], ddof: usize) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (squares / values.len().saturating_sub(ddof).max(1) as f64).sqrt()
}

/// What a token is worth by a second model that scores it: `weight` times its log-probability there less that under the
/// policy that sampled it, which in expectation is minus the KL divergence from that model (on-policy distillation; Agarwal
/// et al. 2024, "On-Policy Distillation of Language Models"; the same by ms-swift and Tinker).
pub fn scored_advantage(weight: f64, scored: f64, old: f64) -> f64 {
    weight * (scored - old)
}

/// What an answer is worth by itself, given the mean entropy of the policy at its tokens in nats (SRFT, arXiv 2506.19767).
pub fn signed_worth(signed: Signed, is_right: bool, mean_entropy: f64) -> f64 {
    if is_right { signed.right * mean_entropy.exp() } else { -signed.wrong }
}

/// Sums the estimated KL over an answer's tokens when they were sampled: what `KlPlace::Reward` takes from its reward,
/// before `beta`. `old` and `reference` hold a log-probability (nats) for each token.
pub fn kl_of_answer(spec: &ObjectiveSpec, old: &[f64], reference: &[f64]) -> f64 {
    old.iter().zip(reference).map(|(old, reference)| kl(spec, old - reference).0).sum()
}

/// The estimate at `d`, the policy's log-probability less the reference's, and its slope along `d`.
fn kl(spec: &ObjectiveSpec, d: f64) -> (f64, f64) {
    match spec.kl {
        KlEstimator::K1 => (d, 1.0),
        KlEstimator::K2 => (0.5 * d * d, d),
        KlEstimator::K3 => {
            let k3 = (-d).exp() + d - 1.0;
            let is_beyond = spec.k3_max > 0.0 && k3 > spec.k3_max;
            if is_beyond { (spec.k3_max, 0.0) } else { (k3, 1.0 - (-d).exp()) }
        }
    }
}

/// The numbers that the loss of an update is divided by.
#[derive(Debug, Clone, Copy)]
pub struct Denominators {
    /// Answers of the update, those of groups that teach otherwise included.
    pub num_answers: usize,
    /// Sampled tokens of the update.
    pub update_tokens: usize,
    /// Sampled tokens of this micro-batch.
    pub micro_batch_tokens: usize,
    /// Micro-batches of the update.
    pub num_micro_batches: usize,
    /// Tokens that an answer may have.
    pub max_completion_tokens: usize,
}

/// The weight of one token of an answer of `len` tokens in the update's loss.
pub fn token_weight(aggregation: Aggregation, denominators: Denominators, len: usize) -> f64 {
    let d = denominators;
    let divisor = match aggregation {
        Aggregation::SeqMeanTokenMean => d.num_answers * len,
        Aggregation::TokenMeanGlobal => d.update_tokens,
        Aggregation::TokenMeanLocal => d.micro_batch_tokens * d.num_micro_batches,
        Aggregation::DrGrpo => d.num_answers * d.max_completion_tokens,
    };
    1.0 / divisor.max(1) as f64
}

/// One sampled answer; every list has a number for each of its tokens.
#[derive(Debug, Clone, Copy)]
pub struct PolicyAnswer<'a> {
    /// Under the policy being trained.
    pub log_probs: &'a [f64],
    /// Under the policy that sampled.
    pub old_log_probs: &'a [f64],
    /// Under the frozen reference policy; empty where [`ObjectiveSpec::has_kl`] is false.
    pub reference_log_probs: &'a [f64],
    /// What each token is worth: what the answer earned compared with its group, and what a second model says of the token.
    pub advantages: &'a [f64],
    /// See [`token_weight`].
    pub token_weight: f64,
}

/// The loss of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerLoss {
    /// The loss, weighted so that answers add up.
    pub value: f64,
    /// Slope of the loss along the log-probability of each token.
    pub slopes: Vec<f64>,
    /// KL from the reference as it is learned from, before its weight, summed over tokens; 0 where it is not.
    pub kl: f64,
    /// Tokens that the clip keeps from learning.
    pub num_clipped: usize,
}

/// `-min(r A, clip(r) A)`, in the form of [`ObjectiveSpec::dual_clip`] if there is one, plus `beta` times KL
/// if that is in the loss; weighted and summed over the answer's tokens. `r` is the ratio of the policies'
/// probabilities of a token, or of the answer ([`RatioLevel`]). DeepSeekMath (Shao et al. 2024), equation 3.
///
/// # Panics
/// If the lists have unequal lengths, but for that of a reference that the objective does not look at.
pub fn answer_loss(spec: &ObjectiveSpec, answer: &PolicyAnswer<'_>) -> AnswerLoss {
    let PolicyAnswer { log_probs, old_log_probs, reference_log_probs, advantages, token_weight } =
        *answer;
    let len = log_probs.len();
    let has_kl = spec.has_kl();
    let is_whole = old_log_probs.len() == len
        && advantages.len() == len
        && (!has_kl || reference_log_probs.len() == len);
    assert!(is_whole, "a number a token");
    let mut log_ratios: Vec<f64> =
        log_probs.iter().zip(old_log_probs).map(|(x, o)| x - o).collect();
    if spec.ratio == RatioLevel::Sequence {
        // Every token has the answer's ratio, whose slope along each of them is one in `len`: in sum, over
        // tokens of one weight, that is the slope below.
        log_ratios = vec![mean(&log_ratios); len];
    }
    let in_loss = if spec.kl_in == KlPlace::Loss { spec.beta } else { 0.0 };
    let mut loss = AnswerLoss { value: 0.0, slopes: Vec::new(), kl: 0.0, num_clipped: 0 };
    for (t, (log_ratio, log_prob)) in log_ratios.iter().zip(log_probs).enumerate() {
        let (gain, slope, is_clipped) = match spec.ratio {
            RatioLevel::None => (advantages[t] * log_prob, advantages[t], false),
            _ => clipped_gain(spec, log_ratio.exp(), advantages[t]),
        };
        let token_weight =
            token_weight * spec.token_weight.map_or(1.0, |by| weight_of(by, *log_prob));
        let of_token = |reference: &f64| kl(spec, log_prob - reference);
        let (kl, kl_slope) =
            reference_log_probs.get(t).filter(|_| has_kl).map_or((0.0, 0.0), of_token);
        loss.value += token_weight * (in_loss * kl - gain);
        loss.slopes.push(token_weight * (in_loss * kl_slope - slope));
        loss.kl += kl;
        loss.num_clipped += usize::from(is_clipped);
    }
    loss
}

/// What is gained at `ratio`, its slope along the ratio's logarithm, and whether a clip has flattened it.
fn clipped_gain(spec: &ObjectiveSpec, ratio: f64, advantage: f64) -> (f64, f64, bool) {
    let free = ratio * advantage;
    let clipped = ratio.clamp(1.0 - spec.clip_low, 1.0 + spec.clip_high) * advantage;
    let floor = if spec.dual_clip > 0.0 && advantage < 0.0 {
        spec.dual_clip * advantage
    } else {
        f64::NEG_INFINITY
    };
    let gain = free.min(clipped);
    if floor > gain {
        (floor, 0.0, true)
    } else if clipped < free {
        (clipped, 0.0, true)
    } else {
        (free, free, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{ObjectivePreset, TokenWeight};
    use proptest::prelude::*;
    use serde::Deserialize;

    /// The peers compute in f64 or f32; the issue is the formula.
    const TOLERANCE: f64 = 1e-6;

    fn study() -> ObjectiveSpec {
        ObjectivePreset::GrpoStudy.objective()
    }

    fn loss(spec: &ObjectiveSpec, log_probs: &[f64], old: &[f64], advantage: f64) -> AnswerLoss {
        answer_loss(
            spec,
            &PolicyAnswer {
                log_probs,
                old_log_probs: old,
                reference_log_probs: old,
                advantages: &vec![advantage; log_probs.len()],
                token_weight: 1.0 / log_probs.len() as f64,
            },
        )
    }

    #[test]
    fn a_first_update_has_the_policy_gradient() {
        let loss = loss(&study(), &[-1.0, -2.0], &[-1.0, -2.0], 0.5);
        assert!(loss.kl.abs() < 1e-12 && loss.num_clipped == 0);
        for slope in loss.slopes {
            assert!((slope + 0.25).abs() < 1e-12, "{slope}");
        }
    }

    #[test]
    fn beyond_the_clip_range_a_good_token_has_no_gradient_and_a_bad_one_has() {
        let spec = ObjectiveSpec { beta: 0.0, ..study() };
        assert!(loss(&spec, &[0.0], &[-1.0], 1.0).slopes[0].abs() < 1e-12);
        assert!(loss(&spec, &[0.0], &[-1.0], -1.0).slopes[0] > 1.0);
        // Unless a dual clip has had enough of it.
        let dual = ObjectiveSpec { dual_clip: 2.0, ..spec };
        let dual = loss(&dual, &[0.0], &[-1.0], -1.0);
        assert!((dual.value - 2.0).abs() < 1e-12 && dual.slopes[0].abs() < 1e-12);
    }

    /// Clip-higher (DAPO, Yu et al. 2025): an unlikely token that was right may rise further before it is held.
    #[test]
    fn a_wider_upper_clip_lets_a_good_token_rise_further_and_a_bad_one_fall_no_less() {
        let narrow = ObjectiveSpec { beta: 0.0, ..study() };
        let wide = ObjectiveSpec { clip_high: 0.28, ..narrow.clone() };
        let old = [-(1.25_f64.ln())];
        assert!(loss(&narrow, &[0.0], &old, 1.0).slopes[0].abs() < 1e-12);
        assert!((loss(&wide, &[0.0], &old, 1.0).slopes[0] + 1.25).abs() < 1e-9);
        let beyond = [-(1.3_f64.ln())];
        assert!(loss(&wide, &[0.0], &beyond, 1.0).slopes[0].abs() < 1e-12);
        let below = [0.25];
        assert_eq!(loss(&wide, &[0.0], &below, -1.0), loss(&narrow, &[0.0], &below, -1.0));
    }

    /// What verl's `low_var_kl` does: the log-ratio within 20, then the estimate within 10, each without slope beyond.
    #[test]
    fn a_token_that_the_policy_has_given_up_does_not_outweigh_an_update() {
        let spec = ObjectiveSpec { beta: 1.0, ..study() };
        for (d, value, slope) in [
            (-2.3_f64, (2.3_f64).exp() - 3.3, 1.0 - (2.3_f64).exp()),
            (-2.7, 10.0, 0.0),
            (-15.0, 10.0, 0.0),
            (-900.0, 10.0, 0.0),
            (900.0, 10.0, 0.0),
        ] {
            let answer = PolicyAnswer {
                log_probs: &[d - 1.0],
                old_log_probs: &[d - 1.0],
                reference_log_probs: &[-1.0],
                advantages: &[0.0],
                token_weight: 1.0,
            };
            let loss = answer_loss(&spec, &answer);
            let apart = (loss.value - value).abs().max((loss.slopes[0] - slope).abs());
            assert!(apart < 1e-12, "{d}: {loss:?}");
            // TRL's form has the slope of an exponential.
            let free = answer_loss(&ObjectiveSpec { k3_max: 0.0, ..spec.clone() }, &answer);
            assert!(d > -2.5 || d > 0.0 || free.slopes[0] < -10.0, "{d}: {free:?}");
        }
    }

    /// Numbers of ms-swift 4.6.0, `expand_advantage_to_per_token` with a coefficient of 1.
    #[test]
    fn a_scored_token_is_worth_what_the_reference_says() {
        let own = [[-0.2, -1.0, -0.5], [-0.3, -2.0, -0.1]];
        let scored = [[-0.1, -1.6, -0.45], [-0.9, -1.2, -0.1]];
        let want = [[1.6, 0.9, 1.55], [-1.1, 0.3, -0.5]];
        for (i, advantage) in [1.5, -0.5].into_iter().enumerate() {
            for t in 0..3 {
                let found = advantage + scored_advantage(1.0, scored[i][t], own[i][t]);
                assert!((found - want[i][t]).abs() < 1e-12, "{i}, {t}: {found}");
            }
        }
    }

    #[test]
    fn without_weight_kl_needs_no_reference() {
        let spec = ObjectiveSpec { beta: 0.0, ..study() };
        let with = loss(&spec, &[-1.0, -2.0], &[-1.1, -2.1], 0.5);
        let answer = PolicyAnswer {
            log_probs: &[-1.0, -2.0],
            old_log_probs: &[-1.1, -2.1],
            reference_log_probs: &[],
            advantages: &[0.5; 2],
            token_weight: 0.5,
        };
        assert_eq!(answer_loss(&spec, &answer), with);
        assert!(with.kl.abs() < 1e-12);
    }

    #[derive(Deserialize)]
    struct Recorded {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        objective: ObjectiveSpec,
        group_size: usize,
        max_completion_tokens: usize,
        micro_batches: Vec<Vec<usize>>,
        rewards: Vec<f64>,
        sequences: Vec<Tokens>,
        want: Want,
    }

    #[derive(Deserialize)]
    struct Tokens {
        log_probs: Vec<f64>,
        old_log_probs: Vec<f64>,
        reference_log_probs: Vec<f64>,
    }

    #[derive(Deserialize)]
    struct Want {
        advantages: Vec<f64>,
        loss: f64,
        gradient: Vec<Vec<f64>>,
    }

    #[track_caller]
    fn close(name: &str, got: f64, want: f64) {
        assert!((got - want).abs() <= TOLERANCE * want.abs().max(1.0), "{name}: {got} for {want}");
    }

    #[test]
    fn objectives_are_those_of_the_reference() {
        let text = include_str!("../../../golden/parity/fixtures/losses.json");
        let recorded: Recorded = serde_json::from_str(text).unwrap();
        assert!(recorded.cases.len() > 20);
        for case in recorded.cases {
            let spec = &case.objective;
            let mut rewards = case.rewards.clone();
            if spec.kl_in == KlPlace::Reward {
                for (reward, s) in rewards.iter_mut().zip(&case.sequences) {
                    *reward -=
                        spec.beta * kl_of_answer(spec, &s.old_log_probs, &s.reference_log_probs);
                }
            }
            let groups: Vec<Vec<f64>> =
                rewards.chunks(case.group_size).map(<[f64]>::to_vec).collect();
            let advantages = advantages(spec, &groups).concat();
            for (got, want) in advantages.iter().zip(&case.want.advantages) {
                close(&case.name, *got, *want);
            }
            let len = |i: &usize| case.sequences[*i].log_probs.len();
            let update_tokens = (0..case.sequences.len()).map(|i| len(&i)).sum();
            let mut total = 0.0;
            for members in &case.micro_batches {
                let denominators = Denominators {
                    num_answers: case.sequences.len(),
                    update_tokens,
                    micro_batch_tokens: members.iter().map(len).sum(),
                    num_micro_batches: case.micro_batches.len(),
                    max_completion_tokens: case.max_completion_tokens,
                };
                for &i in members {
                    let s = &case.sequences[i];
                    let loss = answer_loss(
                        spec,
                        &PolicyAnswer {
                            log_probs: &s.log_probs,
                            old_log_probs: &s.old_log_probs,
                            reference_log_probs: &s.reference_log_probs,
                            advantages: &vec![advantages[i]; s.log_probs.len()],
                            token_weight: token_weight(spec.aggregation, denominators, len(&i)),
                        },
                    );
                    total += loss.value;
                    for (got, want) in loss.slopes.iter().zip(&case.want.gradient[i]) {
                        close(&case.name, *got, *want);
                    }
                }
            }
            close(&case.name, total, case.want.loss);
        }
    }

    #[test]
    fn answers_without_a_ratio_learn_as_those_of_the_reference() {
        #[derive(Deserialize)]
        struct Recorded {
            answers: Vec<Case>,
        }
        #[derive(Deserialize)]
        struct Case {
            signed: Option<Signed>,
            token_weight: Option<TokenWeight>,
            is_right: bool,
            log_probs: Vec<f64>,
            entropies: Vec<f64>,
            advantage: f64,
            share: f64,
            loss: f64,
            gradient: Vec<f64>,
        }
        let text = include_str!("../../../golden/parity/fixtures/demonstrations.json");
        for case in serde_json::from_str::<Recorded>(text).unwrap().answers {
            let Case { signed, token_weight, .. } = case;
            let ratio = RatioLevel::None;
            let spec = ObjectiveSpec { beta: 0.0, ratio, signed, token_weight, ..study() };
            let of = |signed| signed_worth(signed, case.is_right, mean(&case.entropies));
            let worth = signed.map_or(case.advantage, of);
            // What sampling gave them is not looked at.
            let old: Vec<f64> = case.log_probs.iter().map(|x| x - 3.0).collect();
            let loss = answer_loss(
                &spec,
                &PolicyAnswer {
                    log_probs: &case.log_probs,
                    old_log_probs: &old,
                    reference_log_probs: &[],
                    advantages: &vec![worth; old.len()],
                    token_weight: case.share,
                },
            );
            let name = format!("{signed:?}, {token_weight:?}, {}", case.is_right);
            assert!((loss.value - case.loss).abs() < 1e-9, "{name}: {}", loss.value);
            assert_eq!(loss.num_clipped, 0, "{name}");
            for (slope, want) in loss.slopes.iter().zip(&case.gradient) {
                assert!((slope - want).abs() < 1e-9, "{name}: {slope} {want}");
            }
        }
    }

    fn any_spec() -> impl Strategy<Value = ObjectiveSpec> {
        let preset = prop_oneof![
            Just(ObjectivePreset::GrpoStudy),
            Just(ObjectivePreset::TrlDefault),
            Just(ObjectivePreset::VerlDefault),
            Just(ObjectivePreset::DrGrpo),
            Just(ObjectivePreset::Dapo),
        ];
        let kl = prop_oneof![Just(KlEstimator::K1), Just(KlEstimator::K2), Just(KlEstimator::K3)];
        let ratio = prop_oneof![
            Just(RatioLevel::Token),
            Just(RatioLevel::Sequence),
            Just(RatioLevel::None)
        ];
        (preset, kl, ratio, 0.0..0.1_f64).prop_map(|(preset, kl, ratio, beta)| ObjectiveSpec {
            kl,
            ratio,
            beta,
            ..preset.objective()
        })
    }

    proptest! {
        #[test]
        fn advantages_sum_to_zero(
            spec in any_spec(), rewards in proptest::collection::vec(0.0f64..1.0, 2..9)
        ) {
            let advantages = advantages(&spec, &[rewards.clone(), rewards]);
            prop_assert!(advantages[1].iter().sum::<f64>().abs() < 1e-6);
        }

        #[test]
        fn equal_rewards_leave_the_kl_term_alone(
            spec in any_spec(), reward in 0.0f64..1.0, n in 2usize..9,
            log_probs in proptest::collection::vec(-4.0f64..0.0, 1..6), shift in -0.5f64..0.5
        ) {
            let zero = advantages(&spec, &[vec![reward; n]]).concat();
            prop_assert_eq!(&zero, &vec![0.0; n]);
            let old: Vec<f64> = log_probs.iter().map(|x| x + shift).collect();
            let loss = loss(&spec, &log_probs, &old, zero[0]);
            for slope in &loss.slopes {
                let (_, kl_slope) = kl(&spec, -shift);
                let want = spec.beta * kl_slope / log_probs.len() as f64;
                prop_assert!((slope - want).abs() < 1e-9);
            }
        }

        #[test]
        fn slopes_are_those_of_the_value(
            spec in any_spec(), advantage in -2.0f64..2.0,
            tokens in proptest::collection::vec((-3.0f64..0.0, -0.6f64..0.6), 1..6)
        ) {
            let log_probs: Vec<f64> = tokens.iter().map(|t| t.0).collect();
            let old: Vec<f64> = tokens.iter().map(|t| t.0 + t.1).collect();
            let at = |log_probs: &[f64]| loss(&spec, log_probs, &old, advantage);
            let here = at(&log_probs);
            for i in 0..log_probs.len() {
                let step = 1e-6;
                let moved = |by: f64| {
                    let mut moved = log_probs.clone();
                    moved[i] += by;
                    at(&moved)
                };
                let (up, down) = (moved(step), moved(-step));
                // A kink has two slopes.
                if up.num_clipped == down.num_clipped {
                    let slope = (up.value - down.value) / (2.0 * step);
                    prop_assert!((slope - here.slopes[i]).abs() < 1e-5, "{slope} {here:?}");
                }
            }
        }

        #[test]
        fn k3_is_never_negative_nor_beyond_its_bound(d in -50f64..50.0) {
            let (unbounded, slope) = kl(&ObjectiveSpec { k3_max: 0.0, ..study() }, d);
            prop_assert!(unbounded >= 0.0);
            let (bounded, flat) = kl(&study(), d);
            prop_assert!(bounded <= 10.0 && bounded <= unbounded);
            let want = if unbounded > 10.0 { 0.0 } else { slope };
            prop_assert!((flat - want).abs() < 1e-12);
        }
    }
}
