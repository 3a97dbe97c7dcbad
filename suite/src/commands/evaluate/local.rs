//! Answers of a checkpoint on disk, stored one by one as those of an endpoint are.
//!
//! Does not know benchmarks or graders. What an answer depends on is the same as for an endpoint; its revision is all
//! that computes it: the checkpoint's files, the backend, the type of numbers and the code.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_hint::hint;
use synergy_models::checkpoint::Checkpoint;
use synergy_models::generate::{Generated, Sampling};

use super::questions::SUFFIX;
use super::{Answerer, Asking};
use crate::commands::evaluate::encode::picture;
use crate::commands::evaluate::endpoint::{Ask, Cache, Drawing, Purpose, Reply, key};
use crate::device::Compute;
use crate::key::Key;
use crate::recipe::PromptSpec;
use crate::run::CODE;
use crate::run::chunks::Chunks;
use crate::run::model::{Model, files_hash};
use crate::train::engine::{Engine, Question};
use crate::train::rollout::LocalEngine;
use crate::train::sequence::Prompter;

/// Questions that are answered together, and after which Ctrl-C is heard.
const CHUNK: usize = 32;

/// Answers every question of `asking` by the checkpoint in `dir`: `[questions][samples]`.
///
/// # Errors
/// If the device does not compute in what is asked for, the checkpoint cannot be opened, a prompt is too long for it, its
/// logits are not finite, or somebody asked to stop. What was answered until then is stored.
pub(super) fn answer(asking: &Asking<'_>, dir: &Path) -> Result<(Answerer, Vec<Vec<Reply>>)> {
    let &Asking { args, asked, purpose, drawing, events, .. } = asking;
    let compute = Compute::open(&args.device, None)?;
    let dtype = args.dtype;
    compute.takes(dtype)?;
    let Model { checkpoint, parameters } = Model::open(dir, args.adapter.as_deref(), &compute)?;
    let Checkpoint { config, tokenizer, processor, generation } = checkpoint;
    let answerer = Answerer {
        id: dir
            .file_name()
            .map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned()),
        revision: files_hash(
            &[Some(dir), args.adapter.as_deref()].into_iter().flatten().collect::<Vec<_>>(),
        )?,
        backend: compute.backend(),
        dtype: Some(dtype),
    };
    let prompt = PromptSpec { suffix: SUFFIX.to_owned(), verbose_suffix: String::new() };
    let end_tokens = generation.end_tokens(&config);
    let prompter = Prompter { config, tokenizer, processor, prompt, end_tokens };
    let sampling = Sampling {
        temperature: drawing.temperature,
        top_p: drawing.top_p,
        top_k: drawing.top_k,
        ..prompter.greedy(drawing.max_new_tokens)
    };
    let mut engine = LocalEngine::new(&prompter.config, &compute, dtype);
    engine.load(&parameters)?;
    // In bf16 the engine has copies of its own.
    drop(parameters);
    let seed = Seed::root(drawing.seed).fold_in(purpose.name());
    let local =
        Local { asking, answerer: &answerer, prompter: &prompter, engine: &engine, sampling, seed };
    events.say(&format!("device {}", compute.description));
    let chunks = Chunks {
        title: answerer.id.clone(),
        doing: format!("asking `{}`", answerer.id),
        chunk_size: CHUNK,
        journal: None,
        events,
    };
    let (clock, mut num_answered) = (Instant::now(), 0);
    let asked: Vec<(&Sample, &String)> = asked.samples.iter().zip(&asked.texts).collect();
    let replies = chunks.run(
        &asked,
        |asked| local.replies(asked),
        |replies: &Vec<Vec<Reply>>| {
            num_answered += replies.len();
            format!("{:.1} questions/s", num_answered as f64 / clock.elapsed().as_secs_f64())
        },
    )?;
    Ok((answerer, replies.concat()))
}

/// Everything that the chunks of one evaluation share.
struct Local<'a> {
    asking: &'a Asking<'a>,
    answerer: &'a Answerer,
    prompter: &'a Prompter,
    engine: &'a dyn Engine,
    sampling: Sampling,
    seed: Seed,
}

impl Local<'_> {
    /// Replies to each question of a chunk: those in the cache, and for questions that lack any, new ones.
    fn replies(&self, asked: &[(&Sample, &String)]) -> Result<Vec<Vec<Reply>>> {
        let &Asking { num_samples, purpose, drawing, cache, .. } = self.asking;
        let keys = asked
            .iter()
            .map(|(sample, text)| keys(self.answerer, drawing, sample, text, num_samples, purpose))
            .collect::<Result<Vec<Vec<Key>>>>()?;
        let mut replies =
            keys.iter().map(|keys| cached(cache, keys)).collect::<Result<Vec<_>>>()?;
        let open: Vec<usize> = (0..asked.len()).filter(|&i| replies[i].is_none()).collect();
        let question = |&i: &usize| {
            let (sample, text) = asked[i];
            question(self.prompter, sample, text, drawing.max_new_tokens)
        };
        let questions = open.iter().map(question).collect::<Result<Vec<Question>>>()?;
        if !questions.is_empty() {
            let num_samples = num_samples as usize;
            let answers =
                self.engine.generate(&questions, num_samples, &self.sampling, self.seed)?;
            for (&i, answers) in open.iter().zip(&answers) {
                let new: Vec<Reply> = answers.iter().map(|answer| self.reply(answer)).collect();
                keys[i].iter().zip(&new).try_for_each(|(key, reply)| cache.put(key, reply))?;
                replies[i] = Some(new);
            }
        }
        Ok(replies.into_iter().flatten().collect())
    }

    fn reply(&self, answer: &Generated) -> Reply {
        Reply {
            text: self.prompter.tokenizer.decode(&answer.ids),
            num_tokens: Some(answer.ids.len() as u32),
            finished: answer.finished,
        }
    }
}

/// The replies under `keys`, if all of them are in the cache.
fn cached(cache: &Cache, keys: &[Key]) -> Result<Option<Vec<Reply>>> {
    keys.iter().map(|key| cache.get(key)).collect()
}

/// The keys of all answers to one question.
fn keys(
    answerer: &Answerer,
    drawing: &Drawing,
    sample: &Sample,
    text: &str,
    num_samples: u32,
    purpose: Purpose,
) -> Result<Vec<Key>> {
    let pictures = sample.images.iter().map(picture).collect::<Result<Vec<_>>>()?;
    let Answerer { id, revision, backend, dtype } = answerer;
    let revision = format!("{revision} on {backend} in {dtype:?} by {CODE}");
    let of = |k| {
        let ask = Ask { text, images: &sample.images, sample: k, purpose };
        key(id, &revision, drawing, &ask, &pictures)
    };
    Ok((0..num_samples).map(of).collect())
}

/// The question as tokens, which must leave the model room for `max_new_tokens` more.
fn question(
    prompter: &Prompter,
    sample: &Sample,
    text: &str,
    max_new_tokens: usize,
) -> Result<Question> {
    let question = Question::of_text(prompter, sample.clone(), text)?;
    let num_tokens = question.input_ids.len();
    let most = prompter.config.layout().max_position_embeddings;
    ensure!(
        num_tokens + max_new_tokens <= most,
        hint!(
            (
                "question `{}` has {num_tokens} tokens, but question and answer may have {most} together",
                sample.id
            ),
            "lower --max-new-tokens, or `max_pixels` in preprocessor_config.json"
        )
    );
    Ok(question)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::pool::drawn;
    use synergy_benchmarks::families::Split;
    use synergy_models::weights::ComputeDtype;

    #[test]
    fn the_key_of_an_answer_depends_on_files_backend_and_dtype() {
        let answerer = Answerer {
            id: "model".to_owned(),
            revision: "0".to_owned(),
            backend: "libtorch".to_owned(),
            dtype: Some(ComputeDtype::F32),
        };
        let drawing =
            Drawing { temperature: 0.0, top_p: 1.0, top_k: 0, max_new_tokens: 8, seed: 1 };
        let keys = |answerer: &Answerer| {
            let sample = drawn(1, 0, Split::Train, [1, 4]);
            keys(answerer, &drawing, &sample, "What?", 1, Purpose::Measure).unwrap()
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
