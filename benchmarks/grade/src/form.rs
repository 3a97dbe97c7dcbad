//! What an answer says: a quantity, a list, an interval, an equation or words; and when two say the same.
//!
//! This module does not know where an answer stood or which options a question has.
//! `Form` is built from text once; comparing is by exact fractions, by doubles, or by text, never by
//! running what the text says.
//!
//! Decisions:
//! - A list without brackets and one in braces are sets, one in round or square brackets has an order.
//! - A unit that only one side names is ignored; units are never converted.
//! - `50%` is 50 and it is 0.5: which of them a question wants, the answer key does not tell.
//! - A number with at least `ROUNDED_DECIMALS_MIN` decimals may be the rounding of the other side.

use crate::expression::Expression;
use crate::scalar::Scalar;
use crate::token::{Kind, Relation, Token, matching_brace, tokens};
use crate::unit::{self, Unit};

/// A decimal with so many digits after the point may be a rounded 1/3 or π.
///
/// Fewer digits are too few: 0.33 and 1/3 differ by one percent, and where a benchmark wants that it
/// names a precision.
const ROUNDED_DECIMALS_MIN: u32 = 4;

/// Lists within lists within lists: no answer key goes deeper.
const DEPTH_MAX: usize = 6;

/// Longer lists are compared in order, so that sets take bounded time.
const SET_MAX: usize = 24;

/// Numbers as words, by value.
const NUMBER_WORDS: &str = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
    seventeen eighteen nineteen twenty";

/// Words before a number that change nothing.
const HEDGES: [&str; 5] = ["approximately", "about", "around", "roughly", "exactly"];

/// What an answer says.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Quantity(Box<Quantity>),
    /// Items and the brackets around them, 0 where there are none.
    List {
        open: u8,
        close: u8,
        items: Vec<Form>,
    },
    /// An interval that was written as an inequality.
    Inequality {
        open: u8,
        close: u8,
        items: Vec<Form>,
    },
    Union(Vec<Form>),
    /// `x = 1`: what is on the left, the equation if both sides are expressions, and what it comes to.
    Assigned {
        name: String,
        equation: Option<Box<Equation>>,
        values: Vec<Form>,
    },
    Equation(Box<Equation>),
    Words(String),
}

pub(super) type Equation = (Expression, Expression);

/// An expression, and the expression without a unit where it has one.
#[derive(Debug, Clone)]
pub(super) struct Quantity {
    pub(super) full: Option<Expression>,
    pub(super) bare: Option<Expression>,
    pub(super) unit: Unit,
    /// What stands before the number, which `full` is without.
    currency: Unit,
}

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
    match (form(gold), form(answer)) {
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

/// Returns the text without what only changes its looks: case, white space, text commands, final punctuation.
pub(super) fn key(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    append_key(text, &mut key, 0);
    loop {
        // `5!` is a factorial, `red!` is not.
        let emphasis = key.strip_suffix('!').is_some_and(|rest| {
            rest.chars().rev().take(2).filter(|c| c.is_alphabetic()).count() == 2
        });
        if !emphasis && !key.ends_with(['.', ',', ';', ':', '?', '。']) {
            break;
        }
        key.pop();
    }
    key
}

fn append_key(text: &str, key: &mut String, depth: usize) {
    let mut rest = text;
    while let Some(symbol) = rest.chars().next() {
        if symbol == '\\' {
            let length = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
            let (name, after) = rest[1..].split_at(length);
            match name {
                "left" | "right" | "displaystyle" | "quad" | "qquad" => {
                    rest = after;
                    continue;
                }
                "text" | "mathrm" | "textbf" | "mathbf" | "textit" | "mbox" | "operatorname"
                | "mathit" | "textrm" | "boldsymbol" => {
                    if let Some(inner) = after.trim_start().strip_prefix('{')
                        && depth < DEPTH_MAX
                        && let Some(length) = matching_brace(inner)
                    {
                        append_key(&inner[..length], key, depth + 1);
                        rest = &inner[length + 1..];
                        continue;
                    }
                }
                "dfrac" | "tfrac" => {
                    key.push_str("\\frac");
                    rest = after;
                    continue;
                }
                "" if after
                    .starts_with([',', ';', '!', ':', ' ', '(', ')', '[', ']', '$', '%']) =>
                {
                    if after.starts_with('%') {
                        key.push('%');
                    }
                    rest = &after[1..];
                    continue;
                }
                _ => {}
            }
            key.push('\\');
            key.push_str(name);
            rest = after;
            continue;
        }
        rest = &rest[symbol.len_utf8()..];
        match symbol {
            '$' | '*' | '`' | '"' | '“' | '”' | '~' => {
                // Between operands a star multiplies.
                if symbol == '*'
                    && key.ends_with(|c: char| c.is_alphanumeric())
                    && rest.starts_with(|c: char| c.is_alphanumeric())
                {
                    key.push('*');
                }
            }
            '’' | '‘' => key.push('\''),
            '−' | '–' => key.push('-'),
            // `1 234` is no 1234.
            _ if symbol.is_whitespace() => {
                if key.ends_with(|c: char| c.is_ascii_digit())
                    && rest.trim_start().starts_with(|c: char| c.is_ascii_digit())
                {
                    key.push(' ');
                }
            }
            _ if symbol.is_ascii() => key.push(symbol.to_ascii_lowercase()),
            _ => key.extend(symbol.to_lowercase()),
        }
    }
}

/// Returns what `text` says; `None` if it is too long or empty.
pub(super) fn form(text: &str) -> Option<Form> {
    let tokens = tokens(text)?;
    Some(Reader { text }.form(&tokens, 0))
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn of<'b>(&'b self, token: &Token) -> &'b str {
        &self.text[token.start..token.end]
    }

    fn is_word(&self, token: &Token, words: &[&str]) -> bool {
        matches!(token.kind, Kind::Word)
            && words.iter().any(|word| self.of(token).eq_ignore_ascii_case(word))
    }

    fn words(&self, tokens: &[Token]) -> Form {
        let range = tokens.first().zip(tokens.last());
        Form::Words(range.map_or(String::new(), |(a, b)| key(&self.text[a.start..b.end])))
    }

    fn form(&self, tokens: &[Token], depth: usize) -> Form {
        let tokens = self.trim(tokens);
        if depth > DEPTH_MAX || tokens.is_empty() {
            return self.words(tokens);
        }
        if let Some(parts) = self.split_list(tokens) {
            let items = parts.into_iter().map(|part| self.form(part, depth + 1)).collect();
            return Form::List { open: 0, close: 0, items };
        }
        if let Some(form) = self.bracketed(tokens, depth) {
            return form;
        }
        let unions = split(tokens, |token| matches!(token.kind, Kind::Union));
        if unions.len() > 1 {
            let parts = unions.into_iter().map(|part| self.form(part, depth + 1)).collect();
            return Form::Union(parts);
        }
        if let Some(form) = self.related(tokens, depth) {
            return form;
        }
        if let Some(items) = self.plus_minus(tokens, depth) {
            return Form::List { open: 0, close: 0, items };
        }
        self.quantity(tokens)
    }

    fn trim<'b>(&self, mut tokens: &'b [Token]) -> &'b [Token] {
        while let Some((last, rest)) = tokens.split_last() {
            let is_punctuation = match last.kind {
                Kind::Comma | Kind::Semicolon | Kind::Colon => true,
                Kind::Other => matches!(self.of(last), "." | "。" | "?"),
                _ => false,
            };
            if !is_punctuation {
                break;
            }
            tokens = rest;
        }
        while let Some((first, rest)) = tokens.split_first()
            && (matches!(first.kind, Kind::Colon) || (self.is_word(first, &HEDGES)))
        {
            tokens = rest;
        }
        tokens
    }

    /// Returns the parts between commas and the like, if there are several.
    fn split_list<'b>(&self, tokens: &'b [Token]) -> Option<Vec<&'b [Token]>> {
        let mut parts = split(tokens, |token| {
            matches!(token.kind, Kind::Comma | Kind::Semicolon)
                || self.is_word(token, &["and", "or"])
        });
        parts.retain(|part| !part.is_empty());
        (parts.len() > 1).then_some(parts)
    }

    /// Reads what stands in brackets from its first to its last token.
    fn bracketed(&self, tokens: &[Token], depth: usize) -> Option<Form> {
        let (first, rest) = tokens.split_first()?;
        let (last, inner) = rest.split_last()?;
        let (Kind::Open(open), Kind::Close(close)) = (first.kind, last.kind) else { return None };
        // The first bracket must not close before the last.
        let mut level = 0usize;
        for token in inner {
            match token.kind {
                Kind::Open(_) => level += 1,
                Kind::Close(_) => level = level.checked_sub(1)?,
                _ => {}
            }
        }
        let Some(parts) = self.split_list(inner) else {
            return (open == close).then(|| self.form(inner, depth + 1));
        };
        let items = parts.into_iter().map(|part| self.form(part, depth + 1)).collect();
        Some(Form::List { open, close, items })
    }

    /// Reads equations, assignments and inequalities.
    fn related(&self, tokens: &[Token], depth: usize) -> Option<Form> {
        let mut relations = Vec::new();
        let parts = split(tokens, |token| {
            if let Kind::Relation(relation) = token.kind {
                relations.push(relation);
                return true;
            }
            false
        });
        let last = *parts.last()?;
        if relations.is_empty() {
            return None;
        }
        if relations.contains(&Relation::In) {
            return Some(self.form(last, depth + 1));
        }
        let is_equality =
            |relation: &Relation| matches!(relation, Relation::Equal | Relation::Approximately);
        if !relations.iter().all(is_equality) {
            return self.interval(&parts, &relations).or_else(|| Some(self.words(tokens)));
        }
        let first = parts[0];
        // What stands after the last `=`, and every approximation of it.
        let after_equal = relations
            .iter()
            .rposition(|relation| *relation == Relation::Equal)
            .map_or(0, |place| place + 1);
        let values = || {
            let values = parts[after_equal..].iter().filter(|part| !part.is_empty());
            values.map(|part| self.form(part, depth + 1)).collect::<Vec<_>>()
        };
        let sides = || {
            let left = Expression::parse(self.text, first)?;
            Some(Box::new((left, Expression::parse(self.text, last)?)))
        };
        let is_name = !first.iter().any(|token| {
            matches!(
                token.kind,
                Kind::Number { .. }
                    | Kind::Plus
                    | Kind::Minus
                    | Kind::Times
                    | Kind::Divide
                    | Kind::Power
                    | Kind::Fraction
                    | Kind::Function(_)
            ) && !first.iter().any(|token| matches!(token.kind, Kind::Subscript))
        });
        if after_equal == 0 || is_name {
            let name = match self.words(first) {
                Form::Words(name) if after_equal > 0 => name,
                _ => String::new(),
            };
            let equation = if relations.len() == 1 { sides() } else { None };
            return Some(Form::Assigned { name, equation, values: values() });
        }
        let sides = sides()?;
        if sides.0.has_variables() && relations.len() == 1 {
            return Some(Form::Equation(sides));
        }
        Some(Form::Assigned { name: String::new(), equation: None, values: values() })
    }

    /// `a < x <= b`, or one half of it, as an interval.
    fn interval(&self, parts: &[&[Token]], relations: &[Relation]) -> Option<Form> {
        let parse = |part: &[Token]| Expression::parse(self.text, part);
        let quantity = |expression: Expression| {
            let full = Some(expression);
            Form::Quantity(Box::new(Quantity {
                full,
                bare: None,
                unit: Unit::default(),
                currency: Unit::default(),
            }))
        };
        let infinity =
            |sign: f64| quantity(Expression::number(Scalar::Float(sign * f64::INFINITY)));
        let (low, low_relation, high_relation, high) = match (parts, relations) {
            ([a, b], [relation]) => {
                let (a, b) = (parse(a)?, parse(b)?);
                let (variable_first, bound) = match (a.is_variable(), b.is_variable()) {
                    (true, false) => (true, b),
                    (false, true) => (false, a),
                    _ => return None,
                };
                if bound.has_variables() {
                    return None;
                }
                let (less, strict) = direction(*relation)?;
                if less == variable_first {
                    (infinity(-1.0), true, strict, quantity(bound))
                } else {
                    (quantity(bound), strict, true, infinity(1.0))
                }
            }
            ([a, middle, b], [left, right]) => {
                let ((less, left), (other, right)) = (direction(*left)?, direction(*right)?);
                let (a, b) = (parse(a)?, parse(b)?);
                if less != other || !parse(middle)?.is_variable() {
                    return None;
                }
                if less {
                    (quantity(a), left, right, quantity(b))
                } else {
                    (quantity(b), right, left, quantity(a))
                }
            }
            _ => return None,
        };
        let bracket = |strict| if strict { b'(' } else { b'[' };
        Some(Form::Inequality {
            open: bracket(low_relation),
            close: bracket(high_relation),
            items: vec![low, high],
        })
    }

    /// Returns both readings of the only `±`.
    fn plus_minus(&self, tokens: &[Token], depth: usize) -> Option<Vec<Form>> {
        let is = |token: &Token| matches!(token.kind, Kind::PlusMinus);
        let place = tokens.iter().position(is)?;
        if tokens[place + 1..].iter().any(is) {
            return None;
        }
        let mut copy = tokens.to_vec();
        let mut read = |kind| {
            copy[place].kind = kind;
            self.form(&copy, depth + 1)
        };
        Some(vec![read(Kind::Plus), read(Kind::Minus)])
    }

    fn quantity(&self, tokens: &[Token]) -> Form {
        let (mut unit, mut currency) = (Unit::default(), Unit::default());
        let mut inner = tokens;
        let mut sign = None;
        if let [sign_token, symbol @ Token { kind: Kind::Currency, .. }, rest @ ..] = inner
            && matches!(sign_token.kind, Kind::Minus)
        {
            sign = Some(*sign_token);
            currency = Unit::currency(self.of(symbol));
            unit = currency.clone();
            inner = rest;
        } else if let [symbol @ Token { kind: Kind::Currency, .. }, rest @ ..] = inner {
            currency = Unit::currency(self.of(symbol));
            unit = currency.clone();
            inner = rest;
        }
        let full = Expression::parse(self.text, inner);
        let mut bare = None;
        if let [word] = inner
            && let Some(value) =
                NUMBER_WORDS.split(' ').position(|name| self.is_word(word, &[name]))
        {
            bare = Some(Expression::number(Scalar::integer(value as i128)));
        } else if let Some((start, trailing)) = unit::trailing(self.text, inner)
            && !(inner.iter().any(|token| matches!(token.kind, Kind::Function(_)))
                && matches!(inner[start].kind, Kind::Degree))
        {
            bare = Expression::parse(self.text, &inner[..start]);
            unit = trailing;
        } else if let Some((last, rest)) = inner.split_last()
            && let Some(scale) = self.scale(last)
        {
            let scaled = Expression::parse(self.text, rest).and_then(|number| number.value());
            bare = scaled.map(|value| Expression::number(value.multiply(scale)));
        }
        if sign.is_some() || (full.is_none() && bare.is_none()) {
            // A negative amount of money is rare enough to be read as one number only.
            let negative = full.as_ref().and_then(Expression::value).filter(|_| sign.is_some());
            return match negative {
                Some(value) => {
                    let full = Some(Expression::number(value.negate()));
                    Form::Quantity(Box::new(Quantity { full, bare: None, unit, currency }))
                }
                None => self.words(tokens),
            };
        }
        Form::Quantity(Box::new(Quantity { full, bare, unit, currency }))
    }

    fn scale(&self, token: &Token) -> Option<Scalar> {
        let power = match () {
            () if self.is_word(token, &["hundred"]) => 2,
            () if self.is_word(token, &["thousand"]) => 3,
            () if self.is_word(token, &["million"]) => 6,
            () if self.is_word(token, &["billion"]) => 9,
            () if self.is_word(token, &["trillion"]) => 12,
            () => return None,
        };
        Some(Scalar::integer(10i128.pow(power)))
    }
}

/// Returns whether a relation says less, and whether strictly.
fn direction(relation: Relation) -> Option<(bool, bool)> {
    match relation {
        Relation::Less => Some((true, true)),
        Relation::LessEqual => Some((true, false)),
        Relation::Greater => Some((false, true)),
        Relation::GreaterEqual => Some((false, false)),
        _ => None,
    }
}

/// Returns the parts between the tokens outside of all brackets that separate.
fn split(tokens: &[Token], mut separates: impl FnMut(&Token) -> bool) -> Vec<&[Token]> {
    let mut parts = Vec::new();
    let (mut level, mut start) = (0usize, 0);
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(_) => level += 1,
            Kind::Close(_) => level = level.saturating_sub(1),
            _ if level == 0 && separates(token) => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts
}

fn same(gold: &Form, answer: &Form, precision: Option<u32>, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let same = |gold: &Form, answer: &Form| same(gold, answer, precision, depth + 1);
    match (gold, answer) {
        (Form::Quantity(gold), Form::Quantity(answer)) => same_quantity(gold, answer, precision),
        (
            Form::List { open, close, items: a } | Form::Inequality { open, close, items: a },
            Form::List { open: other_open, close: other_close, items: b }
            | Form::Inequality { open: other_open, close: other_close, items: b },
        ) => {
            let braces = |bracket: u8| matches!(bracket, b's' | b'{');
            let unordered =
                |open: u8, close: u8| (open == 0 && close == 0) || (braces(open) && braces(close));
            let (left, right) = (unordered(*open, *close), unordered(*other_open, *other_close));
            // Names and words may be a ranking, so their order counts.
            let is_words = |form: &Form| match form {
                Form::Words(_) => true,
                Form::Quantity(quantity) => {
                    quantity.full.as_ref().is_some_and(Expression::is_variable)
                }
                _ => false,
            };
            if left && right {
                if *open == 0 && *other_open == 0 && a.iter().chain(b).all(is_words) {
                    return in_order(a, b, same);
                }
                return as_sets(a, b, same);
            }
            // A list without brackets may be the tuple that the other side is.
            let bare = *open == 0 || *other_open == 0;
            let alike = open == other_open && close == other_close;
            let tuples = a.len() > 2 && !left && !right;
            (bare || alike || tuples) && in_order(a, b, same)
        }
        (Form::Union(a), Form::Union(b)) => as_sets(a, b, same),
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
            let is_symbol = |name: &str| name.chars().count() == 1;
            let differ = is_symbol(name) && is_symbol(other_name) && name != other_name;
            !differ && values.iter().any(|a| other_values.iter().any(|b| same(a, b)))
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
        (Some(a), Some(b)) => gold.unit.agrees(&answer.unit) && same_expression(&a, &b, precision),
        _ => false,
    }
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
