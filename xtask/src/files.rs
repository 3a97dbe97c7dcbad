//! Folders as wholes.
//!
//! Does not know what is in them.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Size of all files below `folder`, in bytes.
///
/// # Errors
/// If a folder cannot be read.
pub(crate) fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("failed to read the folder `{}`", folder.display()))?;
    let mut sum = 0;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}
