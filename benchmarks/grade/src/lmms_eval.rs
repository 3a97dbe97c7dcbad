//! lmms-eval without its judges: `lmms-eval-2026-08`, version 0.7.3.
//!
//! This module does not know judges. Read in the package: `tasks/mathvision/utils.py`, `tasks/mathvista`,
//! `tasks/mmmu`, `tasks/mmstar` and `tasks/_task_utils/{mcq_extract,mmmu_mcq_utils}.py`.
//!
//! Decisions:
//! - `mmmu` picks an option at random where it finds none: unparsed here.
//! - `mathvista` asks its judge to extract unless the response is a number or an option as it stands,
//!   and `mathverse` asks for everything: unparsed here.
//! - Another benchmark gets the letter rules of `mmstar` with its own letters if it has options, and
//!   the rules of `mathvision` if not.
//! - `mathvision` compares by `round(eval(latex2sympy(x)), 2)`; one parser of ours stands for it,
//!   without π, roots and other names that its `eval` does not know.

use crate::answer::Judgement;
use crate::expression::Expression;
use crate::hendrycks;
use crate::python;
use crate::scalar::Scalar;
use crate::token::{Dialect, tokens};
use crate::vlmevalkit::gold_letter;
use crate::{Benchmark, Target};

/// Phrases after which the first of each letter is a candidate.
const PHRASES: &str = "the answer is|answer is|the correct answer is|correct answer is|the best answer is|best answer is|\
    the correct option is|correct option is|the best option is|best option is|the choice is|choice is|\
    the correct choice is|correct choice is|i choose|i select|i pick|my answer is|my choice is|옵션|정답은|답은|답:|\
    答案是|答案为|选|答えは";
const STRIPPED: [char; 8] = [',', '.', '!', '?', ';', ':', '\'', '"'];
/// Phrases of `mathvision`, in the order in which they cut.
const FLAGS: [&str; 4] =
    ["the final answer is", "the answer is", "the correct answer is", "the answer should be"];
/// Phrases of `mmmu` before an open answer.
const KEYS: [&str; 8] =
    ["could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result "];

pub(super) fn judge(target: &Target<'_>, response: &str) -> Judgement {
    let open = target.choices.is_empty();
    match target.benchmark {
        Benchmark::MathVerse => Judgement::unparsed(),
        Benchmark::MathVista => mathvista(target, response),
        Benchmark::MathVision => mathvision(target, response),
        Benchmark::Mmmu if open => open_mmmu(target.gold, response),
        Benchmark::Mmmu => letter(target, mmmu(target.choices, response)),
        Benchmark::MmStar => letter(target, extract_letter(response, 4)),
        _ if open => mathvision(target, response),
        _ => letter(target, extract_letter(response, target.choices.len())),
    }
}

fn letter(target: &Target<'_>, found: Option<char>) -> Judgement {
    let gold = if target.choices.is_empty() {
        target.gold.trim().chars().next().unwrap_or('Z').to_ascii_uppercase()
    } else {
        gold_letter(target)
    };
    found.map_or_else(Judgement::unparsed, |letter| Judgement::of(letter == gold, letter))
}

fn all_letters(count: usize) -> impl Iterator<Item = char> {
    ('A'..='Z').take(count)
}

/// Does what the peer's `extract_mcq_answer` does: the candidate of the best format, the last of these.
fn extract_letter(response: &str, count: usize) -> Option<char> {
    let trimmed = response.trim();
    if trimmed.is_empty() {
        return None;
    }
    let text = format!(" {} ", python::strip_each(trimmed, &STRIPPED));
    // The letter, its rank and where it stands; of equals the first stays.
    let mut best: Option<(char, u8, usize)> = None;
    let mut offer = |letter, rank, place: Option<usize>| {
        if let Some(place) = place
            && best.is_none_or(|(_, other, at)| (rank, place) > (other, at))
        {
            best = Some((letter, rank, place));
        }
    };
    for (before, after, rank) in
        [("(", ")", 6), ("", ".", 5), ("", ":", 4), ("", ")", 3), ("", " ", 2)]
    {
        for letter in all_letters(count) {
            offer(letter, rank, text.rfind(&format!("{before}{letter}{after}")));
        }
    }
    // The peer finds phrases in the lowered text; lowering keeps lengths but for a few letters.
    let lower = text.to_lowercase();
    for phrase in PHRASES.split('|') {
        if let Some(at) = lower.find(phrase) {
            let after = text.get(at + phrase.len()..).unwrap_or("");
            for letter in all_letters(count) {
                offer(letter, 7, after.find(letter).map(|found| at + phrase.len() + found));
            }
        }
    }
    let stripped = text.trim();
    for letter in all_letters(count) {
        let after = stripped.strip_prefix(letter).map(|rest| rest.chars().next());
        offer(letter, 10, after.filter(|c| c.is_none_or(|c| !c.is_alphabetic())).map(|_| 0));
    }
    for letter in all_letters(count) {
        let before = stripped.strip_suffix(letter).map(|rest| rest.chars().next_back());
        let place = Some(text.len());
        offer(letter, 9, before.filter(|c| c.is_none_or(|c| !c.is_alphabetic())).and(place));
    }
    if best.is_none() {
        for letter in all_letters(count) {
            offer_fallback(&mut best, letter, text.rfind(letter));
        }
    }
    best.map(|(letter, _, _)| letter)
}

fn offer_fallback(best: &mut Option<(char, u8, usize)>, letter: char, place: Option<usize>) {
    if let Some(place) = place
        && best.is_none_or(|(_, _, at)| place > at)
    {
        *best = Some((letter, 0, place));
    }
}

/// Does what the peer's `parse_mmmu_multi_choice_response` does, `None` where it draws.
fn mmmu(options: &[String], response: &str) -> Option<char> {
    let text = format!(" {} ", python::strip_each(response, &STRIPPED[..7]));
    let holding = |form: &dyn Fn(char) -> String| -> Vec<char> {
        all_letters(options.len()).filter(|letter| text.contains(&form(*letter))).collect()
    };
    // The last place, -1 if there is none; of equals the first, as numpy's argmax.
    let last = |found: &[char], place: &dyn Fn(char) -> Option<usize>| {
        let mut best: Option<(Option<usize>, char)> = None;
        for letter in found {
            let at = place(*letter);
            if best.is_none_or(|(other, _)| at > other) {
                best = Some((at, *letter));
            }
        }
        best.map(|(_, letter)| letter)
    };
    let brackets = holding(&|letter| format!("({letter})"));
    if !brackets.is_empty() {
        return last(&brackets, &|letter| text.rfind(&format!("({letter})")));
    }
    for end in [' ', '.'] {
        let found = holding(&|letter| format!("{letter}{end}"));
        if !found.is_empty() {
            return last(&found, &|letter| text.rfind(&format!(" {letter} ")));
        }
    }
    if text.split_whitespace().count() <= 5 {
        return None;
    }
    let lower = text.to_lowercase();
    let texts: Vec<String> = options.iter().map(|option| option.to_lowercase()).collect();
    let text_of =
        |letter: char| usize::from(letter as u8 - b'A').min(texts.len().saturating_sub(1));
    let found: Vec<char> = all_letters(options.len())
        .filter(|letter| lower.contains(&texts[text_of(*letter)]))
        .collect();
    last(&found, &|letter| lower.rfind(&texts[text_of(letter)]))
}

/// What `normalize_str` makes of an answer: a number to two decimals, or texts.
enum Normal {
    Number(f64),
    Texts(Vec<String>),
}

fn normal(text: &str) -> Normal {
    let text = text.trim();
    if let Some(number) = python::float(&text.replace(',', "")) {
        return Normal::Number(python::round(number, 2));
    }
    let text = text.to_lowercase();
    let single = text.chars().count() == 1;
    Normal::Texts(if single { vec![format!(" {text}"), format!("{text} ")] } else { vec![text] })
}

/// Does what the peer's `parse_open_response` does and `eval_open`.
fn open_mmmu(gold: &str, response: &str) -> Judgement {
    let lower = response.trim().trim_matches('.').to_lowercase();
    let lines: Vec<&str> = lower.split('\n').collect();
    let mut keys: Vec<&str> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let equals = (index + 1 == lines.len()).then_some("=");
        let mut shortest: Option<&str> = None;
        for indicator in KEYS.iter().copied().chain(equals) {
            if let Some(at) = line.rfind(indicator) {
                let tail = line[at + indicator.len()..].trim();
                // An empty tail counts as none, and is replaced.
                if shortest.is_none_or(|other| {
                    other.is_empty() || tail.chars().count() < other.chars().count()
                }) {
                    shortest = Some(tail);
                }
            }
        }
        keys.extend(shortest.filter(|tail| {
            !tail.is_empty() && !matches!(*tail, ":" | "," | "." | "!" | "?" | ";" | "'")
        }));
    }
    if keys.is_empty() {
        keys.push(&lower);
    }
    let mut found: Vec<Normal> = keys.iter().map(|key| normal(key)).collect();
    for key in &keys {
        found.extend(numbers(key).iter().map(|number| normal(number)));
    }
    let right = match normal(gold) {
        Normal::Number(gold) => found
            .iter()
            .any(|found| matches!(found, Normal::Number(number) if python::equal(*number, gold))),
        Normal::Texts(golds) => found.iter().any(|found| match found {
            Normal::Texts(texts) => {
                texts.iter().any(|text| golds.iter().any(|gold| text.contains(gold.as_str())))
            }
            Normal::Number(_) => false,
        }),
    };
    Judgement::of(right, keys.join("; "))
}

/// Does what the peer's `extract_numbers` does: with thousands separators, in scientific notation, and plain.
fn numbers(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rule in [grouped, scientific, plain] {
        let mut at = 0;
        while at < text.len() {
            match rule(text, at) {
                Some(end) if end > at => {
                    found.push(&text[at..end]);
                    at = end;
                }
                _ => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
    }
    found
}

fn byte(text: &str, at: usize) -> u8 {
    text.as_bytes().get(at).copied().unwrap_or(0)
}

fn digits(text: &str, at: usize) -> usize {
    text.as_bytes()[at.min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Returns whether a word could go on across a place.
fn boundary(text: &str, at: usize) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    word(text[..at].chars().next_back()) != word(text[at..].chars().next())
}

/// Matches `-?\b\d{1,3}(?:,\d{3})+\b`.
fn grouped(text: &str, at: usize) -> Option<usize> {
    let start = at + usize::from(byte(text, at) == b'-');
    let first = digits(text, start);
    if !(1..=3).contains(&first) || !boundary(text, start) {
        return None;
    }
    let mut end = start + first;
    let mut last = None;
    while byte(text, end) == b',' && digits(text, end + 1) >= 3 {
        end += 4;
        if boundary(text, end) {
            last = Some(end);
        }
    }
    last
}

/// Matches `-?\d+(?:\.\d+)?[eE][+-]?\d+`.
fn scientific(text: &str, at: usize) -> Option<usize> {
    let start = at + usize::from(byte(text, at) == b'-');
    let whole = digits(text, start);
    if whole == 0 {
        return None;
    }
    let mut end = start + whole;
    if byte(text, end) == b'.' && digits(text, end + 1) > 0 {
        end += 1 + digits(text, end + 1);
    }
    if !matches!(byte(text, end), b'e' | b'E') {
        return None;
    }
    end += 1;
    end += usize::from(matches!(byte(text, end), b'+' | b'-'));
    let exponent = digits(text, end);
    (exponent > 0).then_some(end + exponent)
}

/// Matches `-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])`.
fn plain(text: &str, at: usize) -> Option<usize> {
    let start = at + usize::from(byte(text, at) == b'-');
    let goes_on = |end: usize| {
        let exponent = matches!(byte(text, end), b'e' | b'E') && {
            let sign = end + 1 + usize::from(matches!(byte(text, end + 1), b'+' | b'-'));
            digits(text, sign) > 0
        };
        exponent || byte(text, end) == b',' || byte(text, end).is_ascii_digit()
    };
    let whole = digits(text, start);
    if byte(text, start + whole) == b'.' {
        let decimals = digits(text, start + whole + 1);
        // Fewer decimals than there are would leave a digit behind, which is refused.
        let end = start + whole + 1 + decimals;
        if decimals > 0 && !goes_on(end) {
            return Some(end);
        }
    }
    let end = start + whole;
    (whole > 0 && boundary(text, end) && !goes_on(end)).then_some(end)
}

/// A response that needs no judge, normalised and compared as text.
fn mathvista(target: &Target<'_>, response: &str) -> Judgement {
    let response = response.trim();
    if !target.choices.is_empty() {
        if !target.choices.iter().any(|option| option == response) {
            return Judgement::unparsed();
        }
        let texts = target.choices;
        // An option that is a letter itself names the option of that letter.
        let bracketed = response.as_bytes().windows(3).find_map(|window| match window {
            [b'(', letter, b')'] if letter.is_ascii_alphabetic() => {
                Some(letter.to_ascii_uppercase())
            }
            _ => None,
        });
        let single = match response.as_bytes() {
            [letter] => Some(*letter),
            _ => None,
        };
        let named = bracketed.or(single).and_then(|letter| letter.checked_sub(b'A'));
        let text = named.and_then(|index| texts.get(usize::from(index)));
        if bracketed.is_some() && text.is_none() {
            return Judgement::unparsed();
        }
        let text = text.map_or(response, String::as_str);
        let index = usize::from(gold_letter(target) as u8 - b'A');
        let gold = texts.get(index).map_or(target.gold, String::as_str);
        return Judgement::of(text.trim() == gold.trim(), text.to_owned());
    }
    let gold = target.gold.trim();
    let normal = match (python::int(gold), python::float(gold)) {
        (Some(_), _) => python::int(response).map(|value| value.to_string()),
        (None, Some(_)) => python::float(response).map(|value| {
            python::str_of_float(python::round(value, target.precision.unwrap_or(0) as usize))
        }),
        (None, None) => None,
    };
    normal.map_or_else(Judgement::unparsed, |normal| Judgement::of(normal == gold, normal))
}

/// Does what the peer's `mathvision_process_results` does.
fn mathvision(target: &Target<'_>, response: &str) -> Judgement {
    let mut answer = response.trim().to_owned();
    for c in 'A'..='E' {
        let ends = answer.ends_with(&format!(" {c}.")) || answer.ends_with(&format!(" ({c})."));
        let starts = [format!("{c}\n"), format!("({c})\n"), format!("({c}) {c}\n")];
        if ends || starts.iter().any(|start| answer.starts_with(start.as_str())) {
            answer = c.to_string();
        }
    }
    let after_is = answer.rsplit("is ").next().unwrap_or("").trim_end_matches('.');
    if python::float(after_is).is_some() {
        answer = after_is.to_owned();
    }
    if !answer.contains("oxed{") {
        for flag in FLAGS {
            for flag in [flag.to_owned(), flag.replace("the", "The")] {
                if let Some(at) = answer.rfind(&flag) {
                    let rest = answer[at + flag.len()..].trim();
                    let line = rest.split('\n').next().unwrap_or("");
                    answer = line.split(". ").next().unwrap_or("").to_owned();
                } else {
                    answer = answer.trim().to_owned();
                }
            }
        }
    } else if answer.matches("oxed{").count() > 1 {
        answer = format!("\\boxed{{{}", answer.rsplit("oxed{").next().unwrap_or(""));
    }
    let mut found = math_answer(&answer);
    for letter in ["a", "b", "c", "d", "e"] {
        found = found.replace(&format!("({letter})"), letter);
    }
    for letter in ["a", "b", "c", "d", "e"] {
        found = found.replace(&format!("{{{letter}}}"), letter);
    }
    let found = found.trim_end_matches('.').trim_start_matches(':').trim();
    let letter = gold_letter(target).to_string();
    let open = target.choices.is_empty();
    let (gold, value) = if open {
        (target.gold, "")
    } else {
        let index = usize::from(letter.as_bytes()[0] - b'A');
        (letter.as_str(), target.choices.get(index).map_or("", String::as_str))
    };
    Judgement::of(is_equal(gold, found) || is_equal(value, found), found.to_owned())
}

/// Does what the peer's `find_math_answer` does and `_strip_string`.
fn math_answer(text: &str) -> String {
    let text = text.to_lowercase().replace("{}", "");
    // Greedy: from the first box to the last brace.
    let boxed = text.find("oxed{").and_then(|at| {
        let inner = &text[at + "oxed{".len()..];
        Some(&inner[..inner.rfind('}')?])
    });
    let mut answer = boxed.unwrap_or(&text);
    if let Some(close) = answer.find('}')
        && answer.find('{').is_none_or(|open| close < open)
    {
        answer = &answer[..close];
    }
    let answer = answer.rsplit('=').next().unwrap_or("");
    let answer = answer.rsplit("\\approx").next().unwrap_or("");
    let mut answer = answer.replace(' ', "").replace("\\,", "").replace('∞', "\\infty");
    // From `\!` on these are the rules of `_strip_string`.
    answer = python::replace_each(
        &answer,
        &[
            (&["+\\infty"], "\\infty"),
            (&["\\\\"], "\\"),
            (&["\n", "\\text", "\\mbox"], ""),
            (&["bmatrix"], "pmatrix"),
            (
                &[
                    "\\left",
                    "\\right",
                    "^{\\circ}",
                    "^\\circ",
                    "{m}^3",
                    "m^3",
                    "{units}",
                    "units",
                    "{km}",
                    "km",
                    "\\!",
                ],
                "",
            ),
            (&["tfrac", "dfrac"], "frac"),
            (&["\\$", "$"], ""),
        ],
    );
    answer = answer.split("\\text{ ").next().unwrap_or("").replace("\\%", "");
    answer = answer.replace("{.", "{0.");
    if answer.is_empty() {
        return answer;
    }
    if answer.starts_with('.') {
        answer.insert(0, '0');
    }
    if answer.contains("sqrt") {
        answer = fix_roots_where_possible(&answer);
        answer = hendrycks::fix_fractions(&answer).unwrap_or(answer);
    }
    if answer == "0.5" {
        return "\\frac{1}{2}".to_owned();
    }
    hendrycks::fix_slash(&answer)
}

/// A `\sqrt` at the end stays what it is.
fn fix_roots_where_possible(text: &str) -> String {
    match text.strip_suffix("\\sqrt") {
        Some(rest) => format!("{}\\sqrt", hendrycks::fix_roots(rest).unwrap_or_default()),
        None => hendrycks::fix_roots(text).unwrap_or_else(|| text.to_owned()),
    }
}

/// Does what the peer's `is_equal` does: as text, or rounded to two decimals.
fn is_equal(gold: &str, answer: &str) -> bool {
    let (gold, answer) = (gold.to_lowercase(), answer.to_lowercase());
    if gold.replace(' ', "").is_empty() || answer.replace(' ', "").is_empty() {
        return false;
    }
    if gold.trim() == answer.trim() {
        return true;
    }
    let (gold, answer) = (tuple(&gold), tuple(&answer));
    if gold == answer {
        return true;
    }
    match (value(&gold), value(&answer)) {
        (Some(a), Some(b)) => python::equal(python::round(a, 2), python::round(b, 2)),
        _ => false,
    }
}

/// Returns the value of a text that latex2sympy reads and whose spelling Python's `eval` knows: no π, no roots.
fn value(text: &str) -> Option<f64> {
    if hendrycks::has_bare_fraction(text) || text.contains("{,}") {
        return None;
    }
    let tokens = tokens(text, Dialect::Peers)?;
    match Expression::parse(text, &tokens, Dialect::Peers)?.value()? {
        value @ Scalar::Exact(..) => Some(value.to_f64()),
        Scalar::Wide(..) | Scalar::Float(_) => None,
    }
}

/// Does what the peer's `eval_tuple` does: each item of a tuple or list rounded to two decimals, if all have values.
fn tuple(text: &str) -> String {
    let brackets = (text.chars().next(), text.chars().next_back());
    if !matches!(brackets, (Some('('), Some(')')) | (Some('['), Some(']'))) || text.len() < 2 {
        return text.to_owned();
    }
    let items: Vec<&str> = text[1..text.len() - 1].split(',').collect();
    if items.len() < 2 {
        return text.to_owned();
    }
    let rounded: Option<Vec<String>> = items
        .iter()
        .map(|item| {
            if item.contains("infty") || matches!(*item, "a" | "-a") {
                return Some((*item).to_owned());
            }
            let rounded = python::round(value(item)?, 2);
            Some(python::str_of_float(rounded))
        })
        .collect();
    rounded.map_or_else(
        || text.to_owned(),
        |items| format!("{}{}{}", &text[..1], items.join(","), &text[text.len() - 1..]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_candidate_of_the_best_format_wins() {
        for (text, expected) in [
            ("B", Some('B')),
            ("The answer is (C).", Some('C')),
            ("A. first, then (B)", Some('A')),
            ("it may be (A) or (B) I think", Some('B')),
            ("Because", Some('B')),
            ("nothing", None),
            ("", None),
        ] {
            assert_eq!(extract_letter(text, 4), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_found_as_the_patterns_find_them() {
        assert_eq!(numbers("1,234 and 5"), ["1,234", "234", "5"]);
        assert_eq!(numbers("x=3.50, -2"), ["3", "-2"]);
        assert_eq!(numbers("1.5e3"), ["1.5e3", "1", "3"]);
    }
}
