//! The vision tower and the patch merger on slices, forward and backward.
//!
//! Does not know the decoder. The patches of all pictures stand one after the other, each picture's in
//! window order; windows and frames are spans.

use std::collections::BTreeMap;

use super::attention::{Heads, Span};
use super::block::{Angles, Gradients, Linear, Shape, Tape, Weights};
use super::gemm::{Mat, MatMut, product};
use super::kernels::{rms_norm, rms_norm_backward};
use super::{HostGradients, Native, TOWER, lend, pair};
use crate::rope::{Grid, vision_tables};
use crate::vision::WindowLayout;

/// RMSNorm's epsilon in the tower; the reference fixes it in code.
const EPS: f32 = 1e-6;

/// What the way back through the tower needs.
#[derive(Debug, Default)]
pub struct TowerPass {
    patches: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
    windows: Vec<Span>,
    frames: Vec<Span>,
    /// New place to old patch, and to old merged token.
    order: Vec<usize>,
    token_order: Vec<usize>,
    tapes: Vec<Tape>,
    x: Vec<f32>,
    scales: Vec<f32>,
    normed: Vec<f32>,
    /// Before and after GELU.
    merged: Vec<f32>,
    active: Vec<f32>,
}

impl Native {
    /// Features of pictures and videos in the order given, `[tokens, hidden_size]`, and what
    /// [`Native::tower_backward`] needs.
    pub fn image_features(&self, images: &[(&[f32], Grid)]) -> (Vec<f32>, TowerPass) {
        if images.is_empty() {
            return (Vec::new(), TowerPass::default());
        }
        let config = &self.config.vision_config;
        let shape = self.tower_shape();
        let merge = config.spatial_merge_size;
        let unit = merge * merge;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        let (mut windows, mut frames) = (Vec::new(), Vec::new());
        let (mut order, mut token_order) = (Vec::new(), Vec::new());
        let half = shape.heads.head_dim / 2;
        let mut layouts: BTreeMap<Grid, (WindowLayout, Vec<f32>, Vec<f32>)> = BTreeMap::new();
        for &(_, grid) in images {
            let (layout, c, s) = layouts.entry(grid).or_insert_with(|| {
                let layout = WindowLayout::new(grid, config);
                let (c, s) = vision_tables(grid, config);
                let pick = |table: &[f32]| -> Vec<f32> {
                    let rows = layout.order.iter().map(|&i| &table[i as usize * half..][..half]);
                    rows.flatten().copied().collect()
                };
                let (c, s) = (pick(&c), pick(&s));
                (layout, c, s)
            });
            let start = order.len();
            cos.extend_from_slice(c);
            sin.extend_from_slice(s);
            layout.push_spans(start, &mut windows, &mut frames);
            order.extend(layout.order.iter().map(|&i| start + i as usize));
            let first_token = token_order.len();
            token_order.resize(first_token + layout.inverse.len(), 0);
            for (token, &place) in layout.inverse.iter().enumerate() {
                token_order[first_token + place as usize] = first_token + token;
            }
        }
        let patches: Vec<f32> = images.iter().flat_map(|(p, _)| p.iter().copied()).collect();
        let rows = order.len();
        let dim = patches.len() / rows;
        let hidden = config.hidden_size;
        let mut embedded = vec![0.0; rows * hidden];
        let embedding = Linear {
            weight: self.slice("visual.patch_embed.proj.weight"),
            bias: None,
            inputs: dim,
        };
        embedding.forward(&patches, rows, &mut embedded, hidden, false);
        let mut x: Vec<f32> =
            order.iter().flat_map(|&i| embedded[i * hidden..][..hidden].iter().copied()).collect();
        let angles = Angles { cos: &cos, sin: &sin };
        let tapes: Vec<Tape> = (0..config.depth)
            .map(|i| {
                let spans =
                    if config.fullatt_block_indexes.contains(&i) { &frames } else { &windows };
                self.tower_layer(i).forward(shape, &mut x, angles, spans)
            })
            .collect();

        let mut normed = vec![0.0; x.len()];
        let mut scales = vec![0.0; rows];
        let norm = self.slice("visual.merger.ln_q.weight");
        rms_norm(&x, norm, shape.eps, &mut normed, &mut scales);
        let (tokens, width) = (rows / unit, unit * hidden);
        let mut merged = vec![0.0; tokens * width];
        self.linear("visual.merger.mlp.0", width, true).forward(
            &normed,
            tokens,
            &mut merged,
            width,
            false,
        );
        let active: Vec<f32> = merged.iter().map(|&x| gelu(x)).collect();
        let out = config.out_hidden_size;
        let mut placed = vec![0.0; tokens * out];
        self.linear("visual.merger.mlp.2", width, true).forward(
            &active,
            tokens,
            &mut placed,
            out,
            false,
        );
        let mut features = vec![0.0; tokens * out];
        for (row, &token) in placed.chunks_exact(out).zip(&token_order) {
            features[token * out..][..out].copy_from_slice(row);
        }
        let pass = TowerPass {
            patches,
            cos,
            sin,
            windows,
            frames,
            order,
            token_order,
            tapes,
            x,
            scales,
            normed,
            merged,
            active,
        };
        (features, pass)
    }

    /// Whether any parameter of the tower is not `frozen`.
    pub fn tower_learns(&self, frozen: &dyn Fn(&str) -> bool) -> bool {
        self.tensors.keys().any(|name| name.starts_with(TOWER) && !frozen(name))
    }

    /// Gradients of all parameters of the tower that are not `frozen`, from those of its features.
    pub fn tower_backward(
        &self,
        pass: TowerPass,
        dfeatures: &[f32],
        frozen: &dyn Fn(&str) -> bool,
    ) -> HostGradients {
        let config = &self.config.vision_config;
        let shape = self.tower_shape();
        let (hidden, out) = (config.hidden_size, config.out_hidden_size);
        let width = hidden * config.spatial_merge_size * config.spatial_merge_size;
        let (rows, tokens) = (pass.order.len(), pass.token_order.len());
        let mut pool = self.zeros(|name| name.starts_with(TOWER) && !frozen(name));
        let mut linear =
            |name: &str, inputs, dy: &[f32], stride, x: &[f32], rows, dx: &mut [f32]| {
                let names = [format!("{name}.weight"), format!("{name}.bias")];
                lend(&mut pool, names, |[weight, bias]| {
                    let mut gradient = pair(weight, bias);
                    let layer = self.linear(name, inputs, true);
                    layer.backward(dy, stride, x, rows, Some(dx), gradient.as_mut());
                });
            };

        let mut dplaced = vec![0.0; tokens * out];
        for (row, &token) in dplaced.chunks_exact_mut(out).zip(&pass.token_order) {
            row.copy_from_slice(&dfeatures[token * out..][..out]);
        }
        let mut dactive = vec![0.0; tokens * width];
        linear("visual.merger.mlp.2", width, &dplaced, out, &pass.active, tokens, &mut dactive);
        for (d, &x) in dactive.iter_mut().zip(&pass.merged) {
            *d *= gelu_slope(x);
        }
        let mut dnormed = vec![0.0; tokens * width];
        linear("visual.merger.mlp.0", width, &dactive, width, &pass.normed, tokens, &mut dnormed);
        let mut d = vec![0.0; rows * hidden];
        let name = "visual.merger.ln_q.weight";
        let norm = self.slice(name);
        lend(&mut pool, [name.to_owned()], |[dnorm]| {
            rms_norm_backward(&dnormed, &pass.x, norm, &pass.scales, &mut d, dnorm);
        });

        let angles = Angles { cos: &pass.cos, sin: &pass.sin };
        for (i, tape) in pass.tapes.into_iter().enumerate().rev() {
            let full = config.fullatt_block_indexes.contains(&i);
            let spans = if full { &pass.frames } else { &pass.windows };
            lend(&mut pool, tower_names(i), |parts| {
                let mut gradients = tower_gradients_of(parts);
                self.tower_layer(i).backward(shape, tape, &mut d, angles, spans, &mut gradients);
            });
        }
        if let Some(dweight) = pool.get_mut("visual.patch_embed.proj.weight") {
            let dim = pass.patches.len() / rows;
            let mut dembedded = vec![0.0; d.len()];
            for (row, &i) in d.chunks_exact(hidden).zip(&pass.order) {
                dembedded[i * hidden..][..hidden].copy_from_slice(row);
            }
            product(
                MatMut::new(dweight, hidden, dim, dim),
                Mat::new(&dembedded, rows, hidden, hidden).t(),
                Mat::new(&pass.patches, rows, dim, dim),
                1.0,
                true,
            );
        }
        pool
    }

    fn tower_shape(&self) -> Shape {
        let c = &self.config.vision_config;
        let heads = Heads {
            heads: c.num_heads,
            kv_heads: c.num_heads,
            head_dim: c.hidden_size / c.num_heads,
        };
        Shape { hidden: c.hidden_size, inner: c.intermediate_size, heads, eps: EPS }
    }

    fn tower_layer(&self, i: usize) -> Weights<'_> {
        let c = &self.config.vision_config;
        let (hidden, name) = (c.hidden_size, format!("visual.blocks.{i}"));
        let all = self.linear(&format!("{name}.attn.qkv"), hidden, true);
        let qkv = |part: usize| Linear {
            weight: &all.weight[part * hidden * hidden..][..hidden * hidden],
            bias: all.bias.map(|b| &b[part * hidden..][..hidden]),
            inputs: hidden,
        };
        let gate = |part: &str| self.linear(&format!("{name}.mlp.{part}_proj"), hidden, true);
        Weights {
            norm1: self.slice(&format!("{name}.norm1.weight")),
            qkv: [0, 1, 2].map(qkv),
            out: self.linear(&format!("{name}.attn.proj"), hidden, true),
            norm2: self.slice(&format!("{name}.norm2.weight")),
            gates: ["gate", "up"].map(gate),
            down: self.linear(&format!("{name}.mlp.down_proj"), c.intermediate_size, true),
        }
    }
}

/// Names of a tower block's parameters, in the order of [`tower_gradients_of`].
fn tower_names(i: usize) -> [String; 12] {
    [
        "norm1.weight",
        "attn.qkv.weight",
        "attn.qkv.bias",
        "attn.proj.weight",
        "attn.proj.bias",
        "norm2.weight",
        "mlp.gate_proj.weight",
        "mlp.gate_proj.bias",
        "mlp.up_proj.weight",
        "mlp.up_proj.bias",
        "mlp.down_proj.weight",
        "mlp.down_proj.bias",
    ]
    .map(|part| format!("visual.blocks.{i}.{part}"))
}

fn tower_gradients_of(parts: [Option<&mut [f32]>; 12]) -> Gradients<'_> {
    let [norm1, qkv, qkv_b, out, out_b, norm2, gate, gate_b, up, up_b, down, down_b] = parts;
    let ([q, k, v], [q_b, k_b, v_b]) = (thirds(qkv), thirds(qkv_b));
    Gradients {
        norm1,
        qkv: [pair(q, q_b), pair(k, k_b), pair(v, v_b)],
        out: pair(out, out_b),
        norm2,
        gates: [pair(gate, gate_b), pair(up, up_b)],
        down: pair(down, down_b),
    }
}

/// The three parts of what is stored as one.
fn thirds(all: Option<&mut [f32]>) -> [Option<&mut [f32]>; 3] {
    let Some(all) = all else { return [None, None, None] };
    let len = all.len() / 3;
    let (first, rest) = all.split_at_mut(len);
    let (second, third) = rest.split_at_mut(len);
    [Some(first), Some(second), Some(third)]
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}

fn gelu_slope(x: f32) -> f32 {
    let density = (-0.5 * x * x).exp() * 0.398_942_3;
    0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density
}
