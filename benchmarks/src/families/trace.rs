//! From the steps of a solution to its two traces, terse and verbose.
//!
//! Does not know the families: a step is a cell, what is seen there and the state that follows.
//! Both traces tell the same steps in the same order. The verbose one is the study's long style:
//! every percept is checked again, in words from its list of reasoning words, and now and then a
//! slip is noticed and corrected. A slip never outlives its step, so every verbose trace is right.

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
    /// `b2 3 3 c2 1 4 …`: cell, percept and state of every step.
    ///
    /// Where the state is the next cell, whose name follows anyway, the number of steps done
    /// stands in its place, so that the walk can be ended by reading instead of by counting.
    pub(super) fn terse(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (i, Step { cell, seen, .. }) in self.steps.iter().enumerate() {
            let state = if self.end.is_some() { (i + 1).to_string() } else { seen.state.clone() };
            words.extend([NAMES[*cell].to_owned(), seen.percept.clone(), state]);
        }
        if let Some((cell, percept)) = &self.end {
            words.extend([NAMES[*cell].to_owned(), percept.clone()]);
        }
        words.join(" ")
    }

    /// The same as sentences; the wording of the checks and the slips are drawn from `rng`.
    pub(super) fn verbose(&self, rng: &mut ChaCha8Rng) -> String {
        let mut sentences = vec!["let us go step by step .".to_owned()];
        for (i, Step { cell, seen, slip }) in self.steps.iter().enumerate() {
            let (number, cell) = (i + 1, NAMES[*cell]);
            let Seen { percept, state } = seen;
            if rng.random_ratio(1, 12) {
                let Seen { percept: mistaken, state: wrong } = slip;
                sentences.push(format!(
                    "step {number} {cell} is {mistaken} so {wrong} . \
                     wait check {cell} {percept} no mistake . {cell} is {percept} so {state} ."
                ));
            } else {
                sentences.push(format!("step {number} {cell} is {percept} so {state} ."));
                sentences.push(check(cell, percept, rng));
            }
        }
        if let Some((cell, percept)) = &self.end {
            let cell = NAMES[*cell];
            sentences.push(format!("now {cell} is {percept} ."));
            sentences.push(check(cell, percept, rng));
        }
        sentences.push(format!("so the answer is {} .", self.answer));
        sentences.join(" ")
    }
}

fn check(cell: &str, percept: &str, rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..8) {
        0 => format!("let me verify {cell} {percept} yes ."),
        1 => format!("however check {cell} {percept} again yes ."),
        _ => format!("wait check {cell} {percept} yes ."),
    }
}
