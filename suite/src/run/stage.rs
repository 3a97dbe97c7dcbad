//! One stage that trains: from the store, from its last checkpoint, or from what it starts from.
//!
//! Does not know regimes. A finished stage is an artifact (`model.safetensors`, `summary.json`,
//! `curve.jsonl`); an unfinished one is an artifact under another key, replaced every few steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use synergy_benchmarks::seed::Seed;
use synergy_models::merge::{self, MergeSpec};
use synergy_models::weights::Parameters;

use crate::base::Base;
use crate::data::{Prompter, Sequence};
use crate::dataset::{Dataset, Example};
use crate::device::Compute;
use crate::evaluate::Question;
use crate::event::{Bar, Event, Events, interrupted};
use crate::features::FeatureCache;
use crate::optimizer::Optimizer;
use crate::plan::PlannedStage;
use crate::recipe::StageSpec;
use crate::run::data;
use crate::store::{Key, Store};
use crate::train::grpo::{self, Reference};
use crate::train::{Context, StepFigures, Trainer, hybrid, pretrain, sft};

/// How a stage went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub wall_time_s: f64,
    /// `reward_start`, `reward_end`, …: means over the first and last quarter of the steps, at most
    /// 20; `reward_noise`: the standard error of their difference.
    pub figures: StepFigures,
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    step: usize,
    num_updates: usize,
    wall_time_s: f64,
}

enum Work {
    Sequences(Vec<Sequence>),
    Questions(Vec<Question>),
}

/// All that a stage draws from.
#[derive(Default)]
struct Plenty<'a> {
    /// What is learned, in epochs.
    examples: &'a [Example],
    /// Places in the training pool that rollouts are asked for.
    pool: Vec<u64>,
    /// Answers by question, for where rollouts fail.
    taught: BTreeMap<&'a str, &'a str>,
}

impl<'a> Plenty<'a> {
    /// From the data sets that the stage names.
    fn of(planned: &PlannedStage, inputs: &'a [Dataset]) -> Result<Plenty<'a>> {
        let mut plenty = Plenty::default();
        let mut solved = BTreeSet::new();
        let named = planned.spec.data();
        for ((key, name), data) in named.iter().zip(inputs) {
            match (*key, &planned.spec) {
                ("skip_solved_by", _) => solved = data.solved(),
                (_, StageSpec::Hybrid(_)) => plenty.taught = data.answers(),
                _ => plenty.examples = &data.examples,
            }
            ensure!(
                *key == "skip_solved_by" || !data.examples.is_empty(),
                "stage `{name}` left no answers to learn for `{}`\n\
                 hint: its model was never right; ask more often, or easier questions",
                planned.name
            );
        }
        if let Some(spec) = planned.spec.grpo() {
            plenty.pool = grpo::pool(spec, planned.seed, &solved)?;
        }
        Ok(plenty)
    }

    fn num_steps(&self, spec: &StageSpec) -> usize {
        match spec {
            StageSpec::Pretrain(s) => s.num_steps,
            StageSpec::Sft(s) => sft::num_steps(s, self.examples.len()),
            _ => spec.grpo().map_or(0, |s| s.num_steps),
        }
    }

    /// What `step` works on, made on the host.
    fn work(
        &self,
        prompter: &Prompter,
        planned: &PlannedStage,
        seed: Seed,
        step: usize,
    ) -> Result<Work> {
        let sequences = match &planned.spec {
            StageSpec::Pretrain(s) => pretrain::batch(prompter, s, seed, step)?,
            StageSpec::Sft(s) => sft::batch(prompter, s, self.examples, planned.seed, seed, step)?,
            spec => {
                let spec = spec.grpo().context("a stage that trains")?;
                let asked = grpo::batch(prompter, spec, &self.pool, planned.seed, seed, step)?;
                return Ok(Work::Questions(asked));
            }
        };
        Ok(Work::Sequences(sequences))
    }
}

/// Runs or reads `planned`.
///
/// # Errors
/// If training fails, the disk does, or somebody asked to stop.
pub fn run(
    planned: &PlannedStage,
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &mut Events,
) -> Result<Summary> {
    if let Some(files) = store.get(&planned.key)? {
        events.write(Event::StageCached { stage: &planned.name, key: planned.key.as_str() })?;
        return serde_json::from_slice(file(&files, "summary.json")?).context("summary of a stage");
    }
    let spec = &planned.spec;
    let (Some(from), Some(training), Some(optimizer)) =
        (&planned.from, spec.training(), spec.optimizer())
    else {
        return match spec {
            StageSpec::Merge(spec) => merge(&spec.merge, planned, base, compute, store, events),
            _ => data::run(planned, base, compute, store, events),
        };
    };
    let start = checkpoint(store, from, base, compute)?;
    let inputs = data::inputs(planned, store)?;
    let plenty = Plenty::of(planned, &inputs)?;
    let num_steps = plenty.num_steps(spec);
    let num_updates = num_steps * spec.grpo().map_or(1, |s| s.num_mini_batches);
    let mut trainer = Trainer {
        optimizer: Optimizer::new(optimizer, num_updates, &start),
        parameters: start,
        num_updates: 0,
    };
    let partial = Key::of(&json!({"partial": planned.key}));
    let mut curve: Vec<StepFigures> = Vec::new();
    let mut done = Progress { step: 0, num_updates: 0, wall_time_s: 0.0 };
    if let Some(files) = store.get(&partial)? {
        let load = |name: &str| {
            Parameters::from_bytes(file(&files, name)?, &base.prompter.config, &compute.device)
        };
        done = serde_json::from_slice(file(&files, "progress.json")?)
            .context("progress of a stage")?;
        trainer.parameters = load("model.safetensors")?;
        trainer.optimizer.first = load("first.safetensors")?;
        trainer.optimizer.second = load("second.safetensors")?;
        trainer.num_updates = done.num_updates;
        curve = lines(file(&files, "curve.jsonl")?)?;
        events.write(Event::StageResumed { stage: &planned.name, step: done.step })?;
    }

    let features = FeatureCache::of(training, &trainer.parameters)?;
    let context =
        Context { prompter: &base.prompter, compute, training, features: features.as_ref() };
    let reference = Reference {
        parameters: &base.parameters,
        features: features.as_ref().filter(|kept| kept.fits(&base.parameters)),
    };
    let seed = Seed::root(planned.seed).fold_in(&planned.name);
    let before = done.wall_time_s;
    let clock = Instant::now();
    let mut bar =
        events.bar(&format!("{} (seed {})", planned.name, planned.seed), num_steps, done.step);
    std::thread::scope(|scope| -> Result<()> {
        // Pictures and prompts of the next steps are made while this one computes.
        let (sender, receiver) = sync_channel(2);
        let (prompter, first, plenty) = (&base.prompter, done.step, &plenty);
        scope.spawn(move || {
            for step in first..num_steps {
                let work = plenty.work(prompter, planned, seed, step);
                // A closed channel means that the loop below has stopped.
                if sender.send(work).is_err() {
                    break;
                }
            }
        });
        for step in first..num_steps {
            let work = receiver.recv().context("the data thread stopped")??;
            let figures = match (&work, spec) {
                (Work::Questions(questions), StageSpec::Grpo(s)) => {
                    let seed = seed.fold_in("rollouts").at(step as u64);
                    grpo::step(&mut trainer, &context, s, reference, questions, seed)?
                }
                (Work::Questions(questions), StageSpec::Hybrid(s)) => {
                    let seed = seed.fold_in("rollouts").at(step as u64);
                    let (taught, done) = (&plenty.taught, step as f64 / num_steps as f64);
                    hybrid::step(
                        &mut trainer,
                        &context,
                        s,
                        reference,
                        questions,
                        taught,
                        done,
                        seed,
                    )?
                }
                (Work::Sequences(sequences), _) => {
                    pretrain::step(&mut trainer, &context, sequences)?
                }
                (Work::Questions(_), _) => bail!("questions are for rollouts only"),
            };
            events.write(Event::Step { stage: &planned.name, step, figures: &figures })?;
            tell(&mut bar, step + 1, &figures);
            curve.push(figures);
            let stop = interrupted();
            if stop || ((step + 1) % training.checkpoint_every == 0 && step + 1 < num_steps) {
                let progress = Progress {
                    step: step + 1,
                    num_updates: trainer.num_updates,
                    wall_time_s: before + clock.elapsed().as_secs_f64(),
                };
                save(store, &partial, planned, &trainer, &progress, &curve)?;
                events.write(Event::Checkpoint { stage: &planned.name, step: step + 1 })?;
            }
            if stop {
                bail!(
                    "interrupted at step {} of `{}`\nhint: the same command goes on from there",
                    step + 1,
                    planned.name
                );
            }
        }
        Ok(())
    })?;

    let wall_time_s = before + clock.elapsed().as_secs_f64();
    let summary = Summary { wall_time_s, figures: summarize(&curve) };
    let files = BTreeMap::from([
        ("model.safetensors".to_owned(), trainer.parameters.to_bytes()),
        ("summary.json".to_owned(), serde_json::to_vec_pretty(&summary).context("summary")?),
        ("curve.jsonl".to_owned(), to_lines(&curve)?),
    ]);
    store.put(&planned.key, &planned.depends_on, &files)?;
    store.remove(&partial)?;
    events.write(Event::StageDone {
        stage: &planned.name,
        key: planned.key.as_str(),
        wall_time_s,
    })?;
    bar.finish(&format!("done in {wall_time_s:.0} s"));
    Ok(summary)
}

/// The model between two others.
fn merge(
    spec: &MergeSpec,
    planned: &PlannedStage,
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &mut Events,
) -> Result<Summary> {
    let clock = Instant::now();
    let read = |key| checkpoint(store, key, base, compute);
    let [a, b] = planned.parents.as_slice() else { bail!("a merge has two parents") };
    let (merged, report) = merge::merge(spec, &read(a)?, &read(b)?, &base.parameters)?;
    let figures = StepFigures::from([
        ("distance_a".to_owned(), report.distance_a),
        ("distance_b".to_owned(), report.distance_b),
        ("cosine".to_owned(), report.cosine),
        ("overlap".to_owned(), report.overlap),
        ("sign_conflicts".to_owned(), report.sign_conflicts),
    ]);
    let wall_time_s = clock.elapsed().as_secs_f64();
    let summary = Summary { wall_time_s, figures };
    let files = BTreeMap::from([
        ("model.safetensors".to_owned(), merged.to_bytes()),
        ("summary.json".to_owned(), serde_json::to_vec_pretty(&summary).context("summary")?),
    ]);
    store.put(&planned.key, &planned.depends_on, &files)?;
    events.write(Event::StageDone {
        stage: &planned.name,
        key: planned.key.as_str(),
        wall_time_s,
    })?;
    Ok(summary)
}

/// The weights under `key`, which is a stage's or the base's.
///
/// # Errors
/// If it is missing or damaged.
pub fn checkpoint(store: &Store, key: &Key, base: &Base, compute: &Compute) -> Result<Parameters> {
    if *key == base.key {
        return Ok(base.parameters.clone());
    }
    let files = store
        .get(key)?
        .with_context(|| format!("checkpoint `{}` is not in the store", key.as_str()))?;
    Parameters::from_bytes(
        file(&files, "model.safetensors")?,
        &base.prompter.config,
        &compute.device,
    )
}

/// The recorded curve of a finished stage, thinned, as lines with stage and step.
///
/// # Errors
/// If the stage is not in the store.
pub fn curve(store: &Store, planned: &PlannedStage) -> Result<String> {
    let files = store.get(&planned.key)?.context("the stage is in the store")?;
    let curve: Vec<StepFigures> = lines(file(&files, "curve.jsonl")?)?;
    let mut text = String::new();
    for (step, figures) in curve.iter().enumerate().filter(|(step, _)| *step < 20 || step % 20 == 0)
    {
        let line = json!({"stage": planned.name, "step": step, "figures": figures});
        text.push_str(&serde_json::to_string(&line).context("plain data")?);
        text.push('\n');
    }
    Ok(text)
}

fn save(
    store: &Store,
    key: &Key,
    planned: &PlannedStage,
    trainer: &Trainer,
    progress: &Progress,
    curve: &[StepFigures],
) -> Result<()> {
    let files = BTreeMap::from([
        ("model.safetensors".to_owned(), trainer.parameters.to_bytes()),
        ("first.safetensors".to_owned(), trainer.optimizer.first.to_bytes()),
        ("second.safetensors".to_owned(), trainer.optimizer.second.to_bytes()),
        ("progress.json".to_owned(), serde_json::to_vec(progress).context("progress")?),
        ("curve.jsonl".to_owned(), to_lines(curve)?),
    ]);
    store.put(key, &json!({"partial": planned.depends_on}), &files)
}

fn tell(bar: &mut Bar, done: usize, figures: &StepFigures) {
    let get = |name: &str| figures.get(name).copied();
    let message = match (get("reward"), get("loss")) {
        (Some(reward), _) => {
            format!("reward {reward:.3} length {:.0}", get("length").unwrap_or(f64::NAN))
        }
        (None, Some(loss)) => format!("loss {loss:.3}"),
        (None, None) => String::new(),
    };
    bar.at(done, message);
}

/// Start, end and noise of every figure. What is learned within the first window makes the rise look
/// smaller, never larger.
fn summarize(curve: &[StepFigures]) -> StepFigures {
    let window = curve.len().div_ceil(4).min(20);
    let mut out = StepFigures::new();
    let Some(first) = curve.first() else { return out };
    for name in first.keys() {
        let values: Vec<f64> = curve.iter().filter_map(|f| f.get(name).copied()).collect();
        let (start, end) = (&values[..window], &values[values.len() - window..]);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        out.insert(format!("{name}_start"), mean(start));
        out.insert(format!("{name}_end"), mean(end));
        let spread = |v: &[f64]| v.iter().map(|x| (x - mean(v)).powi(2)).sum::<f64>();
        let degrees = (2 * window).saturating_sub(2).max(1) as f64;
        let noise = ((spread(start) + spread(end)) / degrees * 2.0 / window as f64).sqrt();
        out.insert(format!("{name}_noise"), noise);
    }
    out
}

pub(super) fn file<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a [u8]> {
    files.get(name).map(Vec::as_slice).with_context(|| format!("artifact lacks `{name}`"))
}

fn to_lines(curve: &[StepFigures]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for figures in curve {
        serde_json::to_writer(&mut out, figures).context("figures are plain data")?;
        out.push(b'\n');
    }
    Ok(out)
}

fn lines(bytes: &[u8]) -> Result<Vec<StepFigures>> {
    bytes
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).context("a line of a curve"))
        .collect()
}
