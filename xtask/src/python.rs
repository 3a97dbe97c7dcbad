//! Python: where it is, what it says, environments below `target`.
//!
//! Does not know what is run in them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow, bail, ensure};

use crate::process;

/// What Python may be called.
pub(crate) const NAMES: &[&str] = &["python3", "python"];

const HINT: &str = "hint: it needs python3 with venv and pip, and pip the network or an index";

/// The Python of `work/venv`, made if need be, with the packages of the file `requirements`, which are
/// `what` and take the disk space `size`.
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
    let python = environment.join("bin").join("python");
    if !python.exists() {
        let mut command = Command::new("python3");
        command.args(["-m", "venv"]).arg(&environment);
        let code = process::wait(command).context(HINT)?;
        ensure!(code == 0, "failed to make an environment for Python\n{HINT}");
    }
    eprintln!("installing {what} with pip ({size} the first time)");
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    command.arg(requirements);
    ensure!(process::wait(command)? == 0, "failed to install {what}\n{HINT}");
    Ok(python)
}

/// The first of `names` that is Python 3 with pip.
///
/// # Errors
/// If none is.
pub(crate) fn with_pip(names: &[&'static str]) -> anyhow::Result<&'static str> {
    let has_pip =
        |name: &&&str| ask(name, ["-m", "pip", "--version"].map(OsStr::new).into_iter()).is_ok();
    names.iter().find(has_pip).copied().ok_or_else(|| {
        anyhow!(
            "no Python with pip was found (tried `{}`)\nhint: install Python 3 with pip; only \
             `cargo xtask fetch` and `cargo xtask libtorch` need it",
            names.join("`, `")
        )
    })
}

/// Runs Python and returns what it prints, or the last line of its complaint as the error.
///
/// # Errors
/// If Python is missing, or fails.
pub(crate) fn ask<'a>(
    python: &str,
    arguments: impl Iterator<Item = &'a OsStr>,
) -> anyhow::Result<String> {
    let output = Command::new(python)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to start `{python}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.lines().last().unwrap_or("Python gave no reason"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_python_the_cause_and_a_hint_are_said() {
        let error = with_pip(&["no-such-python"]).unwrap_err().to_string();
        assert!(error.contains("`no-such-python`") && error.contains("\nhint: "), "{error}");
    }
}
