//! The text of a question as a model gets it: choices below it, an instruction behind it, marks where pictures belong.
//!
//! Does not know tokens or who answers.

use std::fmt::Write as _;
use std::sync::LazyLock;

use anyhow::{Result, bail};
use regex::Regex;
use synergy_benchmarks::sample::Sample;
use synergy_hint::hint;
use synergy_models::tokenizer::special_in;

/// The mark that stands where a picture belongs.
pub const IMAGE_MARK: &str = "<image>";

/// A mark of a picture as published sets write it: `<image>`, `<image1>`, `<image 1>`.
static MARK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<image\s*(\d*)>").expect("the expression is well formed"));

/// The text of the user's turn, with [`IMAGE_MARK`] where each picture belongs; without marks, all pictures stand before
/// it.
///
/// An instruction that the question ends with already, as in training data that others have prepared, is not repeated.
pub fn prompt(sample: &Sample, instruction: Option<&str>) -> String {
    let mut text = placed(&sample.question, sample.images.len());
    if !sample.choices.is_empty() {
        text.push_str("\nChoices:");
        for (letter, choice) in ('A'..='Z').zip(&sample.choices) {
            let _ = write!(text, "\n{letter}. {}", placed(choice, 0));
        }
        text.push('\n');
    }
    match instruction {
        Some(instruction) if !text.trim_end().ends_with(instruction) => {
            let space = if text.ends_with('\n') { "" } else { " " };
            text + space + instruction
        }
        _ => text,
    }
}

/// The text of the user's turn for a model that is shown an answer beside the question.
pub fn showing(text: &str, shown: &str) -> String {
    format!("{text}\n\nOne answer is this:\n{shown}\n\nAnswer in your own words.")
}

/// Checks that `text` holds no token of the chat template: as a user's turn it would be read as what the template writes,
/// a place for a picture or the end of the turn, wherever it is asked.
///
/// # Errors
/// Names the token.
pub fn plain(text: &str) -> Result<()> {
    if let Some(token) = special_in(text) {
        bail!(hint!(
            "its text holds `{token}`, a token of the chat template",
            "take it out of the text"
        ));
    }
    Ok(())
}

/// Puts a mark for every picture, in their order, in place of the marks in `text`, or no mark at all: marks that name
/// other pictures, or some twice, become words.
fn placed(text: &str, num_images: usize) -> String {
    let marks: Vec<usize> = MARK
        .captures_iter(text)
        .enumerate()
        .map(|(place, mark)| mark[1].parse().unwrap_or(place + 1))
        .collect();
    let in_order = marks.iter().copied().eq(1..=num_images) && num_images > 0;
    let word = |mark: &regex::Captures<'_>| {
        if in_order {
            IMAGE_MARK.to_owned()
        } else {
            format!("[image {}]", &mark[1]).replace(" ]", "]")
        }
    };
    MARK.replace_all(text, word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use synergy_benchmarks::families::{Family, Split};

    const ASK: &str = "Put your final answer within \\boxed{}.";

    #[test]
    fn marks_become_places_only_where_every_picture_has_its_own() {
        for (text, num_images, want) in [
            ("<image1> and <image 2>?", 2, "<image> and <image>?"),
            ("What is <image>?", 1, "What is <image>?"),
            ("What is it?", 1, "What is it?"),
            ("<image 2>, <image 1>", 2, "[image 2], [image 1]"),
            ("<image 1> twice <image 1>", 1, "[image 1] twice [image 1]"),
            ("a tag <image>", 0, "a tag [image]"),
        ] {
            assert_eq!(placed(text, num_images), want);
        }
    }

    #[test]
    fn tokens_of_the_template_are_no_text() {
        for token in ["<|image_pad|>", "<|im_end|>", "<|video_pad|>", "<|endoftext|>"] {
            let error = synergy_hint::text(&plain(&format!("What{token}?")).unwrap_err());
            assert!(error.starts_with(&format!("its text holds `{token}`")), "{error}");
        }
        plain("|<image>| < |im_end| > <|x|> <think>").unwrap();
    }

    #[test]
    fn choices_stand_below_the_question_and_the_instruction_last() {
        let mut sample = Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1);
        sample.question = "How many?".into();
        assert_eq!(prompt(&sample, None), "How many?");
        assert_eq!(prompt(&sample, Some(ASK)), format!("How many? {ASK}"));
        sample.question = format!("How many?\n{ASK}");
        assert_eq!(prompt(&sample, Some(ASK)), sample.question);
        sample.question = "How many?".into();
        sample.choices = vec!["3".into(), "4".into()];
        assert_eq!(prompt(&sample, Some(ASK)), format!("How many?\nChoices:\nA. 3\nB. 4\n{ASK}"));
    }
}
