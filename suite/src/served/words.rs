//! What a server says where it does not answer, in words for a person.
//!
//! Does not know which server it is, nor what was asked.

use serde_json::Value;

/// Characters that are shown.
const CHARS: usize = 200;

/// The words of an error's body: its message, or all of it where none is found.
pub fn message(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let places = ["/error/message", "/message", "/choices/0/error/message", "/detail", "/error"];
    let words = places.iter().find_map(|place| match value.pointer(place)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    });
    words.unwrap_or_else(|| body.to_owned())
}

/// The start of `text` in one line.
pub fn short(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_are_found_in_its_body() {
        for (body, want) in [
            (r#"{"error": {"message": "a b", "type": "x"}}"#, "a b"),
            (r#"{"object": "error", "message": "a b"}"#, "a b"),
            (r#"{"detail": "a b"}"#, "a b"),
            (r#"{"error": "a b"}"#, "a b"),
            (r#"{"detail": [{"msg": "a"}]}"#, r#"{"detail": [{"msg": "a"}]}"#),
            ("busy", "busy"),
        ] {
            assert_eq!(message(body), want);
        }
    }
}
