//! Errors with a hint: what went wrong, and what the person who reads it can do.
//!
//! [`hint!`] makes a [`Hinted`] from a cause and a hint, [`Explain`] puts one around an error that is already there,
//! and [`render`] turns a chain of errors into the lines that a person reads.
//!
//! ```
//! use synergy_hint::{Explain as _, hint, text};
//!
//! fn port(text: &str) -> anyhow::Result<u16> {
//!     let port = text.parse().explain(|| hint!("`{text}` is not a port", "try 8000"))?;
//!     anyhow::ensure!(port >= 1024, hint!("port {port} needs an administrator", ("take {} or above", 1024)));
//!     Ok(port)
//! }
//!
//! let error = port("80").unwrap_err();
//! assert_eq!(text(&error), "port 80 needs an administrator\nhint: take 1024 or above");
//! let error = port("http").unwrap_err();
//! assert_eq!(text(&error), "`http` is not a port: invalid digit found in string\nhint: try 8000");
//! ```

use std::error::Error as StdError;
use std::fmt;

use anyhow::{Error, Result};

/// An error with a hint. Its `Display` is the cause alone.
#[derive(Debug)]
pub struct Hinted {
    /// What went wrong, in one line without an end.
    pub cause: String,
    /// What to do about it, in one line without an end.
    pub hint: String,
    source: Option<Error>,
}

impl Hinted {
    /// An error with `cause` and `hint`; [`hint!`] is shorter where either is formatted.
    pub fn new(cause: impl Into<String>, hint: impl Into<String>) -> Hinted {
        Hinted { cause: cause.into(), hint: hint.into(), source: None }
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl StdError for Hinted {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Makes a [`Hinted`] from a cause and a hint, each a format string or, with arguments, such a string and its arguments
/// in brackets: `hint!(("cannot write `{}`", path.display()), "choose another folder")`.
#[macro_export]
macro_rules! hint {
    ($cause:tt, $hint:tt $(,)?) => {
        $crate::Hinted::new($crate::part!($cause), $crate::part!($hint))
    };
}

/// Formats one half of what [`hint!`] takes.
#[doc(hidden)]
#[macro_export]
macro_rules! part {
    (($($format:tt)+)) => {
        format!($($format)+)
    };
    ($text:literal) => {
        format!($text)
    };
}

/// Several errors found at once, such as all faults of a file; at least one.
#[derive(Debug)]
pub struct Several(pub Vec<Hinted>);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes: Vec<&str> = self.0.iter().map(|error| error.cause.as_str()).collect();
        f.write_str(&causes.join("; "))
    }
}

impl StdError for Several {}

/// Puts a cause and a hint around an error, or in the place of a value that is missing.
pub trait Explain<T> {
    /// The value, or an error that begins with what `explanation` gives.
    ///
    /// # Errors
    /// If there is no value.
    fn explain(self, explanation: impl FnOnce() -> Hinted) -> Result<T>;
}

/// Gives an error that says enough by itself a hint.
pub trait Hint<T> {
    /// The value, or the error as one cause with `hint`, in the place of any hint that it has.
    ///
    /// # Errors
    /// If there is no value.
    fn hint(self, hint: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> Result<T> {
        self.map_err(|error| Hinted::new(format!("{:#}", error.into()), hint).into())
    }
}

impl<T, E: Into<Error>> Explain<T> for Result<T, E> {
    fn explain(self, explanation: impl FnOnce() -> Hinted) -> Result<T> {
        self.map_err(|source| Hinted { source: Some(source.into()), ..explanation() }.into())
    }
}

impl<T> Explain<T> for Option<T> {
    fn explain(self, explanation: impl FnOnce() -> Hinted) -> Result<T> {
        self.ok_or_else(|| explanation().into())
    }
}

/// A chain of errors as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line for each cause, from the outermost to the innermost error; several only for [`Several`].
    pub causes: Vec<String>,
    /// The hint that lies deepest in the chain; several only for [`Several`], each once.
    pub hints: Vec<String>,
}

impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.causes.join("\n"))?;
        self.hints.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

/// Renders the whole chain of `error`.
pub fn render(error: &Error) -> Rendered {
    let mut outer: Vec<String> = Vec::new();
    let mut hints = Vec::new();
    for error in error.chain() {
        if let Some(Several(errors)) = error.downcast_ref() {
            let line = |inner: &Hinted| {
                let parts = outer.iter().map(String::as_str).chain([inner.cause.as_str()]);
                one_line(&parts.collect::<Vec<_>>().join(": "))
            };
            let mut hints: Vec<String> = Vec::new();
            for Hinted { hint, .. } in errors {
                if !hints.contains(hint) {
                    hints.push(hint.clone());
                }
            }
            return Rendered { causes: errors.iter().map(line).collect(), hints };
        }
        // The deepest hint knows best.
        if let Some(Hinted { hint, .. }) = error.downcast_ref() {
            hints = vec![one_line(hint)];
        }
        outer.push(error.to_string());
    }
    Rendered { causes: vec![one_line(&outer.join(": "))], hints }
}

/// The first hint that a person who reads `error` sees.
pub fn hint_of(error: &Error) -> Option<String> {
    render(error).hints.into_iter().next()
}

/// The innermost error of a chain by itself, without what was said around it.
pub fn innermost(error: &Error) -> Error {
    let inner = error.root_cause();
    match inner.downcast_ref() {
        Some(Hinted { cause, hint, .. }) => Hinted::new(cause, hint).into(),
        None => Error::msg(inner.to_string()),
    }
}

/// The cause in what a parser of command lines says: its first paragraph on one line, without `error: `. Usage and tips
/// stand below it.
pub fn refusal(text: &str) -> String {
    let cause: Vec<&str> =
        text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let cause = cause.join(" ");
    cause.strip_prefix("error: ").map_or(cause.clone(), str::to_owned)
}

/// [`text`] on one line, for a summary.
pub fn line(error: &Error) -> String {
    one_line(&text(error))
}

/// [`render`] as one text: each cause on a line, then each hint on a line after `hint: `.
pub fn text(error: &Error) -> String {
    render(error).to_string()
}

fn one_line(text: &str) -> String {
    text.trim_end().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow, bail};

    fn refused() -> Result<()> {
        let name = "a";
        bail!(hint!(("no `{name}` in {}", "b"), ("take `{name}`, or {}", 3)))
    }

    #[test]
    fn the_deepest_hint_of_a_chain_is_shown_with_all_causes() {
        let error = refused().context("while reading").unwrap_err();
        assert_eq!(text(&error), "while reading: no `a` in b\nhint: take `a`, or 3");
        let error = refused().explain(|| hint!("above", "another")).context("top").unwrap_err();
        assert_eq!(text(&error), "top: above: no `a` in b\nhint: take `a`, or 3");
        let error = Err::<(), _>(anyhow!("x\ny\n")).explain(|| hint!("above", "do")).unwrap_err();
        assert_eq!(text(&error), "above: x; y\nhint: do");
        assert_eq!(error.to_string(), "above");
        let error = None::<u8>.explain(|| hint!("missing", "add it")).unwrap_err();
        assert_eq!(text(&error), "missing\nhint: add it");
        assert!(render(&anyhow!("bare")).hints.is_empty());
    }

    #[test]
    fn the_cause_of_a_refused_command_line_is_its_first_paragraph() {
        let said = "error: the following required arguments were not provided:\n  --model <DIR>\n\nUsage: x\n";
        assert_eq!(
            refusal(said),
            "the following required arguments were not provided: --model <DIR>"
        );
        assert_eq!((refusal("no prefix"), refusal("")), ("no prefix".to_owned(), String::new()));
    }

    #[test]
    fn a_hint_given_later_takes_the_place_of_the_first() {
        let error = Err::<(), Error>(hint!("no disk", "buy one").into());
        let error: Error = error.context("failed to save").unwrap_err();
        assert_eq!(hint_of(&error).as_deref(), Some("buy one"));
        assert_eq!(line(&error), "failed to save: no disk; hint: buy one");
        assert_eq!(text(&innermost(&error)), "no disk\nhint: buy one");
        let error = Err::<(), _>(error).hint("use another").unwrap_err();
        assert_eq!(text(&error), "failed to save: no disk\nhint: use another");
        let error = Err::<(), _>(anyhow!("plain")).explain(|| hint!("around", "b")).unwrap_err();
        assert_eq!(text(&innermost(&error)), "plain");
        assert_eq!(hint_of(&innermost(&error)), None);
    }

    #[test]
    fn several_errors_are_shown_a_line_each_with_every_hint_once() {
        let several = Several(vec![hint!("one", "x"), hint!("two", "y"), hint!("three", "x")]);
        let error = Error::from(several).context("file `a`");
        let want = "file `a`: one\nfile `a`: two\nfile `a`: three\nhint: x\nhint: y";
        assert_eq!(text(&error), want);
    }
}
