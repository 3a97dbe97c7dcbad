//! Stages: what a recipe can say of each, and what is checked of it.
//!
//! Does not know regimes or order: a stage names what it starts from.

use anyhow::{Result, anyhow, ensure};
use regex::Regex;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::{MAX_HOPS, NUM_CELLS};
use synergy_models::merge::MergeSpec;

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
    pub training: TrainingSpec,
    pub optimizer: OptimizerSpec,
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
    pub training: TrainingSpec,
    pub optimizer: OptimizerSpec,
}

/// Data: the families' own traces of the training pool's first questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherSpec {
    pub trace: Trace,
    pub num_questions: usize,
    pub hops: [usize; 2],
}

/// Data: a model's own answers to the training pool's first questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSpec {
    /// The stage whose model answers, or `base`.
    pub from: String,
    pub keep: Keep,
    pub num_questions: usize,
    pub hops: [usize; 2],
    /// Answers to each question.
    pub num_generations: usize,
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: usize,
    pub max_new_tokens: usize,
}

/// Which of a question's answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Every correct one.
    Correct,
    /// The correct one of the fewest tokens, as the study's self-distillation does.
    ShortestCorrect,
}

/// Data: several data sets one after the other; what trains on them shuffles.
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
    pub temperature: f64,
    pub max_completion_tokens: usize,
    /// Weight of the KL term in the loss.
    pub beta: f64,
    /// PPO's clip range.
    pub epsilon: f64,
    /// Added to the group's deviation before dividing by it.
    pub advantage_epsilon: f64,
    pub accuracy_weight: f64,
    pub format_weight: f64,
    pub num_questions: usize,
    pub hops: [usize; 2],
    /// Questions that this `sample` stage saw answered right every time are left out; none if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_solved_by: Option<String>,
    pub training: TrainingSpec,
    pub optimizer: OptimizerSpec,
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

/// What every stage that trains says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// Regular expressions: parameters whose name one of these matches from its start stay as they are.
    pub freeze: Vec<String>,
    /// Sequences computed at once; a batch is sorted by length and cut into these.
    pub micro_batch_size: usize,
    /// A checkpoint inside the stage every so many steps.
    pub checkpoint_every: usize,
}

/// AdamW (Loshchilov and Hutter 2019), with Muon (Jordan et al. 2024) for hidden matrices if
/// `muon_learning_rate` is above 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSpec {
    pub learning_rate: f64,
    pub muon_learning_rate: f64,
    pub muon_momentum: f64,
    pub beta_1: f64,
    pub beta_2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm.
    pub max_grad_norm: f64,
    pub warmup_steps: usize,
    /// Cosine from the peak to this share of it at the end; 1 keeps it constant.
    pub final_learning_rate_ratio: f64,
}

impl TrainingSpec {
    /// `freeze`, compiled.
    ///
    /// # Errors
    /// If one is no regular expression.
    pub fn freeze_patterns(&self) -> Result<Vec<Regex>> {
        let compile = |text: &String| {
            Regex::new(&format!("^(?:{text})")).map_err(|_| {
                anyhow!(
                    "`freeze` has `{text}`, which is no regular expression\nhint: as in `visual.`"
                )
            })
        };
        self.freeze.iter().map(compile).collect()
    }
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

    /// The rollouts' settings, where there are any.
    pub fn grpo(&self) -> Option<&GrpoSpec> {
        match self {
            StageSpec::Grpo(s) => Some(s),
            StageSpec::Hybrid(s) => Some(&s.grpo),
            _ => None,
        }
    }

    /// Optimizer-independent settings of a stage that trains.
    pub fn training(&self) -> Option<&TrainingSpec> {
        match self {
            StageSpec::Pretrain(s) => Some(&s.training),
            StageSpec::Sft(s) => Some(&s.training),
            _ => self.grpo().map(|s| &s.training),
        }
    }

    /// The optimizer's settings of a stage that trains.
    pub fn optimizer(&self) -> Option<&OptimizerSpec> {
        match self {
            StageSpec::Pretrain(s) => Some(&s.optimizer),
            StageSpec::Sft(s) => Some(&s.optimizer),
            _ => self.grpo().map(|s| &s.optimizer),
        }
    }

    /// Whether what it can be by itself.
    ///
    /// # Errors
    /// With the first thing that cannot be.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(training) = self.training() {
            ensure!(
                training.micro_batch_size > 0 && training.checkpoint_every > 0,
                "sizes must be at least 1"
            );
            training.freeze_patterns()?;
        }
        if let Some(s) = self.grpo() {
            return check_grpo(s).and_then(|()| self.check_hybrid());
        }
        match self {
            StageSpec::Pretrain(s) => {
                ensure!(s.num_steps > 0, "nothing to train on: the stage has no steps");
                for hops in [&s.hops, &s.verbose_hops] {
                    ensure!(
                        !hops.is_empty() && hops.len() <= MAX_HOPS,
                        "hops needs 1 to {MAX_HOPS} weights"
                    );
                    ensure!(hops.iter().sum::<f64>() > 0.0, "all weights of hops are 0");
                }
                ensure!(s.batch_size > 0 && s.num_turns > 0, "sizes must be at least 1");
                ensure!((0.0..=1.0).contains(&s.misread), "misread {} is no share", s.misread);
                let [low, high] = s.read_cells;
                ensure!(
                    low >= 1 && low <= high && high <= NUM_CELLS,
                    "read_cells [{low}, {high}] are not within 1 to {NUM_CELLS}"
                );
                Ok(())
            }
            StageSpec::Sft(s) => {
                ensure!(s.batch_size > 0, "an empty training split");
                ensure!(s.num_epochs > 0, "nothing to train on: the stage has no steps");
                Ok(())
            }
            StageSpec::Teacher(s) => {
                ensure!(s.num_questions > 0, "nothing to train on: num_questions is 0");
                check_hops(s.hops)
            }
            StageSpec::Sample(s) => {
                ensure!(s.num_questions > 0 && s.num_generations > 0, "nothing to sample");
                ensure!(
                    s.top_p > 0.0 && s.top_p <= 1.0 && s.temperature >= 0.0 && s.max_new_tokens > 0,
                    "temperature, top_p or max_new_tokens out of range"
                );
                check_hops(s.hops)
            }
            StageSpec::Mix(s) => {
                ensure!(
                    !s.parts.is_empty(),
                    "a mix of nothing\nhint: parts = [{{ data = \"…\" }}]"
                );
                Ok(())
            }
            StageSpec::Merge(s) => s.merge.check(),
            StageSpec::Grpo(_) | StageSpec::Hybrid(_) => Ok(()),
        }
    }

    fn check_hybrid(&self) -> Result<()> {
        let StageSpec::Hybrid(s) = self else { return Ok(()) };
        ensure!((0.0..=1.0).contains(&s.gate), "gate {} is no pass rate\nhint: 0 to 1", s.gate);
        ensure!(
            (0.0..=1.0).contains(&s.prefix_until),
            "prefix_until {} is no share of the steps\nhint: 0 to 1",
            s.prefix_until
        );
        ensure!(s.sft_weight >= 0.0, "sft_weight {} is below 0", s.sft_weight);
        ensure!(
            s.prefix_until <= 0.0 || !s.rl_on_gated,
            "a gated group is rolled out again from a prefix, so its first rollouts have no loss\n\
             hint: rl_on_gated = false"
        );
        Ok(())
    }
}

fn check_grpo(s: &GrpoSpec) -> Result<()> {
    ensure!(s.num_questions > 0 && s.batch_size > 0, "an empty training split");
    ensure!(s.num_steps > 0, "nothing to train on: the stage has no steps");
    ensure!(s.num_generations > 1, "a group of one has no advantage\nhint: num_generations = 8");
    ensure!(
        s.num_mini_batches > 0 && s.batch_size.is_multiple_of(s.num_mini_batches),
        "batch_size {} is not a multiple of num_mini_batches {}",
        s.batch_size,
        s.num_mini_batches
    );
    check_hops(s.hops)
}

pub(super) fn check_hops([low, high]: [usize; 2]) -> Result<()> {
    ensure!(
        low >= 1 && low <= high && high <= MAX_HOPS,
        "hops [{low}, {high}] are not within 1 to {MAX_HOPS}"
    );
    Ok(())
}
