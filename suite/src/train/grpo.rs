//! GRPO: groups of rollouts, verifiable reward, clipped policy loss, KL.
//!
//! Knows nothing of regimes, nor which of GRPO's forms is asked for: that is the objective's. Deviations from
//! the study: none known from its text; where it is silent (clip range, number of updates per batch) the
//! recipe says what is done. KL is measured from the model that the stage started from, as verl and TRL do.
//!
//! Every step checks that each group is one question with its own pictures, and that the model that learns
//! gives sampled tokens the probability that the model that sampled them gave.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use rand::seq::SliceRandom;
use synergy_benchmarks::seed::Seed;
use synergy_models::config::VlmConfig;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::rope::rope_index;
use synergy_models::vlm::Vlm;
use synergy_models::weights::{ComputeDtype, Parameters};

use crate::limits::Limits;
use crate::planted::Planted;
use crate::recipe::{GrpoSpec, KlPlace, QuestionsSpec};
use crate::reward::reward;
use crate::train::features::FeatureCache;
use crate::train::objective::{
    Denominators, PolicyAnswer, advantages, answer_loss, kl_of_answer, token_weight,
};
use crate::train::pool;
use crate::train::recompute;
use crate::train::rollout::{Question, rollouts};
use crate::train::sequence::{Prompter, Sequence, micro_batches};
use crate::train::{Batch, Context, Loss, StepFigures, Trainer, prediction_log_probs, values};

/// How far apart, in nats, a sampled token's log-probability may be in sampling and in training before any
/// update: both compute the same, one with kept keys and one without (at most 4.4e-4 has been seen in f32).
pub const LOG_PROB_GAP_MAX: f64 = 1e-3;
/// The same where both compute in bf16: a log-probability is there up to 0.2 from that of f32, in either of them.
pub const LOG_PROB_GAP_MAX_BF16: f64 = 0.5;

/// Places in the pool of `run_seed` that may be asked: all but those of `solved`.
///
/// # Errors
/// If nothing is left.
pub fn pool(spec: &GrpoSpec, run_seed: u64, solved: &BTreeSet<&str>) -> Result<Vec<u64>> {
    let asked: &QuestionsSpec = &spec.questions;
    let mut pool: Vec<u64> = Vec::new();
    for i in 0..pool::num_questions(asked)? as u64 {
        if solved.is_empty() || !solved.contains(pool::sample(asked, run_seed, i)?.id.as_str()) {
            pool.push(i);
        }
    }
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
    let ask = |&i: &u64| Question::new(prompter, pool::sample(&spec.questions, run_seed, i)?, true);
    taken.map(ask).collect()
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
    /// What the own tokens earned.
    pub(super) reward: f64,
}

/// A question once, then every answer as a segment of its own: what the prompt costs is paid once.
pub(super) struct Group {
    sequence: Sequence,
    /// One for each prediction of `sequence`, in order.
    tokens: Vec<Token>,
    /// Answers with own tokens.
    sampled: Vec<SampledAnswer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Of the sampled answer at this place.
    Own(usize),
    /// Given and learned.
    Learned,
}

/// What the policy wrote of one answer, and what it earned.
struct SampledAnswer {
    /// Of each token, under the policy that sampled.
    log_probs: Vec<f64>,
    reward: f64,
}

/// One step: rollouts, rewards, then `num_mini_batches` updates.
///
/// # Errors
/// See [`Trainer::update`]; if a group is not of one question, or sampling and training disagree.
pub fn step(
    trainer: &mut Trainer,
    context: &Context<'_>,
    spec: &GrpoSpec,
    reference: Reference<'_>,
    questions: &[Question],
    seed: Seed,
) -> Result<StepFigures> {
    let policy = context.model(&trainer.parameters);
    let mut figures = StepFigures::new();
    let rolled = roll(&policy, context, spec, questions, &[], seed, &mut figures)?;
    drop(policy);
    let groups = questions
        .iter()
        .zip(&rolled)
        .map(|(question, rolled)| group(context.prompter, question, &answers(rolled, &[])))
        .collect::<Result<Vec<_>>>()?;
    learn(trainer, context, spec, reference, &groups, 0.0, &mut figures)?;
    Ok(figures)
}

/// Rollouts of `questions`, each after its text of `given` (none: nothing is given), judged as a whole.
///
/// # Errors
/// See [`rollouts`].
pub(super) fn roll(
    policy: &Vlm,
    context: &Context<'_>,
    spec: &GrpoSpec,
    questions: &[Question],
    given: &[&[u32]],
    seed: Seed,
    figures: &mut StepFigures,
) -> Result<Vec<Rolled>> {
    let sampling = Sampling {
        temperature: spec.temperature,
        ..Sampling::greedy(spec.max_completion_tokens, context.prompter.tokenizer.ids.eos)
    };
    let generated = rollouts(policy, context, questions, spec.num_generations, &sampling, seed)?;
    let num_rollouts = (questions.len() * spec.num_generations) as f64;
    let num_tokens: usize = generated.iter().flatten().map(|g| g.ids.len()).sum();
    let mut add = |name: &str, value: f64| *figures.entry(name.to_owned()).or_default() += value;
    let judge = |(i, rollouts): (usize, Vec<Generated>)| {
        let mut rewards = Vec::with_capacity(rollouts.len());
        let mut num_right = 0.0;
        for rollout in &rollouts {
            let whole = [given.get(i).copied().unwrap_or_default(), &rollout.ids].concat();
            let text = context.prompter.tokenizer.decode(&whole);
            let sample = &questions[i].sample;
            let earned = reward(&spec.reward, context.grader, &text, sample, rollout.finished);
            rewards.push(earned.total);
            num_right += earned.accuracy;
            add("reward", earned.total / num_rollouts);
            add("accuracy", earned.accuracy / num_rollouts);
            add("format", earned.format / num_rollouts);
            add("length", rollout.ids.len() as f64 / num_rollouts);
            add("truncated", f64::from(u8::from(!rollout.finished)) / num_rollouts);
            // At temperature 1 the mean over sampled tokens estimates the entropy without bias.
            let nats: f64 = rollout.log_probs.iter().map(|x| f64::from(*x)).sum();
            add("entropy_nats", -nats / num_tokens as f64);
        }
        Rolled { pass_rate: num_right / rollouts.len() as f64, rollouts, rewards }
    };
    let rolled = generated.into_iter().enumerate().map(judge).collect();
    add("tokens_generated", num_tokens as f64);
    // Prompts are computed once for all their rollouts.
    let prompts: usize = questions.iter().map(|q| q.input_ids.len()).sum();
    add("tokens_forward", (prompts + num_tokens) as f64);
    Ok(rolled)
}

/// Answers of a group behind `given`, which is learned from the first of them.
pub(super) fn answers(rolled: &Rolled, given: &[u32]) -> Vec<Answer> {
    let answer = |(k, (rollout, reward)): (usize, (&Generated, &f64))| Answer {
        ids: [given, &rollout.ids].concat(),
        num_given: given.len(),
        is_learned: k == 0,
        log_probs: rollout.log_probs.clone(),
        reward: *reward,
    };
    rolled.rollouts.iter().zip(&rolled.rewards).enumerate().map(answer).collect()
}

/// A group with what its answers are worth.
struct Prepared<'a> {
    group: &'a Group,
    /// Of each prediction, under the reference policy.
    reference: Vec<f64>,
    /// Of each sampled answer.
    advantages: Vec<f64>,
}

/// `num_mini_batches` updates on `groups`; the loss of all learned tokens of an update together weighs
/// `sft_weight`.
///
/// # Errors
/// See [`step`].
pub(super) fn learn(
    trainer: &mut Trainer,
    context: &Context<'_>,
    spec: &GrpoSpec,
    reference: Reference<'_>,
    groups: &[Group],
    sft_weight: f64,
    figures: &mut StepFigures,
) -> Result<()> {
    let reference = reference_log_probs(context, reference, groups);
    let prepared = prepare(context.planted, spec, groups, reference, figures);
    let per_update = groups.len() / spec.num_mini_batches;
    for (k, prepared) in prepared.chunks(per_update).enumerate() {
        let sequences: Vec<Sequence> = prepared.iter().map(|p| p.group.sequence.clone()).collect();
        let weights = Weights::of(prepared, spec, sft_weight);
        // The largest, whichever thread comes first. The bits of numbers that are not negative sort as they do.
        let gap = AtomicU32::new(0);
        let update = trainer.update(context, &sequences, |log_probs, batch| {
            let (loss, largest) = loss(log_probs, batch, prepared, weights, spec);
            gap.fetch_max(largest.to_bits(), Ordering::Relaxed);
            loss
        })?;
        for (name, value) in update {
            *figures.entry(name).or_default() += value / spec.num_mini_batches as f64;
        }
        let tokens: usize = sequences.iter().map(|s| s.input_ids.len()).sum();
        *figures.entry("tokens_trained".into()).or_default() += tokens as f64;
        *figures.entry("tokens_forward".into()).or_default() += tokens as f64;
        // Later updates of a step are meant to differ.
        if k == 0 {
            let gap = f64::from(f32::from_bits(gap.into_inner()));
            figures.insert("log_prob_gap".into(), gap);
            let most = match context.training.dtype() {
                ComputeDtype::F32 => LOG_PROB_GAP_MAX,
                ComputeDtype::Bf16 => LOG_PROB_GAP_MAX_BF16,
            };
            ensure!(
                gap <= most,
                "sampling and training give a token log-probabilities {gap} apart\n\
                 hint: at most {most} is rounding; the two forms of the model disagree"
            );
        }
    }
    figures.insert("groups_intact".into(), 1.0);
    Ok(())
}

/// Under the reference policy, of every prediction of every group.
fn reference_log_probs(
    context: &Context<'_>,
    reference: Reference<'_>,
    groups: &[Group],
) -> Vec<Vec<f64>> {
    let model = context.model(reference.parameters);
    let lengths: Vec<usize> = groups.iter().map(|g| g.sequence.input_ids.len()).collect();
    let cut = micro_batches(&lengths, context.training.micro_batch_size);
    let parts = context.compute.map(&cut, |_, members| {
        let sequences = members.iter().map(|&i| &groups[i].sequence).collect();
        let batch = Batch { members, sequences, num_micro_batches: cut.len() };
        if context.training.recompute() && model.native.is_none() {
            let limits = Limits::new(context.training.max_packed_tokens);
            return recompute::log_probs(&model, &batch, reference.features, limits);
        }
        values(prediction_log_probs(&model, &batch, reference.features))
    });
    let mut out = vec![Vec::new(); groups.len()];
    for (members, part) in cut.iter().zip(parts) {
        let mut part = part.into_iter().map(f64::from);
        for &i in members {
            out[i] = part.by_ref().take(groups[i].tokens.len()).collect();
        }
    }
    out
}

/// Rewards to advantages.
fn prepare<'a>(
    planted: Option<Planted>,
    spec: &GrpoSpec,
    groups: &'a [Group],
    reference: Vec<Vec<f64>>,
    figures: &mut StepFigures,
) -> Vec<Prepared<'a>> {
    let objective = &spec.objective;
    let rewards_of = |(group, reference): (&Group, &Vec<f64>)| -> Vec<f64> {
        let reward = |(place, answer): (usize, &SampledAnswer)| {
            let own: Vec<f64> = group.own(place, reference).copied().collect();
            match objective.kl_in {
                KlPlace::Loss => answer.reward,
                KlPlace::Reward => {
                    answer.reward
                        - objective.beta * kl_of_answer(objective.kl, &answer.log_probs, &own)
                }
            }
        };
        group.sampled.iter().enumerate().map(reward).collect()
    };
    let rewards: Vec<Vec<f64>> = groups.iter().zip(&reference).map(rewards_of).collect();
    let advantages = match planted {
        Some(Planted::MixedGroups) => {
            Planted::groups(&advantages(objective, &Planted::groups(&rewards)))
        }
        _ => advantages(objective, &rewards),
    };
    let sampled = advantages.iter().filter(|group| !group.is_empty());
    let zero = sampled.clone().filter(|group| group.iter().all(|a| a.abs() < 1e-12)).count();
    figures.insert("zero_advantage".into(), zero as f64 / sampled.count().max(1) as f64);
    groups
        .iter()
        .zip(reference)
        .zip(advantages)
        .map(|((group, reference), advantages)| Prepared { group, reference, advantages })
        .collect()
}

/// What an update is divided by.
#[derive(Debug, Clone, Copy)]
struct Weights {
    num_answers: usize,
    num_tokens: usize,
    max_completion_tokens: usize,
    /// Of one learned token.
    learned: f64,
    /// Whether answers are learned where rollouts fail.
    teaches: bool,
}

impl Weights {
    fn of(prepared: &[Prepared<'_>], spec: &GrpoSpec, sft_weight: f64) -> Weights {
        let num_learned: usize = prepared.iter().map(|p| p.group.num_learned()).sum();
        let all: usize = prepared.iter().map(|p| p.group.tokens.len()).sum();
        // Every question weighs the same, whether it teaches by rewards or by an answer.
        let teaching = prepared.iter().filter(|p| p.group.num_learned() > 0).count();
        let share = teaching as f64 / prepared.len() as f64;
        Weights {
            num_answers: prepared.len() * spec.num_generations,
            num_tokens: all - num_learned,
            max_completion_tokens: spec.max_completion_tokens,
            learned: sft_weight * share / num_learned.max(1) as f64,
            teaches: sft_weight > 0.0,
        }
    }
}

impl Group {
    fn num_learned(&self) -> usize {
        self.tokens.iter().filter(|t| **t == Token::Learned).count()
    }

    /// Of `items`, one for each prediction, those of the sampled answer at `place`.
    fn own<'a, T>(&'a self, place: usize, items: &'a [T]) -> impl Iterator<Item = &'a T> {
        let is_own = move |(token, _): &(&Token, &T)| **token == Token::Own(place);
        self.tokens.iter().zip(items).filter(is_own).map(|(_, item)| item)
    }
}

/// The loss of a micro-batch, and how far at most its log-probabilities are from those of sampling.
fn loss(
    log_probs: &[f32],
    batch: &Batch<'_>,
    prepared: &[Prepared<'_>],
    weights: Weights,
    spec: &GrpoSpec,
) -> (Loss, f32) {
    let members = || batch.members.iter().map(|&i| &prepared[i]);
    let own_tokens = |p: &Prepared<'_>| p.group.tokens.len() - p.group.num_learned();
    let denominators = Denominators {
        num_answers: weights.num_answers,
        update_tokens: weights.num_tokens,
        micro_batch_tokens: members().map(own_tokens).sum(),
        num_micro_batches: batch.num_micro_batches,
        max_completion_tokens: weights.max_completion_tokens,
    };
    let mut total = Loss { value: 0.0, slopes: Vec::new(), figures: StepFigures::new() };
    let (mut kl, mut num_clipped, mut sft_loss, mut gap) = (0.0, 0, 0.0, 0.0_f64);
    let mut rest = log_probs;
    for Prepared { group, reference, advantages } in members() {
        let (own, others) = rest.split_at(group.tokens.len());
        rest = others;
        let mut slopes: Vec<f32> = vec![-weights.learned as f32; own.len()];
        for (place, (sampled, &advantage)) in group.sampled.iter().zip(advantages).enumerate() {
            let log_probs: Vec<f64> = group.own(place, own).map(|x| f64::from(*x)).collect();
            let reference_log_probs: Vec<f64> = group.own(place, reference).copied().collect();
            let answer = PolicyAnswer {
                log_probs: &log_probs,
                old_log_probs: &sampled.log_probs,
                reference_log_probs: &reference_log_probs,
                advantage,
                token_weight: token_weight(
                    spec.objective.aggregation,
                    denominators,
                    log_probs.len(),
                ),
            };
            let loss = answer_loss(&spec.objective, &answer);
            total.value += loss.value;
            kl += loss.kl;
            num_clipped += loss.num_clipped;
            let apart = log_probs.iter().zip(&sampled.log_probs).map(|(a, b)| (a - b).abs());
            gap = apart.fold(gap, f64::max);
            let mut of_answer = loss.slopes.into_iter();
            for (slope, token) in slopes.iter_mut().zip(&group.tokens) {
                if *token == Token::Own(place) {
                    *slope = of_answer.next().expect("a slope for each token") as f32;
                }
            }
        }
        let learned = group.tokens.iter().zip(own).filter(|(t, _)| **t == Token::Learned);
        sft_loss -= learned.map(|(_, x)| f64::from(*x)).sum::<f64>() * weights.learned;
        total.slopes.extend(slopes);
    }
    total.value += sft_loss;
    let share = 1.0 / weights.num_tokens.max(1) as f64;
    total.figures = StepFigures::from([
        ("kl_nats".to_owned(), kl * share),
        ("clip_fraction".to_owned(), num_clipped as f64 * share),
    ]);
    if weights.teaches {
        total.figures.insert("sft_loss".to_owned(), sft_loss);
    }
    (total, gap as f32)
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
    let mut sampled: Vec<SampledAnswer> = Vec::new();
    for (k, answer) in answers.iter().enumerate() {
        for (t, &id) in answer.ids.iter().enumerate() {
            let given = t < answer.num_given;
            if !given || answer.is_learned {
                predictions.push((if t == 0 { prompt.len() - 1 } else { ids.len() - 1 }, id));
                tokens.push(if given { Token::Learned } else { Token::Own(sampled.len()) });
            }
            ids.push(id);
            segments.push(k as u32 + 1);
            positions.push([next + t as u32; 3]);
        }
        if answer.ids.len() > answer.num_given {
            let log_probs = answer.log_probs.iter().map(|x| f64::from(*x)).collect();
            sampled.push(SampledAnswer { log_probs, reward: answer.reward });
        }
    }
    let sequence = Sequence {
        input_ids: ids,
        positions,
        segments,
        patches: question.patches.clone(),
        predictions,
    };
    let group = Group { sequence, tokens, sampled };
    check(&group, question, &prompter.config)?;
    Ok(group)
}

/// Whether `group` is of `question` alone: its prompt and pictures are those that rollouts were made of.
fn check(group: &Group, question: &Question, config: &VlmConfig) -> Result<()> {
    let layout = config.layout();
    let merge = layout.merge_size;
    let (prompt, ids) = (&question.input_ids, &group.sequence.input_ids);
    let num_image_tokens: usize = question.patches.iter().map(|p| p.grid.num_tokens(merge)).sum();
    let found = ids.iter().filter(|id| **id == layout.image_token_id).count();
    ensure!(
        ids.starts_with(prompt) && group.sequence.patches == question.patches,
        "a group holds the prompt or the pictures of another question than `{}`\n\
         hint: this is a fault of the suite",
        question.sample.id
    );
    ensure!(
        found == num_image_tokens,
        "the answers to `{}` are trained beside {found} image tokens, its pictures have {num_image_tokens}\n\
         hint: an answer holds an image token; this is a fault of the suite",
        question.sample.id
    );
    Ok(())
}
