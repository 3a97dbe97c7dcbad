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
    /// One line.
    pub(super) hint: String,
    /// True if the rows behind this one cannot be read either.
    pub(super) is_end: bool,
}

pub(super) type Checked<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn new(column: &str, cause: impl Into<String>) -> Fault {
        let (column, hint) =
            (column.to_owned(), "mend the row, or skip it with --skip-bad".to_owned());
        Fault { column, cause: cause.into(), hint, is_end: false }
    }

    /// Makes a fault behind which nothing can be read, because the file is broken or the disk is.
    pub(super) fn end(cause: impl Into<String>) -> Fault {
        Fault { is_end: true, ..Fault::new("", cause) }.hint("mend the file, or fetch it again")
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = hint.into();
        self
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::end(error.to_string()).hint(match error.kind() {
            io::ErrorKind::FileTooLarge => {
                "a quote or bracket that is never closed makes one row of the rest of a file"
            }
            io::ErrorKind::NotFound => "check the path, or fetch the file",
            _ => "mend the file, or fetch it again",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}
