//! Completions beside their pictures, with outcome and the grader's trace.
//!
//! Does not judge: it asks the grader and tells what it looked at. Completions are model output; all of it is
//! escaped, and the middle of a very long one is left out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use synergy_benchmarks::answer::{Outcome, boxes, format_reward};
use synergy_benchmarks::grade::{Grader, grade};

use super::PageData;
use super::html::{escaped, shortened};
use super::lines::Line;
use crate::completion::Completion;
use crate::score::{BASE, Question, Results};

/// A question with its picture and what each row said to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exhibit {
    /// The question's id in the results.
    pub id: String,
    pub question: String,
    /// The picture as a PNG file.
    pub png: Vec<u8>,
    /// In the rows' order.
    pub answers: Vec<Answer>,
}

/// What one row said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub row: String,
    pub seed: u64,
    pub completion: Completion,
}

/// The browser: a folded list of questions, each with the answers of all rows.
pub(super) fn browser(results: &Results, data: &PageData, lines: &[Line]) -> String {
    if data.exhibits.is_empty() {
        return "<p>No completions are kept with this page.</p>\n".to_owned();
    }
    let mut out =
        String::from("<form class=\"controls js-only\" aria-label=\"Choose completions\">");
    out.push_str(
        "<label>Question <select id=\"pick-question\"><option value=\"\">all of them</option>",
    );
    for (place, exhibit) in data.exhibits.iter().enumerate() {
        let name = escaped(&headline(results, exhibit));
        let _ = write!(out, "<option value=\"q{place}\">{name}</option>");
    }
    out.push_str(
        "</select></label><label>Rows <select id=\"pick-rows\"><option value=\"shown\">as in the figures</option>\
         <option value=\"all\">all</option></select></label>\
         <label>Outcome <select id=\"pick-outcome\"><option value=\"\">any</option>",
    );
    for outcome in Outcome::ALL {
        let _ = write!(out, "<option>{}</option>", name(outcome));
    }
    out.push_str(
        "</select></label><button type=\"button\" id=\"open-all\">Open these</button></form>\n",
    );
    out.push_str("<p class=\"js-only status\" id=\"completions-status\" role=\"status\"></p>\n");
    for (place, exhibit) in data.exhibits.iter().enumerate() {
        let open = if place == 0 { " open=\"open\"" } else { "" };
        let _ = writeln!(
            out,
            "<details class=\"exhibit\" id=\"q{place}\"{open}><summary>{}</summary>",
            escaped(&headline(results, exhibit))
        );
        draw_exhibit(&mut out, place, exhibit, results, lines);
        out.push_str("</details>\n");
    }
    out
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

fn draw_exhibit(
    out: &mut String,
    place: usize,
    exhibit: &Exhibit,
    results: &Results,
    lines: &[Line],
) {
    let target = exhibit.answers.first().map_or("", |answer| answer.completion.answer.as_str());
    let _ = writeln!(
        out,
        "<div class=\"asked\"><img src=\"data:image/png;base64,{}\" alt=\"The picture of the question: {}\" \
         width=\"168\" height=\"168\"/><div><h3 id=\"q{place}-h\">{}</h3><p class=\"question\">{}</p>\
         <p>Target <b class=\"target\">{}</b></p><p class=\"id\">{}</p></div></div>\n<div class=\"answers\">",
        STANDARD.encode(&exhibit.png),
        escaped(exhibit.question.lines().next().unwrap_or("")),
        escaped(&headline(results, exhibit)),
        escaped(&exhibit.question),
        escaped(target),
        escaped(&exhibit.id),
    );
    for answer in &exhibit.answers {
        let Completion { text, finished, num_tokens, .. } = &answer.completion;
        let target = answer.completion.target();
        let judgement = grade(results.grader(), &target, text, *finished);
        let outcome = name(judgement.outcome);
        let said = judgement.extracted.as_deref().unwrap_or("no box");
        let shown = lines.iter().any(|line| line.name == answer.row && line.is_shown);
        let _ = writeln!(
            out,
            "<details class=\"answer\" data-row=\"{row}\" data-outcome=\"{outcome}\" data-shown=\"{shown}\"><summary><span class=\"who\">{row}</span> \
             <span class=\"badge {outcome}\">{symbol} {outcome}</span> <span class=\"said\">{said}</span> \
             <span class=\"tokens\">{num_tokens} tokens</span></summary>\n<pre>{text}</pre>",
            row = escaped(&answer.row),
            symbol = symbol(judgement.outcome),
            said = escaped(&shortened(said)),
            text = escaped(&shortened(text)),
        );
        trace(out, results.grader(), &answer.completion, answer.seed);
        out.push_str("</details>\n");
    }
    out.push_str("</div>\n");
}

/// What the grader looked at, in its order.
fn trace(out: &mut String, grader: Grader, completion: &Completion, seed: u64) {
    let Completion { text, answer, finished, num_tokens, sample, .. } = completion;
    let found = boxes(text);
    let judgement = grade(grader, &completion.target(), text, *finished);
    let ended = if *finished { "ended by itself" } else { "was cut at the length limit" };
    let taken = match (&judgement.extracted, found.len()) {
        (said, _) if grader != Grader::Boxed1 => match said {
            Some(said) => format!("Taken from it: “{said}”."),
            None => "Nothing in it was taken for an answer.".to_owned(),
        },
        (Some(said), 1) => format!("One box whose braces balance; it holds “{said}”."),
        (Some(said), n) => {
            format!("{n} boxes whose braces balance; the last to open is taken and holds “{said}”.")
        }
        (None, _) => "No box whose braces balance, so there is nothing to compare.".to_owned(),
    };
    let compared = match (&judgement.extracted, judgement.outcome) {
        (Some(_), Outcome::Truncated) => {
            format!(
                "Not compared with the target “{answer}”: a cut answer counts as truncated whatever it says."
            )
        }
        (Some(said), outcome) if grader != Grader::Boxed1 => format!(
            "Compared with the target “{answer}” by the rules of {}: “{said}” is {}.",
            grader.name(),
            if outcome == Outcome::Correct { "the same" } else { "another answer" }
        ),
        (Some(said), outcome) => format!(
            "Compared with the target “{answer}”, whatever the case, spaces around it, a last period and leading \
             zeros: “{said}” is {}.",
            if outcome == Outcome::Correct { "the same" } else { "another answer" }
        ),
        (None, _) => format!("Not compared with the target “{answer}”."),
    };
    let form = if format_reward(text) { "has" } else { "does not have" };
    let steps = [
        format!("The answer {ended} after {num_tokens} tokens."),
        taken,
        compared,
        format!("Outcome: {}.", name(judgement.outcome)),
        format!("It {form} the form asked for, a thought in its tags and then a box."),
    ];
    let _ = write!(
        out,
        "<p class=\"trace-title\">Grader {}, seed {seed}, sample {sample}</p><ol class=\"trace\">",
        grader.name()
    );
    for step in steps {
        let _ = write!(out, "<li>{}</li>", escaped(&shortened(&step)));
    }
    out.push_str("</ol>\n");
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Correct => "correct",
        Outcome::Wrong => "wrong",
        Outcome::Truncated => "truncated",
        Outcome::Unparsed => "unparsed",
    }
}

/// Beside the word, so that no outcome is told by its color alone.
fn symbol(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Correct => "✓",
        Outcome::Wrong => "✗",
        Outcome::Truncated => "✂",
        Outcome::Unparsed => "?",
    }
}

/// The questions to show: of each band of levels (easy, middle, hard) four, over the families in turn.
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

/// Whether a row's answers are shown: the base's and each regime's.
pub fn is_exhibited(results: &Results, row: &str) -> bool {
    row == BASE || results.row(row).is_some_and(|row| row.kind == crate::score::RowKind::Regime)
}
