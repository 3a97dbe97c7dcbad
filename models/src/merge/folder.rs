//! A folder of weights to be merged: its tensors by published name, compared with those of another folder.
//!
//! Does not know numbers. A pickle is never opened, since it can run code.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, bail, ensure};
use serde_json::Value;
use synergy_hint::{Explain as _, hint};

use crate::merge::report::Group;
use crate::qwen2_5_vl::names::{HEAD, published_name};
use crate::weights::stored::{INDEX, StoredTensor, WHOLE, shard_paths, stored_in};

const PICKLES: [&str; 6] = ["bin", "ckpt", "pickle", "pkl", "pt", "pth"];

/// Extensions of weights that are not merged; in the result they would be those of one parent.
const OTHER_WEIGHTS: [&str; 7] = ["gguf", "h5", "msgpack", "npz", "onnx", "ot", "safetensors"];

/// How many faults one message names.
const NUM_NAMED: usize = 3;

/// The weights of one folder.
pub(crate) struct Folder<'a> {
    dir: &'a Path,
    /// Its files of weights.
    pub(crate) paths: Vec<PathBuf>,
    /// By published name.
    pub(crate) tensors: BTreeMap<String, Named>,
}

/// A tensor of a folder.
pub(crate) struct Named {
    /// Its name in the folder.
    pub(crate) name: String,
    /// Index of its file among the folder's files.
    pub(crate) shard: usize,
    pub(crate) stored: StoredTensor,
}

impl Folder<'_> {
    /// Lists the tensors of `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Folder<'_>> {
        let has = |file: &str| dir.join(file).is_file();
        if !has(WHOLE) && !has(INDEX) {
            return Err(no_weights(dir)?);
        }
        let paths = shard_paths(dir)?;
        let mut tensors: BTreeMap<String, Named> = BTreeMap::new();
        for (shard, path) in paths.iter().enumerate() {
            for (name, stored) in stored_in(path)? {
                let published = published_name(&name);
                if let Some(twin) = tensors.get(&published) {
                    bail!(hint!(
                        (
                            "`{}` holds a tensor twice, as `{}` and `{name}`",
                            dir.display(),
                            twin.name
                        ),
                        "fetch the checkpoint again, into an empty folder"
                    ));
                }
                tensors.insert(published, Named { name, shard, stored });
            }
        }
        Ok(Folder { dir, paths, tensors })
    }

    /// Checks that `other` has the same names and shapes.
    pub(crate) fn check_against(&self, other: &Folder<'_>) -> Result<()> {
        self.check_heads(other)?;
        let (ours, theirs) = (self.dir.display(), other.dir.display());
        let only = |name: &str, place| format!("only `{place}` has `{name}`");
        let mut faults = Vec::new();
        let mut hint = "merge models of one architecture and size, trained from one base";
        for (published, tensor) in &self.tensors {
            let Some(twin) = other.tensors.get(published) else {
                faults.push(only(&tensor.name, &ours));
                continue;
            };
            let (a, b) = (&tensor.stored.shape, &twin.stored.shape);
            if a == b {
                continue;
            }
            if Group::of(published) == Group::Embeddings && a.get(1..) == b.get(1..) {
                hint = "their vocabularies differ in size; bring one to the other's first";
            }
            let name = &tensor.name;
            faults.push(format!("`{name}` has shape {a:?} in `{ours}` and {b:?} in `{theirs}`"));
        }
        faults.extend(other.not_in(self).map(|(_, tensor)| only(&tensor.name, &theirs)));
        let more = faults.len().saturating_sub(NUM_NAMED);
        faults.truncate(NUM_NAMED);
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        ensure!(faults.is_empty(), hint!(("{}", faults.join(", ")), "{hint}"));
        Ok(())
    }

    /// Refuses two folders that differ only in that one of them has no head.
    fn check_heads(&self, other: &Folder<'_>) -> Result<()> {
        for (one, two) in [(self, other), (other, self)] {
            let mut strangers = one.not_in(two).map(|(published, _)| published);
            let head = strangers.next().filter(|name| name.ends_with(HEAD));
            if let (Some(head), None, None) = (head, strangers.next(), two.not_in(one).next()) {
                bail!(hint!(
                    (
                        "`{}` stores `{head}` and `{}` does not: only the second ties its embeddings",
                        one.dir.display(),
                        two.dir.display()
                    ),
                    "save the first without its head if its config.json says \
                     `tie_word_embeddings` too (`synergy export` does); else the two cannot be merged"
                ));
            }
        }
        Ok(())
    }

    /// Iterates over the tensors whose names `other` does not have.
    fn not_in<'s>(
        &'s self,
        other: &'s Folder<'_>,
    ) -> impl Iterator<Item = (&'s String, &'s Named)> {
        self.tensors.iter().filter(|(published, _)| !other.tensors.contains_key(*published))
    }

    /// Reads the index of several files and checks that each tensor is in the file that it names, since it is copied.
    pub(crate) fn index(&self) -> Result<Option<Value>> {
        let path = self.dir.join(INDEX);
        if !path.is_file() {
            return Ok(None);
        }
        let again = "fetch the checkpoint again, all of its files";
        let index: Value = fs::read_to_string(&path)
            .map_err(Error::from)
            .and_then(|text| Ok(serde_json::from_str(&text)?))
            .explain(|| hint!(("failed to read index `{}`", path.display()), "{again}"))?;
        let is_map = |field: &str| index[field].is_object();
        ensure!(
            is_map("weight_map") && (is_map("metadata") || index["metadata"].is_null()),
            hint!(
                ("index `{}` lacks a map of weights, or its metadata is not a map", path.display()),
                "{again}"
            )
        );
        let named = index["weight_map"].as_object().into_iter().flatten();
        for (name, file) in named {
            let file = file.as_str().unwrap_or_default();
            let tensor = self.tensors.get(&published_name(name));
            ensure!(
                tensor.is_some_and(|t| t.name == *name && file == file_name(&self.paths[t.shard])),
                hint!(
                    (
                        "index `{}` names `{name}` in shard `{file}`, which does not hold it",
                        path.display()
                    ),
                    "{again}"
                )
            );
        }
        Ok(Some(index))
    }
}

/// Makes the error of a folder that has neither a file of weights nor an index.
fn no_weights(dir: &Path) -> Result<Error> {
    let place = dir.display();
    if !dir.is_dir() {
        bail!(hint!("`{place}` is not a folder", "name the folder of a checkpoint"));
    }
    let files = files_in(dir)?;
    let first = |kinds: &[&str]| files.iter().find(|f| has_extension(f, kinds));
    let has_adapter = files.iter().any(|f| f == "adapter_model.safetensors");
    Ok(Error::new(if has_adapter {
        hint!(
            "`{place}` holds an adapter, not a model",
            "`synergy export --model BASE --adapter {place} --out DIR` makes a model of it"
        )
    } else if let Some(other) = first(&["safetensors"]) {
        hint!(
            "`{place}` has `{other}`, but neither `{WHOLE}` nor `{INDEX}`",
            "fetch the checkpoint again, all of its files"
        )
    } else if let Some(pickle) = first(&["bin"]).or_else(|| first(&PICKLES)) {
        hint!(
            "`{place}` has its weights in pickles (`{pickle}`), which can run code and are not read",
            "fetch or save it as safetensors (`safe_serialization=True` in transformers)"
        )
    } else {
        hint!("`{place}` has no weights: no `{WHOLE}`", "name the folder of a checkpoint")
    }))
}

/// Lists the files of `dir` that a merge takes over: all except weights and their indexes.
pub(crate) fn copied_files(dir: &Path) -> Result<Vec<String>> {
    let mut files = files_in(dir)?;
    files.retain(|file| {
        let is_weights = has_extension(file, &PICKLES) || has_extension(file, &OTHER_WEIGHTS);
        !is_weights && !file.ends_with(".index.json")
    });
    Ok(files)
}

/// Lists the names of the files of `dir` in order, links followed.
fn files_in(dir: &Path) -> Result<Vec<String>> {
    let list = || -> std::io::Result<Vec<String>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if fs::metadata(&path)?.is_file() {
                files.push(file_name(&path));
            }
        }
        files.sort();
        Ok(files)
    };
    list()
        .explain(|| hint!(("failed to list the files of `{}`", dir.display()), "can all be read?"))
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn has_extension(file: &str, extensions: &[&str]) -> bool {
    let of_file = Path::new(file).extension().map(OsStr::to_ascii_lowercase);
    of_file.is_some_and(|of_file| extensions.iter().any(|extension| of_file == *extension))
}
