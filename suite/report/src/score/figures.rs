//! What follows from results beyond their metrics, as `figures.json` holds it: other cuts of difficulty, and several answers
//! taken together. Pure.
//!
//! Results keep outcomes and no mean of them; whoever wants the means that the report shows reads them here.

use serde::Serialize;

use super::cuts::{ByOthers, LevelByOthers, Part, by_knob, by_others};
use super::passes::{RowPasses, passes};
use super::{Cell, Results};
use crate::statistics::Interval;

/// The content of `figures.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Every row over every fifth of the knob.
    pub by_knob: Vec<CutCell>,
    /// Every regime, and its shuffled control, on levels cut by others.
    pub by_others: Vec<CutCell>,
    /// Several answers to a question taken together.
    pub passes: Vec<RowPasses>,
}

/// A row over some of the questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CutCell {
    /// Name of the row.
    pub row: String,
    /// The fifth or the level.
    pub part: Part,
    /// Questions of the cell; at least 1.
    pub num_questions: usize,
    /// Share of right answers.
    pub accuracy: Interval,
    /// Accuracy less the base's; `None` for the base itself.
    pub gain: Option<Interval>,
    /// The rows that cut the levels, if others have cut them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut_by: Vec<String>,
}

impl CutCell {
    fn of(cell: Cell, part: Part, cut_by: &[String]) -> CutCell {
        let Cell { row, num_questions, accuracy, gain, .. } = cell;
        CutCell { row, part, num_questions, accuracy, gain, cut_by: cut_by.to_vec() }
    }
}

/// Computes everything that `figures.json` holds.
pub fn figures(results: &Results) -> Figures {
    let of_fifth = |(place, cells): (usize, Vec<Cell>)| {
        let cells = cells.into_iter().map(|cell| CutCell::of(cell, Part::Fifth(place), &[]));
        cells.collect::<Vec<_>>()
    };
    let of_row = |ByOthers { others, levels, .. }: ByOthers| {
        let cells = levels.into_iter().flat_map(|LevelByOthers { level, cell, shuffled }| {
            [cell].into_iter().chain(shuffled).map(move |cell| (Part::Level(level), cell))
        });
        cells.map(|(part, cell)| CutCell::of(cell, part, &others)).collect::<Vec<_>>()
    };
    Figures {
        by_knob: by_knob(results).into_iter().flat_map(of_fifth).collect(),
        by_others: by_others(results).into_iter().flat_map(of_row).collect(),
        passes: passes(results),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::study;

    #[test]
    fn what_is_written_names_rows_and_parts() {
        let results = study(20, &[1]);
        let json = serde_json::to_value(figures(&results)).unwrap();
        let first = &json["by_knob"][0];
        assert_eq!(
            (first["row"].as_str(), first["part"].as_str()),
            (Some("base"), Some("fifth 1"))
        );
        assert_eq!(json["by_knob"].as_array().unwrap().len(), 5 * results.rows.len());
        let others = json["by_others"].as_array().unwrap();
        let is_l5_of_shuffled =
            |cell: &&serde_json::Value| cell["row"] == "sft/shuffled" && cell["part"] == "L5";
        let shuffled = others.iter().find(is_l5_of_shuffled).unwrap();
        assert_eq!(shuffled["cut_by"], serde_json::json!(["rl", "two_stage"]));
        assert_eq!(json["passes"][0]["parts"][0]["part"], "all");
    }
}
