//! Reads parquet files row by row, as Hugging Face's `datasets` writes them, and single values of a column.
//!
//! This module does not know what a column means, and holds no picture: bytes become their beginning and their place.
//!
//! Decisions:
//! - Files are read without arrow, through the crate's rows: far less to compile, and a row at a time is what is
//!   wanted here.
//! - A picture is not read again through its row, since that would decode the group up to it, but from its column,
//!   where whole pages are skipped.
//! - What is a date is written as one: a time of midnight, zone, and zeros behind a point say how a value is stored, and
//!   nobody answers with them.
//! - Few values a column are decoded ahead, so that what is in memory is a page a column.

use std::cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::ByteArrayType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::value::{Cells, Rows, Value};
use crate::stored::At;

/// Values of a column that are decoded ahead.
const BATCH: usize = 16;
/// So much of a picture tells its kind, in bytes.
const HEAD: usize = 16;

/// A file, read from its beginning.
pub(super) struct Parquet {
    reader: SerializedFileReader<File>,
    columns: Arc<[String]>,
    /// For each column the leaf of the schema that holds its bytes.
    leaves: Vec<Option<usize>>,
    /// For each column whether its numbers are nanoseconds since 1970, of which the crate's rows do not know.
    nanos: Vec<bool>,
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
    pub(super) fn open(path: &Path) -> Checked<Parquet> {
        without_panic(|| Parquet::schema(path)).unwrap_or_else(|cause| Err(Fault::end(cause)))
    }

    fn schema(path: &Path) -> Checked<Parquet> {
        let reader = SerializedFileReader::new(File::open(path)?).map_err(|error| {
            broken(&error).hint("a parquet file ends with its schema: this one may be cut off")
        })?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let fields = schema.root_schema().get_fields();
        let columns: Arc<[String]> = fields.iter().map(|field| field.name().to_owned()).collect();
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
        let nanos = fields.iter().map(|field| is_nanos(field.get_basic_info().logical_type_ref()));
        let nanos = nanos.collect();
        Ok(Parquet { leaves, nanos, columns, reader, rows: None, row_group: 0, row: 0 })
    }

    fn values_of_next(&mut self) -> Checked<Option<Vec<Value>>> {
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
        let fields = row.into_columns().into_iter().zip(&self.leaves).zip(&self.nanos);
        let value = |(((_, field), leaf), nanos): (((_, Field), &Option<usize>), &bool)| match field
        {
            Field::Long(nanos_since) if *nanos => {
                self.value(Field::TimestampMicros(nanos_since.div_euclid(1000)), *leaf, 0)
            }
            field => self.value(field, *leaf, 0),
        };
        fields.map(value).collect()
    }

    /// Returns the value of `field`, which is at place `index` of the column's cell.
    fn value(&self, field: Field, leaf: Option<usize>, index: usize) -> Value {
        match (field, leaf) {
            (Field::Null, _) => Value::Null,
            (Field::Bool(value), _) => Value::Boolean(value),
            (Field::Str(text), _) => Value::text(text),
            (Field::Float(value), _) => Value::Number(format!("{value:?}")),
            (Field::Double(value), _) => Value::Number(format!("{value:?}")),
            (Field::Bytes(bytes), Some(leaf)) => {
                let bytes = bytes.data();
                let head = bytes[..bytes.len().min(HEAD)].to_vec();
                let (row_group, row) = (self.row_group - 1, self.row - 1);
                Value::Bytes { head, at: At::Parquet { row_group, row, leaf, index } }
            }
            (Field::Group(row), _) => {
                let field = |(name, field)| (name, self.value(field, leaf, index));
                Value::Struct(row.into_columns().into_iter().map(field).collect())
            }
            (Field::ListInternal(list), _) => {
                let values = list.elements().iter().enumerate();
                Value::List(values.map(|(i, field)| self.value(field.clone(), leaf, i)).collect())
            }
            (Field::Decimal(value), _) => {
                let text = Field::Decimal(value).to_string();
                // The crate writes the point also where no digit follows it.
                Value::Number(text.strip_suffix('.').map(str::to_owned).unwrap_or(text))
            }
            (
                field @ (Field::TimestampMillis(_)
                | Field::TimestampMicros(_)
                | Field::TimeMillis(_)
                | Field::TimeMicros(_)),
                _,
            ) => Value::Number(moment(&field.to_string()).to_owned()),
            (other, _) => Value::Number(other.to_string()),
        }
    }
}

fn is_nanos(kind: Option<&LogicalType>) -> bool {
    let Some(LogicalType::Timestamp(kind)) = kind else { return false };
    kind.unit == TimeUnit::NANOS
}

/// A time as somebody would write it, of one as the crate writes it: `2020-01-31 00:00:00.000 +00:00` is a date.
fn moment(written: &str) -> &str {
    let written = written.strip_suffix(" +00:00").unwrap_or(written);
    let written = match written.contains('.') {
        true => written.trim_end_matches('0').trim_end_matches('.'),
        false => written,
    };
    written.strip_suffix(" 00:00:00").unwrap_or(written)
}

impl Rows for Parquet {
    fn columns(&self) -> Option<&Arc<[String]>> {
        Some(&self.columns)
    }

    fn next(&mut self) -> Checked<Option<Cells>> {
        let values = without_panic(|| self.values_of_next());
        let values = values.unwrap_or_else(|cause| Err(Fault::end(cause)))?;
        let columns = Arc::clone(&self.columns);
        Ok(values.map(|values| Cells { start: 0, columns, values }))
    }
}

fn broken(error: &ParquetError) -> Fault {
    // Some of its messages have several lines.
    let message = error.to_string();
    let fault = Fault::end(message.lines().next().unwrap_or_default());
    match error {
        ParquetError::NYI(_) => {
            fault.hint("write the file again, as pandas or pyarrow does by itself")
        }
        _ => fault,
    }
}

/// Turns a panic of `read` into an error: the parquet crate trusts some numbers in a file that a broken file has wrong.
///
/// # Errors
/// One line, if `read` panics.
fn without_panic<T>(read: impl FnOnce() -> T) -> Result<T, &'static str> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| "the file is broken: its parts contradict each other")
}

pub(super) const CHANGED: &str = "the file is not the one that was read";

/// A column of a row group, read up to a row.
struct Column {
    file: Arc<Path>,
    /// Length and time of the last change: another file may get the same name.
    stamp: (u64, Option<SystemTime>),
    row_group: usize,
    leaf: usize,
    /// The row that is read next.
    row: usize,
    level_max: i16,
    reader: ColumnReaderImpl<ByteArrayType>,
}

thread_local! {
    /// The column that was read last. A page may hold a hundred pictures and is decoded as a whole, so
    /// pictures that are asked for one after another are read on from here.
    static LAST: cell::Cell<Option<Column>> = const { cell::Cell::new(None) };
}

impl Column {
    fn open(file: &Arc<Path>, row_group: usize, leaf: usize) -> Result<Column> {
        let reader = SerializedFileReader::new(File::open(file)?)?;
        ensure!(row_group < reader.num_row_groups(), CHANGED);
        let group = reader.get_row_group(row_group)?;
        ensure!(leaf < group.num_columns(), CHANGED);
        let level_max = group.metadata().column(leaf).column_descr().max_def_level();
        let ColumnReader::ByteArrayColumnReader(reader) = group.get_column_reader(leaf)? else {
            bail!(CHANGED)
        };
        let (file, stamp) = (Arc::clone(file), stamp(file)?);
        Ok(Column { file, stamp, row_group, leaf, row: 0, level_max, reader })
    }

    /// Returns the value at place `index` of the cell in `row`, which is not before the next row.
    fn value(&mut self, row: usize, index: usize) -> Result<Vec<u8>> {
        let num = row - self.row;
        ensure!(self.reader.skip_records(num)? == num, CHANGED);
        let (mut levels, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
        self.reader.read_records(1, Some(&mut levels), Some(&mut repetitions), &mut values)?;
        self.row = row + 1;
        // A level below the highest stands for an element that is null and has no value.
        let before = if self.level_max == 0 {
            index
        } else {
            ensure!(levels.get(index) == Some(&self.level_max), CHANGED);
            levels[..index].iter().filter(|level| **level == self.level_max).count()
        };
        Ok(values.get(before).context(CHANGED)?.data().to_vec())
    }
}

fn stamp(file: &Path) -> Result<(u64, Option<SystemTime>)> {
    let metadata = std::fs::metadata(file)?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// Reads the bytes that stand in the column `leaf`, in `row` of `row_group` and there at place `index` of the list.
///
/// # Errors
/// If the file cannot be read or is no longer the one in which the value was found.
pub(super) fn bytes(
    file: &Arc<Path>,
    row_group: usize,
    row: usize,
    leaf: usize,
    index: usize,
) -> Result<Vec<u8>> {
    let stamp = stamp(file)?;
    let goes_on = |last: &Column| {
        (&last.file, last.stamp, last.row_group, last.leaf) == (file, stamp, row_group, leaf)
            && last.row <= row
    };
    let read = || {
        let mut column = match LAST.take().filter(goes_on) {
            Some(column) => column,
            None => Column::open(file, row_group, leaf)?,
        };
        let value = column.value(row, index)?;
        LAST.set(Some(column));
        Ok(value)
    };
    without_panic(read).map_err(|cause| anyhow!("{cause}"))?
}
