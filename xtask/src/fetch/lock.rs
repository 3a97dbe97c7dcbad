//! The lock of fetched data sets and models: TOML, one string a line.
//!
//! Does not know what the keys mean.
//!
//! Decisions:
//! - Read and written with code of our own. xtask stays without dependencies that take long to
//!   compile, and `toml_edit`, which keeps comments, would switch on features of crates below burn,
//!   which would then be compiled once with and once without them. A test reads the lock with
//!   `toml` and compares.
//! - What is written is inserted into the text, so comments and order stay.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

/// From the root.
pub(crate) const PATH: &str = "benchmarks/datasets.lock";

/// One section: `[name]` and its table of files, `[name.sha256]`.
#[derive(Debug)]
pub(super) struct Section {
    name: String,
    keys: BTreeMap<String, String>,
    sha256: BTreeMap<String, String>,
}

/// Reads the lock's text.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn load(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path)
        .with_context(|| format!("failed to read the lock `{}`", path.display()))
}

impl Section {
    /// Reads the section `name` of `lock`. Every key must then be taken.
    ///
    /// # Errors
    /// If there is no such section, or a line of it is not `key = "value"`.
    pub(super) fn read(lock: &str, name: &str) -> anyhow::Result<Section> {
        let keys = table(lock, &key(name))?;
        let keys = keys.with_context(|| format!("the lock has no section `[{name}]`"))?;
        let sha256 = table(lock, &format!("{}.sha256", key(name)))?.unwrap_or_default();
        Ok(Section { name: name.to_owned(), keys, sha256 })
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// If it is not there.
    pub(super) fn take(&mut self, key: &str) -> anyhow::Result<String> {
        let value = self.keys.remove(key);
        value.with_context(|| format!("`[{}]` of the lock has no `{key}`", self.name))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// If something is left that nobody took.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let name = self.name;
        if let Some(key) = self.keys.keys().next() {
            bail!("`[{name}]` of the lock has the unknown key `{key}`");
        }
        ensure!(self.sha256.is_empty(), "`[{name}]` of the lock has the unknown key `sha256`");
        Ok(())
    }
}

/// What only sets with a hash for each file need.
#[cfg(any(test, feature = "hub"))]
impl Section {
    /// The value of `key` if it is there.
    pub(super) fn take_if_there(&mut self, key: &str) -> Option<String> {
        self.keys.remove(key)
    }

    /// The files and their hashes; none where there is no table.
    pub(super) fn take_sha256(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.sha256)
    }
}

/// The text of `lock` with `revision` and the hashes of files added to the section `name`.
///
/// # Errors
/// If there is no such section, or it has a revision already.
#[cfg(any(test, feature = "hub"))]
pub(super) fn pin(
    lock: &str,
    name: &str,
    revision: &str,
    sha256: &BTreeMap<String, String>,
) -> anyhow::Result<String> {
    let mut section = Section::read(lock, name)?;
    ensure!(
        section.take_if_there("revision").is_none() && section.sha256.is_empty(),
        "`[{name}]` of the lock has got a revision meanwhile\nhint: run it again"
    );
    let mut text = String::new();
    let mut pending = None;
    for line in lock.lines() {
        // Behind the section's last key; blank lines and comments after it belong to what follows.
        if line.trim() == format!("[{}]", key(name)) {
            pending = Some(String::new());
        } else if let Some(blanks) = &mut pending {
            if line.trim().starts_with('[') {
                text += &table_text(name, revision, sha256);
                text += &pending.take().unwrap_or_default();
            } else if line.trim().is_empty() || line.starts_with('#') {
                *blanks += line;
                *blanks += "\n";
                continue;
            } else {
                text += &std::mem::take(blanks);
            }
        }
        text += line;
        text += "\n";
    }
    if let Some(blanks) = pending {
        text += &table_text(name, revision, sha256);
        text += &blanks;
    }
    Ok(text)
}

/// Writes the lock: aside and then in its place, so that nobody sees half of it.
///
/// # Errors
/// If it cannot be written.
#[cfg(any(test, feature = "hub"))]
pub(super) fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    let partial = path.with_extension("lock.partial");
    let failed = || format!("failed to write the lock `{}`", path.display());
    fs::write(&partial, text).with_context(failed)?;
    fs::rename(&partial, path).with_context(failed)
}

#[cfg(any(test, feature = "hub"))]
fn table_text(name: &str, revision: &str, sha256: &BTreeMap<String, String>) -> String {
    use std::fmt::Write as _;
    let mut text = format!("revision = \"{revision}\"\n\n[{}.sha256]\n", key(name));
    for (file, hash) in sha256 {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "\"{file}\" = \"{hash}\"");
    }
    text
}

/// A name as TOML has it in a header, where a dot would begin a table within.
fn key(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { format!("\"{name}\"") }
}

/// The lines of one table, if it is there; `name` is as the header has it.
///
/// # Errors
/// If a line of it is not `key = "value"`.
pub(crate) fn table(lock: &str, name: &str) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    let header = format!("[{name}]");
    let mut lines = lock.lines().map(str::trim).skip_while(|line| *line != header);
    if lines.next().is_none() {
        return Ok(None);
    }
    let mut pairs = BTreeMap::new();
    for line in lines.take_while(|line| !line.starts_with('[')) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.split_once(" = ").and_then(|(key, value)| {
            let key = key.strip_prefix('"').map_or(Some(key), |key| key.strip_suffix('"'))?;
            Some((key, value.strip_prefix('"')?.strip_suffix('"')?))
        });
        let (key, value) = pair.with_context(|| format!("not a line of the lock: `{line}`"))?;
        // An escape or a quote would mean something else to other readers.
        ensure!(!line.contains('\\') && !value.contains('"'), "not a line of the lock: `{line}`");
        let is_new = pairs.insert(key.to_owned(), value.to_owned()).is_none();
        ensure!(is_new, "`{header}` of the lock has `{key}` twice");
    }
    Ok(Some(pairs))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fetch::pip::Package;

    const LOCK: &str = include_str!("../../../benchmarks/datasets.lock");

    #[test]
    fn a_lock_with_a_missing_or_an_unknown_key_is_refused() {
        let error = |lock: &str| Package::read(lock, "easy-vqa").unwrap_err().to_string();
        let without = LOCK.replace("\nfiles_sha256 =", "\n# files_sha256 =");
        assert_eq!(error(&without), "`[easy-vqa]` of the lock has no `files_sha256`");
        let with = LOCK.replace("\nversion =", "\nmirror = \"other\"\nversion =");
        assert_eq!(error(&with), "`[easy-vqa]` of the lock has the unknown key `mirror`");
        let twice = LOCK.replace("\nversion =", "\nversion = \"2\"\nversion =");
        assert_eq!(error(&twice), "`[easy-vqa]` of the lock has `version` twice");
        assert_eq!(error("[other]"), "the lock has no section `[easy-vqa]`");
    }

    /// The repository's lock, with nothing locked.
    pub(in crate::fetch) fn unlocked() -> String {
        let mut text = String::new();
        let mut is_table_of_files = false;
        for line in LOCK.lines() {
            if line.starts_with('[') {
                is_table_of_files = line.ends_with(".sha256]");
            }
            // Blank lines and comments behind a table belong to what follows.
            let is_kept = !is_table_of_files || line.is_empty() || line.starts_with('#');
            if is_kept && !line.starts_with("revision = ") {
                text += line;
                text += "\n";
            }
        }
        text
    }

    /// What `toml` reads, as `read_all` gives it.
    fn by_toml(lock: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut tables = BTreeMap::new();
        for (name, table) in lock.parse::<toml::Table>().unwrap() {
            let mut keys = BTreeMap::new();
            for (key, value) in table.as_table().unwrap() {
                match value {
                    toml::Value::String(value) => {
                        keys.insert(key.clone(), value.clone());
                    }
                    toml::Value::Table(files) => {
                        let files = files
                            .iter()
                            .map(|(file, hash)| (file.clone(), hash.as_str().unwrap().to_owned()));
                        tables.insert(format!("{}.{key}", super::key(&name)), files.collect());
                    }
                    other => panic!("`{other}` is no string"),
                }
            }
            tables.insert(super::key(&name), keys);
        }
        tables
    }

    #[track_caller]
    fn check_against_toml(lock: &str) {
        let tables = by_toml(lock);
        assert!(!tables.is_empty());
        for (name, want) in tables {
            assert_eq!(table(lock, &name).unwrap(), Some(want), "{name}");
        }
    }

    #[test]
    fn the_lock_reads_as_toml_does_before_and_after_a_set_is_pinned() {
        check_against_toml(LOCK);
        let lock = &unlocked();
        check_against_toml(lock);
        let revision = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = BTreeMap::from([
            ("README.md".to_owned(), "1".repeat(64)),
            ("data/test-00000-of-00001.parquet".to_owned(), "2".repeat(64)),
        ]);
        // The first, one in the middle and the last of the sets without a revision.
        for name in ["mathvision", "mmmu", "s1k", "qwen2.5-vl-3b", "qwen2.5-vl-7b"] {
            let pinned = pin(lock, name, revision, &sha256).unwrap();
            check_against_toml(&pinned);
            let mut section = Section::read(&pinned, name).unwrap();
            assert_eq!(section.take("revision").unwrap(), revision);
            assert_eq!(section.take_sha256(), sha256);
            let kept: Vec<_> = pinned.lines().collect();
            let mut rest = kept.iter();
            assert!(lock.lines().all(|line| rest.any(|kept| *kept == line)), "a line is lost");
            assert!(pin(&pinned, name, revision, &sha256).is_err());
        }
    }

    #[test]
    fn what_is_added_stands_behind_the_keys_of_its_section() {
        let lock = "# Sets.\n[a]\nhub = \"x/a\"\n\n# The second.\n[b]\nhub = \"x/b\"\n";
        let sha256 = BTreeMap::from([("f".to_owned(), "0".to_owned())]);
        let want = "# Sets.\n[a]\nhub = \"x/a\"\nrevision = \"1\"\n\n[a.sha256]\n\"f\" = \"0\"\n\n\
                    # The second.\n[b]\nhub = \"x/b\"\n";
        assert_eq!(pin(lock, "a", "1", &sha256).unwrap(), want);
        let want = format!("{lock}revision = \"1\"\n\n[b.sha256]\n\"f\" = \"0\"\n");
        assert_eq!(pin(lock, "b", "1", &sha256).unwrap(), want);
    }
}
