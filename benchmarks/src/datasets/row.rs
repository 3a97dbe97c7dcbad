//! A row of a file and what its columns can be asked for.
//!
//! This module does not know benchmarks: which column means what is said in their files.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use synergy_hint::hint;

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::json::{self, Json};
use crate::datasets::parquet::{self, CHANGED, Parquet};
use crate::datasets::python_literal;
use crate::datasets::tsv::Tsv;
use crate::datasets::value::{Cells, Rows, Value, shown};
use crate::difficulty::Level;
use crate::sample::{Details, ImageSource, Sample};
use crate::stored::{self, At, Cell, Origin, Place};

/// How the cells of a column hold pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PictureKind {
    /// Base64 text, or a list of such texts.
    Base64,
    /// A picture file's path from the folder of the file, or a list of paths.
    Path,
    /// Bytes, or a struct of `bytes` and `path`, or a list of either.
    Bytes,
}

/// The layout of a file of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Tsv,
    /// One array of objects, or one object a line: Hugging Face's `datasets` takes both under this name.
    Json,
    /// One object a line.
    Jsonl,
    Parquet,
}

/// The endings of files' names that can be read, and the layouts of such files.
pub(super) type Kinds = [(&'static str, Layout); 3];

/// What turns the rows of a file into samples.
pub(super) trait Meaning: fmt::Debug + Send + Sync {
    /// Returns the kinds of files that can be read.
    fn kinds(&self) -> &'static Kinds {
        const KINDS: Kinds =
            [("tsv", Layout::Tsv), ("jsonl", Layout::Jsonl), ("parquet", Layout::Parquet)];
        &KINDS
    }

    /// Checks a file and returns the part of the data set that it holds.
    ///
    /// # Errors
    /// If the file is of another layout or one of its `columns` is missing; JSON has none for the file as a whole.
    fn split(
        &self,
        layout: Layout,
        columns: Option<&[String]>,
        path: &Path,
    ) -> anyhow::Result<String>;

    /// Returns the column that tells one row from another; empty if it is the row's number.
    fn id_column(&self, layout: Layout) -> &str;

    /// Returns the sample that a row holds.
    fn sample(&self, row: &Row) -> Checked<Sample>;
}

/// A file of rows and what they mean.
#[derive(Debug)]
pub(super) struct RowFile {
    pub(super) path: Arc<Path>,
    pub(super) layout: Layout,
    /// The part of the data set that the file holds.
    pub(super) split: Arc<str>,
    /// The columns of the file as a whole; none for JSON.
    pub(super) columns: Arc<[String]>,
    pub(super) meaning: Arc<dyn Meaning>,
    /// The number and the first byte of every row by its `index`, where a cell can name another row.
    pub(super) by_index: OnceLock<HashMap<String, (u64, u64)>>,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) file: Arc<RowFile>,
    /// From 1, without the header.
    pub(super) number: u64,
    /// The same over all files that are read together.
    pub(super) number_overall: u64,
    pub(super) cells: Cells,
    /// The picture files that were found in the cells so far, in the order in which they were asked for.
    pictures: RefCell<Vec<Vec<u8>>>,
}

impl RowFile {
    /// Opens the file to read it row by row.
    ///
    /// # Errors
    /// If the file cannot be read or has no valid header or schema.
    pub(super) fn rows(path: &Path, layout: Layout) -> Checked<Box<dyn Rows>> {
        Ok(match layout {
            Layout::Tsv => Box::new(Tsv::open(File::open(path)?)?),
            Layout::Json => Box::new(Json::open(File::open(path)?, true)?),
            Layout::Jsonl => Box::new(Json::open(File::open(path)?, false)?),
            Layout::Parquet => Box::new(Parquet::open(path)?),
        })
    }

    /// Reads the row that begins at byte `start` again; `None` if the file ends before it.
    pub(super) fn row(self: &Arc<Self>, number: u64, start: u64) -> Checked<Option<Row>> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() <= start {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(start))?;
        let cells = match self.layout {
            Layout::Tsv => Tsv::resume(file, start, Arc::clone(&self.columns))?.next()?,
            _ => json::object_at(file, start)?,
        };
        Ok(cells.map(|cells| Row::new(Arc::clone(self), number, 0, cells)))
    }
}

impl stored::Source for RowFile {
    fn picture(self: Arc<Self>, number: u64, at: At) -> anyhow::Result<Vec<u8>> {
        let (start, index) = match at {
            At::Text { start, index } => (start, index),
            At::Parquet { row_group, row, leaf, index } => {
                return parquet::bytes(&self.path, row_group, row, leaf, index);
            }
        };
        let row = self
            .row(number, start)
            .map_err(|fault| anyhow!(hint!("{CHANGED}: {fault}", ("{}", fault.hint))))?;
        let row = row.context("the file has become shorter since it was read")?;
        // Asks for the pictures in the order in which they were asked for when the row was read first.
        let sample = self.meaning.sample(&row);
        let found = row.pictures.into_inner().into_iter().nth(index);
        found.with_context(|| match sample {
            Ok(_) => CHANGED.to_owned(),
            Err(fault) => format!("{CHANGED}: {fault}"),
        })
    }
}

impl Row {
    pub(super) fn new(file: Arc<RowFile>, number: u64, number_overall: u64, cells: Cells) -> Row {
        Row { file, number, number_overall, cells, pictures: RefCell::default() }
    }

    /// Returns where the row stands.
    pub(super) fn origin(&self) -> Origin {
        Origin { file: Arc::clone(&self.file.path), row: self.number }
    }

    /// Returns the value of a column; an empty one if there is no such column.
    pub(super) fn value(&self, column: &str) -> &Value {
        let place = self.cells.columns.iter().position(|name| name == column);
        place.map_or(&Value::Null, |place| &self.cells.values[place])
    }

    /// Returns a text or a number; `None` if the cell is empty.
    pub(super) fn text(&self, column: &str) -> Checked<Option<String>> {
        text_of(column, self.value(column))
    }

    /// Returns a text or a number that must be there.
    pub(super) fn required(&self, column: &str) -> Checked<String> {
        self.text(column)?.ok_or_else(|| Fault::new(column, "the cell is empty"))
    }

    /// Returns an answer key that must be there: a value, or the text of a Python list of values of which each is right.
    ///
    /// A list that cannot be read would be compared as it is written and never be right, so it is refused.
    pub(super) fn key(&self, column: &str) -> Checked<String> {
        let key = self.required(column)?;
        let is_list = key
            .trim_start()
            .strip_prefix('[')
            .is_some_and(|rest| rest.trim_start().starts_with(['\'', '"', ']']));
        if is_list {
            match literal(column, &key)? {
                Value::List(values) if !values.is_empty() => {
                    for value in &values {
                        text_of(column, value)?
                            .ok_or_else(|| Fault::new(column, "a value of the list is empty"))?;
                    }
                }
                _ => return Err(Fault::new(column, "the list has no values")),
            }
        }
        Ok(key)
    }

    /// Returns the text of one key of a cell that holds a struct, an object or a Python dictionary.
    pub(super) fn field(&self, column: &str, key: &str) -> Checked<Option<String>> {
        let fields = match self.value(column) {
            Value::Text(text) => &literal(column, text)?,
            other => other,
        };
        match fields {
            Value::Null => Ok(None),
            Value::Struct(_) => match fields.get(key) {
                Some(value) => text_of(column, value),
                None => Ok(None),
            },
            other => Err(Fault::new(column, format!("the cell is {}, not a struct", other.kind()))),
        }
    }

    /// Returns the texts of a list or of a Python list; no texts if the cell is empty.
    pub(super) fn list(&self, column: &str) -> Checked<Vec<String>> {
        let list = match self.value(column) {
            Value::Text(text) => &literal(column, text)?,
            other => other,
        };
        match list {
            Value::Null => Ok(Vec::new()),
            Value::List(values) => {
                let texts = values.iter().enumerate().map(|(place, value)| {
                    text_of(column, value)?.ok_or_else(|| {
                        Fault::new(column, format!("element {} of the list is empty", place + 1))
                    })
                });
                texts.collect()
            }
            other => Err(Fault::new(column, format!("the cell is {}, not a list", other.kind()))),
        }
    }

    /// Returns the choices of columns with one choice each; those behind the last may be empty.
    pub(super) fn letters<'a>(
        &self,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> Checked<Vec<String>> {
        let mut choices = Vec::new();
        let mut empty = None;
        for column in columns {
            match (self.text(column)?, empty) {
                (Some(choice), None) => choices.push(choice),
                (Some(_), Some(empty)) => {
                    let cause = format!("the choice is empty, but not the later `{column}`");
                    return Err(Fault::new(empty, cause));
                }
                (None, _) => empty = empty.or(Some(column)),
            }
        }
        Ok(choices)
    }

    /// Returns a number that need not be whole; `None` if the cell is empty or not a number (NaN).
    pub(super) fn real(&self, column: &str) -> Checked<Option<f64>> {
        let Some(text) = self.text(column)? else { return Ok(None) };
        let number: f64 = text
            .trim()
            .parse()
            .map_err(|_| Fault::new(column, format!("`{}` is not a number", shown(&text))))?;
        Ok(Some(number).filter(|number| !number.is_nan()))
    }

    /// Returns a whole number from 0, which may be written as `2.0`; `None` if the cell is empty.
    pub(super) fn count(&self, column: &str) -> Checked<Option<u32>> {
        let Some(number) = self.real(column)? else { return Ok(None) };
        if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            return Ok(Some(number as u32));
        }
        Err(Fault::new(column, format!("{number} is not a whole number from 0")))
    }

    /// Returns a difficulty level: `L3`, `Level 3` or `3`.
    pub(super) fn level(&self, column: &str) -> Checked<Option<Level>> {
        let Some(text) = self.text(column)? else { return Ok(None) };
        let lower = text.trim().to_lowercase();
        let digit = lower.strip_prefix("level").or(lower.strip_prefix('l')).unwrap_or(&lower);
        let number: Option<f64> = digit.trim().parse().ok();
        let level = Level::ALL.into_iter().zip(1_u8..).find(|(_, n)| number == Some(f64::from(*n)));
        match level {
            Some((level, _)) => Ok(Some(level)),
            None => Err(Fault::new(column, format!("`{}` is not a level", shown(&text)))
                .hint("levels are L1 to L5 or 1 to 5")),
        }
    }

    /// Returns a share from 0 to 1; `None` if the cell is empty.
    pub(super) fn share(&self, column: &str) -> Checked<Option<f64>> {
        match self.real(column)? {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                Err(Fault::new(column, format!("the pass rate {share} is not within 0 and 1")))
            }
            share => Ok(share),
        }
    }

    /// Returns what the study's published files add to every set, and nothing else.
    pub(super) fn study_details(&self) -> Checked<Details> {
        Ok(Details {
            level: self.level("difficulty_level_for_qwen2.5_vl_7b")?,
            pass_rate: self.share("passrate_for_qwen2.5_vl_7b")?,
            ..Details::default()
        })
    }

    /// Returns all pictures of a column; no pictures if the cell is empty.
    pub(super) fn pictures(&self, column: &str, kind: PictureKind) -> Checked<Vec<ImageSource>> {
        self.pictures_of(column, self.value(column), kind)
    }

    /// Returns all pictures of several columns with one picture each; those behind the last may be empty.
    pub(super) fn numbered_pictures(&self, columns: &[&str]) -> Checked<Vec<ImageSource>> {
        let mut pictures = Vec::new();
        let mut empty = None;
        for column in columns {
            let found = self.pictures(column, PictureKind::Bytes)?;
            match empty {
                Some(empty) if !found.is_empty() => {
                    let cause = format!("the picture is missing, but not the later `{column}`");
                    return Err(Fault::new(empty, cause));
                }
                _ if found.is_empty() => empty = empty.or(Some(*column)),
                _ => pictures.extend(found),
            }
        }
        Ok(pictures)
    }

    /// Returns all pictures of a value that stands in a column.
    pub(super) fn pictures_of(
        &self,
        column: &str,
        value: &Value,
        kind: PictureKind,
    ) -> Checked<Vec<ImageSource>> {
        match (value, kind) {
            (Value::Null, _) => Ok(Vec::new()),
            (Value::List(values), _) => {
                let mut pictures = Vec::with_capacity(values.len());
                for (place, value) in values.iter().enumerate() {
                    let found = self.pictures_of(column, value, kind)?;
                    if found.len() != 1 {
                        let cause = format!("element {} of the list is not a picture", place + 1);
                        return Err(Fault::new(column, cause));
                    }
                    pictures.extend(found);
                }
                Ok(pictures)
            }
            (Value::Text(text), PictureKind::Base64 | PictureKind::Path)
                if text.starts_with('[') && text.ends_with(']') =>
            {
                self.pictures_of(column, &literal(column, text)?, kind)
            }
            (Value::Text(text), PictureKind::Base64) => Ok(vec![self.base64(column, text)?]),
            (Value::Text(path), PictureKind::Path) => Ok(vec![self.path(column, path)?]),
            (Value::Bytes { head, at }, PictureKind::Bytes) => {
                stored::check_head(head).map_err(|cause| Fault::new(column, cause))?;
                Ok(vec![self.cell(column, *at)])
            }
            (Value::Struct(_), PictureKind::Bytes) => {
                match (value.get("bytes"), value.get("path")) {
                    (Some(bytes @ Value::Bytes { .. }), _) => self.pictures_of(column, bytes, kind),
                    // Without bytes inside, the file is outside.
                    (Some(Value::Null) | None, Some(Value::Text(path))) => {
                        Ok(vec![self.path(column, path)?])
                    }
                    (Some(Value::Null), Some(Value::Null) | None) => Ok(Vec::new()),
                    // Bytes in JSON.
                    (Some(Value::Text(text)), _) => Ok(vec![self.base64(column, text)?]),
                    _ => Err(Fault::new(column, "the struct has neither `bytes` nor `path`")),
                }
            }
            (value, kind) => {
                let wanted = match kind {
                    PictureKind::Base64 => "base64 text",
                    PictureKind::Path => "a path",
                    PictureKind::Bytes => "bytes",
                };
                let cause = format!("the cell is {}, not a picture as {wanted}", value.kind());
                Err(Fault::new(column, cause))
            }
        }
    }

    fn base64(&self, column: &str, text: &str) -> Checked<ImageSource> {
        let bytes = stored::decode_base64(text).map_err(|cause| Fault::new(column, cause))?;
        let mut pictures = self.pictures.borrow_mut();
        pictures.push(bytes);
        Ok(self.cell(column, At::Text { start: self.cells.start, index: pictures.len() - 1 }))
    }

    fn cell(&self, column: &str, at: At) -> ImageSource {
        let place = Place { origin: self.origin(), column: Arc::from(column) };
        ImageSource::Cell(Box::new(Cell { place, at, source: Arc::clone(&self.file) as _ }))
    }

    /// Returns a picture file that must be there.
    pub(super) fn path(&self, column: &str, path: &str) -> Checked<ImageSource> {
        let folder = self.file.path.parent().unwrap_or(Path::new(""));
        let path = folder.join(path);
        if path.is_file() {
            return Ok(ImageSource::File(path));
        }
        Err(Fault::new(column, format!("the picture `{}` is missing", path.display()))
            .hint(format!("paths begin at `{}`", folder.display())))
    }
}

/// Returns a text as it is, and a number as it is written.
pub(super) fn text_of(column: &str, value: &Value) -> Checked<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) if text.trim().is_empty() => Ok(None),
        Value::Text(text) => Ok(Some(text.clone())),
        Value::Number(number) if number == "NaN" => Ok(None),
        Value::Number(number) => Ok(Some(number.clone())),
        Value::Boolean(value) => Ok(Some(if *value { "True" } else { "False" }.to_owned())),
        other => Err(Fault::new(column, format!("the cell is {}, not text", other.kind()))),
    }
}

fn literal(column: &str, text: &str) -> Checked<Value> {
    python_literal::parse(text)
        .map_err(|cause| Fault::new(column, format!("the cell is not a Python literal: {cause}")))
}
