//! Child processes: waiting for one, or becoming one.
//!
//! Does not know which programs are run or what their exit codes mean beyond 0, 1 and 2.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitCode};

use anyhow::Context as _;

/// The exit code of a finding: a failed check, a regressed metric.
pub(crate) const EXIT_FINDING: u8 = 1;
/// The exit code of a command that could not be done.
pub(crate) const EXIT_BROKEN: u8 = 2;

/// Returns the exit code of a check that has or has not a finding.
pub(crate) fn exit_code(finding: bool) -> ExitCode {
    if finding { ExitCode::from(EXIT_FINDING) } else { ExitCode::SUCCESS }
}

/// Runs `command` to its end with inherited input and output.
/// Returns its exit code; a command ended by a signal counts as [`EXIT_BROKEN`].
///
/// # Errors
/// If the program cannot be started.
pub(crate) fn wait(mut command: Command) -> anyhow::Result<u8> {
    forget_package(&mut command);
    let status = command.status().with_context(|| not_started(&command))?;
    Ok(status.code().map_or(EXIT_BROKEN, |code| u8::try_from(code).unwrap_or(EXIT_BROKEN)))
}

/// Becomes `command`: on Unix the process is replaced, so Ctrl-C reaches the program itself, nobody
/// answers in its stead, and its exit code is passed on as it is. Elsewhere it waits.
///
/// # Errors
/// If the program cannot be started.
#[cfg(unix)]
pub(crate) fn replace(mut command: Command) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    forget_package(&mut command);
    let error = command.exec();
    Err(error).with_context(|| not_started(&command))
}

/// See the Unix version: without `exec`, waiting is the nearest thing.
#[cfg(not(unix))]
pub(crate) fn replace(command: Command) -> anyhow::Result<ExitCode> {
    wait(command).map(ExitCode::from)
}

/// Takes away what cargo says about the package of xtask: build scripts that watch these variables would run, and
/// their crates compile, whenever cargo is called by xtask after a call by hand, and the other way round.
pub(crate) fn forget_package(command: &mut Command) {
    let is_given = |name: &OsStr, command: &Command| command.get_envs().any(|(key, _)| key == name);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|p| text.starts_with(p));
        if is_of_package && !is_given(&name, command) {
            command.env_remove(&name);
        }
    }
}

/// A program in the background, which ends when this value is dropped.
pub(crate) struct Background(pub(crate) Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn not_started(command: &Command) -> String {
    format!("failed to start `{}`", command.get_program().display())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(script: &str, want: u8) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        assert_eq!(wait(command).unwrap(), want, "{script}");
    }

    #[test]
    fn an_exit_code_is_passed_on_and_a_signal_is_not_success() {
        check("exit 0", 0);
        check("exit 1", 1);
        check("exit 100", 100);
        check("kill -TERM $$", EXIT_BROKEN);
    }

    #[test]
    fn a_program_does_not_see_the_package_that_cargo_runs() {
        // Cargo sets both for every test.
        check("test -z \"$CARGO_PKG_NAME$CARGO_MANIFEST_DIR\"", 0);
        let mut given = Command::new("sh");
        given.args(["-c", "test \"$CARGO_MANIFEST_DIR\" = given"]);
        given.env("CARGO_MANIFEST_DIR", "given");
        assert_eq!(wait(given).unwrap(), 0);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = wait(Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("`no-such-program`"), "{error:#}");
    }
}
