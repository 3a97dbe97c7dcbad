//! From the steps of a solution to its traces: terse, verbose and, for a control, shallow.
//!
//! This module does not know the families: a step is a cell, what is seen there and the state that follows.
//! Terse and verbose tell the same steps in the same order. The verbose one is the study's long style:
//! every percept is checked again, in words from its list of reasoning words, and now and then a
//! slip is noticed and corrected. A slip never outlives its step, so every verbose trace is right.
//! The shallow one is as long, in the same words, and true, but looks at the first cell alone: length
//! without reasoning.
//! Terse and verbose say `last` right after the word that the question ends on. Where only the verbose step's
//! end reported it, many words later, the smallest models stopped anywhere (golden/LOG.md, attempt 9).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::NAMES;

/// One step: look at a cell, then update the state.
pub(super) struct Step {
    pub(super) cell: usize,
    pub(super) seen: Seen,
    /// What a slip of the eye would have seen at this step.
    pub(super) slip: Seen,
}

/// What is seen in a cell and the state that follows from it.
pub(super) struct Seen {
    pub(super) percept: String,
    pub(super) state: String,
}

/// A question with the steps that solve it.
pub(super) struct Walk {
    pub(super) text: String,
    pub(super) answer: String,
    pub(super) steps: Vec<Step>,
    /// For a walk whose state is the next cell: a last cell that is only looked at, and what is
    /// seen there.
    pub(super) end: Option<(usize, String)>,
}

impl Walk {
    /// `b2 3 3 c2 last 1 4`: cell, percept and state of every step.
    ///
    /// Where the state is the next cell, whose name follows anyway, the number of steps done
    /// stands in its place, so that the walk can be ended by reading instead of by counting.
    pub(super) fn terse(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (i, Step { cell, seen, .. }) in self.steps.iter().enumerate() {
            let last = self.last(i);
            if self.end.is_some() {
                words.push(format!("{} {} {}{last}", NAMES[*cell], seen.percept, i + 1));
            } else {
                words.push(format!("{}{last} {} {}", NAMES[*cell], seen.percept, seen.state));
            }
        }
        if let Some((cell, percept)) = &self.end {
            words.push(format!("{} {percept}", NAMES[*cell]));
        }
        words.join(" ")
    }

    /// Returns the same as sentences; the wording of the checks and the slips are drawn from `rng`.
    pub(super) fn verbose(&self, rng: &mut ChaCha8Rng) -> String {
        let mut sentences = vec!["let us go step by step .".to_owned()];
        for (i, Step { cell, seen, slip }) in self.steps.iter().enumerate() {
            let (cell, last) = (NAMES[*cell], self.last(i));
            let step = if self.end.is_some() {
                format!("step {}{last} {cell}", i + 1)
            } else {
                format!("step {} {cell}{last}", i + 1)
            };
            let Seen { percept, state } = seen;
            if rng.random_ratio(1, 12) {
                let Seen { percept: mistaken, state: wrong } = slip;
                sentences.push(format!(
                    "{step} is {mistaken} so {wrong} . \
                     wait check {cell} {percept} no mistake . {cell} is {percept} so {state} ."
                ));
            } else {
                sentences.push(format!("{step} is {percept} so {state} ."));
                sentences.push(check(cell, percept, rng.random_range(0..8)));
            }
        }
        if let Some((cell, percept)) = &self.end {
            let cell = NAMES[*cell];
            sentences.push(format!("now {cell} is {percept} ."));
            sentences.push(check(cell, percept, rng.random_range(0..8)));
        }
        sentences.push(format!("so the answer is {} .", self.answer));
        sentences.join(" ")
    }

    /// Writes about as many sentences as [`Walk::verbose`] has, all of them about the first cell.
    pub(super) fn shallow(&self) -> String {
        let mut sentences = vec!["let us go step by step .".to_owned()];
        if let Some(Step { cell, seen: Seen { percept, .. }, .. }) = self.steps.first() {
            let cell = NAMES[*cell];
            sentences.push(format!("{cell} is {percept} ."));
            let checks = 2 * (self.steps.len() + usize::from(self.end.is_some()));
            sentences.extend((1..=checks).map(|i| check(cell, percept, (i % 4) as i32)));
        }
        sentences.push(format!("so the answer is {} .", self.answer));
        sentences.join(" ")
    }

    /// Returns what follows the word that the question ends on, a cell's name or a number of steps.
    fn last(&self, step: usize) -> &'static str {
        if step + 1 == self.steps.len() { " last" } else { "" }
    }
}

/// Returns one of three ways to look again.
fn check(cell: &str, percept: &str, way: i32) -> String {
    match way {
        0 => format!("let me verify {cell} {percept} yes ."),
        1 => format!("however check {cell} {percept} again yes ."),
        _ => format!("wait check {cell} {percept} yes ."),
    }
}
