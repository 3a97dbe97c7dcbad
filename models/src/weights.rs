//! Named parameters in the Hugging Face layout: initialised, loaded from and saved as safetensors.
//!
//! Does not know what a layer computes. Every parameter is kept flat, with its shape beside it:
//! an optimizer then sees a list of vectors, and a layer takes a reshaped view at no cost.
//! `shapes` is the one list of what a checkpoint holds: initialising, loading and saving use it.
//! Names are the published ones; those that newer versions of `transformers` use inside are read
//! too. Weights are computed with in f32, whatever they are stored in. A file is mapped one tensor
//! at a time, so that loading takes the memory of the weights and of one tensor.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::{Mmap, MmapOptions};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors, View};
use serde::Deserialize;
use serde_json::json;

use crate::config::VlmConfig;

/// One tensor of a checkpoint.
#[derive(Debug, Clone)]
pub struct Parameter {
    pub shape: Vec<usize>,
    /// `[product of shape]`, row-major.
    pub value: Tensor<1>,
}

/// All tensors of a checkpoint by their Hugging Face names, in name order.
#[derive(Debug, Clone)]
pub struct Parameters(BTreeMap<String, Parameter>);

/// Deviation of fresh input embeddings that are not also the head: large, so that a step of Adam
/// does not blur who is who while attention learns to look tokens up.
const EMBEDDING_RANGE: f64 = 0.5;

/// Names and shapes of every parameter, as `transformers` names them.
pub fn shapes(config: &VlmConfig) -> Vec<(String, Vec<usize>)> {
    let mut list: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: String, shape: &[usize]| list.push((name, shape.to_vec()));
    let v = &config.vision_config;
    add(
        "visual.patch_embed.proj.weight".into(),
        &[v.hidden_size, v.in_chans, v.temporal_patch_size, v.patch_size, v.patch_size],
    );
    for i in 0..v.depth {
        let b = format!("visual.blocks.{i}");
        add(format!("{b}.norm1.weight"), &[v.hidden_size]);
        add(format!("{b}.norm2.weight"), &[v.hidden_size]);
        add(format!("{b}.attn.qkv.weight"), &[3 * v.hidden_size, v.hidden_size]);
        add(format!("{b}.attn.qkv.bias"), &[3 * v.hidden_size]);
        add(format!("{b}.attn.proj.weight"), &[v.hidden_size, v.hidden_size]);
        add(format!("{b}.attn.proj.bias"), &[v.hidden_size]);
        for gate in ["gate_proj", "up_proj"] {
            add(format!("{b}.mlp.{gate}.weight"), &[v.intermediate_size, v.hidden_size]);
            add(format!("{b}.mlp.{gate}.bias"), &[v.intermediate_size]);
        }
        add(format!("{b}.mlp.down_proj.weight"), &[v.hidden_size, v.intermediate_size]);
        add(format!("{b}.mlp.down_proj.bias"), &[v.hidden_size]);
    }
    let merged = v.hidden_size * v.spatial_merge_size * v.spatial_merge_size;
    add("visual.merger.ln_q.weight".into(), &[v.hidden_size]);
    add("visual.merger.mlp.0.weight".into(), &[merged, merged]);
    add("visual.merger.mlp.0.bias".into(), &[merged]);
    add("visual.merger.mlp.2.weight".into(), &[v.out_hidden_size, merged]);
    add("visual.merger.mlp.2.bias".into(), &[v.out_hidden_size]);

    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let kv = config.num_key_value_heads * config.head_dim();
    add("model.embed_tokens.weight".into(), &[config.vocab_size, hidden]);
    for i in 0..config.num_hidden_layers {
        let l = format!("model.layers.{i}");
        add(format!("{l}.input_layernorm.weight"), &[hidden]);
        add(format!("{l}.post_attention_layernorm.weight"), &[hidden]);
        for (name, width) in [("q", hidden), ("k", kv), ("v", kv)] {
            add(format!("{l}.self_attn.{name}_proj.weight"), &[width, hidden]);
            add(format!("{l}.self_attn.{name}_proj.bias"), &[width]);
        }
        add(format!("{l}.self_attn.o_proj.weight"), &[hidden, hidden]);
        add(format!("{l}.mlp.gate_proj.weight"), &[inner, hidden]);
        add(format!("{l}.mlp.up_proj.weight"), &[inner, hidden]);
        add(format!("{l}.mlp.down_proj.weight"), &[hidden, inner]);
    }
    add("model.norm.weight".into(), &[hidden]);
    if !config.tie_word_embeddings {
        add(HEAD.into(), &[config.vocab_size, hidden]);
    }
    list
}

impl Parameters {
    /// Fresh weights: norms 1, biases 0, matrices normal with `initializer_range`; what writes into
    /// the decoder's residual stream is divided by sqrt(2 x layers) (GPT-2, Radford et al. 2019,
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
                    "model.embed_tokens.weight" if !config.tie_word_embeddings => EMBEDDING_RANGE,
                    _ if writes_residual => config.initializer_range * residual,
                    _ => config.initializer_range,
                };
                (0..count).map(|_| (standard_normal(rng) * std) as f32).collect()
            };
            (
                name,
                Parameter {
                    shape,
                    value: Tensor::from_data(TensorData::new(values, [count]), device),
                },
            )
        });
        Parameters(entries.collect())
    }

    /// Loads `dir/model.safetensors`, or the shards that `dir/model.safetensors.index.json` names
    /// (f32, f16 or bf16), for `config`.
    ///
    /// # Errors
    /// One message that lists every missing, unused and wrongly shaped key; or a file's own fault.
    pub fn load(dir: &Path, config: &VlmConfig, device: &Device) -> Result<Parameters> {
        let mut stored = Vec::new();
        for path in shard_paths(dir)? {
            let file = Rc::new(
                File::open(&path)
                    .with_context(|| format!("failed to open weights `{}`", path.display()))?,
            );
            let bytes = map(&MmapOptions::new(), &file)
                .with_context(|| format!("failed to map weights `{}`", path.display()))?;
            let tensors = list(&bytes, |from, num_bytes| Source::File {
                file: Rc::clone(&file),
                offset: from as u64,
                num_bytes,
            });
            stored.extend(tensors.with_context(|| format!("unusable `{}`", path.display()))?);
        }
        Self::assemble(stored, config, device)
            .with_context(|| format!("unusable weights in `{}`", dir.display()))
    }

    /// The same from the bytes of one safetensors file.
    ///
    /// # Errors
    /// See [`Parameters::load`].
    pub fn from_bytes(bytes: &[u8], config: &VlmConfig, device: &Device) -> Result<Parameters> {
        let stored = list(bytes, |from, num_bytes| Source::Bytes(&bytes[from..from + num_bytes]))?;
        Self::assemble(stored, config, device)
    }

    fn assemble(
        stored: Vec<(String, StoredTensor<'_>)>,
        config: &VlmConfig,
        device: &Device,
    ) -> Result<Parameters> {
        let mut faults = Vec::new();
        let mut by_name = BTreeMap::new();
        for (name, tensor) in stored {
            let published = published_name(&name);
            if by_name.insert(published, tensor).is_some() {
                faults.push(format!("`{name}` is stored twice"));
            }
        }
        if config.tie_word_embeddings {
            // Some writers store the head a second time; the reference ignores it too.
            by_name.remove(HEAD);
        }
        let mut found = Vec::new();
        for (name, shape) in shapes(config) {
            match by_name.remove(&name) {
                None => faults.push(format!("missing `{name}`")),
                Some(tensor) if tensor.shape == shape => found.push((name, tensor)),
                Some(tensor) => faults
                    .push(format!("`{name}` has shape {:?}, expected {shape:?}", tensor.shape)),
            }
        }
        faults.extend(by_name.keys().map(|name| format!("unused `{name}`")));
        if !faults.is_empty() {
            bail!(
                "{}\nhint: config.json and the weights belong to different models",
                faults.join(", ")
            );
        }
        let mut entries = BTreeMap::new();
        for (name, tensor) in found {
            let values = tensor.read().with_context(|| format!("in `{name}`"))?;
            let value = Tensor::from_data(TensorData::new(values, [tensor.count()]), device);
            entries.insert(name, Parameter { shape: tensor.shape, value });
        }
        Ok(Parameters(entries))
    }

    /// Writes the weights to `dir` as `dtype`: one `model.safetensors`, or shards of at most
    /// `max_shard_bytes` (a larger tensor has one of its own) and their index, which comes last.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path, dtype: StoredDtype, max_shard_bytes: usize) -> Result<()> {
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
        let mut weight_map = BTreeMap::new();
        for (i, names) in shards.iter().enumerate() {
            let file = if num == 1 {
                WHOLE.to_owned()
            } else {
                format!("model-{:05}-of-{num:05}.safetensors", i + 1)
            };
            let tensors = names.iter().map(|name| (name.to_string(), self.get(name)));
            write_tensors(&dir.join(&file), tensors, dtype)?;
            weight_map.extend(names.iter().map(|name| (name.to_string(), file.clone())));
        }
        if num > 1 {
            let total_size = self.count() * dtype.num_bytes();
            let index = json!({"metadata": {"total_size": total_size}, "weight_map": weight_map});
            let path = dir.join(INDEX);
            let text = serde_json::to_string_pretty(&index).context("plain data")? + "\n";
            std::fs::write(&path, text)
                .with_context(|| format!("failed to write `{}`", path.display()))?;
        }
        Ok(())
    }

    /// The bytes of `model.safetensors`, f32, keys in name order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let views = self
            .iter()
            .map(|(name, parameter)| (name, Stored { parameter, dtype: StoredDtype::F32 }));
        safetensors::serialize(views, Some(metadata())).expect("shapes and bytes agree")
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Name and parameter, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0.iter().map(|(name, p)| (name.as_str(), p))
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> &Parameter {
        self.0.get(name).unwrap_or_else(|| panic!("no parameter `{name}`"))
    }

    /// Applies `f` to every parameter.
    pub fn map(&self, mut f: impl FnMut(&str, &Parameter) -> Tensor<1>) -> Parameters {
        let entries = self.0.iter().map(|(name, p)| {
            (name.clone(), Parameter { shape: p.shape.clone(), value: f(name, p) })
        });
        Parameters(entries.collect())
    }

    /// Number of values in all.
    pub fn count(&self) -> usize {
        self.0.values().map(Parameter::count).sum()
    }

    pub(crate) fn vector(&self, name: &str) -> Tensor<1> {
        self.get(name).value.clone()
    }

    /// A view `[rows, everything else]`.
    pub(crate) fn matrix(&self, name: &str) -> Tensor<2> {
        self.get(name).matrix()
    }
}

impl Parameter {
    /// Number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// A view `[rows, everything else]`.
    pub(crate) fn matrix(&self) -> Tensor<2> {
        let columns: usize = self.shape.iter().skip(1).product();
        self.value.clone().reshape([self.shape[0], columns])
    }

    /// The values on the host, row-major.
    pub fn to_vec(&self) -> Vec<f32> {
        self.value.try_to_vec_as::<f32>().expect("float data is readable as f32")
    }
}

/// What numbers are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredDtype {
    F32,
    F16,
    Bf16,
}

impl StoredDtype {
    fn num_bytes(self) -> usize {
        match self {
            StoredDtype::F32 => 4,
            StoredDtype::F16 | StoredDtype::Bf16 => 2,
        }
    }
}

/// A parameter as it is written: its bytes are made when the writer asks for them.
struct Stored<'a> {
    parameter: &'a Parameter,
    dtype: StoredDtype,
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::F16 => Dtype::F16,
            StoredDtype::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.parameter.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.parameter.to_vec().into_iter();
        Cow::Owned(match self.dtype {
            StoredDtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
            StoredDtype::F16 => values.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect(),
            StoredDtype::Bf16 => values.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.parameter.count() * self.dtype.num_bytes()
    }
}

/// Writes a safetensors file under another name and then renames it; tensors are turned into bytes
/// one by one.
pub(crate) fn write_tensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (String, &'a Parameter)>,
    dtype: StoredDtype,
) -> Result<()> {
    let part = path.with_extension("part");
    let views = tensors.map(|(name, parameter)| (name, Stored { parameter, dtype }));
    safetensors::serialize_to_file(views, Some(metadata()), &part)
        .with_context(|| format!("failed to write `{}`", part.display()))?;
    std::fs::rename(&part, path).with_context(|| format!("failed to write `{}`", path.display()))
}

/// Shapes and values of a small safetensors file by its own names.
pub(crate) fn read_tensors(path: &Path) -> Result<BTreeMap<String, (Vec<usize>, Vec<f32>)>> {
    let bytes =
        std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let stored = list(&bytes, |from, num_bytes| Source::Bytes(&bytes[from..from + num_bytes]))
        .with_context(|| format!("unusable `{}`", path.display()))?;
    let read = |(name, tensor): (String, StoredTensor<'_>)| {
        let values =
            tensor.read().with_context(|| format!("in `{name}` of `{}`", path.display()))?;
        Ok((name, (tensor.shape, values)))
    };
    stored.into_iter().map(read).collect()
}

/// What `transformers` looks for before it reads a file.
fn metadata() -> HashMap<String, String> {
    HashMap::from([("format".to_owned(), "pt".to_owned())])
}

/// The name that published checkpoints use for what `transformers` from 4.52 on calls
/// `model.language_model.…` and `model.visual.…` inside.
fn published_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        format!("model.{rest}")
    } else if let Some(rest) = name.strip_prefix("model.visual.") {
        format!("visual.{rest}")
    } else {
        name.to_owned()
    }
}

/// The files that hold the weights of `dir`.
fn shard_paths(dir: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = dir.join(INDEX);
    if !path.is_file() {
        return Ok(vec![dir.join(WHOLE)]);
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read index `{}`", path.display()))?;
    let index: Index = serde_json::from_str(&text)
        .with_context(|| format!("failed to parse index `{}`", path.display()))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    for file in &files {
        let plain = Path::new(file).file_name().is_some_and(|name| name == file.as_str());
        ensure!(
            plain && dir.join(file).is_file(),
            "index `{}` names shard `{file}`, which is not there\n\
             hint: fetch the checkpoint again, all of its files",
            path.display()
        );
    }
    Ok(files.into_iter().map(|file| dir.join(file)).collect())
}

/// The head of an untied model.
const HEAD: &str = "lm_head.weight";
const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Where a tensor lies.
struct StoredTensor<'a> {
    source: Source<'a>,
    dtype: Dtype,
    shape: Vec<usize>,
}

enum Source<'a> {
    Bytes(&'a [u8]),
    /// Mapped only while it is read.
    File {
        file: Rc<File>,
        offset: u64,
        num_bytes: usize,
    },
}

/// The tensors of a safetensors file by its own names, its header checked against its length;
/// `source` is given where one begins and how long it is.
fn list<'a>(
    bytes: &[u8],
    source: impl Fn(usize, usize) -> Source<'a>,
) -> Result<Vec<(String, StoredTensor<'a>)>> {
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| {
        anyhow!("not a whole safetensors file: {e}\nhint: fetch or train the checkpoint again")
    })?;
    // Eight bytes before the header say how long it is.
    let start = 8 + header;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let source = source(start + from, to - from);
        (name, StoredTensor { source, dtype: info.dtype, shape: info.shape.clone() })
    });
    Ok(tensors.collect())
}

impl StoredTensor<'_> {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The values as f32.
    fn read(&self) -> Result<Vec<f32>> {
        let values = match &self.source {
            Source::Bytes(bytes) => to_f32(self.dtype, bytes)?,
            Source::File { num_bytes: 0, .. } => Vec::new(),
            Source::File { file, offset, num_bytes } => {
                to_f32(self.dtype, &map(MmapOptions::new().offset(*offset).len(*num_bytes), file)?)?
            }
        };
        ensure!(
            values.iter().all(|x| x.is_finite()),
            "numbers that are not finite\nhint: the file is damaged; fetch or train it again"
        );
        Ok(values)
    }
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    let pairs = bytes.chunks_exact(2).map(|c| [c[0], c[1]]);
    Ok(match dtype {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
        }
        Dtype::F16 => pairs.map(|c| f16::from_le_bytes(c).to_f32()).collect(),
        Dtype::BF16 => pairs.map(|c| bf16::from_le_bytes(c).to_f32()).collect(),
        other => bail!(
            "weights of type {other:?} are not supported\nhint: save them as f32, f16 or bf16"
        ),
    })
}

#[expect(
    unsafe_code,
    reason = "a mapping is undefined if somebody else shortens the file meanwhile"
)]
fn map(options: &MmapOptions, file: &File) -> std::io::Result<Mmap> {
    // SAFETY: checkpoints are written once, under another name, and renamed; nobody writes into one.
    unsafe { options.map(file) }
}

/// One draw from N(0, 1) by the Box-Muller transform.
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let angle = std::f64::consts::TAU * rng.random::<f64>();
    (-2.0 * u.ln()).sqrt() * angle.cos()
}
