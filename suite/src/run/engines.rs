//! Who answers in a run: the suite's own engine, made for each stage and row, or servers that last as long as the run.
//!
//! Does not know what is asked, nor how a server is started or given weights.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::weights::{ComputeDtype, Parameters};

use crate::device::Compute;
use crate::recipe::EngineSpec;
use crate::run::event::interrupted;
use crate::served::Served;
use crate::train::engine::{AdapterFiles, Apart, Engine, Question};
use crate::train::features::FeatureCache;
use crate::train::rollout::LocalEngine;
use crate::train::sequence::Prompter;

/// Who answers.
#[derive(Debug)]
pub struct Engines<'a> {
    compute: &'a Compute,
    /// Servers, which one stage or row has at a time.
    served: Option<Mutex<Served>>,
}

impl<'a> Engines<'a> {
    /// The suite itself, on the device of `compute`.
    pub fn own(compute: &'a Compute) -> Engines<'a> {
        Engines { compute, served: None }
    }

    /// The engine of `spec`, whose servers are started with the first weights; the suite itself without one. Models have the
    /// shape of `prompter`, and `runs_dir` is the folder of runs.
    ///
    /// # Errors
    /// See [`Served::new`].
    pub fn new(
        spec: Option<&EngineSpec>,
        prompter: &Prompter,
        compute: &'a Compute,
        runs_dir: &Path,
        say: fn(&str),
    ) -> Result<Engines<'a>> {
        let new = |spec| Served::new(spec, (prompter, compute), runs_dir, say, interrupted);
        let served = spec.map(new).transpose()?;
        Ok(Engines { compute, served: served.map(Mutex::new) })
    }

    /// The engine for one stage or row, whose models are of `config`: computing in `dtype` and with `features` of pictures where
    /// it is the suite's own.
    pub fn engine<'b>(
        &'b self,
        config: &'b VlmConfig,
        dtype: ComputeDtype,
        features: Option<&'b FeatureCache>,
    ) -> Box<dyn Engine + 'b> {
        match &self.served {
            Some(served) => Box::new(Turn(served.lock().unwrap_or_else(PoisonError::into_inner))),
            None => Box::new(LocalEngine::new(config, self.compute, dtype).with_features(features)),
        }
    }

    /// Starts servers with `weights` where servers answer, so that one that cannot answer is found before anything is trained.
    ///
    /// # Errors
    /// If one cannot be started, or answers otherwise than the suite itself.
    pub fn start(&self, weights: &Parameters) -> Result<()> {
        let Some(served) = &self.served else { return Ok(()) };
        served.lock().unwrap_or_else(PoisonError::into_inner).load(weights)
    }
}

/// The servers in the hands of one stage or row.
struct Turn<'a>(MutexGuard<'a, Served>);

impl Engine for Turn<'_> {
    fn begin(&mut self, start: &Parameters) -> Result<()> {
        self.0.begin(start)
    }

    fn load(&mut self, weights: &Parameters) -> Result<()> {
        self.0.load(weights)
    }

    fn load_adapted(&mut self, weights: &Parameters, files: &AdapterFiles<'_>) -> Result<()> {
        self.0.load_adapted(weights, files)
    }

    fn unload(&mut self) {
        self.0.unload();
    }

    fn apart(&self) -> Option<Apart> {
        self.0.apart()
    }

    fn generate(
        &self,
        questions: &[Question],
        num_samples: usize,
        sampling: &Sampling,
        seed: Seed,
    ) -> Result<Vec<Vec<Generated>>> {
        self.0.generate(questions, num_samples, sampling, seed)
    }
}
