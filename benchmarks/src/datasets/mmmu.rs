//! MMMU: college questions of 30 subjects with up to seven pictures; 150 `dev`, 900 `validation`,
//! 10,500 `test`.
//!
//! This module does not know how an answer is judged: it is the owners' text, the letter of a choice, a value or a
//! Python list of values of which each is right, as the graders read it.
//! Source: `lmms-lab/MMMU` (parquet), `MMMU_DEV_VAL.tsv` (VLMEvalKit).
//!
//! Decisions:
//! - `<image 1>` in question and choices stays: it says where the picture belongs.
//! - A row of VLMEvalKit without `A` is an open question. VLMEvalKit then asks it as a choice between
//!   the answer and `Other Answers`; here it stays open.
//! - The answers of `test` are not published: what stands there is kept, and may be nothing.
//! - The category is the subject, in parquet the middle of the id (`validation_Accounting_1`).

use crate::datasets::fault::Checked;
use crate::datasets::published::Published;
use crate::datasets::row::{Layout, Row};
use crate::sample::{Details, Sample};

pub(super) const BENCHMARK: Published = Published {
    name: "mmmu",
    title: "MMMU",
    tables: &[("mmmu_dev_val", "dev_val")],
    split: "validation",
    tsv: &["A"],
    parquet: &["id", "question", "options", "answer", "image_1"],
    tsv_split: Some("split"),
    sample,
};

const LETTERS: [&str; 9] = ["A", "B", "C", "D", "E", "F", "G", "H", "I"];
const IMAGES: [&str; 7] =
    ["image_1", "image_2", "image_3", "image_4", "image_5", "image_6", "image_7"];

fn sample(row: &Row) -> Checked<Sample> {
    if row.file.layout == Layout::Parquet {
        let id = row.required("id")?;
        let answer = if &*row.file.split == "test" {
            row.text("answer")?.unwrap_or_default()
        } else {
            row.key("answer")?
        };
        let details = Details { category: subject(&id), ..row.study_details()? };
        return Ok(Sample {
            images: Row::some(row.numbered_pictures(&IMAGES)?, IMAGES[0])?,
            question: row.required("question")?,
            choices: row.list("options")?,
            answer,
            details,
            id,
            ..Sample::default()
        });
    }
    Ok(Sample {
        id: row.required("index")?,
        images: row.some_tsv_pictures()?,
        question: row.tsv_question()?,
        choices: row.letters(LETTERS)?,
        answer: row.key("answer")?,
        details: Details { category: row.text("category")?, ..row.study_details()? },
        ..Sample::default()
    })
}

/// `Agriculture` of `dev_Agriculture_1`; subjects may hold low lines themselves.
fn subject(id: &str) -> Option<String> {
    let (_, rest) = id.split_once('_')?;
    rest.rsplit_once('_').map(|(subject, _)| subject.to_owned())
}
