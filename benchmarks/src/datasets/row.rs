//! A row of a file and what its columns can be asked for.
//!
//! Does not know benchmarks: which column means what is said in their files.

use std::path::Path;
use std::sync::Arc;

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::python_literal;
use crate::datasets::value::{Text, Value, shown};
use crate::difficulty::Level;
use crate::sample::{Details, ImageSource};
use crate::stored::{self, Cell, Place, Stored};

/// How the cells of a column hold pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PictureKind {
    /// Base64 text, or a list of such texts.
    Base64,
    /// A picture file's path from the folder of the file, or a list of paths.
    Path,
    /// Bytes, or a struct of `bytes` and `path`, or a list of either.
    Bytes,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Tsv,
    /// One array of objects.
    Json,
    /// One object a line.
    Jsonl,
    Parquet,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) file: Arc<Path>,
    /// From 1, without the header.
    pub(super) number: u64,
    pub(super) layout: Layout,
    /// The part of the benchmark that the file holds.
    pub(super) split: Arc<str>,
    pub(super) columns: Arc<[String]>,
    pub(super) values: Vec<Value>,
    /// The pictures of a row in VLMEvalKit's layout, where a cell may refer to another row.
    pub(super) pictures: Vec<ImageSource>,
}

impl Row {
    /// What stands in a column; nothing if there is no such column.
    pub(super) fn value(&self, column: &str) -> &Value {
        let place = self.columns.iter().position(|name| name == column);
        place.map_or(&Value::Null, |place| &self.values[place])
    }

    /// A text or a number; nothing if the cell is empty.
    pub(super) fn text(&self, column: &str) -> Checked<Option<String>> {
        text_of(column, self.value(column))
    }

    /// A text or a number that must be there.
    pub(super) fn required(&self, column: &str) -> Checked<String> {
        self.text(column)?.ok_or_else(|| Fault::new(column, "the cell is empty"))
    }

    /// The text of one key of a cell that holds a struct, an object or a Python dictionary.
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

    /// The texts of a list or of a Python list; none if the cell is empty.
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

    /// The choices of columns with one choice each; those behind the last may be empty.
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

    /// A number that may be broken; nothing if the cell is empty or not a number (NaN).
    pub(super) fn real(&self, column: &str) -> Checked<Option<f64>> {
        let Some(text) = self.text(column)? else { return Ok(None) };
        let number: f64 = text
            .trim()
            .parse()
            .map_err(|_| Fault::new(column, format!("`{}` is no number", shown(&text))))?;
        Ok(Some(number).filter(|number| !number.is_nan()))
    }

    /// A whole number from 0, which may be written as `2.0`; nothing if the cell is empty.
    pub(super) fn count(&self, column: &str) -> Checked<Option<u32>> {
        let Some(number) = self.real(column)? else { return Ok(None) };
        if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            return Ok(Some(number as u32));
        }
        Err(Fault::new(column, format!("{number} is no whole number from 0")))
    }

    /// A difficulty level: `L3`, `Level 3` or `3`.
    pub(super) fn level(&self, column: &str) -> Checked<Option<Level>> {
        let Some(text) = self.text(column)? else { return Ok(None) };
        let lower = text.trim().to_lowercase();
        let digit = lower.strip_prefix("level").or(lower.strip_prefix('l')).unwrap_or(&lower);
        let number: Option<f64> = digit.trim().parse().ok();
        let level = Level::ALL.into_iter().zip(1_u8..).find(|(_, n)| number == Some(f64::from(*n)));
        match level {
            Some((level, _)) => Ok(Some(level)),
            None => Err(Fault::new(column, format!("`{}` is no level", shown(&text)))
                .hint("levels are L1 to L5 or 1 to 5")),
        }
    }

    /// A share from 0 to 1; nothing if the cell is empty.
    pub(super) fn share(&self, column: &str) -> Checked<Option<f64>> {
        match self.real(column)? {
            Some(share) if !(0.0..=1.0).contains(&share) => {
                Err(Fault::new(column, format!("{share} is no pass rate from 0 to 1")))
            }
            share => Ok(share),
        }
    }

    /// What the study's published files add to every set, and nothing else.
    pub(super) fn study_details(&self) -> Checked<Details> {
        Ok(Details {
            level: self.level("difficulty_level_for_qwen2.5_vl_7b")?,
            pass_rate: self.share("passrate_for_qwen2.5_vl_7b")?,
            ..Details::default()
        })
    }

    /// All pictures of a column; none if the cell is empty.
    pub(super) fn pictures(&self, column: &str, kind: PictureKind) -> Checked<Vec<ImageSource>> {
        self.pictures_of(column, self.value(column), kind)
    }

    /// All pictures of several columns with one picture each; those behind the last may be empty.
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

    /// All pictures of a value that stands in a column.
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
                        let cause = format!("element {} of the list is no picture", place + 1);
                        return Err(Fault::new(column, cause));
                    }
                    pictures.extend(found);
                }
                Ok(pictures)
            }
            (Value::Text(text), PictureKind::Base64 | PictureKind::Path)
                if text.text.starts_with('[') && text.text.ends_with(']') =>
            {
                self.pictures_of(column, &literal(column, text)?, kind)
            }
            (Value::Text(text), PictureKind::Base64) => Ok(vec![self.base64(column, text)?]),
            (Value::Text(path), PictureKind::Path) => Ok(vec![self.path(column, &path.text)?]),
            (Value::Bytes { head, stored }, PictureKind::Bytes) => {
                stored::check_head(head).map_err(|cause| Fault::new(column, cause))?;
                Ok(vec![self.cell(column, stored.clone())])
            }
            (Value::Struct(_), PictureKind::Bytes) => {
                match (value.get("bytes"), value.get("path")) {
                    (Some(bytes @ Value::Bytes { .. }), _) => self.pictures_of(column, bytes, kind),
                    // Without bytes inside, the file is outside.
                    (Some(Value::Null) | None, Some(Value::Text(path))) => {
                        Ok(vec![self.path(column, &path.text)?])
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

    fn base64(&self, column: &str, text: &Text) -> Checked<ImageSource> {
        let stored = match text.stored() {
            Some(stored) => stored::check_base64(&text.text).map(|()| stored),
            None => stored::decode_base64(&text.text).map(Stored::Memory),
        };
        Ok(self.cell(column, stored.map_err(|cause| Fault::new(column, cause))?))
    }

    fn cell(&self, column: &str, stored: Stored) -> ImageSource {
        let place =
            Place { file: Arc::clone(&self.file), row: self.number, column: Arc::from(column) };
        ImageSource::Cell(Box::new(Cell { place, stored }))
    }

    /// A picture file that must be there.
    pub(super) fn path(&self, column: &str, path: &str) -> Checked<ImageSource> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let path = folder.join(path);
        if path.is_file() {
            return Ok(ImageSource::File(path));
        }
        Err(Fault::new(column, format!("the picture `{}` is missing", path.display()))
            .hint(format!("paths begin at `{}`", folder.display())))
    }
}

/// A text as it is; a number as it is written.
pub(super) fn text_of(column: &str, value: &Value) -> Checked<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) if text.text.trim().is_empty() => Ok(None),
        Value::Text(text) => Ok(Some(text.text.clone())),
        Value::Number(number) if number == "NaN" => Ok(None),
        Value::Number(number) => Ok(Some(number.clone())),
        Value::Boolean(value) => Ok(Some(if *value { "True" } else { "False" }.to_owned())),
        other => Err(Fault::new(column, format!("the cell is {}, not text", other.kind()))),
    }
}

fn literal(column: &str, text: &Text) -> Checked<Value> {
    python_literal::parse(&text.text, text.origin)
        .map_err(|cause| Fault::new(column, format!("the cell is no Python literal: {cause}")))
}
