//! Two models along one answer: the entropy of each and the divergence between them, token by token.
//!
//! Does not know whose models they are. An answer is read, not written (teacher forcing): both models see the same tokens.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_report::score::spread::TokenSpread;

use crate::limits::Limits;
use crate::train::sequence::{Sequence, token_batch};
use crate::train::{Batch, matrix, recompute, values};

/// Entropy of `model` and of `base`, and the KL divergence of `model` from `base`, where each prediction of `sequence` is
/// made, in nats. No token begins a word here.
pub fn along(model: &Vlm, base: &Vlm, sequence: &Sequence) -> Vec<TokenSpread> {
    let [own, others] = [model, base].map(|model| (model, predicting(model, sequence)));
    let rows = |(model, states): &(&Vlm, Tensor<2>), from: usize, num: usize| {
        log_softmax(model.decoder.logits(states.clone().narrow(0, from, num)), 1)
    };
    let mut found = Vec::with_capacity(sequence.predictions.len());
    // Logits of a long answer over a large vocabulary do not fit at once.
    let at_once = Limits::new(None).logits;
    for from in (0..sequence.predictions.len()).step_by(at_once) {
        let num = at_once.min(sequence.predictions.len() - from);
        let (p, q) = (rows(&own, from, num), rows(&others, from, num));
        let sum = |t: Tensor<2>| values(t.sum_dim(1).reshape([num]));
        let entropies = sum((p.clone().exp() * p.clone()).neg());
        let base_entropies = sum((q.clone().exp() * q.clone()).neg());
        let kl = sum(p.clone().exp() * (p - q));
        for ((entropy, base_entropy), kl) in entropies.into_iter().zip(base_entropies).zip(kl) {
            // Equal models differ by rounding, in either direction.
            let kl = kl.max(0.0);
            found.push(TokenSpread { entropy, base_entropy, kl, begins_pivotal_word: false });
        }
    }
    found
}

/// The normalized states that predict, `[predictions, hidden_size]`.
fn predicting(model: &Vlm, sequence: &Sequence) -> Tensor<2> {
    if let Some(native) = &model.native {
        let batch = Batch { members: &[], sequences: vec![sequence], num_micro_batches: 1 };
        let (tokens, predictions) = token_batch(&batch.sequences, &model.config);
        let features = native.image_features(&batch.pictures()).0;
        let (_, pass) = native.log_probs(&tokens, &features, &predictions);
        let hidden = model.layout.decoder.hidden_size;
        return matrix(pass.predicting().to_vec(), hidden, &model.device());
    }
    recompute::predicting(model, sequence, Limits::new(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::{BASE, answered};
    use synergy_benchmarks::seed::Seed;
    use synergy_models::weights::Parameters;

    fn moved(by: f64) -> Parameters {
        BASE.parameters.map(|name, p| {
            p.value.clone() * if name == "model.norm.weight" { 1.0 + by } else { 1.0 }
        })
    }

    #[test]
    fn a_model_is_no_way_from_itself_and_some_way_from_another() {
        let sequence = answered(2, [2, 4], &mut Seed::root(6).rng());
        let config = &BASE.prompter.config;
        let (base, other) = (Vlm::new(config, &BASE.parameters), moved(0.5));
        let other = Vlm::new(config, &other);
        let same = along(&base, &base, &sequence);
        assert_eq!(same.len(), sequence.predictions.len());
        let most = (config.vocab_size as f32).ln();
        for token in &same {
            assert!(token.kl.abs() < 1e-5 && (token.entropy - token.base_entropy).abs() < 1e-6);
            assert!((0.0..=most).contains(&token.entropy));
        }
        let apart = along(&other, &base, &sequence);
        assert!(apart.iter().all(|t| t.kl > 0.0 && t.entropy < t.base_entropy), "{apart:?}");
        for (a, b) in apart.iter().zip(&same) {
            assert!((a.base_entropy - b.entropy).abs() < 1e-6);
        }
        // Both forms of the model tell the same, and again the same bits.
        assert_eq!(along(&other, &base, &sequence), apart);
        for (a, b) in along(&other.plain(), &base.plain(), &sequence).iter().zip(&apart) {
            assert!(
                (a.kl - b.kl).abs() < 1e-4 && (a.entropy - b.entropy).abs() < 1e-4,
                "{a:?} {b:?}"
            );
        }
    }

    #[test]
    fn the_divergence_is_that_of_its_definition() {
        // By the definition, from the two forms' log-probabilities of every token of the vocabulary.
        let mut sequence = answered(2, [1, 1], &mut Seed::root(6).rng());
        sequence.predictions.truncate(1);
        let config = &BASE.prompter.config;
        let other = moved(0.5);
        let models = [&other, &BASE.parameters].map(|p| Vlm::new(config, p));
        let at = sequence.predictions[0].0;
        let every = Sequence {
            predictions: (0..config.vocab_size as u32).map(|id| (at, id)).collect(),
            ..sequence.clone()
        };
        let every = std::slice::from_ref(&every);
        let [p, q] = models.each_ref().map(|model| {
            let batch = crate::train::fixture::micro_batch(every);
            values(crate::train::prediction_log_probs(model, &batch, None))
        });
        let expected = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            let pairs = p.iter().zip(&q).map(|(p, q)| (f64::from(*p), f64::from(*q)));
            pairs.map(|(p, q)| p.exp() * of(p, q)).sum()
        };
        let found = along(&models[0], &models[1], &sequence)[0];
        assert!((f64::from(found.kl) - expected(&|p, q| p - q)).abs() < 1e-4, "{found:?}");
        assert!((f64::from(found.entropy) - expected(&|p, _| -p)).abs() < 1e-4, "{found:?}");
    }
}
