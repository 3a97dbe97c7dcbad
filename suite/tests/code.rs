//! The hash of the code moves with every product token and stays with everything else.

#[path = "../build/code.rs"]
mod code;

use std::path::Path;

use code::{File, LIBRARIES, LIBTORCH, PLACES};

const LOCK: &str = include_str!("../../Cargo.lock");

const PRODUCT: &str = r#"//! A module.
use std::fmt;
#[cfg(test)]
mod replay;

/// Doubles.
#[inline]
pub fn twice(x: u32) -> u32 {
    // By a sum.
    x + x
}

#[cfg(test)]
pub(crate) const CASES: [u32; 2] = { [1, 2] };
#[cfg(all(test, target_os = "linux"))]
use std::fs::{read, write};

pub fn thrice(x: u32) -> u32 {
    twice(x) + x
}

#[cfg(test)]
mod tests {
    #[test]
    fn four() {
        assert_eq!(super::twice(2), 4);
    }
}
"#;

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[track_caller]
fn hash(files: &[File]) -> u64 {
    code::hash(files).expect("the files are Rust")
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn only_product_tokens_count() {
    let of = |text: &str| hash(&[file("a/b.rs", text)]);
    let edited = |from: &str, to: &str| {
        assert!(PRODUCT.contains(from), "{from}");
        of(&PRODUCT.replacen(from, to, 1))
    };
    let before = of(PRODUCT);
    for (from, to) in [
        ("//! A module.", "//! A better module.\n//! It doubles and triples."),
        ("/// Doubles.\n", ""),
        ("#[inline]", "#[doc = \"Doubles.\"]\n#[inline]"),
        ("// By a sum.", "/* By one sum. */"),
        ("    x + x", "x\n        + x"),
        ("mod replay;", "mod recorded;"),
        ("[1, 2]", "[1, 3]"),
        ("{read, write}", "read"),
        ("mod tests {", "mod tests {\n    use super::*;"),
        ("(2), 4", "(3), 6"),
    ] {
        assert_eq!(edited(from, to), before, "`{from}` to `{to}`");
    }
    for (from, to) in [
        ("x + x", "x * x"),
        ("x + x", "x + y"),
        ("twice(x) + x", "twice(x) + x + 0"),
        ("#[inline]", "#[inline(never)]"),
        ("use std::fmt;", "use std::fs;"),
        ("pub fn thrice", "fn thrice"),
        // A product item that follows one of the tests.
        ("#[cfg(test)]\npub(crate) const", "pub(crate) const"),
        ("#[cfg(all(test, target_os = \"linux\"))]", "#[cfg(any(test, target_os = \"linux\"))]"),
        ("#[cfg(test)]\nmod replay", "#[cfg(not(test))]\nmod replay"),
    ] {
        assert_ne!(edited(from, to), before, "`{from}` to `{to}`");
    }
}

#[test]
fn items_of_tests_end_where_rust_ends_them() {
    let of = |text: &str| hash(&[file("a.rs", text)]);
    let product = "fn a() { b(1) }";
    for tests in [
        "use x::{a, b};",
        "pub(in crate::x) use x::y;",
        "const A: T = T { x: 1 };",
        "static A: [u8; 2] = { [1, 2] };",
        "type A = B<{ 1 }>;",
        "extern crate a;",
        "mod a;",
        "mod a { fn b() {} }",
        "struct A;",
        "struct A(u8, u8);",
        "pub struct A<T> where T: B { x: T }",
        "enum A { B { x: u8 } }",
        "impl<T> A for B<T> { fn c() {} }",
        "unsafe impl A for B {}",
        "const fn a(x: [u8; 2]) -> u8 { x[0] }",
        "async fn a() {}",
        "extern \"C\" fn a() {}",
        "macro_rules! a { () => {}; }",
        "macro_rules! a (() => {};);",
    ] {
        let text = format!("#[cfg(test)] #[inline] {tests} {product}");
        assert_eq!(of(&text), of(product), "{tests}");
        assert_ne!(of(&text), of(&text.replace("b(1)", "b(2)")), "{tests}");
    }
    // Neither a field nor a statement is an item: they count, which is safe.
    for other in
        ["struct A { #[cfg(test)] x: B<C, D>, y: u8 }", "fn a() { #[cfg(test)] b(1); c(); }"]
    {
        assert_ne!(of(other), of(&other.replace("#[cfg(test)]", "")), "{other}");
        for (from, to) in [("y: u8", "y: u16"), ("c()", "d()")] {
            assert!(!other.contains(from) || of(other) != of(&other.replace(from, to)), "{other}");
        }
    }
    assert_eq!(of("#![cfg(test)] fn a() {}"), hash(&[]));
    assert_ne!(of("fn a() { x << 1 }"), of("fn a() { x < < 1 }"));
}

#[test]
fn a_file_counts_wherever_it_lies_unless_tests_declare_it() {
    let [a, b, data] =
        [file("x/a.rs", "fn a() {}"), file("x/b.rs", "fn b() {}"), file("x/c.json", "[1]")];
    let before = hash(&[a.clone(), b.clone(), data.clone()]);
    let renamed = File { path: "y/z/d.rs".into(), ..a.clone() };
    assert_eq!(hash(&[data.clone(), b.clone(), renamed]), before);
    assert_eq!(code::combined(vec![1, 2]), code::combined(vec![2, 1]));
    assert_eq!(hash(&[a.clone(), b.clone(), data.clone(), file("x/e.rs", "//! Docs.")]), before);
    assert_ne!(hash(&[a.clone(), b.clone()]), before);
    assert_ne!(hash(&[a.clone(), a.clone(), b.clone(), data.clone()]), before);
    assert_ne!(hash(&[a.clone(), b.clone(), file("x/c.json", "[2]")]), before);

    let declares = |name: &str, keyword: &str| {
        file("x/b.rs", &format!("#[cfg(test)] {keyword} mod {name}; fn b() {{}}"))
    };
    for (name, keyword, path, counts) in [
        ("tests", "", "x/b/tests.rs", false),
        ("fixture", "pub(crate)", "x/b/fixture.rs", false),
        ("tests", "", "x/b/tests/more.rs", false),
        ("tests", "", "x/b/tests/rows.json", false),
        ("tests", "", "x/tests.rs", true),
        ("tests", "", "x/b/tests_of.rs", true),
    ] {
        let files = [a.clone(), declares(name, keyword), data.clone(), file(path, "fn t() {}")];
        assert_eq!(hash(&files) != before, counts, "{path}");
    }
    // A root declares the files beside it.
    let root = file("x/lib.rs", "#[cfg(test)] mod tests; fn b() {}");
    assert_eq!(hash(&[a, root, data, file("x/tests.rs", "fn t() {}")]), before);
}

#[test]
fn a_product_token_of_every_place_moves_the_hash_and_a_comment_none() {
    let files = code::read(&root(), PLACES).unwrap();
    let before = hash(&files);
    let mut commented = files.clone();
    for file in commented.iter_mut().filter(|file| file.path.ends_with(".rs")) {
        file.text.push_str("\n// A remark.\n#[cfg(test)]\nmod further {\n    //! Tests.\n}\n");
    }
    assert_eq!(hash(&commented), before);
    for place in PLACES {
        // At the end, behind every item of tests, and in the middle.
        let edits: [fn(&str) -> String; 2] = [
            |text| format!("{text}\nconst ADDED: u8 = 1;"),
            |text| text.replacen("pub fn ", "pub fn renamed_", 1),
        ];
        let mut files = code::read(&root(), &[place]).unwrap();
        let before = hash(&files);
        for edit in edits {
            let is_edited = |file: &&mut File| {
                file.path.ends_with(".rs")
                    && !file.path.contains("test")
                    && edit(&file.text) != file.text
            };
            let file = files.iter_mut().find(is_edited).expect("a place has code");
            let path = file.path.clone();
            let text = file.text.clone();
            file.text = edit(&text);
            assert_ne!(hash(&files), before, "{path}");
            let file = files.iter_mut().find(|file| file.path == path);
            file.expect("it is there").text = text;
        }
    }
    let error = code::read(&root(), &["suite/src/nowhere"]).unwrap_err();
    assert!(error.starts_with("cannot read `suite/src/nowhere`, which cache keys"), "{error}");
    assert!(error.contains("\nhint: has it moved?"), "{error}");
}

#[test]
fn no_file_of_tests_counts_in_the_real_folders() {
    let files = code::read(&root(), PLACES).unwrap();
    let before = hash(&files);
    let is_of_tests = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let mut edited = files.clone();
    let tests = edited.iter_mut().filter(|file| is_of_tests(&file.path));
    let count = tests.map(|file| file.text.push_str("\nconst ADDED: u8 = 1;")).count();
    assert!(count > 2, "{count} files of tests");
    assert_eq!(hash(&edited), before);
}

/// `LOCK` with another version of `package`.
fn upgraded(package: &str) -> String {
    let start = LOCK.find(&format!("name = \"{package}\"\nversion = \"")).expect(package);
    let (before, after) = LOCK.split_at(start);
    format!("{before}{}", after.replacen("version = \"", "version = \"9", 1))
}

#[test]
fn a_locked_version_counts_if_its_package_computes() {
    let of = |lock: &str| {
        (
            code::packages(lock, LIBRARIES, LIBTORCH).unwrap(),
            code::packages(lock, LIBTORCH, &[]).unwrap(),
        )
    };
    let before = of(LOCK);
    for package in ["burn", "burn-flex", "gemm-f32", "image", "zune-jpeg", "rand", "tokenizers"] {
        let after = of(&upgraded(package));
        assert!(after.0 != before.0 && after.1 == before.1, "{package}");
    }
    for package in LIBTORCH {
        let after = of(&upgraded(package));
        assert!(after.0 == before.0 && after.1 != before.1, "{package}");
    }
    for package in ["insta", "clap", "ureq", "synergy-suite"] {
        assert_eq!(of(&upgraded(package)), before, "{package}");
    }
    let at = LOCK.find("name = \"burn\"\n").unwrap();
    let (head, tail) = LOCK.split_at(at);
    let rebuilt = format!("{head}{}", tail.replacen("checksum = \"", "checksum = \"0", 1));
    assert_ne!(of(&rebuilt), before);
    let error = code::packages(LOCK, &["burn", "no-such-package"], &[]).unwrap_err();
    assert!(error.starts_with("Cargo.lock has no package `no-such-package`, which"), "{error}");
}

#[test]
fn the_version_of_libtorch_is_that_of_its_wheels() {
    let lock = include_str!("../../xtask/libtorch.lock");
    let version = code::libtorch(lock).unwrap();
    assert!(version.split('.').count() == 3, "{version}");
    let two = format!("{lock}\n\"torch-0.1.0-cp311.whl\" = \"00\"\n");
    for lock in ["", &two] {
        assert!(code::libtorch(lock).unwrap_err().contains("must name one version of torch"));
    }
}
