//! A mistake in a recipe: its cause, and the path of keys that leads to it.
//!
//! Does not know what is checked, nor how a path becomes a line of a file.

use std::fmt;

use anyhow::Error;

/// A mistake in a recipe.
#[derive(Debug)]
pub struct Fault {
    /// Keys and places in lists, outermost first; as much of it as the file has is shown.
    pub(super) path: Vec<String>,
    pub(super) cause: Error,
}

/// What a check returns.
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
    /// A mistake in the value of `key`, which may be a path with dots.
    pub(super) fn at(key: impl fmt::Display, cause: impl Into<Error>) -> Fault {
        Fault { path: key.to_string().split('.').map(str::to_owned).collect(), cause: cause.into() }
    }

    /// The same mistake, seen from the table that holds `key`.
    pub(super) fn below(mut self, key: impl fmt::Display) -> Fault {
        self.path.insert(0, key.to_string());
        self
    }
}

/// Checks that `value` lies within `range`, which `limits` describes as in "0 or more".
pub(super) fn within(
    key: &str,
    value: f64,
    range: impl std::ops::RangeBounds<f64>,
    limits: &str,
) -> Checked {
    require!(
        value.is_finite() && range.contains(&value),
        key,
        "{key} = {value} is outside its range: {limits}"
    );
    Ok(())
}
