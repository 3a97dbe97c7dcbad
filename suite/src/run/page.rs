//! Gathers what the page shows beyond results: curves from the store, completions with their pictures, and merges.
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

use crate::plan::Plan;
use crate::planted::Planted;
use crate::recipe::{Recipe, RegimeSpec, StageSpec};
use crate::run::CODE;
use crate::run::analysis::analyses;
use crate::run::artifact::read_curve;
use crate::run::evaluation::{Evaluated, samples};
use crate::run::store::Store;
use crate::train::pool::Files;

/// Longest side of a picture on the page, in pixels: a published one may be a photograph.
const PICTURE_SIDE_MAX: u32 = 448;

/// The page's data.
///
/// # Errors
/// If a stage's curve is damaged or a picture cannot be drawn.
pub(super) fn data(
    recipe: &Recipe,
    plan: &Plan,
    evaluated: &[Evaluated],
    results: &Results,
    store: &Store,
    files: &Files,
    planted: Option<Planted>,
) -> Result<PageData> {
    Ok(PageData {
        analyses: Some(analyses(&recipe.name, evaluated, results, planted)?),
        merges: merges(recipe, results),
        curves: curves(recipe, plan, results, store)?,
        exhibits: exhibits(&samples(recipe, files)?, evaluated, results)?,
        history: golden::history(&recipe.name)?,
        code_hash: CODE.to_owned(),
    })
}

/// The name of the regime that ends with `stage`, if one does.
fn regime_of(recipe: &Recipe, stage: &str) -> Option<String> {
    let regime = recipe.regimes.iter().find(|regime| regime.stage == stage);
    regime.map(|regime| regime.name.clone())
}

/// Regimes of the results that end with a merge; its parents go by the names of the regimes that end with them.
fn merges(recipe: &Recipe, results: &Results) -> Vec<Merged> {
    let merged = |spec: &RegimeSpec| {
        results.row(&spec.name)?;
        let StageSpec::Merge(stage) = recipe.stages.get(&spec.stage)? else { return None };
        let method = serde_json::to_value(stage.merge.method).ok()?;
        let parent = |stage: &String| regime_of(recipe, stage).unwrap_or_else(|| stage.clone());
        Some(Merged {
            regime: spec.name.clone(),
            method: method.as_str()?.to_owned(),
            share: stage.merge.share,
            parents: stage.parents.each_ref().map(parent),
        })
    };
    recipe.regimes.iter().filter_map(merged).collect()
}

/// The curves of all stages that train, each under the regime that ends with it, or else the first that needs it.
fn curves(recipe: &Recipe, plan: &Plan, results: &Results, store: &Store) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for planned in plan.stages.iter().filter(|planned| planned.spec.training().is_some()) {
        let is_there = |regime: &String| results.row(regime).is_some();
        let regime = regime_of(recipe, &planned.name).filter(is_there);
        let regime = regime.or_else(|| planned.regimes.iter().find(|name| is_there(name)).cloned());
        // A stage that is not in the store has nothing to show.
        if let (Some(regime), Some(steps)) = (regime, read_curve(store, planned)?) {
            curves.push(Curve { regime, stage: planned.name.clone(), seed: planned.seed, steps });
        }
    }
    Ok(curves)
}

/// The chosen questions, each with the first answer of the first seed of every row that is exhibited.
fn exhibits(
    samples: &[Sample],
    evaluated: &[Evaluated],
    results: &Results,
) -> Result<Vec<Exhibit>> {
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

/// The sample's first picture as a PNG file, as small as the format allows.
fn png(sample: &Sample) -> Result<Vec<u8>> {
    let mut picture = sample.images.first().context("the question has no picture")?.load()?;
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
