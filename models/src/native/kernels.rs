//! Operations on elements and rows, each forward and backward, in the widest vectors of the machine.
//!
//! Does not know layers. Each function is compiled once for every vector width and picked at run time;
//! sums go over [`LANES`] partial sums, so their order, and with it every bit, is the same for all.

use multiversion::multiversion;

/// Partial sums of a reduction.
const LANES: usize = 16;

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
fn sum(a: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, rest) = a.as_chunks::<LANES>();
    for a in a {
        for lane in 0..LANES {
            sums[lane] += a[lane];
        }
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[inline(always)]
fn largest(a: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (a, rest) = a.as_chunks::<LANES>();
    for a in a {
        for lane in 0..LANES {
            most[lane] = if a[lane] > most[lane] { a[lane] } else { most[lane] };
        }
    }
    most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
fn normalize(x: &[f32], weight: &[f32], scale: f32, y: &mut [f32]) {
    for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
        *y = x * scale * w;
    }
}

/// Computes `e^x` to two units in the last place: 2^n times a polynomial on half a binary logarithm around zero
/// (the coefficients of Cephes' `expf`). Below -87 and above 88 it stays constant.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_65;
    let p = p * r + 0.5;
    (p * r * r + r + 1.0) * f32::from_bits(((n as i32 + 127) as u32) << 23)
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

/// Computes `silu(gate) * up` (Shazeer 2020); a row of `gates` is the gate and then up.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn swiglu(gates: &[f32], width: usize, out: &mut [f32]) {
    for (row, out) in gates.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
        let (gate, up) = row.split_at(width);
        for ((out, &g), u) in out.iter_mut().zip(gate).zip(up) {
            *out = g / (1.0 + exp(-g)) * u;
        }
    }
}

/// Replaces `gates` by their gradient.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn swiglu_backward(dout: &[f32], width: usize, gates: &mut [f32]) {
    for (row, dout) in gates.chunks_exact_mut(2 * width).zip(dout.chunks_exact(width)) {
        let (gate, up) = row.split_at_mut(width);
        for ((g, u), d) in gate.iter_mut().zip(up).zip(dout) {
            let sigmoid = 1.0 / (1.0 + exp(-*g));
            let silu = *g * sigmoid;
            *g = d * *u * (sigmoid + silu * (1.0 - sigmoid));
            *u = d * silu;
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

/// Computes the softmax of the first `valid` numbers of a row and sets the others to zero; returns the logarithm of the
/// sum of exponentials.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn softmax(row: &mut [f32], valid: usize) -> f32 {
    let (row, hidden) = row.split_at_mut(valid);
    hidden.fill(0.0);
    let most = largest(row);
    for x in row.iter_mut() {
        *x = exp(*x - most);
    }
    let total = sum(row);
    let share = 1.0 / total;
    for x in row.iter_mut() {
        *x *= share;
    }
    most + total.ln()
}

/// Computes `exp(x - lse)` of the first `valid` numbers of a row and sets the others to zero.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn softmax_again(row: &mut [f32], valid: usize, lse: f32) {
    let (row, hidden) = row.split_at_mut(valid);
    hidden.fill(0.0);
    for x in row.iter_mut() {
        *x = exp(*x - lse);
    }
}

/// Computes the gradient of softmax: `dp = p * (dp - along) * scale`, `along` being the sum of `dp * p`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn softmax_backward(p: &[f32], dp: &mut [f32], along: f32, scale: f32) {
    for (dp, p) in dp.iter_mut().zip(p) {
        *dp = p * (*dp - along) * scale;
    }
}

/// Computes attention of one query over keys and values in two parts, `[len, head_dim]` each.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn attend(
    query: &[f32],
    parts: [(&[f32], &[f32]); 2],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let width = query.len();
    let scale = 1.0 / (width as f32).sqrt();
    scores.clear();
    scores.resize((parts[0].0.len() + parts[1].0.len()) / width, 0.0);
    let mut left = &mut scores[..];
    for (keys, _) in parts {
        let (own, rest) = left.split_at_mut(keys.len() / width);
        for (score, key) in own.iter_mut().zip(keys.chunks_exact(width)) {
            *score = dot(query, key) * scale;
        }
        left = rest;
    }
    let most = largest(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - most);
    }
    let share = 1.0 / sum(scores);
    out.fill(0.0);
    let mut left = &scores[..];
    for (_, values) in parts {
        let (own, rest) = left.split_at(values.len() / width);
        for (value, weight) in values.chunks_exact(width).zip(own) {
            for (out, value) in out.iter_mut().zip(value) {
                *out += weight * value;
            }
        }
        left = rest;
    }
    for out in out.iter_mut() {
        *out *= share;
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

/// Computes the logarithm of the sum of exponentials of a row; NaN if a number of the row is NaN or the largest is not
/// finite. The sum is in f64: of 150 000 small terms beside a large one f32 loses all that are below half a unit of its
/// last place.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn log_sum_exp(row: &[f32]) -> f32 {
    let most = largest(row);
    let mut sums = [0.0_f64; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f64::from(exp(chunk[lane] - most));
        }
    }
    let rest: f64 = rest.iter().map(|x| f64::from(exp(x - most))).sum();
    most + (sums.iter().sum::<f64>() + rest).ln() as f32
}

/// Computes the entropy in nats of the softmax of a row whose [`log_sum_exp`] is `lse`: the sum of `p (lse - x)`, whose
/// terms are all 0 or more, so that none cancels another.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn entropy(row: &[f32], lse: f32) -> f32 {
    let mut sums = [0.0_f64; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f64::from(exp(chunk[lane] - lse) * (lse - chunk[lane]));
        }
    }
    let rest: f64 = rest.iter().map(|x| f64::from(exp(x - lse) * (lse - x))).sum();
    (sums.iter().sum::<f64>() + rest) as f32
}

/// Replaces a row of logits by the gradient of `along * log p(target) + of_entropy * entropy`, but for `along` at the
/// target: `-p (along + of_entropy (log p + entropy))`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn entropy_backward(
    row: &mut [f32],
    lse: f32,
    entropy: f32,
    along: f32,
    of_entropy: f32,
) {
    for x in row.iter_mut() {
        let log_p = *x - lse;
        *x = -exp(log_p) * (along + of_entropy * (log_p + entropy));
    }
}

/// Replaces each number of a row by `exp((x - largest) * scale)`, where `largest` is the row's.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
pub(crate) fn exponentials(row: &mut [f32], scale: f32) {
    let most = largest(row);
    for x in row.iter_mut() {
        *x = exp((*x - most) * scale);
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
    fn exponentials_are_right_to_two_units_in_the_last_place() {
        for i in -870_000..=800_000 {
            let x = i as f32 * 1e-4;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (got - want).abs() <= 2.0 * f64::from(f32::EPSILON) * want,
                "{x}: {got} {want}"
            );
        }
        assert!(exp(-1e9) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37 && exp(1e9).is_finite());
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
