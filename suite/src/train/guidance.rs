//! Demonstrations that are learned where rollouts fail: how much of one is given, and what its tokens cost.
//!
//! Knows nothing of models. A new loss on demonstrations is a variant of [`Weighting`] and an arm of [`loss`]. Deviations
//! from the study: it does not give the weight of the SFT loss where training is interleaved, nor the shape of the prefix's
//! schedule; the recipe gives both.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::recipe::{Guidance, MeanOver, Mu, PrefixShare, RowGain, Weighting};
use crate::train::likelihood::weight_of;
use crate::train::objective::mean;

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

/// A demonstration that is a row of its group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// What it earned compared with its group.
    pub(super) advantage: f64,
    /// The weight of one of its tokens in the update's loss.
    pub(super) token_weight: f64,
}

impl Guided {
    /// The weight of each of a demonstration's `len` tokens in a mean whose whole weighs `weight`.
    fn weigh(self, weight: f64, mean_over: MeanOver, len: usize) -> f64 {
        let weight = weight / self.num_questions as f64;
        match mean_over {
            MeanOver::Answers => weight / len.max(1) as f64,
            MeanOver::Tokens => weight * self.num_guided as f64 / self.num_tokens.max(1) as f64,
        }
    }
}

/// Computes the loss of a demonstration's tokens from their log-probabilities and from the policy's entropies there, both in
/// nats. Entropies have no slope; they may be left out where [`Weighting::needs_entropies`] is false.
pub(super) fn loss(
    weighting: &Weighting,
    log_probs: &[f64],
    entropies: &[f64],
    guided: Guided,
    row: Row,
) -> DemonstrationLoss {
    match weighting {
        Weighting::Row { gain, sft } => {
            let scale = row.token_weight * row.advantage;
            let mut gains: Vec<(f64, f64)> =
                log_probs.iter().map(|&log_prob| gain_of(*gain, log_prob)).collect();
            if let RowGain::LogP { entropy_share: Some(share), .. } = *gain {
                lowest(entropies, share).for_each(|place| gains[place] = (0.0, 0.0));
            }
            let mut loss = DemonstrationLoss {
                value: -scale * gains.iter().map(|(gain, _)| gain).sum::<f64>(),
                slopes: gains.iter().map(|(_, slope)| -scale * slope).collect(),
            };
            if let Some(weight) = sft {
                let weight = weight * (-mean(entropies)).exp();
                let weight = guided.weigh(weight, MeanOver::Tokens, log_probs.len());
                loss.value -= weight * log_probs.iter().sum::<f64>();
                loss.slopes.iter_mut().for_each(|slope| *slope -= weight);
            }
            loss
        }
        Weighting::Sft { weight, mean_over, token_weight } => {
            let mean_over = mean_over.unwrap_or(MeanOver::Answers);
            let weight = guided.weigh(*weight, mean_over, log_probs.len());
            let Some(by) = *token_weight else {
                let value = -(log_probs.iter().sum::<f64>() * weight);
                return DemonstrationLoss { value, slopes: vec![-weight; log_probs.len()] };
            };
            let slopes: Vec<f64> =
                log_probs.iter().map(|&log_prob| -weight * weight_of(by, log_prob)).collect();
            let value =
                slopes.iter().zip(log_probs).map(|(slope, log_prob)| slope * log_prob).sum();
            DemonstrationLoss { value, slopes }
        }
    }
}

/// What a token of a row gains, and the gain's slope along its log-probability.
fn gain_of(gain: RowGain, log_prob: f64) -> (f64, f64) {
    match gain {
        RowGain::LogP { token_weight, .. } => {
            let weight = token_weight.map_or(1.0, |by| weight_of(by, log_prob));
            (weight * log_prob, weight)
        }
        RowGain::Shaped { gamma } => {
            let p = log_prob.exp();
            (p / (p + gamma), gamma * p / (p + gamma).powi(2))
        }
    }
}

/// Places of all but `share` of `entropies`, the lowest first, the earlier of two alike before the later.
fn lowest(entropies: &[f64], share: f64) -> impl Iterator<Item = usize> {
    let mut places: Vec<usize> = (0..entropies.len()).collect();
    places.sort_by(|&a, &b| entropies[a].total_cmp(&entropies[b]));
    let num_kept = (entropies.len() as f64 * share).ceil() as usize;
    places.truncate(entropies.len() - num_kept);
    places.into_iter()
}

/// What the two losses of a group weigh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weights {
    /// That of its demonstration; 0 where it is not guided.
    pub(super) sft: f64,
    /// That of its rollouts; 0 where they are left out.
    pub(super) rl: f64,
}

impl Weights {
    /// Those of a group that only rewards teach.
    pub(super) const RL: Weights = Weights { sft: 0.0, rl: 1.0 };

    /// Those of a group of which `num_right` of `num` answers are right.
    pub(super) fn of(guidance: &Guidance, num_right: usize, num: usize) -> Weights {
        if let Some(rows) = &guidance.by_passes {
            let row = rows.iter().rfind(|row| row.from <= num_right);
            return row.map_or(Weights::RL, |row| Weights { sft: row.sft, rl: row.rl });
        }
        let is_guided = num_right as f64 / num as f64 <= guidance.gate.unwrap_or_default();
        let keeps = guidance.keep_rl.unwrap_or_default();
        if is_guided { Weights { sft: 1.0, rl: f64::from(u8::from(keeps)) } } else { Weights::RL }
    }

    /// The same in a step whose share for demonstrations is `mu`.
    pub(super) fn shared(self, mu: Option<f64>) -> Weights {
        mu.map_or(self, |mu| Weights { sft: self.sft * mu, rl: self.rl * (1.0 - mu) })
    }
}

/// The share of demonstrations in a step, counted from 0.
pub(super) fn mu_at(Mu { warmup_steps, decay_steps, peak, valley }: Mu, step: usize) -> f64 {
    if step < warmup_steps {
        return peak * step as f64 / warmup_steps as f64;
    }
    let done = step - warmup_steps;
    if done >= decay_steps {
        return valley;
    }
    let fallen = std::f64::consts::PI * done as f64 / decay_steps as f64;
    valley + (peak - valley) * 0.5 * (1.0 + fallen.cos())
}

/// The share of a demonstration that is given where `done` is the share of the stage's steps that is behind; where it is
/// looked for, the share that is tried first.
pub(super) fn drawn_share(share: PrefixShare, done: f64, rng: &mut ChaCha8Rng) -> f64 {
    // From 1 to 0 along half a cosine.
    let falling = |until: f64| 0.5 * (1.0 + (std::f64::consts::PI * (done / until).min(1.0)).cos());
    match share {
        PrefixShare::Linear { until } => (1.0 - done / until).clamp(0.0, 1.0),
        PrefixShare::Uniform { high, until } => {
            let low = high * falling(until);
            low + (high - low) * rng.random::<f64>()
        }
        PrefixShare::Binomial { until, .. } if done >= until => 0.0,
        PrefixShare::Binomial { num_pieces, high, low, until } => {
            let probability = low + (high - low) * falling(until);
            let is_there = |_: &usize| rng.random::<f64>() < probability;
            (0..num_pieces).filter(is_there).count() as f64 / num_pieces as f64
        }
        PrefixShare::Shortest { .. } => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{PassWeights, TokenWeight};
    use synergy_benchmarks::seed::Seed;

    /// Shares of many groups at one point of the stage.
    fn shares(share: PrefixShare, done: f64) -> Vec<f64> {
        let rng = &mut Seed::root(5).rng();
        (0..4000).map(|_| drawn_share(share, done, rng)).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_prefix_shrinks_from_all_to_nothing() {
        for (done, want) in [(0.0, 1.0), (0.35, 0.5), (0.7, 0.0), (1.0, 0.0)] {
            let all = shares(PrefixShare::Linear { until: 0.7 }, done);
            assert!(all.iter().all(|share| (share - want).abs() < 1e-12), "{done}: {}", all[0]);
        }
    }

    /// Prefix-RFT: a fixed upper end, and a lower one that falls.
    #[test]
    fn a_share_between_two_ends_has_both_in_the_end_and_one_at_first() {
        let share = PrefixShare::Uniform { high: 0.95, until: 0.8 };
        assert!(shares(share, 0.0).iter().all(|share| (share - 0.95).abs() < 1e-12));
        for (done, low) in [(0.4, 0.475), (0.8, 0.0), (1.0, 0.0)] {
            let all = shares(share, done);
            assert!(all.iter().all(|share| (low..=0.95).contains(share)), "{done}");
            let apart = (mean(&all) - f64::midpoint(low, 0.95)).abs();
            assert!(apart < 0.02, "{done}: {}", mean(&all));
        }
    }

    /// UFT, whose schedule falls from .95 to .05 within 300 of 500 steps, over 5 pieces.
    #[test]
    fn pieces_are_there_by_a_probability_that_falls_and_later_not_at_all() {
        let share = PrefixShare::Binomial { num_pieces: 5, high: 0.95, low: 0.05, until: 0.6 };
        for (done, want) in [(0.0, 0.95), (0.3, 0.5), (0.599_999, 0.05), (0.6, 0.0), (0.9, 0.0)] {
            let all = shares(share, done);
            let in_pieces = |share: &f64| (share * 5.0 - (share * 5.0).round()).abs() < 1e-12;
            assert!(all.iter().all(in_pieces), "{done}");
            assert!((mean(&all) - want).abs() < 0.01, "{done}: {}", mean(&all));
        }
    }

    const ROW: Row = Row { advantage: 1.5, token_weight: 0.01 };

    fn guidance() -> Guidance {
        let weighting = Weighting::Sft { weight: 1.0, mean_over: None, token_weight: None };
        Guidance {
            data: "traces".to_owned(),
            gate: Some(0.25),
            keep_rl: Some(false),
            by_passes: None,
            mu: None,
            weighting,
            prefix: None,
        }
    }

    #[test]
    fn groups_weigh_by_their_right_answers_and_a_gate_is_the_simplest_of_such_tables() {
        let mut gated = guidance();
        let row = |from, sft, rl| PassWeights { from, sft, rl };
        let table = |rows: Vec<PassWeights>| Guidance {
            gate: None,
            keep_rl: None,
            by_passes: Some(rows),
            ..guidance()
        };
        for (keeps, rl) in [(false, 0.0), (true, 1.0)] {
            gated.keep_rl = Some(keeps);
            let table = table(vec![row(0, 1.0, rl), row(3, 0.0, 1.0)]);
            for num_right in 0..=8 {
                let of = |guidance| Weights::of(guidance, num_right, 8);
                assert_eq!(of(&gated), of(&table), "{num_right}");
            }
        }
        let soft = table(vec![row(0, 1.0, 0.0), row(2, 0.5, 0.125), row(5, 0.0, 1.0)]);
        let of = |num_right| Weights::of(&soft, num_right, 8);
        let weights = |sft, rl| Weights { sft, rl };
        for (num_right, want) in [
            (0, weights(1.0, 0.0)),
            (1, weights(1.0, 0.0)),
            (2, weights(0.5, 0.125)),
            (4, weights(0.5, 0.125)),
            (5, weights(0.0, 1.0)),
            (8, weights(0.0, 1.0)),
        ] {
            assert_eq!(of(num_right), want, "{num_right}");
        }
        assert_eq!(of(2).shared(Some(0.25)), weights(0.125, 0.09375));
        assert_eq!(of(2).shared(None), of(2));
    }

    #[test]
    fn rows_learn_as_those_of_the_reference() {
        #[derive(serde::Deserialize)]
        struct Recorded {
            rows: Vec<Case>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            gain: RowGain,
            sft: Option<f64>,
            log_probs: Vec<f64>,
            entropies: Vec<f64>,
            advantage: f64,
            token_weight: f64,
            loss: f64,
            gradient: Vec<f64>,
        }
        let text = include_str!("../../../golden/parity/fixtures/demonstrations.json");
        let guided = Guided { num_questions: 1, num_guided: 1, num_tokens: 1 };
        for case in serde_json::from_str::<Recorded>(text).unwrap().rows {
            let row = Row { advantage: case.advantage, token_weight: case.token_weight };
            let weighting = Weighting::Row { gain: case.gain, sft: case.sft };
            let guided = Guided { num_tokens: case.log_probs.len(), ..guided };
            let found = loss(&weighting, &case.log_probs, &case.entropies, guided, row);
            assert!((found.value - case.loss).abs() < 1e-9, "{:?}: {}", case.gain, found.value);
            for (slope, want) in found.slopes.iter().zip(&case.gradient) {
                assert!((slope - want).abs() < 1e-9, "{:?}: {slope} {want}", case.gain);
            }
        }
    }

    /// By the package of CHORD's authors.
    #[test]
    fn the_share_of_demonstrations_is_that_of_the_reference() {
        #[derive(serde::Deserialize)]
        struct Recorded {
            mu: Vec<Case>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            mu: Mu,
            shares: Vec<(usize, f64)>,
        }
        let text = include_str!("../../../golden/parity/fixtures/demonstrations.json");
        for Case { mu, shares } in serde_json::from_str::<Recorded>(text).unwrap().mu {
            for (step, want) in shares {
                let found = mu_at(mu, step);
                assert!((found - want).abs() < 1e-12, "{mu:?} at {step}: {found} {want}");
            }
        }
    }

    #[test]
    fn a_short_demonstration_weighs_as_much_as_a_long_one_or_as_its_tokens() {
        let guided = Guided { num_questions: 8, num_guided: 2, num_tokens: 100 };
        let of = |len: usize, mean_over| {
            let weighting = Weighting::Sft { weight: 0.4, mean_over, token_weight: None };
            loss(&weighting, &vec![-1.0; len], &[], guided, ROW).value
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
    fn tokens_weigh_by_their_own_probability_and_no_slope_runs_through_the_weight() {
        let guided = Guided { num_questions: 4, num_guided: 2, num_tokens: 7 };
        let log_probs = [-0.5, -2.0, -3.0];
        let of = |token_weight| {
            let weighting = Weighting::Sft { weight: 0.3, mean_over: None, token_weight };
            loss(&weighting, &log_probs, &[], guided, ROW)
        };
        let plain = of(None);
        for by in [
            TokenWeight::Dft {},
            TokenWeight::Phi {},
            TokenWeight::TrustRegion { alpha: 0.1 },
            TokenWeight::Gft { tau: 0.1 },
        ] {
            let found = of(Some(by));
            let mut value = 0.0;
            for ((slope, plain), log_prob) in found.slopes.iter().zip(&plain.slopes).zip(log_probs)
            {
                let want = plain * weight_of(by, log_prob);
                assert!((slope - want).abs() < 1e-15, "{by:?}");
                value += want * log_prob;
            }
            assert!((found.value - value).abs() < 1e-15, "{by:?}");
        }
        // A weight of 1 throughout is none.
        assert_eq!(of(Some(TokenWeight::Gft { tau: 1e-9 })), plain);
    }

    #[test]
    fn slopes_are_those_of_the_value() {
        let guided = Guided { num_questions: 4, num_guided: 2, num_tokens: 7 };
        let log_probs = [-0.5, -2.0, -3.0];
        let sft = |mean_over| Weighting::Sft { weight: 0.3, mean_over, token_weight: None };
        let entropies = [0.3, 1.1, 0.7];
        let row = |gain| Weighting::Row { gain, sft: Some(0.5) };
        let entropy_share = Some(0.6);
        for weighting in [
            sft(None),
            sft(Some(MeanOver::Tokens)),
            row(RowGain::LOG_P),
            row(RowGain::LogP { token_weight: None, entropy_share }),
            row(RowGain::Shaped { gamma: 0.1 }),
        ] {
            let slopes = loss(&weighting, &log_probs, &entropies, guided, ROW).slopes;
            for (i, slope) in slopes.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut log_probs = log_probs;
                    log_probs[i] += by;
                    loss(&weighting, &log_probs, &entropies, guided, ROW).value
                };
                let want = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((slope - want).abs() < 1e-6, "{weighting:?}: {slope} {want}");
            }
        }
    }
}
