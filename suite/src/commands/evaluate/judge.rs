//! Answers to a report: outcomes under every grader, accuracy with intervals, levels, style. Pure.
//!
//! This module does not know who answered, nor how a report is shown or exported. [`Report`] is the format of
//! `evaluation.json`; `golden/schema/evaluation.schema.json` is generated from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use synergy_benchmarks::datasets::Skipped;
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::sample::Sample;
use synergy_grade::Grader;
use synergy_grade::answer::Outcome;
use synergy_report::agreement::{Agreement, Verdicts};
use synergy_report::analysis::{Analysis, Judged, analyze};
use synergy_report::completion::{Completion, Obstacle, Unanswered};
use synergy_report::leaderboard::OutcomeShares;
use synergy_report::score::Machine;
use synergy_report::statistics::{self, Interval, Noise};

use super::{Answered, Answerer};
use crate::commands::evaluate::ask::Drawing;
use crate::commands::evaluate::replies::Answer;
use crate::run::machine;

/// Version of [`Report`] on disk. A change of its meaning raises it.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// One model on one benchmark, judged by rules. Shares are of one; lengths are tokens.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    title = "Synergy evaluation, version 1",
    extend("$id" = "urn:synergy:evaluation:1")
)]
pub struct Report {
    /// Version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub schema_version: u32,
    /// Name of the benchmark.
    pub benchmark: String,
    /// The file, the folder or the seed that the questions are from.
    pub source: String,
    /// Who answered.
    pub answerer: Answerer,
    /// How answers were drawn.
    pub drawing: Drawing,
    /// True if the study's instruction was added to every question.
    pub template: bool,
    /// Name of the grader that everything but `agreement` is judged by.
    pub grader: String,
    /// Where and when the evaluation was made.
    pub provenance: Provenance,
    /// Questions that were asked.
    #[schemars(range(min = 1))]
    pub num_questions: usize,
    /// Answers to each question.
    #[schemars(range(min = 1))]
    pub num_samples: usize,
    /// Answers whose tokens nobody counted; their words are counted instead.
    pub num_uncounted: usize,
    /// Rows of the files that are not questions and were left out.
    pub skipped: Vec<SkippedRow>,
    /// Questions with answers that never came; these count as not correct.
    pub unanswered: Vec<UnansweredQuestion>,
    /// Share of right answers, mean over questions, with its 95 % interval over questions.
    pub accuracy: Interval,
    /// Shares of all answers by outcome.
    pub outcomes: OutcomeShares,
    /// Accuracy of the best guess that does not see the picture; null where no other split shows it.
    #[schemars(range(min = 0, max = 1))]
    pub text_only: Option<f64>,
    /// Where levels are from; null if no question has one.
    pub levels_from: Option<String>,
    /// The questions by level.
    pub levels: Vec<Part>,
    /// The questions by category.
    pub categories: Vec<Part>,
    /// Length and style of the answers.
    pub analysis: Option<Analysis>,
    /// The same answers under every grader.
    pub agreement: Agreement,
}

/// Where and when an evaluation was made.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Provenance {
    /// Day of the evaluation.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}$"))]
    pub date: String,
    /// Commit of the suite.
    pub commit: String,
    /// True if the tree had changes that the commit does not have.
    pub dirty: bool,
    /// Machine that the evaluation was made on.
    pub machine: Machine,
}

/// A row of a file that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SkippedRow {
    /// The file.
    pub file: String,
    /// The row in it.
    pub row: u64,
    /// The column that is at fault; empty where it is the question as a whole.
    pub column: String,
    /// What is wrong with it.
    pub cause: String,
}

/// A question with answers that never came.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct UnansweredQuestion {
    /// Id of the question.
    pub id: String,
    /// The file that it was read from; null for a drawn one.
    pub file: Option<String>,
    /// The row in it, from 1, without the header.
    pub row: Option<u64>,
    /// Answers that never came.
    #[schemars(range(min = 1))]
    pub num_answers: usize,
    /// The kind of cause of the first.
    pub obstacle: Obstacle,
    /// The cause of the first in one line.
    pub cause: String,
}

/// The questions of one level or category.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Part {
    /// Name of the level or category.
    pub name: String,
    /// Its questions.
    #[schemars(range(min = 1))]
    pub num_questions: usize,
    /// Share of right answers, mean over its questions, with its 95 % interval.
    pub accuracy: Interval,
    /// Mean tokens of an answer that came.
    #[schemars(range(min = 0))]
    pub tokens: f64,
}

/// Judges `completions`, which are those of `answered`, question by question; returns the report and the outcomes by the
/// chosen grader.
pub(super) fn report(
    answered: &Answered,
    completions: &[Completion],
    grader: Grader,
    levels_from: Option<String>,
) -> (Report, Vec<Outcome>) {
    let asked = &answered.asked;
    let num_samples = answered.answers.first().map_or(0, Vec::len);
    let graders = grader.before_others();
    let verdicts = verdicts(answered, completions, &graders);
    let outcomes: Vec<Outcome> = verdicts.iter().map(|verdicts| verdicts.outcomes[0]).collect();
    let share = |outcome: Outcome| {
        outcomes.iter().filter(|other| **other == outcome).count() as f64
            / outcomes.len().max(1) as f64
    };
    let questions: Vec<Question> = asked
        .samples
        .iter()
        .zip(outcomes.chunks(num_samples.max(1)))
        .zip(completions.chunks(num_samples.max(1)))
        .map(|((sample, outcomes), answers)| Question::of(sample, outcomes, answers))
        .collect();
    let judged: Vec<Judged<'_>> = completions
        .iter()
        .zip(&outcomes)
        .enumerate()
        .map(|(i, (completion, outcome))| Judged {
            text: &completion.text,
            num_tokens: completion.num_tokens,
            outcome: *outcome,
            level: questions[i / num_samples.max(1)].level,
        })
        .collect();
    let replies = answered.answers.iter().flatten().flatten();
    let names: Vec<&str> = graders.iter().map(|grader| grader.name()).collect();
    let (commit, dirty) = machine::commit();
    let report = Report {
        schema_version: SCHEMA_VERSION,
        benchmark: asked.benchmark.clone(),
        source: asked.source.clone(),
        answerer: answered.answerer.clone(),
        drawing: answered.drawing,
        template: asked.template,
        grader: grader.name().to_owned(),
        provenance: Provenance {
            date: machine::today(),
            commit,
            dirty,
            machine: machine::describe_parts(),
        },
        num_questions: questions.len(),
        num_samples,
        num_uncounted: replies.filter(|reply| reply.num_tokens.is_none()).count(),
        skipped: asked.skipped.iter().map(SkippedRow::of).collect(),
        unanswered: asked
            .samples
            .iter()
            .zip(&answered.answers)
            .filter_map(|(sample, answers)| UnansweredQuestion::of(sample, answers))
            .collect(),
        accuracy: accuracy(&questions.iter().collect::<Vec<_>>()),
        outcomes: OutcomeShares {
            correct: share(Outcome::Correct),
            wrong: share(Outcome::Wrong),
            truncated: share(Outcome::Truncated),
            unparsed: share(Outcome::Unparsed),
            unanswered: share(Outcome::Unanswered),
        },
        text_only: asked.text_only,
        levels_from,
        levels: parts(&questions, |question| question.level.map(|level| level.to_string())),
        categories: parts(&questions, |question| question.category.clone()),
        analysis: analyze(&answered.answerer.id, &judged),
        agreement: Agreement::of(&names, verdicts),
    };
    (report, outcomes)
}

/// Judges every answer by every one of `graders`, in order of the questions and their answers.
fn verdicts(answered: &Answered, completions: &[Completion], graders: &[Grader]) -> Vec<Verdicts> {
    let num_samples = answered.answers.first().map_or(0, Vec::len);
    let samples = answered.asked.samples.iter().zip(completions.chunks(num_samples.max(1)));
    samples
        .flat_map(|(sample, answers)| answers.iter().map(move |answer| (sample, answer)))
        .map(|(sample, answer)| Verdicts {
            row: answered.answerer.id.clone(),
            seed: answered.drawing.seed,
            sample_id: sample.id.clone(),
            sample: answer.sample,
            outcomes: graders.iter().map(|grader| answer.outcome(*grader)).collect(),
        })
        .collect()
}

impl SkippedRow {
    fn of(skipped: &Skipped) -> SkippedRow {
        SkippedRow {
            file: skipped.file.display().to_string(),
            row: skipped.row,
            column: skipped.column.clone(),
            cause: skipped.cause.clone(),
        }
    }
}

impl UnansweredQuestion {
    fn of(sample: &Sample, answers: &[Answer]) -> Option<UnansweredQuestion> {
        let mut missing = answers.iter().filter_map(|answer| answer.as_ref().err()).peekable();
        let Unanswered { obstacle, cause } = (*missing.peek()?).clone();
        Some(UnansweredQuestion {
            id: sample.id.clone(),
            file: sample.origin.as_ref().map(|origin| origin.file.display().to_string()),
            row: sample.origin.as_ref().map(|origin| origin.row),
            num_answers: missing.count(),
            obstacle,
            cause,
        })
    }
}

/// A question with what its answers came to.
struct Question {
    level: Option<Level>,
    category: Option<String>,
    /// Share of right answers.
    accuracy: f64,
    /// Mean tokens of the answers that came, if any did.
    tokens: Option<f64>,
}

impl Question {
    fn of(sample: &Sample, outcomes: &[Outcome], answers: &[Completion]) -> Question {
        let right = outcomes.iter().filter(|outcome| **outcome == Outcome::Correct).count();
        let came = answers.iter().filter(|answer| answer.unanswered.is_none());
        let tokens: Vec<f64> = came.map(|answer| f64::from(answer.num_tokens)).collect();
        Question {
            level: sample.details.level,
            category: sample.details.category.clone(),
            accuracy: right as f64 / outcomes.len().max(1) as f64,
            tokens: (!tokens.is_empty()).then(|| tokens.iter().sum::<f64>() / tokens.len() as f64),
        }
    }
}

fn parts(questions: &[Question], name: impl Fn(&Question) -> Option<String>) -> Vec<Part> {
    let mut by_name: BTreeMap<String, Vec<&Question>> = BTreeMap::new();
    for question in questions {
        if let Some(name) = name(question) {
            by_name.entry(name).or_default().push(question);
        }
    }
    let part = |(name, members): (String, Vec<&Question>)| {
        let tokens: Vec<f64> = members.iter().filter_map(|question| question.tokens).collect();
        Part {
            num_questions: members.len(),
            accuracy: accuracy(&members),
            tokens: tokens.iter().sum::<f64>() / tokens.len().max(1) as f64,
            name,
        }
    };
    by_name.into_iter().map(part).collect()
}

/// Mean over questions with its interval by Student's t, or by Wilson's where all are alike.
fn accuracy(questions: &[&Question]) -> Interval {
    let values = [questions.iter().map(|question| question.accuracy).collect::<Vec<f64>>()];
    statistics::share_interval(&values, Noise::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published schema follows from the types; `UPDATE_SCHEMA=1 cargo nextest run -p synergy-suite schema` renews it.
    #[test]
    fn the_schema_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/schema/evaluation.schema.json");
        let schema = synergy_report::text::schema::<Report>();
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        let hint = "UPDATE_SCHEMA=1 cargo nextest run -p synergy-suite schema";
        assert!(std::fs::read_to_string(path).unwrap() == schema, "{path} is stale: {hint}");
    }
}
