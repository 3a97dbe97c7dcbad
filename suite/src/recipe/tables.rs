//! What several stages of a recipe share, each in a table with a name.
//!
//! Does not know stages.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use regex::Regex;
use serde::{Deserialize, Serialize, Serializer};
use synergy_benchmarks::datasets::{self, training::Layout};
use synergy_benchmarks::families::{MAX_HOPS, Split};
use synergy_hint::hint;
use synergy_models::lora::{LoraConfig, TargetModules};
use synergy_models::qwen2_5_vl::shapes::NamedShape;
use synergy_models::weights::ComputeDtype;
use synergy_report::gate::GateSpec;

use super::fault::{Checked, Fault, require, within};

/// A table and the name by which a stage names it; written as the name alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Named<T> {
    name: String,
    value: T,
}

impl<T> Named<T> {
    /// Gives `value` a name, as if it stood in a recipe's tables.
    pub fn new(name: &str, value: T) -> Named<T> {
        Named { name: name.to_owned(), value }
    }
}

impl<T> Deref for Named<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Named<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

/// A pool of training questions that stages of one seed share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "QuestionsKeys")]
pub enum QuestionsSpec {
    /// The first questions that are drawn from a split of the families.
    Drawn {
        /// `train`, or `pretrain`; no model is trained on the splits that models are measured on.
        split: Split,
        /// Number of questions; at least 1.
        num_questions: usize,
        /// Fewest and most steps that a solution takes, in turn; 1 to [`MAX_HOPS`].
        hops: [usize; 2],
    },
    /// Questions that others have written.
    Files {
        /// Number of questions, from the first on; at least 1. Without it, all that the files have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        num_questions: Option<usize>,
        /// The files.
        files: FilesSpec,
    },
}

/// All keys of [`QuestionsSpec`], of which a recipe has those of one variant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionsKeys {
    split: Option<Split>,
    num_questions: Option<usize>,
    hops: Option<[usize; 2]>,
    files: Option<FilesSpec>,
}

impl TryFrom<QuestionsKeys> for QuestionsSpec {
    type Error = &'static str;

    fn try_from(keys: QuestionsKeys) -> Result<QuestionsSpec, &'static str> {
        let QuestionsKeys { split, num_questions, hops, files } = keys;
        match (split, num_questions, hops, files) {
            (Some(split), Some(num_questions), Some(hops), None) => {
                Ok(QuestionsSpec::Drawn { split, num_questions, hops })
            }
            (None, _, None, Some(files)) => Ok(QuestionsSpec::Files { num_questions, files }),
            (_, _, _, Some(_)) => {
                Err("questions come from files or from the families, not from both\n\
                 hint: `files` without `split` and `hops`")
            }
            _ => Err("the table does not say where its questions come from\n\
                 hint: `split`, `hops` and `num_questions`, or `files`"),
        }
    }
}

/// Training data on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSpec {
    /// `sharegpt`, `trl`, `easyr1`, `verl`, `mm-eureka`, `vlm-r1`, `mmk12`, `s1k-deepseek` or `s1k-gemini`: whose columns the
    /// files have (benchmarks/README.md).
    pub layout: String,
    /// A file or a folder, from the project's root.
    pub path: PathBuf,
    /// What the ids of its questions begin with.
    pub name: String,
    /// Mean length of an answer in tokens, above 0; used for estimates only.
    pub answer_tokens: f64,
    /// Number of questions, roughly, at least 1; used for estimates only.
    pub about_questions: usize,
}

impl QuestionsSpec {
    /// Roughly how many questions there are, for estimates.
    pub fn about(&self) -> usize {
        match self {
            QuestionsSpec::Drawn { num_questions, .. } => *num_questions,
            QuestionsSpec::Files { num_questions, files } => {
                num_questions.unwrap_or(files.about_questions)
            }
        }
    }

    /// The files, if its questions come from files.
    pub fn files(&self) -> Option<&FilesSpec> {
        match self {
            QuestionsSpec::Drawn { .. } => None,
            QuestionsSpec::Files { files, .. } => Some(files),
        }
    }

    /// Leaves at most `most` questions.
    pub(super) fn limit(&mut self, most: usize) {
        let count = self.about().min(most);
        match self {
            QuestionsSpec::Drawn { num_questions, .. } => *num_questions = count,
            QuestionsSpec::Files { num_questions, .. } => *num_questions = Some(count),
        }
    }

    pub(super) fn check(&self) -> Checked {
        require!(
            self.about() > 0,
            "num_questions",
            "there is nothing to train on: num_questions = 0"
        );
        match self {
            QuestionsSpec::Files { files, .. } => files.check(),
            QuestionsSpec::Drawn { split, hops, .. } => {
                require!(
                    matches!(split, Split::Train | Split::Pretrain),
                    "split",
                    hint!(
                        "split `{split}` cannot be trained on: models are measured on it",
                        "split = \"train\""
                    )
                );
                check_hops(*hops)
            }
        }
    }
}

impl FilesSpec {
    fn check(&self) -> Checked {
        let layouts = Layout::ALL.map(Layout::name).join(", ");
        require!(
            Layout::from_name(&self.layout).is_some(),
            "files.layout",
            hint!(("there is no layout `{}`", self.layout), "{layouts}")
        );
        require!(
            self.about_questions > 0,
            "files.about_questions",
            "about_questions = 0 is outside its range: at least 1"
        );
        within("answer_tokens", self.answer_tokens, f64::MIN_POSITIVE.., "above 0")
            .map_err(|fault| fault.below("files"))
    }
}

/// Questions that choose among a stage's checkpoints, answered greedily.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ValidationKeys")]
pub struct ValidationSpec {
    /// The questions; keys of the same table.
    #[serde(flatten)]
    pub questions: ValidationQuestions,
    /// Tokens of an answer at most; at least 1.
    pub max_new_tokens: usize,
}

/// Where the questions of [`ValidationSpec`] come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ValidationQuestions {
    /// The families' validation split.
    Drawn(Drawn),
    /// Questions that others have written.
    Files {
        /// The files.
        files: FilesSpec,
        /// Number of questions, at even distances; at least 1. Without it, all that the files have.
        #[serde(skip_serializing_if = "Option::is_none")]
        num_questions: Option<usize>,
    },
}

/// All keys of [`ValidationSpec`], of which a recipe has those of one variant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidationKeys {
    questions_per_family: Option<usize>,
    question_seed: Option<u64>,
    hops: Option<[usize; 2]>,
    files: Option<FilesSpec>,
    num_questions: Option<usize>,
    max_new_tokens: usize,
}

impl TryFrom<ValidationKeys> for ValidationSpec {
    type Error = &'static str;

    fn try_from(keys: ValidationKeys) -> Result<ValidationSpec, &'static str> {
        let ValidationKeys { questions_per_family, question_seed, hops, .. } = keys;
        let questions = match (questions_per_family, question_seed, hops, keys.files) {
            (Some(per_family), Some(seed), Some(hops), None) if keys.num_questions.is_none() => {
                ValidationQuestions::Drawn(Drawn { per_family, seed, hops })
            }
            (None, None, None, Some(files)) => {
                ValidationQuestions::Files { files, num_questions: keys.num_questions }
            }
            _ => {
                return Err("the table does not say where its questions come from\n\
                     hint: `questions_per_family`, `question_seed` and `hops`, or `files`");
            }
        };
        Ok(ValidationSpec { questions, max_new_tokens: keys.max_new_tokens })
    }
}

impl ValidationSpec {
    /// The files, if its questions come from files.
    pub fn files(&self) -> Option<&FilesSpec> {
        match &self.questions {
            ValidationQuestions::Drawn(_) => None,
            ValidationQuestions::Files { files, .. } => Some(files),
        }
    }

    pub(super) fn check(&self) -> Checked {
        let is_empty = match &self.questions {
            ValidationQuestions::Drawn(drawn) => drawn.per_family == 0,
            ValidationQuestions::Files { num_questions, .. } => *num_questions == Some(0),
        };
        require!(
            !is_empty && self.max_new_tokens > 0,
            "questions_per_family",
            hint!(
                "the validation split is empty",
                "numbers of questions and max_new_tokens are at least 1"
            )
        );
        match &self.questions {
            ValidationQuestions::Drawn(drawn) => check_hops(drawn.hops),
            ValidationQuestions::Files { files, .. } => files.check(),
        }
    }
}

/// Questions drawn from every family, of a split that no model is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Drawn {
    /// Questions of each family; at least 1.
    #[serde(rename = "questions_per_family")]
    pub per_family: usize,
    /// The root that the questions are drawn from.
    #[serde(rename = "question_seed")]
    pub seed: u64,
    /// Fewest and most steps that a solution takes, in turn; 1 to [`MAX_HOPS`].
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
    /// The split that is asked, where the files hold several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Number of questions, at even distances; at least 1. Without it, all that the files have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_questions: Option<usize>,
    /// Number of questions in the files, roughly, at least 1; used for estimates only.
    pub about_questions: usize,
}

impl BenchmarkSpec {
    pub(super) fn check(&self) -> Checked {
        let known: Vec<&str> = datasets::names().collect();
        require!(
            known.contains(&self.name.as_str()),
            "name",
            hint!(("there is no published benchmark `{}`", self.name), ("{}", known.join(", ")))
        );
        require!(
            self.num_questions != Some(0) && self.about_questions > 0,
            "num_questions",
            hint!(
                ("no question of `{}` is asked", self.name),
                "num_questions and about_questions are at least 1"
            )
        );
        Ok(())
    }

    /// Roughly how many questions are asked, for estimates.
    pub fn about(&self) -> usize {
        self.num_questions.unwrap_or(usize::MAX).min(self.about_questions)
    }
}

pub(super) fn check_gate(gate: &GateSpec) -> Checked {
    require!(
        gate.false_alarm > 0.0 && gate.false_alarm < 0.5,
        "false_alarm",
        hint!(
            ("false_alarm = {} is outside its range: above 0 and below 0.5", gate.false_alarm),
            "0.05"
        )
    );
    for (key, band) in [
        ("share_band", gate.share_band),
        ("length_band", gate.length_band),
        ("words_band", gate.words_band),
        ("figure_share_band", gate.figure_share_band),
        ("figure_ratio_band", gate.figure_ratio_band),
    ] {
        within(key, band, f64::MIN_POSITIVE.., "above 0")?;
    }
    Ok(())
}

/// Settings of a stage that trains, but for its optimizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// Regular expressions: a parameter whose name begins with what one of these matches does not learn.
    pub freeze: Vec<String>,
    /// Sequences that are computed at once, at least 1; a batch is sorted by length and cut into these.
    pub micro_batch_size: usize,
    /// Steps between two checkpoints inside the stage; at least 1.
    pub checkpoint_every: usize,
    /// Keep only the hidden states between layers and compute each layer again for its gradient: the memory of one
    /// layer's graph for one more forward pass. Off without it; burn-flex has its own way and ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_checkpointing: Option<bool>,
    /// The type that the model computes in, in rollouts of the stage too: `f32`, or `bf16` on libtorch and CUDA.
    /// Parameters and the optimizer's state are f32 either way. `f32` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<ComputeDtype>,
    /// Tokens of a sequence in which a group's rollouts share their question, at most; at least 1. A rollout that does not
    /// fit begins another sequence. Needs `gradient_checkpointing`. No limit without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_packed_tokens: Option<usize>,
    /// Learn the factors of an adapter and leave all parameters as they are. Without it, all that is not frozen learns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSpec>,
}

/// LoRA: a weight `W` that it changes becomes `W + lora_alpha / r * B A`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSpec {
    /// The rank: rows of A and columns of B; at least 1.
    pub r: usize,
    /// The scale, above 0, before it is divided by `r`.
    pub lora_alpha: f64,
    /// Last parts of the names of linear layers, as in PEFT; layers that `freeze` matches are left out.
    pub target_modules: Vec<String>,
}

impl LoraSpec {
    fn config(&self, names: &[String]) -> LoraConfig {
        LoraConfig {
            r: self.r,
            lora_alpha: self.lora_alpha,
            target_modules: TargetModules::Names(names.to_vec()),
            exclude_modules: None,
            use_rslora: false,
        }
    }
}

impl TrainingSpec {
    /// Tells whether layers are computed again for their gradients.
    pub fn recompute(&self) -> bool {
        self.gradient_checkpointing == Some(true)
    }

    /// The type that the model computes in.
    pub fn dtype(&self) -> ComputeDtype {
        self.dtype.unwrap_or_default()
    }

    /// Settings that freeze nothing and compute one sequence at a time, for what computes without training.
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

    /// The adapter that learns in a model of `shapes`, if one does: its layers by their whole names, without those that
    /// `freeze` matches.
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
            hint!(
                "`freeze` matches every layer of `target_modules`",
                "an adapter leaves all parameters as they are, so `freeze` may be empty"
            )
        );
        Ok(Some(config))
    }

    /// The regular expressions of `freeze`, compiled.
    ///
    /// # Errors
    /// If one is not a regular expression.
    pub fn freeze_patterns(&self) -> Result<Vec<Regex>> {
        let compile = |text: &String| {
            Regex::new(&format!("^(?:{text})")).map_err(|_| {
                anyhow!(hint!(
                    "`{text}` in `freeze` is not a regular expression",
                    "as in `visual.`"
                ))
            })
        };
        self.freeze.iter().map(compile).collect()
    }

    /// Checks the table against the shapes that the model may have.
    pub(super) fn check(&self, shapes: &[NamedShape]) -> Checked {
        for (key, size) in [
            ("micro_batch_size", self.micro_batch_size),
            ("checkpoint_every", self.checkpoint_every),
        ] {
            require!(size > 0, key, "{key} = 0 is outside its range: at least 1");
        }
        require!(
            self.max_packed_tokens.is_none()
                || (self.recompute() && self.max_packed_tokens != Some(0)),
            "max_packed_tokens",
            hint!(
                "max_packed_tokens is a limit of gradient checkpointing",
                "at least 1, with gradient_checkpointing = true"
            )
        );
        self.freeze_patterns().map_err(|cause| Fault::at("freeze", cause))?;
        let Some(lora) = &self.lora else { return Ok(()) };
        require!(lora.r > 0, "lora.r", hint!("rank `r` is 0", "at least 1"));
        within("lora_alpha", lora.lora_alpha, f64::MIN_POSITIVE.., "above 0")
            .map_err(|fault| fault.below("lora"))?;
        self.lora_config(shapes)
            .map(|_| ())
            .map_err(|cause| Fault::at("lora.target_modules", cause))
    }
}

/// AdamW (Loshchilov and Hutter 2019), with Muon (Jordan et al. 2024) for hidden matrices if
/// `muon_learning_rate` is above 0. All numbers are 0 or more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSpec {
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    /// Peak learning rate of Muon; 0 leaves all matrices to AdamW.
    pub muon_learning_rate: f64,
    /// Decay of Muon's momentum, per update.
    pub muon_momentum: f64,
    /// Decay of AdamW's first moment, per update.
    pub beta_1: f64,
    /// Decay of AdamW's second moment, per update.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Share of a parameter, times the learning rate, that each update takes from it.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm.
    pub max_grad_norm: f64,
    /// Updates in which the learning rate rises from 0 to its peak.
    pub warmup_steps: usize,
    /// The learning rate falls as a cosine from its peak to this share of it; 1 keeps it constant.
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
            within(key, value, 0.0.., "0 or more")?;
        }
        Ok(())
    }
}

pub(super) fn check_hops([low, high]: [usize; 2]) -> Checked {
    require!(
        low >= 1 && low <= high && high <= MAX_HOPS,
        "hops",
        "hops = [{low}, {high}] must be [low, high] within 1 to {MAX_HOPS}, low <= high"
    );
    Ok(())
}
