//! What long demonstrations are worth, taken apart: the steps that they tell, the words beside them, and whose they are.
//! Pure.
//!
//! Six rows are trained on the same questions with the same number of updates: brief, dense or long demonstrations, which
//! are true traces or the model's own right answers. Brief tells a few steps, dense every step, and long every step in
//! the study's words; so dense less brief is what the steps are worth, and long less dense what the words are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::{Measure, Part, Study};
use crate::statistics::Interval;

/// The sources of demonstrations and the registers, as in the names of rows.
const SOURCES: [&str; 2] = ["true", "own"];
const REGISTERS: [&str; 3] = ["brief", "dense", "long"];

/// An effect of one factor, averaged over the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactorEffect {
    /// `steps`, `words` or `source`.
    #[schemars(extend("enum" = ["steps", "words", "source"]))]
    pub factor: String,
    /// What is taken from what.
    pub what: String,
    /// The questions: `all`, `easy half` or `hard half`.
    pub part: String,
    /// The effect with its 95 % interval, in points of accuracy.
    pub effect: Interval,
    /// Two-sided p-value of no effect, without correction.
    #[schemars(range(min = 0, max = 1))]
    pub p: f64,
}

/// The three effects over all questions and over each half; `None` where one of the six rows is missing.
pub fn factorial(study: &Study<'_>) -> Option<Vec<FactorEffect>> {
    let row = |source: &str, register: &str| format!("sft_{source}_{register}");
    let mean_of_sources = |more: &str, less: &str| -> Vec<(String, f64)> {
        let of_source = |source| [(row(source, more), 0.5), (row(source, less), -0.5)];
        SOURCES.into_iter().flat_map(of_source).collect()
    };
    let third = 1.0 / REGISTERS.len() as f64;
    let source = REGISTERS
        .into_iter()
        .flat_map(|register| [(row("own", register), third), (row("true", register), -third)]);
    let factors = [
        ("steps", "dense less brief, mean of both sources", mean_of_sources("dense", "brief")),
        ("words", "long less dense, mean of both sources", mean_of_sources("long", "dense")),
        ("source", "own less true, mean of the three registers", source.collect()),
    ];
    let mut effects = Vec::new();
    for (factor, what, contrast) in &factors {
        let contrast: Vec<(&str, f64)> =
            contrast.iter().map(|(row, weight)| (row.as_str(), *weight)).collect();
        for part in [Part::All, Part::EasyByKnob, Part::HardByKnob] {
            let Some(of_part) = study.effects(part, Measure::Accuracy) else { continue };
            let found = of_part.contrast(&contrast)?;
            effects.push(FactorEffect {
                factor: (*factor).to_owned(),
                what: (*what).to_owned(),
                part: part.name(),
                effect: found.interval.scaled(100.0),
                p: found.estimate.p_difference(),
            });
        }
    }
    Some(effects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::{Behavior, UNTUNED, header, levels, row};
    use crate::score::{BASE, Lineage, Results, Row, RowKind};

    fn results(left_out: &str) -> Results {
        let accuracy = |register: &str, source: &str| match (register, source) {
            ("brief", _) => 0.3,
            ("dense", _) => 0.7,
            (_, "true") => 0.75,
            _ => 0.85,
        };
        let mut rows: Vec<Row> = vec![row(BASE, RowKind::Baseline, UNTUNED, 1, 80, 4)];
        for source in SOURCES {
            for register in REGISTERS {
                let behavior = Behavior { accuracy: [accuracy(register, source); 5], ..UNTUNED };
                let name = format!("sft_{source}_{register}");
                rows.extend(
                    [1, 2, 3].map(|seed| row(&name, RowKind::Regime, behavior, seed, 80, 4)),
                );
            }
        }
        rows.retain(|row| row.name != left_out);
        Results::assemble(header(), &levels(80), &rows).unwrap()
    }

    #[test]
    fn each_factor_is_averaged_over_the_other() {
        let results = results("");
        let lineage = Lineage::of(&results);
        let effects = factorial(&Study::of(&results, &lineage)).unwrap();
        assert_eq!(effects.len(), 9);
        // Answers that are cut or have no box are not right: 2 %.
        for (factor, want) in [("steps", 40.0), ("words", 10.0), ("source", 3.3)] {
            let found = effects.iter().find(|e| e.factor == factor && e.part == "all").unwrap();
            let Interval { mean, low, high } = found.effect;
            assert!((mean - want).abs() < 2.0, "{found:?}");
            assert!(low < mean && mean < high && high - low < 6.0, "{found:?}");
        }
    }

    #[test]
    fn without_one_of_the_six_there_is_no_factorial() {
        let results = results("sft_own_dense");
        let lineage = Lineage::of(&results);
        assert_eq!(factorial(&Study::of(&results, &lineage)), None);
    }
}
