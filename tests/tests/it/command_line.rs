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
    assert_refused!(project.run_with_input(&["grade"], "{}\n"), @r#"
    error: line 1 cannot be graded: missing field `gold` at line 1 column 2
    hint: a line is like {"gold": "3", "response": "\\boxed{3}", "choices": ["3", "4"]}
    "#);
    assert_refused!(project.run_with_input(&["grade", "--grader", "gpt"], ""), @"
    error: there is no grader `gpt`
    hint: graders are boxed-1, synergy-1, mathruler, math-verify, vlmevalkit-2025-07, vlmevalkit-2026-08, lmms-eval-2026-08
    ");
}

#[test]
fn every_verb_refuses_with_a_cause_and_a_hint_and_leaves_nothing_half_written() {
    let project = project();
    project.copy("golden/base/nano", "model");
    project.write("cut.json", "[1,2");
    project.write("not-text", [0xff, 0xfe]);
    project.write("text", "x\n");
    for line in [
        "reproduce --profile tiny --runs-dir text",
        "plan --device abacus",
        "plan no/such.toml",
        "plan --threads 0",
        "plan tiny --only none",
        "plan tiny --seeds 3..1",
        "reproduce --profile tiny --only sft,none",
        "reproduce --profile tiny --seeds 1..x",
        "plan cut.json",
        "plan not-text",
        "golden check --profile tiny",
        "golden accept --profile tiny",
        "self-test --profile tiny",
        "score --profile tiny",
        "train-base --recipe none",
        "train-base --recipe tiny",
        "base-gate --profile tiny",
        "base-gate --profile tiny --questions 0",
        "evaluate --benchmark sum --model none",
        "evaluate --benchmark sum --model model --limit 0",
        "evaluate --benchmark sum --model model --num-samples 0",
        "evaluate --benchmark sum --model model --grader gpt",
        "evaluate --benchmark sum --model model --max-new-tokens 0",
        "evaluate --benchmark sum --limit 1 --model model --max-new-tokens 1 --levels none.jsonl",
        "evaluate --benchmark sum --limit 1 --model model --max-new-tokens 1 --levels not-text",
        "evaluate --benchmark sum --limit 1 --endpoint nowhere --model-id m --retries 0",
        "evaluate --benchmark sum --endpoint http://127.0.0.1:9/v1 --model-id m --timeout 0",
        "evaluate --benchmark sum --endpoint http://127.0.0.1:9/v1 --model-id m --concurrency 0",
        "evaluate --benchmark sum --model model --split testmini",
        "evaluate --benchmark sum --model model --out text",
        "evaluate --benchmark easy_vqa --model model",
        "evaluate --benchmark arc_agi_1 --model model",
        "evaluate --benchmark mathvision --data text --model model",
        "levels --benchmark nothing --model model --out levels.jsonl",
        "levels --benchmark sum --model model --num-samples 0 --out levels.jsonl",
        "levels --benchmark sum --model model --out model",
        "leaderboard check none.json",
        "leaderboard check cut.json",
        "leaderboard site --out site",
        "show path --count 0",
        "show path --steps 99",
        "show path --level 3 --profile tiny",
        "show path --level 3 --out sheet.png",
        "show path --out sheet.gif",
        "show --out text/sheet.png",
        "chat --model none hi",
        "chat --model model --image none.png hi",
        "chat --model model --temperature=-1 hi",
        "inspect --model text --prompt hi",
        "inspect --model model --prompt hi --top 0",
        "export --model none --out out",
        "export --model model --out model",
        "export --model model --out out --max-shard-size 0",
        "export --profile tiny --regime none --out out",
        "merge --method linear --share 2 model model out",
        "merge --method ties --share 0.5 model model out",
        "show swp",
        "show path --level 6",
        "export --out out",
        "chat --model model --tmperature 1 hi",
    ] {
        let finished = project.run(&line.split(' ').collect::<Vec<_>>());
        println!("{line}\n{}", crate::refusal(&finished));
    }
}

#[test]
fn what_can_be_refused_is_before_a_folder_is_made_or_a_question_asked() {
    let project = project();
    project.copy("golden/base/nano", "model");
    let run = |line: &str| {
        let finished = project.run(&line.split(' ').collect::<Vec<_>>());
        assert!(!project.path("runs").exists(), "{line}");
        finished
    };
    assert_refused!(run("evaluate --benchmark pth --model model"), @"
    error: there is no benchmark `pth`
    hint: there are path, sum, count, chart, swap, maze, easy_vqa, arc_agi_1, arc_agi_2; mathvision, mathverse, mathvista, mmmu, mmstar with their files; any other with --data and --mapping
    ");
    assert_refused!(run("evaluate --benchmark sum --limit 1 --model model --levels none.jsonl"), @"
    error: failed to read levels `none.jsonl`: No such file or directory
    hint: `synergy levels` writes such a file
    ");
    assert_refused!(run("evaluate --benchmark sum --limit 1 --model model --split testmini"), @"
    error: benchmark `sum` is not asked on a split `testmini`
    hint: leave --split out: its questions are of the split `test`
    ");
    assert_refused!(run("evaluate --benchmark sum --limit 1 --model model --concurrency 0"), @"
    error: --concurrency is 0, so nothing would be requested
    hint: at least 1; 8 without it
    ");
    assert_refused!(run("levels --benchmark sum --limit 1 --model model --out model"), @"
    error: --out `model` is a folder
    hint: one file is written: name it
    ");
    assert!(!project.path("model.events.jsonl").exists());
    assert_refused!(run("inspect --model model --prompt hi --top 0"), @"
    error: --top is 0, so no next token would be shown
    hint: at least 1
    ");
    assert_refused!(run("train-base --quietly"), @"
    error: unexpected argument '--quietly' found
    hint: `synergy train-base --help` shows what it takes
    ");
    project.write("not-text", [0xff, 0xfe]);
    assert_refused!(run("plan not-text"), @"
    error: failed to read recipe `not-text`: stream did not contain valid UTF-8
    hint: a recipe is a text file in UTF-8, like those in suite/recipes
    ");
}

#[test]
fn help_of_every_verb_has_examples() {
    let project = project();
    let help = succeed(&project, &["--help"]).stdout;
    let verbs = help.split_once("Commands:").unwrap().1.split_once("\n\n").unwrap().0;
    let verbs: Vec<&str> =
        verbs.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let verbs: Vec<&str> =
        verbs.into_iter().filter(|verb| !verb.is_empty() && *verb != "help").collect();
    assert!(verbs.len() >= 16, "{verbs:?}");
    for verb in verbs {
        let help = succeed(&project, &[verb, "--help"]).stdout;
        let examples = help.split_once("\nExamples:\n").unwrap_or_default().1;
        assert!(examples.contains(&format!("synergy {verb}")), "{verb}: {help}");
    }
}

#[test]
fn a_misspelled_command_is_refused() {
    let finished = project().run(&["reprodcue"]);
    assert_eq!(finished.code, 2);
    insta::assert_snapshot!(finished.stderr, @r"
    error: unrecognized subcommand 'reprodcue'
    hint: a similar subcommand exists: 'reproduce'
    ");
}
