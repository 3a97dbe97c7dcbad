//! The lock of fetched data sets and models: TOML, a section for each.
//!
//! Does not know what the keys mean.
//!
//! Decision: what is written is inserted into the text, so that comments and order stay. `toml_edit`, which keeps them
//! as well, would switch on features of crates below burn, which would then be compiled once with and once without
//! them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde::de::DeserializeOwned;

use crate::files::unread;

/// The lock's path from the root.
pub(crate) const PATH: &str = "benchmarks/datasets.lock";

/// Reads the lock's text.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn load(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| unread(path))
}

/// Reads the TOML of a lock.
///
/// # Errors
/// If it is not TOML, a key is repeated, or the values do not fit `T`.
pub(crate) fn parse<T: DeserializeOwned>(lock: &str) -> anyhow::Result<T> {
    toml::from_str(lock).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = lock.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
        anyhow!("line {line} of the lock is invalid: {}", error.message())
    })
}

/// Reads the section `name` of the lock.
///
/// # Errors
/// If there is no such section, or it lacks a key or has an unknown one.
pub(super) fn section<T: DeserializeOwned>(lock: &str, name: &str) -> anyhow::Result<T> {
    let mut sections: toml::Table = parse(lock)?;
    let section = sections.remove(name);
    let section = section.with_context(|| format!("the lock has no section `[{name}]`"))?;
    section.try_into().map_err(|error| {
        anyhow!("the section `[{name}]` of the lock is invalid: {}", error.message())
    })
}

/// Adds `revision` and the hashes of files to the text of the section `name`.
///
/// # Errors
/// If there is no such section, or it has a revision already.
#[cfg(any(test, feature = "hub"))]
pub(super) fn pin(
    lock: &str,
    name: &str,
    revision: &str,
    sha256: &std::collections::BTreeMap<String, String>,
) -> anyhow::Result<String> {
    let section: toml::Table = section(lock, name)?;
    anyhow::ensure!(
        !section.contains_key("revision") && !section.contains_key("sha256"),
        synergy_hint::Hinted::new(
            format!("another command has added a revision to `[{name}]` of the lock meanwhile"),
            "run it again"
        )
    );
    // A dot in a bare name would begin a table within.
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let key = if is_bare { name.to_owned() } else { format!("\"{name}\"") };
    let lines: Vec<&str> = lock.lines().collect();
    let header = lines.iter().position(|line| line.trim() == format!("[{key}]"));
    let header =
        header.with_context(|| format!("`[{key}]` does not stand on a line of its own"))?;
    // Blank lines and comments behind the last key belong to the next section.
    let is_entry = |line: &&&str| !line.trim().is_empty() && !line.starts_with('#');
    let rest = lines[header + 1..].iter().take_while(|line| !line.trim().starts_with('['));
    let num_entries =
        rest.enumerate().filter(|(_, line)| is_entry(line)).last().map_or(0, |(at, _)| at + 1);
    let (before, after) = lines.split_at(header + 1 + num_entries);
    let table = format!("revision = \"{revision}\"\n\n[{key}.sha256]");
    let hashes: Vec<_> =
        sha256.iter().map(|(file, hash)| format!("\"{file}\" = \"{hash}\"")).collect();
    let added = std::iter::once(&table).chain(&hashes).map(String::as_str);
    let all = before.iter().copied().chain(added).chain(after.iter().copied());
    Ok(all.flat_map(|line| [line, "\n"]).collect())
}

/// Writes the lock: first beside it, then in its place, so that nobody reads half of it.
///
/// # Errors
/// If it cannot be written.
#[cfg(any(test, feature = "hub"))]
pub(super) fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    let partial = path.with_extension("lock.partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("failed to write the lock `{}`", path.display()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fetch::pip::Package;

    const LOCK: &str = include_str!("../../../benchmarks/datasets.lock");

    #[test]
    fn a_lock_with_a_missing_an_unknown_or_a_repeated_key_is_refused() {
        let error = |lock: &str| section::<Package>(lock, "easy-vqa").unwrap_err().to_string();
        let without = error(&LOCK.replace("\nfiles_sha256 =", "\n# files_sha256 ="));
        assert!(
            without.contains("`[easy-vqa]`") && without.contains("`files_sha256`"),
            "{without}"
        );
        let with = error(&LOCK.replace("\nversion =", "\nmirror = \"other\"\nversion ="));
        assert!(with.contains("unknown field `mirror`"), "{with}");
        let twice = error(&LOCK.replacen("\nversion =", "\nversion = \"2\"\nversion =", 1));
        assert!(twice.starts_with("line 9 of the lock is invalid: duplicate key"), "{twice}");
        assert_eq!(error("[other]"), "the lock has no section `[easy-vqa]`");
    }

    /// Returns the repository's lock with nothing locked.
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

    #[test]
    fn a_pinned_lock_has_the_revision_and_loses_nothing() {
        let lock = &unlocked();
        let revision = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = BTreeMap::from([
            ("README.md".to_owned(), "1".repeat(64)),
            ("data/test-00000-of-00001.parquet".to_owned(), "2".repeat(64)),
        ]);
        // The first, one in the middle and the last of the sets without a revision.
        for name in ["mathvision", "mmmu", "s1k", "qwen2.5-vl-3b", "qwen2.5-vl-7b", "study-merged"]
        {
            let pinned = pin(lock, name, revision, &sha256).unwrap();
            let mut want: toml::Table = parse(lock).unwrap();
            let section = want[name].as_table_mut().unwrap();
            section.insert("revision".to_owned(), revision.into());
            section.insert("sha256".to_owned(), toml::Value::try_from(&sha256).unwrap());
            assert_eq!(parse::<toml::Table>(&pinned).unwrap(), want);
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
