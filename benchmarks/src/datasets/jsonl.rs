//! One JSON object a line.
//!
//! Does not know what a key means.
//! Texts that stand in the file as they are, without escapes, come with their place.

use std::fmt;
use std::io::{BufRead, Read as _};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::datasets::fault::{Checked, Fault, Stop};
use crate::datasets::tsv::ROW_BYTES_MAX;
use crate::datasets::value::{Origin, Text, Value};

/// The keys of an object and their values, in the file's order.
pub(super) type Fields = Vec<(String, Value)>;

/// A file of objects, read from its beginning.
#[derive(Debug)]
pub(super) struct Jsonl<R> {
    input: R,
    /// Bytes read so far.
    offset: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Jsonl<R> {
    pub(super) fn new(input: R) -> Jsonl<R> {
        Jsonl { input, offset: 0, line: Vec::new() }
    }

    /// The keys and values of the next line that is not blank; nothing at the end.
    ///
    /// # Errors
    /// A [`Stop`] if what follows cannot be told, a fault if only this line is bad.
    pub(super) fn row(&mut self) -> Result<Option<Checked<Fields>>, Stop> {
        loop {
            self.line.clear();
            let start = self.offset;
            let mut limited = (&mut self.input).take(ROW_BYTES_MAX as u64 + 1);
            let num = limited.read_until(b'\n', &mut self.line)?;
            self.offset += num as u64;
            if num == 0 {
                return Ok(None);
            }
            if num > ROW_BYTES_MAX {
                return Err(Stop::new(format!(
                    "the line has more than {} MiB",
                    ROW_BYTES_MAX >> 20
                ))
                .hint("is this one JSON object a line?"));
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            let value = std::str::from_utf8(&self.line)
                .map_err(|_| "the line is not UTF-8".to_owned())
                .and_then(|line| {
                    // The parser counts lines, and here there is one.
                    parse(line, Some(start)).map_err(|error| {
                        format!(
                            "the line is no JSON: {} at character {}",
                            cause(&error),
                            error.column()
                        )
                    })
                });
            let fault = |cause| {
                let fault = Fault::new("", cause);
                match self.line.last() {
                    Some(b'\n') => fault,
                    _ => fault.hint("the file ends in this line: it may be cut off"),
                }
            };
            return Ok(Some(match value {
                Ok(Value::Struct(fields)) => Ok(fields),
                Ok(_) => Err(fault("the line is no JSON object".to_owned())),
                Err(cause) => Err(fault(cause)),
            }));
        }
    }
}

/// The value of `text`, which begins at byte `offset` of its file, if it stands there as it is.
pub(super) fn parse(text: &str, offset: Option<u64>) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Spanned { start: text.as_ptr() as usize, offset }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// What is wrong, without the place.
pub(super) fn cause(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Reads a value and where its texts stand: serde_json lends a text without escapes from what it reads.
#[derive(Clone, Copy)]
struct Spanned {
    /// The address of the text in memory.
    start: usize,
    /// The text's place in the file.
    offset: Option<u64>,
}

impl<'de> DeserializeSeed<'de> for Spanned {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Spanned {
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

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Value, E> {
        let place = value.as_ptr() as usize - self.start;
        let origin =
            self.offset.map(|offset| Origin { offset: offset + place as u64, doubled: false });
        Ok(Value::Text(Text { text: value.to_owned(), origin }))
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
        while let Some(Key(key)) = map.next_key()? {
            if fields.iter().any(|(name, _)| *name == key) {
                return Err(A::Error::custom(format!("the key `{key}` is there twice")));
            }
            fields.push((key, map.next_value_seed(self)?));
        }
        Ok(Value::Struct(fields))
    }
}

struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        String::deserialize(deserializer).map(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::Stored;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<(String, Value)>>, String> {
        let mut jsonl = Jsonl::new(bytes);
        let mut rows = Vec::new();
        while let Some(row) = jsonl.row().map_err(|stop| stop.cause)? {
            rows.push(row.map_err(|fault| fault.cause + &fault.hint)?);
        }
        Ok(rows)
    }

    /// The value as serde_json has it.
    fn json(value: &Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Boolean(value) => (*value).into(),
            Value::Number(number) => serde_json::from_str(number).unwrap(),
            Value::Text(text) => text.text.as_str().into(),
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
    fn a_text_knows_where_it_stands_unless_it_is_escaped() {
        let bytes = b"\n{\"a\": \"\xc3\xa9x\", \"b\": [1, \"y\"], \"c\": \"\\u00e9\"}\n";
        let rows = read(bytes).unwrap();
        let stored = |value: &Value| match value {
            Value::Text(text) => text.stored(),
            _ => None,
        };
        let [(_, a), (_, Value::List(b)), (_, c)] = rows[0].as_slice() else { panic!() };
        assert_eq!(stored(a), Some(Stored::Base64 { offset: 8, length: 3 }));
        assert_eq!(stored(&b[1]), Some(Stored::Base64 { offset: 24, length: 1 }));
        assert_eq!(&bytes[24..25], b"y");
        assert_eq!(stored(c), None);
    }

    #[test]
    fn what_is_no_object_a_line_is_refused() {
        let refused = |text: &str, want: &str| assert_eq!(read(text.as_bytes()).unwrap_err(), want);
        refused("[1]\n", "the line is no JSON object");
        refused("{\"a\": 1} 2\n", "the line is no JSON: trailing characters at character 10");
        refused(
            "{\"a\": 1, \"a\": 2}\n",
            "the line is no JSON: the key `a` is there twice at character 12",
        );
        let hint = "the file ends in this line: it may be cut off";
        let cause = "the line is no JSON: EOF while parsing a string at character 8";
        refused("{\"a\": \"b", &format!("{cause}{hint}"));
        assert_eq!(read(b"{\"a\": \"\xff\"}\n").unwrap_err(), "the line is not UTF-8");
        let deep = format!("{{\"a\": {}\n", "[".repeat(1000));
        assert!(read(deep.as_bytes()).unwrap_err().contains("recursion limit"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(rows in prop::collection::vec(values(), 0..4)) {
            let rows: Vec<_> = rows.into_iter().map(|row| serde_json::json!({ "row": row })).collect();
            let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
            let found = read(text.as_bytes()).unwrap();
            let found: Vec<_> = found.into_iter().map(|row| json(&Value::Struct(row))).collect();
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), like in "[{}\\[\\]\":,\\\\u0-9a\n]{0,40}") {
            let _ = read(&bytes);
            let _ = read(like.as_bytes());
        }
    }
}
