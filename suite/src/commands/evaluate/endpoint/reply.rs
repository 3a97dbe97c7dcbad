//! The reply of `/chat/completions`, read loosely: servers agree on the protocol's outline and on little else.
//!
//! Does not know requests. What is read, and from whom it comes:
//! - One object, or a stream of events, which some servers send although it was not asked for.
//! - The thought under `reasoning_content` (SGLang, DeepSeek) or `reasoning` (OpenRouter); vLLM sent both until 0.15, so
//!   that the first that holds text counts. It is put before the text in the study's tags, unless the text begins with
//!   one of its own.
//! - The text as a string, as a list of parts (Mistral, whose thought is a part too), as a refusal (OpenAI), or null.
//! - A count of tokens as a whole or a broken number; 0 for an answer that has text is no count.
//! - Of several choices the first by `index`, wherever it stands: one is asked for.
//! - Any finish reason, in any case. One that says neither that the model ended nor that it was cut, or none at all,
//!   leaves it to the count.
//! - An error in place of the answer, with status 200 (OpenRouter).

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::served::words::message;

const THINK: &str = "<think>";
const THINK_END: &str = "</think>";

/// Finish reasons of an answer that the model or a tool call ended.
const ENDED: [&str; 11] = [
    "stop",
    "eos",
    "eos_token",
    "end",
    "end_turn",
    "stop_sequence",
    "stop_token",
    "complete",
    "tool_calls",
    "tool_use",
    "function_call",
];
/// Finish reasons of an answer that a length limit cut.
const CUT: [&str; 5] = ["length", "max_tokens", "max_length", "model_length", "max_output_tokens"];
/// Finish reasons of an answer that a filter stopped: OpenAI's, Gemini's and Zhipu's.
const FILTERED: [&str; 7] = [
    "content_filter",
    "safety",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "sensitive",
];
/// Finish reasons of an answer that the server gave up.
const GIVEN_UP: [&str; 6] =
    ["abort", "aborted", "cancelled", "canceled", "error", "insufficient_system_resource"];

/// What ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The model or a tool call.
    Ended,
    /// A length limit.
    Cut,
    /// The server does not say.
    Untold,
}

/// A reply as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// An answer.
    Answer {
        /// Its text with the thought before it; `None` if it has none.
        text: Option<String>,
        /// Its tokens, if they are counted.
        num_tokens: Option<u32>,
        /// Tokens of the question with its pictures, if they are counted.
        num_prompt_tokens: Option<u32>,
        /// What ended it.
        end: End,
    },
    /// What a filter of the server let through, which is not the model's answer.
    Filtered,
    /// An error in place of an answer, with the status that it names, if it does.
    Error {
        /// A status of HTTP.
        status: Option<u16>,
        /// The server's words.
        message: String,
    },
}

/// Reads the body of a reply.
///
/// # Errors
/// If it is no reply at all, breaks off before its end, or holds an answer that the server gave up.
pub(super) fn read(body: &str) -> Result<Said> {
    let body = body.trim_start_matches('\u{feff}').trim();
    let (parts, is_whole) = match serde_json::from_str::<Value>(body) {
        Ok(value) => (vec![value], true),
        Err(error) => {
            let events = body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
            let (ends, events): (Vec<&str>, Vec<&str>) =
                events.partition(|event| *event == "[DONE]");
            ensure!(!events.is_empty(), "{error}");
            let parts = events.into_iter().map(serde_json::from_str::<Value>);
            (parts.collect::<Result<Vec<Value>, _>>()?, !ends.is_empty())
        }
    };
    if let Some(error) = parts.iter().find_map(error) {
        return Ok(error);
    }
    let mut gathered = Gathered::default();
    let mut reason = None;
    let counted =
        |name: &str| parts.iter().rev().find_map(|part| count(part.get("usage")?.get(name)?));
    let choices: Vec<(u64, &Value)> = parts.iter().flat_map(choices).collect();
    let first = choices.iter().map(|(index, _)| *index).min();
    ensure!(first.is_some(), "it has no choices");
    for (_, choice) in choices.into_iter().filter(|(index, _)| Some(*index) == first) {
        let message = choice.get("message").or_else(|| choice.get("delta"));
        gathered.add(message.unwrap_or(&Value::Null));
        reason = choice.get("finish_reason").and_then(Value::as_str).or(reason);
    }
    let end = match reason.map(str::to_lowercase).as_deref() {
        None => {
            ensure!(is_whole, "it breaks off before it says why the answer ended");
            End::Untold
        }
        Some(reason) if ENDED.contains(&reason) => End::Ended,
        Some(reason) if CUT.contains(&reason) => End::Cut,
        Some(reason) if FILTERED.contains(&reason) => return Ok(Said::Filtered),
        Some(reason) => {
            ensure!(!GIVEN_UP.contains(&reason), "the server gave the answer up (`{reason}`)");
            End::Untold
        }
    };
    let text = gathered.text(end);
    let is_empty = text.as_ref().is_none_or(String::is_empty);
    let num_tokens = counted("completion_tokens").filter(|count| *count > 0 || is_empty);
    Ok(Said::Answer { text, num_tokens, num_prompt_tokens: counted("prompt_tokens"), end })
}

/// The choices in a part of a reply, each with its index; the place stands for one that is not said.
fn choices(part: &Value) -> impl Iterator<Item = (u64, &Value)> {
    // The last event of a stream may hold the count alone.
    let choices = part.get("choices").and_then(Value::as_array).into_iter().flatten();
    let index = |choice: &Value| choice.get("index").and_then(count).map(u64::from);
    (0..).zip(choices).map(move |(place, choice)| (index(choice).unwrap_or(place), choice))
}

/// The error in a part of a reply.
fn error(part: &Value) -> Option<Said> {
    let error = part.get("error").or_else(|| part.pointer("/choices/0/error"));
    let error = error.filter(|error| !error.is_null())?;
    let code = error.get("code").or_else(|| part.get("code"));
    let status = code.and_then(|code| match code {
        Value::String(text) => text.parse().ok(),
        code => code.as_u64().and_then(|code| u16::try_from(code).ok()),
    });
    let status = status.filter(|status| (400..600).contains(status));
    Some(Said::Error { status, message: message(&part.to_string()) })
}

/// A count, which some servers send as a broken number.
fn count(value: &Value) -> Option<u32> {
    let count = value.as_f64().filter(|count| (0.0..=f64::from(u32::MAX)).contains(count))?;
    Some(count.round() as u32)
}

/// Text and thought of an answer, put together from its parts.
#[derive(Debug, Default)]
struct Gathered {
    content: Option<String>,
    thought: String,
    refusal: String,
}

impl Gathered {
    fn add(&mut self, message: &Value) {
        let thoughts = ["reasoning_content", "reasoning"];
        let thoughts = thoughts.iter().filter_map(|name| message.get(name)?.as_str());
        if let Some(thought) = thoughts.into_iter().find(|thought| !thought.is_empty()) {
            self.thought.push_str(thought);
        }
        if let Some(refusal) = message.get("refusal").and_then(Value::as_str) {
            self.refusal.push_str(refusal);
        }
        match message.get("content") {
            Some(Value::String(text)) => self.content.get_or_insert_default().push_str(text),
            Some(Value::Array(parts)) => parts.iter().for_each(|part| self.part(part)),
            Some(part @ Value::Object(_)) => self.part(part),
            _ => {}
        }
    }

    /// Adds a part of a list of parts.
    fn part(&mut self, part: &Value) {
        match part.get("type").and_then(Value::as_str) {
            Some("thinking" | "reasoning") => {
                let words =
                    ["thinking", "reasoning", "text"].iter().find_map(|name| part.get(name));
                self.thought.push_str(&words_of(words.unwrap_or(&Value::Null)));
            }
            Some("refusal") => {
                self.refusal.push_str(&words_of(part.get("refusal").unwrap_or(&Value::Null)));
            }
            _ if part.is_string() || part.get("text").is_some() => {
                self.content.get_or_insert_default().push_str(&words_of(part));
            }
            _ => {}
        }
    }

    fn text(self, end: End) -> Option<String> {
        let refusal = Some(self.refusal).filter(|refusal| !refusal.is_empty());
        let content = self.content.or(refusal);
        let thought = self.thought;
        if thought.is_empty() {
            return content;
        }
        match content {
            Some(content) if content.trim_start().starts_with(THINK) => Some(content),
            // A thought that was cut has no end.
            None if end == End::Cut => Some(format!("{THINK}{thought}")),
            content => Some(format!("{THINK}{thought}{THINK_END}{}", content.unwrap_or_default())),
        }
    }
}

/// The words in a string, in an object's `text`, or in a list of either.
fn words_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(words_of).collect(),
        Value::Object(object) => object.get("text").map(words_of).unwrap_or_default(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A reply whose only choice has this message and finish reason.
    fn reply(message: Value, reason: impl Into<Value>) -> String {
        let mut reply = json!({"choices": [{"finish_reason": reason.into()}]});
        reply["choices"][0]["message"] = message;
        reply.to_string()
    }

    #[track_caller]
    fn answer(body: &str) -> (Option<String>, Option<u32>, End) {
        match read(body).unwrap() {
            Said::Answer { text, num_tokens, end, .. } => (text, num_tokens, end),
            error => panic!("{error:?}"),
        }
    }

    #[track_caller]
    fn text(message: Value) -> Option<String> {
        answer(&reply(message, "stop")).0
    }

    #[test]
    fn a_thought_is_found_under_either_name_and_stands_once() {
        let want = Some("<think>a1</think>\\boxed{3}".to_owned());
        for thought in [
            json!({"reasoning_content": "a1"}),
            json!({"reasoning": "a1"}),
            json!({"reasoning": "a1", "reasoning_content": "a1"}),
            json!({"reasoning": null, "reasoning_content": "a1"}),
            json!({"reasoning": "a1", "reasoning_content": ""}),
        ] {
            let mut message = thought;
            message["content"] = json!("\\boxed{3}");
            assert_eq!(text(message.clone()), want, "{message}");
        }
        let none = json!({"content": "3", "reasoning": null, "reasoning_content": null});
        assert_eq!(text(none).as_deref(), Some("3"));
        let own = json!({"content": "<think>a1</think>3", "reasoning_content": "a1"});
        assert_eq!(text(own).as_deref(), Some("<think>a1</think>3"));
        let alone = json!({"content": null, "reasoning_content": "a1"});
        assert_eq!(text(alone.clone()).as_deref(), Some("<think>a1</think>"));
        assert_eq!(answer(&reply(alone, "length")).0.as_deref(), Some("<think>a1"));
    }

    #[test]
    fn text_is_a_string_parts_a_refusal_or_nothing() {
        for (content, want) in [
            (json!("3"), Some("3")),
            (json!(""), Some("")),
            (json!(null), None),
            (json!([]), None),
            (json!([{"type": "text", "text": "so "}, {"type": "text", "text": "3"}]), Some("so 3")),
            (json!([{"type": "output_text", "text": "3"}]), Some("3")),
            (json!(["so ", "3"]), Some("so 3")),
            (json!({"type": "text", "text": "3"}), Some("3")),
            (json!([{"type": "image_url", "image_url": {"url": "x"}}]), None),
            (
                json!([
                    {"type": "thinking", "thinking": [{"type": "text", "text": "a1"}]},
                    {"type": "text", "text": "3"},
                ]),
                Some("<think>a1</think>3"),
            ),
            (json!([{"type": "refusal", "refusal": "No."}]), Some("No.")),
        ] {
            assert_eq!(text(json!({"content": content})).as_deref(), want, "{content}");
        }
        let refused = json!({"content": null, "refusal": "I cannot."});
        assert_eq!(text(refused).as_deref(), Some("I cannot."));
        assert_eq!(text(json!({"role": "assistant", "tool_calls": []})), None);
    }

    #[test]
    fn every_finish_reason_is_known_or_left_to_the_count() {
        let end = |reason: Value| answer(&reply(json!({"content": "3"}), reason)).2;
        for reason in ["stop", "eos", "eos_token", "stop_sequence", "tool_calls", "STOP"] {
            assert_eq!(end(json!(reason)), End::Ended, "{reason}");
        }
        for reason in ["content_filter", "SAFETY"] {
            let said = read(&reply(json!({"content": "3"}), json!(reason))).unwrap();
            assert_eq!(said, Said::Filtered, "{reason}");
        }
        for reason in ["length", "max_tokens", "model_length", "MAX_TOKENS"] {
            assert_eq!(end(json!(reason)), End::Cut, "{reason}");
        }
        for reason in [json!(null), json!("whatever"), json!(3)] {
            assert_eq!(end(reason.clone()), End::Untold, "{reason}");
        }
        let without = json!({"choices": [{"message": {"content": "3"}}]}).to_string();
        assert_eq!(answer(&without).2, End::Untold);
        for reason in ["abort", "error"] {
            let error = read(&reply(json!({"content": "3"}), reason)).unwrap_err().to_string();
            assert_eq!(error, format!("the server gave the answer up (`{reason}`)"));
        }
    }

    #[test]
    fn tokens_are_counted_where_there_is_a_count() {
        let counted = |usage: Value| {
            let mut reply: Value =
                serde_json::from_str(&reply(json!({"content": "3"}), "stop")).unwrap();
            reply["usage"] = usage;
            answer(&reply.to_string()).1
        };
        for (usage, want) in [
            (json!({"completion_tokens": 7}), Some(7)),
            (json!({"completion_tokens": 7.0}), Some(7)),
            (json!({"completion_tokens": null}), None),
            // An answer with text has tokens.
            (json!({"completion_tokens": 0}), None),
            (json!({"completion_tokens": 0.0, "prompt_tokens": 12}), None),
            (json!({"completion_tokens": -1}), None),
            (json!({}), None),
            (json!(null), None),
        ] {
            assert_eq!(counted(usage.clone()), want, "{usage}");
        }
    }

    #[test]
    fn no_tokens_are_believed_of_an_answer_without_text() {
        let mut silent: Value =
            serde_json::from_str(&reply(json!({"content": null}), "stop")).unwrap();
        silent["usage"] = json!({"completion_tokens": 0, "prompt_tokens": 12});
        let want = Said::Answer {
            text: None,
            num_tokens: Some(0),
            num_prompt_tokens: Some(12),
            end: End::Ended,
        };
        assert_eq!(read(&silent.to_string()).unwrap(), want);
    }

    #[test]
    fn of_several_choices_the_first_by_index_is_read_wherever_it_stands() {
        let choice = |index: Value, text: &str, reason: &str| json!({"index": index, "message": {"content": text}, "finish_reason": reason});
        for (choices, want) in [
            (json!([choice(json!(1), "b", "length"), choice(json!(0), "a", "stop")]), "a"),
            (json!([choice(json!(2), "c", "stop"), choice(json!(1), "b", "stop")]), "b"),
            (json!([choice(json!(null), "a", "stop"), choice(json!(1), "b", "length")]), "a"),
            (json!([choice(json!(1.0), "b", "length"), choice(json!(0.0), "a", "stop")]), "a"),
        ] {
            let read = answer(&json!({"choices": choices}).to_string());
            assert_eq!((read.0.as_deref(), read.2), (Some(want), End::Ended), "{choices}");
        }
        let event = |index: u64, text: &str, reason: Value| {
            let choice =
                json!({"index": index, "delta": {"content": text}, "finish_reason": reason});
            format!("data: {}\n\n", json!({"choices": [choice]}))
        };
        let events = event(1, "x", json!(null))
            + &event(0, "a", json!(null))
            + &event(1, "y", json!("length"))
            + &event(0, "b", json!("stop"));
        let read = answer(&(events + "data: [DONE]\n\n"));
        assert_eq!((read.0.as_deref(), read.2), (Some("ab"), End::Ended));
    }

    #[test]
    fn an_error_in_place_of_an_answer_is_told_with_its_status() {
        let error = |body: Value| match read(&body.to_string()).unwrap() {
            Said::Error { status, message } => (status, message),
            answer => panic!("{answer:?}"),
        };
        let words = || "Provider returned error".to_owned();
        let body = json!({"error": {"message": words(), "code": 502}});
        assert_eq!(error(body), (Some(502), words()));
        let body = json!({"error": {"message": words(), "code": "invalid"}});
        assert_eq!(error(body), (None, words()));
        let body = json!({"object": "error", "error": words(), "code": 400});
        assert_eq!(error(body), (Some(400), words()));
        // A reply that says that there is no error.
        assert_eq!(text(json!({"content": "3", "error": null})).as_deref(), Some("3"));
        let body = json!({"error": null, "choices": [{"message": {"content": "3"}, "finish_reason": "stop"}]});
        assert_eq!(answer(&body.to_string()).0.as_deref(), Some("3"));
    }

    #[test]
    fn a_stream_is_put_together_and_one_that_breaks_off_is_none() {
        let events = concat!(
            "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\", \"content\": \"\", \"reasoning\": \"a\"}}]}\r\n\r\n",
            "data: {\"choices\": [{\"delta\": {\"content\": \"\\\\boxed\"}}]}\n\n",
            ": a comment\n\n",
            "data: {\"choices\": [{\"delta\": {\"content\": \"{3}\"}, \"finish_reason\": \"length\"}]}\n\n",
            "data: {\"choices\": [], \"usage\": {\"completion_tokens\": 9}}\n\ndata: [DONE]\n\n",
        );
        let want = (Some("<think>a</think>\\boxed{3}".to_owned()), Some(9), End::Cut);
        assert_eq!(answer(events), want);
        let delta = "data: {\"choices\": [{\"delta\": {\"content\": \"a\"}}]}\n\n";
        assert_eq!(answer(&format!("{delta}data: [DONE]\n\n")).2, End::Untold);
        for bad in [delta, "", "[]", "<html/>", "{\"choices\": []}", "data: {\"choi"] {
            read(bad).unwrap_err();
        }
        assert_eq!(
            answer(&format!("\u{feff}{}", reply(json!({"content": "3"}), "stop"))).2,
            End::Ended
        );
    }
}
