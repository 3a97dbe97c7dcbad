//! Completions as plain data: one generated answer to one sample, one JSON object per line.
//!
//! This module does not know how a completion was generated or how it will be judged.
//! The text is kept whole, so that a later grader can judge the same completions again without
//! the model; the target is kept with it for the same reason.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use synergy_benchmarks::sample::Sample;
use synergy_grade::answer::Outcome;
use synergy_grade::{Grader, Target, grade};

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
        }
    }

    /// Judges the completion by the rules of `grader`.
    pub fn outcome(&self, grader: Grader) -> Outcome {
        grade(grader, &self.target(), &self.text, self.finished).outcome
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
    fn a_cut_line_and_an_unknown_key_are_refused_with_their_line() {
        let whole = to_lines(&[completion("a"), completion("b")]).unwrap();
        let cut = from_lines(&whole[..whole.len() - 5]).unwrap_err();
        assert_eq!(cut.to_string(), "line 2 is not a completion");
        let unknown = whole.replacen("\"hops\"", "\"hopps\"", 1);
        assert_eq!(from_lines(&unknown).unwrap_err().to_string(), "line 1 is not a completion");
    }
}
