//! From the text of an answer, LaTeX or plain, to tokens.
//!
//! This module does not know grammar: it names what is there and drops what only changes the looks.
//! Takes linear time and gives up on text that is too long for an answer.
//!
//! Our grader reads more than the engines of the peers, whose emulations must err where they err: [`Dialect`].

use strum::EnumString;

use crate::numeral::{chinese_number, prefixes, scale};
use crate::scalar::Scalar;

/// Longer answers are compared as text only; the longest answer key of the public benchmarks that is
/// an expression has some 60 tokens.
const TOKENS_MAX: usize = 192;

/// Where an answer is text, it may be longer, but not longer than this.
pub(super) const BYTES_MAX: usize = 2048;
/// Digits of a number beyond this are more than 128 bits hold.
const DIGITS_MAX: usize = 36;

/// Longer parts of a repeating decimal than this are no value.
const REPETEND_MAX: usize = 18;

/// So many digits must show a repetition that only dots continue: `0.333...`.
const SHOWN_MIN: usize = 3;

/// LaTeX commands that only change how the text in their braces looks.
pub(super) const WRAPPERS: [&str; 22] = [
    "text",
    "mathrm",
    "textbf",
    "mathbf",
    "textit",
    "mathit",
    "mbox",
    "textrm",
    "operatorname",
    "textnormal",
    "boldsymbol",
    "mathsf",
    "texttt",
    "emph",
    "mathbb",
    "bm",
    "boxed",
    "fbox",
    "hbox",
    "textsf",
    "mathcal",
    "bold",
];

/// Whose reading of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// What the engines of the peers read.
    Peers,
    /// What our grader reads: also matrices, repeating decimals, numbers of any size, Chinese.
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    ArcSin,
    ArcCos,
    ArcTan,
    Ln,
    Log,
    Exp,
    Sqrt,
    Abs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Approximately,
    In,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A number, how many decimals it is written with, and whether it is digits only.
    Number {
        value: Scalar,
        decimals: u32,
        plain: bool,
    },
    /// One letter outside `\text`, or the name of a Greek one.
    Letter,
    /// Several letters, or any within `\text`.
    Word,
    Function(Function),
    Pi,
    Euler,
    Infinity,
    Fraction,
    Plus,
    Minus,
    PlusMinus,
    MinusPlus,
    /// A mark of a derivative or of another thing of the same name.
    Prime,
    Times,
    Divide,
    Power,
    Subscript,
    Factorial,
    DoubleFactorial,
    Binomial,
    Percent,
    Degree,
    Bar,
    /// `(`, `[`, `{`, for `\{` an `s`, for the start of a matrix an `m`.
    Open(u8),
    Close(u8),
    /// What separates the cells and the lines of a matrix.
    Cell,
    Line,
    Comma,
    Semicolon,
    Colon,
    Relation(Relation),
    Union,
    Currency,
    /// Anything that no expression holds.
    Other,
}

/// A token and where it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    /// True if there is white space, of either kind, before it.
    pub(super) spaced: bool,
}

/// Returns the tokens of `text`; `None` if there are too many, or none at all.
pub(super) fn tokens(text: &str, dialect: Dialect) -> Option<Vec<Token>> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let mut lexer = Lexer {
        text,
        at: 0,
        spaced: false,
        own: dialect == Dialect::Own,
        depth: 0,
        matrices: 0,
        text_ends: Vec::new(),
        found: Vec::with_capacity(16),
        amounts: dialect == Dialect::Own && starts_amounts(text),
        quoted: false,
        scale: None,
    };
    while lexer.at < text.len() {
        lexer.step();
        if lexer.found.len() > TOKENS_MAX {
            return None;
        }
    }
    (!lexer.found.is_empty()).then_some(lexer.found)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    spaced: bool,
    own: bool,
    /// How many brackets are open; within them a comma separates.
    depth: usize,
    /// How many matrices are open.
    matrices: usize,
    /// Where the `\text{…}` that are open end.
    text_ends: Vec<usize>,
    found: Vec<Token>,
    /// True if each `$` stands before an amount.
    amounts: bool,
    /// True if a single quotation mark is open.
    quoted: bool,
    /// What the last token was multiplied by, if it was.
    scale: Option<i128>,
}

impl Lexer<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn push(&mut self, kind: Kind, length: usize) {
        // What was multiplied is the larger part of the number that follows at once.
        if !matches!(kind, Kind::Number { .. }) || self.spaced {
            self.scale = None;
        }
        let token = Token { kind, start: self.at, end: self.at + length, spaced: self.spaced };
        self.found.push(token);
        self.spaced = false;
        self.at += length;
    }

    /// Steps over what is as good as white space.
    fn space(&mut self, length: usize) {
        self.at += length;
        self.spaced = true;
    }

    fn step(&mut self) {
        if self.text_ends.last() == Some(&self.at) {
            self.text_ends.pop();
            self.at += 1;
            self.spaced |= !self.own;
            return;
        }
        let byte = self.byte(self.at);
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'~' => self.space(1),
            // Delimiters of formulas and of emphasis.
            b'$' if self.amounts => self.push(Kind::Currency, 1),
            b'$' | b'`' | b'"' => self.at += 1,
            b'\'' => self.mark(1),
            b'0'..=b'9' => self.number(),
            b'.' if self.byte(self.at + 1).is_ascii_digit() && !self.follows_number() => {
                self.number();
            }
            b'a'..=b'z' | b'A'..=b'Z' => self.letters(),
            b'\\' => self.command(),
            b'+' if self.byte(self.at + 1) == b'-' => self.push(Kind::PlusMinus, 2),
            b'+' => self.push(Kind::Plus, 1),
            b'-' => self.push(Kind::Minus, 1),
            b'*' if self.byte(self.at + 1) == b'*' => {
                // A power between operands, emphasis elsewhere.
                if self.follows_operand() && !matches!(self.byte(self.at + 2), 0 | b'.' | b' ') {
                    self.push(Kind::Power, 2);
                } else {
                    self.at += 2;
                }
            }
            b'*' => self.push(Kind::Times, 1),
            b'/' => self.push(Kind::Divide, 1),
            b'^' => self.caret(),
            b'_' => self.push(Kind::Subscript, 1),
            b'!' if self.byte(self.at + 1) == b'=' => {
                self.push(Kind::Relation(Relation::NotEqual), 2);
            }
            b'!' if self.own && self.byte(self.at + 1) == b'!' => {
                self.push(Kind::DoubleFactorial, 2);
            }
            b'!' => self.push(Kind::Factorial, 1),
            b'&' if self.matrices > 0 => self.push(Kind::Cell, 1),
            b'.' if self.own && self.text[self.at..].starts_with("...") => {
                self.push(Kind::Other, 3);
            }
            b'%' => self.push(Kind::Percent, 1),
            b'|' => self.push(Kind::Bar, 1),
            b'(' | b'[' | b'{' => self.open(byte, 1),
            b')' | b']' | b'}' => {
                let open = match byte {
                    b')' => b'(',
                    b']' => b'[',
                    _ => b'{',
                };
                self.close(open, 1);
            }
            b',' => self.push(Kind::Comma, 1),
            b';' => self.push(Kind::Semicolon, 1),
            b':' => self.push(Kind::Colon, 1),
            b'=' => {
                let length = if self.byte(self.at + 1) == b'=' { 2 } else { 1 };
                self.push(Kind::Relation(Relation::Equal), length);
            }
            b'<' if self.byte(self.at + 1) == b'=' => {
                self.push(Kind::Relation(Relation::LessEqual), 2);
            }
            b'>' if self.byte(self.at + 1) == b'=' => {
                self.push(Kind::Relation(Relation::GreaterEqual), 2);
            }
            b'<' => self.push(Kind::Relation(Relation::Less), 1),
            b'>' => self.push(Kind::Relation(Relation::Greater), 1),
            0x80.. => self.wide(),
            _ => self.push(Kind::Other, 1),
        }
    }

    /// Reads a mark behind a name, which belongs to that, or one that quotes.
    fn mark(&mut self, length: usize) {
        let name = matches!(
            self.found.last().map(|token| token.kind),
            Some(Kind::Letter | Kind::Word | Kind::Prime | Kind::Close(_))
        );
        if self.own && name && !self.quoted && !self.spaced && self.text_ends.is_empty() {
            self.push(Kind::Prime, length);
        } else {
            self.quoted = !self.quoted;
            self.at += length;
        }
    }

    fn open(&mut self, bracket: u8, length: usize) {
        self.depth += 1;
        self.push(Kind::Open(bracket), length);
    }

    fn close(&mut self, bracket: u8, length: usize) {
        self.depth = self.depth.saturating_sub(1);
        self.push(Kind::Close(bracket), length);
    }

    fn follows_number(&self) -> bool {
        !self.spaced && matches!(self.found.last(), Some(Token { kind: Kind::Number { .. }, .. }))
    }

    fn follows_operand(&self) -> bool {
        matches!(
            self.found.last().map(|token| token.kind),
            Some(Kind::Number { .. } | Kind::Letter | Kind::Pi | Kind::Euler | Kind::Close(_))
        )
    }

    /// `^\circ` and `^{\circ}` are degrees, any other `^` is a power.
    fn caret(&mut self) {
        let rest = &self.text[self.at + 1..];
        let trimmed = rest.trim_start();
        let space = rest.len() - trimmed.len();
        for degree in ["\\circ", "{\\circ}", "\\degree", "{\\degree}", "°", "{\\circ }"] {
            if trimmed.starts_with(degree) {
                self.push(Kind::Degree, 1 + space + degree.len());
                return;
            }
        }
        // `f^{\prime\prime}` is `f''`.
        let primes = trimmed.trim_start_matches('{');
        if self.own && primes.starts_with("\\prime") {
            let length = primes.len() - primes.replacen("\\prime", "", 9).trim_start().len();
            let count = length / "\\prime".len();
            let braces = trimmed.len() - primes.len();
            let closing = primes[length..].len() - primes[length..].trim_start_matches('}').len();
            for _ in 1..count {
                self.push(Kind::Prime, 0);
            }
            self.push(Kind::Prime, 1 + space + braces + length + closing.min(braces));
            return;
        }
        self.push(Kind::Power, 1);
    }

    fn number(&mut self) {
        let mut digits: Vec<u8> = Vec::new();
        let mut decimals = 0u32;
        let mut plain = true;
        let mut at = self.at;
        let start = at;
        if self.is_argument() {
            let value = Scalar::integer(i128::from(self.byte(at) - b'0'));
            self.push(Kind::Number { value, decimals: 0, plain: true }, 1);
            return;
        }
        while self.byte(at).is_ascii_digit() {
            digits.push(self.byte(at));
            at += 1;
        }
        // A first group of up to three digits may be followed by groups of three.
        if (1..=3).contains(&(at - start)) {
            while let Some(length) = self.separator(at) {
                digits.extend((at + length..at + length + 3).map(|place| self.byte(place)));
                at += length + 3;
            }
        }
        if self.byte(at) == b'.' && self.byte(at + 1).is_ascii_digit() {
            plain = false;
            at += 1;
            while self.byte(at).is_ascii_digit() {
                digits.push(self.byte(at));
                decimals += 1;
                at += 1;
            }
        }
        if self.own
            && let Some((value, end)) = self.repeating(&digits, decimals as usize, at)
        {
            // As many decimals as anybody may write.
            self.push(Kind::Number { value, decimals: u32::MAX, plain: false }, end - self.at);
            return;
        }
        let mut exponent = 0i32;
        if matches!(self.byte(at), b'e' | b'E') {
            let signed = matches!(self.byte(at + 1), b'+' | b'-');
            let first = at + 1 + usize::from(signed);
            let mut end = first;
            while self.byte(end).is_ascii_digit() && end < first + 4 {
                exponent = exponent * 10 + i32::from(self.byte(end) - b'0');
                end += 1;
            }
            if end > first && !self.byte(end).is_ascii_alphanumeric() {
                exponent *= if self.byte(at + 1) == b'-' { -1 } else { 1 };
                at = end;
                plain = false;
            } else {
                exponent = 0;
            }
        }
        let mantissa = Scalar::of_digits(&digits);
        let kind = if mantissa.is_nan() || (digits.len() > DIGITS_MAX && !self.own) {
            Kind::Other
        } else {
            let power = i128::from(exponent) - i128::from(decimals);
            let scale = Scalar::integer(10).power(Scalar::integer(power.abs()));
            let value = if power < 0 { mantissa.divide(scale) } else { mantissa.multiply(scale) };
            Kind::Number { value, decimals, plain }
        };
        self.push(kind, at - self.at);
    }

    /// Returns the value of a decimal whose last digits repeat without end, and where it ends in the text.
    ///
    /// `digits` are those before `at`, of which the last `decimals` stand behind the point. Read are `0.1\overline{6}`,
    /// `0.1\dot{6}`, `0.\dot{1}42\dot{8}`, `0.(6)` and, where the repetition shows, `0.1666...`.
    fn repeating(&self, digits: &[u8], decimals: usize, at: usize) -> Option<(Scalar, usize)> {
        let has_point = decimals > 0 || (self.byte(at) == b'.' && self.byte(at + 1) != b'.');
        if !has_point || digits.is_empty() {
            return None;
        }
        let place = if decimals > 0 { at } else { at + 1 };
        let rest = &self.text[place..];
        let (repetend, length) = match () {
            () if rest.starts_with('(') && decimals == 0 => enclosed(rest, '(', ')')?,
            () if rest.starts_with('\\') => over(rest).or_else(|| shown(rest, digits, decimals))?,
            () => shown(rest, digits, decimals)?,
        };
        if repetend.is_empty() || repetend.len() > REPETEND_MAX || digits.len() > REPETEND_MAX {
            return None;
        }
        // With I, D and R the digits before the point, behind it and repeated: (IDR - ID) / (10^|D| (10^|R| - 1)).
        let whole = Scalar::of_digits(digits);
        let all = Scalar::of_digits(&[digits, repetend.as_slice()].concat());
        let ten = |power: usize| Scalar::integer(10).power(Scalar::integer(power as i128));
        let nines = ten(repetend.len()).add(Scalar::integer(-1));
        let value = all.add(whole.negate()).divide(ten(decimals).multiply(nines));
        Some((value, place + length))
    }

    /// Returns whether TeX takes the next digit alone, as one of the two arguments of `\\frac`.
    fn is_argument(&self) -> bool {
        let mut last = self.found.iter().rev().map(|token| token.kind);
        self.byte(self.at).is_ascii_digit()
            && match last.next() {
                Some(Kind::Fraction | Kind::Binomial) => true,
                Some(Kind::Number { .. }) => {
                    matches!(last.next(), Some(Kind::Fraction | Kind::Binomial))
                }
                _ => false,
            }
    }

    /// Returns the length of a thousands separator at a place, if three digits and no fourth follow.
    fn separator(&self, at: usize) -> Option<usize> {
        let rest = &self.text.as_bytes()[at.min(self.text.len())..];
        let length = ["{,}", "\\,", ",\\!", "\u{2009}", "\u{202f}", "\u{a0}"]
            .iter()
            .find(|separator| rest.starts_with(separator.as_bytes()))
            .map(|separator| separator.len())
            .or((self.depth == 0 && rest.first() == Some(&b',')).then_some(1))?;
        let digits = rest.get(length..length + 3)?;
        let fourth = rest.get(length + 3).is_some_and(u8::is_ascii_digit);
        (digits.iter().all(u8::is_ascii_digit) && !fourth).then_some(length)
    }

    fn letters(&mut self) {
        let bytes = &self.text.as_bytes()[self.at..];
        let length = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let word = &self.text[self.at..self.at + length];
        let in_text = !self.text_ends.is_empty();
        let kind = match word {
            // `3 x 10^5` and `2x3` multiply.
            "x" if !in_text
                && matches!(self.found.last(), Some(Token { kind: Kind::Number { .. }, .. }))
                && self.text[self.at + 1..]
                    .trim_start()
                    .starts_with(|c: char| c.is_ascii_digit()) =>
            {
                Kind::Times
            }
            "e" if !in_text => Kind::Euler,
            "i" | "I" if !in_text => Kind::Letter,
            _ if length == 1 && !in_text => Kind::Letter,
            _ => named(word).unwrap_or(Kind::Word),
        };
        self.push(kind, length);
    }

    fn command(&mut self) {
        let bytes = &self.text.as_bytes()[self.at + 1..];
        let length = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if length == 0 {
            match self.byte(self.at + 1) {
                b'{' => self.open(b's', 2),
                b'}' => self.close(b's', 2),
                b'%' => self.push(Kind::Percent, 2),
                b'$' => self.push(Kind::Currency, 2),
                b'\\' if self.matrices > 0 => self.push(Kind::Line, 2),
                b'|' => self.push(Kind::Bar, 2),
                b'(' | b')' | b'[' | b']' | b',' | b';' | b':' | b'!' | b' ' | b'\\' | b'/'
                | b'\n' | b'\t' => self.space(2),
                b'&' | b'#' | b'_' => self.push(Kind::Other, 2),
                _ => self.push(Kind::Other, 1),
            }
            return;
        }
        let name = &self.text[self.at + 1..self.at + 1 + length];
        let size = length + 1;
        match name {
            _ if WRAPPERS.contains(&name) => {
                self.at += size;
                self.wrapped(matches!(
                    name,
                    "boldsymbol" | "boxed" | "bm" | "fbox" | "mathbf" | "bold"
                ));
            }
            "begin" | "end" if self.own && self.matrix(size, name == "begin") => {}
            "binom" | "dbinom" | "tbinom" if self.own => self.push(Kind::Binomial, size),
            "lor" | "vee" | "land" | "wedge" if self.own => self.push(Kind::Word, size),
            "mp" if self.own => self.push(Kind::MinusPlus, size),
            "prime" if self.own => self.push(Kind::Prime, size),
            "ldots" | "dots" | "cdots" | "dotsc" if self.own => self.push(Kind::Other, size),
            "left" | "right" => {
                self.at += size;
                if self.byte(self.at) == b'.' {
                    self.at += 1;
                }
            }
            "displaystyle" | "textstyle" | "limits" | "big" | "Big" | "bigl" | "bigr" | "Bigl"
            | "Bigr" | "bigg" | "Bigg" | "rm" | "bf" | "it" | "mathstrut" | "phantom" => {
                self.space(size);
            }
            "quad" | "qquad" | "space" | "enspace" | "thinspace" => self.space(size),
            "frac" | "dfrac" | "tfrac" | "cfrac" => self.push(Kind::Fraction, size),
            "times" | "cdot" | "ast" | "cdotp" => self.push(Kind::Times, size),
            "div" | "over" => self.push(Kind::Divide, size),
            "pm" | "mp" => self.push(Kind::PlusMinus, size),
            "pi" => self.push(Kind::Pi, size),
            "infty" | "infin" => self.push(Kind::Infinity, size),
            "circ" | "degree" => self.push(Kind::Degree, size),
            "percent" => self.push(Kind::Percent, size),
            "le" | "leq" | "leqslant" => self.push(Kind::Relation(Relation::LessEqual), size),
            "ge" | "geq" | "geqslant" => self.push(Kind::Relation(Relation::GreaterEqual), size),
            "lt" => self.push(Kind::Relation(Relation::Less), size),
            "gt" => self.push(Kind::Relation(Relation::Greater), size),
            "ne" | "neq" => self.push(Kind::Relation(Relation::NotEqual), size),
            "approx" | "simeq" | "thickapprox" => {
                self.push(Kind::Relation(Relation::Approximately), size);
            }
            "in" => self.push(Kind::Relation(Relation::In), size),
            "cup" => self.push(Kind::Union, size),
            "lbrace" => self.open(b's', size),
            "rbrace" => self.close(b's', size),
            "langle" => self.open(b'(', size),
            "rangle" => self.close(b'(', size),
            "lvert" | "rvert" | "vert" | "mid" => self.push(Kind::Bar, size),
            "pounds" | "euro" | "textdollar" => self.push(Kind::Currency, size),
            "alpha" | "beta" | "gamma" | "delta" | "theta" | "lambda" | "mu" | "omega" | "phi"
            | "rho" | "sigma" | "tau" | "varphi" | "epsilon" | "varepsilon" | "eta" | "Delta"
            | "Omega" | "Theta" | "nu" | "psi" | "chi" | "xi" | "zeta" | "kappa" | "Gamma" => {
                self.push(Kind::Letter, size);
            }
            _ => {
                let kind = named(name).unwrap_or(Kind::Other);
                self.push(kind, size);
            }
        }
    }

    /// Reads `\begin{pmatrix}` and the like, and the columns that an `array` is given; false if it is something else.
    fn matrix(&mut self, size: usize, opens: bool) -> bool {
        let start = self.at + size;
        let Some((name, rest)) =
            self.text[start..].strip_prefix('{').and_then(|rest| rest.split_once('}'))
        else {
            return false;
        };
        if !matches!(name, "matrix" | "pmatrix" | "bmatrix" | "Bmatrix" | "smallmatrix" | "array") {
            return false;
        }
        let mut size = size + name.len() + 2;
        if opens {
            if name == "array"
                && let Some(columns) = rest.strip_prefix('{').and_then(matching_brace)
            {
                size += columns + 2;
            }
            self.matrices += 1;
            self.open(b'm', size);
        } else {
            self.matrices = self.matrices.saturating_sub(1);
            self.close(b'm', size);
        }
        true
    }

    /// Opens the braces after `\text` and the like; the content of `formula`s is no text.
    fn wrapped(&mut self, formula: bool) {
        let rest = &self.text[self.at..];
        let space = rest.len() - rest.trim_start().len();
        if !rest[space..].starts_with('{') {
            self.spaced = true;
            return;
        }
        let inner = self.at + space + 1;
        // The whole of it must balance, or the brace stays what it is.
        let Some(length) = matching_brace(&self.text[inner..]) else { return };
        if formula {
            // Braces group without changing anything.
            return;
        }
        self.text_ends.push(inner + length);
        self.at = inner;
        // `\text{5}-\text{3}` looks as `5-3` does.
        self.spaced |= !self.own;
    }

    fn wide(&mut self) {
        let Some(symbol) = self.text[self.at..].chars().next() else { return };
        let size = symbol.len_utf8();
        match symbol {
            '\u{a0}' | '\u{2009}' | '\u{202f}' | '\u{3000}' | '\u{2002}' | '\u{2003}' => {
                self.space(size);
            }
            '\u{200b}' | '\u{2061}' | '\u{feff}' | '’' | '‘' | '“' | '”' => self.at += size,
            '−' | '–' | '—' | '‐' => self.push(Kind::Minus, size),
            '×' | '·' | '⋅' | '∙' | '✕' => self.push(Kind::Times, size),
            '÷' | '∕' => self.push(Kind::Divide, size),
            '±' => self.push(Kind::PlusMinus, size),
            '∓' if self.own => self.push(Kind::MinusPlus, size),
            '∧' | '∨' if self.own => self.push(Kind::Word, size),
            '′' => self.mark(size),
            'π' => self.push(Kind::Pi, size),
            '∞' => self.push(Kind::Infinity, size),
            '√' => self.push(Kind::Function(Function::Sqrt), size),
            '°' | 'º' => self.push(Kind::Degree, size),
            '≤' | '⩽' => self.push(Kind::Relation(Relation::LessEqual), size),
            '≥' | '⩾' => self.push(Kind::Relation(Relation::GreaterEqual), size),
            '≠' => self.push(Kind::Relation(Relation::NotEqual), size),
            '≈' | '≃' => self.push(Kind::Relation(Relation::Approximately), size),
            '∈' => self.push(Kind::Relation(Relation::In), size),
            '＝' => self.push(Kind::Relation(Relation::Equal), size),
            '∪' => self.push(Kind::Union, size),
            '（' => self.open(b'(', size),
            '）' => self.close(b'(', size),
            '，' | '、' => self.push(Kind::Comma, size),
            '；' => self.push(Kind::Semicolon, size),
            '：' => self.push(Kind::Colon, size),
            '％' => self.push(Kind::Percent, size),
            '€' | '£' | '¥' | '₹' => self.push(Kind::Currency, size),
            '²' => self.superscript(2, size),
            '³' => self.superscript(3, size),
            '⁴' => self.superscript(4, size),
            '½' => self.vulgar(1, 2, size),
            '⅓' => self.vulgar(1, 3, size),
            '⅔' => self.vulgar(2, 3, size),
            '¼' => self.vulgar(1, 4, size),
            '¾' => self.vulgar(3, 4, size),
            _ if self.own && self.scales(symbol) => {}
            _ if self.own && symbol.is_alphabetic() && self.numeral() => {}
            _ if symbol.is_alphabetic() => {
                let rest = &self.text[self.at..];
                // A Chinese word ends where a Latin letter starts.
                let ends = |c: char| !c.is_alphabetic() || (self.own && c.is_ascii());
                let length = rest.find(ends).unwrap_or(rest.len());
                let kind = if length == size { Kind::Letter } else { Kind::Word };
                self.push(kind, length);
            }
            _ => self.push(Kind::Other, size),
        }
    }

    /// Multiplies the number just before, as `3万` is 30 000 and `5千5百` is 5500; false if there is none.
    fn scales(&mut self, symbol: char) -> bool {
        let Some(mut factor) = scale(symbol) else { return false };
        let Some(Token { kind: Kind::Number { .. }, .. }) = self.found.last() else { return false };
        let mut size = symbol.len_utf8();
        if prefixes(&self.text[self.at..]) {
            return false;
        }
        while let Some(next) = self.text[self.at + size..].chars().next()
            && let Some(more) = scale(next)
            && !prefixes(&self.text[self.at + size..])
            && let Some(product) = factor.checked_mul(more)
        {
            factor = product;
            size += next.len_utf8();
        }
        let last = self.scale;
        let before = self.found.len().checked_sub(2).map(|at| self.found[at]);
        let Some(Token { kind: Kind::Number { value, decimals, plain }, end, start, .. }) =
            self.found.last_mut()
        else {
            return false;
        };
        *value = value.multiply(Scalar::integer(factor));
        *decimals = 0;
        *plain = false;
        *end = self.at + size;
        if let Some(Token { kind: Kind::Number { value: larger, .. }, start: first, end, .. }) =
            before
            && end == *start
            && last.is_some_and(|last| last > factor)
        {
            *value = value.add(larger);
            *start = first;
            let sum = self.found.pop();
            self.found.pop();
            self.found.extend(sum);
        }
        self.scale = Some(factor);
        self.at += size;
        true
    }

    /// Reads a word that is a number in Chinese and nothing else: `五十`, `三分之一`.
    fn numeral(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_alphabetic() || c.is_ascii()).unwrap_or(rest.len());
        let word = &rest[..length];
        // One sign may be another word.
        if word.chars().nth(1).is_none() {
            return false;
        }
        let value = match word.split_once("分之") {
            Some((below, above)) => {
                let (below, above) = (chinese_number(below), chinese_number(above));
                below.zip(above).map(|(below, above)| Scalar::fraction(above, below))
            }
            None => chinese_number(word).map(Scalar::integer),
        };
        let Some(value) = value.filter(|value| !value.is_nan()) else { return false };
        self.push(Kind::Number { value, decimals: 0, plain: false }, length);
        true
    }

    /// Pushes a power in one character: the `^` has no length.
    fn superscript(&mut self, value: i128, size: usize) {
        self.push(Kind::Power, 0);
        let value = Scalar::integer(value);
        self.push(Kind::Number { value, decimals: 0, plain: true }, size);
    }

    /// Pushes a fraction in one character; after a number it is the rest of a mixed one.
    fn vulgar(&mut self, numerator: i128, denominator: i128, size: usize) {
        if matches!(self.found.last(), Some(Token { kind: Kind::Number { plain: true, .. }, .. })) {
            self.push(Kind::Plus, 0);
        }
        let value = Scalar::fraction(numerator, denominator);
        self.push(Kind::Number { value, decimals: 0, plain: false }, size);
    }
}
/// Returns whether there is a `$` and each stands before an amount: where none closes a formula, none opens one.
pub(super) fn starts_amounts(text: &str) -> bool {
    let mut found = false;
    for (at, _) in text.match_indices('$') {
        if text[..at].ends_with('\\') {
            continue;
        }
        let opens =
            text[at + 1..].trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
        let apart = text[..at]
            .chars()
            .next_back()
            .is_none_or(|c| c.is_whitespace() || "(,;:-+~±[{".contains(c));
        if !opens || !apart {
            return false;
        }
        found = true;
    }
    found
}

/// Returns how many bytes stand before the brace that closes one opened just before `text`.
pub(super) fn matching_brace(text: &str) -> Option<usize> {
    let mut depth = 1usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the digits between two signs at the start of a text and the length of all that.
fn enclosed(text: &str, open: char, close: char) -> Option<(Vec<u8>, usize)> {
    let inner = text.strip_prefix(open)?;
    let length = inner.bytes().take_while(u8::is_ascii_digit).count();
    inner[length..].starts_with(close).then(|| (inner.as_bytes()[..length].to_vec(), length + 2))
}

/// Reads `\overline{6}`, `\bar{6}`, `\dot{6}` or `\dot{1}42\dot{8}` at the start of a text.
fn over(text: &str) -> Option<(Vec<u8>, usize)> {
    let marked = |text: &str, name: &str| {
        let rest = text.strip_prefix(name)?;
        let inner = rest.trim_start();
        let (digits, length) = match inner.bytes().next()? {
            b'{' => enclosed(inner, '{', '}')?,
            digit @ b'0'..=b'9' => (vec![digit], 1),
            _ => return None,
        };
        Some((digits, name.len() + rest.len() - inner.len() + length))
    };
    if let Some(found) = marked(text, "\\overline").or_else(|| marked(text, "\\bar")) {
        return Some(found);
    }
    let (mut digits, start) = marked(text, "\\dot")?;
    let between = text[start..].bytes().take_while(u8::is_ascii_digit).count();
    if let Some((last, length)) = marked(&text[start + between..], "\\dot") {
        digits.extend_from_slice(&text.as_bytes()[start..start + between]);
        digits.extend(last);
        return Some((digits, start + between + length));
    }
    Some((digits, start))
}

/// Reads dots after decimals that show what repeats.
fn shown(text: &str, digits: &[u8], decimals: usize) -> Option<(Vec<u8>, usize)> {
    let dots =
        ["...", "\\ldots", "\\dots", "\\cdots"].iter().find(|dots| text.starts_with(**dots))?;
    let decimals = digits.get(digits.len().checked_sub(decimals)?..)?;
    let period = (1..=decimals.len() / 2).find(|period| {
        let length = (2 * period).max(SHOWN_MIN);
        let tail = decimals.len().checked_sub(length).map(|start| &decimals[start..]);
        tail.is_some_and(|tail| tail.iter().zip(&tail[*period..]).all(|(a, b)| a == b))
    })?;
    Some((decimals[decimals.len() - period..].to_vec(), dots.len()))
}

/// Returns what a word means, with or without a backslash.
fn named(word: &str) -> Option<Kind> {
    Some(match word {
        "lg" => Kind::Function(Function::Log),
        "pi" => Kind::Pi,
        "infinity" | "inf" | "oo" => Kind::Infinity,
        "percent" => Kind::Percent,
        "degree" | "degrees" | "deg" => Kind::Degree,
        _ => Kind::Function(word.parse().ok()?),
    })
}
