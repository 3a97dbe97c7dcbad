//! Gradients without a graph of the whole model (gradient checkpointing): only the hidden states between the decoder's
//! layers are stored, and each layer is recomputed when its gradient is needed.
//!
//! Does not know losses or updates. The numbers are those of [`Network::gradients`]; memory holds the graph of one layer
//! instead of all, for one more forward pass. The tower before the decoder keeps its graph, if it learns.
//!
//! What grows with the length of a sequence is cut ([`Limits`]): packed rollouts into pieces, attention into blocks of
//! queries, logits into chunks of rows. Sequences that are short enough for none of that are computed whole.

use std::ops::Range;

use burn::tensor::{DType, Device, Gradients as Grads, IndexingUpdateOp, Int, Tensor};
use synergy_models::batch::index;
use synergy_models::ops::{attention, block_mask, log_probs_and_entropies};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::names::{EMBEDDING, is_of_tower};
use synergy_models::qwen2_5_vl::vlm::{DecoderInput, Vlm};
use synergy_models::weights::Parameters;
use synergy_report::cost::StepFigures;

use super::{
    Batch, Loss, Network, Predicted, add, leaves, logits, matrix, predicted, values, vector,
};
use crate::limits::Limits;
use crate::train::features::FeatureCache;
use crate::train::optimizer::Gradients;
use crate::train::sequence::{Sequence, token_batch};

/// The model and the limits that the forward and the backward pass share.
struct Passes<'a> {
    config: &'a VlmConfig,
    /// The model without gradient tracking.
    plain: Vlm,
    features: Option<&'a FeatureCache>,
    limits: Limits,
}

/// The parameters that learn, and copies of all parameters in the type that is computed in.
struct Trainable<'a> {
    network: &'a Network<'a>,
    copies: &'a Parameters,
}

/// The model at the root of one graph, which one backward pass uses up.
struct Tracked {
    model: Vlm,
    parameters: Parameters,
    copies: Parameters,
}

impl Trainable<'_> {
    /// The model with gradient tracking of what learns.
    fn with_grad(&self) -> Tracked {
        let Network { config, parameters, frozen, .. } = self.network;
        let parameters = leaves(parameters, frozen);
        let copies = leaves(self.copies, frozen);
        let model = Vlm::over(config, &parameters, &copies);
        Tracked { model, parameters, copies }
    }

    /// Adds what `grads` holds of the parameters of `tracked` to `gradients`, in f32.
    fn collect(&self, tracked: &Tracked, mut grads: Grads, gradients: &mut Gradients) {
        for (name, copy) in tracked.copies.iter() {
            // A tied matrix is met twice, as head and as embedding, whose rows are those of the parameters.
            for leaf in [&copy.value, &tracked.parameters.get(name).value] {
                let Some(gradient) = leaf.grad_remove(&mut grads) else { continue };
                add(gradients, name.to_owned(), gradient.cast(DType::F32));
            }
        }
    }
}

/// Sequences that go through the model together.
struct Piece {
    sequences: Vec<Sequence>,
    /// (row of the rectangle of sequences, id that it predicts)
    predictions: Vec<(usize, u32)>,
}

/// Slopes of the loss along what is predicted, `[predictions]` each.
#[derive(Clone, Copy)]
struct Slopes<'a> {
    log_probs: &'a [f32],
    /// Absent where the loss does not depend on entropies.
    entropies: Option<&'a [f32]>,
}

/// Results of a forward pass through the decoder that the backward pass needs.
struct Forward {
    laid: DecoderInput,
    /// Hidden states before each layer, and behind the last.
    states: Vec<Tensor<2>>,
    /// Segments of a sequence whose attention is in blocks.
    segments: Option<Tensor<1, Int>>,
}

/// Gradients of a micro-batch as [`Network::gradients`] gives them.
pub(super) fn gradients(
    network: &Network<'_>,
    limits: Limits,
    batch: &Batch<'_>,
    loss: &(impl Fn(Predicted<'_>, &Batch<'_>) -> Loss + Sync),
) -> (Gradients, StepFigures) {
    let &Network { config, parameters, features, .. } = network;
    let copies = parameters.cast(network.dtype);
    let plain = Vlm::over(config, parameters, &copies).plain().prepared();
    let passes = Passes { config, plain, features, limits };
    let trainable = Trainable { network, copies: &copies };
    let pieces = pieces(batch, limits);

    // The loss needs all log-probabilities before any slope is known: of several pieces no states are stored.
    let mut stored = None;
    let (mut log_probs, mut entropies) = (Vec::new(), Vec::new());
    for piece in &pieces {
        let forward = passes.forward(piece);
        if network.bonus.is_some() {
            let [own, of_piece] = passes.with_entropies(piece, &forward);
            log_probs.extend(own);
            entropies.extend(of_piece);
        } else {
            log_probs.extend(passes.log_probs(piece, &forward));
        }
        stored = (pieces.len() == 1).then_some(forward);
    }
    let predicted = Predicted { log_probs: &log_probs, entropies: &entropies };
    let mut loss = loss(predicted, batch);
    let entropy_slopes = network.bonus.and_then(|bonus| {
        bonus.take(batch, &entropies, &mut loss);
        bonus.slopes(batch)
    });
    let mut backward =
        Backward { passes: &passes, trainable: &trainable, gradients: Gradients::new() };
    let mut start = 0;
    for piece in &pieces {
        let forward = stored.take().unwrap_or_else(|| passes.forward(piece));
        let own = start..start + piece.predictions.len();
        start = own.end;
        let slopes = Slopes {
            log_probs: &loss.slopes[own.clone()],
            entropies: entropy_slopes.as_ref().map(|slopes| &slopes[own]),
        };
        backward.piece(piece, forward, slopes);
    }
    (backward.gradients, loss.into_figures())
}

/// Log-probability of every prediction of a micro-batch, as [`super::prediction_log_probs`] gives them.
pub(super) fn log_probs(
    model: &Vlm,
    batch: &Batch<'_>,
    features: Option<&FeatureCache>,
    limits: Limits,
) -> Vec<f32> {
    let passes =
        Passes { config: &model.config, plain: model.clone().plain().prepared(), features, limits };
    let of = |piece: &Piece| passes.log_probs(piece, &passes.forward(piece));
    pieces(batch, limits).iter().flat_map(of).collect()
}

/// The normalized states of `model` that make the predictions of `sequence`, `[predictions, hidden_size]`.
pub(super) fn predicting(model: &Vlm, sequence: &Sequence, limits: Limits) -> Tensor<2> {
    let plain = model.clone().plain().prepared();
    let passes = Passes { config: &model.config, plain, features: None, limits };
    let piece = Piece::new(vec![sequence.clone()]);
    let mut forward = passes.forward(&piece);
    let last = forward.states.pop().expect("a state behind the last layer");
    let (rows, _) = targets(&piece.predictions, &last.device());
    passes.plain.decoder.last_norm(last.select(0, rows))
}

/// Cuts a micro-batch: it stays whole, or each sequence stands by itself, and in pieces where one is too long.
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

impl Passes<'_> {
    /// Embeds `piece`, its pictures' features by `model`, as the decoder sees it.
    fn lay_out(&self, piece: &Piece, model: &Vlm) -> DecoderInput {
        let batch = piece.batch();
        let (tokens, _) = token_batch(&batch.sequences, self.config);
        let pictures = batch.pictures();
        let features = (!pictures.is_empty()).then(|| match self.features {
            Some(cache) => {
                let features = cache.features(&self.plain, &pictures);
                matrix(features, model.layout.decoder.hidden_size, &model.device())
            }
            None => model.image_features(&pictures),
        });
        model.lay_out(&tokens, features.as_ref(), self.limits.whole)
    }

    /// Forward pass without a graph, storing the hidden states between layers.
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
            let DecoderInput { num, rotary, mask, .. } = &forward.laid;
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

    /// Attention of the queries of `block`; `segments` and `qkv` are of one device, with a graph or without.
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

    /// Attention in blocks, without a graph.
    fn mixed(&self, forward: &Forward, qkv: [&Tensor<4>; 3]) -> Tensor<2> {
        let blocks = self.blocks(qkv[0].dims()[1]);
        let of = |block: Range<usize>| {
            let cut = seen(&block, qkv.map(Tensor::clone));
            self.block(block, forward.segments.as_ref(), cut)
        };
        Tensor::cat(blocks.map(of).collect(), 0)
    }

    /// [`Passes::log_probs`], and the entropy in nats of what the model expects there.
    fn with_entropies(&self, piece: &Piece, forward: &Forward) -> [Vec<f32>; 2] {
        let last = forward.states.last().expect("a state behind the last layer");
        let mut found = [Vec::new(), Vec::new()];
        for chunk in piece.predictions.chunks(self.limits.logits) {
            let (rows, targets) = targets(chunk, &last.device());
            let hidden = self.plain.decoder.last_norm(last.clone().select(0, rows));
            let (logits, targets) = logits(&self.plain, hidden, &targets);
            for (all, own) in found.iter_mut().zip(log_probs_and_entropies(logits, targets)) {
                all.extend(values(own));
            }
        }
        found
    }

    /// Log-probability in nats of every predicted token of `piece`, `[predictions]`.
    fn log_probs(&self, piece: &Piece, forward: &Forward) -> Vec<f32> {
        let last = forward.states.last().expect("a state behind the last layer");
        let chunk = |chunk: &[(usize, u32)]| {
            let (rows, targets) = targets(chunk, &last.device());
            let hidden = self.plain.decoder.last_norm(last.clone().select(0, rows));
            values(predicted(&self.plain, hidden, &targets))
        };
        piece.predictions.chunks(self.limits.logits).flat_map(chunk).collect()
    }
}

/// The backward pass: recomputes each layer from its stored input and sums the gradients of what learns.
struct Backward<'a> {
    passes: &'a Passes<'a>,
    trainable: &'a Trainable<'a>,
    gradients: Gradients,
}

impl Backward<'_> {
    /// Adds the gradients of `piece`, whose predictions have these `slopes`.
    fn piece(&mut self, piece: &Piece, mut forward: Forward, slopes: Slopes<'_>) {
        let mut slope = self.head(piece, &mut forward, slopes);
        let tracked = self.trainable.with_grad();
        let laid = self.passes.lay_out(piece, &tracked.model);
        for i in (0..self.passes.plain.layout.decoder.num_layers).rev() {
            let x = forward.states.pop().expect("a state before every layer");
            slope = match laid.mask {
                Some(_) => self.layer(i, x, slope, &laid),
                None => self.layer_in_blocks(i, x, slope, &laid, &forward),
            };
        }
        // Where neither embeddings nor tower learn, nothing is left to compute.
        let Network { parameters, frozen, .. } = self.trainable.network;
        let is_before = |name: &str| is_of_tower(name) || name == EMBEDDING;
        if parameters.names().any(|name| is_before(name) && !frozen.contains(name)) {
            let grads = (laid.x * Tensor::from_inner(slope)).sum().backward();
            self.trainable.collect(&tracked, grads, &mut self.gradients);
        }
    }

    /// From slopes of the predictions to the slope of the state behind the last layer, which is taken from `forward`.
    fn head(&mut self, piece: &Piece, forward: &mut Forward, slopes: Slopes<'_>) -> Tensor<2> {
        let last = forward.states.pop().expect("a state behind the last layer");
        let mut slope = last.zeros_like();
        let at_once = self.passes.limits.logits;
        let along = |slopes: &[f32]| Tensor::from_inner(vector(slopes.to_vec(), &last.device()));
        for (i, chunk) in piece.predictions.chunks(at_once).enumerate() {
            let own = i * at_once..i * at_once + chunk.len();
            let (rows, targets) = targets(chunk, &last.device());
            let x = state(last.clone().select(0, rows.clone()));
            let tracked = self.trainable.with_grad();
            let hidden = tracked.model.decoder.last_norm(x.clone());
            let log_prob_slopes = along(&slopes.log_probs[own.clone()]);
            let sum = match slopes.entropies {
                Some(slopes) => {
                    let (logits, targets) = logits(&tracked.model, hidden, &targets);
                    let [log_probs, entropies] = log_probs_and_entropies(logits, targets);
                    (log_probs * log_prob_slopes).sum() + (entropies * along(&slopes[own])).sum()
                }
                None => (predicted(&tracked.model, hidden, &targets) * log_prob_slopes).sum(),
            };
            let mut grads = sum.backward();
            let dx = x.grad_remove(&mut grads).expect("the loss depends on every prediction");
            self.trainable.collect(&tracked, grads, &mut self.gradients);
            slope = slope.select_assign(0, rows, dx, IndexingUpdateOp::Add);
        }
        slope
    }

    /// Layer `i` from the slope of its output to that of its input `x`.
    fn layer(
        &mut self,
        i: usize,
        x: Tensor<2>,
        slope: Tensor<2>,
        laid: &DecoderInput,
    ) -> Tensor<2> {
        let (x, tracked) = (state(x), self.trainable.with_grad());
        let DecoderInput { num, rotary, mask, .. } = laid;
        let y = tracked.model.decoder.layer(i, x.clone(), *num, rotary, mask.as_ref(), None);
        let mut grads = (y * Tensor::from_inner(slope)).sum().backward();
        let dx = x.grad_remove(&mut grads).expect("a layer depends on its input");
        self.trainable.collect(&tracked, grads, &mut self.gradients);
        dx
    }

    /// [`Backward::layer`] in three graphs: what stands behind attention, each block of it, what stands before it.
    fn layer_in_blocks(
        &mut self,
        i: usize,
        x: Tensor<2>,
        slope: Tensor<2>,
        laid: &DecoderInput,
        forward: &Forward,
    ) -> Tensor<2> {
        let decoder = &self.passes.plain.decoder;
        let qkv = decoder.before_attention(i, x.clone(), 1, &forward.laid.rotary);
        let mixed = self.passes.mixed(forward, qkv.each_ref());

        let (before, mixed) = (state(x.clone()), state(mixed));
        let tracked = self.trainable.with_grad();
        let y = tracked.model.decoder.after_attention(i, before.clone(), mixed.clone());
        let mut grads = (y * Tensor::from_inner(slope)).sum().backward();
        let around = before.grad_remove(&mut grads).expect("a layer depends on its input");
        let of_mixed = mixed.grad_remove(&mut grads).expect("a layer depends on its attention");
        self.trainable.collect(&tracked, grads, &mut self.gradients);

        let slopes = self.attention(&qkv, &of_mixed, forward);
        let (x, tracked) = (state(x), self.trainable.with_grad());
        let qkv = tracked.model.decoder.before_attention(i, x.clone(), 1, &laid.rotary);
        let weighted = |(t, slope): (Tensor<4>, Tensor<4>)| (t * Tensor::from_inner(slope)).sum();
        let parts = qkv.into_iter().zip(slopes).map(weighted);
        let mut grads = parts.reduce(|a, b| a + b).expect("three parts").backward();
        let before = x.grad_remove(&mut grads).expect("a layer depends on its input");
        self.trainable.collect(&tracked, grads, &mut self.gradients);
        around + before
    }

    /// Slopes of queries, keys and values from that of what attention makes of them, block by block.
    fn attention(
        &self,
        qkv: &[Tensor<4>; 3],
        slope: &Tensor<2>,
        forward: &Forward,
    ) -> [Tensor<4>; 3] {
        let [q, k, v] = qkv;
        let dtype = q.dtype();
        let segments = forward.segments.clone().map(Tensor::from_inner);
        // Summed over blocks in f32, whatever is computed in.
        let zeros = |t: &Tensor<4>| t.zeros_like().cast(DType::F32);
        let mut of_queries = Vec::new();
        let [mut of_keys, mut of_values] = [k, v].map(zeros);
        for block in self.passes.blocks(q.dims()[1]) {
            let cut = seen(&block, qkv.clone()).map(|t| Tensor::from_inner(t).require_grad());
            let mixed = self.passes.block(block.clone(), segments.as_ref(), cut.clone());
            let slope = slope.clone().narrow(0, block.start, block.len());
            let mut grads = (mixed * Tensor::from_inner(slope)).sum().backward();
            let [dq, dk, dv] =
                cut.map(|t| t.grad_remove(&mut grads).expect("attention depends on all three"));
            of_queries.push(dq);
            let place = [0..1, 0..block.end];
            let sum = |all: Tensor<4>, own: Tensor<4>| {
                let there = all.clone().slice(place.clone());
                all.slice_assign(place.clone(), there + own.cast(DType::F32))
            };
            of_keys = sum(of_keys, dk);
            of_values = sum(of_values, dv);
        }
        [Tensor::cat(of_queries, 1), of_keys.cast(dtype), of_values.cast(dtype)]
    }
}

/// Cuts out the queries of `block`, and the keys and values that they may see.
fn seen(block: &Range<usize>, [q, k, v]: [Tensor<4>; 3]) -> [Tensor<4>; 3] {
    let keys = [0..1, 0..block.end];
    [q.slice([0..1, block.clone()]), k.slice(keys.clone()), v.slice(keys)]
}

/// A hidden state as a leaf of a new graph.
fn state(x: Tensor<2>) -> Tensor<2> {
    Tensor::from_inner(x).require_grad()
}

/// Rows that predict, and what each predicts: (its place among those rows, id).
fn targets(predictions: &[(usize, u32)], device: &Device) -> (Tensor<1, Int>, Vec<(usize, u32)>) {
    let places = predictions.iter().map(|&(row, _)| row as i64).collect();
    let targets = predictions.iter().enumerate().map(|(i, &(_, id))| (i, id)).collect();
    (index(places, device), targets)
}
