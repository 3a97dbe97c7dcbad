//! Merging two models that were trained from one base, tensor by tensor, in f32.
//!
//! Does not know files. The formulas are those of mergekit's methods of these names; `d` is a parent's
//! difference from the base, and the share is the weight of the first parent, the rest that of the second.
//! Random masks hang on the tensor's name alone, so no order of tensors changes a bit.

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::weights::{Parameter, Parameters};

/// Above this cosine SLERP is linear, as in mergekit.
const PARALLEL: f64 = 0.9995;

/// How two tensors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Weighted mean (Wortsman et al. 2022).
    Linear,
    /// Along the great circle between the two directions (Shoemake 1985).
    Slerp,
    /// Trim, elect a sign, merge what agrees (Yadav et al. 2023).
    Ties,
    /// Drop at random and rescale (Yu et al. 2024), then the weighted sum of differences.
    DareLinear,
    /// Drop at random and rescale, then TIES' election.
    DareTies,
}

/// What makes up for what DARE dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rescale {
    /// Divides by `density`, as in the paper: right in the mean.
    InvDensity,
    /// Restores the sum of magnitudes, as in mergekit.
    L1,
    None,
}

/// A merge with all its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeSpec {
    pub method: Method,
    /// Weight of the first parent.
    pub share: f64,
    /// Share of a difference's numbers that TIES or DARE keeps.
    pub density: f64,
    /// Whether TIES divides by the weights that agree.
    pub normalize: bool,
    /// What the merged difference is multiplied by.
    pub lambda: f64,
    pub rescale: Rescale,
    /// Of DARE's masks.
    pub seed: u64,
}

/// How far two parents are from their base, over all tensors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MergeReport {
    /// Norms of the parents' differences, relative to the base's norm.
    pub distance_a: f64,
    pub distance_b: f64,
    /// Cosine between the two differences.
    pub cosine: f64,
    /// Share of the numbers that both changed, and of those the share whose signs differ.
    pub overlap: f64,
    pub sign_conflicts: f64,
}

impl MergeSpec {
    /// Whether every number is in its range.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn check(&self) -> Result<()> {
        ensure!((0.0..=1.0).contains(&self.share), "share {} is none\nhint: 0 to 1", self.share);
        ensure!(
            self.density > 0.0 && self.density <= 1.0,
            "density {} is no share that is kept\nhint: above 0, at most 1",
            self.density
        );
        ensure!(self.lambda.is_finite(), "lambda {} is not finite", self.lambda);
        Ok(())
    }
}

/// The merge of `a` and `b`, both trained from `base`.
///
/// # Errors
/// If the three do not have the same tensors, or the settings are out of range.
pub fn merge(
    spec: &MergeSpec,
    a: &Parameters,
    b: &Parameters,
    base: &Parameters,
) -> Result<(Parameters, MergeReport)> {
    spec.check()?;
    for other in [a, b] {
        ensure!(other.names().eq(base.names()), "the models have tensors of other names");
    }
    let mut totals = Totals::default();
    let mut merged = Vec::new();
    for (name, p) in base.iter() {
        let (of_a, of_b) = (a.get(name), b.get(name));
        for other in [of_a, of_b] {
            ensure!(
                other.shape == p.shape,
                "`{name}` has shape {:?} in one model and {:?} in another",
                p.shape,
                other.shape
            );
        }
        let (values_a, values_b, values) = (of_a.to_vec(), of_b.to_vec(), p.to_vec());
        totals.add(&values_a, &values_b, &values);
        let values = merge_tensor(spec, name, &values_a, &values_b, &values);
        let parameter = Parameter::new(p.shape.clone(), values, &p.value.device());
        merged.push((name.to_owned(), parameter));
    }
    Ok((merged.into_iter().collect(), totals.report()))
}

/// The merge of one tensor's numbers. A share of 0 or 1 gives that parent to the bit, where nothing is
/// dropped, elected or scaled: for `linear` and `slerp`.
pub fn merge_tensor(spec: &MergeSpec, name: &str, a: &[f32], b: &[f32], base: &[f32]) -> Vec<f32> {
    let share = spec.share;
    match spec.method {
        Method::Linear => linear(a, b, share),
        Method::Slerp => slerp(a, b, share),
        Method::Ties => {
            let keep = |x: &[f32]| trimmed(&difference(x, base), spec.density);
            elected(spec, &keep(a), &keep(b), base)
        }
        Method::DareLinear | Method::DareTies => {
            let drop = |x: &[f32], parent| dropped(spec, name, parent, &difference(x, base));
            let (da, db) = (drop(a, "a"), drop(b, "b"));
            if spec.method == Method::DareTies {
                return elected(spec, &da, &db, base);
            }
            let sum = linear(&da, &db, share);
            base.iter().zip(sum).map(|(x, d)| x + spec.lambda as f32 * d).collect()
        }
    }
}

fn difference(x: &[f32], base: &[f32]) -> Vec<f32> {
    x.iter().zip(base).map(|(x, base)| x - base).collect()
}

fn linear(a: &[f32], b: &[f32], share: f64) -> Vec<f32> {
    if share >= 1.0 {
        return a.to_vec();
    }
    if share <= 0.0 {
        return b.to_vec();
    }
    let (of_a, of_b) = (share as f32, (1.0 - share) as f32);
    a.iter().zip(b).map(|(a, b)| of_a * a + of_b * b).collect()
}

fn slerp(a: &[f32], b: &[f32], share: f64) -> Vec<f32> {
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let cosine = dot / (norm(a) * norm(b)).max(f64::MIN_POSITIVE);
    if share <= 0.0 || share >= 1.0 || cosine.abs() > PARALLEL {
        return linear(a, b, share);
    }
    let angle = cosine.acos();
    let of_a = ((share * angle).sin() / angle.sin()) as f32;
    let of_b = (((1.0 - share) * angle).sin() / angle.sin()) as f32;
    a.iter().zip(b).map(|(a, b)| of_a * a + of_b * b).collect()
}

/// The `density` of the numbers that are largest in magnitude; the others become zero.
fn trimmed(d: &[f32], density: f64) -> Vec<f32> {
    let keep = (density * d.len() as f64) as usize;
    if keep >= d.len() {
        return d.to_vec();
    }
    let mut order: Vec<usize> = (0..d.len()).collect();
    order.sort_by(|&i, &j| d[j].abs().total_cmp(&d[i].abs()).then(i.cmp(&j)));
    let mut out = vec![0.0; d.len()];
    for &i in &order[..keep] {
        out[i] = d[i];
    }
    out
}

/// TIES: of each number the sign of the weighted sum wins, and only what agrees with it counts.
fn elected(spec: &MergeSpec, da: &[f32], db: &[f32], base: &[f32]) -> Vec<f32> {
    let weights = [spec.share as f32, (1.0 - spec.share) as f32];
    let one = |((a, b), base): ((&f32, &f32), &f32)| {
        let parts = [weights[0] * a, weights[1] * b];
        let sign = if parts[0] + parts[1] >= 0.0 { 1.0 } else { -1.0 };
        let (mut sum, mut weight) = (0.0, 0.0);
        for ((part, d), w) in parts.into_iter().zip([a, b]).zip(weights) {
            if d * sign > 0.0 {
                sum += part;
                weight += w;
            }
        }
        let divisor = if spec.normalize && weight > 0.0 { weight } else { 1.0 };
        base + spec.lambda as f32 * sum / divisor
    };
    da.iter().zip(db).zip(base).map(one).collect()
}

/// DARE: each number stays with probability `density`.
fn dropped(spec: &MergeSpec, name: &str, parent: &str, d: &[f32]) -> Vec<f32> {
    let mut seed = [0; 32];
    let text = format!("{}/{name}/{parent}", spec.seed);
    // FNV-1a, with another start for each word of the seed.
    for (k, part) in (0_u64..).zip(seed.chunks_exact_mut(8)) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64.wrapping_add(k);
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        part.copy_from_slice(&hash.to_le_bytes());
    }
    let mut rng = ChaCha8Rng::from_seed(seed);
    let mut out: Vec<f32> =
        d.iter().map(|d| if rng.random_bool(spec.density) { *d } else { 0.0 }).collect();
    let magnitude = |x: &[f32]| x.iter().map(|x| f64::from(x.abs())).sum::<f64>();
    let scale = match spec.rescale {
        Rescale::None => 1.0,
        Rescale::InvDensity => 1.0 / spec.density,
        Rescale::L1 => {
            let left = magnitude(&out);
            if left > 0.0 { magnitude(d) / left } else { 1.0 }
        }
    };
    out.iter_mut().for_each(|x| *x *= scale as f32);
    out
}

#[derive(Default)]
struct Totals {
    base: f64,
    a: f64,
    b: f64,
    dot: f64,
    numbers: f64,
    both: f64,
    conflicts: f64,
}

impl Totals {
    fn add(&mut self, a: &[f32], b: &[f32], base: &[f32]) {
        for ((a, b), base) in a.iter().zip(b).zip(base) {
            let (da, db) = (f64::from(a - base), f64::from(b - base));
            self.base += f64::from(*base).powi(2);
            self.a += da * da;
            self.b += db * db;
            self.dot += da * db;
            self.numbers += 1.0;
            if da * db != 0.0 {
                self.both += 1.0;
                self.conflicts += f64::from(u8::from(da * db < 0.0));
            }
        }
    }

    fn report(&self) -> MergeReport {
        let base = self.base.sqrt().max(f64::MIN_POSITIVE);
        let lengths = (self.a * self.b).sqrt();
        MergeReport {
            distance_a: self.a.sqrt() / base,
            distance_b: self.b.sqrt() / base,
            cosine: if lengths > 0.0 { self.dot / lengths } else { 0.0 },
            overlap: self.both / self.numbers.max(1.0),
            sign_conflicts: self.conflicts / self.both.max(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINEAR: MergeSpec = MergeSpec {
        method: Method::Linear,
        share: 0.25,
        density: 1.0,
        normalize: true,
        lambda: 1.0,
        rescale: Rescale::None,
        seed: 1,
    };

    fn wave(phase: f32) -> Vec<f32> {
        (0..4000).map(|i| (i as f32 * 0.37 + phase).sin()).collect()
    }

    fn close(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(want) {
            assert!((a - b).abs() < 1e-6, "{got:?} {want:?}");
        }
    }

    #[test]
    fn the_formulas_by_hand() {
        let (a, b, base) = ([1.0, -2.0, 4.0, 0.5], [3.0, 2.0, 0.0, 0.25], [0.0, 0.0, 1.0, 0.25]);
        close(&merge_tensor(&LINEAR, "w", &a, &b, &base), &[2.5, 1.0, 1.0, 0.3125]);
        // Differences 1 -2 3 .25 and 3 2 -1 0; weights .25 and .75.
        let ties = MergeSpec { method: Method::Ties, ..LINEAR };
        close(&merge_tensor(&ties, "w", &a, &b, &base), &[2.5, 2.0, 4.0, 0.5]);
        let sums = MergeSpec { normalize: false, ..ties };
        close(&merge_tensor(&sums, "w", &a, &b, &base), &[2.5, 1.5, 1.75, 0.3125]);
        // The two largest of each: 0 -2 3 0 and 3 2 0 0.
        let half = MergeSpec { density: 0.5, lambda: 2.0, ..ties };
        close(&merge_tensor(&half, "w", &a, &b, &base), &[6.0, 4.0, 7.0, 0.25]);
        // A quarter of the way from b to a on a quarter circle.
        let slerp = MergeSpec { method: Method::Slerp, ..LINEAR };
        let quarter = std::f32::consts::FRAC_PI_8;
        let got = merge_tensor(&slerp, "w", &[1.0, 0.0], &[0.0, 1.0], &[0.0; 2]);
        close(&got, &[quarter.sin(), quarter.cos()]);
    }

    #[test]
    fn dare_keeps_its_share_and_hangs_on_name_parent_and_seed_alone() {
        let (a, base) = (wave(0.3), vec![0.0; 4000]);
        let spec = MergeSpec {
            method: Method::DareLinear,
            share: 1.0,
            density: 0.3,
            rescale: Rescale::None,
            ..LINEAR
        };
        let got = merge_tensor(&spec, "w", &a, &base, &base);
        let kept = got.iter().filter(|x| **x != 0.0).count() as f64 / 4000.0;
        assert!((kept - 0.3).abs() < 0.03, "{kept}");
        assert_eq!(got, merge_tensor(&spec, "w", &a, &base, &base));
        assert_ne!(got, merge_tensor(&spec, "v", &a, &base, &base));
        assert_ne!(got, merge_tensor(&MergeSpec { seed: 2, ..spec }, "w", &a, &base, &base));
        let l1 = MergeSpec { rescale: Rescale::L1, ..spec };
        let magnitude = |x: &[f32]| x.iter().map(|x| x.abs()).sum::<f32>();
        let restored = magnitude(&merge_tensor(&l1, "w", &a, &base, &base));
        assert!((restored / magnitude(&a) - 1.0).abs() < 1e-4);
        let inverse = MergeSpec { rescale: Rescale::InvDensity, ..spec };
        for (x, y) in merge_tensor(&inverse, "w", &a, &base, &base).iter().zip(&got) {
            assert!((x - y / 0.3).abs() < 1e-6);
        }
    }

    #[test]
    fn models_that_differ_in_shape_and_shares_out_of_range_are_refused() {
        let (_, tied) = crate::tests::fixtures::model("model-tied");
        let (_, untied) = crate::tests::fixtures::model("model-untied");
        let error = merge(&LINEAR, &tied, &untied, &tied).unwrap_err().to_string();
        assert_eq!(error, "the models have tensors of other names");
        let much = MergeSpec { share: 1.5, ..LINEAR };
        let error = merge(&much, &tied, &tied, &tied).unwrap_err().to_string();
        assert_eq!(error, "share 1.5 is none\nhint: 0 to 1");
        let (same, report) = merge(&LINEAR, &tied, &tied, &tied).unwrap();
        assert_eq!(same.to_bytes(), tied.to_bytes());
        assert!(report.distance_a.abs() < 1e-12 && report.overlap.abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn share_0_and_1_are_the_parents_and_parents_may_change_places(
            share in 0.0..1.0_f64, phase in 0.1..3.0_f32, density in 0.1..1.0_f64
        ) {
            let (a, b, base) = (wave(phase), wave(-phase), wave(0.05));
            for method in [Method::Linear, Method::Slerp, Method::Ties] {
                let spec = MergeSpec { method, share, density, ..LINEAR };
                let turned = MergeSpec { share: 1.0 - share, ..spec };
                let (x, y) = (
                    merge_tensor(&spec, "w", &a, &b, &base),
                    merge_tensor(&turned, "w", &b, &a, &base),
                );
                for (x, y) in x.iter().zip(&y) {
                    prop_assert!((x - y).abs() < 1e-5, "{:?} {x} {y}", method);
                }
                if method != Method::Ties {
                    let at = |share| merge_tensor(&MergeSpec { share, ..spec }, "w", &a, &b, &base);
                    prop_assert_eq!(&at(1.0), &a);
                    prop_assert_eq!(&at(0.0), &b);
                }
            }
        }
    }
}
