//! The hash of the code that decides what a checkpoint or a completion is.
//!
//! A cache key contains this hash, so that a change of code never serves a stale artifact. It is made of tokens:
//! comments, documentation and tests do not count. Every file is hashed by itself and the sorted hashes are combined:
//! a file that only moves does not count either. The build script and a test compile this module, so it knows neither
//! cargo nor the suite. In doubt it hashes too much: that costs time, the opposite costs a wrong result.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// Folders and files, from the root of the workspace, whose code decides bits. A missing one stops the build.
///
/// The store and the journal are left out: they move bytes, which are hashed when written and checked when read.
pub(crate) const PLACES: &[&str] = &[
    "models/src",
    "benchmarks/grade/src",
    "benchmarks/picture/src",
    "benchmarks/src",
    "suite/report/src/completion.rs",
    "suite/src/device.rs",
    "suite/src/limits.rs",
    "suite/src/planted.rs",
    "suite/src/recipe",
    "suite/src/recipe.rs",
    "suite/src/reward.rs",
    "suite/src/run/artifact.rs",
    "suite/src/run/base.rs",
    "suite/src/run/data.rs",
    "suite/src/run/evaluation.rs",
    "suite/src/run/stage.rs",
    "suite/src/train",
    "suite/src/train.rs",
];

/// Packages of Cargo.lock that compute on every device; `*` at the end stands for any ending. They draw and decode
/// pictures, read rows, draw random numbers, cut text into tokens and multiply matrices.
pub(crate) const LIBRARIES: &[&str] = &[
    "ab_glyph*",
    "burn*",
    "csv",
    "csv-core",
    "epaint_default_fonts",
    "fancy-regex",
    "gemm*",
    "half",
    "image",
    "libm",
    "macerator",
    "minijinja",
    "parquet",
    "png",
    "pulp",
    "rand",
    "rand_chacha",
    "rand_core",
    "regex*",
    "safetensors",
    "tiny-skia*",
    "tokenizers",
    "zune-*",
];

/// Packages of Cargo.lock that compute where libtorch does, and only there.
pub(crate) const LIBTORCH: &[&str] = &["burn-tch", "tch", "torch-sys"];

/// A file that is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Path from the root of the workspace, with `/` between its parts.
    pub path: String,
    /// Its content, as UTF-8.
    pub text: String,
}

/// Reads every file in `places`, each once, in the order of their paths.
///
/// # Errors
/// If a place does not exist or a file cannot be read as UTF-8.
pub(crate) fn read(root: &Path, places: &[&str]) -> Result<Vec<File>, String> {
    let mut paths = BTreeSet::new();
    for place in places {
        collect(root, place, &mut paths).map_err(|error| {
            format!(
                "cannot read `{place}`, which cache keys depend on: {error}\n\
                 hint: has it moved? the list of such places is `PLACES` in suite/build/code.rs"
            )
        })?;
    }
    let file = |path: String| {
        let text = fs::read_to_string(root.join(&path));
        let text = text.map_err(|error| format!("cannot read `{path}`: {error}"))?;
        Ok(File { path, text })
    };
    paths.into_iter().map(file).collect()
}

fn collect(root: &Path, path: &str, paths: &mut BTreeSet<String>) -> std::io::Result<()> {
    if fs::metadata(root.join(path))?.is_file() {
        paths.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(root.join(path))? {
        let name = entry?.file_name();
        collect(root, &format!("{path}/{}", name.to_string_lossy()), paths)?;
    }
    Ok(())
}

/// Hash of the product code in `files`, without the files that only tests declare. A file that is not Rust counts
/// byte for byte.
///
/// # Errors
/// If a file is not Rust that can be cut into tokens.
pub(crate) fn hash(files: &[File]) -> Result<u64, String> {
    let mut codes = Vec::new();
    // Files and folders of modules that exist in tests only.
    let mut tests = Vec::new();
    for File { path, text } in files {
        let Some(module) = path.strip_suffix(".rs") else {
            codes.push((path, text.clone()));
            continue;
        };
        let stream = text.parse::<TokenStream>();
        let stream = stream.map_err(|error| format!("cannot parse `{path}`: {error}"))?;
        let mut code = Code::default();
        code.add(stream, true);
        let folder = match module.rsplit_once('/') {
            Some((folder, "lib" | "main" | "mod")) => folder,
            _ => module,
        };
        tests.extend(code.test_modules.iter().map(|name| format!("{folder}/{name}")));
        codes.push((path, code.text));
    }
    let is_test = |path: &str| {
        let below = |test: &String| path.strip_prefix(test.as_str());
        tests.iter().filter_map(below).any(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    let product = codes.iter().filter(|(path, code)| !code.is_empty() && !is_test(path));
    Ok(combined(product.map(|(_, code)| fnv(code.as_bytes())).collect()))
}

/// Hash of the locked packages called `names` but not `others`: version, source and checksum of each.
///
/// # Errors
/// If a name matches no package of `lock`, the text of a Cargo.lock.
pub(crate) fn packages(lock: &str, names: &[&str], others: &[&str]) -> Result<u64, String> {
    let mut used = BTreeSet::new();
    let mut hashes = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        // What it depends on are other packages; behind it stands no more than that.
        let lines = package.lines().take_while(|line| !line.starts_with("dependencies"));
        let field = |key: &str| {
            let line = lines.clone().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"'))
        };
        let Some(name) = field("name") else { continue };
        let called = |pattern: &&str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *pattern,
        };
        let Some(by) = names.iter().find(|pattern| called(pattern)) else { continue };
        used.insert(by);
        if !others.iter().any(called) {
            let fields = ["name", "version", "source", "checksum"].map(field);
            hashes.push(fnv(format!("{fields:?}").as_bytes()));
        }
    }
    match names.iter().find(|name| !used.contains(name)) {
        Some(name) => Err(format!(
            "Cargo.lock has no package `{name}`, which cache keys depend on\n\
             hint: is it still used? the lists of such packages are in suite/build/code.rs"
        )),
        None => Ok(combined(hashes)),
    }
}

/// The version of libtorch in `lock`, the text of xtask/libtorch.lock.
///
/// # Errors
/// If it names no wheel of torch, or wheels of several versions.
pub(crate) fn libtorch(lock: &str) -> Result<&str, String> {
    let version = |line| str::strip_prefix(line, "\"torch-")?.split('-').next();
    let versions: BTreeSet<&str> = lock.lines().filter_map(version).collect();
    match (versions.first(), versions.len()) {
        (Some(version), 1) => Ok(version),
        _ => Err(format!("xtask/libtorch.lock must name one version of torch, not {versions:?}")),
    }
}

/// One hash of many, whatever their order.
pub(crate) fn combined(mut hashes: Vec<u64>) -> u64 {
    hashes.sort_unstable();
    fnv(&hashes.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}

/// FNV-1a, which is enough to notice a change; artifacts themselves are hashed with blake3.
fn fnv(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// The tokens of a file that count.
#[derive(Default)]
struct Code {
    /// The tokens, each with a line's end behind it.
    text: String,
    /// Modules of the file's top level that exist in tests only.
    test_modules: Vec<String>,
}

impl Code {
    /// Adds what counts of `stream`, which is the whole file if `is_top`.
    fn add(&mut self, stream: TokenStream, is_top: bool) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let attributes = attributes(&tokens[at..]);
            let end = at + attributes.iter().map(|a| a.num_tokens).sum::<usize>();
            if is_top && attributes.iter().any(|a| a.is_inner && is_test(&a.content)) {
                // The whole file is a test.
                self.text.clear();
                return;
            }
            let is_of_tests = attributes.iter().any(|a| !a.is_inner && is_test(&a.content));
            if let Some(item) = is_of_tests.then(|| item(&tokens[end..])).flatten() {
                self.test_modules.extend(item.module.filter(|_| is_top));
                at = end + item.num_tokens;
                continue;
            }
            if attributes.is_empty() {
                self.push(token);
                at += 1;
                continue;
            }
            for attribute in attributes.iter().filter(|a| !is_named(&a.content, "doc")) {
                self.text.push_str(if attribute.is_inner { "#!\n" } else { "#\n" });
                self.push_group(
                    Delimiter::Bracket,
                    TokenStream::from_iter(attribute.content.clone()),
                );
            }
            at = end;
        }
    }

    fn push(&mut self, token: &TokenTree) {
        match token {
            TokenTree::Group(group) => return self.push_group(group.delimiter(), group.stream()),
            // `< <` and `<<` are not the same.
            TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint => {
                self.text.push(punct.as_char());
                self.text.push('+');
            }
            other => self.text.push_str(&other.to_string()),
        }
        self.text.push('\n');
    }

    fn push_group(&mut self, delimiter: Delimiter, stream: TokenStream) {
        let [open, close] = match delimiter {
            Delimiter::Parenthesis => ["(\n", ")\n"],
            Delimiter::Brace => ["{\n", "}\n"],
            Delimiter::Bracket => ["[\n", "]\n"],
            Delimiter::None => ["", ""],
        };
        self.text.push_str(open);
        self.add(stream, false);
        self.text.push_str(close);
    }
}

/// `#[…]` or `#![…]`.
struct Attribute {
    is_inner: bool,
    /// What stands between its brackets.
    content: Vec<TokenTree>,
    num_tokens: usize,
}

/// The attributes that `tokens` begins with.
fn attributes(tokens: &[TokenTree]) -> Vec<Attribute> {
    let mut found = Vec::new();
    let mut rest = tokens;
    loop {
        let (is_inner, content) = match rest {
            [TokenTree::Punct(hash), TokenTree::Group(group), ..] if hash.as_char() == '#' => {
                (false, group)
            }
            [TokenTree::Punct(hash), TokenTree::Punct(inner), TokenTree::Group(group), ..]
                if hash.as_char() == '#' && inner.as_char() == '!' =>
            {
                (true, group)
            }
            _ => return found,
        };
        if content.delimiter() != Delimiter::Bracket {
            return found;
        }
        let num_tokens = if is_inner { 3 } else { 2 };
        let content = content.stream().into_iter().collect();
        found.push(Attribute { is_inner, content, num_tokens });
        rest = &rest[num_tokens..];
    }
}

/// Whether the attribute with this content is called `name`.
fn is_named(content: &[TokenTree], name: &str) -> bool {
    matches!(content.first(), Some(TokenTree::Ident(ident)) if ident == name)
}

/// Whether the attribute with this content is `cfg(test)` or `cfg(all(test, …))`: what it stands at is for tests only.
fn is_test(content: &[TokenTree]) -> bool {
    let [TokenTree::Ident(cfg), TokenTree::Group(condition)] = content else { return false };
    let condition: Vec<TokenTree> = condition.stream().into_iter().collect();
    cfg == "cfg"
        && match condition.as_slice() {
            [TokenTree::Ident(test)] => test == "test",
            [TokenTree::Ident(all), TokenTree::Group(parts)] if all == "all" => {
                let parts: Vec<TokenTree> = parts.stream().into_iter().collect();
                parts.split(is_comma).any(|part| part.len() == 1 && is_named(part, "test"))
            }
            _ => false,
        }
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')
}

/// An item behind its attributes.
struct Item {
    num_tokens: usize,
    /// Its name, if it is a module.
    module: Option<String>,
}

/// The item that `tokens` begins with; `None` for a field, a statement and whatever else may have attributes.
fn item(tokens: &[TokenTree]) -> Option<Item> {
    let word = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => ident.to_string(),
        _ => String::new(),
    };
    let is_group = |at: usize, delimiter| matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == delimiter);
    let mut start = 0;
    if word(0) == "pub" {
        start = if is_group(1, Delimiter::Parenthesis) { 2 } else { 1 };
    }
    let next = word(start + 1);
    let ends_with_braces = match word(start).as_str() {
        "use" | "static" | "type" => false,
        "const" => matches!(next.as_str(), "fn" | "unsafe" | "async" | "extern"),
        "extern" => next != "crate",
        "fn" | "mod" | "struct" | "enum" | "union" | "trait" | "impl" | "unsafe" | "async"
        | "macro_rules" => true,
        _ => return None,
    };
    let is_end = |at: usize| match &tokens[at] {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => ends_with_braces && is_group(at, Delimiter::Brace),
    };
    let end = (start..tokens.len()).find(|at| is_end(*at))?;
    let module = (word(start) == "mod").then_some(next);
    Some(Item { num_tokens: end + 1, module })
}
