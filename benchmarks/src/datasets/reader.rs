//! The samples of files, one after another, and what becomes of a row that is not a sample.
//!
//! This module does not know what a column means: a [`Meaning`] turns a row into a sample.
//!
//! Decisions:
//! - A bad row is an error, the first one and the last thing that is read. Whoever wants the other rows
//!   asks for them and gets the list of those that were skipped.
//! - A file that cannot be read on is an error in any case: nobody knows which rows are lost.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, anyhow, bail};
use synergy_hint::{Rendered, hint};

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::row::{Kinds, Layout, Meaning, Row, RowFile};
use crate::datasets::value::Rows;
use crate::sample::Sample;
use crate::stored::Origin;

/// A row that is not a sample, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub file: PathBuf,
    /// The row's number from 1, without the header.
    pub row: u64,
    /// The column at fault; empty where the row as a whole is bad.
    pub column: String,
    /// One line.
    pub cause: String,
    /// One line on what may help.
    pub hint: String,
}

impl Skipped {
    /// Makes an entry of a question that was read but cannot be asked, for the reason `error`; `None` if it was not read
    /// from a row.
    pub fn of(sample: &Sample, error: &anyhow::Error) -> Option<Skipped> {
        let Origin { file, row } = sample.origin.as_ref()?;
        let Rendered { causes, hints } = synergy_hint::render(error);
        Some(Skipped {
            file: file.to_path_buf(),
            row: *row,
            column: String::new(),
            cause: causes.join("; "),
            hint: hints.join("; "),
        })
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Skipped { file, row, column, cause, .. } = self;
        write!(f, "`{}`, row {row}", file.display())?;
        if !column.is_empty() {
            write!(f, ", column `{column}`")?;
        }
        write!(f, ": {cause}")
    }
}

/// Reads samples in the order of the files.
pub struct Reader {
    meaning: Arc<dyn Meaning>,
    files: VecDeque<PathBuf>,
    table: Option<Table>,
    /// The file and row of every id so far, by hash: there may be millions.
    ids: HashMap<[u8; 16], (Arc<Path>, u64)>,
    num_rows: u64,
    skip_bad: bool,
    skipped: Vec<Skipped>,
    is_over: bool,
}

/// The file that is being read.
struct Table {
    file: Arc<RowFile>,
    rows: Box<dyn Rows>,
    /// Rows that were read.
    number: u64,
}

impl Reader {
    /// Opens `path`, a file or a folder of files of one kind, which are read in the order of their names.
    ///
    /// # Errors
    /// If there is no such file, its kind is unknown or the first file lacks a column.
    pub(super) fn open(meaning: Arc<dyn Meaning>, path: &Path) -> Result<Reader> {
        let mut reader = Reader {
            files: files(path, meaning.kinds())?.into(),
            meaning,
            table: None,
            ids: HashMap::new(),
            num_rows: 0,
            skip_bad: false,
            skipped: Vec::new(),
            is_over: false,
        };
        reader.open_next()?;
        Ok(reader)
    }

    /// Sets whether bad rows are skipped and listed. Otherwise the first one is an error and the end.
    #[must_use]
    pub fn skip_bad(mut self, skip_bad: bool) -> Reader {
        self.skip_bad = skip_bad;
        self
    }

    /// Returns the rows that were skipped so far.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Returns the number of rows that were read so far, skipped ones among them.
    pub fn num_rows(&self) -> u64 {
        self.num_rows
    }

    fn open_next(&mut self) -> Result<bool> {
        self.table = None;
        let Some(path) = self.files.pop_front() else { return Ok(false) };
        let layout = layout(&path, self.meaning.kinds())?;
        let rows = open_rows(&path, layout)?;
        let columns = rows.columns();
        let split = self.meaning.split(layout, columns.map(|columns| &**columns), &path)?;
        let file = RowFile {
            path: path.into(),
            layout,
            split: split.into(),
            columns: columns.cloned().unwrap_or_default(),
            meaning: Arc::clone(&self.meaning),
            by_index: OnceLock::new(),
        };
        self.table = Some(Table { file: Arc::new(file), rows, number: 0 });
        Ok(true)
    }

    fn advance(&mut self) -> Result<Option<Sample>> {
        loop {
            let Some(table) = &mut self.table else {
                if self.open_next()? {
                    continue;
                }
                if self.num_rows == 0 {
                    bail!(hint!(
                        "there is no row to read",
                        "the file is empty or has only a header"
                    ));
                }
                return Ok(None);
            };
            let cells = match table.rows.next() {
                Ok(None) => {
                    self.table = None;
                    continue;
                }
                Ok(Some(cells)) => Ok(cells),
                Err(fault) if fault.is_end => {
                    let (file, row) = (table.file.path.display(), table.number + 1);
                    bail!(hint!("failed to read `{file}`: row {row}: {fault}", ("{}", fault.hint)));
                }
                Err(fault) => Err(fault),
            };
            table.number += 1;
            self.num_rows += 1;
            let (file, number) = (Arc::clone(&table.file), table.number);
            let sample = cells.and_then(|cells| {
                self.sample(&Row::new(Arc::clone(&file), number, self.num_rows, cells))
            });
            let bad = match sample {
                Ok(sample) => return Ok(Some(sample)),
                Err(Fault { column, cause, hint, .. }) => {
                    Skipped { file: file.path.to_path_buf(), row: number, column, cause, hint }
                }
            };
            if !self.skip_bad {
                bail!(hint!("failed to read {bad}", ("{}", bad.hint)));
            }
            self.skipped.push(bad);
        }
    }

    fn sample(&mut self, row: &Row) -> Checked<Sample> {
        let mut sample = self.meaning.sample(row)?;
        sample.origin = Some(row.origin());
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(sample.id.as_bytes()).as_bytes()[..16]);
        let path = &row.file.path;
        if let Some((file, number)) = self.ids.get(&key) {
            let cause = format!("the id `{}` is already that of row {number}", sample.id);
            let cause =
                if file == path { cause } else { format!("{cause} of `{}`", file.display()) };
            return Err(Fault::new(self.meaning.id_column(row.file.layout), cause));
        }
        self.ids.insert(key, (Arc::clone(path), row.number));
        Ok(sample)
    }
}

impl Iterator for Reader {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Result<Sample>> {
        if self.is_over {
            return None;
        }
        let next = self.advance().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

fn open_rows(path: &Path, layout: Layout) -> Result<Box<dyn Rows>> {
    RowFile::rows(path, layout).map_err(|fault| {
        anyhow!(hint!(("failed to read `{}`: {fault}", path.display()), ("{}", fault.hint)))
    })
}

/// Returns the columns of a file of one of `kinds`, or of the first file of a folder; of JSON the keys of the first
/// object.
///
/// # Errors
/// If there is no such file, its kind is unknown or its first object cannot be read.
pub(super) fn columns(path: &Path, kinds: &Kinds) -> Result<Arc<[String]>> {
    let path = files(path, kinds)?.swap_remove(0);
    let mut rows = open_rows(&path, layout(&path, kinds)?)?;
    if let Some(columns) = rows.columns() {
        return Ok(Arc::clone(columns));
    }
    match rows.next() {
        Ok(Some(cells)) => Ok(cells.columns),
        Ok(None) => bail!("failed to read `{}`: there is no row to read", path.display()),
        Err(fault) => bail!(hint!(
            ("failed to read `{}`: row 1: {fault}", path.display()),
            ("{}", fault.hint)
        )),
    }
}

/// Returns the layout of a file, by the ending of its name.
fn layout(path: &Path, kinds: &Kinds) -> Result<Layout> {
    known_layout(path, kinds).ok_or_else(|| {
        anyhow!(hint!(("the kind of `{}` is unknown", path.display()), ("{}", ends(kinds))))
    })
}

fn known_layout(path: &Path, kinds: &Kinds) -> Option<Layout> {
    let end = path.extension()?.to_str()?.to_ascii_lowercase();
    kinds.iter().find(|(name, _)| *name == end).map(|(_, layout)| *layout)
}

fn ends(kinds: &Kinds) -> String {
    let [first, second, third] = kinds.map(|(name, _)| name);
    format!("names end in .{first}, .{second} or .{third}")
}

/// Returns the file, or the files of a folder.
fn files(path: &Path, kinds: &Kinds) -> Result<Vec<PathBuf>> {
    let read = || format!("failed to read `{}`", path.display());
    if !std::fs::metadata(path).with_context(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(read)? {
        let file = entry.with_context(read)?.path();
        // JSON in a folder of files may be anything, such as LLaMA-Factory's `dataset_info.json`.
        let is_row_file = known_layout(&file, kinds).is_some_and(|layout| layout != Layout::Json);
        if file.is_file() && is_row_file {
            files.push(file);
        }
    }
    files.sort();
    let Some(first) = files.first() else {
        let mut hint = ends(kinds);
        if kinds.iter().any(|(_, layout)| *layout == Layout::Json) {
            hint.push_str("; a .json is read by its own name only");
        }
        bail!(hint!(("there is no file to read in `{}`", path.display()), "{hint}"))
    };
    let other = files.iter().find(|file| known_layout(file, kinds) != known_layout(first, kinds));
    if let Some(other) = other {
        bail!(hint!(
            ("`{}` and `{}` are of two kinds", first.display(), other.display()),
            "name one of them"
        ));
    }
    Ok(files)
}
