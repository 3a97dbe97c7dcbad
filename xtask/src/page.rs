//! Opens a run's `report.html` in headless Chromium: `tests/page/check.mjs` with its packages below `target`.
//!
//! Does not know what is on the page or what is checked.
//! The packages are pinned in `tests/page/package-lock.json`; npm installs them aside, so that the checkout stays as
//! it is. The browser is the machine's own: downloading one would be hundreds of megabytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use synergy_hint::Hinted;

use crate::files::create_folder;
use crate::process::{self, EXIT_BROKEN};

/// The folder of the script, its packages and the screenshots while it runs.
const WORK: &str = "target/page-check";
/// The script and what it needs.
const SCRIPTS: &str = "tests/page";
const FILES: [&str; 4] = ["check.mjs", "package.json", "package-lock.json", ".npmrc"];
/// Names and paths under which the browser is looked for.
const BROWSERS: [&str; 4] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "chromium"];

/// Checks the page `report`. Where a program is missing, prints which and returns 2, or 0 if it may be skipped.
///
/// # Errors
/// If there is no such page, or npm fails.
pub(crate) fn check(root: &Path, report: &Path, skip_missing: bool) -> anyhow::Result<ExitCode> {
    if let Err(missing) = require_programs() {
        println!("skipped: {}", synergy_hint::text(&missing));
        return Ok(ExitCode::from(if skip_missing { 0 } else { EXIT_BROKEN }));
    }
    open(root, report).map(ExitCode::from)
}

/// Checks the page `report` where no program is missing and returns the exit code.
///
/// # Errors
/// As [`check`].
pub(crate) fn open(root: &Path, report: &Path) -> anyhow::Result<u8> {
    let missing = format!("there is no page `{}`", report.display());
    ensure!(report.is_file(), Hinted::new(missing, "cargo xtask reproduce --profile smoke"));
    let work = root.join(WORK);
    create_folder(&work)?;
    for file in FILES {
        fs::copy(root.join(SCRIPTS).join(file), work.join(file))
            .with_context(|| format!("failed to copy `{SCRIPTS}/{file}`"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(&work);
    ensure!(
        process::wait(npm)? == 0,
        Hinted::new(
            format!("failed to install the packages of `{SCRIPTS}`"),
            "npm needs the network or a registry"
        )
    );
    let mut node = Command::new("node");
    node.arg("check.mjs").arg(report).arg(work.join("screenshots")).current_dir(&work);
    node.env("CHROMIUM", browser().context("Chromium is missing")?);
    process::wait(node)
}

/// Requires the programs that the check needs.
///
/// # Errors
/// If one is not on this machine.
pub(crate) fn require_programs() -> anyhow::Result<()> {
    let has_node = starts("node") && starts("npm");
    let hint = "apt-get install nodejs npm, version 20 or later";
    ensure!(has_node, Hinted::new("node or npm is missing", hint));
    let hint = "apt-get install chromium";
    ensure!(browser().is_some(), Hinted::new("Chromium is missing", hint));
    Ok(())
}

/// Finds the browser, if there is one.
pub(crate) fn browser() -> Option<PathBuf> {
    let chosen = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let known = BROWSERS.iter().map(PathBuf::from);
    chosen.into_iter().chain(known).find(|path| path.is_file() || starts(&path.to_string_lossy()))
}

/// Returns whether `program` can be started.
fn starts(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_and_its_packages_are_there_and_name_no_registry() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for file in FILES {
            let text = fs::read_to_string(root.join(SCRIPTS).join(file)).unwrap();
            assert!(!text.contains("\"resolved\""), "{file}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_does_not_start() {
        assert!(!starts("no-such-program"));
    }
}
