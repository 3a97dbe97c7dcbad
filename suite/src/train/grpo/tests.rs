//! Steps with demonstrations against steps of GRPO and of SFT.

use super::*;
use crate::recipe::{ObjectivePreset, ObjectiveSpec, Weighting};
use crate::train::fixture::{BASE, compute, grpo_spec, optimizer, questions, training};
use crate::train::pool::{Files, Pool};
use crate::train::pretrain;
use crate::train::rollout::LocalEngine;
use synergy_models::weights::Parameters;

/// Twenty steps of RL without demonstrations.
fn spec() -> GrpoSpec {
    // A made-up model's answers are worth nothing, so the step is that of KL alone, which needs a
    // weight that shows.
    grpo_spec(ObjectiveSpec { beta: 0.5, ..ObjectivePreset::GrpoStudy.objective() })
}

/// The same with demonstrations.
fn guided(gate: f64, prefix_until: f64) -> GrpoSpec {
    let weighting = Weighting::Sft { weight: 1.0 };
    let guidance =
        Guidance { data: "traces".into(), gate, keep_rl: false, weighting, prefix_until };
    GrpoSpec { guidance: Some(guidance), ..spec() }
}

fn traces(questions: &[Question]) -> BTreeMap<&str, &str> {
    questions.iter().map(|q| (q.sample.id.as_str(), q.sample.terse.as_str())).collect()
}

/// KL is measured from elsewhere, so that it has a slope in the first step.
fn moved() -> Parameters {
    BASE.parameters
        .map(|name, p| p.value.clone() * if name == "model.norm.weight" { 1.2 } else { 1.0 })
}

/// What `step` makes of the base.
fn after(
    micro_batch_size: usize,
    step: impl FnOnce(&mut Trainer, &Context<'_>, Reference<'_>) -> Result<StepFigures>,
) -> (Parameters, StepFigures) {
    let (training, compute) = (training(&["visual."], micro_batch_size), compute());
    let context = Context::new(&BASE.prompter, &compute, &training);
    let mut trainer =
        Trainer::new(&training, &optimizer(), 10, &BASE.parameters, Seed::root(1)).unwrap();
    let parameters = moved();
    let reference = Reference { parameters: &parameters, features: None };
    let figures = step(&mut trainer, &context, reference).unwrap();
    (trainer.parameters, figures)
}

/// What the step at this place makes of the base.
fn after_step(spec: &GrpoSpec, micro_batch_size: usize, step: usize) -> (Parameters, StepFigures) {
    after(micro_batch_size, |trainer, context, reference| {
        let questions = questions();
        let pool = Pool { files: &Files::default(), run_seed: 1 };
        let draws = Draws { pool, stage: Seed::root(9) };
        let grpo = Grpo::new(spec, &BTreeSet::new(), traces(&questions), draws).unwrap();
        let config = &BASE.prompter.config;
        let mut engine = LocalEngine::new(config, context.compute, ComputeDtype::F32);
        grpo.step(trainer, &mut engine, context, reference, &questions, step)
    })
}

fn distance(a: &Parameters, b: &Parameters) -> f64 {
    let squares = |(name, p): (&str, &synergy_models::weights::Parameter)| -> f64 {
        let other = b.get(name).to_vec();
        p.to_vec().iter().zip(other).map(|(x, y)| f64::from(x - y).powi(2)).sum()
    };
    a.iter().map(squares).sum::<f64>().sqrt()
}

#[test]
fn a_gate_that_never_opens_leaves_grpo() {
    let (guided, _) = after_step(&guided(-1.0, 0.0), 2, 0);
    let (grpo, figures) = after_step(&spec(), 2, 0);
    assert!(distance(&grpo, &BASE.parameters) > 0.1, "nothing was learned");
    assert!(figures["kl_nats"] > 0.0 && figures["groups_intact"] > 0.5);
    assert_eq!(guided.to_bytes(), grpo.to_bytes());
}

#[test]
fn a_prefix_of_nothing_leaves_grpo() {
    let (guided, figures) = after_step(&guided(1.0, 0.7), 2, 16);
    assert!(figures["prefix_share"].abs() < 1e-12 && figures["gated"] > 0.99);
    assert_eq!(guided.to_bytes(), after_step(&spec(), 2, 16).0.to_bytes());
}

#[test]
fn a_gate_that_is_always_open_leaves_sft() {
    let (guided, figures) = after_step(&guided(1.0, 0.0), 2, 0);
    let questions = questions();
    let (sft, others) = after(2, |trainer, context, _| {
        let rng = &mut Seed::root(1).rng();
        let sequences: Vec<Sequence> = questions
            .iter()
            .map(|q| {
                let text = BASE.prompter.text(&q.sample, true);
                let turn = [(text, q.sample.terse.clone())];
                BASE.prompter.conversation(&turn, q.patches.clone(), 0, rng).unwrap()
            })
            .collect();
        pretrain::step(trainer, context, &sequences)
    });
    assert!((figures["sft_loss"] - others["loss"]).abs() < 1e-6);
    let (apart, moved) = (distance(&guided, &sft), distance(&sft, &BASE.parameters));
    assert!(apart < 1e-3 * moved, "{apart} apart after a step of {moved}");
}

#[test]
fn a_prefix_is_learned_and_what_follows_it_is_rolled_out() {
    let (_, figures) = after_step(&guided(1.0, 0.5), 2, 5);
    assert!((figures["prefix_share"] - 0.5).abs() < 1e-12);
    assert!(figures["sft_loss"] > 0.0);
    // Rolled out twice.
    let once = after_step(&spec(), 2, 5).1["tokens_generated"];
    assert!(figures["tokens_generated"] > 1.5 * once);
}

#[test]
fn how_a_batch_is_cut_does_not_change_a_step_of_grpo() {
    let (whole, figures) = after_step(&spec(), 4, 0);
    let (cut, others) = after_step(&spec(), 1, 0);
    assert!((figures["loss"] - others["loss"]).abs() < 1e-6);
    let (apart, moved) = (distance(&whole, &cut), distance(&whole, &BASE.parameters));
    assert!(apart < 1e-3 * moved, "{apart} apart after a step of {moved}");
}
