//! Builds `synergy`, the suite's binary, and runs it with inherited input and output.
//!
//! Does not know what the commands mean: `synergy` itself refuses verbs, profiles, recipes and devices, with its own
//! message and exit code 2. Only for a device that needs libtorch is it built with libtorch (`libtorch.rs`).
//!
//! It runs through `cargo run`, not from a guessed path: cargo alone knows where the target folder is, and on Unix it
//! becomes the program it runs, as we become cargo.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::libtorch::{self, Found};
use crate::process;
use crate::units::clock;

/// Options of `synergy` whose value is a path, which a caller below the root means from where they stand.
const PATH_OPTIONS: [&str; 3] = ["--runs-dir", "--out", "--markdown"];

/// The arguments of one `synergy` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments(Vec<OsString>);

impl Arguments {
    /// Starts with the command's words, for instance `["golden", "check"]`.
    pub(crate) fn new(words: impl IntoIterator<Item: Into<OsString>>) -> Arguments {
        Arguments(words.into_iter().map(Into::into).collect())
    }

    /// Takes `words` as they were given in the folder `caller`, where a relative path starts: the value of
    /// [`PATH_OPTIONS`], and the name of a JSON file. A caller in the root keeps short paths, so that recorded
    /// commands name no machine.
    pub(crate) fn given(words: &[OsString], caller: &Path, root: &Path) -> Arguments {
        let mut is_path = false;
        let from_caller = |word: &OsString| {
            let text = word.to_str().unwrap_or_default();
            let resolve = |path: &OsStr| caller.join(path).into_os_string();
            let option = text.split_once('=').filter(|(name, _)| PATH_OPTIONS.contains(name));
            let resolved = match option {
                Some((name, value)) => format!("{name}={}", caller.join(value).display()).into(),
                None if is_path || text.ends_with(".json") => resolve(word),
                None => word.clone(),
            };
            is_path = PATH_OPTIONS.contains(&text);
            resolved
        };
        if caller == root {
            Arguments(words.to_vec())
        } else {
            Arguments(words.iter().map(from_caller).collect())
        }
    }

    /// Adds words.
    pub(crate) fn with(mut self, words: impl IntoIterator<Item: Into<OsString>>) -> Arguments {
        self.0.extend(words.into_iter().map(Into::into));
        self
    }

    /// Adds a named value, if there is one.
    pub(crate) fn option(self, name: &str, value: Option<impl AsRef<OsStr>>) -> Arguments {
        match value {
            Some(value) => self.with([OsStr::new(name), value.as_ref()]),
            None => self,
        }
    }

    /// Returns the device that is asked for, if one is; the last where several are.
    fn device(&self) -> Option<&str> {
        let words: Vec<_> = self.0.iter().map(|word| word.to_str().unwrap_or_default()).collect();
        device_in(&words).map(|at| at.1)
    }
}

/// Finds the last `--device` among `words`: where it stands, and its value.
pub(crate) fn device_in<'a>(words: &[&'a str]) -> Option<(std::ops::Range<usize>, &'a str)> {
    let end = words.iter().position(|word| *word == "--").unwrap_or(words.len());
    (0..end).rev().find_map(|at| match words[at].strip_prefix("--device")? {
        "" if at + 1 < end => Some((at..at + 2, words[at + 1])),
        value => Some((at..at + 1, value.strip_prefix('=')?)),
    })
}

/// Builds `synergy` for the device that is asked for and becomes it.
///
/// # Errors
/// If cargo cannot be started, or the device needs a libtorch that is not there.
pub(crate) fn become_synergy(root: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let sh = shell(root)?;
    let libtorch = libtorch::for_device(root, arguments.device())?;
    if compile(&sh, root, libtorch.as_ref())? != 0 {
        return Ok(ExitCode::from(process::EXIT_BROKEN));
    }
    process::replace(run_command(&sh, arguments, libtorch.as_ref()))
}

/// Builds `synergy` for the device called `device` and returns cargo's exit code. Announces a first build, which takes
/// minutes.
///
/// # Errors
/// If cargo cannot be started, or the device needs a libtorch that is not there.
pub(crate) fn build(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<u8> {
    compile(sh, root, libtorch::for_device(root, device)?.as_ref())
}

/// Returns whether `synergy` has been built before.
pub(crate) fn is_built(root: &Path) -> bool {
    binary(root).exists()
}

/// Returns where `synergy` is once it is built.
pub(crate) fn binary(root: &Path) -> PathBuf {
    target(root).join("debug").join(format!("synergy{}", std::env::consts::EXE_SUFFIX))
}

/// Returns cargo's target folder.
pub(crate) fn target(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from))
}

fn compile(sh: &Shell, root: &Path, libtorch: Option<&Found>) -> anyhow::Result<u8> {
    if !is_built(root) {
        eprintln!("compiling synergy: the first build takes some minutes, later ones seconds");
    }
    let start = Instant::now();
    let features = features(libtorch);
    let mut command: Command =
        cmd!(sh, "cargo build --package synergy-suite --bin synergy {features...}").into();
    if let Some(libtorch) = libtorch {
        eprintln!("with {}", libtorch.describe());
        libtorch.give_to(&mut command);
    }
    let code = process::wait(command)?;
    let seconds = start.elapsed().as_secs();
    if code == 0 && seconds >= 10 {
        eprintln!("compiled synergy in {}", clock(seconds));
    }
    Ok(code)
}

/// Runs `synergy`, built for the device that is asked for, and returns its exit code.
///
/// # Errors
/// If cargo cannot be started, or the device needs a libtorch that is not there.
pub(crate) fn run(sh: &Shell, arguments: &Arguments) -> anyhow::Result<u8> {
    let libtorch = libtorch::for_device(&sh.current_dir(), arguments.device())?;
    process::wait(run_command(sh, arguments, libtorch.as_ref()))
}

fn run_command(sh: &Shell, arguments: &Arguments, libtorch: Option<&Found>) -> Command {
    let (list, features) = (&arguments.0, features(libtorch));
    let mut command: Command = cmd!(
        sh,
        "cargo run --quiet --package synergy-suite --bin synergy {features...} -- {list...}"
    )
    // Training frees and asks for the same pages every step; kept, they need no clearing.
    .env("MIMALLOC_PURGE_DELAY", "-1")
    .into();
    if let Some(libtorch) = libtorch {
        libtorch.give_to(&mut command);
    }
    command
}

/// Returns cargo's arguments for a build with libtorch, if it is one.
fn features(libtorch: Option<&Found>) -> &'static [&'static str] {
    if libtorch.is_some() { &["--features", "libtorch"] } else { &[] }
}

/// Makes a shell that stands in the root.
///
/// # Errors
/// If the current folder does not exist any more.
pub(crate) fn shell(root: &Path) -> anyhow::Result<Shell> {
    let sh = Shell::new().context("failed to read the current folder")?;
    sh.change_dir(root);
    Ok(sh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_options_are_not_passed_on() {
        let given = Arguments::new(["golden"]).option("--profile", Some("smoke"));
        let given = given.option("--device", None::<&str>).with(["--json"]);
        assert_eq!(given, Arguments::new(["golden", "--profile", "smoke", "--json"]));
    }

    #[test]
    fn a_relative_path_starts_where_the_caller_stands() {
        let words = ["golden", "check", "--profile=x", "--out=a", "--runs-dir", "b", "c", "d.json"]
            .map(OsString::from);
        let given = |caller: &str| Arguments::given(&words, Path::new(caller), Path::new("/top"));
        assert_eq!(given("/top"), Arguments(words.to_vec()));
        let words = ["golden", "check", "--profile=x", "--out=/x/a", "--runs-dir", "/x/b", "c"];
        assert_eq!(given("/x"), Arguments::new(words).with(["/x/d.json"]));
        let absolute = ["--runs-dir", "/b", "/d.json"].map(OsString::from);
        let given = Arguments::given(&absolute, Path::new("/x"), Path::new("/top"));
        assert_eq!(given, Arguments(absolute.to_vec()));
    }

    #[test]
    fn the_device_is_found_however_it_is_written() {
        let device = |words: &[&str]| Arguments::new(words).device().map(str::to_owned);
        assert_eq!(
            device(&["evaluate", "--device", "cuda:1", "--json"]).as_deref(),
            Some("cuda:1")
        );
        assert_eq!(device(&["--device=flex", "--device=libtorch"]).as_deref(), Some("libtorch"));
        assert_eq!(device(&["plan", "--devices", "cuda"]), None);
        assert_eq!(device(&["plan", "--", "--device", "cuda"]), None);
        assert_eq!(device(&["plan", "--device"]), None);
    }

    #[test]
    fn a_build_without_libtorch_needs_no_features() {
        let sh = Shell::new().unwrap();
        let command = run_command(&sh, &Arguments::new(["golden", "check"]), None);
        let args: Vec<_> = command.get_args().collect();
        let want = "run --quiet --package synergy-suite --bin synergy -- golden check";
        assert_eq!(args, want.split(' ').collect::<Vec<_>>());
    }
}
