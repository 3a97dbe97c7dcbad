//! `cargo xtask libtorch`: gets libtorch out of the wheels of PyTorch and NVIDIA, checked against `xtask/libtorch.lock`.
//!
//! Does not know who builds with it.
//!
//! Decisions:
//! - It exists only when it is whole: put together beside its place and renamed. Two lists lie beside the libraries, in
//!   the form of `sha256sum`: the wheels it came from, which show at once whether it is the lock's, and every file.
//! - A wheel that has come whole stays until the end, so that an interrupted command continues with the next one.
//! - Of the wheel for x86_64 without CUDA only what needs no CUDA is kept: torch-sys links `libtorch_cuda.so` wherever
//!   it lies. `libtorch.so` itself is only a name for the others and asks for CUDA, so a linker script takes its
//!   place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use synergy_hint::Hint as _;

use crate::fetch::lock;
use crate::files::{
    bytes_below, bytes_free, create_folder, hold, is_hex, remove_folder, replace_folder,
    require_room, sha256, unread,
};
use crate::libtorch::{self, Flavor, Found, PROVISIONED, Source, VERSION, core_library};
use crate::units::{clock, size};
use crate::wheel::Wheel;
use crate::{process, python};

/// The lock's path from the root.
const LOCK: &str = "xtask/libtorch.lock";

/// The lists beside the libraries.
const WHEELS: &str = "wheels.sha256";
const FILES: &str = "files.sha256";

/// Stands in place of the `libtorch.so` that asks for CUDA.
const LINKER_SCRIPT: &str = "/* The wheel's own asks for CUDA. */\n\
                             INPUT ( libtorch_cpu.so libc10.so )\n";

/// Files below `torch` that a build needs.
const NEEDED: [&str; 2] = ["build-version", "include/torch/csrc/api/include/torch/torch.h"];

/// The wheels in the lock for one platform and flavor.
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
    /// If it is missing, or a file or hash in it is invalid.
    fn read(lock: &str, platform: &str, flavor: Flavor) -> anyhow::Result<Locked> {
        type Flavors = BTreeMap<String, BTreeMap<String, String>>;
        let mut platforms: BTreeMap<String, Flavors> = lock::parse(lock)?;
        let table = platforms.remove(platform).and_then(|mut all| all.remove(flavor.name()));
        let table = table
            .with_context(|| {
                let flavor = flavor.name();
                format!("no wheels with flavor `{flavor}` are locked for `{platform}` (`{LOCK}`)")
            })
            .hint(match flavor {
                Flavor::Cuda => format!(
                    "try `--flavor cpu`, or install libtorch {VERSION} yourself and set LIBTORCH to its folder"
                ),
                Flavor::Cpu => {
                    format!("install libtorch {VERSION} yourself and set LIBTORCH to its folder")
                }
            })?;
        let wheels: Vec<_> =
            table.into_iter().map(|(file, sha256)| Wheel { file, sha256 }).collect();
        for wheel in &wheels {
            wheel.parts()?;
            ensure!(is_hex(&wheel.sha256, 64), "`{}` in the lock is not a SHA-256", wheel.sha256);
        }
        Ok(Locked { platform: platform.to_owned(), flavor, wheels })
    }

    /// Writes the list of wheels that lies beside the libraries.
    fn list(&self) -> String {
        self.wheels.iter().map(|wheel| format!("{}  {}\n", wheel.sha256, wheel.file)).collect()
    }

    /// Returns whether torch's wheel has CUDA in it that must not be linked.
    fn leaves_cuda_out(&self) -> bool {
        self.flavor == Flavor::Cpu && self.platform == "linux-x86_64"
    }

    /// Names the packages and their versions: `torch 2.9.0, nvidia-cublas-cu12 12.8.4.1`.
    ///
    /// # Errors
    /// If a file does not have the name of a wheel.
    fn packages(&self) -> anyhow::Result<String> {
        let mut all = Vec::new();
        // torch first: it is last in the alphabet.
        for wheel in self.wheels.iter().rev() {
            let [name, version, ..] = wheel.parts()?;
            all.push(format!("{} {version}", name.replace('_', "-")));
        }
        Ok(all.join(", "))
    }

    /// Returns the room that is needed at most, in bytes. Measured on x86_64 with a pip that keeps no cache were 1.8 GB
    /// for the CPU and 10.6 GB with CUDA; pip's cache can take the wheels' 0.9 and 3.9 GB again.
    fn room(&self) -> u64 {
        match (self.flavor, self.platform.as_str()) {
            (Flavor::Cuda, _) => 16_000_000_000,
            (Flavor::Cpu, "linux-x86_64") => 3_000_000_000,
            (Flavor::Cpu, _) => 1_000_000_000,
        }
    }
}

/// Provisions libtorch, unless the user has one of their own and names no flavor; with `check` only reports whether it
/// is there and whole. The exit code is 0 if it is, 1 if `check` finds that it is not.
///
/// # Errors
/// If the user's variables lead nowhere; if the lock has no wheels for this platform, Python with pip is missing, the
/// index lacks the wheels, a hash differs from the lock's, or the disk is full.
pub(crate) fn run(root: &Path, flavor: Option<Flavor>, check: bool) -> anyhow::Result<ExitCode> {
    let flavor = match (flavor, libtorch::environment(root)) {
        (Some(flavor), found) => {
            if let Ok(Some(found)) = found
                && !matches!(found.source, Source::Provisioned(_))
            {
                println!("a build uses {}, not what this command provisions", found.describe());
            }
            flavor
        }
        (None, found) => match found? {
            None => Flavor::Cpu,
            Some(Found { source: Source::Provisioned(flavor), .. }) => flavor,
            Some(own) => {
                println!("a build uses {}: nothing needs to be provisioned", own.describe());
                if !own.fits() {
                    println!("tch needs libtorch {VERSION} and will refuse it");
                }
                println!("hint: `--flavor cpu` or `--flavor cuda` provisions one nevertheless");
                return Ok(process::exit_code(!own.fits()));
            }
        },
    };
    provision(root, flavor, check)
}

fn provision(root: &Path, flavor: Flavor, check: bool) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let locked = Locked::read(&lock::load(&root.join(LOCK))?, &platform, flavor)?;
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
        println!("`{}` differs from the lock and is made again", folder.display());
    }

    let download = root.join("data/.download/libtorch");
    create_folder(&root.join(PROVISIONED))?;
    create_folder(&download)?;
    let _held = hold(&download.join("lock"), "cargo xtask libtorch")?;
    let python = python::with_pip(python::NAMES)?;
    // What an interrupted command left.
    remove_folder(&download.join("unfinished"))?;
    let missing = missing(&locked, &download)?;
    let there = bytes_below(&download)?;
    let needed = locked.room().saturating_sub(there);
    require_room(&download, bytes_free(&download), needed, "make room")?;
    for (number, wheel) in missing.iter().enumerate() {
        eprintln!("wheel {} of {}: {}", number + 1, missing.len(), wheel.file);
        wheel.download(python, &download)?;
    }
    eprintln!("unpacking");
    replace_folder(&folder, |partial| assemble(&locked, &download, partial))?;
    remove_folder(&download)?;
    println!("{} ({})", locked.packages()?, flavor.name());
    let (bytes, seconds) = (bytes_below(&folder)?, start.elapsed().as_secs());
    println!("{} in `{}`, after {}", size(bytes), folder.display(), clock(seconds));
    let device = if flavor == Flavor::Cuda { "cuda" } else { "libtorch" };
    println!("hint: `--device {device}` computes with it");
    Ok(ExitCode::SUCCESS)
}

/// Reports whether `folder` is there and every file is as it was unpacked.
fn verify(locked: &Locked, folder: &Path, of_lock: bool) -> anyhow::Result<ExitCode> {
    let changed = if of_lock {
        changed(folder)?
    } else if folder.is_dir() {
        vec!["it was not made from the wheels in the lock".to_owned()]
    } else {
        vec!["it is not there".to_owned()]
    };
    let Some((first, others)) = changed.split_first() else {
        println!("libtorch is there and whole, in `{}`", folder.display());
        println!("{}", locked.packages()?);
        return Ok(ExitCode::SUCCESS);
    };
    let num_more = others.len();
    let more = if num_more > 0 { format!(" (and {num_more} more)") } else { String::new() };
    println!("`{}`: {first}{more}", folder.display());
    let again = if of_lock { "remove the folder and run" } else { "run" };
    println!("hint: {again} `cargo xtask libtorch --flavor {}`", locked.flavor.name());
    Ok(process::exit_code(true))
}

/// Compares every file in `folder` with the list beside it; returns a line for each that differs.
fn changed(folder: &Path) -> anyhow::Result<Vec<String>> {
    let path = folder.join(FILES);
    let list = fs::read_to_string(&path).with_context(|| unread(&path))?;
    let mut changed = Vec::new();
    for line in list.lines() {
        let (want, name) = line
            .split_once("  ")
            .with_context(|| format!("`{}` has the invalid line `{line}`", path.display()))?;
        match sha256(&folder.join(name)) {
            Ok(found) if found == want => {}
            Ok(_) => changed.push(format!("{name} has changed")),
            Err(_) => changed.push(format!("{name} is missing")),
        }
    }
    Ok(changed)
}

/// Lists the wheels that did not come whole in an earlier command; what came in part is removed.
fn missing(locked: &Locked, download: &Path) -> anyhow::Result<Vec<Wheel>> {
    let mut missing = Vec::new();
    for wheel in &locked.wheels {
        if !wheel.is_in(download)? {
            missing.push(wheel.clone());
        }
    }
    Ok(missing)
}

/// Puts the libraries together in `folder`, with the two lists.
fn assemble(locked: &Locked, download: &Path, folder: &Path) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        create_folder(path.parent().unwrap_or(folder))?;
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))
    };
    let mut files = Vec::new();
    for wheel in &locked.wheels {
        let place = |name: &str| is_kept(locked, name).then(|| name.to_owned());
        files.extend(wheel.unpack(download, folder, place)?);
    }
    let mut written = vec![("torch/build-version", VERSION)];
    if locked.leaves_cuda_out() {
        written.push(("torch/lib/libtorch.so", LINKER_SCRIPT));
    }
    for (name, text) in written {
        write(name, text)?;
        files.push((name.to_owned(), sha256(&folder.join(name))?));
    }
    let torch = folder.join("torch");
    for name in NEEDED {
        ensure!(torch.join(name).is_file(), "the wheels hold no `torch/{name}`");
    }
    let lib = torch.join("lib");
    ensure!(core_library(&lib).is_some(), "the wheels hold no library for the CPU");
    let has_cuda = lib.join("libtorch_cuda.so").is_file();
    ensure!(has_cuda == (locked.flavor == Flavor::Cuda), "the wheels are of another flavor");
    let mut list = String::new();
    for (name, hash) in files {
        // Writing into a text cannot fail.
        let _ = writeln!(list, "{hash}  {name}");
    }
    write(FILES, &list)?;
    write(WHEELS, &locked.list())
}

/// Returns whether the file called `name` in a wheel is kept.
fn is_kept(locked: &Locked, name: &str) -> bool {
    match name.split('/').collect::<Vec<_>>()[..] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Folder, names};
    use crate::wheel;

    const LOCK_TEXT: &str = include_str!("../libtorch.lock");
    const TABLES: [(&str, Flavor); 4] = [
        ("linux-x86_64", Flavor::Cpu),
        ("linux-x86_64", Flavor::Cuda),
        ("linux-aarch64", Flavor::Cpu),
        ("macos-aarch64", Flavor::Cpu),
    ];

    #[test]
    fn every_table_of_the_lock_is_read_and_has_the_torch_that_tch_wants() {
        for (platform, flavor) in TABLES {
            let locked = Locked::read(LOCK_TEXT, platform, flavor).unwrap();
            let torch = locked.wheels.last().unwrap().parts().unwrap();
            assert_eq!(torch[..2], ["torch", VERSION]);
            // One hash for each file, whatever the flavor.
            for wheel in &locked.wheels {
                assert_eq!(
                    LOCK_TEXT.matches(&wheel.file).count(),
                    LOCK_TEXT.matches(&wheel.sha256).count()
                );
            }
        }
        let num_tables = LOCK_TEXT.lines().filter(|line| line.starts_with('[')).count();
        assert_eq!(num_tables, TABLES.len());
        let cuda = Locked::read(LOCK_TEXT, "linux-x86_64", Flavor::Cuda).unwrap();
        assert!(cuda.packages().unwrap().starts_with("torch 2.9.0, nvidia-nvtx-cu12 12.8.90, "));
    }

    #[test]
    fn what_is_not_locked_and_what_is_no_lock_is_refused() {
        let error = |lock: &str, platform: &str, flavor| {
            synergy_hint::text(&Locked::read(lock, platform, flavor).unwrap_err())
        };
        let said = error(LOCK_TEXT, "linux-riscv64", Flavor::Cpu);
        assert!(
            said.contains("`linux-riscv64`") && said.contains("\nhint: install libtorch"),
            "{said}"
        );
        let said = error(LOCK_TEXT, "macos-aarch64", Flavor::Cuda);
        assert!(
            said.contains("flavor `cuda`") && said.contains("\nhint: try `--flavor cpu`"),
            "{said}"
        );
        let hash = "0".repeat(64);
        let said = error(&format!("[a.cpu]\n\"torch.whl\" = \"{hash}\""), "a", Flavor::Cpu);
        assert_eq!(said, "`torch.whl` is not the name of a wheel");
        let said = error("[a.cpu]\n\"torch-2-cp311-none-any.whl\" = \"12\"", "a", Flavor::Cpu);
        assert_eq!(said, "`12` in the lock is not a SHA-256");
    }

    #[test]
    fn only_what_the_flavor_needs_is_kept() {
        let [x86, cuda, arm, mac] =
            TABLES.map(|(platform, flavor)| Locked::read(LOCK_TEXT, platform, flavor).unwrap());
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

    #[test]
    fn libraries_appear_whole_or_not_at_all() {
        let dir = Folder::new("libtorch-install");
        let torch = |contents: &[&str]| {
            wheel::write(&dir.0, "torch-2.9.0-cp311-cp311-manylinux_2_28_x86_64.whl", contents)
        };
        let header = "torch/include/torch/csrc/api/include/torch/torch.h";
        let nvidia = wheel::write(
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
        let install =
            |locked: &Locked| replace_folder(&folder, |partial| assemble(locked, &dir.0, partial));
        let wheels = names(&dir.0);

        // A wheel without headers, then one that is no archive.
        let error = install(&locked).unwrap_err().to_string();
        assert_eq!(error, format!("the wheels hold no `{header}`"));
        assert_eq!(names(&dir.0), wheels, "something half-done was left");
        fs::write(dir.0.join(&locked.wheels[1].file), "no archive").unwrap();
        let error = format!("{:#}", install(&locked).unwrap_err());
        assert!(error.contains("failed to unpack `torch-2.9.0-"), "{error}");
        assert_eq!(names(&dir.0), wheels, "something half-done was left");
        // It is not taken for one that has come whole, and does not stay.
        let missing = missing(&locked, &dir.0).unwrap();
        assert_eq!(missing, [locked.wheels[1].clone()]);
        assert!(!dir.0.join(&missing[0].file).exists());

        // A whole one takes the place of an older folder.
        locked.wheels[1] = torch(&all);
        fs::create_dir_all(folder.join("old")).unwrap();
        install(&locked).unwrap();
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
        replace_folder(&folder, |partial| assemble(&cuda, &dir.0, partial)).unwrap();
        let lib = folder.join("torch/lib");
        assert_eq!(names(&lib), ["libtorch.so", "libtorch_cpu.so", "libtorch_cuda.so"]);
        assert_eq!(fs::read_to_string(lib.join("libtorch.so")).unwrap(), both[0]);
    }
}
