//! Python: where it is, what it prints, and environments below `target`.
//!
//! Does not know what is run in them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use synergy_hint::{Hint as _, Hinted};

use crate::process;

/// The names under which Python is looked for.
pub(crate) const NAMES: &[&str] = &["python3", "python"];

/// What helps where an environment could not be made or filled.
const HINT: &str = "it needs python3 with venv and pip, and pip the network or an index";

/// Makes an environment in `work/venv`, unless it is there, and installs the packages of the file `requirements`, which
/// are `what` and take the disk space `size`. Returns its Python.
///
/// # Errors
/// If Python is missing, or pip fails.
pub(crate) fn environment(
    work: &Path,
    requirements: &Path,
    what: &str,
    size: &str,
) -> anyhow::Result<PathBuf> {
    let environment = work.join("venv");
    let python = of(&environment);
    if !python.exists() {
        create("python3", &environment)?;
    }
    eprintln!("installing {what} with pip ({size} the first time)");
    let mut command = pip_install(&python, requirements);
    command.arg("--quiet");
    ensure!(process::wait(command)? == 0, Hinted::new(format!("failed to install {what}"), HINT));
    Ok(python)
}

/// Returns the Python of the environment in `folder`.
pub(crate) fn of(folder: &Path) -> PathBuf {
    folder.join("bin").join("python")
}

/// Makes an environment of the Python `base` in `folder`. Returns its Python.
///
/// # Errors
/// If Python is missing, or has no venv.
pub(crate) fn create(base: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(base);
    command.args(["-m", "venv"]).arg(folder);
    let code = process::wait(command).hint(HINT)?;
    ensure!(code == 0, Hinted::new("failed to make an environment for Python", HINT));
    Ok(of(folder))
}

/// Makes the command with which pip installs the packages of the file `requirements` for `python`.
pub(crate) fn pip_install(python: &Path, requirements: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--disable-pip-version-check", "-r"]);
    command.arg(requirements);
    command
}

/// Finds the first of `names` that is Python 3 with pip.
///
/// # Errors
/// If none of them is.
pub(crate) fn with_pip(names: &[&'static str]) -> anyhow::Result<&'static str> {
    let has_pip = |name: &&&str| ask(name, &["-m", "pip", "--version"].map(OsStr::new)).is_ok();
    let found = names.iter().find(has_pip).copied();
    found
        .with_context(|| format!("no Python with pip was found (tried `{}`)", names.join("`, `")))
        .hint(
            "install Python 3 with pip; only `cargo xtask fetch`, `libtorch` and `engine` need it",
        )
}

/// Runs Python and returns what it prints.
///
/// # Errors
/// If Python is missing or fails; the error is then the last line of its complaint.
pub(crate) fn ask(python: &str, arguments: &[&OsStr]) -> anyhow::Result<String> {
    let output = Command::new(python)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to start `{python}`"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{}", complaint.lines().last().unwrap_or("Python gave no reason"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_python_is_an_error_with_a_hint() {
        let error = synergy_hint::text(&with_pip(&["no-such-python"]).unwrap_err());
        assert!(error.contains("`no-such-python`") && error.contains("\nhint: "), "{error}");
    }
}
