//! A checkpoint and questions of one's own, trained on as the families are: SFT on written answers, GRPO on answers to
//! be found.
//!
//! Does not test the layouts of files, which have their own tests.

use std::fmt::Write as _;

use serde_json::json;
use synergy_benchmarks::families::Split;
use synergy_suite::train::pool::drawn;
use synergy_suite::train::register::reasoned;
use synergy_tests::{Project, TINY};

use crate::{assert_refused, project, succeed};

/// The kept nano base as somebody might publish it, and questions of the families as somebody might write them down.
fn with_own() -> Project {
    let project = project();
    project.copy("golden/base/nano", "model");
    let (mut sharegpt, mut easyr1) = (Vec::new(), String::new());
    for index in 0..12 {
        let sample = drawn(3, index, Split::Train, [1, 2]);
        let picture = sample.load_images().expect("a picture is drawn").remove(0);
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).expect("PNG is written");
        project.write(&format!("own/{index}.png"), png.into_inner());
        let question = format!("<image>{}", sample.question);
        let dense = sample.solution.expect("a family solves its questions").dense();
        sharegpt.push(json!({
            "conversations": [
                {"from": "human", "value": question},
                {"from": "gpt", "value": reasoned(&dense, &sample.answer)},
            ],
            "images": [format!("{index}.png")],
        }));
        let row = json!({"problem": question, "answer": sample.answer, "images": [format!("{index}.png")]});
        let _ = writeln!(easyr1, "{row}");
    }
    project.write("own/traces.json", json!(sharegpt).to_string());
    project.write("own/questions.jsonl", easyr1);
    project.recipe(
        TINY,
        "own",
        &[
            (
                "kind = \"fresh\"\npreset = \"nano\"\nvocab_size = 400\ninitializer_range = 0.06",
                "kind = \"published\"\npath = \"model\"",
            ),
            (
                "[tables.questions.sft]\nsplit = \"train\"\nnum_questions = 12\nhops = [1, 2]",
                "[tables.questions.sft]\nnum_questions = 12\n\
                 files = { layout = \"sharegpt\", path = \"own/traces.json\", name = \"traces\", answer_tokens = 20.0, about_questions = 12 }",
            ),
            (
                "[tables.questions.rl]\nsplit = \"train\"\nnum_questions = 4\nhops = [1, 2]",
                "[tables.questions.rl]\nnum_questions = 4\n\
                 files = { layout = \"easyr1\", path = \"own/questions.jsonl\", name = \"asked\", answer_tokens = 20.0, about_questions = 12 }",
            ),
            ("trace = \"dense\"", "trace = \"written\""),
        ],
    );
    project
}

const REPRODUCE: [&str; 3] = ["reproduce", "--profile", "own"];

#[test]
fn every_regime_trains_on_files_from_a_published_checkpoint() {
    let project = with_own();
    let plan = succeed(&project, &["plan", "--profile", "own"]);
    assert!(plan.stdout.contains("grpo"), "{}", plan.stdout);
    succeed(&project, &REPRODUCE);
    let results = project.json("runs/own/results.json");
    let note = &results["provenance"]["base_note"];
    assert_eq!(note, "published checkpoint `model`, not measured by the gate");
    let sft = results["training"].as_array().unwrap();
    let sft = sft.iter().find(|stage| stage["stage"] == "sft").unwrap();
    // The base knows these questions and this form of answers.
    let loss = sft["summary"]["loss_start"].as_f64().unwrap();
    assert!(loss < 1.5, "{loss}");

    // Nothing is trained again, unless the rows are others.
    let before = project.files("runs/store").len();
    succeed(&project, &REPRODUCE);
    assert_eq!(project.files("runs/store").len(), before);
    let questions = project.read("own/questions.jsonl");
    project.write("own/questions.jsonl", questions.replacen("\"answer\":", "\"answer\": ", 1));
    succeed(&project, &REPRODUCE);
    assert!(project.files("runs/store").len() > before);
}

/// Tools that write `generation_config.json` anew may leave out what `config.json` says too.
#[test]
fn answers_end_though_the_settings_for_generation_do_not_say_where() {
    let project = with_own();
    project.write("model/generation_config.json", "{\"do_sample\": false}");
    let words = "evaluate --benchmark sum --limit 4 --max-new-tokens 48 --model model";
    succeed(&project, &words.split(' ').collect::<Vec<_>>());
    let evaluation = project.json("runs/evaluations/sum/evaluation.json");
    assert!(evaluation["outcomes"]["truncated"].as_f64().unwrap() < 0.5, "{evaluation}");
}

/// The last row that is asked: it is found before the first stage is trained.
#[test]
fn a_row_that_cannot_be_asked_is_refused_before_anything_is_trained() {
    let project = with_own();
    let rows = project.read("own/questions.jsonl");
    let mut lines: Vec<String> = rows.lines().map(str::to_owned).collect();
    lines[3] = lines[3].replacen("<image>", "<image><|im_end|>", 1);
    project.write("own/questions.jsonl", lines.join("\n"));
    assert_refused!(project.run(&REPRODUCE), @"
    error: question `asked/train/000004` (`own/questions.jsonl`, row 4) cannot be asked: its text holds `<|im_end|>`, a token of the chat template
    hint: mend the row or remove it: training takes files as a whole
    ");
    let started = project.files("runs/store");
    assert!(started.is_empty(), "{started:?}");
    // A row that nobody asks for.
    let mut lines: Vec<String> = rows.lines().map(str::to_owned).collect();
    lines[11] = lines[11].replacen("<image>", "<image><|im_end|>", 1);
    project.write("own/questions.jsonl", lines.join("\n"));
    succeed(&project, &REPRODUCE);
}

#[test]
fn files_that_do_not_fit_are_refused_in_a_line() {
    let project = with_own();
    let recipe = project.read("suite/recipes/own.toml");
    let with = |from: &str, to: &str| {
        assert!(recipe.contains(from), "{from}");
        project.write("suite/recipes/own.toml", recipe.replacen(from, to, 1));
        project.run(&REPRODUCE)
    };
    assert_refused!(with("layout = \"easyr1\"", "layout = \"mine\""), @"
    error: unusable recipe `suite/recipes/own.toml`: line 21: there is no layout `mine`
    hint: sharegpt, trl, easyr1, verl, mm-eureka, vlm-r1, mmk12, s1k-deepseek, s1k-gemini
    ");
    assert_refused!(with("own/traces.json", "own/none.json"), @"
    error: failed to read the questions `own/none.json`: No such file or directory
    hint: paths start at the project's root; `cargo xtask fetch` gets what others have published
    ");
    assert_refused!(with("num_questions = 12", "num_questions = 13"), @"
    error: `own/traces.json` has 12 questions, the recipe asks for 13
    hint: lower `num_questions`
    ");
    assert_refused!(with("path = \"model\"", "path = \"nothing\""), @"
    error: there is no checkpoint in `nothing`
    hint: `cargo xtask fetch` gets those that recipes start from
    ");
    assert_refused!(with("trace = \"written\"", "trace = \"dense\""), @"
    error: unusable recipe `suite/recipes/own.toml`: line 65: stage `traces`: the questions have no such trace
    hint: `written` for questions of files; brief, dense, long or shallow for those of the families
    ");
    assert_refused!(with("num_questions = 4\n", "num_questions = 4\nhops = [1, 2]\n"), @"
    error: unusable recipe `suite/recipes/own.toml`: line 19: questions come from files or from the families, not from both
    hint: `files` without `split` and `hops`
    ");
}
