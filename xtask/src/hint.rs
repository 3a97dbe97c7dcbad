//! Errors that say what helps: a cause, and a hint shown on a line of its own.
//!
//! Does not know any particular error: whoever raises one gives the hint.

use std::fmt;

/// An error with its hint. Shown as the cause alone: [`lines()`] and [`line()`] add the hint.
#[derive(Debug)]
struct Hinted {
    cause: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}

impl std::error::Error for Hinted {}

/// Adds a hint to the error of a result.
pub(crate) trait WithHint<T> {
    /// Gives the error, if there is one, the hint `hint`.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithHint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Hinted { cause: error.into(), hint: hint.into() }))
    }
}

/// An error with the message `cause` and the hint `hint`.
pub(crate) fn hinted(cause: impl fmt::Display, hint: impl Into<String>) -> anyhow::Error {
    let cause = anyhow::Error::msg(cause.to_string());
    anyhow::Error::new(Hinted { cause, hint: hint.into() })
}

/// The hint of an error, also below context that was added later.
pub(crate) fn of(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|cause| cause.downcast_ref::<Hinted>()).map(|hinted| &*hinted.hint)
}

/// The error as a person reads it: the cause, and the hint on a line below.
pub(crate) fn lines(error: &anyhow::Error) -> String {
    of(error).map_or_else(|| format!("{error:#}"), |hint| format!("{error:#}\nhint: {hint}"))
}

/// The error on one line, for a summary.
pub(crate) fn line(error: &anyhow::Error) -> String {
    lines(error).replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_hint_is_found_below_context_and_shown_once() {
        let error = Err::<(), _>(hinted("no disk", "buy one")).context("failed to save");
        let error = error.unwrap_err();
        assert_eq!(of(&error), Some("buy one"));
        assert_eq!(lines(&error), "failed to save: no disk\nhint: buy one");
        assert_eq!(line(&error), "failed to save: no disk; hint: buy one");
        let outer = Err::<(), _>(error).hint("use another").unwrap_err();
        assert_eq!(lines(&outer), "failed to save: no disk\nhint: use another");
        assert_eq!(lines(&anyhow::anyhow!("plain")), "plain");
    }
}
