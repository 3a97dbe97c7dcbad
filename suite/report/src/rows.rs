//! Rows of a result table: which kinds there are, and what the baseline and the controls are for.

use serde::{Deserialize, Serialize};

/// Name of the row that every gain is measured against.
pub const BASE: &str = "base";

/// What a row is evidence for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// The untuned model.
    Baseline,
    /// A check on how to read the others, for example the base against itself.
    Control,
    /// A way of post-training.
    Regime,
}

/// What the baseline and each control row is for, in one sentence; `None` for a regime.
pub fn control_note(row: &str) -> Option<&'static str> {
    Some(match row {
        BASE => "The untuned base model, measured on samples that did not cut the levels.",
        "null" => "The base once more on fresh samples: its gain is what chance alone shows.",
        "greedy" => {
            "The base decoding greedily: a regime that gains no more has only sharpened it."
        }
        "no_template" => "The base without the instruction: what the template alone is worth.",
        "shuffled" => "The base shown another question's picture: chance, given the text.",
        name if name.ends_with("/shuffled") => {
            "The regime shown another question's picture: its chance, given the text."
        }
        _ => return None,
    })
}
