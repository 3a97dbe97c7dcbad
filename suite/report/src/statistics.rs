//! Intervals and standard errors over questions and seeds. Pure.
//!
//! This module does not know what is measured: it sees one number per seed and question.
//! Seeds and questions are crossed (every seed answers the same questions), so a draw takes
//! seeds with replacement and, once for all seeds, questions with replacement; drawing other
//! questions for each seed would pretend that there are more questions than there are.
//! The bootstrap is a function of its inputs and a fixed stream: no clock, no thread count.
//! It knows no answers but those it sees, so where all are alike it shows no width; shares then get the score
//! interval of so many questions that are alike.

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::seed::Seed;

/// Bootstrap draws behind every interval. The ends of a 95 % interval then carry a Monte Carlo
/// error of about 4 % of its half-width, below the last digit shown.
pub const DRAWS: usize = 2000;

/// Confidence of every reported interval.
pub const CONFIDENCE: f64 = 0.95;

/// A narrower interval than this has no width: what is left of it is rounding.
const NO_WIDTH: f64 = 1e-9;

/// A mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The estimate itself, in the unit of what is measured.
    pub mean: f64,
    /// Lower end of the 95 % interval; negative infinity where nothing bounds it.
    pub low: f64,
    /// Upper end of the 95 % interval; infinity where nothing bounds it.
    pub high: f64,
}

impl Interval {
    /// The percentile interval at [`CONFIDENCE`] from bootstrap draws, around the point estimate
    /// `mean` (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13), narrowed about it by
    /// the variance that the crossed bootstrap has too much: [`surplus_variance`] of what was drawn.
    /// The widest interval where there are no draws or one is not a number.
    pub fn of(mean: f64, mut draws: Vec<f64>, surplus: f64) -> Interval {
        if draws.is_empty() || draws.iter().any(|draw| draw.is_nan()) {
            return Interval { mean, low: f64::NEG_INFINITY, high: f64::INFINITY };
        }
        draws.sort_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let center = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - center).powi(2)).sum::<f64>() / draws.len() as f64;
        let kept = if variance > 0.0 { (1.0 - surplus / variance).max(0.0).sqrt() } else { 1.0 };
        let end = |p| mean + kept * (quantile(&draws, p) - mean);
        Interval { mean, low: end(tail), high: end(1.0 - tail) }
    }

    /// As [`Interval::of`], of shares; where what was drawn has no width, Wilson's score interval over the questions
    /// (Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
    /// Statistical Association 1927):
    ///
    /// `(p + z^2 / 2n ± z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`, with the mean `p` of `n` questions and
    /// the normal quantile `z`. Three of three right then are 44 to 100 %.
    ///
    /// # Shapes
    /// `values[seed][question]`, each 0 to 1. Seeds and samples of a question are no questions of their own.
    pub fn of_shares(values: &[Vec<f64>], draws: Vec<f64>) -> Interval {
        let interval = Interval::of(mean(values), draws, surplus_variance(values));
        match values.first().map_or(0, Vec::len) {
            num_questions if num_questions > 0 && interval.half_width() < NO_WIDTH => {
                wilson(interval.mean, num_questions)
            }
            _ => interval,
        }
    }

    /// As [`Interval::of`], of the difference `a - b` of two groups of shares over the same questions; where what was
    /// drawn has no width, [`score_difference`].
    ///
    /// # Shapes
    /// As for [`Interval::of_shares`]; `draws` are those of the difference.
    pub fn of_share_difference(a: &[Vec<f64>], b: &[Vec<f64>], draws: Vec<f64>) -> Interval {
        let surplus = surplus_variance(a) + surplus_variance(b);
        let interval = Interval::of(mean(a) - mean(b), draws, surplus);
        match a.first().map_or(0, Vec::len) {
            num_questions if num_questions > 0 && interval.half_width() < NO_WIDTH => {
                score_difference(interval.mean, num_questions)
            }
            _ => interval,
        }
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
    /// One number per seed and question, `[seed][question]`.
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
/// `SE^2 = s_q^2 / n + t_a^2 / S_a + t_b^2 / S_b`: `s_q^2` is the sample variance over the `n`
/// questions of the difference of the two seed means, which holds the interaction of seed and question
/// once, and `t^2` each group's `seed_variance`, which does not hold it.
///
/// # Shapes
/// `a[seed][question]`, `b[seed][question]`, the same questions.
pub fn standard_error_paired(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let difference: Vec<f64> =
        over_seeds(a).iter().zip(over_seeds(b)).map(|(a, b)| a - b).collect();
    let seeds = |group: &[Vec<f64>]| seed_variance(group) / group.len() as f64;
    (variance_of_mean(&difference) + seeds(a) + seeds(b)).sqrt()
}

/// The excess of the crossed bootstrap's variance of a group's mean: the interaction of seed and question
/// is in its draws of questions and once more in its draws of seeds (Owen 2007, equation 10).
pub fn surplus_variance(values: &[Vec<f64>]) -> f64 {
    let count = values.iter().map(Vec::len).sum::<usize>();
    if count == 0 { 0.0 } else { interaction_variance(values) / count as f64 }
}

/// [`standard_error_paired`]'s variance over training seeds, pooled over `rows` with at least two seeds, each
/// weighted by its degrees of freedom. `None` where no row has two seeds.
///
/// A run of one seed then has the training noise that golden results of several seeds show.
///
/// # Shapes
/// `rows[row][seed][question]`.
pub fn pooled_seed_variance<'a>(rows: impl IntoIterator<Item = &'a Vec<Vec<f64>>>) -> Option<f64> {
    let (mut sum, mut degrees) = (0.0, 0.0);
    for row in rows.into_iter().filter(|row| row.len() > 1) {
        let num_questions = row.first().map_or(1, Vec::len).max(1) as f64;
        let means: Vec<f64> =
            row.iter().map(|seed| seed.iter().sum::<f64>() / seed.len() as f64).collect();
        let of_means = variance_of_mean(&means) * means.len() as f64;
        let own = (means.len() - 1) as f64;
        // Not cut at zero one by one: what is too little in one row makes up for too much in another.
        sum += own * (of_means - interaction_variance(row) / num_questions);
        degrees += own;
    }
    (degrees > 0.0 && sum.is_finite()).then(|| (sum / degrees).max(0.0))
}

/// As [`standard_error_paired`], with a known variance over seeds in place of each group's own.
pub fn standard_error_paired_with(a: &[Vec<f64>], b: &[Vec<f64>], seed_variance: f64) -> f64 {
    let difference: Vec<f64> =
        over_seeds(a).iter().zip(over_seeds(b)).map(|(a, b)| a - b).collect();
    let seeds = seed_variance * (1.0 / a.len() as f64 + 1.0 / b.len() as f64);
    (variance_of_mean(&difference) + seeds).sqrt()
}

/// As [`standard_error_paired_with`] for groups over different questions: the question variances of the two
/// groups are added.
pub fn standard_error_unpaired_with(a: &[Vec<f64>], b: &[Vec<f64>], seed_variance: f64) -> f64 {
    let questions = variance_of_mean(&over_seeds(a)) + variance_of_mean(&over_seeds(b));
    (questions + seed_variance * (1.0 / a.len() as f64 + 1.0 / b.len() as f64)).sqrt()
}

/// Wilson's score interval of a share `p` of `num_questions` at [`CONFIDENCE`], as in [`Interval::of_shares`].
fn wilson(p: f64, num_questions: usize) -> Interval {
    let (n, z) = (num_questions as f64, normal_quantile(0.5 + CONFIDENCE / 2.0));
    let square = z * z / n;
    let center = (p + square / 2.0) / (1.0 + square);
    let half = z * (p * (1.0 - p) / n + square / (4.0 * n)).max(0.0).sqrt() / (1.0 + square);
    // The share lies within, also where rounding says otherwise.
    Interval {
        mean: p,
        low: (center - half).clamp(0.0, p.max(0.0)),
        high: (center + half).clamp(p.min(1.0), 1.0),
    }
}

/// The score interval, at [`CONFIDENCE`], of the difference of two shares over the same `num_questions`, on each of
/// which the difference is `d` (Tango, Equivalence test and confidence interval for the difference in proportions for
/// the paired-sample design, Statistics in Medicine 1998).
///
/// Its ends solve `n (d - x) = ±z sqrt(n (2 q + x (1 - x)))` for `x`, where `q` is the most likely share of questions
/// that only the second group gets right if the difference is `x`. Two groups that are alike on all of `n` questions
/// differ by at most `z^2 / (n + z^2)`.
pub fn score_difference(d: f64, num_questions: usize) -> Interval {
    let (n, z) = (num_questions as f64, normal_quantile(0.5 + CONFIDENCE / 2.0));
    // Of a negative difference the groups change places.
    let size = d.abs().min(1.0);
    let distance = |x: f64| {
        // The most likely `q` where only the first group gets questions that the other does not.
        let q = (size - (2.0 - size) * x).max(0.0) / 2.0;
        let variance = (2.0 * q + x * (1.0 - x)).max(f64::MIN_POSITIVE);
        n.sqrt() * (size - x) / variance.sqrt()
    };
    // The distance falls as `x` grows.
    let solve = |mut low: f64, mut high: f64, wanted: f64| {
        for _ in 0..80 {
            let middle = f64::midpoint(low, high);
            if distance(middle) > wanted { low = middle } else { high = middle }
        }
        f64::midpoint(low, high)
    };
    let (low, high) = (solve(-1.0, size, z), solve(size, 1.0, -z));
    match d < 0.0 {
        true => Interval { mean: d, low: -high, high: -low },
        false => Interval { mean: d, low, high },
    }
}

/// The standard error of the mean difference of two groups of shares, of each of which all questions are alike, so that
/// their variance shows none: the one whose Wald interval is as wide as [`score_difference`] of the same questions, or
/// as wide as both Wilson intervals together of different ones (Newcombe, Statistics in Medicine 1998).
///
/// # Shapes
/// `a[seed][question]`, `b[seed][question]`.
pub fn standard_error_of_alike(a: &[Vec<f64>], b: &[Vec<f64>], is_paired: bool) -> f64 {
    let num_questions = |group: &[Vec<f64>]| group.first().map_or(1, Vec::len).max(1);
    let half = if is_paired {
        score_difference(mean(a) - mean(b), num_questions(a)).half_width()
    } else {
        let of = |group: &[Vec<f64>]| wilson(mean(group), num_questions(group)).half_width();
        of(a).hypot(of(b))
    };
    half / normal_quantile(0.5 + CONFIDENCE / 2.0)
}

/// Probability that a standard normal number is below `x`.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// Two-sided p-value of no difference for an estimate with this standard error (Wald).
pub fn difference_p(effect: f64, standard_error: f64) -> f64 {
    if standard_error > 0.0 {
        2.0 * normal_cdf(-(effect / standard_error).abs())
    } else {
        f64::from(u8::from(effect.abs() <= 0.0))
    }
}

/// As [`difference_p`] where the standard error itself is an estimate with so many degrees of freedom:
/// Student's t by Wallace's normal approximation (Annals of Mathematical Statistics 1959). Its p-values are too
/// large, never too small: by under 1 % at .05 and 10 % at .001 from five degrees of freedom on.
pub fn difference_p_of_few(effect: f64, standard_error: f64, degrees: f64) -> f64 {
    if !degrees.is_finite() || standard_error <= 0.0 {
        return difference_p(effect, standard_error);
    }
    let t = effect / standard_error;
    let z = (degrees * (t * t / degrees).ln_1p()).sqrt() * (8.0 * degrees + 1.0)
        / (8.0 * degrees + 3.0);
    difference_p(z, 1.0)
}

/// p-value of the two one-sided tests that the effect lies beyond `band` on either side: small means
/// equivalent (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987).
pub fn equivalence_p(effect: f64, standard_error: f64, band: f64) -> f64 {
    if standard_error > 0.0 {
        normal_cdf((effect.abs() - band) / standard_error)
    } else {
        f64::from(u8::from(effect.abs() > band))
    }
}

/// McNemar's exact test (Biometrika 1947): two-sided p-value of `won` against `lost` of the questions on
/// which two paired binary outcomes differ, which is binomial with a half if the two are alike.
pub fn mcnemar_p(won: u64, lost: u64) -> f64 {
    let (n, fewer) = (won + lost, won.min(lost));
    // ln of n choose k over 2^n, added up from k = 0.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut total = 0.0;
    for k in 0..=fewer {
        total += term.exp();
        term += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * total).min(1.0)
}

/// Holm's step-down correction (Scandinavian Journal of Statistics 1979): adjusted p-values in the order
/// given; rejecting those at most `alpha` makes any false rejection at most that likely, whatever their
/// dependence.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    let mut adjusted = vec![1.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(((p.len() - rank) as f64 * p[i]).min(1.0));
        adjusted[i] = largest;
    }
    adjusted
}

/// The smallest effect that a two-sided test at level `alpha` finds with a power of 80 %, for an estimate with
/// this standard error: `(z(1 - alpha / 2) + z(0.8)) SE` (Bloom, Evaluation Review 1995).
pub fn minimum_detectable_effect(standard_error: f64, alpha: f64) -> f64 {
    (normal_quantile(1.0 - alpha / 2.0) + normal_quantile(0.8)) * standard_error
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

/// The variance over training seeds of a group's true accuracy: that of the means over questions, less what
/// their interaction puts there; not below 0, and 0 with one seed, whose variance nothing shows.
fn seed_variance(values: &[Vec<f64>]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let num_questions = values.first().map_or(1, Vec::len).max(1) as f64;
    let means: Vec<f64> =
        values.iter().map(|seed| seed.iter().sum::<f64>() / seed.len() as f64).collect();
    let of_means = variance_of_mean(&means) * means.len() as f64;
    (of_means - interaction_variance(values) / num_questions).max(0.0)
}

/// The variance of what neither seed nor question explains, samples' noise included; 0 with one seed.
fn interaction_variance(values: &[Vec<f64>]) -> f64 {
    let (num_seeds, num_questions) = (values.len(), values.first().map_or(0, Vec::len));
    if num_seeds < 2 || num_questions < 2 {
        return 0.0;
    }
    let of_question = over_seeds(values);
    let all = mean(values);
    let squares: f64 = values
        .iter()
        .map(|seed| {
            let of_seed = seed.iter().sum::<f64>() / num_questions as f64;
            let left = seed.iter().zip(&of_question).map(|(x, q)| x - of_seed - q + all);
            left.map(|x| x * x).sum::<f64>()
        })
        .sum();
    squares / ((num_seeds - 1) * (num_questions - 1)) as f64
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
    fn an_estimated_noise_is_judged_by_students_t() {
        // Two-sided quantiles of Student's t: p, degrees of freedom, t.
        for (p, degrees, t) in [
            (0.05, 2.0, 4.302_653),
            (0.05, 5.0, 2.570_582),
            (0.001, 5.0, 6.868_827),
            (0.05, 10.0, 2.228_139),
            (0.001, 10.0, 4.586_894),
        ] {
            let found = difference_p_of_few(-t, 1.0, degrees);
            assert!(found >= p && found < 1.1 * p, "{found} for {p} of {degrees}");
        }
        let known = difference_p_of_few(1.5, 1.0, f64::INFINITY);
        assert_eq!(known.to_bits(), difference_p(1.5, 1.0).to_bits());
        assert_eq!(difference_p_of_few(0.0, 0.0, 3.0).to_bits(), 1.0_f64.to_bits());
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
        assert!(standard_error_unpaired_with(&a, &a, 0.0) > 0.03);
    }

    /// Studies of the shape of `small`: questions of their own difficulty, four answers each, three training
    /// seeds that are a point apart.
    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        for num_seeds in [1, 3] {
            let coverage = coverage(num_seeds);
            assert!((0.93..=0.97).contains(&coverage), "{num_seeds} seeds: {coverage}");
        }
    }

    fn coverage(num_seeds: usize) -> f64 {
        const STUDIES: u64 = 2000;
        let num_questions = 120;
        // One seed shows nothing of training, and its interval promises nothing about it.
        let noise = if num_seeds > 1 { 0.01 } else { 0.0 };
        let mut held = 0;
        for study in 0..STUDIES {
            let stream = Seed::root(5).at(study);
            let mut rng = stream.rng();
            let normal = |rng: &mut rand_chacha::ChaCha8Rng| {
                (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
            };
            // Accuracy .5 on average, whatever is drawn.
            let ease: Vec<f64> =
                (0..num_questions).map(|_| 0.1 + 0.8 * rng.random::<f64>()).collect();
            let values: Vec<Vec<f64>> = (0..num_seeds)
                .map(|_| {
                    let off = noise * normal(&mut rng);
                    let answer = |rng: &mut rand_chacha::ChaCha8Rng, ease: f64| {
                        f64::from(u8::from(rng.random::<f64>() < ease + off))
                    };
                    ease.iter()
                        .map(|&ease| (0..4).map(|_| answer(&mut rng, ease)).sum::<f64>() / 4.0)
                        .collect()
                })
                .collect();
            let truth = 0.5;
            let group = Group { label: "row".to_owned(), values: values.clone() };
            let draws = bootstrap(stream.fold_in("bootstrap"), &[group]).swap_remove(0);
            let interval = Interval::of(mean(&values), draws, surplus_variance(&values));
            held += u64::from(interval.low <= truth && truth <= interval.high);
        }
        held as f64 / STUDIES as f64
    }

    #[test]
    fn tests_have_the_p_values_of_the_tables() {
        let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-6, "{got} {want}");
        close(normal_cdf(1.959_963_985), 0.975);
        close(difference_p(1.959_963_985, 1.0), 0.05);
        close(difference_p(-1.959_963_985, 1.0), 0.05);
        // R: TOST of .5 against a band of 2 with SE .7: pnorm(-1.5 / .7).
        close(equivalence_p(0.5, 0.7, 2.0), 0.016_062_3);
        assert!(equivalence_p(2.5, 0.7, 2.0) > 0.5);
        // R: binom.test(3, 15)$p.value, binom.test(0, 6)$p.value.
        close(mcnemar_p(12, 3), 0.035_156_25);
        close(mcnemar_p(0, 6), 0.031_25);
        close(mcnemar_p(5, 5), 1.0);
        close(mcnemar_p(0, 0), 1.0);
        assert!(mcnemar_p(3000, 1000) < 1e-100 || mcnemar_p(3000, 1000) >= 0.0);
        // R: p.adjust(c(.01, .04, .03, .005), "holm").
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, want) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            close(*got, want);
        }
        close(minimum_detectable_effect(1.0, 0.05), 2.801_585_218);
    }

    #[test]
    fn training_noise_is_pooled_over_rows_that_show_it() {
        let row = |means: &[f64]| means.iter().map(|m| vec![*m; 4]).collect::<Vec<_>>();
        let rows = [row(&[0.5, 0.7]), row(&[0.2]), row(&[0.1, 0.2, 0.3])];
        // (.02 + .02) / (1 + 2).
        let pooled = pooled_seed_variance(&rows).unwrap();
        assert!((pooled - 0.04 / 3.0).abs() < 1e-12, "{pooled}");
        assert_eq!(pooled_seed_variance(&rows[1..2]), None);
        let error = standard_error_paired_with(&rows[0], &rows[1], pooled);
        assert!((error * error - pooled * 1.5).abs() < 1e-12);
    }

    #[test]
    fn the_closed_form_is_the_bootstraps_standard_error() {
        for num_seeds in [1, 20] {
            let a = values("a", num_seeds, 300, 0.6);
            let b = values("b", num_seeds, 300, 0.5);
            let draws = bootstrap(Seed::root(3), &groups(&[&a, &b]));
            let difference: Vec<f64> = draws[0].iter().zip(&draws[1]).map(|(a, b)| a - b).collect();
            let surplus = surplus_variance(&a) + surplus_variance(&b);
            let drawn = (spread(&difference).powi(2) - surplus).sqrt();
            let ratio = standard_error_paired(&a, &b) / drawn;
            assert!((ratio - 1.0).abs() < 0.07, "{num_seeds} seeds: {ratio}");
        }
    }

    #[test]
    fn seeds_that_differ_widen_the_interval() {
        let questions = vec![0.0; 50];
        let level = |value: f64| questions.iter().map(|zero| zero + value).collect::<Vec<f64>>();
        let draws = bootstrap(Seed::root(4), &groups(&[&[level(0.2), level(0.4), level(0.6)]]));
        let interval = Interval::of(0.4, draws[0].clone(), 0.0);
        assert!(interval.half_width() > 0.1);
        let seeds = [level(0.2), level(0.4), level(0.6)];
        let expected = (0.04_f64 / 3.0).sqrt();
        assert!((standard_error_paired(&seeds, &[level(0.0)]) - expected).abs() < 1e-9);
    }

    #[test]
    fn an_interval_leaves_two_and_a_half_percent_on_each_side() {
        let interval = Interval::of(500.0, (0..=1000).rev().map(f64::from).collect(), 0.0);
        assert!((interval.low - 25.0).abs() < 1e-9 && (interval.high - 975.0).abs() < 1e-9);
    }

    #[track_caller]
    fn is(interval: Interval, low: f64, high: f64) {
        assert!(
            (interval.low - low).abs() < 1e-6 && (interval.high - high).abs() < 1e-6,
            "{interval:?}"
        );
    }

    #[test]
    fn answers_that_are_all_alike_leave_a_width() {
        let of = |values: &[Vec<f64>]| {
            let draws = bootstrap(Seed::root(6), &groups(&[values])).swap_remove(0);
            Interval::of_shares(values, draws)
        };
        // statsmodels: proportion_confint(3, 3, method="wilson"), (0, 60), (1, 1), (2, 4).
        is(of(&[vec![1.0; 3]]), 0.438_503, 1.0);
        is(of(&[vec![0.0; 60]]), 0.0, 0.060_172);
        is(of(&[vec![1.0]]), 0.206_549, 1.0);
        is(of(&[vec![0.5; 4]]), 0.150_039, 0.849_961);
        // Three seeds ask the same questions.
        is(of(&[vec![1.0; 3], vec![1.0; 3], vec![1.0; 3]]), 0.438_503, 1.0);
        // Where answers differ the bootstrap stays.
        let values = [vec![1.0, 1.0, 0.0, 1.0]];
        let draws = bootstrap(Seed::root(6), &groups(&[&values])).swap_remove(0);
        assert_eq!(of(&values), Interval::of(0.75, draws, 0.0));
        // Of what is no question nothing is known.
        assert!(of(&[vec![]]).high.is_infinite());
    }

    #[test]
    fn differences_that_are_all_alike_leave_a_width() {
        let of = |a: &[Vec<f64>], b: &[Vec<f64>]| {
            let draws = bootstrap(Seed::root(6), &groups(&[a, b]));
            let draws = draws[0].iter().zip(&draws[1]).map(|(a, b)| a - b).collect();
            Interval::of_share_difference(a, b, draws)
        };
        let (ones, zeros) = ([vec![1.0; 10]], [vec![0.0; 10]]);
        // z^2 / (n + z^2) and 1 - 2 z^2 / (n + z^2).
        is(of(&ones, &ones), -0.277_533, 0.277_533);
        is(of(&ones, &zeros), 0.444_934, 1.0);
        is(of(&zeros, &ones), -1.0, -0.444_934);
        is(of(&[vec![0.75; 10]], &[vec![0.25; 10]]), 0.083_701, 0.763_407);
        let mixed = [vec![1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]];
        is(of(&mixed, &mixed), -0.277_533, 0.277_533);
        assert!(of(&mixed, &ones).low > -0.7);
    }

    #[test]
    fn what_is_alike_has_a_standard_error() {
        let (ones, zeros) = ([vec![1.0; 10]], [vec![0.0; 40]]);
        let z = normal_quantile(0.975);
        let paired = standard_error_of_alike(&ones, &ones, true);
        assert!((paired * z - 0.277_533).abs() < 1e-6, "{paired}");
        // Half of 27.8 and of 8.8 %.
        let unpaired = standard_error_of_alike(&ones, &zeros, false);
        assert!((unpaired * z - 0.138_766_f64.hypot(0.043_812)).abs() < 1e-5, "{unpaired}");
    }

    #[test]
    fn what_is_not_a_number_never_gives_a_narrow_interval() {
        let interval = Interval::of(0.5, vec![0.4, f64::NAN], 0.0);
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
        fn score_intervals_hold_the_estimate_and_shrink(p in 0.0..=1.0_f64, n in 1_usize..500) {
            let (share, more) = (wilson(p, n), wilson(p, n + 1));
            prop_assert!(0.0 <= share.low && share.low <= p && p <= share.high && share.high <= 1.0);
            prop_assert!(more.half_width() < share.half_width());
            let mirrored = wilson(1.0 - p, n);
            prop_assert!((mirrored.low + share.high - 1.0).abs() < 1e-9);
            let d = 2.0 * p - 1.0;
            let (there, back) = (score_difference(d, n), score_difference(-d, n));
            prop_assert!(-1.0 <= there.low && there.low <= d && d <= there.high && there.high <= 1.0);
            prop_assert!(there.half_width() > 1e-6);
            prop_assert!((there.low + back.high).abs() < 1e-9);
        }

        #[test]
        fn quantiles_mirror_around_one_half(p in 1e-9..0.5_f64) {
            prop_assert!((normal_quantile(p) + normal_quantile(1.0 - p)).abs() < 1e-6);
        }
    }
}
