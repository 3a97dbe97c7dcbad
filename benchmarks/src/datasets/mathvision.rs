//! MathVision: competition problems in mathematics with a picture, 3,040 in `test`, 304 in `testmini`.
//!
//! This module does not know how an answer is judged: it is the owners' text, the letter of a choice or a value.
//! Source: `MathLLMs/MathVision` (parquet), `MathVision.tsv` and `MathVision_MINI.tsv` (VLMEvalKit).
//!
//! Decisions:
//! - The owners' `level`, 1 to 5, is by school years and is not the study's: it is not read.
//! - The category is the subject. Choices such as `A` to `E` that stand only in the picture are kept.

use crate::datasets::fault::Checked;
use crate::datasets::published::Published;
use crate::datasets::row::{Layout, PictureKind, Row};
use crate::sample::{Details, Sample};

pub(super) const BENCHMARK: Published = Published {
    name: "mathvision",
    title: "MathVision",
    tables: &[("mathvision", "test"), ("mathvision_mini", "testmini")],
    split: "test",
    tsv: &["choices"],
    parquet: &["id", "question", "options", "decoded_image", "answer", "subject"],
    tsv_split: None,
    sample,
};

fn sample(row: &Row) -> Checked<Sample> {
    let sample = Sample { answer: row.required("answer")?, ..Sample::default() };
    if row.file.layout == Layout::Parquet {
        let images = row.pictures("decoded_image", PictureKind::Bytes)?;
        return Ok(Sample {
            id: row.required("id")?,
            images: Row::some(images, "decoded_image")?,
            question: row.required("question")?,
            choices: row.list("options")?,
            details: Details { category: row.text("subject")?, ..row.study_details()? },
            ..sample
        });
    }
    Ok(Sample {
        id: row.required("index")?,
        images: row.some_tsv_pictures()?,
        question: row.tsv_question()?,
        choices: row.list("choices")?,
        details: Details { category: row.text("category")?, ..row.study_details()? },
        ..sample
    })
}
