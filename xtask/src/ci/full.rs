//! The full profile from fetch to leaderboard, on a stand-in for model and data.
//!
//! Does not know what is in the profile. A server on loopback answers as the hub does and gives the stand-in; what
//! fetches, plans, trains, evaluates and publishes is what a person runs, in a folder of its own. Counts are those of a
//! rehearsal.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::devices;
use super::gate::build;
use super::outcome::{Outcome, Section};
use crate::files::{create_folder, remove_folder, unread};
use crate::process::{self, Background};
use crate::synergy;

const PROFILE: &str = "full-3b";
/// The folder in which it works, below `target`, which git ignores.
const FOLDER: &str = "target/ci-full";
/// The files that the hub has (`golden/parity/stand_in.py`), and the server that gives them.
const STAND_IN: &str = "golden/parity/stand-in";
const SERVER: &str = "tests/hub/serve.py";

/// The keys of a recipe that are read here.
#[derive(Deserialize)]
struct Recipe {
    regimes: Vec<Named>,
    evaluation: Evaluation,
}

#[derive(Deserialize)]
struct Evaluation {
    benchmarks: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Fetches the profile from the stand-in and rehearses it on libtorch.
///
/// # Errors
/// If a program cannot be started, or what should be there afterwards is not.
pub(super) fn rehearse(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    if let Some(outcome) = devices::require_library(root)? {
        return Ok(outcome);
    }
    let hub = synergy::target(root).join("hub");
    {
        let _section = Section::new("build synergy and the hub's client");
        let built = build(sh, root, Some("libtorch"))?;
        if built != Outcome::Passed {
            return Ok(built);
        }
        let package = ["--quiet", "--locked", "--package", "synergy-xtask", "--features", "hub"];
        if process::wait(cmd!(sh, "cargo build {package...} --target-dir {hub}").into())? != 0 {
            return Ok(Outcome::Broken("the hub's client does not compile, see above".to_owned()));
        }
    }
    let folder = root.join(FOLDER);
    prepare(root, &folder)?;
    let server = Server::start(root)?;
    let fetch = |check: Option<&str>| {
        let mut command =
            Command::new(hub.join("debug").join(format!("synergy-xtask{EXE_SUFFIX}")));
        command.args(["fetch", PROFILE]).args(check).current_dir(&folder);
        // The root is above the folder that cargo names.
        command.env("CARGO_MANIFEST_DIR", folder.join("xtask"));
        command.env("HF_ENDPOINT", &server.url).env("HF_HOME", folder.join("hub"));
        command.env_remove("HF_TOKEN");
        // The server is on this machine, whatever stands between it and others.
        for proxy in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy).env_remove(proxy.to_lowercase());
        }
        command
    };
    let run = |arguments: &[&str]| {
        let mut command = Command::new(synergy::binary(root));
        command.args(arguments).args(["--profile", PROFILE, "--device", "libtorch"]);
        command.current_dir(&folder);
        command
    };
    for (name, command) in [
        ("plan before the fetch", run(&["plan"])),
        ("fetch", fetch(None)),
        ("fetch --check", fetch(Some("--check"))),
        ("reproduce --rehearse", run(&["reproduce", "--rehearse"])),
    ] {
        let _section = Section::new(&format!("{name}, {PROFILE}"));
        match process::wait(command)? {
            0 => {}
            code => return Ok(Outcome::of(code)),
        }
    }
    published(root, &folder)?;
    Ok(Outcome::Passed)
}

/// Makes a project of its own: recipes and lock as they are here, and nothing else.
fn prepare(root: &Path, folder: &Path) -> anyhow::Result<()> {
    remove_folder(folder)?;
    create_folder(&folder.join("xtask"))?;
    let recipes = format!("suite/recipes/{PROFILE}.toml");
    for file in [crate::fetch::lock::PATH, recipes.as_str()] {
        let to = folder.join(file);
        create_folder(to.parent().unwrap_or(folder))?;
        fs::copy(root.join(file), &to).with_context(|| format!("failed to copy `{file}`"))?;
    }
    Ok(())
}

/// Checks that the leaderboard names every regime and every benchmark of the recipe.
fn published(root: &Path, folder: &Path) -> anyhow::Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| unread(path));
    let recipe = read(&root.join(format!("suite/recipes/{PROFILE}.toml")))?;
    let recipe: Recipe = toml::from_str(&recipe).context("the recipe is invalid")?;
    let board = read(&folder.join(format!("runs/{PROFILE}-rehearsal/leaderboard.json")))?;
    let (regimes, benchmarks) = (recipe.regimes, recipe.evaluation.benchmarks);
    for Named { name } in regimes.iter().chain(&benchmarks) {
        ensure!(board.contains(&format!("\"{name}\"")), "`{name}` is not on the leaderboard");
    }
    println!("{} regimes and {} benchmarks are published", regimes.len(), benchmarks.len());
    Ok(())
}

/// The hub on loopback.
struct Server {
    _program: Background,
    url: String,
}

impl Server {
    fn start(root: &Path) -> anyhow::Result<Server> {
        let mut child = Command::new("python3")
            .arg(root.join(SERVER))
            .arg(root.join(STAND_IN))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start `python3`")?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut server = Server { _program: Background(child), url: String::new() };
        BufReader::new(output).read_line(&mut server.url).context("the server prints nothing")?;
        server.url.truncate(server.url.trim_end().len());
        let url = &server.url;
        ensure!(
            url.starts_with("http://"),
            "`{SERVER}` prints `{url}` in the place of its address"
        );
        Ok(server)
    }
}
