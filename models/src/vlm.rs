//! The two halves together: picture features take the place of the image tokens.
//!
//! Does not know sampling or losses. Inputs are laid out on the host, where padding is decided.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::config::VlmConfig;
use crate::ops::{causal_mask, padded_causal_mask, segment_mask};
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
    /// For each row the first row of `features` that its tokens of pictures and videos take, in order.
    pub feature_starts: Vec<usize>,
    /// False at padding, on either side: `[batch][sequence]`. Empty where all is seen, or where padding
    /// stands on the right and what is computed there is not used.
    pub attention_mask: Vec<Vec<bool>>,
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

    /// Features of pictures and videos, group by group of equal grids, in the order given.
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
                if id == self.config.image_token_id || Some(id) == self.config.video_token_id {
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

    /// Hidden states, causal: what stands after a token never reaches it, so padding on the right needs
    /// no mask.
    ///
    /// # Shapes
    /// Returns `[batch * sequence, hidden_size]`.
    pub fn forward(&self, batch: &TokenBatch, features: Option<&Tensor<2>>) -> Tensor<2> {
        let x = self.embed(batch, features);
        let kv_heads = self.config.num_key_value_heads;
        let group = self.config.num_attention_heads / kv_heads;
        let device = self.device();
        let mask = if !batch.segments.is_empty() {
            segment_mask(&batch.segments, kv_heads, group, &device)
        } else if !batch.attention_mask.is_empty() {
            padded_causal_mask(&batch.attention_mask, kv_heads, group, &device)
        } else {
            causal_mask(batch.input_ids[0].len(), group, &device)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{
        Case, Pictures, cases, distance, json, loss, model, relative_distance, tensors,
    };
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn argmax(row: &[f32]) -> usize {
        (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
    }

    #[test]
    fn logits_and_every_argmax_are_those_of_the_reference() {
        let (pictures, recorded) = (Pictures::read(), tensors("logits.safetensors"));
        let mut num_compared = 0;
        for name in ["model-untied", "model-tied"] {
            let (config, parameters) = model(name);
            let vlm = Vlm::new(&config, &parameters);
            for case in cases() {
                let Some(tensor) = case.models.get(name).and_then(|m| m.tensor.as_ref()) else {
                    continue;
                };
                let (_, want) = &recorded[tensor];
                let got = case.logits(&pictures, &vlm);
                assert_eq!(got.len(), want.len());
                let rows = got.chunks(config.vocab_size).zip(want.chunks(config.vocab_size));
                for (i, ((got, want), _)) in
                    rows.zip(case.counts()).enumerate().filter(|(_, (_, counts))| *counts)
                {
                    let apart = distance(got, want);
                    assert!(apart < 1e-4, "{tensor}, row {i}: {apart}");
                    assert_eq!(argmax(got), argmax(want), "{tensor}, row {i}");
                }
                num_compared += 1;
            }
        }
        assert_eq!(num_compared, recorded.len());
    }

    #[test]
    fn loss_and_the_gradient_of_every_parameter_are_those_of_the_reference() {
        #[derive(serde::Deserialize)]
        struct Recorded {
            loss: f32,
            gradient_norms: BTreeMap<String, f64>,
        }
        #[derive(serde::Deserialize)]
        struct Report {
            models: BTreeMap<String, Recorded>,
        }
        for (name, recorded) in json::<Report>("loss_grad.json").models {
            let (config, parameters) = model(&name);
            let leaves = parameters.map(|_, p| Tensor::from_inner(p.value.clone()).require_grad());
            let loss = loss(&Vlm::new(&config, &leaves));
            let mut gradients = loss.backward();
            let apart = (loss.into_scalar::<f32>() - recorded.loss).abs();
            assert!(apart < 1e-5, "{name}: loss {apart} apart");
            let file = if config.tie_word_embeddings { "loss_grad_tied" } else { "loss_grad" };
            let whole = tensors(&format!("{file}.safetensors"));
            let names: Vec<&str> = recorded.gradient_norms.keys().map(String::as_str).collect();
            assert_eq!(leaves.names().collect::<Vec<_>>(), names);
            for (key, p) in leaves.iter() {
                let got =
                    p.value.grad_remove(&mut gradients).unwrap().try_into_vec_as::<f32>().unwrap();
                let norm = got.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                let want = recorded.gradient_norms[key];
                assert!((norm - want).abs() < 1e-3 * want, "{name}, {key}: {norm} {want}");
                if let Some((_, want)) = whole.get(key) {
                    let apart = relative_distance(&got, want);
                    assert!(apart < 1e-3, "{name}, {key}: {apart}");
                }
            }
        }
    }

    /// Logits of each row without its padding.
    fn by_row(case: &Case, pictures: &Pictures, vlm: &Vlm) -> Vec<Vec<f32>> {
        let width = case.input_ids[0].len() * vlm.config.vocab_size;
        let logits = case.logits(pictures, vlm);
        let rows = logits.chunks(width).zip(&case.attention_mask);
        rows.map(|(row, mask)| {
            let tokens = row.chunks(vlm.config.vocab_size).zip(mask).filter(|(_, m)| **m == 1);
            tokens.flat_map(|(logits, _)| logits.to_vec()).collect()
        })
        .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

        /// The rows of the padded batch of the fixtures, in another order, on either side, with more
        /// padding than they need.
        #[test]
        fn padding_and_order_change_no_logits(
            order in Just([0usize, 1, 2]).prop_shuffle(), left in any::<bool>(), extra in 0usize..9
        ) {
            let (config, parameters) = model("model-untied");
            let (vlm, pictures) = (Vlm::new(&config, &parameters), Pictures::read());
            let case = cases().into_iter().find(|c| c.name == "batch, right padded").unwrap();
            let plain = by_row(&case, &pictures, &vlm);

            let mut moved = Case { pictures: Vec::new(), ..case.clone() };
            let width = case.input_ids[0].len() + extra;
            for (place, &i) in order.iter().enumerate() {
                let len = plain[i].len() / config.vocab_size;
                let pad = vec![9; width - len];
                let ids = case.input_ids[i][..len].to_vec();
                let (ones, zeros) = (vec![1; len], vec![0; width - len]);
                moved.input_ids[place] = if left { [pad, ids].concat() } else { [ids, pad].concat() };
                moved.attention_mask[place] =
                    if left { [zeros, ones].concat() } else { [ones, zeros].concat() };
                // Row 0 of the fixture holds the first picture, row 2 the second, row 1 none.
                moved.pictures.extend([Some(0), None, Some(1)][i].map(|p: usize| case.pictures[p].clone()));
            }
            for (row, &i) in by_row(&moved, &pictures, &vlm).iter().zip(&order) {
                prop_assert!(distance(row, &plain[i]) < 1e-5);
            }
        }

        #[test]
        fn a_cached_forward_pass_in_pieces_gives_the_logits_of_one(cuts in proptest::collection::btree_set(1usize..43, 0..5)) {
            let (config, parameters) = model("model-untied");
            let (vlm, pictures) = (Vlm::new(&config, &parameters), Pictures::read());
            let case = cases().into_iter().find(|c| c.name == "three pictures").unwrap();
            let whole = case.batch(&pictures, &config);
            let features = vlm.image_features(&pictures.all(&case.pictures));
            let len = case.input_ids[0].len();
            let group = config.num_attention_heads / config.num_key_value_heads;
            let mask = causal_mask(len, 1, &vlm.device());
            let mut cache = KvCache::new(&config, 1, len, &vlm.device());
            let mut logits = Vec::new();
            let ends = cuts.iter().copied().chain([len]);
            let mut start = 0;
            for end in ends {
                let media = |ids: &[u32]| ids.iter().filter(|&&id| id == config.image_token_id).count();
                let piece = TokenBatch {
                    input_ids: vec![case.input_ids[0][start..end].to_vec()],
                    positions: vec![whole.positions[0][start..end].to_vec()],
                    feature_starts: vec![media(&case.input_ids[0][..start])],
                    ..TokenBatch::default()
                };
                let rows = mask.clone().slice([0..1, start..end, 0..end]).repeat(&[1, group, 1]);
                let hidden = vlm.forward_cached(&piece, Some(&features), &rows, &mut cache);
                logits.extend(vlm.decoder.logits(hidden).try_into_vec_as::<f32>().unwrap());
                start = end;
            }
            prop_assert!(distance(&logits, &case.logits(&pictures, &vlm)) < 1e-4);
        }
    }
}
