//! Completions as plain data: one generated answer to one sample, one JSON object per line.
//!
//! This module does not know how a completion was generated or how it will be judged.
//! The text is kept whole, so that a later grader can judge the same completions again without
//! the model; the target is kept with it for the same reason.

use std::fmt::Write as _;

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::sample::Sample;
use synergy_grade::answer::{Judgement, Outcome};
use synergy_grade::{Grader, Target, grade};

/// What kept a question from being answered.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// A picture cannot be read, or has a shape that the model does not take.
    Picture,
    /// The text and its pictures make no prompt, for example because it holds a token of the chat template.
    Prompt,
    /// The question leaves the model no room for an answer.
    TooLong,
    /// The endpoint refused the request, or its filter stopped the answer.
    Refused,
    /// The endpoint's answer has no text.
    Empty,
    /// The endpoint gave no answer that could be read, after all attempts.
    NoReply,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unanswered {
    /// The kind of cause.
    pub obstacle: Obstacle,
    /// The cause in one line.
    pub cause: String,
}

/// One generated answer to one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Address of the question, the same in every row and every run.
    pub sample_id: String,
    /// The benchmark that asks the question: a procedural family or an external data set.
    pub benchmark: String,
    /// The difficulty knob of a procedural family; 0 for an external benchmark.
    pub hops: usize,
    /// This is the k-th answer to the question, counted from 0.
    pub sample: u32,
    /// The correct answer.
    pub answer: String,
    /// The choices of a multiple-choice question, A first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// How many decimal places of a numeric target count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<u32>,
    /// The model's whole answer.
    pub text: String,
    /// Tokens of `text`, the end token included where there is one.
    pub num_tokens: u32,
    /// True if the model ended by itself; false when the length limit cut it.
    pub finished: bool,
    /// Why there is no answer; `text` is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Unanswered>,
}

impl Completion {
    /// Describes `text` as the `k`-th answer to `sample`, counted from 0.
    pub fn new(
        sample: &Sample,
        k: u32,
        text: String,
        num_tokens: u32,
        finished: bool,
    ) -> Completion {
        Completion {
            sample_id: sample.id.clone(),
            benchmark: sample.benchmark.clone(),
            hops: sample.hops,
            sample: k,
            answer: sample.answer.clone(),
            choices: sample.choices.clone(),
            precision: sample.details.precision,
            text,
            num_tokens,
            finished,
            unanswered: None,
        }
    }

    /// Describes the `k`-th answer to `sample`, counted from 0, as one that never came.
    pub fn missing(sample: &Sample, k: u32, why: Unanswered) -> Completion {
        Completion { unanswered: Some(why), ..Completion::new(sample, k, String::new(), 0, true) }
    }

    /// Judges the completion by the rules of `grader`.
    pub fn outcome(&self, grader: Grader) -> Outcome {
        self.judgement(grader).outcome
    }

    /// Judges the completion by the rules of `grader`, with what they took for its answer.
    pub fn judgement(&self, grader: Grader) -> Judgement {
        match self.unanswered {
            Some(_) => Judgement { outcome: Outcome::Unanswered, extracted: None },
            None => grade(grader, &self.target(), &self.text, self.finished),
        }
    }

    /// The target that the completion is judged against.
    pub fn target(&self) -> Target<'_> {
        Target {
            gold: &self.answer,
            choices: &self.choices,
            precision: self.precision,
            benchmark: self.benchmark.as_str().into(),
        }
    }
}

/// Writes completions as JSON lines, each ended by a line feed.
///
/// # Errors
/// Never in practice: plain data always serializes.
pub fn to_lines(completions: &[Completion]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for completion in completions {
        let line = serde_json::to_string(completion).context("failed to write a completion")?;
        writeln!(lines, "{line}").context("failed to write a completion")?;
    }
    Ok(lines)
}

/// Reads what [`to_lines`] wrote.
///
/// # Errors
/// If a line is not a completion, for example because the file is cut off; the error names the first such line.
pub fn from_lines(lines: &str) -> anyhow::Result<Vec<Completion>> {
    lines
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("line {} is not a completion", index + 1))
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A whole answer to a made-up question.
    pub(crate) fn completion(text: &str) -> Completion {
        Completion {
            sample_id: "path/test/7/00012".to_owned(),
            benchmark: "path".to_owned(),
            hops: 3,
            sample: 1,
            answer: "red".to_owned(),
            choices: Vec::new(),
            precision: None,
            text: text.to_owned(),
            num_tokens: 9,
            finished: true,
            unanswered: None,
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_a_line(texts in proptest::collection::vec(any::<String>(), 0..4)) {
            let written: Vec<_> = texts.iter().map(|text| completion(text)).collect();
            let lines = to_lines(&written).unwrap();
            prop_assert_eq!(lines.matches('\n').count(), written.len());
            prop_assert_eq!(from_lines(&lines).unwrap(), written);
        }
    }

    #[test]
    fn an_answer_that_never_came_is_no_answer_to_any_grader_and_survives_a_line() {
        let sample = Sample { id: "a/1".to_owned(), answer: String::new(), ..Sample::default() };
        let why = Unanswered { obstacle: Obstacle::TooLong, cause: "9 tokens".to_owned() };
        let missing = Completion::missing(&sample, 2, why);
        for grader in Grader::ALL {
            assert_eq!(missing.outcome(grader), Outcome::Unanswered);
        }
        let line = to_lines(std::slice::from_ref(&missing)).unwrap();
        assert!(line.contains(r#""unanswered":{"obstacle":"too_long","cause":"9 tokens"}"#));
        assert_eq!(from_lines(&line).unwrap(), [missing]);
        // Lines of before there were such answers are as they were.
        assert!(!to_lines(&[completion("a")]).unwrap().contains("unanswered"));
    }

    #[test]
    fn a_cut_line_and_an_unknown_key_are_refused_with_their_line() {
        let whole = to_lines(&[completion("a"), completion("b")]).unwrap();
        let cut = from_lines(&whole[..whole.len() - 5]).unwrap_err();
        assert_eq!(cut.to_string(), "line 2 is not a completion");
        let unknown = whole.replacen("\"hops\"", "\"hopps\"", 1);
        assert_eq!(from_lines(&unknown).unwrap_err().to_string(), "line 1 is not a completion");
    }
}
