//! Long work done chunk by chunk: each finished chunk is written to a journal, so that a process that is stopped or
//! killed loses the chunk it was working on and nothing else.
//!
//! Does not know what is done. A journal is a file of JSON lines, one for each chunk, flushed to the disk; a last line
//! without its end is a chunk that was not finished.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Serialize, de::DeserializeOwned};
use synergy_hint::{Explain as _, hint};

use crate::run::event::{Events, interrupted};

/// Work on a list of items.
#[derive(Debug)]
pub struct Chunks<'a> {
    /// Name on the progress bar.
    pub title: String,
    /// The work in words that follow "interrupted while", such as "evaluating `base`".
    pub doing: String,
    /// Items of a chunk, at least 1.
    pub chunk_size: usize,
    /// The file that holds the results of finished chunks; without one, the work itself keeps what it has done.
    pub journal: Option<PathBuf>,
    /// Where progress is shown.
    pub events: &'a Events,
}

impl Chunks<'_> {
    /// Results of all chunks of `items`, in order: those in the journal, and those of `work` for all others. `progress`
    /// gets each result, once and in order, and gives the message beside the bar.
    ///
    /// # Errors
    /// If `work` fails, the journal cannot be read or written, or somebody asked to stop; finished chunks stay in the
    /// journal.
    pub fn run<I, T: Serialize + DeserializeOwned>(
        &self,
        items: &[I],
        mut work: impl FnMut(&[I]) -> Result<T>,
        mut progress: impl FnMut(&T) -> String,
    ) -> Result<Vec<T>> {
        let (mut journal, mut results) = match &self.journal {
            Some(path) => {
                let (journal, results) = Journal::open(path)?;
                (Some(journal), results)
            }
            None => (None, Vec::new()),
        };
        let mut message = String::new();
        results.iter().for_each(|result| message = progress(result));
        let mut done = (results.len() * self.chunk_size).min(items.len());
        let mut bar = self.events.bar(&self.title, items.len(), done);
        for chunk in items[done..].chunks(self.chunk_size) {
            let result = work(chunk)?;
            if let Some(journal) = &mut journal {
                journal.push(&result)?;
            }
            message = progress(&result);
            results.push(result);
            done += chunk.len();
            bar.at(done, message.clone());
            if interrupted() && done < items.len() {
                bail!(hint!(
                    ("interrupted while {} ({done} of {} questions done)", self.doing, items.len()),
                    "the same command goes on from there"
                ));
            }
        }
        bar.finish(&message);
        Ok(results)
    }
}

/// Removes the journal in `path`, if there is one: its results are stored elsewhere by now.
///
/// # Errors
/// If the file cannot be removed.
pub fn forget(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove the journal `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// An open journal, at its end.
struct Journal<'a> {
    path: &'a Path,
    file: File,
}

impl Journal<'_> {
    /// Opens the journal in `path`, an empty one if there is none; gives the results in it.
    fn open<T: DeserializeOwned>(path: &Path) -> Result<(Journal<'_>, Vec<T>)> {
        let failed = || {
            hint!(
                ("failed to read the journal `{}`", path.display()),
                "delete that file; what it holds is then computed again"
            )
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).explain(failed)?;
        let text = std::fs::read_to_string(path).explain(failed)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let results = text[..whole].lines().map(serde_json::from_str).collect::<Result<_, _>>();
        let results = results.explain(failed)?;
        file.set_len(whole as u64).explain(failed)?;
        file.seek(SeekFrom::End(0)).explain(failed)?;
        Ok((Journal { path, file }, results))
    }

    /// Appends a result.
    fn push(&mut self, result: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(result).context("results are plain data")? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.explain(|| {
            hint!(("failed to write the journal `{}`", self.path.display()), "is the disk full?")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    /// Sums of the chunks of 0 to 9, three at a time, by a process that is stopped after `limit` of them; also what it
    /// worked on.
    fn sums(dir: &Path, limit: usize) -> (Result<Vec<u32>>, Vec<u32>) {
        let events = Events::open(&dir.join("events"), true).unwrap();
        let chunks = Chunks {
            title: "sums".to_owned(),
            doing: "adding".to_owned(),
            chunk_size: 3,
            journal: Some(dir.join("journal")),
            events: &events,
        };
        let (items, mut seen, mut total) = ((0..10).collect::<Vec<u32>>(), Vec::new(), 0);
        let work = |chunk: &[u32]| {
            ensure!(seen.len() < 3 * limit, "stopped");
            seen.extend(chunk);
            Ok(chunk.iter().sum())
        };
        let results = chunks.run(&items, work, |sum| {
            total += sum;
            total.to_string()
        });
        if results.is_ok() {
            assert_eq!(total, 45);
            forget(&dir.join("journal")).unwrap();
        }
        (results, seen)
    }

    #[test]
    fn finished_chunks_are_not_done_again_and_one_cut_in_half_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (stopped, seen) = sums(dir.path(), 2);
        assert!(stopped.is_err() && seen == [0, 1, 2, 3, 4, 5]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "3\n12\n");
        // Killed within the second line.
        std::fs::write(&path, &text[..text.len() - 1]).unwrap();
        let (results, seen) = sums(dir.path(), 9);
        assert_eq!(results.unwrap(), [3, 12, 21, 9]);
        assert_eq!(seen, [3, 4, 5, 6, 7, 8, 9]);
        assert!(!path.exists());
    }

    #[test]
    fn an_error_about_a_damaged_journal_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("journal"), "1\nnot a number\n2\n").unwrap();
        let error = synergy_hint::text(&sums(dir.path(), 9).0.unwrap_err());
        assert!(
            error.contains("journal`: ") && error.contains("\nhint: delete that file"),
            "{error}"
        );
    }
}
