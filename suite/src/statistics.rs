//! Intervals and standard errors over questions and seeds. Pure.
//!
//! Does not know what is measured: it sees one number per seed and question.
//! Seeds and questions are crossed (every seed answers the same questions), so a draw takes
//! seeds with replacement and, once for all seeds, questions with replacement; drawing other
//! questions for each seed would pretend that there are more questions than there are.
//! The bootstrap is a function of its inputs and a fixed stream: no clock, no thread count.

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::seed::Seed;

/// Bootstrap draws behind every interval. The ends of a 95 % interval then carry a Monte Carlo
/// error of about 4 % of its half-width, below the last digit shown.
pub const DRAWS: usize = 2000;

/// Confidence of every reported interval.
pub const CONFIDENCE: f64 = 0.95;

/// A mean with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// The percentile interval at [`CONFIDENCE`] from bootstrap draws, around the point estimate
    /// `mean` (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
    /// The widest interval where there are no draws or one is not a number.
    pub fn of(mean: f64, mut draws: Vec<f64>) -> Interval {
        if draws.is_empty() || draws.iter().any(|draw| draw.is_nan()) {
            return Interval { mean, low: f64::NEG_INFINITY, high: f64::INFINITY };
        }
        draws.sort_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        Interval { mean, low: quantile(&draws, tail), high: quantile(&draws, 1.0 - tail) }
    }

    /// Half of the interval's width.
    pub fn half_width(self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// The interval in another unit, for example shares in percent.
    pub fn scaled(self, factor: f64) -> Interval {
        Interval { mean: self.mean * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// The values that one mean is taken over: `values[seed][question]`.
#[derive(Debug, Clone)]
pub struct Group {
    /// Names the stream that draws the seeds, so that no other group changes what is drawn here.
    pub label: String,
    pub values: Vec<Vec<f64>>,
}

/// Draws of the mean for several groups over the same questions, by the crossed two-level
/// bootstrap (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 2007): questions are
/// drawn with replacement once per draw and shared by all groups, so that the difference of two
/// groups is paired; seeds are drawn with replacement within each group. With one seed only the
/// questions are drawn.
///
/// # Shapes
/// `groups[group].values[seed][question]` -> `draws[group][draw]`, [`DRAWS`] of them.
///
/// # Panics
/// When the groups do not all have the same number of questions, or one has no seed.
pub fn bootstrap(stream: Seed, groups: &[Group]) -> Vec<Vec<f64>> {
    // One row per question with all seeds of all groups side by side: a draw then adds up whole
    // rows, which is one pass over memory for all groups together.
    let columns: Vec<&Vec<f64>> = groups.iter().flat_map(|group| &group.values).collect();
    let width = columns.len();
    let num_questions = columns.first().map_or(0, |column| column.len());
    assert!(groups.iter().all(|group| !group.values.is_empty()), "a group without seeds");
    assert!(columns.iter().all(|column| column.len() == num_questions), "unequal questions");
    let table: Vec<f64> = (0..num_questions)
        .flat_map(|question| columns.iter().map(move |column| column[question]))
        .collect();
    let mut questions = stream.fold_in("questions").rng();
    let seeds = stream.fold_in("seeds");
    let mut seeds: Vec<_> = groups.iter().map(|group| seeds.fold_in(&group.label).rng()).collect();
    let mut draws = vec![Vec::with_capacity(DRAWS); groups.len()];
    let mut sums = vec![0.0; width];
    for _ in 0..DRAWS {
        sums.fill(0.0);
        for _ in 0..num_questions {
            let question = below(questions.next_u32(), num_questions);
            let row = &table[question * width..(question + 1) * width];
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        let mut rest = sums.as_slice();
        for ((group, rng), draws) in groups.iter().zip(&mut seeds).zip(&mut draws) {
            let num_seeds = group.values.len();
            let (own, others) = rest.split_at(num_seeds);
            rest = others;
            let total: f64 = if num_seeds == 1 {
                own[0]
            } else {
                (0..num_seeds).map(|_| own[below(rng.next_u32(), num_seeds)]).sum()
            };
            draws.push(total / (num_seeds * num_questions) as f64);
        }
    }
    draws
}

/// The mean over seeds and questions; not a number where there are none.
pub fn mean(values: &[Vec<f64>]) -> f64 {
    let count: usize = values.iter().map(Vec::len).sum();
    values.iter().flatten().sum::<f64>() / count as f64
}

/// Standard error of the mean difference of two groups over the same questions.
///
/// `SE^2 = s_q^2 / n + s_a^2 / S_a + s_b^2 / S_b`: `s_q^2` is the sample variance over the `n`
/// questions of the difference of the two seed means, `s_a^2` and `s_b^2` the sample variances
/// over seeds of the means over questions (0 with one seed, whose variance nothing shows).
/// It is the standard error of the crossed bootstrap in closed form, with the unbiased
/// variances in place of the plug-in ones. The interaction of seed and question is in all three
/// terms, so the sum errs on the safe side (Owen 2007, equation 10).
///
/// # Shapes
/// `a[seed][question]`, `b[seed][question]`, the same questions.
pub fn standard_error_paired(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let difference: Vec<f64> =
        over_seeds(a).iter().zip(over_seeds(b)).map(|(a, b)| a - b).collect();
    (variance_of_mean(&difference) + seed_variance(a) + seed_variance(b)).sqrt()
}

/// Standard error of the mean difference of two groups over different questions: as
/// [`standard_error_paired`], with the question variances of the two groups added.
pub fn standard_error_unpaired(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let questions = variance_of_mean(&over_seeds(a)) + variance_of_mean(&over_seeds(b));
    (questions + seed_variance(a) + seed_variance(b)).sqrt()
}

/// The `p`-quantile of the standard normal distribution, `0 < p < 1`, by Acklam's rational
/// approximation (2003); relative error below 1.2e-9.
pub fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.024_25;
    fn polynomial(coefficients: &[f64], x: f64) -> f64 {
        coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient)
    }
    fn tail(p: f64) -> f64 {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    }
    if p < TAIL {
        tail(p)
    } else if p > 1.0 - TAIL {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        q * polynomial(&A, q * q) / polynomial(&B, q * q)
    }
}

/// A number below `bound` from 32 random bits; the bias is below `bound / 2^32`.
fn below(bits: u32, bound: usize) -> usize {
    ((u64::from(bits) * bound as u64) >> 32) as usize
}

/// Linear interpolation between the order statistics of sorted values.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let position = p * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * position.fract()
}

/// The mean over seeds for each question.
fn over_seeds(values: &[Vec<f64>]) -> Vec<f64> {
    let num_questions = values.first().map_or(0, Vec::len);
    (0..num_questions)
        .map(|question| values.iter().map(|seed| seed[question]).sum::<f64>() / values.len() as f64)
        .collect()
}

/// The contribution of the seeds to the variance of the mean.
fn seed_variance(values: &[Vec<f64>]) -> f64 {
    let means: Vec<f64> =
        values.iter().map(|seed| seed.iter().sum::<f64>() / seed.len() as f64).collect();
    variance_of_mean(&means)
}

/// Sample variance over count; 0 where one value shows no variance.
fn variance_of_mean(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    squares / (count - 1.0) / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(label: &str, num_seeds: usize, num_questions: usize, p: f64) -> Vec<Vec<f64>> {
        let mut rng = Seed::root(1).fold_in(label).rng();
        let shared: Vec<f64> = (0..num_questions).map(|_| rng.random::<f64>() - 0.5).collect();
        (0..num_seeds)
            .map(|_| {
                let shift = 0.1 * (rng.random::<f64>() - 0.5);
                let noisy = |ease: &f64| f64::from(rng.random::<f64>() < p + shift + ease);
                shared.iter().map(noisy).collect()
            })
            .collect()
    }

    fn groups(values: &[&[Vec<f64>]]) -> Vec<Group> {
        let group = |(index, values): (usize, &&[Vec<f64>])| Group {
            label: index.to_string(),
            values: values.to_vec(),
        };
        values.iter().enumerate().map(group).collect()
    }

    fn spread(draws: &[f64]) -> f64 {
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        (draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64).sqrt()
    }

    #[test]
    fn quantiles_of_the_normal_are_those_of_the_tables() {
        let cases =
            [(0.5, 0.0), (0.975, 1.959_963_985), (0.995, 2.575_829_304), (0.001, -3.090_232_306)];
        for (p, expected) in cases {
            assert!((normal_quantile(p) - expected).abs() < 1e-8, "{p}");
        }
        assert!((normal_quantile(0.999_9) - 3.719_016_485).abs() < 1e-8);
    }

    #[test]
    fn one_seed_draws_questions_only_and_agrees_with_the_formula() {
        let a = values("a", 1, 400, 0.6);
        let draws = bootstrap(Seed::root(2), &groups(&[&a]));
        let p = mean(&a);
        let expected = (p * (1.0 - p) / 400.0).sqrt();
        assert!((spread(&draws[0]) / expected - 1.0).abs() < 0.06);
    }

    #[test]
    fn pairing_removes_what_both_sides_share() {
        let a = values("a", 1, 400, 0.6);
        let draws = bootstrap(Seed::root(2), &groups(&[&a, &a]));
        assert_eq!(draws[0], draws[1]);
        assert!(standard_error_paired(&a, &a) < 1e-12);
        assert!(standard_error_unpaired(&a, &a) > 0.03);
    }

    #[test]
    fn the_closed_form_is_the_bootstraps_standard_error() {
        for num_seeds in [1, 20] {
            let a = values("a", num_seeds, 300, 0.6);
            let b = values("b", num_seeds, 300, 0.5);
            let draws = bootstrap(Seed::root(3), &groups(&[&a, &b]));
            let difference: Vec<f64> = draws[0].iter().zip(&draws[1]).map(|(a, b)| a - b).collect();
            let ratio = standard_error_paired(&a, &b) / spread(&difference);
            assert!((ratio - 1.0).abs() < 0.07, "{num_seeds} seeds: {ratio}");
        }
    }

    #[test]
    fn seeds_that_differ_widen_the_interval() {
        let questions = vec![0.0; 50];
        let level = |value: f64| questions.iter().map(|zero| zero + value).collect::<Vec<f64>>();
        let draws = bootstrap(Seed::root(4), &groups(&[&[level(0.2), level(0.4), level(0.6)]]));
        let interval = Interval::of(0.4, draws[0].clone());
        assert!(interval.half_width() > 0.1);
        let seeds = [level(0.2), level(0.4), level(0.6)];
        let expected = (0.04_f64 / 3.0).sqrt();
        assert!((standard_error_paired(&seeds, &[level(0.0)]) - expected).abs() < 1e-9);
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut covered = 0;
        for study in 0..600 {
            let mut rng = Seed::root(5).at(study).rng();
            let a: Vec<f64> = (0..100).map(|_| f64::from(rng.random::<f64>() < 0.4)).collect();
            let draws = bootstrap(Seed::root(6).at(study), &groups(&[std::slice::from_ref(&a)]));
            let interval = Interval::of(mean(&[a]), draws[0].clone());
            covered += usize::from(interval.low <= 0.4 && 0.4 <= interval.high);
        }
        // 95 % of 600 is 570, with a standard deviation of 5.
        assert!((554..=586).contains(&covered), "{covered} of 600");
    }

    #[test]
    fn an_interval_leaves_two_and_a_half_percent_on_each_side() {
        let interval = Interval::of(500.0, (0..=1000).rev().map(f64::from).collect());
        assert!((interval.low - 25.0).abs() < 1e-9 && (interval.high - 975.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_a_number_never_gives_a_narrow_interval() {
        let interval = Interval::of(0.5, vec![0.4, f64::NAN]);
        assert!(interval.low.is_infinite() && interval.high.is_infinite());
        assert!(mean(&[]).is_nan());
    }

    proptest! {
        #[test]
        fn the_same_stream_gives_the_same_draws(
            a in proptest::collection::vec(0.0..1.0_f64, 1..20), seed in any::<u64>()
        ) {
            let group = [a];
            let draws = bootstrap(Seed::root(seed), &groups(&[&group]));
            prop_assert_eq!(&draws, &bootstrap(Seed::root(seed), &groups(&[&group])));
            let low = group[0].iter().copied().fold(f64::INFINITY, f64::min);
            let high = group[0].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(draws[0].iter().all(|d| *d >= low - 1e-9 && *d <= high + 1e-9));
        }

        #[test]
        fn quantiles_mirror_around_one_half(p in 1e-9..0.5_f64) {
            prop_assert!((normal_quantile(p) + normal_quantile(1.0 - p)).abs() < 1e-6);
        }
    }
}
