//! `synergy export`: a checkpoint written in the Hugging Face layout.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Args;
use synergy_hint::hint;
use synergy_models::weights::StoredDtype;

use crate::commands::arguments::{RunArgs, word};
use crate::commands::output::put;
use crate::device::Compute;
use crate::run;
use crate::run::model::Model;

const EXAMPLES: &str = "\
Examples:
  synergy export --model DIR --adapter ADAPTER --dtype bf16 --out merged
  synergy export --profile smoke --regime rl --out smoke-rl";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    /// Folder of a checkpoint in the Hugging Face layout
    #[arg(long, value_name = "DIR", required_unless_present = "regime")]
    model: Option<PathBuf>,
    /// Folder of an adapter in the PEFT layout, to be merged
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
    /// Instead of a folder: the model that this regime of a finished run ended with
    #[arg(long, conflicts_with = "model")]
    regime: Option<String>,
    #[command(flatten)]
    run: RunArgs,
    /// A new folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the numbers written
    #[arg(long, default_value = "f32", value_name = "f32|f16|bf16", value_parser = word::<StoredDtype>)]
    dtype: StoredDtype,
    /// Largest size of a file, in GB
    #[arg(long, default_value_t = 5.0, value_name = "GB")]
    max_shard_size: f64,
}

pub(super) fn run(args: &ExportArgs) -> Result<u8> {
    let gigabytes = args.max_shard_size;
    ensure!(
        gigabytes > 0.0,
        hint!("--max-shard-size must be above 0 GB, got {gigabytes}", "--max-shard-size 5")
    );
    let opened = match (&args.model, &args.regime) {
        (Some(dir), _) => {
            let device = &args.run.device;
            let compute = Compute::open(&device.device, device.options().num_threads)?;
            Model::open(dir, args.adapter.as_deref(), &compute)?
        }
        (None, Some(regime)) => run::trained(&args.run.recipe()?, &args.run.options(), regime)?,
        (None, None) => bail!(hint!("there is no model to export", "--model DIR or --regime NAME")),
    };
    opened.export(&args.out, args.dtype, (gigabytes * 1e9) as usize)?;
    put(&format!("{}\n", args.out.display()))?;
    Ok(0)
}
