//! A model behind an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, hosted): one request for each answer.
//!
//! Does not know benchmarks, graders or the store: it gets prompts with pictures and gives completions. Every answer
//! is cached under a hash of all it depends on before it is counted, so that a run that is stopped, cut or killed goes
//! on from the last cached answer and asks nothing twice.
//!
//! Decisions:
//! - Streams are not requested: an answer is whole or it is requested again. A server that streams all the same is read.
//! - An answer that is as long as the limit counts as cut, even where the server says that it stopped.
//! - 408, 429, 5xx, timeouts, cut connections and replies that are not what the interface promises are retried with
//!   exponential back-off; any other status is the client's fault and ends the run with the endpoint's own words.
//! - An answer that is missing after all attempts ends the run too, at the end: the others are cached. Where as many
//!   answers in a row are missing as twice the requests under way, the endpoint is taken to be gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synergy_benchmarks::sample::ImageSource;
use synergy_benchmarks::seed::Seed;

use crate::commands::evaluate::encode::{Picture, picture};
use crate::key::Key;
use crate::run::event::interrupted;
use crate::run::store::write_atomic;
use crate::train::prompt::IMAGE_MARK;

/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The largest reply that is read.
const REPLY_BYTES_MAX: u64 = 64 << 20;
/// Characters of an error's body that are shown.
const BODY_CHARS: usize = 200;

/// A served model and how to talk to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Address up to and without `/chat/completions`, for example `http://localhost:8000/v1`.
    pub url: String,
    /// The model's name at the endpoint.
    pub model: String,
    /// Revision that is served under that name, where it is known; part of every key.
    pub revision: String,
    /// Sent as a bearer token, if there is one.
    pub api_key: Option<String>,
    /// Requests under way at once, at least 1.
    pub concurrency: usize,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// Attempts after the first.
    pub num_retries: u32,
    /// Wait before the second attempt; each later wait is twice as long.
    pub wait: Duration,
}

/// How answers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Drawing {
    /// At least 0; 0 takes the most probable token.
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Above 0 and at most 1; 1 keeps all tokens.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub top_p: f64,
    /// Tokens that are kept; 0 keeps all and is not sent, since not every endpoint knows it.
    pub top_k: usize,
    /// Tokens of the longest answer, at least 1.
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
    /// Seed of all draws.
    pub seed: u64,
}

/// One answer to request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask<'a> {
    /// The prompt, with [`IMAGE_MARK`] where each picture belongs; without marks, pictures stand before it.
    pub text: &'a str,
    /// Pictures, read when the question is asked and not held in memory.
    pub images: &'a [ImageSource],
    /// Number of this answer among those to the question, from 0.
    pub sample: u32,
    /// The use of the answer.
    pub purpose: Purpose,
}

/// The use of an answer: one that cuts levels never measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The answer decides the level of its question.
    Levels,
    /// The answer is part of what is measured.
    Measure,
}

impl Purpose {
    /// The purpose's name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Levels => "levels",
            Purpose::Measure => "measure",
        }
    }
}

/// An answer of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The whole text, a thought that the server sends apart included.
    pub text: String,
    /// Tokens of the answer as the endpoint counts them; `None` if it does not.
    pub num_tokens: Option<u32>,
    /// False when the length limit cut it.
    pub finished: bool,
}

/// Replies on disk, one small file each.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache in `dir`, which is created with the first reply.
    pub fn new(dir: &Path) -> Cache {
        Cache { dir: dir.to_owned() }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(&key.as_str()[..2]).join(format!("{}.json", key.as_str()))
    }

    /// Reads the reply under `key`, if there is one.
    ///
    /// # Errors
    /// If it cannot be read; half a file is never there.
    pub fn get(&self, key: &Key) -> Result<Option<Reply>> {
        let path = self.path(key);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read `{}`", path.display()));
            }
        };
        let reply = serde_json::from_str(&text).with_context(|| {
            format!(
                "`{}` does not hold a reply\nhint: delete that file; its question is then asked again",
                path.display()
            )
        })?;
        Ok(Some(reply))
    }

    /// Stores `reply` under `key`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, key: &Key, reply: &Reply) -> Result<()> {
        let text = serde_json::to_string(reply).context("a reply is plain data")?;
        write_atomic(&self.path(key), text.as_bytes())
    }
}

/// The key of an answer, a hash of all it depends on: pictures, prompt, drawing, purpose, model and revision, but not
/// where it is served.
pub fn key(
    model: &str,
    revision: &str,
    drawing: &Drawing,
    ask: &Ask<'_>,
    pictures: &[Picture],
) -> Key {
    let pictures: Vec<String> =
        pictures.iter().map(|p| blake3::hash(&p.bytes).to_hex().to_string()).collect();
    Key::of(&json!({
        "kind": "reply", "model": model, "revision": revision, "pictures": pictures,
        "prompt": ask.text, "drawing": drawing, "sample": ask.sample, "purpose": ask.purpose,
    }))
}

impl Endpoint {
    fn body(&self, drawing: &Drawing, ask: &Ask<'_>, pictures: &[Picture]) -> Value {
        let image = |picture: &Picture| {
            let data = STANDARD.encode(&picture.bytes);
            let url = format!("data:{};base64,{data}", picture.media_type);
            json!({"type": "image_url", "image_url": {"url": url}})
        };
        let mut content = Vec::new();
        if ask.text.matches(IMAGE_MARK).count() == pictures.len() {
            let mut pictures = pictures.iter();
            for (place, text) in ask.text.split(IMAGE_MARK).enumerate() {
                content.extend((place > 0).then(|| pictures.next().map(image)).flatten());
                content.extend((!text.is_empty()).then(|| json!({"type": "text", "text": text})));
            }
        } else {
            content.extend(pictures.iter().map(image));
            content.push(json!({"type": "text", "text": ask.text}));
        }
        // Samples of one question must not be one sample.
        let seed = Seed::root(drawing.seed).fold_in(ask.purpose.name()).fold_in(ask.text);
        let seed = seed.at(u64::from(ask.sample)).rng().random::<u32>() >> 1;
        let mut body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": drawing.temperature,
            "top_p": drawing.top_p,
            "max_tokens": drawing.max_new_tokens,
            "seed": seed,
            "stream": false,
        });
        if drawing.top_k > 0 {
            body["top_k"] = json!(drawing.top_k);
        }
        body
    }

    fn agent(&self) -> ureq::Agent {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            .build();
        ureq::Agent::new_with_config(config)
    }

    /// Requests every answer of `asks` that the cache lacks; gives all of them, in order. `progress` gets the number of
    /// answers so far after each.
    ///
    /// # Errors
    /// If the endpoint refuses a request, answers are missing after all attempts, a reply cannot be cached, or somebody
    /// asked to stop. Answers until then are in the cache.
    pub fn answer(
        &self,
        drawing: &Drawing,
        asks: &[Ask<'_>],
        cache: &Cache,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Vec<Reply>> {
        let replies: Vec<Mutex<Option<Reply>>> = asks.iter().map(|_| Mutex::new(None)).collect();
        let (next, num_done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let under_way = UnderWay::default();
        let given_up_in_a_row = AtomicUsize::new(0);
        let concurrency = self.concurrency.clamp(1, asks.len().max(1));
        let stop = AtomicBool::new(false);
        let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
        let causes: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let agent = self.agent();
        let work = || {
            while !stop.load(Ordering::Relaxed) && !interrupted() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(ask) = asks.get(index) else { break };
                match self.one(&agent, drawing, ask, cache, &under_way, &stop) {
                    Ok(Attempted::Reply(reply)) => {
                        given_up_in_a_row.store(0, Ordering::Relaxed);
                        *replies[index].lock().expect("no thread panics with it") = Some(reply);
                        progress(num_done.fetch_add(1, Ordering::Relaxed) + 1);
                    }
                    Ok(Attempted::GaveUp(cause)) => {
                        causes.lock().expect("no thread panics with it").push(cause);
                        let num = given_up_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                        if num >= 2 * concurrency {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    Ok(Attempted::Interrupted) => break,
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        let mut failure = failure.lock().expect("no thread panics with it");
                        failure.get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..concurrency {
                scope.spawn(work);
            }
        });
        if let Some(error) = failure.into_inner().expect("no thread panicked") {
            return Err(error);
        }
        let num_done = num_done.into_inner();
        if interrupted() {
            bail!(
                "interrupted with {num_done} of {} answers\nhint: the same command goes on from there",
                asks.len()
            );
        }
        let causes = causes.into_inner().expect("no thread panicked");
        if let Some(cause) = causes.first() {
            bail!(
                "{num_done} of {} answers arrived; {} are missing after all attempts ({} each), the first with: {cause}\n\
                 hint: the others are cached; the same command requests the rest",
                asks.len(),
                causes.len(),
                self.num_retries + 1
            );
        }
        let whole =
            replies.into_iter().map(|reply| reply.into_inner().expect("no thread panicked"));
        whole.collect::<Option<Vec<Reply>>>().context("an answer neither arrived nor failed")
    }

    /// One answer: from the cache, or requested until it arrives.
    fn one(
        &self,
        agent: &ureq::Agent,
        drawing: &Drawing,
        ask: &Ask<'_>,
        cache: &Cache,
        under_way: &UnderWay,
        stop: &AtomicBool,
    ) -> Result<Attempted> {
        let pictures = ask.images.iter().map(picture).collect::<Result<Vec<_>>>()?;
        let key = key(&self.model, &self.revision, drawing, ask, &pictures);
        let own = under_way.of(&key);
        let _alone = own.lock().expect("no thread panics with it");
        if let Some(reply) = cache.get(&key)? {
            return Ok(Attempted::Reply(reply));
        }
        let body = self.body(drawing, ask, &pictures);
        let mut cause = String::new();
        // Requests that failed together must not come back together.
        let mut jitter = Seed::root(0).fold_in(key.as_str()).rng();
        for attempt in 0..=self.num_retries {
            match self.attempt(agent, &body, drawing.max_new_tokens)? {
                Attempt::Reply(reply) => {
                    cache.put(&key, &reply)?;
                    return Ok(Attempted::Reply(reply));
                }
                Attempt::Again { cause: why, after } => {
                    cause = why;
                    let doubled = self.wait.saturating_mul(1 << attempt.min(16));
                    let wait = doubled.mul_f64(0.5 + 0.5 * jitter.random::<f64>());
                    let wait = after.unwrap_or(wait).min(WAIT_MAX);
                    if attempt < self.num_retries && !rest(wait, stop) {
                        return Ok(Attempted::Interrupted);
                    }
                }
            }
        }
        Ok(Attempted::GaveUp(cause))
    }

    fn attempt(&self, agent: &ureq::Agent, body: &Value, max_new_tokens: usize) -> Result<Attempt> {
        let url = format!("{}/chat/completions", self.url.trim_end_matches('/'));
        let mut request = agent.post(&url);
        if let Some(key) = &self.api_key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let again = |cause: String, after| Ok(Attempt::Again { cause, after });
        let mut response = match request.send_json(body) {
            Ok(response) => response,
            Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => {
                bail!(
                    "`{}` is not an address\nhint: http://localhost:8000/v1 would be one",
                    self.url
                )
            }
            Err(error) => return again(format!("{error}"), None),
        };
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after");
        let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let after = after.map(Duration::from_secs);
        let text = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_string();
        let text = match text {
            Ok(text) => text,
            Err(error) => return again(format!("the reply breaks off: {error}"), after),
        };
        match status {
            200 => match read_reply(&text) {
                Ok(mut reply) => {
                    reply.finished &=
                        reply.num_tokens.is_none_or(|n| (n as usize) < max_new_tokens);
                    Ok(Attempt::Reply(reply))
                }
                Err(error) => again(format!("the reply cannot be read: {error:#}"), after),
            },
            408 | 425 | 429 | 500..=599 => {
                again(format!("status {status}: {}", short(&text)), after)
            }
            _ => bail!(
                "the endpoint refuses the request with status {status}: {}\n\
                 hint: check --endpoint, --model-id and the key; answers so far are cached",
                short(&text)
            ),
        }
    }
}

/// A lock for each answer: where a set asks the same twice, one request waits for the other's answer.
#[derive(Default)]
struct UnderWay(Mutex<BTreeMap<String, Arc<Mutex<()>>>>);

impl UnderWay {
    fn of(&self, key: &Key) -> Arc<Mutex<()>> {
        let mut locks = self.0.lock().expect("no thread panics with it");
        Arc::clone(locks.entry(key.as_str().to_owned()).or_default())
    }
}

/// Outcome of all attempts at one answer.
enum Attempted {
    Reply(Reply),
    /// No reply after all attempts; holds the last error.
    GaveUp(String),
    Interrupted,
}

/// Outcome of one attempt.
enum Attempt {
    Reply(Reply),
    /// Worth another attempt, not before `after` if the endpoint said so.
    Again {
        cause: String,
        after: Option<Duration>,
    },
}

/// Waits; false if somebody asked to stop meanwhile.
fn rest(wait: Duration, stop: &AtomicBool) -> bool {
    const LOOK: Duration = Duration::from_millis(50);
    let mut left = wait;
    while !left.is_zero() {
        if stop.load(Ordering::Relaxed) || interrupted() {
            return false;
        }
        let nap = left.min(LOOK);
        std::thread::sleep(nap);
        left = left.saturating_sub(nap);
    }
    true
}

/// Reads the answer out of a reply of `/chat/completions`: one object, or a stream of events, which some servers send
/// even if it was not requested. Where a server sends the thought apart from the answer, the thought is put before it, in
/// the study's tags.
///
/// # Errors
/// If the reply is neither, or breaks off before it says why the answer ended.
fn read_reply(text: &str) -> Result<Reply> {
    #[derive(Deserialize)]
    struct Body {
        choices: Vec<Choice>,
        usage: Option<Usage>,
    }
    #[derive(Deserialize)]
    struct Choice {
        #[serde(alias = "delta")]
        message: Message,
        finish_reason: Option<String>,
    }
    #[derive(Deserialize)]
    struct Message {
        content: Option<String>,
        #[serde(alias = "reasoning")]
        reasoning_content: Option<String>,
    }
    #[derive(Deserialize)]
    struct Usage {
        completion_tokens: Option<u32>,
    }
    let parse = |part: &str| serde_json::from_str::<Body>(part).with_context(|| short(part));
    let events = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    let mut parts = events.filter(|part| *part != "[DONE]").peekable();
    let bodies = match parts.peek() {
        Some(_) => parts.map(parse).collect::<Result<Vec<Body>>>()?,
        None => vec![parse(text)?],
    };
    let (mut content, mut thought) = (None::<String>, String::new());
    let (mut finish_reason, mut num_tokens) = (None, None);
    for Body { choices, usage } in bodies {
        num_tokens = usage.and_then(|usage| usage.completion_tokens).or(num_tokens);
        // The last event of a stream may hold the count alone.
        let Some(choice) = choices.into_iter().next() else { continue };
        if let Some(more) = choice.message.content {
            content.get_or_insert_default().push_str(&more);
        }
        thought.push_str(&choice.message.reasoning_content.unwrap_or_default());
        finish_reason = choice.finish_reason.or(finish_reason);
    }
    ensure!(content.is_some() || !thought.is_empty(), "it has no text");
    let finished = match finish_reason.as_deref() {
        Some("length") => false,
        Some("stop" | "eos" | "end_turn" | "tool_calls" | "content_filter") => true,
        other => bail!("its finish reason is {other:?}"),
    };
    let content = content.unwrap_or_default();
    let text = match thought.as_str() {
        "" => content,
        thought => format!("<think>{thought}</think>{content}"),
    };
    Ok(Reply { text, num_tokens, finished })
}

/// The start of `text` in one line.
fn short(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(BODY_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
