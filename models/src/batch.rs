//! Sequences on the host, as every form of the model takes them.
//!
//! Does not know parameters or what a layer computes.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::qwen2_5_vl::config::VlmConfig;
use crate::qwen2_5_vl::rope::Position;

/// Sequences of token ids, each of its own length, and where their pictures come from.
#[derive(Debug, Clone, Default)]
pub struct TokenBatch {
    /// Token ids below `vocab_size`, `[batch][sequence]`.
    pub input_ids: Vec<Vec<u32>>,
    /// Rotary position of each token, `[batch][sequence]`.
    pub positions: Vec<Vec<Position>>,
    /// The first row of the picture features that a sequence's picture and video tokens take, one after the other:
    /// `[batch]`.
    pub feature_starts: Vec<usize>,
    /// Empty for plain causal attention; else `[batch][sequence]`: a token sees what stands before
    /// it in segment 0 and in its own segment. One prompt (0) is so shared by many continuations.
    pub segments: Vec<Vec<u32>>,
}

/// One place of a sequence before it is embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The embedding of this token id.
    Token(u32),
    /// This row of the picture features.
    Feature(usize),
}

impl TokenBatch {
    /// Pads every sequence on the right to the longest one; also returns the places of the real tokens in
    /// the flattened rectangle.
    pub(crate) fn padded(&self) -> (TokenBatch, Vec<i64>) {
        let width = self.input_ids.iter().map(Vec::len).max().unwrap_or(0);
        let mut batch = self.clone();
        let mut places = Vec::new();
        for (i, row) in batch.input_ids.iter_mut().enumerate() {
            places.extend((i * width..i * width + row.len()).map(|p| p as i64));
            row.resize(width, 0);
        }
        batch.positions.iter_mut().for_each(|row| row.resize(width, [0; 3]));
        batch.segments.iter_mut().for_each(|row| row.resize(width, 0));
        (batch, places)
    }

    /// Says for every token, sequence after sequence, what is embedded in its place. Without features,
    /// picture tokens are embedded like any others.
    pub(crate) fn sources(&self, config: &VlmConfig, has_features: bool) -> Vec<Source> {
        let mut sources = Vec::new();
        for (row, &start) in self.input_ids.iter().zip(&self.feature_starts) {
            let mut next = start;
            for &id in row {
                if has_features && config.is_media(id) {
                    sources.push(Source::Feature(next));
                    next += 1;
                } else {
                    sources.push(Source::Token(id));
                }
            }
        }
        sources
    }
}

/// Puts row numbers on `device`, `[values]`.
pub fn index(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}
