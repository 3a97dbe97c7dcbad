//! The gate: a profile is reproduced from an empty folder and compared with the golden results.
//!
//! Does not know what is compared: `synergy golden check` does.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use synergy_hint::line;
use xshell::Shell;

use super::outcome::{Outcome, Section};
use super::report;
use crate::page;
use crate::synergy::{self, Arguments};

/// The folder in which the gate works: below `target`, which git ignores, and emptied before each gate.
pub(crate) const RUNS_DIR: &str = "target/ci-runs";

/// The file of its comparison for people, if the gate got that far.
const COMPARISON: &str = "target/ci-runs/comparison.md";

/// Runs `cargo xtask gate`.
///
/// # Errors
/// If a process cannot be started.
pub(crate) fn command(
    root: &Path,
    profile: &str,
    device: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let outcome = run(&synergy::shell(root)?, root, profile, device)?;
    if let Outcome::Broken(cause) = &outcome {
        eprintln!("error: {cause}");
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

/// Builds the command that puts the gate to the test, in the gate's own folder: what the gate has just trained is not
/// trained again.
pub(crate) fn self_test(profile: &str, few: bool, device: Option<&str>) -> Arguments {
    in_gate(&["self-test"], profile, device).with(few.then_some("--few"))
}

/// Reproduces a profile and compares it with the golden results. It starts from an empty folder: a cached
/// run would be compared without having trained anything.
///
/// # Errors
/// If a process cannot be started.
pub(super) fn run(
    sh: &Shell,
    root: &Path,
    profile: &str,
    device: Option<&str>,
) -> anyhow::Result<Outcome> {
    sh.remove_path(RUNS_DIR).with_context(|| format!("failed to empty the folder `{RUNS_DIR}`"))?;
    let built = {
        let _section = Section::new("build synergy");
        build(sh, root, device)?
    };
    let reproduced = built.and_then(|| {
        let _section = Section::new(&format!("reproduce --profile {profile}"));
        reproduce(sh, profile, device)
    })?;
    reproduced.and_then(|| {
        let _section = Section::new(&format!("golden check --profile {profile}"));
        let check = in_gate(&["golden", "check"], profile, device);
        synergy::run(sh, &check.option("--markdown", Some(COMPARISON))).map(Outcome::of)
    })
}

/// Plants a few faults that the gate must detect.
///
/// # Errors
/// If a process cannot be started.
pub(super) fn few_faults(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    let _section = Section::new("self-test of the gate");
    build(sh, root, device)?
        .and_then(|| synergy::run(sh, &self_test("smoke", true, device)).map(Outcome::of))
}

/// Opens the page of the gate's run, which is made if the gate has not run yet.
///
/// # Errors
/// If a process cannot be started, or npm fails.
pub(super) fn check_page(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    if let Err(missing) = page::require_programs() {
        return Ok(Outcome::Skipped(line(&missing)));
    }
    let _section = Section::new("page");
    let page = root.join(RUNS_DIR).join("smoke/report.html");
    let made = if page.is_file() {
        Outcome::Passed
    } else {
        build(sh, root, device)?.and_then(|| reproduce(sh, "smoke", device))?
    };
    made.and_then(|| page::open(root, &page).map(Outcome::of))
}

/// Runs the gate and reports to people: in the job's summary and, if `comment`, on the pull request.
/// What cannot be reported is a warning: the verdict is the gate's.
pub(super) fn reported(
    sh: &Shell,
    root: &Path,
    profile: &str,
    comment: bool,
    device: Option<&str>,
) -> Outcome {
    let outcome =
        run(sh, root, profile, device).unwrap_or_else(|error| Outcome::Broken(line(&error)));
    // The gate empties the folder first, so that what is there is of this run.
    let comparison = std::fs::read_to_string(root.join(COMPARISON)).ok();
    let text = report::text(profile, comparison, &outcome);
    let service = report::Service::of(|name| std::env::var(name).ok());
    let commented = if comment { service.comment(sh, root, &text) } else { Ok(()) };
    for error in [service.summarize(&text), commented].into_iter().filter_map(Result::err) {
        println!("::warning::{}", line(&error));
    }
    outcome
}

/// Builds `synergy` for the device called `device`.
///
/// # Errors
/// If cargo cannot be started, or the device needs a libtorch that is not there.
pub(super) fn build(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    Ok(match synergy::build(sh, root, device)? {
        0 => Outcome::Passed,
        _ => Outcome::Broken("synergy does not compile, see above".to_owned()),
    })
}

fn reproduce(sh: &Shell, profile: &str, device: Option<&str>) -> anyhow::Result<Outcome> {
    synergy::run(sh, &in_gate(&["reproduce"], profile, device)).map(Outcome::of)
}

/// Builds a command of `synergy` on `profile` in the gate's folder.
fn in_gate(words: &[&str], profile: &str, device: Option<&str>) -> Arguments {
    let arguments = Arguments::new(words.iter().copied()).option("--profile", Some(profile));
    arguments.option("--device", device).option("--runs-dir", Some(RUNS_DIR))
}
