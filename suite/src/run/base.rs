//! A base model: a folder in the Hugging Face layout with `base.json` beside it.
//!
//! Does not train. Reads and verifies a kept base, makes a fresh one, writes a trained one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use synergy_benchmarks::seed::Seed;
use synergy_hint::{Explain as _, Hinted, hint};
use synergy_models::checkpoint::Checkpoint;
use synergy_models::image::ProcessorConfig;
use synergy_models::qwen2_5_vl::config::{GenerationConfig, Preset, VlmConfig};
use synergy_models::tokenizer::Tokenizer;
use synergy_models::weights::{ComputeDtype, Parameters, StoredDtype};

use crate::device::Compute;
use crate::key::Key;
use crate::recipe::PromptSpec;
use crate::run::model::files_hash;
use crate::run::store::write_atomic;
use crate::train::sequence::{Prompter, corpus};

const WEIGHTS: &str = "model.safetensors";

/// `base.json`: where a kept base comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseRecord {
    /// Name of the recipe that trained it.
    pub recipe: String,
    /// Hash of that recipe's canonical form.
    pub recipe_hash: String,
    /// Hash of the code that trained it.
    pub code_hash: String,
    /// Name of the backend that trained it.
    pub backend: String,
    /// Processor and cores.
    pub machine: String,
    /// Date of training, UTC, as `2026-01-31`.
    pub date: String,
    /// Seconds that training took.
    pub wall_time_s: f64,
    /// Tells whether `synergy base-gate` passed; results on a base that has not are provisional.
    pub gate_passed: bool,
    /// The gate's figures, null before the first measurement.
    pub gate: serde_json::Value,
    /// blake3 of each file, by name.
    pub files: BTreeMap<String, String>,
}

/// A model ready to be trained further or asked.
#[derive(Debug)]
pub struct Base {
    /// Turns samples into the model's tokens and back.
    pub prompter: Prompter,
    /// How the model's authors sample from it.
    pub generation: GenerationConfig,
    /// The weights.
    pub parameters: Parameters,
    /// Hash of all its files.
    pub key: Key,
    /// The content of `base.json`; `None` for a base that was not read from such a folder.
    pub record: Option<BaseRecord>,
}

impl Base {
    /// Reads a kept base and checks every file against `base.json`.
    ///
    /// # Errors
    /// If a file is missing, changed or does not fit the others.
    pub fn read(dir: &Path, prompt: &PromptSpec, compute: &Compute) -> Result<Base> {
        let path = dir.join("base.json");
        let text = std::fs::read_to_string(&path).explain(|| {
            hint!(
                ("there is no kept base in `{}`", dir.display()),
                "train it with `cargo xtask train-base`"
            )
        })?;
        let record: BaseRecord = serde_json::from_str(&text).explain(|| {
            hint!(
                ("failed to parse `{}`", path.display()),
                "restore it with git, or train the base again"
            )
        })?;
        for (name, hash) in &record.files {
            let file = dir.join(name);
            let bytes = std::fs::read(&file).explain(|| {
                hint!(
                    ("failed to read `{}` of the kept base", file.display()),
                    "restore it with git, or train the base again"
                )
            })?;
            ensure!(
                blake3::hash(&bytes).to_hex().as_str() == hash,
                hint!(
                    ("kept base file `{}` is not the one recorded", file.display()),
                    "restore it with git, or train it again"
                )
            );
        }
        let checkpoint = Checkpoint::read(dir)?;
        let parameters = Parameters::load(dir, &checkpoint.config, &compute.device)?;
        let key = Key::of(&json!(record.files));
        Ok(Base::of(checkpoint, prompt, parameters, key, Some(record)))
    }

    /// Reads a checkpoint as somebody has published it, its weights rounded to `dtype`.
    ///
    /// # Errors
    /// If a file is missing, damaged or does not fit the others.
    pub fn published(
        dir: &Path,
        prompt: &PromptSpec,
        compute: &Compute,
        dtype: ComputeDtype,
    ) -> Result<Base> {
        ensure!(dir.is_dir(), no_checkpoint(dir));
        let checkpoint = Checkpoint::read(dir)?;
        let parameters = Parameters::load_as(dir, &checkpoint.config, &compute.device, dtype)?;
        let key = Key::of(&json!(files_hash(&[dir])?));
        Ok(Base::of(checkpoint, prompt, parameters, key, None))
    }

    fn of(
        checkpoint: Checkpoint,
        prompt: &PromptSpec,
        parameters: Parameters,
        key: Key,
        record: Option<BaseRecord>,
    ) -> Base {
        let generation = checkpoint.generation.clone();
        let prompter = Prompter::of(checkpoint, prompt.clone());
        Base { prompter, generation, parameters, key, record }
    }

    /// Makes a base of random weights, with a tokenizer trained on the families' own texts.
    ///
    /// # Errors
    /// If the tokenizer cannot be trained.
    pub fn fresh(
        preset: Preset,
        vocab_size: usize,
        initializer_range: f64,
        prompt: &PromptSpec,
        seed: u64,
        compute: &Compute,
    ) -> Result<Base> {
        let tokenizer = Tokenizer::train(corpus(prompt, 1000), vocab_size)?;
        let mut config = VlmConfig::preset(preset, tokenizer.vocab_size(), tokenizer.ids);
        config.initializer_range = initializer_range;
        let mut rng = Seed::root(seed).fold_in("init").rng();
        let parameters = Parameters::init(&config, &mut rng, &compute.device);
        let processor = ProcessorConfig::preset(&config.vision_config);
        let generation = GenerationConfig::greedy(&config);
        let checkpoint = Checkpoint { config, tokenizer, processor, generation };
        Ok(Base::unrecorded(Prompter::of(checkpoint, prompt.clone()), parameters))
    }

    /// A base that was not read from a folder. Its key is that of the files it would be written to, so a base trained
    /// from scratch to the same bytes as the kept one shares everything that was made from it.
    pub fn unrecorded(prompter: Prompter, parameters: Parameters) -> Base {
        let generation = GenerationConfig::greedy(&prompter.config);
        let key = Key::of(&json!(hashes(&files(&prompter, &generation, &parameters))));
        Base { prompter, generation, parameters, key, record: None }
    }

    /// Writes the base to `dir` with `record`, whose file hashes are filled in here; `base.json` comes last, so that a
    /// folder half written does not look like a base.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, dir: &Path, mut record: BaseRecord) -> Result<()> {
        let files = files(&self.prompter, &self.generation, &self.parameters);
        record.files = hashes(&files);
        for (name, bytes) in &files {
            write_atomic(&dir.join(name), bytes)?;
        }
        let text = serde_json::to_string_pretty(&record).context("a record is plain data")? + "\n";
        write_atomic(&dir.join("base.json"), text.as_bytes())
    }
}

/// The error where `dir` has no published checkpoint.
pub(crate) fn no_checkpoint(dir: &Path) -> Hinted {
    hint!(
        ("there is no checkpoint in `{}`", dir.display()),
        "`cargo xtask fetch` gets those that recipes start from"
    )
}

/// The files of a model in the Hugging Face layout.
fn files(
    prompter: &Prompter,
    generation: &GenerationConfig,
    parameters: &Parameters,
) -> BTreeMap<String, Vec<u8>> {
    let Prompter { config, tokenizer, processor, .. } = prompter;
    let settings = Checkpoint::files(config, tokenizer, processor, generation, StoredDtype::F32);
    let settings = settings.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes()));
    settings.chain([(WEIGHTS.to_owned(), parameters.to_bytes())]).collect()
}

fn hashes(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    files
        .iter()
        .map(|(name, bytes)| (name.clone(), blake3::hash(bytes).to_hex().to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_either_file_of_a_checkpoint_says() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/base/nano");
        let compute = Compute::open("flex", Some(1)).unwrap();
        let prompt = PromptSpec { suffix: String::new(), registers: None };
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&kept).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        let ends = |settings: Option<&str>| {
            let path = dir.path().join("generation_config.json");
            match settings {
                Some(text) => std::fs::write(path, text).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            let base = Base::published(dir.path(), &prompt, &compute, ComputeDtype::F32).unwrap();
            let sampling = base.prompter.greedy(7);
            assert_eq!(sampling.eos_token_id, base.prompter.end_tokens);
            (sampling.eos_token_id, base.prompter.config.eos_token_id)
        };
        let (two, end) = ends(Some(r#"{"eos_token_id": [2, 0]}"#));
        assert_eq!((two, end), (vec![2, 0], 2));
        assert_eq!(ends(Some(r#"{"eos_token_id": 0}"#)).0, [0, end]);
        assert_eq!(ends(Some(r#"{"do_sample": false}"#)).0, [end]);
        assert_eq!(ends(None).0, [end]);
    }
}
