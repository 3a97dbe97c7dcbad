//! What the command line says about itself.
//!
//! Does not know results: they have floats, and no snapshot may.

use synergy_tests::TINY;

use crate::{assert_refused, project, succeed};

#[test]
fn help_names_every_command() {
    insta::assert_snapshot!("help", succeed(&project(), &["--help"]).stdout);
}

#[test]
fn help_of_reproduce_names_every_option() {
    insta::assert_snapshot!("help_reproduce", succeed(&project(), &["reproduce", "--help"]).stdout);
}

#[test]
fn the_plan_names_stages_steps_tokens_memory_and_time() {
    let project = project();
    // Long enough that no figure rounds to nothing.
    let edits =
        [("num_questions = 12", "num_questions = 6000"), ("num_steps = 2", "num_steps = 900")];
    project.recipe(TINY, "tiny", &edits);
    insta::assert_snapshot!("plan", succeed(&project, &["plan", "--profile", "tiny"]).stdout);
}

#[test]
fn a_plan_is_of_a_recipe_by_its_file_or_by_its_name() {
    let project = project();
    project.recipe(TINY, "tiny", &[]);
    let of = |words: &[&str]| succeed(&project, &[&["plan"], words].concat()).stdout;
    let plan = of(&["--profile", "tiny"]);
    for word in ["tiny", "tiny.toml", "suite/recipes/tiny.toml"] {
        assert_eq!(of(&[word]), plan, "{word}");
    }
    assert_refused!(project.run(&["plan", "other.toml"]), @"
    error: unknown profile `other`
    hint: profiles are tiny
    ");
}

#[test]
fn a_model_that_is_not_there_is_planned_by_its_published_sizes() {
    let project = project();
    let fresh = "kind = \"fresh\"\npreset = \"nano\"\nvocab_size = 400\ninitializer_range = 0.06";
    let model = |name: &str| format!("kind = \"published\"\npath = \"data/models/{name}\"");
    project.recipe(TINY, "tiny", &[(fresh, &model("qwen2.5-vl-7b"))]);
    let plan = succeed(&project, &["plan", "tiny.toml"]).stdout;
    insta::assert_snapshot!("plan_7b", plan);
    project.recipe(TINY, "tiny", &[(fresh, &model("mine"))]);
    assert_refused!(project.run(&["plan", "tiny.toml"]), @"
    error: there is no checkpoint in `data/models/mine`
    hint: `cargo xtask fetch` gets those that recipes start from
    ");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let project = project();
    project.recipe(TINY, "tiny", &[]);
    let finished = project.run_without_reader(&["plan", "--profile", "tiny"]);
    assert_eq!(finished.stderr, "code 0\n");
}

#[test]
fn answers_are_graded_from_standard_input() {
    let project = project();
    let input = "{\"gold\": \"1/2\", \"response\": \"it is \\\\boxed{0.5}\"}\n";
    let graded = project.run_with_input(&["grade", "--grader", "synergy-1"], input);
    assert_eq!(graded.stdout, "{\"outcome\":\"correct\",\"extracted\":\"0.5\"}\n");
    let bad = project.run_with_input(&["grade"], "{}\n");
    assert_eq!(bad.code, 2);
    assert!(bad.stderr.starts_with("error: line 1 cannot be graded"), "{}", bad.stderr);
    let unknown = project.run_with_input(&["grade", "--grader", "gpt"], "");
    assert!(
        unknown
            .stderr
            .starts_with("error: there is no grader `gpt`\nhint: graders are boxed-1, synergy-1, "),
        "{}",
        unknown.stderr
    );
}

#[test]
fn a_misspelled_command_is_refused() {
    let finished = project().run(&["reprodcue"]);
    assert_eq!(finished.code, 2);
    insta::assert_snapshot!(finished.stderr, @r"
    error: unrecognized subcommand 'reprodcue'

      tip: a similar subcommand exists: 'reproduce'

    Usage: synergy <COMMAND>

    For more information, try '--help'.
    ");
}
