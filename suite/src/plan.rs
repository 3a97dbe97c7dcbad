//! What will be done: every stage and evaluation with its key, steps, tokens, memory and time.
//!
//! Pure: does not touch files or devices. After planning nobody asks "what if unset".

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use synergy_benchmarks::grade::Grader;
use synergy_models::config::VlmConfig;
use synergy_report::score::RowKind;

use crate::device::Place;
use crate::key::Key;
use crate::plan::estimate::{CARD_BYTES, Estimator};
use crate::planted::Planted;
use crate::recipe::{BASE, FilesSpec, GrpoSpec, ObjectiveSpec, Recipe, StageSpec, ValidationSpec};

mod estimate;

/// Everything a run will do, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub recipe_hash: String,
    /// Where it is done; no key hangs on it.
    pub place: Place,
    pub stages: Vec<PlannedStage>,
    pub rows: Vec<PlannedRow>,
}

/// One stage of one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStage {
    pub name: String,
    pub seed: u64,
    pub spec: StageSpec,
    /// The checkpoint it starts from, if it needs one: a key of the store, or the base.
    pub from: Option<Key>,
    /// Checkpoints that it merges.
    pub parents: Vec<Key>,
    /// Data it reads, in the order of [`StageSpec::data`].
    pub data: Vec<Key>,
    pub key: Key,
    pub depends_on: Value,
    /// What chooses among its checkpoints, if it keeps the best.
    pub validation: Option<ValidationSpec>,
    /// By which rules an answer is right.
    pub grader: Grader,
    /// What is broken on purpose in it.
    pub planted: Option<Planted>,
    /// Regimes that need it.
    pub regimes: Vec<String>,
    /// At most, where it hangs on how many answers are kept.
    pub num_steps: usize,
    pub num_tokens: f64,
    pub memory_bytes: f64,
    pub seconds: f64,
}

/// One evaluation: a checkpoint, asked in one way.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRow {
    /// `base`, `greedy`, `sft`, `sft/shuffled`, …; `levels` cuts the levels and is no row.
    pub name: String,
    pub kind: RowKind,
    pub note: String,
    pub seed: u64,
    pub checkpoint: Key,
    pub asking: Asking,
    /// What is broken on purpose in it.
    pub planted: Option<Planted>,
    pub key: Key,
    pub depends_on: Value,
    pub num_completions: usize,
}

/// How an evaluation asks.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Asking {
    pub template: bool,
    pub shuffled: bool,
    pub greedy: bool,
    pub num_samples: usize,
}

/// What a key hangs on beside the recipe.
#[derive(Debug, Clone)]
pub struct Basis<'a> {
    /// Hash of the base's files.
    pub base: Key,
    pub config: &'a VlmConfig,
    /// Name and version of what computes.
    pub backend: String,
    /// Where that computes: of estimates only.
    pub place: Place,
    /// Hash of the code that trains and samples, and of the libraries below it.
    pub code: &'a str,
    /// Hashes of files with questions, by their paths.
    pub files: BTreeMap<PathBuf, Key>,
    /// Hash of the external questions, `None` if there are none.
    pub external: Option<Key>,
    /// Number of external questions; used for estimates, not for keys.
    pub num_external: usize,
    /// About so many questions of published benchmarks.
    pub num_published: usize,
    /// What is broken on purpose.
    pub planted: Option<Planted>,
    /// Seed of what the base answers.
    pub base_seed: u64,
}

/// The hash of a recipe's canonical form.
pub fn recipe_hash(recipe: &Recipe) -> String {
    Key::of(&json!(recipe)).as_str().to_owned()
}

/// The plan of `recipe` from a base.
pub fn plan(recipe: &Recipe, basis: &Basis<'_>) -> Plan {
    let mut stages: Vec<PlannedStage> = Vec::new();
    let mut rows = base_rows(recipe, basis);
    for regime in &recipe.regimes {
        for &seed in &recipe.seeds {
            let mut keys = BTreeMap::from([(BASE, basis.base.clone())]);
            for name in recipe.order(&regime.stage) {
                let key = add_stage(&mut stages, recipe, name, seed, &keys, &regime.name, basis);
                keys.insert(name, key);
            }
            let last = &keys[regime.stage.as_str()];
            if regime.stage == BASE {
                continue;
            }
            let usual = usual(recipe);
            let ask = |name: String, kind, note: &str, asking| {
                row(recipe, basis, name, kind, note, seed, last, asking)
            };
            rows.push(ask(regime.name.clone(), RowKind::Regime, &regime.note, usual));
            let note = "The regime shown another question's picture: its chance, given the text.";
            let shuffled = Asking { shuffled: true, num_samples: 1, ..usual };
            rows.push(ask(format!("{}/shuffled", regime.name), RowKind::Control, note, shuffled));
        }
    }
    Plan { recipe_hash: recipe_hash(recipe), place: basis.place, stages, rows }
}

fn usual(recipe: &Recipe) -> Asking {
    Asking {
        template: true,
        shuffled: false,
        greedy: false,
        num_samples: recipe.evaluation.num_samples,
    }
}

/// The base and its controls. Levels of the families are cut on draws of their own, so that an unchanged model
/// seems neither to lose on easy questions nor to gain on hard ones.
fn base_rows(recipe: &Recipe, basis: &Basis<'_>) -> Vec<PlannedRow> {
    let usual = usual(recipe);
    let levels = |(_, num_samples)| ("levels", Asking { num_samples, ..usual });
    let rows = [
        ("base", usual),
        ("null", usual),
        ("greedy", Asking { greedy: true, num_samples: 1, ..usual }),
        ("no_template", Asking { template: false, ..usual }),
        ("shuffled", Asking { shuffled: true, ..usual }),
    ];
    let rows =
        recipe.evaluation.drawn().map(levels).into_iter().chain(rows).map(|(name, asking)| {
            let kind = if name == "base" { RowKind::Baseline } else { RowKind::Control };
            let note = synergy_report::rows::control_note(name).unwrap_or_default();
            row(recipe, basis, name.to_owned(), kind, note, basis.base_seed, &basis.base, asking)
        });
    rows.collect()
}

#[expect(clippy::too_many_arguments, reason = "a constructor of plain data, called twice")]
fn row(
    recipe: &Recipe,
    basis: &Basis<'_>,
    name: String,
    kind: RowKind,
    note: &str,
    seed: u64,
    checkpoint: &Key,
    asking: Asking,
) -> PlannedRow {
    let planted = basis.planted.filter(|planted| planted.is_in_answers());
    let mut depends_on = json!({
        "planted": planted, "kind": "completions", "row": name, "seed": seed, "checkpoint": checkpoint, "asking": asking,
        "evaluation": recipe.evaluation, "prompt": recipe.prompt, "backend": basis.backend,
        "code": basis.code, "external": basis.external,
    });
    let benchmarks = &recipe.evaluation.benchmarks;
    if !benchmarks.is_empty() {
        let files: Vec<_> = benchmarks.iter().map(|b| basis.files.get(&b.path)).collect();
        depends_on["files"] = json!(files);
    }
    let drawn = recipe.evaluation.drawn().map_or(0, |(drawn, _)| drawn.per_family);
    // The levels of the others are published.
    let others = if name == "levels" { 0 } else { basis.num_external + basis.num_published };
    let questions = drawn * crate::recipe::FAMILIES.len() + others;
    PlannedRow {
        num_completions: questions * asking.num_samples,
        name,
        kind,
        note: note.to_owned(),
        seed,
        checkpoint: checkpoint.clone(),
        asking,
        planted,
        key: Key::of(&depends_on),
        depends_on,
    }
}

/// The key of stage `name`, planned unless another regime needs it too. `keys` has all it stands on.
fn add_stage(
    stages: &mut Vec<PlannedStage>,
    recipe: &Recipe,
    name: &str,
    seed: u64,
    keys: &BTreeMap<&str, Key>,
    regime: &str,
    basis: &Basis<'_>,
) -> Key {
    let spec = &recipe.stages[name];
    let from = spec.from().map(|from| keys[from].clone());
    let parents: Vec<Key> = spec.parents().iter().map(|p| keys[p.as_str()].clone()).collect();
    let data: Vec<Key> = spec.data().into_iter().map(|(_, name)| keys[name].clone()).collect();
    let validation = recipe.validation.clone().filter(|_| spec.keeps_best());
    let planted = basis.planted.filter(|p| spec.grpo().is_some() && p.is_in_rollouts());
    let mut depends_on = json!({
        "planted": planted, "kind": "stage", "name": name, "spec": spec, "questions": spec.questions(),
        "reward": spec.reward(), "training": spec.training(), "optimizer": spec.optimizer(),
        "validation": validation, "grader": recipe.grader(),
        "from": from, "parents": parents, "data": data, "seed": seed, "prompt": recipe.prompt,
        "base": basis.base, "backend": basis.backend, "code": basis.code,
    });
    let asked = spec.questions().and_then(|questions| questions.files.as_ref());
    let judged = validation.as_ref().and_then(|validation| validation.files.as_ref());
    if asked.or(judged).is_some() {
        let hash = |files: Option<&FilesSpec>| files.map(|files| basis.files.get(&files.path));
        depends_on["files"] = json!([hash(asked), hash(judged)]);
    }
    let key = Key::of(&depends_on);
    if let Some(stage) = stages.iter_mut().find(|s| s.key == key) {
        stage.regimes.push(regime.to_owned());
        return key;
    }
    let estimate = Estimator::new(recipe, basis.config, basis.place).stage(spec);
    stages.push(PlannedStage {
        name: name.to_owned(),
        seed,
        spec: spec.clone(),
        from,
        parents,
        data,
        key: key.clone(),
        depends_on,
        validation,
        grader: recipe.grader(),
        planted,
        regimes: vec![regime.to_owned()],
        num_steps: estimate.num_steps,
        num_tokens: estimate.num_tokens,
        memory_bytes: estimate.memory_bytes,
        seconds: estimate.seconds,
    });
    key
}

/// The plan as a person reads it before the work. `cached` says which keys are there already.
pub fn describe(
    recipe: &Recipe,
    plan: &Plan,
    config: &VlmConfig,
    cached: &dyn Fn(&Key) -> bool,
) -> String {
    let estimator = Estimator::new(recipe, config, plan.place);
    let mut text = format!(
        "profile {} ({} parameters, seeds {:?})\n{}\n",
        recipe.name,
        count(estimator.parameters()),
        recipe.seeds,
        recipe.note
    );
    let mut line = |s: String| {
        text.push_str(&s);
        text.push('\n');
    };
    let names = plan.stages.iter().map(|s| s.name.len());
    let width = names.max().unwrap_or_default().max("stage".len());
    line(format!(
        "\n  {:<width$} {:<9} {:>4} {:>6} {:>9} {:>8} {:>8}  for",
        "stage", "kind", "seed", "steps", "tokens", "memory", "time"
    ));
    let mut seconds = 0.0;
    for stage in &plan.stages {
        let time = if cached(&stage.key) { "cached".to_owned() } else { duration(stage.seconds) };
        seconds += if cached(&stage.key) { 0.0 } else { stage.seconds };
        line(format!(
            "  {:<width$} {:<9} {:>4} {:>6} {:>9} {:>8} {time:>8}  {}",
            stage.name,
            stage.spec.kind(),
            stage.seed,
            stage.num_steps,
            count(stage.num_tokens),
            size(stage.memory_bytes),
            few(&stage.regimes)
        ));
    }
    for (objective, stages) in objectives(plan) {
        line(format!("\n  objective of {}", stages.join(", ")));
        for (key, value) in objective.keys() {
            line(format!("    {key:<18} {value}"));
        }
    }
    let open: Vec<&PlannedRow> = plan.rows.iter().filter(|r| !cached(&r.key)).collect();
    let completions: usize = open.iter().map(|r| r.num_completions).sum();
    let evaluation = estimator.evaluation(completions);
    line(format!(
        "\n  {} evaluations, {} to do: {completions} completions, {}, {}",
        plan.rows.len(),
        open.len(),
        size(evaluation.memory_bytes),
        duration(evaluation.seconds)
    ));
    let disk: Vec<[f64; 2]> = plan.stages.iter().map(|s| estimator.disk(&s.spec)).collect();
    let kept: f64 = disk.iter().map(|[kept, _]| kept).sum();
    let inside = disk.iter().map(|[_, inside]| *inside).fold(0.0, f64::max);
    line(format!("  {} of disk for checkpoints, {} more while training", size(kept), size(inside)));
    let mut large: Vec<&str> = Vec::new();
    for stage in plan.stages.iter().filter(|stage| stage.memory_bytes > CARD_BYTES) {
        if !large.contains(&stage.name.as_str()) {
            large.push(&stage.name);
        }
    }
    if !large.is_empty() {
        line(format!("  more than the {} of a card: {}", size(CARD_BYTES), large.join(", ")));
    }
    let all = duration(seconds + evaluation.seconds);
    match estimator.assumptions() {
        Some(assumptions) => line(format!("  in all about {all} on one card\n{assumptions}")),
        None => line(format!("  in all about {all} on two cores\n")),
    }
    text
}

/// The plan as a program reads it: sizes in bytes, times in seconds, at most and by estimate.
pub fn to_json(recipe: &Recipe, plan: &Plan, config: &VlmConfig) -> Value {
    let estimator = Estimator::new(recipe, config, plan.place);
    let stage = |stage: &PlannedStage| {
        json!({
            "name": stage.name, "kind": stage.spec.kind(), "seed": stage.seed, "num_steps": stage.num_steps,
            "num_tokens": stage.num_tokens as u64, "memory_bytes": stage.memory_bytes as u64,
            "seconds": stage.seconds as u64, "disk_bytes": estimator.disk(&stage.spec)[0] as u64,
            "regimes": stage.regimes,
        })
    };
    let completions = plan.rows.iter().map(|row| row.num_completions).sum();
    let evaluation = estimator.evaluation(completions);
    json!({
        "profile": recipe.name,
        "num_parameters": estimator.parameters() as u64,
        "stages": plan.stages.iter().map(stage).collect::<Vec<_>>(),
        "evaluations": {
            "num_rows": plan.rows.len(), "num_completions": completions,
            "memory_bytes": evaluation.memory_bytes as u64, "seconds": evaluation.seconds as u64,
        },
        "assumptions": estimator.assumptions(),
    })
}

/// The first of `names` and how many there are beside.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names.len().saturating_sub(SHOWN) {
        0 | 1 => names.join(", "),
        others => format!("{} and {others} more", names[..SHOWN].join(", ")),
    }
}

/// Every objective with the stages that use it, presets expanded.
fn objectives(plan: &Plan) -> Vec<(&ObjectiveSpec, Vec<&str>)> {
    let mut all: Vec<(&ObjectiveSpec, Vec<&str>)> = Vec::new();
    for stage in &plan.stages {
        let Some(GrpoSpec { objective, .. }) = stage.spec.grpo() else { continue };
        match all.iter_mut().find(|(other, _)| *other == objective) {
            Some((_, stages)) if stages.contains(&stage.name.as_str()) => {}
            Some((_, stages)) => stages.push(&stage.name),
            None => all.push((objective, vec![&stage.name])),
        }
    }
    all
}

/// Seconds as a person says them.
pub fn duration(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    if seconds < 1.5 * MINUTE {
        format!("{seconds:.0} s")
    } else if seconds < 1.5 * HOUR {
        format!("{:.0} min", seconds / MINUTE)
    } else if seconds < 2.0 * DAY {
        format!("{:.0} h", seconds / HOUR)
    } else {
        format!("{:.0} days", seconds / DAY)
    }
}

/// Bytes as a person says them.
fn size(bytes: f64) -> String {
    match bytes {
        ..1e9 => format!("{:.0} MB", bytes / 1e6),
        1e9..10e9 => format!("{:.1} GB", bytes / 1e9),
        _ => format!("{:.0} GB", bytes / 1e9),
    }
}

/// Parameters or tokens as a person says them.
fn count(number: f64) -> String {
    if number < 1e9 { format!("{:.2} M", number / 1e6) } else { format!("{:.2} B", number / 1e9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_told_in_their_own_units() {
        let seconds = [0.4, 89.0, 91.0, 5399.0, 5401.0, 111_600.0, 864_000.0];
        let told = ["0 s", "89 s", "2 min", "90 min", "2 h", "31 h", "10 days"];
        assert_eq!(seconds.map(duration), told);
        assert_eq!([12e6, 1.26e9, 75e9].map(size), ["12 MB", "1.3 GB", "75 GB"]);
        assert_eq!([12e3, 7.6e9].map(count), ["0.01 M", "7.60 B"]);
    }
}
