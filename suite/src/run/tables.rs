//! What a run has so far, judged and shown: results, leaderboard, reports, with what they lack of the recipe.
//!
//! Does not know how anything is trained or asked, nor in which order. The same function writes the tables of a run under
//! way and of a finished one, so that the last are those that the first have become.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::families::Split;
use synergy_benchmarks::sample::Sample;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_report::claims::ledger;
use synergy_report::completion::to_lines;
use synergy_report::cost::{Budget, Cost};
use synergy_report::leaderboard;
use synergy_report::page::{PageData, report_html};
use synergy_report::score::figures::figures;
use synergy_report::score::spread::Spread;
use synergy_report::score::{
    Asked, Header, ModelSize, Provenance, Results, RowKind, Sampling, Score, Training, cut_levels,
    level_passes,
};
use synergy_report::text::report::report_markdown;

use crate::device::Compute;
use crate::plan::{Plan, PlannedRow, PlannedStage};
use crate::planted::Planted;
use crate::recipe::Recipe;
use crate::run::artifact::Summary;
use crate::run::base::Base;
use crate::run::engines::Engines;
use crate::run::evaluation::{self, Evaluated};
use crate::run::event::{Event, Events};
use crate::run::golden::read_results;
use crate::run::store::{Store, write_atomic};
use crate::run::{Options, Outcome, page, provenance, spread};
use crate::train::pool::Files;

/// Writing tables on the way takes at most one part in so many of a run.
const SHARE_OF_RUN: u32 = 20;

/// What a run is of, and where it is done.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) plan: &'a Plan,
    pub(super) base: &'a Base,
    pub(super) compute: &'a Compute,
    pub(super) engines: &'a Engines<'a>,
    pub(super) store: &'a Store,
    pub(super) files: &'a Files,
    pub(super) options: &'a Options,
}

/// What a run has so far.
pub(super) struct Tables<'a> {
    work: Work<'a>,
    dir: PathBuf,
    /// Provenance of the same run, if it was finished before.
    finished: Option<Provenance>,
    /// Stages by their places in the plan.
    training: BTreeMap<usize, Training>,
    /// Rows in the plan's order.
    evaluated: Vec<Evaluated>,
    /// Their places in the plan.
    places: Vec<usize>,
    spreads: Vec<Spread>,
    /// Rows whose completions this process has written already.
    written: Vec<usize>,
    /// Rows that were made since tables were last written.
    num_new: usize,
    /// When tables were last written, and how long that took.
    last: Option<(Instant, Duration)>,
}

impl<'a> Tables<'a> {
    /// Those of a run that has nothing yet; they will be in `dir`.
    pub(super) fn new(work: Work<'a>, dir: PathBuf) -> Tables<'a> {
        Tables {
            work,
            finished: finished_before(work.plan, work.base, work.store, &dir),
            dir,
            training: BTreeMap::new(),
            evaluated: Vec::new(),
            places: Vec::new(),
            spreads: Vec::new(),
            written: Vec::new(),
            num_new: 0,
            last: None,
        }
    }

    /// Tells whether the stage at `place` of the plan is there.
    pub(super) fn has_stage(&self, place: usize) -> bool {
        self.training.contains_key(&place)
    }

    /// Tells whether the row at `place` of the plan is there.
    pub(super) fn has_row(&self, place: usize) -> bool {
        self.places.contains(&place)
    }

    /// Takes a stage that is done.
    pub(super) fn take_stage(&mut self, place: usize, summary: &Summary) {
        self.training.insert(place, of_stage(&self.work.plan.stages[place], summary));
    }

    /// Takes a row that is done; `is_new` if it was not done before.
    pub(super) fn take_row(&mut self, place: usize, row: Evaluated, is_new: bool) {
        let at = self.places.partition_point(|known| *known < place);
        self.places.insert(at, place);
        self.evaluated.insert(at, row);
        self.num_new += usize::from(is_new);
    }

    /// Scores answers of the rows that are there once more under their model and the base.
    pub(super) fn score_tokens(&mut self, samples: &[Sample], events: &mut Events) -> Result<()> {
        let Work { recipe, base, compute, store, .. } = self.work;
        let num_answers = recipe.evaluation.scored_answers.unwrap_or_default();
        if num_answers > 0 {
            let results = self.results(events)?;
            let place = (compute, store);
            let rows = &self.evaluated;
            self.spreads = spread::all(num_answers, rows, samples, &results, base, place, events)?;
        }
        Ok(())
    }

    /// Writes them on the way, and says so in a line.
    pub(super) fn show(&mut self, events: &mut Events) -> Result<()> {
        self.publish(events)?;
        let path = self.dir.join("report.html");
        events.say(&format!("  table of {}: {}", self.extent(), path.display()));
        Ok(())
    }

    /// Writes them on the way if they have a regime, something in them is new, and writing has not taken too large a share
    /// of the time lately.
    pub(super) fn show_if_due(&mut self, events: &mut Events) -> Result<()> {
        let rests = |(at, took): (Instant, Duration)| at.elapsed() < took * (SHARE_OF_RUN - 1);
        let has_regime = self.evaluated.iter().any(|row| row.planned.kind == RowKind::Regime);
        match has_regime && self.num_new > 0 && !self.last.is_some_and(rests) {
            true => self.show(events),
            false => Ok(()),
        }
    }

    /// Writes what an interrupted run leaves: all rows that it has.
    pub(super) fn leave(&mut self, events: &mut Events) {
        let has_base = self.evaluated.iter().any(|row| row.planned.kind == RowKind::Baseline);
        if has_base && self.num_new > 0 {
            // What ended the run is reported, not what followed from it.
            let _ = self.show(events);
        }
    }

    /// Judges and writes everything that is there.
    pub(super) fn publish(&mut self, events: &mut Events) -> Result<Outcome> {
        let Work { recipe, plan, store, files, options, .. } = self.work;
        let clock = Instant::now();
        let outcome = Outcome::of(self.results(events)?, self.dir.clone());
        let planted = options.variant.planted();
        let (rows, results) = (&self.evaluated, &outcome.results);
        let shown = page::data(recipe, plan, rows, results, store, files, planted)?;
        publish(&outcome, rows, &shown)?;
        for (place, row) in self.places.iter().zip(rows) {
            if !self.written.contains(place) {
                write_completions(&self.dir, row)?;
                self.written.push(*place);
            }
        }
        let took = clock.elapsed();
        self.last = Some((Instant::now(), took));
        self.num_new = 0;
        events.write(Event::Published { rows: rows.len(), wall_time_s: took.as_secs_f64() })?;
        Ok(outcome)
    }

    /// Everything that is there, judged answer by answer.
    fn results(&self, events: &Events) -> Result<Results> {
        let Work { recipe, plan, base, compute, files, options, .. } = self.work;
        let wall_time_s = events.elapsed().as_secs_f64();
        // A rerun with nothing to do tells when and where the work was done, not that it took no time.
        let provenance = match &self.finished {
            Some(finished) => finished.clone(),
            None => provenance(base, compute, options, recipe, wall_time_s),
        };
        let training = self.training.values().cloned().collect();
        let header = header(recipe, plan, provenance, training, base, &self.evaluated)?;
        let levels = evaluation::published_levels(recipe, files)?;
        let planted = options.variant.planted();
        let mut results = judge(header, levels, &self.evaluated, planted)?;
        results.spreads.clone_from(&self.spreads);
        Ok(results)
    }

    /// How many regimes are there, by seed where there are several.
    fn extent(&self) -> String {
        let plan = self.work.plan;
        let mut seeds: Vec<u64> = plan.parts.iter().filter_map(|part| part.seed).collect();
        seeds.dedup();
        let count = |rows: &mut dyn Iterator<Item = &PlannedRow>, seed: u64| {
            rows.filter(|row| row.kind == RowKind::Regime && row.seed == seed).count()
        };
        let (mut whole, mut others) = (Vec::new(), Vec::new());
        for &seed in &seeds {
            let there = count(&mut self.evaluated.iter().map(|row| &row.planned), seed);
            let all = count(&mut plan.rows.iter(), seed);
            match there {
                0 => {}
                _ if there == all => whole.push(seed.to_string()),
                _ if seeds.len() == 1 => others.push(format!("{there} of {all} regimes")),
                _ => others.push(format!("{there} of {all} regimes with seed {seed}")),
            }
        }
        if !whole.is_empty() {
            let plural = if whole.len() == 1 { "" } else { "s" };
            others.insert(0, format!("every regime with seed{plural} {}", whole.join(", ")));
        }
        if others.is_empty() { "the base alone".to_owned() } else { others.join(", ") }
    }
}

/// The provenance that `dir` has of the same run, if all its stages and rows are in the store.
fn finished_before(plan: &Plan, base: &Base, store: &Store, dir: &Path) -> Option<Provenance> {
    let mut keys = plan.stages.iter().map(|s| &s.key).chain(plan.rows.iter().map(|r| &r.key));
    if !keys.all(|key| store.has(key)) {
        return None;
    }
    let before = read_results(&dir.join("results.json")).ok()?;
    let same = before.recipe_hash == plan.recipe_hash
        && before.provenance.base_hash == base.key.as_str()
        && before.missing == plan.missing(&plan.rows)
        && before.extra_seeds == plan.extra_seeds;
    same.then_some(before.provenance)
}

/// Everything in the results of a run but its rows.
pub(super) fn header(
    recipe: &Recipe,
    plan: &Plan,
    provenance: Provenance,
    training: Vec<Training>,
    base: &Base,
    evaluated: &[Evaluated],
) -> Result<Header> {
    let rows = || evaluated.iter().map(|row| &row.planned);
    Ok(Header {
        profile: recipe.name.clone(),
        recipe_hash: plan.recipe_hash.clone(),
        grader: recipe.grader(),
        split: Some(recipe.evaluation.split()).filter(|split| *split != Split::Test),
        provenance,
        asked: Some(asked(recipe, &base.prompter.config)),
        missing: plan.missing(rows()),
        extra_seeds: plan.extra_seeds.clone(),
        external: evaluation::external_baselines(recipe)?,
        budgets: budgets(plan, rows(), &training),
        training,
    })
}

/// What the rows of a run are asked, and of which model.
fn asked(recipe: &Recipe, config: &VlmConfig) -> Asked {
    let evaluation = &recipe.evaluation;
    Asked {
        prompt: recipe.prompt.suffix.clone(),
        sampling: Sampling {
            num_samples: evaluation.num_samples as u64,
            temperature: evaluation.temperature,
            top_p: evaluation.top_p,
            top_k: evaluation.top_k as u64,
        },
        max_new_tokens: evaluation.max_new_tokens as u64,
        hops: evaluation.families.map(|families| families.drawn.hops.map(|steps| steps as u64)),
        model: ModelSize {
            architecture: config.model_type.clone(),
            num_parameters: config.layout().num_parameters as u64,
            hidden_size: config.hidden_size as u64,
            num_layers: config.num_hidden_layers as u64,
        },
    }
}

/// From completions to scores to results. `levels` has those of published questions. Pure.
pub(super) fn judge(
    header: Header,
    mut levels: BTreeMap<String, Level>,
    evaluated: &[Evaluated],
    planted: Option<Planted>,
) -> Result<Results> {
    let grader = header.grader;
    let (cutting, rows): (Vec<_>, Vec<_>) =
        evaluated.iter().partition(|row| row.planned.cuts_levels());
    let cutting: Vec<Score> = cutting.iter().flat_map(|row| row.scores(grader, planted)).collect();
    levels.extend(cut_levels(&cutting));
    let rows: Vec<_> = rows.iter().map(|row| row.row(grader, planted)).collect();
    let results = Results::assemble(header, &levels, &rows)?;
    Ok(results.with_level_passes(&level_passes(&cutting)))
}

/// The cost of each regime of `rows` with all stages that it needs. That of a model which others have trained is not
/// known, and so is that of what stands on one.
fn budgets<'a>(
    plan: &Plan,
    rows: impl Iterator<Item = &'a PlannedRow>,
    training: &[Training],
) -> Vec<Budget> {
    let mut budgets: Vec<Budget> = Vec::new();
    for row in rows.filter(|row| row.kind == RowKind::Regime) {
        let of_row =
            |stage: &&PlannedStage| stage.seed == row.seed && stage.regimes.contains(&row.name);
        if plan.stages.iter().filter(of_row).any(|stage| stage.spec.published().is_some()) {
            continue;
        }
        let cost = |stage: &PlannedStage| {
            training.iter().find(|t| t.stage == stage.name && t.seed == stage.seed).map(|t| t.cost)
        };
        let costs = plan.stages.iter().filter(of_row).filter_map(cost);
        let cost = costs.fold(Cost::default(), Cost::plus);
        budgets.push(Budget { regime: row.name.clone(), seed: row.seed, cost });
    }
    budgets
}

/// What results keep of a stage.
pub(super) fn of_stage(planned: &PlannedStage, summary: &Summary) -> Training {
    Training {
        regime: planned.regimes.join("+"),
        seed: planned.seed,
        stage: planned.name.clone(),
        cost: summary.cost,
        summary: summary.figures.clone(),
        published: planned.spec.published().map(|spec| spec.trained_by.clone().unwrap_or_default()),
    }
}

/// Writes what a run shows but its completions: results and leaderboard, reports, analyses.
pub(super) fn publish(outcome: &Outcome, evaluated: &[Evaluated], shown: &PageData) -> Result<()> {
    let Outcome { results, metrics, dir } = outcome;
    let board = leaderboard::Run::of(results, metrics)?.to_json();
    let samples: Vec<_> = evaluated.iter().flat_map(|row| row.examples(results)).collect();
    let analyses = shown.analyses.as_ref();
    let mut files = vec![
        ("leaderboard.json", board),
        ("results.json", results.to_json()?),
        ("figures.json", serde_json::to_string(&figures(results)).context("plain data")? + "\n"),
        ("report.md", report_markdown(results, metrics, analyses, &samples)),
        ("report.html", report_html(results, metrics, shown, &ledger(results))),
    ];
    if let Some(analyses) = analyses {
        let text = serde_json::to_string(analyses).context("plain data")? + "\n";
        files.push(("analysis.json", text));
    }
    for (name, text) in files {
        write_atomic(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// Writes the answers of a row.
pub(super) fn write_completions(
    dir: &Path,
    Evaluated { planned, completions, .. }: &Evaluated,
) -> Result<()> {
    let name = format!("{}-{}.jsonl", planned.name.replace('/', "-"), planned.seed);
    write_atomic(&dir.join("completions").join(name), to_lines(completions)?.as_bytes())
}
