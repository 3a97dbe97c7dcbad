//! Other people's questions and other people's servers, end to end.
//!
//! Does not know how anything is read, asked or judged: it runs `synergy evaluate` as a person would, and compares what
//! it wrote.
//!
//! The kept bases know five families of pictures and nothing else, so that their accuracy on other sets says nothing;
//! what is checked is that every question is read, asked, judged and counted.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use xshell::Shell;

use super::gate::{self, build};
use super::outcome::{Outcome, Section};
use crate::fetch::{self, Item};
use crate::files::{remove_folder, unread};
use crate::process::Background;
use crate::python;
use crate::synergy::{self, Arguments};

/// The benchmarks: name, files where `fetch` did not put them, number of questions, and the model that answers.
const SETS: [(&str, Option<&str>, &str, &str); 5] = [
    ("easy_vqa", None, "200", "golden/base/nano"),
    ("arc_agi_1", None, "40", "golden/base/nano"),
    ("arc_agi_2", None, "20", "golden/base/nano"),
    ("mathvision", Some("golden/parity/datasets/MathVision.tsv"), "4", "golden/base/nano"),
    ("mmstar", Some("golden/parity/datasets/mmstar"), "2", "golden/base/nano"),
];

/// The model that is served, and asked here as well.
const SERVED: &str = "golden/base/small";
/// The folder in which its server is installed; git ignores it.
const SERVER: &str = "target/serve";
const REQUIREMENTS: &str = "golden/parity/requirements-serve.txt";
/// The longest wait until the server listens.
const START: Duration = Duration::from_secs(180);
/// The least share of its greedy answers that must equal the suite's own: two implementations may round two equally
/// likely tokens to different sides.
const SAME_MIN: f64 = 0.95;

/// Fetches the sets that come through pip and evaluates the kept base on them and on tables in the owners' layouts.
///
/// # Errors
/// If a set cannot be fetched or a program cannot be started.
pub(super) fn published(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    for dataset in [Item::EasyVqa, Item::ArcAgi] {
        let _section = Section::new("fetch");
        match fetch::run(root, dataset, false) {
            Ok(ExitCode::SUCCESS) => {}
            Ok(_) => return Ok(Outcome::Failed),
            // Without an index there is nothing to evaluate on.
            Err(error) => {
                let cause = synergy_hint::line(&error);
                return Ok(Outcome::Skipped(format!("a set could not be fetched: {cause}")));
            }
        }
    }
    let built = build(sh, root, device)?;
    if built != Outcome::Passed {
        return Ok(built);
    }
    for (benchmark, data, limit, model) in SETS {
        let _section = Section::new(&format!("evaluate {benchmark}"));
        let out = out(root, benchmark);
        let arguments = evaluation(benchmark, limit, &out)?
            .option("--model", Some(model))
            .option("--device", device)
            .option("--data", data);
        match synergy::run(sh, &arguments)? {
            0 => {}
            code => return Ok(Outcome::of(code)),
        }
        let answers = texts(&out)?;
        ensure!(
            answers.len().to_string() == limit,
            "{} of {limit} questions of {benchmark} were answered",
            answers.len()
        );
    }
    Ok(Outcome::Passed)
}

/// Lets `transformers serve` answer for the kept base, and compares its greedy answers with our own.
///
/// # Errors
/// If the server cannot be installed or started, or answers are missing.
pub(super) fn endpoint(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    let python = {
        let _section = Section::new("install a server");
        let requirements = root.join(REQUIREMENTS);
        python::environment(&root.join(SERVER), &requirements, "transformers and torch", "7 GB")?
    };
    let built = build(sh, root, device)?;
    if built != Outcome::Passed {
        return Ok(built);
    }
    let _section = Section::new("ask the server and ourselves");
    let server = Server::start(&python, &root.join(SERVED).join(".."))?;
    let [theirs, ours] = ["served", "own"].map(|name| out(root, name));
    let question = |out: &Path| evaluation("sum", "60", out);
    let served = question(&theirs)?
        .option("--endpoint", Some(&server.url))
        .option("--model-id", Some("./small"))
        .option("--concurrency", Some("2"));
    let own = question(&ours)?.option("--model", Some(SERVED)).option("--device", device);
    for arguments in [served, own] {
        match synergy::run(sh, &arguments)? {
            0 => {}
            code => return Ok(Outcome::of(code)),
        }
    }
    let (theirs, ours) = (texts(&theirs)?, texts(&ours)?);
    ensure!(
        theirs.len() == ours.len(),
        "the server gave {} answers, the suite {}",
        theirs.len(),
        ours.len()
    );
    let same = theirs.iter().zip(&ours).filter(|(a, b)| a == b).count();
    println!("{same} of {} greedy answers of transformers serve are our own", ours.len());
    let share = same as f64 / ours.len().max(1) as f64;
    Ok(if share >= SAME_MIN { Outcome::Passed } else { Outcome::Failed })
}

/// Returns the folder of an evaluation and of the answers that it keeps.
fn out(root: &Path, name: &str) -> PathBuf {
    root.join(gate::RUNS_DIR).join("evaluations").join(name)
}

/// Builds the command that asks `limit` questions of `benchmark`, with its empty folder `out`.
fn evaluation(benchmark: &str, limit: &str, out: &Path) -> anyhow::Result<Arguments> {
    remove_folder(out)?;
    Ok(Arguments::new(["evaluate", "--benchmark", benchmark, "--limit", limit])
        .with(["--temperature", "0", "--max-new-tokens", "100"])
        .option("--replies", Some(out.join("replies")))
        .option("--out", Some(out)))
}

/// Reads the texts of all answers.
fn texts(out: &Path) -> anyhow::Result<Vec<String>> {
    /// The keys of a completion that are read here.
    #[derive(Deserialize)]
    struct Completion {
        text: String,
    }

    let path = out.join("completions.jsonl");
    let lines = fs::read_to_string(&path).with_context(|| unread(&path))?;
    let text = |line| serde_json::from_str(line).map(|Completion { text }| text);
    let texts: Result<Vec<String>, _> = lines.lines().map(text).collect();
    texts.with_context(|| format!("`{}` holds an invalid completion", path.display()))
}

/// A running server.
struct Server {
    program: Background,
    url: String,
}

impl Server {
    /// Starts the server in a folder of models, which are called by the names of their folders.
    fn start(python: &Path, models: &Path) -> anyhow::Result<Server> {
        // Nobody else gets the port in the moment between.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let program = python.with_file_name("transformers");
        let child = Command::new(&program)
            .args(["serve", "--host", "127.0.0.1", "--device", "cpu", "--log-level", "error"])
            .args(["--port", &port.to_string()])
            .current_dir(models)
            .env("HF_HUB_OFFLINE", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start `{}`", program.display()))?;
        let mut server =
            Server { program: Background(child), url: format!("http://127.0.0.1:{port}/v1") };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.program.0.try_wait()?;
            ensure!(ended.is_none(), "`{}` ended by itself: {ended:?}", program.display());
            ensure!(start.elapsed() < START, "`{}` does not listen", program.display());
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_the_job_is_there_or_fetched() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (_, data, _, model) in SETS {
            assert!(root.join(model).is_dir(), "{model}");
            assert!(data.is_none_or(|data| root.join(data).exists()), "{data:?}");
        }
        assert!(root.join(REQUIREMENTS).is_file());
    }
}
