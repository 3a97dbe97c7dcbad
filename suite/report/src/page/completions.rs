//! Completions with their pictures, with outcome and the grader's trace.
//!
//! This module does not judge: it asks the grader and shows what it looked at. The middle of a very long completion is
//! left out.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use synergy_grade::Grader;
use synergy_grade::answer::{Judgement, Outcome, boxes, format_reward};

use super::PageData;
use super::html::shortened;
use super::lines::Line;
use crate::completion::{Completion, Unanswered};
use crate::score::{BASE, Question, Results, RowKind, outcome_name};

/// A question with its picture and each row's answer to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exhibit {
    /// The question's id in the results.
    pub id: String,
    /// The question's text.
    pub question: String,
    /// The picture as a PNG file.
    pub png: Vec<u8>,
    /// One answer per row, in the rows' order.
    pub answers: Vec<Answer>,
}

/// One row's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Name of the row.
    pub row: String,
    /// Seed of the row.
    pub seed: u64,
    /// The answer.
    pub completion: Completion,
}

/// The browser: a folded list of questions, each with the answers of all rows.
pub(super) fn browser(results: &Results, data: &PageData, lines: &[Line]) -> Markup {
    if data.exhibits.is_empty() {
        return html! { p { "No completions are kept with this page." } };
    }
    html! {
        form .controls .js-only aria-label="Choose completions" {
            label {
                "Question "
                select #pick-question {
                    option value="" { "all of them" }
                    @for (place, exhibit) in data.exhibits.iter().enumerate() {
                        option value={ "q" (place) } { (headline(results, exhibit)) }
                    }
                }
            }
            label {
                "Rows "
                select #pick-rows {
                    option value="shown" { "as in the figures" }
                    option value="all" { "all" }
                }
            }
            label {
                "Outcome "
                select #pick-outcome {
                    option value="" { "any" }
                    @for outcome in Outcome::ALL { option { (outcome_name(outcome)) } }
                }
            }
            button #open-all type="button" { "Open these" }
        }
        p #completions-status .js-only .status role="status" {}
        @for (place, exhibit) in data.exhibits.iter().enumerate() {
            details.exhibit id={ "q" (place) } open=[(place == 0).then_some("open")] {
                summary { (headline(results, exhibit)) }
                (asked(place, exhibit, results))
                div.answers { @for answer in &exhibit.answers { (answered(answer, results, lines)) } }
            }
        }
    }
}

fn question<'a>(results: &'a Results, exhibit: &Exhibit) -> Option<&'a Question> {
    results.questions.iter().find(|question| question.id == exhibit.id)
}

fn headline(results: &Results, exhibit: &Exhibit) -> String {
    match question(results, exhibit) {
        Some(Question { benchmark, hops, level: Some(level), .. }) => {
            format!("{level}, {benchmark}, {hops} steps")
        }
        Some(Question { benchmark, .. }) => benchmark.clone(),
        None => exhibit.id.clone(),
    }
}

/// The question with its picture and its target.
fn asked(place: usize, exhibit: &Exhibit, results: &Results) -> Markup {
    let target = exhibit.answers.first().map_or("", |answer| answer.completion.answer.as_str());
    html! {
        div.asked {
            img src={ "data:image/png;base64," (STANDARD.encode(&exhibit.png)) }
                alt={ "The picture of the question: " (exhibit.question.lines().next().unwrap_or("")) }
                width="168" height="168";
            div {
                h3 id={ "q" (place) "-h" } { (headline(results, exhibit)) }
                p.question { (exhibit.question) }
                p { "Target " b.target { (target) } }
                p.id { (exhibit.id) }
            }
        }
    }
}

/// A row's answer, folded, with its trace.
fn answered(answer: &Answer, results: &Results, lines: &[Line]) -> Markup {
    let completion = &answer.completion;
    let Completion { text, num_tokens, .. } = completion;
    let judgement = completion.judgement(results.grader());
    let outcome = outcome_name(judgement.outcome);
    let extracted = judgement.extracted.as_deref().unwrap_or("no box");
    let is_shown = lines.iter().any(|line| line.name == answer.row && line.is_shown);
    html! {
        details.answer data-row=(answer.row) data-outcome=(outcome) data-shown=(is_shown) {
            summary {
                span.who { (answer.row) } " "
                span .badge .(outcome) { (symbol(judgement.outcome)) " " (outcome) } " "
                span.said { (shortened(extracted)) } " "
                span.tokens { (num_tokens) " tokens" }
            }
            pre { (shortened(text)) }
            p.trace-title {
                "Grader " (results.grader().name()) ", seed " (answer.seed) ", sample " (completion.sample)
            }
            ol.trace {
                @if let Some(Unanswered { cause, .. }) = &completion.unanswered {
                    li { "There is no answer: " (shortened(cause)) }
                } @else {
                    @for step in trace(results.grader(), completion, &judgement) { li { (shortened(&step)) } }
                }
            }
        }
    }
}

/// The steps of the grader, in its order.
fn trace(grader: Grader, completion: &Completion, judgement: &Judgement) -> [String; 5] {
    let Completion { text, answer, finished, num_tokens, .. } = completion;
    let found = boxes(text);
    let ended = if *finished { "ended by itself" } else { "was cut at the length limit" };
    let taken = match (&judgement.extracted, found.len()) {
        (extracted, _) if grader != Grader::Boxed1 => match extracted {
            Some(extracted) => format!("Taken from it: “{extracted}”."),
            None => "Nothing in it was taken for an answer.".to_owned(),
        },
        (Some(extracted), 1) => format!("One box whose braces balance; it holds “{extracted}”."),
        (Some(extracted), n) => {
            format!(
                "{n} boxes whose braces balance; the last to open is taken and holds “{extracted}”."
            )
        }
        (None, _) => "No box whose braces balance, so there is nothing to compare.".to_owned(),
    };
    let compared = match (&judgement.extracted, judgement.outcome) {
        (Some(_), Outcome::Truncated) => {
            format!(
                "Not compared with the target “{answer}”: a cut answer counts as truncated whatever it says."
            )
        }
        (Some(extracted), outcome) if grader != Grader::Boxed1 => format!(
            "Compared with the target “{answer}” by the rules of {}: “{extracted}” is {}.",
            grader.name(),
            if outcome == Outcome::Correct { "the same" } else { "another answer" }
        ),
        (Some(extracted), outcome) => format!(
            "Compared with the target “{answer}”, whatever the case, spaces around it, a last period and leading \
             zeros: “{extracted}” is {}.",
            if outcome == Outcome::Correct { "the same" } else { "another answer" }
        ),
        (None, _) => format!("Not compared with the target “{answer}”."),
    };
    let form = if format_reward(text) { "has" } else { "does not have" };
    [
        format!("The answer {ended} after {num_tokens} tokens."),
        taken,
        compared,
        format!("Outcome: {}.", outcome_name(judgement.outcome)),
        format!("It {form} the form asked for, a thought in its tags and then a box."),
    ]
}

/// A symbol in addition to the word, so that no outcome is shown by its color alone.
fn symbol(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Correct => "✓",
        Outcome::Wrong => "✗",
        Outcome::Truncated => "✂",
        Outcome::Unparsed => "?",
        Outcome::Unanswered => "∅",
    }
}

/// Chooses the questions to show: of each band of levels (easy, middle, hard) four, over the families in turn.
/// The same for every row, so that answers can be compared; a function of the results alone.
pub fn chosen(results: &Results) -> Vec<String> {
    const PER_BAND: usize = 4;
    let families = results.families();
    let mut out = Vec::new();
    let mut turn = 0;
    for band in [&["L1", "L2"][..], &["L3"], &["L4", "L5"]] {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        // Twice through the families: one of them may have no question in the band.
        for _ in 0..2 * families.len() {
            if taken.len() == PER_BAND {
                break;
            }
            let family = families[turn % families.len()];
            turn += 1;
            let fits = |question: &&Question| {
                let level = question.level.map(|level| level.to_string());
                question.benchmark == family
                    && level.is_some_and(|level| band.contains(&level.as_str()))
                    && !taken.contains(question.id.as_str())
            };
            if let Some(question) = results.questions.iter().find(fits) {
                taken.insert(&question.id);
                out.push(question.id.clone());
            }
        }
    }
    out
}

/// Returns whether a row's answers are shown: the base's and each regime's.
pub fn is_exhibited(results: &Results, row: &str) -> bool {
    row == BASE || results.row(row).is_some_and(|row| row.kind == RowKind::Regime)
}
