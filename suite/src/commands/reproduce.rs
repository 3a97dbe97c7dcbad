//! `synergy reproduce`: a whole study, from training to the leaderboard.

use anyhow::Result;
use clap::Args;
use synergy_hint::{Explain as _, hint};

use crate::commands::arguments::{RunArgs, SelectionArgs};
use crate::commands::output::{put, width};
use crate::recipe::rehearsal::rehearsed;
use crate::run;
use crate::run::event::watch_interrupts;

const EXAMPLES: &str = "\
Examples:
  synergy reproduce --profile smoke         all regimes on the nano model, in seconds
  synergy reproduce --profile small
  synergy reproduce --profile small --only rl,sft,two_stage --seeds 1
  synergy reproduce --profile my-recipe.toml --only mine
  synergy reproduce --profile full-3b --rehearse --device cuda";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReproduceArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Train the base again instead of starting from the one in the repository
    #[arg(long)]
    from_scratch: bool,
    /// Use small counts instead of the recipe's, to see before a long run that all of it goes through
    #[arg(long)]
    rehearse: bool,
    /// Print the leaderboard as JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReproduceArgs) -> Result<u8> {
    watch_interrupts()?;
    let mut recipe = args.run.recipe()?;
    if args.rehearse {
        recipe = rehearsed(&recipe);
    }
    let options = run::Options {
        from_scratch: args.from_scratch,
        selection: args.selection.selection()?,
        ..args.run.options()
    };
    let outcome = run::reproduce(&recipe, &options)?;
    if args.json {
        let path = outcome.dir.join("leaderboard.json");
        let text = std::fs::read_to_string(&path).explain(|| {
            hint!(("failed to read `{}`", path.display()), "the run has just written it; run again")
        })?;
        put(&text)?;
    } else {
        let dir = outcome.dir.display();
        let table = run::table(&outcome, width());
        put(&format!("{table}\nleaderboard, report and results are in {dir}\n"))?;
    }
    Ok(0)
}
