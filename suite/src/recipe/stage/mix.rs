//! Stages of kind `mix`: several data sets in one.

use serde::{Deserialize, Serialize};
use synergy_hint::hint;

use super::kind::{Input, Output, Role, StageKind};
use super::load::{DataLoad, Load, Others};
use crate::recipe::fault::{Checked, require};

/// Data: several data sets, whole or by share; what trains on them shuffles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixSpec {
    /// The data sets; at least 1.
    pub parts: Vec<MixPart>,
    /// Share of the examples whose thought is taken out, drawn at random; above 0, up to 1 (thought dropout; TON, arXiv
    /// 2505.16854). None without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_thoughts: Option<f64>,
}

/// One data set of a mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixPart {
    /// The stage whose data it is.
    pub data: String,
    /// Share of the mix's examples, above 0 and 1 in all parts together, drawn at random; the mix is as large as the parts
    /// allow. Every part has one or none has, which takes all of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// A stage of kind `sample`: only questions that it asked and never saw answered right are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsolved_by: Option<String>,
    /// Stages that leave data, at least 1: only questions to which each of them has an answer are taken. Several mixes of
    /// one list ask the same questions of different sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solved_by: Option<Vec<String>>,
}

impl StageKind for MixSpec {
    fn output(&self) -> Output {
        Output::Data
    }

    fn inputs(&self) -> Vec<Input<'_>> {
        let mut inputs = Vec::new();
        for (i, part) in self.parts.iter().enumerate() {
            inputs.push(Input::new(Role::Examples, format!("parts.{i}.data"), &part.data));
            inputs.extend(
                part.unsolved_by
                    .as_deref()
                    .map(|name| Input::new(Role::Unsolved, format!("parts.{i}.unsolved_by"), name)),
            );
            let answered = part.solved_by.iter().flatten();
            inputs.extend(
                answered
                    .map(|name| Input::new(Role::Answered, format!("parts.{i}.solved_by"), name)),
            );
        }
        inputs
    }

    fn check(&self) -> Checked {
        require!(
            !self.parts.is_empty(),
            "parts",
            hint!("the mix has no parts", "parts = [{{ data = \"…\" }}]")
        );
        require!(
            self.empty_thoughts.is_none_or(|share| share > 0.0 && share <= 1.0),
            "empty_thoughts",
            "empty_thoughts = {} is outside its range: above 0, up to 1",
            self.empty_thoughts.unwrap_or_default()
        );
        for (i, part) in self.parts.iter().enumerate() {
            require!(
                part.solved_by.as_ref().is_none_or(|stages| !stages.is_empty()),
                format!("parts.{i}.solved_by"),
                hint!("`solved_by` names no stage", "at least one, or leave the key out")
            );
        }
        let shares: Vec<f64> = self.parts.iter().filter_map(|part| part.share).collect();
        if shares.is_empty() {
            return Ok(());
        }
        require!(
            shares.len() == self.parts.len(),
            "parts",
            hint!("only some parts of the mix have a `share`", "give it to all of them or to none")
        );
        let sum: f64 = shares.iter().sum();
        require!(
            shares.iter().all(|share| *share > 0.0) && (sum - 1.0).abs() < 1e-9,
            "parts",
            hint!(
                "the shares of the mix are {shares:?} and do not sum to 1",
                "shares above 0 that sum to 1"
            )
        );
        Ok(())
    }

    fn load(&self, _: &dyn Others<'_>) -> Load {
        Load::default()
    }

    fn examples<'a>(&'a self, others: &dyn Others<'a>) -> Option<DataLoad<'a>> {
        let parts = || self.parts.iter().filter_map(|part| others.examples(&part.data));
        let num_examples = parts().map(|data| data.num_examples).sum();
        // As if all of it were of the longest part.
        let step_tokens = parts().map(|data| data.step_tokens).fold(0.0, f64::max);
        Some(DataLoad { num_examples, step_tokens, ..parts().next()? })
    }

    fn rehearse(&mut self) {}
}
