//! Merging two models that were trained from one base, tensor by tensor, in f32.
//!
//! Does not know files; `files` does. The formulas are those of mergekit's methods of these names; `d` is a
//! parent's difference from the base, and the share is the weight of the first parent, the rest that of the
//! second. Random masks depend on seed, tensor's name and parent only, so the order of tensors changes no bit.

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use strum::VariantArray;
use synergy_hint::hint;

use crate::merge::report::{Figures, MergeReport};
use crate::weights::{Parameter, Parameters, StoredDtype};

pub mod files;
mod folder;
pub mod report;
mod settings;

/// The cosine above which SLERP is linear, as in mergekit.
const PARALLEL: f64 = 0.9995;

/// The formula by which two tensors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, VariantArray)]
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

/// The correction for the numbers that DARE dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rescale {
    /// Divides by `density`, as in the paper, which keeps the expected value.
    InvDensity,
    /// Restores the sum of magnitudes, as in mergekit.
    L1,
    /// Leaves the remaining numbers as they are.
    None,
}

/// All settings of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeSpec {
    /// The formula.
    pub method: Method,
    /// Weight of the first parent, from 0 to 1; the second has the rest.
    pub share: f64,
    /// Share of a difference's numbers that TIES or DARE keeps; above 0, at most 1.
    pub density: f64,
    /// True if the methods with an election divide by the weights that agree.
    pub normalize: bool,
    /// Factor of the merged difference; finite.
    pub lambda: f64,
    /// The correction for what DARE drops.
    pub rescale: Rescale,
    /// Seed of DARE's masks.
    pub seed: u64,
}

impl Method {
    /// Returns whether the method merges differences from a base.
    pub fn needs_base(self) -> bool {
        !matches!(self, Method::Linear | Method::Slerp)
    }
}

impl MergeSpec {
    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// If one is not; the error names the first.
    pub fn check(&self) -> Result<()> {
        ensure!(
            (0.0..=1.0).contains(&self.share),
            hint!(("share {} is outside its range", self.share), "give a number from 0 to 1")
        );
        ensure!(
            self.density > 0.0 && self.density <= 1.0,
            hint!(
                ("density {} is outside its range", self.density),
                "give a number above 0 and at most 1"
            )
        );
        ensure!(
            self.lambda.is_finite(),
            hint!(
                ("lambda {} is not finite", self.lambda),
                "1 leaves the merged difference as it is"
            )
        );
        Ok(())
    }

    /// Returns whether nothing is dropped or scaled, so that the merge of one parent alone is that parent.
    fn keeps_all(&self) -> bool {
        let ones = [self.density, self.lambda].map(|x| x.total_cmp(&1.0).is_eq());
        !self.method.needs_base() || ones == [true, true]
    }
}

/// Merges `a` and `b`, both trained from `base`.
///
/// # Errors
/// If the three do not have the same tensors, the settings are out of range, or a merged number is.
pub fn merge(
    spec: &MergeSpec,
    a: &Parameters,
    b: &Parameters,
    base: &Parameters,
) -> Result<(Parameters, MergeReport)> {
    spec.check()?;
    for other in [a, b] {
        ensure!(
            other.names().eq(base.names()),
            hint!(
                "the models have tensors of different names",
                "merge models of one architecture and size"
            )
        );
    }
    let mut figures = Figures::default();
    let mut merged = Vec::new();
    for (name, p) in base.iter() {
        let (of_a, of_b) = (a.get(name), b.get(name));
        for other in [of_a, of_b] {
            ensure!(
                other.shape == p.shape,
                hint!(
                    (
                        "`{name}` has shape {:?} in one model and {:?} in another",
                        p.shape,
                        other.shape
                    ),
                    "merge models of one architecture and size"
                )
            );
        }
        let (values_a, values_b, values) = (of_a.to_vec(), of_b.to_vec(), p.to_vec());
        figures.add_parents(&values_a, &values_b, Some(&values));
        let values = merge_tensor(spec, name, values_a, values_b, &values);
        check_range(name, &values, StoredDtype::F32)?;
        figures.add_merged(&values);
        let parameter = Parameter::new(p.shape.clone(), values, &p.value.device());
        merged.push((name.to_owned(), parameter));
    }
    Ok((merged.into_iter().collect(), figures.report()))
}

/// Refuses merged numbers of the tensor `name` that `dtype` cannot hold.
fn check_range(name: &str, merged: &[f32], dtype: StoredDtype) -> Result<()> {
    ensure!(
        merged.iter().all(|x| x.abs() <= dtype.largest()),
        hint!(
            ("the merge of `{name}` has numbers too large for {}", dtype.into_str()),
            "write f32 or bf16, or merge with a smaller lambda"
        )
    );
    Ok(())
}

/// Merges one tensor's numbers in the memory of the parents, since a tensor may be large. `base` is used only by
/// the methods that need one. A share of 0 or 1 gives that parent to the bit, unless numbers are dropped or scaled.
///
/// # Shapes
/// `a` and `b` `[numbers]`, `base` the same where it is needed; returns the same.
pub fn merge_tensor(
    spec: &MergeSpec,
    name: &str,
    a: Vec<f32>,
    b: Vec<f32>,
    base: &[f32],
) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "`{name}` has one shape");
    assert!(!spec.method.needs_base() || base.len() == a.len(), "`{name}` has the base's shape");
    if spec.keeps_all() && spec.share >= 1.0 {
        return a;
    }
    if spec.keeps_all() && spec.share <= 0.0 {
        return b;
    }
    let trim = |x| trimmed(difference(x, base), spec.density);
    let drop = |x, parent| dropped(spec, name, parent, difference(x, base));
    match spec.method {
        Method::Linear => weighted(a, &b, [spec.share, 1.0 - spec.share]),
        Method::Slerp => slerp(a, &b, spec.share),
        Method::Ties => elected(spec, trim(a), &trim(b), base),
        Method::DareTies => elected(spec, drop(a, Parent::A), &drop(b, Parent::B), base),
        Method::DareLinear => {
            let weights = [spec.share, 1.0 - spec.share];
            let mut sum = weighted(drop(a, Parent::A), &drop(b, Parent::B), weights);
            for (d, base) in sum.iter_mut().zip(base) {
                *d = base + spec.lambda as f32 * *d;
            }
            sum
        }
    }
}

fn difference(mut x: Vec<f32>, base: &[f32]) -> Vec<f32> {
    x.iter_mut().zip(base).for_each(|(x, base)| *x -= base);
    x
}

fn weighted(mut a: Vec<f32>, b: &[f32], weights: [f64; 2]) -> Vec<f32> {
    let [of_a, of_b] = weights.map(|w| w as f32);
    a.iter_mut().zip(b).for_each(|(a, b)| *a = of_a * *a + of_b * b);
    a
}

fn slerp(a: Vec<f32>, b: &[f32], share: f64) -> Vec<f32> {
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let cosine = dot / (norm(&a) * norm(b)).max(f64::MIN_POSITIVE);
    if cosine.abs() > PARALLEL {
        return weighted(a, b, [share, 1.0 - share]);
    }
    let angle = cosine.acos();
    weighted(a, b, [share, 1.0 - share].map(|part| (part * angle).sin() / angle.sin()))
}

/// Keeps the share `density` of the numbers that are largest in magnitude, but at least one as in mergekit, of equal
/// ones the first; the others become zero.
fn trimmed(mut d: Vec<f32>, density: f64) -> Vec<f32> {
    let keep = ((density * d.len() as f64) as usize).max(1);
    if keep >= d.len() {
        return d;
    }
    let mut sizes: Vec<f32> = d.iter().map(|x| x.abs()).collect();
    let (larger, &mut least, _) = sizes.select_nth_unstable_by(keep - 1, |x, y| y.total_cmp(x));
    let mut num_equal = keep - larger.iter().filter(|x| **x > least).count();
    for x in &mut d {
        let is_equal = x.abs().total_cmp(&least).is_eq();
        if x.abs() < least || is_equal && num_equal == 0 {
            *x = 0.0;
        } else if is_equal {
            num_equal -= 1;
        }
    }
    d
}

/// Applies the election of TIES: for each number the sign of the weighted sum wins, and only parents of that sign count.
fn elected(spec: &MergeSpec, mut da: Vec<f32>, db: &[f32], base: &[f32]) -> Vec<f32> {
    let weights = [spec.share as f32, (1.0 - spec.share) as f32];
    let one = |a: f32, b: f32, base: f32| {
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
    for ((a, b), base) in da.iter_mut().zip(db).zip(base) {
        *a = one(*a, *b, *base);
    }
    da
}

#[derive(Clone, Copy)]
enum Parent {
    A,
    B,
}

/// Applies DARE: each number stays with probability `density`, and the others become zero.
fn dropped(spec: &MergeSpec, name: &str, parent: Parent, mut d: Vec<f32>) -> Vec<f32> {
    let mut hasher = blake3::Hasher::new();
    // The name comes last: what stands before it has one length, so no two inputs run together.
    hasher.update(&spec.seed.to_le_bytes()).update(&[parent as u8]).update(name.as_bytes());
    let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
    let magnitude = |x: &[f32]| x.iter().map(|x| f64::from(x.abs())).sum::<f64>();
    let whole = magnitude(&d);
    for x in &mut d {
        if !rng.random_bool(spec.density) {
            *x = 0.0;
        }
    }
    let scale = match spec.rescale {
        Rescale::None => 1.0,
        Rescale::InvDensity => 1.0 / spec.density,
        Rescale::L1 => {
            let left = magnitude(&d);
            if left > 0.0 { whole / left } else { 1.0 }
        }
    };
    d.iter_mut().for_each(|x| *x *= scale as f32);
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

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

    fn merged(spec: &MergeSpec, name: &str, a: &[f32], b: &[f32], base: &[f32]) -> Vec<f32> {
        merge_tensor(spec, name, a.to_vec(), b.to_vec(), base)
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    fn close(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(want) {
            assert!((a - b).abs() < 1e-6, "{got:?} {want:?}");
        }
    }

    #[derive(Deserialize)]
    struct Recorded {
        tensors: BTreeMap<String, Triple>,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Triple {
        base: Vec<f32>,
        a: Vec<f32>,
        b: Vec<f32>,
    }

    #[derive(Deserialize)]
    struct Case {
        method: Method,
        share: f64,
        density: f64,
        normalize: bool,
        lambda: f64,
        want: BTreeMap<String, Vec<f32>>,
    }

    #[test]
    fn merges_are_those_of_the_reference() {
        let text = include_str!("../../golden/parity/fixtures/merges.json");
        let Recorded { tensors, cases } = serde_json::from_str(text).unwrap();
        assert!(cases.len() > 30);
        for Case { method, share, density, normalize, lambda, want } in cases {
            let spec = MergeSpec { method, share, density, normalize, lambda, ..LINEAR };
            for (name, want) in want {
                let Triple { base, a, b } = &tensors[&name];
                close(&merged(&spec, &name, a, b, base), &want);
            }
        }
    }

    #[test]
    fn the_formulas_by_hand() {
        let (a, b, base) = ([1.0, -2.0, 4.0, 0.5], [3.0, 2.0, 0.0, 0.25], [0.0, 0.0, 1.0, 0.25]);
        close(&merged(&LINEAR, "w", &a, &b, &base), &[2.5, 1.0, 1.0, 0.3125]);
        // Differences 1 -2 3 .25 and 3 2 -1 0; weights .25 and .75.
        let ties = MergeSpec { method: Method::Ties, ..LINEAR };
        close(&merged(&ties, "w", &a, &b, &base), &[2.5, 2.0, 4.0, 0.5]);
        let sums = MergeSpec { normalize: false, ..ties };
        close(&merged(&sums, "w", &a, &b, &base), &[2.5, 1.5, 1.75, 0.3125]);
        // The two largest of each: 0 -2 3 0 and 3 2 0 0.
        let half = MergeSpec { density: 0.5, lambda: 2.0, ..ties };
        close(&merged(&half, "w", &a, &b, &base), &[6.0, 4.0, 7.0, 0.25]);
        // A quarter of the way from b to a on a quarter circle.
        let slerp = MergeSpec { method: Method::Slerp, ..LINEAR };
        let quarter = std::f32::consts::FRAC_PI_8;
        let got = merged(&slerp, "w", &[1.0, 0.0], &[0.0, 1.0], &[0.0; 2]);
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
        let got = merged(&spec, "w", &a, &base, &base);
        let kept = got.iter().filter(|x| **x != 0.0).count() as f64 / 4000.0;
        assert!((kept - 0.3).abs() < 0.03, "{kept}");
        assert_eq!(got, merged(&spec, "w", &a, &base, &base));
        assert_ne!(got, merged(&spec, "v", &a, &base, &base));
        assert_ne!(got, merged(&MergeSpec { seed: 2, ..spec }, "w", &a, &base, &base));
        let l1 = MergeSpec { rescale: Rescale::L1, ..spec };
        let magnitude = |x: &[f32]| x.iter().map(|x| x.abs()).sum::<f32>();
        let restored = magnitude(&merged(&l1, "w", &a, &base, &base));
        assert!((restored / magnitude(&a) - 1.0).abs() < 1e-4);
        let inverse = MergeSpec { rescale: Rescale::InvDensity, ..spec };
        for (x, y) in merged(&inverse, "w", &a, &base, &base).iter().zip(&got) {
            assert!((x - y / 0.3).abs() < 1e-6);
        }
    }

    #[test]
    fn models_that_differ_in_shape_and_shares_out_of_range_are_refused() {
        let (_, tied) = crate::tests::fixtures::model("model-tied");
        let (_, untied) = crate::tests::fixtures::model("model-untied");
        let error = synergy_hint::text(&merge(&LINEAR, &tied, &untied, &tied).unwrap_err());
        assert_eq!(
            error,
            "the models have tensors of different names\nhint: merge models of one architecture and size"
        );
        let much = MergeSpec { share: 1.5, ..LINEAR };
        let error = synergy_hint::text(&merge(&much, &tied, &tied, &tied).unwrap_err());
        assert_eq!(error, "share 1.5 is outside its range\nhint: give a number from 0 to 1");
        let (same, report) = merge(&LINEAR, &tied, &tied, &tied).unwrap();
        assert_eq!(same.to_bytes(), tied.to_bytes());
        assert!(report.distance_a.abs() < 1e-12 && report.overlap.abs() < 1e-12);
    }

    #[test]
    fn trimming_keeps_the_largest_and_of_equal_ones_the_first() {
        let d = vec![1.0, -3.0, 0.0, 3.0, 2.0, -2.0, -0.0, 1.0];
        for (density, want) in [
            (1.0, d.clone()),
            (0.5, vec![0.0, -3.0, 0.0, 3.0, 2.0, -2.0, 0.0, 0.0]),
            (0.4, vec![0.0, -3.0, 0.0, 3.0, 2.0, 0.0, 0.0, 0.0]),
            // One at least, as mergekit keeps.
            (0.1, vec![0.0, -3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ] {
            assert_eq!(trimmed(d.clone(), density), want, "{density}");
        }
    }

    #[test]
    fn nothing_of_the_seed_runs_into_the_name() {
        let (a, base) = (wave(0.3), vec![0.0; 4000]);
        let half = MergeSpec { method: Method::DareLinear, share: 1.0, density: 0.5, ..LINEAR };
        let mask = |seed, name, parent| {
            let spec = MergeSpec { seed, ..half };
            bits(&dropped(&spec, name, parent, difference(a.clone(), &base)))
        };
        let masks = [
            mask(1, "1", Parent::A),
            mask(11, "", Parent::A),
            mask(1, "1", Parent::B),
            mask(1, "1a", Parent::A),
        ];
        for (i, mask) in masks.iter().enumerate() {
            assert!(!masks[..i].contains(mask), "{i}");
        }
    }

    proptest! {
        #[test]
        fn share_0_and_1_are_the_parents_to_the_bit_whatever_the_method(
            a in prop::collection::vec(-1e3..1e3_f32, 50),
            b in prop::collection::vec(-1e-3..1e-3_f32, 50),
            base in prop::collection::vec(-1.0..1.0_f32, 50),
            normalize: bool, rescale in 0..3_usize, seed: u64
        ) {
            let rescale = [Rescale::InvDensity, Rescale::L1, Rescale::None][rescale];
            for &method in Method::VARIANTS {
                let spec = MergeSpec { method, normalize, rescale, seed, ..LINEAR };
                let at = |share| bits(&merged(&MergeSpec { share, ..spec }, "w", &a, &b, &base));
                prop_assert_eq!(at(1.0), bits(&a), "{:?}", method);
                prop_assert_eq!(at(0.0), bits(&b), "{:?}", method);
            }
        }

        #[test]
        fn a_merge_lies_between_its_parents_and_parents_may_change_places(
            share in 0.0..1.0_f64, phase in 0.1..3.0_f32, density in 0.1..1.0_f64
        ) {
            let (a, b, base) = (wave(phase), wave(-phase), wave(0.05));
            for &method in Method::VARIANTS {
                // Each parent has a mask of its own, so that DARE turns only where it drops nothing.
                let is_random = matches!(method, Method::DareLinear | Method::DareTies);
                let density = if is_random { 1.0 } else { density };
                let spec = MergeSpec { method, share, density, ..LINEAR };
                let turned = MergeSpec { share: 1.0 - share, ..spec };
                let x = merged(&spec, "w", &a, &b, &base);
                let y = merged(&turned, "w", &b, &a, &base);
                for (i, (x, y)) in x.iter().zip(&y).enumerate() {
                    prop_assert!((x - y).abs() < 1e-5, "{:?} {x} {y}", method);
                    let ends = [a[i], b[i], base[i]];
                    let (least, most) = ends.iter().fold((f32::MAX, f32::MIN), |(l, m), x| {
                        (l.min(*x), m.max(*x))
                    });
                    let inside = (least - 1e-5..=most + 1e-5).contains(x);
                    prop_assert!(inside || method == Method::Slerp, "{method:?}: {x} of {ends:?}");
                }
            }
        }
    }
}
