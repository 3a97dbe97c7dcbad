//! The bands of the gate: when a run counts as different from its golden results, and when as the same.

use serde::{Deserialize, Serialize};

/// When a run counts as different from golden results, and when as the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// Chance that a comparison of two equal models shows any difference.
    pub false_alarm: f64,
    /// Shares of answers that differ by less are the same.
    pub share_band: f64,
    /// Lengths that differ by less than this share of golden's are.
    pub length_band: f64,
    /// So are reasoning words per answer that differ by less.
    pub words_band: f64,
    /// Figures of training that are shares, such as the reward, and differ by less are the same.
    pub figure_share_band: f64,
    /// So are other figures of training, such as KL, that differ by less than this share of each other.
    pub figure_ratio_band: f64,
}
