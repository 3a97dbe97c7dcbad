//! The grader `synergy-1`: where the answer stands and when it is the right one.
//!
//! This module does not know benchmarks: what differs between them is in the target. `extract.rs` has the rules of
//! where, `stance.rs` those of what is a statement, `choice.rs` those of options, `compare.rs` those of equality; what all of
//! them accept and refuse is listed, case by case, in `conformance/`. All of them read the one spelling that
//! `unicode.rs` makes of texts.
//!
//! Decisions:
//! - A key that lists right values accepts each; an answer that lists several of them is no answer.

use std::borrow::Cow;

use crate::Target;
use crate::answer::Judgement;
use crate::choice::{Options, strip};
use crate::compare::equivalent;
use crate::extract::{Extracted, extract};
use crate::stance::ends_in_denial;
use crate::unicode::plain;

/// Returns the judgement of a completion that ended by itself.
pub(super) fn judge(target: &Target<'_>, response: &str) -> Judgement {
    let spelled: Vec<String>;
    let choices = if target.choices.iter().all(|choice| choice.is_ascii()) {
        target.choices
    } else {
        spelled = target.choices.iter().map(|choice| plain(choice).into_owned()).collect();
        &spelled
    };
    let keys = target.keys();
    let keys: Vec<Cow<'_, str>> = keys.iter().map(|key| plain(key)).collect();
    let options = Options::new(keys.first().map_or("", |key| key), choices);
    match extract(&plain(response), options.as_ref()) {
        None => Judgement::unparsed(),
        Some(extracted) => {
            let of = |gold| Target { gold, choices, ..*target };
            let right = keys.iter().any(|key| is_right(&of(key), options.as_ref(), &extracted));
            let text = match extracted {
                Extracted::Marked(text) | Extracted::Said(text) | Extracted::Denied(text) => text,
                Extracted::Option(index) => letter_of(index).to_string(),
            };
            Judgement::of(right, text)
        }
    }
}

fn letter_of(index: usize) -> char {
    u8::try_from(index).map_or('?', |index| char::from(b'A'.saturating_add(index)))
}

fn is_right(target: &Target<'_>, options: Option<&Options<'_>>, extracted: &Extracted) -> bool {
    let same = |text: &str| equivalent(target.gold, text, target.precision);
    let Some(options) = options else {
        return match extracted {
            Extracted::Marked(text) => same_marked(target, text),
            Extracted::Said(text) => same(text) || same(last_clause(text)),
            Extracted::Denied(text) => same(text),
            Extracted::Option(_) => false,
        };
    };
    let Some(gold) = options.find(target.gold) else {
        // The answer key matches no option; what is written there is all there is to compare.
        return match extracted {
            Extracted::Marked(text) | Extracted::Said(text) | Extracted::Denied(text) => same(text),
            Extracted::Option(_) => false,
        };
    };
    let named = match extracted {
        Extracted::Option(index) => Some(*index),
        Extracted::Marked(text) => {
            options.find(text).or_else(|| options.rounded(text, target.precision))
        }
        Extracted::Said(text) => options
            .said(text)
            .or_else(|| options.said(last_clause(text)))
            .or_else(|| options.rounded(text, target.precision)),
        Extracted::Denied(text) => options.spelled(text),
    };
    named == Some(gold)
}

/// Returns whether key and answer are the same, with or without the markup around either.
fn same_marked(target: &Target<'_>, text: &str) -> bool {
    let same = |gold: &str, text: &str| equivalent(gold, text, target.precision);
    // What ends a key is a factorial, where an answer may be an exclamation.
    let gold = if target.gold.ends_with('!') { target.gold } else { strip(target.gold) };
    let bare = strip(text);
    same(target.gold, text)
        || (bare != text && same(target.gold, bare))
        || (gold != target.gold && (same(gold, text) || same(gold, bare)))
}

/// Returns what follows the last "is" or "equals" of a sentence; all of it where there is none, or where it is denied.
fn last_clause(text: &str) -> &str {
    let after = [" is ", " equals ", " are ", " be ", ": ", "是", "为", "等于"];
    let cut = after.iter().filter_map(|word| Some((text.rfind(word)?, word.len()))).max();
    match cut {
        Some((at, length)) if !ends_in_denial(&text[..at]) => text[at + length..].trim(),
        _ => text.trim(),
    }
}
