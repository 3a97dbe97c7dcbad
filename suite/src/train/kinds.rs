//! The table of algorithms: which one trains a stage.
//!
//! A new algorithm is a file in this folder and a line here.

use anyhow::Result;

use crate::recipe::StageSpec;
use crate::train::algorithm::{Algorithm, Draws, StageInputs};
use crate::train::grpo::Grpo;
use crate::train::pretrain::Pretrain;
use crate::train::sft::Sft;

/// The algorithm that trains a stage of these settings; `None` for stages that do not train.
///
/// # Errors
/// If the stage's questions cannot be read, or none is left to be asked.
pub fn algorithm<'a>(
    spec: &'a StageSpec,
    inputs: StageInputs<'a>,
    draws: Draws<'a>,
) -> Result<Option<Box<dyn Algorithm + 'a>>> {
    Ok(Some(match spec {
        StageSpec::Pretrain(spec) => Box::new(Pretrain { spec, draws }),
        StageSpec::Sft(spec) => Box::new(Sft { spec, examples: inputs.examples, draws }),
        StageSpec::Grpo(spec) => Box::new(Grpo::new(spec, inputs, draws)?),
        StageSpec::Merge(_)
        | StageSpec::Teacher(_)
        | StageSpec::Sample(_)
        | StageSpec::Mix(_)
        | StageSpec::Published(_) => return Ok(None),
    }))
}
