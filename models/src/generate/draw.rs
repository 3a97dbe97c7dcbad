//! Drawing one token from a row of logits: penalty, temperature, top-k, top-p.
//!
//! Does not know the model or other rows.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Sampling;
use crate::native::kernels::{exponentials, log_sum_exp};
use crate::qwen2_5_vl::config::VlmConfig;

/// Marks the ids that a prompt holds, `[vocab_size]`; empty where no penalty asks for it.
pub(super) fn seen(input_ids: &[u32], sampling: &Sampling, config: &VlmConfig) -> Vec<bool> {
    if !sampling.penalizes() {
        return Vec::new();
    }
    let mut seen = vec![false; config.vocab_size];
    for &id in input_ids {
        seen[id as usize] = true;
    }
    seen
}

/// Draws one token from `logits` and returns it with its log-probability under them; `None` if they are not finite, as
/// those of a model that has diverged. Ties go to the smaller id, so the draw is a function of the logits, of what the
/// row has `seen` (see [`seen()`]) and of the stream alone.
pub(super) fn draw(
    logits: &[f32],
    seen: &[bool],
    rng: &mut ChaCha8Rng,
    sampling: &Sampling,
    config: &VlmConfig,
) -> Option<(u32, f32)> {
    // The sum that training takes on the host, so that both give a token the same log-probability.
    let total = log_sum_exp(logits);
    if !total.is_finite() {
        return None;
    }

    let mut scores = logits.to_vec();
    let penalty = sampling.repetition_penalty as f32;
    for (score, _) in scores.iter_mut().zip(seen).filter(|(_, seen)| **seen) {
        *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
    }
    for id in [Some(config.image_token_id), config.video_token_id].into_iter().flatten() {
        scores[id as usize] = f32::NEG_INFINITY;
    }
    let id = if sampling.temperature <= 0.0 {
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter().position(|&s| s >= largest).expect("the largest is there")
    } else {
        pick(&warp(scores, sampling), rng.random::<f64>())
    };
    Some((id as u32, logits[id] - total))
}

/// Applies temperature, top-k and top-p to `scores`; returns the ids that are left with weights, not yet normalized.
fn warp(mut scores: Vec<f32>, sampling: &Sampling) -> Vec<(usize, f32)> {
    exponentials(&mut scores, 1.0 / sampling.temperature as f32);
    let weights = scores.into_iter().enumerate();
    let mut kept: Vec<(usize, f32)> = weights.filter(|&(_, weight)| weight > 1e-9).collect();
    if sampling.top_k > 0 || sampling.top_p < 1.0 {
        kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }
    if sampling.top_k > 0 && sampling.top_k < kept.len() {
        let least = kept[sampling.top_k - 1].1;
        kept.truncate(kept.partition_point(|&(_, weight)| weight >= least));
    }
    if sampling.top_p < 1.0 {
        let mass = mass(&kept);
        // From the least probable up, as long as what is dropped stays within 1 - p.
        let mut dropped = 0.0;
        let within = |&&(_, w): &&(usize, f32)| {
            dropped += f64::from(w) / mass;
            dropped <= 1.0 - sampling.top_p
        };
        let count = kept.iter().rev().take_while(within).count();
        kept.truncate((kept.len() - count).max(1));
    }
    kept
}

/// Returns the id at the share `uniform` (from 0 to 1) of the weights.
fn pick(kept: &[(usize, f32)], uniform: f64) -> usize {
    let mut left = uniform * mass(kept);
    for &(id, weight) in kept {
        left -= f64::from(weight);
        if left < 0.0 {
            return id;
        }
    }
    kept[kept.len() - 1].0
}

/// The sum of all weights; in f64, as the vocabulary of a published model has 150 000.
fn mass(kept: &[(usize, f32)]) -> f64 {
    kept.iter().map(|&(_, weight)| f64::from(weight)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Warped {
        name: String,
        logits: Vec<Option<f32>>,
        temperature: f64,
        top_k: usize,
        top_p: f64,
        kept: Vec<usize>,
        probabilities: Vec<f32>,
        tie_is_cut: bool,
    }

    #[derive(Deserialize)]
    struct Fixture {
        warp: Vec<Warped>,
    }

    #[test]
    fn temperature_top_k_and_top_p_keep_what_the_reference_keeps() {
        for row in fixtures::json::<Fixture>("generate.json").warp {
            let logits: Vec<f32> =
                row.logits.iter().map(|l| l.unwrap_or(f32::NEG_INFINITY)).collect();
            let sampling = Sampling {
                temperature: row.temperature,
                top_k: row.top_k,
                top_p: row.top_p,
                ..Sampling::greedy(1, 0)
            };
            let mut kept = warp(logits, &sampling);
            let mass = mass(&kept) as f32;
            let mut want: Vec<f32> = row.probabilities.clone();
            if row.tie_is_cut {
                kept.sort_by(|a, b| a.1.total_cmp(&b.1));
                want.sort_by(f32::total_cmp);
            } else {
                kept.sort_by_key(|k| k.0);
                let ids: Vec<usize> = kept.iter().map(|k| k.0).collect();
                assert_eq!(ids, row.kept, "{}", row.name);
            }
            let got: Vec<f32> = kept.iter().map(|(_, w)| w / mass).collect();
            assert_eq!(got.len(), want.len(), "{}", row.name);
            assert!(fixtures::distance(&got, &want) < 1e-6, "{}: {got:?} {want:?}", row.name);
        }
    }

    #[test]
    fn the_penalty_makes_what_was_said_less_probable_whatever_its_sign() {
        let (config, _) = fixtures::model("model-untied");
        let sampling = Sampling { repetition_penalty: 1.5, ..Sampling::greedy(1, 0) };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (said, other) in [(2.0, 1.5), (-1.0, -1.2)] {
            let mut logits = vec![-9.0; config.vocab_size];
            (logits[7], logits[8]) = (said, other);
            let mut draw =
                |seen: &[bool]| draw(&logits, seen, &mut rng, &sampling, &config).unwrap();
            let (id, log_prob) = draw(&seen(&[7], &sampling, &config));
            let (unpenalized, larger) = draw(&[]);
            assert_eq!((id, unpenalized), (8, 7));
            // Both are of the model itself.
            assert!((larger - log_prob - (said - other)).abs() < 1e-5);
        }
    }

    /// A favourite so far above the rest of a published vocabulary that each of the others is below half a unit of its
    /// last place in f32, though together they are four in a thousand.
    fn favourite_and_tail(config: &VlmConfig) -> (Vec<f32>, f64) {
        assert_eq!(config.vocab_size, 151_936);
        let mut logits = vec![0.0; config.vocab_size];
        logits[3] = 17.5;
        let rest = (config.vocab_size - 1) as f64;
        (logits, (17.5_f64.exp() + rest).ln())
    }

    #[test]
    fn a_large_vocabulary_is_summed_without_losing_its_tail() {
        let config = VlmConfig::published("qwen2.5-vl-3b").unwrap();
        let (logits, total) = favourite_and_tail(&config);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let greedy = Sampling::greedy(1, 0);
        let (id, log_prob) = draw(&logits, &[], &mut rng, &greedy, &config).unwrap();
        let apart = (f64::from(log_prob) - (17.5 - total)).abs();
        assert!(id == 3 && apart < 1e-5, "{id}: {apart} apart");

        // The tail is drawn as often as it should be, all over: half of it stands behind the middle.
        let kept = warp(logits, &Sampling { temperature: 1.0, ..greedy });
        let tail = 1.0 - (17.5 - total).exp();
        let share = |uniform: f64| pick(&kept, uniform);
        assert_eq!((share(0.0), share(1.0 - 1.02 * tail)), (0, 3));
        let middle = share(1.0 - 0.5 * tail);
        assert!(middle.abs_diff(config.vocab_size / 2) < 100, "{middle}");
    }

    #[test]
    fn logits_that_are_not_finite_give_no_token() {
        let (config, _) = fixtures::model("model-untied");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for odd in [f32::NAN, f32::INFINITY] {
            let mut logits = vec![0.5; config.vocab_size];
            logits[5] = odd;
            assert_eq!(draw(&logits, &[], &mut rng, &Sampling::greedy(1, 0), &config), None);
        }
        let nothing = vec![f32::NEG_INFINITY; config.vocab_size];
        assert_eq!(draw(&nothing, &[], &mut rng, &Sampling::greedy(1, 0), &config), None);
    }

    proptest! {
        #[test]
        fn a_draw_is_among_the_most_probable(seed in 0u64..1000, top_k in 1usize..5) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let logits: Vec<f32> = (0..30).map(|_| rng.random::<f32>() * 4.0).collect();
            let sampling = Sampling { temperature: 0.7, top_k, ..Sampling::greedy(1, 0) };
            let id = pick(&warp(logits.clone(), &sampling), rng.random::<f64>());
            let better = logits.iter().filter(|&&l| l > logits[id]).count();
            prop_assert!(better < top_k);
        }
    }
}
