//! Which option of a question a text names, by its letter or by what it says.
//!
//! This module does not know where the text stood in a completion, nor which option is right.

use crate::compare::equivalent;
use crate::key::key;
use crate::stance::{denies, denies_in_chinese, refutes};
use crate::token::{BYTES_MAX, WRAPPERS, matching_brace, starts_amounts};
use crate::unicode::is_chinese;

/// Without a list of options, the letters A to H are options.
const LETTERS_WITHOUT_OPTIONS: usize = 8;

/// Words with which an answer names the letter that follows.
const NAMES: [&str; 13] = [
    "option ",
    "choice ",
    "answer ",
    "answer: ",
    "答案是",
    "答案为",
    "答案:",
    "答案",
    "故选",
    "应选",
    "选项",
    "选择",
    "选",
];

/// Chinese words that may follow the letter of an option.
const AFTER_CHINESE: [&str; 2] = ["选项", "项"];

/// Words that may follow a letter in a sentence although the letter is "A" or "I".
const AFTER_LETTER: [&str; 8] = ["because", "since", "as", "which", "is", "for", "with", "and"];

/// Chinese words that join two options.
const CHINESE_JOINS: [&str; 7] = ["或", "和", "与", "及", "跟", "、", "还是"];

/// The options of a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    texts: &'a [String],
    /// How many letters are options.
    count: usize,
}

impl<'a> Options<'a> {
    /// Returns the options; without a list of them, letters if the answer key is one, and none otherwise.
    pub(super) fn new(gold: &str, texts: &'a [String]) -> Option<Options<'a>> {
        let is_letter = |text: &str| matches!(text.as_bytes(), [b'A'..=b'H']);
        match texts.len() {
            0 if is_letter(gold.trim()) => Some(Options { texts, count: LETTERS_WITHOUT_OPTIONS }),
            0 => None,
            count => Some(Options { texts, count: count.min(26) }),
        }
    }

    /// Returns what an option says, if the question tells.
    pub(super) fn text(&self, index: usize) -> Option<&'a str> {
        self.texts.get(index).map(String::as_str)
    }

    /// Returns the option of a capital letter.
    pub(super) fn of_letter(&self, letter: u8) -> Option<usize> {
        letter.checked_sub(b'A').map(usize::from).filter(|index| *index < self.count)
    }

    /// Returns the only option that says what `text` says.
    fn of_text(&self, text: &str) -> Option<usize> {
        self.spelled(text).or_else(|| self.only(|option| equivalent(option, text, None)))
    }

    /// Returns the only option that is this text, but for its looks.
    pub(super) fn spelled(&self, text: &str) -> Option<usize> {
        let wanted = key(text);
        self.only(|option| option.trim() == text.trim())
            .or_else(|| self.only(|option| !wanted.is_empty() && key(option) == wanted))
    }

    /// Returns the only option that says what `text` says once both are rounded to so many decimals.
    pub(super) fn rounded(&self, text: &str, precision: Option<u32>) -> Option<usize> {
        precision?;
        self.only(|option| equivalent(option, text, precision))
    }

    /// Returns the option that something holds for; none where it holds for several, so that nobody knows which is meant.
    fn only(&self, is: impl Fn(&str) -> bool) -> Option<usize> {
        let mut found = self.texts.iter().enumerate().filter(|(_, option)| is(option));
        let first = found.next();
        first.filter(|_| found.next().is_none()).map(|(index, _)| index)
    }

    /// Returns the option that `text` as a whole names.
    ///
    /// A letter goes before a text, unless every option is a single letter itself: then the texts are
    /// labels of a picture, and the label is meant.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        let labels = !self.texts.is_empty() && self.texts.iter().all(|text| text.trim().len() == 1);
        if labels && let Some(index) = self.of_text(text) {
            return Some(index);
        }
        // `B. is not a square`: a letter and what that very option says.
        if let Some((letter, rest)) = leading_letter(strip(text))
            && refutes(rest)
            && let Some(index) = self.of_letter(letter)
            && self.text(index).is_some_and(|own| key(own) == key(rest))
        {
            return Some(index);
        }
        if let Some(letter) = letter(text).or_else(|| letter(&unwrapped(text))) {
            let by_letter = self.of_letter(letter.to_ascii_uppercase());
            if letter.is_ascii_uppercase() {
                return by_letter;
            }
            // A small letter may also be a variable that an option consists of.
            return self.of_text(text).or(by_letter);
        }
        self.of_text(text).or_else(|| self.followed_by_letter(text))
    }

    /// Returns the option whose letter follows its own text in brackets, as in `12\pi\ \text{(C)}`.
    fn followed_by_letter(&self, text: &str) -> Option<usize> {
        let text = unwrapped(text);
        let text = strip(&text);
        let (before, end) = text.as_bytes().split_last_chunk()?;
        let [b'(' | b'[', letter, b')' | b']'] = *end else { return None };
        let before = &text[..before.len()];
        let index = self.of_letter(letter)?;
        let before = before.trim_end_matches([' ', ',', ';', ':']);
        let own = match self.text(index) {
            Some(own) => key(own) == key(before) || equivalent(own, before, None),
            None => true,
        };
        (own && !before.is_empty()).then_some(index)
    }

    /// Returns the option that a sentence names: at its start, in its only brackets, or by its text.
    pub(super) fn said(&self, text: &str) -> Option<usize> {
        if let Some(index) = self.find(text) {
            return Some(index);
        }
        let text = strip(text);
        let lower = text.to_ascii_lowercase();
        let text = ["option ", "choice ", "选项", "选"]
            .iter()
            .find_map(|name| lower.starts_with(name).then(|| strip(&text[name.len()..])))
            .unwrap_or(text);
        if let Some(index) = self.leading(text) {
            return Some(index);
        }
        if denies(text) {
            return None;
        }
        let mut bracketed = None;
        for window in text.as_bytes().windows(3) {
            if let [b'(' | b'[', letter, b')' | b']'] = window
                && let Some(index) = self.of_letter(*letter)
            {
                if bracketed.is_some_and(|other| other != index) {
                    return None;
                }
                bracketed = Some(index);
            }
        }
        bracketed.or_else(|| self.contained(text))
    }

    /// Returns the option whose letter a sentence starts with.
    fn leading(&self, text: &str) -> Option<usize> {
        let text = text.trim_start_matches(['(', '[', '*', '$']);
        let (first, rest) = text.as_bytes().split_first()?;
        let index = self.of_letter(*first)?;
        let rest_text = &text[1..];
        let marked = rest_text.trim_start_matches([')', ']', '*', '$', '.', ':']);
        if marked.len() < rest_text.len()
            && !marked.starts_with(|c: char| c.is_alphanumeric() && !is_chinese(c))
        {
            let next = marked.trim_start_matches([' ', ',']);
            let goes_on = ["or ", "and ", "(", "/", "no,", "->", "→"]
                .iter()
                .chain(&CHINESE_JOINS)
                .any(|word| next.starts_with(word));
            return (!goes_on).then_some(index);
        }
        if rest_text.starts_with(|c: char| is_chinese(c) || c == '、') {
            let joins = CHINESE_JOINS.iter().any(|word| rest_text.starts_with(word));
            return (!joins && !denies_in_chinese(rest_text)).then_some(index);
        }
        if rest.first().is_some_and(|byte| !matches!(byte, b' ' | b',' | b';')) {
            return None;
        }
        let next = rest_text.trim_start_matches([' ', ',', ';']);
        let word = next.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
        let ambiguous = matches!(first, b'A' | b'I') && rest.first() == Some(&b' ');
        if ambiguous && !AFTER_LETTER.contains(&word) && !word.starts_with(is_chinese) {
            return None;
        }
        // `B or C`, `B, C` and `B and C` name two.
        let becomes = next.starts_with("->") || next.starts_with('→');
        let another = becomes || word.len() == 1 && self.of_letter(word.as_bytes()[0]).is_some();
        let joins = matches!(word, "or" | "and" | "no")
            || CHINESE_JOINS.iter().any(|join| word.starts_with(join));
        (!another && !joins).then_some(index)
    }

    /// Returns the only option whose text stands as whole words in `text`; `None` where something is denied.
    pub(super) fn contained(&self, text: &str) -> Option<usize> {
        let text = text.to_lowercase();
        if denies(&text) {
            return None;
        }
        let holds = |option: &String| {
            let option = option.trim().to_lowercase();
            !option.is_empty()
                && text.match_indices(&option).any(|(at, _)| {
                    let whole = |side: Option<char>| {
                        side.is_none_or(|c| !c.is_alphanumeric() || is_chinese(c))
                    };
                    whole(text[..at].chars().next_back())
                        && whole(text[at + option.len()..].chars().next())
                })
        };
        let mut found = self.texts.iter().enumerate().filter(|(_, option)| holds(option));
        let first = found.next()?;
        found.next().is_none().then_some(first.0)
    }
}

/// Returns the letter that `text` as a whole names: `B`, `(b)`, `B.`, `B: red`, `option B`, `\text{B}`.
pub(super) fn letter(text: &str) -> Option<u8> {
    let mut text = strip(text);
    for name in NAMES {
        if let Some(start) = text.get(..name.len())
            && start.eq_ignore_ascii_case(name)
        {
            text = strip(&text[name.len()..]);
        }
    }
    let (letter, rest) = leading_letter(text)?;
    let rest = strip(rest);
    let goes_on = rest.starts_with([',', '/', '&', '+', '-', '=', '→', '<', '>'])
        || ["\\to", "\\rightarrow", "\\ne", "\\lor", "\\land"]
            .iter()
            .any(|sign| rest.starts_with(sign))
        || matches!(rest.as_bytes(), [b'(' | b'[', b'A'..=b'Z', b')' | b']', ..])
        || ["or ", "and ", "or(", "and(", "no,"]
            .iter()
            .any(|word| rest.to_lowercase().starts_with(word));
    (!goes_on && !refutes(rest)).then_some(letter)
}

/// Returns a letter that is marked as an option at the start of a text, and what follows.
fn leading_letter(text: &str) -> Option<(u8, &str)> {
    let bytes = text.as_bytes();
    match bytes {
        [b'(' | b'[' | b'{', letter, b')' | b']' | b'}', ..] if letter.is_ascii_alphabetic() => {
            Some((*letter, &text[3..]))
        }
        [letter] if letter.is_ascii_alphabetic() => Some((*letter, "")),
        [letter, ..]
            if letter.is_ascii_alphabetic()
                && AFTER_CHINESE.iter().any(|word| text[1..].starts_with(word)) =>
        {
            let rest = &text[1..];
            let after = AFTER_CHINESE.iter().find_map(|word| rest.strip_prefix(word));
            Some((*letter, after.unwrap_or(rest)))
        }
        [letter, b'.' | b':' | b')', ..] if letter.is_ascii_alphabetic() => {
            // `A.B` is a product or a name, `A. B` an option.
            let rest = &text[2..];
            let apart = rest.is_empty() || rest.starts_with([' ', '\n', '*', '$', '\\', '}']);
            apart.then_some((*letter, rest))
        }
        _ => None,
    }
}

/// Returns the text without the commands that only change its looks, spaces as spaces.
///
/// A letter alone in such a command, with a space and more behind it, is marked: `\textbf{C}\ 12` is `C) 12`.
fn unwrapped(text: &str) -> String {
    if text.len() > BYTES_MAX {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let command = &rest[at + 1..];
        let length = command.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (name, after) = command.split_at(length);
        rest = after;
        match name {
            "" if after.starts_with([' ', ',', ';', ':', '!', '(', ')', '\\']) => {
                plain.push(' ');
                rest = &after[1..];
            }
            "quad" | "qquad" => plain.push(' '),
            "left" | "right" => {}
            _ if WRAPPERS.contains(&name) => {
                let Some(inner) = after.trim_start().strip_prefix('{') else { continue };
                let Some(length) = matching_brace(inner) else { continue };
                let (content, after) = (inner[..length].trim(), &inner[length + 1..]);
                plain.push_str(&inner[..length]);
                let is_letter = matches!(content.as_bytes(), [b'A'..=b'Z']);
                if is_letter && after.starts_with([' ', '~', '\\']) {
                    plain.push_str(") ");
                }
                rest = after;
            }
            _ => {
                plain.push('\\');
                plain.push_str(name);
            }
        }
    }
    plain.push_str(rest);
    plain.replace(['$', '~'], " ")
}

/// Returns the text without the markup and punctuation around it.
pub(super) fn strip(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text.len();
        for command in
            ["\\text", "\\mathrm", "\\textbf", "\\mathbf", "\\mbox", "\\textit", "\\boxed"]
        {
            if let Some(inner) = text.strip_prefix(command).and_then(|rest| rest.strip_prefix('{'))
            {
                match inner.strip_suffix('}') {
                    Some(inner) if !inner.contains('}') => text = inner,
                    // The command covers the letter only.
                    _ if inner.as_bytes().get(1) == Some(&b'}') => return text_after(inner, text),
                    _ => {}
                }
            }
        }
        // The sign of an amount is not one around a formula.
        let amount = starts_amounts(text);
        let is_mark = |c: char| {
            matches!(c, '*' | '`' | '"' | '_' | ' ' | '\n' | '~') || (c == '$' && !amount)
        };
        text = text.trim_start_matches(is_mark);
        text = text.trim_end_matches(['*', '$', '`', '"', '_', ' ', '\n', '~', '.', ',', ';', '!']);
        text = text.strip_prefix("\\(").unwrap_or(text);
        text = text.strip_suffix("\\)").unwrap_or(text);
        if text.len() == before {
            return text;
        }
    }
}

/// `B}…` is the letter alone if nothing but markup follows, and the text as it was otherwise.
fn text_after<'a>(inner: &'a str, whole: &'a str) -> &'a str {
    let rest = inner[2..].trim_start_matches(['*', '$', ' ', '.', ':', ')']);
    if rest.is_empty() || inner[2..].starts_with(['.', ':', ')']) { &inner[..1] } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_in_their_standard_forms() {
        for text in r"B|(B)|B.|B)|[B]|**B**|$B$|\text{B}|\text{(B)}|B: red|(B) red|B. red|Option B|option (B)|\mathrm{B}.|Choice B.|{B}|\textbf{B}|\text{B. red}|\text{B}. 12|Answer: B".split('|') {
            assert_eq!(letter(text), Some(b'B'), "{text}");
        }
        for text in "|BC|B or C|(B) or (C)|B, C|B C|B red|B.C|between 3 and 5|A triangle|B = 3|B/C|(BC)|B and C|é".split('|') {
            assert_eq!(letter(text), None, "{text}");
        }
    }

    #[test]
    fn options_are_found_by_letter_and_by_text() {
        let texts = ["12 cm", "$\\frac{1}{2}$", "red", "0.25"].map(str::to_owned);
        let options = Options::new("A", &texts).unwrap();
        for (text, expected) in [
            ("B", Some(1)),
            ("12", Some(0)),
            ("0.5", Some(1)),
            ("\\text{Red}", Some(2)),
            ("1/4", Some(3)),
            ("d", Some(3)),
            ("E", None),
            ("blue", None),
        ] {
            assert_eq!(options.find(text), expected, "{text}");
        }
        assert_eq!(options.contained("the red ball"), Some(2));
        assert_eq!(options.contained("not red"), None);
        assert_eq!(options.contained("bored"), None);
        assert_eq!(options.contained("答案red是"), Some(2));
    }

    #[test]
    fn a_letter_stands_beside_its_own_text() {
        let texts = ["8\\pi", "10\\pi", "12\\pi", "14\\pi"].map(str::to_owned);
        let options = Options::new("A", &texts).unwrap();
        for text in [
            r"\textbf{(C)}\ 12\pi",
            r"\text{(C) }12\pi",
            r"\text{C. }12\pi",
            r"\text{C: }12\pi",
            r"12\pi\ \text{(C)}",
            r"12\pi \,\mathrm{[C]}",
            r"\textbf{C}\ 12\pi",
            r"\mathbf{(C)}\;12\pi",
            "C选项",
            "选项C",
            "选C",
            r"\text{选} C",
        ] {
            assert_eq!(options.find(text), Some(2), "{text}");
        }
        for text in [
            r"10\pi\ \text{(C)}",
            r"\text{A} + 5",
            r"\text{A} \text{ or } \text{C}",
            r"\text{C}_2 5",
            r"f\text{(C)}",
        ] {
            assert_eq!(options.find(text), None, "{text}");
        }
    }

    #[test]
    fn a_sentence_names_one_option_or_none() {
        let texts = ["红色", "蓝色", "绿色"].map(str::to_owned);
        let options = Options::new("A", &texts).unwrap();
        for (text, expected) in [
            ("B", Some(1)),
            ("B选项", Some(1)),
            ("B,蓝色", Some(1)),
            ("(B)蓝色", Some(1)),
            ("B项正确", Some(1)),
            ("蓝色", Some(1)),
            ("蓝色的那个", Some(1)),
            ("选项B", Some(1)),
            ("A或B", None),
            ("A、B", None),
            ("B是错误的", None),
            ("红色或蓝色", None),
            ("不是蓝色", None),
        ] {
            assert_eq!(options.said(text), expected, "{text}");
        }
    }

    #[test]
    fn labels_go_before_letters() {
        let texts = ["B", "A", "C"].map(str::to_owned);
        assert_eq!(Options::new("A", &texts).unwrap().find("A"), Some(1));
    }
}
