//! Decoder and vision tower together: picture features take the place of the image tokens.
//!
//! Does not know sampling or losses. Inputs are laid out on the host, where padding is decided.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

use super::config::VlmConfig;
use super::layout::Layout;
use super::names::EMBEDDING;
use super::rope::{Grid, Position, decoder_tables};
use super::text::{Decoder, KvCache, Rotary};
use super::vision::VisionTower;
use crate::batch::Source;
use crate::native::Native;
use crate::ops::{causal_mask, segment_mask};
use crate::weights::{ComputeDtype, Parameters};

use crate::batch::{TokenBatch, index};

/// A model over one set of parameters. Cheap to build, since it holds views of them.
#[derive(Debug, Clone)]
pub struct Vlm {
    /// The configuration that the model was built from.
    pub config: VlmConfig,
    /// The sizes of `config`.
    pub layout: Layout,
    /// `[vocab_size, hidden_size]`
    embed_tokens: Tensor<2>,
    /// The vision tower with its patch merger.
    pub visual: VisionTower,
    /// The text decoder.
    pub decoder: Decoder,
    /// The same model on slices of the host's memory; present where the parameters lie there as f32.
    pub native: Option<Native>,
}

/// A batch as a rectangle, before the first layer.
#[derive(Debug, Clone)]
pub struct DecoderInput {
    /// Embeddings, `[num * width, hidden_size]`.
    pub x: Tensor<2>,
    /// Number of sequences.
    pub num: usize,
    /// Angles of all rows of `x`.
    pub rotary: Rotary,
    /// True where a key must not be seen, as in [`crate::ops::attention`]. Absent where it would be too large, see
    /// [`Vlm::lay_out`].
    pub mask: Option<Tensor<3, Bool>>,
    /// Numbers of the rows that are not padding; absent if there is no padding.
    pub places: Option<Tensor<1, Int>>,
}

impl Vlm {
    /// Builds the model over `parameters`; it computes in their type.
    pub fn new(config: &VlmConfig, parameters: &Parameters) -> Vlm {
        Vlm::over(config, parameters, parameters)
    }

    /// Builds the model of `parameters`; it computes in `dtype` with copies of them.
    pub fn computing(config: &VlmConfig, parameters: &Parameters, dtype: ComputeDtype) -> Vlm {
        Vlm::over(config, parameters, &parameters.cast(dtype))
    }

    /// Builds the model over `copies` of `parameters` in the type that is computed in. Rows of the embedding are taken
    /// from `parameters` and rounded then, so that the gradients of a token that occurs in a batch many times are added
    /// up in the type of the parameters: a sum in bf16 stops growing at some hundred times what is added. The head is
    /// that of `parameters` too, since logits are f32.
    pub fn over(config: &VlmConfig, parameters: &Parameters, copies: &Parameters) -> Vlm {
        Vlm {
            config: config.clone(),
            layout: config.layout(),
            embed_tokens: parameters.matrix(EMBEDDING),
            visual: VisionTower::new(&config.vision_config, copies),
            decoder: Decoder::new(config, copies, parameters),
            native: Native::of(config, copies),
        }
    }

    /// Makes copies that spare work and rounding where a model computes often and has no gradients: the head in f32, and
    /// in fewer bits than 32 every weight in one matrix with what an adapter has beside it ([`crate::ops::Linear::joined`]).
    #[must_use]
    pub fn prepared(self) -> Vlm {
        Vlm { visual: self.visual.prepared(), decoder: self.decoder.prepared(), ..self }
    }

    /// Returns the same model without its native form.
    #[must_use]
    pub fn plain(self) -> Vlm {
        Vlm { native: None, ..self }
    }

    /// Returns the device of the parameters.
    pub fn device(&self) -> Device {
        self.embed_tokens.device()
    }

    /// Returns the type that hidden states, keys and values are computed in.
    pub fn dtype(&self) -> DType {
        self.decoder.dtype()
    }

    /// Computes the features of pictures and videos in the order given; neighbours of equal grids are computed
    /// together.
    ///
    /// # Shapes
    /// Each item is patches `[num_patches * patch_values]`, row-major, with their grid; returns
    /// `[tokens of all pictures, hidden_size]`.
    pub fn image_features(&self, images: &[(&[f32], Grid)]) -> Tensor<2> {
        let device = self.device();
        if let Some(native) = &self.native {
            let (values, _) = native.image_features(images);
            let hidden = self.config.hidden_size;
            let shape = [values.len() / hidden, hidden];
            return Tensor::from_data(TensorData::new(values, shape), &device);
        }
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

    /// Embeds a batch, with picture features in the place of the image tokens.
    ///
    /// # Shapes
    /// `features [tokens of all pictures, hidden_size]` of any float type; returns `[tokens of all sequences, hidden_size]`.
    pub fn embed(&self, batch: &TokenBatch, features: Option<&Tensor<2>>) -> Tensor<2> {
        let device = self.device();
        let Some(features) = features else {
            let ids = batch.input_ids.iter().flatten().map(|&id| i64::from(id)).collect();
            return self.embedding(index(ids, &device));
        };
        // Text rows and features are put side by side once, then taken in sequence order.
        let sources = batch.sources(&self.config, true);
        let text: Vec<i64> = sources
            .iter()
            .filter_map(|source| match *source {
                Source::Token(id) => Some(i64::from(id)),
                Source::Feature(_) => None,
            })
            .collect();
        let (num_text, mut next_text) = (text.len(), 0..);
        let order = sources.iter().filter_map(|source| match *source {
            Source::Token(_) => next_text.next(),
            Source::Feature(feature) => Some((num_text + feature) as i64),
        });
        let order = order.collect();
        let text = self.embedding(index(text, &device));
        let features = features.clone().cast(self.dtype());
        Tensor::cat(vec![text, features], 0).select(0, index(order, &device))
    }

    /// Looks up the embeddings of `ids`, `[ids, hidden_size]`; see [`Vlm::over`].
    fn embedding(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        self.embed_tokens.clone().select(0, ids).cast(self.dtype())
    }

    /// Makes the rotary tables for the rows of a batch in f32 and rounds them to what the decoder computes in.
    ///
    /// # Shapes
    /// `positions [batch][sequence]`; returns two tables `[batch * sequence, head_dim / 2]`.
    pub fn rotary(&self, positions: &[Vec<Position>]) -> Rotary {
        let flat: Vec<Position> = positions.iter().flatten().copied().collect();
        let (cos, sin) = decoder_tables(&flat, &self.config);
        let device = self.device();
        let table = |values: Vec<f32>| {
            let shape = [flat.len(), values.len() / flat.len()];
            Tensor::<2>::from_data(TensorData::new(values, shape), &device).cast(self.dtype())
        };
        Rotary { cos: table(cos), sin: table(sin) }
    }

    /// Computes the hidden states after the last norm. Attention is causal, so the padding on the right that is made
    /// here needs no mask.
    ///
    /// # Shapes
    /// `features` as in [`Vlm::embed`]; returns `[tokens of all sequences, hidden_size]`, without padding.
    pub fn forward(&self, batch: &TokenBatch, features: Option<&Tensor<2>>) -> Tensor<2> {
        let DecoderInput { x, num, rotary, mask, places } =
            self.lay_out(batch, features, usize::MAX);
        let hidden = self.decoder.forward(x, num, &rotary, mask.as_ref(), None);
        without_padding(hidden, places)
    }

    /// Lays out a batch for the decoder's layers. A single sequence of more than `whole` tokens gets no mask: its
    /// attention is computed for blocks of queries ([`crate::ops::block_mask`]).
    pub fn lay_out(
        &self,
        batch: &TokenBatch,
        features: Option<&Tensor<2>>,
        whole: usize,
    ) -> DecoderInput {
        let (padded, places) = batch.padded();
        let x = self.embed(&padded, features);
        let kv_heads = self.config.num_key_value_heads;
        let group = self.config.num_attention_heads / kv_heads;
        let device = self.device();
        let width = padded.input_ids[0].len();
        let num = padded.input_ids.len();
        let mask = (num > 1 || width <= whole).then(|| match padded.segments.as_slice() {
            [] => causal_mask(width, group, &device),
            segments => segment_mask(segments, kv_heads, group, &device),
        });
        let rotary = self.rotary(&padded.positions);
        let places = (places.len() < num * width).then(|| index(places, &device));
        DecoderInput { x, num, rotary, mask, places }
    }

    /// Computes the hidden states of sequences of one length that continue what `cache` holds.
    ///
    /// # Shapes
    /// `hidden` as in [`crate::ops::attention`], over all keys so far; returns `[batch * sequence, hidden_size]`.
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

/// Keeps the rows `places` of `hidden`, or all rows where there is no padding.
pub fn without_padding(hidden: Tensor<2>, places: Option<Tensor<1, Int>>) -> Tensor<2> {
    match places {
        None => hidden,
        Some(places) => hidden.select(0, places),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{
        Case, Pictures, cases, distance, loss, loss_and_entropies, model, recorded_losses,
        relative_distance, tensors,
    };
    use proptest::prelude::*;

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
                // What is recorded at padding means nothing.
                let mask = case.attention_mask.iter().flatten();
                let want = want.chunks(config.vocab_size).zip(mask).filter(|(_, m)| **m == 1);
                let want: Vec<&[f32]> = want.map(|(row, _)| row).collect();
                assert_eq!(got.len(), want.len() * config.vocab_size);
                for (i, (got, want)) in got.chunks(config.vocab_size).zip(want).enumerate() {
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
        for (name, recorded) in recorded_losses() {
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

    #[test]
    fn entropies_and_the_gradient_of_their_bonus_are_those_of_the_reference() {
        for (name, recorded) in recorded_losses() {
            let (want, (config, parameters)) = (recorded.with_entropy, model(&name));
            let leaves = parameters.map(|_, p| Tensor::from_inner(p.value.clone()).require_grad());
            let [loss, entropies] = loss_and_entropies(&Vlm::new(&config, &leaves));
            let loss = loss - entropies.clone().mean() * want.coefficient;
            let mut gradients = loss.backward();
            let apart = (loss.into_scalar::<f32>() - want.loss).abs();
            assert!(apart < 1e-5, "{name}: loss {apart} apart");
            let entropies = entropies.try_into_vec_as::<f32>().unwrap();
            assert!(distance(&entropies, &want.entropies) < 1e-4, "{name}");
            for (key, p) in leaves.iter() {
                let got =
                    p.value.grad_remove(&mut gradients).unwrap().try_into_vec_as::<f32>().unwrap();
                let norm = got.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                let want = want.gradient_norms[key];
                assert!((norm - want).abs() < 1e-3 * want, "{name}, {key}: {norm} {want}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

        /// The rows of the padded batch of the fixtures, in another order.
        #[test]
        fn company_and_its_order_change_no_logits(order in Just([0usize, 1, 2]).prop_shuffle()) {
            let (config, parameters) = model("model-untied");
            let (vlm, pictures) = (Vlm::new(&config, &parameters), Pictures::read());
            let case = cases().into_iter().find(|c| c.name == "batch, right padded").unwrap();
            // Row 0 holds the first picture, row 2 the second, row 1 none.
            let row = |i: usize| Case {
                input_ids: vec![case.input_ids[i].clone()],
                attention_mask: vec![case.attention_mask[i].clone()],
                pictures: [Some(0), None, Some(1)][i].map(|p: usize| case.pictures[p].clone()).into_iter().collect(),
                ..case.clone()
            };
            let alone: Vec<Vec<f32>> = order.iter().map(|&i| row(i).logits(&pictures, &vlm)).collect();
            let together = Case {
                input_ids: order.iter().map(|&i| case.input_ids[i].clone()).collect(),
                attention_mask: order.iter().map(|&i| case.attention_mask[i].clone()).collect(),
                pictures: order.iter().flat_map(|&i| row(i).pictures).collect(),
                ..case.clone()
            };
            prop_assert!(distance(&together.logits(&pictures, &vlm), &alone.concat()) < 1e-5);
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
            let mut cache = KvCache::new(&config, 1, len, &vlm.device(), vlm.dtype());
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
