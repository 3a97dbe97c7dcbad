//! `synergy base-gate`: whether a base is good enough to start a study from.

use anyhow::Result;
use clap::Args;

use crate::commands::arguments::RunArgs;
use crate::commands::output::{put, put_json};
use crate::run;
use crate::run::base_gate::describe;

#[derive(Debug, Args)]
pub(super) struct BaseGateArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Number of questions of each family
    #[arg(long, default_value_t = 200)]
    questions: usize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &BaseGateArgs) -> Result<u8> {
    let report = run::gate(&args.run.recipe()?, &args.run.options(), args.questions)?;
    if args.json {
        put_json(&report)?;
    } else {
        put(&format!("{}\n", describe(&report)))?;
    }
    Ok(u8::from(!report.passed))
}
