//! Supervised fine-tuning on teacher traces: shuffled epochs over a fixed pool of questions.
//!
//! Knows nothing of rewards. Deviation from the study: traces come from the families' own teacher,
//! not from a distilled model; the step itself is pretraining's.

use anyhow::Result;
use rand::seq::SliceRandom;
use synergy_benchmarks::seed::Seed;

use crate::data::{Prompter, Sequence};
use crate::recipe::SftSpec;

/// The sequences of `step`: every epoch sees every question once, in an order of its own.
///
/// # Errors
/// If the chat template fails.
pub fn batch(
    prompter: &Prompter,
    spec: &SftSpec,
    seed: Seed,
    step: usize,
) -> Result<Vec<Sequence>> {
    let per_epoch = spec.num_questions.div_ceil(spec.batch_size);
    let (epoch, within) = (step / per_epoch, step % per_epoch);
    let mut order: Vec<u64> = (0..spec.num_questions as u64).collect();
    order.shuffle(&mut seed.fold_in("shuffle").at(epoch as u64).rng());
    let end = ((within + 1) * spec.batch_size).min(order.len());
    let rng = &mut seed.fold_in("gaps").at(step as u64).rng();
    order[within * spec.batch_size..end]
        .iter()
        .map(|&i| prompter.sft_sequence(spec, seed, i, rng))
        .collect()
}
