//! The study's findings as predicates over results. Pure.
//!
//! Does not know how results were made or how a finding is shown. Each claim has its own text, the cells it
//! needs, and a verdict by one rule ([`RULE`]); the study's own figures stand beside ours and are never mixed
//! with them.

use serde::Serialize;

use crate::statistics::Interval;

/// How a claim fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimVerdict {
    Holds,
    Fails,
    /// The interval allows both.
    Undecided,
    /// Rows that it needs are not in the results.
    NotTestable,
}

/// One claim with what the results say of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// `C1` to `C13`.
    pub id: &'static str,
    /// The claim, in our words.
    pub claim: &'static str,
    /// What is looked at, as a person reads it: `sft - base, L1`.
    pub measured: String,
    pub verdict: ClaimVerdict,
    /// What decides, in points of accuracy unless [`Finding::measured`] says otherwise.
    pub effect: Option<Interval>,
    /// The smallest effect that this many questions and seeds would show with a power of 80 %.
    pub minimum_detectable_effect: Option<f64>,
    /// The control that explains the effect, if one does, and how.
    pub explained_by: Option<String>,
    /// The study's own figures.
    pub published: &'static str,
    /// What else a reader must know.
    pub note: String,
}
