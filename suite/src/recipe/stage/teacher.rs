//! Stages of kind `teacher`: answers that the families or the owners of files have written.

use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use super::kind::{Input, Output, StageKind, few};
use super::load::{DENSE_STEP_TOKENS, DataLoad, LONG_STEP_TOKENS, Load, Others};
use crate::recipe::fault::{Checked, require};
use crate::recipe::tables::{Named, QuestionsSpec};

/// Data: the traces that come with questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherSpec {
    /// Selects which trace of each question.
    pub trace: Trace,
    /// The questions, by the name of their table.
    pub questions: Named<QuestionsSpec>,
}

/// Selects which trace of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trace {
    /// A few statements, as many as are drawn.
    Brief,
    /// Every step, without words.
    Dense,
    /// Every step in words, each looked at twice.
    Long,
    /// As long as the long one, but it never leaves the first cell.
    Shallow,
    /// What the owners of a file have written, word for word.
    Written,
}

impl StageKind for TeacherSpec {
    fn output(&self) -> Output {
        Output::Data
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn check(&self) -> Checked {
        let is_drawn = self.questions.files().is_none();
        require!(
            is_drawn == (self.trace != Trace::Written),
            "trace",
            hint!(
                "the questions have no such trace",
                "`written` for questions of files; brief, dense, long or shallow for those of the families"
            )
        );
        Ok(())
    }

    fn register(&self) -> Option<&'static str> {
        (self.trace != Trace::Written).then_some("trace")
    }

    fn load(&self, _: &dyn Others<'_>) -> Load {
        Load::default()
    }

    fn examples<'a>(&'a self, _: &dyn Others<'a>) -> Option<DataLoad<'a>> {
        let step_tokens = match self.trace {
            Trace::Brief | Trace::Dense => DENSE_STEP_TOKENS,
            Trace::Long | Trace::Shallow | Trace::Written => LONG_STEP_TOKENS,
        };
        let questions: &QuestionsSpec = &self.questions;
        Some(DataLoad { num_examples: questions.about(), questions, step_tokens })
    }

    fn rehearse(&mut self) {
        self.questions.limit(few::QUESTIONS);
    }

    fn questions(&self) -> Option<&QuestionsSpec> {
        Some(&self.questions)
    }
}
