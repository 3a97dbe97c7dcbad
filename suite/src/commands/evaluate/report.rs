//! A report for a terminal and as Markdown. Pure.
//!
//! This module does not know how its figures came about. Numbers are rounded here and nowhere before.

use std::fmt::Write as _;
use synergy_report::analysis::{grids, written};
use synergy_report::text::markdown::{inline, markdown_table};
use synergy_report::text::terminal::{Grid, draw, percent, plus_minus, unanswered_title};

use super::judge::{Part, Report, SkippedRow, UnansweredQuestion};

/// The report for a terminal of `width` columns.
pub(super) fn render(report: &Report, width: u16) -> String {
    let mut text = format!("{}\n", head(report));
    text.push_str(&draw(&parts_grid(report), width, 1));
    text.push('\n');
    text.push_str(&draw(&grids::graders(&report.agreement), width, 1));
    text.push('\n');
    for line in remarks(report) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The report as Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let mut text =
        format!("# {}\n\n{}\n\n## Accuracy\n\n", inline(&report.benchmark), inline(&head(report)));
    markdown_table(&mut text, &parts_grid(report));
    written::graders(&mut text, &report.agreement);
    if let Some(analysis) = &report.analysis {
        let groups = analysis.groups.iter().map(|group| (grids::group_name(group), group));
        written::style(&mut text, &grids::style("answers", groups));
        written::budgets(&mut text, std::slice::from_ref(analysis));
    }
    text.push('\n');
    for line in remarks(report) {
        let _ = writeln!(text, "- {}", inline(&line));
    }
    text
}

fn head(report: &Report) -> String {
    format!(
        "{}: {} questions, {} answers each, by {} ({}), {}",
        report.benchmark,
        report.num_questions,
        report.num_samples,
        report.answerer.id,
        report.answerer.revision,
        report.provenance.date
    )
}

fn parts_grid(report: &Report) -> Grid {
    let row = |part: &Part| {
        vec![
            part.name.clone(),
            part.num_questions.to_string(),
            plus_minus(part.accuracy.scaled(100.0)),
            format!("{:.0}", part.tokens),
        ]
    };
    let tokens = report.analysis.as_ref().map_or(0.0, |analysis| analysis.groups[0].tokens.mean);
    let all = Part {
        name: "all".to_owned(),
        num_questions: report.num_questions,
        accuracy: report.accuracy,
        tokens,
    };
    let parts = [&all].into_iter().chain(&report.levels).chain(&report.categories);
    Grid::new(["", "n", "accuracy %", "tokens"], parts.map(row))
}

/// Everything besides the figures that a reader must know, one line each.
fn remarks(report: &Report) -> Vec<String> {
    let shares = report.outcomes;
    let mut lines = vec![format!(
        "outcomes by {}: {} % correct, {} % wrong, {} % truncated, {} % unparsed{}",
        report.grader,
        percent(shares.correct),
        percent(shares.wrong),
        percent(shares.truncated),
        percent(shares.unparsed),
        match report.unanswered.len() {
            0 => String::new(),
            _ => format!(", {} % unanswered", percent(shares.unanswered)),
        }
    )];
    if let Some(text_only) = report.text_only {
        lines.push(format!(
            "the best guess from the text alone is right in {} %: only what is above it saw the picture",
            percent(text_only)
        ));
    }
    match &report.levels_from {
        Some(source) => lines.push(format!("levels are from {source}")),
        None => lines.push("no levels: the files hold none, and none were given".to_owned()),
    }
    if report.num_uncounted > 0 {
        lines.push(format!(
            "the endpoint did not count the tokens of {} answers: their words are counted instead",
            report.num_uncounted
        ));
    }
    if let Some(most) = report.answerer.max_position_embeddings {
        lines.push(format!(
            "an answer has at most {} tokens, question and answer together at most {most}",
            report.drawing.max_new_tokens
        ));
    }
    if !report.answerer.left_out.is_empty() {
        lines.push(format!(
            "the endpoint does not take `{}`: its own values held",
            report.answerer.left_out.join("`, `")
        ));
    }
    if !report.template {
        lines.push("asked without the study's instruction".to_owned());
    }
    if !report.unanswered.is_empty() {
        let title = unanswered_title(report.unanswered.len());
        lines.push(format!("{title}; the same command asks for them again:"));
        lines.extend(report.unanswered.iter().map(|question| unanswered(question, report)));
    }
    if !report.skipped.is_empty() {
        lines.push(format!("{} rows were left out:", report.skipped.len()));
        lines.extend(report.skipped.iter().map(|row| {
            let SkippedRow { file, row, column, cause } = row;
            let column =
                if column.is_empty() { String::new() } else { format!(", column {column}") };
            format!("{file}, row {row}{column}: {cause}")
        }));
    }
    lines
}

/// A question with answers that never came, in one line.
fn unanswered(question: &UnansweredQuestion, report: &Report) -> String {
    let UnansweredQuestion { id, file, row, num_answers, cause, .. } = question;
    let place = match (file, row) {
        (Some(file), Some(row)) => format!(", {file}, row {row}"),
        _ => String::new(),
    };
    let count = match report.num_samples {
        1 => String::new(),
        all => format!(", {num_answers} of {all} answers"),
    };
    format!("{id}{place}{count}: {cause}")
}
