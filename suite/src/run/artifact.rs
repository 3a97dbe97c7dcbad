//! The artifact of a finished stage: weights, summary and curve, written to the store and read from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::json;
use synergy_models::weights::{ComputeDtype, Parameters, StoredDtype};
use synergy_report::cost::{Cost, StepFigures};

use crate::key::Key;
use crate::plan::PlannedStage;
use crate::run::base::Base;
use crate::run::published::Record;
use crate::run::store::Store;
use crate::train::LARGEST;

/// The file that says how a stage went.
pub(super) const SUMMARY: &str = "summary.json";

/// How a stage went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Tokens, operations and time.
    pub cost: Cost,
    /// `reward_start`, `reward_end`, …: means over the first and last quarter of the steps, at most
    /// 20; `reward_noise`: the standard error of their difference. `gradient_norm_max` and `kl_nats_max`: the largest of
    /// all updates, which such means hide.
    pub figures: StepFigures,
}

/// Writes what every finished stage with a model leaves in `dir`.
pub(super) fn write_finished(
    dir: &Path,
    parameters: &Parameters,
    summary: &Summary,
    max_shard_bytes: usize,
) -> Result<()> {
    parameters.save(dir, StoredDtype::F32, max_shard_bytes)?;
    let summary = serde_json::to_vec_pretty(summary).context("summary")?;
    Ok(fs::write(dir.join(SUMMARY), summary)?)
}

/// Reads the weights under `key`, which is a stage's or the base's: in `dtype`, or in the type that they are stored in.
/// Those of the base stay on its device, and those of a published model are read from its folder.
///
/// # Errors
/// If the checkpoint is missing or damaged.
pub fn checkpoint(
    store: &Store,
    key: &Key,
    base: &Base,
    device: &Device,
    dtype: Option<ComputeDtype>,
) -> Result<Parameters> {
    if *key == base.key {
        let parameters = &base.parameters;
        return Ok(dtype.map_or_else(|| parameters.clone(), |dtype| parameters.cast(dtype)));
    }
    let artifact = store
        .open_artifact(key)?
        .with_context(|| format!("checkpoint `{}` is not in the store", key.as_str()))?;
    let dtype = dtype.unwrap_or_default();
    let published = Record::of(&artifact)?;
    let dir = published.as_ref().map(Record::folder).transpose()?.unwrap_or(artifact.dir());
    Parameters::load_as(dir, &base.prompter.config, device, dtype)
}

/// The figures of every step of a finished stage; `None` if the stage is not in the store.
///
/// # Errors
/// If the stage is damaged, or records no curve.
pub(super) fn read_curve(
    store: &Store,
    planned: &PlannedStage,
) -> Result<Option<Vec<StepFigures>>> {
    let Some(artifact) = store.open_artifact(&planned.key)? else { return Ok(None) };
    lines(&artifact.read("curve.jsonl")?).map(Some)
}

/// The curve of a finished stage, thinned, as lines with stage and step.
///
/// # Errors
/// If the stage is not in the store.
pub fn curve(store: &Store, planned: &PlannedStage) -> Result<String> {
    let curve = read_curve(store, planned)?.context("the stage is not in the store")?;
    let mut text = String::new();
    for (step, figures) in curve.iter().enumerate().filter(|(step, _)| *step < 20 || step % 20 == 0)
    {
        let line = json!({"stage": planned.name, "step": step, "figures": figures});
        text.push_str(&serde_json::to_string(&line).context("plain data")?);
        text.push('\n');
    }
    Ok(text)
}

/// The end of the name of a maximum.
const MAX: &str = "_max";

/// Start, end and noise of every figure of a curve. What is learned within the first window makes the rise look
/// smaller, never larger. Of those in [`LARGEST`], the largest too.
pub(super) fn summarize(curve: &[StepFigures]) -> StepFigures {
    let window = curve.len().div_ceil(4).min(20);
    let mut out = StepFigures::new();
    let Some(first) = curve.first() else { return out };
    // A figure that only the last step of an epoch has shows no trend, nor does a maximum.
    let is_trend = |name: &&String| *name != "validation_accuracy" && !name.ends_with(MAX);
    for name in first.keys().filter(is_trend) {
        let values: Vec<f64> = curve.iter().filter_map(|f| f.get(name).copied()).collect();
        let (start, end) = (&values[..window], &values[values.len() - window..]);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        out.insert(format!("{name}_start"), mean(start));
        out.insert(format!("{name}_end"), mean(end));
        let spread = |v: &[f64]| v.iter().map(|x| (x - mean(v)).powi(2)).sum::<f64>();
        let degrees = (2 * window).saturating_sub(2).max(1) as f64;
        let noise = ((spread(start) + spread(end)) / degrees * 2.0 / window as f64).sqrt();
        out.insert(format!("{name}_noise"), noise);
    }
    for name in LARGEST {
        // Of a step with several updates the largest is recorded besides their mean.
        let max = format!("{name}{MAX}");
        let of = |f: &StepFigures| f.get(&max).or_else(|| f.get(name)).copied();
        if let Some(largest) = curve.iter().filter_map(of).max_by(f64::total_cmp) {
            out.insert(max, largest);
        }
    }
    out
}

/// Finds the file `name` among those of an artifact.
pub(super) fn file<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a [u8]> {
    files.get(name).map(Vec::as_slice).with_context(|| format!("the artifact has no file `{name}`"))
}

/// A curve as JSON lines, one for each step.
pub(super) fn to_lines(curve: &[StepFigures]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for figures in curve {
        serde_json::to_writer(&mut out, figures).context("figures are plain data")?;
        out.push(b'\n');
    }
    Ok(out)
}

/// The curve in JSON lines, one for each step.
pub(super) fn lines(bytes: &[u8]) -> Result<Vec<StepFigures>> {
    bytes
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).context("a line of the curve cannot be read"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_that_stands_out_is_seen_beside_the_means() {
        let step = |norm: f64, largest: Option<f64>| {
            let mut figures =
                StepFigures::from([("gradient_norm".to_owned(), norm), ("reward".to_owned(), 0.5)]);
            figures.extend(largest.map(|largest| ("gradient_norm_max".to_owned(), largest)));
            figures
        };
        let mut curve: Vec<StepFigures> = (0..80).map(|_| step(0.1, None)).collect();
        // In the middle, where neither of the means is taken.
        curve[40] = step(150.0, None);
        let summary = summarize(&curve);
        assert!((summary["gradient_norm_end"] - 0.1).abs() < 1e-12);
        assert!((summary["gradient_norm_max"] - 150.0).abs() < 1e-12);
        // Of two updates in a step the larger counts, and a maximum has no trend.
        curve.iter_mut().for_each(|f| *f = step(0.1, Some(0.15)));
        curve[40] = step(150.0, Some(299.9));
        let summary = summarize(&curve);
        assert!((summary["gradient_norm_max"] - 299.9).abs() < 1e-12);
        let names: Vec<&str> = summary.keys().map(String::as_str).collect();
        assert!(names.iter().all(|name| !name.contains("_max_")), "{names:?}");
        assert!(!summary.contains_key("kl_nats_max") && !summary.contains_key("reward_max"));
    }
}
