//! What a server takes of a request, learned from what it refuses.
//!
//! Does not know how a request is sent. Forms of refusals are those of OpenAI, vLLM, SGLang, llama.cpp, OpenRouter and
//! `transformers serve`, whose messages differ in all but a few words.
//!
//! Decisions:
//! - All of the sampling is sent in every request: where a request leaves a field out, vLLM and SGLang take it from the
//!   checkpoint's `generation_config.json`, and a published checkpoint has a repetition penalty there.
//! - A field is left out only if a refusal names it and the request without it is taken; reports say which.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

/// Fields of a request without which it can be answered.
pub(super) const OPTIONAL: [&str; 6] =
    ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed"];

/// Words of a message that refuses a field, in small letters.
const REFUSING: [&str; 14] = [
    "unsupported",
    "not supported",
    "does not support",
    "doesn't support",
    "unexpected",
    "unknown",
    "unrecognized",
    "unrecognised",
    "unused",
    "invalid",
    "extra",
    "not permitted",
    "not allowed",
    "forbidden",
];

/// Words of a message about the length of a request, in small letters.
const LENGTH: [&str; 10] = [
    "context length",
    "context_length",
    "context window",
    "context size",
    "model length",
    "max_model_len",
    "prompt length",
    "prompt is too long",
    "input is too long",
    "reduce the length",
];

/// `maximum context length is 4096`, `context size (4096 tokens)`, `maximum model length of 4096`.
static CONTEXT: LazyLock<Regex> = LazyLock::new(|| {
    expression(r"(?:context length|context window|context size|model length)\D{0,16}?(\d+)")
});
/// `has 65 input tokens`, `65 tokens from the input`, `(65 in the messages`, `65 of text input`.
static PROMPT: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(\d+) (?:input tokens|tokens from the input|in the (?:messages|prompt)|of text input)",
    )
});
/// `the input (65 tokens)`, `Input length (65)`, `prompt (length 65)`, `request (65 tokens)`, `prompt contains 65`.
static PROMPT_BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(?:input|input length|prompt|request)(?: \((?:length )?| (?:contains|has) (?:at least )?)(\d+)",
    )
});
/// `you requested 5010 tokens`, `requested a total of 5010 tokens`, `requested about 5010 tokens`.
static TOTAL: LazyLock<Regex> =
    LazyLock::new(|| expression(r"requested (?:a total of |about )?(\d+) tokens"));
/// `supports at most 4096 completion tokens`.
static MOST: LazyLock<Regex> = LazyLock::new(|| expression(r"at most (\d+) completion tokens"));

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("the expression is well formed")
}

/// What a server takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// Those of [`OPTIONAL`] that it does not take.
    pub(super) left_out: BTreeSet<&'static str>,
    /// True if the limit of an answer is called `max_completion_tokens`.
    pub(super) long_name: bool,
}

impl Terms {
    /// Adds what `other` knows.
    pub(super) fn join(&mut self, other: &Terms) {
        self.left_out.extend(&other.left_out);
        self.long_name |= other.long_name;
    }

    /// Changes the terms by a refusal that says `message`; false if it says nothing of them.
    pub(super) fn yield_to(&mut self, message: &str) -> bool {
        let message = message.to_lowercase();
        if !self.long_name && message.contains("max_completion_tokens") {
            self.long_name = true;
            return true;
        }
        if !REFUSING.iter().any(|word| message.contains(word)) {
            return false;
        }
        let named: Vec<&str> =
            OPTIONAL.into_iter().filter(|field| has_word(&message, field)).collect();
        let num_before = self.left_out.len();
        self.left_out.extend(named);
        self.left_out.len() > num_before
    }
}

/// Returns whether `text` holds `word` with no letter, digit or `_` beside it.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        let end = start + word.len();
        !text[..start].ends_with(is_part) && !text[end..].starts_with(is_part)
    })
}

/// What a refusal says of a request's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// An answer may have this many tokens.
    Left(usize),
    /// There is no room for an answer, or nobody says how much.
    None,
}

/// Reads the room for an answer from a refusal of a request whose answer could have `limit` tokens; `None` if the
/// refusal is not about length. `context` is what question and answer may have together, where the message does not say.
pub(super) fn room(message: &str, limit: usize, context: Option<usize>) -> Option<Room> {
    let message = message.to_lowercase();
    let number = |expression: &Regex| -> Option<usize> {
        expression.captures(&message)?.get(1)?.as_str().parse().ok()
    };
    if let Some(most) = number(&MOST) {
        return Some(if most < limit { Room::Left(most) } else { Room::None });
    }
    if !LENGTH.iter().any(|words| message.contains(words)) {
        return None;
    }
    let total = number(&TOTAL).and_then(|total| total.checked_sub(limit));
    let prompt = number(&PROMPT).or_else(|| number(&PROMPT_BEFORE)).or(total);
    let left = number(&CONTEXT).or(context).zip(prompt);
    let left = left.and_then(|(context, prompt)| context.checked_sub(prompt));
    // Older versions of SGLang want one position to stay free; what was refused once is not asked for again.
    Some(match left.map(|left| left.min(limit - 1)) {
        Some(left) if left > 0 => Room::Left(left),
        _ => Room::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_an_answer_is_read_from_every_servers_words() {
        // (message, limit, room)
        let left = |n| Some(Room::Left(n));
        for (message, limit, want) in [
            (
                "This model's maximum context length is 4097 tokens. However, you requested 5010 tokens (1010 in the \
                 messages, 4000 in the completion). Please reduce the length of the messages or completion.",
                4000,
                left(3087),
            ),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 2048. This model's maximum context length is 2048 \
                 tokens and your request has 65 input tokens (2048 > 2048 - 65).",
                2048,
                left(1983),
            ),
            (
                "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total \
                 of 2113 tokens: 65 tokens from the input messages and 2048 tokens for the completion.",
                2048,
                left(1983),
            ),
            // The same once more, from a server that wants a position free.
            (
                "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total \
                 of 2048 tokens: 65 tokens from the input messages and 1983 tokens for the completion.",
                1983,
                left(1982),
            ),
            (
                "This endpoint's maximum context length is 32768 tokens. However, you requested about 50000 tokens \
                 (20000 of text input, 30000 in the output).",
                30000,
                left(12768),
            ),
            (
                "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.",
                2048,
                Some(Room::None),
            ),
            (
                "The input (5000 tokens) is longer than the model's context length (2048 tokens).",
                64,
                Some(Room::None),
            ),
            (
                "The decoder prompt (length 5000) is longer than the maximum model length of 2048.",
                64,
                Some(Room::None),
            ),
            (
                "the request (4080 tokens) exceeds the available context size (4096 tokens), try increasing it",
                64,
                left(16),
            ),
            ("prompt is too long: 213462 tokens > 200000 maximum", 64, Some(Room::None)),
            (
                "max_tokens is too large: 32000. This model supports at most 16384 completion tokens.",
                32000,
                left(16384),
            ),
            ("height:1 or width:250 must be larger than factor:28", 64, None),
        ] {
            assert_eq!(room(message, limit, None), want, "{message}");
        }
        let silent = "The request exceeds the context window: the prompt has 65 tokens";
        assert_eq!(room(silent, 2048, None), Some(Room::None));
        assert_eq!(room(silent, 2048, Some(2048)), left(1983));
    }

    #[test]
    fn a_field_that_is_refused_by_name_is_left_out() {
        let fields = |message: &str| -> Vec<&str> {
            let mut terms = Terms::default();
            let changed = terms.yield_to(message);
            assert_eq!(changed, terms != Terms::default(), "{message}");
            terms.left_out.into_iter().collect()
        };
        assert_eq!(
            fields("Unexpected keys in the request: {'min_p', 'repetition_penalty', 'top_k'}"),
            ["min_p", "repetition_penalty", "top_k"]
        );
        assert_eq!(
            fields("Unsupported value: 'temperature' does not support 0.6 with this model."),
            ["temperature"]
        );
        let listed = r#"{"detail":[{"loc":["body","seed"],"msg":"extra fields not permitted"}]}"#;
        assert_eq!(fields(listed), ["seed"]);
        // The words of a question.
        assert!(fields("invalid picture in `how many seeds?`").is_empty());
        assert!(fields("the picture is too thin (temperature of 3)").is_empty());
        let mut terms = Terms::default();
        let long = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                    'max_completion_tokens' instead.";
        assert!(terms.yield_to(long) && terms.long_name && terms.left_out.is_empty());
        assert!(!terms.yield_to(long));
    }
}
