//! What was asked: a recipe as TOML, every number said, unknown keys refused.
//!
//! Does not know how anything is done. There are no defaults here: a number that is not in the file
//! is a mistake, not a choice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use regex::Regex;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::{Family, MAX_HOPS, NUM_CELLS};
use synergy_models::config::Preset;
use synergy_models::generate::Sampling;

use crate::score::control_note;

/// Bounds of a vocabulary trained here: 256 bytes, 6 special and 3 added tokens at least.
const VOCAB_MIN: usize = 265;
const VOCAB_MAX: usize = 1 << 18;
/// Bounds of an evaluation: addresses of questions stay apart and plans stay countable.
const QUESTIONS_MAX: usize = 100_000;
const SAMPLES_MAX: usize = 10_000;

/// The version of the format that this suite reads.
pub const VERSION: u32 = 1;

/// A recipe file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub version: u32,
    pub name: String,
    /// Why it exists.
    pub note: String,
    /// One training run of every regime for each.
    pub seeds: Vec<u64>,
    pub model: ModelSpec,
    pub prompt: PromptSpec,
    /// Stages by name; a regime lists them.
    pub stages: BTreeMap<String, StageSpec>,
    pub regimes: Vec<RegimeSpec>,
    pub evaluation: EvaluationSpec,
}

/// Where training starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSpec {
    /// Fresh weights and a tokenizer trained on the families' own texts.
    Fresh { preset: Preset, vocab_size: usize, initializer_range: f64 },
    /// A kept base, relative to the project's root, and the recipe that made it.
    Kept { path: PathBuf, recipe: PathBuf },
}

/// How a question is put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSpec {
    /// The study's instruction, appended to every question (STUDY: prompt template).
    pub suffix: String,
    /// Asks for the verbose register in pretraining.
    pub verbose_suffix: String,
}

/// A way of post-training: stages one after the other, starting from the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegimeSpec {
    pub name: String,
    pub note: String,
    pub stages: Vec<String>,
}

/// One step of a regime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StageSpec {
    Pretrain(PretrainSpec),
    Sft(SftSpec),
    Grpo(GrpoSpec),
}

/// Next-token training on conversations about pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainSpec {
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

/// Supervised fine-tuning on teacher traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftSpec {
    pub trace: Trace,
    pub num_questions: usize,
    pub num_epochs: usize,
    pub batch_size: usize,
    pub hops: [usize; 2],
    pub position_gap_max: u32,
    pub training: TrainingSpec,
    pub optimizer: OptimizerSpec,
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
    pub training: TrainingSpec,
    pub optimizer: OptimizerSpec,
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

/// How every model is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSpec {
    pub questions_per_family: usize,
    /// Root of the test questions. Touched by recorded runs only.
    pub question_seed: u64,
    pub hops: [usize; 2],
    /// Samples of the base per question that cut the levels.
    pub level_num_samples: usize,
    pub num_samples: usize,
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: usize,
    pub max_new_tokens: usize,
    /// Questions of each external benchmark, where it has been fetched.
    pub external_questions: usize,
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

impl EvaluationSpec {
    /// The study's sampling, until `eos_token_id`.
    pub fn sampling(&self, eos_token_id: u32) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            ..Sampling::greedy(self.max_new_tokens, eos_token_id)
        }
    }
}

impl StageSpec {
    /// The word under `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            StageSpec::Pretrain(_) => "pretrain",
            StageSpec::Sft(_) => "sft",
            StageSpec::Grpo(_) => "grpo",
        }
    }

    /// Optimizer-independent settings.
    pub fn training(&self) -> &TrainingSpec {
        match self {
            StageSpec::Pretrain(s) => &s.training,
            StageSpec::Sft(s) => &s.training,
            StageSpec::Grpo(s) => &s.training,
        }
    }

    /// The optimizer's settings.
    pub fn optimizer(&self) -> &OptimizerSpec {
        match self {
            StageSpec::Pretrain(s) => &s.optimizer,
            StageSpec::Sft(s) => &s.optimizer,
            StageSpec::Grpo(s) => &s.optimizer,
        }
    }

    /// Steps of the training loop.
    pub fn num_steps(&self) -> usize {
        match self {
            StageSpec::Pretrain(s) => s.num_steps,
            StageSpec::Sft(s) => {
                s.num_questions.div_ceil(s.batch_size.max(1)).saturating_mul(s.num_epochs)
            }
            StageSpec::Grpo(s) => s.num_steps,
        }
    }
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// If the file is missing, has an unknown key or lacks one, or asks for what cannot be done.
    pub fn read(path: &Path) -> Result<Recipe> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read recipe `{}`", path.display()))?;
        Recipe::parse(&text).with_context(|| {
            format!(
                "unusable recipe `{}`\nhint: every key and its meaning stands in suite/src/recipe.rs",
                path.display()
            )
        })
    }

    /// From the text of a recipe.
    ///
    /// # Errors
    /// See [`Recipe::read`].
    pub fn parse(text: &str) -> Result<Recipe> {
        let recipe: Recipe = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            anyhow::anyhow!("line {line}: {}", e.message())
        })?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The regime's stages, resolved.
    pub fn stages_of<'a>(
        &'a self,
        regime: &'a RegimeSpec,
    ) -> impl Iterator<Item = (&'a str, &'a StageSpec)> {
        regime.stages.iter().map(|name| (name.as_str(), &self.stages[name]))
    }

    /// Whether this recipe makes a base: then its one regime may be called so.
    fn is_base(&self) -> bool {
        self.stages.values().all(|s| matches!(s, StageSpec::Pretrain(_)))
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.version == VERSION,
            "recipe version {} is not {VERSION}, which this suite reads",
            self.version
        );
        ensure!(!self.seeds.is_empty(), "no seeds\nhint: `seeds = [1]`");
        if let Some(seed) = repeated(&self.seeds) {
            bail!("seed {seed} stands twice");
        }
        let names: Vec<&str> = self.regimes.iter().map(|r| r.name.as_str()).collect();
        if let Some(name) = repeated(&names) {
            bail!("regime `{name}` stands twice");
        }
        if let ModelSpec::Fresh { vocab_size, .. } = self.model {
            ensure!(
                (VOCAB_MIN..=VOCAB_MAX).contains(&vocab_size),
                "vocab_size {vocab_size} is not within {VOCAB_MIN} to {VOCAB_MAX}\n\
                 hint: every byte has an entry of its own, so the smallest is {VOCAB_MIN}"
            );
        }
        for regime in &self.regimes {
            let taken = regime.name.contains('/') || control_note(&regime.name).is_some();
            ensure!(
                regime.stages.is_empty() || self.is_base() || !(taken || regime.name == "levels"),
                "regime `{}` has the name of the baseline or a control\nhint: call it otherwise",
                regime.name
            );
            for stage in &regime.stages {
                if !self.stages.contains_key(stage) {
                    let known: Vec<&str> = self.stages.keys().map(String::as_str).collect();
                    bail!(
                        "regime `{}` names stage `{stage}`\nhint: stages are {}",
                        regime.name,
                        known.join(", ")
                    );
                }
            }
        }
        for (name, stage) in &self.stages {
            check_stage(stage).with_context(|| format!("stage `{name}`"))?;
        }
        let e = &self.evaluation;
        ensure!(
            e.questions_per_family <= QUESTIONS_MAX
                && e.num_samples <= SAMPLES_MAX
                && e.level_num_samples <= SAMPLES_MAX,
            "the evaluation is too large\n\
             hint: at most {QUESTIONS_MAX} questions per family and {SAMPLES_MAX} samples each"
        );
        ensure!(
            e.questions_per_family > 0 && e.num_samples > 0 && e.level_num_samples > 0,
            "the evaluation has an empty split\nhint: questions_per_family and samples are at least 1"
        );
        check_hops(e.hops)?;
        ensure!(
            e.top_p > 0.0 && e.top_p <= 1.0 && e.temperature >= 0.0,
            "temperature or top_p out of range"
        );
        Ok(())
    }
}

/// The first value that stands twice.
fn repeated<T: PartialEq + Copy>(values: &[T]) -> Option<T> {
    values.iter().enumerate().find(|(i, v)| values[..*i].contains(v)).map(|(_, v)| *v)
}

fn check_stage(stage: &StageSpec) -> Result<()> {
    let training = stage.training();
    ensure!(
        training.micro_batch_size > 0 && training.checkpoint_every > 0,
        "sizes must be at least 1"
    );
    training.freeze_patterns()?;
    ensure!(stage.num_steps() > 0, "nothing to train on: the stage has no steps");
    match stage {
        StageSpec::Pretrain(s) => {
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
            ensure!(s.num_questions > 0 && s.batch_size > 0, "an empty training split");
            check_hops(s.hops)
        }
        StageSpec::Grpo(s) => {
            ensure!(s.num_questions > 0 && s.batch_size > 0, "an empty training split");
            ensure!(
                s.num_generations > 1,
                "a group of one has no advantage\nhint: num_generations = 8"
            );
            ensure!(
                s.num_mini_batches > 0 && s.batch_size.is_multiple_of(s.num_mini_batches),
                "batch_size {} is not a multiple of num_mini_batches {}",
                s.batch_size,
                s.num_mini_batches
            );
            check_hops(s.hops)
        }
    }
}

fn check_hops([low, high]: [usize; 2]) -> Result<()> {
    ensure!(
        low >= 1 && low <= high && high <= MAX_HOPS,
        "hops [{low}, {high}] are not within 1 to {MAX_HOPS}"
    );
    Ok(())
}

/// Families that every stage and evaluation uses, in order.
pub const FAMILIES: [Family; 5] = Family::ALL;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = include_str!("../recipes/small.toml");

    #[track_caller]
    fn refused(from: &str, to: &str, cause: &str) {
        assert!(SMALL.contains(from), "`{from}` is not in the recipe");
        let error = format!("{:#}", Recipe::parse(&SMALL.replacen(from, to, 1)).unwrap_err());
        assert!(error.contains(cause), "{error}");
    }

    #[test]
    fn every_recipe_is_named_after_its_file_and_round_trips() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let recipe = Recipe::read(&path).unwrap();
            assert_eq!(recipe.name, path.file_stem().unwrap().to_string_lossy());
            let again = toml::to_string(&recipe).unwrap();
            assert_eq!(Recipe::parse(&again).unwrap(), recipe);
        }
    }

    #[test]
    fn a_misspelled_key_is_refused_with_line_and_the_right_one() {
        refused("num_epochs", "epohcs", "unknown field `epohcs`, expected one of");
        refused("num_epochs", "epohcs", "num_epochs");
        refused("num_epochs", "epohcs", "line ");
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_any_work() {
        refused("version = 1", "version = 2", "recipe version 2 is not 1");
        refused("seeds = [1]", "seeds = [1, 1]", "seed 1 stands twice");
        refused("name = \"rl\"", "name = \"sft\"", "regime `sft` stands twice");
        refused("name = \"rl\"", "name = \"greedy\"", "the name of the baseline or a control");
        refused("[\"sft\", \"grpo_long\"]", "[\"sft\", \"grpo_longer\"]", "hint: stages are ");
        refused("num_generations = 8", "num_generations = 1", "a group of one has no advantage");
        refused("num_mini_batches = 2", "num_mini_batches = 5", "is not a multiple");
        refused("num_questions = 3000", "num_questions = 0", "nothing to train on");
        refused("questions_per_family = 120", "questions_per_family = 0", "an empty split");
        refused("top_p = 0.95", "top_p = 1.5", "out of range");
    }
}
