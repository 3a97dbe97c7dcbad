//! Accuracy against a budget of tokens, style by level and outcome, and the verdicts of other graders.
//!
//! This module does not know how any of it is counted.

use maud::{Markup, html};

use super::chart::{self, Axis, Panel, Point, Series};
use super::html::{folded, grid_table, numbers};
use super::lines::Line;
use crate::analysis::{Analyses, Analysis, Budget, grids};

const SIZE: (f64, f64) = (640.0, 340.0);
/// Number of answers that are listed where graders disagree.
const PARTED_SHOWN: usize = 100;

/// Accuracy if answers had been cut earlier, a line for each row.
pub(super) fn budgets(analyses: &Analyses, lines: &[Line]) -> Markup {
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
            let values: Vec<String> =
                row.budgets.iter().map(|b| format!("{} {:.1}", b.max_tokens, percent(b))).collect();
            // A row whose answers are all shorter stays where it is.
            let at = |place: usize| row.budgets.get(place).or(row.budgets.last());
            let point = |place: usize| {
                Some(Point::exact(chart::center(place, steps.len()), percent(at(place)?)))
            };
            Series {
                classes: line.classes(),
                marker: Some(line.marker),
                title: format!("{}: {}", row.row, values.join(", ")),
                points: (0..steps.len()).filter_map(point).collect(),
                gap_max: 1.0,
            }
        })
        .collect();
    let shown = drawn.iter().zip(&series).filter(|((_, line), _)| line.is_shown);
    let description = chart::described(shown.map(|(_, series)| series));
    let ticks = steps.iter().enumerate().map(|(place, budget)| {
        let unit = if place == steps.len() / 2 { "\ntokens, doubled at each step" } else { "" };
        (chart::center(place, steps.len()), format!("{}{unit}", budget.max_tokens))
    });
    let chart = chart::draw(&Panel {
        id: "budget-curve".to_owned(),
        title: "Accuracy against a budget of tokens: all questions".to_owned(),
        description,
        size: SIZE,
        ticks: ticks.collect(),
        axis: &axis,
        unit: "%",
        is_difference: false,
        bands: Vec::new(),
        series,
    });
    let grid = grids::budgets(&analyses.rows);
    let caption = "Accuracy in percent under each budget of tokens";
    html! { (chart) (numbers("The numbers of this figure", caption, &grid)) }
}

fn percent(budget: &Budget) -> f64 {
    100.0 * budget.accuracy
}

/// Length, markers, repetition and form of every row, by level and by outcome.
pub(super) fn style(analyses: &Analyses) -> Markup {
    let groups = analyses.rows.iter().flat_map(|row| {
        row.groups.iter().map(|group| (format!("{}\n{}", row.row, grids::group_name(group)), group))
    });
    let caption = "Tokens of an answer, phrases of each kind per 1000 tokens, share of runs of four words that are \
                   repeated, share in the form that the template asks for; all answers of a row, then by level and by \
                   outcome";
    numbers("Length and style by level and by outcome", caption, &grids::style("row", groups))
}

/// Rows under every grader, the graders' agreement, and the answers on which they disagree.
pub(super) fn graders(analyses: &Analyses) -> Markup {
    let agreement = &analyses.agreement;
    let names = agreement.graders.iter().zip(&agreement.compared);
    let silent: Vec<&str> =
        names.filter(|(_, compared)| !**compared).map(|(name, _)| name.as_str()).collect();
    let (count, total) = (agreement.parted.len(), agreement.num_answers);
    let mut summary = format!("Where they disagree: {count} of {total} answers");
    if !silent.is_empty() {
        let silent = silent.join(", ");
        summary += &format!(" ({silent} finds nothing to judge in most answers and is left out)");
    }
    let shown = grids::parted(agreement, PARTED_SHOWN);
    let caption = match shown.rows.len() < count {
        true => format!("The first {PARTED_SHOWN} of them; analysis.json has all"),
        false => "All of them".to_owned(),
    };
    let disagreements = match shown.rows.is_empty() {
        true => html! { p { "Nowhere." } },
        false => grid_table(&shown, &caption),
    };
    html! {
        (grid_table(&grids::rows(analyses), "Accuracy of every row in percent under each grader"))
        (numbers(
            "How far the graders agree",
            "Agreement of the graders: Cohen's κ of every pair, on all answers together",
            &grids::graders(agreement),
        ))
        (folded(&summary, &disagreements))
    }
}
