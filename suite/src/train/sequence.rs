//! Samples to token sequences: prompts, registers, conversations, micro-batches.
//!
//! Does not know losses. Everything is on the host, so that it can be made ahead on another thread.

use std::cmp::Reverse;

use anyhow::{Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use synergy_benchmarks::families::{Family, MAX_HOPS, NUM_CELLS, Split};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_models::checkpoint::token_ids;
use synergy_models::config::VlmConfig;
use synergy_models::image::{Patches, ProcessorConfig};
use synergy_models::rope::{Position, rope_index};
use synergy_models::tokenizer::{Message, Tokenizer};
use synergy_models::vlm::TokenBatch;

use crate::recipe::{Drawn, FAMILIES, PromptSpec};
use crate::train::prompt::prompt;

/// Turns text and pictures into what the model takes.
#[derive(Debug)]
pub struct Prompter {
    pub config: VlmConfig,
    pub tokenizer: Tokenizer,
    pub processor: ProcessorConfig,
    pub prompt: PromptSpec,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    Read,
    Direct,
    Terse,
    Verbose,
}

/// One sequence with what it is trained on.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub input_ids: Vec<u32>,
    pub positions: Vec<Position>,
    /// As in [`TokenBatch::segments`]; empty for plain causal.
    pub segments: Vec<u32>,
    pub patches: Vec<Patches>,
    /// (index whose hidden state predicts, id that it should predict).
    pub predictions: Vec<(usize, u32)>,
}

impl Sequence {
    /// Leaves at most `max_length` tokens: what lies beyond is neither seen nor predicted. One of whose question not all
    /// fits is left as it is and predicts nothing.
    pub fn truncate(&mut self, max_length: usize) {
        self.predictions.retain(|(at, _)| at + 1 < max_length);
        if !self.predictions.is_empty() {
            self.input_ids.truncate(max_length);
            self.positions.truncate(max_length);
            self.segments.truncate(max_length);
        }
    }
}

impl Prompter {
    /// The question as it is put to a model: with the study's instruction or without.
    pub fn text(&self, sample: &Sample, template: bool) -> String {
        prompt(sample, template.then_some(&self.prompt.suffix))
    }

    /// Ids of a first turn about pictures, which stand where `text` has their marks or before it, with the model's turn
    /// opened.
    ///
    /// # Errors
    /// If the chat template fails, or the marks are not as many as the pictures.
    pub fn prompt_ids(&self, text: &str, patches: &[Patches]) -> Result<Vec<u32>> {
        let message = Message::user_marked(patches.len(), text)?;
        let rendered = self.tokenizer.render(&[message], true)?;
        token_ids(&self.tokenizer, &self.config, &rendered, patches)
    }

    /// Patches of a sample's pictures.
    ///
    /// # Errors
    /// If a picture cannot be read.
    pub fn patches(&self, sample: &Sample) -> Result<Vec<Patches>> {
        sample.load_images()?.iter().map(|picture| self.processor.patches(picture)).collect()
    }

    /// The answer of `register` to a question with these traces.
    pub fn answer(register: Register, terse: &str, verbose: &str, answer: &str) -> String {
        match register {
            Register::Read => terse.to_owned(),
            Register::Direct => format!("\\boxed{{{answer}}}"),
            Register::Terse => Prompter::reasoned(terse, answer),
            Register::Verbose => Prompter::reasoned(verbose, answer),
        }
    }

    /// An answer behind its trace, in the study's form.
    pub fn reasoned(trace: &str, answer: &str) -> String {
        format!("<think> {}</think>\\boxed{{{answer}}}", trace.trim())
    }

    /// A conversation: each turn is (user text, model text); positions jump before each answer by
    /// 0 to `gap_max`.
    ///
    /// # Errors
    /// If the chat template fails, or the pictures in it are not those of `patches`.
    pub fn conversation(
        &self,
        turns: &[(String, String)],
        patches: Vec<Patches>,
        gap_max: u32,
        rng: &mut ChaCha8Rng,
    ) -> Result<Sequence> {
        let mut ids: Vec<u32> = Vec::new();
        let mut starts = Vec::new();
        let mut predictions = Vec::new();
        for (i, (user, model)) in turns.iter().enumerate() {
            let prompt = if i == 0 {
                self.prompt_ids(user, &patches)?
            } else {
                self.tokenizer.encode(&format!(
                    "\n{}",
                    self.tokenizer.render(&[Message::user(0, user)], true)?
                ))
            };
            ids.extend(prompt);
            starts.push(ids.len());
            let mut answer = self.tokenizer.encode(model);
            answer.push(self.tokenizer.ids.eos);
            predictions.extend(answer.iter().enumerate().map(|(k, &id)| (ids.len() + k - 1, id)));
            ids.extend(answer);
        }
        let grids: Vec<_> = patches.iter().map(|p| p.grid).collect();
        let mut positions = rope_index(&ids, &grids, &self.config)?;
        for start in starts {
            let gap = if rng.random_bool(0.5) { 0 } else { rng.random_range(0..=gap_max) };
            for position in &mut positions[start..] {
                position.iter_mut().for_each(|p| *p += gap);
            }
        }
        Ok(Sequence { input_ids: ids, positions, segments: Vec::new(), patches, predictions })
    }
}

/// Texts to train a tokenizer on: every register of every family, from the pretrain split.
pub fn corpus(prompt: &PromptSpec, num_scenes: u64) -> impl Iterator<Item = String> + Send {
    let prompt = prompt.clone();
    let seed = Seed::root(0).fold_in("corpus");
    (0..num_scenes).flat_map(move |i| {
        let seed = seed.at(i);
        let mut rng = seed.fold_in("turns").rng();
        let scene =
            FAMILIES[i as usize % FAMILIES.len()].scene(seed.fold_in("scene"), Split::Pretrain);
        let hops = rng.random_range(1..=MAX_HOPS);
        let question = scene.ask(hops, &mut rng);
        let (read, cells) = scene.read(rng.random_range(0..NUM_CELLS), 8);
        let answer = |register| {
            Prompter::answer(register, &question.terse, &question.verbose, &question.answer)
        };
        vec![
            format!(
                "<|im_start|>user\n{} {}<|im_end|>\n<|im_start|>assistant\n",
                question.text, prompt.suffix
            ),
            format!("{} {}", question.text, prompt.verbose_suffix),
            answer(Register::Terse),
            answer(Register::Verbose),
            read,
            cells,
        ]
    })
}

/// Indices of `sequences` sorted by length, longest first, and cut into micro-batches: little padding
/// where there is any, the same cut on every machine, and short work at the end, when threads run out
/// of it.
pub fn micro_batches(lengths: &[usize], size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (Reverse(lengths[i]), i));
    order.chunks(size).map(<[usize]>::to_vec).collect()
}

/// `sequences` as the model takes them, and what they predict: (row among all their tokens, id).
pub fn token_batch(sequences: &[&Sequence], config: &VlmConfig) -> (TokenBatch, Vec<(usize, u32)>) {
    let merge = config.layout().merge_size;
    let mut batch = TokenBatch::default();
    let mut predictions = Vec::new();
    let (mut first, mut feature) = (0, 0);
    let segmented = sequences.iter().any(|s| !s.segments.is_empty());
    for sequence in sequences {
        batch.input_ids.push(sequence.input_ids.clone());
        batch.positions.push(sequence.positions.clone());
        batch.feature_starts.push(feature);
        feature += sequence.patches.iter().map(|p| p.grid.num_tokens(merge)).sum::<usize>();
        if segmented {
            assert_eq!(
                sequence.segments.len(),
                sequence.input_ids.len(),
                "all sequences have segments or none"
            );
            batch.segments.push(sequence.segments.clone());
        }
        predictions.extend(sequence.predictions.iter().map(|&(at, id)| (first + at, id)));
        first += sequence.input_ids.len();
    }
    (batch, predictions)
}

/// The test questions of an evaluation: the same number for each family.
///
/// # Errors
/// If there are none.
pub fn test_samples(drawn: Drawn, split: Split) -> Result<Vec<Sample>> {
    let Drawn { per_family, seed, hops } = drawn;
    ensure!(per_family > 0, "the {split} split is empty\nhint: questions_per_family is at least 1");
    let of = |family: Family| {
        (0..per_family as u64)
            .map(move |i| Sample::procedural(family, seed, split, i, hops[0]..=hops[1]))
    };
    Ok(FAMILIES.into_iter().flat_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Compute;
    use crate::run::base::Base;
    use proptest::prelude::*;
    use std::sync::LazyLock;
    use synergy_models::config::Preset;

    static PROMPTER: LazyLock<Prompter> = LazyLock::new(|| {
        let suffix = "Please reason within <think> </think> and \\boxed{}.".to_owned();
        let prompt = PromptSpec { suffix, verbose_suffix: "Think aloud.".into() };
        let compute = Compute::open("flex", Some(1)).unwrap();
        Base::fresh(Preset::Nano, 500, 0.1, &prompt, 1, &compute).unwrap().prompter
    });

    fn conversation(gap_max: u32, seed: u64) -> Sequence {
        let sample = crate::train::pool::drawn(1, 3, Split::Train, [2, 4]);
        let turns = [
            ("Read the cells from a1 to b1.".to_owned(), "a1 3 b1 2".to_owned()),
            (PROMPTER.text(&sample, true), "<think> a1 3</think>\\boxed{3}".to_owned()),
        ];
        let patches = PROMPTER.patches(&sample).unwrap();
        let rng = &mut Seed::root(seed).rng();
        PROMPTER.conversation(&turns, patches, gap_max, rng).unwrap()
    }

    #[test]
    fn a_cut_sequence_predicts_its_own_tokens_only() {
        let whole = conversation(0, 1);
        let first = whole.predictions[0].0;
        for max_length in 1..=whole.input_ids.len() + 1 {
            let mut cut = whole.clone();
            cut.truncate(max_length);
            if max_length <= first + 1 {
                assert!(cut.predictions.is_empty());
                continue;
            }
            assert_eq!(cut.input_ids.len(), max_length.min(whole.input_ids.len()));
            assert_eq!(cut.positions.len(), cut.input_ids.len());
            assert!(cut.predictions.iter().all(|&(at, id)| cut.input_ids[at + 1] == id));
            assert!(whole.predictions.starts_with(&cut.predictions));
        }
    }

    #[test]
    fn what_is_predicted_is_the_answers_and_their_ends() {
        let sequence = conversation(0, 1);
        let targets: Vec<u32> = sequence.predictions.iter().map(|p| p.1).collect();
        let text = PROMPTER.tokenizer.decode(&targets);
        assert_eq!(text, "a1 3 b1 2<think> a1 3</think>\\boxed{3}");
        let ends = targets.iter().filter(|&&id| id == PROMPTER.tokenizer.ids.eos).count();
        assert_eq!(ends, 2);
        for (at, target) in sequence.predictions {
            assert_eq!(sequence.input_ids[at + 1], target);
        }
    }

    #[test]
    fn a_gap_moves_answers_and_leaves_the_picture() {
        let plain = conversation(0, 0);
        let (first, last) = (plain.predictions[0].0, plain.positions.len() - 1);
        let mut num_moved = 0;
        for moved in (0..8).map(|seed| conversation(50, seed)) {
            assert_eq!(plain.input_ids, moved.input_ids);
            assert_eq!(plain.positions[..=first], moved.positions[..=first]);
            num_moved += usize::from(moved.positions[last] > plain.positions[last]);
        }
        assert!(num_moved > 2, "{num_moved} of 8 have a gap");
    }

    #[test]
    fn stages_of_a_seed_share_their_questions() {
        let sample = |seed| crate::train::pool::drawn(seed, 7, Split::Train, [1, 4]);
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1).id, sample(2).id);
    }

    proptest! {
        #[test]
        fn micro_batches_are_a_partition_sorted_by_length(
            lengths in proptest::collection::vec(1usize..50, 1..40), size in 1usize..9
        ) {
            let cut = micro_batches(&lengths, size);
            prop_assert!(cut.iter().all(|part| part.len() <= size));
            let flat: Vec<usize> = cut.concat();
            let sorted: Vec<usize> = flat.iter().map(|&i| lengths[i]).collect();
            prop_assert!(sorted.is_sorted_by(|a, b| a >= b));
            let mut all = flat;
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }
    }
}
