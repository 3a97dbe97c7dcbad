//! LoRA (Hu et al. 2021, arXiv 2106.09685) on any set of linear layers, in PEFT's layout.
//!
//! Does not know layers: an adapter turns parameters into parameters, `W + scaling * B A`, and the
//! model is built over the outcome. Gradients reach A and B through that sum, so training needs no
//! second forward pass; merging is the same sum, kept. Dropout of the adapter is not applied.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::weights::{Parameter, Parameters, StoredDtype, read_tensors, write_tensors};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";
/// Fields of `adapter_config.json` that change no computation here.
const IGNORED: [&str; 14] = [
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Which linear layers an adapter changes, by the names that `transformers` uses inside
/// (`model.language_model.layers.0.self_attn.q_proj`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// A regular expression that the whole name matches.
    Pattern(String),
    /// Last parts of names.
    Names(Vec<String>),
}

/// `adapter_config.json`, as far as it changes what is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// The rank.
    pub r: usize,
    pub lora_alpha: f64,
    pub target_modules: TargetModules,
    /// Scaling by `alpha / sqrt(r)` (arXiv 2312.03732) instead of `alpha / r`.
    pub use_rslora: bool,
}

impl LoraConfig {
    /// Reads `dir/adapter_config.json`.
    ///
    /// # Errors
    /// If it is missing or damaged, or has a field that asks for what is not implemented.
    pub fn read(dir: &Path) -> Result<LoraConfig> {
        let path = dir.join(CONFIG);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read adapter config `{}`", path.display()))?;
        let fields: Map<String, Value> = serde_json::from_str(&text)
            .with_context(|| format!("failed to parse adapter config `{}`", path.display()))?;
        LoraConfig::of(&fields)
            .with_context(|| format!("unusable adapter config `{}`", path.display()))
    }

    fn of(fields: &Map<String, Value>) -> Result<LoraConfig> {
        for (name, value) in fields {
            let known = ["r", "lora_alpha", "target_modules", "use_rslora"];
            if known.contains(&name.as_str()) || IGNORED.contains(&name.as_str()) {
                continue;
            }
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                Value::String(text) => {
                    (name == "bias" && text == "none") || (name == "peft_type" && text == "LORA")
                }
                _ => false,
            };
            ensure!(
                off,
                "`{name}` is {value}\nhint: only plain LoRA is implemented, with this field off"
            );
        }
        let field =
            |name: &str| fields.get(name).ok_or_else(|| anyhow!("field `{name}` is missing"));
        let r = field("r")?.as_u64().unwrap_or(0) as usize;
        let lora_alpha = field("lora_alpha")?.as_f64().unwrap_or(f64::NAN);
        ensure!(r > 0, "rank `r` is {}\nhint: at least 1", fields["r"]);
        ensure!(lora_alpha.is_finite(), "`lora_alpha` is no number");
        let target_modules = serde_json::from_value(field("target_modules")?.clone())
            .context("`target_modules` is neither a pattern nor a list of names")?;
        let use_rslora = fields.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
        Ok(LoraConfig { r, lora_alpha, target_modules, use_rslora })
    }

    /// The text of `adapter_config.json`.
    pub fn to_json(&self) -> String {
        let fields = json!({
            "bias": "none",
            "fan_in_fan_out": false,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": self.r,
            "target_modules": self.target_modules,
            "use_rslora": self.use_rslora,
        });
        serde_json::to_string_pretty(&fields).expect("plain data") + "\n"
    }

    /// What `B A` is multiplied by.
    pub fn scaling(&self) -> f64 {
        let r = self.r as f64;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// The published names of the weights among `names` that the adapter changes.
    ///
    /// # Errors
    /// If the pattern is no regular expression or nothing matches.
    fn targets(&self, parameters: &Parameters) -> Result<Vec<String>> {
        let pattern = match &self.target_modules {
            TargetModules::Names(_) => None,
            TargetModules::Pattern(text) => Some(
                Regex::new(&format!("^(?:{text})$"))
                    .with_context(|| format!("`target_modules` is no pattern: {text}"))?,
            ),
        };
        let wanted = |module: &str| match (&pattern, &self.target_modules) {
            (Some(pattern), _) => pattern.is_match(module),
            (None, TargetModules::Names(names)) => names.iter().any(|name| {
                module.strip_suffix(name.as_str()).is_some_and(|r| r.is_empty() || r.ends_with('.'))
            }),
            (None, TargetModules::Pattern(_)) => false,
        };
        let targets: Vec<String> = parameters
            .iter()
            .filter(|(name, p)| p.shape.len() == 2 && *name != "model.embed_tokens.weight")
            .filter_map(|(name, _)| Some((name, name.strip_suffix(".weight")?)))
            .filter(|(_, stem)| wanted(&module(stem)))
            .map(|(name, _)| name.to_owned())
            .collect();
        ensure!(
            !targets.is_empty(),
            "no linear layer matches `target_modules` {}\n\
             hint: names are like model.language_model.layers.0.self_attn.q_proj",
            json!(self.target_modules)
        );
        Ok(targets)
    }
}

/// The name that `transformers` uses inside for the module published as `stem`.
fn module(stem: &str) -> String {
    match (stem.strip_prefix("model."), stem.starts_with("visual.")) {
        (Some(rest), _) => format!("model.language_model.{rest}"),
        (None, true) => format!("model.{stem}"),
        (None, false) => stem.to_owned(),
    }
}

/// The two factors of one weight `[out, in]`.
#[derive(Debug, Clone)]
pub struct Factors {
    /// `[r, in]`
    pub a: Parameter,
    /// `[out, r]`
    pub b: Parameter,
}

/// Factors for every weight that `config` names.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub config: LoraConfig,
    /// By the published name of the weight.
    pub factors: BTreeMap<String, Factors>,
}

impl Adapter {
    /// A fresh adapter: A even in `±1 / sqrt(in)`, as PEFT draws it, and B zero, so that it changes
    /// nothing yet.
    ///
    /// # Errors
    /// If no layer matches.
    pub fn init(
        config: &LoraConfig,
        parameters: &Parameters,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Result<Adapter> {
        let factors = config.targets(parameters)?.into_iter().map(|name| {
            let (rows, columns) = (parameters.get(&name).shape[0], parameters.get(&name).shape[1]);
            let bound = 1.0 / (columns as f32).sqrt();
            let a = (0..config.r * columns).map(|_| rng.random_range(-bound..=bound)).collect();
            let factors = Factors {
                a: parameter(a, [config.r, columns], device),
                b: parameter(vec![0.0; rows * config.r], [rows, config.r], device),
            };
            (name, factors)
        });
        Ok(Adapter { config: config.clone(), factors: factors.collect() })
    }

    /// Reads an adapter for `parameters` from `dir`.
    ///
    /// # Errors
    /// If a file is missing or damaged; one message lists every missing, unused and wrongly shaped
    /// tensor.
    pub fn read(dir: &Path, parameters: &Parameters, device: &Device) -> Result<Adapter> {
        let config = LoraConfig::read(dir)?;
        let path = dir.join(WEIGHTS);
        let mut stored = read_tensors(&path)?;
        let mut faults = Vec::new();
        let mut factors = BTreeMap::new();
        for name in config.targets(parameters)? {
            let shape = &parameters.get(&name).shape;
            let mut take = |half: &str, shape: [usize; 2]| {
                let key = key(&name, half);
                match stored.remove(&key) {
                    None => faults.push(format!("missing `{key}`")),
                    Some((have, _)) if have != shape => {
                        faults.push(format!("`{key}` has shape {have:?}, expected {shape:?}"));
                    }
                    Some((_, values)) => return Some(parameter(values, shape, device)),
                }
                None
            };
            let a = take("A", [config.r, shape[1]]);
            let b = take("B", [shape[0], config.r]);
            if let (Some(a), Some(b)) = (a, b) {
                factors.insert(name, Factors { a, b });
            }
        }
        faults.extend(stored.keys().map(|name| format!("unused `{name}`")));
        if !faults.is_empty() {
            bail!(
                "unusable adapter `{}`: {}\nhint: it was made for another model",
                path.display(),
                faults.join(", ")
            );
        }
        Ok(Adapter { config, factors })
    }

    /// Writes the adapter to `dir` in PEFT's layout, f32.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let tensors = self.factors.iter().flat_map(|(name, factors)| {
            [(key(name, "A"), &factors.a), (key(name, "B"), &factors.b)]
        });
        write_tensors(&dir.join(WEIGHTS), tensors, StoredDtype::F32)?;
        let path = dir.join(CONFIG);
        std::fs::write(&path, self.config.to_json())
            .with_context(|| format!("failed to write `{}`", path.display()))
    }

    /// `parameters` with `scaling * B A` added to every weight the adapter changes.
    pub fn apply(&self, parameters: &Parameters) -> Parameters {
        parameters.map(|name, p| {
            let Some(Factors { a, b }) = self.factors.get(name) else { return p.value.clone() };
            let update = b.matrix().matmul(a.matrix()).mul_scalar(self.config.scaling());
            p.value.clone() + update.reshape([p.count()])
        })
    }

    /// Applies `f` to every factor; its name is PEFT's.
    pub fn map(&self, mut f: impl FnMut(&str, &Parameter) -> Tensor<1>) -> Adapter {
        let mut each = |name: &str, half: &str, p: &Parameter| Parameter {
            shape: p.shape.clone(),
            value: f(&key(name, half), p),
        };
        let factors = self.factors.iter().map(|(name, pair)| {
            let (a, b) = (each(name, "A", &pair.a), each(name, "B", &pair.b));
            (name.clone(), Factors { a, b })
        });
        Adapter { config: self.config.clone(), factors: factors.collect() }
    }
}

/// PEFT's name of a factor of the weight published as `name`.
fn key(name: &str, half: &str) -> String {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    format!("{PREFIX}{}.lora_{half}.weight", module(stem))
}

fn parameter(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Parameter {
    let count = values.len();
    Parameter {
        shape: shape.to_vec(),
        value: Tensor::from_data(TensorData::new(values, [count]), device),
    }
}
