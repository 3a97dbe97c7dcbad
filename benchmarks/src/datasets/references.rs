//! The pictures of VLMEvalKit's tables, where a cell may name another row that has the same picture.
//!
//! Does not know benchmarks.
//! The row that is named may stand before or behind the one that names it. For what is behind, the rest
//! of the table is read once more, and only if it is needed.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;

use crate::datasets::fault::{Checked, Fault, Stop};
use crate::datasets::row::{PictureKind, Row};
use crate::datasets::tsv::Tsv;
use crate::datasets::value::{Value, shown};
use crate::sample::ImageSource;

/// A cell of at most so many characters names a row, a longer one is a picture.
const REFERENCE_MAX: usize = 64;

/// The pictures of rows by their `index`.
#[derive(Debug, Default)]
pub(super) struct References {
    known: HashMap<String, Vec<ImageSource>>,
    scanned: bool,
}

impl References {
    /// Finds the pictures of `row`.
    ///
    /// # Errors
    /// If a picture is broken or missing, or the row that is named is not there or has none.
    pub(super) fn resolve(&mut self, row: &mut Row) -> Checked<()> {
        let index = row.required("index")?;
        row.pictures = match row.value("image") {
            Value::Text(text) if is_reference(&text.text) => {
                self.find(row, text.text.trim())?.clone()
            }
            Value::Null => row.pictures("image_path", PictureKind::Path)?,
            _ => row.pictures("image", PictureKind::Base64)?,
        };
        self.known.insert(index, row.pictures.clone());
        Ok(())
    }

    fn find(&mut self, row: &Row, index: &str) -> Checked<&Vec<ImageSource>> {
        if !self.known.contains_key(index) && !self.scanned {
            self.scanned = true;
            // What is broken there is reported when it is reached.
            let _ = self.scan(row);
        }
        match self.known.get(index) {
            Some(pictures) if !pictures.is_empty() => Ok(pictures),
            Some(_) => Err(format!("row `{}`, which the cell names, has no picture", shown(index))),
            None => Err(format!("the cell names row `{}`, which is not there", shown(index))),
        }
        .map_err(|cause| {
            Fault::new("image", cause).hint(format!(
                "a cell of at most {REFERENCE_MAX} characters is the `index` of the row that has the picture"
            ))
        })
    }

    /// Takes note of every picture of the table.
    fn scan(&mut self, row: &Row) -> Result<(), Stop> {
        let mut table = Tsv::open(BufReader::new(File::open(&row.file)?))?;
        let mut number = 0;
        while let Some(values) = table.row()? {
            number += 1;
            let Ok(values) = values else { continue };
            let other = Row {
                file: row.file.clone(),
                number,
                layout: row.layout,
                split: row.split.clone(),
                columns: row.columns.clone(),
                values,
                pictures: Vec::new(),
            };
            let named = match other.value("image") {
                Value::Text(text) => is_reference(&text.text),
                _ => true,
            };
            if let (false, Ok(index)) = (named, other.required("index"))
                && let Ok(pictures) = other.pictures("image", PictureKind::Base64)
            {
                self.known.entry(index).or_insert(pictures);
            }
        }
        Ok(())
    }
}

fn is_reference(text: &str) -> bool {
    !text.starts_with('[') && text.chars().nth(REFERENCE_MAX).is_none()
}
