//! Models that others have trained, as stages of a recipe: their folders found fit for the base, known by their content,
//! and read where they lie.
//!
//! Does not train and copies nothing: the artifact of such a stage is a record of folder and hash. A hash is kept under
//! the names, sizes and times of the files, so that planning reads gigabytes once. Whoever reads the weights hashes them
//! again, as the store does with its own: results are those of the files that their key names, or there are none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use synergy_hint::{Hinted, hint};
use synergy_models::qwen2_5_vl::config::VlmConfig;
use synergy_models::tokenizer::Tokenizer;
use synergy_models::weights::Parameters;

use crate::key::Key;
use crate::plan::Plan;
use crate::recipe::{PublishedSpec, StageSpec};
use crate::run::base::Base;
use crate::run::model::{files_hash, model_files};
use crate::run::store::{Artifact, Store};

/// The file of an artifact that says where the weights lie.
pub(super) const RECORD: &str = "published.json";
/// The file of an artifact that keeps the hash of a folder.
const HASH: &str = "hash.json";
/// Fields of a config that change neither what is computed nor how a row is asked, which the base's files decide.
const SILENT: [&str; 6] = [
    "architectures",
    "bos_token_id",
    "eos_token_id",
    "initializer_range",
    "max_position_embeddings",
    "pad_token_id",
];

/// What the store keeps of a published model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its folder, from the project's root.
    path: PathBuf,
    /// The hash of its files.
    hash: Key,
}

impl Record {
    /// That of `spec`, whose files have this hash.
    pub(super) fn new(spec: &PublishedSpec, hash: Key) -> Record {
        Record { path: spec.path.clone(), hash }
    }

    /// The record in `artifact`; `None` for a stage whose weights are in the store.
    ///
    /// # Errors
    /// If it is damaged.
    pub(super) fn of(artifact: &Artifact) -> Result<Option<Record>> {
        if !artifact.has(RECORD) {
            return Ok(None);
        }
        let bytes = artifact.read(RECORD)?;
        serde_json::from_slice(&bytes).context("the record of a published model").map(Some)
    }

    /// Tells whether the model lies where `spec` says: its folder may have been moved.
    pub(super) fn is_of(&self, spec: &PublishedSpec) -> bool {
        self.path == spec.path
    }

    /// The folder, whose files are those that were hashed for the key.
    ///
    /// # Errors
    /// If it is not there, or a file has changed.
    pub(super) fn folder(&self) -> Result<&Path> {
        ensure!(self.path.is_dir(), missing(&self.path));
        let found = Key::of(&json!(files_hash(&[&self.path])?));
        ensure!(
            found == self.hash,
            hint!(
                ("the files in `{}` have changed since they were hashed", self.path.display()),
                "fetch the model again; if you changed it, `touch` its files and run again: it is then another model"
            )
        );
        Ok(&self.path)
    }
}

/// The hash of the model in each folder that a stage among `stages` names and that is there.
///
/// # Errors
/// If a file cannot be read, or the store cannot be written.
pub(super) fn hashes(
    stages: &BTreeMap<String, StageSpec>,
    store: &Store,
) -> Result<Vec<(PathBuf, Key)>> {
    let folders = stages.values().filter_map(StageSpec::published).map(|spec| &spec.path);
    let there = folders.filter(|path| path.is_dir());
    there.map(|path| Ok((path.clone(), hash(path, store)?))).collect()
}

/// Lines about the models of others that are not there, for a plan that is only shown.
pub(super) fn lacking(stages: &BTreeMap<String, StageSpec>) -> Vec<String> {
    let folders = stages.values().filter_map(StageSpec::published).map(|spec| &spec.path);
    let missing = folders.filter(|path| !path.is_dir());
    missing.map(|path| format!("  there is no `{}` yet\n", path.display())).collect()
}

/// The hash of the files in `dir`: the kept one if names, sizes and times are those of then.
fn hash(dir: &Path, store: &Store) -> Result<Key> {
    let failed = || format!("failed to read `{}`", dir.display());
    let mut files = Vec::new();
    for path in model_files(dir)? {
        let about = fs::metadata(&path).with_context(failed)?;
        let time = about.modified().with_context(failed)?.duration_since(UNIX_EPOCH);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(json!([name, about.len(), time.unwrap_or_default().as_nanos().to_string()]));
    }
    let folder = fs::canonicalize(dir).with_context(failed)?;
    let depends_on = json!({"kind": "hash", "folder": folder, "files": files});
    let key = Key::of(&depends_on);
    if let Some(artifact) = store.open_artifact(&key)? {
        return serde_json::from_slice(&artifact.read(HASH)?).context("the hash of a folder");
    }
    let hash = Key::of(&json!(files_hash(&[dir])?));
    let bytes = serde_json::to_vec(&hash).context("a key is plain data")?;
    store.put(&key, &depends_on, &BTreeMap::from([(HASH.to_owned(), bytes)]))?;
    Ok(hash)
}

/// Checks every model of others in `plan` that the store has no record of, before anything is trained or asked.
///
/// # Errors
/// If one is not there, or is no model of the base's shape and tokenizer.
pub(super) fn check(plan: &Plan, base: &Base, store: &Store) -> Result<()> {
    let open = plan.stages.iter().filter(|planned| !store.has(&planned.key));
    open.filter_map(|planned| planned.spec.published()).try_for_each(|spec| fits(spec, base))
}

/// Checks that the model of `spec` can be asked as the base is. Reads no weights.
///
/// # Errors
/// See [`check`].
pub(super) fn fits(spec: &PublishedSpec, base: &Base) -> Result<()> {
    let dir = spec.path.as_path();
    ensure!(dir.is_dir(), missing(dir));
    let config = VlmConfig::read(dir)?;
    if let Some((field, found, wanted)) = differing(&config, &base.prompter.config) {
        return Err(refused(
            dir,
            &format!("another shape than the base: `{field}` is {found}, not {wanted}"),
        )
        .into());
    }
    let tokenizer = Tokenizer::read(dir, &config)?;
    if let Some(how) = renumbered(&tokenizer, &base.prompter.tokenizer) {
        return Err(refused(dir, &format!("another tokenizer than the base: {how}")).into());
    }
    Parameters::check(dir, &config)
}

/// The error where there is no folder of a published model.
fn missing(dir: &Path) -> Hinted {
    hint!(
        ("there is no published model in `{}`", dir.display()),
        "`cargo xtask fetch study` gets those of profile study"
    )
}

fn refused(dir: &Path, what: &str) -> Hinted {
    hint!(
        ("the model in `{}` has {what}", dir.display()),
        "a stage of kind `published` takes a model that was trained from the recipe's base"
    )
}

/// The first field in which two configs differ that matters, with both values.
fn differing(found: &VlmConfig, base: &VlmConfig) -> Option<(String, Value, Value)> {
    let (found, base) = (flat("", json!(found)), flat("", json!(base)));
    let names: Vec<&String> = found.keys().chain(base.keys()).collect();
    let value =
        |of: &BTreeMap<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    let is_silent = |name: &str| SILENT.contains(&name);
    let mut values = names
        .into_iter()
        .filter(|name| !is_silent(name))
        .map(|name| (name.clone(), value(&found, name), value(&base, name)));
    values.find(|(_, found, base)| found != base)
}

/// The values of an object and of those in it, by names with dots.
fn flat(prefix: &str, value: Value) -> BTreeMap<String, Value> {
    let Value::Object(fields) = value else { return BTreeMap::from([(prefix.to_owned(), value)]) };
    let below = fields.into_iter().flat_map(|(name, value)| {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        flat(&name, value)
    });
    below.collect()
}

/// How a vocabulary numbers a token otherwise than the base's, if it does.
fn renumbered(found: &Tokenizer, base: &Tokenizer) -> Option<String> {
    let (found, base) = (found.ids_by_token(), base.ids_by_token());
    let moved = found.iter().find_map(|(token, id)| match base.get(token) {
        Some(other) if other == id => None,
        Some(other) => Some(format!("`{token}` is token {id}, not {other}")),
        None => Some(format!("the base has no token `{token}`")),
    });
    let lost = || base.keys().find(|token| !found.contains_key(*token));
    moved.or_else(|| lost().map(|token| format!("it has no token `{token}`")))
}
