//! A recipe as it is written: the keys and values of a file and of the files that it extends, each with its place.
//!
//! Does not know what a key means, but for `extends`, `like`, `kind` and the four keys by which a stage names a table.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use anyhow::{Error, Result, anyhow, ensure};
use serde::de::DeserializeOwned;
use synergy_hint::{Explain as _, Hinted, hint};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::fault::{Checked, Fault, require};

/// The folder of the project's own recipes, from its root.
pub const RECIPES: &str = "suite/recipes";

/// The key that names the file a recipe extends, relative to its own folder or to [`RECIPES`].
const EXTENDS: &str = "extends";

/// The key of a stage that names another, which has what the stage does not give itself.
const LIKE: &str = "like";

/// What errors of serde about one key or value begin with.
const OF_ONE: [&str; 5] =
    ["invalid type", "invalid value", "invalid length", "unknown field", "unknown variant"];

/// Keys of a stage that name a table, and the table of `tables` that they name one of.
const REFERENCES: [(&str, &str); 4] = [
    ("training", "trainings"),
    ("optimizer", "optimizers"),
    ("questions", "questions"),
    ("reward", "rewards"),
];

/// The text of a recipe's file.
pub(super) struct File {
    /// `None` for the recipe itself, which errors need not name.
    name: Option<String>,
    text: String,
}

impl File {
    /// A recipe that is in no file and extends none.
    pub(super) fn of_text(text: &str) -> File {
        File { name: None, text: text.to_owned() }
    }

    /// The recipe at `path`, then the file that it extends, then the file that this one extends, and so on.
    ///
    /// # Errors
    /// If a file cannot be read, or extends itself.
    pub(super) fn with_extended(path: &Path) -> Result<Vec<File>> {
        let text = std::fs::read_to_string(path).explain(|| {
            hint!(
                ("failed to read recipe `{}`", path.display()),
                "a recipe is a text file in UTF-8, like those in suite/recipes"
            )
        })?;
        let mut next = extended(&text);
        let mut files = vec![File { name: None, text }];
        while let Some(name) = next {
            let is_read = |file: &File| file.name.as_ref() == Some(&name);
            ensure!(
                !path.ends_with(&name) && !files.iter().any(is_read),
                hint!(
                    "`{name}` extends itself, directly or by another file",
                    "leave out one `extends`"
                )
            );
            // A recipe of one's own, anywhere, extends those of the project.
            let beside = path.with_file_name(&name);
            let found = if beside.is_file() { beside } else { Path::new(RECIPES).join(&name) };
            let text = std::fs::read_to_string(found).explain(|| {
                hint!(
                    "failed to read `{name}`, which the recipe extends",
                    ("`extends` names a file in the recipe's own folder, or in {RECIPES}")
                )
            })?;
            next = extended(&text);
            files.push(File { name: Some(name), text });
        }
        Ok(files)
    }
}

/// The value of `extends`, if the text has one that can be read; what cannot be read is reported later, with its line.
fn extended(text: &str) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    Some(root.get_ref().get(EXTENDS)?.get_ref().as_str()?.to_owned())
}

/// Keys and values of all files together. Places count through the texts of the files, one after the other.
pub(super) struct RawRecipe<'t> {
    files: &'t [File],
    root: DeTable<'t>,
}

impl<'t> RawRecipe<'t> {
    /// Lays each file over the one that it extends: tables are merged key by key, other values and tables of another `kind`
    /// are replaced.
    ///
    /// # Errors
    /// If a text is not TOML; the error names the line.
    pub(super) fn new(files: &'t [File]) -> Result<RawRecipe<'t>> {
        let mut raw = RawRecipe { files, root: DeTable::new() };
        let mut start = 0;
        for file in files {
            let table = DeTable::parse(&file.text).map_err(|error| {
                let cause = anyhow!("{}", error.message());
                raw.at(start + error.span().unwrap_or_default().start, cause)
            })?;
            let mut table = moved_table(table.into_inner(), start);
            // A text without a file has no folder to look in, so that the key is unknown there.
            if files.len() > 1 {
                table.remove(EXTENDS);
            }
            overlay(&mut raw.root, table);
            start += file.text.len() + 1;
        }
        Ok(raw)
    }

    /// The values under `key`, as a type.
    ///
    /// # Errors
    /// If they do not fit the type; the error names the line.
    pub(super) fn table<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T> {
        match self.root.get(key) {
            Some(value) if value.get_ref().is_table() => {
                let DeValue::Table(table) = value.get_ref().clone() else {
                    return Ok(T::default());
                };
                self.read(&Spanned::new(value.span(), table))
            }
            _ => Ok(T::default()),
        }
    }

    /// The whole recipe as a type, with the table that a stage names in the place of the name: `{ name, value }`.
    ///
    /// # Errors
    /// If a table is not there, or the values do not fit the type; the error names the line.
    pub(super) fn resolved<T: DeserializeOwned>(&self) -> Result<T> {
        let mut root = self.root.clone();
        let tables = root.get("tables").and_then(|tables| tables.get_ref().as_table()).cloned();
        let tables = tables.unwrap_or_default();
        if let Some(DeValue::Table(stages)) = root.get_mut("stages").map(Spanned::get_mut) {
            let written = stages.clone();
            for (name, stage) in stages.iter_mut() {
                if let DeValue::Table(stage) = stage.get_mut() {
                    let located = |fault: Fault| self.located(fault.below(name).below("stages"));
                    complete(stage, &written, &mut vec![name.get_ref()]).map_err(located)?;
                    resolve(stage, &tables).map_err(located)?;
                }
            }
        }
        self.read(&Spanned::new(0..0, root))
    }

    fn read<T: DeserializeOwned>(&self, table: &Spanned<DeTable<'_>>) -> Result<T> {
        T::deserialize(Deserializer::from(table.clone())).map_err(|error| {
            // An error of deserialization carries text only; ours have their hint on a line of its own.
            let cause = match error.message().split_once("\nhint: ") {
                Some((cause, hint)) => Hinted::new(cause, hint).into(),
                None => anyhow!("{}", error.message()),
            };
            let path = culprit::<T>(table.get_ref(), &error);
            let start = match path.is_empty() {
                true => error.span().unwrap_or_default().start,
                false => place(table.get_ref(), &path),
            };
            self.at(start, cause)
        })
    }

    /// The mistake as an error that begins with its line.
    pub(super) fn located(&self, fault: Fault) -> Error {
        let cause = match fault.path.as_slice() {
            [kind, name, ..] if kind == "stages" => fault.cause.context(format!("stage `{name}`")),
            _ => fault.cause,
        };
        self.at(place(&self.root, &fault.path), cause)
    }

    /// An error about what stands at `place`.
    fn at(&self, place: usize, cause: Error) -> Error {
        let mut start = 0;
        let mut found = "line 1".to_owned();
        for file in self.files {
            if place < start {
                break;
            }
            let before = file.text.get(..place - start).unwrap_or(&file.text);
            let name = file.name.as_ref().map(|name| format!(" of `{name}`"));
            found =
                format!("line {}{}", before.matches('\n').count() + 1, name.unwrap_or_default());
            start += file.text.len() + 1;
        }
        cause.context(found)
    }
}

/// The path to the key or value that makes `root` no `T`, with `error`; empty if no single one does.
///
/// Where the type of a table depends on one of its values, as that of a stage on its `kind`, the table is read as a whole
/// before its values are, and an error has no other place than the table's. So the value is looked for: without it, the
/// error is another, or there is none.
fn culprit<T: DeserializeOwned>(root: &DeTable<'_>, error: &toml::de::Error) -> Vec<String> {
    let mut path = Vec::new();
    // Of a value, and not of what is missing or of what several values say together.
    let is_of_one = OF_ONE.iter().any(|start| error.message().starts_with(start));
    if !is_of_one {
        return path;
    }
    let is_alike = |path: &[String]| {
        let mut without = root.clone();
        remove(&mut without, path);
        let read = T::deserialize(Deserializer::from(Spanned::new(0..0, without)));
        // The same mistake in another table has another place.
        let is_same =
            |e: toml::de::Error| e.message() == error.message() && e.span() == error.span();
        read.is_err_and(is_same)
    };
    loop {
        let mut keys = keys(root, &path);
        // Without the word that the type depends on, every error is another.
        keys.sort_by_key(|key| key == "kind");
        let below = keys.into_iter().map(|key| [path.as_slice(), &[key]].concat());
        match below.into_iter().find(|path| !is_alike(path)) {
            Some(deeper) => path = deeper,
            None => return path,
        }
    }
}

/// The value at the end of `path` in `root`.
fn value<'a, 't>(root: &'a mut DeTable<'t>, path: &[String]) -> Option<&'a mut DeValue<'t>> {
    let (first, rest) = path.split_first()?;
    let mut inner = root.get_mut(first.as_str())?.get_mut();
    for key in rest {
        inner = match inner {
            DeValue::Table(table) => table.get_mut(key.as_str())?.get_mut(),
            DeValue::Array(list) => list.get_mut(key.parse::<usize>().ok()?)?.get_mut(),
            _ => return None,
        };
    }
    Some(inner)
}

/// Keys of the table, or places of the list, at the end of `path` in `root`.
fn keys(root: &DeTable<'_>, path: &[String]) -> Vec<String> {
    let names = |table: &DeTable<'_>| table.keys().map(|key| key.get_ref().to_string()).collect();
    if path.is_empty() {
        return names(root);
    }
    match value(&mut root.clone(), path) {
        Some(DeValue::Table(table)) => names(table),
        Some(DeValue::Array(list)) => (0..list.len()).map(|place| place.to_string()).collect(),
        _ => Vec::new(),
    }
}

/// Takes what is at the end of `path` out of `root`.
fn remove(root: &mut DeTable<'_>, path: &[String]) {
    let Some((last, before)) = path.split_last() else { return };
    if before.is_empty() {
        root.remove(last.as_str());
        return;
    }
    match value(root, before) {
        Some(DeValue::Table(table)) => {
            table.remove(last.as_str());
        }
        Some(DeValue::Array(list)) => {
            let others = list.clone().into_iter().enumerate();
            let others = others.filter(|(place, _)| place.to_string() != *last);
            *list = others.map(|(_, value)| value).collect();
        }
        _ => {}
    }
}

/// Where the deepest part of `path` that `root` has begins.
fn place(root: &DeTable<'_>, path: &[String]) -> usize {
    let mut place = 0;
    let mut inner = &DeValue::Table(root.clone());
    for key in path {
        let found = match inner {
            DeValue::Table(table) => {
                table.get_key_value(key.as_str()).map(|(key, value)| (key.span().start, value))
            }
            DeValue::Array(list) => {
                let value = key.parse().ok().and_then(|place: usize| list.get(place));
                value.map(|value| (value.span().start, value))
            }
            _ => None,
        };
        let Some((start, value)) = found else { break };
        (place, inner) = (start, value.get_ref());
    }
    place
}

/// Adds to `stage` what it lacks of the stage among `written` that it is like; `path` holds the stages on the way here.
fn complete<'t>(
    stage: &mut DeTable<'t>,
    written: &DeTable<'t>,
    path: &mut Vec<&Cow<'t, str>>,
) -> Checked {
    let Some(like) = stage.remove(LIKE) else { return Ok(()) };
    let found = like.get_ref().as_str().and_then(|name| written.get_key_value(name));
    let Some((name, DeValue::Table(other))) = found.map(|(name, stage)| (name, stage.get_ref()))
    else {
        let known: Vec<&str> = written.keys().map(|name| name.get_ref().as_ref()).collect();
        return Err(Fault::at(
            LIKE,
            anyhow!(hint!("`like` names no stage", ("stages are {}", known.join(", ")))),
        ));
    };
    let name = name.get_ref();
    require!(
        !path.contains(&name),
        LIKE,
        hint!("stage `{name}` is like itself, directly or by another", "leave out one `like`")
    );
    let mut other = other.clone();
    // A mistake there has its own line when that stage is read.
    let mut path = [path.as_slice(), &[name]].concat();
    complete(&mut other, written, &mut path)?;
    overlay(stage, other);
    Ok(())
}

/// Puts the tables that `stage` names in the place of their names.
fn resolve<'t>(stage: &mut DeTable<'t>, tables: &DeTable<'t>) -> Checked {
    let kind = stage.get("kind").and_then(|kind| kind.get_ref().as_str());
    require!(
        kind != Some("hybrid"),
        "kind",
        hint!(
            "stages of kind `hybrid` are stages of kind `grpo` with a table `guidance`",
            "docs/REGIMES.md shows one; `rl_on_gated` is `keep_rl`, `sft_weight = 0.1` is `weighting = {{ kind = \"sft\", weight = 0.1 }}`"
        )
    );
    for (key, kind) in REFERENCES {
        let Some(value) = stage.get_mut(key) else { continue };
        let tables = tables.get(kind).and_then(|tables| tables.get_ref().as_table());
        let names =
            tables.iter().flat_map(|tables| tables.keys()).map(|name| name.get_ref().as_ref());
        let names: Vec<&str> = names.collect();
        let Some(name) = value.get_ref().as_str().map(str::to_owned) else {
            return Err(Fault::at(
                key,
                anyhow!("`{key}` must be the name of a table in [tables.{kind}]"),
            ));
        };
        let Some(table) = tables.and_then(|tables| tables.get(name.as_str())) else {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Fault::at(
                key,
                anyhow!(hint!("no {key} `{name}`", "the recipe has {known}")),
            ));
        };
        let span = value.span();
        let key = |key: &'static str| Spanned::new(span.clone(), Cow::Borrowed(key));
        let name = Spanned::new(span.clone(), DeValue::String(Cow::Owned(name)));
        let named = [(key("name"), name), (key("value"), table.clone())];
        *value = Spanned::new(span.clone(), DeValue::Table(named.into_iter().collect()));
    }
    Ok(())
}

/// Adds to `table` what it lacks of `base`.
fn overlay<'t>(table: &mut DeTable<'t>, base: DeTable<'t>) {
    for (key, value) in base {
        match table.get_mut(key.get_ref().as_ref()) {
            None => {
                table.insert(key, value);
            }
            Some(over) => {
                if let (DeValue::Table(over), DeValue::Table(value)) =
                    (over.get_mut(), value.into_inner())
                {
                    let kind = |table: &DeTable<'t>| -> Option<String> {
                        Some(table.get("kind")?.get_ref().as_str()?.to_owned())
                    };
                    // The keys of one kind do not belong to another.
                    let is_another = kind(over).is_some_and(|own| kind(&value) != Some(own));
                    if !is_another {
                        overlay(over, value);
                    }
                }
            }
        }
    }
}

/// The table with all places `by` further on.
fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries = table.into_iter().map(|(key, value)| {
        let span = moved(key.span(), by);
        (Spanned::new(span, key.into_inner()), moved_value(value, by))
    });
    entries.collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = moved(value.span(), by);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(list) => {
            DeValue::Array(list.into_iter().map(|value| moved_value(value, by)).collect())
        }
        other => other,
    };
    Spanned::new(span, value)
}

fn moved(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stage `name`, as JSON, of a recipe with this text.
    fn stage(text: &str, name: &str) -> Result<serde_json::Value> {
        let files = [File::of_text(text)];
        let root: serde_json::Value = RawRecipe::new(&files)?.resolved()?;
        Ok(root["stages"][name].clone())
    }

    #[test]
    fn a_stage_that_is_like_another_gives_what_differs() {
        let text = "[stages.a]\nkind = \"x\"\nn = 1\nm = 2\nt = { p = 1, q = 2 }\n\
                    w = { kind = \"one\", only = 3 }\n\
                    [stages.b]\nlike = \"a\"\nn = 5\nt = { q = 7 }\nw = { kind = \"two\" }\n\
                    [stages.c]\nlike = \"b\"\nm = 9\n";
        let want = serde_json::json!({
            "kind": "x", "n": 5, "m": 9, "t": {"p": 1, "q": 7}, "w": {"kind": "two"},
        });
        assert_eq!(stage(text, "c").unwrap(), want);
        assert_eq!(stage(text, "a").unwrap()["w"], serde_json::json!({"kind": "one", "only": 3}));

        let said = |text: &str| synergy_hint::text(&stage(text, "a").unwrap_err());
        assert_eq!(
            said("[stages.a]\nn = 1\nlike = \"z\"\n[stages.b]\n"),
            "line 3: stage `a`: `like` names no stage\nhint: stages are a, b"
        );
        let circle = said("[stages.a]\nlike = \"b\"\n[stages.b]\nlike = \"a\"\n");
        assert!(circle.contains("stage `a` is like itself, directly or by another"), "{circle}");
    }

    #[test]
    fn a_mistake_has_the_line_of_the_deepest_part_that_is_there() {
        let text = "a = 1\n[b.c]\nd = 2\n\n[[e]]\nf = 3\n[[e]]\nf = 4\ng = { h = 5 }\n";
        let files = [File::of_text(text)];
        let raw = RawRecipe::new(&files).unwrap();
        for (path, line) in [
            ("a", 1),
            ("b.c.d", 3),
            ("b.c.missing", 2),
            ("e.1.f", 8),
            ("e.1.g.h", 9),
            ("missing", 1),
        ] {
            let error = synergy_hint::text(&raw.located(Fault::at(path, anyhow!("x"))));
            assert_eq!(error, format!("line {line}: x"), "{path}");
        }
    }
}
