//! How every model is measured: which questions are asked, how, and how often.
//!
//! Does not know stages or regimes, nor how an answer is judged.

use serde::{Deserialize, Serialize};
use synergy_benchmarks::families::Split;
use synergy_hint::hint;
use synergy_models::generate::Sampling;
use synergy_models::weights::ComputeDtype;

use super::check_new;
use super::fault::{Checked, require, within};
use super::tables::{BenchmarkSpec, Drawn, check_hops};

/// Bounds of an evaluation: addresses of questions stay apart and plans stay countable.
const QUESTIONS_MAX: usize = 100_000;
const SAMPLES_MAX: usize = 10_000;

/// How every model is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "EvaluationKeys")]
pub struct EvaluationSpec {
    /// Questions of the families, if they are asked; keys of the same table.
    #[serde(flatten)]
    pub families: Option<FamilyQuestions>,
    /// Whose questions the families ask: `test`, or `validation`, on which choices are made. A run on validation questions
    /// says so wherever it is shown and never becomes golden. `test` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Published benchmarks, whose levels are in their files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub benchmarks: Vec<BenchmarkSpec>,
    /// Answers to each question; at least 1.
    pub num_samples: usize,
    /// 0 or more; 0 is greedy.
    pub temperature: f64,
    /// Draws are from the likeliest tokens of this probability in all; above 0, at most 1.
    pub top_p: f64,
    /// Draws are from this many of the likeliest tokens; 0 is all.
    pub top_k: usize,
    /// Tokens of an answer at most, prompt excluded.
    pub max_new_tokens: usize,
    /// Questions of each external benchmark, where it has been fetched.
    pub external_questions: usize,
    /// The type that the model computes in while it answers, as in a training table: a choice of its own, so that models
    /// trained in either are measured alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<ComputeDtype>,
    /// Answers of each row and level whose tokens are scored once more, under the row's model and under the base: entropy
    /// and KL by level and at pivotal tokens. Nothing is scored without it, or at 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored_answers: Option<usize>,
}

/// Questions of the families, and how their levels are cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FamilyQuestions {
    /// The questions. Their seed is used by recorded runs only.
    #[serde(flatten)]
    pub drawn: Drawn,
    /// Samples of the base per question that cut the families' levels; at least 1.
    pub level_num_samples: usize,
}

/// The keys of [`EvaluationSpec`] as a recipe has them; of the first four it has all or none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvaluationKeys {
    questions_per_family: Option<usize>,
    question_seed: Option<u64>,
    hops: Option<[usize; 2]>,
    level_num_samples: Option<usize>,
    split: Option<Split>,
    #[serde(default)]
    benchmarks: Vec<BenchmarkSpec>,
    num_samples: usize,
    temperature: f64,
    top_p: f64,
    top_k: usize,
    max_new_tokens: usize,
    external_questions: usize,
    dtype: Option<ComputeDtype>,
    scored_answers: Option<usize>,
}

impl TryFrom<EvaluationKeys> for EvaluationSpec {
    type Error = &'static str;

    fn try_from(keys: EvaluationKeys) -> Result<EvaluationSpec, &'static str> {
        let EvaluationKeys { questions_per_family, question_seed, hops, level_num_samples, .. } =
            keys;
        let families = match (questions_per_family, question_seed, hops, level_num_samples) {
            (Some(per_family), Some(seed), Some(hops), Some(level_num_samples)) => {
                Some(FamilyQuestions { drawn: Drawn { per_family, seed, hops }, level_num_samples })
            }
            (None, None, None, None) if !keys.benchmarks.is_empty() => None,
            _ => {
                return Err("the table does not say which questions are asked\n\
                     hint: `questions_per_family`, `question_seed`, `hops` and `level_num_samples`, or `benchmarks`");
            }
        };
        let EvaluationKeys { benchmarks, num_samples, temperature, top_p, top_k, .. } = keys;
        let EvaluationKeys { max_new_tokens, external_questions, dtype, .. } = keys;
        let EvaluationKeys { split, scored_answers, .. } = keys;
        Ok(EvaluationSpec {
            families,
            split,
            benchmarks,
            num_samples,
            temperature,
            top_p,
            top_k,
            max_new_tokens,
            external_questions,
            dtype,
            scored_answers,
        })
    }
}

impl EvaluationSpec {
    /// The families' questions, and how often the base is asked each to cut levels.
    pub fn drawn(&self) -> Option<(Drawn, usize)> {
        self.families.map(|families| (families.drawn, families.level_num_samples))
    }

    /// The split that the families' questions are of.
    pub fn split(&self) -> Split {
        self.split.unwrap_or(Split::Test)
    }

    /// The type that the model computes in while it answers.
    pub fn dtype(&self) -> ComputeDtype {
        self.dtype.unwrap_or_default()
    }

    /// The study's sampling, until any of `end_tokens`.
    pub fn sampling(&self, end_tokens: &[u32]) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            repetition_penalty: 1.0,
            max_new_tokens: self.max_new_tokens,
            eos_token_id: end_tokens.to_vec(),
        }
    }
}

/// Checks a number of answers to each question.
pub(super) fn within_samples(key: &str, count: usize) -> Checked {
    require!(
        (1..=SAMPLES_MAX).contains(&count),
        key,
        "{key} = {count} is outside its range: 1 to {SAMPLES_MAX}"
    );
    Ok(())
}

impl EvaluationSpec {
    /// Checks that questions of another split than the test's are asked of nobody's published test questions.
    fn check_split(&self) -> Checked {
        require!(
            matches!(self.split(), Split::Test | Split::Validation),
            "split",
            hint!(
                ("split `{}` is one that models are trained on", self.split()),
                "split = \"validation\", or leave it out for the test questions"
            )
        );
        if self.split() == Split::Test {
            return Ok(());
        }
        require!(
            self.families.is_some() && self.benchmarks.is_empty(),
            "split",
            hint!(
                "a published benchmark has no validation questions",
                "`questions_per_family`, `question_seed`, `hops` and `level_num_samples`, without `benchmarks`"
            )
        );
        require!(
            self.external_questions == 0,
            "external_questions",
            hint!(
                "the external questions are test questions, and the split is validation",
                "external_questions = 0"
            )
        );
        Ok(())
    }

    pub(super) fn check(&self) -> Checked {
        self.check_split()?;
        let (per_family, level_num_samples) = self
            .families
            .map_or((1, 1), |families| (families.drawn.per_family, families.level_num_samples));
        require!(
            (1..=QUESTIONS_MAX).contains(&per_family),
            "questions_per_family",
            "questions_per_family = {per_family} is outside its range: 1 to {QUESTIONS_MAX}"
        );
        within_samples("num_samples", self.num_samples)?;
        within_samples("level_num_samples", level_num_samples)?;
        self.families.map_or(Ok(()), |families| check_hops(families.drawn.hops))?;
        for (i, benchmark) in self.benchmarks.iter().enumerate() {
            check_new("benchmark", &benchmark.name, self.benchmarks[..i].iter().map(|b| &b.name))
                .and_then(|()| benchmark.check())
                .map_err(|fault| fault.below(i).below("benchmarks"))?;
        }
        within("temperature", self.temperature, 0.0.., "0 or more")?;
        within("top_p", self.top_p, f64::MIN_POSITIVE..=1.0, "above 0, at most 1")
    }
}
