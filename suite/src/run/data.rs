//! One stage that makes data: the teacher's traces, a model's own answers, a mix of others.
//!
//! Does not know what is trained on them.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use synergy_benchmarks::answer::Outcome;
use synergy_benchmarks::grade::grade;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::vlm::Vlm;
use synergy_report::cost::Cost;

use crate::device::Compute;
use crate::limits::{QUESTIONS_PER_CHUNK, forward_flops};
use crate::plan::PlannedStage;
use crate::recipe::{Keep, QuestionsSpec, SampleSpec, StageSpec, TrainingSpec};
use crate::run::artifact::{Summary, checkpoint, file};
use crate::run::base::Base;
use crate::run::event::{Event, Events, interrupted};
use crate::run::journal::Journal;
use crate::run::store::Store;
use crate::train::dataset::{Asked, Dataset, Example, mix, teacher};
use crate::train::pool;
use crate::train::rollout::{Question, rollouts};
use crate::train::{Context, StepFigures};

/// Makes the data of `planned` and keeps it; the store has none of it yet.
///
/// # Errors
/// If a model cannot be read, nothing is left, or somebody asked to stop; what was sampled until then is kept.
pub fn run(
    planned: &PlannedStage,
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &mut Events,
) -> Result<Summary> {
    let clock = Instant::now();
    let (mut tokens, mut wall_time_s) = (StepFigures::new(), 0.0);
    let (data, journal) = match &planned.spec {
        StageSpec::Teacher(spec) => (teacher(spec, planned.seed)?, None),
        StageSpec::Mix(spec) => (mix(spec, &inputs(planned, store)?, planned.seed())?, None),
        StageSpec::Sample(spec) => {
            let (pieces, journal) = sample(spec, planned, base, compute, store, events)?;
            (joined(pieces, &mut tokens, &mut wall_time_s), Some(journal))
        }
        _ => bail!("stage `{}` makes no data", planned.name),
    };
    let mut figures = StepFigures::from([("examples".to_owned(), data.examples.len() as f64)]);
    if !data.asked.is_empty() {
        let right: usize = data.asked.iter().map(|a| a.num_correct).sum();
        let all: usize = data.asked.iter().map(|a| a.num_generations).sum();
        let never = data.asked.iter().filter(|a| a.num_correct == 0).count();
        figures.insert("accuracy".into(), right as f64 / all as f64);
        figures.insert("never_right".into(), never as f64 / data.asked.len() as f64);
    }
    if journal.is_none() {
        wall_time_s = clock.elapsed().as_secs_f64();
    }
    let cost = Cost::of(&[tokens], 0, forward_flops(&base.prompter.config), wall_time_s);
    let summary = Summary { cost, figures };
    let mut files = data.to_files()?;
    let bytes = serde_json::to_vec_pretty(&summary).context("a summary is plain data")?;
    files.insert("summary.json".into(), bytes);
    store.put(&planned.key, &planned.depends_on, &files)?;
    journal.map_or(Ok(()), Journal::remove)?;
    events.write(Event::StageDone {
        stage: &planned.name,
        seed: planned.seed,
        key: planned.key.as_str(),
        wall_time_s,
    })?;
    Ok(summary)
}

/// The data sets that `planned` names, in its order.
///
/// # Errors
/// If one is missing or damaged.
pub fn inputs(planned: &PlannedStage, store: &Store) -> Result<Vec<Dataset>> {
    let read = |key| {
        let files = store
            .get(key)?
            .with_context(|| format!("data `{}` is not in the store", key.as_str()))?;
        file(&files, "examples.jsonl")?;
        Dataset::from_files(&files)
    };
    planned.data.iter().map(read).collect()
}

/// A model's own answers, and how often each question was answered right, in pieces that are kept as they come.
fn sample(
    spec: &SampleSpec,
    planned: &PlannedStage,
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &Events,
) -> Result<(Vec<Piece>, Journal<Piece>)> {
    let prompter = &base.prompter;
    let from = planned.from.as_ref().context("a sample names its model")?;
    let dtype = spec.dtype.unwrap_or_default();
    let parameters = checkpoint(store, from, base, &compute.device, Some(dtype))?;
    let model = Vlm::computing(&prompter.config, &parameters, dtype);
    let sampling = Sampling {
        temperature: spec.temperature,
        top_p: spec.top_p,
        top_k: spec.top_k,
        ..Sampling::greedy(spec.max_new_tokens, prompter.tokenizer.ids.eos)
    };
    let unused = TrainingSpec::none();
    let context = Context::new(prompter, compute, &unused);
    let seed = planned.seed().fold_in("rollouts");
    let num_questions = pool::num_questions(&spec.questions)?;
    let label = format!("{} (seed {})", planned.name, planned.seed);
    let (mut journal, mut pieces) = Journal::<Piece>::open(&store.journal(&planned.key))?;
    let indices: Vec<u64> = (0..num_questions as u64).collect();
    let first = (pieces.len() * QUESTIONS_PER_CHUNK).min(num_questions);
    let mut bar = events.bar(&label, num_questions, first);
    for chunk in indices[first..].chunks(QUESTIONS_PER_CHUNK) {
        let clock = Instant::now();
        let questions: Vec<Question> = chunk
            .iter()
            .map(|&i| {
                Question::new(prompter, pool::sample(&spec.questions, planned.seed, i)?, true)
            })
            .collect::<Result<_>>()?;
        let generated =
            rollouts(&model, &context, &questions, spec.num_generations, &sampling, seed)?;
        let mut piece = Piece::default();
        for ((&index, question), answers) in chunk.iter().zip(&questions).zip(generated) {
            let sampled: usize = answers.iter().map(|a| a.ids.len()).sum();
            piece.tokens_generated += sampled;
            piece.tokens_forward += question.input_ids.len() + sampled;
            let target = question.sample.target();
            let said = |a: &Generated| (a.ids.len(), prompter.tokenizer.decode(&a.ids));
            let (right, wrong): (Vec<_>, Vec<_>) =
                answers.iter().map(|a| (said(a), a.finished)).partition(|((_, text), finished)| {
                    let judgement = grade(planned.grader, &target, text, *finished);
                    judgement.outcome == Outcome::Correct
                });
            piece.asked.push(Asked {
                sample_id: question.sample.id.clone(),
                num_correct: right.len(),
                num_generations: spec.num_generations,
            });
            let [low, high] = spec.pass_rate;
            let pass_rate = right.len() as f64 / spec.num_generations as f64;
            let mut kept: Vec<(usize, String)> = right.into_iter().map(|(said, _)| said).collect();
            match spec.keep {
                Keep::Correct => {}
                Keep::Any => kept.extend(wrong.into_iter().map(|(said, _)| said)),
                // The first of the shortest.
                Keep::ShortestCorrect => {
                    kept = kept.into_iter().min_by_key(|(len, _)| *len).into_iter().collect();
                }
            }
            if !(low..=high).contains(&pass_rate) {
                kept.clear();
            }
            piece.examples.extend(kept.into_iter().map(|(_, answer)| Example {
                sample_id: question.sample.id.clone(),
                index,
                questions: QuestionsSpec::clone(&spec.questions),
                answer,
            }));
        }
        piece.wall_time_s = clock.elapsed().as_secs_f64();
        journal.push(&piece)?;
        pieces.push(piece);
        let done = (pieces.len() * QUESTIONS_PER_CHUNK).min(num_questions);
        bar.at(done, format!("{} kept", num_kept(&pieces)));
        if interrupted() {
            bail!(
                "interrupted while sampling for `{}`\nhint: the same command goes on from there",
                planned.name
            );
        }
    }
    bar.finish(&format!("{} answers kept", num_kept(&pieces)));
    Ok((pieces, journal))
}

/// What the questions of one chunk left.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Piece {
    asked: Vec<Asked>,
    examples: Vec<Example>,
    tokens_generated: usize,
    tokens_forward: usize,
    wall_time_s: f64,
}

fn num_kept(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.examples.len()).sum()
}

/// All pieces as one; what they took is added to `tokens` and `wall_time_s`.
fn joined(pieces: Vec<Piece>, tokens: &mut StepFigures, wall_time_s: &mut f64) -> Dataset {
    let mut data = Dataset::default();
    let mut add = |name: &str, count: usize| {
        *tokens.entry(name.to_owned()).or_default() += count as f64;
    };
    for piece in pieces {
        add("tokens_generated", piece.tokens_generated);
        add("tokens_forward", piece.tokens_forward);
        *wall_time_s += piece.wall_time_s;
        data.asked.extend(piece.asked);
        data.examples.extend(piece.examples);
    }
    data
}
