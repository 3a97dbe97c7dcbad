//! One JSON array of objects, an object at a time.
//!
//! Does not know what a key means. What stands in an object is read as the lines of JSONL are.
//!
//! Decisions:
//! - Only strings and brackets are looked at to find where an object ends, so that no more than one is in
//!   memory. An object that turns out to be no JSON is then one bad row.
//! - Where brackets do not match, or text stands between two objects, nobody knows where the next one begins:
//!   the file cannot be read on.

use std::io::{self, BufRead};

use crate::datasets::fault::{Checked, Fault, Stop};
use crate::datasets::jsonl::{Fields, cause, parse};
use crate::datasets::tsv::ROW_BYTES_MAX;
use crate::datasets::value::Value;

const MARK: &[u8] = b"\xef\xbb\xbf";

/// An array, read from the file's beginning.
#[derive(Debug)]
pub(super) struct JsonArray<R> {
    input: R,
    /// Bytes read so far.
    offset: u64,
    place: Place,
    element: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first bracket.
    Start,
    /// Behind the first bracket, where the array may end.
    First,
    /// Behind an element.
    Behind,
    /// Behind the last bracket.
    End,
}

impl<R: BufRead> JsonArray<R> {
    pub(super) fn new(input: R) -> JsonArray<R> {
        JsonArray { input, offset: 0, place: Place::Start, element: Vec::new() }
    }

    /// Whether what is read ahead in `input` begins as an array does. Nothing is consumed.
    ///
    /// # Errors
    /// If the disk is broken.
    pub(super) fn is_one(input: &mut R) -> io::Result<bool> {
        let ahead = fill(input)?;
        let ahead = ahead.strip_prefix(MARK).unwrap_or(ahead);
        Ok(ahead.trim_ascii_start().first() == Some(&b'['))
    }

    /// The keys and values of the next object; nothing at the end.
    ///
    /// # Errors
    /// A [`Stop`] if what follows cannot be told, a fault if only this element is bad.
    pub(super) fn row(&mut self) -> Result<Option<Checked<Fields>>, Stop> {
        loop {
            let byte = self.next_mark()?;
            match (self.place, byte) {
                (Place::End, None) => return Ok(None),
                (Place::End, Some(_)) => {
                    let cause =
                        format!("the array ends before byte {}, but not the file", self.offset);
                    return Err(Stop::new(cause));
                }
                (_, None) => {
                    return Err(Stop::new("the file ends in the array").hint("it may be cut off"));
                }
                (Place::Start, Some(b'[')) => self.step(Place::First),
                (Place::First | Place::Behind, Some(b']')) => self.step(Place::End),
                (Place::First, Some(_)) => return self.element().map(Some),
                (Place::Behind, Some(b',')) => {
                    self.step(Place::Behind);
                    self.next_mark()?;
                    return self.element().map(Some);
                }
                (place, Some(byte)) => {
                    let wanted = if place == Place::Start { "`[`" } else { "`,` or `]`" };
                    let found = char::from(byte).escape_default();
                    return Err(Stop::new(format!(
                        "`{found}` at byte {}, where {wanted} belongs",
                        self.offset
                    )));
                }
            }
        }
    }

    /// The next byte that is not blank. It is not consumed, what is blank before it is.
    fn next_mark(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            let ahead = fill(&mut self.input)?;
            // The mark of the byte order stands at the beginning or nowhere.
            let is_mark = self.offset == 0 && ahead.starts_with(MARK);
            let blank = if is_mark {
                MARK.len()
            } else {
                ahead.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
            };
            let (byte, is_end) = (ahead.get(blank).copied(), ahead.is_empty());
            self.input.consume(blank);
            self.offset += blank as u64;
            if !is_mark && (byte.is_some() || is_end) {
                return Ok(byte);
            }
        }
    }

    fn step(&mut self, place: Place) {
        self.input.consume(1);
        self.offset += 1;
        self.place = place;
    }

    fn element(&mut self) -> Result<Checked<Fields>, Stop> {
        let start = self.offset;
        self.place = Place::Behind;
        self.element.clear();
        let mut scan = Scan::default();
        loop {
            let ahead = fill(&mut self.input)?;
            if ahead.is_empty() {
                return Err(Stop::new(format!("the file ends in what begins at byte {start}"))
                    .hint("it may be cut off"));
            }
            let end = scan.end(ahead).map_err(|(place, wanted)| {
                let (at, found) = (self.offset + place as u64, char::from(ahead[place]));
                Stop::new(format!("`{found}` at byte {at}, where `{}` belongs", char::from(wanted)))
                    .hint(format!("the row begins at byte {start}"))
            })?;
            let num = end.unwrap_or(ahead.len());
            if self.element.len() + num > ROW_BYTES_MAX {
                return Err(Stop::new(format!(
                    "what begins at byte {start} has more than {} MiB",
                    ROW_BYTES_MAX >> 20
                ))
                .hint("is this an array with an object for each row?"));
            }
            self.element.extend_from_slice(&ahead[..num]);
            self.input.consume(num);
            self.offset += num as u64;
            if end.is_some() {
                break;
            }
        }
        if self.element.is_empty() {
            return Err(Stop::new(format!(
                "there is nothing at byte {start}, where a row belongs"
            )));
        }
        let fault = |cause| Fault::new("", cause).hint(format!("the row begins at byte {start}"));
        let Ok(text) = std::str::from_utf8(&self.element) else {
            return Ok(Err(fault("the row is not UTF-8".to_owned())));
        };
        Ok(match parse(text, Some(start)) {
            Ok(Value::Struct(fields)) => Ok(fields),
            Ok(_) => Err(fault("the row is no JSON object".to_owned())),
            Err(error) => Err(fault(format!(
                "the row is no JSON: {} at its line {}, character {}",
                cause(&error),
                error.line(),
                error.column()
            ))),
        })
    }
}

/// What is read ahead; nothing at the end.
fn fill(input: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            // Asked once more, since the loop would otherwise borrow it for good.
            Ok(_) => return input.fill_buf(),
        }
    }
}

/// Where in an element a scan stands.
#[derive(Debug, Default)]
struct Scan {
    /// The brackets that are to come.
    closing: Vec<u8>,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// The number of bytes up to the end of the element, if it ends in `bytes`, which follow those before.
    /// What is neither object nor array ends before the next comma or bracket.
    ///
    /// # Errors
    /// The place of a bracket that does not belong there, and the one that does.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, (usize, u8)> {
        for (place, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' => self.closing.push(b'}'),
                b'[' => self.closing.push(b']'),
                b'}' | b']' => match self.closing.pop() {
                    Some(wanted) if wanted != *byte => return Err((place, wanted)),
                    Some(_) if self.closing.is_empty() => return Ok(Some(place + 1)),
                    Some(_) => {}
                    None => return Ok(Some(place)),
                },
                b',' if self.closing.is_empty() => return Ok(Some(place)),
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;
    use crate::stored::Stored;
    use proptest::prelude::*;

    /// Reads with a buffer of `size` bytes: good rows, causes of bad ones, and what stops it.
    fn read(bytes: &[u8], size: usize) -> (Vec<Result<Fields, String>>, Option<String>) {
        let mut array = JsonArray::new(BufReader::with_capacity(size, bytes));
        let mut rows = Vec::new();
        loop {
            match array.row() {
                Ok(Some(row)) => {
                    rows.push(row.map_err(|fault| fault.cause + &fault.hint));
                }
                Ok(None) => return (rows, None),
                Err(stop) => return (rows, Some(stop.cause + &stop.hint)),
            }
        }
    }

    #[track_caller]
    fn stopped(text: &str, num_rows: usize, want: &str) {
        for size in [1, 3, 1000] {
            let (rows, stop) = read(text.as_bytes(), size);
            assert_eq!((rows.len(), stop.as_deref()), (num_rows, Some(want)), "{text}");
        }
    }

    #[test]
    fn an_element_ends_where_its_last_bracket_is() {
        let text = " [\n{\"a\": \"}],[{\\\"\", \"b\": [[1], {}]} , {\"c\":\"\\\\\"},{}\n]\n ";
        for size in [1, 2, 7, 1000] {
            let (rows, stop) = read(text.as_bytes(), size);
            assert_eq!(stop, None);
            let names: Vec<Vec<String>> = rows
                .into_iter()
                .map(|row| row.unwrap().into_iter().map(|(name, _)| name).collect())
                .collect();
            assert_eq!(names, [vec!["a", "b"], vec!["c"], vec![]]);
        }
        assert_eq!(read(b"[ ]", 10), (vec![], None));
        assert_eq!(read("\u{feff}[{}]".as_bytes(), 10), (vec![Ok(vec![])], None));
    }

    #[test]
    fn a_text_knows_where_in_the_file_it_stands() {
        let bytes = b"[{\"a\": 1},\n {\"b\": \"xy\"}]";
        let (rows, _) = read(bytes, 4);
        let [_, Ok(fields)] = rows.as_slice() else { panic!() };
        let Value::Text(text) = &fields[0].1 else { panic!() };
        assert_eq!(text.stored(), Some(Stored::Base64 { offset: 19, length: 2 }));
        assert_eq!(&bytes[19..21], b"xy");
    }

    #[test]
    fn a_bad_element_is_a_bad_row_and_the_next_is_read() {
        let (rows, stop) = read(b"[{\"a\" 1}, 7, \"],\", [{}], {\"a\": \"\xff\"}, {}]", 5);
        assert_eq!(stop, None);
        let rows: Vec<_> = rows.into_iter().map(|row| row.map(|fields| fields.len())).collect();
        let object = |byte| Err(format!("the row is no JSON objectthe row begins at byte {byte}"));
        assert_eq!(
            rows,
            [
                Err("the row is no JSON: expected `:` at its line 1, character 6the row begins at byte 1"
                    .to_owned()),
                object(10),
                object(13),
                object(19),
                Err("the row is not UTF-8the row begins at byte 25".to_owned()),
                Ok(0),
            ]
        );
    }

    #[test]
    fn what_nobody_can_read_on_stops() {
        stopped("{}", 0, "`{` at byte 0, where `[` belongs");
        stopped("", 0, "the file ends in the arrayit may be cut off");
        stopped("[{}", 1, "the file ends in the arrayit may be cut off");
        stopped("[{}, {\"a\": [1, ", 1, "the file ends in what begins at byte 5it may be cut off");
        stopped("[{}, {\"a\": \"]}", 1, "the file ends in what begins at byte 5it may be cut off");
        stopped("[{} {}]", 1, "`{` at byte 4, where `,` or `]` belongs");
        stopped("[{},]", 1, "there is nothing at byte 4, where a row belongs");
        stopped("[,{}]", 0, "there is nothing at byte 1, where a row belongs");
        stopped(
            "[{}, {\"a\": [1}, {}]",
            1,
            "`}` at byte 13, where `]` belongsthe row begins at byte 5",
        );
        stopped("[{}]\n[{}]", 1, "the array ends before byte 5, but not the file");
        stopped("[{}}", 1, "`}` at byte 3, where `,` or `]` belongs");
    }

    #[test]
    fn an_element_without_end_stops_before_it_takes_all_memory() {
        let text = [b"[{\"a\": \"".to_vec(), vec![b'x'; ROW_BYTES_MAX]].concat();
        let (rows, stop) = read(&text, 1 << 16);
        assert!(rows.is_empty());
        assert!(stop.unwrap().starts_with("what begins at byte 1 has more than 64 MiB"));
    }

    proptest! {
        #[test]
        fn an_array_reads_as_its_elements_do_on_lines(
            texts in prop::collection::vec(".{0,12}", 0..6),
            pretty in any::<bool>(),
            size in 1_usize..40,
        ) {
            let rows: Vec<_> = texts.iter().map(|text| {
                serde_json::json!({ text.as_str(): [text, { "x": text }] })
            }).collect();
            let array = serde_json::Value::from(rows.clone());
            let text = if pretty { format!("{array:#}") } else { array.to_string() };
            let (found, stop) = read(text.as_bytes(), size);
            prop_assert_eq!(stop, None);
            let names: Vec<String> =
                found.into_iter().map(|row| row.unwrap().remove(0).0).collect();
            prop_assert_eq!(names, texts);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), like in "\\[[{}\\[\\]\":,\\\\u0-9a\n]{0,40}", size in 1_usize..9) {
            let _ = read(&bytes, size);
            let _ = read(like.as_bytes(), size);
        }
    }
}
