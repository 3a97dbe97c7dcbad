//! A cache of picture features under a frozen vision tower: each picture goes through the tower once.
//!
//! Does not know questions or steps. A picture is known by its content, and is computed alone, so what
//! else stands in a batch, or which thread came first, changes no bit of its features.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use burn::tensor::Tensor;
use synergy_models::qwen2_5_vl::rope::Grid;
use synergy_models::qwen2_5_vl::vlm::Vlm;
use synergy_models::weights::Parameters;

use crate::limits::{FEATURE_CACHE_BYTES, TOWER};
use crate::recipe::TrainingSpec;
use crate::train::frozen::frozen;
use crate::train::matrix;

/// Features of the pictures that one tower has seen, up to [`FEATURE_CACHE_BYTES`].
#[derive(Debug, Default)]
pub struct FeatureCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    features: HashMap<blake3::Hash, Arc<[f32]>>,
    num_bytes: usize,
}

/// Features of `pictures` in order, `[tokens of all pictures, hidden_size]`, from the cache where there is one; `None`
/// without pictures.
pub(crate) fn picture_features(
    model: &Vlm,
    cache: Option<&FeatureCache>,
    pictures: &[(&[f32], Grid)],
) -> Option<Tensor<2>> {
    (!pictures.is_empty()).then(|| match cache {
        Some(cache) => {
            let features = cache.features(model, pictures);
            matrix(features, model.layout.decoder.hidden_size, &model.device())
        }
        None => model.image_features(pictures),
    })
}

impl FeatureCache {
    /// A cache for a stage that starts from `parameters`; `None` if the stage trains any part of the tower.
    ///
    /// # Errors
    /// If a pattern of `freeze` matches no parameter.
    pub fn of(training: &TrainingSpec, parameters: &Parameters) -> Result<Option<FeatureCache>> {
        let frozen = frozen(training, parameters)?;
        let learns = |name: &str| name.starts_with(TOWER) && !frozen.contains(name);
        Ok((!parameters.names().any(learns)).then(FeatureCache::default))
    }

    /// Features of `pictures` in order, `[tokens of all pictures, hidden_size]`, as `model` computes them,
    /// whose tower is this cache's.
    ///
    /// # Panics
    /// If another thread panicked here.
    pub fn features(&self, model: &Vlm, pictures: &[(&[f32], Grid)]) -> Vec<f32> {
        pictures.iter().flat_map(|picture| self.one(model, picture).to_vec()).collect()
    }

    fn one(&self, model: &Vlm, picture: &(&[f32], Grid)) -> Arc<[f32]> {
        let (values, grid) = picture;
        let mut content: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        content.extend([grid.t, grid.h, grid.w].iter().flat_map(|side| side.to_le_bytes()));
        let key = blake3::hash(&content);
        let cached = || self.0.lock().expect("no thread panics with it");
        if let Some(features) = cached().features.get(&key) {
            return Arc::clone(features);
        }
        let features = model.image_features(&[*picture]).try_into_vec_as::<f32>();
        let features: Arc<[f32]> = features.expect("float data is readable as f32").into();
        let mut cached = cached();
        let num_bytes = cached.num_bytes + size_of_val(&*features);
        if num_bytes <= FEATURE_CACHE_BYTES
            && cached.features.insert(key, features.clone()).is_none()
        {
            cached.num_bytes = num_bytes;
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::{BASE, question, training};
    use synergy_models::image::Patches;

    fn cache(freeze: &str) -> Option<FeatureCache> {
        FeatureCache::of(&training(&[freeze], 1), &BASE.parameters).unwrap()
    }

    fn patches() -> Vec<Patches> {
        (0..3).flat_map(|i| question(&BASE.prompter, i, [1, 4]).patches).collect()
    }

    #[test]
    fn cached_features_are_those_of_the_model_in_order() {
        let (cache, patches) = (cache("visual.").unwrap(), patches());
        let model = Vlm::new(&BASE.prompter.config, &BASE.parameters);
        let pictures: Vec<_> = patches.iter().map(|p| (p.values.as_slice(), p.grid)).collect();
        let first = cache.features(&model, &pictures);
        let want = model.image_features(&pictures).try_into_vec_as::<f32>().unwrap();
        assert_eq!(first.len(), want.len());
        for (a, b) in first.iter().zip(&want) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        // Backwards, each from the cache.
        let reversed: Vec<_> = pictures.iter().rev().copied().collect();
        let again = cache.features(&model, &reversed);
        let size = first.len() / 3;
        let blocks = first.chunks(size).rev().flatten().copied();
        assert_eq!(again, blocks.collect::<Vec<_>>());
        let cached = cache.0.lock().unwrap();
        assert_eq!((cached.features.len(), cached.num_bytes), (3, first.len() * 4));
    }

    #[test]
    fn a_tower_that_learns_in_any_part_has_no_cache() {
        assert!(cache("visual.").is_some());
        assert!(cache(r"visual\.(patch_embed|blocks)").is_none(), "the merger learns");
        assert!(cache("model.").is_none());
    }
}
