//! Named parameters in the Hugging Face layout: initialised, loaded from and saved as safetensors.
//!
//! Does not know what a layer computes. Every parameter is flat, with its shape next to it:
//! an optimizer then sees a list of vectors, and a layer takes a reshaped view at no cost.
//! Names are the published ones; those of newer `transformers` are read too. Weights are f32 in memory, whatever
//! type their files have; a model may compute with copies in bf16.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensorError, View};
use serde::{Deserialize, Serialize};
use serde_json::json;
use strum::IntoStaticStr;
use synergy_hint::{Explain as _, hint};

use crate::ops::{Beside, Linear};
use crate::qwen2_5_vl::config::VlmConfig;
use crate::qwen2_5_vl::names::{EMBEDDING, HEAD, factor_name, published_name};
use crate::qwen2_5_vl::shapes::{NamedShape, shapes};
use crate::weights::stored::{StoredTensor, index_of, parts_of, shard_paths, stored_in};

pub(crate) mod stored;

/// One tensor of a checkpoint.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Sizes of its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// `[product of shape]`, row-major.
    pub value: Tensor<1>,
}

/// All tensors of a checkpoint by their Hugging Face names, in name order.
#[derive(Debug, Clone, Default)]
pub struct Parameters(BTreeMap<String, Parameter>);

/// Deviation of fresh input embeddings that are not also the head: large, so that a step of Adam
/// does not blur who is who while attention learns to look tokens up.
const EMBEDDING_RANGE: f64 = 0.5;

impl Parameters {
    /// Draws fresh weights: norms 1, biases 0, matrices normal with `initializer_range`. Matrices that write
    /// into the decoder's residual stream are divided by sqrt(2 x layers) (GPT-2, Radford et al. 2019,
    /// section 2.3), so that the stream's variance does not grow with depth.
    pub fn init(config: &VlmConfig, rng: &mut ChaCha8Rng, device: &Device) -> Parameters {
        let residual = 1.0 / ((2 * config.num_hidden_layers) as f64).sqrt();
        let entries = shapes(config).into_iter().map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = if name.ends_with("bias") {
                vec![0.0; count]
            } else if shape.len() == 1 {
                vec![1.0; count]
            } else {
                let writes_residual = name.starts_with("model.layers")
                    && (name.contains("o_proj") || name.contains("down_proj"));
                let std = match name.as_str() {
                    EMBEDDING if !config.tie_word_embeddings => EMBEDDING_RANGE,
                    _ if writes_residual => config.initializer_range * residual,
                    _ => config.initializer_range,
                };
                (0..count).map(|_| (standard_normal(rng) * std) as f32).collect()
            };
            (name, Parameter::new(shape, values, device))
        });
        entries.collect()
    }

    /// Loads `dir/model.safetensors`, or the shards that `dir/model.safetensors.index.json` names
    /// (f32, f16 or bf16), for `config`.
    ///
    /// # Errors
    /// If a file is missing or damaged. One message lists every missing, unused and wrongly shaped tensor.
    pub fn load(dir: &Path, config: &VlmConfig, device: &Device) -> Result<Parameters> {
        Self::load_as(dir, config, device, ComputeDtype::F32)
    }

    /// Does the same as [`Parameters::load`] and rounds to `dtype`, tensor by tensor, so that memory never holds all
    /// weights in f32.
    ///
    /// # Errors
    /// See [`Parameters::load`].
    pub fn load_as(
        dir: &Path,
        config: &VlmConfig,
        device: &Device,
        dtype: ComputeDtype,
    ) -> Result<Parameters> {
        let (stored, faults) = listed(dir, config)?;
        Self::take(stored, shapes(config), device, dtype, faults)
            .with_context(|| format!("unusable weights in `{}`", dir.display()))
    }

    /// Checks that `dir` holds weights for `config`, as [`Parameters::load`] does, but reads no numbers.
    ///
    /// # Errors
    /// See [`Parameters::load`].
    pub fn check(dir: &Path, config: &VlmConfig) -> Result<()> {
        let (stored, faults) = listed(dir, config)?;
        matched(stored, shapes(config), faults)
            .map(drop)
            .with_context(|| format!("unusable weights in `{}`", dir.display()))
    }

    /// Reads the safetensors file `path`, or the shards that replace it, which must hold tensors of exactly these names
    /// and shapes.
    ///
    /// # Errors
    /// If a file is missing or damaged. One message lists every missing, unused and wrongly shaped tensor.
    pub fn read_file(path: &Path, shapes: Vec<NamedShape>, device: &Device) -> Result<Parameters> {
        let mut stored = BTreeMap::new();
        for part in parts_of(path)? {
            stored.extend(stored_in(&part)?);
        }
        Self::take(stored, shapes, device, ComputeDtype::F32, Vec::new())
    }

    /// Reads the tensors called `shapes`, and refuses others; `faults` are those found before.
    fn take(
        stored: BTreeMap<String, StoredTensor>,
        shapes: Vec<NamedShape>,
        device: &Device,
        dtype: ComputeDtype,
        faults: Vec<String>,
    ) -> Result<Parameters> {
        let found = matched(stored, shapes, faults)?;
        let read = |(name, tensor): (String, StoredTensor)| {
            let values = tensor.read(&name)?;
            let Parameter { shape, value } = Parameter::new(tensor.shape, values, device);
            Ok((name, Parameter { shape, value: value.cast(dtype.dtype()) }))
        };
        found.into_iter().map(read).collect()
    }

    /// Writes the weights to `dir` as `dtype`: one `model.safetensors`, or shards of at most
    /// `max_shard_bytes` (a larger tensor gets one of its own) and their index, which is written last.
    /// Tensors are converted to bytes one by one.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path, dtype: StoredDtype, max_shard_bytes: usize) -> Result<()> {
        self.save_named("model", dir, dtype, max_shard_bytes)
    }

    /// Does the same as [`Parameters::save`] with `name` in the place of `model`; [`Parameters::read_file`] reads it.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_named(
        &self,
        name: &str,
        dir: &Path,
        dtype: StoredDtype,
        max_shard_bytes: usize,
    ) -> Result<()> {
        let mut shards: Vec<Vec<&str>> = Vec::new();
        let mut room = 0;
        for (name, p) in self.iter() {
            let bytes = p.count() * dtype.num_bytes();
            if shards.is_empty() || bytes > room {
                shards.push(Vec::new());
                room = max_shard_bytes;
            }
            room = room.saturating_sub(bytes);
            shards.last_mut().expect("pushed above").push(name);
        }
        let num = shards.len();
        let whole = format!("{name}.safetensors");
        let mut weight_map = BTreeMap::new();
        for (i, names) in shards.iter().enumerate() {
            let file = if num == 1 {
                whole.clone()
            } else {
                format!("{name}-{:05}-of-{num:05}.safetensors", i + 1)
            };
            let tensors = names.iter().map(|&name| (name, self.get(name)));
            write_tensors(&dir.join(&file), tensors, dtype)?;
            weight_map.extend(names.iter().map(|name| (name.to_string(), file.clone())));
        }
        if num > 1 {
            let total_size = self.count() * dtype.num_bytes();
            let index = json!({"metadata": {"total_size": total_size}, "weight_map": weight_map});
            let path = index_of(&dir.join(whole));
            let text = serde_json::to_string_pretty(&index).context("plain data")? + "\n";
            std::fs::write(&path, text)
                .with_context(|| format!("failed to write `{}`", path.display()))?;
        }
        Ok(())
    }

    /// Returns the bytes of a `model.safetensors` in f32.
    pub fn to_bytes(&self) -> Vec<u8> {
        let views = self
            .iter()
            .map(|(name, parameter)| (name, Stored { parameter, dtype: StoredDtype::F32 }));
        safetensors::serialize(views, Some(metadata())).expect("shapes and bytes agree")
    }

    /// Iterates over the names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Iterates over names and parameters, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0.iter().map(|(name, p)| (name.as_str(), p))
    }

    /// Lists names and shapes, in name order.
    pub fn shapes(&self) -> Vec<NamedShape> {
        self.iter().map(|(name, p)| (name.to_owned(), p.shape.clone())).collect()
    }

    /// Returns the parameter called `name`.
    ///
    /// # Panics
    /// If there is no such parameter.
    pub fn get(&self, name: &str) -> &Parameter {
        self.find(name).unwrap_or_else(|| panic!("no parameter `{name}`"))
    }

    /// Returns the parameter called `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.0.get(name)
    }

    /// Takes out the parameter called `name`, if there is one; [`Parameters::insert`] puts it back.
    pub fn remove(&mut self, name: &str) -> Option<Parameter> {
        self.0.remove(name)
    }

    /// Inserts a parameter, or replaces the one called `name`.
    pub fn insert(&mut self, name: String, parameter: Parameter) {
        self.0.insert(name, parameter);
    }

    /// Replaces the value of every parameter by that which `f` returns, `[product of shape]`.
    pub fn map(&self, mut f: impl FnMut(&str, &Parameter) -> Tensor<1>) -> Parameters {
        let entries = self.0.iter().map(|(name, p)| {
            (name.clone(), Parameter { shape: p.shape.clone(), value: f(name, p) })
        });
        Parameters(entries.collect())
    }

    /// Returns copies in `dtype` to compute with; in f32 they are the parameters themselves. The gradient of a copy
    /// reaches its parameter, in the parameter's type.
    #[must_use]
    pub fn cast(&self, dtype: ComputeDtype) -> Parameters {
        self.map(|_, p| p.value.clone().cast(dtype.dtype()))
    }

    /// Counts the numbers of all parameters.
    pub fn count(&self) -> usize {
        self.0.values().map(Parameter::count).sum()
    }

    pub(crate) fn vector(&self, name: &str) -> Tensor<1> {
        self.get(name).value.clone()
    }

    /// Returns the linear layer called `name`, with an adapter's factors beside it if there are any
    /// ([`crate::lora::Adapter::beside`]).
    pub(crate) fn linear(&self, name: &str, has_bias: bool) -> Linear {
        let weight = format!("{name}.weight");
        let factor = |half| self.find(&factor_name(&weight, half)).map(Parameter::matrix);
        let beside = factor("A").zip(factor("B")).map(|(a, b)| Beside::new(a, b));
        let bias = has_bias.then(|| self.vector(&format!("{name}.bias")));
        Linear { weight: self.matrix(&weight), bias, beside }
    }

    /// Returns a view of the parameter called `name`, `[rows, everything else]`.
    pub(crate) fn matrix(&self, name: &str) -> Tensor<2> {
        self.get(name).matrix()
    }
}

impl FromIterator<(String, Parameter)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, Parameter)>>(entries: I) -> Parameters {
        Parameters(entries.into_iter().collect())
    }
}

impl Parameter {
    /// Puts `values`, row-major, on `device`. There must be as many as `shape` asks for.
    pub fn new(shape: Vec<usize>, values: Vec<f32>, device: &Device) -> Parameter {
        let count = values.len();
        Parameter { shape, value: Tensor::from_data(TensorData::new(values, [count]), device) }
    }

    /// Counts the numbers of the parameter.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns a view, `[rows, everything else]`.
    pub(crate) fn matrix(&self) -> Tensor<2> {
        let columns: usize = self.shape.iter().skip(1).product();
        self.value.clone().reshape([self.shape[0], columns])
    }

    /// Copies the values to the host, row-major.
    pub fn to_vec(&self) -> Vec<f32> {
        self.value.try_to_vec_as::<f32>().expect("float data is readable as f32")
    }
}

/// The type that a model computes in. Parameters, their gradients and the optimizer's state are f32 in either case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit brain floats: products are faster on a card, and hidden states take half the memory.
    Bf16,
}

impl ComputeDtype {
    /// Returns burn's name of the type.
    pub fn dtype(self) -> DType {
        match self {
            ComputeDtype::F32 => DType::F32,
            ComputeDtype::Bf16 => DType::BF16,
        }
    }
}

/// The type that numbers have in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum StoredDtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit brain floats, with the range of f32.
    Bf16,
}

impl StoredDtype {
    /// Returns the type that a file calls `dtype`, if it can be computed with.
    pub(crate) fn of(dtype: Dtype) -> Option<StoredDtype> {
        match dtype {
            Dtype::F32 => Some(StoredDtype::F32),
            Dtype::F16 => Some(StoredDtype::F16),
            Dtype::BF16 => Some(StoredDtype::Bf16),
            _ => None,
        }
    }

    pub(crate) fn dtype(self) -> Dtype {
        match self {
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::F16 => Dtype::F16,
            StoredDtype::Bf16 => Dtype::BF16,
        }
    }

    pub(crate) fn num_bytes(self) -> usize {
        self.dtype().bitsize() / 8
    }

    /// Returns the name that a model's `config.json` uses.
    pub(crate) fn torch_name(self) -> &'static str {
        match self {
            StoredDtype::F32 => "float32",
            StoredDtype::F16 => "float16",
            StoredDtype::Bf16 => "bfloat16",
        }
    }

    /// Returns the largest magnitude that does not round to infinity.
    pub(crate) fn largest(self) -> f32 {
        match self {
            StoredDtype::F32 => f32::MAX,
            // One below the middle between the largest number and the next power of two.
            StoredDtype::F16 => 65520_f32.next_down(),
            StoredDtype::Bf16 => f32::from_bits(0x7f7f_8000).next_down(),
        }
    }

    /// Rounds `values` to the nearest and returns the bytes that a file holds.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        fn fill<const N: usize>(values: &[f32], to_bytes: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
            let mut bytes = vec![0; values.len() * N];
            for (place, x) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(values) {
                *place = to_bytes(*x);
            }
            bytes
        }
        match self {
            StoredDtype::F32 => fill(values, f32::to_le_bytes),
            StoredDtype::F16 => fill(values, |x| f16::from_f32(x).to_le_bytes()),
            StoredDtype::Bf16 => fill(values, |x| bf16::from_f32(x).to_le_bytes()),
        }
    }
}

/// A parameter to be written; its bytes are made when the writer asks for them.
struct Stored<'a> {
    parameter: &'a Parameter,
    dtype: StoredDtype,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.parameter.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.dtype.encode(&self.parameter.to_vec()))
    }

    fn data_len(&self) -> usize {
        self.parameter.count() * self.dtype.num_bytes()
    }
}

/// Writes a safetensors file of parameters.
pub(crate) fn write_tensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a Parameter)>,
    dtype: StoredDtype,
) -> Result<()> {
    let views = tensors.map(|(name, parameter)| (name, Stored { parameter, dtype }));
    write_views(path, views, metadata())
}

/// Writes a safetensors file under another name and then renames it. Tensors are converted to bytes one by one.
pub(crate) fn write_views<'a, V: View>(
    path: &Path,
    views: impl Iterator<Item = (&'a str, V)>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let part = path.with_extension("part");
    let write = || -> Result<()> {
        // The crate makes files that only their owner can read; a usual file shows what is usual here.
        let usual = File::create(&part)?.metadata()?.permissions();
        safetensors::serialize_to_file(views, Some(metadata), &part).map_err(|e| match e {
            // Its text would say twice what the system said.
            SafeTensorError::IoError(e) => Error::from(e),
            e => Error::from(e),
        })?;
        std::fs::set_permissions(&part, usual)?;
        Ok(std::fs::rename(&part, path)?)
    };
    write().explain(|| {
        hint!(
            ("failed to write `{}`", path.display()),
            "is the folder writable and the disk not full?"
        )
    })
}

/// Lists the tensors of the checkpoint in `dir` by their published names, with what is wrong with the names.
fn listed(dir: &Path, config: &VlmConfig) -> Result<(BTreeMap<String, StoredTensor>, Vec<String>)> {
    let mut faults = Vec::new();
    let mut stored = BTreeMap::new();
    for path in shard_paths(dir)? {
        for (name, tensor) in stored_in(&path)? {
            if stored.insert(published_name(&name), tensor).is_some() {
                faults.push(format!("`{name}` is stored twice"));
            }
        }
    }
    if config.tie_word_embeddings {
        // Some writers store the head a second time; the reference ignores it too.
        stored.remove(HEAD);
    }
    Ok((stored, faults))
}

/// Gives the tensors called `shapes`, in their order, and refuses others; `faults` are those found before.
fn matched(
    mut stored: BTreeMap<String, StoredTensor>,
    shapes: Vec<NamedShape>,
    mut faults: Vec<String>,
) -> Result<Vec<(String, StoredTensor)>> {
    let mut found = Vec::new();
    for (name, shape) in shapes {
        match stored.remove(&name) {
            None => faults.push(format!("missing `{name}`")),
            Some(tensor) if tensor.shape == shape => found.push((name, tensor)),
            Some(tensor) => {
                faults.push(format!("`{name}` has shape {:?}, expected {shape:?}", tensor.shape));
            }
        }
    }
    faults.extend(stored.keys().map(|name| format!("unused `{name}`")));
    if !faults.is_empty() {
        bail!(hint!(("{}", faults.join(", ")), "the weights belong to another model"));
    }
    Ok(found)
}

/// Makes the metadata that `transformers` requires of a file.
fn metadata() -> HashMap<String, String> {
    HashMap::from([("format".to_owned(), "pt".to_owned())])
}

/// Draws from N(0, 1) by the Box-Muller transform.
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let angle = std::f64::consts::TAU * rng.random::<f64>();
    (-2.0 * u.ln()).sqrt() * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{json, model, path};
    use crate::weights::stored::{INDEX, WHOLE};
    use std::os::unix::fs::FileExt;
    use tempfile::TempDir;

    const LARGE: usize = 1 << 30;

    /// A copy of a recorded checkpoint, to be damaged.
    fn copy(name: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in ["config.json", WHOLE] {
            std::fs::copy(path(name).join(file), dir.path().join(file)).unwrap();
        }
        dir
    }

    fn load(dir: &TempDir) -> Result<Parameters> {
        let config = VlmConfig::read(dir.path()).unwrap();
        Parameters::load(dir.path(), &config, &Device::flex())
    }

    fn refusal(dir: &TempDir) -> String {
        synergy_hint::text(&load(dir).unwrap_err())
    }

    /// A copy of the recorded checkpoint `name` with other weights.
    fn stored(name: &str, parameters: &Parameters) -> TempDir {
        let dir = copy(name);
        parameters.save(dir.path(), StoredDtype::F32, LARGE).unwrap();
        dir
    }

    #[test]
    fn both_layouts_of_keys_in_the_wild_load() {
        let keys: BTreeMap<String, BTreeMap<String, Vec<String>>> = json("keys.json");
        for (name, layouts) in keys {
            let (_, parameters) = model(&name);
            let ours: Vec<String> = parameters.names().map(str::to_owned).collect();
            for (layout, keys) in layouts {
                let mut published: Vec<String> = keys.iter().map(|k| published_name(k)).collect();
                published.sort();
                assert_eq!(ours, published, "{name}, {layout}");
            }
        }
        // The files themselves: one in either layout.
        let stored = |name| stored_in(&path(name).join(WHOLE)).unwrap();
        assert!(stored("model-tied").iter().any(|(n, _)| n.starts_with("model.language_model.")));
        assert!(stored("model-untied").iter().any(|(n, _)| n.starts_with("visual.")));
    }

    #[test]
    fn shards_and_their_index_hold_what_one_file_holds() {
        let (_, parameters) = model("model-untied");
        let dir = copy("model-untied");
        std::fs::remove_file(dir.path().join(WHOLE)).unwrap();
        parameters.save(dir.path(), StoredDtype::F32, 300_000).unwrap();
        assert_eq!(load(&dir).unwrap().to_bytes(), parameters.to_bytes());
        let files = shard_paths(dir.path()).unwrap();
        assert!(files.len() > 3, "{files:?}");
        for file in &files {
            let size: usize = stored_in(file).unwrap().iter().map(|(_, t)| t.num_bytes).sum();
            assert!(size <= 300_000, "{size} bytes in {}", file.display());
        }

        let gone = &files[1];
        std::fs::remove_file(gone).unwrap();
        let (said, name) = (refusal(&dir), gone.file_name().unwrap().to_string_lossy().to_string());
        assert!(said.contains(&format!("names shard `{name}`, which is not there")), "{said}");
    }

    #[test]
    fn what_fits_is_one_file_of_the_same_bytes_and_what_does_not_is_shards_of_its_name() {
        let (_, parameters) = model("model-tied");
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let path = dir.path().join(format!("{name}.safetensors"));
            Parameters::read_file(&path, parameters.shapes(), &Device::flex())
        };
        parameters.save_named("whole", dir.path(), StoredDtype::F32, LARGE).unwrap();
        let bytes = std::fs::read(dir.path().join("whole.safetensors")).unwrap();
        assert!(bytes == parameters.to_bytes(), "streamed bytes differ");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(read("whole").unwrap().to_bytes(), bytes);

        parameters.save_named("cut", dir.path(), StoredDtype::F32, 300_000).unwrap();
        assert!(!dir.path().join("cut.safetensors").exists());
        assert_eq!(read("cut").unwrap().to_bytes(), bytes);
        let shards = parts_of(&dir.path().join("cut.safetensors")).unwrap();
        std::fs::remove_file(&shards[0]).unwrap();
        let said = read("cut").unwrap_err().to_string();
        assert!(said.contains("names shard `cut-00001-of-"), "{said}");
    }

    #[test]
    fn an_index_that_points_out_of_its_folder_is_refused() {
        let dir = copy("model-untied");
        for place in ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", ".."] {
            let index = json!({"metadata": {}, "weight_map": {"lm_head.weight": place}});
            std::fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
            assert!(refusal(&dir).contains("which is not there"), "{place}");
        }
    }

    #[test]
    fn half_precision_is_read_to_the_bit_and_halves_the_file() {
        let (config, parameters) = model("model-tied");
        for (dtype, round) in [
            (StoredDtype::Bf16, (|x| bf16::from_f32(x).to_f32()) as fn(f32) -> f32),
            (StoredDtype::F16, |x| f16::from_f32(x).to_f32()),
        ] {
            let dir = copy("model-tied");
            parameters.save(dir.path(), dtype, LARGE).unwrap();
            let read = load(&dir).unwrap();
            for (name, p) in parameters.iter() {
                let rounded: Vec<f32> = p.to_vec().into_iter().map(round).collect();
                assert_eq!(read.get(name).to_vec(), rounded, "{name}");
            }
            let size = std::fs::metadata(dir.path().join(WHOLE)).unwrap().len() as usize;
            let count = config.layout().num_parameters;
            assert!(size < 2 * count + 20_000, "{size} bytes for {count} numbers");
        }
    }

    #[test]
    fn a_tied_head_is_stored_once_and_a_second_copy_is_ignored() {
        let (_, parameters) = model("model-tied");
        assert!(parameters.find(HEAD).is_none());
        let table = parameters.get("model.embed_tokens.weight").clone();
        let doubled: Parameters = parameters
            .iter()
            .map(|(name, p)| (name.to_owned(), p.clone()))
            .chain([(HEAD.to_owned(), table)])
            .collect();
        let read = load(&stored("model-tied", &doubled)).unwrap();
        assert_eq!(read.to_bytes(), parameters.to_bytes());
    }

    #[test]
    fn one_message_lists_missing_unused_and_wrongly_shaped_keys() {
        let (_, parameters) = model("model-untied");
        let other =
            parameters.iter().filter(|(name, _)| *name != "model.norm.weight").map(|(name, p)| {
                match name {
                    HEAD => (name.to_owned(), Parameter { shape: vec![72, 700], ..p.clone() }),
                    "visual.merger.ln_q.weight" => ("visual.stranger".to_owned(), p.clone()),
                    _ => (name.to_owned(), p.clone()),
                }
            });
        let error = load(&stored("model-untied", &other.collect())).unwrap_err();
        assert!(synergy_hint::text(&error).ends_with(
            "missing `visual.merger.ln_q.weight`, missing `model.norm.weight`, \
             `lm_head.weight` has shape [72, 700], expected [700, 72], unused `visual.stranger`\n\
             hint: the weights belong to another model"
        ));
    }

    #[test]
    fn truncated_weights_are_refused_wherever_they_end() {
        let whole = std::fs::read(path("model-untied").join(WHOLE)).unwrap();
        let dir = copy("model-untied");
        for len in [0, 1, 7, 8, 9, 1000, whole.len() / 2, whole.len() - 1] {
            std::fs::write(dir.path().join(WHOLE), &whole[..len]).unwrap();
            let said = refusal(&dir);
            assert!(said.contains(WHOLE) && said.contains("\nhint: "), "{len}: {said}");
        }
        std::fs::remove_file(dir.path().join(WHOLE)).unwrap();
        assert!(refusal(&dir).contains("failed to open weights"));
    }

    #[test]
    fn a_flipped_bit_in_the_header_is_refused_or_changes_nothing() {
        let (_, parameters) = model("model-tied");
        let (dir, whole) = (stored("model-tied", &parameters), parameters.to_bytes());
        let file = File::options().write(true).open(dir.path().join(WHOLE)).unwrap();
        let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
        let mut num_refused = 0;
        // Every bit of the length, then every 13th: all of them take a minute.
        for bit in (0..64).chain((64..header * 8).step_by(13)) {
            let (at, byte) = (bit / 8, whole[bit / 8]);
            file.write_all_at(&[byte ^ (1 << (bit % 8))], at as u64).unwrap();
            let read = load(&dir);
            file.write_all_at(&[byte], at as u64).unwrap();
            match read {
                Err(error) => {
                    assert!(synergy_hint::text(&error).contains("\nhint: "), "{error:#}");
                    num_refused += 1;
                }
                Ok(read) => assert_eq!(read.to_bytes(), whole, "bit {bit}"),
            }
        }
        assert!(num_refused > 1000, "{num_refused}");
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_with_their_tensor() {
        let (_, parameters) = model("model-tied");
        let broken = parameters.map(|name, p| match name {
            "model.norm.weight" => p.value.clone().mul_scalar(f32::INFINITY),
            _ => p.value.clone(),
        });
        let said = refusal(&stored("model-tied", &broken));
        assert!(said.contains(": in `model.norm.weight` of `"), "{said}");
        assert!(said.contains("`: numbers that are not finite"), "{said}");
    }
}
