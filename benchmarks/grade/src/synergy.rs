//! The grader `synergy-1`: where the answer stands and when it is the right one.
//!
//! This module does not know benchmarks: what differs between them is in the target. `extract.rs` has the rules of
//! where, `choice.rs` those of options, `form.rs` those of equality; what all of them accept and refuse
//! is listed, case by case, in `conformance/`.

use crate::Target;
use crate::answer::Judgement;
use crate::choice::{Options, strip};
use crate::extract::{Extracted, extract};
use crate::form::equivalent;

/// Words that may follow a letter in a sentence although the letter is "A" or "I".
const AFTER_LETTER: [&str; 8] = ["because", "since", "as", "which", "is", "for", "with", "and"];

/// Returns the judgement of a completion that ended by itself.
pub(super) fn judge(target: &Target<'_>, response: &str) -> Judgement {
    let options = Options::new(target.gold, target.choices);
    match extract(response, options.as_ref()) {
        None => Judgement::unparsed(),
        Some(extracted) => {
            let right = is_right(target, options.as_ref(), &extracted);
            let text = match extracted {
                Extracted::Marked(text) | Extracted::Said(text) => text,
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
            Extracted::Marked(text) => same(text) || same(strip(text)),
            Extracted::Said(text) => same(text) || same(last_clause(text)),
            Extracted::Option(_) => false,
        };
    };
    let Some(gold) = options.find(target.gold) else {
        // The answer key matches no option; what is written there is all there is to compare.
        return match extracted {
            Extracted::Marked(text) | Extracted::Said(text) => same(text),
            Extracted::Option(_) => false,
        };
    };
    let named = match extracted {
        Extracted::Option(index) => Some(*index),
        Extracted::Marked(text) => options.find(text),
        Extracted::Said(text) => {
            said_option(text, options).or_else(|| said_option(last_clause(text), options))
        }
    };
    match (named, extracted) {
        (Some(named), _) => named == gold,
        (None, Extracted::Marked(text) | Extracted::Said(text)) => {
            options.text(gold).is_some_and(|option| equivalent(option, text, target.precision))
        }
        (None, Extracted::Option(_)) => false,
    }
}

/// Returns what follows the last "is" or "equals" of a sentence, or all of it.
fn last_clause(text: &str) -> &str {
    let after = [" is ", " equals ", " are ", " be ", ": "];
    let cut = after.iter().filter_map(|word| Some(text.rfind(word)? + word.len())).max();
    text[cut.unwrap_or(0)..].trim()
}

/// Returns the option that a sentence names: at its start, in its only brackets, or by its text.
fn said_option(text: &str, options: &Options<'_>) -> Option<usize> {
    if let Some(index) = options.find(text) {
        return Some(index);
    }
    let text = strip(text);
    let lower = text.to_ascii_lowercase();
    let text = ["option ", "choice "]
        .iter()
        .find_map(|name| lower.starts_with(name).then(|| strip(&text[name.len()..])))
        .unwrap_or(text);
    if let Some(index) = leading(text, options) {
        return Some(index);
    }
    let denies = lower
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| matches!(word, "not" | "neither" | "nor" | "cannot" | "or" | "either"));
    if denies {
        return None;
    }
    let mut bracketed = None;
    for window in text.as_bytes().windows(3) {
        if let [b'(' | b'[', letter, b')' | b']'] = window
            && let Some(index) = options.of_letter(*letter)
        {
            if bracketed.is_some_and(|other| other != index) {
                return None;
            }
            bracketed = Some(index);
        }
    }
    bracketed.or_else(|| options.contained(text))
}

/// Returns the option whose letter a sentence starts with.
fn leading(text: &str, options: &Options<'_>) -> Option<usize> {
    let text = text.trim_start_matches(['(', '[', '*', '$']);
    let (first, rest) = text.as_bytes().split_first()?;
    let index = options.of_letter(*first)?;
    let rest_text = &text[1..];
    let marked = rest_text.trim_start_matches([')', ']', '*', '$', '.', ':']);
    if marked.len() < rest_text.len() && !marked.starts_with(|c: char| c.is_alphanumeric()) {
        let next = marked.trim_start_matches([' ', ',']);
        let goes_on = ["or ", "and ", "(", "/"].iter().any(|word| next.starts_with(word));
        return (!goes_on).then_some(index);
    }
    if rest.first().is_some_and(|byte| !matches!(byte, b' ' | b',' | b';')) {
        return None;
    }
    let next = rest_text.trim_start_matches([' ', ',', ';']);
    let word = next.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
    let ambiguous = matches!(first, b'A' | b'I') && rest.first() == Some(&b' ');
    if ambiguous && !AFTER_LETTER.contains(&word) {
        return None;
    }
    // `B or C`, `B, C` and `B and C` name two.
    let another = word.len() == 1 && options.of_letter(word.as_bytes()[0]).is_some();
    let joins = matches!(word, "or" | "and");
    (!another && !joins).then_some(index)
}
