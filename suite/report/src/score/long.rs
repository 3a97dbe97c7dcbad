//! What a long answer is: one that has a reasoning word of the study's list and more than twice the tokens of the base's
//! mean answer on the same level.
//!
//! This module does not know registers or regimes. One word alone would make an answer long that repeats its question's,
//! and length alone one that only tells every step.

use std::collections::BTreeMap;

use synergy_benchmarks::difficulty::Level;

use super::{BASE, Question, ResultRow, Results, Row, SeedOutcomes};

/// So many times the base's mean length is long.
const TIMES: f64 = 2.0;

/// Questions that are as hard as each other: a level, or a benchmark without levels.
type Place = (Option<Level>, String);

fn place(question: &Question) -> Place {
    match question.level {
        Some(level) => (Some(level), String::new()),
        None => (None, question.benchmark.clone()),
    }
}

/// The length beyond which an answer with a reasoning word is long, for each place that the base was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits(BTreeMap<Place, f64>);

impl Limits {
    fn of<'a>(lengths: impl Iterator<Item = (&'a Question, u32)>) -> Limits {
        let mut sums: BTreeMap<Place, (f64, f64)> = BTreeMap::new();
        for (question, num_tokens) in lengths {
            let (sum, count) = sums.entry(place(question)).or_default();
            *sum += f64::from(num_tokens);
            *count += 1.0;
        }
        Limits(sums.into_iter().map(|(place, (sum, count))| (place, TIMES * sum / count)).collect())
    }

    /// Tells whether an answer is long; where the base was not asked, any with a reasoning word is.
    pub(super) fn is_long(&self, question: &Question, num_tokens: u32, words: &[u32; 5]) -> bool {
        let limit = self.0.get(&place(question)).copied().unwrap_or(0.0);
        words.iter().any(|count| *count > 0) && f64::from(num_tokens) > limit
    }
}

/// The limits by the scores of the base.
pub(super) fn limits(questions: &[Question], rows: &[Row]) -> Limits {
    let by_id: BTreeMap<&str, &Question> =
        questions.iter().map(|question| (question.id.as_str(), question)).collect();
    let scores = rows.iter().filter(|row| row.name == BASE).flat_map(|row| &row.scores);
    Limits::of(
        scores.filter_map(|score| Some((*by_id.get(score.sample_id.as_str())?, score.num_tokens))),
    )
}

/// The number of long samples per question of every row, `[row][seed][question]`.
///
/// Results that were recorded before long answers were counted know the words of a question's samples together only: a
/// sample is long there by its length, if any sample of its question has a reasoning word.
pub(super) fn counts(results: &Results) -> Vec<Vec<Vec<u32>>> {
    let base = results.rows.iter().filter(|row| row.name == BASE).flat_map(|row| &row.seeds);
    let lengths = base.flat_map(|seed| {
        let of_question = results.questions.iter().zip(&seed.num_tokens);
        of_question.flat_map(|(question, tokens)| tokens.iter().map(move |n| (question, *n)))
    });
    let limits = Limits::of(lengths);
    let of_seed = |seed: &SeedOutcomes| -> Vec<u32> {
        if !seed.num_long.is_empty() {
            return seed.num_long.clone();
        }
        let questions = results.questions.iter().zip(&seed.num_tokens).zip(&seed.words);
        questions
            .map(|((question, tokens), words)| {
                tokens.iter().filter(|n| limits.is_long(question, **n, words)).count() as u32
            })
            .collect()
    };
    let of_row = |row: &ResultRow| row.seeds.iter().map(of_seed).collect();
    results.rows.iter().map(of_row).collect()
}

/// Share of long samples of every row, over all questions with levels and over each level; levels of too few questions are
/// left out.
pub fn long_shares(results: &Results) -> BTreeMap<&str, BTreeMap<Option<Level>, f64>> {
    const QUESTIONS_MIN: usize = 3;
    let shares = |(row, counts): (&ResultRow, Vec<Vec<u32>>)| {
        let mut sums: BTreeMap<Option<Level>, (f64, f64, usize)> = BTreeMap::new();
        for (index, question) in results.questions.iter().enumerate() {
            let Some(level) = question.level else { continue };
            for key in [None, Some(level)] {
                let (long, samples, questions) = sums.entry(key).or_default();
                *questions += 1;
                for (seed, counts) in row.seeds.iter().zip(&counts) {
                    *long += f64::from(counts[index]);
                    *samples += seed.outcomes[index].len() as f64;
                }
            }
        }
        sums.retain(|_, (_, samples, questions)| *samples > 0.0 && *questions >= QUESTIONS_MIN);
        sums.into_iter().map(|(level, (long, samples, _))| (level, long / samples)).collect()
    };
    let rows = results.rows.iter().zip(counts(results));
    rows.map(|(row, counts)| (row.name.as_str(), shares((row, counts)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Metrics;
    use crate::score::fixture::study;

    #[test]
    fn long_answers_are_counted_by_word_and_by_length() {
        let mut results = study(20, &[1, 2]);
        let share = |results: &Results, row: &str| Metrics::of(results).average(row).unwrap().long;
        // Four waits in some 60 tokens, where the base has 18.
        assert!((share(&results, "sft") - 1.0).abs() < 1e-12);
        assert!(share(&results, "rl") <= 0.0);
        let counted = counts(&results);
        for seed in results.rows.iter_mut().flat_map(|row| &mut row.seeds) {
            seed.num_long.clear();
        }
        assert_eq!(counts(&results), counted);
        // Words alone do not make an answer long, and neither does length.
        let place =
            |results: &Results| results.rows.iter().position(|row| row.name == "sft").unwrap();
        let sft = place(&results);
        let mut short = results.clone();
        short.rows[sft].seeds[0].num_tokens.iter_mut().flatten().for_each(|n| *n = 20);
        assert!((share(&short, "sft") - 0.5).abs() < 1e-12);
        results.rows[sft].seeds[1].words.iter_mut().for_each(|words| *words = [0; 5]);
        assert!((share(&results, "sft") - 0.5).abs() < 1e-12);
    }
}
