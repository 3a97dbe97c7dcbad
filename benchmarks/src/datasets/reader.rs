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
use crate::datasets::json_array::JsonArray;
use crate::datasets::jsonl::{Fields, Jsonl};
use crate::datasets::mapped::Mapping;
use crate::datasets::parquet::Parquet;
use crate::datasets::published::{Draft, Published};
use crate::datasets::references::References;
use crate::datasets::row::{Layout, Row};
use crate::datasets::training::{self, Training};
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
    Training(Training),
}

/// The ends of files' names, and what the files then are.
type Kinds = [(&'static str, Layout); 3];

const KINDS: Kinds = [("tsv", Layout::Tsv), ("jsonl", Layout::Jsonl), ("parquet", Layout::Parquet)];
const TRAINING_KINDS: Kinds =
    [("json", Layout::Json), ("jsonl", Layout::Jsonl), ("parquet", Layout::Parquet)];

impl Meaning {
    fn kinds(&self) -> &'static Kinds {
        match self {
            Meaning::Published(_) | Meaning::Mapped(_) => &KINDS,
            Meaning::Training(_) => &TRAINING_KINDS,
        }
    }
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
    Json(JsonArray<BufReader<File>>),
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
        let layout = layout(&path, self.meaning.kinds())?;
        let rows = Rows::open(&path, layout)?;
        let columns = rows.columns();
        let split = match &self.meaning {
            Meaning::Published(published) => {
                published.check(layout, columns.unwrap_or_default(), &path)?;
                published.split(&path)
            }
            Meaning::Mapped(mapping) => {
                if let Some(columns) = columns {
                    mapping.check(columns, &path)?;
                }
                mapping.split().to_owned()
            }
            Meaning::Training(training) => {
                if let Some(columns) = columns {
                    training.check(columns, &path)?;
                }
                training::SPLIT.to_owned()
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
                    let hint = match &self.meaning {
                        Meaning::Published(_) | Meaning::Mapped(_) => {
                            "the file has a header and nothing else"
                        }
                        Meaning::Training(_) => "",
                    };
                    bail!("there is no row to read{}", Hint(hint));
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
            Meaning::Training(training) => training.sample(&row, self.num_rows)?,
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
                Meaning::Training(_) => training::ID,
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

impl Rows {
    fn open(path: &Path, layout: Layout) -> Result<Rows> {
        Rows::begin(path, layout).map_err(|stop| {
            anyhow!("failed to read `{}`: {}{}", path.display(), stop.cause, Hint(&stop.hint))
        })
    }

    fn begin(path: &Path, layout: Layout) -> Result<Rows, Stop> {
        let file = || File::open(path).map(|file| BufReader::with_capacity(1 << 16, file));
        Ok(match layout {
            Layout::Tsv => {
                let rows = Tsv::open(file()?)?;
                let columns = rows.columns.clone().into();
                Rows::Tsv { rows, columns }
            }
            Layout::Json => {
                // Hugging Face's `datasets` takes an object a line under this name as well.
                let mut file = file()?;
                if JsonArray::is_one(&mut file)? {
                    Rows::Json(JsonArray::new(file))
                } else {
                    Rows::Jsonl(Jsonl::new(file))
                }
            }
            Layout::Jsonl => Rows::Jsonl(Jsonl::new(file()?)),
            Layout::Parquet => {
                let rows = Parquet::open(path)?;
                let columns = rows.columns.clone().into();
                Rows::Parquet { rows: Box::new(rows), columns }
            }
        })
    }

    /// The columns, where the file as a whole has them.
    fn columns(&self) -> Option<&[String]> {
        match self {
            Rows::Tsv { columns, .. } | Rows::Parquet { columns, .. } => Some(columns),
            Rows::Json(_) | Rows::Jsonl(_) => None,
        }
    }
}

/// The columns of a file of training data, or of the first file of a folder; of JSON the keys of the first
/// object.
///
/// # Errors
/// If there is no such file, its kind is unknown or its first object cannot be read.
pub(super) fn training_columns(path: &Path) -> Result<Vec<String>> {
    let path = files(path, &TRAINING_KINDS)?.swap_remove(0);
    let mut rows = Rows::open(&path, layout(&path, &TRAINING_KINDS)?)?;
    let at_row = |cause: &str, hint: &str| {
        anyhow!("failed to read `{}`: row 1: {cause}{}", path.display(), Hint(hint))
    };
    let first = match &mut rows {
        Rows::Tsv { columns, .. } | Rows::Parquet { columns, .. } => return Ok(columns.to_vec()),
        Rows::Json(rows) => rows.row(),
        Rows::Jsonl(rows) => rows.row(),
    };
    match first.map_err(|stop| at_row(&stop.cause, &stop.hint))? {
        Some(Ok(fields)) => Ok(fields.into_iter().map(|(name, _)| name).collect()),
        Some(Err(fault)) => Err(at_row(&fault.cause, &fault.hint)),
        None => bail!("failed to read `{}`: there is no row to read", path.display()),
    }
}

impl Table {
    fn row(&mut self) -> Result<Option<Checked<Row>>, Stop> {
        let objects = |layout, row: Option<Checked<Fields>>| match row {
            Some(Ok(fields)) => {
                let (columns, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
                (layout, columns.into(), Some(Ok(values)))
            }
            Some(Err(fault)) => (layout, Arc::default(), Some(Err(fault))),
            None => (layout, Arc::default(), None),
        };
        let (layout, columns, values) = match &mut self.rows {
            Rows::Tsv { rows, columns } => (Layout::Tsv, Arc::clone(columns), rows.row()?),
            Rows::Parquet { rows, columns } => {
                (Layout::Parquet, Arc::clone(columns), rows.row()?.map(Ok))
            }
            Rows::Json(rows) => objects(Layout::Json, rows.row()?),
            Rows::Jsonl(rows) => objects(Layout::Jsonl, rows.row()?),
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
fn layout(path: &Path, kinds: &Kinds) -> Result<Layout> {
    known_layout(path, kinds).ok_or_else(|| {
        anyhow!("the kind of `{}` is unknown\nhint: {}", path.display(), ends(kinds))
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

/// The file, or the files of a folder.
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
        bail!("there is no file to read in `{}`\nhint: {hint}", path.display())
    };
    let other = files.iter().find(|file| known_layout(file, kinds) != known_layout(first, kinds));
    if let Some(other) = other {
        bail!(
            "`{}` and `{}` are of two kinds\nhint: name one of them",
            first.display(),
            other.display()
        );
    }
    Ok(files)
}
