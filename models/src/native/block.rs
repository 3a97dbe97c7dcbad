//! One transformer block, of the decoder or of the tower, forward and backward on slices.
//!
//! Does not know names: it gets weights and places for their gradients. The forward pass stores what is expensive
//! (inputs, queries and keys, gates); the backward pass computes again what is cheap (normalized rows,
//! attention weights, the product of gates).

use super::attention::{self, Heads, Span};
use super::gemm::{Mat, MatMut, product};
use super::kernels::{
    add_bias, add_columns, rms_norm, rms_norm_again, rms_norm_backward, rotary, swiglu,
    swiglu_backward,
};
use super::room::Room;

/// A linear layer in PyTorch's layout: weight `[out, in]`, bias `[out]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) inputs: usize,
}

/// The gradient of a linear layer, to be added to.
#[derive(Debug)]
pub(crate) struct LinearGradient<'a> {
    pub(crate) weight: &'a mut [f32],
    pub(crate) bias: Option<&'a mut [f32]>,
}

/// Sizes of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) hidden: usize,
    pub(crate) inner: usize,
    pub(crate) heads: Heads,
    pub(crate) eps: f32,
}

/// The weights of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) norm1: &'a [f32],
    /// Queries, keys and values.
    pub(crate) qkv: [Linear<'a>; 3],
    pub(crate) out: Linear<'a>,
    pub(crate) norm2: &'a [f32],
    /// Gate and up.
    pub(crate) gates: [Linear<'a>; 2],
    pub(crate) down: Linear<'a>,
}

/// The gradients of a block's weights, to be added to; `None` where one is not wanted.
#[derive(Debug, Default)]
pub(crate) struct Gradients<'a> {
    pub(crate) norm1: Option<&'a mut [f32]>,
    pub(crate) qkv: [Option<LinearGradient<'a>>; 3],
    pub(crate) out: Option<LinearGradient<'a>>,
    pub(crate) norm2: Option<&'a mut [f32]>,
    pub(crate) gates: [Option<LinearGradient<'a>>; 2],
    pub(crate) down: Option<LinearGradient<'a>>,
}

/// The results of a forward pass that the backward pass through one block needs.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    x: Room,
    scales1: Room,
    /// Queries and keys rotated.
    qkv: Room,
    lse: Room,
    mixed: Room,
    x2: Room,
    scales2: Room,
    gates: Room,
}

impl Tape {
    /// Returns queries, keys and values, queries and keys rotated: `[rows, width]`.
    pub(crate) fn qkv(&self) -> &[f32] {
        &self.qkv
    }
}

/// Cosines and sines of every row, `[rows, head_dim / 2]` each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Angles<'a> {
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
}

impl Linear<'_> {
    fn outputs(&self) -> usize {
        self.weight.len() / self.inputs
    }

    /// Computes `y = x W^T + b` for `rows` rows, or adds to `y` if `add_to`. Rows of `y` begin `stride` apart.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        rows: usize,
        y: &mut [f32],
        stride: usize,
        add_to: bool,
    ) {
        let outputs = self.outputs();
        product(
            MatMut::new(y, rows, outputs, stride),
            Mat::new(x, rows, self.inputs, self.inputs),
            Mat::new(self.weight, outputs, self.inputs, self.inputs).t(),
            1.0,
            add_to,
        );
        if let Some(bias) = self.bias {
            add_bias(y, stride, bias);
        }
    }

    /// Computes the gradients that follow from `dy`, whose rows begin `stride` apart: `dx`, added to what is there if its
    /// second part says so, and `gradient`, added to always.
    pub(crate) fn backward(
        &self,
        dy: &[f32],
        stride: usize,
        x: &[f32],
        rows: usize,
        dx: Option<(&mut [f32], bool)>,
        gradient: Option<&mut LinearGradient<'_>>,
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs());
        let dy_rows = Mat::new(dy, rows, outputs, stride);
        if let Some((dx, add)) = dx {
            let weight = Mat::new(self.weight, outputs, inputs, inputs);
            product(MatMut::new(dx, rows, inputs, inputs), dy_rows, weight, 1.0, add);
        }
        if let Some(gradient) = gradient {
            let dweight = MatMut::new(gradient.weight, outputs, inputs, inputs);
            product(dweight, dy_rows.t(), Mat::new(x, rows, inputs, inputs), 1.0, true);
            if let Some(dbias) = &mut gradient.bias {
                add_columns(dy, stride, dbias);
            }
        }
    }
}

impl Weights<'_> {
    /// Replaces `x [rows, hidden]` by the output of the block.
    pub(crate) fn forward(
        &self,
        shape: Shape,
        x: &mut Room,
        angles: Angles<'_>,
        spans: &[Span],
    ) -> Tape {
        let rows = x.len() / shape.hidden;
        let mut room = Scratch::new(shape, rows);
        rms_norm(x, self.norm1, shape.eps, &mut room.y, &mut room.scales);
        let scales1 = Room::copy(&room.scales);
        self.queries(&room.y, rows, shape.heads, angles, &mut room.qkv);
        let mut lse = Room::of(rows * shape.heads.heads);
        attention::forward(&room.qkv, shape.heads, spans, &mut room.mixed, &mut lse);
        let mut x2 = Room::copy(x);
        self.out.forward(&room.mixed, rows, &mut x2, shape.hidden, true);
        let mut out = Room::copy(&x2);
        self.feed_forward(shape, &mut out, &mut room);
        let x = std::mem::replace(x, out);
        let Scratch { scales: scales2, qkv, mixed, gates, .. } = room;
        Tape { x, scales1, qkv, lse, mixed, x2, scales2, gates }
    }

    /// Computes queries, keys and values of normalized rows, and rotates queries and keys by their angles.
    pub(crate) fn queries(
        &self,
        y: &[f32],
        rows: usize,
        heads: Heads,
        angles: Angles<'_>,
        qkv: &mut [f32],
    ) {
        let width = heads.width();
        let mut column = 0;
        for linear in &self.qkv {
            linear.forward(y, rows, &mut qkv[column..], width, false);
            column += linear.outputs();
        }
        let turned = (heads.heads + heads.kv_heads) * heads.head_dim;
        rotary(qkv, width, turned, heads.head_dim, angles.cos, angles.sin, false);
    }

    /// Replaces `d`, the gradient of the block's output, by that of its input, and adds those of the weights.
    pub(crate) fn backward(
        &self,
        shape: Shape,
        tape: Tape,
        d: &mut [f32],
        angles: Angles<'_>,
        spans: &[Span],
        gradients: &mut Gradients<'_>,
    ) {
        let rows = d.len() / shape.hidden;
        let (heads, inner, hidden) = (shape.heads, shape.inner, shape.hidden);
        let Tape { x, scales1, qkv, lse, mixed, x2, scales2, mut gates } = tape;

        let mut act = Room::of(rows * inner);
        swiglu(&gates, inner, &mut act);
        let mut dact = Room::of(rows * inner);
        self.down.backward(
            d,
            hidden,
            &act,
            rows,
            Some((&mut dact, false)),
            gradients.down.as_mut(),
        );
        swiglu_backward(&dact, inner, &mut gates);
        let mut y = Room::of(rows * hidden);
        rms_norm_again(&x2, self.norm2, &scales2, &mut y);
        let mut dy = Room::of(rows * hidden);
        for (part, (linear, gradient)) in self.gates.iter().zip(&mut gradients.gates).enumerate() {
            let dgate = &gates[part * inner..];
            linear.backward(
                dgate,
                2 * inner,
                &y,
                rows,
                Some((&mut dy, part > 0)),
                gradient.as_mut(),
            );
        }
        rms_norm_backward(&dy, &x2, self.norm2, &scales2, d, gradients.norm2.as_deref_mut());

        let mut dmixed = Room::of(rows * heads.out());
        self.out.backward(
            d,
            hidden,
            &mixed,
            rows,
            Some((&mut dmixed, false)),
            gradients.out.as_mut(),
        );
        let mut dqkv = Room::zeros(qkv.len());
        attention::backward(&qkv, heads, spans, &mixed, &lse, &dmixed, &mut dqkv);
        let turned = (heads.heads + heads.kv_heads) * heads.head_dim;
        rotary(&mut dqkv, heads.width(), turned, heads.head_dim, angles.cos, angles.sin, true);
        rms_norm_again(&x, self.norm1, &scales1, &mut y);
        let mut column = 0;
        for (linear, gradient) in self.qkv.iter().zip(&mut gradients.qkv) {
            let d = &dqkv[column..];
            linear.backward(
                d,
                heads.width(),
                &y,
                rows,
                Some((&mut dy, column > 0)),
                gradient.as_mut(),
            );
            column += linear.outputs();
        }
        rms_norm_backward(&dy, &x, self.norm1, &scales1, d, gradients.norm1.as_deref_mut());
    }

    /// Computes the feed-forward half of the block: `x` becomes `x + down(silu(gate) * up)`.
    pub(crate) fn feed_forward(&self, shape: Shape, x: &mut [f32], scratch: &mut Scratch) {
        let rows = x.len() / shape.hidden;
        let inner = shape.inner;
        let Scratch { y, scales, gates, act, .. } = scratch;
        rms_norm(x, self.norm2, shape.eps, y, scales);
        for (part, linear) in self.gates.iter().enumerate() {
            linear.forward(y, rows, &mut gates[part * inner..], 2 * inner, false);
        }
        swiglu(gates, inner, act);
        self.down.forward(act, rows, x, shape.hidden, true);
    }
}

/// Memory for the intermediate results of a block.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) y: Room,
    pub(crate) scales: Room,
    pub(crate) qkv: Room,
    pub(crate) mixed: Room,
    pub(crate) gates: Room,
    pub(crate) act: Room,
}

impl Scratch {
    /// Memory for so many rows; what it holds is of no meaning yet.
    pub(crate) fn new(shape: Shape, rows: usize) -> Scratch {
        Scratch {
            y: Room::of(rows * shape.hidden),
            scales: Room::of(rows),
            qkv: Room::of(rows * shape.heads.width()),
            mixed: Room::of(rows * shape.heads.out()),
            gates: Room::of(rows * 2 * shape.inner),
            act: Room::of(rows * shape.inner),
        }
    }
}
