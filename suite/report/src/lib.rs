//! Completions in, words and pictures out: scores, intervals, verdicts, claims, pages and leaderboards.
//!
//! This crate is pure. It knows no model, no device, no command line and no file system: whoever calls it
//! reads the files that go in and writes the texts that come out.

#![warn(missing_docs)]

pub mod agreement;
pub mod analysis;
pub mod claims;
pub mod compare;
pub mod completion;
pub mod cost;
pub mod dilemma;
pub mod evidence;
pub mod factorial;
pub mod gate;
pub mod golden;
pub mod join;
pub mod leaderboard;
pub mod page;
pub mod rows;
pub mod score;
pub mod self_test;
pub mod statistics;
pub mod text;
