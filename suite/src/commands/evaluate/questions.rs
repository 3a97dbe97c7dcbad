//! The questions of an evaluation: from files or families to samples, prompts and picture files.
//!
//! Does not know which model answers.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use synergy_benchmarks::datasets::arc_agi::{self, ArcSplit, ArcVersion};
use synergy_benchmarks::datasets::easy_vqa::{self, EasyVqaSplit};
use synergy_benchmarks::datasets::{self, Skipped, mapped, of_split, spread};
use synergy_benchmarks::families::{Family, Split};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::text_only;
use synergy_hint::hint;

use super::AskingArgs;
use crate::train::prompt::prompt;

/// The study's instruction after a question, word for word (STUDY, prompt template).
pub(super) const SUFFIX: &str = "Please reason step by step within <think> </think> tags, and put your final answer within \\boxed{}.";
/// Number of questions of a family without --limit, and their seed.
const FAMILY_QUESTIONS: usize = 120;
const FAMILY_SEED: u64 = 9001;
/// Numbers of steps that questions of a family take: all that families are evaluated on.
const FAMILY_HOPS: std::ops::RangeInclusive<usize> = 5..=15;
/// Folder into which `cargo xtask fetch` downloads.
const DATA: &str = "data";
/// Versions of ARC-AGI by the name after --benchmark.
const ARC_AGI: [(&str, ArcVersion); 2] =
    [("arc_agi_1", ArcVersion::One), ("arc_agi_2", ArcVersion::Two)];

/// The questions, ready to be asked.
#[derive(Debug)]
pub(in crate::commands) struct Asked {
    pub(super) benchmark: String,
    pub(super) samples: Vec<Sample>,
    /// The prompt of each sample, as [`prompt`] makes it.
    pub(super) texts: Vec<String>,
    pub(super) skipped: Vec<Skipped>,
    /// Origin of the questions: a path, or the seed that they were drawn with.
    pub(super) source: String,
    pub(super) template: bool,
    /// Accuracy of the best guess from the text alone, if it is known.
    pub(super) text_only: Option<f64>,
}

/// Reads the questions.
///
/// # Errors
/// If the benchmark is unknown, a file is bad, or there is nothing left to ask.
pub(super) fn read(args: &AskingArgs) -> Result<Asked> {
    let limit = args.limit.unwrap_or(usize::MAX);
    ensure!(limit > 0, hint!("--limit 0 leaves no question", "at least 1"));
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
        only_split(args, "test")?;
        let count = limit.min(FAMILY_QUESTIONS) as u64;
        let sample = |i| Sample::procedural(family, FAMILY_SEED, Split::Test, i, FAMILY_HOPS);
        text_only = Some(text_only::of_family(family, FAMILY_HOPS));
        ((0..count).map(sample).collect(), format!("drawn with seed {FAMILY_SEED}"))
    } else if name == easy_vqa::BENCHMARK {
        only_split(args, "test")?;
        let dir = Path::new(DATA).join("easy-vqa");
        text_only = Some(easy_vqa::TEXT_ONLY_BASELINE);
        (easy_vqa::load(&dir, EasyVqaSplit::Test, limit)?, dir.display().to_string())
    } else if let Some((_, version)) = arc_agi {
        only_split(args, ArcSplit::Eval.name())?;
        let dir = Path::new(DATA).join("arc-agi");
        (arc_agi::load(&dir, version, ArcSplit::Eval, limit)?, dir.display().to_string())
    } else {
        let published: Vec<&str> = datasets::names().collect();
        let own = Family::ALL.map(Family::name).into_iter().chain([easy_vqa::BENCHMARK]);
        let own: Vec<&str> = own.chain(ARC_AGI.map(|(name, _)| name)).collect();
        if published.contains(&name) {
            bail!(hint!(
                "benchmark `{name}` needs its files",
                "--data PATH, or `cargo xtask fetch {name}`"
            ));
        }
        bail!(hint!(
            "there is no benchmark `{name}`",
            (
                "there are {}; {} with their files; any other with --data and --mapping",
                own.join(", "),
                published.join(", ")
            )
        ))
    };
    ensure!(
        !samples.is_empty(),
        hint!("`{source}` leaves no question to ask", ("{} rows were left out", skipped.len()))
    );
    let template = !args.no_template;
    let texts = samples.iter().map(|sample| prompt(sample, template.then_some(SUFFIX))).collect();
    Ok(Asked { benchmark: name.to_owned(), samples, texts, skipped, source, template, text_only })
}

/// Refuses a --split that is not `only`, of a benchmark that is asked on this one.
fn only_split(args: &AskingArgs, only: &str) -> Result<()> {
    let Some(split) = args.split.as_deref().filter(|split| *split != only) else { return Ok(()) };
    bail!(hint!(
        ("benchmark `{}` is not asked on a split `{split}`", args.benchmark),
        "leave --split out: its questions are of the split `{only}`"
    ))
}

/// Finds the files of a published set: those after --data, or those that were fetched.
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

#[cfg(test)]
mod tests {
    use super::*;

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
