//! The suite as a person meets it: its binary, run in a project of its own.
//!
//! Does not know how anything is done: nothing here may need a change when only the inside does.
//! One test binary, so that burn is linked once.

mod benchmarks;
mod bf16;
mod checkpoint;
mod command_line;
mod determinism;
mod devices;
mod end_to_end;
mod engine;
mod evaluate;
mod faults;
mod golden;
mod kept_base;
mod keys;
mod leaderboard;
mod merge;
mod own_data;
mod parity;
mod partial;
mod published;
mod recipe;
mod resume;
mod two_processes;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use synergy_suite::key::Key;
use synergy_suite::run::store::Store;
use synergy_tests::{Finished, Project, TINY, TINY_BASE};

/// What no two runs or machines share: keys of the store, steps at which somebody stopped, the
/// numbers of the system's errors.
const FILTERS: [(&str, &str); 3] =
    [(r"\b[0-9a-f]{24}\b", "[key]"), (r"at step \d+", "at step [n]"), (r" \(os error \d+\)", "")];

/// Compares the error of a refused command with an inline snapshot.
macro_rules! assert_refused {
    ($finished:expr, @$snapshot:literal) => {{
        let said = crate::refusal(&$finished);
        insta::with_settings!({ filters => crate::FILTERS }, {
            insta::assert_snapshot!(said, @$snapshot);
        });
    }};
}
pub(crate) use assert_refused;

/// A project with the recipe `tiny` and the binary that was built with this test.
fn project() -> Project {
    Project::new(env!("CARGO_BIN_EXE_synergy-under-test"))
}

/// Returns the error of a command that could not finish: exit code 2, nothing on standard output, one line with the
/// cause and one with a hint at the end of standard error, and nothing half-written.
#[track_caller]
fn refusal(finished: &Finished) -> String {
    let Finished { code, stdout, stderr, half_written, .. } = finished;
    assert_eq!((*code, stdout.as_str()), (2, ""), "{stderr}");
    let at = stderr.find("error: ").expect("an error is named");
    let said = &stderr[at..];
    assert!(at == 0 || stderr[..at].ends_with('\n'), "an error begins its line:\n{stderr}");
    let lines: Vec<&str> = said.lines().collect();
    let [cause, hint] = lines[..] else { panic!("a cause and a hint:\n{said}") };
    let hint = hint.strip_prefix("hint: ").unwrap_or_default();
    assert!(cause.len() > "error: ".len() && !hint.is_empty(), "a cause and a hint:\n{said}");
    assert!(half_written.is_empty(), "half-written: {half_written:?}");
    said.to_owned()
}

/// Asserts that `value` follows the schema `golden/schema/<name>.schema.json`.
#[track_caller]
fn assert_follows_schema(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join(format!("../golden/schema/{name}.schema.json"));
    let schema = std::fs::read_to_string(path).expect("the schema is kept");
    let schema = serde_json::from_str(&schema).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    let faults: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Runs a command that has to succeed.
#[track_caller]
fn succeed(project: &Project, arguments: &[&str]) -> Finished {
    let finished = project.run(arguments);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished
}

/// Trains the base of `vocab_size` entries that recipe `kept` starts from, in two steps.
fn kept_base(project: &Project, vocab_size: &str) {
    let fresh = "[model]\nkind = \"fresh\"\npreset = \"nano\"\nvocab_size = 400\n\
                 initializer_range = 0.06\n";
    let kept = "[model]\nkind = \"kept\"\npath = \"golden/base/nano\"\n\
                recipe = \"suite/recipes/tiny-base.toml\"\n";
    project.recipe(TINY, "kept", &[(fresh, kept)]);
    project.recipe(
        TINY_BASE,
        "tiny-base",
        &[("vocab_size = 400", &format!("vocab_size = {vocab_size}"))],
    );
    succeed(project, &["train-base", "--recipe", "tiny-base"]);
}

/// Asserts that every artifact of the project's store is whole, that every other file that looks
/// finished is, and, if `tidy`, that nothing is left that was never finished.
#[track_caller]
fn assert_whole(project: &Project, tidy: bool) {
    let store = Store::open(&project.path("runs/store")).expect("the store can be opened");
    let files = project.files("runs");
    let artifacts = files.keys().filter_map(|path| path.strip_prefix("store/")?.split_once('/'));
    let keys: BTreeSet<&str> = artifacts.map(|(key, _)| key).collect();
    for key in keys.iter().filter(|key| !key.starts_with('.')) {
        assert!(store.get(&self::key(key)).expect("an artifact is whole").is_some());
    }
    for (path, bytes) in files.iter().filter(|(path, _)| !path.starts_with("store/")) {
        let lines: Vec<&[u8]> = match path.rsplit_once('.') {
            Some((_, "json")) => vec![bytes],
            Some((_, "jsonl")) => bytes.split(|byte| *byte == b'\n').collect(),
            _ => Vec::new(),
        };
        for line in lines.into_iter().filter(|line| !line.is_empty()) {
            let parsed: Result<Value, _> = serde_json::from_slice(line);
            assert!(parsed.is_ok(), "half of `{path}` is there: {parsed:?}");
        }
    }
    let hidden = |path: &&String| path.starts_with('.') || path.contains("/.");
    let left: Vec<&String> = files.keys().filter(hidden).collect();
    assert!(!tidy || left.is_empty(), "left behind: {left:?}");
}

/// The key with this text.
fn key(text: &str) -> Key {
    serde_json::from_value(json!(text)).expect("a key is a text")
}

/// The keys of the finished stages called `stage`, oldest first.
fn stage_keys(project: &Project, recipe: &str, stage: &str) -> Vec<String> {
    let events = project.events(recipe);
    let done = events.iter().filter(|e| e["kind"] == "stage_done" && e["stage"] == stage);
    done.map(|e| e["key"].as_str().expect("a key is a text").to_owned()).collect()
}
