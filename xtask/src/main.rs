//! `cargo xtask`: the project's automation, one command per thing a person or a CI job does.
//!
//! Does not know models, benchmarks or recipes: it runs `synergy` and cargo as processes and links
//! none of our crates, so it compiles in seconds and works while the rest does not compile. What `synergy` does is
//! passed on to it as it is written, help included.
//!
//! Exit codes are the suite's: 0 done, 1 a finding (a failed check, a regressed metric), 2 could
//! not be done. Where one program does the whole job, xtask becomes that program (`process::replace`),
//! so its signals and its exit code are never translated.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks here")]

mod bench;
mod ci;
mod doctor;
mod engine;
mod fetch;
mod files;
mod leaderboard;
mod libtorch;
mod page;
mod parity;
mod process;
mod provision;
mod python;
mod synergy;
mod test;
mod tidy;
mod units;
mod wheel;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use synergy_hint::Hint as _;

use crate::ci::gate;
use crate::process::EXIT_BROKEN;
use crate::synergy::Arguments;

/// Automation of the Synergy suite.
#[derive(Debug, Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    after_help = "Examples:
  cargo xtask reproduce                  the main job: every regime, evaluated and compared
  cargo xtask reproduce --profile smoke  the same in less than a minute
  cargo xtask test                       every test of the workspace

Exit codes: 0 done, 1 a finding (failed check, regressed metric), 2 could not be done."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The words behind a verb of `synergy`, passed on as they are.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
struct Passed {
    /// Everything that `synergy` understands here; `--help` shows it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train every regime of a profile from the kept base, evaluate, compare, write the leaderboard
    Reproduce(Passed),
    /// Compare a run with the golden results, or record it as golden
    Golden(Passed),
    /// Check, join or show the leaderboards of several runs; `check` alone checks those in golden/leaderboard
    Leaderboard(Passed),
    /// Draw pictures of the families: a sheet of all, or a page of one with questions and answers
    Show(Passed),
    /// Train the base model, long and resumable (up to two hours on two cores)
    TrainBase(Passed),
    /// Run any command of the suite's own program: plan, base-gate, score, …
    Synergy(Passed),
    /// Run every test, with cargo-nextest where it is installed
    #[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test --package synergy-benchmarks
  cargo xtask test padding
  cargo xtask test --device libtorch")]
    Test {
        /// The device that tests of the model compute on; with `libtorch` and `cuda` libtorch is built in
        #[arg(long, value_name = "DEVICE")]
        device: Option<String>,
        /// Passed on to `cargo nextest run` or, without cargo-nextest, to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run what continuous integration runs: all jobs in order, or one
    #[command(after_help = "Examples:
  cargo xtask ci
  cargo xtask ci clippy
  cargo xtask ci workflows")]
    Ci {
        /// The job to run [default: all but those that run only when named]
        job: Option<ci::Job>,
        /// The device to compute on [default: the suite chooses]
        #[arg(long, value_name = "DEVICE")]
        device: Option<String>,
    },
    /// Reproduce a profile from an empty folder and compare it with the golden results; or prove that this detects faults
    #[command(after_help = "Examples:
  cargo xtask gate
  cargo xtask gate --profile small
  cargo xtask gate --self-test
  cargo xtask gate --self-test --few --json")]
    Gate(Gate),
    /// Build the page over the runs in golden/leaderboard, and hand it to the service if there is a token
    #[command(after_help = "Examples:
  cargo xtask publish")]
    Publish,
    /// Fetch a model, a data set or everything that a profile needs into data/, checked against benchmarks/datasets.lock
    #[command(after_help = "Examples:
  cargo xtask fetch full-3b                 model, training data and benchmarks of profile full-3b
  cargo xtask fetch full-3b --check
  cargo xtask fetch qwen2.5-vl-7b
  cargo xtask fetch easy-vqa
  cargo xtask fetch mathvision
  cargo xtask fetch mathvision --check
  HF_TOKEN=hf_... cargo xtask fetch mmmu    a set whose owners ask for an account
  HF_HOME=DIR cargo xtask fetch mathverse   with the hub's cache elsewhere

Sizes and licenses are shown before anything is downloaded. Weights come as safetensors, never as pickles.
After an interruption the same command continues. Once everything is there, no network is touched.
HF_ENDPOINT names another hub, HTTPS_PROXY a proxy.")]
    Fetch {
        /// The data set, model or profile
        item: fetch::Item,
        /// Only report whether it is there and whole: exit code 0 if so, 1 if not
        #[arg(long)]
        check: bool,
    },
    /// Install libtorch 2.9.0 in data/ through pip, checked against xtask/libtorch.lock
    #[command(after_help = "Examples:
  cargo xtask libtorch
  cargo xtask libtorch --check
  cargo xtask libtorch --flavor cuda

After an interruption the same command continues with the next wheel. Once everything is there, no network is
touched. A build uses the first of: the folder LIBTORCH, the PyTorch of the active Python with
LIBTORCH_USE_PYTORCH=1, data/libtorch/cuda, data/libtorch/cpu.")]
    Libtorch {
        /// The device it can compute on [default: cpu, and nothing is done where you have a libtorch of your own]
        #[arg(long)]
        flavor: Option<libtorch::Flavor>,
        /// Only report whether it is there and whole: exit code 0 if so, 1 if not
        #[arg(long)]
        check: bool,
    },
    /// Install an engine that answers in place of the suite's own, in target/engines, checked against xtask/engines
    #[command(after_help = "Examples:
  cargo xtask engine vllm
  cargo xtask engine vllm --flavor cuda

It takes some minutes and gigabytes of packages, each checked by pip against its hash. Once it is there, nothing is
done; where the list of packages has changed since, or an installation was interrupted, it is made again.")]
    Engine {
        /// The engine
        engine: engine::Engine,
        /// What it computes on [default: what is there already, else cuda where there is an NVIDIA GPU, else cpu]
        #[arg(long)]
        flavor: Option<engine::Flavor>,
    },
    /// Report what this machine has and lacks, and which profiles can run here
    #[command(after_help = "Examples:
  cargo xtask doctor
  cargo xtask doctor --json")]
    Doctor {
        /// Write the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare with recorded results of the reference implementation and of peers
    #[command(after_help = "Examples:
  cargo xtask parity
  cargo xtask parity --regenerate")]
    Parity {
        /// Record the reference and the peers again: needs Python 3.11, npm and 23 GB below `target`
        #[arg(long)]
        regenerate: bool,
    },
    /// Measure the suite's speed, alone or against a peer: JSON lines, also in target/bench
    #[command(after_help = "Examples:
  cargo xtask bench
  cargo xtask bench train decode
  cargo xtask bench --against pytorch --rounds 3")]
    Bench {
        /// Only measurements whose name contains one of these: grpo, text, train, forward, decode, …
        #[arg(value_name = "PART")]
        parts: Vec<String>,
        /// Let a peer do the same work in turn: needs Python 3.11 and 7 GB below `target`
        #[arg(long, value_name = "PEER")]
        against: Option<bench::Peer>,
        /// The number of turns of each program
        #[arg(long, default_value_t = 2, requires = "against", value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Open a run's report.html in headless Chromium: axe, sorting, filters, completions, both themes
    #[command(after_help = "Examples:
  cargo xtask page-check
  cargo xtask page-check runs/small/report.html
  cargo xtask page-check --skip-missing")]
    PageCheck {
        /// The page to open
        #[arg(value_name = "FILE", default_value = "runs/smoke/report.html")]
        report: PathBuf,
        /// Exit with 0 where node, npm or Chromium is missing
        #[arg(long)]
        skip_missing: bool,
    },
    /// Check the house rules that neither rustfmt nor clippy knows (also a test)
    #[command(after_help = "Examples:
  cargo xtask tidy
  cargo xtask tidy --all")]
    Tidy {
        /// Also show what the newer rules find where they are not held yet
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct Gate {
    /// The profile to reproduce: smoke, small, or another recipe with golden results
    #[arg(long, default_value = "smoke")]
    profile: String,
    /// Plant faults that the gate must detect, and repeat with other seeds what it must accept
    #[arg(long)]
    self_test: bool,
    /// Only a few faults and one rerun
    #[arg(long, requires = "self_test")]
    few: bool,
    /// The device to compute on [default: the suite chooses]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Write the report of the self-test as JSON to standard output
    #[arg(long, requires = "self_test")]
    json: bool,
}

/// The kind of error of a command line without a command, which is answered with the help.
const MISSING: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        if !error.use_stderr() || error.kind() == MISSING {
            error.exit();
        }
        let cause = synergy_hint::refusal(&error.to_string());
        eprintln!("error: {cause}\nhint: `cargo xtask --help` lists the commands");
        std::process::exit(EXIT_BROKEN.into())
    });
    run(cli.command).unwrap_or_else(|error| {
        eprintln!("error: {}", synergy_hint::text(&error));
        ExitCode::from(EXIT_BROKEN)
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let root = root()?;
    let from_caller = |verb: &str, mut words: Vec<OsString>| {
        words.insert(0, verb.into());
        let caller = std::env::current_dir().context("failed to read the current folder")?;
        synergy::become_synergy(&root, &Arguments::given(&words, &caller, &root))
    };
    match command {
        Command::Reproduce(given) => from_caller("reproduce", given.words),
        Command::Golden(given) => from_caller("golden", given.words),
        Command::Leaderboard(given) if given.words == ["check"] => {
            synergy::become_synergy(&root, &leaderboard::check_kept(&root)?)
        }
        Command::Leaderboard(given) => from_caller("leaderboard", given.words),
        Command::TrainBase(given) => from_caller("train-base", given.words),
        Command::Show(given) => {
            synergy::become_synergy(&root, &Arguments::new(["show"]).with(given.words))
        }
        Command::Synergy(given) => synergy::become_synergy(&root, &Arguments::new(given.words)),
        Command::Test { device, args } => test::become_tests(&root, device, args),
        Command::Ci { job, device } => ci::run(&root, job, device.as_deref()),
        Command::Gate(Gate { profile, self_test: true, few, device, json }) => {
            let arguments = gate::self_test(&profile, few, device.as_deref());
            synergy::become_synergy(&root, &arguments.with(json.then_some("--json")))
        }
        Command::Gate(Gate { profile, device, .. }) => {
            gate::command(&root, &profile, device.as_deref())
        }
        Command::Publish => leaderboard::publish(&root),
        Command::Fetch { item, check } => fetch::run(&root, item, check),
        Command::Libtorch { flavor, check } => provision::run(&root, flavor, check),
        Command::Engine { engine, flavor } => engine::run(&root, engine, flavor),
        Command::Doctor { json } => doctor::run(&root, json),
        Command::Parity { regenerate: false } => parity::replay(&root),
        Command::Parity { regenerate: true } => parity::regenerate(&root),
        Command::Bench { parts, against, rounds } => bench::run(&root, against, rounds, &parts),
        Command::PageCheck { report, skip_missing } => {
            let report = std::path::absolute(&report).context("the path of the page is empty")?;
            page::check(&root, &report, skip_missing)
        }
        Command::Tidy { all } => {
            let violations = tidy::violations(&root, all)?;
            for violation in &violations {
                println!("{violation}");
            }
            Ok(process::exit_code(!violations.is_empty()))
        }
    }
}

/// Finds the repository's root, where every command runs.
///
/// # Errors
/// If the folder that xtask was compiled in does not exist any more.
fn root() -> anyhow::Result<PathBuf> {
    // Cargo sets the variable at run time, so a moved checkout is found without a rebuild.
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest_dir.parent().map(Path::to_path_buf);
    root.filter(|root| root.is_dir())
        .with_context(|| {
            format!("failed to find the repository above `{}`", manifest_dir.display())
        })
        .hint("run it as `cargo xtask`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_ours_shows_examples() {
        let mut cli = Cli::command();
        let mut pending: Vec<_> = cli.get_subcommands().cloned().collect();
        pending.retain(|command| !command.is_disable_help_flag_set());
        assert!(pending.len() > 10, "they are not passed on");
        assert!(cli.render_long_help().to_string().contains("Examples:\n  cargo xtask "));
        for mut command in pending.into_iter().filter(|command| command.get_name() != "help") {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n  cargo xtask "), "no examples in: {help}");
        }
    }

    #[test]
    fn what_a_program_understands_is_passed_on() {
        let cli = Cli::try_parse_from(["xtask", "test", "-E", "test(padding)", "--release"]);
        let Command::Test { device: None, args } = cli.unwrap().command else {
            panic!("not the test command")
        };
        assert_eq!(args, ["-E", "test(padding)", "--release"]);
        let words = ["check", "--profile", "smoke", "-h", "--help", "--version", "x"];
        let cli = Cli::try_parse_from([&["xtask", "golden"], &words[..]].concat());
        let Command::Golden(passed) = cli.unwrap().command else { panic!("not golden") };
        assert_eq!(passed.words, words);
    }

    #[test]
    fn a_wrong_verb_is_one_line() {
        let line = |words: &[&str]| {
            synergy_hint::refusal(&Cli::try_parse_from(words).unwrap_err().to_string())
        };
        assert_eq!(line(&["xtask", "reprduce"]), "unrecognized subcommand 'reprduce'");
        let missing = "the following required arguments were not provided: <ITEM>";
        assert_eq!(line(&["xtask", "fetch"]), missing);
    }
}
