//! Accuracy against a budget of tokens, style by level and outcome, and what other graders say.
//!
//! Does not know how any of it is counted.

use super::chart::{self, Axis, Panel, Point, Series};
use super::html;
use super::lines::Line;
use crate::analysis::{Analyses, Analysis, Budget, grids};

const SIZE: (f64, f64) = (640.0, 340.0);
/// Answers that are listed where graders part.
const PARTED_SHOWN: usize = 100;

/// Accuracy if answers had been cut earlier, a line for each row.
pub(super) fn budgets(analyses: &Analyses, lines: &[Line]) -> String {
    let drawn: Vec<(&Analysis, &Line)> = analyses
        .rows
        .iter()
        .filter_map(|row| Some((row, lines.iter().find(|line| line.name == row.row)?)))
        .collect();
    let values = drawn.iter().flat_map(|(row, _)| &row.budgets).map(percent);
    let axis = Axis::covering(values);
    let steps = drawn.iter().map(|(row, _)| &row.budgets).max_by_key(|budgets| budgets.len());
    let steps: &[Budget] = steps.map_or(&[], Vec::as_slice);
    let series: Vec<Series> = drawn
        .iter()
        .map(|(row, line)| {
            let told: Vec<String> =
                row.budgets.iter().map(|b| format!("{} {:.1}", b.max_tokens, percent(b))).collect();
            // A row whose answers are all shorter stays where it is.
            let at = |place: usize| row.budgets.get(place).or(row.budgets.last());
            let point = |place: usize| {
                Some(Point::exact(chart::center(place, steps.len()), percent(at(place)?)))
            };
            Series {
                classes: line.classes(),
                marker: Some(line.marker),
                title: format!("{}: {}", row.row, told.join(", ")),
                points: (0..steps.len()).filter_map(point).collect(),
                gap_max: 1.0,
            }
        })
        .collect();
    let told: Vec<String> = drawn
        .iter()
        .zip(&series)
        .filter(|((_, line), _)| line.is_shown)
        .map(|(_, series)| format!("{}.", series.title))
        .collect();
    let ticks = steps.iter().enumerate().map(|(place, budget)| {
        let unit = if place == steps.len() / 2 { "\ntokens, doubled at each step" } else { "" };
        (chart::center(place, steps.len()), format!("{}{unit}", budget.max_tokens))
    });
    let svg = chart::draw(&Panel {
        id: "budget-curve".to_owned(),
        title: "Accuracy against a budget of tokens: all questions".to_owned(),
        description: told.join(" "),
        size: SIZE,
        ticks: ticks.collect(),
        axis: &axis,
        unit: "%",
        is_difference: false,
        bands: Vec::new(),
        series,
    });
    let table = html::grid_table(
        &grids::budgets(&analyses.rows),
        "Accuracy in percent under each budget of tokens",
        "sortable",
    );
    format!(
        "<div class=\"panel large\">{svg}</div>\n{}",
        html::folded("The numbers of this figure", &table)
    )
}

fn percent(budget: &Budget) -> f64 {
    100.0 * budget.accuracy
}

/// Length, markers, repetition and form of every row, by level and by outcome.
pub(super) fn style(analyses: &Analyses) -> String {
    let groups = analyses.rows.iter().flat_map(|row| {
        row.groups.iter().map(|group| (format!("{}\n{}", row.row, grids::group_name(group)), group))
    });
    let table = html::grid_table(
        &grids::style("row", groups),
        "Tokens of an answer, phrases of each kind per 1000 tokens, share of runs of four words that came back, share \
         in the form that the template asks for; all answers of a row, then by level and by outcome",
        "sortable",
    );
    html::folded("Length and style by level and by outcome", &table)
}

/// Rows under every grader, the graders' agreement, and the answers on which they part.
pub(super) fn graders(analyses: &Analyses) -> String {
    let agreement = &analyses.agreement;
    let mut out = html::grid_table(
        &grids::rows(analyses),
        "Accuracy of every row in percent under each grader",
        "sortable",
    );
    let pairs = html::grid_table(
        &grids::graders(agreement),
        "Agreement of the graders: Cohen's κ of every pair, on all answers together",
        "sortable",
    );
    out.push_str(&html::folded("How far the graders agree", &pairs));
    let silent: Vec<&str> = agreement
        .graders
        .iter()
        .zip(&agreement.compared)
        .filter(|(_, compared)| !**compared)
        .map(|(name, _)| name.as_str())
        .collect();
    let beside = match silent.as_slice() {
        [] => String::new(),
        names => format!(
            " ({} finds nothing to judge in most answers and is left out)",
            names.join(", ")
        ),
    };
    let count = agreement.parted.len();
    let total = agreement.num_answers;
    let summary = format!("Where they part: {count} of {total} answers{beside}");
    let shown = grids::parted(agreement, PARTED_SHOWN);
    let body = if shown.rows.is_empty() {
        "<p>Nowhere.</p>\n".to_owned()
    } else {
        let caption = match shown.rows.len() < count {
            true => format!("The first {PARTED_SHOWN} of them; analysis.json has all"),
            false => "All of them".to_owned(),
        };
        html::grid_table(&shown, &caption, "sortable")
    };
    out.push_str(&html::folded(&summary, &body));
    out
}
