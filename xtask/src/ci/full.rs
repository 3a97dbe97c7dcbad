//! The full profile from fetch to leaderboard, on a stand-in for model and data.
//!
//! Does not know what is in the profile. A server on loopback answers as the hub does and gives the stand-in; what
//! fetches, plans, trains, evaluates and publishes is what a person runs, in a folder of its own. Counts are those of a
//! rehearsal.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use xshell::{Shell, cmd};

use super::{Outcome, Section, build, devices, judge};
use crate::files::remove_folder;
use crate::{process, synergy};

const PROFILE: &str = "full-3b";
/// Where it works, below `target`, which git ignores.
const FOLDER: &str = "target/ci-full";
/// What the hub has (`golden/parity/stand_in.py`), and who gives it.
const STAND_IN: &str = "golden/parity/stand-in";
const SERVER: &str = "tests/hub/serve.py";

/// Fetches the profile from the stand-in and rehearses it on libtorch.
///
/// # Errors
/// If a program cannot be started, or what should be there afterwards is not.
pub(super) fn rehearse(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    if let Some(outcome) = devices::provision(root)? {
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
            code => return Ok(judge(code)),
        }
    }
    published(root, &folder)?;
    Ok(Outcome::Passed)
}

/// A project of its own: recipes and lock as they are here, and nothing else.
fn prepare(root: &Path, folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        remove_folder(folder)?;
    }
    fs::create_dir_all(folder.join("xtask"))?;
    let recipes = format!("suite/recipes/{PROFILE}.toml");
    for file in [crate::fetch::lock::PATH, recipes.as_str()] {
        let to = folder.join(file);
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        fs::copy(root.join(file), &to).with_context(|| format!("failed to copy `{file}`"))?;
    }
    Ok(())
}

/// Whether the leaderboard has every regime of the recipe, and all five benchmarks.
fn published(root: &Path, folder: &Path) -> anyhow::Result<()> {
    let recipe = fs::read_to_string(root.join(format!("suite/recipes/{PROFILE}.toml")))?;
    let board = folder.join(format!("runs/{PROFILE}-rehearsal/leaderboard.json"));
    let board = fs::read_to_string(&board)
        .with_context(|| format!("there is no leaderboard `{}`", board.display()))?;
    let (_, regimes) = recipe.split_once("[[regimes]]").context("the recipe has regimes")?;
    let (regimes, benchmarks) =
        regimes.split_once("[evaluation]").context("the recipe has an evaluation")?;
    let names = |text: &str| -> Vec<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix("name = "));
        names.map(str::to_owned).collect()
    };
    let (regimes, benchmarks) = (names(regimes), names(benchmarks));
    for name in regimes.iter().chain(&benchmarks) {
        ensure!(board.contains(name.as_str()), "{name} is not on the leaderboard");
    }
    println!("{} regimes and {} benchmarks are published", regimes.len(), benchmarks.len());
    Ok(())
}

/// The hub on loopback, until it is dropped.
struct Server {
    child: Child,
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
        let mut server = Server { child, url: String::new() };
        BufReader::new(output).read_line(&mut server.url).context("the server says nothing")?;
        server.url.truncate(server.url.trim_end().len());
        let url = &server.url;
        ensure!(url.starts_with("http://"), "`{SERVER}` says `{url}` in the place of its address");
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
