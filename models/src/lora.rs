//! LoRA (Hu et al. 2021, arXiv 2106.09685) on any set of linear layers, in PEFT's layout.
//!
//! Does not know layers: an adapter turns parameters into parameters, over which the model is built. Either its factors
//! stand beside the weights ([`Adapter::beside`]), as in PEFT, or the weights become `W + scaling * B A`
//! ([`Adapter::apply`]), as where an adapter is merged. The native form knows whole weights only, in f32, where the sum
//! loses nothing; in bf16 what a small B adds to a weight lies below the weight's last place.
//! [`Adapter::gradients`] takes those of either to A and B. Dropout of the adapter is not applied.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{DType, Device, Tensor};
use fancy_regex::Regex;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use synergy_hint::{Explain as _, hint};

use crate::qwen2_5_vl::names::{
    ADAPTED, EMBEDDING, TOWER, factor_name, factor_of, is_factor, module_name,
};
use crate::qwen2_5_vl::shapes::NamedShape;
use crate::weights::stored::{parts_of, stored_in};
use crate::weights::{ComputeDtype, Parameter, Parameters, StoredDtype, write_tensors};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const HINT: &str = "compare with a file that PEFT writes";
/// Fields of `adapter_config.json` that are read.
const READ: [&str; 6] =
    ["r", "lora_alpha", "target_modules", "exclude_modules", "use_rslora", "init_lora_weights"];
/// Fields of `adapter_config.json` that change nothing here. Those of a way to initialize change nothing once `init_lora_weights`
/// is one that leaves the base as it is.
const IGNORED: [&str; 15] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
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
/// Values of `init_lora_weights` with which PEFT leaves the base as it is.
const PLAIN_INITS: [&str; 3] = ["eva", "gaussian", "orthogonal"];
/// What values of `init_lora_weights` begin with where PEFT takes the product of the first factors out of the base
/// (`pissa_init`, `olora_init`, `corda_init`, `loftq_init`, `lora_ga_init`), each with the name of the method.
const MOVING_INITS: [(&str, &str); 5] = [
    ("pissa", "PiSSA"),
    ("olora", "OLoRA"),
    ("corda", "CorDA"),
    ("loftq", "LoftQ"),
    ("lora_ga", "LoRA-GA"),
];

/// Selects linear layers by the names that `transformers` uses inside
/// (`model.language_model.layers.0.self_attn.q_proj`), or that it used when the adapter was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// All layers whose whole name matches this regular expression, which may look around as in Python.
    Pattern(String),
    /// All layers whose name ends in one of these, at a dot.
    Names(Vec<String>),
}

/// The names of layers that an adapter uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Those of `transformers` since 4.52: `model.language_model.layers.…` and `model.visual.…`.
    Inside,
    /// Those of `transformers` before, which published checkpoints use: `model.layers.…` and `visual.…`.
    Published,
}

/// A [`TargetModules`] that can be asked.
enum Selection<'a> {
    Pattern(Regex),
    Names(&'a [String]),
}

impl TargetModules {
    /// Compiles what the field `field` of `adapter_config.json` holds.
    fn compile(&self, field: &str) -> Result<Selection<'_>> {
        Ok(match self {
            TargetModules::Names(names) => Selection::Names(names),
            // As `re.fullmatch` of Python, by which PEFT asks.
            TargetModules::Pattern(text) => Selection::Pattern(
                Regex::new(&format!(r"\A(?:{text})\z"))
                    .explain(|| hint!("`{field}` is not a regular expression: {text}", "{HINT}"))?,
            ),
        })
    }
}

impl Selection<'_> {
    fn has(&self, module: &str) -> Result<bool> {
        match self {
            Selection::Pattern(pattern) => pattern.is_match(module).explain(|| {
                hint!(
                    "the pattern `{pattern}` takes too long on `{module}`",
                    "write it with fewer repetitions inside of repetitions, or list the names"
                )
            }),
            Selection::Names(names) => Ok(names.iter().any(|name| {
                let rest = module.strip_suffix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })),
        }
    }
}

impl Naming {
    /// Tells by which names the tensors of an adapter's file go.
    fn of(keys: &[String]) -> Naming {
        let begins = |starts: &[&str]| {
            let mut modules = keys.iter().filter_map(|key| key.strip_prefix(ADAPTED));
            modules.any(|module| starts.iter().any(|start| module.starts_with(start)))
        };
        let is_old = begins(&["model.layers.", TOWER]);
        if is_old && !begins(&["model.language_model.", "model.visual."]) {
            Naming::Published
        } else {
            Naming::Inside
        }
    }

    /// Returns the name of the module published as `stem`.
    fn module(self, stem: &str) -> String {
        match self {
            Naming::Inside => module_name(stem),
            Naming::Published => stem.to_owned(),
        }
    }

    /// Returns PEFT's name of a factor of the weight published as `name`.
    fn key(self, name: &str, half: &str) -> String {
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        factor_of(&self.module(stem), half)
    }
}

/// The fields of `adapter_config.json` that change what is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// The rank; at least 1.
    pub r: usize,
    /// Numerator of the scaling.
    pub lora_alpha: f64,
    /// The layers that are changed.
    pub target_modules: TargetModules,
    /// Those of them that are left as they are, if any.
    pub exclude_modules: Option<TargetModules>,
    /// Scales by `alpha / sqrt(r)` (arXiv 2312.03732) instead of `alpha / r`.
    pub use_rslora: bool,
}

impl LoraConfig {
    /// Reads `dir/adapter_config.json`.
    ///
    /// # Errors
    /// If it is missing or damaged, or has a field that asks for what is not implemented.
    pub fn read(dir: &Path) -> Result<LoraConfig> {
        let path = dir.join(CONFIG);
        let text = std::fs::read_to_string(&path).explain(|| {
            hint!(
                ("failed to read adapter config `{}`", path.display()),
                "name a folder that PEFT wrote: it holds `{CONFIG}` and `{WEIGHTS}`"
            )
        })?;
        let fields: Map<String, Value> = serde_json::from_str(&text)
            .explain(|| hint!(("failed to parse adapter config `{}`", path.display()), "{HINT}"))?;
        LoraConfig::of(&fields)
            .with_context(|| format!("unusable adapter config `{}`", path.display()))
    }

    fn of(fields: &Map<String, Value>) -> Result<LoraConfig> {
        check_init(fields.get("init_lora_weights").unwrap_or(&Value::Null))?;
        for (name, value) in fields {
            if READ.contains(&name.as_str()) || IGNORED.contains(&name.as_str()) {
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
                hint!("`{name}` is {value}", "only plain LoRA is implemented, with this field off")
            );
        }
        let field =
            |name: &str| fields.get(name).explain(|| hint!("field `{name}` is missing", "{HINT}"));
        let r = field("r")?.as_u64().unwrap_or(0) as usize;
        let lora_alpha = field("lora_alpha")?.as_f64().unwrap_or(f64::NAN);
        ensure!(r > 0, hint!(("rank `r` is {}", fields["r"]), "give a whole number, at least 1"));
        ensure!(
            lora_alpha.is_finite(),
            hint!("`lora_alpha` is not a finite number", "give a number such as 16")
        );
        let target_modules =
            serde_json::from_value(field("target_modules")?.clone()).explain(|| {
                hint!("`target_modules` is neither a pattern nor a list of names", "{HINT}")
            })?;
        let exclude_modules = fields.get("exclude_modules").cloned().unwrap_or_default();
        let exclude_modules: Option<TargetModules> = serde_json::from_value(exclude_modules)
            .explain(|| {
                hint!("`exclude_modules` is neither a pattern nor a list of names", "{HINT}")
            })?;
        // An empty one excludes nothing, as in PEFT.
        let exclude_modules = exclude_modules.filter(|excluded| match excluded {
            TargetModules::Pattern(text) => !text.is_empty(),
            TargetModules::Names(names) => !names.is_empty(),
        });
        let use_rslora = fields.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
        Ok(LoraConfig { r, lora_alpha, target_modules, exclude_modules, use_rslora })
    }

    /// Returns the text of `adapter_config.json`.
    pub fn to_json(&self) -> String {
        let mut fields = json!({
            "bias": "none",
            "fan_in_fan_out": false,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": self.r,
            "target_modules": self.target_modules,
            "use_rslora": self.use_rslora,
        });
        if let Some(excluded) = &self.exclude_modules {
            fields["exclude_modules"] = json!(excluded);
        }
        serde_json::to_string_pretty(&fields).expect("plain data") + "\n"
    }

    /// Returns the factor of `B A`.
    pub fn scaling(&self) -> f64 {
        let r = self.r as f64;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Lists names and shapes of the factors for a model with parameters of `shapes`.
    ///
    /// # Errors
    /// See [`LoraConfig::weights`].
    pub fn factors(&self, shapes: &[NamedShape]) -> Result<Vec<NamedShape>> {
        Ok(self.factors_of(&self.weights(shapes)?, Naming::Inside))
    }

    /// Lists names and shapes of the factors of `weights`.
    fn factors_of(&self, weights: &[&NamedShape], naming: Naming) -> Vec<NamedShape> {
        let of = |(name, shape): &&NamedShape| {
            [
                (naming.key(name, "A"), vec![self.r, shape[1]]),
                (naming.key(name, "B"), vec![shape[0], self.r]),
            ]
        };
        weights.iter().flat_map(of).collect()
    }

    /// Selects those of `shapes`, by published name, that the adapter changes.
    ///
    /// # Errors
    /// If a pattern is not a regular expression or nothing matches.
    pub fn weights<'a>(&self, shapes: &'a [NamedShape]) -> Result<Vec<&'a NamedShape>> {
        self.weights_by(shapes, Naming::Inside)
    }

    /// Does the same as [`LoraConfig::weights`] where the layers have the names of `naming`.
    fn weights_by<'a>(
        &self,
        shapes: &'a [NamedShape],
        naming: Naming,
    ) -> Result<Vec<&'a NamedShape>> {
        let wanted = self.target_modules.compile("target_modules")?;
        let excluded = self.exclude_modules.as_ref();
        let excluded = excluded.map(|modules| modules.compile("exclude_modules")).transpose()?;
        let mut weights = Vec::new();
        for weight in shapes {
            let (name, shape) = weight;
            let Some(stem) = name.strip_suffix(".weight") else { continue };
            if shape.len() != 2 || name == EMBEDDING {
                continue;
            }
            let module = naming.module(stem);
            let is_excluded = excluded.as_ref().map_or(Ok(false), |e| e.has(&module))?;
            if !is_excluded && wanted.has(&module)? {
                weights.push(weight);
            }
        }
        let left = match &self.exclude_modules {
            Some(modules) => format!(" without `exclude_modules` {}", json!(modules)),
            None => String::new(),
        };
        ensure!(
            !weights.is_empty(),
            hint!(
                ("no linear layer matches `target_modules` {}{left}", json!(self.target_modules)),
                ("names are like {}", naming.module("model.layers.0.self_attn.q_proj"))
            )
        );
        Ok(weights)
    }

    /// Returns the configuration without the weights that are `excluded`, by published name. Every remaining layer is in
    /// `target_modules` by its whole name, so that other programs understand it the same way.
    ///
    /// # Errors
    /// See [`LoraConfig::weights`].
    pub fn without(
        &self,
        shapes: &[NamedShape],
        excluded: impl Fn(&str) -> bool,
    ) -> Result<LoraConfig> {
        let mut left = self.weights(shapes)?;
        left.retain(|(name, _)| !excluded(name));
        Ok(self.naming_each(&left))
    }

    /// Returns the configuration that names each of `weights` by its whole name.
    fn naming_each(&self, weights: &[&NamedShape]) -> LoraConfig {
        let stems = weights.iter().filter_map(|(name, _)| name.strip_suffix(".weight"));
        LoraConfig {
            target_modules: TargetModules::Names(stems.map(module_name).collect()),
            exclude_modules: None,
            ..*self
        }
    }
}

/// The factors of every weight that `config` selects: A `[r, in]` and B `[out, r]` for a weight
/// `[out, in]`.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Rank, scaling and the changed layers.
    pub config: LoraConfig,
    /// The factors, by PEFT's names; they are what is trained.
    pub parameters: Parameters,
}

impl Adapter {
    /// Draws a fresh adapter: A uniform in `±1 / sqrt(in)`, like PEFT, and B zero, so that it changes
    /// nothing yet.
    ///
    /// # Errors
    /// If the pattern does not parse or no layer matches.
    pub fn init(
        config: &LoraConfig,
        base: &Parameters,
        rng: &mut ChaCha8Rng,
        device: &Device,
    ) -> Result<Adapter> {
        let mut parameters = Vec::new();
        for (key, shape) in config.factors(&base.shapes())? {
            let count = shape.iter().product();
            let bound = 1.0 / (shape[1] as f32).sqrt();
            let values = if key.contains(".lora_A.") {
                (0..count).map(|_| rng.random_range(-bound..=bound)).collect()
            } else {
                vec![0.0; count]
            };
            parameters.push((key, Parameter::new(shape, values, device)));
        }
        Ok(Adapter { config: config.clone(), parameters: parameters.into_iter().collect() })
    }

    /// Reads an adapter for `base` from `dir`, also one with the names of layers that `transformers` had before 4.52:
    /// its patterns are matched with those names, and in memory it has those of today.
    ///
    /// # Errors
    /// If a file is missing or damaged; one message lists every missing, unused and wrongly shaped
    /// tensor.
    pub fn read(dir: &Path, base: &Parameters, device: &Device) -> Result<Adapter> {
        let config = LoraConfig::read(dir)?;
        let path = dir.join(WEIGHTS);
        let naming = naming_of(&path)?;
        let shapes = base.shapes();
        let weights = config.weights_by(&shapes, naming);
        let weights = weights.with_context(|| format!("in `{}`", dir.display()))?;
        let parameters = Parameters::read_file(&path, config.factors_of(&weights, naming), device)
            .with_context(|| format!("unusable adapter `{}`", path.display()))?;
        if naming == Naming::Inside {
            return Ok(Adapter { config, parameters });
        }
        let (old, new) = (naming, Naming::Inside);
        let names = config.factors_of(&weights, old).into_iter();
        let names = names.zip(config.factors_of(&weights, new));
        let renamed = names.map(|((old, _), (new, _))| (new, parameters.get(&old).clone()));
        Ok(Adapter { parameters: renamed.collect(), config: config.naming_each(&weights) })
    }

    /// Writes `adapter_model.safetensors` in f32 and then `adapter_config.json`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        write_tensors(&dir.join(WEIGHTS), self.parameters.iter(), StoredDtype::F32)?;
        let path = dir.join(CONFIG);
        std::fs::write(&path, self.config.to_json())
            .with_context(|| format!("failed to write `{}`", path.display()))
    }

    /// Makes the files that [`Adapter::save`] writes: names and bytes.
    pub fn files(&self) -> [(&'static str, Vec<u8>); 2] {
        [(WEIGHTS, self.parameters.to_bytes()), (CONFIG, self.config.to_json().into_bytes())]
    }

    /// Puts the factors beside the weights of `base`, which stay as they are: a model that is built over the result adds
    /// `scaling * B A x` to what such a weight gives. The scaling is in B.
    pub fn beside(&self, base: &Parameters) -> Parameters {
        let mut all = base.clone();
        for (name, p) in self.parameters.iter() {
            let value = match is_b(name) {
                true => p.value.clone().mul_scalar(self.config.scaling()),
                false => p.value.clone(),
            };
            all.insert(name.to_owned(), Parameter { shape: p.shape.clone(), value });
        }
        all
    }

    /// Adds `scaling * B A` to every weight of `base` that the adapter changes; these become f32, whatever `base` is.
    pub fn apply(&self, base: &Parameters) -> Parameters {
        self.apply_as(base, ComputeDtype::F32)
    }

    /// Does the same as [`Adapter::apply`] and rounds the changed weights to `dtype`, one after the other, so that memory
    /// never holds all sums in f32.
    pub fn apply_as(&self, base: &Parameters, dtype: ComputeDtype) -> Parameters {
        base.map(|name, p| {
            let factor =
                |half| self.parameters.find(&factor_name(name, half)).map(Parameter::matrix);
            let (Some(a), Some(b)) = (factor("A"), factor("B")) else { return p.value.clone() };
            let update = b.matmul(a).mul_scalar(self.config.scaling());
            let sum = p.value.clone().cast(DType::F32) + update.reshape([p.count()]);
            sum.cast(dtype.dtype())
        })
    }

    /// Computes the gradients of the factors, by PEFT's names, from those of a model's parameters: of the factors that
    /// [`Adapter::beside`] puts there, whose B has the scaling in it, or of the weights that [`Adapter::apply`] makes, by
    /// published names: `dA = scaling * B' dW` and `dB = scaling * dW A'`.
    ///
    /// # Shapes
    /// All gradients are flat, row-major, `[product of shape]`.
    pub fn gradients(
        &self,
        of_parameters: &BTreeMap<String, Tensor<1>>,
    ) -> BTreeMap<String, Tensor<1>> {
        let mut gradients = BTreeMap::new();
        for (name, gradient) in of_parameters {
            if is_factor(name) {
                let scaling = if is_b(name) { self.config.scaling() } else { 1.0 };
                gradients.insert(name.clone(), gradient.clone().mul_scalar(scaling));
                continue;
            }
            let [key_a, key_b] = ["A", "B"].map(|half| factor_name(name, half));
            let factor = |key: &str| self.parameters.find(key).map(Parameter::matrix);
            let (Some(a), Some(b)) = (factor(&key_a), factor(&key_b)) else { continue };
            let ([r, columns], [rows, _]) = (a.dims(), b.dims());
            let whole: Tensor<2> = gradient.clone().reshape([rows, columns]);
            let of_a = b.transpose().matmul(whole.clone()); // [r, in]
            let of_b = whole.matmul(a.transpose()); // [out, r]
            let scaling = self.config.scaling();
            gradients.insert(key_a, of_a.mul_scalar(scaling).reshape([r * columns]));
            gradients.insert(key_b, of_b.mul_scalar(scaling).reshape([rows * r]));
        }
        gradients
    }
}

/// Tells whether the factor called `name` is the one that the scaling stands at.
fn is_b(name: &str) -> bool {
    name.ends_with(".lora_B.weight")
}

/// Tells by which names the tensors of the file `path` go.
fn naming_of(path: &Path) -> Result<Naming> {
    let pickle = path.with_extension("bin");
    if !path.is_file() && pickle.is_file() {
        bail!(hint!(
            ("`{}` is a pickle, which can run code and is not read", pickle.display()),
            "save the adapter as safetensors (`safe_serialization=True` in PEFT)"
        ));
    }
    let mut keys = Vec::new();
    for part in parts_of(path)? {
        keys.extend(stored_in(&part)?.into_iter().map(|(key, _)| key));
    }
    Ok(Naming::of(&keys))
}

/// Refuses a way to initialize the factors after which they belong to another base than the one that is published.
fn check_init(value: &Value) -> Result<()> {
    let Value::String(init) = value else { return Ok(()) };
    let init = init.to_lowercase();
    if let Some((_, method)) = MOVING_INITS.iter().find(|(start, _)| init.starts_with(start)) {
        bail!(hint!(
            ("`init_lora_weights` is {value}: {method} takes the product of its first factors out of the base, so that \
                 these factors do not belong to the base as it is published"),
            "have PEFT save it as a plain adapter (`path_initial_model_for_weight_conversion` of `save_pretrained`), or \
             merge it where it was trained and give the whole model"
        ));
    }
    ensure!(
        PLAIN_INITS.contains(&init.as_str()),
        hint!(
            "`init_lora_weights` is {value}, which may have changed the base",
            ("true, false and {} are known to leave it as it is", PLAIN_INITS.join(", "))
        )
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qwen2_5_vl::vlm::Vlm;
    use crate::tests::fixtures::{self, Pictures, distance, relative_distance};
    use rand_chacha::rand_core::SeedableRng;
    use serde::Deserialize;

    fn adapter(name: &str, base: &Parameters) -> Adapter {
        Adapter::read(&fixtures::path("lora").join(name), base, &fixtures::device()).unwrap()
    }

    #[test]
    fn adapters_of_peft_give_the_logits_of_the_reference_and_so_does_merging() {
        let (config, base) = fixtures::model("model-untied");
        let pictures = Pictures::read();
        let case = fixtures::cases().into_iter().find(|c| c.name == "picture").unwrap();
        let plain = case.logits(&pictures, &Vlm::new(&config, &base));
        for name in ["decoder", "list"] {
            let recorded = fixtures::tensors(&format!("lora/{name}/logits.safetensors"));
            let merged = adapter(name, &base).apply(&base);
            let logits = case.logits(&pictures, &Vlm::new(&config, &merged));
            // These adapters carry the rounding of 32 bits to the fourth digit, in the reference as here:
            // the plain form keeps within it, the native one rounds in another order.
            let plain_form = Vlm::new(&config, &merged).plain();
            let beside = Vlm::new(&config, &adapter(name, &base).beside(&base));
            assert!(beside.native.is_none(), "the native form knows no factors");
            for (logits, limit) in [
                (case.logits(&pictures, &plain_form), 1e-4),
                (case.logits(&pictures, &beside), 1e-4),
                (case.logits(&pictures, &beside.prepared()), 1e-4),
                (logits.clone(), 1.5e-4),
            ] {
                for key in ["picture", "picture, merged"] {
                    let apart = distance(&logits, &recorded[key].1);
                    assert!(apart < limit, "{name}, {key}: {apart}");
                }
            }
            assert!(distance(&logits, &plain) > 0.1, "{name} changes nothing");
        }
    }

    #[test]
    fn gradients_of_both_factors_are_those_of_the_reference() {
        #[derive(Deserialize)]
        struct Recorded {
            loss: f32,
        }
        #[derive(Deserialize)]
        struct Report {
            decoder: Recorded,
            list: Recorded,
        }
        let (config, base) = fixtures::model("model-untied");
        let report: Report = fixtures::json("lora/lora.json");
        for (name, recorded) in [("decoder", report.decoder), ("list", report.list)] {
            let adapter = adapter(name, &base);
            let leaves =
                adapter.parameters.map(|_, p| Tensor::from_inner(p.value.clone()).require_grad());
            let base = base.map(|_, p| Tensor::from_inner(p.value.clone()));
            let learning = Adapter { parameters: leaves.clone(), ..adapter };
            let loss = fixtures::loss(&Vlm::new(&config, &learning.apply(&base)));
            let mut gradients = loss.backward();
            assert!((loss.into_scalar::<f32>() - recorded.loss).abs() < 1e-4, "{name}");
            let want = fixtures::tensors(&format!("lora/{name}/gradients.safetensors"));
            assert_eq!(leaves.names().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
            for (key, p) in leaves.iter() {
                let got = p.value.grad_remove(&mut gradients).unwrap();
                let apart = relative_distance(&got.try_into_vec_as::<f32>().unwrap(), &want[key].1);
                assert!(apart < 1e-3, "{name}, {key}: {apart}");
            }
        }
    }

    #[test]
    fn gradients_of_merged_weights_and_of_factors_beside_them_give_those_of_both_factors() {
        let (config, base) = fixtures::model("model-untied");
        for (name, is_beside) in
            [("decoder", false), ("list", false), ("decoder", true), ("list", true)]
        {
            let adapter = adapter(name, &base);
            let all = if is_beside { adapter.beside(&base) } else { adapter.apply(&base) };
            // Beside the weights only the factors learn.
            let leaves = all.map(|name, p| {
                let value = Tensor::from_inner(p.value.clone());
                if is_beside && !is_factor(name) { value } else { value.require_grad() }
            });
            let mut gradients = fixtures::loss(&Vlm::new(&config, &leaves)).backward();
            let of_parameters = leaves.iter().filter_map(|(name, p)| {
                Some((name.to_owned(), p.value.grad_remove(&mut gradients)?))
            });
            let got = adapter.gradients(&of_parameters.collect());
            let want = fixtures::tensors(&format!("lora/{name}/gradients.safetensors"));
            assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
            for (key, got) in got {
                let got = got.try_into_vec_as::<f32>().unwrap();
                let apart = relative_distance(&got, &want[&key].1);
                assert!(apart < 1e-3, "{name}, {key}: {apart}");
            }
        }
    }

    #[test]
    fn what_is_excluded_is_left_out_and_the_rest_has_whole_names() {
        let (_, base) = fixtures::model("model-untied");
        let shapes = base.shapes();
        let all = plain_lora(TargetModules::Names(vec!["up_proj".into()]));
        let decoder = all.without(&shapes, |name| name.starts_with("visual.")).unwrap();
        let weights = |config: &LoraConfig| -> Vec<String> {
            config.weights(&shapes).unwrap().iter().map(|(name, _)| name.clone()).collect()
        };
        let mut left = weights(&all);
        left.retain(|name| name.starts_with("model."));
        assert_eq!(weights(&decoder), left);
        let TargetModules::Names(names) = decoder.target_modules else { panic!("names") };
        assert_eq!(names[0], "model.language_model.layers.0.mlp.up_proj");
    }

    fn plain_lora(target_modules: TargetModules) -> LoraConfig {
        LoraConfig {
            r: 3,
            lora_alpha: 6.0,
            target_modules,
            exclude_modules: None,
            use_rslora: false,
        }
    }

    #[test]
    fn a_fresh_adapter_changes_nothing_and_comes_back_from_disk() {
        let (config, base) = fixtures::model("model-untied");
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let names = TargetModules::Names(vec!["qkv".into(), "lm_head".into()]);
        let mut fresh = Adapter::init(&plain_lora(names), &base, rng, &fixtures::device()).unwrap();
        assert_eq!(fresh.parameters.names().count(), 2 * (config.vision_config.depth + 1));
        assert_eq!(fresh.apply(&base).to_bytes(), base.to_bytes());

        fresh.parameters = fresh.parameters.map(|_, p| p.value.clone().add_scalar(0.5));
        let dir = tempfile::tempdir().unwrap();
        fresh.save(dir.path()).unwrap();
        let read = Adapter::read(dir.path(), &base, &fixtures::device()).unwrap();
        assert_eq!(read.config, fresh.config);
        assert_eq!(read.apply(&base).to_bytes(), fresh.apply(&base).to_bytes());
        assert_ne!(read.apply(&base).to_bytes(), base.to_bytes());
    }

    #[test]
    fn a_pattern_matches_whole_names_and_a_list_their_last_parts() {
        let (_, base) = fixtures::model("model-untied");
        let shapes = base.shapes();
        let count = |target| plain_lora(target).weights(&shapes).map_or(0, |found| found.len());
        let pattern = |text: &str| count(TargetModules::Pattern(text.into()));
        assert_eq!(pattern(r"model\.language_model\.layers\.0\.mlp\.up_proj"), 1);
        assert_eq!(pattern("up_proj"), 0);
        let list = |name: &str| count(TargetModules::Names(vec![name.into()]));
        assert_eq!(list("up_proj"), 7);
        assert_eq!(list("language_model.layers.0.mlp.up_proj"), 1);
        assert_eq!(list("_proj"), 0);
    }

    #[test]
    fn patterns_look_around_and_match_whole_names_as_in_python() {
        let (_, base) = fixtures::model("model-untied");
        let shapes = base.shapes();
        let count = |text: &str| {
            let config = plain_lora(TargetModules::Pattern(text.into()));
            config.weights(&shapes).map_or(0, |found| found.len())
        };
        assert_eq!(count(r"(?!.*visual).*\.up_proj"), 3);
        assert_eq!(count(r".*(?<!language_model\.layers\.\d)\.mlp\.up_proj"), 4);
        assert_eq!(count(r"^model\.language_model(?=\.).*\.(q_proj|v_proj)$"), 6);
        // Either branch has to match the whole name.
        assert_eq!(count(r"lm|lm_head"), 1);
        assert_eq!(count(r"(?!lm_head)"), 0);
        let slow = plain_lora(TargetModules::Pattern(r"(?:((?:\w|\.)+?)\1?)+!".into()));
        let said = synergy_hint::text(&slow.weights(&shapes).unwrap_err());
        assert!(said.contains("takes too long on `") && said.contains("\nhint: "), "{said}");
    }

    #[test]
    fn excluded_modules_are_left_out_by_whole_name_or_last_parts() {
        let (_, base) = fixtures::model("model-untied");
        let shapes = base.shapes();
        let excluding = |value: Value| {
            let fields = json!({
                "r": 4, "lora_alpha": 8, "target_modules": ["up_proj"], "exclude_modules": value
            });
            LoraConfig::of(fields.as_object().unwrap())
        };
        let count = |value: Value| excluding(value).unwrap().weights(&shapes).unwrap().len();
        for nothing in [json!(null), json!([]), json!(""), json!(["visual"]), json!(["p_proj"])] {
            assert_eq!(count(nothing.clone()), 7, "{nothing}");
        }
        assert_eq!(count(json!(["layers.0.mlp.up_proj"])), 6);
        assert_eq!(count(json!(["model.language_model.layers.0.mlp.up_proj"])), 6);
        // A pattern has to match the whole name.
        assert_eq!(count(json!(".*visual")), 7);
        assert_eq!(count(json!(".*visual.*")), 3);
        assert_eq!(count(json!(r"(?!.*visual).*")), 4);
        let said = |value: Value| {
            let error = excluding(value).and_then(|c| c.weights(&shapes).map(|_| ())).unwrap_err();
            synergy_hint::text(&error)
        };
        assert!(said(json!(["up_proj"])).contains(r#"without `exclude_modules` ["up_proj"]"#));
        assert!(said(json!(7)).starts_with("`exclude_modules` is neither a pattern nor a list"));
        assert!(said(json!("(")).starts_with("`exclude_modules` is not a regular expression"));
        let kept = excluding(json!(["layers.0.mlp.up_proj"])).unwrap();
        let fields: Map<String, Value> = serde_json::from_str(&kept.to_json()).unwrap();
        assert_eq!(LoraConfig::of(&fields).unwrap(), kept);
    }

    #[test]
    fn names_from_before_the_decoder_had_one_of_its_own_are_read() {
        let (_, base) = fixtures::model("model-untied");
        let source = fixtures::path("lora/list");
        let dir = tempfile::tempdir().unwrap();
        let stored = fixtures::tensors("lora/list/adapter_model.safetensors");
        let old = stored.into_iter().map(|(key, (shape, values))| {
            let name = key
                .replace(".model.model.visual.", ".model.visual.")
                .replace(".model.language_model.", ".model.");
            (name, Parameter::new(shape, values, &fixtures::device()))
        });
        let old: Parameters = old.collect();
        assert!(old.names().any(|name| name.starts_with("base_model.model.visual.")));
        assert!(old.names().any(|name| name.starts_with("base_model.model.model.layers.")));
        write_tensors(&dir.path().join(WEIGHTS), old.iter(), StoredDtype::F32).unwrap();
        let config = std::fs::read_to_string(source.join(CONFIG)).unwrap();
        let want = adapter("list", &base).apply(&base).to_bytes();
        // A list means the same by either names; patterns are matched with those of the file.
        for target in [
            json!(["down_proj", "o_proj"]),
            json!(r"(model\.layers|visual\.blocks)\..*(down_proj|o_proj)"),
        ] {
            let mut fields: Map<String, Value> = serde_json::from_str(&config).unwrap();
            fields.insert("target_modules".into(), target.clone());
            std::fs::write(dir.path().join(CONFIG), json!(fields).to_string()).unwrap();
            let read = Adapter::read(dir.path(), &base, &fixtures::device()).unwrap();
            assert_eq!(read.apply(&base).to_bytes(), want, "{target}");
            // What is saved has the names of today, in both files.
            let again = tempfile::tempdir().unwrap();
            read.save(again.path()).unwrap();
            let again = Adapter::read(again.path(), &base, &fixtures::device()).unwrap();
            assert_eq!(again.config, read.config);
            assert_eq!(again.apply(&base).to_bytes(), want, "{target}");
        }
        let mut fields: Map<String, Value> = serde_json::from_str(&config).unwrap();
        fields.insert("target_modules".into(), json!(r"model\.language_model\..*down_proj"));
        std::fs::write(dir.path().join(CONFIG), json!(fields).to_string()).unwrap();
        let error = Adapter::read(dir.path(), &base, &fixtures::device()).unwrap_err();
        let said = synergy_hint::text(&error);
        assert!(said.ends_with("names are like model.layers.0.self_attn.q_proj"), "{said}");
    }

    #[test]
    fn ways_to_initialize_that_change_the_base_are_refused_by_name() {
        let with = |init: Value| {
            let fields = json!({
                "r": 4, "lora_alpha": 8, "target_modules": ["up_proj"], "init_lora_weights": init,
                "eva_config": {"rho": 2.0}, "corda_config": {"beta": 1},
            });
            LoraConfig::of(fields.as_object().unwrap())
        };
        for plain in [json!(true), json!(false), json!(null), json!("gaussian"), json!("eva")] {
            assert!(with(plain.clone()).is_ok(), "{plain}");
        }
        for (init, method) in [
            ("pissa", "PiSSA"),
            ("pissa_niter_16", "PiSSA"),
            ("olora", "OLoRA"),
            ("OLoRA", "OLoRA"),
            ("corda", "CorDA"),
            ("loftq", "LoftQ"),
            ("lora_ga", "LoRA-GA"),
        ] {
            let said = synergy_hint::text(&with(json!(init)).unwrap_err());
            let start = format!("`init_lora_weights` is \"{init}\": {method} takes the product");
            assert!(said.starts_with(&start) && said.contains("\nhint: "), "{said}");
        }
        let said = synergy_hint::text(&with(json!("next_year")).unwrap_err());
        assert!(said.contains("may have changed the base\nhint: true, false and"), "{said}");
    }

    #[test]
    fn a_folder_without_an_adapter_says_what_one_holds() {
        let (_, base) = fixtures::model("model-untied");
        let dir = tempfile::tempdir().unwrap();
        let said = || {
            let error = Adapter::read(dir.path(), &base, &fixtures::device()).unwrap_err();
            synergy_hint::text(&error)
        };
        assert!(said().contains("hint: name a folder that PEFT wrote: it holds `adapter_config"));
        std::fs::write(dir.path().join(CONFIG), "{").unwrap();
        assert!(said().contains("failed to parse adapter config") && said().contains("\nhint: "));
        let config = fixtures::path("lora/list").join(CONFIG);
        std::fs::copy(config, dir.path().join(CONFIG)).unwrap();
        std::fs::write(dir.path().join("adapter_model.bin"), "").unwrap();
        assert!(said().contains("adapter_model.bin` is a pickle"), "{}", said());
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let (_, base) = fixtures::model("model-untied");
        let source = fixtures::path("lora/decoder");
        let refusal = |edit: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            for file in [CONFIG, WEIGHTS] {
                std::fs::copy(source.join(file), dir.path().join(file)).unwrap();
            }
            edit(dir.path());
            synergy_hint::text(&Adapter::read(dir.path(), &base, &fixtures::device()).unwrap_err())
        };
        let field = |name: &'static str, value: Value| {
            refusal(&move |dir| {
                let path = dir.join(CONFIG);
                let mut fields: Map<String, Value> =
                    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
                fields.insert(name.into(), value.clone());
                std::fs::write(&path, json!(fields).to_string()).unwrap();
            })
        };
        assert!(field("use_dora", json!(true)).contains("`use_dora` is true\nhint: "));
        assert!(field("rank_pattern", json!({"q_proj": 8})).contains("`rank_pattern` is"));
        assert!(field("something_new", json!(1)).contains("`something_new` is 1"));
        assert!(field("bias", json!("all")).contains("`bias` is \"all\""));
        assert!(field("target_modules", json!("(")).contains("is not a regular expression"));
        assert!(field("target_modules", json!("nothing")).contains("no linear layer matches"));
        assert!(field("r", json!(0)).contains("rank `r` is 0"));
        assert!(field("r", json!(5)).contains("has shape [4, 112], expected [5, 112]"));
        let cut = refusal(&|dir| std::fs::write(dir.join(WEIGHTS), [1, 2, 3]).unwrap());
        assert!(cut.contains("not a whole safetensors file"), "{cut}");
    }
}
