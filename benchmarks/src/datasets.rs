//! Published benchmarks, one file each, read from the files that their owners publish.
//!
//! This module does not fetch anything: `cargo xtask fetch` does what it can, against `datasets.lock` beside this
//! crate. Benchmarks of others have no hops, no traces and no teacher; they are evaluated, never trained on.
//!
//! [`open`] reads a benchmark that is known here, [`mapped::open`] any file whose columns are named,
//! [`training::open`] training data in the layouts of other trainers.
//! All read row by row and decode no picture before it is asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use synergy_hint::hint;

use crate::datasets::published::Published;
use crate::sample::Sample;

pub mod arc_agi;
mod conversation;
pub mod easy_vqa;
mod fault;
mod input;
mod json;
pub mod mapped;
mod mathverse;
mod mathvision;
mod mathvista;
mod mmmu;
mod mmstar;
mod parquet;
mod published;
mod python_literal;
mod reader;
mod row;
pub mod training;
mod tsv;
mod value;

#[cfg(test)]
mod tests;

pub use reader::{Reader, Skipped};

/// The benchmarks that [`open`] knows.
const ALL: [&Published; 5] = [
    &mathvision::BENCHMARK,
    &mathverse::BENCHMARK,
    &mathvista::BENCHMARK,
    &mmmu::BENCHMARK,
    &mmstar::BENCHMARK,
];

/// Returns at most `limit` of `samples`, at even distances and in their order.
pub fn spread(samples: Vec<Sample>, limit: usize) -> Vec<Sample> {
    let count = samples.len();
    if limit >= count {
        return samples;
    }
    let kept = |i: usize| (i * limit) / count != ((i + 1) * limit) / count;
    samples.into_iter().enumerate().filter(|(i, _)| kept(*i)).map(|(_, sample)| sample).collect()
}

/// Returns the questions of one split, which must be named where there are several: they share problems, and an accuracy over
/// all of them is nobody's.
///
/// # Errors
/// If there is no such split, or none is named of several.
pub fn of_split(samples: Vec<Sample>, split: Option<&str>) -> Result<Vec<Sample>> {
    let own = |sample: &Sample| sample.id.split('/').nth(1).unwrap_or_default().to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for sample in &samples {
        *counts.entry(own(sample)).or_default() += 1;
    }
    let known: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} ({count} questions)")).collect();
    match split {
        Some(name) => ensure!(
            counts.contains_key(name),
            hint!("the files hold no split `{name}`", ("there are {}", known.join(", ")))
        ),
        None => ensure!(
            counts.len() < 2,
            hint!("the files hold several splits", ("name one of {}", known.join(", ")))
        ),
    }
    Ok(samples.into_iter().filter(|sample| split.is_none_or(|name| own(sample) == name)).collect())
}

/// Returns the names that [`open`] takes.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.into_iter().map(|published| published.name)
}

/// Opens the benchmark `name` in `path`: a table by VLMEvalKit (`.tsv`), a file by its owners
/// (`.parquet`) or a folder of either. Capitals do not count, nor does `_with_difficulty_level`, the
/// end of the names under which the study publishes the sets with levels; those are read wherever a
/// file has them.
///
/// Ids are `<name>/<split>/<id>` with the owners' id and the split that the name of the file says.
///
/// # Errors
/// If the name is unknown, there is no such file, or a column is missing that the benchmark has.
pub fn open(name: &str, path: &Path) -> Result<Reader> {
    let lower = name.to_lowercase();
    let plain = lower.strip_suffix("_with_difficulty_level").unwrap_or(&lower);
    match ALL.into_iter().find(|published| published.name == plain) {
        Some(published) => Reader::open(Arc::new(*published), path),
        None => bail!(hint!(
            "there is no benchmark `{name}`",
            (
                "there are {}; a mapping reads any other file",
                names().collect::<Vec<_>>().join(", ")
            )
        )),
    }
}
