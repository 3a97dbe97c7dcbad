//! Results -> what several answers to a question are worth together: pass@k, majority vote, and the base's vote at the
//! tokens of another row. Pure.
//!
//! This module does not know how answers came about nor how figures are shown. Figures here are means over questions, then
//! over seeds; they follow from the record alone.

use serde::Serialize;

use super::cuts::{Part, parts};
use super::{BASE, ResultRow, Results, RowKind, SeedOutcomes};
use crate::rows::CLONE;

/// Numbers of answers that pass@k is computed for, as far as a row has so many.
const KS: [usize; 5] = [1, 2, 4, 8, 16];

/// A row's answers taken together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowPasses {
    /// Name of the row.
    pub row: String,
    /// Answers to each question, at least: the largest k there is.
    pub num_samples: usize,
    /// All questions with levels first, then parts of them.
    pub parts: Vec<PartPasses>,
}

/// A row's answers to some of the questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartPasses {
    /// The questions that are meant.
    pub part: Part,
    /// How many; at least 1.
    pub num_questions: usize,
    /// For k = 1, 2, 4, 8 and 16, as far as there are so many answers.
    pub pass_at: Vec<PassAt>,
    /// Share of questions whose most frequent answer is right; `None` in results of before answers were kept.
    pub majority: Option<f64>,
    /// The base's vote with as many tokens as this row spends; `None` for the base itself.
    pub base_at_equal_tokens: Option<EqualTokens>,
}

/// The chance that one of k answers is right, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PassAt {
    /// The number of answers.
    pub k: usize,
    /// Mean over questions.
    pub share: f64,
}

/// The base's vote where it may spend as many tokens on a question as another row does on one answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EqualTokens {
    /// Share of questions whose most frequent answer is right.
    pub accuracy: f64,
    /// Answers of the base that vote, mean over questions; at least 1.
    pub num_answers: f64,
    /// Share of questions for which more answers would fit than the base has.
    pub short: f64,
}

/// The figures of the base, of every regime and of another base.
pub fn passes(results: &Results) -> Vec<RowPasses> {
    let parts = parts(results);
    let base = results.row(BASE);
    let is_told = |row: &&ResultRow| row.kind != RowKind::Control || row.name == CLONE;
    let of_row = |row: &ResultRow| {
        let asked = |questions: &[usize]| {
            row.seeds.iter().all(|s| questions.iter().all(|&q| !s.outcomes[q].is_empty()))
        };
        let of_part = |(part, questions): &(Part, Vec<usize>)| {
            asked(questions).then(|| part_passes(results, row, base, *part, questions))
        };
        let found: Vec<PartPasses> = parts.iter().filter_map(of_part).collect();
        let num_samples = found.first()?.pass_at.last()?.k;
        Some(RowPasses { row: row.name.clone(), num_samples, parts: found })
    };
    results.rows.iter().filter(is_told).filter_map(of_row).collect()
}

fn part_passes(
    results: &Results,
    row: &ResultRow,
    base: Option<&ResultRow>,
    part: Part,
    questions: &[usize],
) -> PartPasses {
    let counts = |seed: &SeedOutcomes, q: usize| {
        let letters = &seed.outcomes[q];
        (letters.len(), letters.matches('c').count())
    };
    let all = || row.seeds.iter().flat_map(|seed| questions.iter().map(move |&q| (seed, q)));
    let most = all().map(|(seed, q)| seed.outcomes[q].len()).min().unwrap_or(0);
    let pass_at = KS.into_iter().filter(|k| *k <= most).map(|k| {
        let of = |(seed, q)| {
            let (num, num_correct) = counts(seed, q);
            pass_at(num, num_correct, k)
        };
        PassAt { k, share: mean(all().map(of)) }
    });
    let has_answers = |row: &ResultRow| {
        row.seeds.iter().all(|seed| seed.answers.len() == results.questions.len())
    };
    let majority = has_answers(row).then(|| mean(all().map(|(seed, q)| vote(&votes(seed, q)))));
    let base = base.filter(|base| base.name != row.name && has_answers(base));
    let base = base.and_then(|base| base.seeds.first());
    let base_at_equal_tokens = base.and_then(|base| {
        let of = |(seed, q)| at_equal_tokens(base, seed, q);
        let found: Vec<EqualTokens> = all().map(of).collect::<Option<_>>()?;
        Some(EqualTokens {
            accuracy: mean(found.iter().map(|e| e.accuracy)),
            num_answers: mean(found.iter().map(|e| e.num_answers)),
            short: mean(found.iter().map(|e| e.short)),
        })
    });
    PartPasses {
        part,
        num_questions: questions.len(),
        pass_at: pass_at.collect(),
        majority,
        base_at_equal_tokens,
    }
}

/// Estimates without bias the chance that one of `k` answers is right, from `num_correct` right ones of `num`: one less the
/// share of sets of `k` that hold none (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1).
///
/// # Panics
/// If `k` is more than `num`, or `num_correct` is.
pub fn pass_at(num: usize, num_correct: usize, k: usize) -> f64 {
    assert!(k <= num && num_correct <= num, "{k} and {num_correct} of {num} answers");
    let num_wrong = num - num_correct;
    let none: f64 = (0..k).map(|i| num_wrong.saturating_sub(i) as f64 / (num - i) as f64).product();
    1.0 - none
}

/// What an answer votes for: nothing, what is right, or a wrong answer by its place.
type Vote = Option<u32>;

/// Stands for all answers that are right, however they are spelled.
const RIGHT: u32 = 0;

/// The votes of all answers to question `q`. One that is cut or says nothing does not vote.
fn votes(seed: &SeedOutcomes, q: usize) -> Vec<Vote> {
    let of = |(letter, place): (char, &u32)| match letter {
        'c' => Some(RIGHT),
        'w' if *place > 0 => Some(*place),
        _ => None,
    };
    seed.outcomes[q].chars().zip(&seed.answers[q]).map(of).collect()
}

/// The chance that the most frequent of `votes` is right where one of several is drawn; 0 without any.
fn vote(votes: &[Vote]) -> f64 {
    let count = |said: u32| votes.iter().filter(|vote| **vote == Some(said)).count();
    let mut all: Vec<u32> = votes.iter().copied().flatten().collect();
    all.sort_unstable();
    all.dedup();
    let most = all.iter().map(|said| count(*said)).max().unwrap_or(0);
    if most == 0 || count(RIGHT) < most {
        return 0.0;
    }
    1.0 / all.iter().filter(|said| count(**said) == most).count() as f64
}

/// The vote of as many of the base's answers to `q` as take no more tokens than one of `seed`'s: at least one, at most all.
/// It is the mean over every run of so many answers in a row, the last followed by the first: each answer votes equally
/// often. `None` where the base was not asked.
fn at_equal_tokens(base: &SeedOutcomes, seed: &SeedOutcomes, q: usize) -> Option<EqualTokens> {
    let tokens = |seed: &SeedOutcomes| mean(seed.num_tokens[q].iter().map(|n| f64::from(*n)));
    let votes = votes(base, q);
    if votes.is_empty() {
        return None;
    }
    let fit = (tokens(seed) / tokens(base).max(1.0)).floor().max(1.0) as usize;
    let num = fit.min(votes.len());
    let around = || votes.iter().copied().cycle();
    let of_run = |start: usize| {
        let run: Vec<Vote> = around().skip(start).take(num).collect();
        vote(&run)
    };
    Some(EqualTokens {
        accuracy: mean((0..votes.len()).map(of_run)),
        num_answers: num as f64,
        short: f64::from(u8::from(fit > votes.len())),
    })
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::study;
    use proptest::prelude::*;

    fn seed(outcomes: &str, answers: &[u32], tokens: u32) -> SeedOutcomes {
        SeedOutcomes {
            seed: 1,
            outcomes: vec![outcomes.to_owned()],
            num_formatted: vec![0],
            num_tokens: vec![vec![tokens; outcomes.len()]],
            words: vec![[0; 5]],
            num_long: Vec::new(),
            answers: vec![answers.to_vec()],
        }
    }

    #[test]
    fn a_vote_is_for_the_most_frequent_answer_and_ties_are_drawn() {
        let of = |outcomes: &str, answers: &[u32]| vote(&votes(&seed(outcomes, answers, 1), 0));
        let is = |found: f64, want: f64| assert!((found - want).abs() < 1e-12, "{found} {want}");
        is(of("cccw", &[2, 2, 2, 1]), 1.0);
        // Right answers are one, however they are spelled.
        is(of("ccww", &[2, 3, 1, 4]), 1.0);
        is(of("ccww", &[2, 3, 1, 1]), 0.5);
        is(of("cwwx", &[2, 1, 3, 0]), 1.0 / 3.0);
        is(of("cwww", &[2, 1, 1, 3]), 0.0);
        // What is cut or says nothing has no vote.
        is(of("cttu", &[2, 0, 0, 0]), 1.0);
        is(of("ttun", &[0, 0, 0, 0]), 0.0);
    }

    #[test]
    fn the_base_votes_with_the_tokens_of_the_other() {
        let base = seed("cwcw", &[2, 1, 2, 3], 10);
        let of = |tokens| at_equal_tokens(&base, &seed("w", &[1], tokens), 0).unwrap();
        // One answer at least, even of a longer base: its plain accuracy.
        for tokens in [3, 19] {
            let found = of(tokens);
            assert!((found.num_answers - 1.0).abs() < 1e-12);
            assert!((found.accuracy - 0.5).abs() < 1e-12, "{found:?}");
        }
        // Runs of three: cwc, wcw (three ways), cwc, wcw.
        let found = of(35);
        assert!((found.num_answers - 3.0).abs() < 1e-12 && found.short.abs() < 1e-12);
        assert!((found.accuracy - (1.0 + 1.0 + 1.0 / 3.0 + 1.0 / 3.0) / 4.0).abs() < 1e-12);
        // Two of four are right and the wrong ones differ.
        let found = of(1000);
        assert!((found.accuracy - 1.0).abs() < 1e-12 && (found.short - 1.0).abs() < 1e-12);
    }

    #[test]
    fn every_row_and_part_of_a_study_has_its_figures() {
        let results = study(40, &[1, 2]);
        let told = passes(&results);
        let names: Vec<&str> = told.iter().map(|row| row.row.as_str()).collect();
        assert_eq!(names, ["base", "sft", "rl", "two_stage"]);
        for row in &told {
            assert_eq!((row.num_samples, row.parts.len()), (4, 11));
            let all = &row.parts[0];
            assert_eq!((all.part, all.num_questions), (Part::All, 200));
            let ks: Vec<usize> = all.pass_at.iter().map(|p| p.k).collect();
            assert_eq!(ks, [1, 2, 4]);
            assert!(all.pass_at.is_sorted_by(|a, b| a.share <= b.share));
            assert_eq!(all.base_at_equal_tokens.is_none(), row.row == "base");
        }
        // pass@1 is accuracy; the vote of a base that is often right is better than one answer of it.
        let accuracy = crate::score::Metrics::of(&results).average("base").unwrap().accuracy.mean;
        let base = &told[0].parts;
        assert!((base[0].pass_at[0].share - accuracy).abs() < 1e-12);
        let easy = base.iter().find(|p| p.part == Part::Fifth(0)).unwrap();
        assert!(easy.num_questions > 20);
        let level = base.iter().find(|p| p.part.to_string() == "L1").unwrap();
        assert!(level.majority.unwrap() > level.pass_at[0].share);
        // SFT's answers are three times as long: three answers of the base fit.
        let equal = told[1].parts[0].base_at_equal_tokens.unwrap();
        assert!(equal.num_answers > 2.5 && equal.num_answers < 4.0, "{equal:?}");

        let mut older = results;
        older.rows.iter_mut().flat_map(|r| &mut r.seeds).for_each(|s| s.answers = Vec::new());
        let told = passes(&older);
        assert!(told.iter().all(|row| row.parts[0].majority.is_none()));
        assert!(told.iter().all(|row| row.parts[0].base_at_equal_tokens.is_none()));
        assert!(told[0].parts[0].pass_at.len() == 3);
    }

    proptest! {
        /// All sets of k answers, counted one by one.
        #[test]
        fn pass_at_k_is_the_share_of_sets_with_a_right_answer(
            right in proptest::collection::vec(any::<bool>(), 1..10), k in 1usize..10
        ) {
            let num = right.len();
            let k = k.min(num);
            let sets = (0..1_u32 << num).filter(|set| set.count_ones() as usize == k);
            let (mut with, mut all) = (0, 0);
            for set in sets {
                all += 1;
                with += usize::from((0..num).any(|i| set >> i & 1 == 1 && right[i]));
            }
            let num_correct = right.iter().filter(|right| **right).count();
            let want = with as f64 / f64::from(all);
            prop_assert!((pass_at(num, num_correct, k) - want).abs() < 1e-12);
        }

        #[test]
        fn a_vote_does_not_depend_on_the_order_of_answers(
            said in proptest::collection::vec(0u32..4, 1..12), by in 0usize..12
        ) {
            let votes: Vec<Vote> = said.iter().map(|s| (*s != 3).then_some(*s)).collect();
            let mut turned = votes.clone();
            turned.rotate_left(by % votes.len());
            prop_assert!((vote(&votes) - vote(&turned)).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&vote(&votes)));
        }
    }
}
