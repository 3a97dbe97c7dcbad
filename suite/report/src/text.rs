//! Everything that leaves the suite as text: the table on a terminal, the report, the Markdown they share, and schemas.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

pub mod difficulty;
pub mod markdown;
pub mod partial;
pub mod report;
pub mod standings;
pub mod terminal;

/// The JSON schema of `T` as it is written, as a text that a person can skim and a diff can show.
pub fn schema<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    plain(&mut schema);
    compact_json(&schema)
}

/// Takes away what says nothing about JSON, the widths of numbers in Rust, and joins the lines of descriptions.
fn plain(value: &mut Value) {
    if let Value::Object(entries) = value {
        if entries.get("format").is_some_and(Value::is_string) {
            entries.shift_remove("format");
        }
        if let Some(Value::String(text)) = entries.get_mut("description") {
            *text = text.replace('\n', " ");
        }
        entries.values_mut().for_each(plain);
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(plain);
    }
}

/// JSON with a line for each item wherever an item holds objects, and everything else on one line.
pub(crate) fn compact_json(value: &Value) -> String {
    let mut text = String::new();
    write_json(value, 0, &mut text);
    text.push('\n');
    text
}

fn write_json(value: &Value, depth: usize, text: &mut String) {
    const SHORT: usize = 120;
    let line = value.to_string();
    let flat = |items: &[Value]| !items.iter().any(Value::is_object);
    let (open, close, items): (char, char, Vec<(Option<&String>, &Value)>) = match value {
        Value::Array(items) if !flat(items) => {
            ('[', ']', items.iter().map(|item| (None, item)).collect())
        }
        Value::Object(entries) if line.len() > SHORT => {
            ('{', '}', entries.iter().map(|(key, item)| (Some(key), item)).collect())
        }
        _ => return text.push_str(&line),
    };
    text.push(open);
    for (index, (key, item)) in items.iter().enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.extend(std::iter::repeat_n(' ', depth + 1));
        if let Some(key) = key {
            text.push_str(&Value::from(key.as_str()).to_string());
            text.push_str(": ");
        }
        write_json(item, depth + 1, text);
    }
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', depth));
    text.push(close);
}
