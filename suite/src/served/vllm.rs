//! vLLM's interface: its command line, what it is asked with token ids, and how it is given other weights.
//!
//! Does not know processes, sockets, or whose answers are asked for. Source: vLLM 0.32.0, tried on a CPU.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::recipe::EngineSpec;
use crate::served::interface::{Ask, Call, Interface, NAME, WeightVersion, name_of, program};
use crate::served::reply::{Answer, Reply};

/// vLLM's server.
#[derive(Debug)]
pub(super) struct Vllm;

impl Interface for Vllm {
    fn version_path(&self) -> &'static str {
        "/version"
    }

    fn generate_path(&self) -> &'static str {
        "/inference/v1/generate"
    }

    fn needed(&self) -> &'static [&'static str] {
        &[
            "/pause",
            "/collective_rpc",
            "/reset_prefix_cache",
            "/reset_mm_cache",
            "/reset_encoder_cache",
            "/update_weight_version",
        ]
    }

    fn needed_for_adapters(&self) -> &'static [&'static str] {
        &["/v1/load_lora_adapter", "/v1/unload_lora_adapter"]
    }

    fn how_started(&self) -> &'static str {
        "start it with --enable-scale-out, and with VLLM_SERVER_DEV_MODE=1 in its environment"
    }

    fn command(&self, spec: &EngineSpec, model: &Path, port: u16) -> Command {
        let mut command = program(spec);
        command
            .arg(model)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--served-model-name", NAME, "--dtype", name_of(spec.dtype)])
            .arg("--enable-scale-out")
            // A checkpoint without a token of videos is refused where they are allowed.
            .args(["--limit-mm-per-prompt", "{\"video\":0}"]);
        if let Some(tokens) = spec.max_model_len {
            command.args(["--max-model-len", &tokens.to_string()]);
        }
        if let Some(cards) = spec.tensor_parallel_size.filter(|cards| *cards > 1) {
            command.args(["--tensor-parallel-size", &cards.to_string()]);
        }
        if let Some(rank) = spec.max_lora_rank {
            // The one of the next step is there before that of the last one goes.
            command.args([
                "--enable-lora",
                "--max-loras",
                "2",
                "--max-lora-rank",
                &rank.to_string(),
            ]);
        }
        command.envs([
            ("VLLM_NO_USAGE_STATS", "1"),
            ("DO_NOT_TRACK", "1"),
            ("VLLM_HOST_IP", "127.0.0.1"),
            // The calls that change weights; it listens on this machine alone.
            ("VLLM_SERVER_DEV_MODE", "1"),
            ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True"),
        ]);
        command
    }

    fn body(&self, ask: &Ask<'_>) -> Value {
        let sampling = ask.sampling;
        let mut body = json!({
            "model": ask.adapter.unwrap_or(ask.model),
            "token_ids": ask.folded_ids(),
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
            let picture = |url| json!({"type": "image_url", "url": url});
            body["content_parts"] = ask.picture_urls().map(picture).collect();
        }
        body
    }

    fn read(&self, text: &str) -> serde_json::Result<Reply> {
        let said: Said = serde_json::from_str(text)?;
        let answers = said.choices.into_iter().map(Answer::from).collect();
        Ok(Reply { input_ids: said.prompt_token_ids, answers })
    }

    fn reload(&self, model: &Path, version: &str) -> Vec<Call> {
        let weights = json!({"method": "reload_weights", "kwargs": {"weights_path": model}});
        vec![
            ("/pause?mode=wait", json!({})),
            ("/collective_rpc", weights),
            ("/reset_prefix_cache", json!({})),
            ("/reset_mm_cache", json!({})),
            // Without this one the next known picture would end it.
            ("/reset_encoder_cache", json!({})),
            self.name_version(version),
            ("/resume", json!({})),
        ]
    }

    fn go_on(&self) -> Option<Call> {
        Some(("/resume", json!({})))
    }

    fn name_version(&self, version: &str) -> Call {
        ("/update_weight_version", json!({"new_version": version}))
    }

    fn load_adapter(&self, name: &str, adapter: &Path) -> Call {
        ("/v1/load_lora_adapter", json!({"lora_name": name, "lora_path": adapter}))
    }

    fn unload_adapter(&self, name: &str) -> Call {
        ("/v1/unload_lora_adapter", json!({"lora_name": name}))
    }
}

#[derive(Deserialize)]
struct Said {
    prompt_token_ids: Option<Vec<u32>>,
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    index: usize,
    finish_reason: Option<String>,
    token_ids: Vec<u32>,
    logprobs: Option<LogProbs>,
    #[serde(default)]
    weight_versions: Vec<WeightVersion>,
}

#[derive(Deserialize)]
struct LogProbs {
    content: Vec<LogProb>,
}

#[derive(Deserialize)]
struct LogProb {
    token_id: Option<u32>,
    logprob: f32,
}

impl From<Choice> for Answer {
    fn from(choice: Choice) -> Answer {
        let content = choice.logprobs.map(|log_probs| log_probs.content).unwrap_or_default();
        Answer {
            index: choice.index,
            ended: choice.finish_reason,
            ids: choice.token_ids,
            log_probs: content.iter().map(|of| (of.token_id, of.logprob)).collect(),
            versions: choice.weight_versions.into_iter().map(|by| by.version).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use synergy_models::generate::Sampling;

    use super::*;
    use crate::served::fixture::VLLM;
    use crate::served::kinds::command;

    #[test]
    fn pictures_are_one_token_each_and_all_of_the_sampling_is_sent() {
        let sampling = Sampling { temperature: 0.6, ..Sampling::greedy(9, 2) };
        let ask = Ask {
            model: NAME,
            adapter: None,
            input_ids: &[3, 5, 5, 5, 4, 3, 5, 5, 4, 7, 7],
            image_token_id: 5,
            pictures: &[vec![1, 2, 3], vec![4]],
            num_samples: 2,
            sampling: &sampling,
            seed: 11,
        };
        let found = Vllm.body(&ask);
        assert_eq!(found["token_ids"], json!([3, 5, 4, 3, 5, 4, 7, 7]));
        assert_eq!(found["content_parts"][0]["url"], "data:image/png;base64,AQID");
        let wanted = json!({
            "n": 2, "temperature": 0.6, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
            "max_tokens": 9, "stop_token_ids": [2], "logprobs": 0, "seed": 11, "detokenize": false,
        });
        assert_eq!(found["sampling_params"], wanted);
        assert!(Vllm.body(&Ask { pictures: &[], ..ask }).get("content_parts").is_none());
    }

    #[test]
    fn the_command_line_says_what_the_table_says() {
        let spec = EngineSpec {
            max_model_len: Some(99),
            max_lora_rank: Some(8),
            ..toml::from_str(VLLM).unwrap()
        };
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
}
