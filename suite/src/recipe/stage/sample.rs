//! Stages of kind `sample`: a model's own answers.

use serde::{Deserialize, Serialize};
use synergy_hint::hint;
use synergy_models::weights::ComputeDtype;

use super::kind::{Input, Output, Role, StageKind, few};
use super::load::{DENSE_STEP_TOKENS, DataLoad, LONG_STEP_TOKENS, Load, Others, RolloutLoad};
use crate::limits::QUESTIONS_PER_CHUNK;
use crate::recipe::fault::{Checked, require, within};
use crate::recipe::registers::AskedRegister;
use crate::recipe::tables::{Named, QuestionsSpec};

/// Data: a model's own answers to questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSpec {
    /// The stage whose model answers, or `base`.
    pub from: String,
    /// Selects which of a question's answers are kept.
    pub keep: Keep,
    /// The register that the model is asked for; the study's instruction without it, as in everything that learns from
    /// the answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<AskedRegister>,
    /// Only questions whose share of right answers is within these are kept; `[low, high]` within 0 to 1.
    pub pass_rate: [f64; 2],
    /// The questions, by the name of their table.
    pub questions: Named<QuestionsSpec>,
    /// Answers to each question; at least 1.
    pub num_generations: usize,
    /// 0 or more; 0 is greedy.
    pub temperature: f64,
    /// Draws are from the likeliest tokens of this probability in all; above 0, at most 1.
    pub top_p: f64,
    /// Draws are from this many of the likeliest tokens; 0 is all.
    pub top_k: usize,
    /// Tokens of an answer at most, prompt excluded; at least 1.
    pub max_new_tokens: usize,
    /// The type that the model computes in, as in a training table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<ComputeDtype>,
}

/// Selects which of a question's answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Every one, right or wrong.
    Any,
    /// Every correct one.
    Correct,
    /// The first correct one: one answer a question, whatever its length.
    OneCorrect,
    /// The correct one of the fewest tokens, as the study's self-distillation does.
    ShortestCorrect,
}

impl SampleSpec {
    /// Tokens of a step in the answers: those of the register that is asked for, else those that the model writes.
    fn step_tokens(&self, others: &dyn Others<'_>) -> f64 {
        match self.register {
            Some(AskedRegister::Dense) => DENSE_STEP_TOKENS,
            Some(AskedRegister::Long) => LONG_STEP_TOKENS,
            None => others.step_tokens(&self.from),
        }
    }
}

impl StageKind for SampleSpec {
    fn output(&self) -> Output {
        Output::Sample
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        vec![Input::new(Role::Start, "from", &self.from)]
    }

    fn check(&self) -> Checked {
        for (key, count) in
            [("num_generations", self.num_generations), ("max_new_tokens", self.max_new_tokens)]
        {
            require!(count > 0, key, "{key} = 0 is outside its range: at least 1");
        }
        within("temperature", self.temperature, 0.0.., "0 or more")?;
        within("top_p", self.top_p, f64::MIN_POSITIVE..=1.0, "above 0, at most 1")?;
        let [low, high] = self.pass_rate;
        require!(
            low >= 0.0 && low <= high && high <= 1.0,
            "pass_rate",
            hint!(
                "pass_rate = [{low}, {high}] must be [low, high] within 0 to 1, low <= high",
                "[0.0, 1.0] keeps all"
            )
        );
        Ok(())
    }

    fn register(&self) -> Option<&'static str> {
        self.register.map(|_| "register")
    }

    fn load(&self, others: &dyn Others<'_>) -> Load {
        let Self { questions, num_generations, max_new_tokens: cap, .. } = self;
        let num_questions = questions.about();
        // Questions are asked a chunk at a time.
        let chunk = num_questions.min(QUESTIONS_PER_CHUNK);
        Load {
            num_steps: num_questions,
            num_rounds: num_questions as f64 / chunk as f64,
            asked: Some(RolloutLoad::new(
                chunk,
                questions,
                *num_generations,
                *cap,
                self.step_tokens(others),
            )),
            ..Load::default()
        }
    }

    fn examples<'a>(&'a self, others: &dyn Others<'a>) -> Option<DataLoad<'a>> {
        let questions: &QuestionsSpec = &self.questions;
        let is_one = matches!(self.keep, Keep::OneCorrect | Keep::ShortestCorrect);
        let kept = if is_one { 1 } else { self.num_generations };
        let num_examples = questions.about() * kept;
        Some(DataLoad { num_examples, questions, step_tokens: self.step_tokens(others) })
    }

    fn rehearse(&mut self) {
        // A model that is asked so little is hardly ever right.
        self.keep = Keep::Any;
        few::limit(&mut self.num_generations, few::ANSWERS);
        few::limit(&mut self.max_new_tokens, few::TOKENS);
        self.questions.limit(few::QUESTIONS);
    }

    fn questions(&self) -> Option<&QuestionsSpec> {
        Some(&self.questions)
    }

    fn dtype(&self) -> ComputeDtype {
        self.dtype.unwrap_or_default()
    }

    fn computes(&self) -> bool {
        true
    }
}
