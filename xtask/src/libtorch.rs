//! libtorch, PyTorch's C++ libraries: which one a build with the cargo feature `libtorch` takes, and what such a build
//! must be given. `cargo xtask libtorch` provisions one (`provision`).
//!
//! Does not know what is computed with it: devices but for their names are the suite's to judge.
//!
//! Decisions:
//! - The user's own comes first: the variables `LIBTORCH` and `LIBTORCH_USE_PYTORCH` of torch-sys, then what was
//!   provisioned, with CUDA before without. torch-sys looks at `LIBTORCH_USE_PYTORCH` first; whoever names a folder
//!   means it, so a build is then given the folder alone.
//! - Binaries of the suite have the folder of the libraries written into them (`suite/build.rs`); tests of other crates,
//!   which have no build script, are given it in the loader's path.
//! - Nobody gets libtorch unasked: without `--device` it is taken only where it can compute on a GPU, and torch-sys
//!   never downloads its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;

use crate::{process, python};

mod provision;

/// What torch-sys 0.22 links and checks for.
pub(crate) const VERSION: &str = "2.9.0";

/// Where provisioned ones are, from the root; git ignores it.
const PROVISIONED: &str = "data/libtorch";

/// The variable in which the loader looks for libraries.
const LOADER_PATH: &str =
    if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// Prints where the interpreter's PyTorch is and its version, without the seconds that importing it takes.
const FIND_PYTORCH: &str = "import importlib.util, pathlib, re, sys
spec = importlib.util.find_spec('torch')
if spec is None:
    sys.exit('it is not installed')
folder = pathlib.Path(spec.origin).parent
version = re.search(r'^__version__\\s*=\\s*.(\\d[\\w.]*)', (folder / 'version.py').read_text(), re.M)
print(folder)
print(version.group(1))";

/// What the library can compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavor {
    /// Without CUDA: 520 MB, for which x86_64 Linux downloads 900 and others 100
    Cpu,
    /// With CUDA 12.8, for NVIDIA GPUs: 6.2 GB, on x86_64 Linux only
    Cuda,
}

impl Flavor {
    /// Its table in the lock and its folder.
    fn name(self) -> &'static str {
        match self {
            Flavor::Cpu => "cpu",
            Flavor::Cuda => "cuda",
        }
    }

    fn folder(self, root: &Path) -> PathBuf {
        root.join(PROVISIONED).join(self.name())
    }
}

/// Whose library it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The folder in the user's variable `LIBTORCH`.
    Variable,
    /// PyTorch of the active Python, by the user's variable `LIBTORCH_USE_PYTORCH`.
    Pytorch,
    Provisioned(Flavor),
}

/// A library, and what a build with it must be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) source: Source,
    /// The folder of the libraries.
    pub(crate) lib: PathBuf,
    /// Where it could be told.
    pub(crate) version: Option<String>,
    pub(crate) has_cuda: bool,
    /// What is set, or taken away.
    variables: Vec<(&'static str, Option<OsString>)>,
}

impl Found {
    /// Gives `command` what it needs to build with this library and to run what was built.
    pub(crate) fn give_to(&self, command: &mut Command) {
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }

    /// Whether torch-sys accepts it; a version that could not be told it does not check either.
    pub(crate) fn fits(&self) -> bool {
        self.version.as_deref().is_none_or(|version| version == VERSION)
    }

    /// `libtorch 2.9.0 with CUDA in … (LIBTORCH)`
    pub(crate) fn told(&self) -> String {
        let version = self.version.as_deref().unwrap_or("of an unknown version");
        let cuda = if self.has_cuda { "with CUDA" } else { "without CUDA" };
        let whose = match self.source {
            Source::Variable => " (LIBTORCH)",
            Source::Pytorch => " (LIBTORCH_USE_PYTORCH)",
            Source::Provisioned(_) => "",
        };
        format!("libtorch {version} {cuda} in `{}`{whose}", self.lib.display())
    }
}

/// What a build with the feature `libtorch` must be given; nothing if there is no libtorch.
///
/// # Errors
/// If the user's variables lead nowhere.
pub(crate) fn environment(root: &Path) -> anyhow::Result<Option<Found>> {
    find(root, |name| std::env::var_os(name), pytorch)
}

/// What a build for the device called `device` must be given; nothing if it is one without libtorch.
///
/// # Errors
/// If the device needs a libtorch that is not there.
pub(crate) fn for_device(root: &Path, device: Option<&str>) -> anyhow::Result<Option<Found>> {
    match device {
        None | Some("auto") => {
            let found = environment(root).unwrap_or_else(|error| {
                // A build without it needs none.
                eprintln!("{}", format!("libtorch is not used: {error:#}").replace('\n', "; "));
                None
            });
            Ok(found.filter(|found| found.has_cuda && !gpus().is_empty()))
        }
        Some(device) if device == "libtorch" || device.starts_with("cuda") => {
            chosen(device, environment(root)?).map(Some)
        }
        Some(_) => Ok(None),
    }
}

/// `found` if it can be `device`.
fn chosen(device: &str, found: Option<Found>) -> anyhow::Result<Found> {
    let wants_cuda = device != "libtorch";
    match found {
        Some(found) if found.has_cuda || !wants_cuda => Ok(found),
        Some(found) => {
            let way = match found.source {
                Source::Provisioned(_) => "cargo xtask libtorch --flavor cuda",
                Source::Variable => "point LIBTORCH to one with CUDA, or unset it",
                Source::Pytorch => "install PyTorch with CUDA, or unset LIBTORCH_USE_PYTORCH",
            };
            bail!("the device `{device}` needs CUDA, but there is {}\nhint: {way}", found.told())
        }
        None => {
            let flavor = if wants_cuda { " --flavor cuda" } else { "" };
            bail!(
                "the device `{device}` needs libtorch, and there is none\n\
                 hint: cargo xtask libtorch{flavor}"
            )
        }
    }
}

/// Looks for a library in the order of the module's first decision.
fn find(
    root: &Path,
    variable: impl Fn(&str) -> Option<OsString>,
    pytorch: impl FnOnce(&str) -> anyhow::Result<(PathBuf, String)>,
) -> anyhow::Result<Option<Found>> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let mut variables = Vec::new();
    let (source, lib, version) = if let Some(folder) = set("LIBTORCH") {
        // As torch-sys reads them.
        let lib = PathBuf::from(set("LIBTORCH_LIB").unwrap_or_else(|| folder.clone())).join("lib");
        let folder = PathBuf::from(folder);
        if core_library(&lib).is_none() {
            bail!(
                "the variable LIBTORCH is set, but there is no libtorch in `{}`\n\
                 hint: unset it for one of `cargo xtask libtorch`",
                lib.display()
            );
        }
        variables.push(("LIBTORCH_USE_PYTORCH", None));
        variables.push(("LIBTORCH", Some(folder.clone().into_os_string())));
        (Source::Variable, lib, version_of(&folder))
    } else if let Some(value) = variable("LIBTORCH_USE_PYTORCH") {
        // Set to anything, as torch-sys reads it, and with the interpreter that torch-sys asks.
        let interpreter = if set("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
        let (folder, version) = pytorch(interpreter).map_err(|cause| {
            anyhow!(
                "the variable LIBTORCH_USE_PYTORCH is set, but `{interpreter}` has no PyTorch: {cause:#}\n\
                 hint: unset it for one of `cargo xtask libtorch`"
            )
        })?;
        variables.push(("LIBTORCH_USE_PYTORCH", Some(value)));
        (Source::Pytorch, folder.join("lib"), Some(version))
    } else {
        let there = |flavor: &Flavor| flavor.folder(root).is_dir();
        let Some(flavor) = [Flavor::Cuda, Flavor::Cpu].into_iter().find(there) else {
            return Ok(None);
        };
        let folder = flavor.folder(root).join("torch");
        variables.push(("LIBTORCH", Some(folder.clone().into_os_string())));
        (Source::Provisioned(flavor), folder.join("lib"), version_of(&folder))
    };
    let rest = variable(LOADER_PATH);
    let paths = rest.iter().flat_map(std::env::split_paths);
    let joined = std::env::join_paths(std::iter::once(lib.clone()).chain(paths))
        .with_context(|| format!("the loader cannot be told of `{}`", lib.display()))?;
    variables.push((LOADER_PATH, Some(joined)));
    let has_cuda = lib.join("libtorch_cuda.so").exists();
    Ok(Some(Found { source, lib, version, has_cuda, variables }))
}

/// The library that every libtorch has.
fn core_library(lib: &Path) -> Option<PathBuf> {
    ["libtorch_cpu.so", "libtorch_cpu.dylib", "libtorch_cpu.a"]
        .map(|name| lib.join(name))
        .into_iter()
        .find(|path| path.exists())
}

/// The version without its build, `2.9.0` of `2.9.0+cu128`, where the folder says it.
fn version_of(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("build-version")).ok()?;
    Some(text.trim().split('+').next().unwrap_or_default().to_owned())
}

/// The folder and the version of the PyTorch that `interpreter` would import.
fn pytorch(interpreter: &str) -> anyhow::Result<(PathBuf, String)> {
    let said = python::ask(interpreter, ["-c", FIND_PYTORCH].map(OsStr::new).into_iter())?;
    let lines = said.split_once('\n').context("it does not say where")?;
    Ok((PathBuf::from(lines.0.trim()), lines.1.trim().to_owned()))
}

/// Provisions libtorch, unless the user has one of their own and names no flavor; with `check` only says whether it
/// is there and whole. Exit code 0 if it is, 1 if `check` finds that it is not.
///
/// # Errors
/// If the user's variables lead nowhere, or as `provision::run`.
pub(crate) fn run(root: &Path, flavor: Option<Flavor>, check: bool) -> anyhow::Result<ExitCode> {
    let flavor = match (flavor, environment(root)) {
        (Some(flavor), found) => {
            if let Ok(Some(found)) = found
                && !matches!(found.source, Source::Provisioned(_))
            {
                println!("a build takes {}, not what this command provisions", found.told());
            }
            flavor
        }
        (None, found) => match found? {
            None => Flavor::Cpu,
            Some(Found { source: Source::Provisioned(flavor), .. }) => flavor,
            Some(own) => {
                println!("a build takes {}: nothing needs to be provisioned", own.told());
                if !own.fits() {
                    println!("tch wants libtorch {VERSION} and will refuse it");
                }
                println!("hint: `--flavor cpu` or `--flavor cuda` provisions one all the same");
                return Ok(process::exit_code(!own.fits()));
            }
        },
    };
    provision::run(root, flavor, check)
}

/// An NVIDIA GPU, as its driver tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gpu {
    pub(crate) name: String,
    pub(crate) driver: String,
    /// Where it has memory of its own.
    pub(crate) bytes: Option<u64>,
}

/// The GPUs that a driver answers for.
pub(crate) fn gpus() -> Vec<Gpu> {
    let mut command = Command::new("nvidia-smi");
    command.args(["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]);
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().filter_map(gpu).collect()
        }
        _ => Vec::new(),
    }
}

/// `NVIDIA H100 80GB HBM3, 570.86.15, 81559 MiB`
fn gpu(line: &str) -> Option<Gpu> {
    let mut parts = line.rsplitn(3, ',').map(str::trim);
    let (memory, driver, name) = (parts.next()?, parts.next()?, parts.next()?);
    let mib = memory.strip_suffix("MiB").and_then(|mib| mib.trim().parse::<u64>().ok());
    let bytes = mib.map(|mib| mib * 1024 * 1024);
    Some(Gpu { name: name.to_owned(), driver: driver.to_owned(), bytes })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::files::Folder;

    /// One that was provisioned with CUDA.
    pub(crate) fn with_cuda() -> Found {
        Found {
            source: Source::Provisioned(Flavor::Cuda),
            lib: PathBuf::from("lib"),
            version: Some(VERSION.to_owned()),
            has_cuda: true,
            variables: Vec::new(),
        }
    }

    /// A folder with an own libtorch `own`, and `provisioned` ones.
    fn folders(name: &str, provisioned: &[Flavor]) -> Folder {
        let root = Folder::new(name);
        for folder in ["own", "pytorch"] {
            let lib = root.0.join(folder).join("lib");
            fs::create_dir_all(&lib).unwrap();
            fs::write(lib.join("libtorch_cpu.so"), "").unwrap();
        }
        fs::write(root.0.join("own/build-version"), "2.9.0+cu129\n").unwrap();
        for flavor in provisioned {
            let torch = flavor.folder(&root.0).join("torch");
            fs::create_dir_all(torch.join("lib")).unwrap();
            fs::write(torch.join("build-version"), "2.9.0").unwrap();
            if *flavor == Flavor::Cuda {
                fs::write(torch.join("lib/libtorch_cuda.so"), "").unwrap();
            }
        }
        root
    }

    fn found(root: &Path, set: &[(&str, OsString)]) -> anyhow::Result<Option<Found>> {
        let variable =
            |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
        find(root, variable, |interpreter| {
            anyhow::ensure!(interpreter == "python3", "it is not installed");
            Ok((root.join("pytorch"), "2.8.0".to_owned()))
        })
    }

    #[test]
    fn the_users_own_comes_before_what_was_provisioned_and_cuda_before_without() {
        let all = folders("libtorch-all", &[Flavor::Cpu, Flavor::Cuda]);
        let cpu = folders("libtorch-cpu", &[Flavor::Cpu]);
        let none = folders("libtorch-none", &[]);
        let own = ("LIBTORCH", all.0.join("own").into_os_string());
        let pytorch = ("LIBTORCH_USE_PYTORCH", OsString::from("1"));
        let both = [own.clone(), pytorch.clone()];
        let source = |root: &Path, set: &[_]| found(root, set).unwrap().map(|found| found.source);
        assert_eq!(source(&all.0, &both), Some(Source::Variable));
        assert_eq!(source(&all.0, &[pytorch]), Some(Source::Pytorch));
        assert_eq!(source(&all.0, &[]), Some(Source::Provisioned(Flavor::Cuda)));
        assert_eq!(source(&cpu.0, &[]), Some(Source::Provisioned(Flavor::Cpu)));
        assert_eq!(source(&none.0, &[]), None);
        assert_eq!(source(&none.0, &[("LIBTORCH", OsString::new())]), None);

        let found = found(&all.0, &both).unwrap().unwrap();
        assert!(!found.has_cuda && found.fits() && found.version.as_deref() == Some(VERSION));
        assert_eq!(found.lib, all.0.join("own/lib"));
        let want = [("LIBTORCH_USE_PYTORCH", None), ("LIBTORCH", Some(own.1))];
        assert_eq!(found.variables[..2], want);
    }

    #[test]
    fn a_build_gets_the_folder_and_the_loader_keeps_what_it_had() {
        let root = folders("libtorch-given", &[Flavor::Cuda]);
        let found = found(&root.0, &[(LOADER_PATH, "a:b".into())]).unwrap().unwrap();
        assert!(found.has_cuda);
        let torch = root.0.join("data/libtorch/cuda/torch");
        let mut command = Command::new("true");
        found.give_to(&mut command);
        let given = |name: &str| {
            let mut all = command.get_envs().filter(|(given, _)| *given == name);
            all.next().and_then(|(_, value)| value).unwrap().to_owned()
        };
        assert_eq!(given("LIBTORCH"), torch);
        assert_eq!(*given(LOADER_PATH), *format!("{}:a:b", torch.join("lib").display()));
    }

    #[test]
    fn a_variable_that_leads_nowhere_is_told_with_the_way_out() {
        let root = folders("libtorch-nowhere", &[Flavor::Cpu]);
        let nowhere = root.0.join("nowhere").into_os_string();
        let error = found(&root.0, &[("LIBTORCH", nowhere)]).unwrap_err().to_string();
        assert!(error.contains("LIBTORCH is set") && error.contains("\nhint: "), "{error}");
        let set = [("LIBTORCH_USE_PYTORCH", "1".into()), ("VIRTUAL_ENV", "venv".into())];
        let error = found(&root.0, &set).unwrap_err().to_string();
        assert!(error.contains("`python` has no PyTorch: it is not installed\nhint: "), "{error}");
    }

    #[test]
    fn a_device_without_its_library_is_refused_with_the_command_that_gets_it() {
        let hint = |device: &str, found: Option<&Found>| {
            let error = chosen(device, found.cloned()).unwrap_err().to_string();
            error.split_once("\nhint: ").unwrap().1.to_owned()
        };
        assert_eq!(hint("libtorch", None), "cargo xtask libtorch");
        assert_eq!(hint("cuda:1", None), "cargo xtask libtorch --flavor cuda");
        let root = folders("libtorch-refused", &[Flavor::Cpu]);
        let cpu = found(&root.0, &[]).unwrap().unwrap();
        assert_eq!(hint("cuda", Some(&cpu)), "cargo xtask libtorch --flavor cuda");
        assert_eq!(chosen("libtorch", Some(cpu.clone())).unwrap(), cpu);
        let own = [("LIBTORCH", root.0.join("own").into_os_string())];
        let own = found(&root.0, &own).unwrap();
        assert!(hint("cuda", own.as_ref()).contains("unset it"));
        assert_eq!(for_device(&root.0, Some("flex")).unwrap(), None);
    }

    #[test]
    fn the_drivers_answer_is_read() {
        let line = "NVIDIA H100 80GB HBM3, 570.86.15, 81559 MiB";
        let gpu = gpu(line).unwrap();
        assert_eq!((&*gpu.name, &*gpu.driver), ("NVIDIA H100 80GB HBM3", "570.86.15"));
        assert_eq!(gpu.bytes, Some(81559 * 1024 * 1024));
        assert_eq!(super::gpu("GB10, 580.1, [N/A]").unwrap().bytes, None);
        assert_eq!(super::gpu("No devices were found"), None);
    }
}
