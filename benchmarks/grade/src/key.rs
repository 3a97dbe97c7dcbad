//! Answers as text: what is left of one without what only changes its looks.
//!
//! This module does not know what an answer says.

use crate::token::{BYTES_MAX, Dialect, WRAPPERS, matching_brace, starts_amounts};
use crate::unit;
use crate::words::is_listed;

/// Deeper nesting stays as it is written.
const DEPTH_MAX: usize = 6;

/// The commands whose braces the engines of the peers drop in a key.
const SHARED_WRAPPERS: [&str; 10] = [
    "text",
    "mathrm",
    "textbf",
    "mathbf",
    "textit",
    "mbox",
    "operatorname",
    "mathit",
    "textrm",
    "boldsymbol",
];

/// Commands that take no argument, so that braces after them group.
const SYMBOLS: [&str; 8] =
    ["triangle", "angle", "measuredangle", "odot", "bigcirc", "square", "pi", "delta"];

/// Words of two letters that are words in capitals too; others may be symbols, as `CO` and `Co`.
const SHORT_WORDS: &str =
    "am an as at be by do go he if in is it me my no of on or pm so to up us we";

/// Dots that stand for what is left out.
const DOTS: &str = "\\dots";

/// Returns the text without what only changes its looks: the case of words, white space, text commands, braces that
/// group nothing, final punctuation.
///
/// The case of a symbol counts: of a unit, of a chemical element, of a letter that the text has in both cases.
pub(super) fn key(text: &str) -> String {
    let key = looks(text, Dialect::Own);
    if !key.contains('{') || key.len() > BYTES_MAX {
        return key;
    }
    let mut unbraced = String::with_capacity(key.len());
    append_unbraced(&key, &mut unbraced, 0);
    unbraced
}

/// As [`key`], with the braces.
pub(super) fn looks(text: &str, dialect: Dialect) -> String {
    let mut key = String::with_capacity(text.len());
    let signs = if dialect == Dialect::Own { signs(text) } else { Signs::default() };
    append_key(text, &mut key, 0, dialect, signs);
    loop {
        let ends_word =
            |rest: &str| rest.chars().rev().take(2).filter(|c| c.is_alphabetic()).count() == 2;
        // `5!` is a factorial, `red!` is not; `1, 2, ...` goes on, `red...` does not.
        let emphasis = key.strip_suffix('!').is_some_and(ends_word);
        if key.strip_suffix(DOTS).is_some_and(ends_word) {
            key.truncate(key.len() - DOTS.len());
            continue;
        }
        if !emphasis && !key.ends_with(['.', ',', ';', ':', '?', '。']) {
            break;
        }
        key.pop();
    }
    key
}

/// Appends a key without the braces that group nothing: `{{5}}`, `_{2}`, `x^{10}` at the end of a term.
fn append_unbraced(text: &str, key: &mut String, depth: usize) {
    let mut rest = text;
    while let Some(at) = rest.find(['{', '\\']) {
        key.push_str(&rest[..at]);
        let symbol = &rest[at..];
        if let Some(name) = symbol.strip_prefix('\\') {
            let letters = name.bytes().take_while(u8::is_ascii_alphabetic).count();
            // `\\{` is a sign and not a brace.
            let sign = if letters == 0 { name.chars().next().map_or(0, char::len_utf8) } else { 0 };
            let length = 1 + letters + sign;
            key.push_str(&symbol[..length]);
            rest = &symbol[length..];
            if rest.starts_with('{') && !SYMBOLS.contains(&&symbol[1..length]) {
                rest = append_arguments(rest, key, depth);
            }
            continue;
        }
        let Some(length) = matching_brace(&symbol[1..]).filter(|_| depth < DEPTH_MAX) else {
            key.push('{');
            rest = &symbol[1..];
            continue;
        };
        let mut inner = String::new();
        append_unbraced(&symbol[1..=length], &mut inner, depth + 1);
        rest = &symbol[length + 2..];
        let term = inner.strip_prefix('-').unwrap_or(&inner);
        let ends = !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '{' | '\\'));
        let is_single = inner.chars().count() == 1;
        let goes_on = inner.ends_with(|c: char| c.is_ascii_digit())
            && rest.starts_with(|c: char| c.is_ascii_digit());
        let is_term = ends && !term.is_empty() && term.chars().all(char::is_alphanumeric);
        let groups = match key.chars().next_back() {
            Some('_' | '^') => goes_on || !(is_single || is_term),
            // What is under a root of some degree.
            Some(']') => true,
            _ => goes_on,
        };
        if groups || inner.is_empty() {
            key.push('{');
            key.push_str(&inner);
            key.push('}');
        } else {
            key.push_str(&inner);
        }
    }
    key.push_str(rest);
}

/// Appends the arguments of a command, which keep their braces, and returns what follows.
fn append_arguments<'a>(text: &'a str, key: &mut String, depth: usize) -> &'a str {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix('{')
        && let Some(length) = matching_brace(inner).filter(|_| depth < DEPTH_MAX)
    {
        key.push('{');
        append_unbraced(&inner[..length], key, depth + 1);
        key.push('}');
        rest = &inner[length + 1..];
    }
    if let Some(inner) = rest.strip_prefix('{') {
        key.push('{');
        rest = inner;
    }
    rest
}

/// What the whole text says of its signs.
#[derive(Debug, Clone, Copy, Default)]
struct Signs {
    /// A bit for each letter that stands alone as a small one, and as a large one.
    small: u32,
    large: u32,
    /// True if each `$` is that of an amount.
    amounts: bool,
}

fn signs(text: &str) -> Signs {
    let mut signs = Signs { amounts: starts_amounts(text), ..Signs::default() };
    let bytes = text.as_bytes();
    let is_letter =
        |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphabetic);
    for (at, byte) in bytes.iter().enumerate() {
        if !byte.is_ascii_alphabetic() || is_letter(at.checked_sub(1)) || is_letter(Some(at + 1)) {
            continue;
        }
        let bit = 1 << (byte.to_ascii_lowercase() - b'a');
        if byte.is_ascii_lowercase() {
            signs.small |= bit;
        } else {
            signs.large |= bit;
        }
    }
    signs
}

/// Appends letters that stand together, in small ones unless the case of them counts.
fn append_word(word: &str, key: &mut String, signs: Signs) {
    let lower = word.to_ascii_lowercase();
    let is_both =
        |letter: u8| signs.small & signs.large & 1 << (letter.to_ascii_lowercase() - b'a') != 0;
    let keeps = match word.as_bytes() {
        [letter] => {
            let is_unit = key.ends_with(|c: char| c.is_ascii_digit()) && unit::is_cased(word);
            is_both(*letter) || is_unit
        }
        // `No` and `no`, but `CO` and `Co`.
        [first, second] => {
            is_both(*first)
                || is_both(*second)
                || second.is_ascii_uppercase() && !is_listed(&lower, SHORT_WORDS)
                || unit::is_cased(word)
        }
        _ => unit::is_cased(word),
    };
    key.push_str(if keeps { word } else { &lower });
}

fn append_key(text: &str, key: &mut String, depth: usize, dialect: Dialect, signs: Signs) {
    let own = dialect == Dialect::Own;
    let mut rest = text;
    while let Some(symbol) = rest.chars().next() {
        if symbol == '\\' {
            rest = append_command(&rest[1..], key, depth, dialect, signs);
            continue;
        }
        if own && symbol.is_ascii_alphabetic() {
            let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            append_word(&rest[..length], key, signs);
            rest = &rest[length..];
            continue;
        }
        rest = &rest[symbol.len_utf8()..];
        match symbol {
            '.' if own && rest.starts_with("..") => {
                key.push_str(DOTS);
                rest = rest.trim_start_matches('.');
            }
            '$' if signs.amounts => key.push('$'),
            '~' if own && parts_digits(key, rest) => key.push(' '),
            '$' | '*' | '`' | '"' | '“' | '”' | '~' => {
                // Between operands a star multiplies.
                if symbol == '*'
                    && key.ends_with(|c: char| c.is_alphanumeric())
                    && rest.starts_with(|c: char| c.is_alphanumeric())
                {
                    key.push('*');
                }
            }
            // The case of a Greek letter makes of it another symbol.
            'Α'..='Ω' if own => key.push(symbol),
            '’' | '‘' | '′' if own => key.push('\''),
            '’' | '‘' => key.push('\''),
            '−' | '–' => key.push('-'),
            _ if symbol.is_whitespace() => {
                if parts_digits(key, rest) {
                    key.push(' ');
                }
            }
            _ if symbol.is_ascii() => key.push(symbol.to_ascii_lowercase()),
            _ => key.extend(symbol.to_lowercase()),
        }
    }
}

/// Returns whether a space stands between two digits: `1 234` is no 1234.
fn parts_digits(key: &str, rest: &str) -> bool {
    key.ends_with(|c: char| c.is_ascii_digit())
        && rest.trim_start().starts_with(|c: char| c.is_ascii_digit())
}

/// Appends the command whose backslash stands before `text`, and returns what follows it.
fn append_command<'a>(
    text: &'a str,
    key: &mut String,
    depth: usize,
    dialect: Dialect,
    signs: Signs,
) -> &'a str {
    let own = dialect == Dialect::Own;
    let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, after) = text.split_at(length);
    match name {
        "left" | "right" | "displaystyle" | "quad" | "qquad" => {
            if own && name.ends_with("quad") && parts_digits(key, after) {
                key.push(' ');
            }
            return after;
        }
        "ldots" | "dots" | "cdots" | "dotsc" if own => {
            key.push_str(DOTS);
            return after;
        }
        _ if WRAPPERS.contains(&name) && (own || SHARED_WRAPPERS.contains(&name)) => {
            if let Some(inner) = after.trim_start().strip_prefix('{')
                && depth < DEPTH_MAX
                && let Some(length) = matching_brace(inner)
            {
                append_key(&inner[..length], key, depth + 1, dialect, signs);
                return &inner[length + 1..];
            }
        }
        "dfrac" | "tfrac" => {
            key.push_str("\\frac");
            return after;
        }
        "" if own && after.starts_with('\\') => {
            key.push_str("\\\\");
            return &after[1..];
        }
        "" if after.starts_with([',', ';', '!', ':', ' ', '(', ')', '[', ']', '$', '%']) => {
            if after.starts_with('%') || (own && after.starts_with('$')) {
                key.push_str(&after[..1]);
            }
            return &after[1..];
        }
        _ => {}
    }
    key.push('\\');
    key.push_str(name);
    after
}
