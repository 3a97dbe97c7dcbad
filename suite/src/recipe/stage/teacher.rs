//! Stages of kind `teacher`: answers that the families or the owners of files have written.

use serde::{Deserialize, Serialize};

use super::kind::{Input, Output, StageKind, few};
use super::load::{DataLoad, DataLoads, Load, TERSE_STEP_TOKENS, VERBOSE_STEP_TOKENS};
use crate::recipe::fault::Checked;
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
    /// A few tokens for each step.
    Terse,
    /// A sentence or more for each step.
    Verbose,
    /// As long as the verbose one, but it never leaves the first cell.
    Shallow,
}

impl StageKind for TeacherSpec {
    fn output(&self) -> Output {
        Output::Data
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn check(&self) -> Checked {
        Ok(())
    }

    fn load(&self, _: &DataLoads<'_>) -> Load {
        Load::default()
    }

    fn examples<'a>(&'a self, _: &DataLoads<'a>) -> Option<DataLoad<'a>> {
        let step_tokens = match self.trace {
            Trace::Terse => TERSE_STEP_TOKENS,
            Trace::Verbose | Trace::Shallow => VERBOSE_STEP_TOKENS,
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
