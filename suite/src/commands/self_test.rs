//! `synergy self-test`: proof that the gate sees planted faults and passes honest reruns.

use anyhow::Result;
use clap::Args;
use synergy_report::self_test::render;

use crate::commands::arguments::RunArgs;
use crate::commands::output::{put, put_json, width};
use crate::run::event::watch_interrupts;
use crate::run::self_test;

const EXAMPLES: &str = "\
Examples:
  synergy self-test --profile smoke
  synergy self-test --profile smoke --few --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SelfTestArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Only a few faults and one rerun
    #[arg(long)]
    few: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SelfTestArgs) -> Result<u8> {
    watch_interrupts()?;
    let report = self_test::run(&args.run.recipe()?, &args.run.options(), args.few)?;
    if args.json {
        put_json(&report)?;
    } else {
        put(&render(&report, width()))?;
    }
    Ok(report.exit_code())
}
