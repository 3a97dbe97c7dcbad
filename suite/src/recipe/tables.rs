//! What several stages of a recipe share, each in a table with a name.
//!
//! Does not know stages.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use synergy_benchmarks::datasets::training::Layout;
use synergy_benchmarks::families::{MAX_HOPS, Split};
use synergy_models::lora::{LoraConfig, TargetModules};
use synergy_models::weights::{ComputeDtype, NamedShape};

use super::fault::{Checked, Fault, require};

/// A table by its name; what stands in it is looked up when the recipe is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    name: String,
    value: Option<T>,
}

impl<T: Clone> Named<T> {
    /// A table of its own, in no recipe.
    pub fn new(name: &str, value: T) -> Named<T> {
        Named { name: name.to_owned(), value: Some(value) }
    }

    /// Looks itself up in `tables`, under what a stage's `key` names.
    pub(super) fn resolve(&mut self, key: &str, tables: &BTreeMap<String, T>) -> Checked {
        let known = || tables.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let value = tables.get(&self.name);
        require!(
            value.is_some(),
            key,
            "no {key} `{}`\nhint: the recipe has {}",
            self.name,
            if tables.is_empty() { "none".to_owned() } else { known() }
        );
        self.value = value.cloned();
        Ok(())
    }
}

impl<T> Deref for Named<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("looked up when the recipe was read")
    }
}

impl<T> DerefMut for Named<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("looked up when the recipe was read")
    }
}

impl<T> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de, T> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Named<T>, D::Error> {
        Ok(Named { name: String::deserialize(deserializer)?, value: None })
    }
}

/// The first questions of a split of the families, or of files: a pool that stages of one seed share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionsSpec {
    /// `train`, or `pretrain`; what is measured on is never trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    pub num_questions: usize,
    /// Fewest and most steps that a solution takes; they cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<[usize; 2]>,
    /// Instead of `split` and `hops`: questions that others have written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSpec>,
}

/// Training data on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSpec {
    /// `sharegpt`, `trl`, `easyr1`, `verl`, `mm-eureka`, `vlm-r1` or `mmk12`.
    pub layout: String,
    /// A file or a folder, from the project's root.
    pub path: PathBuf,
    /// Before the ids of its questions.
    pub name: String,
    /// About as long is an answer, for the plan's estimates.
    pub answer_tokens: f64,
}

/// Where the questions of a pool are from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source<'a> {
    Families { split: Split, hops: [usize; 2] },
    Files(&'a FilesSpec),
}

impl QuestionsSpec {
    /// Questions that are drawn from the families.
    pub fn drawn(split: Split, num_questions: usize, hops: [usize; 2]) -> QuestionsSpec {
        QuestionsSpec { split: Some(split), num_questions, hops: Some(hops), files: None }
    }

    /// Where they are from.
    ///
    /// # Panics
    /// If that is not said: a recipe that was read has been checked.
    pub fn source(&self) -> Source<'_> {
        match (&self.files, self.split, self.hops) {
            (Some(files), _, _) => Source::Files(files),
            (None, Some(split), Some(hops)) => Source::Families { split, hops },
            _ => panic!("checked when the recipe was read"),
        }
    }

    pub(super) fn check(&self) -> Checked {
        require!(
            self.num_questions > 0,
            "num_questions",
            "nothing to train on: num_questions is 0"
        );
        if let Some(files) = &self.files {
            require!(
                self.split.is_none() && self.hops.is_none(),
                "files",
                "questions are of files or of the families\nhint: `files` without `split` and `hops`"
            );
            return files.check().map_err(|fault| fault.below("files"));
        }
        let (Some(split), Some(hops)) = (self.split, self.hops) else {
            return Err(Fault::at(
                "num_questions",
                anyhow!("questions of nothing\nhint: `split` and `hops`, or `files`"),
            ));
        };
        require!(
            matches!(split, Split::Train | Split::Pretrain),
            "split",
            "split `{split}` is named as training data, but models are measured on it\nhint: split = \"train\""
        );
        check_hops(hops)
    }
}

impl FilesSpec {
    fn check(&self) -> Checked {
        require!(
            Layout::from_name(&self.layout).is_some(),
            "layout",
            "there is no layout `{}`\nhint: {}",
            self.layout,
            Layout::ALL.map(Layout::name).join(", ")
        );
        require!(
            self.answer_tokens.is_finite() && self.answer_tokens > 0.0,
            "answer_tokens",
            "answers of {} tokens are none",
            self.answer_tokens
        );
        Ok(())
    }
}

/// What an answer of RL earns: `accuracy_weight` if it is right, `format_weight` if it has the form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardSpec {
    pub accuracy_weight: f64,
    pub format_weight: f64,
    pub answer: AnswerRule,
}

/// What counts as the answer that a reward looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerRule {
    /// One box behind the thought, which is closed; several boxes say the same.
    OnlyBox,
    /// The last box anywhere, as evaluation reads it: a policy is paid for listing every answer, so no
    /// reward passes the audit with it.
    LastBox,
}

/// Questions of the validation split that choose among a stage's checkpoints, answered greedily.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationSpec {
    pub questions_per_family: usize,
    pub question_seed: u64,
    pub hops: [usize; 2],
    pub max_new_tokens: usize,
}

impl ValidationSpec {
    pub(super) fn check(&self) -> Checked {
        require!(
            self.questions_per_family > 0 && self.max_new_tokens > 0,
            "questions_per_family",
            "the validation split is empty\nhint: questions_per_family and max_new_tokens are at least 1"
        );
        check_hops(self.hops)
    }
}

/// When a run counts as different from golden results, and when as the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// Chance that a comparison of two equal models shows any difference.
    pub false_alarm: f64,
    /// Shares of answers that differ by less are the same.
    pub share_band: f64,
    /// Lengths that differ by less than this share of golden's are.
    pub length_band: f64,
    /// So are reasoning words per answer that differ by less.
    pub words_band: f64,
    /// Figures of training that are shares, such as the reward, and differ by less are the same.
    pub figure_share_band: f64,
    /// So are other figures of training, such as KL, that differ by less than this share of each other.
    pub figure_ratio_band: f64,
}

impl GateSpec {
    pub(super) fn check(&self) -> Checked {
        require!(
            self.false_alarm > 0.0 && self.false_alarm < 0.5,
            "false_alarm",
            "false_alarm {} is no chance one would take\nhint: 0.05",
            self.false_alarm
        );
        for (key, band) in [
            ("share_band", self.share_band),
            ("length_band", self.length_band),
            ("words_band", self.words_band),
            ("figure_share_band", self.figure_share_band),
            ("figure_ratio_band", self.figure_ratio_band),
        ] {
            require!(band > 0.0 && band.is_finite(), key, "{key} {band} is not above 0");
        }
        Ok(())
    }
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
    /// Keep only the hidden states between layers and compute each layer again for its gradient: the memory of one
    /// layer's graph for one more forward pass. Off where it is not said; burn-flex has its own way and ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_checkpointing: Option<bool>,
    /// What the model computes in, in rollouts of the stage too: `f32`, or `bf16` on libtorch and CUDA. Parameters and
    /// the optimizer's state are f32 either way. `f32` where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<ComputeDtype>,
    /// Learn the factors of an adapter and leave all parameters as they are. All that is not frozen learns where it
    /// is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSpec>,
}

/// LoRA: a weight `W` that it changes becomes `W + lora_alpha / r * B A`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSpec {
    /// Rows of A and columns of B.
    pub r: usize,
    pub lora_alpha: f64,
    /// Last parts of the names of linear layers, as in PEFT; what `freeze` matches is left out.
    pub target_modules: Vec<String>,
}

impl LoraSpec {
    fn config(&self, names: &[String]) -> LoraConfig {
        LoraConfig {
            r: self.r,
            lora_alpha: self.lora_alpha,
            target_modules: TargetModules::Names(names.to_vec()),
            use_rslora: false,
        }
    }
}

impl TrainingSpec {
    /// Whether layers are computed again for their gradients.
    pub fn recompute(&self) -> bool {
        self.gradient_checkpointing == Some(true)
    }

    /// What the model computes in.
    pub fn dtype(&self) -> ComputeDtype {
        self.dtype.unwrap_or_default()
    }

    /// Nothing frozen, one sequence at a time: for what computes without training.
    pub fn none() -> TrainingSpec {
        TrainingSpec {
            freeze: Vec::new(),
            micro_batch_size: 1,
            checkpoint_every: 1,
            gradient_checkpointing: None,
            lora: None,
            dtype: None,
        }
    }

    /// The adapter that learns in a model of `shapes`, if one does: its layers by their whole names, those that
    /// `freeze` matches left out.
    ///
    /// # Errors
    /// If a name of `target_modules` matches no layer, or `freeze` leaves none.
    pub fn lora_config(&self, shapes: &[NamedShape]) -> Result<Option<LoraConfig>> {
        let Some(lora) = &self.lora else { return Ok(None) };
        for name in &lora.target_modules {
            lora.config(std::slice::from_ref(name)).weights(shapes)?;
        }
        let patterns = self.freeze_patterns()?;
        let is_frozen = |name: &str| patterns.iter().any(|pattern| pattern.is_match(name));
        let config = lora.config(&lora.target_modules).without(shapes, is_frozen)?;
        ensure!(
            config.target_modules != TargetModules::Names(Vec::new()),
            "`freeze` matches every layer of `target_modules`\n\
             hint: an adapter leaves all parameters as they are, so `freeze` may be empty"
        );
        Ok(Some(config))
    }

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

    /// `shapes` are those that the model may have.
    pub(super) fn check(&self, shapes: &[NamedShape]) -> Checked {
        require!(
            self.micro_batch_size > 0 && self.checkpoint_every > 0,
            "micro_batch_size",
            "sizes must be at least 1"
        );
        self.freeze_patterns().map_err(|cause| Fault::at("freeze", cause))?;
        let Some(lora) = &self.lora else { return Ok(()) };
        require!(lora.r > 0, "lora.r", "rank `r` is 0\nhint: at least 1");
        require!(
            lora.lora_alpha.is_finite() && lora.lora_alpha > 0.0,
            "lora.lora_alpha",
            "lora_alpha {} is not above 0",
            lora.lora_alpha
        );
        self.lora_config(shapes)
            .map(|_| ())
            .map_err(|cause| Fault::at("lora.target_modules", cause))
    }
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

impl OptimizerSpec {
    pub(super) fn check(&self) -> Checked {
        for (key, value) in [
            ("learning_rate", self.learning_rate),
            ("muon_learning_rate", self.muon_learning_rate),
            ("muon_momentum", self.muon_momentum),
            ("beta_1", self.beta_1),
            ("beta_2", self.beta_2),
            ("epsilon", self.epsilon),
            ("weight_decay", self.weight_decay),
            ("max_grad_norm", self.max_grad_norm),
            ("final_learning_rate_ratio", self.final_learning_rate_ratio),
        ] {
            require!(value.is_finite() && value >= 0.0, key, "{key} {value} is not 0 or more");
        }
        Ok(())
    }
}

pub(super) fn check_hops([low, high]: [usize; 2]) -> Checked {
    require!(
        low >= 1 && low <= high && high <= MAX_HOPS,
        "hops",
        "hops [{low}, {high}] are not within 1 to {MAX_HOPS}"
    );
    Ok(())
}
