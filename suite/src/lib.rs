//! The pipeline: recipe, plan, checkpoint, completions, scores, metrics, verdicts, leaderboard.
//!
//! Each noun is a plain value that can be written and read back; each arrow is a function; `run` is
//! the only place with order, files and clocks.

pub mod agreement;
pub mod analysis;
pub mod base;
pub mod base_gate;
pub mod chat;
pub mod claims;
pub mod compare;
pub mod completion;
pub mod cost;
pub mod data;
pub mod dataset;
pub mod device;
pub mod endpoint;
pub mod evaluate;
pub mod evaluation;
pub mod event;
pub mod features;
pub mod golden;
pub mod grading;
pub mod inspect;
pub mod journal;
pub mod leaderboard;
pub mod merge;
pub mod model;
pub mod objective;
pub mod optimizer;
pub mod page;
pub mod picture;
pub mod plan;
pub mod planted;
pub mod pool;
pub mod prompt;
pub mod publish;
pub mod recipe;
pub mod rehearsal;
pub mod reward;
pub mod run;
pub mod score;
pub mod self_test;
pub mod show;
pub mod statistics;
pub mod store;
pub mod table;
pub mod tensorboard;
pub mod train;
