//! GRPO as the study defines it: groups of rollouts, verifiable reward, clipped policy loss, KL.
//!
//! Knows nothing of regimes. Deviations: none known from the study's text; where it is silent (clip
//! range, number of updates per batch) the recipe says what is done.

use anyhow::Result;
use burn::tensor::Tensor;
use rand::seq::SliceRandom;
use synergy_benchmarks::answer::{Outcome, format_reward, judge};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::rope::rope_index;
use synergy_models::vlm::Vlm;
use synergy_models::weights::Parameters;

use crate::data::{Prompter, Sequence, train_sample};
use crate::evaluate::{Question, rollouts};
use crate::features::FeatureCache;
use crate::objective::{PolicyTokens, advantages, grpo};
use crate::recipe::GrpoSpec;
use crate::train::{Batch, Context, StepFigures, Trainer, constant, prediction_log_probs};

/// The questions of `step`: every epoch over the pool of `run_seed` has an order of its own.
///
/// # Errors
/// If the chat template fails.
pub fn batch(
    prompter: &Prompter,
    spec: &GrpoSpec,
    run_seed: u64,
    seed: Seed,
    step: usize,
) -> Result<Vec<Question>> {
    let per_epoch = (spec.num_questions / spec.batch_size).max(1);
    let (epoch, within) = (step / per_epoch, step % per_epoch);
    let mut order: Vec<u64> = (0..spec.num_questions as u64).collect();
    order.shuffle(&mut seed.fold_in("shuffle").at(epoch as u64).rng());
    let taken = order.iter().cycle().skip(within * spec.batch_size).take(spec.batch_size);
    taken.map(|&i| Question::new(prompter, train_sample(run_seed, i, spec.hops), true)).collect()
}

/// The policy that KL is measured from.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    pub parameters: &'a Parameters,
    /// What its tower has seen, if that tower is the trained policy's and stays as it is.
    pub features: Option<&'a FeatureCache>,
}

/// One group: a question and its judged rollouts.
struct Group {
    sequence: Sequence,
    /// One entry for each answer token of `sequence`, in order.
    old_log_probs: Vec<f32>,
    advantages: Vec<f32>,
    lengths: Vec<usize>,
}

/// One step: rollouts, rewards, then `num_mini_batches` updates.
///
/// # Errors
/// See [`Trainer::update`].
pub fn step(
    trainer: &mut Trainer,
    context: &Context<'_>,
    spec: &GrpoSpec,
    reference: Reference<'_>,
    questions: &[Question],
    seed: Seed,
) -> Result<StepFigures> {
    let config = &context.prompter.config;
    let policy = Vlm::new(config, &trainer.parameters);
    let sampling = Sampling {
        temperature: spec.temperature,
        ..Sampling::greedy(spec.max_completion_tokens, config.eos_token_id)
    };
    let generated = rollouts(&policy, context, questions, spec.num_generations, &sampling, seed);

    let mut figures = StepFigures::new();
    let num_rollouts = (questions.len() * spec.num_generations) as f64;
    let mut add = |name: &str, value: f64| {
        *figures.entry(name.to_owned()).or_default() += value / num_rollouts;
    };
    let mut groups = Vec::with_capacity(questions.len());
    for (question, rollouts) in questions.iter().zip(&generated) {
        let mut rewards = Vec::with_capacity(rollouts.len());
        for rollout in rollouts {
            let text = context.prompter.tokenizer.decode(&rollout.ids);
            let (accuracy, format) = reward(&question.sample, &text, rollout.finished);
            rewards.push(spec.accuracy_weight * accuracy + spec.format_weight * format);
            add("reward", rewards[rewards.len() - 1]);
            add("accuracy", accuracy);
            add("format", format);
            add("length", rollout.ids.len() as f64);
            add("truncated", f64::from(u8::from(!rollout.finished)));
            let nats: f32 = rollout.log_probs.iter().sum::<f32>() / rollout.log_probs.len() as f32;
            add("surprise_nats", -f64::from(nats));
        }
        groups.push(group(
            context.prompter,
            question,
            rollouts,
            &advantages(&rewards, spec.advantage_epsilon),
        )?);
    }

    let kept = reference.features;
    let reference = Vlm::new(config, reference.parameters);
    let per_update = groups.len() / spec.num_mini_batches;
    for groups in groups.chunks(per_update) {
        let sequences: Vec<Sequence> = groups.iter().map(|g| g.sequence.clone()).collect();
        let num_answers: usize = groups.iter().map(|g| g.lengths.len()).sum();
        let update = trainer.update(context, &sequences, |log_probs, batch| {
            let reference = Tensor::from_inner(prediction_log_probs(&reference, batch, kept));
            loss(log_probs, reference, batch, groups, num_answers, spec)
        })?;
        for (name, value) in update {
            *figures.entry(name).or_default() += value / spec.num_mini_batches as f64;
        }
    }
    Ok(figures)
}

fn loss(
    log_probs: Tensor<1>,
    reference_log_probs: Tensor<1>,
    batch: &Batch<'_>,
    groups: &[Group],
    num_answers: usize,
    spec: &GrpoSpec,
) -> (Tensor<1>, StepFigures) {
    let members = || batch.members.iter().map(|&i| &groups[i]);
    let weights = members().flat_map(|g| {
        g.lengths.iter().flat_map(|&n| std::iter::repeat_n(1.0 / (num_answers * n) as f32, n))
    });
    let tokens = PolicyTokens {
        old_log_probs: constant(
            members().flat_map(|g| g.old_log_probs.iter().copied()).collect(),
            &log_probs,
        ),
        advantages: constant(
            members().flat_map(|g| g.advantages.iter().copied()).collect(),
            &log_probs,
        ),
        weights: constant(weights.collect(), &log_probs),
        reference_log_probs,
        log_probs,
    };
    let (loss, kl) = grpo(tokens, spec.epsilon, spec.beta);
    (loss, StepFigures::from([("kl_nats".to_owned(), f64::from(kl.inner().into_scalar::<f32>()))]))
}

/// Accuracy and format, each 0 or 1. A truncated answer is never right.
pub fn reward(sample: &Sample, text: &str, finished: bool) -> (f64, f64) {
    let right = judge(text, &sample.answer, finished).outcome == Outcome::Correct;
    let formed = finished && format_reward(text);
    (f64::from(u8::from(right)), f64::from(u8::from(formed)))
}

/// The question once, then every rollout as a segment of its own: what the prompt costs is paid once.
fn group(
    prompter: &Prompter,
    question: &Question,
    rollouts: &[Generated],
    advantages: &[f64],
) -> Result<Group> {
    let prompt = &question.input_ids;
    let grids: Vec<_> = question.patches.iter().map(|p| p.grid).collect();
    let mut positions = rope_index(prompt, &grids, &prompter.config)?;
    let next = positions.iter().flatten().max().map_or(0, |p| p + 1);
    let mut ids = prompt.clone();
    let mut segments = vec![0; prompt.len()];
    let mut predictions = Vec::new();
    let (mut old, mut spread, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for (k, (rollout, &advantage)) in rollouts.iter().zip(advantages).enumerate() {
        for (t, &id) in rollout.ids.iter().enumerate() {
            predictions.push((if t == 0 { prompt.len() - 1 } else { ids.len() - 1 }, id));
            ids.push(id);
            segments.push(k as u32 + 1);
            positions.push([next + t as u32; 3]);
        }
        old.extend(&rollout.log_probs);
        spread.extend(std::iter::repeat_n(advantage as f32, rollout.ids.len()));
        lengths.push(rollout.ids.len());
    }
    let sequence = Sequence {
        input_ids: ids,
        positions,
        segments,
        patches: question.patches.clone(),
        predictions,
    };
    Ok(Group { sequence, old_log_probs: old, advantages: spread, lengths })
}
