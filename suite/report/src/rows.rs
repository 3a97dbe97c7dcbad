//! Rows of a result table: which kinds there are, and what the baseline and the controls are for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// Name of the row that every gain is measured against.
pub const BASE: &str = "base";

/// Name of the control row of a second base.
pub const CLONE: &str = "clone";

/// The regime that a row is of, and as which control; a row without a slash is a regime or a control of the base.
pub fn regime_and_control(row: &str) -> (&str, Option<&str>) {
    match row.split_once('/') {
        Some((regime, control)) => (regime, Some(control)),
        None => (row, None),
    }
}

/// What a row is evidence for.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    IntoStaticStr,
    JsonSchema,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RowKind {
    /// The untuned model.
    Baseline,
    /// A check on how to read the others, for example the base against itself.
    Control,
    /// A way of post-training.
    Regime,
}

impl RowKind {
    /// The kind's name, as in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Says in one sentence what the baseline or a control row is for; `None` for a regime.
pub fn control_note(row: &str) -> Option<&'static str> {
    Some(match row {
        BASE => "The untuned base model, measured on samples that did not cut the levels.",
        "null" => "The base once more on fresh samples: its gain is what chance alone shows.",
        "greedy" => {
            "The base decoding greedily: a regime that gains no more has only sharpened it."
        }
        CLONE => {
            "A base of the same recipe and another seed, on the levels of the first: what selection on one base's errors \
             alone shows."
        }
        "no_template" => "The base without the instruction: what the template alone is worth.",
        "shuffled" => "The base shown another question's picture: chance, given the text.",
        name if name.ends_with("/shuffled") => {
            "The regime shown another question's picture: its chance, given the text."
        }
        name if name.ends_with("/greedy") => {
            "The regime decoding greedily: what it would answer if it drew nothing."
        }
        _ => return None,
    })
}
