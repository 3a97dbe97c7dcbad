//! The tests of the workspace, with cargo-nextest where it is installed and `cargo test` otherwise.
//!
//! Does not install anything: a fresh clone with cargo alone runs every test, only less tidily.
//! Without package arguments cargo takes every member of a virtual workspace, so none are added and
//! `--package` narrows the run as one expects.

use std::path::Path;
use std::process::{Command, ExitCode};

use xshell::{Shell, cmd};

use crate::{libtorch, process, synergy};

/// The crates that have the feature `libtorch`, and the variable from which their tests read the device.
const FEATURES: &str = "synergy-suite/libtorch,synergy-models/libtorch,synergy-tests/libtorch";
const DEVICE: &str = "SYNERGY_TEST_DEVICE";

/// Becomes the test runner, which gets `args` except for a `--device` among them. The tests judge the name of the device;
/// without one they compute as in a fresh clone, whatever this machine has.
///
/// # Errors
/// If cargo cannot be started, or the device needs a libtorch that is not there.
pub(crate) fn become_tests(
    root: &Path,
    device: Option<String>,
    mut args: Vec<String>,
) -> anyhow::Result<ExitCode> {
    let sh = synergy::shell(root)?;
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    // Behind the first word that is not ours, everything is passed on.
    let device = take_device(&mut args).or(device);
    process::replace(command(&sh, in_ci, device.as_deref(), &args)?)
}

/// Builds the command that runs the tests; `in_ci` chooses nextest's profile `ci`.
///
/// # Errors
/// If the device needs a libtorch that is not there.
pub(crate) fn command(
    sh: &Shell,
    in_ci: bool,
    device: Option<&str>,
    args: &[String],
) -> anyhow::Result<Command> {
    let libtorch = match device {
        Some(_) => libtorch::for_device(&sh.current_dir(), device)?,
        None => None,
    };
    let features: &[&str] = if libtorch.is_some() { &["--features", FEATURES] } else { &[] };
    let mut command: Command = if has_nextest(sh) {
        let profile = if in_ci { "ci" } else { "default" };
        cmd!(sh, "cargo nextest run --profile {profile} {features...} {args...}").into()
    } else {
        eprintln!("cargo-nextest is not installed: falling back to `cargo test`");
        // All findings at once, as nextest's profile `ci` gives them.
        let no_fail_fast: &[&str] = if in_ci { &["--no-fail-fast"] } else { &[] };
        cmd!(sh, "cargo test {no_fail_fast...} {features...} {args...}").into()
    };
    if let Some(device) = device {
        command.env(DEVICE, device);
    }
    if let Some(libtorch) = libtorch {
        libtorch.give_to(&mut command);
        // Tests run side by side; each with all cores would wait for the others.
        command.env("OMP_NUM_THREADS", "1");
    }
    Ok(command)
}

/// Takes the last `--device` out of `args`.
fn take_device(args: &mut Vec<String>) -> Option<String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (range, device) = synergy::device_in(&words)?;
    let device = device.to_owned();
    args.drain(range);
    Some(device)
}

/// Returns whether cargo knows the subcommand `nextest`.
fn has_nextest(sh: &Shell) -> bool {
    has_subcommand(sh, "nextest")
}

/// Returns whether cargo knows a subcommand, asked by its version.
pub(crate) fn has_subcommand(sh: &Shell, name: &str) -> bool {
    cmd!(sh, "cargo {name} --version").quiet().ignore_stderr().read().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_runner() {
        let sh = Shell::new().unwrap();
        let command = command(&sh, true, None, &["--package".into(), "synergy-models".into()]);
        let command = command.unwrap();
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(args[args.len() - 2..], ["--package", "synergy-models"]);
        assert!(command.get_envs().all(|(name, _)| name != DEVICE));
    }

    #[test]
    fn a_device_is_taken_out_of_what_is_passed_on() {
        let mut args = ["-p", "a", "--device", "libtorch", "b"].map(str::to_owned).to_vec();
        assert_eq!(take_device(&mut args).as_deref(), Some("libtorch"));
        assert_eq!(args, ["-p", "a", "b"]);
        assert_eq!(take_device(&mut args), None);
        let sh = Shell::new().unwrap();
        let command = command(&sh, false, Some("flex"), &args).unwrap();
        let mut given = command.get_envs().filter(|(name, _)| *name == DEVICE);
        assert_eq!(given.next().unwrap().1, Some("flex".as_ref()));
        assert!(command.get_args().all(|arg| arg != "--features"));
    }

    #[test]
    fn an_unknown_subcommand_is_not_there() {
        let sh = Shell::new().unwrap();
        assert!(has_subcommand(&sh, "tree"));
        assert!(!has_subcommand(&sh, "no-such-subcommand"));
    }
}
