//! What was asked: a recipe as TOML, every number said, unknown keys refused.
//!
//! Does not know how anything is done. There are no defaults here: a number that is not in the file
//! is a mistake, not a choice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::Family;
use synergy_benchmarks::grade::Grader;
use synergy_models::config::{Preset, SpecialIds, VlmConfig};
use synergy_models::generate::Sampling;
use synergy_models::weights::{ComputeDtype, NamedShape, shapes};
use synergy_report::gate::GateSpec;
use synergy_report::rows::control_note;

use crate::reward::{self, RewardSpec};

mod fault;
mod objective;
pub mod rehearsal;
mod stage;
mod tables;

use self::fault::{Checked, Fault, require};
pub use self::objective::*;
pub use self::stage::*;
use self::tables::check_hops;
pub use self::tables::*;

/// Bounds of a vocabulary trained here: 256 bytes, 6 special and 3 added tokens at least.
const VOCAB_MIN: usize = 265;
const VOCAB_MAX: usize = 1 << 18;
/// Bounds of an evaluation: addresses of questions stay apart and plans stay countable.
const QUESTIONS_MAX: usize = 100_000;
const SAMPLES_MAX: usize = 10_000;

/// Layers of a kept base at most, in decoder and tower: its own files say how many it has.
const LAYERS_MAX: usize = 128;

/// The version of the format that this suite reads.
pub const VERSION: u32 = 2;

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
    /// By which rules an answer is right: in rewards, where a stage keeps right answers, in validation and in
    /// evaluation. `boxed-1` where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<Grader>,
    /// What stages share.
    #[serde(default, skip_serializing_if = "Tables::is_empty")]
    pub tables: Tables,
    /// What chooses among checkpoints, where a stage keeps its best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationSpec>,
    /// How golden results are compared; a recipe that makes a base has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSpec>,
    /// Stages by name; each says what it starts from.
    pub stages: BTreeMap<String, StageSpec>,
    pub regimes: Vec<RegimeSpec>,
    pub evaluation: EvaluationSpec,
}

/// Tables that stages name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub questions: BTreeMap<String, QuestionsSpec>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rewards: BTreeMap<String, RewardSpec>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trainings: BTreeMap<String, TrainingSpec>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub optimizers: BTreeMap<String, OptimizerSpec>,
}

/// Where training starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSpec {
    /// Fresh weights and a tokenizer trained on the families' own texts.
    Fresh { preset: Preset, vocab_size: usize, initializer_range: f64 },
    /// A kept base, relative to the project's root, and the recipe that made it.
    Kept { path: PathBuf, recipe: PathBuf },
    /// Any checkpoint in the Hugging Face layout, as somebody has published it, relative to the project's root.
    Published { path: PathBuf },
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
    /// Of the families; none is asked where neither this nor the next three are said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions_per_family: Option<usize>,
    /// Root of the test questions. Touched by recorded runs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question_seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<[usize; 2]>,
    /// Samples of the base per question that cut the families' levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level_num_samples: Option<usize>,
    /// Published benchmarks, whose levels stand in their files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub benchmarks: Vec<BenchmarkSpec>,
    pub num_samples: usize,
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: usize,
    pub max_new_tokens: usize,
    /// Questions of each external benchmark, where it has been fetched.
    pub external_questions: usize,
    /// What the model computes in while it answers, as in a training table: a choice of its own, so that models trained
    /// in either are measured alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<ComputeDtype>,
}

impl ModelSpec {
    /// Names and shapes of parameters that it may have; of a base that is read the recipe knows neither size nor
    /// number of layers.
    fn shapes(&self) -> Vec<NamedShape> {
        // Only names matter here, and no name hangs on a token.
        let ids = SpecialIds { image: 0, vision_start: 0, vision_end: 0, bos: 0, eos: 0 };
        match self {
            ModelSpec::Fresh { preset, vocab_size, .. } => {
                shapes(&VlmConfig::preset(*preset, *vocab_size, ids))
            }
            ModelSpec::Kept { .. } | ModelSpec::Published { .. } => {
                shapes(&VlmConfig::preset(Preset::Nano, VOCAB_MIN, ids).with_layers(LAYERS_MAX))
            }
        }
    }
}

impl EvaluationSpec {
    /// What is asked of the families, and how often the base is asked it to cut levels.
    pub fn drawn(&self) -> Option<(Drawn, usize)> {
        let (per_family, seed) = (self.questions_per_family?, self.question_seed?);
        Some((Drawn { per_family, seed, hops: self.hops? }, self.level_num_samples?))
    }

    /// What the model computes in while it answers.
    pub fn dtype(&self) -> ComputeDtype {
        self.dtype.unwrap_or_default()
    }

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
        let mut recipe: Recipe = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            anyhow::anyhow!("line {line}: {}", e.message())
        })?;
        recipe.resolve().and_then(|()| recipe.check()).map_err(|fault| fault.in_text(text))?;
        Ok(recipe)
    }

    /// Names of the stages that `last` stands on and itself, each after all that it needs.
    ///
    /// # Panics
    /// If a stage is missing or stands on itself: a recipe that was read has been checked.
    pub fn order(&self, last: &str) -> Vec<&str> {
        self.walk(last, &mut Vec::new()).expect("checked when the recipe was read")
    }

    /// [`Recipe::order`]; `path` holds the stages on the way here.
    fn walk<'a>(&'a self, name: &str, path: &mut Vec<&'a str>) -> Result<Vec<&'a str>, String> {
        if name == BASE {
            return Ok(Vec::new());
        }
        let Some((name, stage)) = self.stages.get_key_value(name) else {
            let known: Vec<&str> = self.stages.keys().map(String::as_str).collect();
            return Err(format!("no stage `{name}`\nhint: stages are {}", known.join(", ")));
        };
        if path.contains(&name.as_str()) {
            return Err(format!(
                "stage `{name}` stands on itself: {} -> {name}",
                path.join(" -> ")
            ));
        }
        path.push(name);
        let mut order: Vec<&str> = Vec::new();
        for (_, input) in stage.inputs() {
            for needed in self.walk(input, path)? {
                if !order.contains(&needed) {
                    order.push(needed);
                }
            }
        }
        path.pop();
        order.push(name);
        Ok(order)
    }

    /// By which rules an answer is right.
    pub fn grader(&self) -> Grader {
        self.grader.unwrap_or_default()
    }

    /// Every table of questions in files.
    pub fn files(&self) -> impl Iterator<Item = &FilesSpec> {
        let pools = self.tables.questions.values().filter_map(|questions| questions.files.as_ref());
        pools.chain(self.validation.as_ref().and_then(|validation| validation.files.as_ref()))
    }

    /// What its evaluation, and those of its stages that compute with a model, compute in.
    pub fn dtypes(&self) -> impl Iterator<Item = ComputeDtype> {
        let computes = |stage: &&StageSpec| {
            stage.training().is_some() || matches!(stage, StageSpec::Sample(_))
        };
        let stages = self.stages.values().filter(computes).map(StageSpec::dtype);
        stages.chain([self.evaluation.dtype()])
    }

    /// What the weights of a published base are held in: in what everything computes in, where that is one type and no
    /// stage changes them all in small steps, which need f32. Published weights are mostly bf16 themselves.
    pub fn base_dtype(&self) -> ComputeDtype {
        let is_adapted = self.tables.trainings.values().all(|training| training.lora.is_some());
        let is_half = self.dtypes().all(|dtype| dtype == ComputeDtype::Bf16);
        if is_adapted && is_half { ComputeDtype::Bf16 } else { ComputeDtype::F32 }
    }

    /// How golden results are compared.
    ///
    /// # Errors
    /// If the recipe does not say.
    pub fn gate(&self) -> Result<&GateSpec> {
        let name = &self.name;
        self.gate
            .as_ref()
            .with_context(|| format!("recipe `{name}` has no gate\nhint: a table [gate]"))
    }

    /// Looks up every table that a stage names.
    fn resolve(&mut self) -> Checked {
        for (name, stage) in &mut self.stages {
            stage.resolve(&self.tables).map_err(|fault| fault.below(name).below("stages"))?;
        }
        Ok(())
    }

    /// Has every stage see its tables as they are now.
    ///
    /// # Panics
    /// If a table is gone.
    pub(crate) fn look_up_again(&mut self) {
        self.resolve().expect("every table that a stage names was there");
    }

    /// Whether `name` is a stage like those around it, and names stages that are there and leave what it
    /// needs.
    fn check_stage(&self, name: &str, stage: &StageSpec) -> Checked {
        require!(
            name != BASE,
            "kind",
            "a stage is called `{BASE}`\nhint: that is what training starts from"
        );
        stage.check()?;
        for (key, input) in stage.inputs() {
            let mut path = vec![name];
            self.walk(input, &mut path).map_err(|e| Fault::at(&key, anyhow::anyhow!(e)))?;
            if input == BASE {
                continue;
            }
            let Some(other) = self.stages.get(input) else { continue };
            let is_sample = matches!(other, StageSpec::Sample(_));
            match key.rsplit('.').next() {
                Some("data") => require!(
                    other.output() == Output::Data,
                    &key,
                    "`{input}` is no data\nhint: a stage of kind teacher, sample or mix"
                ),
                Some("unsolved_by" | "skip_solved_by") => require!(
                    is_sample,
                    &key,
                    "`{input}` is no sample of a model\nhint: a stage of kind sample"
                ),
                _ => require!(
                    other.output() == Output::Checkpoint,
                    &key,
                    "`{input}` is data, not a model\nhint: name a stage that trains"
                ),
            }
            if key.ends_with("skip_solved_by")
                && let (Some(asks), Some(asked)) = (stage.questions(), other.questions())
            {
                require!(
                    asks.source() == asked.source(),
                    &key,
                    "its questions are others than those of `{input}`\n\
                     hint: give both the same split and hops"
                );
            }
        }
        let uses_muon = stage.optimizer().is_some_and(|o| o.muon_learning_rate > 0.0);
        require!(
            !uses_muon || stage.training().is_none_or(|t| t.lora.is_none()),
            if matches!(stage, StageSpec::Hybrid(_)) { "grpo.optimizer" } else { "optimizer" },
            "Muon is for whole matrices, and the stage learns the factors of an adapter\n\
             hint: an optimizer with muon_learning_rate = 0.0"
        );
        require!(
            !stage.keeps_best() || self.validation.is_some(),
            "checkpoint",
            "nothing to choose the best checkpoint by\nhint: a table [validation], or checkpoint = \"last\""
        );
        Ok(())
    }

    fn check_tables(&self) -> Checked {
        let below = |kind: &'static str, name: &str| {
            let name = name.to_owned();
            move |fault: Fault| fault.below(&name).below(kind).below("tables")
        };
        let Tables { questions, rewards, trainings, optimizers } = &self.tables;
        for (name, table) in questions {
            table.check().map_err(below("questions", name))?;
        }
        for (name, table) in rewards {
            reward::audit(table, self.grader())
                .map_err(|cause| Fault::at("answer", cause))
                .map_err(below("rewards", name))?;
        }
        let shapes = self.model.shapes();
        for (name, table) in trainings {
            table.check(&shapes).map_err(below("trainings", name))?;
        }
        for (name, table) in optimizers {
            table.check().map_err(below("optimizers", name))?;
        }
        self.gate
            .as_ref()
            .map_or(Ok(()), tables::check_gate)
            .map_err(|fault| fault.below("gate"))?;
        self.validation
            .as_ref()
            .map_or(Ok(()), ValidationSpec::check)
            .map_err(|fault| fault.below("validation"))
    }

    /// Whether this recipe makes a base: then its one regime may be called so.
    fn is_base(&self) -> bool {
        self.stages.values().all(|s| matches!(s, StageSpec::Pretrain(_)))
    }

    fn check_regime(&self, regime: &RegimeSpec) -> Checked {
        let RegimeSpec { name, stage, .. } = regime;
        let taken = name.contains('/') || control_note(name).is_some();
        require!(
            stage == BASE || self.is_base() || !(taken || name == "levels"),
            "name",
            "regime `{name}` has the name of the baseline or a control\nhint: call it otherwise"
        );
        self.walk(stage, &mut Vec::new())
            .map_err(|e| Fault::at("stage", anyhow::anyhow!("regime `{name}`: {e}")))?;
        require!(
            self.stages.get(stage).is_none_or(|s| s.output() == Output::Checkpoint),
            "stage",
            "regime `{name}` ends with `{stage}`, which is data\nhint: name a stage that trains"
        );
        Ok(())
    }

    fn check(&self) -> Checked {
        require!(
            self.version == VERSION,
            "version",
            "recipe version {} is not {VERSION}, which this suite reads",
            self.version
        );
        require!(!self.seeds.is_empty(), "seeds", "no seeds\nhint: `seeds = [1]`");
        let twice = repeated(&self.seeds);
        require!(twice.is_none(), "seeds", "seed {} stands twice", twice.unwrap_or_default());
        if let ModelSpec::Fresh { vocab_size, .. } = self.model {
            require!(
                (VOCAB_MIN..=VOCAB_MAX).contains(&vocab_size),
                "model",
                "vocab_size {vocab_size} is not within {VOCAB_MIN} to {VOCAB_MAX}\n\
                 hint: every byte has an entry of its own, so the smallest is {VOCAB_MIN}"
            );
        }
        self.check_tables()?;
        for (name, stage) in &self.stages {
            self.check_stage(name, stage).map_err(|fault| fault.below(name).below("stages"))?;
        }
        for (i, regime) in self.regimes.iter().enumerate() {
            let place = |fault: Fault| fault.below(i).below("regimes");
            let twice = self.regimes[..i].iter().any(|other| other.name == regime.name);
            if twice {
                let cause = anyhow::anyhow!("regime `{}` stands twice", regime.name);
                return Err(place(Fault::at("name", cause)));
            }
            self.check_regime(regime).map_err(place)?;
        }
        self.evaluation.check().map_err(|fault| fault.below("evaluation"))
    }
}

impl EvaluationSpec {
    fn check(&self) -> Checked {
        let per_family = self.questions_per_family;
        require!(
            per_family.is_none_or(|count| count <= QUESTIONS_MAX)
                && self.num_samples <= SAMPLES_MAX
                && self.level_num_samples.is_none_or(|count| count <= SAMPLES_MAX),
            "questions_per_family",
            "the evaluation is too large\n\
             hint: at most {QUESTIONS_MAX} questions per family and {SAMPLES_MAX} samples each"
        );
        require!(
            per_family != Some(0) && self.num_samples > 0 && self.level_num_samples != Some(0),
            "questions_per_family",
            "the evaluation has an empty split\nhint: questions_per_family and samples are at least 1"
        );
        let said = [
            per_family.is_some(),
            self.question_seed.is_some(),
            self.hops.is_some(),
            self.level_num_samples.is_some(),
        ];
        require!(
            said == [true; 4] || (said == [false; 4] && !self.benchmarks.is_empty()),
            "num_samples",
            "it is not said what is asked\n\
             hint: `questions_per_family`, `question_seed`, `hops` and `level_num_samples`, or `benchmarks`"
        );
        self.hops.map_or(Ok(()), check_hops)?;
        for (i, benchmark) in self.benchmarks.iter().enumerate() {
            let twice = self.benchmarks[..i].iter().any(|other| other.name == benchmark.name);
            let checked = if twice {
                let cause = anyhow::anyhow!("benchmark `{}` stands twice", benchmark.name);
                Err(Fault::at("name", cause))
            } else {
                benchmark.check()
            };
            checked.map_err(|fault| fault.below(i).below("benchmarks"))?;
        }
        require!(
            self.top_p > 0.0
                && self.top_p <= 1.0
                && self.temperature.is_finite()
                && self.temperature >= 0.0,
            "temperature",
            "temperature or top_p out of range"
        );
        Ok(())
    }
}

impl Tables {
    fn is_empty(&self) -> bool {
        *self == Tables::default()
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
        let read = Recipe::parse(&SMALL.replacen(from, to, 1));
        let error = read.err().map_or_else(String::new, |error| format!("{error:#}"));
        assert!(error.contains(cause), "`{to}` for `{from}`: {error}");
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
    fn a_type_that_is_not_said_is_f32_and_stands_in_no_hash() {
        let recipe = Recipe::parse(SMALL).unwrap();
        assert!(recipe.dtypes().all(|dtype| dtype == ComputeDtype::F32));
        assert!(!serde_json::to_string(&recipe).unwrap().contains("dtype"));
        let halved = SMALL.replacen("micro_batch_size", "dtype = \"bf16\"\nmicro_batch_size", 1);
        let halved = Recipe::parse(&halved).unwrap();
        assert!(halved.dtypes().any(|dtype| dtype == ComputeDtype::Bf16));
        assert_eq!(Recipe::parse(&toml::to_string(&halved).unwrap()).unwrap(), halved);
        let with = "dtype = \"f64\"\nmicro_batch_size";
        refused("micro_batch_size", with, "unknown variant `f64`, expected `f32` or `bf16`");
    }

    #[test]
    fn a_misspelled_key_is_refused_with_line_and_the_right_one() {
        refused("num_epochs", "epohcs", "unknown field `epohcs`, expected one of");
        refused("num_epochs", "epohcs", "num_epochs");
        refused("num_epochs", "epohcs", "line ");
    }

    #[test]
    fn an_adapter_that_cannot_be_trained_is_refused_with_its_line() {
        let table = "[tables.trainings.rl]\nfreeze = [\"visual.\"]\nmicro_batch_size = 2\ncheckpoint_every = 10\n";
        let first = SMALL.lines().position(|l| l == "[tables.trainings.rl]").unwrap() + 1;
        let lora = |fields: &str| format!("{table}lora = {{ {fields} }}\n");
        let line = first + 4;
        let named = |names: &str| format!("r = 4, lora_alpha = 8.0, target_modules = [{names}]");
        refused(
            table,
            &lora(&named("\"q_proj\", \"q_porj\"")),
            &format!(
                "line {line}: no linear layer matches `target_modules` [\"q_porj\"]\n\
                 hint: names are like "
            ),
        );
        let tower = &lora(&named("\"attn.qkv\""));
        refused(table, tower, &format!("line {line}: `freeze` matches every layer of"));
        refused(table, &lora(&named("")), "no linear layer matches `target_modules` []");
        let rank = named("\"q_proj\"").replace("r = 4", "r = 0");
        refused(table, &lora(&rank), &format!("line {line}: rank `r` is 0\nhint: "));
        let alpha = named("\"q_proj\"").replace("8.0", "-1.0");
        refused(table, &lora(&alpha), &format!("line {line}: lora_alpha -1 is not above 0"));
        refused(table, &lora("r = 4"), "missing field `lora_alpha`");
        refused(table, &lora(&format!("{}, dropout = 0.1", named(""))), "unknown field `dropout`");

        // With AdamW an adapter is trained, with Muon it is not.
        let good = SMALL.replacen(table, &lora(&named("\"q_proj\"")), 1);
        let recipe = Recipe::parse(&good).unwrap();
        assert_eq!(Recipe::parse(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
        assert!(!toml::to_string(&Recipe::parse(SMALL).unwrap()).unwrap().contains("lora"));
        let muon = good.replacen("muon_learning_rate = 0.0", "muon_learning_rate = 1e-3", 1);
        let said = Recipe::parse(&muon).unwrap_err().to_string();
        let line: usize = said["line ".len()..].split(':').next().unwrap().parse().unwrap();
        assert_eq!(muon.lines().nth(line - 1), Some("optimizer = \"rl\""), "{said}");
        assert!(said.contains("Muon is for whole matrices") && said.contains("\nhint: "), "{said}");
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_any_work() {
        refused("version = 2", "version = 1", "line 1: recipe version 1 is not 2");
        refused("seeds = [1, 2, 3]", "seeds = [1, 1]", "seed 1 stands twice");
        refused("name = \"rl\"", "name = \"sft\"", "regime `sft` stands twice");
        refused("name = \"rl\"", "name = \"greedy\"", "the name of the baseline or a control");
        refused("stage = \"grpo\"", "stage = \"gpro\"", "no stage `gpro`\nhint: stages are ");
        let rollouts = "num_generations = 8\ntemperature = 1.0\nmax_c";
        refused(rollouts, &rollouts.replace('8', "1"), "a group of one has no advantage");
        refused("num_mini_batches = 2", "num_mini_batches = 5", "is not a multiple");
        refused("num_questions = 3000", "num_questions = 0", "nothing to train on");
        refused("split = \"train\"", "split = \"test\"", "split `test` is named as training data");
        refused(
            "answer = \"only_box\"",
            "answer = \"last_box\"",
            "the reward pays 1 for a box for",
        );
        refused(
            "preset = \"grpo_study\", beta = 0.0",
            "beta = 0.0",
            "the objective lacks `advantage`",
        );
        refused("gate = 0.0", "gate = 1.5", "gate 1.5 is no pass rate");
        refused(
            "reward = \"study\"",
            "reward = \"other\"",
            "no reward `other`\nhint: the recipe has study",
        );
        refused("temperature = 1.0\nmax_c", "temperature = 0.7\nmax_c", "are not the policy");
        refused("share = 0.25", "share = 1.25", "share 1.25 is outside its range");
        refused("[validation]", "[evaluation_]", "unknown field `evaluation_`");
        refused("questions_per_family = 160", "questions_per_family = 0", "an empty split");
        refused("top_p = 0.95", "top_p = 1.5", "out of range");
    }
}
