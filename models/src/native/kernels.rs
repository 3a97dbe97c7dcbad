//! Operations on elements and rows, each forward and backward, in the widest vectors of the machine.
//!
//! Does not know layers. Each function is compiled once for every vector width and picked at run time;
//! sums go over [`LANES`] partial sums, so their order, and with it every bit, is the same for all.

use multiversion::multiversion;

use super::vectors::{LANES, Simd, exp, in_widest, largest, map, map_and_sum, sum_of};

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn normalize(x: &[f32], weight: &[f32], scale: f32, y: &mut [f32]) {
    for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
        *y = x * scale * w;
    }
}

/// Computes RMSNorm of every row of `x` (Zhang and Sennrich 2019); `scales` gets `1 / sqrt(mean(x^2) + eps)`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], scales: &mut [f32]) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(scales.iter_mut());
    for ((x, y), scale) in rows {
        *scale = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
        normalize(x, weight, *scale, y);
    }
}

/// Computes RMSNorm again from the scales that [`rms_norm`] found.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn rms_norm_again(x: &[f32], weight: &[f32], scales: &[f32], y: &mut [f32]) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(scales);
    for ((x, y), &scale) in rows {
        normalize(x, weight, scale, y);
    }
}

/// Adds to `dx`, and to `dweight` if it is wanted, the gradients that follow from `dy`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn rms_norm_backward(
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    scales: &[f32],
    dx: &mut [f32],
    mut dweight: Option<&mut [f32]>,
) {
    let width = weight.len();
    let rows = dy.chunks_exact(width).zip(x.chunks_exact(width)).zip(scales);
    for (((dy, x), &scale), dx) in rows.zip(dx.chunks_exact_mut(width)) {
        let mut sums = [0.0; LANES];
        for ((dy, x), w) in dy
            .as_chunks::<LANES>()
            .0
            .iter()
            .zip(x.as_chunks::<LANES>().0)
            .zip(weight.as_chunks::<LANES>().0)
        {
            for lane in 0..LANES {
                sums[lane] += dy[lane] * w[lane] * x[lane];
            }
        }
        let done = width / LANES * LANES;
        let mut along = sums.iter().sum::<f32>();
        for j in done..width {
            along += dy[j] * weight[j] * x[j];
        }
        let pull = along * scale * scale * scale / width as f32;
        for (((dx, dy), x), w) in dx.iter_mut().zip(dy).zip(x).zip(weight) {
            *dx += dy * w * scale - x * pull;
        }
        if let Some(dweight) = &mut dweight {
            for ((dw, dy), x) in dweight.iter_mut().zip(dy).zip(x) {
                *dw += dy * x * scale;
            }
        }
    }
}

/// Adds `bias` to every row.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn add_bias(y: &mut [f32], stride: usize, bias: &[f32]) {
    for row in y.chunks_mut(stride) {
        for (y, b) in row.iter_mut().zip(bias) {
            *y += b;
        }
    }
}

/// Adds the sum of all rows of `dy` to `dbias`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn add_columns(dy: &[f32], stride: usize, dbias: &mut [f32]) {
    for row in dy.chunks(stride) {
        for (db, dy) in dbias.iter_mut().zip(row) {
            *db += dy;
        }
    }
}

/// Computes `a += b`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// `silu(gate) * up`.
#[inline(always)]
fn gated<S: Simd>(simd: S, gate: S::f32s, up: S::f32s) -> S::f32s {
    let grown = simd.add_f32s(simd.splat_f32s(1.0), exp(simd, simd.neg_f32s(gate)));
    simd.mul_f32s(simd.div_f32s(gate, grown), up)
}

/// The gradients of gate and up that follow from `d`.
#[inline(always)]
fn gated_backward<S: Simd>(simd: S, gate: S::f32s, up: S::f32s, d: S::f32s) -> [S::f32s; 2] {
    let one = simd.splat_f32s(1.0);
    let sigmoid = simd.div_f32s(one, simd.add_f32s(one, exp(simd, simd.neg_f32s(gate))));
    let silu = simd.mul_f32s(gate, sigmoid);
    let slope = simd.mul_add_f32s(silu, simd.sub_f32s(one, sigmoid), sigmoid);
    [simd.mul_f32s(simd.mul_f32s(d, up), slope), simd.mul_f32s(d, silu)]
}

in_widest! {
    /// Computes `silu(gate) * up` (Shazeer 2020); a row of `gates` is the gate and then up.
    pub(crate) fn swiglu<S>(simd: S, gates: &[f32], width: usize, out: &mut [f32]) {
        for (row, out) in gates.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = row.split_at(width);
            let (gate, gate_rest) = S::as_simd_f32s(gate);
            let (up, up_rest) = S::as_simd_f32s(up);
            let (out, out_rest) = S::as_mut_simd_f32s(out);
            for ((out, &g), &u) in out.iter_mut().zip(gate).zip(up) {
                *out = gated(simd, g, u);
            }
            if !out_rest.is_empty() {
                let [g, u] = [gate_rest, up_rest].map(|rest| simd.partial_load_f32s(rest));
                simd.partial_store_f32s(out_rest, gated(simd, g, u));
            }
        }
    }
}

in_widest! {
    /// Replaces `gates` by their gradient.
    pub(crate) fn swiglu_backward<S>(simd: S, dout: &[f32], width: usize, gates: &mut [f32]) {
        for (row, dout) in gates.chunks_exact_mut(2 * width).zip(dout.chunks_exact(width)) {
            let (gate, up) = row.split_at_mut(width);
            let (gate, gate_rest) = S::as_mut_simd_f32s(gate);
            let (up, up_rest) = S::as_mut_simd_f32s(up);
            let (dout, dout_rest) = S::as_simd_f32s(dout);
            for ((g, u), &d) in gate.iter_mut().zip(up).zip(dout) {
                [*g, *u] = gated_backward(simd, *g, *u, d);
            }
            if !dout_rest.is_empty() {
                let [g, u] = gated_backward(
                    simd,
                    simd.partial_load_f32s(gate_rest),
                    simd.partial_load_f32s(up_rest),
                    simd.partial_load_f32s(dout_rest),
                );
                simd.partial_store_f32s(gate_rest, g);
                simd.partial_store_f32s(up_rest, u);
            }
        }
    }
}

/// Rotates each head of `head_dim` numbers in `columns` of every row by the row's angles, half-split;
/// `back` rotates the other way, which is also the gradient.
///
/// # Shapes
/// `cos` and `sin` `[rows, head_dim / 2]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn rotary(
    x: &mut [f32],
    stride: usize,
    columns: usize,
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
    back: bool,
) {
    let half = head_dim / 2;
    let sign = if back { -1.0 } else { 1.0 };
    let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
    for (row, (cos, sin)) in x.chunks_mut(stride).zip(angles) {
        for head in row[..columns].chunks_exact_mut(head_dim) {
            let (a, b) = head.split_at_mut(half);
            for (((a, b), c), s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                let s = s * sign;
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}

in_widest! {
    /// Computes the softmax of the first `valid` numbers of a row and sets the others to zero; returns the logarithm of the
    /// sum of exponentials.
    pub(crate) fn softmax<S>(simd: S, row: &mut [f32], valid: usize) -> f32 {
        let (row, hidden) = row.split_at_mut(valid);
        hidden.fill(0.0);
        let most = largest(simd, row);
        let at = simd.splat_f32s(most);
        let total = map_and_sum!(simd, row, |x| exp(simd, simd.sub_f32s(x, at)));
        let share = simd.splat_f32s(1.0 / total);
        map!(simd, row, |x| simd.mul_f32s(x, share));
        most + total.ln()
    }
}

in_widest! {
    /// Computes `exp(x - lse)` of the first `valid` numbers of a row and sets the others to zero.
    pub(crate) fn softmax_again<S>(simd: S, row: &mut [f32], valid: usize, lse: f32) {
        let (row, hidden) = row.split_at_mut(valid);
        hidden.fill(0.0);
        let lse = simd.splat_f32s(lse);
        map!(simd, row, |x| exp(simd, simd.sub_f32s(x, lse)));
    }
}

/// Computes the gradient of softmax: `dp = p * (dp - along) * scale`, `along` being the sum of `dp * p`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn softmax_backward(p: &[f32], dp: &mut [f32], along: f32, scale: f32) {
    for (dp, p) in dp.iter_mut().zip(p) {
        *dp = p * (*dp - along) * scale;
    }
}

/// Computes `a *= factor`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn scale(a: &mut [f32], factor: f32) {
    for a in a.iter_mut() {
        *a *= factor;
    }
}

/// Computes the sum of products of two rows.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn inner(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b)
}

/// Numbers whose exponentials are summed in f32, sixteen sums of 64 each; sums of so many are in f64. Of 150 000 small terms
/// beside a large one f32 alone would lose all that are below half a unit of its last place.
const SUMMED: usize = 1024;

/// Sums what is made of each number of a row: `sum!(simd, row, |x| …)`; see [`SUMMED`].
macro_rules! sum {
    ($simd:ident, $row:expr, |$x:ident| $made:expr) => {{
        let mut total = 0.0;
        for part in $row.chunks(SUMMED) {
            let mut sums = [$simd.splat_f32s(0.0); LANES];
            let (blocks, rest) = part.as_chunks::<LANES>();
            for block in blocks {
                for (&$x, sum) in S::as_simd_f32s(block).0.iter().zip(&mut sums) {
                    *sum = $simd.add_f32s(*sum, $made);
                }
            }
            total += f64::from(sum_of::<S>(&sums));
            for x in rest {
                let $x = $simd.splat_f32s(*x);
                let mut one = [0.0];
                $simd.partial_store_f32s(&mut one, $made);
                total += f64::from(one[0]);
            }
        }
        total
    }};
}

in_widest! {
    /// Computes the logarithm of the sum of exponentials of a row; NaN if a number of the row is NaN or the largest is not
    /// finite.
    pub(crate) fn log_sum_exp<S>(simd: S, row: &[f32]) -> f32 {
        let most = largest(simd, row);
        if !most.is_finite() || row.iter().any(|x| x.is_nan()) {
            return f32::NAN;
        }
        let at = simd.splat_f32s(most);
        let total = sum!(simd, row, |x| exp(simd, simd.sub_f32s(x, at)));
        most + total.ln() as f32
    }
}

in_widest! {
    /// Computes the entropy in nats of the softmax of a row whose [`log_sum_exp`] is `lse`: the sum of `p (lse - x)`, whose
    /// terms are all 0 or more, so that none cancels another.
    pub(crate) fn entropy<S>(simd: S, row: &[f32], lse: f32) -> f32 {
        let at = simd.splat_f32s(lse);
        sum!(simd, row, |x| {
            let log_p = simd.sub_f32s(x, at);
            simd.mul_f32s(exp(simd, log_p), simd.neg_f32s(log_p))
        }) as f32
    }
}

in_widest! {
    /// Replaces a row of logits by the gradient of `along * log p(target) + of_entropy * entropy`, but for `along` at the
    /// target: `-p (along + of_entropy (log p + entropy))`.
    pub(crate) fn entropy_backward<S>(
        simd: S,
        row: &mut [f32],
        lse: f32,
        entropy: f32,
        along: f32,
        of_entropy: f32,
    ) {
        let (lse, entropy) = (simd.splat_f32s(lse), simd.splat_f32s(entropy));
        let (along, of_entropy) = (simd.splat_f32s(along), simd.splat_f32s(of_entropy));
        map!(simd, row, |x| {
            let log_p = simd.sub_f32s(x, lse);
            let slope = simd.mul_add_f32s(of_entropy, simd.add_f32s(log_p, entropy), along);
            simd.neg_f32s(simd.mul_f32s(exp(simd, log_p), slope))
        });
    }
}

in_widest! {
    /// Replaces each number of a row by `exp((x - largest) * scale)`, where `largest` is the row's.
    pub(crate) fn exponentials<S>(simd: S, row: &mut [f32], scale: f32) {
        let (most, scale) = (simd.splat_f32s(largest(simd, row)), simd.splat_f32s(scale));
        map!(simd, row, |x| exp(simd, simd.mul_f32s(simd.sub_f32s(x, most), scale)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entropy_of_small_cases_and_its_gradient_are_those_of_a_hand() {
        // Probabilities 1/2, 1/4, 1/8 and 1/8: 1.75 bits.
        let row: Vec<f32> = [0.5_f32, 0.25, 0.125, 0.125].iter().map(|p| p.ln() + 3.0).collect();
        let lse = log_sum_exp(&row);
        assert!((entropy(&row, lse) - 1.75 * std::f32::consts::LN_2).abs() < 1e-6);
        assert!((entropy(&[2.0; 37], log_sum_exp(&[2.0; 37])) - (37.0_f32).ln()).abs() < 1e-5);
        // Next to nothing but one token.
        let sure = [60.0, 0.0, 0.0];
        assert!(entropy(&sure, log_sum_exp(&sure)).abs() < 1e-6);

        let at = |row: &[f32]| {
            let lse = log_sum_exp(row);
            f64::from(0.7 * (row[2] - lse) - 1.3 * entropy(row, lse))
        };
        let mut gradient = row.clone();
        entropy_backward(&mut gradient, lse, entropy(&row, lse), 0.7, -1.3);
        gradient[2] += 0.7;
        for i in 0..row.len() {
            let moved = |by: f32| {
                let mut row = row.clone();
                row[i] += by;
                at(&row)
            };
            let want = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((f64::from(gradient[i]) - want).abs() < 1e-4, "{i}: {} {want}", gradient[i]);
        }
    }

    #[test]
    fn softmax_of_equal_numbers_is_even_and_hides_what_is_not_valid() {
        let mut row = [3.0; 20];
        let lse = softmax(&mut row, 16);
        assert!((lse - 3.0 - 16f32.ln()).abs() < 1e-6);
        assert!(row[..16].iter().all(|p| (p - 1.0 / 16.0).abs() < 1e-7));
        assert_eq!(row[16..], [0.0; 4]);
    }
}
