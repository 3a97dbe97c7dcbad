//! The sizes of a model as plain numbers, for code that plans, counts or trains it without knowing its architecture.
//!
//! Does not know settings that change only what is computed, such as epsilons and rotary bases.

use burn::tensor::DType;

use super::config::VlmConfig;
use super::names::{EMBEDDING, TOWER};
use super::shapes::{NamedShape, count, shapes};

/// The sizes of a model. Counts of parameters are counts of numbers, not bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Rows of the embedding and of the output head; token ids are below it.
    pub vocab_size: usize,
    /// The longest sequence, in tokens, that the model was made for.
    pub max_position_embeddings: usize,
    /// The id that stands in a prompt for one token of a picture.
    pub image_token_id: u32,
    /// The text decoder. Its hidden size is also the width of picture features.
    pub decoder: BlockLayout,
    /// The vision tower.
    pub tower: BlockLayout,
    /// Prefix of the names of the tower's parameters.
    pub tower_prefix: &'static str,
    /// Side, in patches, of the square that becomes one token; at least 1.
    pub merge_size: usize,
    /// Numbers in one patch: channels x frames x height x width.
    pub patch_values: usize,
    /// Patches in one window of the tower's windowed attention.
    pub window_patches: usize,
    /// Layers of the tower that attend over a whole frame instead of a window, at most `tower.num_layers`.
    pub num_full_attention_layers: usize,
    /// Parameters in all.
    pub num_parameters: usize,
    /// Parameters of the tower, the patch merger included.
    pub num_tower_parameters: usize,
    /// Parameters that one token is multiplied with on its way through the decoder: all of it but the embedding, and
    /// the head even where it is the embedding.
    pub num_active_parameters: usize,
}

/// The sizes of a stack of equal transformer layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLayout {
    /// Layers; at least 1.
    pub num_layers: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width of the feed-forward's gate and up projections, each.
    pub intermediate_size: usize,
    /// Heads of the queries.
    pub num_heads: usize,
    /// Heads of keys and values, a divisor of `num_heads`.
    pub num_kv_heads: usize,
    /// Channels of one head.
    pub head_dim: usize,
}

impl BlockLayout {
    /// Returns the width of keys and values together, in numbers per token and layer.
    pub fn kv_width(&self) -> usize {
        2 * self.num_kv_heads * self.head_dim
    }

    /// Returns the heads of queries that share one head of keys and values.
    pub fn num_queries_per_kv(&self) -> usize {
        self.num_heads / self.num_kv_heads
    }
}

impl Layout {
    /// Returns the floating-point operations of one token's forward pass through the decoder, attention's own products
    /// left out: 2 for each active parameter (Kaplan et al. 2020, section 2.1).
    pub fn forward_flops(&self) -> f64 {
        2.0 * self.num_active_parameters as f64
    }

    /// Returns the bytes that keys and values of one token take in all layers, cached as `dtype`.
    pub fn cache_bytes(&self, dtype: DType) -> usize {
        self.decoder.num_layers * self.decoder.kv_width() * dtype.size()
    }
}

impl VlmConfig {
    /// Returns the sizes of a model with this configuration. It lists all parameters, so inner loops should store the
    /// result.
    pub fn layout(&self) -> Layout {
        let vision = &self.vision_config;
        let shapes = shapes(self);
        let is_tower = |shape: &&NamedShape| shape.0.starts_with(TOWER);
        let tied_head =
            if self.tie_word_embeddings { self.vocab_size * self.hidden_size } else { 0 };
        let is_active = |shape: &&NamedShape| !is_tower(shape) && shape.0 != EMBEDDING;
        Layout {
            vocab_size: self.vocab_size,
            max_position_embeddings: self.max_position_embeddings,
            image_token_id: self.image_token_id,
            decoder: BlockLayout {
                num_layers: self.num_hidden_layers,
                hidden_size: self.hidden_size,
                intermediate_size: self.intermediate_size,
                num_heads: self.num_attention_heads,
                num_kv_heads: self.num_key_value_heads,
                head_dim: self.head_dim(),
            },
            tower: BlockLayout {
                num_layers: vision.depth,
                hidden_size: vision.hidden_size,
                intermediate_size: vision.intermediate_size,
                num_heads: vision.num_heads,
                num_kv_heads: vision.num_heads,
                head_dim: vision.hidden_size / vision.num_heads,
            },
            tower_prefix: TOWER,
            merge_size: vision.spatial_merge_size,
            patch_values: vision.in_chans
                * vision.temporal_patch_size
                * vision.patch_size
                * vision.patch_size,
            window_patches: (vision.window_size / vision.patch_size).pow(2),
            num_full_attention_layers: vision.fullatt_block_indexes.len(),
            num_parameters: count(&shapes),
            num_tower_parameters: count(shapes.iter().filter(is_tower)),
            num_active_parameters: count(shapes.iter().filter(is_active)) + tied_head,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts are those of the published weights; text models without vision are published too.
    #[test]
    fn sizes_are_those_of_the_published_checkpoints() {
        for (name, all, text, cache) in [
            ("qwen2.5-vl-3b", 3_754_622_976, 3_085_938_688, 36_864),
            ("qwen2.5-vl-7b", 8_292_166_656, 7_615_616_512, 57_344),
        ] {
            let config = VlmConfig::published(name).unwrap();
            assert_eq!(VlmConfig::from_json(&config.to_json("float32")).unwrap(), config);
            let layout = config.layout();
            assert_eq!(layout.num_parameters, all, "{name}");
            assert_eq!(layout.num_tower_parameters, all - text, "{name}");
            assert_eq!(layout.cache_bytes(DType::BF16), cache, "{name}");
            // A head that is the embedding still computes; an embedding of its own does not.
            let table =
                if config.tie_word_embeddings { 0 } else { layout.vocab_size * config.hidden_size };
            assert_eq!(layout.num_active_parameters, text - table, "{name}");
        }
        assert_eq!(VlmConfig::published("qwen2.5-vl-72b"), None);
    }

    #[test]
    fn a_patch_has_the_numbers_that_the_processor_cuts() {
        let config = crate::tests::fixtures::nano(300);
        let layout = config.layout();
        let processor = crate::image::ProcessorConfig::preset(&config.vision_config);
        let patches = processor.patches(&image::RgbImage::new(112, 112)).unwrap();
        assert_eq!(patches.values.len(), patches.grid.num_patches() * layout.patch_values);
        assert_eq!((layout.merge_size, layout.window_patches), (2, 16));
    }
}
