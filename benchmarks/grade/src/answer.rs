//! The grader `boxed-1` and its parts: finds boxed answers, compares them, checks the form of a completion.
//!
//! This module does not know the question, the model or the tokenizer. Whoever changes what it accepts must give the
//! grader another name, so that scores of two graders are never compared. Text is only ever read, never evaluated, and
//! never guessed at: correct, wrong, truncated and unparsed stay four outcomes. Every function takes linear time.

use serde::{Deserialize, Serialize};
use strum::{EnumCount, VariantArray};

const BOXED: &str = "\\boxed{";
const THINK: &str = "<think>";
const THINK_END: &str = "</think>";

/// How a completion turned out.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    EnumCount,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The extracted answer is equivalent to the target.
    Correct,
    /// There is an answer and it is another one.
    Wrong,
    /// The completion hit the length cap, whatever it says.
    Truncated,
    /// The completion ended by itself and holds no answer.
    Unparsed,
    /// There is no completion: the question could not be asked, or nothing came back. No grader gives this.
    Unanswered,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; Outcome::COUNT] =
        *Outcome::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the letter that stands for the outcome in compact records: `c`, `w`, `t`, `u` or, without
    /// an answer, `n`.
    pub fn code(self) -> char {
        match self {
            Outcome::Correct => 'c',
            Outcome::Wrong => 'w',
            Outcome::Truncated => 't',
            Outcome::Unparsed => 'u',
            Outcome::Unanswered => 'n',
        }
    }

    /// Returns the outcome that is written as `code`, if there is one.
    pub fn from_code(code: char) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.code() == code)
    }
}

/// The judgement of one completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// How the completion turned out.
    pub outcome: Outcome,
    /// The answer that was found, also when the completion was truncated after it.
    pub extracted: Option<String>,
}

impl Judgement {
    /// Returns the judgement of a completion that ended by itself and says `extracted`.
    pub(crate) fn of(is_right: bool, extracted: impl Into<String>) -> Judgement {
        let outcome = if is_right { Outcome::Correct } else { Outcome::Wrong };
        Judgement { outcome, extracted: Some(extracted.into()) }
    }

    /// Returns the judgement of a completion that ended by itself and holds no answer.
    pub(crate) fn unparsed() -> Judgement {
        Judgement { outcome: Outcome::Unparsed, extracted: None }
    }
}

/// Judges the completion `text`, which ended by itself, against `keys`, of which each is right.
pub(crate) fn judge(text: &str, keys: &[impl AsRef<str>]) -> Judgement {
    match extract(text) {
        None => Judgement::unparsed(),
        Some(extracted) => {
            let right = keys.iter().any(|key| equivalent(extracted, key.as_ref()));
            Judgement::of(right, extracted)
        }
    }
}

/// Returns the trimmed content of the last `\boxed{…}` whose braces balance.
///
/// "Last" is by where the box opens, so of two nested boxes the inner one is taken.
pub fn extract(text: &str) -> Option<&str> {
    boxes(text).pop()
}

/// Returns the trimmed contents of all boxes whose braces balance, in the order in which they open.
pub fn boxes(text: &str) -> Vec<&str> {
    // For each open brace where its content starts and, if it belongs to a box, the box's place.
    let mut open: Vec<(usize, Option<usize>)> = Vec::new();
    let mut found: Vec<Option<&str>> = Vec::new();
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => {
                let is_box = text.as_bytes()[..=i].ends_with(BOXED.as_bytes());
                open.push((i + 1, is_box.then_some(found.len())));
                found.extend(is_box.then_some(None));
            }
            b'}' => {
                if let Some((start, Some(place))) = open.pop() {
                    found[place] = Some(text[start..i].trim());
                }
            }
            _ => {}
        }
    }
    found.into_iter().flatten().collect()
}

/// Returns whether `extracted` says the same as `answer`.
///
/// This ignores surrounding white space, case, one trailing period and leading zeros of an integer.
pub fn equivalent(extracted: &str, answer: &str) -> bool {
    normalize(extracted) == normalize(answer)
}

/// Returns whether `text` has the form that the study rewards.
///
/// The whole text matches `<think>.*</think>.*\boxed\{.*\}.*` (the dot matches newlines) and holds
/// `<think>` only at its start.
pub fn format_reward(text: &str) -> bool {
    let Some(thought) = text.strip_prefix(THINK) else { return false };
    if thought.contains(THINK) {
        return false;
    }
    // The leftmost match of each part leaves the most text to the parts after it.
    let Some((_, said)) = thought.split_once(THINK_END) else { return false };
    let Some((_, boxed)) = said.split_once(BOXED) else { return false };
    boxed.contains('}')
}

/// Returns what [`equivalent`] compares: trimmed, without a final period, in lower case; a whole number without leading
/// zeros.
pub fn normalize(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text).trim_end().to_lowercase();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        significant => format!("{sign}{significant}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Grader, Target, grade};
    use proptest::prelude::*;

    #[test]
    fn the_last_balanced_box_is_extracted() {
        let cases = [
            (r"\boxed{3}", Some("3")),
            (r"so \boxed{1} no, \boxed{ red } .", Some("red")),
            (r"\boxed{\frac{1}{2}}", Some(r"\frac{1}{2}")),
            (r"\boxed{1} then \boxed{2", Some("1")),
            (r"{ \boxed{3}", Some("3")),
            (r"} \boxed{4}", Some("4")),
            (r"\boxed{a \boxed{b} c}", Some("b")),
            (r"\boxed{a { b}", None),
            (r"\boxed{}", Some("")),
            (r"\boxed 3", None),
            ("boxed{3}", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(extract(text), expected, "{text}");
        }
    }

    #[test]
    fn equivalence_forgives_case_space_period_and_leading_zeros_only() {
        for (a, b) in [("Red", "red"), (" 3. ", "3"), ("03", "3"), ("-007", "-7"), ("-0", "0")] {
            assert!(equivalent(a, b) && equivalent(b, a), "{a} {b}");
        }
        for (a, b) in [("3", "30"), ("3.0", "3"), ("", "0"), ("red blue", "red"), ("-3", "3")] {
            assert!(!equivalent(a, b) && !equivalent(b, a), "{a} {b}");
        }
    }

    #[test]
    fn the_four_outcomes_are_told_apart() {
        let target = Target { gold: "3", ..Target::default() };
        let check = |text, finished| grade(Grader::Boxed1, &target, text, finished).outcome;
        assert_eq!(check(r"\boxed{3}", true), Outcome::Correct);
        assert_eq!(check(r"\boxed{4}", true), Outcome::Wrong);
        assert_eq!(check(r"\boxed{3}", false), Outcome::Truncated);
        assert_eq!(check("3", true), Outcome::Unparsed);
        assert_eq!(judge(r"\boxed{3", &["3"]).extracted, None);
    }

    #[test]
    fn the_format_is_rewarded_only_in_full() {
        let good = "<think>a\nb</think> so \\boxed{3} .";
        assert!(format_reward(good));
        assert!(format_reward("<think></think>\\boxed{}"));
        for bad in [
            " <think>a</think>\\boxed{3}",
            "<think>a<think></think>\\boxed{3}",
            "<think>a</think>\\boxed{3} <think>",
            "<think>a \\boxed{3}</think>",
            "<think>a</think>\\boxed{3",
            "<think>a \\boxed{3}",
            "a</think>\\boxed{3}",
            "",
        ] {
            assert!(!format_reward(bad), "{bad}");
        }
    }

    #[test]
    fn outcomes_are_written_as_words_and_read_from_letters() {
        assert_eq!(serde_json::to_string(&Outcome::Unparsed).unwrap(), "\"unparsed\"");
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_code(outcome.code()), Some(outcome));
        }
        assert_eq!(Outcome::from_code('x'), None);
    }

    #[test]
    fn a_million_open_boxes_take_linear_time() {
        let text = BOXED.repeat(1_000_000);
        assert_eq!(extract(&text), None);
        assert_eq!(extract(&format!("{text}3}}")), Some("3"));
    }

    /// Text that is dense in what the grader looks for.
    fn markup() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\\boxed{".to_owned()),
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("\\".to_owned()),
            Just("<think>".to_owned()),
            Just("</think>".to_owned()),
            ".{0,4}",
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    /// Text whose braces balance.
    fn balanced() -> impl Strategy<Value = String> {
        "[a-z0-9 é]{0,4}".prop_recursive(4, 24, 4, |inner| {
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("{a}{{{b}}}{c}"))
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_the_grader_panic(text in markup(), answer in ".{0,8}", finished: bool) {
            let target = Target { gold: &answer, ..Target::default() };
            let judgement = grade(Grader::Boxed1, &target, &text, finished);
            prop_assert_eq!(judgement.outcome == Outcome::Truncated, !finished);
            format_reward(&text);
        }

        #[test]
        fn what_is_boxed_is_extracted(
            before in ".{0,20}",
            content in balanced(),
            after in "[^{}\\\\]{0,20}",
        ) {
            let text = format!("{before} \\boxed{{{content}}}{after}");
            prop_assert_eq!(extract(&text), Some(content.trim()));
        }

        #[test]
        fn extraction_agrees_with_a_search_from_each_box(text in markup()) {
            prop_assert_eq!(extract(&text), extract_slowly(&text));
        }

        #[test]
        fn equivalence_is_reflexive_and_symmetric(a in ".{0,8}", b in "-?[0-9]{0,3}\\.?") {
            prop_assert!(equivalent(&a, &a));
            prop_assert_eq!(equivalent(&a, &b), equivalent(&b, &a));
        }
    }

    /// Returns the definition, in quadratic time: from the last box backwards, the first that closes.
    fn extract_slowly(text: &str) -> Option<&str> {
        text.rmatch_indices(BOXED).find_map(|(i, _)| {
            let start = i + BOXED.len();
            let mut depth = 1;
            for (j, byte) in text.bytes().enumerate().skip(start) {
                match byte {
                    b'{' => depth += 1,
                    b'}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return Some(text[start..j].trim());
                }
            }
            None
        })
    }
}
