//! Engines of others: answers are the suite's own, faults lose nothing, and no process is left.
//!
//! Does not know vLLM or SGLang themselves: the server is a stand-in with the interface of either (`src/bin/stand_in_engine.rs`),
//! which answers as the suite does and has the faults that it is told to have. `cargo xtask ci engine` does the same with vLLM.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use synergy_tests::{Finished, Project, Stop};

use crate::{assert_refused, project, refusal, succeed};

/// A project with the kept nano base in `model`, and the engine `engine.toml`.
fn with_engine(faults: &str, more: &str) -> Project {
    let project = project();
    project.copy("golden/base/nano", "model");
    engine(&project, faults, more);
    project
}

/// Writes the engine, which keeps its notes in a folder that is empty.
fn engine(project: &Project, faults: &str, more: &str) {
    let command = [env!("CARGO_BIN_EXE_stand-in-engine"), "serve"];
    write_engine(project, ("vllm", "0.32.0", &command), faults, more);
}

/// The same as SGLang.
fn sglang(project: &Project, faults: &str, more: &str) {
    let command = [env!("CARGO_BIN_EXE_stand-in-engine")];
    write_engine(project, ("sglang", "0.5.23", &command), faults, more);
}

fn write_engine(
    project: &Project,
    (kind, version, command): (&str, &str, &[&str]),
    faults: &str,
    more: &str,
) {
    let notes = project.path("notes");
    let _ = std::fs::remove_dir_all(&notes);
    project.write("notes/asked", "");
    let text = format!(
        "kind = \"{kind}\"\nversion = \"{version}\"\ncommand = {command:?}\ndtype = \"f32\"\n\
         environment = {{ STAND_IN_FAULTS = \"{faults}\", STAND_IN_FOLDER = \"{}\" }}\n\
         max_concurrent_questions = 2\nstart_timeout_s = 60.0\nanswer_timeout_s = 5.0\n{more}",
        notes.display()
    );
    project.write("engine.toml", text);
}

fn noted(project: &Project, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(project.path("notes").join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Asks eight questions twice each.
fn evaluate(project: &Project, more: &[&str]) -> Finished {
    let usual = "evaluate --benchmark sum --limit 8 --max-new-tokens 24 --model model";
    let arguments: Vec<&str> = usual.split(' ').chain(more.iter().copied()).collect();
    project.run(&arguments)
}

/// What the engine answers, by itself.
#[track_caller]
fn answers(project: &Project, more: &[&str]) -> String {
    let _ = std::fs::remove_dir_all(project.path("runs"));
    let finished = evaluate(project, &[&["--engine", "engine.toml"], more].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    no_process_is_left(project);
    project.read("runs/evaluations/sum/completions.jsonl")
}

/// What is said where the engine cannot be used.
#[track_caller]
fn refused(faults: &str, more: &str) -> Finished {
    let project = with_engine(faults, more);
    let finished = evaluate(&project, &["--engine", "engine.toml"]);
    no_process_is_left(&project);
    finished
}

#[track_caller]
fn no_process_is_left(project: &Project) {
    let is_there = |id: &String| {
        let found = Command::new("ps").args(["-o", "stat=", "-p", id]).output();
        let found = found.expect("`ps` is there");
        let state = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    };
    let clock = Instant::now();
    while noted(project, "lives").iter().any(is_there) {
        assert!(clock.elapsed() < Duration::from_secs(15), "a server is left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn greedy_answers_are_those_of_the_suite_and_all_are_the_same_again() {
    let project = with_engine("", "");
    let greedy = answers(&project, &["--temperature", "0", "--num-samples", "2"]);
    let own =
        evaluate(&project, &["--temperature", "0", "--num-samples", "2", "--out", "runs/own"]);
    assert_eq!(own.code, 0, "{}", own.stderr);
    assert_eq!(greedy, project.read("runs/own/completions.jsonl"));
    // The probe, and every question once.
    assert_eq!(noted(&project, "asked").len(), 1 + 8);
    let drawn = answers(&project, &["--num-samples", "3"]);
    assert_eq!(drawn, answers(&project, &["--num-samples", "3"]));
    let texts: Vec<Value> = drawn.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(texts.iter().any(|line| line["text"] != texts[0]["text"]));
    // What is stored is not asked again, and answers of the suite are other answers.
    let before = noted(&project, "asked").len();
    evaluate(&project, &["--num-samples", "3", "--engine", "engine.toml"]);
    assert_eq!(noted(&project, "asked").len(), before, "no server is started for nothing");
    let report = project.json("runs/evaluations/sum/evaluation.json");
    assert_eq!(report["answerer"]["backend"], "vllm 0.32.0 in f32");
    // Two servers give what one gives.
    engine(&project, "", "num_replicas = 2\n");
    assert_eq!(drawn, answers(&project, &["--num-samples", "3"]));
    assert_eq!(noted(&project, "lives").len(), 2);
}

#[test]
fn a_server_that_dies_or_is_silent_is_started_again_and_nothing_is_lost() {
    let project = with_engine("", "");
    let whole = answers(&project, &["--num-samples", "2"]);
    for (fault, num_lives) in
        [("die=4", 2), ("hang=4", 2), ("cut=4", 1), ("mixed=4", 1), ("port_taken", 2)]
    {
        engine(&project, fault, "");
        assert_eq!(answers(&project, &["--num-samples", "2"]), whole, "{fault}");
        assert_eq!(noted(&project, "lives").len(), num_lives, "{fault}");
        // The probe of each life, every question, and those again that were under way.
        let num_asked = noted(&project, "asked").len();
        assert!((9..=9 + 1 + 2).contains(&num_asked), "{fault}: {num_asked}");
    }
}

#[test]
fn a_server_that_dies_again_and_again_ends_the_run_and_answers_stay() {
    let project = with_engine("die_always=4", "");
    let finished = evaluate(&project, &["--engine", "engine.toml"]);
    let said = refusal(&finished);
    assert!(
        said.starts_with("error: the engine is gone for the second time: ")
            && said.contains("RuntimeError: Engine core died"),
        "{said}"
    );
    assert_eq!(noted(&project, "lives").len(), 2);
    no_process_is_left(&project);
}

#[test]
fn an_engine_that_cannot_start_says_why() {
    let project = with_engine("out_of_memory", "");
    let said = refusal(&evaluate(&project, &["--engine", "engine.toml"]));
    let left = project.files("runs/engine");
    assert!(
        left.keys().all(|path| path.ends_with(".log")) && !left.is_empty(),
        "{:?}",
        left.keys()
    );
    assert!(
        said.starts_with(
            "error: the engine ended while it started: torch.OutOfMemoryError: CUDA out of memory"
        ) && said.contains("\nhint: its log is `"),
        "{said}"
    );
    assert_refused!(refused("version=0.31.0", ""), @"
    error: the engine has version 0.31.0, and 0.32.0 is asked for
    hint: another version is another engine: change `version`, and answers are made again
    ");
    assert_refused!(refused("without=/inference/v1/generate", ""), @"
    error: the engine lacks `/inference/v1/generate`
    hint: start it with --enable-scale-out, and with VLLM_SERVER_DEV_MODE=1 in its environment
    ");
    assert_refused!(refused("", "head_dims = [64, 128]\n"), @"
    error: the engine cannot compute attention heads of 32 numbers, which the model has
    hint: it takes [64, 128] (`head_dims`); --engine own computes any
    ");
    assert_refused!(refused("", "colour = 1\n"), @"
    error: unusable engine `engine.toml`: line 9: unknown field `colour`, expected one of `kind`, `version`, `command`, `addresses`, `dtype`, `max_model_len`, `arguments`, `environment`, `num_replicas`, `tensor_parallel_size`, `max_concurrent_questions`, `start_timeout_s`, `answer_timeout_s`, `head_dims`, `max_lora_rank`, `correction`
    hint: docs/RECIPES.md explains every key
    ");
    let project = with_engine("", "");
    assert_refused!(evaluate(&project, &["--engine", "nobody"]), @"
    error: there is no engine `nobody`
    hint: engines are own, or the file of another
    ");
    let text = project.read("engine.toml");
    let (before, after) = text.split_once("command = ").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    project.write("gone.toml", format!("{before}command = [\"target/none\"]\n{after}"));
    assert_refused!(evaluate(&project, &["--engine", "gone.toml"]), @"
    error: there is no program `target/none`, which the engine is started with
    hint: `cargo xtask engine vllm` installs vLLM in the project's folder, from which paths are meant; or name another engine with --engine FILE
    ");
    let (_, rest) = after.split_once("max_concurrent").unwrap();
    let rest = format!("dtype = \"f32\"\nmax_concurrent{rest}");
    project.write("far.toml", format!("{before}addresses = [\"http://127.0.0.1:9\"]\n{rest}"));
    let said = refusal(&evaluate(&project, &["--engine", "far.toml"]));
    assert!(said.starts_with("error: no engine answers at `http://127.0.0.1:9`: "), "{said}");
}

/// Questions of very different length are asked together, with a limit that no long one has room for.
#[test]
fn each_question_has_the_room_that_it_leaves() {
    let project = with_engine("", "");
    let rows = ["What?".to_owned(), "What is it? ".repeat(150)]
        .map(|question| serde_json::json!({ "q": question, "a": "4" }).to_string() + "\n");
    project.write("rows.jsonl", rows.concat());
    project.write(
        "mine.toml",
        "benchmark = \"mine\"\nquestion = \"q\"\nanswer = \"a\"\npictures = []\n",
    );
    let words = "evaluate --benchmark mine --data rows.jsonl --mapping mine.toml --model model \
                 --temperature 0 --max-new-tokens 2048 --out";
    let words: Vec<&str> = words.split_whitespace().collect();
    succeed(&project, &[words.as_slice(), &["own"]].concat());
    succeed(&project, &[words.as_slice(), &["served", "--engine", "engine.toml"]].concat());
    let read = |out: &str| project.read(&format!("{out}/completions.jsonl"));
    assert_eq!(read("own"), read("served"));
}

/// A running server, to which two runs give weights at the same time.
#[test]
fn answers_of_weights_that_somebody_else_has_given_are_not_believed() {
    let project = with_engine("", "");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let mut server = Command::new(env!("CARGO_BIN_EXE_stand-in-engine"))
        .args(["serve", "model", "--port", &port])
        .current_dir(project.path("."))
        .spawn()
        .unwrap();
    let clock = Instant::now();
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(clock.elapsed() < Duration::from_secs(20), "it does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = project.read("engine.toml");
    let lines = text.lines().filter(|l| !l.starts_with("command") && !l.starts_with("environment"));
    let lines: Vec<&str> = lines.collect();
    let addresses = format!("addresses = [\"http://127.0.0.1:{port}\"]\n{}\n", lines.join("\n"));
    project.write("engine.toml", addresses);
    let finished = evaluate(&project, &["--engine", "engine.toml"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    // Named by somebody else in the middle of the next one.
    let rename = "while :; do printf 'POST /update_weight_version HTTP/1.1\\r\\nContent-Length: 24\\r\\n\\r\\n\
                  {\"new_version\": \"other\"}' | timeout 1 bash -c \"cat > /dev/tcp/127.0.0.1/$0\"; done";
    let mut other = Command::new("bash").args(["-c", rename, &port]).spawn().unwrap();
    let finished =
        evaluate(&project, &["--engine", "engine.toml", "--seed", "2", "--num-samples", "40"]);
    other.kill().unwrap();
    other.wait().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let said = refusal(&finished);
    assert!(said.contains("weights `other` answered, and `"), "{said}");
}

#[test]
fn an_engine_that_answers_otherwise_is_not_used() {
    for (fault, words) in [
        ("wrong_model", "its greedy answer to a question is not the suite's"),
        ("penalty", "its greedy answer to a question is not the suite's"),
        ("other_tokens", "it reads another question"),
    ] {
        let said = refusal(&refused(fault, ""));
        assert!(said.contains("the engine cannot be used: "), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

/// Runs a regime of the recipe `tiny` with the engine.
fn reproduce(project: &Project, regime: &str) -> Finished {
    project.run(&arguments(regime))
}

fn arguments(regime: &str) -> Vec<&str> {
    let words = "reproduce --profile tiny --seeds 1 --engine engine.toml --only";
    words.split(' ').chain([regime]).collect()
}

/// Figures of the steps of RL.
fn steps(project: &Project) -> Vec<Value> {
    let events = project.events("tiny");
    let is_rl = |e: &Value| e["stage"].as_str().is_some_and(|stage| stage.starts_with("grpo"));
    let steps = events.into_iter().filter(|e| e["kind"] == "step" && is_rl(e));
    steps.map(|step| step["figures"].clone()).collect()
}

#[test]
fn a_regime_rolls_out_and_is_evaluated_through_an_engine() {
    let project = with_engine("", "correction = { level = \"token\", max = 2.0 }\n");
    let finished = reproduce(&project, "rl");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    no_process_is_left(&project);
    let steps = steps(&project);
    assert_eq!(steps.len(), 2);
    for step in &steps {
        let figure = |name: &str| step[name].as_f64().unwrap_or_else(|| panic!("{name}: {step}"));
        assert!(figure("engine_gap_max") < 1e-5 && figure("engine_gap_share") < 1e-9, "{step}");
        assert!((figure("engine_weight") - 1.0).abs() < 1e-4, "{step}");
        assert!(figure("log_prob_gap") < 1e-5 && figure("length") > 0.0, "{step}");
    }
    // One server for the whole run, and the three caches emptied with each checkpoint: those of two steps, of the rows.
    assert_eq!(noted(&project, "lives").len(), 1);
    let calls = noted(&project, "calls");
    let count = |path: &str| calls.iter().filter(|call| *call == path).count();
    assert!(count("/collective_rpc") > 3, "{calls:?}");
    for path in ["/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"] {
        assert_eq!(count(path), count("/collective_rpc"), "{path}");
    }
    let results = project.json("runs/tiny/results.json");
    let backend = results["provenance"]["backend"].as_str().unwrap();
    assert!(backend.ends_with(", answers by vllm 0.32.0 in f32"), "{backend}");
    let command = results["provenance"]["command"].as_str().unwrap();
    assert!(command.ends_with("--only rl --seeds 1 --engine engine.toml"), "{command}");
    let first = project.questions_and_rows("tiny");
    // Weights are gone, logs are there, also where it did not start.
    let left = project.files("runs/engine");
    assert!(left.keys().all(|path| path.ends_with(".log")) && !left.is_empty(), "{left:?}");
    // What is stored needs no engine, and the suite's own answers are others.
    let again = reproduce(&project, "rl");
    assert_eq!((again.code, noted(&project, "lives").len()), (0, 1), "{}", again.stderr);
    // All of it once more, to the bit.
    std::fs::remove_dir_all(project.path("runs")).unwrap();
    assert_eq!(reproduce(&project, "rl").code, 0);
    assert_eq!(project.questions_and_rows("tiny"), first);
    let scored = succeed(&project, &["score", "--profile", "tiny", "--engine", "engine.toml"]);
    assert!(!scored.stdout.is_empty());
}

#[test]
fn faults_in_training_lose_nothing() {
    let project = with_engine("", "");
    assert_eq!(reproduce(&project, "two_stage").code, 0);
    let (first, rows) = (steps(&project), project.questions_and_rows("tiny"));
    // One that never forgets what it had is started again with each checkpoint.
    for fault in ["die=60", "stale_once", "stale_cache"] {
        engine(&project, fault, "");
        std::fs::remove_dir_all(project.path("runs")).unwrap();
        let finished = reproduce(&project, "two_stage");
        assert_eq!(finished.code, 0, "{fault}: {}", finished.stderr);
        assert!(finished.stderr.contains("is started again"), "{fault}: {}", finished.stderr);
        assert_eq!(
            (steps(&project), project.questions_and_rows("tiny")),
            (first.clone(), rows.clone())
        );
        no_process_is_left(&project);
    }
}

#[test]
fn an_adapter_is_given_by_its_name() {
    let lora = "[tables.trainings.all]\nlora = { r = 2, lora_alpha = 4.0, target_modules = [\"q_proj\"] }\n";
    let project = with_engine("", "max_lora_rank = 4\n");
    let muon = ("muon_learning_rate = 3e-3", "muon_learning_rate = 0.0");
    project.recipe(synergy_tests::TINY, "tiny", &[("[tables.trainings.all]\n", lora), muon]);
    let finished = reproduce(&project, "rl");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let calls = noted(&project, "calls");
    let count = |path: &str| calls.iter().filter(|call| *call == path).count();
    assert_eq!(
        (count("/v1/load_lora_adapter"), count("/v1/unload_lora_adapter")),
        (2, 2),
        "{calls:?}"
    );
    for step in steps(&project) {
        assert!(step["engine_gap_max"].as_f64().unwrap() < 1e-5, "{step}");
    }
    engine(&project, "", "max_lora_rank = 1\n");
    assert_refused!(reproduce(&project, "rl"), @"
    error: adapters of `tables.trainings.all` have rank 2, and the engine takes at most 1
    hint: raise `max_lora_rank` of the engine, or leave it out: whole weights are then given
    ");
}

#[test]
fn a_conversation_is_answered_by_an_engine_as_by_the_suite() {
    let project = with_engine("", "");
    succeed(&project, &["show", "--out", "sheet.png"]);
    let words = "chat --model model --image sheet.png --temperature 0 --max-new-tokens 12 What?";
    let words: Vec<&str> = words.split(' ').collect();
    let own = succeed(&project, &words);
    let served = succeed(&project, &[words.as_slice(), &["--engine", "engine.toml"]].concat());
    assert_eq!(served.stdout, own.stdout);
    assert_eq!(noted(&project, "lives").len(), 1);
    no_process_is_left(&project);
}

#[test]
fn no_process_is_left_whatever_ends_the_run() {
    for stop in [Stop::Kill, Stop::Interrupt] {
        let project = with_engine("", "");
        let finished = project.run_until("evaluate levels", stop, &arguments("rl"));
        assert_ne!(finished.code, 0, "{}", finished.stderr);
        assert_eq!(noted(&project, "lives").len(), 1);
        no_process_is_left(&project);
        // And the same command goes on.
        let finished = reproduce(&project, "rl");
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        no_process_is_left(&project);
    }
}

#[test]
fn a_recipe_names_its_engine_and_one_that_is_too_small_is_refused() {
    let project = with_engine("", "");
    let text = project.read("engine.toml");
    let table = format!("[engine]\n{text}\n[[regimes]]");
    let recipe = project.read("suite/recipes/tiny.toml").replacen("[[regimes]]", &table, 1);
    project.write("suite/recipes/tiny.toml", &recipe);
    let run = ["reproduce", "--profile", "tiny", "--only", "base"];
    succeed(&project, &run);
    assert_eq!(noted(&project, "lives").len(), 1);
    // The suite's own answers are others, and are made anew.
    succeed(&project, &[run.as_slice(), &["--engine", "own"]].concat());
    assert_eq!(noted(&project, "lives").len(), 1);
    let events = project.events("tiny");
    let evaluated: Vec<&Value> = events.iter().filter(|e| e["kind"] == "evaluated").collect();
    assert_eq!(evaluated.len(), 12);
    assert!(evaluated.iter().all(|row| row["cached"] == false), "{evaluated:?}");
    let short = recipe.replacen("[engine]\n", "[engine]\nmax_model_len = 8\n", 1);
    project.write("suite/recipes/tiny.toml", short);
    let said = refusal(&project.run(&run));
    assert!(said.starts_with("error: the engine's context is too short: "), "{said}");
}

/// What an engine of the other kind answers is the same, number for number: its seeds are.
#[test]
fn sglang_answers_as_vllm_does() {
    let project = with_engine("", "");
    let whole = answers(&project, &["--num-samples", "3"]);
    for (fault, num_lives) in [("", 1), ("die=4", 2), ("cut=4", 1), ("mixed=4", 1)] {
        sglang(&project, fault, "");
        assert_eq!(answers(&project, &["--num-samples", "3"]), whole, "{fault}");
        assert_eq!(noted(&project, "lives").len(), num_lives, "{fault}");
    }
    let report = project.json("runs/evaluations/sum/evaluation.json");
    assert_eq!(report["answerer"]["backend"], "sglang 0.5.23 in f32");
    let again = |fault: &str| {
        sglang(&project, fault, "");
        let _ = std::fs::remove_dir_all(project.path("runs"));
        let finished = evaluate(&project, &["--engine", "engine.toml"]);
        no_process_is_left(&project);
        finished
    };
    for (fault, words) in [
        ("wrong_model", "its greedy answer to a question is not the suite's"),
        ("penalty", "its greedy answer to a question is not the suite's"),
        ("other_tokens", "it reads another question"),
    ] {
        let said = refusal(&again(fault));
        assert!(said.contains(words), "{said}");
    }
    assert_refused!(again("without=/update_weights_from_disk"), @"
    error: the engine lacks `/update_weights_from_disk`
    hint: start another version of it
    ");
}

#[test]
fn sglang_rolls_out_with_whole_weights_and_with_adapters() {
    let project = with_engine("", "");
    assert_eq!(reproduce(&project, "two_stage").code, 0);
    let (first, rows) = (steps(&project), project.questions_and_rows("tiny"));
    let calls = |path: &str| noted(&project, "calls").iter().filter(|call| *call == path).count();
    for (fault, num_lives) in [("", 1), ("stale_once", 2)] {
        sglang(&project, fault, "");
        std::fs::remove_dir_all(project.path("runs")).unwrap();
        let finished = reproduce(&project, "two_stage");
        assert_eq!(finished.code, 0, "{fault}: {}", finished.stderr);
        assert_eq!(noted(&project, "lives").len(), num_lives);
        assert!(calls("/update_weights_from_disk") > 3);
        let found = (steps(&project), project.questions_and_rows("tiny"));
        assert_eq!(found, (first.clone(), rows.clone()), "{fault}");
        no_process_is_left(&project);
    }
    let lora = "[tables.trainings.all]\nlora = { r = 2, lora_alpha = 4.0, target_modules = [\"q_proj\"] }\n";
    let muon = ("muon_learning_rate = 3e-3", "muon_learning_rate = 0.0");
    project.recipe(synergy_tests::TINY, "tiny", &[("[tables.trainings.all]\n", lora), muon]);
    sglang(&project, "", "max_lora_rank = 4\n");
    let finished = reproduce(&project, "rl");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!((calls("/load_lora_adapter"), calls("/unload_lora_adapter")), (2, 2));
    for step in steps(&project) {
        assert!(step["engine_gap_max"].as_f64().unwrap() < 1e-5, "{step}");
    }
}
