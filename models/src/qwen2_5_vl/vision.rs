//! The vision tower and the patch merger of Qwen2.5-VL (arXiv 2502.13923, section 2.1).
//!
//! Does not know text. Pictures of the same grid are computed together; window attention gathers
//! windows of equal size, so that no mask and no padding is needed.

use burn::tensor::activation::gelu;
use burn::tensor::{Tensor, TensorData};

use super::config::VisionConfig;
use super::rope::{Grid, vision_tables};
use crate::batch::index;
use crate::ops::{Linear, attention, rms_norm, rotary, swiglu};
use crate::weights::Parameters;

/// RMSNorm's epsilon in the tower; the reference fixes it in code.
const EPS: f64 = 1e-6;

/// The vision tower with its patch merger: patches in, one row of features for each merged token out.
#[derive(Debug, Clone)]
pub struct VisionTower {
    config: VisionConfig,
    patch_embed: Tensor<2>,
    blocks: Vec<Block>,
    merger_norm: Tensor<1>,
    merger_in: Linear,
    merger_out: Linear,
}

#[derive(Debug, Clone)]
struct Block {
    norm1: Tensor<1>,
    norm2: Tensor<1>,
    qkv: Linear,
    proj: Linear,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl VisionTower {
    pub(crate) fn new(config: &VisionConfig, p: &Parameters) -> VisionTower {
        let linear = |name: String| p.linear(&name, true);
        let block = |i: usize| {
            let b = format!("visual.blocks.{i}");
            Block {
                norm1: p.vector(&format!("{b}.norm1.weight")),
                norm2: p.vector(&format!("{b}.norm2.weight")),
                qkv: linear(format!("{b}.attn.qkv")),
                proj: linear(format!("{b}.attn.proj")),
                gate: linear(format!("{b}.mlp.gate_proj")),
                up: linear(format!("{b}.mlp.up_proj")),
                down: linear(format!("{b}.mlp.down_proj")),
            }
        };
        VisionTower {
            config: config.clone(),
            patch_embed: p.matrix("visual.patch_embed.proj.weight"),
            blocks: (0..config.depth).map(block).collect(),
            merger_norm: p.vector("visual.merger.ln_q.weight"),
            merger_in: linear("visual.merger.mlp.0".into()),
            merger_out: linear("visual.merger.mlp.2".into()),
        }
    }

    /// Makes the copies that [`crate::qwen2_5_vl::vlm::Vlm::prepared`] says.
    pub(crate) fn prepared(self) -> VisionTower {
        let block = |block: Block| Block {
            qkv: block.qkv.joined(),
            proj: block.proj.joined(),
            gate: block.gate.joined(),
            up: block.up.joined(),
            down: block.down.joined(),
            ..block
        };
        VisionTower {
            blocks: self.blocks.into_iter().map(block).collect(),
            merger_in: self.merger_in.joined(),
            merger_out: self.merger_out.joined(),
            ..self
        }
    }

    /// Computes the features of `images` pictures that share `grid`.
    ///
    /// # Shapes
    /// `patches [images * grid.num_patches(), channels * temporal * patch * patch]` in the
    /// processor's order and of any float type; returns `[images * tokens, out_hidden_size]` in reading order.
    pub fn forward(&self, patches: Tensor<2>, grid: Grid, images: usize) -> Tensor<2> {
        self.observed(patches, grid, images, |_| {})
    }

    /// Does the same as [`VisionTower::forward`]; `observe` gets the hidden states before the first block, in the
    /// processor's order, and after each block, in window order: `[images * patches, hidden_size]`.
    pub(crate) fn observed(
        &self,
        patches: Tensor<2>,
        grid: Grid,
        images: usize,
        mut observe: impl FnMut(&Tensor<2>),
    ) -> Tensor<2> {
        let device = patches.device();
        let n = grid.num_patches();
        let layout = WindowLayout::new(grid, &self.config);
        let hidden = self.config.hidden_size;

        let (cos, sin) = vision_tables(grid, &self.config);
        let order = layout.order.clone();
        let table = |values: Vec<f32>| -> Tensor<2> {
            let columns = values.len() / n;
            let table = Tensor::<2>::from_data(TensorData::new(values, [n, columns]), &device);
            table.select(0, index(order.clone(), &device)).repeat(&[images, 1]) // [images * n, head_dim / 2]
        };
        // In f32, in which the tower turns queries and keys whatever its weights are.
        let (cos, sin) = (table(cos), table(sin));

        let patches = patches.cast(self.patch_embed.dtype());
        let x = patches.matmul(self.patch_embed.clone().transpose()); // [images * n, hidden]
        observe(&x);
        // Tokens of a window stand together from here to the merger, as in the reference.
        let permute = |x: Tensor<2>, order: &[i64], rows: usize, width: usize| {
            let x = x.reshape([images, rows, width]).select(1, index(order.to_vec(), &device));
            x.reshape([images * rows, width])
        };
        let mut x = permute(x, &layout.order, n, hidden);
        for (i, block) in self.blocks.iter().enumerate() {
            let full = self.config.fullatt_block_indexes.contains(&i);
            let segments = if full { &layout.frames } else { &layout.windows };
            x = self.block(block, x, images, segments, &cos, &sin);
            observe(&x);
        }
        let unit = self.config.spatial_merge_size * self.config.spatial_merge_size;
        let x =
            rms_norm(x, self.merger_norm.clone(), EPS).reshape([images * n / unit, unit * hidden]);
        let x = self.merger_out.forward(gelu(self.merger_in.forward(x)));
        let out = self.config.out_hidden_size;
        permute(x, &layout.inverse, n / unit, out)
    }

    fn block(
        &self,
        block: &Block,
        x: Tensor<2>,
        images: usize,
        segments: &[Segment],
        cos: &Tensor<2>,
        sin: &Tensor<2>,
    ) -> Tensor<2> {
        let [rows, hidden] = x.dims();
        let heads = self.config.num_heads;
        let head_dim = hidden / heads;
        let qkv = block.qkv.forward(rms_norm(x.clone(), block.norm1.clone(), EPS));
        let part =
            |i: usize| qkv.clone().narrow(1, i * hidden, hidden).reshape([rows, heads, head_dim]);
        let q = rotary(part(0), cos, sin).reshape([images, rows / images, hidden]);
        let k = rotary(part(1), cos, sin).reshape([images, rows / images, hidden]);
        let v = part(2).reshape([images, rows / images, hidden]);
        let mixed = segments.iter().map(|s| {
            let cut = |t: &Tensor<3>| {
                let t = t.clone().narrow(1, s.start, s.count * s.len);
                t.reshape([images * s.count, s.len, heads, head_dim])
            };
            attention(cut(&q), cut(&k), cut(&v), None).reshape([images, s.count * s.len, hidden])
        });
        let mixed = Tensor::cat(mixed.collect(), 1).reshape([rows, hidden]);
        let x = x + block.proj.forward(mixed);
        let y = rms_norm(x.clone(), block.norm2.clone(), EPS);
        let gated = swiglu(block.gate.forward(y.clone()), block.up.forward(y));
        x + block.down.forward(gated)
    }
}

/// `count` stretches of `len` patches each, one after the other, that attend within themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) start: usize,
    pub(crate) count: usize,
    pub(crate) len: usize,
}

/// An order of one picture's patches in which windows are contiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WindowLayout {
    /// The old patch of each new place, `[patches]`.
    pub(crate) order: Vec<i64>,
    /// The place in window order of each merged token in reading order, `[tokens]`.
    pub(crate) inverse: Vec<i64>,
    pub(crate) windows: Vec<Segment>,
    pub(crate) frames: Vec<Segment>,
}

impl WindowLayout {
    /// Makes windows of `window_size` pixels over the merged tokens, cut off at the right and lower edge.
    pub(crate) fn new(grid: Grid, config: &VisionConfig) -> WindowLayout {
        let merge = config.spatial_merge_size;
        let unit = merge * merge;
        let side = config.window_size / merge / config.patch_size;
        let (h, w) = (grid.h / merge, grid.w / merge);
        let mut tokens = Vec::with_capacity(grid.num_tokens(merge));
        let mut windows: Vec<Segment> = Vec::new();
        for t in 0..grid.t {
            for top in (0..h).step_by(side) {
                for left in (0..w).step_by(side) {
                    let start = tokens.len();
                    for y in top..(top + side).min(h) {
                        tokens.extend((left..(left + side).min(w)).map(|x| (t * h + y) * w + x));
                    }
                    let len = (tokens.len() - start) * unit;
                    match windows.last_mut() {
                        Some(last) if last.len == len => last.count += 1,
                        _ => windows.push(Segment { start: start * unit, count: 1, len }),
                    }
                }
            }
        }
        let mut inverse = vec![0; tokens.len()];
        for (place, &token) in tokens.iter().enumerate() {
            inverse[token] = place as i64;
        }
        let order = tokens
            .iter()
            .flat_map(|&token| token * unit..(token + 1) * unit)
            .map(|p| p as i64)
            .collect();
        let frames = vec![Segment { start: 0, count: grid.t, len: grid.h * grid.w }];
        WindowLayout { order, inverse, windows, frames }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{Pictures, device, distance, json, model, tensors};
    use std::collections::BTreeMap;

    #[test]
    fn every_block_gives_the_hidden_states_of_the_reference() {
        #[derive(serde::Deserialize)]
        struct Call {
            inputs: Vec<String>,
        }
        #[derive(serde::Deserialize)]
        struct Calls {
            calls: BTreeMap<String, Call>,
        }
        let (config, parameters) = model("model-untied");
        let tower = VisionTower::new(&config.vision_config, &parameters);
        let (pictures, recorded) = (Pictures::read(), tensors("vision.safetensors"));
        let mut num_compared = 0;
        for (name, call) in json::<Calls>("vision.json").calls {
            let mut states: Vec<Vec<f32>> = vec![Vec::new(); config.vision_config.depth + 2];
            for input in &call.inputs {
                let (values, grid) = pictures.get(input);
                let patches = Tensor::<1>::from_floats(values, &device())
                    .reshape([grid.num_patches() as i32, -1]);
                let mut at = 0;
                let mut keep = |x: &Tensor<2>| {
                    states[at].extend(x.try_to_vec_as::<f32>().unwrap());
                    at += 1;
                };
                let merged = tower.observed(patches, grid, 1, &mut keep);
                keep(&merged);
            }
            let blocks = (0..config.vision_config.depth).map(|i| format!("block.{i}"));
            let names = std::iter::once("patch_embed".to_owned())
                .chain(blocks)
                .chain(["merger".to_owned()]);
            for (state, part) in states.iter().zip(names) {
                let apart = distance(state, &recorded[&format!("{name}.{part}")].1);
                assert!(apart < 1e-4, "{name}.{part}: {apart}");
                num_compared += 1;
            }
        }
        assert_eq!(num_compared, recorded.len());
    }

    #[test]
    fn a_pictures_features_depend_on_that_picture_alone() {
        let (config, parameters) = model("model-untied");
        let model = crate::qwen2_5_vl::vlm::Vlm::new(&config, &parameters);
        let pictures = Pictures::read();
        let names = ["a", "b", "c", "b", "b", "v"].map(str::to_owned);
        let together =
            model.image_features(&pictures.all(&names)).try_into_vec_as::<f32>().unwrap();
        let alone: Vec<f32> = names
            .iter()
            .flat_map(|n| {
                model.image_features(&[pictures.get(n)]).try_into_vec_as::<f32>().unwrap()
            })
            .collect();
        // Products of more rows round otherwise.
        assert!(distance(&together, &alone) < 5e-5);
    }

    #[test]
    fn windows_at_the_edge_are_smaller_and_order_is_a_permutation() {
        let config = crate::tests::fixtures::nano(300).vision_config; // windows of 2 x 2 tokens
        let layout = WindowLayout::new(Grid { t: 1, h: 6, w: 6 }, &config);
        let lens: Vec<_> = layout.windows.iter().map(|s| (s.count, s.len)).collect();
        assert_eq!(lens, [(1, 16), (2, 8), (1, 4)]);
        let mut sorted = layout.order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..36).collect::<Vec<i64>>());
        for (token, &place) in layout.inverse.iter().enumerate() {
            assert_eq!(layout.order[place as usize * 4] / 4, token as i64);
        }
    }
}
