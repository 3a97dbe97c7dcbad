//! Hashes the sources that decide what a checkpoint or a completion is, so that a change of code
//! never serves a stale artifact.

use std::path::{Path, PathBuf};

fn main() {
    // Asked at run time: a script that was compiled in another folder is not compiled again for this one.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where it builds");
    let root = Path::new(&manifest).join("..");
    let training = [
        "models/src",
        "benchmarks/src/families",
        "benchmarks/src/families.rs",
        "benchmarks/src/datasets",
        "benchmarks/src/datasets.rs",
        "benchmarks/src/sample.rs",
        "benchmarks/src/seed.rs",
        "benchmarks/src/answer.rs",
        "benchmarks/src/grade",
        "benchmarks/src/grade.rs",
        "suite/src/train",
        "suite/src/train.rs",
        "suite/src/limits.rs",
        "suite/src/planted.rs",
        "suite/src/reward.rs",
        "suite/src/run/data.rs",
        "suite/src/run/evaluation.rs",
        "suite/src/run/stage.rs",
        "suite/report/src/completion.rs",
    ];
    let mut files: Vec<PathBuf> = training.iter().flat_map(|path| list(&root.join(path))).collect();
    let is_test = |file: &PathBuf| file.iter().any(|part| part == "tests" || part == "tests.rs");
    files.retain(|file| !is_test(file));
    files.sort();
    // FNV-1a: enough to notice a change; artifacts themselves are hashed with blake3.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in &files {
        let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        // Tests stand at the end of each file, or in one of their own, and decide nothing.
        let text = String::from_utf8_lossy(&bytes);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for byte in code.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        println!("cargo::rerun-if-changed={}", file.display());
    }
    println!("cargo::rustc-env=SYNERGY_CODE_HASH={hash:016x}");
    find_libtorch_at_start();
}

/// Binaries find libtorch where it was when they were linked, with no variable set.
fn find_libtorch_at_start() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    if let (Some(_), Some(dir)) =
        (std::env::var_os("CARGO_FEATURE_LIBTORCH"), std::env::var_os("LIBTORCH"))
    {
        let lib = PathBuf::from(dir).join("lib");
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
}

fn list(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    entries.flat_map(|entry| list(&entry.expect("readable folder").path())).collect()
}
