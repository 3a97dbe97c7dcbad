//! Intervals and standard errors over questions and seeds. Pure.
//!
//! This module does not know what is measured: it sees one number per seed and question.
//! A mean is off for two reasons: other questions could have been asked, and the training could have gone otherwise. The
//! first is seen between the questions of a row, the second only between its seeds, of which there are few; so it is
//! pooled over rows that are trained alike ([`Noise`]), and an interval is Student's t with the degrees of freedom that
//! both parts leave ([`Estimate`]).
//! Where all questions come to one share nothing is seen between them; shares then get the score interval of so many
//! questions that are alike.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use special::Beta as _;

/// Confidence of every reported interval.
pub const CONFIDENCE: f64 = 0.95;

/// Degrees of freedom from which on Student's t is the normal distribution to all digits that are shown; an estimate
/// has no more.
pub const DEGREES_MAX: f64 = 1e5;

/// A smaller variance than this between questions is rounding.
const NO_VARIANCE: f64 = 1e-18;

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
    /// Half of the interval's width.
    pub fn half_width(self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// The interval in another unit, for example shares in percent.
    pub fn scaled(self, factor: f64) -> Interval {
        Interval { mean: self.mean * factor, low: self.low * factor, high: self.high * factor }
    }

    /// The part of the interval that lies between `low` and `high`, where the mean does.
    pub fn within(self, low: f64, high: f64) -> Interval {
        let Interval { mean, .. } = self;
        Interval { mean, low: self.low.max(low).min(mean), high: self.high.min(high).max(mean) }
    }
}

/// How much the mean of a trained row is off because its training could have gone otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Variance between seeds that neither questions nor sampling explain.
    pub variance: f64,
    /// Variance of the means of seeds as it is seen, questions' and samples' part included.
    pub of_means: f64,
    /// Degrees of freedom of the estimate.
    pub degrees: f64,
}

impl Noise {
    /// The noise of what is not trained.
    pub const NONE: Noise = Noise { variance: 0.0, of_means: 0.0, degrees: DEGREES_MAX };

    /// The noise of rows that are trained alike, each weighted by its degrees of freedom; `None` where no row has two
    /// seeds. Rows of one cluster stand on the same trainings, so that together they show no more than one of them:
    /// their noise is averaged, and counts once.
    ///
    /// # Shapes
    /// `clusters[cluster][row][seed][question]`.
    pub fn pooled<'a>(clusters: impl IntoIterator<Item = Vec<&'a Vec<Vec<f64>>>>) -> Option<Noise> {
        let (mut variance, mut of_means, mut degrees) = (0.0, 0.0, 0.0);
        for cluster in clusters {
            let rows: Vec<&Vec<Vec<f64>>> =
                cluster.into_iter().filter(|row| row.len() > 1).collect();
            let own = rows.iter().map(|row| row.len() - 1).max().unwrap_or(0) as f64;
            let weight = own / rows.len().max(1) as f64;
            for row in rows {
                let num_questions = row.first().map_or(1, Vec::len).max(1) as f64;
                let seen = variance_of(&row.iter().map(|seed| average(seed)).collect::<Vec<f64>>());
                of_means += weight * seen;
                // Not cut at zero one by one: what is too little in one row makes up for too much in another.
                variance += weight * (seen - interaction_variance(row) / num_questions);
            }
            degrees += own;
        }
        (degrees > 0.0 && variance.is_finite()).then(|| Noise {
            variance: (variance / degrees).max(0.0),
            of_means: of_means / degrees,
            degrees,
        })
    }

    /// This noise and `other`, each as often as it counts, where both are one estimate, perhaps in two units.
    pub fn plus(self, times: f64, other: Noise, times_other: f64) -> Noise {
        Noise {
            variance: times * self.variance + times_other * other.variance,
            of_means: times * self.of_means + times_other * other.of_means,
            degrees: self.degrees.min(other.degrees),
        }
    }

    /// The noise in another unit.
    pub fn scaled(self, factor: f64) -> Noise {
        let square = factor * factor;
        Noise { variance: self.variance * square, of_means: self.of_means * square, ..self }
    }
}

/// Chance that any cluster of a pool is kept apart from the others though all have the same noise: Cochran's test of the
/// largest variance calls that an outlier (ISO 5725-2, section 7.3.3).
const OUTLYING: f64 = 0.01;

/// The noise of rows that are trained alike, without those whose seeds differ far more than the others': a training that
/// succeeds now and then has a noise of its own, and pooled it would widen every other interval and narrow its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool<K> {
    /// The noise of all others together; `None` where no row has two seeds.
    pub common: Option<Noise>,
    /// Clusters with a noise of their own, the noisiest first.
    pub own: Vec<(K, Noise)>,
}

impl<K: PartialEq> Pool<K> {
    /// Pools `clusters`, each with what it is called.
    ///
    /// # Shapes
    /// As [`Noise::pooled`].
    pub fn of(mut clusters: Vec<(K, Vec<&Vec<Vec<f64>>>)>) -> Pool<K> {
        let mut own = Vec::new();
        while let Some((place, noise)) = outlier(clusters.iter().map(|(_, rows)| rows)) {
            own.push((clusters.remove(place).0, noise));
        }
        Pool { common: Noise::pooled(clusters.into_iter().map(|(_, rows)| rows)), own }
    }

    /// The noise of a cluster: its own if it has one, else the common one.
    pub fn noise(&self, cluster: &K) -> Option<Noise> {
        let own = self.own.iter().find(|(other, _)| other == cluster);
        own.map(|(_, noise)| *noise).or(self.common)
    }
}

/// `[seed][question]`.
type Values = Vec<Vec<f64>>;

/// The noise of clusters in classes, and of all of them together.
#[derive(Debug)]
pub struct Pools<K> {
    /// That of each class.
    of_class: BTreeMap<String, Pool<K>>,
    /// That of all classes together, for those that show nothing themselves.
    any: Option<Noise>,
}

impl<K: Ord + Clone> Pools<K> {
    /// Pools `clusters` by their class.
    ///
    /// # Shapes
    /// As [`Noise::pooled`].
    pub fn of(clusters: &BTreeMap<(&str, K), Vec<Values>>) -> Pools<K> {
        let mut of_class: BTreeMap<&str, Vec<(K, Vec<&Values>)>> = BTreeMap::new();
        for ((class, cluster), rows) in clusters {
            of_class.entry(class).or_default().push((cluster.clone(), rows.iter().collect()));
        }
        let pooled = |(class, clusters): (&str, _)| (class.to_owned(), Pool::of(clusters));
        let any = Noise::pooled(clusters.values().map(|rows| rows.iter().collect()));
        Pools { of_class: of_class.into_iter().map(pooled).collect(), any }
    }

    /// The noise of a cluster: its own if it has one, else that of its class, else that of all.
    pub fn noise(&self, class: &str, cluster: &K) -> Option<Noise> {
        self.of_class.get(class).and_then(|pool| pool.noise(cluster)).or(self.any)
    }

    /// Tells whether a cluster's noise is kept apart from that of its class.
    pub fn is_apart(&self, class: &str, cluster: &K) -> bool {
        self.of_class.get(class).is_some_and(|pool| pool.own.iter().any(|(own, _)| own == cluster))
    }

    /// The common noise of each class that has one.
    pub fn common(&self) -> BTreeMap<&str, Noise> {
        let common = self.of_class.iter().map(|(class, pool)| Some((class.as_str(), pool.common?)));
        common.flatten().collect()
    }
}

/// The cluster whose means differ most between seeds, with its noise, if that is far more than in all others together.
fn outlier<'a, 'b: 'a>(
    clusters: impl Iterator<Item = &'a Vec<&'b Vec<Vec<f64>>>>,
) -> Option<(usize, Noise)> {
    let noises: Vec<(usize, Noise)> = clusters
        .enumerate()
        .filter_map(|(place, rows)| Some((place, Noise::pooled([rows.clone()])?)))
        .collect();
    let (place, largest) =
        *noises.iter().max_by(|(_, a), (_, b)| a.of_means.total_cmp(&b.of_means))?;
    let others = || noises.iter().filter(|(other, _)| *other != place).map(|(_, noise)| noise);
    let degrees: f64 = others().map(|noise| noise.degrees).sum();
    let of_others = others().map(|noise| noise.degrees * noise.of_means).sum::<f64>() / degrees;
    // Beside no noise at all every noise would be an outlier.
    if of_others.is_nan() || of_others <= NO_VARIANCE {
        return None;
    }
    let chance = f_survival(largest.of_means / of_others, largest.degrees, degrees);
    (chance * (noises.len() as f64) < OUTLYING).then_some((place, largest))
}

/// An effect with its standard error, and the degrees of freedom that this rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The effect, in the unit of what is measured.
    pub effect: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error.
    pub degrees: f64,
}

impl Estimate {
    /// The estimate of a mean over questions that stands on trainings:
    ///
    /// `SE^2 = s_q^2 / n + sum_i c_i v_i`, where `s_q^2` is the variance of `per_question` (the mean over seeds of each of
    /// `n` questions, of one row or of a contrast of rows) and `v_i` the noise of a training, which counts `c_i` times:
    /// once over the number of seeds for a row with weight one. `s_q^2` holds the interaction of seeds and questions once,
    /// the noise does not hold it. The degrees of freedom are Satterthwaite's (Biometrics Bulletin 1946), whole ones: with
    /// three seeds of one row they are too many by a part, which shows in simulation.
    ///
    /// # Shapes
    /// `per_question[question]`; each of `noise` is `(c_i, v_i)`.
    pub fn of(per_question: &[f64], noise: &[(f64, Noise)]) -> Estimate {
        Estimate::from_parts(average(per_question), &[per_question], noise)
    }

    /// As [`Estimate::of`], of the difference of two rows that were asked different questions: the variances of both over
    /// their questions are added.
    pub fn of_unpaired(a: &[f64], b: &[f64], noise: &[(f64, Noise)]) -> Estimate {
        Estimate::from_parts(average(a) - average(b), &[a, b], noise)
    }

    fn from_parts(effect: f64, questions: &[&[f64]], noise: &[(f64, Noise)]) -> Estimate {
        let of_questions = questions.iter().map(|values| {
            let own = variance_of(values) / values.len().max(1) as f64;
            (own, own, values.len().saturating_sub(1).max(1) as f64)
        });
        // The noise is what is seen less a part that is known well: what is seen decides how sure it is.
        let of_training = noise
            .iter()
            .map(|(times, noise)| (times * noise.variance, times * noise.of_means, noise.degrees));
        let (mut variance, mut squares, mut least) = (0.0, 0.0, DEGREES_MAX);
        for (own, seen, degrees) in of_questions.chain(of_training).filter(|part| part.1 > 0.0) {
            variance += own;
            squares += seen * seen / degrees;
            least = least.min(degrees);
        }
        let degrees = if squares > 0.0 { variance * variance / squares } else { DEGREES_MAX };
        Estimate {
            effect,
            standard_error: variance.sqrt(),
            degrees: degrees.floor().max(least).min(DEGREES_MAX),
        }
    }

    /// The estimate with the same effect whose interval is as wide as `interval`, of which the error is known.
    pub fn as_wide_as(interval: Interval) -> Estimate {
        Estimate {
            effect: interval.mean,
            standard_error: interval.half_width() / normal_quantile(0.5 + CONFIDENCE / 2.0),
            degrees: DEGREES_MAX,
        }
    }

    /// The interval at [`CONFIDENCE`]; the widest where the estimate is not a number.
    pub fn interval(self) -> Interval {
        let half = t_quantile(0.5 + CONFIDENCE / 2.0, self.degrees) * self.standard_error;
        let mean = self.effect;
        if half.is_nan() || mean.is_nan() {
            return Interval { mean, low: f64::NEG_INFINITY, high: f64::INFINITY };
        }
        Interval { mean, low: mean - half, high: mean + half }
    }

    /// One-sided p-value of the effect being at most `bound`: small means that it lies above.
    pub fn p_above(self, bound: f64) -> f64 {
        let distance = self.effect - bound;
        if self.standard_error > 0.0 {
            t_survival(distance / self.standard_error, self.degrees)
        } else {
            f64::from(u8::from(distance <= 0.0))
        }
    }

    /// One-sided p-value of the effect being at least `bound`: small means that it lies below.
    pub fn p_below(self, bound: f64) -> f64 {
        Estimate { effect: -self.effect, ..self }.p_above(-bound)
    }

    /// Two-sided p-value of no effect.
    pub fn p_difference(self) -> f64 {
        if self.standard_error > 0.0 {
            (2.0 * t_survival(self.effect.abs() / self.standard_error, self.degrees)).min(1.0)
        } else {
            f64::from(u8::from(self.effect.abs() <= 0.0))
        }
    }

    /// p-value of the two one-sided tests that the effect lies beyond `band` on either side: small means
    /// equivalent (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987).
    pub fn p_within(self, band: f64) -> f64 {
        self.p_below(band).max(self.p_above(-band))
    }

    /// The smallest effect that a two-sided test at level `alpha` finds with a power of 80 %:
    /// `(t(1 - alpha / 2) + t(0.8)) SE` (Bloom, Evaluation Review 1995).
    pub fn detectable(self, alpha: f64) -> f64 {
        let both = t_quantile(1.0 - alpha / 2.0, self.degrees) + t_quantile(POWER, self.degrees);
        both * self.standard_error
    }

    /// The estimate in another unit.
    pub fn scaled(self, factor: f64) -> Estimate {
        Estimate {
            effect: self.effect * factor,
            standard_error: self.standard_error * factor.abs(),
            ..self
        }
    }
}

/// The power that every statement about seeds and smallest effects is for.
pub const POWER: f64 = 0.8;

/// Power of a two-sided test at level `alpha` against a true `effect`: the tail of the noncentral t by the normal
/// approximation `(t (1 - 1 / 4 nu) - delta) / sqrt(1 + t^2 / 2 nu)` (Johnson and Kotz, Continuous univariate
/// distributions 2, 1970, chapter 31). The other tail is left out.
pub fn power(effect: f64, standard_error: f64, degrees: f64, alpha: f64) -> f64 {
    if standard_error <= 0.0 {
        return 1.0;
    }
    let t = t_quantile(1.0 - alpha / 2.0, degrees);
    let distance = t * (1.0 - 0.25 / degrees) - effect.abs() / standard_error;
    normal_cdf(-distance / (1.0 + t * t / (2.0 * degrees)).sqrt())
}

/// The smallest number of seeds, the same on both sides, with which a two-sided test at level `alpha` of two trainings
/// finds `effect` with a power of 80 %, where seeds deviate by `deviation` and each seed more adds `degrees_per_seed`
/// degrees of freedom to what is known of it. `None` beyond a thousand.
pub fn seeds_needed(
    effect: f64,
    deviation: f64,
    alpha: f64,
    degrees_per_seed: f64,
) -> Option<usize> {
    (2..=1000_usize).find(|&seeds| {
        let error = deviation * (2.0 / seeds as f64).sqrt();
        power(effect, error, degrees_per_seed * (seeds - 1) as f64, alpha) >= POWER
    })
}

/// The mean over seeds and questions; not a number where there are none.
pub fn mean(values: &[Vec<f64>]) -> f64 {
    let count: usize = values.iter().map(Vec::len).sum();
    values.iter().flatten().sum::<f64>() / count as f64
}

/// The mean over seeds for each question.
///
/// # Shapes
/// `values[seed][question]` -> `[question]`.
pub fn over_seeds(values: &[Vec<f64>]) -> Vec<f64> {
    let num_questions = values.first().map_or(0, Vec::len);
    (0..num_questions)
        .map(|question| values.iter().map(|seed| seed[question]).sum::<f64>() / values.len() as f64)
        .collect()
}

/// Tells whether all questions come to one value, so that nothing is seen between them.
pub fn are_alike(per_question: &[f64]) -> bool {
    variance_of(per_question) < NO_VARIANCE
}

/// The interval of a share at [`CONFIDENCE`], cut to 0 to 1; where all questions come to one share, Wilson's score
/// interval over the questions (Wilson, Probable inference, the law of succession, and statistical inference, Journal of
/// the American Statistical Association 1927):
///
/// `(p + z^2 / 2n ± z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`, with the mean `p` of `n` questions and
/// the normal quantile `z`. Three of three right then are 44 to 100 %.
///
/// # Shapes
/// `values[seed][question]`, each 0 to 1. Seeds and samples of a question are no questions of their own.
pub fn share_interval(values: &[Vec<f64>], noise: Noise) -> Interval {
    let per_question = over_seeds(values);
    if !per_question.is_empty() && are_alike(&per_question) {
        return wilson(mean(values), per_question.len());
    }
    let times = 1.0 / values.len().max(1) as f64;
    Estimate::of(&per_question, &[(times, noise)]).interval().within(0.0, 1.0)
}

/// Wilson's score interval of a share `p` of `num_questions` at [`CONFIDENCE`], as in [`share_interval`].
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

/// Probability that Student's t with these degrees of freedom is above `t`: half of the regularized incomplete beta
/// function `I(nu / (nu + t^2); nu / 2, 1 / 2)` (Abramowitz and Stegun 1964, 26.7.1).
pub fn t_survival(t: f64, degrees: f64) -> f64 {
    if t.is_nan() || degrees >= DEGREES_MAX {
        return normal_cdf(-t);
    }
    let x = degrees / (degrees + t * t);
    let tail = 0.5 * x.inc_beta(degrees / 2.0, 0.5, (degrees / 2.0).ln_beta(0.5));
    if t < 0.0 { 1.0 - tail } else { tail }
}

/// Probability that Fisher's F with these degrees of freedom is above `f`: the regularized incomplete beta function
/// `I(d / (d + n f); d / 2, n / 2)` with `n` and `d` degrees of numerator and denominator (Abramowitz and Stegun 1964,
/// 26.6.2).
pub fn f_survival(f: f64, numerator: f64, denominator: f64) -> f64 {
    let x = denominator / (denominator + numerator * f.max(0.0));
    let (a, b) = (denominator / 2.0, numerator / 2.0);
    x.inc_beta(a, b, a.ln_beta(b))
}

/// The `p`-quantile of Student's t with these degrees of freedom, `0 < p < 1`.
pub fn t_quantile(p: f64, degrees: f64) -> f64 {
    if degrees >= DEGREES_MAX {
        return normal_quantile(p);
    }
    let tail = p.min(1.0 - p);
    let x = (2.0 * tail).inv_inc_beta(degrees / 2.0, 0.5, (degrees / 2.0).ln_beta(0.5));
    let t = (degrees * (1.0 - x) / x).sqrt();
    if p < 0.5 { -t } else { t }
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
    let steps = holm_steps(p).into_iter().zip(p);
    steps.map(|((factor, floor), p)| (factor * p).min(1.0).max(floor)).collect()
}

/// The steps of [`holm`] in the order given: how often each p-value counts, and the adjusted one before it, which it is
/// not below.
pub fn holm_steps(p: &[f64]) -> Vec<(f64, f64)> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    let mut steps = vec![(1.0, 0.0); p.len()];
    let mut largest: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        let factor = (p.len() - rank) as f64;
        steps[i] = (factor, largest);
        largest = largest.max((factor * p[i]).min(1.0));
    }
    steps
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

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation of a few values, with one degree of freedom less than there are.
pub fn deviation(values: &[f64]) -> f64 {
    variance_of(values).sqrt()
}

/// Sample variance; 0 where one value shows none.
fn variance_of(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = average(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    squares / (values.len() - 1) as f64
}

#[cfg(test)]
mod tests;
