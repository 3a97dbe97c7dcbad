//! Whether a folder holds a whole checkpoint: the files, the index, and the frame of every safetensors file.
//!
//! Does not read tensors and does not know the model: `synergy_models` does. What is told here takes a blink, also for
//! tens of gigabytes.
//!
//! A safetensors file is 8 bytes, the length of the header, little endian; the header, JSON with the type, the shape
//! and the place of each tensor; and the tensors, one behind the other without a hole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::json::Json;

/// Which tensor is in which file.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// The weights of a model that has no index.
const SINGLE: &str = "model.safetensors";
/// What `synergy_models` cannot do without, beside the weights.
const NEEDED: [&str; 4] =
    ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"];

/// Longer headers are refused, as the format's own library does.
const HEADER_MAX: u64 = 100_000_000;

/// Bytes of one element of each type.
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

/// What a checkpoint cannot be read without that is not among `names`.
#[cfg(any(test, feature = "hub"))]
pub(super) fn lacks(names: &[&str]) -> Option<&'static str> {
    let is_lost = |needed: &&str| !names.contains(needed);
    let has_weights = names.contains(&INDEX) || names.contains(&SINGLE);
    NEEDED.into_iter().find(is_lost).or((!has_weights).then_some(INDEX))
}

/// What is not whole in the checkpoint in `folder`, if something is not.
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
            bail!("`{shard}` has no tensor `{}`, which the index says", lost.escape_debug());
        }
    }
    Ok(())
}

/// The tensors of each file that the index names.
///
/// # Errors
/// If the index cannot be read, names no file, or names one outside its folder.
pub(super) fn shards(index: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let broken = || format!("`{INDEX}` is no index");
    let text = fs::read_to_string(index).with_context(broken)?;
    let tree = Json::read(&text).with_context(broken)?;
    let map = tree.get("weight_map").and_then(Json::object).with_context(broken)?;
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, shard) in map {
        let shard = shard.text().with_context(broken)?;
        let is_plain = shard.ends_with(".safetensors") && !shard.contains(['/', '\\']);
        ensure!(is_plain, "`{INDEX}` names `{}`, which is not taken", shard.escape_debug());
        shards.entry(shard.to_owned()).or_default().insert(tensor.clone());
    }
    ensure!(!shards.is_empty(), "`{INDEX}` names no file");
    Ok(shards)
}

/// The names of the tensors in a safetensors file whose frame is whole.
///
/// # Errors
/// If the header is cut off or is none, or the file is not as long as the header says.
pub(super) fn tensors(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let name = path.file_name().unwrap_or_default().display();
    let read = || format!("failed to read `{name}`");
    let mut file = fs::File::open(path).with_context(read)?;
    let bytes = file.metadata().with_context(read)?.len();
    ensure!(bytes >= 8, "`{name}` is cut off: it has {bytes} bytes");
    let mut length = [0; 8];
    file.read_exact(&mut length).with_context(read)?;
    let length = u64::from_le_bytes(length);
    ensure!(length <= HEADER_MAX, "`{name}` is no safetensors file: its header has {length} bytes");
    ensure!(bytes - 8 >= length, "`{name}` is cut off: its header has {length} bytes");
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).with_context(read)?;
    let (names, data) = layout(&header).with_context(|| format!("the header of `{name}`"))?;
    let wanted = 8 + length + data;
    ensure!(bytes >= wanted, "`{name}` is cut off: {bytes} bytes, its header says {wanted}");
    ensure!(bytes == wanted, "`{name}` has {bytes} bytes, its header says {wanted}");
    Ok(names)
}

/// The names of the tensors of a header, and the bytes that they take.
fn layout(header: &[u8]) -> anyhow::Result<(BTreeSet<String>, u64)> {
    let tree = Json::read(std::str::from_utf8(header)?)?;
    let mut places = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (name, tensor) in tree.object().context("it is no object")? {
        if name == "__metadata__" {
            continue;
        }
        let shown = name.escape_debug();
        let broken = || format!("the tensor `{shown}` has no type, shape or place");
        let element = tensor.get("dtype").and_then(Json::text).with_context(broken)?;
        let element = TYPES.iter().find(|(known, _)| *known == element).map(|(_, bytes)| *bytes);
        let element = element.with_context(|| format!("`{shown}` has a type that is not known"))?;
        let shape = tensor.get("shape").and_then(Json::list).with_context(broken)?;
        let bytes = shape.iter().try_fold(element, |bytes, side| bytes.checked_mul(side.whole()?));
        let place = tensor.get("data_offsets").and_then(Json::list).with_context(broken)?;
        let [start, end] = place else { bail!("{}", broken()) };
        let (start, end) = start.whole().zip(end.whole()).with_context(broken)?;
        ensure!(
            bytes.is_some() && end.checked_sub(start) == bytes,
            "the shape of `{shown}` does not fit its place"
        );
        names.insert(name.clone());
        // Tensors without elements share their place with others.
        if start < end {
            let is_free = places.insert(start, end).is_none();
            ensure!(is_free, "`{shown}` begins where another tensor does");
        }
    }
    ensure!(!names.is_empty(), "it names no tensor");
    let mut behind = 0;
    for (start, end) in places {
        ensure!(start == behind, "there is a hole or an overlap at byte {behind} of the tensors");
        behind = end;
    }
    Ok((names, behind))
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
        refused(&[&whole[..], b"x"].concat(), "its header says");
        refused(b"version https://git-lfs\noid sha256:0\n", "no safetensors file");
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
            (one("F32", "[2.0]", "[0,8]"), "does not fit"),
            (one("F33", "[2]", "[0,8]"), "not known"),
            (one("F32", "[2]", "[4,12]"), "a hole"),
            (one("F32", "2", "[0,8]"), "no type, shape or place"),
            (one("F32", "[2]", "[0]"), "no type, shape or place"),
            ("{}".to_owned(), "names no tensor"),
            ("[]".to_owned(), "no object"),
            ("{\"a\": 1".to_owned(), "the header of"),
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
