//! A model behind an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, hosted): one request for each answer.
//!
//! Does not know benchmarks, graders or the store: it gets prompts with pictures and gives answers. Every answer
//! is cached under a hash of all it depends on before it is counted, so that a run that is stopped, cut or killed goes
//! on from the last cached answer and asks nothing twice.
//!
//! Decisions:
//! - Streams are not requested: an answer is whole or it is requested again. A server that streams all the same is read.
//! - A server that says why an answer ended is believed, also where its last allowed token is the end; where it does not
//!   say, an answer that is as long as its limit counts as cut.
//! - 408, 425, 429, 5xx, timeouts, cut connections, replies that cannot be read and those without text are retried with
//!   exponential back-off. What is missing after all attempts, and what the server refuses, is the outcome of its
//!   question; it is not cached, so that the same command asks again. As many questions in a row as
//!   [`UNANSWERED_MAX`](crate::run::asking::UNANSWERED_MAX) end the run.
//! - An answer that a filter stopped is not the model's: its question is refused, and not asked again in this run.
//! - A refusal about a field or about the length of the request changes the request (`terms`). 401, 402, 404, 405 and
//!   407 are about no question, and end the run with the server's own words.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use rand::RngExt as _;
use serde_json::Value;
use synergy_benchmarks::seed::Seed;
use synergy_hint::hint;
use synergy_report::completion::{Obstacle, Unanswered};

use crate::commands::evaluate::ask::{Ask, Drawing, key};
use crate::commands::evaluate::encode::{bytes, png};
use crate::commands::evaluate::endpoint::reply::{End, Said};
use crate::commands::evaluate::endpoint::request::body;
use crate::commands::evaluate::endpoint::terms::{Limits, Room, Terms, room};
use crate::commands::evaluate::replies::{Answer, Cache, Reply};
use crate::key::Key;
use crate::run::asking::{Streak, why};
use crate::run::event::interrupted;
use crate::served::words::{self, short};
use crate::train::prompt::plain;

mod reply;
mod request;
mod terms;

/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The largest reply that is read.
const REPLY_BYTES_MAX: u64 = 64 << 20;
/// The largest list of models that is read.
const MODELS_BYTES_MAX: u64 = 16 << 20;
/// The longest time until the list of models is there; a run goes on without it.
const MODELS_TIMEOUT: Duration = Duration::from_secs(10);
/// Changes of a request that is refused; each leaves a field out, renames the limit or lowers it.
const CHANGES_MAX: usize = 10;
/// Names under which lists of models tell a model's context: vLLM's and SGLang's, OpenRouter's, Groq's, Mistral's.
const CONTEXT_NAMES: [&str; 4] =
    ["max_model_len", "context_length", "context_window", "max_context_length"];

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

impl Endpoint {
    /// Requests every answer of `asks` that the cache lacks; gives all of them, or why there is none, in order.
    /// `progress` gets the number of asks that are done after each.
    ///
    /// # Errors
    /// If the endpoint cannot be asked at all, `streak` ends the run, a reply cannot be cached, or somebody asked to
    /// stop. Answers until then are in the cache.
    pub fn answer(
        &self,
        drawing: &Drawing,
        asks: &[Ask<'_>],
        cache: &Cache,
        streak: Streak,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Vec<Answer>> {
        let answers: Vec<OnceLock<Answer>> = asks.iter().map(|_| OnceLock::new()).collect();
        let (next, num_done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let streak = Mutex::new(streak);
        let failure: OnceLock<anyhow::Error> = OnceLock::new();
        let client = Client::new(self, drawing, cache);
        let work = || {
            while !client.stop.load(Ordering::Relaxed) && !interrupted() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(ask) = asks.get(index) else { break };
                let heard = client.one(ask).and_then(|answer| {
                    let Some(answer) = answer else { return Ok(()) };
                    let heard = locked(&streak).hear(ask.id, answer.as_ref().err());
                    let _ = answers[index].set(answer);
                    progress(num_done.fetch_add(1, Ordering::Relaxed) + 1);
                    heard
                });
                if let Err(error) = heard {
                    client.stop.store(true, Ordering::Relaxed);
                    // The first is reported: the others follow from it.
                    let _ = failure.set(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.concurrency.clamp(1, asks.len().max(1)) {
                scope.spawn(work);
            }
        });
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        if interrupted() {
            bail!(hint!(
                ("interrupted with {} of {} answers", num_done.into_inner(), asks.len()),
                "the same command goes on from there"
            ));
        }
        let answers = answers.into_iter().map(OnceLock::into_inner);
        answers.collect::<Option<Vec<Answer>>>().context("an answer neither arrived nor failed")
    }

    fn agent(&self) -> ureq::Agent {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            .build();
        ureq::Agent::new_with_config(config)
    }

    /// The address of `path` at the endpoint.
    fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.url.trim_end_matches('/'))
    }

    /// The value of the header that identifies the caller.
    fn authorization(&self) -> Option<String> {
        self.api_key.as_ref().map(|key| format!("Bearer {key}"))
    }
}

/// What the requests of one run share.
struct Client<'a> {
    endpoint: &'a Endpoint,
    drawing: &'a Drawing,
    cache: &'a Cache,
    agent: ureq::Agent,
    /// What the server takes, as far as it is known.
    terms: Mutex<Terms>,
    /// What the server gives to answers, as far as its list of models and its refusals tell.
    limits: OnceLock<Mutex<Limits>>,
    under_way: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    stop: AtomicBool,
}

/// What is behind `mutex`. No thread panics while it holds one here, and if one did, its plain data would be whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Client<'a> {
    fn new(endpoint: &'a Endpoint, drawing: &'a Drawing, cache: &'a Cache) -> Client<'a> {
        Client {
            endpoint,
            drawing,
            cache,
            agent: endpoint.agent(),
            terms: Mutex::default(),
            limits: OnceLock::new(),
            under_way: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// A lock for each answer: where a set asks the same twice, one request waits for the other's answer.
    fn lock_of(&self, key: &Key) -> Arc<Mutex<()>> {
        Arc::clone(locked(&self.under_way).entry(key.as_str().to_owned()).or_default())
    }

    /// What the server gives to answers; its list of models is asked for once.
    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        let listed = || Mutex::new(Limits::listed(self.served_context()));
        locked(self.limits.get_or_init(listed))
    }

    /// One answer: from the cache, or requested until it arrives; `None` if somebody asked to stop.
    fn one(&self, ask: &Ask<'_>) -> Result<Option<Answer>> {
        if let Err(error) = plain(ask.text) {
            return Ok(Some(Err(why(Obstacle::Prompt, &error))));
        }
        let unread = |error| Ok(Some(Err(why(Obstacle::Picture, &error))));
        let pictures = match ask.images.iter().map(bytes).collect::<Result<Vec<_>>>() {
            Ok(pictures) => pictures,
            Err(error) => return unread(error),
        };
        let Endpoint { model, revision, .. } = self.endpoint;
        let key = key(model, revision, self.drawing, ask, &pictures);
        let own = self.lock_of(&key);
        let _alone = locked(&own);
        if let Some(reply) = self.cache.get(&key)? {
            return Ok(Some(Ok(reply)));
        }
        let files = ask.images.iter().zip(&pictures).map(|(source, bytes)| png(source, bytes));
        let pictures = match files.collect::<Result<Vec<_>>>() {
            Ok(pictures) => pictures,
            Err(error) => return unread(error),
        };
        let answer = self.requested(ask, &pictures, &key)?;
        if let Some(Ok(reply)) = &answer {
            self.cache.put(&key, reply)?;
        }
        Ok(answer)
    }

    /// Requests an answer until it arrives, is refused for good, or all attempts are over; `None` if somebody asked to
    /// stop.
    fn requested(&self, ask: &Ask<'_>, pictures: &[Vec<u8>], key: &Key) -> Result<Option<Answer>> {
        let wanted = self.drawing.max_new_tokens;
        let mut limit = self.limits().of(ask.id, wanted);
        let mut terms = locked(&self.terms).clone();
        // Requests that failed together must not come back together.
        let mut jitter = Seed::root(0).fold_in(key.as_str()).rng();
        let (mut num_failed, mut num_changes) = (0, 0);
        loop {
            let body = body(&self.endpoint.model, self.drawing, ask, pictures, &terms, limit);
            match self.attempt(&body, limit)? {
                Attempt::Reply { mut reply, num_prompt_tokens } => {
                    // Taken for longer than it is: the answer was cut before its place was full.
                    let room = num_prompt_tokens
                        .and_then(|num| self.limits().counted(ask.id, num as usize, wanted));
                    if let Some(room) = room.filter(|room| !reply.finished && *room > limit) {
                        limit = room;
                        continue;
                    }
                    locked(&self.terms).join(&terms);
                    reply.left_out = terms.left_out.iter().map(|&name| name.to_owned()).collect();
                    return Ok(Some(Ok(reply)));
                }
                Attempt::Filtered => {
                    let cause = "a content filter of the endpoint stopped the answer".to_owned();
                    return Ok(Some(Err(Unanswered { obstacle: Obstacle::Refused, cause })));
                }
                Attempt::Refused { status, message } => {
                    let cause = format!("status {status}: {}", short(&message));
                    let refused = |obstacle| Ok(Some(Err(Unanswered { obstacle, cause })));
                    num_changes += 1;
                    if num_changes > CHANGES_MAX {
                        return refused(Obstacle::Refused);
                    }
                    let context = self.limits().context;
                    match room(&message, limit, context) {
                        Some(told @ (Room::Most(less) | Room::Left { limit: less, .. })) => {
                            self.limits().hear(ask.id, told);
                            limit = less.min(self.limits().of(ask.id, wanted));
                        }
                        Some(Room::None) => return refused(Obstacle::TooLong),
                        None if terms.yield_to(&message) => {}
                        None => return refused(Obstacle::Refused),
                    }
                }
                Attempt::Again { obstacle, cause, after } => {
                    if num_failed == self.endpoint.num_retries {
                        let cause = match num_failed {
                            0 => cause,
                            _ => format!("{cause} (the last of {} attempts)", num_failed + 1),
                        };
                        return Ok(Some(Err(Unanswered { obstacle, cause })));
                    }
                    let doubled = self.endpoint.wait.saturating_mul(1 << num_failed.min(16));
                    let wait = doubled.mul_f64(0.5 + 0.5 * jitter.random::<f64>());
                    if !rest(after.unwrap_or(wait).min(WAIT_MAX), &self.stop) {
                        return Ok(None);
                    }
                    num_failed += 1;
                }
            }
        }
    }

    /// Sends one request.
    ///
    /// # Errors
    /// If there is no such address, or the server refuses whatever is asked.
    fn attempt(&self, body: &Value, limit: usize) -> Result<Attempt> {
        let mut request = self.agent.post(self.endpoint.address("chat/completions"));
        if let Some(value) = self.endpoint.authorization() {
            request = request.header("Authorization", value);
        }
        let again = |obstacle, cause: String, after| Ok(Attempt::Again { obstacle, cause, after });
        let mut response = match request.send_json(body) {
            Ok(response) => response,
            Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => {
                bail!(hint!(
                    ("`{}` is not an address", self.endpoint.url),
                    "http://localhost:8000/v1 would be one"
                ))
            }
            Err(error) => return again(Obstacle::NoReply, format!("{error}"), None),
        };
        let mut status = response.status().as_u16();
        let after = response.headers().get("retry-after");
        let after = after.and_then(|value| wait_until(value.to_str().ok()?, SystemTime::now()));
        let text = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_string();
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                return again(Obstacle::NoReply, format!("the reply breaks off: {error}"), after);
            }
        };
        let mut message = String::new();
        if status == 200 {
            match reply::read(&text) {
                Ok(Said::Filtered) => return Ok(Attempt::Filtered),
                Ok(Said::Answer { text: Some(text), num_tokens, num_prompt_tokens, end }) => {
                    let finished = match end {
                        End::Ended => true,
                        End::Cut => false,
                        End::Untold => num_tokens.is_none_or(|n| (n as usize) < limit),
                    };
                    let reply = Reply { text, num_tokens, finished, left_out: Vec::new() };
                    return Ok(Attempt::Reply { reply, num_prompt_tokens });
                }
                Ok(Said::Answer { text: None, end, .. }) => {
                    let reason = match end {
                        End::Ended => "the answer ended",
                        End::Cut => "the length limit cut it",
                        End::Untold => "nobody says why",
                    };
                    let cause = format!("the reply has no text: {reason}");
                    return again(Obstacle::Empty, cause, after);
                }
                // Something is wrong at the server, if it does not say what.
                Ok(Said::Error { status: said, message: words }) => {
                    status = said.unwrap_or(500);
                    message = words;
                }
                Err(error) => {
                    let cause = format!("the reply cannot be read: {error:#}: {}", short(&text));
                    return again(Obstacle::NoReply, cause, after);
                }
            }
        } else {
            message.push_str(&words::message(&text));
        }
        match status {
            408 | 425 | 429 | 500..=599 => {
                again(Obstacle::NoReply, format!("status {status}: {}", short(&message)), after)
            }
            400 | 403 | 406 | 409..=424 | 426..=499 => Ok(Attempt::Refused { status, message }),
            _ => bail!(hint!(
                ("the endpoint refuses the request with status {status}: {}", short(&message)),
                "check --endpoint, --model-id and the key; answers so far are cached"
            )),
        }
    }

    /// What question and answer may have together, as the list of models says; `None` if it does not.
    fn served_context(&self) -> Option<usize> {
        let timeout = self.endpoint.timeout.min(MODELS_TIMEOUT);
        let request = self.agent.get(self.endpoint.address("models"));
        let mut request = request.config().timeout_global(Some(timeout)).build();
        if let Some(value) = self.endpoint.authorization() {
            request = request.header("Authorization", value);
        }
        let mut response = request.call().ok().filter(|response| response.status() == 200)?;
        let text = response.body_mut().with_config().limit(MODELS_BYTES_MAX).read_to_string();
        context_of(&serde_json::from_str(&text.ok()?).ok()?, &self.endpoint.model)
    }
}

/// The context of `model` in a list of models; an adapter has that of its parent.
fn context_of(list: &Value, model: &str) -> Option<usize> {
    let models = list.get("data").unwrap_or(list).as_array()?;
    let of = |id: &str| models.iter().find(|model| model["id"] == id);
    let told = |model: &Value| {
        CONTEXT_NAMES.iter().find_map(|name| whole(model.get(name)?)).filter(|all| *all > 0)
    };
    let own = of(model)?;
    told(own).or_else(|| told(of(own["parent"].as_str()?)?))
}

/// A number of tokens, which some servers send as a broken number or as text.
fn whole(value: &Value) -> Option<usize> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    let number = number.filter(|number| (0.0..=f64::from(u32::MAX)).contains(number));
    number.map(|number| number as usize)
}

/// Outcome of one attempt.
enum Attempt {
    Reply {
        reply: Reply,
        /// Tokens of the question, as the server counts them.
        num_prompt_tokens: Option<u32>,
    },
    /// A filter stopped the answer.
    Filtered,
    /// Refused as it is.
    Refused { status: u16, message: String },
    /// Worth another attempt, not before `after` if the endpoint said so.
    Again { obstacle: Obstacle, cause: String, after: Option<Duration> },
}

/// The time to wait that a `Retry-After` asks for at `now`: a number of seconds, perhaps broken, or a date of HTTP.
fn wait_until(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
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

#[cfg(test)]
mod tests;
