//! The two halves together: picture features take the place of the image tokens.
//!
//! Does not know sampling or losses. Inputs are laid out on the host, where padding is decided.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::config::VlmConfig;
use crate::ops::{causal_mask, segment_mask};
use crate::rope::{Grid, Position, decoder_tables};
use crate::text::{Decoder, KvCache, Rotary};
use crate::vision::VisionTower;
use crate::weights::Parameters;

/// The model of one set of parameters. Cheap to build: it holds views.
#[derive(Debug, Clone)]
pub struct Vlm {
    pub config: VlmConfig,
    embed_tokens: Tensor<2>,
    pub visual: VisionTower,
    pub decoder: Decoder,
}

/// A rectangle of token rows on the host.
#[derive(Debug, Clone, Default)]
pub struct TokenBatch {
    /// `[batch][sequence]`, all of one length.
    pub input_ids: Vec<Vec<u32>>,
    /// `[batch][sequence]`
    pub positions: Vec<Vec<Position>>,
    /// For each row the first row of `features` that its image tokens take, in order.
    pub feature_starts: Vec<usize>,
    /// Empty for plain causal attention; else `[batch][sequence]`: a token sees what stands before
    /// it in segment 0 and in its own segment. One prompt (0) is so shared by many continuations.
    pub segments: Vec<Vec<u32>>,
}

impl Vlm {
    /// The model over `parameters`.
    pub fn new(config: &VlmConfig, parameters: &Parameters) -> Vlm {
        Vlm {
            config: config.clone(),
            embed_tokens: parameters.matrix("model.embed_tokens.weight"),
            visual: VisionTower::new(&config.vision_config, parameters),
            decoder: Decoder::new(config, parameters),
        }
    }

    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.embed_tokens.device()
    }

    /// Features of pictures, group by group of equal grids, in the order given.
    ///
    /// # Shapes
    /// each item: patches `[num_patches * patch_dim]` row-major with its grid; returns
    /// `[tokens of all pictures, hidden_size]`.
    pub fn image_features(&self, images: &[(&[f32], Grid)]) -> Tensor<2> {
        let device = self.device();
        let mut parts = Vec::new();
        let mut rest = images;
        while let Some(&(first, grid)) = rest.first() {
            let run = rest.iter().take_while(|(_, g)| *g == grid).count();
            let width = first.len() / grid.num_patches();
            let values: Vec<f32> =
                rest[..run].iter().flat_map(|(p, _)| p.iter().copied()).collect();
            let shape = [run * grid.num_patches(), width];
            let patches = Tensor::<2>::from_data(TensorData::new(values, shape), &device);
            parts.push(self.visual.forward(patches, grid, run));
            rest = &rest[run..];
        }
        Tensor::cat(parts, 0)
    }

    /// Embeddings `[batch * sequence, hidden_size]` with picture features in place.
    pub fn embed(&self, batch: &TokenBatch, features: Option<&Tensor<2>>) -> Tensor<2> {
        let device = self.device();
        let Some(features) = features else {
            let ids = batch.input_ids.iter().flatten().map(|&id| i64::from(id)).collect();
            return self.embed_tokens.clone().select(0, index(ids, &device));
        };
        // Text rows and features are put side by side once, then taken in sequence order.
        let mut text = Vec::new();
        let mut order = Vec::new();
        for (row, &start) in batch.input_ids.iter().zip(&batch.feature_starts) {
            let mut next_feature = start;
            for &id in row {
                if id == self.config.image_token_id {
                    order.push(Err(next_feature));
                    next_feature += 1;
                } else {
                    order.push(Ok(text.len()));
                    text.push(i64::from(id));
                }
            }
        }
        let num_text = text.len();
        let order = order.into_iter().map(|place| match place {
            Ok(text) => text as i64,
            Err(feature) => (num_text + feature) as i64,
        });
        let order = order.collect();
        let text = self.embed_tokens.clone().select(0, index(text, &device));
        Tensor::cat(vec![text, features.clone()], 0).select(0, index(order, &device))
    }

    /// Rotary tables for the rows of a batch.
    pub fn rotary(&self, positions: &[Vec<Position>]) -> Rotary {
        let flat: Vec<Position> = positions.iter().flatten().copied().collect();
        let (cos, sin) = decoder_tables(&flat, &self.config);
        let device = self.device();
        let table = |values: Vec<f32>| {
            let shape = [flat.len(), values.len() / flat.len()];
            Tensor::from_data(TensorData::new(values, shape), &device)
        };
        Rotary { cos: table(cos), sin: table(sin) }
    }

    /// Hidden states of a right-padded batch, causal: what stands after a token never reaches it,
    /// so padding on the right needs no mask.
    ///
    /// # Shapes
    /// Returns `[batch * sequence, hidden_size]`.
    pub fn forward(&self, batch: &TokenBatch, features: Option<&Tensor<2>>) -> Tensor<2> {
        let x = self.embed(batch, features);
        let kv_heads = self.config.num_key_value_heads;
        let group = self.config.num_attention_heads / kv_heads;
        let mask = if batch.segments.is_empty() {
            causal_mask(batch.input_ids[0].len(), group, &self.device())
        } else {
            segment_mask(&batch.segments, kv_heads, group, &self.device())
        };
        self.decoder.forward(
            x,
            batch.input_ids.len(),
            &self.rotary(&batch.positions),
            Some(&mask),
            None,
        )
    }

    /// Hidden states with a cache; `hidden` as in [`crate::ops::attention`].
    pub fn forward_cached(
        &self,
        batch: &TokenBatch,
        features: Option<&Tensor<2>>,
        hidden: &Tensor<3, Bool>,
        cache: &mut KvCache,
    ) -> Tensor<2> {
        let x = self.embed(batch, features);
        self.decoder.forward(
            x,
            batch.input_ids.len(),
            &self.rotary(&batch.positions),
            Some(hidden),
            Some(cache),
        )
    }
}

/// A vector of row numbers on `device`.
pub fn index(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}
