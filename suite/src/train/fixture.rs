//! What the tests of this folder share: a small model of random weights, and what it is trained on.

use std::sync::LazyLock;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use synergy_benchmarks::families::Split;
use synergy_benchmarks::sample::Sample;
use synergy_models::qwen2_5_vl::config::Preset;
use synergy_models::qwen2_5_vl::rope::rope_index;

use crate::device::Compute;
use crate::recipe::{
    GrpoSpec, Named, ObjectiveSpec, OptimizerSpec, PromptSpec, QuestionsSpec, RegistersSpec,
    TrainingSpec,
};
use crate::reward::{AnswerRule, RewardSpec};
use crate::run::base::Base;
use crate::train::Batch;
use crate::train::engine::Question;
use crate::train::pool::drawn;
use crate::train::sequence::{Prompter, Sequence};

pub(crate) static BASE: LazyLock<Base> = LazyLock::new(|| base(Preset::Nano, 0.1, &compute()));

pub(crate) fn compute() -> Compute {
    Compute::open("flex", Some(1)).unwrap()
}

pub(crate) fn base(preset: Preset, initializer_range: f64, compute: &Compute) -> Base {
    let prompt = PromptSpec { suffix: "Box it.".into(), registers: Some(registers()) };
    Base::fresh(preset, 400, initializer_range, &prompt, 1, compute).unwrap()
}

pub(crate) fn registers() -> RegistersSpec {
    RegistersSpec {
        statements: vec![0.5, 0.5],
        dense_suffix: "Every step.".into(),
        long_suffix: "Aloud.".into(),
        misread: 0.1,
    }
}

pub(crate) fn optimizer() -> OptimizerSpec {
    OptimizerSpec {
        learning_rate: 1e-3,
        muon_learning_rate: 0.0,
        muon_momentum: 0.95,
        beta_1: 0.9,
        beta_2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
        max_grad_norm: 1e9,
        warmup_steps: 0,
        final_learning_rate_ratio: 1.0,
    }
}

pub(crate) fn training(freeze: &[&str], micro_batch_size: usize) -> TrainingSpec {
    let freeze = freeze.iter().map(|&pattern| pattern.to_owned()).collect();
    TrainingSpec { freeze, micro_batch_size, ..TrainingSpec::none() }
}

/// GRPO on [`questions`], whose answers are short.
pub(crate) fn grpo_spec(objective: ObjectiveSpec) -> GrpoSpec {
    let reward = RewardSpec {
        accuracy_weight: 0.9,
        format_weight: 0.1,
        answer: AnswerRule::OnlyBox,
        length: None,
    };
    let questions = QuestionsSpec::Drawn { split: Split::Train, num_questions: 4, hops: [1, 2] };
    GrpoSpec {
        from: "base".into(),
        num_steps: 20,
        batch_size: 4,
        num_mini_batches: 1,
        num_generations: 3,
        temperature: 1.0,
        max_completion_tokens: 6,
        objective,
        reward: Named::new("study", reward),
        questions: Named::new("few", questions),
        skip_solved_by: None,
        num_resamplings: None,
        training: Named::new("all", training(&["visual."], 2)),
        optimizer: Named::new("usual", optimizer()),
        distillation: None,
        guidance: None,
    }
}

/// A question of the training pool.
pub(crate) fn question(prompter: &Prompter, index: u64, hops: [usize; 2]) -> Question {
    Question::new(prompter, drawn(1, index, Split::Train, hops), true).unwrap()
}

pub(crate) fn questions() -> Vec<Question> {
    (0..4).map(|index| question(&BASE.prompter, index, [1, 2])).collect()
}

/// The dense solution of a question of the families.
pub(crate) fn dense(sample: &Sample) -> String {
    sample.solution.as_ref().unwrap().dense()
}

/// A question of the training pool with its picture, answered with its dense solution.
pub(crate) fn answered(index: u64, hops: [usize; 2], rng: &mut ChaCha8Rng) -> Sequence {
    let sample = drawn(1, index, Split::Train, hops);
    let patches = BASE.prompter.patches(&sample).unwrap();
    let turn = [(sample.question.clone(), dense(&sample))];
    BASE.prompter.conversation(&turn, patches, 0, rng).unwrap()
}

/// A made-up question without picture and `answers`, as segments after one prompt.
pub(crate) fn packed(prompt: &[u32], answers: &[Vec<u32>]) -> Sequence {
    let mut input_ids = prompt.to_vec();
    let mut positions = rope_index(prompt, &[], &BASE.prompter.config).unwrap();
    let mut segments = vec![0; prompt.len()];
    let mut predictions = Vec::new();
    for (k, answer) in answers.iter().enumerate() {
        for (t, &id) in answer.iter().enumerate() {
            let from = if t == 0 { prompt.len() - 1 } else { input_ids.len() - 1 };
            predictions.push((from, id));
            input_ids.push(id);
            segments.push(k as u32 + 1);
            positions.push([(prompt.len() + t) as u32; 3]);
        }
    }
    Sequence { input_ids, positions, segments, patches: Vec::new(), predictions }
}

pub(crate) fn ids(rng: &mut ChaCha8Rng, len: usize) -> Vec<u32> {
    // One that stands for a part of a video would need the video.
    let text = |id| if BASE.prompter.config.is_media(id) { 300 } else { id };
    (0..len).map(|_| text(rng.random_range(20..300))).collect()
}

/// All `sequences` in one micro-batch.
pub(crate) fn micro_batch(sequences: &[Sequence]) -> Batch<'_> {
    const MEMBERS: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    let members = &MEMBERS[..sequences.len()];
    Batch { members, sequences: sequences.iter().collect(), num_micro_batches: 1 }
}
