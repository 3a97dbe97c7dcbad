//! What questions are worth without their pictures: the best guess that knows only the text.
//!
//! This module does not know where questions are from. An accuracy can only be read beside this one: what is not above it needs
//! no eyes. The guess is the answer that was most frequent for the same text in another split, which no model that
//! sees only the text can beat by more than chance where texts repeat often enough, as they do in the families and in
//! EasyVQA.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use crate::families::{Family, MAX_HOPS, NUM_CELLS, Split, cell_name};
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

/// What the best guess is worth for each number of steps from 1 on, as [`measure`] counts it: a test repeats it.
const FAMILIES: [(Family, [f64; MAX_HOPS]); 6] = [
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
    (Family::Maze, [1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
];

/// Returns the accuracy of the best guess from the text alone on questions of `family` that take `hops` steps, each number as
/// often.
///
/// # Panics
/// If `hops` is empty or leaves `1..=MAX_HOPS`.
pub fn of_family(family: Family, hops: RangeInclusive<usize>) -> f64 {
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
    let questions = |split: Split, count: u64| {
        let question = |index| {
            let address = Seed::root(SEED).fold_in(family.name()).fold_in(split.name()).at(index);
            let scene = family.scene_of(address.fold_in("scene"), split, hops);
            let question = scene.ask(hops, &mut address.fold_in("question").rng());
            (without_cells(&question.text), question.answer)
        };
        (0..count).map(question).collect::<Vec<(String, String)>>()
    };
    let known = questions(Split::Train, KNOWN);
    let asked = questions(Split::Test, ASKED);
    fn pair((question, answer): &(String, String)) -> (&str, &str) {
        (question, answer)
    }
    let exact = accuracy(known.iter().map(pair), asked.iter().map(pair));
    (1000.0 * exact).round() / 1000.0
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
        for family in Family::ALL {
            for hops in [1, 5, 15] {
                let (told, found) = (of_family(family, hops..=hops), measure(family, hops));
                assert!((told - found).abs() < 1e-9, "{family}, {hops} steps: {found}");
            }
        }
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
        ] {
            let found = of_family(family, 5..=15);
            assert!(found < most, "{family} {found:.3}");
            assert!(found > 0.12, "{family} {found:.3}");
        }
    }
}
