//! MathVerse: problems in geometry and functions, each in versions that move the text into the picture.
//!
//! This module does not know how an answer is judged: it is the owners' text, the letter of a choice or a value.
//! Choices stand in the question, as the owners have them.
//! Source: `CaraJ/MathVerse-lmmseval` (parquet, `testmini` and one split a version),
//! `MathVerse_MINI.tsv` and one table a version (VLMEvalKit).
//!
//! Decisions:
//! - The version is `problem_version`, as written: `Text Dominant`, `Text Lite`, `Text Only`,
//!   `Vision Intensive`, `Vision Dominant` or `Vision Only`.
//! - `Vision Only` has its question in the picture. Where the cell is empty the owners' instruction
//!   (`query_wo`) stands for it, if the file has one.
//! - `Text Only` has no picture; all others must have one.
//! - A table of one version is a split of its own (`testmini_vision_only`), since nothing says that its
//!   numbers are those of the whole.

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::published::Published;
use crate::datasets::row::{Layout, PictureKind, Row};
use crate::sample::{Details, Sample};

pub(super) const BENCHMARK: Published = Published {
    name: "mathverse",
    title: "MathVerse",
    tables: &[
        ("mathverse_mini", "testmini"),
        ("mathverse_mini_vision_only", "testmini_vision_only"),
        ("mathverse_mini_vision_dominant", "testmini_vision_dominant"),
        ("mathverse_mini_vision_intensive", "testmini_vision_intensive"),
        ("mathverse_mini_text_lite", "testmini_text_lite"),
        ("mathverse_mini_text_dominant", "testmini_text_dominant"),
    ],
    split: "testmini",
    tsv: &["problem_version"],
    parquet: &["sample_index", "problem_version", "question", "image", "answer"],
    tsv_split: None,
    sample,
};

const VISION_ONLY: &str = "Vision Only";
const TEXT_ONLY: &str = "Text Only";

fn sample(row: &Row) -> Checked<Sample> {
    let version = row.required("problem_version")?;
    let (id, images) = match row.file.layout {
        Layout::Parquet => {
            (row.required("sample_index")?, row.pictures("image", PictureKind::Bytes)?)
        }
        _ => (row.required("index")?, row.tsv_pictures()?),
    };
    let question = match row.text("question")? {
        Some(_) => row.tsv_question()?,
        None if same(&version, VISION_ONLY) => row.text("query_wo")?.unwrap_or_default(),
        None => return Err(Fault::new("question", "the cell is empty")),
    };
    let subject = row.field("metadata", "subject")?;
    Ok(Sample {
        id,
        images: if same(&version, TEXT_ONLY) { images } else { Row::some(images, "image")? },
        question,
        answer: row.required("answer")?,
        details: Details { category: subject, version: Some(version), ..row.study_details()? },
        ..Sample::default()
    })
}

/// Files write `Vision Only` with a space, a hyphen or a low line.
fn same(version: &str, name: &str) -> bool {
    version.replace(['-', '_'], " ").eq_ignore_ascii_case(name)
}
