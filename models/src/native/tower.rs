//! The vision tower and the patch merger on slices, forward and backward.
//!
//! Does not know the decoder. The patches of all pictures stand one after the other, each picture's in
//! window order; windows and frames are spans.

use std::collections::BTreeMap;

use super::attention::{Heads, Span};
use super::block::{Angles, Gradients, Linear, LinearGradient, Shape, Tape, Weights};
use super::gemm::{Mat, MatMut, product};
use super::kernels::{rms_norm, rms_norm_backward};
use super::room::Room;
use super::{HostGradients, Native, Parts};
use crate::qwen2_5_vl::config::VisionConfig;
use crate::qwen2_5_vl::names::TOWER;
use crate::qwen2_5_vl::rope::{Grid, vision_tables};
use crate::qwen2_5_vl::vision::WindowLayout;

/// RMSNorm's epsilon in the tower; the reference fixes it in code.
const EPS: f32 = 1e-6;

const PATCH_EMBED: &str = "visual.patch_embed.proj.weight";
const MERGER_NORM: &str = "visual.merger.ln_q.weight";
const MERGER_IN: &str = "visual.merger.mlp.0";
const MERGER_OUT: &str = "visual.merger.mlp.2";

/// The results of a forward pass through the tower that [`Native::tower_backward`] needs.
#[derive(Debug, Default)]
pub struct TowerPass {
    /// `[patches, patch_values]`, in the processor's order.
    patches: Vec<f32>,
    places: Arrangement,
    tapes: Vec<Tape>,
    /// After the last block, `[patches, hidden_size]`.
    x: Room,
    scales: Vec<f32>,
    normed: Vec<f32>,
    /// Before and after GELU.
    merged: Vec<f32>,
    active: Vec<f32>,
}

/// The patches of all pictures in window order: their angles, and which attend to each other.
#[derive(Debug, Default)]
struct Arrangement {
    cos: Vec<f32>,
    sin: Vec<f32>,
    windows: Vec<Span>,
    frames: Vec<Span>,
    /// Old patch of each new place, and old merged token likewise.
    order: Vec<usize>,
    token_order: Vec<usize>,
}

impl Arrangement {
    fn of(images: &[(&[f32], Grid)], config: &VisionConfig) -> Arrangement {
        let half = config.hidden_size / config.num_heads / 2;
        let mut all = Arrangement::default();
        let mut layouts: BTreeMap<Grid, (WindowLayout, Vec<f32>, Vec<f32>)> = BTreeMap::new();
        for &(_, grid) in images {
            let (layout, cos, sin) = layouts.entry(grid).or_insert_with(|| {
                let layout = WindowLayout::new(grid, config);
                let (cos, sin) = vision_tables(grid, config);
                let pick =
                    |table: &[f32]| rows_at(table, half, layout.order.iter().map(|&i| i as usize));
                let (cos, sin) = (pick(&cos), pick(&sin));
                (layout, cos, sin)
            });
            let start = all.order.len();
            all.cos.extend_from_slice(cos);
            all.sin.extend_from_slice(sin);
            for (segments, spans) in
                [(&layout.windows, &mut all.windows), (&layout.frames, &mut all.frames)]
            {
                for s in segments {
                    let span = |i| Span::plain(start + s.start + i * s.len, s.len, start);
                    spans.extend((0..s.count).map(span));
                }
            }
            all.order.extend(layout.order.iter().map(|&i| start + i as usize));
            let first_token = all.token_order.len();
            all.token_order.resize(first_token + layout.inverse.len(), 0);
            for (token, &place) in layout.inverse.iter().enumerate() {
                all.token_order[first_token + place as usize] = first_token + token;
            }
        }
        all
    }

    fn angles(&self) -> Angles<'_> {
        Angles { cos: &self.cos, sin: &self.sin }
    }

    /// Returns the patches that attend to each other in block `i`.
    fn spans(&self, config: &VisionConfig, i: usize) -> &[Span] {
        if config.fullatt_block_indexes.contains(&i) { &self.frames } else { &self.windows }
    }
}

/// Copies rows of `width` numbers in the order of their numbers `rows`.
fn rows_at(table: &[f32], width: usize, rows: impl Iterator<Item = usize>) -> Vec<f32> {
    rows.flat_map(|i| table[i * width..][..width].iter().copied()).collect()
}

/// Copies row `i` of `from` to row `to[i]`: the inverse of [`rows_at`].
fn scattered(from: &[f32], width: usize, to: &[usize]) -> Vec<f32> {
    let mut out = vec![0.0; from.len()];
    for (row, &i) in from.chunks_exact(width).zip(to) {
        out[i * width..][..width].copy_from_slice(row);
    }
    out
}

impl Native {
    /// Computes the features of pictures and videos in the order given.
    ///
    /// # Shapes
    /// Each item is patches `[num_patches * patch_values]`, row-major, with their grid; returns
    /// `[tokens of all pictures, hidden_size]` and what [`Native::tower_backward`] needs.
    pub fn image_features(&self, images: &[(&[f32], Grid)]) -> (Vec<f32>, TowerPass) {
        if images.is_empty() {
            return (Vec::new(), TowerPass::default());
        }
        let config = &self.config.vision_config;
        let (shape, hidden) = (self.tower_shape(), config.hidden_size);
        let places = Arrangement::of(images, config);
        let patches: Vec<f32> = images.iter().flat_map(|(p, _)| p.iter().copied()).collect();
        let rows = places.order.len();
        let mut embedded = vec![0.0; rows * hidden];
        let embedding =
            Linear { weight: self.slice(PATCH_EMBED), bias: None, inputs: patches.len() / rows };
        embedding.forward(&patches, rows, &mut embedded, hidden, false);
        let mut x = Room::copy(&rows_at(&embedded, hidden, places.order.iter().copied()));
        let tapes = (0..config.depth)
            .map(|i| {
                let spans = places.spans(config, i);
                self.tower_layer(i).forward(shape, &mut x, places.angles(), spans)
            })
            .collect();
        let mut pass = TowerPass { patches, places, tapes, x, ..TowerPass::default() };
        let features = self.merger(&mut pass);
        (features, pass)
    }

    /// Merges blocks of patches into tokens, `[tokens, hidden_size]`, and notes in `pass` what it computed on the way.
    fn merger(&self, pass: &mut TowerPass) -> Vec<f32> {
        let config = &self.config.vision_config;
        let (rows, tokens) = (pass.places.order.len(), pass.places.token_order.len());
        let (width, out) = (pass.x.len() / tokens, config.out_hidden_size);
        pass.normed = vec![0.0; pass.x.len()];
        pass.scales = vec![0.0; rows];
        rms_norm(&pass.x, self.slice(MERGER_NORM), EPS, &mut pass.normed, &mut pass.scales);
        let linear = |name: &str, x: &[f32], outputs: usize| {
            let mut y = vec![0.0; tokens * outputs];
            self.linear(name, width, true).forward(x, tokens, &mut y, outputs, false);
            y
        };
        pass.merged = linear(MERGER_IN, &pass.normed, width);
        pass.active = pass.merged.iter().map(|&x| gelu(x)).collect();
        scattered(&linear(MERGER_OUT, &pass.active, out), out, &pass.places.token_order)
    }

    /// Returns whether any parameter of the tower is not `frozen`.
    pub fn tower_learns(&self, frozen: &dyn Fn(&str) -> bool) -> bool {
        self.tensors.keys().any(|name| name.starts_with(TOWER) && !frozen(name))
    }

    /// Computes the gradients of all parameters of the tower that are not `frozen` from `dfeatures`, those of its
    /// features, `[tokens of all pictures, hidden_size]`.
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
        let places = &pass.places;
        let (rows, tokens) = (places.order.len(), places.token_order.len());
        let mut pool = self.zeros(|name| name.starts_with(TOWER) && !frozen(name));
        let dplaced = rows_at(dfeatures, out, places.token_order.iter().copied());
        let mut dactive = vec![0.0; tokens * width];
        let linear = self.linear(MERGER_OUT, width, true);
        let mut gradient = Parts::of(&mut pool, "").linear(MERGER_OUT);
        let dx = Some((&mut dactive[..], false));
        linear.backward(&dplaced, out, &pass.active, tokens, dx, gradient.as_mut());
        for (d, &x) in dactive.iter_mut().zip(&pass.merged) {
            *d *= gelu_slope(x);
        }
        let mut dnormed = vec![0.0; tokens * width];
        let linear = self.linear(MERGER_IN, width, true);
        let mut gradient = Parts::of(&mut pool, "").linear(MERGER_IN);
        let dx = Some((&mut dnormed[..], false));
        linear.backward(&dactive, width, &pass.normed, tokens, dx, gradient.as_mut());
        let mut d = Room::zeros(rows * hidden);
        let (norm, dnorm) =
            (self.slice(MERGER_NORM), pool.get_mut(MERGER_NORM).map(Vec::as_mut_slice));
        rms_norm_backward(&dnormed, &pass.x, norm, &pass.scales, &mut d, dnorm);

        for (i, tape) in pass.tapes.into_iter().enumerate().rev() {
            let (angles, spans) = (places.angles(), places.spans(config, i));
            let mut gradients = block(&mut Parts::of(&mut pool, &format!("visual.blocks.{i}.")));
            self.tower_layer(i).backward(shape, tape, &mut d, angles, spans, &mut gradients);
        }
        if let Some(dweight) = pool.get_mut(PATCH_EMBED) {
            let dim = pass.patches.len() / rows;
            let dembedded = scattered(&d, hidden, &places.order);
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

/// Takes the gradients of a block of the tower.
fn block<'a>(parts: &mut Parts<'a>) -> Gradients<'a> {
    let [q, k, v] = thirds(parts.take("attn.qkv.weight"));
    let [q_bias, k_bias, v_bias] = thirds(parts.take("attn.qkv.bias"));
    Gradients {
        norm1: parts.take("norm1.weight"),
        qkv: [(q, q_bias), (k, k_bias), (v, v_bias)]
            .map(|(weight, bias)| weight.map(|weight| LinearGradient { weight, bias })),
        out: parts.linear("attn.proj"),
        norm2: parts.take("norm2.weight"),
        gates: ["gate", "up"].map(|part| parts.linear(&format!("mlp.{part}_proj"))),
        down: parts.linear("mlp.down_proj"),
    }
}

/// Splits what is stored as one into its three parts: queries, keys and values.
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
