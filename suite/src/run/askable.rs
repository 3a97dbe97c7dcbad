//! Training data checked before the first update: every question that a stage asks, learns from or chooses by makes a
//! prompt.
//!
//! Does not know what a stage does with a question. An evaluation lists a question that cannot be asked as its outcome,
//! and measures the others. A stage has no such outcome: to leave a question out would be other data than the recipe
//! names, and other batches for every question behind it, and to stop at it would throw away the hours before. So files
//! with such a row are refused as a whole, before anything is trained.

use anyhow::{Result, bail, ensure};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use synergy_benchmarks::sample::Sample;
use synergy_hint::hint;
use synergy_report::completion::Unanswered;

use crate::plan::Plan;
use crate::run::asking::prepared;
use crate::run::event::{Events, interrupted};
use crate::run::stage::validation_samples;
use crate::run::store::Store;
use crate::train::pool::{Files, Pool};
use crate::train::sequence::Prompter;

/// Checks the questions from files of every stage of `plan` that the store lacks.
///
/// # Errors
/// Names the first question that cannot be asked, with file and row, and counts the others; or a file cannot be read, or
/// somebody asked to stop.
pub(super) fn check(
    plan: &Plan,
    prompter: &Prompter,
    store: &Store,
    files: &Files,
    events: &Events,
) -> Result<()> {
    // Stages share their questions, which are the same for every seed.
    let (mut pools, mut validations) = (Vec::new(), Vec::new());
    for planned in plan.stages.iter().filter(|planned| !store.has(&planned.key)) {
        let pool = planned.spec.questions().filter(|questions| questions.files().is_some());
        pools.extend(pool.filter(|questions| !pools.contains(questions)));
        let validation = planned.validation.as_ref().filter(|spec| spec.files().is_some());
        validations.extend(validation.filter(|spec| !validations.contains(spec)));
    }
    let mut samples: Vec<Sample> = Vec::new();
    for questions in pools {
        let pool = Pool { files, run_seed: 0 };
        for index in 0..pool.num_questions(questions)? as u64 {
            samples.push(pool.sample(questions, index)?);
        }
    }
    for spec in validations {
        samples.extend(validation_samples(spec, files)?);
    }
    if samples.is_empty() {
        return Ok(());
    }
    events.say(&format!("checking {} questions from files", samples.len()));
    refuse(&samples, prompter)
}

/// Refuses samples of which one cannot be asked.
fn refuse(samples: &[Sample], prompter: &Prompter) -> Result<()> {
    let fault = |sample: &Sample| -> Option<(String, Unanswered)> {
        if interrupted() {
            return None;
        }
        let text = prompter.text(sample, true);
        let why = prepared(prompter, sample.clone(), &text).err()?;
        Some((sample.title(), why))
    };
    let faults: Vec<_> = samples.into_par_iter().filter_map(fault).collect();
    ensure!(
        !interrupted(),
        hint!("interrupted while questions were checked", "the same command begins with that")
    );
    if let Some((title, why)) = faults.first() {
        let others = match faults.len() - 1 {
            0 => String::new(),
            1 => "; nor can one other".to_owned(),
            others => format!("; nor can {others} others"),
        };
        bail!(hint!(
            ("{title} cannot be asked: {}{others}", why.cause),
            "mend the row or remove it: training takes files as a whole"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fixture::{BASE, questions};
    use synergy_benchmarks::sample::ImageSource;

    #[test]
    fn the_first_bad_question_is_named_and_the_others_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thin.png");
        image::RgbImage::new(1, 201).save(&path).unwrap();
        let whole = questions().remove(0).sample;
        let named = |id: &str| Sample { id: id.to_owned(), ..whole.clone() };
        let thin = Sample { images: vec![ImageSource::File(path)], ..named("thin") };
        let typed = Sample { question: "What <|im_end|>?".to_owned(), ..named("typed") };
        let long = Sample { question: "a ".repeat(8000), ..named("long") };
        let refused =
            |samples: &[Sample]| synergy_hint::text(&refuse(samples, &BASE.prompter).unwrap_err());
        refuse(&[whole.clone(), named("b")], &BASE.prompter).unwrap();
        for (sample, cause) in [
            (&thin, "1 x 201 pixels is too thin"),
            (&typed, "its text holds `<|im_end|>`"),
            (&long, "question and answer may have 2048 together"),
        ] {
            let text = refused(&[whole.clone(), sample.clone()]);
            let start = format!("question `{}` cannot be asked: ", sample.id);
            assert!(text.starts_with(&start) && text.contains(cause), "{text}");
            assert!(text.contains("\nhint: mend the row"), "{text}");
        }
        let text = refused(&[whole, typed, long]);
        assert!(text.starts_with("question `typed`") && text.contains("; nor can one other\n"));
    }
}
