//! `synergy leaderboard`: files in, one file or a page out.
//!
//! Does not know what is checked or how a page looks. Nothing is written unless every file is whole.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use synergy_hint::{Hinted, Several, text};
use synergy_report::leaderboard::{
    HINT_NONE, Leaderboards, Sourced, contradictions, merge, page, read,
};

use crate::commands::output::{put, tell};
use crate::run::store::write_atomic;

const EXAMPLES: &str = "\
Examples:
  synergy leaderboard check runs/small/leaderboard.json
  synergy leaderboard merge a.json b.json --out leaderboards.json
  synergy leaderboard site --out site golden/leaderboard/*.json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LeaderboardArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether each file is whole, whether its verdicts follow from its figures and whether all can stand on one page
    ///
    /// Exit code 1 if a verdict does not follow, 2 if a file is not whole.
    #[command(after_help = "Examples:\n  synergy leaderboard check golden/leaderboard/*.json")]
    Check {
        /// leaderboard.json of a run, or what `merge` wrote
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Join the leaderboards of runs, perhaps from other machines, into one file
    #[command(
        after_help = "Examples:\n  synergy leaderboard merge a.json b.json --out leaderboards.json"
    )]
    Merge {
        /// leaderboard.json of a run, or what `merge` wrote; their order does not matter
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// A file, or a folder to write leaderboards.json into
        #[arg(long, value_name = "FILE_OR_DIR")]
        out: PathBuf,
    },
    /// Write one page over all runs, and what it shows as JSON: index.html and leaderboard.json
    #[command(
        after_help = "Examples:\n  synergy leaderboard site --out site golden/leaderboard/*.json"
    )]
    Site {
        /// leaderboard.json of a run, or what `merge` wrote; their order does not matter
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The folder to write into
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

pub(super) fn run(args: &LeaderboardArgs) -> Result<u8> {
    let said = match &args.action {
        Action::Check { files } => {
            let runs = sourced(files)?;
            if let Some(found) = contradictions(&runs) {
                tell(&format!("{}\n", text(&found.into())))?;
                return Ok(1);
            }
            let boards = merge(runs)?;
            let rows: usize = boards.runs().iter().map(|run| run.leaderboard.rows.len()).sum();
            format!(
                "{} runs, {rows} rows: whole, with verdicts that follow, and fit on one page\n",
                boards.runs().len()
            )
        }
        Action::Merge { files, out } => {
            let text = joined(files)?.to_json();
            let is_file = !out.is_dir() && out.extension().is_some_and(|end| end == "json");
            let path = if is_file { out.clone() } else { out.join("leaderboards.json") };
            write_atomic(&path, text.as_bytes())?;
            format!("{}\n", path.display())
        }
        Action::Site { files, out } => {
            let boards = joined(files)?;
            let index = out.join("index.html");
            // The page last: where it is, what it links to is there.
            write_atomic(&out.join("leaderboard.json"), boards.to_json().as_bytes())?;
            write_atomic(&index, page(&boards).as_bytes())?;
            format!("{}\n", index.display())
        }
    };
    put(&said)?;
    Ok(0)
}

/// Reads and joins the runs of `files`; the error holds the faults of all of them.
fn joined(files: &[PathBuf]) -> Result<Leaderboards> {
    let runs = sourced(files)?;
    match contradictions(&runs) {
        Some(found) => Err(found.into()),
        None => Ok(merge(runs)?),
    }
}

/// Reads the runs of `files`; the error holds the faults of all of them.
fn sourced(files: &[PathBuf]) -> Result<Vec<Sourced>> {
    let mut runs: Vec<Sourced> = Vec::new();
    let mut faults = Vec::new();
    for path in files {
        match std::fs::read_to_string(path) {
            Ok(text) => match read(&text, &path.display().to_string()) {
                Ok(found) => runs.extend(found),
                Err(found) => faults.extend(found.0),
            },
            Err(error) => {
                let cause = format!("failed to read leaderboard `{}`: {error}", path.display());
                faults.push(Hinted::new(cause, HINT_NONE));
            }
        }
    }
    ensure!(faults.is_empty(), Several(faults));
    Ok(runs)
}
