//! The evaluations of a plan: completions from the store or from the model, kept whole.
//!
//! Does not judge beyond showing examples: scores are made from completions by `score`.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use synergy_benchmarks::answer::judge;
use synergy_benchmarks::datasets::easy_vqa::{self, EasyVqaSplit};
use synergy_benchmarks::families::Split;
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::Sampling;
use synergy_models::vlm::Vlm;

use crate::base::Base;
use crate::completion::{Completion, from_lines, to_lines};
use crate::data::test_samples;
use crate::device::Compute;
use crate::evaluate::{Question, evaluate, with_shuffled_pictures};
use crate::event::{Event, Events, interrupted};
use crate::plan::{Plan, PlannedRow};
use crate::planted::Planted;
use crate::publish::SampleCompletion;
use crate::recipe::{Recipe, TrainingSpec};
use crate::run::stage;
use crate::score::{External, Row, RowKind, Score, score};
use crate::store::Store;
use crate::train::Context;

/// Where `cargo xtask fetch easy-vqa` puts the pictures.
const EASY_VQA: &str = "data/easy-vqa";
/// Questions between two looks at Ctrl-C and two moves of the bar.
const CHUNK: usize = 100;

/// A planned row with its completions.
#[derive(Debug)]
pub struct Evaluated {
    pub planned: PlannedRow,
    pub completions: Vec<Completion>,
    /// Text of each question by id, the same for all rows.
    questions: Rc<BTreeMap<String, String>>,
}

impl Evaluated {
    /// The row with its completions judged.
    pub fn row(&self, planted: Option<Planted>) -> Row {
        Row {
            name: self.planned.name.clone(),
            kind: self.planned.kind,
            note: self.planned.note.clone(),
            seed: self.planned.seed,
            scores: self.scores(planted),
        }
    }

    /// Every completion judged, by a broken parser if one is planted.
    pub fn scores(&self, planted: Option<Planted>) -> Vec<Score> {
        let judge = |c: &Completion| planted.map_or_else(|| score(c), |planted| planted.score(c));
        self.completions.iter().map(judge).collect()
    }

    /// A few completions to read: an easy, a middle and a hard question of the base and each regime.
    pub fn examples(&self) -> Vec<SampleCompletion> {
        if self.planned.kind == RowKind::Control {
            return Vec::new();
        }
        let wanted = [2, 5, 9];
        let mut out = Vec::new();
        for (i, hops) in wanted.into_iter().enumerate() {
            let mut alike = self.completions.iter().filter(|c| c.hops == hops && c.sample == 0);
            let Some(completion) = alike.nth(i * 7) else { continue };
            out.push(SampleCompletion {
                regime: self.planned.name.clone(),
                completion: completion.clone(),
                outcome: judge(&completion.text, &completion.answer, completion.finished).outcome,
                question: self.questions.get(&completion.sample_id).cloned().unwrap_or_default(),
            });
        }
        out
    }
}

/// Evaluates every row of `plan` that the store lacks.
///
/// # Errors
/// If generation or the disk fails, or somebody asked to stop.
pub fn all(
    recipe: &Recipe,
    plan: &Plan,
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &mut Events,
) -> Result<Vec<Evaluated>> {
    let samples = samples(recipe)?;
    if recipe.evaluation.external_questions > 0 && samples.iter().all(|s| s.hops > 0) {
        events
            .say("  EasyVQA is not on disk and is left out (`cargo xtask fetch easy-vqa` gets it)");
    }
    let questions = texts(&samples);
    let mut out = Vec::with_capacity(plan.rows.len());
    for planned in &plan.rows {
        let clock = Instant::now();
        let kept = from_store(store, planned)?;
        let cached = kept.is_some();
        let completions = match kept {
            Some(completions) => completions,
            None => ask(recipe, planned, &samples, base, compute, store, events)?,
        };
        events.write(Event::Evaluated {
            row: &planned.name,
            seed: planned.seed,
            completions: completions.len(),
            wall_time_s: clock.elapsed().as_secs_f64(),
            cached,
        })?;
        out.push(Evaluated {
            planned: planned.clone(),
            completions,
            questions: Rc::clone(&questions),
        });
    }
    Ok(out)
}

/// Completions of every row of a finished run.
///
/// # Errors
/// If one is not there.
pub fn kept(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<Vec<Evaluated>> {
    let questions = texts(&samples(recipe)?);
    let of = |planned: &PlannedRow| {
        let completions = from_store(store, planned)?.with_context(|| {
            format!(
                "completions of `{}` are not kept\nhint: cargo xtask reproduce --profile {}",
                planned.name, recipe.name
            )
        })?;
        Ok(Evaluated { planned: planned.clone(), completions, questions: Rc::clone(&questions) })
    };
    plan.rows.iter().map(of).collect()
}

fn from_store(store: &Store, planned: &PlannedRow) -> Result<Option<Vec<Completion>>> {
    let Some(files) = store.get(&planned.key)? else { return Ok(None) };
    let bytes = files.get("completions.jsonl").context("artifact lacks completions")?;
    Ok(Some(from_lines(std::str::from_utf8(bytes).context("completions are text")?)?))
}

/// The test questions and those of the external benchmark, if it is there.
pub(super) fn samples(recipe: &Recipe) -> Result<Vec<Sample>> {
    let e = &recipe.evaluation;
    let mut samples = test_samples(e.question_seed, e.questions_per_family, e.hops, Split::Test)?;
    samples.extend(external_samples(recipe)?);
    Ok(samples)
}

fn texts(samples: &[Sample]) -> Rc<BTreeMap<String, String>> {
    Rc::new(samples.iter().map(|s| (s.id.clone(), s.question.clone())).collect())
}

fn ask(
    recipe: &Recipe,
    planned: &PlannedRow,
    samples: &[Sample],
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &Events,
) -> Result<Vec<Completion>> {
    let mut parameters = stage::checkpoint(store, &planned.checkpoint, base, compute)?;
    if let Some(planted) = planned.planted {
        planted.weights(&mut parameters);
    }
    let model = Vlm::computing(&base.prompter.config, &parameters, recipe.evaluation.dtype());
    let asking = planned.asking;
    let usual = recipe.evaluation.sampling(base.prompter.config.eos_token_id);
    let sampling = if asking.greedy { Sampling { temperature: 0.0, ..usual } } else { usual };
    let unused = TrainingSpec::none();
    let context = Context {
        prompter: &base.prompter,
        compute,
        training: &unused,
        features: None,
        planted: None,
    };
    // Every row draws afresh: the base's row shares no draw with the one that cut the levels.
    let seed = Seed::root(planned.seed).fold_in("evaluate").fold_in(&planned.name);
    let prompter = &base.prompter;
    let shuffled = asking.shuffled || planned.planted == Some(Planted::OtherPicture);
    let questions: Vec<Question> = if shuffled {
        with_shuffled_pictures(prompter, samples, asking.template)?
    } else {
        let make = |sample: &Sample| Question::new(prompter, sample.clone(), asking.template);
        samples.iter().map(make).collect::<Result<_>>()?
    };
    let mut bar = events.bar(&format!("evaluate {}", planned.name), questions.len(), 0);
    let mut completions = Vec::with_capacity(questions.len() * asking.num_samples);
    for chunk in questions.chunks(CHUNK) {
        completions.extend(evaluate(&model, &context, chunk, asking.num_samples, &sampling, seed)?);
        let right = completions
            .iter()
            .filter(|c| score(c).outcome == synergy_benchmarks::answer::Outcome::Correct);
        let share = right.count() as f64 / completions.len() as f64;
        bar.at(completions.len() / asking.num_samples, format!("accuracy {share:.3}"));
        if interrupted() {
            bail!(
                "interrupted while evaluating `{}`\nhint: the same command goes on from there",
                planned.name
            );
        }
    }
    bar.finish(&format!("{} completions", completions.len()));
    let files =
        BTreeMap::from([("completions.jsonl".to_owned(), to_lines(&completions)?.into_bytes())]);
    store.put(&planned.key, &planned.depends_on, &files)?;
    Ok(completions)
}

/// Questions of EasyVQA, or none where it has not been fetched.
///
/// # Errors
/// If it is there and damaged.
pub fn external_samples(recipe: &Recipe) -> Result<Vec<Sample>> {
    let dir = Path::new(EASY_VQA);
    if recipe.evaluation.external_questions == 0 || !dir.is_dir() {
        return Ok(Vec::new());
    }
    easy_vqa::load(dir, EasyVqaSplit::Test, recipe.evaluation.external_questions)
}

/// What stands beside the external benchmark.
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
