//! One cell of a file of rows, whatever the file: a text, a number, a list, a struct, bytes.
//!
//! Does not know columns' names or what a cell means.
//! A text remembers where in the file it stands, so that a picture can be read from there again.

use crate::stored::Stored;

/// Where in a file the text of a cell begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// In bytes from the file's beginning.
    pub(super) offset: u64,
    /// Whether the file says `""` where the text says `"`.
    pub(super) doubled: bool,
}

impl Origin {
    /// Where the part of `text` that begins at byte `start` stands, if `text` is what is here.
    pub(super) fn at(self, text: &str, start: usize) -> Origin {
        let num_doubled = if self.doubled {
            memchr::memchr_iter(b'"', &text.as_bytes()[..start]).count()
        } else {
            0
        };
        Origin { offset: self.offset + (start + num_doubled) as u64, doubled: self.doubled }
    }
}

/// A text and where it stands, unless the file spells it otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) origin: Option<Origin>,
}

impl Text {
    /// Where the bytes of the text stand in the file, if they do.
    pub(super) fn stored(&self) -> Option<Stored> {
        let origin = self.origin?;
        if origin.doubled && self.text.contains('"') {
            return None;
        }
        Some(Stored::Base64 { offset: origin.offset, length: self.text.len() as u64 })
    }
}

/// The value of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    /// As it is written, or as Rust writes it where the file holds it in binary.
    Number(String),
    Text(Text),
    List(Vec<Value>),
    /// A struct, an object or a dictionary, in the file's order.
    Struct(Vec<(String, Value)>),
    /// The first bytes of a binary value and where all of them are.
    Bytes {
        head: Vec<u8>,
        stored: Stored,
    },
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Value {
        Value::Text(Text { text: text.into(), origin: None })
    }

    /// The value of `key`, if this is a struct that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Struct(fields) => {
                fields.iter().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// What the value is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Boolean(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Struct(_) => "a struct",
            Value::Bytes { .. } => "bytes",
        }
    }
}

/// The beginning of a text, on one line.
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
