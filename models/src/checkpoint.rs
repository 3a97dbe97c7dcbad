//! The files of a checkpoint's folder except its weights: configuration, tokenizer, pictures, sampling.
//!
//! Does not compute. The files are those of the Hugging Face layout; weights are read and written by
//! [`crate::weights::Parameters`], since they are large and not always needed.
//! A folder is written under another name and renamed when it is whole.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use synergy_hint::{Explain as _, hint};

use crate::generate::{Prompt, Sampling};
use crate::image::{Patches, ProcessorConfig};
use crate::qwen2_5_vl::config::{GenerationConfig, VlmConfig};
use crate::tokenizer::{Message, Tokenizer};
use crate::weights::StoredDtype;

/// The settings of a model.
#[derive(Debug)]
pub struct Checkpoint {
    /// Sizes and special tokens.
    pub config: VlmConfig,
    /// Text to ids, and the chat template.
    pub tokenizer: Tokenizer,
    /// Pictures to patches.
    pub processor: ProcessorConfig,
    /// How its authors sample from it; silent where they do not say.
    pub generation: GenerationConfig,
}

/// A prompt as a model takes it.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The text, before the tokens of pictures are expanded.
    pub text: String,
    /// Token ids, the tokens of pictures expanded.
    pub input_ids: Vec<u32>,
    /// Patches of each picture, in order of appearance.
    pub patches: Vec<Patches>,
}

impl Checkpoint {
    /// Reads and checks the settings in `dir`. Without a `generation_config.json` sampling takes the most probable
    /// token, and none is written; one without `eos_token_id` gets that of `config.json`, for which an engine does not look
    /// there where the other file is.
    ///
    /// # Errors
    /// If a file is missing, damaged, of another kind of model, or does not fit the others.
    pub fn read(dir: &Path) -> Result<Checkpoint> {
        let config = VlmConfig::read(dir)?;
        let tokenizer = Tokenizer::read(dir, &config)?;
        let processor = ProcessorConfig::read(dir)?;
        processor.check(&config.vision_config).with_context(|| {
            format!("picture processor and model config of `{}` disagree", dir.display())
        })?;
        let mut generation = GenerationConfig::read(dir)?;
        if let Some(said) = &mut generation
            && said.eos_token_id.is_empty()
        {
            said.eos_token_id.push(config.eos_token_id);
        }
        let generation = generation.unwrap_or_default();
        Ok(Checkpoint { config, tokenizer, processor, generation })
    }

    /// Makes the name and text of every file, for weights that are stored as `dtype`; silent generation settings have none.
    /// The chat template is in a file of its own and in `tokenizer_config.json`, since other programs look in either.
    pub fn files(
        config: &VlmConfig,
        tokenizer: &Tokenizer,
        processor: &ProcessorConfig,
        generation: &GenerationConfig,
        dtype: StoredDtype,
    ) -> Vec<(&'static str, String)> {
        let (vocabulary, settings) = tokenizer.to_json();
        let mut files = vec![
            ("chat_template.jinja", tokenizer.chat_template().to_owned()),
            ("config.json", config.to_json(dtype.torch_name())),
            ("preprocessor_config.json", processor.to_json()),
            ("tokenizer.json", vocabulary),
            ("tokenizer_config.json", settings),
        ];
        if !generation.is_silent() {
            files.push(("generation_config.json", generation.to_json()));
        }
        files
    }

    /// Encodes a conversation about `pictures`, with the model's turn opened.
    ///
    /// # Errors
    /// If the chat template fails, a picture is too thin, or the conversation has places for more or
    /// fewer pictures.
    pub fn encode(&self, messages: &[Message], pictures: &[RgbImage]) -> Result<Encoded> {
        self.encode_raw(self.tokenizer.render(messages, true)?, pictures)
    }

    /// Encodes `text` as it is, without a chat template.
    ///
    /// # Errors
    /// If a picture is too thin, or the text has places for more or fewer pictures.
    pub fn encode_raw(&self, text: String, pictures: &[RgbImage]) -> Result<Encoded> {
        let patches: Vec<Patches> = pictures
            .iter()
            .map(|picture| self.processor.patches(picture))
            .collect::<Result<_>>()?;
        let input_ids = token_ids(&self.tokenizer, &self.config, &text, &patches)?;
        Ok(Encoded { text, input_ids, patches })
    }

    /// Returns the sampling that the checkpoint's authors recommend.
    pub fn sampling(&self, max_new_tokens: usize) -> Sampling {
        let GenerationConfig { do_sample, temperature, top_k, top_p, .. } = self.generation;
        let (temperature, top_k) = (temperature.unwrap_or(1.0), top_k.unwrap_or(50));
        let top_p = top_p.unwrap_or(1.0);
        let mut sampling = Sampling::greedy(max_new_tokens, self.config.eos_token_id);
        sampling.eos_token_id = self.generation.end_tokens(&self.config);
        sampling.repetition_penalty = self.generation.repetition_penalty.unwrap_or(1.0);
        if do_sample == Some(true) {
            Sampling { temperature, top_k, top_p, ..sampling }
        } else {
            sampling
        }
    }
}

/// Makes the folder `out`, which must not exist or be empty. `write` fills a folder next to it; that one is renamed
/// when `write` succeeds and removed when it fails, so that `out` is whole or absent.
///
/// # Errors
/// If something is there already or cannot be written, or if `write` fails.
pub fn write_folder(out: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !out.exists(),
    };
    ensure!(is_free, hint!(("`{}` is there already", out.display()), "choose a new folder"));
    let Some(name) = out.file_name() else {
        bail!(hint!(("`{}` names no folder", out.display()), "choose a new folder"));
    };
    let part = out.with_file_name(format!("{}.part", name.to_string_lossy()));
    // It may be another's work, or a model's own folder: nothing is removed that was not made here.
    ensure!(
        !part.exists(),
        hint!(
            (
                "`{}` exists: another program is writing `{}`, or was killed while it did",
                part.display(),
                out.display()
            ),
            "remove it, or choose another folder"
        )
    );
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let parents: Vec<&Path> = part.ancestors().skip(1).take_while(is_missing).collect();
    let create = || -> Result<()> {
        fs::create_dir_all(part.parent().unwrap_or(Path::new("")))
            .and_then(|()| fs::create_dir(&part))
            .explain(|| {
                hint!(("failed to create `{}`", part.display()), "choose a folder of your own")
            })
    };
    let fill = || {
        write(&part)?;
        fs::rename(&part, out)
            .explain(|| hint!(("failed to rename to `{}`", out.display()), "choose a new folder"))
    };
    // Nothing half-written stays; that removing fails too adds nothing to the error.
    let filled = create().and_then(|()| {
        fill().inspect_err(|_| {
            let _ = fs::remove_dir_all(&part);
        })
    });
    filled.inspect_err(|_| {
        for folder in parents {
            let _ = fs::remove_dir(folder);
        }
    })
}

/// Encodes `text` and expands the tokens of its pictures.
///
/// # Errors
/// If the text has places for more or fewer pictures than `patches`.
pub fn token_ids(
    tokenizer: &Tokenizer,
    config: &VlmConfig,
    text: &str,
    patches: &[Patches],
) -> Result<Vec<u32>> {
    let merge = config.vision_config.spatial_merge_size;
    let counts: Vec<usize> = patches.iter().map(|p| p.grid.num_tokens(merge)).collect();
    tokenizer.expand_images(&tokenizer.encode(text), &counts)
}

impl Encoded {
    /// Makes the prompt that [`crate::generate`] takes, alone in its batch.
    pub fn prompt(&self) -> Prompt {
        let grids = self.patches.iter().map(|p| p.grid).collect();
        Prompt { input_ids: self.input_ids.clone(), grids, ..Prompt::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qwen2_5_vl::config::Preset;

    fn small() -> Checkpoint {
        let corpus = ["What is red? <think> a1 2</think>\\boxed{3}".to_owned()];
        let tokenizer = Tokenizer::train(corpus.into_iter(), 300).unwrap();
        let config = VlmConfig::preset(Preset::Nano, tokenizer.vocab_size(), tokenizer.ids);
        let processor = ProcessorConfig::preset(&config.vision_config);
        let generation = GenerationConfig::greedy(&config);
        Checkpoint { config, tokenizer, processor, generation }
    }

    fn write(checkpoint: &Checkpoint) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let Checkpoint { config, tokenizer, processor, generation } = checkpoint;
        for (name, text) in
            Checkpoint::files(config, tokenizer, processor, generation, StoredDtype::F32)
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn what_is_written_is_read_again() {
        let checkpoint = small();
        let dir = write(&checkpoint);
        let read = Checkpoint::read(dir.path()).unwrap();
        assert_eq!(read.config, checkpoint.config);
        assert_eq!(read.processor, checkpoint.processor);
        assert_eq!(read.generation, checkpoint.generation);
        let messages = [Message::user(1, "What is red?")];
        let picture = RgbImage::new(60, 40);
        let ids =
            |c: &Checkpoint| c.encode(&messages, std::slice::from_ref(&picture)).unwrap().input_ids;
        assert_eq!(ids(&read), ids(&checkpoint));
    }

    #[test]
    fn what_engines_look_for_is_written_and_nothing_is_made_up() {
        let checkpoint = small();
        let dir = write(&checkpoint);
        let fields = |name: &str| -> serde_json::Map<String, serde_json::Value> {
            serde_json::from_str(&fs::read_to_string(dir.path().join(name)).unwrap()).unwrap()
        };
        let config = fields("config.json");
        assert_eq!(config["torch_dtype"], "float32");
        assert_eq!(config["video_token_id"], checkpoint.tokenizer.ids.video.unwrap());
        let generation = fields("generation_config.json");
        let names: Vec<&String> = generation.keys().collect();
        assert_eq!(names, ["bos_token_id", "do_sample", "eos_token_id"]);

        // A folder without such a file is written without it.
        fs::remove_file(dir.path().join("generation_config.json")).unwrap();
        let read = Checkpoint::read(dir.path()).unwrap();
        assert_eq!(read.sampling(7), Sampling::greedy(7, checkpoint.config.eos_token_id));
        let again = write(&read);
        let names = |dir: &tempfile::TempDir| {
            let mut names: Vec<_> =
                fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&again), names(&dir));

        // An end of answers that only config.json knows is written where engines look.
        fs::write(dir.path().join("generation_config.json"), r#"{"top_p": 0.9}"#).unwrap();
        let read = Checkpoint::read(dir.path()).unwrap();
        assert_eq!(read.generation.eos_token_id, [checkpoint.config.eos_token_id]);
        let written: serde_json::Value = serde_json::from_str(&read.generation.to_json()).unwrap();
        let end = checkpoint.config.eos_token_id;
        assert_eq!(written, serde_json::json!({"top_p": 0.9, "eos_token_id": [end]}));
    }

    #[test]
    fn a_folder_is_there_when_it_is_whole_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("deep/er/out");
        let write = |succeeds: bool| {
            write_folder(&out, |part| {
                assert!(!out.exists() && part.is_dir());
                fs::write(part.join("file"), "")?;
                if succeeds { Ok(()) } else { bail!("no") }
            })
        };
        assert!(write(false).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the parents are gone too");
        write(true).unwrap();
        assert!(out.join("file").is_file());
        assert!(synergy_hint::text(&write(true).unwrap_err()).contains("is there already\nhint: "));

        // A folder that only looks like ours is somebody's.
        let (next, other) = (dir.path().join("next"), dir.path().join("next.part"));
        fs::create_dir(&other).unwrap();
        let error = synergy_hint::text(&write_folder(&next, |_| Ok(())).unwrap_err());
        assert!(error.contains("next.part` exists: another") && other.is_dir(), "{error}");
    }

    #[test]
    fn more_places_than_pictures_are_an_error_and_so_are_fewer() {
        let checkpoint = small();
        let picture = RgbImage::new(60, 40);
        let refusal = |places: usize, pictures: usize| {
            let pictures = vec![picture.clone(); pictures];
            synergy_hint::text(
                &checkpoint.encode(&[Message::user(places, "?")], &pictures).unwrap_err(),
            )
        };
        assert!(
            refusal(2, 1).starts_with("prompt has 2 `<|image_pad|>`, pictures given: 1\nhint: ")
        );
        assert!(
            refusal(0, 1).starts_with("prompt has 0 `<|image_pad|>`, pictures given: 1\nhint: ")
        );
    }

    #[test]
    fn a_processor_that_cuts_other_patches_than_the_tower_takes_is_refused() {
        let mut checkpoint = small();
        checkpoint.processor.patch_size += 2;
        let error = synergy_hint::text(&Checkpoint::read(write(&checkpoint).path()).unwrap_err());
        assert!(error.contains("disagree") && error.contains("`patch_size`"), "{error}");
    }

    #[test]
    fn sampling_is_what_the_authors_recommend() {
        let mut checkpoint = small();
        assert_eq!(checkpoint.sampling(7), Sampling::greedy(7, checkpoint.config.eos_token_id));
        // An answer ends where the authors say, and where the chat template ends a turn.
        let end = checkpoint.config.eos_token_id;
        checkpoint.generation = GenerationConfig {
            do_sample: Some(true),
            temperature: Some(0.6),
            top_k: Some(20),
            top_p: Some(0.95),
            repetition_penalty: Some(1.05),
            eos_token_id: vec![end + 1, end + 3],
            ..checkpoint.generation
        };
        let sampling = checkpoint.sampling(7);
        assert_eq!((sampling.top_k, sampling.eos_token_id), (20, vec![end + 1, end + 3, end]));
        assert!((sampling.repetition_penalty - 1.05).abs() < 1e-9 && sampling.temperature > 0.5);
        // A file without the key ends no answer of its own.
        checkpoint.generation.eos_token_id = Vec::new();
        assert_eq!(checkpoint.sampling(7).eos_token_id, [end]);
    }
}
