//! What the gate can find at the noise that results show, and how many seeds would find more. Pure.
//!
//! This module does not know any recipe. Two trainings of one recipe differ by what seeds differ by, questions being the
//! same; so the deviation between the means of seeds is all that counts.

use serde::Serialize;

use super::Metric;
use crate::gate::GateSpec;
use crate::score::{Effects, Lineage, Quantity, ResultRow, Results, RowKind};
use crate::statistics::{self, Noise};
use std::collections::BTreeMap;
use strum::VariantArray as _;

/// The loss that the gate is built to find: five points of a row's accuracy over all questions.
pub const LOSS: f64 = 0.05;

/// What a comparison finds of a loss in rows that are trained alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Power {
    /// How the rows are trained, such as `SFT > RL`.
    pub trained: String,
    /// The rows.
    pub rows: Vec<String>,
    /// Standard deviation of a row's accuracy between seeds, as a share: the same questions, another training.
    pub deviation: f64,
    /// Degrees of freedom that it is known with.
    pub degrees: f64,
    /// Seeds of the rows on the side that has fewest.
    pub num_seeds: usize,
    /// Chance that a loss of [`LOSS`] is found with so many seeds on both sides, 0 to 1.
    pub power: f64,
    /// Seeds on both sides with which it is found in four of five runs; null beyond a thousand.
    pub seeds_needed: Option<usize>,
}

/// The level that the gate's smallest p-value has to meet where `num_rows` rows are compared over all questions.
pub fn gate_alpha(gate: &GateSpec, num_rows: usize) -> f64 {
    0.5 * gate.false_alarm / (num_rows * Metric::VARIANTS.len()).max(1) as f64
}

/// As [`gate_alpha`] of a gate with the usual one false alarm in twenty comparisons, for texts that know no recipe.
pub fn usual_alpha(num_rows: usize) -> f64 {
    0.5 * 0.05 / (num_rows * Metric::VARIANTS.len()).max(1) as f64
}

/// The power of a test at level `alpha` for each class of regimes that shows its noise in one of `sides`: a run alone, or
/// golden results and a run.
pub fn powers(sides: &[&Results], alpha: f64) -> Vec<Power> {
    let mut found: BTreeMap<String, Power> = BTreeMap::new();
    for results in sides {
        let lineage = Lineage::of(results);
        let asked: Vec<usize> = (0..results.questions.len())
            .filter(|&question| results.questions[question].level.is_some())
            .collect();
        let effects = Effects::of(results, &lineage, &asked, Quantity::Accuracy);
        for (class, noise) in effects.noise() {
            let is_one = |row: &&ResultRow| {
                row.kind == RowKind::Regime
                    && lineage.class(&row.name, true) == *class
                    && !effects.has_own_noise(&row.name)
            };
            let rows: Vec<&ResultRow> = results.rows.iter().filter(is_one).collect();
            if let Some(num_seeds) = rows.iter().map(|row| row.seeds.len()).min() {
                let names = rows.iter().map(|row| row.name.clone()).collect();
                let own = Power::of(class, names, noise, num_seeds, alpha);
                let both = found
                    .remove(class)
                    .map_or_else(|| own.clone(), |other| other.joined(&own, alpha));
                found.insert(class.to_owned(), both);
            }
        }
    }
    let mut found: Vec<Power> = found.into_values().collect();
    found.sort_by(|a, b| b.deviation.total_cmp(&a.deviation));
    found
}

impl Power {
    fn of(class: &str, rows: Vec<String>, noise: Noise, num_seeds: usize, alpha: f64) -> Power {
        let deviation = noise.of_means.sqrt();
        let error = deviation * (2.0 / num_seeds as f64).sqrt();
        let per_seed = noise.degrees / num_seeds.saturating_sub(1).max(1) as f64;
        Power {
            trained: class.to_owned(),
            rows,
            deviation,
            degrees: noise.degrees,
            num_seeds,
            power: statistics::power(LOSS, error, noise.degrees, alpha),
            seeds_needed: statistics::seeds_needed(LOSS, deviation, alpha, per_seed),
        }
    }

    /// What both sides show together; seeds that both have are counted once where they were trained to the same bits.
    fn joined(self, other: &Power, alpha: f64) -> Power {
        let is_same = (self.deviation - other.deviation).abs() <= 1e-12 && self.rows == other.rows;
        let degrees = if is_same { self.degrees } else { self.degrees + other.degrees };
        let square = (self.degrees * self.deviation.powi(2)
            + other.degrees * other.deviation.powi(2))
            / (self.degrees + other.degrees);
        let noise = Noise { variance: square, of_means: square, degrees };
        let num_seeds = self.num_seeds.min(other.num_seeds);
        Power::of(&self.trained, self.rows, noise, num_seeds, alpha)
    }

    /// The power in one line.
    pub fn line(&self) -> String {
        let needed = match self.seeds_needed {
            Some(seeds) => format!("{seeds} seeds on both sides find it in four of five"),
            None => "a thousand seeds do not find it in four of five".to_owned(),
        };
        format!(
            "{}: {:.1} points between seeds ({:.0} degrees of freedom); {} seeds find a loss of {:.0} points in {:.0} % \
             of runs, {needed}",
            self.trained,
            100.0 * self.deviation,
            self.degrees,
            self.num_seeds,
            100.0 * LOSS,
            100.0 * self.power,
        )
    }
}

/// All of them, a line each.
pub fn describe(powers: &[Power]) -> Vec<String> {
    powers.iter().map(Power::line).collect()
}
