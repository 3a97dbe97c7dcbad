//! Checks of the code itself: format, lints, documentation, examples, dependencies, tests.
//!
//! Does not know the code. A tool that is not installed is reported as skipped: a check that did not run has not passed.
//! Every build has the profile and the features of every other, so that burn is compiled once.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::outcome::{Outcome, Section, step};
use crate::files::unread;
use crate::test;

/// The lints of rustdoc that are errors. They are passed in a variable of rustdoc's own, so that nothing is compiled again
/// for them.
const RUSTDOCFLAGS: &str = "-D rustdoc::broken_intra_doc_links -D rustdoc::private_intra_doc_links \
                            -D rustdoc::invalid_html_tags -D rustdoc::bare_urls -D rustdoc::invalid_codeblock_attributes";

/// Examples that are tools: they run long or need arguments, so that clippy alone reads them.
const TOOLS: [&str; 2] = ["fuzz_grade", "text_only"];

/// Checks the format.
///
/// # Errors
/// If cargo cannot be started.
pub(super) fn format(sh: &Shell) -> anyhow::Result<Outcome> {
    step("format", cmd!(sh, "cargo fmt --all --check"))
}

/// Runs clippy over everything, also what only `cargo xtask fetch` builds.
///
/// # Errors
/// If cargo cannot be started.
pub(super) fn clippy(sh: &Shell) -> anyhow::Result<Outcome> {
    let lint = ["--", "-D", "warnings"];
    let all = cmd!(sh, "cargo clippy --locked --workspace --all-targets {lint...}");
    let hub = cmd!(sh, "cargo clippy --locked -p synergy-xtask --features hub {lint...}");
    step("clippy", all)?.and_then(|| step("clippy of the hub's client", hub))
}

/// Builds the documentation, in which a broken link is an error.
///
/// # Errors
/// If cargo cannot be started.
pub(super) fn documentation(sh: &Shell) -> anyhow::Result<Outcome> {
    let doc = cmd!(sh, "cargo doc --locked --no-deps --workspace");
    step("documentation", doc.env("RUSTDOCFLAGS", RUSTDOCFLAGS))
}

/// Checks licenses, advisories, bans and sources of dependencies.
///
/// # Errors
/// If cargo cannot be started.
pub(super) fn dependencies(sh: &Shell) -> anyhow::Result<Outcome> {
    with_tool(sh, "deny", "dependencies", &["check"])
}

/// Looks for dependencies that nothing uses.
///
/// # Errors
/// If cargo cannot be started.
pub(super) fn unused(sh: &Shell) -> anyhow::Result<Outcome> {
    with_tool(sh, "shear", "unused dependencies", &[])
}

/// Runs a subcommand that cargo may not have.
fn with_tool(sh: &Shell, tool: &str, name: &str, args: &[&str]) -> anyhow::Result<Outcome> {
    if test::has_subcommand(sh, tool) {
        step(name, cmd!(sh, "cargo {tool} {args...}"))
    } else {
        let skipped =
            format!("cargo-{tool} is not installed; `cargo install --locked cargo-{tool}`");
        Ok(Outcome::Skipped(skipped))
    }
}

/// Runs every test.
///
/// # Errors
/// If cargo cannot be started, or the device needs a libtorch that is not there.
pub(super) fn tests(sh: &Shell, device: Option<&str>) -> anyhow::Result<Outcome> {
    let build = test::command(sh, true, device, &["--no-run".into()])?;
    step("build the tests", build)?.and_then(|| step("test", test::command(sh, true, device, &[])?))
}

/// Runs every example that is documentation.
///
/// # Errors
/// If cargo cannot be started, or a manifest cannot be read.
pub(super) fn examples(sh: &Shell, root: &Path) -> anyhow::Result<Outcome> {
    for (package, example) in all_examples(root)? {
        let _section = Section::new(&format!("example {example} of {package}"));
        let run = cmd!(sh, "cargo run --locked --quiet --package {package} --example {example}");
        let code = crate::process::wait(run.into())?;
        if code != 0 {
            return Ok(Outcome::Failed);
        }
    }
    Ok(Outcome::Passed)
}

/// The keys of a manifest that are read here.
#[derive(Deserialize)]
struct Manifest {
    workspace: Option<Workspace>,
    package: Option<Package>,
}

#[derive(Deserialize)]
struct Workspace {
    members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

fn manifest(folder: &Path) -> anyhow::Result<Manifest> {
    let path = folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| unread(&path))?;
    toml::from_str(&text).with_context(|| format!("`{}` is invalid", path.display()))
}

/// Lists the examples that are documentation, files and folders, each behind its package, in order.
fn all_examples(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let workspace = manifest(root)?.workspace.context("the root is not a workspace")?;
    let mut examples = Vec::new();
    for member in workspace.members {
        let folder = root.join(&member);
        let package = manifest(&folder)?.package;
        let package = package.with_context(|| format!("`{member}` is not a package"))?.name;
        for entry in fs::read_dir(folder.join("examples")).into_iter().flatten() {
            let path = entry.with_context(|| unread(&folder))?.path();
            let is_example =
                path.join("main.rs").is_file() || path.extension().is_some_and(|end| end == "rs");
            let example = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if is_example && !TOOLS.contains(&example.as_str()) {
                examples.push((package.clone(), example));
            }
        }
    }
    examples.sort();
    Ok(examples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Folder;

    #[test]
    fn every_example_that_is_not_a_tool_is_run() {
        let root = Folder::new("examples");
        let write = |path: &str, text: &str| {
            let path = root.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Cargo.toml", "[workspace]\nmembers = [\"b\", \"b/a\"]\n");
        write("b/Cargo.toml", "[package]\nname = \"of-b\"\n");
        write("b/a/Cargo.toml", "[package]\nname = \"of-a\"\nversion.workspace = true\n");
        for file in ["b/examples/two.rs", "b/examples/one.rs", "b/a/examples/three.rs"] {
            write(file, "");
        }
        write("b/examples/data.json", "");
        write(&format!("b/examples/{}.rs", TOOLS[0]), "");
        let found = all_examples(&root.0).unwrap();
        let want = [("of-a", "three"), ("of-b", "one"), ("of-b", "two")];
        assert_eq!(found, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
