//! Checks whether a folder holds a whole checkpoint: the files, the index, and the frame of every safetensors file.
//!
//! Does not read tensors and does not know the model: `synergy_models` does. The check takes a blink, also for tens of
//! gigabytes.
//!
//! A safetensors file is 8 bytes, the length of the header, little endian; the header, JSON with the type, the shape
//! and the place of each tensor; and the tensors, one behind the other without a hole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::marker::PhantomData;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

/// The folder of models in `data`.
pub(super) const FOLDER: &str = "models";
/// Names the file of each tensor.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// Holds the weights of a model that has no index.
const SINGLE: &str = "model.safetensors";
/// The files that `synergy_models` needs besides the weights.
const NEEDED: [&str; 4] =
    ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"];

/// Longer headers are refused, as the format's own library does.
const HEADER_MAX: u64 = 100_000_000;

/// The types of tensors, with the bytes of an element.
const TYPES: [(&str, u64); 12] = [
    ("BF16", 2),
    ("F16", 2),
    ("F32", 4),
    ("F64", 8),
    ("I8", 1),
    ("I16", 2),
    ("I32", 4),
    ("I64", 8),
    ("U8", 1),
    ("U16", 2),
    ("U32", 4),
    ("BOOL", 1),
];

/// A JSON object in which a repeated key is an error.
struct Unique<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Pairs<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Unique<V>, A::Error> {
                let mut unique = BTreeMap::new();
                while let Some((key, value)) = pairs.next_entry::<String, V>()? {
                    if unique.contains_key(&key) {
                        let key = key.escape_debug();
                        return Err(A::Error::custom(format!("the key `{key}` is repeated")));
                    }
                    unique.insert(key, value);
                }
                Ok(Unique(unique))
            }
        }

        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// The index of a checkpoint; other keys of it are not needed.
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: Unique<String>,
}

/// The entry of a tensor in a header.
#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    /// Start and end, in bytes behind the header.
    data_offsets: (u64, u64),
}

/// Returns what a checkpoint needs that is not among `names`.
#[cfg(any(test, feature = "hub"))]
pub(super) fn lacks(names: &[&str]) -> Option<&'static str> {
    let is_lost = |needed: &&str| !names.contains(needed);
    let has_weights = names.contains(&INDEX) || names.contains(&SINGLE);
    NEEDED.into_iter().find(is_lost).or((!has_weights).then_some(INDEX))
}

/// Says what makes the checkpoint in `folder` incomplete, if something does.
pub(super) fn fault(folder: &Path) -> Option<String> {
    check(folder).err().map(|error| format!("{error:#}"))
}

fn check(folder: &Path) -> anyhow::Result<()> {
    for name in NEEDED {
        ensure!(folder.join(name).is_file(), "`{name}` is not there");
    }
    if !folder.join(INDEX).is_file() {
        ensure!(folder.join(SINGLE).is_file(), "neither `{INDEX}` nor `{SINGLE}` is there");
        return tensors(&folder.join(SINGLE)).map(drop);
    }
    for (shard, wanted) in shards(&folder.join(INDEX))? {
        let path = folder.join(&shard);
        ensure!(path.is_file(), "`{shard}`, which the index names, is not there");
        let there = tensors(&path)?;
        if let Some(lost) = wanted.difference(&there).next() {
            bail!("`{shard}` has no tensor `{}`, which the index names", lost.escape_debug());
        }
    }
    Ok(())
}

/// Reads from an index which tensors are in which file.
///
/// # Errors
/// If the index cannot be read, names no file, or names one outside its folder.
pub(super) fn shards(index: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let index = fs::read(index)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| Ok(serde_json::from_slice::<Index>(&bytes)?))
        .with_context(|| format!("`{INDEX}` is not an index"))?;
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, shard) in index.weight_map.0 {
        let is_plain = shard.ends_with(".safetensors") && !shard.contains(['/', '\\']);
        ensure!(is_plain, "`{INDEX}` names `{}`, which is refused", shard.escape_debug());
        shards.entry(shard).or_default().insert(tensor);
    }
    ensure!(!shards.is_empty(), "`{INDEX}` names no file");
    Ok(shards)
}

/// Reads the names of the tensors in a safetensors file whose frame is whole.
///
/// # Errors
/// If the header is cut off or invalid, or the file is not as long as the header says.
pub(super) fn tensors(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let name = path.file_name().unwrap_or_default().display();
    let read = || format!("failed to read `{name}`");
    let mut file = fs::File::open(path).with_context(read)?;
    let bytes = file.metadata().with_context(read)?.len();
    ensure!(bytes >= 8, "`{name}` is cut off: it has {bytes} bytes");
    let mut length = [0; 8];
    file.read_exact(&mut length).with_context(read)?;
    let length = u64::from_le_bytes(length);
    ensure!(
        length <= HEADER_MAX,
        "`{name}` is not a safetensors file: its header would have {length} bytes"
    );
    ensure!(bytes - 8 >= length, "`{name}` is cut off: its header has {length} bytes");
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).with_context(read)?;
    let (names, data) =
        layout(&header).with_context(|| format!("the header of `{name}` is invalid"))?;
    let wanted = 8 + length + data;
    ensure!(
        bytes >= wanted,
        "`{name}` is cut off: {bytes} bytes, but its header describes {wanted}"
    );
    ensure!(bytes == wanted, "`{name}` has {bytes} bytes, but its header describes {wanted}");
    Ok(names)
}

/// Reads a header: the names of the tensors, and the number of bytes that they take.
fn layout(header: &[u8]) -> anyhow::Result<(BTreeSet<String>, u64)> {
    let Unique(entries) = serde_json::from_slice::<Unique<Unique<Value>>>(header)?;
    let mut places = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (name, Unique(entry)) in entries {
        if name == "__metadata__" {
            continue;
        }
        let shown = name.escape_debug().to_string();
        let tensor: Tensor = serde_json::from_value(entry.into_iter().collect())
            .with_context(|| format!("the tensor `{shown}` is invalid"))?;
        let element = TYPES.iter().find(|(known, _)| *known == tensor.dtype);
        let (_, element) = element
            .with_context(|| format!("`{shown}` has the unknown type `{}`", tensor.dtype))?;
        let bytes = tensor.shape.iter().try_fold(*element, |bytes, side| bytes.checked_mul(*side));
        let (start, end) = tensor.data_offsets;
        ensure!(
            bytes.is_some() && end.checked_sub(start) == bytes,
            "the shape of `{shown}` does not fit its place"
        );
        // Tensors without elements share their place with others.
        if start < end {
            let is_free = places.insert(start, end).is_none();
            ensure!(is_free, "`{shown}` begins where another tensor does");
        }
        names.insert(name);
    }
    ensure!(!names.is_empty(), "it names no tensor");
    let mut next = 0;
    for (start, end) in places {
        ensure!(start == next, "there is a hole or an overlap at byte {next} of the tensors");
        next = end;
    }
    Ok((names, next))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::files::Folder;

    /// A safetensors file of float32 tensors of two elements.
    pub(in crate::fetch) fn weights(names: &[&str]) -> Vec<u8> {
        let tensors = names.iter().enumerate().map(|(at, name)| {
            let (start, end) = (at * 8, at * 8 + 8);
            format!(
                "\"{name}\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[{start},{end}]}}"
            )
        });
        let header = format!(
            "{{\"__metadata__\":{{\"format\":\"pt\"}},{}}}",
            tensors.collect::<Vec<_>>().join(",")
        );
        framed(&header, names.len() * 8)
    }

    fn framed(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend((0..data).map(|byte| byte as u8));
        file
    }

    #[track_caller]
    fn refused(bytes: &[u8], says: &str) {
        let folder = Folder::new("weights");
        let path = folder.0.join("model.safetensors");
        fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", tensors(&path).unwrap_err());
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_file_is_whole_to_the_byte() {
        let whole = weights(&["a", "b"]);
        let folder = Folder::new("whole-weights");
        let path = folder.0.join("model.safetensors");
        fs::write(&path, &whole).unwrap();
        assert_eq!(tensors(&path).unwrap(), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        for length in [0, 7, 8, 20, whole.len() - 16, whole.len() - 1] {
            refused(&whole[..length], "cut off");
        }
        refused(&[&whole[..], b"x"].concat(), "but its header describes");
        refused(b"version https://git-lfs\noid sha256:0\n", "not a safetensors file");
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let one = |dtype: &str, shape: &str, place: &str| {
            format!(
                "{{\"a\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{place}}}}}"
            )
        };
        for (header, says) in [
            (one("F32", "[2]", "[0,4]"), "does not fit"),
            (one("F32", "[2]", "[8,0]"), "does not fit"),
            (one("F32", "[18446744073709551615,2]", "[0,8]"), "does not fit"),
            (one("F32", "[2.0]", "[0,8]"), "the tensor `a` is invalid"),
            (one("F33", "[2]", "[0,8]"), "unknown type"),
            (one("F32", "[2]", "[4,12]"), "a hole"),
            (one("F32", "2", "[0,8]"), "the tensor `a` is invalid"),
            (one("F32", "[2]", "[0]"), "the tensor `a` is invalid"),
            ("{}".to_owned(), "names no tensor"),
            ("[]".to_owned(), "expected an object"),
            ("{\"a\": 1".to_owned(), "the header of"),
            ("{\"a\":{},\"a\":{}}".to_owned(), "the key `a` is repeated"),
            ("{\"a\":{\"shape\":[],\"shape\":[]}}".to_owned(), "the key `shape` is repeated"),
        ] {
            refused(&framed(&header, 8), says);
        }
        let two = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\
                   \"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}";
        refused(&framed(two, 6), "overlap");
    }

    #[test]
    fn a_checkpoint_is_its_index_and_all_that_it_names() {
        let folder = Folder::new("checkpoint");
        let write = |name: &str, bytes: &[u8]| fs::write(folder.0.join(name), bytes).unwrap();
        assert_eq!(fault(&folder.0).unwrap(), "`config.json` is not there");
        for name in NEEDED {
            write(name, b"{}");
        }
        assert!(fault(&folder.0).unwrap().contains("neither"));
        write("model.safetensors", &weights(&["a"]));
        assert_eq!(fault(&folder.0), None);

        write(INDEX, br#"{"metadata":{},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#);
        write("1.safetensors", &weights(&["a"]));
        let lost = fault(&folder.0).unwrap();
        assert_eq!(lost, "`2.safetensors`, which the index names, is not there");
        write("2.safetensors", &weights(&["c"]));
        assert!(fault(&folder.0).unwrap().contains("no tensor `b`"));
        write("2.safetensors", &weights(&["b"]));
        assert_eq!(fault(&folder.0), None);
        for index in
            ["{}", "", "{\"weight_map\":{}}", "{\"weight_map\":{\"a\":\"../x.safetensors\"}}", {
                "{\"weight_map\":{\"a\":\"pytorch_model.bin\"}}"
            }]
        {
            write(INDEX, index.as_bytes());
            assert!(fault(&folder.0).unwrap().contains(INDEX), "{index}");
        }
    }
}
