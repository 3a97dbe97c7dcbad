//! From tokens to an expression.
//!
//! This module does not know answers: no lists, no relations, no units. Nothing is ever executed: the tree has
//! arithmetic, roots, the elementary functions and variables, and `value.rs` evaluates it at fixed points.
//! Size and depth are bounded, so is the time.

use crate::scalar::Scalar;
use crate::token::{Dialect, Function, Kind, Token};

/// A tree with more nodes is no expression; it is also the bound of its depth when it is evaluated.
const NODES_MAX: usize = 384;

/// Deeper nesting of brackets and signs is no expression; the deepest answer keys nest some ten levels.
const DEPTH_MAX: usize = 40;

/// More signs after one operand are no expression.
const POSTFIX_MAX: usize = 4;

/// More variables than this are words rather than variables.
const VARIABLES_MAX: usize = 4;
/// Mixed into a name for each mark behind it.
const PRIME: u64 = 0x27;

/// A step of an expression, with the places of what it is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Value(Scalar),
    Pi,
    Euler,
    /// A name's hash.
    Variable(u64),
    Negate(usize),
    Add(usize, usize),
    Multiply(usize, usize),
    Divide(usize, usize),
    Power(usize, usize),
    /// Degree, then what is under the root.
    Root(usize, usize),
    Apply(Function, usize),
    /// The logarithm to a base, then what it is of.
    Log(usize, usize),
    Factorial(usize),
    DoubleFactorial(usize),
    /// How many are there, then how many are chosen.
    Choose(usize, usize),
    /// Degrees of an angle.
    Degrees(usize),
}

/// An expression: at most `NODES_MAX` nodes, brackets at most `DEPTH_MAX` deep.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
    variables: Vec<u64>,
    /// True if variables stand for whole numbers only, since there are factorials.
    pub(super) counts: bool,
    /// How many decimals it is written with if it is one number, signed or not.
    decimals: Option<u32>,
    pub(super) dialect: Dialect,
}

impl Expression {
    /// Returns the expression that all of `tokens` make; `None` if they make none.
    pub(super) fn parse(text: &str, tokens: &[Token], dialect: Dialect) -> Option<Expression> {
        let decimals = match tokens {
            [Token { kind: Kind::Number { decimals, .. }, .. }]
            | [
                Token { kind: Kind::Minus | Kind::Plus, .. },
                Token { kind: Kind::Number { decimals, .. }, .. },
            ] => Some(*decimals),
            _ => None,
        };
        // Letters side by side are a product only where something else shows that this is a formula.
        let is_formula = tokens.iter().any(|token| !matches!(token.kind, Kind::Word));
        let mut parser = Parser {
            text,
            tokens,
            at: 0,
            depth: 0,
            bars: 0,
            products: is_formula,
            expression: Expression {
                nodes: Vec::with_capacity(tokens.len() + 2),
                root: 0,
                variables: Vec::new(),
                counts: false,
                decimals,
                dialect,
            },
        };
        let root = parser.sum()?;
        if parser.at != tokens.len() {
            return None;
        }
        let mut expression = parser.expression;
        expression.root = root;
        Some(expression)
    }

    /// Makes an expression of a number.
    pub(super) fn number(value: Scalar) -> Expression {
        Expression {
            nodes: vec![Node::Value(value)],
            root: 0,
            variables: Vec::new(),
            counts: false,
            decimals: None,
            dialect: Dialect::Own,
        }
    }

    /// Returns whether it holds variables.
    pub(super) fn has_variables(&self) -> bool {
        !self.variables.is_empty()
    }

    /// Returns whether it is one variable and nothing else.
    pub(super) fn is_variable(&self) -> bool {
        matches!(self.nodes.get(self.root), Some(Node::Variable(_)))
    }

    /// Returns how many decimals it is written with, if it is one number.
    pub(super) fn decimals(&self) -> Option<u32> {
        self.decimals
    }
}

/// Returns the finalizer of SplitMix64 (Steele et al. 2014): every bit of the result depends on every bit.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Returns the FNV-1a hash of a name.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// How many `|` are open.
    bars: usize,
    products: bool,
    expression: Expression,
}

impl Parser<'_> {
    fn peek(&self) -> Option<Kind> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn spaced(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|token| token.spaced)
    }

    fn add(&mut self, node: Node) -> Option<usize> {
        self.expression.counts |=
            matches!(node, Node::Factorial(_) | Node::DoubleFactorial(_) | Node::Choose(..));
        let nodes = &mut self.expression.nodes;
        if nodes.len() >= NODES_MAX {
            return None;
        }
        nodes.push(node);
        Some(nodes.len() - 1)
    }

    fn value(&mut self, value: i128) -> Option<usize> {
        self.add(Node::Value(Scalar::integer(value)))
    }

    /// Runs a rule one level deeper.
    fn deeper(&mut self, rule: impl FnOnce(&mut Self) -> Option<usize>) -> Option<usize> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let found = rule(self);
        self.depth -= 1;
        found
    }

    fn sum(&mut self) -> Option<usize> {
        self.deeper(|parser| {
            let mut left = parser.term()?;
            loop {
                let minus = match parser.peek() {
                    Some(Kind::Plus) => false,
                    Some(Kind::Minus) => true,
                    _ => return Some(left),
                };
                parser.at += 1;
                let right = parser.term()?;
                let right = if minus { parser.add(Node::Negate(right))? } else { right };
                left = parser.add(Node::Add(left, right))?;
            }
        })
    }

    fn term(&mut self) -> Option<usize> {
        let mut left = self.signed()?;
        loop {
            match self.peek() {
                Some(Kind::Times) => {
                    self.at += 1;
                    let right = self.signed()?;
                    left = self.add(Node::Multiply(left, right))?;
                }
                Some(Kind::Divide) => {
                    self.at += 1;
                    let right = self.signed()?;
                    left = self.add(Node::Divide(left, right))?;
                }
                Some(kind) if self.multiplies(kind) => {
                    let right = self.power()?;
                    left = self.add(Node::Multiply(left, right))?;
                }
                _ => return Some(left),
            }
        }
    }

    /// Returns whether what comes next, without an operator before it, is a factor.
    fn multiplies(&self, kind: Kind) -> bool {
        match kind {
            Kind::Letter
            | Kind::Pi
            | Kind::Euler
            | Kind::Function(_)
            | Kind::Fraction
            | Kind::Binomial
            | Kind::Open(b'(' | b'{' | b'[') => true,
            Kind::Word => self.products,
            // `(2)3` and `2!3!` are products, `2 3` and `x2` are not.
            Kind::Number { .. } => {
                let last = self.tokens.get(self.at.wrapping_sub(1)).map(|token| token.kind);
                match last {
                    Some(Kind::Close(_)) => true,
                    Some(Kind::Factorial) => self.expression.dialect == Dialect::Own,
                    _ => false,
                }
            }
            Kind::Bar => self.bars == 0,
            _ => false,
        }
    }

    fn signed(&mut self) -> Option<usize> {
        match self.peek()? {
            Kind::Minus => {
                self.at += 1;
                self.deeper(|parser| {
                    let inner = parser.signed()?;
                    parser.add(Node::Negate(inner))
                })
            }
            Kind::Plus => {
                self.at += 1;
                self.deeper(Self::signed)
            }
            _ => self.power(),
        }
    }

    fn power(&mut self) -> Option<usize> {
        let base = self.postfix()?;
        if !matches!(self.peek(), Some(Kind::Power)) {
            return Some(base);
        }
        self.at += 1;
        let exponent = self.deeper(Self::signed)?;
        self.add(Node::Power(base, exponent))
    }

    fn postfix(&mut self) -> Option<usize> {
        let mut inner = self.atom()?;
        for _ in 0..=POSTFIX_MAX {
            let node = match self.peek() {
                Some(Kind::Factorial) => Node::Factorial(inner),
                Some(Kind::DoubleFactorial) => Node::DoubleFactorial(inner),
                Some(Kind::Degree) => Node::Degrees(inner),
                Some(Kind::Percent) => {
                    let hundred = self.value(100)?;
                    Node::Divide(inner, hundred)
                }
                _ => return Some(inner),
            };
            self.at += 1;
            inner = self.add(node)?;
        }
        None
    }

    fn atom(&mut self) -> Option<usize> {
        let token = *self.tokens.get(self.at)?;
        self.at += 1;
        match token.kind {
            Kind::Number { value, plain, .. } => {
                if value.is_nan() {
                    return None;
                }
                let whole = self.add(Node::Value(value))?;
                if plain && let Some(part) = self.proper_fraction() {
                    let part = self.add(Node::Value(part))?;
                    return self.add(Node::Add(whole, part));
                }
                Some(whole)
            }
            Kind::Pi => self.add(Node::Pi),
            Kind::Euler => self.add(Node::Euler),
            Kind::Infinity => self.add(Node::Value(Scalar::Float(f64::INFINITY))),
            Kind::Letter => self.variable(&self.text[token.start..token.end]),
            Kind::Word => self.word(token),
            Kind::Open(bracket @ (b'(' | b'[' | b'{')) => self.bracketed(bracket),
            Kind::Bar if self.bars == 0 => {
                self.bars += 1;
                let inner = self.sum()?;
                self.bars -= 1;
                if !matches!(self.peek(), Some(Kind::Bar)) {
                    return None;
                }
                self.at += 1;
                self.add(Node::Apply(Function::Abs, inner))
            }
            Kind::Fraction => {
                let numerator = self.argument()?;
                let denominator = self.argument()?;
                self.add(Node::Divide(numerator, denominator))
            }
            Kind::Binomial => {
                let all = self.argument()?;
                let chosen = self.argument()?;
                self.add(Node::Choose(all, chosen))
            }
            Kind::Function(function) => self.function(function),
            _ => None,
        }
    }

    fn bracketed(&mut self, bracket: u8) -> Option<usize> {
        // The bars outside do not close those inside.
        let bars = std::mem::take(&mut self.bars);
        let inner = self.sum()?;
        self.bars = bars;
        match self.peek() {
            Some(Kind::Close(close)) if close == bracket => {
                self.at += 1;
                Some(inner)
            }
            _ => None,
        }
    }

    /// `{…}`, or as in TeX one digit or letter; the lexer cuts digits after `\frac` apart.
    fn argument(&mut self) -> Option<usize> {
        let token = *self.tokens.get(self.at)?;
        match token.kind {
            Kind::Open(b'{') => {
                self.at += 1;
                self.deeper(|parser| parser.bracketed(b'{'))
            }
            Kind::Number { value, .. } if token.end - token.start == 1 => {
                self.at += 1;
                self.add(Node::Value(value))
            }
            Kind::Letter | Kind::Pi | Kind::Euler => self.atom(),
            _ => None,
        }
    }

    /// Returns the fraction after a whole number that makes it a mixed one: `2 1/2` or `2\frac{1}{2}`.
    ///
    /// It must be below one; `2\frac{4}{3}` is a product and `2 4/3` nothing.
    fn proper_fraction(&mut self) -> Option<Scalar> {
        let rest = &self.tokens[self.at..];
        let whole = |token: &Token| match token.kind {
            Kind::Number { value, plain: true, .. } => value.as_integer(),
            _ => None,
        };
        let is = |place: usize, wanted: fn(Kind) -> bool| {
            rest.get(place).is_some_and(|token| wanted(token.kind))
        };
        let open: fn(Kind) -> bool = |kind| matches!(kind, Kind::Open(b'{'));
        let close: fn(Kind) -> bool = |kind| matches!(kind, Kind::Close(b'{'));
        let (numerator, denominator, length) = match rest.first()?.kind {
            Kind::Fraction if is(1, open) && is(3, close) && is(4, open) && is(6, close) => {
                (whole(rest.get(2)?)?, whole(rest.get(5)?)?, 7)
            }
            Kind::Fraction => (whole(rest.get(1)?)?, whole(rest.get(2)?)?, 3),
            Kind::Number { .. } if rest[0].spaced && is(1, |kind| matches!(kind, Kind::Divide)) => {
                (whole(&rest[0])?, whole(rest.get(2)?)?, 3)
            }
            _ => return None,
        };
        if !(0 < numerator && numerator < denominator) {
            return None;
        }
        self.at += length;
        Some(Scalar::fraction(numerator, denominator))
    }

    fn variable(&mut self, name: &str) -> Option<usize> {
        // A subscript belongs to the name, braces or not.
        let mut name = hash(name);
        if matches!(self.peek(), Some(Kind::Subscript)) {
            self.at += 1;
            let mut braces = 0usize;
            loop {
                let token = *self.tokens.get(self.at)?;
                self.at += 1;
                match token.kind {
                    Kind::Open(b'{') => braces += 1,
                    Kind::Close(b'{') => braces = braces.checked_sub(1)?,
                    Kind::Letter | Kind::Word | Kind::Number { .. } => {
                        name = mix(name ^ hash(&self.text[token.start..token.end]));
                    }
                    _ => return None,
                }
                if braces == 0 {
                    break;
                }
            }
        }
        while matches!(self.peek(), Some(Kind::Prime)) {
            self.at += 1;
            name = mix(name ^ PRIME);
        }
        let variables = &mut self.expression.variables;
        if !variables.contains(&name) {
            if variables.len() >= VARIABLES_MAX {
                return None;
            }
            variables.push(name);
        }
        self.add(Node::Variable(name))
    }

    /// Two or three small letters are a product, more letters or capitals are a name.
    fn word(&mut self, token: Token) -> Option<usize> {
        let text = self.text;
        let word = &text[token.start..token.end];
        let marked = matches!(self.peek(), Some(Kind::Prime));
        let is_product = self.products
            && !marked
            && (2..=3).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_lowercase());
        if !is_product {
            return self.variable(word);
        }
        let mut product = self.variable(word.get(..1)?)?;
        for at in 1..word.len() {
            let mut factor = self.variable(word.get(at..=at)?)?;
            if at + 1 == word.len() && matches!(self.peek(), Some(Kind::Power)) {
                self.at += 1;
                let exponent = self.deeper(Self::signed)?;
                factor = self.add(Node::Power(factor, exponent))?;
            }
            product = self.add(Node::Multiply(product, factor))?;
        }
        Some(product)
    }

    /// Parses what follows the name of a function: a power of it, a base or degree, and its argument.
    fn function(&mut self, function: Function) -> Option<usize> {
        self.deeper(|parser| {
            let mut exponent = None;
            let mut base = None;
            if function == Function::Sqrt && matches!(parser.peek(), Some(Kind::Open(b'['))) {
                parser.at += 1;
                base = Some(parser.bracketed(b'[')?);
            }
            if function == Function::Log && matches!(parser.peek(), Some(Kind::Subscript)) {
                parser.at += 1;
                base = Some(parser.argument_or_number()?);
            }
            if matches!(parser.peek(), Some(Kind::Power)) && function != Function::Sqrt {
                parser.at += 1;
                exponent = Some(parser.argument_or_number()?);
            }
            let argument = match parser.peek()? {
                Kind::Open(_) | Kind::Bar => parser.postfix_of_bracket(function)?,
                _ => parser.juxtaposed(function)?,
            };
            let applied = match (function, base) {
                (Function::Sqrt, Some(degree)) => parser.add(Node::Root(degree, argument))?,
                (Function::Log, Some(base)) => parser.add(Node::Log(base, argument))?,
                _ => parser.add(Node::Apply(function, argument))?,
            };
            match exponent {
                Some(exponent) => parser.add(Node::Power(applied, exponent)),
                None => Some(applied),
            }
        })
    }

    fn argument_or_number(&mut self) -> Option<usize> {
        match self.peek()? {
            Kind::Number { value, .. } => {
                self.at += 1;
                self.add(Node::Value(value))
            }
            _ => self.argument(),
        }
    }

    /// Returns the bracket after a function's name; a root's braces end it, so `\sqrt{2}^2` is 2.
    fn postfix_of_bracket(&mut self, function: Function) -> Option<usize> {
        let inner = self.atom()?;
        if function != Function::Sqrt && matches!(self.peek(), Some(Kind::Degree)) {
            self.at += 1;
            return self.add(Node::Degrees(inner));
        }
        Some(inner)
    }

    /// Reads an argument without brackets: `\sin 2x`, `\sqrt 2`, `\cos 30^\circ`.
    fn juxtaposed(&mut self, function: Function) -> Option<usize> {
        if function == Function::Sqrt {
            return self.atom();
        }
        let mut argument = self.power()?;
        while let Some(Kind::Letter | Kind::Pi | Kind::Number { .. } | Kind::Fraction) = self.peek()
        {
            if self.spaced() && !matches!(self.peek(), Some(Kind::Letter | Kind::Pi)) {
                break;
            }
            let factor = self.power()?;
            argument = self.add(Node::Multiply(argument, factor))?;
        }
        Some(argument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::same_doubles;
    use crate::token::tokens;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<Expression> {
        Expression::parse(text, &tokens(text, Dialect::Own)?, Dialect::Own)
    }

    fn value(text: &str) -> Option<f64> {
        Some(parse(text)?.value()?.to_f64())
    }

    #[track_caller]
    fn check(text: &str, expected: f64) {
        let found = value(text);
        assert!(found.is_some_and(|found| same_doubles(found, expected)), "{text}: {found:?}");
    }

    #[test]
    fn arithmetic_has_its_usual_order() {
        for (text, expected) in [
            ("1+2*3", 7.0),
            ("2^3^2", 512.0),
            ("-2^2", -4.0),
            ("(1+2)(3)", 9.0),
            ("8/4/2", 1.0),
            ("2-3-4", -5.0),
            ("5!/3!", 20.0),
            ("|-3|+1", 4.0),
            ("2**5", 32.0),
            ("1.5e3", 1500.0),
            ("3 x 10^5", 3e5),
            ("1,234.5", 1234.5),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn latex_is_read() {
        for (text, expected) in [
            (r"\frac{1}{2}", 0.5),
            (r"\dfrac12", 0.5),
            (r"\frac1{4}", 0.25),
            (r"2\frac{1}{2}", 2.5),
            ("2 1/2", 2.5),
            ("-2 1/2", -2.5),
            (r"2\frac{4}{3}", 8.0 / 3.0),
            (r"\sqrt{16}", 4.0),
            (r"\sqrt[3]{27}", 3.0),
            (r"2\sqrt3", 12f64.sqrt()),
            (r"\frac{\pi}{2}", std::f64::consts::FRAC_PI_2),
            (r"3\times 10^{-2}", 0.03),
            (r"\left(1+\frac{1}{3}\right)\cdot 3", 4.0),
            (r"\sin 30^\circ", 0.5),
            (r"\log_2 8", 3.0),
            (r"\log_{10}{100}", 2.0),
            (r"\tan^2(45^{\circ})", 1.0),
            (r"\sqrt{2}^2", 2.0),
            (r"50\%", 0.5),
            ("3√2", 18f64.sqrt()),
            ("2²", 4.0),
            ("1½", 1.5),
            (r"\binom{5}{2}", 10.0),
            (r"\binom52", 10.0),
            ("7!!", 105.0),
            (r"1.\overline{3}", 4.0 / 3.0),
            (r"0.1\overline{6}", 1.0 / 6.0),
            (r"0.\dot{1}4285\dot7", 1.0 / 7.0),
            ("0.(3)", 1.0 / 3.0),
            ("0.1666...", 1.0 / 6.0),
            (r"0.1212\ldots", 4.0 / 33.0),
            ("0.5(3)", 1.5),
            ("3万", 30_000.0),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_is_no_expression_is_none() {
        for text in [
            "",
            "2 3",
            "x2",
            "(1",
            "1)",
            "1+",
            "*2",
            r"\frac{1}",
            "1,2",
            "a=b",
            "2 4/3",
            "abcde fghij klmno pqrst uvwxy",
            "|1",
            "2 apples + ",
            "0.123...",
            "0.33...",
            r"0.\overline{}",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(parse(&"(".repeat(100)).is_none());
        assert!(parse(&format!("{}1{}", "(".repeat(60), ")".repeat(60))).is_none());
        assert!(parse(&"-".repeat(150)).is_none());
        assert!(parse(&"1+".repeat(200)).is_none());
        assert_eq!(value("1/0"), None);
    }

    #[test]
    fn expressions_with_variables_are_compared_at_points() {
        let same = |a: &str, b: &str| parse(a).unwrap().same(&parse(b).unwrap());
        for (a, b) in [
            ("(x+1)^2", "x^2+2x+1"),
            (r"\frac{x^2-1}{x-1}", "x+1"),
            ("2ab", "2ba"),
            (r"\sqrt{x}", "x^{1/2}"),
            ("x_1+x_2", "x_{2}+x_1"),
            (r"\sin^2 x+\cos^2 x", "1+0x"),
            ("3x y", "3xy"),
            (r"\frac{n!}{2}", "n!/2"),
            ("n!", "n(n-1)!"),
            (r"\binom{n}{2}", "n(n-1)/2"),
            (r"x^{\frac{2}{3}}", r"\sqrt[3]{x^2}"),
            ("x^{1/3}", r"\sqrt[3]{x}"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in
            [("x+1", "x"), ("x", "y"), ("x^2", "2x"), (r"\sqrt{x^2}", "x"), ("x_1", "x_2")]
        {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(
            text in r"([0-9xy+*/^()\[\]{}|!., -]|\\frac|\\sqrt|\\sin|\\log_|\\text\{){0,60}",
        ) {
            if let Some(expression) = parse(&text) {
                expression.value();
                expression.same(&expression);
            }
        }
    }
}
