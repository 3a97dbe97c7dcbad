//! Pass rates and levels, as `synergy levels` writes them and `synergy evaluate` reads them: a JSON object per line.
//!
//! Does not know which model was asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use synergy_benchmarks::difficulty::{self, Level};
use synergy_benchmarks::sample::Sample;
use synergy_grade::Grader;
use synergy_grade::answer::Outcome;
use synergy_hint::{Explain as _, hint};
use synergy_report::completion::Completion;

use super::Answered;

/// A question's pass rate and the level that follows from it; none of both for a question without an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands) struct Cut {
    id: String,
    num_correct: u32,
    num_samples: u32,
    pass_rate: Option<f64>,
    level: Option<Level>,
}

/// Cuts levels by the study's thresholds, from the answers that came.
pub(in crate::commands) fn cut(
    answered: &Answered,
    completions: &[Completion],
    grader: Grader,
) -> Vec<Cut> {
    let num_asked = answered.answers.first().map_or(1, Vec::len).max(1);
    let of = |(sample, answers): (&Sample, &[Completion])| {
        let is_right = |answer: &&Completion| answer.outcome(grader) == Outcome::Correct;
        let num_correct = answers.iter().filter(is_right).count() as u32;
        let num_samples = answers.iter().filter(|a| a.unanswered.is_none()).count() as u32;
        Cut::of(sample.id.clone(), num_correct, num_samples)
    };
    answered.asked.samples.iter().zip(completions.chunks(num_asked)).map(of).collect()
}

impl Cut {
    fn of(id: String, num_correct: u32, num_samples: u32) -> Cut {
        let came = (num_samples > 0).then_some(num_samples);
        Cut {
            id,
            num_correct,
            num_samples,
            pass_rate: came.map(|num| f64::from(num_correct) / f64::from(num)),
            level: came.map(|num| difficulty::level(num_correct, num)),
        }
    }
}

/// Serializes levels as the lines of a file.
///
/// # Errors
/// If serialization fails, which it does not for plain data.
pub(in crate::commands) fn to_lines(cut: &[Cut]) -> Result<String> {
    let mut text = String::new();
    for cut in cut {
        let _ = writeln!(text, "{}", serde_json::to_string(cut).context("plain data")?);
    }
    Ok(text)
}

/// Lists how many questions each level has, a line each.
pub(in crate::commands) fn describe(cut: &[Cut]) -> String {
    let mut text = String::new();
    for level in Level::ALL {
        let count = cut.iter().filter(|cut| cut.level == Some(level)).count();
        let share = 100.0 * count as f64 / cut.len().max(1) as f64;
        let _ = writeln!(text, "{level}  {count:>6}  {share:>5.1} %");
    }
    let unanswered = cut.iter().filter(|cut| cut.level.is_none()).count();
    if unanswered > 0 {
        let _ = writeln!(text, "--  {unanswered:>6}  have no answer and no level");
    }
    text
}

/// Levels by the id of their question.
pub(super) struct Levels(BTreeMap<String, Cut>);

/// Reads a file of levels.
///
/// # Errors
/// Names the first line that is not a valid record, repeats a question, or has a level that does not follow from its
/// counts.
pub(super) fn read(path: &Path) -> Result<Levels> {
    let text = std::fs::read_to_string(path).map_err(Into::into);
    text.and_then(|text| parse(&text)).explain(|| {
        hint!(("failed to read levels `{}`", path.display()), "`synergy levels` writes such a file")
    })
}

fn parse(text: &str) -> Result<Levels> {
    let mut levels = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let cut: Cut = serde_json::from_str(line)
            .with_context(|| format!("line {} is not a valid record", index + 1))?;
        let follows = cut.num_correct <= cut.num_samples
            && Cut::of(String::new(), cut.num_correct, cut.num_samples).level == cut.level;
        ensure!(
            follows,
            "line {}: {} correct of {} does not make level {}",
            index + 1,
            cut.num_correct,
            cut.num_samples,
            cut.level.map_or_else(|| "null".to_owned(), |level| level.to_string())
        );
        let id = cut.id.clone();
        ensure!(levels.insert(id, cut).is_none(), "line {} repeats a question", index + 1);
    }
    Ok(Levels(levels))
}

impl Levels {
    /// Gives every sample its level.
    ///
    /// # Errors
    /// If a sample has no level: levels of another set or of fewer questions would be mistaken for this one's.
    pub(super) fn assign(&self, samples: &mut [Sample], path: &Path) -> Result<()> {
        for sample in samples {
            let cut = self.0.get(&sample.id).explain(|| {
                hint!(
                    ("`{}` has no level for question `{}`", path.display(), sample.id),
                    "cut levels of the same questions"
                )
            })?;
            sample.details.level = cut.level;
            sample.details.pass_rate = cut.pass_rate;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synergy_benchmarks::families::{Family, Split};

    fn line(id: &str, num_correct: u32, level: Level) -> String {
        let cut = Cut::of(id.to_owned(), num_correct, 16);
        to_lines(&[Cut { level: Some(level), ..cut }]).unwrap()
    }

    #[test]
    fn levels_are_read_back_and_given_to_their_questions() {
        let mut samples = vec![Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1)];
        let id = samples[0].id.clone();
        let levels = parse(&(line(&id, 5, Level::L3) + &line("other", 16, Level::L1))).unwrap();
        levels.assign(&mut samples, Path::new("l")).unwrap();
        assert_eq!(samples[0].details.level, Some(Level::L3));
        let few = parse(&line("other", 16, Level::L1)).unwrap();
        let error = synergy_hint::text(&few.assign(&mut samples, Path::new("l")).unwrap_err());
        assert!(
            error.starts_with(&format!("`l` has no level for question `{id}`\nhint: ")),
            "{error}"
        );
    }

    #[test]
    fn a_question_without_an_answer_has_no_level_and_is_no_error() {
        let mut samples = vec![Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1)];
        let cut = [Cut::of(samples[0].id.clone(), 0, 0)];
        assert!(describe(&cut).ends_with("--       1  have no answer and no level\n"));
        let lines = to_lines(&cut).unwrap();
        parse(&lines).unwrap().assign(&mut samples, Path::new("l")).unwrap();
        assert_eq!((samples[0].details.level, samples[0].details.pass_rate), (None, None));
        let error = parse(&lines.replace("null}", "\"L5\"}")).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "line 1: 0 correct of 0 does not make level L5");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, cause) in [
            (line("a", 16, Level::L5), "line 1: 16 correct of 16 does not make level L5"),
            (line("a", 16, Level::L1) + &line("a", 0, Level::L5), "line 2 repeats a question"),
            ("{}\n".to_owned(), "line 1 is not a valid record"),
        ] {
            let error = parse(&text).map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with(cause), "{error}");
        }
    }
}
