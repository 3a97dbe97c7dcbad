//! Conversations as text: the chat template of a checkpoint and the settings that come with it.
//!
//! Does not know ids.
//!
//! Of a published `tokenizer_config.json` only these fields matter: `chat_template`; `eos_token`;
//! the other special tokens, as names in the template; `added_tokens_decoder`, which must number as
//! `tokenizer.json` does; `split_special_tokens` and `clean_up_tokenization_spaces`, which would
//! change ids or text and are refused when on. The rest (`add_prefix_space`, `add_bos_token`,
//! `errors`, `model_max_length`, `tokenizer_class`, ..) changes nothing for a `tokenizer.json` of this
//! family and is only written back when the checkpoint is saved again.
//!
//! Templates are Jinja as the reference renders it: blocks trimmed, `break` and `continue`, methods of Python's texts, and
//! the tag `generation`, which marks what the assistant says for trainers that learn from it alone and renders what it
//! holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result, anyhow, ensure};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, from_args};
use minijinja::{Environment, ErrorKind, State, Value, context};
use regex::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use synergy_hint::{Hinted, hint};

/// Qwen2.5-VL's turns without its default system prompt, which a small model cannot use.
const CHAT_TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}\
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Fields of `tokenizer_config.json` that would change ids or text if they were on.
const REFUSED: [&str; 2] = ["split_special_tokens", "clean_up_tokenization_spaces"];
/// Where a picture belongs in a question, as many data sets write it.
const IMAGE_MARK: &str = "<image>";
/// Special tokens that a template may name.
const NAMED: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// The settings in `tokenizer_config.json`, and the chat template from there or from a file of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizerConfig {
    pub(super) eos_token: String,
    chat_template: String,
    /// The file the template comes from, for errors.
    template_file: String,
    /// All fields of `tokenizer_config.json`, with a template of its own file put in.
    pub(super) fields: Map<String, Json>,
}

/// One part of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// A picture.
    Image,
    /// A video.
    Video,
    /// A piece of text.
    Text {
        /// The text as it is; the template adds nothing to it.
        text: String,
    },
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// Pictures, videos and text in order.
    pub content: Vec<Part>,
}

/// A parsed template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// Special tokens under their names.
    named: BTreeMap<&'static str, String>,
    file: String,
}

impl Message {
    /// Makes the turn before the first question. Without it a published template adds its own.
    pub fn system(text: &str) -> Message {
        Message { role: "system", content: vec![Part::Text { text: text.to_owned() }] }
    }

    /// Makes a user's turn: pictures first, then text.
    pub fn user(num_images: usize, text: &str) -> Message {
        let mut content = vec![Part::Image; num_images];
        content.push(Part::Text { text: text.to_owned() });
        Message { role: "user", content }
    }

    /// Makes a user's turn about `num_images` pictures, which are put where `text` says `<image>`, or before it if it
    /// has no such mark.
    ///
    /// # Errors
    /// If there are more or fewer marks than pictures.
    pub fn user_marked(num_images: usize, text: &str) -> Result<Message> {
        let mut pieces = text.split(IMAGE_MARK);
        let num_marks = text.matches(IMAGE_MARK).count();
        if num_marks == 0 {
            return Ok(Message::user(num_images, text));
        }
        ensure!(
            num_marks == num_images,
            hint!(
                "question has {num_marks} `{IMAGE_MARK}`, pictures given: {num_images}",
                "give one picture for each mark, or leave the marks out"
            )
        );
        let mut content = Vec::new();
        let piece = |text: &str| Part::Text { text: text.to_owned() };
        content.extend(pieces.next().filter(|t| !t.is_empty()).map(piece));
        for text in pieces {
            content.push(Part::Image);
            content.extend(Some(text).filter(|t| !t.is_empty()).map(piece));
        }
        Ok(Message { role: "user", content })
    }

    /// Makes a turn of the model.
    pub fn assistant(text: &str) -> Message {
        Message { role: "assistant", content: vec![Part::Text { text: text.to_owned() }] }
    }
}

impl TokenizerConfig {
    /// Reads `tokenizer_config.json` of `dir` and the template: from `chat_template.jinja`, else
    /// `chat_template.json`, else `tokenizer_config.json`, as the reference's processor does.
    ///
    /// # Errors
    /// If a file is missing or damaged, has no template, or asks for what is not implemented.
    pub fn read(dir: &Path) -> Result<TokenizerConfig> {
        let path = dir.join("tokenizer_config.json");
        let (jinja, json) = (dir.join("chat_template.jinja"), dir.join("chat_template.json"));
        let mut fields: Map<String, Json> = parse(&path)?;
        for field in REFUSED {
            ensure!(
                fields.get(field) != Some(&Json::Bool(true)),
                hint!(
                    ("`{field}` in `{}` is not implemented", path.display()),
                    "the published checkpoints have it off; set it to false if it is not needed"
                )
            );
        }
        let (chat_template, file) = if jinja.exists() {
            (text(&jinja)?, &jinja)
        } else if json.exists() {
            let fields: Map<String, Json> = parse(&json)?;
            (default_template(&fields, &json)?, &json)
        } else {
            (default_template(&fields, &path)?, &path)
        };
        if file != &path {
            fields.insert("chat_template".into(), chat_template.clone().into());
        }
        let eos_token = token_content(&fields, "eos_token").ok_or_else(|| {
            anyhow!(hint!(
                ("no `eos_token` in `{}`", path.display()),
                "Qwen2.5-VL's is `<|im_end|>`, the end of a turn"
            ))
        })?;
        let template_file = file.display().to_string();
        Ok(TokenizerConfig {
            eos_token: eos_token.to_owned(),
            chat_template,
            template_file,
            fields,
        })
    }

    /// Returns the settings of the small models.
    pub(super) fn small() -> TokenizerConfig {
        let fields = [
            ("tokenizer_class", "Qwen2Tokenizer"),
            ("chat_template", CHAT_TEMPLATE),
            ("eos_token", "<|im_end|>"),
            ("pad_token", "<|endoftext|>"),
        ];
        TokenizerConfig {
            eos_token: "<|im_end|>".into(),
            chat_template: CHAT_TEMPLATE.into(),
            template_file: "tokenizer_config.json".into(),
            fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect(),
        }
    }

    pub(super) fn chat_template(&self) -> &str {
        &self.chat_template
    }

    /// Parses the template.
    ///
    /// # Errors
    /// If it does not parse.
    pub(super) fn template(&self) -> Result<ChatTemplate> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.context("bad template syntax")?);
        environment.set_unknown_method_callback(python_method);
        environment.add_function("raise_exception", |cause: String| -> Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, cause))
        });
        // As Jinja2 reads it: line ends of any system are `\n`.
        let text = self.chat_template.replace("\r\n", "\n").replace('\r', "\n");
        let text = prepared(&text)
            .with_context(|| format!("unusable chat template in `{}`", self.template_file))?;
        environment.add_template_owned("chat", text).map_err(|e| {
            anyhow!(hint!(
                ("chat template in `{}` does not parse: {e}", self.template_file),
                "take the template from the published checkpoint"
            ))
        })?;
        let named = |name| Some((name, token_content(&self.fields, name)?.to_owned()));
        let named = NAMED.into_iter().filter_map(named).collect();
        Ok(ChatTemplate { environment, named, file: self.template_file.clone() })
    }

    /// Returns the text of a `tokenizer_config.json` that holds the template.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.fields).expect("plain data") + "\n"
    }
}

impl ChatTemplate {
    /// Renders `messages`, with the model's turn opened if `open`, and with `Picture 1: ` or `Video 1: ` before each if
    /// `numbered`.
    ///
    /// # Errors
    /// If the template fails.
    pub(super) fn render(
        &self,
        messages: &impl Serialize,
        open: bool,
        numbered: bool,
    ) -> Result<String> {
        // None and not undefined, as in the reference: `tools is not none` is a usual question.
        let values = context! {
            messages => Value::from(Serde(messages)),
            tools => (),
            documents => (),
            add_generation_prompt => open,
            add_vision_id => numbered,
            ..Value::from(self.named.clone())
        };
        let template = self.environment.get_template("chat");
        template.and_then(|template| template.render(values)).map_err(|e| {
            anyhow!(hint!(
                ("chat template in `{}` failed: {e}", self.file),
                "the template may not allow this order of turns, or use what minijinja lacks"
            ))
        })
    }
}

/// Blocks that have a scope or an output of their own, besides `set` without a value.
const SCOPES: [&str; 8] =
    ["autoescape", "block", "call", "filter", "for", "generation", "macro", "with"];

/// Makes of a template of the reference one that minijinja renders the same: blocks of `with` stand in the place of blocks
/// of `generation`, which minijinja does not know. Either renders what it holds, in a scope of its own, and both cut
/// white space as their signs say. Comments, expressions and raw text stay.
///
/// # Errors
/// If `break` or `continue` leaves another block on the way to its loop, which minijinja does not close then.
fn prepared(template: &str) -> Result<String, Hinted> {
    static TAGS: LazyLock<Regex> = LazyLock::new(|| {
        const TAGS: &str = r"(?xs) \{\# .*? \#\} | \{\{ .*? \}\}
            | \{% [-+]? \s* raw \s* [-+]? %\} .*? \{% [-+]? \s* endraw \s* [-+]? %\}
            | (?<open> \{% [-+]? \s* ) (?<name> \w+ ) (?<rest> .*? %\})";
        Regex::new(TAGS).expect("a valid pattern")
    });
    let (mut text, mut copied) = (String::with_capacity(template.len()), 0);
    let mut scopes: Vec<&str> = Vec::new();
    for found in TAGS.captures_iter(template) {
        let Some(name) = found.name("name") else { continue };
        let (start, end) = (name.start(), name.end());
        match name.as_str() {
            leap @ ("break" | "continue") => {
                if let Some(scope) = scopes.last().filter(|scope| **scope != "for") {
                    return Err(hint!(
                        "`{leap}` inside a block of `{scope}` is not implemented",
                        "put the block around the loop, or the `{leap}` behind the block"
                    ));
                }
            }
            "set" if !found["rest"].contains('=') => scopes.push("set"),
            scope if SCOPES.contains(&scope) => scopes.push(scope),
            other => {
                let ended = other.strip_prefix("end");
                if ended.is_some_and(|scope| scope == "set" || SCOPES.contains(&scope)) {
                    scopes.pop();
                }
            }
        }
        if let "generation" | "endgeneration" = name.as_str() {
            text.push_str(&template[copied..start]);
            text.push_str(&name.as_str().replace("generation", "with"));
            copied = end;
        }
    }
    text.push_str(&template[copied..]);
    Ok(text)
}

/// Reads a file of the checkpoint.
pub(super) fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        anyhow!(hint!(
            ("failed to read `{}`: {e}", path.display()),
            "copy all tokenizer files of the checkpoint"
        ))
    })
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&text(path)?).map_err(|e| {
        anyhow!(hint!(
            ("failed to parse `{}`: {e}", path.display()),
            "the file is damaged; copy it from the checkpoint again"
        ))
    })
}

/// Returns the `chat_template` of `fields`: a string, or the one named `default` of a list.
fn default_template(fields: &Map<String, Json>, path: &Path) -> Result<String> {
    let template = match fields.get("chat_template") {
        Some(Json::Array(named)) => {
            named.iter().find(|t| t["name"] == "default").map(|t| &t["template"])
        }
        other => other,
    };
    let template = template.and_then(Json::as_str).ok_or_else(|| {
        anyhow!(hint!(
            ("no chat template in `{}`", path.display()),
            "put the checkpoint's `chat_template.jinja` or `chat_template.json` beside it"
        ))
    })?;
    Ok(template.to_owned())
}

/// Returns the text of a special token, which is a string or an object with its `content`.
fn token_content<'a>(fields: &'a Map<String, Json>, name: &str) -> Option<&'a str> {
    let token = fields.get(name)?;
    token.get("content").unwrap_or(token).as_str()
}

/// Calls methods of Python's `str` that templates of this family use and minijinja lacks.
fn python_method(
    _: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, minijinja::Error> {
    let unknown = || minijinja::Error::from(ErrorKind::UnknownMethod);
    let text = value.as_str().ok_or_else(unknown)?;
    let (argument,): (Option<&str>,) = from_args(args)?;
    let set = |c: char| argument.map_or(c.is_whitespace(), |set| set.contains(c));
    Ok(match (method, argument) {
        ("startswith", Some(start)) => text.starts_with(start).into(),
        ("endswith", Some(end)) => text.ends_with(end).into(),
        ("strip", _) => text.trim_matches(set).into(),
        ("lstrip", _) => text.trim_start_matches(set).into(),
        ("rstrip", _) => text.trim_end_matches(set).into(),
        ("split", None) => text.split_whitespace().map(Value::from).collect(),
        ("split", Some(at)) if !at.is_empty() => text.split(at).map(Value::from).collect(),
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    const FIXTURES: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/parity/fixtures/tokenizer");

    pub(in crate::tokenizer) fn fixture(name: &str) -> String {
        std::fs::read_to_string(format!("{FIXTURES}/{name}")).unwrap()
    }

    /// A conversation of `chat.json` in our types.
    pub(in crate::tokenizer) fn messages(conversation: &Json) -> Vec<Message> {
        let role = |name: &str| ["system", "user", "assistant"].into_iter().find(|r| *r == name);
        let text = |text: &Json| Part::Text { text: text.as_str().unwrap().into() };
        let part = |part: &Json| match part["type"].as_str().unwrap() {
            "image" | "image_url" => Part::Image,
            "video" => Part::Video,
            _ => text(&part["text"]),
        };
        let message = |message: &Json| Message {
            role: role(message["role"].as_str().unwrap()).unwrap(),
            content: match &message["content"] {
                Json::Array(parts) => parts.iter().map(part).collect(),
                whole => vec![text(whole)],
            },
        };
        conversation["messages"].as_array().unwrap().iter().map(message).collect()
    }

    #[track_caller]
    pub(in crate::tokenizer) fn names_file_and_cause(
        error: &anyhow::Error,
        file: &str,
        cause: &str,
    ) {
        let text = synergy_hint::text(error);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.len() == 2 && lines[1].starts_with("hint: "),
            "not a line and a hint: {text}"
        );
        assert!(lines[0].contains(&format!("{file}`")), "{file} is not named: {text}");
        assert!(lines[0].contains(cause), "{cause} is not named: {text}");
    }

    /// Settings with `template`, the end of a turn as the object that some versions write.
    fn settings(template: &Json) -> String {
        let eos = json!({ "content": "<|im_end|>", "special": true });
        json!({ "chat_template": template, "eos_token": eos }).to_string()
    }

    /// A folder of `files`, read.
    fn read(files: &[(&str, &str)]) -> Result<TokenizerConfig> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        TokenizerConfig::read(dir.path())
    }

    fn render(template: &str, messages: &impl Serialize) -> Result<String> {
        let config = read(&[("tokenizer_config.json", &settings(&template.into()))])?;
        config.template()?.render(messages, true, false)
    }

    #[test]
    fn conversations_are_rendered_as_by_the_reference() {
        let files = [
            ("tokenizer_config.json", &settings(&Json::Null)[..]),
            ("chat_template.jinja", &fixture("chat_template.jinja")),
        ];
        let template = read(&files).unwrap().template().unwrap();
        let chat: Json = serde_json::from_str(&fixture("chat.json")).unwrap();
        let conversations = chat["conversations"].as_array().unwrap();
        assert_eq!(conversations.len(), 8);
        for conversation in conversations {
            let option = |name: &str| conversation["options"][name] == true;
            let (open, numbered) = (option("add_generation_prompt"), option("add_vision_id"));
            let want = conversation["rendered"].as_str().unwrap();
            let raw = template.render(&conversation["messages"], open, numbered).unwrap();
            assert_eq!(raw, want);
            let ours = template.render(&messages(conversation), open, numbered).unwrap();
            assert_eq!(ours, want);
        }
    }

    #[test]
    fn the_template_is_found_in_each_place_where_it_is_published() {
        let rendered = |files: &[(&str, &str)]| {
            let config = read(files).unwrap();
            assert_eq!(config.eos_token, "<|im_end|>");
            let text = config.template().unwrap().render(&[(); 0], true, false).unwrap();
            // Saved again, it is the same one.
            let again = read(&[("tokenizer_config.json", &config.to_json())]).unwrap();
            assert_eq!(again.template().unwrap().render(&[(); 0], true, false).unwrap(), text);
            text
        };
        let alone = settings(&"{{ eos_token }} alone".into());
        let list = settings(&json!([
            { "name": "tool_use", "template": "tools" },
            { "name": "default", "template": "listed" },
        ]));
        let json = json!({ "chat_template": "json" }).to_string();
        let files = [
            ("tokenizer_config.json", &list[..]),
            ("chat_template.json", &json),
            ("chat_template.jinja", "jinja"),
        ];
        assert_eq!(rendered(&[("tokenizer_config.json", &alone)]), "<|im_end|> alone");
        assert_eq!(rendered(&files[..1]), "listed");
        assert_eq!(rendered(&files[..2]), "json");
        assert_eq!(rendered(&files), "jinja");
    }

    #[test]
    fn a_template_sees_white_space_and_names_as_in_the_reference() {
        let template = "{% if tools is none and documents is none %}\r\n  {# why #}\r\n  \
                        {%- set x = 1 %}\r\n\t{% if x %}\r\n a\r\n{% endif %}{% endif %}";
        assert_eq!(render(template, &[(); 0]).unwrap(), " a\n");
    }

    #[test]
    fn a_template_may_mark_what_is_generated() {
        for (template, want) in [
            ("a{% generation %}b{% endgeneration %}c", "abc"),
            ("a {%- generation -%} b {%- endgeneration +%}\nc", "ab\nc"),
            // Lines that hold a block alone leave no trace, as for any block.
            ("a\n  {% generation %}\nb\n  {% endgeneration %}\nc", "a\nb\nc"),
            ("{% generation %}{{ messages[0].role }}{% endgeneration %}", "user"),
            // A scope of its own, as in the reference.
            ("{% set x = 1 %}{% generation %}{% set x = 2 %}{% endgeneration %}{{ x }}", "1"),
            ("{# {% generation %} #}{{ '{% generation %}' }}", "{% generation %}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% generation %}"),
        ] {
            assert_eq!(render(template, &[Message::user(0, "hi")]).unwrap(), want, "{template}");
        }
        let open = render("{% generation %}", &[(); 0]).unwrap_err();
        names_file_and_cause(&open, "tokenizer_config.json", "not parse: syntax error");
    }

    #[test]
    fn a_loop_of_a_template_may_end_early_and_go_on() {
        let loops = "{% for k in [1, 2, 3, 4] %}{% if k == 1 %}{% continue %}{% endif %}\
                     {% if k == 4 %}{% break %}{% endif %}{{ k }}{% endfor %}";
        assert_eq!(render(loops, &[(); 0]).unwrap(), "23");
        let around = "{% with %}{% for k in [1, 2] %}{{ k }}{% break %}{% endfor %}{% endwith %}\
                      {% set x %}a{% endset %}{% for k in x %}{% set y = 1 %}{{ k }}{% break %}{% endfor %}";
        assert_eq!(render(around, &[(); 0]).unwrap(), "1a");
        // minijinja would panic or lose what the block has said.
        for (open, close) in [
            ("with a = 1", "endwith"),
            ("set x", "endset"),
            ("filter upper", "endfilter"),
            ("generation", "endgeneration"),
        ] {
            for leap in ["break", "continue"] {
                let template = format!(
                    "{{% for k in [1, 2] %}}{{%- {open} %}}{{% if k %}}{{% {leap} %}}{{% endif %}}{{% {close} %}}{{% endfor %}}"
                );
                let error = render(&template, &[(); 0]).unwrap_err();
                let cause =
                    format!("`{leap}` inside a block of `{}`", open.split(' ').next().unwrap());
                names_file_and_cause(&error, "tokenizer_config.json", &cause);
            }
        }
    }

    #[test]
    fn a_template_may_call_methods_of_python_strings() {
        let rendered = |expression: &str| {
            render(&format!("{{{{ {expression} }}}}"), &[Message::user(0, "hi")])
        };
        for (expression, want) in [
            ("' a '.strip() ~ '|'", "a|"),
            ("'xxaxx'.lstrip('x') ~ 'xxaxx'.rstrip('x')", "axxxxa"),
            ("'a</think>b'.split('</think>')[-1]", "b"),
            ("' a  b '.split() | length", "2"),
            ("'ab'.startswith('a') and not 'ab'.endswith('a')", "True"),
        ] {
            assert_eq!(rendered(expression).unwrap(), want, "{expression}");
        }
        for (expression, cause) in [
            ("'a'.swapcase()", "swapcase"),
            ("messages.strip()", "strip"),
            ("raise_exception('no system turn')", "no system turn"),
        ] {
            let error = rendered(expression).unwrap_err();
            names_file_and_cause(&error, "tokenizer_config.json", cause);
        }
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        const SETTINGS: &str = "tokenizer_config.json";
        let with = |name: &str, value: Json| {
            let mut fields: Json = serde_json::from_str(&settings(&"x".into())).unwrap();
            fields[name] = value;
            fields.to_string()
        };
        for (file, content, cause) in [
            (SETTINGS, "{", "EOF"),
            (SETTINGS, "[]", "invalid type"),
            (SETTINGS, &with("split_special_tokens", true.into()), "`split_special_tokens`"),
            (SETTINGS, &with("eos_token", Json::Null), "no `eos_token`"),
            (SETTINGS, &with("chat_template", Json::Null), "no chat template"),
            (SETTINGS, &with("chat_template", "{% fro x %}".into()), "not parse: syntax error"),
            ("chat_template.json", "{\"chat_template\": []}", "no chat template"),
            ("chat_template.jinja", "{% if x %}", "not parse: syntax error"),
        ] {
            let whole = settings(&"x".into());
            let config = read(&[(SETTINGS, &whole), (file, content)]);
            let error = config.and_then(|config| config.template()).unwrap_err();
            names_file_and_cause(&error, file, cause);
        }
        names_file_and_cause(&read(&[]).unwrap_err(), SETTINGS, "failed to read");
    }
}
