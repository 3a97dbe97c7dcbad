//! `synergy reproduce`: a whole study, from training to the leaderboard.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use synergy_hint::{Explain as _, hint};

use crate::commands::arguments::{RunArgs, SelectionArgs};
use crate::commands::output::{put, report, width};
use crate::ranks::Ranks;
use crate::recipe::rehearsal::rehearsed;
use crate::run;
use crate::run::event::{interrupted, watch_interrupts};

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
    let ranks = Ranks::open()?;
    ensure!(
        !args.from_scratch || ranks.size() == 1,
        hint!(
            "several processes do not train a base",
            "start one with --from-scratch, or leave it out"
        )
    );
    let options = run::Options {
        from_scratch: args.from_scratch,
        selection: args.selection.selection()?,
        ranks: ranks.clone(),
        ..args.run.options()
    };
    if !ranks.is_first() {
        return ending_all(&ranks, run::follow(&recipe, &options)).map(|()| 0);
    }
    let outcome = ending_all(&ranks, run::reproduce(&recipe, &options))?;
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

/// Time in which the first of several processes says what has happened to all of them.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// Ends all processes with an error of one of them: the others would wait for it for ever. One that happens to all is
/// reported by the first alone.
fn ending_all<T>(ranks: &Ranks, result: Result<T>) -> Result<T> {
    if ranks.size() == 1 {
        return result;
    }
    result.inspect_err(|error| {
        if !ranks.is_first() {
            sleep(FIRST_WORD);
        }
        report(error);
        ranks.abort(if interrupted() { 130 } else { 2 });
    })
}
