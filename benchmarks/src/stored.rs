//! A picture inside a file of rows: where it stands, and its bytes when they are asked for.
//!
//! Does not know benchmarks, columns' meanings or pixels.
//! What can be said of a picture without decoding it is said here: whether a text is base64 at all and
//! whether the first bytes are those of a picture.

use std::cell;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::ByteArrayType;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

/// Base64 as Python reads it: padded, and what the last character has to spare is not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A cell of a file: the row's number from 1, without the header, and the column's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<Path>,
    pub row: u64,
    pub column: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, row {}, column `{}`", self.file.display(), self.row, self.column)
    }
}

/// How to get at a picture's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Base64 text at these bytes of the file.
    Base64 { offset: u64, length: u64 },
    /// A value of a parquet file: the row in its group and the place in the cell's list, both from 0,
    /// and the number of the column among the leaves of the schema.
    Parquet { row_group: usize, row: usize, leaf: usize, index: usize },
    /// The bytes themselves, where the file does not hold them in one piece.
    Memory(Arc<[u8]>),
}

/// A picture in a file of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub place: Place,
    pub stored: Stored,
}

impl Cell {
    /// The picture file that the cell holds, still encoded.
    ///
    /// # Errors
    /// If the file cannot be read or is no longer the one in which the cell was found.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match &self.stored {
            Stored::Memory(bytes) => Ok(bytes.to_vec()),
            Stored::Base64 { offset, length } => {
                let mut file = File::open(&self.place.file)?;
                file.seek(SeekFrom::Start(*offset))?;
                let mut text = Vec::new();
                file.take(*length).read_to_end(&mut text)?;
                if text.len() as u64 != *length {
                    bail!("the file has become shorter since it was read");
                }
                decode(&text).map_err(|cause| anyhow!("{cause}"))
            }
            Stored::Parquet { row_group, row, leaf, index } => {
                without_panic(|| parquet_value(&self.place.file, *row_group, *row, *leaf, *index))
                    .map_err(|cause| anyhow!("{cause}"))?
            }
        }
    }
}

/// The value of `read`, whose panic is an error: the parquet crate trusts some numbers in a file that a
/// broken file has wrong.
///
/// # Errors
/// One line, if `read` panics.
pub(crate) fn without_panic<T>(read: impl FnOnce() -> T) -> Result<T, &'static str> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| "the file is broken: its parts contradict each other")
}

const CHANGED: &str = "the file is not the one that was read";

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

    /// The value at place `index` of the cell in `row`, which is not before the next row.
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

fn parquet_value(
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
    let mut column = match LAST.take().filter(goes_on) {
        Some(column) => column,
        None => Column::open(file, row_group, leaf)?,
    };
    let value = column.value(row, index)?;
    LAST.set(Some(column));
    Ok(value)
}

/// The text without a leading `data:image/png;base64,`.
fn without_data_uri(text: &[u8]) -> &[u8] {
    if !text.starts_with(b"data:") {
        return text;
    }
    let head = &text[..text.len().min(100)];
    head.iter().position(|byte| *byte == b',').map_or(text, |comma| &text[comma + 1..])
}

/// The bytes behind base64 text; white space in it does not count.
fn decode(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = without_data_uri(text);
    let decoded = if text.iter().any(u8::is_ascii_whitespace) {
        let text: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        BASE64.decode(text)
    } else {
        BASE64.decode(text)
    };
    decoded.map_err(|cause| format!("the cell is not base64: {cause}"))
}

/// Checks that `text` is base64 all through and begins as a picture does, without decoding more than
/// its beginning.
pub(crate) fn check_base64(text: &str) -> Result<(), String> {
    let text = without_data_uri(text.as_bytes());
    let (mut head, mut num, mut num_padding) = (Vec::with_capacity(24), 0_u64, 0);
    for (place, byte) in text.iter().enumerate() {
        match byte {
            b'=' => (num, num_padding) = (num + 1, num_padding + 1),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if num_padding == 0 => num += 1,
            _ if byte.is_ascii_whitespace() => continue,
            _ => {
                let what = char::from(*byte).escape_default();
                return Err(format!("the cell is not base64: `{what}` at character {}", place + 1));
            }
        }
        if head.len() < 24 {
            head.push(*byte);
        }
    }
    if num_padding > 2 || num % 4 != 0 {
        return Err(format!(
            "the cell is not base64: {num} characters are no whole number of fours"
        ));
    }
    check_head(&decode(&head)?)
}

/// The bytes behind base64 text that [`check_base64`] accepts.
pub(crate) fn decode_base64(text: &str) -> Result<Arc<[u8]>, String> {
    check_base64(text)?;
    Ok(decode(text.as_bytes())?.into())
}

/// Checks that a file which begins with `head` is a picture of a kind that is read here.
pub(crate) fn check_head(head: &[u8]) -> Result<(), String> {
    const READ: [&[u8]; 2] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"];
    const KNOWN: [(&[u8], &str); 7] = [
        (b"GIF8", "GIF"),
        (b"RIFF", "WebP"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"%PDF", "PDF"),
        (b"<svg", "SVG"),
    ];
    if READ.iter().any(|magic| head.starts_with(magic)) {
        return Ok(());
    }
    match KNOWN.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, name)) => Err(format!("the picture is {name}, only PNG and JPEG are read")),
        None => Err("the cell is no picture: it begins neither as PNG nor as JPEG".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and more than that, up to some length";

    fn encode(bytes: &[u8]) -> String {
        BASE64.encode(bytes)
    }

    #[track_caller]
    fn refused(text: &str, want: &str) {
        assert_eq!(check_base64(text).unwrap_err(), want);
    }

    #[test]
    fn a_picture_in_base64_is_told_from_anything_else() {
        let text = encode(PNG);
        check_base64(&text).unwrap();
        check_base64(&format!("data:image/png;base64,{text}")).unwrap();
        let wrapped = format!("{}\r\n{}\n", &text[..10], &text[10..]);
        check_base64(&wrapped).unwrap();
        assert_eq!(&*decode_base64(&wrapped).unwrap(), PNG);
        refused(
            &format!("{}!{}", &text[..40], &text[41..]),
            "the cell is not base64: `!` at character 41",
        );
        refused(&text[..42], "the cell is not base64: 42 characters are no whole number of fours");
        refused(&format!("=AAA{text}"), "the cell is not base64: `A` at character 2");
        refused(&encode(b"GIF89a..."), "the picture is GIF, only PNG and JPEG are read");
        refused("", "the cell is no picture: it begins neither as PNG nor as JPEG");
    }

    proptest! {
        #[test]
        fn what_passes_the_check_decodes(text in "[A-Za-z0-9+/= \n]{0,60}") {
            let text = format!("{}{text}", &encode(PNG)[..12]);
            if check_base64(&text).is_ok() {
                prop_assert!(decode(text.as_bytes()).is_ok(), "{text}");
            }
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            let picture = [PNG, &bytes].concat();
            prop_assert_eq!(&*decode_base64(&encode(&picture)).unwrap(), &picture[..]);
        }
    }
}
