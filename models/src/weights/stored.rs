//! Tensors in safetensors files: where they lie, and their values as f32.
//!
//! Does not know a model. A file is mapped one tensor at a time, so that reading takes no more memory than the
//! values and one tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use memmap2::{Mmap, MmapOptions};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use synergy_hint::{Explain as _, hint};

/// The file that holds all weights of a checkpoint, where there is one.
pub(crate) const WHOLE: &str = "model.safetensors";
/// The index of a checkpoint whose weights are in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

const AGAIN: &str = "fetch the checkpoint again, all of its files";

/// Lists the files that hold the weights of `dir`.
pub(crate) fn shard_paths(dir: &Path) -> Result<Vec<PathBuf>> {
    parts_of(&dir.join(WHOLE))
}

/// Returns the path of the index that lists the shards which replace the file `whole`.
pub(crate) fn index_of(whole: &Path) -> PathBuf {
    whole.with_added_extension("index.json")
}

/// Lists the shards that replace the file `whole`; without an index that is the file itself.
pub(crate) fn parts_of(whole: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = index_of(whole);
    if !path.is_file() {
        return Ok(vec![whole.to_owned()]);
    }
    let text = std::fs::read_to_string(&path)
        .explain(|| hint!(("failed to read index `{}`", path.display()), "{AGAIN}"))?;
    let index: Index = serde_json::from_str(&text)
        .explain(|| hint!(("failed to parse index `{}`", path.display()), "{AGAIN}"))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    for file in &files {
        let plain = Path::new(file).file_name().is_some_and(|name| name == file.as_str());
        ensure!(
            plain && whole.with_file_name(file).is_file(),
            hint!(
                ("index `{}` names shard `{file}`, which is not there", path.display()),
                "{AGAIN}"
            )
        );
    }
    Ok(files.into_iter().map(|file| whole.with_file_name(file)).collect())
}

/// A tensor in a file, which is mapped only while the tensor is read.
#[derive(Debug)]
pub(crate) struct StoredTensor {
    shard: Rc<Shard>,
    /// Where its bytes begin in the file.
    offset: u64,
    pub(crate) num_bytes: usize,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

/// A file of weights.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: File,
}

/// Lists the tensors of the safetensors file `path` by the names that it uses. Its header is checked against its
/// length.
pub(crate) fn stored_in(path: &Path) -> Result<Vec<(String, StoredTensor)>> {
    let file = File::open(path).map_err(|e| {
        anyhow!(hint!(
            ("failed to open weights `{}`: {e}", path.display()),
            "name the folder of a checkpoint, with all of its files"
        ))
    })?;
    let bytes = map(&MmapOptions::new(), &file)
        .with_context(|| format!("failed to map weights `{}`", path.display()))?;
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| {
        anyhow!(hint!(
            ("unusable `{}`: not a whole safetensors file: {e}", path.display()),
            "fetch or train the checkpoint again"
        ))
    })?;
    // Eight bytes before the header give its length.
    let start = 8 + header;
    let shard = Rc::new(Shard { path: path.to_owned(), file });
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let tensor = StoredTensor {
            shard: Rc::clone(&shard),
            offset: (start + from) as u64,
            num_bytes: to - from,
            dtype: info.dtype,
            shape: info.shape.clone(),
        };
        (name, tensor)
    });
    Ok(tensors.collect())
}

/// Returns the framework that the file `path` names for its tensors, which `transformers` looks for.
pub(crate) fn format_of(path: &Path) -> Result<Option<String>> {
    let bytes = map(&MmapOptions::new(), &File::open(path)?)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    Ok(metadata.metadata().as_ref().and_then(|m| m.get("format").cloned()))
}

impl StoredTensor {
    /// Maps the stored bytes for as long as `use_bytes` runs, and returns its result.
    pub(crate) fn with_bytes<T>(&self, use_bytes: impl FnOnce(&[u8]) -> T) -> Result<T> {
        // Nothing cannot be mapped.
        if self.num_bytes == 0 {
            return Ok(use_bytes(&[]));
        }
        let mut options = MmapOptions::new();
        Ok(use_bytes(&map(options.offset(self.offset).len(self.num_bytes), &self.shard.file)?))
    }

    /// Reads the values of the tensor, which is called `name` in errors, as f32.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<f32>> {
        let read = || {
            let values = self.with_bytes(|bytes| to_f32(self.dtype, bytes))??;
            ensure!(
                values.iter().all(|x| x.is_finite()),
                hint!(
                    "numbers that are not finite",
                    "the file is damaged; fetch or train it again"
                )
            );
            Ok(values)
        };
        read().with_context(|| format!("in `{name}` of `{}`", self.shard.path.display()))
    }
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    let pairs = bytes.chunks_exact(2).map(|c| [c[0], c[1]]);
    Ok(match dtype {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
        }
        Dtype::F16 => pairs.map(|c| f16::from_le_bytes(c).to_f32()).collect(),
        Dtype::BF16 => pairs.map(|c| bf16::from_le_bytes(c).to_f32()).collect(),
        other => bail!(hint!(
            "weights of type {other:?} are not supported",
            "save them as f32, f16 or bf16"
        )),
    })
}

#[expect(
    unsafe_code,
    reason = "a mapping is undefined if somebody else shortens the file meanwhile"
)]
fn map(options: &MmapOptions, file: &File) -> std::io::Result<Mmap> {
    // SAFETY: checkpoints are written once, under another name, and renamed; nobody writes into one.
    unsafe { options.map(file) }
}
