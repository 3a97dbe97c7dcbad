//! Answers of a checkpoint on disk, kept one by one as those of an endpoint are.
//!
//! Does not know benchmarks or graders. What an answer depends on is the same as for an endpoint; its revision is all
//! that computes it: the checkpoint's files, the backend, the type of numbers and the code.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::checkpoint::Checkpoint;
use synergy_models::generate::Sampling;
use synergy_models::vlm::Vlm;
use synergy_models::weights::ComputeDtype;

use super::questions::SUFFIX;
use super::{Answerer, Asking};
use crate::commands::evaluate::encode::picture;
use crate::commands::evaluate::endpoint::{Ask, Drawing, Purpose, Reply, key};
use crate::device::Compute;
use crate::key::Key;
use crate::recipe::{PromptSpec, TrainingSpec};
use crate::run::CODE;
use crate::run::event::interrupted;
use crate::run::model::{Model, files_hash};
use crate::train::Context;
use crate::train::rollout::{Question, rollouts};
use crate::train::sequence::Prompter;

/// Questions between two looks at Ctrl-C.
const CHUNK: usize = 32;

/// Every answer to every question, `[questions][samples]`.
///
/// # Errors
/// If the device does not compute in what is asked for, the checkpoint cannot be opened, a prompt is too long for it, its logits are not finite, or somebody asked to
/// stop. What was answered until then is kept.
pub(super) fn answer(asking: &Asking<'_>, dir: &Path) -> Result<(Answerer, Vec<Vec<Reply>>)> {
    let &Asking { args, asked, num_samples, purpose, drawing, cache, events } = asking;
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
        backend: compute.name.clone(),
        dtype: Some(dtype),
    };
    let sampling = Sampling {
        temperature: drawing.temperature,
        top_p: drawing.top_p,
        top_k: drawing.top_k,
        eos_token_id: generation.eos_token_id.clone(),
        ..Sampling::greedy(drawing.max_new_tokens, config.eos_token_id)
    };
    let prompt = PromptSpec { suffix: SUFFIX.to_owned(), verbose_suffix: String::new() };
    let prompter = Prompter { config, tokenizer, processor, prompt };
    let model = Vlm::computing(&prompter.config, &parameters, dtype);
    // In bf16 the model has copies of its own.
    drop(parameters);
    let training = TrainingSpec::none();
    let context = Context::new(&prompter, &compute, &training);
    let seed = Seed::root(drawing.seed).fold_in(purpose.name());
    events.say(&format!("device {}", compute.told));
    let clock = Instant::now();
    let mut bar = events.bar(&answerer.id, asked.samples.len(), 0);
    let mut all = Vec::with_capacity(asked.samples.len());
    for (samples, texts) in asked.samples.chunks(CHUNK).zip(asked.texts.chunks(CHUNK)) {
        let keys = samples
            .iter()
            .zip(texts)
            .map(|(sample, text)| keys(&answerer, drawing, sample, text, num_samples, purpose))
            .collect::<Result<Vec<Vec<Key>>>>()?;
        let mut kept = keys
            .iter()
            .map(|keys| {
                keys.iter().map(|key| cache.get(key)).collect::<Result<Option<Vec<Reply>>>>()
            })
            .collect::<Result<Vec<Option<Vec<Reply>>>>>()?;
        let open: Vec<usize> = (0..samples.len()).filter(|&i| kept[i].is_none()).collect();
        let questions = open
            .iter()
            .map(|&i| question(&prompter, &samples[i], &texts[i], drawing.max_new_tokens))
            .collect::<Result<Vec<Question>>>()?;
        if !questions.is_empty() {
            let generated =
                rollouts(&model, &context, &questions, num_samples as usize, &sampling, seed)?;
            for (&i, generated) in open.iter().zip(generated) {
                let reply = |g: synergy_models::generate::Generated| Reply {
                    text: prompter.tokenizer.decode(&g.ids),
                    num_tokens: Some(g.ids.len() as u32),
                    finished: g.finished,
                };
                let replies: Vec<Reply> = generated.into_iter().map(reply).collect();
                for (key, reply) in keys[i].iter().zip(&replies) {
                    cache.put(key, reply)?;
                }
                kept[i] = Some(replies);
            }
        }
        all.extend(kept.into_iter().flatten());
        let rate = all.len() as f64 / clock.elapsed().as_secs_f64();
        bar.at(all.len(), format!("{rate:.1} questions/s"));
        if interrupted() {
            bail!(
                "interrupted with {} of {} questions answered\nhint: the same command goes on from there",
                all.len(),
                asked.samples.len()
            );
        }
    }
    bar.finish(&format!("{} questions answered", all.len()));
    Ok((answerer, all))
}

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

fn question(
    prompter: &Prompter,
    sample: &Sample,
    text: &str,
    max_new_tokens: usize,
) -> Result<Question> {
    let question = Question::of_text(prompter, sample.clone(), text)?;
    let num_tokens = question.input_ids.len();
    let most = prompter.config.max_position_embeddings;
    ensure!(
        num_tokens + max_new_tokens <= most,
        "question `{}` has {num_tokens} tokens, the model takes {most} with its answer\n\
         hint: lower --max-new-tokens, or `max_pixels` in preprocessor_config.json",
        sample.id
    );
    Ok(question)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::pool::drawn;
    use synergy_benchmarks::families::Split;

    #[test]
    fn an_answer_hangs_on_files_backend_and_dtype() {
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
