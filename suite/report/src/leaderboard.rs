//! The leaderboard: what one run publishes, and how the leaderboards of many runs are read, checked, joined and written.
//!
//! This module does not know how a run's figures came about: what it reads was written by a suite, perhaps on another
//! machine and edited since, so nothing in it is trusted.
//!
//! Decisions:
//! - Runs share a page only if they answer one question: same recipe, questions, grader, base
//!   and schema version. Everything else (machine, commit, backend, date) is what is compared.
//! - A run is named by a hash of its provenance, not of its figures: the same run with a figure
//!   changed is the same run twice, and refused.
//! - A run that lacks rows or seeds of its recipe stands on no page: what is missing may have been left out.
//! - Nothing is averaged over runs: two rows of one name stay two entries, each with its run.
//! - All causes are collected, so that one look shows everything that needs repair.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use synergy_hint::{Hinted, Several};

use crate::text::partial::FEW;

mod contradictions;
mod page;
mod rounding;
mod run;

pub use page::page;
pub use run::{
    Base, BoardCell, BoardRow, LEADERBOARD_VERSION, LevelShare, Method, Origin, OutcomeShares, Run,
    SeedFigures, WordRates,
};

/// Version of the JSON of many runs.
pub const LEADERBOARDS_VERSION: u32 = 2;

/// What the JSON of many runs says that it is; the leaderboard of one run says nothing.
pub const KIND: &str = "leaderboards";

/// More faults of one file than a person reads.
const FAULTS_SHOWN: usize = 5;

const HINT_FILE: &str = "take leaderboard.json from the run's folder again";
const HINT_VERSION: &str =
    "run `cargo xtask synergy score` with the suite that reads it, or use the suite that wrote it";
const HINT_APART: &str =
    "runs share a page only with one recipe, one set of questions, one grader and one base";
const HINT_PARTIAL: &str = "finish it: `cargo xtask reproduce` goes on from what is there";
const HINT_TWICE: &str = "name each run once";
const HINT_CONTRADICTION: &str = "take leaderboard.json from the run's folder again, or run `cargo xtask synergy score` to judge the answers again";
/// The hint where no file is given or one cannot be read.
pub const HINT_NONE: &str = "name the leaderboard.json of at least one run";

/// A run and the file it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sourced {
    /// Name of the file, for messages.
    pub source: String,
    /// The leaderboard in it.
    pub run: Run,
}

/// Runs of one recipe over one set of questions with one grader and one base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Synergy leaderboards, version 2", extend("$id" = "urn:synergy:leaderboards:2"))]
pub struct Leaderboards {
    /// Version of this format.
    #[schemars(extend("const" = LEADERBOARDS_VERSION))]
    schema_version: u32,
    /// What the file is.
    #[schemars(extend("const" = KIND))]
    kind: String,
    /// The runs, ordered by date, then by name.
    #[schemars(length(min = 1))]
    runs: Vec<Entry>,
}

/// One run under its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The run's name: a hash of its provenance, profile, recipe and base.
    #[schemars(regex(pattern = "^[0-9a-f]{12}$"))]
    pub run: String,
    /// What the run published, by `leaderboard.schema.json`.
    #[schemars(with = "Value", extend("$ref" = "urn:synergy:leaderboard:3"))]
    pub leaderboard: Run,
}

impl Leaderboards {
    /// The runs, by date, then by name.
    pub fn runs(&self) -> &[Entry] {
        &self.runs
    }

    /// The text that is written.
    ///
    /// # Panics
    /// Never: the value is plain data, and a number that is not finite was refused when it was read.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data");
        text.push('\n');
        text
    }
}

/// Reads the leaderboard of one run or of many; `source` names the file in messages.
///
/// # Errors
/// If the text is cut off, has a number that is not finite, has another version or form, or contradicts itself; every
/// contradiction is listed.
pub fn read(text: &str, source: &str) -> Result<Vec<Sourced>, Several> {
    let fault = |cause: String, hint| Several(vec![Hinted::new(cause, hint)]);
    let typed = |error: serde_json::Error| fault(unparsed(text, source, &error), HINT_FILE);
    let value: Value = serde_json::from_str(text).map_err(typed)?;
    let (is_many, reads) = match value.get("kind") {
        None => (false, LEADERBOARD_VERSION),
        Some(kind) if kind == KIND => (true, LEADERBOARDS_VERSION),
        Some(kind) => {
            let cause = format!("`{source}` is of kind {kind}, not a leaderboard");
            return Err(fault(cause, HINT_FILE));
        }
    };
    match value.get("schema_version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(reads) => {}
        Some(version) => {
            let cause = format!(
                "leaderboard `{source}` has schema version {version}, this suite reads {reads}"
            );
            return Err(fault(cause, HINT_VERSION));
        }
        None => {
            let cause = format!("`{source}` is not a leaderboard: it has no version");
            return Err(fault(cause, HINT_FILE));
        }
    }
    // From the text again, not from the value: the message then names the line.
    let runs: Vec<(Option<String>, Run)> = if is_many {
        let many: Leaderboards = serde_json::from_str(text).map_err(typed)?;
        many.runs.into_iter().map(|entry| (Some(entry.run), entry.leaderboard)).collect()
    } else {
        vec![(None, serde_json::from_str(text).map_err(typed)?)]
    };
    if runs.is_empty() {
        return Err(fault(format!("leaderboard `{source}` has no run"), HINT_FILE));
    }
    let mut faults = Vec::new();
    for (name, run) in &runs {
        let mut wrong = run.faults();
        let id = run.id();
        if let Some(name) = name.as_ref().filter(|name| **name != id) {
            wrong.push(format!("run `{name}` has the provenance of run `{id}`"));
        }
        if !wrong.is_empty() {
            let place = if is_many { format!("{source}: run `{id}`") } else { source.to_owned() };
            faults.push(Hinted::new(shortened(&place, &wrong), HINT_FILE));
        }
    }
    if !faults.is_empty() {
        return Err(Several(faults));
    }
    Ok(runs.into_iter().map(|(_, run)| Sourced { source: source.to_owned(), run }).collect())
}

/// Every run whose verdicts do not follow from its own figures, with the first causes; `None` where all do.
pub fn contradictions(runs: &[Sourced]) -> Option<Several> {
    let of_run = |Sourced { source, run }: &Sourced| {
        let found = run.contradictions();
        (!found.is_empty()).then(|| Hinted::new(shortened(source, &found), HINT_CONTRADICTION))
    };
    let all: Vec<Hinted> = runs.iter().filter_map(of_run).collect();
    (!all.is_empty()).then_some(Several(all))
}

/// Joins runs that can be compared; their order does not matter.
///
/// # Errors
/// If `runs` is empty, a run occurs twice, one is partial, or a run differs from the first one in a field that decides whether the two
/// can be compared; there is one cause for each such run and field.
pub fn merge(runs: Vec<Sourced>) -> Result<Leaderboards, Several> {
    let mut runs: Vec<(String, Sourced)> =
        runs.into_iter().map(|run| (run.run.id(), run)).collect();
    // The file's name last: it decides only which of two equal runs a message names first.
    runs.sort_by(|(a_id, a), (b_id, b)| {
        let key = |id: &String, run: &Sourced| {
            (run.run.provenance.date.clone(), id.clone(), run.source.clone())
        };
        key(a_id, a).cmp(&key(b_id, b))
    });
    let Some((first_id, first)) = runs.first() else {
        let cause = "no run was given";
        return Err(Several(vec![Hinted::new(cause, HINT_NONE)]));
    };
    let mut faults = Vec::new();
    let mut seen: BTreeMap<&str, &Sourced> = BTreeMap::new();
    for (id, run) in &runs {
        if let Some(known) = seen.insert(id, run) {
            let other = if known.run == run.run { "" } else { ", with other figures" };
            let cause = format!(
                "run `{id}` occurs twice, in `{}` and `{}`{other}",
                known.source, run.source
            );
            faults.push(Hinted::new(cause, HINT_TWICE));
        }
        if let Some(lacks) = run.run.lacks(FEW) {
            let cause = format!("run `{id}` (`{}`) is {lacks}", run.source);
            faults.push(Hinted::new(cause, HINT_PARTIAL));
        }
        for (field, theirs, ours) in first.run.differences(&run.run) {
            let cause = format!(
                "runs `{first_id}` (`{}`) and `{id}` (`{}`) differ in {field}: {theirs} and {ours}",
                first.source, run.source
            );
            faults.push(Hinted::new(cause, HINT_APART));
        }
    }
    if !faults.is_empty() {
        return Err(Several(faults));
    }
    let runs = runs.into_iter().map(|(run, sourced)| Entry { run, leaderboard: sourced.run });
    Ok(Leaderboards {
        schema_version: LEADERBOARDS_VERSION,
        kind: KIND.to_owned(),
        runs: runs.collect(),
    })
}

/// Says why a text is not the JSON of a leaderboard, in the words of what happens to files.
fn unparsed(text: &str, source: &str, error: &serde_json::Error) -> String {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or("");
    let infinite = error.to_string().starts_with("number out of range")
        || error.is_syntax() && ["NaN", "Infinity"].iter().any(|word| line.contains(word));
    if error.is_eof() {
        format!("leaderboard `{source}` is cut off: {error}")
    } else if infinite {
        format!("leaderboard `{source}` has a number that is not finite in line {}", error.line())
    } else if error.is_data() {
        shortened(source, &[error.to_string()])
    } else {
        format!("leaderboard `{source}` is not JSON: {error}")
    }
}

/// The first faults of a file in one line.
fn shortened(source: &str, faults: &[String]) -> String {
    let shown = faults[..faults.len().min(FAULTS_SHOWN)].join("; ");
    let rest = faults.len().saturating_sub(FAULTS_SHOWN);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    // What is quoted may be long and have many lines.
    let text: String = format!("leaderboard `{source}`: {shown}{more}").replace('\n', " ");
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::score::Metrics;
    use crate::score::fixture::study;
    use serde_json::json;
    use std::sync::LazyLock;

    /// The leaderboard of a made-up run on the machine named `cpu`.
    pub(crate) fn board(cpu: &str) -> Value {
        static BOARD: LazyLock<Value> = LazyLock::new(|| {
            let results = study(20, &[1, 2]);
            serde_json::to_value(Run::of(&results, &Metrics::of(&results)).unwrap()).unwrap()
        });
        let mut board = BOARD.clone();
        board["provenance"]["machine"]["cpu"] = cpu.into();
        board
    }

    pub(crate) fn sourced(value: &Value, source: &str) -> Sourced {
        read(&value.to_string(), source).unwrap().remove(0)
    }

    fn causes(faults: &Several) -> Vec<&str> {
        faults.0.iter().map(|fault| fault.cause.as_str()).collect()
    }

    /// The only cause that `text` is refused for.
    #[track_caller]
    fn refused(text: &str) -> String {
        let faults = read(text, "a.json").unwrap_err();
        assert_eq!(faults.0.len(), 1, "{faults}");
        assert!(!faults.0[0].hint.is_empty() && !faults.0[0].cause.contains('\n'), "{faults}");
        faults.0[0].cause.clone()
    }

    #[track_caller]
    fn changed(change: impl FnOnce(&mut Value)) -> String {
        let mut value = board("one");
        change(&mut value);
        refused(&value.to_string())
    }

    #[test]
    fn what_is_published_is_read_back_whole() {
        let value = board("one");
        let run = sourced(&value, "a.json").run;
        assert_eq!(serde_json::to_value(&run).unwrap(), value);
    }

    #[test]
    fn a_cut_file_and_numbers_that_are_not_finite_are_named() {
        let text = serde_json::to_string_pretty(&board("one")).unwrap();
        let cut = refused(&text[..text.len() / 2]);
        assert!(cut.starts_with("leaderboard `a.json` is cut off: EOF"), "{cut}");
        let end = text.find("\"accuracy\": {").unwrap();
        let line = text[..end].lines().count() + 1;
        let at = end + text[end..].find("\"mean\": ").unwrap() + "\"mean\": ".len();
        let after = at + text[at..].find(',').unwrap();
        for number in ["NaN", "Infinity", "-Infinity", "1e999"] {
            let text = format!("{}{number}{}", &text[..at], &text[after..]);
            let want =
                format!("leaderboard `a.json` has a number that is not finite in line {line}");
            assert_eq!(refused(&text), want, "{number}");
        }
        assert!(refused("<html>").starts_with("leaderboard `a.json` is not JSON: "));
    }

    #[test]
    fn another_version_and_another_kind_are_named() {
        let version = changed(|v| v["schema_version"] = 2.into());
        assert_eq!(version, "leaderboard `a.json` has schema version 2, this suite reads 3");
        let many = json!({ "schema_version": 7, "kind": KIND, "future": true });
        let want = "leaderboard `a.json` has schema version 7, this suite reads 2";
        assert_eq!(refused(&many.to_string()), want);
        let kind = changed(|v| v["kind"] = "recipe".into());
        assert_eq!(kind, "`a.json` is of kind \"recipe\", not a leaderboard");
        assert_eq!(refused("[1]"), "`a.json` is not a leaderboard: it has no version");
    }

    /// The published schemas follow from the types; `UPDATE_SCHEMA=1 cargo nextest run -p synergy-report schema` renews
    /// them.
    #[test]
    fn the_schemas_are_those_of_the_types() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/schema");
        for (name, schema) in [
            ("leaderboard", crate::text::schema::<Run>()),
            ("leaderboards", crate::text::schema::<Leaderboards>()),
        ] {
            let path = format!("{folder}/{name}.schema.json");
            if std::env::var_os("UPDATE_SCHEMA").is_some() {
                std::fs::write(&path, &schema).unwrap();
            }
            let hint = "UPDATE_SCHEMA=1 cargo nextest run -p synergy-report schema";
            assert!(std::fs::read_to_string(&path).unwrap() == schema, "{path} is stale: {hint}");
        }
    }

    fn satisfies_the_schema(value: &Value, schema: &str) -> bool {
        let schema = serde_json::from_str(schema).unwrap();
        jsonschema::draft202012::new(&schema).unwrap().is_valid(value)
    }

    /// The types refuse what the schema refuses, so nothing is validated against the schema at run time.
    #[test]
    fn what_breaks_the_schema_is_refused() {
        let schema = crate::text::schema::<Run>();
        assert!(satisfies_the_schema(&board("one"), &schema));
        let joined = merge(vec![sourced(&board("one"), "a"), sourced(&board("two"), "b")]).unwrap();
        let joined = serde_json::to_value(&joined).unwrap();
        let mut many: Value = serde_json::from_str(&crate::text::schema::<Leaderboards>()).unwrap();
        many["$defs"]["leaderboard"] = serde_json::from_str(&schema).unwrap();
        assert!(satisfies_the_schema(&joined, &many.to_string()));
        let check = |want: &str, change: &dyn Fn(&mut Value)| {
            let mut value = board("one");
            change(&mut value);
            assert!(!satisfies_the_schema(&value, &schema), "{want}");
            let cause = refused(&value.to_string());
            assert!(cause.contains(want), "{want} in {cause}");
        };
        check("integer `-3`", &|v| v["levels"][0]["num_questions"] = json!(-3));
        check("unknown field `extra`", &|v| v["extra"] = 1.into());
        check("schema version 1", &|v| v["schema_version"] = 1.into());
        check("null", &|v| v["rows"][0]["cells"][0]["accuracy"]["mean"] = Value::Null);
        check("45.5", &|v| v["rows"][0]["cells"][0]["accuracy"]["mean"] = json!(45.5));
        check("L6", &|v| v["rows"][0]["cells"][0]["level"] = "L6".into());
        check("other", &|v| v["rows"][0]["kind"] = "other".into());
        check("`commit`", &|v| _ = v["provenance"].as_object_mut().unwrap().remove("commit"));
        check("`gain`", &|v| {
            _ = v["rows"][1]["cells"][0].as_object_mut().unwrap().remove("gain");
        });
        check("L1 to L5", &|v| v["levels"] = json!([]));
        check("questions_hash", &|v| v["questions_hash"] = "é".repeat(32).into());
        check("level of intervals", &|v| v["method"]["level"] = json!(95));
        check("degrees of freedom", &|v| {
            let claims = v["claims"].as_array_mut().unwrap();
            let compared = claims.iter_mut().find(|claim| claim["comparisons"][0].is_object());
            compared.unwrap()["comparisons"][0]["degrees"] = json!(0);
        });
        check("top_p", &|v| {
            let sampling =
                json!({ "num_samples": 4, "temperature": 0.6, "top_p": 20, "top_k": 20 });
            let model = json!({
                "architecture": "a", "num_parameters": 1, "hidden_size": 1, "num_layers": 1
            });
            v["asked"] = json!({
                "prompt": "", "sampling": sampling, "max_new_tokens": 9, "hops": null, "model": model
            });
        });
        check("maybe", &|v| v["claims"][0]["verdict"] = "maybe".into());
        check("wall_time_s", &|v| v["training"][0]["cost"]["wall_time_s"] = json!(-1.0));
    }

    #[test]
    fn the_kept_leaderboard_is_valid() {
        let kept = include_str!("../../../golden/leaderboard/small-112e136.json");
        let value: Value = serde_json::from_str(kept).unwrap();
        assert!(satisfies_the_schema(&value, &crate::text::schema::<Run>()));
        let run = read(kept, "kept").unwrap().remove(0).run;
        assert_eq!(serde_json::to_string_pretty(&run).unwrap().trim(), kept.trim());
    }

    #[test]
    fn answers_that_never_came_are_published_and_read_back() {
        let mut results = study(20, &[1]);
        results.rows[0].seeds[0].outcomes[0].replace_range(.., "nnnn");
        let value = Run::of(&results, &Metrics::of(&results)).unwrap();
        let value = serde_json::to_value(value).unwrap();
        let share = |row: usize| value["rows"][row]["cells"][0]["outcomes"].get("unanswered");
        assert_eq!((share(0), share(1)), (Some(&json!(0.01)), None));
        assert!(satisfies_the_schema(&value, &crate::text::schema::<Run>()));
        assert_eq!(serde_json::to_value(&sourced(&value, "a").run).unwrap(), value);
    }

    #[test]
    fn contradictions_within_a_file_are_named() {
        let twice = changed(|v| {
            let row = v["rows"][1].clone();
            v["rows"].as_array_mut().unwrap().push(row);
        });
        assert_eq!(twice, "leaderboard `a.json`: two rows are named `null`");
        let outside = changed(|v| v["rows"][0]["cells"][0]["length"]["low"] = json!(1e6));
        assert_eq!(
            outside,
            "leaderboard `a.json`: row `base`, all at all: the interval of length does not hold its mean"
        );
    }

    #[test]
    fn the_order_of_runs_changes_no_byte_and_rows_stay_apart() {
        let [a, b, c] = ["one", "two", "three"].map(|cpu| sourced(&board(cpu), cpu));
        let forward = merge(vec![a.clone(), b.clone(), c.clone()]).unwrap();
        let backward = merge(vec![c, b, a]).unwrap();
        assert_eq!(forward.to_json(), backward.to_json());
        assert_eq!(forward.runs().len(), 3);
        let ids: Vec<&str> = forward.runs().iter().map(|entry| entry.run.as_str()).collect();
        let mut unique = ids.clone();
        unique.dedup();
        assert_eq!(unique, ids);
        let named = |entry: &Entry| entry.leaderboard.rows.iter().any(|row| row.name == "rl");
        assert!(forward.runs().iter().all(named));
    }

    #[test]
    fn what_was_joined_can_be_read_and_joined_again() {
        let [a, b, c] = ["one", "two", "three"].map(|cpu| sourced(&board(cpu), cpu));
        let two = merge(vec![a.clone(), b.clone()]).unwrap();
        let mut all = read(&two.to_json(), "two.json").unwrap();
        all.push(c.clone());
        assert_eq!(merge(all).unwrap().to_json(), merge(vec![a, b, c]).unwrap().to_json());
    }

    #[test]
    fn a_run_that_lacks_rows_is_read_and_stands_on_no_page() {
        let mut part = board("one");
        part["missing"] = json!([{ "row": "progressive", "seeds": [1, 2] }]);
        part["extra_seeds"] = json!([7]);
        assert!(satisfies_the_schema(&part, &crate::text::schema::<Run>()));
        let run = sourced(&part, "a.json");
        assert_eq!(serde_json::to_value(&run.run).unwrap(), part);
        let faults = merge(vec![run, sourced(&board("two"), "b.json")]).unwrap_err();
        let [said] = causes(&faults)[..] else { panic!("{faults}") };
        assert!(
            said.ends_with("(`a.json`) is partial, missing: progressive (seeds 1, 2)"),
            "{said}"
        );
        // Seeds beyond the recipe's take nothing away.
        part["missing"] = json!([]);
        merge(vec![sourced(&part, "a.json")]).unwrap();
        let both = changed(|v| v["missing"] = json!([{ "row": "rl", "seeds": [2] }]));
        assert_eq!(both, "leaderboard `a.json`: row `rl` is there and said to be missing");
    }

    #[test]
    fn the_joined_file_is_checked_as_closely() {
        let joined = merge(vec![sourced(&board("one"), "a")]).unwrap();
        let refused_with = |change: &dyn Fn(&mut Value)| {
            let mut value = serde_json::to_value(&joined).unwrap();
            change(&mut value);
            refused(&value.to_string())
        };
        let negative = refused_with(&|v| {
            v["runs"][0]["leaderboard"]["rows"][0]["cells"][0]["num_questions"] = json!(-1);
        });
        assert!(negative.contains("integer `-1`"), "{negative}");
        let renamed = refused_with(&|v| v["runs"][0]["run"] = "000000000000".into());
        assert!(renamed.contains("run `000000000000` has the provenance of run"), "{renamed}");
        let none = refused_with(&|v| v["runs"] = json!([]));
        assert_eq!(none, "leaderboard `a.json` has no run");
    }

    #[test]
    fn runs_that_differ_are_refused_by_run_and_field() {
        let first = sourced(&board("one"), "a.json");
        let mut other = board("two");
        other["provenance"]["date"] = "2026-02-01".into();
        other["recipe_hash"] = "other".into();
        other["grader"] = "boxed-2".into();
        other["base"]["hash"] = "fedcba".into();
        other["external_benchmarks"] = json!([]);
        for row in other["rows"].as_array_mut().unwrap() {
            row["cells"].as_array_mut().unwrap().retain(|cell| cell["benchmark"] != "easy_vqa");
        }
        other["external"] = json!([]);
        let other = sourced(&other, "b.json");
        let (one, two) = (first.run.id(), other.run.id());
        let faults = merge(vec![other, first]).unwrap_err();
        let differ =
            |what: &str| format!("runs `{one}` (`a.json`) and `{two}` (`b.json`) differ in {what}");
        assert_eq!(
            causes(&faults),
            [
                differ("recipe_hash: `5f1d0c2a` and `other`"),
                differ("grader: `boxed-1` and `boxed-2`"),
                differ("base: `abcdef` and `fedcba`"),
                differ("external_benchmarks: `easy_vqa` and (empty)"),
            ]
        );
    }

    #[test]
    fn other_questions_are_refused() {
        let [first, mut other] = ["one", "two"].map(|cpu| sourced(&board(cpu), cpu));
        other.run.levels[0].num_questions += 1;
        other.run.families.pop();
        let faults = merge(vec![first, other]).unwrap_err();
        let all = causes(&faults).join("\n");
        assert!(
            all.contains("differ in families: ") && all.contains("differ in num_questions: "),
            "{all}"
        );
    }

    #[test]
    fn the_same_run_twice_is_refused_whatever_its_figures() {
        let run = sourced(&board("one"), "a.json");
        let mut copy = Sourced { source: "b.json".to_owned(), ..run.clone() };
        let id = run.run.id();
        let faults = merge(vec![copy.clone(), run.clone()]).unwrap_err();
        assert_eq!(causes(&faults), [format!("run `{id}` occurs twice, in `a.json` and `b.json`")]);
        copy.run.rows[0].note = "better".to_owned();
        let faults = merge(vec![copy, run]).unwrap_err();
        assert!(causes(&faults)[0].ends_with("`b.json`, with other figures"), "{faults}");
    }

    #[test]
    fn no_run_is_no_page() {
        let faults = merge(Vec::new()).unwrap_err();
        assert_eq!(causes(&faults), ["no run was given"]);
    }
}
