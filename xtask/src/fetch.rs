//! Fetches published data sets into `data/`, through pip's own client.
//!
//! Does not know what is in a set: `benchmarks/datasets.lock` says what comes and what it hashes to,
//! `synergy_benchmarks::datasets` reads it.
//!
//! Decisions:
//! - pip, not a download of ours: its index, proxies, certificates and cache are set up once per
//!   machine, and no address stands in our code.
//! - Python hashes and unpacks as well. It is needed for pip anyway, and xtask stays without
//!   dependencies that take long to compile.
//! - The lock holds two hashes: of the package, checked before it is unpacked, and of the files that
//!   are kept, checked before they get their name and whenever somebody asks.
//! - A set exists only when it is whole: unpacked aside, checked, renamed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::ValueEnum;

use crate::files;
use crate::process;

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

/// What is kept of the unpacked package, and its name in the set's folder.
const KEPT: [(&str, &str); 4] = [
    ("easy_vqa/data/train", "train"),
    ("easy_vqa/data/test", "test"),
    ("easy_vqa/data/answers.txt", "answers.txt"),
    ("easy_vqa-1.0.dist-info/LICENSE", "LICENSE"),
];

/// A published data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dataset {
    /// EasyVQA 1.0: 5 000 pictures of one shape each, 48 248 questions, MIT
    EasyVqa,
}

impl Dataset {
    /// Its section in the lock and its folder in `data/`.
    fn name(self) -> &'static str {
        match self {
            Dataset::EasyVqa => "easy-vqa",
        }
    }
}

/// One section of `benchmarks/datasets.lock`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Locked {
    /// The package's name and version in the index.
    package: String,
    version: String,
    /// The file that pip saves and its SHA-256.
    file: String,
    sha256: String,
    /// The SHA-256 over the files kept, as [`HASH_FOLDER`] computes it.
    files_sha256: String,
    license: String,
    rows: String,
}

/// Fetches `dataset` unless it is there; with `check` only says whether it is there and whole.
/// Exit code 0 if it is, 1 if `check` finds that it is not.
///
/// # Errors
/// Without Python and pip, without an index that has the package, on a hash other than the lock's,
/// or if `data/` cannot be written.
pub(crate) fn run(root: &Path, dataset: Dataset, check: bool) -> anyhow::Result<ExitCode> {
    let lock_path = root.join("benchmarks").join("datasets.lock");
    let lock = fs::read_to_string(&lock_path)
        .with_context(|| format!("failed to read the lock `{}`", lock_path.display()))?;
    let locked = parse(&lock, dataset.name())?;
    let data = root.join("data");
    let folder = data.join(dataset.name());
    let python = python(&["python3", "python"])?;

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
            println!("hint: run `cargo xtask fetch {}`", dataset.name());
        }
        return Ok(process::exit_code(!whole));
    }
    if there {
        println!("`{}` differs from the lock and is fetched again", folder.display());
    }

    println!("fetching {} {} with pip", locked.package, locked.version);
    let download = data.join(".download");
    fs::create_dir_all(&download)
        .with_context(|| format!("failed to create the folder `{}`", download.display()))?;
    let result = pip_download(python, &locked, &download)
        .and_then(|()| install(python, &locked, &download.join(&locked.file), &folder));
    remove_folder(&download)?;
    result?;
    println!("{}; license {}, kept beside it", locked.rows, locked.license);
    println!("{:.1} MB in `{}`", files::bytes_below(&folder)? as f64 / 1e6, folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Has pip save the locked version's file in `download`.
fn pip_download(python: &str, locked: &Locked, download: &Path) -> anyhow::Result<()> {
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
fn install(python: &str, locked: &Locked, package: &Path, folder: &Path) -> anyhow::Result<()> {
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
    let result = keep(python, package, &unpacked, &kept).and_then(|()| {
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

/// Unpacks `package` into `unpacked` and moves what is kept of it into `kept`.
fn keep(python: &str, package: &Path, unpacked: &Path, kept: &Path) -> anyhow::Result<()> {
    let arguments = ["-m".as_ref(), "zipfile".as_ref(), "-e".as_ref(), package.as_os_str()];
    ask(python, arguments.into_iter().chain([unpacked.as_os_str()]))
        .with_context(|| format!("failed to unpack `{}`", package.display()))?;
    fs::create_dir_all(kept)
        .with_context(|| format!("failed to create the folder `{}`", kept.display()))?;
    for (from, to) in KEPT {
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

/// The first of `names` that is Python 3 with pip.
fn python(names: &[&'static str]) -> anyhow::Result<&'static str> {
    let with_pip =
        |name: &&&str| ask(name, ["-m", "pip", "--version"].map(OsStr::new).into_iter()).is_ok();
    names.iter().find(with_pip).copied().ok_or_else(|| {
        anyhow!(
            "no Python with pip was found (tried `{}`)\nhint: install Python 3 with pip; only \
             `cargo xtask fetch` needs it",
            names.join("`, `")
        )
    })
}

/// What one of the hashing scripts prints for `path`.
fn hash(python: &str, script: &str, path: &Path) -> anyhow::Result<String> {
    ask(python, ["-c".as_ref(), script.as_ref(), path.as_os_str()].into_iter())
        .with_context(|| format!("failed to hash `{}`", path.display()))
}

/// Runs Python and returns what it prints, or the last line of its complaint as the error.
fn ask<'a>(python: &str, arguments: impl Iterator<Item = &'a OsStr>) -> anyhow::Result<String> {
    let output = Command::new(python)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to start `{python}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.lines().last().unwrap_or("Python gave no reason"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
            .with_context(|| format!("failed to remove the folder `{}`", folder.display())),
        _ => Ok(()),
    }
}

/// Reads one section of the lock: a TOML table of strings on one line each. All keys are needed and
/// no others are known.
fn parse(lock: &str, section: &str) -> anyhow::Result<Locked> {
    let header = format!("[{section}]");
    let mut lines = lock.lines().map(str::trim).skip_while(|line| *line != header);
    ensure!(lines.next().is_some(), "the lock has no section `{header}`");
    let mut pairs = Vec::new();
    for line in lines.take_while(|line| !line.starts_with('[')) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line
            .split_once(" = ")
            .and_then(|(key, value)| Some((key, value.strip_prefix('"')?.strip_suffix('"')?)));
        pairs.push(pair.with_context(|| format!("not a line of the lock: `{line}`"))?);
    }
    let mut take = |key: &str| {
        let at = pairs.iter().position(|(found, _)| *found == key);
        let at = at.with_context(|| format!("`{header}` of the lock has no `{key}`"))?;
        anyhow::Ok(pairs.swap_remove(at).1.to_owned())
    };
    let locked = Locked {
        package: take("package")?,
        version: take("version")?,
        file: take("file")?,
        sha256: take("sha256")?,
        files_sha256: take("files_sha256")?,
        license: take("license")?,
        rows: take("rows")?,
    };
    if let Some((key, _)) = pairs.first() {
        bail!("`{header}` of the lock has the unknown key `{key}`");
    }
    Ok(locked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = include_str!("../../benchmarks/datasets.lock");

    /// A folder of its own for one test, gone at the end.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("synergy-fetch-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn every_data_set_is_locked() {
        for dataset in Dataset::value_variants() {
            let locked = parse(LOCK, dataset.name()).unwrap();
            for hash in [&locked.sha256, &locked.files_sha256] {
                assert!(hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}");
            }
        }
    }

    #[test]
    fn a_lock_with_a_missing_or_an_unknown_key_is_refused() {
        let error = |lock: &str| parse(lock, "easy-vqa").unwrap_err().to_string();
        let without = LOCK.replace("\nfiles_sha256 =", "\n# files_sha256 =");
        assert_eq!(error(&without), "`[easy-vqa]` of the lock has no `files_sha256`");
        let with = format!("{LOCK}\nmirror = \"other\"\n");
        assert_eq!(error(&with), "`[easy-vqa]` of the lock has the unknown key `mirror`");
        assert_eq!(error("[other]"), "the lock has no section `[easy-vqa]`");
    }

    #[test]
    fn without_python_the_cause_and_a_hint_are_said() {
        let error = python(&["no-such-python"]).unwrap_err().to_string();
        assert!(error.contains("`no-such-python`") && error.contains("\nhint: "), "{error}");
    }

    /// A package in the shape of the real one, as small as can be; needs Python.
    fn package(python: &str, dir: &Path) -> std::path::PathBuf {
        for (from, to) in KEPT {
            let path = dir.join(from);
            let path = if to.contains('.') || to == "LICENSE" { path } else { path.join("x.json") };
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
        let Ok(python) = python(&["python3", "python"]) else {
            println!("not tested: there is no Python with pip");
            return;
        };
        let dir = Folder::new("install");
        let wheel = package(python, &dir.0.join("source"));
        let folder = dir.0.join("easy-vqa");
        let mut locked = parse(LOCK, "easy-vqa").unwrap();

        // The package has the right hash, the files in it have not.
        locked.sha256 = hash(python, HASH_FILE, &wheel).unwrap();
        let error = install(python, &locked, &wheel, &folder).unwrap_err().to_string();
        assert!(error.contains("the unpacked files has SHA-256"), "{error}");
        let names = |dir: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&dir.0), ["source"], "something half-done was left");

        // Both are right, and an older folder is replaced.
        let found = error.split_whitespace().find(|word| word.len() >= 64).unwrap();
        locked.files_sha256 = found.trim_end_matches(',').to_owned();
        fs::create_dir_all(folder.join("old")).unwrap();
        install(python, &locked, &wheel, &folder).unwrap();
        assert_eq!(names(&dir.0), ["easy-vqa", "source"]);
        assert_eq!(names(&folder), ["LICENSE", "answers.txt", "test", "train"]);

        // A package with another hash is thrown away before it is unpacked.
        fs::write(&wheel, "not a package").unwrap();
        let error = install(python, &locked, &wheel, &folder).unwrap_err().to_string();
        assert!(error.contains(&locked.sha256) && error.contains("\nhint: "), "{error}");
        assert!(!wheel.exists());
        assert_eq!(names(&folder), ["LICENSE", "answers.txt", "test", "train"]);
    }
}
