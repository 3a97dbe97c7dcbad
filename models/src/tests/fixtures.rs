//! What `golden/parity/generate.py` recorded of the reference implementation, for tests.
//!
//! Does not know what is compared with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::batch::TokenBatch;
use crate::batch::index;
use crate::ops::log_probs_and_entropies;
use crate::qwen2_5_vl::config::{Preset, SpecialIds, VlmConfig};
use crate::qwen2_5_vl::rope::{Grid, Video, batch_rope_index};
use crate::qwen2_5_vl::vlm::Vlm;
use crate::weights::Parameters;

/// Shapes and values by name.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A batch as the model takes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) input_ids: Vec<Vec<u32>>,
    pub(crate) attention_mask: Vec<Vec<u8>>,
    /// Names in `pictures.safetensors`, in order of appearance.
    #[serde(default)]
    pub(crate) pictures: Vec<String>,
    #[serde(default)]
    pub(crate) videos: Vec<String>,
    #[serde(default)]
    pub(crate) second_per_grid_ts: Vec<f64>,
    /// What was recorded, by model.
    #[serde(default)]
    pub(crate) models: BTreeMap<String, Recorded>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Recorded {
    /// Name of the logits, where there are any.
    #[serde(default)]
    pub(crate) tensor: Option<String>,
}

/// Patches and grids of the pictures and videos.
#[derive(Debug)]
pub(crate) struct Pictures {
    values: Tensors,
    grids: BTreeMap<String, [usize; 3]>,
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/parity/fixtures")).join(name)
}

pub(crate) fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

pub(crate) fn tensors(name: &str) -> Tensors {
    let bytes = std::fs::read(path(name)).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        assert_eq!(view.dtype(), safetensors::Dtype::F32);
        let values = view.data().as_chunks::<4>().0;
        (name, (view.shape().to_vec(), values.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    };
    stored.tensors().into_iter().map(read).collect()
}

/// The cases of `logits.json`.
pub(crate) fn cases() -> Vec<Case> {
    #[derive(Deserialize)]
    struct Cases {
        cases: Vec<Case>,
    }
    json::<Cases>("logits.json").cases
}

/// Where comparisons with the reference compute: burn-flex, or what `SYNERGY_TEST_DEVICE` names.
pub(crate) fn device() -> Device {
    match std::env::var("SYNERGY_TEST_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "libtorch")]
        #[expect(deprecated, reason = "burn-tch goes with burn 0.23")]
        Ok("libtorch") => Device::libtorch(),
        #[cfg(feature = "libtorch")]
        #[expect(deprecated, reason = "burn-tch goes with burn 0.23")]
        Ok("cuda") => Device::libtorch_cuda(0),
        Ok(other) => panic!("this build has no device `{other}`"),
    }
}

/// Special ids that no vocabulary of a test needs for anything else.
pub(crate) const IDS: SpecialIds =
    SpecialIds { image: 1, vision_start: 2, vision_end: 3, bos: 4, eos: 4, video: None };

/// The smallest preset for `vocab_size` entries.
pub(crate) fn nano(vocab_size: usize) -> VlmConfig {
    VlmConfig::preset(Preset::Nano, vocab_size, IDS)
}

/// `model-untied` or `model-tied`, on [`device`].
pub(crate) fn model(name: &str) -> (VlmConfig, Parameters) {
    model_on(name, &device())
}

/// The same in the host's memory, where the native form computes.
pub(crate) fn host_model(name: &str) -> (VlmConfig, Parameters) {
    model_on(name, &Device::flex())
}

fn model_on(name: &str, device: &Device) -> (VlmConfig, Parameters) {
    let config = VlmConfig::read(&path(name)).unwrap();
    let parameters = Parameters::load(&path(name), &config, device).unwrap();
    (config, parameters)
}

impl Pictures {
    pub(crate) fn read() -> Pictures {
        #[derive(Deserialize)]
        struct Grids {
            grid_thw: BTreeMap<String, [usize; 3]>,
        }
        let grids = json::<Grids>("pictures.json").grid_thw;
        Pictures { values: tensors("pictures.safetensors"), grids }
    }

    pub(crate) fn get(&self, name: &str) -> (&[f32], Grid) {
        let [t, h, w] = self.grids[name];
        (&self.values[name].1, Grid { t, h, w })
    }

    pub(crate) fn all<'a>(&'a self, names: &[String]) -> Vec<(&'a [f32], Grid)> {
        names.iter().map(|name| self.get(name)).collect()
    }
}

impl Case {
    pub(crate) fn videos(&self, pictures: &Pictures) -> Vec<Video> {
        let of = |(name, &seconds_per_grid): (&String, &f64)| Video {
            grid: pictures.get(name).1,
            seconds_per_grid,
        };
        self.videos.iter().zip(&self.second_per_grid_ts).map(of).collect()
    }

    /// Rows of tokens without their padding, with the positions that our own rope index gives them.
    pub(crate) fn batch(&self, pictures: &Pictures, config: &VlmConfig) -> TokenBatch {
        let attention_mask: Vec<Vec<bool>> =
            self.attention_mask.iter().map(|row| row.iter().map(|&m| m == 1).collect()).collect();
        let grids: Vec<Grid> = pictures.all(&self.pictures).iter().map(|p| p.1).collect();
        let videos = self.videos(pictures);
        let index =
            batch_rope_index(&self.input_ids, Some(&attention_mask), &grids, &videos, config)
                .unwrap();
        let counts =
            self.input_ids.iter().map(|row| row.iter().filter(|&&id| config.is_media(id)).count());
        let feature_starts =
            counts.scan(0, |next, count| Some(std::mem::replace(next, *next + count)));
        TokenBatch {
            feature_starts: feature_starts.collect(),
            input_ids: unpadded(&self.input_ids, &attention_mask),
            positions: unpadded(&index.positions, &attention_mask),
            segments: Vec::new(),
        }
    }

    /// Logits of the tokens that are no padding, `[tokens * vocabulary]`.
    pub(crate) fn logits(&self, pictures: &Pictures, model: &Vlm) -> Vec<f32> {
        let media = [pictures.all(&self.pictures), pictures.all(&self.videos)].concat();
        let features = (!media.is_empty()).then(|| model.image_features(&media));
        let batch = self.batch(pictures, &model.config);
        let hidden = model.forward(&batch, features.as_ref());
        model.decoder.logits(hidden).try_into_vec_as::<f32>().unwrap()
    }
}

/// `values` where `mask` is true.
fn unpadded<T: Copy>(values: &[Vec<T>], mask: &[Vec<bool>]) -> Vec<Vec<T>> {
    let row = |(values, mask): (&Vec<T>, &Vec<bool>)| {
        values.iter().zip(mask).filter(|(_, seen)| **seen).map(|(value, _)| *value).collect()
    };
    values.iter().zip(mask).map(row).collect()
}

/// The batch of `loss_grad.json` and what it predicts: (row among all tokens, id).
pub(crate) fn labelled() -> (Case, Vec<(usize, u32)>) {
    #[derive(Deserialize)]
    struct Labelled {
        #[serde(flatten)]
        case: Case,
        labels: Vec<Vec<i64>>,
    }
    let Labelled { case, labels } = json("loss_grad.json");
    let mut predictions = Vec::new();
    let mut first = 0;
    for (labels, mask) in labels.iter().zip(&case.attention_mask) {
        let learnt = labels.iter().enumerate().filter(|(_, label)| **label >= 0);
        predictions.extend(learnt.map(|(at, &label)| (first + at - 1, label as u32)));
        first += mask.iter().filter(|&&m| m == 1).count();
    }
    (case, predictions)
}

/// What `loss_grad.json` has of a model.
#[derive(Deserialize)]
pub(crate) struct RecordedLoss {
    pub(crate) loss: f32,
    pub(crate) gradient_norms: BTreeMap<String, f64>,
    pub(crate) with_entropy: RecordedBonus,
}

/// The same loss less a share of the mean entropy of what is predicted.
#[derive(Deserialize)]
pub(crate) struct RecordedBonus {
    pub(crate) coefficient: f32,
    pub(crate) entropies: Vec<f32>,
    pub(crate) loss: f32,
    pub(crate) gradient_norms: BTreeMap<String, f64>,
}

/// What `loss_grad.json` has, by the names of models.
pub(crate) fn recorded_losses() -> BTreeMap<String, RecordedLoss> {
    #[derive(Deserialize)]
    struct Report {
        models: BTreeMap<String, RecordedLoss>,
    }
    json::<Report>("loss_grad.json").models
}

/// Its loss, the mean over all tokens of the batch that have a label, and their entropies.
pub(crate) fn loss_and_entropies(model: &Vlm) -> [Tensor<1>; 2] {
    let (case, predictions) = labelled();
    let pictures = Pictures::read();
    let features = model.image_features(&pictures.all(&case.pictures));
    let (rows, targets) = predictions.iter().map(|&(row, id)| (row as i64, i64::from(id))).unzip();
    let hidden = model.forward(&case.batch(&pictures, &model.config), Some(&features));
    let device = model.device();
    let logits = model.decoder.logits(hidden.select(0, index(rows, &device)));
    let [log_probs, entropies] = log_probs_and_entropies(logits, index(targets, &device));
    [log_probs.mean().neg(), entropies]
}

/// Its loss alone.
pub(crate) fn loss(model: &Vlm) -> Tensor<1> {
    let [loss, _] = loss_and_entropies(model);
    loss
}

/// The largest difference between `got` and `want`.
pub(crate) fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The 2-norm of the difference, as a share of the norm of `want`.
pub(crate) fn relative_distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    };
    norm(&mut got.iter().zip(want).map(|(a, b)| a - b)) / norm(&mut want.iter().copied())
}
