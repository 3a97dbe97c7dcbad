//! `cargo xtask doctor`: what this machine has and lacks for the suite, and which profiles can run here.
//!
//! Changes nothing, and knows no fix beyond the line that it prints. What a profile needs is a small table here;
//! `synergy plan` computes it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::ValueEnum as _;
use serde_json::{Value, json};

use crate::doctor::memory::Stage;
use crate::engine::State as Engine;
use crate::files::{bytes_free, unread};
use crate::libtorch::{self, Found, Gpu};
use crate::units::size;
use crate::{fetch, page, process, python, synergy};

/// The oldest version of NVIDIA's driver for anything of CUDA 12, by minor version compatibility, and for all of CUDA
/// 12.8, which the wheels hold. Source: NVIDIA's CUDA Compatibility guide, "Minor Version Compatibility", and the CUDA
/// 12.8 release notes, tables "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version Compatibility"
/// and "CUDA Toolkit and Corresponding Driver Versions", Linux.
const DRIVER_MIN: &str = "525.60.13";
const DRIVER_ALL: &str = "570.26";

mod memory;

/// Bytes that compiling and profile smoke take; estimates, on the safe side. A first build of burn writes some
/// gigabytes, its largest crates take about two of memory.
const DISK_FIRST_BUILD: u64 = 5_000_000_000;
const DISK_BUILT: u64 = 1_000_000_000;
const MEMORY: u64 = 3_500_000_000;

/// The profiles, with the GPU memory of their largest stage in bytes, as `synergy plan` estimates it; those without run
/// on any machine's CPU.
const PROFILES: [(&str, Option<u64>); 5] = [
    ("smoke", None),
    ("small", None),
    ("full-3b", Some(64_000_000_000)),
    ("full-7b", Some(118_000_000_000)),
    ("study", Some(59_000_000_000)),
];

/// How it is; the JSON has the words of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State(&'static str);

const OK: State = State("ok");
const MISSING: State = State("missing");
const TOO_OLD: State = State("too old");
const TOO_NEW: State = State("too new");
const TOO_LITTLE: State = State("too little");
const UNKNOWN: State = State("unknown");

/// What was found of one program, resource or profile.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    name: &'static str,
    state: State,
    text: String,
    /// What helps, if something is wrong.
    fix: Option<String>,
    /// True if profile smoke needs it.
    is_needed: bool,
}

impl Finding {
    fn ok(name: &'static str, text: impl Into<String>) -> Finding {
        Finding { name, state: OK, text: text.into(), fix: None, is_needed: false }
    }

    fn other(
        name: &'static str,
        state: State,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding { name, state, text: text.into(), fix: Some(fix.into()), is_needed: false }
    }

    fn missing(name: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::other(name, MISSING, text, fix)
    }

    fn needed(self) -> Finding {
        Finding { is_needed: true, ..self }
    }
}

/// Prints the findings. The exit code is 1 if something is missing that profile smoke needs.
///
/// # Errors
/// If the repository's own files cannot be read.
pub(crate) fn run(root: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let gpus = libtorch::gpus();
    let found = libtorch::environment(root);
    let mut findings = vec![
        rust(root)?.needed(),
        program("nextest", &["cargo", "nextest", "--version"], "for one process a test", {
            "cargo install --locked cargo-nextest"
        }),
        program("c++", &["c++", "--version"], "to build with libtorch", "install g++ or clang++"),
        python_with_pip(),
        program("node", &["node", "--version"], "for `cargo xtask page-check`", {
            "apt-get install nodejs npm, version 20 or later"
        }),
        page::browser().map_or_else(
            || {
                let fix = "apt-get install chromium";
                Finding::missing("chromium", "for `cargo xtask page-check`", fix)
            },
            |path| Finding::ok("chromium", path.display().to_string()),
        ),
        disk(bytes_free(root), synergy::is_built(root)).needed(),
        memory(bytes_of_memory()).needed(),
        cores(),
        library(&found),
        vllm(&Engine::read(root)?),
        driver(&gpus),
        gpu(&gpus),
    ];
    for (name, folder) in [("easy-vqa", "EasyVQA"), ("arc-agi", "ARC-AGI")] {
        findings.push(if root.join("data").join(name).is_dir() {
            Finding::ok(name, "fetched")
        } else {
            let text = format!("optional, {folder}: not fetched");
            Finding::missing(name, text, format!("cargo xtask fetch {name}"))
        });
    }
    let broken = is_broken(&findings);
    let found = found.ok().flatten();
    let profiles: Vec<_> = PROFILES
        .into_iter()
        .map(|(name, needs)| match needs {
            None => on_cpu(name, broken),
            Some(needs) => {
                let missing = profile_item(name).map(|item| fetch::missing(root, item));
                let finding = on_gpu(name, needs, found.as_ref(), &gpus);
                with_data(finding, &missing.unwrap_or_default())
            }
        })
        .collect();
    let stages: Vec<Vec<Stage>> =
        PROFILES.iter().map(|(name, _)| memory::stages(root, name)).collect();
    if json {
        println!("{:#}", as_json(&findings, &profiles, &stages));
    } else {
        print!("{}\nprofiles\n{}", as_text(&findings), as_text(&profiles));
        print!("\nmemory by the plan\n{}", memory_text(&stages));
    }
    Ok(process::exit_code(broken))
}

/// Returns whether something is missing that profile smoke needs. What is unknown counts as there.
fn is_broken(findings: &[Finding]) -> bool {
    let fine = [OK, UNKNOWN, TOO_NEW];
    findings.iter().any(|finding| finding.is_needed && !fine.contains(&finding.state))
}

/// Returns the first line that a command prints, if it succeeds.
fn first_line(words: &[&str]) -> Option<String> {
    let output = Command::new(words[0]).args(&words[1..]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Looks for a program that profile smoke does not need.
fn program(name: &'static str, words: &[&str], what_for: &str, fix: &str) -> Finding {
    match first_line(words) {
        Some(version) => Finding::ok(name, version),
        None => Finding::missing(name, format!("optional, {what_for}"), fix),
    }
}

/// Compares the toolchain with `rust-toolchain.toml`.
fn rust(root: &Path) -> anyhow::Result<Finding> {
    let path = root.join("rust-toolchain.toml");
    let text = fs::read_to_string(&path).with_context(|| unread(&path))?;
    let file: toml::Table = text.parse().with_context(|| unread(&path))?;
    let channel = file.get("toolchain").and_then(|table| table.get("channel")?.as_str());
    let wanted = channel.with_context(|| format!("`{}` names no channel", path.display()))?;
    // The root's own: rustup chooses by the folder.
    let output = Command::new("rustc").arg("--version").current_dir(root).output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    Ok(toolchain(wanted, version.ok().as_deref()))
}

/// Compares `rustc 1.95.0 (59807616e 2026-04-14)` with `1.95.0`.
fn toolchain(wanted: &str, output: Option<&str>) -> Finding {
    let fix = format!("rustup toolchain install {wanted}");
    match output.and_then(|output| output.split_whitespace().nth(1)) {
        None => Finding::missing("rust", "no rustc", fix),
        Some(version) => match numbers(version).cmp(&numbers(wanted)) {
            std::cmp::Ordering::Less => {
                Finding::other("rust", TOO_OLD, format!("{version}, not {wanted}"), fix)
            }
            std::cmp::Ordering::Equal => Finding::ok("rust", version),
            std::cmp::Ordering::Greater => {
                let text = format!("{version}, not {wanted}: figures and lints may differ");
                Finding::other("rust", TOO_NEW, text, fix)
            }
        },
    }
}

/// Splits a version into numbers, which compare as versions do.
fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|number| number.parse().ok()).collect()
}

fn python_with_pip() -> Finding {
    let fix = "install Python 3 with pip and venv";
    let Ok(python) = python::with_pip(python::NAMES) else {
        let text = "optional, with pip: for `cargo xtask fetch`, `libtorch`, `engine` and `parity`";
        return Finding::missing("python", text, fix);
    };
    let version = first_line(&[python, "--version"]).unwrap_or_default();
    let pip = first_line(&[python, "-m", "pip", "--version"]).unwrap_or_default();
    let pip: Vec<_> = pip.split_whitespace().take(2).collect();
    let text = format!("{version}, {}", pip.join(" "));
    if first_line(&[python, "-c", "import ensurepip, venv"]).is_some() {
        Finding::ok("python", format!("{text}, venv"))
    } else {
        let text = format!("{text}, but no venv: `cargo xtask parity --regenerate` needs it");
        Finding::missing("python", text, fix)
    }
}

/// Compares an amount in bytes, `what` behind it, with what is needed.
fn amount(name: &'static str, bytes: Option<u64>, what: &str, needed: u64, fix: &str) -> Finding {
    match bytes {
        None => Finding::other(name, UNKNOWN, "the system does not report it", "check it yourself"),
        Some(bytes) if bytes < needed => {
            let text = format!("{}{what}, about {} are needed", size(bytes), size(needed));
            Finding::other(name, TOO_LITTLE, text, fix)
        }
        Some(bytes) => Finding::ok(name, format!("{}{what}", size(bytes))),
    }
}

fn disk(free: Option<u64>, is_built: bool) -> Finding {
    let needed = if is_built { DISK_BUILT } else { DISK_FIRST_BUILD };
    let fix = "make room, or set CARGO_TARGET_DIR to a folder on another disk";
    amount("disk", free, " free", needed, fix)
}

/// Reads the memory of the whole machine in bytes, where the system reports it.
fn bytes_of_memory() -> Option<u64> {
    if let Ok(text) = fs::read_to_string("/proc/meminfo") {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        return Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024);
    }
    first_line(&["sysctl", "-n", "hw.memsize"])?.parse().ok()
}

fn memory(bytes: Option<u64>) -> Finding {
    let fix = "compile with `CARGO_BUILD_JOBS=1`, or on a larger machine";
    amount("memory", bytes, "", MEMORY, fix)
}

fn cores() -> Finding {
    match std::thread::available_parallelism() {
        Ok(cores) => Finding::ok("cores", cores.to_string()),
        Err(error) => Finding::other("cores", UNKNOWN, error.to_string(), "check it yourself"),
    }
}

fn library(found: &anyhow::Result<Option<Found>>) -> Finding {
    let fix = "cargo xtask libtorch";
    match found {
        Err(error) => {
            let hint = synergy_hint::hint_of(error);
            let fix = hint.as_deref().unwrap_or(fix);
            Finding::missing("libtorch", format!("{error:#}"), fix)
        }
        Ok(None) => {
            let text = "optional, for `--device libtorch` and `--device cuda`";
            Finding::missing("libtorch", text, fix)
        }
        Ok(Some(found)) if found.fits() => Finding::ok("libtorch", found.describe()),
        Ok(Some(found)) => {
            let version = found.version.as_deref().unwrap_or_default();
            let is_old = numbers(version) < numbers(libtorch::VERSION);
            let state = if is_old { TOO_OLD } else { TOO_NEW };
            let text = format!("{}; tch needs {}", found.describe(), libtorch::VERSION);
            Finding::other("libtorch", state, text, format!("unset what names it; {fix}"))
        }
    }
}

/// Describes the installed vLLM by its stamp alone: importing it takes seconds.
fn vllm(installed: &Engine) -> Finding {
    let fix = "cargo xtask engine vllm";
    match installed {
        Engine::Whole(flavor, version) => Finding::ok("vllm", Engine::describe(*flavor, version)),
        Engine::Old(_) => {
            Finding::other("vllm", TOO_OLD, "from another list of packages than today's", fix)
        }
        Engine::Missing => Finding::missing("vllm", "optional, for `--engine vllm`", fix),
    }
}

fn driver(gpus: &[Gpu]) -> Finding {
    let fix = format!("install NVIDIA's driver {DRIVER_ALL} or later, where there is a GPU");
    let Some(Gpu { driver, .. }) = gpus.first() else {
        let text = "optional, for CUDA: no NVIDIA driver was found";
        return Finding::missing("driver", text, fix);
    };
    if !is_driver_enough(driver) {
        let text = format!("{driver}, CUDA 12 needs {DRIVER_MIN}");
        return Finding::other("driver", TOO_OLD, text, fix);
    }
    let all = numbers(driver) >= numbers(DRIVER_ALL);
    let text = if all { "CUDA 12.8" } else { "CUDA 12.8 by minor version compatibility" };
    Finding::ok("driver", format!("{driver}: {text}"))
}

fn is_driver_enough(driver: &str) -> bool {
    numbers(driver) >= numbers(DRIVER_MIN)
}

/// Returns the GPU with the most memory: a run computes on one.
fn largest(gpus: &[Gpu]) -> Option<&Gpu> {
    gpus.iter().max_by_key(|gpu| gpu.bytes)
}

fn gpu(gpus: &[Gpu]) -> Finding {
    match largest(gpus) {
        None => {
            let text = "optional: no NVIDIA GPU".to_owned();
            Finding { name: "gpu", state: MISSING, text, fix: None, is_needed: false }
        }
        Some(Gpu { name, bytes, .. }) => {
            let memory = bytes.map_or("memory unknown".to_owned(), size);
            let others = gpus.len() - 1;
            let others = if others > 0 { format!(", and {others} more") } else { String::new() };
            Finding::ok("gpu", format!("{name}, {memory}{others}"))
        }
    }
}

fn on_cpu(name: &'static str, broken: bool) -> Finding {
    if broken {
        Finding::missing(name, "needs what is not ok above", "see above")
    } else {
        Finding::ok(name, "runs here, on the CPU")
    }
}

fn on_gpu(name: &'static str, needs: u64, found: Option<&Found>, gpus: &[Gpu]) -> Finding {
    const CAVEAT: &str = "not run on CUDA yet";
    let lacks = |what: &str, state, way: &str| {
        let text = format!("{what}; {CAVEAT}");
        let fix = format!(
            "{way}; it takes libtorch with CUDA and about {} of GPU memory in its largest stage (an estimate; \
             `cargo xtask synergy plan {name}.toml` has every stage's)",
            size(needs)
        );
        Finding::other(name, state, text, fix)
    };
    let Some(gpu) = largest(gpus) else {
        return lacks("no GPU", MISSING, "an NVIDIA GPU");
    };
    if !is_driver_enough(&gpu.driver) {
        return lacks("the driver is too old", TOO_OLD, "see above");
    }
    if !found.is_some_and(|found| found.has_cuda && found.fits()) {
        return lacks("no libtorch with CUDA", MISSING, "cargo xtask libtorch --flavor cuda");
    }
    match gpu.bytes {
        None => lacks("GPU memory unknown", UNKNOWN, "check it yourself"),
        Some(bytes) if bytes < needs => lacks("too little GPU memory", TOO_LITTLE, "a larger GPU"),
        Some(_) => Finding::ok(name, format!("should run here (an estimate); {CAVEAT}")),
    }
}

/// Returns the item under which `cargo xtask fetch` knows a profile.
fn profile_item(name: &str) -> Option<fetch::Item> {
    fetch::Item::from_str(name, false).ok()
}

/// Adds to the finding on a profile what is not fetched of its model and data.
fn with_data(finding: Finding, missing: &[String]) -> Finding {
    let Finding { name, state, text, fix, is_needed } = finding;
    if missing.is_empty() {
        let text = format!("{text}; model and data are fetched");
        return Finding { name, state, text, fix, is_needed };
    }
    let text = format!("{text}; not fetched: {}", missing.join(", "));
    let fetch = format!("cargo xtask fetch {name}");
    let fix = fix.map_or(fetch.clone(), |fix| format!("{fix}; {fetch}"));
    let state = if state == OK { MISSING } else { state };
    Finding { name, state, text, fix: Some(fix), is_needed }
}

fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { name, state, text: found, fix, .. } in findings {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "{:<11}{name:<10}{found}", state.0);
        if let Some(fix) = fix {
            let _ = writeln!(text, "{:<21}fix: {fix}", "");
        }
    }
    text
}

/// Writes what the stages of each profile take; where the program is not built, how to build it.
fn memory_text(stages: &[Vec<Stage>]) -> String {
    let mut text = String::new();
    for ((name, _), stages) in PROFILES.iter().zip(stages) {
        let memory = match memory::describe(stages) {
            memory if memory.is_empty() => {
                format!("unknown yet: cargo xtask synergy plan {name}.toml")
            }
            memory => memory,
        };
        // Writing into a text cannot fail.
        let _ = writeln!(text, "{:<11}{name:<10}{memory}", "");
    }
    text
}

/// Gives `findings` and `profiles`, each a list of objects of the same shape, and the bytes of every stage by profile.
fn as_json(findings: &[Finding], profiles: &[Finding], stages: &[Vec<Stage>]) -> Value {
    let list = |all: &[Finding]| -> Value {
        let all = all.iter().map(|Finding { name, state, text, fix, is_needed }| {
            json!({"name": name, "state": state.0, "text": text, "fix": fix, "needed": is_needed})
        });
        all.collect()
    };
    let of_profile = |((name, _), stages): (&(&str, _), &Vec<Stage>)| {
        let bytes = stages.iter().map(|stage| (stage.name.clone(), stage.bytes));
        ((*name).to_owned(), bytes.collect::<Value>())
    };
    let memory: Value = PROFILES.iter().zip(stages).map(of_profile).collect();
    json!({"findings": list(findings), "profiles": list(profiles), "memory_bytes": memory})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu_with(driver: &str, gigabytes: u64) -> Vec<Gpu> {
        let bytes = Some(gigabytes * 1_000_000_000);
        vec![Gpu { name: "A GPU".to_owned(), driver: driver.to_owned(), bytes }]
    }

    #[test]
    fn only_what_smoke_needs_decides_the_exit_code() {
        let missing = Finding::missing("a", "", "");
        let unknown = Finding::other("b", UNKNOWN, "", "").needed();
        let fine = vec![missing.clone(), unknown, Finding::ok("c", "").needed()];
        assert!(!is_broken(&fine) && !is_broken(&[]));
        for state in [MISSING, TOO_OLD, TOO_LITTLE] {
            let needed = Finding { state, ..missing.clone() }.needed();
            assert!(is_broken(&[&fine[..], &[needed]].concat()), "{state:?}");
        }
        assert_eq!(on_cpu("smoke", false).state, OK);
        assert_eq!(on_cpu("smoke", true).state, MISSING);
    }

    #[test]
    fn versions_compare_by_number() {
        for (driver, state) in [
            ("525.60.12", TOO_OLD),
            ("99.60.13", TOO_OLD),
            ("525.60.13", OK),
            ("570.9", OK),
            ("1000.1", OK),
        ] {
            assert_eq!(driver_state(driver), state, "{driver}");
        }
        assert_eq!(super::driver(&[]).state, MISSING);
        let text = |driver: &str| super::driver(&gpu_with(driver, 80)).text;
        assert!(text("570.9").ends_with("by minor version compatibility"));
        assert!(
            text("570.26").ends_with(": CUDA 12.8") && text("580.65.06").ends_with(": CUDA 12.8")
        );
    }

    fn driver_state(driver: &str) -> State {
        super::driver(&gpu_with(driver, 80)).state
    }

    #[test]
    fn the_toolchain_is_the_one_of_the_file() {
        let state = |said| toolchain("1.95.0", said).state;
        assert_eq!(state(Some("rustc 1.95.0 (59807616e 2026-04-14)")), OK);
        assert_eq!(state(Some("rustc 1.100.0-nightly (0123 2027-01-01)")), TOO_NEW);
        assert_eq!(state(Some("rustc 1.9.0")), TOO_OLD);
        assert_eq!(state(Some("")), MISSING);
        assert_eq!(state(None), MISSING);
    }

    #[test]
    fn a_first_build_needs_more_room() {
        assert_eq!(disk(Some(2_000_000_000), false).state, TOO_LITTLE);
        assert_eq!(disk(Some(2_000_000_000), true).state, OK);
        assert_eq!(disk(None, false).state, UNKNOWN);
        assert_eq!(memory(Some(1_000_000_000)).state, TOO_LITTLE);
    }

    #[test]
    fn the_large_profiles_need_cuda_and_memory_and_say_that_they_were_not_run() {
        let needs = PROFILES[2].1.unwrap();
        let no_gpu = on_gpu("full-3b", needs, None, &[]);
        assert_eq!(no_gpu.state, MISSING);
        let fix = no_gpu.fix.unwrap();
        let want = "64.0 GB of GPU memory in its largest stage (an estimate; `cargo xtask synergy plan full-3b.toml`";
        assert!(fix.contains(want), "{fix}");
        let no_libtorch = on_gpu("full-3b", needs, None, &gpu_with("570.26", 80));
        assert!(no_libtorch.fix.unwrap().starts_with("cargo xtask libtorch --flavor cuda; "));
        let found = libtorch::tests::with_cuda();
        for (gigabytes, state, how) in [
            (16, TOO_LITTLE, "too little GPU memory"),
            (63, TOO_LITTLE, "too little GPU memory"),
            (80, OK, "should run here"),
        ] {
            let gpus = gpu_with("570.26", gigabytes);
            let finding = on_gpu("full-3b", needs, Some(&found), &gpus);
            assert_eq!(finding.state, state);
            assert!(finding.text.contains(how) && finding.text.contains("not run on CUDA yet"));
        }
        let old = on_gpu("full-3b", needs, Some(&found), &gpu_with("470.1", 80));
        assert_eq!(old.state, TOO_OLD);
    }

    #[test]
    fn a_large_profile_says_what_is_not_fetched() {
        for (name, needs) in PROFILES {
            assert_eq!(needs.is_some(), profile_item(name).is_some(), "{name}");
        }
        let there = with_data(Finding::ok("full-3b", "runs"), &[]);
        assert_eq!(there, Finding::ok("full-3b", "runs; model and data are fetched"));
        let lacking = with_data(
            Finding::ok("full-3b", "runs"),
            &["qwen2.5-vl-3b", "mmk12"].map(str::to_owned),
        );
        assert_eq!(lacking.state, MISSING);
        assert_eq!(lacking.text, "runs; not fetched: qwen2.5-vl-3b, mmk12");
        assert_eq!(lacking.fix.unwrap(), "cargo xtask fetch full-3b");
        let no_gpu = Finding::other("full-7b", TOO_LITTLE, "small GPU", "a larger GPU");
        let both = with_data(no_gpu, &["mmk12".to_owned()]);
        assert_eq!(both.state, TOO_LITTLE);
        assert_eq!(both.fix.unwrap(), "a larger GPU; cargo xtask fetch full-7b");
    }

    #[test]
    fn vllm_is_optional_and_too_old_by_another_list() {
        use crate::engine::Flavor;
        let whole = vllm(&Engine::Whole(Flavor::Cpu, "0.32.0".to_owned()));
        assert_eq!(whole, Finding::ok("vllm", "0.32.0 for the CPU"));
        for (installed, state) in [(Engine::Missing, MISSING), (Engine::Old(Flavor::Cuda), TOO_OLD)]
        {
            let finding = vllm(&installed);
            assert_eq!((finding.state, finding.is_needed), (state, false));
            assert_eq!(finding.fix.unwrap(), "cargo xtask engine vllm");
        }
    }

    #[test]
    fn findings_are_text_and_json() {
        let findings = [
            Finding::ok("rust", "1.95.0").needed(),
            Finding::missing("python", "no \"pip\"", "a\\b\nc"),
        ];
        assert_eq!(as_text(&findings[..1]), "ok         rust      1.95.0\n");
        let stages = vec![
            serde_json::from_str(r#"[{"name": "a", "kind": "sft", "memory_bytes": 1}]"#).unwrap(),
        ];
        let want = json!({
            "findings": [
                {"name": "rust", "state": "ok", "text": "1.95.0", "fix": null, "needed": true},
                {"name": "python", "state": "missing", "text": "no \"pip\"", "fix": "a\\b\nc", "needed": false},
            ],
            "profiles": [],
            "memory_bytes": {"smoke": {"a": 1}},
        });
        assert_eq!(as_json(&findings, &[], &stages), want);
    }
}
