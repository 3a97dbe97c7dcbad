//! The body of a request to `/chat/completions`.
//!
//! Does not know how it is sent or what comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::commands::evaluate::ask::{Ask, Drawing};
use crate::commands::evaluate::endpoint::terms::Terms;
use crate::train::prompt::IMAGE_MARK;

/// The body that requests one answer of at most `limit` tokens of `model`; `pictures` are PNG files.
pub(super) fn body(
    model: &str,
    drawing: &Drawing,
    ask: &Ask<'_>,
    pictures: &[Vec<u8>],
    terms: &Terms,
    limit: usize,
) -> Value {
    let limit_name = if terms.long_name { "max_completion_tokens" } else { "max_tokens" };
    let mut body = json!({
        "model": model,
        "messages": [{"role": "user", "content": content(ask, pictures)}],
        "stream": false,
    });
    body[limit_name] = json!(limit);
    // All of it, and also what changes nothing: what is left out here, some servers take from the checkpoint's files.
    // Some servers know no 0 for keeping all tokens, all know -1.
    let top_k = if drawing.top_k == 0 { json!(-1) } else { json!(drawing.top_k) };
    let seed = ask.stream(drawing).rng().random::<u32>() >> 1;
    let sampling = [
        ("temperature", json!(drawing.temperature)),
        ("top_p", json!(drawing.top_p)),
        ("top_k", top_k),
        ("min_p", json!(0.0)),
        ("repetition_penalty", json!(1.0)),
        ("seed", json!(seed)),
    ];
    for (name, value) in sampling {
        if !terms.left_out.contains(name) {
            body[name] = value;
        }
    }
    body
}

/// The parts of the user's turn: text, and pictures at their marks or before it.
fn content(ask: &Ask<'_>, pictures: &[Vec<u8>]) -> Vec<Value> {
    let image = |bytes: &Vec<u8>| {
        let url = format!("data:image/png;base64,{}", STANDARD.encode(bytes));
        json!({"type": "image_url", "image_url": {"url": url}})
    };
    let mut content = Vec::new();
    if ask.text.matches(IMAGE_MARK).count() == pictures.len() {
        let mut pictures = pictures.iter();
        for (place, text) in ask.text.split(IMAGE_MARK).enumerate() {
            content.extend((place > 0).then(|| pictures.next().map(image)).flatten());
            content.extend((!text.is_empty()).then(|| json!({"type": "text", "text": text})));
        }
    } else {
        content.extend(pictures.iter().map(image));
        content.push(json!({"type": "text", "text": ask.text}));
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::evaluate::ask::Purpose;
    use crate::commands::evaluate::endpoint::terms::OPTIONAL;

    const DRAWING: Drawing =
        Drawing { temperature: 0.6, top_p: 0.95, top_k: 20, max_new_tokens: 64, seed: 1 };
    const ASK: Ask<'_> =
        Ask { id: "a", text: "What?", images: &[], sample: 0, purpose: Purpose::Measure };

    fn of(drawing: &Drawing, ask: &Ask<'_>, terms: &Terms) -> Value {
        body("m", drawing, ask, &[vec![1, 2, 3]], terms, 64)
    }

    #[test]
    fn pictures_are_sent_as_data_and_samples_have_seeds_of_their_own() {
        let terms = Terms::default();
        let first = of(&DRAWING, &ASK, &terms);
        let url = &first["messages"][0]["content"][0]["image_url"]["url"];
        assert_eq!(url, "data:image/png;base64,AQID");
        assert_ne!(first["seed"], of(&DRAWING, &Ask { sample: 1, ..ASK }, &terms)["seed"]);
        let levels = Ask { purpose: Purpose::Levels, ..ASK };
        assert_ne!(first["seed"], of(&DRAWING, &levels, &terms)["seed"]);
    }

    #[test]
    fn all_of_the_sampling_is_sent_but_what_the_server_does_not_take() {
        let whole = of(&DRAWING, &ASK, &Terms::default());
        assert_eq!((&whole["top_k"], &whole["min_p"]), (&json!(20), &json!(0.0)));
        assert_eq!((&whole["repetition_penalty"], &whole["max_tokens"]), (&json!(1.0), &json!(64)));
        let all = of(&Drawing { top_k: 0, ..DRAWING }, &ASK, &Terms::default());
        assert_eq!(all["top_k"], -1);
        let terms = Terms { left_out: OPTIONAL.into(), long_name: true };
        let least = of(&DRAWING, &ASK, &terms);
        let keys: Vec<&String> = least.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["model", "messages", "stream", "max_completion_tokens"]);
    }

    #[test]
    fn a_picture_stands_where_its_mark_is() {
        let ask = Ask { text: "Is <image> red?", ..ASK };
        let body = of(&DRAWING, &ask, &Terms::default());
        let content = body["messages"][0]["content"].as_array().unwrap();
        let kinds: Vec<&str> = content.iter().map(|part| part["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["text", "image_url", "text"]);
        assert_eq!(content[2]["text"], " red?");
    }
}
