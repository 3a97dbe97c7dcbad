//! A solution of a question, to be written in one of the registers.
//!
//! This module does not know how a family solves its questions or how a walk is put in words.

use super::search::Search;
use super::walk::Walk;
use crate::seed::Seed;

/// A way that leads to the answer of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    way: Way,
    answer: String,
    /// The seed of slips and wording.
    wording: Seed,
}

/// What is done to find the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// One step after the other, none in vain.
    Walk(Walk),
    /// A search that tries and comes back.
    Search(Search),
}

impl Solution {
    pub(super) fn new(way: Way, answer: &str, wording: Seed) -> Solution {
        Solution { way, answer: answer.to_owned(), wording }
    }

    /// Writes at most `statements` statements: of a walk that is longer some steps are left out, of a search all but
    /// where it ends. At least one is written.
    pub fn brief(&self, statements: usize) -> String {
        match &self.way {
            Way::Walk(walk) => walk.brief(statements),
            Way::Search(search) => search.glance(),
        }
    }

    /// Writes every step, without words around it.
    pub fn dense(&self) -> String {
        match &self.way {
            Way::Walk(walk) => walk.dense(),
            Way::Search(search) => search.dense(),
        }
    }

    /// Writes every step in words and looks twice at everything; a share `misread` of first looks is a slip, which the
    /// second corrects. A search, whose marks are plain, has dead ends instead.
    ///
    /// # Panics
    /// If `misread` is not in `0.0..=1.0`.
    pub fn long(&self, misread: f64) -> String {
        match &self.way {
            Way::Walk(walk) => walk.long(&self.answer, misread, &mut self.wording.rng()),
            Way::Search(search) => search.long(&self.answer),
        }
    }

    /// Writes a text about as long as [`Solution::long`], in the same words and true, that does not reason.
    pub fn shallow(&self) -> String {
        match &self.way {
            Way::Walk(walk) => walk.shallow(&self.answer),
            Way::Search(search) => search.shallow(&self.answer),
        }
    }
}
