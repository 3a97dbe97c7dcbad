//! What every algorithm of training offers to the loop of steps; each is a file in this folder.
//!
//! Does not know which algorithms there are.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use synergy_benchmarks::seed::Seed;
use synergy_models::weights::Parameters;

use crate::train::dataset::Example;
use crate::train::engine::Engine;
use crate::train::features::FeatureCache;
use crate::train::pool::Pool;
use crate::train::sequence::Prompter;
use crate::train::{Context, StepFigures, Trainer};

/// One way of training, with the data of one stage.
pub trait Algorithm: Sync {
    /// Number of steps in all.
    fn num_steps(&self) -> usize;

    /// Number of steps after which the stage may be judged.
    fn steps_per_epoch(&self) -> usize {
        self.num_steps()
    }

    /// Number of optimizer updates in a step.
    fn updates_per_step(&self) -> usize {
        1
    }

    /// Makes what `step` works on, on the host: pictures and prompts. Another thread calls this while earlier steps
    /// compute.
    ///
    /// # Errors
    /// If a question or its pictures cannot be read.
    fn prepare<'a>(&'a self, prompter: &Prompter, step: usize) -> Result<Step<'a>>;
}

/// A step that is ready to be computed. It changes the trainer, asks the engine if it needs rollouts, and returns the
/// figures of the step.
pub type Step<'a> = Box<
    dyn FnOnce(&mut Trainer, &mut dyn Engine, &Context<'_>, Reference<'_>) -> Result<StepFigures>
        + Send
        + 'a,
>;

/// A model that does not learn: the policy that KL is measured from.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    /// Its weights.
    pub parameters: &'a Parameters,
    /// What its tower has seen, if that tower is the trained policy's and stays as it is.
    pub features: Option<&'a FeatureCache>,
    /// The model that scores sampled tokens, if the stage has one.
    pub scorer: Option<&'a Reference<'a>>,
}

/// What a stage draws from.
#[derive(Debug, Clone, Default)]
pub struct StageInputs<'a> {
    /// Answers that are learned in epochs.
    pub examples: &'a [Example],
    /// Answers that are learned where rollouts fail, by the ids of their questions.
    pub demonstrations: BTreeMap<&'a str, &'a str>,
    /// Answers that the model which scores tokens is shown, by the ids of their questions.
    pub shown: BTreeMap<&'a str, &'a str>,
    /// Ids of questions that are left out.
    pub solved: BTreeSet<&'a str>,
}

/// Where a stage draws questions and random numbers from.
#[derive(Debug, Clone, Copy)]
pub struct Draws<'a> {
    /// The questions of the run.
    pub pool: Pool<'a>,
    /// The root of the stage's own streams of random numbers.
    pub stage: Seed,
}
