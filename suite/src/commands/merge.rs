//! `synergy merge`: two checkpoints merged tensor by tensor, and a table of how far apart they are.
//!
//! Does not know formulas or how weights are stored. An option that the method does not use is refused, not ignored.
//! Options that are not given are mergekit's defaults and are printed.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use synergy_hint::hint;
use synergy_models::merge::files::{FolderMerge, MergeRecord, RECORD, Sources};
use synergy_models::merge::report::Summary;
use synergy_models::merge::{MergeSpec, Method, Rescale};
use synergy_models::weights::StoredDtype;

use crate::commands::arguments::word;
use crate::commands::output::{put, put_json, tell};
use crate::run::event::{interrupted, watch_interrupts};

const EXAMPLES: &str = "\
Examples:
  synergy merge --method linear --share 0.5 SFT RL OUT
  synergy merge --method slerp --share 0.25 --dtype bf16 SFT RL OUT
  synergy merge --method linear --share 0.5 --base BASE SFT RL OUT
                                            and report how far both are from their base
  synergy merge --method ties --share 0.5 --base BASE --density 0.5 SFT RL OUT
  synergy merge --method dare_ties --share 0.5 --base BASE --density 0.3 --rescale inv_density \\
    --seed 7 --json SFT RL OUT";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct MergeArgs {
    /// How two tensors become one; ties, dare_linear and dare_ties merge differences from a base
    #[arg(long, value_name = "linear|slerp|ties|dare_linear|dare_ties", value_parser = word::<Method>)]
    method: Method,
    /// Weight of A, 0 to 1; the rest is B's
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    share: f64,
    /// The checkpoint that A and B were trained from; linear and slerp only report distances from it
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Share of a difference's numbers that is kept: the largest by ties, any by dare [default: 1]
    #[arg(long, value_name = "D", allow_negative_numbers = true)]
    density: Option<f64>,
    /// What the merged difference is multiplied by [default: 1]
    #[arg(long, value_name = "L", allow_negative_numbers = true)]
    lambda: Option<f64>,
    /// Divide by the weights that agree on a number's sign [default: true for ties, false for dare_ties]
    #[arg(long, value_name = "true|false")]
    normalize: Option<bool>,
    /// What makes up for what dare dropped [default: l1]
    #[arg(long, value_name = "inv_density|l1|none", value_parser = word::<Rescale>)]
    rescale: Option<Rescale>,
    /// Seed of what dare drops [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What numbers are written as [default: as in A, tensor by tensor]
    #[arg(long, value_name = "f32|f16|bf16", value_parser = word::<StoredDtype>)]
    dtype: Option<StoredDtype>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// A folder in the Hugging Face layout; its shards, config, tokenizer and other files are taken over
    #[arg(value_name = "A_DIR")]
    a: PathBuf,
    /// Another with tensors of the same names and shapes
    #[arg(value_name = "B_DIR")]
    b: PathBuf,
    /// A new folder
    #[arg(value_name = "OUT_DIR")]
    out: PathBuf,
}

/// Prints on standard error what will be done, merges, and stops at Ctrl-C.
pub(super) fn run(args: &MergeArgs) -> Result<u8> {
    watch_interrupts()?;
    let clock = Instant::now();
    let spec = args.spec()?;
    let sources = Sources { a: args.a.clone(), b: args.b.clone(), base: args.base.clone() };
    let plan = FolderMerge::plan(spec, sources, args.dtype)?;
    tell(&format!(
        "{}: {} tensors, {} read, {} written to `{}`\n",
        describe(&spec)?,
        plan.num_tensors(),
        size(plan.num_bytes_read()),
        size(plan.num_bytes()),
        args.out.display()
    ))?;
    for difference in plan.differences() {
        tell(&format!("{difference}\n"))?;
    }
    let bar = bar(plan.num_bytes());
    let record = plan.write(&args.out, &|num_bytes| {
        bar.set_position(num_bytes as u64);
        !interrupted()
    });
    bar.finish_and_clear();
    let record = record?;
    tell(&format!("done in {:.1} s\n", clock.elapsed().as_secs_f64()))?;
    if args.json {
        put_json(&record)?;
    } else {
        put(&format!("{}{}\n", table(&record), args.out.join(RECORD).display()))?;
    }
    Ok(0)
}

impl MergeArgs {
    /// Fills in the defaults; options that the method does not use are refused.
    fn spec(&self) -> Result<MergeSpec> {
        let method = self.method;
        let is_dare = matches!(method, Method::DareLinear | Method::DareTies);
        let elects = matches!(method, Method::Ties | Method::DareTies);
        for (option, is_given, is_used) in [
            ("density", self.density.is_some(), method.needs_base()),
            ("lambda", self.lambda.is_some(), method.needs_base()),
            ("normalize", self.normalize.is_some(), elects),
            ("rescale", self.rescale.is_some(), is_dare),
            ("seed", self.seed.is_some(), is_dare),
        ] {
            if is_given && !is_used {
                bail!(hint!(
                    ("--{option} has no effect with method {}", text_of(&method)?),
                    "leave it out, or choose a method that uses it"
                ));
            }
        }
        Ok(MergeSpec {
            method,
            share: self.share,
            density: self.density.unwrap_or(1.0),
            normalize: self.normalize.unwrap_or(method == Method::Ties),
            lambda: self.lambda.unwrap_or(1.0),
            rescale: self.rescale.unwrap_or(if is_dare { Rescale::L1 } else { Rescale::None }),
            seed: self.seed.unwrap_or(1),
        })
    }
}

/// Returns the word that [`word`] parses as `value`.
fn text_of(value: &impl Serialize) -> Result<String> {
    let value = serde_json::to_value(value).context("plain data")?;
    Ok(value.as_str().context("a word")?.to_owned())
}

/// Names the method and every number that it uses.
fn describe(spec: &MergeSpec) -> Result<String> {
    let mut text = format!("{}, share {}", text_of(&spec.method)?, spec.share);
    if spec.method.needs_base() {
        let _ = write!(text, ", density {}, lambda {}", spec.density, spec.lambda);
    }
    if matches!(spec.method, Method::Ties | Method::DareTies) {
        let _ = write!(text, ", normalize {}", spec.normalize);
    }
    if matches!(spec.method, Method::DareLinear | Method::DareTies) {
        let _ = write!(text, ", rescale {}, seed {}", text_of(&spec.rescale)?, spec.seed);
    }
    Ok(text)
}

/// Lays out the figures of a merge: a line for each group, and one for all of them last.
fn table(record: &MergeRecord) -> String {
    let with_base = record.all.from_base.is_some();
    let mut text = format!(
        "{:<10} {:>7} {:>11} {:>9} {:>9} {:>9} {:>8}",
        "", "tensors", "numbers", "norm a", "norm b", "merged", "a to b"
    );
    if with_base {
        let head = ["a to base", "b to base", "cosine", "overlap", "conflicts"];
        let [a, b, cosine, overlap, conflicts] = head;
        let _ = write!(text, " {a:>9} {b:>9} {cosine:>7} {overlap:>7} {conflicts:>9}");
    }
    text.push('\n');
    for (group, summary) in &record.groups {
        line(&mut text, group.into_str(), summary);
    }
    line(&mut text, "all", &record.all);
    if record.num_copied > 0 {
        let _ = writeln!(text, "copied: {} tensors that hold no fractions", record.num_copied);
    }
    let _ = writeln!(text, "distances: a to b by the mean of their norms, to base by its norm");
    if with_base {
        let _ = writeln!(
            text,
            "cosine of both differences from base; overlap: numbers that both changed; conflicts: \
             those of them with opposite signs"
        );
    }
    text
}

fn line(text: &mut String, name: &str, summary: &Summary) {
    let Summary { num_tensors, num_numbers, norm_a, norm_b, norm_merged, distance, from_base } =
        summary;
    let _ = write!(
        text,
        "{name:<10} {num_tensors:>7} {num_numbers:>11} {norm_a:>9.3} {norm_b:>9.3} {norm_merged:>9.3} \
         {distance:>8.5}",
    );
    if let Some(report) = from_base {
        let _ = write!(
            text,
            " {:>9.5} {:>9.5} {:>7.4} {:>6.1}% {:>8.1}%",
            report.distance_a,
            report.distance_b,
            report.cosine,
            100.0 * report.overlap,
            100.0 * report.sign_conflicts
        );
    }
    text.push('\n');
}

/// Formats a size in MB or GB.
fn size(num_bytes: usize) -> String {
    let mega = num_bytes as f64 / 1e6;
    if mega < 1000.0 { format!("{mega:.1} MB") } else { format!("{:.1} GB", mega / 1000.0) }
}

/// Shows how much has been written, if standard error is a terminal.
fn bar(num_bytes: usize) -> ProgressBar {
    let watched = std::io::stderr().is_terminal();
    let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(
        "  {bar:24.cyan/dim} {bytes}/{total_bytes} {elapsed:>4} left {eta:<4}",
    )
    .expect("the template is well formed")
    .progress_chars("━━─");
    ProgressBar::with_draw_target(Some(num_bytes as u64), target).with_style(style)
}
