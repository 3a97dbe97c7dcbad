//! What the reference implementation made of the same things: training steps, and a checkpoint that
//! this program wrote.
//!
//! The parts of the model are compared where they are defined; here is what needs the suite or its
//! binary. `golden/parity/generate.py` recorded it.

#![expect(clippy::unwrap_used, reason = "what is recorded is there, and a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use synergy_benchmarks::seed::Seed;
use synergy_models::image::{Patches, ProcessorConfig};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::qwen2_5_vl::rope::{Grid, rope_index};
use synergy_models::tokenizer::Tokenizer;
use synergy_models::weights::Parameters;
use synergy_suite::commands::inspect::Receipt;
use synergy_suite::device::Compute;
use synergy_suite::recipe::{OptimizerSpec, PromptSpec, TrainingSpec};
use synergy_suite::train::sequence::{Prompter, Sequence};
use synergy_suite::train::{Context, Trainer, pretrain};

use crate::{Project, project, succeed};

const FIXTURES: &str = "golden/parity/fixtures";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FIXTURES).join(name)
}

fn json<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// The sequences of `loss_grad.json` as training takes them.
fn sequences(config: &VlmConfig) -> Vec<Sequence> {
    #[derive(Deserialize)]
    struct Batch {
        input_ids: Vec<Vec<u32>>,
        attention_mask: Vec<Vec<u8>>,
        labels: Vec<Vec<i64>>,
        pictures: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Grids {
        grid_thw: BTreeMap<String, [usize; 3]>,
    }
    let batch: Batch = json("loss_grad.json");
    let grids = json::<Grids>("pictures.json").grid_thw;
    let bytes = std::fs::read(path("pictures.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut pictures = batch.pictures.iter().map(|name| {
        let [t, h, w] = grids[name];
        let values = tensors.tensor(name).unwrap().data().as_chunks::<4>().0;
        let values = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Patches { values, grid: Grid { t, h, w } }
    });
    let rows = batch.input_ids.iter().zip(&batch.attention_mask).zip(&batch.labels);
    rows.map(|((ids, mask), labels)| {
        let len = mask.iter().filter(|&&m| m == 1).count();
        let input_ids = ids[..len].to_vec();
        let patches: Vec<Patches> = input_ids
            .contains(&config.image_token_id)
            .then(|| pictures.next().unwrap())
            .into_iter()
            .collect();
        let grids: Vec<Grid> = patches.iter().map(|p| p.grid).collect();
        let positions = rope_index(&input_ids, &grids, config).unwrap();
        let learnt = labels.iter().enumerate().filter(|(_, label)| **label >= 0);
        Sequence {
            predictions: learnt.map(|(at, &label)| (at - 1, label as u32)).collect(),
            positions,
            segments: Vec::new(),
            input_ids,
            patches,
        }
    })
    .collect()
}

#[test]
fn twenty_steps_of_adamw_are_those_of_the_reference() {
    #[derive(Deserialize)]
    struct Recorded {
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
        weight_decay: f64,
        max_grad_norm: f64,
        peak_learning_rate: f64,
        warmup_steps: usize,
        num_steps: usize,
        learning_rates: Vec<f64>,
        losses: Vec<f64>,
        gradient_norms: Vec<f64>,
        loss_after: f64,
        parameter_norms_after: BTreeMap<String, f64>,
    }
    let recorded: Recorded = json("adamw.json");
    let device = std::env::var("SYNERGY_TEST_DEVICE").unwrap_or_else(|_| "flex".to_owned());
    let compute = Compute::open(&device, None).unwrap();
    let config = VlmConfig::read(&path("model-untied")).unwrap();
    let parameters = Parameters::load(&path("model-untied"), &config, &compute.device).unwrap();
    let spec = OptimizerSpec {
        learning_rate: recorded.peak_learning_rate,
        muon_learning_rate: 0.0,
        muon_momentum: 0.95,
        beta_1: recorded.beta_1,
        beta_2: recorded.beta_2,
        epsilon: recorded.epsilon,
        weight_decay: recorded.weight_decay,
        max_grad_norm: recorded.max_grad_norm,
        warmup_steps: recorded.warmup_steps,
        final_learning_rate_ratio: 0.0,
    };
    let sequences = sequences(&config);
    let prompter = Prompter {
        processor: ProcessorConfig::preset(&config.vision_config),
        // Training asks for ids only: any words will do.
        tokenizer: Tokenizer::train(std::iter::once("a b".to_owned()), 300).unwrap(),
        prompt: PromptSpec { suffix: String::new(), registers: None },
        end_tokens: vec![config.eos_token_id],
        config,
    };
    let training = TrainingSpec { freeze: Vec::new(), micro_batch_size: 1, ..TrainingSpec::none() };
    let context = Context::new(&prompter, &compute, &training);
    let mut trainer =
        Trainer::new(&training, &spec, recorded.num_steps, &parameters, Seed::root(1)).unwrap();
    for step in 0..recorded.num_steps {
        let rate = trainer.optimizer.schedule(step) * spec.learning_rate;
        assert!((rate - recorded.learning_rates[step]).abs() < 1e-9, "step {step}: rate {rate}");
        let figures = pretrain::step(&mut trainer, &context, &sequences).unwrap();
        let apart = (figures["loss"] - recorded.losses[step]).abs();
        assert!(apart < 1e-3, "step {step}: losses {apart} apart");
        let want = recorded.gradient_norms[step];
        let apart = (figures["gradient_norm"] - want).abs();
        // Adam divides by the roots of tiny second moments: late norms wander, the loss does not.
        assert!(apart < 3e-2 * want, "step {step}: norm {want}, {apart} apart");
    }
    let after = trainer.parameters.clone();
    let loss = pretrain::step(&mut trainer, &context, &sequences).unwrap()["loss"];
    assert!((loss - recorded.loss_after).abs() < 1e-3, "{loss}");
    assert_eq!(
        after.names().collect::<Vec<_>>(),
        recorded.parameter_norms_after.keys().collect::<Vec<_>>()
    );
    for (name, parameter) in after.iter() {
        let squares = parameter.to_vec().into_iter().map(|x| f64::from(x).powi(2));
        let (norm, want) = (squares.sum::<f64>().sqrt(), recorded.parameter_norms_after[name]);
        assert!((norm - want).abs() < 1e-3 * want, "{name}: {norm} {want}");
    }
}

#[derive(Deserialize)]
struct Read {
    name: String,
    text: String,
    images: Vec<String>,
    raw: bool,
    prompt: String,
    input_ids: Vec<u32>,
    image_grid_thw: Vec<[usize; 3]>,
    rope_index: [Vec<u32>; 3],
    log_probs: Vec<f64>,
    answer: String,
}

#[derive(Deserialize)]
struct Written {
    cases: Vec<Read>,
}

/// Paths of the pictures, each behind `--image`. The loader that the reference was recorded with drops alpha, which is
/// put on white here: a picture with alpha is given as that loader saw it.
fn pictures(project: &Project, case: &Read) -> Vec<String> {
    let of = |name: &String| {
        let mut file = path("processor").join(name);
        let picture = image::open(&file).expect("a picture");
        if picture.color() == image::ColorType::Rgba8 && name == "rgba.png" {
            file = project.path(name);
            picture.to_rgb8().save(&file).expect("the picture is written");
        }
        ["--image".to_owned(), file.display().to_string()]
    };
    case.images.iter().flat_map(of).collect()
}

#[test]
fn a_checkpoint_of_ours_is_to_the_reference_what_it_is_to_us() {
    let (project, model) = (project(), path("written").display().to_string());
    for case in json::<Written>("written.json").cases {
        let images = pictures(&project, &case);
        let top = case.log_probs.len().to_string();
        let mut arguments =
            vec!["inspect", "--model", &model, "--prompt", &case.text, "--top", &top, "--json"];
        arguments.extend(images.iter().map(String::as_str));
        arguments.extend(case.raw.then_some("--raw"));
        let receipt: Receipt =
            serde_json::from_str(&succeed(&project, &arguments).stdout).expect("JSON");
        assert_eq!(receipt.prompt, case.prompt, "{}", case.name);
        assert_eq!(receipt.input_ids, case.input_ids, "{}", case.name);
        assert_eq!(receipt.rope_index, case.rope_index, "{}", case.name);
        let grids: Vec<[usize; 3]> = receipt.images.iter().map(|i| i.image_grid_thw).collect();
        assert_eq!(grids, case.image_grid_thw, "{}", case.name);
        assert_eq!(receipt.top.len(), case.log_probs.len());
        assert!(receipt.top.is_sorted_by(|a, b| a.log_prob >= b.log_prob));
        for candidate in &receipt.top {
            let apart = (candidate.log_prob - case.log_probs[candidate.id as usize]).abs();
            assert!(apart < 1e-4, "{}, token {}: {apart}", case.name, candidate.id);
        }
    }
}

#[test]
fn chat_gives_the_greedy_answers_of_the_reference() {
    let (project, model) = (project(), path("written").display().to_string());
    for case in json::<Written>("written.json").cases.into_iter().filter(|case| !case.raw) {
        let images = pictures(&project, &case);
        let mut arguments = vec!["chat", "--model", &model, "--max-new-tokens", "24"];
        arguments.extend(images.iter().map(String::as_str));
        arguments.push(&case.text);
        let said = succeed(&project, &arguments).stdout;
        assert_eq!(said.strip_suffix('\n'), Some(case.answer.as_str()), "{}", case.name);
    }
}

#[test]
fn every_generation_of_the_reference_reads_a_base_as_we_do() {
    #[derive(Deserialize)]
    struct Recorded {
        transformers: String,
        models: BTreeMap<String, Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        tokens: Vec<Tokens>,
        answers: Vec<Answer>,
    }
    #[derive(Deserialize)]
    struct Tokens {
        text: String,
        ids: Vec<u32>,
        decoded: String,
    }
    #[derive(Deserialize)]
    struct Answer {
        question: String,
        images: Vec<String>,
        input_ids: Vec<u32>,
        answer: String,
    }

    let project = project();
    for generation in ["4", "5"] {
        let recorded: Recorded = json(&format!("readers-{generation}.json"));
        assert!(recorded.transformers.starts_with(&format!("{generation}.")));
        assert_eq!(recorded.models.keys().collect::<Vec<_>>(), ["nano", "small"]);
        for (name, model) in recorded.models {
            let dir = path("../../base").join(&name);
            let tokenizer = Tokenizer::read(&dir, &VlmConfig::read(&dir).unwrap()).unwrap();
            for Tokens { text, ids, decoded } in model.tokens {
                assert_eq!(tokenizer.encode(&text), ids, "{generation}, {name}: {text:?}");
                assert_eq!(tokenizer.decode(&ids), decoded, "{generation}, {name}: {text:?}");
            }
            let dir = dir.display().to_string();
            for Answer { question, images, input_ids, answer } in model.answers {
                let pictures = images.iter().flat_map(|image| {
                    ["--image".to_owned(), path("processor").join(image).display().to_string()]
                });
                let pictures: Vec<String> = pictures.collect();
                let with = |words: &[&str]| {
                    let mut words = words.to_vec();
                    words.extend(pictures.iter().map(String::as_str));
                    succeed(&project, &words).stdout
                };
                let receipt = ["inspect", "--model", &dir, "--prompt", &question, "--json"];
                let receipt: Receipt = serde_json::from_str(&with(&receipt)).expect("JSON");
                assert_eq!(receipt.input_ids, input_ids, "{generation}, {name}: {question}");
                let said = with(&["chat", "--model", &dir, "--max-new-tokens", "40", &question]);
                assert_eq!(said.strip_suffix('\n'), Some(&answer[..]), "{generation}, {name}");
            }
        }
    }
}

#[test]
fn what_the_reference_read_is_what_is_written_today() {
    let (project, model) = (project(), path("written").display().to_string());
    let arguments = ["export", "--model", &model, "--out", "again", "--dtype", "bf16"];
    succeed(&project, &[&arguments[..], &["--max-shard-size", "0.0003"]].concat());
    let mut num_files = 0;
    for entry in std::fs::read_dir(path("written")).unwrap() {
        let name = entry.unwrap().file_name();
        let again = project.path("again").join(&name);
        let (before, now) = (std::fs::read(path("written").join(&name)), std::fs::read(again));
        assert!(before.unwrap() == now.unwrap(), "{} differs", name.display());
        num_files += 1;
    }
    assert_eq!(num_files, std::fs::read_dir(project.path("again")).unwrap().count());
}
