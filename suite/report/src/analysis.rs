//! How a row's answers are written and how long they are: by level, by outcome, and against a budget of tokens. Pure.
//!
//! This module does not know how answers came about, and judges nothing: outcomes are given.
//! A budget needs no other run: an answer that is longer than it would have been cut there, and a cut answer is not
//! a right one.

/// Graders, length and style as tables.
pub mod grids;
/// Graders, length and style as sections of a report.
pub mod written;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use synergy_benchmarks::difficulty::Level;
use synergy_grade::answer::{Outcome, format_reward};
use synergy_grade::style::{self, Marker, REASONING_WORDS};

use crate::agreement::Agreement;

/// The smallest budget in tokens; each next one is twice as large.
const BUDGET_MIN: u32 = 16;

/// One judged answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged<'a> {
    /// The whole answer.
    pub text: &'a str,
    /// Its length in tokens.
    pub num_tokens: u32,
    /// How it turned out.
    pub outcome: Outcome,
    /// Level of the question, if it has one.
    pub level: Option<Level>,
}

/// What a run's answers show beyond its results, as `analysis.json` holds it: rows and graders.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analyses {
    /// Name of the recipe.
    pub profile: String,
    /// The base and every regime, all seeds together.
    pub rows: Vec<Analysis>,
    /// Share of right answers of each row, under each grader of `agreement`.
    pub accuracy: Vec<RowAccuracy>,
    /// All answers under every grader.
    pub agreement: Agreement,
}

/// A row under several graders.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowAccuracy {
    /// Name of the row.
    pub row: String,
    /// Share of right answers under each grader, in the order of [`Agreement::graders`].
    pub accuracy: Vec<f64>,
}

/// A row's answers.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Analysis {
    /// Who answered: a model, or a row of a run.
    pub row: String,
    /// All answers first, then each level, then each outcome that occurs.
    pub groups: Vec<Group>,
    /// Accuracy against the budget, rising, up to the longest answer.
    pub budgets: Vec<Budget>,
}

/// Answers of one level or outcome.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Group {
    /// The level of the questions; null for all levels.
    #[schemars(with = "Option<String>", extend("enum" = or_null(&Level::ALL)))]
    pub level: Option<Level>,
    /// The outcome of the answers; null for all outcomes.
    #[schemars(with = "Option<String>", extend("enum" = or_null(&Outcome::ALL)))]
    pub outcome: Option<Outcome>,
    /// Answers of the group.
    #[schemars(range(min = 1))]
    pub num_answers: usize,
    /// Length of its answers.
    pub tokens: Tokens,
    /// Phrases of each kind per 1000 tokens.
    #[schemars(with = "BTreeMap<String, f64>", extend("propertyNames" = json!({ "enum": Marker::ALL })))]
    pub markers_per_1000_tokens: BTreeMap<Marker, f64>,
    /// Each of the study's reasoning words per 1000 tokens.
    #[schemars(extend("propertyNames" = json!({ "enum": REASONING_WORDS })))]
    pub words_per_1000_tokens: BTreeMap<&'static str, f64>,
    /// Mean share of runs of four words that occurred before in the same answer, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub repetition: f64,
    /// Share of answers in the form that the template asks for, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub formatted: f64,
}

/// The values of an enum and null, for a schema.
fn or_null<T: Serialize>(all: &[T]) -> Vec<Option<&T>> {
    all.iter().map(Some).chain([None]).collect()
}

/// Tokens per answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Tokens {
    /// Mean.
    #[schemars(range(min = 0))]
    pub mean: f64,
    /// Median.
    #[schemars(range(min = 0))]
    pub median: f64,
    /// The length that 95 % of the answers do not exceed.
    #[schemars(range(min = 0))]
    pub p95: f64,
}

/// Accuracy if answers were cut at a number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Budget {
    /// The number of tokens, at least 1.
    #[schemars(range(min = 1))]
    pub max_tokens: u32,
    /// Share of correct answers that are no longer, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub accuracy: f64,
}

/// What one text shows; measured once, however many groups it is in.
struct Measured {
    markers: [u32; 6],
    words: [u32; 5],
    repetition: f64,
    formatted: bool,
}

/// Analyses the answers of `row`; `None` if there are none. One that never came has no length and no style, and counts
/// as not right under every budget.
pub fn analyze(row: &str, answers: &[Judged<'_>]) -> Option<Analysis> {
    let came: Vec<&Judged<'_>> =
        answers.iter().filter(|answer| answer.outcome != Outcome::Unanswered).collect();
    if came.is_empty() {
        return None;
    }
    let measured: Vec<Measured> = came
        .iter()
        .map(|answer| {
            let style = style::measure(answer.text);
            Measured {
                markers: style.markers,
                words: style::count_words(answer.text),
                repetition: style.repetition,
                formatted: format_reward(answer.text),
            }
        })
        .collect();
    let all: Vec<(&Judged<'_>, &Measured)> = came.into_iter().zip(&measured).collect();
    let of_level = Level::ALL.into_iter().map(|level| (Some(level), None));
    let of_outcome = Outcome::ALL.into_iter().map(|outcome| (None, Some(outcome)));
    let groups = [(None, None)].into_iter().chain(of_level).chain(of_outcome);
    Some(Analysis {
        row: row.to_owned(),
        groups: groups.filter_map(|(level, outcome)| group(level, outcome, &all)).collect(),
        budgets: budgets(answers),
    })
}

fn group(
    level: Option<Level>,
    outcome: Option<Outcome>,
    all: &[(&Judged<'_>, &Measured)],
) -> Option<Group> {
    let belongs = |(answer, _): &&(&Judged<'_>, &Measured)| {
        level.is_none_or(|level| answer.level == Some(level))
            && outcome.is_none_or(|outcome| answer.outcome == outcome)
    };
    let members: Vec<_> = all.iter().filter(belongs).collect();
    let mut lengths: Vec<u32> = members.iter().map(|(answer, _)| answer.num_tokens).collect();
    lengths.sort_unstable();
    let total: u64 = lengths.iter().map(|n| u64::from(*n)).sum();
    let count = members.len();
    let per_1000 = |sum: u32| 1000.0 * f64::from(sum) / (total as f64).max(1.0);
    let markers = Marker::ALL.into_iter().enumerate().map(|(place, marker)| {
        (marker, per_1000(members.iter().map(|(_, m)| m.markers[place]).sum()))
    });
    let words = REASONING_WORDS
        .into_iter()
        .enumerate()
        .map(|(place, word)| (word, per_1000(members.iter().map(|(_, m)| m.words[place]).sum())));
    (count > 0).then(|| Group {
        level,
        outcome,
        num_answers: count,
        tokens: Tokens {
            mean: total as f64 / count as f64,
            median: quantile(&lengths, 0.5),
            p95: quantile(&lengths, 0.95),
        },
        markers_per_1000_tokens: markers.collect(),
        words_per_1000_tokens: words.collect(),
        repetition: members.iter().map(|(_, m)| m.repetition).sum::<f64>() / count as f64,
        formatted: members.iter().filter(|(_, m)| m.formatted).count() as f64 / count as f64,
    })
}

/// By linear interpolation between neighbors (Hyndman and Fan 1996, type 7); `sorted` is not empty.
fn quantile(sorted: &[u32], p: f64) -> f64 {
    let place = p * (sorted.len() - 1) as f64;
    let (low, share) = (place.floor() as usize, place.fract());
    let at = |index: usize| f64::from(sorted[index.min(sorted.len() - 1)]);
    at(low) + share * (at(low + 1) - at(low))
}

fn budgets(answers: &[Judged<'_>]) -> Vec<Budget> {
    let longest = answers.iter().map(|answer| answer.num_tokens).max().unwrap_or(0);
    let mut budgets = Vec::new();
    let mut max_tokens = BUDGET_MIN;
    loop {
        let right = answers
            .iter()
            .filter(|answer| answer.outcome == Outcome::Correct && answer.num_tokens <= max_tokens);
        let accuracy = right.count() as f64 / answers.len() as f64;
        budgets.push(Budget { max_tokens, accuracy });
        if max_tokens >= longest {
            return budgets;
        }
        max_tokens = max_tokens.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(text: &str, num_tokens: u32, outcome: Outcome, level: Level) -> Judged<'_> {
        Judged { text, num_tokens, outcome, level: Some(level) }
    }

    #[test]
    fn an_answer_that_never_came_has_no_style_and_is_not_right() {
        let came = answer("\\boxed{3}", 10, Outcome::Correct, Level::L1);
        let missing = || answer("", 0, Outcome::Unanswered, Level::L2);
        let analysis = analyze("a", &[came, missing()]).unwrap();
        assert!(analysis.groups.iter().all(|group| group.num_answers == 1));
        assert!((analysis.groups[0].tokens.mean - 10.0).abs() < 1e-12);
        assert!((analysis.budgets.last().unwrap().accuracy - 0.5).abs() < 1e-12);
        assert!(analyze("a", &[missing()]).is_none());
    }

    #[test]
    fn groups_are_all_levels_and_outcomes_that_occur() {
        let long = "<think>wait, let me check</think>\\boxed{3}";
        let answers = [
            answer("\\boxed{3}", 10, Outcome::Correct, Level::L1),
            answer(long, 40, Outcome::Wrong, Level::L5),
            answer(long, 50, Outcome::Correct, Level::L5),
        ];
        let analysis = analyze("sft", &answers).unwrap();
        let named: Vec<_> =
            analysis.groups.iter().map(|g| (g.level, g.outcome, g.num_answers)).collect();
        assert_eq!(
            named,
            [
                (None, None, 3),
                (Some(Level::L1), None, 1),
                (Some(Level::L5), None, 2),
                (None, Some(Outcome::Correct), 2),
                (None, Some(Outcome::Wrong), 1),
            ]
        );
        let all = &analysis.groups[0];
        assert!((all.tokens.mean - 100.0 / 3.0).abs() < 1e-9);
        assert!((all.tokens.median - 40.0).abs() < 1e-9 && (all.tokens.p95 - 49.0).abs() < 1e-9);
        // Two of each in 100 tokens.
        assert!((all.markers_per_1000_tokens[&Marker::Reflection] - 20.0).abs() < 1e-9);
        assert!((all.markers_per_1000_tokens[&Marker::Verification] - 20.0).abs() < 1e-9);
        assert!((all.words_per_1000_tokens["wait"] - 20.0).abs() < 1e-9);
        assert!((all.formatted - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(analyze("sft", &[]), None);
    }

    #[test]
    fn a_budget_cuts_what_is_longer() {
        let answers = [
            answer("", 16, Outcome::Correct, Level::L1),
            answer("", 17, Outcome::Correct, Level::L1),
            answer("", 100, Outcome::Correct, Level::L1),
            answer("", 3, Outcome::Wrong, Level::L1),
        ];
        let budgets = analyze("rl", &answers).unwrap().budgets;
        let told: Vec<_> = budgets.iter().map(|b| (b.max_tokens, 4.0 * b.accuracy)).collect();
        assert_eq!(told, [(16, 1.0), (32, 2.0), (64, 2.0), (128, 3.0)]);
    }

    proptest! {
        #[test]
        fn accuracy_rises_with_the_budget_to_that_without_one(
            lengths in proptest::collection::vec((1_u32..600, any::<bool>()), 1..40),
        ) {
            let outcome = |right: bool| if right { Outcome::Correct } else { Outcome::Wrong };
            let answers: Vec<Judged<'_>> =
                lengths.iter().map(|(n, right)| answer("", *n, outcome(*right), Level::L2)).collect();
            let analysis = analyze("x", &answers).unwrap();
            let pairs = analysis.budgets.windows(2);
            prop_assert!(pairs.clone().all(|pair| pair[0].accuracy <= pair[1].accuracy));
            let right = lengths.iter().filter(|(_, right)| *right).count() as f64;
            let last = analysis.budgets.last().unwrap().accuracy;
            prop_assert!((last - right / lengths.len() as f64).abs() < 1e-12);
            let tokens = analysis.groups[0].tokens;
            prop_assert!(tokens.median <= tokens.p95);
        }
    }
}
