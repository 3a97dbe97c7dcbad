//! Asking a model in this process: what cannot be asked becomes the outcome of its question, not the end of the run.
//!
//! Does not know who wants the answers or what becomes of them.
//!
//! Decisions:
//! - An answer has what its question leaves of the model's positions, or fewer tokens where a limit says so. Questions
//!   are generated together up to the longest limit among them, and each answer is then cut to its own: an answer does
//!   not depend on how far the others go.
//! - [`UNANSWERED_MAX`] questions in a row without an answer are no accident of a question, and end the run.

use std::collections::BTreeSet;

use anyhow::{Error, Result, bail};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_hint::{hint, render};
use synergy_models::generate::{Generated, Sampling};
use synergy_models::image::Patches;
use synergy_report::completion::{Completion, Obstacle, Unanswered};

use crate::train::engine::{Engine, Question};
use crate::train::sequence::Prompter;

/// Questions in a row without an answer that end a run.
pub const UNANSWERED_MAX: usize = 8;

/// Says why a question has no answer, from the error that kept it from one.
pub fn why(obstacle: Obstacle, error: &Error) -> Unanswered {
    Unanswered { obstacle, cause: render(error).causes.join("; ") }
}

/// Returns whether `obstacle` lies in the question itself, so that `--skip-bad` may leave the question out.
pub fn is_of_the_question(obstacle: Obstacle) -> bool {
    match obstacle {
        Obstacle::Picture | Obstacle::Prompt | Obstacle::TooLong => true,
        Obstacle::Refused | Obstacle::Empty | Obstacle::NoReply => false,
    }
}

/// The questions since the last one that was answered.
#[derive(Debug)]
pub struct Streak {
    /// True if questions that cannot be asked are left out on purpose, and do not count here.
    skip_bad: bool,
    ids: BTreeSet<String>,
}

impl Streak {
    /// No question yet; with `skip_bad` those that cannot be asked are left out on purpose, and do not count.
    pub fn new(skip_bad: bool) -> Streak {
        Streak { skip_bad, ids: BTreeSet::new() }
    }

    /// Hears that the question `id` has an answer, or why there is none. Several answers to one question count once.
    ///
    /// # Errors
    /// If it is the last of [`UNANSWERED_MAX`] questions in a row.
    pub fn hear(&mut self, id: &str, missing: Option<&Unanswered>) -> Result<()> {
        let Some(Unanswered { obstacle, cause }) = missing else {
            self.ids.clear();
            return Ok(());
        };
        if self.skip_bad && is_of_the_question(*obstacle) {
            return Ok(());
        }
        self.ids.insert(id.to_owned());
        if self.ids.len() < UNANSWERED_MAX {
            return Ok(());
        }
        let advice = match obstacle {
            Obstacle::Picture => "mend the pictures, or leave them out of the file",
            Obstacle::Prompt => {
                "mend the texts: tokens of pictures and marks must fit the pictures"
            }
            Obstacle::TooLong => {
                "lower `max_pixels` in preprocessor_config.json, or shorten the questions"
            }
            Obstacle::Refused => {
                "check --endpoint, --model-id and the key; answers so far are cached"
            }
            Obstacle::Empty | Obstacle::NoReply => {
                "is the server well? Answers so far are cached, and the same command requests the rest"
            }
        };
        bail!(hint!(
            ("{UNANSWERED_MAX} questions in a row have no answer, the last, `{id}`: {cause}"),
            "{advice}"
        ))
    }
}

/// Turns `sample` into what a model takes, where `text` is the whole of the user's turn.
///
/// # Errors
/// Says why it cannot be asked, and leaves it to whoever lists causes to name the question: a picture cannot be read or is
/// too thin, its text and pictures make no prompt, or it leaves no room for an answer.
pub fn prepared(prompter: &Prompter, sample: Sample, text: &str) -> Result<Question, Unanswered> {
    let patches = prompter.patches(&sample).map_err(|error| why(Obstacle::Picture, &error))?;
    with_patches(prompter, sample, text, patches)
}

/// [`prepared`] where the pictures of `sample` have been made into `patches` already.
///
/// # Errors
/// See [`prepared`].
pub fn with_patches(
    prompter: &Prompter,
    sample: Sample,
    text: &str,
    patches: Vec<Patches>,
) -> Result<Question, Unanswered> {
    let input_ids =
        prompter.prompt_ids(text, &patches).map_err(|error| why(Obstacle::Prompt, &error))?;
    let (num_tokens, most) = (input_ids.len(), positions(prompter));
    if num_tokens >= most {
        let cause =
            format!("it has {num_tokens} tokens, but question and answer may have {most} together");
        return Err(Unanswered { obstacle: Obstacle::TooLong, cause });
    }
    Ok(Question { sample, input_ids, patches, position_gap: 0 })
}

/// Tokens that question and answer may have together.
pub fn positions(prompter: &Prompter) -> usize {
    prompter.config.layout().max_position_embeddings
}

/// Answers to those of `questions` that can be asked, in their order: `[questions][num_samples]`.
///
/// # Errors
/// See [`Engine::generate`].
pub fn answers(
    engine: &dyn Engine,
    prompter: &Prompter,
    questions: Vec<Result<Question, Unanswered>>,
    num_samples: usize,
    sampling: &Sampling,
    seed: Seed,
) -> Result<Vec<Result<Vec<Generated>, Unanswered>>> {
    let room = |question: &Question| positions(prompter) - question.input_ids.len();
    let mut asked = Vec::with_capacity(questions.len());
    let all: Vec<Result<(), Unanswered>> =
        questions.into_iter().map(|question| question.map(|q| asked.push(q))).collect();
    let longest = asked.iter().map(room).max().unwrap_or_default();
    let limit = sampling.max_new_tokens.min(longest);
    let sampling = Sampling { max_new_tokens: limit, ..sampling.clone() };
    let generated = match asked.is_empty() {
        true => Vec::new(),
        false => engine.generate(&asked, num_samples, &sampling, seed)?,
    };
    let mut generated = asked.iter().zip(generated).map(|(question, answers)| {
        answers.into_iter().map(|answer| cut(answer, room(question))).collect()
    });
    let mut answer = || generated.next().expect("every question that is asked is answered");
    Ok(all.into_iter().map(|asked| asked.map(|()| answer())).collect())
}

/// Cuts an answer to the first `room` tokens.
fn cut(mut answer: Generated, room: usize) -> Generated {
    if answer.ids.len() > room {
        answer.ids.truncate(room);
        answer.log_probs.truncate(room);
        answer.finished = false;
    }
    answer
}

/// The answers to `sample` as completions, as many as `num_samples` also where there is none.
pub fn completions(
    prompter: &Prompter,
    sample: &Sample,
    answers: Result<Vec<Generated>, Unanswered>,
    num_samples: usize,
) -> Vec<Completion> {
    match answers {
        Ok(answers) => (0..)
            .zip(answers)
            .map(|(k, Generated { ids, finished, .. })| {
                let text = prompter.tokenizer.decode(&ids);
                Completion::new(sample, k, text, ids.len() as u32, finished)
            })
            .collect(),
        Err(why) => {
            (0..num_samples).map(|k| Completion::missing(sample, k as u32, why.clone())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::{BASE, compute, questions};
    use crate::train::rollout::LocalEngine;
    use synergy_models::weights::ComputeDtype;

    fn unanswered(obstacle: Obstacle) -> Unanswered {
        Unanswered { obstacle, cause: "it is no question".to_owned() }
    }

    #[test]
    fn only_questions_in_a_row_end_a_run_and_each_counts_once() {
        let mut streak = Streak::new(false);
        let why = unanswered(Obstacle::Refused);
        let mut hear = |id: usize, missing: Option<&Unanswered>| {
            streak.hear(&id.to_string(), missing).map_err(|error| synergy_hint::text(&error))
        };
        for id in 0..UNANSWERED_MAX - 1 {
            for _sample in 0..16 {
                hear(id, Some(&why)).unwrap();
            }
        }
        hear(100, None).unwrap();
        for id in 0..UNANSWERED_MAX - 1 {
            hear(10 + id, Some(&why)).unwrap();
        }
        let text = hear(50, Some(&why)).unwrap_err();
        assert_eq!(
            text,
            "8 questions in a row have no answer, the last, `50`: it is no question\n\
             hint: check --endpoint, --model-id and the key; answers so far are cached"
        );
    }

    #[test]
    fn what_is_left_out_on_purpose_ends_no_run_but_a_server_that_is_gone_does() {
        let mut streak = Streak::new(true);
        let (picture, gone) = (unanswered(Obstacle::Picture), unanswered(Obstacle::NoReply));
        let mut hear = |why: &Unanswered| {
            (0..20).try_for_each(|id: usize| streak.hear(&id.to_string(), Some(why)))
        };
        hear(&picture).unwrap();
        hear(&gone).unwrap_err();
    }

    #[test]
    fn what_cannot_be_asked_says_why_and_the_others_are_answered() {
        let (prompter, compute) = (&BASE.prompter, compute());
        let whole = questions().remove(0).sample;
        let thin = tempfile::tempdir().unwrap();
        let path = thin.path().join("thin.png");
        image::RgbImage::new(1, 201).save(&path).unwrap();
        let file = synergy_benchmarks::sample::ImageSource::File(path);
        let long = "a ".repeat(3 * positions(prompter));
        let asked = [
            (Sample { images: vec![file], ..whole.clone() }, "What?"),
            (whole.clone(), "What? <|image_pad|>"),
            (whole.clone(), long.as_str()),
            (whole.clone(), "What?"),
        ];
        let questions: Vec<_> =
            asked.into_iter().map(|(sample, text)| prepared(prompter, sample, text)).collect();
        let told: Vec<_> = questions.iter().map(|q| q.as_ref().err().map(|w| w.obstacle)).collect();
        let (picture, prompt) = (Some(Obstacle::Picture), Some(Obstacle::Prompt));
        assert_eq!(told, [picture, prompt, Some(Obstacle::TooLong), None]);
        let causes: Vec<&str> =
            questions.iter().flat_map(|q| q.as_ref().err()).map(|w| w.cause.as_str()).collect();
        assert!(causes[0].contains("1 x 201 pixels is too thin"), "{causes:?}");
        assert!(causes[1].starts_with("its text holds `<|image_pad|>`"), "{causes:?}");
        assert!(causes[2].contains("may have 2048 together"), "{causes:?}");

        let mut engine = LocalEngine::new(&prompter.config, &compute, ComputeDtype::F32);
        engine.load(&BASE.parameters).unwrap();
        let sampling = Sampling::greedy(4, prompter.tokenizer.ids.eos);
        let answers = answers(&engine, prompter, questions, 2, &sampling, Seed::root(1)).unwrap();
        let lines: Vec<Completion> =
            answers.into_iter().flat_map(|a| completions(prompter, &whole, a, 2)).collect();
        assert_eq!(lines.len(), 8);
        assert!(lines[..6].iter().all(|line| line.unanswered.is_some() && line.text.is_empty()));
        assert!(lines[6..].iter().all(|line| line.unanswered.is_none() && line.num_tokens > 0));
        assert!(lines.iter().enumerate().all(|(place, line)| line.sample as usize == place % 2));
    }

    #[test]
    fn an_answer_has_what_its_question_leaves_and_the_others_change_nothing() {
        let (prompter, compute) = (&BASE.prompter, compute());
        let sample = questions().remove(0).sample;
        let fill = |room: usize| {
            let empty = prepared(prompter, sample.clone(), "").unwrap().input_ids.len();
            let text = "?".repeat(positions(prompter) - empty - room);
            let question = prepared(prompter, sample.clone(), &text).unwrap();
            assert_eq!(question.input_ids.len() + room, positions(prompter));
            Ok(question)
        };
        let mut engine = LocalEngine::new(&prompter.config, &compute, ComputeDtype::F32);
        engine.load(&BASE.parameters).unwrap();
        // No end token: every answer is as long as it may be.
        let sampling = Sampling {
            eos_token_id: Vec::new(),
            ..Sampling::greedy(5, prompter.tokenizer.ids.eos)
        };
        let of = |questions: Vec<Result<Question, Unanswered>>| -> Vec<Generated> {
            let seed = Seed::root(1);
            let answers = answers(&engine, prompter, questions, 1, &sampling, seed).unwrap();
            answers.into_iter().flat_map(Result::unwrap).collect()
        };
        let (short, long) = (fill(2), fill(9));
        let together = of(vec![short.clone(), long.clone()]);
        assert_eq!([together[0].ids.len(), together[1].ids.len()], [2, 5]);
        assert!(together.iter().all(|answer| !answer.finished));
        let alone = [of(vec![short]), of(vec![long])].concat();
        assert!(alone.iter().zip(&together).all(|(alone, together)| alone.ids == together.ids));
    }
}
