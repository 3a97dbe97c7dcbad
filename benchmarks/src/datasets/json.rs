//! JSON objects, one after another: one a line, or all in one array.
//!
//! This module does not know what a key means.
//!
//! Decisions:
//! - A line that is not a JSON object is one bad row. In an array nobody knows where a broken object ends, so the rest
//!   of the file cannot be read.
//! - A key that comes twice is an error: readers disagree on which of its values counts.
//! - As Python reads JSON: whole numbers of any length keep their digits, `NaN`, `Infinity` and `-Infinity` are numbers,
//!   and so is one too large for 64 bits with a point or an exponent, which is infinite.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use memchr::memchr2;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::input::Input;
use crate::datasets::value::{Cells, Rows, Value};

const CUT_OFF: &str = "it may be cut off";

/// A file of objects, read from its beginning.
pub(super) struct Json<R> {
    input: Input<R>,
    is_array: bool,
    /// True if an object of the array was read.
    is_behind_first: bool,
    /// The text of the row.
    text: Vec<u8>,
}

impl<R: Read> Json<R> {
    /// Begins to read a file that has an object a line or, if `may_be_array`, begins with a bracket.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn open(bytes: R, may_be_array: bool) -> Checked<Json<R>> {
        let mut input = Input::new(bytes)?;
        let ahead = input.fill_buf()?.trim_ascii_start();
        let is_array = may_be_array && ahead.starts_with(b"[");
        Ok(Json { input, is_array, is_behind_first: false, text: Vec::new() })
    }

    /// Reads the next line that is not blank.
    fn line(&mut self) -> Checked<Option<Cells>> {
        let start = loop {
            self.text.clear();
            let start = self.input.offset;
            if self.input.read_until(b'\n', &mut self.text)? == 0 {
                return Ok(None);
            }
            if !self.text.trim_ascii().is_empty() {
                break start;
            }
        };
        let value = parse(&mut self.text).map_err(|error| {
            // The parser counts lines, and here there is one.
            format!("the line is not valid JSON: {} at character {}", cause(&error), error.column())
        });
        let cells = value.and_then(|value| {
            cells(start, value).ok_or_else(|| "the line is not a JSON object".to_owned())
        });
        cells.map(Some).map_err(|cause| match self.text.last() {
            Some(b'\n') => Fault::new("", cause),
            _ => Fault::new("", cause).hint("the file ends in this line: it may be cut off"),
        })
    }

    /// Reads the next object of the array.
    fn element(&mut self) -> Checked<Option<Cells>> {
        let before: &[u8] = if self.is_behind_first { b",]" } else { b"[" };
        let mut mark = self.mark(before)?;
        if mark == b'[' {
            self.input.consume(1);
            mark = self.mark(b"{]")?;
        } else if mark == b',' {
            self.input.consume(1);
            mark = self.mark(b"{")?;
        }
        if mark == b']' {
            self.input.consume(1);
            let at = self.input.offset;
            return match self.input.mark()? {
                None => Ok(None),
                Some(_) => {
                    Err(Fault::end(format!("the array ends before byte {at}, but not the file")))
                }
            };
        }
        self.is_behind_first = true;
        let start = self.input.offset;
        self.text.clear();
        read_object(&mut self.input, &mut self.text)?;
        let value = parse(&mut self.text).map_err(|error| {
            let hint = match error.is_eof() {
                true => CUT_OFF.to_owned(),
                false => format!("the row begins at byte {start}"),
            };
            Fault::end(format!("the row is not valid JSON: {}", placed(&error))).hint(hint)
        })?;
        Ok(cells(start, value))
    }

    /// Skips white space and returns the byte behind it, which must be one of `wanted` and is not consumed.
    fn mark(&mut self, wanted: &[u8]) -> Checked<u8> {
        let found = self.input.mark()?;
        let found = found.ok_or_else(|| Fault::end("the file ends in the array").hint(CUT_OFF))?;
        if wanted.contains(&found) {
            return Ok(found);
        }
        let wanted: Vec<String> =
            wanted.iter().map(|byte| format!("`{}`", char::from(*byte))).collect();
        Err(Fault::end(format!(
            "expected {} at byte {}, found `{}`",
            wanted.join(" or "),
            self.input.offset,
            char::from(found).escape_default()
        )))
    }
}

impl<R: Read> Rows for Json<R> {
    fn columns(&self) -> Option<&Arc<[String]>> {
        None
    }

    fn next(&mut self) -> Checked<Option<Cells>> {
        self.input.begin_row();
        if self.is_array { self.element() } else { self.line() }
    }
}

/// Reads the object that begins at byte `start` of a file, `bytes` being the rest of it.
///
/// # Errors
/// If there is no object.
pub(super) fn object_at(bytes: impl Read, start: u64) -> Checked<Option<Cells>> {
    let mut text = Vec::new();
    read_object(&mut Input::new(bytes)?, &mut text)?;
    let value = parse(&mut text).map_err(|error| Fault::end(placed(&error)))?;
    Ok(cells(start, value))
}

/// Reads up to the bracket that closes the first one into `text`, or to the end of the file.
fn read_object(input: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<()> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    let mut closes = |byte: &u8| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                return depth == 0;
            }
            _ => {}
        }
        false
    };
    loop {
        let ahead = input.fill_buf()?;
        let end = ahead.iter().position(&mut closes);
        let num = end.map_or(ahead.len(), |end| end + 1);
        text.extend_from_slice(&ahead[..num]);
        input.consume(num);
        if end.is_some() || num == 0 {
            return Ok(());
        }
    }
}

/// Returns the value that `text` spells, which is written over where serde_json cannot read a number.
///
/// # Errors
/// If it spells none.
pub(super) fn parse(text: &mut [u8]) -> serde_json::Result<Value> {
    let numbers = Numbers { kept: set_aside(text), count: Cell::new(0) };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = numbers.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Numbers as they are to be read, by their place among all numbers of a text.
type Kept = BTreeMap<usize, String>;

/// Puts a zero of the same length, so that places in messages stay right, where serde_json would refuse a number or
/// round it. Returns the numbers that stood there.
fn set_aside(text: &mut [u8]) -> Kept {
    let (mut kept, mut count, mut at) = (Kept::new(), 0, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at += 1;
                // Pictures in base64 are most of many files.
                while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
                    at += found + 1;
                    if text[at - 1] == b'"' {
                        break;
                    }
                    at += 1;
                }
            }
            b'-' | b'0'..=b'9' | b'N' | b'I' => {
                let is_inside = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let length = text[at..].iter().take_while(is_inside).count();
                let number = &mut text[at..at + length];
                if let Some(value) = out_of_range(number) {
                    kept.insert(count, value);
                    number.fill(b'0');
                    number[1] = b'.';
                }
                count += 1;
                at += length;
            }
            _ => at += 1,
        }
    }
    kept
}

/// Returns the value of a number that Python reads and serde_json does not; it has at least three characters.
fn out_of_range(number: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(number).ok()?;
    match text {
        "NaN" => return Some("NaN".to_owned()),
        "Infinity" => return Some("inf".to_owned()),
        "-Infinity" => return Some("-inf".to_owned()),
        _ => {}
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_number = digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && digits(fraction)
        && digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    if !is_number {
        return None;
    }
    if whole == unsigned {
        let is_in_range = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        return (!is_in_range).then(|| text.to_owned());
    }
    text.parse().ok().filter(|value: &f64| value.is_infinite()).map(|value| value.to_string())
}

/// Returns the keys of an object as columns; `None` if `value` is not an object.
fn cells(start: u64, value: Value) -> Option<Cells> {
    let Value::Struct(fields) = value else { return None };
    let (columns, values): (Vec<String>, Vec<Value>) = fields.into_iter().unzip();
    Some(Cells { start, columns: columns.into(), values })
}

/// Returns what is wrong and where in its text.
pub(super) fn placed(error: &serde_json::Error) -> String {
    let (line, character) = (error.line(), error.column());
    format!("{} at its line {line}, character {character}", cause(error))
}

fn cause(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Reads values, numbers that were set aside among them.
struct Numbers {
    kept: Kept,
    /// The numbers read so far.
    count: Cell<usize>,
}

impl Numbers {
    /// Returns the number that comes next, which reads `as_read` if it was not set aside.
    fn next(&self, as_read: String) -> Value {
        let place = self.count.replace(self.count.get() + 1);
        Value::Number(self.kept.get(&place).cloned().unwrap_or(as_read))
    }
}

impl<'de> DeserializeSeed<'de> for &Numbers {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Numbers {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(self.next(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(self.next(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Debug writes `1.0` for what Display writes as `1`, and `1e300` in short.
        Ok(self.next(format!("{value:?}")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.iter().any(|(name, _)| *name == key) {
                return Err(A::Error::custom(format!("the key `{key}` is there twice")));
            }
            fields.push((key, map.next_value_seed(self)?));
        }
        Ok(Value::Struct(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads all rows: good ones as JSON, causes of bad ones, and the last thing that is wrong. Every good row is read
    /// again from where it begins.
    fn read(bytes: &[u8]) -> (Vec<Result<serde_json::Value, String>>, Option<String>) {
        let mut reader = Json::open(bytes, true).unwrap();
        let mut rows = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(row)) => {
                    let rest = &bytes[usize::try_from(row.start).unwrap()..];
                    let again = object_at(rest, row.start).unwrap().unwrap();
                    assert_eq!((&again.columns, &again.values), (&row.columns, &row.values));
                    let fields = row.columns.iter().cloned().zip(row.values);
                    rows.push(Ok(json(&Value::Struct(fields.collect()))));
                }
                Ok(None) => return (rows, None),
                Err(fault) if fault.is_end => return (rows, Some(written(fault))),
                Err(fault) => rows.push(Err(written(fault))),
            }
        }
    }

    /// Returns a fault's cause, and its hint where it has one of its own.
    fn written(fault: Fault) -> String {
        let general = [Fault::new("", ""), Fault::end("")].map(|fault| fault.hint);
        if general.contains(&fault.hint) { fault.cause } else { fault.cause + &fault.hint }
    }

    /// Returns the value as serde_json has it.
    fn json(value: &Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Boolean(value) => (*value).into(),
            // What JSON has no number for is compared as text.
            Value::Number(number) => {
                serde_json::from_str(number).unwrap_or_else(|_| number.as_str().into())
            }
            Value::Text(text) => text.as_str().into(),
            Value::List(values) => values.iter().map(json).collect(),
            Value::Struct(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), json(value))).collect()
            }
            Value::Bytes { .. } => unreachable!("no JSON"),
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_map(|number| serde_json::json!(number)),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn a_line_that_is_not_an_object_is_a_bad_row_and_the_next_is_read() {
        let refused = |text: &str, want: &str| {
            let (mut rows, end) = read(format!("{{}}\n{text}").as_bytes());
            assert_eq!((rows.len(), end), (2, None), "{text}");
            assert_eq!(rows.pop().unwrap().unwrap_err(), want);
        };
        refused("[1]\n", "the line is not a JSON object");
        refused(
            "{\"a\": 1} 2\n",
            "the line is not valid JSON: trailing characters at character 10",
        );
        refused(
            "{\"a\": 1, \"a\": 2}\n",
            "the line is not valid JSON: the key `a` is there twice at character 12",
        );
        let hint = "the file ends in this line: it may be cut off";
        let cause = "the line is not valid JSON: EOF while parsing a string at character 8";
        refused("{\"a\": \"b", &format!("{cause}{hint}"));
        let deep = format!("{{\"a\": {}\n", "[".repeat(1000));
        assert!(read(deep.as_bytes()).0[0].as_ref().unwrap_err().contains("recursion limit"));
    }

    /// Reads `{"n": number}` and returns the number as text.
    fn number(written: &str) -> Result<String, String> {
        match parse(&mut format!("{{\"n\": {written}}}").into_bytes()) {
            Ok(value) => match value.get("n") {
                Some(Value::Number(number)) => Ok(number.clone()),
                other => panic!("{other:?}"),
            },
            Err(error) => Err(cause(&error)),
        }
    }

    #[test]
    fn numbers_are_those_that_python_reads() {
        for (written, want) in [
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "18446744073709551616"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("123456789012345678901", "123456789012345678901"),
            ("1e5", "100000.0"),
            ("2.50", "2.5"),
            ("0.1234567890123456789012345", "0.12345678901234568"),
            ("1E400", "inf"),
            ("-1.5e+999", "-inf"),
            ("NaN", "NaN"),
            ("Infinity", "inf"),
            ("-Infinity", "-inf"),
        ] {
            assert_eq!(number(written).as_deref(), Ok(want), "{written}");
        }
        let long = "9".repeat(400);
        assert_eq!(number(&long), Ok(long));
        // Not even Python takes these.
        for written in ["-NaN", "nan", "inf", "Inf", "+1", "0123456789012345678901", "1e", "1.e999"]
        {
            number(written).unwrap_err();
        }
    }

    #[test]
    fn a_number_that_is_set_aside_is_put_back_in_its_own_place() {
        let text =
            r#"{"a NaN \" 1": [1, NaN, 2.5, {"b": 99999999999999999999}], "c": 7, "d": "NaN"}"#;
        let (rows, end) = read(format!("[{text}, {text}]").as_bytes());
        // The comparison rounds.
        let want = serde_json::json!({
            "a NaN \" 1": [1, "NaN", 2.5, { "b": 1e20 }], "c": 7, "d": "NaN",
        });
        assert_eq!((rows, end), (vec![Ok(want.clone()), Ok(want)], None));
        let Value::Struct(fields) = parse(&mut text.as_bytes().to_vec()).unwrap() else {
            panic!("an object")
        };
        let Value::List(values) = &fields[0].1 else { panic!("a list") };
        let digits = Value::Number("99999999999999999999".to_owned());
        assert_eq!(values[3].get("b"), Some(&digits));
        // The place of a mistake behind such a number is its own.
        let (rows, _) = read(b"{\"a\": 123456789012345678901, \"b\" 1}\n");
        let want = "the line is not valid JSON: expected `:` at character 34";
        assert_eq!(rows, [Err(want.to_owned())]);
    }

    #[test]
    fn an_array_that_nobody_can_read_on_is_an_error() {
        let stopped = |text: &str, num_rows: usize, want: &str| {
            let (rows, end) = read(text.as_bytes());
            assert_eq!((rows.len(), end.as_deref()), (num_rows, Some(want)), "{text}");
        };
        assert_eq!(read(b"[ ]"), (vec![], None));
        stopped("[", 0, "the file ends in the arrayit may be cut off");
        stopped("[{}", 1, "the file ends in the arrayit may be cut off");
        let at = "at its line 1, character";
        stopped(
            "[{}, {\"a\": [1, ",
            1,
            &format!(
                "the row is not valid JSON: EOF while parsing a value {at} 10it may be cut off"
            ),
        );
        stopped(
            "[{}, {\"a\" 1}]",
            1,
            &format!("the row is not valid JSON: expected `:` {at} 6the row begins at byte 5"),
        );
        stopped("[{} {}]", 1, "expected `,` or `]` at byte 4, found `{`");
        stopped("[{},]", 1, "expected `{` at byte 4, found `]`");
        stopped("[7]", 0, "expected `{` or `]` at byte 1, found `7`");
        stopped("[{}]\n[{}]", 1, "the array ends before byte 4, but not the file");
    }

    #[test]
    fn an_object_without_end_stops_before_it_takes_all_memory() {
        let text = [b"[{\"a\": \"".to_vec(), vec![b'x'; crate::datasets::input::ROW_BYTES_MAX]];
        let (rows, end) = read(&text.concat());
        assert!(rows.is_empty());
        assert!(end.unwrap().starts_with("the row has more than 64 MiB"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(rows in prop::collection::vec(values(), 0..4), form in 0..4_u8) {
            let rows: Vec<_> = rows.into_iter().map(|row| serde_json::json!({ "row": row })).collect();
            let array = serde_json::Value::from(rows.clone());
            let text = match form {
                0 => rows.iter().map(|row| format!("\n{row}\n")).collect(),
                1 => array.to_string(),
                2 => format!("\u{feff} {array:#}\n "),
                _ => format!("\u{feff}{}", rows.iter().map(|row| format!("{row}\n")).collect::<String>()),
            };
            let (found, end) = read(text.as_bytes());
            prop_assert_eq!(end, None);
            prop_assert_eq!(found, rows.into_iter().map(Ok).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), like in "\\[?[{}\\[\\]\":,\\\\u0-9a\n]{0,40}") {
            let _ = read(&bytes);
            let _ = read(like.as_bytes());
        }
    }
}
