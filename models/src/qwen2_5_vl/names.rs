//! Names of parameters, as published and as `transformers` calls them inside.
//!
//! Does not know shapes.

/// Prefix of the names of the vision tower's parameters, the patch merger's included.
pub const TOWER: &str = "visual.";
/// Prefixes of the names of parameters inside of layers: the decoder's, the tower's and the patch merger's.
pub const BLOCKS: [&str; 3] = ["model.layers.", "visual.blocks.", "visual.merger.mlp."];
/// The input embedding, `[vocab_size, hidden_size]`.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// The norm after the last layer, `[hidden_size]`.
pub(crate) const NORM: &str = "model.norm.weight";
/// The output head of a model whose embedding does not serve as one, `[vocab_size, hidden_size]`.
pub(crate) const HEAD: &str = "lm_head.weight";

/// The prefix that PEFT puts before the names of modules.
pub(crate) const ADAPTED: &str = "base_model.model.";

/// Returns PEFT's name of a factor (`half` is A or B) of the weight published as `name`, the modules as `transformers`
/// calls them inside.
pub(crate) fn factor_name(name: &str, half: &str) -> String {
    factor_of(&module_name(name.strip_suffix(".weight").unwrap_or(name)), half)
}

/// Returns PEFT's name of a factor (`half` is A or B) of the module called `module`.
pub(crate) fn factor_of(module: &str, half: &str) -> String {
    format!("{ADAPTED}{module}.lora_{half}.weight")
}

/// Tells whether `name` is that of an adapter's factor.
pub fn is_factor(name: &str) -> bool {
    name.starts_with(ADAPTED)
}

/// Tells whether `name` is that of a parameter of the vision tower, or of a factor of one.
pub fn is_of_tower(name: &str) -> bool {
    let module = name.strip_prefix(ADAPTED);
    module.map_or_else(|| name.starts_with(TOWER), |m| published_name(m).starts_with(TOWER))
}

/// Returns the name that published checkpoints use for what `transformers` from 4.52 on calls
/// `model.language_model.…` and `model.visual.…` inside. Other names come back as they are.
pub(crate) fn published_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        format!("model.{rest}")
    } else if let Some(rest) = name.strip_prefix("model.visual.") {
        format!("visual.{rest}")
    } else {
        name.to_owned()
    }
}

/// Returns the name that `transformers` uses inside for the module published as `stem`: the inverse of
/// [`published_name`].
pub(crate) fn module_name(stem: &str) -> String {
    match (stem.strip_prefix("model."), stem.starts_with(TOWER)) {
        (Some(rest), _) => format!("model.language_model.{rest}"),
        (None, true) => format!("model.{stem}"),
        (None, false) => stem.to_owned(),
    }
}
