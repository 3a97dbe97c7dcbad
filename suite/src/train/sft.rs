//! Supervised fine-tuning on teacher traces: shuffled epochs over a fixed pool of questions.
//!
//! Knows nothing of rewards. Deviation from the study: traces come from the families' own teacher,
//! not from a distilled model; the update itself is pretraining's.

use anyhow::Result;
use rand::seq::SliceRandom;
use synergy_benchmarks::seed::Seed;

use crate::data::{Prompter, Register, Sequence, train_sample};
use crate::recipe::{SftSpec, Trace};

/// The sequences of `step`, the study's prompt and a trace each: every epoch sees every question of
/// the pool of `run_seed` once, in an order of its own.
///
/// # Errors
/// If the chat template fails.
pub fn batch(
    prompter: &Prompter,
    spec: &SftSpec,
    run_seed: u64,
    seed: Seed,
    step: usize,
) -> Result<Vec<Sequence>> {
    let per_epoch = spec.num_questions.div_ceil(spec.batch_size);
    let (epoch, within) = (step / per_epoch, step % per_epoch);
    let mut order: Vec<u64> = (0..spec.num_questions as u64).collect();
    order.shuffle(&mut seed.fold_in("shuffle").at(epoch as u64).rng());
    let end = ((within + 1) * spec.batch_size).min(order.len());
    let register = match spec.trace {
        Trace::Terse => Register::Terse,
        Trace::Verbose => Register::Verbose,
    };
    let rng = &mut seed.fold_in("gaps").at(step as u64).rng();
    order[within * spec.batch_size..end]
        .iter()
        .map(|&index| {
            let sample = train_sample(run_seed, index, spec.hops);
            let answer = Prompter::answer(register, &sample.terse, &sample.verbose, &sample.answer);
            let turn = (prompter.text(&sample.question, true), answer);
            prompter.conversation(&[turn], prompter.patches(&sample)?, spec.position_gap_max, rng)
        })
        .collect()
}
