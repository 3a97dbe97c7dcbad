//! Answers of a checkpoint on disk, stored one by one as those of an endpoint are.
//!
//! Does not know benchmarks or graders. What an answer depends on is the same as for an endpoint; its revision is all
//! that computes it: the checkpoint's files, the backend, the type of numbers and the code.

use std::cell::{Ref, RefCell};
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_hint::hint;
use synergy_models::generate::{Generated, Sampling};
use synergy_models::weights::{ComputeDtype, Parameters};
use synergy_report::completion::{Obstacle, Unanswered};

use super::questions::SUFFIX;
use super::{Answerer, Asking};
use crate::commands::evaluate::ask::{Ask, Drawing, Purpose, key};
use crate::commands::evaluate::encode::{bytes, decoded};
use crate::commands::evaluate::replies::{Answer, Cache, Reply};
use crate::device::Compute;
use crate::key::Key;
use crate::limits::QUESTIONS_PER_CHUNK;
use crate::recipe::{EngineSpec, PromptSpec};
use crate::run::CODE;
use crate::run::asking::{Streak, answers, why, with_patches};
use crate::run::chunks::Chunks;
use crate::run::engines::{Engines, Turn};
use crate::run::event;
use crate::run::model::{Model, files_hash};
use crate::train::engine::Question;
use crate::train::sequence::Prompter;

/// Questions that are answered together, and after which Ctrl-C is heard.
const CHUNK: usize = 32;

/// Answers every question of `asking` by the checkpoint in `dir`, or says why not: `[questions][samples]`.
///
/// # Errors
/// If the device does not compute in what is asked for, the checkpoint cannot be opened, several questions in a row
/// cannot be asked, its logits are not finite, or somebody asked to stop. What was answered until then is stored.
pub(super) fn answer(asking: &Asking<'_>, dir: &Path) -> Result<(Answerer, Vec<Vec<Answer>>)> {
    let &Asking { args, asked, purpose, drawing, events, .. } = asking;
    let spec = args.engine.as_deref().map(EngineSpec::named).transpose()?.flatten();
    let compute = Compute::open(&args.device, None)?;
    let dtype = spec.as_ref().map_or(args.dtype, |spec| spec.dtype);
    ensure!(
        dtype == args.dtype || args.dtype == ComputeDtype::default(),
        hint!("the engine's own `dtype` holds, and --dtype is another", "leave --dtype out")
    );
    if spec.is_none() {
        compute.takes(dtype)?;
    }
    let Model { checkpoint, parameters } = Model::open(dir, args.adapter.as_deref(), &compute)?;
    let answerer = Answerer {
        id: dir
            .file_name()
            .map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned()),
        revision: files_hash(
            &[Some(dir), args.adapter.as_deref()].into_iter().flatten().collect::<Vec<_>>(),
        )?,
        backend: spec.as_ref().map_or_else(|| compute.backend(), EngineSpec::describe),
        dtype: Some(dtype),
        max_position_embeddings: Some(checkpoint.config.layout().max_position_embeddings),
        left_out: Vec::new(),
    };
    let prompt = PromptSpec { suffix: SUFFIX.to_owned(), registers: None };
    let prompter = Prompter::of(checkpoint, prompt);
    let sampling = Sampling {
        temperature: drawing.temperature,
        top_p: drawing.top_p,
        top_k: drawing.top_k,
        ..prompter.greedy(drawing.max_new_tokens)
    };
    let runs_dir = Path::new("runs");
    let engines = Engines::new(spec.as_ref(), &prompter, &compute, runs_dir, event::say)?;
    let engine = engines.engine(&prompter.config, dtype, None);
    let engine = Lazy { engine: RefCell::new(engine), weights: RefCell::new(Some(parameters)) };
    let seed = Seed::root(drawing.seed).fold_in(purpose.name());
    let local = Local {
        asking,
        answerer: &answerer,
        spec: spec.as_ref(),
        prompter: &prompter,
        engine: &engine,
        sampling: &sampling,
        seed,
    };
    if spec.is_none() {
        events.say(&format!("device {}", compute.description));
    }
    let chunks = Chunks {
        title: answerer.id.clone(),
        doing: format!("asking `{}`", answerer.id),
        chunk_size: if spec.is_some() { QUESTIONS_PER_CHUNK } else { CHUNK },
        journal: None,
        events,
    };
    let (clock, mut num_answered) = (Instant::now(), 0);
    let asked: Vec<(&Sample, &String)> = asked.samples.iter().zip(&asked.texts).collect();
    let mut streak = Streak::new(args.skip_bad);
    let answers = chunks.run(
        &asked,
        |asked| local.answers(asked, &mut streak),
        |answers: &Vec<Vec<Answer>>| {
            num_answered += answers.len();
            format!("{:.1} questions/s", num_answered as f64 / clock.elapsed().as_secs_f64())
        },
    )?;
    Ok((answerer, answers.concat()))
}

/// An engine that is given its weights when there is something to ask.
struct Lazy<'a> {
    engine: RefCell<Turn<'a>>,
    /// `None` once the engine has them: in bf16 it has copies of its own.
    weights: RefCell<Option<Parameters>>,
}

impl<'a> Lazy<'a> {
    /// The engine with its weights.
    ///
    /// # Errors
    /// If the engine does not take them.
    fn loaded(&self) -> Result<Ref<'_, Turn<'a>>> {
        if let Some(weights) = self.weights.take() {
            self.engine.borrow_mut().load(&weights)?;
        }
        Ok(self.engine.borrow())
    }
}

/// Everything that the chunks of one evaluation share.
struct Local<'a, 'e> {
    asking: &'a Asking<'a>,
    answerer: &'a Answerer,
    spec: Option<&'a EngineSpec>,
    prompter: &'a Prompter,
    engine: &'a Lazy<'e>,
    sampling: &'a Sampling,
    seed: Seed,
}

impl Local<'_, '_> {
    /// Answers to each question of a chunk: those in the cache, and for questions that lack any, new ones.
    fn answers(
        &self,
        asked: &[(&Sample, &String)],
        streak: &mut Streak,
    ) -> Result<Vec<Vec<Answer>>> {
        let &Asking { num_samples, purpose, drawing, cache, .. } = self.asking;
        // Each picture is read once, for the key and for the prompt.
        let read: Vec<Result<Vec<Vec<u8>>, Unanswered>> =
            asked.iter().map(|(sample, _)| pictures(sample)).collect();
        let keys: Vec<Result<Vec<Key>, Unanswered>> = asked
            .iter()
            .zip(&read)
            .map(|((sample, text), pictures)| {
                let pictures = pictures.as_ref().map_err(Clone::clone)?;
                let by = (self.answerer, self.spec);
                Ok(keys(by, drawing, (sample, text, pictures), num_samples, purpose))
            })
            .collect();
        let mut all = keys.iter().map(|keys| found(cache, keys)).collect::<Result<Vec<_>>>()?;
        let open: Vec<usize> = (0..asked.len()).filter(|&i| all[i].is_none()).collect();
        let question =
            |&i: &usize| self.question(asked[i], read[i].as_ref().map_err(Clone::clone)?);
        let questions = open.iter().map(question).collect();
        let Local { engine, prompter, sampling, seed, .. } = *self;
        let new = match open.is_empty() {
            true => Vec::new(),
            false => {
                let engine = engine.loaded()?;
                let num_samples = num_samples as usize;
                answers(&**engine, prompter, questions, num_samples, sampling, seed)?
            }
        };
        for (&i, answers) in open.iter().zip(new) {
            let replies: Result<Vec<Reply>, Unanswered> =
                answers.map(|answers| answers.iter().map(|answer| self.reply(answer)).collect());
            let keyed = keys[i].iter().flatten().zip(replies.iter().flatten());
            keyed.into_iter().try_for_each(|(key, reply)| cache.put(key, reply))?;
            all[i] = Some(replies.map(|replies| replies.into_iter().map(Ok).collect()));
        }
        let mut out = Vec::with_capacity(asked.len());
        for ((sample, _), answers) in asked.iter().zip(all.into_iter().flatten()) {
            streak.hear(&sample.id, answers.as_ref().err())?;
            out.push(answers.unwrap_or_else(|why| vec![Err(why); num_samples as usize]));
        }
        Ok(out)
    }

    /// The question `asked`, of whose pictures `pictures` are the files.
    fn question(
        &self,
        asked: (&Sample, &String),
        pictures: &[Vec<u8>],
    ) -> Result<Question, Unanswered> {
        let (sample, text) = asked;
        let patches = sample
            .images
            .iter()
            .zip(pictures)
            .map(|(source, bytes)| self.prompter.patches_of(source, &decoded(source, bytes)?));
        let patches = patches.collect::<Result<_>>();
        let patches = patches.map_err(|error| why(Obstacle::Picture, &error))?;
        with_patches(self.prompter, sample.clone(), text, patches)
    }

    fn reply(&self, answer: &Generated) -> Reply {
        Reply {
            text: self.prompter.tokenizer.decode(&answer.ids),
            num_tokens: Some(answer.ids.len() as u32),
            finished: answer.finished,
            left_out: Vec::new(),
        }
    }
}

/// The replies under `keys`, if all of them are in the cache, or why there are none; `None` if they are still to be made.
fn found(
    cache: &Cache,
    keys: &Result<Vec<Key>, Unanswered>,
) -> Result<Option<Result<Vec<Answer>, Unanswered>>> {
    match keys {
        Ok(keys) => {
            let replies = keys.iter().map(|key| cache.get(key)).collect::<Result<Vec<_>>>()?;
            let replies: Option<Vec<Reply>> = replies.into_iter().collect();
            Ok(replies.map(|replies| Ok(replies.into_iter().map(Ok).collect())))
        }
        Err(why) => Ok(Some(Err(why.clone()))),
    }
}

/// The files of the pictures of `sample`.
///
/// # Errors
/// Says why the question cannot be asked: a picture cannot be read.
fn pictures(sample: &Sample) -> Result<Vec<Vec<u8>>, Unanswered> {
    let pictures = sample.images.iter().map(bytes).collect::<Result<Vec<_>>>();
    pictures.map_err(|error| why(Obstacle::Picture, &error))
}

/// The keys of all answers to one question: its sample, its prompt and the files of its pictures.
fn keys(
    (answerer, spec): (&Answerer, Option<&EngineSpec>),
    drawing: &Drawing,
    question: (&Sample, &str, &[Vec<u8>]),
    num_samples: u32,
    purpose: Purpose,
) -> Vec<Key> {
    let (sample, text, pictures) = question;
    let Answerer { id, revision, backend, dtype, .. } = answerer;
    let mut revision = format!("{revision} on {backend} in {dtype:?} by {CODE}");
    if let Some(spec) = spec {
        revision += &spec.identity().to_string();
    }
    let of = |sample_number| {
        let (id_of, images) = (sample.id.as_str(), sample.images.as_slice());
        let ask = Ask { id: id_of, text, images, sample: sample_number, purpose };
        key(id, &revision, drawing, &ask, pictures)
    };
    (0..num_samples).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::pool::drawn;
    use synergy_benchmarks::families::Split;

    #[test]
    fn the_key_of_an_answer_depends_on_files_backend_and_dtype() {
        let answerer = Answerer {
            id: "model".to_owned(),
            revision: "0".to_owned(),
            backend: "libtorch".to_owned(),
            dtype: Some(ComputeDtype::F32),
            max_position_embeddings: Some(2048),
            left_out: Vec::new(),
        };
        let drawing =
            Drawing { temperature: 0.0, top_p: 1.0, top_k: 0, max_new_tokens: 8, seed: 1 };
        let keys = |answerer: &Answerer| {
            let sample = drawn(1, 0, Split::Train, [1, 4]);
            let pictures = pictures(&sample).unwrap();
            keys((answerer, None), &drawing, (&sample, "What?", &pictures), 1, Purpose::Measure)
        };
        let same = keys(&answerer);
        assert_eq!(keys(&answerer), same);
        for other in [
            Answerer { revision: "1".to_owned(), ..answerer.clone() },
            Answerer { backend: "cuda".to_owned(), ..answerer.clone() },
            Answerer { dtype: Some(ComputeDtype::Bf16), ..answerer.clone() },
        ] {
            assert_ne!(keys(&other), same, "{other:?}");
        }
    }
}
