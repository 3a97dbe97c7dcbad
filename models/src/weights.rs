//! Named parameters in the Hugging Face layout: initialised, loaded from and saved as safetensors.
//!
//! Does not know what a layer computes. Every parameter is kept flat, with its shape beside it:
//! an optimizer then sees a list of vectors, and a layer takes a reshaped view at no cost.
//! `shapes` is the one list of what a checkpoint holds: initialising, loading and saving use it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

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
        add("lm_head.weight".into(), &[config.vocab_size, hidden]);
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

    /// Loads `dir/model.safetensors` (f32, f16 or bf16) for `config`.
    ///
    /// # Errors
    /// One message that lists every missing, unused and wrongly shaped key; or the file's own fault.
    pub fn load(dir: &Path, config: &VlmConfig, device: &Device) -> Result<Parameters> {
        let path = dir.join("model.safetensors");
        let bytes = std::fs::read(&path)
            .with_context(|| format!("failed to read weights `{}`", path.display()))?;
        Self::from_bytes(&bytes, config, device)
            .with_context(|| format!("unusable weights `{}`", path.display()))
    }

    /// The same from the bytes of a safetensors file.
    ///
    /// # Errors
    /// See [`Parameters::load`].
    pub fn from_bytes(bytes: &[u8], config: &VlmConfig, device: &Device) -> Result<Parameters> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| {
            anyhow::anyhow!(
                "not a whole safetensors file: {e}\nhint: restore or retrain the checkpoint"
            )
        })?;
        let mut entries = BTreeMap::new();
        let mut faults = Vec::new();
        for (name, shape) in shapes(config) {
            match file.tensor(&name) {
                Err(_) => faults.push(format!("missing `{name}`")),
                Ok(view) if view.shape() != shape => {
                    faults
                        .push(format!("`{name}` has shape {:?}, expected {shape:?}", view.shape()));
                }
                Ok(view) => {
                    let values = to_f32(&view).with_context(|| format!("in `{name}`"))?;
                    let value = Tensor::from_data(
                        TensorData::new(values, [shape.iter().product::<usize>()]),
                        device,
                    );
                    entries.insert(name, Parameter { shape, value });
                }
            }
        }
        let mut unused: Vec<String> = file
            .names()
            .into_iter()
            .filter(|n| !entries.contains_key(*n))
            .map(|n| format!("unused `{n}`"))
            .collect();
        unused.retain(|u| !faults.iter().any(|f| f.contains(u.trim_start_matches("unused "))));
        unused.sort();
        faults.extend(unused);
        if !faults.is_empty() {
            bail!(
                "{}\nhint: config.json and the weights belong to different models",
                faults.join(", ")
            );
        }
        Ok(Parameters(entries))
    }

    /// The bytes of `model.safetensors`, f32, keys in name order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let raw: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .0
            .iter()
            .map(|(name, p)| {
                (name, &p.shape, p.to_vec().iter().flat_map(|x| x.to_le_bytes()).collect())
            })
            .collect();
        let views = raw.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, (*shape).clone(), bytes)
                .expect("shape and bytes agree");
            (name.as_str(), view)
        });
        let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).expect("views are valid")
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
        self.0.values().map(|p| p.shape.iter().product::<usize>()).sum()
    }

    pub(crate) fn vector(&self, name: &str) -> Tensor<1> {
        self.get(name).value.clone()
    }

    /// A view `[rows, everything else]`.
    pub(crate) fn matrix(&self, name: &str) -> Tensor<2> {
        let p = self.get(name);
        let rows = p.shape[0];
        p.value.clone().reshape([rows, p.shape.iter().skip(1).product::<usize>()])
    }
}

impl Parameter {
    /// The values on the host, row-major.
    pub fn to_vec(&self) -> Vec<f32> {
        self.value.try_to_vec_as::<f32>().expect("float data is readable as f32")
    }
}

fn to_f32(view: &TensorView<'_>) -> Result<Vec<f32>> {
    let bytes = view.data();
    let pair = |c: &[u8]| [c[0], c[1]];
    Ok(match view.dtype() {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
        }
        Dtype::F16 => bytes.chunks_exact(2).map(|c| f16::from_le_bytes(pair(c)).to_f32()).collect(),
        Dtype::BF16 => {
            bytes.chunks_exact(2).map(|c| bf16::from_le_bytes(pair(c)).to_f32()).collect()
        }
        other => bail!(
            "weights of type {other:?} are not supported\nhint: save them as f32, f16 or bf16"
        ),
    })
}

/// One draw from N(0, 1) by the Box-Muller transform.
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let angle = std::f64::consts::TAU * rng.random::<f64>();
    (-2.0 * u.ln()).sqrt() * angle.cos()
}
