//! The memory that every stage of a profile takes, from the plan of the program that is built.
//!
//! Does not estimate anything: it asks `synergy plan`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::synergy;
use crate::units::size;

/// A stage of a plan; other keys are not needed here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Stage {
    pub(super) name: String,
    kind: String,
    /// Memory of the device at most, in bytes.
    #[serde(rename = "memory_bytes")]
    pub(super) bytes: u64,
}

#[derive(Deserialize)]
struct Plan {
    stages: Vec<Stage>,
    evaluations: Evaluations,
}

#[derive(Deserialize)]
struct Evaluations {
    memory_bytes: u64,
}

/// Asks for the stages of `profile` and its evaluations; empty where the program is not built yet or plans nothing.
pub(super) fn stages(root: &Path, profile: &str) -> Vec<Stage> {
    let planned = Command::new(synergy::binary(root))
        .args(["plan", "--profile", profile, "--device", "flex", "--json"])
        .current_dir(root)
        .stderr(Stdio::null())
        .output();
    planned.ok().and_then(|planned| read(&planned.stdout)).unwrap_or_default()
}

fn read(text: &[u8]) -> Option<Vec<Stage>> {
    let Plan { mut stages, evaluations } = serde_json::from_slice(text).ok()?;
    // Every seed takes the same.
    stages.dedup_by(|a, b| a.name == b.name);
    let [name, kind] = ["evaluation", "evaluation"].map(str::to_owned);
    stages.push(Stage { name, kind, bytes: evaluations.memory_bytes });
    Some(stages)
}

/// Describes the stages by kind, from the least to the most memory.
pub(super) fn describe(stages: &[Stage]) -> String {
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for Stage { kind, bytes, .. } in stages {
        let (least, most) = kinds.entry(kind).or_insert((*bytes, *bytes));
        (*least, *most) = ((*least).min(*bytes), (*most).max(*bytes));
    }
    let kinds = kinds.into_iter().map(|(kind, (least, most))| match (size(least), size(most)) {
        (least, most) if least == most => format!("{kind} {most}"),
        (least, most) => format!("{kind} {least} to {most}"),
    });
    kinds.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_described_by_kind_with_its_seeds_once() {
        let stage = |name: &str, kind: &str, bytes: u64| {
            format!("{{\"name\": \"{name}\", \"kind\": \"{kind}\", \"memory_bytes\": {bytes}}}")
        };
        let stages = [
            stage("sft", "sft", 39_000_000_000),
            stage("sft", "sft", 39_000_000_000),
            stage("few", "sft", 24_000_000_000),
            stage("grpo", "grpo", 64_000_000_000),
        ];
        let text = format!(
            "{{\"stages\": [{}], \"evaluations\": {{\"memory_bytes\": 40000000000}}}}",
            stages.join(", ")
        );
        let stages = read(text.as_bytes()).unwrap();
        assert_eq!(stages.len(), 4);
        assert_eq!(describe(&stages), "evaluation 40.0 GB, grpo 64.0 GB, sft 24.0 GB to 39.0 GB");
        assert_eq!(read(b"{}"), None);
        assert_eq!(describe(&[]), "");
    }
}
