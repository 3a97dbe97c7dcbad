//! What was asked: a recipe as TOML, every number given, unknown keys refused.
//!
//! Does not know how anything is done. There are no defaults here: a number that is not in the file
//! is a mistake, not a choice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::Family;
use synergy_grade::Grader;
use synergy_hint::{Explain as _, hint};
use synergy_models::qwen2_5_vl::config::{Preset, SpecialIds, VlmConfig};
use synergy_models::qwen2_5_vl::shapes::{NamedShape, shapes};
use synergy_models::weights::ComputeDtype;
use synergy_report::gate::GateSpec;
use synergy_report::rows::control_note;

use crate::reward::{self, RewardSpec};

mod engine;
mod evaluation;
mod fault;
mod objective;
mod registers;
pub mod rehearsal;
mod stage;
mod tables;
mod written;

pub use self::engine::*;
use self::evaluation::within_samples;
pub use self::evaluation::*;
use self::fault::{Checked, Fault, require};
pub use self::objective::*;
pub use self::registers::{AskedRegister, RegistersSpec};
pub(crate) use self::stage::load;
pub use self::stage::*;
use self::tables::check_gate;
pub use self::tables::*;
pub use self::written::RECIPES;
use self::written::{File, RawRecipe};

/// Bounds of a vocabulary trained here: 256 bytes, 6 special and 3 added tokens at least.
const VOCAB_MIN: usize = 265;
const VOCAB_MAX: usize = 1 << 18;

/// Layers that a base may have, in decoder and tower: how many it has is in its own files.
const LAYERS_MAX: usize = 128;

/// The version of the format that this suite reads.
pub const VERSION: u32 = 2;

/// A recipe that has been checked: every table that a stage names is there, every number within its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The version of the format; [`VERSION`].
    pub version: u32,
    /// The name of its file, without `.toml`.
    pub name: String,
    /// Why it exists.
    pub note: String,
    /// One training run of every regime for each; at least 1, all different.
    pub seeds: Vec<u64>,
    /// The model that training starts from.
    pub model: ModelSpec,
    /// How a question is put.
    pub prompt: PromptSpec,
    /// The rules by which an answer is right: in rewards, where a stage keeps right answers, in validation and in
    /// evaluation. `boxed-1` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<Grader>,
    /// The program that answers; the suite itself without it. `--engine` takes another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineSpec>,
    /// Tables that stages share.
    #[serde(default, skip_serializing_if = "Tables::is_empty")]
    pub tables: Tables,
    /// Questions that choose among checkpoints, where a stage keeps its best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationSpec>,
    /// How results are compared with golden ones; a recipe that makes a base has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSpec>,
    /// Stages by name; each names what it starts from.
    pub stages: BTreeMap<String, StageSpec>,
    /// Ways of post-training that are compared; names are all different.
    pub regimes: Vec<RegimeSpec>,
    /// How every model is measured.
    pub evaluation: EvaluationSpec,
}

/// Tables that stages name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// Pools of training questions by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub questions: BTreeMap<String, QuestionsSpec>,
    /// Rewards by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rewards: BTreeMap<String, RewardSpec>,
    /// Settings of training by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trainings: BTreeMap<String, TrainingSpec>,
    /// Optimizers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub optimizers: BTreeMap<String, OptimizerSpec>,
}

/// The model that training starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSpec {
    /// Fresh weights and a tokenizer trained on the families' own texts.
    Fresh {
        /// The model's shape.
        preset: Preset,
        /// Entries of the tokenizer that is trained.
        vocab_size: usize,
        /// Standard deviation of the weights, above 0.
        initializer_range: f64,
    },
    /// A kept base and the recipe that made it.
    Kept {
        /// The base's folder, from the project's root.
        path: PathBuf,
        /// The recipe's file, from the project's root.
        recipe: PathBuf,
        /// The folder of a second base that the same recipe has made with another seed (`synergy train-base --seed`). It is
        /// asked the same questions as control row `clone`, on the levels of the first. No such row without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clone: Option<PathBuf>,
    },
    /// Any checkpoint in the Hugging Face layout, as somebody has published it.
    Published {
        /// The checkpoint's folder, from the project's root.
        path: PathBuf,
    },
}

/// How a question is put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSpec {
    /// The study's instruction, appended to every question (STUDY: prompt template).
    pub suffix: String,
    /// The registers of the families' solutions, where the recipe reads or writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<RegistersSpec>,
}

/// A way of post-training: the stage that it ends with, and so all that stage stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegimeSpec {
    /// The name of its row.
    pub name: String,
    /// One line about it.
    pub note: String,
    /// Its last stage, or `base`.
    pub stage: String,
    /// Answers to each question for this row alone, at least 1, as for pass@k; for `stage = "base"` those of the base's own
    /// row. Those of the evaluation without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_samples: Option<usize>,
    /// Adds the control row `NAME/greedy`: the trained model decoding greedily, one answer to each question. Not for
    /// `stage = "base"`, whose row `greedy` is always there. False without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greedy: Option<bool>,
}

impl ModelSpec {
    /// The folder of a second base of the same recipe, if the recipe names one.
    pub fn second_base(&self) -> Option<&Path> {
        if let ModelSpec::Kept { clone, .. } = self { clone.as_deref() } else { None }
    }

    /// Names and shapes of parameters that it may have; the recipe knows neither size nor number of layers of a base
    /// that is read.
    fn shapes(&self) -> Vec<NamedShape> {
        // Only names matter here, and no name depends on a token.
        let ids =
            SpecialIds { image: 0, vision_start: 0, vision_end: 0, bos: 0, eos: 0, video: None };
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

impl Recipe {
    /// Reads and checks a recipe, and the files that it extends.
    ///
    /// # Errors
    /// If a file is missing, has an unknown key or lacks one, or asks for what cannot be done.
    pub fn read(path: &Path) -> Result<Recipe> {
        let folder = path.parent().unwrap_or(Path::new("."));
        Recipe::of(&File::with_extended(path)?, Some(folder)).explain(|| {
            hint!(("unusable recipe `{}`", path.display()), "docs/RECIPES.md explains every key")
        })
    }

    /// Reads and checks the text of a recipe that extends no file.
    ///
    /// # Errors
    /// See [`Recipe::read`].
    pub fn parse(text: &str) -> Result<Recipe> {
        Recipe::of(&[File::of_text(text)], None)
    }

    /// Reads a recipe that stands in `folder`, beside which the recipe of its base is looked for.
    fn of(files: &[File], folder: Option<&Path>) -> Result<Recipe> {
        let written = RawRecipe::new(files)?;
        // Before stages that name them, so that an error has the line of the table.
        written.table::<Tables>("tables")?;
        let recipe: Recipe = written.resolved()?;
        recipe.check().map_err(|fault| written.located(fault))?;
        if let Some(base) = folder.map(|folder| recipe.base_recipe(folder)).transpose()?.flatten() {
            recipe.check_base(&base).map_err(|fault| written.located(fault))?;
        }
        Ok(recipe)
    }

    /// Reads the recipe that made the kept base, if it is there: from the project's root, or in `folder`.
    fn base_recipe(&self, folder: &Path) -> Result<Option<Recipe>> {
        let ModelSpec::Kept { recipe, .. } = &self.model else { return Ok(None) };
        let beside = recipe.file_name().map(|name| folder.join(name));
        let mut paths = std::iter::once(recipe.clone()).chain(beside);
        paths.find(|path| path.is_file()).map(|path| Recipe::read(&path)).transpose()
    }

    /// Checks that the base, which `base` made, reads what this recipe asks of it.
    fn check_base(&self, base: &Recipe) -> Checked {
        let name = &base.name;
        require!(
            self.prompt.registers.is_none() || self.prompt.registers == base.prompt.registers,
            "prompt.registers",
            hint!("the base reads other registers", ("those of the recipe `{name}`"))
        );
        for (stage, spec) in &self.stages {
            let StageSpec::Sample(SampleSpec { register: Some(register), .. }) = spec else {
                continue;
            };
            let knows = base.stages.values().any(|stage| match stage {
                StageSpec::Pretrain(spec) => spec.registers.weight(*register) > 0.0,
                _ => false,
            });
            require!(
                knows,
                format!("stages.{stage}.register"),
                hint!(
                    "the base does not know this register",
                    ("the recipe `{name}` says which registers it was trained on")
                )
            );
        }
        Ok(())
    }

    /// Names of the stages that `last` stands on and itself, each after all that it needs.
    ///
    /// # Panics
    /// If a stage is missing or stands on itself, which no recipe that has been checked allows.
    pub fn order(&self, last: &str) -> Vec<&str> {
        self.walk(last, &mut Vec::new()).expect("a checked recipe has all stages in an order")
    }

    /// [`Recipe::order`]; `path` holds the stages on the way here.
    fn walk<'a>(&'a self, name: &str, path: &mut Vec<&'a str>) -> Result<Vec<&'a str>> {
        if name == BASE {
            return Ok(Vec::new());
        }
        let Some((name, stage)) = self.stages.get_key_value(name) else {
            let known: Vec<&str> = self.stages.keys().map(String::as_str).collect();
            return Err(anyhow!(hint!("no stage `{name}`", ("stages are {}", known.join(", ")))));
        };
        if path.contains(&name.as_str()) {
            return Err(anyhow!(
                "stage `{name}` stands on itself: {} -> {name}",
                path.join(" -> ")
            ));
        }
        path.push(name);
        let mut order: Vec<&str> = Vec::new();
        for input in stage.inputs() {
            for needed in self.walk(input.stage, path)? {
                if !order.contains(&needed) {
                    order.push(needed);
                }
            }
        }
        path.pop();
        order.push(name);
        Ok(order)
    }

    /// The rules by which an answer is right.
    pub fn grader(&self) -> Grader {
        self.grader.unwrap_or_default()
    }

    /// Files with questions that stages train on or are validated by.
    pub fn files(&self) -> impl Iterator<Item = &FilesSpec> {
        let pools = self.tables.questions.values().filter_map(QuestionsSpec::files);
        pools.chain(self.validation.as_ref().and_then(ValidationSpec::files))
    }

    /// The types that its evaluation, and those of its stages that compute with a model, compute in.
    pub fn dtypes(&self) -> impl Iterator<Item = ComputeDtype> {
        let stages =
            self.stages.values().filter(|stage| stage.computes()).map(|stage| stage.dtype());
        stages.chain([self.evaluation.dtype()])
    }

    /// The type that the weights of a published base are held in: the one that everything computes in, if there is one
    /// and no stage changes the weights themselves in small steps, which need f32. Published weights are mostly bf16.
    pub fn base_dtype(&self) -> ComputeDtype {
        let is_adapted = self.tables.trainings.values().all(|training| training.lora.is_some());
        let is_half = self.dtypes().all(|dtype| dtype == ComputeDtype::Bf16);
        if is_adapted && is_half { ComputeDtype::Bf16 } else { ComputeDtype::F32 }
    }

    /// How results are compared with golden ones.
    ///
    /// # Errors
    /// If the recipe has no gate.
    pub fn gate(&self) -> Result<&GateSpec> {
        let name = &self.name;
        self.gate.as_ref().explain(|| hint!("recipe `{name}` has no gate", "a table [gate]"))
    }

    /// Checks a stage by itself and against those that it names.
    fn check_stage(&self, name: &str, stage: &StageSpec) -> Checked {
        require!(
            name != BASE,
            "kind",
            hint!("a stage cannot be called `{BASE}`", "that is what training starts from")
        );
        stage.check()?;
        if let Some(key) = stage.register() {
            require!(
                self.prompt.registers.is_some(),
                key,
                hint!(
                    "the recipe does not say which registers its base knows",
                    "a table [prompt.registers], as in the recipe of the base"
                )
            );
        }
        for input in stage.inputs() {
            self.walk(input.stage, &mut vec![name])
                .map_err(|cause| Fault::at(&input.key, cause))?;
            if let Some(other) = self.stages.get(input.stage) {
                check_input(stage, &input, other)?;
            } else {
                require!(!input.role.is_data(), &input.key, "`{BASE}` is a model, not data");
            }
        }
        let uses_muon = stage.optimizer().is_some_and(|o| o.muon_learning_rate > 0.0);
        require!(
            !uses_muon || stage.training().is_none_or(|t| t.lora.is_none()),
            "optimizer",
            hint!(
                "Muon is for whole matrices, and the stage learns the factors of an adapter",
                "an optimizer with muon_learning_rate = 0.0"
            )
        );
        require!(
            !stage.keeps_best() || self.validation.is_some(),
            "checkpoint",
            hint!(
                "the recipe has no questions to choose the best checkpoint by",
                "a table [validation], or checkpoint = \"last\""
            )
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
        self.gate.as_ref().map_or(Ok(()), check_gate).map_err(|fault| fault.below("gate"))?;
        self.validation
            .as_ref()
            .map_or(Ok(()), ValidationSpec::check)
            .map_err(|fault| fault.below("validation"))
    }

    /// Tells whether this recipe makes a base: then its one regime may be called so.
    fn is_base(&self) -> bool {
        self.stages.values().all(|s| matches!(s, StageSpec::Pretrain(_)))
    }

    fn check_regime(&self, regime: &RegimeSpec) -> Checked {
        let RegimeSpec { name, stage, num_samples, greedy, .. } = regime;
        if let Some(count) = *num_samples {
            within_samples("num_samples", count)?;
        }
        require!(
            stage != BASE || *greedy != Some(true),
            "greedy",
            hint!(
                ("regime `{name}` is the base, which is decoded greedily in any case"),
                "leave `greedy` out: the row is called `greedy`"
            )
        );
        let taken = name.contains('/') || control_note(name).is_some();
        require!(
            stage == BASE || self.is_base() || !(taken || name == "levels"),
            "name",
            hint!(
                "regime `{name}` has the name of the baseline or a control",
                "give it another name"
            )
        );
        self.walk(stage, &mut Vec::new())
            .map_err(|cause| Fault::at("stage", cause.context(format!("regime `{name}`"))))?;
        require!(
            self.stages.get(stage).is_none_or(|s| s.output() == Output::Checkpoint),
            "stage",
            hint!("regime `{name}` ends with `{stage}`, which is data", "name a stage that trains")
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
        require!(
            !self.seeds.is_empty(),
            "seeds",
            hint!("the recipe has no seeds", "`seeds = [1]`")
        );
        let twice = self.seeds.iter().enumerate().find(|(i, seed)| self.seeds[..*i].contains(seed));
        require!(
            twice.is_none(),
            "seeds",
            "seed {} occurs twice",
            twice.map_or(0, |(_, seed)| *seed)
        );
        if let ModelSpec::Fresh { vocab_size, .. } = self.model {
            require!(
                (VOCAB_MIN..=VOCAB_MAX).contains(&vocab_size),
                "model",
                hint!(
                    "vocab_size = {vocab_size} is outside its range: {VOCAB_MIN} to {VOCAB_MAX}",
                    "every byte has an entry of its own, so the smallest is {VOCAB_MIN}"
                )
            );
        }
        if let Some(registers) = &self.prompt.registers {
            let fewest = self.evaluation.families.map_or(1, |families| families.drawn.hops[0]);
            registers.check(fewest).map_err(|fault| fault.below("registers").below("prompt"))?;
        }
        self.check_tables()?;
        self.engine.as_ref().map_or(Ok(()), EngineSpec::check).map_err(|f| f.below("engine"))?;
        for (name, stage) in &self.stages {
            self.check_stage(name, stage).map_err(|fault| fault.below(name).below("stages"))?;
        }
        for (i, regime) in self.regimes.iter().enumerate() {
            check_new("regime", &regime.name, self.regimes[..i].iter().map(|regime| &regime.name))
                .and_then(|()| self.check_regime(regime))
                .map_err(|fault| fault.below(i).below("regimes"))?;
        }
        self.evaluation.check().map_err(|fault| fault.below("evaluation"))
    }
}

/// Checks that `other`, which `stage` names by `input`, leaves what the stage needs.
fn check_input(stage: &StageSpec, input: &Input<'_>, other: &StageSpec) -> Checked {
    let (key, name, output) = (&input.key, input.stage, other.output());
    match input.role {
        Role::Start | Role::Parent | Role::Scorer => require!(
            output == Output::Checkpoint,
            key,
            hint!("`{name}` is data, not a model", "name a stage that trains")
        ),
        Role::Examples | Role::Demonstrations | Role::Shown | Role::Answered => require!(
            output != Output::Checkpoint,
            key,
            hint!("`{name}` is a model, not data", "name a stage of kind teacher, sample or mix")
        ),
        Role::Unsolved | Role::Solved => require!(
            output == Output::Sample,
            key,
            hint!("`{name}` does not ask a model", "name a stage of kind sample")
        ),
    }
    // The two may ask different numbers of the same questions.
    let same = |asks: &QuestionsSpec, asked: &QuestionsSpec| match (asks, asked) {
        (
            QuestionsSpec::Drawn { split, hops, .. },
            QuestionsSpec::Drawn { split: other_split, hops: other_hops, .. },
        ) => split == other_split && hops == other_hops,
        (asks, asked) => asks.files().is_some() && asks.files() == asked.files(),
    };
    if input.role == Role::Solved
        && let (Some(asks), Some(asked)) = (stage.questions(), other.questions())
    {
        require!(
            same(asks, asked),
            key,
            hint!("its questions are not those of `{name}`", "give both the same split and hops")
        );
    }
    Ok(())
}

/// Checks that no one of `before` is called `name` too.
fn check_new<'a>(what: &str, name: &str, before: impl IntoIterator<Item = &'a String>) -> Checked {
    let twice = before.into_iter().any(|other| other == name);
    require!(!twice, "name", "{what} `{name}` occurs twice");
    Ok(())
}

impl Tables {
    fn is_empty(&self) -> bool {
        *self == Tables::default()
    }
}

/// Families that every stage and evaluation uses, in order.
pub const FAMILIES: [Family; Family::ALL.len()] = Family::ALL;

#[cfg(test)]
mod tests {
    use super::*;
    use synergy_benchmarks::families::Split;

    const SMALL: &str = include_str!("../recipes/small.toml");

    #[track_caller]
    fn refused(from: &str, to: &str, cause: &str) {
        assert!(SMALL.contains(from), "`{from}` is not in the recipe");
        let read = Recipe::parse(&SMALL.replacen(from, to, 1));
        let error = read.err().map_or_else(String::new, |error| synergy_hint::text(&error));
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
    fn a_type_that_is_not_given_is_f32_and_is_part_of_no_hash() {
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
        refused(
            table,
            &lora(&alpha),
            &format!("line {line}: lora_alpha = -1 is outside its range: above 0"),
        );
        refused(table, &lora("r = 4"), "missing field `lora_alpha`");
        refused(table, &lora(&format!("{}, dropout = 0.1", named(""))), "unknown field `dropout`");

        // With AdamW an adapter is trained, with Muon it is not.
        let good = SMALL.replacen(table, &lora(&named("\"q_proj\"")), 1);
        let recipe = Recipe::parse(&good).unwrap();
        assert_eq!(Recipe::parse(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
        assert!(!toml::to_string(&Recipe::parse(SMALL).unwrap()).unwrap().contains(".lora]"));
        let muon = good.replacen("muon_learning_rate = 0.0", "muon_learning_rate = 1e-3", 1);
        let said = synergy_hint::text(&Recipe::parse(&muon).unwrap_err());
        let line: usize = said["line ".len()..].split(':').next().unwrap().parse().unwrap();
        assert_eq!(muon.lines().nth(line - 1), Some("optimizer = \"rl\""), "{said}");
        assert!(said.contains("Muon is for whole matrices") && said.contains("\nhint: "), "{said}");
    }

    #[test]
    fn what_cannot_be_done_is_refused_before_any_work() {
        refused("version = 2", "version = 1", "line 1: recipe version 1 is not 2");
        refused("seeds = [1, 2, 3]", "seeds = [1, 1]", "seed 1 occurs twice");
        refused("name = \"rl\"", "name = \"sft\"", "regime `sft` occurs twice");
        refused("name = \"rl\"", "name = \"greedy\"", "the name of the baseline or a control");
        refused("stage = \"grpo\"", "stage = \"gpro\"", "no stage `gpro`\nhint: stages are ");
        let rollouts = "num_generations = 8\ntemperature = 1.0\nmax_c";
        refused(rollouts, &rollouts.replace('8', "1"), "a group of 1 has no advantage");
        refused("num_mini_batches = 2", "num_mini_batches = 5", "is not a multiple");
        refused("num_questions = 1500", "num_questions = 0", "there is nothing to train on");
        refused("split = \"train\"", "split = \"test\"", "split `test` cannot be trained on");
        refused(
            "answer = \"only_box\"",
            "answer = \"last_box\"",
            "the reward pays 1 for a box for",
        );
        refused(
            "preset = \"grpo_study\", beta = 0.0",
            "beta = 0.0",
            "missing field `advantage` of the objective",
        );
        refused("gate = 0.0", "gate = 1.5", "gate = 1.5 is outside its range: 0 to 1, a pass rate");
        refused(
            "reward = \"study\"",
            "reward = \"other\"",
            "no reward `other`\nhint: the recipe has study",
        );
        refused("temperature = 1.0\nmax_c", "temperature = 0.7\nmax_c", "are not of the policy");
        refused("share = 0.25", "share = 1.25", "share 1.25 is");
        refused("[validation]", "[evaluation_]", "unknown field `evaluation_`");
        refused(
            "questions_per_family = 100",
            "questions_per_family = 0",
            "outside its range: 1 to",
        );
        refused("top_p = 0.95", "top_p = 1.5", "top_p = 1.5 is outside its range");
        refused("kind = \"grpo\"", "kind = \"hybrid\"", "with a table `guidance`\nhint: ");
        refused("training = \"sft\"", "training = 3", "`training` must be the name of a table");
    }

    #[test]
    fn registers_that_cannot_be_read_are_refused_with_their_line() {
        let statements = SMALL.lines().position(|l| l.starts_with("statements = ")).unwrap() + 1;
        let old = SMALL.lines().nth(statements - 1).unwrap();
        let line = format!("line {statements}: ");
        for (new, cause) in [
            ("statements = []", "statements has 0 weights, not 1 to 15"),
            ("statements = [0.0, 0.0]", "all weights of statements are 0"),
            ("statements = [1.0, -0.5]", "statements = -0.5 is outside its range"),
        ] {
            refused(old, new, &format!("{line}{cause}"));
        }
        let few = SMALL.replacen(old, "statements = [0.5, 0.5, 0.0]", 1);
        let few = few.replacen("level_num_samples", "# asked\nlevel_num_samples", 1);
        let far = few.replacen("hops = [1, 12]\n# asked", "hops = [3, 12]\n# asked", 1);
        let said = synergy_hint::text(&Recipe::parse(&far).unwrap_err());
        assert!(
            said.starts_with(&format!("{line}brief answers have at most 2 statements")),
            "{said}"
        );
        Recipe::parse(&few).unwrap();
        refused("misread = 0.1", "misread = 1.5", "misread = 1.5 is outside its range: 0 to 1");
        refused("long_suffix = \"T", "long_suffix = \"\" # T", "long_suffix is empty");
        refused("trace = \"long\"", "trace = \"written\"", "the questions have no such trace");
        refused("register = \"dense\"", "register = \"verbose\"", "unknown variant `verbose`");
        let table = &SMALL[SMALL.find("[prompt.registers]").unwrap()..];
        let table = &table[..table.find("\n# ---").unwrap()];
        refused(table, "", "the recipe does not say which registers its base knows");
    }

    #[test]
    fn a_register_that_the_base_does_not_know_is_refused_with_its_line() {
        let base = include_str!("../recipes/base.toml");
        let read = |base: &str, small: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("base.toml"), base).unwrap();
            std::fs::write(dir.path().join("small.toml"), small).unwrap();
            Recipe::read(&dir.path().join("small.toml"))
        };
        read(base, SMALL).unwrap();
        let error = |base: &str, small: &str| synergy_hint::text(&read(base, small).unwrap_err());
        let other = error(base, &SMALL.replacen("misread = 0.1", "misread = 0.2", 1));
        assert!(
            other.contains("line ") && other.contains("the base reads other registers"),
            "{other}"
        );
        let unknown = error(&base.replace("dense = 0.13", "dense = 0.0"), SMALL);
        let line = SMALL.lines().position(|l| l == "register = \"dense\"").unwrap() + 1;
        let want = format!("line {line}: stage `own_dense`: the base does not know this register");
        assert!(unknown.contains(&want), "{unknown}");
    }

    #[test]
    fn keys_that_may_be_left_out_change_no_recorded_hash_and_are_read_back() {
        let full = Recipe::parse(include_str!("../recipes/full-3b.toml")).unwrap();
        let plain = toml::to_string(&full).unwrap();
        for key in ["solved_by", "entropy", "scored_answers", "greedy", "clone", "register"] {
            assert!(!plain.contains(&format!("\n{key} = ")), "{key}");
        }
        assert_eq!(full.evaluation.split(), Split::Test);
        let recipe = Recipe::parse(SMALL).unwrap();
        assert_eq!(Recipe::parse(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
        assert_eq!(recipe.evaluation.scored_answers, Some(20));
        let rl = recipe.regimes.iter().find(|regime| regime.stage == "grpo").unwrap();
        assert_eq!((rl.num_samples, rl.greedy), (Some(16), Some(true)));
        let few = rehearsal::rehearsed(&recipe);
        assert_eq!(few.evaluation.scored_answers, Some(few::ANSWERS));
        assert!(
            few.regimes.iter().all(|regime| regime.num_samples.is_none_or(|n| n <= few::ANSWERS))
        );
        refused(
            "[evaluation]\n",
            "[evaluation]\nsplit = \"pretrain\"\n",
            "split `pretrain` is one that models are trained on\nhint: split = \"validation\"",
        );
    }

    /// Writes `text` into a folder with a copy of the recipe small, and reads it.
    fn extending(text: &str) -> Result<Recipe> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("small.toml"), SMALL).unwrap();
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, text).unwrap();
        Recipe::read(&path)
    }

    #[test]
    fn a_recipe_that_extends_another_gives_what_differs() {
        let text = "extends = \"small.toml\"\nname = \"mine\"\nseeds = [7]\n\
                    [stages.sft]\nnum_epochs = 1\n[stages.grpo.objective]\nbeta = 0.5\n";
        let (recipe, small) = (extending(text).unwrap(), Recipe::parse(SMALL).unwrap());
        assert_eq!((recipe.name.as_str(), recipe.seeds.as_slice()), ("mine", [7].as_slice()));
        let (StageSpec::Sft(sft), StageSpec::Sft(base)) =
            (&recipe.stages["sft"], &small.stages["sft"])
        else {
            panic!("sft is SFT")
        };
        assert_eq!(*sft, SftSpec { num_epochs: 1, ..base.clone() });
        let objective = |recipe: &Recipe| recipe.stages["grpo"].grpo().unwrap().objective.clone();
        assert_eq!(objective(&recipe), ObjectiveSpec { beta: 0.5, ..objective(&small) });
        assert_eq!(recipe.regimes, small.regimes);
    }

    #[test]
    fn a_mistake_in_either_file_is_reported_with_file_and_line() {
        let error = |text: &str| synergy_hint::text(&extending(text).unwrap_err());
        let mine = "name = \"mine\"\nextends = \"small.toml\"\n";
        let own = error(&format!("{mine}[stages.sft]\nnum_epochs = 0\n"));
        assert!(own.contains("line 4: stage `sft`: num_epochs = 0"), "{own}");
        let unknown = error(&format!("{mine}[stages.sft]\nepohcs = 1\n"));
        assert!(unknown.contains("line 4: unknown field `epohcs`"), "{unknown}");
        // The learning rate for Muon is the other file's, and so is the stage that it does not fit.
        let lora = "lora = { r = 4, lora_alpha = 8.0, target_modules = [\"q_proj\"] }\n";
        let others = error(&format!("{mine}[tables.trainings.sft]\n{lora}"));
        let line = others.split("line ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let line = SMALL.lines().nth(line.parse::<usize>().unwrap() - 1);
        assert_eq!(line, Some("optimizer = \"sft\""), "{others}");
        assert!(
            others.contains(" of `small.toml`: stage `") && others.contains("Muon"),
            "{others}"
        );
        let gone = error("extends = \"other.toml\"\n");
        assert!(gone.contains("failed to read `other.toml`, which the recipe extends"), "{gone}");
        let itself = error("extends = \"mine.toml\"\n");
        assert!(itself.contains("`mine.toml` extends itself"), "{itself}");
        let unfinished = error("name = \"unfinished");
        assert!(unfinished.contains("line 1: "), "{unfinished}");
        let text = synergy_hint::text(&Recipe::parse(mine).unwrap_err());
        assert!(text.contains("line 2: unknown field `extends`"), "{text}");
    }
}
