//! Who answers in a run: the suite's own engine, made for each stage and row, or servers that last as long as the run.
//!
//! Does not know what is asked, nor how a server is started or given weights.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::weights::{ComputeDtype, Parameters};

use crate::device::Compute;
use crate::ranks::Ranks;
use crate::recipe::EngineSpec;
use crate::run::event::interrupted;
use crate::served::Served;
use crate::train::engine::{Adapted, Apart, Engine, Question};
use crate::train::features::FeatureCache;
use crate::train::rollout::LocalEngine;
use crate::train::sequence::Prompter;

/// Who answers.
#[derive(Debug)]
pub struct Engines<'a> {
    compute: &'a Compute,
    /// What the servers are.
    spec: Option<&'a EngineSpec>,
    /// Servers, which one stage or row has at a time.
    served: Option<Mutex<Served>>,
}

impl<'a> Engines<'a> {
    /// The suite itself, on the device of `compute`.
    pub fn own(compute: &'a Compute) -> Engines<'a> {
        Engines { compute, spec: None, served: None }
    }

    /// The engine of `spec`, whose servers are started with the first weights; the suite itself without one. Models have the
    /// shape of `prompter`, and `runs_dir` is the folder of runs.
    ///
    /// # Errors
    /// See [`Served::new`].
    pub fn new(
        spec: Option<&'a EngineSpec>,
        prompter: &Prompter,
        compute: &'a Compute,
        runs_dir: &Path,
        say: fn(&str),
    ) -> Result<Engines<'a>> {
        let new = |spec| Served::new(spec, (prompter, compute), runs_dir, say, interrupted);
        let served = spec.filter(|_| compute.ranks.is_first()).map(new).transpose()?;
        Ok(Engines { compute, spec, served: served.map(Mutex::new) })
    }

    /// The engine for one stage or row, whose models are of `config`: computing in `dtype` and with `features` of pictures where
    /// it is the suite's own.
    pub fn engine<'b>(
        &'b self,
        config: &'b VlmConfig,
        dtype: ComputeDtype,
        features: Option<&'b FeatureCache>,
    ) -> Turn<'b> {
        match self.servers() {
            Some(served) => Turn::Served(served),
            None => {
                let own = LocalEngine::new(config, self.compute, dtype);
                Turn::Own(Box::new(own.with_features(features)))
            }
        }
    }

    /// The engine for a stage that all processes of `compute` train: its own share of the questions where the suite itself
    /// answers; of servers the first process asks, and all get the answers.
    pub fn together<'b>(
        &'b self,
        config: &'b VlmConfig,
        dtype: ComputeDtype,
        features: Option<&'b FeatureCache>,
    ) -> Turn<'b> {
        let ranks = &self.compute.ranks;
        if let (Some(spec), 2..) = (self.spec, ranks.size()) {
            return Turn::Shared(Shared { served: self.servers(), spec, ranks });
        }
        match self.engine(config, dtype, features) {
            Turn::Own(own) => Turn::Own(Box::new(own.together())),
            turn => turn,
        }
    }

    /// Starts servers with `weights` where servers answer, so that one that cannot answer is found before anything is trained.
    ///
    /// # Errors
    /// If one cannot be started, or answers otherwise than the suite itself.
    pub fn start(&self, weights: &Parameters) -> Result<()> {
        self.servers().map_or(Ok(()), |mut served| served.load(weights))
    }

    /// The servers, in this process's hands, where they are asked.
    fn servers(&self) -> Option<MutexGuard<'_, Served>> {
        let served = self.served.as_ref()?;
        Some(served.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An engine in the hands of one stage or row.
pub enum Turn<'a> {
    /// The suite's own, made for it.
    Own(Box<LocalEngine<'a>>),
    /// The servers of the run.
    Served(MutexGuard<'a, Served>),
    /// The servers of the run, whose answers all processes get.
    Shared(Shared<'a>),
}

/// Servers that the first of several processes asks.
pub struct Shared<'a> {
    /// They themselves, in the first process.
    served: Option<MutexGuard<'a, Served>>,
    spec: &'a EngineSpec,
    ranks: &'a Ranks,
}

impl Engine for Shared<'_> {
    fn begin(&mut self, start: &Parameters) -> Result<()> {
        self.served.as_mut().map_or(Ok(()), |served| served.begin(start))
    }

    fn load_adapted(&mut self, adapted: &Adapted<'_>) -> Result<()> {
        self.served.as_mut().map_or(Ok(()), |served| served.load_adapted(adapted))
    }

    fn apart(&self) -> Option<Apart> {
        Some(Apart { dtype: self.spec.dtype, correction: self.spec.correction })
    }

    fn load(&mut self, weights: &Parameters) -> Result<()> {
        self.served.as_mut().map_or(Ok(()), |served| served.load(weights))
    }

    fn unload(&mut self) {
        if let Some(served) = &mut self.served {
            served.unload();
        }
    }

    fn generate(
        &self,
        questions: &[Question],
        num_samples: usize,
        sampling: &Sampling,
        seed: Seed,
    ) -> Result<Vec<Vec<Generated>>> {
        let served = self.served.as_ref();
        let answers = served
            .map(|served| served.generate(questions, num_samples, sampling, seed))
            .transpose()?;
        self.ranks.from_first(answers).context("the first process has the servers")
    }
}

impl<'a> Deref for Turn<'a> {
    type Target = dyn Engine + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Turn::Own(engine) => &**engine,
            Turn::Served(served) => &**served,
            Turn::Shared(shared) => shared,
        }
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Turn::Own(engine) => &mut **engine,
            Turn::Served(served) => &mut **served,
            Turn::Shared(shared) => shared,
        }
    }
}
