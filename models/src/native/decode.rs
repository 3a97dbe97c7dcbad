//! Decoding token by token over keys and values that each row keeps.
//!
//! Does not know how a token is chosen. A prompt's keys are computed once and shared by its samples;
//! each row holds the keys of what it generates, so rows come and go without moving another's cache.

use std::rc::Rc;

use super::block::{Angles, Scratch};
use super::kernels::{attend, rms_norm};
use super::{Native, spans};
use crate::batch::{Source, TokenBatch};
use crate::qwen2_5_vl::names::NORM;
use crate::qwen2_5_vl::rope::{Position, decoder_tables};

/// Keys and values by layer and key head, `[len, head_dim]` each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

/// A sequence being generated.
#[derive(Debug)]
pub(crate) struct Row {
    prefix: Rc<Cache>,
    own: Cache,
}

impl Row {
    pub(crate) fn new(prefix: Rc<Cache>) -> Row {
        let empty = vec![Vec::new(); prefix.keys.len()];
        Row { own: Cache { keys: empty.clone(), values: empty }, prefix }
    }
}

impl Native {
    /// Computes keys and values of prompts, and the logits after each, `[prompts, vocab_size]`.
    pub(crate) fn prefill(&self, batch: &TokenBatch, features: &[f32]) -> (Vec<Cache>, Vec<f32>) {
        let (shape, hidden) = (self.shape(), self.config.hidden_size);
        let (heads, width) = (shape.heads, shape.heads.width());
        let mut x = self.embed(&batch.sources(&self.config, !features.is_empty()), features);
        let (cos, sin) = self.angles(batch);
        let (spans, angles) = (spans(batch), Angles { cos: &cos, sin: &sin });
        let mut caches = vec![Cache::default(); batch.input_ids.len()];
        for i in 0..self.config.num_hidden_layers {
            let tape = self.layer(i).forward(shape, &mut x, angles, &spans);
            let mut rows = tape.qkv().chunks_exact(width);
            for (cache, ids) in caches.iter_mut().zip(&batch.input_ids) {
                let first = cache.keys.len();
                cache.keys.resize(first + heads.kv_heads, Vec::new());
                cache.values.resize(first + heads.kv_heads, Vec::new());
                for row in rows.by_ref().take(ids.len()) {
                    self.keep(cache, first, row);
                }
            }
        }
        let mut last = Vec::with_capacity(caches.len() * hidden);
        let mut end = 0;
        for ids in &batch.input_ids {
            end += ids.len();
            last.extend_from_slice(&x[(end - 1) * hidden..end * hidden]);
        }
        (caches, self.logits_of(&last))
    }

    /// Appends the key and value heads of a row of `qkv` to the layer that begins at `first`.
    fn keep(&self, cache: &mut Cache, first: usize, row: &[f32]) {
        let heads = self.shape().heads;
        let d = heads.head_dim;
        let (keys, values) = row[heads.heads * d..].split_at(heads.kv_heads * d);
        for (i, (k, v)) in keys.chunks_exact(d).zip(values.chunks_exact(d)).enumerate() {
            cache.keys[first + i].extend_from_slice(k);
            cache.values[first + i].extend_from_slice(v);
        }
    }

    /// Adds one token to every row and returns the logits after it, `[rows, vocab_size]`.
    pub(crate) fn step(
        &self,
        rows: &mut [&mut Row],
        ids: &[u32],
        positions: &[Position],
    ) -> Vec<f32> {
        let shape = self.shape();
        let (heads, d) = (shape.heads, shape.heads.head_dim);
        let group = heads.heads / heads.kv_heads;
        let sources: Vec<Source> = ids.iter().copied().map(Source::Token).collect();
        let mut x = self.embed(&sources, &[]);
        let (cos, sin) = decoder_tables(positions, &self.config);
        let angles = Angles { cos: &cos, sin: &sin };
        let mut scratch = Scratch::new(shape, rows.len());
        let mut scores = Vec::new();
        for i in 0..self.config.num_hidden_layers {
            let layer = self.layer(i);
            rms_norm(&x, layer.norm1, shape.eps, &mut scratch.y, &mut scratch.scales);
            layer.queries(&scratch.y, rows.len(), heads, angles, &mut scratch.qkv);
            let first = i * heads.kv_heads;
            let qkv = scratch.qkv.chunks_exact(heads.width());
            let mixed = scratch.mixed.chunks_exact_mut(heads.out());
            for ((row, qkv), mixed) in rows.iter_mut().zip(qkv).zip(mixed) {
                self.keep(&mut row.own, first, qkv);
                for (head, mixed) in mixed.chunks_exact_mut(d).enumerate() {
                    let at = first + head / group;
                    let parts = [
                        (&row.prefix.keys[at][..], &row.prefix.values[at][..]),
                        (&row.own.keys[at], &row.own.values[at]),
                    ];
                    attend(&qkv[head * d..][..d], parts, &mut scores, mixed);
                }
            }
            layer.out.forward(&scratch.mixed, rows.len(), &mut x, shape.hidden, true);
            layer.feed_forward(shape, &mut x, &mut scratch);
        }
        self.logits_of(&x)
    }

    /// Computes the logits of rows that the last norm has not seen yet.
    fn logits_of(&self, x: &[f32]) -> Vec<f32> {
        let hidden = self.config.hidden_size;
        let mut normed = vec![0.0; x.len()];
        let mut scales = vec![0.0; x.len() / hidden];
        rms_norm(x, self.slice(NORM), self.shape().eps, &mut normed, &mut scales);
        let mut all = Vec::with_capacity(scales.len() * self.config.vocab_size);
        self.logits(&normed, |_, logits| all.extend_from_slice(logits));
        all
    }
}
