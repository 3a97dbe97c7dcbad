//! The only orchestrator: order, files, clocks, resume, events.
//!
//! Everything it calls is a function of plain values; everything it keeps is in the store.

mod analysis;
pub mod artifact;
mod askable;
pub mod asking;
pub mod base;
pub mod base_gate;
pub mod chunks;
pub mod data;
pub mod engines;
pub mod evaluation;
pub mod event;
pub mod golden;
pub mod machine;
pub mod model;
mod once;
mod page;
mod published;
pub mod self_test;
mod spread;
pub mod stage;
pub mod store;
mod tables;
pub mod tensorboard;
mod together;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::json;
use synergy_hint::{Explain as _, hint, text};
use synergy_models::checkpoint::Checkpoint;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::shapes::shapes;
use synergy_report::compare::{describe_power, gate_alpha, powers};
use synergy_report::page::PageData;
use synergy_report::score::{Metrics, Provenance, Results, RowKind, Training};
use synergy_report::text::terminal::render_table;

use crate::device::Compute;
use crate::key::Key;
use crate::plan::selection::Selection;
use crate::plan::{
    KeyInputs, Plan, PlannedRow, describe, plan, plan_selected, recipe_hash, to_json,
};
use crate::planted::Planted;
use crate::ranks::{Ranks, local_rank};
use crate::recipe::rehearsal;
use crate::recipe::{EngineSpec, ModelSpec, RECIPES, Recipe};
use crate::run::base::{Base, BaseRecord};
use crate::run::base_gate::GateReport;
use crate::run::engines::Engines;
use crate::run::evaluation::Evaluation;
use crate::run::event::{Event, Events};
use crate::run::golden::read_results;
use crate::run::model::Model;
use crate::run::store::{Store, write_atomic};
use crate::run::tables::{Tables, Work, header, judge, of_stage, publish, write_completions};
use crate::train::pool::{self, Files};
use crate::train::sequence::Prompter;

/// Hash of the code that trains and samples and of the libraries below it; part of every key.
pub const CODE: &str = env!("SYNERGY_CODE_HASH");

/// How a recipe is run, as the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of all runs and of the store.
    pub runs_dir: PathBuf,
    /// Name of the device, as [`Compute::open`] takes it.
    pub device: String,
    /// Threads that compute, at least 1; `None` for all cores.
    pub num_threads: Option<usize>,
    /// Train the kept base's own recipe instead of starting from the kept base.
    pub from_scratch: bool,
    /// Show no progress.
    pub quiet: bool,
    /// How the run differs from what the recipe says.
    pub variant: Variant,
    /// The part of the recipe that is run.
    pub selection: Selection,
    /// What answers in place of the recipe's engine, as [`EngineSpec::named`] takes it.
    pub engine: Option<String>,
    /// The processes that train stages together.
    pub ranks: Ranks,
}

impl Options {
    /// The device of this process: of several with cards, that of its own number on its machine.
    ///
    /// # Errors
    /// See [`Compute::open`].
    fn compute(&self) -> Result<Compute> {
        let own = format!("cuda:{}", local_rank());
        let several = self.ranks.size() > 1 && self.device == "cuda";
        let device = if several { &own } else { &self.device };
        Ok(Compute::open(device, self.num_threads)?.with_ranks(&self.ranks))
    }

    /// The recipe with the engine that answers.
    ///
    /// # Errors
    /// If there is no such engine, or it cannot answer what the recipe asks.
    fn of(&self, recipe: &Recipe) -> Result<Recipe> {
        let engine = match &self.engine {
            Some(name) => EngineSpec::named(name)?,
            None => recipe.engine.clone(),
        };
        engine.as_ref().map_or(Ok(()), |engine| engine.fits(recipe))?;
        Ok(Recipe { engine, ..recipe.clone() })
    }
}

/// How a run differs from what its recipe says: only the gate's self-test runs any but [`Variant::Usual`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// The recipe as it is.
    Usual,
    /// The recipe with a fault that the gate must find.
    Planted(Planted),
    /// The recipe with this one seed, which no recipe names: everything is drawn and trained again.
    Redrawn(u64),
}

impl Variant {
    fn planted(self) -> Option<Planted> {
        if let Variant::Planted(planted) = self { Some(planted) } else { None }
    }

    /// The recipe that is run in place of `recipe`.
    fn of(self, recipe: &Recipe) -> Recipe {
        let mut recipe = recipe.clone();
        match self {
            Variant::Usual => return recipe,
            Variant::Planted(planted) => {
                // One seed is seen as well as several, in a third of the time.
                recipe.seeds.truncate(1);
                planted.change(&mut recipe);
            }
            Variant::Redrawn(seed) => recipe.seeds = vec![seed],
        }
        // The gate looks at no answer's tokens.
        recipe.evaluation.scored_answers = None;
        recipe
    }

    /// The folder of the run's results.
    fn dir(self, options: &Options, recipe: &Recipe) -> PathBuf {
        match self {
            Variant::Usual => options.runs_dir.join(&recipe.name),
            Variant::Planted(planted) => options.runs_dir.join("self-test").join(planted.name()),
            Variant::Redrawn(seed) => {
                options.runs_dir.join("self-test").join(format!("redrawn-{seed}"))
            }
        }
    }
}

/// A finished run.
#[derive(Debug)]
pub struct Outcome {
    /// Judgements of all answers, and how they came about.
    pub results: Results,
    /// Figures of all rows.
    pub metrics: Metrics,
    /// The folder of leaderboard, reports and results.
    pub dir: PathBuf,
}

impl Outcome {
    /// Results with their figures.
    fn of(results: Results, dir: PathBuf) -> Outcome {
        let metrics = Metrics::of(&results);
        Outcome { results, metrics, dir }
    }
}

/// Reads the recipe of `profile`.
///
/// # Errors
/// If there is no such profile; the error lists those that exist.
pub fn recipe_of(profile: &str) -> Result<Recipe> {
    let path = Path::new(RECIPES).join(format!("{profile}.toml"));
    if !path.is_file() {
        let mut known: Vec<String> = std::fs::read_dir(RECIPES)
            .explain(|| hint!("no folder `{RECIPES}`", "run inside the project's folder"))?
            .filter_map(|entry| {
                Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned())
            })
            .collect();
        known.sort();
        bail!(hint!("unknown profile `{profile}`", ("profiles are {}", known.join(", "))));
    }
    let recipe = Recipe::read(&path)?;
    ensure!(
        recipe.name == profile,
        hint!(
            ("recipe `{}` calls itself `{}`", path.display(), recipe.name),
            "its name is the file's"
        )
    );
    Ok(recipe)
}

/// Reads the recipe in the file `path` or, if there is no such file, of the profile that `path` names.
///
/// # Errors
/// See [`Recipe::read`] and [`recipe_of`].
pub fn recipe_at(path: &Path) -> Result<Recipe> {
    if path.is_file() {
        let recipe = Recipe::read(path)?;
        // Its runs have the place of its name.
        let other = Path::new(RECIPES).join(format!("{}.toml", recipe.name));
        let is_taken = other.is_file() && other.canonicalize().ok() != path.canonicalize().ok();
        ensure!(
            !is_taken,
            hint!(
                (
                    "recipe `{}` calls itself `{}`, as `{}` does",
                    path.display(),
                    recipe.name,
                    other.display()
                ),
                "give it a name of its own"
            )
        );
        return Ok(recipe);
    }
    let name = path.to_string_lossy();
    let name = name.strip_suffix(".toml").unwrap_or(&name);
    ensure!(
        Path::new(name).file_name() == Some(name.as_ref()),
        hint!(
            ("there is no recipe file `{}`", path.display()),
            "give a TOML file, or a name of {RECIPES}"
        )
    );
    recipe_of(name)
}

/// Plans `recipe` without doing anything; gives the text that a run prints first, with a list of what is missing for a
/// run, or the plan as JSON.
///
/// Reads neither weights of a published checkpoint nor data: nothing that is shown of a plan depends on them.
///
/// # Errors
/// If the recipe does not have what is selected, the base's settings cannot be read, or it is missing and of unknown size.
pub fn dry_run(recipe: &Recipe, options: &Options, as_json: bool) -> Result<String> {
    options.selection.check(recipe)?;
    let recipe = &options.of(recipe)?;
    let compute = options.compute()?;
    let files = Files::default();
    let mut lacking = String::new();
    let config = match &recipe.model {
        ModelSpec::Published { path } if path.is_dir() => VlmConfig::read(path)?,
        ModelSpec::Published { path } => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let config = VlmConfig::published(&name).explain(|| base::no_checkpoint(path))?;
            lacking += &format!(
                "  there is no `{}` yet: sizes are those that its owners publish\n",
                path.display()
            );
            config
        }
        _ => open_base(recipe, &compute)?.prompter.config,
    };
    lacking.extend(published::lacking(&recipe.stages));
    lacking.extend(evaluation::left_out(recipe).map(|line| line + "\n"));
    if let Err(error) = takes(recipe, &compute) {
        lacking += &format!("  {}\n", text(&error).replace("\nhint: ", ": "));
    }
    let inputs = sketch(recipe, &config, &compute, options.variant, &files)?;
    let plan = plan_selected(recipe, &inputs, &options.selection);
    if as_json {
        return Ok(format!("{:#}\n", to_json(recipe, &plan, &config)));
    }
    Ok(describe(recipe, &plan, &config, &|_| false) + &gate_power(recipe) + &lacking)
}

/// Runs what is selected of a recipe: trains and evaluates what is missing, row by row in the plan's order, and publishes
/// what there is while rows come in.
///
/// # Errors
/// If anything cannot be finished; finished stages and rows stay in the store, the next call uses them, and what was
/// published has every row until then.
pub fn reproduce(recipe: &Recipe, options: &Options) -> Result<Outcome> {
    options.selection.check(recipe)?;
    let compute = options.compute()?;
    let store = Store::open(&options.runs_dir.join("store"))?;
    let dir = options.variant.dir(options, recipe);
    let recipe_hash = recipe_hash(recipe);
    let recipe = &options.variant.of(&options.of(recipe)?);
    let mut events = Events::open(&dir.join("events.jsonl"), options.quiet)?;
    let files = Files::default();
    let base = if options.from_scratch {
        base_from_scratch(recipe, &compute, &store, &files, &mut events)?
    } else {
        open_base(recipe, &compute)?
    };
    // What is planted is a fault of the program, whose recipe is as it was.
    let inputs = key_inputs(recipe, &base, &compute, options.variant, (&store, &files))?;
    let plan = Plan { recipe_hash, ..plan_selected(recipe, &inputs, &options.selection) };
    together::planned(&compute.ranks, CODE, &plan.recipe_hash);
    events.write(Event::Started { profile: &recipe.name, recipe_hash: &plan.recipe_hash })?;
    events.say(&format!("device {}", compute.description));
    events.say(&describe(recipe, &plan, &base.prompter.config, &|key| store.has(key)));

    if let Some(line) = evaluation::left_out(recipe) {
        events.say(&line);
    }
    let clone = open_clone(recipe, &base, &compute)?;
    let bases: Vec<&Base> = [&base].into_iter().chain(&clone).collect();
    let engine = recipe.engine.as_ref();
    let say = if options.quiet { |_: &str| {} } else { event::say };
    let engines = Engines::new(engine, &base.prompter, &compute, &options.runs_dir, say)?;
    let evaluation = Evaluation::new(recipe, &bases, (&compute, &engines, &store), &files)?;
    let work = Work {
        recipe,
        plan: &plan,
        base: &base,
        compute: &compute,
        engines: &engines,
        store: &store,
        files: &files,
        options,
    };
    let mut tables = Tables::new(work, dir);
    let outcome = work::all(work, &evaluation, &mut tables, &mut events)?;
    together::done(&compute.ranks);
    let wall_time_s = events.elapsed().as_secs_f64();
    events.write(Event::Finished { wall_time_s })?;
    Ok(outcome)
}

/// Trains with the first of several processes, which runs the same recipe by [`reproduce`], the stages that it trains.
///
/// # Errors
/// If the first process runs another recipe, or training fails there too.
pub fn follow(recipe: &Recipe, options: &Options) -> Result<()> {
    let compute = options.compute()?;
    together::wait(&compute.ranks, CODE, &recipe_hash(recipe))?;
    let store = Store::of_another(&options.runs_dir.join("store"));
    let recipe = &options.variant.of(&options.of(recipe)?);
    let files = Files::default();
    let base = open_base(recipe, &compute)?;
    let inputs = key_inputs(recipe, &base, &compute, options.variant, (&store, &files))?;
    let plan = plan_selected(recipe, &inputs, &options.selection);
    let engine = recipe.engine.as_ref();
    let engines = Engines::new(engine, &base.prompter, &compute, &options.runs_dir, |_| {})?;
    together::follow(&compute.ranks, &plan.stages, |planned| {
        stage::follow(planned, &base, (&compute, &engines), &store, &files)
    })
}

/// Reads the model that `regime` of a finished run ended with, of its first seed.
///
/// # Errors
/// If the recipe has no such regime or it has not been trained.
pub fn trained(recipe: &Recipe, options: &Options, regime: &str) -> Result<Model> {
    let recipe = &options.of(recipe)?;
    let compute = options.compute()?;
    let store = Store::open(&options.runs_dir.join("store"))?;
    let base = open_base(recipe, &compute)?;
    let inputs = key_inputs(recipe, &base, &compute, options.variant, (&store, &Files::default()))?;
    let plan = plan(recipe, &inputs);
    let Some(row) = plan.rows.iter().find(|row| row.name == regime) else {
        let known: Vec<&str> = recipe.regimes.iter().map(|r| r.name.as_str()).collect();
        bail!(hint!("unknown regime `{regime}`", ("regimes are {}", known.join(", "))));
    };
    ensure!(
        row.checkpoint == base.key || store.has(&row.checkpoint),
        hint!(
            "regime `{regime}` has not been trained with these sources",
            ("cargo xtask reproduce --profile {}", recipe.name)
        )
    );
    let parameters = artifact::checkpoint(&store, &row.checkpoint, &base, &compute.device, None)?;
    let (Prompter { config, tokenizer, processor, .. }, generation) =
        (base.prompter, base.generation);
    Ok(Model { checkpoint: Checkpoint { config, tokenizer, processor, generation }, parameters })
}

/// Judges the stored completions of a finished run again, without generating anything.
///
/// # Errors
/// If the run has not been finished.
pub fn rescore(recipe: &Recipe, options: &Options) -> Result<Outcome> {
    let recipe = &options.of(recipe)?;
    let compute = options.compute()?;
    let store = Store::open(&options.runs_dir.join("store"))?;
    let dir = options.runs_dir.join(&recipe.name);
    let base = open_base(recipe, &compute)?;
    let files = Files::default();
    let before = read_results(&dir.join("results.json"));
    let selection = before.as_ref().map(Selection::of).unwrap_or_default();
    let inputs = key_inputs(recipe, &base, &compute, options.variant, (&store, &files))?;
    let plan = plan_selected(recipe, &inputs, &selection);
    let lacks = |row: &PlannedRow| {
        let missing = before.iter().flat_map(|before| &before.missing);
        missing.into_iter().any(|m| m.row == row.name && m.seeds.contains(&row.seed))
    };
    let rows = plan.rows.iter().filter(|row| !lacks(row));
    let evaluated = evaluation::stored(recipe, rows, &store, &files)?;
    let before = before?;
    let header = header(recipe, &plan, before.provenance, before.training, &base, &evaluated)?;
    let levels = evaluation::published_levels(recipe, &files)?;
    let mut results = judge(header, levels, &evaluated, None)?;
    // No grader has a say in them.
    results.spreads = before.spreads;
    let outcome = Outcome::of(results, dir);
    let shown = page::data(recipe, &plan, &evaluated, &outcome.results, &store, &files, None)?;
    publish(&outcome, &evaluated, &shown)?;
    evaluated.iter().try_for_each(|row| write_completions(&outcome.dir, row))?;
    Ok(outcome)
}

/// Judges joined results and writes what a run shows to `dir`. Curves, answers and pictures stay with the runs that made
/// them.
///
/// # Errors
/// If the disk fails.
pub fn joined(results: Results, dir: PathBuf) -> Result<Outcome> {
    let history = golden::history(&results.profile)?;
    let code_hash = results.provenance.code_hash.clone().unwrap_or_default();
    let shown = PageData { history, code_hash, ..PageData::default() };
    let outcome = Outcome::of(results, dir);
    publish(&outcome, &[], &shown)?;
    Ok(outcome)
}

/// What the gate can find at the noise that golden results of this profile show, a line for each kind of training; nothing
/// where there are no golden results or no gate.
fn gate_power(recipe: &Recipe) -> String {
    let (Ok(gate), Ok(golden)) = (recipe.gate(), golden::read(&recipe.name)) else {
        return String::new();
    };
    let num_rows = golden.rows.iter().filter(|row| row.kind != RowKind::Control).count();
    let found = describe_power(&powers(&[&golden], gate_alpha(gate, num_rows)));
    let lines: Vec<String> = found.into_iter().map(|line| format!("    {line}\n")).collect();
    match lines.is_empty() {
        true => String::new(),
        false => {
            format!("  what the gate finds, by golden's noise of training:\n{}", lines.concat())
        }
    }
}

/// Trains the recipe of a base and writes the base to `out`.
///
/// # Errors
/// If the recipe is not one of a base or training fails.
pub fn train_base(recipe: &Recipe, options: &Options, out: &Path) -> Result<()> {
    let compute = options.compute()?;
    let store = Store::open(&options.runs_dir.join("store"))?;
    let mut events =
        Events::open(&options.runs_dir.join(&recipe.name).join("events.jsonl"), options.quiet)?;
    let Trained { base, plan, training } =
        train_recipe(recipe, &compute, &store, &Files::default(), &mut events)?;
    let record = BaseRecord {
        recipe: recipe.name.clone(),
        recipe_hash: recipe_hash(recipe),
        code_hash: CODE.into(),
        backend: compute.name.clone(),
        machine: machine::describe(),
        date: machine::today(),
        wall_time_s: training.iter().map(|t| t.cost.wall_time_s).sum(),
        gate_passed: false,
        gate: serde_json::Value::Null,
        files: BTreeMap::new(),
    };
    let mut curve = String::new();
    for planned in &plan.stages {
        curve.push_str(&artifact::curve(&store, planned)?);
    }
    write_atomic(&out.join("curve.jsonl"), curve.as_bytes())?;
    base.write(out, record)?;
    events.say(&format!("kept base written to {}", out.display()));
    Ok(())
}

/// Measures the kept base of `recipe` and records the report beside it.
///
/// # Errors
/// If the recipe does not start from a kept base, or the base is damaged.
pub fn gate(recipe: &Recipe, options: &Options, per_family: usize) -> Result<GateReport> {
    let ModelSpec::Kept { path, .. } = &recipe.model else {
        bail!(hint!(
            ("recipe `{}` does not start from a kept base", recipe.name),
            "--profile small or smoke"
        ))
    };
    let compute = options.compute()?;
    let base = Base::read(path, &recipe.prompt, &compute)?;
    let report = base_gate::measure(&base, &compute, &recipe.evaluation, per_family)?;
    let mut record = base.record.clone().context("a kept base has a record")?;
    record.gate_passed = report.passed;
    record.gate = serde_json::to_value(&report).context("a report is plain data")?;
    let text = serde_json::to_string_pretty(&record).context("a record is plain data")? + "\n";
    write_atomic(&path.join("base.json"), text.as_bytes())?;
    Ok(report)
}

/// Opens the base that a recipe starts from.
///
/// # Errors
/// If a kept base is missing or damaged.
pub fn open_base(recipe: &Recipe, compute: &Compute) -> Result<Base> {
    match &recipe.model {
        ModelSpec::Kept { path, .. } => Base::read(path, &recipe.prompt, compute),
        ModelSpec::Published { path } => {
            Base::published(path, &recipe.prompt, compute, recipe.base_dtype())
        }
        ModelSpec::Fresh { preset, vocab_size, initializer_range } => Base::fresh(
            *preset,
            *vocab_size,
            *initializer_range,
            &recipe.prompt,
            recipe.seeds[0],
            compute,
        ),
    }
}

/// Opens the second base of `recipe`, if it names one beside `base`.
///
/// # Errors
/// If it is missing or damaged, another recipe has made it, or it is the first base once more.
fn open_clone(recipe: &Recipe, base: &Base, compute: &Compute) -> Result<Option<Base>> {
    let (Some(path), ModelSpec::Kept { recipe: made_by, .. }) =
        (recipe.model.second_base(), &recipe.model)
    else {
        return Ok(None);
    };
    let clone = Base::read(path, &recipe.prompt, compute)?;
    let name = |record: &BaseRecord| record.recipe.clone();
    let own = match &base.record {
        Some(record) => record.recipe.clone(),
        // Trained in this run.
        None => made_by.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let other = clone.record.as_ref().map(name).unwrap_or_default();
    let advice = "`synergy train-base --seed N` makes one of the recipe that made the base";
    ensure!(
        other == own && clone.prompter.config == base.prompter.config,
        hint!(
            (
                "`model.clone` is no base of the same recipe: recipe `{other}` made `{}`, and `{own}` the base",
                path.display()
            ),
            "{advice}"
        )
    );
    ensure!(
        clone.key != base.key,
        hint!(("`model.clone` is the base itself: `{}`", path.display()), "{advice}")
    );
    Ok(Some(clone))
}

/// Trains the recipe that made the kept base, and gives the base at its end.
fn base_from_scratch(
    recipe: &Recipe,
    compute: &Compute,
    store: &Store,
    files: &Files,
    events: &mut Events,
) -> Result<Base> {
    let ModelSpec::Kept { recipe: path, .. } = &recipe.model else {
        return open_base(recipe, compute);
    };
    Ok(train_recipe(&Recipe::read(path)?, compute, store, files, events)?.base)
}

/// A base that its own recipe has trained.
struct Trained {
    base: Base,
    plan: Plan,
    training: Vec<Training>,
}

fn train_recipe(
    recipe: &Recipe,
    compute: &Compute,
    store: &Store,
    files: &Files,
    events: &mut Events,
) -> Result<Trained> {
    let start = open_base(recipe, compute)?;
    let plan = plan(recipe, &key_inputs(recipe, &start, compute, Variant::Usual, (store, files))?);
    events.say(&describe(recipe, &plan, &start.prompter.config, &|key| store.has(key)));
    askable::check(&plan, &start.prompter, store, files, events)?;
    let mut training = Vec::new();
    for planned in &plan.stages {
        let engines = Engines::own(compute);
        let summary = stage::run(planned, &start, (compute, &engines), store, files, events)?;
        training.push(of_stage(planned, &summary));
    }
    let last = plan.stages.last().context("the recipe has no stages to train a base with")?;
    let parameters = artifact::checkpoint(store, &last.key, &start, &compute.device, None)?;
    Ok(Trained { base: Base::unrecorded(start.prompter, parameters), plan, training })
}

fn key_inputs<'a>(
    recipe: &Recipe,
    base: &'a Base,
    compute: &'a Compute,
    variant: Variant,
    (store, files): (&Store, &Files),
) -> Result<KeyInputs<'a>> {
    // Before anything is planned: no stage of hours comes before a refusal.
    takes(recipe, compute)?;
    let mut hashes: BTreeMap<_, _> =
        published::hashes(&recipe.stages, store)?.into_iter().collect();
    for spec in recipe.files() {
        let rows = pool::hash(&spec.path)?;
        let pictures = pool::hash_pictures(&files.training(spec)?)?;
        hashes.insert(spec.path.clone(), Key::of(&json!([rows, pictures])));
    }
    for spec in &recipe.evaluation.benchmarks {
        let rows = pool::hash(&spec.path)?;
        let pictures = pool::hash_pictures(&files.benchmark(spec)?)?;
        hashes.insert(spec.path.clone(), Key::of(&json!([rows, pictures])));
    }
    Ok(KeyInputs {
        base: base.key.clone(),
        clone: open_clone(recipe, base, compute)?.map(|clone| clone.key),
        files: hashes,
        external: evaluation::external_key(recipe)?,
        ..sketch(recipe, &base.prompter.config, compute, variant, files)?
    })
}

/// Inputs of a plan that is only shown: its keys are those of no base and no files.
fn sketch<'a>(
    recipe: &Recipe,
    config: &'a VlmConfig,
    compute: &'a Compute,
    variant: Variant,
    files: &Files,
) -> Result<KeyInputs<'a>> {
    // The recipe's own check knows neither the size nor the number of layers of a kept base.
    let shapes = shapes(config);
    for (name, training) in &recipe.tables.trainings {
        let fits = training.lora_config(&shapes);
        fits.with_context(|| format!("`tables.trainings.{name}` does not fit the base"))?;
    }
    Ok(KeyInputs {
        base: Key::of(&serde_json::Value::Null),
        clone: recipe.model.second_base().map(|path| Key::of(&json!(path))),
        config,
        backend: compute.backend(),
        place: compute.place,
        code: CODE,
        files: BTreeMap::new(),
        external: None,
        num_external: evaluation::external_samples(recipe)?.len(),
        num_published: evaluation::num_published(recipe, files)?,
        planted: variant.planted(),
        base_seed: if let Variant::Redrawn(seed) = variant { seed } else { 0 },
    })
}

/// Checks that the device computes in every type that the recipe asks for.
fn takes(recipe: &Recipe, compute: &Compute) -> Result<()> {
    recipe.dtypes().try_for_each(|dtype| compute.takes(dtype))
}

fn provenance(
    base: &Base,
    compute: &Compute,
    options: &Options,
    recipe: &Recipe,
    wall_time_s: f64,
) -> Provenance {
    let profile = &recipe.name;
    let rehearsed = rehearsal::profile(profile);
    let (commit, dirty) = machine::commit();
    let (base_is_good, base_note) = match (&recipe.model, &base.record) {
        _ if rehearsed.is_some() => (false, "a rehearsal, whose figures mean nothing".to_owned()),
        // A checkpoint that others have published is taken as it is.
        (ModelSpec::Published { path }, _) => {
            let path = path.display();
            (true, format!("published checkpoint `{path}`, not measured by the gate"))
        }
        (_, Some(record)) => {
            let passed = if record.gate_passed { "passed" } else { "not passed" };
            let note = format!("kept base of recipe `{}`, gate {passed}", record.recipe);
            (record.gate_passed, note)
        }
        (_, None) => (false, "trained in this run, gate not run".to_owned()),
    };
    let scratch = if options.from_scratch { " --from-scratch" } else { "" };
    let mut selected = options.selection.words();
    if let Some(engine) = &options.engine {
        selected += &format!(" --engine {engine}");
    }
    Provenance {
        date: machine::today(),
        commit,
        code_hash: Some(CODE.to_owned()),
        dirty,
        command: match options.variant {
            Variant::Usual => match rehearsed {
                Some(profile) => {
                    format!("cargo xtask reproduce --profile {profile} --rehearse{selected}")
                }
                None => format!("cargo xtask reproduce --profile {profile}{scratch}{selected}"),
            },
            Variant::Planted(_) | Variant::Redrawn(_) => {
                format!("cargo xtask gate --profile {profile} --self-test")
            }
        },
        machine: machine::describe_parts(),
        backend: match &recipe.engine {
            Some(engine) => format!("{}, answers by {}", compute.name, engine.describe()),
            None => compute.name.clone(),
        },
        rustc: machine::rustc(),
        wall_time_s,
        base_hash: base.key.as_str().to_owned(),
        base_provisional: !base_is_good,
        base_note,
    }
}

/// Renders the final table for a terminal of `width` columns.
pub fn table(outcome: &Outcome, width: u16) -> String {
    render_table(&outcome.results, &outcome.metrics, width)
}
