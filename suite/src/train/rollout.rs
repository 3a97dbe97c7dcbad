//! Generation in this process: the first [`Engine`].
//!
//! Does not know text. Questions are cut into fixed shards, and a shard into as many chunks as the device's memory asks
//! for; each answer draws from a stream named after its question, so neither shards, chunks nor threads change a token.

use std::ops::Range;

use anyhow::{Result, ensure};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_hint::{Explain as _, hint};
use synergy_models::generate::{Generated, Prompt, Sampling, generate, memory_bytes};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_models::weights::{ComputeDtype, Parameters};

use crate::device::Compute;
use crate::limits::{SHARD_ROWS, SHARDS_MIN};
use crate::ranks::Ranks;
use crate::train::engine::{Asked, Engine, Question, without_weights};
use crate::train::features::{FeatureCache, picture_features};

/// Generates in this process, on one device.
#[derive(Debug)]
pub struct LocalEngine<'a> {
    config: &'a VlmConfig,
    compute: &'a Compute,
    dtype: ComputeDtype,
    features: Option<&'a FeatureCache>,
    /// The processes that share the questions.
    ranks: Ranks,
    model: Option<Vlm>,
}

impl<'a> LocalEngine<'a> {
    /// An engine without weights for models of `config`, which computes in `dtype`, alone.
    pub fn new(
        config: &'a VlmConfig,
        compute: &'a Compute,
        dtype: ComputeDtype,
    ) -> LocalEngine<'a> {
        let ranks = Ranks::default();
        LocalEngine { config, compute, dtype, features: None, ranks, model: None }
    }

    /// Gives the engine a cache of picture features, which is valid for weights whose vision tower is the cache's.
    #[must_use]
    pub fn with_features(self, features: Option<&'a FeatureCache>) -> LocalEngine<'a> {
        LocalEngine { features, ..self }
    }

    /// Shares the questions with the other processes of its device's ranks, which all make the same calls.
    #[must_use]
    pub fn together(self) -> LocalEngine<'a> {
        LocalEngine { ranks: self.compute.ranks.clone(), ..self }
    }
}

impl Engine for LocalEngine<'_> {
    fn load(&mut self, weights: &Parameters) -> Result<()> {
        self.model = Some(Vlm::computing(self.config, weights, self.dtype).prepared());
        Ok(())
    }

    fn unload(&mut self) {
        self.model = None;
    }

    fn generate(
        &self,
        questions: &[Question],
        num_samples: usize,
        sampling: &Sampling,
        seed: Seed,
    ) -> Result<Vec<Vec<Generated>>> {
        let model = self.model.as_ref().explain(without_weights)?;
        let memory_bytes = self.compute.memory_bytes;
        let asking = Asking { model, features: self.features, memory_bytes, num_samples, sampling };
        let asked = Asked::all(questions, num_samples, seed);
        // Questions are dealt out in turn: neighbors are of one kind, and shards should end together.
        let num_rows = questions.len() * num_samples;
        let num_shards = num_rows.div_ceil(SHARD_ROWS).max(SHARDS_MIN).min(questions.len());
        let shards: Vec<Vec<usize>> =
            (0..num_shards).map(|k| (k..questions.len()).step_by(num_shards).collect()).collect();
        let parts = self.compute.map_among(&self.ranks, &shards, |_, members| {
            let members: Vec<Asked<'_>> = members.iter().map(|&i| asked[i]).collect();
            asking.shard(&members)
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
            hint!(
                "the model's logits are not finite",
                "its weights have diverged; lower the learning rate"
            )
        );
        Ok(out)
    }
}

/// Everything that the shards of one call share.
struct Asking<'a> {
    model: &'a Vlm,
    features: Option<&'a FeatureCache>,
    memory_bytes: usize,
    num_samples: usize,
    sampling: &'a Sampling,
}

impl Asking<'_> {
    /// Answers of one shard, `[questions][samples]`, in chunks that fit into the device's memory.
    fn shard(&self, asked: &[Asked<'_>]) -> Vec<Vec<Generated>> {
        let Asking { model, num_samples, .. } = *self;
        let questions: Vec<&Question> = asked.iter().map(|asked| asked.question).collect();
        let bytes = |members: Range<usize>, num_samples| {
            let prompts = prompts(model, &questions[members]);
            let max_new_tokens = self.sampling.max_new_tokens;
            memory_bytes(&model.config, model.dtype(), &prompts, num_samples, max_new_tokens)
        };
        let mut out = vec![Vec::new(); questions.len()];
        for cut in chunks(questions.len(), num_samples, self.memory_bytes, bytes) {
            let part = self.chunk(&asked[cut.questions.clone()], cut.samples);
            for (all, generated) in out[cut.questions].iter_mut().zip(part) {
                all.extend(generated);
            }
        }
        out
    }

    /// The answers of these numbers to each of the questions.
    fn chunk(&self, asked: &[Asked<'_>], samples: Range<usize>) -> Vec<Vec<Generated>> {
        let questions: Vec<&Question> = asked.iter().map(|asked| asked.question).collect();
        let pictures: Vec<_> = questions
            .iter()
            .flat_map(|q| q.patches.iter().map(|p| (p.values.as_slice(), p.grid)))
            .collect();
        let features = picture_features(self.model, self.features, &pictures);
        let stream = |prompt: usize, sample: usize| {
            let Asked { seed, first, .. } = asked[prompt];
            seed.at(first + (samples.start + sample) as u64).rng()
        };
        let prompts = prompts(self.model, &questions);
        generate(self.model, &prompts, features.as_ref(), samples.len(), self.sampling, &stream)
    }
}

/// Rows that are generated at once: these samples of each of these questions.
#[derive(Debug, Clone, PartialEq)]
struct Chunk {
    questions: Range<usize>,
    samples: Range<usize>,
}

/// Cuts all rows, in order, into chunks: as many questions at once as fit into `budget` bytes, or as many samples of a
/// question that does not fit as a whole, and at least one row. `bytes` gives the memory of a number of samples of each
/// of some questions.
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

/// Prompts of `questions`, whose features stand one after the other in one tensor.
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

/// Gives the sample at `place` the pictures of the next sample of its benchmark that has as many, which leaves accuracy
/// at chance given the text. A sample keeps its own pictures where no other has as many.
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
    use crate::run::base::Base;
    use crate::train::fixture::{base, compute, question};
    use proptest::prelude::*;
    use synergy_models::qwen2_5_vl::config::Preset;

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

    fn asked(preset: Preset, compute: &Compute) -> (Base, Vec<Question>) {
        let base = base(preset, 0.3, compute);
        let questions = (0..5).map(|i| question(&base.prompter, i, [1, 15])).collect();
        (base, questions)
    }

    /// Answers with one of `parts` of the memory that all rows of the larger shard take.
    fn answers(compute: &mut Compute, is_plain: bool, parts: usize) -> Vec<Vec<Generated>> {
        let (base, questions) = asked(Preset::Nano, compute);
        let config = &base.prompter.config;
        let model = Vlm::new(config, &base.parameters);
        let model = if is_plain { model.plain() } else { model };
        // Of two tokens: a random model likes all its tokens alike, and among hundreds of them a draw lies on the edge
        // between two now and then, where products that are summed in another order decide.
        let greedy = Sampling::greedy(24, base.prompter.tokenizer.ids.eos);
        let sampling = Sampling { temperature: 1.0, top_k: 2, ..greedy };
        let members: Vec<&Question> = questions.iter().step_by(2).collect();
        let prompts = prompts(&model, &members);
        compute.memory_bytes = memory_bytes(&model.config, model.dtype(), &prompts, 4, 24) / parts;
        let engine = LocalEngine {
            model: Some(model),
            ..LocalEngine::new(config, compute, ComputeDtype::F32)
        };
        engine.generate(&questions, 4, &sampling, Seed::root(3)).unwrap()
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
    fn a_question_that_is_asked_twice_is_answered_twice() {
        let compute = Compute::open("flex", Some(2)).unwrap();
        let (base, questions) = asked(Preset::Nano, &compute);
        let mut engine = LocalEngine::new(&base.prompter.config, &compute, ComputeDtype::F32);
        engine.load(&base.parameters).unwrap();
        let sampling = Sampling { temperature: 1.0, ..base.prompter.greedy(24) };
        let ask = |questions: &[&Question], num_samples| -> Vec<Vec<Vec<u32>>> {
            let questions: Vec<Question> = questions.iter().map(|&q| q.clone()).collect();
            let answers = engine.generate(&questions, num_samples, &sampling, Seed::root(1));
            let ids = |g: Generated| g.ids;
            answers.unwrap().into_iter().map(|a| a.into_iter().map(ids).collect()).collect()
        };
        let [a, b] = [&questions[0], &questions[1]];
        // What others are asked, and in which order, changes nothing.
        let [once, other] = [a, b].map(|question| ask(&[question], 2).concat());
        let again = ask(&[b, a, b], 2);
        assert_eq!((&again[0], &again[1]), (&other, &once));
        assert!(again[2].iter().all(|answer| !other.contains(answer)), "{again:?}");
        // All of a question's answers are of one list, however they are asked for.
        assert_eq!([again[0].as_slice(), &again[2]].concat(), ask(&[b], 4).concat());
    }

    /// Three shards, of which the last is smaller.
    #[test]
    fn any_number_of_threads_gives_the_same_answers() {
        let base = base(Preset::Nano, 0.3, &compute());
        let questions: Vec<Question> =
            (0..40).map(|i| question(&base.prompter, i, [1, 15])).collect();
        let sampling = Sampling { temperature: 1.0, ..base.prompter.greedy(12) };
        let answers = |num_threads| {
            let compute = Compute::open("flex", Some(num_threads)).unwrap();
            let mut engine = LocalEngine::new(&base.prompter.config, &compute, ComputeDtype::F32);
            engine.load(&base.parameters).unwrap();
            engine.generate(&questions, 8, &sampling, Seed::root(1)).unwrap()
        };
        let one = answers(1);
        for num_threads in [2, 4, 8] {
            // Log-probabilities to the bit, too.
            assert!(answers(num_threads) == one, "{num_threads} threads");
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
        let compute = compute();
        let (base, questions) = asked(Preset::Small, &compute);
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
