//! EasyVQA 1.0 (Victor Zhou, MIT): pictures of one colored shape, 64 x 64, and simple questions.
//!
//! This module does not know how the files came to disk (`cargo xtask fetch easy-vqa`) or how a question is put
//! to a model: the question is the owner's text, the 13 possible answers are its choices.
//!
//! Decisions:
//! - Three of four questions ask yes or no, and most phrasings have a likelier answer, so knowing
//!   the questions alone is worth two thirds of the points. An accuracy on this set is only readable
//!   beside [`TEXT_ONLY_BASELINE`].
//! - A limited evaluation takes questions at even distances from the whole file, not its first ones,
//!   so that as many pictures as possible are seen and the subset is the same on every machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use strum::IntoStaticStr;
use synergy_hint::hint;

use crate::sample::{ImageSource, Sample};
use crate::stored::Origin;

/// The name that samples carry.
pub const BENCHMARK: &str = "easy_vqa";

/// Accuracy on all test questions without their pictures: the majority answer in train of the same
/// question text, as [`crate::text_only::accuracy`] computes it (a test repeats it where the data is).
pub const TEXT_ONLY_BASELINE: f64 = 6_475.0 / 9_673.0;

/// The two parts that the owner publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum EasyVqaSplit {
    Train,
    Test,
}

impl EasyVqaSplit {
    /// Returns the name of its folder, which is also that in sample ids.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One row of a `questions.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The text of the question.
    pub question: String,
    /// One of the possible answers.
    pub answer: String,
    /// The picture is `images/<image_id>.png`.
    pub image_id: u32,
}

/// Loads at most `limit` samples of `split` from `dir`, at even distances over the file and in its
/// order. Ids are `easy_vqa/<split>/<row>` with the row's number in the file, so a question keeps its
/// id under every limit.
///
/// # Errors
/// If the set is not in `dir`, a file is not what the owner publishes, an answer is not among the
/// choices, a picture is missing, or nothing is left to ask.
pub fn load(dir: &Path, split: EasyVqaSplit, limit: usize) -> anyhow::Result<Vec<Sample>> {
    let rows = rows(dir, split)?;
    ensure!(limit > 0, "a limit of 0 leaves no question of EasyVQA");
    let choices = choices(dir)?;
    let images = dir.join(split.name()).join("images");
    let file: Arc<Path> = questions(dir, split).into();
    let sample = |index: usize| {
        let Row { question, answer, image_id } = &rows[index];
        let id = format!("{BENCHMARK}/{}/{index:05}", split.name());
        ensure!(
            choices.contains(answer),
            "the answer `{answer}` of `{id}` is not in `{}`",
            dir.join("answers.txt").display()
        );
        let image = images.join(format!("{image_id}.png"));
        ensure!(
            image.is_file(),
            hint!(("the picture `{}` of `{id}` is missing", image.display()), "{HINT}")
        );
        Ok(Sample {
            id,
            benchmark: BENCHMARK.to_owned(),
            images: vec![ImageSource::File(image)],
            question: question.clone(),
            choices: choices.clone(),
            answer: answer.clone(),
            origin: Some(Origin { file: Arc::clone(&file), row: index as u64 + 1 }),
            ..Sample::default()
        })
    };
    spread(rows.len(), limit).map(sample).collect()
}

/// Reads all rows of `split`, in the file's order.
///
/// # Errors
/// If the set is not in `dir` or its questions are not what the owner publishes.
pub fn rows(dir: &Path, split: EasyVqaSplit) -> anyhow::Result<Vec<Row>> {
    let path = questions(dir, split);
    let text = read(&path)?;
    let rows: Vec<(String, String, u32)> = serde_json::from_str(&text)
        .with_context(|| format!("failed to read the questions `{}`", path.display()))?;
    ensure!(!rows.is_empty(), "there is no question in `{}`", path.display());
    let row = |(question, answer, image_id)| Row { question, answer, image_id };
    Ok(rows.into_iter().map(row).collect())
}

/// The file of the questions of `split`.
fn questions(dir: &Path, split: EasyVqaSplit) -> PathBuf {
    dir.join(split.name()).join("questions.json")
}

const HINT: &str = "run `cargo xtask fetch easy-vqa`";

/// Reads the possible answers, in the owner's order.
fn choices(dir: &Path) -> anyhow::Result<Vec<String>> {
    let path = dir.join("answers.txt");
    let choices: Vec<String> = read(&path)?.split_whitespace().map(str::to_owned).collect();
    ensure!(!choices.is_empty(), "there is no answer in `{}`", path.display());
    Ok(choices)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).map_err(|error| {
        anyhow::anyhow!(hint!(("failed to read EasyVQA's `{}`: {error}", path.display()), "{HINT}"))
    })
}

/// Returns at most `limit` of the numbers below `len`, at even distances and rising.
fn spread(len: usize, limit: usize) -> impl Iterator<Item = usize> {
    let num = limit.min(len);
    (0..num).map(move |k| k * len / num)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};
    use std::collections::BTreeSet;

    /// A set in the owner's layout with two questions on each of `num_images` pictures.
    fn tiny_set(num_images: u8) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("answers.txt"), "circle\nyes\nno\n").unwrap();
        let images = dir.path().join("test").join("images");
        fs::create_dir_all(&images).unwrap();
        let mut rows = Vec::new();
        for id in 0..num_images {
            let picture = RgbImage::from_pixel(64, 64, Rgb([id, 0, 0]));
            picture.save(images.join(format!("{id}.png"))).unwrap();
            rows.push(("what shape is present?", "circle", id));
            rows.push(("is there a red shape?", if id % 2 == 0 { "no" } else { "yes" }, id));
        }
        let questions = serde_json::to_string(&rows).unwrap();
        fs::write(dir.path().join("test/questions.json"), questions).unwrap();
        dir
    }

    #[track_caller]
    fn refused(dir: &Path, limit: usize, want: &str) {
        let error = load(dir, EasyVqaSplit::Test, limit).unwrap_err();
        let error = synergy_hint::text(&error);
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_sample_has_its_own_picture_question_and_answer() {
        let dir = tiny_set(3);
        let samples = load(dir.path(), EasyVqaSplit::Test, 100).unwrap();
        assert_eq!(samples.len(), 6);
        let sample = &samples[3];
        assert_eq!(sample.id, "easy_vqa/test/00003");
        assert_eq!(sample.question, "is there a red shape?");
        assert_eq!(sample.answer, "yes");
        assert_eq!(sample.choices, ["circle", "yes", "no"]);
        let pictures = sample.load_images().unwrap();
        assert_eq!(pictures.len(), 1);
        assert_eq!(*pictures[0].get_pixel(63, 63), Rgb([1, 0, 0]));
    }

    #[test]
    fn a_limit_takes_questions_from_all_over_the_file() {
        let dir = tiny_set(10);
        let samples = load(dir.path(), EasyVqaSplit::Test, 4).unwrap();
        let ids: Vec<_> = samples.iter().map(|sample| sample.id.as_str()).collect();
        let want = ["00000", "00005", "00010", "00015"].map(|row| format!("easy_vqa/test/{row}"));
        assert_eq!(ids, want);
        assert_eq!(samples, load(dir.path(), EasyVqaSplit::Test, 4).unwrap());
    }

    #[test]
    fn a_subset_has_the_asked_number_of_different_rows() {
        for (len, limit) in [(9_673, 500), (9_673, 9_672), (7, 7), (7, 9), (1, 1)] {
            let rows: BTreeSet<_> = spread(len, limit).collect();
            assert_eq!(rows.len(), limit.min(len), "{limit} of {len}");
            assert!(rows.iter().all(|row| *row < len));
        }
    }

    #[test]
    fn what_is_not_the_published_set_is_refused() {
        let dir = tiny_set(2);
        refused(dir.path(), 0, "a limit of 0");
        refused(&dir.path().join("absent"), 5, "\nhint: run `cargo xtask fetch easy-vqa`");
        fs::remove_file(dir.path().join("test/images/1.png")).unwrap();
        refused(dir.path(), 5, "of `easy_vqa/test/00002` is missing");
        fs::write(dir.path().join("answers.txt"), "circle\nyes\n").unwrap();
        refused(dir.path(), 5, "the answer `no` of `easy_vqa/test/00001` is not in");
        fs::write(dir.path().join("test/questions.json"), "[[\"what?\"]]").unwrap();
        refused(dir.path(), 5, "failed to read the questions");
        fs::write(dir.path().join("test/questions.json"), "[]").unwrap();
        refused(dir.path(), 5, "there is no question in");
    }

    #[test]
    fn the_published_set_reads_whole_and_gives_the_baseline() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/easy-vqa");
        if !dir.is_dir() {
            println!("not tested: EasyVQA is not there, `cargo xtask fetch easy-vqa` gets it");
            return;
        }
        let train = rows(&dir, EasyVqaSplit::Train).unwrap();
        let test = rows(&dir, EasyVqaSplit::Test).unwrap();
        assert_eq!((train.len(), test.len()), (38_575, 9_673));
        fn pair(row: &Row) -> (&str, &str) {
            (&row.question, &row.answer)
        }
        let baseline = crate::text_only::accuracy(train.iter().map(pair), test.iter().map(pair));
        assert!((baseline - TEXT_ONLY_BASELINE).abs() < 1e-12, "{baseline}");

        let samples = load(&dir, EasyVqaSplit::Test, usize::MAX).unwrap();
        assert_eq!(samples.len(), test.len());
        assert_eq!(samples[0].choices.len(), 13);
        for sample in load(&dir, EasyVqaSplit::Test, 50).unwrap() {
            let pictures = sample.load_images().unwrap();
            assert_eq!(pictures[0].dimensions(), (64, 64), "{}", sample.id);
        }
    }
}
