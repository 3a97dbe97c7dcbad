//! The tensor operations that layers share, each a pure function.
//!
//! Does not know parameters' names or where inputs come from. Activations are `[rows, channels]`
//! with rows = batch x sequence, so that one matrix product serves the whole batch.
//!
//! An operation returns the type of its input: bf16 for bf16. Inside, statistics of norms, softmax and the gate of
//! SwiGLU are f32 for any type of weights, as in the reference. Where everything is f32, the casts do nothing.

use std::ops::Range;

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Bool, DType, Int, Tensor, TensorData};

/// A linear layer in PyTorch's layout, with what an adapter adds to it.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor<2>,
    /// `[out]`
    pub bias: Option<Tensor<1>>,
    /// The adapter's factors, if it has any.
    pub beside: Option<Beside>,
}

/// The factors of an adapter beside a weight, so that the weight itself is not touched.
#[derive(Debug, Clone)]
pub struct Beside {
    /// `[r, in]`
    pub a: Tensor<2>,
    /// `[out, r]`, the scaling in it.
    pub b: Tensor<2>,
    /// The weight and B side by side, `[out, in + r]`; see [`Linear::joined`].
    wide: Option<Tensor<2>>,
}

impl Beside {
    /// Puts the factors beside a weight.
    ///
    /// # Shapes
    /// `a [r, in]`, `b [out, r]`, with the scaling in it.
    pub fn new(a: Tensor<2>, b: Tensor<2>) -> Beside {
        Beside { a, b, wide: None }
    }
}

impl Linear {
    /// Computes `x W^T + (x A^T) B^T + b`. The gradients that it has in a graph are those of the factors alone where only
    /// these learn: none of the size of the weight is computed.
    ///
    /// # Shapes
    /// `x [rows, in]` to `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = match &self.beside {
            None => x.matmul(self.weight.clone().transpose()),
            Some(Beside { a, b, wide }) => {
                let low = x.clone().matmul(a.clone().transpose()); // [rows, r]
                match wide {
                    Some(wide) => Tensor::cat(vec![x, low], 1).matmul(wide.clone().transpose()),
                    None => {
                        x.matmul(self.weight.clone().transpose())
                            + low.matmul(b.clone().transpose())
                    }
                }
            }
        };
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }

    /// Copies the weight and B into one matrix where fewer than 32 bits are computed in: one product then adds up both
    /// before it rounds. Two products would each be rounded, and what a small B adds would fall below the last place of
    /// what the weight gives.
    #[must_use]
    pub fn joined(mut self) -> Linear {
        let is_short = self.weight.dtype() != DType::F32;
        if let Some(beside) = self.beside.as_mut().filter(|b| is_short && b.wide.is_none()) {
            let both = vec![self.weight.clone(), beside.b.clone()];
            beside.wide = Some(Tensor::cat(both, 1));
        }
        self
    }

    /// The same layer in `dtype`.
    #[must_use]
    pub fn cast(self, dtype: DType) -> Linear {
        let beside = |Beside { a, b, .. }: Beside| Beside::new(a.cast(dtype), b.cast(dtype));
        Linear {
            weight: self.weight.cast(dtype),
            bias: self.bias.map(|bias| bias.cast(dtype)),
            beside: self.beside.map(beside),
        }
    }
}

/// Computes RMSNorm (Zhang and Sennrich 2019): `x / sqrt(mean(x^2) + eps) * weight`.
///
/// # Shapes
/// `x [rows, channels]`, `weight [channels]`.
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let scale = x.clone().square().mean_dim(1).add_scalar(eps).sqrt().recip(); // [rows, 1]
    (x * scale).cast(dtype) * weight.unsqueeze()
}

/// Computes `silu(gate) * up`, the gate of SwiGLU (Shazeer 2020).
///
/// # Shapes
/// `gate` and `up` `[rows, channels]`; returns the same.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    // One rounding, as in the reference, where the gate is one operation.
    let (dtype, gate) = (gate.dtype(), gate.cast(DType::F32));
    (gate.clone() * sigmoid(gate)).cast(dtype) * up
}

/// Applies the rotary embedding in the half-split form of the reference, computed in the type of the tables.
///
/// # Shapes
/// `x [rows, heads, head_dim]`, `cos` and `sin` `[rows, head_dim / 2]`.
pub fn rotary(x: Tensor<3>, cos: &Tensor<2>, sin: &Tensor<2>) -> Tensor<3> {
    let half = x.dims()[2] / 2;
    let dtype = x.dtype();
    let x = x.cast(cos.dtype());
    let (a, b) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let cos: Tensor<3> = cos.clone().unsqueeze_dim(1); // [rows, 1, half]
    let sin: Tensor<3> = sin.clone().unsqueeze_dim(1);
    let rotated = a.clone() * cos.clone() - b.clone() * sin.clone();
    Tensor::cat(vec![rotated, b * cos + a * sin], 2).cast(dtype)
}

/// Computes grouped-query attention (Ainslie et al. 2023).
///
/// # Shapes
/// `q [batch, queries, heads, head_dim]`, `k` and `v` `[batch, keys, kv_heads, head_dim]`;
/// `hidden`, if given, is true where a key must not be seen and is broadcastable to
/// `[batch * kv_heads, (heads / kv_heads) * queries, keys]`. Returns `[batch * queries, heads * head_dim]`.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<&Tensor<3, Bool>>,
) -> Tensor<2> {
    let [batch, queries, heads, head_dim] = q.dims();
    let [_, keys, kv_heads, _] = k.dims();
    let group = heads / kv_heads;
    // Queries that share a key head stand below each other, so keys are never repeated.
    let q = q.swap_dims(1, 2).reshape([batch * kv_heads, group * queries, head_dim]);
    let k = k.swap_dims(1, 2).reshape([batch * kv_heads, keys, head_dim]);
    let v = v.swap_dims(1, 2).reshape([batch * kv_heads, keys, head_dim]);
    let (dtype, scale) = (q.dtype(), 1.0 / (head_dim as f64).sqrt());
    let k = k.swap_dims(1, 2);
    // [batch * kv_heads, group * queries, keys]
    let mut scores = if dtype == DType::F32 {
        q.mul_scalar(scale).matmul(k)
    } else {
        // Queries are scaled in f32 only: in fewer bits that would round them once more.
        q.matmul(k).cast(DType::F32).mul_scalar(scale)
    };
    if let Some(hidden) = hidden {
        let mask = hidden.clone().expand(scores.dims());
        scores = scores.mask_fill(mask, f32::NEG_INFINITY);
    }
    let mixed = softmax(scores, 2).cast(dtype).matmul(v); // [batch * kv_heads, group * queries, head_dim]
    mixed
        .reshape([batch, heads, queries, head_dim])
        .swap_dims(1, 2)
        .reshape([batch * queries, heads * head_dim])
}

/// Makes the mask of causal attention for [`attention`], `[1, group * queries, queries]`.
pub fn causal_mask(queries: usize, group: usize, device: &burn::tensor::Device) -> Tensor<3, Bool> {
    let values: Vec<bool> = (0..group * queries)
        .flat_map(|row| (0..queries).map(move |key| key > row % queries))
        .collect();
    Tensor::from_data(TensorData::new(values, [1, group * queries, queries]), device)
}

/// Makes the mask of causal attention that also hides padding, on either side. A padded query sees itself, since a row
/// without any key has no softmax.
///
/// # Shapes
/// `attention_mask [batch][sequence]`, false at padding; returns `[batch * kv_heads, group * sequence, sequence]`.
pub fn padded_causal_mask(
    attention_mask: &[Vec<bool>],
    kv_heads: usize,
    group: usize,
    device: &burn::tensor::Device,
) -> Tensor<3, Bool> {
    let is_hidden =
        |row: &[bool], query: usize, key: usize| key > query || (!row[key] && key != query);
    batch_mask(attention_mask, kv_heads, group, device, is_hidden)
}

/// Makes the mask of causal attention in which a query sees only segment 0 and its own segment.
///
/// # Shapes
/// `segments [batch][sequence]`; returns `[batch * kv_heads, group * sequence, sequence]`.
pub fn segment_mask(
    segments: &[Vec<u32>],
    kv_heads: usize,
    group: usize,
    device: &burn::tensor::Device,
) -> Tensor<3, Bool> {
    let is_hidden = |row: &[u32], query: usize, key: usize| {
        key > query || (row[key] != 0 && row[key] != row[query])
    };
    batch_mask(segments, kv_heads, group, device, is_hidden)
}

/// Makes the rows `queries` of the mask of one sequence, against the keys before their end, which is all that they see.
/// It is made on the device, where there is no room for a long sequence's whole mask.
///
/// # Shapes
/// `segments [sequence]` as for [`segment_mask`], absent for plain causal attention; returns `[1, group * queries, keys]`.
pub fn block_mask(
    queries: Range<usize>,
    segments: Option<&Tensor<1, Int>>,
    group: usize,
    device: &burn::tensor::Device,
) -> Tensor<3, Bool> {
    let (num, keys) = (queries.len(), queries.end);
    let place = |range: Range<usize>| {
        Tensor::<1, Int>::arange(range.start as i64..range.end as i64, device)
    };
    let columns = |t: Tensor<1, Int>| t.reshape([1, keys]).expand([num, keys]);
    let rows = |t: Tensor<1, Int>| t.reshape([num, 1]).expand([num, keys]);
    let mut hidden = columns(place(0..keys)).greater(rows(place(queries.clone())));
    if let Some(segments) = segments {
        let of_keys = columns(segments.clone().narrow(0, 0, keys));
        let of_queries = rows(segments.clone().narrow(0, queries.start, num));
        let of_another = of_keys.clone().not_equal(of_queries);
        hidden = hidden.bool_or(of_another.bool_and(of_keys.not_equal_elem(0)));
    }
    hidden.reshape([1, num, keys]).repeat(&[1, group, 1])
}

/// Makes one mask for each row, the same for all its heads.
fn batch_mask<T>(
    rows: &[Vec<T>],
    kv_heads: usize,
    group: usize,
    device: &burn::tensor::Device,
    is_hidden: impl Fn(&[T], usize, usize) -> bool,
) -> Tensor<3, Bool> {
    let sequence = rows[0].len();
    let mut values = Vec::with_capacity(rows.len() * kv_heads * group * sequence * sequence);
    for row in rows {
        let start = values.len();
        for query in 0..sequence {
            values.extend((0..sequence).map(|key| is_hidden(row, query, key)));
        }
        let end = values.len();
        for _ in 1..kv_heads * group {
            values.extend_from_within(start..end);
        }
    }
    let shape = [rows.len() * kv_heads, group * sequence, sequence];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Computes the log-probability of `targets` under `logits`.
///
/// # Shapes
/// `logits [rows, vocabulary]`, `targets [rows]`; returns `[rows]`, in nats.
pub fn log_probs(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let rows = logits.dims()[0];
    log_softmax(logits, 1).gather(1, targets.unsqueeze_dim::<2>(1)).reshape([rows])
}

/// Computes the log-probability of `targets` under `logits`, and the entropy of each row's distribution.
///
/// # Shapes
/// `logits [rows, vocabulary]`, `targets [rows]`; returns two of `[rows]`, in nats.
pub fn log_probs_and_entropies(logits: Tensor<2>, targets: Tensor<1, Int>) -> [Tensor<1>; 2] {
    let rows = logits.dims()[0];
    let all = log_softmax(logits, 1);
    let entropies = (all.clone().exp() * all.clone()).sum_dim(1).neg();
    let log_probs = all.gather(1, targets.unsqueeze_dim::<2>(1));
    [log_probs, entropies].map(|column| column.reshape([rows]))
}
