//! What an answer says: a quantity, a list, an interval, a matrix, an equation or words.
//!
//! This module does not know where an answer stood or which options a question has.
//! `Form` is built from text once; `compare.rs` says when two are the same.
//!
//! Decisions:
//! - A list without brackets has no order, one in braces is a set, one in round or square brackets has an order. An
//!   interval that is open at one end is no list.
//! - `and` and `or` between solutions are the same, `∧` and `∨` are not, and neither are they between words.
//! - `±` names two values, the upper one first; `∓` the same two the other way round.
//! - `x ∈ A` is the set A, and not `x = A` unless A lists values.
//! - A unit that only one side names is ignored; units are never converted.
//! - `50%` is 0.5, and it is 50 where the sign is missing: a question may ask for percent. A number below 1 without the
//!   sign is a share, so `0.5%` is no 0.5.
//! - Whole numbers joined by hyphens, or three of them by slashes, are a date, a score, a range or a telephone number,
//!   and no subtraction or quotient: they are text, in which a date may be padded with zeros. With spaces, `10 - 5` is 5.
//! - A matrix is compared entry by entry; a column or a row is also the tuple of its entries. Sums, products and
//!   transposes of matrices, and determinants, are compared as text.
//! - Inequalities joined by "or" are a union, two joined by "and" their intersection.
//! - A number with at least four decimals may be the rounding of the other side.

use crate::expression::Expression;
use crate::key::{key, looks};
use crate::scalar::Scalar;
use crate::token::{Dialect, Kind, Relation, Token, tokens};
use crate::unit::{self, Unit};
/// Lists within lists within lists: no answer key goes deeper.
const DEPTH_MAX: usize = 6;

/// Numbers as words, by value.
const NUMBER_WORDS: &str = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
    seventeen eighteen nineteen twenty";

/// The same in Chinese, by value.
const CHINESE_NUMBERS: &str = "零一二三四五六七八九十";

/// Words before a number that change nothing.
const HEDGES: [&str; 9] =
    ["approximately", "about", "around", "roughly", "exactly", "约", "大约", "约为", "大约是"];

/// Words and signs between the items of a list, the first ones of which all must hold.
const ANDS: [&str; 7] = ["and", "且", "和", "与", "及", "以及", "并且"];
const ORS: [&str; 3] = ["or", "或", "或者"];
/// The same as signs of logic, which nobody uses for the other.
const CONJUNCTIONS: [&str; 3] = ["\\land", "\\wedge", "∧"];
const DISJUNCTIONS: [&str; 3] = ["\\lor", "\\vee", "∨"];

/// Words behind a number that multiply it, as the power of ten.
const TENS: [(&str, u32); 8] = [
    ("hundred", 2),
    ("thousand", 3),
    ("lakh", 5),
    ("million", 6),
    ("crore", 7),
    ("billion", 9),
    ("trillion", 12),
    ("quadrillion", 15),
];

/// Words behind a number that divide it, and by what.
const PARTS: [(&str, i128); 15] = [
    ("half", 2),
    ("halve", 2),
    ("third", 3),
    ("quarter", 4),
    ("fourth", 4),
    ("fifth", 5),
    ("sixth", 6),
    ("seventh", 7),
    ("eighth", 8),
    ("ninth", 9),
    ("tenth", 10),
    ("成", 10),
    ("hundredth", 100),
    ("thousandth", 1000),
    ("millionth", 1_000_000),
];

/// What an answer says.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Quantity(Box<Quantity>),
    /// Items and the brackets around them, 0 where there are none.
    List {
        open: u8,
        close: u8,
        items: Vec<Form>,
        /// What joins them, but for commas.
        joins: Vec<Join>,
    },
    /// The values of a `±`, the upper sign first, or of a `∓`.
    Signs {
        minus_first: bool,
        items: Vec<Form>,
    },
    /// What a variable is in.
    Member(Box<Form>),
    /// An interval that was written as an inequality.
    Inequality {
        open: u8,
        close: u8,
        items: Vec<Form>,
    },
    Union(Vec<Form>),
    /// Lines of entries, all of one length.
    Matrix(Vec<Vec<Form>>),
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
    pub(super) currency: Unit,
}
/// Returns what `text` says; `None` if it is too long or empty.
pub(super) fn form(text: &str, dialect: Dialect) -> Option<Form> {
    let tokens = tokens(text, dialect)?;
    Some(Reader { text, dialect }.form(&tokens, 0))
}

struct Reader<'a> {
    text: &'a str,
    dialect: Dialect,
}

/// What stands between two items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    Comma,
    And,
    Or,
    /// The signs of logic.
    Conjunction,
    Disjunction,
}

impl Join {
    /// Returns whether one of the items is enough.
    pub(super) fn is_or(self) -> bool {
        matches!(self, Join::Or | Join::Disjunction)
    }

    pub(super) fn is_sign(self) -> bool {
        matches!(self, Join::Conjunction | Join::Disjunction)
    }
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
        let key = |text: &str| match self.dialect {
            Dialect::Own => key(text),
            Dialect::Peers => looks(text, Dialect::Peers),
        };
        Form::Words(range.map_or(String::new(), |(a, b)| key(&self.text[a.start..b.end])))
    }

    fn own(&self) -> bool {
        self.dialect == Dialect::Own
    }

    fn parse(&self, tokens: &[Token]) -> Option<Expression> {
        Expression::parse(self.text, tokens, self.dialect)
    }

    /// Returns whether a token is one of `words` of any language; a single Chinese sign is a letter to the lexer.
    fn is_any(&self, token: &Token, words: &[&str]) -> bool {
        let is_sign = matches!(token.kind, Kind::Letter) && !self.of(token).is_ascii();
        self.is_word(token, words) || (self.own() && is_sign && words.contains(&self.of(token)))
    }

    fn join(&self, token: &Token) -> Option<Join> {
        match token.kind {
            Kind::Comma | Kind::Semicolon => Some(Join::Comma),
            _ if self.own() && self.is_word(token, &CONJUNCTIONS) => Some(Join::Conjunction),
            _ if self.own() && self.is_word(token, &DISJUNCTIONS) => Some(Join::Disjunction),
            _ if self.is_word(token, &["and"]) || (self.own() && self.is_any(token, &ANDS)) => {
                Some(Join::And)
            }
            _ if self.is_word(token, &["or"]) || (self.own() && self.is_any(token, &ORS)) => {
                Some(Join::Or)
            }
            _ => None,
        }
    }

    fn form(&self, tokens: &[Token], depth: usize) -> Form {
        let tokens = self.trim(tokens);
        if depth > DEPTH_MAX || tokens.is_empty() {
            return self.words(tokens);
        }
        if let Some(parts) = self.split_list(tokens) {
            let items: Vec<Form> =
                parts.into_iter().map(|part| self.form(part, depth + 1)).collect();
            let joins = self.joins(tokens);
            return match self.solutions(&joins, &items) {
                Some(solutions) => solutions,
                None => {
                    let joins = joins.into_iter().filter(|join| *join != Join::Comma).collect();
                    Form::List { open: 0, close: 0, items, joins }
                }
            };
        }
        if let Some(form) = self.bracketed(tokens, depth) {
            return form;
        }
        if let Some(form) = self.scaled_matrix(tokens, depth) {
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
        if let Some(signs) = self.plus_minus(tokens, depth) {
            return signs;
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
            && (matches!(first.kind, Kind::Colon) || self.is_any(first, &HEDGES))
        {
            tokens = rest;
        }
        tokens
    }

    /// Returns the parts between commas and the like, if there are several.
    fn split_list<'b>(&self, tokens: &'b [Token]) -> Option<Vec<&'b [Token]>> {
        let mut parts = split(tokens, |token| self.join(token).is_some());
        parts.retain(|part| !part.is_empty());
        (parts.len() > 1).then_some(parts)
    }

    /// Returns what stands between the parts of a list.
    fn joins(&self, tokens: &[Token]) -> Vec<Join> {
        let mut joins = Vec::new();
        split(tokens, |token| {
            joins.extend(self.join(token));
            false
        });
        joins
    }

    /// Reads inequalities that are joined by words: a union, or the intersection of two.
    fn solutions(&self, joins: &[Join], items: &[Form]) -> Option<Form> {
        let solves = |item: &Form| matches!(item, Form::Inequality { .. } | Form::Union(_));
        if !self.own() || !items.iter().all(solves) {
            return None;
        }
        if joins.iter().all(|join| join.is_or()) {
            return Some(Form::Union(items.to_vec()));
        }
        match items {
            [a, b] if matches!(joins, [Join::And | Join::Conjunction]) => intersection(a, b),
            _ => None,
        }
    }

    /// Reads a matrix, in brackets or bare, and what multiplies it from the left.
    fn scaled_matrix(&self, tokens: &[Token], depth: usize) -> Option<Form> {
        let is = |token: &Token, kind: Kind| match (token.kind, kind) {
            (Kind::Open(a), Kind::Open(b)) | (Kind::Close(a), Kind::Close(b)) => a == b,
            _ => false,
        };
        let start = tokens.iter().position(|token| is(token, Kind::Open(b'm')))?;
        let end = tokens.iter().rposition(|token| is(token, Kind::Close(b'm')))?;
        let (mut factor, mut after) = (&tokens[..start], tokens.get(end + 1..)?);
        while let (
            [rest @ .., Token { kind: Kind::Open(open), .. }],
            [Token { kind: Kind::Close(close), .. }, tail @ ..],
        ) = (factor, after)
            && open == close
        {
            (factor, after) = (rest, tail);
        }
        if let [rest @ .., Token { kind: Kind::Times, .. }] = factor {
            factor = rest;
        }
        if !after.is_empty() || start >= end {
            return None;
        }
        self.matrix(tokens.get(start + 1..end)?, factor, depth)
    }

    /// Reads the lines of a matrix, each entry times `factor`; `None` where they are no rectangle.
    fn matrix(&self, inner: &[Token], factor: &[Token], depth: usize) -> Option<Form> {
        let bracket = |kind: fn(u8) -> Kind, at: usize| Token {
            kind: kind(b'('),
            start: at,
            end: at,
            spaced: false,
        };
        let entry = |tokens: &[Token]| {
            let (first, last) = (tokens.first()?, tokens.last()?);
            if factor.is_empty() {
                return Some(self.form(tokens, depth + 1));
            }
            let mut product = factor.to_vec();
            product.push(bracket(Kind::Open, first.start));
            product.extend_from_slice(tokens);
            product.push(bracket(Kind::Close, last.end));
            self.parse(&product)?;
            Some(self.form(&product, depth + 1))
        };
        let mut lines = split(inner, |token| matches!(token.kind, Kind::Line));
        lines.retain(|line| !line.is_empty());
        let rows: Vec<Vec<Form>> = lines
            .into_iter()
            .map(|line| {
                split(line, |token| matches!(token.kind, Kind::Cell))
                    .into_iter()
                    .map(entry)
                    .collect()
            })
            .collect::<Option<_>>()?;
        let width = rows.first()?.len();
        rows.iter().all(|row| row.len() == width).then_some(Form::Matrix(rows))
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
        if open == b'm' {
            return self.matrix(inner, &[], depth);
        }
        let Some(parts) = self.split_list(inner) else {
            return (open == close).then(|| self.form(inner, depth + 1));
        };
        let items = parts.into_iter().map(|part| self.form(part, depth + 1)).collect();
        let joins = self.joins(inner).into_iter().filter(|join| *join != Join::Comma).collect();
        Some(Form::List { open, close, items, joins })
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
            let set = self.form(last, depth + 1);
            return Some(if self.own() { Form::Member(Box::new(set)) } else { set });
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
            let left = self.parse(first)?;
            Some(Box::new((left, self.parse(last)?)))
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
        let parse = |part: &[Token]| self.parse(part);
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

    /// Returns both readings of the only `±`, of the only `∓`, or of one of each, which belong together.
    fn plus_minus(&self, tokens: &[Token], depth: usize) -> Option<Form> {
        let places = |is: fn(Kind) -> bool| {
            let mut places = (0..tokens.len()).filter(|at| is(tokens[*at].kind));
            (places.next(), places.next().is_some())
        };
        let (plus, many_plus) = places(|kind| matches!(kind, Kind::PlusMinus));
        let (minus, many_minus) = places(|kind| matches!(kind, Kind::MinusPlus));
        if (plus.is_none() && minus.is_none()) || many_plus || many_minus {
            return None;
        }
        let mut copy = tokens.to_vec();
        let mut read = |upper, lower| {
            for (place, kind) in [(plus, upper), (minus, lower)] {
                if let Some(place) = place {
                    copy[place].kind = kind;
                }
            }
            self.form(&copy, depth + 1)
        };
        let items = vec![read(Kind::Plus, Kind::Minus), read(Kind::Minus, Kind::Plus)];
        if !self.own() {
            return Some(Form::List { open: 0, close: 0, items, joins: Vec::new() });
        }
        // The upper signs are read first, whichever stands first in the text.
        let minus_first = plus.is_none_or(|plus| minus.is_some_and(|minus| minus < plus));
        Some(Form::Signs { minus_first, items })
    }

    /// Reads a date, a score, a range or a telephone number: what looks like arithmetic but names something.
    fn written(&self, tokens: &[Token]) -> Option<String> {
        let digits = |token: &Token| {
            let text = self.of(token);
            let plain = matches!(token.kind, Kind::Number { plain: true, .. });
            (plain && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
        };
        let is_minus = |token: &Token| matches!(token.kind, Kind::Minus);
        if let [
            Token { kind: Kind::Open(b'('), .. },
            area,
            Token { kind: Kind::Close(b'('), .. },
            a,
            minus,
            b,
        ] = tokens
            && is_minus(minus)
            && let (Some(area), Some(a), Some(b)) = (digits(area), digits(a), digits(b))
            && (area.len(), a.len(), b.len()) == (3, 3, 4)
        {
            return Some(format!("{area}-{a}-{b}"));
        }
        // The code of a country.
        let tokens = match tokens {
            [Token { kind: Kind::Plus, .. }, rest @ ..] if rest.len() >= 5 => rest,
            _ => tokens,
        };
        let bare = unbraced(tokens);
        let tokens = bare.as_slice();
        let (first, rest) = tokens.split_first()?;
        let separator = rest.first()?;
        let slash = matches!(separator.kind, Kind::Divide);
        if rest.len() % 2 != 0
            || rest.iter().any(|token| token.spaced)
            || (slash && rest.len() != 4)
        {
            return None;
        }
        let mut parts = vec![digits(first)?];
        for pair in rest.chunks(2) {
            let same = if slash { self.of(&pair[0]) == "/" } else { is_minus(&pair[0]) };
            parts.push(digits(&pair[1]).filter(|_| same)?);
        }
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        if let [4, 1..=2, 1..=2] | [1..=2, 1..=2, 4] = lengths[..] {
            // Padding changes no date, and where the year is first neither does the sign between.
            let sign = if slash && lengths[0] != 4 { "/" } else { "-" };
            let parts: Vec<&str> = parts.iter().map(|part| part.trim_start_matches('0')).collect();
            return Some(parts.join(sign));
        }
        Some(parts.join(if slash { "/" } else { "-" }))
    }

    fn quantity(&self, tokens: &[Token]) -> Form {
        if self.own() {
            let bare = unit::trailing(self.text, tokens).map_or(tokens.len(), |(start, _)| start);
            if let Some(written) = self.written(&tokens[..bare]) {
                return match self.words(tokens) {
                    // With its unit it stays what is written.
                    Form::Words(words) if bare < tokens.len() => Form::Words(words),
                    _ => Form::Words(written),
                };
            }
        }
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
        let full = self.parse(inner);
        let mut bare = None;
        if let [word] = inner
            && let Some(value) =
                NUMBER_WORDS.split(' ').position(|name| self.is_word(word, &[name]))
        {
            bare = Some(Expression::number(Scalar::integer(value as i128)));
        } else if let [sign @ Token { kind: Kind::Letter, .. }] = inner
            && self.own()
            && let Some(value) = CHINESE_NUMBERS.chars().position(|c| self.of(sign).chars().eq([c]))
        {
            bare = Some(Expression::number(Scalar::integer(value as i128)));
        } else if let Some((last, rest)) = inner.split_last()
            && let Some(value) = self.operation(last, rest, !currency.is_none())
        {
            bare = Some(Expression::number(value));
        } else if let Some((start, trailing)) = unit::trailing(self.text, inner)
            && !(inner.iter().any(|token| matches!(token.kind, Kind::Function(_)))
                && matches!(inner[start].kind, Kind::Degree))
        {
            bare = self.parse(&inner[..start]);
            unit = trailing;
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

    /// Returns what a number comes to with the word behind it: `2 million`, `3 quarters`, `5 squared`, `5打`, `$5K`.
    fn operation(&self, last: &Token, rest: &[Token], money: bool) -> Option<Scalar> {
        if !matches!(last.kind, Kind::Word | Kind::Letter) {
            return None;
        }
        let word = self.of(last).to_lowercase();
        let word = word.as_str();
        let is = |name: &str| word == name || (self.own() && word.strip_suffix('s') == Some(name));
        let power =
            TENS.iter().take(if self.own() { TENS.len() } else { 0 }).find(|(name, _)| is(name));
        let peers = ["hundred", "thousand", "million", "billion", "trillion"];
        let power = match power {
            None if peers.contains(&word) => TENS.iter().find(|(name, _)| *name == word),
            power => power,
        };
        let value = || self.parse(rest)?.value();
        if let Some((_, power)) = power {
            return Some(value()?.multiply(Scalar::integer(10i128.pow(*power))));
        }
        if !self.own() {
            return None;
        }
        if let Some((_, parts)) = PARTS.iter().find(|(name, _)| is(name)) {
            return Some(value()?.divide(Scalar::integer(*parts)));
        }
        match word {
            "k" if money => Some(value()?.multiply(Scalar::integer(1000))),
            "m" | "mn" if money => Some(value()?.multiply(Scalar::integer(1_000_000))),
            "b" | "bn" if money => Some(value()?.multiply(Scalar::integer(1_000_000_000))),
            "squared" => Some(value()?.power(Scalar::integer(2))),
            "cubed" => Some(value()?.power(Scalar::integer(3))),
            "factorial" => Some(value()?.factorial()),
            "dozen" | "dozens" | "打" => Some(value()?.multiply(Scalar::integer(12))),
            _ => None,
        }
    }
}

/// Returns the tokens without braces around one of them or around nothing, as `{5}-{3}` looks like `5-3`.
fn unbraced(tokens: &[Token]) -> Vec<Token> {
    let mut bare: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if matches!(token.kind, Kind::Close(b'{')) {
            let open = |at: usize| {
                let place = bare.len().checked_sub(at)?;
                matches!(bare[place].kind, Kind::Open(b'{')).then_some(place)
            };
            if let Some(place) = open(1).or_else(|| open(2)) {
                bare.remove(place);
                continue;
            }
        }
        bare.push(*token);
    }
    bare
}

/// Returns the interval that two intervals share, if both have numbers at their ends.
fn intersection(a: &Form, b: &Form) -> Option<Form> {
    let ends = |form: &Form| match form {
        Form::Inequality { open, close, items } => match items.as_slice() {
            [low, high] => Some(((low.clone(), *open), (high.clone(), *close))),
            _ => None,
        },
        _ => None,
    };
    let value = |form: &Form| match form {
        Form::Quantity(quantity) => Some(quantity.full.as_ref()?.value()?.to_f64()),
        _ => None,
    };
    let ((low, high), (other_low, other_high)) = (ends(a)?, ends(b)?);
    // Of equal ends the open one is the narrower.
    let first_is_inner = |a: &(Form, u8), b: &(Form, u8), sign: f64| {
        let (x, y) = (sign * value(&a.0)?, sign * value(&b.0)?);
        Some(x > y || (x >= y && a.1 == b'('))
    };
    let low = if first_is_inner(&low, &other_low, 1.0)? { low } else { other_low };
    let high = if first_is_inner(&high, &other_high, -1.0)? { high } else { other_high };
    if value(&low.0)? > value(&high.0)? {
        return None;
    }
    Some(Form::Inequality { open: low.1, close: high.1, items: vec![low.0, high.0] })
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
