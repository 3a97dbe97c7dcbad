//! A checkpoint folder opened by a person: settings, weights and, if there is one, an adapter.
//!
//! Does not know recipes or the store. Any folder in the Hugging Face layout will do.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use burn::tensor::Tensor;
use synergy_hint::hint;
use synergy_models::checkpoint::{Checkpoint, Encoded, write_folder};
use synergy_models::lora::Adapter;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_models::weights::{Parameters, StoredDtype};

use crate::device::Compute;
use crate::key::{hash_file, listed};
use crate::run::store::write_atomic;

/// A model with its settings.
#[derive(Debug)]
pub struct Model {
    /// Shape, tokenizer, preprocessing and generation settings.
    pub checkpoint: Checkpoint,
    /// The weights, an adapter merged in.
    pub parameters: Parameters,
}

impl Model {
    /// Opens the checkpoint in `dir` and merges into its weights the adapter, a folder in PEFT's layout, if there is one.
    ///
    /// # Errors
    /// If a file is missing or damaged, or does not fit the others.
    pub fn open(dir: &Path, adapter: Option<&Path>, compute: &Compute) -> Result<Model> {
        let checkpoint = Checkpoint::read(dir)?;
        let mut parameters = Parameters::load(dir, &checkpoint.config, &compute.device)?;
        if let Some(adapter) = adapter {
            parameters = Adapter::read(adapter, &parameters, &compute.device)?.apply(&parameters);
        }
        Ok(Model { checkpoint, parameters })
    }

    /// Writes the model to the folder `out`, which must be empty or missing, as `dtype` in files of at most
    /// `max_shard_bytes`. The folder gets its name when it is whole.
    ///
    /// # Errors
    /// If `out` holds something already, or cannot be written.
    pub fn export(&self, out: &Path, dtype: StoredDtype, max_shard_bytes: usize) -> Result<()> {
        write_folder(out, |part| {
            let Checkpoint { config, tokenizer, processor, generation } = &self.checkpoint;
            for (name, text) in Checkpoint::files(config, tokenizer, processor, generation, dtype) {
                write_atomic(&part.join(name), text.as_bytes())?;
            }
            self.parameters.save(part, dtype, max_shard_bytes)
        })
    }

    /// Builds the network and computes the features of the pictures in `encoded`, `[tokens of all pictures, hidden_size]`.
    ///
    /// # Errors
    /// If the prompt is longer than the model was made for.
    pub fn ready(&self, encoded: &Encoded) -> Result<(Vlm, Option<Tensor<2>>)> {
        let (len, most) =
            (encoded.input_ids.len(), self.checkpoint.config.layout().max_position_embeddings);
        ensure!(
            len < most,
            hint!(
                "the prompt has {len} tokens, the model takes {most}",
                "shorten the text or lower `max_pixels` in preprocessor_config.json"
            )
        );
        ensure!(len > 0, hint!("the prompt is empty", "give it some text"));
        let vlm = Vlm::new(&self.checkpoint.config, &self.parameters);
        let pictures: Vec<_> =
            encoded.patches.iter().map(|p| (p.values.as_slice(), p.grid)).collect();
        let features = (!pictures.is_empty()).then(|| vlm.image_features(&pictures));
        Ok((vlm, features))
    }
}

/// The files in `dir` that make up a model, in order of name.
///
/// # Errors
/// If the folder cannot be listed.
pub(super) fn model_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files =
        listed(dir).with_context(|| format!("failed to read folder `{}`", dir.display()))?;
    files.retain(|file| {
        file.extension().is_some_and(|end| end == "json" || end == "safetensors" || end == "jinja")
    });
    Ok(files)
}

/// Hash of the files that make up a model: settings, tokenizer and weights in each of `dirs`.
///
/// # Errors
/// If one cannot be read.
pub fn files_hash(dirs: &[&Path]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for dir in dirs {
        for file in model_files(dir)? {
            hash_file(&mut hasher, &file)
                .with_context(|| format!("failed to read `{}`", file.display()))?;
        }
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use synergy_models::image::ProcessorConfig;
    use synergy_models::qwen2_5_vl::config::{GenerationConfig, Preset, VlmConfig};
    use synergy_models::tokenizer::Tokenizer;

    fn model() -> Model {
        let corpus = std::iter::once("What is red? <think> a1 2</think>\\boxed{3}".to_owned());
        let tokenizer = Tokenizer::train(corpus, 300).unwrap();
        let config = VlmConfig::preset(Preset::Nano, tokenizer.vocab_size(), tokenizer.ids);
        let processor = ProcessorConfig::preset(&config.vision_config);
        let mut rng = synergy_benchmarks::seed::Seed::root(1).rng();
        let parameters = Parameters::init(&config, &mut rng, &Device::flex());
        let generation = GenerationConfig::greedy(&config);
        Model { checkpoint: Checkpoint { config, tokenizer, processor, generation }, parameters }
    }

    #[test]
    fn an_exported_model_opens_again_and_is_never_written_over() {
        let (model, dir) = (model(), tempfile::tempdir().unwrap());
        let out = dir.path().join("out");
        model.export(&out, StoredDtype::F32, 200_000).unwrap();
        let compute = Compute::open("flex", Some(1)).unwrap();
        let again = Model::open(&out, None, &compute).unwrap();
        assert_eq!(again.parameters.to_bytes(), model.parameters.to_bytes());
        assert!(out.join("model.safetensors.index.json").is_file());

        let error = synergy_hint::text(&model.export(&out, StoredDtype::F32, 200_000).unwrap_err());
        assert!(error.contains("is there already\nhint: "), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_export_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(model().export(&file.join("out"), StoredDtype::Bf16, 1 << 30).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
