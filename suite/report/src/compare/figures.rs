//! What stages showed while they trained, against golden. Pure and total.
//!
//! This module does not know how training works. It sees what answers cannot show soon enough: a sign of KL that is
//! wrong, or groups that are mixed, move the figures of a stage far before they move its accuracy.
//! Seeds differ in questions, order and draws, so the noise of a figure is that between seeds, pooled over
//! stages. Figures that are not shares are compared by their logarithm, on which stages have one noise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::{Corrected, Test, Verdict};
use crate::gate::GateSpec;
use crate::score::Results;
use crate::statistics::{DEGREES_MAX, Estimate, Interval};

/// A figure of training that gates.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Figure {
    /// Loss per predicted token in nats; only of stages without rewards.
    Loss,
    /// Mean reward of the answers, 0 to 1.
    Reward,
    /// Share of answers in the form that the template asks for.
    Format,
    /// Share of answers that the length limit cut.
    Truncated,
    /// Share of groups whose answers all earned the same.
    ZeroAdvantage,
    /// Tokens per answer.
    Length,
    /// Entropy per token in nats.
    EntropyNats,
    /// Distance from the reference model per token in nats.
    KlNats,
}

impl Figure {
    /// The figure's name, as in JSON and in a stage's summary.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns whether it lies between 0 and 1 and is compared as it is.
    pub fn is_share(self) -> bool {
        matches!(self, Figure::Reward | Figure::Format | Figure::Truncated | Figure::ZeroAdvantage)
    }

    /// Returns whether an effect of this sign is bad.
    fn is_bad(self, effect: f64) -> bool {
        match self {
            Figure::Reward | Figure::Format => effect < 0.0,
            Figure::Loss | Figure::Truncated => effect > 0.0,
            Figure::ZeroAdvantage | Figure::Length | Figure::EntropyNats | Figure::KlNats => true,
        }
    }

    /// A value as it is compared.
    fn scaled(self, value: f64) -> f64 {
        // `f64::max` would turn NaN into `SMALLEST`; `clamp` keeps it.
        if self.is_share() { value } else { value.clamp(SMALLEST, f64::INFINITY).ln() }
    }

    /// Half of the band within which two values are the same, as compared.
    fn band(self, gate: &GateSpec) -> f64 {
        if self.is_share() { gate.figure_share_band } else { (1.0 + gate.figure_ratio_band).ln() }
    }

    /// An effect as it is reported: the difference of shares, or by what share the other has grown.
    fn reported(self, effect: f64) -> f64 {
        if self.is_share() { effect } else { effect.exp_m1() }
    }
}

/// Below this a figure is as good as nothing: one ten-thousandth of a nat.
const SMALLEST: f64 = 1e-4;

/// The verdict on one figure of one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FigureVerdict {
    /// Name of the training stage.
    pub stage: String,
    /// What is compared.
    pub figure: Figure,
    /// Seeds on the side that has fewer.
    pub num_seeds: usize,
    /// Golden's mean over seeds, in the unit of [`Figure`]; `None` where golden lacks the stage.
    pub golden: Option<f64>,
    /// The run's mean likewise.
    pub run: Option<f64>,
    /// The difference of shares, or the relative change of other figures; with its 95 % interval.
    pub effect: Option<Interval>,
    /// p-value of no difference after Holm's correction; `None` where nothing was tested.
    pub p: Option<f64>,
    /// What follows from it.
    pub verdict: Verdict,
}

/// A figure of a stage in the seeds of one side: as compared, and its standard error over steps.
type Seeds = Vec<(f64, f64)>;

/// A figure of a stage on both sides.
struct Pair {
    stage: String,
    figure: Figure,
    golden: Seeds,
    run: Seeds,
}

/// Compares every figure of every stage; `share` of the false alarms may be spent. Gives the number of tests too.
pub(super) fn compare(
    golden: &Results,
    run: &Results,
    gate: &GateSpec,
    share: f64,
) -> (Vec<FigureVerdict>, usize) {
    let (mut of_golden, mut of_run) = (seeds(golden), seeds(run));
    let mut pairs = Vec::new();
    for (stage, figure) in order(golden, run) {
        let key = (stage.clone(), figure);
        let golden = of_golden.remove(&key).unwrap_or_default();
        let run = of_run.remove(&key).unwrap_or_default();
        if !golden.is_empty() || !run.is_empty() {
            pairs.push(Pair { stage, figure, golden, run });
        }
    }
    let noise: BTreeMap<Figure, Noise> =
        Figure::VARIANTS.iter().map(|&figure| (figure, Noise::of(figure, &pairs))).collect();
    let tests: Vec<Option<Test>> =
        pairs.iter().map(|pair| pair.test(noise[&pair.figure])).collect();
    let p: Vec<f64> = tests.iter().flatten().map(|test| test.p).collect();
    let mut corrected = Corrected::of(&p, share, gate);
    let num_tests = corrected.num_tests();
    let judged = pairs.into_iter().zip(tests);
    (judged.map(|(pair, test)| pair.judge(test, gate, &mut corrected)).collect(), num_tests)
}

/// Stages in golden's order, then the run's own, each with every figure.
fn order(golden: &Results, run: &Results) -> Vec<(String, Figure)> {
    let mut stages: Vec<&str> = Vec::new();
    for training in golden.training.iter().chain(&run.training) {
        if !stages.contains(&training.stage.as_str()) {
            stages.push(&training.stage);
        }
    }
    let figures = || Figure::VARIANTS.iter().copied();
    stages.into_iter().flat_map(|stage| figures().map(|f| (stage.to_owned(), f))).collect()
}

fn seeds(results: &Results) -> BTreeMap<(String, Figure), Seeds> {
    let mut all: BTreeMap<_, Seeds> = BTreeMap::new();
    for training in &results.training {
        // The loss of RL is near zero whatever happens.
        let is_rl = training.summary.contains_key("reward_end");
        for &figure in Figure::VARIANTS.iter().filter(|f| **f != Figure::Loss || !is_rl) {
            let get = |part: &str| training.summary.get(&format!("{}_{part}", figure.name()));
            let Some(&end) = get("end") else { continue };
            // The noise recorded is that of the difference of two windows.
            let mut noise = get("noise").copied().unwrap_or(0.0) / std::f64::consts::SQRT_2;
            if !figure.is_share() {
                noise /= end.max(SMALLEST);
            }
            all.entry((training.stage.clone(), figure))
                .or_default()
                .push((figure.scaled(end), noise));
        }
    }
    all
}

/// How much a figure of one seed is off by chance.
#[derive(Debug, Clone, Copy)]
enum Noise {
    /// Variance between seeds with its degrees of freedom.
    BetweenSeeds { variance: f64, degrees: f64 },
    /// Every stage has one seed: each knows its own steps only.
    BetweenSteps,
}

impl Noise {
    fn of(figure: Figure, pairs: &[Pair]) -> Noise {
        let (mut sum, mut degrees) = (0.0, 0.0);
        for pair in pairs.iter().filter(|pair| pair.figure == figure) {
            for side in [&pair.golden, &pair.run] {
                let mean = mean(side);
                sum += side.iter().map(|(value, _)| (value - mean).powi(2)).sum::<f64>();
                degrees += side.len().saturating_sub(1) as f64;
            }
        }
        if degrees > 0.0 {
            Noise::BetweenSeeds { variance: sum / degrees, degrees }
        } else {
            Noise::BetweenSteps
        }
    }
}

fn mean(side: &[(f64, f64)]) -> f64 {
    side.iter().map(|(value, _)| value).sum::<f64>() / side.len() as f64
}

impl Pair {
    /// `None` where there is nothing to test.
    fn test(&self, noise: Noise) -> Option<Test> {
        if self.golden.is_empty() || self.run.is_empty() || self.is_invalid() || self.is_equal() {
            return None;
        }
        let effect = mean(&self.run) - mean(&self.golden);
        let (standard_error, degrees) = match noise {
            Noise::BetweenSeeds { variance, degrees } => {
                let each = 1.0 / self.golden.len() as f64 + 1.0 / self.run.len() as f64;
                ((variance * each).sqrt(), degrees)
            }
            Noise::BetweenSteps => {
                let of = |side: &Seeds| {
                    let sum: f64 = side.iter().map(|(_, noise)| noise * noise).sum();
                    sum / (side.len() * side.len()) as f64
                };
                ((of(&self.golden) + of(&self.run)).sqrt(), DEGREES_MAX)
            }
        };
        let estimate = Estimate { effect, standard_error, degrees };
        Some(Test { estimate, p: estimate.p_difference() })
    }

    fn is_invalid(&self) -> bool {
        self.golden.iter().chain(&self.run).any(|(value, _)| !value.is_finite())
    }

    fn is_equal(&self) -> bool {
        self.golden == self.run
    }

    fn judge(
        self,
        test: Option<Test>,
        gate: &GateSpec,
        corrected: &mut Corrected,
    ) -> FigureVerdict {
        let verdict = match (self.golden.is_empty(), self.run.is_empty()) {
            _ if self.is_invalid() => Verdict::Invalid,
            (false, true) => Verdict::Missing,
            (true, _) => Verdict::New,
            _ if self.is_equal() => Verdict::Same,
            _ => Verdict::Undecided,
        };
        let num_seeds = match (self.golden.len(), self.run.len()) {
            (0, seeds) | (seeds, 0) => seeds,
            (golden, run) => golden.min(run),
        };
        let figure = self.figure;
        let value = |side: &Seeds| {
            let scaled = (!side.is_empty()).then(|| mean(side))?;
            Some(if figure.is_share() { scaled } else { scaled.exp() })
        };
        let mut judged = FigureVerdict {
            golden: value(&self.golden),
            run: value(&self.run),
            stage: self.stage,
            figure,
            num_seeds,
            effect: None,
            p: None,
            verdict,
        };
        if let Some(test) = test {
            let Interval { mean, low, high } = test.estimate.interval();
            let [mean, low, high] = [mean, low, high].map(|effect| figure.reported(effect));
            let p = corrected.next();
            judged.effect = Some(Interval { mean, low, high });
            judged.p = Some(p);
            judged.verdict =
                test.verdict(gate, p, figure.band(gate), figure.is_bad(test.estimate.effect));
        }
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::GATE;
    use crate::compare::{Comparison, compare};
    use crate::score::Training;
    use crate::score::fixture::study;
    use rand::RngExt as _;
    use synergy_benchmarks::seed::Seed;

    /// Four stages of RL in `seeds`, each figure a little off by chance, and what `change` does to them.
    fn trained(seeds: u64, stream: u64, change: impl Fn(&mut Training)) -> Results {
        let mut results = study(20, &[1]);
        results.training.clear();
        for stage in ["grpo", "grpo_kl0", "two_stage", "interleaved"] {
            for seed in 0..seeds {
                let mut rng = Seed::root(stream).fold_in(stage).at(seed).rng();
                let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                let mut summary = BTreeMap::new();
                for (name, value, noise) in [
                    ("reward", 0.7, 0.02),
                    ("zero_advantage", 0.5, 0.03),
                    ("kl_nats", 0.09, 0.01),
                    ("length", 22.0, 0.8),
                ] {
                    summary.insert(format!("{name}_end"), value + noise * normal());
                    summary.insert(format!("{name}_noise"), noise);
                }
                let mut training = Training {
                    regime: stage.to_owned(),
                    seed,
                    stage: stage.to_owned(),
                    cost: crate::cost::Cost::default(),
                    summary,
                    published: None,
                };
                change(&mut training);
                results.training.push(training);
            }
        }
        results
    }

    fn set(stage: &str, name: &str, value: f64) -> impl Fn(&mut Training) {
        let (stage, key) = (stage.to_owned(), format!("{name}_end"));
        move |training| {
            if training.stage == stage {
                training.summary.insert(key.clone(), value);
            }
        }
    }

    #[track_caller]
    fn found(comparison: &Comparison, stage: &str, figure: Figure) -> Verdict {
        let wanted = |f: &&FigureVerdict| f.stage == stage && f.figure == figure;
        comparison.figures.iter().find(wanted).unwrap().verdict
    }

    #[test]
    fn a_stage_that_trains_otherwise_is_seen_with_one_seed_and_with_three() {
        for seeds in [1, 3] {
            let golden = trained(3, 1, |_| {});
            for (name, value, figure) in [
                ("reward", 0.5, Figure::Reward),
                ("zero_advantage", 0.02, Figure::ZeroAdvantage),
                ("kl_nats", 2.0, Figure::KlNats),
            ] {
                let run = trained(seeds, 2, set("grpo", name, value));
                let comparison = compare(&golden, &run, &GATE);
                assert_eq!(found(&comparison, "grpo", figure), Verdict::Regressed, "{name}");
                assert_eq!(comparison.count(Verdict::Regressed), 1);
                assert_eq!(comparison.exit_code(), 1);
            }
        }
    }

    #[test]
    fn a_higher_reward_is_an_improvement_and_a_shorter_answer_is_not() {
        let golden = trained(3, 1, |_| {});
        let better = compare(&golden, &trained(3, 2, set("grpo", "reward", 0.95)), &GATE);
        assert_eq!(found(&better, "grpo", Figure::Reward), Verdict::Improved);
        assert_eq!(better.exit_code(), 0);
        let shorter = compare(&golden, &trained(3, 2, set("grpo", "length", 8.0)), &GATE);
        assert_eq!(found(&shorter, "grpo", Figure::Length), Verdict::Regressed);
    }

    #[test]
    fn equal_trainings_fail_in_at_most_one_comparison_in_forty() {
        let golden = trained(3, 1, |_| {});
        let failed = (0..400_u64).filter(|run| {
            let run = trained(1 + 2 * (run % 2), 100 + run, |_| {});
            compare(&golden, &run, &GATE).figures.iter().any(|figure| figure.verdict.fails())
        });
        // Half of what is allowed is spent on figures at most; three deviations of chance on top.
        assert!(failed.count() <= 400 / 80 + 7);
    }

    #[test]
    fn one_seed_on_both_sides_knows_the_noise_of_its_steps() {
        let golden = trained(1, 1, |_| {});
        let fine = compare(&golden, &trained(1, 1, set("grpo", "reward", 0.68)), &GATE);
        assert_eq!(fine.exit_code(), 0);
        let bad = compare(&golden, &trained(1, 1, set("grpo", "reward", 0.3)), &GATE);
        assert_eq!(found(&bad, "grpo", Figure::Reward), Verdict::Regressed);
    }

    #[test]
    fn a_stage_that_is_gone_is_missing_and_no_number_is_invalid() {
        let golden = trained(3, 1, |_| {});
        let mut run = golden.clone();
        run.training.retain(|training| training.stage != "grpo");
        let comparison = compare(&golden, &run, &GATE);
        assert_eq!(found(&comparison, "grpo", Figure::Reward), Verdict::Missing);
        assert_eq!(comparison.exit_code(), 1);
        assert_eq!(compare(&run, &golden, &GATE).exit_code(), 0);
        let run = trained(3, 1, set("grpo", "kl_nats", f64::NAN));
        let run = compare(&golden, &run, &GATE);
        assert_eq!(found(&run, "grpo", Figure::KlNats), Verdict::Invalid);
        assert_eq!(run.exit_code(), 1);
    }

    #[test]
    fn the_loss_of_rl_is_not_compared() {
        let with_loss = |training: &mut Training| {
            training.summary.insert("loss_end".into(), 0.001);
        };
        let golden = trained(3, 1, with_loss);
        let comparison = compare(&golden, &golden, &GATE);
        assert!(comparison.figures.iter().all(|figure| figure.figure != Figure::Loss));
        assert_eq!(comparison.count(Verdict::Same), comparison.verdicts().count());
    }
}
