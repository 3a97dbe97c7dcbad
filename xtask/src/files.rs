//! Files and folders: sizes, hashes, removal, and the room on their disk.
//!
//! Does not know what is in them.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};
use synergy_hint::Hinted;

use crate::units::size;

/// Lists all files below `folder`, by their paths from there with `/`, in order.
///
/// # Errors
/// If a folder cannot be read.
pub(crate) fn below(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut pending = vec![String::new()];
    while let Some(prefix) = pending.pop() {
        let folder = folder.join(&prefix);
        for entry in fs::read_dir(&folder).with_context(|| unread(&folder))? {
            let entry = entry.with_context(|| unread(&folder))?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() { pending.push(path + "/") } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

/// Adds up the sizes of all files below `folder`, in bytes.
///
/// # Errors
/// If a folder or a file cannot be read.
pub(crate) fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    below(folder)?.iter().map(|file| bytes(&folder.join(file))).sum()
}

/// Returns the size of a file in bytes.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn bytes(path: &Path) -> anyhow::Result<u64> {
    Ok(path.metadata().with_context(|| unread(path))?.len())
}

/// Creates `folder` and the folders above it.
///
/// # Errors
/// If it cannot be created.
pub(crate) fn create_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| uncreated(folder))
}

/// Removes `folder` with everything in it, if it exists.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    absent_is_fine(fs::remove_dir_all(folder), folder)
}

/// Removes a file, if it exists.
///
/// # Errors
/// If it cannot be removed.
pub(crate) fn remove_file(path: &Path) -> anyhow::Result<()> {
    absent_is_fine(fs::remove_file(path), path)
}

fn absent_is_fine(removed: io::Result<()>, path: &Path) -> anyhow::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Fills a folder beside `folder` and renames it to `folder` once it is whole, in place of what was there.
/// Nothing half-done stays, whatever happens.
///
/// # Errors
/// If `fill` fails, or a folder cannot be created or removed.
pub(crate) fn replace_folder<T>(
    folder: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    remove_folder(partial)?;
    let filled = create_folder(partial).and_then(|()| fill(partial)).and_then(|filled| {
        remove_folder(folder)?;
        fs::rename(partial, folder).with_context(|| uncreated(folder))?;
        Ok(filled)
    });
    remove_folder(partial)?;
    filled
}

/// Makes sure that nobody else runs `command` in the same folder, by the lock `file` in it. The lock is held until the
/// returned value is dropped or this process ends, however it ends.
///
/// # Errors
/// If somebody else runs it, or `file` cannot be created.
pub(crate) fn hold(file: &Path, command: &str) -> anyhow::Result<fs::File> {
    let lock = fs::File::create(file).with_context(|| uncreated(file))?;
    // A disk without locks is no reason to refuse.
    let is_held = matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock));
    let busy = || format!("another `{command}` is at work in this folder");
    ensure!(!is_held, Hinted::new(busy(), "wait until it has finished"));
    Ok(lock)
}

/// Copies everything that `from` gives to `to` and returns its SHA-256.
///
/// # Errors
/// If reading or writing fails.
pub(crate) fn copy_hashed(from: &mut impl Read, to: &mut impl Write) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(digest.finalize().into());
        }
        digest.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
}

/// Computes the SHA-256 of a file.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn digest(path: &Path) -> anyhow::Result<[u8; 32]> {
    let digest = || copy_hashed(&mut fs::File::open(path)?, &mut io::sink());
    digest().with_context(|| unread(path))
}

/// Computes the SHA-256 of a file, in lower-case digits.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn sha256(path: &Path) -> anyhow::Result<String> {
    Ok(hex(&digest(path)?))
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns whether `text` is `length` hexadecimal digits in lower case, as hashes are written.
pub(crate) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Says that `path` could not be read.
pub(crate) fn unread(path: &Path) -> String {
    format!("failed to read `{}`", path.display())
}

/// Says that `path` could not be created.
pub(crate) fn uncreated(path: &Path) -> String {
    format!("failed to create `{}`", path.display())
}

/// Returns the free room in bytes on the disk of `folder`, where `df` reports it.
pub(crate) fn bytes_free(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    free_in(&String::from_utf8_lossy(&output.stdout))
}

/// Reads the column before the percentage: names of disks and folders may hold blanks.
fn free_in(report: &str) -> Option<u64> {
    let words: Vec<_> = report.lines().nth(1)?.split_whitespace().collect();
    let at = words.iter().position(|word| word.ends_with('%'))?;
    Some(words.get(at.checked_sub(1)?)?.parse::<u64>().ok()? * 1024)
}

/// Requires that `free` bytes on the disk of `folder`, where they are known, are at least `needed`.
///
/// # Errors
/// If they are fewer; the error has the hint `hint`.
pub(crate) fn require_room(
    folder: &Path,
    free: Option<u64>,
    needed: u64,
    hint: &str,
) -> anyhow::Result<()> {
    match free {
        Some(free) if free < needed => {
            let (folder, free, needed) = (folder.display(), size(free), size(needed));
            bail!(Hinted::new(
                format!("the disk of `{folder}` has {free} free, but {needed} are needed"),
                hint
            ))
        }
        _ => Ok(()),
    }
}

/// A temporary folder for one test, removed at its end.
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

/// Lists the names in a folder in alphabetical order.
#[cfg(test)]
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_refused_before_anything_comes() {
        let report = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                      some disk 100 40 60 40% /some where\n";
        assert_eq!(free_in(report), Some(60 * 1024));
        assert_eq!(free_in("df: no such folder"), None);
        let room = |free| require_room(Path::new("data"), free, 2_500_000_000, "make room");
        assert!(room(Some(2_500_000_000)).is_ok() && room(None).is_ok());
        let error = synergy_hint::text(&room(Some(1_000_000)).unwrap_err());
        let want = "the disk of `data` has 1.0 MB free, but 2.5 GB are needed\nhint: make room";
        assert_eq!(error, want);
    }

    #[test]
    fn only_one_is_at_work_in_a_folder() {
        let dir = Folder::new("hold");
        let file = dir.0.join("lock");
        let held = hold(&file, "cargo x").unwrap();
        let error = synergy_hint::text(&hold(&file, "cargo x").unwrap_err());
        let want = "another `cargo x` is at work in this folder\nhint: wait until it has finished";
        assert_eq!(error, want);
        drop(held);
        hold(&file, "cargo x").unwrap();
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let dir = Folder::new("replace");
        let folder = dir.0.join("set.v1");
        fs::create_dir_all(folder.join("old")).unwrap();
        let fill = |partial: &Path| Ok(fs::write(partial.join("new"), "abc")?);
        let failed: anyhow::Result<()> = replace_folder(&folder, |partial| {
            fill(partial)?;
            bail!("no more")
        });
        assert!(failed.is_err());
        assert_eq!((names(&dir.0), names(&folder)), (vec!["set.v1".into()], vec!["old".into()]));
        replace_folder(&folder, fill).unwrap();
        assert_eq!((names(&dir.0), names(&folder)), (vec!["set.v1".into()], vec!["new".into()]));
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&folder.join("new")).unwrap(), hash);
        assert!(is_hex(hash, 64) && !is_hex(&hash.to_uppercase(), 64));
    }
}
