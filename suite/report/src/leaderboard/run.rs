//! The leaderboard of one run as values: what the schema says, and what a schema cannot say.
//!
//! Does not know other runs but to say in which fields two differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use synergy_benchmarks::difficulty::Level;

use crate::cost::Cost;
use crate::score::{External, Machine, RowKind, Training};
use crate::statistics::Interval;

/// Figures are written with six decimals, so two of them that are equal differ by less than this.
const ROUNDING: f64 = 2e-6;

/// Hexadecimal digits of a run's name.
const ID_DIGITS: usize = 12;

/// As `golden/schema/leaderboard.schema.json` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub schema_version: u32,
    pub profile: String,
    pub recipe_hash: String,
    pub grader: String,
    pub provenance: Origin,
    pub base: Base,
    pub levels: Vec<LevelShare>,
    pub families: Vec<String>,
    pub external_benchmarks: Vec<String>,
    pub external: Vec<External>,
    pub training: Vec<Training>,
    /// As published: what the study claimed and how it fared in this run.
    pub claims: Vec<Value>,
    pub rows: Vec<BoardRow>,
}

/// Where a run comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    pub date: String,
    pub commit: String,
    pub dirty: bool,
    pub command: String,
    pub machine: Machine,
    pub backend: String,
    pub rustc: String,
    pub wall_time_s: f64,
}

/// The model that every regime starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    pub hash: String,
    pub provisional: bool,
    pub note: String,
}

/// Questions of one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelShare {
    pub level: Level,
    pub num_questions: u64,
    pub share: f64,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardRow {
    pub name: String,
    pub kind: RowKind,
    pub note: String,
    pub seeds: Vec<u64>,
    pub budget: Vec<Cost>,
    pub cells: Vec<BoardCell>,
}

/// A row over one benchmark and level, or over `all`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardCell {
    pub benchmark: String,
    pub level: String,
    pub num_questions: u64,
    pub accuracy: Interval,
    pub gain: Option<Interval>,
    pub length: Interval,
    pub outcomes: Outcomes,
    pub formatted: f64,
    pub words_per_1000_tokens: BTreeMap<String, f64>,
}

/// Shares of all answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcomes {
    pub correct: f64,
    pub wrong: f64,
    pub truncated: f64,
    pub unparsed: f64,
}

impl BoardRow {
    /// The cell over all procedural questions of `level`, or of every level.
    pub fn cell(&self, level: Option<Level>) -> Option<&BoardCell> {
        let level = level.map_or_else(|| "all".to_owned(), |level| level.to_string());
        self.cells.iter().find(|cell| cell.benchmark == "all" && cell.level == level)
    }
}

impl Run {
    /// The run's name: a hash of where it comes from and what it was asked, not of its figures.
    pub fn id(&self) -> String {
        let of = (&self.provenance, &self.profile, &self.recipe_hash, &self.base.hash);
        let text = serde_json::to_string(&of).expect("plain data");
        blake3::hash(text.as_bytes()).to_hex()[..ID_DIGITS].to_owned()
    }

    /// Procedural questions of every level together.
    pub fn num_questions(&self) -> u64 {
        self.levels.iter().map(|level| level.num_questions).sum()
    }

    /// Fields that decide whether two runs can be compared and differ: name, ours, theirs.
    ///
    /// How many questions a level has is not among them: on another machine the base may answer one
    /// question more, and its page says so.
    pub fn differences(&self, other: &Run) -> Vec<(&'static str, String, String)> {
        let quoted = |text: &str| format!("`{text}`");
        let listed = |names: &[String]| match names {
            [] => "none".to_owned(),
            names => format!("`{}`", names.join("`, `")),
        };
        type Field<'a> = (&'static str, &'a dyn Fn(&Run) -> String);
        let fields: [Field<'_>; 7] = [
            ("profile", &|run| quoted(&run.profile)),
            ("recipe_hash", &|run| quoted(&run.recipe_hash)),
            ("grader", &|run| quoted(&run.grader)),
            ("base", &|run| quoted(&run.base.hash)),
            ("families", &|run| listed(&run.families)),
            ("external_benchmarks", &|run| listed(&run.external_benchmarks)),
            ("num_questions", &|run| run.num_questions().to_string()),
        ];
        let differs = |(name, field): Field<'_>| {
            let (ours, theirs) = (field(self), field(other));
            (ours != theirs).then_some((name, ours, theirs))
        };
        fields.into_iter().filter_map(differs).collect()
    }

    /// What contradicts itself though it satisfies the schema.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let levels: Vec<Level> = self.levels.iter().map(|level| level.level).collect();
        if levels != Level::ALL {
            found.push("levels are not L1 to L5 in order".to_owned());
        }
        let baselines = self.rows.iter().filter(|row| row.kind == RowKind::Baseline).count();
        if baselines != 1 {
            found.push(format!("{baselines} rows are the baseline"));
        }
        let mut names = BTreeSet::new();
        for row in &self.rows {
            if !names.insert(&row.name) {
                found.push(format!("two rows are named `{}`", row.name));
            }
            self.contradictions_of(row, &mut found);
        }
        found
    }

    fn contradictions_of(&self, row: &BoardRow, found: &mut Vec<String>) {
        let mut places = BTreeSet::new();
        for cell in &row.cells {
            let place = format!("row `{}`, {} at {}", row.name, cell.benchmark, cell.level);
            if !places.insert((&cell.benchmark, &cell.level)) {
                found.push(format!("{place}: the cell is there twice"));
            }
            let mut known = self.families.iter().chain(&self.external_benchmarks);
            if cell.benchmark != "all" && !known.any(|name| *name == cell.benchmark) {
                found.push(format!("{place}: no such benchmark"));
            }
            let intervals = [
                ("accuracy", Some(cell.accuracy)),
                ("gain", cell.gain),
                ("length", Some(cell.length)),
            ];
            for (what, interval) in intervals {
                let holds = |Interval { mean, low, high }: Interval| {
                    low <= mean + ROUNDING && mean <= high + ROUNDING
                };
                if !interval.is_none_or(holds) {
                    found.push(format!("{place}: the interval of {what} does not hold its mean"));
                }
            }
            let Outcomes { correct, wrong, truncated, unparsed } = cell.outcomes;
            if (correct + wrong + truncated + unparsed - 1.0).abs() > 4.0 * ROUNDING {
                found.push(format!("{place}: the outcomes do not sum to 1"));
            }
            if (correct - cell.accuracy.mean).abs() > ROUNDING {
                found.push(format!("{place}: the share of correct answers is not the accuracy"));
            }
            let of_level = |level: &&LevelShare| level.level.to_string() == cell.level;
            let asked = match self.levels.iter().find(of_level) {
                Some(level) => level.num_questions,
                None => self.num_questions(),
            };
            if cell.benchmark == "all" && cell.num_questions != asked {
                found.push(format!("{place}: {} questions of {asked}", cell.num_questions));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{board, sourced};
    use super::*;

    #[track_caller]
    fn found(change: impl FnOnce(&mut Run), want: &str) {
        let mut run = sourced(&board("one"), "a").run;
        assert_eq!(run.contradictions(), [""; 0]);
        change(&mut run);
        let found = run.contradictions();
        assert!(found.iter().any(|fault| fault == want), "{found:#?}");
    }

    #[test]
    fn every_contradiction_is_found() {
        found(|run| run.levels.swap(0, 1), "levels are not L1 to L5 in order");
        found(|run| run.rows[1].kind = RowKind::Baseline, "2 rows are the baseline");
        found(|run| run.rows[1].name = "base".to_owned(), "two rows are named `base`");
        let cell =
            |run: &mut Run, change: &dyn Fn(&mut BoardCell)| change(&mut run.rows[0].cells[0]);
        found(
            |run| {
                let copy = run.rows[0].cells[0].clone();
                run.rows[0].cells.push(copy);
            },
            "row `base`, all at all: the cell is there twice",
        );
        found(
            |run| cell(run, &|cell| cell.benchmark = "maze".to_owned()),
            "row `base`, maze at all: no such benchmark",
        );
        found(
            |run| cell(run, &|cell| cell.accuracy.high = 0.0),
            "row `base`, all at all: the interval of accuracy does not hold its mean",
        );
        found(
            |run| cell(run, &|cell| cell.outcomes.wrong += 0.01),
            "row `base`, all at all: the outcomes do not sum to 1",
        );
        found(
            |run| cell(run, &|cell| cell.outcomes.correct += 0.01),
            "row `base`, all at all: the share of correct answers is not the accuracy",
        );
        found(
            |run| cell(run, &|cell| cell.num_questions += 1),
            "row `base`, all at all: 101 questions of 100",
        );
    }

    #[test]
    fn a_run_is_named_by_where_it_comes_from() {
        let run = sourced(&board("one"), "a").run;
        let mut same = run.clone();
        same.rows.clear();
        assert_eq!(same.id(), run.id());
        let mut other = run.clone();
        other.provenance.wall_time_s += 1.0;
        assert_ne!(other.id(), run.id());
        assert_eq!(run.id().len(), ID_DIGITS);
    }
}
