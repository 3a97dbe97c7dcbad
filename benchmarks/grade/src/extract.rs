//! Where a completion states its answer.
//!
//! This module does not know the answer key. Looks, in this order, for a box, for `<answer>`, for a phrase such as
//! "the answer is", "答案是" or "故选", and, where the question has options, for an option at the end. What stands after
//! the thought goes before what stands in it.
//!
//! Decisions:
//! - An empty box says nothing, so the one before it counts.
//! - Boxes with nothing but a separator between them are one list: "\boxed{1} or \boxed{2}" is no 2.
//! - A phrase ends with its sentence; what follows "because" is a reason, not the answer.
//! - A box that names none of the options is a step of the way where an option is named after it.
//! - The article "A" is not an option.
//! - What is denied, asked, supposed or said by others is not stated (`stance.rs`), and what was stated before counts.

use crate::answer::boxes;
use crate::choice::{Options, letter, strip};
use crate::key::key;
use crate::stance::{self, Stance, denies_in_chinese};
use crate::unicode::is_chinese;
use crate::words::is_listed;

const THINK_END: &str = "</think>";

/// So many statements of an answer, or boxes that are taken back, are looked at, from the last one backwards.
const PHRASES_MAX: usize = 8;

/// A sentence that mentions more options than this concludes none.
const MENTIONS_MAX: usize = 16;

/// So many bytes may stand between "answer" and the "is" or ":" that belongs to it.
const PHRASE_BYTES_MAX: usize = 48;

/// Boxes further apart are answers to different questions.
const BOX_GAP_MAX: usize = 12;

/// What stands between "答案" and the answer, the longer ones first.
const CHINESE_VERBS: [&str; 14] = [
    "应该是",
    "应当是",
    "应该为",
    "应当为",
    "应是",
    "应为",
    "应选",
    "就是",
    "是",
    "为",
    "选",
    ":",
    "=",
    "->",
];

/// Where an answer stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extracted {
    /// In markup that holds nothing else.
    Marked(String),
    /// In a sentence.
    Said(String),
    /// In a sentence that says what the answer is not; as words it may be one, as `not enough`.
    Denied(String),
    /// An option at the end.
    Option(usize),
}

/// Returns the answer that `text` states; `options` are those of the question, if it has any.
pub(super) fn extract(text: &str, options: Option<&Options<'_>>) -> Option<Extracted> {
    let after = text.rfind(THINK_END).map(|at| &text[at + THINK_END.len()..]);
    after.and_then(|after| from(after, options)).or_else(|| from(text, options))
}

fn from(text: &str, options: Option<&Options<'_>>) -> Option<Extracted> {
    if let Some((content, end)) = last_boxes(text) {
        let named = options.and_then(|options| {
            let is_step = options.find(&content).is_none();
            is_step.then(|| names(outside_boxes(&text[end..], Some(options))?, options))?
        });
        return Some(named.unwrap_or(Extracted::Marked(content)));
    }
    outside_boxes(text, options)
}

/// As [`from`], where there is no box.
fn outside_boxes(text: &str, options: Option<&Options<'_>>) -> Option<Extracted> {
    tagged(text)
        .map(Extracted::Marked)
        .or_else(|| said(text, options))
        .or_else(|| Some(Extracted::Option(at_the_end(text, options?)?)))
}

/// Returns what was found if it names an option.
fn names(found: Extracted, options: &Options<'_>) -> Option<Extracted> {
    let named = match &found {
        Extracted::Marked(text) => options.find(text).is_some(),
        Extracted::Said(text) => options.said(text).is_some(),
        Extracted::Denied(_) => false,
        Extracted::Option(_) => true,
    };
    named.then_some(found)
}

/// Returns the content of the last box that is not taken back, or of the last ones if only separators are between them,
/// and where it ends.
fn last_boxes(text: &str) -> Option<(String, usize)> {
    if !text.contains("\\boxed{") {
        return None;
    }
    let boxes = boxes(text);
    let offset = |content: &str| content.as_ptr() as usize - text.as_ptr() as usize;
    let mut boxes = boxes.iter().rev().filter(|content| !content.is_empty());
    // Of so many boxes each may be taken back.
    let mut last = boxes.next()?;
    for _ in 0..PHRASES_MAX {
        if !stance::takes_back(&text[offset(last) + last.len()..]) {
            break;
        }
        last = boxes.next()?;
    }
    let end_of_last = offset(last) + last.len();
    let mut list = vec![*last];
    let mut first = *last;
    for content in boxes {
        let end = offset(content) + content.len();
        // A box within a box ends after the inner one starts.
        let Some(between) = text.get(end..offset(first)) else { break };
        let between = between.trim_start().trim_start_matches('}');
        let Some(between) = between.trim_end().strip_suffix("\\boxed{") else { break };
        if between.len() > BOX_GAP_MAX || !separates(between) {
            break;
        }
        list.push(content);
        first = content;
    }
    list.reverse();
    list.dedup();
    Some((list.join(", "), end_of_last))
}

fn separates(between: &str) -> bool {
    let words = between.trim_matches(['$', ' ', '\n', ',', '\\', '(', ')']);
    matches!(words, "" | "and" | "or" | "\\text{and}" | "\\text{or}" | "text{and}" | "text{or}")
        && between.contains(|c: char| c == ',' || c.is_alphabetic())
}

/// Returns the content of the last `<answer>…</answer>`.
fn tagged(text: &str) -> Option<String> {
    let end = text.rfind("</answer>")?;
    let start = text[..end].rfind("<answer>")? + "<answer>".len();
    let inner = text[start..end].trim();
    (!inner.is_empty()).then(|| inner.to_owned())
}

/// Returns what follows the last phrase that states an answer.
fn said(text: &str, options: Option<&Options<'_>>) -> Option<Extracted> {
    let bytes = text.as_bytes();
    let mut tries = 0;
    for at in (0..bytes.len().saturating_sub(3)).rev() {
        let rest = &bytes[at..];
        if rest[0] >= 0x80 {
            if !text.is_char_boundary(at) || !is_cue(&text[at..], options.is_some()) {
                continue;
            }
            tries += 1;
            if tries > PHRASES_MAX {
                return None;
            }
            if let Some(start) = concluded(&text[..at], &text[at..], options)
                && let Some(found) = stated(&text[..at], &text[at + start..])
            {
                return Some(found);
            }
            continue;
        }
        let word = match rest[0] | 0x20 {
            b'a' if starts_with_word(rest, b"answer") => "answer".len(),
            b'o' if starts_with_word(rest, b"option") => "option".len(),
            b'c' if starts_with_word(rest, b"choice") => "choice".len(),
            b'a' if starts_with_word(rest, b"ans") => "ans".len(),
            _ => continue,
        };
        if at > 0 && bytes[at - 1].is_ascii_alphanumeric() {
            continue;
        }
        tries += 1;
        if tries > PHRASES_MAX {
            return None;
        }
        let is_answer = rest[0] | 0x20 == b'a';
        if let Some(start) = statement(&text[at + word..], is_answer, line_is_heading(&text[..at]))
            && let Some(found) = stated(&text[..at], &text[at + word + start..])
        {
            return Some(found);
        }
    }
    None
}

/// Returns the answer that stands at the start of `after`, if it is stated; `before` stands before the phrase.
fn stated(before: &str, after: &str) -> Option<Extracted> {
    let found = sentence(after);
    if found.is_empty() {
        return None;
    }
    match stance::of(before, after) {
        Stance::Asserted => Some(Extracted::Said(found.to_owned())),
        Stance::Negative => Some(match stance::corrected(after).map(sentence) {
            Some(right) if !right.is_empty() => Extracted::Said(right.to_owned()),
            _ => Extracted::Denied(found.to_owned()),
        }),
        Stance::Denied | Stance::Asked | Stance::Supposed | Stance::Reported => None,
    }
}

/// Returns where the answer starts in `text` if that begins with a Chinese conclusion; `before` stands before it.
///
/// "答案" states an answer of any kind; "选" and "选项" state one of the options, as long as a letter follows.
fn concluded(before: &str, text: &str, options: Option<&Options<'_>>) -> Option<usize> {
    let from = |rest: &str| text.len() - rest.len();
    if let Some(rest) = text.strip_prefix("答案") {
        if let Some(rest) = after_verb(rest) {
            let chosen = rest.trim_start_matches(['择', '项']);
            return Some(from(chosen));
        }
        if let Some(rest) = rest.strip_prefix(']') {
            return Some(from(rest));
        }
        let rest = after_marks(rest);
        return (line_is_heading(before) && rest.starts_with('\n')).then(|| from(rest));
    }
    let options = options?;
    let rest = text.strip_prefix('选')?;
    let stated = match rest.strip_prefix('项') {
        // "选项B正确" is a conclusion, "选项B" alone a mention.
        Some(rest) => {
            let end = rest.find(['.', '\n', ',']).unwrap_or(rest.len());
            let right = ["正确", "符合", "是对"].iter().any(|word| rest[..end].contains(word));
            if denies_in_chinese(&rest[..end]) {
                return None;
            }
            if right { rest } else { after_verb(rest).filter(|_| !rest.starts_with([':', '=']))? }
        }
        None => {
            let rest = rest.trim_start_matches('择');
            after_verb(rest).unwrap_or(rest)
        }
    };
    let letters = stated.trim_start_matches(['*', '_', ' ', '$', '`', '"', '“', '(', '[']);
    let (first, next) = (*letters.as_bytes().first()?, letters.chars().nth(1));
    let alone = next.is_none_or(|c| !c.is_alphanumeric() || is_chinese(c));
    (alone && options.of_letter(first).is_some()).then(|| from(stated))
}

/// Returns whether a Chinese conclusion may start here.
fn is_cue(text: &str, has_options: bool) -> bool {
    text.starts_with("答案") || (has_options && text.starts_with('选'))
}

fn after_marks(text: &str) -> &str {
    text.trim_start_matches(['*', '_', ' ', '#', '`', '"', '“', '”'])
}

/// Returns what follows the verb or sign with which a Chinese statement goes on.
fn after_verb(text: &str) -> Option<&str> {
    let text = after_marks(text);
    CHINESE_VERBS.iter().find_map(|verb| text.strip_prefix(verb))
}

fn starts_with_word(bytes: &[u8], word: &[u8]) -> bool {
    bytes.len() >= word.len() && bytes[..word.len()].eq_ignore_ascii_case(word)
}

/// Returns whether nothing but marks and "final", "the" and the like stand before on the line.
fn line_is_heading(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or("");
    line.trim_matches(['#', '*', '_', ' ', '>', '-']).split_whitespace().all(|word| {
        matches!(word.to_ascii_lowercase().as_str(), "final" | "the" | "my" | "correct")
    })
}

/// Returns where the answer starts after the word "answer", if the text goes on as a statement of one.
fn statement(after: &str, is_answer: bool, heading: bool) -> Option<usize> {
    let marks = |text: &str| text.len() - text.trim_start_matches(['*', '_', ' ', '#', '`']).len();
    let at = marks(after);
    let rest = &after[at..];
    if is_answer {
        for colon in [":", "：", "=", "->", "→"] {
            if rest.starts_with(colon) {
                return Some(at + colon.len());
            }
        }
        if heading && rest.starts_with('\n') {
            return Some(at);
        }
    }
    // "is" within the same clause: "the answer to the question is 5".
    let window = &rest[..rest.floor_char_boundary(PHRASE_BYTES_MAX)];
    let window = &window[..window.find(['.', '\n', '?', ',', ';', '!']).unwrap_or(window.len())];
    for verb in ["is", "should be", "would be", "must be", "will be", "was"] {
        let mut from = 0;
        while let Some(found) = window[from..].find(verb) {
            let start = from + found;
            let end = start + verb.len();
            let side = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
            let before = start.checked_sub(1).and_then(|at| window.as_bytes().get(at));
            // `option B is …` says something about the option.
            let direct = is_answer || window[..start].trim().is_empty();
            if direct && side(before) && side(rest.as_bytes().get(end)) {
                return Some(at + end);
            }
            from = end;
        }
    }
    None
}

/// Returns the first sentence of `text`, or of its next line if the first is empty.
fn sentence(text: &str) -> &str {
    let text = text.trim_start_matches([':', '：', '*', '_', ' ', '\n', '\r', '\t', '>', '#', '=']);
    let line = &text[..text.find('\n').unwrap_or(text.len())];
    // A displayed formula may take several lines.
    let line = if line.trim() == "$$" || line.trim() == "\\[" {
        let rest = text[line.len()..].trim_start();
        &rest[..rest.find('\n').unwrap_or(rest.len())]
    } else {
        line
    };
    let mut end = line.len();
    let reasons = [
        ". ",
        "。",
        " because",
        " since ",
        ", so ",
        ", which",
        ", not ",
        " (not ",
        "(不是",
        ", but ",
        ",不是",
        ",而不是",
        ", as ",
        " (since",
        " (because",
        ",因",
        "因为",
        "由于",
        ",所以",
        ",即",
        ",其",
        ",故",
        ",而",
    ];
    for reason in reasons {
        if let Some(at) = line[..end].find(reason) {
            // `B. red` goes on.
            let may_be_letter =
                reason == ". " && at == 1 && line.starts_with(|c: char| c.is_ascii_uppercase());
            if !may_be_letter {
                end = at;
            }
        }
    }
    line[..end].trim().trim_end_matches(['.', '*', '_', ' '])
}

/// Returns the option that the last sentence of `text` names in a standard form, if it names only one.
fn at_the_end(text: &str, options: &Options<'_>) -> Option<usize> {
    let line = text.trim_end().rsplit('\n').find(|line| !line.trim().is_empty())?.trim();
    // A line that is an option as it stands in the question.
    if let Some(index) = listed(line, options) {
        return Some(index);
    }
    let line = line.trim_end_matches(['.', '*', '_', ' ', '!', '$', '`']);
    let sentence = match line.rfind(". ") {
        // `… is B. red` ends with an option.
        Some(at) => {
            let rest = &line[at + 2..];
            if let Some(index) = listed(rest, options) {
                return Some(index);
            }
            rest
        }
        None => line,
    };
    let lower = sentence.to_lowercase();
    let words = || lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '\'');
    let has = |wanted: &str| words().any(|word| is_listed(word, wanted));
    if stance::denies(sentence) {
        return None;
    }
    let concludes = has("answer correct option choice choose select pick therefore thus hence so")
        || ["故", "因此", "所以", "正确", "答案"].iter().any(|word| sentence.contains(word));
    let mut found = None;
    for (index, at_end) in mentions(sentence, options, concludes) {
        if found.is_some_and(|(other, _)| other != index) {
            return None;
        }
        found = Some((index, at_end || found.is_some_and(|(_, end)| end)));
    }
    let (index, at_end) = found?;
    (at_end || concludes).then_some(index)
}

/// `B`, `(B)`, `**B**`, `B.` or one of these with the text of that very option.
fn listed(line: &str, options: &Options<'_>) -> Option<usize> {
    let inner = strip(line);
    if inner.len() <= 3 {
        let index = options.of_letter(letter(inner)?)?;
        // `A` alone is an option, `a` is not.
        return inner.bytes().any(|byte| byte.is_ascii_uppercase()).then_some(index);
    }
    let index = options.of_letter(letter(inner)?)?;
    let rest = inner.trim_start_matches(['(', '[', '*']).get(1..)?;
    let rest = rest.trim_start_matches([')', ']', '.', ':', '*', ' ']);
    let text = options.text(index)?;
    let same = key(rest) == key(text);
    (same && !rest.is_empty()).then_some(index)
}

/// Returns every option that a sentence mentions in a standard form, and whether it ends with that.
fn mentions(sentence: &str, options: &Options<'_>, concludes: bool) -> Vec<(usize, bool)> {
    let bytes = sentence.as_bytes();
    let mut found = Vec::new();
    let chinese = |side: Option<char>| side.is_some_and(is_chinese);
    for (at, byte) in bytes.iter().enumerate() {
        let Some(index) = options.of_letter(*byte) else { continue };
        let before = at.checked_sub(1).map(|at| bytes[at]);
        let after = bytes.get(at + 1).copied();
        let sides = (sentence[..at].chars().next_back(), sentence[at + 1..].chars().next());
        let alone =
            |side: Option<u8>| side.is_none_or(|byte| !byte.is_ascii_alphanumeric() && byte < 0x80);
        if !(alone(before) || chinese(sides.0)) || !(alone(after) || chinese(sides.1)) {
            continue;
        }
        // "所以B正确": concluded of this letter.
        let is_right = ["正确", "是正确", "是对", "项", "选项", "符合"]
            .iter()
            .any(|word| concludes && sentence[at + 1..].starts_with(word));
        let rest = sentence[at + 1..].trim_end_matches([')', ']', '*', '.', ' ', '$', '}', '`']);
        let at_end = rest.is_empty();
        let in_brackets =
            matches!((before, after), (Some(b'('), Some(b')')) | (Some(b'['), Some(b']')));
        let emphasized = sentence[..at].ends_with("**") && sentence[at + 1..].starts_with("**");
        let lead = sentence[..at].trim_end_matches(['(', '*', ' ', '$', '`']).to_ascii_lowercase();
        let named =
            ["option", "choice", "answer", "choose", "select", "pick", "选", "选项", "答案"]
                .iter()
                .any(|name| lead.ends_with(name));
        let apart = before.is_none_or(|byte| byte == b' ') || chinese(sides.0);
        let bare_end = at_end && concludes && apart;
        let stands_out = is_right || in_brackets || emphasized || named || bare_end;
        if stands_out && stance::of(&sentence[..at], &sentence[at..]) == Stance::Asserted {
            found.push((index, at_end));
            if found.len() > MENTIONS_MAX {
                break;
            }
        }
    }
    found
}
