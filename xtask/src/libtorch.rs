//! libtorch, PyTorch's C++ libraries: which one a build with the cargo feature `libtorch` uses, and the environment that
//! such a build needs. `cargo xtask libtorch` provisions one (`provision.rs`).
//!
//! Does not know what is computed with it: of devices only the names are known here.
//!
//! Decisions:
//! - The user's own comes first: the variables `LIBTORCH` and `LIBTORCH_USE_PYTORCH` of torch-sys, then what was
//!   provisioned, with CUDA before without. torch-sys looks at `LIBTORCH_USE_PYTORCH` first; a named folder is the
//!   clearer wish, so a build then gets the folder alone.
//! - Binaries of the suite have the folder of the libraries written into them (`suite/build.rs`); tests of other crates,
//!   which have no build script, are given it in the loader's path.
//! - Nobody gets libtorch unasked: without `--device` it is used only where it can compute on a GPU, and torch-sys
//!   never downloads its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use synergy_hint::{Hint as _, Hinted};

use crate::python;

/// The version that torch-sys 0.22 links and checks for.
pub(crate) const VERSION: &str = "2.9.0";

/// The folder of provisioned libraries, from the root; git ignores it.
pub(crate) const PROVISIONED: &str = "data/libtorch";

/// The environment variable in which the loader looks for libraries.
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
    /// Without CUDA: 520 MB on disk; the download is 900 MB on x86_64 Linux and 100 MB elsewhere
    Cpu,
    /// With CUDA 12.8, for NVIDIA GPUs: 6.2 GB, on x86_64 Linux only
    Cuda,
}

impl Flavor {
    /// Returns its name in the lock and in the path of its folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Flavor::Cpu => "cpu",
            Flavor::Cuda => "cuda",
        }
    }

    pub(crate) fn folder(self, root: &Path) -> PathBuf {
        root.join(PROVISIONED).join(self.name())
    }
}

/// Where a library comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The folder in the user's variable `LIBTORCH`.
    Variable,
    /// The PyTorch of the active Python, chosen by the user's variable `LIBTORCH_USE_PYTORCH`.
    Pytorch,
    Provisioned(Flavor),
}

/// A library, and the environment that a build with it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) source: Source,
    /// The folder of the libraries.
    pub(crate) lib: PathBuf,
    /// The version, where the folder names it.
    pub(crate) version: Option<String>,
    pub(crate) has_cuda: bool,
    /// Environment variables that are set or, without a value, removed.
    variables: Vec<(&'static str, Option<OsString>)>,
}

impl Found {
    /// Sets what `command` needs to build with this library and to run what was built.
    pub(crate) fn give_to(&self, command: &mut Command) {
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }

    /// Returns whether torch-sys accepts it; an unknown version it does not check either.
    pub(crate) fn fits(&self) -> bool {
        self.version.as_deref().is_none_or(|version| version == VERSION)
    }

    /// Describes it in a few words: `libtorch 2.9.0 with CUDA in … (LIBTORCH)`.
    pub(crate) fn describe(&self) -> String {
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

/// Finds the library for a build with the feature `libtorch`, if there is one.
///
/// # Errors
/// If the user's variables lead nowhere.
pub(crate) fn environment(root: &Path) -> anyhow::Result<Option<Found>> {
    find(root, |name| std::env::var_os(name), pytorch)
}

/// Finds the library for a build for the device called `device`, if that device needs libtorch.
///
/// # Errors
/// If the device needs a libtorch that is not there.
pub(crate) fn for_device(root: &Path, device: Option<&str>) -> anyhow::Result<Option<Found>> {
    match device {
        None | Some("auto") => {
            let found = environment(root).unwrap_or_else(|error| {
                // A build without it needs none.
                eprintln!("libtorch is not used: {}", synergy_hint::line(&error));
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

/// Returns `found` if it can compute on `device`.
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
            let found = found.describe();
            bail!(Hinted::new(
                format!("the device `{device}` needs CUDA, but there is {found}"),
                way
            ))
        }
        None => {
            let flavor = if wants_cuda { " --flavor cuda" } else { "" };
            bail!(Hinted::new(
                format!("the device `{device}` needs libtorch, which is missing"),
                format!("cargo xtask libtorch{flavor}")
            ))
        }
    }
}

/// What helps where a variable leads nowhere.
const UNSET: &str = "unset it to use the one of `cargo xtask libtorch`";

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
            let lib = lib.display();
            bail!(Hinted::new(
                format!("the variable LIBTORCH is set, but there is no libtorch in `{lib}`"),
                UNSET
            ));
        }
        variables.push(("LIBTORCH_USE_PYTORCH", None));
        variables.push(("LIBTORCH", Some(folder.clone().into_os_string())));
        (Source::Variable, lib, version_of(&folder))
    } else if let Some(value) = variable("LIBTORCH_USE_PYTORCH") {
        // Set to anything, as torch-sys reads it, and with the interpreter that torch-sys asks.
        let interpreter = if set("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
        let (folder, version) = pytorch(interpreter)
            .with_context(|| {
                format!(
                    "the variable LIBTORCH_USE_PYTORCH is set, but `{interpreter}` has no PyTorch"
                )
            })
            .hint(UNSET)?;
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
        .with_context(|| format!("the loader cannot search the folder `{}`", lib.display()))?;
    variables.push((LOADER_PATH, Some(joined)));
    let has_cuda = lib.join("libtorch_cuda.so").exists();
    Ok(Some(Found { source, lib, version, has_cuda, variables }))
}

/// Finds the library that every libtorch has.
pub(crate) fn core_library(lib: &Path) -> Option<PathBuf> {
    ["libtorch_cpu.so", "libtorch_cpu.dylib", "libtorch_cpu.a"]
        .map(|name| lib.join(name))
        .into_iter()
        .find(|path| path.exists())
}

/// Reads the version without its build, `2.9.0` of `2.9.0+cu128`, where the folder has it.
fn version_of(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("build-version")).ok()?;
    Some(text.trim().split('+').next().unwrap_or_default().to_owned())
}

/// Asks for the folder and the version of the PyTorch that `interpreter` would import.
fn pytorch(interpreter: &str) -> anyhow::Result<(PathBuf, String)> {
    let answer = python::ask(interpreter, &["-c", FIND_PYTORCH].map(OsStr::new))?;
    let lines = answer.split_once('\n').context("Python does not say where")?;
    Ok((PathBuf::from(lines.0.trim()), lines.1.trim().to_owned()))
}

/// An NVIDIA GPU, as its driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gpu {
    pub(crate) name: String,
    pub(crate) driver: String,
    /// The size of its own memory, if it has any.
    pub(crate) bytes: Option<u64>,
}

/// Lists the GPUs that the driver reports.
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

/// Reads a line of `nvidia-smi`: `NVIDIA H100 80GB HBM3, 570.86.15, 81559 MiB`.
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

    /// Makes up a library that was provisioned with CUDA.
    pub(crate) fn with_cuda() -> Found {
        Found {
            source: Source::Provisioned(Flavor::Cuda),
            lib: PathBuf::from("lib"),
            version: Some(VERSION.to_owned()),
            has_cuda: true,
            variables: Vec::new(),
        }
    }

    /// Makes a folder with the user's libtorch in `own`, and `provisioned` ones.
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
    fn a_variable_that_leads_nowhere_is_an_error_with_a_hint() {
        let root = folders("libtorch-nowhere", &[Flavor::Cpu]);
        let nowhere = root.0.join("nowhere").into_os_string();
        let error = synergy_hint::text(&found(&root.0, &[("LIBTORCH", nowhere)]).unwrap_err());
        assert!(error.contains("LIBTORCH is set") && error.contains("\nhint: "), "{error}");
        let set = [("LIBTORCH_USE_PYTORCH", "1".into()), ("VIRTUAL_ENV", "venv".into())];
        let error = synergy_hint::text(&found(&root.0, &set).unwrap_err());
        assert!(error.contains("`python` has no PyTorch: it is not installed\nhint: "), "{error}");
    }

    #[test]
    fn a_device_without_its_library_is_refused_with_the_command_that_gets_it() {
        let hint = |device: &str, found: Option<&Found>| {
            let error = chosen(device, found.cloned()).unwrap_err();
            synergy_hint::hint_of(&error).unwrap().to_owned()
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
