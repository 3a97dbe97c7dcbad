//! Stages of kind `grpo`: reinforcement learning from groups of rollouts, with demonstrations where they fail.

use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use super::guidance::{Guidance, Weighting};
use super::kind::{Input, Role, StageKind, few};
use super::load::{LearningLoad, Load, Others, RolloutLoad, prompt, sampled_answer};
use crate::recipe::fault::{Checked, Fault, require};
use crate::recipe::objective::{KlPlace, ObjectiveSpec};
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
    /// How often groups whose answers all earned the same are replaced by groups of other questions before anything is
    /// learned, at least 1 (dynamic sampling; DAPO, arXiv 2503.14476); never without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_resamplings: Option<usize>,
    /// Settings of training, by the name of their table.
    pub training: Named<TrainingSpec>,
    /// The optimizer, by the name of its table.
    pub optimizer: Named<OptimizerSpec>,
    /// A second model that scores the sampled tokens; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distillation: Option<Distillation>,
    /// Demonstrations that are learned where rollouts fail (STUDY: interleaved and progressive); none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<Guidance>,
}

/// On-policy distillation: every sampled token is worth its log-probability under a second model less that under the policy
/// that wrote it, so that the policy comes to write as that model does, on its own answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// The stage whose model scores the tokens, or `base`; of the same vocabulary, as all models of a recipe are.
    pub from: String,
    /// Weight of the scores, in nats; above 0.
    pub weight: f64,
    /// True if what an answer earned counts as well.
    pub keep_rewards: bool,
    /// What stands in the model's prompt beside the question, so that a model can teach itself (self-distillation); the
    /// question alone without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<Shown>,
}

/// What a model that scores tokens is shown beside the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shown {
    /// A whole answer (SDFT, arXiv 2601.19897); the question alone where none is known.
    Demonstration {
        /// The stage whose data has it.
        data: String,
    },
    /// The right answer without a way to it (OPSD, arXiv 2601.18734).
    Answer {},
}

impl Shown {
    /// The stage whose data it needs.
    fn data(&self) -> Option<&str> {
        match self {
            Shown::Demonstration { data } => Some(data),
            Shown::Answer {} => None,
        }
    }
}

impl GrpoSpec {
    /// Tells whether demonstrations are rows of their groups.
    pub fn has_rows(&self) -> bool {
        let weighting = self.guidance.as_ref().map(|guidance| &guidance.weighting);
        matches!(weighting, Some(Weighting::Row { .. }))
    }

    /// Tells whether the loss depends on the policy's entropies.
    pub fn needs_entropies(&self) -> bool {
        let weighting = self.guidance.as_ref().map(|guidance| guidance.weighting);
        self.objective.entropy() > 0.0
            || self.objective.signed.is_some()
            || weighting.is_some_and(|weighting| weighting.needs_entropies())
    }
}

impl StageKind for GrpoSpec {
    fn inputs(&self) -> Vec<Input<'_>> {
        let demonstrations = self.guidance.as_ref().map(|guidance| guidance.data.as_str());
        let solved = self.skip_solved_by.as_deref();
        let scorer = self.distillation.as_ref().map(|distillation| distillation.from.as_str());
        let shown = self.distillation.as_ref().and_then(|distillation| distillation.shows.as_ref());
        let shown = shown.and_then(Shown::data);
        [Input::new(Role::Start, "from", &self.from)]
            .into_iter()
            .chain(scorer.map(|name| Input::new(Role::Scorer, "distillation.from", name)))
            .chain(
                demonstrations.map(|name| Input::new(Role::Demonstrations, "guidance.data", name)),
            )
            .chain(shown.map(|name| Input::new(Role::Shown, "distillation.shows.data", name)))
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
        require!(
            self.num_resamplings != Some(0),
            "num_resamplings",
            hint!("no group would be replaced", "num_resamplings = 3, or leave the key out")
        );
        self.reward
            .length
            .map_or(Ok(()), |length| length.check(self.max_completion_tokens))
            .map_err(|cause| Fault::at("reward", cause))?;
        let rows = self.guidance.as_ref().and_then(|guidance| guidance.prefix?.rows);
        require!(
            rows.is_none_or(|rows| rows < self.num_generations),
            "guidance.prefix.rows",
            hint!(
                ("a group of {} rollouts would have none without the prefix", self.num_generations),
                "rows = 1"
            )
        );
        self.objective.check(self.num_generations).map_err(|fault| fault.below("objective"))?;
        let is_signed = self.objective.signed.is_some();
        require!(
            !is_signed || self.distillation.is_none(),
            "objective.signed",
            hint!(
                "a model that scores tokens says what they are worth, too",
                "leave out signed, or the table distillation"
            )
        );
        require!(
            !is_signed || self.objective.kl_in == KlPlace::Loss || !self.objective.has_kl(),
            "objective.signed",
            hint!(
                "signed leaves rewards out, so a KL that is taken from them would do nothing",
                "kl_in = \"loss\""
            )
        );
        self.distillation
            .as_ref()
            .map_or(Ok(()), Distillation::check)
            .map_err(|fault| fault.below("distillation"))?;
        self.guidance
            .as_ref()
            .map_or(Ok(()), Guidance::check)
            .map_err(|fault| fault.below("guidance"))
    }

    fn load(&self, others: &dyn Others<'_>) -> Load {
        let Self { questions, num_generations, max_completion_tokens: cap, .. } = self;
        let step_tokens = self.written_step_tokens(others);
        let learned = LearningLoad {
            batch: self.batch_size as f64,
            per_update: (self.batch_size / self.num_mini_batches) as f64,
            prompt: prompt(questions),
            num_answers: *num_generations as f64,
            answer: sampled_answer(questions, *cap, step_tokens),
            // A step whose rollouts all reach the cap comes sooner or later.
            longest: *cap as f64,
        };
        Load {
            num_steps: self.num_steps,
            num_rounds: self.num_steps as f64,
            learned: Some(learned),
            asked: Some(RolloutLoad::new(
                self.batch_size * (1 + self.num_resamplings.unwrap_or_default()),
                questions,
                *num_generations,
                *cap,
                step_tokens,
            )),
            reference_passes: f64::from(u8::from(self.objective.has_kl()))
                + f64::from(u8::from(self.distillation.is_some())),
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

impl Distillation {
    fn check(&self) -> Checked {
        require!(
            self.weight > 0.0 && self.weight.is_finite(),
            "weight",
            hint!(
                ("weight = {} is outside its range: above 0", self.weight),
                "leave the table distillation out where no model scores tokens"
            )
        );
        Ok(())
    }
}
