//! The tests of the workspace, with cargo-nextest where it is installed and `cargo test` otherwise.
//!
//! Does not install anything: a fresh clone with cargo alone runs every test, only less tidily.
//! Without package arguments cargo takes every member of a virtual workspace, so none are added and
//! `--package` narrows the run as one expects.

use std::path::Path;
use std::process::{Command, ExitCode};

use xshell::{Shell, cmd};

use crate::{process, synergy};

/// Becomes the test runner, `args` passed on.
///
/// # Errors
/// If cargo cannot be started.
pub(crate) fn become_tests(root: &Path, args: &[String]) -> anyhow::Result<ExitCode> {
    let sh = synergy::shell(root)?;
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    process::replace(command(&sh, in_ci, args))
}

/// The command that runs the tests; `in_ci` chooses nextest's profile `ci`.
pub(crate) fn command(sh: &Shell, in_ci: bool, args: &[String]) -> Command {
    if has_nextest(sh) {
        let profile = if in_ci { "ci" } else { "default" };
        cmd!(sh, "cargo nextest run --profile {profile} {args...}").into()
    } else {
        eprintln!("cargo-nextest is not installed: falling back to `cargo test`");
        // All findings at once, as nextest's profile `ci` gives them.
        let no_fail_fast: &[&str] = if in_ci { &["--no-fail-fast"] } else { &[] };
        cmd!(sh, "cargo test {no_fail_fast...} {args...}").into()
    }
}

/// Whether cargo knows the subcommand `nextest`.
fn has_nextest(sh: &Shell) -> bool {
    has_subcommand(sh, "nextest")
}

/// Whether cargo knows a subcommand, asked by its version.
pub(crate) fn has_subcommand(sh: &Shell, name: &str) -> bool {
    cmd!(sh, "cargo {name} --version").quiet().ignore_stderr().read().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_runner() {
        let sh = Shell::new().unwrap();
        let command = command(&sh, true, &["--package".into(), "synergy-models".into()]);
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(args[args.len() - 2..], ["--package", "synergy-models"]);
    }

    #[test]
    fn an_unknown_subcommand_is_not_there() {
        let sh = Shell::new().unwrap();
        assert!(has_subcommand(&sh, "tree"));
        assert!(!has_subcommand(&sh, "no-such-subcommand"));
    }
}
