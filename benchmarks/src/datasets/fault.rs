//! What is wrong with a cell, a row or a file, before anyone says where.
//!
//! This module does not know files and rows: the reader adds them.

use std::fmt;
use std::io;

/// What is wrong with a row, which then cannot be a sample, or with all that is left of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The column at fault; empty if it is the row as a whole.
    pub(super) column: String,
    /// One line.
    pub(super) cause: String,
    /// One line; empty if there is nothing to say.
    pub(super) hint: String,
    /// True if the rows behind this one cannot be read either.
    pub(super) is_end: bool,
}

pub(super) type Checked<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn new(column: &str, cause: impl Into<String>) -> Fault {
        let column = column.to_owned();
        Fault { column, cause: cause.into(), hint: String::new(), is_end: false }
    }

    /// Makes a fault behind which nothing can be read, because the file is broken or the disk is.
    pub(super) fn end(cause: impl Into<String>) -> Fault {
        Fault { is_end: true, ..Fault::new("", cause) }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = hint.into();
        self
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        let fault = Fault::end(error.to_string());
        if error.kind() != io::ErrorKind::FileTooLarge {
            return fault;
        }
        fault.hint("a quote or bracket that is never closed makes one row of the rest of a file")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\nhint: {}", self.hint) }
    }
}
