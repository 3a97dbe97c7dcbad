//! Decoding token by token over keys and values that each row keeps.
//!
//! Does not know how a token is chosen. A prompt's keys are computed once and shared by its samples;
//! each row holds the keys of what it generates, so rows come and go without moving another's cache.

use std::rc::Rc;

use super::block::{Angles, Linear, Scratch, Shape, Weights};
use super::cache::{Kept, attend};
use super::kernels::{rms_norm, rotary, swiglu};
use super::packed::Packed;
use super::room::Room;
use super::{Native, spans};
use crate::batch::{Source, TokenBatch};
use crate::qwen2_5_vl::names::NORM;
use crate::qwen2_5_vl::rope::{Position, decoder_tables};

/// Keys and values of a sequence, by layer and key head.
#[derive(Debug, Clone)]
pub(crate) struct Cache(Vec<Kept>);

/// A sequence being generated.
#[derive(Debug)]
pub(crate) struct Row {
    prefix: Rc<Cache>,
    own: Cache,
}

impl Row {
    pub(crate) fn new(prefix: Rc<Cache>) -> Row {
        Row { own: Cache(vec![Kept::default(); prefix.0.len()]), prefix }
    }
}

/// A model laid out for decoding: weights packed once for all tokens, and memory that every token uses again.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    native: &'a Native,
    layers: Vec<Layer<'a>>,
    head: Packed,
    /// States of the rows, `[rows, hidden_size]`.
    x: Room,
    scores: Vec<f32>,
    logits: Vec<f32>,
}

/// The weights of a layer, packed.
#[derive(Debug)]
struct Layer<'a> {
    norm1: &'a [f32],
    qkv: Packed,
    out: Packed,
    norm2: &'a [f32],
    gates: Packed,
    down: Packed,
}

impl<'a> Layer<'a> {
    fn of(weights: &Weights<'a>) -> Layer<'a> {
        let packed = |linears: &[Linear<'_>]| {
            let layers: Vec<_> = linears.iter().map(|l| (l.weight, l.bias)).collect();
            Packed::of(&layers, linears[0].inputs)
        };
        Layer {
            norm1: weights.norm1,
            qkv: packed(&weights.qkv),
            out: packed(&[weights.out]),
            norm2: weights.norm2,
            gates: packed(&weights.gates),
            down: packed(&[weights.down]),
        }
    }
}

impl Native {
    /// Lays the model out for decoding.
    pub(crate) fn decoder(&self) -> Decoder<'_> {
        let layers = (0..self.config.num_hidden_layers).map(|i| Layer::of(&self.layer(i)));
        Decoder {
            native: self,
            layers: layers.collect(),
            head: Packed::of(&[(self.slice(self.head()), None)], self.config.hidden_size),
            x: Room::default(),
            scores: Vec::new(),
            logits: Vec::new(),
        }
    }
}

/// Appends the key and value heads of a row of `qkv` to the heads of its layer.
fn keep(kept: &mut [Kept], shape: Shape, row: &[f32]) {
    let heads = shape.heads;
    let d = heads.head_dim;
    let (keys, values) = row[heads.heads * d..].split_at(heads.kv_heads * d);
    for ((kept, key), value) in
        kept.iter_mut().zip(keys.chunks_exact(d)).zip(values.chunks_exact(d))
    {
        kept.push(key, value);
    }
}

impl Decoder<'_> {
    /// Computes keys and values of prompts, and the logits after each, `[prompts, vocab_size]`.
    pub(crate) fn prefill(&mut self, batch: &TokenBatch, features: &[f32]) -> (Vec<Cache>, &[f32]) {
        let (native, config) = (self.native, &self.native.config);
        let (shape, hidden) = (native.shape(), config.hidden_size);
        let (heads, width) = (shape.heads, shape.heads.width());
        let mut x = native.embed(&batch.sources(config, !features.is_empty()), features);
        let (cos, sin) = native.angles(batch);
        let (spans, angles) = (spans(batch), Angles { cos: &cos, sin: &sin });
        let none = Cache(vec![Kept::default(); config.num_hidden_layers * heads.kv_heads]);
        let mut caches = vec![none; batch.input_ids.len()];
        for i in 0..config.num_hidden_layers {
            let tape = native.layer(i).forward(shape, &mut x, angles, &spans);
            let mut rows = tape.qkv().chunks_exact(width);
            for (cache, ids) in caches.iter_mut().zip(&batch.input_ids) {
                let kept = &mut cache.0[i * heads.kv_heads..][..heads.kv_heads];
                for row in rows.by_ref().take(ids.len()) {
                    keep(kept, shape, row);
                }
            }
        }
        self.x = Room::of(batch.input_ids.len() * hidden);
        let mut end = 0;
        for (row, ids) in self.x.chunks_exact_mut(hidden).zip(&batch.input_ids) {
            end += ids.len();
            row.copy_from_slice(&x[(end - 1) * hidden..end * hidden]);
        }
        (caches, self.logits())
    }

    /// Adds one token to every row and returns the logits after it, `[rows, vocab_size]`.
    pub(crate) fn step(
        &mut self,
        rows: &mut [&mut Row],
        ids: &[u32],
        positions: &[Position],
    ) -> &[f32] {
        let (native, config) = (self.native, &self.native.config);
        let shape = native.shape();
        let (heads, d) = (shape.heads, shape.heads.head_dim);
        let group = heads.heads / heads.kv_heads;
        let sources: Vec<Source> = ids.iter().copied().map(Source::Token).collect();
        self.x = native.embed(&sources, &[]);
        let (cos, sin) = decoder_tables(positions, config);
        let mut room = Scratch::new(shape, rows.len());
        let Decoder { layers, x, scores, .. } = self;
        for (i, layer) in layers.iter().enumerate() {
            rms_norm(x, layer.norm1, shape.eps, &mut room.y, &mut room.scales);
            layer.qkv.apply(&room.y, &mut room.qkv, false);
            let turned = (heads.heads + heads.kv_heads) * d;
            rotary(&mut room.qkv, heads.width(), turned, d, &cos, &sin, false);
            let first = i * heads.kv_heads;
            let qkv = room.qkv.chunks_exact(heads.width());
            let mixed = room.mixed.chunks_exact_mut(heads.out());
            for ((row, qkv), mixed) in rows.iter_mut().zip(qkv).zip(mixed) {
                let kept = &mut row.own.0[first..][..heads.kv_heads];
                keep(kept, shape, qkv);
                let queries = qkv.chunks_exact(group * d).zip(mixed.chunks_exact_mut(group * d));
                for ((queries, mixed), (prefix, own)) in
                    queries.zip(row.prefix.0[first..].iter().zip(kept))
                {
                    attend(queries, d, [prefix, own], scores, mixed);
                }
            }
            layer.out.apply(&room.mixed, x, true);
            rms_norm(x, layer.norm2, shape.eps, &mut room.y, &mut room.scales);
            layer.gates.apply(&room.y, &mut room.gates, false);
            swiglu(&room.gates, shape.inner, &mut room.act);
            layer.down.apply(&room.act, x, true);
        }
        self.logits()
    }

    /// Computes the logits of the rows of `x`, which the last norm has not seen yet.
    fn logits(&mut self) -> &[f32] {
        let (native, num) = (self.native, self.x.len() / self.native.config.hidden_size);
        let Decoder { x, head, logits, .. } = self;
        let (mut normed, mut scales) = (Room::of(x.len()), Room::of(num));
        rms_norm(x, native.slice(NORM), native.shape().eps, &mut normed, &mut scales);
        logits.resize(num * head.outputs(), 0.0);
        head.apply(&normed, logits, false);
        logits
    }
}
