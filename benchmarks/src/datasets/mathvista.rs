//! MathVista: mathematics in charts, figures and photographs, 1,000 in `testmini`, 5,141 in `test`.
//!
//! This module does not know how an answer is judged: it is the owners' text, which for a question with choices is
//! the text of the choice, and for a number has `precision` decimal places.
//! Source: `AI4Math/MathVista` (parquet), `MathVista_MINI.tsv` (VLMEvalKit).
//!
//! Decisions:
//! - The question is `question`. The owners' `query`, the question with instructions, is not read.
//! - The answers of `test` are not published, so an empty answer stays empty there.
//! - VLMEvalKit's `answer_option`, the letter, follows from answer and choices and is not read.

use crate::datasets::fault::Checked;
use crate::datasets::published::Published;
use crate::datasets::row::{Layout, PictureKind, Row};
use crate::sample::{Details, Sample};

pub(super) const BENCHMARK: Published = Published {
    name: "mathvista",
    title: "MathVista",
    tables: &[("mathvista_mini", "testmini")],
    split: "testmini",
    tsv: &["question_type", "choices"],
    parquet: &["pid", "question", "decoded_image", "choices", "answer", "precision", "unit"],
    tsv_split: None,
    sample,
};

fn sample(row: &Row) -> Checked<Sample> {
    let answer = if &*row.file.split == "test" {
        row.text("answer")?.unwrap_or_default()
    } else {
        row.required("answer")?
    };
    let details = Details {
        precision: row.count("precision")?,
        unit: row.text("unit")?,
        ..row.study_details()?
    };
    let sample = Sample { answer, choices: row.list("choices")?, ..Sample::default() };
    if row.file.layout == Layout::Parquet {
        let images = row.pictures("decoded_image", PictureKind::Bytes)?;
        return Ok(Sample {
            id: row.required("pid")?,
            images: Row::some(images, "decoded_image")?,
            question: row.required("question")?,
            details: Details { category: row.field("metadata", "category")?, ..details },
            ..sample
        });
    }
    Ok(Sample {
        id: row.required("index")?,
        images: row.some_tsv_pictures()?,
        question: row.tsv_question()?,
        details: Details { category: row.text("category")?, ..details },
        ..sample
    })
}
