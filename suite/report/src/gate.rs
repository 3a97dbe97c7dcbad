//! The settings of the gate: when a run counts as different from golden results, and when as the same.

use serde::{Deserialize, Serialize};

/// The settings of a comparison with golden results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// Probability that a comparison of two equal models shows any difference, 0 to 1.
    pub false_alarm: f64,
    /// Shares of answers that differ by less than this are the same, 0 to 1.
    pub share_band: f64,
    /// Lengths that differ by less than this share of golden's are the same.
    pub length_band: f64,
    /// Numbers of reasoning words per answer that differ by less than this are the same.
    pub words_band: f64,
    /// Figures of training that are shares, such as the reward, and differ by less than this are the same, 0 to 1.
    pub figure_share_band: f64,
    /// Other figures of training, such as KL, that differ by less than this share of each other are the same.
    pub figure_ratio_band: f64,
}
