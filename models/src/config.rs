//! The Hugging Face `config.json` of Qwen2.5-VL, field for field, and the presets.
//!
//! Does not know weights. An unknown field is refused by name, since it may change the computation.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// `config.json`: the decoder's fields at the top level, the tower's under `vision_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlmConfig {
    pub architectures: Vec<String>,
    pub model_type: String,
    pub hidden_act: String,
    pub hidden_size: usize,
    pub initializer_range: f64,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    pub num_attention_heads: usize,
    pub num_hidden_layers: usize,
    pub num_key_value_heads: usize,
    pub rms_norm_eps: f64,
    pub rope_scaling: RopeScaling,
    pub rope_theta: f64,
    pub tie_word_embeddings: bool,
    pub vocab_size: usize,
    pub image_token_id: u32,
    pub vision_start_token_id: u32,
    pub vision_end_token_id: u32,
    pub bos_token_id: u32,
    pub eos_token_id: u32,
    pub vision_config: VisionConfig,
}

/// `rope_scaling` of the decoder: three sections of the half head, for time, height and width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeScaling {
    #[serde(rename = "type")]
    pub kind: String,
    pub mrope_section: [usize; 3],
}

/// `vision_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    pub depth: usize,
    pub hidden_act: String,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_heads: usize,
    pub in_chans: usize,
    pub out_hidden_size: usize,
    pub patch_size: usize,
    pub spatial_merge_size: usize,
    pub temporal_patch_size: usize,
    pub window_size: usize,
    pub fullatt_block_indexes: Vec<usize>,
    pub tokens_per_second: usize,
}

/// The token ids a preset needs, from the tokenizer it is trained with.
#[derive(Debug, Clone, Copy)]
pub struct SpecialIds {
    pub image: u32,
    pub vision_start: u32,
    pub vision_end: u32,
    pub bos: u32,
    pub eos: u32,
}

/// The sizes that are trained from scratch here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// About 0.4 M parameters, for the smoke profile and tests.
    Nano,
    /// About 1.2 M parameters: the small study.
    Small,
}

impl Preset {
    /// As in recipes and folder names.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Nano => "nano",
            Preset::Small => "small",
        }
    }
}

impl VlmConfig {
    /// The configuration of `preset` for a vocabulary of `vocab_size` entries.
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
            architectures: vec!["Qwen2_5_VLForConditionalGeneration".into()],
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
            // Qwen2.5-VL's own: with a smaller base the fast pairs scramble any look-up by content
            // once a conversation is a few hundred tokens long.
            rope_theta: 1_000_000.0,
            tie_word_embeddings: false,
            vocab_size,
            image_token_id: ids.image,
            vision_start_token_id: ids.vision_start,
            vision_end_token_id: ids.vision_end,
            bos_token_id: ids.bos,
            eos_token_id: ids.eos,
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
        }
    }

    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// If the file is missing, is not JSON of this form, or describes another model.
    pub fn read(dir: &Path) -> Result<VlmConfig> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read model config `{}`", path.display()))?;
        let config: VlmConfig = serde_json::from_str(&text)
            .with_context(|| format!("failed to parse model config `{}`", path.display()))?;
        config.check().with_context(|| format!("unusable model config `{}`", path.display()))?;
        Ok(config)
    }

    /// The text of `config.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a config is plain data") + "\n"
    }

    /// Channels of one attention head of the decoder.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Refuses what would silently compute something else.
    fn check(&self) -> Result<()> {
        if self.model_type != "qwen2_5_vl" {
            bail!("model type is `{}`\nhint: this suite runs `qwen2_5_vl`", self.model_type);
        }
        ensure!(self.hidden_act == "silu", "hidden_act `{}` is not implemented", self.hidden_act);
        let vision = &self.vision_config;
        ensure!(vision.hidden_act == "silu", "vision hidden_act `{}`", vision.hidden_act);
        ensure!(
            self.num_attention_heads > 0
                && self.num_key_value_heads > 0
                && self.hidden_size.is_multiple_of(self.num_attention_heads)
                && self.num_attention_heads.is_multiple_of(self.num_key_value_heads),
            "hidden_size, num_attention_heads and num_key_value_heads do not divide"
        );
        ensure!(
            matches!(self.rope_scaling.kind.as_str(), "mrope" | "default"),
            "rope_scaling type `{}` is not implemented",
            self.rope_scaling.kind
        );
        ensure!(
            self.rope_scaling.mrope_section.iter().sum::<usize>() == self.head_dim() / 2,
            "mrope_section {:?} does not sum to half the head dimension {}",
            self.rope_scaling.mrope_section,
            self.head_dim()
        );
        ensure!(
            vision.out_hidden_size == self.hidden_size,
            "vision out_hidden_size {} differs from hidden_size {}",
            vision.out_hidden_size,
            self.hidden_size
        );
        ensure!(
            vision.window_size.is_multiple_of(vision.patch_size * vision.spatial_merge_size),
            "window_size {} is not a multiple of patch_size x spatial_merge_size",
            vision.window_size
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano() -> VlmConfig {
        let ids = SpecialIds { image: 1, vision_start: 2, vision_end: 3, bos: 4, eos: 4 };
        VlmConfig::preset(Preset::Nano, 300, ids)
    }

    #[test]
    fn presets_pass_their_own_checks_and_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), nano().to_json()).unwrap();
        assert_eq!(VlmConfig::read(dir.path()).unwrap(), nano());
    }

    #[track_caller]
    fn refused(from: &str, to: &str, cause: &str) {
        let dir = tempfile::tempdir().unwrap();
        let text = nano().to_json();
        assert!(text.contains(from));
        std::fs::write(dir.path().join("config.json"), text.replace(from, to)).unwrap();
        let error = format!("{:#}", VlmConfig::read(dir.path()).unwrap_err());
        assert!(error.contains(cause), "{error}");
    }

    #[test]
    fn a_field_we_do_not_implement_is_refused_by_name() {
        refused(
            "\"vocab_size\"",
            "\"logit_softcapping\": 30.0, \"vocab_size\"",
            "logit_softcapping",
        );
        refused("qwen2_5_vl\"", "llava\"", "model type is `llava`");
        refused("\"mrope\"", "\"yarn\"", "yarn");
    }
}
