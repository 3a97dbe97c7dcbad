//! Judges a completion against an answer key, by our rules or by those of a peer.
//!
//! Does not know models or files. A grader is a name and a version: what a name accepts never changes,
//! so a score names its grader and scores of two graders are never compared.
//! Text is read, never evaluated: no rule runs what a completion says, and all of them take bounded
//! time, memory and depth. Nobody is asked: where a peer asks a language model, its rules before and
//! after that are here and the rest is unparsed; where a peer answers at random, so is that.
//!
//! `synergy-1` is ours, and so is `boxed-1`, the strictest: the last box says the answer word for word. The others are there so that a published number can be put beside one of ours;
//! `golden/parity/graders.py` has the peers' own code judge the same texts.

mod choice;
mod expression;
mod extract;
mod form;
mod hendrycks;
mod lmms_eval;
mod math_verify;
mod mathruler;
mod python;
#[cfg(test)]
mod replay;
mod scalar;
mod synergy;
mod token;
mod unit;
mod vlmevalkit;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::answer::{self, Judgement, Outcome};
use crate::sample::Sample;

/// Longer completions are judged by their last so many bytes: an answer stands at the end, and rules
/// that take more than linear time stay cheap.
const RESPONSE_BYTES_MAX: usize = 1 << 16;

/// A set of rules, ours or those of a peer at a date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grader {
    /// The rules of [`crate::answer`]: for questions whose answers have one form, as those of the families.
    #[default]
    Boxed1,
    /// Ours, version 1.
    Synergy1,
    /// MathRuler 0.1.0, the reward of `EasyR1` and of verl's geometry recipe.
    MathRuler,
    /// Math-Verify 0.9.0 with its defaults.
    MathVerify,
    /// `VLMEvalKit` (ms-vlmeval 0.0.18, June 2025) with `exact_matching`.
    VlmEvalKit202507,
    /// `VLMEvalKit` (ms-vlmeval 0.0.20, May 2026) with `exact_matching`.
    VlmEvalKit202608,
    /// lmms-eval 0.7.3 (August 2026) without its judges.
    LmmsEval202608,
}

impl Grader {
    /// Every grader.
    pub const ALL: [Grader; 7] = [
        Grader::Boxed1,
        Grader::Synergy1,
        Grader::MathRuler,
        Grader::MathVerify,
        Grader::VlmEvalKit202507,
        Grader::VlmEvalKit202608,
        Grader::LmmsEval202608,
    ];

    /// The name under which scores are recorded.
    pub fn name(self) -> &'static str {
        match self {
            Grader::Boxed1 => answer::GRADER,
            Grader::Synergy1 => "synergy-1",
            Grader::MathRuler => "mathruler",
            Grader::MathVerify => "math-verify",
            Grader::VlmEvalKit202507 => "vlmevalkit-2025-07",
            Grader::VlmEvalKit202608 => "vlmevalkit-2026-08",
            Grader::LmmsEval202608 => "lmms-eval-2026-08",
        }
    }

    /// Every grader, this one first.
    pub fn before_others(self) -> Vec<Grader> {
        let others = Grader::ALL.into_iter().filter(|other| *other != self);
        [self].into_iter().chain(others).collect()
    }

    /// The grader of a name, none if there is no such grader.
    pub fn from_name(name: &str) -> Option<Grader> {
        Grader::ALL.into_iter().find(|grader| grader.name() == name)
    }
}

impl Serialize for Grader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
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

/// What a completion is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The answer key; of a question with options a letter or the text of an option.
    pub gold: &'a str,
    /// What the options say, A first; empty if the question has none.
    pub choices: &'a [String],
    /// How many decimals the benchmark asks for, as `MathVista` does.
    pub precision: Option<u32>,
    /// The benchmark, since some peers have rules for each: `mathvision`, `mathvista`, `mmmu`,
    /// `mmstar`, `mathverse`; any other name gets the general rules.
    pub benchmark: &'a str,
}

impl<'a> Target<'a> {
    /// What answers to `sample` are judged against.
    pub fn of(sample: &'a Sample) -> Target<'a> {
        Target {
            gold: &sample.answer,
            choices: &sample.choices,
            precision: sample.details.precision,
            benchmark: &sample.benchmark,
        }
    }
}

/// Judges `response` by the rules of `grader`.
///
/// `finished` is false when generation stopped at the length cap; that is truncated, whatever it says.
pub fn grade(grader: Grader, target: &Target<'_>, response: &str, finished: bool) -> Judgement {
    let (whole, response) = (response, tail(response));
    let mut judgement = match grader {
        // Takes linear time.
        Grader::Boxed1 => answer::judge(whole, target.gold, finished),
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

/// The last `RESPONSE_BYTES_MAX` bytes, from a character's start.
fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(RESPONSE_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
