//! Stages: what a recipe can say of each, and what is checked of it.
//!
//! Does not know regimes or order: a stage names what it starts from. What several stages share (questions,
//! rewards, optimizers) stands in a table of its own, and a stage names it.

use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::{MAX_HOPS, NUM_CELLS};
use synergy_models::merge::MergeSpec;
use synergy_models::weights::ComputeDtype;

use super::Tables;
use super::fault::{Checked, Fault, require};
use super::objective::ObjectiveSpec;
use super::tables::{Named, OptimizerSpec, QuestionsSpec, TrainingSpec};
use crate::reward::RewardSpec;

/// What a stage that starts from nothing trained names.
pub const BASE: &str = "base";

/// One step of a regime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StageSpec {
    Pretrain(PretrainSpec),
    Sft(SftSpec),
    Grpo(GrpoSpec),
    Hybrid(HybridSpec),
    Merge(MergeStageSpec),
    Teacher(TeacherSpec),
    Sample(SampleSpec),
    Mix(MixSpec),
}

/// What a stage leaves behind for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A model's weights.
    Checkpoint,
    /// Questions with answers to train on.
    Data,
}

/// Next-token training on conversations about pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainSpec {
    /// The stage it starts from, or `base`.
    pub from: String,
    pub num_steps: usize,
    /// Pictures per step, one conversation each.
    pub batch_size: usize,
    /// Turns of a conversation.
    pub num_turns: usize,
    /// Share of turns in each register; normalised.
    pub registers: RegisterWeights,
    /// Fewest and most cells of a reading turn.
    pub read_cells: [usize; 2],
    /// Weight of 1, 2, 3 … hops in task turns.
    pub hops: Vec<f64>,
    /// Weight of 1, 2, 3 … hops in verbose turns.
    pub verbose_hops: Vec<f64>,
    /// How often a terse or direct answer takes a cell for another, as texts of people hold mistakes.
    pub misread: f64,
    /// Before each answer positions jump by 0 to this many, so that no skill is tied to a position.
    pub position_gap_max: u32,
    pub training: Named<TrainingSpec>,
    pub optimizer: Named<OptimizerSpec>,
}

/// How often each register occurs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterWeights {
    pub read: f64,
    pub direct: f64,
    pub terse: f64,
    pub verbose: f64,
}

/// Supervised fine-tuning on the answers of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftSpec {
    /// The stage it starts from, or `base`.
    pub from: String,
    /// The stage whose data it learns.
    pub data: String,
    pub num_epochs: usize,
    pub batch_size: usize,
    pub position_gap_max: u32,
    /// Tokens of a sequence at most: what a longer answer has beyond is not learned. No limit where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    pub checkpoint: KeptCheckpoint,
    pub training: Named<TrainingSpec>,
    pub optimizer: Named<OptimizerSpec>,
}

/// Which checkpoint of its epochs a stage leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptCheckpoint {
    Last,
    /// The most accurate on the recipe's `validation` questions, the earlier of equals.
    Best,
}

/// Data: the families' own traces of questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherSpec {
    pub trace: Trace,
    pub questions: Named<QuestionsSpec>,
}

/// Data: a model's own answers to questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSpec {
    /// The stage whose model answers, or `base`.
    pub from: String,
    pub keep: Keep,
    /// Only questions whose share of right answers is within these are kept.
    pub pass_rate: [f64; 2],
    pub questions: Named<QuestionsSpec>,
    /// Answers to each question.
    pub num_generations: usize,
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: usize,
    pub max_new_tokens: usize,
    /// What the model computes in, as in a training table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<ComputeDtype>,
}

/// Which of a question's answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Every one, right or wrong.
    Any,
    /// Every correct one.
    Correct,
    /// The correct one of the fewest tokens, as the study's self-distillation does.
    ShortestCorrect,
}

/// Data: several data sets, whole or by share; what trains on them shuffles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixSpec {
    pub parts: Vec<MixPart>,
}

/// One data set of a mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixPart {
    /// The stage whose data it is.
    pub data: String,
    /// Share of the mix's examples, drawn at random; the mix is as large as the parts allow. Said for every
    /// part or for none, which takes all of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Only questions that this `sample` stage asked and never saw answered right; all if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsolved_by: Option<String>,
}

/// Which teacher trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trace {
    Terse,
    Verbose,
    /// As long as the verbose one, but it never leaves the first cell.
    Shallow,
}

/// Group relative policy optimisation as the study defines it (STUDY: RL).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpoSpec {
    /// The stage it starts from, or `base`.
    pub from: String,
    pub num_steps: usize,
    /// Questions per step.
    pub batch_size: usize,
    /// Optimizer updates per step: the batch is cut into that many.
    pub num_mini_batches: usize,
    /// Rollouts per question.
    pub num_generations: usize,
    /// Of the rollouts; 1 only, since the loss compares probabilities of the model as it is.
    pub temperature: f64,
    pub max_completion_tokens: usize,
    pub objective: ObjectiveSpec,
    pub reward: Named<RewardSpec>,
    pub questions: Named<QuestionsSpec>,
    /// Questions that this `sample` stage saw answered right every time are left out; none if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_solved_by: Option<String>,
    pub training: Named<TrainingSpec>,
    pub optimizer: Named<OptimizerSpec>,
}

/// GRPO with an SFT loss where its rollouts fail (STUDY: interleaved and progressive).
///
/// A group whose pass rate is at most `gate` is gated: its question's answer in `data` enters the loss,
/// `sft_weight` times the mean over its tokens, each question of the update counted once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HybridSpec {
    /// The stage whose data is learned where rollouts fail.
    pub data: String,
    /// Pass rate of a group, at most, that gates it.
    pub gate: f64,
    /// Whether a gated group keeps its RL loss beside.
    pub rl_on_gated: bool,
    pub sft_weight: f64,
    /// Above 0, progressive: gated groups are rolled out again from a prefix of the answer, which is all of it
    /// in the first step and shrinks linearly to nothing at this share of the steps; SFT loss on the prefix,
    /// RL loss on what the model goes on with. 0: the whole answer, always.
    pub prefix_until: f64,
    pub grpo: GrpoSpec,
}

/// The merge of two models that stand on the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeStageSpec {
    /// The stages whose models are merged; `share` is the first's.
    pub parents: [String; 2],
    pub merge: MergeSpec,
}

impl StageSpec {
    /// The word under `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            StageSpec::Pretrain(_) => "pretrain",
            StageSpec::Sft(_) => "sft",
            StageSpec::Grpo(_) => "grpo",
            StageSpec::Hybrid(_) => "hybrid",
            StageSpec::Merge(_) => "merge",
            StageSpec::Teacher(_) => "teacher",
            StageSpec::Sample(_) => "sample",
            StageSpec::Mix(_) => "mix",
        }
    }

    /// What it leaves behind.
    pub fn output(&self) -> Output {
        match self {
            StageSpec::Pretrain(_)
            | StageSpec::Sft(_)
            | StageSpec::Grpo(_)
            | StageSpec::Hybrid(_)
            | StageSpec::Merge(_) => Output::Checkpoint,
            StageSpec::Teacher(_) | StageSpec::Sample(_) | StageSpec::Mix(_) => Output::Data,
        }
    }

    /// The stage whose weights it starts from, or `base`.
    pub fn from(&self) -> Option<&str> {
        match self {
            StageSpec::Pretrain(s) => Some(&s.from),
            StageSpec::Sft(s) => Some(&s.from),
            StageSpec::Grpo(s) => Some(&s.from),
            StageSpec::Hybrid(s) => Some(&s.grpo.from),
            StageSpec::Sample(s) => Some(&s.from),
            StageSpec::Teacher(_) | StageSpec::Mix(_) | StageSpec::Merge(_) => None,
        }
    }

    /// The stages whose models it merges, or `base`.
    pub fn parents(&self) -> &[String] {
        match self {
            StageSpec::Merge(s) => &s.parents,
            _ => &[],
        }
    }

    /// Stages whose data it reads, each under the key that names it.
    pub fn data(&self) -> Vec<(&'static str, &str)> {
        let mut data: Vec<(&'static str, &str)> = Vec::new();
        match self {
            StageSpec::Sft(s) => data.push(("data", &s.data)),
            StageSpec::Hybrid(s) => data.push(("data", &s.data)),
            StageSpec::Mix(s) => {
                for part in &s.parts {
                    data.push(("data", &part.data));
                    data.extend(part.unsolved_by.as_deref().map(|name| ("unsolved_by", name)));
                }
            }
            _ => {}
        }
        let solved = self.grpo().and_then(|s| s.skip_solved_by.as_deref());
        data.extend(solved.map(|name| ("skip_solved_by", name)));
        data
    }

    /// Every stage it names, with the key that does.
    pub(super) fn inputs(&self) -> Vec<(String, &str)> {
        let grpo = if matches!(self, StageSpec::Hybrid(_)) { "grpo." } else { "" };
        let from = self.from().map(|name| (format!("{grpo}from"), name));
        let parents = self.parents().iter().map(|name| ("parents".to_owned(), name.as_str()));
        let data = self.data().into_iter().map(|(key, name)| match (self, key) {
            (StageSpec::Hybrid(_), "skip_solved_by") => (format!("{grpo}{key}"), name),
            _ => (key.to_owned(), name),
        });
        from.into_iter().chain(parents).chain(data).collect()
    }

    /// The rollouts' settings, where there are any.
    pub fn grpo(&self) -> Option<&GrpoSpec> {
        match self {
            StageSpec::Grpo(s) => Some(s),
            StageSpec::Hybrid(s) => Some(&s.grpo),
            _ => None,
        }
    }

    /// The same, to be changed: what is planted to be found is no recipe's.
    pub(crate) fn grpo_mut(&mut self) -> Option<&mut GrpoSpec> {
        match self {
            StageSpec::Grpo(s) => Some(s),
            StageSpec::Hybrid(s) => Some(&mut s.grpo),
            _ => None,
        }
    }

    /// What its model computes in.
    pub fn dtype(&self) -> ComputeDtype {
        match self {
            StageSpec::Sample(s) => s.dtype.unwrap_or_default(),
            _ => self.training().map_or(ComputeDtype::F32, TrainingSpec::dtype),
        }
    }

    /// Optimizer-independent settings of a stage that trains.
    pub fn training(&self) -> Option<&TrainingSpec> {
        match self {
            StageSpec::Pretrain(s) => Some(&s.training),
            StageSpec::Sft(s) => Some(&s.training),
            _ => self.grpo().map(|s| &*s.training),
        }
    }

    /// The optimizer's settings of a stage that trains.
    pub fn optimizer(&self) -> Option<&OptimizerSpec> {
        match self {
            StageSpec::Pretrain(s) => Some(&s.optimizer),
            StageSpec::Sft(s) => Some(&s.optimizer),
            _ => self.grpo().map(|s| &*s.optimizer),
        }
    }

    /// The questions it asks by itself.
    pub fn questions(&self) -> Option<&QuestionsSpec> {
        match self {
            StageSpec::Teacher(s) => Some(&s.questions),
            StageSpec::Sample(s) => Some(&s.questions),
            _ => self.grpo().map(|s| &*s.questions),
        }
    }

    /// The reward of its rollouts.
    pub fn reward(&self) -> Option<&RewardSpec> {
        self.grpo().map(|s| &*s.reward)
    }

    /// Whether it keeps the best of several checkpoints.
    pub fn keeps_best(&self) -> bool {
        matches!(self, StageSpec::Sft(s) if s.checkpoint == KeptCheckpoint::Best)
    }

    /// Looks up every table it names.
    pub(super) fn resolve(&mut self, tables: &Tables) -> Checked {
        match self {
            StageSpec::Pretrain(s) => {
                s.training.resolve("training", &tables.trainings)?;
                s.optimizer.resolve("optimizer", &tables.optimizers)
            }
            StageSpec::Sft(s) => {
                s.training.resolve("training", &tables.trainings)?;
                s.optimizer.resolve("optimizer", &tables.optimizers)
            }
            StageSpec::Teacher(s) => s.questions.resolve("questions", &tables.questions),
            StageSpec::Sample(s) => s.questions.resolve("questions", &tables.questions),
            StageSpec::Grpo(s) => s.resolve(tables),
            StageSpec::Hybrid(s) => s.grpo.resolve(tables).map_err(|fault| fault.below("grpo")),
            StageSpec::Mix(_) | StageSpec::Merge(_) => Ok(()),
        }
    }

    /// Whether what it can be by itself.
    pub(super) fn check(&self) -> Checked {
        match self {
            StageSpec::Pretrain(s) => {
                require!(
                    s.num_steps > 0,
                    "num_steps",
                    "nothing to train on: the stage has no steps"
                );
                for (key, hops) in [("hops", &s.hops), ("verbose_hops", &s.verbose_hops)] {
                    require!(
                        !hops.is_empty() && hops.len() <= MAX_HOPS,
                        key,
                        "{key} needs 1 to {MAX_HOPS} weights"
                    );
                    require!(hops.iter().sum::<f64>() > 0.0, key, "all weights of {key} are 0");
                }
                require!(
                    s.batch_size > 0 && s.num_turns > 0,
                    "batch_size",
                    "sizes must be at least 1"
                );
                require!(
                    (0.0..=1.0).contains(&s.misread),
                    "misread",
                    "misread {} is no share",
                    s.misread
                );
                let [low, high] = s.read_cells;
                require!(
                    low >= 1 && low <= high && high <= NUM_CELLS,
                    "read_cells",
                    "read_cells [{low}, {high}] are not within 1 to {NUM_CELLS}"
                );
                Ok(())
            }
            StageSpec::Sft(s) => {
                require!(s.batch_size > 0, "batch_size", "an empty training split");
                require!(
                    s.num_epochs > 0,
                    "num_epochs",
                    "nothing to train on: the stage has no steps"
                );
                Ok(())
            }
            StageSpec::Sample(s) => {
                require!(s.num_generations > 0, "num_generations", "nothing to sample");
                require!(
                    s.top_p > 0.0
                        && s.top_p <= 1.0
                        && s.temperature.is_finite()
                        && s.temperature >= 0.0
                        && s.max_new_tokens > 0,
                    "temperature",
                    "temperature, top_p or max_new_tokens out of range"
                );
                let [low, high] = s.pass_rate;
                require!(
                    low >= 0.0 && low <= high && high <= 1.0,
                    "pass_rate",
                    "pass_rate [{low}, {high}] is no band of shares\nhint: [0.0, 1.0] is all"
                );
                Ok(())
            }
            StageSpec::Mix(s) => s.check(),
            StageSpec::Merge(s) => s.merge.check().map_err(|cause| Fault::at("merge", cause)),
            StageSpec::Grpo(s) => s.check(),
            StageSpec::Hybrid(s) => s.check(),
            StageSpec::Teacher(_) => Ok(()),
        }
    }
}

impl MixSpec {
    fn check(&self) -> Checked {
        require!(
            !self.parts.is_empty(),
            "parts",
            "a mix of nothing\nhint: parts = [{{ data = \"…\" }}]"
        );
        let shares: Vec<f64> = self.parts.iter().filter_map(|part| part.share).collect();
        if shares.is_empty() {
            return Ok(());
        }
        require!(
            shares.len() == self.parts.len(),
            "parts",
            "some parts of the mix have a share and some have none\nhint: all or none"
        );
        let sum: f64 = shares.iter().sum();
        require!(
            shares.iter().all(|share| *share > 0.0) && (sum - 1.0).abs() < 1e-9,
            "parts",
            "the shares of the mix are {shares:?}, which is not 1 in all\nhint: shares above 0 that sum to 1"
        );
        Ok(())
    }
}

impl GrpoSpec {
    fn resolve(&mut self, tables: &Tables) -> Checked {
        self.questions.resolve("questions", &tables.questions)?;
        self.reward.resolve("reward", &tables.rewards)?;
        self.training.resolve("training", &tables.trainings)?;
        self.optimizer.resolve("optimizer", &tables.optimizers)
    }

    fn check(&self) -> Checked {
        require!(self.batch_size > 0, "batch_size", "an empty training split");
        require!(self.num_steps > 0, "num_steps", "nothing to train on: the stage has no steps");
        require!(
            self.num_generations > 1,
            "num_generations",
            "a group of one has no advantage\nhint: num_generations = 8"
        );
        require!(
            self.num_mini_batches > 0 && self.batch_size.is_multiple_of(self.num_mini_batches),
            "num_mini_batches",
            "batch_size {} is not a multiple of num_mini_batches {}",
            self.batch_size,
            self.num_mini_batches
        );
        require!(
            (self.temperature - 1.0).abs() < 1e-12,
            "temperature",
            "rollouts at temperature {} are not the policy that the loss compares\nhint: temperature = 1.0",
            self.temperature
        );
        require!(self.max_completion_tokens > 0, "max_completion_tokens", "answers of no tokens");
        self.objective.check(self.num_generations).map_err(|fault| fault.below("objective"))
    }
}

impl HybridSpec {
    fn check(&self) -> Checked {
        self.grpo.check().map_err(|fault| fault.below("grpo"))?;
        require!(
            (0.0..=1.0).contains(&self.gate),
            "gate",
            "gate {} is no pass rate\nhint: 0 to 1",
            self.gate
        );
        require!(
            (0.0..=1.0).contains(&self.prefix_until),
            "prefix_until",
            "prefix_until {} is no share of the steps\nhint: 0 to 1",
            self.prefix_until
        );
        require!(
            self.sft_weight >= 0.0 && self.sft_weight.is_finite(),
            "sft_weight",
            "sft_weight {} is below 0",
            self.sft_weight
        );
        require!(
            self.prefix_until <= 0.0 || !self.rl_on_gated,
            "rl_on_gated",
            "a gated group is rolled out again from a prefix, so its first rollouts have no loss\n\
             hint: rl_on_gated = false"
        );
        Ok(())
    }
}
