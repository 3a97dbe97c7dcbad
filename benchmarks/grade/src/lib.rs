//! Judges the text of a completion against an answer key, by our rules or by those of a peer.
//!
//! A grader is a name and a version: once a result is recorded under a name, what it accepts never changes, so a score
//! names its grader, and scores of two graders are never compared. `boxed-1`, the default, takes the last box word for word; `synergy-1` also reads
//! numbers, units, sets, polynomials and option letters. The other graders repeat the rules of other projects, so that
//! a published number can be put beside one of ours; `golden/parity/graders.py` has those projects' own code judge the
//! same texts.
//!
//! Text is read, never evaluated: no rule runs what a completion says, and all of them take bounded time, memory and
//! depth. Nobody is asked: where a peer asks a language model, its rules before and after that are here and the rest
//! is unparsed; where a peer answers at random, so is that.
//!
//! This crate knows no models, no data sets and no files.
//!
//! ```
//! use synergy_grade::answer::Outcome;
//! use synergy_grade::{Grader, Target, grade};
//!
//! let target = Target { gold: "1/2", ..Target::default() };
//! let response = r"<think>Half of them are red.</think> The share is \boxed{0.5}.";
//! let judgement = grade(Grader::Synergy1, &target, response, true);
//! assert_eq!(judgement.outcome, Outcome::Correct);
//! assert_eq!(judgement.extracted.as_deref(), Some("0.5"));
//!
//! // The strictest grader wants the answer word for word.
//! assert_eq!(grade(Grader::Boxed1, &target, response, true).outcome, Outcome::Wrong);
//! // A completion that was stopped at the length cap is truncated, whatever it says.
//! assert_eq!(grade(Grader::Synergy1, &target, response, false).outcome, Outcome::Truncated);
//! ```

pub mod answer;
mod choice;
mod compare;
mod equality;
mod expression;
mod extract;
mod form;
mod hendrycks;
mod key;
mod lmms_eval;
mod math_verify;
mod mathruler;
mod numeral;
mod precise;
mod python;
mod scalar;
mod stance;
pub mod style;
mod synergy;
mod token;
mod unicode;
mod unit;
mod value;
mod vlmevalkit;
mod words;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use strum::{EnumCount, EnumString, IntoStaticStr, VariantArray};

use crate::answer::{Judgement, Outcome};

/// A longer completion is judged by its last so many bytes: an answer stands at the end, and rules that take more than
/// linear time stay cheap.
const RESPONSE_BYTES_MAX: usize = 1 << 16;

/// A set of rules with a version: ours, or those of another project at a date.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumCount,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Grader {
    /// The rules of [`answer`]: for questions whose answers have one form, as those of the families.
    #[default]
    #[strum(serialize = "boxed-1")]
    Boxed1,
    /// Our rules for free answers, version 1.
    #[strum(serialize = "synergy-1")]
    Synergy1,
    /// MathRuler 0.1.0, the reward of `EasyR1` and of verl's geometry recipe.
    #[strum(serialize = "mathruler")]
    MathRuler,
    /// Math-Verify 0.9.0 with its defaults.
    MathVerify,
    /// `VLMEvalKit` (ms-vlmeval 0.0.18, June 2025) with `exact_matching`.
    #[strum(serialize = "vlmevalkit-2025-07")]
    VlmEvalKit202507,
    /// `VLMEvalKit` (ms-vlmeval 0.0.20, May 2026) with `exact_matching`.
    #[strum(serialize = "vlmevalkit-2026-08")]
    VlmEvalKit202608,
    /// lmms-eval 0.7.3 (August 2026) without its judges.
    #[strum(serialize = "lmms-eval-2026-08")]
    LmmsEval202608,
}

impl Grader {
    /// Every grader.
    pub const ALL: [Grader; Grader::COUNT] =
        *Grader::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the name under which scores are recorded.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns every grader, this one first.
    pub fn before_others(self) -> Vec<Grader> {
        let others = Grader::ALL.into_iter().filter(|other| *other != self);
        [self].into_iter().chain(others).collect()
    }

    /// Returns the grader with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Grader> {
        name.parse().ok()
    }
}

impl Serialize for Grader {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Grader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Grader, D::Error> {
        let name = String::deserialize(deserializer)?;
        Grader::from_name(&name).ok_or_else(|| {
            let known = Grader::ALL.map(Grader::name).join(", ");
            serde::de::Error::custom(format!("there is no grader `{name}`, there are {known}"))
        })
    }
}

/// A benchmark for which some peers have their own rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Benchmark {
    MathVision,
    MathVista,
    Mmmu,
    MmStar,
    MathVerse,
    /// Any other benchmark, which gets the general rules.
    #[default]
    Other,
}

impl From<&str> for Benchmark {
    /// Reads the name that samples carry, such as `mathvision`; any unknown name is [`Benchmark::Other`].
    fn from(name: &str) -> Benchmark {
        let own = |benchmark: &&Benchmark| <&str>::from(*benchmark) == name;
        Benchmark::VARIANTS.iter().find(own).copied().unwrap_or_default()
    }
}

/// What a completion is judged against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target<'a> {
    /// The answer key; for a question with options a letter or the text of an option, for an open one of MMMU a
    /// value or a Python list of right values.
    pub gold: &'a str,
    /// The texts of the options, A first; empty if the question has none.
    pub choices: &'a [String],
    /// The number of decimal places that the benchmark asks for, as `MathVista` does.
    pub precision: Option<u32>,
    /// The benchmark that the question is from.
    pub benchmark: Benchmark,
}

impl Target<'_> {
    /// Returns the values of which each is right.
    ///
    /// An open question of MMMU may list several as texts, `['24/7', '3.429']`; a list of numbers, or of any other
    /// benchmark, is one answer. To a peer the key is what its own rules make of it.
    pub fn keys(&self) -> Vec<Cow<'_, str>> {
        if self.benchmark == Benchmark::Mmmu
            && self.choices.is_empty()
            && let Some(keys) = python::texts(self.gold).filter(|keys| !keys.is_empty())
        {
            return keys.into_iter().map(Cow::Owned).collect();
        }
        vec![Cow::Borrowed(self.gold)]
    }
}

/// Judges `response` by the rules of `grader`.
///
/// `finished` is false when generation stopped at the length cap; such a response is truncated, whatever it says.
pub fn grade(grader: Grader, target: &Target<'_>, response: &str, finished: bool) -> Judgement {
    let (whole, response) = (response, tail(response, RESPONSE_BYTES_MAX));
    let mut judgement = match grader {
        // Takes linear time, so that it can read the whole.
        Grader::Boxed1 => answer::judge(whole, &target.keys()),
        Grader::Synergy1 => synergy::judge(target, response),
        Grader::MathRuler => mathruler::judge(target, response),
        Grader::MathVerify => math_verify::judge(target, response),
        Grader::VlmEvalKit202507 => {
            vlmevalkit::judge(vlmevalkit::Edition::June2025, target, response)
        }
        Grader::VlmEvalKit202608 => {
            vlmevalkit::judge(vlmevalkit::Edition::May2026, target, response)
        }
        Grader::LmmsEval202608 => lmms_eval::judge(target, response),
    };
    if !finished {
        judgement.outcome = Outcome::Truncated;
    }
    judgement
}

/// Returns at most the last `num_bytes` of `text`, from the start of a character.
fn tail(text: &str, num_bytes: usize) -> &str {
    let start = text.ceil_char_boundary(text.len().saturating_sub(num_bytes));
    &text[start..]
}

#[cfg(test)]
mod replay;
