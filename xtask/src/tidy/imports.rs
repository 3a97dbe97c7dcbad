//! Which file of a crate names which: circles, the order of the suite's rooms, and paths that a crate must not use.
//!
//! Does not know what the names mean. A file names another by `use`, by a path that begins with `crate`, `super`, `self`
//! or a module declared in it. A bare `mod x;` names nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, Kind, Piece, pieces};

/// Rooms of `suite/src`, and those above them, which they must not know.
const ROOMS: [(&str, &[&str]); 6] = [
    ("limits", &["plan", "train", "served", "run", "commands"]),
    ("recipe", &["plan", "train", "served", "run", "commands"]),
    ("plan", &["train", "served", "run", "commands"]),
    ("train", &["plan", "served", "run", "commands"]),
    ("served", &["plan", "run", "commands"]),
    ("run", &["commands"]),
];

/// Crates in which a file and the file of a module above it must not name each other either. Elsewhere the arrow from the
/// inner to the outer one does not count: a module's parts may use what the module defines.
const STRICT: [&str; 1] = ["xtask"];

/// Paths of libraries that a crate must not use.
const FORBIDDEN: [(&str, &[&str]); 1] = [("suite/report", &["std", "fs"])];

/// A path as it is written, with the line.
type Written = (Vec<String>, usize);

/// An arrow from one file to another: the names that it takes, and the line of the first.
type Arrows<'a> = BTreeMap<(&'a str, &'a str), (BTreeSet<String>, usize)>;

/// Finds circles of files, rooms that know one above them, and forbidden paths.
pub(super) fn check(files: &[File], found: &mut Vec<String>) {
    let mut crates: BTreeMap<&str, BTreeMap<Vec<String>, &File>> = BTreeMap::new();
    for file in files {
        if let Some(folder) = file.product() {
            let module = module(folder, &file.path);
            let modules = crates.entry(folder).or_default();
            // A library's root stands before a program's.
            if !module.is_empty()
                || file.path.ends_with("/lib.rs")
                || !modules.contains_key(&module)
            {
                modules.insert(module, file);
            }
        }
    }
    for (folder, modules) in &crates {
        let mut arrows = Arrows::new();
        for (module, file) in modules {
            for (path, line) in paths(&pieces(&file.text), module) {
                forbidden(folder, file, &path, line, found);
                let Some(inner) = path.strip_prefix(&["crate".to_owned()]) else { continue };
                let Some((target, length)) = resolve(modules, inner) else { continue };
                let is_up = inner.get(..length).is_some_and(|above| module.starts_with(above));
                let counts = !is_up || STRICT.contains(folder);
                if target.path != file.path && counts {
                    let name = inner.get(length).map_or("*", String::as_str).to_owned();
                    let arrow = arrows.entry((file.path.as_str(), target.path.as_str()));
                    arrow.or_insert((BTreeSet::new(), line)).0.insert(name);
                }
            }
        }
        if *folder == "suite" {
            rooms(&arrows, found);
        }
        circles(&arrows, found);
    }
}

/// Returns the path of a file's module within its crate.
fn module(folder: &str, path: &str) -> Vec<String> {
    let inner = path.strip_prefix(folder).and_then(|path| path.strip_prefix("/src/"));
    let inner = inner.unwrap_or_default().trim_end_matches(".rs");
    let mut parts: Vec<_> = inner.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("lib" | "main" | "mod")) {
        parts.pop();
    }
    parts
}

/// Finds the file that a path leads to, and how much of the path names the file.
fn resolve<'a>(
    modules: &BTreeMap<Vec<String>, &'a File>,
    path: &[String],
) -> Option<(&'a File, usize)> {
    let at = |length: &usize| Some((*modules.get(&path[..*length])?, *length));
    (0..=path.len()).rev().find_map(|length| at(&length))
}

/// Collects every path of a file: those within the crate from `crate` on, others as they are written.
fn paths(pieces: &[Piece], module: &[String]) -> Vec<Written> {
    let pieces: Vec<_> =
        pieces.iter().filter(|piece| !matches!(piece.kind, Kind::Comment { .. })).collect();
    let is = |at: usize, sign| pieces.get(at).is_some_and(|piece| piece.is(sign));
    let word = |at: usize| pieces.get(at).and_then(|piece| piece.word());
    let declared: BTreeSet<_> = (0..pieces.len())
        .filter(|at| word(*at) == Some("mod") && is(at + 2, ';'))
        .filter_map(|at| word(at + 1))
        .collect();
    let mut found = Vec::new();
    let mut depth = 0_usize;
    // Modules written out in the file, with the depth of their braces.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut at = 0;
    while at < pieces.len() {
        match &pieces[at].kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => {
                depth = depth.saturating_sub(1);
                inline.retain(|(_, start)| *start <= depth);
            }
            Kind::Word(first) => {
                if first == "mod"
                    && matches!(pieces.get(at + 2).map(|p| &p.kind), Some(Kind::Open(_)))
                {
                    inline.extend(word(at + 1).map(|name| (name.to_owned(), depth + 1)));
                }
                let is_use = at > 0 && word(at - 1) == Some("use");
                let is_start = !(is(at.wrapping_sub(1), ':') && is(at.wrapping_sub(2), ':'));
                // `pub(in crate::x)` uses nothing of it.
                let is_scope = at > 2 && word(at - 1) == Some("in") && word(at - 3) == Some("pub");
                if is_start && !is_scope && (is_use || is(at + 1, ':') && is(at + 2, ':')) {
                    let mut here = module.to_vec();
                    here.extend(inline.iter().map(|(name, _)| name.clone()));
                    let mut tree = Tree { pieces: &pieces, at, found: Vec::new() };
                    tree.read(&Vec::new(), is_use);
                    let next = tree.at.max(at + 1);
                    for (path, line) in tree.found {
                        found.extend(absolute(path, &here, &declared).map(|path| (path, line)));
                    }
                    at = next;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Writes a path within the crate from `crate` on; `here` is the module it stands in.
fn absolute(
    mut path: Vec<String>,
    here: &[String],
    declared: &BTreeSet<&str>,
) -> Option<Vec<String>> {
    let num_up = path.iter().take_while(|part| *part == "super").count();
    let start = match path.first()?.as_str() {
        "crate" => return Some(path),
        "self" => {
            path.remove(0);
            here.to_vec()
        }
        "super" => {
            path.drain(..num_up);
            here[..here.len().checked_sub(num_up)?].to_vec()
        }
        first if declared.contains(first) => here.to_vec(),
        _ => return Some(path),
    };
    Some(std::iter::once("crate".to_owned()).chain(start).chain(path).collect())
}

/// Reads a path, or the tree of a `use`.
struct Tree<'a> {
    pieces: &'a [&'a Piece],
    at: usize,
    found: Vec<Written>,
}

impl Tree<'_> {
    fn read(&mut self, prefix: &[String], is_use: bool) {
        let mut path = prefix.to_vec();
        let line = self.pieces.get(self.at).map_or(0, |piece| piece.line);
        loop {
            match self.pieces.get(self.at).map(|piece| &piece.kind) {
                Some(Kind::Word(word)) => {
                    path.push(word.clone());
                    self.at += 1;
                }
                Some(Kind::Sign('*')) if is_use => self.at += 1,
                Some(Kind::Open(_)) if is_use => {
                    self.at += 1;
                    while !matches!(
                        self.pieces.get(self.at).map(|p| &p.kind),
                        None | Some(Kind::Close(_))
                    ) {
                        let start = self.at;
                        self.read(&path, true);
                        // A comma, or what is not understood.
                        let is_comma = self.pieces.get(self.at).is_some_and(|piece| piece.is(','));
                        self.at += usize::from(is_comma || self.at == start);
                    }
                    self.at += 1;
                    return;
                }
                _ => break,
            }
            let is_sign = |at: usize| self.pieces.get(at).is_some_and(|piece| piece.is(':'));
            if !(is_sign(self.at) && is_sign(self.at + 1)) {
                break;
            }
            self.at += 2;
        }
        // Another name for it does not matter.
        if is_use && self.pieces.get(self.at).and_then(|piece| piece.word()) == Some("as") {
            self.at += 2;
        }
        self.found.push((path, line));
    }
}

fn forbidden(folder: &str, file: &File, path: &[String], line: usize, found: &mut Vec<String>) {
    for (layer, start) in FORBIDDEN {
        if layer == folder
            && path.len() >= start.len()
            && path.iter().zip(start).all(|(a, b)| a == b)
        {
            found.push(format!(
                "{}:{line}: {layer} must not use `{}`",
                file.path,
                start.join("::")
            ));
        }
    }
}

fn rooms(arrows: &Arrows, found: &mut Vec<String>) {
    let room = |path: &str| module("suite", path).into_iter().next().unwrap_or_default();
    for ((from, to), (names, line)) in arrows {
        let is_above = |(below, above): &(&str, &[&str])| {
            room(from) == *below && above.contains(&room(to).as_str())
        };
        if ROOMS.iter().any(is_above) {
            let names = listed(names);
            found.push(format!("{from}:{line}: `{}` must not know {to} ({names})", room(from)));
        }
    }
}

/// Returns all files that arrows lead to from `start`.
fn reached<'a>(arrows: &Arrows<'a>, start: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut pending = vec![start];
    while let Some(from) = pending.pop() {
        let next = arrows.keys().filter(|(other, _)| *other == from).map(|(_, to)| *to);
        pending.extend(next.filter(|to| seen.insert(*to)));
    }
    seen
}

/// Finds files that lead back to themselves.
fn circles(arrows: &Arrows, found: &mut Vec<String>) {
    let files: BTreeSet<_> = arrows.keys().map(|(from, _)| *from).collect();
    let reach: BTreeMap<_, _> = files.iter().map(|file| (*file, reached(arrows, file))).collect();
    let mut done = BTreeSet::new();
    for file in files {
        let is_mutual = |other: &&&str| reach.get(**other).is_some_and(|seen| seen.contains(file));
        let circle: BTreeSet<_> = reach[file].iter().filter(is_mutual).copied().collect();
        if circle.is_empty() || !done.insert(circle.clone()) {
            continue;
        }
        let within = arrows.iter().filter(|((a, b), _)| circle.contains(a) && circle.contains(b));
        let within: Vec<_> = within
            .map(|((from, to), (names, line))| format!("{from}:{line} -> {to} ({})", listed(names)))
            .collect();
        let num = circle.len();
        found.push(format!("{file}: a circle of {num} files: {}", within.join("; ")));
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_files(files: &[(&str, &str)], want: &[&str]) {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        let mut found = Vec::new();
        check(&files, &mut found);
        assert_eq!(found, want);
    }

    #[test]
    fn a_circle_is_found_however_its_arrows_are_written() {
        let a = ("m/src/a.rs", "use crate::b::{self, c::{D as E, *}};\nfn a() { x(b::f()) }");
        for back in [
            "fn b() -> crate::a::T {}",
            "use super::super::a::T;",
            "use crate::{x::Y, a::T};",
            "fn b() { format!(\"{}\", crate::a::T) }",
            "mod inner { use super::super::super::a::T; }",
            "pub use crate::a::T as U;",
        ] {
            let want = "m/src/a.rs: a circle of 2 files: m/src/a.rs:1 -> m/src/b/c.rs (*, D); \
                        m/src/b/c.rs:1 -> m/src/a.rs (T)";
            let lib = ("m/src/lib.rs", "mod a;\nmod b;");
            check_files(&[lib, a, ("m/src/b.rs", "mod c;"), ("m/src/b/c.rs", back)], &[want]);
        }
    }

    #[test]
    fn a_parent_and_a_child_that_name_each_other_are_a_circle_where_the_rule_is_strict() {
        let child = ("xtask/src/b/c.rs", "use super::T;");
        check_files(&[("xtask/src/b.rs", "mod c;\nstruct T;"), child], &[]);
        let want = "xtask/src/b.rs: a circle of 2 files: xtask/src/b.rs:2 -> xtask/src/b/c.rs (f); \
                    xtask/src/b/c.rs:1 -> xtask/src/b.rs (T)";
        check_files(&[("xtask/src/b.rs", "mod c;\npub use c::f;\nstruct T;"), child], &[want]);
        check_files(&[("xtask/src/b.rs", "mod c;\nfn g() { c::f() }"), child], &[want]);
        check_files(
            &[("m/src/b.rs", "mod c;\nfn g() { c::f() }"), ("m/src/b/c.rs", "use super::T;")],
            &[],
        );
    }

    #[test]
    fn tests_comments_and_other_crates_make_no_circle() {
        let a = ("m/src/a.rs", "use crate::b::T;\n#[cfg(test)]\nmod tests { use crate::c; }");
        let b = (
            "m/src/b.rs",
            "//! See [`crate::a`].\nuse other::a::T;\npub(in crate::a) fn f() { \"crate::a::T\" }",
        );
        let tests = ("m/src/b/tests.rs", "use crate::a::T;");
        check_files(
            &[a, b, tests, ("n/src/c.rs", "use crate::a;"), ("m/src/c.rs", "use crate::a::T;")],
            &[],
        );
    }

    #[test]
    fn rooms_know_only_what_is_below_them() {
        let plan =
            ("suite/src/plan/estimate.rs", "use crate::run::data::CHUNK;\nuse crate::limits::X;");
        let run = ("suite/src/run/data.rs", "use crate::recipe::Recipe;");
        let want =
            "suite/src/plan/estimate.rs:1: `plan` must not know suite/src/run/data.rs (CHUNK)";
        check_files(
            &[plan, run, ("suite/src/limits.rs", "//! L."), ("suite/src/recipe.rs", "")],
            &[want],
        );
    }

    #[test]
    fn the_report_does_not_touch_files() {
        let text =
            "use std::{fmt, fs::{self, File}};\nfn f() { std::fs::read(\"x\"); std::fmt::f() }";
        let at =
            |line| format!("suite/report/src/a.rs:{line}: suite/report must not use `std::fs`");
        check_files(&[("suite/report/src/a.rs", text)], &[&at(1), &at(1), &at(2)]);
        check_files(&[("suite/src/a.rs", text)], &[]);
    }
}
