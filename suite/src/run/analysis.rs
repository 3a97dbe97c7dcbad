//! Analyses a run's answers by level, outcome and grader, for `analysis.json` and the reports.
//!
//! Does not know files, nor any grader's rules. Questions without a level are left out.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use synergy_benchmarks::difficulty::Level;
use synergy_grade::Grader;
use synergy_report::agreement::{Agreement, Verdicts};
use synergy_report::analysis::{Analyses, Judged, RowAccuracy, analyze};
use synergy_report::completion::Completion;
use synergy_report::page::is_exhibited;
use synergy_report::score::{Results, Score};

use super::evaluation::Evaluated;
use crate::plan::PlannedRow;
use crate::planted::Planted;

/// One row of one seed: its answers, and how the grader of the run judged them.
type Answers<'a> = (&'a Evaluated, Vec<(&'a Completion, Score)>);

/// Analyses the answers of the base and of every regime.
///
/// # Errors
/// If no row is the base or a regime.
pub(super) fn analyses(
    profile: &str,
    evaluated: &[Evaluated],
    results: &Results,
    planted: Option<Planted>,
) -> Result<Analyses> {
    let levels: BTreeMap<&str, Level> = results
        .questions
        .iter()
        .filter_map(|question| Some((question.id.as_str(), question.level?)))
        .collect();
    let answers: Vec<Answers<'_>> = evaluated
        .iter()
        .filter(|row| is_exhibited(results, &row.planned.name))
        .map(|row| {
            let scored = row.completions.iter().zip(row.scores(results.grader(), planted));
            (row, scored.filter(|(c, _)| levels.contains_key(c.sample_id.as_str())).collect())
        })
        .collect();
    let mut rows = Vec::new();
    for name in names(&answers) {
        let own = answers.iter().filter(|(row, _)| row.planned.name == name);
        let judged: Vec<Judged<'_>> = own
            .flat_map(|(_, answers)| answers)
            .map(|(completion, score)| Judged {
                text: &completion.text,
                num_tokens: completion.num_tokens,
                outcome: score.outcome,
                level: levels.get(completion.sample_id.as_str()).copied(),
            })
            .collect();
        rows.extend(analyze(name, &judged));
    }
    let graders = results.grader().before_others();
    let verdicts: Vec<Verdicts> = answers
        .iter()
        .flat_map(|(row, answers)| answers.iter().map(|answer| (&row.planned, answer)))
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(row, (completion, score))| verdicts(row, completion, score, &graders[1..]))
        .collect();
    let accuracy = names(&answers)
        .into_iter()
        .map(|name| {
            let accuracy = accuracy(name, &verdicts, graders.len());
            RowAccuracy { row: name.to_owned(), accuracy }
        })
        .collect();
    let names: Vec<&str> = graders.iter().map(|grader| grader.name()).collect();
    let agreement = Agreement::of(&names, verdicts);
    rows.first().context("no row is the base or a regime")?;
    Ok(Analyses { profile: profile.to_owned(), rows, accuracy, agreement })
}

/// The rows' names, each once and in their order.
fn names<'a>(answers: &[Answers<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (row, _) in answers {
        if !names.contains(&row.planned.name.as_str()) {
            names.push(&row.planned.name);
        }
    }
    names
}

/// The outcomes of one answer: by the run's grader, which is in `score`, then by each of `others`.
fn verdicts(
    row: &PlannedRow,
    completion: &Completion,
    score: &Score,
    others: &[Grader],
) -> Verdicts {
    let others = others.iter().map(|grader| completion.outcome(*grader));
    Verdicts {
        row: row.name.clone(),
        seed: row.seed,
        sample_id: completion.sample_id.clone(),
        sample: completion.sample,
        outcomes: [score.outcome].into_iter().chain(others).collect(),
    }
}

/// Share of right answers of `row`, in [0, 1], by each grader.
fn accuracy(row: &str, verdicts: &[Verdicts], num_graders: usize) -> Vec<f64> {
    use synergy_grade::answer::Outcome::Correct;
    let own: Vec<&Verdicts> = verdicts.iter().filter(|verdicts| verdicts.row == row).collect();
    let share = |grader: usize| {
        own.iter().filter(|verdicts| verdicts.outcomes[grader] == Correct).count() as f64
            / own.len().max(1) as f64
    };
    (0..num_graders).map(share).collect()
}
