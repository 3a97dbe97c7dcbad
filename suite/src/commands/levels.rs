//! `synergy levels`: levels of questions, cut by how often a model answers them correctly.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use synergy_hint::hint;

use crate::commands::evaluate::ask::Purpose;
use crate::commands::evaluate::{AskingArgs, ask, completions, levels, questions};
use crate::commands::grade::grader;
use crate::commands::output::put;
use crate::run::event::{Events, watch_interrupts};
use crate::run::store::write_atomic;

const EXAMPLES: &str = "\
Examples:
  synergy levels --benchmark path --model golden/base/small --out levels.jsonl
  synergy levels --benchmark mathvista --data testmini.parquet --endpoint URL --model-id qwen --out levels.jsonl";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LevelsArgs {
    #[command(flatten)]
    asking: AskingArgs,
    /// Rules that judge, as for `synergy evaluate`
    #[arg(long, default_value = "synergy-1", value_name = "NAME")]
    grader: String,
    /// Number of answers to each question; the study takes 16
    #[arg(long, default_value_t = 16, value_name = "K")]
    num_samples: u32,
    /// File to write, with a JSON object per line
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: &LevelsArgs) -> Result<u8> {
    watch_interrupts()?;
    let grader = grader(&args.grader)?;
    ensure!(
        args.num_samples > 0,
        hint!("--num-samples is 0, so nothing would be asked", "the study takes 16")
    );
    ensure!(
        !args.out.is_dir(),
        hint!(("--out `{}` is a folder", args.out.display()), "one file is written: name it")
    );
    let asked = questions(&args.asking, args.num_samples)?;
    let events = Events::open(&args.out.with_extension("events.jsonl"), false)?;
    let answered = ask(&args.asking, asked, args.num_samples, Purpose::Levels, &events)?;
    let cut = levels::cut(&answered, &completions(&answered), grader);
    write_atomic(&args.out, levels::to_lines(&cut)?.as_bytes())?;
    let (shares, count) = (levels::describe(&cut), cut.len());
    put(&format!("{shares}levels of {count} questions are in {}\n", args.out.display()))?;
    Ok(0)
}
