//! The kept bases are what their recipes make: the first steps of each are trained again.
//!
//! Trains for a few seconds. A whole base is trained again by `reproduce --from-scratch`.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use synergy_benchmarks::seed::Seed;
use synergy_suite::device::Compute;
use synergy_suite::recipe::{Recipe, StageSpec};
use synergy_suite::run::base::Base;
use synergy_suite::run::open_base;
use synergy_suite::train::{Context, Trainer, pretrain};

/// Losses of the recorded curve and of training again may differ by this much, in nats: another
/// processor rounds otherwise, and a few steps do not let that grow.
const TOLERANCE_NATS: f64 = 2e-3;

fn first_steps_are_those_recorded(recipe: &str, kept: &str, num_steps: usize) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let recipe = Recipe::read(&root.join(format!("suite/recipes/{recipe}.toml")))?;
    let kept = root.join("golden/base").join(kept);
    let curve = std::fs::read_to_string(kept.join("curve.jsonl"))?;

    let compute = Compute::open("flex", None)?;
    let base = open_base(&recipe, &compute)?;
    let name = *recipe.order(&recipe.regimes[0].stage).first().context("no stage")?;
    let spec = &recipe.stages[name];
    let StageSpec::Pretrain(settings) = spec else { bail!("a base begins with pretraining") };
    let seed = Seed::root(recipe.seeds[0]).fold_in(name);
    let (optimizer, planned_steps) = (&settings.optimizer, settings.num_steps);
    let mut trainer =
        Trainer::new(&settings.training, optimizer, planned_steps, &base.parameters, seed)?;
    let context = Context::new(&base.prompter, &compute, &settings.training);
    for (step, line) in curve.lines().take(num_steps).enumerate() {
        let line: Value = serde_json::from_str(line)?;
        let recorded = line["figures"]["loss"].as_f64().context("a loss")?;
        let batch = pretrain::batch(&base.prompter, settings, seed, step)?;
        let loss = pretrain::step(&mut trainer, &context, &batch)?["loss"];
        let difference = (loss - recorded).abs();
        assert!(difference < TOLERANCE_NATS, "step {step}: {loss}, recorded {recorded}");
    }
    // What is kept is not what was started from.
    let end = Base::read(&kept, &recipe.prompt, &compute)?;
    assert_ne!(end.parameters.to_bytes(), base.parameters.to_bytes());
    assert_eq!(end.prompter.config, base.prompter.config);
    Ok(())
}

#[test]
fn the_nano_base_starts_as_recorded() -> Result<()> {
    first_steps_are_those_recorded("base-nano", "nano", 4)
}

#[test]
fn the_small_base_starts_as_recorded() -> Result<()> {
    first_steps_are_those_recorded("base", "small", 2)
}
