//! What is wrong with a recipe, and where: a path of keys that becomes a line of the file.
//!
//! Does not know what is checked.

use std::fmt;

use anyhow::Error;
use toml::de::{DeTable, DeValue};

/// A mistake in a recipe.
#[derive(Debug)]
pub(super) struct Fault {
    /// Keys and places in lists, outermost first; as much of it as the file has is shown.
    path: Vec<String>,
    cause: Error,
}

pub(super) type Checked<T = ()> = Result<T, Fault>;

/// Returns a [`Fault`] at a key unless a condition holds.
macro_rules! require {
    ($holds:expr, $key:expr, $($message:tt)+) => {{
        let holds: bool = $holds;
        if !holds {
            return Err($crate::recipe::fault::Fault::at($key, anyhow::anyhow!($($message)+)));
        }
    }};
}
pub(super) use require;

impl Fault {
    pub(super) fn at(key: impl fmt::Display, cause: impl Into<Error>) -> Fault {
        Fault { path: vec![key.to_string()], cause: cause.into() }
    }

    /// The same, seen from the table that holds it.
    pub(super) fn below(mut self, key: impl fmt::Display) -> Fault {
        self.path.insert(0, key.to_string());
        self
    }

    /// As an error that begins with the line of `text` it is about.
    pub(super) fn in_text(self, text: &str) -> Error {
        let line = line_of(text, &self.path);
        let name = match self.path.as_slice() {
            [kind, name, ..] if kind == "stages" => format!("stage `{name}`: "),
            _ => String::new(),
        };
        anyhow::anyhow!("line {line}: {name}{:#}", self.cause)
    }
}

/// The line, from 1, where the deepest part of `path` that the recipe has begins.
fn line_of(text: &str, path: &[String]) -> usize {
    let mut offset = 0;
    if let Ok(root) = DeTable::parse(text) {
        let mut inner = DeValue::Table(root.into_inner());
        for key in path.iter().flat_map(|key| key.split('.')) {
            let found = match &inner {
                DeValue::Table(table) => table
                    .iter()
                    .find(|(name, _)| name.get_ref().as_ref() == key)
                    .map(|(name, value)| (name.span().start, value.get_ref().clone())),
                DeValue::Array(list) => key
                    .parse()
                    .ok()
                    .and_then(|place: usize| list.get(place))
                    .map(|value| (value.span().start, value.get_ref().clone())),
                _ => None,
            };
            let Some((start, value)) = found else { break };
            (offset, inner) = (start, value);
        }
    }
    text[..offset].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_deepest_part_that_is_there() {
        let text = "a = 1\n[b.c]\nd = 2\n\n[[e]]\nf = 3\n[[e]]\nf = 4\ng = { h = 5 }\n";
        let line = |path: &[&str]| {
            line_of(text, &path.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(line(&["a"]), 1);
        assert_eq!(line(&["b", "c", "d"]), 3);
        assert_eq!(line(&["b", "c", "missing"]), 2);
        assert_eq!(line(&["e", "1", "f"]), 8);
        assert_eq!(line(&["e", "1", "g", "h"]), 9);
        assert_eq!(line(&["missing"]), 1);
    }
}
