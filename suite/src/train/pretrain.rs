//! Pretraining: next-token loss on conversations about pictures, the answers only.
//!
//! Knows nothing of regimes. Conversations are made on another thread, one step ahead.

use anyhow::Result;
use synergy_benchmarks::seed::Seed;

use crate::data::{Prompter, Sequence};
use crate::objective::nll;
use crate::recipe::PretrainSpec;
use crate::train::{Context, StepFigures, Trainer, constant};

/// The conversations of `step`.
///
/// # Errors
/// If the chat template fails.
pub fn batch(
    prompter: &Prompter,
    spec: &PretrainSpec,
    seed: Seed,
    step: usize,
) -> Result<Vec<Sequence>> {
    prompter.pretrain_batch(spec, seed, step)
}

/// One update with the mean loss over all answer tokens of the batch.
///
/// # Errors
/// See [`Trainer::update`].
pub fn step(
    trainer: &mut Trainer,
    context: &Context<'_>,
    sequences: &[Sequence],
) -> Result<StepFigures> {
    let num_tokens: usize = sequences.iter().map(|s| s.predictions.len()).sum();
    let mut figures = trainer.update(context, sequences, |log_probs, _| {
        let count = log_probs.dims()[0];
        let weights = constant(vec![1.0 / num_tokens as f32; count], &log_probs);
        (nll(log_probs, weights), StepFigures::new())
    })?;
    figures.insert("answer_tokens".into(), num_tokens as f64);
    figures.insert("tokens".into(), sequences.iter().map(|s| s.input_ids.len() as f64).sum());
    Ok(figures)
}
