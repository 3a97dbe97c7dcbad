//! What was asked: a recipe as TOML, every number said, unknown keys refused.
//!
//! Does not know how anything is done. There are no defaults here: a number that is not in the file
//! is a mistake, not a choice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::Family;
use synergy_models::config::Preset;
use synergy_models::generate::Sampling;

use crate::score::control_note;

mod stage;

use self::stage::check_hops;
pub use self::stage::*;

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
    /// Stages by name; each says what it starts from.
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

/// A way of post-training: the stage that it ends with, and so all that stage stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegimeSpec {
    pub name: String,
    pub note: String,
    /// Its last stage, or `base`.
    pub stage: String,
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

    /// Names of the stages that `last` stands on and itself, each after all that it needs.
    ///
    /// # Panics
    /// If a stage is missing or stands on itself: a recipe that was read has been checked.
    pub fn order(&self, last: &str) -> Vec<&str> {
        self.walk(last, "", &mut Vec::new()).expect("checked when the recipe was read")
    }

    /// [`Recipe::order`]; `path` holds the stages on the way here, `by` what names this one.
    fn walk<'a>(&'a self, name: &str, by: &str, path: &mut Vec<&'a str>) -> Result<Vec<&'a str>> {
        if name == BASE {
            return Ok(Vec::new());
        }
        let Some((name, stage)) = self.stages.get_key_value(name) else {
            let known: Vec<&str> = self.stages.keys().map(String::as_str).collect();
            bail!("{by} names stage `{name}`\nhint: stages are {}", known.join(", "));
        };
        if path.contains(&name.as_str()) {
            bail!("stage `{name}` stands on itself: {} -> {name}", path.join(" -> "));
        }
        path.push(name);
        let mut order: Vec<&str> = Vec::new();
        let parents = stage.parents().iter().map(String::as_str);
        let data = stage.data().into_iter().map(|(_, name)| name);
        for input in stage.from().into_iter().chain(parents).chain(data) {
            for needed in self.walk(input, &format!("stage `{name}`"), path)? {
                if !order.contains(&needed) {
                    order.push(needed);
                }
            }
        }
        path.pop();
        order.push(name);
        Ok(order)
    }

    /// Whether every stage names stages that are there and leave what it needs.
    fn check_stages(&self) -> Result<()> {
        let output = |name: &str| self.stages.get(name).map(StageSpec::output);
        for (name, stage) in &self.stages {
            ensure!(
                name != BASE,
                "a stage is called `{BASE}`\nhint: that is what training starts from"
            );
            stage.check().with_context(|| format!("stage `{name}`"))?;
            self.walk(name, "", &mut Vec::new())?;
            let models = stage.from().into_iter().chain(stage.parents().iter().map(String::as_str));
            for from in models.filter(|from| *from != BASE) {
                ensure!(
                    output(from) == Some(Output::Checkpoint),
                    "stage `{name}` starts from `{from}`, which is data\nhint: name a stage that trains"
                );
            }
            for (key, data) in stage.data() {
                let is_sample = matches!(self.stages.get(data), Some(StageSpec::Sample(_)));
                ensure!(
                    output(data) == Some(Output::Data) && (key == "data" || is_sample),
                    "stage `{name}` has {key} = `{data}`, which is no {}\nhint: a stage of kind {}",
                    if key == "data" { "data" } else { "sample of a model" },
                    if key == "data" { "teacher, sample or mix" } else { "sample" }
                );
                if let (Some(grpo), Some(StageSpec::Sample(asked))) =
                    (stage.grpo().filter(|_| key == "skip_solved_by"), self.stages.get(data))
                {
                    ensure!(
                        grpo.hops == asked.hops,
                        "stage `{name}` asks hops {:?}, `{data}` asked {:?}: other questions\n\
                         hint: give both the same hops",
                        grpo.hops,
                        asked.hops
                    );
                }
            }
        }
        Ok(())
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
        self.check_stages()?;
        for regime in &self.regimes {
            let taken = regime.name.contains('/') || control_note(&regime.name).is_some();
            ensure!(
                regime.stage == BASE || self.is_base() || !(taken || regime.name == "levels"),
                "regime `{}` has the name of the baseline or a control\nhint: call it otherwise",
                regime.name
            );
            self.walk(&regime.stage, &format!("regime `{}`", regime.name), &mut Vec::new())?;
            ensure!(
                self.stages.get(&regime.stage).is_none_or(|s| s.output() == Output::Checkpoint),
                "regime `{}` ends with `{}`, which is data\nhint: name a stage that trains",
                regime.name,
                regime.stage
            );
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
        refused("stage = \"grpo_long\"", "stage = \"grpo_longer\"", "hint: stages are ");
        refused("num_generations = 8", "num_generations = 1", "a group of one has no advantage");
        refused("num_mini_batches = 2", "num_mini_batches = 5", "is not a multiple");
        refused("num_questions = 3000", "num_questions = 0", "nothing to train on");
        refused("questions_per_family = 120", "questions_per_family = 0", "an empty split");
        refused("top_p = 0.95", "top_p = 1.5", "out of range");
    }
}
