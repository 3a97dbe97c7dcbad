//! Parquet files row by row, as Hugging Face's `datasets` writes them.
//!
//! Does not know what a column means, and keeps no picture: bytes become their beginning and their place.
//!
//! Decisions:
//! - Read without arrow, through the crate's rows: far less to compile, and a row at a time is what is
//!   wanted here.
//! - Few values a column are decoded ahead, so that what is in memory is a page a column.

use std::fs::File;
use std::path::Path;

use parquet::basic::{ConvertedType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};

use crate::datasets::fault::Stop;
use crate::datasets::value::Value;
use crate::stored::{self, Stored};

/// Values of a column that are decoded ahead.
const BATCH: usize = 16;
/// So much of a picture tells its kind, in bytes.
const HEAD: usize = 16;

/// A file, read from its beginning.
pub(super) struct Parquet {
    reader: SerializedFileReader<File>,
    pub(super) columns: Vec<String>,
    /// For each column the leaf of the schema that holds its bytes.
    leaves: Vec<Option<usize>>,
    rows: Option<ReaderIter>,
    /// The group that is read next, and the row in the group before it.
    row_group: usize,
    row: usize,
}

impl Parquet {
    /// Reads the schema.
    ///
    /// # Errors
    /// If the file cannot be read, is not parquet or is cut off: the schema stands at its end.
    pub(super) fn open(path: &Path) -> Result<Parquet, Stop> {
        stored::without_panic(|| Parquet::schema(path))
            .unwrap_or_else(|cause| Err(Stop::new(cause)))
    }

    fn schema(path: &Path) -> Result<Parquet, Stop> {
        let reader = SerializedFileReader::new(File::open(path)?).map_err(|error| {
            broken(&error).hint("a parquet file ends with its schema: this one may be cut off")
        })?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let fields = schema.root_schema().get_fields();
        let columns: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
        let leaf = |column: &String| {
            let is_binary = |leaf: &usize| {
                let leaf = schema.column(*leaf);
                leaf.path().parts()[0] == *column
                    && leaf.physical_type() == PhysicalType::BYTE_ARRAY
                    && leaf.converted_type() == ConvertedType::NONE
            };
            let mut binary = (0..schema.num_columns()).filter(is_binary).peekable();
            let first = binary.peek().copied();
            let named = binary.find(|leaf| {
                schema.column(*leaf).path().parts().last().is_some_and(|name| name == "bytes")
            });
            named.or(first)
        };
        let leaves = columns.iter().map(leaf).collect();
        Ok(Parquet { leaves, columns, reader, rows: None, row_group: 0, row: 0 })
    }

    /// The values of the next row, one a column; nothing at the end.
    ///
    /// # Errors
    /// If the file cannot be decoded.
    pub(super) fn row(&mut self) -> Result<Option<Vec<Value>>, Stop> {
        stored::without_panic(|| self.next()).unwrap_or_else(|cause| Err(Stop::new(cause)))
    }

    fn next(&mut self) -> Result<Option<Vec<Value>>, Stop> {
        loop {
            if let Some(rows) = &mut self.rows {
                if let Some(row) = rows.next() {
                    let row = row.map_err(|error| broken(&error))?;
                    self.row += 1;
                    return Ok(Some(self.values(row)));
                }
                self.rows = None;
            }
            if self.row_group == self.reader.num_row_groups() {
                return Ok(None);
            }
            let group =
                self.reader.get_row_group(self.row_group).map_err(|error| broken(&error))?;
            let schema = self.reader.metadata().file_metadata().schema_descr_ptr();
            let rows = TreeBuilder::new().with_batch_size(BATCH).as_iter(schema, group.as_ref());
            self.rows = Some(rows.map_err(|error| broken(&error))?);
            self.row_group += 1;
            self.row = 0;
        }
    }

    fn values(&self, row: Row) -> Vec<Value> {
        let fields = row.into_columns().into_iter().zip(&self.leaves);
        fields.map(|((_, field), leaf)| self.value(field, *leaf, 0)).collect()
    }

    /// The value of `field`, which is at place `index` of the column's cell.
    fn value(&self, field: Field, leaf: Option<usize>, index: usize) -> Value {
        match field {
            Field::Null => Value::Null,
            Field::Bool(value) => Value::Boolean(value),
            Field::Str(text) => Value::text(text),
            Field::Float(value) => Value::Number(format!("{value:?}")),
            Field::Double(value) => Value::Number(format!("{value:?}")),
            Field::Bytes(bytes) => {
                let bytes = bytes.data();
                let head = bytes[..bytes.len().min(HEAD)].to_vec();
                let stored = match leaf {
                    Some(leaf) => {
                        let (row_group, row) = (self.row_group - 1, self.row - 1);
                        Stored::Parquet { row_group, row, leaf, index }
                    }
                    None => Stored::Memory(bytes.into()),
                };
                Value::Bytes { head, stored }
            }
            Field::Group(row) => {
                let field = |(name, field)| (name, self.value(field, leaf, index));
                Value::Struct(row.into_columns().into_iter().map(field).collect())
            }
            Field::ListInternal(list) => {
                let values = list.elements().iter().enumerate();
                Value::List(values.map(|(i, field)| self.value(field.clone(), leaf, i)).collect())
            }
            other => Value::Number(other.to_string()),
        }
    }
}

fn broken(error: &ParquetError) -> Stop {
    // Some of its messages have several lines.
    let message = error.to_string();
    Stop::new(message.lines().next().unwrap_or_default())
}
