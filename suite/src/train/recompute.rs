//! Gradients without a graph of the whole model (gradient checkpointing): only the hidden states between the decoder's
//! layers are kept, and each layer is computed again when its gradient is asked for.
//!
//! Does not know losses or updates. The numbers are those of [`super::Trainer`]'s own way; memory holds the graph of
//! one layer instead of all, for one more forward pass. The tower before the decoder keeps its graph, if it learns.
//!
//! What grows with the length of a sequence is cut ([`Limits`]): packed rollouts into pieces, attention into blocks of
//! queries, logits into chunks of rows. Sequences that are short enough for none of that are computed whole.

use std::collections::BTreeSet;
use std::ops::Range;

use burn::tensor::{DType, Device, Gradients as Grads, IndexingUpdateOp, Int, Tensor};
use synergy_models::config::VlmConfig;
use synergy_models::ops::{attention, block_mask};
use synergy_models::qwen2_5_vl::names::{EMBEDDING, TOWER};
use synergy_models::text::Rotary;
use synergy_models::vlm::{Laid, Vlm, index};
use synergy_models::weights::{ComputeDtype, Parameters};

use super::adapter::Learning;
use super::{Batch, Loss, StepFigures, add, leaves, matrix, predicted, values, vector};
use crate::limits::Limits;
use crate::train::features::FeatureCache;
use crate::train::optimizer::Gradients;
use crate::train::sequence::{Sequence, token_batch};

/// What both ways through the model share.
struct Ways<'a> {
    config: &'a VlmConfig,
    /// Of which nothing is learned.
    plain: Vlm,
    features: Option<&'a FeatureCache>,
    limits: Limits,
}

/// What learns, and what it is computed with.
struct Learned<'a> {
    config: &'a VlmConfig,
    parameters: &'a Parameters,
    copies: &'a Parameters,
    frozen: &'a BTreeSet<String>,
    /// What learns in their place.
    adapter: Option<&'a Learning>,
}

/// The model at the root of one graph, which one way back uses up.
struct Rooted {
    model: Vlm,
    parameters: Parameters,
    copies: Parameters,
}

impl Learned<'_> {
    fn rooted(&self) -> Rooted {
        let parameters = leaves(self.parameters, self.frozen);
        let copies = leaves(self.copies, self.frozen);
        let model = Vlm::over(self.config, &parameters, &copies);
        Rooted { model, parameters, copies }
    }

    /// Adds what `grads` holds of the parameters at `root` to `found`, in f32.
    fn collect(&self, root: &Rooted, mut grads: Grads, found: &mut Gradients) {
        let mut own = Gradients::new();
        for (name, copy) in root.copies.iter() {
            // A tied matrix is met twice, as head and as embedding, whose rows are those of the parameters.
            for leaf in [&copy.value, &root.parameters.get(name).value] {
                let Some(gradient) = leaf.grad_remove(&mut grads) else { continue };
                add(&mut own, name.to_owned(), gradient.cast(DType::F32));
            }
        }
        let of_factors = self.adapter.map(|adapter| adapter.gradients(&own));
        for (name, gradient) in of_factors.unwrap_or(own) {
            add(found, name, gradient);
        }
    }
}

/// Sequences that go through the model together, and what the decoder sees of them.
struct Piece {
    sequences: Vec<Sequence>,
    /// (row of the rectangle, id that it predicts)
    predictions: Vec<(usize, u32)>,
}

/// The way forward through the decoder.
struct Forward {
    laid: Laid,
    /// Before each layer, and behind the last.
    states: Vec<Tensor<2>>,
    /// Of a sequence whose attention is in blocks.
    segments: Option<Tensor<1, Int>>,
}

/// See [`super::Trainer::update`]; of an adapter's factors where one learns: those of the weights that it changes are
/// there for one layer at a time.
#[expect(clippy::too_many_arguments, reason = "what the trainer's own way takes, and limits")]
pub(super) fn gradients(
    parameters: &Parameters,
    config: &VlmConfig,
    dtype: ComputeDtype,
    frozen: &BTreeSet<String>,
    batch: &Batch<'_>,
    features: Option<&FeatureCache>,
    limits: Limits,
    adapter: Option<&Learning>,
    loss: &(impl Fn(&[f32], &Batch<'_>) -> Loss + Sync),
) -> (Gradients, StepFigures) {
    let copies = parameters.cast(dtype);
    let plain = Vlm::over(config, parameters, &copies).plain();
    let ways = Ways { config, plain, features, limits };
    let learned = Learned { config, parameters, copies: &copies, frozen, adapter };
    let pieces = pieces(batch, limits);

    // The loss wants all log-probabilities before any slope is known: of several pieces states are kept of none.
    let mut kept = None;
    let mut log_probs = Vec::new();
    for piece in &pieces {
        let forward = ways.forward(piece);
        log_probs.extend(ways.log_probs(piece, &forward));
        kept = (pieces.len() == 1).then_some(forward);
    }
    let loss = loss(&log_probs, batch);
    let mut found = Gradients::new();
    let mut slopes = loss.slopes.as_slice();
    for piece in &pieces {
        let forward = kept.take().unwrap_or_else(|| ways.forward(piece));
        let (own, rest) = slopes.split_at(piece.predictions.len());
        slopes = rest;
        ways.back(piece, forward, own, &learned, &mut found);
    }
    (found, loss.into_figures())
}

/// Log-probability of every prediction of a micro-batch, as [`super::prediction_log_probs`] gives them.
pub(super) fn log_probs(
    model: &Vlm,
    batch: &Batch<'_>,
    features: Option<&FeatureCache>,
    limits: Limits,
) -> Vec<f32> {
    let ways = Ways { config: &model.config, plain: model.clone().plain(), features, limits };
    let of = |piece: &Piece| ways.log_probs(piece, &ways.forward(piece));
    pieces(batch, limits).iter().flat_map(of).collect()
}

/// The micro-batch whole, or each sequence by itself and in pieces where one is too long.
fn pieces(batch: &Batch<'_>, limits: Limits) -> Vec<Piece> {
    let is_long = |sequence: &&Sequence| {
        sequence.input_ids.len() > limits.max_packed_tokens.min(limits.whole)
    };
    if !batch.sequences.iter().any(is_long) {
        return vec![Piece::new(batch.sequences.iter().map(|s| (*s).clone()).collect())];
    }
    let cut = batch.sequences.iter().flat_map(|sequence| sequence.pieces(limits.max_packed_tokens));
    cut.map(|sequence| Piece::new(vec![sequence])).collect()
}

impl Piece {
    fn new(sequences: Vec<Sequence>) -> Piece {
        let width = sequences.iter().map(|s| s.input_ids.len()).max().unwrap_or(0);
        let places = sequences.iter().enumerate().flat_map(|(i, sequence)| {
            sequence.predictions.iter().map(move |&(at, id)| (i * width + at, id))
        });
        Piece { predictions: places.collect(), sequences }
    }

    fn batch(&self) -> Batch<'_> {
        Batch { members: &[], sequences: self.sequences.iter().collect(), num_micro_batches: 1 }
    }
}

impl Ways<'_> {
    /// Features of the pictures of `piece` and the batch as the decoder sees it, by `model`.
    fn lay_out(&self, piece: &Piece, model: &Vlm) -> Laid {
        let batch = piece.batch();
        let (tokens, _) = token_batch(&batch.sequences, self.config);
        let pictures = batch.pictures();
        let features = (!pictures.is_empty()).then(|| match self.features {
            Some(kept) => {
                let kept = kept.features(&self.plain, &pictures);
                matrix(kept, model.layout.decoder.hidden_size, &model.device())
            }
            None => model.image_features(&pictures),
        });
        model.lay_out(&tokens, features.as_ref(), self.limits.whole)
    }

    /// Of which no graph is kept.
    fn forward(&self, piece: &Piece) -> Forward {
        let laid = self.lay_out(piece, &self.plain);
        let segments = &piece.sequences[0].segments;
        let segments = (laid.mask.is_none() && !segments.is_empty()).then(|| {
            let segments = segments.iter().map(|s| i64::from(*s)).collect();
            index(segments, &self.plain.device())
        });
        let mut forward = Forward { states: vec![laid.x.clone()], laid, segments };
        for i in 0..self.plain.layout.decoder.num_layers {
            let x = forward.states[i].clone();
            let Laid { num, rotary, mask, .. } = &forward.laid;
            let decoder = &self.plain.decoder;
            let y = match mask {
                Some(mask) => decoder.layer(i, x, *num, rotary, Some(mask), None),
                None => {
                    let [q, k, v] = decoder.before_attention(i, x.clone(), 1, rotary);
                    decoder.after_attention(i, x, self.mixed(&forward, [&q, &k, &v]))
                }
            };
            forward.states.push(y);
        }
        forward
    }

    /// Blocks of queries.
    fn blocks(&self, num_tokens: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let block = self.limits.block;
        (0..num_tokens).step_by(block).map(move |start| start..num_tokens.min(start + block))
    }

    /// What queries of `block` have mixed; `segments` and `qkv` are of one device, with a graph or without.
    fn block(
        &self,
        block: Range<usize>,
        segments: Option<&Tensor<1, Int>>,
        [q, k, v]: [Tensor<4>; 3],
    ) -> Tensor<2> {
        let group = self.plain.layout.decoder.num_queries_per_kv();
        let mask = block_mask(block, segments, group, &q.device());
        attention(q, k, v, Some(&mask))
    }

    /// Attention in blocks, of which no graph is kept.
    fn mixed(&self, forward: &Forward, qkv: [&Tensor<4>; 3]) -> Tensor<2> {
        let blocks = self.blocks(qkv[0].dims()[1]);
        let of = |block: Range<usize>| {
            let cut = seen(&block, qkv.map(Tensor::clone));
            self.block(block, forward.segments.as_ref(), cut)
        };
        Tensor::cat(blocks.map(of).collect(), 0)
    }

    /// Of every prediction, in order.
    fn log_probs(&self, piece: &Piece, forward: &Forward) -> Vec<f32> {
        let last = forward.states.last().expect("a state behind the last layer");
        let chunk = |chunk: &[(usize, u32)]| {
            let (rows, own) = rows(chunk, &last.device());
            let hidden = self.plain.decoder.last_norm(last.clone().select(0, rows));
            values(predicted(&self.plain, hidden, &own))
        };
        piece.predictions.chunks(self.limits.logits).flat_map(chunk).collect()
    }

    /// The way back: adds the gradients of what learns to `found`.
    fn back(
        &self,
        piece: &Piece,
        mut forward: Forward,
        slopes: &[f32],
        learned: &Learned<'_>,
        found: &mut Gradients,
    ) {
        let last = forward.states.pop().expect("a state behind the last layer");
        let mut slope = last.zeros_like();
        let chunks = piece.predictions.chunks(self.limits.logits);
        for (chunk, slopes) in chunks.zip(slopes.chunks(self.limits.logits)) {
            let (rows, own) = rows(chunk, &last.device());
            let x = state(last.clone().select(0, rows.clone()));
            let root = learned.rooted();
            let hidden = root.model.decoder.last_norm(x.clone());
            let log_probs = predicted(&root.model, hidden, &own);
            let slopes = Tensor::from_inner(vector(slopes.to_vec(), &last.device()));
            let mut grads = (log_probs * slopes).sum().backward();
            let dx = x.grad_remove(&mut grads).expect("the loss hangs on every prediction");
            learned.collect(&root, grads, found);
            slope = slope.select_assign(0, rows, dx, IndexingUpdateOp::Add);
        }

        let root = learned.rooted();
        let Laid { x: embedded, num, rotary, mask, .. } = self.lay_out(piece, &root.model);
        for i in (0..self.plain.layout.decoder.num_layers).rev() {
            let x = forward.states.pop().expect("a state before every layer");
            let Some(mask) = &mask else {
                slope = self.back_in_blocks(i, x, &forward, slope, learned, &rotary, found);
                continue;
            };
            let (x, root) = (state(x), learned.rooted());
            let y = root.model.decoder.layer(i, x.clone(), num, &rotary, Some(mask), None);
            let mut grads = (y * Tensor::from_inner(slope)).sum().backward();
            slope = x.grad_remove(&mut grads).expect("a layer hangs on its input");
            learned.collect(&root, grads, found);
        }
        // Where neither embeddings nor tower learn, nothing is left to ask for.
        let is_before = |name: &str| name.starts_with(TOWER) || name == EMBEDDING;
        let is_learned = |name: &str| is_before(name) && !learned.frozen.contains(name);
        if learned.parameters.names().any(is_learned) {
            let grads = (embedded * Tensor::from_inner(slope)).sum().backward();
            learned.collect(&root, grads, found);
        }
    }

    /// Layer `i` from the slope of its output to that of its input `x`, in three graphs: what stands behind attention,
    /// each block of it, what stands before it.
    #[expect(clippy::too_many_arguments, reason = "called once")]
    fn back_in_blocks(
        &self,
        i: usize,
        x: Tensor<2>,
        forward: &Forward,
        slope: Tensor<2>,
        learned: &Learned<'_>,
        rotary: &Rotary,
        found: &mut Gradients,
    ) -> Tensor<2> {
        let [q, k, v] = self.plain.decoder.before_attention(i, x.clone(), 1, &forward.laid.rotary);
        let mixed = self.mixed(forward, [&q, &k, &v]);

        let (before, mixed, root) = (state(x.clone()), state(mixed), learned.rooted());
        let y = root.model.decoder.after_attention(i, before.clone(), mixed.clone());
        let mut grads = (y * Tensor::from_inner(slope)).sum().backward();
        let around = before.grad_remove(&mut grads).expect("a layer hangs on its input");
        let of_mixed = mixed.grad_remove(&mut grads).expect("a layer hangs on its attention");
        learned.collect(&root, grads, found);

        let dtype = q.dtype();
        let segments = forward.segments.clone().map(Tensor::from_inner);
        // Summed over blocks in f32, whatever is computed in.
        let zeros = |t: &Tensor<4>| t.zeros_like().cast(DType::F32);
        let mut of_queries = Vec::new();
        let [mut of_keys, mut of_values] = [&k, &v].map(zeros);
        for block in self.blocks(q.dims()[1]) {
            let cut = seen(&block, [&q, &k, &v].map(Tensor::clone))
                .map(|t| Tensor::from_inner(t).require_grad());
            let own = self.block(block.clone(), segments.as_ref(), cut.clone());
            let slope = of_mixed.clone().narrow(0, block.start, block.len());
            let mut grads = (own * Tensor::from_inner(slope)).sum().backward();
            let [dq, dk, dv] =
                cut.map(|t| t.grad_remove(&mut grads).expect("attention hangs on all three"));
            of_queries.push(dq);
            let place = [0..1, 0..block.end];
            let sum = |all: Tensor<4>, own: Tensor<4>| {
                let there = all.clone().slice(place.clone());
                all.slice_assign(place.clone(), there + own.cast(DType::F32))
            };
            of_keys = sum(of_keys, dk);
            of_values = sum(of_values, dv);
        }
        let slopes = [Tensor::cat(of_queries, 1), of_keys.cast(dtype), of_values.cast(dtype)];

        let (x, root) = (state(x), learned.rooted());
        let qkv = root.model.decoder.before_attention(i, x.clone(), 1, rotary);
        let weighted = |(t, slope): (Tensor<4>, Tensor<4>)| (t * Tensor::from_inner(slope)).sum();
        let parts = qkv.into_iter().zip(slopes).map(weighted);
        let mut grads = parts.reduce(|a, b| a + b).expect("three parts").backward();
        let before = x.grad_remove(&mut grads).expect("a layer hangs on its input");
        learned.collect(&root, grads, found);
        around + before
    }
}

/// The queries of `block`, and the keys and values that they may see.
fn seen(block: &Range<usize>, [q, k, v]: [Tensor<4>; 3]) -> [Tensor<4>; 3] {
    let keys = [0..1, 0..block.end];
    [q.slice([0..1, block.clone()]), k.slice(keys.clone()), v.slice(keys)]
}

/// A leaf of a graph.
fn state(x: Tensor<2>) -> Tensor<2> {
    Tensor::from_inner(x).require_grad()
}

/// Rows that predict, and the same predictions counted from the first of those.
fn rows(predictions: &[(usize, u32)], device: &Device) -> (Tensor<1, Int>, Vec<(usize, u32)>) {
    let places = predictions.iter().map(|&(row, _)| row as i64).collect();
    let own = predictions.iter().enumerate().map(|(i, &(_, id))| (i, id)).collect();
    (index(places, device), own)
}
