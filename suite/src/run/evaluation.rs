//! The evaluations of a plan: completions of every row, from the store or from the model.
//!
//! Does not judge beyond showing examples: scores are made from completions by `score`.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::json;
use synergy_benchmarks::datasets::easy_vqa::{self, EasyVqaSplit};
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_grade::Grader;
use synergy_grade::answer::Outcome;
use synergy_hint::{Explain as _, hint};
use synergy_report::completion::{Completion, from_lines, to_lines};
use synergy_report::score::{External, Results, Row, RowKind, Score, score};
use synergy_report::text::report::SampleCompletion;

use crate::device::Compute;
use crate::key::Key;
use crate::limits::QUESTIONS_PER_CHUNK;
use crate::plan::PlannedRow;
use crate::planted::Planted;
use crate::recipe::{BenchmarkSpec, Recipe};
use crate::run::artifact;
use crate::run::asking::{Streak, answers, completions, prepared};
use crate::run::base::Base;
use crate::run::chunks::{Chunks, forget};
use crate::run::engines::Engines;
use crate::run::event::{Event, Events};
use crate::run::once::once;
use crate::run::store::Store;
use crate::train::pool::{self, Files};
use crate::train::rollout::with_another_picture;
use crate::train::sequence::test_samples;

/// Where `cargo xtask fetch easy-vqa` puts the pictures.
const EASY_VQA: &str = "data/easy-vqa";

/// A planned row with its completions.
#[derive(Debug)]
pub struct Evaluated {
    /// The row.
    pub planned: PlannedRow,
    /// All answers, those to one question together.
    pub completions: Vec<Completion>,
    /// Text of each question by id, the same for all rows.
    questions: Rc<BTreeMap<String, String>>,
}

impl Evaluated {
    /// The row with its completions judged by the rules of `grader`.
    pub fn row(&self, grader: Grader, planted: Option<Planted>) -> Row {
        Row {
            name: self.planned.name.clone(),
            kind: self.planned.kind,
            note: self.planned.note.clone(),
            seed: self.planned.seed,
            scores: self.scores(grader, planted),
        }
    }

    /// Every completion judged, by a broken parser if one is planted.
    pub fn scores(&self, grader: Grader, planted: Option<Planted>) -> Vec<Score> {
        let judge = |c: &Completion| match planted {
            None => score(c, grader),
            Some(planted) => planted.score(c, grader),
        };
        self.completions.iter().map(judge).collect()
    }

    /// A few completions for a person to read: of an easy, a middle and a hard question; empty for a control.
    pub fn examples(&self, results: &Results) -> Vec<SampleCompletion> {
        if self.planned.kind == RowKind::Control {
            return Vec::new();
        }
        let levels: BTreeMap<&str, Level> =
            results.questions.iter().filter_map(|q| Some((q.id.as_str(), q.level?))).collect();
        let mut out = Vec::new();
        for (i, level) in [Level::L1, Level::L3, Level::L5].into_iter().enumerate() {
            let is_alike =
                |c: &&Completion| c.sample == 0 && levels.get(c.sample_id.as_str()) == Some(&level);
            // Not always the first family's.
            let mut alike = self.completions.iter().filter(is_alike);
            let Some(completion) = alike.nth(i * 7) else { continue };
            out.push(SampleCompletion {
                regime: self.planned.name.clone(),
                seed: self.planned.seed,
                completion: completion.clone(),
                outcome: completion.outcome(results.grader()),
                question: self.questions.get(&completion.sample_id).cloned().unwrap_or_default(),
            });
        }
        out
    }
}

/// What every row of a run is asked, and where.
pub struct Evaluation<'a> {
    recipe: &'a Recipe,
    /// The base that everything starts from, and any other that is asked.
    bases: &'a [&'a Base],
    compute: &'a Compute,
    engines: &'a Engines<'a>,
    store: &'a Store,
    /// All questions.
    pub samples: Vec<Sample>,
    questions: Rc<BTreeMap<String, String>>,
}

impl<'a> Evaluation<'a> {
    /// Reads the questions.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn new(
        recipe: &'a Recipe,
        bases: &'a [&'a Base],
        (compute, engines, store): (&'a Compute, &'a Engines<'a>, &'a Store),
        files: &Files,
    ) -> Result<Evaluation<'a>> {
        let samples = samples(recipe, files)?;
        let questions = texts(&samples);
        Ok(Evaluation { recipe, bases, compute, engines, store, samples, questions })
    }

    /// Evaluates one row, unless the store has it, and tells whether it had. A question that cannot be asked becomes an
    /// outcome of its own.
    ///
    /// # Errors
    /// If generation or the disk fails, several questions in a row cannot be asked, or somebody asked to stop.
    pub fn row(&self, planned: &PlannedRow, events: &mut Events) -> Result<(Evaluated, bool)> {
        let &Evaluation { recipe, bases, compute, engines, store, ref samples, .. } = self;
        let clock = Instant::now();
        let mut cached = true;
        let what = format!("row `{}` (seed {})", planned.name, planned.seed);
        let find = |_: &mut Events| from_store(store, planned);
        let own = bases.iter().find(|base| base.key == planned.checkpoint);
        let base = own.or(bases.first()).context("everything starts from a base")?;
        let completions = once(store, &planned.key, &what, events, find, |events| {
            cached = false;
            ask(recipe, planned, samples, base, (compute, engines), store, events)
        })?;
        events.write(Event::Evaluated {
            row: &planned.name,
            seed: planned.seed,
            completions: completions.len(),
            wall_time_s: clock.elapsed().as_secs_f64(),
            cached,
        })?;
        let (planned, questions) = (planned.clone(), Rc::clone(&self.questions));
        Ok((Evaluated { planned, completions, questions }, cached))
    }
}

/// Reads the completions of `rows` of a finished run.
///
/// # Errors
/// If those of a row are missing.
pub fn stored<'a>(
    recipe: &Recipe,
    rows: impl Iterator<Item = &'a PlannedRow>,
    store: &Store,
    files: &Files,
) -> Result<Vec<Evaluated>> {
    let questions = texts(&samples(recipe, files)?);
    let of = |planned: &PlannedRow| {
        let completions = from_store(store, planned)?.explain(|| {
            hint!(
                ("completions of `{}` are not in the store", planned.name),
                ("cargo xtask reproduce --profile {}", recipe.name)
            )
        })?;
        Ok(Evaluated { planned: planned.clone(), completions, questions: Rc::clone(&questions) })
    };
    rows.map(of).collect()
}

fn from_store(store: &Store, planned: &PlannedRow) -> Result<Option<Vec<Completion>>> {
    let Some(files) = store.get(&planned.key)? else { return Ok(None) };
    let bytes = files.get("completions.jsonl").context("the artifact has no completions")?;
    Ok(Some(from_lines(std::str::from_utf8(bytes).context("the completions are not UTF-8")?)?))
}

/// The questions of the families of the recipe's split, those of the published benchmarks, and of the external benchmark if it is on disk.
pub(super) fn samples(recipe: &Recipe, files: &Files) -> Result<Vec<Sample>> {
    let mut samples = match recipe.evaluation.drawn() {
        Some((drawn, _)) => test_samples(drawn, recipe.evaluation.split())?,
        None => Vec::new(),
    };
    samples.extend(published_samples(recipe, files)?);
    samples.extend(external_samples(recipe)?);
    Ok(samples)
}

/// The questions of every published benchmark, each with its level.
///
/// # Errors
/// See [`Files::benchmark`].
pub fn published_samples(recipe: &Recipe, files: &Files) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for spec in &recipe.evaluation.benchmarks {
        samples.extend_from_slice(&files.benchmark(spec)?);
    }
    Ok(samples)
}

/// The number of questions of all published benchmarks; for those that are not on disk yet, the recipe's estimate.
///
/// # Errors
/// See [`Files::benchmark`].
pub fn num_published(recipe: &Recipe, files: &Files) -> Result<usize> {
    let count = |spec: &BenchmarkSpec| match spec.path.exists() {
        true => files.benchmark(spec).map(|samples| samples.len()),
        false => Ok(spec.about()),
    };
    recipe.evaluation.benchmarks.iter().map(count).sum()
}

/// The levels of published questions, by their ids.
///
/// # Errors
/// See [`Files::benchmark`].
pub fn published_levels(recipe: &Recipe, files: &Files) -> Result<BTreeMap<String, Level>> {
    let level = |sample: Sample| Some((sample.id, sample.details.level?));
    Ok(published_samples(recipe, files)?.into_iter().filter_map(level).collect())
}

fn texts(samples: &[Sample]) -> Rc<BTreeMap<String, String>> {
    Rc::new(samples.iter().map(|s| (s.id.clone(), s.question.clone())).collect())
}

/// Asks the questions of `planned`, chunk by chunk, and stores the completions.
fn ask(
    recipe: &Recipe,
    planned: &PlannedRow,
    samples: &[Sample],
    base: &Base,
    (compute, engines): (&Compute, &Engines<'_>),
    store: &Store,
    events: &Events,
) -> Result<Vec<Completion>> {
    // The levels of all others are published, or they have none.
    let is_asked = |sample: &&Sample| !planned.cuts_levels() || sample.hops > 0;
    let samples: Vec<Sample> = samples.iter().filter(is_asked).cloned().collect();
    let Base { prompter, .. } = base;
    let dtype = recipe.evaluation.dtype();
    let mut parameters =
        artifact::checkpoint(store, &planned.checkpoint, base, &compute.device, Some(dtype))?;
    if let Some(planted) = planned.planted {
        planted.weights(&mut parameters);
    }
    let mut engine = engines.engine(&prompter.config, dtype, None);
    engine.load(&parameters)?;
    let asking = planned.asking;
    let mut sampling = recipe.evaluation.sampling(&prompter.end_tokens);
    if asking.greedy {
        sampling.temperature = 0.0;
    }
    // Every row draws afresh: the base's row shares no draw with the one that cut the levels.
    let seed = Seed::root(planned.seed).fold_in("evaluate").fold_in(&planned.name);
    let shuffled = asking.shuffled || planned.planted == Some(Planted::OtherPicture);
    let question = |&place: &usize| {
        let sample = match shuffled {
            true => with_another_picture(&samples, place),
            false => samples[place].clone(),
        };
        let text = prompter.text(&sample, asking.template);
        prepared(prompter, sample, &text)
    };
    let journal = store.journal(&planned.key);
    let chunks = Chunks {
        title: format!("evaluate {}", planned.name),
        doing: format!("evaluating `{}`", planned.name),
        chunk_size: QUESTIONS_PER_CHUNK,
        journal: Some(journal.clone()),
        events,
    };
    let places: Vec<usize> = (0..samples.len()).collect();
    let (mut num_right, mut num_answers) = (0, 0);
    let num_samples = asking.num_samples;
    let mut streak = Streak::new(false);
    let lines = chunks.run(
        &places,
        |places| {
            // Pictures are read when they are asked about: those of a whole benchmark do not fit into memory.
            let questions: Vec<_> = places.iter().map(question).collect();
            let answers = answers(&*engine, prompter, questions, num_samples, &sampling, seed)?;
            let mut lines = Vec::with_capacity(places.len() * num_samples);
            for (&place, answers) in places.iter().zip(answers) {
                streak.hear(&samples[place].id, answers.as_ref().err())?;
                lines.extend(completions(prompter, &samples[place], answers, num_samples));
            }
            Ok(lines)
        },
        |lines: &Vec<Completion>| {
            let is_right = |c: &&Completion| c.outcome(recipe.grader()) == Outcome::Correct;
            num_right += lines.iter().filter(is_right).count();
            num_answers += lines.len();
            format!("accuracy {:.3}", num_right as f64 / num_answers as f64)
        },
    )?;
    let completions = lines.concat();
    tell_unanswered(&completions, events);
    let files =
        BTreeMap::from([("completions.jsonl".to_owned(), to_lines(&completions)?.into_bytes())]);
    store.put(&planned.key, &planned.depends_on, &files)?;
    forget(&journal)?;
    Ok(completions)
}

/// Says which questions have no answer, and why.
fn tell_unanswered(completions: &[Completion], events: &Events) {
    for line in completions.iter().filter(|line| line.sample == 0) {
        if let Some(why) = &line.unanswered {
            events.say(&format!("  question `{}` has no answer: {}", line.sample_id, why.cause));
        }
    }
}

/// The questions of EasyVQA; empty if it has not been fetched.
///
/// # Errors
/// If a file is damaged.
pub fn external_samples(recipe: &Recipe) -> Result<Vec<Sample>> {
    let dir = Path::new(EASY_VQA);
    if recipe.evaluation.external_questions == 0 || !dir.is_dir() {
        return Ok(Vec::new());
    }
    easy_vqa::load(dir, EasyVqaSplit::Test, recipe.evaluation.external_questions)
}

/// Hash of the external questions and their pictures; `None` if there are none.
///
/// # Errors
/// If a picture cannot be read.
pub fn external_key(recipe: &Recipe) -> Result<Option<Key>> {
    let samples = external_samples(recipe)?;
    if samples.is_empty() {
        return Ok(None);
    }
    let text = |s: &Sample| json!([s.id, s.question, s.choices, s.answer]);
    let texts: Vec<_> = samples.iter().map(text).collect();
    Ok(Some(Key::of(&json!([texts, pool::hash_pictures(&samples)?]))))
}

/// A line that says which questions of the recipe are left out because they are not on disk.
pub fn left_out(recipe: &Recipe) -> Option<String> {
    let num_questions = recipe.evaluation.external_questions;
    (num_questions > 0 && !Path::new(EASY_VQA).is_dir()).then(|| {
        format!(
            "  the {num_questions} questions of EasyVQA are left out: there is no folder `{EASY_VQA}` \
             (`cargo xtask fetch easy-vqa` gets it)"
        )
    })
}

/// The published accuracy that stands beside that on the external benchmark, if it is on disk.
///
/// # Errors
/// See [`external_samples`].
pub fn external_baselines(recipe: &Recipe) -> Result<Vec<External>> {
    if external_samples(recipe)?.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![External {
        benchmark: easy_vqa::BENCHMARK.into(),
        row: "question only".into(),
        accuracy: easy_vqa::TEXT_ONLY_BASELINE,
    }])
}
