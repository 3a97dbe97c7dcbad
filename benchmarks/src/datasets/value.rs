//! One row of a file, whatever the file: its columns' names and the values of its cells.
//!
//! This module does not know what a cell means.

use std::sync::Arc;

use crate::datasets::fault::Checked;
use crate::stored::At;

/// The value of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    /// The digits as they are written, or as Rust writes them where the file holds them in binary.
    Number(String),
    Text(String),
    List(Vec<Value>),
    /// A struct, an object or a dictionary, in the file's order.
    Struct(Vec<(String, Value)>),
    /// The first bytes of a binary value in a parquet file, and where all of them are.
    Bytes {
        head: Vec<u8>,
        at: At,
    },
}

/// The cells of one row.
#[derive(Debug)]
pub(super) struct Cells {
    /// The byte of the file at which the row can be read again; 0 in parquet.
    pub(super) start: u64,
    pub(super) columns: Arc<[String]>,
    /// As many as there are columns.
    pub(super) values: Vec<Value>,
}

/// A file that is read row by row.
pub(super) trait Rows {
    /// Returns the columns, where the file as a whole has them.
    fn columns(&self) -> Option<&Arc<[String]>>;

    /// Reads the next row; `None` at the end of the file.
    fn next(&mut self) -> Checked<Option<Cells>>;
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// Returns the value of `key`, if this is a struct that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Struct(fields) => {
                fields.iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Returns what the value is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "empty",
            Value::Boolean(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Struct(_) => "a struct",
            Value::Bytes { .. } => "bytes",
        }
    }
}

/// Returns the beginning of a text, on one line.
pub(super) fn shown(text: &str) -> String {
    const LENGTH_MAX: usize = 40;
    let mut shown = String::new();
    for c in text.chars().take(LENGTH_MAX) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().nth(LENGTH_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
