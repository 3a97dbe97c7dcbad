//! `synergy evaluate` and `synergy levels`: any model on any benchmark, judged by rules alone.
//!
//! Order, files and clocks of one evaluation; what it calls is a function of plain values. Does not know how a model
//! answers (`local`, `endpoint`), what files of a benchmark look like, or how an answer is judged.
//!
//! Decisions:
//! - Every answer is kept by itself under a hash of all it depends on (`runs/replies`), so an evaluation that is
//!   stopped goes on, and one with another grader, other levels or more questions asks only what is new.
//! - Answers that cut levels and answers that are measured have different purposes, which is part of their hash and of
//!   their seed: they are never the same answers.

pub mod encode;
pub mod endpoint;
mod export;
mod judge;
mod levels;
mod local;
mod questions;
mod report;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;
use synergy_benchmarks::answer::Outcome;
use synergy_benchmarks::sample::Sample;
use synergy_models::weights::ComputeDtype;
use synergy_report::completion::{Completion, to_lines};

use crate::commands::evaluate::endpoint::{Ask, Cache, Drawing, Endpoint, Purpose, Reply};
use crate::commands::grade;
use crate::run::event::Events;
use crate::run::machine;
use crate::run::store::write_atomic;

pub use judge::Report;
use questions::Asked;

/// What is evaluated, on what and how.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    asking: AskingArgs,
    /// Which rules judge: boxed-1, synergy-1, mathruler, math-verify, vlmevalkit-2025-07, vlmevalkit-2026-08,
    /// lmms-eval-2026-08; all others are told beside it
    #[arg(long, default_value = "synergy-1", value_name = "NAME")]
    grader: String,
    /// Answers to each question
    #[arg(long, default_value_t = 1, value_name = "K")]
    num_samples: u32,
    /// Levels of the questions, as `synergy levels` writes them; without it those that the files hold
    #[arg(long, value_name = "FILE")]
    levels: Option<PathBuf>,
    /// Where everything goes [default: runs/evaluations/<benchmark>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Levels by the pass rates of a model.
#[derive(Debug, Args)]
pub struct LevelsArgs {
    #[command(flatten)]
    asking: AskingArgs,
    /// Which rules judge
    #[arg(long, default_value = "synergy-1", value_name = "NAME")]
    grader: String,
    /// Answers to each question; the study's are 16
    #[arg(long, default_value_t = 16, value_name = "K")]
    num_samples: u32,
    /// Where the levels go, a JSON object a line
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Questions, model and drawing.
#[derive(Debug, Args)]
struct AskingArgs {
    /// mathvision, mathverse, mathvista, mmmu, mmstar, easy_vqa, arc_agi_1, arc_agi_2, a family (path, sum, count, chart,
    /// swap); with --mapping any name
    #[arg(long, value_name = "NAME")]
    benchmark: String,
    /// The files of a published benchmark: a TSV, a parquet file or a folder of either [default: where `cargo xtask
    /// fetch` puts it]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Which split of a published benchmark, where its files hold several: test, testmini, validation, …
    #[arg(long, value_name = "NAME", conflicts_with = "mapping")]
    split: Option<String>,
    /// What the columns of --data are, in TOML, for files that no name is known for
    #[arg(long, value_name = "FILE", requires = "data")]
    mapping: Option<PathBuf>,
    /// Go on after rows that are no questions; they are counted and listed
    #[arg(long)]
    skip_bad: bool,
    /// Only so many questions, at even distances
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// A checkpoint: a folder in the Hugging Face layout
    #[arg(long, value_name = "DIR", required_unless_present = "endpoint")]
    model: Option<PathBuf>,
    /// An adapter for it, in PEFT's layout
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
    /// Instead of a checkpoint: an OpenAI-compatible address, such as http://localhost:8000/v1; the key is taken from
    /// the variable OPENAI_API_KEY
    #[arg(long, value_name = "URL", conflicts_with = "model", requires = "model_id")]
    endpoint: Option<String>,
    /// The model's name there
    #[arg(long, value_name = "NAME")]
    model_id: Option<String>,
    /// What of that name is served: a commit or a date; other revisions are asked anew
    #[arg(long, default_value = "unknown", value_name = "TEXT")]
    revision: String,
    /// Requests at once
    #[arg(long, default_value_t = 8, value_name = "N")]
    concurrency: usize,
    /// Of one request, in seconds
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    timeout: f64,
    /// Further attempts for a request that fails
    #[arg(long, default_value_t = 6, value_name = "N")]
    retries: u32,
    /// Without the study's instruction behind the question
    #[arg(long)]
    no_template: bool,
    /// 0 takes the most probable token
    #[arg(long, default_value_t = 0.6)]
    temperature: f64,
    /// 1 keeps all
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    /// 0 keeps all [default: 20; an endpoint is not told of it unless it is given, since some refuse the key]
    #[arg(long)]
    top_k: Option<usize>,
    /// The longest answer, in tokens
    #[arg(long, default_value_t = 2048)]
    max_new_tokens: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// auto, flex, libtorch, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// What a checkpoint computes in while it answers; bf16 needs libtorch or cuda
    #[arg(long, default_value = "f32", value_name = "DTYPE", requires = "model")]
    dtype: Dtype,
    /// Where answers are kept
    #[arg(long, default_value = "runs/replies", value_name = "DIR")]
    replies: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
}

impl From<Dtype> for ComputeDtype {
    fn from(dtype: Dtype) -> ComputeDtype {
        match dtype {
            Dtype::F32 => ComputeDtype::F32,
            Dtype::Bf16 => ComputeDtype::Bf16,
        }
    }
}

/// Who answered, for the record.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Answerer {
    /// The name at an endpoint, or the folder's.
    pub id: String,
    /// The version under that name; for a checkpoint the hash of its files.
    pub revision: String,
    /// `endpoint` or the backend.
    pub backend: String,
    /// The number format that a checkpoint computed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("enum" = [ComputeDtype::F32, ComputeDtype::Bf16]))]
    pub dtype: Option<ComputeDtype>,
}

/// All that answers depend on besides who gives them, and where they are kept and told.
struct Asking<'a> {
    args: &'a AskingArgs,
    asked: &'a Asked,
    num_samples: u32,
    purpose: Purpose,
    drawing: &'a Drawing,
    cache: &'a Cache,
    events: &'a Events,
}

/// All answers to all questions.
struct Answered {
    asked: Asked,
    answerer: Answerer,
    drawing: Drawing,
    /// `[questions][samples]`.
    replies: Vec<Vec<Reply>>,
}

/// Evaluates; gives the text for standard output and the exit code.
///
/// # Errors
/// If the arguments do not fit each other, a file is bad, or not every question is answered.
pub fn evaluate(args: &EvaluateArgs, width: u16) -> Result<String> {
    let grader = grade::grader(&args.grader)?;
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| Path::new("runs/evaluations").join(&args.asking.benchmark));
    let events = Events::open(&out.join("events.jsonl"), false)?;
    let mut answered = ask(&args.asking, args.num_samples, Purpose::Measure, &events)?;
    let source = match &args.levels {
        Some(path) => {
            levels::read(path)?.assign(&mut answered.asked.samples, path)?;
            Some(path.display().to_string())
        }
        None if answered.asked.samples.iter().any(|s| s.details.level.is_some()) => {
            Some("the files of the benchmark".to_owned())
        }
        None => None,
    };
    let completions = completions(&answered);
    let (report, outcomes) = judge::report(&answered, &completions, grader, source);
    write_all(&out, &report, &answered, &completions, &outcomes)?;
    if args.json {
        return Ok(serde_json::to_string_pretty(&report).context("plain data")? + "\n");
    }
    let mut text = report::render(&report, width);
    let _ = writeln!(text, "report, completions and exports are in {}", out.display());
    Ok(text)
}

/// Cuts levels; gives the text for standard output.
///
/// # Errors
/// See [`evaluate`].
pub fn cut_levels(args: &LevelsArgs) -> Result<String> {
    let grader = grade::grader(&args.grader)?;
    ensure!(args.num_samples > 0, "--num-samples is 0\nhint: the study's are 16");
    let events = Events::open(&args.out.with_extension("events.jsonl"), false)?;
    let answered = ask(&args.asking, args.num_samples, Purpose::Levels, &events)?;
    let completions = completions(&answered);
    let cut = levels::cut(&answered, &completions, grader);
    write_atomic(&args.out, levels::to_lines(&cut)?.as_bytes())?;
    Ok(format!(
        "{}levels of {} questions are in {}\n",
        levels::describe(&cut),
        cut.len(),
        args.out.display()
    ))
}

fn ask(args: &AskingArgs, num_samples: u32, purpose: Purpose, events: &Events) -> Result<Answered> {
    ensure!(num_samples > 0, "--num-samples is 0\nhint: at least 1");
    ensure!(
        args.temperature >= 0.0 && args.top_p > 0.0 && args.top_p <= 1.0 && args.max_new_tokens > 0,
        "the drawing is none: temperature {}, top-p {}, {} tokens\n\
         hint: temperature at least 0, top-p above 0 and at most 1",
        args.temperature,
        args.top_p,
        args.max_new_tokens
    );
    let asked = questions::read(args)?;
    events.say(&format!(
        "{} questions of {}{}, {num_samples} answers each",
        asked.samples.len(),
        asked.benchmark,
        match asked.skipped.len() {
            0 => String::new(),
            count => format!(" ({count} rows left out)"),
        }
    ));
    let drawing = Drawing {
        temperature: args.temperature,
        top_p: args.top_p,
        top_k: args.top_k.unwrap_or(if args.endpoint.is_some() { 0 } else { 20 }),
        max_new_tokens: args.max_new_tokens,
        seed: args.seed,
    };
    let cache = Cache::new(&args.replies);
    let asking = Asking {
        args,
        asked: &asked,
        num_samples,
        purpose,
        drawing: &drawing,
        cache: &cache,
        events,
    };
    let (answerer, replies) = match (&args.endpoint, &args.model) {
        (Some(url), _) => through_endpoint(&asking, url)?,
        (None, Some(dir)) => local::answer(&asking, dir)?,
        (None, None) => anyhow::bail!("nobody to ask\nhint: --model DIR or --endpoint URL"),
    };
    Ok(Answered { asked, answerer, drawing, replies })
}

fn through_endpoint(asking: &Asking<'_>, url: &str) -> Result<(Answerer, Vec<Vec<Reply>>)> {
    let &Asking { args, asked, num_samples, purpose, drawing, cache, events } = asking;
    ensure!(
        args.timeout > 0.0 && args.timeout.is_finite(),
        "--timeout {} is no time\nhint: seconds, above 0",
        args.timeout
    );
    let endpoint = Endpoint {
        url: url.to_owned(),
        model: args.model_id.clone().context("a name at the endpoint\nhint: --model-id NAME")?,
        revision: args.revision.clone(),
        api_key: std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty()),
        concurrency: args.concurrency,
        timeout: Duration::from_secs_f64(args.timeout),
        num_retries: args.retries,
        wait: Duration::from_secs(1),
    };
    let mut asks = Vec::with_capacity(asked.samples.len() * num_samples as usize);
    for (question, text) in asked.samples.iter().zip(&asked.texts) {
        let images = &question.images;
        asks.extend((0..num_samples).map(|sample| Ask { text, images, sample, purpose }));
    }
    let bar = std::sync::Mutex::new(events.bar(&endpoint.model, asks.len(), 0));
    let clock = Instant::now();
    let replies = endpoint.answer(drawing, &asks, cache, |done| {
        let rate = done as f64 / clock.elapsed().as_secs_f64();
        bar.lock().expect("no thread panics with it").at(done, format!("{rate:.1} answers/s"));
    });
    bar.into_inner().expect("no thread panicked").finish("");
    let mut replies = replies?.into_iter();
    let grouped =
        asked.samples.iter().map(|_| replies.by_ref().take(num_samples as usize).collect());
    let answerer = Answerer {
        id: endpoint.model.clone(),
        revision: endpoint.revision.clone(),
        backend: "endpoint".to_owned(),
        dtype: None,
    };
    Ok((answerer, grouped.collect()))
}

fn completions(answered: &Answered) -> Vec<Completion> {
    let of = |(sample, replies): (&Sample, &Vec<Reply>)| {
        let completion = |(k, reply): (usize, &Reply)| {
            // A server that does not count is counted for, by words.
            let words = || reply.text.split_whitespace().count() as u32;
            let num_tokens = reply.num_tokens.unwrap_or_else(words);
            Completion::new(sample, k as u32, reply.text.clone(), num_tokens, reply.finished)
        };
        replies.iter().enumerate().map(completion).collect::<Vec<_>>()
    };
    answered.asked.samples.iter().zip(&answered.replies).flat_map(of).collect()
}

fn write_all(
    out: &Path,
    report: &Report,
    answered: &Answered,
    completions: &[Completion],
    outcomes: &[Outcome],
) -> Result<()> {
    let json = serde_json::to_string_pretty(report).context("plain data")? + "\n";
    write_atomic(&out.join("evaluation.json"), json.as_bytes())?;
    write_atomic(&out.join("report.md"), report::markdown(report).as_bytes())?;
    write_atomic(&out.join("completions.jsonl"), to_lines(completions)?.as_bytes())?;
    for (name, text) in export::files(report, answered, completions, outcomes, &machine::now())? {
        write_atomic(&out.join("exports").join(name), text.as_bytes())?;
    }
    Ok(())
}
