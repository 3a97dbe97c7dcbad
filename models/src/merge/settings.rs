//! Settings of folders that are to be merged, compared: numbers merge only where both models mean the same by them.
//!
//! Does not know weights, nor which architecture a folder has: of a `config.json` the names of fields decide. What makes
//! the result meaningless is refused: entries of the vocabulary with other ids, since a row of the embedding would be a
//! mixture of two tokens, and settings with which the same numbers compute something else. Everything else that
//! differs is reported, since the result has it as the first folder does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Error, Result, bail};
use serde_json::{Map, Value};
use synergy_hint::{Explain as _, hint};

use crate::qwen2_5_vl::config::{INERT, VlmConfig};
use crate::tokenizer::TokenizerConfig;

/// Fields of `config.json` that say how numbers are used, at whatever depth they stand: models that differ in one are not
/// merged.
const DECISIVE: [&str; 17] = [
    "fullatt_block_indexes",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "layer_types",
    "model_type",
    "num_attention_heads",
    "num_heads",
    "num_key_value_heads",
    "partial_rotary_factor",
    "patch_size",
    "rope_scaling",
    "rope_theta",
    "spatial_merge_size",
    "temporal_patch_size",
    "tie_word_embeddings",
    "use_sliding_window",
];
/// Fields whose absence has one meaning, so that a model which has one differs from a model which has not.
const TELLING: [&str; 2] = ["rope_scaling", "use_sliding_window"];
/// What decides besides its id how an added token is cut out of a text, and whether a decoded text shows it.
const FLAGS: [&str; 5] = ["special", "lstrip", "rstrip", "normalized", "single_word"];
/// Fields that change neither what a model computes nor how it is asked.
const SILENT: [&str; 4] =
    ["_from_model_config", "architectures", "initializer_range", "processor_class"];
/// Parts of a `tokenizer.json` that decide how text is cut.
const CUTS: [&str; 5] =
    ["/normalizer", "/pre_tokenizer", "/model/type", "/model/merges", "/post_processor"];
/// Files of settings whose differences are reported field by field.
const TOLD: [&str; 2] = ["generation_config.json", "preprocessor_config.json"];
/// How many differences one line names.
const NUM_NAMED: usize = 3;

/// Compares the settings of `a`, whose files the result takes over, with those of `b`, and returns a line for each file
/// that differs. A file that neither folder has is not compared.
///
/// # Errors
/// If a file cannot be read, or the two differ in what makes a merge meaningless.
pub(crate) fn compare(a: &Path, b: &Path) -> Result<Vec<String>> {
    let mut told = Vec::new();
    compare_tokens(a, b, &mut told)?;
    compare_configs(a, b, &mut told)?;
    for file in TOLD {
        let (Some(of_a), Some(of_b)) = (json_of(a, file)?, json_of(b, file)?) else { continue };
        tell(&mut told, [a, b], file, differences(&of_a, &of_b).iter().map(|d| &d.0));
    }
    let template = |dir| Some(TokenizerConfig::read(dir).ok()?.chat_template().to_owned());
    if let (Some(of_a), Some(of_b)) = (template(a), template(b))
        && of_a != of_b
    {
        told.push(line([a, b], "the chat template", ""));
    }
    Ok(told)
}

/// Refuses vocabularies in which an entry has two ids, and tells what else differs between them.
fn compare_tokens(a: &Path, b: &Path, told: &mut Vec<String>) -> Result<()> {
    let (of_a, of_b) = match (Vocabulary::read(a)?, Vocabulary::read(b)?) {
        (Some(of_a), Some(of_b)) => (of_a, of_b),
        (None, None) => return Ok(()),
        (one, _) => {
            let dir = if one.is_some() { b } else { a };
            told.push(format!(
                "`{}` has no tokenizer.json: its tokens were not compared",
                dir.display()
            ));
            return Ok(());
        }
    };
    let mut moved = of_a.ids.iter().filter_map(|(token, id)| {
        let other = of_b.ids.get(token).filter(|other| *other != id)?;
        Some(format!("`{token}` is token {id} in one and {other} in the other"))
    });
    if let Some(first) = moved.next() {
        let more = match moved.count() {
            0 => String::new(),
            more => format!(", and so are {more} more"),
        };
        bail!(hint!(
            (
                "`{}` and `{}` number their tokens differently: {first}{more}",
                a.display(),
                b.display()
            ),
            "a row of the embedding would be a mixture of two tokens; merge models with the tokenizer of one base"
        ));
    }
    let alone = |ours: &Vocabulary, theirs: &Vocabulary| {
        ours.ids.keys().find(|token| !theirs.ids.contains_key(*token)).cloned()
    };
    for (dir, token) in [(a, alone(&of_a, &of_b)), (b, alone(&of_b, &of_a))] {
        if let Some(token) = token {
            told.push(format!("only `{}` has the token `{token}`", dir.display()));
        }
    }
    let cuts = CUTS.iter().filter(|part| of_a.part(part) != of_b.part(part));
    tell(told, [a, b], "tokenizer.json", cuts.map(|part| &part[1..]));
    let flags = of_a
        .flags
        .iter()
        .filter(|(flag, of_a)| of_b.flags.get(*flag).is_some_and(|of_b| of_b != *of_a));
    let flags = flags.map(|((token, flag), _)| format!("{flag} of {token}"));
    tell(told, [a, b], "tokenizer.json", flags);
    Ok(())
}

/// Refuses settings with which the same numbers compute something else, and tells the others that differ.
fn compare_configs(a: &Path, b: &Path, told: &mut Vec<String>) -> Result<()> {
    const FILE: &str = "config.json";
    let (of_a, of_b) = match (json_of(a, FILE)?, json_of(b, FILE)?) {
        (Some(of_a), Some(of_b)) => (of_a, of_b),
        (None, None) => return Ok(()),
        (one, _) => {
            let dir = if one.is_some() { b } else { a };
            told.push(format!("`{}` has no {FILE}: its settings were not compared", dir.display()));
            return Ok(());
        }
    };
    let (of_a, of_b) = uniform(of_a, of_b);
    let differences = differences(&of_a, &of_b);
    for (path, of_a, of_b) in &differences {
        let name = path.rsplit('.').next().unwrap_or_default();
        // What only one file says is a default in the other.
        let is_said = !of_a.is_null() && !of_b.is_null() || TELLING.contains(&name);
        if is_said && DECISIVE.contains(&name) {
            bail!(hint!(
                ("`{path}` is {of_a} in `{}` and {of_b} in `{}`", a.display(), b.display()),
                "the same numbers mean something else in the other model; merge models that were trained from one base \
                 with its settings"
            ));
        }
    }
    tell(told, [a, b], FILE, differences.iter().map(|d| &d.0));
    Ok(())
}

/// Adds a line that names the first of `names`, if there is one.
fn tell(
    told: &mut Vec<String>,
    dirs: [&Path; 2],
    file: &str,
    names: impl Iterator<Item = impl AsRef<str>>,
) {
    let mut names: Vec<String> = names.map(|name| format!("`{}`", name.as_ref())).collect();
    let more = names.len().saturating_sub(NUM_NAMED);
    names.truncate(NUM_NAMED);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    if !names.is_empty() {
        told.push(line(dirs, file, &format!(" in {}", names.join(", "))));
    }
}

/// The line about what the result has as `dirs[0]` does.
fn line(dirs: [&Path; 2], what: &str, place: &str) -> String {
    let [a, b] = dirs.map(Path::display);
    format!("{what} of `{b}` differs{place}; the merge has that of `{a}`")
}

/// The entries of a tokenizer and how it cuts text.
struct Vocabulary {
    /// Ids of entries, added ones included.
    ids: BTreeMap<String, u64>,
    /// [`FLAGS`] of added tokens, by token and flag.
    flags: BTreeMap<(String, &'static str), bool>,
    file: Value,
}

impl Vocabulary {
    /// Reads `tokenizer.json`, or `vocab.json` where there is only that.
    fn read(dir: &Path) -> Result<Option<Vocabulary>> {
        let mut file = match json_of(dir, "tokenizer.json")? {
            Some(file) => file,
            None => match json_of(dir, "vocab.json")? {
                Some(vocab) => serde_json::json!({"model": {"vocab": vocab}}),
                None => return Ok(None),
            },
        };
        let mut ids = BTreeMap::new();
        match file.pointer("/model/vocab") {
            Some(Value::Object(vocab)) => {
                ids.extend(
                    vocab.iter().filter_map(|(token, id)| Some((token.clone(), id.as_u64()?))),
                );
            }
            // Unigram has pairs of an entry and its score.
            Some(Value::Array(pairs)) => {
                let tokens = pairs.iter().enumerate();
                ids.extend(
                    tokens.filter_map(|(id, p)| Some((p[0].as_str()?.to_owned(), id as u64))),
                );
            }
            _ => {}
        }
        let mut flags = BTreeMap::new();
        for token in file["added_tokens"].as_array().into_iter().flatten() {
            let Some(content) = token["content"].as_str() else { continue };
            ids.extend(token["id"].as_u64().map(|id| (content.to_owned(), id)));
            let said = FLAGS.iter().filter_map(|flag| Some((*flag, token[flag].as_bool()?)));
            flags.extend(said.map(|(flag, is_on)| ((content.to_owned(), flag), is_on)));
        }
        // Older files have a merge as one text.
        if let Some(merges) = file.pointer_mut("/model/merges").and_then(Value::as_array_mut) {
            for merge in merges {
                if let [Value::String(one), Value::String(two)] =
                    merge.as_array().map_or(&[][..], |m| m)
                {
                    *merge = format!("{one} {two}").into();
                }
            }
        }
        Ok(Some(Vocabulary { ids, flags, file }))
    }

    fn part(&self, pointer: &str) -> Option<&Value> {
        self.file.pointer(pointer).filter(|part| !part.is_null())
    }
}

/// Reads a JSON object of `dir`, if it is there.
fn json_of(dir: &Path, file: &str) -> Result<Option<Value>> {
    let path = dir.join(file);
    if !path.is_file() {
        return Ok(None);
    }
    fs::read_to_string(&path)
        .map_err(Error::from)
        .and_then(|text| Ok(serde_json::from_str::<Map<String, Value>>(&text)?))
        .map(|fields| Some(Value::Object(fields)))
        .explain(|| {
            hint!(
                ("failed to read `{}`", path.display()),
                "fetch the checkpoint again, all of its files"
            )
        })
}

/// Brings the forms that `config.json` had over time to one, in both alike: as this suite reads them where it reads both,
/// else field by field, so that a field which it refuses in one of them does not make the others look different.
fn uniform(a: Value, b: Value) -> (Value, Value) {
    let known = |config: &Value| VlmConfig::from_json(&config.to_string()).ok();
    if let (Some(a), Some(b)) = (known(&a), known(&b)) {
        let value = |config| serde_json::to_value(config).expect("a config is plain data");
        return (value(a), value(b));
    }
    (flat(a), flat(b))
}

/// Puts the decoder's fields at the top level, and how rotation is scaled under one name, or nowhere if it is not.
fn flat(config: Value) -> Value {
    let Value::Object(mut fields) = config else { return config };
    if let Some(Value::Object(mut text)) = fields.remove("text_config") {
        // The decoder's own name says nothing that the model's does not.
        text.remove("model_type");
        fields.extend(text);
    }
    if let Some(Value::Object(rope)) = fields.remove("rope_parameters") {
        fields.insert("rope_scaling".into(), rope.into());
    }
    if let Some(Value::Object(mut rope)) = fields.remove("rope_scaling") {
        if let Some(theta) = rope.remove("rope_theta") {
            fields.insert("rope_theta".into(), theta);
        }
        let kind = rope.remove("type").or_else(|| rope.remove("rope_type"));
        rope.remove("rope_type");
        // "default" says that frequencies are not scaled, which holds for "mrope" too.
        let kind = kind.filter(|kind| kind != "default" && kind != "mrope");
        rope.extend(kind.map(|kind| ("rope_type".to_owned(), kind)));
        if !rope.is_empty() {
            fields.insert("rope_scaling".into(), rope.into());
        }
    }
    if fields.get("use_sliding_window") == Some(&false.into()) {
        fields.remove("use_sliding_window");
    }
    Value::Object(fields)
}

/// Lists the fields that differ, by their path, with both values; absent and null are the same.
fn differences(a: &Value, b: &Value) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    gather("", a, b, &mut found);
    found
}

fn gather(path: &str, a: &Value, b: &Value, found: &mut Vec<(String, Value, Value)>) {
    let name = path.rsplit('.').next().unwrap_or_default();
    if same(a, b) || INERT.contains(&name) || SILENT.contains(&name) {
        return;
    }
    let (Value::Object(of_a), Value::Object(of_b)) = (a, b) else {
        found.push((path.to_owned(), a.clone(), b.clone()));
        return;
    };
    if DECISIVE.contains(&name) {
        found.push((path.to_owned(), a.clone(), b.clone()));
        return;
    }
    let names = of_a.keys().chain(of_b.keys().filter(|name| !of_a.contains_key(*name)));
    for name in names {
        let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let field = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
        gather(&inner, &field(of_a), &field(of_b), found);
    }
}

/// Tells whether two values are equal; 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::slice::from_ref;
    use tempfile::TempDir;

    /// Two folders, each with these files.
    fn folders(a: &[(&str, Value)], b: &[(&str, Value)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, files) in [("a", a), ("b", b)] {
            fs::create_dir(dir.path().join(name)).unwrap();
            for (file, content) in files {
                fs::write(dir.path().join(name).join(file), content.to_string()).unwrap();
            }
        }
        dir
    }

    /// What is said of them, without the place where they are.
    fn said(a: &[(&str, Value)], b: &[(&str, Value)]) -> Result<Vec<String>, String> {
        let dir = folders(a, b);
        let plain = |text: &str| text.replace(&format!("{}/", dir.path().display()), "");
        match compare(&dir.path().join("a"), &dir.path().join("b")) {
            Ok(told) => Ok(told.iter().map(|line| plain(line)).collect()),
            Err(error) => Err(plain(&synergy_hint::text(&error))),
        }
    }

    fn vocabulary(vocab: &Value, merges: &Value) -> Value {
        json!({
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
            "added_tokens": [{"id": 9, "content": "<|end|>", "special": true, "lstrip": false}],
        })
    }

    #[test]
    fn tokens_with_other_ids_are_refused_and_other_differences_told() {
        let file = |vocab: Value, merges: Value| ("tokenizer.json", vocabulary(&vocab, &merges));
        let one = file(json!({"a": 0, "b": 1, "ab": 2}), json!(["a b"]));
        assert_eq!(said(from_ref(&one), from_ref(&one)), Ok(vec![]));
        // The same merges, as newer files have them.
        let newer = file(json!({"a": 0, "b": 1, "ab": 2}), json!([["a", "b"]]));
        assert_eq!(said(from_ref(&one), &[newer]), Ok(vec![]));
        let moved = file(json!({"a": 1, "b": 0, "ab": 2}), json!(["a b"]));
        let want = "`a` and `b` number their tokens differently: `a` is token 0 in one and 1 in the other, and so are 1 more";
        assert!(said(from_ref(&one), from_ref(&moved)).unwrap_err().starts_with(want));
        // Of an added token too.
        let mut end = one.clone();
        end.1["added_tokens"][0]["id"] = json!(8);
        let error = said(from_ref(&one), &[end]).unwrap_err();
        assert!(
            error.contains("`<|end|>` is token 9 in one and 8 in the other\nhint: "),
            "{error}"
        );
        let other = file(json!({"a": 0, "b": 1, "ba": 2}), json!(["b a"]));
        assert_eq!(
            said(from_ref(&one), &[other]),
            Ok(vec![
                "only `a` has the token `ab`".into(),
                "only `b` has the token `ba`".into(),
                "tokenizer.json of `b` differs in `model/merges`; the merge has that of `a`".into(),
            ])
        );
        // How an added token is treated.
        let mut plain = one.clone();
        plain.1["added_tokens"][0]["special"] = json!(false);
        assert_eq!(
            said(from_ref(&one), &[plain]).unwrap(),
            ["tokenizer.json of `b` differs in `special of <|end|>`; the merge has that of `a`"]
        );
        // What one file does not say is no difference.
        let mut silent = one.clone();
        silent.1["added_tokens"][0] = json!({"id": 9, "content": "<|end|>"});
        assert_eq!(said(from_ref(&one), &[silent]), Ok(vec![]));
        let none = said(&[], from_ref(&one)).unwrap();
        assert_eq!(none, ["`a` has no tokenizer.json: its tokens were not compared"]);
        let older = ("vocab.json", json!({"a": 0, "b": 2, "ab": 1}));
        assert!(said(&[one], &[older]).unwrap_err().contains("`ab` is token 2 in one and 1"));
    }

    #[test]
    fn settings_that_change_what_numbers_mean_are_refused_and_others_told() {
        let config = json!({
            "model_type": "any", "hidden_size": 8, "num_attention_heads": 2, "rope_theta": 10000,
            "rms_norm_eps": 1e-6, "max_position_embeddings": 64, "vision_config": {"patch_size": 14},
            "torch_dtype": "float32", "transformers_version": "4.1",
        });
        let with = |pointer: &str, value: Value| {
            let mut other = config.clone();
            let (object, name) = pointer.rsplit_once('/').unwrap();
            other.pointer_mut(object).unwrap()[name] = value;
            said(&[("config.json", config.clone())], &[("config.json", other)])
        };
        for (pointer, value) in [
            ("/rope_theta", json!(10000.0)),
            ("/torch_dtype", json!("bfloat16")),
            ("/transformers_version", json!("5.1")),
            ("/rope_scaling", json!(null)),
            ("/rope_scaling", json!({"type": "default"})),
            ("/rope_parameters", json!({"rope_type": "default", "rope_theta": 10000.0})),
            ("/text_config", json!({"rope_theta": 10000})),
        ] {
            assert_eq!(with(pointer, value), Ok(vec![]), "{pointer}");
        }
        for (pointer, value, want) in [
            (
                "/rope_theta",
                json!(1e6),
                "`rope_theta` is 10000 in `a` and 1000000.0 in `b`\nhint: ",
            ),
            ("/rope_scaling", json!({"type": "yarn"}), "`rope_scaling` is null in `a` and {"),
            ("/rope_parameters", json!({"rope_theta": 5}), "`rope_theta` is 10000 in `a` and 5"),
            ("/text_config", json!({"rope_theta": 5}), "`rope_theta` is 10000 in `a` and 5"),
            ("/num_attention_heads", json!(4), "`num_attention_heads` is 2 in `a` and 4"),
            ("/model_type", json!("other"), "`model_type` is \"any\" in `a`"),
            ("/vision_config/patch_size", json!(16), "`vision_config.patch_size` is 14 in `a`"),
        ] {
            let error = with(pointer, value).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
        let told = with("/rms_norm_eps", json!(1e-5)).unwrap();
        assert_eq!(
            told,
            ["config.json of `b` differs in `rms_norm_eps`; the merge has that of `a`"]
        );
        assert_eq!(with("/num_key_value_heads", json!(2)).unwrap().len(), 1, "a default, told");
        let alone = said(&[("config.json", config)], &[]).unwrap();
        assert_eq!(alone, ["`b` has no config.json: its settings were not compared"]);
    }

    #[test]
    fn the_forms_of_one_config_do_not_differ() {
        let form = |name: &str| {
            let text = std::fs::read_to_string(
                crate::tests::fixtures::path("model-untied").join(format!("{name}.json")),
            );
            ("config.json", serde_json::from_str::<Value>(&text.unwrap()).unwrap())
        };
        for other in ["config-flat", "config-v5"] {
            assert_eq!(said(&[form("config")], &[form(other)]), Ok(vec![]), "{other}");
        }
        let mut other = form("config-flat");
        other.1["rope_theta"] = json!(10_000.0);
        let error = said(&[form("config-v5")], &[other]).unwrap_err();
        assert!(
            error.starts_with("`rope_theta` is 1000000.0 in `a` and 10000.0 in `b`"),
            "{error}"
        );
    }

    #[test]
    fn the_field_that_differs_is_named_also_where_a_config_is_not_read_here() {
        let form = |name: &str| {
            let path = crate::tests::fixtures::path("model-untied").join(format!("{name}.json"));
            serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let flat = form("config-flat");
        for (name, value) in [
            ("hidden_act", json!("gelu")),
            ("rope_theta", json!(5.0)),
            ("rope_theta", json!(0)),
            ("use_sliding_window", json!(true)),
            ("rope_scaling", json!({"type": "yarn", "factor": 4.0})),
        ] {
            let mut other = flat.clone();
            other[name] = value.clone();
            // A window that is shorter than what the model reads.
            other["sliding_window"] = json!(8);
            other["max_window_layers"] = json!(0);
            for one in ["config", "config-flat", "config-v5"] {
                let files = [form(one), other.clone()].map(|form| ("config.json", form));
                for [a, b] in [[0, 1], [1, 0]] {
                    let error = said(from_ref(&files[a]), from_ref(&files[b])).unwrap_err();
                    assert!(error.starts_with(&format!("`{name}` is ")), "{one}, {value}: {error}");
                }
            }
        }
    }

    #[test]
    fn how_models_are_asked_is_told() {
        let settings = |template: &str| {
            ("tokenizer_config.json", json!({"eos_token": "e", "chat_template": template}))
        };
        let generation = |end: u32| {
            let fields = json!({"eos_token_id": end, "transformers_version": end.to_string()});
            ("generation_config.json", fields)
        };
        let pictures = |most: u32| ("preprocessor_config.json", json!({"max_pixels": most}));
        let of = |n: u32| [settings(&n.to_string()), generation(n), pictures(n)];
        assert_eq!(said(&of(1), &of(1)), Ok(vec![]));
        assert_eq!(
            said(&of(1), &of(2)).unwrap(),
            [
                "generation_config.json of `b` differs in `eos_token_id`; the merge has that of `a`",
                "preprocessor_config.json of `b` differs in `max_pixels`; the merge has that of `a`",
                "the chat template of `b` differs; the merge has that of `a`",
            ]
        );
        let broken = folders(&[], &[]);
        let a = broken.path().join("a");
        fs::write(a.join("config.json"), "[").unwrap();
        let error = synergy_hint::text(&compare(&a, &broken.path().join("b")).unwrap_err());
        assert!(error.contains("failed to read `") && error.contains("\nhint: "), "{error}");
    }
}
