//! MMStar: 1,500 questions, chosen so that nothing but the picture answers them.
//!
//! This module does not know how an answer is judged: it is the letter of a choice.
//! Source: `Lin-Chen/MMStar` (parquet), `MMStar.tsv` (VLMEvalKit).
//!
//! Decisions:
//! - In parquet the choices stand in the question and stay there, so such a sample has none of its own.

use crate::datasets::fault::Checked;
use crate::datasets::published::Published;
use crate::datasets::row::{Layout, PictureKind, Row};
use crate::sample::{Details, ImageSource, Sample};

pub(super) const BENCHMARK: Published = Published {
    name: "mmstar",
    title: "MMStar",
    tables: &[("mmstar", "val")],
    split: "val",
    tsv: &["A", "B", "category"],
    parquet: &["index", "question", "image", "answer", "category"],
    tsv_split: None,
    sample,
};

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

fn sample(row: &Row) -> Checked<Sample> {
    let sample = Sample {
        id: row.required("index")?,
        answer: row.required("answer")?,
        details: Details { category: row.text("category")?, ..row.study_details()? },
        ..Sample::default()
    };
    if row.file.layout == Layout::Parquet {
        return Ok(Sample { images: image(row)?, question: row.required("question")?, ..sample });
    }
    Ok(Sample {
        images: row.some_tsv_pictures()?,
        question: row.tsv_question()?,
        choices: row.letters(LETTERS)?,
        ..sample
    })
}

/// Returns the picture, which is binary in some files and a struct of bytes and path in others.
fn image(row: &Row) -> Checked<Vec<ImageSource>> {
    Row::some(row.pictures("image", PictureKind::Bytes)?, "image")
}
