//! The files of golden results: reading them, and recording a run as golden.
//!
//! Does not know what may become golden or how a line of the history reads, which is `synergy_report::golden`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use synergy_hint::{Explain as _, hint};
use synergy_report::golden::{Record, admit, logged, read_history};
use synergy_report::score::Results;

use crate::run::store::write_atomic;

/// The file with one line for each golden ever accepted.
const HISTORY: &str = "golden/history.jsonl";
/// The file that lists them for people, among everything else that was tried.
const LOG: &str = "golden/LOG.md";

/// The path of the golden results of `profile`.
pub fn path(profile: &str) -> PathBuf {
    Path::new("golden/results").join(format!("{profile}.json"))
}

/// Reads the golden results of `profile`.
///
/// # Errors
/// If there are none, or they cannot be read.
pub fn read(profile: &str) -> Result<Results> {
    read_results(&path(profile)).explain(|| {
        let hint = "record a good run with `cargo xtask golden accept --profile";
        hint!("no golden results for `{profile}`", "{hint} {profile}`")
    })
}

/// Records the run of `profile` in `runs_dir` as golden, in the history and in the log; gives the text
/// for standard output. `replace` is the reason why fewer seeds or questions than before are enough.
///
/// # Errors
/// If there is no run, it may not become golden, or a file cannot be read or written.
pub fn accept(profile: &str, runs_dir: &Path, replace: Option<&str>) -> Result<String> {
    let run = runs_dir.join(profile).join("results.json");
    let results = read_results(&run)
        .explain(|| hint!("no run to record", "cargo xtask reproduce --profile {profile}"))?;
    let golden = path(profile);
    admit(read_if_there(&golden)?.as_deref(), &results, replace)
        .with_context(|| format!("`{}` may not become golden", run.display()))?;
    let record = Record::of(&results, replace);
    let mut history = read_if_there(Path::new(HISTORY))?.unwrap_or_default();
    read_history(&history).with_context(|| format!("failed to read `{HISTORY}`"))?;
    history += &record.line();
    let log = read_if_there(Path::new(LOG))?.unwrap_or_default();
    // The golden results first: a line about results that are not there would be worse than a missing one.
    write_atomic(&golden, results.to_json()?.as_bytes())?;
    write_atomic(Path::new(HISTORY), history.as_bytes())?;
    write_atomic(Path::new(LOG), logged(&log, &record).as_bytes())?;
    Ok(format!("recorded {} as {}\n", run.display(), golden.display()))
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read `{}`", path.display())),
    }
}

/// The goldens of `profile` so far, oldest first; empty if nothing was ever recorded.
///
/// # Errors
/// If the history cannot be read.
pub fn history(profile: &str) -> Result<Vec<Record>> {
    let text = read_if_there(Path::new(HISTORY))?.unwrap_or_default();
    let records = read_history(&text).with_context(|| format!("failed to read `{HISTORY}`"))?;
    Ok(records.into_iter().filter(|record| record.profile == profile).collect())
}

/// Reads golden results, or the results of a run, from the file `path`.
///
/// # Errors
/// If the file cannot be read, or is refused by [`Results::from_json`].
pub fn read_results(path: &Path) -> Result<Results> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read results `{name}`"))?;
    Results::from_json(&text, &name.to_string())
}
