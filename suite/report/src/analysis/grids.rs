//! Graders, length and style as tables. Pure.
//!
//! This module does not know where a table is shown. Numbers are rounded here and nowhere before.

use synergy_grade::style::Marker;

use super::{Analyses, Analysis, Budget, Group, RowAccuracy};
use crate::agreement::{Agreement, Verdicts};
use crate::score::outcome_name;
use crate::text::terminal::{Grid, NOTHING, percent};

/// Accuracy under each grader, the share in which it found nothing, and Cohen's kappa with each.
pub fn graders(agreement: &Agreement) -> Grid {
    let mut header = ["grader", "accuracy %", "unparsed %"].map(str::to_owned).to_vec();
    // Numbers replace names, which are too long to head a column.
    header.extend((1..=agreement.graders.len()).map(|number| format!("κ {number}")));
    let row = |(place, name): (usize, &String)| {
        let mut row = vec![
            format!("{} {name}", place + 1),
            percent(agreement.accuracy[place]),
            percent(agreement.unparsed[place]),
        ];
        let kappa = |kappa: &Option<f64>| match kappa {
            // Without the sign of a negative zero.
            Some(kappa) => format!("{:.2}", kappa + 0.0).replace("-0.00", "0.00"),
            None => NOTHING.to_owned(),
        };
        row.extend(agreement.kappa[place].iter().map(kappa));
        row
    };
    Grid { header, rows: agreement.graders.iter().enumerate().map(row).collect() }
}

/// Every row of a run under each grader.
pub fn rows(analyses: &Analyses) -> Grid {
    let mut header = vec!["row".to_owned()];
    header.extend(analyses.agreement.graders.clone());
    let row = |row: &RowAccuracy| {
        let shares = row.accuracy.iter().map(|share| percent(*share));
        [row.row.clone()].into_iter().chain(shares).collect()
    };
    Grid { header, rows: analyses.accuracy.iter().map(row).collect() }
}

/// What each grader says of the first `most` answers on which they part.
pub fn parted(agreement: &Agreement, most: usize) -> Grid {
    let header = ["row", "seed", "question", "answer"].map(str::to_owned);
    let row = |verdicts: &Verdicts| {
        let outcomes = verdicts.outcomes.iter().copied().map(outcome_name);
        [
            verdicts.row.clone(),
            verdicts.seed.to_string(),
            verdicts.sample_id.clone(),
            (verdicts.sample + 1).to_string(),
        ]
        .into_iter()
        .chain(outcomes)
        .collect()
    };
    Grid {
        header: header.into_iter().chain(agreement.graders.clone()).collect(),
        rows: agreement.parted.iter().take(most).map(row).collect(),
    }
}

/// Length and style, a line for each of `groups` under its name.
pub fn style<'a>(first: &str, groups: impl Iterator<Item = (String, &'a Group)>) -> Grid {
    let mut header = [first, "answers", "mean", "median", "p95"].map(str::to_owned).to_vec();
    header.extend(Marker::ALL.map(|marker| marker.name().to_owned()));
    header.extend(["repetition".to_owned(), "in form %".to_owned()]);
    let row = |(name, group): (String, &Group)| {
        let mut row = vec![name, group.num_answers.to_string()];
        let lengths = [group.tokens.mean, group.tokens.median, group.tokens.p95];
        row.extend(lengths.map(|n| format!("{n:.0}")));
        row.extend(group.markers_per_1000_tokens.values().map(|n| format!("{n:.1}")));
        row.push(format!("{:.2}", group.repetition));
        row.push(percent(group.formatted));
        row
    };
    Grid { header, rows: groups.map(row).collect() }
}

/// The name of a group: a level, an outcome or all.
pub fn group_name(group: &Group) -> String {
    match (group.level, group.outcome) {
        (Some(level), _) => level.to_string(),
        (_, Some(outcome)) => outcome_name(outcome),
        _ => "all".to_owned(),
    }
}

/// Accuracy against the budget, a line for each row and a column for each budget.
pub fn budgets(analyses: &[Analysis]) -> Grid {
    let longest = analyses.iter().map(|analysis| &analysis.budgets).max_by_key(|b| b.len());
    let steps: &[Budget] = longest.map_or(&[], Vec::as_slice);
    let mut header = vec!["tokens".to_owned()];
    header.extend(steps.iter().map(|budget| budget.max_tokens.to_string()));
    let row = |analysis: &Analysis| {
        let mut row = vec![analysis.row.clone()];
        // A row whose answers are all shorter gains nothing from more.
        let at = |place: usize| analysis.budgets.get(place).or(analysis.budgets.last());
        row.extend((0..steps.len()).map(|place| {
            at(place).map_or_else(|| NOTHING.to_owned(), |budget| percent(budget.accuracy))
        }));
        row
    };
    Grid { header, rows: analyses.iter().map(row).collect() }
}
