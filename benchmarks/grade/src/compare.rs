//! When two answers say the same.
//!
//! This module does not know where an answer stood or which options a question has. Comparing is by exact numbers or by
//! text, never by running what the text says; what is decided about forms stands in `form.rs`.

use crate::expression::Expression;
use crate::form::{Equation, Form, Join, Quantity, form};
use crate::key::key;
use crate::scalar::Scalar;
use crate::token::Dialect;

/// A decimal with so many digits after the point may be a rounded 1/3 or π.
///
/// Fewer digits are too few: 0.33 and 1/3 differ by one percent, and where a benchmark wants that it
/// names a precision.
const ROUNDED_DECIMALS_MIN: u32 = 4;

/// Lists within lists within lists: no answer key goes deeper.
const DEPTH_MAX: usize = 6;

/// Longer lists are compared in order, so that sets take bounded time.
const SET_MAX: usize = 24;

/// Returns whether two answers say the same; `precision` is the number of decimals that the benchmark asks for.
pub(super) fn equivalent(gold: &str, answer: &str, precision: Option<u32>) -> bool {
    let (gold, answer) = (gold.trim(), answer.trim());
    if gold == answer {
        return !gold.is_empty();
    }
    if let (Some(a), Some(b)) = (small_integer(gold), small_integer(answer)) {
        return a == b;
    }
    let (gold_key, answer_key) = (key(gold), key(answer));
    if gold_key == answer_key {
        return !gold_key.is_empty();
    }
    match (form(gold, Dialect::Own), form(answer, Dialect::Own)) {
        (Some(gold), Some(answer)) => same(&gold, &answer, precision, 0),
        _ => false,
    }
}

/// Reads an integer of at most 18 digits and nothing else: most answers are one.
fn small_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_integer.then(|| text.parse().ok())?
}

fn same(gold: &Form, answer: &Form, precision: Option<u32>, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let same = |gold: &Form, answer: &Form| same(gold, answer, precision, depth + 1);
    match (gold, answer) {
        (Form::Quantity(gold), Form::Quantity(answer)) => same_quantity(gold, answer, precision),
        (Form::List { joins: a, .. }, Form::List { joins: b, .. }) => {
            same_lists((gold, a), (answer, b), same)
        }
        (
            Form::List { open, close, items: a, .. },
            Form::Inequality { open: other_open, close: other_close, items: b },
        )
        | (
            Form::Inequality { open, close, items: a },
            Form::List { open: other_open, close: other_close, items: b, .. }
            | Form::Inequality { open: other_open, close: other_close, items: b },
        ) => open == other_open && close == other_close && in_order(a, b, same),
        (Form::Signs { minus_first, items: a }, Form::Signs { minus_first: other, items: b }) => {
            if minus_first == other {
                as_sets(a, b, same)
            } else {
                in_order(a, b, same)
            }
        }
        (Form::Signs { items: a, .. }, Form::List { open, close, items: b, .. })
        | (Form::List { open, close, items: a, .. }, Form::Signs { items: b, .. }) => {
            let unordered = matches!((*open, *close), (0, 0) | (b's' | b'{', b's' | b'{'));
            unordered && as_bags(a, b, same)
        }
        (Form::Member(a), Form::Member(b)) => same(a, b),
        (Form::Member(set), Form::Assigned { name, values, .. })
        | (Form::Assigned { name, values, .. }, Form::Member(set)) => {
            let lists = !matches!(**set, Form::Quantity(_) | Form::Words(_));
            (lists || name.is_empty()) && values.iter().any(|value| same(set, value))
        }
        (Form::Member(set), other) => same(set, other),
        (other, Form::Member(set)) => same(other, set),
        (Form::Union(a), Form::Union(b)) => as_sets(a, b, same),
        (Form::Matrix(a), Form::Matrix(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| in_order(a, b, same))
        }
        (Form::Matrix(rows), Form::List { open: open @ (0 | b'(' | b'['), close, items, .. })
            if open == close =>
        {
            entries(rows).is_some_and(|entries| in_order(&entries, items, same))
        }
        (Form::List { open: open @ (0 | b'(' | b'['), close, items, .. }, Form::Matrix(rows))
            if open == close =>
        {
            entries(rows).is_some_and(|entries| in_order(items, &entries, same))
        }
        (
            Form::Assigned { name, equation, values },
            Form::Assigned { name: other_name, equation: other_equation, values: other_values },
        ) => {
            if let (Some(a), Some(b)) = (equation, other_equation)
                && same_equation(a, b)
            {
                return true;
            }
            // `x = 1` is not `y = 1`, but `area = 1` may well be `A = 1`.
            !symbols_differ(name, other_name)
                && values.iter().any(|a| other_values.iter().any(|b| same(a, b)))
        }
        (Form::Equation(a), Form::Equation(b))
        | (Form::Equation(a), Form::Assigned { equation: Some(b), .. })
        | (Form::Assigned { equation: Some(a), .. }, Form::Equation(b)) => same_equation(a, b),
        (Form::Assigned { values, .. }, other) => values.iter().any(|value| same(value, other)),
        (other, Form::Assigned { values, .. }) => values.iter().any(|value| same(other, value)),
        (Form::Words(a), Form::Words(b)) => !a.is_empty() && a == b,
        _ => false,
    }
}

/// Returns whether two lists say the same; both forms are lists, with what joins their items.
fn same_lists(
    (gold, joins): (&Form, &[Join]),
    (answer, other_joins): (&Form, &[Join]),
    same: impl Fn(&Form, &Form) -> bool,
) -> bool {
    let (
        Form::List { open, close, items: a, .. },
        Form::List { open: other_open, close: other_close, items: b, .. },
    ) = (gold, answer)
    else {
        return false;
    };
    let all_words = a.iter().chain(b).all(is_words);
    if contradict(joins, other_joins, all_words) {
        return false;
    }
    let braces = |bracket: u8| matches!(bracket, b's' | b'{');
    let is_bare = |open: u8, close: u8| open == 0 && close == 0;
    let is_set = |open: u8, close: u8| braces(open) && braces(close);
    let bare = (is_bare(*open, *close), is_bare(*other_open, *other_close));
    let set = (is_set(*open, *close), is_set(*other_open, *other_close));
    if (bare.0 || set.0) && (bare.1 || set.1) {
        // Names and words may be a ranking, so their order counts.
        return match (bare, set) {
            ((true, true), _) if all_words => in_order(a, b, same),
            (_, (true, true)) => as_sets(a, b, same),
            _ => as_bags(a, b, same),
        };
    }
    // A list without brackets may be the tuple that the other side is, but not an interval.
    let one_bare = (bare.0 && other_open == other_close) || (bare.1 && open == close);
    let alike = open == other_open && close == other_close;
    let is_tuple = |set: bool, open: u8, close: u8| !set && open == close;
    let tuples =
        a.len() > 2 && is_tuple(set.0, *open, *close) && is_tuple(set.1, *other_open, *other_close);
    (one_bare || alike || tuples) && in_order(a, b, same)
}

/// Returns whether a form is text or the name of something.
fn is_words(form: &Form) -> bool {
    match form {
        Form::Words(_) => true,
        Form::Quantity(quantity) => quantity.full.as_ref().is_some_and(Expression::is_variable),
        _ => false,
    }
}

/// Returns whether what joins the items of two lists cannot mean the same; of `words` it is meant as it is written.
fn contradict(a: &[Join], b: &[Join], words: bool) -> bool {
    let meaning = |joins: &[Join]| {
        let ors: Vec<bool> = joins.iter().map(|join| join.is_or()).collect();
        // One word for all.
        match ors.first() {
            Some(first) if ors.iter().all(|or| or == first) => vec![*first],
            _ => ors,
        }
    };
    let strict = words || a.iter().chain(b).any(|join| join.is_sign());
    let (a, b) = (meaning(a), meaning(b));
    // A comma is either, but between words it is no "or".
    let differ =
        if a.is_empty() || b.is_empty() { words && (a == [true] || b == [true]) } else { a != b };
    strict && differ
}

/// Returns whether both sides of an equation's sign are symbols, and others: `x` and `y`, `f(x)` and `g(x)`, `y` and `y'`.
fn symbols_differ(a: &str, b: &str) -> bool {
    // The letter with its index and marks, and the arguments of a function.
    let parts = |name: &str| {
        let (symbol, arguments) = name.split_at(name.find('(').unwrap_or(name.len()));
        (symbol.to_owned(), !arguments.is_empty())
    };
    let is_symbol = |symbol: &str| {
        let mut signs = symbol.trim_start_matches('\\').chars();
        let starts = signs.next().is_some_and(char::is_alphabetic);
        let greek = symbol.starts_with('\\');
        starts && (greek || signs.next().is_none_or(|next| matches!(next, '_' | '\'')))
    };
    let ((a, a_is_function), (b, b_is_function)) = (parts(a), parts(b));
    if !is_symbol(&a) || !is_symbol(&b) {
        return false;
    }
    let marks = |symbol: &str| symbol.matches('\'').count();
    // `y = 2x` may be written `f(x) = 2x`.
    marks(&a) != marks(&b) || (a_is_function == b_is_function && a != b)
}

/// Returns the entries of a column or a row.
fn entries(rows: &[Vec<Form>]) -> Option<Vec<Form>> {
    (rows.len() == 1 || rows.iter().all(|row| row.len() == 1)).then(|| rows.concat())
}

pub(super) fn same_equation(a: &Equation, b: &Equation) -> bool {
    Expression::same_equation((&a.0, &a.1), (&b.0, &b.1))
}

pub(super) fn in_order(a: &[Form], b: &[Form], same: impl Fn(&Form, &Form) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

/// Returns whether each item of one is in the other.
pub(super) fn as_sets(a: &[Form], b: &[Form], same: impl Fn(&Form, &Form) -> bool) -> bool {
    if a.len().max(b.len()) > SET_MAX {
        return in_order(a, b, same);
    }
    a.iter().all(|a| b.iter().any(|b| same(a, b))) && b.iter().all(|b| a.iter().any(|a| same(a, b)))
}

/// Returns whether the items of one are those of the other, each as often.
fn as_bags(a: &[Form], b: &[Form], same: impl Fn(&Form, &Form) -> bool) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() > SET_MAX {
        return in_order(a, b, same);
    }
    let mut left: Vec<&Form> = b.iter().collect();
    a.iter().all(|a| {
        let place = left.iter().position(|b| same(a, b));
        place.map(|place| left.swap_remove(place)).is_some()
    })
}

fn same_quantity(gold: &Quantity, answer: &Quantity, precision: Option<u32>) -> bool {
    if let (Some(a), Some(b)) = (&gold.full, &answer.full)
        && same_expression(a, b, precision)
        && gold.currency.agrees(&answer.currency)
    {
        return true;
    }
    if gold.bare.is_none() && answer.bare.is_none() {
        return false;
    }
    let number = |quantity: &'_ Quantity| quantity.bare.clone().or_else(|| quantity.full.clone());
    match (number(gold), number(answer)) {
        (Some(a), Some(b)) => {
            gold.unit.agrees(&answer.unit)
                && !is_share(gold, answer)
                && !is_share(answer, gold)
                && same_expression(&a, &b, precision)
        }
        _ => false,
    }
}

/// Returns whether a number has no unit and is below 1, so that it is a share and not percent, where the other is percent.
fn is_share(number: &Quantity, percent: &Quantity) -> bool {
    let value = number.full.as_ref().and_then(Expression::value).map(Scalar::to_f64);
    percent.unit.is_percent()
        && number.unit.is_none()
        && value.is_some_and(|value| value.abs() < 1.0)
}

fn same_expression(gold: &Expression, answer: &Expression, precision: Option<u32>) -> bool {
    if gold.same(answer) {
        return true;
    }
    let (Some(a), Some(b)) = (gold.value(), answer.value()) else { return false };
    if let Some(decimals) = precision {
        return a.same_at(b, decimals);
    }
    let rounds = |decimals: Option<u32>, other: Option<u32>| {
        decimals.is_some_and(|decimals| {
            decimals >= ROUNDED_DECIMALS_MIN
                && other.is_none_or(|other| other > decimals)
                && a.same_at(b, decimals)
        })
    };
    rounds(gold.decimals(), answer.decimals()) || rounds(answer.decimals(), gold.decimals())
}
