//! Environments for Python below `target`.
//!
//! Does not know what is run in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::process;

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
