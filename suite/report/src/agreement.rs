//! Several graders on the same answers: the score under each, their agreement, and the answers they disagree on. Pure.
//!
//! This module does not know any grader's rules.
//! An answer counts as right or not: whether it is unparsed or wrong differs between graders by design.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use synergy_grade::answer::Outcome;

/// The share of answers in which a grader must find something to judge to count among the compared ones: a grader that
/// finds nothing in most of them was made for texts of another form, and would disagree with all others everywhere.
const PARSED_MIN: f64 = 0.5;

/// Every grader's outcome of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Verdicts {
    /// Who answered: a model, or a row of a run.
    pub row: String,
    /// Seed of the answers.
    pub seed: u64,
    /// Address of the question.
    pub sample_id: String,
    /// Index of the answer among those to the question, from 0.
    pub sample: u32,
    /// One outcome per grader, in the order of [`Agreement::graders`].
    #[schemars(with = "Vec<String>", extend("items" = json!({ "enum": Outcome::ALL })))]
    pub outcomes: Vec<Outcome>,
}

/// A comparison of graders.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Agreement {
    /// Names of the graders; the first judged the run.
    #[schemars(length(min = 1))]
    pub graders: Vec<String>,
    /// Answers that every grader judged.
    pub num_answers: usize,
    /// Share of right answers under each grader, 0 to 1.
    #[schemars(inner(range(min = 0, max = 1)))]
    pub accuracy: Vec<f64>,
    /// Share of answers in which each grader found nothing to judge, 0 to 1.
    #[schemars(inner(range(min = 0, max = 1)))]
    pub unparsed: Vec<f64>,
    /// Cohen's kappa of every pair, `[grader][grader]`, at most 1; null where both call every answer the same, so that
    /// chance alone explains all agreement.
    pub kappa: Vec<Vec<Option<f64>>>,
    /// True if a grader finds something to judge in at least half of the answers.
    pub compared: Vec<bool>,
    /// Answers that are right for one of the compared graders and not for another.
    pub parted: Vec<Verdicts>,
}

impl Agreement {
    /// Compares `graders` on `answers`.
    ///
    /// # Panics
    /// If an answer has another number of outcomes than there are graders.
    pub fn of(graders: &[&str], answers: Vec<Verdicts>) -> Agreement {
        let count = answers.len().max(1) as f64;
        assert!(answers.iter().all(|a| a.outcomes.len() == graders.len()), "an outcome a grader");
        let share = |grader: usize, outcome: Outcome| {
            answers.iter().filter(|a| a.outcomes[grader] == outcome).count() as f64 / count
        };
        let all = || 0..graders.len();
        let accuracy: Vec<f64> = all().map(|grader| share(grader, Outcome::Correct)).collect();
        let unparsed: Vec<f64> = all().map(|grader| share(grader, Outcome::Unparsed)).collect();
        let is_right =
            |answer: &Verdicts, grader: usize| answer.outcomes[grader] == Outcome::Correct;
        let pair = |a: usize, b: usize| {
            let same = answers.iter().filter(|answer| is_right(answer, a) == is_right(answer, b));
            kappa(same.count() as f64 / count, accuracy[a], accuracy[b])
        };
        let kappa = all().map(|a| all().map(|b| pair(a, b)).collect()).collect();
        let num_answers = answers.len();
        let compared: Vec<bool> = unparsed.iter().map(|share| 1.0 - share >= PARSED_MIN).collect();
        let differs = |answer: &Verdicts| {
            let mut heard = all().filter(|grader| compared[*grader]).map(|g| is_right(answer, g));
            let first = heard.next();
            heard.any(|right| Some(right) != first)
        };
        Agreement {
            graders: graders.iter().map(|name| (*name).to_owned()).collect(),
            num_answers,
            accuracy,
            unparsed,
            kappa,
            parted: answers.into_iter().filter(differs).collect(),
            compared,
        }
    }
}

/// Cohen's kappa (Educational and Psychological Measurement 1960): agreement beyond that of two graders who call the
/// shares `a` and `b` right by chance.
fn kappa(observed: f64, a: f64, b: f64) -> Option<f64> {
    let by_chance = a * b + (1.0 - a) * (1.0 - b);
    (by_chance < 1.0).then(|| (observed - by_chance) / (1.0 - by_chance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Correct, Unparsed, Wrong};

    fn answers(outcomes: &[[Outcome; 2]]) -> Vec<Verdicts> {
        let answer = |(i, outcomes): (usize, &[Outcome; 2])| Verdicts {
            row: "base".to_owned(),
            seed: 1,
            sample_id: format!("q{i}"),
            sample: 0,
            outcomes: outcomes.to_vec(),
        };
        outcomes.iter().enumerate().map(answer).collect()
    }

    #[test]
    fn agreement_is_told_beyond_chance_and_where_it_ends() {
        // 20 both right, 5 only the first, 10 only the second, 15 neither: Cohen's own example, kappa .4.
        let mut outcomes = vec![[Correct, Correct]; 20];
        outcomes.extend(vec![[Correct, Wrong]; 5]);
        outcomes.extend(vec![[Unparsed, Correct]; 10]);
        outcomes.extend(vec![[Wrong, Unparsed]; 15]);
        let agreement = Agreement::of(&["a", "b"], answers(&outcomes));
        assert!((agreement.kappa[0][1].unwrap() - 0.4).abs() < 1e-12);
        assert!((agreement.kappa[1][1].unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(agreement.parted.len(), 15);
        assert!((agreement.accuracy[0] - 0.5).abs() < 1e-12);
        assert!((agreement.unparsed[0] - 0.2).abs() < 1e-12);
    }

    #[test]
    fn a_grader_that_finds_nothing_is_told_and_parts_from_nobody() {
        let agreement = Agreement::of(
            &["a", "b"],
            answers(&[[Correct, Unparsed], [Wrong, Unparsed], [Correct, Correct]]),
        );
        assert_eq!(agreement.compared, [true, false]);
        assert!(agreement.parted.is_empty());
        assert!((agreement.unparsed[1] - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn wrong_and_unparsed_are_one_thing_and_one_voice_has_no_kappa() {
        let agreement = Agreement::of(&["a", "b"], answers(&[[Wrong, Unparsed], [Wrong, Wrong]]));
        assert!(agreement.parted.is_empty());
        assert_eq!(agreement.kappa[0][1], None);
        assert_eq!(Agreement::of(&["a"], Vec::new()).num_answers, 0);
    }
}
