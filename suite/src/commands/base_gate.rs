//! `synergy base-gate`: whether a base is good enough to start a study from.

use anyhow::{Result, ensure};
use clap::Args;
use synergy_hint::hint;

use crate::commands::arguments::RunArgs;
use crate::commands::output::{put, put_json};
use crate::run;
use crate::run::base_gate::describe;

const EXAMPLES: &str = "\
Examples:
  synergy base-gate --profile small
  synergy base-gate --profile smoke --questions 50 --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
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
    ensure!(args.questions > 0, hint!("--questions is 0, so nothing would be asked", "at least 1"));
    let report = run::gate(&args.run.recipe()?, &args.run.options(), args.questions)?;
    if args.json {
        put_json(&report)?;
    } else {
        put(&format!("{}\n", describe(&report)))?;
    }
    Ok(u8::from(!report.passed))
}
