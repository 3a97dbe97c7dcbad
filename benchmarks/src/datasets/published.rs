//! What the published benchmarks have in common: a name, two layouts, splits, a row that becomes a sample.
//!
//! This module does not know any benchmark: each has a file of its own. It knows the tables of VLMEvalKit, where the
//! cell of a picture may name another row that has the same picture.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};
use synergy_hint::hint;

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::row::{Layout, Meaning, PictureKind, Row, RowFile, text_of};
use crate::datasets::value::{Value, shown};
use crate::sample::{ImageSource, Sample};

/// A benchmark that others publish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    /// The name in samples and their ids.
    pub(super) name: &'static str,
    /// The name as its owners write it.
    pub(super) title: &'static str,
    /// Names of tables by VLMEvalKit, without `_local` and in lower case, and the splits in them.
    pub(super) tables: &'static [(&'static str, &'static str)],
    /// The split of a table with another name.
    pub(super) split: &'static str,
    /// The columns that a table by VLMEvalKit must have besides those of every such table.
    pub(super) tsv: &'static [&'static str],
    /// The columns that a parquet file must have; the first is the id.
    pub(super) parquet: &'static [&'static str],
    /// The column of a table that holds the row's split, where the file holds several.
    pub(super) tsv_split: Option<&'static str>,
    /// Returns the sample of a row, its id without benchmark and split, its benchmark left out.
    pub(super) sample: fn(&Row) -> Checked<Sample>,
}

/// The columns of every table by VLMEvalKit; one of the last two is enough.
const TSV: [&str; 3] = ["index", "question", "answer"];
const TSV_PICTURES: [&str; 2] = ["image", "image_path"];

/// A cell of at most so many characters names a row, a longer one is a picture.
const REFERENCE_MAX: usize = 64;
/// How many rows are followed from one that names another.
const FOLLOWED_MAX: usize = 8;

impl Meaning for Published {
    fn split(&self, layout: Layout, columns: Option<&[String]>, path: &Path) -> Result<String> {
        self.check(layout, columns.unwrap_or_default(), path)?;
        Ok(self.split_of(path))
    }

    fn id_column(&self, layout: Layout) -> &str {
        if layout == Layout::Parquet { self.parquet[0] } else { TSV[0] }
    }

    fn sample(&self, row: &Row) -> Checked<Sample> {
        let mut split = None;
        if let (Some(column), Layout::Tsv) = (self.tsv_split, row.file.layout) {
            split = row.text(column)?;
        }
        let sample = (self.sample)(row)?;
        Ok(sample.named(self.name, split.as_deref().unwrap_or(&row.file.split)))
    }
}

impl Sample {
    /// Puts the names of benchmark and split before the id, the latter unless it is empty.
    pub(super) fn named(self, benchmark: &str, split: &str) -> Sample {
        let parts = [benchmark, split, &self.id];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Sample { id: parts.join("/"), benchmark: benchmark.to_owned(), ..self }
    }
}

impl Published {
    /// Checks that a file is one of this benchmark.
    ///
    /// # Errors
    /// If its layout is not one of the two or a column is not there.
    fn check(&self, layout: Layout, columns: &[String], path: &Path) -> Result<()> {
        let has = |column: &str| columns.iter().any(|name| name == column);
        let (own, owner): (Vec<&str>, &str) = match layout {
            Layout::Tsv => (TSV.iter().chain(self.tsv).copied().collect(), "VLMEvalKit"),
            Layout::Parquet => (self.parquet.to_vec(), "its owners"),
            Layout::Json | Layout::Jsonl => bail!(hint!(
                ("{} is read from .tsv and .parquet, not from `{}`", self.title, path.display()),
                "a mapping reads any JSONL"
            )),
        };
        let mut missing = own.into_iter().find(|column| !has(column));
        if layout == Layout::Tsv && !TSV_PICTURES.iter().any(|column| has(column)) {
            missing = missing.or(Some(TSV_PICTURES[0]));
        }
        match missing {
            None => Ok(()),
            Some(column) => bail!(hint!(
                (
                    "`{}` has no column `{column}`, as {} by {owner} has; it has {}",
                    path.display(),
                    self.title,
                    listed(columns)
                ),
                "is it another benchmark? a mapping reads any columns"
            )),
        }
    }

    /// Returns the split that a file holds, by its name: `test-00000-of-00001.parquet`, `testmini_text_lite.parquet`,
    /// `MathVision_MINI.tsv`.
    fn split_of(&self, path: &Path) -> String {
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

/// Returns what stands before the numbers in the name of a file by Hugging Face.
fn shard_split(stem: &str) -> Option<&str> {
    let (split, rest) = stem.split_once("-0")?;
    let is_shard = rest.split('-').any(|part| part == "of");
    Some(split).filter(|split| !split.is_empty() && is_shard)
}

/// Returns whether `text` can be a part of ids.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

/// Returns the names in backticks with commas.
pub(super) fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Row {
    /// Returns the question of a table by VLMEvalKit: its hint stands before it.
    pub(super) fn tsv_question(&self) -> Checked<String> {
        let question = self.required("question")?;
        Ok(match self.text("hint")? {
            Some(hint) => format!("Hint: {hint}\n{question}"),
            None => question,
        })
    }

    /// Checks that there is at least one picture; `column` is where it should be.
    pub(super) fn some(images: Vec<ImageSource>, column: &str) -> Checked<Vec<ImageSource>> {
        if images.is_empty() {
            return Err(Fault::new(column, "there is no picture"));
        }
        Ok(images)
    }

    /// Returns the pictures of a table by VLMEvalKit, of which there must be one.
    pub(super) fn some_tsv_pictures(&self) -> Checked<Vec<ImageSource>> {
        let has_image = self.cells.columns.iter().any(|name| name == TSV_PICTURES[0]);
        Row::some(self.tsv_pictures()?, TSV_PICTURES[usize::from(!has_image)])
    }

    /// Returns the pictures of a table by VLMEvalKit, which may be those of another row that the cell names.
    pub(super) fn tsv_pictures(&self) -> Checked<Vec<ImageSource>> {
        let Some(name) = self.reference() else { return self.own_tsv_pictures() };
        let fault = |cause: String| {
            Fault::new(TSV_PICTURES[0], cause).hint(format!(
                "a cell of at most {REFERENCE_MAX} characters is the `index` of the row that has the picture"
            ))
        };
        let shown = shown(name);
        let missing = || fault(format!("the cell names row `{shown}`, which is not there"));
        let mut row = self.row_of(name)?.ok_or_else(missing)?;
        for _ in 0..FOLLOWED_MAX {
            let Some(name) = row.reference() else {
                let pictures = row.own_tsv_pictures()?;
                if pictures.is_empty() {
                    return Err(fault(format!(
                        "row `{shown}`, which the cell names, has no picture"
                    )));
                }
                return Ok(pictures);
            };
            row = row.row_of(name)?.ok_or_else(missing)?;
        }
        Err(fault(format!("the cell names row `{shown}`, which leads to no picture")))
    }

    fn own_tsv_pictures(&self) -> Checked<Vec<ImageSource>> {
        match self.value(TSV_PICTURES[0]) {
            Value::Null => self.pictures(TSV_PICTURES[1], PictureKind::Path),
            _ => self.pictures(TSV_PICTURES[0], PictureKind::Base64),
        }
    }

    /// Returns the `index` of the row that the cell of the picture names, if it names one.
    fn reference(&self) -> Option<&str> {
        match self.value(TSV_PICTURES[0]) {
            Value::Text(text) => Some(text.trim())
                .filter(|_| !text.starts_with('[') && text.chars().nth(REFERENCE_MAX).is_none()),
            _ => None,
        }
    }

    /// Reads the row of the same file that has this `index`.
    fn row_of(&self, index: &str) -> Checked<Option<Row>> {
        let by_index = self.file.by_index.get_or_init(|| by_index(&self.file));
        match by_index.get(index) {
            Some((number, start)) => self.file.row(*number, *start),
            None => Ok(None),
        }
    }
}

/// Returns number and first byte of every row by its `index`. What is broken is left out, and reported when it is
/// reached.
fn by_index(file: &RowFile) -> HashMap<String, (u64, u64)> {
    let mut found = HashMap::new();
    let Ok(mut rows) = RowFile::rows(&file.path, file.layout) else { return found };
    let place = file.columns.iter().position(|name| name == TSV[0]);
    for number in 1.. {
        match rows.next() {
            Ok(None) => break,
            Err(fault) if fault.is_end => break,
            Err(_) => {}
            Ok(Some(cells)) => {
                let index = place.and_then(|place| text_of(TSV[0], &cells.values[place]).ok()?);
                if let Some(index) = index {
                    found.entry(index).or_insert((number, cells.start));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_name_of_a_split_is_that_split() {
        let split = |name: &str| super::super::mathverse::BENCHMARK.split_of(Path::new(name));
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
