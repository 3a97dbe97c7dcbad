//! The units that may follow a number, and what makes two of them the same.
//!
//! This module does not know numbers and converts nothing: 1 m is not 100 cm, since a benchmark that asks for one
//! of them asks for that one.

use crate::token::{Kind, Token};

/// More words than this after a number are a sentence, not a unit.
const WORDS_MAX: usize = 4;

/// Spellings of units, the first of each group being the name; singular, without a power.
const UNITS: &str = "mm millimeter millimetre|cm centimeter centimetre|dm decimeter decimetre|\
    m meter metre|km kilometer kilometre|in inch inche|ft foot feet|yd yard|mi mile|\
    mg milligram|g gram|kg kilogram|t ton tonne|lb pound|oz ounce|ms millisecond|\
    s sec second|min minute|h hr hour|day|week|month|year yr|° degree deg|rad radian|\
    % percent|l liter litre|ml milliliter millilitre|n newton|j joule|kj kilojoule|w watt|\
    kw kilowatt|v volt|a amp ampere|ω ohm|hz hertz|pa pascal|kpa|k kelvin|c celsius|\
    f fahrenheit|mol mole|nm|μm|ma|mph|kph|ev|$ dollar usd|cent|€ euro|unit";

/// Words that say nothing about the unit.
const FILLERS: &str = "long wide tall high deep old each total apart away altogether only";

/// Words after which a number is not the answer but a part of it.
const STOPS: [&str; 22] = [
    "or", "and", "to", "than", "not", "but", "if", "is", "are", "was", "per", "of", "in", "with",
    "for", "million", "billion", "thousand", "hundred", "trillion", "times", "more",
];

/// Letters that stand for a unit although they are one letter outside `\text`.
const LETTERS: [&str; 14] = ["m", "s", "g", "h", "L", "l", "N", "J", "W", "V", "A", "K", "C", "F"];

/// The unit that follows a number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Unit {
    words: Vec<String>,
    /// True if every word is in the list of units.
    known: bool,
}

impl Unit {
    /// Returns the unit of a sign before a number.
    pub(super) fn currency(sign: &str) -> Unit {
        let sign = match sign {
            "\\$" | "\\textdollar" => "$",
            "\\euro" => "€",
            "\\pounds" => "£",
            sign => sign,
        };
        Unit { words: vec![sign.to_owned()], known: true }
    }

    pub(super) fn is_percent(&self) -> bool {
        matches!(self.words.as_slice(), [word] if word == "%")
    }

    /// Returns whether the two do not contradict each other: one says nothing, or they have the same words, or
    /// share one where a word is not in the list.
    pub(super) fn agrees(&self, other: &Unit) -> bool {
        self.words.is_empty()
            || other.words.is_empty()
            || self.words == other.words
            || (!(self.known && other.known)
                && self.words.iter().any(|word| other.words.contains(word)))
    }
}

/// Returns where the unit at the end of `tokens` starts, and the unit; `None` if there is none.
pub(super) fn trailing(text: &str, tokens: &[Token]) -> Option<(usize, Unit)> {
    let mut start = tokens.len();
    let mut words = 0;
    while start > 0 {
        let token = &tokens[start - 1];
        let word = &text[token.start..token.end];
        let is_unit = match token.kind {
            Kind::Word => {
                words += 1;
                !STOPS.contains(&word.to_ascii_lowercase().as_str()) || word == "in"
            }
            Kind::Letter => {
                words += 1;
                LETTERS.contains(&word) || word == "Ω" || word == "\\Omega" || word == "μ"
            }
            Kind::Degree | Kind::Percent | Kind::Currency => true,
            Kind::Divide | Kind::Power | Kind::Times => start < tokens.len(),
            // The power of a unit.
            Kind::Number { value, .. } => {
                value.as_integer().is_some_and(|power| (-3..=3).contains(&power))
                    && (start >= 2 && matches!(tokens[start - 2].kind, Kind::Power)
                        || start >= 3
                            && matches!(tokens[start - 2].kind, Kind::Open(b'{'))
                            && matches!(tokens[start - 3].kind, Kind::Power))
            }
            Kind::Open(b'{') => start >= 2 && matches!(tokens[start - 2].kind, Kind::Power),
            Kind::Close(b'{') => {
                start >= 4
                    && matches!(tokens[start - 2].kind, Kind::Number { .. })
                    && matches!(tokens[start - 4].kind, Kind::Power)
            }
            _ => false,
        };
        if !is_unit || words > WORDS_MAX {
            break;
        }
        start -= 1;
    }
    // A unit starts with a word or a sign, after something that ends a number.
    while start < tokens.len() {
        let starts = matches!(
            tokens[start].kind,
            Kind::Word | Kind::Letter | Kind::Degree | Kind::Percent | Kind::Currency
        );
        let follows = start > 0
            && matches!(
                tokens[start - 1].kind,
                Kind::Number { .. } | Kind::Close(_) | Kind::Pi | Kind::Euler
            );
        if starts && follows {
            return Some((start, unit(text, &tokens[start..])));
        }
        start += 1;
    }
    None
}

/// Returns the names of the words; a power counts as a word, `square` and `cubic` are powers.
fn unit(text: &str, tokens: &[Token]) -> Unit {
    let mut unit = Unit { words: Vec::new(), known: true };
    let mut squared = None;
    for token in tokens {
        let word = text[token.start..token.end].to_lowercase();
        let word = word.trim_start_matches('\\');
        match word {
            "square" | "sq" | "squared" => squared = Some("2"),
            "cubic" | "cubed" => squared = Some("3"),
            _ if FILLERS.split(' ').any(|filler| filler == word) => {}
            _ => match token.kind {
                Kind::Number { .. } => match text[token.start..token.end].trim() {
                    "²" => unit.words.push("2".to_owned()),
                    "³" => unit.words.push("3".to_owned()),
                    power => unit.words.push(power.to_owned()),
                },
                Kind::Divide => unit.words.push("/".to_owned()),
                Kind::Degree => unit.words.push("°".to_owned()),
                Kind::Percent => unit.words.push("%".to_owned()),
                Kind::Word | Kind::Letter | Kind::Currency => {
                    let (name, known) = name(word);
                    unit.words.push(name);
                    unit.known &= known;
                }
                _ => {}
            },
        }
    }
    unit.words.extend(squared.map(str::to_owned));
    unit
}

/// Returns the name of a unit and whether it is in the list; the singular of any other word.
fn name(word: &str) -> (String, bool) {
    let word = if word == "omega" { "ω" } else { word };
    let rows = UNITS.split('|').map(|row| row.split(' '));
    let find = |word: &str| rows.clone().find(|names| names.clone().any(|name| name == word));
    let singular = word.strip_suffix('s').filter(|singular| singular.len() > 1).unwrap_or(word);
    match find(word).or_else(|| find(singular)) {
        Some(mut names) => (names.next().unwrap_or(word).to_owned(), true),
        None => (singular.to_owned(), false),
    }
}
