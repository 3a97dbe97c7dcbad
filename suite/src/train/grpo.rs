//! GRPO: groups of rollouts, verifiable reward, clipped policy loss, KL; demonstrations where rollouts fail.
//!
//! From a question to a loss:
//!
//! ```text
//! question --Engine::generate---> answers          num_generations of each, under the policy as it is
//!          --reward::reward-----> Rollout          what the policy wrote, its log-probabilities, its reward
//!          --Grpo::resample-----> [Rollout]        groups whose answers all earned the same are those of other questions
//!          --Guide::groups------> [Rollout]        a group that fails is given a demonstration, or begins with one
//!          --add_length_rewards-> .reward          what a group's lengths change of what its answers earned
//!          --Group::new---------> Group            the question once, every answer as a segment behind it
//!
//! groups   --scored-------------> Group.reference  log-probabilities under the model that the stage started from
//!          --scored-------------> Group.scores     the same under the model that scores tokens, if there is one
//!          --add_advantages-----> .advantage       rewards of a group (or all), centred and scaled
//!          --chunks-------------> updates          num_mini_batches of them
//!
//! update   --Trainer::update----> micro-batches    log-probabilities of every prediction under the policy
//!          --loss---------------> value, slopes    objective::answer_loss of own tokens, guidance::loss of given ones
//!          --Trainer::update----> gradients        of all micro-batches, one step of the optimizer
//! ```
//!
//! Knows nothing of regimes, nor which of GRPO's forms is asked for: that is the objective's. Deviations from
//! the study: none known from its text; where it is silent (clip range, number of updates per batch) the
//! recipe says what is done. KL is measured from the model that the stage started from, as verl and TRL do.
//!
//! Every step checks that each group is one question with its own pictures, and that the model that learns
//! gives sampled tokens the probability that the model that sampled them gave.
//!
//! Without KL and entropy bonus neither a reference nor a group whose answers all earned the same changes the loss: neither is computed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Result, ensure};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::seed::Seed;
use synergy_hint::hint;

use crate::limits::Limits;
use crate::planted::Planted;
use crate::recipe::{Aggregation, Distillation, GrpoSpec, KlPlace, Shown};
use crate::reward::{LengthReward, Measured};
use crate::train::algorithm::{Algorithm, Draws, Reference, StageInputs, Step};
use crate::train::engine::{Apart, Engine, Question};
use crate::train::group::{Group, Rollout, Token};
use crate::train::guidance::{self, Guided, Weights};
use crate::train::guide::Guide;
use crate::train::mismatch::{GapLimit, Mismatch};
use crate::train::objective::{
    Denominators, PolicyAnswer, advantages, answer_loss, kl_of_answer, mean, scored_advantage,
    signed_worth, token_weight,
};
use crate::train::policy::{Policy, add_work};
use crate::train::prompt::showing;
use crate::train::recompute;
use crate::train::sequence::{Prompter, Sequence, micro_batches};
use crate::train::{
    Batch, Context, EntropyBonus, LARGEST, Loss, Predicted, StepFigures, Trainer,
    prediction_log_probs, values,
};

/// GRPO by the settings of one stage.
pub struct Grpo<'a> {
    /// The stage's settings.
    pub spec: &'a GrpoSpec,
    /// Places in the pool of questions that may be asked.
    pub question_indices: Vec<u64>,
    /// Demonstrations by the ids of their questions.
    pub demonstrations: BTreeMap<&'a str, &'a str>,
    /// What the model that scores tokens is shown, by the ids of its questions.
    pub shown: BTreeMap<&'a str, &'a str>,
    /// Where it draws from.
    pub draws: Draws<'a>,
}

impl<'a> Grpo<'a> {
    /// Takes all questions of the stage but those that are solved.
    ///
    /// # Errors
    /// If a question cannot be read, or none is left.
    pub fn new(spec: &'a GrpoSpec, inputs: StageInputs<'a>, draws: Draws<'a>) -> Result<Grpo<'a>> {
        let StageInputs { solved, demonstrations, shown, .. } = inputs;
        let mut question_indices: Vec<u64> = Vec::new();
        for i in 0..draws.pool.num_questions(&spec.questions)? as u64 {
            let is_solved = |i| -> Result<bool> {
                let question = draws.pool.sample(&spec.questions, i)?;
                Ok(solved.contains(question.id.as_str()))
            };
            if solved.is_empty() || !is_solved(i)? {
                question_indices.push(i);
            }
        }
        ensure!(
            !question_indices.is_empty(),
            hint!("every question is solved already", "harder hops, or more questions")
        );
        Ok(Grpo { spec, question_indices, demonstrations, shown, draws })
    }

    /// Draws the questions of `step`: every epoch over the pool has an order of its own.
    ///
    /// # Errors
    /// If a question cannot be read or the chat template fails.
    pub fn batch(&self, prompter: &Prompter, step: usize) -> Result<Vec<Question>> {
        let batch_size = self.spec.batch_size;
        let per_epoch = (self.question_indices.len() / batch_size).max(1);
        let (epoch, within) = (step / per_epoch, step % per_epoch);
        let mut order = self.question_indices.clone();
        order.shuffle(&mut self.draws.stage.fold_in("shuffle").at(epoch as u64).rng());
        let taken = order.iter().cycle().skip(within * batch_size).take(batch_size);
        taken.map(|&i| self.ask(prompter, i)).collect()
    }

    /// The question at place `i` of the pool.
    fn ask(&self, prompter: &Prompter, i: u64) -> Result<Question> {
        let sample = self.draws.pool.sample(&self.spec.questions, i)?;
        Question::new(prompter, sample, true)
    }

    /// Draws `num` questions at most that are not in `batch`.
    fn others(
        &self,
        prompter: &Prompter,
        batch: &[Question],
        num: usize,
        seed: Seed,
    ) -> Result<Vec<Question>> {
        let mut order = self.question_indices.clone();
        order.shuffle(&mut seed.rng());
        let mut others: Vec<Question> = Vec::new();
        for i in order {
            if others.len() == num {
                break;
            }
            let question = self.ask(prompter, i)?;
            if batch.iter().all(|other| other.sample.id != question.sample.id) {
                others.push(question);
            }
        }
        Ok(others)
    }

    /// Replaces questions whose answers all earned the same, and these answers, as often as the recipe says. The figures are
    /// those of the questions that were drawn first, but for what it took.
    fn resample(
        &self,
        policy: &Policy<'_>,
        questions: &mut [Question],
        answers: &mut [Vec<Rollout>],
        figures: &mut StepFigures,
        seed: Seed,
    ) -> Result<()> {
        let mut num_drawn = 0;
        for round in 0..self.spec.num_resamplings.unwrap_or_default() as u64 {
            let is_even = |rollouts: &Vec<Rollout>| {
                rollouts.iter().all(|rollout| (rollout.reward - rollouts[0].reward).abs() < 1e-9)
            };
            let even: Vec<usize> = (0..answers.len()).filter(|&i| is_even(&answers[i])).collect();
            let seed = seed.fold_in("resampling").at(round);
            let others = self.others(policy.context.prompter, questions, even.len(), seed)?;
            if others.is_empty() {
                break;
            }
            let (rolled, aside) = policy.roll(&others, &[], self.spec.num_generations, seed)?;
            num_drawn += others.len();
            for (i, (other, rollouts)) in even.into_iter().zip(others.into_iter().zip(rolled)) {
                questions[i] = other;
                answers[i] = rollouts;
            }
            add_work(figures, &aside);
        }
        figures.insert("resampled".into(), num_drawn as f64 / questions.len() as f64);
        Ok(())
    }

    /// Makes one step: rollouts by `engine`, rewards, demonstrations, then `num_mini_batches` updates.
    ///
    /// # Errors
    /// See [`Engine`] and [`Trainer::update`]; if a group is not of one question, or sampling and training disagree.
    pub fn step(
        &self,
        trainer: &mut Trainer,
        engine: &mut dyn Engine,
        context: &Context<'_>,
        reference: Reference<'_>,
        questions: &[Question],
        step: usize,
    ) -> Result<StepFigures> {
        let seed = self.draws.stage.fold_in("rollouts").at(step as u64);
        trainer.give_to(engine)?;
        let policy = Policy { engine, context, spec: self.spec };
        let num = self.spec.num_generations;
        let (mut answers, mut figures) = policy.roll(questions, &[], num, seed)?;
        let mut questions = Cow::Borrowed(questions);
        if self.spec.num_resamplings.is_some() {
            self.resample(&policy, questions.to_mut(), &mut answers, &mut figures, seed)?;
        }
        let mut weights = vec![Weights::RL; questions.len()];
        if let Some(guidance) = &self.spec.guidance {
            let (policy, demonstrations) = (&policy, &self.demonstrations);
            let questions = &questions;
            let guide = Guide { guidance, policy, demonstrations, questions, step, seed };
            let (guided, added) = guide.groups(&mut answers)?;
            weights = guided;
            for (name, value) in added {
                *figures.entry(name).or_default() += value;
            }
        }
        if let Some(length) = self.spec.reward.length {
            add_length_rewards(length, self.spec, &mut answers, &mut figures);
        }
        let apart = engine.apart();
        engine.unload();
        let mut groups = questions
            .iter()
            .zip(answers)
            .map(|(question, rollouts)| Group::new(context.prompter, question, rollouts))
            .collect::<Result<Vec<_>>>()?;
        for (group, weights) in groups.iter_mut().zip(weights) {
            group.weights = weights;
        }
        if let Some(apart) = apart {
            take_own_log_probs(apart, trainer, context, &mut groups, &mut figures)?;
        }
        if self.spec.objective.has_kl() {
            let found = scored(context, reference, &groups);
            groups.iter_mut().zip(found).for_each(|(group, found)| group.reference = found);
        }
        if let (Some(scorer), Some(distillation)) = (reference.scorer, &self.spec.distillation) {
            let found = match &distillation.shows {
                Some(shows) => {
                    let shown =
                        self.shown_to_scorer(context.prompter, shows, &questions, &groups)?;
                    scored(context, *scorer, &shown)
                }
                None => scored(context, *scorer, &groups),
            };
            groups.iter_mut().zip(found).for_each(|(group, found)| group.scores = found);
            figures.insert("scorer_kl_nats".into(), kl_from_scorer(&groups));
        }
        add_advantages(context.planted, self.spec, &mut groups, &mut figures);
        self.learn(trainer, context, &groups, &mut figures)?;
        figures.insert("groups_intact".into(), 1.0);
        Ok(figures)
    }

    /// The same answers behind prompts in which the model that scores them sees more than the question.
    fn shown_to_scorer(
        &self,
        prompter: &Prompter,
        shows: &Shown,
        questions: &[Question],
        groups: &[Group],
    ) -> Result<Vec<Group>> {
        let of = |(question, group): (&Question, &Group)| {
            let shown = match shows {
                Shown::Demonstration { .. } => self.shown.get(question.sample.id.as_str()).copied(),
                Shown::Answer {} => Some(question.sample.answer.as_str()),
            };
            let mut question = question.clone();
            if let Some(shown) = shown {
                let text = showing(&prompter.text(&question.sample, true), shown);
                question.input_ids = prompter.prompt_ids(&text, &question.patches)?;
            }
            Group::new(prompter, &question, group.rollouts.clone())
        };
        questions.iter().zip(groups).map(of).collect()
    }

    /// Makes `num_mini_batches` updates on `groups`.
    fn learn(
        &self,
        trainer: &mut Trainer,
        context: &Context<'_>,
        groups: &[Group],
        figures: &mut StepFigures,
    ) -> Result<()> {
        let num_updates = self.spec.num_mini_batches;
        for (k, groups) in groups.chunks(groups.len() / num_updates).enumerate() {
            let limit = GapLimit::of(context.training.dtype());
            let update = Update::new(groups, self.spec, limit);
            let sequences: Vec<Sequence> =
                update.groups.iter().map(|g| g.sequence.clone()).collect();
            // Largest and counts are the same whichever thread comes first.
            let gap = Mutex::new(Gap::default());
            let coefficient = self.spec.objective.entropy();
            let weights = |batch: &Batch<'_>| update.entropy_weights(batch);
            let bonus = EntropyBonus { weights: &weights, coefficient };
            let bonus = self.spec.needs_entropies().then_some(bonus);
            let updated = trainer.update_with(context, &sequences, bonus, |found, batch| {
                let (loss, of_batch) = update.loss(found, batch);
                gap.lock().expect("no thread panics with it").add(of_batch);
                loss
            });
            // Later updates of a step are meant to differ. What is not a number is found here first, where its cause is known.
            if k == 0 {
                let own = gap.into_inner().expect("no thread panics with it");
                let mut gap = Gap::default();
                context.compute.ranks.gather(&own).into_iter().for_each(|of_rank| gap.add(of_rank));
                gap.check(limit)?;
                figures.insert("log_prob_gap".into(), gap.largest);
                figures.insert("log_prob_gap_share".into(), gap.share());
            }
            for (name, value) in updated? {
                if LARGEST.contains(&name.as_str()) {
                    let largest = figures.entry(format!("{name}_max")).or_insert(value);
                    *largest = largest.max(value);
                }
                *figures.entry(name).or_default() += value / num_updates as f64;
            }
            let tokens = |sequence: &Sequence| sequence.input_ids.len() as f64;
            *figures.entry("tokens_trained".into()).or_default() +=
                sequences.iter().map(tokens).sum::<f64>();
            // The reference has seen every group.
            if self.spec.objective.has_kl() {
                *figures.entry("tokens_forward".into()).or_default() +=
                    groups.iter().map(|group| tokens(&group.sequence)).sum::<f64>();
            }
        }
        Ok(())
    }
}

impl Algorithm for Grpo<'_> {
    fn num_steps(&self) -> usize {
        self.spec.num_steps
    }

    fn updates_per_step(&self) -> usize {
        self.spec.num_mini_batches
    }

    fn prepare<'a>(&'a self, prompter: &Prompter, step: usize) -> Result<Step<'a>> {
        let questions = self.batch(prompter, step)?;
        Ok(Box::new(move |trainer, engine, context, reference| {
            self.step(trainer, engine, context, reference, &questions, step)
        }))
    }
}

/// How far the log-probabilities of sampled tokens are from those in training.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Gap {
    /// The largest distance in nats; NaN if any is.
    largest: f64,
    /// Tokens that are farther apart than the limit.
    num_beyond: usize,
    /// Tokens that were compared.
    num_tokens: usize,
}

impl Gap {
    /// Takes in the tokens of `other`.
    fn add(&mut self, other: Gap) {
        // `f64::max` would leave NaN out.
        if self.largest.is_nan() || other.largest.is_nan() {
            self.largest = f64::NAN;
        } else {
            self.largest = self.largest.max(other.largest);
        }
        self.num_beyond += other.num_beyond;
        self.num_tokens += other.num_tokens;
    }

    /// A token whose log-probabilities are `apart`.
    fn of(apart: f64, limit: GapLimit) -> Gap {
        let is_within = apart <= limit.nats;
        Gap { largest: apart, num_beyond: usize::from(!is_within), num_tokens: 1 }
    }

    /// Share of tokens that are beyond the limit.
    fn share(self) -> f64 {
        self.num_beyond as f64 / self.num_tokens.max(1) as f64
    }

    /// Checks that sampling and training agree on the probability of sampled tokens.
    fn check(self, limit: GapLimit) -> Result<()> {
        let Gap { largest, .. } = self;
        let GapLimit { nats, share } = limit;
        ensure!(
            !largest.is_nan(),
            hint!(
                "training gives a sampled token no log-probability (NaN), and sampling gave it one",
                "the two forms of the model disagree; is it the device?"
            )
        );
        ensure!(
            self.share() <= share,
            hint!(
                (
                    "sampling and training give {:.2} % of tokens log-probabilities more than {nats} apart, up to {largest}",
                    100.0 * self.share()
                ),
                (
                    "more than {:.1} % is no rounding; the two forms of the model disagree",
                    100.0 * share
                )
            )
        );
        Ok(())
    }
}

/// Estimates the KL divergence of the policy from the model that scores its tokens: the mean over sampled tokens, in nats.
fn kl_from_scorer(groups: &[Group]) -> f64 {
    let (mut sum, mut num) = (0.0, 0);
    for group in groups {
        for (place, rollout) in group.sampled() {
            let scores = group.of(Token::Own(place), group.scores.iter());
            sum +=
                rollout.log_probs.iter().zip(scores).map(|(old, score)| old - score).sum::<f64>();
            num += rollout.log_probs.len();
        }
    }
    sum / f64::from(num.max(1) as u32)
}

/// The log-probabilities (nats) of all predictions of each group under a model that does not learn.
fn scored(context: &Context<'_>, reference: Reference<'_>, groups: &[Group]) -> Vec<Vec<f64>> {
    let model = context.model(reference.parameters);
    let lengths: Vec<usize> = groups.iter().map(|g| g.sequence.input_ids.len()).collect();
    let cut = micro_batches(&lengths, context.training.micro_batch_size);
    let parts = context.compute.map_among(&context.compute.ranks, &cut, |_, members| {
        let sequences = members.iter().map(|&i| &groups[i].sequence).collect();
        let batch = Batch { members, sequences, num_micro_batches: cut.len() };
        if context.training.recompute() && model.native.is_none() {
            let limits = Limits::new(context.training.max_packed_tokens);
            return recompute::log_probs(&model, &batch, reference.features, limits);
        }
        values(prediction_log_probs(&model, &batch, reference.features))
    });
    let mut found = vec![Vec::new(); groups.len()];
    for (members, part) in cut.iter().zip(parts) {
        let mut part = part.into_iter().map(f64::from);
        for &i in members {
            found[i] = part.by_ref().take(groups[i].tokens.len()).collect();
        }
    }
    found
}

/// Computes the log-probabilities of what another engine has sampled under the policy itself.
///
/// # Errors
/// If the engine's are too far from them.
fn take_own_log_probs(
    apart: Apart,
    trainer: &Trainer,
    context: &Context<'_>,
    groups: &mut [Group],
    figures: &mut StepFigures,
) -> Result<()> {
    let parameters = &trainer.parameters;
    let policy = Reference { parameters, features: context.features, scorer: None };
    let found = scored(context, policy, groups);
    let mut mismatch = Mismatch::default();
    let mut num_tokens = 0;
    for (group, found) in groups.iter_mut().zip(found) {
        num_tokens += group.sequence.input_ids.len();
        for place in 0..group.rollouts.len() {
            let own = group.of(Token::Own(place), found.iter().copied()).collect();
            mismatch.take(&mut group.rollouts[place], own, apart.correction);
        }
    }
    *figures.entry("tokens_forward".into()).or_default() += num_tokens as f64;
    mismatch.tell(GapLimit::of(apart.dtype), figures)
}

/// Turns rewards into advantages.
fn add_advantages(
    planted: Option<Planted>,
    spec: &GrpoSpec,
    groups: &mut [Group],
    figures: &mut StepFigures,
) {
    let objective = &spec.objective;
    let reward = |group: &Group, place: usize, rollout: &Rollout| match objective.kl_in {
        KlPlace::Reward if objective.has_kl() => {
            let reference: Vec<f64> =
                group.of(Token::Own(place), group.reference.iter().copied()).collect();
            rollout.reward
                - objective.beta * kl_of_answer(objective, &rollout.log_probs, &reference)
        }
        _ => rollout.reward,
    };
    // Places of rollouts that are compared with each other.
    let compared = |group: &Group| -> Vec<Vec<usize>> {
        let counts = |rollout: &Rollout| !rollout.ids.is_empty() || spec.has_rows();
        let of = |is_begun: bool| -> Vec<usize> {
            let all = group.rollouts.iter().enumerate();
            let wanted = |rollout: &Rollout| counts(rollout) && rollout.is_begun() == is_begun;
            all.filter(|(_, rollout)| wanted(rollout)).map(|(place, _)| place).collect()
        };
        [of(false), of(true)].into_iter().filter(|places| !places.is_empty()).collect()
    };
    let places: Vec<Vec<Vec<usize>>> = groups.iter().map(compared).collect();
    let mut rewards: Vec<Vec<f64>> = Vec::new();
    for (group, parts) in groups.iter().zip(&places) {
        let reward = |&place: &usize| reward(group, place, &group.rollouts[place]);
        rewards.extend(parts.iter().map(|part| part.iter().map(reward).collect()));
    }
    let advantages = match planted {
        Some(Planted::MixedGroups) => {
            Planted::groups(&advantages(objective, &Planted::groups(&rewards)))
        }
        _ => advantages(objective, &rewards),
    };
    let mut found = rewards.iter().zip(advantages);
    let (mut num_even, mut num_sampled) = (0, 0);
    for (group, parts) in groups.iter_mut().zip(&places) {
        let mut means = Vec::new();
        for part in parts {
            let (rewards, advantages) = found.next().expect("as many as there are parts");
            // One alone behind a prefix is compared with nothing.
            let is_alone = parts.len() > 1 && part.len() == 1 && group.rollouts[part[0]].is_begun();
            for ((&place, advantage), reward) in part.iter().zip(advantages).zip(rewards) {
                group.rollouts[place].advantage = if is_alone { *reward } else { advantage };
            }
            means.push(rewards.iter().sum::<f64>() / rewards.len() as f64);
        }
        group.learned_advantage = match (group.row(), means.as_slice()) {
            (Some(row), _) => row.advantage,
            (None, [without, behind]) => behind - without,
            _ => 0.0,
        };
        let mut worth = parts.iter().flatten().map(|&place| group.rollouts[place].advantage);
        num_sampled += usize::from(!parts.is_empty());
        num_even += usize::from(!parts.is_empty() && worth.all(|a| a.abs() < 1e-12));
    }
    figures.insert("zero_advantage".into(), num_even as f64 / num_sampled.max(1) as f64);
}

/// Turns what answers earned into what they earn with their lengths.
fn add_length_rewards(
    length: LengthReward,
    spec: &GrpoSpec,
    answers: &mut [Vec<Rollout>],
    figures: &mut StepFigures,
) {
    let (mut sum, mut num) = (0.0, 0);
    for rollouts in answers {
        let measured = |rollout: &Rollout| Measured {
            total: rollout.reward,
            accuracy: rollout.accuracy,
            num_tokens: rollout.given.len() + rollout.ids.len(),
        };
        // A demonstration beside the group is compared with nothing.
        let counts = |rollout: &&mut Rollout| !rollout.ids.is_empty() || spec.has_rows();
        let counted: Vec<&mut Rollout> = rollouts.iter_mut().filter(counts).collect();
        let group: Vec<Measured> = counted.iter().map(|rollout| measured(rollout)).collect();
        let earned = length.earned(&spec.reward, &group, spec.max_completion_tokens);
        for (rollout, earned) in counted.into_iter().zip(earned) {
            sum += earned - rollout.reward;
            num += 1;
            rollout.reward = earned;
        }
    }
    figures.insert("length_reward".into(), sum / f64::from(num.max(1)));
}

/// Groups that are learned in one update, and what their loss is divided by.
struct Update<'a> {
    spec: &'a GrpoSpec,
    /// Those that change the loss, see [`learned`].
    groups: Vec<&'a Group>,
    limit: GapLimit,
    /// Those of the update; a micro-batch has its own number of tokens.
    denominators: Denominators,
    guided: Guided,
}

impl<'a> Update<'a> {
    fn new(groups: &'a [Group], spec: &'a GrpoSpec, limit: GapLimit) -> Update<'a> {
        let num_learned: usize = groups.iter().map(Group::num_learned).sum();
        let all: usize = groups.iter().map(|group| group.tokens.len()).sum();
        let guided = groups.iter().filter(|group| group.num_learned() > 0).count();
        // Rows count as rollouts do; demonstrations beside them have a mean of their own.
        let are_rows = spec.has_rows();
        let num_rows =
            if are_rows { groups.iter().filter(|g| g.row().is_some()).count() } else { 0 };
        let denominators = Denominators {
            num_answers: groups.len() * spec.num_generations + num_rows,
            update_tokens: if are_rows { all } else { all - num_learned },
            micro_batch_tokens: 0,
            num_micro_batches: 1,
            max_completion_tokens: spec.max_completion_tokens,
        };
        let guided =
            Guided { num_questions: groups.len(), num_guided: guided, num_tokens: num_learned };
        Update { spec, groups: learned(groups, spec), limit, denominators, guided }
    }

    /// What a micro-batch's loss is divided by.
    fn denominators(&self, batch: &Batch<'_>) -> Denominators {
        let members = batch.members.iter().map(|&i| self.groups[i]);
        Denominators {
            micro_batch_tokens: members.map(|g| self.counted(g)).sum(),
            num_micro_batches: batch.num_micro_batches,
            ..self.denominators
        }
    }

    /// What each token of a rollout is worth, given the policy's entropies there if they were asked for, with its importance
    /// weight.
    fn advantages(
        &self,
        group: &Group,
        place: usize,
        rollout: &Rollout,
        entropies: &[f64],
    ) -> Vec<f64> {
        let mut worth = self.worth(group, place, rollout, entropies);
        // Clips hold whatever the size of what a token is worth: a weight of it is one of its gain.
        worth.iter_mut().zip(&rollout.weights).for_each(|(worth, weight)| *worth *= weight);
        worth
    }

    /// What each token of a rollout is worth as if the policy itself had sampled it.
    fn worth(&self, group: &Group, place: usize, rollout: &Rollout, entropies: &[f64]) -> Vec<f64> {
        if let Some(signed) = self.spec.objective.signed {
            let worth = signed_worth(signed, rollout.accuracy > 0.5, mean(entropies));
            return vec![worth; rollout.ids.len()];
        }
        let Some(Distillation { weight, keep_rewards, .. }) = self.spec.distillation else {
            return vec![rollout.advantage; rollout.ids.len()];
        };
        let earned = if keep_rewards { rollout.advantage } else { 0.0 };
        let scores = group.of(Token::Own(place), group.scores.iter());
        let of = |(score, old): (&f64, &f64)| earned + scored_advantage(weight, *score, *old);
        scores.zip(&rollout.log_probs).map(of).collect()
    }

    /// Tokens of a group that its rollouts' loss is divided by.
    fn counted(&self, group: &Group) -> usize {
        let all = group.tokens.len();
        if self.spec.has_rows() { all } else { all - group.num_learned() }
    }

    /// The weight of each prediction's entropy in the mean over sampled tokens; 0 for tokens of demonstrations.
    fn entropy_weights(&self, batch: &Batch<'_>) -> Vec<f64> {
        let denominators = self.denominators(batch);
        let mut weights = Vec::new();
        for group in batch.members.iter().map(|&i| self.groups[i]) {
            let weight = |token: &Token| match *token {
                Token::Own(place) => {
                    let len = group.rollouts[place].ids.len();
                    let weight = token_weight(self.spec.objective.aggregation, denominators, len);
                    group.weights.rl * weight
                }
                Token::Learned => 0.0,
            };
            weights.extend(group.tokens.iter().map(weight));
        }
        weights
    }

    /// The loss of a micro-batch, and how far its log-probabilities are from those of sampling.
    fn loss(&self, found: Predicted<'_>, batch: &Batch<'_>) -> (Loss, Gap) {
        let objective = &self.spec.objective;
        let members = || batch.members.iter().map(|&i| self.groups[i]);
        let denominators = self.denominators(batch);
        let mut total = Loss { value: 0.0, slopes: Vec::new(), figures: StepFigures::new() };
        let (mut kl, mut num_clipped, mut sft_loss, mut gap) = (0.0, 0, 0.0, Gap::default());
        let mut start = 0;
        for group in members() {
            let part = start..start + group.tokens.len();
            start = part.end;
            let mut slopes = vec![0.0; part.len()];
            let of = |token, all: &[f32]| -> Vec<f64> {
                let own = all.get(part.clone()).unwrap_or_default();
                group.of(token, own.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()).collect()
            };
            let own = |token| of(token, found.log_probs);
            let entropies = |token| of(token, found.entropies);
            let mut put = |token, found: Vec<f64>| {
                group.of(token, &mut slopes).zip(found).for_each(|(to, x)| *to = x as f32);
            };
            for (place, rollout) in group.sampled() {
                let token = Token::Own(place);
                let log_probs = own(token);
                let reference: Vec<f64> =
                    group.of(token, group.reference.iter().copied()).collect();
                let len = log_probs.len();
                let advantages = self.advantages(group, place, rollout, &entropies(token));
                let loss = answer_loss(
                    objective,
                    &PolicyAnswer {
                        log_probs: &log_probs,
                        old_log_probs: &rollout.log_probs,
                        reference_log_probs: &reference,
                        advantages: &advantages,
                        token_weight: group.weights.rl
                            * token_weight(objective.aggregation, denominators, len),
                    },
                );
                total.value += loss.value;
                kl += loss.kl;
                num_clipped += loss.num_clipped;
                let apart = log_probs.iter().zip(&rollout.log_probs).map(|(a, b)| (a - b).abs());
                apart.for_each(|apart| gap.add(Gap::of(apart, self.limit)));
                put(token, loss.slopes);
            }
            if let Some(guidance) = &self.spec.guidance {
                let learned = own(Token::Learned);
                let advantage = group.learned_advantage;
                let aggregation = objective.aggregation;
                let row = guidance::Row {
                    advantage,
                    token_weight: token_weight(aggregation, denominators, learned.len()),
                };
                let entropies = entropies(Token::Learned);
                let weighting = &guidance.weighting;
                let loss = guidance::loss(weighting, &learned, &entropies, self.guided, row);
                let weight = group.weights.sft;
                sft_loss += weight * loss.value;
                put(Token::Learned, loss.slopes.into_iter().map(|x| weight * x).collect());
            }
            total.slopes.extend(slopes);
        }
        total.value += sft_loss;
        let share = 1.0 / self.denominators.update_tokens.max(1) as f64;
        total.figures.insert("clip_fraction".to_owned(), num_clipped as f64 * share);
        if objective.has_kl() {
            total.figures.insert("kl_nats".to_owned(), kl * share);
        }
        if self.spec.guidance.is_some() {
            total.figures.insert("sft_loss".to_owned(), sft_loss);
        }
        (total, gap)
    }
}

/// Those of `groups` that change the loss: without KL and entropy bonus a group whose answers all earned the same, and that has no
/// demonstration, has no slope. At least one is left, so that every update has a gradient, if one of zeros.
fn learned<'a>(groups: &'a [Group], spec: &GrpoSpec) -> Vec<&'a Group> {
    let objective = &spec.objective;
    // With `TokenMeanLocal` the loss of a token depends on which others are computed with it.
    let has_slope_anyhow = objective.has_kl()
        || objective.entropy() > 0.0
        || objective.signed.is_some()
        || spec.distillation.is_some();
    if has_slope_anyhow || objective.aggregation == Aggregation::TokenMeanLocal {
        return groups.iter().collect();
    }
    let has_slope = |group: &&Group| {
        group.num_learned() > 0 || group.sampled().any(|(_, r)| r.advantage.abs() > 0.0)
    };
    let mut learned: Vec<&Group> = groups.iter().filter(has_slope).collect();
    if learned.is_empty() {
        learned.extend(groups.iter().min_by_key(|group| group.sequence.input_ids.len()));
    }
    learned
}

#[cfg(test)]
mod tests;
