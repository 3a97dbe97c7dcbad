//! The gate: a run against what was recorded, by exit code.
//!
//! Does not test the rule, which is pure and has its own tests.

use std::fs;

use synergy_report::golden::read_history;
use synergy_report::score::Results;
use synergy_suite::run::golden::read_results;
use synergy_tests::{Project, TINY};

use crate::{assert_refused, project, succeed};

const GOLDEN: &str = "golden/results/tiny.json";
const RESULTS: &str = "runs/tiny/results.json";
const ACCEPT: [&str; 4] = ["golden", "accept", "--profile", "tiny"];

/// Runs the recipe `tiny`, and changes what the run says of itself. Where the project lies may be a
/// repository with changes, so a test says itself whether its run had any.
fn run_changed(project: &Project, change: impl FnOnce(&mut Results)) {
    if !project.path(RESULTS).exists() {
        succeed(project, &["reproduce", "--profile", "tiny"]);
    }
    let mut results = read_results(&project.path(RESULTS)).expect("results are there");
    results.provenance.commit = "0123456789ab".to_owned();
    results.provenance.dirty = false;
    change(&mut results);
    project.write(RESULTS, results.to_json().expect("plain data"));
}

#[test]
fn a_self_test_needs_a_golden_and_a_gate() {
    let project = project();
    project.recipe(TINY, "tiny", &[]);
    let self_test = ["self-test", "--profile", "tiny"];
    assert_refused!(project.run(&self_test), @"
    error: no golden results for `tiny`: failed to read results `golden/results/tiny.json`: No such file or directory
    hint: record a good run with `cargo xtask golden accept --profile tiny`
    ");
    let text = project.read("suite/recipes/tiny.toml");
    let (without, _) = text.split_once("[gate]").unwrap();
    project.write("suite/recipes/tiny.toml", without);
    assert_refused!(project.run(&self_test), @"
    error: recipe `tiny` has no gate
    hint: a table [gate]
    ");
    assert!(!project.path("runs").exists());
}

#[test]
fn a_planted_fault_is_seen_and_leaves_the_run_as_it_was() {
    let project = project();
    project.recipe(TINY, "tiny", &[("questions_per_family = 2", "questions_per_family = 5")]);
    run_changed(&project, |_| {});
    succeed(&project, &ACCEPT);
    let before = project.read(RESULTS);
    let report = project.run(&["self-test", "--profile", "tiny", "--few", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).expect("a report");
    let probes = report["probes"].as_array().unwrap();
    assert_eq!(probes.len(), 6);
    let usual = &probes[0];
    assert_eq!((&usual["variant"], &usual["is_right"]), (&"usual".into(), &true.into()));
    for planted in ["first_number", "zeroed_tensor", "mixed_groups", "flipped_kl"] {
        let own = project.path("runs/self-test").join(planted).join("results.json");
        let results = read_results(&own).unwrap();
        assert_eq!(results.provenance.command, "cargo xtask gate --profile tiny --self-test");
    }
    assert_eq!(project.read(RESULTS), before);
}

#[test]
fn a_run_is_the_same_as_itself_and_worse_than_a_better_golden() {
    let project = project();
    // Below 20 questions a cell decides nothing.
    project.recipe(TINY, "tiny", &[("questions_per_family = 2", "questions_per_family = 5")]);
    run_changed(&project, |_| {});
    let accepted = succeed(&project, &ACCEPT);
    assert_eq!(accepted.stdout, "recorded runs/tiny/results.json as golden/results/tiny.json\n");
    assert_eq!(project.read(GOLDEN), project.read(RESULTS));
    let check = ["golden", "check", "--profile", "tiny", "--markdown", "out/comparison.md"];
    let same = succeed(&project, &check);
    let markdown = project.read("out/comparison.md");
    assert!(markdown.starts_with("## Profile tiny: passed\n"), "{markdown}");
    let (what, verdicts) =
        same.stdout.lines().next().and_then(|line| line.split_once(": ")).unwrap();
    assert!(what.contains(" cells and ") && what.ends_with(" figures of training"), "{what}");
    assert!(verdicts.ends_with(" same") && !verdicts.contains(','), "{verdicts}");

    let mut golden = read_results(&project.path(GOLDEN)).unwrap();
    let row = golden.rows.iter_mut().find(|row| row.name == "sft").unwrap();
    for outcomes in row.seeds.iter_mut().flat_map(|seed| &mut seed.outcomes) {
        *outcomes = "c".repeat(outcomes.len());
    }
    project.write(GOLDEN, golden.to_json().unwrap());
    let worse = project.run(&check);
    let markdown = project.read("out/comparison.md");
    assert!(markdown.starts_with("## Profile tiny: failed\n"), "{markdown}");
    assert!(markdown.contains("| sft | ") && markdown.contains(" | regressed |"), "{markdown}");
    assert_eq!(worse.code, 1, "{}{}", worse.stdout, worse.stderr);
    let cell = |line: &&str| line.contains("accuracy") && line.trim_end().ends_with("regressed");
    let cells: Vec<&str> = worse.stdout.lines().filter(cell).collect();
    assert!(cells.iter().any(|line| line.starts_with("sft")), "{}", worse.stdout);
}

#[test]
fn a_check_without_golden_or_run_could_not_finish() {
    let project = project();
    assert_refused!(project.run(&["golden", "check", "--profile", "tiny"]), @r"
    error: no golden results for `tiny`: failed to read results `golden/results/tiny.json`: No such file or directory
    hint: record a good run with `cargo xtask golden accept --profile tiny`
    ");
    assert_refused!(project.run(&["golden", "accept", "--profile", "tiny"]), @r"
    error: no run to record: failed to read results `runs/tiny/results.json`: No such file or directory
    hint: cargo xtask reproduce --profile tiny
    ");
    assert!(!project.path("golden").exists());
    run_changed(&project, |_| {});
    succeed(&project, &ACCEPT);
    fs::remove_dir_all(project.path("runs")).unwrap();
    assert_refused!(project.run(&["golden", "check", "--profile", "tiny"]), @r"
    error: there is no run to check: failed to read results `runs/tiny/results.json`: No such file or directory
    hint: cargo xtask reproduce --profile tiny
    ");
    assert_refused!(project.run(&["score", "--profile", "tiny"]), @r"
    error: completions of `levels` are not in the store
    hint: cargo xtask reproduce --profile tiny
    ");
}

#[test]
fn a_golden_of_another_schema_version_is_refused() {
    let project = project();
    project.write(GOLDEN, "{ \"schema_version\": 3, \"something\": \"new\" }");
    assert_refused!(project.run(&["golden", "check", "--profile", "tiny"]), @r"
    error: no golden results for `tiny`: golden `golden/results/tiny.json` has schema version 3, this suite reads 2
    hint: use the suite that wrote it, or record it again with `cargo xtask golden accept`
    ");
}

#[test]
fn what_becomes_golden_is_remembered_and_not_lessened() {
    let project = project();
    project.write("golden/LOG.md", "# Log\n");
    run_changed(&project, |results| results.provenance.dirty = true);
    assert_refused!(project.run(&ACCEPT), @"
    error: `runs/tiny/results.json` may not become golden: the tree of the run had changes that commit `0123456789ab` does not have
    hint: commit them and run again
    ");
    // A reason is no way around it.
    let late = project.run(&[&ACCEPT[..], &["--replace", "it is late"]].concat());
    assert!(crate::refusal(&late).contains("may not become golden"), "{}", late.stderr);
    assert!(!project.path(GOLDEN).exists() && !project.path("golden/history.jsonl").exists());

    run_changed(&project, |_| {});
    succeed(&project, &ACCEPT);
    let first = project.read("golden/history.jsonl");
    let history = read_history(&first).unwrap();
    assert_eq!((history.len(), history[0].commit.as_str()), (1, "0123456789ab"));

    // The same run with one question less.
    run_changed(&project, |results| {
        results.questions.pop();
        for seed in results.rows.iter_mut().flat_map(|row| &mut row.seeds) {
            seed.outcomes.pop();
            seed.num_formatted.pop();
            seed.num_tokens.pop();
            seed.words.pop();
            seed.answers.pop();
            seed.num_long.pop();
        }
    });
    let refused = project.run(&ACCEPT);
    let said = crate::refusal(&refused);
    assert!(
        said.contains("the run holds less than the previous golden results: ")
            && said.contains("--replace"),
        "{said}"
    );
    assert_eq!(project.read("golden/history.jsonl"), first);
    succeed(&project, &[&ACCEPT[..], &["--replace", "one is enough"]].concat());
    let second = project.read("golden/history.jsonl");
    assert!(second.starts_with(&first) && second.lines().count() == 2, "it only grows");
    let log = project.read("golden/LOG.md");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("golden `tiny`")).collect();
    assert!(lines.len() == 2 && lines[1].ends_with("results: one is enough."), "{log}");

    project.write("golden/history.jsonl", first.replace("commit", "omit"));
    let said = crate::refusal(&project.run(&ACCEPT));
    assert!(
        said.contains("failed to read `golden/history.jsonl`: line 1: unknown field"),
        "{said}"
    );
}
