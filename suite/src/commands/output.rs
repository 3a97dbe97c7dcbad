//! What a person or a program sees of a verb: data on standard output, words and errors on standard error.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Error, Result};
use serde::Serialize;
use synergy_hint::{Explain as _, hint};

/// Writes data to standard output; a pipe that its reader has closed (`… | head`) is no error.
///
/// # Errors
/// If it cannot be written for another reason.
pub(super) fn put(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).explain(|| hint!("failed to write to standard output", "is the disk full?"))
        }
        _ => Ok(()),
    }
}

/// [`put`] for a value, as indented JSON.
///
/// # Errors
/// See [`put`].
pub(super) fn put_json(value: &impl Serialize) -> Result<()> {
    put(&format!("{}\n", serde_json::to_string_pretty(value).context("plain data")?))
}

/// Writes words for a person to standard error.
///
/// # Errors
/// If they cannot be written.
pub(super) fn tell(text: &str) -> Result<()> {
    let mut out = std::io::stderr();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.explain(|| hint!("failed to write to standard error", "is the disk full?"))
}

/// Reports an error on standard error: a line for the cause, or for each of several, and hints on lines below it.
#[expect(clippy::print_stderr, reason = "the one place that reports an error")]
pub(super) fn report(error: &Error) {
    let rendered = synergy_hint::render(error);
    for cause in rendered.causes {
        eprintln!("error: {cause}");
    }
    for hint in rendered.hints {
        eprintln!("hint: {hint}");
    }
}

/// Columns of the terminal, at least 100; 120 if unknown.
pub(super) fn width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns.unwrap_or(120).max(100)
}
