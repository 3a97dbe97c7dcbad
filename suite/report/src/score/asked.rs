//! What was asked of which model: everything that another suite must know to ask the same.
//!
//! This module does not know the recipe or the model; whoever runs them fills it in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was asked, and of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The instruction that follows every question; a row that leaves it out says so in its note.
    pub prompt: String,
    /// How answers were sampled.
    pub sampling: Sampling,
    /// Tokens of an answer at most, its question excluded.
    #[schemars(range(min = 1))]
    pub max_new_tokens: u64,
    /// The least and the greatest number of steps of the families' questions; null where no family was asked.
    #[serde(deserialize_with = "Option::deserialize")]
    pub hops: Option<[u64; 2]>,
    /// The model that every regime starts from.
    pub model: ModelSize,
}

/// How answers were sampled; a row that decodes greedily says so in its note.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Answers to each question.
    #[schemars(range(min = 1))]
    pub num_samples: u64,
    /// Temperature; 0 is greedy.
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Draws are from the likeliest tokens of this probability in all.
    #[schemars(range(min = 0, max = 1))]
    pub top_p: f64,
    /// Draws are from this many of the likeliest tokens; 0 is all.
    pub top_k: u64,
}

/// A model's architecture and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSize {
    /// The architecture as its owner names it, such as `qwen2_5_vl`.
    #[schemars(length(min = 1))]
    pub architecture: String,
    /// Parameters in all.
    #[schemars(range(min = 1))]
    pub num_parameters: u64,
    /// Width of the decoder's hidden states.
    #[schemars(range(min = 1))]
    pub hidden_size: u64,
    /// Layers of the decoder.
    #[schemars(range(min = 1))]
    pub num_layers: u64,
}
