//! A depth-first search in its registers: brief, dense, long and, for a control, shallow.
//!
//! This module does not know how a maze is made or drawn: a search is a list of looks at cells.
//! Every look of the long register is local: where a cell was entered from and which of its openings are left is
//! written again on the way back, so that nothing has to be remembered over more than a sentence. Dense names the cells
//! in the order of the search, dead ends included, and leaves the rest to whoever reads. Brief only glances at the goal.

use super::{Direction, NAMES};

/// One look at a cell in the order of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) cell: usize,
    /// The number of corridors from the start.
    pub(super) depth: usize,
    /// The cell that it was entered from; `None` at the start.
    pub(super) from: Option<usize>,
    /// The openings that have not been tried, in the order in which they are.
    pub(super) left: Vec<Direction>,
    pub(super) kind: Kind,
}

/// What a look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The cell is entered for the first time.
    Enter,
    /// The search has come back to it from a dead end.
    Return,
    /// It is what was searched for.
    Goal,
}

/// A search from its start to its goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    /// At least the start and the goal, which is the last.
    pub(super) looks: Vec<Look>,
}

impl Search {
    /// `b1 star 5`: the goal and how far it is, without a step on the way.
    pub(super) fn glance(&self) -> String {
        let goal = self.goal();
        format!("{} star {}", NAMES[goal.cell], goal.depth)
    }

    /// `b4 0 b3 1 c3 2 b3 1 b2 2 star`: every cell that the search comes to, and how far it is from the start.
    pub(super) fn dense(&self) -> String {
        let look = |look: &Look| format!("{} {}", NAMES[look.cell], look.depth);
        let looks: Vec<String> = self.looks.iter().map(look).collect();
        format!("{} star", looks.join(" "))
    }

    /// Returns the search as sentences.
    pub(super) fn long(&self, answer: &str) -> String {
        let mut sentences = vec!["let us search step by step .".to_owned()];
        for pair in self.looks.windows(2) {
            let (look, next) = (&pair[0], &pair[1]);
            sentences.push(look.sentence());
            if next.kind == Kind::Return {
                sentences.push("a dead end . wait back .".to_owned());
            } else if let Some(direction) = look.left.first() {
                sentences.push(format!("try {direction} ."));
            }
        }
        sentences.push(self.goal().sentence());
        sentences.push(format!("so the answer is {answer} ."));
        sentences.join(" ")
    }

    /// Writes about as many sentences as [`Search::long`] has, all of them about the start.
    pub(super) fn shallow(&self, answer: &str) -> String {
        let mut sentences = vec!["let us search step by step .".to_owned()];
        if let Some(start) = self.looks.first() {
            sentences.push(start.sentence());
            let again = format!("wait check {}", start.sentence());
            sentences.extend(std::iter::repeat_n(again, self.looks.len() - 1));
        }
        sentences.push(format!("so the answer is {answer} ."));
        sentences.join(" ")
    }

    fn goal(&self) -> &Look {
        self.looks.last().expect("a search has a goal")
    }
}

impl Look {
    /// `c3 2 from b3 open up right .`
    fn sentence(&self) -> String {
        let Look { cell, depth, from, left, kind } = self;
        let from = from.map_or("start", |from| NAMES[from]);
        let found = match kind {
            Kind::Enter => format!("open {}", list(left)),
            Kind::Return => format!("still {}", list(left)),
            Kind::Goal => "star".to_owned(),
        };
        format!("{} {depth} from {from} {found} .", NAMES[*cell])
    }
}

/// Returns the words for directions, `none` if there are none.
pub(super) fn list(directions: &[Direction]) -> String {
    if directions.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = directions.iter().map(|direction| direction.name()).collect();
    names.join(" ")
}
