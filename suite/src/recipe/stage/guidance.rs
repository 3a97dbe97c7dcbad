//! The table `guidance` of a stage of kind `grpo`: demonstrations where rollouts fail.

use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use crate::recipe::fault::{Checked, Fault, require, within};
use crate::recipe::objective::{MeanOver, TokenWeight};

/// Demonstrations mixed into RL: answers of a data set to the questions of groups that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guidance {
    /// The stage whose data has the demonstrations.
    pub data: String,
    /// Greatest pass rate at which a group is guided, 0 to 1: 0 guides groups without a right answer, 1 all. Left out
    /// where `by_passes` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
    /// True if a guided group keeps its RL loss in addition to the demonstration's. Left out where `by_passes` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_rl: Option<bool>,
    /// What both losses of a group weigh by the number of its right answers, in place of `gate` and `keep_rl` (soft HPT,
    /// arXiv 2509.04419); in ascending order, the first from 0 on. Where no demonstration is known, rewards alone teach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_passes: Option<Vec<PassWeights>>,
    /// Shares the step between both losses, step by step; both count whole without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mu: Option<Mu>,
    /// The loss of the demonstrations' tokens.
    pub weighting: Weighting,
    /// Rollouts of guided groups begin with a part of the demonstration, which is the part that is learned; what follows it
    /// has the RL loss. Without it, the demonstration is whole, and nothing follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
}

/// The beginning of a demonstration that rollouts of guided groups go on from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// How much of the demonstration it is.
    pub share: PrefixShare,
    /// Rollouts of a group that begin with it, below `num_generations`, in the place of as many others: they are compared
    /// with each other, and where it is one, its advantage is its reward (Prefix-RFT, arXiv 2507.01679). All without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
}

/// How much of a demonstration is given. Steps are counted as a share of the stage's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PrefixShare {
    /// All of it in the first step, then less in a straight line (STUDY: progressive).
    Linear {
        /// Share of the steps at which nothing is left; above 0, up to 1.
        until: f64,
    },
    /// Drawn for each group, evenly between `high` and what falls from `high` to nothing along half a cosine (Prefix-RFT).
    Uniform {
        /// Above 0, up to 1.
        high: f64,
        /// Share of the steps at which the lower end is nothing; above 0, up to 1.
        until: f64,
    },
    /// Drawn for each group: each of so many equal pieces is there with a probability that falls from `high` to `low` along
    /// half a cosine; nothing afterwards (UFT, arXiv 2505.16984).
    Binomial {
        /// At least 1.
        num_pieces: usize,
        /// 0 to 1.
        high: f64,
        /// 0 to `high`.
        low: f64,
        /// Share of the steps from which on nothing is given; above 0, up to 1.
        until: f64,
    },
    /// The shortest from which any rollout is right, looked for by halving; a group that none helps keeps its own rollouts
    /// and learns from them alone (BREAD, arXiv 2506.17211).
    Shortest {
        /// How often a group is rolled out again; at least 1.
        num_trials: usize,
    },
}

impl Prefix {
    fn check(self) -> Checked {
        let share = |key: &str, at: f64| {
            require!(
                at > 0.0 && at <= 1.0,
                "share",
                "{key} = {at} is outside its range: above 0, up to 1"
            );
            Ok(())
        };
        match self.share {
            PrefixShare::Linear { until } => share("until", until)?,
            PrefixShare::Uniform { high, until } => {
                share("high", high)?;
                share("until", until)?;
            }
            PrefixShare::Binomial { num_pieces, high, low, until } => {
                share("until", until)?;
                require!(
                    num_pieces > 0,
                    "share",
                    "num_pieces = 0 is outside its range: at least 1"
                );
                require!(
                    (0.0..=1.0).contains(&high) && (0.0..=high).contains(&low),
                    "share",
                    "high = {high} and low = {low} are no probabilities that fall"
                );
            }
            PrefixShare::Shortest { num_trials } => {
                require!(
                    num_trials > 0,
                    "share",
                    "num_trials = 0 is outside its range: at least 1"
                );
            }
        }
        require!(
            self.rows != Some(0),
            "rows",
            hint!("no rollout would have the prefix", "rows = 1")
        );
        Ok(())
    }
}

/// What both losses weigh of groups with so many right answers or more, up to the next of these.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassWeights {
    /// Right answers of a group from which on it holds.
    pub from: usize,
    /// Weight of the demonstration's loss, in addition to that of `weighting`; 0 or more, 0 for no demonstration.
    pub sft: f64,
    /// Weight of the rollouts' loss; 0 or more, 0 for none.
    pub rl: f64,
}

/// The share of the loss on demonstrations in a step, and what is left of it the share of the loss on rollouts: from 0 to
/// `peak` in a straight line, then down to `valley` along half a cosine (CHORD's μ, arXiv 2508.11408).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mu {
    /// Steps of its rise.
    pub warmup_steps: usize,
    /// Steps of its fall.
    pub decay_steps: usize,
    /// Where the rise ends and the fall begins; 0 to 1.
    pub peak: f64,
    /// Where it stays; 0 to 1.
    pub valley: f64,
}

/// The loss of the tokens of demonstrations. Guided questions have the share of an update that they are of its questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Weighting {
    /// The negative log-likelihood.
    Sft {
        /// Weight of the loss, relative to that of the rollouts; 0 or more.
        weight: f64,
        /// What the loss is a mean of; `answers` without it: each question of an update then counts once, whether it is
        /// guided or not, as each counts once in RL.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mean_over: Option<MeanOver>,
        /// What each token weighs by its own probability; all weigh 1 without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_weight: Option<TokenWeight>,
    },
    /// The demonstration is a row of its group: it is graded as the rollouts are, its reward counts in the group's mean and
    /// deviation, and its tokens learn by its advantage, without a clip. Answers and tokens of such rows count in what the
    /// loss is divided by.
    Row {
        /// What a token gains by its probability.
        gain: RowGain,
        /// Weight of the row's negative log-likelihood besides, 0 or more: this times `e^-H`, where `H` is the mean entropy of
        /// the policy at the row's tokens, in nats; a mean over the tokens of all demonstrations (SRFT, arXiv 2506.19767,
        /// where it is 0.5). 0 without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sft: Option<f64>,
    },
}

/// What a token of a demonstration that is a row gains by its probability `p` under the model that learns; its loss is
/// that times minus the row's advantage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RowGain {
    /// `log p`: the policy gradient of a rollout that the model itself has just written (ViSurf, arXiv 2510.10606).
    LogP {
        /// What each token weighs by its own probability (GFT, arXiv 2604.14258); all weigh 1 without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_weight: Option<TokenWeight>,
        /// Share of the row's tokens that learn, those at which the policy's entropy is highest; above 0, up to 1
        /// (Prefix-RFT, arXiv 2507.01679, where it is 0.2). All without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entropy_share: Option<f64>,
    },
    /// `p / (p + gamma)`: tokens that the model hardly ever writes are learned too (LUFFY, arXiv 2504.14945, where `gamma`
    /// is 0.1).
    Shaped {
        /// Above 0.
        gamma: f64,
    },
}

impl RowGain {
    /// Every token gains its log-probability.
    pub const LOG_P: RowGain = RowGain::LogP { token_weight: None, entropy_share: None };

    fn check(self) -> Checked {
        let (key, value, holds, range) = match self {
            RowGain::LogP { token_weight, entropy_share } => {
                let by_token = token_weight.map_or(Ok(()), TokenWeight::check);
                by_token.map_err(|fault| fault.below("token_weight"))?;
                let share = entropy_share.unwrap_or(1.0);
                ("entropy_share", share, share > 0.0 && share <= 1.0, "above 0, up to 1")
            }
            RowGain::Shaped { gamma } => ("gamma", gamma, gamma > 0.0, "above 0"),
        };
        require!(holds, key, "{key} = {value} is outside its range: {range}");
        Ok(())
    }
}

impl Weighting {
    /// Tells whether tokens of demonstrations are learned at all.
    pub fn learns(&self) -> bool {
        match self {
            Weighting::Sft { weight, .. } => *weight > 0.0,
            Weighting::Row { .. } => true,
        }
    }

    /// Tells whether the policy's entropy at a demonstration's tokens changes what they learn.
    pub fn needs_entropies(&self) -> bool {
        match self {
            Weighting::Sft { .. } => false,
            Weighting::Row { gain, sft } => {
                let by_share = matches!(gain, RowGain::LogP { entropy_share: Some(_), .. });
                by_share || sft.is_some()
            }
        }
    }

    fn check(&self) -> Checked {
        match *self {
            Weighting::Sft { weight, token_weight, .. } => {
                within("weight", weight, 0.0.., "0 or more")?;
                let by_token = token_weight.map_or(Ok(()), TokenWeight::check);
                by_token.map_err(|fault| fault.below("token_weight"))
            }
            Weighting::Row { gain, sft } => {
                within("sft", sft.unwrap_or_default(), 0.0.., "0 or more")?;
                gain.check().map_err(|fault| fault.below("gain"))
            }
        }
    }
}

impl Guidance {
    /// Checks what needs no other key of the stage.
    pub(super) fn check(&self) -> Checked {
        match (self.gate, self.keep_rl, &self.by_passes) {
            (Some(gate), Some(_), None) => within("gate", gate, 0.0..=1.0, "0 to 1, a pass rate")?,
            (None, None, Some(rows)) => self.check_by_passes(rows)?,
            _ => {
                return Err(Fault::at(
                    "data",
                    hint!(
                        "which groups are guided is said by `gate` and `keep_rl`, or by `by_passes`",
                        "gate = 0.0 and keep_rl = false guide groups without a right answer"
                    ),
                ));
            }
        }
        if let Some(Mu { peak, valley, .. }) = self.mu {
            for (key, share) in [("peak", peak), ("valley", valley)] {
                within(key, share, 0.0..=1.0, "0 to 1, a share").map_err(|f| f.below("mu"))?;
            }
        }
        self.weighting.check().map_err(|fault| fault.below("weighting"))?;
        let Some(prefix) = self.prefix else { return Ok(()) };
        prefix.check().map_err(|fault| fault.below("prefix"))?;
        require!(
            prefix.rows.is_some() || matches!(self.weighting, Weighting::Sft { .. }),
            "weighting",
            hint!(
                "all rollouts have the prefix, so there are none that it could be compared with",
                "prefix.rows = 1, or weighting.kind = \"sft\""
            )
        );
        require!(
            self.keep_rl != Some(true),
            "keep_rl",
            hint!(
                "rollouts of a guided group that have no prefix keep their loss anyway, and others are replaced",
                "keep_rl = false"
            )
        );
        require!(
            self.by_passes.is_none(),
            "prefix",
            hint!("by_passes weighs whole demonstrations, not prefixes", "leave one of them out")
        );
        let is_searched = matches!(prefix.share, PrefixShare::Shortest { .. });
        require!(
            !is_searched || (self.gate == Some(0.0) && prefix.rows.is_none()),
            "prefix",
            hint!(
                "a prefix that helps is looked for where no rollout is right, and for all of them",
                "gate = 0.0, and no rows"
            )
        );
        Ok(())
    }

    fn check_by_passes(&self, rows: &[PassWeights]) -> Checked {
        require!(
            rows.first().is_some_and(|row| row.from == 0)
                && rows.is_sorted_by(|a, b| a.from < b.from),
            "by_passes",
            hint!(
                "by_passes does not rise from 0",
                "by_passes = [{{ from = 0, sft = 1.0, rl = 0.0 }}, {{ from = 1, sft = 0.0, rl = 1.0 }}]"
            )
        );
        for row in rows {
            for (key, weight) in [("sft", row.sft), ("rl", row.rl)] {
                within(key, weight, 0.0.., "0 or more")
                    .map_err(|fault| fault.below("by_passes"))?;
            }
        }
        Ok(())
    }
}
