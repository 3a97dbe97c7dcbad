//! Model and questions to completions; the same rollouts serve training.
//!
//! Does not judge. Questions are cut into fixed shards; each sample draws from a stream named after
//! its question, so neither shards nor threads change a token.

use anyhow::{Result, ensure};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Prompt, Sampling, generate};
use synergy_models::image::Patches;
use synergy_models::vlm::Vlm;

use crate::completion::Completion;
use crate::data::Prompter;
use crate::features::FeatureCache;
use crate::train::{Context, matrix};

/// Rows of one shard, about: twice what it generates at once.
pub(crate) const SHARD_ROWS: usize = 128;
/// Shards at least, so that two threads share even little work.
pub(crate) const SHARDS_MIN: usize = 2;

/// A sample ready to be asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub sample: Sample,
    pub input_ids: Vec<u32>,
    pub patches: Vec<Patches>,
    /// As in [`Prompt::position_gap`].
    pub position_gap: u32,
}

impl Question {
    /// Renders pictures and prompt, with the study's instruction if `template`.
    ///
    /// # Errors
    /// If a picture cannot be read or the chat template fails.
    pub fn new(prompter: &Prompter, sample: Sample, template: bool) -> Result<Question> {
        let text = prompter.text(&sample, template);
        Question::of_text(prompter, sample, &text)
    }

    /// The same with the user's turn given.
    ///
    /// # Errors
    /// See [`Question::new`].
    pub fn of_text(prompter: &Prompter, sample: Sample, text: &str) -> Result<Question> {
        let patches = prompter.patches(&sample)?;
        let input_ids = prompter.prompt_ids(text, &patches)?;
        Ok(Question { sample, input_ids, patches, position_gap: 0 })
    }
}

/// `num_samples` continuations of each question: `[questions][samples]`.
///
/// # Errors
/// If the model's logits are not finite.
pub fn rollouts(
    model: &Vlm,
    context: &Context<'_>,
    questions: &[Question],
    num_samples: usize,
    sampling: &Sampling,
    seed: Seed,
) -> Result<Vec<Vec<Generated>>> {
    // Questions are dealt out in turn: neighbors are of one kind, and shards should end together.
    let num_rows = questions.len() * num_samples;
    let num_shards = num_rows.div_ceil(SHARD_ROWS).max(SHARDS_MIN).min(questions.len());
    let shards: Vec<Vec<usize>> =
        (0..num_shards).map(|k| (k..questions.len()).step_by(num_shards).collect()).collect();
    let parts = context.compute.map(&shards, |_, members| {
        let questions: Vec<&Question> = members.iter().map(|&i| &questions[i]).collect();
        shard(model, context.features, &questions, num_samples, sampling, seed)
    });
    let mut out = vec![Vec::new(); questions.len()];
    for (members, part) in shards.iter().zip(parts) {
        for (&i, generated) in members.iter().zip(part) {
            out[i] = generated;
        }
    }
    let is_finite = |g: &Generated| g.log_probs.iter().all(|x| x.is_finite());
    ensure!(
        out.iter().flatten().all(is_finite),
        "the model's logits are not finite\nhint: its weights have diverged; lower the learning rate"
    );
    Ok(out)
}

fn shard(
    model: &Vlm,
    features: Option<&FeatureCache>,
    questions: &[&Question],
    num_samples: usize,
    sampling: &Sampling,
    seed: Seed,
) -> Vec<Vec<Generated>> {
    let merge = model.config.vision_config.spatial_merge_size;
    let pictures: Vec<_> = questions
        .iter()
        .flat_map(|q| q.patches.iter().map(|p| (p.values.as_slice(), p.grid)))
        .collect();
    let features = (!pictures.is_empty()).then(|| match features {
        Some(kept) => {
            let values = kept.features(model, &pictures);
            matrix(values, model.config.hidden_size, &model.device())
        }
        None => model.image_features(&pictures),
    });
    let mut feature_start = 0;
    let prompts: Vec<Prompt> = questions
        .iter()
        .map(|q| {
            let grids: Vec<_> = q.patches.iter().map(|p| p.grid).collect();
            let start = feature_start;
            feature_start += grids.iter().map(|g| g.num_tokens(merge)).sum::<usize>();
            Prompt {
                input_ids: q.input_ids.clone(),
                grids,
                videos: Vec::new(),
                feature_start: start,
                position_gap: q.position_gap,
            }
        })
        .collect();
    let stream = |prompt: usize, sample: usize| {
        seed.fold_in(&questions[prompt].sample.id).at(sample as u64).rng()
    };
    generate(model, &prompts, features.as_ref(), num_samples, sampling, &stream)
}

/// Completions of `questions` in order, samples of a question together.
///
/// # Errors
/// See [`rollouts`].
pub fn evaluate(
    model: &Vlm,
    context: &Context<'_>,
    questions: &[Question],
    num_samples: usize,
    sampling: &Sampling,
    seed: Seed,
) -> Result<Vec<Completion>> {
    let generated = rollouts(model, context, questions, num_samples, sampling, seed)?;
    let mut out = Vec::with_capacity(questions.len() * num_samples);
    for (question, samples) in questions.iter().zip(generated) {
        for (k, g) in samples.into_iter().enumerate() {
            let (text, num_tokens) = (context.prompter.tokenizer.decode(&g.ids), g.ids.len());
            let completion =
                Completion::new(&question.sample, k as u32, text, num_tokens as u32, g.finished);
            out.push(completion);
        }
    }
    Ok(out)
}

/// The sample with the pictures of the next one in `samples` of its benchmark that has as many: chance given the text.
/// Its own where no other has.
pub fn with_another_picture(samples: &[Sample], place: usize) -> Sample {
    let sample = &samples[place];
    let alike = |other: &&Sample| {
        other.benchmark == sample.benchmark
            && other.id != sample.id
            && other.images.len() == sample.images.len()
    };
    let donor = samples[place + 1..].iter().chain(&samples[..place]).find(alike).unwrap_or(sample);
    Sample { images: donor.images.clone(), ..sample.clone() }
}
