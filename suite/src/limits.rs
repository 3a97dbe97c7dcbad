//! Sizes of pieces that planning and computing share: chunks, shards, caches and what bounds memory.
//!
//! Planning must know them without knowing how anything is trained, so they stand below both.

use synergy_models::qwen2_5_vl::config::VlmConfig;
pub use synergy_models::qwen2_5_vl::names::TOWER;

/// Questions whose answers are generated, and recorded in the journal, together.
pub const QUESTIONS_PER_CHUNK: usize = 100;
/// Rows (answers in the making) of one shard of rollouts.
pub const SHARD_ROWS: usize = 128;
/// The smallest number of shards that questions are cut into, so that two threads have work.
pub const SHARDS_MIN: usize = 2;
/// Capacity of the cache of picture features, in bytes. Features that do not fit are recomputed at every use.
pub const FEATURE_CACHE_BYTES: usize = 1 << 30;
/// Bytes that the rollouts of one shard may take on a host, or on a card whose memory is unknown.
pub const ROLLOUT_BYTES: usize = 4 << 30;
/// The largest file of weights that is written, in bytes of numbers: what the Hugging Face hub's tools cut at.
pub const MAX_SHARD_BYTES: usize = 5_000_000_000;
/// The share of a card's memory that rollouts may take is one part in so many; the rest holds weights, copies of
/// them and the optimizer's state.
pub const CARD_PARTS: usize = 4;

/// Lengths from which on a computation is cut into pieces, so that memory stays bounded.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// As in [`crate::recipe::TrainingSpec::max_packed_tokens`].
    pub max_packed_tokens: usize,
    /// Tokens of a sequence whose attention is computed whole.
    pub whole: usize,
    /// Queries of a block of a longer one.
    pub block: usize,
    /// Rows whose logits are there at once.
    pub logits: usize,
}

impl Limits {
    /// The limits of a training table, `None` for sequences that are never cut into pieces.
    pub fn new(max_packed_tokens: Option<usize>) -> Limits {
        let max_packed_tokens = max_packed_tokens.unwrap_or(usize::MAX);
        Limits { max_packed_tokens, whole: 2048, block: 512, logits: 1024 }
    }
}

/// Floating-point operations of one token's way forward through the decoder: two for each parameter (Kaplan et al.
/// 2020, section 2.1). The embedding is a look-up and is left out, the head is counted; attention's own products are
/// left out, and so is the tower, which every regime freezes and runs once for each picture.
pub fn forward_flops(config: &VlmConfig) -> f64 {
    config.layout().forward_flops()
}

#[cfg(test)]
mod tests {
    use super::*;
    use synergy_models::qwen2_5_vl::config::Preset;
    use synergy_models::tokenizer::Tokenizer;

    #[test]
    fn a_head_that_is_the_embedding_still_computes() {
        let tokenizer = Tokenizer::train(std::iter::once("a b".to_owned()), 300).unwrap();
        let mut config = VlmConfig::preset(Preset::Nano, tokenizer.vocab_size(), tokenizer.ids);
        let untied = forward_flops(&config);
        config.tie_word_embeddings = !config.tie_word_embeddings;
        assert!((forward_flops(&config) - untied).abs() < 1e-6);
    }
}
