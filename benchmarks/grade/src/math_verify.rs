//! Math-Verify 0.9.0 with its defaults: `math-verify`.
//!
//! This module does not know options as such: of a question that has some, the letters are strings to look for.
//! Read in the packages math-verify 0.9.0 (`parser.py`, `grader.py`) and latex2sympy2_extended 1.11.0
//! (`math_normalization.py`).
//!
//! The rules that are here: matches are tried by the rank of their pattern and then from the end; what
//! the first of them says is parsed, and kept as text besides; the answer is right if the expressions
//! are equal or the texts are the same. Equality is not symmetric: an inequality is an interval if the
//! answer key is the inequality, and `x = 5` is 5 whichever side says it.
//!
//! What is not: matrices, complex numbers, integrals, solving of equations beyond multiples of each
//! other, and the pattern "final answer is … I hope".
//!
//! Decisions:
//! - The answer key is parsed as `\boxed{key}`, the letter of an option as it is.
//! - Patterns: `boxed_match_priority` 50, the default; `StringExtractionConfig` with the letters of the
//!   options if there are any, behind the two default patterns.
//! - Where the peer takes a word for a product of letters, here it is a name; anagrams differ.

use crate::answer::Judgement;
use crate::compare::{as_sets, in_order, same_equation};
use crate::expression::Expression;
use crate::form::{Form, Quantity, form};
use crate::hendrycks;
use crate::python;
use crate::scalar::Scalar;
use crate::token::{Dialect, matching_brace};
use crate::{Target, tail};

/// Numbers are equal if they round to the same so many decimals; only where one is a decimal.
const ROUNDING: usize = 6;
/// How far after "answer" an answer may start, and how far if an equals sign is before it.
const ANSWER_GAP: usize = 50;
const EQUALS_GAP: usize = 100;
/// So many formulas in a row, with "and" between them, are one set.
const GROUP_MAX: usize = 6;
/// A formula longer than this is not looked for: finding where each ends would take quadratic time.
const FORMULA_MAX: usize = 1000;
/// A longer response is read from its end, up to this many bytes, for the same reason.
const RESPONSE_MAX: usize = 1 << 14;
/// Boxes further apart than this are no list.
const BOX_GAP_MAX: usize = 70;
/// More matches of one rank are not tried: none of them parsed.
const MATCHES_MAX: usize = 64;
const CURRENCIES: &str = "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿";
/// Words that are dropped after a number, longest first where one starts with another.
const UNITS: &str = "degree feet foot ft mph kmph deg mile digit pound meal edge student multiple east west ratio gm lb tile \
    dm way men women soldier pie inches inch cent gallon gal acre mark toy coin profit yr hr rounds rupee \
    ohm number day hour minute min second sec man woman unit kg month km cm mm apple liter litre yard year \
    metre meter square point cube m g s h l d c t";

/// One thing that a text may say: read as mathematics, if that was possible, and as it stands.
struct Found {
    form: Option<Form>,
    text: String,
}

pub(super) fn judge(target: &Target<'_>, response: &str) -> Judgement {
    let letters = target.choices.len().min(26);
    let found = parse(tail(response, RESPONSE_MAX), letters);
    let gold = target.gold.trim();
    let is_option =
        matches!(gold.as_bytes(), [letter @ b'A'..=b'Z'] if usize::from(letter - b'A') < letters);
    let gold = if is_option { parse(gold, letters) } else { boxed_gold(gold) };
    let Some((form, text)) = found else { return Judgement::unparsed() };
    let right = gold.is_some_and(|(gold_form, gold_text)| {
        let expressions = gold_form.zip(form).is_some_and(|(gold, form)| same(&gold, &form, 0));
        expressions || (!gold_text.trim().is_empty() && gold_text.trim() == text.trim())
    });
    Judgement::of(right, text)
}

fn boxed_gold(gold: &str) -> Option<(Option<Form>, String)> {
    let text = normalize(gold);
    (!text.is_empty()).then(|| (read(&text), text.clone()))
}

/// A place in the text that a pattern matches.
#[derive(Debug, Clone)]
enum Match {
    Latex(Vec<(String, bool)>),
    Boxed(String),
    Plain(String),
    Number(String, bool),
    Letter(char),
}

/// Does what the peer's `parse` does: the first match that can be read, and the text of the first match.
fn parse(text: &str, letters: usize) -> Option<(Option<Form>, String)> {
    let mut fallback: Option<String> = None;
    for rank in [Rank::Final, Rank::Colon, Rank::Answer, Rank::Start, Rank::Anywhere] {
        let mut matches = matches(text, rank, letters);
        matches.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        for (_, _, found) in matches.into_iter().take(MATCHES_MAX) {
            let found = extract(&found);
            if fallback.is_none() && !found.text.is_empty() {
                fallback = Some(found.text);
            }
            if found.form.is_some() {
                return Some((found.form, fallback.unwrap_or_default()));
            }
        }
    }
    fallback.map(|text| (None, text))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    /// A box, or "final answer … is".
    Final,
    /// "answer:"
    Colon,
    /// "answer"
    Answer,
    /// A letter at the very start.
    Start,
    Anywhere,
}

type Matches = Vec<(usize, usize, Match)>;
/// What starts at a place: where, where it ends, and what it is.
type Scan<'a> = dyn Fn(usize) -> Option<(usize, usize, Match)> + 'a;

fn matches(text: &str, rank: Rank, letters: usize) -> Matches {
    let mut found = Matches::new();
    match rank {
        Rank::Final => {
            found.extend(boxed(text));
            after(text, "final answer", EQUALS_GAP, &mut found, letters, Gap::Is);
        }
        Rank::Colon => after(text, "answer", ANSWER_GAP, &mut found, letters, Gap::Colon),
        Rank::Answer => after(text, "answer", ANSWER_GAP, &mut found, letters, Gap::Any),
        Rank::Start => {
            if letters > 0 {
                found.extend(letter(text, 0, letters, true));
            }
        }
        Rank::Anywhere => {
            let scans: [&Scan<'_>; 4] = [
                &|at| latex(text, at),
                &|at| plain(text, at, true),
                &|at| plain(text, at, false),
                &|at| (letters > 0).then(|| letter(text, at, letters, false))?,
            ];
            for scan in scans {
                let mut at = 0;
                while at <= text.len() {
                    match scan(at) {
                        Some((start, end, what)) => {
                            found.push((start, end, what));
                            at = end.max(at + 1);
                        }
                        None => at += 1,
                    }
                    while at < text.len() && !text.is_char_boundary(at) {
                        at += 1;
                    }
                }
            }
        }
    }
    found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Is,
    Colon,
    Any,
}

/// The first match within reach of each occurrence of a phrase, for each kind of pattern.
fn after(text: &str, phrase: &str, reach: usize, found: &mut Matches, letters: usize, gap: Gap) {
    let lower = text.to_ascii_lowercase();
    for kind in 0..3 {
        let mut from = 0;
        while let Some(at) = lower[from..].find(phrase).map(|at| from + at) {
            let mut start = at + phrase.len();
            from = start;
            if gap == Gap::Colon {
                if !lower[start..].starts_with(':') {
                    continue;
                }
                start += 1;
            }
            let one = |place: usize| match kind {
                0 => latex(text, place),
                1 => plain(text, place, true).or_else(|| plain(text, place, false)),
                _ => (letters > 0).then(|| letter(text, place, letters, false))?,
            };
            let mut hit = None;
            // An expression after the last equals sign goes before a nearer one.
            if kind == 1 && gap != Gap::Is {
                let line = text[start..].find('\n').map_or(text.len(), |end| start + end);
                let end = text.floor_char_boundary(line.min(start + EQUALS_GAP + 1));
                for (equals, _) in text[start..end].rmatch_indices('=') {
                    let after = start + equals + 1;
                    let space = text[after..].len() - text[after..].trim_start().len();
                    if space > 0
                        && let Some(found) = one(after + space - 1).filter(|f| free(text, f.1))
                    {
                        hit = Some(found);
                        break;
                    }
                }
            }
            let mut place = start;
            while hit.is_none() && place <= text.len() && place <= start + reach {
                if text.is_char_boundary(place) {
                    let target = if gap == Gap::Is { is(text, place) } else { Some(place) };
                    hit = target
                        .and_then(|target| {
                            // A formula may have spaces before it, an expression needs one.
                            let space = text[target..].len() - text[target..].trim_start().len();
                            let skip = if gap == Gap::Is && kind == 0 { space } else { 0 };
                            one(target + skip)
                        })
                        .filter(|found| kind != 1 || gap == Gap::Is || free(text, found.1));
                    // Only a formula may be on another line.
                    if kind != 0 && text[place..].starts_with('\n') {
                        break;
                    }
                }
                place += 1;
            }
            if let Some((_, end, what)) = hit {
                found.push((at, end, what));
                from = end.max(from);
            }
        }
    }
}

/// Returns whether no equals sign follows.
fn free(text: &str, at: usize) -> bool {
    !text[at..].trim_start().starts_with('=')
}

/// Returns where "is" and a colon end that start, after white space, at a place.
fn is(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let trimmed = rest.trim_start();
    let space = rest.len() - trimmed.len();
    let after = trimmed.strip_prefix("is").filter(|_| space > 0)?;
    let colon = usize::from(after.starts_with(':'));
    Some(at + space + 2 + colon)
}

/// Reads from the first box to the last brace: what is in the last box is found later.
fn boxed(text: &str) -> Option<(usize, usize, Match)> {
    let start = text.find("\\boxed{")?;
    let end = text.rfind('}').filter(|end| *end > start + 7)? + 1;
    Some((start, end, Match::Boxed(text[start..end].to_owned())))
}

/// Reads the formulas at a place, joined by "and", "or" or a comma.
fn latex(text: &str, at: usize) -> Option<(usize, usize, Match)> {
    let (mut end, first) = environment(text, at)?;
    let mut group = vec![first];
    while group.len() < GROUP_MAX {
        let rest = &text[end..];
        let trimmed = rest.trim_start();
        let joined =
            [",and", ",or", "and", "or", ","].iter().find_map(|word| trimmed.strip_prefix(word));
        let Some(joined) = joined else { break };
        let place = text.len() - joined.trim_start().len();
        let Some((next, formula)) = environment(text, place) else { break };
        group.push(formula);
        end = next;
    }
    Some((at, end, Match::Latex(group)))
}

/// Returns the formula that starts at a place, and whether it is a percentage.
fn environment(text: &str, at: usize) -> Option<(usize, (String, bool))> {
    let rest = text.get(at..)?;
    let before = text[..at].bytes().next_back();
    let escaped = before == Some(b'\\');
    let closed = |open: usize, close: &str, same_line: bool| {
        let inner = head(&rest[open..], FORMULA_MAX);
        let mut from = inner.chars().next()?.len_utf8();
        while let Some(found) = inner.get(from..)?.find(close).map(|found| from + found) {
            if !inner[..found].ends_with('\\') || close.starts_with('\\') {
                let content = &inner[..found];
                return (!same_line || !content.contains('\n'))
                    .then(|| (at + open + found + close.len(), content.to_owned()));
            }
            from = found + close.len();
        }
        None
    };
    let found = if rest.starts_with("$$") && !escaped {
        closed(2, "$$", false)
    } else if rest.starts_with("\\[") && !escaped {
        closed(2, "\\]", false)
    } else if rest.starts_with('$') && !escaped && !before.is_some_and(|b| b.is_ascii_digit()) {
        closed(1, "$", true)
    } else if rest.starts_with("\\(") && !escaped {
        closed(2, "\\)", true)
    } else if rest.starts_with([' ', '\n', '\t']) && rest[1..].starts_with('[') {
        closed(2, "]", true).and_then(|(end, content)| {
            let spaced = text[end..].starts_with([' ', '\n', '\t']) && !content.contains('[');
            spaced.then_some((end + 1, content))
        })
    } else {
        fraction(rest).map(|length| (at + length, rest[..length].to_owned()))
    };
    let (end, content) = found?;
    let after = text[end..].trim_start();
    let percent = ["\\%", "%", "percentage", "Percentage", "percent", "Percent", "pct", "Pct"];
    let percent = percent.iter().find(|word| after.starts_with(**word));
    let space = text[end..].len() - after.len();
    Some((end + space + percent.map_or(0, |word| word.len()), (content, percent.is_some())))
}

/// Returns the first bytes of a text, whole characters only.
fn head(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Returns the length of `-?\frac{number}{number}`.
fn fraction(text: &str) -> Option<usize> {
    let body = text.strip_prefix('-').unwrap_or(text);
    let mut rest = body.strip_prefix("\\frac")?;
    for _ in 0..2 {
        let inner = rest.strip_prefix('{')?;
        let close = inner.find('}')?;
        python::float(&inner[..close].replace(',', "."))?;
        rest = &inner[close + 1..];
    }
    Some(text.len() - rest.len())
}

fn byte(text: &str, at: usize) -> u8 {
    text.as_bytes().get(at).copied().unwrap_or(0)
}

fn digits(text: &str, at: usize) -> usize {
    text.as_bytes()[at.min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Returns where what follows a prefix starts: the start of the text, white space or an equals sign.
fn prefixed(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let after = match rest.chars().next() {
        Some(c) if c.is_whitespace() || c == '=' => at + c.len_utf8(),
        _ if at == 0 => 0,
        _ => return None,
    };
    Some(if text[after..].starts_with("**") { after + 2 } else { after })
}

/// Reads an expression with operators, or a number, at a place.
fn plain(text: &str, at: usize, operators: bool) -> Option<(usize, usize, Match)> {
    let start = prefixed(text, at)?;
    if operators {
        let end = operation(text, start)?;
        let suffix = if text[end..].starts_with("**") { end + 2 } else { end };
        let length = text[suffix..].chars().next().map_or(0, char::len_utf8);
        return Some((at, suffix + length, Match::Plain(text[start..end].to_owned())));
    }
    let symbol = text[start..].chars().next()?;
    let start = if CURRENCIES.contains(symbol) { start + symbol.len_utf8() } else { start };
    let (end, number) = number(text, start)?;
    let after = text[end..].trim_start();
    let percent = ["%", "percentage", "Percentage", "percent", "Percent", "pct", "Pct"]
        .iter()
        .find(|word| after.starts_with(**word));
    let space = text[end..].len() - after.len();
    let end = percent.map_or(end, |word| end + space + word.len());
    Some((at, end, Match::Number(number, percent.is_some())))
}

/// Returns the end of the longest expression that starts with a number and has an operator.
fn operation(text: &str, start: usize) -> Option<usize> {
    let mut first = start;
    first += usize::from(byte(text, first) == b'-');
    first += usize::from(byte(text, first) == b'(');
    first += usize::from(byte(text, first) == b'-');
    if !byte(text, first).is_ascii_digit() {
        return None;
    }
    let operator = |c: char| matches!(c, '+' | '-' | '*' | '×' | '/' | '^' | '(' | ')' | '÷');
    let run = text[first..]
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c.is_whitespace() || operator(c)))
        .map_or(text.len(), |length| first + length);
    let place = text[first + 1..run].find(operator)? + first + 1;
    let least = place + text[place..].chars().next().map_or(1, char::len_utf8);
    let mut end = run;
    while end > least {
        if text.is_char_boundary(end) {
            let rest = &text[end..];
            let rest = rest.strip_prefix("**").unwrap_or(rest);
            let suffix = rest.is_empty()
                || rest.starts_with(['.', ',', ':', ')', '$'])
                || rest.starts_with(char::is_whitespace);
            if suffix {
                return Some(end);
            }
        }
        end -= 1;
    }
    None
}

/// Returns the end of the number at a place, and the number as Python reads it.
fn number(text: &str, start: usize) -> Option<(usize, String)> {
    if start > 0 && byte(text, start - 1).is_ascii_digit() {
        return None;
    }
    let unsigned = start + usize::from(byte(text, start) == b'-');
    let whole = digits(text, unsigned);
    let mut end = unsigned + whole;
    if (1..=3).contains(&whole) && byte(text, unsigned) != b'0' {
        let mut grouped = end;
        while matches!(byte(text, grouped), b' ' | b',') && digits(text, grouped + 1) >= 3 {
            grouped += 4;
        }
        if grouped > end {
            let decimals = digits(text, grouped + 1);
            let point = byte(text, grouped) == b'.' && decimals > 0;
            let end = if point { grouped + 1 + decimals } else { grouped };
            return Some((end, text[start..end].replace([' ', ','], "")));
        }
    }
    let decimals = digits(text, end + 1);
    if matches!(byte(text, end), b'.' | b',')
        && decimals > 0
        && (whole > 0 || byte(text, end) == b'.')
    {
        end += 1 + decimals;
    } else if whole == 0 {
        return None;
    }
    let digits = text[start..end].replace(',', ".");
    Some((end, if whole == 0 { format!("0{digits}") } else { digits }))
}

/// Reads a letter of an option between white space or the like.
fn letter(
    text: &str,
    at: usize,
    letters: usize,
    start_only: bool,
) -> Option<(usize, usize, Match)> {
    let place = match text.get(at..)?.chars().next() {
        Some(c) if c.is_whitespace() && !start_only => at + c.len_utf8(),
        _ if at == 0 => 0,
        _ => return None,
    };
    let place = if text[place..].starts_with("**") { place + 2 } else { place };
    let symbol = byte(text, place);
    if !symbol.is_ascii_uppercase() || usize::from(symbol - b'A') >= letters {
        return None;
    }
    let end = place + 1;
    let rest = text[end..].strip_prefix("**").unwrap_or(&text[end..]);
    let next = rest.chars().next();
    let ends = next.is_none_or(|c| matches!(c, '.' | ',' | ':') || c.is_whitespace());
    let end = text.len() - rest.len() + next.map_or(0, char::len_utf8);
    ends.then_some((at, end, Match::Letter(char::from(symbol))))
}

fn extract(found: &Match) -> Found {
    match found {
        Match::Letter(letter) => {
            // A string, not an expression: only the same letter is the same.
            let form = Some(Form::Words(letter.to_ascii_lowercase().to_string()));
            Found { form, text: letter.to_string() }
        }
        Match::Number(number, percent) => {
            let text = if *percent { format!("{number}\\%") } else { number.clone() };
            let digits = number.trim_start_matches('0');
            let digits = if digits.is_empty() || digits.starts_with('.') {
                format!("0{digits}")
            } else {
                digits.to_owned()
            };
            Found { form: form(&text, Dialect::Peers), text: digits }
        }
        Match::Plain(text) => {
            Found { form: form(text, Dialect::Peers).filter(is_expression), text: text.clone() }
        }
        Match::Boxed(segment) => {
            let text = normalize(&last_box(segment));
            Found { form: read(&text), text }
        }
        Match::Latex(group) => {
            let texts: Vec<String> = group
                .iter()
                .map(|(content, percent)| {
                    let content = if content.contains("\\boxed") {
                        last_box(content)
                    } else {
                        content.clone()
                    };
                    let text = normalize(&content);
                    if *percent { format!("{text}\\%") } else { text }
                })
                .collect();
            if texts.len() > 1 && texts.iter().all(|text| read(text).is_some()) {
                return Found { form: read(&texts.join(",")), text: texts.join(" and ") };
            }
            let first = texts.into_iter().next().unwrap_or_default();
            Found { form: read(&first), text: first }
        }
    }
}

fn is_expression(form: &Form) -> bool {
    matches!(form, Form::Quantity(_))
}

/// Returns what is in the last box, joined with what is in boxes right before it.
fn last_box(text: &str) -> String {
    let mut found: Vec<&str> = Vec::new();
    let mut limit = text.len();
    while let Some(start) = text[..limit].rfind("\\boxed") {
        let after = text[start + "\\boxed".len()..].trim_start();
        let open = text.len() - after.len();
        let Some(inner) = after.strip_prefix('{') else {
            if found.is_empty() {
                found.push(after);
            }
            break;
        };
        let Some(length) = matching_brace(inner) else {
            if found.is_empty() {
                found.push(after);
            }
            break;
        };
        let close = open + 1 + length;
        if let Some(last) = found.last() {
            let between = text.get(close + 1..limit).unwrap_or("");
            let near = between.len() < 10;
            let separated = [",", ";", " and ", " or "].iter().any(|word| between.contains(word));
            let other = *last != inner[..length].trim();
            let listed = other && between.len() < BOX_GAP_MAX && separated;
            if !near && !listed {
                break;
            }
        }
        let content = inner[..length].trim();
        if found.last() != Some(&content) {
            found.push(content);
        }
        limit = start;
    }
    if found.is_empty() {
        return text.to_owned();
    }
    found.reverse();
    found.join(",")
}

/// Does what the peer's `normalize_latex` does as far as answers need it.
fn normalize(text: &str) -> String {
    let mut text = python::replace_each(
        text,
        &[
            (&["\\left", "\\right", "\\!", "\\$", "$", "\"", "'", "\\displaystyle"], ""),
            (&["\\mathrm", "\\mathbf", "\\mathit", "\\textbf", "\\textrm", "\\textit"], "\\text"),
            (&["\\dfrac", "\\tfrac", "\\cfrac"], "\\frac"),
            (&["{,}"], ","),
            (&["\\ "], " "),
            (&["percentage", "percent"], "\\%"),
            (&["\n", "\t"], " "),
            (&["\\\\"], "\\"),
        ],
    );
    text = joined(&text);
    text = without_units(text.trim());
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if text == "0.5" {
        "\\frac{1}{2}".clone_into(&mut text);
    }
    text = hendrycks::fix_roots(&text).unwrap_or(text);
    text = hendrycks::fix_fractions(&text).unwrap_or(text);
    hendrycks::fix_slash(&text).trim().to_owned()
}

/// "and" and "or" that stand alone become commas.
fn joined(text: &str) -> String {
    let mut text = text.to_owned();
    for word in ["and", "or"] {
        let mut from = 0;
        while let Some(at) = text[from..].find(word).map(|at| from + at) {
            let end = at + word.len();
            let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
            if letter(text[..at].chars().next_back()) || letter(text[end..].chars().next()) {
                from = end;
                continue;
            }
            let start = text[..at].trim_end_matches([' ', ',']).len();
            text.replace_range(start..end, " ,");
            from = start + 2;
        }
    }
    text
}

/// Returns the text without a `\text{…}` at the end, and without the words that follow a number.
fn without_units(text: &str) -> String {
    let mut text = text.to_owned();
    for power in ["^2", "^3", "^{2}", "^{3}", ""] {
        if let Some(rest) = text.strip_suffix(power)
            && rest.ends_with('}')
            && let Some(start) = rest.find("\\text").or_else(|| rest.find("\\mbox"))
            && !rest[..start].trim().is_empty()
        {
            text = rest[..start].trim().to_owned();
            break;
        }
    }
    for _ in 0..2 {
        let trimmed = text.trim_end();
        let cut = UNITS.split(' ').find_map(|unit| {
            ["", "s", "es"].iter().find_map(|plural| {
                let rest = trimmed.strip_suffix(plural)?.strip_suffix(unit)?;
                let follows =
                    rest.ends_with(|c: char| c.is_ascii_digit() || c == '}' || c.is_whitespace());
                (follows && !rest.trim().is_empty()).then(|| rest.trim_end().to_owned())
            })
        });
        match cut {
            Some(rest) => text = rest,
            None => break,
        }
    }
    text
}

/// Reads a normalised formula as a form; `None` where the peer's parser raises.
fn read(text: &str) -> Option<Form> {
    if text.is_empty() || matches!(text, "true" | "True" | "false" | "False") {
        return None;
    }
    let mut letters = String::with_capacity(text.len());
    let mut in_command = false;
    let mut symbols = text.chars().peekable();
    while let Some(symbol) = symbols.next() {
        match symbol {
            '\\' => in_command = true,
            // Words are products to the peer, so the space between two of them is nothing.
            ' ' if !in_command
                && letters.ends_with(|c: char| c.is_ascii_alphabetic())
                && symbols.peek().is_some_and(char::is_ascii_alphabetic) =>
            {
                continue;
            }
            _ if !symbol.is_ascii_alphabetic() => in_command = false,
            _ => {}
        }
        if in_command {
            letters.push(symbol);
        } else {
            letters.push(symbol.to_ascii_lowercase());
        }
        // A ratio is a quotient.
        if symbol == ':' {
            letters.pop();
            letters.push('/');
        }
    }
    // The degree sign means nothing to it.
    for degree in ["^{\\circ}", "^\\circ", "^{\\degree}", "\\degree", "°"] {
        letters = letters.replace(degree, "");
    }
    form(&letters, Dialect::Peers).filter(|form| !has_words(form, 0))
}

fn has_words(form: &Form, depth: usize) -> bool {
    match form {
        Form::Words(_) | Form::Matrix(_) => true,
        Form::List { items, .. }
        | Form::Inequality { items, .. }
        | Form::Signs { items, .. }
        | Form::Union(items) => depth > 8 || items.iter().any(|item| has_words(item, depth + 1)),
        Form::Assigned { values, .. } => values.iter().any(|value| has_words(value, depth + 1)),
        Form::Member(set) => has_words(set, depth + 1),
        Form::Quantity(_) | Form::Equation(_) => false,
    }
}

/// Does what the peer's `sympy_expr_eq` does: the answer key first.
fn same(gold: &Form, answer: &Form, depth: usize) -> bool {
    if depth > 8 {
        return false;
    }
    let same = |gold: &Form, answer: &Form| same(gold, answer, depth + 1);
    match (gold, answer) {
        (Form::Quantity(gold), Form::Quantity(answer)) => same_quantity(gold, answer),
        (
            Form::Assigned { equation: Some(a), .. } | Form::Equation(a),
            Form::Assigned { equation: Some(b), .. } | Form::Equation(b),
        ) => same_equation(a, b),
        (
            Form::Assigned { name: a, values: gold, .. },
            Form::Assigned { name: b, values: answer, .. },
        ) => {
            a == b
                && gold.last().zip(answer.last()).is_some_and(|(gold, answer)| same(gold, answer))
        }
        // The last value of a chain is the one that counts.
        (gold, Form::Assigned { values, .. }) => {
            values.last().is_some_and(|value| same(gold, value))
        }
        (Form::Assigned { values, .. }, answer) => {
            values.last().is_some_and(|value| same(value, answer))
        }
        // An interval is the inequality that the key is, but not the other way round.
        (
            Form::Inequality { open, close, items: a },
            Form::List { open: other_open, close: other_close, items: b, .. }
            | Form::Inequality { open: other_open, close: other_close, items: b },
        ) => open == other_open && close == other_close && in_order(a, b, same),
        (
            Form::List { open, close, items: a, .. },
            Form::List { open: other_open, close: other_close, items: b, .. },
        ) => {
            let set = |open: u8| matches!(open, 0 | b's' | b'{');
            let interval = |items: &[Form]| items.len() == 2 && increasing(items);
            match (set(*open), set(*other_open)) {
                (true, true) => as_sets(a, b, same),
                (false, false) if interval(a) && interval(b) => {
                    open == other_open && close == other_close && in_order(a, b, same)
                }
                (false, false) => in_order(a, b, same),
                (false, true) => {
                    !(interval(a) && (*open, *close) != (b'(', b'(')) && in_order(a, b, same)
                }
                (true, false) => {
                    !(interval(b) && (*other_open, *other_close) != (b'(', b'('))
                        && as_sets(a, b, same)
                }
            }
        }
        (Form::Union(a), Form::Union(b)) => as_sets(a, b, same),
        (Form::Words(a), Form::Words(b)) => a == b,
        _ => false,
    }
}

/// Two ends make an interval only if the first is the smaller one.
fn increasing(items: &[Form]) -> bool {
    let value = |form: &Form| match form {
        Form::Quantity(quantity) => {
            quantity.full.as_ref().and_then(Expression::value).map(Scalar::to_f64)
        }
        _ => None,
    };
    match (items.first().and_then(value), items.get(1).and_then(value)) {
        (Some(a), Some(b)) => a < b,
        _ => true,
    }
}

fn same_quantity(gold: &Quantity, answer: &Quantity) -> bool {
    let (Some(a), Some(b)) = (&gold.full, &answer.full) else { return false };
    let is_percent = |quantity: &Quantity| quantity.unit.is_percent();
    // `9%` is 9 where both are integers.
    if is_percent(gold) || is_percent(answer) {
        let number = |quantity: &Quantity| {
            let bare =
                if is_percent(quantity) { quantity.bare.as_ref() } else { quantity.full.as_ref() };
            bare.and_then(Expression::value).and_then(Scalar::as_integer)
        };
        let decimal = |quantity: &Quantity| {
            let bare =
                if is_percent(quantity) { quantity.bare.as_ref() } else { quantity.full.as_ref() };
            bare.and_then(Expression::decimals).is_some_and(|decimals| decimals > 0)
        };
        if !decimal(gold)
            && !decimal(answer)
            && let (Some(a), Some(b)) = (number(gold), number(answer))
        {
            return a == b;
        }
    }
    let decimal = |quantity: &Quantity| {
        [&quantity.full, &quantity.bare]
            .into_iter()
            .flatten()
            .filter_map(Expression::decimals)
            .any(|decimals| decimals > 0)
    };
    if (decimal(gold) || decimal(answer))
        && let (Some(a), Some(b)) = (a.value(), b.value())
    {
        let round = |value: Scalar| python::round(value.to_f64(), ROUNDING);
        return python::equal(round(a), round(b));
    }
    a.same(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Outcome;

    fn check(gold: &str, response: &str, expected: Outcome) {
        let target = Target { gold, ..Target::default() };
        assert_eq!(judge(&target, response).outcome, expected, "{gold} {response}");
    }

    #[test]
    fn equality_is_that_of_the_peer() {
        for (gold, answer, right) in [
            ("(1,2)", "1,2", true),
            ("2,1", "(1,2)", true),
            ("(1,2)", "2,1", false),
            ("x>3", r"(3,\infty)", true),
            (r"(3,\infty)", "x>3", false),
            (r"50\%", "50", true),
            (r"50\%", "0.5", true),
            ("1/3", "0.333333", true),
            ("0.3333", "1/3", false),
            ("5", "x=5", true),
            ("x=5", "5", true),
            ("2x+3y=6", "4x+6y=12", true),
            ("(1,2,3)", "[1,2,3]", true),
            ("5 cm", "5 m", true),
            (r"12.5\%", "12.5", false),
            (r"\sqrt{2}", "1.414214", true),
            ("3:4", r"\frac{3}{4}", true),
            ("red", "Red", true),
        ] {
            let outcome = if right { Outcome::Correct } else { Outcome::Wrong };
            check(gold, &format!("so \\boxed{{{answer}}}."), outcome);
        }
    }

    #[test]
    fn a_box_goes_before_phrases_and_phrases_before_the_last_number() {
        check("5", r"\boxed{5} and then 7", Outcome::Correct);
        check("5", "The answer is 5, not 7.", Outcome::Correct);
        check("7", "5 and then 7", Outcome::Correct);
        check("5", "nothing", Outcome::Unparsed);
    }
}
