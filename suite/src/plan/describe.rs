//! A plan as a person reads it, and as a program does. Pure.
//!
//! Does not know how anything is planned or estimated: it says what the plan holds, in the order of work.

use serde_json::{Value, json};
use synergy_benchmarks::difficulty::Level;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_report::score::RowKind;

use super::estimate::{CARD_BYTES, Estimator};
use super::parts::selected;
use super::{Part, Plan, PlannedRow, PlannedStage};
use crate::key::Key;
use crate::recipe::{ObjectiveSpec, Recipe};

/// The plan as a person reads it before the work. `cached` says which keys are there already.
pub fn describe(
    recipe: &Recipe,
    plan: &Plan,
    config: &VlmConfig,
    cached: &dyn Fn(&Key) -> bool,
) -> String {
    let estimator = Estimator::new(recipe, config, plan.place);
    let mut lines = vec![
        format!(
            "profile {} ({} parameters, seeds {:?})",
            recipe.name,
            count(estimator.parameters()),
            plan.selection.seeds(recipe)
        ),
        recipe.note.clone(),
    ];
    lines.extend(selected(plan, &plan.selection));
    let stages_seconds = describe_stages(&mut lines, plan, cached);
    for (objective, stages) in objectives(plan) {
        lines.push(format!("\n  objective of {}", stages.join(", ")));
        let keys = objective.keys();
        lines.extend(keys.iter().map(|(key, value)| format!("    {key:<18} {value}")));
    }
    let open: Vec<&PlannedRow> = plan.rows.iter().filter(|r| !cached(&r.key)).collect();
    let completions: usize = open.iter().map(|r| r.num_completions).sum();
    let evaluation = estimator.evaluation(completions);
    lines.push(format!(
        "\n  {} evaluations, {} to do: {completions} completions, {}, {}",
        plan.rows.len(),
        open.len(),
        size(evaluation.memory_bytes),
        duration(evaluation.seconds)
    ));
    if let Some(count) = recipe.evaluation.scored_answers.filter(|count| *count > 0) {
        let rows = plan.rows.iter().filter(|row| row.kind != RowKind::Control).count();
        lines.push(format!(
            "  up to {} answers are scored again under their model and the base: {count} of each level of {rows} rows",
            rows * Level::ALL.len() * count
        ));
    }
    if let Some(engine) = &recipe.engine {
        lines.push(format!(
            "  answers by {}, {} at once; times and memory are the suite's own",
            engine.describe(),
            engine.num_replicas() * engine.max_concurrent_questions
        ));
    }
    describe_sizes(&mut lines, plan, &estimator);
    lines.extend(describe_first_table(plan, &estimator, cached));
    let all = duration(stages_seconds + evaluation.seconds);
    lines.push(match estimator.assumptions() {
        Some(assumptions) => format!("  in all about {all} on one card\n{assumptions}"),
        None => format!("  in all about {all} on two cores\n"),
    });
    lines.join("\n") + "\n"
}

/// Adds a table of stages to `lines` and returns the seconds of those that are still to be done.
fn describe_stages(lines: &mut Vec<String>, plan: &Plan, cached: &dyn Fn(&Key) -> bool) -> f64 {
    let names = plan.stages.iter().map(|s| s.name.len());
    let width = names.max().unwrap_or_default().max("stage".len());
    lines.push(format!(
        "\n  {:<width$} {:<9} {:>4} {:>6} {:>9} {:>8} {:>8}  for",
        "stage", "kind", "seed", "steps", "tokens", "memory", "time"
    ));
    let mut seconds = 0.0;
    for stage in plan.stages_in_order() {
        let time = if cached(&stage.key) { "cached".to_owned() } else { duration(stage.seconds) };
        seconds += if cached(&stage.key) { 0.0 } else { stage.seconds };
        lines.push(format!(
            "  {:<width$} {:<9} {:>4} {:>6} {:>9} {:>8} {time:>8}  {}",
            stage.name,
            stage.spec.kind(),
            stage.seed,
            stage.num_steps,
            count(stage.num_tokens),
            size(stage.memory_bytes),
            few(&planned_regimes(plan, stage))
        ));
    }
    seconds
}

/// Names of the planned regimes that need `stage`.
fn planned_regimes(plan: &Plan, stage: &PlannedStage) -> Vec<String> {
    let is_planned = |name: &&String| plan.selection.takes(name);
    stage.regimes.iter().filter(is_planned).cloned().collect()
}

/// Says when the first table will be there, if several regimes are to be done: after the base and one of them.
fn describe_first_table(
    plan: &Plan,
    estimator: &Estimator<'_>,
    cached: &dyn Fn(&Key) -> bool,
) -> Option<String> {
    let is_open = |part: &&Part| {
        let stages = part.stages.iter().map(|place| &plan.stages[*place].key);
        let rows = part.rows.iter().map(|place| &plan.rows[*place].key);
        stages.chain(rows).any(|key| !cached(key))
    };
    let mut open = plan.parts.iter().filter(|part| part.seed.is_some()).filter(is_open);
    let first = open.next()?;
    open.next()?;
    let base = plan.parts.iter().filter(|part| part.seed.is_none());
    let (mut seconds, mut completions) = (0.0, 0);
    for part in base.chain([first]) {
        let stages = part.stages.iter().map(|place| &plan.stages[*place]);
        seconds += stages.filter(|s| !cached(&s.key)).map(|stage| stage.seconds).sum::<f64>();
        let rows = part.rows.iter().map(|place| &plan.rows[*place]);
        completions +=
            rows.filter(|row| !cached(&row.key)).map(|row| row.num_completions).sum::<usize>();
    }
    seconds += estimator.evaluation(completions).seconds;
    let when = duration(seconds);
    Some(format!("  a first table, with `{}`, after about {when}", first.regime))
}

/// Adds what checkpoints take of the disk, and which stages are too large for a card.
fn describe_sizes(lines: &mut Vec<String>, plan: &Plan, estimator: &Estimator<'_>) {
    let disk: Vec<[f64; 2]> = plan.stages.iter().map(|s| estimator.disk(&s.spec)).collect();
    let kept = disk.iter().fold(0.0, |sum, [kept, _]| sum + kept);
    let inside = disk.iter().map(|[_, inside]| *inside).fold(0.0, f64::max);
    lines.push(format!(
        "  {} of disk for checkpoints, {} more while training",
        size(kept),
        size(inside)
    ));
    let mut large: Vec<&str> = Vec::new();
    for stage in plan.stages.iter().filter(|stage| stage.memory_bytes > CARD_BYTES) {
        if !large.contains(&stage.name.as_str()) {
            large.push(&stage.name);
        }
    }
    if !large.is_empty() {
        lines.push(format!("  more than the {} of a card: {}", size(CARD_BYTES), large.join(", ")));
    }
}

/// The plan as a program reads it: sizes in bytes, times in seconds, at most and by estimate.
pub fn to_json(recipe: &Recipe, plan: &Plan, config: &VlmConfig) -> Value {
    let estimator = Estimator::new(recipe, config, plan.place);
    let stage = |stage: &PlannedStage| {
        json!({
            "name": stage.name, "kind": stage.spec.kind(), "seed": stage.seed, "num_steps": stage.num_steps,
            "num_tokens": stage.num_tokens as u64, "memory_bytes": stage.memory_bytes as u64,
            "seconds": stage.seconds as u64, "disk_bytes": estimator.disk(&stage.spec)[0] as u64,
            "regimes": planned_regimes(plan, stage),
        })
    };
    let completions = plan.rows.iter().map(|row| row.num_completions).sum();
    let evaluation = estimator.evaluation(completions);
    json!({
        "profile": recipe.name,
        "num_parameters": estimator.parameters() as u64,
        "stages": plan.stages_in_order().map(stage).collect::<Vec<_>>(),
        "evaluations": {
            "num_rows": plan.rows.len(), "num_completions": completions,
            "memory_bytes": evaluation.memory_bytes as u64, "seconds": evaluation.seconds as u64,
        },
        "assumptions": estimator.assumptions(),
    })
}

/// The first of `names` and how many more there are.
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
        let Some(objective) = stage.spec.grpo().map(|spec| &spec.objective) else { continue };
        match all.iter_mut().find(|(other, _)| *other == objective) {
            Some((_, stages)) if stages.contains(&stage.name.as_str()) => {}
            Some((_, stages)) => stages.push(&stage.name),
            None => all.push((objective, vec![&stage.name])),
        }
    }
    all
}

/// Seconds in the unit that a person would use.
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

/// Bytes in the unit that a person would use.
fn size(bytes: f64) -> String {
    match bytes {
        ..1e9 => format!("{:.0} MB", bytes / 1e6),
        1e9..10e9 => format!("{:.1} GB", bytes / 1e9),
        _ => format!("{:.0} GB", bytes / 1e9),
    }
}

/// Parameters or tokens in the unit that a person would use.
fn count(number: f64) -> String {
    if number < 1e9 { format!("{:.2} M", number / 1e6) } else { format!("{:.2} B", number / 1e9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units_of_their_own() {
        let seconds = [0.4, 89.0, 91.0, 5399.0, 5401.0, 111_600.0, 864_000.0];
        let want = ["0 s", "89 s", "2 min", "90 min", "2 h", "31 h", "10 days"];
        assert_eq!(seconds.map(duration), want);
        assert_eq!([12e6, 1.26e9, 75e9].map(size), ["12 MB", "1.3 GB", "75 GB"]);
        assert_eq!([12e3, 7.6e9].map(count), ["0.01 M", "7.60 B"]);
    }
}
