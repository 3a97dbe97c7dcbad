//! The full profiles from fetch to leaderboard, on a stand-in for models and data.
//!
//! Does not know what is in a profile. A server on loopback answers as the hub does and gives the stand-in; what
//! fetches, plans, trains, evaluates and publishes is what a person runs, in a folder of its own. Counts are those of a
//! rehearsal.

use std::collections::BTreeMap;
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
use crate::files::{below, create_folder, remove_folder, unread};
use crate::process::{self, Background};
use crate::synergy;

/// The study at its own size, and the models that its authors have published.
const PROFILES: [&str; 2] = ["full-3b", "study"];
/// The folder in which it works, below `target`, which git ignores.
const FOLDER: &str = "target/ci-full";
/// The files that the hub has (`golden/parity/stand_in.py`), the model among them, and the server that gives them.
const STAND_IN: &str = "golden/parity/stand-in";
const MODEL: &str = "Qwen/Qwen2.5-VL-3B-Instruct";
const SERVER: &str = "tests/hub/serve.py";

/// The files that the server gives, in that folder.
const HUB: &str = "hub";

/// The keys of a section of the lock that are read here.
#[derive(Deserialize)]
struct Locked {
    kind: Option<String>,
    hub: Option<String>,
}

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

/// Where a rehearsal computes.
#[derive(Clone, Copy)]
struct Place<'a> {
    device: &'a str,
    /// The type in place of the recipes' bf16, on a device that does not compute in that.
    dtype: Option<&'a str>,
    /// The engine that answers, in `suite/engines`.
    engine: Option<&'a str>,
}

/// Fetches the profiles from the stand-in and rehearses them on libtorch.
///
/// # Errors
/// If a program cannot be started, or what should be there afterwards is not.
pub(super) fn rehearse(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    match devices::require_library(root)? {
        Some(outcome) => Ok(outcome),
        None => rehearse_at(sh, root, Place { device: "libtorch", dtype: None, engine: None }),
    }
}

/// Does the same on the CPU in f32, where `engine`, which is installed, answers and rolls out.
///
/// # Errors
/// If a program cannot be started, or what should be there afterwards is not.
pub(super) fn rehearse_through(sh: &Shell, root: &Path, engine: &str) -> anyhow::Result<Outcome> {
    rehearse_at(sh, root, Place { device: "flex", dtype: Some("f32"), engine: Some(engine) })
}

fn rehearse_at(sh: &Shell, root: &Path, place: Place<'_>) -> anyhow::Result<Outcome> {
    let hub = synergy::target(root).join("hub");
    {
        let _section = Section::new("build synergy and the hub's client");
        let built = build(sh, root, Some(place.device))?;
        if built != Outcome::Passed {
            return Ok(built);
        }
        let package = ["--quiet", "--locked", "--package", "synergy-xtask", "--features", "hub"];
        if process::wait(cmd!(sh, "cargo build {package...} --target-dir {hub}").into())? != 0 {
            return Ok(Outcome::Broken("the hub's client does not compile, see above".to_owned()));
        }
    }
    let folder = root.join(FOLDER);
    prepare(root, &folder, place)?;
    let server = Server::start(root, &folder.join(HUB))?;
    for profile in PROFILES {
        let outcome = rehearse_one(root, &folder, &hub, &server.url, profile, place)?;
        if outcome != Outcome::Passed {
            return Ok(outcome);
        }
        published(root, &folder, profile)?;
    }
    Ok(Outcome::Passed)
}

/// Fetches `profile` from the hub at `url` with the client in `hub` and rehearses it.
fn rehearse_one(
    root: &Path,
    folder: &Path,
    hub: &Path,
    url: &str,
    profile: &str,
    place: Place<'_>,
) -> anyhow::Result<Outcome> {
    let fetch = |check: Option<&str>| {
        let mut command =
            Command::new(hub.join("debug").join(format!("synergy-xtask{EXE_SUFFIX}")));
        command.args(["fetch", profile]).args(check).current_dir(folder);
        // The root is above the folder that cargo names.
        command.env("CARGO_MANIFEST_DIR", folder.join("xtask"));
        command.env("HF_ENDPOINT", url).env("HF_HOME", folder.join("cache"));
        command.env_remove("HF_TOKEN");
        // The server is on this machine, whatever stands between it and others.
        for proxy in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env_remove(proxy).env_remove(proxy.to_lowercase());
        }
        command
    };
    let run = |arguments: &[&str]| {
        let mut command = Command::new(synergy::binary(root));
        command.args(arguments).args(["--profile", profile, "--device", place.device]);
        if let Some(engine) = place.engine {
            command.args(["--engine", engine]);
        }
        command.current_dir(folder);
        command
    };
    for (name, command) in [
        ("plan before the fetch", run(&["plan"])),
        ("fetch", fetch(None)),
        ("fetch --check", fetch(Some("--check"))),
        ("reproduce --rehearse", run(&["reproduce", "--rehearse"])),
    ] {
        let _section = Section::new(&format!("{name}, {profile}"));
        match process::wait(command)? {
            0 => {}
            code => return Ok(Outcome::of(code)),
        }
    }
    Ok(Outcome::Passed)
}

/// Makes a project of its own, recipes, engine and lock as they are here but for what `place` changes, and a hub: the
/// stand-in, whose model has the names of all models of the lock, each with other numbers.
fn prepare(root: &Path, folder: &Path, place: Place<'_>) -> anyhow::Result<()> {
    remove_folder(folder)?;
    create_folder(&folder.join("xtask"))?;
    let recipes = PROFILES.map(|profile| format!("suite/recipes/{profile}.toml"));
    for file in [crate::fetch::lock::PATH].into_iter().chain(recipes.iter().map(String::as_str)) {
        copy(&root.join(file), &folder.join(file))?;
    }
    if let Some(dtype) = place.dtype {
        let quoted = format!("dtype = \"{dtype}\"");
        for file in &recipes {
            change(&folder.join(file), "dtype = \"bf16\"", &quoted)?;
        }
    }
    if let Some(engine) = place.engine {
        let file = folder.join("suite/engines").join(format!("{engine}.toml"));
        copy(&root.join("suite/engines").join(format!("{engine}.toml")), &file)?;
        // Its paths are meant from the project's root.
        let installed = root.join(crate::engine::VLLM);
        change(&file, crate::engine::VLLM, &installed.display().to_string())?;
    }
    let (stand_in, hub) = (root.join(STAND_IN), folder.join(HUB));
    for file in below(&stand_in)? {
        copy(&stand_in.join(&file), &hub.join(&file))?;
    }
    let model = stand_in.join("models").join(MODEL);
    let lock = crate::fetch::lock::load(&root.join(crate::fetch::lock::PATH))?;
    let sections: BTreeMap<String, Locked> = crate::fetch::lock::parse(&lock)?;
    let others = sections.into_values().filter(|section| section.kind.as_deref() == Some("model"));
    let others = others.filter_map(|section| section.hub).filter(|hub| hub != MODEL);
    for (place, name) in others.enumerate() {
        let other = hub.join("models").join(name);
        for file in below(&model)? {
            copy(&model.join(&file), &other.join(&file))?;
            if file.ends_with(".safetensors") {
                vary(&other.join(&file), place as u8)?;
            }
        }
    }
    Ok(())
}

/// Puts `to` in every place of `from` in the file `path`, which must have one.
fn change(path: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| unread(path))?;
    ensure!(text.contains(from), "`{}` has no `{from}`", path.display());
    fs::write(path, text.replace(from, to))
        .with_context(|| format!("failed to write `{}`", path.display()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    create_folder(to.parent().unwrap_or(to))?;
    let copied = fs::copy(from, to);
    copied.with_context(|| format!("failed to copy `{}`", from.display()))?;
    Ok(())
}

/// Changes the last digits of every number of bf16 in the safetensors file `path`, in another way for each of 16 places.
fn vary(path: &Path, place: u8) -> anyhow::Result<()> {
    let mut bytes = fs::read(path).with_context(|| unread(path))?;
    let header = bytes.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    let numbers = bytes.get_mut(8 + header as usize..).unwrap_or_default();
    numbers.iter_mut().step_by(2).for_each(|low| *low ^= place % 16);
    fs::write(path, bytes).with_context(|| format!("failed to write `{}`", path.display()))
}

/// Checks that the leaderboard names every regime and every benchmark of the recipe.
fn published(root: &Path, folder: &Path, profile: &str) -> anyhow::Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| unread(path));
    let recipe = read(&root.join(format!("suite/recipes/{profile}.toml")))?;
    let recipe: Recipe = toml::from_str(&recipe).context("the recipe is invalid")?;
    let board = read(&folder.join(format!("runs/{profile}-rehearsal/leaderboard.json")))?;
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
    fn start(root: &Path, files: &Path) -> anyhow::Result<Server> {
        let mut child = Command::new("python3")
            .arg(root.join(SERVER))
            .arg(files)
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
