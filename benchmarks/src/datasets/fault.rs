//! What is wrong with a cell, a row or a file, before anyone says where.
//!
//! Does not know files and rows: the reader adds them.

use std::fmt;
use std::io;

/// A row that cannot be a sample. The rows behind it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) column: String,
    /// One line.
    pub(super) cause: String,
    /// One line; empty if there is nothing to say.
    pub(super) hint: String,
}

pub(super) type Checked<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn new(column: &str, cause: impl Into<String>) -> Fault {
        Fault { column: column.to_owned(), cause: cause.into(), hint: String::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = hint.into();
        self
    }
}

/// A file that cannot be read on, because it is broken or the disk is.
#[derive(Debug)]
pub(super) struct Stop {
    /// One line.
    pub(super) cause: String,
    /// One line; empty if there is nothing to say.
    pub(super) hint: String,
}

impl Stop {
    pub(super) fn new(cause: impl Into<String>) -> Stop {
        Stop { cause: cause.into(), hint: String::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Stop {
        self.hint = hint.into();
        self
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::new(error.to_string())
    }
}

/// A hint on a line of its own; nothing for nothing.
pub(super) struct Hint<'a>(pub(super) &'a str);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "\nhint: {}", self.0) }
    }
}
