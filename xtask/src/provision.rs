//! Gets libtorch out of the wheels of PyTorch and NVIDIA, with pip's own client, checked against `xtask/libtorch.lock`.
//!
//! Does not know who builds with it.
//!
//! Decisions:
//! - pip, and Python to hash and unpack, as for data sets (`fetch/pip.rs`). Which Python runs does not matter: pip is
//!   asked for the tags of the locked file.
//! - It exists only when it is whole: put together aside and renamed. Two lists lie beside the libraries, in the form
//!   of `sha256sum`: the wheels it came from, which say in no time whether it is the lock's, and every file.
//! - A wheel that has come whole stays until the end, so that an interrupted command goes on with the next one.
//! - Of the wheel for x86_64 without CUDA only what needs no CUDA is kept: torch-sys links `libtorch_cuda.so` wherever
//!   it lies. `libtorch.so` itself is only a name for the others and asks for CUDA, so a linker script takes its
//!   place.

use std::fmt::Write as _;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use super::{Flavor, PROVISIONED, VERSION};
use crate::fetch::lock;
use crate::files::{bytes_below, bytes_free, remove_folder, size};
use crate::python::{self, ask};
use crate::{process, synergy};

/// From the root.
const LOCK: &str = "xtask/libtorch.lock";

/// The lists beside the libraries.
const WHEELS: &str = "wheels.sha256";
const FILES: &str = "files.sha256";

/// In place of the `libtorch.so` that asks for CUDA.
const LINKER_SCRIPT: &str = "/* The wheel's own asks for CUDA. */\n\
                             INPUT ( libtorch_cpu.so libc10.so )\n";

/// What a build needs, below `torch`.
const NEEDED: [&str; 2] = ["build-version", "include/torch/csrc/api/include/torch/torch.h"];

/// Prints the SHA-256 of one file.
const HASH_FILE: &str = "import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], 'rb') as file:
    while chunk := file.read(1 << 20):
        digest.update(chunk)
print(digest.hexdigest())";

/// Prints the names in a wheel.
const LIST: &str = "import sys, zipfile
for info in zipfile.ZipFile(sys.argv[1]).infolist():
    if not info.is_dir():
        print(info.filename)";

/// Unpacks the files named on standard input and prints their SHA-256 and names.
const UNPACK: &str = "import hashlib, pathlib, sys, zipfile
names = sys.stdin.read().splitlines()
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in names:
        path = pathlib.Path(sys.argv[2], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with wheel.open(name) as source, open(path, 'wb') as file:
            while chunk := source.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
        print(f'{digest.hexdigest()}  {name}')";

/// Prints the files of a list that are not what it says.
const VERIFY: &str = "import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
for line in (root / sys.argv[2]).read_text().splitlines():
    want, name = line.split('  ', 1)
    digest = hashlib.sha256()
    try:
        with open(root / name, 'rb') as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError:
        print(f'{name} is missing')
        continue
    if digest.hexdigest() != want:
        print(f'{name} has changed')";

/// One file of the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wheel {
    file: String,
    sha256: String,
}

impl Wheel {
    /// Name, version, and the tags of Python, its interface and the platforms.
    fn parts(&self) -> anyhow::Result<[&str; 5]> {
        let parts: Option<Vec<_>> =
            self.file.strip_suffix(".whl").map(|name| name.split('-').collect());
        parts
            .and_then(|parts| parts.try_into().ok())
            .with_context(|| format!("not the name of a wheel: `{}`", self.file))
    }

    /// What pip is asked for: this very version, none with a local suffix that another index may have, and the tags
    /// of this file.
    fn request(&self) -> anyhow::Result<Vec<String>> {
        let [name, version, python, abi, platforms] = self.parts()?;
        // A wheel for any Python 3 is one for this as well.
        let python = match python.strip_prefix("cp3") {
            Some(minor) => format!("3.{minor}"),
            None => "3.11".to_owned(),
        };
        let mut request = vec!["--implementation".to_owned(), "cp".to_owned()];
        request.extend(["--python-version".to_owned(), python, "--abi".to_owned(), abi.to_owned()]);
        for platform in platforms.split('.') {
            request.extend(["--platform".to_owned(), platform.to_owned()]);
        }
        request.push(format!("{}==={version}", name.replace('_', "-")));
        Ok(request)
    }
}

/// What the lock has for one platform and flavor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Locked {
    platform: String,
    flavor: Flavor,
    wheels: Vec<Wheel>,
}

impl Locked {
    /// Reads the table of `platform` and `flavor`.
    ///
    /// # Errors
    /// If there is none, or it is not one of wheels.
    fn read(lock: &str, platform: &str, flavor: Flavor) -> anyhow::Result<Locked> {
        let table = lock::table(lock, &format!("{platform}.{}", flavor.name()))?;
        let table = table.with_context(|| {
            let way = match flavor {
                Flavor::Cuda => "`--flavor cpu` may be there; for another",
                Flavor::Cpu => "for one of your own",
            };
            format!(
                "no wheels with flavor `{}` are locked for `{platform}` (`{LOCK}`)\nhint: {way}, install \
                 libtorch {VERSION} and set LIBTORCH to its folder",
                flavor.name()
            )
        })?;
        let wheels: Vec<_> =
            table.into_iter().map(|(file, sha256)| Wheel { file, sha256 }).collect();
        for wheel in &wheels {
            wheel.parts()?;
            let is_hash = wheel.sha256.len() == 64
                && wheel.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            ensure!(is_hash, "not a SHA-256 in the lock: `{}`", wheel.sha256);
        }
        Ok(Locked { platform: platform.to_owned(), flavor, wheels })
    }

    /// The list of wheels that lies beside the libraries.
    fn list(&self) -> String {
        let mut text = String::new();
        for Wheel { file, sha256 } in &self.wheels {
            // Writing into a text cannot fail.
            let _ = writeln!(text, "{sha256}  {file}");
        }
        text
    }

    /// Whether torch's wheel has CUDA in it that must not be linked.
    fn leaves_cuda_out(&self) -> bool {
        self.flavor == Flavor::Cpu && self.platform == "linux-x86_64"
    }

    /// `torch 2.9.0, nvidia-cublas-cu12 12.8.4.1`
    fn told(&self) -> anyhow::Result<String> {
        let mut all = Vec::new();
        // torch first: it is last in the alphabet.
        for wheel in self.wheels.iter().rev() {
            let [name, version, ..] = wheel.parts()?;
            all.push(format!("{} {version}", name.replace('_', "-")));
        }
        Ok(all.join(", "))
    }

    /// Room that is needed at most, in bytes. Measured on x86_64 with a pip that keeps no cache were 1.8 GB for
    /// the CPU and 10.6 GB with CUDA; pip's cache can take the wheels' 0.9 and 3.9 GB again.
    fn room(&self) -> u64 {
        match (self.flavor, self.platform.as_str()) {
            (Flavor::Cuda, _) => 16_000_000_000,
            (Flavor::Cpu, "linux-x86_64") => 3_000_000_000,
            (Flavor::Cpu, _) => 1_000_000_000,
        }
    }
}

/// As the lock names it.
fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Provisions `flavor` unless it is there; with `check` only says whether it is there and whole.
/// Exit code 0 if it is, 1 if `check` finds that it is not.
///
/// # Errors
/// Without wheels for this platform in the lock, Python with pip, or an index that has them; on another hash than the
/// lock's; without room on the disk.
pub(super) fn run(root: &Path, flavor: Flavor, check: bool) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let locked = Locked::read(&lock::load(&root.join(LOCK))?, &platform(), flavor)?;
    let folder = flavor.folder(root);
    let of_lock = fs::read_to_string(folder.join(WHEELS)).is_ok_and(|list| list == locked.list());
    if check {
        return verify(&locked, &folder, of_lock);
    }
    if of_lock {
        println!("libtorch {VERSION} ({}) is there, in `{}`", flavor.name(), folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    if folder.is_dir() {
        println!("`{}` is not the lock's and is made again", folder.display());
    }

    let download = root.join("data/.download/libtorch");
    for folder in [&root.join(PROVISIONED), &download] {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create the folder `{}`", folder.display()))?;
    }
    // Held until this process ends, however it ends.
    let lock = fs::File::create(download.join("lock")).context("failed to create a lock")?;
    // A disk that knows no locks is no reason to refuse.
    let is_held = matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock));
    ensure!(!is_held, "another `cargo xtask libtorch` is at work here\nhint: wait for it");
    let python = python::with_pip(python::NAMES)?;
    // Of a command that was interrupted.
    remove_folder(&download.join("unfinished"))?;
    let missing = missing(python, &locked, &download)?;
    let there = bytes_below(&download)?;
    require_room(&download, bytes_free(&download), locked.room().saturating_sub(there))?;
    for (number, wheel) in missing.iter().enumerate() {
        eprintln!("wheel {} of {}: {}", number + 1, missing.len(), wheel.file);
        pip_download(python, wheel, &download)?;
        let path = download.join(&wheel.file);
        let found = hash(python, &path)?;
        if found != wheel.sha256 {
            fs::remove_file(&path)
                .with_context(|| format!("failed to remove `{}`", path.display()))?;
            bail!(
                "{} has SHA-256 {found}, the lock says {}\nhint: run it again; if it stays so, the \
                 published package has changed and must not be trusted",
                wheel.file,
                wheel.sha256
            );
        }
    }
    eprintln!("unpacking");
    install(python, &locked, &download, &folder)?;
    remove_folder(&download)?;
    println!("{} ({})", locked.told()?, flavor.name());
    println!(
        "{} in `{}`, after {}",
        size(bytes_below(&folder)?),
        folder.display(),
        synergy::clock(start.elapsed().as_secs())
    );
    println!(
        "hint: `--device {}` computes with it",
        if flavor == Flavor::Cuda { "cuda" } else { "libtorch" }
    );
    Ok(ExitCode::SUCCESS)
}

/// Says whether `folder` is there and every file as it was unpacked.
fn verify(locked: &Locked, folder: &Path, of_lock: bool) -> anyhow::Result<ExitCode> {
    let changed = if of_lock {
        let python = python::with_pip(python::NAMES)?;
        let arguments = ["-c".as_ref(), VERIFY.as_ref(), folder.as_os_str(), FILES.as_ref()];
        ask(python, arguments.into_iter())
            .with_context(|| format!("failed to check `{}`", folder.display()))?
    } else if folder.is_dir() {
        "it is not of the wheels in the lock".to_owned()
    } else {
        "it is not there".to_owned()
    };
    if changed.is_empty() {
        println!("libtorch is there and whole, in `{}`", folder.display());
        println!("{}", locked.told()?);
        return Ok(ExitCode::SUCCESS);
    }
    let num_more = changed.lines().count() - 1;
    let more = if num_more > 0 { format!(" (and {num_more} more)") } else { String::new() };
    let first = changed.lines().next().unwrap_or_default();
    println!("`{}`: {first}{more}", folder.display());
    let again = if of_lock { "remove the folder and run" } else { "run" };
    println!("hint: {again} `cargo xtask libtorch --flavor {}`", locked.flavor.name());
    Ok(process::exit_code(true))
}

/// The wheels that did not come whole in an earlier command; what came in part is removed.
fn missing(python: &str, locked: &Locked, download: &Path) -> anyhow::Result<Vec<Wheel>> {
    let mut missing = Vec::new();
    for wheel in &locked.wheels {
        let path = download.join(&wheel.file);
        if path.exists() {
            if hash(python, &path)? == wheel.sha256 {
                continue;
            }
            fs::remove_file(&path)
                .with_context(|| format!("failed to remove `{}`", path.display()))?;
        }
        missing.push(wheel.clone());
    }
    Ok(missing)
}

fn require_room(folder: &Path, free: Option<u64>, needed: u64) -> anyhow::Result<()> {
    match free {
        Some(free) if free < needed => bail!(
            "the disk of `{}` has {} free, {} are needed\nhint: make room",
            folder.display(),
            size(free),
            size(needed)
        ),
        _ => Ok(()),
    }
}

/// Has pip save `wheel` in `download`.
fn pip_download(python: &str, wheel: &Wheel, download: &Path) -> anyhow::Result<()> {
    let unfinished = download.join("unfinished");
    fs::create_dir_all(&unfinished)
        .with_context(|| format!("failed to create the folder `{}`", unfinished.display()))?;
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]);
    command.args(["--only-binary", ":all:", "--retries", "5", "--timeout", "60"]);
    let version = ask(python, ["-m", "pip", "--version"].map(std::ffi::OsStr::new).into_iter())?;
    if goes_on(&version) {
        command.args(["--resume-retries", "20"]);
    }
    // A wheel of a gigabyte takes minutes, which a person wants to see; a log does not.
    let is_watched = std::io::stdout().is_terminal();
    command.args(if is_watched { &["--progress-bar", "on"][..] } else { &["--quiet"] });
    command.arg("--dest").arg(download).args(wheel.request()?);
    // On the disk that was found to have room.
    command.env("TMPDIR", &unfinished);
    command.stdout(if is_watched { Stdio::inherit() } else { Stdio::null() });
    command.stderr(Stdio::piped());
    let output = command
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("failed to start `{python}`"))?;
    remove_folder(&unfinished)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let cause = said.lines().rev().find(|line| !line.trim().is_empty());
        bail!(
            "failed to download `{}` with pip: {}\nhint: `{python} -m pip --version` must work, and pip needs \
             the network or an index set up in its configuration; run it again, what has come is kept",
            wheel.file,
            cause.unwrap_or("it gave no reason")
        );
    }
    let came = download.join(&wheel.file).is_file();
    ensure!(came, "pip saved another file than `{}`\nhint: see pip's configuration", wheel.file);
    Ok(())
}

/// Whether pip can go on with a download that broke: since 25.1.
fn goes_on(said: &str) -> bool {
    let version = said.split_whitespace().nth(1).unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (25, 1)
}

/// Puts the libraries together beside `folder` and gives them its name when they are whole.
fn install(python: &str, locked: &Locked, download: &Path, folder: &Path) -> anyhow::Result<()> {
    let partial = folder.with_extension("partial");
    remove_folder(&partial)?;
    let result = assemble(python, locked, download, &partial).and_then(|()| {
        remove_folder(folder)?;
        fs::rename(&partial, folder)
            .with_context(|| format!("failed to create the folder `{}`", folder.display()))
    });
    // Whatever happened, nothing half-done stays.
    remove_folder(&partial)?;
    result
}

fn assemble(python: &str, locked: &Locked, download: &Path, partial: &Path) -> anyhow::Result<()> {
    let mut list = String::new();
    for wheel in &locked.wheels {
        list += &unpack(python, locked, &download.join(&wheel.file), partial)
            .with_context(|| format!("failed to unpack `{}`", wheel.file))?;
    }
    let mut written = vec![("torch/build-version", VERSION)];
    if locked.leaves_cuda_out() {
        written.push(("torch/lib/libtorch.so", LINKER_SCRIPT));
    }
    for (name, text) in written {
        let path = partial.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
        // Writing into a text cannot fail.
        let _ = writeln!(list, "{}  {name}", hash(python, &path)?);
    }
    let torch = partial.join("torch");
    for name in NEEDED {
        ensure!(torch.join(name).is_file(), "the wheels hold no `torch/{name}`");
    }
    let lib = torch.join("lib");
    ensure!(super::core_library(&lib).is_some(), "the wheels hold no library for the CPU");
    let has_cuda = lib.join("libtorch_cuda.so").is_file();
    ensure!(has_cuda == (locked.flavor == Flavor::Cuda), "the wheels are of another flavor");
    for (name, text) in [(FILES, list), (WHEELS, locked.list())] {
        let path = partial.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    Ok(())
}

/// Unpacks what is kept of `wheel` into `folder`; returns the list of it.
fn unpack(python: &str, locked: &Locked, wheel: &Path, folder: &Path) -> anyhow::Result<String> {
    let arguments = ["-c".as_ref(), LIST.as_ref(), wheel.as_os_str()];
    let names = ask(python, arguments.into_iter())?;
    let kept: Vec<_> = names.lines().filter(|name| is_kept(locked, name)).collect();
    ensure!(!kept.is_empty(), "it holds nothing that is kept");
    let mut child = Command::new(python)
        .args(["-c", UNPACK])
        .args([wheel, folder])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{python}`"))?;
    let told = child.stdin.take().map(|mut stdin| stdin.write_all(kept.join("\n").as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.lines().last().unwrap_or("Python gave no reason"));
    }
    told.transpose().context("failed to tell Python what is kept")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the file called `name` in a wheel is kept.
fn is_kept(locked: &Locked, name: &str) -> bool {
    let parts: Vec<_> = name.split('/').collect();
    // Nothing may be written elsewhere.
    if parts.iter().any(|part| matches!(*part, "" | "." | "..") || part.contains(['\\', ':', '\n']))
    {
        return false;
    }
    match parts[..] {
        ["torch", "include", ..] => true,
        // Not Python's own: it would ask for Python's library.
        ["torch", "lib", file] if locked.flavor == Flavor::Cpu => {
            // What came with CUDA is named for it and left out.
            let stem = file.split('.').next().unwrap_or_default();
            let is_core = ["libtorch_cpu", "libtorch_global_deps", "libc10", "libshm"];
            let is_threads = stem == "libomp" || stem.starts_with("libgomp");
            is_core.contains(&stem) || is_threads || stem == "libtorch" && !locked.leaves_cuda_out()
        }
        ["torch", "lib", ..] => locked.flavor == Flavor::Cuda,
        // Where auditwheel puts libraries of the system.
        ["torch.libs", _] => true,
        ["nvidia", _, "lib", file] => !file.ends_with(".py"),
        [info, .., file] if info.ends_with(".dist-info") => {
            let file = file.to_lowercase();
            file.starts_with("license") || file.starts_with("notice")
        }
        _ => false,
    }
}

fn hash(python: &str, path: &Path) -> anyhow::Result<String> {
    ask(python, ["-c".as_ref(), HASH_FILE.as_ref(), path.as_os_str()].into_iter())
        .with_context(|| format!("failed to hash `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Folder, names};

    const LOCKED: &str = include_str!("../../libtorch.lock");
    const TABLES: [(&str, Flavor); 4] = [
        ("linux-x86_64", Flavor::Cpu),
        ("linux-x86_64", Flavor::Cuda),
        ("linux-aarch64", Flavor::Cpu),
        ("macos-aarch64", Flavor::Cpu),
    ];

    #[test]
    fn every_table_of_the_lock_is_read_and_has_the_torch_that_tch_wants() {
        for (platform, flavor) in TABLES {
            let locked = Locked::read(LOCKED, platform, flavor).unwrap();
            let torch = locked.wheels.last().unwrap().parts().unwrap();
            assert_eq!(torch[..2], ["torch", VERSION]);
            // One hash for each file, whatever the flavor.
            for wheel in &locked.wheels {
                assert_eq!(
                    LOCKED.matches(&wheel.file).count(),
                    LOCKED.matches(&wheel.sha256).count()
                );
            }
        }
        let num_tables = LOCKED.lines().filter(|line| line.starts_with('[')).count();
        assert_eq!(num_tables, TABLES.len());
        let lock: toml::Table = LOCKED.parse().unwrap();
        let cuda = Locked::read(LOCKED, "linux-x86_64", Flavor::Cuda).unwrap();
        let by_toml = lock["linux-x86_64"]["cuda"].as_table().unwrap();
        assert_eq!(by_toml.len(), cuda.wheels.len());
        assert!(
            cuda.wheels.iter().all(|wheel| by_toml[&wheel.file].as_str() == Some(&wheel.sha256))
        );
        assert!(cuda.told().unwrap().starts_with("torch 2.9.0, nvidia-nvtx-cu12 12.8.90, "));
    }

    #[test]
    fn what_is_not_locked_and_what_is_no_lock_is_refused() {
        let error = |lock: &str, platform: &str, flavor| {
            format!("{:#}", Locked::read(lock, platform, flavor).unwrap_err())
        };
        let said = error(LOCKED, "linux-riscv64", Flavor::Cpu);
        assert!(said.contains("`linux-riscv64`") && said.contains("\nhint: for one"), "{said}");
        let said = error(LOCKED, "macos-aarch64", Flavor::Cuda);
        assert!(
            said.contains("flavor `cuda`") && said.contains("\nhint: `--flavor cpu`"),
            "{said}"
        );
        let hash = "0".repeat(64);
        let said = error(&format!("[a.cpu]\n\"torch.whl\" = \"{hash}\""), "a", Flavor::Cpu);
        assert_eq!(said, "not the name of a wheel: `torch.whl`");
        let said = error("[a.cpu]\n\"torch-2-cp311-none-any.whl\" = \"12\"", "a", Flavor::Cpu);
        assert_eq!(said, "not a SHA-256 in the lock: `12`");
    }

    #[test]
    fn pip_is_asked_for_the_very_file_whatever_python_runs() {
        let request = |file: &str| {
            let wheel = Wheel { file: file.to_owned(), sha256: String::new() };
            wheel.request().unwrap().join(" ")
        };
        assert_eq!(
            request("torch-2.9.0-cp311-none-macosx_11_0_arm64.whl"),
            "--implementation cp --python-version 3.11 --abi none --platform macosx_11_0_arm64 \
             torch===2.9.0"
        );
        let two = request(
            "nvidia_nvtx_cu12-12.8.90-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        );
        assert!(two.contains("--python-version 3.11 --abi none --platform manylinux2014_x86_64 "));
        assert!(
            two.ends_with("--platform manylinux_2_17_x86_64 nvidia-nvtx-cu12===12.8.90"),
            "{two}"
        );
    }

    #[test]
    fn what_pip_can_do_is_told_by_its_version() {
        assert!(!goes_on("pip 23.2.1 from somewhere (python 3.11)"));
        assert!(!goes_on("pip 25.0 from somewhere") && !goes_on("no pip"));
        assert!(goes_on("pip 25.1 from somewhere") && goes_on("pip 26.3.1 from somewhere"));
    }

    #[test]
    fn only_what_the_flavor_needs_is_kept() {
        let [x86, cuda, arm, mac] =
            TABLES.map(|(platform, flavor)| Locked::read(LOCKED, platform, flavor).unwrap());
        #[track_caller]
        fn check(locked: &Locked, name: &str, want: bool) {
            assert_eq!(is_kept(locked, name), want, "{name} for {locked:?}");
        }
        for locked in [&x86, &cuda, &arm, &mac] {
            for name in [
                "torch/include/torch/csrc/api/include/torch/torch.h",
                "torch/lib/libtorch_cpu.so",
                "torch/lib/libc10.dylib",
                "torch/lib/libgomp.so.1",
                "torch.libs/libgfortran-e1b7dfc8.so.5.0.0",
                "nvidia/cuda_runtime/lib/libcudart.so.12",
                "torch-2.9.0.dist-info/licenses/LICENSE",
                "nvidia_nvtx_cu12-12.8.90.dist-info/License.txt",
            ] {
                check(locked, name, true);
            }
            for name in [
                "torch/nn/modules/module.py",
                "torch/bin/protoc",
                "torch-2.9.0.dist-info/RECORD",
                "nvidia/cuda_runtime/include/cuda.h",
                "nvidia/cuda_runtime/lib/__init__.py",
                "torch/lib/../../../x",
                "/torch/lib/libc10.so",
                "torch/include/a\\..\\b",
            ] {
                check(locked, name, false);
            }
            for name in [
                "torch/lib/libtorch_cuda.so",
                "torch/lib/libtorch_python.so",
                "torch/lib/libshm/CMakeLists.txt",
            ] {
                check(locked, name, *locked == cuda);
            }
        }
        check(&x86, "torch/lib/libtorch.so", false);
        check(&cuda, "torch/lib/libtorch.so", true);
        check(&arm, "torch/lib/libtorch.so", true);
        check(&mac, "torch/lib/libtorch.dylib", true);
    }

    /// A wheel in the shape of the real one; gives its hash.
    fn wheel(python: &str, download: &Path, file: &str, contents: &[&str]) -> Wheel {
        let source = download.join("source");
        for name in contents {
            let path = source.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let mut command = Command::new(python);
        command.args(["-m", "zipfile", "-c", &format!("../{file}")]).current_dir(&source);
        command.args(names(&source));
        assert!(command.status().unwrap().success());
        remove_folder(&source).unwrap();
        Wheel { file: file.to_owned(), sha256: hash(python, &download.join(file)).unwrap() }
    }

    #[test]
    fn libraries_appear_whole_or_not_at_all() {
        let Ok(python) = python::with_pip(python::NAMES) else {
            println!("not tested: there is no Python with pip");
            return;
        };
        let dir = Folder::new("libtorch-install");
        let torch = |contents: &[&str]| {
            wheel(python, &dir.0, "torch-2.9.0-cp311-cp311-manylinux_2_28_x86_64.whl", contents)
        };
        let header = "torch/include/torch/csrc/api/include/torch/torch.h";
        let nvidia = wheel(
            python,
            &dir.0,
            "nvidia_a-1-py3-none-any.whl",
            &["nvidia/a/lib/liba.so", "nvidia/a/include/a.h", "nvidia/__init__.py"],
        );
        let both =
            ["torch/lib/libtorch.so", "torch/lib/libtorch_cpu.so", "torch/lib/libtorch_cuda.so"];
        let all = [&both[..], &["torch/_C.py", header]].concat();
        let mut locked = Locked {
            platform: "linux-x86_64".to_owned(),
            flavor: Flavor::Cpu,
            wheels: vec![nvidia, torch(&all[..4])],
        };
        let folder = dir.0.join("cpu");
        let wheels = names(&dir.0);

        // A wheel without headers, then one that is no archive.
        let error = install(python, &locked, &dir.0, &folder).unwrap_err().to_string();
        assert_eq!(error, format!("the wheels hold no `{header}`"));
        assert_eq!(names(&dir.0), wheels, "something half-done was left");
        fs::write(dir.0.join(&locked.wheels[1].file), "no archive").unwrap();
        let error = format!("{:#}", install(python, &locked, &dir.0, &folder).unwrap_err());
        assert!(error.contains("failed to unpack") && error.contains("BadZipFile"), "{error}");
        assert_eq!(names(&dir.0), wheels, "something half-done was left");
        // It is not taken for one that has come whole, and does not stay.
        let missing = missing(python, &locked, &dir.0).unwrap();
        assert_eq!(missing, [locked.wheels[1].clone()]);
        assert!(!dir.0.join(&missing[0].file).exists());

        // A whole one takes the place of an older folder.
        locked.wheels[1] = torch(&all);
        fs::create_dir_all(folder.join("old")).unwrap();
        install(python, &locked, &dir.0, &folder).unwrap();
        assert_eq!(names(&folder), [FILES, "nvidia", "torch", WHEELS]);
        assert_eq!(names(&folder.join("torch")), ["build-version", "include", "lib"]);
        assert_eq!(names(&folder.join("torch/lib")), ["libtorch.so", "libtorch_cpu.so"]);
        let script = fs::read_to_string(folder.join("torch/lib/libtorch.so")).unwrap();
        assert_eq!(script, LINKER_SCRIPT);
        assert_eq!(fs::read_to_string(folder.join(WHEELS)).unwrap(), locked.list());
        let say = |of_lock| verify(&locked, &folder, of_lock).unwrap();
        assert_eq!(say(true), ExitCode::SUCCESS);
        assert_eq!(say(false), ExitCode::from(1));
        fs::write(folder.join("torch/lib/libtorch_cpu.so"), "changed").unwrap();
        assert_eq!(say(true), ExitCode::from(1));

        // With CUDA all of the libraries stay as they are.
        let cuda = Locked { flavor: Flavor::Cuda, ..locked };
        let folder = dir.0.join("cuda");
        install(python, &cuda, &dir.0, &folder).unwrap();
        let lib = folder.join("torch/lib");
        assert_eq!(names(&lib), ["libtorch.so", "libtorch_cpu.so", "libtorch_cuda.so"]);
        assert_eq!(fs::read_to_string(lib.join("libtorch.so")).unwrap(), both[0]);
    }

    #[test]
    fn too_little_room_is_told_beforehand() {
        let folder = Path::new("data");
        assert!(
            require_room(folder, Some(10), 10).is_ok() && require_room(folder, None, 10).is_ok()
        );
        let error = require_room(folder, Some(1_000_000), 2_500_000_000).unwrap_err().to_string();
        assert_eq!(error, "the disk of `data` has 1.0 MB free, 2.5 GB are needed\nhint: make room");
    }
}
