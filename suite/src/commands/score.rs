//! `synergy score`: completions that a run has stored, graded again without the model.

use anyhow::Result;
use clap::Args;

use crate::commands::arguments::RunArgs;
use crate::commands::output::{put, width};
use crate::run;

const EXAMPLES: &str = "\
Examples:
  synergy score --profile smoke
  synergy score --profile small --runs-dir elsewhere/runs";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ScoreArgs {
    #[command(flatten)]
    run: RunArgs,
}

pub(super) fn run(args: &ScoreArgs) -> Result<u8> {
    let outcome = run::rescore(&args.run.recipe()?, &args.run.options())?;
    put(&format!("{}\n", run::table(&outcome, width())))?;
    Ok(0)
}
