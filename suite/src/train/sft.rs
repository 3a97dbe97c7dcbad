//! Supervised fine-tuning: shuffled epochs over a data set.
//!
//! Knows nothing of rewards, nor where the answers come from; the update itself is pretraining's.

use anyhow::{Context as _, Result, ensure};
use rand::seq::SliceRandom;
use synergy_benchmarks::seed::Seed;
use synergy_hint::hint;

use crate::recipe::{MeanOver, SftSpec};
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
        let sequences = batch(prompter, self.spec, self.examples, pool, stage, step)?;
        let mean_over = self.spec.mean_over.unwrap_or(MeanOver::Tokens);
        Ok(Box::new(move |trainer, _, context, _| {
            pretrain::step_over(trainer, context, &sequences, mean_over)
        }))
    }
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
