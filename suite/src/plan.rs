//! What will be done: every stage and evaluation with its key, steps, tokens, memory and time.
//!
//! Pure: does not touch files or devices. A plan has no options left open.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use synergy_grade::Grader;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_report::rows::{CLONE, control_note, regime_and_control};
use synergy_report::score::RowKind;

use crate::device::Place;
use crate::key::Key;
use crate::plan::estimate::Estimator;
use crate::planted::Planted;
use crate::recipe::{
    BASE, EvaluationSpec, FilesSpec, PublishedSpec, QuestionsSpec, Recipe, RegimeSpec, Role,
    StageSpec, ValidationSpec,
};

mod describe;
mod estimate;
mod parts;
pub mod selection;

pub use describe::{describe, duration, to_json};
pub use parts::Part;
use parts::parts;
use selection::Selection;

/// Name of the row whose answers cut the families' levels. It is not a row of the results.
const LEVELS: &str = "levels";

/// Everything a run will do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Hash of the recipe's canonical form.
    pub recipe_hash: String,
    /// Where it is done; no key depends on it.
    pub place: Place,
    /// Stages in the order in which results list them, each after those that it needs.
    pub stages: Vec<PlannedStage>,
    /// Evaluations, in the order of the table.
    pub rows: Vec<PlannedRow>,
    /// Both in the order of work.
    pub parts: Vec<Part>,
    /// Names and seeds of all rows that results of the whole recipe have.
    pub whole: Vec<(String, u64)>,
    /// Seeds that the recipe does not have.
    pub extra_seeds: Vec<u64>,
    /// The part of the recipe that is planned.
    pub selection: Selection,
}

/// One stage of one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStage {
    /// Its name in the recipe.
    pub name: String,
    /// The seed of the run.
    pub seed: u64,
    /// Its settings.
    pub spec: StageSpec,
    /// Stages of its kind that it stands on.
    pub num_alike_before: usize,
    /// The checkpoint it starts from, if it needs one: a key of the store, or the base.
    pub from: Option<Key>,
    /// Checkpoints that it merges.
    pub parents: Vec<Key>,
    /// Data it reads, in the order of [`StageSpec::data`].
    pub data: Vec<Key>,
    /// Key of its artifact.
    pub key: Key,
    /// Everything that the key is a hash of.
    pub depends_on: Value,
    /// Hash of the files of a model that others have trained, if they are there.
    pub content: Option<Key>,
    /// Questions that choose among its checkpoints, if it keeps the best.
    pub validation: Option<ValidationSpec>,
    /// The rules by which an answer is right.
    pub grader: Grader,
    /// What is broken on purpose in it.
    pub planted: Option<Planted>,
    /// Regimes that need it.
    pub regimes: Vec<String>,
    /// Steps, at most where the number depends on how many answers are kept.
    pub num_steps: usize,
    /// Tokens that are trained and sampled, by estimate.
    pub num_tokens: f64,
    /// Memory at its peak, by estimate.
    pub memory_bytes: f64,
    /// Time that it takes, by estimate.
    pub seconds: f64,
}

/// One evaluation: a checkpoint, asked in one way.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRow {
    /// `base`, `greedy`, `sft`, `sft/shuffled`, …, or `levels`.
    pub name: String,
    /// Baseline, control or regime.
    pub kind: RowKind,
    /// One line about it.
    pub note: String,
    /// The seed of the run, or of the base's answers.
    pub seed: u64,
    /// The checkpoint that is asked.
    pub checkpoint: Key,
    /// How it is asked.
    pub asking: Asking,
    /// What is broken on purpose in it.
    pub planted: Option<Planted>,
    /// Key of its artifact.
    pub key: Key,
    /// Everything that the key is a hash of.
    pub depends_on: Value,
    /// Answers that are generated.
    pub num_completions: usize,
}

impl PlannedRow {
    /// Tells whether its answers cut the families' levels, instead of being a row of the results.
    pub fn cuts_levels(&self) -> bool {
        self.name == LEVELS
    }
}

/// How an evaluation asks.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Asking {
    /// True if the study's instruction is part of the prompt.
    pub template: bool,
    /// True if every question comes with another question's picture.
    pub shuffled: bool,
    /// At temperature 0.
    pub greedy: bool,
    /// Answers to each question; at least 1.
    pub num_samples: usize,
}

/// Everything besides the recipe that a cache key depends on.
#[derive(Debug, Clone)]
pub struct KeyInputs<'a> {
    /// Hash of the base's files.
    pub base: Key,
    /// Hash of the files of a second base, if one is asked too.
    pub clone: Option<Key>,
    /// The base's shape; used for estimates, not for keys.
    pub config: &'a VlmConfig,
    /// The name and version of what computes.
    pub backend: String,
    /// Where that computes; used for estimates, not for keys.
    pub place: Place,
    /// Hash of the code that trains and samples, and of the libraries below it.
    pub code: &'a str,
    /// Hashes of files with questions, and of folders of published models, by their paths.
    pub files: BTreeMap<PathBuf, Key>,
    /// Hash of the external questions, `None` if there are none.
    pub external: Option<Key>,
    /// Number of external questions; used for estimates, not for keys.
    pub num_external: usize,
    /// Number of questions of published benchmarks; used for estimates, not for keys.
    pub num_published: usize,
    /// What is broken on purpose.
    pub planted: Option<Planted>,
    /// Seed of the base's answers.
    pub base_seed: u64,
}

/// The hash of a recipe's canonical form.
pub fn recipe_hash(recipe: &Recipe) -> String {
    Key::of(&canonical(recipe)).as_str().to_owned()
}

/// All values of a recipe in the order and form that recorded hashes are of. The engine is not part of it: as the device, it
/// is where answers are computed, and not what is asked.
fn canonical(recipe: &Recipe) -> Value {
    let mut canonical = json!(Recipe { engine: None, ..recipe.clone() });
    if let Some(stages) = canonical["stages"].as_object_mut() {
        stages.values_mut().filter_map(Value::as_object_mut).for_each(as_recorded);
    }
    canonical
}

/// Gives a stage of RL with demonstrations the form that recorded hashes are of, where it was a kind of its own.
fn as_recorded(stage: &mut Map<String, Value>) {
    let Some(guidance) = stage.shift_remove("guidance") else { return };
    let weighting = &guidance["weighting"];
    let prefix = guidance.get("prefix");
    let is_linear =
        |prefix: &Value| prefix["share"]["kind"] == "linear" && prefix.get("rows").is_none();
    let is_newer = ["by_passes", "mu"].iter().any(|key| guidance.get(key).is_some())
        || weighting["kind"] != "sft"
        || weighting.get("token_weight").is_some()
        || !prefix.is_none_or(is_linear);
    if is_newer {
        stage.insert("guidance".into(), guidance);
        return;
    }
    stage.shift_remove("kind");
    let grpo = std::mem::take(stage);
    if let Some(value) = guidance["weighting"].get("mean_over") {
        stage.insert("sft_mean_over".into(), value.clone());
    }
    let until =
        guidance.get("prefix").map_or(json!(0.0), |prefix| prefix["share"]["until"].clone());
    for (key, value) in [
        ("kind", json!("hybrid")),
        ("data", guidance["data"].clone()),
        ("gate", guidance["gate"].clone()),
        ("rl_on_gated", guidance["keep_rl"].clone()),
        ("sft_weight", guidance["weighting"]["weight"].clone()),
        ("prefix_until", until),
        ("grpo", Value::Object(grpo)),
    ] {
        stage.insert(key.into(), value);
    }
}

/// Plans `recipe` from a base.
pub fn plan(recipe: &Recipe, inputs: &KeyInputs<'_>) -> Plan {
    plan_selected(recipe, inputs, &Selection::default())
}

/// Plans what is selected of `recipe`. Every stage and row is planned as it is for the whole recipe, key and all.
pub fn plan_selected(recipe: &Recipe, inputs: &KeyInputs<'_>, selection: &Selection) -> Plan {
    let mut stages: Vec<PlannedStage> = Vec::new();
    let mut rows = base_rows(recipe, inputs);
    let num_base = rows.len();
    let (seeds, extra_seeds) = (selection.seeds(recipe), selection.extra_seeds(recipe));
    for regime in &recipe.regimes {
        for &seed in recipe.seeds.iter().chain(&extra_seeds) {
            let mut keys = BTreeMap::from([(BASE, inputs.base.clone())]);
            for name in recipe.order(&regime.stage) {
                let key = add_stage(&mut stages, recipe, name, seed, &keys, &regime.name, inputs);
                keys.insert(name, key);
            }
            if regime.stage != BASE {
                let last = &keys[regime.stage.as_str()];
                rows.extend(regime_rows(recipe, inputs, regime, seed, last));
            }
        }
    }
    let is_of_recipe = |(place, row): &(usize, &PlannedRow)| {
        !row.cuts_levels() && (*place < num_base || recipe.seeds.contains(&row.seed))
    };
    let whole = rows.iter().enumerate().filter(is_of_recipe);
    let whole = whole.map(|(_, row)| (row.name.clone(), row.seed)).collect();
    stages.retain(|stage| {
        seeds.contains(&stage.seed) && stage.regimes.iter().any(|name| selection.takes(name))
    });
    let of_regimes = rows.split_off(num_base);
    rows.extend(of_regimes.into_iter().filter(|row| {
        seeds.contains(&row.seed) && selection.takes(regime_and_control(&row.name).0)
    }));
    Plan {
        recipe_hash: recipe_hash(recipe),
        place: inputs.place,
        parts: parts(recipe, &seeds, &stages, &rows, num_base),
        stages,
        rows,
        whole,
        extra_seeds,
        selection: selection.clone(),
    }
}

/// How a row asks unless it differs on purpose: by the recipe, with template and picture.
fn default_asking(recipe: &Recipe) -> Asking {
    Asking {
        template: true,
        shuffled: false,
        greedy: false,
        num_samples: recipe.evaluation.num_samples,
    }
}

/// Answers to each question in the base's own row.
fn base_samples(recipe: &Recipe) -> usize {
    let of_base = recipe.regimes.iter().filter(|regime| regime.stage == BASE);
    of_base.filter_map(|regime| regime.num_samples).max().unwrap_or(recipe.evaluation.num_samples)
}

/// The base and its controls. Levels of the families are cut on draws of their own, so that an unchanged model
/// seems neither to lose on easy questions nor to gain on hard ones.
fn base_rows(recipe: &Recipe, inputs: &KeyInputs<'_>) -> Vec<PlannedRow> {
    let default = default_asking(recipe);
    let levels = |(_, num_samples)| (LEVELS, Asking { num_samples, ..default });
    let rows = [
        ("base", Asking { num_samples: base_samples(recipe), ..default }),
        ("null", default),
        ("greedy", Asking { greedy: true, num_samples: 1, ..default }),
        ("no_template", Asking { template: false, ..default }),
        ("shuffled", Asking { shuffled: true, ..default }),
    ];
    let rows = recipe.evaluation.drawn().map(levels).into_iter().chain(rows);
    let rows = rows.map(|(name, asking)| (name, asking, &inputs.base));
    let clone = inputs.clone.as_ref().map(|clone| (CLONE, default, clone));
    let rows = rows.chain(clone).map(|(name, asking, checkpoint)| Row {
        name: name.to_owned(),
        kind: if name == "base" { RowKind::Baseline } else { RowKind::Control },
        note: control_note(name).unwrap_or_default(),
        seed: inputs.base_seed,
        checkpoint,
        asking,
    });
    rows.map(|row| row.planned(recipe, inputs)).collect()
}

/// The model that a regime of one seed ends with, and its controls.
fn regime_rows(
    recipe: &Recipe,
    inputs: &KeyInputs<'_>,
    regime: &RegimeSpec,
    seed: u64,
    checkpoint: &Key,
) -> Vec<PlannedRow> {
    let default = default_asking(recipe);
    let asking =
        Asking { num_samples: regime.num_samples.unwrap_or(default.num_samples), ..default };
    let row = Row {
        name: regime.name.clone(),
        kind: RowKind::Regime,
        note: &regime.note,
        seed,
        checkpoint,
        asking,
    };
    let name = format!("{}/shuffled", regime.name);
    let shuffled = Row {
        note: control_note(&name).unwrap_or_default(),
        name,
        kind: RowKind::Control,
        asking: Asking { shuffled: true, num_samples: 1, ..asking },
        ..row.clone()
    };
    let name = format!("{}/greedy", regime.name);
    let greedy = regime.greedy.unwrap_or_default().then(|| Row {
        note: control_note(&name).unwrap_or_default(),
        name,
        kind: RowKind::Control,
        asking: Asking { greedy: true, num_samples: 1, ..asking },
        ..row.clone()
    });
    [row, shuffled].into_iter().chain(greedy).map(|row| row.planned(recipe, inputs)).collect()
}

/// A row before its key is known; fields as in [`PlannedRow`].
#[derive(Clone)]
struct Row<'a> {
    name: String,
    kind: RowKind,
    note: &'a str,
    seed: u64,
    checkpoint: &'a Key,
    asking: Asking,
}

impl Row<'_> {
    fn planned(self, recipe: &Recipe, inputs: &KeyInputs<'_>) -> PlannedRow {
        let Row { name, kind, note, seed, checkpoint, asking } = self;
        let planted = inputs.planted.filter(|planted| planted.is_in_answers());
        // What is scored of the answers changes none of them.
        let evaluation = EvaluationSpec { scored_answers: None, ..recipe.evaluation.clone() };
        let mut depends_on = json!({
            "planted": planted, "kind": "completions", "row": name, "seed": seed, "checkpoint": checkpoint,
            "asking": asking, "evaluation": evaluation, "prompt": recipe.prompt,
            "backend": inputs.backend, "code": inputs.code, "external": inputs.external,
        });
        if let Some(engine) = &recipe.engine {
            depends_on["engine"] = engine.identity();
        }
        let benchmarks = &recipe.evaluation.benchmarks;
        if !benchmarks.is_empty() {
            let files: Vec<_> = benchmarks.iter().map(|b| inputs.files.get(&b.path)).collect();
            depends_on["files"] = json!(files);
        }
        let drawn = recipe.evaluation.drawn().map_or(0, |(drawn, _)| drawn.per_family);
        // The levels of the others are published.
        let others = if name == LEVELS { 0 } else { inputs.num_external + inputs.num_published };
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
}

/// Plans the stage `name`, unless another regime needs it too, and returns its key. `keys` has all it stands on.
fn add_stage(
    stages: &mut Vec<PlannedStage>,
    recipe: &Recipe,
    name: &str,
    seed: u64,
    keys: &BTreeMap<&str, Key>,
    regime: &str,
    inputs: &KeyInputs<'_>,
) -> Key {
    let spec = &recipe.stages[name];
    let weights = |role| spec.weights(role).into_iter().map(|name| keys[name].clone());
    let from = weights(Role::Start).next();
    let parents: Vec<Key> = weights(Role::Parent).chain(weights(Role::Scorer)).collect();
    let data: Vec<Key> = spec.data().iter().map(|input| keys[input.stage].clone()).collect();
    let validation = recipe.validation.clone().filter(|_| spec.keeps_best());
    let planted = inputs.planted.filter(|p| spec.grpo().is_some() && p.is_in_rollouts());
    let mut depends_on = json!({
        "planted": planted, "kind": "stage", "name": name, "spec": spec, "questions": spec.questions(),
        "reward": spec.reward(), "training": spec.training(), "optimizer": spec.optimizer(),
        "validation": validation, "grader": recipe.grader(),
        "from": from, "parents": parents, "data": data, "seed": seed, "prompt": recipe.prompt,
        "base": inputs.base, "backend": inputs.backend, "code": inputs.code,
    });
    let asked = spec.questions().and_then(QuestionsSpec::files);
    let judged = validation.as_ref().and_then(ValidationSpec::files);
    if asked.or(judged).is_some() {
        let hash = |files: Option<&FilesSpec>| files.map(|files| inputs.files.get(&files.path));
        depends_on["files"] = json!([hash(asked), hash(judged)]);
    }
    let asks =
        spec.grpo().is_some() || matches!(spec, StageSpec::Sample(_)) || validation.is_some();
    if let Some(engine) = recipe.engine.as_ref().filter(|_| asks) {
        depends_on["engine"] = engine.identity();
    }
    let content = spec.published().and_then(|spec| inputs.files.get(&spec.path)).cloned();
    if let Some(spec) = spec.published() {
        depends_on = of_others(spec, content.as_ref(), seed, inputs);
    }
    let key = Key::of(&depends_on);
    if let Some(stage) = stages.iter_mut().find(|s| s.key == key) {
        stage.regimes.push(regime.to_owned());
        return key;
    }
    let is_alike = |needed: &&str| *needed != name && recipe.stages[*needed].kind() == spec.kind();
    let num_alike_before = recipe.order(name).iter().filter(|needed| is_alike(needed)).count();
    let estimate = Estimator::new(recipe, inputs.config, inputs.place).stage(spec);
    stages.push(PlannedStage {
        name: name.to_owned(),
        seed,
        spec: spec.clone(),
        num_alike_before,
        from,
        parents,
        data,
        key: key.clone(),
        depends_on,
        content,
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

/// Everything that a model of others depends on: what its files hold, wherever they lie, and the base, by whose tokenizer it
/// is asked. Without the files, in a plan that is only shown, their place stands for them.
fn of_others(
    spec: &PublishedSpec,
    content: Option<&Key>,
    seed: u64,
    inputs: &KeyInputs<'_>,
) -> Value {
    let files = content.map_or_else(|| json!(spec.path), |content| json!(content));
    json!({"kind": "published", "files": files, "seed": seed, "base": inputs.base})
}

#[cfg(test)]
mod tests {
    use super::*;
    use synergy_models::qwen2_5_vl::config::{Preset, SpecialIds};

    #[test]
    fn a_model_of_others_is_known_by_its_content() {
        let text = include_str!("../../tests/recipes/tiny-study.toml");
        let recipe = Recipe::parse(text).unwrap();
        let ids =
            SpecialIds { image: 0, vision_start: 0, vision_end: 0, bos: 0, eos: 0, video: None };
        let config = VlmConfig::preset(Preset::Nano, 512, ids);
        let inputs = |base: &str, files: &[(&str, &str)]| KeyInputs {
            base: Key::of(&json!(base)),
            clone: None,
            config: &config,
            backend: "flex".to_owned(),
            place: Place::Slices,
            code: "code",
            files: files.iter().map(|(path, hash)| (path.into(), Key::of(&json!(hash)))).collect(),
            external: None,
            num_external: 0,
            num_published: 0,
            planted: None,
            base_seed: 0,
        };
        let key = |recipe: &Recipe, inputs: &KeyInputs<'_>, stage: &str| {
            let plan = plan(recipe, inputs);
            plan.stages.into_iter().find(|planned| planned.name == stage).unwrap().key
        };
        let both = [("others/sft", "1"), ("others/rl", "2")];
        let of = |files: &[(&str, &str)], stage: &str| key(&recipe, &inputs("base", files), stage);
        let (sft, merged) = (of(&both, "sft_published"), of(&both, "merged"));
        // Other files, or another base with another tokenizer, are another model; so is what stands on it.
        let changed = [("others/sft", "3"), ("others/rl", "2")];
        assert!(of(&changed, "sft_published") != sft && of(&changed, "merged") != merged);
        assert_eq!(of(&changed, "rl_published"), of(&both, "rl_published"));
        assert_ne!(key(&recipe, &inputs("other", &both), "sft_published"), sft);
        // Another folder is not, nor what its owners say of it.
        let moved = text.replace("others/sft", "moved").replace("[\"sft\"]", "[\"sft\", \"rl\"]");
        let moved = Recipe::parse(&moved).unwrap();
        let files = [("moved", "1"), ("others/rl", "2")];
        assert_eq!(key(&moved, &inputs("base", &files), "sft_published"), sft);
        // Before files are there, folders tell stages apart.
        let plan = plan(&recipe, &inputs("base", &[]));
        let published = plan.stages.iter().filter(|stage| stage.spec.published().is_some());
        assert_eq!(published.count(), 2);
    }

    #[test]
    fn stages_with_demonstrations_are_hashed_as_when_they_were_a_kind_of_their_own() {
        let recipe = Recipe::parse(include_str!("../recipes/smoke.toml")).unwrap();
        let canonical = canonical(&recipe);
        let stage = canonical["stages"]["interleaved"].as_object().unwrap();
        let keys: Vec<&str> = stage.keys().map(String::as_str).collect();
        let want = ["kind", "data", "gate", "rl_on_gated", "sft_weight", "prefix_until", "grpo"];
        assert_eq!(keys, want);
        let grpo = stage["grpo"].as_object().unwrap();
        assert_eq!(grpo.keys().next().map(String::as_str), Some("from"));
        assert!(!grpo.contains_key("kind") && !grpo.contains_key("guidance"));
        assert_eq!((&stage["kind"], &stage["sft_weight"]), (&json!("hybrid"), &json!(1.0)));
        let until = |name: &str| &canonical["stages"][name]["prefix_until"];
        assert_eq!([until("interleaved"), until("progressive")], [&json!(0.0), &json!(0.7)]);
    }
}
