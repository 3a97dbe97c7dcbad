//! SGLang's interface: its command line, what it is asked with token ids, and how it is given other weights.
//!
//! Does not know processes, sockets, or whose answers are asked for. Source: SGLang 0.5.23, tried on a CPU without its own
//! kernels.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::recipe::EngineSpec;
use crate::served::interface::{Ask, Call, Interface, NAME, WeightVersion, name_of, program};
use crate::served::reply::{Answer, Reply};

/// SGLang's server.
#[derive(Debug)]
pub(super) struct Sglang;

impl Interface for Sglang {
    fn version_path(&self) -> &'static str {
        "/server_info"
    }

    fn generate_path(&self) -> &'static str {
        "/generate"
    }

    fn needed(&self) -> &'static [&'static str] {
        &["/update_weights_from_disk", "/update_weight_version"]
    }

    fn needed_for_adapters(&self) -> &'static [&'static str] {
        &["/load_lora_adapter", "/unload_lora_adapter"]
    }

    fn how_started(&self) -> &'static str {
        "start another version of it"
    }

    fn command(&self, spec: &EngineSpec, model: &Path, port: u16) -> Command {
        let mut command = program(spec);
        command
            .arg("--model-path")
            .arg(model)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--served-model-name", NAME, "--dtype", name_of(spec.dtype)])
            // The probe is its first question.
            .arg("--skip-server-warmup");
        if let Some(tokens) = spec.max_model_len {
            command.args(["--context-length", &tokens.to_string()]);
        }
        if let Some(cards) = spec.tensor_parallel_size.filter(|cards| *cards > 1) {
            command.args(["--tp-size", &cards.to_string()]);
        }
        if let Some(rank) = spec.max_lora_rank {
            command
                .args(["--enable-lora", "--max-lora-rank", &rank.to_string()])
                // The one of the next step is there before that of the last one goes.
                .args(["--max-loras-per-batch", "2", "--lora-target-modules", "all"]);
        }
        command.envs([
            // Log-probabilities of the model, whatever the temperature.
            ("SGLANG_RETURN_ORIGINAL_LOGPROB", "1"),
            // Parts of pictures as the tower saw them would outlive its weights.
            ("SGLANG_VLM_CACHE_SIZE_MB", "0"),
        ]);
        command
    }

    fn body(&self, ask: &Ask<'_>) -> Value {
        let sampling = ask.sampling;
        let every = || 0..ask.num_samples;
        let top_k = match sampling.top_k {
            0 => -1,
            k => i64::try_from(k).unwrap_or(i64::MAX),
        };
        // A request for each answer: several of one would draw alike.
        let sampling_params = |number: usize| {
            json!({
                // All of it: what is left out would be taken from the checkpoint's files.
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": top_k,
                "min_p": 0.0,
                "repetition_penalty": sampling.repetition_penalty,
                "max_new_tokens": sampling.max_new_tokens,
                "stop_token_ids": sampling.eos_token_id,
                "sampling_seed": ask.seed.wrapping_add(number as u32),
                "skip_special_tokens": false,
            })
        };
        let ids = ask.folded_ids();
        let mut body = json!({
            "input_ids": every().map(|_| ids.clone()).collect::<Vec<_>>(),
            "sampling_params": every().map(sampling_params).collect::<Vec<_>>(),
            "return_logprob": true,
            "return_prompt_token_ids": true,
        });
        if !ask.pictures.is_empty() {
            let urls: Vec<String> = ask.picture_urls().collect();
            body["image_data"] = every().map(|_| json!(urls)).collect();
        }
        if let Some(adapter) = ask.adapter {
            body["lora_path"] = every().map(|_| json!(adapter)).collect();
        }
        body
    }

    fn read(&self, text: &str) -> serde_json::Result<Reply> {
        let all: Vec<Said> = serde_json::from_str(text)?;
        // All are answers to one question, and each says it.
        let input_ids = all.first().and_then(|said| said.prompt_token_ids.clone());
        let is_one = all.iter().all(|said| said.prompt_token_ids == input_ids);
        let answers = all.into_iter().enumerate().map(|(index, said)| said.answer(index));
        Ok(Reply { input_ids: input_ids.filter(|_| is_one), answers: answers.collect() })
    }

    fn reload(&self, model: &Path, version: &str) -> Vec<Call> {
        let weights = json!({"model_path": model, "weight_version": version, "flush_cache": true});
        vec![("/update_weights_from_disk", weights)]
    }

    fn go_on(&self) -> Option<Call> {
        None
    }

    fn name_version(&self, version: &str) -> Call {
        ("/update_weight_version", json!({"new_version": version, "abort_all_requests": false}))
    }

    fn load_adapter(&self, name: &str, adapter: &Path) -> Call {
        ("/load_lora_adapter", json!({"lora_name": name, "lora_path": adapter}))
    }

    fn unload_adapter(&self, name: &str) -> Call {
        ("/unload_lora_adapter", json!({"lora_name": name}))
    }
}

#[derive(Deserialize)]
struct Said {
    prompt_token_ids: Option<Vec<u32>>,
    output_ids: Vec<u32>,
    meta_info: MetaInfo,
}

#[derive(Deserialize)]
struct MetaInfo {
    finish_reason: Option<FinishReason>,
    /// Log-probability, token and text of each token.
    #[serde(default)]
    output_token_logprobs: Vec<(f32, u32, Option<String>)>,
    #[serde(default)]
    weight_versions: Vec<WeightVersion>,
}

#[derive(Deserialize)]
struct FinishReason {
    #[serde(rename = "type")]
    kind: String,
}

impl Said {
    fn answer(self, index: usize) -> Answer {
        let MetaInfo { finish_reason, output_token_logprobs, weight_versions } = self.meta_info;
        let log_probs = output_token_logprobs.iter();
        Answer {
            index,
            ended: finish_reason.map(|reason| reason.kind),
            ids: self.output_ids,
            log_probs: log_probs.map(|(log_prob, id, _)| (Some(*id), *log_prob)).collect(),
            versions: weight_versions.into_iter().map(|by| by.version).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use synergy_models::generate::Sampling;

    use super::*;
    use crate::served::fixture::SGLANG;
    use crate::served::kinds::command;

    /// What version 0.5.23 has said to a question with a picture, without what is not read.
    const SAID: &str = r#"[
        {"text": "\\boxed{2}", "output_ids": [580, 23, 98, 2], "prompt_token_ids": [3, 5, 5, 4],
         "meta_info": {"finish_reason": {"type": "stop", "matched": 2}, "weight_version": "default",
          "output_token_logprobs": [[-0.00001, 580, null], [-1.65733, 23, null], [-0.000002, 98, null], [0.0, 2, null]],
          "weight_versions": [{"version": "default", "start": 0, "end": 4}]}},
        {"text": "\\boxed", "output_ids": [580], "prompt_token_ids": [3, 5, 5, 4],
         "meta_info": {"finish_reason": {"type": "length", "length": 1}, "weight_version": "default",
          "output_token_logprobs": [[-0.00001, 580, null]],
          "weight_versions": [{"version": "default", "start": 0, "end": 1}]}}]"#;

    fn spec() -> EngineSpec {
        toml::from_str(SGLANG).unwrap()
    }

    #[test]
    fn each_answer_is_a_request_of_its_own_with_its_own_seed() {
        let sampling = Sampling { temperature: 0.6, ..Sampling::greedy(9, 2) };
        let ask = Ask {
            model: NAME,
            adapter: Some("a"),
            input_ids: &[3, 5, 5, 5, 4, 7],
            image_token_id: 5,
            pictures: &[vec![1, 2, 3]],
            num_samples: 2,
            sampling: &sampling,
            seed: 22,
        };
        let found = Sglang.body(&ask);
        assert_eq!(found["input_ids"], json!([[3, 5, 4, 7], [3, 5, 4, 7]]));
        let url = "data:image/png;base64,AQID";
        assert_eq!(found["image_data"], json!([[url], [url]]));
        assert_eq!(found["lora_path"], json!(["a", "a"]));
        let wanted = json!({
            "temperature": 0.6, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
            "max_new_tokens": 9, "stop_token_ids": [2], "sampling_seed": 22, "skip_special_tokens": false,
        });
        assert_eq!(found["sampling_params"][0], wanted);
        assert_eq!(found["sampling_params"][1]["sampling_seed"], 23);
        let found = Sglang.body(&Ask { pictures: &[], adapter: None, ..ask });
        assert!(found.get("image_data").is_none() && found.get("lora_path").is_none());
    }

    #[test]
    fn a_reply_is_read_as_it_was_said() {
        let reply = Sglang.read(SAID).unwrap();
        assert_eq!(reply.input_ids.unwrap(), [3, 5, 5, 4]);
        let [first, second] = reply.answers.as_slice() else { panic!("{:?}", reply.answers) };
        assert_eq!(first.ids, [580, 23, 98, 2]);
        assert_eq!(first.log_probs[1], (Some(23), -1.65733));
        assert_eq!(first.versions, ["default"]);
        let ended = |answer: &Answer| (answer.index, answer.ended.clone().unwrap());
        assert_eq!(
            (ended(first), ended(second)),
            ((0, "stop".to_owned()), (1, "length".to_owned()))
        );
        // Answers to two questions are answers to none.
        let other = SAID.replacen("[3, 5, 5, 4]", "[3, 5, 4]", 1);
        assert_eq!(Sglang.read(&other).unwrap().input_ids, None);
        Sglang.read(&SAID[..SAID.len() / 2]).unwrap_err();
    }

    #[test]
    fn the_command_line_says_what_the_table_says() {
        let spec = EngineSpec {
            max_model_len: Some(99),
            max_lora_rank: Some(8),
            tensor_parallel_size: Some(2),
            ..spec()
        };
        let command = command(&spec, Path::new("/m"), 1234, 0);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let line = words.join(" ");
        assert!(
            line.starts_with(
                "-m sglang.launch_server --model-path /m --host 127.0.0.1 --port 1234"
            ),
            "{line}"
        );
        for part in ["--context-length 99", "--tp-size 2", "--max-lora-rank 8", "--dtype bfloat16"]
        {
            assert!(line.contains(part), "{line}");
        }
    }
}
