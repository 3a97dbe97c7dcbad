//! One stage: read from the store, or trained from its last checkpoint or from what it starts from.
//!
//! Does not know regimes, nor how a kind of stage trains. A finished stage is an artifact (`model.safetensors`, or its
//! shards and their index, `summary.json`, `curve.jsonl`, and an adapter's two files if one was trained, which is merged
//! into the model); an unfinished one is an artifact under another key, replaced every few steps. Weights are written and
//! read tensor by tensor: a model is never in memory a second time as bytes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use synergy_benchmarks::datasets::spread;
use synergy_benchmarks::families::Split;
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_grade::answer::Outcome;
use synergy_hint::hint;
use synergy_models::generate::Sampling;
use synergy_models::merge::{self, MergeSpec};
use synergy_models::weights::{ComputeDtype, Parameters, StoredDtype};
use synergy_report::cost::Cost;

use crate::device::Compute;
use crate::key::Key;
use crate::limits::{MAX_SHARD_BYTES, forward_flops};
use crate::plan::PlannedStage;
use crate::recipe::{PublishedSpec, Role, StageSpec, ValidationQuestions, ValidationSpec};
use crate::run::artifact::{
    SUMMARY, Summary, checkpoint, lines, summarize, to_lines, write_finished,
};
use crate::run::base::Base;
use crate::run::data;
use crate::run::engines::Engines;
use crate::run::event::{Bar, Event, Events, interrupted};
use crate::run::once::once;
use crate::run::published::{self, RECORD, Record};
use crate::run::store::Store;
use crate::run::together;
use crate::train::algorithm::{Algorithm, Draws, Reference, StageInputs};
use crate::train::dataset::Dataset;
use crate::train::engine::{Engine, Question, completions};
use crate::train::features::FeatureCache;
use crate::train::kinds::algorithm;
use crate::train::mismatch::GapLimit;
use crate::train::pool::{Files, Pool};
use crate::train::sequence::{Prompter, test_samples};
use crate::train::{Context, StepFigures, Trainer};

/// Characters of a key that tell curves of one name apart.
const KEY_CHARS: usize = 8;

impl PlannedStage {
    /// What all its random streams are derived from: the run's seed, and what the stage does, but neither its name nor its
    /// numbers. So stages that differ in a number ask the same questions in the same order and draw alike, and what is
    /// between them is the number. Stages of one kind that build on each other draw apart. A stage of pretraining makes
    /// up its own questions, so its name stands for their pool.
    pub fn seed(&self) -> Seed {
        let root = Seed::root(self.seed);
        match &self.spec {
            StageSpec::Pretrain(_) => root.fold_in(&self.name),
            spec => root.fold_in("stages").fold_in(spec.kind()).at(self.num_alike_before as u64),
        }
    }
}

/// Steps that are prepared ahead of the one that computes.
const STEPS_AHEAD: usize = 2;

/// Where a stage finds its model and leaves its files.
#[derive(Clone, Copy)]
struct Place<'a> {
    base: &'a Base,
    compute: &'a Compute,
    engines: &'a Engines<'a>,
    store: &'a Store,
    files: &'a Files,
    /// Size of a file of weights, in bytes of numbers, at most.
    max_shard_bytes: usize,
}

/// How far a checkpoint inside a stage is.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    step: usize,
    num_updates: usize,
    wall_time_s: f64,
    /// Epoch and accuracy of the best one so far.
    best: Option<(usize, f64)>,
}

/// Sorts the data sets that a stage names by their roles.
///
/// # Errors
/// If one of them has no answers to learn.
fn stage_inputs<'a>(planned: &'a PlannedStage, data: &'a [Dataset]) -> Result<StageInputs<'a>> {
    let mut inputs = StageInputs::default();
    for (input, data) in planned.spec.data().into_iter().zip(data) {
        match input.role {
            Role::Solved => inputs.solved = data.solved(),
            Role::Demonstrations => inputs.demonstrations = data.answers(),
            Role::Shown => inputs.shown = data.answers(),
            _ => inputs.examples = &data.examples,
        }
        ensure!(
            input.role == Role::Solved || !data.examples.is_empty(),
            hint!(
                ("stage `{}` left no answers to learn for `{}`", input.stage, planned.name),
                "its model was never right; ask more often, or easier questions"
            )
        );
    }
    Ok(inputs)
}

/// The most accurate checkpoint of an epoch so far.
struct Best {
    epoch: usize,
    accuracy: f64,
    learned: Parameters,
}

/// Everything that changes from step to step, which is all that a checkpoint inside a stage holds.
struct State {
    trainer: Trainer,
    curve: Vec<StepFigures>,
    best: Option<Best>,
    /// Spent in earlier processes.
    wall_time_s: f64,
}

impl State {
    fn step(&self) -> usize {
        self.curve.len()
    }

    /// Goes on from the checkpoint under `key`; false if there is none.
    fn resume(&mut self, store: &Store, key: &Key, compute: &Compute) -> Result<bool> {
        let Some(artifact) = store.open_artifact(key)? else { return Ok(false) };
        let shapes = self.trainer.learned().shapes();
        let load = |name: &str| {
            let path = artifact.dir().join(format!("{name}.safetensors"));
            Parameters::read_file(&path, shapes.clone(), &compute.device)
        };
        let done: Progress = serde_json::from_slice(&artifact.read("progress.json")?)
            .context("progress of a stage")?;
        if let Some((epoch, accuracy)) = done.best {
            self.best = Some(Best { epoch, accuracy, learned: load("best")? });
        }
        let moments = [load("first")?, load("second")?];
        self.trainer.resume(load("learned")?, moments, done.num_updates);
        self.curve = lines(&artifact.read("curve.jsonl")?)?;
        self.wall_time_s = done.wall_time_s;
        Ok(true)
    }

    /// Replaces the checkpoint under `key` with one of the state as it is; of several processes the first one writes it.
    fn save(
        &self,
        key: &Key,
        planned: &PlannedStage,
        place: Place<'_>,
        clock: Instant,
    ) -> Result<()> {
        let progress = Progress {
            step: self.step(),
            num_updates: self.trainer.num_updates,
            wall_time_s: self.wall_time_s + clock.elapsed().as_secs_f64(),
            best: self.best.as_ref().map(|best| (best.epoch, best.accuracy)),
        };
        let [first, second] = self.trainer.moments();
        if !place.compute.ranks.is_first() {
            return Ok(());
        }
        place.store.put_with(key, &json!({"partial": planned.depends_on}), |dir| {
            let keep = |name, parameters: &Parameters| {
                parameters.save_named(name, dir, StoredDtype::F32, place.max_shard_bytes)
            };
            keep("learned", self.trainer.learned())?;
            keep("first", &first)?;
            keep("second", &second)?;
            if let Some(best) = &self.best {
                keep("best", &best.learned)?;
            }
            let progress = serde_json::to_vec(&progress).context("progress")?;
            fs::write(dir.join("progress.json"), progress)?;
            Ok(fs::write(dir.join("curve.jsonl"), to_lines(&self.curve)?)?)
        })
    }

    /// Judges the epoch that has just ended, if one has: its accuracy joins the step's figures, and the best model so far
    /// is kept.
    fn judge_epoch(
        &mut self,
        validation: &Validation,
        engine: &mut dyn Engine,
        context: &Context<'_>,
        planned: &PlannedStage,
    ) -> Result<()> {
        if !self.step().is_multiple_of(validation.steps_per_epoch) {
            return Ok(());
        }
        self.trainer.give_to(engine)?;
        let accuracy = validation.accuracy(engine, context, planned.seed())?;
        engine.unload();
        if let Some(figures) = self.curve.last_mut() {
            figures.insert("validation_accuracy".into(), accuracy);
        }
        if self.best.as_ref().is_none_or(|best| accuracy > best.accuracy) {
            let epoch = self.step() / validation.steps_per_epoch;
            let learned = self.trainer.learned().clone();
            self.best = Some(Best { epoch, accuracy, learned });
        }
        Ok(())
    }

    /// Goes back to the best model, if one was chosen, and sums up what the stage took.
    fn summary(&mut self, place: Place<'_>, clock: Instant) -> Summary {
        let wall_time_s = self.wall_time_s + clock.elapsed().as_secs_f64();
        let flops = forward_flops(&place.base.prompter.config);
        let cost = Cost::of(&self.curve, self.trainer.num_updates, flops, wall_time_s);
        let mut figures = summarize(&self.curve);
        if let Some(best) = self.best.take() {
            figures.insert("best_epoch".into(), best.epoch as f64);
            figures.insert("validation_accuracy".into(), best.accuracy);
            self.trainer.set_learned(best.learned);
        }
        Summary { cost, figures }
    }
}

/// The questions of `spec`.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn validation_samples(spec: &ValidationSpec, files: &Files) -> Result<Vec<Sample>> {
    match &spec.questions {
        ValidationQuestions::Drawn(drawn) => test_samples(*drawn, Split::Validation),
        ValidationQuestions::Files { files: spec, num_questions } => {
            let samples = files.training(spec)?.to_vec();
            Ok(spread(samples, num_questions.unwrap_or(usize::MAX)))
        }
    }
}

/// Questions that choose among epochs.
struct Validation {
    questions: Vec<Question>,
    sampling: Sampling,
    steps_per_epoch: usize,
}

impl Validation {
    /// Reads the questions.
    fn new(
        spec: &ValidationSpec,
        files: &Files,
        prompter: &Prompter,
        steps_per_epoch: usize,
    ) -> Result<Validation> {
        let ask = |sample| Question::new(prompter, sample, true);
        let samples = validation_samples(spec, files)?;
        Ok(Validation {
            questions: samples.into_iter().map(ask).collect::<Result<_>>()?,
            sampling: prompter.greedy(spec.max_new_tokens),
            steps_per_epoch,
        })
    }

    /// Share of right answers, decoded greedily.
    fn accuracy(&self, engine: &dyn Engine, context: &Context<'_>, seed: Seed) -> Result<f64> {
        let tokenizer = &context.prompter.tokenizer;
        let completions = completions(engine, tokenizer, &self.questions, 1, &self.sampling, seed)?;
        let right =
            completions.iter().filter(|c| c.outcome(context.grader) == Outcome::Correct).count();
        Ok(right as f64 / completions.len() as f64)
    }
}

/// Runs or reads `planned`.
///
/// # Errors
/// If training fails, the disk does, or somebody asked to stop.
pub fn run(
    planned: &PlannedStage,
    base: &Base,
    (compute, engines): (&Compute, &Engines<'_>),
    store: &Store,
    files: &Files,
    events: &mut Events,
) -> Result<Summary> {
    let place = Place { base, compute, engines, store, files, max_shard_bytes: MAX_SHARD_BYTES };
    let (stage, seed) = (planned.name.as_str(), planned.seed);
    let find = |events: &mut Events| {
        let Some(artifact) = store.open_artifact(&planned.key)? else { return Ok(None) };
        // A folder that was moved is recorded again.
        if let (Some(spec), Some(record)) = (planned.spec.published(), Record::of(&artifact)?)
            && !record.is_of(spec)
        {
            return Ok(None);
        }
        events.write(Event::StageCached { stage, seed, key: planned.key.as_str() })?;
        let summary = artifact.read(SUMMARY)?;
        serde_json::from_slice(&summary).context("summary of a stage").map(Some)
    };
    let what = format!("stage `{stage}` (seed {seed})");
    once(store, &planned.key, &what, events, find, |events| run_in(place, planned, events))
}

/// Runs `planned`, which the store lacks.
fn run_in(place: Place<'_>, planned: &PlannedStage, events: &mut Events) -> Result<Summary> {
    let Place { base, compute, store, .. } = place;
    let summary = match &planned.spec {
        StageSpec::Merge(spec) => merge(&spec.merge, planned, place)?,
        StageSpec::Published(spec) => record(spec, planned, place)?,
        spec if spec.training().is_some() => {
            together::begin(&compute.ranks, &planned.key);
            train(place, planned, events)?
        }
        _ => data::run(planned, base, (compute, place.engines), store, place.files, events)?,
    };
    events.write(Event::StageDone {
        stage: &planned.name,
        seed: planned.seed,
        key: planned.key.as_str(),
        wall_time_s: summary.cost.wall_time_s,
    })?;
    Ok(summary)
}

/// Trains `planned`, which the first of several processes has begun, to its end; nothing is written here.
///
/// # Errors
/// Where training fails in the first process too.
pub(super) fn follow(
    planned: &PlannedStage,
    base: &Base,
    (compute, engines): (&Compute, &Engines<'_>),
    store: &Store,
    files: &Files,
) -> Result<()> {
    let place = Place { base, compute, engines, store, files, max_shard_bytes: MAX_SHARD_BYTES };
    train(place, planned, &mut Events::silent()).map(drop)
}

/// Trains `planned` to its end; the first of several processes leaves it in the store.
fn train(place: Place<'_>, planned: &PlannedStage, events: &mut Events) -> Result<Summary> {
    let Place { base, compute, store, .. } = place;
    let spec = &planned.spec;
    let (Some(from), Some((training, optimizer))) = (&planned.from, spec.trained()) else {
        bail!("stage `{}` does not train", planned.name)
    };
    let start = checkpoint(store, from, base, &compute.device, None)?;
    let data = data::inputs(planned, store)?;
    let pool = Pool { files: place.files, run_seed: planned.seed };
    let draws = Draws { pool, stage: planned.seed() };
    let algorithm = algorithm(spec, stage_inputs(planned, &data)?, draws)?
        .with_context(|| format!("stage `{}` does not train", planned.name))?;
    let algorithm = algorithm.as_ref();
    let validation = planned.validation.as_ref();
    let validation = validation
        .map(|spec| Validation::new(spec, place.files, &base.prompter, algorithm.steps_per_epoch()))
        .transpose()?;
    let num_updates = algorithm.num_steps() * algorithm.updates_per_step();
    let trainer = Trainer::new(training, optimizer, num_updates, &start, planned.seed())?;
    let partial = Key::of(&json!({"partial": planned.key}));
    let mut state = begun(trainer, planned, &partial, place, events)?;

    let features = FeatureCache::of(training, &start)?;
    let context = Context {
        prompter: &base.prompter,
        compute,
        training,
        features: features.as_ref(),
        grader: planned.grader,
        planted: planned.planted,
    };
    let config = &base.prompter.config;
    let mut engine = place.engines.together(config, training.dtype(), features.as_ref());
    if training.lora.is_some() && (spec.grpo().is_some() || validation.is_some()) {
        engine.begin(&start)?;
    }
    // KL is measured from where the stage starts.
    let scoring = planned.parents.first().filter(|_| spec.grpo().is_some());
    let scoring =
        scoring.map(|key| checkpoint(store, key, base, &compute.device, None)).transpose()?;
    let of_scoring = match &scoring {
        Some(scoring) => FeatureCache::of(training, scoring)?,
        None => None,
    };
    let scorer = scoring.as_ref().map(|parameters| Reference {
        parameters,
        features: of_scoring.as_ref(),
        scorer: None,
    });
    let reference =
        Reference { parameters: &start, features: features.as_ref(), scorer: scorer.as_ref() };
    let clock = Instant::now();
    let label = format!("{} (seed {})", planned.name, planned.seed);
    let bar = events.bar(&label, algorithm.num_steps(), state.step());
    let mut run = Run { place, planned, algorithm, validation, context, reference, clock, bar };
    run.all_steps(&mut state, &mut *engine, &partial, events)?;

    let summary = state.summary(place, clock);
    if !compute.ranks.is_first() {
        return Ok(summary);
    }
    store.put_with(&planned.key, &planned.depends_on, |dir| {
        write_finished(dir, &state.trainer.finished(), &summary, place.max_shard_bytes)?;
        for (name, bytes) in state.trainer.adapter_files() {
            fs::write(dir.join(name), bytes)?;
        }
        Ok(fs::write(dir.join("curve.jsonl"), to_lines(&state.curve)?)?)
    })?;
    store.remove(&partial)?;
    run.bar.finish(&format!("done in {:.0} s", summary.cost.wall_time_s));
    Ok(summary)
}

/// The state in which `planned` begins: where `trainer` is, or at its checkpoint under `partial`.
fn begun(
    trainer: Trainer,
    planned: &PlannedStage,
    partial: &Key,
    place: Place<'_>,
    events: &mut Events,
) -> Result<State> {
    let Place { compute, store, .. } = place;
    let mut state = State { trainer, curve: Vec::new(), best: None, wall_time_s: 0.0 };
    state.trainer.share(compute);
    let is_resumed = state.resume(store, partial, compute)?;
    together::agree(&compute.ranks, state.step())?;
    if is_resumed {
        let (stage, seed) = (planned.name.as_str(), planned.seed);
        events.write(Event::StageResumed { stage, seed, step: state.step() })?;
    }
    Ok(state)
}

/// The training of a stage in this process: all that does not change from step to step.
struct Run<'a> {
    place: Place<'a>,
    planned: &'a PlannedStage,
    algorithm: &'a dyn Algorithm,
    validation: Option<Validation>,
    context: Context<'a>,
    reference: Reference<'a>,
    clock: Instant,
    bar: Bar,
}

impl Run<'_> {
    /// Computes all steps from where `state` is, with a checkpoint under `partial` every few of them.
    fn all_steps(
        &mut self,
        state: &mut State,
        engine: &mut dyn Engine,
        partial: &Key,
        events: &mut Events,
    ) -> Result<()> {
        let (first, num_steps) = (state.step(), self.algorithm.num_steps());
        let (mut last_kept, mut warned) = (first, false);
        // A stage that has changed is another curve.
        let (planned, stage, seed) = (self.planned, self.planned.name.as_str(), self.planned.seed);
        let mut scalars =
            events.scalars(&format!("{stage}-{seed}-{}", &planned.key.as_str()[..KEY_CHARS]))?;
        std::thread::scope(|scope| -> Result<()> {
            // Pictures and prompts of the next steps are made while this one computes.
            let (sender, receiver) = sync_channel(STEPS_AHEAD);
            let (algorithm, prompter) = (self.algorithm, self.context.prompter);
            scope.spawn(move || {
                for step in first..num_steps {
                    // A closed channel means that the loop below has stopped.
                    if sender.send(algorithm.prepare(prompter, step)).is_err() {
                        break;
                    }
                }
            });
            for step in first..num_steps {
                let prepared = receiver.recv().context("the data thread stopped")??;
                let figures = prepared(&mut state.trainer, engine, &self.context, self.reference)
                    .with_context(|| stopped(planned, step, last_kept))?;
                state.curve.push(figures);
                if let Some(validation) = &self.validation {
                    state.judge_epoch(validation, engine, &self.context, planned)?;
                }
                let figures = &state.curve[step];
                if let Some(line) = warning(figures, self.context.training.dtype())
                    && !warned
                {
                    warned = true;
                    events.say(&format!(
                        "  stage `{stage}` (seed {seed}), step {}: {line}",
                        step + 1
                    ));
                }
                events.write(Event::Step { stage, seed, step, figures })?;
                if let Some(scalars) = &mut scalars {
                    scalars.write(step, figures)?;
                }
                show(&mut self.bar, step + 1, figures);
                let stop = self.context.compute.ranks.any(interrupted());
                let every = self.context.training.checkpoint_every;
                if stop || ((step + 1) % every == 0 && step + 1 < num_steps) {
                    state.save(partial, planned, self.place, self.clock)?;
                    last_kept = step + 1;
                    events.write(Event::Checkpoint { stage, seed, step: step + 1 })?;
                }
                if stop {
                    bail!(hint!(
                        ("interrupted at step {} of `{stage}`", step + 1),
                        "the same command goes on from there"
                    ));
                }
            }
            Ok(())
        })
    }
}

/// A line about a token on which sampling and training are farther apart than rounding usually is; few of them do no harm
/// and do not stop a stage.
fn warning(figures: &StepFigures, dtype: ComputeDtype) -> Option<String> {
    let GapLimit { nats, share } = GapLimit::of(dtype);
    let (gap, beyond) = (figures.get("log_prob_gap")?, figures.get("log_prob_gap_share")?);
    (*gap > nats).then(|| {
        format!(
            "sampling and training give a token log-probabilities {gap:.2} apart, {:.3} % of tokens more than \
             {nats}; a stage stops at {:.1} %",
            100.0 * beyond,
            100.0 * share
        )
    })
}

/// What an error in a step begins with.
fn stopped(planned: &PlannedStage, step: usize, last_kept: usize) -> String {
    let kept = match last_kept {
        0 => "it has no checkpoint yet".to_owned(),
        last => format!("its checkpoint of step {last} is kept"),
    };
    format!("stage `{}` (seed {}) stopped at step {}; {kept}", planned.name, planned.seed, step + 1)
}

/// Merges the parents of `planned` and leaves the model in the store.
fn merge(spec: &MergeSpec, planned: &PlannedStage, place: Place<'_>) -> Result<Summary> {
    let Place { base, store, .. } = place;
    let clock = Instant::now();
    // Numbers are merged on the host, a tensor at a time.
    let read = |key| checkpoint(store, key, base, &Compute::host(), None);
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
    let cost = Cost { wall_time_s, ..Cost::default() };
    let summary = Summary { cost, figures };
    store.put_with(&planned.key, &planned.depends_on, |dir| {
        write_finished(dir, &merged, &summary, place.max_shard_bytes)
    })?;
    Ok(summary)
}

/// Leaves a record of a model that others have trained in the store; its weights stay where they are.
fn record(spec: &PublishedSpec, planned: &PlannedStage, place: Place<'_>) -> Result<Summary> {
    published::fits(spec, place.base)?;
    let hash = planned.content.clone().context("the files were hashed for the plan")?;
    let summary = Summary { cost: Cost::default(), figures: StepFigures::new() };
    let files = BTreeMap::from([
        (RECORD.to_owned(), serde_json::to_vec_pretty(&Record::new(spec, hash)).context("record")?),
        (SUMMARY.to_owned(), serde_json::to_vec_pretty(&summary).context("summary")?),
    ]);
    place.store.put(&planned.key, &planned.depends_on, &files)?;
    Ok(summary)
}

/// Shows a step's most telling figures.
fn show(bar: &mut Bar, done: usize, figures: &StepFigures) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::listed;
    use crate::plan::{Plan, plan};
    use crate::ranks;
    use crate::recipe::Recipe;
    use crate::run::artifact::{curve, read_curve};
    use crate::run::{Variant, key_inputs, open_base};
    use crate::train::grpo::Grpo;

    /// The largest file: a tenth of the model.
    const SHARD_BYTES: usize = 200_000;

    /// Two epochs of six steps of fine-tuning, of which the better one is kept, and their data.
    fn planned(compute: &Compute) -> (Base, Plan) {
        let text = include_str!("../../../tests/recipes/tiny.toml");
        let recipe = Recipe::parse(&text.replacen("num_epochs = 1", "num_epochs = 2", 1)).unwrap();
        let base = open_base(&recipe, compute).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut plan = plan(
            &recipe,
            &key_inputs(&recipe, &base, compute, Variant::Usual, (&store, &Files::default()))
                .unwrap(),
        );
        plan.stages.retain(|stage| ["traces", "sft"].contains(&stage.name.as_str()));
        (base, plan)
    }

    /// Does the first `num_steps` steps of `planned` and saves where they lead to under its partial key.
    fn stop_after(num_steps: usize, planned: &PlannedStage, place: Place<'_>) -> Key {
        let (prompter, spec) = (&place.base.prompter, &planned.spec);
        let (training, optimizer) = (spec.training().unwrap(), spec.optimizer().unwrap());
        let data = data::inputs(planned, place.store).unwrap();
        let pool = Pool { files: place.files, run_seed: planned.seed };
        let draws = Draws { pool, stage: planned.seed() };
        let inputs = stage_inputs(planned, &data).unwrap();
        let algorithm = algorithm(spec, inputs, draws).unwrap().unwrap();
        let validation = planned.validation.as_ref().unwrap();
        let validation =
            Validation::new(validation, place.files, prompter, algorithm.steps_per_epoch())
                .unwrap();
        let start = &place.base.parameters;
        let all_steps = algorithm.num_steps();
        let trainer = Trainer::new(training, optimizer, all_steps, start, planned.seed()).unwrap();
        let mut state = State { trainer, curve: Vec::new(), best: None, wall_time_s: 0.0 };
        let features = FeatureCache::of(training, start).unwrap();
        let features = features.as_ref();
        let context = Context { features, ..Context::new(prompter, place.compute, training) };
        let reference = Reference { parameters: start, features, scorer: None };
        let config = &prompter.config;
        let mut engine = place.engines.engine(config, training.dtype(), None);
        let engine = &mut *engine;
        for step in 0..num_steps {
            let prepared = algorithm.prepare(prompter, step).unwrap();
            state.curve.push(prepared(&mut state.trainer, engine, &context, reference).unwrap());
            state.judge_epoch(&validation, engine, &context, planned).unwrap();
        }
        assert!(state.best.is_some(), "no epoch is over");
        let key = Key::of(&json!({"partial": planned.key}));
        state.save(&key, planned, place, Instant::now()).unwrap();
        key
    }

    /// The recipe of the tests with stages of RL that differ from its `grpo` in name and a number each, and one that goes
    /// on from it.
    fn alike() -> Recipe {
        let text = include_str!("../../../tests/recipes/tiny.toml");
        let (before, rest) = text.split_once("[stages.grpo]").unwrap();
        let (grpo, _) = rest.split_once("[stages.").unwrap();
        let faster = "[tables.optimizers.faster]\nlearning_rate = 2e-2\n";
        let (_, optimizer) = before.split_once("[tables.optimizers.rl]\n").unwrap();
        let optimizer = optimizer.split_once("[validation]").unwrap().0;
        let optimizer = optimizer.replace("learning_rate = 5e-4\n", "");
        let with = |name: &str, from: &str, to: &str| {
            assert!(grpo.contains(from), "{from}");
            format!("[stages.{name}]{}", grpo.replacen(from, to, 1))
        };
        let stages = [
            with("grpo_faster", "optimizer = \"rl\"", "optimizer = \"faster\""),
            with("grpo_held", "preset = \"grpo_study\"", "preset = \"grpo_study\", beta = 0.5"),
            with("grpo_free", "preset = \"grpo_study\"", "preset = \"grpo_study\", beta = 0.0"),
            with("grpo_more", "from = \"base\"", "from = \"grpo\""),
        ];
        let names = ["grpo_faster", "grpo_held", "grpo_free", "grpo_more"];
        let regimes = names.map(|name| {
            format!("[[regimes]]\nname = \"{name}\"\nnote = \"\"\nstage = \"{name}\"\n")
        });
        let extra = [faster, &optimizer, &stages.concat(), &regimes.concat()].concat();
        Recipe::parse(&text.replacen("[[regimes]]", &format!("{extra}[[regimes]]"), 1)).unwrap()
    }

    #[test]
    fn stages_that_differ_in_a_number_ask_and_draw_alike() {
        let dir = tempfile::tempdir().unwrap();
        let compute = Compute::open("flex", Some(1)).unwrap();
        let recipe = alike();
        let (base, files) = (open_base(&recipe, &compute).unwrap(), Files::default());
        let store = Store::open(&dir.path().join("store")).unwrap();
        let inputs =
            key_inputs(&recipe, &base, &compute, Variant::Usual, (&store, &files)).unwrap();
        let plan = plan(&recipe, &inputs);
        let stage = |name: &str| plan.stages.iter().find(|stage| stage.name == name).unwrap();
        let asked = |name: &str| -> Vec<String> {
            let planned = stage(name);
            let pool = Pool { files: &files, run_seed: planned.seed };
            let draws = Draws { pool, stage: planned.seed() };
            let spec = planned.spec.grpo().unwrap();
            let grpo = Grpo::new(spec, StageInputs::default(), draws).unwrap();
            let batches = (0..6).flat_map(|step| grpo.batch(&base.prompter, step).unwrap());
            batches.map(|question| question.sample.id).collect()
        };
        let mut events = Events::open(&dir.path().join("events"), true).unwrap();
        let mut first_step = |name: &str| {
            let engines = Engines::own(&compute);
            run(stage(name), &base, (&compute, &engines), &store, &files, &mut events).unwrap();
            let curve = read_curve(&store, stage(name)).unwrap().unwrap();
            ["entropy_nats", "length", "tokens_generated"].map(|name| curve[0][name].to_bits())
        };
        let (questions, drawn) = (asked("grpo"), first_step("grpo"));
        for other in ["grpo_faster", "grpo_held", "grpo_free"] {
            assert_eq!((asked(other), first_step(other)), (questions.clone(), drawn), "{other}");
            assert_ne!(stage(other).key, stage("grpo").key, "{other}");
        }
        // What goes on from another stage of its kind does not repeat what that has drawn, and other kinds and other
        // seeds draw for themselves.
        assert_ne!(asked("grpo_more"), questions);
        let again = PlannedStage { seed: 2, ..stage("grpo").clone() };
        for other in [stage("grpo_more"), stage("asked"), stage("sft"), &again] {
            assert_ne!(other.seed(), stage("grpo").seed(), "{}", other.name);
        }
    }

    #[test]
    fn a_stage_cut_into_shards_and_taken_up_again_gives_the_bits_of_one_that_was_neither() {
        let dir = tempfile::tempdir().unwrap();
        let compute = Compute::open("flex", Some(1)).unwrap();
        let (base, plan) = planned(&compute);
        let files = Files::default();
        let engines = Engines::own(&compute);
        let [traces, sft] = plan.stages.as_slice() else { panic!("{:?}", plan.stages) };
        let events =
            |name: &str| Events::open(&dir.path().join(name).join("events"), true).unwrap();
        let [whole, cut] = ["whole", "cut"].map(|name| {
            let store = Store::open(&dir.path().join(name)).unwrap();
            run(traces, &base, (&compute, &engines), &store, &files, &mut events(name)).unwrap();
            store
        });
        run(sft, &base, (&compute, &engines), &whole, &files, &mut events("whole")).unwrap();

        let (base, compute, engines, files) = (&base, &compute, &engines, &files);
        let place =
            Place { base, compute, engines, store: &cut, files, max_shard_bytes: SHARD_BYTES };
        let partial = stop_after(7, sft, place);
        let artifact = cut.open_artifact(&partial).unwrap().unwrap();
        for name in ["learned", "first", "second", "best"] {
            let is_there = |file: String| artifact.dir().join(file).exists();
            assert!(is_there(format!("{name}.safetensors.index.json")), "{name}");
            assert!(!is_there(format!("{name}.safetensors")), "{name}");
        }
        let go_on = || run_in(place, sft, &mut events("cut"));
        // Refused where a shard is damaged, and taken up where it is whole again.
        let mut shards = listed(artifact.dir()).unwrap();
        shards.retain(|path| path.to_string_lossy().contains("first-00003-of-"));
        let [shard] = shards.as_slice() else { panic!("{shards:?}") };
        let kept = fs::read(shard).unwrap();
        let mut damaged = kept.clone();
        damaged[kept.len() - 1] ^= 1;
        fs::write(shard, damaged).unwrap();
        let said = synergy_hint::text(&go_on().unwrap_err());
        let name = shard.file_name().unwrap().to_string_lossy();
        assert!(
            said.contains(&format!("damaged: `{name}` is not what was written\nhint: ")),
            "{said}"
        );
        fs::write(shard, kept).unwrap();
        go_on().unwrap();
        let text = fs::read_to_string(dir.path().join("cut/events")).unwrap();
        assert!(
            text.contains(r#""kind":"stage_resumed","stage":"sft","seed":1,"step":7"#),
            "{text}"
        );
        assert!(!cut.has(&partial));

        let bytes =
            |store| checkpoint(store, &sft.key, base, &compute.device, None).unwrap().to_bytes();
        assert!(bytes(&whole) == bytes(&cut), "the weights differ");
        assert_eq!(curve(&whole, sft).unwrap(), curve(&cut, sft).unwrap());
        let one = whole.open_artifact(&sft.key).unwrap().unwrap();
        assert!(one.read("model.safetensors").unwrap() == bytes(&whole), "the file differs");
    }

    #[test]
    fn stages_that_several_processes_train_leave_the_bits_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe::parse(include_str!("../../../tests/recipes/tiny.toml")).unwrap();
        let (files, one) = (Files::default(), Compute::open("flex", Some(1)).unwrap());
        let base = open_base(&recipe, &one).unwrap();
        let stores = [1, 2, 3].map(|size| {
            let store = Store::open(&dir.path().join(size.to_string())).unwrap();
            let inputs =
                key_inputs(&recipe, &base, &one, Variant::Usual, (&store, &files)).unwrap();
            let mut plan = plan(&recipe, &inputs);
            plan.stages.retain(|stage| ["traces", "sft", "grpo"].contains(&stage.name.as_str()));
            ranks::together(size, |ranks| {
                let compute = &Compute::open("flex", Some(1)).unwrap().with_ranks(ranks);
                let (engines, events) = (&Engines::own(compute), dir.path().join("events"));
                let open = Events::open(&events.with_extension(ranks.size().to_string()), true);
                let mut events = open.unwrap();
                if ranks.is_first() {
                    for stage in &plan.stages {
                        let computes = (compute, engines);
                        run(stage, &base, computes, &store, &files, &mut events).unwrap();
                    }
                    together::done(ranks);
                } else {
                    together::follow(ranks, &plan.stages, |stage| {
                        follow(stage, &base, (compute, engines), &store, &files)
                    })
                    .unwrap();
                }
            });
            (store, plan)
        });
        let [(alone, plan), others @ ..] = &stores;
        for name in ["sft", "grpo"] {
            let stage = plan.stages.iter().find(|stage| stage.name == name).unwrap();
            let weights = |store: &Store| {
                let artifact = store.open_artifact(&stage.key).unwrap().unwrap();
                artifact.read("model.safetensors").unwrap()
            };
            for (store, _) in others {
                assert!(weights(store) == weights(alone), "{name}: the weights differ");
                assert_eq!(curve(store, stage).unwrap(), curve(alone, stage).unwrap(), "{name}");
            }
        }
    }
}
