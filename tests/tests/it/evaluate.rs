//! Any model on any benchmark, from the command line: answers, judgement, exports, levels, resume.
//!
//! Does not test the graders' rules or what goes wrong at an endpoint, which have their own tests.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use synergy_tests::{Project, Stop};

use crate::{assert_follows_schema, assert_refused, project, succeed};

const OUT: &str = "runs/evaluations/sum/evaluation.json";

/// A project with the kept nano base in `model`.
fn with_model() -> Project {
    let project = project();
    project.copy("golden/base/nano", "model");
    project
}

fn evaluate<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual =
        ["--benchmark", "sum", "--limit", "6", "--num-samples", "2", "--max-new-tokens", "48"];
    ["evaluate"].into_iter().chain(usual).chain(more.iter().copied()).collect()
}

#[test]
fn a_checkpoint_is_evaluated_by_level_under_every_grader_and_exported() {
    let project = with_model();
    let levels = "levels --benchmark sum --limit 6 --num-samples 4 --max-new-tokens 48 --model model --out levels.jsonl";
    let cut = succeed(&project, &levels.split(' ').collect::<Vec<_>>());
    assert!(cut.stdout.ends_with("levels of 6 questions are in levels.jsonl\n"), "{}", cut.stdout);

    let arguments = evaluate(&["--model", "model", "--levels", "levels.jsonl"]);
    succeed(&project, &arguments);
    let evaluation = project.json(OUT);
    assert_follows_schema("evaluation", &evaluation);
    assert_eq!((&evaluation["num_questions"], &evaluation["num_samples"]), (&json!(6), &json!(2)));
    assert_eq!(evaluation["levels_from"], "levels.jsonl");
    let by_level = evaluation["levels"].as_array().unwrap();
    let count: u64 = by_level.iter().map(|part| part["num_questions"].as_u64().unwrap()).sum();
    assert_eq!(count, 6);
    assert_eq!(evaluation["agreement"]["graders"][0], "synergy-1");
    assert_eq!(evaluation["agreement"]["graders"].as_array().unwrap().len(), 7);
    // Answers that cut levels are other answers: four and two for each of six questions.
    assert_eq!(project.files("runs/replies").len(), 6 * (4 + 2));

    let exports = project.files("runs/evaluations/sum/exports");
    let names: Vec<&String> = exports.keys().collect();
    let results = names.iter().find(|name| name.contains("lm-eval/model/results_")).unwrap();
    let results: Value = serde_json::from_slice(&exports[*results]).unwrap();
    let whole = &results["results"]["sum"];
    assert_eq!(whole["acc,none"], evaluation["accuracy"]["mean"]);
    let subtasks = results["group_subtasks"]["sum"].as_array().unwrap();
    assert_eq!(subtasks.len(), by_level.len());
    let samples = names.iter().filter(|name| name.contains("/samples_sum_")).count();
    assert_eq!(samples, 1 + by_level.len());
    let table = String::from_utf8(exports["vlmevalkit/model_sum.tsv"].clone()).unwrap();
    assert!(table.starts_with("index\tquestion\tanswer\tcategory\tprediction\n"), "{table}");
    assert!(exports.contains_key("model-index.yaml"));

    // The same again asks nothing and says the same.
    let before = project.files("runs/replies");
    succeed(&project, &arguments);
    assert_eq!(project.files("runs/replies"), before);
    let mut again = project.json(OUT);
    again["provenance"] = evaluation["provenance"].clone();
    assert_eq!(again, evaluation);
}

/// Answers on another backend, or in another type of numbers, are other answers.
#[test]
#[cfg_attr(not(feature = "libtorch"), ignore = "only a build with libtorch has the device")]
fn answers_are_kept_apart_by_backend_and_dtype() {
    let project = with_model();
    let mut kept = 0;
    for how in [["flex", "f32"], ["libtorch", "f32"], ["libtorch", "bf16"]] {
        let arguments = ["--model", "model", "--device", how[0], "--dtype", how[1]];
        succeed(&project, &evaluate(&arguments));
        let evaluation = project.json(OUT);
        assert_follows_schema("evaluation", &evaluation);
        let answerer = &evaluation["answerer"];
        assert_eq!([&answerer["backend"], &answerer["dtype"]], how);
        kept += 12;
        assert_eq!(project.files("runs/replies").len(), kept);
    }
}

/// Answers every request with the same box, after `wait`; counts them.
fn server(wait: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("it is bound"));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut text = String::new();
            let mut bytes = [0; 4096];
            // The body ends where its braces do.
            while !text.contains("\r\n\r\n")
                || text.matches('{').count() != text.matches('}').count()
            {
                let read = stream.read(&mut bytes).expect("a request");
                if read == 0 {
                    break;
                }
                text.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            if text.starts_with("GET ") {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(wait);
            let body = json!({
                "choices": [{"message": {"content": "so \\boxed{3}"}, "finish_reason": "stop"}],
                "usage": {"completion_tokens": 5},
            })
            .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    (url, count)
}

#[test]
fn a_model_behind_an_endpoint_is_asked_once_for_each_answer() {
    let project = project();
    let (url, count) = server(Duration::ZERO);
    let arguments = evaluate(&["--endpoint", &url, "--model-id", "some/model", "--json"]);
    let finished = succeed(&project, &arguments);
    let evaluation: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_follows_schema("evaluation", &evaluation);
    assert_eq!(evaluation["answerer"]["id"], "some/model");
    assert_eq!(evaluation["answerer"].get("dtype"), None);
    assert_eq!(evaluation["levels_from"], Value::Null);
    assert_eq!(count.load(Ordering::Relaxed), 12);
    let lines = project.read("runs/evaluations/sum/completions.jsonl");
    assert_eq!(lines.lines().count(), 12);
    // Another grader asks nobody; another revision asks anew.
    let mathruler = [&arguments[..], &["--grader", "mathruler"]].concat();
    let judged: Value = serde_json::from_str(&succeed(&project, &mathruler).stdout).unwrap();
    assert_eq!(judged["grader"], "mathruler");
    assert_eq!(count.load(Ordering::Relaxed), 12);
    succeed(&project, &[&arguments[..], &["--revision", "2"]].concat());
    assert_eq!(count.load(Ordering::Relaxed), 24);
}

#[test]
fn ctrl_c_loses_no_answer_and_asks_for_none_twice() {
    let project = project();
    let (url, count) = server(Duration::from_millis(60));
    let arguments = evaluate(&["--endpoint", &url, "--model-id", "m", "--concurrency", "1"]);
    let stopped = project.run_until("  4/12 ", Stop::Interrupt, &arguments);
    assert_eq!(stopped.code, 130, "{}", stopped.stderr);
    let said = "of 12 answers\nhint: the same command goes on from there";
    assert!(stopped.stderr.contains(said), "{}", stopped.stderr);
    let kept = project.files("runs/replies").len();
    assert!((4..12).contains(&kept), "{kept}");
    assert_eq!(count.load(Ordering::Relaxed), kept);
    assert!(!project.path(OUT).exists());
    succeed(&project, &arguments);
    assert_eq!(count.load(Ordering::Relaxed), 12);
    assert_eq!(project.json(OUT)["accuracy"]["mean"].as_f64().map(|m| m < 1.0), Some(true));
}

#[test]
fn rows_of_ones_own_are_asked_and_a_bad_one_is_told() {
    let project = project();
    let picture = include_bytes!("../../../golden/parity/datasets/one.png");
    project.write("data-of-mine/one.png", picture);
    project.write("data-of-mine/two.png", picture);
    project.write(
        "mine.toml",
        "benchmark = \"mine\"\nid = \"id\"\nquestion = \"q\"\nanswer = \"a\"\noptions_list = \"o\"\n\
         pictures = [{ column = \"p\", kind = \"path\" }]\n",
    );
    let row = |id: u32, picture: &str| {
        format!(
            "{{\"id\": {id}, \"q\": \"<image> What?\", \"a\": \"3\", \"o\": [\"2\", \"3\"], \"p\": \"{picture}\"}}\n"
        )
    };
    let rows = [row(1, "one.png"), row(2, "none.png"), row(3, "two.png")].concat();
    project.write("data-of-mine/rows.jsonl", rows);
    let (url, _) = server(Duration::ZERO);
    let files = ["--data", "data-of-mine/rows.jsonl", "--mapping", "mine.toml"];
    let endpoint = ["--endpoint", &url, "--model-id", "m"];
    let arguments = [&["evaluate", "--benchmark", "mine"][..], &files, &endpoint].concat();
    assert_refused!(project.run(&arguments), @"
    error: failed to read `data-of-mine/rows.jsonl`, row 2, column `p`: the picture `data-of-mine/none.png` is missing
    hint: paths begin at `data-of-mine`
    ");
    succeed(&project, &[&arguments[..], &["--skip-bad"]].concat());
    let evaluation = project.json("runs/evaluations/mine/evaluation.json");
    assert_follows_schema("evaluation", &evaluation);
    assert_eq!(evaluation["num_questions"], 2);
    assert_eq!(evaluation["skipped"][0]["row"], 2);
    assert_eq!(evaluation["skipped"][0]["column"], "p");
    // `\\boxed{3}` names the second option.
    assert_eq!(evaluation["accuracy"]["mean"], 1.0);
}

#[test]
fn a_question_that_cannot_be_asked_is_counted_and_listed_and_the_others_are_measured() {
    let project = with_model();
    let picture = include_bytes!("../../../golden/parity/datasets/one.png");
    project.write("mine/one.png", picture);
    project.write(
        "mine.toml",
        "benchmark = \"mine\"\nid = \"id\"\nquestion = \"q\"\nanswer = \"a\"\n\
         pictures = [{ column = \"p\", kind = \"path\" }]\n",
    );
    let row = |id: u32, question: &str| {
        format!("{{\"id\": {id}, \"q\": \"{question}\", \"a\": \"3\", \"p\": \"one.png\"}}\n")
    };
    let long = "on and ".repeat(2000);
    let rows = [row(1, "What?"), row(2, "Is it <|image_pad|>?"), row(3, &long), row(4, "Or?")];
    project.write("mine/rows.jsonl", rows.concat());
    let files = "--benchmark mine --data mine/rows.jsonl --mapping mine.toml";
    // The default limit is all that the base can hold.
    let arguments = format!("evaluate {files} --model model --temperature 0 --num-samples 2");
    let finished = succeed(&project, &arguments.split(' ').collect::<Vec<_>>());
    let evaluation = project.json("runs/evaluations/mine/evaluation.json");
    assert_follows_schema("evaluation", &evaluation);
    assert_eq!(evaluation["num_questions"], 4);
    assert_eq!(evaluation["outcomes"]["unanswered"], 0.5);
    let unanswered = evaluation["unanswered"].as_array().unwrap();
    let told: Vec<_> = unanswered.iter().map(|one| (&one["id"], &one["obstacle"])).collect();
    let ids = [json!("mine/2"), json!("mine/3")];
    assert_eq!(told, [(&ids[0], &json!("prompt")), (&ids[1], &json!("too_long"))]);
    let place = (&unanswered[0]["file"], &unanswered[0]["row"]);
    assert_eq!(place, (&json!("mine/rows.jsonl"), &json!(2)));
    assert_eq!(unanswered[0]["num_answers"], 2);
    let line = "mine/2, mine/rows.jsonl, row 2, 2 of 2 answers: its text holds `<|image_pad|>`, a token of the chat template";
    assert!(finished.stdout.contains(line), "{}", finished.stdout);
    assert!(project.read("runs/evaluations/mine/report.md").contains("never came"));
    let lines = project.read("runs/evaluations/mine/completions.jsonl");
    assert_eq!(lines.lines().filter(|line| line.contains("\"unanswered\"")).count(), 4);
    // Left out, they are rows like other bad ones, and no answer is missing.
    succeed(&project, &[&arguments.split(' ').collect::<Vec<_>>()[..], &["--skip-bad"]].concat());
    let evaluation = project.json("runs/evaluations/mine/evaluation.json");
    assert_follows_schema("evaluation", &evaluation);
    assert_eq!((&evaluation["num_questions"], &evaluation["unanswered"]), (&json!(2), &json!([])));
    let rows: Vec<_> =
        evaluation["skipped"].as_array().unwrap().iter().map(|s| &s["row"]).collect();
    assert_eq!(rows, [&json!(2), &json!(3)]);
    // Of eight in a row nothing is learned.
    project.write("mine/rows.jsonl", (0..9).map(|id| row(id, &long)).collect::<String>());
    let error = project.run(&arguments.split(' ').collect::<Vec<_>>());
    assert_eq!(error.code, 2);
    assert!(
        error
            .stderr
            .contains("error: 8 questions in a row have no answer, the last, `mine/7`: it has"),
        "{}",
        error.stderr
    );
}

#[test]
fn what_cannot_be_evaluated_is_refused_in_a_line() {
    let project = with_model();
    assert_refused!(project.run(&["evaluate", "--benchmark", "mathvision", "--model", "model"]), @"
    error: benchmark `mathvision` needs its files
    hint: --data PATH, or `cargo xtask fetch mathvision`
    ");
    assert_refused!(project.run(&evaluate(&["--model", "model", "--grader", "gpt"])), @"
    error: there is no grader `gpt`
    hint: graders are boxed-1, synergy-1, mathruler, math-verify, vlmevalkit-2025-07, vlmevalkit-2026-08, lmms-eval-2026-08
    ");
    let half = ["--model", "model", "--device", "flex", "--dtype", "bf16"];
    assert_refused!(project.run(&evaluate(&half)), @"
    error: the device flex does not compute in bf16
    hint: bf16 needs --device libtorch or cuda
    ");
    assert_refused!(project.run(&evaluate(&["--model", "model", "--top-p", "2"])), @"
    error: invalid sampling settings: --temperature 0.6, --top-p 2, --max-new-tokens 48
    hint: temperature at least 0, top-p above 0 and at most 1, at least 1 token
    ");
    project.write("levels.jsonl", "{\"id\": \"sum\"}\n");
    assert_refused!(project.run(&evaluate(&["--model", "model", "--levels", "levels.jsonl"])), @"
    error: failed to read levels `levels.jsonl`: line 1 is not a valid record: missing field `num_correct` at line 1 column 13
    hint: `synergy levels` writes such a file
    ");
    let nowhere = "--endpoint http://127.0.0.1:9/v1 --model-id m --retries 0 --timeout 2";
    assert_refused!(project.run(&evaluate(&nowhere.split(' ').collect::<Vec<_>>())), @"
    error: none of 6 questions has an answer; the first is missing, `sum/test/9001/00000`: io: Connection refused
    hint: mend that cause; the same command asks again
    ");
}
