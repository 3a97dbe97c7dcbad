//! Stages that several processes train through MPI leave the bits of one, also where one of them is lost on the way.
//!
//! Does not know what a stage computes: it compares files in stores, and counts seconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use xshell::{Shell, cmd};

use super::outcome::{Outcome, Section, step};
use crate::process::{self, Group};
use crate::synergy;

/// A regime of every way in which stages of smoke train, and the two stages that both have.
const WORDS: [&str; 8] =
    ["reproduce", "--profile", "smoke", "--seeds", "1", "--threads", "1", "--only"];
const REGIMES: &str = "sft,rl,two_stage,interleaved";
/// How many processes train together.
const SIZES: [usize; 3] = [1, 2, 4];
/// Seconds in which a run that has lost a process has to end.
const END_S: u64 = 60;

/// Builds with MPI, trains with one process and with several, and compares.
///
/// # Errors
/// If a program cannot be started or a store cannot be read.
pub(super) fn check(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    for program in ["mpirun", "mpicc"] {
        let mut version = Command::new(program);
        version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        if version.status().is_err() {
            let packages = "`apt-get install openmpi-bin libopenmpi-dev libclang-dev` brings it";
            return Ok(Outcome::Skipped(format!("there is no `{program}`; {packages}")));
        }
    }
    let mut two = mpirun(2);
    two.arg("true").stderr(Stdio::null());
    if !two.status().is_ok_and(|status| status.success()) {
        return Ok(Outcome::Skipped("`mpirun -n 2 true` does not run here".to_owned()));
    }
    let build = cmd!(sh, "cargo build --package synergy-suite --bin synergy --features mpi");
    let outcome = step("build with MPI", build)?;
    if outcome != Outcome::Passed {
        return Ok(outcome);
    }
    // Other jobs build the program again, without MPI.
    let dir = synergy::target(root).join("ranks");
    if dir.exists() {
        fs::remove_dir_all(&dir).context("an earlier job's runs")?;
    }
    fs::create_dir_all(&dir).context("a folder for runs")?;
    let program = dir.join("synergy");
    fs::copy(synergy::binary(root), &program).context("the program with MPI")?;
    let runs = |name: &str| dir.join(name);
    for size in SIZES {
        let command = launch(&program, size, &runs(&size.to_string()));
        let outcome = step(&format!("{size} processes"), command)?;
        if outcome != Outcome::Passed {
            return Ok(outcome);
        }
    }
    let outcome = lose_one(&program, &runs("lost"))?.and_then(|| {
        step("one process goes on where two were", launch(&program, 1, &runs("lost")))
    })?;
    if outcome != Outcome::Passed {
        return Ok(outcome);
    }
    let _section = Section::new("compare");
    let want = files(&runs("1"))?;
    let mut is_same = true;
    for name in ["2", "4", "lost"] {
        let found = files(&runs(name))?;
        let differ = want.iter().filter(|(file, hash)| found.get(*file) != Some(*hash)).count();
        println!("{name}: {differ} of {} files differ, {} in all", want.len(), found.len());
        is_same &= differ == 0 && found.len() == want.len();
    }
    Ok(if is_same && !want.is_empty() { Outcome::Passed } else { Outcome::Failed })
}

/// The command that starts `size` processes which write to `runs`.
fn launch(program: &Path, size: usize, runs: &Path) -> Command {
    let mut command = mpirun(size);
    command.arg(program).args(WORDS).args([REGIMES, "--runs-dir"]).arg(runs);
    command
}

/// A launcher of `size` processes, which ends them all where they stand still.
fn mpirun(size: usize) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["-k", "10", "600", "mpirun", "-n", &size.to_string()])
        // Open MPI's words for a machine of few cores and for containers; others do not know them.
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .stdout(Stdio::null());
    command
}

/// Kills one of two processes once they have left a checkpoint; both must end soon, with an error.
fn lose_one(program: &Path, runs: &Path) -> anyhow::Result<Outcome> {
    let _section = Section::new("one of two processes is lost");
    let mut group = Group::start(launch(program, 2, runs))?;
    let events = runs.join("smoke").join("events.jsonl");
    let start = Instant::now();
    let has_checkpoint = || fs::read_to_string(&events).is_ok_and(|t| t.contains("\"checkpoint\""));
    while !has_checkpoint() {
        ensure!(!group.has_ended()?, "the run ended before it left a checkpoint");
        ensure!(start.elapsed() < Duration::from_secs(600), "no checkpoint in ten minutes");
        sleep(Duration::from_millis(100));
    }
    let of_run = || -> anyhow::Result<Vec<u32>> {
        let mut list = Command::new("pgrep");
        list.args(["-f", "--"]).arg(program);
        let output = list.output().context("`pgrep` of procps")?;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(lines.lines().filter_map(|line| line.trim().parse().ok()).collect())
    };
    let mut own = of_run()?;
    own.sort_unstable();
    let last = own.last().context("no process to lose")?.to_string();
    process::wait({
        let mut kill = Command::new("kill");
        kill.args(["-s", "KILL", &last]);
        kill
    })?;
    let start = Instant::now();
    while !group.has_ended()? || !of_run()?.is_empty() {
        if start.elapsed() > Duration::from_secs(END_S) {
            println!("processes are left after {END_S} s: {:?}", of_run()?);
            return Ok(Outcome::Failed);
        }
        sleep(Duration::from_millis(100));
    }
    println!("both ended in {:.1} s", start.elapsed().as_secs_f64());
    Ok(Outcome::Passed)
}

/// The hashes of the files of all artifacts in a store that do not say how long something took, by artifact and name.
fn files(runs: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let store = runs.join("store");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&store).with_context(|| format!("`{}`", store.display()))? {
        let dir = entry.context("an artifact")?.path();
        let Ok(text) = fs::read_to_string(dir.join("manifest.json")) else { continue };
        let manifest: serde_json::Value = serde_json::from_str(&text).context("a manifest")?;
        for (name, hash) in manifest["files"].as_object().into_iter().flatten() {
            let key = dir.file_name().unwrap_or_default();
            if name != "summary.json" {
                found.insert(Path::new(key).join(name), hash.to_string());
            }
        }
    }
    Ok(found)
}
