//! How the work grows with batch, length, rollouts and the size of the model: `docs/SPEED.md` has the table.
//!
//! Does not know pictures: growth is the decoder's, so sequences are made of random text.

use std::rc::Rc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use synergy_benchmarks::seed::Seed;
use synergy_models::generate::Sampling;
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::rope::rope_index;
use synergy_models::weights::{ComputeDtype, Parameters};
use synergy_suite::recipe::TrainingSpec;
use synergy_suite::run::open_base;
use synergy_suite::train::engine::{Engine as _, Question};
use synergy_suite::train::rollout::LocalEngine;
use synergy_suite::train::sequence::{Prompter, Sequence};
use synergy_suite::train::{Context, pretrain};

use crate::{Make, Timed, WORK, sample};

/// Sequences of an update, and tokens of each, where they are not what varies.
const BATCH: usize = 32;
const LENGTH: usize = 160;
/// Prompts, tokens of each, samples of each and new tokens of each, likewise.
const PROMPTS: usize = 16;
const PROMPT_LENGTH: usize = 30;
const ROLLOUTS: usize = 8;
const NEW_TOKENS: usize = 64;
/// Tokens of an update whose length varies.
const TOKENS: usize = 8192;

/// Name, layers, hidden size, intermediate size. Heads are of 32, half as many for keys, as in the small model.
const SIZES: [(&str, usize, usize, usize); 3] =
    [("1 M", 4, 128, 256), ("5 M", 6, 256, 704), ("30 M", 10, 512, 1408)];

pub(crate) fn works() -> Vec<(String, Make)> {
    let mut works: Vec<(String, Make)> = Vec::new();
    let mut add = |name: String, make: Box<dyn Fn(String) -> Timed>| {
        let figure = name.clone();
        works.push((format!("growth/{name}"), Box::new(move || make(figure.clone()))));
    };
    for batch in [8, 16, 32, 64] {
        add(format!("train, batch {batch}"), Box::new(move |name| train(name, 0, batch, LENGTH)));
    }
    for length in [64, 128, 256, 512, 1024] {
        let batch = TOKENS / length;
        add(format!("train, length {length}"), Box::new(move |name| train(name, 0, batch, length)));
    }
    for rollouts in [1, 4, 16, 64] {
        let make = move |name| decode(name, 0, rollouts, NEW_TOKENS);
        add(format!("decode, rollouts {rollouts}"), Box::new(make));
    }
    for length in [32, 128, 512] {
        let make = move |name| decode(name, 0, ROLLOUTS, length);
        add(format!("decode, new tokens {length}"), Box::new(make));
    }
    for (i, (size, ..)) in SIZES.into_iter().enumerate() {
        add(format!("train, size {size}"), Box::new(move |name| train(name, i, BATCH, LENGTH)));
        let make = move |name| decode(name, i, ROLLOUTS, NEW_TOKENS);
        add(format!("decode, size {size}"), Box::new(make));
    }
    works
}

/// One update: gradients and the optimizer of SFT, on answers behind prompts of [`PROMPT_LENGTH`].
fn train(name: String, size: usize, batch: usize, length: usize) -> Timed {
    let (prompter, parameters) = model(size);
    let rng = &mut Seed::root(1).rng();
    let sequences: Vec<Sequence> = (0..batch)
        .map(|_| {
            let input_ids = words(length, &prompter.config, rng);
            let answers = PROMPT_LENGTH..length;
            Sequence {
                positions: rope_index(&input_ids, &[], &prompter.config).expect("text alone"),
                predictions: answers.map(|at| (at - 1, input_ids[at])).collect(),
                input_ids,
                segments: Vec::new(),
                patches: Vec::new(),
            }
        })
        .collect();
    let stage = WORK.sft();
    let mut trainer = WORK.trainer(&stage.optimizer, &parameters);
    let training = TrainingSpec { freeze: Vec::new(), ..(*stage.training).clone() };
    let run = move || {
        let context = context(&prompter, &training);
        pretrain::step(&mut trainer, &context, &sequences).expect("a step");
    };
    let count = Some((batch * length, "tokens/s"));
    Timed { figure: name, count, run: Box::new(run) }
}

/// Answers of one length, each prompt shared by its rollouts.
fn decode(name: String, size: usize, num_samples: usize, length: usize) -> Timed {
    let (prompter, parameters) = model(size);
    let rng = &mut Seed::root(1).rng();
    let questions: Vec<Question> = (0..PROMPTS as u64)
        .map(|i| Question {
            sample: sample(i),
            input_ids: words(PROMPT_LENGTH, &prompter.config, rng),
            patches: Vec::new(),
            position_gap: 0,
        })
        .collect();
    let sampling = Sampling {
        temperature: 1.0,
        eos_token_id: Vec::new(),
        ..Sampling::greedy(length, prompter.tokenizer.ids.eos)
    };
    let run = move || {
        let mut engine = LocalEngine::new(&prompter.config, &WORK.compute, ComputeDtype::F32);
        engine.load(&parameters).expect("weights of this shape");
        engine.generate(&questions, num_samples, &sampling, Seed::root(1)).expect("finite logits");
    };
    let count = Some((PROMPTS * num_samples * length, "tokens/s"));
    Timed { figure: name, count, run: Box::new(run) }
}

/// Random tokens of text.
fn words(count: usize, config: &VlmConfig, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let ids = (0..).map(|_| rng.random_range(0..config.vocab_size as u32));
    ids.filter(|&id| !config.is_media(id)).take(count).collect()
}

fn context<'a>(prompter: &'a Prompter, training: &'a TrainingSpec) -> Context<'a> {
    Context::new(prompter, &WORK.compute, training)
}

/// A model of [`SIZES`] with random weights.
fn model(size: usize) -> (Rc<Prompter>, Parameters) {
    let (_, num_hidden_layers, hidden_size, intermediate_size) = SIZES[size];
    let mut prompter = open_base(&WORK.recipe, &WORK.compute).expect("the kept base").prompter;
    let config = VlmConfig {
        num_hidden_layers,
        hidden_size,
        intermediate_size,
        num_attention_heads: hidden_size / 32,
        num_key_value_heads: hidden_size / 64,
        ..prompter.config
    };
    prompter.config = config;
    prompter.config.vision_config.out_hidden_size = hidden_size;
    let rng = &mut Seed::root(1).rng();
    let parameters = Parameters::init(&prompter.config, rng, &WORK.compute.device);
    (Rc::new(prompter), parameters)
}
