//! Model and questions to completions; the same rollouts serve training.
//!
//! Does not judge. Questions are cut into fixed shards, and a shard into as many chunks as the device's memory asks
//! for; each sample draws from a stream named after its question, so neither shards, chunks nor threads change a token.

use std::ops::Range;

use anyhow::{Result, ensure};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::{Generated, Prompt, Sampling, generate, memory_bytes};
use synergy_models::image::Patches;
use synergy_models::vlm::Vlm;
use synergy_report::completion::Completion;

use crate::limits::{SHARD_ROWS, SHARDS_MIN};
use crate::train::features::FeatureCache;
use crate::train::sequence::Prompter;
use crate::train::{Context, matrix};

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
        shard(model, context, &questions, num_samples, sampling, seed)
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

/// `[questions][samples]`, in chunks that fit into the device's memory.
fn shard(
    model: &Vlm,
    context: &Context<'_>,
    questions: &[&Question],
    num_samples: usize,
    sampling: &Sampling,
    seed: Seed,
) -> Vec<Vec<Generated>> {
    let bytes = |members: Range<usize>, num_samples| {
        let prompts = prompts(model, &questions[members]);
        memory_bytes(&model.config, model.dtype(), &prompts, num_samples, sampling.max_new_tokens)
    };
    let mut out = vec![Vec::new(); questions.len()];
    for cut in chunks(questions.len(), num_samples, context.compute.memory_bytes, bytes) {
        let asked = &questions[cut.questions.clone()];
        let part = chunk(model, context.features, asked, cut.samples, sampling, seed);
        for (all, generated) in out[cut.questions].iter_mut().zip(part) {
            all.extend(generated);
        }
    }
    out
}

/// Rows that are generated at once: these samples of each of these questions.
#[derive(Debug, Clone, PartialEq)]
struct Chunk {
    questions: Range<usize>,
    samples: Range<usize>,
}

/// All rows in order: as many questions at once as fit into `budget`, or as many samples of one that does not fit,
/// and one row at least. `bytes` says what so many samples of each of some questions take.
fn chunks(
    num_questions: usize,
    num_samples: usize,
    budget: usize,
    bytes: impl Fn(Range<usize>, usize) -> usize,
) -> Vec<Chunk> {
    let mut out = Vec::new();
    let mut start = 0;
    while start < num_questions {
        let fits = |&end: &usize| bytes(start..end, num_samples) <= budget;
        let whole = (start + 1..=num_questions).take_while(fits).last();
        let end = whole.unwrap_or(start + 1);
        let at_once = match whole {
            Some(_) => num_samples,
            None => (1..num_samples).rev().find(|&n| bytes(start..end, n) <= budget).unwrap_or(1),
        };
        out.extend((0..num_samples).step_by(at_once.max(1)).map(|first| Chunk {
            questions: start..end,
            samples: first..num_samples.min(first + at_once),
        }));
        start = end;
    }
    out
}

/// Of each question these samples.
fn chunk(
    model: &Vlm,
    features: Option<&FeatureCache>,
    questions: &[&Question],
    samples: Range<usize>,
    sampling: &Sampling,
    seed: Seed,
) -> Vec<Vec<Generated>> {
    let pictures: Vec<_> = questions
        .iter()
        .flat_map(|q| q.patches.iter().map(|p| (p.values.as_slice(), p.grid)))
        .collect();
    let features = (!pictures.is_empty()).then(|| match features {
        Some(kept) => {
            let values = kept.features(model, &pictures);
            matrix(values, model.layout.decoder.hidden_size, &model.device())
        }
        None => model.image_features(&pictures),
    });
    let stream = |prompt: usize, sample: usize| {
        seed.fold_in(&questions[prompt].sample.id).at((samples.start + sample) as u64).rng()
    };
    let prompts = prompts(model, questions);
    generate(model, &prompts, features.as_ref(), samples.len(), sampling, &stream)
}

/// Prompts whose features stand one after the other.
fn prompts(model: &Vlm, questions: &[&Question]) -> Vec<Prompt> {
    let merge = model.layout.merge_size;
    let mut feature_start = 0;
    let prompt = |question: &&Question| {
        let grids: Vec<_> = question.patches.iter().map(|p| p.grid).collect();
        let start = feature_start;
        feature_start += grids.iter().map(|g| g.num_tokens(merge)).sum::<usize>();
        Prompt {
            input_ids: question.input_ids.clone(),
            grids,
            videos: Vec::new(),
            feature_start: start,
            position_gap: question.position_gap,
        }
    };
    questions.iter().map(prompt).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Compute;
    use crate::recipe::{PromptSpec, TrainingSpec};
    use crate::run::base::Base;
    use crate::train::pool::drawn;
    use proptest::prelude::*;
    use synergy_benchmarks::families::Split;
    use synergy_models::config::Preset;

    /// A budget, and what a question's rows take: each a width, padded to the widest.
    fn cut(widths: &[usize], num_samples: usize, budget: usize) -> Vec<Chunk> {
        chunks(widths.len(), num_samples, budget, |q, n| taken(widths, q, n))
    }

    fn taken(widths: &[usize], questions: Range<usize>, num_samples: usize) -> usize {
        questions.len() * num_samples * widths[questions].iter().max().unwrap()
    }

    #[test]
    fn questions_stay_together_while_they_fit_and_one_that_does_not_is_split() {
        let chunk = |questions, samples| Chunk { questions, samples };
        assert_eq!(cut(&[5, 5, 5], 4, 60), [chunk(0..3, 0..4)]);
        assert_eq!(cut(&[5, 5, 5], 4, 59), [chunk(0..2, 0..4), chunk(2..3, 0..4)]);
        assert_eq!(
            cut(&[5, 16, 5], 4, 48),
            [chunk(0..1, 0..4), chunk(1..2, 0..3), chunk(1..2, 3..4), chunk(2..3, 0..4)]
        );
        assert_eq!(cut(&[5], 2, 0), [chunk(0..1, 0..1), chunk(0..1, 1..2)]);
        assert_eq!(cut(&[], 2, 10), []);
    }

    proptest! {
        #[test]
        fn every_row_is_generated_once_in_order_within_the_budget_or_alone(
            widths in prop::collection::vec(1..50_usize, 0..12), num_samples in 1..9_usize, budget in 0..2000_usize,
        ) {
            let chunks = cut(&widths, num_samples, budget);
            let mut rows = Vec::new();
            for Chunk { questions, samples } in &chunks {
                rows.extend(questions.clone().flat_map(|q| samples.clone().map(move |s| (q, s))));
                let is_one = questions.len() == 1 && samples.len() == 1;
                prop_assert!(is_one || taken(&widths, questions.clone(), samples.len()) <= budget);
            }
            let all = (0..widths.len()).flat_map(|q| (0..num_samples).map(move |s| (q, s)));
            prop_assert_eq!(rows, all.collect::<Vec<_>>());
        }
    }

    fn base(preset: Preset, compute: &Compute) -> (Base, Vec<Question>) {
        let prompt = PromptSpec { suffix: "Box it.".into(), verbose_suffix: "Aloud.".into() };
        let base = Base::fresh(preset, 400, 0.3, &prompt, 1, compute).unwrap();
        let question = |i| {
            let sample = drawn(1, i, Split::Train, [1, 15]);
            Question::new(&base.prompter, sample, true).unwrap()
        };
        let questions = (0..5).map(question).collect();
        (base, questions)
    }

    /// What is answered with `part` of the memory that all rows of the larger shard take.
    fn answers(compute: &mut Compute, is_plain: bool, parts: usize) -> Vec<Vec<Generated>> {
        let (base, questions) = base(Preset::Nano, compute);
        let prompter = &base.prompter;
        let model = Vlm::new(&prompter.config, &base.parameters);
        let model = if is_plain { model.plain() } else { model };
        let sampling =
            Sampling { temperature: 1.0, ..Sampling::greedy(24, prompter.tokenizer.ids.eos) };
        let members: Vec<&Question> = questions.iter().step_by(2).collect();
        let prompts = prompts(&model, &members);
        compute.memory_bytes = memory_bytes(&model.config, model.dtype(), &prompts, 4, 24) / parts;
        let training = TrainingSpec::none();
        let context = Context::new(prompter, compute, &training);
        rollouts(&model, &context, &questions, 4, &sampling, Seed::root(1)).unwrap()
    }

    fn chunks_change_nothing(device: &str, is_plain: bool) {
        let mut compute = Compute::open(device, Some(2)).unwrap();
        let ids = |answers: Vec<Vec<Generated>>| -> Vec<Vec<(Vec<u32>, bool)>> {
            let of = |g: Generated| (g.ids, g.finished);
            answers.into_iter().map(|samples| samples.into_iter().map(of).collect()).collect()
        };
        let together = ids(answers(&mut compute, is_plain, 1));
        assert!(together.iter().all(|samples| samples.len() == 4 && samples[0] != samples[1]));
        // Questions apart, a question's samples apart, every row alone.
        for parts in [2, 6, 1000] {
            assert_eq!(ids(answers(&mut compute, is_plain, parts)), together, "{parts} parts");
        }
    }

    #[test]
    fn a_device_with_little_memory_gives_the_same_answers() {
        chunks_change_nothing("flex", false);
    }

    #[test]
    fn the_plain_form_with_little_memory_gives_the_same_answers() {
        chunks_change_nothing("flex", true);
    }

    #[cfg(feature = "libtorch")]
    #[test]
    fn libtorch_with_little_memory_gives_the_same_answers() {
        chunks_change_nothing("libtorch", false);
    }

    /// What is recorded was generated in whole shards.
    #[test]
    fn shards_of_the_kept_recipes_are_not_cut_on_the_host() {
        let compute = Compute::open("flex", Some(1)).unwrap();
        let (base, questions) = base(Preset::Small, &compute);
        let model = Vlm::new(&base.prompter.config, &base.parameters);
        for num_samples in [1, 4, 8, 16] {
            let num_questions = SHARD_ROWS.div_ceil(num_samples) + 1;
            let members: Vec<&Question> = questions.iter().cycle().take(num_questions).collect();
            let prompts = prompts(&model, &members);
            let bytes = memory_bytes(&model.config, model.dtype(), &prompts, num_samples, 448);
            assert!(2 * bytes < compute.memory_bytes, "{num_samples} samples: {bytes} bytes");
        }
    }
}
