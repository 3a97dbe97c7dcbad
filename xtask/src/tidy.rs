//! House rules that neither rustfmt nor clippy knows, as a command and as a test.
//!
//! Does not know git: it walks the folder, so a file is judged before it is added.
//!
//! The words it looks for are put together from parts where they would otherwise be found here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::tidy::source::{File, numbered};

mod imports;
mod shape;
mod source;
mod words;

/// Folders for which the rules of `imports`, `shape` and `words` are held; `cargo xtask tidy --all` shows what they find
/// elsewhere. An empty name is the whole repository.
const CLEAN: [&str; 1] = [""];

/// The most lines of a file; longer ones are two files.
const MAX_LINES: usize = 900;

/// Folders that hold what is built, run or fetched; `data`, `runs` and `target` as in `.gitignore`.
const SKIPPED: [&str; 4] = [".git", "data", "runs", "target"];

/// Unfinished or silenced work.
const UNFINISHED: [&str; 5] = [
    concat!("to", "do!("),
    concat!("unimplemen", "ted!("),
    concat!("#[ig", "nore"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

/// Paths that exist on one machine only begin so.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// Burn's constructors of devices on a named backend, and the one file that may call them.
const BACKENDS: [&str; 9] =
    ["flex", "libtorch", "cuda", "ndarray", "wgpu", "vulkan", "metal", "webgpu", "rocm"];
const BACKEND_FILE: &str = "suite/src/device.rs";

/// The crates that a crate must not know: they stand neither in its manifest nor, with `_` for `-`, in its sources.
const LAYERS: [(&str, &[&str]); 7] = [
    ("benchmarks", &["burn", "synergy-models", "synergy-suite", "synergy-tests"]),
    ("benchmarks/grade", &["burn", "synergy-benchmarks", "synergy-models", "synergy-suite"]),
    ("benchmarks/picture", &["burn", "synergy-benchmarks", "synergy-models", "synergy-suite"]),
    ("suite/report", &["burn", "clap", "synergy-models", "synergy-suite"]),
    ("models", &["synergy-benchmarks", "synergy-suite", "synergy-tests"]),
    ("suite", &["synergy-tests"]),
    ("xtask", &["burn", "synergy-benchmarks", "synergy-models", "synergy-suite", "synergy-tests"]),
];

/// Module files and the folders whose every file they must declare.
const REGISTRIES: [(&str, &str); 2] = [
    ("benchmarks/src/families.rs", "benchmarks/src/families/"),
    ("benchmarks/src/datasets.rs", "benchmarks/src/datasets/"),
];

/// Finds every violation below `root`, one line each: `path:line: what` where a line can be named. Rules that are not
/// held everywhere yet are held in [`CLEAN`] folders, or everywhere with `all`.
///
/// # Errors
/// If a file or folder cannot be read.
pub(crate) fn violations(root: &Path, all: bool) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut found = judge(&files);
    let tests = test_modules(&files);
    files.retain(|file| !tests.contains(&file.path));
    let held = judge_house(&files);
    let is_held = |line: &String| all || CLEAN.iter().any(|folder| line.starts_with(folder));
    found.extend(held.into_iter().filter(is_held));
    Ok(found)
}

/// Lists the files of modules that are declared under `#[cfg(test)]`.
fn test_modules(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for File { path, text } in files {
        let Some(folder) = path.strip_suffix(".rs") else { continue };
        let folder = match folder.rsplit_once('/') {
            Some((above, "lib" | "main" | "mod")) => above,
            _ => folder,
        };
        for declared in text.split("#[cfg(test)]\n").skip(1) {
            let line = declared.lines().next().unwrap_or_default();
            let name = line.rsplit_once("mod ").and_then(|(_, name)| name.strip_suffix(';'));
            found.extend(name.map(|name| format!("{folder}/{name}.rs")));
        }
    }
    found
}

/// Applies the rules about imports, functions and English.
fn judge_house(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    imports::check(files, &mut found);
    for file in files {
        shape::check(file, &mut found);
        words::check(file, &mut found);
    }
    found
}

/// Reads the text files below `root`/`prefix`; pictures and weights are skipped.
fn collect(root: &Path, prefix: &str, files: &mut Vec<File>) -> anyhow::Result<()> {
    let folder = root.join(prefix);
    let read = || format!("failed to read `{}`", folder.display());
    for entry in fs::read_dir(&folder).with_context(read)? {
        let entry = entry.with_context(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().with_context(read)?;
        // In a linked worktree `.git` is a file.
        if name == "target" || prefix.is_empty() && SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            let bytes =
                fs::read(entry.path()).with_context(|| format!("failed to read `{path}`"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path, text });
            }
        }
    }
    Ok(())
}

fn judge(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        machine_paths(file, &mut found);
        if file.path.ends_with(".rs") {
            source(file, &mut found);
        }
    }
    layers(files, &mut found);
    registries(files, &mut found);
    recipes(files, &mut found);
    found
}

fn machine_paths(file: &File, found: &mut Vec<String>) {
    for (number, line) in numbered(&file.text) {
        for path in MACHINE_PATHS {
            // In `docs/home/`, `$TOP/home/` and `{dir}/home/` it is the end of a relative path.
            let starts = line.match_indices(path).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !(c.is_alphanumeric() || "_-.~})>*".contains(c)))
            });
            if starts {
                found.push(format!("{}:{number}: a path of one machine: `{path}`", file.path));
            }
        }
    }
}

fn source(file: &File, found: &mut Vec<String>) {
    let File { path, text } = file;
    if !text.starts_with("//! ") {
        found.push(format!("{path}:1: does not start with `//!`"));
    }
    let num_lines = text.lines().count();
    if num_lines > MAX_LINES {
        found.push(format!("{path}: {num_lines} lines, more than {MAX_LINES}"));
    }
    for (number, line) in numbered(text) {
        for word in UNFINISHED {
            if line.contains(word) {
                found.push(format!("{path}:{number}: unfinished: `{word}`"));
            }
        }
    }
    let is_test = path.split('/').any(|part| part == "tests" || part == "benches");
    if is_test || path == BACKEND_FILE {
        return;
    }
    // An example in the documentation computes on one as a test does.
    let is_code = |(_, line): &(usize, &str)| !line.trim_start().starts_with("//");
    for (number, line) in numbered(outside_tests(text)).filter(is_code) {
        for backend in BACKENDS {
            if line.contains(&format!("Device::{backend}")) {
                found.push(format!("{path}:{number}: only {BACKEND_FILE} names a backend"));
            }
        }
    }
}

/// Cuts the tests off, which house style puts at the file's end.
fn outside_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

fn layers(files: &[File], found: &mut Vec<String>) {
    for (layer, forbidden) in LAYERS {
        for file in files.iter().filter(|file| file.path.starts_with(&format!("{layer}/"))) {
            let is_manifest = file.path == format!("{layer}/Cargo.toml");
            // xtask names the packages that it runs as processes; its manifest is what links.
            let is_source = file.path.ends_with(".rs") && layer != "xtask";
            for name in forbidden {
                let module = name.replace('-', "_");
                for (number, line) in numbered(&file.text) {
                    let depends = is_manifest && line.starts_with(name);
                    let uses = is_source
                        && (line.contains(&format!("{module}::"))
                            || line.contains(&format!("use {module};")));
                    if depends || uses {
                        let path = &file.path;
                        found.push(format!("{path}:{number}: {layer} must not know `{name}`"));
                    }
                }
            }
        }
    }
}

fn registries(files: &[File], found: &mut Vec<String>) {
    for (registry, folder) in REGISTRIES {
        let registered = files.iter().find(|file| file.path == registry);
        let registered = registered.map_or("", |file| file.text.as_str());
        for file in files {
            let module = file.path.strip_prefix(folder).and_then(|name| name.strip_suffix(".rs"));
            if let Some(module) = module.filter(|module| !module.contains('/'))
                && !registered.contains(&format!("mod {module};"))
            {
                found.push(format!("{}: {registry} does not declare it", file.path));
            }
        }
    }
}

fn recipes(files: &[File], found: &mut Vec<String>) {
    for file in files {
        let name =
            file.path.strip_prefix("suite/recipes/").and_then(|name| name.strip_suffix(".toml"));
        let Some(name) = name else { continue };
        let spellings = [format!("`{name}`"), format!("{name}.toml"), format!("--profile {name}")];
        let explained = files
            .iter()
            .filter(|file| file.path.ends_with(".md"))
            .any(|file| spellings.iter().any(|spelling| file.text.contains(spelling)));
        if !explained {
            found.push(format!("{}: no Markdown file mentions this recipe", file.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let found = violations(root, false).unwrap();
        assert!(found.is_empty(), "\n{}", found.join("\n"));
    }

    #[track_caller]
    fn check(path: &str, text: &str, want: &[&str]) {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        assert_eq!(judge(&[file]), want);
    }

    #[test]
    fn sources_are_headed_finished_and_short() {
        check("models/src/a.rs", "//! What it is.\nfn a() {}\n", &[]);
        check("models/src/a.rs", "fn a() {}\n", &["models/src/a.rs:1: does not start with `//!`"]);
        for word in UNFINISHED {
            let want = format!("models/src/a.rs:2: unfinished: `{word}`");
            check("models/src/a.rs", &format!("//! A.\n    {word}"), &[&want]);
        }
        check("models/src/a.rs", &"//! A.\n".repeat(MAX_LINES), &[]);
        let want = ["models/src/a.rs: 901 lines, more than 900"];
        check("models/src/a.rs", &"//! A.\n".repeat(MAX_LINES + 1), &want);
    }

    #[test]
    fn paths_of_one_machine_are_found_in_any_text() {
        let path = MACHINE_PATHS[0];
        let want = format!("README.md:2: a path of one machine: `{path}`");
        for line in [format!("{path}x"), format!("see `{path}x`"), format!("\"{path}x\"")] {
            check("README.md", &format!("a\n{line}"), &[&want]);
        }
        check("README.md", &format!("docs{path}x and $HOME{path} and {{dir}}{path}"), &[]);
    }

    #[test]
    fn modules_of_tests_are_known_by_their_declaration() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let text = "#[cfg(test)]\nmod a;\nmod b;\n#[cfg(test)]\npub(crate) mod c;\n#[cfg(test)]\nmod tests {";
        let found = test_modules(&[file("m/src/grade.rs", text), file("m/src/lib.rs", text)]);
        let want = ["m/src/a.rs", "m/src/c.rs", "m/src/grade/a.rs", "m/src/grade/c.rs"];
        assert_eq!(found, want.map(str::to_owned).into());
    }

    #[test]
    fn only_one_file_names_a_backend() {
        let call = format!("//! A.\nlet device = Device::{}();\n", BACKENDS[0]);
        let want = ["suite/src/run.rs:2: only suite/src/device.rs names a backend"];
        check("suite/src/run.rs", &call, &want);
        check("suite/src/device.rs", &call, &[]);
        check("suite/src/run.rs", &call.replace("let ", "/// let "), &[]);
        check("tests/tests/parity.rs", &call, &[]);
        let in_tests = call.replace("A.\n", "A.\n\n#[cfg(test)]\nmod tests {\n");
        check("suite/src/run.rs", &in_tests, &[]);
    }

    #[test]
    fn layers_know_only_what_is_below_them() {
        let burn = "burn.workspace = true\n";
        check("models/Cargo.toml", burn, &[]);
        check(
            "benchmarks/Cargo.toml",
            burn,
            &["benchmarks/Cargo.toml:1: benchmarks must not know `burn`"],
        );
        check("xtask/Cargo.toml", burn, &["xtask/Cargo.toml:1: xtask must not know `burn`"]);
        let uses = "//! A.\nuse synergy_benchmarks::seed::Seed;\n";
        check("suite/src/data.rs", uses, &[]);
        check(
            "models/src/vlm.rs",
            uses,
            &["models/src/vlm.rs:2: models must not know `synergy-benchmarks`"],
        );
    }

    #[test]
    fn what_is_in_a_registry_folder_is_declared() {
        let family = File { path: "benchmarks/src/families/path.rs".into(), text: "//! A.".into() };
        let registry =
            |text: &str| File { path: "benchmarks/src/families.rs".into(), text: text.into() };
        let want =
            ["benchmarks/src/families/path.rs: benchmarks/src/families.rs does not declare it"];
        let mut files = [family, registry("//! A.\nmod sum;\n")];
        assert_eq!(judge(&files), want);
        files[1] = registry("//! A.\npub mod path;\n");
        assert_eq!(judge(&files), [""; 0]);
    }

    #[test]
    fn a_recipe_is_mentioned_where_people_read() {
        let recipe = File { path: "suite/recipes/smoke.toml".into(), text: "version = 1".into() };
        let readme = |text: &str| File { path: "README.md".into(), text: text.into() };
        let mut files = [recipe, readme("it may smoke")];
        let want = ["suite/recipes/smoke.toml: no Markdown file mentions this recipe"];
        assert_eq!(judge(&files), want);
        files[1] = readme("`cargo xtask reproduce --profile smoke`");
        assert_eq!(judge(&files), [""; 0]);
    }
}
