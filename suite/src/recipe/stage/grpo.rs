//! Stages of kind `grpo`: reinforcement learning from groups of rollouts, with demonstrations where they fail.

use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use super::kind::{Input, Role, StageKind, few};
use super::load::{LearningLoad, Load, Others, RolloutLoad, prompt, sampled_answer};
use crate::recipe::fault::{Checked, Fault, require, within};
use crate::recipe::objective::{MeanOver, ObjectiveSpec, TokenWeight};
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
}

/// Demonstrations mixed into RL: answers of a data set to the questions of groups that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guidance {
    /// The stage whose data has the demonstrations.
    pub data: String,
    /// Greatest pass rate at which a group is guided, 0 to 1: 0 guides groups without a right answer, 1 all. Left out
    /// where `by_passes` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
    /// True if a guided group keeps its RL loss in addition to the demonstration's. Left out where `by_passes` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_rl: Option<bool>,
    /// What both losses of a group weigh by the number of its right answers, in place of `gate` and `keep_rl` (soft HPT,
    /// arXiv 2509.04419); in ascending order, the first from 0 on. Where no demonstration is known, rewards alone teach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_passes: Option<Vec<PassWeights>>,
    /// Shares the step between both losses, step by step; both count whole without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mu: Option<Mu>,
    /// The loss of the demonstrations' tokens.
    pub weighting: Weighting,
    /// Above 0, guided groups are rolled out again from a prefix of the demonstration, which is all of it in the first
    /// step and shrinks linearly to nothing at this share of the steps: the prefix is the demonstration that is learned,
    /// and what follows it has the RL loss. At 0, the demonstration is whole in every step. 0 to 1.
    pub prefix_until: f64,
}

/// What both losses weigh of groups with so many right answers or more, up to the next of these.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassWeights {
    /// Right answers of a group from which on it holds.
    pub from: usize,
    /// Weight of the demonstration's loss, in addition to that of `weighting`; 0 or more, 0 for no demonstration.
    pub sft: f64,
    /// Weight of the rollouts' loss; 0 or more, 0 for none.
    pub rl: f64,
}

/// The share of the loss on demonstrations in a step, and what is left of it the share of the loss on rollouts: from 0 to
/// `peak` in a straight line, then down to `valley` along half a cosine (CHORD's μ, arXiv 2508.11408).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mu {
    /// Steps of its rise.
    pub warmup_steps: usize,
    /// Steps of its fall.
    pub decay_steps: usize,
    /// Where the rise ends and the fall begins; 0 to 1.
    pub peak: f64,
    /// Where it stays; 0 to 1.
    pub valley: f64,
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
        /// What each token weighs by its own probability; all weigh 1 without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_weight: Option<TokenWeight>,
    },
    /// The demonstration is a row of its group: it is graded as the rollouts are, its reward counts in the group's mean and
    /// deviation, and its tokens learn by its advantage, without a clip. Answers and tokens of such rows count in what the
    /// loss is divided by.
    Row {
        /// What a token gains by its probability.
        gain: RowGain,
    },
}

/// What a token of a demonstration that is a row gains by its probability `p` under the model that learns; its loss is
/// that times minus the row's advantage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RowGain {
    /// `log p`: the policy gradient of a rollout that the model itself has just written (ViSurf, arXiv 2510.10606).
    LogP {},
    /// `p / (p + gamma)`: tokens that the model hardly ever writes are learned too (LUFFY, arXiv 2504.14945, where `gamma`
    /// is 0.1).
    Shaped {
        /// Above 0.
        gamma: f64,
    },
}

impl GrpoSpec {
    /// Tells whether demonstrations are rows of their groups.
    pub fn has_rows(&self) -> bool {
        let weighting = self.guidance.as_ref().map(|guidance| &guidance.weighting);
        matches!(weighting, Some(Weighting::Row { .. }))
    }
}

impl StageKind for GrpoSpec {
    fn inputs(&self) -> Vec<Input<'_>> {
        let demonstrations = self.guidance.as_ref().map(|guidance| guidance.data.as_str());
        let solved = self.skip_solved_by.as_deref();
        let scorer = self.distillation.as_ref().map(|distillation| distillation.from.as_str());
        [Input::new(Role::Start, "from", &self.from)]
            .into_iter()
            .chain(scorer.map(|name| Input::new(Role::Scorer, "distillation.from", name)))
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
        let shown = self.guidance.as_ref().and_then(|guidance| others.examples(&guidance.data));
        let shown = shown.map_or(0.0, |data| data.step_tokens);
        let step_tokens = others.step_tokens(&self.from).max(shown);
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
                self.batch_size,
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

impl Weighting {
    fn check(&self) -> Checked {
        match *self {
            Weighting::Sft { weight, token_weight, .. } => {
                within("weight", weight, 0.0.., "0 or more")?;
                let by_token = token_weight.map_or(Ok(()), TokenWeight::check);
                by_token.map_err(|fault| fault.below("token_weight"))
            }
            Weighting::Row { gain: RowGain::LogP {} } => Ok(()),
            Weighting::Row { gain: RowGain::Shaped { gamma } } => {
                require!(gamma > 0.0, "gain", "gamma = {gamma} is outside its range: above 0");
                Ok(())
            }
        }
    }
}

impl Guidance {
    fn check(&self) -> Checked {
        match (self.gate, self.keep_rl, &self.by_passes) {
            (Some(gate), Some(_), None) => within("gate", gate, 0.0..=1.0, "0 to 1, a pass rate")?,
            (None, None, Some(rows)) => self.check_by_passes(rows)?,
            _ => {
                return Err(Fault::at(
                    "data",
                    hint!(
                        "which groups are guided is said by `gate` and `keep_rl`, or by `by_passes`",
                        "gate = 0.0 and keep_rl = false guide groups without a right answer"
                    ),
                ));
            }
        }
        if let Some(Mu { peak, valley, .. }) = self.mu {
            for (key, share) in [("peak", peak), ("valley", valley)] {
                within(key, share, 0.0..=1.0, "0 to 1, a share").map_err(|f| f.below("mu"))?;
            }
        }
        within("prefix_until", self.prefix_until, 0.0..=1.0, "0 to 1, a share of the steps")?;
        self.weighting.check().map_err(|fault| fault.below("weighting"))?;
        require!(
            self.prefix_until <= 0.0 || matches!(self.weighting, Weighting::Sft { .. }),
            "prefix_until",
            hint!(
                "a row of the group is a whole demonstration, not a prefix",
                "prefix_until = 0.0"
            )
        );
        require!(
            self.prefix_until <= 0.0 || self.keep_rl != Some(true),
            "keep_rl",
            hint!(
                "a guided group is rolled out again from a prefix, so its first rollouts have no loss",
                "keep_rl = false"
            )
        );
        Ok(())
    }

    fn check_by_passes(&self, rows: &[PassWeights]) -> Checked {
        require!(
            rows.first().is_some_and(|row| row.from == 0)
                && rows.is_sorted_by(|a, b| a.from < b.from),
            "by_passes",
            hint!(
                "by_passes does not rise from 0",
                "by_passes = [{{ from = 0, sft = 1.0, rl = 0.0 }}, {{ from = 1, sft = 0.0, rl = 1.0 }}]"
            )
        );
        for row in rows {
            for (key, weight) in [("sft", row.sft), ("rl", row.rl)] {
                within(key, weight, 0.0.., "0 or more")
                    .map_err(|fault| fault.below("by_passes"))?;
            }
        }
        require!(
            self.prefix_until <= 0.0,
            "prefix_until",
            hint!("by_passes weighs whole demonstrations, not prefixes", "prefix_until = 0.0")
        );
        Ok(())
    }
}
