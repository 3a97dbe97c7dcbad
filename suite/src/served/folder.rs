//! Folders of weights on the way to a server: each is gone with its owner, and those of killed processes with the next.
//!
//! Does not know what is in them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use synergy_hint::{Explain as _, hint};

/// A folder that goes with its owner.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// Makes the folder `path` and writes `files` into it, by their names.
    ///
    /// # Errors
    /// If the disk does not take them; nothing is left then.
    pub(super) fn with<'a>(
        path: PathBuf,
        files: impl IntoIterator<Item = (&'a str, impl AsRef<[u8]>)>,
    ) -> Result<Folder> {
        let folder = Folder(path);
        let unwritten = || {
            hint!(
                ("failed to write `{}`", folder.0.display()),
                "is the disk full, or the folder of runs not yours?"
            )
        };
        fs::create_dir_all(&folder.0).explain(unwritten)?;
        for (name, bytes) in files {
            fs::write(folder.0.join(name), bytes).explain(unwritten)?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in the way of nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes weights that processes have left in `dir` which were killed.
pub(super) fn forget_dead(dir: &Path) {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    // Where there is no list of processes, nobody knows who is dead.
    let is_dead =
        |id: &str| Path::new("/proc/self").exists() && !Path::new("/proc").join(id).exists();
    for process in entries(dir).filter(|entry| is_dead(&entry.file_name().to_string_lossy())) {
        for entry in entries(&process.path()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("model-") || name.starts_with("adapter-") {
                drop(Folder(entry.path()));
            }
        }
    }
}
