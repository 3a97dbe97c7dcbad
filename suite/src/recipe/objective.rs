//! The objective of RL, spelled: every choice on which implementations of GRPO differ.
//!
//! Does not know tensors; `crate::train::objective` computes what stands here. A preset is a short name for all
//! keys at once and is expanded when the recipe is read, so a plan and a key hold every number.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::fault::{Checked, require};

/// How a reward becomes an advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advantage {
    /// `(r - mean) / (deviation + epsilon)` of the group (DeepSeekMath, Shao et al. 2024).
    GroupStd,
    /// `r - mean` of the group (Dr.GRPO, Liu et al. 2025).
    GroupMean,
    /// `r - mean` of the group, over the deviation of all rewards of the step.
    BatchStd,
}

/// Whose probability the clipped ratio compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    Token,
    /// The geometric mean over an answer's tokens, for all of them (GSPO, Zheng et al. 2025).
    Sequence,
}

/// How the KL divergence from the reference policy is estimated (Schulman 2020); `d` is the policy's
/// log-probability less the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `d`
    K1,
    /// `d² / 2`
    K2,
    /// `exp(-d) + d - 1`
    K3,
}

/// Where the KL term acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlPlace {
    /// Added to the loss of every token, `beta` times.
    Loss,
    /// Summed over an answer's tokens when they are sampled and taken from its reward, `beta` times.
    Reward,
}

/// How the losses of tokens become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The mean over an answer's tokens, then over answers: the source study, GRPO's paper.
    SeqMeanTokenMean,
    /// Over all tokens of an update.
    TokenMeanGlobal,
    /// Over the tokens of a micro-batch, then over micro-batches: hangs on how a batch is cut.
    TokenMeanLocal,
    /// The sum over tokens by answers times `max_completion_tokens` (Dr.GRPO).
    DrGrpo,
}

/// The whole objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Spelled")]
pub struct ObjectiveSpec {
    pub advantage: Advantage,
    /// What the deviation's divisor is less than the number of rewards.
    pub advantage_ddof: usize,
    /// Added to the deviation before dividing by it.
    pub advantage_epsilon: f64,
    pub ratio: RatioLevel,
    /// The ratio is clipped to `1 - clip_low ..= 1 + clip_high`.
    pub clip_low: f64,
    pub clip_high: f64,
    /// Where the advantage is negative, the loss is at most this times its size (Ye et al. 2020); 0 is off.
    pub dual_clip: f64,
    pub kl: KlEstimator,
    pub kl_in: KlPlace,
    /// Weight of the KL term; it is measured and told at 0, too.
    pub beta: f64,
    pub aggregation: Aggregation,
}

/// A name for all keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectivePreset {
    /// The source study. It trained with verl and gives neither clip range nor epsilon: PPO's .2, and
    /// verl's 1e-6.
    GrpoStudy,
    /// TRL 1.16's `GRPOConfig`.
    TrlDefault,
    /// verl's trainer with `adv_estimator=grpo`.
    VerlDefault,
    /// Dr.GRPO (Liu et al. 2025): no deviation, a constant divisor, no KL.
    DrGrpo,
    /// DAPO's loss (Yu et al. 2025): a wider upper clip, all tokens alike, no KL. Its dynamic sampling and
    /// its penalty on length are not part of the loss.
    Dapo,
}

impl ObjectivePreset {
    /// All keys.
    pub fn objective(self) -> ObjectiveSpec {
        let study = ObjectiveSpec {
            advantage: Advantage::GroupStd,
            advantage_ddof: 1,
            advantage_epsilon: 1e-6,
            ratio: RatioLevel::Token,
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: 0.0,
            kl: KlEstimator::K3,
            kl_in: KlPlace::Loss,
            beta: 0.005,
            aggregation: Aggregation::SeqMeanTokenMean,
        };
        let all_tokens =
            ObjectiveSpec { beta: 0.0, aggregation: Aggregation::TokenMeanGlobal, ..study.clone() };
        match self {
            ObjectivePreset::GrpoStudy => study,
            ObjectivePreset::TrlDefault => ObjectiveSpec { advantage_epsilon: 1e-4, ..all_tokens },
            ObjectivePreset::VerlDefault => ObjectiveSpec { dual_clip: 3.0, ..all_tokens },
            ObjectivePreset::DrGrpo => ObjectiveSpec {
                advantage: Advantage::GroupMean,
                aggregation: Aggregation::DrGrpo,
                ..all_tokens
            },
            ObjectivePreset::Dapo => ObjectiveSpec { clip_high: 0.28, ..all_tokens },
        }
    }
}

/// What a recipe may say: a preset, with keys that replace its own, or every key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spelled {
    preset: Option<ObjectivePreset>,
    advantage: Option<Advantage>,
    advantage_ddof: Option<usize>,
    advantage_epsilon: Option<f64>,
    ratio: Option<RatioLevel>,
    clip_low: Option<f64>,
    clip_high: Option<f64>,
    dual_clip: Option<f64>,
    kl: Option<KlEstimator>,
    kl_in: Option<KlPlace>,
    beta: Option<f64>,
    aggregation: Option<Aggregation>,
}

impl TryFrom<Spelled> for ObjectiveSpec {
    type Error = String;

    fn try_from(said: Spelled) -> Result<ObjectiveSpec, String> {
        let preset = said.preset.map(ObjectivePreset::objective);
        macro_rules! key {
            ($name:ident) => {
                said.$name.or(preset.as_ref().map(|p| p.$name)).ok_or_else(|| {
                    format!(
                        "the objective lacks `{}`\nhint: every key, or a preset: grpo_study, \
                         trl_default, verl_default, dr_grpo, dapo",
                        stringify!($name)
                    )
                })?
            };
        }
        Ok(ObjectiveSpec {
            advantage: key!(advantage),
            advantage_ddof: key!(advantage_ddof),
            advantage_epsilon: key!(advantage_epsilon),
            ratio: key!(ratio),
            clip_low: key!(clip_low),
            clip_high: key!(clip_high),
            dual_clip: key!(dual_clip),
            kl: key!(kl),
            kl_in: key!(kl_in),
            beta: key!(beta),
            aggregation: key!(aggregation),
        })
    }
}

impl ObjectiveSpec {
    /// Whether every number is in its range, for groups of `num_generations`.
    pub(super) fn check(&self, num_generations: usize) -> Checked {
        let finite = |x: f64| x.is_finite() && x >= 0.0;
        require!(
            self.advantage_ddof < num_generations && self.advantage_ddof <= 1,
            "advantage_ddof",
            "advantage_ddof {} is not 0 or 1",
            self.advantage_ddof
        );
        require!(
            finite(self.advantage_epsilon),
            "advantage_epsilon",
            "advantage_epsilon {} is not 0 or more",
            self.advantage_epsilon
        );
        require!(
            (0.0..=1.0).contains(&self.clip_low),
            "clip_low",
            "clip_low {} leaves a ratio below 0\nhint: 0 to 1",
            self.clip_low
        );
        require!(finite(self.clip_high), "clip_high", "clip_high {} is below 0", self.clip_high);
        require!(
            self.dual_clip.abs() < f64::MIN_POSITIVE
                || (self.dual_clip > 1.0 && self.dual_clip.is_finite()),
            "dual_clip",
            "dual_clip {} would cut every loss\nhint: 0 for none, or above 1",
            self.dual_clip
        );
        require!(finite(self.beta), "beta", "beta {} is not 0 or more", self.beta);
        Ok(())
    }

    /// Every key and its value, as a recipe would say them.
    pub fn keys(&self) -> Vec<(String, String)> {
        let text = toml::to_string(self).unwrap_or_default();
        let pair = |line: &str| line.split_once(" = ").map(|(key, v)| (key.into(), v.into()));
        text.lines().filter_map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ObjectiveSpec, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn a_preset_is_expanded_and_its_keys_can_be_replaced() {
        let spec = parse("preset = \"grpo_study\"\nbeta = 0.0").unwrap();
        assert_eq!(spec, ObjectiveSpec { beta: 0.0, ..ObjectivePreset::GrpoStudy.objective() });
        for preset in [
            ObjectivePreset::GrpoStudy,
            ObjectivePreset::TrlDefault,
            ObjectivePreset::VerlDefault,
            ObjectivePreset::DrGrpo,
            ObjectivePreset::Dapo,
        ] {
            let whole = preset.objective();
            // What a plan shows can be pasted into a recipe.
            assert_eq!(parse(&toml::to_string(&whole).unwrap()).unwrap(), whole);
            whole.check(8).unwrap();
        }
    }

    #[test]
    fn without_a_preset_every_key_has_to_be_said() {
        let error = parse("beta = 0.1").unwrap_err();
        assert!(error.message().starts_with("the objective lacks `advantage`\nhint: every key"));
    }
}
