//! Tensors in safetensors files: where they lie, and their values as f32.
//!
//! Does not know a model. A file is mapped one tensor at a time, so that reading takes the memory of the
//! values and of one tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use memmap2::{Mmap, MmapOptions};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// A checkpoint's only file of weights, and the index of several.
pub(crate) const WHOLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

const AGAIN: &str = "hint: fetch the checkpoint again, all of its files";

/// The files that hold the weights of `dir`.
pub(crate) fn shard_paths(dir: &Path) -> Result<Vec<PathBuf>> {
    parts_of(&dir.join(WHOLE))
}

/// Where the index of the shards stands that are in the place of the file `whole`.
pub(crate) fn index_of(whole: &Path) -> PathBuf {
    whole.with_added_extension("index.json")
}

/// The file `whole`, or the shards that are in its place.
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
        .with_context(|| format!("failed to read index `{}`\n{AGAIN}", path.display()))?;
    let index: Index = serde_json::from_str(&text)
        .with_context(|| format!("failed to parse index `{}`\n{AGAIN}", path.display()))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    for file in &files {
        let plain = Path::new(file).file_name().is_some_and(|name| name == file.as_str());
        ensure!(
            plain && whole.with_file_name(file).is_file(),
            "index `{}` names shard `{file}`, which is not there\n{AGAIN}",
            path.display()
        );
    }
    Ok(files.into_iter().map(|file| whole.with_file_name(file)).collect())
}

/// Where a tensor lies.
#[derive(Debug)]
pub(crate) struct StoredTensor<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

#[derive(Debug)]
pub(crate) enum Source<'a> {
    Bytes(&'a [u8]),
    /// Mapped only while it is read.
    File {
        shard: Rc<Shard>,
        offset: u64,
        num_bytes: usize,
    },
}

/// A file of weights.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    file: File,
}

impl Source<'_> {
    /// ` of` and the file, for errors.
    pub(crate) fn place(&self) -> String {
        match self {
            Source::Bytes(_) => String::new(),
            Source::File { shard, .. } => format!(" of `{}`", shard.path.display()),
        }
    }
}

/// The tensors of a file that is `bytes`.
pub(crate) fn stored_in_bytes(bytes: &[u8]) -> Result<Vec<(String, StoredTensor<'_>)>> {
    list(bytes, |from, num_bytes| Source::Bytes(&bytes[from..from + num_bytes]))
}

/// The tensors of the file `path`.
pub(crate) fn stored_in(path: &Path) -> Result<Vec<(String, StoredTensor<'static>)>> {
    let file = File::open(path).map_err(|e| {
        anyhow!(
            "failed to open weights `{}`: {e}\nhint: name the folder of a checkpoint, with all of its files",
            path.display()
        )
    })?;
    let shard = Rc::new(Shard { path: path.to_owned(), file });
    let bytes = map(&MmapOptions::new(), &shard.file)
        .with_context(|| format!("failed to map weights `{}`", path.display()))?;
    let source = |from: usize, num_bytes| Source::File {
        shard: Rc::clone(&shard),
        offset: from as u64,
        num_bytes,
    };
    list(&bytes, source).with_context(|| format!("unusable `{}`", path.display()))
}

/// The framework that the file `path` says its tensors are of, for `transformers`.
pub(crate) fn format_of(path: &Path) -> Result<Option<String>> {
    let bytes = map(&MmapOptions::new(), &File::open(path)?)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    Ok(metadata.metadata().as_ref().and_then(|m| m.get("format").cloned()))
}

/// The tensors of a safetensors file by its own names, its header checked against its length;
/// `source` is given where one begins and how long it is.
fn list<'a>(
    bytes: &[u8],
    source: impl Fn(usize, usize) -> Source<'a>,
) -> Result<Vec<(String, StoredTensor<'a>)>> {
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| {
        anyhow!("not a whole safetensors file: {e}\nhint: fetch or train the checkpoint again")
    })?;
    // Eight bytes before the header say how long it is.
    let start = 8 + header;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let source = source(start + from, to - from);
        (name, StoredTensor { source, dtype: info.dtype, shape: info.shape.clone() })
    });
    Ok(tensors.collect())
}

impl StoredTensor<'_> {
    pub(crate) fn num_bytes(&self) -> usize {
        match &self.source {
            Source::Bytes(bytes) => bytes.len(),
            Source::File { num_bytes, .. } => *num_bytes,
        }
    }

    /// What `use_bytes` makes of the stored bytes, which are mapped for as long as it runs.
    pub(crate) fn with_bytes<T>(&self, use_bytes: impl FnOnce(&[u8]) -> T) -> Result<T> {
        Ok(match &self.source {
            Source::Bytes(bytes) => use_bytes(bytes),
            Source::File { num_bytes: 0, .. } => use_bytes(&[]),
            Source::File { shard, offset, num_bytes } => {
                let mut options = MmapOptions::new();
                use_bytes(&map(options.offset(*offset).len(*num_bytes), &shard.file)?)
            }
        })
    }

    /// The values as f32.
    pub(crate) fn read(&self) -> Result<Vec<f32>> {
        let values = self.with_bytes(|bytes| to_f32(self.dtype, bytes))??;
        ensure!(
            values.iter().all(|x| x.is_finite()),
            "numbers that are not finite\nhint: the file is damaged; fetch or train it again"
        );
        Ok(values)
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
        other => bail!(
            "weights of type {other:?} are not supported\nhint: save them as f32, f16 or bf16"
        ),
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
