//! The Hugging Face `config.json` and `generation_config.json` of Qwen2.5-VL, field for field, and the
//! presets.
//!
//! Does not know weights. Every published form of `config.json` is read (`published`) into the flat one.
//! That one is written, since every version of the reference reads it.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::IntoStaticStr;
use synergy_hint::hint;

use crate::fields::{HINT, Section};

mod published;

pub(crate) use self::published::INERT;

/// The class that is assumed where `config.json` has no `architectures`.
const ARCHITECTURE: &str = "Qwen2_5_VLForConditionalGeneration";

/// Base of the tower's rotary frequencies; the reference fixes it in code.
pub(crate) const VISION_ROPE_THETA: f64 = 10_000.0;

/// `config.json`: the decoder's fields at the top level, the tower's under `vision_config`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VlmConfig {
    /// Classes of the reference, `Qwen2_5_VLForConditionalGeneration` among them.
    pub architectures: Vec<String>,
    /// Always `qwen2_5_vl`.
    pub model_type: String,
    /// Always `silu`.
    pub hidden_act: String,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Standard deviation of fresh matrices.
    pub initializer_range: f64,
    /// Width of the feed-forward's gate and up projections, each.
    pub intermediate_size: usize,
    /// The longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Layers of the decoder.
    pub num_hidden_layers: usize,
    /// Heads of keys and values, a divisor of `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// RMSNorm's epsilon; above 0.
    pub rms_norm_eps: f64,
    /// How a rotary position is spread over a head's channels.
    pub rope_scaling: RopeScaling,
    /// Base of the rotary frequencies; above 0.
    pub rope_theta: f64,
    /// True if the input embedding also serves as the output head.
    pub tie_word_embeddings: bool,
    /// Rows of the embedding and of the head; every token id is below it.
    pub vocab_size: usize,
    /// The id that stands for one token of a picture.
    pub image_token_id: u32,
    /// The id that stands for one token of a video; absent in a model that has seen no video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_token_id: Option<u32>,
    /// The id that opens a picture or a video.
    pub vision_start_token_id: u32,
    /// The id that closes a picture or a video.
    pub vision_end_token_id: u32,
    /// The id that begins a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    /// The id that ends an answer.
    pub eos_token_id: u32,
    /// The id of padding. Where it is given, the reference's embedding lets no gradient into its row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<u32>,
    /// The vision tower.
    pub vision_config: VisionConfig,
    /// The name of the field about the type of stored numbers, whose value is the weights' affair.
    #[serde(skip)]
    pub dtype_field: DtypeField,
}

/// The name under which a `config.json` says as what type its numbers are stored. A file is written with the one that it
/// was read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtypeField {
    /// `torch_dtype`, which every version of the reference reads.
    #[default]
    TorchDtype,
    /// `dtype`, as the reference writes since 5.0.
    Dtype,
}

/// `rope_scaling` of the decoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RopeScaling {
    /// Always `mrope`; `default` in newer files means the same.
    #[serde(rename = "type")]
    pub kind: String,
    /// Channel pairs of a head that turn by time, height and width; they sum to half the head.
    pub mrope_section: [usize; 3],
}

/// `vision_config`: the vision tower.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VisionConfig {
    /// Layers of the tower.
    pub depth: usize,
    /// Always `silu`.
    pub hidden_act: String,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width of the feed-forward's gate and up projections, each.
    pub intermediate_size: usize,
    /// Heads of queries, keys and values alike.
    pub num_heads: usize,
    /// Channels of a pixel; always 3.
    pub in_chans: usize,
    /// Width of the features, which is the decoder's `hidden_size`.
    pub out_hidden_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Side, in patches, of the square that becomes one token.
    pub spatial_merge_size: usize,
    /// Frames in a patch.
    pub temporal_patch_size: usize,
    /// Side of a window of attention, in pixels.
    pub window_size: usize,
    /// Layers that attend over a whole frame instead of a window, counted from 0.
    pub fullatt_block_indexes: Vec<usize>,
    /// Positions in time for one second of a video.
    pub tokens_per_second: usize,
}

/// `generation_config.json`: how the checkpoint's authors sample from it. Fields that the file leaves
/// out have the reference's defaults, and are left out when it is written: an engine takes for a wish of the authors
/// what the file says.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct GenerationConfig {
    /// The id that begins a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    /// Draws tokens at random. If false or left out, the most probable token is taken, and the next three fields have no
    /// effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub do_sample: Option<bool>,
    /// Divisor of the logits; above 0 if `do_sample`. Left out: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// How many of the most probable tokens may be drawn; 0 for all. Left out: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Probability that the tokens which may be drawn have together; above 0, and 1 for all. Left out: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Ids that end an answer. The file may hold one number or a list; without any, that of `config.json` is meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub eos_token_id: Vec<u32>,
    /// The id of padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<u32>,
    /// Divisor of the positive logits of tokens that occurred before; above 0, and 1 changes nothing. Left out: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
}

/// The token ids that a model needs, from the tokenizer that it is trained with.
#[derive(Debug, Clone, Copy)]
pub struct SpecialIds {
    /// Stands for one token of a picture.
    pub image: u32,
    /// Opens a picture.
    pub vision_start: u32,
    /// Closes a picture.
    pub vision_end: u32,
    /// Begins a text.
    pub bos: u32,
    /// Ends an answer.
    pub eos: u32,
    /// Stands for one token of a video, in a vocabulary that has such an entry.
    pub video: Option<u32>,
}

impl SpecialIds {
    /// Those of the published tokenizer.
    pub const PUBLISHED: SpecialIds = SpecialIds {
        image: 151_655,
        vision_start: 151_652,
        vision_end: 151_653,
        bos: 151_643,
        eos: 151_645,
        video: Some(151_656),
    };
}

/// The sizes that are trained from scratch here. Recipes and folders name them in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Preset {
    /// About 0.4 M parameters, for the smoke profile and tests.
    Nano,
    /// About 1.2 M parameters: the small study.
    Small,
}

impl VlmConfig {
    /// Returns the configuration of `preset` for a vocabulary of `vocab_size` entries.
    pub fn preset(preset: Preset, vocab_size: usize, ids: SpecialIds) -> VlmConfig {
        let (hidden_size, num_hidden_layers, heads, intermediate_size) = match preset {
            Preset::Nano => (64, 4, 2, 160),
            Preset::Small => (128, 4, 4, 256),
        };
        let (vision_hidden, depth, vision_heads, vision_intermediate) = match preset {
            Preset::Nano => (48, 2, 2, 96),
            Preset::Small => (96, 2, 4, 192),
        };
        VlmConfig {
            architectures: vec![ARCHITECTURE.into()],
            model_type: "qwen2_5_vl".into(),
            hidden_act: "silu".into(),
            hidden_size,
            initializer_range: 0.05,
            intermediate_size,
            max_position_embeddings: 2048,
            num_attention_heads: heads,
            num_hidden_layers,
            num_key_value_heads: heads / 2,
            rms_norm_eps: 1e-6,
            rope_scaling: RopeScaling { kind: "mrope".into(), mrope_section: [8, 4, 4] },
            // That of Qwen2.5-VL: with a smaller base the fast pairs disturb any look-up by content
            // once a conversation is a few hundred tokens long.
            rope_theta: 1_000_000.0,
            tie_word_embeddings: false,
            vocab_size,
            image_token_id: ids.image,
            video_token_id: ids.video,
            vision_start_token_id: ids.vision_start,
            vision_end_token_id: ids.vision_end,
            bos_token_id: Some(ids.bos),
            eos_token_id: ids.eos,
            pad_token_id: None,
            vision_config: VisionConfig {
                depth,
                hidden_act: "silu".into(),
                hidden_size: vision_hidden,
                intermediate_size: vision_intermediate,
                num_heads: vision_heads,
                in_chans: 3,
                out_hidden_size: hidden_size,
                patch_size: 14,
                spatial_merge_size: 2,
                temporal_patch_size: 2,
                window_size: 56,
                fullatt_block_indexes: vec![depth - 1],
                tokens_per_second: 2,
            },
            dtype_field: DtypeField::TorchDtype,
        }
    }

    /// Returns the configuration of a published checkpoint by the name of the folder that it is fetched to, so that its
    /// needs can be estimated before it is fetched. Source: `config.json` of `Qwen/Qwen2.5-VL-3B-Instruct` and
    /// `-7B-Instruct`.
    pub fn published(name: &str) -> Option<VlmConfig> {
        let (hidden_size, num_hidden_layers, heads, kv_heads, intermediate_size) = match name {
            "qwen2.5-vl-3b" => (2048, 36, 16, 2, 11_008),
            "qwen2.5-vl-7b" => (3584, 28, 28, 4, 18_944),
            _ => return None,
        };
        let is_tied = name == "qwen2.5-vl-3b";
        let vocab_size = if is_tied { 151_936 } else { 152_064 };
        let preset = VlmConfig::preset(Preset::Small, vocab_size, SpecialIds::PUBLISHED);
        Some(VlmConfig {
            hidden_size,
            initializer_range: 0.02,
            intermediate_size,
            max_position_embeddings: 128_000,
            num_attention_heads: heads,
            num_hidden_layers,
            num_key_value_heads: kv_heads,
            rope_scaling: RopeScaling { mrope_section: [16, 24, 24], ..preset.rope_scaling },
            tie_word_embeddings: is_tied,
            vision_config: VisionConfig {
                depth: 32,
                hidden_size: 1280,
                intermediate_size: 3420,
                num_heads: 16,
                out_hidden_size: hidden_size,
                window_size: 112,
                fullatt_block_indexes: vec![7, 15, 23, 31],
                ..preset.vision_config
            },
            ..preset
        })
    }

    /// Returns the same configuration with `num` layers in the decoder and `num` in the tower.
    #[must_use]
    pub fn with_layers(self, num: usize) -> VlmConfig {
        let vision_config = VisionConfig { depth: num, ..self.vision_config };
        VlmConfig { num_hidden_layers: num, vision_config, ..self }
    }

    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// If the file is missing, is not JSON of one of the three forms, or describes another model.
    pub fn read(dir: &Path) -> Result<VlmConfig> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|e| {
            anyhow!(hint!(
                ("failed to read model config `{}`: {e}", path.display()),
                "name the folder of a checkpoint"
            ))
        })?;
        VlmConfig::from_json(&text)
            .with_context(|| format!("unusable model config `{}`", path.display()))
    }

    /// Does the same as [`VlmConfig::read`] with the text of a `config.json`.
    ///
    /// # Errors
    /// See [`VlmConfig::read`].
    pub fn from_json(text: &str) -> Result<VlmConfig> {
        let config = VlmConfig::take(Section::parse(text)?)?;
        config.check().map_err(|e| anyhow!(hint!("{e}", "{HINT}")))?;
        Ok(config)
    }

    /// Returns the text of a flat `config.json` of a checkpoint whose numbers are stored as `dtype`, such as `bfloat16`.
    pub fn to_json(&self, dtype: &str) -> String {
        #[derive(Serialize)]
        struct Written<'a> {
            #[serde(flatten)]
            config: &'a VlmConfig,
            #[serde(skip_serializing_if = "Option::is_none")]
            torch_dtype: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            dtype: Option<&'a str>,
        }

        let (torch_dtype, dtype) = match self.dtype_field {
            DtypeField::TorchDtype => (Some(dtype), None),
            DtypeField::Dtype => (None, Some(dtype)),
        };
        let written = Written { config: self, torch_dtype, dtype };
        serde_json::to_string_pretty(&written).expect("a config is plain data") + "\n"
    }

    /// Returns the channels of one attention head of the decoder.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Returns whether `id` stands for a part of a picture or a video.
    pub fn is_media(&self, id: u32) -> bool {
        id == self.image_token_id || Some(id) == self.video_token_id
    }

    /// Refuses values with which the model would silently compute something else, or nothing.
    fn check(&self) -> Result<()> {
        let vision = &self.vision_config;
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_key_value_heads", self.num_key_value_heads),
            ("vocab_size", self.vocab_size),
            ("vision_config.hidden_size", vision.hidden_size),
            ("vision_config.intermediate_size", vision.intermediate_size),
            ("vision_config.num_heads", vision.num_heads),
            ("vision_config.patch_size", vision.patch_size),
            ("vision_config.spatial_merge_size", vision.spatial_merge_size),
            ("vision_config.temporal_patch_size", vision.temporal_patch_size),
            ("vision_config.window_size", vision.window_size),
        ];
        for (name, size) in sizes {
            ensure!(size > 0, "`{name}` is 0");
        }
        for (name, value) in [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)]
        {
            ensure!(value > 0.0 && value.is_finite(), "`{name}` is {value}");
        }
        ensure!(
            self.hidden_size.is_multiple_of(self.num_attention_heads.saturating_mul(2))
                && self.num_attention_heads.is_multiple_of(self.num_key_value_heads),
            "`hidden_size` {}, `num_attention_heads` {} and `num_key_value_heads` {} do not divide",
            self.hidden_size,
            self.num_attention_heads,
            self.num_key_value_heads
        );
        ensure!(
            self.rope_scaling.mrope_section.iter().try_fold(0, |sum: usize, &n| sum.checked_add(n))
                == Some(self.head_dim() / 2),
            "`mrope_section` {:?} does not sum to half the head dimension {}",
            self.rope_scaling.mrope_section,
            self.head_dim()
        );
        ensure!(
            vision.hidden_size.is_multiple_of(vision.num_heads.saturating_mul(4)),
            "`vision_config.hidden_size` {} is not a multiple of 4 x num_heads {}",
            vision.hidden_size,
            vision.num_heads
        );
        ensure!(
            vision.out_hidden_size == self.hidden_size,
            "`vision_config.out_hidden_size` {} differs from `hidden_size` {}",
            vision.out_hidden_size,
            self.hidden_size
        );
        ensure!(
            vision
                .patch_size
                .checked_mul(vision.spatial_merge_size)
                .is_some_and(|side| vision.window_size.is_multiple_of(side)),
            "`vision_config.window_size` {} is not a multiple of patch_size x spatial_merge_size",
            vision.window_size
        );
        let ids = [
            ("image_token_id", Some(self.image_token_id)),
            ("video_token_id", self.video_token_id),
            ("vision_start_token_id", Some(self.vision_start_token_id)),
            ("vision_end_token_id", Some(self.vision_end_token_id)),
            ("bos_token_id", self.bos_token_id),
            ("eos_token_id", Some(self.eos_token_id)),
            ("pad_token_id", self.pad_token_id),
        ];
        for (name, id) in ids {
            ensure!(
                id.is_none_or(|id| (id as usize) < self.vocab_size),
                "`{name}` {} is not below `vocab_size` {}",
                id.unwrap_or_default(),
                self.vocab_size
            );
        }
        Ok(())
    }
}

impl GenerationConfig {
    /// Returns whether nothing is said, as where there is no such file.
    pub fn is_silent(&self) -> bool {
        *self == GenerationConfig::default()
    }

    /// Returns settings that always take the most probable token, with the special tokens of `config`.
    pub fn greedy(config: &VlmConfig) -> GenerationConfig {
        GenerationConfig {
            bos_token_id: config.bos_token_id,
            do_sample: Some(false),
            temperature: None,
            top_k: None,
            top_p: None,
            eos_token_id: vec![config.eos_token_id],
            pad_token_id: config.pad_token_id,
            repetition_penalty: None,
        }
    }

    /// Returns the tokens that end an answer: those of these settings, and that of `config`, with which the chat template
    /// ends a turn and answers are learned. Settings without the key end where `config` says.
    pub fn end_tokens(&self, config: &VlmConfig) -> Vec<u32> {
        let mut ends = self.eos_token_id.clone();
        if !ends.contains(&config.eos_token_id) {
            ends.push(config.eos_token_id);
        }
        ends
    }

    /// Reads `dir/generation_config.json`; `None` if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read, has an unknown field or a value out of range.
    pub fn read(dir: &Path) -> Result<Option<GenerationConfig>> {
        let path = dir.join("generation_config.json");
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| {
                anyhow!(hint!(
                    ("failed to read generation config `{}`: {e}", path.display()),
                    "remove it or make it readable"
                ))
            })?,
        };
        let config = Section::parse(&text)
            .and_then(GenerationConfig::take)
            .with_context(|| format!("unusable generation config `{}`", path.display()))?;
        Ok(Some(config))
    }

    /// Returns the text of `generation_config.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a config is plain data") + "\n"
    }

    fn take(mut fields: Section) -> Result<GenerationConfig> {
        fields.skip(&["_from_model_config"]);
        if let Some(one) = fields.fields.get_mut("eos_token_id").filter(|v| v.is_number()) {
            *one = Value::Array(vec![one.take()]);
        }
        let config = GenerationConfig {
            bos_token_id: fields.take("bos_token_id")?,
            do_sample: fields.take("do_sample")?,
            temperature: fields.take("temperature")?,
            top_k: fields.take("top_k")?,
            top_p: fields.take("top_p")?,
            eos_token_id: fields.take("eos_token_id")?.unwrap_or_default(),
            pad_token_id: fields.take("pad_token_id")?,
            repetition_penalty: fields.take("repetition_penalty")?,
        };
        fields.finish(&INERT)?;
        let may_be_zero = config.do_sample != Some(true);
        let ranges = [
            ("temperature", config.temperature, may_be_zero, f64::INFINITY),
            ("top_p", config.top_p, false, 1.0),
            ("repetition_penalty", config.repetition_penalty, false, f64::INFINITY),
        ];
        for (name, value, may_be_zero, most) in ranges {
            let Some(value) = value else { continue };
            ensure!(
                may_be_zero || value > 0.0 && value <= most,
                hint!("`{name}` is {value}", "it must be above 0, and `top_p` at most 1")
            );
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn generation(text: &str) -> Result<Option<GenerationConfig>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("generation_config.json"), text).unwrap();
        GenerationConfig::read(dir.path())
    }

    #[test]
    fn generation_settings_are_read_and_written() {
        let published = json!({
            "bos_token_id": 151_643,
            "pad_token_id": 151_643,
            "do_sample": true,
            "eos_token_id": [151_645, 151_643],
            "repetition_penalty": 1.05,
            "temperature": 0.000_001,
            "transformers_version": "4.49.0"
        });
        let config = generation(&published.to_string()).unwrap().unwrap();
        let want = GenerationConfig {
            bos_token_id: Some(151_643),
            do_sample: Some(true),
            temperature: Some(1e-6),
            top_k: None,
            top_p: None,
            eos_token_id: vec![151_645, 151_643],
            pad_token_id: Some(151_643),
            repetition_penalty: Some(1.05),
        };
        assert_eq!(config, want);
        assert_eq!(generation(&config.to_json()).unwrap().unwrap(), want);
        // What is written has the fields that were there, and no other.
        let mut written: Value = serde_json::from_str(&config.to_json()).unwrap();
        written["transformers_version"] = json!("4.49.0");
        assert_eq!(written, published);
        let one = generation(r#"{"eos_token_id": 5, "top_k": 1, "top_p": 0.001}"#);
        let one = one.unwrap().unwrap();
        assert_eq!((one.eos_token_id, one.top_k, one.do_sample), (vec![5], Some(1), None));
        let recorded = GenerationConfig::read(&crate::tests::fixtures::path("model-tied"));
        assert_eq!(recorded.unwrap().unwrap().eos_token_id, [645, 643]);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(GenerationConfig::read(empty.path()).unwrap(), None);
    }

    #[test]
    fn generation_settings_that_are_unknown_or_out_of_range_are_refused_by_name() {
        for (text, cause) in [
            (r#"{"num_beams": 4}"#, "`num_beams`"),
            (r#"{"do_sample": true, "temperature": 0.0}"#, "`temperature` is 0"),
            (r#"{"top_p": 1.5}"#, "`top_p` is 1.5"),
            (r#"{"repetition_penalty": 0}"#, "`repetition_penalty` is 0"),
            (r#"{"eos_token_id": "<|im_end|>"}"#, "`eos_token_id`"),
            (r#"{"top_k": 5"#, "not a whole JSON object"),
        ] {
            let error = synergy_hint::text(&generation(text).unwrap_err());
            assert!(error.contains("generation_config.json"), "{error}");
            assert!(error.contains(cause) && error.contains("\nhint: "), "{error}");
        }
    }
}
