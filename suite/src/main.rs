//! The command line: words to functions, errors to exit codes.
//!
//! Exit codes are decided here only: 0 all well, 1 a finding (a regression), 2 could not finish,
//! 130 stopped by Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use synergy_benchmarks::families::contact_sheet;
use synergy_suite::base_gate;
use synergy_suite::compare::compare;
use synergy_suite::event::{interrupted, watch_interrupts};
use synergy_suite::recipe::ModelSpec;
use synergy_suite::run::{self, Options};
use synergy_suite::score::Results;
use synergy_suite::store::write_atomic;
use synergy_suite::table::render_comparison;

/// Keeps its pages: burn asks for the same sizes again every step, and the system's allocator would
/// give the memory back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  synergy plan --profile small              what a run would do, and how long it takes
  synergy reproduce --profile smoke         all regimes on the nano model, two minutes
  synergy golden check --profile smoke      compare the last run with the recorded results
  synergy show --out sheet.png              what the questions look like";

/// What happens to a reasoning vision-language model when it is post-trained with long-CoT SFT, RL
/// or both: on easy and hard questions, in accuracy, style and length.
#[derive(Parser)]
#[command(name = "synergy", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train what is missing, evaluate by difficulty, publish a leaderboard
    Reproduce {
        #[command(flatten)]
        run: RunArgs,
        /// Train the base again instead of starting from the kept one
        #[arg(long)]
        from_scratch: bool,
        /// Print the leaderboard as JSON on standard output
        #[arg(long)]
        json: bool,
    },
    /// Print what `reproduce` would do: stages, steps, tokens, memory, time
    Plan {
        #[command(flatten)]
        run: RunArgs,
    },
    /// Compare a finished run with golden results, or record it as golden
    Golden {
        #[command(subcommand)]
        action: GoldenAction,
    },
    /// Grade kept completions again, without the model
    Score {
        #[command(flatten)]
        run: RunArgs,
    },
    /// Train the kept base model by its own recipe and write it to its folder
    TrainBase {
        /// Recipe in suite/recipes
        #[arg(long, default_value = "base")]
        recipe: String,
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Measure whether a kept base is good enough to start a study from, and write it beside the base
    BaseGate {
        #[command(flatten)]
        run: RunArgs,
        /// Questions of each family
        #[arg(long, default_value_t = 200)]
        questions: usize,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a contact sheet of the procedural families
    Show {
        #[arg(long, default_value = "runs/contact-sheet.png")]
        out: PathBuf,
        /// Seed of the pictures
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Subcommand)]
enum GoldenAction {
    /// Exit 0 if the run is the same within chance, 1 if it regressed
    Check {
        #[command(flatten)]
        run: RunArgs,
    },
    /// Record the run's results as golden
    Accept {
        #[command(flatten)]
        run: RunArgs,
    },
}

#[derive(Args)]
struct RunArgs {
    /// A recipe in suite/recipes
    #[arg(long, default_value = "small")]
    profile: String,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Args)]
struct DeviceArgs {
    /// auto or flex
    #[arg(long, default_value = "auto")]
    device: String,
    /// Shards computed at once; results do not depend on it [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Where artifacts and results go
    #[arg(long, default_value = "runs")]
    runs_dir: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error);
            ExitCode::from(if interrupted() { 130 } else { 2 })
        }
    }
}

/// One line with the cause; hints on lines of their own below it.
#[expect(clippy::print_stderr, reason = "the one place that reports an error")]
fn report(error: &anyhow::Error) {
    let mut hints = Vec::new();
    let mut causes = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let (cause, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        causes.push(cause.replace('\n', "; "));
        if !hint.is_empty() {
            hints.push(hint.to_owned());
        }
    }
    eprintln!("error: {}", causes.join(": "));
    // The deepest hint knows best.
    if let Some(hint) = hints.last() {
        eprintln!("hint: {hint}");
    }
}

#[expect(clippy::print_stdout, reason = "standard output is for data")]
fn dispatch(command: Command) -> Result<u8> {
    match command {
        Command::Reproduce { run, from_scratch, json } => {
            watch_interrupts()?;
            let recipe = run::recipe_of(&run.profile)?;
            let outcome = run::reproduce(&recipe, &options(run.device, from_scratch))?;
            if json {
                print!("{}", read(&outcome.dir.join("leaderboard.json"))?);
            } else {
                println!("{}", run::table(&outcome, width()));
                println!("leaderboard, report and results are in {}", outcome.dir.display());
            }
            Ok(0)
        }
        Command::Plan { run } => {
            let recipe = run::recipe_of(&run.profile)?;
            print!("{}", run::dry_run(&recipe, &options(run.device, false))?);
            Ok(0)
        }
        Command::Score { run } => {
            let outcome =
                run::rescore(&run::recipe_of(&run.profile)?, &options(run.device, false))?;
            println!("{}", run::table(&outcome, width()));
            Ok(0)
        }
        Command::Golden { action: GoldenAction::Check { run } } => {
            run::recipe_of(&run.profile)?;
            let path = golden_path(&run.profile);
            let golden = Results::read(&path).with_context(|| {
                let hint = "record a good run with `cargo xtask golden accept --profile";
                format!("no golden results for `{0}`\nhint: {hint} {0}`", run.profile)
            })?;
            let path = run.device.runs_dir.join(&run.profile).join("results.json");
            let results = Results::read(&path).with_context(|| {
                format!("no run to check\nhint: cargo xtask reproduce --profile {}", run.profile)
            })?;
            let comparison = compare(&golden, &results);
            println!("{}", render_comparison(&comparison, width()));
            Ok(comparison.exit_code())
        }
        Command::Golden { action: GoldenAction::Accept { run } } => {
            run::recipe_of(&run.profile)?;
            let path = run.device.runs_dir.join(&run.profile).join("results.json");
            let results = Results::read(&path).with_context(|| {
                format!("no run to record\nhint: cargo xtask reproduce --profile {}", run.profile)
            })?;
            let golden = golden_path(&run.profile);
            write_atomic(&golden, results.to_json()?.as_bytes())?;
            println!("recorded {} as {}", path.display(), golden.display());
            Ok(0)
        }
        Command::TrainBase { recipe, device } => {
            watch_interrupts()?;
            let recipe = run::recipe_of(&recipe)?;
            let out = Path::new("golden/base").join(match &recipe.model {
                ModelSpec::Fresh { preset, .. } => preset.name(),
                ModelSpec::Kept { .. } => anyhow::bail!(
                    "recipe `{}` starts from a kept base\nhint: base and base-nano make one",
                    recipe.name
                ),
            });
            run::train_base(&recipe, &options(device, false), &out)?;
            Ok(0)
        }
        Command::BaseGate { run, questions, json } => {
            let recipe = run::recipe_of(&run.profile)?;
            let report = run::gate(&recipe, &options(run.device, false), questions)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&report).context("plain data")?);
            } else {
                println!("{}", base_gate::describe(&report));
            }
            Ok(u8::from(!report.passed))
        }
        Command::Show { out, seed } => {
            let mut png = Vec::new();
            contact_sheet(seed, 4, 3)
                .write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)
                .context("failed to encode the contact sheet")?;
            write_atomic(&out, &png)?;
            println!("{}", out.display());
            Ok(0)
        }
    }
}

fn options(device: DeviceArgs, from_scratch: bool) -> Options {
    Options {
        runs_dir: device.runs_dir,
        device: device.device,
        num_threads: device.threads,
        from_scratch,
        quiet: false,
    }
}

fn golden_path(profile: &str) -> PathBuf {
    Path::new("golden/results").join(format!("{profile}.json"))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}

/// Columns of the terminal; 120 where there is none.
fn width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns.unwrap_or(120).max(100)
}
