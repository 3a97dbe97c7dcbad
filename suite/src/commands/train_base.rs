//! `synergy train-base`: the base model that studies start from, trained by its own recipe.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use clap::Args;
use synergy_hint::hint;

use crate::commands::arguments::DeviceArgs;
use crate::recipe::{ModelSpec, StageSpec};
use crate::run;
use crate::run::event::watch_interrupts;

const EXAMPLES: &str = "\
Examples:
  synergy train-base                        the base of the small study, in golden/base/small
  synergy train-base --recipe base-nano     that of the smoke profile
  synergy train-base --seed 2               another of the small study, in golden/base/small-2";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TrainBaseArgs {
    /// Recipe in suite/recipes
    #[arg(long, default_value = "base")]
    recipe: String,
    /// Train with this seed instead of the recipe's, as a second base for `model.clone`
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: &TrainBaseArgs) -> Result<u8> {
    watch_interrupts()?;
    let mut recipe = run::recipe_of(&args.recipe)?;
    let ModelSpec::Fresh { preset, .. } = &recipe.model else {
        bail!(hint!(
            (
                "recipe `{}` starts from a finished base or a checkpoint, so it cannot train a base",
                recipe.name
            ),
            "--recipe base or base-nano"
        ))
    };
    let is_pretraining = |stage: &StageSpec| matches!(stage, StageSpec::Pretrain(_));
    ensure!(
        recipe.stages.values().all(is_pretraining),
        hint!(
            ("recipe `{}` does more than pretraining, so it does not make a base", recipe.name),
            "--recipe base or base-nano"
        )
    );
    let mut name = preset.into_str().to_owned();
    if let Some(seed) = args.seed {
        ensure!(
            !recipe.seeds.contains(&seed),
            hint!(
                ("seed {seed} is the recipe's own, which makes the first base"),
                "leave `--seed` out, or give another"
            )
        );
        recipe.seeds = vec![seed];
        name = format!("{name}-{seed}");
    }
    let out = Path::new("golden/base").join(name);
    run::train_base(&recipe, &args.device.options(), &out)?;
    Ok(0)
}
