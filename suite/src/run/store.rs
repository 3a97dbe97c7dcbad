//! Artifacts addressed by content hash: written aside, flushed, renamed; hashed when written,
//! checked when read.
//!
//! Does not know what an artifact means. One that exists is whole; one that is damaged is an error,
//! never retrained behind one's back. Files are hashed piece by piece, so they may be larger than memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use synergy_hint::{Explain as _, hint};

use crate::key::{Key, listed};

const MANIFEST: &str = "manifest.json";

/// A folder of artifacts.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// An artifact whose files were all what was written when it was opened: a stage that is cached vouches
/// for its weights, though only its summary is read.
#[derive(Debug)]
pub struct Artifact {
    dir: PathBuf,
    names: BTreeSet<String>,
}

/// The right to make an artifact. It ends with this value or with the process, however that ends: the system
/// releases the lock of a file whose process is gone.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Locked as long as it is open.
    _file: fs::File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// What the key is the hash of, for a person who looks.
    depends_on: serde_json::Value,
    /// blake3 of each file.
    files: BTreeMap<String, String>,
}

impl Store {
    /// The store in `dir`, made if it is not there.
    ///
    /// # Errors
    /// If the folder cannot be made or written to.
    pub fn open(dir: &Path) -> Result<Store> {
        let unwritable = || {
            hint!(("cannot write to folder `{}`", dir.display()), "choose another with --runs-dir")
        };
        fs::create_dir_all(dir).explain(unwritable)?;
        let probe = dir.join(".probe");
        fs::write(&probe, b"").explain(unwritable)?;
        fs::remove_file(&probe).explain(unwritable)?;
        Ok(Store { dir: dir.to_owned() })
    }

    /// The store in `dir`, which another process has made: this one only reads it.
    pub fn of_another(dir: &Path) -> Store {
        Store { dir: dir.to_owned() }
    }

    /// Where the pieces of `key` are kept while it is made.
    pub fn journal(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}.journal.jsonl", key.as_str()))
    }

    /// The right to make `key`, if no other process has it.
    ///
    /// # Errors
    /// If the folder cannot be written to or its file system has no locks.
    pub fn try_lock(&self, key: &Key) -> Result<Option<Lock>> {
        let path = self.dir.join(format!("{}.lock", key.as_str()));
        let failed = || {
            hint!(
                ("failed to lock `{}`", path.display()),
                "choose a folder on another file system with --runs-dir"
            )
        };
        let file = fs::File::create(&path).explain(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { path, _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error).explain(failed),
        }
    }

    /// Returns whether `key` is there; says nothing about its health.
    pub fn has(&self, key: &Key) -> bool {
        self.dir.join(key.as_str()).exists()
    }

    /// The files of `key` if it is there, in memory: for those that are small.
    ///
    /// # Errors
    /// If it is there and damaged.
    pub fn get(&self, key: &Key) -> Result<Option<BTreeMap<String, Vec<u8>>>> {
        let Some(artifact) = self.open_artifact(key)? else { return Ok(None) };
        let read = |name: &String| Ok((name.clone(), artifact.read(name)?));
        artifact.names.iter().map(read).collect::<Result<_>>().map(Some)
    }

    /// The artifact `key` if it is there, each of its files checked against its hash.
    ///
    /// # Errors
    /// If it is there and damaged.
    pub fn open_artifact(&self, key: &Key) -> Result<Option<Artifact>> {
        let dir = self.dir.join(key.as_str());
        if !dir.exists() && self.old(key).exists() {
            // Killed between the two renames of a replacement: the old one is whole and counts.
            fs::rename(self.old(key), &dir).explain(|| {
                hint!(
                    ("failed to restore artifact `{}`", dir.display()),
                    "check who owns that folder of --runs-dir"
                )
            })?;
        }
        if !dir.exists() {
            return Ok(None);
        }
        let damaged = |what: &str| {
            hint!(
                ("artifact `{}` is damaged: {what}", dir.display()),
                "delete that folder and run again"
            )
        };
        let text = fs::read_to_string(dir.join(MANIFEST)).explain(|| damaged("no manifest"))?;
        let manifest: Manifest =
            serde_json::from_str(&text).explain(|| damaged("manifest does not parse"))?;
        for (name, hash) in &manifest.files {
            let found = fs::File::open(dir.join(name))
                .and_then(hash_of)
                .explain(|| damaged(&format!("`{name}` is missing")))?;
            if found != *hash {
                bail!(damaged(&format!("`{name}` is not what was written")));
            }
        }
        Ok(Some(Artifact { dir, names: manifest.files.into_keys().collect() }))
    }

    /// Writes an artifact whole, of small files.
    ///
    /// # Errors
    /// If writing fails; nothing that looks finished remains.
    pub fn put(
        &self,
        key: &Key,
        depends_on: &serde_json::Value,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<()> {
        self.put_with(key, depends_on, |dir| {
            files.iter().try_for_each(|(name, bytes)| Ok(fs::write(dir.join(name), bytes)?))
        })
    }

    /// Writes an artifact whole: the files that `write_files` leaves in the folder that it is given, which has
    /// no folders in it.
    ///
    /// # Errors
    /// If writing fails; nothing that looks finished remains.
    pub fn put_with(
        &self,
        key: &Key,
        depends_on: &serde_json::Value,
        write_files: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let dir = self.dir.join(key.as_str());
        let aside = self.dir.join(format!(".{}.{}", key.as_str(), std::process::id()));
        let failed =
            || hint!(("failed to write artifact `{}`", dir.display()), "is the disk full?");
        let write = || -> Result<()> {
            // A killed process of the same number may have left half of another one.
            remove_if_there(&aside)?;
            fs::create_dir_all(&aside)?;
            write_files(&aside)?;
            let mut files = BTreeMap::new();
            for path in listed(&aside)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let file = fs::File::options().read(true).write(true).open(&path)?;
                file.sync_all()?;
                files.insert(name, hash_of(file)?);
            }
            let manifest = Manifest { depends_on: depends_on.clone(), files };
            let manifest = serde_json::to_vec_pretty(&manifest).context("manifest")?;
            write_flushed(&aside.join(MANIFEST), &manifest)?;
            // Moved away before it is taken apart: a kill must not leave half of the old one.
            let old = self.old(key);
            remove_if_there(&old)?;
            if dir.exists() {
                fs::rename(&dir, &old)?;
            }
            fs::rename(&aside, &dir)?;
            Ok(remove_if_there(&old)?)
        };
        // What the system said is enough: the file that a writer names beside it lies in a folder that is gone.
        let plain = |error| synergy_hint::innermost(&error);
        write().map_err(plain).explain(failed).inspect_err(|_| {
            // The error being reported matters more than one in cleaning up after it.
            let _ = fs::remove_dir_all(&aside);
        })
    }

    /// Removes an artifact if it is there, and what a killed process left of it.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<()> {
        let failed = || {
            hint!(
                ("failed to remove artifact `{}`", key.as_str()),
                "check who owns that folder of --runs-dir"
            )
        };
        let leftover = format!(".{}.", key.as_str());
        for entry in fs::read_dir(&self.dir).explain(failed)? {
            let entry = entry.explain(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == key.as_str() || name.starts_with(&leftover) {
                fs::remove_dir_all(entry.path()).explain(failed)?;
            }
        }
        Ok(())
    }

    /// Where the artifact being replaced waits until the new one is in its place.
    fn old(&self, key: &Key) -> PathBuf {
        self.dir.join(format!(".{}.old", key.as_str()))
    }
}

impl Lock {
    /// Ends the right once its artifact is there: whoever locks the removed file, or one made since, finds the artifact.
    ///
    /// # Errors
    /// If the file is there and cannot be removed.
    pub fn remove(self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove `{}`", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

impl Artifact {
    /// Where its files lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Tells whether it has a file `name`.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The file `name`, in memory.
    ///
    /// # Errors
    /// If there is none or it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let lacks = || {
            let dir = self.dir.display();
            hint!(
                "artifact `{dir}` lacks `{name}`",
                "remove that folder; the next run makes it again"
            )
        };
        ensure!(self.has(name), lacks());
        fs::read(self.dir.join(name)).explain(lacks)
    }
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    if dir.exists() { fs::remove_dir_all(dir) } else { Ok(()) }
}

/// blake3 of what `file` holds.
fn hash_of(file: fs::File) -> io::Result<String> {
    Ok(blake3::Hasher::new().update_reader(file)?.finalize().to_hex().to_string())
}

fn write_flushed(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

/// Writes one file so that it is there whole or not at all.
///
/// # Errors
/// If writing fails.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = || {
        hint!(
            ("failed to write `{}`", path.display()),
            "is the folder writable and the disk not full?"
        )
    };
    let name = path.file_name().context("a file has a name")?.to_string_lossy();
    // Two threads may write the same file at once.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let aside = path.with_file_name(format!(".{name}.{}.{number}", std::process::id()));
    let write = || -> Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        write_flushed(&aside, bytes)?;
        Ok(fs::rename(&aside, path)?)
    };
    write().explain(failed).inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn files() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([
            ("a.bin".to_owned(), vec![1, 2, 3]),
            ("b.txt".to_owned(), b"hello".to_vec()),
        ])
    }

    #[test]
    fn a_file_that_many_write_at_once_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        std::thread::scope(|scope| {
            for i in 0..8_u8 {
                let path = &path;
                scope.spawn(move || write_atomic(path, &[i; 5000]).unwrap());
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 5000 && bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn what_was_written_is_read_back_and_a_flipped_bit_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = Key::of(&json!({"x": 1}));
        assert!(store.get(&key).unwrap().is_none());
        store.put(&key, &json!({"x": 1}), &files()).unwrap();
        assert_eq!(store.get(&key).unwrap().unwrap(), files());
        fs::write(dir.path().join(key.as_str()).join("a.bin"), [1, 2, 7]).unwrap();
        let error = synergy_hint::text(&store.get(&key).unwrap_err());
        assert!(
            error.contains("`a.bin` is not what was written") && error.contains("hint: "),
            "{error}"
        );
    }

    #[test]
    fn a_kill_between_two_renames_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = Key::of(&json!(1));
        store.put(&key, &json!(1), &files()).unwrap();
        fs::rename(dir.path().join(key.as_str()), store.old(&key)).unwrap();
        assert_eq!(store.get(&key).unwrap().unwrap(), files());
        fs::create_dir(dir.path().join(format!(".{}.123", key.as_str()))).unwrap();
        store.remove(&key).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_has_the_right_to_make_an_artifact_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        // Two processes differ in nothing that matters here: a lock is one of an open file.
        let [a, b] = [(); 2].map(|()| Store::open(dir.path()).unwrap());
        let key = Key::of(&json!(1));
        let lock = a.try_lock(&key).unwrap().expect("nobody else has it");
        assert!(b.try_lock(&key).unwrap().is_none());
        assert!(b.try_lock(&Key::of(&json!(2))).unwrap().is_some());
        drop(lock);
        let lock = b.try_lock(&key).unwrap().expect("it has ended");
        lock.remove().unwrap();
        assert!(!dir.path().join(format!("{}.lock", key.as_str())).exists());
        assert!(a.try_lock(&key).unwrap().is_some());
        fs::remove_dir_all(dir.path()).unwrap();
        let error = synergy_hint::text(&a.try_lock(&key).unwrap_err());
        assert!(error.contains(".lock`: ") && error.contains("\nhint: "), "{error}");
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let bad = BTreeMap::from([("no/such/folder".to_owned(), vec![1])]);
        store.put(&Key::of(&json!(1)), &json!(1), &bad).unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_read_alone_once_all_have_been_checked() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = Key::of(&json!(1));
        store.put(&key, &json!(1), &files()).unwrap();
        let artifact = store.open_artifact(&key).unwrap().unwrap();
        assert_eq!(artifact.read("b.txt").unwrap(), b"hello");
        let error = synergy_hint::text(&artifact.read("c.txt").unwrap_err());
        assert!(error.contains("` lacks `c.txt`\nhint: remove that folder"), "{error}");
        // Another file than the one that is asked for.
        fs::remove_file(artifact.dir().join("a.bin")).unwrap();
        let error = synergy_hint::text(&store.open_artifact(&key).unwrap_err());
        assert!(
            error.contains("damaged: `a.bin` is missing: ") && error.contains("\nhint: "),
            "{error}"
        );
    }

    #[test]
    fn a_writer_that_fails_says_why_and_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = Key::of(&json!(1));
        store.put(&key, &json!(1), &files()).unwrap();
        let error = store.put_with(&key, &json!(1), |dir| {
            fs::write(dir.join("a.bin"), "half")?;
            let full = io::Error::from(io::ErrorKind::StorageFull);
            Err(full).explain(|| hint!(("failed to write `{}`", dir.display()), "none"))
        });
        let place = dir.path().join(key.as_str());
        assert_eq!(
            synergy_hint::text(&error.unwrap_err()),
            format!(
                "failed to write artifact `{}`: no storage space\nhint: is the disk full?",
                place.display()
            )
        );
        assert_eq!(store.get(&key).unwrap().unwrap(), files());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_does_not_join_the_next_artifact() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = Key::of(&json!(1));
        let left = dir.path().join(format!(".{}.{}", key.as_str(), std::process::id()));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half.bin"), "half").unwrap();
        store.put(&key, &json!(1), &files()).unwrap();
        assert_eq!(store.get(&key).unwrap().unwrap(), files());
        assert!(!dir.path().join(key.as_str()).join("half.bin").exists());
    }
}
