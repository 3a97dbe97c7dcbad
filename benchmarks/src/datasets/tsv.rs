//! Tables of tab-separated cells, row by row, as pandas writes and reads them.
//!
//! Does not know what a column means.
//! Every cell comes with the place of its text in the file, which is why this is no reader of a library:
//! none says where a cell begins.
//!
//! Decisions:
//! - A cell that begins with `"` ends with `"` and says `""` for `"`; any other cell holds quotes as they are.
//! - Stricter than pandas in what pandas would guess: text behind a closing quote, a quote that never
//!   closes, a row with more or fewer cells than the header, two columns of one name.
//! - An empty cell, `nan` and `NaN` are nothing. What pandas also takes for nothing, such as `None` and
//!   `NA`, stays text: among the choices of a question it is one.

use std::io::BufRead;

use crate::datasets::fault::{Checked, Fault, Stop};
use crate::datasets::value::{Origin, Text, Value};

/// A longer row is refused: in a broken file a row can be all that is left of it. In bytes.
pub(super) const ROW_BYTES_MAX: usize = 64 << 20;

/// A table, read from its beginning.
#[derive(Debug)]
pub(super) struct Tsv<R> {
    input: R,
    /// Bytes read so far.
    offset: u64,
    /// Whether the last row ended with a line break.
    ended: bool,
    pub(super) columns: Vec<String>,
}

#[derive(Debug)]
struct Cell {
    bytes: Vec<u8>,
    origin: Origin,
}

impl<R: BufRead> Tsv<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If there is none or it is broken.
    pub(super) fn open(input: R) -> Result<Tsv<R>, Stop> {
        let mut tsv = Tsv { input, offset: 0, ended: true, columns: Vec::new() };
        if tsv.input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            tsv.consume(3);
        }
        let cells = tsv.cells()?.ok_or_else(|| Stop::new("the file is empty"))?;
        for cell in cells {
            let name = String::from_utf8(cell.bytes)
                .map_err(|_| Stop::new("a column's name is not UTF-8"))?;
            if tsv.columns.contains(&name) {
                return Err(Stop::new(format!("two columns have the name `{name}`")));
            }
            tsv.columns.push(name);
        }
        Ok(tsv)
    }

    /// The cells of the next row, as many as there are columns; nothing at the end.
    ///
    /// # Errors
    /// A [`Stop`] if what follows cannot be told, a fault if only this row is bad.
    pub(super) fn row(&mut self) -> Result<Option<Checked<Vec<Value>>>, Stop> {
        let Some(cells) = self.cells()? else { return Ok(None) };
        let (num, want) = (cells.len(), self.columns.len());
        if num != want {
            let mut cause = format!("the row has {num} cells, the header {want}");
            if !self.ended {
                cause.push_str(", and the file ends in it");
            }
            let column = self.columns.get(num).or(self.columns.last());
            let column = column.map(String::as_str).unwrap_or_default();
            return Ok(Some(Err(Fault::new(column, cause)
                .hint("the file may be cut off, or a tab in a cell may lack its quotes"))));
        }
        let mut values = Vec::with_capacity(num);
        for (cell, column) in cells.into_iter().zip(&self.columns) {
            match String::from_utf8(cell.bytes) {
                Ok(text) if matches!(text.as_str(), "" | "nan" | "NaN") => values.push(Value::Null),
                Ok(text) => values.push(Value::Text(Text { text, origin: Some(cell.origin) })),
                Err(_) => return Ok(Some(Err(Fault::new(column, "the cell is not UTF-8")))),
            }
        }
        Ok(Some(Ok(values)))
    }

    fn consume(&mut self, num: usize) {
        self.input.consume(num);
        self.offset += num as u64;
    }

    fn peek(&mut self) -> Result<Option<u8>, Stop> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    /// The cells of the next line that is not empty.
    fn cells(&mut self) -> Result<Option<Vec<Cell>>, Stop> {
        // As pandas does, and a file may end with an empty line.
        while let Some(b'\n' | b'\r') = self.peek()? {
            self.consume(1);
        }
        if self.peek()?.is_none() {
            return Ok(None);
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        let mut room = ROW_BYTES_MAX;
        loop {
            let quoted = self.peek()? == Some(b'"');
            if quoted {
                self.consume(1);
            }
            let mut bytes = Vec::new();
            let origin = Origin { offset: self.offset, doubled: quoted };
            let end =
                if quoted { self.quoted(&mut bytes, room)? } else { self.plain(&mut bytes, room)? };
            room = room.saturating_sub(bytes.len().max(1));
            cells.push(Cell { bytes, origin });
            if end != Some(b'\t') {
                self.ended = end.is_some();
                return Ok(Some(cells));
            }
        }
    }

    /// Reads a cell without quotes and the byte that ends it.
    fn plain(&mut self, bytes: &mut Vec<u8>, room: usize) -> Result<Option<u8>, Stop> {
        loop {
            let buffer = self.input.fill_buf()?;
            let end = memchr::memchr2(b'\t', b'\n', buffer);
            let length = end.unwrap_or(buffer.len());
            let found = end.map(|end| buffer[end]);
            let is_over = buffer.is_empty();
            bytes.extend_from_slice(&buffer[..length]);
            self.consume(length + usize::from(found.is_some()));
            check_room(bytes, room)?;
            if found.is_some() || is_over {
                if found == Some(b'\n') && bytes.last() == Some(&b'\r') {
                    bytes.pop();
                }
                return Ok(found);
            }
        }
    }

    /// Reads a cell behind its opening quote, up to the closing one, and the byte that ends it.
    fn quoted(&mut self, bytes: &mut Vec<u8>, room: usize) -> Result<Option<u8>, Stop> {
        let start = self.offset;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Err(Stop::new(format!(
                    "the cell that begins at byte {start} has no closing quote: the file is cut off"
                ))
                .hint("fetch the file again"));
            }
            let end = memchr::memchr(b'"', buffer);
            let length = end.unwrap_or(buffer.len());
            bytes.extend_from_slice(&buffer[..length]);
            self.consume(length + usize::from(end.is_some()));
            check_room(bytes, room)?;
            if end.is_none() {
                continue;
            }
            let next = self.peek()?;
            if next.is_some() {
                self.consume(1);
            }
            match next {
                Some(b'"') => bytes.push(b'"'),
                None | Some(b'\t' | b'\n') => return Ok(next),
                Some(b'\r') if matches!(self.peek()?, None | Some(b'\n')) => {
                    if self.peek()?.is_some() {
                        self.consume(1);
                    }
                    return Ok(Some(b'\n'));
                }
                Some(_) => {
                    let at = self.offset - 1;
                    return Err(Stop::new(format!(
                        "there is text behind the closing quote at byte {at}"
                    ))
                    .hint("a quote in a cell that begins with one must be written twice"));
                }
            }
        }
    }
}

fn check_room(bytes: &[u8], room: usize) -> Result<(), Stop> {
    if bytes.len() > room {
        return Err(Stop::new(format!("the row has more than {} MiB", ROW_BYTES_MAX >> 20))
            .hint("a quote that is never closed makes one row of the rest of a file"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All rows, or the first thing that is wrong.
    fn read(bytes: &[u8]) -> Result<Vec<Vec<Value>>, String> {
        let mut tsv = Tsv::open(bytes).map_err(|stop| stop.cause)?;
        let mut rows = Vec::new();
        while let Some(row) = tsv.row().map_err(|stop| stop.cause)? {
            rows.push(row.map_err(|fault| format!("{}: {}", fault.column, fault.cause))?);
        }
        Ok(rows)
    }

    /// The table as another library writes it.
    fn written(rows: &[Vec<String>], terminator: csv_core::Terminator) -> Vec<u8> {
        let mut writer =
            csv_core::WriterBuilder::new().delimiter(b'\t').terminator(terminator).build();
        let mut bytes = Vec::new();
        let mut piece = vec![0; 10_000];
        for row in rows {
            for (column, cell) in row.iter().enumerate() {
                if column > 0 {
                    let (_, num) = writer.delimiter(&mut piece);
                    bytes.extend_from_slice(&piece[..num]);
                }
                let (result, _, num) = writer.field(cell.as_bytes(), &mut piece);
                assert_eq!(result, csv_core::WriteResult::InputEmpty);
                bytes.extend_from_slice(&piece[..num]);
            }
            let (_, num) = writer.terminator(&mut piece);
            bytes.extend_from_slice(&piece[..num]);
        }
        bytes
    }

    fn text(value: &Value) -> &str {
        match value {
            Value::Null => "",
            Value::Text(text) => &text.text,
            _ => panic!("{value:?}"),
        }
    }

    #[track_caller]
    fn refused(bytes: &[u8], want: &str) {
        assert_eq!(read(bytes).unwrap_err(), want);
    }

    #[test]
    fn cells_are_read_as_pandas_reads_them() {
        let rows =
            read(b"\xef\xbb\xbfa\tb\r\n\"x\ty\"\tsay \"hi\"\r\n\n\"1\n\"\"2\"\"\"\tnan\n\tNone")
                .unwrap();
        let texts: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(text).collect()).collect();
        assert_eq!(texts, [["x\ty", "say \"hi\""], ["1\n\"2\"", ""], ["", "None"]]);
    }

    #[test]
    fn what_is_broken_is_refused() {
        refused(b"", "the file is empty");
        refused(b"a\tb\ta\n", "two columns have the name `a`");
        refused(
            b"a\tb\n1\t\"2",
            "the cell that begins at byte 7 has no closing quote: the file is cut off",
        );
        refused(b"a\tb\n\"1\"2\t3\n", "there is text behind the closing quote at byte 7");
        refused(b"a\tb\n1\n", "b: the row has 1 cells, the header 2");
        refused(b"a\tb\n1", "b: the row has 1 cells, the header 2, and the file ends in it");
        refused(b"a\tb\n1\t2\t3\n", "b: the row has 3 cells, the header 2");
        refused(b"a\tb\n1\t\xff\n", "b: the cell is not UTF-8");
        let long = [b"a\n".to_vec(), vec![b'x'; ROW_BYTES_MAX + 1]].concat();
        refused(&long, "the row has more than 64 MiB");
    }

    fn tables() -> impl Strategy<Value = Vec<Vec<String>>> {
        let cell = || prop_oneof![any::<String>(), "[\"\t\n\r a']{0,6}", "[a-z]{0,5}"];
        (2_usize..5).prop_flat_map(move |num| {
            prop::collection::vec(prop::collection::vec(cell(), num), 0..6)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(rows in tables(), windows in any::<bool>()) {
            let num = rows.first().map_or(2, Vec::len);
            let header: Vec<String> = (0..num).map(|column| format!("column {column}")).collect();
            let table = [vec![header], rows.clone()].concat();
            let terminator =
                if windows { csv_core::Terminator::CRLF } else { csv_core::Terminator::Any(b'\n') };
            let bytes = written(&table, terminator);
            let found = read(&bytes).unwrap();
            prop_assert_eq!(found.len(), rows.len());
            for (found, wanted) in found.iter().flatten().zip(rows.iter().flatten()) {
                let wanted = if wanted == "nan" || wanted == "NaN" { "" } else { wanted.as_str() };
                prop_assert_eq!(text(found), wanted);
                // A text without quotes stands in the file as it is, at the place it names.
                if let Value::Text(text) = found && let Some(crate::stored::Stored::Base64 { offset, length }) = text.stored() {
                    let (start, end) = (offset as usize, (offset + length) as usize);
                    prop_assert_eq!(&bytes[start..end], text.text.as_bytes());
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), like in "[a\"\t\n\r]{0,30}") {
            let _ = read(&bytes);
            let _ = read(like.as_bytes());
        }
    }
}
