//! The command line: words to functions, errors to exit codes.
//!
//! Exit codes are decided here only: 0 all well, 1 a finding (a regression), 2 could not finish,
//! 130 stopped by Ctrl-C.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use synergy_models::image::read_picture;
use synergy_models::weights::StoredDtype;
use synergy_report::compare::compare;
use synergy_report::golden::comparison_markdown;
use synergy_report::leaderboard::Faults;
use synergy_report::text::terminal::render_comparison;
use synergy_suite::commands::chat::Chat;
use synergy_suite::commands::evaluate::{self, EvaluateArgs, LevelsArgs};
use synergy_suite::commands::grade;
use synergy_suite::commands::inspect::{describe, inspect};
use synergy_suite::commands::leaderboard::{self, LeaderboardArgs};
use synergy_suite::commands::merge::{self, MergeArgs};
use synergy_suite::commands::show::{self, ShowArgs};
use synergy_suite::device::Compute;
use synergy_suite::recipe::ModelSpec;
use synergy_suite::recipe::rehearsal::rehearsed;
use synergy_suite::run::base_gate;
use synergy_suite::run::event::{interrupted, watch_interrupts};
use synergy_suite::run::golden::{self, read_results};
use synergy_suite::run::model::Model;
use synergy_suite::run::self_test;
use synergy_suite::run::store::write_atomic;
use synergy_suite::run::{self, Options, Variant};

/// Keeps its pages: burn asks for the same sizes again every step, and the system's allocator would
/// give the memory back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  synergy plan --profile small              what a run would do, and how long it takes
  synergy reproduce --profile smoke         all regimes on the nano model, in seconds
  synergy golden check --profile smoke      compare the last run with the recorded results
  synergy leaderboard site --out site a.json b.json
                                            one page over the runs of several machines
  synergy show --out sheet.png              what the questions look like
  synergy chat --model DIR --image a.png \"What is this?\"
                                            ask any Qwen2.5-VL checkpoint";

const CHECK_EXAMPLES: &str = "\
Examples:
  synergy golden check --profile smoke
  synergy golden check --profile small --markdown comparison.md";

const ACCEPT_EXAMPLES: &str = "\
Examples:
  synergy golden accept --profile smoke
  synergy golden accept --profile small --replace \"60 questions show the same effects in half the time\"";

const SELF_TEST_EXAMPLES: &str = "\
Examples:
  synergy self-test --profile smoke
  synergy self-test --profile smoke --few --json";

const EVALUATE_EXAMPLES: &str = "\
Examples:
  synergy evaluate --benchmark mathvision --data MathVision.tsv --model DIR
  synergy evaluate --benchmark mmmu --data mmmu/ --endpoint http://localhost:8000/v1 --model-id qwen --num-samples 4
  synergy evaluate --benchmark mine --data rows.jsonl --mapping mine.toml --model DIR --limit 100
  synergy evaluate --benchmark path --model golden/base/small --levels levels.jsonl";

const LEVELS_EXAMPLES: &str = "\
Examples:
  synergy levels --benchmark path --model golden/base/small --out levels.jsonl
  synergy levels --benchmark mathvista --data testmini.parquet --endpoint URL --model-id qwen --out levels.jsonl";

const SHOW_EXAMPLES: &str = "\
Examples:
  synergy show --out sheet.png
  synergy show path --level 3
  synergy show sum --steps 12 --count 8 --out sum.html";

const GRADE_EXAMPLES: &str = "\
Examples:
  echo '{\"gold\": \"1/2\", \"response\": \"so \\\\boxed{0.5}\"}' | synergy grade
  synergy grade --grader mathruler < answers.jsonl > judged.jsonl";

const CHAT_EXAMPLES: &str = "\
Examples:
  synergy chat --model golden/base/small \"2+2?\"
  synergy chat --model DIR --image a.png --image b.png \"What differs between <image> and <image>?\"
  synergy chat --model DIR --adapter ADAPTER --temperature 0 < questions.txt";

const INSPECT_EXAMPLES: &str = "\
Examples:
  synergy inspect --model DIR --image a.png --prompt \"What is this?\"
  synergy inspect --model DIR --prompt \"The sky is\" --raw --top 10 --json";

const EXPORT_EXAMPLES: &str = "\
Examples:
  synergy export --model DIR --adapter ADAPTER --dtype bf16 --out merged
  synergy export --profile smoke --regime rl --out smoke-rl";

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
        /// Small counts instead of the recipe's, to see before a long run that all of it goes through
        #[arg(long)]
        rehearse: bool,
        /// Print the leaderboard as JSON on standard output
        #[arg(long)]
        json: bool,
    },
    /// Print what `reproduce` would do: stages, steps, tokens, memory, time
    Plan {
        /// A recipe's file, or its name in suite/recipes; instead of --profile
        #[arg(value_name = "RECIPE", conflicts_with = "profile")]
        recipe: Option<PathBuf>,
        #[command(flatten)]
        run: RunArgs,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare a finished run with golden results, or record it as golden
    Golden {
        #[command(subcommand)]
        action: GoldenAction,
    },
    /// Prove the gate: plant faults that it must see, and rerun what it must let pass
    #[command(after_help = SELF_TEST_EXAMPLES)]
    SelfTest {
        #[command(flatten)]
        run: RunArgs,
        /// Only a few faults and one rerun
        #[arg(long)]
        few: bool,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask any model the questions of any benchmark and judge its answers by rules
    #[command(after_help = EVALUATE_EXAMPLES)]
    Evaluate(EvaluateArgs),
    /// Sample a model several times per question and cut levels by its pass rates
    #[command(after_help = LEVELS_EXAMPLES)]
    Levels(LevelsArgs),
    /// Judge answers from standard input, a JSON object a line
    #[command(after_help = GRADE_EXAMPLES)]
    Grade {
        /// Which rules judge: synergy-1, mathruler, math-verify, vlmevalkit-2025-07, vlmevalkit-2026-08,
        /// lmms-eval-2026-08
        #[arg(long, default_value = "synergy-1", value_name = "NAME")]
        grader: String,
    },
    /// Check, join and show the leaderboards of several runs
    Leaderboard(LeaderboardArgs),
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
    /// Write pictures of the procedural families to look at: a sheet, or a page with questions and answers
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Ask a checkpoint: one question, or a conversation from standard input
    #[command(after_help = CHAT_EXAMPLES)]
    Chat {
        #[command(flatten)]
        model: ModelArgs,
        /// A picture (PNG or JPEG) that the first question is about; may be given several times
        #[arg(long, value_name = "FILE")]
        image: Vec<PathBuf>,
        /// What the model is told before the first question
        #[arg(long, value_name = "TEXT")]
        system: Option<String>,
        #[command(flatten)]
        sampling: SamplingArgs,
        /// The question, `<image>` where a picture belongs; without it every line of standard input is one
        question: Option<String>,
    },
    /// Print what a checkpoint sees of a prompt, and its most probable next tokens
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect {
        #[command(flatten)]
        model: ModelArgs,
        /// A picture (PNG or JPEG); may be given several times
        #[arg(long, value_name = "FILE")]
        image: Vec<PathBuf>,
        /// The user's turn, `<image>` where a picture belongs
        #[arg(long, value_name = "TEXT")]
        prompt: String,
        /// Take the prompt as it is, without the chat template
        #[arg(long)]
        raw: bool,
        /// How many next tokens
        #[arg(long, default_value_t = 5, value_name = "K")]
        top: usize,
        /// Print the receipt as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a checkpoint in the Hugging Face layout: another type, other shards, an adapter merged
    #[command(after_help = EXPORT_EXAMPLES)]
    Export {
        /// A folder in the Hugging Face layout
        #[arg(long, value_name = "DIR", required_unless_present = "regime")]
        model: Option<PathBuf>,
        /// An adapter in PEFT's layout, to be merged
        #[arg(long, value_name = "DIR", requires = "model")]
        adapter: Option<PathBuf>,
        /// Instead of a folder: the model that this regime of a finished run ended with
        #[arg(long, conflicts_with = "model")]
        regime: Option<String>,
        #[command(flatten)]
        run: RunArgs,
        /// A new folder
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Type of the numbers written
        #[arg(long, value_enum, default_value_t = DtypeArg::F32)]
        dtype: DtypeArg,
        /// Largest file, in GB
        #[arg(long, default_value_t = 5.0, value_name = "GB")]
        max_shard_size: f64,
    },
    /// Merge two checkpoints of any architecture, tensor by tensor, and report how far apart they are
    Merge(MergeArgs),
}

#[derive(Args)]
struct ModelArgs {
    /// A folder in the Hugging Face layout
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// An adapter in PEFT's layout
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// auto or flex
    #[arg(long, default_value = "auto")]
    device: String,
}

/// Without these the checkpoint's own `generation_config.json` decides.
#[derive(Args)]
struct SamplingArgs {
    /// 0 takes the most probable token
    #[arg(long)]
    temperature: Option<f64>,
    /// 1 keeps all
    #[arg(long)]
    top_p: Option<f64>,
    /// 0 keeps all
    #[arg(long)]
    top_k: Option<usize>,
    /// 1 changes nothing
    #[arg(long)]
    repetition_penalty: Option<f64>,
    /// The longest answer, in tokens
    #[arg(long, default_value_t = 1024)]
    max_new_tokens: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum DtypeArg {
    F32,
    F16,
    Bf16,
}

#[derive(Subcommand)]
enum GoldenAction {
    /// Exit 0 if the run is the same within chance, 1 if it regressed
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        #[command(flatten)]
        run: RunArgs,
        /// Also write the comparison as Markdown
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
    },
    /// Record the run's results as golden, in golden/history.jsonl and in golden/LOG.md
    #[command(after_help = ACCEPT_EXAMPLES)]
    Accept {
        #[command(flatten)]
        run: RunArgs,
        /// Record it though it has fewer seeds or questions than the golden before; the reason is kept
        #[arg(long, value_name = "REASON")]
        replace: Option<String>,
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
    match within_memory(|| dispatch(cli.command)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error);
            ExitCode::from(if interrupted() { 130 } else { 2 })
        }
    }
}

/// What `work` gives. libtorch says that it lacks memory by a panic, in whichever thread: here that is an error as any
/// other, and what was kept stays. Every other panic is a fault of the program and ends it as usual.
fn within_memory(work: impl FnOnce() -> Result<u8>) -> Result<u8> {
    static LACKED: Mutex<Option<String>> = Mutex::new(None);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let Some(said) = panic.payload_as_str().and_then(lacks_memory) else { return usual(panic) };
        if let Ok(mut lacked) = LACKED.lock() {
            *lacked = Some(said.to_owned());
        }
    }));
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let lacked = LACKED.lock().ok().and_then(|mut lacked| lacked.take());
        match lacked {
            Some(said) => bail!(
                "the device has too little memory: {said}\n\
                 hint: `synergy plan` says what each stage takes; a smaller micro_batch_size or max_packed_tokens, \
                 gradient_checkpointing, lora or a larger card"
            ),
            None => std::panic::resume_unwind(panic),
        }
    })
}

/// The line of `message` in which libtorch says that there is too little memory, if it says so.
fn lacks_memory(message: &str) -> Option<&str> {
    let says = |line: &&str| {
        ["out of memory", "can't allocate memory"].iter().any(|words| line.contains(words))
    };
    message.lines().find(says).map(str::trim)
}

/// One line with the cause, or a line for each of several; hints on lines of their own below it.
#[expect(clippy::print_stderr, reason = "the one place that reports an error")]
fn report(error: &anyhow::Error) {
    if let Some(Faults(faults)) = error.downcast_ref() {
        let mut hints = Vec::new();
        for fault in faults {
            eprintln!("error: {}", fault.cause);
            if !hints.contains(&fault.hint) {
                hints.push(fault.hint);
            }
        }
        for hint in hints {
            eprintln!("hint: {hint}");
        }
        return;
    }
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

fn dispatch(command: Command) -> Result<u8> {
    match command {
        Command::Reproduce { run, from_scratch, rehearse, json } => {
            watch_interrupts()?;
            let mut recipe = run::recipe_of(&run.profile)?;
            if rehearse {
                recipe = rehearsed(&recipe);
            }
            let outcome = run::reproduce(&recipe, &options(run.device, from_scratch))?;
            if json {
                put(&read(&outcome.dir.join("leaderboard.json"))?)?;
            } else {
                put(&format!("{}\n", run::table(&outcome, width())))?;
                put(&format!(
                    "leaderboard, report and results are in {}\n",
                    outcome.dir.display()
                ))?;
            }
            Ok(0)
        }
        Command::Plan { recipe, run, json } => {
            let recipe = match recipe {
                Some(path) => run::recipe_at(&path)?,
                None => run::recipe_of(&run.profile)?,
            };
            put(&run::dry_run(&recipe, &options(run.device, false), json)?)?;
            Ok(0)
        }
        Command::Score { run } => {
            let outcome =
                run::rescore(&run::recipe_of(&run.profile)?, &options(run.device, false))?;
            put(&format!("{}\n", run::table(&outcome, width())))?;
            Ok(0)
        }
        Command::Golden { action: GoldenAction::Check { run, markdown } } => {
            let recipe = run::recipe_of(&run.profile)?;
            let gate = recipe.gate()?;
            let golden = golden::read(&run.profile)?;
            let path = run.device.runs_dir.join(&run.profile).join("results.json");
            let results = read_results(&path).with_context(|| {
                format!("no run to check\nhint: cargo xtask reproduce --profile {}", run.profile)
            })?;
            let comparison = compare(&golden, &results, gate);
            if let Some(path) = markdown {
                let text = comparison_markdown(&comparison, &run.profile);
                write_atomic(&path, text.as_bytes())?;
            }
            put(&format!("{}\n", render_comparison(&comparison, width())))?;
            Ok(comparison.exit_code())
        }
        Command::Golden { action: GoldenAction::Accept { run, replace } } => {
            run::recipe_of(&run.profile)?;
            let runs_dir = &run.device.runs_dir;
            put(&golden::accept(&run.profile, runs_dir, replace.as_deref())?)?;
            Ok(0)
        }
        Command::SelfTest { run, few, json } => {
            watch_interrupts()?;
            let recipe = run::recipe_of(&run.profile)?;
            let report = self_test::run(&recipe, &options(run.device, false), few)?;
            if json {
                put(&format!(
                    "{}\n",
                    serde_json::to_string_pretty(&report).context("plain data")?
                ))?;
            } else {
                put(&synergy_report::self_test::render(&report, width()))?;
            }
            Ok(report.exit_code())
        }
        Command::Evaluate(args) => {
            watch_interrupts()?;
            put(&evaluate::evaluate(&args, width())?)?;
            Ok(0)
        }
        Command::Levels(args) => {
            watch_interrupts()?;
            put(&evaluate::cut_levels(&args)?)?;
            Ok(0)
        }
        Command::Grade { grader } => {
            let grader = grade::grader(&grader)?;
            grade::grade_lines(grader, std::io::stdin().lock(), std::io::stdout().lock())?;
            Ok(0)
        }
        Command::Leaderboard(args) => {
            put(&leaderboard::execute(&args)?)?;
            Ok(0)
        }
        Command::TrainBase { recipe, device } => {
            watch_interrupts()?;
            let recipe = run::recipe_of(&recipe)?;
            let out = Path::new("golden/base").join(match &recipe.model {
                ModelSpec::Fresh { preset, .. } => preset.into_str(),
                ModelSpec::Kept { .. } | ModelSpec::Published { .. } => anyhow::bail!(
                    "recipe `{}` starts from a kept base or a checkpoint\nhint: base and base-nano make one",
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
                put(&format!(
                    "{}\n",
                    serde_json::to_string_pretty(&report).context("plain data")?
                ))?;
            } else {
                put(&format!("{}\n", base_gate::describe(&report)))?;
            }
            Ok(u8::from(!report.passed))
        }
        Command::Show(args) => {
            put(&format!("{}\n", show::show(&args)?.display()))?;
            Ok(0)
        }
        Command::Chat { model, image, system, sampling, question } => {
            chat(&model, &image, system.as_deref(), &sampling, question.as_deref())?;
            Ok(0)
        }
        Command::Inspect { model, image, prompt, raw, top, json } => {
            let opened = open(&model)?;
            let receipt = inspect(&opened, &image, &prompt, raw, top)?;
            if json {
                put(&format!("{}\n", serde_json::to_string(&receipt).context("plain data")?))?;
            } else {
                put(&describe(&receipt, &model.model, &opened.checkpoint.tokenizer))?;
            }
            Ok(0)
        }
        Command::Export { model, adapter, regime, run, out, dtype, max_shard_size } => {
            ensure!(
                max_shard_size > 0.0,
                "largest file of {max_shard_size} GB\nhint: --max-shard-size 5"
            );
            let opened = match (&model, &regime) {
                (Some(dir), _) => {
                    let compute = Compute::open(&run.device.device, run.device.threads)?;
                    Model::open(dir, adapter.as_deref(), &compute)?
                }
                (None, regime) => {
                    let regime = regime.as_deref().context("clap asks for one of the two")?;
                    let recipe = run::recipe_of(&run.profile)?;
                    run::trained(&recipe, &options(run.device, false), regime)?
                }
            };
            let dtype = match dtype {
                DtypeArg::F32 => StoredDtype::F32,
                DtypeArg::F16 => StoredDtype::F16,
                DtypeArg::Bf16 => StoredDtype::Bf16,
            };
            opened.export(&out, dtype, (max_shard_size * 1e9) as usize)?;
            put(&format!("{}\n", out.display()))?;
            Ok(0)
        }
        Command::Merge(args) => {
            put(&merge::run(&args)?)?;
            Ok(0)
        }
    }
}

/// Opens a model and says how large it is: a large one takes a while.
fn open(model: &ModelArgs) -> Result<Model> {
    let clock = Instant::now();
    let compute = Compute::open(&model.device, None)?;
    let opened = Model::open(&model.model, model.adapter.as_deref(), &compute)?;
    let millions = opened.parameters.count() as f64 / 1e6;
    let seconds = clock.elapsed().as_secs_f64();
    tell(&format!("({millions:.1} M parameters loaded in {seconds:.1} s)\n"))?;
    Ok(opened)
}

/// One question, or a conversation: one line of standard input, one answer.
fn chat(
    model: &ModelArgs,
    images: &[PathBuf],
    system: Option<&str>,
    asked: &SamplingArgs,
    question: Option<&str>,
) -> Result<()> {
    let pictures = images.iter().map(|path| read_picture(path)).collect::<Result<Vec<_>>>()?;
    let opened = open(model)?;
    let mut sampling = opened.checkpoint.sampling(asked.max_new_tokens);
    sampling.temperature = asked.temperature.unwrap_or(sampling.temperature);
    sampling.top_p = asked.top_p.unwrap_or(sampling.top_p);
    sampling.top_k = asked.top_k.unwrap_or(sampling.top_k);
    sampling.repetition_penalty = asked.repetition_penalty.unwrap_or(sampling.repetition_penalty);
    sampling.check()?;
    let mut chat = Chat::new(&opened, sampling, asked.seed, system, pictures);
    if let Some(question) = question {
        return answer(&mut chat, question);
    }
    let stdin = std::io::stdin();
    let is_person = stdin.is_terminal();
    let mut line = String::new();
    loop {
        if is_person {
            tell("> ")?;
        }
        line.clear();
        if stdin.lock().read_line(&mut line).context("failed to read standard input")? == 0 {
            return Ok(());
        }
        match line.trim() {
            "" => {}
            // A person may ask again; a program wants to know.
            question if is_person => {
                if let Err(error) = answer(&mut chat, question) {
                    report(&error);
                }
            }
            question => answer(&mut chat, question)?,
        }
    }
}

/// Streams one answer to standard output, and how fast it came to standard error.
fn answer(chat: &mut Chat<'_>, question: &str) -> Result<()> {
    let clock = Instant::now();
    let mut out = std::io::stdout();
    let answer = chat.ask(question, &mut out)?;
    writeln!(out).context("failed to write the answer")?;
    let seconds = clock.elapsed().as_secs_f64();
    let cut = if answer.finished { "" } else { ", cut off by --max-new-tokens" };
    tell(&format!(
        "({} tokens in {seconds:.1} s, {:.1} a second{cut})\n",
        answer.num_tokens,
        answer.num_tokens as f64 / seconds
    ))
}

/// Data, to standard output. A reader that has seen enough, as `head` has, is no error.
fn put(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(()),
    }
}

/// Words for a person, beside the data.
fn tell(text: &str) -> Result<()> {
    let mut out = std::io::stderr();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("failed to write")
}

fn options(device: DeviceArgs, from_scratch: bool) -> Options {
    Options {
        runs_dir: device.runs_dir,
        device: device.device,
        num_threads: device.threads,
        from_scratch,
        quiet: false,
        variant: Variant::Usual,
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}

/// Columns of the terminal; 120 where there is none.
fn width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns.unwrap_or(120).max(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_an_error_with_a_hint_in_any_thread_and_other_panics_are_none() {
        let said = "Internal torch error: CUDA out of memory. Tried to allocate 2.00 GiB\nException raised from";
        let in_a_thread = || {
            std::thread::scope(|scope| scope.spawn(|| panic!("{said}")).join())
                .map_err(|panic| std::panic::resume_unwind(panic))
        };
        let error = within_memory(in_a_thread).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "the device has too little memory: Internal torch error: CUDA out of memory. Tried to allocate 2.00 \
                 GiB\nhint: "
            ),
            "{error}"
        );
        assert_eq!(within_memory(|| Ok(3)).unwrap(), 3);
        let other = std::panic::catch_unwind(|| within_memory(|| panic!("a fault")));
        assert!(other.is_err());
        let cpu = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried";
        assert_eq!(lacks_memory(cpu), Some(cpu));
        assert_eq!(lacks_memory("index out of bounds"), None);
    }
}
