//! Distributions against tables, and intervals on simulated studies.

use super::*;
use proptest::prelude::*;
use synergy_benchmarks::seed::Seed;

#[track_caller]
fn close(got: f64, want: f64, within: f64) {
    assert!((got - want).abs() < within, "{got} for {want}");
}

#[test]
fn students_t_is_that_of_the_tables() {
    // R: qt(p, df).
    for (p, degrees, t) in [
        (0.975, 1.0, 12.706_204_7),
        (0.975, 2.0, 4.302_652_73),
        (0.975, 4.5, 2.658_912_35),
        (0.9995, 5.0, 6.868_826_6),
        (0.8, 10.0, 0.879_057_83),
        (0.999_9, 40.0, 4.094_207_10),
        (0.975, 30_000.0, 1.960_043_04),
    ] {
        close(t_quantile(p, degrees) / t, 1.0, 2e-6);
        close(t_quantile(1.0 - p, degrees) / t, -1.0, 2e-6);
        close(t_survival(t, degrees) / (1.0 - p), 1.0, 1e-5);
        close(t_survival(-t, degrees), p, 1e-7);
    }
    // R: pt(-12, 6), far in the tail.
    close(t_survival(12.0, 6.0) / 1.015_370e-5, 1.0, 1e-5);
    close(t_survival(0.0, 3.0), 0.5, 1e-12);
    close(t_survival(1.959_963_985, DEGREES_MAX), 0.025, 1e-9);
}

#[test]
fn quantiles_of_the_normal_are_those_of_the_tables() {
    let cases =
        [(0.5, 0.0), (0.975, 1.959_963_985), (0.995, 2.575_829_304), (0.001, -3.090_232_306)];
    for (p, expected) in cases {
        close(normal_quantile(p), expected, 1e-8);
    }
    close(normal_quantile(0.999_9), 3.719_016_485, 1e-8);
}

#[test]
fn tests_have_the_p_values_of_the_tables() {
    let known = |effect, standard_error| Estimate { effect, standard_error, degrees: DEGREES_MAX };
    close(normal_cdf(1.959_963_985), 0.975, 1e-6);
    close(known(-1.959_963_985, 1.0).p_difference(), 0.05, 1e-6);
    close(known(1.0, 1.0).p_above(1.0), 0.5, 1e-12);
    close(known(-2.0, 1.0).p_below(-0.355_146), 0.05, 1e-6);
    // R: TOST of .5 against a band of 2 with SE .7: pnorm(-1.5 / .7).
    close(known(0.5, 0.7).p_within(2.0), 0.016_062_3, 1e-6);
    assert!(known(2.5, 0.7).p_within(2.0) > 0.5);
    close(known(0.0, 1.0).detectable(0.05), 2.801_585_218, 1e-6);
    // R: binom.test(3, 15)$p.value, binom.test(0, 6)$p.value.
    close(mcnemar_p(12, 3), 0.035_156_25, 1e-6);
    close(mcnemar_p(0, 6), 0.031_25, 1e-6);
    close(mcnemar_p(5, 5), 1.0, 1e-6);
    close(mcnemar_p(0, 0), 1.0, 1e-6);
    // R: p.adjust(c(.01, .04, .03, .005), "holm").
    for (got, want) in holm(&[0.01, 0.04, 0.03, 0.005]).iter().zip([0.03, 0.06, 0.06, 0.02]) {
        close(*got, want, 1e-6);
    }
    let exact = Estimate { effect: 1.0, standard_error: 0.0, degrees: DEGREES_MAX };
    assert!(
        exact.p_above(0.0) < 1e-300 && exact.p_above(1.0) > 0.99 && exact.p_difference() < 1e-300
    );
}

#[test]
fn the_noise_of_training_is_pooled_over_what_shows_it() {
    let row = |means: &[f64]| means.iter().map(|m| vec![*m; 4]).collect::<Vec<_>>();
    let rows = [row(&[0.5, 0.7]), row(&[0.2]), row(&[0.1, 0.2, 0.3])];
    let apart = Noise::pooled(rows.iter().map(|row| vec![row])).unwrap();
    // (.02 + .02) / (1 + 2).
    close(apart.variance, 0.04 / 3.0, 1e-12);
    close(apart.degrees, 3.0, 1e-12);
    // On one training they show no more than one of them.
    let together = Noise::pooled([rows.iter().collect::<Vec<_>>()]).unwrap();
    close(together.degrees, 2.0, 1e-12);
    close(together.variance, f64::midpoint(0.02, 0.01), 1e-12);
    assert_eq!(Noise::pooled([vec![&rows[1]]]), None);
    let estimate = Estimate::of(&[0.1; 4], &[(1.0 / 3.0, apart)]);
    close(estimate.standard_error, (0.04_f64 / 9.0).sqrt(), 1e-12);
    close(estimate.degrees, 3.0, 1e-9);
}

#[test]
fn degrees_of_freedom_lie_between_those_of_the_parts() {
    let noise = Noise { variance: 0.01, of_means: 0.01, degrees: 2.0 };
    let questions: Vec<f64> = (0..200).map(|i| f64::from(i % 2)).collect();
    let of = |times: f64| Estimate::of(&questions, &[(times, noise)]).degrees;
    assert!(of(1.0) < 3.0 && of(0.1) > of(1.0) && of(1e-3) > 150.0);
    close(Estimate::of(&questions, &[(1.0, Noise::NONE)]).degrees, 199.0, 1e-9);
}

/// What golden results of profile `small` show between seeds: RL, and SFT.
const SHOWN: [f64; 2] = [0.063, 0.0094];
/// Their questions, with four answers each.
const QUESTIONS: usize = 400;

fn normal(rng: &mut rand_chacha::ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// A row of a simulated study, `[seed][question]`: seeds are off by `off`, and questions are shared with other rows.
fn simulated(
    ease: &[f64],
    mean: f64,
    off: &[f64],
    rng: &mut rand_chacha::ChaCha8Rng,
) -> Vec<Vec<f64>> {
    let mut answer = |chance: f64| f64::from(u8::from(rng.random::<f64>() < chance));
    off.iter()
        .map(|off| {
            let of_question =
                |ease: &f64| (0..4).map(|_| answer(mean + ease + off)).sum::<f64>() / 4.0;
            ease.iter().map(of_question).collect()
        })
        .collect()
}

/// Share of simulated studies whose interval of a difference holds the truth: `rows` of RL, of which one is compared with
/// a row of SFT, of a class of three.
fn coverage(deviations: [f64; 2], rows: usize, num_seeds: usize, is_paired: bool) -> f64 {
    const STUDIES: u64 = 3000;
    let mut held = 0;
    for study in 0..STUDIES {
        let mut rng =
            Seed::root(5).fold_in(&format!("{rows} {num_seeds} {is_paired}")).at(study).rng();
        // What is left of the mean's variance beside sampling is the seeds' own.
        let own = deviations.map(|deviation: f64| {
            (deviation.powi(2) - 0.17 / (4.0 * QUESTIONS as f64)).max(0.0).sqrt()
        });
        let ease: Vec<f64> = (0..QUESTIONS).map(|_| 0.5 * (rng.random::<f64>() - 0.5)).collect();
        let mut row = |class: usize, shared: Option<&[f64]>| {
            let off: Vec<f64> = (0..num_seeds)
                .map(|seed| own[class] * normal(&mut rng) + shared.map_or(0.0, |off| off[seed]))
                .collect();
            simulated(&ease, 0.5, &off, &mut rng)
        };
        let shared: Vec<f64> = (0..num_seeds).map(|seed| 0.05 * (seed as f64 - 1.0)).collect();
        let shared = is_paired.then_some(&shared[..]);
        let rl: Vec<Vec<Vec<f64>>> = (0..rows).map(|_| row(0, shared)).collect();
        let sft: Vec<Vec<Vec<f64>>> = (0..3).map(|_| row(1, shared)).collect();
        let pooled =
            |rows: &[Vec<Vec<f64>>]| Noise::pooled(rows.iter().map(|row| vec![row])).unwrap();
        let difference: Vec<f64> = statistics_of(&rl[0], &sft[0]);
        let times = 1.0 / num_seeds as f64;
        let noise = if is_paired {
            let pair = |(a, b): (&Vec<Vec<f64>>, &Vec<Vec<f64>>)| -> Vec<Vec<f64>> {
                let of_seed =
                    |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
                a.iter().zip(b).map(of_seed).collect()
            };
            let pairs: Vec<Vec<Vec<f64>>> = rl.iter().zip(&sft).map(pair).collect();
            vec![(times, pooled(&pairs))]
        } else {
            vec![(times, pooled(&rl)), (times, pooled(&sft))]
        };
        let interval = Estimate::of(&difference, &noise).interval();
        held += u64::from(interval.low <= 0.0 && 0.0 <= interval.high);
    }
    held as f64 / STUDIES as f64
}

fn statistics_of(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<f64> {
    over_seeds(a).iter().zip(over_seeds(b)).map(|(a, b)| a - b).collect()
}

/// At the noise that golden results show, three seeds, whether it is pooled over one row of RL, three or six.
#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    for (rows, is_paired) in [(1, false), (3, false), (6, false), (3, true)] {
        let coverage = coverage(SHOWN, rows, 3, is_paired);
        assert!((0.93..=0.97).contains(&coverage), "{rows} rows, {is_paired}: {coverage}");
    }
}

/// Rows of one class of which the first is a training that succeeds now and then: share of simulated studies in which the
/// interval of each row's mean holds the truth, that of the first and that of the others, and the others' mean half width.
fn coverage_beside_a_wild_row(pool: impl Fn(&[Vec<Vec<f64>>], usize) -> Noise) -> [f64; 3] {
    const STUDIES: u64 = 1500;
    const ROWS: usize = 10;
    let [mut wild, mut others, mut width] = [0.0; 3];
    for study in 0..STUDIES {
        let mut rng = Seed::root(6).at(study).rng();
        let ease: Vec<f64> = (0..QUESTIONS).map(|_| 0.5 * (rng.random::<f64>() - 0.5)).collect();
        let row = |place: usize| {
            let deviation = if place == 0 { 0.15 } else { 0.008 };
            let off: Vec<f64> = (0..3).map(|_| deviation * normal(&mut rng)).collect();
            simulated(&ease, 0.5, &off, &mut rng)
        };
        let rows: Vec<Vec<Vec<f64>>> = (0..ROWS).map(row).collect();
        for (place, row) in rows.iter().enumerate() {
            // The questions are given: only seeds and samples are off.
            let values: Vec<f64> =
                over_seeds(row).iter().zip(&ease).map(|(value, ease)| value - ease).collect();
            let noise = [(1.0 / 3.0, pool(&rows, place))];
            let interval = Estimate::of(&values, &noise).interval();
            let holds = f64::from(u8::from(interval.low <= 0.5 && 0.5 <= interval.high));
            if place == 0 {
                wild += holds / STUDIES as f64;
            } else {
                others += holds / (STUDIES * (ROWS as u64 - 1)) as f64;
                width += interval.half_width() / (STUDIES * (ROWS as u64 - 1)) as f64;
            }
        }
    }
    [wild, others, width]
}

#[test]
fn a_training_that_succeeds_now_and_then_has_a_noise_of_its_own() {
    fn clusters(rows: &[Vec<Vec<f64>>]) -> Vec<(usize, Vec<&Vec<Vec<f64>>>)> {
        rows.iter().enumerate().map(|(place, row)| (place, vec![row])).collect()
    }
    let told =
        coverage_beside_a_wild_row(|rows, place| Pool::of(clusters(rows)).noise(&place).unwrap());
    let [wild, others, width] = told;
    // Where three seeds of it happen to be close, it is not told from the others.
    assert!((0.88..=0.97).contains(&wild) && (0.93..=0.97).contains(&others), "{told:?}");
    // Pooled with the others it would hold less than it says, and they would be several times as wide.
    let pooled = coverage_beside_a_wild_row(|rows, _| {
        Noise::pooled(clusters(rows).into_iter().map(|(_, rows)| rows)).unwrap()
    });
    assert!(pooled[0] < 0.7 && pooled[2] > 2.0 * width, "{pooled:?} {told:?}");
}

#[test]
fn rows_of_one_noise_stay_together() {
    let mut num_told = 0;
    for study in 0..1000 {
        let mut rng = Seed::root(8).at(study).rng();
        let rows: Vec<Vec<Vec<f64>>> = (0..10)
            .map(|_| (0..3).map(|_| vec![0.5 + 0.06 * normal(&mut rng)]).collect())
            .collect();
        let clusters = rows.iter().enumerate().map(|(place, row)| (place, vec![row])).collect();
        num_told += usize::from(!Pool::of(clusters).own.is_empty());
    }
    // Beside rows without any noise, as made-up results have, none is told.
    let exact = vec![vec![0.5; 4]; 3];
    let (noisy, rows) = (vec![vec![0.5; 4], vec![0.6; 4]], [&exact, &exact]);
    let clusters = rows.into_iter().chain([&noisy]).map(|row| ((), vec![row])).collect();
    assert!(Pool::of(clusters).own.is_empty());
    // At most one in a hundred by design.
    assert!((1..=20).contains(&num_told), "{num_told} of 1000");
    // With two degrees in the numerator it is a power.
    close(f_survival(3.4, 2.0, 18.0), (1.0 + 2.0 * 3.4 / 18.0_f64).powi(-9), 1e-12);
    assert!((f_survival(0.0, 4.0, 7.0) - 1.0).abs() < 1e-12);
}

#[test]
fn seeds_needed_are_those_that_simulation_confirms() {
    // As in the gate: thirty rows of five metrics, half of five percent.
    let alpha = 0.5 * 0.05 / 150.0;
    let needed = |deviation| seeds_needed(0.05, deviation, alpha, 12.0).unwrap();
    assert_eq!([0.038, 0.019, 0.012].map(needed), [26, 7, 4]);
    assert_eq!(seeds_needed(0.05, 2.0, alpha, 12.0), None);
    let alone = |seeds: usize| power(0.05, 0.038 * (2.0 / seeds as f64).sqrt(), 300.0, alpha);
    assert!(alone(3) < 0.1 && alone(26) > 0.8);
    // R: power.t.test(n = 20, delta = 1)$power, whose normal approximation is off by a thousandth.
    close(power(1.0, 0.1_f64.sqrt(), 38.0, 0.05), 0.868_953, 4e-3);
}

#[track_caller]
fn is(interval: Interval, low: f64, high: f64) {
    close(interval.low, low, 1e-6);
    close(interval.high, high, 1e-6);
}

#[test]
fn answers_that_are_all_alike_leave_a_width() {
    let of = |values: &[Vec<f64>]| share_interval(values, Noise::NONE);
    // statsmodels: proportion_confint(3, 3, method="wilson"), (0, 60), (1, 1), (2, 4).
    is(of(&[vec![1.0; 3]]), 0.438_503, 1.0);
    is(of(&[vec![0.0; 60]]), 0.0, 0.060_172);
    is(of(&[vec![1.0]]), 0.206_549, 1.0);
    is(of(&[vec![0.5; 4]]), 0.150_039, 0.849_961);
    // Three seeds ask the same questions.
    is(of(&[vec![1.0; 3], vec![1.0; 3], vec![1.0; 3]]), 0.438_503, 1.0);
    // Where answers differ it is Student's t, within 0 and 1: .75 ± .25 qt(.975, 3).
    is(of(&[vec![1.0, 1.0, 0.0, 1.0]]), 0.0, 1.0);
    // R: t.test(c(1, 1, 0, 1, 0, 0, 1, 0, 1, 1))$conf.int
    let ten = vec![1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0];
    is(of(&[ten]), 0.230_591, 0.969_409);
    // Of what is no question nothing is known.
    assert!(of(&[vec![]]).mean.is_nan());
}

#[test]
fn differences_that_are_all_alike_leave_a_width() {
    // z^2 / (n + z^2) and 1 - 2 z^2 / (n + z^2).
    is(score_difference(0.0, 10), -0.277_533, 0.277_533);
    is(score_difference(1.0, 10), 0.444_934, 1.0);
    is(score_difference(-1.0, 10), -1.0, -0.444_934);
    is(score_difference(0.5, 10), 0.083_701, 0.763_407);
    let (ones, zeros) = ([vec![1.0; 10]], [vec![0.0; 40]]);
    let z = normal_quantile(0.975);
    close(standard_error_of_alike(&ones, &ones, true) * z, 0.277_533, 1e-6);
    // Half of 27.8 and of 8.8 %.
    let unpaired = standard_error_of_alike(&ones, &zeros, false);
    close(unpaired * z, 0.138_766_f64.hypot(0.043_812), 1e-5);
}

#[test]
fn what_is_not_a_number_never_gives_a_narrow_interval() {
    let interval = Estimate::of(&[0.4, f64::NAN], &[]).interval();
    assert!(interval.low.is_infinite() && interval.high.is_infinite());
    assert!(mean(&[]).is_nan());
}

proptest! {
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
    fn quantiles_and_tails_of_t_are_inverse(p in 1e-6..0.5_f64, degrees in 1.0..500.0_f64) {
        let t = t_quantile(p, degrees);
        prop_assert!((t_survival(-t, degrees) / p - 1.0).abs() < 1e-6);
        prop_assert!((t + t_quantile(1.0 - p, degrees)).abs() < 1e-6 * (1.0 + t.abs()));
    }

    /// Where an interval leaves out a bound, so do its tests, at half of five percent.
    #[test]
    fn intervals_and_tests_agree(effect in -2.0..2.0_f64, error in 0.01..2.0_f64, degrees in 1.0..99.0_f64) {
        let estimate = Estimate { effect, standard_error: error, degrees };
        let Interval { low, high, .. } = estimate.interval();
        prop_assume!(low.abs() > 1e-6 && high.abs() > 1e-6);
        prop_assert_eq!(low > 0.0, estimate.p_above(0.0) < 0.025);
        prop_assert_eq!(high < 0.0, estimate.p_below(0.0) < 0.025);
        prop_assert_eq!(low > 0.0 || high < 0.0, estimate.p_difference() < 0.05);
    }
}
