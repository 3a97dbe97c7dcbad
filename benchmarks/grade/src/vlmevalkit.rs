//! `VLMEvalKit` without its judge, at two dates: `vlmevalkit-2025-07` and `vlmevalkit-2026-08`.
//!
//! This module does not know judges: with `--judge exact_matching` what no rule reads is option `Z`, here unparsed;
//! with a judge that fails three times the peer picks an option at random, which is unparsed as well.
//!
//! The two dates share this file, since their code differs in three rules only (read in the packages
//! ms-vlmeval 0.0.18 of June 2025 and 0.0.20 of May 2026, `vlmeval/utils/matching_util.py` and
//! `vlmeval/dataset/utils/mathv.py`):
//! 1. a letter must be among the last four words: 2026 only;
//! 2. text that is more than twice as long as all options together names none of them: 2026 only;
//! 3. `mathvision` reads LaTeX by `latex2sympy2` in 2025 and by `latex2sympy2_extended` in 2026.
//!
//! The refusals, the letters and the rest are the same.
//!
//! Decisions:
//! - Of rule 3 this is here: the parser of 2026 reads what stands in the boxes of a text, drops degree
//!   signs and takes `3:4` for a quotient, that of 2025 stops at a box.
//! - `mathverse` has no rules before its judge: everything is unparsed.
//! - `mathvista` tells integers from floats by the answer key, as its data set does.

use crate::answer::{Judgement, boxes};
use crate::expression::Expression;
use crate::hendrycks;
use crate::python;
use crate::scalar::Scalar;
use crate::token::{Dialect, tokens};
use crate::{Benchmark, Target};

/// Selects the date of the emulated rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edition {
    June2025,
    May2026,
}

const FAILED: &str = "Failed to obtain answer via API";
const REFUSALS: [&str; 4] = [
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
];
/// Become spaces before the words are looked at.
const PUNCTUATION: [char; 13] = ['.', '(', ')', '[', ']', ',', ':', ';', '!', '*', '#', '{', '}'];
/// The letter must stand among so many last words.
const LAST_WORDS: usize = 4;
/// Numbers closer than this are equal.
const CLOSE: f64 = 1e-6;
/// What stands for no option.
const NONE: char = 'Z';

pub(super) fn judge(edition: Edition, target: &Target<'_>, response: &str) -> Judgement {
    let open = target.choices.is_empty();
    match target.benchmark {
        Benchmark::MathVerse => Judgement::unparsed(),
        Benchmark::MathVista if open => mathvista(target.gold, response),
        // An open question of MMMU becomes one with two options.
        Benchmark::Mmmu if open => {
            let options = [target.gold.to_owned(), "Other Answers".to_owned()];
            choose(edition, &options, 'A', response)
        }
        _ if open => {
            if is_equal(edition, response, target.gold) {
                Judgement::of(true, response.trim())
            } else {
                Judgement::unparsed()
            }
        }
        _ => choose(edition, target.choices, gold_letter(target), response),
    }
}

fn letters(options: &[String]) -> impl Iterator<Item = (char, &String)> {
    ('A'..='Z').zip(options)
}

/// Returns the letter of the right option, whether the answer key has it or the option's text.
pub(super) fn gold_letter(target: &Target<'_>) -> char {
    let gold = target.gold.trim();
    let is_letter = |letter: char| gold.len() == 1 && gold.starts_with(letter);
    letters(target.choices)
        .find(|(letter, _)| is_letter(*letter))
        .or_else(|| letters(target.choices).find(|(_, text)| text.trim() == gold))
        .map_or(NONE, |(letter, _)| letter)
}

fn choose(edition: Edition, options: &[String], gold: char, response: &str) -> Judgement {
    match by_letter(edition, options, response).or_else(|| by_text(edition, options, response)) {
        None | Some(NONE) => Judgement::unparsed(),
        Some(letter) => Judgement::of(letter == gold, letter),
    }
}

/// Does what the peer's `can_infer_option` does.
fn by_letter(edition: Edition, options: &[String], response: &str) -> Option<char> {
    if response.contains(FAILED) {
        return None;
    }
    if REFUSALS.iter().any(|refusal| response.contains(refusal)) {
        return Some(NONE);
    }
    let spaced: String =
        response.chars().map(|c| if PUNCTUATION.contains(&c) { ' ' } else { c }).collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let place =
        |letter: char| words.iter().position(|word| word.len() == 1 && word.starts_with(letter));
    let mut found = letters(options).filter_map(|(letter, _)| Some((letter, place(letter)?)));
    match (found.next(), found.next()) {
        (Some((letter, first)), None) => {
            let late = first + LAST_WORDS >= words.len();
            (late || edition == Edition::June2025).then_some(letter)
        }
        (None, _) => place(NONE).map(|_| NONE),
        _ => None,
    }
}

/// Does what the peer's `can_infer_text` does.
fn by_text(edition: Edition, options: &[String], response: &str) -> Option<char> {
    let response = response.to_lowercase();
    let long: usize = letters(options).map(|(_, text)| text.chars().count()).sum();
    if edition == Edition::May2026 && response.chars().count() > 2 * long {
        return None;
    }
    let mut found =
        letters(options).filter(|(_, text)| response.contains(text.to_lowercase().as_str()));
    let first = found.next()?;
    found.next().is_none().then_some(first.0)
}

/// An open question: only a response that is a number and nothing else is read.
fn mathvista(gold: &str, response: &str) -> Judgement {
    let right = match (python::int(gold), python::float(gold)) {
        (Some(gold), _) => python::int(response) == Some(gold),
        (None, Some(gold)) => {
            python::float(response).is_some_and(|value| python::equal(value, gold))
        }
        (None, None) => false,
    };
    // Where the answer is zero, the peer takes what it found for nothing.
    let zero = python::float(response).is_some_and(|value| value == 0.0);
    if right && !zero { Judgement::of(true, response.trim()) } else { Judgement::unparsed() }
}

/// Does what the peer's `is_equal` does: as text, as Python, or as LaTeX.
fn is_equal(edition: Edition, answer: &str, gold: &str) -> bool {
    let (answer, gold) = (answer.trim().to_lowercase(), gold.trim().to_lowercase());
    if answer == gold {
        return true;
    }
    match (value(edition, &gold), value(edition, &answer)) {
        (Some(a), Some(b)) => (a - b).abs() < CLOSE,
        _ => false,
    }
}

fn value(edition: Edition, text: &str) -> Option<f64> {
    let mut text = text.to_owned();
    if edition == Edition::May2026 {
        let boxes = boxes(&text);
        if !boxes.is_empty() {
            text = boxes.join(",");
        }
        for degree in ["^\\circ", "^{\\circ}", "°"] {
            text = text.replace(degree, "");
        }
        text = text.replace(':', "/");
    } else if text.contains("\\boxed") {
        return None;
    }
    if hendrycks::has_bare_fraction(&text.replace("dfrac", "frac").replace("tfrac", "frac")) {
        return None;
    }
    // What is not a fraction is spelled with names that the peer's `eval` does not know.
    let tokens = tokens(&text, Dialect::Peers)?;
    match Expression::parse(&text, &tokens, Dialect::Peers)?.value()? {
        value @ Scalar::Exact(..) => Some(value.to_f64()),
        Scalar::Wide(..) | Scalar::Float(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edition: Edition, response: &str, expected: Option<char>) {
        let options = ["red ball", "blue", "green", "12"].map(str::to_owned);
        let found =
            by_letter(edition, &options, response).or_else(|| by_text(edition, &options, response));
        assert_eq!(found, expected, "{response}");
    }

    #[test]
    fn both_dates_read_a_single_letter() {
        for edition in [Edition::June2025, Edition::May2026] {
            check(edition, "The answer is (B).", Some('B'));
            check(edition, "B or C", None);
            check(edition, "it is blue", Some('B'));
            check(edition, "Cannot determine the answer", Some('Z'));
            check(edition, "Failed to obtain answer via API: B", None);
        }
    }

    #[test]
    fn only_the_later_date_reads_boxes() {
        assert!(is_equal(Edition::May2026, "so \\boxed{1/2}", "0.5"));
        assert!(!is_equal(Edition::June2025, "so \\boxed{1/2}", "0.5"));
        assert!(is_equal(Edition::June2025, "1/2", "0.5"));
    }

    #[test]
    fn only_the_later_date_wants_the_letter_late_and_the_text_short() {
        let early = "B is what the picture shows if one looks long enough";
        check(Edition::June2025, early, Some('B'));
        check(Edition::May2026, early, None);
        let long = "what one sees in this picture is, after all has been said, the blue thing";
        check(Edition::June2025, long, Some('B'));
        check(Edition::May2026, long, None);
    }
}
