//! The questions of an evaluation: from files or families to samples, prompts and picture files.
//!
//! Does not know who answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Result, bail, ensure};
use regex::Regex;
use synergy_benchmarks::datasets::arc_agi::{self, ArcSplit, ArcVersion};
use synergy_benchmarks::datasets::easy_vqa::{self, EasyVqaSplit};
use synergy_benchmarks::datasets::{self, Skipped, mapped, spread};
use synergy_benchmarks::families::{Family, Split};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::text_only;

use super::AskingArgs;
use crate::endpoint::IMAGE_MARK;

/// The study's instruction, word for word (STUDY, prompt template).
pub(super) const SUFFIX: &str = "Please reason step by step within <think> </think> tags, and put your final answer within \\boxed{}.";
/// Questions of a family without --limit, and their seed.
const FAMILY_QUESTIONS: usize = 120;
const FAMILY_SEED: u64 = 9001;
/// Steps that they take: all that families are evaluated on.
const FAMILY_HOPS: std::ops::RangeInclusive<usize> = 5..=15;
/// Where `cargo xtask fetch` puts what it gets.
const DATA: &str = "data";
/// The names that questions of ARC-AGI are asked for by.
const ARC_AGI: [(&str, ArcVersion); 2] =
    [("arc_agi_1", ArcVersion::One), ("arc_agi_2", ArcVersion::Two)];

/// What is asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) benchmark: String,
    pub(super) samples: Vec<Sample>,
    /// The prompt of each sample, with [`IMAGE_MARK`] where a picture belongs, or none: then all stand before it.
    pub(super) texts: Vec<String>,
    pub(super) skipped: Vec<Skipped>,
    /// Where the questions come from.
    pub(super) source: String,
    pub(super) template: bool,
    /// The accuracy of the best guess from the text alone, where another split tells it.
    pub(super) text_only: Option<f64>,
}

/// Reads the questions.
///
/// # Errors
/// If there is no such benchmark, a file is bad, or nothing is left to ask.
pub(super) fn read(args: &AskingArgs) -> Result<Asked> {
    let limit = args.limit.unwrap_or(usize::MAX);
    ensure!(limit > 0, "--limit 0 leaves no question");
    let name = args.benchmark.as_str();
    let mut skipped = Vec::new();
    let mut text_only = None;
    let family = Family::ALL.into_iter().find(|family| family.name() == name);
    let arc_agi = ARC_AGI.into_iter().find(|(known, _)| *known == name);
    let (samples, source) = if let Some(path) = files(args, name) {
        let (mut samples, left_out) = from_files(args, &path)?;
        if args.mapping.is_none() {
            samples = of_split(samples, args.split.as_deref())?;
        }
        skipped = left_out;
        (spread(samples, limit), path.display().to_string())
    } else if let Some(family) = family {
        let count = limit.min(FAMILY_QUESTIONS) as u64;
        let sample = |i| Sample::procedural(family, FAMILY_SEED, Split::Test, i, FAMILY_HOPS);
        text_only = Some(text_only::of_family(family, FAMILY_HOPS));
        ((0..count).map(sample).collect(), format!("drawn with seed {FAMILY_SEED}"))
    } else if name == easy_vqa::BENCHMARK {
        let dir = Path::new(DATA).join("easy-vqa");
        text_only = Some(easy_vqa::TEXT_ONLY_BASELINE);
        (easy_vqa::load(&dir, EasyVqaSplit::Test, limit)?, dir.display().to_string())
    } else if let Some((_, version)) = arc_agi {
        let dir = Path::new(DATA).join("arc-agi");
        (arc_agi::load(&dir, version, ArcSplit::Eval, limit)?, dir.display().to_string())
    } else {
        let published: Vec<&str> = datasets::names().collect();
        let own = Family::ALL.map(Family::name).into_iter().chain([easy_vqa::BENCHMARK]);
        let own: Vec<&str> = own.chain(ARC_AGI.map(|(name, _)| name)).collect();
        let hint = if published.contains(&name) {
            format!("--data PATH, or `cargo xtask fetch {name}`")
        } else {
            format!(
                "there are {}; {} with their files; any other with --data and --mapping",
                own.join(", "),
                published.join(", ")
            )
        };
        bail!("benchmark `{name}` needs its files\nhint: {hint}")
    };
    ensure!(
        !samples.is_empty(),
        "no question is left of `{source}`\nhint: {} rows were left out",
        skipped.len()
    );
    let template = !args.no_template;
    let texts = samples.iter().map(|sample| prompt(sample, template)).collect();
    Ok(Asked { benchmark: name.to_owned(), samples, texts, skipped, source, template, text_only })
}

/// The files of a published set: those that were named, or those that were fetched.
fn files(args: &AskingArgs, name: &str) -> Option<PathBuf> {
    let fetched = || {
        let dir = Path::new(DATA).join(name);
        (datasets::names().any(|known| known == name) && dir.is_dir()).then_some(dir)
    };
    args.data.clone().or_else(fetched)
}

fn from_files(args: &AskingArgs, path: &Path) -> Result<(Vec<Sample>, Vec<Skipped>)> {
    let reader = match &args.mapping {
        Some(file) => mapped::open(&mapped::Mapping::read(file)?, path)?,
        None => datasets::open(&args.benchmark, path)?,
    };
    let mut reader = reader.skip_bad(args.skip_bad);
    let samples = reader.by_ref().collect::<Result<Vec<Sample>>>()?;
    Ok((samples, reader.skipped().to_vec()))
}

/// The questions of one split, which must be named where there are several: they share problems, and an accuracy over
/// all of them is nobody's.
fn of_split(samples: Vec<Sample>, split: Option<&str>) -> Result<Vec<Sample>> {
    let own = |sample: &Sample| sample.id.split('/').nth(1).unwrap_or_default().to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for sample in &samples {
        *counts.entry(own(sample)).or_default() += 1;
    }
    let known: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} ({count} questions)")).collect();
    match split {
        Some(name) => ensure!(
            counts.contains_key(name),
            "the files hold no split `{name}`\nhint: there are {}",
            known.join(", ")
        ),
        None => ensure!(
            counts.len() < 2,
            "the files hold several splits\nhint: --split with one of {}",
            known.join(", ")
        ),
    }
    Ok(samples.into_iter().filter(|sample| split.is_none_or(|name| own(sample) == name)).collect())
}

/// A mark of a picture as published sets write it: `<image>`, `<image1>`, `<image 1>`.
static MARK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<image\s*(\d*)>").expect("the expression is well formed"));

/// The question as it is put: choices below it, the study's instruction behind it.
fn prompt(sample: &Sample, template: bool) -> String {
    let mut text = placed(&sample.question, sample.images.len());
    if !sample.choices.is_empty() {
        text.push_str("\nChoices:");
        for (letter, choice) in ('A'..='Z').zip(&sample.choices) {
            text.push_str(&format!("\n{letter}. {}", placed(choice, 0)));
        }
        text.push('\n');
    }
    if template {
        if !text.ends_with('\n') {
            text.push(' ');
        }
        text.push_str(SUFFIX);
    }
    text
}

/// `text` with a mark for every picture, in their order, or with none: marks that name other pictures, or some twice,
/// stay as words.
fn placed(text: &str, num_images: usize) -> String {
    let marks: Vec<usize> = MARK
        .captures_iter(text)
        .enumerate()
        .map(|(place, mark)| mark[1].parse().unwrap_or(place + 1))
        .collect();
    let in_order = marks.iter().copied().eq(1..=num_images) && num_images > 0;
    let word = |mark: &regex::Captures<'_>| {
        if in_order {
            IMAGE_MARK.to_owned()
        } else {
            format!("[image {}]", &mark[1]).replace(" ]", "]")
        }
    };
    MARK.replace_all(text, word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_places_only_where_every_picture_has_its_own() {
        for (text, num_images, want) in [
            ("<image1> and <image 2>?", 2, "<image> and <image>?"),
            ("What is <image>?", 1, "What is <image>?"),
            ("What is it?", 1, "What is it?"),
            ("<image 2>, <image 1>", 2, "[image 2], [image 1]"),
            ("<image 1> twice <image 1>", 1, "[image 1] twice [image 1]"),
            ("a tag <image>", 0, "a tag [image]"),
        ] {
            assert_eq!(placed(text, num_images), want);
        }
    }

    #[test]
    fn choices_stand_below_the_question_and_the_instruction_last() {
        let mut sample = Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1);
        sample.question = "How many?".into();
        assert_eq!(prompt(&sample, false), "How many?");
        assert_eq!(prompt(&sample, true), format!("How many? {SUFFIX}"));
        sample.choices = vec!["3".into(), "4".into()];
        assert_eq!(prompt(&sample, true), format!("How many?\nChoices:\nA. 3\nB. 4\n{SUFFIX}"));
    }

    #[test]
    fn a_split_must_be_named_where_there_are_several() {
        let with_id = |id: &str| {
            let mut sample = Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1);
            sample.id = id.to_owned();
            sample
        };
        let ids = ["mmmu/dev/1", "mmmu/validation/1", "mmmu/validation/2"].map(with_id).to_vec();
        assert_eq!(of_split(ids.clone(), Some("validation")).unwrap().len(), 2);
        let error = of_split(ids.clone(), None).unwrap_err().to_string();
        assert!(
            error.ends_with("--split with one of dev (1 questions), validation (2 questions)"),
            "{error}"
        );
        let error = of_split(ids, Some("test")).unwrap_err().to_string();
        assert!(
            error.starts_with("the files hold no split `test`\nhint: there are dev"),
            "{error}"
        );
    }

    #[test]
    fn a_limit_takes_questions_at_even_distances() {
        let samples: Vec<Sample> =
            (0..10).map(|i| Sample::procedural(Family::Sum, 1, Split::Test, i, 1..=1)).collect();
        let ids = |limit| -> Vec<String> {
            spread(samples.clone(), limit)
                .into_iter()
                .map(|s| s.id[s.id.len() - 1..].to_owned())
                .collect()
        };
        assert_eq!(ids(10).len(), 10);
        assert_eq!(ids(3).len(), 3);
        assert_eq!(ids(5), ["1", "3", "5", "7", "9"]);
    }
}
