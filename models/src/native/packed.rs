//! Products of few rows with weights that are laid out once for many products.
//!
//! Does not know what the weights are. Products of many rows are [`super::gemm`]'s. A sum takes one input after the other,
//! so the rows beside it, and the width of the machine's vectors, change no bit of a result.

use super::vectors::{Simd, in_widest};

/// Outputs of a panel: two of the widest vectors.
const PANEL: usize = 32;

/// The weights of linear layers with the same inputs, side by side, in panels of [`PANEL`] outputs.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// `[panels, inputs, PANEL]`, with zeros behind the last output.
    panels: Vec<f32>,
    /// One number for each output; empty if there is no bias.
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Packed {
    /// Lays out weights of the layout `[outputs, inputs]`, each with its bias if it has one.
    pub(super) fn of(layers: &[(&[f32], Option<&[f32]>)], inputs: usize) -> Packed {
        let weights = || layers.iter().flat_map(|(weight, _)| weight.chunks_exact(inputs));
        let outputs = weights().count();
        let mut panels = vec![0.0; outputs.div_ceil(PANEL) * inputs * PANEL];
        for (output, row) in weights().enumerate() {
            let panel = &mut panels[output / PANEL * inputs * PANEL..][..inputs * PANEL];
            for (places, weight) in panel.chunks_exact_mut(PANEL).zip(row) {
                places[output % PANEL] = *weight;
            }
        }
        let bias = layers.iter().filter_map(|(_, bias)| *bias).flatten().copied().collect();
        Packed { panels, bias, inputs, outputs }
    }

    /// Number of outputs.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Computes `y = x W^T + b`, or adds it to `y` if `add`.
    ///
    /// # Shapes
    /// `x [rows, inputs]`, `y [rows, outputs]`.
    pub(super) fn apply(&self, x: &[f32], y: &mut [f32], add: bool) {
        assert_eq!(x.len() / self.inputs, y.len() / self.outputs, "a row of results for each row");
        panels(self, x, y, add);
    }
}

in_widest! {
    fn panels<S>(simd: S, weights: &Packed, x: &[f32], y: &mut [f32], add: bool) {
        let inputs = weights.inputs;
        for (i, panel) in weights.panels.chunks_exact(inputs * PANEL).enumerate() {
            let panel = Panel { weights: panel, first: i * PANEL, of: weights, add };
            // A vector of two at a time, where the widest are narrower.
            for at in (0..PANEL).step_by(2 * S::F32_LANES) {
                let (mut x, mut y) = (x, &mut *y);
                macro_rules! take {
                    ($rows:literal) => {
                        while x.len() >= $rows * inputs {
                            panel.rows::<S, $rows>(simd, at, x, y);
                            x = &x[$rows * inputs..];
                            y = &mut y[$rows * weights.outputs..];
                        }
                    };
                }
                take!(12);
                take!(4);
                take!(2);
                take!(1);
            }
        }
    }
}

/// One panel of weights.
struct Panel<'a> {
    /// `[inputs, PANEL]`.
    weights: &'a [f32],
    /// Number of its first output.
    first: usize,
    of: &'a Packed,
    add: bool,
}

impl Panel<'_> {
    /// Computes the outputs from `at` on that fill two vectors, of the first `ROWS` rows.
    #[inline(always)]
    fn rows<S: Simd, const ROWS: usize>(&self, simd: S, at: usize, x: &[f32], y: &mut [f32]) {
        let Packed { inputs, outputs, ref bias, .. } = *self.of;
        let rows: [&[f32]; ROWS] = std::array::from_fn(|r| &x[r * inputs..][..inputs]);
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        let first = at / S::F32_LANES;
        let weights = S::as_simd_f32s(self.weights).0.chunks_exact(PANEL / S::F32_LANES);
        for (input, weights) in weights.enumerate().take(inputs) {
            let weights = [weights[first], weights[first + 1]];
            for r in 0..ROWS {
                let x = simd.splat_f32s(rows[r][input]);
                for v in 0..2 {
                    sums[r][v] = simd.mul_add_f32s(x, weights[v], sums[r][v]);
                }
            }
        }
        for (v, from) in [self.first + at, self.first + at + S::F32_LANES].into_iter().enumerate() {
            if from >= outputs {
                break;
            }
            let end = outputs.min(from + S::F32_LANES);
            for r in 0..ROWS {
                let y = &mut y[r * outputs + from..r * outputs + end];
                let mut sum = sums[r][v];
                if self.add {
                    sum = simd.add_f32s(simd.partial_load_f32s(y), sum);
                }
                if !bias.is_empty() {
                    sum = simd.add_f32s(sum, simd.partial_load_f32s(&bias[from..end]));
                }
                simd.partial_store_f32s(y, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn results_are_sums_of_one_input_after_the_other_whatever_rows_are_beside(
            rows in 1usize..40, inputs in 1usize..70, outputs in prop::collection::vec(1usize..50, 1..4),
            has_bias in any::<bool>(), add in any::<bool>()
        ) {
            let numbers = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
            let weights: Vec<Vec<f32>> = outputs.iter().map(|o| numbers(o * inputs, 0.37)).collect();
            let bias: Vec<Vec<f32>> = outputs.iter().map(|o| numbers(*o, 1.7)).collect();
            let layers: Vec<_> =
                weights.iter().zip(&bias).map(|(w, b)| (&w[..], has_bias.then_some(&b[..]))).collect();
            let packed = Packed::of(&layers, inputs);
            let all = packed.outputs();
            prop_assert_eq!(all, outputs.iter().sum::<usize>());
            let (x, before) = (numbers(rows * inputs, 0.9), numbers(rows * all, 0.3));
            let mut got = before.clone();
            packed.apply(&x, &mut got, add);
            let (weights, bias) = (weights.concat(), bias.concat());
            for (i, got) in got.iter().enumerate() {
                let (row, output) = (i / all, i % all);
                let pairs = x[row * inputs..][..inputs].iter().zip(&weights[output * inputs..]);
                let mut want = pairs.fold(0.0_f32, |sum, (x, w)| x.mul_add(*w, sum));
                if add {
                    want += before[i];
                }
                if has_bias {
                    want += bias[output];
                }
                prop_assert_eq!(got.to_bits(), want.to_bits(), "row {}, output {}", row, output);
            }
        }
    }
}
