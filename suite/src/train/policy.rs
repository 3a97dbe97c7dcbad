//! The policy as it answers within a step of RL: rollouts, what they earned, and figures of them.
//!
//! Does not know groups, advantages or losses.

use anyhow::Result;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Sampling};

use crate::recipe::GrpoSpec;
use crate::reward::{Reward, reward};
use crate::train::engine::{Engine, Question};
use crate::train::group::Rollout;
use crate::train::sequence::Prompter;
use crate::train::{Context, StepFigures};

/// The model that answers in one step.
pub(super) struct Policy<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) context: &'a Context<'a>,
    pub(super) spec: &'a GrpoSpec,
}

impl Policy<'_> {
    /// What a demonstration would earn as a rollout.
    pub(super) fn earned(&self, question: &Question, demonstration: &[u32]) -> Reward {
        let Prompter { tokenizer, .. } = self.context.prompter;
        // Its end is the model's, not part of the text.
        let text = tokenizer.decode(&demonstration[..demonstration.len() - 1]);
        reward(&self.spec.reward, self.context.grader, &text, &question.sample, true)
    }

    /// Rollouts of `questions` with their rewards, `[questions][num]`, and their figures. Where `given` is not
    /// empty, it has the beginning of the answers to each question, which is judged with what follows it and learned
    /// from the first of them.
    ///
    /// # Errors
    /// See [`Engine::generate`].
    pub(super) fn roll(
        &self,
        questions: &[Question],
        given: &[Vec<u32>],
        num: usize,
        seed: Seed,
    ) -> Result<(Vec<Vec<Rollout>>, StepFigures)> {
        let Policy { engine, context, spec } = self;
        let sampling = Sampling {
            temperature: spec.temperature,
            ..context.prompter.greedy(spec.max_completion_tokens)
        };
        let generated = engine.generate(questions, num, &sampling, seed)?;
        let num_rollouts = (questions.len() * num) as f64;
        let num_tokens: usize = generated.iter().flatten().map(|g| g.ids.len()).sum();
        let mut figures = StepFigures::new();
        let mut add =
            |name: &str, value: f64| *figures.entry(name.to_owned()).or_default() += value;
        let learns = spec.guidance.as_ref().is_some_and(|guidance| guidance.weighting.learns());
        let mut judge = |i: usize, k: usize, answer: Generated| {
            let given = given.get(i).cloned().unwrap_or_default();
            let text = context.prompter.tokenizer.decode(&[given.as_slice(), &answer.ids].concat());
            let sample = &questions[i].sample;
            let earned = reward(&spec.reward, context.grader, &text, sample, answer.finished);
            add("reward", earned.total / num_rollouts);
            add("accuracy", earned.accuracy / num_rollouts);
            add("format", earned.format / num_rollouts);
            add("length", answer.ids.len() as f64 / num_rollouts);
            add("truncated", f64::from(u8::from(!answer.finished)) / num_rollouts);
            let log_probs: Vec<f64> = answer.log_probs.iter().map(|x| f64::from(*x)).collect();
            // At temperature 1 the mean over sampled tokens estimates the entropy without bias.
            add("entropy_nats", -log_probs.iter().sum::<f64>() / num_tokens as f64);
            let (reward, accuracy) = (earned.total, earned.accuracy);
            let (is_learned, ids) = (k == 0 && learns && !given.is_empty(), answer.ids);
            Rollout { given, is_learned, ids, log_probs, reward, accuracy, ..Rollout::default() }
        };
        let mut rolled = Vec::with_capacity(questions.len());
        for (i, answers) in generated.into_iter().enumerate() {
            rolled.push(answers.into_iter().enumerate().map(|(k, a)| judge(i, k, a)).collect());
        }
        add("tokens_generated", num_tokens as f64);
        // Prompts are computed once for all their rollouts.
        let prompts: usize = questions.iter().map(|q| q.input_ids.len()).sum();
        add("tokens_forward", (prompts + num_tokens) as f64);
        Ok((rolled, figures))
    }
}

/// Adds the tokens of `others` to those of `figures`.
pub(super) fn add_work(figures: &mut StepFigures, others: &StepFigures) {
    for name in ["tokens_generated", "tokens_forward"] {
        *figures.entry(name.to_owned()).or_default() += others[name];
    }
}
