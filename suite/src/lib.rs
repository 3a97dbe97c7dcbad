//! The pipeline: recipe, plan, checkpoint, completions, scores, metrics, verdicts, leaderboard.
//!
//! Each noun is a plain value that can be written and read back, and each arrow is a function. `recipe` says what
//! is to be done, `plan` what that means, `train` holds everything that decides bits, `run` is the one place with
//! order, files and clocks, and `commands` has a file for each verb of the command line. What comes after the
//! completions is pure and lives in the crate `synergy_report`.

pub mod commands;
pub mod device;
pub mod key;
pub mod limits;
pub mod plan;
pub mod planted;
pub mod recipe;
pub mod reward;
pub mod run;
pub mod train;
