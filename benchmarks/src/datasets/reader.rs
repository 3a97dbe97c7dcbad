//! The samples of files, one after another, and what becomes of a row that is none.
//!
//! Does not know what a column means: a benchmark or a mapping turns a row into a sample.
//!
//! Decisions:
//! - A bad row is an error, the first one and the last thing that is read. Whoever wants the other rows
//!   says so and gets the list of those that were skipped.
//! - A file that cannot be read on is an error in any case: nobody knows which rows are lost.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::datasets::fault::{Checked, Fault, Hint, Stop};
use crate::datasets::jsonl::Jsonl;
use crate::datasets::mapped::Mapping;
use crate::datasets::parquet::Parquet;
use crate::datasets::published::{Draft, Published};
use crate::datasets::references::References;
use crate::datasets::row::{Layout, Row};
use crate::datasets::tsv::Tsv;
use crate::sample::Sample;

/// A row that is no sample, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub file: PathBuf,
    /// From 1, without the header.
    pub row: u64,
    /// Empty where the row as a whole is bad.
    pub column: String,
    /// One line.
    pub cause: String,
    /// One line on what may help; empty where nothing is known.
    pub hint: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Skipped { file, row, column, cause, hint } = self;
        write!(f, "`{}`, row {row}", file.display())?;
        if !column.is_empty() {
            write!(f, ", column `{column}`")?;
        }
        write!(f, ": {cause}{}", Hint(hint))
    }
}

/// What turns rows into samples.
pub(super) enum Meaning {
    Published(&'static Published),
    Mapped(Box<Mapping>),
}

/// Reads samples in the order of the files.
pub struct Reader {
    meaning: Meaning,
    files: VecDeque<PathBuf>,
    table: Option<Table>,
    /// The file and row of every id so far, by hash: there may be millions.
    ids: HashMap<[u8; 16], (Arc<Path>, u64)>,
    num_rows: u64,
    skip_bad: bool,
    skipped: Vec<Skipped>,
    is_over: bool,
}

struct Table {
    file: Arc<Path>,
    split: Arc<str>,
    number: u64,
    rows: Rows,
    references: References,
}

enum Rows {
    Tsv { rows: Tsv<BufReader<File>>, columns: Arc<[String]> },
    Jsonl(Jsonl<BufReader<File>>),
    Parquet { rows: Box<Parquet>, columns: Arc<[String]> },
}

impl Reader {
    /// Opens `path`, a file or a folder of files of one kind, which are read in the order of their names.
    ///
    /// # Errors
    /// If there is no such file, its kind is unknown or the first file lacks a column.
    pub(super) fn open(meaning: Meaning, path: &Path) -> Result<Reader> {
        let mut reader = Reader {
            meaning,
            files: files(path)?.into(),
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

    /// Whether bad rows are skipped and listed. Without it the first one is an error and the end.
    #[must_use]
    pub fn skip_bad(mut self, skip_bad: bool) -> Reader {
        self.skip_bad = skip_bad;
        self
    }

    /// The rows that were skipped so far.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Rows that were read so far, skipped ones among them.
    pub fn num_rows(&self) -> u64 {
        self.num_rows
    }

    fn open_next(&mut self) -> Result<bool> {
        self.table = None;
        let Some(path) = self.files.pop_front() else { return Ok(false) };
        let at_file = |stop: Stop| {
            anyhow!("failed to read `{}`: {}{}", path.display(), stop.cause, Hint(&stop.hint))
        };
        let layout = layout(&path)?;
        let rows = match layout {
            Layout::Tsv => {
                let file = File::open(&path).map_err(Stop::from).map_err(at_file)?;
                let rows = Tsv::open(BufReader::with_capacity(1 << 16, file)).map_err(at_file)?;
                let columns = rows.columns.clone().into();
                Rows::Tsv { rows, columns }
            }
            Layout::Jsonl => {
                let file = File::open(&path).map_err(Stop::from).map_err(at_file)?;
                Rows::Jsonl(Jsonl::new(BufReader::with_capacity(1 << 16, file)))
            }
            Layout::Parquet => {
                let rows = Parquet::open(&path).map_err(at_file)?;
                let columns = rows.columns.clone().into();
                Rows::Parquet { rows: Box::new(rows), columns }
            }
        };
        let columns = match &rows {
            Rows::Tsv { columns, .. } | Rows::Parquet { columns, .. } => Some(columns),
            Rows::Jsonl(_) => None,
        };
        let split = match &self.meaning {
            Meaning::Published(published) => {
                published.check(layout, columns.map_or(&[], |columns| &columns[..]), &path)?;
                published.split(&path)
            }
            Meaning::Mapped(mapping) => {
                if let Some(columns) = columns {
                    mapping.check(columns, &path)?;
                }
                mapping.split().to_owned()
            }
        };
        self.table = Some(Table {
            file: path.into(),
            split: split.into(),
            number: 0,
            rows,
            references: References::default(),
        });
        Ok(true)
    }

    fn advance(&mut self) -> Result<Option<Sample>> {
        loop {
            let Some(table) = &mut self.table else {
                if self.open_next()? {
                    continue;
                }
                if self.num_rows == 0 {
                    bail!("there is no row to read\nhint: the file has a header and nothing else");
                }
                return Ok(None);
            };
            let row = table.row().map_err(|stop| {
                let (file, row) = (table.file.display(), table.number + 1);
                anyhow!("failed to read `{file}`: row {row}: {}{}", stop.cause, Hint(&stop.hint))
            })?;
            let Some(row) = row else {
                self.table = None;
                continue;
            };
            self.num_rows += 1;
            let (file, number) = (Arc::clone(&table.file), table.number);
            let sample = match row.and_then(|row| self.sample(row)) {
                Ok(sample) => return Ok(Some(sample)),
                Err(Fault { column, cause, hint }) => {
                    Skipped { file: file.to_path_buf(), row: number, column, cause, hint }
                }
            };
            if !self.skip_bad {
                bail!("failed to read {sample}");
            }
            self.skipped.push(sample);
        }
    }

    fn sample(&mut self, mut row: Row) -> Checked<Sample> {
        let sample = match &self.meaning {
            Meaning::Published(published) => {
                if row.layout == Layout::Tsv
                    && let Some(table) = &mut self.table
                {
                    table.references.resolve(&mut row)?;
                }
                let draft: Draft = (published.draft)(&row)?;
                draft.sample(published.name, &row.split)
            }
            Meaning::Mapped(mapping) => mapping.sample(&row)?,
        };
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(sample.id.as_bytes()).as_bytes()[..16]);
        let place = (Arc::clone(&row.file), row.number);
        if let Some((file, number)) = self.ids.insert(key, place) {
            let cause = format!("the id `{}` is already that of row {number}", sample.id);
            let cause =
                if file == row.file { cause } else { format!("{cause} of `{}`", file.display()) };
            let column = match &self.meaning {
                Meaning::Published(published) => published.id_column(row.layout),
                Meaning::Mapped(mapping) => mapping.id_column(),
            };
            // The first row keeps it.
            self.ids.insert(key, (file, number));
            return Err(Fault::new(column, cause));
        }
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

impl Table {
    fn row(&mut self) -> Result<Option<Checked<Row>>, Stop> {
        let (layout, columns, values) = match &mut self.rows {
            Rows::Tsv { rows, columns } => (Layout::Tsv, Arc::clone(columns), rows.row()?),
            Rows::Parquet { rows, columns } => {
                (Layout::Parquet, Arc::clone(columns), rows.row()?.map(Ok))
            }
            Rows::Jsonl(rows) => match rows.row()? {
                Some(Ok(fields)) => {
                    let (columns, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
                    (Layout::Jsonl, columns.into(), Some(Ok(values)))
                }
                Some(Err(fault)) => (Layout::Jsonl, Arc::default(), Some(Err(fault))),
                None => return Ok(None),
            },
        };
        let Some(values) = values else { return Ok(None) };
        self.number += 1;
        Ok(Some(values.map(|values| Row {
            file: Arc::clone(&self.file),
            number: self.number,
            layout,
            split: Arc::clone(&self.split),
            columns,
            values,
            pictures: Vec::new(),
        })))
    }
}

/// What a file is, by the end of its name.
fn layout(path: &Path) -> Result<Layout> {
    known_layout(path).ok_or_else(|| {
        anyhow!(
            "the kind of `{}` is unknown\nhint: names end in .tsv, .jsonl or .parquet",
            path.display()
        )
    })
}

fn known_layout(path: &Path) -> Option<Layout> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "tsv" => Some(Layout::Tsv),
        "jsonl" => Some(Layout::Jsonl),
        "parquet" => Some(Layout::Parquet),
        _ => None,
    }
}

/// The file, or the files of a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let read = || format!("failed to read `{}`", path.display());
    if !std::fs::metadata(path).with_context(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(read)? {
        let file = entry.with_context(read)?.path();
        if file.is_file() && known_layout(&file).is_some() {
            files.push(file);
        }
    }
    files.sort();
    let Some(first) = files.first() else {
        bail!(
            "there is no file to read in `{}`\nhint: names end in .tsv, .jsonl or .parquet",
            path.display()
        )
    };
    if let Some(other) = files.iter().find(|file| known_layout(file) != known_layout(first)) {
        bail!(
            "`{}` and `{}` are of two kinds\nhint: name one of them",
            first.display(),
            other.display()
        );
    }
    Ok(files)
}
