//! Gives the suite the hash of the code that decides bits, and its binaries the place of libtorch.

use std::path::{Path, PathBuf};

#[path = "build/code.rs"]
mod code;

const CARGO_LOCK: &str = "Cargo.lock";
const LIBTORCH_LOCK: &str = "xtask/libtorch.lock";

fn main() {
    // Asked at run time: a script that was compiled in another folder is not compiled again for this one.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where it builds");
    let root = Path::new(&manifest).join("..");
    for path in code::PLACES.iter().chain([&CARGO_LOCK, &LIBTORCH_LOCK]) {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    if let Err(error) = hash(&root) {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
    }
    find_libtorch_at_start();
}

/// Hands the hash of the code and of what computes below it to the compiler, and that of libtorch.
fn hash(root: &Path) -> Result<(), String> {
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path));
        text.map_err(|error| format!("cannot read `{path}`: {error}"))
    };
    let lock = read(CARGO_LOCK)?;
    let own = code::hash(&code::read(root, code::PLACES)?)?;
    let libraries = code::packages(&lock, code::LIBRARIES, code::LIBTORCH)?;
    println!("cargo::rustc-env=SYNERGY_CODE_HASH={:016x}", code::combined(vec![own, libraries]));
    let lock_of_libtorch = read(LIBTORCH_LOCK)?;
    let version = code::libtorch(&lock_of_libtorch)?;
    let packages = code::packages(&lock, code::LIBTORCH, &[])?;
    println!("cargo::rustc-env=SYNERGY_LIBTORCH=libtorch {version} {packages:016x}");
    Ok(())
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
