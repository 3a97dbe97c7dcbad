//! A picture inside a file of rows: where it stands, and its bytes when they are asked for.
//!
//! This module does not know benchmarks, columns' meanings or pixels.
//! What can be said of a picture without decoding its pixels is said here: whether a text is base64 at all and whether
//! the first bytes are those of a picture.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _, alphabet};

/// Base64 as Python reads it: padded, and what the last character has to spare is not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A row of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub file: Arc<Path>,
    /// From 1, without the header.
    pub row: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, row {}", self.file.display(), self.row)
    }
}

/// A cell of a file: its row and the column's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub origin: Origin,
    pub column: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, column `{}`", self.origin, self.column)
    }
}

/// How a file's reader finds a picture again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// In a text file: the byte at which the row begins, and how many pictures of the row come before this one.
    Text { start: u64, index: usize },
    /// In a parquet file: the row in its group and the place in the cell's list, both from 0, and the number of the
    /// column among the leaves of the schema.
    Parquet { row_group: usize, row: usize, leaf: usize, index: usize },
}

/// A file of rows, as its reader knows it.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Reads the picture file that stands at `at` in the row with the number `row`.
    fn picture(self: Arc<Self>, row: u64, at: At) -> Result<Vec<u8>>;
}

/// A picture in a file of rows.
#[derive(Debug, Clone)]
pub struct Cell {
    pub place: Place,
    pub(crate) at: At,
    pub(crate) source: Arc<dyn Source>,
}

impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        (&self.place, self.at) == (&other.place, other.at)
    }
}

impl Cell {
    /// Reads the picture file that the cell holds, still encoded.
    ///
    /// # Errors
    /// If the file cannot be read or is no longer the one in which the cell was found.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        Arc::clone(&self.source).picture(self.place.origin.row, self.at)
    }
}

/// Returns the text without a leading `data:image/png;base64,`.
fn without_data_uri(text: &str) -> &str {
    let is_uri = text.starts_with("data:");
    let comma = text.bytes().take(100).position(|byte| is_uri && byte == b',');
    comma.map_or(text, |comma| &text[comma + 1..])
}

/// Decodes base64 text, which must begin as a picture does. White space and a leading data URI do not count.
///
/// # Errors
/// One line on what is wrong with the text.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let text = without_data_uri(text);
    let solid = || text.bytes().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
    let decoded = if text.contains(|c: char| c.is_ascii_whitespace()) {
        BASE64.decode(solid().map(|(_, byte)| byte).collect::<Vec<u8>>())
    } else {
        BASE64.decode(text)
    };
    let bytes = decoded.map_err(|error| match error {
        DecodeError::InvalidByte(place, byte)
        | DecodeError::InvalidLastSymbol { offset: place, symbol: byte, .. } => {
            let place = solid().nth(place).map_or(place, |(place, _)| place) + 1;
            let what = char::from(byte).escape_default();
            format!("the cell is not base64: `{what}` at character {place}")
        }
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            let num = solid().count();
            format!("the cell is not base64: its {num} characters are not in groups of four")
        }
    })?;
    check_head(&bytes)?;
    Ok(bytes)
}

/// Checks that a file which begins with `head` is a picture of a kind that can be read.
///
/// # Errors
/// One line on what the file is instead.
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
        None => Err("the cell is not a picture: it begins neither as PNG nor as JPEG".to_owned()),
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
        assert_eq!(decode_base64(text).unwrap_err(), want);
    }

    #[test]
    fn a_picture_in_base64_is_told_from_anything_else() {
        let text = encode(PNG);
        assert_eq!(decode_base64(&format!("data:image/png;base64,{text}")).unwrap(), PNG);
        let wrapped = format!("{}\r\n{}\n", &text[..10], &text[10..]);
        assert_eq!(decode_base64(&wrapped).unwrap(), PNG);
        refused(
            &format!("{}!{}", &text[..40], &text[41..]),
            "the cell is not base64: `!` at character 41",
        );
        refused(
            &format!("{}!{}", &wrapped[..40], &wrapped[41..]),
            "the cell is not base64: `!` at character 41",
        );
        refused(&text[..42], "the cell is not base64: its 42 characters are not in groups of four");
        refused(&format!("=AAA{text}"), "the cell is not base64: `=` at character 1");
        refused(&encode(b"GIF89a..."), "the picture is GIF, only PNG and JPEG are read");
        refused("", "the cell is not a picture: it begins neither as PNG nor as JPEG");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(data:,)?[A-Za-z0-9+/= \né,]{0,60}") {
            let _ = decode_base64(&text);
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            let picture = [PNG, &bytes].concat();
            prop_assert_eq!(decode_base64(&encode(&picture)).unwrap(), picture);
        }
    }
}
