//! `synergy evaluate`: any model on any benchmark, judged by rules alone.
//!
//! Order, files and clocks of one evaluation; what it calls is a function of plain values. Does not know how a model
//! answers (`local`, `endpoint`), what files of a benchmark look like, or how an answer is judged.
//!
//! Decisions:
//! - Every answer is kept by itself under a hash of all it depends on (`runs/replies`), so an evaluation that is
//!   stopped goes on, and one with another grader, other levels or more questions asks only what is new.
//! - Answers that cut levels and answers that are measured have different purposes, which is part of their hash and of
//!   their seed: they are never the same answers.

pub mod ask;
pub mod encode;
pub mod endpoint;
mod export;
mod judge;
pub(super) mod levels;
mod local;
mod questions;
pub mod replies;
mod report;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use synergy_benchmarks::datasets::Skipped;
use synergy_benchmarks::sample::Sample;
use synergy_grade::answer::Outcome;
use synergy_hint::{Explain as _, hint};
use synergy_models::weights::ComputeDtype;
use synergy_report::completion::{Completion, to_lines};

use crate::commands::arguments::word;
use crate::commands::evaluate::ask::{Ask, Drawing, Purpose};
use crate::commands::evaluate::endpoint::Endpoint;
use crate::commands::evaluate::replies::{Answer, Cache, Reply};
use crate::commands::grade;
use crate::commands::output::{put, put_json, width};
use crate::run::asking::{Streak, is_of_the_question};
use crate::run::event::{Events, watch_interrupts};
use crate::run::machine;
use crate::run::store::write_atomic;

pub use judge::Report;
use questions::Asked;

const EXAMPLES: &str = "\
Examples:
  synergy evaluate --benchmark mathvision --data MathVision.tsv --model DIR
  synergy evaluate --benchmark mmmu --data mmmu/ --endpoint http://localhost:8000/v1 --model-id qwen --num-samples 4
  synergy evaluate --benchmark mine --data rows.jsonl --mapping mine.toml --model DIR --limit 100
  synergy evaluate --benchmark path --model golden/base/small --levels levels.jsonl
  synergy evaluate --benchmark path --model golden/base/small --engine vllm";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EvaluateArgs {
    #[command(flatten)]
    asking: AskingArgs,
    /// Rules that judge: boxed-1, synergy-1, mathruler, math-verify, vlmevalkit-2025-07, vlmevalkit-2026-08,
    /// lmms-eval-2026-08; the report compares them with all others
    #[arg(long, default_value = "synergy-1", value_name = "NAME")]
    grader: String,
    /// Number of answers to each question
    #[arg(long, default_value_t = 1, value_name = "K")]
    num_samples: u32,
    /// Levels of the questions, as `synergy levels` writes them; without it those in the benchmark's files
    #[arg(long, value_name = "FILE")]
    levels: Option<PathBuf>,
    /// Folder to write into [default: runs/evaluations/<benchmark>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Questions, the model that answers them, and how it samples.
#[derive(Debug, Args)]
pub(super) struct AskingArgs {
    /// mathvision, mathverse, mathvista, mmmu, mmstar, easy_vqa, arc_agi_1, arc_agi_2, a family (path, sum, count, chart,
    /// swap); with --mapping any name
    #[arg(long, value_name = "NAME")]
    benchmark: String,
    /// The files of a published benchmark: a TSV, a parquet file or a folder of either [default: where `cargo xtask
    /// fetch` puts it]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Split of a published benchmark whose files hold several: test, testmini, validation, …
    #[arg(long, value_name = "NAME", conflicts_with = "mapping")]
    split: Option<String>,
    /// TOML file with the meaning of the columns of --data, for a benchmark of your own
    #[arg(long, value_name = "FILE", requires = "data")]
    mapping: Option<PathBuf>,
    /// Skip rows that are not valid questions; they are counted and listed
    #[arg(long)]
    skip_bad: bool,
    /// Ask only this many questions, at even distances
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// A checkpoint: a folder in the Hugging Face layout
    #[arg(long, value_name = "DIR", required_unless_present = "endpoint")]
    model: Option<PathBuf>,
    /// An adapter for it, in PEFT's layout
    #[arg(long, value_name = "DIR", requires = "model", conflicts_with = "endpoint")]
    adapter: Option<PathBuf>,
    /// Instead of a checkpoint: an OpenAI-compatible address, such as http://localhost:8000/v1; the key is taken from
    /// the variable OPENAI_API_KEY
    #[arg(long, value_name = "URL", conflicts_with = "model", requires = "model_id")]
    endpoint: Option<String>,
    /// Name of the model at the endpoint
    #[arg(long, value_name = "NAME")]
    model_id: Option<String>,
    /// Version of that model: a commit or a date; answers of another revision are not used again
    #[arg(long, default_value = "unknown", value_name = "TEXT")]
    revision: String,
    /// Number of requests at the same time
    #[arg(long, default_value_t = 8, value_name = "N")]
    concurrency: usize,
    /// Time limit of one request, in seconds
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    timeout: f64,
    /// Number of further attempts for a request that fails
    #[arg(long, default_value_t = 6, value_name = "N")]
    retries: u32,
    /// Ask without the study's instruction after the question
    #[arg(long)]
    no_template: bool,
    /// 0 takes the most probable token
    #[arg(long, default_value_t = 0.6)]
    temperature: f64,
    /// 1 keeps all
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    /// 0 keeps all
    #[arg(long, default_value_t = 20)]
    top_k: usize,
    /// Length limit of an answer, in tokens; lower where question and answer together would not fit the model
    #[arg(long, default_value_t = 2048)]
    max_new_tokens: usize,
    /// Seed of the sampling
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// auto, flex, libtorch, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Type of numbers in which a checkpoint computes its answers; bf16 needs libtorch or cuda
    #[arg(long, default_value = "f32", value_name = "f32|bf16", value_parser = word::<ComputeDtype>, requires = "model")]
    dtype: ComputeDtype,
    /// What computes the answers of a checkpoint: own (the suite itself), vllm, sglang, or the file of another engine
    #[arg(long, value_name = "NAME|FILE", requires = "model", conflicts_with = "endpoint")]
    engine: Option<String>,
    /// Folder in which answers are stored
    #[arg(long, default_value = "runs/replies", value_name = "DIR")]
    replies: PathBuf,
}

/// Identity of the model that answered, for the report.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Answerer {
    /// The name at an endpoint, or the name of the checkpoint's folder.
    pub id: String,
    /// The revision that was given; for a checkpoint the hash of its files.
    pub revision: String,
    /// `endpoint` or the backend.
    pub backend: String,
    /// Type of numbers in which a checkpoint computed; absent for an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("enum" = [ComputeDtype::F32, ComputeDtype::Bf16]))]
    pub dtype: Option<ComputeDtype>,
    /// Tokens that question and answer may have together; absent for an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize", range(min = 1))]
    pub max_position_embeddings: Option<usize>,
    /// Fields of the requests that an endpoint does not take, so that its own values held.
    pub left_out: Vec<String>,
}

/// Everything besides the model that answers depend on, where they are stored and where progress is shown.
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
pub(super) struct Answered {
    asked: Asked,
    answerer: Answerer,
    drawing: Drawing,
    /// `[questions][samples]`.
    answers: Vec<Vec<Answer>>,
}

pub(super) fn run(args: &EvaluateArgs) -> Result<u8> {
    watch_interrupts()?;
    let grader = grade::grader(&args.grader)?;
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| Path::new("runs/evaluations").join(&args.asking.benchmark));
    // Everything that can be refused is, before a folder is made or a question asked.
    let mut asked = questions(&args.asking, args.num_samples)?;
    if let Some(path) = &args.levels {
        levels::read(path)?.assign(&mut asked.samples, path)?;
    }
    ensure!(
        !out.is_file(),
        hint!(("--out `{}` is a file", out.display()), "several files are written: name a folder")
    );
    let events = Events::open(&out.join("events.jsonl"), false)?;
    let answered = ask(&args.asking, asked, args.num_samples, Purpose::Measure, &events)?;
    let source = match &args.levels {
        Some(path) => Some(path.display().to_string()),
        None if answered.asked.samples.iter().any(|s| s.details.level.is_some()) => {
            Some("the files of the benchmark".to_owned())
        }
        None => None,
    };
    let completions = completions(&answered);
    let (report, outcomes) = judge::report(&answered, &completions, grader, source);
    write_all(&out, &report, &answered, &completions, &outcomes)?;
    if args.json {
        put_json(&report)?;
    } else {
        let text = report::render(&report, width());
        put(&format!("{text}report, completions and exports are in {}\n", out.display()))?;
    }
    Ok(0)
}

/// Reads the questions that the arguments name, and checks that they can be asked so.
///
/// # Errors
/// If the arguments do not fit each other, there is no such benchmark, or a file is bad.
pub(super) fn questions(args: &AskingArgs, num_samples: u32) -> Result<Asked> {
    ensure!(num_samples > 0, hint!("--num-samples is 0, so nothing would be asked", "at least 1"));
    ensure!(
        args.temperature >= 0.0 && args.top_p > 0.0 && args.top_p <= 1.0 && args.max_new_tokens > 0,
        hint!(
            (
                "invalid sampling settings: --temperature {}, --top-p {}, --max-new-tokens {}",
                args.temperature,
                args.top_p,
                args.max_new_tokens
            ),
            "temperature at least 0, top-p above 0 and at most 1, at least 1 token"
        )
    );
    ensure!(
        args.concurrency > 0,
        hint!("--concurrency is 0, so nothing would be requested", "at least 1; 8 without it")
    );
    if args.endpoint.is_some() {
        ensure!(
            args.timeout > 0.0 && args.timeout.is_finite(),
            hint!(("--timeout must be above 0 seconds, got {}", args.timeout), "--timeout 600")
        );
    }
    questions::read(args)
}

/// Asks every question of `asked` and returns all answers, or why there is none.
///
/// # Errors
/// If the model cannot be asked, several questions in a row are not answered, or none is.
pub(super) fn ask(
    args: &AskingArgs,
    asked: Asked,
    num_samples: u32,
    purpose: Purpose,
    events: &Events,
) -> Result<Answered> {
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
        top_k: args.top_k,
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
    let (answerer, answers) = match (&args.endpoint, &args.model) {
        (Some(url), _) => through_endpoint(&asking, url)?,
        (None, Some(dir)) => local::answer(&asking, dir)?,
        (None, None) => {
            anyhow::bail!(hint!("there is no model to ask", "--model DIR or --endpoint URL"))
        }
    };
    let (asked, answers) =
        if args.skip_bad { without_bad(asked, answers, events)? } else { (asked, answers) };
    let first = asked
        .samples
        .iter()
        .zip(&answers)
        .find_map(|(sample, answers)| Some((&sample.id, answers.first()?.as_ref().err()?)));
    if let Some((id, why)) = first.filter(|_| answers.iter().flatten().all(Result::is_err)) {
        anyhow::bail!(hint!(
            (
                "none of {} questions has an answer; the first is missing, `{id}`: {}",
                asked.samples.len(),
                why.cause
            ),
            "mend that cause; the same command asks again"
        ));
    }
    Ok(Answered { asked, answerer, drawing, answers })
}

/// Leaves out every question that was read from a file and cannot be asked, and lists it among the rows that were left
/// out.
///
/// # Errors
/// If no question is left.
fn without_bad(
    asked: Asked,
    answers: Vec<Vec<Answer>>,
    events: &Events,
) -> Result<(Asked, Vec<Vec<Answer>>)> {
    let mut kept = Asked { samples: Vec::new(), texts: Vec::new(), ..asked };
    let mut kept_answers = Vec::with_capacity(answers.len());
    let num_skipped = kept.skipped.len();
    for ((sample, text), answers) in asked.samples.into_iter().zip(asked.texts).zip(answers) {
        let why = answers.iter().filter_map(|answer| answer.as_ref().err());
        let why = why.into_iter().find(|why| is_of_the_question(why.obstacle));
        if let Some(skipped) = why.and_then(|why| Skipped::of(&sample, &anyhow!("{}", why.cause))) {
            kept.skipped.push(skipped);
            continue;
        }
        kept.samples.push(sample);
        kept.texts.push(text);
        kept_answers.push(answers);
    }
    let num_left_out = kept.skipped.len() - num_skipped;
    if num_left_out > 0 {
        events.say(&format!("{num_left_out} rows cannot be asked and are left out"));
    }
    ensure!(
        !kept.samples.is_empty(),
        hint!(
            ("`{}` leaves no question to ask", kept.source),
            ("{} rows were left out", kept.skipped.len())
        )
    );
    Ok((kept, kept_answers))
}

fn through_endpoint(asking: &Asking<'_>, url: &str) -> Result<(Answerer, Vec<Vec<Answer>>)> {
    let &Asking { args, asked, num_samples, purpose, drawing, cache, events } = asking;
    let endpoint = Endpoint {
        url: url.to_owned(),
        model: args
            .model_id
            .clone()
            .explain(|| hint!("the endpoint needs the model's name", "--model-id NAME"))?,
        revision: args.revision.clone(),
        api_key: std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty()),
        concurrency: args.concurrency,
        timeout: Duration::from_secs_f64(args.timeout),
        num_retries: args.retries,
        wait: Duration::from_secs(1),
    };
    let mut asks = Vec::with_capacity(asked.samples.len() * num_samples as usize);
    for (question, text) in asked.samples.iter().zip(&asked.texts) {
        let (id, images) = (question.id.as_str(), question.images.as_slice());
        asks.extend((0..num_samples).map(|sample| Ask { id, text, images, sample, purpose }));
    }
    let bar = std::sync::Mutex::new(events.bar(&endpoint.model, asks.len(), 0));
    let clock = Instant::now();
    let streak = Streak::new(args.skip_bad);
    let answers = endpoint.answer(drawing, &asks, cache, streak, |done| {
        let rate = done as f64 / clock.elapsed().as_secs_f64();
        bar.lock().expect("no thread panics with it").at(done, format!("{rate:.1} answers/s"));
    });
    bar.into_inner().expect("no thread panicked").finish("");
    let answers = answers?;
    let left_out: BTreeSet<&String> =
        answers.iter().flatten().flat_map(|reply| &reply.left_out).collect();
    let answerer = Answerer {
        id: endpoint.model.clone(),
        revision: endpoint.revision.clone(),
        backend: "endpoint".to_owned(),
        dtype: None,
        max_position_embeddings: None,
        left_out: left_out.into_iter().cloned().collect(),
    };
    Ok((answerer, answers.chunks(num_samples as usize).map(<[Answer]>::to_vec).collect()))
}

/// Turns the answers into completions, in the order of the questions.
pub(super) fn completions(answered: &Answered) -> Vec<Completion> {
    let completion = |sample: &Sample, k: u32, answer: &Answer| match answer {
        Ok(Reply { text, num_tokens, finished, .. }) => {
            // Where a server does not count tokens, words are counted.
            let num_tokens = num_tokens.unwrap_or_else(|| text.split_whitespace().count() as u32);
            Completion::new(sample, k, text.clone(), num_tokens, *finished)
        }
        Err(why) => Completion::missing(sample, k, why.clone()),
    };
    let of = |(sample, answers): (&Sample, &Vec<Answer>)| -> Vec<Completion> {
        (0..).zip(answers).map(|(k, answer)| completion(sample, k, answer)).collect()
    };
    answered.asked.samples.iter().zip(&answered.answers).flat_map(of).collect()
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
