//! What every kind of stage says of itself.
//!
//! Does not know which kinds there are.

use synergy_models::weights::ComputeDtype;

use super::load::{DENSE_STEP_TOKENS, DataLoad, Load, Others};
use crate::recipe::fault::Checked;
use crate::recipe::tables::{OptimizerSpec, QuestionsSpec, TrainingSpec};
use crate::reward::RewardSpec;

/// The settings of a stage of one kind.
pub trait StageKind {
    /// What the stage leaves behind.
    fn output(&self) -> Output {
        Output::Checkpoint
    }

    /// Every stage that the settings name; the models that it starts from come first.
    fn inputs(&self) -> Vec<Input<'_>>;

    /// Checks everything about this stage that needs no other part of the recipe.
    fn check(&self) -> Checked;

    /// The work of the stage, given the stages that it stands on.
    fn load(&self, others: &dyn Others<'_>) -> Load;

    /// The examples that the stage leaves, if it leaves data.
    fn examples<'a>(&'a self, others: &dyn Others<'a>) -> Option<DataLoad<'a>> {
        let _ = others;
        None
    }

    /// Tokens of a step in the answers that the stage's model writes, in the stage and after it: those of what it was
    /// fine-tuned on, and without that of the longest of what it starts from and is shown.
    fn written_step_tokens(&self, others: &dyn Others<'_>) -> f64 {
        let of = |input: &Input<'_>| match input.role {
            Role::Examples | Role::Demonstrations | Role::Shown => {
                Some(others.examples(input.stage)?.step_tokens)
            }
            Role::Start | Role::Parent | Role::Scorer => Some(others.step_tokens(input.stage)),
            Role::Unsolved | Role::Answered | Role::Solved => None,
        };
        let inputs = self.inputs();
        let learned = inputs.iter().find(|input| input.role == Role::Examples);
        let all = match learned {
            Some(input) => of(input),
            None => inputs.iter().filter_map(of).reduce(f64::max),
        };
        all.unwrap_or(DENSE_STEP_TOKENS)
    }

    /// Lowers every count, for a rehearsal.
    fn rehearse(&mut self);

    /// The settings of training and the optimizer of a stage that trains.
    fn trained(&self) -> Option<(&TrainingSpec, &OptimizerSpec)> {
        None
    }

    /// The settings of training of a stage that trains.
    fn training(&self) -> Option<&TrainingSpec> {
        self.trained().map(|(training, _)| training)
    }

    /// The optimizer of a stage that trains.
    fn optimizer(&self) -> Option<&OptimizerSpec> {
        self.trained().map(|(_, optimizer)| optimizer)
    }

    /// The questions that the stage itself asks.
    fn questions(&self) -> Option<&QuestionsSpec> {
        None
    }

    /// The reward of its rollouts.
    fn reward(&self) -> Option<&RewardSpec> {
        None
    }

    /// The key that needs the registers of the recipe's prompt, if one does.
    fn register(&self) -> Option<&'static str> {
        None
    }

    /// The type that its model computes in.
    fn dtype(&self) -> ComputeDtype {
        self.training().map_or(ComputeDtype::F32, TrainingSpec::dtype)
    }

    /// Tells whether a model computes in the stage.
    fn computes(&self) -> bool {
        self.training().is_some()
    }

    /// Tells whether the stage leaves weights in the store.
    fn keeps_weights(&self) -> bool {
        self.output() == Output::Checkpoint
    }

    /// Tells whether the stage keeps the best of several checkpoints.
    fn keeps_best(&self) -> bool {
        false
    }
}

/// What a stage leaves behind for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A model's weights.
    Checkpoint,
    /// Questions with answers to train on.
    Data,
    /// Data, and how often each question was answered right.
    Sample,
}

/// What a stage takes from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The weights that it starts from.
    Start,
    /// Weights that it merges.
    Parent,
    /// Weights of a model that scores sampled tokens.
    Scorer,
    /// Answers that it learns or passes on.
    Examples,
    /// Answers that are learned where rollouts fail.
    Demonstrations,
    /// Answers that a model which scores tokens is shown.
    Shown,
    /// Questions that were never answered right, to which the examples before are limited.
    Unsolved,
    /// Data with an answer to every question to which the examples before are limited.
    Answered,
    /// Questions that were always answered right, which are left out.
    Solved,
}

impl Role {
    /// Tells whether the role is one of data rather than of weights.
    pub fn is_data(self) -> bool {
        !matches!(self, Role::Start | Role::Parent | Role::Scorer)
    }
}

/// Another stage that a stage names.
#[derive(Debug, Clone, PartialEq)]
pub struct Input<'a> {
    /// What is taken from it.
    pub role: Role,
    /// Its name, or `base`.
    pub stage: &'a str,
    /// The key that names it; keys in tables and places in lists are separated by dots.
    pub key: String,
}

impl<'a> Input<'a> {
    pub(super) fn new(role: Role, key: impl Into<String>, stage: &'a str) -> Input<'a> {
        Input { role, stage, key: key.into() }
    }
}

/// Counts of a rehearsal, at most.
pub(in crate::recipe) mod few {
    /// Questions of a pool, and of all that is measured on.
    pub(in crate::recipe) const QUESTIONS: usize = 8;
    /// Answers to each question, and questions of each family.
    pub(in crate::recipe) const ANSWERS: usize = 2;
    /// Questions of a published benchmark: enough to meet every level.
    pub(in crate::recipe) const PUBLISHED: usize = 5;
    /// Steps and epochs.
    pub(in crate::recipe) const STEPS: usize = 2;
    /// Sequences or questions of a step, where that divides into its updates.
    pub(in crate::recipe) const BATCH: usize = 2;
    /// Tokens of an answer.
    pub(in crate::recipe) const TOKENS: usize = 16;

    /// Lowers `count` to `most`.
    pub(in crate::recipe) fn limit(count: &mut usize, most: usize) {
        *count = (*count).min(most);
    }
}
