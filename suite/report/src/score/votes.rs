//! What several answers to one question come to: the chance that one of k is right, and the vote of all. Pure.
//!
//! This module does not know parts of questions, rows or intervals.

use super::SeedOutcomes;

/// [`pass_at`] of the answers to question `q`.
pub(super) fn of_question(seed: &SeedOutcomes, q: usize, k: usize) -> f64 {
    let letters = &seed.outcomes[q];
    pass_at(letters.len(), letters.matches('c').count(), k)
}

/// The chance that the most frequent answer to question `q` is right where one of several is drawn.
pub(super) fn majority(seed: &SeedOutcomes, q: usize) -> f64 {
    vote(&votes(seed, q))
}

/// Estimates without bias the chance that one of `k` answers is right, from `num_correct` right ones of `num`: one less the
/// share of sets of `k` that hold none (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1).
///
/// # Panics
/// If `k` is more than `num`, or `num_correct` is.
fn pass_at(num: usize, num_correct: usize, k: usize) -> f64 {
    assert!(k <= num && num_correct <= num, "{k} and {num_correct} of {num} answers");
    let num_wrong = num - num_correct;
    let none: f64 = (0..k).map(|i| num_wrong.saturating_sub(i) as f64 / (num - i) as f64).product();
    1.0 - none
}

/// What an answer votes for: nothing, what is right, or a wrong answer by its place.
pub(super) type Vote = Option<u32>;

/// Stands for all answers that are right, however they are spelled.
const RIGHT: u32 = 0;

/// The votes of all answers to question `q`. One that is cut or says nothing does not vote.
pub(super) fn votes(seed: &SeedOutcomes, q: usize) -> Vec<Vote> {
    let of = |(letter, place): (char, &u32)| match letter {
        'c' => Some(RIGHT),
        'w' if *place > 0 => Some(*place),
        _ => None,
    };
    seed.outcomes[q].chars().zip(&seed.answers[q]).map(of).collect()
}

/// The chance that the most frequent of `votes` is right where one of several is drawn; 0 without any.
pub(super) fn vote(votes: &[Vote]) -> f64 {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One question with these outcomes and answers, each of so many tokens.
    pub(in super::super) fn seed(outcomes: &str, answers: &[u32], tokens: u32) -> SeedOutcomes {
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
