//! `synergy score`: completions that a run has stored, graded again without the model.

use anyhow::Result;

use crate::commands::arguments::RunArgs;
use crate::commands::output::{put, width};
use crate::run;

pub(super) fn run(args: &RunArgs) -> Result<u8> {
    let outcome = run::rescore(&args.recipe()?, &args.options())?;
    put(&format!("{}\n", run::table(&outcome, width())))?;
    Ok(0)
}
