//! The program that answers, where it is not the suite itself.
//!
//! Does not know how such a program is started or asked.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synergy_hint::{Explain as _, hint};
use synergy_models::weights::ComputeDtype;

use super::Recipe;
use super::fault::{Checked, Fault, require, within};
use super::stage::StageSpec;

/// The folder of the engines that `--engine` knows by name, from the project's root.
pub const ENGINES: &str = "suite/engines";
/// The name of the suite's own engine, which needs no table.
pub const OWN: &str = "own";

/// The longest wait for an engine, in seconds.
const TIMEOUT_MAX: f64 = 86_400.0;
/// The most servers of a run.
const REPLICAS_MAX: usize = 64;

/// The program that answers: rollouts, samples, validation and evaluation. The suite itself without this table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSpec {
    /// What it is.
    pub kind: EngineKind,
    /// The version that it must say it has: answers are stored under it.
    pub version: String,
    /// The program and the words before the model's folder, as from the project's root; the suite starts it and ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// In place of `command`: addresses of servers that are running, one for each replica, such as
    /// `http://127.0.0.1:8000`. They must read the folder of runs at the same path, serve a model of the same shape in `dtype`,
    /// and be nobody else's meanwhile: the suite gives them its own weights and leaves them there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    /// The type that it computes in.
    pub dtype: ComputeDtype,
    /// Tokens that question and answer may have together; those of the model without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<usize>,
    /// More words for its command line; none without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// More variables for its environment; none without it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Servers that share the questions, each on cards of its own where there are cards; one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_replicas: Option<usize>,
    /// Cards that compute one model together; one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor_parallel_size: Option<usize>,
    /// Questions under way at each server at once.
    pub max_concurrent_questions: usize,
    /// Seconds until it must answer after its start.
    pub start_timeout_s: f64,
    /// Seconds that the answers to one question may take; a server that is silent longer is started again.
    pub answer_timeout_s: f64,
    /// Widths of attention heads that it can compute; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dims: Option<Vec<usize>>,
    /// The largest rank of adapters that it is given by name, so that a step of training with an adapter moves only the
    /// adapter; whole weights are given without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lora_rank: Option<usize>,
    /// How RL corrects for the difference between this engine's probabilities and those of training. Not at all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
}

/// An engine that the suite can start and ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// vLLM, token ids in and out (`/inference/v1/generate`).
    Vllm,
    /// SGLang, token ids in and out (`/generate`).
    Sglang,
}

/// Truncated importance weights: what a sampled token or answer teaches is weighed by its probability in training over
/// that in the engine, at most `max` (Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL
/// Training").
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// What has a weight of its own.
    pub level: CorrectionLevel,
    /// The largest weight, at least 1.
    pub max: f64,
}

/// What has an importance weight of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionLevel {
    /// Every token.
    Token,
    /// Every answer: the product over its tokens.
    Sequence,
}

impl EngineSpec {
    /// Reads the engine that `name` means: `own`, a file with the keys of the table `[engine]`, or a name of [`ENGINES`].
    ///
    /// # Errors
    /// If there is no such engine, or its file cannot be used.
    pub fn named(name: &str) -> Result<Option<EngineSpec>> {
        if name == OWN {
            return Ok(None);
        }
        let given = Path::new(name);
        let path = match given.is_file() {
            true => given.to_owned(),
            false => Path::new(ENGINES).join(format!("{name}.toml")),
        };
        ensure!(
            path.is_file(),
            hint!(
                ("there is no engine `{name}`"),
                ("engines are {}, or the file of another", known())
            )
        );
        let unusable = || {
            hint!(("unusable engine `{}`", path.display()), "docs/RECIPES.md explains every key")
        };
        let text = std::fs::read_to_string(&path).explain(unusable)?;
        let spec: EngineSpec = toml::from_str(&text)
            .map_err(|error| {
                // A key that is missing has no line.
                match error.span().map_or(0, |span| span.start) {
                    0 => anyhow!("{}", error.message()),
                    start => {
                        let line = 1 + text[..start].matches('\n').count();
                        anyhow!("line {line}: {}", error.message())
                    }
                }
            })
            .explain(unusable)?;
        spec.check().map_err(|Fault { cause, .. }| cause).explain(unusable)?;
        Ok(Some(spec))
    }

    /// Checks every value.
    pub(super) fn check(&self) -> Checked {
        require!(
            self.command.is_some() != self.addresses.is_some(),
            "command",
            hint!(
                "an engine is either started or running already",
                "`command`, or `addresses` of running servers"
            )
        );
        let program = self.command.as_ref().map(|words| words.first().map_or("", String::as_str));
        require!(program != Some(""), "command", "`command` names no program");
        require!(!self.version.is_empty(), "version", "`version` is empty");
        let is_none = self.head_dims.as_ref().is_some_and(Vec::is_empty);
        require!(!is_none, "head_dims", hint!("`head_dims` is empty", "leave it out for any"));
        self.check_addresses()?;
        let replicas = self.num_replicas();
        require!(
            (1..=REPLICAS_MAX).contains(&replicas),
            "num_replicas",
            "num_replicas = {replicas} is outside its range: 1 to {REPLICAS_MAX}"
        );
        for (name, value) in [
            ("tensor_parallel_size", self.tensor_parallel_size.unwrap_or(1)),
            ("max_concurrent_questions", self.max_concurrent_questions),
            ("max_model_len", self.max_model_len.unwrap_or(1)),
            ("max_lora_rank", self.max_lora_rank.unwrap_or(1)),
        ] {
            require!(value > 0, name, "{name} = 0 is outside its range: at least 1");
        }
        let above_0 = (std::ops::Bound::Excluded(0.0), std::ops::Bound::Included(TIMEOUT_MAX));
        within("start_timeout_s", self.start_timeout_s, above_0, "above 0, at most a day")?;
        within("answer_timeout_s", self.answer_timeout_s, above_0, "above 0, at most a day")?;
        let max = self.correction.map_or(1.0, |correction| correction.max);
        within("max", max, 1.0.., "at least 1").map_err(|fault| fault.below("correction"))
    }

    /// Checks what is said of servers that the suite has not started.
    fn check_addresses(&self) -> Checked {
        let Some(addresses) = &self.addresses else { return Ok(()) };
        require!(!addresses.is_empty(), "addresses", "`addresses` is empty");
        let is_address = |text: &&String| {
            ["http://", "https://"]
                .iter()
                .any(|start| text.len() > start.len() && text.starts_with(start))
        };
        let other = addresses.iter().find(|text| !is_address(text));
        require!(
            other.is_none(),
            "addresses",
            hint!(
                ("`{}` is not an address", other.map_or("", String::as_str)),
                "http://127.0.0.1:8000 would be one"
            )
        );
        for (name, is_there) in [
            ("arguments", !self.arguments.is_empty()),
            ("environment", !self.environment.is_empty()),
            ("max_model_len", self.max_model_len.is_some()),
            ("num_replicas", self.num_replicas.is_some()),
            ("tensor_parallel_size", self.tensor_parallel_size.is_some()),
        ] {
            require!(
                !is_there,
                name,
                hint!(
                    ("`{name}` says how a server is started, and those at `addresses` run already"),
                    ("leave `{name}` out")
                )
            );
        }
        Ok(())
    }

    /// All of it that answers may depend on: what is left out is where and how fast they are made.
    pub fn identity(&self) -> Value {
        json!({
            "kind": self.kind, "version": self.version, "dtype": self.dtype, "arguments": self.arguments,
            "environment": self.environment, "tensor_parallel_size": self.tensor_parallel_size,
            "takes_adapters": self.max_lora_rank.is_some(), "correction": self.correction,
        })
    }

    /// Servers that share the questions.
    pub fn num_replicas(&self) -> usize {
        let addresses = self.addresses.as_ref().map(Vec::len);
        addresses.or(self.num_replicas).unwrap_or(1)
    }

    /// Its name, version and type, as results say it.
    pub fn describe(&self) -> String {
        let kind = match self.kind {
            EngineKind::Vllm => "vllm",
            EngineKind::Sglang => "sglang",
        };
        let dtype = match self.dtype {
            ComputeDtype::F32 => "f32",
            ComputeDtype::Bf16 => "bf16",
        };
        format!("{kind} {} in {dtype}", self.version)
    }

    /// Checks that it can answer all that `recipe` asks of it.
    ///
    /// # Errors
    /// If its context or its adapters are too small for a stage.
    pub fn fits(&self, recipe: &Recipe) -> Result<()> {
        let of_stages = recipe.stages.iter().filter_map(|(name, stage)| match stage {
            StageSpec::Grpo(spec) => Some((format!("stage `{name}`"), spec.max_completion_tokens)),
            StageSpec::Sample(spec) => Some((format!("stage `{name}`"), spec.max_new_tokens)),
            _ => None,
        });
        let longest = of_stages
            .chain([("the evaluation".to_owned(), recipe.evaluation.max_new_tokens)])
            .max_by_key(|(_, tokens)| *tokens);
        if let (Some((what, tokens)), Some(context)) = (longest, self.max_model_len) {
            ensure!(
                tokens < context,
                hint!(
                    ("the engine's context is too short: {what} asks for {tokens} tokens, and \
                         max_model_len is {context} for question and answer together"),
                    "raise `max_model_len` of the engine"
                )
            );
        }
        let Some(most) = self.max_lora_rank else { return Ok(()) };
        for (name, training) in &recipe.tables.trainings {
            let rank = training.lora.as_ref().map_or(0, |lora| lora.r);
            ensure!(
                rank <= most,
                hint!(
                    ("adapters of `tables.trainings.{name}` have rank {rank}, and the engine \
                         takes at most {most}"),
                    "raise `max_lora_rank` of the engine, or leave it out: whole weights are then given"
                )
            );
        }
        Ok(())
    }
}

/// The engines that `--engine` knows by name.
fn known() -> String {
    let mut names: Vec<String> = std::fs::read_dir(ENGINES)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .chain([OWN.to_owned()])
        .collect();
    names.sort();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLLM: &str = include_str!("../../engines/vllm.toml");

    fn refused(from: &str, to: &str) -> String {
        assert!(VLLM.contains(from), "{from}");
        let read = toml::from_str::<EngineSpec>(&VLLM.replacen(from, to, 1));
        match read {
            Err(error) => error.to_string(),
            Ok(spec) => match spec.check() {
                Err(Fault { cause, .. }) => synergy_hint::text(&cause),
                Ok(()) => String::new(),
            },
        }
    }

    #[test]
    fn every_engine_in_the_repository_can_be_used() {
        for entry in std::fs::read_dir(Path::new("engines")).unwrap() {
            let path = entry.unwrap().path();
            let spec = EngineSpec::named(&path.to_string_lossy()).unwrap().unwrap();
            let again: EngineSpec = toml::from_str(&toml::to_string(&spec).unwrap()).unwrap();
            assert_eq!(again, spec);
        }
        assert_eq!(EngineSpec::named(OWN).unwrap(), None);
        let error = synergy_hint::text(&EngineSpec::named("vlllm").unwrap_err());
        assert!(error.starts_with("there is no engine `vlllm`\nhint: engines are "), "{error}");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert_eq!(refused("kind", "kind"), "");
        for (from, to, cause) in [
            ("command", "addresses = [\"http://a\"]\ncommand", "started or running already"),
            ("command = [", "addresses = [\"127.0.0.1:80\"]\nx = [", "unknown field"),
            ("version = \"0", "version = \"\" # \"0", "`version` is empty"),
            ("head_dims = [", "head_dims = []\n# [", "`head_dims` is empty"),
            ("kind = \"vllm\"", "kind = \"own\"", "unknown variant"),
            ("dtype = \"f32\"", "dtype = \"f64\"", "unknown variant"),
            ("answer_timeout_s = ", "answer_timeout_s = -", "outside its range"),
            ("max_concurrent_questions = ", "max_concurrent_questions = 0\nx = ", "unknown field"),
            ("dtype", "num_replicas = 0\ndtype", "outside its range: 1 to 64"),
            (
                "dtype",
                "correction = { level = \"token\", max = 0.5 }\ndtype",
                "max = 0.5 is outside its range: at least 1",
            ),
        ] {
            let said = refused(from, to);
            assert!(said.contains(cause), "`{to}`: {said}");
        }
    }

    #[test]
    fn what_running_servers_cannot_be_told_is_refused() {
        let spec: EngineSpec = toml::from_str(VLLM).unwrap();
        let running = |address: &str, environment| EngineSpec {
            command: None,
            addresses: Some(vec![address.to_owned()]),
            arguments: Vec::new(),
            environment,
            ..spec.clone()
        };
        let said = |spec: &EngineSpec| match spec.check() {
            Err(Fault { cause, .. }) => synergy_hint::text(&cause),
            Ok(()) => String::new(),
        };
        assert_eq!(said(&running("http://a", BTreeMap::new())), "");
        let given = said(&running("http://a", spec.environment.clone()));
        assert!(given.contains("`environment` says how a server is started"), "{given}");
        let other = said(&running("127.0.0.1:80", BTreeMap::new()));
        assert!(other.starts_with("`127.0.0.1:80` is not an address\nhint: "), "{other}");
        let many = EngineSpec { num_replicas: Some(2), ..running("http://a", BTreeMap::new()) };
        assert!(said(&many).contains("`num_replicas` says how"), "{}", said(&many));
    }

    #[test]
    fn a_context_or_an_adapter_that_is_too_small_is_refused_before_anything_is_trained() {
        let recipe = Recipe::parse(include_str!("../../recipes/smoke.toml")).unwrap();
        let spec: EngineSpec = toml::from_str(VLLM).unwrap();
        spec.fits(&recipe).unwrap();
        let short = EngineSpec { max_model_len: Some(32), ..spec.clone() };
        let error = synergy_hint::text(&short.fits(&recipe).unwrap_err());
        assert!(error.contains("max_model_len is 32") && error.contains("\nhint: "), "{error}");
        let with_lora = include_str!("../../recipes/full-3b.toml");
        let full = Recipe::parse(with_lora).unwrap();
        let low = EngineSpec { max_lora_rank: Some(1), ..spec };
        let error = synergy_hint::text(&low.fits(&full).unwrap_err());
        assert!(error.contains("takes at most 1\nhint: "), "{error}");
    }
}
