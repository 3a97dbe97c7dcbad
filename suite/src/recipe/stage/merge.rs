//! Stages of kind `merge`: two models and the base, tensor by tensor.

use serde::{Deserialize, Serialize};
use synergy_models::merge::MergeSpec;

use super::kind::{Input, Role, StageKind};
use super::load::{Load, Others};
use crate::recipe::fault::{Checked, Fault};

/// The merge of two models that stand on the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeStageSpec {
    /// The stages whose models are merged, or `base`; `share` is the first's.
    pub parents: [String; 2],
    /// How the models are merged.
    pub merge: MergeSpec,
}

impl StageKind for MergeStageSpec {
    fn inputs(&self) -> Vec<Input<'_>> {
        let input = |(i, name)| Input::new(Role::Parent, format!("parents.{i}"), name);
        self.parents.iter().map(String::as_str).enumerate().map(input).collect()
    }

    fn check(&self) -> Checked {
        self.merge.check().map_err(|cause| Fault::at("merge", cause))
    }

    fn load(&self, _: &dyn Others<'_>) -> Load {
        Load { num_parents: self.parents.len() as f64, ..Load::default() }
    }

    fn rehearse(&mut self) {}
}
