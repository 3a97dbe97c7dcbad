//! vLLM's interface: its command line, what it is asked with token ids, and how it is given other weights.
//!
//! Does not know processes, sockets, or whose answers are asked for. Source: vLLM 0.32.0, tried on a CPU.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use synergy_models::generate::Sampling;
use synergy_models::weights::ComputeDtype;

use crate::recipe::EngineSpec;

/// The name under which the model is served.
pub(super) const NAME: &str = "synergy";
/// Where answers are asked for.
pub(super) const GENERATE: &str = "/inference/v1/generate";
/// Calls without which it cannot be used; the last two only where it is given adapters.
const NEEDED: [&str; 9] = [
    GENERATE,
    "/pause",
    "/collective_rpc",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/reset_encoder_cache",
    "/update_weight_version",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
];
const OF_ADAPTERS: usize = 2;

/// Calls that `paths`, those of its own description, lack.
pub(super) fn lacking(spec: &EngineSpec, paths: &[String]) -> Vec<&'static str> {
    let num = if spec.max_lora_rank.is_some() { NEEDED.len() } else { NEEDED.len() - OF_ADAPTERS };
    let lacks = |path: &&&str| !paths.iter().any(|known| known == **path);
    NEEDED[..num].iter().filter(lacks).copied().collect()
}

/// The command that serves the model in the folder `model` at `port` of this machine, as the replica `place`.
pub(super) fn command(spec: &EngineSpec, model: &Path, port: u16, place: usize) -> Command {
    let words = spec.command.as_deref().unwrap_or_default();
    let mut command = Command::new(words.first().map_or("", String::as_str));
    let dtype = match spec.dtype {
        ComputeDtype::F32 => "float32",
        ComputeDtype::Bf16 => "bfloat16",
    };
    command
        .args(words.iter().skip(1))
        .arg(model)
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["--served-model-name", NAME, "--dtype", dtype, "--enable-scale-out"])
        // A checkpoint without a token of videos is refused where they are allowed.
        .args(["--limit-mm-per-prompt", "{\"video\":0}"]);
    if let Some(tokens) = spec.max_model_len {
        command.args(["--max-model-len", &tokens.to_string()]);
    }
    let cards = spec.tensor_parallel_size.unwrap_or(1);
    if cards > 1 {
        command.args(["--tensor-parallel-size", &cards.to_string()]);
    }
    if let Some(rank) = spec.max_lora_rank {
        // The one of the next step is there before that of the last one goes.
        command.args(["--enable-lora", "--max-loras", "2", "--max-lora-rank", &rank.to_string()]);
    }
    command.args(&spec.arguments);
    let offline = [
        ("HF_HUB_OFFLINE", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("DO_NOT_TRACK", "1"),
        ("VLLM_HOST_IP", "127.0.0.1"),
        // The calls that change weights; it listens on this machine alone.
        ("VLLM_SERVER_DEV_MODE", "1"),
        ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True"),
    ];
    command.envs(offline);
    if spec.num_replicas() > 1 {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        command.env("CUDA_VISIBLE_DEVICES", own_cards(visible.as_deref(), cards, place));
    }
    command.envs(&spec.environment);
    command
}

/// The cards of the replica `place`, `num` for each, of those that are `visible`, or of all.
fn own_cards(visible: Option<&str>, num: usize, place: usize) -> String {
    let all: Vec<String> = match visible {
        Some(list) => list.split(',').map(|card| card.trim().to_owned()).collect(),
        None => (0..num * (place + 1)).map(|card| card.to_string()).collect(),
    };
    let own: Vec<String> = all.into_iter().skip(num * place).take(num).collect();
    own.join(",")
}

/// A question as it is asked.
pub(super) struct Ask<'a> {
    /// The name of the model or of an adapter.
    pub(super) model: &'a str,
    /// Its tokens, with all of each picture's.
    pub(super) input_ids: &'a [u32],
    /// The token that stands for a part of a picture.
    pub(super) image_token_id: u32,
    /// A PNG file for each picture.
    pub(super) pictures: &'a [Vec<u8>],
    pub(super) num_samples: usize,
    pub(super) sampling: &'a Sampling,
    /// The first answer draws from it, the next from the number after it.
    pub(super) seed: u32,
}

/// The body that asks for all answers to a question.
pub(super) fn body(ask: &Ask<'_>) -> Value {
    let sampling = ask.sampling;
    let mut token_ids: Vec<u32> = ask.input_ids.to_vec();
    // It wants one token for each picture, and makes it as many as the picture has.
    token_ids.dedup_by(|a, b| a == b && *a == ask.image_token_id);
    let picture = |png: &Vec<u8>| json!({"type": "image_url", "url": format!("data:image/png;base64,{}", STANDARD.encode(png))});
    let mut body = json!({
        "model": ask.model,
        "token_ids": token_ids,
        "return_token_ids": true,
        // All of it: what is left out would be taken from the checkpoint's files.
        "sampling_params": {
            "n": ask.num_samples,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": 0.0,
            "repetition_penalty": sampling.repetition_penalty,
            "max_tokens": sampling.max_new_tokens,
            "stop_token_ids": sampling.eos_token_id,
            "logprobs": 0,
            "seed": ask.seed,
            "detokenize": false,
        },
    });
    if !ask.pictures.is_empty() {
        body["content_parts"] = ask.pictures.iter().map(picture).collect();
    }
    body
}

/// The calls, in order, after which it answers with the weights in the folder `model`, which it calls `version`. What it
/// has computed with others is forgotten, in all three places; without the last one the next known picture would end it.
pub(super) fn reload(model: &Path, version: &str) -> Vec<(&'static str, Value)> {
    let weights = json!({"method": "reload_weights", "kwargs": {"weights_path": model}});
    vec![
        ("/pause?mode=wait", json!({})),
        ("/collective_rpc", weights),
        ("/reset_prefix_cache", json!({})),
        ("/reset_mm_cache", json!({})),
        ("/reset_encoder_cache", json!({})),
        ("/update_weight_version", json!({"new_version": version})),
        ("/resume", json!({})),
    ]
}

/// The call after which it answers again, whatever has become of its weights.
pub(super) fn go_on() -> (&'static str, Value) {
    ("/resume", json!({}))
}

/// The call that names the weights it was started with.
pub(super) fn name_version(version: &str) -> (&'static str, Value) {
    ("/update_weight_version", json!({"new_version": version}))
}

/// The call that makes the adapter in the folder `adapter` known as `name`.
pub(super) fn load_adapter(name: &str, adapter: &Path) -> (&'static str, Value) {
    ("/v1/load_lora_adapter", json!({"lora_name": name, "lora_path": adapter}))
}

/// The call that makes it forget the adapter `name`.
pub(super) fn unload_adapter(name: &str) -> (&'static str, Value) {
    ("/v1/unload_lora_adapter", json!({"lora_name": name}))
}

/// Names of the models in its list, with the tokens that question and answer may have together.
pub(super) fn listed(text: &str) -> BTreeMap<String, usize> {
    let list: Value = serde_json::from_str(text).unwrap_or_default();
    let models = list["data"].as_array().cloned().unwrap_or_default();
    let model = |model: &Value| {
        Some((model["id"].as_str()?.to_owned(), model["max_model_len"].as_u64()? as usize))
    };
    models.iter().filter_map(model).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EngineSpec {
        toml::from_str(include_str!("../../engines/vllm.toml")).unwrap()
    }

    #[test]
    fn pictures_are_one_token_each_and_all_of_the_sampling_is_sent() {
        let sampling = Sampling { temperature: 0.6, ..Sampling::greedy(9, 2) };
        let ask = Ask {
            model: NAME,
            input_ids: &[3, 5, 5, 5, 4, 3, 5, 5, 4, 7, 7],
            image_token_id: 5,
            pictures: &[vec![1, 2, 3], vec![4]],
            num_samples: 2,
            sampling: &sampling,
            seed: 11,
        };
        let found = body(&ask);
        assert_eq!(found["token_ids"], json!([3, 5, 4, 3, 5, 4, 7, 7]));
        assert_eq!(found["content_parts"][0]["url"], "data:image/png;base64,AQID");
        let wanted = json!({
            "n": 2, "temperature": 0.6, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
            "max_tokens": 9, "stop_token_ids": [2], "logprobs": 0, "seed": 11, "detokenize": false,
        });
        assert_eq!(found["sampling_params"], wanted);
        assert!(body(&Ask { pictures: &[], ..ask }).get("content_parts").is_none());
    }

    #[test]
    fn each_replica_has_cards_of_its_own() {
        assert_eq!(own_cards(None, 2, 1), "2,3");
        assert_eq!(own_cards(Some("4, 5,6"), 1, 2), "6");
        let word = |spec: &EngineSpec, place| {
            let command = command(spec, Path::new("m"), 1, place);
            let card = command.get_envs().find(|(name, _)| *name == "CUDA_VISIBLE_DEVICES");
            card.map(|(_, value)| value.unwrap().to_string_lossy().into_owned())
        };
        assert_eq!(word(&spec(), 0), None);
        assert!(word(&EngineSpec { num_replicas: Some(2), ..spec() }, 1).is_some());
    }

    #[test]
    fn the_command_line_says_what_the_table_says() {
        let spec = EngineSpec { max_model_len: Some(99), max_lora_rank: Some(8), ..spec() };
        let command = command(&spec, Path::new("/m"), 1234, 0);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let line = words.join(" ");
        assert!(
            line.starts_with("-m vllm.entrypoints.cli.main serve /m --host 127.0.0.1"),
            "{line}"
        );
        for part in ["--port 1234", "--dtype float32", "--max-model-len 99", "--max-lora-rank 8"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.ends_with("--enforce-eager --max-num-batched-tokens 32768"), "{line}");
    }

    #[test]
    fn calls_that_it_lacks_are_named() {
        let all: Vec<String> = NEEDED.iter().map(|path| (*path).to_owned()).collect();
        assert!(lacking(&spec(), &all).is_empty());
        assert!(lacking(&spec(), &all[..7]).is_empty());
        let with = EngineSpec { max_lora_rank: Some(8), ..spec() };
        assert_eq!(lacking(&with, &all[..8]), ["/v1/unload_lora_adapter"]);
        assert_eq!(lacking(&spec(), &all[1..]), [GENERATE]);
    }

    #[test]
    fn a_model_is_found_in_the_list() {
        let text = r#"{"data": [{"id": "synergy", "max_model_len": 2048}, {"id": "x"}]}"#;
        assert_eq!(listed(text), BTreeMap::from([("synergy".to_owned(), 2048)]));
        assert!(listed("no").is_empty());
    }
}
