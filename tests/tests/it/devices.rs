//! The same weights on burn-flex and on libtorch: log-probabilities, gradients, a curve of losses, a whole run.
//!
//! Run only in a build with libtorch, compiled in every; `SYNERGY_TEST_DEVICE` names the device, `libtorch` or `cuda`.
//! Where it is `cuda` and there is none, the tests say that they were skipped.

#![expect(clippy::unwrap_used, reason = "the kept base is there, and a test may panic")]

use std::path::Path;

use synergy_benchmarks::families::Split;
use synergy_benchmarks::seed::Seed;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_suite::device::Compute;
use synergy_suite::recipe::{OptimizerSpec, PromptSpec, TrainingSpec};
use synergy_suite::run::base::Base;
use synergy_suite::train::pool::drawn;
use synergy_suite::train::register::reasoned;
use synergy_suite::train::sequence::{Prompter, Sequence};
use synergy_suite::train::{Batch, Context, Trainer, prediction_log_probs, pretrain};

use crate::{project, succeed};

/// The device that is compared with flex; none, and a word about it, where the machine lacks it.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub(crate) fn other() -> Option<Compute> {
    let name = std::env::var("SYNERGY_TEST_DEVICE").unwrap_or_else(|_| "libtorch".to_owned());
    match Compute::open(&name, Some(2)) {
        Ok(compute) => Some(compute),
        Err(error) if name.starts_with("cuda") => {
            println!("skipped: no CUDA device ({error:#})");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}

pub(crate) fn base(compute: &Compute) -> Base {
    let prompt = PromptSpec { suffix: "Box it.".into(), registers: None };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/base/nano");
    Base::read(&path, &prompt, compute).unwrap()
}

/// Questions with pictures and the teacher's dense answers.
pub(crate) fn sequences(prompter: &Prompter) -> Vec<Sequence> {
    let sequence = |index| {
        let sample = drawn(1, index, Split::Train, [1, 9]);
        let patches = prompter.patches(&sample).unwrap();
        let solution = sample.solution.as_ref().unwrap();
        let answer = reasoned(&solution.dense(), &sample.answer);
        let question = prompter.text(&sample, true);
        let rng = &mut Seed::root(1).at(index).rng();
        prompter.conversation(&[(question, answer)], patches, 0, rng).unwrap()
    };
    (0..8).map(sequence).collect()
}

fn log_probs(base: &Base, sequences: &[Sequence]) -> Vec<f32> {
    let model = Vlm::new(&base.prompter.config, &base.parameters);
    let members: Vec<usize> = (0..sequences.len()).collect();
    let batch =
        Batch { members: &members, sequences: sequences.iter().collect(), num_micro_batches: 1 };
    prediction_log_probs(&model, &batch, None).try_into_vec_as::<f32>().unwrap()
}

pub(crate) fn trainer(base: &Base) -> Trainer {
    let spec = OptimizerSpec {
        learning_rate: 1e-3,
        muon_learning_rate: 0.0,
        muon_momentum: 0.95,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
        max_grad_norm: 1.0,
        warmup_steps: 5,
        final_learning_rate_ratio: 0.1,
    };
    Trainer::new(&TrainingSpec::none(), &spec, 20, &base.parameters, Seed::root(1)).unwrap()
}

/// Loss and gradient norm of twenty steps, and the parameters behind them.
fn curve(base: &Base, compute: &Compute) -> (Vec<[f64; 2]>, Trainer) {
    let training = TrainingSpec { freeze: Vec::new(), micro_batch_size: 3, ..TrainingSpec::none() };
    let context = Context::new(&base.prompter, compute, &training);
    let sequences = sequences(&base.prompter);
    let mut trainer = trainer(base);
    let step = |_| {
        let figures = pretrain::step(&mut trainer, &context, &sequences).unwrap();
        [figures["loss"], figures["gradient_norm"]]
    };
    let figures = (0..20).map(step).collect();
    (figures, trainer)
}

#[test]
#[cfg_attr(not(feature = "libtorch"), ignore = "only a build with libtorch has the device")]
fn log_probs_gradients_and_twenty_losses_are_those_of_flex() {
    let Some(compute) = other() else { return };
    let flex = Compute::open("flex", Some(2)).unwrap();
    let (ours, theirs) = (base(&flex), base(&compute));
    let sequences = sequences(&ours.prompter);
    let pairs = log_probs(&ours, &sequences).into_iter().zip(log_probs(&theirs, &sequences));
    let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-4, "log-probabilities {apart} apart");

    let ((want, ours), (got, theirs)) = (curve(&ours, &flex), curve(&theirs, &compute));
    // The first step's parameters are still the same, so its norm is that of the same gradient.
    let norms = (got[0][1] - want[0][1]).abs() / want[0][1];
    assert!(norms < 1e-3, "norms of the gradient {norms} apart");
    for (step, (got, want)) in got.iter().zip(&want).enumerate() {
        let apart = (got[0] - want[0]).abs();
        assert!(apart < 1e-3, "step {step}: losses {apart} apart");
    }
    for (name, parameter) in ours.parameters.iter() {
        let (a, b) = (parameter.to_vec(), theirs.parameters.get(name).to_vec());
        let square = |values: &mut dyn Iterator<Item = f32>| {
            values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
        };
        let apart = square(&mut a.iter().zip(&b).map(|(a, b)| a - b));
        let whole = square(&mut a.iter().copied());
        assert!(apart <= 1e-2 * whole.max(1e-3), "{name}: {apart} of {whole}");
    }
    println!("log-probabilities {apart:.1e}, gradient {norms:.1e} apart");
}

#[test]
#[cfg_attr(not(feature = "libtorch"), ignore = "only a build with libtorch has the device")]
fn a_whole_run_is_made_on_the_device() {
    let Some(compute) = other() else { return };
    let project = project();
    let device = if compute.name == "cuda" { "cuda:0" } else { "libtorch" };
    succeed(&project, &["reproduce", "--profile", "tiny", "--device", device]);
    let results = project.json("runs/tiny/results.json");
    assert_eq!(results["provenance"]["backend"], compute.name);
}
