//! The pipeline: recipe, plan, checkpoint, completions, scores, metrics, verdicts, leaderboard.
//!
//! Each noun is a plain value that can be written and read back, and each arrow is a function. `recipe` says what
//! is to be done, `plan` what that means, `train` holds everything that decides bits, `run` is the one place with
//! order, files and clocks, and `commands` has a file for each verb of the command line. What comes after the
//! completions is pure and lives in the crate `synergy_report`.
//!
//! A recipe becomes a plan, and a plan names every stage that a run trains:
//!
//! ```
//! use std::path::Path;
//! use synergy_suite::recipe::Recipe;
//!
//! # fn main() -> anyhow::Result<()> {
//! let root = Path::new(env!("CARGO_MANIFEST_DIR"));
//! let recipe = Recipe::read(&root.join("recipes/smoke.toml"))?;
//! // The stages that the regime `two_stage` stands on, each after all that it needs.
//! let regime = recipe.regimes.iter().find(|regime| regime.name == "two_stage");
//! let stages = regime.map(|regime| recipe.order(&regime.stage));
//! assert_eq!(stages, Some(vec!["traces", "sft", "grpo_after_sft"]));
//! # Ok(())
//! # }
//! ```
//!
//! The example `train_one_step` opens a model and trains it for one step.

pub mod commands;
pub mod device;
pub mod key;
pub mod limits;
pub mod plan;
pub mod planted;
pub mod ranks;
pub mod recipe;
pub mod reward;
pub mod run;
pub mod served;
pub mod train;
