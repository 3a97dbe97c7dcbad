//! Builds `synergy`, the suite's binary, and runs it with inherited input and output.
//!
//! Does not know what the commands mean: profiles, recipes and devices are refused by `synergy`
//! itself, with its own message and exit code 2.
//!
//! It runs through `cargo run`, not from a guessed path: cargo alone knows where the target folder
//! is, and on Unix it becomes the program it runs, as we become cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use xshell::{Shell, cmd};

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

    fn resolved(&self, which: &str, value: &Path) -> anyhow::Result<OsString> {
        anyhow::ensure!(!value.as_os_str().is_empty(), "the path {which} is empty");
        let value = self.caller.as_ref().map_or(value.to_path_buf(), |dir| dir.join(value));
        Ok(value.into_os_string())
    }
}

/// Builds `synergy` and becomes it.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn become_synergy(root: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let sh = shell(root)?;
    if build(&sh, root)? != 0 {
        return Ok(ExitCode::from(process::EXIT_BROKEN));
    }
    process::replace(run_command(&sh, arguments))
}

/// Builds `synergy`; says so beforehand when nothing has been built yet, since that takes minutes.
/// Returns cargo's exit code.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn build(sh: &Shell, root: &Path) -> anyhow::Result<u8> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let binary = target.join("debug").join(format!("synergy{}", std::env::consts::EXE_SUFFIX));
    if !root.join(&binary).exists() {
        eprintln!("compiling synergy: the first build takes some minutes, later ones seconds");
    }
    let start = Instant::now();
    let code = process::wait(cmd!(sh, "cargo build --package synergy-suite --bin synergy").into())?;
    let seconds = start.elapsed().as_secs();
    if code == 0 && seconds >= 10 {
        eprintln!("compiled synergy in {}", clock(seconds));
    }
    Ok(code)
}

/// Runs the built `synergy` and returns its exit code.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn run(sh: &Shell, arguments: &Arguments) -> anyhow::Result<u8> {
    process::wait(run_command(sh, arguments))
}

fn run_command(sh: &Shell, arguments: &Arguments) -> std::process::Command {
    let list = &arguments.list;
    cmd!(sh, "cargo run --quiet --package synergy-suite --bin synergy -- {list...}")
        // Training frees and asks for the same pages every step; kept, they need no clearing.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .into()
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
    fn times_read_as_a_person_says_them() {
        assert_eq!(clock(42), "42 s");
        assert_eq!(clock(185), "3 min 05 s");
    }
}
