//! Generating text: many prompts, many samples of each, one KV cache.
//!
//! Knows ids only, no text. A prompt is computed once and shared by its samples; every sample draws
//! from a stream of its own, so the rest of the batch changes no token; finished rows leave.
//!
//! The same logits give the tokens that `generate` of the reference draws, with two exceptions:
//! a picture's token is never drawn, since there would be no picture for it, and the repetition
//! penalty does not count padding, since that would let the batch change a row.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Result, ensure};
use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use crate::batch::{TokenBatch, index};
use crate::generate::draw::{draw, seen};
use crate::native::{Native, decode};
use crate::ops::{causal_mask, padded_causal_mask};
use crate::qwen2_5_vl::config::VlmConfig;
use crate::qwen2_5_vl::rope::{Grid, Position, Video, batch_rope_index};
use crate::qwen2_5_vl::text::KvCache;
use crate::qwen2_5_vl::vlm::Vlm;

mod draw;

/// A prompt whose picture tokens are already expanded.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// Token ids, at least one, each below `vocab_size`.
    pub input_ids: Vec<u32>,
    /// Patches of its pictures, in order of appearance.
    pub grids: Vec<Grid>,
    /// Patches of its videos, in order of appearance.
    pub videos: Vec<Video>,
    /// The first row of the features that belongs to this prompt.
    pub feature_start: usize,
    /// How many positions are skipped before the answer; 0 except where a skill's dependence on positions is measured.
    pub position_gap: u32,
}

/// How the next token is drawn, named as in `generation_config.json`. Applied in the order of the
/// reference: penalty, temperature, top-k, top-p.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divisor of the logits, at least 0; 0 takes the most probable token.
    pub temperature: f64,
    /// Only the fewest tokens that together have this probability may be drawn; above 0, and 1 for all tokens.
    pub top_p: f64,
    /// Only this many most probable tokens, and all that tie with the last of them, may be drawn; 0 for all tokens.
    pub top_k: usize,
    /// Divisor of the positive logits, and factor of the negative ones, of tokens that the row already holds
    /// (Keskar et al. 2019, section 4.1); above 0, and 1 changes nothing.
    pub repetition_penalty: f64,
    /// The most tokens of an answer, prompt excluded; at least 1.
    pub max_new_tokens: usize,
    /// Ids that end an answer; the one that does is part of it.
    pub eos_token_id: Vec<u32>,
}

impl Sampling {
    /// Returns settings that always take the most probable token, until `eos_token_id`.
    pub fn greedy(max_new_tokens: usize, eos_token_id: u32) -> Sampling {
        Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            repetition_penalty: 1.0,
            max_new_tokens,
            eos_token_id: vec![eos_token_id],
        }
    }

    fn penalizes(&self) -> bool {
        (self.repetition_penalty - 1.0).abs() > 1e-9
    }

    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// If one is not; the error names the first.
    pub fn check(&self) -> Result<()> {
        for (name, value, holds) in [
            ("temperature", self.temperature, self.temperature >= 0.0),
            ("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0),
            ("repetition_penalty", self.repetition_penalty, self.repetition_penalty > 0.0),
        ] {
            ensure!(
                holds && value.is_finite(),
                hint!(
                    "`{name}` is {value}",
                    "temperature must be at least 0, top_p above 0 and at most 1, \
                 repetition_penalty above 0"
                )
            );
        }
        ensure!(self.max_new_tokens > 0, hint!("`max_new_tokens` is 0", "it must be at least 1"));
        Ok(())
    }
}

/// One sampled continuation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// Ids of the answer, the end token included if one was reached.
    pub ids: Vec<u32>,
    /// Log-probability of each id under the model itself, before anything of [`Sampling`] is applied,
    /// in nats.
    pub log_probs: Vec<f32>,
    /// True if an end token was reached before `max_new_tokens`.
    pub finished: bool,
}

struct Row {
    prompt: usize,
    sample: usize,
    rng: ChaCha8Rng,
    position: u32,
    last: u32,
    /// See [`seen`].
    seen: Vec<bool>,
    running: bool,
}

/// Generates `num_samples` continuations of each prompt. `rng(prompt, sample)` makes the random stream of each.
///
/// # Shapes
/// `features [tokens of all pictures, hidden_size]`; returns `[prompts][samples]`.
///
/// # Panics
/// If `prompts` is empty or a prompt's image tokens and grids disagree.
pub fn generate(
    model: &Vlm,
    prompts: &[Prompt],
    features: Option<&Tensor<2>>,
    num_samples: usize,
    sampling: &Sampling,
    rng: &dyn Fn(usize, usize) -> ChaCha8Rng,
) -> Vec<Vec<Generated>> {
    let mut out = vec![vec![Generated::default(); num_samples]; prompts.len()];
    generate_with(model, prompts, features, num_samples, sampling, rng, &mut |token| {
        let generated = &mut out[token.prompt][token.sample];
        generated.ids.push(token.id);
        generated.log_probs.push(token.log_prob);
        generated.finished = token.is_end;
    });
    out
}

/// How many copies of attention's scores are in memory at once, in f32: products, masked products, and shares.
const SCORE_COPIES: usize = 3;

/// Estimates the peak memory of [`generate`] and of computing the features of the pictures of `prompts`, in bytes, for
/// numbers of `dtype`. It is the largest of what the tower, the prompts and the answers need, since they are computed
/// one after the other. Weights are not counted.
pub fn memory_bytes(
    config: &VlmConfig,
    dtype: DType,
    prompts: &[Prompt],
    num_samples: usize,
    max_new_tokens: usize,
) -> usize {
    let (size, vision) = (dtype.size(), &config.vision_config);
    // Hidden states, queries, keys, values and the two halves of the feed-forward, with what is made of them.
    let layer = |rows: usize, hidden: usize, intermediate: usize| {
        rows * (8 * hidden + 4 * intermediate) * size
    };
    let scores = |num: usize| num * SCORE_COPIES * DType::F32.size();

    let grids = || prompts.iter().flat_map(|p| &p.grids);
    let patches: usize = grids().map(|g| g.num_patches()).sum();
    let pairs: usize = grids().map(|g| g.num_patches() * g.h * g.w).sum();
    let tower = layer(patches, vision.hidden_size, vision.intermediate_size)
        + scores(pairs * vision.num_heads);

    let width = prompts.iter().map(|p| p.input_ids.len()).max().unwrap_or(0);
    // Attention makes a copy of the keys and values of its layer.
    let kept = 2 * (config.num_hidden_layers + 1) * config.num_key_value_heads * config.head_dim();
    let decoder = |rows: usize, queries: usize, keys: usize| {
        rows * keys * kept * size
            + layer(rows * queries, config.hidden_size, config.intermediate_size)
            + scores(rows * config.num_attention_heads * queries * keys)
            + rows * config.vocab_size * DType::F32.size()
    };
    let prefill = decoder(prompts.len(), width, width);
    let answers = decoder(prompts.len() * num_samples, 1, width + max_new_tokens);
    tower.max(prefill).max(answers)
}

/// A token as soon as it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// Number of its prompt.
    pub prompt: usize,
    /// Number of its sample among those of the prompt.
    pub sample: usize,
    /// The token.
    pub id: u32,
    /// Log-probability in nats, as in [`Generated::log_probs`]. NaN if the model's logits are not finite; the row ends
    /// then.
    pub log_prob: f32,
    /// True if it ends its row.
    pub is_end: bool,
}

/// Does the same as [`generate`] and hands out every token as soon as it is drawn, each row's in order.
///
/// # Panics
/// See [`generate`].
pub fn generate_with(
    model: &Vlm,
    prompts: &[Prompt],
    features: Option<&Tensor<2>>,
    num_samples: usize,
    sampling: &Sampling,
    rng: &dyn Fn(usize, usize) -> ChaCha8Rng,
    on_token: &mut dyn FnMut(Drawn),
) {
    let task = Task { config: &model.config, prompts, num_samples, sampling, rng };
    match &model.native {
        Some(native) => {
            let features = features.map_or_else(Vec::new, |f| host(f.clone()));
            generate_native(native, &task, &features, on_token);
        }
        None => generate_plain(model, &task, features, on_token),
    }
}

/// The arguments of [`generate_with`].
struct Task<'a> {
    config: &'a VlmConfig,
    prompts: &'a [Prompt],
    num_samples: usize,
    sampling: &'a Sampling,
    rng: &'a dyn Fn(usize, usize) -> ChaCha8Rng,
}

impl Task<'_> {
    /// Makes a row before its first token.
    fn row(&self, prompt: usize, sample: usize) -> Row {
        Row {
            prompt,
            sample,
            rng: (self.rng)(prompt, sample),
            position: 0,
            last: 0,
            seen: seen(&self.prompts[prompt].input_ids, self.sampling, self.config),
            running: true,
        }
    }

    /// Computes the positions of a prompt and the one at which its answer begins.
    fn positions(&self, prompt: &Prompt) -> (Vec<Position>, u32) {
        let ids = std::slice::from_ref(&prompt.input_ids);
        let index = batch_rope_index(ids, None, &prompt.grids, &prompt.videos, self.config)
            .expect("a prompt's image tokens and grids agree");
        let positions = index.positions.concat();
        let next = positions.iter().flatten().max().map_or(0, |p| p + 1) + prompt.position_gap;
        (positions, next)
    }

    /// Draws the next token of `row` and hands it to `on_token`.
    fn draw(&self, logits: &[f32], row: &mut Row, on_token: &mut dyn FnMut(Drawn)) {
        let drawn = draw(logits, &row.seen, &mut row.rng, self.sampling, self.config);
        let (id, log_prob) = drawn.unwrap_or((self.config.eos_token_id, f32::NAN));
        let is_end = drawn.is_none() || self.sampling.eos_token_id.contains(&id);
        on_token(Drawn { prompt: row.prompt, sample: row.sample, id, log_prob, is_end });
        if let Some(seen) = row.seen.get_mut(id as usize) {
            *seen = true;
        }
        row.last = id;
        row.running = !is_end;
    }
}

/// How many rows are decoded at once.
const SLOTS: usize = 64;
/// How many prompts are computed at once.
const PREFILL: usize = 16;

/// Generates with the native form by continuous batching: a row that ends gives its slot to the next one, so the
/// products stay large until the end. Each prompt is computed once, when its first sample gets a slot.
fn generate_native(
    native: &Native,
    task: &Task<'_>,
    features: &[f32],
    on_token: &mut dyn FnMut(Drawn),
) {
    struct Slot {
        row: Row,
        cache: decode::Row,
        num_tokens: usize,
    }
    struct Ready {
        cache: Rc<decode::Cache>,
        logits: Vec<f32>,
        next: u32,
    }
    let vocab = task.config.vocab_size;
    let num_rows = task.prompts.len() * task.num_samples;
    let mut decoder = native.decoder();
    let mut ready: VecDeque<Ready> = VecDeque::new();
    let (mut num_ready, mut next_row) = (0, 0);
    let mut slots: Vec<Slot> = Vec::with_capacity(SLOTS);
    loop {
        while slots.len() < SLOTS && next_row < num_rows {
            let (prompt, sample) = (next_row / task.num_samples, next_row % task.num_samples);
            if prompt == num_ready {
                let part = &task.prompts[prompt..(prompt + PREFILL).min(task.prompts.len())];
                let (positions, nexts): (Vec<_>, Vec<_>) =
                    part.iter().map(|p| task.positions(p)).unzip();
                let batch = TokenBatch {
                    input_ids: part.iter().map(|p| p.input_ids.clone()).collect(),
                    positions,
                    feature_starts: part.iter().map(|p| p.feature_start).collect(),
                    segments: Vec::new(),
                };
                let (caches, logits) = decoder.prefill(&batch, features);
                num_ready += part.len();
                let logits = logits.chunks_exact(vocab);
                for ((cache, logits), next) in caches.into_iter().zip(logits).zip(nexts) {
                    let (cache, logits) = (Rc::new(cache), logits.to_vec());
                    ready.push_back(Ready { cache, logits, next });
                }
            }
            next_row += 1;
            let first = ready.front().expect("computed above");
            let mut row = task.row(prompt, sample);
            row.position = first.next;
            task.draw(&first.logits, &mut row, on_token);
            let cache = decode::Row::new(Rc::clone(&first.cache));
            if row.running && task.sampling.max_new_tokens > 1 {
                slots.push(Slot { row, cache, num_tokens: 1 });
            }
            if sample + 1 == task.num_samples {
                ready.pop_front();
            }
        }
        if slots.is_empty() {
            return;
        }
        let ids: Vec<u32> = slots.iter().map(|s| s.row.last).collect();
        let positions: Vec<Position> = slots.iter().map(|s| [s.row.position; 3]).collect();
        let mut caches: Vec<&mut decode::Row> = slots.iter_mut().map(|s| &mut s.cache).collect();
        let logits = decoder.step(&mut caches, &ids, &positions);
        for (slot, logits) in slots.iter_mut().zip(logits.chunks_exact(vocab)) {
            slot.row.position += 1;
            slot.num_tokens += 1;
            task.draw(logits, &mut slot.row, on_token);
            slot.row.running &= slot.num_tokens < task.sampling.max_new_tokens;
        }
        slots.retain(|slot| slot.row.running);
    }
}

/// How many new tokens a cache has room for at first: most answers are far shorter than `max_new_tokens`.
const ROOM: usize = 512;

/// Prompts as the plain form computed them.
struct Prefilled {
    cache: KvCache,
    /// Logits after each prompt, `[prompts * vocab_size]`.
    logits: Vec<f32>,
    /// Position of each answer's first token, `[prompts]`.
    next_position: Vec<u32>,
}

/// Computes all prompts at once. They end together: `pads` is the padding of each, which is on the left and hidden.
fn prefill_plain(
    model: &Vlm,
    task: &Task<'_>,
    features: Option<&Tensor<2>>,
    pads: &[usize],
    width: usize,
) -> Prefilled {
    let &Task { config, prompts, .. } = task;
    let device = model.device();
    let heads = model.layout.decoder;
    let mut batch = TokenBatch::default();
    let mut next_position = Vec::new();
    for (prompt, &pad) in prompts.iter().zip(pads) {
        let (positions, next) = task.positions(prompt);
        next_position.push(next);
        batch.input_ids.push([vec![config.eos_token_id; pad], prompt.input_ids.clone()].concat());
        batch.positions.push([vec![[0; 3]; pad], positions].concat());
        batch.feature_starts.push(prompt.feature_start);
    }
    let group = heads.num_queries_per_kv();
    let mask = if pads.iter().all(|&pad| pad == 0) {
        causal_mask(width, group, &device)
    } else {
        let seen: Vec<Vec<bool>> =
            pads.iter().map(|&pad| (0..width).map(|key| key >= pad).collect()).collect();
        padded_causal_mask(&seen, heads.num_kv_heads, group, &device)
    };
    let mut cache = KvCache::new(config, prompts.len(), width, &device, model.dtype());
    let hidden = model.forward_cached(&batch, features, &mask, &mut cache);
    let last: Vec<i64> = (0..prompts.len()).map(|i| ((i + 1) * width - 1) as i64).collect();
    let logits = host(model.decoder.logits(hidden.select(0, index(last, &device))));
    Prefilled { cache, logits, next_position }
}

/// Generates over burn's tensors: all rows at once, padded.
fn generate_plain(
    model: &Vlm,
    task: &Task<'_>,
    features: Option<&Tensor<2>>,
    on_token: &mut dyn FnMut(Drawn),
) {
    let &Task { config, prompts, num_samples, sampling, .. } = task;
    let device = model.device();
    let kv_heads = config.num_key_value_heads;
    let width = prompts.iter().map(|p| p.input_ids.len()).max().expect("at least one prompt");
    let pads: Vec<usize> = prompts.iter().map(|p| width - p.input_ids.len()).collect();
    let longest = width + sampling.max_new_tokens;
    let mut capacity = longest.min(width + ROOM);
    let Prefilled { mut cache, logits: first, next_position } =
        prefill_plain(model, task, features, &pads, width);

    let mut rows: Vec<Row> = Vec::with_capacity(prompts.len() * num_samples);
    for (prompt, &position) in next_position.iter().enumerate() {
        rows.extend((0..num_samples).map(|k| Row { position, ..task.row(prompt, k) }));
    }

    let share: Vec<i64> = rows.iter().map(|r| r.prompt as i64).collect();
    cache.select(&index(share, &device), capacity);
    let mut hidden_keys = hidden_keys(&rows, &pads, capacity, kv_heads, &device);
    let vocab = config.vocab_size;
    let mut logits: Vec<f32> = rows
        .iter()
        .flat_map(|r| first[r.prompt * vocab..(r.prompt + 1) * vocab].iter().copied())
        .collect();
    for step in 0..sampling.max_new_tokens {
        for (row, logits) in
            rows.iter_mut().zip(logits.chunks_exact(vocab)).filter(|(r, _)| r.running)
        {
            task.draw(logits, row, on_token);
        }
        let running = rows.iter().filter(|r| r.running).count();
        if running == 0 || step + 1 == sampling.max_new_tokens {
            break;
        }
        // Moving the cache costs about a step, so finished rows leave in batches.
        let is_full = cache.len() == capacity;
        if is_full || running * 8 <= rows.len() * 7 {
            capacity = if is_full { longest.min(2 * capacity) } else { capacity };
            let keep =
                rows.iter().enumerate().filter(|(_, r)| r.running).map(|(i, _)| i as i64).collect();
            cache.select(&index(keep, &device), capacity);
            rows.retain(|r| r.running);
            hidden_keys = self::hidden_keys(&rows, &pads, capacity, kv_heads, &device);
        }
        let batch = TokenBatch {
            input_ids: rows.iter().map(|r| vec![r.last]).collect(),
            positions: rows.iter().map(|r| vec![[r.position; 3] as Position]).collect(),
            feature_starts: vec![0; rows.len()],
            ..TokenBatch::default()
        };
        for row in &mut rows {
            row.position += 1;
        }
        let mask = hidden_keys.clone().narrow(2, 0, cache.len() + 1);
        let hidden = model.forward_cached(&batch, None, &mask, &mut cache);
        logits = host(model.decoder.logits(hidden));
    }
}

/// Makes a mask that is true where a key is padding, `[rows * kv_heads, 1, capacity]`.
fn hidden_keys(
    rows: &[Row],
    pads: &[usize],
    capacity: usize,
    kv_heads: usize,
    device: &Device,
) -> Tensor<3, Bool> {
    let mut mask = Vec::with_capacity(rows.len() * kv_heads * capacity);
    for row in rows {
        for _ in 0..kv_heads {
            mask.extend((0..capacity).map(|key| key < pads[row.prompt]));
        }
    }
    Tensor::from_data(TensorData::new(mask, [rows.len() * kv_heads, 1, capacity]), device)
}

fn host(logits: Tensor<2>) -> Vec<f32> {
    logits.try_into_vec_as::<f32>().expect("float data is readable as f32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{self, Case, Pictures};
    use crate::weights::Parameters;
    use rand_chacha::rand_core::SeedableRng;

    fn model() -> Vlm {
        let mut config = fixtures::nano(40);
        config.initializer_range = 0.3;
        let parameters =
            Parameters::init(&config, &mut ChaCha8Rng::seed_from_u64(1), &Device::flex());
        Vlm::new(&config, &parameters)
    }

    fn prompt(input_ids: &[u32]) -> Prompt {
        Prompt { input_ids: input_ids.to_vec(), ..Prompt::default() }
    }

    fn sampling() -> Sampling {
        Sampling { temperature: 1.0, top_p: 0.95, top_k: 20, ..Sampling::greedy(24, 4) }
    }

    fn stream(prompt: usize, sample: usize) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64((prompt * 100 + sample) as u64)
    }

    #[test]
    fn what_else_is_in_the_batch_changes_no_token() {
        for model in [model(), model().plain()] {
            company_changes_nothing(&model);
        }
    }

    /// More rows than slots, so that some wait for others.
    #[test]
    fn rows_that_wait_for_a_slot_get_the_tokens_they_would_have_got_at_once() {
        let (model, num) = (model(), SLOTS / 2 + 5);
        let prompts: Vec<Prompt> =
            (0..num as u32).map(|i| prompt(&vec![5 + i % 30; 1 + i as usize % 7])).collect();
        let sampling = Sampling { eos_token_id: vec![4, 9, 11, 17], ..sampling() };
        let native = generate(&model, &prompts, None, 2, &sampling, &stream);
        let plain = generate(&model.plain(), &prompts, None, 2, &sampling, &stream);
        let ids = |all: &[Vec<Generated>]| -> Vec<Vec<u32>> {
            all.iter().flatten().map(|g| g.ids.clone()).collect()
        };
        assert_eq!(ids(&native), ids(&plain));
        assert!(native.iter().flatten().any(|g| g.finished));
        assert!(native.iter().flatten().any(|g| !g.finished));
    }

    /// Two answers that outgrow their room twice.
    #[test]
    fn a_cache_that_grows_changes_no_token() {
        let (model, prompts) = (model(), [prompt(&[5, 6, 7]), prompt(&[8])]);
        let max_new_tokens = 2 * ROOM + 9;
        let sampling = Sampling { max_new_tokens, eos_token_id: Vec::new(), ..sampling() };
        let native = generate(&model, &prompts, None, 1, &sampling, &stream);
        let plain = generate(&model.plain(), &prompts, None, 1, &sampling, &stream);
        for (a, b) in native.iter().flatten().zip(plain.iter().flatten()) {
            assert_eq!((a.ids.len(), &a.ids), (max_new_tokens, &b.ids));
        }
    }

    /// The published 7B model's keys and values take 56 KiB a token in bf16.
    #[test]
    fn memory_is_that_of_the_largest_of_tower_prompts_and_answers() {
        let config = VlmConfig::published("qwen2.5-vl-7b").unwrap();
        let gigabytes = |prompts: &[Prompt], num_samples, max_new_tokens| {
            let bytes =
                memory_bytes(&config, DType::BF16, prompts, num_samples, max_new_tokens) as f64;
            bytes / 1e9
        };
        let asked = [prompt(&[5; 616])];
        let answers = gigabytes(&asked, 16, 16_384);
        let keys = 16.0 * 17_000.0 * 57_344.0 / 1e9;
        assert!(answers > keys && answers < 1.1 * keys, "{answers}, keys and values alone {keys}");
        // The scores of 28 heads on 4000 tokens, three times in f32, are 5.4.
        let long = gigabytes(&[prompt(&[5; 4000])], 1, 1);
        assert!((5.4..7.0).contains(&long), "{long}");
        // 16 heads look from each of 4900 patches at each: 4.6.
        let grids = vec![Grid { t: 1, h: 70, w: 70 }];
        let pictured = gigabytes(&[Prompt { grids, ..prompt(&[5; 1300]) }], 1, 1);
        assert!((4.6..5.2).contains(&pictured), "{pictured}");
    }

    fn company_changes_nothing(model: &Vlm) {
        let prompts = [prompt(&[5, 6, 7]), prompt(&[8, 9, 10, 11, 12, 13]), prompt(&[14])];
        let together = generate(model, &prompts, None, 3, &sampling(), &stream);
        assert!(together.iter().flatten().any(|g| g.ids.len() > 8), "too short to prove anything");
        for (i, prompt) in prompts.iter().enumerate() {
            let alone =
                generate(model, std::slice::from_ref(prompt), None, 3, &sampling(), &|_, s| {
                    stream(i, s)
                });
            for (a, b) in alone[0].iter().zip(&together[i]) {
                assert_eq!((&a.ids, a.finished), (&b.ids, b.finished));
            }
        }
    }

    /// The recorded generations with the prompts of each.
    #[derive(Deserialize)]
    struct Recorded {
        #[serde(flatten)]
        case: Case,
        repetition_penalty: f64,
        max_new_tokens: usize,
        stop_token_ids: Vec<u32>,
        new_ids: Vec<Vec<u32>>,
        #[serde(default)]
        log_probs: Vec<Vec<f32>>,
    }

    #[derive(Deserialize)]
    struct Fixture {
        pad_token_id: u32,
        cases: Vec<Recorded>,
    }

    /// The rows of `case` without their padding.
    fn prompts(case: &Case, pictures: &Pictures, config: &VlmConfig) -> Vec<Prompt> {
        let mut names = case.pictures.iter();
        let mut feature_start = 0;
        let rows = case.input_ids.iter().zip(&case.attention_mask).map(|(ids, mask)| {
            let ids: Vec<u32> =
                ids.iter().zip(mask).filter(|(_, m)| **m == 1).map(|(id, _)| *id).collect();
            let places = ids.iter().filter(|&&id| id == config.image_token_id).count();
            let start = feature_start;
            feature_start += places;
            let mut grids = Vec::new();
            let mut left = places;
            while left > 0 {
                let grid = pictures.get(names.next().unwrap()).1;
                left -= grid.num_tokens(config.vision_config.spatial_merge_size);
                grids.push(grid);
            }
            Prompt { grids, feature_start: start, ..prompt(&ids) }
        });
        rows.collect()
    }

    #[test]
    fn greedy_tokens_are_those_of_the_reference_alone_and_in_a_padded_batch() {
        let (config, parameters) = fixtures::model("model-untied");
        let (model, pictures) = (Vlm::new(&config, &parameters), Pictures::read());
        let fixture: Fixture = fixtures::json("generate.json");
        assert_eq!(fixture.cases.len(), 7);
        // On another device than the host's there is one form.
        let forms: Vec<Vlm> = model
            .native
            .is_some()
            .then(|| model.clone())
            .into_iter()
            .chain([model.plain()])
            .collect();
        for (model, recorded) in
            forms.iter().flat_map(|m| fixture.cases.iter().map(move |c| (m, c)))
        {
            let name = format!("{}, penalty {}", recorded.case.name, recorded.repetition_penalty);
            let media = pictures.all(&recorded.case.pictures);
            let features = (!media.is_empty()).then(|| model.image_features(&media));
            let sampling = Sampling {
                repetition_penalty: recorded.repetition_penalty,
                eos_token_id: recorded.stop_token_ids.clone(),
                ..Sampling::greedy(recorded.max_new_tokens, 0)
            };
            let prompts = prompts(&recorded.case, &pictures, &config);
            let generated = generate(model, &prompts, features.as_ref(), 1, &sampling, &stream);
            for (i, (got, want)) in generated.iter().zip(&recorded.new_ids).enumerate() {
                let got = &got[0];
                let stop = want.iter().position(|id| recorded.stop_token_ids.contains(id));
                let end = stop.map_or(want.len(), |at| at + 1);
                assert!(want[end..].iter().all(|&id| id == fixture.pad_token_id));
                assert_eq!(got.ids, want[..end], "{name}, row {i}");
                assert_eq!(got.finished, stop.is_some(), "{name}, row {i}");
                if let Some(want) = recorded.log_probs.get(i) {
                    let apart = fixtures::distance(&got.log_probs, want);
                    assert!(apart < 1e-3, "{name}, row {i}: log-probs {apart} apart");
                }
            }
        }
    }

    #[test]
    fn a_pictures_token_is_never_drawn() {
        let (mut config, parameters) = fixtures::model("model-untied");
        let greedy = Sampling::greedy(8, 0);
        let first = |config: &VlmConfig| {
            let model = Vlm::new(config, &parameters);
            generate(&model, &[prompt(&[5, 6, 7])], None, 1, &greedy, &stream)[0][0].ids[0]
        };
        let usual = first(&config);
        config.image_token_id = usual;
        assert_ne!(first(&config), usual);
    }
}
