//! Models that others have trained, as rows of a recipe: asked as they lie, recorded without a cost, and refused where they
//! do not fit the base.
//!
//! They are the recorded nano base with other weights.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::weights::{Parameters, StoredDtype};
use synergy_suite::device::Compute;
use synergy_tests::{Project, TINY_STUDY};

use crate::{assert_refused, project, succeed};

const REPRODUCE: [&str; 3] = ["reproduce", "--profile", "study"];
const SFT: &str = "others/sft/model.safetensors";

/// The weights of a safetensors file of f32, each number multiplied.
fn scaled(file: &[u8], by: f32) -> Vec<u8> {
    let header = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    let (header, numbers) = file.split_at(8 + header as usize);
    let numbers = numbers.chunks_exact(4).flat_map(|bytes| {
        let number = f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        (number * by).to_le_bytes()
    });
    header.iter().copied().chain(numbers).collect()
}

/// The model in `dir` in shards of bf16, as large ones are published.
fn shard(dir: &Path) {
    let config = VlmConfig::read(dir).expect("a config");
    let device = Compute::open("flex", Some(1)).expect("the CPU").device;
    let weights = Parameters::load(dir, &config, &device).expect("weights");
    fs::remove_file(dir.join("model.safetensors")).expect("the file is there");
    weights.save(dir, StoredDtype::Bf16, 200_000).expect("weights can be written");
}

/// A base, and two models that others have trained from it.
fn with_study() -> Project {
    let project = project();
    project.copy("golden/base/nano", "model");
    let weights = fs::read(project.path("model/model.safetensors")).expect("a base has weights");
    for (name, by) in [("sft", 1.1), ("rl", 0.9)] {
        project.copy("golden/base/nano", &format!("others/{name}"));
        project.write(&format!("others/{name}/model.safetensors"), scaled(&weights, by));
    }
    shard(&project.path("others/rl"));
    project.recipe(TINY_STUDY, "study", &[]);
    project
}

/// Other numbers in the file `path`, of the same length and time.
fn swap_numbers(project: &Project, path: &str) {
    let file = project.path(path);
    let time = fs::metadata(&file).and_then(|about| about.modified()).expect("a time");
    let bytes = fs::read(&file).expect("a file");
    project.write(path, scaled(&bytes, 0.5));
    let opened = File::options().write(true).open(&file).expect("a file");
    opened.set_modified(time).expect("a time can be set");
}

/// The artifact in the store whose manifest says `value` under `key`.
fn artifacts(project: &Project, key: &str, value: &str) -> Vec<String> {
    let files = project.files("runs/store");
    let manifests = files.iter().filter(|(path, _)| path.ends_with("/manifest.json"));
    let parsed = manifests.map(|(path, bytes)| {
        (path, serde_json::from_slice::<Value>(bytes).expect("a manifest is JSON"))
    });
    let alike = parsed.filter(|(_, manifest)| manifest["depends_on"][key] == value);
    alike.map(|(path, _)| path.trim_end_matches("/manifest.json").to_owned()).collect()
}

/// The rows that the last run of the project asked.
fn asked(project: &Project) -> Vec<String> {
    let events = project.events("study");
    let start = events.iter().rposition(|event| event["kind"] == "started").expect("a start");
    let evaluated = events[start..].iter().filter(|event| event["kind"] == "evaluated");
    let new = evaluated.filter(|event| event["cached"] == false);
    new.map(|event| event["row"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn models_of_others_are_rows_without_a_cost_and_others_start_from_them() {
    let project = with_study();
    let plan = succeed(&project, &["plan", "--profile", "study"]).stdout;
    assert!(plan.contains("sft_published published"), "{plan}");
    succeed(&project, &REPRODUCE);

    // Every row has weights of its own.
    let results = project.json("runs/study/results.json");
    let rows = results["rows"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    let answers = |name: &str| row(name)["seeds"][0]["num_tokens"].to_string();
    let names = ["base", "sft", "rl", "merged", "more"];
    for (i, name) in names.iter().enumerate() {
        assert!(names[..i].iter().all(|other| answers(name) != answers(other)), "{name}");
    }
    // Nobody knows what they have cost, nor what stands on them.
    assert_eq!(results["budgets"], serde_json::json!([]));
    let board = project.json("runs/study/leaderboard.json");
    for row in board["rows"].as_array().unwrap() {
        assert_eq!(row["budget"], serde_json::json!([]), "{}", row["name"]);
    }
    let training = board["training"].as_array().unwrap();
    let stage = training.iter().find(|stage| stage["stage"] == "sft_published").unwrap();
    assert_eq!(stage["published"], serde_json::json!(["sft"]));
    assert_eq!(stage["cost"]["optimizer_steps"], 0);
    let own = training.iter().find(|stage| stage["stage"] == "more").unwrap();
    assert!(own.get("published").is_none() && own["cost"]["optimizer_steps"] == 2, "{own}");
    let line = "The cost of sft, rl, merged, more is not known: others have trained";
    let report = project.read("runs/study/report.md");
    assert!(report.contains(line) && report.contains("trained by others: SFT"), "{report}");
    assert!(project.read("runs/study/report.html").contains(line));

    // The weights stay where they are.
    for record in artifacts(&project, "kind", "published") {
        let files = project.files(&format!("runs/store/{record}"));
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["manifest.json", "published.json", "summary.json"]);
    }
    assert_eq!(artifacts(&project, "kind", "published").len(), 2);
}

#[test]
fn a_finished_run_reads_no_weights_and_changed_ones_are_another_model() {
    let project = with_study();
    succeed(&project, &REPRODUCE);
    let store = project.files("runs/store");

    // Nobody looks: what is there was asked of the files as they were.
    swap_numbers(&project, SFT);
    succeed(&project, &REPRODUCE);
    assert!(project.files("runs/store") == store && asked(&project).is_empty());

    // Somebody looks, and does not take other numbers for those that the key names.
    let row = artifacts(&project, "row", "sft");
    let [row] = row.as_slice() else { panic!("{row:?}") };
    fs::remove_dir_all(project.path(&format!("runs/store/{row}"))).unwrap();
    assert_refused!(project.run(&REPRODUCE), @"
    error: the files in `others/sft` have changed since they were hashed
    hint: fetch the model again; if you changed it, `touch` its files and run again: it is then another model
    ");

    // As files of another time they are another model, and so is what stands on it.
    project.write(SFT, fs::read(project.path(SFT)).unwrap());
    succeed(&project, &REPRODUCE);
    assert_eq!(asked(&project), ["sft", "sft/shuffled", "merged", "merged/shuffled"]);
    assert_eq!(artifacts(&project, "kind", "published").len(), 3);
}

#[test]
fn a_folder_that_was_moved_is_the_same_model() {
    let project = with_study();
    let words = [&REPRODUCE[..], &["--only", "sft"]].concat();
    succeed(&project, &words);
    fs::rename(project.path("others/sft"), project.path("moved")).unwrap();
    project.recipe(TINY_STUDY, "study", &[("others/sft", "moved")]);
    succeed(&project, &words);
    assert!(asked(&project).is_empty());
    // What has not been asked yet is read where it lies now.
    let words = [&REPRODUCE[..], &["--only", "sft,merged"]].concat();
    succeed(&project, &words);
    assert_eq!(asked(&project), ["merged", "merged/shuffled"]);
}

#[test]
fn a_model_that_does_not_fit_the_base_is_refused_before_anything_is_asked() {
    let project = with_study();
    let edited = |file: &str, edit: &dyn Fn(&mut Value)| {
        let path = format!("others/rl/{file}");
        let before = project.read(&path);
        let mut value = project.json(&path);
        edit(&mut value);
        project.write(&path, value.to_string());
        let finished = project.run(&REPRODUCE);
        project.write(&path, before);
        finished
    };
    assert_refused!(edited("config.json", &|config| config["intermediate_size"] = 128.into()), @"
    error: the model in `others/rl` has another shape than the base: `intermediate_size` is 128, not 160
    hint: a stage of kind `published` takes a model that was trained from the recipe's base
    ");
    assert_refused!(edited("config.json", &|config| config["vision_config"]["depth"] = 1.into()), @"
    error: the model in `others/rl` has another shape than the base: `vision_config.depth` is 1, not 2
    hint: a stage of kind `published` takes a model that was trained from the recipe's base
    ");
    let swap = |file: &mut Value| {
        let vocab = &mut file["model"]["vocab"];
        let (a, b) = (vocab["a"].clone(), vocab["b"].clone());
        (vocab["a"], vocab["b"]) = (b, a);
    };
    assert_refused!(edited("tokenizer.json", &swap), @"
    error: the model in `others/rl` has another tokenizer than the base: `a` is token 71, not 70
    hint: a stage of kind `published` takes a model that was trained from the recipe's base
    ");
    let lose = |index: &mut Value| {
        index["weight_map"]
            .as_object_mut()
            .unwrap()
            .retain(|_, file| file.as_str().unwrap().contains("-00001-of"));
    };
    let said = crate::refusal(&edited("model.safetensors.index.json", &lose));
    assert!(said.contains("unusable weights in `others/rl`: missing `"), "{said}");
    fs::rename(project.path("others/rl"), project.path("others/gone")).unwrap();
    assert_refused!(project.run(&REPRODUCE), @"
    error: there is no published model in `others/rl`
    hint: `cargo xtask fetch study` gets those of profile study
    ");
    assert!(artifacts(&project, "kind", "completions").is_empty(), "something was asked");
    let plan = succeed(&project, &["plan", "--profile", "study"]).stdout;
    assert!(plan.contains("there is no `others/rl` yet"), "{plan}");

    // A row that does not need it is there all the same.
    succeed(&project, &[&REPRODUCE[..], &["--only", "sft"]].concat());
    assert_eq!(asked(&project).last().map(String::as_str), Some("sft/shuffled"));
}
