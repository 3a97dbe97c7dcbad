//! How a job or a step of it ends, and the sections of its log.
//!
//! Does not know the jobs.

use std::process::Command;
use std::time::Instant;

use crate::process::{self, EXIT_BROKEN, EXIT_FINDING};
use crate::units::clock;

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// The check ran and found something.
    Failed,
    /// The check could not run to its end.
    Broken(String),
    /// It did not run here; the text says how to have it run.
    Skipped(String),
}

impl Outcome {
    /// Reads a program's exit code. Tools have many codes for "found something" (1, 100, 101); only 2 means "could not
    /// be done".
    pub(crate) fn of(code: u8) -> Outcome {
        match code {
            0 => Outcome::Passed,
            EXIT_BROKEN => Outcome::Broken("could not finish, see above".to_owned()),
            _ => Outcome::Failed,
        }
    }

    /// Returns xtask's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Outcome::Passed | Outcome::Skipped(_) => 0,
            Outcome::Failed => EXIT_FINDING,
            Outcome::Broken(_) => EXIT_BROKEN,
        }
    }

    /// Continues with `next` if this passed.
    ///
    /// # Errors
    /// If `next` fails.
    pub(crate) fn and_then(
        self,
        next: impl FnOnce() -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<Outcome> {
        if self == Outcome::Passed { next() } else { Ok(self) }
    }
}

/// Runs one command in a section of its own.
///
/// # Errors
/// If the program cannot be started.
pub(crate) fn step(name: &str, command: impl Into<Command>) -> anyhow::Result<Outcome> {
    let _section = Section::new(name);
    process::wait(command.into()).map(Outcome::of)
}

/// A part of the log with a heading; its end prints the time it took.
pub(crate) struct Section {
    name: String,
    start: Instant,
}

impl Section {
    /// Prints the heading `name`.
    pub(crate) fn new(name: &str) -> Section {
        println!("::group::{name}");
        Section { name: name.to_owned(), start: Instant::now() }
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        println!("::endgroup::");
        println!("{}: {}", self.name, clock(self.start.elapsed().as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_tools_become_findings_and_breakage() {
        assert_eq!(Outcome::of(0), Outcome::Passed);
        for code in [1, 100, 101] {
            assert_eq!(Outcome::of(code).exit_code(), EXIT_FINDING, "{code}");
        }
        assert_eq!(Outcome::of(2).exit_code(), EXIT_BROKEN);
        assert_eq!(Outcome::Skipped(String::new()).exit_code(), 0);
    }
}
