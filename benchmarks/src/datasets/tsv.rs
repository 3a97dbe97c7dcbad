//! Tables of tab-separated cells, row by row, as pandas writes and reads them.
//!
//! This module does not know what a column means.
//!
//! Decisions:
//! - A cell that begins with `"` ends with `"` and says `""` for `"`; any other cell holds quotes as they are.
//! - Stricter than pandas in what pandas would guess: a quote that never closes, a row with more or fewer cells than
//!   the header, two columns of one name.
//! - An empty cell, `nan` and `NaN` are empty. What pandas also takes for empty, such as `None` and `NA`, stays text:
//!   among the choices of a question it is one.

use std::io::{Chain, Read};
use std::sync::Arc;

use csv::{ByteRecord, ReaderBuilder};

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::input::Input;
use crate::datasets::value::{Cells, Rows, Value};

/// Text that is read behind the end of every file, to see how the file ends: alone in a row if the last row ended with
/// a line break, at the end of a cell if not, and there without its quote if the cell's own quote was still open.
const END: &str = "\u{4}the end of the \"table\u{4}";
const END_OF_QUOTED: &str = "\u{4}the end of the table\u{4}";

/// A table, read from its beginning or from the beginning of a row.
pub(super) struct Tsv<R> {
    rows: csv::Reader<Chain<Input<R>, &'static [u8]>>,
    /// The byte of the file at which `rows` began.
    start: u64,
    columns: Arc<[String]>,
    record: ByteRecord,
}

impl<R: Read> Tsv<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If the file is empty, or the header is broken or has a column twice.
    pub(super) fn open(bytes: R) -> Checked<Tsv<R>> {
        let mut tsv = Tsv::resume(bytes, 0, Arc::default())?;
        tsv.read()?.ok_or_else(|| Fault::end("the file is empty"))?;
        let mut columns: Vec<String> = Vec::with_capacity(tsv.record.len());
        for name in &tsv.record {
            let name = String::from_utf8(name.to_vec())
                .map_err(|_| Fault::end("the name of a column is not UTF-8"))?;
            if columns.contains(&name) {
                return Err(Fault::end(format!("two columns have the name `{name}`")));
            }
            columns.push(name);
        }
        tsv.columns = columns.into();
        Ok(tsv)
    }

    /// Reads on from a row's beginning, at byte `start` of the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn resume(bytes: R, start: u64, columns: Arc<[String]>) -> Checked<Tsv<R>> {
        let input = Input::new(bytes)?;
        let start = start + input.offset;
        let rows = ReaderBuilder::new()
            .delimiter(b'\t')
            .has_headers(false)
            .flexible(true)
            .from_reader(input.chain(END.as_bytes()));
        Ok(Tsv { rows, start, columns, record: ByteRecord::new() })
    }

    /// Reads the next row into `record`. Returns where it begins and whether the file ends in it.
    fn read(&mut self) -> Checked<Option<(u64, bool)>> {
        self.rows.get_mut().get_mut().0.begin_row();
        let start = self.start + self.rows.position().byte();
        let is_row = self.rows.read_byte_record(&mut self.record).map_err(|error| {
            match error.into_kind() {
                csv::ErrorKind::Io(error) => error.into(),
                other => Fault::end(format!("{other:?}")),
            }
        })?;
        let last = self.record.iter().next_back().unwrap_or_default();
        if !is_row || (self.record.len() == 1 && last == END.as_bytes()) {
            return Ok(None);
        }
        if last.ends_with(END_OF_QUOTED.as_bytes()) {
            let cause = "the last cell has no closing quote: the file is cut off";
            return Err(Fault::end(format!("in the row that begins at byte {start} {cause}"))
                .hint("fetch the file again"));
        }
        let is_end = last.ends_with(END.as_bytes());
        if is_end {
            let whole = last[..last.len() - END.len()].to_vec();
            self.record.truncate(self.record.len() - 1);
            self.record.push_field(&whole);
        }
        Ok(Some((start, is_end)))
    }
}

impl<R: Read> Rows for Tsv<R> {
    fn columns(&self) -> Option<&Arc<[String]>> {
        Some(&self.columns)
    }

    fn next(&mut self) -> Checked<Option<Cells>> {
        let Some((start, is_end)) = self.read()? else { return Ok(None) };
        let (num, wanted) = (self.record.len(), self.columns.len());
        if num != wanted {
            let end = if is_end { ", and the file ends in it" } else { "" };
            let column = self.columns.get(num).or(self.columns.last());
            return Err(Fault::new(
                column.map(String::as_str).unwrap_or_default(),
                format!("the row has {num} cells, the header {wanted}{end}"),
            )
            .hint("the file may be cut off, or a tab in a cell may lack its quotes"));
        }
        let value = |(cell, column): (&[u8], &String)| match std::str::from_utf8(cell) {
            Ok("" | "nan" | "NaN") => Ok(Value::Null),
            Ok(text) => Ok(Value::text(text)),
            Err(_) => Err(Fault::new(column, "the cell is not UTF-8")),
        };
        let values = self.record.iter().zip(self.columns.iter()).map(value);
        let values = values.collect::<Checked<Vec<Value>>>()?;
        Ok(Some(Cells { start, columns: Arc::clone(&self.columns), values }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::input::ROW_BYTES_MAX;
    use proptest::prelude::*;

    fn text(value: &Value) -> &str {
        match value {
            Value::Null => "",
            Value::Text(text) => text,
            _ => panic!("{value:?}"),
        }
    }

    /// Returns the texts of all rows, or the first thing that is wrong. Every row is read again from where it begins.
    fn read(bytes: &[u8]) -> Result<Vec<Vec<String>>, String> {
        let cause = |fault: Fault| format!("{}: {}", fault.column, fault.cause);
        let mut tsv = Tsv::open(bytes).map_err(cause)?;
        let mut rows = Vec::new();
        while let Some(Cells { start, columns, values }) = tsv.next().map_err(cause)? {
            let rest = &bytes[usize::try_from(start).unwrap()..];
            let again = Tsv::resume(rest, start, columns).unwrap().next().map_err(cause)?.unwrap();
            assert_eq!((again.start, &again.values), (start, &values));
            rows.push(values.iter().map(|value| text(value).to_owned()).collect());
        }
        Ok(rows)
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
        assert_eq!(rows, [["x\ty", "say \"hi\""], ["1\n\"2\"", ""], ["", "None"]]);
        assert_eq!(read(b"a\tb\n1\t\"2\"").unwrap(), [["1", "2"]]);
    }

    #[test]
    fn what_is_broken_is_refused() {
        refused(b"", ": the file is empty");
        refused(b"a\tb\ta\n", ": two columns have the name `a`");
        refused(
            b"a\tb\n1\t\"2",
            ": in the row that begins at byte 4 the last cell has no closing quote: the file is cut off",
        );
        refused(b"a\tb\n1\n", "b: the row has 1 cells, the header 2");
        refused(b"a\tb\n1", "b: the row has 1 cells, the header 2, and the file ends in it");
        refused(b"a\tb\n1\t2\t3\n", "b: the row has 3 cells, the header 2");
        refused(b"a\tb\n1\t\xff\n", "b: the cell is not UTF-8");
        let long = [b"a\n".to_vec(), vec![b'x'; ROW_BYTES_MAX + (1 << 17)]].concat();
        refused(&long, ": the row has more than 64 MiB");
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
            let terminator = if windows { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new().delimiter(b'\t').terminator(terminator).from_writer(Vec::new());
            writer.write_record((0..num).map(|column| format!("column {column}"))).unwrap();
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let empty = |cell: &String| if cell == "nan" || cell == "NaN" { String::new() } else { cell.clone() };
            let wanted: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(empty).collect()).collect();
            prop_assert_eq!(read(&writer.into_inner().unwrap()).unwrap(), wanted);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), like in "[a\"\t\n\r]{0,30}") {
            let _ = read(&bytes);
            let _ = read(like.as_bytes());
        }
    }
}
