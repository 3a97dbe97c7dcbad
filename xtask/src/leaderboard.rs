//! The runs that the project keeps in `golden/leaderboard`: checked, joined, shown, published.
//!
//! Does not know what is in their files: `synergy leaderboard` judges them.
//!
//! Publishing is two steps. This one builds the page; the service that has the token uploads it, when an
//! output of this step says so. Without a token everything else is done all the same and shown.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Subcommand;

use crate::files::bytes_below;
use crate::{process, synergy};

/// Where a contributor adds the leaderboard.json of a run.
const RUNS: &str = "golden/leaderboard";

/// Where the page is built; git ignores it.
const SITE: &str = "target/site";

#[derive(Debug, Subcommand)]
pub(crate) enum Leaderboard {
    /// Say whether each file is whole and whether all of them can stand on one page
    #[command(after_help = "Examples:
  cargo xtask leaderboard check
  cargo xtask leaderboard check runs/small/leaderboard.json")]
    Check {
        /// Files to check; those in golden/leaderboard without them
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Join the leaderboards of runs, perhaps from other machines, into one file
    #[command(after_help = "Examples:
  cargo xtask leaderboard merge a.json b.json --out leaderboards.json")]
    Merge {
        /// Files to join; their order does not matter
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// A file, or a folder to write leaderboards.json into
        #[arg(long, value_name = "FILE_OR_DIR")]
        out: PathBuf,
    },
    /// Write one page over all runs, and what it shows as JSON
    #[command(after_help = "Examples:
  cargo xtask leaderboard site --out site a.json b.json")]
    Site {
        /// Files to show; their order does not matter
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The folder to write into
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Becomes `synergy leaderboard`.
///
/// # Errors
/// If there is nothing to check, or `synergy` cannot be started.
pub(crate) fn run(root: &Path, command: &Leaderboard) -> anyhow::Result<ExitCode> {
    let (verb, files, out) = match command {
        Leaderboard::Check { files } => ("check", files, None),
        Leaderboard::Merge { files, out } => ("merge", files, Some(out)),
        Leaderboard::Site { files, out } => ("site", files, Some(out)),
    };
    let mut arguments = synergy::Arguments::new(&["leaderboard", verb], root)?
        .path("--out", out.map(PathBuf::as_path))?;
    if verb == "check" && files.is_empty() {
        for file in kept(root)? {
            arguments = arguments.flag(&file);
        }
    }
    synergy::become_synergy(root, &arguments.paths(files)?)
}

/// Builds the page over all runs that are kept, and says what becomes of it.
///
/// # Errors
/// If no run is kept, or the page cannot be built.
pub(crate) fn publish(root: &Path) -> anyhow::Result<ExitCode> {
    let mut arguments =
        synergy::Arguments::new(&["leaderboard", "site"], root)?.option("--out", Some(SITE));
    for file in kept(root)? {
        arguments = arguments.flag(&file);
    }
    let sh = synergy::shell(root)?;
    // A page of another day must not go with this one.
    sh.remove_path(SITE).with_context(|| format!("failed to empty the folder `{SITE}`"))?;
    if synergy::build(&sh, root, None)? != 0 {
        return Ok(ExitCode::from(process::EXIT_BROKEN));
    }
    let code = synergy::run(&sh, &arguments)?;
    if code != 0 {
        return Ok(ExitCode::from(code));
    }
    let bytes = bytes_below(&root.join(SITE))?;
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match hand_over(said("GITHUB_TOKEN").is_some(), said("GITHUB_OUTPUT")) {
        Some(output) => {
            let mut file = fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(&output)
                .with_context(|| format!("failed to open `{output}`"))?;
            writeln!(file, "publish=true")
                .with_context(|| format!("failed to write `{output}`"))?;
            println!("handed over: `{SITE}`, {bytes} bytes, for the steps that upload it");
        }
        None => println!(
            "dry run: `{SITE}`, {bytes} bytes, would be published; there is no GITHUB_TOKEN and \
             GITHUB_OUTPUT here to do it with"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// The file that tells the steps after this one to publish, if that may be done.
fn hand_over(has_token: bool, output: Option<String>) -> Option<String> {
    output.filter(|_| has_token)
}

/// The kept files, sorted, relative to the root that `synergy` runs in.
fn kept(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join(RUNS);
    let mut files = Vec::new();
    if folder.is_dir() {
        let read = || format!("failed to read the folder `{RUNS}`");
        for entry in fs::read_dir(&folder).with_context(read)? {
            let name = entry.with_context(read)?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                files.push(format!("{RUNS}/{name}"));
            }
        }
    }
    ensure!(
        !files.is_empty(),
        "no run is kept in `{RUNS}`\nhint: copy leaderboard.json of a run there, as the README beside it says"
    );
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_runs_are_sorted_and_nothing_else_is_one() {
        let root = std::env::temp_dir().join(format!("synergy-kept-{}", std::process::id()));
        let error = kept(&root).unwrap_err().to_string();
        assert!(error.starts_with("no run is kept in `golden/leaderboard`\nhint: "), "{error}");
        fs::create_dir_all(root.join(RUNS)).unwrap();
        for name in ["b.json", "README.md", "a.json"] {
            fs::write(root.join(RUNS).join(name), "").unwrap();
        }
        assert_eq!(
            kept(&root).unwrap(),
            ["golden/leaderboard/a.json", "golden/leaderboard/b.json"]
        );
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn nothing_is_published_without_a_token() {
        let output = || Some("output".to_owned());
        assert_eq!(hand_over(true, output()), output());
        assert_eq!(hand_over(false, output()), None);
        assert_eq!(hand_over(true, None), None);
    }
}
