//! The bytes of a text file, counted, and a limit on how many of them can be one row.
//!
//! This module does not know what a row is: its readers say where one begins.

use std::io::{self, BufRead, BufReader, Read};

/// The most bytes of a row: in a broken file a row can be all that is left of it.
pub(super) const ROW_BYTES_MAX: usize = 64 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file's bytes from some place on.
#[derive(Debug)]
pub(super) struct Input<R> {
    bytes: BufReader<R>,
    /// The bytes before this place.
    pub(super) offset: u64,
    /// How many bytes more the row may have.
    room: usize,
}

impl<R: Read> Input<R> {
    /// Begins at the first byte of a file, or behind its byte order mark.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn new(bytes: R) -> io::Result<Input<R>> {
        let bytes = BufReader::with_capacity(1 << 16, bytes);
        let mut input = Input { bytes, offset: 0, room: ROW_BYTES_MAX };
        if input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        Ok(input)
    }

    /// Notes that what follows is another row.
    pub(super) fn begin_row(&mut self) {
        self.room = ROW_BYTES_MAX;
    }

    /// Skips white space and returns the byte behind it, which is not consumed; `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn mark(&mut self) -> io::Result<Option<u8>> {
        loop {
            let ahead = self.fill_buf()?;
            let num_blank = ahead.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let (mark, is_end) = (ahead.get(num_blank).copied(), ahead.is_empty());
            self.consume(num_blank);
            if mark.is_some() || is_end {
                return Ok(mark);
            }
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num = self.fill_buf()?.read(buffer)?;
        self.consume(num);
        Ok(num)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.room == 0 {
            let cause = format!("the row has more than {} MiB", ROW_BYTES_MAX >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, cause));
        }
        self.bytes.fill_buf()
    }

    fn consume(&mut self, num: usize) {
        self.bytes.consume(num);
        self.offset += num as u64;
        self.room = self.room.saturating_sub(num);
    }
}
