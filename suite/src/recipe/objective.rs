//! The objective of RL, spelled: every choice on which implementations of GRPO differ.
//!
//! Does not know tensors; `crate::train::objective` computes it. A preset is a short name for all keys at once and is
//! expanded when the recipe is read, so a plan and a cache key hold every number.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Table;

use super::fault::{Checked, require, within};

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
    /// No ratio: a token gains its advantage times its log-probability, and no clip holds it (SRFT, arXiv 2506.19767; GFT,
    /// arXiv 2604.14258).
    None,
}

/// What sampled answers are worth by themselves, in the place of what they earned compared with their group (SRFT, arXiv
/// 2506.19767).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// A right answer is worth this times `e^H`, where `H` is the mean entropy of the policy at the answer's tokens, in nats;
    /// above 0.
    pub right: f64,
    /// Another is worth minus this; 0 or more.
    pub wrong: f64,
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
    /// Over the tokens of a micro-batch, then over micro-batches: depends on how a batch is cut.
    TokenMeanLocal,
    /// The sum over tokens by answers times `max_completion_tokens` (Dr.GRPO).
    DrGrpo,
}

/// What the loss of answers that are learned as they are is a mean of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeanOver {
    /// All tokens of a batch: a long answer weighs more, as in Hugging Face's trainers.
    Tokens,
    /// Answers, each the mean over its tokens: every question weighs the same, as in RL's `seq_mean_token_mean`.
    Answers,
}

/// What a learned token weighs by `p`, its own probability under the model that learns. The weight has no slope of its
/// own: it only scales the token's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenWeight {
    /// `p`: dynamic fine-tuning (DFT, arXiv 2508.05629).
    Dft {},
    /// `p (1 - p)`: what is neither known nor foreign is learned most (the φ of CHORD, arXiv 2508.11408).
    Phi {},
    /// `min(p / alpha, 1)`: what is foreign is learned little (TrSFT of TRAPO, arXiv 2512.17636, where `alpha` is 0.1).
    TrustRegion {
        /// The probability from which on a token weighs 1; above 0, at most 1.
        alpha: f64,
    },
    /// 1 from `tau` on, and `p` below it (the coefficient of GFT, arXiv 2604.14258, where `tau` is 0.1).
    Gft {
        /// The probability from which on a token weighs 1; above 0, at most 1.
        tau: f64,
    },
}

impl TokenWeight {
    /// Checks that its bound is a probability above 0.
    pub(super) fn check(self) -> Checked {
        let (key, bound) = match self {
            TokenWeight::Dft {} | TokenWeight::Phi {} => return Ok(()),
            TokenWeight::TrustRegion { alpha } => ("alpha", alpha),
            TokenWeight::Gft { tau } => ("tau", tau),
        };
        require!(
            bound > 0.0 && bound <= 1.0,
            key,
            "{key} = {bound} is outside its range: above 0, at most 1"
        );
        Ok(())
    }
}

/// The whole objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct ObjectiveSpec {
    /// How a reward becomes an advantage.
    pub advantage: Advantage,
    /// The deviation's divisor is the number of rewards less this; 0 or 1.
    pub advantage_ddof: usize,
    /// Added to the deviation before dividing by it; 0 or more.
    pub advantage_epsilon: f64,
    /// Whose probability the clipped ratio compares.
    pub ratio: RatioLevel,
    /// The ratio is clipped to `1 - clip_low` from below; 0 to 1.
    pub clip_low: f64,
    /// The ratio is clipped to `1 + clip_high` from above; 0 or more.
    pub clip_high: f64,
    /// Where the advantage is negative, the loss is at most this times its size (Ye et al. 2020); above 1, or 0 for off.
    pub dual_clip: f64,
    /// How KL is estimated.
    pub kl: KlEstimator,
    /// The estimate `k3` of a token is at most this and has no slope beyond it; above 0, or 0 for off, as in TRL. verl's is
    /// 10, which it applies behind a bound of 20 on `d`'s size that then changes nothing. Without a bound a single token
    /// whose probability has fallen by e^-10 outweighs a whole update. `k1` and `k2` are not bounded, as in verl.
    pub k3_max: f64,
    /// Where the KL term acts.
    pub kl_in: KlPlace,
    /// Weight of the KL term, 0 or more. At 0 the reference policy is not computed and no KL is recorded.
    pub beta: f64,
    /// How the losses of tokens become one number.
    pub aggregation: Aggregation,
    /// Coefficient of an entropy bonus, 0 or more: this times the mean over sampled tokens of the entropy of the policy's
    /// whole distribution at temperature 1 is taken from the loss. The mean is that of `aggregation`, as in verl
    /// (`entropy_coeff`); the bonus is that of Williams and Peng 1991 and PPO's equation 9 (Schulman et al. 2017). 0 without
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// What sampled answers are worth by themselves. Demonstrations that are rows of their group keep their advantage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
    /// What each sampled token weighs by its own probability (GFT); all weigh 1 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_weight: Option<TokenWeight>,
}

/// A name for all keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectivePreset {
    /// The source study. It trained with verl and gives neither clip range nor epsilon: PPO's .2, and
    /// verl's 1e-6 and its bound on k3.
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
    /// The objective that the preset stands for.
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
            k3_max: 10.0,
            kl_in: KlPlace::Loss,
            beta: 0.005,
            aggregation: Aggregation::SeqMeanTokenMean,
            entropy: None,
            signed: None,
            token_weight: None,
        };
        let all_tokens =
            ObjectiveSpec { beta: 0.0, aggregation: Aggregation::TokenMeanGlobal, ..study.clone() };
        match self {
            ObjectivePreset::GrpoStudy => study,
            ObjectivePreset::TrlDefault => {
                ObjectiveSpec { advantage_epsilon: 1e-4, k3_max: 0.0, ..all_tokens }
            }
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

impl<'de> Deserialize<'de> for ObjectiveSpec {
    /// Reads a preset with keys that replace some of its own, or every key.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ObjectiveSpec, D::Error> {
        let mut keys = Table::deserialize(deserializer)?;
        let mut table = Table::new();
        if let Some(preset) = keys.remove("preset") {
            let preset = preset.try_into::<ObjectivePreset>();
            let preset = preset.map_err(|error| D::Error::custom(error.message()))?;
            table = Table::try_from(preset.objective()).map_err(D::Error::custom)?;
        }
        table.extend(keys);
        // The function that is derived, not this one.
        ObjectiveSpec::deserialize(table).map_err(|error| {
            D::Error::custom(format!(
                "{} of the objective\nhint: give every key, or a preset: grpo_study, trl_default, verl_default, \
                 dr_grpo, dapo",
                error.message()
            ))
        })
    }
}

impl Serialize for ObjectiveSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ObjectiveSpec::serialize(self, serializer)
    }
}

impl ObjectiveSpec {
    /// Checks that every number is in its range, for groups of `num_generations`.
    pub(super) fn check(&self, num_generations: usize) -> Checked {
        require!(
            self.advantage_ddof < num_generations && self.advantage_ddof <= 1,
            "advantage_ddof",
            "advantage_ddof = {} is outside its range: 0 or 1",
            self.advantage_ddof
        );
        within("advantage_epsilon", self.advantage_epsilon, 0.0.., "0 or more")?;
        within("clip_low", self.clip_low, 0.0..=1.0, "0 to 1")?;
        within("clip_high", self.clip_high, 0.0.., "0 or more")?;
        require!(
            self.dual_clip.abs() < f64::MIN_POSITIVE
                || (self.dual_clip > 1.0 && self.dual_clip.is_finite()),
            "dual_clip",
            "dual_clip = {} is outside its range: above 1, or 0 for off",
            self.dual_clip
        );
        within("k3_max", self.k3_max, 0.0.., "above 0, or 0 for off")?;
        within("beta", self.beta, 0.0.., "0 or more")?;
        within("entropy", self.entropy(), 0.0.., "0 or more")?;
        if let Some(Signed { right, wrong }) = self.signed {
            require!(right > 0.0, "signed", "right = {right} is outside its range: above 0");
            within("wrong", wrong, 0.0.., "0 or more").map_err(|fault| fault.below("signed"))?;
        }
        let by_token = self.token_weight.map_or(Ok(()), TokenWeight::check);
        by_token.map_err(|fault| fault.below("token_weight"))
    }

    /// The coefficient of the entropy bonus; 0 for none.
    pub fn entropy(&self) -> f64 {
        self.entropy.unwrap_or_default()
    }

    /// Tells whether KL from the reference policy is part of what is learned.
    pub fn has_kl(&self) -> bool {
        self.beta.abs() >= f64::MIN_POSITIVE
    }

    /// Every key and its value, as a recipe would give them.
    pub fn keys(&self) -> Vec<(String, String)> {
        let text = toml::to_string(self).unwrap_or_default();
        let mut table = String::new();
        let mut keys = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                table = format!("{name}.");
            } else if let Some((key, value)) = line.split_once(" = ") {
                keys.push((format!("{table}{key}"), value.to_owned()));
            }
        }
        keys
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
    fn without_a_preset_every_key_has_to_be_given() {
        let error = parse("beta = 0.1").unwrap_err();
        let want = "missing field `advantage` of the objective\nhint: give every key";
        assert!(error.message().starts_with(want), "{error}");
        let error = parse("preset = \"dapo\"\nbeat = 0.1").unwrap_err();
        assert!(error.message().starts_with("unknown field `beat`, expected one of"), "{error}");
    }
}
