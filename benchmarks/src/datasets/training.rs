//! Reads training data in the layouts of other trainers, row by row.
//!
//! This module does not know how anything is trained: a row becomes a sample, with the response to learn from in
//! `response` and the target of a reward in `answer`.
//!
//! | layout | columns |
//! | --- | --- |
//! | `sharegpt` | `conversations` or `messages`, `images`, `system` (LLaMA-Factory) |
//! | `trl` | `messages`, or `prompt` and `completion`; `image` or `images`; `answer`, `solution` or `ground_truth` |
//! | `easyr1` | `problem`, `answer`, `images` |
//! | `verl` | `prompt`, `images`, `reward_model` with `ground_truth` |
//! | `mm-eureka` | `message`, JSON in a text; `answer` |
//! | `vlm-r1` | `conversations`, `image` |
//! | `mmk12` | `question`, `answer`, `image` (FanqingM/MMK12) |
//! | `s1k-deepseek` | `question`, `solution`, `deepseek_thinking_trajectory`, `deepseek_attempt` (simplescaling/s1K-1.1) |
//! | `s1k-gemini` | the same with `gemini_` |
//!
//! Decisions:
//! - Every layout is read from JSON (an array or an object a line), JSONL and parquet, whichever its owners
//!   write, and any may have an `id`.
//! - A row of several questions is no training example here but a bad row, which `skip_bad` skips.
//! - TRL and VLM-R1 show pictures before the question and have no marks in its text. Marks are put there; where a
//!   text has marks, they count. MMK12 is read so too, since no row of it was at hand. The other layouts need a mark for each picture, as their trainers do.
//! - The target of SFT data is what the last box of the response holds, if it has one.
//! - TRL's `solution` and s1K's may be worked out: then the target is what its last box holds.
//! - s1K has two traces a question, so one file is two sets. A response is the trajectory as a thought and the attempt
//!   behind it, in the form that the study asks for.
//! - The assistant's turn of VLM-R1 is the target, without `<answer>` tags as its trainer reads it, and no response.
//! - Videos, sounds and tools are no part of a sample: a row that has any is bad.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use strum::{EnumCount, EnumString, IntoStaticStr, VariantArray};
use synergy_grade::answer;
use synergy_hint::hint;

use crate::datasets::conversation::{Conversation, Example, Role, Turn, pictures, turns};
use crate::datasets::fault::{Checked, Fault};
use crate::datasets::json;
use crate::datasets::published::{is_name, listed};
use crate::datasets::reader::{self, Reader};
use crate::datasets::row::{self, Kinds, Meaning, Row};
use crate::datasets::value::Value;
use crate::sample::{ImageSource, Sample};

/// The part of ids between the name and the row.
const SPLIT: &str = "train";
/// The column that tells one row from another, if there is one.
const ID: &str = "id";

/// The columns that TRL's trainers hand to rewards and that are a target here, in this order.
const TARGETS: [&str; 3] = ["answer", "solution", "ground_truth"];
/// The columns of s1K with a trace of DeepSeek-R1: the thought, and what is said behind it.
const DEEPSEEK: [&str; 2] = ["deepseek_thinking_trajectory", "deepseek_attempt"];
/// Those with one of Gemini.
const GEMINI: [&str; 2] = ["gemini_thinking_trajectory", "gemini_attempt"];
/// The columns that a sample has no place for, so that they must be empty.
const UNREAD: [&str; 3] = ["videos", "audios", "tools"];

/// The layout of a file, by the trainer or the data set that uses it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, EnumCount, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Layout {
    /// LLaMA-Factory's `sharegpt`, also with the names of OpenAI.
    #[strum(serialize = "sharegpt")]
    ShareGpt,
    /// TRL, for SFT and for GRPO.
    Trl,
    /// EasyR1.
    #[strum(serialize = "easyr1")]
    EasyR1,
    /// verl.
    Verl,
    /// MM-EUREKA.
    MmEureka,
    /// VLM-R1.
    #[strum(serialize = "vlm-r1")]
    VlmR1,
    /// The data set MMK12 as its owners publish it.
    #[strum(serialize = "mmk12")]
    Mmk12,
    /// The data set s1K-1.1 with the traces of DeepSeek-R1.
    #[strum(serialize = "s1k-deepseek")]
    S1kDeepSeek,
    /// The same with the traces of Gemini.
    #[strum(serialize = "s1k-gemini")]
    S1kGemini,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; Layout::COUNT] =
        *Layout::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the name as recipes write it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the layout that [`Layout::name`] calls `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Layout> {
        name.parse().ok()
    }

    /// Guesses the layout of `path`, a file or a folder, from the columns of its first row.
    ///
    /// This is a help for a person at a terminal. A recipe names its layout: what `messages` are cannot be known from
    /// columns, and another first row may have others.
    ///
    /// # Errors
    /// If the columns are those of no layout or of several, or cannot be read.
    pub fn of(path: &Path) -> Result<Layout> {
        let columns = reader::columns(path, &KINDS)?;
        match Layout::candidates(&columns).as_slice() {
            [layout] => Ok(*layout),
            [] => bail!(hint!(
                (
                    "`{}` has the columns of no layout of training data; it has {}",
                    path.display(),
                    listed(&columns)
                ),
                ("there are {}", names(&Layout::ALL))
            )),
            several => bail!(hint!(
                ("the columns of `{}` are those of several layouts", path.display()),
                ("name one of {}", names(several))
            )),
        }
    }

    fn candidates(columns: &[String]) -> Vec<Layout> {
        let has = |column: &str| columns.iter().any(|name| name == column);
        let mut found = Vec::new();
        if has("conversations") {
            match (has("images"), has("image")) {
                (true, false) => found.push(Layout::ShareGpt),
                (false, true) => found.push(Layout::VlmR1),
                _ => found.extend([Layout::ShareGpt, Layout::VlmR1]),
            }
        }
        if has("messages") {
            found.extend((!has("image")).then_some(Layout::ShareGpt));
            found.push(Layout::Trl);
        }
        if has("prompt") {
            found.push(if has("reward_model") { Layout::Verl } else { Layout::Trl });
        }
        if has("problem") && has("answer") {
            found.push(Layout::EasyR1);
        }
        if has("message") {
            found.push(Layout::MmEureka);
        }
        if has("question") && has("answer") {
            found.push(Layout::Mmk12);
        }
        if has("question") && has("solution") {
            found.extend(DEEPSEEK.into_iter().all(has).then_some(Layout::S1kDeepSeek));
            found.extend(GEMINI.into_iter().all(has).then_some(Layout::S1kGemini));
        }
        found.dedup();
        found
    }

    /// Returns the columns that a file must have: one of each group.
    fn needs(self) -> &'static [&'static [&'static str]] {
        match self {
            Layout::ShareGpt => &[&["conversations", "messages"]],
            Layout::Trl => &[&["messages", "prompt"]],
            Layout::EasyR1 => &[&["problem"], &["answer"]],
            Layout::Verl => &[&["prompt"], &["reward_model"]],
            Layout::MmEureka => &[&["message"], &["answer"]],
            Layout::VlmR1 => &[&["conversations"]],
            Layout::Mmk12 => &[&["question"], &["answer"]],
            Layout::S1kDeepSeek => &[&["question"], &["solution"], &[DEEPSEEK[0]], &[DEEPSEEK[1]]],
            Layout::S1kGemini => &[&["question"], &["solution"], &[GEMINI[0]], &[GEMINI[1]]],
        }
    }
}

fn names(layouts: &[Layout]) -> String {
    layouts.iter().map(|layout| layout.name()).collect::<Vec<_>>().join(", ")
}

/// Opens `path`, a file or a folder of files of one kind, as training data `name`.
///
/// Files are `.json`, `.jsonl` or `.parquet`; of a folder `.json` is not read, since it may be anything.
/// Paths of pictures begin at the folder of the file. Ids are `<name>/train/<id>` with the file's `id`, or
/// with the number of the row over all files where a row has none.
///
/// # Errors
/// If there is no such file, its kind is unknown, `name` can be no part of ids, or a parquet file lacks a column.
pub fn open(layout: Layout, path: &Path, name: &str) -> Result<Reader> {
    ensure!(
        is_name(name),
        hint!(
            (
                "`{}` cannot be the name of training data, which is a part of ids",
                name.escape_debug()
            ),
            "use letters, digits, `_`, `-` and `.`"
        )
    );
    Reader::open(Arc::new(Training { layout, name: name.to_owned() }), path)
}

const KINDS: Kinds =
    [("json", row::Layout::Json), ("jsonl", row::Layout::Jsonl), ("parquet", row::Layout::Parquet)];

/// How rows of training data become samples.
#[derive(Debug)]
struct Training {
    layout: Layout,
    /// The name that the samples carry.
    name: String,
}

/// The content of a row, before its pictures are put to their marks.
struct Exercise<'a> {
    conversation: Conversation<'a>,
    /// The column of the pictures.
    column: &'a str,
    pictures: Vec<ImageSource>,
    /// The target, where the row has one besides the response.
    target: Option<String>,
}

impl Meaning for Training {
    fn kinds(&self) -> &'static Kinds {
        &KINDS
    }

    fn split(&self, _: row::Layout, columns: Option<&[String]>, path: &Path) -> Result<String> {
        let Some(columns) = columns else { return Ok(SPLIT.to_owned()) };
        let has = |column: &&str| columns.iter().any(|name| name == column);
        match self.layout.needs().iter().find(|group| !group.iter().any(has)) {
            None => Ok(SPLIT.to_owned()),
            Some(group) => bail!(hint!(
                (
                    "`{}` has no column `{}`, as {} has; it has {}",
                    path.display(),
                    group.join("` or `"),
                    self.layout.name(),
                    listed(columns)
                ),
                "is it another layout?"
            )),
        }
    }

    fn id_column(&self, _: row::Layout) -> &str {
        ID
    }

    fn sample(&self, row: &Row) -> Checked<Sample> {
        for column in UNREAD {
            let is_empty = match row.value(column) {
                Value::Null => true,
                Value::List(values) => values.is_empty(),
                Value::Text(text) => matches!(text.trim(), "" | "[]"),
                _ => false,
            };
            if !is_empty {
                return Err(Fault::new(column, format!("{column} are not supported")));
            }
        }
        let Exercise { conversation, column, pictures, target } = match self.layout {
            Layout::ShareGpt => share_gpt(row),
            Layout::Trl => trl(row),
            Layout::EasyR1 => easy_r1(row),
            Layout::Verl => verl(row),
            Layout::MmEureka => mm_eureka(row),
            Layout::VlmR1 => vlm_r1(row),
            Layout::Mmk12 => mmk12(row),
            Layout::S1kDeepSeek => s1k(row, DEEPSEEK),
            Layout::S1kGemini => s1k(row, GEMINI),
        }?;
        let Example { question, images, response } = conversation.shown(column, pictures)?;
        let response = response.unwrap_or_default();
        let boxed = || answer::extract(&response).unwrap_or_default().to_owned();
        let sample = Sample {
            id: row.text(ID)?.unwrap_or_else(|| format!("{:06}", row.number_overall)),
            images,
            question,
            answer: target.unwrap_or_else(boxed),
            response,
            ..Sample::default()
        };
        Ok(sample.named(&self.name, SPLIT))
    }
}

fn share_gpt(row: &Row) -> Checked<Exercise<'static>> {
    let column = one_of(row, ["conversations", "messages"])?;
    let mut conversation = Conversation::of(column, turns(row, column, row.value(column))?)?;
    if conversation.response.is_none() {
        return Err(Fault::new(column, "there is no response"));
    }
    if let Some(system) = row.text("system")? {
        if conversation.system.is_some() {
            return Err(Fault::new("system", format!("`{column}` has a system's text too")));
        }
        conversation.system = Some(Turn::plain("system", Role::System, &system));
    }
    Ok(Exercise {
        conversation,
        column: "images",
        pictures: pictures(row, "images")?,
        target: None,
    })
}

fn trl(row: &Row) -> Checked<Exercise<'static>> {
    let column = one_of(row, ["messages", "prompt"])?;
    let mut said = match row.value(column) {
        Value::Text(text) if column == "prompt" => {
            vec![Turn::plain(column, Role::User, text)]
        }
        list if column == "prompt" => prompt(row, column, list)?,
        list => turns(row, column, list)?,
    };
    match row.value("completion") {
        Value::Null => {}
        Value::Text(text) => said.push(Turn::plain("completion", Role::Assistant, text)),
        list => said.extend(turns(row, "completion", list)?),
    }
    let mut conversation = Conversation::of(column, said)?;
    let mut target = None;
    for column in TARGETS {
        if target.is_none() {
            target = row.text(column)?;
            if let (Some(text), "solution") = (&target, column)
                && let Some(boxed) = answer::extract(text)
            {
                target = Some(boxed.to_owned());
            }
        }
    }
    if conversation.response.is_none() && target.is_none() {
        return Err(Fault::new(column, "there is neither a response nor a target").hint(
            "a target is `answer`, `solution` or `ground_truth`, a response `completion` or a message",
        ));
    }
    let column = match (row.value("image"), row.value("images")) {
        (Value::Null, _) => "images",
        (_, Value::Null) => "image",
        _ => return Err(Fault::new("image", "there is `images` too")),
    };
    let pictures = pictures(row, column)?;
    conversation.show_first(pictures.len());
    Ok(Exercise { conversation, column, pictures, target })
}

fn easy_r1(row: &Row) -> Checked<Exercise<'static>> {
    let question = Turn::plain("problem", Role::User, &row.required("problem")?);
    Ok(Exercise {
        conversation: Conversation::of("problem", vec![question])?,
        column: "images",
        pictures: pictures(row, "images")?,
        target: Some(row.required("answer")?),
    })
}

fn verl(row: &Row) -> Checked<Exercise<'static>> {
    let said = prompt(row, "prompt", row.value("prompt"))?;
    let target = row.field("reward_model", "ground_truth")?;
    let target = target.ok_or_else(|| Fault::new("reward_model", "there is no `ground_truth`"))?;
    Ok(Exercise {
        conversation: Conversation::of("prompt", said)?,
        column: "images",
        pictures: pictures(row, "images")?,
        target: Some(target),
    })
}

fn mm_eureka(row: &Row) -> Checked<Exercise<'static>> {
    const COLUMN: &str = "message";
    let said = match row.value(COLUMN) {
        Value::Text(text) => {
            let list = json::parse(&mut text.clone().into_bytes()).map_err(|error| {
                Fault::new(COLUMN, format!("the text is not valid JSON: {}", json::placed(&error)))
            })?;
            turns(row, COLUMN, &list)?
        }
        list => turns(row, COLUMN, list)?,
    };
    Ok(Exercise {
        conversation: Conversation::of(COLUMN, said)?,
        // Every picture stands in its part.
        column: COLUMN,
        pictures: Vec::new(),
        target: Some(row.required("answer")?),
    })
}

fn vlm_r1(row: &Row) -> Checked<Exercise<'static>> {
    const COLUMN: &str = "conversations";
    let mut conversation = Conversation::of(COLUMN, turns(row, COLUMN, row.value(COLUMN))?)?;
    let Some(response) = conversation.response.take() else {
        return Err(Fault::new(
            COLUMN,
            "there is no turn by the assistant, which holds the target",
        ));
    };
    let target = response.text.replace("<answer>", "").replace("</answer>", "");
    if target.trim().is_empty() {
        return Err(Fault::new(COLUMN, "the target is empty"));
    }
    let pictures = pictures(row, "image")?;
    conversation.show_first(pictures.len());
    let target = Some(target.trim().to_owned());
    Ok(Exercise { conversation, column: "image", pictures, target })
}

fn mmk12(row: &Row) -> Checked<Exercise<'static>> {
    let question = Turn::plain("question", Role::User, &row.required("question")?);
    let mut conversation = Conversation::of("question", vec![question])?;
    let pictures = pictures(row, "image")?;
    conversation.show_first(pictures.len());
    Ok(Exercise { conversation, column: "image", pictures, target: Some(row.required("answer")?) })
}

fn s1k(row: &Row, [trajectory, attempt]: [&'static str; 2]) -> Checked<Exercise<'static>> {
    let question = Turn::plain("question", Role::User, &row.required("question")?);
    let response =
        format!("<think>\n{}\n</think>\n\n{}", row.required(trajectory)?, row.required(attempt)?);
    let response = Turn::plain(trajectory, Role::Assistant, &response);
    let solution = row.required("solution")?;
    Ok(Exercise {
        conversation: Conversation::of("question", vec![question, response])?,
        column: "question",
        pictures: Vec::new(),
        target: Some(answer::extract(&solution).unwrap_or(solution.trim()).to_owned()),
    })
}

/// Returns the one of two columns that is not empty.
fn one_of(row: &Row, columns: [&'static str; 2]) -> Checked<&'static str> {
    match columns.map(|column| *row.value(column) != Value::Null) {
        [true, false] => Ok(columns[0]),
        [false, true] => Ok(columns[1]),
        [true, true] => Err(Fault::new(columns[0], format!("there is `{}` too", columns[1]))),
        [false, false] => {
            Err(Fault::new(columns[0], format!("there is no such column and no `{}`", columns[1])))
        }
    }
}

/// Returns the messages before a response.
fn prompt(row: &Row, column: &'static str, list: &Value) -> Checked<Vec<Turn<'static>>> {
    let said = turns(row, column, list)?;
    match said.iter().position(|turn| turn.role == Role::Assistant) {
        None => Ok(said),
        Some(place) => Err(Fault::new(
            column,
            format!(
                "turn {} is by the assistant, but a prompt ends before the response",
                place + 1
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
