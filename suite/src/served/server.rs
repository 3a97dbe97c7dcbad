//! One server: started, waited for, identified, asked, and started again when it is gone.
//!
//! Does not know what is asked. Whoever finds it gone says with which start of it that was, so that many who find out at
//! once start it again once.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;
use synergy_hint::{Explain as _, Hinted, hint};

use crate::recipe::EngineSpec;
use crate::served::child::Child;
use crate::served::interface::{self, Call, Interface};
use crate::served::kinds;
use crate::served::words::{self, short};

/// The largest reply that is read: long answers of a large group with a log-probability for each token.
const REPLY_BYTES_MAX: u64 = 1 << 30;
/// The longest time of a call that asks for no answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest time until it must say that it is healthy once it listens.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// Ports that are tried: between the choice of a free one and the server's start another program may take it.
const PORTS_MAX: usize = 3;
/// Words of a log whose server found its port taken.
const TAKEN: &str = "address already in use";
/// How long a server whose connection broke may be in want of an answer.
const LAST_MOMENTS: Duration = Duration::from_secs(5);
/// Time between two looks at whether it answers.
const LOOK: Duration = Duration::from_millis(200);

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It says that the request is wrong.
    Refused(String),
    /// The connection broke, or the server has a fault.
    Broken(String),
    /// It was silent too long.
    Silent(String),
}

impl Failure {
    /// The server's words, or what happened to the connection.
    pub(super) fn cause(&self) -> &str {
        match self {
            Failure::Refused(cause) | Failure::Broken(cause) | Failure::Silent(cause) => cause,
        }
    }
}

/// A server as it is now.
#[derive(Debug)]
struct State {
    /// `None` for one that the suite has not started.
    child: Option<Child>,
    /// The address, without a path; empty before the first start.
    url: String,
    /// How often it was started.
    num_starts: usize,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    spec: EngineSpec,
    interface: &'static dyn Interface,
    /// Its number among the replicas.
    place: usize,
    /// Tells whether somebody asked to stop.
    stop: fn() -> bool,
    /// Where its logs are.
    dir: PathBuf,
    agent: ureq::Agent,
    state: Mutex<State>,
    /// The name under which the model is served.
    pub(super) model: String,
    /// Tokens that question and answer may have together.
    pub(super) context: usize,
}

impl Server {
    /// Starts the replica `place` with the model in the folder `model`, or finds the one that is running, and checks that it
    /// is what `spec` says.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not answer in time; if it is of another version or lacks a call.
    pub(super) fn start(
        spec: &EngineSpec,
        place: usize,
        model: &Path,
        dir: &Path,
        stop: fn() -> bool,
    ) -> Result<Server> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // It is this machine's, or a neighbor's.
            .proxy(None)
            .build();
        let url = spec.addresses.as_ref().and_then(|all| all.get(place)).cloned();
        let mut server = Server {
            spec: spec.clone(),
            interface: kinds::of(spec.kind),
            place,
            stop,
            dir: dir.to_owned(),
            agent: ureq::Agent::new_with_config(config),
            state: Mutex::new(State {
                child: None,
                url: url.clone().unwrap_or_default().trim_end_matches('/').to_owned(),
                num_starts: 0,
            }),
            model: interface::NAME.to_owned(),
            context: 0,
        };
        match url {
            Some(url) => {
                let is_there = server.get("/health", HEALTH_TIMEOUT);
                is_there.map_err(|failure| {
                    anyhow!(hint!(
                        ("no engine answers at `{url}`: {}", failure.cause()),
                        "start it, or let the suite do so: `command` in place of `addresses`"
                    ))
                })?;
            }
            None => server.launch(model)?,
        }
        server.identify()?;
        Ok(server)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is plain data, whole at any moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it was started, to be given to [`Server::mend`].
    pub(super) fn num_starts(&self) -> usize {
        self.state().num_starts
    }

    /// Starts its process and waits until it is healthy.
    fn launch(&self, model: &Path) -> Result<()> {
        let mut state = self.state();
        self.launch_in(&mut state, model)
    }

    fn launch_in(&self, state: &mut State, model: &Path) -> Result<()> {
        // The one before it may still hold memory that the new one needs.
        state.child = None;
        state.num_starts += 1;
        for attempt in 1..=PORTS_MAX {
            let port = free_port()?;
            let log = self.dir.join(format!("server-{}-{}.log", self.place, state.num_starts));
            let command = kinds::command(&self.spec, model, port, self.place);
            state.child = Some(Child::start(&command, &log)?);
            state.url = format!("http://127.0.0.1:{port}");
            match self.wait(state) {
                Err(error) if attempt < PORTS_MAX && is_taken(&log) => drop(error),
                waited => return waited,
            }
        }
        Ok(())
    }

    /// Waits until it says that it is healthy.
    fn wait(&self, state: &mut State) -> Result<()> {
        let clock = Instant::now();
        let longest = Duration::from_secs_f64(self.spec.start_timeout_s);
        let State { child: Some(child), url, .. } = state else { return Ok(()) };
        loop {
            let is_healthy = self.get_at(url, "/health", HEALTH_TIMEOUT).is_ok();
            if child.has_ended() {
                let log = child.log().display();
                return Err(anyhow!(hint!(
                    ("the engine ended while it started: {}", child.last_words()),
                    "its log is `{log}`"
                )));
            }
            if is_healthy {
                return Ok(());
            }
            ensure!(
                !(self.stop)(),
                hint!("interrupted while the engine started", "the same command starts it again")
            );
            ensure!(
                clock.elapsed() < longest,
                hint!(
                    (
                        "the engine does not answer after {:.0} s: {}",
                        longest.as_secs_f64(),
                        child.last_words()
                    ),
                    (
                        "its log is `{}`; `start_timeout_s` says how long it may take",
                        child.log().display()
                    )
                )
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Checks its version and its calls, and learns the name of its model and its context.
    fn identify(&mut self) -> Result<()> {
        let ask = |path: &str| -> Result<String> {
            self.get(path, CALL_TIMEOUT).map_err(|failure| {
                anyhow!(hint!(
                    ("the engine does not answer `{path}`: {}", failure.cause()),
                    ("is it {}?", self.spec.describe())
                ))
            })
        };
        let said: Value =
            serde_json::from_str(&ask(self.interface.version_path())?).unwrap_or_default();
        let version = said["version"].as_str().unwrap_or("none");
        ensure!(
            version == self.spec.version,
            hint!(
                ("the engine has version {version}, and {} is asked for", self.spec.version),
                "another version is another engine: change `version`, and answers are made again"
            )
        );
        let api: Value = serde_json::from_str(&ask("/openapi.json")?).unwrap_or_default();
        let paths: Vec<String> =
            api["paths"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
        let lacking = kinds::lacking(&self.spec, &paths);
        ensure!(
            lacking.is_empty(),
            hint!(
                ("the engine lacks `{}`", lacking.join("`, `")),
                ("{}", self.interface.how_started())
            )
        );
        let models = interface::listed(&ask("/v1/models")?);
        let named = models.get_key_value(interface::NAME).or_else(|| models.iter().next());
        let (name, context) =
            named.explain(|| hint!("the engine serves no model", "see its list at /v1/models"))?;
        self.model.clone_from(name);
        self.context = *context;
        Ok(())
    }

    /// Sees to it that it answers again, where it was found gone or silent after its `num_starts`th start: starts it with the
    /// model in the folder `model`. Gives false if nothing had to be done, because it is there or somebody else did.
    ///
    /// # Errors
    /// If it cannot be started, or the suite has not started it.
    pub(super) fn mend(&self, num_starts: usize, failure: &Failure, model: &Path) -> Result<bool> {
        let mut state = self.state();
        if state.num_starts != num_starts {
            return Ok(false);
        }
        ensure!(
            state.child.is_some(),
            hint!(
                ("the engine at `{}` cannot be used: {}", state.url, failure.cause()),
                "start it again, with a model of this shape; what was finished before is kept"
            )
        );
        self.launch_in(&mut state, model)?;
        Ok(true)
    }

    /// Tells whether it can be asked again after a connection to it broke: its process may be about to end.
    pub(super) fn is_well(&self) -> bool {
        let clock = Instant::now();
        while clock.elapsed() < LAST_MOMENTS {
            if self.state().child.as_mut().is_some_and(Child::has_ended) {
                return false;
            }
            if self.get("/health", HEALTH_TIMEOUT).is_ok() {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        false
    }

    /// The last words of its log, with the log's name.
    pub(super) fn last_words(&self) -> String {
        match &self.state().child {
            Some(child) => format!("{} (`{}`)", child.last_words(), child.log().display()),
            None => "see its own log".to_owned(),
        }
    }

    fn get(&self, path: &str, timeout: Duration) -> Result<String, Failure> {
        let url = self.state().url.clone();
        self.get_at(&url, path, timeout)
    }

    fn get_at(&self, url: &str, path: &str, timeout: Duration) -> Result<String, Failure> {
        let request = self.agent.get(format!("{url}{path}"));
        heard(request.config().timeout_global(Some(timeout)).build().call())
    }

    /// Posts `body` to `path` and returns what it replies.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) fn post(
        &self,
        path: &str,
        body: &Value,
        timeout: Duration,
    ) -> Result<String, Failure> {
        let url = self.state().url.clone();
        let request = self.agent.post(format!("{url}{path}"));
        heard(request.config().timeout_global(Some(timeout)).build().send_json(body))
    }

    /// Makes calls that ask for no answer, one after the other. One that runs for others, too, is not left standing still
    /// where a call fails.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) fn make(&self, calls: &[Call]) -> Result<(), Failure> {
        let call = |(path, body): &Call| self.post(path, body, CALL_TIMEOUT).map(drop);
        let made = calls.iter().try_for_each(call);
        if made.is_err()
            && self.spec.addresses.is_some()
            && let Some(go_on) = self.interface.go_on()
        {
            let _ = call(&go_on);
        }
        made
    }
}

/// What came back.
fn heard(
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<String, Failure> {
    let failed = |error: ureq::Error| match error {
        ureq::Error::Timeout(_) => Failure::Silent(error.to_string()),
        ureq::Error::Io(io) if io.kind() == ErrorKind::TimedOut => Failure::Silent(io.to_string()),
        error => Failure::Broken(error.to_string()),
    };
    let mut response = response.map_err(failed)?;
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_string();
    let text = text.map_err(failed)?;
    match status {
        200..=299 => Ok(text),
        400..=499 if status != 429 => {
            Err(Failure::Refused(format!("status {status}: {}", said(&text))))
        }
        _ => Err(Failure::Broken(format!("status {status}: {}", said(&text)))),
    }
}

/// A server's words in one line.
fn said(text: &str) -> String {
    let message = words::message(text);
    if message.trim_start().starts_with('<') {
        "a page of HTML".to_owned()
    } else {
        short(&message)
    }
}

/// A port that nobody else has in the moment until the server listens there.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0");
    let port = listener.and_then(|listener| listener.local_addr());
    let port = port.map_err(|_| Hinted::new("no port of this machine is free", "close some"))?;
    Ok(port.port())
}

fn is_taken(log: &Path) -> bool {
    std::fs::read_to_string(log).unwrap_or_default().to_lowercase().contains(TAKEN)
}
