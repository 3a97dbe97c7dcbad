//! What will be done: every stage and evaluation with its key, steps, tokens, memory and time.
//!
//! Pure: does not touch files or devices. After planning nobody asks "what if unset".

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use synergy_benchmarks::grade::Grader;
use synergy_benchmarks::seed::Seed;
use synergy_models::config::VlmConfig;
use synergy_models::weights::{NamedShape, shapes};

use crate::planted::Planted;
use crate::recipe::{
    BASE, FilesSpec, GrpoSpec, Keep, ObjectiveSpec, QuestionsSpec, Recipe, Source, StageSpec,
    Trace, ValidationSpec,
};
use crate::score::RowKind;
use crate::store::Key;

/// Tokens per second, for a model of one million parameters, when training: measured on the machine
/// of `golden/LOG.md` (two cores, burn-flex). Only the estimate of time hangs on it.
const TRAIN_TOKENS_PER_S: f64 = 25_000.0;
/// The same when sampling.
const SAMPLE_TOKENS_PER_S: f64 = 20_000.0;
/// Tokens of a prompt with one picture of 16 tokens and the study's instruction.
const PROMPT_TOKENS: f64 = 62.0;
/// Tokens of an answer: about so many beside those of its steps.
const ANSWER_TOKENS: f64 = 8.0;
/// Tokens of a step in a terse and in a verbose answer.
const TERSE_STEP_TOKENS: f64 = 3.5;
const VERBOSE_STEP_TOKENS: f64 = 14.0;

fn answer_tokens([low, high]: [usize; 2], step_tokens: f64) -> f64 {
    ANSWER_TOKENS + step_tokens * (low + high) as f64 / 2.0
}

/// Everything a run will do, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub recipe_hash: String,
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

impl PlannedStage {
    /// What all its random streams are derived from.
    pub fn seed(&self) -> Seed {
        Seed::root(self.seed).fold_in(&self.name)
    }
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
    pub backend: &'a str,
    /// Hash of the sources that train and sample.
    pub code: &'a str,
    /// Hashes of files with questions, by their paths.
    pub files: BTreeMap<PathBuf, Key>,
    /// External questions that are on disk, if any.
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
    Plan { recipe_hash: recipe_hash(recipe), stages, rows }
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
            let note = crate::score::control_note(name).unwrap_or_default();
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
        "code": basis.code, "external": basis.num_external,
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
    let estimate = estimate(recipe, spec, basis.config);
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
        num_steps: num_steps(recipe, spec),
        num_tokens: estimate.num_tokens,
        memory_bytes: estimate.memory_bytes,
        seconds: estimate.seconds,
    });
    key
}

/// Examples that a stage of data leaves, at most.
fn num_examples(recipe: &Recipe, name: &str) -> usize {
    match &recipe.stages[name] {
        StageSpec::Teacher(s) => s.questions.about(),
        StageSpec::Sample(s) => {
            s.questions.about()
                * if s.keep == Keep::ShortestCorrect { 1 } else { s.num_generations }
        }
        StageSpec::Mix(s) => s.parts.iter().map(|part| num_examples(recipe, &part.data)).sum(),
        _ => 0,
    }
}

/// Steps of the loop: updates or, of data, questions; at most.
fn num_steps(recipe: &Recipe, spec: &StageSpec) -> usize {
    match spec {
        StageSpec::Pretrain(s) => s.num_steps,
        StageSpec::Sft(s) => num_examples(recipe, &s.data).div_ceil(s.batch_size) * s.num_epochs,
        StageSpec::Grpo(s) => s.num_steps,
        StageSpec::Hybrid(s) => s.grpo.num_steps,
        StageSpec::Sample(s) => s.questions.about(),
        StageSpec::Teacher(_) | StageSpec::Mix(_) | StageSpec::Merge(_) => 0,
    }
}

/// Tokens of an answer to `questions` whose steps take so many each.
fn answer_to(questions: &QuestionsSpec, step_tokens: f64) -> f64 {
    match questions.source() {
        Source::Families { hops, .. } => answer_tokens(hops, step_tokens),
        Source::Files(files) => files.answer_tokens,
    }
}

/// Tokens of an answer of the data set called `name`.
fn answers_of(recipe: &Recipe, name: &str) -> f64 {
    match &recipe.stages[name] {
        StageSpec::Teacher(s) if s.trace == Trace::Terse => {
            answer_to(&s.questions, TERSE_STEP_TOKENS)
        }
        StageSpec::Teacher(s) => answer_to(&s.questions, VERBOSE_STEP_TOKENS),
        StageSpec::Sample(s) => answer_to(&s.questions, VERBOSE_STEP_TOKENS),
        StageSpec::Mix(s) => answers_of(recipe, &s.parts[0].data),
        _ => answer_tokens([1, 1], TERSE_STEP_TOKENS),
    }
}

struct Estimate {
    num_tokens: f64,
    memory_bytes: f64,
    seconds: f64,
}

/// What a stage will take.
fn estimate(recipe: &Recipe, spec: &StageSpec, config: &VlmConfig) -> Estimate {
    let steps = num_steps(recipe, spec) as f64;
    // Answers after a long-CoT stage are long; the cap bounds them.
    let sampled_answer = |questions: &QuestionsSpec, cap: usize| {
        (cap as f64 * 0.5).min(answer_to(questions, VERBOSE_STEP_TOKENS))
    };
    let (trained, sampled, longest) = match spec {
        StageSpec::Pretrain(s) => {
            let conversation = 22.0 + s.num_turns as f64 * 60.0;
            (s.batch_size as f64 * conversation, 0.0, conversation)
        }
        StageSpec::Sft(s) => {
            let sequence = PROMPT_TOKENS + answers_of(recipe, &s.data);
            (s.batch_size as f64 * sequence, 0.0, sequence)
        }
        StageSpec::Grpo(_) | StageSpec::Hybrid(_) => {
            let s = spec.grpo().expect("both have rollouts");
            let answers =
                s.num_generations as f64 * sampled_answer(&s.questions, s.max_completion_tokens);
            let group = PROMPT_TOKENS + answers;
            // The frozen reference adds a forward pass, a third of a step.
            (s.batch_size as f64 * group * 1.33, s.batch_size as f64 * answers, group)
        }
        StageSpec::Sample(s) => {
            let answers = s.num_generations as f64 * sampled_answer(&s.questions, s.max_new_tokens);
            (0.0, answers, PROMPT_TOKENS + answers)
        }
        StageSpec::Teacher(_) | StageSpec::Mix(_) | StageSpec::Merge(_) => (0.0, 0.0, 0.0),
    };
    let parameters: usize = shapes(config).iter().map(|(_, s)| s.iter().product::<usize>()).sum();
    let scale = parameters as f64 / 1e6;
    let seconds = steps * scale * (trained / TRAIN_TOKENS_PER_S + sampled / SAMPLE_TOKENS_PER_S);
    // What one micro-batch keeps for its backward pass.
    let per_token = (config.num_hidden_layers
        * (12 * config.hidden_size + 4 * config.intermediate_size)) as f64;
    let attention = longest * (config.num_hidden_layers * config.num_attention_heads * 3) as f64;
    let micro = spec.training().map_or(1, |t| t.micro_batch_size) as f64;
    let kept = micro * longest * (per_token + attention);
    Estimate {
        num_tokens: steps * (trained + sampled),
        memory_bytes: 4.0 * (held(spec, config) as f64 + 2.0 * kept),
        seconds,
    }
}

/// Numbers that a stage holds from step to step and for an update.
fn held(spec: &StageSpec, config: &VlmConfig) -> usize {
    let shapes = shapes(config);
    let count = |shape: &NamedShape| shape.1.iter().product::<usize>();
    let all: usize = shapes.iter().map(count).sum();
    // Whether an adapter fits has been asked before there is a plan.
    let lora = spec.training().and_then(|t| t.lora_config(&shapes).ok().flatten());
    let sizes = lora.and_then(|lora| {
        let changed = lora.weights(&shapes).ok()?.into_iter().map(count).sum::<usize>();
        Some((changed, lora.factors(&shapes).ok()?.iter().map(count).sum::<usize>()))
    });
    match sizes {
        // Weights, those that it starts from, two moments, gradients.
        None => 5 * all,
        // Two moments and gradients are the factors' own; of the weights that they change there is the sum, and
        // its gradient, from which theirs are made.
        Some((changed, factors)) => all + 2 * changed + 4 * factors,
    }
}

/// The plan as a person reads it before the work. `cached` says which keys are there already.
pub fn describe(
    recipe: &Recipe,
    plan: &Plan,
    config: &VlmConfig,
    cached: &dyn Fn(&Key) -> bool,
) -> String {
    let parameters: usize = shapes(config).iter().map(|(_, s)| s.iter().product::<usize>()).sum();
    let mut text = format!(
        "profile {} ({:.2} M parameters, seeds {:?})\n{}\n",
        recipe.name,
        parameters as f64 / 1e6,
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
            "  {:<width$} {:<9} {:>4} {:>6} {:>7.2} M {:>5.0} MB {time:>8}  {}",
            stage.name,
            stage.spec.kind(),
            stage.seed,
            stage.num_steps,
            stage.num_tokens / 1e6,
            stage.memory_bytes / 1e6,
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
    let scale = parameters as f64 / 1e6;
    let hops = recipe.evaluation.hops.unwrap_or([1, 1]);
    let terse = answer_tokens(hops, TERSE_STEP_TOKENS);
    let evaluation = completions as f64 * (terse + 20.0) * scale / SAMPLE_TOKENS_PER_S;
    let _ = writeln!(
        text,
        "\n  {} evaluations, {} to do: {completions} completions, {}",
        plan.rows.len(),
        open.len(),
        duration(evaluation)
    );
    let _ = writeln!(text, "  in all about {} on two cores\n", duration(seconds + evaluation));
    text
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
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synergy_models::config::{Preset, SpecialIds};

    #[test]
    fn an_adapter_takes_less_memory_than_all_parameters() {
        let recipe = include_str!("../recipes/small.toml");
        let table = "[tables.trainings.rl]\n";
        let lora =
            "lora = { r = 4, lora_alpha = 8.0, target_modules = [\"q_proj\", \"up_proj\"] }\n";
        let ids = SpecialIds { image: 0, vision_start: 0, vision_end: 0, bos: 0, eos: 0 };
        let config = VlmConfig::preset(Preset::Small, 512, ids);
        let held = |text: &str| held(&Recipe::parse(text).unwrap().stages["grpo"], &config);
        let all = held(recipe);
        let adapter = held(&recipe.replacen(table, &format!("{table}{lora}"), 1));
        let count: usize = shapes(&config).iter().map(|(_, s)| s.iter().product::<usize>()).sum();
        assert_eq!(all, 5 * count);
        // Four layers of the decoder, 128 wide and 256 within; the tower is frozen.
        let (changed, factors) = (4 * (128 * 128 + 256 * 128), 4 * 4 * (128 + 128 + 256 + 128));
        assert_eq!(adapter, count + 2 * changed + 4 * factors);
    }
}
