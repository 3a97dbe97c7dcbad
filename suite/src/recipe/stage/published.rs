//! Stages of kind `published`: a model that somebody else has trained from the same base.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use synergy_hint::hint;
use synergy_report::score::Way;

use super::kind::{Input, StageKind};
use super::load::{Load, Others};
use crate::recipe::fault::{Checked, require};

/// A checkpoint in the Hugging Face layout, with the shape and the tokenizer of the recipe's base. It is read from its
/// folder, and nothing is trained; what it has cost is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedSpec {
    /// The checkpoint's folder, from the project's root.
    pub path: PathBuf,
    /// By what its owners say that they have trained it: the tables about combinations of SFT and RL go by it, and no result
    /// does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_by: Option<Vec<Way>>,
}

impl StageKind for PublishedSpec {
    fn inputs(&self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn check(&self) -> Checked {
        require!(
            !self.path.as_os_str().is_empty(),
            "path",
            hint!("the path is empty", "the checkpoint's folder, from the project's root")
        );
        let ways = self.trained_by.as_deref().unwrap_or_default();
        let twice = ways.iter().enumerate().find(|(i, way)| ways[..*i].contains(way));
        require!(
            twice.is_none(),
            "trained_by",
            "`{}` occurs twice",
            twice.map_or("", |(_, way)| way.name())
        );
        Ok(())
    }

    fn load(&self, _: &dyn Others<'_>) -> Load {
        Load::default()
    }

    fn rehearse(&mut self) {}

    fn keeps_weights(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::Recipe;

    const STUDY: &str = include_str!("../../../../tests/recipes/tiny-study.toml");

    #[test]
    fn a_recipe_names_folders_and_what_their_owners_say() {
        let recipe = Recipe::parse(STUDY).unwrap();
        assert_eq!(Recipe::parse(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
        let refused = |from: &str, to: &str, cause: &str| {
            assert!(STUDY.contains(from), "{from}");
            let text =
                synergy_hint::text(&Recipe::parse(&STUDY.replacen(from, to, 1)).unwrap_err());
            assert!(text.contains("line ") && text.contains(cause), "{text}");
        };
        refused("path = \"others/sft\"", "path = \"\"", "the path is empty");
        refused("[\"sft\"]", "[\"sft\", \"sft\"]", "`SFT` occurs twice");
        refused("[\"sft\"]", "[\"dpo\"]", "unknown variant `dpo`");
        refused("data = \"traces\"", "data = \"sft_published\"", "is a model, not data");
        refused("path = \"others/sft\"", "from = \"base\"", "unknown field `from`");
    }
}
