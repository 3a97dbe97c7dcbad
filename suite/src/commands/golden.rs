//! `synergy golden`: a run compared with golden results, or recorded as golden.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use synergy_hint::{Explain as _, hint};
use synergy_report::compare::compare;
use synergy_report::golden::comparison_markdown;
use synergy_report::text::terminal::render_comparison;

use crate::commands::arguments::RunArgs;
use crate::commands::output::{put, width};
use crate::run::golden;
use crate::run::store::write_atomic;

const CHECK_EXAMPLES: &str = "\
Examples:
  synergy golden check --profile smoke
  synergy golden check --profile small --markdown comparison.md";

const ACCEPT_EXAMPLES: &str = "\
Examples:
  synergy golden accept --profile smoke
  synergy golden accept --profile small --replace \"60 questions show the same effects in half the time\"";

const EXAMPLES: &str = "\
Examples:
  synergy golden check --profile smoke      compare the last run with the recorded results
  synergy golden accept --profile smoke     record the last run in their place";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GoldenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Exit 0 if the run is the same within chance, 1 if it regressed
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        #[command(flatten)]
        run: RunArgs,
        /// Also write the comparison as Markdown
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
    },
    /// Record the run's results as golden, in golden/history.jsonl and in golden/LOG.md
    #[command(after_help = ACCEPT_EXAMPLES)]
    Accept {
        #[command(flatten)]
        run: RunArgs,
        /// Record it though it has fewer seeds or questions than the golden results before; the reason is recorded too
        #[arg(long, value_name = "REASON")]
        replace: Option<String>,
    },
}

pub(super) fn run(args: &GoldenArgs) -> Result<u8> {
    match &args.action {
        Action::Check { run, markdown } => {
            let recipe = run.recipe()?;
            let gate = recipe.gate()?;
            let profile = &run.profile;
            let golden = golden::read(profile)?;
            let path = run.device.runs_dir.join(profile).join("results.json");
            let results = golden::read_results(&path).explain(|| {
                hint!("there is no run to check", "cargo xtask reproduce --profile {profile}")
            })?;
            let comparison = compare(&golden, &results, gate);
            if let Some(path) = markdown {
                write_atomic(path, comparison_markdown(&comparison, profile).as_bytes())?;
            }
            put(&format!("{}\n", render_comparison(&comparison, width())))?;
            Ok(comparison.exit_code())
        }
        Action::Accept { run, replace } => {
            run.recipe()?;
            put(&golden::accept(&run.profile, &run.device.runs_dir, replace.as_deref())?)?;
            Ok(0)
        }
    }
}
