//! Bad input and a bad disk: exit code 2, a cause, a hint, and nothing half-written.
//!
//! Does not know where a fault is noticed, only that it is, and before anything is spoiled.

use std::fs;

use synergy_tests::{BLOCK_BYTES, Finished, Project, TINY};

use crate::{assert_refused, assert_whole, kept_base, project, stage_keys, succeed};

const REPRODUCE: [&str; 3] = ["reproduce", "--profile", "tiny"];

/// Runs the recipe `tiny` with an edit.
fn with(from: &str, to: &str) -> Finished {
    let project = project();
    project.recipe(TINY, "tiny", &[(from, to)]);
    let finished = project.run(&REPRODUCE);
    assert!(!project.path("runs").exists(), "a recipe is refused before anything is written");
    finished
}

#[test]
fn an_unknown_key_is_named_with_those_expected() {
    assert_refused!(with("num_epochs", "epohcs"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 76: unknown field `epohcs`, expected one of `from`, `data`, `num_epochs`, `batch_size`, `position_gap_max`, `max_length`, `mean_over`, `token_weight`, `accumulation`, `checkpoint`, `training`, `optimizer`
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("muon_momentum", "momentum"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 52: unknown field `momentum`, expected one of `learning_rate`, `muon_learning_rate`, `muon_momentum`, `beta_1`, `beta_2`, `epsilon`, `weight_decay`, `max_grad_norm`, `warmup_steps`, `final_learning_rate_ratio`
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("name = \"rl\"", "name = \"rl\"\nkind = \"rl\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 178: unknown field `kind`, expected one of `name`, `note`, `stage`, `num_samples`, `greedy`
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("preset = \"dr_grpo\"", "preset = \"dr_grop\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 108: unknown variant `dr_grop`, expected one of `grpo_study`, `trl_default`, `verl_default`, `dr_grpo`, `dapo`
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("preset = \"dr_grpo\"", "ratio = \"token\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 98: missing field `advantage` of the objective
    hint: give every key, or a preset: grpo_study, trl_default, verl_default, dr_grpo, dapo
    ");
}

#[test]
fn a_value_of_another_type_has_its_own_line_wherever_it_stands() {
    let project = project();
    project.recipe(TINY, "tiny", &[]);
    let recipe = project.read("suite/recipes/tiny.toml");
    let mut num_seen = 0;
    let mut table = String::new();
    for (number, line) in (1..).zip(recipe.lines()) {
        if line.starts_with('[') {
            line.clone_into(&mut table);
        }
        // A value that is a number, of a key that stands at the beginning of a line.
        let Some((key, value)) = line.split_once(" = ") else { continue };
        if key.starts_with('#') || value.parse::<f64>().is_err() {
            continue;
        }
        num_seen += 1;
        let bad = recipe.replacen(&format!("{line}\n"), &format!("{key} = {{}}\n"), 1);
        let first = 1 + recipe.split_once(&format!("{line}\n")).unwrap().0.matches('\n').count();
        if first != number {
            // The same line stands above too; that one was tried.
            continue;
        }
        project.write("suite/recipes/tiny.toml", bad);
        let finished = project.run(&["plan", "--profile", "tiny"]);
        let want = format!("line {number}: ");
        assert!(finished.stderr.contains(&want), "{table} {line}: {}", finished.stderr);
    }
    assert!(num_seen > 40, "{num_seen}");
}

#[test]
fn a_stage_or_table_that_is_not_there_is_named() {
    assert_refused!(with("stage = \"grpo_after_sft\"", "stage = \"gpro_after\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 184: regime `two_stage`: no stage `gpro_after`
    hint: stages are asked, grpo, grpo_after_sft, merged, mixed, progressive, sft, sft_mixed, traces
    ");
    assert_refused!(with("data = \"traces\"", "data = \"preacher\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 100: stage `grpo_after_sft`: no stage `preacher`
    hint: stages are asked, grpo, grpo_after_sft, merged, mixed, progressive, sft, sft_mixed, traces
    ");
    assert_refused!(with("optimizer = \"sft\"", "optimizer = \"stf\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 81: stage `sft`: no optimizer `stf`
    hint: the recipe has rl, sft
    ");
    assert_refused!(with("unsolved_by = \"asked\"", "unsolved_by = \"nobody\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 148: stage `mixed`: no stage `nobody`
    hint: stages are asked, grpo, grpo_after_sft, merged, mixed, progressive, sft, sft_mixed, traces
    ");
}

#[test]
fn stages_that_do_not_fit_together_are_refused() {
    assert_refused!(with("from = \"base\"", "from = \"grpo_after_sft\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 136: stage `asked`: stage `grpo_after_sft` stands on itself: asked -> grpo -> grpo_after_sft -> sft -> grpo_after_sft
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("from = \"base\"", "from = \"traces\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 85: stage `grpo`: `traces` is data, not a model
    hint: name a stage that trains
    ");
    assert_refused!(with("data = \"traces\"", "data = \"grpo\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 148: stage `mixed`: `grpo` is a model, not data
    hint: name a stage of kind teacher, sample or mix
    ");
    assert_refused!(with("stage = \"sft\"", "stage = \"traces\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 174: regime `sft` ends with `traces`, which is data
    hint: name a stage that trains
    ");
    assert_refused!(with("unsolved_by = \"asked\"", "unsolved_by = \"traces\""), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 148: stage `mixed`: `traces` does not ask a model
    hint: name a stage of kind sample
    ");
    assert_refused!(
        with("from = \"base\"\nquestions", "from = \"base\"\nskip_solved_by = \"traces\"\nquestions"),
        @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 86: stage `grpo`: `traces` does not ask a model
    hint: name a stage of kind sample
    "
    );
    assert_refused!(with("parents = [\"sft\", ", "parents = [\"asked\", "), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 163: stage `merged`: `asked` is data, not a model
    hint: name a stage that trains
    ");
}

#[test]
fn numbers_out_of_range_are_refused_with_their_line() {
    assert_refused!(
        with("data = \"traces\"\nnum_epochs", "data = \"traces\"\ntoken_weight = { kind = \"trust_region\", alpha = 0.0 }\nnum_epochs"),
        @"
        error: unusable recipe `suite/recipes/tiny.toml`: line 76: stage `sft`: alpha = 0 is outside its range: above 0, at most 1
        hint: docs/RECIPES.md explains every key
        "
    );
    assert_refused!(
        with("data = \"traces\"\nnum_epochs", "data = \"traces\"\ntoken_weight = { kind = \"trust\" }\nnum_epochs"),
        @"
        error: unusable recipe `suite/recipes/tiny.toml`: line 76: unknown variant `trust`, expected one of `dft`, `phi`, `trust_region`, `gft`
        hint: docs/RECIPES.md explains every key
        "
    );
    assert_refused!(
        with("data = \"traces\"\nnum_epochs", "data = \"traces\"\nmean_over = \"answers\"\naccumulation = \"mean_of_means\"\nnum_epochs"),
        @"
        error: unusable recipe `suite/recipes/tiny.toml`: line 76: stage `sft`: a mean of means says what each token weighs, so mean_over has no say
        hint: leave mean_over out
        "
    );
    let guided = |keys: &str| with("gate = 0.0\nkeep_rl = false", keys);
    assert_refused!(guided("gate = 0.0"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 128: stage `progressive`: which groups are guided is said by `gate` and `keep_rl`, or by `by_passes`
    hint: gate = 0.0 and keep_rl = false guide groups without a right answer
    ");
    assert_refused!(guided("by_passes = [{ from = 1, sft = 1.0, rl = 0.0 }]"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 129: stage `progressive`: by_passes does not rise from 0
    hint: by_passes = [{ from = 0, sft = 1.0, rl = 0.0 }, { from = 1, sft = 0.0, rl = 1.0 }]
    ");
    assert_refused!(guided("by_passes = [{ from = 0, sft = -1.0, rl = 0.0 }]"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 129: stage `progressive`: sft = -1 is outside its range: 0 or more
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(
        guided("gate = 0.0\nkeep_rl = true\nmu = { warmup_steps = 0, decay_steps = 1, peak = 2.0, valley = 0.0 }"),
        @"
        error: unusable recipe `suite/recipes/tiny.toml`: line 131: stage `progressive`: peak = 2 is outside its range: 0 to 1, a share
        hint: docs/RECIPES.md explains every key
        "
    );
    assert_refused!(with("gate = 0.0", "gate = 1.5"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 129: stage `progressive`: gate = 1.5 is outside its range: 0 to 1, a pass rate
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("unsolved_by = \"asked\" }]", "share = 0.4 }]"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 148: stage `mixed`: the shares of the mix are [0.4] and do not sum to 1
    hint: shares above 0 that sum to 1
    ");
    assert_refused!(with("share = 0.25", "share = 1.25"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 164: stage `merged`: share 1.25 is outside its range
    hint: give a number from 0 to 1
    ");
    assert_refused!(with("split = \"train\"", "split = \"test\""), @r#"
    error: unusable recipe `suite/recipes/tiny.toml`: line 23: split `test` cannot be trained on: models are measured on it
    hint: split = "train"
    "#);
    assert_refused!(with("{ preset = \"dr_grpo\" }", "{ preset = \"dr_grpo\", clip_low = 2.0 }"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 108: stage `grpo_after_sft`: clip_low = 2 is outside its range: 0 to 1
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("pass_rate = [0.0, 1.0]", "pass_rate = [0.5, 0.1]"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 139: stage `asked`: pass_rate = [0.5, 0.1] must be [low, high] within 0 to 1, low <= high
    hint: [0.0, 1.0] keeps all
    ");
}

#[test]
fn a_reward_that_pays_for_nothing_does_not_start() {
    assert_refused!(with("answer = \"only_box\"", "answer = \"last_box\""), @r#"
    error: unusable recipe `suite/recipes/tiny.toml`: line 30: the reward pays 1 for a box for every option (`<think></think>\boxed{blue}\boxed{green}\boxed{purple}\boxed{yellow}\boxed{red}` where `red` is right)
    hint: answer = "only_box"
    "#);
    assert_refused!(with("accuracy_weight = 0.9", "accuracy_weight = 0.0"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 30: accuracy_weight 0 and format_weight 0.1 reward no right answer
    hint: the study's are 0.9 and 0.1
    ");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint() {
    let project = project();
    // The second step meets weights beyond any number.
    let edits = [("learning_rate = 5e-4", "learning_rate = 1e38"), ("batches = 2", "batches = 1")];
    project.recipe(TINY, "tiny", &edits);
    let finished = project.run(&REPRODUCE);
    let said = crate::refusal(&finished);
    insta::with_settings!({ filters => crate::FILTERS }, { insta::assert_snapshot!(said, @"
    error: stage `grpo` (seed 1) stopped at step [n]; its checkpoint of step 1 is kept: the model's logits are not finite
    hint: its weights have diverged; lower the learning rate
    "); });
    assert_whole(&project, true);
    let events = project.events("tiny");
    let kept = events.iter().filter(|e| e["kind"] == "checkpoint" && e["stage"] == "grpo");
    assert_eq!(kept.count(), 1);
    assert!(stage_keys(&project, "tiny", "grpo").is_empty());
}

#[test]
fn an_unknown_profile_is_answered_with_those_that_exist() {
    let project = project();
    assert_refused!(project.run(&["reproduce", "--profile", "huge"]), @r"
    error: unknown profile `huge`
    hint: profiles are tiny
    ");
    assert!(!project.path("runs").exists());
}

#[test]
fn outside_a_project_there_are_no_profiles() {
    let project = project();
    fs::remove_dir_all(project.path("suite")).unwrap();
    assert_refused!(project.run(&REPRODUCE), @r"
    error: no folder `suite/recipes`: No such file or directory
    hint: run inside the project's folder
    ");
}

#[test]
fn an_unknown_device_is_answered_with_those_of_this_build() {
    let project = project();
    assert_refused!(project.run(&["reproduce", "--profile", "tiny", "--device", "abacus"]), @"
    error: unknown device `abacus`
    hint: auto, flex, libtorch, cuda or cuda:N
    ");
    assert!(!project.path("runs").exists());
}

#[test]
fn an_unwritable_folder_is_noticed_before_the_work() {
    let project = project();
    // A file where the folder should be stops even an administrator.
    project.write("runs", "");
    assert_refused!(project.run(&REPRODUCE), @r"
    error: cannot write to folder `runs/store`: Not a directory
    hint: choose another with --runs-dir
    ");
    fs::remove_file(project.path("runs")).unwrap();
    project.write("runs/tiny", "");
    assert_refused!(project.run(&REPRODUCE), @r"
    error: failed to open `runs/tiny/events.jsonl`: File exists
    hint: choose another folder with --runs-dir
    ");
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let project = project();
    // Weights take 1.4 MB, so that no checkpoint fits.
    let full = project.run_with_short_files(1000, &REPRODUCE);
    assert_refused!(full, @r"
    error: failed to write artifact `runs/store/[key]`: File too large
    hint: is the disk full?
    ");
    assert_whole(&project, true);
    // Data is smaller and may stay.
    assert!(project.files("runs/store").keys().all(|name| !name.contains("safetensors")));
    // With room again the same command finishes.
    succeed(&project, &REPRODUCE);
    assert_whole(&project, true);
}

#[test]
fn a_full_disk_spoils_nothing_that_was_published() {
    let project = project();
    succeed(&project, &REPRODUCE);
    let published = || {
        let mut files = project.files("runs/tiny");
        files.remove("events.jsonl");
        files
    };
    let before = published();
    let num_blocks = |path: &str| {
        let length = project.read(path).len() / BLOCK_BYTES;
        u32::try_from(length).unwrap()
    };
    // The disk is full in the middle of the first or second event of another run.
    let full = project.run_with_short_files(num_blocks("runs/tiny/events.jsonl") + 1, &REPRODUCE);
    assert_refused!(full, @r"
    error: failed to write events: File too large
    hint: is the disk full?
    ");
    assert!(published() == before, "published files have changed");
    assert_whole(&project, true);
    // All events find room, but the leaderboard does not.
    let full = project.run_with_short_files(num_blocks("runs/tiny/leaderboard.json"), &REPRODUCE);
    assert_refused!(full, @r"
    error: failed to write `runs/tiny/leaderboard.json`: File too large
    hint: is the folder writable and the disk not full?
    ");
    assert!(published() == before, "published files have changed");
    assert_whole(&project, true);
}

#[test]
fn a_corrupt_artifact_is_refused_and_not_replaced() {
    let project = project();
    succeed(&project, &REPRODUCE);
    let key = &stage_keys(&project, "tiny", "sft")[0];
    let path = format!("runs/store/{key}/model.safetensors");
    let mut bytes = fs::read(project.path(&path)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    project.write(&path, &bytes);
    assert_refused!(project.run(&REPRODUCE), @r"
    error: artifact `runs/store/[key]` is damaged: `model.safetensors` is not what was written
    hint: delete that folder and run again
    ");
    assert!(fs::read(project.path(&path)).unwrap() == bytes, "it was replaced in silence");
    // The hint is true.
    let before = project.questions_and_rows("tiny");
    fs::remove_dir_all(project.path(&format!("runs/store/{key}"))).unwrap();
    succeed(&project, &REPRODUCE);
    assert_eq!(project.questions_and_rows("tiny"), before);
}

#[test]
fn completions_that_were_cut_are_refused() {
    let project = project();
    succeed(&project, &REPRODUCE);
    let files = project.files("runs/store");
    let path = files.keys().find(|path| path.ends_with("completions.jsonl")).unwrap();
    let text = project.read(&format!("runs/store/{path}"));
    project.write(&format!("runs/store/{path}"), &text[..text.len() / 2]);
    assert_refused!(project.run(&["score", "--profile", "tiny"]), @r"
    error: artifact `runs/store/[key]` is damaged: `completions.jsonl` is not what was written
    hint: delete that folder and run again
    ");
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let (project, other) = (project(), project());
    kept_base(&project, "400");
    kept_base(&other, "500");
    let path = "golden/base/nano/tokenizer.json";
    let tokenizer = other.read(path);
    project.write(path, &tokenizer);
    assert_refused!(reproduce_kept(&project), @r"
    error: kept base file `golden/base/nano/tokenizer.json` is not the one recorded
    hint: restore it with git, or train it again
    ");
    // Recorded as if it belonged there, it still does not fit.
    let hash = |project: &Project| {
        let record = project.json("golden/base/nano/base.json");
        record["files"]["tokenizer.json"].as_str().unwrap().to_owned()
    };
    let record = project.read("golden/base/nano/base.json");
    let record = record.replace(&hash(&project), &hash(&other));
    project.write("golden/base/nano/base.json", record);
    assert_refused!(reproduce_kept(&project), @r"
    error: tokenizer `golden/base/nano/tokenizer.json` has 500 entries, the model 400
    hint: tokenizer.json and config.json belong to different models
    ");
}

fn reproduce_kept(project: &Project) -> Finished {
    project.run(&["reproduce", "--profile", "kept", "--runs-dir", "other"])
}

#[test]
fn a_base_that_is_missing_or_changed_is_refused() {
    let project = project();
    kept_base(&project, "400");
    let path = "golden/base/nano/model.safetensors";
    let mut bytes = fs::read(project.path(path)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    project.write(path, bytes);
    assert_refused!(reproduce_kept(&project), @r"
    error: kept base file `golden/base/nano/model.safetensors` is not the one recorded
    hint: restore it with git, or train it again
    ");
    fs::remove_dir_all(project.path("golden/base")).unwrap();
    assert_refused!(reproduce_kept(&project), @r"
    error: there is no kept base in `golden/base/nano`: No such file or directory
    hint: train it with `cargo xtask train-base`
    ");
}

#[test]
fn an_empty_split_is_refused() {
    assert_refused!(with("questions_per_family = 2", "questions_per_family = 0"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 202: questions_per_family = 0 is outside its range: 1 to 100000
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("num_questions = 12", "num_questions = 0"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 19: there is nothing to train on: num_questions = 0
    hint: docs/RECIPES.md explains every key
    ");
    assert_refused!(with("questions_per_family = 1", "questions_per_family = 0"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 62: the validation split is empty
    hint: numbers of questions and max_new_tokens are at least 1
    ");
    assert_refused!(with("batch_size = 2", "batch_size = 0"), @"
    error: unusable recipe `suite/recipes/tiny.toml`: line 88: stage `grpo`: batch_size = 0 is outside its range: at least 1
    hint: docs/RECIPES.md explains every key
    ");
}
