//! The rollout engine: many prompts, many samples each, one KV cache.
//!
//! Knows ids only, no text. A prompt is computed once and shared by its samples; every sample draws
//! from a stream of its own, so what else is in the batch changes no token; finished rows leave.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::rope::{Grid, Position, rope_index};
use crate::text::KvCache;
use crate::vlm::{TokenBatch, Vlm, index};

/// A prompt with its pictures' tokens already expanded.
#[derive(Debug, Clone)]
pub struct Prompt {
    pub input_ids: Vec<u32>,
    pub grids: Vec<Grid>,
    /// First row of the features that belongs to this prompt.
    pub feature_start: usize,
    /// Positions of the answer jump by this much: 0 but where a skill's tie to positions is measured.
    pub position_gap: u32,
}

/// How the next token is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the most probable token.
    pub temperature: f64,
    /// 1 keeps all.
    pub top_p: f64,
    /// 0 keeps all.
    pub top_k: usize,
    pub max_new_tokens: usize,
}

/// One sampled continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The end token included if it was reached.
    pub ids: Vec<u32>,
    /// Log-probability of each id under the model at temperature 1, in nats.
    pub log_probs: Vec<f32>,
    /// Whether the end token was reached before `max_new_tokens`.
    pub finished: bool,
}

struct Row {
    prompt: usize,
    sample: usize,
    rng: ChaCha8Rng,
    position: u32,
    last: u32,
    running: bool,
}

/// `num_samples` continuations of each prompt: `[prompts][samples]`.
///
/// `rng(prompt, sample)` gives each its own stream.
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
    let config = &model.config;
    let device = model.device();
    let (kv_heads, group) =
        (config.num_key_value_heads, config.num_attention_heads / config.num_key_value_heads);
    let width = prompts.iter().map(|p| p.input_ids.len()).max().expect("at least one prompt");
    let pads: Vec<usize> = prompts.iter().map(|p| width - p.input_ids.len()).collect();

    // Prompts end together: padding stands on the left and is hidden.
    let mut batch = TokenBatch::default();
    let mut next_position = Vec::new();
    for (prompt, &pad) in prompts.iter().zip(&pads) {
        let positions = rope_index(&prompt.input_ids, &prompt.grids, config)
            .expect("a prompt's image tokens and grids agree");
        next_position
            .push(positions.iter().flatten().max().map_or(0, |p| p + 1) + prompt.position_gap);
        batch.input_ids.push([vec![config.eos_token_id; pad], prompt.input_ids.clone()].concat());
        batch.positions.push([vec![[0; 3]; pad], positions].concat());
        batch.feature_starts.push(prompt.feature_start);
    }
    let mut mask = Vec::with_capacity(prompts.len() * kv_heads * group * width * width);
    for &pad in &pads {
        for row in 0..kv_heads * group * width {
            let query = row % width;
            // A padded query sees itself: a row without any key has no softmax.
            mask.extend((0..width).map(|key| key > query || (key < pad && key != query)));
        }
    }
    let shape = [prompts.len() * kv_heads, group * width, width];
    let mask = Tensor::<3, Bool>::from_data(TensorData::new(mask, shape), &device);
    let capacity = width + sampling.max_new_tokens;
    let mut cache = KvCache::new(config, prompts.len(), width, &device);
    let hidden = model.forward_cached(&batch, features, &mask, &mut cache);
    let last: Vec<i64> = (0..prompts.len()).map(|i| ((i + 1) * width - 1) as i64).collect();
    let logits = model.decoder.logits(hidden.select(0, index(last, &device)));
    let first = host(logits, config.image_token_id);

    let mut rows: Vec<Row> = Vec::with_capacity(prompts.len() * num_samples);
    for (prompt, &position) in next_position.iter().enumerate() {
        for sample in 0..num_samples {
            rows.push(Row {
                prompt,
                sample,
                rng: rng(prompt, sample),
                position,
                last: 0,
                running: true,
            });
        }
    }
    let empty = Generated { ids: Vec::new(), log_probs: Vec::new(), finished: false };
    let mut out = vec![vec![empty; num_samples]; prompts.len()];

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
            let (id, log_prob) = sample_token(logits, sampling, &mut row.rng);
            let generated = &mut out[row.prompt][row.sample];
            generated.ids.push(id);
            generated.log_probs.push(log_prob);
            row.last = id;
            generated.finished = id == config.eos_token_id;
            row.running = !generated.finished;
        }
        let running = rows.iter().filter(|r| r.running).count();
        if running == 0 || step + 1 == sampling.max_new_tokens {
            break;
        }
        // Moving the cache costs about a step, so finished rows leave in batches.
        if running * 8 <= rows.len() * 7 {
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
            segments: Vec::new(),
        };
        for row in &mut rows {
            row.position += 1;
        }
        let mask = hidden_keys.clone().narrow(2, 0, cache.len() + 1);
        let hidden = model.forward_cached(&batch, None, &mask, &mut cache);
        logits = host(model.decoder.logits(hidden), config.image_token_id);
    }
    out
}

/// True where a key is padding: `[rows * kv_heads, 1, capacity]`.
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

/// Logits on the host. An image token is never drawn: no picture would stand behind it.
fn host(logits: Tensor<2>, image_token_id: u32) -> Vec<f32> {
    let vocab = logits.dims()[1];
    let mut values = logits.try_into_vec_as::<f32>().expect("float data is readable as f32");
    values.chunks_exact_mut(vocab).for_each(|row| row[image_token_id as usize] = f32::NEG_INFINITY);
    values
}

/// One token from `logits` and its log-probability at temperature 1. Temperature, then top-k, then
/// top-p, in the order of `transformers`. Ties go to the smaller id, so the draw is a function of
/// the logits and the stream alone.
fn sample_token(logits: &[f32], sampling: &Sampling, rng: &mut ChaCha8Rng) -> (u32, f32) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert!(largest.is_finite(), "logits are not finite");
    let total: f32 = logits.iter().map(|l| (l - largest).exp()).sum();
    let log_prob = |id: usize| logits[id] - largest - total.ln();
    if sampling.temperature <= 0.0 {
        let id = logits.iter().position(|&l| l >= largest).expect("the largest is there");
        return (id as u32, log_prob(id));
    }
    let scale = 1.0 / sampling.temperature as f32;
    let mut kept: Vec<(usize, f32)> = logits
        .iter()
        .enumerate()
        .map(|(id, l)| (id, ((l - largest) * scale).exp()))
        .filter(|&(_, weight)| weight > 1e-9)
        .collect();
    let truncates = sampling.top_k > 0 || sampling.top_p < 1.0;
    if truncates {
        kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if sampling.top_k > 0 {
            kept.truncate(sampling.top_k);
        }
        let mass: f32 = kept.iter().map(|(_, w)| w).sum();
        let mut seen = 0.0;
        let enough = kept.iter().position(|(_, w)| {
            seen += w;
            seen >= mass * sampling.top_p as f32
        });
        kept.truncate(enough.map_or(kept.len(), |i| i + 1));
    }
    let mass: f32 = kept.iter().map(|(_, w)| w).sum();
    let mut left = rng.random::<f32>() * mass;
    let mut chosen = kept[kept.len() - 1].0;
    for &(id, weight) in &kept {
        left -= weight;
        if left < 0.0 {
            chosen = id;
            break;
        }
    }
    (chosen as u32, log_prob(chosen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Preset, SpecialIds, VlmConfig};
    use crate::weights::Parameters;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    fn model() -> Vlm {
        let ids = SpecialIds { image: 1, vision_start: 2, vision_end: 3, bos: 4, eos: 4 };
        let mut config = VlmConfig::preset(Preset::Nano, 40, ids);
        config.initializer_range = 0.3;
        let parameters =
            Parameters::init(&config, &mut ChaCha8Rng::seed_from_u64(1), &Device::flex());
        Vlm::new(&config, &parameters)
    }

    fn prompt(input_ids: &[u32]) -> Prompt {
        Prompt {
            input_ids: input_ids.to_vec(),
            grids: Vec::new(),
            feature_start: 0,
            position_gap: 0,
        }
    }

    const SAMPLING: Sampling =
        Sampling { temperature: 1.0, top_p: 0.95, top_k: 20, max_new_tokens: 24 };

    fn stream(prompt: usize, sample: usize) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64((prompt * 100 + sample) as u64)
    }

    #[test]
    fn what_else_is_in_the_batch_changes_no_token() {
        let model = model();
        let prompts = [prompt(&[5, 6, 7]), prompt(&[8, 9, 10, 11, 12, 13]), prompt(&[14])];
        let together = generate(&model, &prompts, None, 3, &SAMPLING, &stream);
        assert!(together.iter().flatten().any(|g| g.ids.len() > 8), "too short to prove anything");
        for (i, prompt) in prompts.iter().enumerate() {
            let alone =
                generate(&model, std::slice::from_ref(prompt), None, 3, &SAMPLING, &|_, s| {
                    stream(i, s)
                });
            for (a, b) in alone[0].iter().zip(&together[i]) {
                assert_eq!((&a.ids, a.finished), (&b.ids, b.finished));
            }
        }
    }

    #[test]
    fn greedy_tokens_with_cache_are_those_without() {
        let model = model();
        let greedy = Sampling { temperature: 0.0, ..SAMPLING };
        let cached = &generate(&model, &[prompt(&[5, 6, 7])], None, 1, &greedy, &stream)[0][0];
        let mut ids = vec![5, 6, 7];
        for (&id, &log_prob) in cached.ids.iter().zip(&cached.log_probs) {
            let batch = TokenBatch {
                positions: vec![rope_index(&ids, &[], &model.config).unwrap()],
                input_ids: vec![ids.clone()],
                feature_starts: vec![0],
                segments: Vec::new(),
            };
            let hidden = model.forward(&batch, None);
            let logits = host(
                model.decoder.logits(hidden.narrow(0, ids.len() - 1, 1)),
                model.config.image_token_id,
            );
            let (next, plain) = sample_token(&logits, &greedy, &mut stream(0, 0));
            assert_eq!(next, id);
            assert!((plain - log_prob).abs() < 1e-4, "{plain} {log_prob}");
            ids.push(id);
        }
    }

    proptest! {
        #[test]
        fn a_draw_is_among_the_most_probable(seed in 0u64..1000, top_k in 1usize..5) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let logits: Vec<f32> = (0..30).map(|_| rng.random::<f32>() * 4.0).collect();
            let sampling = Sampling { temperature: 0.7, top_p: 1.0, top_k, max_new_tokens: 1 };
            let (id, log_prob) = sample_token(&logits, &sampling, &mut rng);
            let better = logits.iter().filter(|&&l| l > logits[id as usize]).count();
            prop_assert!(better < top_k);
            prop_assert!(log_prob < 0.0);
        }
    }
}
