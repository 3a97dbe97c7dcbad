//! What the page shows beyond results: curves from the store, completions and their pictures, which regimes are merges.
//!
//! Does not know how any of it is drawn.

use std::io::Cursor;

use crate::run::golden;
use anyhow::{Context as _, Result};
use image::DynamicImage;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use synergy_benchmarks::sample::Sample;
use synergy_report::page::{Answer, Curve, Exhibit, Merged, PageData, chosen, is_exhibited};
use synergy_report::score::Results;

use crate::plan::{Plan, PlannedStage};
use crate::planted::Planted;
use crate::recipe::{Recipe, StageSpec};
use crate::run::CODE;
use crate::run::analysis::analyses;
use crate::run::evaluation::{Evaluated, samples};
use crate::run::store::Store;
use crate::train::StepFigures;

/// Sides of a picture on the page at most, in pixels: a published one may be a photograph.
const PICTURE_SIDE_MAX: u32 = 448;

/// Collects it.
///
/// # Errors
/// If a stage's curve is damaged or a picture cannot be drawn.
pub(super) fn data(
    recipe: &Recipe,
    plan: &Plan,
    evaluated: &[Evaluated],
    results: &Results,
    store: &Store,
    planted: Option<Planted>,
) -> Result<PageData> {
    Ok(PageData {
        analyses: Some(analyses(&recipe.name, evaluated, results, planted)?),
        merges: merges(recipe),
        curves: curves(recipe, plan, store)?,
        exhibits: exhibits(recipe, evaluated, results)?,
        history: golden::history(&recipe.name)?,
        code_hash: CODE.to_owned(),
    })
}

/// Regimes that end with a merge, their parents under the names of the regimes that end with these.
fn merges(recipe: &Recipe) -> Vec<Merged> {
    let regime = |stage: &String| {
        recipe
            .regimes
            .iter()
            .find(|regime| regime.stage == *stage)
            .map(|regime| regime.name.clone())
    };
    let of = |spec: &crate::recipe::RegimeSpec| {
        let StageSpec::Merge(merge) = recipe.stages.get(&spec.stage)? else { return None };
        let method = serde_json::to_value(merge.merge.method).ok()?;
        Some(Merged {
            regime: spec.name.clone(),
            method: method.as_str()?.to_owned(),
            share: merge.merge.share,
            parents: merge
                .parents
                .each_ref()
                .map(|stage| regime(stage).unwrap_or_else(|| stage.clone())),
        })
    };
    recipe.regimes.iter().filter_map(of).collect()
}

fn curves(recipe: &Recipe, plan: &Plan, store: &Store) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for planned in &plan.stages {
        // Only a stage that trains records a curve; one that is not in the store has none to show.
        let artifact = store.open_artifact(&planned.key)?;
        let Some(artifact) = artifact.filter(|_| planned.spec.training().is_some()) else {
            continue;
        };
        let steps = artifact
            .read("curve.jsonl")?
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).context("a line of a curve"))
            .collect::<Result<Vec<StepFigures>>>()?;
        let Some(regime) = owner(recipe, planned) else { continue };
        curves.push(Curve { regime, stage: planned.name.clone(), seed: planned.seed, steps });
    }
    Ok(curves)
}

/// The regime that ends with the stage, or the first that needs it.
fn owner(recipe: &Recipe, planned: &PlannedStage) -> Option<String> {
    let ends = recipe.regimes.iter().find(|regime| regime.stage == planned.name);
    ends.map(|regime| regime.name.clone()).or_else(|| planned.regimes.first().cloned())
}

/// The chosen questions with the first answer of the first seed of every row that shows some.
fn exhibits(recipe: &Recipe, evaluated: &[Evaluated], results: &Results) -> Result<Vec<Exhibit>> {
    let samples = samples(recipe)?;
    let mut rows: Vec<&Evaluated> = Vec::new();
    for row in evaluated.iter().filter(|row| is_exhibited(results, &row.planned.name)) {
        if rows.iter().all(|known| known.planned.name != row.planned.name) {
            rows.push(row);
        }
    }
    let mut exhibits = Vec::new();
    for id in chosen(results) {
        let is_shown = |sample: &&Sample| sample.id == id && !sample.images.is_empty();
        let Some(sample) = samples.iter().find(is_shown) else { continue };
        let answer = |row: &&Evaluated| {
            let completion = row.completions.iter().find(|c| c.sample_id == id && c.sample == 0)?;
            let (name, seed) = (row.planned.name.clone(), row.planned.seed);
            Some(Answer { row: name, seed, completion: completion.clone() })
        };
        exhibits.push(Exhibit {
            question: sample.question.clone(),
            png: png(sample)?,
            answers: rows.iter().filter_map(answer).collect(),
            id,
        });
    }
    Ok(exhibits)
}

/// The sample's picture as a PNG file, as small as may be.
fn png(sample: &Sample) -> Result<Vec<u8>> {
    let mut picture = sample.images.first().context("a question has a picture")?.load()?;
    if picture.width().max(picture.height()) > PICTURE_SIDE_MAX {
        let picture_of = DynamicImage::ImageRgb8(picture);
        picture = picture_of.thumbnail(PICTURE_SIDE_MAX, PICTURE_SIDE_MAX).into_rgb8();
    }
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(
        Cursor::new(&mut bytes),
        CompressionType::Best,
        FilterType::Adaptive,
    );
    picture.write_with_encoder(encoder).context("failed to write a picture")?;
    Ok(bytes)
}
