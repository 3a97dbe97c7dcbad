//! `synergy plan`: what a run would do, without doing it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::commands::arguments::{RunArgs, SelectionArgs};
use crate::commands::output::put;
use crate::run;

const EXAMPLES: &str = "\
Examples:
  synergy plan --profile small
  synergy plan my-recipe.toml --device cuda
  synergy plan small --only rl,sft --seeds 1..2
  synergy plan full-3b --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PlanArgs {
    /// A recipe's file, or its name in suite/recipes; instead of --profile
    #[arg(value_name = "RECIPE", conflicts_with = "profile")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PlanArgs) -> Result<u8> {
    let recipe = match &args.recipe {
        Some(path) => run::recipe_at(path)?,
        None => args.run.recipe()?,
    };
    let options = run::Options { selection: args.selection.selection()?, ..args.run.options() };
    put(&run::dry_run(&recipe, &options, args.json)?)?;
    Ok(0)
}
