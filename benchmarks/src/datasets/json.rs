//! JSON objects, one after another: one a line, or all in one array.
//!
//! This module does not know what a key means.
//!
//! Decisions:
//! - A line that is not a JSON object is one bad row. In an array nobody knows where a broken object ends, so the rest
//!   of the file cannot be read.
//! - A key that comes twice is an error: readers disagree on which of its values counts.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

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
    line: Vec<u8>,
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
        Ok(Json { input, is_array, is_behind_first: false, line: Vec::new() })
    }

    /// Reads the next line that is not blank.
    fn line(&mut self) -> Checked<Option<Cells>> {
        let start = loop {
            self.line.clear();
            let start = self.input.offset;
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                break start;
            }
        };
        let value = serde_json::from_slice(&self.line).map_err(|error| {
            // The parser counts lines, and here there is one.
            format!("the line is not valid JSON: {} at character {}", cause(&error), error.column())
        });
        let cells = value.and_then(|value| {
            cells(start, value).ok_or_else(|| "the line is not a JSON object".to_owned())
        });
        cells.map(Some).map_err(|cause| match self.line.last() {
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
        let value = value_of(&mut self.input).map_err(|error| match error.io_error_kind() {
            Some(_) => std::io::Error::from(error).into(),
            None => Fault::end(format!("the row is not valid JSON: {}", placed(&error))).hint(
                if error.is_eof() {
                    CUT_OFF.to_owned()
                } else {
                    format!("the row begins at byte {start}")
                },
            ),
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
    let value = value_of(BufReader::new(bytes)).map_err(|error| Fault::end(placed(&error)))?;
    Ok(cells(start, value))
}

fn value_of(bytes: impl Read) -> serde_json::Result<Value> {
    Value::deserialize(&mut serde_json::Deserializer::from_reader(bytes))
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

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
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
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Debug writes `1.0` for what Display writes as `1`, and `1e300` in short.
        Ok(Value::Number(format!("{value:?}")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
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
            fields.push((key, map.next_value()?));
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
            Value::Number(number) => serde_json::from_str(number).unwrap(),
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
