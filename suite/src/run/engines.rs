//! Who answers in a run: the suite's own engine, made for each stage and row, or servers that last as long as the run.
//!
//! Does not know what is asked, nor how a server is started or given weights.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::weights::{ComputeDtype, Parameters};

use crate::device::Compute;
use crate::recipe::EngineSpec;
use crate::run::event::interrupted;
use crate::served::Served;
use crate::train::engine::Engine;
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
    ) -> Turn<'b> {
        match &self.served {
            Some(served) => Turn::Served(served.lock().unwrap_or_else(PoisonError::into_inner)),
            None => {
                let own = LocalEngine::new(config, self.compute, dtype);
                Turn::Own(Box::new(own.with_features(features)))
            }
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

/// An engine in the hands of one stage or row.
pub enum Turn<'a> {
    /// The suite's own, made for it.
    Own(Box<LocalEngine<'a>>),
    /// The servers of the run.
    Served(MutexGuard<'a, Served>),
}

impl<'a> Deref for Turn<'a> {
    type Target = dyn Engine + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Turn::Own(engine) => &**engine,
            Turn::Served(served) => &**served,
        }
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Turn::Own(engine) => &mut **engine,
            Turn::Served(served) => &mut **served,
        }
    }
}
