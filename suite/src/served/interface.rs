//! What the suite asks of an engine, whatever its kind: each kind of engine says it in its own words.
//!
//! Does not know processes, sockets, or whose answers are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use synergy_models::generate::Sampling;
use synergy_models::weights::ComputeDtype;

use crate::recipe::EngineSpec;
use crate::served::reply::Reply;

/// The name under which the model is served.
pub(super) const NAME: &str = "synergy";

/// A path and the body that is posted there.
pub(super) type Call = (&'static str, Value);

/// The name of the weights that gave a part of an answer, as both engines say it.
#[derive(Deserialize)]
pub(super) struct WeightVersion {
    pub(super) version: String,
}

/// What is different from kind to kind.
pub(super) trait Interface: fmt::Debug + Sync {
    /// Where it says its `version`.
    fn version_path(&self) -> &'static str;

    /// Where answers are asked for.
    fn generate_path(&self) -> &'static str;

    /// Calls without which it cannot be used, beside the one for answers.
    fn needed(&self) -> &'static [&'static str];

    /// Calls without which it cannot be given adapters.
    fn needed_for_adapters(&self) -> &'static [&'static str];

    /// How one is started that has all of them.
    fn how_started(&self) -> &'static str;

    /// The command that serves the model in the folder `model` at `port` of this machine; the cards of a replica are chosen
    /// by its caller.
    fn command(&self, spec: &EngineSpec, model: &Path, port: u16) -> Command;

    /// The body that asks for all answers to a question.
    fn body(&self, ask: &Ask<'_>) -> Value;

    /// Reads the reply to it.
    ///
    /// # Errors
    /// If it is no reply, or not a whole one.
    fn read(&self, text: &str) -> serde_json::Result<Reply>;

    /// The calls, in order, after which it answers with the weights in the folder `model`, which it calls `version`, and has
    /// forgotten what it has computed with others.
    fn reload(&self, model: &Path, version: &str) -> Vec<Call>;

    /// The call after which it answers again, whatever has become of its weights; none if it never stops.
    fn go_on(&self) -> Option<Call>;

    /// The call that names the weights it was started with.
    fn name_version(&self, version: &str) -> Call;

    /// The call that makes the adapter in the folder `adapter` known as `name`.
    fn load_adapter(&self, name: &str, adapter: &Path) -> Call;

    /// The call that makes it forget the adapter `name`.
    fn unload_adapter(&self, name: &str) -> Call;
}

/// A question as it is asked.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    /// The name of the model.
    pub(super) model: &'a str,
    /// The name of the adapter over it.
    pub(super) adapter: Option<&'a str>,
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

impl Ask<'_> {
    /// Its tokens with one for each picture, which engines make as many as the picture has.
    pub(super) fn folded_ids(&self) -> Vec<u32> {
        let mut ids = self.input_ids.to_vec();
        ids.dedup_by(|a, b| a == b && *a == self.image_token_id);
        ids
    }

    /// An address for each picture that holds the picture itself.
    pub(super) fn picture_urls(&self) -> impl Iterator<Item = String> {
        self.pictures.iter().map(|png| format!("data:image/png;base64,{}", STANDARD.encode(png)))
    }
}

/// The program of `spec` with its first words, and nothing that it should ask a network for.
pub(super) fn program(spec: &EngineSpec) -> Command {
    let words = spec.command.as_deref().unwrap_or_default();
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.iter().skip(1));
    command.env("HF_HUB_OFFLINE", "1");
    command
}

/// The name of `dtype` in an engine's words.
pub(super) fn name_of(dtype: ComputeDtype) -> &'static str {
    match dtype {
        ComputeDtype::F32 => "float32",
        ComputeDtype::Bf16 => "bfloat16",
    }
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

    #[test]
    fn a_model_is_found_in_the_list() {
        let text = r#"{"data": [{"id": "synergy", "max_model_len": 2048}, {"id": "x"}]}"#;
        assert_eq!(listed(text), BTreeMap::from([("synergy".to_owned(), 2048)]));
        assert!(listed("no").is_empty());
    }
}
