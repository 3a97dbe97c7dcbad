//! A sample: one question with its pictures and its target.
//!
//! This module does not know how pictures become patches, how text becomes tokens or how answers are judged.
//! Pictures are kept as their source, not as pixels: a run plans, shuffles and grades far more
//! samples than it looks at, and a procedural picture costs less to draw again than to keep.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use image::RgbImage;
use synergy_grade::Target;

use crate::difficulty::Level;
use crate::families::{Family, Scene, Solution, Split};
use crate::grids::Task;
use crate::seed::Seed;
use crate::stored::{Cell, Origin};

/// Where a picture comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageSource {
    /// Drawn when asked for.
    Scene(Box<Scene>),
    /// A picture file on disk.
    File(PathBuf),
    /// The grids of a task, drawn when asked for.
    Grids(Arc<Task>),
    /// A picture in a file of rows, read and decoded when asked for.
    Cell(Box<Cell>),
}

impl ImageSource {
    /// Draws or reads the pixels. Files and cells are decoded by [`synergy_picture`], as everywhere.
    ///
    /// # Errors
    /// If the file or the row cannot be read, or [`synergy_picture::decode`] refuses it. The error names the picture.
    pub fn load(&self) -> Result<RgbImage> {
        self.pixels().with_context(|| format!("failed to read {self}"))
    }

    fn pixels(&self) -> Result<RgbImage> {
        match self {
            ImageSource::Scene(scene) => Ok(scene.render()),
            ImageSource::Grids(task) => Ok(task.render()),
            ImageSource::File(path) => synergy_picture::decode(&synergy_picture::bytes(path)?),
            ImageSource::Cell(cell) => synergy_picture::decode(&cell.bytes()?),
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageSource::Scene(_) | ImageSource::Grids(_) => f.write_str("the drawn picture"),
            ImageSource::File(path) => write!(f, "picture `{}`", path.display()),
            ImageSource::Cell(cell) => write!(f, "the picture in {}", cell.place),
        }
    }
}

/// What a published data set says of a question besides what is asked; `None` where it says nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Details {
    /// The subject or the ability, in the owner's words.
    pub category: Option<String>,
    /// The number of decimal places of a numeric answer that count.
    pub precision: Option<u32>,
    /// The unit of a numeric answer, in the owner's words.
    pub unit: Option<String>,
    /// The study's published difficulty level, by the pass rate of Qwen2.5-VL-7B.
    pub level: Option<Level>,
    /// The pass rate from which the level follows, 0 to 1.
    pub pass_rate: Option<f64>,
    /// The version of the problem that is asked; MathVerse's `problem_version`.
    pub version: Option<String>,
}

/// One question with pictures and target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Unique and stable; for a procedural sample `family/split/seed/index`.
    pub id: String,
    /// The benchmark that the sample belongs to, for example the name of the family.
    pub benchmark: String,
    /// The number of steps that a procedural question asks for, from 1; 0 where the benchmark has no such number.
    pub hops: usize,
    /// The pictures, in the order in which they are shown.
    pub images: Vec<ImageSource>,
    /// The text of the question.
    pub question: String,
    /// The choices of a multiple-choice question; empty for an open one.
    pub choices: Vec<String>,
    /// The right answer: a text, or the letter or the text of a choice.
    pub answer: String,
    /// How a procedural question is solved; `None` for all others.
    pub solution: Option<Solution>,
    /// The answer that the owner of a training set has written, word for word; empty where there is none.
    pub response: String,
    /// What the published data set says of the question.
    pub details: Details,
    /// Where the question was read; `None` if it was drawn.
    pub origin: Option<Origin>,
}

impl Sample {
    /// Draws the procedural sample at (`family`, `seed`, `split`, `index`).
    ///
    /// Its hops cycle through `hops` with the index, so any run of consecutive indices is
    /// stratified. But in a maze, picture and start do not depend on `hops`: the same address with another range
    /// asks for a longer or shorter walk through the same picture.
    ///
    /// # Panics
    /// If `hops` is empty or leaves `1..=MAX_HOPS`.
    pub fn procedural(
        family: Family,
        seed: u64,
        split: Split,
        index: u64,
        hops: RangeInclusive<usize>,
    ) -> Sample {
        assert!(!hops.is_empty(), "no hops to choose from in {hops:?}");
        let address = Seed::root(seed).fold_in(family.name()).fold_in(split.name()).at(index);
        let num_choices = (hops.end() - hops.start() + 1) as u64;
        let hops = hops.start() + (index % num_choices) as usize;
        let scene = family.scene_of(address.fold_in("scene"), split, hops);
        let question = scene.ask(hops, &mut address.fold_in("question").rng());
        Sample {
            id: format!("{family}/{split}/{seed}/{index:05}"),
            benchmark: family.name().to_owned(),
            hops,
            images: vec![ImageSource::Scene(Box::new(scene))],
            question: question.text,
            answer: question.answer,
            solution: Some(question.solution),
            ..Sample::default()
        }
    }

    /// Returns what completions are judged against.
    pub fn target(&self) -> Target<'_> {
        Target {
            gold: &self.answer,
            choices: &self.choices,
            precision: self.details.precision,
            benchmark: self.benchmark.as_str().into(),
        }
    }

    /// Draws or reads the pixels of all pictures of the sample.
    ///
    /// # Errors
    /// See [`ImageSource::load`]; the error names the question's row too.
    pub fn load_images(&self) -> Result<Vec<RgbImage>> {
        let named = |source: &ImageSource| {
            source
                .pixels()
                .with_context(|| format!("failed to read {}", self.picture_title(source)))
        };
        self.images.iter().map(named).collect()
    }

    /// Names one of the sample's pictures and the row that it belongs to, for a message.
    fn picture_title(&self, source: &ImageSource) -> String {
        match source {
            ImageSource::Cell(_) => source.to_string(),
            _ => format!("{source} of {}", self.title()),
        }
    }

    /// Names the question and, if it was read from a file, its row, for a message.
    pub fn title(&self) -> String {
        let Sample { id, origin, .. } = self;
        match origin {
            Some(origin) => format!("question `{id}` ({origin})"),
            None => format!("question `{id}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn from_file(path: PathBuf) -> Sample {
        let mut sample = Sample::procedural(Family::Path, 1, Split::Test, 0, 1..=1);
        sample.images = vec![ImageSource::File(path)];
        sample
    }

    #[test]
    fn the_same_address_gives_the_same_sample() {
        for family in Family::ALL {
            let draw = || Sample::procedural(family, 7, Split::Test, 12, 1..=8);
            assert_eq!(draw(), draw());
            assert_eq!(draw().load_images().unwrap(), draw().load_images().unwrap());
            assert_eq!(draw().id, format!("{family}/test/7/00012"));
            assert_ne!(draw().images, Sample::procedural(family, 8, Split::Test, 12, 1..=8).images);
        }
    }

    #[test]
    fn hops_are_stratified_and_change_nothing_else_about_the_address() {
        let hops: Vec<usize> = (0..6)
            .map(|index| Sample::procedural(Family::Sum, 7, Split::Train, index, 2..=4).hops)
            .collect();
        assert_eq!(hops, [2, 3, 4, 2, 3, 4]);
        let short = Sample::procedural(Family::Sum, 7, Split::Train, 5, 3..=3);
        let long = Sample::procedural(Family::Sum, 7, Split::Train, 5, 9..=9);
        assert_eq!(short.images, long.images);
        let dense = |sample: &Sample| sample.solution.as_ref().unwrap().dense();
        assert!(dense(&long).starts_with(dense(&short).split_once(" last").unwrap().0));
    }

    #[test]
    fn a_picture_file_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        let picture = Sample::procedural(Family::Chart, 1, Split::Train, 3, 1..=1)
            .load_images()
            .unwrap()
            .remove(0);
        picture.save(&path).unwrap();
        assert_eq!(from_file(path).load_images().unwrap(), [picture]);
    }

    #[test]
    fn what_is_not_a_picture_is_refused_in_one_line_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.png");
        std::fs::write(&text, "no picture").unwrap();
        let huge = folder.path().join("huge.png");
        // A few kilobytes on disk, a bomb in memory.
        image::GrayImage::new(40_000, 1_001).save(&huge).unwrap();
        for path in [text, huge, folder.path().join("absent.png")] {
            let mut sample = from_file(path.clone());
            let named = |sample: &Sample, owner: &str| {
                let message = synergy_hint::text(&sample.load_images().unwrap_err());
                let start = format!("failed to read picture `{}` of {owner}: ", path.display());
                let (line, hint) = message.split_once('\n').unwrap();
                assert!(line.starts_with(&start), "{message}");
                assert!(hint.starts_with("hint: ") && !hint.contains('\n'), "{message}");
            };
            named(&sample, "question `path/test/1/00000`");
            sample.origin = Some(Origin { file: Path::new("rows.jsonl").into(), row: 3 });
            named(&sample, "question `path/test/1/00000` (`rows.jsonl`, row 3)");
        }
    }
}
