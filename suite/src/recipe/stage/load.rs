//! The work of a stage in counts: steps, sequences, tokens, rollouts. Estimates of time and memory are made of them.
//!
//! Does not know models or machines. Lengths of prompts and answers are typical ones, not limits.

use crate::recipe::tables::QuestionsSpec;

/// A question with one picture of 16 tokens and the study's instruction.
pub(crate) const PROMPT: Prompt = Prompt { picture: 16.0, text: 46.0 };
/// A question of files. An assumption: a picture of 640 x 480 is 391 tokens and one of 800 x 600 is 609 with patches of 14
/// pixels, merged by 2, which a published `max_pixels` leaves as they are; 150 hold question, choices, instruction and
/// template.
pub(crate) const FILES_PROMPT: Prompt = Prompt { picture: 500.0, text: 150.0 };
/// Tokens of an answer in addition to those of its steps.
const ANSWER_TOKENS: f64 = 8.0;
/// Tokens of a step in a dense answer.
pub(crate) const DENSE_STEP_TOKENS: f64 = 3.5;
/// Tokens of a step in a long answer.
pub(crate) const LONG_STEP_TOKENS: f64 = 17.0;
/// The longest answers of files, as a multiple of the mean that the recipe gives.
const LONGEST_ANSWER: f64 = 2.0;

/// The work of one stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Updates or, of data, questions; at most.
    pub num_steps: usize,
    /// How often the sequences of `learned` and the rollouts of `asked` are computed.
    pub num_rounds: f64,
    /// Sequences that a round learns from.
    pub learned: Option<LearningLoad>,
    /// Rollouts of a round.
    pub asked: Option<RolloutLoad>,
    /// Forward passes of a frozen reference model over every sequence.
    pub reference_passes: f64,
    /// How often the recipe's questions for validation are answered.
    pub num_validations: f64,
    /// Pictures that are seen in the stage, each several times.
    pub num_pictures: usize,
    /// Models that are merged.
    pub num_parents: f64,
}

/// Tokens of a question as it is put.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    /// Tokens of its picture.
    pub picture: f64,
    /// Tokens of its text, instruction and template.
    pub text: f64,
}

impl Prompt {
    /// All tokens of the question.
    pub fn tokens(self) -> f64 {
        self.picture + self.text
    }
}

/// Sequences that a round learns from: a question with its answers each.
#[derive(Debug, Clone, Copy)]
pub struct LearningLoad {
    /// Sequences of a round.
    pub batch: f64,
    /// Sequences of an update.
    pub per_update: f64,
    /// The question of a sequence.
    pub prompt: Prompt,
    /// Answers of a sequence.
    pub num_answers: f64,
    /// Mean length of an answer in tokens.
    pub answer: f64,
    /// Greatest length of an answer in tokens.
    pub longest: f64,
}

impl LearningLoad {
    /// Mean length of a sequence in tokens.
    pub fn mean(&self) -> f64 {
        self.prompt.tokens() + self.num_answers * self.answer
    }

    /// Greatest length of a sequence in tokens.
    pub fn longest(&self) -> f64 {
        self.prompt.tokens() + self.predictions()
    }

    /// Tokens of the longest sequence that are predicted.
    pub fn predictions(&self) -> f64 {
        self.num_answers * self.longest
    }
}

/// Questions that are asked together.
#[derive(Debug, Clone, Copy)]
pub struct RolloutLoad {
    /// Number of questions.
    pub questions: f64,
    /// Answers to each question.
    pub samples: f64,
    /// One of the questions.
    pub prompt: Prompt,
    /// Mean length of an answer in tokens.
    pub answer: f64,
    /// Greatest length of an answer in tokens.
    pub cap: f64,
    /// True if pictures of one size come together, which the tower then computes together.
    pub alike: bool,
}

impl RolloutLoad {
    /// Rollouts of so many of `questions`.
    pub(super) fn new(
        num: usize,
        questions: &QuestionsSpec,
        samples: usize,
        cap: usize,
        step_tokens: f64,
    ) -> RolloutLoad {
        RolloutLoad {
            questions: num as f64,
            samples: samples as f64,
            prompt: prompt(questions),
            answer: sampled_answer(questions, cap, step_tokens),
            cap: cap as f64,
            alike: questions.files().is_none(),
        }
    }
}

/// Examples that a stage of data leaves.
#[derive(Debug, Clone, Copy)]
pub struct DataLoad<'a> {
    /// Number of examples, at most.
    pub num_examples: usize,
    /// The questions of the examples.
    pub questions: &'a QuestionsSpec,
    /// Tokens of a step in an answer.
    pub step_tokens: f64,
}

/// The other stages of a recipe, by their names.
pub trait Others<'a> {
    /// The examples that a stage leaves, if it leaves data.
    fn examples(&self, name: &str) -> Option<DataLoad<'a>>;

    /// Tokens of a step in the answers that a stage's model writes.
    fn step_tokens(&self, name: &str) -> f64;
}

/// Mean of fewest and most.
pub(crate) fn mean([low, high]: [usize; 2]) -> f64 {
    (low + high) as f64 / 2.0
}

/// Length of an answer in tokens.
pub(crate) fn answer_tokens(steps: f64, step_tokens: f64) -> f64 {
    ANSWER_TOKENS + step_tokens * steps
}

/// One of `questions`.
pub(super) fn prompt(questions: &QuestionsSpec) -> Prompt {
    match questions {
        QuestionsSpec::Drawn { .. } => PROMPT,
        QuestionsSpec::Files { .. } => FILES_PROMPT,
    }
}

/// Mean and greatest length in tokens of answers to `questions` whose steps take so many each.
pub(super) fn answers_to(questions: &QuestionsSpec, step_tokens: f64) -> [f64; 2] {
    match questions {
        QuestionsSpec::Drawn { hops, .. } => {
            [mean(*hops), hops[1] as f64].map(|steps| answer_tokens(steps, step_tokens))
        }
        QuestionsSpec::Files { files, .. } => {
            [1.0, LONGEST_ANSWER].map(|share| share * files.answer_tokens)
        }
    }
}

/// Mean length of a model's own answers, whose steps take so many tokens each; the cap bounds them.
pub(super) fn sampled_answer(questions: &QuestionsSpec, cap: usize, step_tokens: f64) -> f64 {
    (cap as f64 * 0.5).min(answers_to(questions, step_tokens)[0])
}
