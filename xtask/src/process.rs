//! Child processes: waiting for one, or becoming one.
//!
//! Does not know which programs are run or what their exit codes mean beyond 0, 1 and 2.

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The exit code of a finding: a failed check, a regressed metric.
pub(crate) const EXIT_FINDING: u8 = 1;
/// The exit code of a command that could not be done.
pub(crate) const EXIT_BROKEN: u8 = 2;
/// How long a group has to end by itself.
const GRACE: Duration = Duration::from_secs(10);

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
    let error = command.exec();
    Err(error).with_context(|| not_started(&command))
}

/// See the Unix version: without `exec`, waiting is the nearest thing.
#[cfg(not(unix))]
pub(crate) fn replace(command: Command) -> anyhow::Result<ExitCode> {
    wait(command).map(ExitCode::from)
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

/// A program in the background with everything that it starts, which ends as a whole when this value is dropped.
pub(crate) struct Group(Child);

impl Group {
    /// Starts `command` as the first of a group of its own, where there are groups.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Group> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().with_context(|| not_started(&command))?;
        Ok(Group(child))
    }

    /// Tells whether its first program has ended.
    ///
    /// # Errors
    /// If the system does not tell.
    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }

    /// Sends `signal` to all of the group; what is gone already is no fault.
    fn signal(&self, signal: &str) {
        let all = format!("-{}", self.0.id());
        let _ =
            Command::new("kill").args(["-s", signal, "--", &all]).stderr(Stdio::null()).status();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal("TERM");
        let start = Instant::now();
        while start.elapsed() < GRACE && !self.has_ended().unwrap_or(true) {
            std::thread::sleep(Duration::from_millis(100));
        }
        // Also what outlived the first one.
        self.signal("KILL");
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
    fn a_group_ends_with_what_it_started() {
        let dir = std::env::temp_dir().join(format!("synergy-group-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $! > \"$0\"; wait"]).arg(&dir);
        let group = Group::start(command).unwrap();
        let inner = || std::fs::read_to_string(&dir).unwrap_or_default().trim().to_owned();
        while inner().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let inner = inner();
        let is_there = || {
            let mut command = Command::new("kill");
            command.args(["-0", &inner]).stderr(Stdio::null()).status().unwrap().success()
        };
        assert!(is_there());
        drop(group);
        let start = Instant::now();
        while is_there() && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!is_there(), "{inner} is still there");
        std::fs::remove_file(dir).unwrap();
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = wait(Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("`no-such-program`"), "{error:#}");
    }
}
