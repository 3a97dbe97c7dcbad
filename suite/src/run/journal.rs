//! Work that is done in pieces, each kept when it is done: a process that stops loses the piece it was at.
//!
//! Does not know what a piece is. A journal is a file of JSON lines, a piece a line, flushed to the disk; a last line
//! without its end is a piece that was not finished.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Pieces on disk.
#[derive(Debug)]
pub struct Journal<T> {
    path: PathBuf,
    file: File,
    pieces: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// The journal in `path`, begun if it is not there, and the pieces in it.
    ///
    /// # Errors
    /// If it cannot be read or written, or a whole line of it is no piece.
    pub fn open(path: &Path) -> Result<(Journal<T>, Vec<T>)> {
        let failed = || {
            format!(
                "failed to read `{}`\nhint: delete that file; what it holds is made anew",
                path.display()
            )
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).with_context(failed)?;
        let text = std::fs::read_to_string(path).with_context(failed)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let pieces = text[..whole].lines().map(serde_json::from_str).collect::<Result<_, _>>();
        let pieces = pieces.with_context(failed)?;
        file.set_len(whole as u64).with_context(failed)?;
        file.seek(SeekFrom::End(0)).with_context(failed)?;
        Ok((Journal { path: path.to_owned(), file, pieces: PhantomData }, pieces))
    }

    /// Keeps a further piece.
    ///
    /// # Errors
    /// If the disk is full or gone.
    pub fn push(&mut self, piece: &T) -> Result<()> {
        let line = serde_json::to_string(piece).context("a piece is plain data")? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| {
            format!("failed to write `{}`\nhint: is the disk full?", self.path.display())
        })
    }

    /// Ends it: what it holds is kept elsewhere.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path)
            .with_context(|| format!("failed to remove `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pieces_come_back_and_a_cut_one_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, kept) = Journal::<Vec<u32>>::open(&path).unwrap();
        assert!(kept.is_empty());
        journal.push(&vec![1, 2]).unwrap();
        journal.push(&vec![3]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // Killed within the second line.
        std::fs::write(&path, &text[..text.len() - 2]).unwrap();
        let (mut journal, kept) = Journal::<Vec<u32>>::open(&path).unwrap();
        assert_eq!(kept, [[1, 2]]);
        journal.push(&vec![4, 5]).unwrap();
        let (journal, kept) = Journal::<Vec<u32>>::open(&path).unwrap();
        assert_eq!(kept, [[1, 2], [4, 5]]);
        journal.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_line_that_is_no_piece_is_refused_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        std::fs::write(&path, "[1]\nno piece\n[2]\n").unwrap();
        let error = Journal::<Vec<u32>>::open(&path).unwrap_err().to_string();
        assert!(error.contains("journal`\nhint: delete that file"), "{error}");
    }
}
