//! One stage that makes data: the teacher's traces, a model's own answers, a mix of others.
//!
//! Does not know what is trained on them.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use synergy_benchmarks::answer::{Outcome, judge};
use synergy_models::generate::Sampling;
use synergy_models::vlm::Vlm;

use crate::base::Base;
use crate::cost::Cost;
use crate::dataset::{Asked, Dataset, Example, mix, teacher};
use crate::device::Compute;
use crate::evaluate::{Question, rollouts};
use crate::event::{Event, Events, interrupted};
use crate::plan::PlannedStage;
use crate::pool;
use crate::recipe::{Keep, QuestionsSpec, SampleSpec, StageSpec, TrainingSpec};
use crate::run::stage::{Summary, checkpoint, file};
use crate::store::Store;
use crate::train::{Context, StepFigures};

/// Questions that are asked before the bar moves.
pub(crate) const CHUNK: usize = 100;

/// Makes the data of `planned` and keeps it; the store has none of it yet.
///
/// # Errors
/// If a model cannot be read, nothing is left, or somebody asked to stop: data begins anew then.
pub fn run(
    planned: &PlannedStage,
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &mut Events,
) -> Result<Summary> {
    let clock = Instant::now();
    let mut tokens = StepFigures::new();
    let data = match &planned.spec {
        StageSpec::Teacher(spec) => teacher(spec, planned.seed)?,
        StageSpec::Mix(spec) => mix(spec, &inputs(planned, store)?, planned.seed())?,
        StageSpec::Sample(spec) => {
            sample(spec, planned, base, compute, store, events, &mut tokens)?
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
    let wall_time_s = clock.elapsed().as_secs_f64();
    let cost = Cost::of(&[tokens], 0, &base.prompter.config, wall_time_s);
    let summary = Summary { cost, figures };
    let mut files = data.to_files()?;
    let bytes = serde_json::to_vec_pretty(&summary).context("a summary is plain data")?;
    files.insert("summary.json".into(), bytes);
    store.put(&planned.key, &planned.depends_on, &files)?;
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

/// A model's own answers, and how often each question was answered right; `tokens` counts what that took.
fn sample(
    spec: &SampleSpec,
    planned: &PlannedStage,
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &Events,
    tokens: &mut StepFigures,
) -> Result<Dataset> {
    let prompter = &base.prompter;
    let from = planned.from.as_ref().context("a sample names its model")?;
    let parameters = checkpoint(store, from, base, compute)?;
    let model = Vlm::computing(&prompter.config, &parameters, spec.dtype.unwrap_or_default());
    let sampling = Sampling {
        temperature: spec.temperature,
        top_p: spec.top_p,
        top_k: spec.top_k,
        ..Sampling::greedy(spec.max_new_tokens, prompter.config.eos_token_id)
    };
    let unused = TrainingSpec::none();
    let context = Context { prompter, compute, training: &unused, features: None, planted: None };
    let seed = planned.seed().fold_in("rollouts");
    let num_questions = spec.questions.num_questions;
    let label = format!("{} (seed {})", planned.name, planned.seed);
    let mut bar = events.bar(&label, num_questions, 0);
    let mut data = Dataset::default();
    let indices: Vec<u64> = (0..num_questions as u64).collect();
    for chunk in indices.chunks(CHUNK) {
        let questions: Vec<Question> = chunk
            .iter()
            .map(|&i| {
                Question::new(prompter, pool::sample(&spec.questions, planned.seed, i)?, true)
            })
            .collect::<Result<_>>()?;
        let generated =
            rollouts(&model, &context, &questions, spec.num_generations, &sampling, seed)?;
        for ((&index, question), answers) in chunk.iter().zip(&questions).zip(generated) {
            let sampled: usize = answers.iter().map(|a| a.ids.len()).sum();
            *tokens.entry("tokens_generated".into()).or_default() += sampled as f64;
            let forward = question.input_ids.len() + sampled;
            *tokens.entry("tokens_forward".into()).or_default() += forward as f64;
            let mut right: Vec<(usize, String)> = answers
                .iter()
                .map(|a| (a.ids.len(), prompter.tokenizer.decode(&a.ids), a.finished))
                .filter(|(_, text, finished)| {
                    judge(text, &question.sample.answer, *finished).outcome == Outcome::Correct
                })
                .map(|(len, text, _)| (len, text))
                .collect();
            data.asked.push(Asked {
                sample_id: question.sample.id.clone(),
                num_correct: right.len(),
                num_generations: spec.num_generations,
            });
            let [low, high] = spec.pass_rate;
            let pass_rate = right.len() as f64 / spec.num_generations as f64;
            if !(low..=high).contains(&pass_rate) {
                right.clear();
            }
            if spec.keep == Keep::ShortestCorrect {
                // The first of the shortest.
                right = right.into_iter().min_by_key(|(len, _)| *len).into_iter().collect();
            }
            data.examples.extend(right.into_iter().map(|(_, answer)| Example {
                sample_id: question.sample.id.clone(),
                index,
                questions: QuestionsSpec::clone(&spec.questions),
                answer,
            }));
        }
        bar.at(data.asked.len(), format!("{} kept", data.examples.len()));
        if interrupted() {
            bail!(
                "interrupted while sampling for `{}`\nhint: the same command begins this stage anew",
                planned.name
            );
        }
    }
    bar.finish(&format!("{} answers kept", data.examples.len()));
    Ok(data)
}
