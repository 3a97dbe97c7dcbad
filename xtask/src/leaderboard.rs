//! The runs that the project keeps in `golden/leaderboard`: checked and published.
//!
//! Does not know what is in their files: `synergy leaderboard` judges them.
//!
//! Publishing is two steps. This one builds the page; the service that has the token uploads it, when an output of this
//! step asks for it. Without a token everything else is done all the same and shown.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use synergy_hint::Hinted;

use crate::files::{bytes_below, unread};
use crate::synergy::Arguments;
use crate::{process, synergy};

/// The folder to which a contributor adds the leaderboard.json of a run.
const RUNS: &str = "golden/leaderboard";

/// The folder in which the page is built; git ignores it.
const SITE: &str = "target/site";

/// Builds the command that checks the kept runs.
///
/// # Errors
/// If no run is kept.
pub(crate) fn check_kept(root: &Path) -> anyhow::Result<Arguments> {
    Ok(Arguments::new(["leaderboard", "check"]).with(kept(root)?))
}

/// Builds the page over all runs that are kept, and hands it over where there is a token.
///
/// # Errors
/// If no run is kept, or the page cannot be built.
pub(crate) fn publish(root: &Path) -> anyhow::Result<ExitCode> {
    let arguments = Arguments::new(["leaderboard", "site", "--out", SITE]).with(kept(root)?);
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
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match hand_over(variable("GITHUB_TOKEN").is_some(), variable("GITHUB_OUTPUT")) {
        Some(output) => {
            let file = fs::OpenOptions::new().append(true).create(true).open(&output);
            file.and_then(|mut file| writeln!(file, "publish=true"))
                .with_context(|| format!("failed to write `{output}`"))?;
            println!("handed over: `{SITE}`, {bytes} bytes, for the steps that upload it");
        }
        None => println!(
            "dry run: `{SITE}`, {bytes} bytes, would be published; GITHUB_TOKEN and GITHUB_OUTPUT are not set here"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the file that makes the steps after this one publish, if that may be done.
fn hand_over(has_token: bool, output: Option<String>) -> Option<String> {
    output.filter(|_| has_token)
}

/// Lists the kept files in order, relative to the root that `synergy` runs in.
fn kept(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join(RUNS);
    let mut files = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(&folder).with_context(|| unread(&folder))? {
            let entry = entry.with_context(|| unread(&folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") {
                files.push(format!("{RUNS}/{name}"));
            }
        }
    }
    let hint = "copy the leaderboard.json of a run there, as the README beside it describes";
    ensure!(!files.is_empty(), Hinted::new(format!("no run is kept in `{RUNS}`"), hint));
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Folder;

    #[test]
    fn kept_runs_are_sorted_and_checked() {
        let root = Folder::new("kept");
        let error = kept(&root.0).unwrap_err();
        let error = synergy_hint::text(&error);
        assert!(error.starts_with("no run is kept in `golden/leaderboard`\nhint: "), "{error}");
        fs::create_dir_all(root.0.join(RUNS)).unwrap();
        for name in ["b.json", "README.md", "a.json"] {
            fs::write(root.0.join(RUNS).join(name), "").unwrap();
        }
        let files = ["golden/leaderboard/a.json", "golden/leaderboard/b.json"];
        assert_eq!(kept(&root.0).unwrap(), files);
        let want = Arguments::new(["leaderboard", "check"]).with(files);
        assert_eq!(check_kept(&root.0).unwrap(), want);
    }

    #[test]
    fn nothing_is_published_without_a_token() {
        let output = || Some("output".to_owned());
        assert_eq!(hand_over(true, output()), output());
        assert_eq!(hand_over(false, output()), None);
        assert_eq!(hand_over(true, None), None);
    }
}
