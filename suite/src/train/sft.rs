//! Supervised fine-tuning: shuffled epochs over a data set.
//!
//! Knows nothing of rewards, nor where the answers come from; the update itself is pretraining's.

use anyhow::{Result, ensure};
use rand::seq::SliceRandom;
use synergy_benchmarks::seed::Seed;

use crate::recipe::SftSpec;
use crate::train::dataset::Example;
use crate::train::pool::Pool;
use crate::train::sequence::{Prompter, Sequence};

/// Steps in all.
pub fn num_steps(spec: &SftSpec, num_examples: usize) -> usize {
    num_examples.div_ceil(spec.batch_size) * spec.num_epochs
}

/// The sequences of `step`, the study's prompt and an answer each: every epoch sees every example once, in an
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
            let patches = prompter.patches(&sample)?;
            let mut sequence =
                prompter.conversation(&[turn], patches, spec.position_gap_max, rng)?;
            sequence.truncate(spec.max_length.unwrap_or(usize::MAX));
            ensure!(
                !sequence.predictions.is_empty(),
                "question `{}` alone has more than max_length tokens\n\
                 hint: a longer max_length, or smaller pictures",
                sample.id
            );
            Ok(sequence)
        })
        .collect()
}
