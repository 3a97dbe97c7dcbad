//! Results as they come: tables of a run under way, of one that was stopped, and of a part of a recipe.
//!
//! Does not know how often tables are written, only when they must be there.

use serde_json::{Value, json};
use synergy_report::score::Results;
use synergy_suite::run::golden::read_results;
use synergy_tests::{Project, Stop, TINY};

use crate::{assert_follows_schema, assert_refused, assert_whole, project, stage_keys, succeed};

const REPRODUCE: [&str; 3] = ["reproduce", "--profile", "tiny"];
const RESULTS: &str = "runs/tiny/results.json";
const LEADERBOARD: &str = "runs/tiny/leaderboard.json";

/// The regimes of `tiny`, in the recipe's order.
const REGIMES: [&str; 6] = ["sft", "rl", "two_stage", "progressive", "data_mixing", "merged"];

fn with(words: &[&str]) -> Vec<String> {
    REPRODUCE.iter().chain(words).map(|word| (*word).to_owned()).collect()
}

fn reproduce(project: &Project, words: &[&str]) -> synergy_tests::Finished {
    let words = with(words);
    succeed(project, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Rows and seeds that the published leaderboard says are missing.
fn missing(project: &Project) -> Vec<(String, Vec<u64>)> {
    let board = project.json(LEADERBOARD);
    assert_follows_schema("leaderboard", &board);
    let rows = board.get("missing").and_then(Value::as_array).cloned().unwrap_or_default();
    let row = |missing: &Value| {
        let seeds = missing["seeds"].as_array().expect("seeds").iter();
        let seeds = seeds.map(|seed| seed.as_u64().expect("a number")).collect();
        (missing["row"].as_str().expect("a name").to_owned(), seeds)
    };
    rows.iter().map(row).collect()
}

#[test]
fn work_is_done_row_by_row_and_every_seed_has_tables_before_the_next() {
    let project = project();
    project.recipe(TINY, "tiny", &[("seeds = [1]", "seeds = [1, 2]")]);
    reproduce(&project, &[]);
    let events = project.events("tiny");
    let done: Vec<(&str, &str, u64)> = events
        .iter()
        .filter_map(|event| {
            let kind = event["kind"].as_str()?;
            let name = event[if kind == "stage_done" { "stage" } else { "row" }].as_str();
            match kind {
                "stage_done" | "evaluated" => Some((kind, name?, event["seed"].as_u64()?)),
                "published" => Some((kind, "", event["rows"].as_u64()?)),
                _ => None,
            }
        })
        .collect();
    let rows: Vec<(&str, u64)> = done
        .iter()
        .filter(|(kind, name, _)| *kind == "evaluated" && !name.contains("/"))
        .map(|(_, name, seed)| (*name, *seed))
        .collect();
    let base = ["levels", "base", "null", "greedy", "no_template", "shuffled"].map(|row| (row, 0));
    let of_seed = |seed: u64| REGIMES.map(|regime| (regime, seed));
    assert_eq!(rows, [&base[..], &of_seed(1), &of_seed(2)].concat());
    let place = |kind: &str, name: &str, seed: u64| {
        let want = (kind, name, seed);
        done.iter().position(|own| *own == want).unwrap_or_else(|| panic!("no {want:?}"))
    };
    // A row comes right after its stages, its controls with it, and the first table before anything else.
    for seed in [1, 2] {
        assert!(place("stage_done", "grpo", seed) > place("evaluated", "sft/shuffled", seed));
        assert_eq!(
            place("evaluated", "rl", seed),
            place("stage_done", "grpo", seed) + 1,
            "{done:?}"
        );
    }
    // Levels are no row of a table, but of the run.
    let num_base = 6;
    assert_eq!(place("published", "", num_base + 2), place("evaluated", "sft/shuffled", 1) + 1);
    let num_rows = num_base + 2 * REGIMES.len() as u64;
    assert_eq!(place("published", "", num_rows), place("evaluated", "merged/shuffled", 1) + 1);
    assert_eq!(done.last(), Some(&("published", "", num_rows + 2 * REGIMES.len() as u64)));
    assert_eq!(missing(&project), []);
    // Results are in the order of the table, not of the work.
    let results = read_results(&project.path(RESULTS)).unwrap();
    let first: Vec<(&str, u64)> =
        results.training.iter().take(4).map(|t| (t.stage.as_str(), t.seed)).collect();
    assert_eq!(first, [("traces", 1), ("sft", 1), ("traces", 2), ("sft", 2)]);
    let budgets: Vec<(&str, u64)> =
        results.budgets.iter().take(3).map(|b| (b.regime.as_str(), b.seed)).collect();
    assert_eq!(budgets, [("sft", 1), ("sft", 2), ("rl", 1)]);
}

#[test]
fn a_run_stopped_after_a_row_leaves_tables_that_name_what_is_missing() {
    let [whole, project] = [project(), project()];
    let edits = [("num_steps = 2\n", "num_steps = 12\n")];
    for project in [&whole, &project] {
        project.recipe(TINY, "tiny", &edits);
    }
    reproduce(&whole, &[]);
    // Within the third regime: the second came too soon after the first table to be in one.
    let stopped = project.run_until("  grpo_after_sft (seed 1)", Stop::Interrupt, &REPRODUCE);
    assert_eq!(stopped.code, 130, "{}", stopped.stderr);
    assert_whole(&project, true);
    assert!(stopped.stderr.contains("\n  table of 2 of 6 regimes: runs/tiny/report.html\n"));
    let rows =
        REGIMES[2..].iter().flat_map(|name| [(*name).to_owned(), format!("{name}/shuffled")]);
    assert_eq!(missing(&project), rows.map(|row| (row, vec![1])).collect::<Vec<_>>());
    let said = "partial, missing: two_stage, progressive, data_mixing, merged (seed 1)";
    for file in ["report.md", "report.html"] {
        let text = project.read(&format!("runs/tiny/{file}"));
        assert!(text.contains(said), "{file}");
    }
    let results = read_results(&project.path(RESULTS)).unwrap();
    assert!(!results.is_whole() && results.row("rl/shuffled").is_some());
    let claims = project.json(LEADERBOARD)["claims"].as_array().unwrap().clone();
    assert!(claims.iter().any(|claim| claim["verdict"] == "not_testable"));

    // What is there can be judged again as it is, and the run goes on.
    let board = project.json(LEADERBOARD);
    succeed(&project, &["score", "--profile", "tiny"]);
    assert_eq!(project.json(LEADERBOARD), board);
    reproduce(&project, &[]);
    assert_eq!(missing(&project), []);
    assert_eq!(project.questions_and_rows("tiny"), whole.questions_and_rows("tiny"));
    assert!(!project.read("runs/tiny/report.md").contains("partial, missing"));
    assert_eq!(stage_keys(&project, "tiny", "sft").len(), 1);
}

/// What a part of a run must have as the whole has it: outcomes, lengths and words of its rows.
fn outcomes(results: &Results, of: &Results) -> Vec<Value> {
    let row = |name: &str| {
        let row = results.row(name).unwrap_or_else(|| panic!("no row {name}"));
        // The places of answers in the list of all answers are those of other rows too.
        let seeds = row.seeds.iter().map(|s| {
            json!([s.seed, s.outcomes, s.num_formatted, s.num_tokens, s.words, s.num_long])
        });
        json!([row.name, row.kind, row.note, seeds.collect::<Vec<_>>()])
    };
    of.rows.iter().map(|own| row(&own.name)).collect()
}

#[test]
fn a_part_of_a_recipe_is_the_whole_bit_for_bit_and_is_never_golden() {
    let [whole, project] = [project(), project()];
    reproduce(&whole, &[]);
    let run = reproduce(&project, &["--only", "two_stage, rl"]);
    assert!(
        run.stdout.contains("\npartial, missing: sft, progressive, data_mixing, merged (seed 1)\n")
    );
    assert!(run.stderr.contains("\n  partial: --only two_stage,rl; such a run"), "{}", run.stderr);
    let [of_whole, of_part] =
        [&whole, &project].map(|project| read_results(&project.path(RESULTS)).unwrap());
    let names: Vec<&str> = of_part.rows.iter().map(|row| row.name.as_str()).skip(5).collect();
    assert_eq!(names, ["rl", "rl/shuffled", "two_stage", "two_stage/shuffled"]);
    assert_eq!(outcomes(&of_part, &of_part), outcomes(&of_whole, &of_part));
    for (path, bytes) in project.files("runs/tiny/completions") {
        assert!(whole.files("runs/tiny/completions")[&path] == bytes, "{path}");
    }
    // The stage of a regime that is not asked for is there, and what the record says of it too.
    for stage in &of_part.training {
        let same = |own: &&synergy_report::score::Training| own.stage == stage.stage;
        let own = of_whole.training.iter().find(same).unwrap();
        assert_eq!((&own.regime, &own.summary), (&stage.regime, &stage.summary));
    }
    let command = &of_part.provenance.command;
    assert_eq!(command, "cargo xtask reproduce --profile tiny --only two_stage,rl");

    // It is compared as far as it goes, and recorded and published nowhere.
    let mut golden = of_whole.clone();
    golden.provenance.dirty = false;
    project.write("golden/results/tiny.json", golden.to_json().unwrap());
    let check = project.run(&["golden", "check", "--profile", "tiny"]);
    assert_eq!(check.code, 1, "{}{}", check.stdout, check.stderr);
    let lines: Vec<&str> = check.stdout.lines().take(2).collect();
    assert!(
        lines[1].starts_with("partial, missing: sft, ") && !lines[0].contains("missing"),
        "{lines:?}"
    );
    let mut clean = of_part.clone();
    clean.provenance.dirty = false;
    project.write(RESULTS, clean.to_json().unwrap());
    assert_refused!(project.run(&["golden", "accept", "--profile", "tiny"]), @"
    error: `runs/tiny/results.json` may not become golden: the run is not its recipe's: partial, missing: sft, progressive, data_mixing, merged (seed 1)
    hint: cargo xtask reproduce --profile tiny, without --only and --seeds
    ");
    let refused = crate::refusal(&project.run(&["leaderboard", "check", LEADERBOARD]));
    assert!(refused.contains(") is partial, missing: sft, progressive, "), "{refused}");

    // With the others of another run it is the whole again, which nothing keeps from becoming golden but its tree.
    reproduce(&whole, &["--only", "sft,progressive,data_mixing,merged"]);
    let others = whole.path(RESULTS).display().to_string();
    let join = project.run(&["join", RESULTS, &others, "--out", "joined/tiny"]);
    assert_eq!(join.code, 0, "{}", join.stderr);
    assert!(!join.stdout.contains("partial"), "{}", join.stdout);
    let joined = read_results(&project.path("joined/tiny/results.json")).unwrap();
    assert_eq!(outcomes(&joined, &of_whole), outcomes(&of_whole, &of_whole));
    assert_eq!(joined.missing, []);
    for name in ["leaderboard.json", "report.md", "report.html", "figures.json"] {
        assert!(!project.read(&format!("joined/tiny/{name}")).is_empty());
    }
    reproduce(&whole, &[]);
    assert_refused!(project.run(&["join", RESULTS, "--out", "joined/tiny"]), @"
    error: 2 values required by '<RESULTS> <RESULTS>...'; only 1 was provided
    hint: `synergy join --help` shows what it takes
    ");

    // The whole goes on from the part.
    let rest = reproduce(&project, &[]);
    assert!(!rest.stderr.contains("evaluate rl") && rest.stderr.contains("evaluate sft"));
    assert_eq!(project.questions_and_rows("tiny"), whole.questions_and_rows("tiny"));
    // And a part of the whole is there at once, with what it was asked for.
    reproduce(&project, &["--only", "two_stage, rl"]);
    assert_eq!(read_results(&project.path(RESULTS)).unwrap().rows, of_part.rows);
}

#[test]
fn seeds_of_ones_own_are_run_and_said_to_be() {
    let project = project();
    reproduce(&project, &["--only", "sft", "--seeds", "1..2"]);
    let results = read_results(&project.path(RESULTS)).unwrap();
    let seeds = |name: &str| -> Vec<u64> {
        results.row(name).unwrap().seeds.iter().map(|seed| seed.seed).collect()
    };
    assert_eq!(
        (seeds("base"), seeds("sft"), seeds("sft/shuffled")),
        (vec![0], vec![1, 2], vec![1, 2])
    );
    assert_eq!(results.extra_seeds, [2]);
    let report = project.read("runs/tiny/report.md");
    assert!(report.contains("merged (seed 1); seed 2 is not the recipe's"), "{report}");
    // The base is that of the recipe's first seed, whichever is asked for.
    let base = results.provenance.base_hash.clone();
    reproduce(&project, &["--only", "sft", "--seeds", "2"]);
    let results = read_results(&project.path(RESULTS)).unwrap();
    assert_eq!(results.provenance.base_hash, base);
    assert_eq!(results.row("sft").unwrap().seeds.len(), 1);
    assert_eq!(stage_keys(&project, "tiny", "sft").len(), 2);
}

#[test]
fn what_the_recipe_does_not_have_is_refused_before_anything_is_done() {
    let project = project();
    let run = |words: &[&str]| project.run(words);
    assert_refused!(run(&["reproduce", "--profile", "tiny", "--only", "sft,rll"]), @"
    error: unknown regime `rll`
    hint: regimes of `tiny` are base, sft, rl, two_stage, progressive, data_mixing, merged
    ");
    assert_refused!(run(&["plan", "tiny", "--only", ","]), @"
    error: no regime is selected
    hint: --only rl,sft; without it, all are run
    ");
    assert_refused!(run(&["reproduce", "--profile", "tiny", "--seeds", "3..1"]), @"
    error: the seeds `3..1` run backwards
    hint: --seeds 1..4 for 1, 2, 3 and 4; --seeds 1,3; --seeds 2
    ");
    assert_refused!(run(&["plan", "tiny", "--seeds", "one"]), @"
    error: `one` is neither a seed nor a range of seeds
    hint: --seeds 1..4 for 1, 2, 3 and 4; --seeds 1,3; --seeds 2
    ");
    assert!(!project.path("runs").exists());
    let plan = succeed(&project, &["plan", "tiny", "--only", "rl,base", "--seeds", "1,5"]).stdout;
    assert!(
        plan.contains("seeds [1, 5]") && plan.contains("\n  partial: --only rl,base --seeds 1,5; "),
        "{plan}"
    );
    assert!(!plan.contains("\n  sft "), "{plan}");
}
