//! What several stages of a recipe share, each in a table with a name.
//!
//! Does not know stages.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use synergy_benchmarks::datasets::{self, training::Layout};
use synergy_benchmarks::families::{MAX_HOPS, Split};
use synergy_models::lora::{LoraConfig, TargetModules};
use synergy_models::weights::{ComputeDtype, NamedShape};
use synergy_report::gate::GateSpec;

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
    /// All that the files have where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_questions: Option<usize>,
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
    /// A name of [`Layout`].
    pub layout: String,
    /// A file or a folder, from the project's root.
    pub path: PathBuf,
    /// Before the ids of its questions.
    pub name: String,
    /// About as long is an answer, for the plan's estimates.
    pub answer_tokens: f64,
    /// About so many questions are there, for the same.
    pub about_questions: usize,
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
        let num_questions = Some(num_questions);
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

    /// About so many there are, for the plan's estimates.
    pub fn about(&self) -> usize {
        let all = || self.files.as_ref().map_or(0, |files| files.about_questions);
        self.num_questions.unwrap_or_else(all)
    }

    pub(super) fn check(&self) -> Checked {
        require!(
            self.num_questions != Some(0),
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
        let (Some(split), Some(hops), Some(_)) = (self.split, self.hops, self.num_questions) else {
            return Err(Fault::at(
                "num_questions",
                anyhow!(
                    "questions of nothing\nhint: `split`, `hops` and `num_questions`, or `files`"
                ),
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
    pub(super) fn check(&self) -> Checked {
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
        require!(
            self.about_questions > 0,
            "about_questions",
            "files of about 0 questions are none"
        );
        Ok(())
    }
}

/// Questions of the families' validation split, or of files, that choose among a stage's checkpoints, answered
/// greedily.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions_per_family: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question_seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<[usize; 2]>,
    /// Instead of the three: questions that others have written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSpec>,
    /// Only so many of those, at even distances; all where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_questions: Option<usize>,
    pub max_new_tokens: usize,
}

impl ValidationSpec {
    /// What is asked of the families, if it is not files that are asked.
    pub fn drawn(&self) -> Option<Drawn> {
        let (per_family, seed) = (self.questions_per_family?, self.question_seed?);
        Some(Drawn { per_family, seed, hops: self.hops? })
    }

    pub(super) fn check(&self) -> Checked {
        require!(
            self.questions_per_family != Some(0)
                && self.num_questions != Some(0)
                && self.max_new_tokens > 0,
            "questions_per_family",
            "the validation split is empty\nhint: questions_per_family and max_new_tokens are at least 1"
        );
        let said = [
            self.questions_per_family.is_some(),
            self.question_seed.is_some(),
            self.hops.is_some(),
        ];
        match &self.files {
            Some(files) if said == [false; 3] => {
                files.check().map_err(|fault| fault.below("files"))
            }
            None if said == [true; 3] && self.num_questions.is_none() => {
                self.hops.map_or(Ok(()), check_hops)
            }
            _ => Err(Fault::at(
                "max_new_tokens",
                anyhow!(
                    "it is not said what is asked\n\
                     hint: `questions_per_family`, `question_seed` and `hops`, or `files`"
                ),
            )),
        }
    }
}

/// Questions drawn from every family, of a split that nothing is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    pub per_family: usize,
    pub seed: u64,
    pub hops: [usize; 2],
}

/// A published benchmark on disk, with the study's levels in its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchmarkSpec {
    /// `mathvision`, `mathverse`, `mathvista`, `mmmu` or `mmstar`.
    pub name: String,
    /// A file or a folder, from the project's root.
    pub path: PathBuf,
    /// Which split, where the files hold several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Only so many questions, at even distances; all where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_questions: Option<usize>,
    /// About so many it has, for the plan's estimates.
    pub about_questions: usize,
}

impl BenchmarkSpec {
    pub(super) fn check(&self) -> Checked {
        let known: Vec<&str> = datasets::names().collect();
        require!(
            known.contains(&self.name.as_str()),
            "name",
            "there is no published benchmark `{}`\nhint: {}",
            self.name,
            known.join(", ")
        );
        require!(
            self.num_questions != Some(0) && self.about_questions > 0,
            "num_questions",
            "nothing is asked of `{}`\nhint: num_questions and about_questions are at least 1",
            self.name
        );
        Ok(())
    }

    /// About so many questions are asked.
    pub fn about(&self) -> usize {
        self.num_questions.unwrap_or(usize::MAX).min(self.about_questions)
    }
}

/// Checks the bands of the gate.
pub(super) fn check_gate(gate: &GateSpec) -> Checked {
    require!(
        gate.false_alarm > 0.0 && gate.false_alarm < 0.5,
        "false_alarm",
        "false_alarm {} is no chance one would take\nhint: 0.05",
        gate.false_alarm
    );
    for (key, band) in [
        ("share_band", gate.share_band),
        ("length_band", gate.length_band),
        ("words_band", gate.words_band),
        ("figure_share_band", gate.figure_share_band),
        ("figure_ratio_band", gate.figure_ratio_band),
    ] {
        require!(band > 0.0 && band.is_finite(), key, "{key} {band} is not above 0");
    }
    Ok(())
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
    /// A group's rollouts share one sequence, with the question once, while it has at most so many tokens; what does not
    /// fit begins another. Needs `gradient_checkpointing`. No limit where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_packed_tokens: Option<usize>,
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
            max_packed_tokens: None,
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
        require!(
            self.max_packed_tokens.is_none()
                || (self.recompute() && self.max_packed_tokens != Some(0)),
            "max_packed_tokens",
            "max_packed_tokens is a limit of gradient checkpointing\n\
             hint: at least 1, with gradient_checkpointing = true"
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
