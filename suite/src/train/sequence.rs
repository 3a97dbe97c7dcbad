//! From samples to token sequences: prompts, conversations, micro-batches.
//!
//! Does not know losses. Everything is on the host, so that it can be made ahead on another thread.

use std::cmp::Reverse;

use anyhow::{Context as _, Result, ensure};
use image::RgbImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use synergy_benchmarks::families::{Family, MAX_HOPS, NUM_CELLS, Split};
use synergy_benchmarks::sample::{ImageSource, Sample};
use synergy_benchmarks::seed::Seed;
use synergy_hint::hint;
use synergy_models::batch::TokenBatch;
use synergy_models::checkpoint::{Checkpoint, token_ids};
use synergy_models::generate::Sampling;
use synergy_models::image::{Patches, ProcessorConfig};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::rope::{Position, rope_index};
use synergy_models::tokenizer::{Message, Tokenizer};

use crate::recipe::{AskedRegister, Drawn, FAMILIES, PromptSpec, RegistersSpec};
use crate::train::prompt::{plain, prompt};
use crate::train::register::{Register, answer};

/// Turns text and pictures into what the model takes.
#[derive(Debug)]
pub struct Prompter {
    /// Shape of the model, and its special tokens.
    pub config: VlmConfig,
    /// From text to ids and back, and the chat template.
    pub tokenizer: Tokenizer,
    /// From pictures to patches.
    pub processor: ProcessorConfig,
    /// Instructions that stand behind a question.
    pub prompt: PromptSpec,
    /// Every token that ends an answer, as in [`synergy_models::qwen2_5_vl::config::GenerationConfig::end_tokens`].
    pub end_tokens: Vec<u32>,
}

/// A token sequence with its training targets.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// Token ids, `[tokens]`.
    pub input_ids: Vec<u32>,
    /// Rotary positions, `[tokens]`.
    pub positions: Vec<Position>,
    /// Segments as in [`TokenBatch::segments`], `[tokens]`; empty for plain causal attention.
    pub segments: Vec<u32>,
    /// Patches of each picture, in the order of their tokens.
    pub patches: Vec<Patches>,
    /// (index of the token whose hidden state predicts, id that it should predict).
    pub predictions: Vec<(usize, u32)>,
}

impl Sequence {
    /// Keeps at most the first `max_length` tokens: those beyond are neither seen nor predicted. A sequence whose question
    /// does not fit as a whole keeps its tokens and predicts nothing.
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
    /// What asks the model of `checkpoint`, with the instructions of `prompt`.
    pub fn of(checkpoint: Checkpoint, prompt: PromptSpec) -> Prompter {
        let Checkpoint { config, tokenizer, processor, generation } = checkpoint;
        let end_tokens = generation.end_tokens(&config);
        Prompter { config, tokenizer, processor, prompt, end_tokens }
    }

    /// The text of a question as a model gets it, with the study's instruction if `template`.
    pub fn text(&self, sample: &Sample, template: bool) -> String {
        prompt(sample, template.then_some(&self.prompt.suffix))
    }

    /// Sampling of the most probable token, until any token that ends an answer. Whatever asks a model begins with it.
    pub fn greedy(&self, max_new_tokens: usize) -> Sampling {
        let eos_token_id = self.end_tokens.clone();
        Sampling { eos_token_id, ..Sampling::greedy(max_new_tokens, self.tokenizer.ids.eos) }
    }

    /// Token ids of a first turn about pictures, with the model's turn opened. Pictures stand where `text` has their marks,
    /// or before it if it has none.
    ///
    /// # Errors
    /// If the text holds a token of the chat template, the template fails, or the marks are not as many as the pictures.
    pub fn prompt_ids(&self, text: &str, patches: &[Patches]) -> Result<Vec<u32>> {
        plain(text)?;
        let message = Message::user_marked(patches.len(), text)?;
        let rendered = self.tokenizer.render(&[message], true)?;
        token_ids(&self.tokenizer, &self.config, &rendered, patches)
    }

    /// Patches of each picture of a sample.
    ///
    /// # Errors
    /// If a picture cannot be read or is too thin; the error names the picture, and leaves the question to the caller.
    pub fn patches(&self, sample: &Sample) -> Result<Vec<Patches>> {
        sample.images.iter().map(|source| self.patches_of(source, &source.load()?)).collect()
    }

    /// Patches of the picture `source`, whose pixels are `picture`.
    ///
    /// # Errors
    /// If it is too thin; the error names the picture.
    pub fn patches_of(&self, source: &ImageSource, picture: &RgbImage) -> Result<Patches> {
        self.processor.patches(picture).with_context(|| source.to_string())
    }

    /// The registers that the base knows.
    ///
    /// # Errors
    /// If the recipe does not say them, which no recipe allows whose stages need them.
    pub fn registers(&self) -> Result<&RegistersSpec> {
        self.prompt.registers.as_ref().context("a recipe with registers has a table of them")
    }

    /// The text of a question that asks for an answer in `register`.
    ///
    /// # Errors
    /// See [`Prompter::registers`].
    pub fn text_in(&self, sample: &Sample, register: AskedRegister) -> Result<String> {
        let registers = self.registers()?;
        Ok(prompt(sample, Some(registers.suffix(register))))
    }

    /// A conversation that is learned from: each turn is (user text, model text), and positions jump before each answer
    /// by 0 to `gap_max`.
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
        let mut texts = vec![
            format!(
                "<|im_start|>user\n{} {}<|im_end|>\n<|im_start|>assistant\n",
                question.text, prompt.suffix
            ),
            read,
            cells,
        ];
        if let Some(registers) = &prompt.registers {
            let suffixes = [AskedRegister::Dense, AskedRegister::Long];
            texts.extend(suffixes.map(|r| format!("{} {}", question.text, registers.suffix(r))));
            let answers = [Register::Brief, Register::Dense, Register::Long];
            texts.extend(answers.map(|r| answer(&question, r, registers, &mut rng)));
        }
        texts
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

/// Lays `sequences` out as the model takes them, with all their targets: (row among all tokens, id).
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

/// The questions that an evaluation draws from `split`: the same number for each family.
///
/// # Errors
/// If that number is 0.
pub fn test_samples(drawn: Drawn, split: Split) -> Result<Vec<Sample>> {
    let Drawn { per_family, seed, hops } = drawn;
    ensure!(
        per_family > 0,
        hint!("the {split} split is empty", "questions_per_family is at least 1")
    );
    let of = |family: Family| {
        (0..per_family as u64)
            .map(move |i| Sample::procedural(family, seed, split, i, hops[0]..=hops[1]))
    };
    Ok(FAMILIES.into_iter().flat_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::BASE;
    use proptest::prelude::*;

    fn conversation(gap_max: u32, seed: u64) -> Sequence {
        let sample = crate::train::pool::drawn(1, 3, Split::Train, [2, 4]);
        let turns = [
            ("Read the cells from a1 to b1.".to_owned(), "a1 3 b1 2".to_owned()),
            (BASE.prompter.text(&sample, true), "<think> a1 3</think>\\boxed{3}".to_owned()),
        ];
        let patches = BASE.prompter.patches(&sample).unwrap();
        let rng = &mut Seed::root(seed).rng();
        BASE.prompter.conversation(&turns, patches, gap_max, rng).unwrap()
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
        let text = BASE.prompter.tokenizer.decode(&targets);
        assert_eq!(text, "a1 3 b1 2<think> a1 3</think>\\boxed{3}");
        let ends = targets.iter().filter(|&&id| id == BASE.prompter.tokenizer.ids.eos).count();
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
