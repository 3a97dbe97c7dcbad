//! Reads Python literals in cells: what `repr` writes of lists, dictionaries, texts and numbers.
//!
//! This module does not evaluate anything and does not know what a cell means.
//!
//! Decisions:
//! - As `ast.literal_eval`, without bytes, sets, complex numbers, prefixes and triple quotes.
//! - Two texts side by side are refused, where Python joins them: that is how numpy prints a list, and
//!   joined it would be one choice instead of two.

use crate::datasets::value::{Value, shown};

/// Literals nested deeper are refused.
const DEPTH_MAX: usize = 32;

/// Returns the value that `text` spells.
///
/// # Errors
/// One line that says what was expected where.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.expected("the end"));
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes, at the beginning of a character.
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> String {
        let place = self.text[..self.at].chars().count() + 1;
        match self.peek() {
            Some(found) => {
                format!(
                    "expected {what} at character {place}, found `{}`",
                    shown(found.encode_utf8(&mut [0; 4]))
                )
            }
            None => format!("expected {what} at character {place}, where the cell ends"),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.space();
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        match self.peek() {
            Some('[') => self.list(']', depth),
            Some('(') => self.list(')', depth),
            Some('{') => self.dictionary(depth),
            Some(quote @ ('\'' | '"')) => Ok(Value::Text(self.string(quote)?)),
            Some('0'..='9' | '-' | '+' | '.') => self.number(),
            _ => self.name(),
        }
    }

    fn list(&mut self, end: char, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut values = Vec::new();
        let mut num_commas = 0;
        loop {
            self.space();
            if self.take(end) {
                break;
            }
            values.push(self.value(depth + 1)?);
            self.space();
            if self.take(',') {
                num_commas += 1;
            } else if self.peek() != Some(end) {
                return Err(self.expected(&format!("`,` or `{end}`")));
            }
        }
        // Parentheses without a comma are no tuple.
        match values.pop() {
            Some(value) if end == ')' && num_commas == 0 => Ok(value),
            last => {
                values.extend(last);
                Ok(Value::List(values))
            }
        }
    }

    fn dictionary(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut fields: Vec<(String, Value)> = Vec::new();
        loop {
            self.space();
            if self.take('}') {
                return Ok(Value::Struct(fields));
            }
            let key = match self.value(depth + 1)? {
                Value::Text(key) => key,
                Value::Number(key) => key,
                _ => return Err(self.expected("a text or a number as a key before")),
            };
            self.space();
            if !self.take(':') {
                return Err(self.expected("`:`"));
            }
            if fields.iter().any(|(name, _)| *name == key) {
                return Err(format!("the key `{key}` is there twice"));
            }
            fields.push((key, self.value(depth + 1)?));
            self.space();
            if !self.take(',') && self.peek() != Some('}') {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<String, String> {
        self.at += 1;
        let stops = |c: char| c == quote || matches!(c, '\\' | '\n' | '\r');
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let length = rest.find(stops).unwrap_or(rest.len());
            text.push_str(&rest[..length]);
            self.at += length;
            match self.peek() {
                Some('\\') => {
                    self.at += 1;
                    self.escape(&mut text)?;
                }
                Some(c) if c == quote => {
                    self.at += 1;
                    return Ok(text);
                }
                _ => return Err(self.expected(&format!("the closing `{quote}`"))),
            }
        }
    }

    /// Returns what stands behind a backslash.
    fn escape(&mut self, text: &mut String) -> Result<(), String> {
        let Some(kind) = self.next() else { return Err(self.expected("a character")) };
        let code = match kind {
            '\n' => return Ok(()),
            '\\' | '\'' | '"' => u32::from(kind),
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            'x' => self.digits(16, 2, 2)?,
            'u' => self.digits(16, 4, 4)?,
            'U' => self.digits(16, 8, 8)?,
            '0'..='7' => {
                self.at -= 1;
                self.digits(8, 1, 3)?
            }
            // Python keeps what it does not know.
            other => {
                text.push('\\');
                text.push(other);
                return Ok(());
            }
        };
        let found =
            char::from_u32(code).ok_or_else(|| format!("there is no character {code:#x}"))?;
        text.push(found);
        Ok(())
    }

    fn digits(&mut self, radix: u32, min: usize, max: usize) -> Result<u32, String> {
        let mut code = 0;
        for num in 0..max {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else {
                if num < min {
                    return Err(self.expected(&format!("a digit to base {radix}")));
                }
                break;
            };
            self.at += 1;
            code = code * radix + digit;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || "+-._".contains(c)) {
            self.at += 1;
        }
        let number = &self.text[start..self.at];
        let digits = number.trim_start_matches(['+', '-']);
        // Rust also reads `inf` and `nan`, which are names in Python.
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && number.parse::<f64>().is_ok();
        if !is_number {
            self.at = start;
            return Err(self.expected("a number"));
        }
        Ok(Value::Number(number.to_owned()))
    }

    fn name(&mut self) -> Result<Value, String> {
        for (name, value) in [
            ("None", Value::Null),
            ("True", Value::Boolean(true)),
            ("False", Value::Boolean(false)),
        ] {
            if let Some(rest) = self.text[self.at..].strip_prefix(name)
                && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            {
                self.at += name.len();
                return Ok(value);
            }
        }
        Err(self.expected("a value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Python's `repr` writes it.
    fn repr(value: &Value) -> String {
        match value {
            Value::Null => "None".to_owned(),
            Value::Boolean(true) => "True".to_owned(),
            Value::Boolean(false) => "False".to_owned(),
            Value::Number(number) => number.clone(),
            Value::Text(text) => repr_text(text),
            Value::List(values) => {
                format!("[{}]", values.iter().map(repr).collect::<Vec<_>>().join(", "))
            }
            Value::Struct(fields) => {
                let field =
                    |(key, value): &(String, Value)| format!("{}: {}", repr_text(key), repr(value));
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
            Value::Bytes { .. } => unreachable!("no literal"),
        }
    }

    fn repr_text(text: &str) -> String {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        let mut repr = String::from(quote);
        for c in text.chars() {
            match c {
                '\\' => repr.push_str("\\\\"),
                '\n' => repr.push_str("\\n"),
                '\r' => repr.push_str("\\r"),
                '\t' => repr.push_str("\\t"),
                c if c == quote => repr.extend(['\\', c]),
                c if (c as u32) < 32 || (127..161).contains(&(c as u32)) => {
                    repr.push_str(&format!("\\x{:02x}", c as u32));
                }
                c => repr.push(c),
            }
        }
        repr.push(quote);
        repr
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(|number| Value::Number(number.to_string())),
            any::<String>().prop_map(Value::text),
            "['\"\\\\\t\n,\\]}a]{0,8}".prop_map(Value::text),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
                prop::collection::btree_map("[a-z'\"]{0,4}", inner, 0..4)
                    .prop_map(|fields| Value::Struct(fields.into_iter().collect())),
            ]
        })
    }

    #[track_caller]
    fn refused(text: &str, want: &str) {
        assert_eq!(parse(text).unwrap_err(), want);
    }

    fn texts(texts: &[&str]) -> Value {
        Value::List(texts.iter().map(|text| Value::text(*text)).collect())
    }

    #[test]
    fn literals_are_read_as_python_reads_them() {
        let read = |text| parse(text).unwrap();
        assert_eq!(
            read("['$6', \"it's\", '\\u00e9\\x41\\101\\q']"),
            texts(&["$6", "it's", "éAA\\q"])
        );
        assert_eq!(read(" [ ] "), Value::List(Vec::new()));
        assert_eq!(read("('a',)"), texts(&["a"]));
        assert_eq!(read("('a')"), Value::text("a"));
        let numbers = ["1", "-2.50", "1e-3", ".5"].map(|n| Value::Number(n.to_owned()));
        assert_eq!(read("[1, -2.50, 1e-3, .5,]"), Value::List(numbers.to_vec()));
        let fields = read("{'split': 'testmini', 'source': None, 3: True}");
        assert_eq!(fields.get("split"), Some(&Value::text("testmini")));
        assert_eq!(fields.get("source"), Some(&Value::Null));
        assert_eq!(fields.get("3"), Some(&Value::Boolean(true)));
    }

    #[test]
    fn what_is_no_literal_is_refused_where_it_goes_wrong() {
        refused("['a' 'b']", "expected `,` or `]` at character 6, found `'`");
        refused("['a', 'b", "expected the closing `'` at character 9, where the cell ends");
        refused("['a", "expected the closing `'` at character 4, where the cell ends");
        refused("[nan]", "expected a value at character 2, found `n`");
        refused("{'a' 1}", "expected `:` at character 6, found `1`");
        refused("{'a': 1, 'a': 2}", "the key `a` is there twice");
        refused("'\\ud800'", "there is no character 0xd800");
        refused("[1] + [2]", "expected the end at character 5, found `+`");
        refused("-inf", "expected a number at character 1, found `-`");
        refused(&"[".repeat(40), "nested deeper than 32");
        refused("", "expected a value at character 1, where the cell ends");
    }

    proptest! {
        #[test]
        fn what_python_writes_is_read_back(value in values()) {
            prop_assert_eq!(parse(&repr(&value)).unwrap(), value);
        }

        #[test]
        fn no_text_panics(text in any::<String>(), like in "[\\[\\](){}'\",:\\\\xuU0-9NoneTru.e\n+-]{0,40}") {
            let _ = parse(&text);
            let _ = parse(&like);
        }
    }
}
