//! The parity suite and the smoke gate on another device than burn-flex.
//!
//! Does not know what is compared: tests with `reference` in their name and those of `devices` are, and golden results.
//! A device that is not here is reported as skipped: a check that did not run has not passed.

use std::path::Path;

use xshell::Shell;

use super::gate;
use super::outcome::{Outcome, Section, step};
use crate::libtorch::{self, Flavor};
use crate::{provision, test};

/// The crates with tests that compute on a device.
const CRATES: [&str; 6] =
    ["--package", "synergy-models", "--package", "synergy-suite", "--package", "synergy-tests"];
/// Parts of the names of these tests.
const TESTS: [&str; 2] = ["reference", "devices"];

/// Checks libtorch on the CPU, which is provisioned if need be.
///
/// # Errors
/// If a program cannot be started.
pub(super) fn on_libtorch(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    match require_library(root)? {
        None => check(sh, root, "libtorch"),
        Some(outcome) => Ok(outcome),
    }
}

/// Provisions libtorch on the CPU if it is missing; returns how the job ends if that fails.
///
/// # Errors
/// If it cannot be looked for.
pub(super) fn require_library(root: &Path) -> anyhow::Result<Option<Outcome>> {
    if libtorch::environment(root)?.is_some() {
        return Ok(None);
    }
    let _section = Section::new("provision libtorch");
    let provisioned = provision::run(root, Some(Flavor::Cpu), false);
    Ok(provisioned.err().map(|error| {
        Outcome::Skipped(format!(
            "libtorch could not be provisioned: {}",
            synergy_hint::line(&error)
        ))
    }))
}

/// Checks libtorch on the first CUDA device.
///
/// # Errors
/// If a program cannot be started.
pub(super) fn on_cuda(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    if libtorch::gpus().is_empty() {
        return Ok(Outcome::Skipped("no CUDA device; `cargo xtask doctor` says why".to_owned()));
    }
    if !libtorch::environment(root)?.is_some_and(|found| found.has_cuda) {
        let _section = Section::new("provision libtorch");
        provision::run(root, Some(Flavor::Cuda), false)?;
    }
    check(sh, root, "cuda")
}

fn check(sh: &Shell, root: &Path, device: &str) -> anyhow::Result<Outcome> {
    for tests in TESTS {
        let arguments: Vec<String> =
            CRATES.iter().chain([&tests]).map(|word| (*word).to_owned()).collect();
        let command = test::command(sh, true, Some(device), &arguments)?;
        match step(&format!("test {tests} on {device}"), command)? {
            Outcome::Passed => {}
            other => return Ok(other),
        }
    }
    gate::run(sh, root, "smoke", Some(device))
}
