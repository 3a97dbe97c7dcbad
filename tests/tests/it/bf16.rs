//! Computing in bf16 against f32 on one device: log-probabilities, a curve of losses, recomputed layers, RL, answers.
//!
//! On the kept bases; the device is that of `devices`. Compiled in every build, so that what breaks them is seen at once,
//! and run only with libtorch.

#![expect(clippy::unwrap_used, reason = "the kept bases are there, and a test may panic")]

use std::path::Path;

use synergy_benchmarks::families::{Family, Split};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_grade::Grader;
use synergy_grade::answer::Outcome;
use synergy_models::generate::Sampling;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_models::weights::ComputeDtype;
use synergy_suite::device::Compute;
use synergy_suite::recipe::{GrpoSpec, Recipe, StageSpec, TrainingSpec};
use synergy_suite::run::base::Base;
use synergy_suite::train::algorithm::{Draws, Reference, StageInputs};
use synergy_suite::train::engine::{Engine as _, Question, completions};
use synergy_suite::train::grpo::Grpo;
use synergy_suite::train::pool::{Files, Pool};
use synergy_suite::train::rollout::LocalEngine;
use synergy_suite::train::{Batch, Context, prediction_log_probs, pretrain};

use crate::devices::{base, other, sequences, trainer};

/// Differences of log-probabilities, on average and at most, in nats. A logit is rounded to eight bits: one between 8
/// and 16 to a sixteenth. Measured: 0.013 and 0.18.
const MEAN_MAX: f32 = 2e-2;
const APART_MAX: f32 = 0.25;

fn log_probs(base: &Base, dtype: ComputeDtype) -> Vec<f32> {
    let model = Vlm::computing(&base.prompter.config, &base.parameters, dtype);
    let sequences = sequences(&base.prompter);
    let members: Vec<usize> = (0..sequences.len()).collect();
    let batch =
        Batch { members: &members, sequences: sequences.iter().collect(), num_micro_batches: 1 };
    prediction_log_probs(&model, &batch, None).try_into_vec_as::<f32>().unwrap()
}

#[test]
#[cfg_attr(not(feature = "libtorch"), ignore = "only a build with libtorch has the device")]
fn log_probs_are_those_of_f32_up_to_rounding() {
    let Some(compute) = other() else { return };
    let base = base(&compute);
    let (ours, whole) = (log_probs(&base, ComputeDtype::Bf16), log_probs(&base, ComputeDtype::F32));
    let apart: Vec<f32> = ours.iter().zip(&whole).map(|(a, b)| (a - b).abs()).collect();
    let mean = apart.iter().sum::<f32>() / apart.len() as f32;
    let most = apart.iter().copied().fold(0.0, f32::max);
    println!("{} log-probabilities: {mean} apart on average, {most} at most", apart.len());
    assert!(mean > 0.0, "nothing was computed in bf16");
    assert!(mean < MEAN_MAX, "{mean} apart on average");
    assert!(most < APART_MAX, "{most} apart at most");
}

/// Loss and gradient norm of twenty steps of SFT.
fn curve(base: &Base, compute: &Compute, training: &TrainingSpec) -> Vec<[f64; 2]> {
    let context = Context::new(&base.prompter, compute, training);
    let sequences = sequences(&base.prompter);
    let mut trainer = trainer(base);
    let step = |_| {
        let figures = pretrain::step(&mut trainer, &context, &sequences).unwrap();
        [figures["loss"], figures["gradient_norm"]]
    };
    (0..20).map(step).collect()
}

#[test]
#[cfg_attr(not(feature = "libtorch"), ignore = "only a build with libtorch has the device")]
fn twenty_losses_are_within_five_percent_and_layers_can_be_computed_again() {
    let Some(compute) = other() else { return };
    let base = base(&compute);
    let whole = TrainingSpec { micro_batch_size: 3, ..TrainingSpec::none() };
    let half = TrainingSpec { dtype: Some(ComputeDtype::Bf16), ..whole.clone() };
    let again = TrainingSpec { gradient_checkpointing: Some(true), ..half.clone() };
    let [whole, half, again] = [whole, half, again].map(|t| curve(&base, &compute, &t));
    let relative = |a: f64, b: f64| (a - b).abs() / b;
    for (name, curve, base) in [("bf16", &half, &whole), ("recomputed", &again, &half)] {
        let losses = curve.iter().zip(base).map(|(a, b)| relative(a[0], b[0]));
        let apart = losses.fold(0.0, f64::max);
        let norm = relative(curve[0][1], base[0][1]);
        println!("{name}: losses {apart}, first norm of the gradient {norm} apart");
    }
    for (step, ((whole, half), again)) in whole.iter().zip(&half).zip(&again).enumerate() {
        assert!(relative(half[0], whole[0]) < 0.05, "step {step}: {half:?} {whole:?}");
        assert!(relative(again[0], half[0]) < 0.05, "step {step}: {again:?} {half:?}");
    }
    // The first gradient is one of the same parameters.
    assert!(relative(half[0][1], whole[0][1]) < 0.05);
    assert!(relative(again[0][1], half[0][1]) < 0.01);
}

#[test]
#[cfg_attr(not(feature = "libtorch"), ignore = "only a build with libtorch has the device")]
fn a_step_of_rl_samples_and_learns_in_bf16() {
    let Some(compute) = other() else { return };
    let base = base(&compute);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../suite/recipes/smoke.toml");
    let mut recipe = Recipe::read(&path).unwrap();
    let Some(StageSpec::Grpo(spec)) = recipe.stages.get_mut("grpo") else { panic!("no GRPO") };
    spec.batch_size = 4;
    spec.num_mini_batches = 1;
    let reference = Reference { parameters: &base.parameters, features: None, scorer: None };
    fn of<'a>(spec: &'a GrpoSpec, files: &'a Files) -> Grpo<'a> {
        let draws = Draws { pool: Pool { files, run_seed: 1 }, stage: Seed::root(1) };
        Grpo::new(spec, StageInputs::default(), draws).unwrap()
    }
    let files = Files::default();
    let questions = of(spec, &files).batch(&base.prompter, 0).unwrap();
    let [whole, half] = [ComputeDtype::F32, ComputeDtype::Bf16].map(|dtype| {
        spec.training.dtype = Some(dtype);
        let context = Context::new(&base.prompter, &compute, &spec.training);
        let mut trainer = trainer(&base);
        let mut engine = LocalEngine::new(&base.prompter.config, &compute, dtype);
        let grpo = of(spec, &files);
        let figures =
            grpo.step(&mut trainer, &mut engine, &context, reference, &questions, 0).unwrap();
        println!("{dtype:?}: {figures:?}");
        figures
    });
    // Other log-probabilities of other draws.
    let differs = |name: &str| (whole[name] - half[name]).abs() > 1e-6;
    assert!(differs("entropy_nats") && half["gradient_norm"].is_finite());
}

#[test]
#[cfg_attr(not(feature = "libtorch"), ignore = "only a build with libtorch has the device")]
fn answers_in_bf16_are_as_right_as_in_f32() {
    let Some(compute) = other() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let recipe = Recipe::read(&root.join("suite/recipes/small.toml")).unwrap();
    let base = Base::read(&root.join("golden/base/small"), &recipe.prompt, &compute).unwrap();
    let prompter = &base.prompter;
    let question = |i| {
        let sample = Sample::procedural(Family::Sum, 31, Split::Validation, i, 1..=8);
        Question::new(prompter, sample, true).unwrap()
    };
    let questions: Vec<Question> = (0..60).map(question).collect();
    let sampling = Sampling::greedy(96, prompter.tokenizer.ids.eos);
    let [whole, half] = [ComputeDtype::F32, ComputeDtype::Bf16].map(|dtype| {
        let mut engine = LocalEngine::new(&prompter.config, &compute, dtype);
        engine.load(&base.parameters).unwrap();
        let seed = Seed::root(1);
        completions(&engine, &prompter.tokenizer, &questions, 1, &sampling, seed).unwrap()
    });
    let right = |answers: &[synergy_report::completion::Completion]| {
        answers.iter().filter(|c| c.outcome(Grader::Boxed1) == Outcome::Correct).count() as f64
            / 60.0
    };
    let finished = half.iter().filter(|c| c.finished).count();
    let same = whole.iter().zip(&half).filter(|(a, b)| a.text == b.text).count();
    let (whole, half) = (right(&whole), right(&half));
    println!("{finished} of 60 finished, {same} as in f32; accuracy {half}, in f32 {whole}");
    assert!(finished >= 57, "{finished} of 60 finished");
    assert!((whole - half).abs() <= 0.1, "accuracy {half}, in f32 {whole}");
}
