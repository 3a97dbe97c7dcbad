//! Folders as wholes, and the disks they are on.
//!
//! Does not know what is in them.

use std::fs;
use std::path::Path;
use std::process::Command;

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

/// Removes `folder` and all that is in it, if it is there.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
            .with_context(|| format!("failed to remove the folder `{}`", folder.display())),
        _ => Ok(()),
    }
}

/// Free room on the disk of `folder`, where `df` can tell.
pub(crate) fn bytes_free(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    free_in(&String::from_utf8_lossy(&output.stdout))
}

/// The column before the percentage: names of disks and folders may hold blanks.
pub(crate) fn free_in(said: &str) -> Option<u64> {
    let words: Vec<_> = said.lines().nth(1)?.split_whitespace().collect();
    let at = words.iter().position(|word| word.ends_with('%'))?;
    Some(words.get(at.checked_sub(1)?)?.parse::<u64>().ok()? * 1024)
}

/// `341.2 MB`
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        1_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
        1_000.. => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{bytes} bytes"),
    }
}

/// A folder of its own for one test, gone at the end.
#[cfg(test)]
pub(crate) struct Folder(pub(crate) std::path::PathBuf);

#[cfg(test)]
impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("synergy-xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

#[cfg(test)]
impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The names in a folder, in order.
#[cfg(test)]
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
