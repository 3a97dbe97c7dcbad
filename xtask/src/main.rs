//! `cargo xtask`: the project's automation, one command per thing a person or a CI job does.
//!
//! Does not know models, benchmarks or recipes: it runs `synergy` and cargo as processes and links
//! none of our crates, so it compiles in seconds and works while the rest does not compile.
//!
//! Exit codes are the suite's: 0 done, 1 a finding (a failed check, a regressed metric), 2 could
//! not be done. Where one program does the whole job, xtask becomes that program (`process::replace`),
//! so its signals and its exit code are never translated.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks here")]

mod bench;
mod ci;
mod doctor;
mod fetch;
mod files;
mod json;
mod leaderboard;
mod libtorch;
mod page;
mod parity;
mod process;
mod python;
mod synergy;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::process::EXIT_BROKEN;

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

#[derive(Debug, Subcommand)]
enum Command {
    /// Train every regime of a profile from the kept base, evaluate, compare, write the leaderboard
    #[command(after_help = "Examples:
  cargo xtask reproduce
  cargo xtask reproduce --profile smoke --runs-dir elsewhere
  cargo xtask reproduce --profile small --from-scratch
  cargo xtask reproduce --profile smoke --json > leaderboard.json")]
    Reproduce(Reproduce),
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
        /// The job to run; without it all but those that run only when named
        job: Option<ci::Job>,
        /// The device to compute on; the suite's own choice without it
        #[arg(long, value_name = "DEVICE")]
        device: Option<String>,
    },
    /// Reproduce a profile from an empty folder and compare it with golden; or prove that this sees faults
    #[command(after_help = "Examples:
  cargo xtask gate
  cargo xtask gate --profile small
  cargo xtask gate --self-test
  cargo xtask gate --self-test --few --json")]
    Gate(Gate),
    /// Compare a run with the golden results, or record it as golden
    #[command(
        subcommand,
        after_help = "Examples:
  cargo xtask golden check --profile smoke
  cargo xtask golden accept --profile small"
    )]
    Golden(Golden),
    /// Check, join or show the leaderboards of several runs
    #[command(
        subcommand,
        after_help = "Examples:
  cargo xtask leaderboard check
  cargo xtask leaderboard merge a.json b.json --out leaderboards.json
  cargo xtask leaderboard site --out site a.json b.json"
    )]
    Leaderboard(leaderboard::Leaderboard),
    /// Build the page over the runs in golden/leaderboard; hand it to the service where there is a token
    #[command(after_help = "Examples:
  cargo xtask publish")]
    Publish,
    /// Pictures of the families: a sheet of all, or a page of one with questions and answers
    #[command(after_help = "Examples:
  cargo xtask show
  cargo xtask show --out sheet.png
  cargo xtask show path --level 3")]
    Show {
        /// Passed on as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Train the base model, long and resumable (up to two hours on two cores)
    #[command(after_help = "Examples:
  cargo xtask train-base
  cargo xtask train-base --recipe base --device flex")]
    TrainBase {
        /// The recipe in suite/recipes, without `.toml`
        #[arg(long, default_value = "base")]
        recipe: String,
        #[command(flatten)]
        place: Place,
    },
    /// Run any command of the suite's own program: plan, base-gate, score, …
    #[command(after_help = "Examples:
  cargo xtask synergy plan --profile small
  cargo xtask synergy base-gate --profile smoke
  cargo xtask synergy --help")]
    Synergy {
        /// Passed on as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Fetch a model, a data set or all that a profile needs into data/, checked against benchmarks/datasets.lock
    #[command(after_help = "Examples:
  cargo xtask fetch full-3b                 model, training data and benchmarks of profile full-3b
  cargo xtask fetch full-3b --check
  cargo xtask fetch qwen2.5-vl-7b
  cargo xtask fetch easy-vqa
  cargo xtask fetch mathvision
  cargo xtask fetch mathvision --check
  HF_TOKEN=hf_... cargo xtask fetch mmmu    a set whose owners ask for an account
  HF_HOME=DIR cargo xtask fetch mathverse   with the hub's cache elsewhere

Sizes and licenses are told before anything is downloaded. Weights come as safetensors, never as pickles.
Interrupted, the same command goes on. Once it is there, no network is touched.
HF_ENDPOINT names another hub, HTTPS_PROXY a proxy.")]
    Fetch {
        /// What
        item: fetch::Item,
        /// Only say whether it is there and whole: exit code 0 if so, 1 if not
        #[arg(long)]
        check: bool,
    },
    /// Provision libtorch 2.9.0 in data/, through pip, checked against xtask/libtorch.lock
    #[command(after_help = "Examples:
  cargo xtask libtorch
  cargo xtask libtorch --check
  cargo xtask libtorch --flavor cuda

Interrupted, the same command goes on with the next wheel. Once it is there, no network is touched.
A build takes the first of: the folder LIBTORCH, the PyTorch of the active Python with
LIBTORCH_USE_PYTORCH=1, data/libtorch/cuda, data/libtorch/cpu.")]
    Libtorch {
        /// What it can compute on; `cpu` without it, and nothing is done where you have one of your own
        #[arg(long)]
        flavor: Option<libtorch::Flavor>,
        /// Only say whether it is there and whole: exit code 0 if so, 1 if not
        #[arg(long)]
        check: bool,
    },
    /// Say what this machine has and lacks, and which profiles can run here
    #[command(after_help = "Examples:
  cargo xtask doctor
  cargo xtask doctor --json")]
    Doctor {
        /// Write the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare with the reference implementation and with peers, from what was recorded of them
    #[command(after_help = "Examples:
  cargo xtask parity
  cargo xtask parity --regenerate")]
    Parity {
        /// Record the reference and the peers anew: needs Python 3.11, npm and 23 GB below `target`
        #[arg(long)]
        regenerate: bool,
    },
    /// Measure the suite's own work, alone or beside a peer: JSON lines, also in target/bench
    #[command(after_help = "Examples:
  cargo xtask bench
  cargo xtask bench train decode
  cargo xtask bench --against pytorch --rounds 3")]
    Bench {
        /// Only the works whose name holds one of these: grpo, text, train, forward, decode, …
        #[arg(value_name = "PART")]
        parts: Vec<String>,
        /// Have a peer do the same work in turn: needs Python 3.11 and 7 GB below `target`
        #[arg(long, value_name = "PEER")]
        against: Option<bench::Peer>,
        /// How often each program takes its turn
        #[arg(long, default_value_t = 2, requires = "against", value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Open a run's report.html in headless Chromium: axe, sorting, filters, completions, both themes
    #[command(after_help = "Examples:
  cargo xtask page-check
  cargo xtask page-check runs/small/report.html
  cargo xtask page-check --skip-missing")]
    PageCheck {
        /// The page
        #[arg(value_name = "FILE", default_value = "runs/smoke/report.html")]
        report: PathBuf,
        /// Exit with 0 where node, npm or Chromium is missing
        #[arg(long)]
        skip_missing: bool,
    },
    /// Check the house rules that neither rustfmt nor clippy knows (also a test)
    #[command(after_help = "Examples:
  cargo xtask tidy")]
    Tidy,
}

#[derive(Debug, Args)]
struct Reproduce {
    /// How much is done: smoke, small, or another recipe of suite/recipes
    #[arg(long, default_value = "small")]
    profile: String,
    /// Train the base again instead of starting from the kept one
    #[arg(long)]
    from_scratch: bool,
    /// Small counts instead of the recipe's, to see before a long run that all of it goes through
    #[arg(long)]
    rehearse: bool,
    #[command(flatten)]
    place: Place,
    /// Write the leaderboard as JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Gate {
    /// What is reproduced: smoke, small, or another recipe with golden results
    #[arg(long, default_value = "smoke")]
    profile: String,
    /// Plant faults that the gate must see, and rerun with other seeds what it must let pass
    #[arg(long)]
    self_test: bool,
    /// Only a few faults and one rerun
    #[arg(long, requires = "self_test")]
    few: bool,
    /// The device to compute on; the suite's own choice without it
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Write the report of the self-test as JSON to standard output
    #[arg(long, requires = "self_test")]
    json: bool,
}

/// Where a run computes and where its artifacts go; both are the suite's to judge.
#[derive(Debug, Args)]
struct Place {
    /// The device to compute on; the suite's own choice without it
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// The folder of the runs; `runs` without it
    #[arg(long, value_name = "DIR")]
    runs_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Golden {
    /// Compare: exit code 0 same, 1 regressed, 2 could not finish
    #[command(after_help = "Examples:
  cargo xtask golden check --profile smoke
  cargo xtask golden check --profile smoke --markdown comparison.md")]
    Check {
        #[command(flatten)]
        recorded: Recorded,
        /// Also write the comparison as Markdown
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
    },
    /// Record the run as the new golden results, in golden/history.jsonl and in golden/LOG.md
    #[command(after_help = "Examples:
  cargo xtask golden accept --profile small
  cargo xtask golden accept --profile small --replace \"60 questions show the same in half the time\"")]
    Accept {
        #[command(flatten)]
        recorded: Recorded,
        /// Record it though it has fewer seeds or questions than the golden before; the reason is kept
        #[arg(long, value_name = "REASON")]
        replace: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Recorded {
    /// The profile that was run
    #[arg(long, default_value = "small")]
    profile: String,
    /// The folder of the runs; `runs` without it
    #[arg(long, value_name = "DIR")]
    runs_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli.command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(EXIT_BROKEN)
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let root = root()?;
    match command {
        Command::Reproduce(reproduce) => {
            let mut arguments = synergy::Arguments::new(&["reproduce"], &root)?
                .option("--profile", Some(&reproduce.profile))
                .option("--device", reproduce.place.device.as_deref())
                .path("--runs-dir", reproduce.place.runs_dir.as_deref())?;
            if reproduce.from_scratch {
                arguments = arguments.flag("--from-scratch");
            }
            if reproduce.rehearse {
                arguments = arguments.flag("--rehearse");
            }
            if reproduce.json {
                arguments = arguments.flag("--json");
            }
            synergy::become_synergy(&root, &arguments)
        }
        Command::Test { device, args } => test::become_tests(&root, device, args),
        Command::Ci { job, device } => ci::run(&root, job, device.as_deref()),
        Command::Gate(Gate { profile, self_test: true, few, device, json }) => {
            let mut arguments = ci::self_test(&root, &profile, few, device.as_deref())?;
            if json {
                arguments = arguments.flag("--json");
            }
            synergy::become_synergy(&root, &arguments)
        }
        Command::Gate(Gate { profile, device, .. }) => {
            ci::run_gate(&root, &profile, device.as_deref())
        }
        Command::Golden(golden) => {
            let (verb, recorded, markdown, replace) = match golden {
                Golden::Check { recorded, markdown } => ("check", recorded, markdown, None),
                Golden::Accept { recorded, replace } => ("accept", recorded, None, replace),
            };
            let arguments = synergy::Arguments::new(&["golden", verb], &root)?
                .option("--profile", Some(&recorded.profile))
                .path("--runs-dir", recorded.runs_dir.as_deref())?
                .path("--markdown", markdown.as_deref())?
                .option("--replace", replace.as_deref());
            synergy::become_synergy(&root, &arguments)
        }
        Command::Leaderboard(command) => leaderboard::run(&root, &command),
        Command::Publish => leaderboard::publish(&root),
        Command::Show { args } => {
            let words: Vec<&str> =
                ["show"].into_iter().chain(args.iter().map(String::as_str)).collect();
            synergy::become_synergy(&root, &synergy::Arguments::new(&words, &root)?)
        }
        Command::TrainBase { recipe, place } => {
            let arguments = synergy::Arguments::new(&["train-base"], &root)?
                .option("--recipe", Some(&recipe))
                .option("--device", place.device.as_deref())
                .path("--runs-dir", place.runs_dir.as_deref())?;
            synergy::become_synergy(&root, &arguments)
        }
        Command::Synergy { args } => {
            let words: Vec<&str> = args.iter().map(String::as_str).collect();
            synergy::become_synergy(&root, &synergy::Arguments::new(&words, &root)?)
        }
        Command::Fetch { item, check } => fetch::run(&root, item, check),
        Command::Libtorch { flavor, check } => libtorch::run(&root, flavor, check),
        Command::Doctor { json } => doctor::run(&root, json),
        Command::Parity { regenerate: false } => parity::replay(&root),
        Command::Parity { regenerate: true } => parity::regenerate(&root),
        Command::Bench { parts, against, rounds } => bench::run(&root, against, rounds, &parts),
        Command::PageCheck { report, skip_missing } => {
            let report = std::path::absolute(&report).context("the page has no place")?;
            page::check(&root, &report, skip_missing)
        }
        Command::Tidy => {
            let violations = tidy::violations(&root)?;
            for violation in &violations {
                println!("{violation}");
            }
            Ok(process::exit_code(!violations.is_empty()))
        }
    }
}

/// The repository's root, where every command runs.
///
/// # Errors
/// If the folder that xtask was compiled in is gone.
fn root() -> anyhow::Result<PathBuf> {
    // Cargo sets the variable at run time, so a moved checkout is found without a rebuild.
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest_dir.parent().map(Path::to_path_buf);
    root.filter(|root| root.is_dir()).with_context(|| {
        format!(
            "failed to find the repository above `{}`\nhint: run it as `cargo xtask`",
            manifest_dir.display()
        )
    })
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
    fn every_command_shows_examples() {
        let mut pending = vec![Cli::command()];
        while let Some(mut command) = pending.pop() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n  cargo xtask "), "no examples in: {help}");
            let children = command.get_subcommands().filter(|c| c.get_name() != "help");
            pending.extend(children.cloned());
        }
    }

    #[test]
    fn arguments_after_test_are_not_ours() {
        let cli = Cli::try_parse_from(["xtask", "test", "-E", "test(padding)", "--release"]);
        let Command::Test { device: None, args } = cli.unwrap().command else {
            panic!("not the test command")
        };
        assert_eq!(args, ["-E", "test(padding)", "--release"]);
    }
}
