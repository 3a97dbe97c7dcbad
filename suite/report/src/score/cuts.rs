//! Results -> difficulty in other cuts than the levels of the results: by the knob, and by what all other rows answer. Pure.
//!
//! This module does not know how cuts are shown. A level that is cut on a model's samples selects on that model's errors,
//! however fresh the samples that measure it: a question on which the base happens to be blind is in L5. The knob is set
//! by the question, and levels that are cut on models that are not shown select on nobody's errors that are shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use synergy_benchmarks::difficulty::{self, Level};

use super::metrics::Cells;
use super::{Cell, Lineage, Question, ResultRow, Results, RowKind};
use crate::rows::CLONE;

/// Parts that the knob of a family is cut into.
pub const FIFTHS: usize = 5;

/// Some of the questions that have a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    All,
    /// Those of a level of the results.
    Level(Level),
    /// Those of a fifth of every family's knob, from 0: see [`fifths`].
    Fifth(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::All => f.write_str("all"),
            Part::Level(level) => write!(f, "{level}"),
            Part::Fifth(place) => write!(f, "fifth {}", place + 1),
        }
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The parts that have questions, each with its questions by index: all, the fifths, then the levels.
pub fn parts(results: &Results) -> Vec<(Part, Vec<usize>)> {
    let fifths = fifths(results);
    let leveled = |belongs: &dyn Fn(usize, &Question) -> bool| -> Vec<usize> {
        let questions = results.questions.iter().enumerate();
        let own = questions.filter(|(i, q)| q.level.is_some() && belongs(*i, q));
        own.map(|(i, _)| i).collect()
    };
    let mut parts = vec![(Part::All, leveled(&|_, _| true))];
    parts.extend((0..FIFTHS).map(|f| (Part::Fifth(f), leveled(&|i, _| fifths[i] == Some(f)))));
    let levels = Level::ALL.map(|l| (Part::Level(l), leveled(&|_, q| q.level == Some(l))));
    parts.extend(levels);
    parts.retain(|(_, questions)| !questions.is_empty());
    parts
}

/// The fifth of its family's knob that each question is in, from 0; `None` for questions without a knob.
///
/// Values of the knob stay whole: one belongs to the fifth that holds the middle of its questions, in order of the knob.
pub fn fifths(results: &Results) -> Vec<Option<usize>> {
    let mut counts: BTreeMap<&str, BTreeMap<usize, usize>> = BTreeMap::new();
    for question in results.questions.iter().filter(|question| question.hops > 0) {
        *counts.entry(&question.benchmark).or_default().entry(question.hops).or_default() += 1;
    }
    let mut places: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    for (family, counts) in counts {
        let all: usize = counts.values().sum();
        let mut before = 0;
        for (hops, count) in counts {
            // In halves of questions, so that nothing is rounded.
            places.insert((family, hops), (2 * before + count) * FIFTHS / (2 * all));
            before += count;
        }
    }
    let place = |q: &Question| places.get(&(q.benchmark.as_str(), q.hops)).copied();
    results.questions.iter().map(place).collect()
}

/// Fewest and most steps of the questions of a fifth, over all families.
pub fn steps(results: &Results, fifth: usize) -> Option<(usize, usize)> {
    let places = fifths(results);
    let own = || {
        let questions = results.questions.iter().zip(&places);
        questions.filter(|(_, place)| **place == Some(fifth)).map(|(question, _)| question.hops)
    };
    Some((own().min()?, own().max()?))
}

/// The cells of every row over each fifth that has questions, easy first.
pub fn by_knob(results: &Results) -> Vec<(usize, Vec<Cell>)> {
    let lineage = Lineage::of(results);
    let cells = Cells::of(results, &lineage);
    let of = |(part, questions): (Part, Vec<usize>)| {
        let Part::Fifth(place) = part else { return None };
        Some((place, cells.over(&questions, |_| true)))
    };
    parts(results).into_iter().filter_map(of).collect()
}

/// A regime on levels that neither its own answers nor the base's have cut.
#[derive(Debug, Clone, PartialEq)]
pub struct ByOthers {
    /// Name of the regime's row.
    pub row: String,
    /// The rows whose answers have cut the levels.
    pub others: Vec<String>,
    /// Each level that has questions.
    pub levels: Vec<LevelByOthers>,
}

/// A level that others have cut.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelByOthers {
    /// The level.
    pub level: Level,
    /// The regime on its questions.
    pub cell: Cell,
    /// The same regime shown another question's picture, on the same questions.
    pub shuffled: Option<Cell>,
}

/// Every regime on levels cut on the answers of all other regimes that share no training with it, and of another base.
/// Regimes without such others are left out.
pub fn by_others(results: &Results) -> Vec<ByOthers> {
    let lineage = Lineage::of(results);
    let cells = Cells::of(results, &lineage);
    let regimes = results.rows.iter().filter(|row| row.kind == RowKind::Regime);
    regimes.filter_map(|row| of_regime(results, &lineage, &cells, row)).collect()
}

fn of_regime(
    results: &Results,
    lineage: &Lineage<'_>,
    cells: &Cells<'_>,
    row: &ResultRow,
) -> Option<ByOthers> {
    let is_other = |other: &&ResultRow| {
        let is_stranger = other.name != row.name && !lineage.are_related(&other.name, &row.name);
        (other.kind == RowKind::Regime && is_stranger) || other.name == CLONE
    };
    let others: Vec<&ResultRow> = results.rows.iter().filter(is_other).collect();
    if others.is_empty() {
        return None;
    }
    let levels: Vec<Option<Level>> =
        (0..results.questions.len()).map(|q| level_by(results, &others, q)).collect();
    let shuffled = format!("{}/shuffled", row.name);
    let of_level = |level: Level| {
        let own = levels.iter().enumerate().filter(|(_, of)| **of == Some(level));
        let questions: Vec<usize> = own.map(|(q, _)| q).collect();
        if questions.is_empty() {
            return None;
        }
        let mut cells = cells.over(&questions, |name| [&row.name, &shuffled].contains(&name));
        let mut take = |name: &str| {
            let place = cells.iter().position(|cell| cell.row == name)?;
            Some(cells.swap_remove(place))
        };
        Some(LevelByOthers { level, cell: take(&row.name)?, shuffled: take(&shuffled) })
    };
    Some(ByOthers {
        row: row.name.clone(),
        others: others.iter().map(|row| row.name.clone()).collect(),
        levels: Level::ALL.into_iter().filter_map(of_level).collect(),
    })
}

/// The level of question `q` by the share of right answers among all of `others`; `None` where the results have none, or
/// nobody answered.
fn level_by(results: &Results, others: &[&ResultRow], q: usize) -> Option<Level> {
    results.questions[q].level?;
    let letters = || others.iter().flat_map(|row| &row.seeds).map(|seed| &seed.outcomes[q]);
    let num: usize = letters().map(String::len).sum();
    let num_correct: usize = letters().map(|letters| letters.matches('c').count()).sum();
    (num > 0).then(|| difficulty::level(num_correct as u32, num as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Training;
    use crate::score::fixture::study;
    use proptest::prelude::*;

    #[test]
    fn each_family_has_fifths_of_its_own_knob() {
        let mut results = study(20, &[1]);
        // Hops 1 to 10 twice; one family's knob goes on.
        for question in results.questions.iter_mut().filter(|q| q.benchmark == "swap") {
            question.hops += 30;
        }
        let fifths = fifths(&results);
        for (question, fifth) in results.questions.iter().zip(&fifths) {
            let knob =
                if question.benchmark == "swap" { question.hops - 30 } else { question.hops };
            let want = (knob > 0 && question.level.is_some()).then(|| (knob - 1) / 2);
            assert_eq!(*fifth, want, "{}", question.id);
        }
        assert_eq!(steps(&results, 0), Some((1, 32)));
        let cut = by_knob(&results);
        assert_eq!(cut.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for (_, cells) in &cut {
            assert_eq!(cells.len(), results.rows.len());
            assert!(cells.iter().all(|cell| cell.num_questions == 20));
        }
    }

    #[test]
    fn relatives_and_the_base_have_no_say_in_the_levels_of_a_row() {
        let mut results = study(40, &[1]);
        let stage = results.training[0].clone();
        results.training = [("sft", "sft+two_stage"), ("grpo", "rl")]
            .map(|(name, regime)| Training {
                stage: name.to_owned(),
                regime: regime.to_owned(),
                ..stage.clone()
            })
            .to_vec();
        let cut = by_others(&results);
        let others = |name: &str| &cut.iter().find(|row| row.row == name).unwrap().others;
        assert_eq!(others("sft"), &["rl"]);
        assert_eq!(others("two_stage"), &["rl"]);
        assert_eq!(others("rl"), &["sft", "two_stage"]);
        for row in &cut {
            let num: usize = row.levels.iter().map(|level| level.cell.num_questions).sum();
            assert_eq!(num, 200);
            assert!(row.levels.iter().all(|l| l.cell.gain.is_some() && l.shuffled.is_some()));
        }

        // What the row and its relatives answer moves no question.
        let mut wrong = results.clone();
        for row in wrong
            .rows
            .iter_mut()
            .filter(|row| ["base", "sft", "two_stage"].contains(&row.name.as_str()))
        {
            for letters in row.seeds.iter_mut().flat_map(|seed| &mut seed.outcomes) {
                *letters = "w".repeat(letters.len());
            }
        }
        let sizes = |cut: &[ByOthers]| {
            let row = cut.iter().find(|row| row.row == "sft").unwrap();
            row.levels.iter().map(|l| (l.level, l.cell.num_questions)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&cut), sizes(&by_others(&wrong)));
        // A regime that shares its training with all others has none to be cut by, unless another base is there.
        results.training = vec![Training { regime: "sft+two_stage+rl".to_owned(), ..stage }];
        assert_eq!(by_others(&results), []);
        let mut clone = results.row("base").unwrap().clone();
        (clone.name, clone.kind) = (CLONE.to_owned(), RowKind::Control);
        results.rows.push(clone);
        assert!(by_others(&results).iter().all(|row| row.others == [CLONE]));
        // Data without updates relate nobody.
        results.training[0].cost.optimizer_steps = 0;
        results.training[0].summary.clear();
        assert_eq!(by_others(&results).iter().find(|r| r.row == "sft").unwrap().others.len(), 3);
    }

    proptest! {
        #[test]
        fn fifths_rise_with_the_knob_and_hold_a_fifth_each(most in 5usize..40, each in 1usize..4) {
            let mut results = study(1, &[1]);
            let question = results.questions[0].clone();
            let all = (0..most * each).map(|i| Question { hops: 1 + i / each, ..question.clone() });
            results.questions = all.collect();
            let places: Vec<usize> = fifths(&results).into_iter().map(Option::unwrap).collect();
            prop_assert!(places.is_sorted() && places[0] == 0 && places[places.len() - 1] == 4);
            for fifth in 0..FIFTHS {
                let count = places.iter().filter(|place| **place == fifth).count();
                let want = places.len() as f64 / 5.0;
                prop_assert!((count as f64 - want).abs() <= each as f64, "{count} of {want}");
            }
        }
    }
}
