//! `docs/RECIPES.md`: every key of a recipe, from the types that read recipes and their documentation.
//!
//! A key that is added there is missing from the document until `UPDATE_SCHEMA=1` has written it again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use synergy_benchmarks::families::{MAX_HOPS, NUM_CELLS};
use synergy_suite::recipe::VERSION;

/// A heading, the keys' types below it, and the file that each stands in.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    ("The file itself", &[("recipe.rs", "Recipe")]),
    ("`[model]`", &[("recipe.rs", "ModelSpec")]),
    ("`[prompt]`", &[("recipe.rs", "PromptSpec")]),
    ("`[prompt.registers]`", &[("recipe/registers.rs", "RegistersSpec")]),
    (
        "`[engine]`, and the file of an engine",
        &[("recipe/engine.rs", "EngineSpec"), ("recipe/engine.rs", "Correction")],
    ),
    (
        "`[tables.questions.NAME]`",
        &[("recipe/tables.rs", "QuestionsSpec"), ("recipe/tables.rs", "FilesSpec")],
    ),
    ("`[tables.rewards.NAME]`", &[("reward.rs", "RewardSpec"), ("reward.rs", "LengthReward")]),
    (
        "`[tables.trainings.NAME]`",
        &[("recipe/tables.rs", "TrainingSpec"), ("recipe/tables.rs", "LoraSpec")],
    ),
    ("`[tables.optimizers.NAME]`", &[("recipe/tables.rs", "OptimizerSpec")]),
    (
        "`[validation]`",
        &[
            ("recipe/tables.rs", "ValidationSpec"),
            ("recipe/tables.rs", "ValidationQuestions"),
            ("recipe/tables.rs", "Drawn"),
        ],
    ),
    ("`[gate]`", &[("../report/src/gate.rs", "GateSpec")]),
    (
        "`[stages.NAME]` with `kind = \"pretrain\"`",
        &[
            ("recipe/stage/pretrain.rs", "PretrainSpec"),
            ("recipe/stage/pretrain.rs", "RegisterWeights"),
        ],
    ),
    ("`[stages.NAME]` with `kind = \"teacher\"`", &[("recipe/stage/teacher.rs", "TeacherSpec")]),
    ("`[stages.NAME]` with `kind = \"sample\"`", &[("recipe/stage/sample.rs", "SampleSpec")]),
    (
        "`[stages.NAME]` with `kind = \"mix\"`",
        &[("recipe/stage/mix.rs", "MixSpec"), ("recipe/stage/mix.rs", "MixPart")],
    ),
    (
        "`[stages.NAME]` with `kind = \"sft\"`",
        &[("recipe/stage/sft.rs", "SftSpec"), ("recipe/objective.rs", "TokenWeight")],
    ),
    (
        "`[stages.NAME]` with `kind = \"grpo\"`",
        &[
            ("recipe/stage/grpo.rs", "GrpoSpec"),
            ("recipe/objective.rs", "ObjectiveSpec"),
            ("recipe/objective.rs", "Signed"),
            ("recipe/stage/grpo.rs", "Distillation"),
            ("recipe/stage/grpo.rs", "Shown"),
            ("recipe/stage/guidance.rs", "Guidance"),
            ("recipe/stage/guidance.rs", "PassWeights"),
            ("recipe/stage/guidance.rs", "Mu"),
            ("recipe/stage/guidance.rs", "Weighting"),
            ("recipe/stage/guidance.rs", "RowGain"),
            ("recipe/stage/guidance.rs", "Prefix"),
            ("recipe/stage/guidance.rs", "PrefixShare"),
        ],
    ),
    (
        "`[stages.NAME]` with `kind = \"merge\"`",
        &[("recipe/stage/merge.rs", "MergeStageSpec"), ("../../models/src/merge.rs", "MergeSpec")],
    ),
    (
        "`[stages.NAME]` with `kind = \"published\"`",
        &[("recipe/stage/published.rs", "PublishedSpec")],
    ),
    ("`[[regimes]]`", &[("recipe.rs", "RegimeSpec")]),
    (
        "`[evaluation]`",
        &[
            ("recipe/evaluation.rs", "EvaluationSpec"),
            ("recipe/evaluation.rs", "FamilyQuestions"),
            ("recipe/tables.rs", "Drawn"),
            ("recipe/tables.rs", "BenchmarkSpec"),
        ],
    ),
    (
        "Words",
        &[
            ("recipe/engine.rs", "EngineKind"),
            ("recipe/engine.rs", "CorrectionLevel"),
            ("recipe/objective.rs", "Advantage"),
            ("recipe/objective.rs", "RatioLevel"),
            ("recipe/objective.rs", "KlEstimator"),
            ("recipe/objective.rs", "KlPlace"),
            ("recipe/objective.rs", "Aggregation"),
            ("recipe/objective.rs", "MeanOver"),
            ("recipe/stage/teacher.rs", "Trace"),
            ("recipe/registers.rs", "AskedRegister"),
            ("recipe/stage/sample.rs", "Keep"),
            ("recipe/stage/sft.rs", "KeptCheckpoint"),
            ("recipe/stage/sft.rs", "Accumulation"),
            ("../report/src/score/lineage.rs", "Way"),
            ("reward.rs", "AnswerRule"),
            ("../../models/src/merge.rs", "Method"),
            ("../../models/src/merge.rs", "Rescale"),
            ("../../models/src/qwen2_5_vl/config.rs", "Preset"),
            ("../../benchmarks/src/families.rs", "Split"),
        ],
    ),
];

const HEAD: &str = "# Every key of a recipe

A recipe is a TOML file in `suite/recipes`; `small.toml` has the reason beside each of its numbers, and [REGIMES.md](REGIMES.md) says what stages are for.
There are no defaults but those named here: a key without \"may be left out\" must be there, and an unknown one is refused with its line.
`extends = \"other.toml\"` at the top lays a file over another one of the same folder, key by key; `like = \"other\"` in a \
stage lays it over another stage. A table that gives another `kind` takes nothing of the one below it.
Written from the types that read recipes: `UPDATE_SCHEMA=1 cargo nextest run -p synergy-suite keys`.
";

/// A struct or enum as it is written.
#[derive(Default)]
struct Item {
    doc: String,
    tag: Option<String>,
    entries: Vec<Entry>,
}

/// A field or a variant.
#[derive(Default)]
struct Entry {
    name: String,
    doc: String,
    /// The type of a field, or of a variant that holds one.
    kind: String,
    is_flat: bool,
    /// Fields of a variant.
    inner: Vec<Entry>,
}

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of `name = "…"` among attributes.
fn value_of(attributes: &str, name: &str) -> Option<String> {
    let rest = attributes.split_once(&format!("{name} = \""))?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// Reads the struct or enum `name`; rustfmt has put each entry on lines of its own.
fn item(source: &str, name: &str) -> Item {
    let lines: Vec<&str> = source.lines().collect();
    let heads = [format!("pub struct {name} {{"), format!("pub enum {name} {{")];
    let head = lines.iter().position(|line| heads.iter().any(|head| line == head));
    let head = head.unwrap_or_else(|| panic!("there is no type `{name}`"));
    let mut item = Item::default();
    let before = lines[..head]
        .iter()
        .rev()
        .take_while(|line| ["///", "#", " ", ")"].iter().any(|start| line.starts_with(start)));
    let mut before: Vec<&&str> = before.collect();
    before.reverse();
    let mut attributes = String::new();
    for line in before {
        match line.strip_prefix("///") {
            Some(doc) => item.doc.push_str(doc),
            None => attributes.push_str(line),
        }
    }
    item.tag = value_of(&attributes, "tag");
    let is_snake = attributes.contains("rename_all = \"snake_case\"");
    let (mut doc, mut attributes) = (String::new(), String::new());
    for line in lines[head + 1..].iter().take_while(|line| **line != "}") {
        let text = line.trim();
        if let Some(more) = text.strip_prefix("///") {
            doc.push_str(more);
        } else if text.starts_with('#') {
            attributes.push_str(text);
        } else if let Some(entry) = entry(text, is_snake, &attributes) {
            let entry = Entry { doc: std::mem::take(&mut doc), ..entry };
            attributes.clear();
            match line.starts_with("        ") {
                true => item.entries.last_mut().expect("a variant is open").inner.push(entry),
                false => item.entries.push(entry),
            }
        }
    }
    item
}

/// Reads a line that begins a field or a variant.
fn entry(text: &str, is_snake: bool, attributes: &str) -> Option<Entry> {
    let text = text.strip_prefix("pub ").unwrap_or(text);
    let first = text.chars().next()?;
    if first.is_uppercase() {
        let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
        let name = if is_snake { snake(&text[..end]) } else { text[..end].to_lowercase() };
        let name = value_of(attributes, "rename").unwrap_or(name);
        let kind = text[end..].trim_matches(['(', ')', ',', ' ', '{']).to_owned();
        return Some(Entry { name, kind, ..Entry::default() });
    }
    let (name, kind) = text.split_once(": ").filter(|_| first.is_alphabetic())?;
    let name = value_of(attributes, "rename").unwrap_or_else(|| name.to_owned());
    let is_flat = attributes.contains("flatten");
    Some(Entry { name, kind: kind.trim_end_matches(',').to_owned(), is_flat, ..Entry::default() })
}

/// The documentation as Markdown in a cell of a table, without links into the code.
fn cell(doc: &str) -> String {
    let mut text =
        doc.trim().replace("[`", "`").replace("`]", "`").replace('|', "\\|").replace("Spec`", "`");
    let numbers = [("MAX_HOPS", MAX_HOPS), ("NUM_CELLS", NUM_CELLS), ("VERSION", VERSION as usize)];
    for (name, number) in numbers {
        text = text.replace(&format!("`{name}`"), &number.to_string());
    }
    text.replace("`Split::Train`", "`train`")
}

/// What stands behind a key's `=`, in words, and whether it may be left out.
fn words(kind: &str) -> (String, bool) {
    let inside = |outer: &str| kind.strip_prefix(outer)?.strip_suffix('>');
    if let Some(inner) = inside("Option<") {
        return (words(inner).0, true);
    }
    if let Some(inner) = inside("Box<") {
        return (words(inner).0, false);
    }
    if inside("Named<").is_some() {
        return ("name of a table".to_owned(), false);
    }
    if let Some(inner) = inside("Vec<") {
        return (format!("list of: {}", words(inner).0), false);
    }
    if kind == "BTreeMap<String, String>" {
        return ("texts by name".to_owned(), true);
    }
    if let Some(inner) = inside("BTreeMap<String, ") {
        return (format!("tables by name: {}", words(inner).0), false);
    }
    if let Some((inner, count)) =
        kind.strip_prefix('[').and_then(|k| k.strip_suffix(']')?.split_once("; "))
    {
        return (format!("list of {count}: {}", words(inner).0), false);
    }
    let word = match kind {
        "f64" => "number",
        "usize" | "u32" | "u64" => "whole number",
        "bool" => "true or false",
        "String" => "text",
        "PathBuf" => "path",
        "ComputeDtype" => "`f32` or `bf16`",
        "Grader" => "name of a grader",
        "StageSpec" | "Tables" => "tables, below",
        other => return (other.trim_end_matches("Spec").to_owned(), false),
    };
    (word.to_owned(), false)
}

fn table(out: &mut String, entries: &[Entry]) {
    out.push_str("\n| key | value | what it is |\n|---|---|---|\n");
    for entry in entries.iter().filter(|entry| !entry.is_flat) {
        let (kind, is_optional) = words(&entry.kind);
        let optional = if is_optional { ", may be left out" } else { "" };
        let _ = writeln!(out, "| `{}` | {kind}{optional} | {} |", entry.name, cell(&entry.doc));
    }
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    for (heading, types) in SECTIONS {
        let _ = write!(out, "\n## {heading}\n");
        for (file, name) in *types {
            let item = item(&source(file), name);
            let title = name.trim_end_matches("Spec");
            let _ = write!(out, "\n**{title}.** {}\n", cell(&item.doc));
            let is_enum =
                item.entries.iter().any(|entry| entry.kind.is_empty() || !entry.inner.is_empty());
            if !is_enum {
                table(&mut out, &item.entries);
                continue;
            }
            if item.entries.iter().all(|entry| entry.inner.is_empty() && entry.kind.is_empty()) {
                out.push_str("\n| word | what it means |\n|---|---|\n");
                for entry in &item.entries {
                    let _ = writeln!(out, "| `{}` | {} |", entry.name, cell(&entry.doc));
                }
                continue;
            }
            for entry in &item.entries {
                let tag = item.tag.as_ref().map(|tag| format!("`{tag} = \"{}\"`: ", entry.name));
                let _ = write!(out, "\n{}{}\n", tag.unwrap_or_default(), cell(&entry.doc));
                if !entry.inner.is_empty() {
                    table(&mut out, &entry.inner);
                }
            }
        }
    }
    out
}

#[test]
fn the_document_of_keys_is_what_the_types_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/RECIPES.md");
    let document = document();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == document, "{} is stale: UPDATE_SCHEMA=1 writes it again", path.display());
}

/// Types of keys are found by hand above; a recipe shows whether one was forgotten.
#[test]
fn every_key_of_the_recipes_is_in_the_document() {
    let document = document();
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut num_seen = 0;
    for entry in std::fs::read_dir(recipes).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().map(str::trim) {
            let Some((key, _)) = line.split_once(" = ") else { continue };
            if key.is_empty()
                || !key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
            {
                continue;
            }
            num_seen += 1;
            assert!(
                document.contains(&format!("| `{key}` |"))
                    || ["kind", "extends", "like"].contains(&key),
                "`{key}`"
            );
        }
    }
    assert!(num_seen > 300, "{num_seen}");
}
