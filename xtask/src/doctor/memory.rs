//! What every stage of a profile takes, by the plan of the program that is built.
//!
//! Does not estimate anything: it asks `synergy plan`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::files::size;
use crate::json::Json;
use crate::synergy;

/// A stage, what kind it is of, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) name: String,
    kind: String,
    pub(super) bytes: u64,
}

/// The stages of `profile` and its evaluations; none where the program is not built yet or plans nothing.
pub(super) fn stages(root: &Path, profile: &str) -> Vec<Stage> {
    let planned = Command::new(synergy::binary(root))
        .args(["plan", "--profile", profile, "--device", "flex", "--json"])
        .current_dir(root)
        .stderr(Stdio::null())
        .output();
    let text = planned.ok().and_then(|planned| String::from_utf8(planned.stdout).ok());
    text.and_then(|text| read(&text)).unwrap_or_default()
}

fn read(text: &str) -> Option<Vec<Stage>> {
    let plan = Json::read(text).ok()?;
    let stage = |stage: &Json| {
        Some(Stage {
            name: stage.get("name")?.text()?.to_owned(),
            kind: stage.get("kind")?.text()?.to_owned(),
            bytes: stage.get("memory_bytes")?.whole()?,
        })
    };
    let mut stages = plan.get("stages")?.list()?.iter().map(stage).collect::<Option<Vec<_>>>()?;
    let bytes = plan.get("evaluations")?.get("memory_bytes")?.whole()?;
    // Every seed takes the same.
    stages.dedup_by(|a, b| a.name == b.name);
    let [name, kind] = ["evaluation", "evaluation"].map(str::to_owned);
    stages.push(Stage { name, kind, bytes });
    Some(stages)
}

/// From the least to the most of each kind, in words.
pub(super) fn told(stages: &[Stage]) -> String {
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for Stage { kind, bytes, .. } in stages {
        let (least, most) = kinds.entry(kind).or_insert((*bytes, *bytes));
        (*least, *most) = ((*least).min(*bytes), (*most).max(*bytes));
    }
    let told = kinds.into_iter().map(|(kind, (least, most))| match (size(least), size(most)) {
        (least, most) if least == most => format!("{kind} {most}"),
        (least, most) => format!("{kind} {least} to {most}"),
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_told_by_kind_with_its_seeds_once() {
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
        let stages = read(&text).unwrap();
        assert_eq!(stages.len(), 4);
        assert_eq!(told(&stages), "evaluation 40.0 GB, grpo 64.0 GB, sft 24.0 GB to 39.0 GB");
        assert_eq!(read("{}"), None);
        assert_eq!(told(&[]), "");
    }
}
