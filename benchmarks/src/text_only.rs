//! What questions are worth without their pictures: the best guess that knows only the text.
//!
//! This module does not know where questions are from. An accuracy can only be read beside this one: what is not above it needs
//! no eyes. The guess is the answer that was most frequent for the same text in another split, which no model that
//! sees only the text can beat by more than chance where texts repeat often enough, as they do in the families and in
//! EasyVQA.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use crate::families::{Family, MAX_HOPS, NUM_CELLS, Question, Split, cell_name};
use crate::seed::Seed;

/// Questions of the training split from which guesses are learned.
const KNOWN: u64 = 4_000;
/// Questions of the test split on which they are counted.
const ASKED: u64 = 2_000;
/// Seed of both.
const SEED: u64 = 1;

/// Returns the share of `asked` that the most frequent answer of the same text in `known` gets right (of equals the
/// alphabetically first); a text that `known` lacks counts as wrong. Pairs are (question, answer). NaN if `asked` is
/// empty.
pub fn accuracy<'a>(
    known: impl IntoIterator<Item = (&'a str, &'a str)>,
    asked: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> f64 {
    let mut counts: HashMap<&str, BTreeMap<&str, u32>> = HashMap::new();
    for (question, answer) in known {
        *counts.entry(question).or_default().entry(answer).or_default() += 1;
    }
    // `max_by_key` keeps the last of equals, so the order is turned round.
    let guess = |question: &str| {
        let answers = counts.get(question)?.iter().rev();
        answers.max_by_key(|(_, count)| **count).map(|(answer, _)| *answer)
    };
    let (mut num_asked, mut num_right) = (0_u32, 0_u32);
    for (question, answer) in asked {
        num_asked += 1;
        num_right += u32::from(guess(question) == Some(answer));
    }
    f64::from(num_right) / f64::from(num_asked)
}

/// What the best guess is worth in the chains for each number of steps from 1 on, as [`measure`] counts it: a test
/// repeats it.
const FAMILIES: [(Family, [f64; MAX_HOPS]); 5] = [
    (
        Family::Path,
        [
            0.201, 0.195, 0.205, 0.206, 0.195, 0.192, 0.207, 0.205, 0.206, 0.189, 0.213, 0.201,
            0.204, 0.201, 0.201,
        ],
    ),
    (
        Family::Sum,
        [
            0.206, 0.197, 0.203, 0.208, 0.211, 0.205, 0.219, 0.199, 0.199, 0.205, 0.188, 0.192,
            0.201, 0.189, 0.205,
        ],
    ),
    (
        Family::Count,
        [
            0.6, 0.415, 0.326, 0.283, 0.238, 0.233, 0.201, 0.198, 0.178, 0.16, 0.146, 0.142, 0.142,
            0.135, 0.133,
        ],
    ),
    (
        Family::Chart,
        [
            0.575, 0.476, 0.342, 0.288, 0.261, 0.255, 0.185, 0.204, 0.202, 0.186, 0.183, 0.177,
            0.155, 0.165, 0.152,
        ],
    ),
    (
        Family::Swap,
        [
            0.184, 0.29, 0.281, 0.257, 0.238, 0.232, 0.218, 0.215, 0.204, 0.22, 0.223, 0.201,
            0.209, 0.204, 0.204,
        ],
    ),
];

/// Answers to 2000 mazes are counted for each number of steps from 1 on: how many are 1, 2, 3 …, as [`maze_answers`]
/// counts them; a test repeats it. The text does not say how long the search is, so the best guess is one for all of them.
const MAZES: [[u16; MAX_HOPS]; MAX_HOPS] = [
    [2000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [198, 1802, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [93, 353, 1554, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [55, 283, 471, 1191, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [42, 147, 341, 522, 948, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [53, 113, 255, 412, 474, 693, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [46, 114, 236, 287, 413, 431, 473, 0, 0, 0, 0, 0, 0, 0, 0],
    [45, 123, 189, 288, 309, 382, 367, 297, 0, 0, 0, 0, 0, 0, 0],
    [46, 103, 187, 240, 372, 300, 329, 250, 173, 0, 0, 0, 0, 0, 0],
    [54, 153, 139, 247, 292, 321, 239, 261, 204, 90, 0, 0, 0, 0, 0],
    [61, 125, 231, 189, 283, 278, 276, 170, 187, 132, 68, 0, 0, 0, 0],
    [78, 177, 216, 278, 215, 257, 230, 196, 131, 120, 80, 22, 0, 0, 0],
    [116, 176, 260, 248, 278, 182, 231, 170, 128, 89, 80, 36, 6, 0, 0],
    [201, 300, 235, 309, 235, 206, 165, 118, 89, 70, 39, 22, 9, 2, 0],
    [464, 318, 439, 202, 221, 122, 91, 53, 50, 16, 13, 7, 4, 0, 0],
];

/// Returns the accuracy of the best guess from the text alone on questions of `family` that take `hops` steps, each number as
/// often.
///
/// # Panics
/// If `hops` is empty or leaves `1..=MAX_HOPS`.
pub fn of_family(family: Family, hops: RangeInclusive<usize>) -> f64 {
    if family == Family::Maze {
        let asked = &MAZES[hops.start() - 1..*hops.end()];
        let share =
            |answer: usize| asked.iter().map(|counts| f64::from(counts[answer])).sum::<f64>();
        let best = (0..MAX_HOPS).map(share).fold(0.0, f64::max);
        return best / (ASKED as f64 * asked.len() as f64);
    }
    let table = FAMILIES.iter().find(|(known, _)| *known == family);
    let (_, by_hops) = table.expect("every family is in the table");
    let asked = &by_hops[hops.start() - 1..*hops.end()];
    asked.iter().sum::<f64>() / asked.len() as f64
}

/// [`accuracy`] on test questions of `family` that take `hops` steps, with guesses learned from training questions,
/// to the third decimal. No picture is drawn.
///
/// # Panics
/// If `hops` is not in `1..=MAX_HOPS`.
pub fn measure(family: Family, hops: usize) -> f64 {
    let of = |split: Split, count: u64| -> Vec<(String, String)> {
        let pair = |question: Question| (without_cells(&question.text), question.answer);
        questions(family, hops, split, count).map(pair).collect()
    };
    let (known, asked) = (of(Split::Train, KNOWN), of(Split::Test, ASKED));
    fn pair((question, answer): &(String, String)) -> (&str, &str) {
        (question, answer)
    }
    let exact = accuracy(known.iter().map(pair), asked.iter().map(pair));
    (1000.0 * exact).round() / 1000.0
}

/// Counts the answers 1, 2, 3 … to test questions about mazes that take `hops` steps.
///
/// # Panics
/// If `hops` is not in `1..=MAX_HOPS`.
pub fn maze_answers(hops: usize) -> [u16; MAX_HOPS] {
    let mut counts = [0; MAX_HOPS];
    for question in questions(Family::Maze, hops, Split::Test, ASKED) {
        let answer: usize = question.answer.parse().expect("a number of steps");
        counts[answer - 1] += 1;
    }
    counts
}

fn questions(
    family: Family,
    hops: usize,
    split: Split,
    count: u64,
) -> impl Iterator<Item = Question> {
    (0..count).map(move |index| {
        let address = Seed::root(SEED).fold_in(family.name()).fold_in(split.name()).at(index);
        let scene = family.scene_of(address.fold_in("scene"), split, hops);
        scene.ask(hops, &mut address.fold_in("question").rng())
    })
}

/// `text` with no cell's name in it: all cells are drawn alike, and where a walk starts tells nothing of its end, so
/// that leaving it out gives the guess more questions to learn from.
fn without_cells(text: &str) -> String {
    let word = |word: &'_ str| {
        let name = word.trim_end_matches(['.', '?', ',']);
        let is_cell = (0..NUM_CELLS).any(|at| cell_name(at) == name);
        if is_cell { "_".to_owned() } else { word.to_owned() }
    };
    text.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guess_knows_the_question_alone() {
        let known = [("red?", "no"), ("red?", "no"), ("red?", "yes"), ("shape?", "circle")];
        let asked = [("red?", "no"), ("red?", "yes"), ("shape?", "circle"), ("new?", "no")];
        assert!((accuracy(known, asked) - 0.5).abs() < 1e-12);
        // Of two equally frequent answers the alphabetically first is the guess.
        let tied = [("red?", "yes"), ("red?", "no")];
        assert!((accuracy(tied, [("red?", "no")]) - 1.0).abs() < 1e-12);
        assert!(accuracy(known, []).is_nan());
    }

    #[test]
    fn the_table_is_what_is_measured() {
        for hops in [1, 5, 15] {
            assert_eq!(MAZES[hops - 1], maze_answers(hops), "{hops} steps");
        }
        for (family, _) in FAMILIES {
            for hops in [1, 5, 15] {
                let (told, found) = (of_family(family, hops..=hops), measure(family, hops));
                assert!((told - found).abs() < 1e-9, "{family}, {hops} steps: {found}");
            }
        }
    }

    #[test]
    fn a_guess_at_a_maze_is_one_for_all_lengths_of_its_search() {
        // Known to be a single step, the answer is known; among all lengths it is one of many.
        assert!((of_family(Family::Maze, 1..=1) - 1.0).abs() < 1e-12);
        assert!(of_family(Family::Maze, 1..=MAX_HOPS) < 0.2);
    }

    #[test]
    fn no_family_can_be_answered_without_its_picture() {
        // Five answers that are equally likely, counts that are not, and the ball that comes back to where it was.
        for (family, most) in [
            (Family::Path, 0.23),
            (Family::Sum, 0.23),
            (Family::Count, 0.23),
            (Family::Chart, 0.23),
            (Family::Swap, 0.27),
            (Family::Maze, 0.23),
        ] {
            let found = of_family(family, 5..=15);
            assert!(found < most, "{family} {found:.3}");
            assert!(found > 0.12, "{family} {found:.3}");
        }
    }
}
