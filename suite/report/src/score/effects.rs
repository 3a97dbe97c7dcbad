//! Means of rows and contrasts of rows, with what they may be off by. Pure.
//!
//! This module knows which rows share what noise, and no family, level or claim. Two rows that stand on one training of
//! the same seed are compared seed by seed, so that what both have from it cancels.

use std::collections::BTreeMap;

use super::lineage::Lineage;
use super::{
    ResultRow, Results, RowKind, SeedOutcomes, length, per_question, share, votes, words_per_answer,
};
use crate::statistics::{self, Estimate, Interval, Noise, Pool, Pools};

/// What is measured of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Share of correct answers.
    Accuracy,
    /// Tokens per answer.
    Length,
    /// Reasoning words per answer.
    Words,
    /// The chance that one of so many answers is right.
    PassAt(usize),
    /// The chance that the most frequent answer is right.
    Majority,
}

impl Quantity {
    fn value(self, seed: &SeedOutcomes, question: usize) -> f64 {
        match self {
            Quantity::Accuracy => share(seed, question, 'c'),
            Quantity::Length => length(seed, question),
            Quantity::Words => words_per_answer(seed, question),
            Quantity::PassAt(k) => votes::of_question(seed, question, k),
            Quantity::Majority => votes::majority(seed, question),
        }
    }

    /// Tells whether a row's answers to a question are enough to measure it.
    fn is_measured(self, seed: &SeedOutcomes, question: usize) -> bool {
        let num_samples = seed.outcomes[question].len();
        match self {
            Quantity::PassAt(k) => num_samples >= k.max(1),
            Quantity::Majority => num_samples > 0 && !seed.answers.is_empty(),
            _ => num_samples > 0,
        }
    }

    /// Tells whether it is a share, 0 to 1.
    fn is_share(self) -> bool {
        !self.is_relative()
    }

    /// Tells whether the noise grows with the value: long answers differ more than short ones.
    fn is_relative(self) -> bool {
        matches!(self, Quantity::Length | Quantity::Words)
    }

    /// Values as their noise is pooled: in parts of `scale` where it grows with the value. `None` where that is nothing.
    fn scaled(self, values: &Values, scale: f64) -> Option<Values> {
        if !self.is_relative() {
            return Some(values.clone());
        }
        let scaled = |seed: &Vec<f64>| seed.iter().map(|value| value / scale).collect();
        (scale > 0.0).then(|| values.iter().map(scaled).collect())
    }
}

/// `[seed][question]`.
type Values = Vec<Vec<f64>>;

/// Rows with a weight each: what is measured is the weighted sum of their means.
pub type Contrast<'a> = [(&'a str, f64)];

/// A row over the questions.
struct Measured<'a> {
    row: &'a ResultRow,
    class: String,
    values: Values,
}

/// One quantity of all rows over the same questions.
pub struct Effects<'a> {
    lineage: &'a Lineage<'a>,
    quantity: Quantity,
    rows: Vec<Measured<'a>>,
    /// The noise of trainings, each by its stages.
    noise: Pools<Vec<&'a str>>,
}

/// An effect, its error and its interval, which for shares that are all alike is not the error's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// The effect with its standard error.
    pub estimate: Estimate,
    /// Its 95 % interval.
    pub interval: Interval,
}

impl<'a> Effects<'a> {
    /// Measures `quantity` of every row that was asked all of `questions`, often enough.
    pub fn of(
        results: &'a Results,
        lineage: &'a Lineage<'a>,
        questions: &[usize],
        quantity: Quantity,
    ) -> Effects<'a> {
        let asked = |seed: &SeedOutcomes| questions.iter().all(|&q| quantity.is_measured(seed, q));
        let rows: Vec<Measured<'a>> = results
            .rows
            .iter()
            .filter(|row| !row.seeds.is_empty() && row.seeds.iter().all(asked))
            .map(|row| Measured {
                row,
                class: lineage.class(&row.name, row.kind == RowKind::Regime),
                values: per_question(row, questions, |seed, q| quantity.value(seed, q)),
            })
            .collect();
        let mut clusters: BTreeMap<(&str, Vec<&'a str>), Vec<Values>> = BTreeMap::new();
        for Measured { row, class, values } in rows.iter().filter(|row| !row.class.is_empty()) {
            let scaled = quantity.scaled(values, statistics::mean(values));
            let trained = lineage.trained(&row.name).into_iter().collect();
            clusters.entry((class, trained)).or_default().extend(scaled);
        }
        let noise = Pools::of(&clusters);
        Effects { lineage, quantity, rows, noise }
    }

    /// The stages of a row in which something was learned.
    fn trained(&self, measured: &Measured<'a>) -> Vec<&'a str> {
        self.lineage.trained(&measured.row.name).into_iter().collect()
    }

    /// Tells whether a row's noise is kept apart from that of rows that were trained alike.
    pub fn has_own_noise(&self, name: &str) -> bool {
        self.row(name).is_some_and(|measured| self.is_apart(measured))
    }

    fn is_apart(&self, measured: &Measured<'a>) -> bool {
        self.noise.is_apart(&measured.class, &self.trained(measured))
    }

    /// Names of the rows that were asked.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.rows.iter().map(|measured| measured.row.name.as_str())
    }

    /// The classes that show a noise of training, with it: as a share of the row's value where it grows with that.
    pub fn noise(&self) -> BTreeMap<&str, Noise> {
        self.noise.common()
    }

    fn row(&self, name: &str) -> Option<&Measured<'a>> {
        self.rows.iter().find(|measured| measured.row.name == name)
    }

    /// A row's values, `[seed][question]`.
    pub fn values(&self, name: &str) -> Option<&[Vec<f64>]> {
        Some(&self.row(name)?.values)
    }

    /// The mean of each seed of a row, in the order of its seeds.
    pub fn per_seed(&self, name: &str) -> Option<Vec<f64>> {
        let values = &self.row(name)?.values;
        Some(values.iter().map(|seed| statistics::mean(std::slice::from_ref(seed))).collect())
    }

    /// The mean of a row; `None` where it was not asked.
    pub fn level(&self, name: &str) -> Option<Interval> {
        let measured = self.row(name)?;
        Some(if self.quantity.is_share() {
            statistics::share_interval(&measured.values, self.noise_of(measured))
        } else {
            self.contrast(&[(name, 1.0)])?.estimate.interval().within(0.0, f64::INFINITY)
        })
    }

    /// The difference of two rows; `None` where one was not asked.
    pub fn difference(&self, a: &str, b: &str) -> Option<Effect> {
        self.contrast(&[(a, 1.0), (b, -1.0)])
    }

    /// The weighted sum of the means of rows; `None` where one was not asked. The difference of two rows whose shares
    /// differ by the same on every question has Tango's interval.
    pub fn contrast(&self, contrast: &Contrast<'_>) -> Option<Effect> {
        let rows: Option<Vec<(&Measured<'a>, f64)>> =
            contrast.iter().map(|&(name, weight)| Some((self.row(name)?, weight))).collect();
        let rows = rows?;
        let num_questions = rows.first()?.0.values.first()?.len();
        let mut per_question = vec![0.0; num_questions];
        for (measured, weight) in &rows {
            for (sum, value) in
                per_question.iter_mut().zip(statistics::over_seeds(&measured.values))
            {
                *sum += weight * value;
            }
        }
        let is_one = |weight: &f64, one: f64| weight.total_cmp(&one).is_eq();
        let is_difference =
            matches!(contrast, [(_, a), (_, b)] if is_one(a, 1.0) && is_one(b, -1.0));
        let effect = statistics::mean(std::slice::from_ref(&per_question));
        if self.quantity.is_share()
            && is_difference
            && effect.is_finite()
            && statistics::are_alike(&per_question)
        {
            let interval = statistics::score_difference(effect, num_questions);
            return Some(Effect { estimate: Estimate::as_wide_as(interval), interval });
        }
        let estimate = Estimate::of(&per_question, &self.noise_of_contrast(&rows));
        let interval = estimate.interval();
        let cut = self.quantity.is_share() && is_difference;
        Some(Effect { estimate, interval: if cut { interval.within(-1.0, 1.0) } else { interval } })
    }

    /// The noise of one row's training, in the unit of the quantity.
    fn noise_of(&self, measured: &Measured<'a>) -> Noise {
        if measured.class.is_empty() {
            return Noise::NONE;
        }
        let noise = self.noise.noise(&measured.class, &self.trained(measured));
        let noise = noise.unwrap_or(Noise::NONE);
        let scale = statistics::mean(&measured.values);
        if self.quantity.is_relative() { noise.scaled(scale) } else { noise }
    }

    /// How often each noise counts in a contrast: rows on one training go seed by seed, others each with their class.
    fn noise_of_contrast(&self, rows: &[(&Measured<'a>, f64)]) -> Vec<(f64, Noise)> {
        let mut parts = Vec::new();
        // By class, and by stages where these have a noise of their own.
        type Estimates<'b> = BTreeMap<(&'b str, Option<Vec<&'b str>>), Vec<(f64, Noise)>>;
        let mut singles = Estimates::new();
        for unit in self.units(rows) {
            if let Some(noise) = self.noise_of_unit(&unit) {
                parts.push((1.0 / unit[0].0.values.len() as f64, noise));
                continue;
            }
            for (measured, weight) in unit {
                let times = weight * weight / measured.values.len() as f64;
                let own = self.is_apart(measured).then(|| self.trained(measured));
                let estimate = singles.entry((&measured.class, own)).or_default();
                estimate.push((times, self.noise_of(measured)));
            }
        }
        // One estimate of a class is one estimate, however many rows it serves.
        parts.extend(singles.into_values().filter_map(|of_class| {
            of_class.into_iter().reduce(|(a, one), (b, other)| (1.0, one.plus(a, other, b)))
        }));
        parts
    }

    /// Rows that stand on one training, together; every other row alone.
    fn units<'b>(&self, rows: &[(&'b Measured<'a>, f64)]) -> Vec<Vec<(&'b Measured<'a>, f64)>> {
        let mut units: Vec<Vec<(&Measured<'a>, f64)>> = Vec::new();
        for row in rows {
            let joins = |unit: &Vec<(&Measured<'a>, f64)>| {
                unit.iter().any(|(other, _)| self.are_paired(other, row.0))
            };
            let (joined, apart): (Vec<_>, Vec<_>) = units.into_iter().partition(joins);
            units = apart;
            units.push(joined.into_iter().flatten().chain([*row]).collect());
        }
        units
    }

    /// Tells whether two rows stand on one training under the same seeds, several of them.
    fn are_paired(&self, a: &Measured<'_>, b: &Measured<'_>) -> bool {
        let seeds = |measured: &Measured<'_>| {
            let mut seeds: Vec<u64> = measured.row.seeds.iter().map(|seed| seed.seed).collect();
            seeds.sort_unstable();
            seeds
        };
        !self.lineage.shared_chain(&a.row.name, &b.row.name).is_empty()
            && a.values.len() > 1
            && seeds(a) == seeds(b)
    }

    /// The noise of rows that are taken together, seed by seed. That of a pair is pooled over all pairs that are related
    /// in the same way. `None` for a single row.
    fn noise_of_unit(&self, unit: &[(&Measured<'a>, f64)]) -> Option<Noise> {
        let scale = |unit: &[(&Measured<'a>, f64)]| {
            let sizes =
                unit.iter().map(|(row, weight)| weight.abs() * statistics::mean(&row.values));
            sizes.sum::<f64>()
        };
        let series =
            |unit: &[(&Measured<'a>, f64)]| self.quantity.scaled(&combined(unit), scale(unit));
        let of_pair = |a, b| [self.trained(a), self.trained(b)].concat();
        let (trained, alike): (Vec<&str>, Vec<(Vec<&str>, Values)>) = match unit {
            [(a, of_a), (b, of_b)] => {
                let related = self
                    .related(a, b)
                    .filter_map(|(c, d)| Some((of_pair(c, d), series(&[(c, *of_a), (d, *of_b)])?)));
                (of_pair(a, b), related.collect())
            }
            [_] => return None,
            all => (Vec::new(), vec![(Vec::new(), series(all)?)]),
        };
        let mut clusters: BTreeMap<Vec<&str>, Vec<&Values>> = BTreeMap::new();
        for (trained, values) in &alike {
            clusters.entry(trained.clone()).or_default().push(values);
        }
        let noise = Pool::of(clusters.into_iter().collect()).noise(&trained)?;
        Some(if self.quantity.is_relative() { noise.scaled(scale(unit)) } else { noise })
    }

    /// Pairs of rows that were trained as `a` and `b` were, and share what these share.
    fn related<'b>(
        &'b self,
        a: &'b Measured<'a>,
        b: &'b Measured<'a>,
    ) -> impl Iterator<Item = (&'b Measured<'a>, &'b Measured<'a>)> + 'b {
        let shared = self.lineage.shared_chain(&a.row.name, &b.row.name);
        let of_class = |class: &'b str| self.rows.iter().filter(move |row| row.class == class);
        of_class(&a.class).flat_map(move |c| {
            let shared = shared.clone();
            of_class(&b.class)
                .filter(move |d| {
                    self.are_paired(c, d)
                        && self.lineage.shared_chain(&c.row.name, &d.row.name) == shared
                        && c.row.name != d.row.name
                })
                .map(move |d| (c, d))
        })
    }
}

/// The weighted sum of rows, seed by seed, in the order of the first row's seeds.
fn combined(unit: &[(&Measured<'_>, f64)]) -> Values {
    let (first, _) = unit[0];
    let of_seed = |(place, seed): (usize, &SeedOutcomes)| {
        let mut sums = vec![0.0; first.values[place].len()];
        for (row, weight) in unit {
            let own = row.row.seeds.iter().position(|other| other.seed == seed.seed);
            let values = own.map_or(&[][..], |own| &row.values[own]);
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
        sums
    };
    first.row.seeds.iter().enumerate().map(of_seed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::score::fixture::{SHARP, header, levels, row};
    use crate::score::{Row, Training};

    /// Rows of three seeds on the stages named, of which `shift` moves each seed.
    fn results(rows: &[(&str, &[&str], f64)]) -> Results {
        let per_family = 60;
        let mut all: Vec<Row> = Vec::new();
        for (name, _, shift) in rows {
            for seed in 1..=3_u64 {
                let mut behavior = SHARP;
                let off = shift * (seed as f64 - 2.0);
                behavior
                    .accuracy
                    .iter_mut()
                    .for_each(|p| *p = (*p * 0.5 + 0.2 + off).clamp(0.0, 1.0));
                all.push(row(name, RowKind::Regime, behavior, seed, per_family, 4));
            }
        }
        let mut header = header();
        let mut stages: Vec<&str> =
            rows.iter().flat_map(|(_, own, _)| own.iter().copied()).collect();
        stages.sort_unstable();
        stages.dedup();
        header.training = stages
            .into_iter()
            .map(|stage| {
                let on = rows.iter().filter(|(_, own, _)| own.contains(&stage));
                let regimes: Vec<&str> = on.map(|(name, ..)| *name).collect();
                let figure = if stage.starts_with("rl") { "reward_end" } else { "loss_end" };
                Training {
                    regime: regimes.join("+"),
                    seed: 1,
                    stage: stage.to_owned(),
                    cost: Cost { optimizer_steps: 9, ..Cost::default() },
                    summary: [(figure.to_owned(), 0.5)].into(),
                    published: None,
                }
            })
            .collect();
        Results::assemble(header, &levels(per_family), &all).unwrap()
    }

    fn difference(results: &Results, a: &str, b: &str) -> Effect {
        let lineage = Lineage::of(results);
        let questions: Vec<usize> = (0..results.questions.len()).collect();
        let effects = Effects::of(results, &lineage, &questions, Quantity::Accuracy);
        effects.difference(a, b).unwrap()
    }

    #[test]
    fn rows_on_one_training_are_compared_seed_by_seed() {
        let noisy: &[(&str, &[&str], f64)] = &[("a", &["rl_a"], 0.1), ("b", &["rl_b"], 0.1)];
        let apart = difference(&results(noisy), "a", "b");
        let shared: &[(&str, &[&str], f64)] =
            &[("a", &["rl_a"], 0.1), ("b", &["rl_a", "rl_b"], 0.1)];
        let together = difference(&results(shared), "a", "b");
        // Each is off by ten points between seeds: 8.2 for the difference of two, and nothing if both are off alike.
        assert!((apart.estimate.standard_error - 0.082).abs() < 0.01, "{apart:?}");
        assert!(together.estimate.standard_error < 0.02, "{together:?}");
        assert!((apart.estimate.effect - together.estimate.effect).abs() < 1e-12);
    }

    #[test]
    fn noise_is_pooled_over_rows_trained_alike_and_no_others() {
        let rows: &[(&str, &[&str], f64)] = &[
            ("rl", &["rl"], 0.1),
            ("rl_more", &["rl_more"], 0.0),
            ("sft", &["sft"], 0.0),
            ("merge_1", &["sft", "rl"], 0.1),
            ("merge_2", &["sft", "rl"], 0.1),
        ];
        let results = results(rows);
        let lineage = Lineage::of(&results);
        let questions: Vec<usize> = (0..results.questions.len()).collect();
        let effects = Effects::of(&results, &lineage, &questions, Quantity::Accuracy);
        let of = |class: &str| effects.noise()[class];
        // Half of ten points squared, since one of two rows has none.
        assert!((of("RL").of_means - 0.005).abs() < 1e-3, "{:?}", of("RL"));
        assert!((of("RL").degrees - 4.0).abs() < 1e-12);
        assert!(of("SFT").of_means < 1e-3);
        // Two merges of the same trainings show no more than one.
        assert!((of("RL > SFT").degrees - 2.0).abs() < 1e-12);
        assert!((of("RL > SFT").of_means - 0.01).abs() < 2e-3);
    }

    #[test]
    fn a_row_alone_borrows_the_noise_of_all() {
        let mut results = results(&[("rl", &["rl"], 0.1), ("sft", &["sft"], 0.0)]);
        results.rows[1].seeds.truncate(1);
        let lineage = Lineage::of(&results);
        let questions: Vec<usize> = (0..results.questions.len()).collect();
        let effects = Effects::of(&results, &lineage, &questions, Quantity::Accuracy);
        assert!(effects.level("sft").unwrap().half_width() > 0.3);
        // With one seed everywhere there is nothing to borrow.
        results.rows[0].seeds.truncate(1);
        let lineage = Lineage::of(&results);
        let effects = Effects::of(&results, &lineage, &questions, Quantity::Accuracy);
        assert!(effects.level("sft").unwrap().half_width() < 0.06);
    }

    #[test]
    fn the_noise_of_lengths_grows_with_them() {
        let mut results = results(&[("rl", &["rl"], 0.0), ("rl_long", &["rl_long"], 0.0)]);
        for (row, times) in [(0, 1), (1, 10)] {
            for (place, seed) in results.rows[row].seeds.iter_mut().enumerate() {
                let tokens = times * (20 + 4 * place as u32);
                seed.num_tokens.iter_mut().flatten().for_each(|n| *n = tokens);
            }
        }
        let lineage = Lineage::of(&results);
        let questions: Vec<usize> = (0..results.questions.len()).collect();
        let effects = Effects::of(&results, &lineage, &questions, Quantity::Length);
        let [short, long] = ["rl", "rl_long"].map(|row| effects.level(row).unwrap().half_width());
        assert!((long / short - 10.0).abs() < 1e-6 && short > 1.0, "{short} {long}");
    }
}
