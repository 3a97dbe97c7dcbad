//! LoRA (Hu et al. 2021, arXiv 2106.09685) on any set of linear layers, in PEFT's layout.
//!
//! Does not know layers: an adapter turns parameters into parameters, `W + scaling * B A`, and the
//! model is built over the result. Gradients reach A and B through that sum, in burn's graph or by
//! [`Adapter::gradients`] from those of the result, so training needs no second forward pass. Merging an adapter
//! stores the same sum. Dropout of the adapter is not applied.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use burn::tensor::{DType, Device, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::qwen2_5_vl::names::{EMBEDDING, module_name};
use crate::qwen2_5_vl::shapes::NamedShape;
use crate::weights::{ComputeDtype, Parameter, Parameters, StoredDtype, write_tensors};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const HINT: &str = "hint: compare with a file that PEFT writes";
/// The prefix that PEFT puts before the names of modules.
const PREFIX: &str = "base_model.model.";
/// Fields of `adapter_config.json` that change nothing here.
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

/// Selects the linear layers that an adapter changes, by the names that `transformers` uses inside
/// (`model.language_model.layers.0.self_attn.q_proj`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// All layers whose whole name matches this regular expression.
    Pattern(String),
    /// All layers whose name ends in one of these, at a dot.
    Names(Vec<String>),
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
        let field = |name: &str| {
            fields.get(name).ok_or_else(|| anyhow!("field `{name}` is missing\n{HINT}"))
        };
        let r = field("r")?.as_u64().unwrap_or(0) as usize;
        let lora_alpha = field("lora_alpha")?.as_f64().unwrap_or(f64::NAN);
        ensure!(r > 0, "rank `r` is {}\nhint: give a whole number, at least 1", fields["r"]);
        ensure!(
            lora_alpha.is_finite(),
            "`lora_alpha` is not a finite number\nhint: give a number such as 16"
        );
        let target_modules = serde_json::from_value(field("target_modules")?.clone())
            .with_context(|| {
                format!("`target_modules` is neither a pattern nor a list of names\n{HINT}")
            })?;
        let use_rslora = fields.get("use_rslora").and_then(Value::as_bool).unwrap_or(false);
        Ok(LoraConfig { r, lora_alpha, target_modules, use_rslora })
    }

    /// Returns the text of `adapter_config.json`.
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
        let of = |(name, shape): &NamedShape| {
            [(key(name, "A"), vec![self.r, shape[1]]), (key(name, "B"), vec![shape[0], self.r])]
        };
        Ok(self.weights(shapes)?.into_iter().flat_map(of).collect())
    }

    /// Selects those of `shapes`, by published name, that the adapter changes.
    ///
    /// # Errors
    /// If the pattern is not a regular expression or nothing matches.
    pub fn weights<'a>(&self, shapes: &'a [NamedShape]) -> Result<Vec<&'a NamedShape>> {
        let pattern = match &self.target_modules {
            TargetModules::Names(_) => None,
            TargetModules::Pattern(text) => {
                Some(Regex::new(&format!("^(?:{text})$")).with_context(|| {
                    format!("`target_modules` is not a regular expression: {text}\n{HINT}")
                })?)
            }
        };
        let wanted = |module: &str| match (&pattern, &self.target_modules) {
            (Some(pattern), _) => pattern.is_match(module),
            (None, TargetModules::Names(names)) => names.iter().any(|name| {
                module.strip_suffix(name.as_str()).is_some_and(|r| r.is_empty() || r.ends_with('.'))
            }),
            (None, TargetModules::Pattern(_)) => false,
        };
        let changes = |(name, shape): &&NamedShape| {
            let is_layer = shape.len() == 2 && name != EMBEDDING;
            is_layer && name.strip_suffix(".weight").is_some_and(|stem| wanted(&module_name(stem)))
        };
        let weights: Vec<&NamedShape> = shapes.iter().filter(changes).collect();
        ensure!(
            !weights.is_empty(),
            "no linear layer matches `target_modules` {}\n\
             hint: names are like model.language_model.layers.0.self_attn.q_proj",
            json!(self.target_modules)
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
        let left = self.weights(shapes)?.into_iter().filter(|(name, _)| !excluded(name));
        let names = left.filter_map(|(name, _)| name.strip_suffix(".weight")).map(module_name);
        Ok(LoraConfig { target_modules: TargetModules::Names(names.collect()), ..self.clone() })
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

    /// Reads an adapter for `base` from `dir`.
    ///
    /// # Errors
    /// If a file is missing or damaged; one message lists every missing, unused and wrongly shaped
    /// tensor.
    pub fn read(dir: &Path, base: &Parameters, device: &Device) -> Result<Adapter> {
        let config = LoraConfig::read(dir)?;
        let path = dir.join(WEIGHTS);
        let shapes = config.factors(&base.shapes());
        let shapes = shapes.with_context(|| format!("in `{}`", dir.display()))?;
        let parameters = Parameters::read_file(&path, shapes, device)
            .with_context(|| format!("unusable adapter `{}`", path.display()))?;
        Ok(Adapter { config, parameters })
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

    /// Adds `scaling * B A` to every weight of `base` that the adapter changes; these become f32, whatever `base` is.
    pub fn apply(&self, base: &Parameters) -> Parameters {
        self.apply_as(base, ComputeDtype::F32)
    }

    /// Does the same as [`Adapter::apply`] and rounds the changed weights to `dtype`, one after the other, so that memory
    /// never holds all sums in f32.
    pub fn apply_as(&self, base: &Parameters, dtype: ComputeDtype) -> Parameters {
        base.map(|name, p| {
            let factor = |half| self.parameters.find(&key(name, half)).map(Parameter::matrix);
            let (Some(a), Some(b)) = (factor("A"), factor("B")) else { return p.value.clone() };
            let update = b.matmul(a).mul_scalar(self.config.scaling());
            let sum = p.value.clone().cast(DType::F32) + update.reshape([p.count()]);
            sum.cast(dtype.dtype())
        })
    }

    /// Computes the gradients of the factors, by PEFT's names, from those of the weights that [`Adapter::apply`] makes,
    /// by published names: `dA = scaling * B' dW` and `dB = scaling * dW A'`.
    ///
    /// # Shapes
    /// All gradients are flat, row-major, `[product of shape]`.
    pub fn gradients(
        &self,
        of_weights: &BTreeMap<String, Tensor<1>>,
    ) -> BTreeMap<String, Tensor<1>> {
        let mut gradients = BTreeMap::new();
        for (name, gradient) in of_weights {
            let [key_a, key_b] = ["A", "B"].map(|half| key(name, half));
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

/// Returns PEFT's name of a factor of the weight published as `name`.
fn key(name: &str, half: &str) -> String {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    format!("{PREFIX}{}.lora_{half}.weight", module_name(stem))
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
            for (logits, limit) in
                [(case.logits(&pictures, &plain_form), 1e-4), (logits.clone(), 1.5e-4)]
            {
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
    fn gradients_of_the_merged_weights_give_those_of_both_factors() {
        let (config, base) = fixtures::model("model-untied");
        let leaf = |p: &Parameter| Tensor::from_inner(p.value.clone()).require_grad();
        for name in ["decoder", "list"] {
            let adapter = adapter(name, &base);
            let merged = adapter.apply(&base).map(|_, p| leaf(p));
            let mut gradients = fixtures::loss(&Vlm::new(&config, &merged)).backward();
            let of_weights = merged.iter().filter_map(|(name, p)| {
                Some((name.to_owned(), p.value.grad_remove(&mut gradients)?))
            });
            let got = adapter.gradients(&of_weights.collect());
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
        LoraConfig { r: 3, lora_alpha: 6.0, target_modules, use_rslora: false }
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
    fn what_does_not_fit_is_refused_by_name() {
        let (_, base) = fixtures::model("model-untied");
        let source = fixtures::path("lora/decoder");
        let refusal = |edit: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            for file in [CONFIG, WEIGHTS] {
                std::fs::copy(source.join(file), dir.path().join(file)).unwrap();
            }
            edit(dir.path());
            format!("{:#}", Adapter::read(dir.path(), &base, &fixtures::device()).unwrap_err())
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
