//! What a server takes of a request, learned from what it refuses.
//!
//! Does not know how a request is sent. Forms of refusals are those of OpenAI, vLLM, SGLang, llama.cpp, OpenRouter and
//! `transformers serve`, whose messages differ in all but a few words.
//!
//! Decisions:
//! - All of the sampling is sent in every request: where a request leaves a field out, vLLM and SGLang take it from the
//!   checkpoint's `generation_config.json`, and a published checkpoint has a repetition penalty there.
//! - An answer's limit is what its question leaves of the context, exactly: nobody but the server counts a question's
//!   tokens, and it tells the count where it refuses. The context, the longest answer and the tokens of each question
//!   are kept for the run once a refusal has named them, so that other answers to that question are asked for at once, and
//!   a new question is tried as if it were as short as the shortest one. A refusal costs no token, and a limit that is
//!   too low cuts answers.
//! - A field is left out only if a refusal names it and the request without it is taken; reports say which.

use std::collections::{BTreeMap, BTreeSet};
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

/// What a server gives to answers, as far as it has said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Tokens that question and answer may have together.
    pub(super) context: Option<usize>,
    /// Tokens that an answer may have, whatever its question.
    most: Option<usize>,
    /// Tokens of each question of which a refusal has named them, by its id.
    prompts: BTreeMap<String, usize>,
}

impl Limits {
    /// What a list of models tells: the context, if it does.
    pub(super) fn listed(context: Option<usize>) -> Limits {
        Limits { context, ..Limits::default() }
    }

    /// The most tokens that can be asked for, of `wanted`, in an answer to the question `id`.
    pub(super) fn of(&self, id: &str, wanted: usize) -> usize {
        let shortest = || self.prompts.values().min();
        // One position belongs to the question at least.
        self.beside(*self.prompts.get(id).or_else(shortest).unwrap_or(&1), wanted)
    }

    /// The most tokens, of `wanted`, in an answer to the question `id`, which has `num_tokens` as a reply counts them; `None`
    /// where a refusal has named them.
    pub(super) fn counted(&self, id: &str, num_tokens: usize, wanted: usize) -> Option<usize> {
        (!self.prompts.contains_key(id)).then(|| self.beside(num_tokens, wanted))
    }

    /// The most tokens, of `wanted`, in an answer to a question of `num_tokens`.
    fn beside(&self, num_tokens: usize, wanted: usize) -> usize {
        let left = self.context.map_or(usize::MAX, |all| all.saturating_sub(num_tokens).max(1));
        wanted.min(left).min(self.most.unwrap_or(usize::MAX))
    }

    /// Keeps what a refusal of the question `id` has said.
    pub(super) fn hear(&mut self, id: &str, room: Room) {
        match room {
            Room::Most(most) => self.most = Some(most),
            Room::Left { limit, num_tokens } => {
                let told = num_tokens + limit;
                // A server that wants a position free says one more than it takes.
                self.context = Some(self.context.map_or(told, |context| context.min(told)));
                self.prompts.insert(id.to_owned(), num_tokens);
            }
            Room::None => {}
        }
    }
}

/// What a refusal says of a request's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// No answer may have more tokens than these.
    Most(usize),
    /// The question has so many tokens, and its answer may have `limit`.
    Left {
        /// Tokens of the answer.
        limit: usize,
        /// Tokens of the question.
        num_tokens: usize,
    },
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
        return Some(if most < limit { Room::Most(most) } else { Room::None });
    }
    if !LENGTH.iter().any(|words| message.contains(words)) {
        return None;
    }
    let total = number(&TOTAL).and_then(|total| total.checked_sub(limit));
    let prompt = number(&PROMPT).or_else(|| number(&PROMPT_BEFORE)).or(total);
    let left = number(&CONTEXT).or(context).zip(prompt);
    let left = left.and_then(|(all, prompt)| Some((all.checked_sub(prompt)?, prompt)));
    // Older versions of SGLang want one position to stay free; what was refused once is not asked for again.
    Some(match left.map(|(left, prompt)| (left.min(limit - 1), prompt)) {
        Some((limit, num_tokens)) if limit > 0 => Room::Left { limit, num_tokens },
        _ => Room::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_an_answer_is_read_from_every_servers_words() {
        // (message, limit, room)
        let left = |limit, num_tokens| Some(Room::Left { limit, num_tokens });
        for (message, limit, want) in [
            (
                "This model's maximum context length is 4097 tokens. However, you requested 5010 tokens (1010 in the \
                 messages, 4000 in the completion). Please reduce the length of the messages or completion.",
                4000,
                left(3087, 1010),
            ),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 2048. This model's maximum context length is 2048 \
                 tokens and your request has 65 input tokens (2048 > 2048 - 65).",
                2048,
                left(1983, 65),
            ),
            (
                "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total \
                 of 2113 tokens: 65 tokens from the input messages and 2048 tokens for the completion.",
                2048,
                left(1983, 65),
            ),
            // The same once more, from a server that wants a position free.
            (
                "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total \
                 of 2048 tokens: 65 tokens from the input messages and 1983 tokens for the completion.",
                1983,
                left(1982, 65),
            ),
            (
                "This endpoint's maximum context length is 32768 tokens. However, you requested about 50000 tokens \
                 (20000 of text input, 30000 in the output).",
                30000,
                left(12768, 20000),
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
                left(16, 4080),
            ),
            ("prompt is too long: 213462 tokens > 200000 maximum", 64, Some(Room::None)),
            (
                "max_tokens is too large: 32000. This model supports at most 16384 completion tokens.",
                32000,
                Some(Room::Most(16384)),
            ),
            ("height:1 or width:250 must be larger than factor:28", 64, None),
        ] {
            assert_eq!(room(message, limit, None), want, "{message}");
        }
        let silent = "The request exceeds the context window: the prompt has 65 tokens";
        assert_eq!(room(silent, 2048, None), Some(Room::None));
        assert_eq!(room(silent, 2048, Some(2048)), left(1983, 65));
    }

    #[test]
    fn what_a_refusal_tells_holds_for_the_run() {
        let mut limits = Limits::default();
        assert_eq!(limits.of("a", 4096), 4096);
        limits.hear("a", Room::Left { limit: 1983, num_tokens: 65 });
        // A question that nobody has counted is taken for the shortest.
        assert_eq!(["a", "b"].map(|id| limits.of(id, 4096)), [1983, 1983]);
        limits.hear("b", Room::Left { limit: 1948, num_tokens: 100 });
        assert_eq!(["a", "b", "c"].map(|id| limits.of(id, 4096)), [1983, 1948, 1983]);
        limits.hear("d", Room::Left { limit: 1988, num_tokens: 60 });
        assert_eq!(["a", "b", "c"].map(|id| limits.of(id, 4096)), [1983, 1948, 1988]);
        assert_eq!((limits.of("a", 7), limits.counted("a", 50, 4096)), (7, None));
        assert_eq!([50, 5000].map(|num| limits.counted("c", num, 4096)), [Some(1998), Some(1)]);
        // From a server that wants a position free.
        limits.hear("e", Room::Left { limit: 1947, num_tokens: 100 });
        assert_eq!(limits.of("b", 4096), 1947);
        limits.hear("a", Room::Most(512));
        assert_eq!(["a", "b"].map(|id| limits.of(id, 4096)), [512, 512]);
        limits.hear("a", Room::None);
        assert_eq!(limits.of("a", 4096), 512);
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
