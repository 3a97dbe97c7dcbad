//! Results -> metrics: accuracy, gain, length and style by row, benchmark and level. Pure.
//!
//! This module does not know how results are compared or shown.
//! A gain is paired with the base over the same questions, since questions differ far more than
//! models do. Families and levels are read off the questions; no name of either is known here.

use std::collections::BTreeMap;

use synergy_benchmarks::difficulty::Level;

use super::effects::{Effects, Quantity};
use super::lineage::Lineage;
use super::{BASE, ResultRow, Results, long};
use crate::statistics::{self, Interval};

/// The metrics of a run: one cell per row, benchmark and level that has questions.
/// Rows come in the order of the results; within a row "all" comes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The cells, row by row.
    pub cells: Vec<Cell>,
}

/// The metrics of one row over the questions of one benchmark and level.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Name of the row.
    pub row: String,
    /// `None`: all procedural families together; external benchmarks stay out of it.
    pub benchmark: Option<String>,
    /// `None`: all levels together.
    pub level: Option<Level>,
    /// Questions of the cell; at least 1.
    pub num_questions: usize,
    /// Share of samples that are correct, mean over questions.
    pub accuracy: Interval,
    /// Accuracy minus the base's over the same questions, as a share (multiply by 100 for
    /// points); `None` for the base itself and where the base was not asked.
    pub gain: Option<Interval>,
    /// Tokens per answer.
    pub length: Interval,
    /// Share of samples that the length limit cut, 0 to 1.
    pub truncated: f64,
    /// Share of whole samples without anything to judge, 0 to 1.
    pub unparsed: f64,
    /// Share of samples without an answer, 0 to 1.
    pub unanswered: f64,
    /// Share of samples in the form the template asks for, 0 to 1.
    pub formatted: f64,
    /// Share of long samples, 0 to 1: those with a reasoning word and more than twice the base's mean tokens on the level.
    pub long: f64,
    /// The figures of each seed.
    pub per_seed: PerSeed,
    /// Each of the reasoning words per 1000 tokens: all words over all tokens.
    pub words_per_1000_tokens: [f64; 5],
    /// Each of the reasoning words per answer.
    pub words_per_answer: [f64; 5],
}

/// Figures of each seed of a row, in the order of its seeds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PerSeed {
    /// Share of samples that are correct.
    pub accuracy: Vec<f64>,
    /// Accuracy minus the base's mean over the same questions; `None` as for [`Cell::gain`].
    pub gain: Option<Vec<f64>>,
    /// Tokens per answer.
    pub length: Vec<f64>,
    /// Length minus the base's mean; `None` as for [`Cell::gain`].
    pub length_gain: Option<Vec<f64>>,
}

/// All levels together (`None`), then each level.
pub fn all_and_levels() -> impl Iterator<Item = Option<Level>> + Clone {
    std::iter::once(None).chain(Level::ALL.map(Some))
}

/// The name of a level, or `all` for all of them together.
pub fn level_name(level: Option<Level>) -> String {
    level.map_or_else(|| "all".to_owned(), |level| level.to_string())
}

impl Cell {
    /// Share of answers that are whole, hold an answer, and are not correct.
    pub fn wrong(&self) -> f64 {
        let others = self.truncated + self.unparsed + self.unanswered;
        (1.0 - self.accuracy.mean - others).max(0.0)
    }
}

impl Metrics {
    /// Computes every cell, with intervals at 95 % by [`crate::statistics::Estimate`]: over questions, paired with the base
    /// question by question for gains, and over training seeds, whose noise is pooled over rows that were trained alike.
    /// Where all questions of a cell come to one share, accuracy and gain have score intervals instead.
    pub fn of(results: &Results) -> Metrics {
        let lineage = Lineage::of(results);
        let all = Cells::of(results, &lineage);
        let mut cells: Vec<(usize, Cell)> = Vec::new();
        for (scope, questions) in &scopes(results) {
            cells.extend(all.of_scope(scope, questions, |_| true));
        }
        // Stable: within a row the scopes keep their order.
        cells.sort_by_key(|(row, _)| *row);
        Metrics { cells: cells.into_iter().map(|(_, cell)| cell).collect() }
    }

    /// One cell; `None` for `benchmark` or `level` means all of them.
    pub fn cell(&self, row: &str, benchmark: Option<&str>, level: Option<Level>) -> Option<&Cell> {
        self.cells.iter().find(|cell| {
            cell.row == row && cell.benchmark.as_deref() == benchmark && cell.level == level
        })
    }

    /// The cell over all families and levels of a row.
    pub fn average(&self, row: &str) -> Option<&Cell> {
        self.cell(row, None, None)
    }
}

/// A benchmark (or all) and a level (or all).
type Scope = (Option<String>, Option<Level>);

/// Returns which questions, by index, belong to which cell. `None` sorts first.
fn scopes(results: &Results) -> BTreeMap<Scope, Vec<usize>> {
    let mut scopes: BTreeMap<Scope, Vec<usize>> = BTreeMap::new();
    for (index, question) in results.questions.iter().enumerate() {
        let own = Some(question.benchmark.clone());
        let mut keys = vec![(own.clone(), None)];
        if question.level.is_some() {
            keys.extend([(own, question.level), (None, None), (None, question.level)]);
        }
        for key in keys {
            scopes.entry(key).or_default().push(index);
        }
    }
    scopes
}

/// What the cells of all scopes need, read once.
pub(super) struct Cells<'a> {
    results: &'a Results,
    lineage: &'a Lineage<'a>,
    /// `[row][seed][question]`, see [`long::counts`].
    num_long: Vec<Vec<Vec<u32>>>,
}

impl<'a> Cells<'a> {
    /// Reads what the cells of `results` need.
    pub(super) fn of(results: &'a Results, lineage: &'a Lineage<'a>) -> Cells<'a> {
        Cells { results, lineage, num_long: long::counts(results) }
    }

    /// The cells over `questions`, of whatever benchmark and level they are, of the rows that `is_shown`, in their order.
    /// The noise of training is pooled over all rows, shown or not.
    pub(super) fn over(
        &self,
        questions: &[usize],
        is_shown: impl Fn(&String) -> bool,
    ) -> Vec<Cell> {
        let cells = self.of_scope(&(None, None), questions, is_shown);
        cells.into_iter().map(|(_, cell)| cell).collect()
    }

    /// The cells of a scope, each with the index of its row.
    fn of_scope(
        &self,
        (benchmark, level): &Scope,
        questions: &[usize],
        is_shown: impl Fn(&String) -> bool,
    ) -> Vec<(usize, Cell)> {
        let Cells { results, lineage, num_long } = self;
        let accuracy = Effects::of(results, lineage, questions, Quantity::Accuracy);
        let length = Effects::of(results, lineage, questions, Quantity::Length);
        let rows = results.rows.iter().enumerate().filter(|(_, row)| is_shown(&row.name));
        let cell = |(index, row): (usize, &ResultRow)| {
            let name = row.name.as_str();
            let sums = Sums::of(row, &num_long[index], questions);
            let (samples, tokens) = (sums.samples as f64, sums.tokens as f64);
            let gain = (name != BASE).then(|| accuracy.difference(name, BASE)).flatten();
            let cell = Cell {
                row: row.name.clone(),
                benchmark: benchmark.clone(),
                level: *level,
                num_questions: questions.len(),
                accuracy: accuracy.level(name)?,
                gain: gain.map(|gain| gain.interval),
                length: length.level(name)?,
                truncated: sums.truncated as f64 / samples,
                unparsed: sums.unparsed as f64 / samples,
                unanswered: sums.unanswered as f64 / samples,
                formatted: sums.formatted as f64 / samples,
                long: sums.long as f64 / samples,
                per_seed: PerSeed {
                    accuracy: accuracy.per_seed(name)?,
                    gain: over_base(&accuracy, name),
                    length: length.per_seed(name)?,
                    length_gain: over_base(&length, name),
                },
                words_per_1000_tokens: sums.words.map(|n| 1000.0 * n as f64 / tokens.max(1.0)),
                words_per_answer: sums.words.map(|n| n as f64 / samples),
            };
            Some((index, cell))
        };
        rows.filter_map(cell).collect()
    }
}

/// Each seed of a row minus the base's mean; `None` for the base and where it was not asked.
fn over_base(effects: &Effects<'_>, name: &str) -> Option<Vec<f64>> {
    let base = statistics::mean(effects.values(BASE).filter(|_| name != BASE)?);
    Some(effects.per_seed(name)?.into_iter().map(|value| value - base).collect())
}

/// Plain sums over the samples of a cell, all seeds.
#[derive(Default)]
struct Sums {
    samples: u64,
    truncated: u64,
    unparsed: u64,
    unanswered: u64,
    formatted: u64,
    long: u64,
    tokens: u64,
    words: [u64; 5],
}

impl Sums {
    fn of(row: &ResultRow, num_long: &[Vec<u32>], questions: &[usize]) -> Sums {
        let mut sums = Sums::default();
        for (seed, num_long) in row.seeds.iter().zip(num_long) {
            for &question in questions {
                let letters = &seed.outcomes[question];
                sums.samples += letters.len() as u64;
                sums.truncated += letters.matches('t').count() as u64;
                sums.unparsed += letters.matches('u').count() as u64;
                sums.unanswered += letters.matches('n').count() as u64;
                sums.formatted += u64::from(seed.num_formatted[question]);
                sums.long += u64::from(num_long[question]);
                sums.tokens += seed.num_tokens[question].iter().map(|n| u64::from(*n)).sum::<u64>();
                for (sum, count) in sums.words.iter_mut().zip(seed.words[question]) {
                    *sum += u64::from(count);
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{SHARP, UNTUNED, header, levels, row, study};
    use super::super::{Question, Row, RowKind};
    use super::*;

    #[test]
    fn the_order_of_scores_reaches_no_metric() {
        let rows = [
            row("base", RowKind::Baseline, UNTUNED, 1, 20, 4),
            row("rl", RowKind::Regime, SHARP, 1, 20, 4),
        ];
        let mut shuffled = rows.clone();
        shuffled.iter_mut().for_each(|row| row.scores.reverse());
        let of =
            |rows: &[Row]| Metrics::of(&Results::assemble(header(), &levels(20), rows).unwrap());
        assert_eq!(of(&rows), of(&shuffled));
    }

    #[test]
    fn metrics_are_the_plain_means_of_the_record() {
        let results = study(40, &[1, 2]);
        let metrics = Metrics::of(&results);
        let rl = results.row("rl").unwrap();
        let letters: String = rl.seeds.iter().flat_map(|seed| seed.outcomes.clone()).collect();
        let procedural = |question: &Question| question.level.is_some();
        let num_procedural = results.questions.iter().filter(|q| procedural(q)).count();
        assert_eq!((num_procedural, letters.len()), (200, 2 * (200 * 4 + 40)));
        let mut correct = 0;
        for seed in &rl.seeds {
            for (question, outcomes) in results.questions.iter().zip(&seed.outcomes) {
                correct += if procedural(question) { outcomes.matches('c').count() } else { 0 };
            }
        }
        let cell = metrics.average("rl").unwrap();
        assert!((cell.accuracy.mean - correct as f64 / 1600.0).abs() < 1e-12);
        assert_eq!(cell.num_questions, 200);
        let base = metrics.average("base").unwrap();
        let gain = cell.gain.unwrap();
        assert!((gain.mean - (cell.accuracy.mean - base.accuracy.mean)).abs() < 1e-12);
        assert!(gain.low < gain.mean && gain.mean < gain.high);
        assert_eq!(base.gain, None);
        // Two seeds of the long style: 4 waits in about 60 tokens.
        let sft = metrics.average("sft").unwrap();
        assert!((sft.words_per_answer[0] - 4.0).abs() < 1e-12);
        assert!((sft.words_per_1000_tokens[0] - 4000.0 / sft.length.mean).abs() < 1e-9);
    }

    #[test]
    fn external_questions_stay_out_of_all() {
        let metrics = Metrics::of(&study(20, &[1]));
        assert_eq!(metrics.average("base").unwrap().num_questions, 100);
        let external = metrics.cell("base", Some("easy_vqa"), None).unwrap();
        assert_eq!(external.num_questions, 40);
        assert!(metrics.cell("rl", Some("easy_vqa"), None).unwrap().gain.is_some());
        // The controls were not asked it.
        assert_eq!(metrics.cell("shuffled", Some("easy_vqa"), None), None);
        assert_eq!(metrics.cell("base", Some("easy_vqa"), Some(Level::L1)), None);
    }

    #[test]
    fn the_null_row_shows_no_gain_and_the_sharp_one_does() {
        let metrics = Metrics::of(&study(80, &[1]));
        let gain = |row| metrics.average(row).unwrap().gain.unwrap();
        assert!(gain("null").low < 0.0 && gain("null").high > 0.0);
        assert!(gain("rl").low > 0.0);
    }
}
