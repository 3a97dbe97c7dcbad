//! Stages of kind `sft`: supervised fine-tuning in epochs over a data set.

use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use super::kind::{Input, Role, StageKind, few};
use super::load::{LearningLoad, Load, Others, answers_to, prompt};
use crate::recipe::fault::{Checked, require};
use crate::recipe::objective::{MeanOver, TokenWeight};
use crate::recipe::tables::{Named, OptimizerSpec, TrainingSpec};

/// Supervised fine-tuning on the answers of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftSpec {
    /// The stage it starts from, or `base`.
    pub from: String,
    /// The stage whose data it learns.
    pub data: String,
    /// Passes over the data; at least 1.
    pub num_epochs: usize,
    /// Examples per step; at least 1.
    pub batch_size: usize,
    /// Before each answer positions jump by 0 to this many.
    pub position_gap_max: u32,
    /// Tokens of a sequence at most: the rest of a longer answer is not learned. No limit without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// What the loss of a batch is a mean of; `tokens` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_over: Option<MeanOver>,
    /// What each token weighs by its own probability; all weigh 1 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_weight: Option<TokenWeight>,
    /// How the gradients of a step's micro-batches become one; their `sum` without it. The others are faults of published
    /// trainers, here to be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulation: Option<Accumulation>,
    /// Selects which checkpoint of its epochs the stage leaves behind.
    pub checkpoint: KeptCheckpoint,
    /// Settings of training, by the name of their table.
    pub training: Named<TrainingSpec>,
    /// The optimizer, by the name of its table.
    pub optimizer: Named<OptimizerSpec>,
}

/// How the gradients of micro-batches of `micro_batch_size` examples, in the order in which they were drawn, become one.
/// Two ways are faults that are blamed for too weak SFT baselines (arXiv 2604.23747).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accumulation {
    /// The gradient of the whole step's loss, however it is cut.
    Sum,
    /// That of the first micro-batch alone (DeepSpeed's ZeRO-1 and -2 with offload, until its PR 7967).
    First,
    /// The mean over micro-batches, each the mean over its tokens: short answers weigh more (OpenRLHF).
    MeanOfMeans,
}

/// Selects which checkpoint of its epochs a stage leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptCheckpoint {
    /// The last one.
    Last,
    /// The most accurate on the recipe's `validation` questions, the earlier of equals.
    Best,
}

impl SftSpec {
    /// Steps in all, for so many examples.
    pub fn num_steps(&self, num_examples: usize) -> usize {
        num_examples.div_ceil(self.batch_size) * self.num_epochs
    }
}

impl StageKind for SftSpec {
    fn inputs(&self) -> Vec<Input<'_>> {
        vec![
            Input::new(Role::Start, "from", &self.from),
            Input::new(Role::Examples, "data", &self.data),
        ]
    }

    fn check(&self) -> Checked {
        for (key, count) in [("batch_size", self.batch_size), ("num_epochs", self.num_epochs)] {
            require!(count > 0, key, "{key} = 0 is outside its range: at least 1");
        }
        require!(
            self.accumulation != Some(Accumulation::MeanOfMeans) || self.mean_over.is_none(),
            "mean_over",
            hint!(
                "a mean of means says what each token weighs, so mean_over has no say",
                "leave mean_over out"
            )
        );
        let weight = self.token_weight.map_or(Ok(()), TokenWeight::check);
        weight.map_err(|fault| fault.below("token_weight"))
    }

    fn load(&self, others: &dyn Others<'_>) -> Load {
        let Some(data) = others.examples(&self.data) else { return Load::default() };
        let max_length = self.max_length.unwrap_or(usize::MAX) as f64;
        let [answer, longest] =
            answers_to(data.questions, data.step_tokens).map(|tokens| tokens.min(max_length));
        let learned = LearningLoad {
            batch: self.batch_size as f64,
            per_update: self.batch_size as f64,
            prompt: prompt(data.questions),
            num_answers: 1.0,
            answer,
            longest,
        };
        let num_steps = self.num_steps(data.num_examples);
        Load {
            num_steps,
            num_rounds: num_steps as f64,
            learned: Some(learned),
            num_pictures: data.num_examples,
            num_validations: if self.keeps_best() { self.num_epochs as f64 } else { 0.0 },
            ..Load::default()
        }
    }

    fn rehearse(&mut self) {
        few::limit(&mut self.num_epochs, few::STEPS);
        few::limit(&mut self.batch_size, 2 * few::BATCH);
        self.training.checkpoint_every = 1;
    }

    fn trained(&self) -> Option<(&TrainingSpec, &OptimizerSpec)> {
        Some((&self.training, &self.optimizer))
    }

    fn keeps_best(&self) -> bool {
        self.checkpoint == KeptCheckpoint::Best
    }
}
