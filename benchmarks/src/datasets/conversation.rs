//! The messages of a training example: at most a system's text, one question, at most one response.
//!
//! This module does not know layouts: which column holds which message is said in `training.rs`.
//!
//! Decisions:
//! - A place of a picture is the mark `<image>` in the text, whether the file says it so or with a part
//!   `{"type": "image"}`. Parts are joined with nothing between them, as chat templates do.
//! - Messages are `{role, content}` or `{from, value}`; `human` and `gpt` are other words for `user` and
//!   `assistant`. Anyone else, such as a tool, takes no part in an example.
//! - A picture that stands in a part itself is read as a path, a `file://` path or a data URI. Bytes in a part of
//!   parquet are refused: the place of a value in a list of lists is not known here.

use crate::datasets::fault::{Checked, Fault};
use crate::datasets::row::{Layout, PictureKind, Row, text_of};
use crate::datasets::value::{Value, shown};
use crate::sample::ImageSource;

/// The place of a picture in a text.
pub(super) const MARK: &str = "<image>";

/// A longer text is no path. In bytes.
const PATH_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::System => "the system",
            Role::User => "the user",
            Role::Assistant => "the assistant",
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turn<'a> {
    /// Where it stands.
    pub(super) column: &'a str,
    pub(super) role: Role,
    pub(super) text: String,
    /// For each mark in the text its picture, if it comes with one.
    pub(super) marks: Vec<Option<ImageSource>>,
}

/// A conversation of one question.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversation<'a> {
    pub(super) system: Option<Turn<'a>>,
    pub(super) question: Turn<'a>,
    pub(super) response: Option<Turn<'a>>,
}

/// A training example with its pictures put to their marks.
pub(super) struct Example {
    pub(super) question: String,
    /// One for each mark in the question, in the order of the marks.
    pub(super) images: Vec<ImageSource>,
    pub(super) response: Option<String>,
}

impl<'a> Turn<'a> {
    /// Makes a turn of a text that stands in a column by itself.
    pub(super) fn plain(column: &'a str, role: Role, text: &str) -> Turn<'a> {
        let marks = text.matches(MARK).map(|_| None).collect();
        Turn { column, role, text: text.to_owned(), marks }
    }

    fn of(row: &Row, column: &'a str, number: usize, message: &Value) -> Checked<Turn<'a>> {
        let fault = |cause: String| Fault::new(column, format!("turn {number} {cause}"));
        if !matches!(message, Value::Struct(_)) {
            return Err(fault(format!("is {}, not a message", message.kind())));
        }
        let get = |keys: [&str; 2]| {
            let missing = || fault(format!("has neither `{}` nor `{}`", keys[0], keys[1]));
            keys.iter().find_map(|key| message.get(key)).ok_or_else(missing)
        };
        let by = text_of(column, get(["role", "from"])?)?.unwrap_or_default();
        let role = match by.as_str() {
            "system" => Role::System,
            "user" | "human" => Role::User,
            "assistant" | "gpt" => Role::Assistant,
            other => {
                return Err(fault(format!("is by `{}`", shown(other)))
                    .hint("a training example has a system, a user and an assistant"));
            }
        };
        let Value::List(parts) = get(["content", "value"])? else {
            let text = match get(["content", "value"])? {
                Value::Text(text) => text.clone(),
                other => text_of(column, other)?.unwrap_or_default(),
            };
            return Ok(Turn::plain(column, role, &text));
        };
        let mut turn = Turn::plain(column, role, "");
        for part in parts {
            turn.push(row, number, part)?;
        }
        // Parts that are no mark may be one together.
        if turn.text.matches(MARK).count() != turn.marks.len() {
            return Err(fault(format!(
                "has a `{MARK}` that begins in one part and ends in another"
            )));
        }
        Ok(turn)
    }

    fn push(&mut self, row: &Row, number: usize, part: &Value) -> Checked<()> {
        let column = self.column;
        let fault =
            |cause: String| Fault::new(column, format!("turn {number} has a part that {cause}"));
        let kind = part.get("type").unwrap_or(&Value::Null);
        let picture = match text_of(column, kind)?.as_deref() {
            Some("text") => {
                let Some(Value::Text(text)) = part.get("text") else {
                    return Err(fault("is text and has no `text`".to_owned()));
                };
                self.marks.extend(text.matches(MARK).map(|_| None));
                self.text.push_str(text);
                return Ok(());
            }
            Some("image") => {
                let keys = ["image", "path", "url"].iter().filter_map(|key| part.get(key));
                keys.into_iter().find(|value| **value != Value::Null).unwrap_or(&Value::Null)
            }
            Some("image_url") => match part.get("image_url") {
                Some(value @ Value::Text(_)) => value,
                Some(value) => value.get("url").unwrap_or(&Value::Null),
                None => &Value::Null,
            },
            Some(other) => return Err(fault(format!("is `{}`", shown(other)))),
            None => return Err(fault("has no `type`".to_owned())),
        };
        if row.file.layout == Layout::Parquet && !matches!(picture, Value::Null | Value::Text(_)) {
            return Err(fault("holds a picture as bytes".to_owned())
                .hint("in parquet pictures are read from a column of their own"));
        }
        self.marks.push(self::picture(row, column, picture)?);
        self.text.push_str(MARK);
        Ok(())
    }
}

/// Returns the messages of a list.
pub(super) fn turns<'a>(row: &Row, column: &'a str, list: &Value) -> Checked<Vec<Turn<'a>>> {
    let Value::List(messages) = list else {
        return Err(Fault::new(column, format!("the cell is {}, not a list", list.kind())));
    };
    let turn = |(place, message)| Turn::of(row, column, place + 1, message);
    messages.iter().enumerate().map(turn).collect()
}

impl<'a> Conversation<'a> {
    /// Finds the one question of `turns` and what belongs to it; `column` is where turns are missing.
    ///
    /// # Errors
    /// If there is no question or more than one, if it or a response is empty, if the turns come in another
    /// order, or if a picture is shown by the assistant.
    pub(super) fn of(column: &str, turns: Vec<Turn<'a>>) -> Checked<Conversation<'a>> {
        let num = |role| turns.iter().filter(|turn| turn.role == role).count();
        let (num_questions, num_responses) = (num(Role::User), num(Role::Assistant));
        let mut system = None;
        let mut said: Vec<Turn<'a>> = Vec::new();
        for (place, turn) in turns.into_iter().enumerate() {
            let wanted = if said.len().is_multiple_of(2) { Role::User } else { Role::Assistant };
            if turn.role == Role::System && place == 0 {
                system = Some(turn);
            } else if turn.role == wanted {
                said.push(turn);
            } else {
                let cause = format!(
                    "turn {} is by {}, where {} belongs",
                    place + 1,
                    turn.role.name(),
                    wanted.name()
                );
                return Err(Fault::new(turn.column, cause));
            }
        }
        if said.len() > 2 {
            let cause = format!(
                "the conversation has {num_questions} questions and {num_responses} responses"
            );
            return Err(Fault::new(said[2].column, cause)
                .hint("only conversations of one question are training examples here"));
        }
        let mut said = said.into_iter();
        let question = said.next().ok_or_else(|| Fault::new(column, "there is no question"))?;
        if question.text.trim().is_empty() {
            return Err(Fault::new(question.column, "the question is empty"));
        }
        let response = said.next();
        if let Some(response) = &response {
            if response.text.trim().is_empty() {
                return Err(Fault::new(response.column, "the response is empty"));
            }
            if !response.marks.is_empty() {
                return Err(Fault::new(response.column, format!("the response has a `{MARK}`"))
                    .hint("pictures belong to the question"));
            }
        }
        Ok(Conversation { system, question, response })
    }

    /// Puts a mark for each of `num` pictures before the question, unless it has any.
    pub(super) fn show_first(&mut self, num: usize) {
        let has_marks = self.system.as_ref().is_some_and(|system| !system.marks.is_empty());
        if !has_marks && self.question.marks.is_empty() {
            self.question.text.insert_str(0, &MARK.repeat(num));
            self.question.marks = vec![None; num];
        }
    }

    /// Returns the question with the system's text before it, a blank line between, and the pictures in the order
    /// of their marks: those of marks without one are `pictures`, which stand in `column`.
    ///
    /// # Errors
    /// If there are more or fewer `pictures` than such marks.
    pub(super) fn shown(self, column: &str, pictures: Vec<ImageSource>) -> Checked<Example> {
        let (mut question, mut marks) = (String::new(), Vec::new());
        if let Some(system) = self.system.filter(|system| !system.text.trim().is_empty()) {
            question = system.text + "\n\n";
            marks = system.marks;
        }
        question.push_str(&self.question.text);
        marks.extend(self.question.marks);
        let num_marks = marks.iter().filter(|mark| mark.is_none()).count();
        if num_marks != pictures.len() {
            let of = |num, what: &str| format!("{num} {what}{}", if num == 1 { "" } else { "s" });
            let cause = format!(
                "the question has {} `{MARK}` for {}",
                of(num_marks, "mark"),
                of(pictures.len(), "picture")
            );
            return Err(Fault::new(column, cause));
        }
        let mut pictures = pictures.into_iter();
        let images =
            marks.into_iter().filter_map(|mark| mark.or_else(|| pictures.next())).collect();
        Ok(Example { question, images, response: self.response.map(|response| response.text) })
    }
}

/// Returns the pictures of a column that holds one or a list.
pub(super) fn pictures(row: &Row, column: &str) -> Checked<Vec<ImageSource>> {
    let Value::List(values) = row.value(column) else {
        return Ok(picture(row, column, row.value(column))?.into_iter().collect());
    };
    let pictures = values.iter().enumerate().map(|(place, value)| {
        picture(row, column, value)?.ok_or_else(|| {
            Fault::new(column, format!("element {} of the list is not a picture", place + 1))
        })
    });
    pictures.collect()
}

/// Returns the picture of a value; `None` if the value is empty.
fn picture(row: &Row, column: &str, value: &Value) -> Checked<Option<ImageSource>> {
    let mut found = match value {
        Value::Text(text) if text.trim().is_empty() => return Ok(None),
        Value::Text(text) if text.starts_with("data:") => {
            row.pictures_of(column, value, PictureKind::Base64)?
        }
        Value::Text(text) => {
            let path = text.strip_prefix("file://").unwrap_or(text);
            let fault = |cause: String| Fault::new(column, cause);
            if path.contains("://") {
                return Err(fault(format!("the picture is at `{}`", shown(path)))
                    .hint("nothing is fetched: pictures are files beside the file"));
            }
            if path.len() > PATH_MAX || path.contains(char::is_control) {
                return Err(fault(format!("`{}` is not the path of a picture", shown(path)))
                    .hint("base64 has `data:image/png;base64,` before it"));
            }
            vec![row.path(column, path)?]
        }
        Value::List(_) => return Err(Fault::new(column, "the list holds a list, not pictures")),
        value => row.pictures_of(column, value, PictureKind::Bytes)?,
    };
    Ok(found.pop())
}
