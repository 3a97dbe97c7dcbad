//! GRPO as the study defines it: groups of rollouts, verifiable reward, clipped policy loss, KL.
//!
//! Knows nothing of regimes. Deviations: none known from the study's text; where it is silent (clip
//! range, number of updates per batch) the recipe says what is done.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use rand::seq::SliceRandom;
use synergy_benchmarks::answer::{Outcome, format_reward, judge};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::rope::rope_index;
use synergy_models::vlm::{Vlm, index};
use synergy_models::weights::Parameters;

use crate::data::{Prompter, Sequence, train_sample};
use crate::evaluate::{Question, rollouts};
use crate::features::FeatureCache;
use crate::objective::{PolicyTokens, advantages, grpo, nll};
use crate::recipe::GrpoSpec;
use crate::train::{Batch, Context, StepFigures, Trainer, constant, prediction_log_probs};

/// Places in the training pool of `run_seed` that may be asked: all but those of `solved`.
///
/// # Errors
/// If nothing is left.
pub fn pool(spec: &GrpoSpec, run_seed: u64, solved: &BTreeSet<&str>) -> Result<Vec<u64>> {
    let all = 0..spec.num_questions as u64;
    let pool: Vec<u64> = if solved.is_empty() {
        all.collect()
    } else {
        all.filter(|&i| !solved.contains(train_sample(run_seed, i, spec.hops).id.as_str()))
            .collect()
    };
    ensure!(
        !pool.is_empty(),
        "every question is solved already\nhint: harder hops, or more questions"
    );
    Ok(pool)
}

/// The questions of `step`: every epoch over `pool` has an order of its own.
///
/// # Errors
/// If the chat template fails.
pub fn batch(
    prompter: &Prompter,
    spec: &GrpoSpec,
    pool: &[u64],
    run_seed: u64,
    seed: Seed,
    step: usize,
) -> Result<Vec<Question>> {
    let per_epoch = (pool.len() / spec.batch_size).max(1);
    let (epoch, within) = (step / per_epoch, step % per_epoch);
    let mut order = pool.to_vec();
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

/// A question's judged rollouts.
pub(super) struct Rolled {
    pub(super) rollouts: Vec<Generated>,
    pub(super) rewards: Vec<f64>,
    /// Share of right answers.
    pub(super) pass_rate: f64,
}

/// One answer of a group: a beginning that is given, then what the policy wrote itself.
pub(super) struct Answer {
    pub(super) ids: Vec<u32>,
    /// Tokens that are given.
    pub(super) num_given: usize,
    /// Whether what is given is learned.
    pub(super) is_learned: bool,
    /// Of each own token, under the policy that sampled.
    pub(super) log_probs: Vec<f32>,
    pub(super) advantage: f32,
}

/// A question once, then every answer as a segment of its own: what the prompt costs is paid once.
pub(super) struct Group {
    sequence: Sequence,
    /// One for each prediction of `sequence`, in order.
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy)]
enum Token {
    /// Sampled: log-probability then, advantage of its answer, number of tokens its answer has.
    Own { old_log_prob: f32, advantage: f32, len: usize },
    /// Given and learned.
    Learned,
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
    let policy = Vlm::new(&context.prompter.config, &trainer.parameters);
    let mut figures = StepFigures::new();
    let rolled = roll(&policy, context, spec, questions, &[], seed, &mut figures);
    drop(policy);
    let groups = questions
        .iter()
        .zip(&rolled)
        .map(|(question, rolled)| group(context.prompter, question, &answers(spec, rolled, &[])))
        .collect::<Result<Vec<_>>>()?;
    updates(trainer, context, spec, reference, &groups, 0.0, &mut figures)?;
    Ok(figures)
}

/// Rollouts of `questions`, each after its text of `given` (none: nothing is given), judged as a whole.
pub(super) fn roll(
    policy: &Vlm,
    context: &Context<'_>,
    spec: &GrpoSpec,
    questions: &[Question],
    given: &[&[u32]],
    seed: Seed,
    figures: &mut StepFigures,
) -> Vec<Rolled> {
    let sampling = Sampling {
        temperature: spec.temperature,
        ..Sampling::greedy(spec.max_completion_tokens, context.prompter.config.eos_token_id)
    };
    let generated = rollouts(policy, context, questions, spec.num_generations, &sampling, seed);
    let num_rollouts = (questions.len() * spec.num_generations) as f64;
    let mut add = |name: &str, value: f64| {
        *figures.entry(name.to_owned()).or_default() += value / num_rollouts;
    };
    let judge = |(i, rollouts): (usize, Vec<Generated>)| {
        let mut rewards = Vec::with_capacity(rollouts.len());
        let mut num_right = 0.0;
        for rollout in &rollouts {
            let whole = [given.get(i).copied().unwrap_or_default(), &rollout.ids].concat();
            let text = context.prompter.tokenizer.decode(&whole);
            let (accuracy, format) = reward(&questions[i].sample, &text, rollout.finished);
            rewards.push(spec.accuracy_weight * accuracy + spec.format_weight * format);
            num_right += accuracy;
            add("reward", rewards[rewards.len() - 1]);
            add("accuracy", accuracy);
            add("format", format);
            add("length", rollout.ids.len() as f64);
            add("truncated", f64::from(u8::from(!rollout.finished)));
            let nats: f32 = rollout.log_probs.iter().sum::<f32>() / rollout.log_probs.len() as f32;
            add("surprise_nats", -f64::from(nats));
        }
        Rolled { pass_rate: num_right / rollouts.len() as f64, rollouts, rewards }
    };
    generated.into_iter().enumerate().map(judge).collect()
}

/// Answers of a group with their advantages, behind `given`, which is learned from the first of them.
pub(super) fn answers(spec: &GrpoSpec, rolled: &Rolled, given: &[u32]) -> Vec<Answer> {
    let advantages = advantages(&rolled.rewards, spec.advantage_epsilon);
    let answer = |(k, (rollout, advantage)): (usize, (&Generated, f64))| Answer {
        ids: [given, &rollout.ids].concat(),
        num_given: given.len(),
        is_learned: k == 0,
        log_probs: rollout.log_probs.clone(),
        advantage: advantage as f32,
    };
    rolled.rollouts.iter().zip(advantages).enumerate().map(answer).collect()
}

/// `num_mini_batches` updates on `groups`; the loss of all learned tokens of an update together weighs
/// `sft_weight`.
///
/// # Errors
/// See [`Trainer::update`].
pub(super) fn updates(
    trainer: &mut Trainer,
    context: &Context<'_>,
    spec: &GrpoSpec,
    reference: Reference<'_>,
    groups: &[Group],
    sft_weight: f64,
    figures: &mut StepFigures,
) -> Result<()> {
    let kept = reference.features;
    let reference = Vlm::new(&context.prompter.config, reference.parameters);
    let per_update = groups.len() / spec.num_mini_batches;
    for groups in groups.chunks(per_update) {
        let sequences: Vec<Sequence> = groups.iter().map(|g| g.sequence.clone()).collect();
        let num_learned: usize = groups.iter().map(Group::num_learned).sum();
        // Every question weighs the same, whether it teaches by rewards or by an answer.
        let teaching = groups.iter().filter(|g| g.num_learned() > 0).count();
        let share = teaching as f64 / groups.len() as f64;
        let weights = Weights {
            own: 1.0 / (groups.len() * spec.num_generations) as f64,
            learned: sft_weight * share / num_learned.max(1) as f64,
        };
        let update = trainer.update(context, &sequences, |log_probs, batch| {
            let reference = Tensor::from_inner(prediction_log_probs(&reference, batch, kept));
            loss(log_probs, reference, batch, groups, weights, spec)
        })?;
        for (name, value) in update {
            *figures.entry(name).or_default() += value / spec.num_mini_batches as f64;
        }
    }
    Ok(())
}

/// What one answer, and what one learned token, weighs in an update.
#[derive(Debug, Clone, Copy)]
struct Weights {
    own: f64,
    learned: f64,
}

impl Group {
    fn num_learned(&self) -> usize {
        self.tokens.iter().filter(|t| matches!(t, Token::Learned)).count()
    }
}

fn loss(
    log_probs: Tensor<1>,
    reference_log_probs: Tensor<1>,
    batch: &Batch<'_>,
    groups: &[Group],
    weights: Weights,
    spec: &GrpoSpec,
) -> (Tensor<1>, StepFigures) {
    let tokens: Vec<Token> =
        batch.members.iter().flat_map(|&i| groups[i].tokens.iter().copied()).collect();
    let places = |learned: bool| -> Vec<i64> {
        let is = |t: &Token| matches!(t, Token::Learned) == learned;
        (0..).zip(&tokens).filter(|(_, t)| is(t)).map(|(i, _)| i).collect()
    };
    let learned = places(true);
    if learned.is_empty() {
        return policy_loss(log_probs, reference_log_probs, &tokens, weights, spec);
    }
    let device = log_probs.device();
    let weight = vec![weights.learned as f32; learned.len()];
    let taught = log_probs.clone().select(0, index(learned, &device));
    let sft = nll(taught.clone(), constant(weight, &taught));
    let sft_loss = f64::from(sft.clone().inner().into_scalar::<f32>());
    let own = places(false);
    let (total, mut figures) = if own.is_empty() {
        (sft, StepFigures::new())
    } else {
        let own = index(own, &device);
        let (rl, figures) = policy_loss(
            log_probs.select(0, own.clone()),
            reference_log_probs.select(0, own),
            &tokens,
            weights,
            spec,
        );
        (rl + sft, figures)
    };
    figures.insert("sft_loss".into(), sft_loss);
    (total, figures)
}

/// The loss of own tokens.
fn policy_loss(
    log_probs: Tensor<1>,
    reference_log_probs: Tensor<1>,
    tokens: &[Token],
    weights: Weights,
    spec: &GrpoSpec,
) -> (Tensor<1>, StepFigures) {
    let (mut old, mut spread, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for token in tokens {
        if let Token::Own { old_log_prob, advantage, len } = *token {
            old.push(old_log_prob);
            spread.push(advantage);
            shares.push((weights.own / len as f64) as f32);
        }
    }
    let tokens = PolicyTokens {
        old_log_probs: constant(old, &log_probs),
        advantages: constant(spread, &log_probs),
        weights: constant(shares, &log_probs),
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

/// A question and its answers.
///
/// # Errors
/// If prompt and pictures disagree.
pub(super) fn group(prompter: &Prompter, question: &Question, answers: &[Answer]) -> Result<Group> {
    let prompt = &question.input_ids;
    let grids: Vec<_> = question.patches.iter().map(|p| p.grid).collect();
    let mut positions = rope_index(prompt, &grids, &prompter.config)?;
    let next = positions.iter().flatten().max().map_or(0, |p| p + 1);
    let mut ids = prompt.clone();
    let mut segments = vec![0; prompt.len()];
    let (mut predictions, mut tokens) = (Vec::new(), Vec::new());
    for (k, answer) in answers.iter().enumerate() {
        let len = answer.ids.len() - answer.num_given;
        for (t, &id) in answer.ids.iter().enumerate() {
            let token = match t.checked_sub(answer.num_given) {
                None => answer.is_learned.then_some(Token::Learned),
                Some(own) => Some(Token::Own {
                    old_log_prob: answer.log_probs[own],
                    advantage: answer.advantage,
                    len,
                }),
            };
            if let Some(token) = token {
                predictions.push((if t == 0 { prompt.len() - 1 } else { ids.len() - 1 }, id));
                tokens.push(token);
            }
            ids.push(id);
            segments.push(k as u32 + 1);
            positions.push([next + t as u32; 3]);
        }
    }
    let sequence = Sequence {
        input_ids: ids,
        positions,
        segments,
        patches: question.patches.clone(),
        predictions,
    };
    Ok(Group { sequence, tokens })
}
