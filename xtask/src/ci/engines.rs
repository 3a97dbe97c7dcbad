//! Other people's engines on what we write: they must answer as the suite's own engine does.
//!
//! Does not know how anything is asked or judged: `synergy evaluate` asks both, and what it wrote is compared.
//!
//! An engine's `/health` says nothing about whether it can answer, so that the first questions are the test. Servers listen
//! on this machine alone, and end with everything that they started.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use synergy_hint::Hinted;
use xshell::Shell;

use super::evaluate::{evaluation, out, texts};
use super::full;
use super::gate::{self, build};
use super::outcome::{Outcome, Section};
use super::rollouts;
use crate::engine::{self, Flavor};
use crate::files::{create_folder, remove_folder};
use crate::process::Group;
use crate::python;
use crate::synergy::{self, Arguments};

/// The bases that are exported and served.
const BASES: [&str; 2] = ["nano", "small"];
/// The base that `transformers serve` answers for.
const SERVED: &str = "golden/base/small";
/// The least share of an engine's greedy answers that must equal the suite's own: two implementations may round two
/// equally likely tokens to different sides.
const SAME_MIN: f64 = 0.95;

/// The folder in which `transformers serve` is installed; git ignores it.
const TRANSFORMERS: &str = "target/serve";
const TRANSFORMERS_REQUIREMENTS: &str = "golden/parity/requirements-serve.txt";
/// The longest wait until it listens.
const TRANSFORMERS_START: Duration = Duration::from_secs(180);

/// The longest wait until it answers: it compiles, and three processes import torch.
const VLLM_START: Duration = Duration::from_secs(900);
/// The questions that vLLM is asked: family and number.
const VLLM_ASKED: [(&str, &str); 5] =
    [("path", "24"), ("sum", "24"), ("count", "24"), ("chart", "24"), ("swap", "24")];

/// Lets `transformers serve` answer for the kept base, and compares its greedy answers with our own.
///
/// # Errors
/// If the server cannot be installed or started, or answers are missing.
pub(super) fn endpoint(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    let python = {
        let _section = Section::new("install a server");
        let requirements = root.join(TRANSFORMERS_REQUIREMENTS);
        python::environment(
            &root.join(TRANSFORMERS),
            &requirements,
            "transformers and torch",
            "7 GB",
        )?
    };
    let built = build(sh, root, device)?;
    if built != Outcome::Passed {
        return Ok(built);
    }
    let _section = Section::new("ask the server and ourselves");
    let port = free_port()?;
    let mut command = Command::new(python.with_file_name("transformers"));
    command
        .args(["serve", "--host", "127.0.0.1", "--device", "cpu", "--log-level", "error"])
        .args(["--port", &port.to_string()])
        // Its models are called by the names of their folders.
        .current_dir(root.join(SERVED).join(".."))
        .env("HF_HUB_OFFLINE", "1");
    let server = Server::start(command, port, &root.join(TRANSFORMERS).join("log"))?;
    server.wait(TRANSFORMERS_START, |port| TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    let asked = Asked { model: SERVED, id: "./small", concurrency: "2", device };
    let compared = asked.compare(sh, root, &server, "sum", "60")?;
    Ok(compared.outcome("transformers serve"))
}

/// Exports the kept bases, lets vLLM answer for each on the CPU, and compares its greedy answers with our own; then compares
/// training with its rollouts, and rehearses the full profiles through it.
///
/// # Errors
/// If the server cannot be installed or started, or answers are missing.
pub(super) fn vllm(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    let python = {
        let _section = Section::new("install vLLM");
        engine::install(root, Flavor::Cpu)?
    };
    let built = build(sh, root, device)?;
    if built != Outcome::Passed {
        return Ok(built);
    }
    let exports = root.join(gate::RUNS_DIR).join("exports");
    remove_folder(&exports)?;
    let mut compared = Compared::default();
    for name in BASES {
        let _section = Section::new(&format!("ask vLLM and ourselves with {name}"));
        let (base, dir) = (format!("golden/base/{name}"), exports.join(name));
        let arguments = Arguments::new(["export", "--model", &base]).option("--out", Some(&dir));
        match synergy::run(sh, &arguments)? {
            0 => {}
            code => return Ok(Outcome::of(code)),
        }
        let port = free_port()?;
        let start = Instant::now();
        let log = root.join(engine::VLLM).join(format!("log-{name}"));
        let server = Server::start(serve(&python, &dir, name, port), port, &log)?;
        server.wait(VLLM_START, is_healthy)?;
        println!("vLLM listens after {:.0} s", start.elapsed().as_secs_f64());
        let asked = Asked { model: &base, id: name, concurrency: "8", device };
        for (family, limit) in VLLM_ASKED {
            let of_family = asked.compare(sh, root, &server, family, limit)?;
            println!("{name}, {family}: {} of {} are our own", of_family.same, of_family.all);
            compared = compared.and(of_family);
        }
    }
    let outcome = compared.outcome("vLLM").and_then(|| rollouts::compare(sh, root))?;
    outcome.and_then(|| full::rehearse_through(sh, root, "vllm"))
}

/// Makes the command that serves the checkpoint in `dir` as `name`.
fn serve(python: &Path, dir: &Path, name: &str, port: u16) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "vllm.entrypoints.cli.main", "serve"])
        .arg(dir)
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--served-model-name", name])
        .args(["--dtype", "float32", "--enforce-eager"])
        // Seeded requests on a CPU end the engine where their prompts do not fit one step of its scheduler.
        .args(["--max-num-batched-tokens", "32768"])
        .env("HF_HUB_OFFLINE", "1")
        .env("VLLM_NO_USAGE_STATS", "1")
        .env("DO_NOT_TRACK", "1")
        .env("VLLM_CPU_KVCACHE_SPACE", "1")
        .env("VLLM_HOST_IP", "127.0.0.1");
    command
}

/// A model that both sides are asked with.
struct Asked<'a> {
    /// Its folder here.
    model: &'a str,
    /// Its name at the server.
    id: &'a str,
    concurrency: &'a str,
    device: Option<&'a str>,
}

/// How many answers of a server are our own.
#[derive(Clone, Copy, Default)]
struct Compared {
    same: usize,
    all: usize,
}

impl Asked<'_> {
    /// Asks `limit` questions of `family` on both sides.
    fn compare(
        &self,
        sh: &Shell,
        root: &Path,
        server: &Server,
        family: &str,
        limit: &str,
    ) -> anyhow::Result<Compared> {
        let [theirs, ours] = ["served", "own"].map(|name| out(root, name));
        let served = evaluation(family, limit, &theirs)?
            .option("--endpoint", Some(format!("http://127.0.0.1:{}/v1", server.port)))
            .option("--model-id", Some(self.id))
            .option("--concurrency", Some(self.concurrency));
        let own = evaluation(family, limit, &ours)?
            .option("--model", Some(self.model))
            .option("--device", self.device);
        for arguments in [served, own] {
            let code = synergy::run(sh, &arguments)?;
            let log = format!("see above, and what the server says in `{}`", server.log.display());
            ensure!(code == 0, Hinted::new("the questions were not answered", log));
        }
        let (theirs, ours) = (texts(&theirs)?, texts(&ours)?);
        ensure!(
            theirs.len() == ours.len(),
            "the server gave {} answers, the suite {}",
            theirs.len(),
            ours.len()
        );
        let same = theirs.iter().zip(&ours).filter(|(a, b)| a == b).count();
        Ok(Compared { same, all: ours.len() })
    }
}

impl Compared {
    fn and(self, other: Compared) -> Compared {
        Compared { same: self.same + other.same, all: self.all + other.all }
    }

    /// Tells how many answers of `server` are our own, and whether that is enough.
    fn outcome(self, server: &str) -> Outcome {
        println!("{} of {} greedy answers of {server} are our own", self.same, self.all);
        let share = self.same as f64 / self.all.max(1) as f64;
        if share >= SAME_MIN { Outcome::Passed } else { Outcome::Failed }
    }
}

/// A running server.
struct Server {
    program: std::cell::RefCell<Group>,
    port: u16,
    /// Where it writes what it does.
    log: PathBuf,
}

impl Server {
    /// Starts `command`, which listens at `port`.
    fn start(mut command: Command, port: u16, log: &Path) -> anyhow::Result<Server> {
        create_folder(log.parent().context("a log lies in a folder")?)?;
        let file = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let program = std::cell::RefCell::new(Group::start(command)?);
        Ok(Server { program, port, log: log.to_owned() })
    }

    /// Waits until `is_ready`, at most for `longest`.
    fn wait(&self, longest: Duration, is_ready: impl Fn(u16) -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        while !is_ready(self.port) {
            let log = format!("see `{}`", self.log.display());
            let ended = self.program.borrow_mut().has_ended()?;
            ensure!(!ended, Hinted::new("the server ended by itself", log));
            ensure!(start.elapsed() < longest, Hinted::new("the server does not listen", log));
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }
}

/// Returns a port that nobody else gets in the moment until the server listens there.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Asks `/health`.
fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_jobs_need_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(root.join(TRANSFORMERS_REQUIREMENTS).is_file());
        for name in BASES {
            assert!(root.join("golden/base").join(name).is_dir(), "{name}");
        }
        assert!(root.join(SERVED).is_dir());
    }

    #[test]
    fn enough_answers_must_be_our_own() {
        let of = |same| Compared { same, all: 10 }.and(Compared { same: 10, all: 10 });
        assert_eq!(of(9).outcome("x"), Outcome::Passed);
        assert_eq!(of(8).outcome("x"), Outcome::Failed);
        assert_eq!(Compared::default().outcome("x"), Outcome::Failed);
    }

    #[test]
    fn a_server_is_healthy_when_it_says_so() {
        for (said, want) in [("HTTP/1.1 200 OK", true), ("HTTP/1.1 503 no", false), ("", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let answer = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 16];
                stream.read_exact(&mut asked).unwrap();
                stream.write_all(said.as_bytes()).unwrap();
            });
            assert_eq!(is_healthy(port), want, "{said}");
            answer.join().unwrap();
        }
        assert!(!is_healthy(free_port().unwrap()));
    }
}
