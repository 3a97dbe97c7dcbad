//! Anyone's questions: any TSV, JSONL or parquet whose columns a few lines of TOML name.
//!
//! This module does not know any benchmark. What is not named is not read, and what is named must be there.
//!
//! ```toml
//! benchmark = "my_set"              # ids are my_set/<split>/<id>
//! split = "test"                    # may be left out, as may all below but question, answer, pictures
//! id = "number"                     # else the row's number
//! question = "question"
//! answer = "solution"
//! options_columns = ["A", "B"]      # or options_list = "choices"
//! category = "subject"
//! difficulty = "level"              # L1 to L5
//! pass_rate = "rate"                # 0 to 1
//! precision = "decimals"
//! unit = "unit"
//! version = "version"
//! pictures = [{ column = "image", kind = "base64" }]   # or "path", or "bytes"
//! optional_pictures = true          # else every question must have one
//! ```
//!
//! Decisions:
//! - Where pictures are named, a question without any is a bad row unless `optional_pictures` says otherwise: a picture
//!   that was lost on the way is the usual reason, and a model that is asked without it guesses, which no accuracy shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use synergy_hint::{Explain as _, hint};
use toml::Spanned;

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::published::{is_name, listed};
use crate::datasets::reader::Reader;
use crate::datasets::row::{Layout, Meaning, PictureKind, Row};
use crate::sample::{Details, Sample};

/// Maps each column to its meaning.
#[derive(Debug, Clone)]
pub struct Mapping {
    path: PathBuf,
    spec: Spec,
    /// Every column that is named, with the key that names it and the key's line.
    named: Vec<Named>,
}

#[derive(Debug, Clone)]
struct Named {
    key: String,
    line: usize,
    column: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    benchmark: Spanned<String>,
    split: Option<Spanned<String>>,
    id: Option<Spanned<String>>,
    question: Spanned<String>,
    answer: Spanned<String>,
    options_list: Option<Spanned<String>>,
    options_columns: Option<Spanned<Vec<String>>>,
    category: Option<Spanned<String>>,
    difficulty: Option<Spanned<String>>,
    pass_rate: Option<Spanned<String>>,
    precision: Option<Spanned<String>>,
    unit: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    pictures: Vec<Picture>,
    /// True if questions without a picture are asked as they are.
    #[serde(default)]
    optional_pictures: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Picture {
    column: Spanned<String>,
    kind: PictureKind,
}

/// Opens `path`, a file or a folder of files of one kind, by a mapping.
///
/// # Errors
/// If there is no such file, its kind is unknown or a column that the mapping names is not there.
pub fn open(mapping: &Mapping, path: &Path) -> Result<Reader> {
    Reader::open(Arc::new(mapping.clone()), path)
}

impl Mapping {
    /// Reads a mapping from a TOML file.
    ///
    /// # Errors
    /// If the file cannot be read or is no mapping; the message names line and key.
    pub fn read(path: &Path) -> Result<Mapping> {
        let text = std::fs::read_to_string(path)
            .explain(|| hint!(("failed to read mapping `{}`", path.display()), "check the path"))?;
        Mapping::parse(&text, path)
    }

    /// Reads a mapping from `text`, which `path` names in messages.
    ///
    /// # Errors
    /// If it is no mapping; the message names line and key.
    pub fn parse(text: &str, path: &Path) -> Result<Mapping> {
        let at = |offset: usize, cause: &str, help: &str| {
            let line = line_of(text, offset);
            let place = path.display();
            anyhow!(hint!("failed to read mapping `{place}`: line {line}: {cause}", "{help}"))
        };
        let spec: Spec = toml::from_str(text).map_err(|error| {
            let cause = error.message().lines().collect::<Vec<_>>().join(" ");
            let help = "the keys of a mapping are described in benchmarks/README.md";
            at(error.span().map_or(0, |span| span.start), &cause, help)
        })?;
        for (key, name) in [("benchmark", Some(&spec.benchmark)), ("split", spec.split.as_ref())] {
            let Some(name) = name else { continue };
            if !is_name(name.get_ref()) {
                let cause = format!(
                    "`{}` cannot be the `{key}`, which is a part of ids",
                    name.get_ref().escape_debug()
                );
                return Err(at(name.span().start, &cause, "use letters, digits, `_`, `-` and `.`"));
            }
        }
        if let (Some(_), Some(columns)) = (&spec.options_list, &spec.options_columns) {
            let cause = "`options_columns` and `options_list` are both there";
            let help = "choices are one column with a list, or a column each";
            return Err(at(columns.span().start, cause, help));
        }
        let mut named = Vec::new();
        let mut name = |key: &str, offset: usize, column: &str| {
            let line = line_of(text, offset);
            named.push(Named { key: key.to_owned(), line, column: column.to_owned() });
        };
        for (key, column) in [
            ("id", spec.id.as_ref()),
            ("question", Some(&spec.question)),
            ("answer", Some(&spec.answer)),
            ("options_list", spec.options_list.as_ref()),
            ("category", spec.category.as_ref()),
            ("difficulty", spec.difficulty.as_ref()),
            ("pass_rate", spec.pass_rate.as_ref()),
            ("precision", spec.precision.as_ref()),
            ("unit", spec.unit.as_ref()),
            ("version", spec.version.as_ref()),
        ] {
            if let Some(column) = column {
                name(key, column.span().start, column.get_ref());
            }
        }
        if let Some(columns) = &spec.options_columns {
            for column in columns.get_ref() {
                name("options_columns", columns.span().start, column);
            }
        }
        for picture in &spec.pictures {
            name("pictures", picture.column.span().start, picture.column.get_ref());
        }
        Ok(Mapping { path: path.to_owned(), named, spec })
    }
}

impl Meaning for Mapping {
    fn split(&self, _: Layout, columns: Option<&[String]>, path: &Path) -> Result<String> {
        if let Some(columns) = columns
            && let Some(Named { key, line, column }) =
                self.named.iter().find(|named| !columns.contains(&named.column))
        {
            bail!(hint!(
                (
                    "failed to read mapping `{}`: line {line}: `{key}` names the column `{column}`",
                    self.path.display()
                ),
                ("`{}` has {}", path.display(), listed(columns))
            ));
        }
        Ok(self.spec.split.as_ref().map_or_else(String::new, |split| split.get_ref().clone()))
    }

    fn id_column(&self, _: Layout) -> &str {
        self.spec.id.as_ref().map_or("", |id| id.get_ref())
    }

    fn sample(&self, row: &Row) -> Checked<Sample> {
        if row.file.layout == Layout::Jsonl {
            // Each line has keys of its own, so each is checked.
            for Named { key, column, .. } in &self.named {
                if !row.cells.columns.contains(column) {
                    let cause =
                        format!("the line has no such key, which the mapping's `{key}` names");
                    return Err(
                        Fault::new(column, cause).hint("write `null` where nothing is known")
                    );
                }
            }
        }
        let spec = &self.spec;
        fn read<T>(
            column: Option<&Spanned<String>>,
            read: impl FnOnce(&str) -> Checked<Option<T>>,
        ) -> Checked<Option<T>> {
            column.map_or(Ok(None), |column| read(column.get_ref()))
        }
        let choices = match (&spec.options_list, &spec.options_columns) {
            (Some(column), _) => row.list(column.get_ref())?,
            (_, Some(columns)) => row.letters(columns.get_ref().iter().map(String::as_str))?,
            _ => Vec::new(),
        };
        let mut images = Vec::new();
        for picture in &spec.pictures {
            let column = picture.column.get_ref();
            images.extend(row.pictures(column, picture.kind)?);
        }
        // One picture may stand in any of several columns, and there must be one.
        if let (true, Some(first)) =
            (images.is_empty() && !spec.optional_pictures, spec.pictures.first())
        {
            let column = first.column.get_ref();
            images = Row::some(images, column).map_err(|fault| {
                fault.hint(
                    "`optional_pictures = true` in the mapping asks such questions as they are",
                )
            })?;
        }
        let sample = Sample {
            id: match &spec.id {
                Some(column) => row.required(column.get_ref())?,
                None => format!("{:06}", row.number),
            },
            images,
            question: row.required(spec.question.get_ref())?,
            choices,
            answer: row.required(spec.answer.get_ref())?,
            details: Details {
                category: read(spec.category.as_ref(), |column| row.text(column))?,
                precision: read(spec.precision.as_ref(), |column| row.count(column))?,
                unit: read(spec.unit.as_ref(), |column| row.text(column))?,
                level: read(spec.difficulty.as_ref(), |column| row.level(column))?,
                pass_rate: read(spec.pass_rate.as_ref(), |column| row.share(column))?,
                version: read(spec.version.as_ref(), |column| row.text(column))?,
            },
            ..Sample::default()
        };
        Ok(sample.named(spec.benchmark.get_ref(), &row.file.split))
    }
}

/// Returns the line, from 1, in which the byte `offset` stands.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "benchmark = \"mine\"\nid = \"n\"\nquestion = \"q\"\nanswer = \"a\"\n\
                        options_columns = [\"A\", \"B\"]\ndifficulty = \"d\"\n\
                        pictures = [{ column = \"p\", kind = \"path\" }]\n";

    fn mapping(text: &str) -> Result<Mapping> {
        Mapping::parse(text, Path::new("map.toml"))
    }

    #[track_caller]
    fn refused(text: &str, want: &str) {
        let message = synergy_hint::text(&mapping(text).unwrap_err());
        let general = "\nhint: the keys of a mapping are described in benchmarks/README.md";
        let message = message.replace(general, "");
        assert_eq!(message, format!("failed to read mapping `map.toml`: {want}"));
    }

    /// Returns the samples of a file `name` with `text`, beside a picture `a.png`, or what is wrong.
    fn read(spec: &str, name: &str, text: &str) -> Result<Vec<Sample>> {
        let folder = tempfile::tempdir().unwrap();
        image::RgbImage::new(2, 3).save(folder.path().join("a.png")).unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        let samples = open(&mapping(spec).unwrap(), &folder.path().join(name))?
            .collect::<Result<Vec<_>>>()?;
        for sample in &samples {
            assert_eq!(sample.load_images().unwrap()[0].dimensions(), (2, 3));
        }
        Ok(samples)
    }

    #[test]
    fn columns_are_what_the_mapping_says() {
        let tsv = "n\tq\ta\tA\tB\td\tp\tmore\n7\tWhich?\tB\tone\ttwo\tL3\ta.png\t\n8\tWhat?\t5\t\t\t\ta.png\t\n";
        let samples = read(SPEC, "set.tsv", tsv).unwrap();
        assert_eq!(samples[0].id, "mine/7");
        assert_eq!(samples[0].choices, ["one", "two"]);
        assert_eq!(samples[0].details.level, Some(crate::difficulty::Level::L3));
        assert_eq!((samples[1].choices.len(), samples[1].details.level), (0, None));

        let spec = SPEC
            .replace("options_columns = [\"A\", \"B\"]", "split = \"val\"\noptions_list = \"o\"");
        let jsonl = "{\"n\": 7, \"q\": \"Which?\", \"a\": 2.50, \"o\": [\"one\", 2], \"d\": 3, \"p\": [\"a.png\"]}\n";
        let samples = read(&spec, "set.jsonl", jsonl).unwrap();
        assert_eq!((samples[0].id.as_str(), samples[0].answer.as_str()), ("mine/val/7", "2.5"));
        assert_eq!(samples[0].choices, ["one", "2"]);
    }

    #[test]
    fn without_an_id_the_number_of_the_row_is_one() {
        let spec = SPEC.replace("id = \"n\"\n", "");
        let tsv = "q\ta\tA\tB\td\tp\nWhich?\tB\tone\ttwo\tL3\ta.png\n";
        assert_eq!(read(&spec, "set.tsv", tsv).unwrap()[0].id, "mine/000001");
    }

    #[test]
    fn a_wrong_mapping_is_refused_with_key_and_line() {
        refused("benchmark = 1", "line 1: invalid type: integer `1`, expected a string");
        let message = synergy_hint::text(&mapping(&SPEC.replace("answer", "anwser")).unwrap_err());
        assert!(message.contains("line 4: unknown field `anwser`, expected one of "), "{message}");
        refused(
            &SPEC.replace("\"path\"", "\"file\""),
            "line 7: unknown variant `file`, expected one of `base64`, `path`, `bytes`",
        );
        refused(&SPEC.replace("answer = \"a\"\n", ""), "line 1: missing field `answer`");
        refused(
            &SPEC.replace("\"mine\"", "\"my/set\""),
            "line 1: `my/set` cannot be the `benchmark`, which is a part of ids\nhint: use letters, digits, `_`, `-` and `.`",
        );
        refused(
            &SPEC.replace("difficulty", "options_list"),
            "line 5: `options_columns` and `options_list` are both there\n\
             hint: choices are one column with a list, or a column each",
        );
    }

    #[test]
    fn a_column_that_is_not_there_is_refused_with_the_line_that_names_it() {
        let message = synergy_hint::text(&read(SPEC, "set.tsv", "n\tq\ta\tA\td\tp\n").unwrap_err());
        assert!(
            message.starts_with(
                "failed to read mapping `map.toml`: line 5: `options_columns` names the column `B`\nhint: `"
            ),
            "{message}"
        );
        let message = synergy_hint::text(&read(SPEC, "set.jsonl", "{\"n\": 1}\n").unwrap_err());
        assert!(
            message.ends_with(
                "row 1, column `q`: the line has no such key, which the mapping's `question` names\n\
                 hint: write `null` where nothing is known"
            ),
            "{message}"
        );
    }

    #[test]
    fn questions_without_a_picture_are_read_where_the_mapping_allows_them() {
        let spec = format!("{SPEC}optional_pictures = true\n");
        let folder = tempfile::tempdir().unwrap();
        image::RgbImage::new(2, 3).save(folder.path().join("a.png")).unwrap();
        let path = folder.path().join("set.tsv");
        let rows = "7\tWhich?\tB\tone\ttwo\tL3\ta.png\n8\tWhat?\t5\t\t\t\t\n";
        std::fs::write(&path, format!("n\tq\ta\tA\tB\td\tp\n{rows}")).unwrap();
        let samples: Vec<Sample> =
            open(&mapping(&spec).unwrap(), &path).unwrap().map(Result::unwrap).collect();
        let counts: Vec<usize> = samples.iter().map(|sample| sample.images.len()).collect();
        assert_eq!(counts, [1, 0]);
        // A picture that is named must be there all the same.
        std::fs::write(&path, "n\tq\ta\tA\tB\td\tp\n7\tWhich?\tB\tone\ttwo\tL3\tb.png\n").unwrap();
        let lost = open(&mapping(&spec).unwrap(), &path).unwrap().next().unwrap();
        assert!(synergy_hint::text(&lost.unwrap_err()).contains("b.png` is missing"));
    }

    #[test]
    fn a_missing_picture_is_an_error_with_file_row_and_column() {
        let tsv = "n\tq\ta\tA\tB\td\tp\n7\tWhich?\tB\tone\ttwo\tL3\tb.png\n";
        let message = synergy_hint::text(&read(SPEC, "set.tsv", tsv).unwrap_err());
        assert!(message.contains("set.tsv`, row 1, column `p`: the picture `"), "{message}");
        assert!(message.contains("b.png` is missing\nhint: paths begin at `"), "{message}");
        let tsv = "n\tq\ta\tA\tB\td\tp\n7\tWhich?\tB\tone\ttwo\tL3\t\n";
        let message = synergy_hint::text(&read(SPEC, "set.tsv", tsv).unwrap_err());
        assert!(
            message.ends_with(
                "row 1, column `p`: there is no picture\n\
                 hint: `optional_pictures = true` in the mapping asks such questions as they are"
            ),
            "{message}"
        );
    }
}
