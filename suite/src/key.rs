//! Content hashes: the key of an artifact, and what files and folders hold.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of an artifact: the hash of all that it depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// The key of something that depends on `value` and nothing else.
    pub fn of(value: &serde_json::Value) -> Key {
        let text = serde_json::to_string(value).expect("JSON is plain data");
        Key(blake3::hash(text.as_bytes()).to_hex()[..24].to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What lies in the folder `dir`, in order of name.
///
/// # Errors
/// If it cannot be listed.
pub fn listed(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

/// Adds a file's name and its bytes to `hasher`, however large it is.
///
/// # Errors
/// If it cannot be read.
pub fn hash_file(hasher: &mut blake3::Hasher, path: &Path) -> io::Result<()> {
    hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hasher.update_reader(fs::File::open(path)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_changes_with_anything_it_depends_on() {
        assert_ne!(Key::of(&json!({"lr": 0.1})), Key::of(&json!({"lr": 0.2})));
        assert_eq!(Key::of(&json!({"lr": 0.1})), Key::of(&json!({"lr": 0.1})));
    }
}
