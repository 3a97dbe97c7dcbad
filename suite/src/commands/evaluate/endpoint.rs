//! A model behind an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, hosted): one request for each answer.
//!
//! Does not know benchmarks, graders or the store: it gets prompts with pictures and gives completions. Every answer
//! is kept under a hash of all it depends on before it is counted, so that a run that is stopped, cut or killed goes
//! on from the last kept answer and asks nothing twice.
//!
//! Decisions:
//! - Streams are not asked for: an answer is whole or it is asked again. A server that streams all the same is read.
//! - An answer that is as long as the limit is cut, even where the server says that it stopped.
//! - 408, 429, 5xx, timeouts, cut connections and replies that are not what the interface promises are asked again,
//!   later and later; any other status is the asker's fault and ends the run with what the endpoint said of it.
//! - An answer that stays out after all attempts ends the run too, at the end: what was answered is kept. Where all
//!   requests that are under way at once stay out one after the other, the endpoint is taken to be gone.

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
/// Characters of an error's body that are told.
const BODY_CHARS: usize = 200;

/// Where the model is and how it is spoken to.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Up to and without `/chat/completions`, for example `http://localhost:8000/v1`.
    pub url: String,
    /// As the endpoint names it.
    pub model: String,
    /// What of that name is served, where it is known; part of every key.
    pub revision: String,
    pub api_key: Option<String>,
    /// Requests at once.
    pub concurrency: usize,
    /// Of one attempt.
    pub timeout: Duration,
    /// After the first.
    pub num_retries: u32,
    /// The first wait before another attempt; each later one is twice as long.
    pub wait: Duration,
}

/// How answers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Drawing {
    /// Sampling temperature; 0 takes the most probable token.
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Probability mass that tokens are drawn from, above 0 and at most 1.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub top_p: f64,
    /// Number of tokens that are drawn from; 0: all, and not sent, since not every endpoint knows it.
    pub top_k: usize,
    /// The longest answer in tokens.
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
    /// Seed of what is drawn.
    pub seed: u64,
}

/// One answer to ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask<'a> {
    /// With [`IMAGE_MARK`] where each picture belongs, or with none: then they stand before it.
    pub text: &'a str,
    /// Read when the question is asked, and not kept.
    pub images: &'a [ImageSource],
    /// This is the k-th answer to the question.
    pub sample: u32,
    pub purpose: Purpose,
}

/// What an answer is for: those that cut levels never measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Levels,
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

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    pub text: String,
    /// As the endpoint counts them; none if it does not.
    pub num_tokens: Option<u32>,
    /// False when the length limit cut it.
    pub finished: bool,
}

/// Replies that are kept, one small file each.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache in `dir`, which is made when the first reply is kept.
    pub fn new(dir: &Path) -> Cache {
        Cache { dir: dir.to_owned() }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.dir.join(&key.as_str()[..2]).join(format!("{}.json", key.as_str()))
    }

    /// What is kept under `key`.
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
                "`{}` is no kept answer\nhint: delete it, it will be asked again",
                path.display()
            )
        })?;
        Ok(Some(reply))
    }

    /// Keeps `reply`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, key: &Key, reply: &Reply) -> Result<()> {
        let text = serde_json::to_string(reply).context("a reply is plain data")?;
        write_atomic(&self.path(key), text.as_bytes())
    }
}

/// What an answer depends on: pictures, prompt, drawing, purpose, model and revision; not where it is served.
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

    /// Every answer of `asks`, in their order; kept ones are not asked again. `told` hears how many there are
    /// after each.
    ///
    /// # Errors
    /// If the endpoint refuses a request, answers stay out after all attempts, a reply cannot be kept, or somebody
    /// asked to stop. What was answered until then is kept.
    pub fn answer(
        &self,
        drawing: &Drawing,
        asks: &[Ask<'_>],
        cache: &Cache,
        told: impl Fn(usize) + Sync,
    ) -> Result<Vec<Reply>> {
        let replies: Vec<Mutex<Option<Reply>>> = asks.iter().map(|_| Mutex::new(None)).collect();
        let (next, num_done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let under_way = UnderWay::default();
        let lost_in_a_row = AtomicUsize::new(0);
        let concurrency = self.concurrency.clamp(1, asks.len().max(1));
        let stop = AtomicBool::new(false);
        let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
        let lost: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let agent = self.agent();
        let work = || {
            while !stop.load(Ordering::Relaxed) && !interrupted() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(ask) = asks.get(index) else { break };
                match self.one(&agent, drawing, ask, cache, &under_way, &stop) {
                    Ok(Found::Reply(reply)) => {
                        lost_in_a_row.store(0, Ordering::Relaxed);
                        *replies[index].lock().expect("no thread panics with it") = Some(reply);
                        told(num_done.fetch_add(1, Ordering::Relaxed) + 1);
                    }
                    Ok(Found::Lost(cause)) => {
                        lost.lock().expect("no thread panics with it").push(cause);
                        if lost_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= 2 * concurrency {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    Ok(Found::Stopped) => break,
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
        let lost = lost.into_inner().expect("no thread panicked");
        if let Some(cause) = lost.first() {
            bail!(
                "{} of {} answers are here, {} stayed out through all attempts ({} each), the first with: {cause}\n\
                 hint: what is here is kept; the same command asks for the rest",
                num_done,
                asks.len(),
                lost.len(),
                self.num_retries + 1
            );
        }
        let whole =
            replies.into_iter().map(|reply| reply.into_inner().expect("no thread panicked"));
        whole.collect::<Option<Vec<Reply>>>().context("an answer was neither kept nor lost")
    }

    /// One answer: kept, or asked for until it comes.
    fn one(
        &self,
        agent: &ureq::Agent,
        drawing: &Drawing,
        ask: &Ask<'_>,
        cache: &Cache,
        under_way: &UnderWay,
        stop: &AtomicBool,
    ) -> Result<Found> {
        let pictures = ask.images.iter().map(picture).collect::<Result<Vec<_>>>()?;
        let key = key(&self.model, &self.revision, drawing, ask, &pictures);
        let own = under_way.of(&key);
        let _alone = own.lock().expect("no thread panics with it");
        if let Some(reply) = cache.get(&key)? {
            return Ok(Found::Reply(reply));
        }
        let body = self.body(drawing, ask, &pictures);
        let mut cause = String::new();
        // Requests that failed together must not come back together.
        let mut jitter = Seed::root(0).fold_in(key.as_str()).rng();
        for attempt in 0..=self.num_retries {
            match self.attempt(agent, &body, drawing.max_new_tokens)? {
                Attempt::Reply(reply) => {
                    cache.put(&key, &reply)?;
                    return Ok(Found::Reply(reply));
                }
                Attempt::Again { cause: why, after } => {
                    cause = why;
                    let doubled = self.wait.saturating_mul(1 << attempt.min(16));
                    let wait = doubled.mul_f64(0.5 + 0.5 * jitter.random::<f64>());
                    let wait = after.unwrap_or(wait).min(WAIT_MAX);
                    if attempt < self.num_retries && !rest(wait, stop) {
                        return Ok(Found::Stopped);
                    }
                }
            }
        }
        Ok(Found::Lost(cause))
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
                bail!("`{}` is no address\nhint: as in http://localhost:8000/v1", self.url)
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
            Err(error) => return again(format!("a reply that breaks off: {error}"), after),
        };
        match status {
            200 => match read_reply(&text) {
                Ok(mut reply) => {
                    reply.finished &=
                        reply.num_tokens.is_none_or(|n| (n as usize) < max_new_tokens);
                    Ok(Attempt::Reply(reply))
                }
                Err(error) => again(format!("a reply that is none: {error:#}"), after),
            },
            408 | 425 | 429 | 500..=599 => {
                again(format!("status {status}: {}", short(&text)), after)
            }
            _ => bail!(
                "the endpoint refuses with status {status}: {}\n\
                 hint: check --endpoint, --model-id and the key; nothing that was answered is lost",
                short(&text)
            ),
        }
    }
}

/// A lock for each answer: where a set asks the same twice, one waits for the other's answer.
#[derive(Default)]
struct UnderWay(Mutex<BTreeMap<String, Arc<Mutex<()>>>>);

impl UnderWay {
    fn of(&self, key: &Key) -> Arc<Mutex<()>> {
        let mut locks = self.0.lock().expect("no thread panics with it");
        Arc::clone(locks.entry(key.as_str().to_owned()).or_default())
    }
}

enum Found {
    Reply(Reply),
    /// It stayed out, with the last cause.
    Lost(String),
    Stopped,
}

enum Attempt {
    Reply(Reply),
    Again { cause: String, after: Option<Duration> },
}

/// Waits, unless somebody stops; false if so.
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

/// The answer in a reply of `/chat/completions`: one object, or a stream of events, which some servers send whether
/// or not they are asked to. Where a server parts the thought from the answer, it is put before it again, in the
/// study's tags.
///
/// # Errors
/// If it is neither, or breaks off before it says why it ended.
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
    ensure!(content.is_some() || !thought.is_empty(), "no text in it");
    let finished = match finish_reason.as_deref() {
        Some("length") => false,
        Some("stop" | "eos" | "end_turn" | "tool_calls" | "content_filter") => true,
        other => bail!("finish reason {other:?}"),
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
