//! What Python's `float`, `int`, `round` and `str` make of text and numbers, where peers rest on them.
//!
//! This module does not know graders. Source: the Python 3.11 language and library reference.

/// Does what Python's `float(text)` does, `None` where it raises.
pub(super) fn float(text: &str) -> Option<f64> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if matches!(lower.as_str(), "inf" | "infinity" | "nan") {
        let value = if lower == "nan" { f64::NAN } else { f64::INFINITY };
        return Some(if text.starts_with('-') { -value } else { value });
    }
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let only = unsigned
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-' | b'_'));
    (starts && only).then(|| without_underscores(text)?.parse().ok())?
}

/// Does what Python's `int(text)` does, `None` where it raises or where 64 bits are too few.
pub(super) fn int(text: &str) -> Option<i64> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.starts_with(|c: char| c.is_ascii_digit())
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    digits.then(|| without_underscores(text)?.parse().ok())?
}

/// Underscores may stand between digits only.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let lonely = |at: usize| !digit(at.checked_sub(1)) || !digit(Some(at + 1));
    if (0..bytes.len()).any(|at| bytes[at] == b'_' && lonely(at)) {
        return None;
    }
    Some(text.replace('_', ""))
}

/// Does what Python's `round(value, decimals)` does: gives the closest decimal, of two as close the even one.
pub(super) fn round(value: f64, decimals: usize) -> f64 {
    // Rust writes the exact value correctly rounded, ties to even, as CPython does.
    format!("{value:.decimals$}").parse().unwrap_or(value)
}

/// `a == b`.
#[expect(clippy::float_cmp, reason = "the peers compare exactly, and so must an emulation")]
pub(super) fn equal(a: f64, b: f64) -> bool {
    a == b
}

/// Does what Python's `str(value)` does of a float.
pub(super) fn str_of_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = value.abs();
    if size >= 1e16 || (size > 0.0 && size < 1e-4) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |d| ("-", d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value:?}")
}

/// Returns the items of the list of texts that `repr` writes as `text`; `None` if it is anything else.
pub(super) fn texts(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (item, after) = quoted(&rest[1..], quote)?;
        texts.push(item);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(texts)
}

/// Returns a text up to its closing quote, and what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut symbols = text.char_indices();
    while let Some((at, symbol)) = symbols.next() {
        if symbol == quote {
            return Some((found, &text[at + quote.len_utf8()..]));
        }
        if symbol != '\\' {
            found.push(symbol);
            continue;
        }
        let (_, escaped) = symbols.next()?;
        match escaped {
            '\\' | '\'' | '"' => found.push(escaped),
            'n' => found.push('\n'),
            't' => found.push('\t'),
            'r' => found.push('\r'),
            'x' | 'u' | 'U' => {
                let length = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits: String =
                    symbols.by_ref().take(length).map(|(_, digit)| digit).collect();
                found.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
            }
            // Python keeps what it does not know.
            other => found.extend(['\\', other]),
        }
    }
    None
}

/// Replaces the texts on the left by the text on the right, one after another.
pub(super) fn replace_each(text: &str, table: &[(&[&str], &str)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in table.iter().flat_map(|(froms, to)| froms.iter().map(move |from| (from, to)))
    {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    text
}

/// Does what Python's `text.strip(symbol)` does for each symbol in turn.
pub(super) fn strip_each<'a>(text: &'a str, symbols: &[char]) -> &'a str {
    symbols.iter().fold(text, |text, symbol| text.trim_matches(*symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_repr_writes_them() {
        let read = |text| texts(text).map(|texts| texts.join("|"));
        for (text, expected) in [
            ("['24/7', '3.429']", Some("24/7|3.429")),
            (
                r#"["it's", 'a "b"', '\\frac', '\u00e9\x41', '\frac']"#,
                Some("it's|a \"b\"|\\frac|éA|\\frac"),
            ),
            (" [ '2007', 'x', ] ", Some("2007|x")),
            ("[2007, 2008]", None),
            ("[]", Some("")),
            ("['a' 'b']", None),
            ("['a", None),
            ("['a'", None),
            ("[a]", None),
            ("[0, 1)", None),
            ("(1, 2)", None),
            ("'a'", None),
            ("['a', ['b']]", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_read_and_written_as_python_does() {
        for (text, expected) in [
            ("1.5", Some(1.5)),
            (" 1e3 ", Some(1000.0)),
            ("1_000", Some(1000.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("1,000", None),
            ("1__0", None),
            ("_1", None),
            ("", None),
            ("five", None),
            (".", None),
        ] {
            assert_eq!(float(text), expected, "{text}");
        }
        assert_eq!((int("+7"), int("7.0"), int(" 07 "), int("")), (Some(7), None, Some(7), None));
        assert!(equal(round(2.675, 2), 2.67) && equal(round(0.5, 0), 0.0));
        for (value, expected) in
            [(1.0, "1.0"), (1e16, "1e+16"), (1e-5, "1e-05"), (0.1, "0.1"), (-2.5, "-2.5")]
        {
            assert_eq!(str_of_float(value), expected);
        }
    }
}
