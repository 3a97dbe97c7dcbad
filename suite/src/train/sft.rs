//! Supervised fine-tuning: shuffled epochs over a data set.
//!
//! Knows nothing of rewards, nor where the answers come from; the update itself is pretraining's.

use anyhow::{Context as _, Result, ensure};
use rand::seq::SliceRandom;
use synergy_benchmarks::seed::Seed;
use synergy_hint::hint;

use crate::recipe::{Accumulation, MeanOver, SftSpec};
use crate::train::algorithm::{Algorithm, Draws, Step};
use crate::train::dataset::Example;
use crate::train::pool::Pool;
use crate::train::pretrain;
use crate::train::sequence::{Prompter, Sequence};

/// Fine-tuning by the settings of one stage.
pub struct Sft<'a> {
    /// The stage's settings.
    pub spec: &'a SftSpec,
    /// Questions with the answers that are learned.
    pub examples: &'a [Example],
    /// Where it draws from.
    pub draws: Draws<'a>,
}

impl Algorithm for Sft<'_> {
    fn num_steps(&self) -> usize {
        self.spec.num_steps(self.examples.len())
    }

    fn steps_per_epoch(&self) -> usize {
        self.num_steps() / self.spec.num_epochs
    }

    fn prepare<'a>(&'a self, prompter: &Prompter, step: usize) -> Result<Step<'a>> {
        let Draws { pool, stage } = self.draws;
        let mut sequences = batch(prompter, self.spec, self.examples, pool, stage, step)?;
        let lengths: Vec<usize> = sequences.iter().map(|s| s.predictions.len()).collect();
        let weights = weights(self.spec, &lengths);
        // What has no weight need not be computed.
        sequences.truncate(weights.len());
        Ok(Box::new(move |trainer, _, context, _| {
            pretrain::step_over(trainer, context, &sequences, &weights, self.spec.token_weight)
        }))
    }
}

/// The weight of each token of an example in the loss of a step, whose examples have so many tokens each. Examples at the
/// end that have no weight are left out.
fn weights(spec: &SftSpec, lengths: &[usize]) -> Vec<f64> {
    let size = spec.training.micro_batch_size;
    let num_tokens = lengths.iter().sum::<usize>() as f64;
    if spec.accumulation == Some(Accumulation::MeanOfMeans) {
        let parts = lengths.chunks(size);
        let share = 1.0 / parts.len() as f64;
        let of_part = |part: &[usize]| share / part.iter().sum::<usize>() as f64;
        return parts.flat_map(|part| vec![of_part(part); part.len()]).collect();
    }
    let weight = |&length: &usize| match spec.mean_over.unwrap_or(MeanOver::Tokens) {
        MeanOver::Tokens => 1.0 / num_tokens,
        MeanOver::Answers => 1.0 / (lengths.len() * length) as f64,
    };
    let taken = match spec.accumulation {
        Some(Accumulation::First) => size.min(lengths.len()),
        _ => lengths.len(),
    };
    lengths[..taken].iter().map(weight).collect()
}

/// Makes the sequences of `step`, the study's prompt and an answer each: every epoch sees every example once, in an
/// order of its own. Questions are those of `pool`.
///
/// # Errors
/// If the chat template fails.
pub fn batch(
    prompter: &Prompter,
    spec: &SftSpec,
    examples: &[Example],
    pool: Pool<'_>,
    seed: Seed,
    step: usize,
) -> Result<Vec<Sequence>> {
    let per_epoch = examples.len().div_ceil(spec.batch_size);
    let (epoch, within) = (step / per_epoch, step % per_epoch);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.shuffle(&mut seed.fold_in("shuffle").at(epoch as u64).rng());
    let end = ((within + 1) * spec.batch_size).min(order.len());
    let rng = &mut seed.fold_in("gaps").at(step as u64).rng();
    order[within * spec.batch_size..end]
        .iter()
        .map(|&i| {
            let example = &examples[i];
            let sample = example.sample(pool)?;
            let turn = (prompter.text(&sample, true), example.answer.clone());
            let patches = prompter.patches(&sample).with_context(|| sample.title())?;
            let mut sequence = prompter
                .conversation(&[turn], patches, spec.position_gap_max, rng)
                .with_context(|| sample.title())?;
            sequence.truncate(spec.max_length.unwrap_or(usize::MAX));
            ensure!(
                !sequence.predictions.is_empty(),
                hint!(
                    ("{} alone has more than max_length tokens", sample.title()),
                    "a longer max_length, or smaller pictures"
                )
            );
            Ok(sequence)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Recipe, StageSpec};

    #[test]
    fn tokens_weigh_as_the_step_is_added_up() {
        let recipe = Recipe::parse(include_str!("../../recipes/smoke.toml")).unwrap();
        let StageSpec::Sft(spec) = &recipe.stages["sft"] else { panic!("sft is SFT") };
        let mut spec = spec.clone();
        spec.training.micro_batch_size = 2;
        let lengths = [2, 14, 4];
        let mut of = |mean_over, accumulation| {
            (spec.mean_over, spec.accumulation) = (mean_over, accumulation);
            weights(&spec, &lengths)
        };
        let is = |found: Vec<f64>, want: &[f64]| {
            assert_eq!(found.len(), want.len());
            let apart = found.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-15, "{found:?} {want:?}");
        };
        for accumulation in [None, Some(Accumulation::Sum)] {
            is(of(None, accumulation), &[1.0 / 20.0; 3]);
            is(of(Some(MeanOver::Tokens), accumulation), &[1.0 / 20.0; 3]);
            let answers = [1.0 / 6.0, 1.0 / 42.0, 1.0 / 12.0];
            is(of(Some(MeanOver::Answers), accumulation), &answers);
        }
        // Of two micro-batches of 16 and 4 tokens.
        is(of(None, Some(Accumulation::First)), &[1.0 / 20.0; 2]);
        is(of(None, Some(Accumulation::MeanOfMeans)), &[1.0 / 32.0, 1.0 / 32.0, 1.0 / 8.0]);
    }
}
