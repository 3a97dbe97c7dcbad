//! The kinds of stages: a file for each, with what a recipe can say of it, what is checked and how much work it is.
//!
//! Does not know regimes or order: a stage names what it starts from. What several stages share (questions, rewards,
//! optimizers) is a table of its own, and a stage names it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

mod grpo;
mod guidance;
mod kind;
pub(crate) mod load;
mod merge;
mod mix;
mod pretrain;
mod published;
mod sample;
mod sft;
mod teacher;

pub use self::grpo::{Distillation, GrpoSpec, Shown};
pub use self::guidance::{Guidance, Mu, PassWeights, Prefix, PrefixShare, RowGain, Weighting};
pub(super) use self::kind::few;
pub use self::kind::{Input, Output, Role, StageKind};
use self::load::{DENSE_STEP_TOKENS, DataLoad, Load, Others};
pub use self::merge::MergeStageSpec;
pub use self::mix::{MixPart, MixSpec};
pub use self::pretrain::{PretrainSpec, RegisterWeights};
pub use self::published::PublishedSpec;
pub use self::sample::{Keep, SampleSpec};
pub use self::sft::{Accumulation, KeptCheckpoint, SftSpec};
pub use self::teacher::{TeacherSpec, Trace};

/// What a stage that starts from nothing trained names.
pub const BASE: &str = "base";

/// One stage of a regime: settings of one of the kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StageSpec {
    /// Next-token training on conversations about pictures.
    Pretrain(PretrainSpec),
    /// Supervised fine-tuning.
    Sft(SftSpec),
    /// Reinforcement learning, with or without demonstrations.
    Grpo(Box<GrpoSpec>),
    /// The merge of two models.
    Merge(MergeStageSpec),
    /// Answers that others have written.
    Teacher(TeacherSpec),
    /// A model's own answers.
    Sample(SampleSpec),
    /// Several data sets in one.
    Mix(MixSpec),
    /// A model that somebody else has trained.
    Published(PublishedSpec),
}

/// The table of kinds: all that is asked of a stage is asked of its kind.
impl Deref for StageSpec {
    type Target = dyn StageKind;

    fn deref(&self) -> &(dyn StageKind + 'static) {
        match self {
            StageSpec::Pretrain(spec) => spec,
            StageSpec::Sft(spec) => spec,
            StageSpec::Grpo(spec) => spec.as_ref(),
            StageSpec::Merge(spec) => spec,
            StageSpec::Teacher(spec) => spec,
            StageSpec::Sample(spec) => spec,
            StageSpec::Mix(spec) => spec,
            StageSpec::Published(spec) => spec,
        }
    }
}

impl DerefMut for StageSpec {
    fn deref_mut(&mut self) -> &mut (dyn StageKind + 'static) {
        match self {
            StageSpec::Pretrain(spec) => spec,
            StageSpec::Sft(spec) => spec,
            StageSpec::Grpo(spec) => spec.as_mut(),
            StageSpec::Merge(spec) => spec,
            StageSpec::Teacher(spec) => spec,
            StageSpec::Sample(spec) => spec,
            StageSpec::Mix(spec) => spec,
            StageSpec::Published(spec) => spec,
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
            StageSpec::Merge(_) => "merge",
            StageSpec::Teacher(_) => "teacher",
            StageSpec::Sample(_) => "sample",
            StageSpec::Mix(_) => "mix",
            StageSpec::Published(_) => "published",
        }
    }

    /// The stages whose weights it takes in `role`, or `base`.
    pub fn weights(&self, role: Role) -> Vec<&str> {
        self.inputs()
            .into_iter()
            .filter(|input| input.role == role)
            .map(|input| input.stage)
            .collect()
    }

    /// The stages whose data it reads, in order.
    pub fn data(&self) -> Vec<Input<'_>> {
        self.inputs().into_iter().filter(|input| input.role.is_data()).collect()
    }

    /// The settings of RL, if it is a stage of that kind.
    pub fn grpo(&self) -> Option<&GrpoSpec> {
        if let StageSpec::Grpo(spec) = self { Some(spec) } else { None }
    }

    /// The settings of RL, to be changed: a fault that is planted is not part of a recipe.
    pub(crate) fn grpo_mut(&mut self) -> Option<&mut GrpoSpec> {
        if let StageSpec::Grpo(spec) = self { Some(spec) } else { None }
    }

    /// Where the stage finds its model, if somebody else has trained it.
    pub(crate) fn published(&self) -> Option<&PublishedSpec> {
        if let StageSpec::Published(spec) = self { Some(spec) } else { None }
    }

    /// The work of the stage, which stands on others of `stages`.
    pub(crate) fn load_among(&self, stages: &BTreeMap<String, StageSpec>) -> Load {
        self.load(&Stages(stages))
    }
}

/// All stages of a recipe.
struct Stages<'a>(&'a BTreeMap<String, StageSpec>);

impl<'a> Others<'a> for Stages<'a> {
    fn examples(&self, name: &str) -> Option<DataLoad<'a>> {
        self.0.get(name)?.examples(self)
    }

    /// A base that is asked nothing special writes every step in short at most.
    fn step_tokens(&self, name: &str) -> f64 {
        self.0.get(name).map_or(DENSE_STEP_TOKENS, |stage| stage.written_step_tokens(self))
    }
}
