//! The model in bf16 against the reference in bf16 (`golden/parity/bf16.py`), and against itself in f32.

use burn::tensor::{DType, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::fixtures::{
    Case, Pictures, cases, device, distance, loss, model, relative_distance, tensors,
};
use crate::generate::{Prompt, Sampling, generate};
use crate::ops::{Beside, Linear};
use crate::qwen2_5_vl::rope::Grid;
use crate::qwen2_5_vl::vlm::Vlm;
use crate::weights::ComputeDtype::{Bf16, F32};
use crate::weights::Parameters;

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

/// The last row of `logits`.
fn last(logits: &[f32], vocab: usize) -> &[f32] {
    &logits[logits.len() - vocab..]
}

fn mean_distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

/// How much more than the reference's own rounding one case may be apart: both round to eight bits, but a bias is added
/// before the product is rounded there and after it here, and one case is one draw of such roundings. All cases
/// together are held to the rounding itself.
const ONE_CASE: f32 = 1.25;

#[test]
fn logits_are_as_near_to_the_reference_in_bf16_as_that_is_to_f32() {
    let (pictures, recorded, whole) =
        (Pictures::read(), tensors("bf16.safetensors"), tensors("logits.safetensors"));
    assert_eq!(recorded.len(), 4);
    let (mut num_argmax, mut all) = (0, [0.0; 2]);
    for (key, (_, want)) in &recorded {
        let (name, case_name) = key.split_once('/').unwrap();
        let (config, parameters) = model(name);
        let vlm = Vlm::computing(&config, &parameters, Bf16);
        let got = case(case_name).logits(&pictures, &vlm);
        let got = last(&got, config.vocab_size);
        let rounding = mean_distance(want, last(&whole[key].1, config.vocab_size));
        let apart = mean_distance(got, want);
        println!("{key}: {apart} apart, {rounding} between bf16 and f32");
        assert!(apart <= ONE_CASE * rounding, "{key}: {apart} apart, {rounding} is rounding");
        all = [all[0] + apart, all[1] + rounding];
        // The largest logit and the one after it, of the reference.
        let mut order: Vec<usize> = (0..want.len()).collect();
        order.sort_by(|&a, &b| want[b].total_cmp(&want[a]));
        if want[order[0]] - want[order[1]] > rounding {
            let largest = (0..got.len()).max_by(|&a, &b| got[a].total_cmp(&got[b])).unwrap();
            assert_eq!(largest, order[0], "{key}");
            num_argmax += 1;
        }
    }
    assert!(all[0] <= all[1], "{} apart in all, {} is rounding", all[0], all[1]);
    assert!(num_argmax > 0, "no margin of the reference is above its rounding");
}

#[test]
fn hidden_states_between_layers_are_of_the_type_that_is_computed_in() {
    let (config, parameters) = model("model-untied");
    let (case, pictures) = (case("picture"), Pictures::read());
    for (compute, dtype) in [(F32, DType::F32), (Bf16, DType::BF16)] {
        let vlm = Vlm::computing(&config, &parameters, compute).plain();
        let (values, grid): (&[f32], Grid) = pictures.get(&case.pictures[0]);
        let patches =
            Tensor::<1>::from_floats(values, &device()).reshape([grid.num_patches() as i32, -1]);
        let mut num_states = 0;
        let features = vlm.visual.observed(patches, grid, 1, |x| {
            assert_eq!(x.dtype(), dtype);
            num_states += 1;
        });
        assert_eq!(num_states, config.vision_config.depth + 1);
        assert_eq!(features.dtype(), dtype);
        // Kept features come back from the host in f32.
        let kept = Tensor::<2>::from_data(features.try_to_data_as::<f32>().unwrap(), &device());
        let laid = vlm.lay_out(&case.batch(&pictures, &config), Some(&kept), usize::MAX);
        let mut x = laid.x;
        assert_eq!(x.dtype(), dtype);
        for i in 0..config.num_hidden_layers {
            x = vlm.decoder.layer(i, x, laid.num, &laid.rotary, laid.mask.as_ref(), None);
            assert_eq!(x.dtype(), dtype, "layer {i}");
        }
        let x = vlm.decoder.last_norm(x);
        assert_eq!(x.dtype(), dtype);
        assert_eq!(vlm.decoder.logits(x).dtype(), DType::F32);
    }
}

#[test]
fn in_f32_nothing_is_copied_and_no_bit_changes() {
    let (config, parameters) = model("model-tied");
    assert_eq!(parameters.cast(F32).to_bytes(), parameters.to_bytes());
    let (case, pictures) = (case("picture"), Pictures::read());
    let logits = |vlm: Vlm| case.logits(&pictures, &vlm.plain());
    let computing = logits(Vlm::computing(&config, &parameters, F32));
    assert_eq!(computing, logits(Vlm::new(&config, &parameters)));
}

/// Random weights make rounding large: the reference's own gradients in bf16 are 0.18 (untied) and 0.14 (tied) of their
/// norm from those in f32, ours 0.15 and 0.14.
#[test]
fn gradients_of_the_parameters_are_f32_and_those_of_f32_up_to_rounding() {
    for name in ["model-untied", "model-tied"] {
        let (config, parameters) = model(name);
        let leaves = parameters.map(|_, p| Tensor::from_inner(p.value.clone()).require_grad());
        let gradients = |dtype| -> Parameters {
            let mut found = loss(&Vlm::computing(&config, &leaves, dtype)).backward();
            leaves.map(|_, p| p.value.grad_remove(&mut found).unwrap())
        };
        let (ours, whole) = (gradients(Bf16), gradients(F32));
        let mut all: [Vec<f32>; 2] = Default::default();
        for (key, p) in ours.iter() {
            assert_eq!(p.value.dtype(), DType::F32, "{key}");
            all[0].extend(p.to_vec());
            all[1].extend(whole.get(key).to_vec());
        }
        let apart = relative_distance(&all[0], &all[1]);
        println!("{name}: gradients {apart} of their norm apart");
        assert!(apart < 0.2, "{name}: {apart}");
    }
}

#[test]
fn generation_keeps_its_cache_in_bf16_and_its_log_probs_are_near_those_of_f32() {
    let (config, parameters) = model("model-untied");
    let prompt = |ids: &[u32]| Prompt { input_ids: ids.to_vec(), ..Prompt::default() };
    let prompts = [prompt(&[5, 6, 7]), prompt(&[8, 9, 10, 11, 12, 13])];
    let stream = |_, _| rand_chacha::rand_core::SeedableRng::seed_from_u64(1);
    let answers = |dtype| {
        let vlm = Vlm::computing(&config, &parameters, dtype).plain();
        generate(&vlm, &prompts, None, 2, &Sampling::greedy(6, 0), &stream)
    };
    for (got, want) in answers(Bf16).iter().flatten().zip(answers(F32).iter().flatten()) {
        assert!(got.log_probs.iter().all(|x| x.is_finite()));
        // The first token is drawn after the same text.
        if got.ids[0] == want.ids[0] {
            assert!(distance(&got.log_probs[..1], &want.log_probs[..1]) < 0.2);
        }
    }
}

/// The first updates of RL move B by a hundred-thousandth. What that does to a layer's outputs is far below the last
/// place of a single one in bf16, but not of very many, if nothing is rounded on the way: it is measured along what it
/// should be.
#[test]
fn a_small_step_of_an_adapter_moves_outputs_in_bf16_as_in_f32() {
    const INPUTS: usize = 512;
    const ROWS: usize = 4096;
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let mut drawn = |rows: usize, columns: usize, bound: f32| {
        let values: Vec<f32> =
            (0..rows * columns).map(|_| rng.random_range(-bound..=bound)).collect();
        let data = TensorData::new(values, [rows, columns]);
        Tensor::<2>::from_data(data, &device())
    };
    let bf16 = |t: Tensor<2>| t.cast(DType::BF16);
    // Both lie on the grid of bf16, as those of a published model do.
    let weight = bf16(drawn(INPUTS, INPUTS, 0.05));
    let x = bf16(drawn(ROWS, INPUTS, 1.7));
    let (a, b) = (drawn(16, INPUTS, 0.044), drawn(INPUTS, 16, 3e-5));
    let whole = x.clone().cast(DType::F32);
    let want = whole.matmul(a.clone().transpose()).matmul(b.clone().transpose());
    // How far outputs go along what they should, 1 if just as far.
    let along = |moved: Tensor<2>, from: Tensor<2>| {
        let moved = moved.cast(DType::F32) - from.cast(DType::F32);
        let sum = |t: Tensor<2>| f64::from(t.mean().into_scalar::<f32>());
        sum(moved * want.clone()) / sum(want.clone().square())
    };
    let plain = Linear { weight: weight.clone(), bias: None, beside: None };
    let beside = Beside::new(bf16(a.clone()), bf16(b.clone()));
    let beside = Linear { beside: Some(beside), ..plain.clone() };
    let merged = bf16(weight.cast(DType::F32) + b.matmul(a));
    let merged = Linear { weight: merged, ..plain.clone() };
    let before = plain.forward(x.clone());
    let [joined, apart, merged] = [beside.clone().joined(), beside, merged]
        .map(|layer| along(layer.forward(x.clone()), before.clone()));
    assert!((joined - 1.0).abs() < 0.07, "{joined}");
    // What joining is for: neither a sum with the weight nor one with its product has it.
    assert!(merged < 0.2 && apart < 0.2, "merged {merged}, two products {apart}");
}
