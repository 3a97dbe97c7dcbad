//! What the published benchmarks have in common: a name, two layouts, splits, a row that becomes a sample.
//!
//! Does not know any benchmark: each has a file of its own.

use std::path::Path;

use anyhow::{Result, bail};

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::row::{Layout, Row};
use crate::sample::{Details, ImageSource, Sample};

/// A benchmark that others publish.
pub(super) struct Published {
    /// In samples and their ids.
    pub(super) name: &'static str,
    /// As its owners write it.
    pub(super) title: &'static str,
    /// Names of tables by VLMEvalKit, without `_local` and in lower case, and the splits in them.
    pub(super) tables: &'static [(&'static str, &'static str)],
    /// The split of a table with another name.
    pub(super) split: &'static str,
    /// The columns that a table by VLMEvalKit must have besides those of every such table.
    pub(super) tsv: &'static [&'static str],
    /// The columns that a parquet file must have; the first is the id.
    pub(super) parquet: &'static [&'static str],
    pub(super) draft: fn(&Row) -> Checked<Draft>,
}

/// The columns of every table by VLMEvalKit; one of the last two is enough.
const TSV: [&str; 3] = ["index", "question", "answer"];
const TSV_PICTURES: [&str; 2] = ["image", "image_path"];

/// A sample without the names that all samples of a file share.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Unique within the split.
    pub(super) id: String,
    /// Where the row says its split and not the file.
    pub(super) split: Option<String>,
    pub(super) images: Vec<ImageSource>,
    pub(super) question: String,
    pub(super) choices: Vec<String>,
    pub(super) answer: String,
    pub(super) details: Details,
}

impl Draft {
    pub(super) fn sample(self, benchmark: &str, split: &str) -> Sample {
        let Draft { id, split: own_split, images, question, choices, answer, details } = self;
        let split = own_split.as_deref().unwrap_or(split);
        let id = if split.is_empty() {
            format!("{benchmark}/{id}")
        } else {
            format!("{benchmark}/{split}/{id}")
        };
        Sample {
            id,
            benchmark: benchmark.to_owned(),
            hops: 0,
            images,
            question,
            choices,
            answer,
            terse: String::new(),
            verbose: String::new(),
            shallow: String::new(),
            details,
        }
    }
}

impl Published {
    /// The column that tells one row from another.
    pub(super) fn id_column(&self, layout: Layout) -> &'static str {
        if layout == Layout::Parquet { self.parquet[0] } else { TSV[0] }
    }

    /// Checks that a file is one of this benchmark.
    ///
    /// # Errors
    /// If its layout is not one of the two or a column is not there.
    pub(super) fn check(&self, layout: Layout, columns: &[String], path: &Path) -> Result<()> {
        let has = |column: &str| columns.iter().any(|name| name == column);
        let (own, owner): (Vec<&str>, &str) = match layout {
            Layout::Tsv => (TSV.iter().chain(self.tsv).copied().collect(), "VLMEvalKit"),
            Layout::Parquet => (self.parquet.to_vec(), "its owners"),
            Layout::Json | Layout::Jsonl => bail!(
                "{} is read from .tsv and .parquet, not from `{}`\nhint: a mapping reads any JSONL",
                self.title,
                path.display()
            ),
        };
        let mut missing = own.into_iter().find(|column| !has(column));
        if layout == Layout::Tsv && !TSV_PICTURES.iter().any(|column| has(column)) {
            missing = missing.or(Some(TSV_PICTURES[0]));
        }
        match missing {
            None => Ok(()),
            Some(column) => bail!(
                "`{}` has no column `{column}`, as {} by {owner} has; it has {}\n\
                 hint: is it another benchmark? a mapping reads any columns",
                path.display(),
                self.title,
                listed(columns),
            ),
        }
    }

    /// The split that a file holds, by its name: `test-00000-of-00001.parquet`, `testmini_text_lite.parquet`,
    /// `MathVision_MINI.tsv`.
    pub(super) fn split(&self, path: &Path) -> String {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        let stem = stem.strip_suffix("_local").unwrap_or(&stem);
        if let Some((_, split)) = self.tables.iter().find(|(table, _)| *table == stem) {
            return (*split).to_owned();
        }
        let is_own = |name: &str| {
            name.strip_prefix(self.split)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        shard_split(stem)
            .or(Some(stem).filter(|name| is_own(name)))
            .unwrap_or(self.split)
            .to_owned()
    }
}

/// What stands before the numbers in the name of a file by Hugging Face.
fn shard_split(stem: &str) -> Option<&str> {
    let (split, rest) = stem.split_once("-0")?;
    let is_shard = rest.split('-').any(|part| part == "of");
    Some(split).filter(|split| !split.is_empty() && is_shard)
}

/// Whether `text` can be a part of ids.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

/// Names in backticks with commas.
pub(super) fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Row {
    /// The question of a table by VLMEvalKit: its hint stands before it.
    pub(super) fn tsv_question(&self) -> Checked<String> {
        let question = self.required("question")?;
        Ok(match self.text("hint")? {
            Some(hint) => format!("Hint: {hint}\n{question}"),
            None => question,
        })
    }

    /// The pictures, of which there must be one.
    pub(super) fn some(images: Vec<ImageSource>, column: &str) -> Checked<Vec<ImageSource>> {
        if images.is_empty() {
            return Err(Fault::new(column, "there is no picture"));
        }
        Ok(images)
    }

    /// The pictures of a table by VLMEvalKit, of which there must be one.
    pub(super) fn tsv_pictures(&self) -> Checked<Vec<ImageSource>> {
        let has_image = self.columns.iter().any(|name| name == TSV_PICTURES[0]);
        Row::some(self.pictures.clone(), TSV_PICTURES[usize::from(!has_image)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_name_of_a_split_is_that_split() {
        let split = |name: &str| super::super::mathverse::BENCHMARK.split(Path::new(name));
        assert_eq!(split("testmini.parquet"), "testmini");
        assert_eq!(split("testmini_text_lite.parquet"), "testmini_text_lite");
        assert_eq!(split("testminimal.parquet"), "testmini");
        assert_eq!(split("mine.parquet"), "testmini");
    }

    #[test]
    fn the_split_stands_in_the_name_of_a_shard() {
        assert_eq!(shard_split("test-00000-of-00001"), Some("test"));
        assert_eq!(shard_split("testmini-00000-of-00001-725687bf7a18d64b"), Some("testmini"));
        assert_eq!(shard_split("text_only-00001-of-00002"), Some("text_only"));
        assert_eq!(shard_split("0000"), None);
        assert_eq!(shard_split("set-0-a"), None);
    }
}
