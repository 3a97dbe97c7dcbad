//! One stage that trains: from the store, from its last checkpoint, or from what it starts from.
//!
//! Does not know regimes. A finished stage is an artifact (`model.safetensors`, or its shards and their index,
//! `summary.json`, `curve.jsonl`, and an adapter's two files if one was trained, which is merged into the model);
//! an unfinished one is an artifact under another key, replaced every few steps. Weights are written and read
//! tensor by tensor: a model is never in memory a second time as bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use synergy_benchmarks::answer::Outcome;
use synergy_benchmarks::datasets::spread;
use synergy_benchmarks::families::Split;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::Sampling;
use synergy_models::merge::{self, MergeSpec};
use synergy_models::weights::{Parameters, StoredDtype};
use synergy_report::cost::Cost;

use crate::device::Compute;
use crate::key::Key;
use crate::limits::forward_flops;
use crate::plan::PlannedStage;
use crate::recipe::StageSpec;
use crate::run::artifact::{Summary, checkpoint, lines, summarize, to_lines, write_finished};
use crate::run::base::Base;
use crate::run::data;
use crate::run::event::{Bar, Event, Events, interrupted};
use crate::run::once::once;
use crate::run::store::Store;
use crate::train::dataset::{Dataset, Example};
use crate::train::features::FeatureCache;
use crate::train::grpo::{self, Reference};
use crate::train::pool;
use crate::train::rollout::{Question, evaluate};
use crate::train::sequence::{Prompter, Sequence, test_samples};
use crate::train::{Context, StepFigures, Trainer, hybrid, pretrain, sft};

/// The largest file of weights in the store, in bytes of numbers: what the Hugging Face hub's tools cut at.
const MAX_SHARD_BYTES: usize = 5_000_000_000;

/// Characters of a key that tell curves of one name apart.
const KEY_CHARS: usize = 8;

impl PlannedStage {
    /// What all its random streams are derived from.
    pub fn seed(&self) -> Seed {
        Seed::root(self.seed).fold_in(&self.name)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    step: usize,
    num_updates: usize,
    wall_time_s: f64,
    /// Epoch and accuracy of the best one so far.
    best: Option<(usize, f64)>,
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
    /// What chooses among epochs, if the stage keeps its best.
    validation: Option<Validation>,
}

impl<'a> Plenty<'a> {
    /// From the data sets that the stage names.
    fn of(planned: &PlannedStage, inputs: &'a [Dataset], base: &Base) -> Result<Plenty<'a>> {
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
        if let (Some(v), StageSpec::Sft(sft)) = (&planned.validation, &planned.spec) {
            let prompter = &base.prompter;
            let ask = |sample| Question::new(prompter, sample, true);
            let samples = match (&v.files, v.drawn()) {
                (Some(files), _) => {
                    spread(pool::opened(files)?.to_vec(), v.num_questions.unwrap_or(usize::MAX))
                }
                (None, Some(drawn)) => test_samples(drawn, Split::Validation)?,
                (None, None) => bail!("checked when the recipe was read"),
            };
            plenty.validation = Some(Validation {
                questions: samples.into_iter().map(ask).collect::<Result<_>>()?,
                sampling: Sampling::greedy(v.max_new_tokens, prompter.tokenizer.ids.eos),
                steps_per_epoch: sft::num_steps(sft, plenty.examples.len()) / sft.num_epochs,
            });
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
    fn work(&self, prompter: &Prompter, planned: &PlannedStage, step: usize) -> Result<Work> {
        let seed = planned.seed();
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

/// The most accurate checkpoint of an epoch so far.
struct Best {
    epoch: usize,
    accuracy: f64,
    learned: Parameters,
}

/// All that changes from step to step, which is all that a checkpoint inside a stage holds.
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

    /// From the checkpoint under `key`, if there is one.
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
        self.trainer.optimizer.first = load("first")?;
        self.trainer.optimizer.second = load("second")?;
        self.trainer.set_learned(load("learned")?);
        self.trainer.num_updates = done.num_updates;
        self.curve = lines(&artifact.read("curve.jsonl")?)?;
        self.wall_time_s = done.wall_time_s;
        Ok(true)
    }

    fn save(
        &self,
        store: &Store,
        key: &Key,
        planned: &PlannedStage,
        clock: Instant,
        max_shard_bytes: usize,
    ) -> Result<()> {
        let progress = Progress {
            step: self.step(),
            num_updates: self.trainer.num_updates,
            wall_time_s: self.wall_time_s + clock.elapsed().as_secs_f64(),
            best: self.best.as_ref().map(|best| (best.epoch, best.accuracy)),
        };
        let optimizer = &self.trainer.optimizer;
        store.put_with(key, &json!({"partial": planned.depends_on}), |dir| {
            let keep = |name, parameters: &Parameters| {
                parameters.save_named(name, dir, StoredDtype::F32, max_shard_bytes)
            };
            keep("learned", self.trainer.learned())?;
            keep("first", &optimizer.first)?;
            keep("second", &optimizer.second)?;
            if let Some(best) = &self.best {
                keep("best", &best.learned)?;
            }
            let progress = serde_json::to_vec(&progress).context("progress")?;
            fs::write(dir.join("progress.json"), progress)?;
            Ok(fs::write(dir.join("curve.jsonl"), to_lines(&self.curve)?)?)
        })
    }

    /// Whether the epoch that has just ended left the best model so far; its accuracy joins the step's figures.
    fn judge_epoch(
        &mut self,
        plenty: &Plenty<'_>,
        context: &Context<'_>,
        planned: &PlannedStage,
    ) -> Result<()> {
        let Some(validation) = &plenty.validation else { return Ok(()) };
        if !self.step().is_multiple_of(validation.steps_per_epoch) {
            return Ok(());
        }
        let accuracy = validation.accuracy(&self.trainer.parameters, context, planned.seed())?;
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
}

/// Questions that choose among epochs.
struct Validation {
    questions: Vec<Question>,
    sampling: Sampling,
    steps_per_epoch: usize,
}

impl Validation {
    /// Share of right answers, decoded greedily.
    fn accuracy(&self, parameters: &Parameters, context: &Context<'_>, seed: Seed) -> Result<f64> {
        let model = context.model(parameters);
        let completions = evaluate(&model, context, &self.questions, 1, &self.sampling, seed)?;
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
    compute: &Compute,
    store: &Store,
    events: &mut Events,
) -> Result<Summary> {
    let (stage, seed) = (planned.name.as_str(), planned.seed);
    let find = |events: &mut Events| {
        let Some(artifact) = store.open_artifact(&planned.key)? else { return Ok(None) };
        events.write(Event::StageCached { stage, seed, key: planned.key.as_str() })?;
        let summary = artifact.read("summary.json")?;
        serde_json::from_slice(&summary).context("summary of a stage").map(Some)
    };
    once(store, &planned.key, &format!("stage `{stage}` (seed {seed})"), events, find, |events| {
        run_in_shards(planned, base, compute, store, events, MAX_SHARD_BYTES)
    })
}

/// Runs `planned`, which the store lacks, with weights in files of at most `max_shard_bytes`.
fn run_in_shards(
    planned: &PlannedStage,
    base: &Base,
    compute: &Compute,
    store: &Store,
    events: &mut Events,
    max_shard_bytes: usize,
) -> Result<Summary> {
    let (stage, seed) = (planned.name.as_str(), planned.seed);
    let spec = &planned.spec;
    let (Some(from), Some(training), Some(optimizer)) =
        (&planned.from, spec.training(), spec.optimizer())
    else {
        return match spec {
            StageSpec::Merge(spec) => {
                merge(&spec.merge, planned, base, store, events, max_shard_bytes)
            }
            _ => data::run(planned, base, compute, store, events),
        };
    };
    let start = checkpoint(store, from, base, &compute.device, None)?;
    let inputs = data::inputs(planned, store)?;
    let plenty = Plenty::of(planned, &inputs, base)?;
    let num_steps = plenty.num_steps(spec);
    let num_updates = num_steps * spec.grpo().map_or(1, |s| s.num_mini_batches);
    let mut state = State {
        trainer: Trainer::new(training, optimizer, num_updates, &start, planned.seed())?,
        curve: Vec::new(),
        best: None,
        wall_time_s: 0.0,
    };
    let partial = Key::of(&json!({"partial": planned.key}));
    if state.resume(store, &partial, compute)? {
        events.write(Event::StageResumed { stage, seed, step: state.step() })?;
    }

    let features = FeatureCache::of(training, &start)?;
    let context = Context {
        prompter: &base.prompter,
        compute,
        training,
        features: features.as_ref(),
        grader: planned.grader,
        planted: planned.planted,
    };
    // KL is measured from where the stage starts.
    let reference = Reference { parameters: &start, features: features.as_ref() };
    let clock = Instant::now();
    let first = state.step();
    let mut last_kept = first;
    let mut bar = events.bar(&format!("{stage} (seed {seed})"), num_steps, first);
    // A stage that has changed is another curve.
    let mut scalars =
        events.scalars(&format!("{stage}-{seed}-{}", &planned.key.as_str()[..KEY_CHARS]))?;
    std::thread::scope(|scope| -> Result<()> {
        // Pictures and prompts of the next steps are made while this one computes.
        let (sender, receiver) = sync_channel(2);
        let (prompter, plenty) = (&base.prompter, &plenty);
        scope.spawn(move || {
            for step in first..num_steps {
                // A closed channel means that the loop below has stopped.
                if sender.send(plenty.work(prompter, planned, step)).is_err() {
                    break;
                }
            }
        });
        for step in first..num_steps {
            let work = receiver.recv().context("the data thread stopped")??;
            let done = step as f64 / num_steps as f64;
            let figures = one_step(
                &mut state.trainer,
                &context,
                planned,
                reference,
                plenty,
                &work,
                done,
                step,
            )
            .with_context(|| {
                let kept = match last_kept {
                    0 => "it has no checkpoint yet".to_owned(),
                    last => format!("its checkpoint of step {last} is kept"),
                };
                format!("stage `{stage}` (seed {seed}) stopped at step {}; {kept}", step + 1)
            })?;
            state.curve.push(figures);
            state.judge_epoch(plenty, &context, planned)?;
            let figures = &state.curve[step];
            events.write(Event::Step { stage, seed, step, figures })?;
            scalars.write(step, figures)?;
            tell(&mut bar, step + 1, figures);
            let stop = interrupted();
            if stop || ((step + 1) % training.checkpoint_every == 0 && step + 1 < num_steps) {
                state.save(store, &partial, planned, clock, max_shard_bytes)?;
                last_kept = step + 1;
                events.write(Event::Checkpoint { stage, seed, step: step + 1 })?;
            }
            if stop {
                bail!(
                    "interrupted at step {} of `{stage}`\nhint: the same command goes on from there",
                    step + 1
                );
            }
        }
        Ok(())
    })?;

    let wall_time_s = state.wall_time_s + clock.elapsed().as_secs_f64();
    let config = &base.prompter.config;
    let cost =
        Cost::of(&state.curve, state.trainer.num_updates, forward_flops(config), wall_time_s);
    let mut figures = summarize(&state.curve);
    if let Some(best) = state.best {
        figures.insert("best_epoch".into(), best.epoch as f64);
        figures.insert("validation_accuracy".into(), best.accuracy);
        state.trainer.set_learned(best.learned);
    }
    let summary = Summary { cost, figures };
    store.put_with(&planned.key, &planned.depends_on, |dir| {
        write_finished(dir, &state.trainer.finished(), &summary, max_shard_bytes)?;
        for (name, bytes) in state.trainer.adapter_files() {
            fs::write(dir.join(name), bytes)?;
        }
        Ok(fs::write(dir.join("curve.jsonl"), to_lines(&state.curve)?)?)
    })?;
    store.remove(&partial)?;
    events.write(Event::StageDone { stage, seed, key: planned.key.as_str(), wall_time_s })?;
    bar.finish(&format!("done in {wall_time_s:.0} s"));
    Ok(summary)
}

/// The step of the algorithm that `planned` is of; `done` is the share of its steps that is behind.
#[expect(clippy::too_many_arguments, reason = "one arm for each algorithm, each with its own step")]
fn one_step(
    trainer: &mut Trainer,
    context: &Context<'_>,
    planned: &PlannedStage,
    reference: Reference<'_>,
    plenty: &Plenty<'_>,
    work: &Work,
    done: f64,
    step: usize,
) -> Result<StepFigures> {
    let seed = planned.seed().fold_in("rollouts").at(step as u64);
    match (work, &planned.spec) {
        (Work::Questions(questions), StageSpec::Grpo(s)) => {
            grpo::step(trainer, context, s, reference, questions, seed)
        }
        (Work::Questions(questions), StageSpec::Hybrid(s)) => {
            hybrid::step(trainer, context, s, reference, questions, &plenty.taught, done, seed)
        }
        (Work::Sequences(sequences), _) => pretrain::step(trainer, context, sequences),
        (Work::Questions(_), _) => bail!("questions are for rollouts only"),
    }
}

/// The model between two others.
fn merge(
    spec: &MergeSpec,
    planned: &PlannedStage,
    base: &Base,
    store: &Store,
    events: &mut Events,
    max_shard_bytes: usize,
) -> Result<Summary> {
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
        write_finished(dir, &merged, &summary, max_shard_bytes)
    })?;
    events.write(Event::StageDone {
        stage: &planned.name,
        seed: planned.seed,
        key: planned.key.as_str(),
        wall_time_s,
    })?;
    Ok(summary)
}

/// What every finished stage with a model leaves in `dir`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::listed;
    use crate::plan::{Plan, plan};
    use crate::recipe::Recipe;
    use crate::run::artifact::curve;
    use crate::run::{Variant, basis, open_base};

    /// The largest file: a tenth of the model.
    const SHARD_BYTES: usize = 200_000;

    /// Two epochs of six steps of fine-tuning, of which the better one is kept, and their data.
    fn planned(compute: &Compute) -> (Base, Plan) {
        let text = include_str!("../../../tests/recipes/tiny.toml");
        let recipe = Recipe::parse(&text.replacen("num_epochs = 1", "num_epochs = 2", 1)).unwrap();
        let base = open_base(&recipe, compute).unwrap();
        let mut plan = plan(&recipe, &basis(&recipe, &base, compute, Variant::Usual).unwrap());
        plan.stages.retain(|stage| ["traces", "sft"].contains(&stage.name.as_str()));
        (base, plan)
    }

    /// Does the first `num_steps` steps of `planned` and keeps where they lead to under its partial key.
    fn stop_after(
        num_steps: usize,
        planned: &PlannedStage,
        base: &Base,
        compute: &Compute,
        store: &Store,
    ) -> Key {
        let (prompter, spec) = (&base.prompter, &planned.spec);
        let (training, optimizer) = (spec.training().unwrap(), spec.optimizer().unwrap());
        let inputs = data::inputs(planned, store).unwrap();
        let plenty = Plenty::of(planned, &inputs, base).unwrap();
        let start = &base.parameters;
        let all_steps = plenty.num_steps(spec);
        let trainer = Trainer::new(training, optimizer, all_steps, start, planned.seed()).unwrap();
        let mut state = State { trainer, curve: Vec::new(), best: None, wall_time_s: 0.0 };
        let features = FeatureCache::of(training, start).unwrap();
        let features = features.as_ref();
        let context = Context { features, ..Context::new(prompter, compute, training) };
        let reference = Reference { parameters: start, features };
        for step in 0..num_steps {
            let work = plenty.work(prompter, planned, step).unwrap();
            let done = step as f64 / all_steps as f64;
            let trainer = &mut state.trainer;
            let figures =
                one_step(trainer, &context, planned, reference, &plenty, &work, done, step);
            state.curve.push(figures.unwrap());
            state.judge_epoch(&plenty, &context, planned).unwrap();
        }
        assert!(state.best.is_some(), "no epoch is over");
        let key = Key::of(&json!({"partial": planned.key}));
        state.save(store, &key, planned, Instant::now(), SHARD_BYTES).unwrap();
        key
    }

    #[test]
    fn a_stage_cut_into_shards_and_taken_up_again_gives_the_bits_of_one_that_was_neither() {
        let dir = tempfile::tempdir().unwrap();
        let compute = Compute::open("flex", Some(1)).unwrap();
        let (base, plan) = planned(&compute);
        let [traces, sft] = plan.stages.as_slice() else { panic!("{:?}", plan.stages) };
        let events =
            |name: &str| Events::open(&dir.path().join(name).join("events"), true).unwrap();
        let [whole, cut] = ["whole", "cut"].map(|name| {
            let store = Store::open(&dir.path().join(name)).unwrap();
            run(traces, &base, &compute, &store, &mut events(name)).unwrap();
            store
        });
        run(sft, &base, &compute, &whole, &mut events("whole")).unwrap();

        let partial = stop_after(7, sft, &base, &compute, &cut);
        let artifact = cut.open_artifact(&partial).unwrap().unwrap();
        for name in ["learned", "first", "second", "best"] {
            let is_there = |file: String| artifact.dir().join(file).exists();
            assert!(is_there(format!("{name}.safetensors.index.json")), "{name}");
            assert!(!is_there(format!("{name}.safetensors")), "{name}");
        }
        let go_on = || run_in_shards(sft, &base, &compute, &cut, &mut events("cut"), SHARD_BYTES);
        // Refused where a shard is damaged, and taken up where it is whole again.
        let mut shards = listed(artifact.dir()).unwrap();
        shards.retain(|path| path.to_string_lossy().contains("first-00003-of-"));
        let [shard] = shards.as_slice() else { panic!("{shards:?}") };
        let kept = fs::read(shard).unwrap();
        let mut damaged = kept.clone();
        damaged[kept.len() - 1] ^= 1;
        fs::write(shard, damaged).unwrap();
        let said = go_on().unwrap_err().to_string();
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
            |store| checkpoint(store, &sft.key, &base, &compute.device, None).unwrap().to_bytes();
        assert!(bytes(&whole) == bytes(&cut), "the weights differ");
        assert_eq!(curve(&whole, sft).unwrap(), curve(&cut, sft).unwrap());
        let one = whole.open_artifact(&sft.key).unwrap().unwrap();
        assert!(one.read("model.safetensors").unwrap() == bytes(&whole), "the file differs");
    }
}
