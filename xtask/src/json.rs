//! JSON as a tree: enough to read the index of a checkpoint and the header of a safetensors file.
//!
//! Does not know what the keys mean.
//!
//! Decision: read with code of our own. xtask stays without dependencies that take long to compile, and what is read
//! here is small. Tests compare it with what it must refuse.

use anyhow::{Context as _, bail, ensure};

/// Deeper nesting is refused: what is read here has three levels.
const DEPTH_MAX: usize = 32;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As it is written: whoever wants a number says which kind.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// In the order of the file; no key stands twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads `text`, which must hold one value and nothing behind it.
    ///
    /// # Errors
    /// If it is not JSON, or a key stands twice in an object.
    pub(crate) fn read(text: &str) -> anyhow::Result<Json> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.blanks();
        ensure!(reader.at == text.len(), "something stands behind the JSON, at byte {}", reader.at);
        Ok(value)
    }

    /// The value of `key` of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.object()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(crate) fn object(&self) -> Option<&[(String, Json)]> {
        if let Json::Object(pairs) = self { Some(pairs) } else { None }
    }

    pub(crate) fn list(&self) -> Option<&[Json]> {
        if let Json::List(values) = self { Some(values) } else { None }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    /// A number that is whole and not negative.
    pub(crate) fn whole(&self) -> Option<u64> {
        if let Json::Number(digits) = self { digits.parse().ok() } else { None }
    }
}

struct Reader<'a> {
    text: &'a str,
    /// A byte, always at the start of a letter.
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// Takes `sign`, behind blanks.
    fn sign(&mut self, sign: char) -> bool {
        self.blanks();
        let is_there = self.peek() == Some(sign);
        self.at += if is_there { sign.len_utf8() } else { 0 };
        is_there
    }

    fn value(&mut self, depth: usize) -> anyhow::Result<Json> {
        ensure!(depth < DEPTH_MAX, "JSON is nested deeper than {DEPTH_MAX} levels");
        self.blanks();
        for (word, value) in
            [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
        {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        match self.peek() {
            Some('"') => Ok(Json::Text(self.string()?)),
            Some('[') => self.list(depth),
            Some('{') => self.object(depth),
            Some('-' | '0'..='9') => self.number(),
            _ => bail!("no JSON value at byte {}", self.at),
        }
    }

    fn list(&mut self, depth: usize) -> anyhow::Result<Json> {
        self.at += 1;
        let mut values = Vec::new();
        if self.sign(']') {
            return Ok(Json::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            if self.sign(']') {
                return Ok(Json::List(values));
            }
            ensure!(self.sign(','), "a list of JSON does not end, at byte {}", self.at);
        }
    }

    fn object(&mut self, depth: usize) -> anyhow::Result<Json> {
        self.at += 1;
        let mut pairs = Vec::new();
        let mut known = std::collections::BTreeSet::new();
        if self.sign('}') {
            return Ok(Json::Object(pairs));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            ensure!(known.insert(key.clone()), "the key `{}` stands twice", key.escape_debug());
            ensure!(self.sign(':'), "no colon behind a key of JSON, at byte {}", self.at);
            pairs.push((key, self.value(depth + 1)?));
            if self.sign('}') {
                return Ok(Json::Object(pairs));
            }
            ensure!(self.sign(','), "an object of JSON does not end, at byte {}", self.at);
        }
    }

    fn number(&mut self) -> anyhow::Result<Json> {
        let is_part = |letter: char| matches!(letter, '-' | '+' | '.' | 'e' | 'E' | '0'..='9');
        let length = self.rest().find(|letter| !is_part(letter)).unwrap_or(self.rest().len());
        let digits = self.rest()[..length].to_owned();
        let bare = digits.trim_start_matches('-');
        let has_zero = bare.starts_with('0') && bare[1..].starts_with(|c: char| c.is_ascii_digit());
        let is_number = digits.parse::<f64>().is_ok() && !has_zero && !bare.starts_with(['.', '+']);
        ensure!(is_number, "no number of JSON at byte {}", self.at);
        self.at += length;
        Ok(Json::Number(digits))
    }

    fn string(&mut self) -> anyhow::Result<String> {
        let open = self.at;
        let unended = || format!("a text of JSON at byte {open} does not end");
        ensure!(self.next() == Some('"'), "no text of JSON at byte {open}");
        let mut text = String::new();
        loop {
            match self.next().with_context(unended)? {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped().with_context(|| {
                    format!("an escape of JSON at byte {} means nothing", self.at)
                })?),
                '\0'..'\u{20}' => {
                    bail!("a bare control character in a text of JSON at byte {open}")
                }
                letter => text.push(letter),
            }
        }
    }

    /// What stands behind a backslash.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            letter @ ('"' | '\\' | '/') => letter,
            'u' => {
                let high = self.unit()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high);
                }
                let is_pair = self.next()? == '\\' && self.next()? == 'u';
                let low = self.unit()?.checked_sub(0xdc00).filter(|low| is_pair && *low < 0x400)?;
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?
            }
            _ => return None,
        })
    }

    /// Four digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let unit = u32::from_str_radix(digits, 16).ok()?;
        self.at += 4;
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read() {
        let text = r#" {"a": [1, -2.5e3, 0], "b\u00e9\n\"": {"x": null}, "c": true, "d": "\ud83d\ude42é"} "#;
        let tree = Json::read(text).unwrap();
        let list = tree.get("a").unwrap().list().unwrap();
        assert_eq!(list[0].whole(), Some(1));
        assert_eq!(list[1], Json::Number("-2.5e3".to_owned()));
        assert_eq!((list[1].whole(), list[2].whole()), (None, Some(0)));
        assert_eq!(tree.get("bé\n\"").unwrap().get("x"), Some(&Json::Null));
        assert_eq!(tree.get("c"), Some(&Json::Bool(true)));
        assert_eq!(tree.get("d").unwrap().text(), Some("🙂é"));
        assert_eq!(tree.get("e"), None);
        for empty in ["{}", "[]", "\"\"", "{ }", "[\n]"] {
            Json::read(empty).unwrap();
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{\"a\": 1,}",
            "{\"a\": 1, \"a\": 2}",
            "{a: 1}",
            "01",
            "-",
            "1 2",
            ".5",
            "+1",
            "\"a",
            "\"\\x\"",
            "\"\\ud83d\"",
            "\"\\ud83dx\"",
            "\"\n\"",
            "nul",
            "{\"a\": 1} x",
            "NaN",
        ] {
            assert!(Json::read(text).is_err(), "{text}");
        }
        assert!(Json::read(&"[".repeat(100_000)).is_err());
    }
}
