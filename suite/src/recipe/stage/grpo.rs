//! Stages of kind `grpo`: reinforcement learning from groups of rollouts, with demonstrations where they fail.

use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use super::kind::{Input, Role, StageKind, few};
use super::load::{DataLoads, LearningLoad, Load, RolloutLoad, prompt, sampled_answer};
use crate::recipe::fault::{Checked, require, within};
use crate::recipe::objective::{MeanOver, ObjectiveSpec};
use crate::recipe::tables::{Named, OptimizerSpec, QuestionsSpec, TrainingSpec};
use crate::reward::RewardSpec;

/// Group relative policy optimisation as the study defines it (STUDY: RL).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpoSpec {
    /// The stage it starts from, or `base`.
    pub from: String,
    /// Steps, each of rollouts and then updates; at least 1.
    pub num_steps: usize,
    /// Questions per step; at least 1.
    pub batch_size: usize,
    /// Optimizer updates per step: the batch is cut into that many; at least 1, divides `batch_size`.
    pub num_mini_batches: usize,
    /// Rollouts per question; at least 2.
    pub num_generations: usize,
    /// Temperature of the rollouts; 1 only, since the loss compares probabilities of the model as it is.
    pub temperature: f64,
    /// Tokens of a rollout at most, prompt excluded; at least 1.
    pub max_completion_tokens: usize,
    /// The loss of the rollouts.
    pub objective: ObjectiveSpec,
    /// The reward, by the name of its table.
    pub reward: Named<RewardSpec>,
    /// The questions, by the name of their table.
    pub questions: Named<QuestionsSpec>,
    /// A stage of kind `sample`: questions that it saw answered right every time are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_solved_by: Option<String>,
    /// Settings of training, by the name of their table.
    pub training: Named<TrainingSpec>,
    /// The optimizer, by the name of its table.
    pub optimizer: Named<OptimizerSpec>,
    /// Demonstrations that are learned where rollouts fail (STUDY: interleaved and progressive); none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<Guidance>,
}

/// Demonstrations mixed into RL: answers of a data set to the questions of groups that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guidance {
    /// The stage whose data has the demonstrations.
    pub data: String,
    /// Greatest pass rate at which a group is guided, 0 to 1: 0 guides groups without a right answer, 1 all.
    pub gate: f64,
    /// True if a guided group keeps its RL loss in addition to the demonstration's.
    pub keep_rl: bool,
    /// The loss of the demonstrations' tokens.
    pub weighting: Weighting,
    /// Above 0, guided groups are rolled out again from a prefix of the demonstration, which is all of it in the first
    /// step and shrinks linearly to nothing at this share of the steps: the prefix is the demonstration that is learned,
    /// and what follows it has the RL loss. At 0, the demonstration is whole in every step. 0 to 1.
    pub prefix_until: f64,
}

/// The loss of the tokens of demonstrations. Guided questions have the share of an update that they are of its questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Weighting {
    /// The negative log-likelihood.
    Sft {
        /// Weight of the loss, relative to that of the rollouts; 0 or more.
        weight: f64,
        /// What the loss is a mean of; `answers` without it: each question of an update then counts once, whether it is
        /// guided or not, as each counts once in RL.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mean_over: Option<MeanOver>,
    },
}

impl StageKind for GrpoSpec {
    fn inputs(&self) -> Vec<Input<'_>> {
        let demonstrations = self.guidance.as_ref().map(|guidance| guidance.data.as_str());
        let solved = self.skip_solved_by.as_deref();
        [Input::new(Role::Start, "from", &self.from)]
            .into_iter()
            .chain(
                demonstrations.map(|name| Input::new(Role::Demonstrations, "guidance.data", name)),
            )
            .chain(solved.map(|name| Input::new(Role::Solved, "skip_solved_by", name)))
            .collect()
    }

    fn check(&self) -> Checked {
        for (key, count) in [
            ("batch_size", self.batch_size),
            ("num_steps", self.num_steps),
            ("max_completion_tokens", self.max_completion_tokens),
        ] {
            require!(count > 0, key, "{key} = 0 is outside its range: at least 1");
        }
        require!(
            self.num_generations > 1,
            "num_generations",
            hint!(("a group of {} has no advantage", self.num_generations), "num_generations = 8")
        );
        require!(
            self.num_mini_batches > 0 && self.batch_size.is_multiple_of(self.num_mini_batches),
            "num_mini_batches",
            "batch_size = {} is not a multiple of num_mini_batches = {}",
            self.batch_size,
            self.num_mini_batches
        );
        require!(
            (self.temperature - 1.0).abs() < 1e-12,
            "temperature",
            hint!(
                (
                    "rollouts at temperature {} are not of the policy that the loss compares",
                    self.temperature
                ),
                "temperature = 1.0"
            )
        );
        self.objective.check(self.num_generations).map_err(|fault| fault.below("objective"))?;
        self.guidance
            .as_ref()
            .map_or(Ok(()), Guidance::check)
            .map_err(|fault| fault.below("guidance"))
    }

    fn load(&self, _: &DataLoads<'_>) -> Load {
        let Self { questions, num_generations, max_completion_tokens: cap, .. } = self;
        let learned = LearningLoad {
            batch: self.batch_size as f64,
            per_update: (self.batch_size / self.num_mini_batches) as f64,
            prompt: prompt(questions),
            num_answers: *num_generations as f64,
            answer: sampled_answer(questions, *cap),
            // A step whose rollouts all reach the cap comes sooner or later.
            longest: *cap as f64,
        };
        Load {
            num_steps: self.num_steps,
            num_rounds: self.num_steps as f64,
            learned: Some(learned),
            asked: Some(RolloutLoad::new(self.batch_size, questions, *num_generations, *cap)),
            reference_passes: if self.objective.has_kl() { 1.0 } else { 0.0 },
            num_pictures: questions.about(),
            ..Load::default()
        }
    }

    fn rehearse(&mut self) {
        few::limit(&mut self.num_steps, few::STEPS);
        let per_update = few::BATCH / self.num_mini_batches;
        self.batch_size = self.num_mini_batches.max(per_update * self.num_mini_batches);
        few::limit(&mut self.num_generations, few::ANSWERS);
        few::limit(&mut self.max_completion_tokens, few::TOKENS);
        self.questions.limit(few::QUESTIONS);
        self.training.checkpoint_every = 1;
    }

    fn trained(&self) -> Option<(&TrainingSpec, &OptimizerSpec)> {
        Some((&self.training, &self.optimizer))
    }

    fn questions(&self) -> Option<&QuestionsSpec> {
        Some(&self.questions)
    }

    fn reward(&self) -> Option<&RewardSpec> {
        Some(&self.reward)
    }
}

impl Guidance {
    fn check(&self) -> Checked {
        within("gate", self.gate, 0.0..=1.0, "0 to 1, a pass rate")?;
        within("prefix_until", self.prefix_until, 0.0..=1.0, "0 to 1, a share of the steps")?;
        let Weighting::Sft { weight, .. } = self.weighting;
        within("weight", weight, 0.0.., "0 or more").map_err(|fault| fault.below("weighting"))?;
        require!(
            self.prefix_until <= 0.0 || !self.keep_rl,
            "keep_rl",
            hint!(
                "a guided group is rolled out again from a prefix, so its first rollouts have no loss",
                "keep_rl = false"
            )
        );
        Ok(())
    }
}
