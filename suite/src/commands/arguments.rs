//! Arguments that several verbs share.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::commands::output::tell;
use crate::device::Compute;
use crate::plan::selection::{Selection, seeds_of};
use crate::ranks::Ranks;
use crate::recipe::Recipe;
use crate::run::model::Model;
use crate::run::{Options, Variant, recipe_at};

/// A recipe and where it runs.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Name of a recipe in suite/recipes, or the file of another
    #[arg(long, default_value = "small")]
    pub(super) profile: String,
    /// What answers: own (the suite itself), vllm, sglang, or the file of another engine [default: as the recipe says]
    #[arg(long, value_name = "NAME|FILE")]
    pub(super) engine: Option<String>,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
}

impl RunArgs {
    /// Reads the recipe.
    ///
    /// # Errors
    /// See [`recipe_at`].
    pub(super) fn recipe(&self) -> Result<Recipe> {
        recipe_at(Path::new(&self.profile))
    }

    /// How the recipe is run.
    pub(super) fn options(&self) -> Options {
        Options { engine: self.engine.clone(), ..self.device.options() }
    }
}

/// The part of a recipe that is run.
#[derive(Debug, Args)]
pub(super) struct SelectionArgs {
    /// Run only these regimes, names with commas between them; the base is always run
    #[arg(long, value_name = "REGIMES", value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// Run only these seeds: 1..4 (1, 2, 3 and 4), 1,3 or 2; the recipe need not have them
    #[arg(long, value_name = "SEEDS")]
    seeds: Option<String>,
}

impl SelectionArgs {
    /// Reads the regimes and seeds.
    ///
    /// # Errors
    /// See [`seeds_of`].
    pub(super) fn selection(&self) -> Result<Selection> {
        let trimmed = |name: &String| name.trim().to_owned();
        let mut regimes: Option<Vec<String>> = None;
        for name in self.only.iter().flatten().map(trimmed).filter(|name| !name.is_empty()) {
            let known = regimes.get_or_insert_default();
            if !known.contains(&name) {
                known.push(name);
            }
        }
        if self.only.is_some() {
            regimes.get_or_insert_default();
        }
        Ok(Selection { regimes, seeds: self.seeds.as_deref().map(seeds_of).transpose()? })
    }
}

/// A device and a folder for results.
#[derive(Debug, Args)]
pub(super) struct DeviceArgs {
    /// auto, flex, libtorch, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub(super) device: String,
    /// Number of shards computed at the same time; results do not depend on it [default: all cores]
    #[arg(long)]
    pub(super) threads: Option<NonZeroUsize>,
    /// Folder for artifacts and results
    #[arg(long, default_value = "runs")]
    pub(super) runs_dir: PathBuf,
}

impl DeviceArgs {
    /// How a recipe is run with them.
    pub(super) fn options(&self) -> Options {
        Options {
            runs_dir: self.runs_dir.clone(),
            device: self.device.clone(),
            num_threads: self.threads.map(NonZeroUsize::get),
            from_scratch: false,
            quiet: false,
            variant: Variant::Usual,
            selection: Selection::default(),
            engine: None,
            ranks: Ranks::default(),
        }
    }
}

/// A checkpoint that is opened by itself, outside of any run.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// Folder of a checkpoint in the Hugging Face layout
    #[arg(long, value_name = "DIR")]
    pub(super) model: PathBuf,
    /// Folder of an adapter in the PEFT layout
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// auto, flex, libtorch, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

impl ModelArgs {
    /// Opens the checkpoint and prints its size on standard error, since a large one takes a while.
    ///
    /// # Errors
    /// If there is no such device, or the checkpoint or the adapter cannot be read.
    pub(super) fn open(&self) -> Result<Model> {
        let clock = Instant::now();
        let compute = Compute::open(&self.device, None)?;
        let opened = Model::open(&self.model, self.adapter.as_deref(), &compute)?;
        let millions = opened.parameters.count() as f64 / 1e6;
        let seconds = clock.elapsed().as_secs_f64();
        tell(&format!("({millions:.1} M parameters loaded in {seconds:.1} s)\n"))?;
        Ok(opened)
    }
}

/// Parses a word of the command line as a recipe would.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::String(text.to_owned()))
}
