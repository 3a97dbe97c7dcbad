//! Graders, length and style as sections of a report in Markdown. Pure.
//!
//! This module does not know whose answers they are.

use std::fmt::Write as _;

use super::{Analysis, grids};
use crate::agreement::Agreement;
use crate::text::markdown::{markdown_table, section};
use crate::text::terminal::Grid;

/// Number of answers that are listed where graders disagree; the JSON file of the report has all of them.
const PARTED_SHOWN: usize = 20;

/// Writes the scores under each grader, their agreement, and the answers they disagree on.
pub fn graders(text: &mut String, agreement: &Agreement) {
    section(
        text,
        "Graders",
        "The same answers by other rules, none of which asks a model: accuracy in percent, and Cohen's kappa with each of \
         the others. Where another suite would ask its judge model, its rules find nothing.",
    );
    markdown_table(text, &grids::graders(agreement));
    let parted = &agreement.parted;
    let silent = agreement.compared.iter().filter(|compared| !**compared).count();
    if silent > 0 {
        let _ = writeln!(
            text,
            "\n{silent} of them find nothing to judge in most answers and are left out below."
        );
    }
    if !parted.is_empty() {
        let _ = writeln!(
            text,
            "\nThey disagree on {} of {} answers{}:\n",
            parted.len(),
            agreement.num_answers,
            if parted.len() > PARTED_SHOWN { ", of which the first" } else { "" }
        );
        markdown_table(text, &grids::parted(agreement, PARTED_SHOWN));
    }
}

/// Writes how long answers are and how they are written.
pub fn style(text: &mut String, grid: &Grid) {
    section(
        text,
        "Length and style",
        "Tokens of an answer, phrases of each kind per 1000 tokens, the share of runs of four words that are repeated, and \
         the share in the form that the template asks for.",
    );
    markdown_table(text, grid);
}

/// Writes what accuracy would have been under smaller budgets of tokens.
pub fn budgets(text: &mut String, analyses: &[Analysis]) {
    section(
        text,
        "Accuracy against a budget of tokens",
        "In percent, from these same answers: a longer one counts as cut.",
    );
    markdown_table(text, &grids::budgets(analyses));
}
