//! A walk from cell to cell in its registers: brief, dense, long and, for a control, shallow.
//!
//! This module does not know the families: a step is a cell, what is seen there and the state that follows.
//! All registers write the same steps in the same order. Dense states every step in as few words as there are. Brief
//! has only some statements: where a walk is longer, each covers several steps and only the last of them is written, as
//! people do who are short of words. Long is the study's style: every percept is checked again, in words from its list
//! of reasoning words, and a slip is noticed and corrected, so every long trace is right.
//! The shallow one is as long, in the same words, and true, but looks at the first cell alone: length
//! without reasoning.
//! All but the shallow one say `last` right after the word that the question ends on. Where only the long step's
//! end reported it, many words later, the smallest models stopped anywhere (golden/LOG.md, attempt 9).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::NAMES;

/// One step: look at a cell, then update the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) cell: usize,
    pub(super) seen: Seen,
    /// What a slip of the eye would have seen at this step.
    pub(super) slip: Seen,
}

/// What is seen in a cell and the state that follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) percept: String,
    pub(super) state: String,
}

/// A last cell that is only looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) cell: usize,
    pub(super) percept: String,
    /// What a slip of the eye would have seen.
    pub(super) slip: String,
}

/// The steps that solve a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) steps: Vec<Step>,
    /// For a walk whose state is the next cell.
    pub(super) end: Option<End>,
}

impl Walk {
    /// `b2 3 3 c2 last 1 4`: cell, percept and state of every step.
    ///
    /// Where the state is the next cell, whose name follows anyway, the number of steps done
    /// stands in its place, so that the walk can be ended by reading instead of by counting.
    pub(super) fn dense(&self) -> String {
        self.brief(self.steps.len())
    }

    /// Writes at most `statements` steps of [`Walk::dense`], at least one: the last of each of so many runs, of which the
    /// longer come first.
    pub(super) fn brief(&self, statements: usize) -> String {
        let num_steps = self.steps.len();
        let num_runs = statements.clamp(1, num_steps);
        let mut words: Vec<String> = Vec::new();
        let mut done = 0;
        for run in 0..num_runs {
            done += num_steps / num_runs + usize::from(run < num_steps % num_runs);
            let Step { cell, seen: Seen { percept, state }, .. } = &self.steps[done - 1];
            let (cell, last) = (NAMES[*cell], self.last(done - 1));
            words.push(if self.end.is_some() {
                format!("{cell} {percept} {done}{last}")
            } else {
                format!("{cell}{last} {percept} {state}")
            });
        }
        if let Some(End { cell, percept, .. }) = &self.end {
            words.push(format!("{} {percept}", NAMES[*cell]));
        }
        words.join(" ")
    }

    /// Returns every step as sentences; each slips with probability `misread`, and `rng` draws slips and wording.
    pub(super) fn long(&self, answer: &str, misread: f64, rng: &mut ChaCha8Rng) -> String {
        let mut sentences = vec!["let us go step by step .".to_owned()];
        for (i, Step { cell, seen, slip }) in self.steps.iter().enumerate() {
            let (cell, last) = (NAMES[*cell], self.last(i));
            let step = if self.end.is_some() {
                format!("step {}{last} {cell}", i + 1)
            } else {
                format!("step {} {cell}{last}", i + 1)
            };
            let Seen { percept, state } = seen;
            if rng.random_bool(misread) {
                let Seen { percept: mistaken, state: wrong } = slip;
                sentences.push(format!("{step} is {mistaken} so {wrong} ."));
                sentences.push(corrected(cell, percept, &format!(" so {state}")));
            } else {
                sentences.push(format!("{step} is {percept} so {state} ."));
                sentences.push(check(cell, percept, rng.random_range(0..8)));
            }
        }
        if let Some(End { cell, percept, slip }) = &self.end {
            let cell = NAMES[*cell];
            if rng.random_bool(misread) {
                sentences.push(format!("now {cell} is {slip} ."));
                sentences.push(corrected(cell, percept, ""));
            } else {
                sentences.push(format!("now {cell} is {percept} ."));
                sentences.push(check(cell, percept, rng.random_range(0..8)));
            }
        }
        sentences.push(format!("so the answer is {answer} ."));
        sentences.join(" ")
    }

    /// Writes about as many sentences as [`Walk::long`] has, all of them about the first cell.
    pub(super) fn shallow(&self, answer: &str) -> String {
        let mut sentences = vec!["let us go step by step .".to_owned()];
        if let Some(Step { cell, seen: Seen { percept, .. }, .. }) = self.steps.first() {
            let cell = NAMES[*cell];
            sentences.push(format!("{cell} is {percept} ."));
            let checks = 2 * (self.steps.len() + usize::from(self.end.is_some()));
            sentences.extend((1..=checks).map(|i| check(cell, percept, (i % 4) as i32)));
        }
        sentences.push(format!("so the answer is {answer} ."));
        sentences.join(" ")
    }

    /// Returns what follows the word that the question ends on, a cell's name or a number of steps.
    fn last(&self, step: usize) -> &'static str {
        if step + 1 == self.steps.len() { " last" } else { "" }
    }
}

/// Returns the second look that finds a slip, with `state` as it should have been.
fn corrected(cell: &str, percept: &str, state: &str) -> String {
    format!("wait check {cell} {percept} no mistake . {cell} is {percept}{state} .")
}

/// Returns one of three ways to look again.
fn check(cell: &str, percept: &str, way: i32) -> String {
    match way {
        0 => format!("let me verify {cell} {percept} yes ."),
        1 => format!("however check {cell} {percept} again yes ."),
        _ => format!("wait check {cell} {percept} yes ."),
    }
}
