//! Builds `synergy`, the suite's binary, and runs it with inherited input and output.
//!
//! Does not know what the commands mean: profiles, recipes and devices are refused by `synergy`
//! itself, with its own message and exit code 2. Only a device that needs libtorch has it built with
//! libtorch (`libtorch.rs`).
//!
//! It runs through `cargo run`, not from a guessed path: cargo alone knows where the target folder
//! is, and on Unix it becomes the program it runs, as we become cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::libtorch::{self, Found};
use crate::process;

/// The arguments of one `synergy` command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    list: Vec<OsString>,
    /// Where the caller's relative paths start, if that is not the root that `synergy` runs in.
    caller: Option<PathBuf>,
}

impl Arguments {
    /// Starts with the command's words, e.g. `["golden", "check"]`.
    ///
    /// # Errors
    /// If the current folder is gone.
    pub(crate) fn new(words: &[&str], root: &Path) -> anyhow::Result<Arguments> {
        let current = std::env::current_dir().context("failed to read the current folder")?;
        let caller = (current != root).then_some(current);
        Ok(Arguments { list: words.iter().map(OsString::from).collect(), caller })
    }

    /// Adds a flag without a value.
    pub(crate) fn flag(mut self, name: &str) -> Arguments {
        self.list.push(name.into());
        self
    }

    /// Adds a named value if there is one.
    pub(crate) fn option(mut self, name: &str, value: Option<&str>) -> Arguments {
        if let Some(value) = value {
            self.list.extend([name.into(), value.into()]);
        }
        self
    }

    /// Adds a named path if there is one. A relative path means what it means to the caller; it stays
    /// relative when the caller stands in the root, so that recorded commands name no machine.
    ///
    /// # Errors
    /// If the path is empty.
    pub(crate) fn path(mut self, name: &str, value: Option<&Path>) -> anyhow::Result<Arguments> {
        if let Some(value) = value {
            let value = self.resolved(&format!("after `{name}`"), value)?;
            self.list.extend([name.into(), value]);
        }
        Ok(self)
    }

    /// Adds paths without a name, as [`Arguments::path`] does.
    ///
    /// # Errors
    /// If one is empty.
    pub(crate) fn paths(mut self, values: &[PathBuf]) -> anyhow::Result<Arguments> {
        for value in values {
            let value = self.resolved("of a file", value)?;
            self.list.push(value);
        }
        Ok(self)
    }

    /// The device that is asked for, if one is; the last where several are.
    pub(crate) fn device(&self) -> Option<&str> {
        let words: Vec<_> =
            self.list.iter().map(|word| word.to_str().unwrap_or_default()).collect();
        device_in(&words).map(|at| at.1)
    }

    fn resolved(&self, which: &str, value: &Path) -> anyhow::Result<OsString> {
        anyhow::ensure!(!value.as_os_str().is_empty(), "the path {which} is empty");
        let value = self.caller.as_ref().map_or(value.to_path_buf(), |dir| dir.join(value));
        Ok(value.into_os_string())
    }
}

/// Where the last `--device` stands among `words`, and its value.
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

/// Builds `synergy` for the device called `device`; says so beforehand when nothing has been built yet, since that
/// takes minutes. Returns cargo's exit code.
///
/// # Errors
/// If cargo cannot be started, or the device needs a libtorch that is not there.
pub(crate) fn build(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<u8> {
    compile(sh, root, libtorch::for_device(root, device)?.as_ref())
}

/// Whether `synergy` has been built before.
pub(crate) fn is_built(root: &Path) -> bool {
    binary(root).exists()
}

/// Where `synergy` is once it is built.
pub(crate) fn binary(root: &Path) -> PathBuf {
    target(root).join("debug").join(format!("synergy{}", std::env::consts::EXE_SUFFIX))
}

/// Cargo's target folder.
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
        eprintln!("with {}", libtorch.told());
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
    let (list, features) = (&arguments.list, features(libtorch));
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

/// How cargo is asked for a build with libtorch.
fn features(libtorch: Option<&Found>) -> &'static [&'static str] {
    if libtorch.is_some() { &["--features", "libtorch"] } else { &[] }
}

/// A shell that stands in the root.
///
/// # Errors
/// If the current folder is gone.
pub(crate) fn shell(root: &Path) -> anyhow::Result<Shell> {
    let sh = Shell::new().context("failed to read the current folder")?;
    sh.change_dir(root);
    Ok(sh)
}

/// Seconds as a person says them: `42 s`, `3 min 05 s`.
pub(crate) fn clock(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds:02} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(caller: Option<&str>) -> Arguments {
        Arguments { list: vec!["golden".into(), "check".into()], caller: caller.map(PathBuf::from) }
    }

    #[test]
    fn absent_options_are_not_passed_on() {
        let given = arguments(None).option("--profile", Some("smoke")).option("--device", None);
        let given = given.path("--runs-dir", None).unwrap().flag("--json");
        assert_eq!(given.list, ["golden", "check", "--profile", "smoke", "--json"]);
    }

    #[test]
    fn a_relative_path_means_what_the_caller_means() {
        let path = Some(Path::new("mine"));
        let from_root = arguments(None).path("--runs-dir", path).unwrap();
        assert_eq!(from_root.list[3], "mine");
        let from_below = arguments(Some("below")).path("--runs-dir", path).unwrap();
        assert_eq!(Path::new(&from_below.list[3]), Path::new("below").join("mine"));
        let absolute = std::env::temp_dir();
        let from_below = arguments(Some("below")).path("--runs-dir", Some(&absolute)).unwrap();
        assert_eq!(Path::new(&from_below.list[3]), absolute);
    }

    #[test]
    fn files_without_a_name_follow_the_caller_too() {
        let files = ["a.json", "b.json"].map(PathBuf::from);
        let from_below = arguments(Some("below")).paths(&files).unwrap();
        let want = files.map(|file| Path::new("below").join(file).into_os_string());
        assert_eq!(from_below.list[2..], want);
    }

    #[test]
    fn an_empty_path_is_refused() {
        assert!(arguments(None).path("--out", Some(Path::new(""))).is_err());
        assert!(arguments(None).paths(&[PathBuf::new()]).is_err());
    }

    #[test]
    fn the_device_is_found_however_it_is_written() {
        let device = |words: &[&str]| {
            let list = words.iter().map(OsString::from).collect();
            Arguments { list, caller: None }.device().map(str::to_owned)
        };
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
    fn a_build_without_libtorch_is_as_it_was() {
        let sh = Shell::new().unwrap();
        let command = run_command(&sh, &arguments(None), None);
        let args: Vec<_> = command.get_args().collect();
        let want = "run --quiet --package synergy-suite --bin synergy -- golden check";
        assert_eq!(args, want.split(' ').collect::<Vec<_>>());
    }

    #[test]
    fn times_read_as_a_person_says_them() {
        assert_eq!(clock(42), "42 s");
        assert_eq!(clock(185), "3 min 05 s");
    }
}
