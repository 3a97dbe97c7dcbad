//! The probe: one question about a picture, answered greedily by the suite's own engine and by the other one.
//!
//! Does not know what is done about a difference. It finds what `/health` does not: another tokenizer, a penalty that a
//! checkpoint's files ask for, weights of before, pictures that are read otherwise, a model of another name.

use anyhow::{Context as _, Result};
use synergy_benchmarks::families::{Family, Split};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::weights::{ComputeDtype, Parameters};

use crate::device::Compute;
use crate::train::engine::{Engine as _, Question};
use crate::train::rollout::LocalEngine;
use crate::train::sequence::Prompter;

/// Tokens of the answer: a penalty on what was said before shows only after some.
const NUM_TOKENS: usize = 24;
/// The mean distance of log-probabilities in nats that is rounding, where the engine computes in f32. At most 2.1e-5 has
/// been seen at any token.
const NATS: f64 = 1e-4;
/// The same in bf16, where a mean of 1.4e-3 has been seen.
const NATS_BF16: f64 = 0.05;

/// What the suite itself answers to the question.
pub(super) struct Probe {
    own: Generated,
}

/// The question, and how it is answered.
///
/// # Errors
/// If the chat template fails.
pub(super) fn question(prompter: &Prompter) -> Result<(Question, Sampling)> {
    let sample = Sample::procedural(Family::Path, 0, Split::Validation, 0, 2..=2);
    Ok((Question::new(prompter, sample, true)?, prompter.greedy(NUM_TOKENS)))
}

impl Probe {
    /// Asks the suite's own engine, with the weights that the other one is given, in its `dtype` if the device computes in
    /// that.
    ///
    /// # Errors
    /// If the model cannot answer.
    pub(super) fn new(
        config: &VlmConfig,
        question: &Question,
        sampling: &Sampling,
        weights: &Parameters,
        (compute, dtype): (&Compute, ComputeDtype),
    ) -> Result<Probe> {
        // A large model in f32 may not fit a card.
        let dtype = if compute.takes(dtype).is_ok() { dtype } else { ComputeDtype::F32 };
        let mut engine = LocalEngine::new(config, compute, dtype);
        engine.load(weights)?;
        let asked = std::slice::from_ref(question);
        let answers = engine.generate(asked, 1, sampling, Seed::root(0))?;
        let own = answers.into_iter().flatten().next().context("one question has one answer")?;
        Ok(Probe { own })
    }

    /// Compares what the engine that computes in `dtype` has `answered`.
    ///
    /// # Errors
    /// Says what differs.
    pub(super) fn check(&self, answered: &Generated, dtype: ComputeDtype) -> Result<(), String> {
        let own = &self.own;
        let pairs = || own.ids.iter().zip(&answered.ids);
        // Where both went the same way, and the first step where they did not: there both took the likeliest token, and
        // these are equally likely but for rounding.
        let same = pairs().take_while(|(a, b)| a == b).count();
        let compared = (same + 1).min(own.ids.len()).min(answered.ids.len()).max(1);
        let apart = |k: usize| -> f64 {
            let of =
                |answer: &Generated| answer.log_probs.get(k).map_or(f64::NAN, |x| f64::from(*x));
            (of(own) - of(answered)).abs()
        };
        let nats = match dtype {
            ComputeDtype::F32 => NATS,
            ComputeDtype::Bf16 => NATS_BF16,
        };
        let mean = (0..compared).map(apart).sum::<f64>() / compared as f64;
        let is_cut = own.ids.len() != answered.ids.len() && same == pairs().count();
        if mean <= nats && !is_cut {
            return Ok(());
        }
        Err(format!(
            "its greedy answer to a question is not the suite's: {same} tokens of {} are the same, \
             and log-probabilities are {mean:.2e} nats apart in the mean ({nats:.0e} would be rounding)",
            own.ids.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::{BASE, compute};

    fn probe(weights: &Parameters) -> Probe {
        let (question, sampling) = question(&BASE.prompter).unwrap();
        let compute = compute();
        let place = (&compute, ComputeDtype::F32);
        Probe::new(&BASE.prompter.config, &question, &sampling, weights, place).unwrap()
    }

    #[test]
    fn rounding_is_no_difference_and_all_else_is() {
        let probe = probe(&BASE.parameters);
        let own = probe.own.clone();
        let check = |answered: &Generated| probe.check(answered, ComputeDtype::F32);
        check(&own).unwrap();
        let with = |change: fn(&mut Generated)| {
            let mut answered = own.clone();
            change(&mut answered);
            answered
        };
        check(&with(|g| g.log_probs.iter_mut().for_each(|x| *x += 2e-5))).unwrap();
        // Equally likely, and the other was taken; what follows is another text.
        check(&with(|g| (g.ids[3], g.log_probs[4]) = (1, -9.0))).unwrap();
        for wrong in [
            with(|g| g.log_probs.iter_mut().for_each(|x| *x += 1e-3)),
            with(|g| (g.ids[3], g.log_probs[3]) = (1, -9.0)),
            with(|g| g.ids.truncate(5)),
            with(|g| g.ids.clear()),
            with(|g| g.log_probs[0] = f32::NAN),
        ] {
            check(&wrong).unwrap_err();
        }
        let halved = with(|g| g.log_probs.iter_mut().for_each(|x| *x += 0.01));
        check(&halved).unwrap_err();
        probe.check(&halved, ComputeDtype::Bf16).unwrap();
    }

    #[test]
    fn other_weights_answer_otherwise() {
        let device = compute().device;
        let mut rng = Seed::root(5).rng();
        let other = Parameters::init(&BASE.prompter.config, &mut rng, &device);
        let (probe, of_other) = (probe(&BASE.parameters), probe(&other));
        probe.check(&of_other.own, ComputeDtype::F32).unwrap_err();
    }
}
