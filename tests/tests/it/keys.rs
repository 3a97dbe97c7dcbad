//! Keys of training and evaluation that change what a run asks, as a person meets them.
//!
//! Does not know how anything is counted.

use serde_json::Value;
use synergy_suite::run::golden::read_results;
use synergy_tests::{Finished, Project, TINY};

use crate::{assert_refused, assert_whole, kept_base, project, succeed};

/// Runs the recipe `tiny` with an edit that is refused before anything is written.
fn with(from: &str, to: &str) -> Finished {
    let project = project();
    project.recipe(TINY, "tiny", &[(from, to)]);
    let finished = project.run(&["reproduce", "--profile", "tiny"]);
    assert!(!project.path("runs").exists(), "a recipe is refused before anything is written");
    finished
}

#[test]
fn what_cannot_be_asked_is_refused_with_its_line() {
    let solved = |list: &str| {
        with(
            "unsolved_by = \"asked\" }]",
            &format!("unsolved_by = \"asked\", solved_by = {list} }}]"),
        )
    };
    assert_refused!(solved("[\"nobody\"]"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 148: stage `mixed`: no stage `nobody`
    hint: stages are asked, grpo, grpo_after_sft, merged, mixed, progressive, sft, sft_mixed, traces
    ");
    assert_refused!(solved("[\"sft\"]"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 148: stage `mixed`: `sft` is a model, not data
    hint: name a stage of kind teacher, sample or mix
    ");
    assert_refused!(solved("[]"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 148: stage `mixed`: `solved_by` names no stage
    hint: at least one, or leave the key out
    ");
    assert_refused!(with("question_seed = 9001", "question_seed = 9001\nsplit = \"train\""), @r#"
    error: unusable recipe `suite/recipes/tiny.toml`: line 204: split `train` is one that models are trained on
    hint: split = "validation", or leave it out for the test questions
    "#);
    assert_refused!(
        with("external_questions = 0", "external_questions = 3\nsplit = \"validation\""),
        @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 211: the external questions are test questions, and the split is validation
    hint: external_questions = 0
    "
    );
    assert_refused!(with("stage = \"grpo\"\n", "stage = \"grpo\"\nnum_samples = 0\n"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 180: num_samples = 0 is outside its range: 1 to 10000
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("stage = \"base\"\n", "stage = \"base\"\ngreedy = true\n"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 170: regime `base` is the base, which is decoded greedily in any case
    hint: leave `greedy` out: the row is called `greedy`
    ");
    assert_refused!(
        with("{ preset = \"dr_grpo\" }", "{ preset = \"dr_grpo\", entropy = -0.1 }"),
        @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 108: stage `grpo_after_sft`: entropy = -0.1 is outside its range: 0 or more
    hint: docs/RECIPES.md explains every key
    "
    );
}

/// The row called `name` of `runs/tiny/results.json`.
fn row<'a>(results: &'a Value, name: &str) -> &'a Value {
    let rows = results["rows"].as_array().expect("results have rows");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row `{name}`"))
}

#[test]
fn a_run_on_validation_questions_with_more_samples_and_a_greedy_row() {
    let project = project();
    project.recipe(
        TINY,
        "tiny",
        &[
            (
                "question_seed = 9001",
                "question_seed = 9001\nsplit = \"validation\"\nscored_answers = 2",
            ),
            ("stage = \"grpo\"\n", "stage = \"grpo\"\nnum_samples = 4\ngreedy = true\n"),
            ("stage = \"base\"\n", "stage = \"base\"\nnum_samples = 3\n"),
            ("{ preset = \"dr_grpo\" }", "{ preset = \"dr_grpo\", entropy = 0.01 }"),
            (
                "parts = [{ data = \"traces\", unsolved_by = \"asked\" }]",
                "parts = [{ data = \"traces\", solved_by = [\"traces\"] }]",
            ),
        ],
    );
    let plan: Value =
        serde_json::from_str(&succeed(&project, &["plan", "--profile", "tiny", "--json"]).stdout)
            .unwrap();
    let run = succeed(&project, &["reproduce", "--profile", "tiny"]);
    assert!(run.stdout.contains("12 validation questions"), "{}", run.stdout);
    let results = project.json("runs/tiny/results.json");
    assert_eq!(results["split"], "validation");
    let num_samples =
        |name: &str| row(&results, name)["seeds"][0]["outcomes"][0].as_str().unwrap().len();
    let counts = ["base", "null", "sft", "rl", "rl/greedy", "rl/shuffled"].map(num_samples);
    assert_eq!(counts, [3, 2, 2, 4, 1, 1]);
    let num_rows = results["rows"].as_array().unwrap().len();
    // The row that cuts the levels is planned too.
    assert_eq!(plan["evaluations"]["num_rows"], num_rows + 1);
    let completions = project.files("runs/tiny/completions");
    let lines: usize =
        completions.values().map(|bytes| bytes.split(|b| *b == b'\n').count() - 1).sum();
    assert_eq!(plan["evaluations"]["num_completions"], lines);

    // What was kept of each question, and of each row's tokens.
    for question in results["questions"].as_array().unwrap() {
        assert_eq!(question["level_passes"][1], 2, "{question}");
        assert!(question["id"].as_str().unwrap().contains("/validation/"));
    }
    let spreads = results["spreads"].as_array().unwrap();
    let names: Vec<&str> = spreads.iter().map(|s| s["row"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "sft", "rl", "two_stage", "progressive", "data_mixing", "merged"]);
    let kl = |i: usize| spreads[i]["parts"][0]["all"]["kl_nats"].as_f64().unwrap();
    // A model that has hardly learned is hardly anywhere else.
    assert!(kl(0).abs() < 1e-5 && kl(1) > 1e-4, "{spreads:?}");

    let report = project.read("runs/tiny/report.md");
    for heading in
        ["Accuracy by the knob", "Several answers together", "Entropy and KL along the answers"]
    {
        assert!(report.contains(&format!("\n## {heading}\n")), "{heading}");
    }
    let page = project.read("runs/tiny/report.html");
    for id in ["knob", "several", "entropy"] {
        assert!(page.contains(&format!("<section id=\"{id}\"")), "{id}");
    }
    assert!(project.json("runs/tiny/figures.json")["passes"].as_array().unwrap().len() > 3);
    let events = project.events("tiny");
    let bonus = events.iter().filter(|e| e["kind"] == "step" && e["stage"] == "grpo_after_sft");
    assert!(bonus.clone().count() > 0);
    assert!(bonus.clone().all(|e| e["figures"]["policy_entropy_nats"].as_f64().unwrap() > 0.0));
    assert_whole(&project, true);

    // Scores are kept, and judging again keeps them.
    let again = succeed(&project, &["reproduce", "--profile", "tiny"]);
    assert!(!again.stderr.contains("scores of row"), "{}", again.stderr);
    succeed(&project, &["score", "--profile", "tiny"]);
    assert_eq!(project.json("runs/tiny/results.json")["spreads"], results["spreads"]);

    // Where the project lies may be a repository with changes, which is another reason.
    let mut clean = read_results(&project.path("runs/tiny/results.json")).unwrap();
    clean.provenance.dirty = false;
    project.write("runs/tiny/results.json", clean.to_json().unwrap());
    assert_refused!(project.run(&["golden", "accept", "--profile", "tiny"]), @"
    error: `runs/tiny/results.json` may not become golden: the run was asked validation questions, on which choices are made
    hint: golden results are of test questions: leave `split` out of [evaluation] and run again
    ");
    assert!(!project.path("golden/results/tiny.json").exists());
}

/// Edits a file of the project.
fn edit(project: &Project, path: &str, from: &str, to: &str) {
    let text = project.read(path);
    assert!(text.contains(from), "`{from}` is not in `{path}`");
    project.write(path, text.replace(from, to));
}

#[test]
fn a_second_base_of_the_same_recipe_is_a_control_row() {
    let project = project();
    kept_base(&project, "400");
    let recipe = "suite/recipes/kept.toml";
    let own = "path = \"golden/base/nano\"\n";
    let with_clone = |path: &str| format!("{own}clone = \"{path}\"\n");
    edit(&project, recipe, own, &with_clone("golden/base/nano-2"));
    assert_refused!(project.run(&["reproduce", "--profile", "kept"]), @"
    error: there is no kept base in `golden/base/nano-2`: No such file or directory
    hint: train it with `cargo xtask train-base`
    ");
    edit(&project, recipe, "golden/base/nano-2", "golden/base/nano");
    assert_refused!(project.run(&["reproduce", "--profile", "kept"]), @"
    error: `model.clone` is the base itself: `golden/base/nano`
    hint: `synergy train-base --seed N` makes one of the recipe that made the base
    ");
    assert_refused!(project.run(&["train-base", "--recipe", "tiny-base", "--seed", "1"]), @"
    error: seed 1 is the recipe's own, which makes the first base
    hint: leave `--seed` out, or give another
    ");

    succeed(&project, &["train-base", "--recipe", "tiny-base", "--seed", "2"]);
    edit(&project, recipe, "clone = \"golden/base/nano\"", "clone = \"golden/base/nano-2\"");
    succeed(&project, &["reproduce", "--profile", "kept"]);
    let results = project.json("runs/kept/results.json");
    let clone = row(&results, "clone");
    assert_eq!(clone["kind"], "control");
    assert_ne!(clone["seeds"][0]["num_tokens"], row(&results, "base")["seeds"][0]["num_tokens"]);

    // One of another recipe.
    let record = "golden/base/nano-2/base.json";
    edit(&project, record, "\"recipe\": \"tiny-base\"", "\"recipe\": \"other\"");
    assert_refused!(project.run(&["reproduce", "--profile", "kept"]), @"
    error: `model.clone` is no base of the same recipe: recipe `other` made `golden/base/nano-2`, and `tiny-base` the base
    hint: `synergy train-base --seed N` makes one of the recipe that made the base
    ");
}
