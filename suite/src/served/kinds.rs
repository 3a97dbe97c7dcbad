//! Which interface the engines of a kind have, and how one is started, whatever its kind.
//!
//! Does not know what is said to it.

use std::path::Path;
use std::process::Command;

use crate::recipe::{EngineKind, EngineSpec};
use crate::served::interface::Interface;
use crate::served::sglang::Sglang;
use crate::served::vllm::Vllm;

/// The interface of engines of `kind`.
pub(super) fn of(kind: EngineKind) -> &'static dyn Interface {
    match kind {
        EngineKind::Vllm => &Vllm,
        EngineKind::Sglang => &Sglang,
    }
}

/// Calls that `paths`, those of its own description, lack.
pub(super) fn lacking(spec: &EngineSpec, paths: &[String]) -> Vec<&'static str> {
    let interface = of(spec.kind);
    let of_adapters = match spec.max_lora_rank {
        Some(_) => interface.needed_for_adapters(),
        None => &[],
    };
    let lacks = |path: &&str| !paths.iter().any(|known| known == path);
    let all = std::iter::once(interface.generate_path())
        .chain(interface.needed().iter().copied())
        .chain(of_adapters.iter().copied());
    all.filter(lacks).collect()
}

/// The command that starts `spec` with the model in the folder `model` at `port` of this machine, as the replica `place`.
pub(super) fn command(spec: &EngineSpec, model: &Path, port: u16, place: usize) -> Command {
    let mut command = of(spec.kind).command(spec, model, port);
    command.args(&spec.arguments);
    if spec.num_replicas() > 1 {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let cards = spec.tensor_parallel_size.unwrap_or(1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::served::fixture::{SGLANG, VLLM};

    fn spec() -> EngineSpec {
        toml::from_str(VLLM).unwrap()
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
    fn calls_that_it_lacks_are_named() {
        for text in [VLLM, SGLANG] {
            let spec: EngineSpec = toml::from_str(text).unwrap();
            let spec = EngineSpec { max_lora_rank: None, ..spec };
            let with = EngineSpec { max_lora_rank: Some(8), ..spec.clone() };
            let interface = of(spec.kind);
            let mut all = vec![interface.generate_path().to_owned()];
            all.extend(interface.needed().iter().map(|path| (*path).to_owned()));
            assert!(lacking(&spec, &all).is_empty());
            assert_eq!(lacking(&with, &all), interface.needed_for_adapters());
            assert_eq!(lacking(&spec, &all[1..]), [interface.generate_path()]);
        }
    }
}
