//! Which option of a question a text names, by its letter or by what it says.
//!
//! This module does not know where the text stood in a completion, nor which option is right.

use crate::form::{equivalent, key};

/// Without a list of options, the letters A to H are options.
const LETTERS_WITHOUT_OPTIONS: usize = 8;

/// Words with which an answer names the letter that follows.
const NAMES: [&str; 4] = ["option ", "choice ", "answer ", "answer: "];

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
        let wanted = key(text);
        let only = |is: &dyn Fn(&str) -> bool| {
            let mut found = self.texts.iter().enumerate().filter(|(_, option)| is(option));
            let first = found.next();
            first.filter(|_| found.next().is_none()).map(|(index, _)| index)
        };
        only(&|option| option.trim() == text.trim())
            .or_else(|| only(&|option| !wanted.is_empty() && key(option) == wanted))
            .or_else(|| only(&|option| equivalent(option, text, None)))
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
        if let Some(letter) = letter(text) {
            let by_letter = self.of_letter(letter.to_ascii_uppercase());
            if letter.is_ascii_uppercase() {
                return by_letter;
            }
            // A small letter may also be a variable that an option consists of.
            return self.of_text(text).or(by_letter);
        }
        self.of_text(text)
    }

    /// Returns the only option whose text stands as whole words in `text`; `None` where something is denied.
    pub(super) fn contained(&self, text: &str) -> Option<usize> {
        let text = text.to_lowercase();
        let denies = |word: &str| {
            matches!(word, "not" | "neither" | "nor" | "cannot" | "isn't" | "no" | "except" | "or")
        };
        if text.split(|c: char| !c.is_alphanumeric() && c != '\'').any(denies) {
            return None;
        }
        let holds = |option: &String| {
            let option = option.trim().to_lowercase();
            !option.is_empty()
                && text.match_indices(&option).any(|(at, _)| {
                    let whole = |side: Option<char>| side.is_none_or(|c| !c.is_alphanumeric());
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
    let goes_on = rest.starts_with([',', '/', '&', '+', '-', '='])
        || ["or ", "and ", "or(", "and("].iter().any(|word| rest.to_lowercase().starts_with(word));
    (!goes_on).then_some(letter)
}

/// Returns a letter that is marked as an option at the start of a text, and what follows.
fn leading_letter(text: &str) -> Option<(u8, &str)> {
    let bytes = text.as_bytes();
    match bytes {
        [b'(' | b'[' | b'{', letter, b')' | b']' | b'}', ..] if letter.is_ascii_alphabetic() => {
            Some((*letter, &text[3..]))
        }
        [letter] if letter.is_ascii_alphabetic() => Some((*letter, "")),
        [letter, b'.' | b':' | b')', ..] if letter.is_ascii_alphabetic() => {
            // `A.B` is a product or a name, `A. B` an option.
            let rest = &text[2..];
            let apart = rest.is_empty() || rest.starts_with([' ', '\n', '*', '$', '\\', '}']);
            apart.then_some((*letter, rest))
        }
        _ => None,
    }
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
        text = text.trim_start_matches(['*', '$', '`', '"', '_', ' ', '\n', '~']);
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
    if rest.is_empty() || inner[2..].starts_with(['.', ':', ')', ' ']) {
        &inner[..1]
    } else {
        whole
    }
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
    }

    #[test]
    fn labels_go_before_letters() {
        let texts = ["B", "A", "C"].map(str::to_owned);
        assert_eq!(Options::new("A", &texts).unwrap().find("A"), Some(1));
    }
}
