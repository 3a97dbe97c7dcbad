//! Reading the JSON files of a checkpoint field by field.
//!
//! Does not know what a field means. A field that changes the computation must be read, or refused unless it has the
//! one value that is implemented, and any field that nobody knows is refused by name.

use std::fmt::Display;

use anyhow::{Result, anyhow, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use synergy_hint::hint;

pub(crate) const HINT: &str = "compare with the file that Hugging Face publishes for Qwen2.5-VL";

/// One object of a JSON file of a checkpoint. Its fields are taken out by name; those left over are unknown.
#[derive(Default)]
pub(crate) struct Section {
    /// The name of the object followed by a dot; empty at the top level.
    pub(crate) path: String,
    pub(crate) fields: Map<String, Value>,
}

impl Section {
    /// Parses the text of a file.
    pub(crate) fn parse(text: &str) -> Result<Section> {
        let fields = serde_json::from_str(text)
            .map_err(|e| anyhow!(hint!("not a whole JSON object: {e}", "restore the file")))?;
        Ok(Section { path: String::new(), fields })
    }

    /// Takes the field `name` out, if it is there and not null.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|e| anyhow!(hint!(("field `{}{name}`: {e}", self.path), "{HINT}"))),
        }
    }

    /// Takes the field `name` out, which must be there.
    pub(crate) fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        self.take(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes the object `name` out, if it is there and not null.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Section>> {
        let fields = self.take(name)?;
        Ok(fields.map(|fields| Section { path: format!("{}{name}.", self.path), fields }))
    }

    /// Takes the field `name` out and refuses any value that is not null or one of `implemented`.
    pub(crate) fn only<T, I>(&mut self, name: &str, implemented: &[I]) -> Result<()>
    where
        T: DeserializeOwned + PartialEq<I> + Display,
        I: Display,
    {
        if let Some(value) = self.take::<T>(name)?
            && !implemented.iter().any(|i| value == *i)
        {
            let list: Vec<String> = implemented.iter().map(|i| format!("`{i}`")).collect();
            let list = if list.is_empty() { "nothing".into() } else { list.join(" or ") };
            bail!(hint!(("`{}{name}` `{value}` is not implemented", self.path), "{list} is"));
        }
        Ok(())
    }

    /// Takes fields out and ignores their values.
    pub(crate) fn skip(&mut self, names: &[&str]) {
        names.iter().for_each(|name| drop(self.fields.remove(*name)));
    }

    /// Makes the error of a field that is not there.
    pub(crate) fn missing(&self, name: &str) -> anyhow::Error {
        anyhow!(hint!(("field `{}{name}` is missing", self.path), "{HINT}"))
    }

    /// Refuses fields that were not taken out and are not `inert`.
    pub(crate) fn finish(mut self, inert: &[&str]) -> Result<()> {
        self.skip(inert);
        let mut names: Vec<String> =
            self.fields.keys().map(|name| format!("`{}{name}`", self.path)).collect();
        names.sort();
        ensure!(
            names.is_empty(),
            hint!(
                (
                    "unknown {} {}: what {} would change is not implemented",
                    if names.len() == 1 { "field" } else { "fields" },
                    names.join(", "),
                    if names.len() == 1 { "it" } else { "they" }
                ),
                "remove what changes nothing; a quantized or modified model does not run here"
            )
        );
        Ok(())
    }
}
