//! `synergy join`: the results of several runs of one recipe, made on other days or machines, as one.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use synergy_report::join::join;

use crate::commands::output::{put, width};
use crate::run;
use crate::run::golden::read_results;

const EXAMPLES: &str = "\
Examples:
  synergy reproduce --profile small --seeds 1 --runs-dir one
  synergy reproduce --profile small --seeds 2,3 --runs-dir two      on another day or machine
  synergy join one/small/results.json two/small/results.json --out runs/small
  synergy golden accept --profile small                             if nothing is missing any more";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct JoinArgs {
    /// The results.json of each run
    #[arg(required = true, num_args = 2.., value_name = "RESULTS")]
    results: Vec<PathBuf>,
    /// Folder for what a run has: results.json, leaderboard.json, report.md, report.html
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &JoinArgs) -> Result<u8> {
    let read = |path: &PathBuf| Ok((path.display().to_string(), read_results(path)?));
    let parts: Vec<_> = args.results.iter().map(read).collect::<Result<_>>()?;
    let outcome = run::joined(join(&parts)?, args.out.clone())?;
    let dir = args.out.display();
    let table = run::table(&outcome, width());
    put(&format!("{table}\nleaderboard, report and results are in {dir}\n"))?;
    Ok(0)
}
