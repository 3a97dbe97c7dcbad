//! One answer to request: question, pictures, sampling, and the key under which the answer is stored.
//!
//! Does not know who answers.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use synergy_benchmarks::sample::ImageSource;
use synergy_benchmarks::seed::Seed;

use crate::key::Key;

/// How answers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Drawing {
    /// At least 0; 0 takes the most probable token.
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Above 0 and at most 1; 1 keeps all tokens.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub top_p: f64,
    /// Tokens that are kept; 0 keeps all.
    pub top_k: usize,
    /// Tokens of the longest answer, at least 1; fewer where the model's context leaves fewer.
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
    /// Seed of all draws.
    pub seed: u64,
}

/// One answer to request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask<'a> {
    /// Id of the question, for messages.
    pub id: &'a str,
    /// The prompt, with [`IMAGE_MARK`](crate::train::prompt::IMAGE_MARK) where each picture belongs; without marks,
    /// pictures stand before it.
    pub text: &'a str,
    /// Pictures, read when the question is asked and not held in memory.
    pub images: &'a [ImageSource],
    /// Number of this answer among those to the question, from 0.
    pub sample: u32,
    /// The use of the answer.
    pub purpose: Purpose,
}

/// The use of an answer: one that cuts levels never measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The answer decides the level of its question.
    Levels,
    /// The answer is part of what is measured.
    Measure,
}

impl Purpose {
    /// The purpose's name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Levels => "levels",
            Purpose::Measure => "measure",
        }
    }
}

impl Ask<'_> {
    /// The stream from which a server may draw this answer: samples of one question must not be one sample.
    pub fn stream(&self, drawing: &Drawing) -> Seed {
        let seed = Seed::root(drawing.seed).fold_in(self.purpose.name()).fold_in(self.text);
        seed.at(u64::from(self.sample))
    }
}

/// The key of an answer, a hash of all it depends on: the bytes of its pictures, prompt, drawing, purpose, model and
/// revision, but not where it is served.
pub fn key(
    model: &str,
    revision: &str,
    drawing: &Drawing,
    ask: &Ask<'_>,
    pictures: &[Vec<u8>],
) -> Key {
    let pictures: Vec<String> =
        pictures.iter().map(|bytes| blake3::hash(bytes).to_hex().to_string()).collect();
    Key::of(&json!({
        "kind": "reply", "model": model, "revision": revision, "pictures": pictures,
        "prompt": ask.text, "drawing": drawing, "sample": ask.sample, "purpose": ask.purpose,
    }))
}
