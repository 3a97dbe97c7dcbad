//! Engines that others wrote: servers that the suite starts, gives weights, asks with token ids, and ends.
//!
//! Does not know why answers are asked for. [`Served`] is an [`Engine`] as the suite's own is: token ids with their
//! log-probabilities come back, in the order of the questions, whichever server answered.
//!
//! Decisions:
//! - A server is started with the first weights that are loaded, keeps its process until the run ends, and is given every
//!   other checkpoint while it runs. After each a probe is asked (`probe`); a server that fails it is started again with
//!   these weights, and if it fails once more the run ends.
//! - Every reply says which tokens were read and which weights answered; one of other weights is asked for again.
//! - A server that dies or is silent is started again, once for each call, and asked only for what is missing.
//! - An answer's seed depends on its question and its number, as with the suite's own engine, and not on which server
//!   is asked or what else. Whether its tokens do depends on the engine: on CPUs vLLM's do not.
//! - Weights go through the disk: a folder for each checkpoint, the last one kept for a restart, and gone with it.
//! - Names of weights are this process's alone: a running server that another one gives weights to meanwhile answers under
//!   another name, and is not believed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, ensure};
use rand::RngExt as _;
use synergy_benchmarks::seed::Seed;
use synergy_hint::{Explain as _, hint};
use synergy_models::checkpoint::Checkpoint;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::qwen2_5_vl::config::{GenerationConfig, VlmConfig};
use synergy_models::weights::{ComputeDtype, Parameters, StoredDtype};

use crate::device::Compute;
use crate::limits::MAX_SHARD_BYTES;
use crate::recipe::EngineSpec;
use crate::served::folder::{Folder, forget_dead};
use crate::served::interface::{Ask, Call, Interface};
use crate::served::probe::Probe;
use crate::served::reply::{Fault, Wanted};
use crate::served::server::{Failure, Server};
use crate::train::engine::{Adapted, Apart, Asked, Engine, Question, without_weights};
use crate::train::sequence::Prompter;

mod child;
mod folder;
mod interface;
mod kinds;
mod probe;
mod reply;
mod server;
mod sglang;
mod vllm;
pub mod words;

/// Attempts at the answers to one question.
const ATTEMPTS_MAX: usize = 4;

/// The folder of an engine's logs and of the weights that it reads, in the folder of runs.
const FOLDER: &str = "engine";

/// Servers of one model.
pub struct Served {
    spec: EngineSpec,
    interface: &'static dyn Interface,
    /// The shape of its models.
    config: VlmConfig,
    /// Every file of a model but its weights.
    files: Vec<(&'static str, String)>,
    /// What each checkpoint is asked first, and how.
    question: (Question, Sampling),
    compute: Compute,
    /// Logs, and the folder of each checkpoint.
    dir: PathBuf,
    /// Shows a person what takes long.
    say: fn(&str),
    /// Tells whether somebody asked to stop.
    stop: fn() -> bool,
    servers: Vec<Running>,
    /// What names of weights begin with.
    name: String,
    num_loads: usize,
    current: Option<Current>,
}

/// A server, and who may ask it.
#[derive(Debug)]
struct Running {
    server: Server,
    /// Read by whoever asks, written by whoever starts it again and brings it back to where it was.
    usable: RwLock<()>,
}

/// What answers now.
struct Current {
    /// The folder of the whole model that the servers have.
    model: Folder,
    /// The name of its weights.
    version: String,
    /// The adapter over it: its name and its folder.
    adapter: Option<(String, Folder)>,
    probe: Probe,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("spec", &self.spec)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Served {
    /// Servers that nobody has started yet, for models of the shape of `prompter`; `dir` is the folder of runs, `say` shows a
    /// line to a person, and `stop` tells whether somebody asked to stop.
    ///
    /// # Errors
    /// If there is no such program, or the engine cannot compute a model of that shape.
    pub fn new(
        spec: &EngineSpec,
        (prompter, compute): (&Prompter, &Compute),
        dir: &Path,
        say: fn(&str),
        stop: fn() -> bool,
    ) -> Result<Served> {
        check_program(spec)?;
        let width = prompter.config.head_dim();
        if let Some(known) = &spec.head_dims {
            ensure!(
                known.contains(&width),
                hint!(
                    ("the engine cannot compute attention heads of {width} numbers, which the model has"),
                    ("it takes {known:?} (`head_dims`); --engine own computes any")
                )
            );
        }
        let dir = std::path::absolute(dir.join(FOLDER)).context("the folder of an engine")?;
        forget_dead(&dir);
        // Two runs in one folder have folders of their own.
        let id = std::process::id();
        let dir = dir.join(id.to_string());
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let Prompter { config, tokenizer, processor, end_tokens, .. } = prompter;
        // What its authors sample by is not what is asked for.
        let generation =
            GenerationConfig { eos_token_id: end_tokens.clone(), ..GenerationConfig::default() };
        let dtype = stored(spec.dtype);
        Ok(Served {
            spec: spec.clone(),
            interface: kinds::of(spec.kind),
            config: config.clone(),
            files: Checkpoint::files(config, tokenizer, processor, &generation, dtype),
            question: probe::question(prompter)?,
            compute: compute.clone(),
            dir,
            say,
            stop,
            name: format!("{id}-{:x}", since.as_nanos()),
            servers: Vec::new(),
            num_loads: 0,
            current: None,
        })
    }

    /// Writes the model with `weights` to a folder of its own, as the engine reads it.
    fn stage(&self, weights: &Parameters) -> Result<Folder> {
        let path = self.dir.join(format!("model-{}", self.num_loads));
        let folder = Folder::with(path, self.files.iter().map(|(name, text)| (*name, text)))?;
        weights.save(&folder.0, stored(self.spec.dtype), MAX_SHARD_BYTES)?;
        Ok(folder)
    }

    /// Starts all servers with the model of `current`, at the same time.
    fn start(&mut self, current: &Current) -> Result<()> {
        let engine = self.spec.describe();
        (self.say)(&match &self.spec.addresses {
            Some(addresses) => format!("  asking {engine} at {}", addresses.join(", ")),
            None => format!("  starting {engine} (logs in {})", self.dir.display()),
        });
        let started: Vec<Result<Server>> = std::thread::scope(|scope| {
            let start =
                |place| Server::start(&self.spec, place, &current.model.0, &self.dir, self.stop);
            let threads: Vec<_> = (0..self.spec.num_replicas())
                .map(|place| scope.spawn(move || start(place)))
                .collect();
            let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .map(|server| server.unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
                .collect()
        });
        let usable = |server| Running { server, usable: RwLock::new(()) };
        let started: Result<Vec<Server>> = started.into_iter().collect();
        self.servers = started?.into_iter().map(usable).collect();
        for Running { server, .. } in &self.servers {
            // One that runs already has weights of its own.
            let calls = match self.spec.addresses.is_some() {
                true => self.interface.reload(&current.model.0, &current.version),
                false => vec![self.interface.name_version(&current.version)],
            };
            let given = self.give(server, &calls, current);
            given.map_err(|cause| self.unused(server, &cause))?;
        }
        Ok(())
    }

    /// Gives `current` to `server`, which has weights of before; starts it again where that fails.
    fn swap(&self, server: &Server, current: &Current) -> Result<()> {
        let num_starts = server.num_starts();
        let calls = match &current.adapter {
            Some((name, folder)) => vec![self.interface.load_adapter(name, &folder.0)],
            None => self.interface.reload(&current.model.0, &current.version),
        };
        let Err(cause) = self.give(server, &calls, current) else { return Ok(()) };
        (self.say)(&format!(
            "  the engine did not take other weights, and is started again: {cause}"
        ));
        let failure = Failure::Broken(cause);
        server.mend(num_starts, &failure, &current.model.0)?;
        self.restore(server, current).map_err(|cause| self.unused(server, &cause))
    }

    /// Brings a server that was just started with the model of `current` to where it was.
    fn restore(&self, server: &Server, current: &Current) -> Result<(), String> {
        let mut calls = vec![self.interface.name_version(&current.version)];
        if let Some((name, folder)) = &current.adapter {
            calls.push(self.interface.load_adapter(name, &folder.0));
        }
        self.give(server, &calls, current)
    }

    /// Makes `calls`, after which `server` should have `current`, and asks the probe.
    fn give(&self, server: &Server, calls: &[Call], current: &Current) -> Result<(), String> {
        server.make(calls).map_err(|failure| failure.cause().to_owned())?;
        self.probe(server, current)
    }

    /// Gives `current` to every server that runs, in place of the adapter `before`, if there was one.
    fn swap_all(&mut self, current: Current, before: Option<(String, Folder)>) -> Result<()> {
        let mut servers = self.servers.iter().map(|running| &running.server);
        servers.try_for_each(|server| self.swap(server, &current))?;
        if let Some((name, _)) = before {
            for Running { server, .. } in &self.servers {
                // One that was started again does not know it.
                let _ = server.make(&[self.interface.unload_adapter(&name)]);
            }
        }
        self.current = Some(current);
        Ok(())
    }

    /// The probe of `weights`.
    fn new_probe(&self, weights: &Parameters) -> Result<Probe> {
        let (question, sampling) = &self.question;
        Probe::new(&self.config, question, sampling, weights, (&self.compute, self.spec.dtype))
    }

    /// Asks the probe of `current`.
    fn probe(&self, server: &Server, current: &Current) -> Result<(), String> {
        let (question, sampling) = &self.question;
        let asked = Asked { question, seed: Seed::root(0), first: 0 };
        let cause = |fault: Unread| match fault {
            Unread::Failed(failure) => failure.cause().to_owned(),
            Unread::Fault(Fault::Again(cause) | Fault::Wrong(cause)) => cause,
            Unread::Error(error) => format!("{error:#}"),
        };
        let answers = self.once(server, current, asked, 1, sampling).map_err(cause)?;
        let answer = answers.first().ok_or("it gives no answer")?;
        current.probe.check(answer, self.spec.dtype)
    }

    /// An engine that cannot be used, and why.
    fn unused(&self, server: &Server, cause: &str) -> anyhow::Error {
        anyhow!(hint!(
            ("the engine cannot be used: {cause}"),
            ("its last words: {}; --engine own answers without it", server.last_words())
        ))
    }

    /// Asks `server` once for all answers to a question.
    fn once(
        &self,
        server: &Server,
        current: &Current,
        asked: Asked<'_>,
        num_samples: usize,
        sampling: &Sampling,
    ) -> Result<Vec<Generated>, Unread> {
        let Asked { question, seed, first } = asked;
        let pictures =
            question.sample.images.iter().map(|source| synergy_picture::to_png(&source.load()?));
        let pictures = pictures.collect::<Result<Vec<_>>>().map_err(Unread::Error)?;
        // Greedy answers are all the same, and engines may give only one.
        let is_greedy = sampling.temperature <= 0.0;
        let num_asked = if is_greedy { 1 } else { num_samples };
        let max_new_tokens = self.room(question, sampling);
        let body = self.interface.body(&Ask {
            model: &server.model,
            adapter: current.adapter.as_ref().map(|(name, _)| name.as_str()),
            input_ids: &question.input_ids,
            image_token_id: self.config.image_token_id,
            pictures: &pictures,
            num_samples: num_asked,
            sampling: &Sampling { max_new_tokens, ..sampling.clone() },
            seed: seed.at(first).rng().random::<u32>() >> 1,
        });
        let timeout = Duration::from_secs_f64(self.spec.answer_timeout_s);
        let text =
            server.post(self.interface.generate_path(), &body, timeout).map_err(Unread::Failed)?;
        let wanted = Wanted {
            input_ids: &question.input_ids,
            num_samples: num_asked,
            version: &current.version,
        };
        let mut answers =
            reply::check(self.interface.read(&text), wanted).map_err(Unread::Fault)?;
        if is_greedy {
            let answer = answers.pop();
            answers = answer.into_iter().cycle().take(num_samples).collect();
        }
        Ok(answers)
    }

    /// Asks the server until it answers, and starts it again if it is gone and nobody has in this call.
    fn answers(
        &self,
        running: &Running,
        current: &Current,
        asked: Asked<'_>,
        num_samples: usize,
        sampling: &Sampling,
        was_mended: &AtomicBool,
    ) -> Result<Vec<Generated>> {
        let id = &asked.question.sample.id;
        let server = &running.server;
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let (num_starts, asked) = {
                let _asks = running.usable.read().unwrap_or_else(PoisonError::into_inner);
                let num_starts = server.num_starts();
                (num_starts, self.once(server, current, asked, num_samples, sampling))
            };
            let failure = match asked {
                Ok(answers) => return Ok(answers),
                Err(Unread::Error(error)) => return Err(error),
                Err(Unread::Fault(Fault::Wrong(cause))) => return Err(self.unused(server, &cause)),
                Err(Unread::Failed(Failure::Refused(cause))) => {
                    return Err(anyhow!(hint!(
                        ("the engine refuses question `{id}`: {cause}"),
                        "its words say what it does not take; --engine own answers without it"
                    )));
                }
                Err(Unread::Fault(Fault::Again(cause))) => {
                    last = cause;
                    continue;
                }
                Err(Unread::Failed(failure)) => failure,
            };
            failure.cause().clone_into(&mut last);
            // A broken connection to a server that is well is tried again; a silent one is as good as gone.
            if matches!(failure, Failure::Silent(_)) || !server.is_well() {
                self.bring_back(running, current, num_starts, &failure, was_mended)?;
            }
        }
        Err(anyhow!(hint!(
            ("the engine does not answer question `{id}` in {ATTEMPTS_MAX} attempts: {last}"),
            ("its last words: {}; what was finished before is kept", server.last_words())
        )))
    }

    /// Starts a server again that was found gone after its `num_starts`th start. Nobody asks it meanwhile.
    fn bring_back(
        &self,
        running: &Running,
        current: &Current,
        num_starts: usize,
        failure: &Failure,
        was_mended: &AtomicBool,
    ) -> Result<()> {
        let _alone = running.usable.write().unwrap_or_else(PoisonError::into_inner);
        let server = &running.server;
        let again = |cause: &str| {
            anyhow!(hint!(
                ("the engine is gone for the second time: {cause}"),
                ("its last words: {}; what was finished before is kept", server.last_words())
            ))
        };
        if server.num_starts() == num_starts && was_mended.load(Ordering::Relaxed) {
            return Err(again(failure.cause()));
        }
        let words = server.last_words();
        if server.mend(num_starts, failure, &current.model.0)? {
            was_mended.store(true, Ordering::Relaxed);
            (self.say)(&format!(
                "  the engine was gone and is started again: {}; {words}",
                failure.cause()
            ));
            let restored = self.restore(server, current);
            restored.map_err(|cause| {
                if server.is_well() { self.unused(server, &cause) } else { again(&cause) }
            })?;
        }
        Ok(())
    }

    /// Tokens that the answer to `question` may have: what is asked for, as far as the model's positions reach.
    fn room(&self, question: &Question, sampling: &Sampling) -> usize {
        let left =
            self.config.layout().max_position_embeddings.saturating_sub(question.input_ids.len());
        sampling.max_new_tokens.min(left)
    }

    /// Checks that every question can be asked.
    fn check(&self, questions: &[Question], sampling: &Sampling) -> Result<()> {
        let context = self.servers.iter().map(|running| running.server.context).min().unwrap_or(0);
        for question in questions {
            let (num_tokens, id) = (question.input_ids.len(), &question.sample.id);
            let room = self.room(question, sampling);
            ensure!(
                num_tokens + room <= context,
                hint!(
                    ("the engine's context is too short: question `{id}` has {num_tokens} tokens, its \
                         answer may have {room}, and both together {context}"),
                    "raise `max_model_len` of the engine, or ask for shorter answers"
                )
            );
            ensure!(
                question.position_gap == 0,
                hint!(
                    "the engine cannot shift the positions of an answer",
                    "--engine own answers without it"
                )
            );
        }
        Ok(())
    }
}

/// Why a server's answers are not there.
enum Unread {
    Failed(Failure),
    Fault(Fault),
    /// It could not be asked.
    Error(anyhow::Error),
}

impl Engine for Served {
    fn load(&mut self, weights: &Parameters) -> Result<()> {
        self.num_loads += 1;
        let version = format!("{}-{}", self.name, self.num_loads);
        let model = self.stage(weights)?;
        let probe = self.new_probe(weights)?;
        let current = Current { model, version, adapter: None, probe };
        let before = self.current.take();
        if self.servers.is_empty() {
            self.start(&current)?;
            self.current = Some(current);
            return Ok(());
        }
        // Its folder is there until all servers have the new one.
        let Some(Current { model: _model, adapter, .. }) = before else {
            return self.swap_all(current, None);
        };
        self.swap_all(current, adapter)
    }

    fn begin(&mut self, start: &Parameters) -> Result<()> {
        // Without adapters by name every step brings all weights.
        if self.spec.max_lora_rank.is_some() { self.load(start) } else { Ok(()) }
    }

    fn load_adapted(&mut self, adapted: &Adapted<'_>) -> Result<()> {
        if self.spec.max_lora_rank.is_none() {
            return self.load(&(adapted.merged)());
        }
        let before = self.current.take();
        let before = before.context("a stage with an adapter says what it begins with")?;
        self.num_loads += 1;
        let name = format!("{}-{}", self.name, self.num_loads);
        let path = self.dir.join(format!("adapter-{}", self.num_loads));
        let folder = Folder::with(path, (adapted.files)())?;
        let probe = self.new_probe(adapted.parameters)?;
        let Current { model, version, adapter, .. } = before;
        self.swap_all(Current { model, version, adapter: Some((name, folder)), probe }, adapter)
    }

    fn apart(&self) -> Option<Apart> {
        let EngineSpec { dtype, correction, .. } = self.spec;
        Some(Apart { dtype, correction })
    }

    fn generate(
        &self,
        questions: &[Question],
        num_samples: usize,
        sampling: &Sampling,
        seed: Seed,
    ) -> Result<Vec<Vec<Generated>>> {
        let current = self.current.as_ref().explain(without_weights)?;
        self.check(questions, sampling)?;
        let asked = Asked::all(questions, num_samples, seed);
        let answers: Vec<OnceLock<Vec<Generated>>> =
            asked.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
        let was_mended: Vec<AtomicBool> =
            self.servers.iter().map(|_| AtomicBool::new(false)).collect();
        let has_failed = || failure.lock().is_ok_and(|failure| failure.is_some());
        let work = |place: usize| {
            let (running, was_mended) = (&self.servers[place], &was_mended[place]);
            while !has_failed() && !(self.stop)() {
                let k = next.fetch_add(1, Ordering::Relaxed);
                let Some(&one) = asked.get(k) else { return };
                match self.answers(running, current, one, num_samples, sampling, was_mended) {
                    Ok(found) => drop(answers[k].set(found)),
                    Err(error) => {
                        // The first is reported: others follow from it.
                        if let Ok(mut failure) = failure.lock() {
                            failure.get_or_insert(error);
                        }
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let num = self.servers.len() * self.spec.max_concurrent_questions;
            for thread in 0..num.min(asked.len()) {
                let work = &work;
                scope.spawn(move || work(thread % self.servers.len()));
            }
        });
        if let Some(error) = failure.into_inner().ok().flatten() {
            return Err(error);
        }
        let num_there = answers.iter().filter(|answers| answers.get().is_some()).count();
        ensure!(
            num_there == answers.len(),
            hint!(
                ("interrupted with answers to {num_there} of {} questions", answers.len()),
                "the same command asks these again and goes on from there"
            )
        );
        let answers = answers.into_iter().map(OnceLock::into_inner);
        let answers = answers.collect::<Option<Vec<Vec<Generated>>>>();
        answers.context("answers neither arrived nor failed")
    }
}

/// The type in which weights are given to an engine that computes in `dtype`.
fn stored(dtype: ComputeDtype) -> StoredDtype {
    match dtype {
        ComputeDtype::F32 => StoredDtype::F32,
        ComputeDtype::Bf16 => StoredDtype::Bf16,
    }
}

/// Checks that the program of `spec` is there, where the suite starts it.
fn check_program(spec: &EngineSpec) -> Result<()> {
    let Some(program) = spec.command.as_ref().and_then(|words| words.first()) else {
        return Ok(());
    };
    let is_there = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
    };
    ensure!(
        is_there,
        hint!(
            ("there is no program `{program}`, which the engine is started with"),
            "`cargo xtask engine vllm` installs vLLM in the project's folder, from which paths are meant; or name another \
             engine with --engine FILE"
        )
    );
    Ok(())
}

impl Drop for Served {
    fn drop(&mut self) {
        // Servers end before the weights that they may read are gone.
        self.servers.clear();
    }
}

#[cfg(test)]
mod fixture {
    //! The engines of the repository.

    pub(super) const VLLM: &str = include_str!("../engines/vllm.toml");
    pub(super) const SGLANG: &str = include_str!("../engines/sglang.toml");
}
