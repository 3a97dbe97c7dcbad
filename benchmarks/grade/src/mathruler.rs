//! MathRuler 0.1.0: `mathruler`, the grader of `EasyR1` and of verl's geometry recipe.
//!
//! This module does not know options: a letter is text to it. Read in the package: `mathruler/grader.py` and
//! `math_normalize.py`, which follow the grader of PRM800K.
//!
//! The rules, in this order: the answer is what stands in the last `\boxed{…}`; it is right if it is
//! the answer key after either of two normalisations, or if the two are equal item by item, where a
//! fraction must be the same fraction and an integer the same integer.
//!
//! Decisions:
//! - Without a box, or if the last one is not closed, the peer compares the word "None": unparsed here.
//! - `simplify(a - b) == 0` stands behind the last rule; here both are evaluated, at points if they have
//!   variables.
//! - LaTeX becomes text by pylatexenc in the peer; here by the commands that answers use.

use std::sync::LazyLock;

use regex::Regex;

use crate::Target;
use crate::answer::Judgement;
use crate::expression::Expression;
use crate::hendrycks;
use crate::python;
use crate::token::{Dialect, matching_brace, tokens};

const BOXED: &str = "\\boxed{";
/// More letters than this, and nothing is evaluated.
const LETTERS_MAX: usize = 2;
/// A float this close to an integer is one.
const INTEGER_CLOSE: f64 = 1e-7;
const UNITS: &str =
    "degree cm centimeter meter mile second minute hour day week month year foot feet inch yard";
/// What pylatexenc makes of commands, and MathRuler of the result.
const COMMANDS: &str = "pi=pi infty=inf cup=U cdot=* times=* pm=± mp=∓ div=÷ leq=≤ le=≤ geq=≥ ge=≥ neq=≠ ne=≠ approx=≈ in=∈ \
    cap=∩ angle=∠ circ=∘ theta=θ alpha=α beta=β gamma=γ delta=δ lambda=λ mu=μ sigma=σ omega=ω phi=ϕ rho=ρ \
    Omega=Ω Delta=Δ triangle=△ sin=sin cos=cos tan=tan cot=cot log=log ln=ln exp=exp ldots=… dots=… to=→ \
    rightarrow=→";
/// Commands in commands: deeper ones are dropped.
const DEPTH_MAX: usize = 24;

static UNIT_PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    UNITS.split(' ').map(|unit| pattern(&format!(r"{unit}(es)?(s)? *(\^[0-9]+)?"))).collect()
});
static DEGREES: LazyLock<Regex> = LazyLock::new(|| pattern(r"\^ *\\circ"));
/// LaTeX's thousands separator.
static THIN_COMMA: LazyLock<Regex> = LazyLock::new(|| pattern(r",\\! *"));
static MINUS: LazyLock<Regex> = LazyLock::new(|| pattern("- *"));
/// A mixed number such as `7 3/4`, and any other pair of digits with spaces between them.
static MIXED: LazyLock<Regex> = LazyLock::new(|| pattern("([0-9]) +([0-9])"));
static FRACTION: LazyLock<Regex> = LazyLock::new(|| pattern("(?s)^-?[0-9]+[^/]?/0*[1-9][0-9]*.?$"));
static BAD_POWER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\^[0-9]+\^|\^[0-9][0-9]+"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is valid")
}

pub(super) fn judge(target: &Target<'_>, response: &str) -> Judgement {
    match extract(response) {
        None => Judgement::unparsed(),
        Some(answer) => Judgement::of(is_right(answer, target.gold), answer),
    }
}

/// Returns the content of the last box; `None` if that one is not closed, even if another is.
fn extract(response: &str) -> Option<&str> {
    let content = &response[response.rfind(BOXED)? + BOXED.len()..];
    Some(content[..matching_brace(content)?].trim())
}

fn is_right(answer: &str, gold: &str) -> bool {
    if normal_of_math(gold) == normal_of_math(answer) {
        return true;
    }
    let (gold, answer) = (normal(gold), normal(answer));
    if gold == answer {
        return true;
    }
    if answer.is_empty() {
        return false;
    }
    let (golds, answers) = (items(&gold), items(&answer));
    if golds.len() > 1
        && (gold.chars().next() != answer.chars().next()
            || gold.chars().next_back() != answer.chars().next_back())
    {
        return false;
    }
    golds.len() == answers.len()
        && !golds.is_empty()
        && golds.iter().zip(&answers).all(|(gold, answer)| {
            if FRACTION.is_match(gold) && FRACTION.is_match(answer) {
                gold == answer
            } else if is_integer(gold) != is_integer(answer) {
                false
            } else {
                same_value(gold, answer)
            }
        })
}

/// Does what the peer's `normalize_answer` does: what MATH's own grader compares.
fn normal_of_math(text: &str) -> String {
    let text = text.trim();
    let text = unwrap_text(text).map_or(text, str::trim);
    strip(text).unwrap_or_else(|| text.to_owned())
}

/// Returns the content of a `\text{…}` that is all there is; the last brace closes it, whatever is between.
fn unwrap_text(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("\\text{")?.strip_suffix('}')?;
    (!inner.is_empty() && !inner.contains('\n')).then_some(inner)
}

/// Does what the peer's `_strip_string` does, `None` where it raises.
fn strip(text: &str) -> Option<String> {
    let mut text = python::replace_each(
        text,
        &[
            (&["\n", "\\!"], ""),
            (&["\\\\"], "\\"),
            (&["tfrac", "dfrac"], "frac"),
            (&["\\left", "\\right", "^{\\circ}", "^\\circ", "\\$"], ""),
        ],
    );
    let mut parts = text.split("\\text{ ");
    let first = parts.next()?.to_owned();
    if parts.clone().count() > 1 {
        return None;
    }
    text = first.replace("\\%", "").replace('%', "").replace(" .", " 0.").replace("{.", "{0.");
    if text.is_empty() {
        return Some(text);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if let Some((name, value)) = text.split_once('=')
        && !value.contains('=')
        && name.chars().count() <= 2
    {
        text = value.to_owned();
    }
    text = hendrycks::fix_roots(&text)?.replace(' ', "");
    text = hendrycks::fix_fractions(&text)?;
    if text == "0.5" {
        text = "\\frac{1}{2}".to_owned();
    }
    Some(hendrycks::fix_slash(&text))
}

/// Does what the peer's `_normalize` does: what PRM800K's grader compares.
fn normal(text: &str) -> String {
    let mut text = python::replace_each(
        unwrap_text(text).unwrap_or(text),
        &[
            (&["\\%"], "%"),
            (&["\\$"], "$"),
            (&["$", "%"], ""),
            (&[" or ", " and "], " , "),
            (&["million"], "*10^6"),
            (&["billion"], "*10^9"),
            (&["trillion"], "*10^12"),
        ],
    );
    for unit in UNIT_PATTERNS.iter() {
        text = unit.replace_all(&text, "").into_owned();
    }
    text = DEGREES.replace_all(&text, "").into_owned();
    if text.starts_with('{') && text.ends_with('}') && text.len() > 1 {
        text = text[1..text.len() - 1].to_owned();
    }
    text = THIN_COMMA.replace_all(&text, "").into_owned();
    if let Some(value) = python::float(&text)
        && value.is_finite()
        && is_near_integer(value)
    {
        text = format!("{:.0}", value.round_ties_even());
        if text == "-0" {
            text = "0".to_owned();
        }
    }
    if text.contains('\\') {
        text = plain(&text).trim().to_owned();
    }
    let text = MINUS.replace_all(&text, "-");
    let text = MIXED.replace_all(&text, "$1+$2");
    let mut text = text.replace([' ', '{', '}'], "").to_lowercase();
    if is_integer(&text)
        && let Some(value) = python::float(&text.replace(',', ""))
    {
        text = format!("{:.0}", value.trunc());
        if text == "-0" {
            text = "0".to_owned();
        }
    }
    text
}

fn is_near_integer(value: f64) -> bool {
    (value - value.round_ties_even()).abs() <= INTEGER_CLOSE
}

/// Does what the peer's `_parse_latex` does: LaTeX as plain text.
fn plain(text: &str) -> String {
    let text = text.replace("\\tfrac", "\\frac").replace("\\dfrac", "\\frac");
    let mut out = String::with_capacity(text.len());
    append_plain(&text.replace("\\frac", " \\frac"), &mut out, 0);
    out.replace('√', "sqrt")
        .replace('π', "pi")
        .replace('∞', "inf")
        .replace('∪', "U")
        .replace(['·', '×'], "*")
}

fn append_plain(text: &str, out: &mut String, depth: usize) {
    let mut rest = text;
    while let Some(symbol) = rest.chars().next() {
        rest = &rest[symbol.len_utf8()..];
        match symbol {
            '\\' => rest = append_command(rest, out, depth),
            '{' | '}' => {}
            '~' => out.push(' '),
            '%' => rest = rest.find('\n').map_or("", |at| &rest[at..]),
            _ => out.push(symbol),
        }
    }
}

/// Writes what a command stands for; returns what follows it and its arguments.
fn append_command<'a>(text: &'a str, out: &mut String, depth: usize) -> &'a str {
    let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    if length == 0 {
        let Some(symbol) = text.chars().next() else { return text };
        match symbol {
            ',' | ';' | ':' | ' ' | '\n' => out.push(' '),
            '!' => {}
            _ => out.push(symbol),
        }
        return &text[symbol.len_utf8()..];
    }
    let (name, after) = text.split_at(length);
    // White space after a command's name belongs to it.
    let after = after.trim_start();
    let mut nested = |content: &str| {
        if depth < DEPTH_MAX {
            append_plain(content, out, depth + 1);
        }
    };
    match name {
        "frac" => {
            let (numerator, after) = argument(after);
            let (denominator, after) = argument(after);
            nested(numerator);
            out.push('/');
            if depth < DEPTH_MAX {
                append_plain(denominator, out, depth + 1);
            }
            after
        }
        "sqrt" => {
            // The degree of a root is lost on the way.
            let after = after
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
                .map_or(after, |(_, rest)| rest);
            let (content, after) = argument(after);
            out.push_str("√(");
            if depth < DEPTH_MAX {
                append_plain(content, out, depth + 1);
            }
            out.push(')');
            after
        }
        "text" | "mathrm" | "mathbf" | "textbf" | "mbox" | "operatorname" | "mathit" | "textit" => {
            let (content, after) = argument(after);
            nested(content);
            after
        }
        "left" | "right" => after,
        _ => {
            let mut commands = COMMANDS.split(' ').filter_map(|pair| pair.split_once('='));
            out.push_str(commands.find(|(command, _)| *command == name).map_or("", |pair| pair.1));
            after
        }
    }
}

/// A braced group or a single character or command, and what follows.
fn argument(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        return match matching_brace(inner) {
            Some(length) => (&inner[..length], &inner[length + 1..]),
            None => (inner, ""),
        };
    }
    if let Some(command) = text.strip_prefix('\\') {
        let length = command.bytes().take_while(u8::is_ascii_alphabetic).count();
        return text.split_at(1 + length);
    }
    let length = text.chars().next().map_or(0, char::len_utf8);
    text.split_at(length)
}

/// `(\d)(,)(\d\d\d)($|\D)` without the comma, until nothing changes.
fn without_commas(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    // From the right, so that each group sees the digits that remain after it.
    let mut drop = vec![false; bytes.len()];
    for at in (1..bytes.len()).rev() {
        let group = bytes[at] == b',' && digit(at - 1) && (1..=3).all(|place| digit(at + place));
        drop[at] = group && !digit(at + 4) && !drop.get(at + 4).copied().unwrap_or(false)
            || group && drop.get(at + 4).copied().unwrap_or(false);
    }
    text.char_indices().filter(|(at, _)| !drop[*at]).map(|(_, symbol)| symbol).collect()
}

/// Does what the peer's `split_tuple` does.
fn items(text: &str) -> Vec<String> {
    let text = without_commas(text);
    let bracket = |c: char| "()[]".contains(c);
    if text.is_empty() {
        return Vec::new();
    }
    if text.chars().count() > 2 && text.starts_with(bracket) && text.ends_with(bracket) {
        let inner = &text[1..text.len() - 1];
        if !inner.contains(bracket) {
            return inner.split(',').map(|item| item.trim().to_owned()).collect();
        }
    }
    vec![text]
}

/// Does what the peer's `_str_is_int` does.
fn is_integer(text: &str) -> bool {
    python::float(&without_commas(text))
        .is_some_and(|value| value.is_finite() && is_near_integer(value))
}

/// Does what the peer's `are_equal_under_sympy` does.
fn same_value(gold: &str, answer: &str) -> bool {
    let both = format!("({gold})-({answer})");
    let letters = both.replace("sqrt", "").replace("frac", "");
    let mut found: Vec<char> = letters.chars().filter(|c| c.is_alphabetic()).collect();
    found.sort_unstable();
    found.dedup();
    if found.len() > LETTERS_MAX
        || both.contains("^{")
        || both.contains("^(")
        || BAD_POWER.is_match(&both)
    {
        return false;
    }
    // A comma makes a tuple of it, and tuples have no difference.
    let parse = |text: &str| {
        if text.contains(',') {
            return None;
        }
        Expression::parse(text, &tokens(text, Dialect::Peers)?, Dialect::Peers)
    };
    match (parse(gold), parse(answer)) {
        (Some(gold), Some(answer)) => gold.same(&answer),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_are_right() {
        for (answer, gold) in [
            ("5", "5"),
            ("5.0", "5"),
            ("\\frac{1}{2}", "0.5"),
            ("1/2", "\\frac12"),
            ("12 cm", "12"),
            ("30^\\circ", "30"),
            ("1,234", "1234"),
            ("2\\sqrt{3}", "\\sqrt{12}"),
            ("(1, 2)", "(1,2)"),
            ("x=5", "5"),
            ("50\\%", "50"),
            ("\\text{B}", "B"),
        ] {
            assert!(is_right(answer, gold), "{answer} {gold}");
        }
    }

    #[test]
    fn other_answers_and_unreduced_fractions_are_wrong() {
        for (answer, gold) in [
            ("6", "5"),
            ("2/4", "1/2"),
            ("(1,2)", "[1,2]"),
            ("10/2", "5"),
            ("x^{12}", "x^{6}x^{6}"),
            ("", "0"),
        ] {
            assert!(!is_right(answer, gold), "{answer} {gold}");
        }
        assert_eq!(extract(r"\boxed{1} \boxed{2"), None);
    }
}
