//! The parameters that a stage does not train.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use synergy_hint::hint;
use synergy_models::qwen2_5_vl::names::is_factor;
use synergy_models::weights::Parameters;

use crate::recipe::TrainingSpec;

/// Names of the parameters that a pattern of `freeze` matches from their start and, where an adapter learns, of all that
/// are not its factors or, where it is merged in, are not changed by it.
pub(crate) fn frozen(training: &TrainingSpec, parameters: &Parameters) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (pattern, text) in training.freeze_patterns()?.iter().zip(&training.freeze) {
        let mut matched = parameters.names().filter(|name| pattern.is_match(name)).peekable();
        ensure!(
            matched.peek().is_some(),
            hint!(
                "`freeze` has `{text}`, which no parameter matches",
                "names are like visual.blocks.0.norm1.weight and model.layers.0.mlp.up_proj.weight"
            )
        );
        names.extend(matched.map(str::to_owned));
    }
    if parameters.names().any(is_factor) {
        names.extend(parameters.names().filter(|name| !is_factor(name)).map(str::to_owned));
        return Ok(names);
    }
    let shapes = parameters.shapes();
    if let Some(config) = training.lora_config(&shapes)? {
        let changed: BTreeSet<&str> =
            config.weights(&shapes)?.into_iter().map(|(name, _)| name.as_str()).collect();
        names.extend(parameters.names().filter(|n| !changed.contains(n)).map(str::to_owned));
    }
    Ok(names)
}
