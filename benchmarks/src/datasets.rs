//! Published benchmarks, one file each, read from the files that their owners publish.
//!
//! Does not fetch anything: `cargo xtask fetch` does what it can, against `datasets.lock` beside this
//! crate. External questions have no hops, no traces and no teacher; they are evaluated, never trained on.
//!
//! [`open`] reads a benchmark that is known here, [`mapped::open`] any file whose columns are named.
//! Both read row by row and decode no picture before it is asked for.

use std::path::Path;

use anyhow::{Result, bail};

use crate::datasets::published::Published;
use crate::datasets::reader::Meaning;

pub mod arc_agi;
pub mod easy_vqa;
mod fault;
mod jsonl;
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
mod references;
mod row;
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

/// The names that [`open`] takes.
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
        Some(published) => Reader::open(Meaning::Published(published), path),
        None => bail!(
            "there is no benchmark `{name}`\nhint: there are {}; a mapping reads any other file",
            names().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The readers on bytes in memory, for tests that feed them anything.
#[doc(hidden)]
pub mod fuzzing {
    use crate::datasets::{jsonl::Jsonl, python_literal, tsv::Tsv, value::Origin};

    /// Reads `bytes` as a table to its end or to where it is broken; returns the number of good rows.
    pub fn tsv(bytes: &[u8]) -> usize {
        let Ok(mut table) = Tsv::open(bytes) else { return 0 };
        std::iter::from_fn(|| table.row().ok().flatten()).filter(Result::is_ok).count()
    }

    /// Reads `bytes` as objects to their end; returns the number of good lines.
    pub fn jsonl(bytes: &[u8]) -> usize {
        let mut lines = Jsonl::new(bytes);
        std::iter::from_fn(|| lines.row().ok().flatten()).filter(Result::is_ok).count()
    }

    /// Whether `text` is a Python literal.
    pub fn python_literal(text: &str) -> bool {
        python_literal::parse(text, Some(Origin { offset: 0, doubled: true })).is_ok()
    }
}
