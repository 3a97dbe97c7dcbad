//! One step of supervised fine-tuning on the nano base of the repository, through the suite's public interface.
//!
//! Run it with `cargo run --package synergy-suite --example train_one_step`; it takes seconds.

#![expect(clippy::print_stdout, reason = "an example reports to its terminal")]

use std::path::Path;

use anyhow::{Context as _, Result};
use synergy_benchmarks::seed::Seed;
use synergy_suite::device::Compute;
use synergy_suite::recipe::{Recipe, StageSpec};
use synergy_suite::run::base::Base;
use synergy_suite::train::pool::{Files, Pool};
use synergy_suite::train::{Context, Trainer, dataset, pretrain, sft};

fn main() -> Result<()> {
    // A recipe names everything that a run depends on; `smoke` is the smallest one.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let recipe = Recipe::read(&root.join("suite/recipes/smoke.toml"))?;
    let Some(StageSpec::Sft(settings)) = recipe.stages.get("sft") else { unreachable!() };
    let Some(StageSpec::Teacher(teacher)) = recipe.stages.get("true_long") else { unreachable!() };

    // The CPU, and the model with its tokenizer, its picture processor and the study's prompt.
    let compute = Compute::open("flex", None)?;
    let base = Base::read(&root.join("golden/base/nano"), &recipe.prompt, &compute)?;

    // Questions of the procedural families, each with an answer of its teacher; no files are needed for them. The
    // first step's share becomes sequences: tokens, patches of the picture, and the positions that are learned.
    let (files, seed) = (Files::default(), Seed::root(recipe.seeds[0]));
    let pool = Pool { files: &files, run_seed: recipe.seeds[0] };
    let registers = base.prompter.prompt.registers.as_ref();
    let examples = dataset::teacher(teacher, pool, registers, seed)?.examples;
    let sequences = sft::batch(&base.prompter, settings, &examples, pool, seed, 0)?;

    // A trainer holds what changes: parameters, the optimizer's moments, the number of updates. Each step returns
    // figures by name; `loss` (nats per answer token) is measured before the update, so a second step shows the first's.
    let (training, optimizer) = (&settings.training, &settings.optimizer);
    let mut trainer = Trainer::new(training, optimizer, 2, &base.parameters, seed)?;
    let context = Context::new(&base.prompter, &compute, training);
    for name in ["before", "after"] {
        let figures = pretrain::step(&mut trainer, &context, &sequences)?;
        let loss = figures.get("loss").context("every step has a loss")?;
        println!("loss {name} the step: {loss:.4} nats per token");
    }
    Ok(())
}
