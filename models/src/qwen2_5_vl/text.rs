//! The decoder of Qwen2.5-VL: GQA with QKV bias, SwiGLU, RMSNorm, rotary positions, KV cache.
//!
//! Does not know pictures: it sees embeddings and positions. The cache is passed in, never hidden.

use burn::tensor::{Bool, DType, Tensor};

use crate::ops::{Linear, attention, rms_norm, rotary, swiglu};
use crate::qwen2_5_vl::config::VlmConfig;
use crate::weights::Parameters;

/// The decoder over one set of parameters.
#[derive(Debug, Clone)]
pub struct Decoder {
    config: VlmConfig,
    layers: Vec<Layer>,
    norm: Tensor<1>,
    lm_head: Linear,
}

#[derive(Debug, Clone)]
struct Layer {
    input_layernorm: Tensor<1>,
    post_attention_layernorm: Tensor<1>,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// Keys and values of every layer, `[batch, capacity, kv_heads, head_dim]`, written in place.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    /// Positions filled so far.
    len: usize,
}

/// Rotary tables of the rows being computed.
#[derive(Debug, Clone)]
pub struct Rotary {
    /// `[batch * sequence, head_dim / 2]`
    pub cos: Tensor<2>,
    /// `[batch * sequence, head_dim / 2]`
    pub sin: Tensor<2>,
}

impl Decoder {
    /// Builds the decoder over `p`; the head is taken from `masters`, which `p` are copies of.
    pub(crate) fn new(config: &VlmConfig, p: &Parameters, masters: &Parameters) -> Decoder {
        let linear = |name: String| p.linear(&name, false);
        let biased = |name: String| p.linear(&name, true);
        let layer = |i: usize| {
            let l = format!("model.layers.{i}");
            Layer {
                input_layernorm: p.vector(&format!("{l}.input_layernorm.weight")),
                post_attention_layernorm: p.vector(&format!("{l}.post_attention_layernorm.weight")),
                q: biased(format!("{l}.self_attn.q_proj")),
                k: biased(format!("{l}.self_attn.k_proj")),
                v: biased(format!("{l}.self_attn.v_proj")),
                o: linear(format!("{l}.self_attn.o_proj")),
                gate: linear(format!("{l}.mlp.gate_proj")),
                up: linear(format!("{l}.mlp.up_proj")),
                down: linear(format!("{l}.mlp.down_proj")),
            }
        };
        let head = if config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
        Decoder {
            config: config.clone(),
            layers: (0..config.num_hidden_layers).map(layer).collect(),
            norm: p.vector("model.norm.weight"),
            lm_head: masters.linear(head, false),
        }
    }

    /// Makes the copies that [`crate::qwen2_5_vl::vlm::Vlm::prepared`] says.
    pub(crate) fn prepared(self) -> Decoder {
        let layer = |layer: Layer| Layer {
            q: layer.q.joined(),
            k: layer.k.joined(),
            v: layer.v.joined(),
            o: layer.o.joined(),
            gate: layer.gate.joined(),
            up: layer.up.joined(),
            down: layer.down.joined(),
            ..layer
        };
        Decoder {
            layers: self.layers.into_iter().map(layer).collect(),
            lm_head: self.lm_head.cast(DType::F32),
            ..self
        }
    }

    /// Computes the hidden states after the last norm.
    ///
    /// # Shapes
    /// `x [batch * sequence, hidden_size]`; `hidden` as in [`attention`], over the keys of this call
    /// (no cache) or over all keys so far (cache). Returns `[batch * sequence, hidden_size]`.
    pub fn forward(
        &self,
        mut x: Tensor<2>,
        batch: usize,
        rotary: &Rotary,
        hidden: Option<&Tensor<3, Bool>>,
        mut cache: Option<&mut KvCache>,
    ) -> Tensor<2> {
        let sequence = x.dims()[0] / batch;
        for i in 0..self.layers.len() {
            x = self.layer(i, x, batch, rotary, hidden, cache.as_deref_mut());
        }
        if let Some(cache) = cache {
            cache.len += sequence;
        }
        self.last_norm(x)
    }

    /// Applies the norm after the last layer.
    ///
    /// # Shapes
    /// `[rows, hidden_size]` to the same.
    pub fn last_norm(&self, x: Tensor<2>) -> Tensor<2> {
        rms_norm(x, self.norm.clone(), self.config.rms_norm_eps)
    }

    /// Computes logits, in f32 whatever the layers compute in: a logit of 16 to 32 has steps of .125 in bf16, by which
    /// the log-probabilities of sampling and of training would be apart.
    ///
    /// # Shapes
    /// `[rows, hidden_size]` to `[rows, vocab_size]`.
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        self.lm_head.clone().cast(DType::F32).forward(x.cast(DType::F32))
    }

    /// Returns the type that hidden states are computed in.
    pub fn dtype(&self) -> DType {
        self.norm.dtype()
    }

    /// Computes layer `i`; arguments and shapes are those of [`Decoder::forward`].
    pub fn layer(
        &self,
        i: usize,
        x: Tensor<2>,
        batch: usize,
        tables: &Rotary,
        hidden: Option<&Tensor<3, Bool>>,
        cache: Option<&mut KvCache>,
    ) -> Tensor<2> {
        let [q, mut k, mut v] = self.before_attention(i, x.clone(), batch, tables);
        if let Some(cache) = cache {
            (k, v) = cache.extend(i, k, v);
        }
        self.after_attention(i, x, attention(q, k, v, hidden))
    }

    /// Computes the queries, keys and values of layer `i`, rotated to their positions.
    ///
    /// # Shapes
    /// `x [batch * sequence, hidden_size]` to `[batch, sequence, heads or kv_heads, head_dim]`, as [`attention`] takes
    /// them.
    pub fn before_attention(
        &self,
        i: usize,
        x: Tensor<2>,
        batch: usize,
        tables: &Rotary,
    ) -> [Tensor<4>; 3] {
        let layer = &self.layers[i];
        let rows = x.dims()[0];
        let head_dim = self.config.head_dim();
        let (heads, kv_heads) = (self.config.num_attention_heads, self.config.num_key_value_heads);
        let y = rms_norm(x, layer.input_layernorm.clone(), self.config.rms_norm_eps);
        let split = |t: Tensor<2>, heads: usize| t.reshape([rows, heads, head_dim]);
        let q = rotary(split(layer.q.forward(y.clone()), heads), &tables.cos, &tables.sin);
        let k = rotary(split(layer.k.forward(y.clone()), kv_heads), &tables.cos, &tables.sin);
        let v = split(layer.v.forward(y), kv_heads);
        let by_batch =
            |t: Tensor<3>, heads: usize| t.reshape([batch, rows / batch, heads, head_dim]);
        [by_batch(q, heads), by_batch(k, kv_heads), by_batch(v, kv_heads)]
    }

    /// Computes the rest of layer `i` from its input `x` and `mixed`, the output of attention.
    ///
    /// # Shapes
    /// `x [batch * sequence, hidden_size]`, `mixed [batch * sequence, heads * head_dim]`; returns the shape of `x`.
    pub fn after_attention(&self, i: usize, x: Tensor<2>, mixed: Tensor<2>) -> Tensor<2> {
        let layer = &self.layers[i];
        let x = x + layer.o.forward(mixed);
        let y =
            rms_norm(x.clone(), layer.post_attention_layernorm.clone(), self.config.rms_norm_eps);
        let gated = swiglu(layer.gate.forward(y.clone()), layer.up.forward(y));
        x + layer.down.forward(gated)
    }
}

impl KvCache {
    /// Makes an empty cache with room for `capacity` positions of `batch` rows, in `dtype`.
    pub fn new(
        config: &VlmConfig,
        batch: usize,
        capacity: usize,
        device: &burn::tensor::Device,
        dtype: DType,
    ) -> KvCache {
        let shape = [batch, capacity, config.num_key_value_heads, config.head_dim()];
        let zeros = || Tensor::<4>::zeros(shape, (device, dtype));
        let pair = || Some((zeros(), zeros()));
        KvCache { layers: (0..config.num_hidden_layers).map(|_| pair()).collect(), len: 0 }
    }

    /// Returns the number of positions filled so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `k` and `v`, `[batch, new, kv_heads, head_dim]`, and returns views of everything written so far.
    fn extend(&mut self, layer: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, new, heads, head_dim] = k.dims();
        let (start, end) = (self.len, self.len + new);
        // Taken out, so that the tensor has one owner and is written in place.
        let (keys, values) =
            self.layers[layer].take().expect("every layer holds its pair between calls");
        let place = [0..batch, start..end, 0..heads, 0..head_dim];
        let keys = keys.slice_assign(place.clone(), k);
        let values = values.slice_assign(place, v);
        let filled = (keys.clone().narrow(1, 0, end), values.clone().narrow(1, 0, end));
        self.layers[layer] = Some((keys, values));
        filled
    }

    /// Keeps the rows `rows`, in that order and repeats allowed, with room for `capacity` positions.
    pub fn select(&mut self, rows: &Tensor<1, burn::tensor::Int>, capacity: usize) {
        let len = self.len;
        for slot in &mut self.layers {
            let (k, v) = slot.take().expect("every layer holds its pair between calls");
            let pick = |t: Tensor<4>| {
                let (device, dtype) = (t.device(), t.dtype());
                let [_, _, heads, head_dim] = t.dims();
                let picked = t.narrow(1, 0, len).select(0, rows.clone());
                let batch = picked.dims()[0];
                let room = Tensor::zeros([batch, capacity, heads, head_dim], (&device, dtype));
                room.slice_assign([0..batch, 0..len, 0..heads, 0..head_dim], picked)
            };
            *slot = Some((pick(k), pick(v)));
        }
    }
}
