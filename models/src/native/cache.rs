//! Keys and values that decoding keeps, and attention of one token's queries over them.
//!
//! Does not know layers or rows. Keys lie in blocks of [`LANES`] tokens, number by number, so that a vector holds the same
//! number of many keys and no product is summed across its lanes.

use pulp::WithSimd;

use super::vectors::{LANES, Simd, exp, largest, map, map_and_sum, sum_of, widest};

/// The keys and values of one key head.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// `[blocks, head_dim, LANES]`, with zeros behind the last key.
    keys: Vec<f32>,
    /// `[len, width]`, with zeros behind a value's last number; see [`width`].
    values: Vec<f32>,
    len: usize,
}

/// The numbers of a value with which it fills the widest vectors.
fn width(head_dim: usize) -> usize {
    head_dim.next_multiple_of(LANES)
}

impl Kept {
    /// Appends a key and a value of `head_dim` numbers each.
    pub(super) fn push(&mut self, key: &[f32], value: &[f32]) {
        let (block, place) = (key.len() * LANES, self.len % LANES);
        if place == 0 {
            self.keys.resize(self.keys.len() + block, 0.0);
        }
        let start = self.keys.len() - block;
        for (places, x) in self.keys[start..].chunks_exact_mut(LANES).zip(key) {
            places[place] = *x;
        }
        self.values.extend_from_slice(value);
        self.len += 1;
        self.values.resize(self.len * width(value.len()), 0.0);
    }

    fn blocks(&self) -> usize {
        self.len.div_ceil(LANES)
    }
}

/// Computes attention of the queries of one token that share a key head over the keys and values of `parts`.
///
/// # Shapes
/// `queries` and `out` `[queries, head_dim]`; `scores` is memory, whatever it holds.
pub(super) fn attend(
    queries: &[f32],
    head_dim: usize,
    parts: [&Kept; 2],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    // Two queries at once read every key once for both.
    for (queries, out) in queries.chunks(2 * head_dim).zip(out.chunks_mut(2 * head_dim)) {
        match queries.len() / head_dim {
            2 => widest(Attention::<2> { queries, head_dim, parts, scores, out }),
            _ => widest(Attention::<1> { queries, head_dim, parts, scores, out }),
        }
    }
}

/// Attention of `Q` queries.
struct Attention<'a, const Q: usize> {
    queries: &'a [f32],
    head_dim: usize,
    parts: [&'a Kept; 2],
    scores: &'a mut Vec<f32>,
    out: &'a mut [f32],
}

impl<const Q: usize> WithSimd for Attention<'_, Q> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Attention { queries, head_dim, parts, scores, out } = self;
        let stride = LANES * parts.iter().map(|part| part.blocks()).sum::<usize>();
        scores.resize(Q * stride, 0.0);
        let queries: [&[f32]; Q] = std::array::from_fn(|q| &queries[q * head_dim..][..head_dim]);
        let mut start = 0;
        for part in parts {
            let mut at = start;
            for block in part.keys.chunks_exact(head_dim * LANES) {
                products(simd, queries, block, scores, stride, at);
                at += LANES;
            }
            // Places behind the last key.
            for row in scores.chunks_exact_mut(stride) {
                row[start + part.len..at].fill(f32::NEG_INFINITY);
            }
            start = at;
        }
        let mut shares = [0.0; Q];
        for (row, share) in scores.chunks_exact_mut(stride).zip(&mut shares) {
            let most = simd.splat_f32s(largest(simd, row));
            let total = map_and_sum!(simd, row, |x| exp(simd, simd.sub_f32s(x, most)));
            *share = 1.0 / total;
        }
        let width = width(head_dim);
        let mut from = 0;
        while from < width {
            if from + 2 * S::F32_LANES <= width {
                mixed::<S, Q, 2>(simd, parts, width, from, scores, shares, out);
                from += 2 * S::F32_LANES;
            } else {
                mixed::<S, Q, 1>(simd, parts, width, from, scores, shares, out);
                from += S::F32_LANES;
            }
        }
    }
}

/// Computes the scaled products of queries with a block of keys into the scores from `at` on.
#[inline(always)]
fn products<S: Simd, const Q: usize>(
    simd: S,
    queries: [&[f32]; Q],
    block: &[f32],
    scores: &mut [f32],
    stride: usize,
    at: usize,
) {
    let zero = simd.splat_f32s(0.0);
    let head_dim = block.len() / LANES;
    let scale = simd.splat_f32s(1.0 / (head_dim as f32).sqrt());
    let vectors = LANES / S::F32_LANES;
    let block = S::as_simd_f32s(block).0;
    for v in 0..vectors {
        // Two sums each, of the even and of the odd numbers: one would wait for itself.
        let mut sums = [[zero; 2]; Q];
        for (i, pair) in block.chunks(2 * vectors).enumerate() {
            for (half, keys) in pair.chunks_exact(vectors).enumerate() {
                for q in 0..Q {
                    let x = simd.splat_f32s(queries[q][2 * i + half]);
                    sums[q][half] = simd.mul_add_f32s(x, keys[v], sums[q][half]);
                }
            }
        }
        for q in 0..Q {
            let score = simd.mul_f32s(simd.add_f32s(sums[q][0], sums[q][1]), scale);
            let to = &mut scores[q * stride + at + v * S::F32_LANES..][..S::F32_LANES];
            S::as_mut_simd_f32s(to).0[0] = score;
        }
    }
}

/// Computes the numbers `from..` of the weighted mean of values that fill `V` vectors.
#[inline(always)]
fn mixed<S: Simd, const Q: usize, const V: usize>(
    simd: S,
    parts: [&Kept; 2],
    width: usize,
    from: usize,
    scores: &[f32],
    shares: [f32; Q],
    out: &mut [f32],
) {
    let (stride, head_dim) = (scores.len() / Q, out.len() / Q);
    // Of the even and of the odd tokens.
    let mut sums = [[[simd.splat_f32s(0.0); V]; Q]; 2];
    let (vectors, first) = (width / S::F32_LANES, from / S::F32_LANES);
    let mut start = 0;
    for part in parts {
        let weights: [&[f32]; Q] =
            std::array::from_fn(|q| &scores[q * stride + start..][..part.len]);
        let values = S::as_simd_f32s(&part.values).0;
        for (i, pair) in values.chunks(2 * vectors).enumerate() {
            for (half, value) in pair.chunks_exact(vectors).enumerate() {
                for q in 0..Q {
                    let weight = simd.splat_f32s(weights[q][2 * i + half]);
                    for v in 0..V {
                        let sum = &mut sums[half][q][v];
                        *sum = simd.mul_add_f32s(weight, value[first + v], *sum);
                    }
                }
            }
        }
        start += part.blocks() * LANES;
    }
    let [even, odd] = sums;
    for (q, (even, odd)) in even.into_iter().zip(odd).enumerate() {
        let share = simd.splat_f32s(shares[q]);
        for (v, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            let at = (from + v * S::F32_LANES).min(head_dim);
            let end = head_dim.min(at + S::F32_LANES);
            let to = &mut out[q * head_dim + at..q * head_dim + end];
            simd.partial_store_f32s(to, simd.mul_f32s(simd.add_f32s(even, odd), share));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    }

    proptest! {
        #[test]
        fn attention_over_two_parts_is_the_weighted_mean_of_all_values(
            head_dim in prop::sample::select(vec![4_usize, 8, 16, 24, 32, 80, 128]),
            num in 1usize..6, lens in (0usize..40, 1usize..40)
        ) {
            let lens = [lens.0, lens.1];
            let len = lens[0] + lens[1];
            let (keys, values) = (numbers(len * head_dim, 0.7), numbers(len * head_dim, 1.3));
            let queries = numbers(num * head_dim, 2.1);
            let mut parts = [Kept::default(), Kept::default()];
            for (i, (key, value)) in keys.chunks(head_dim).zip(values.chunks(head_dim)).enumerate() {
                parts[usize::from(i >= lens[0])].push(key, value);
            }
            // Memory that holds what it should not show.
            let (mut scores, mut got) = (vec![f32::NAN; 7], vec![f32::NAN; num * head_dim]);
            attend(&queries, head_dim, [&parts[0], &parts[1]], &mut scores, &mut got);
            for (query, got) in queries.chunks(head_dim).zip(got.chunks(head_dim)) {
                let dot = |key: &[f32]| -> f64 { key.iter().zip(query).map(|(a, b)| f64::from(a * b)).sum() };
                let weights: Vec<f64> =
                    keys.chunks(head_dim).map(|key| (dot(key) / (head_dim as f64).sqrt()).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (d, got) in got.iter().enumerate() {
                    let of = |(value, weight): (&[f32], &f64)| f64::from(value[d]) * weight / total;
                    let want: f64 = values.chunks(head_dim).zip(&weights).map(of).sum();
                    prop_assert!((f64::from(*got) - want).abs() < 2e-6, "{} {}", got, want);
                }
            }
        }
    }
}
