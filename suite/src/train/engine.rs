//! The seam between those who ask and what answers: GRPO, sampling stages, validation, evaluation and the base's gate
//! ask an [`Engine`]; which program computes the answers, and on which machine, is the engine's affair alone.
//!
//! Does not judge answers, nor know why they are asked for.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_hint::{Hinted, hint};
use synergy_models::generate::{Generated, Sampling};
use synergy_models::image::Patches;
use synergy_models::tokenizer::Tokenizer;
use synergy_models::weights::{ComputeDtype, Parameters};
use synergy_report::completion::Completion;

use crate::recipe::Correction;
use crate::train::sequence::Prompter;

/// A sample ready to be asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The question with its pictures and its right answer.
    pub sample: Sample,
    /// Token ids of the prompt, its pictures' tokens already expanded, with the model's turn opened.
    pub input_ids: Vec<u32>,
    /// Patches of each picture, in the order in which `input_ids` refers to them.
    pub patches: Vec<Patches>,
    /// Number of positions that the answer is shifted by, as in [`synergy_models::generate::Prompt::position_gap`].
    pub position_gap: u32,
}

impl Question {
    /// Renders pictures and prompt, with the study's instruction if `template`.
    ///
    /// # Errors
    /// If a picture cannot be read or the chat template fails.
    pub fn new(prompter: &Prompter, sample: Sample, template: bool) -> Result<Question> {
        let text = prompter.text(&sample, template);
        Question::of_text(prompter, sample, &text)
    }

    /// Renders pictures and prompt, where `text` is the whole of the user's turn.
    ///
    /// # Errors
    /// See [`Question::new`].
    pub fn of_text(prompter: &Prompter, sample: Sample, text: &str) -> Result<Question> {
        let patches = prompter.patches(&sample).with_context(|| sample.title())?;
        let input_ids = prompter.prompt_ids(text, &patches).with_context(|| sample.title())?;
        Ok(Question { sample, input_ids, patches, position_gap: 0 })
    }
}

/// A model of which an adapter learns, in each form that an engine may want. What an engine does not ask for is not made.
pub struct Adapted<'a> {
    /// The parameters as training computes with them.
    pub parameters: &'a Parameters,
    /// Makes the whole weights, the adapter merged in, in the type that training computes in.
    pub merged: &'a dyn Fn() -> Parameters,
    /// Makes the adapter's files by name, in PEFT's layout.
    pub files: &'a dyn Fn() -> Vec<(&'static str, Vec<u8>)>,
}

/// An engine that is not the suite's own: what trains on its answers computes their log-probabilities once more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Apart {
    /// The type that it computes in.
    pub dtype: ComputeDtype,
    /// What is done about the difference.
    pub correction: Option<Correction>,
}

/// A question and where its answers draw from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) question: &'a Question,
    /// The root of the streams of all answers to its id.
    pub(crate) seed: Seed,
    /// The number of its first answer among them: one that is asked again in the same call draws on.
    pub(crate) first: u64,
}

impl Asked<'_> {
    /// Every question of a call.
    pub(crate) fn all(questions: &[Question], num_samples: usize, seed: Seed) -> Vec<Asked<'_>> {
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        let asked = questions.iter().map(|question| {
            let id = question.sample.id.as_str();
            let times = times.entry(id).or_default();
            let first = *times * num_samples as u64;
            *times += 1;
            Asked { question, seed: seed.fold_in(id), first }
        });
        asked.collect()
    }
}

/// Generates answers to questions with the weights that were loaded last.
///
/// # Determinism
/// The same weights, questions, sampling and seed give the same tokens. Each answer draws from a stream of its own,
/// named after the seed, its question's id and its number among all answers to that id in the call; so neither the other
/// questions of a call, nor their order, nor how many are computed at once changes a token, and a question that is asked
/// twice in one call is answered twice. An engine that cannot promise this (a
/// server whose batches depend on what else it is asked) says so in its documentation. What trains on its answers checks
/// the log-probabilities that come with them against its own: see [`crate::train::mismatch::GapLimit`].
pub trait Engine: Sync {
    /// Hears the model that the adapters of a stage stand on, before [`Engine::load_adapted`]. By default does nothing, which
    /// suits an engine that is always given whole weights.
    ///
    /// # Errors
    /// See [`Engine::load`].
    fn begin(&mut self, start: &Parameters) -> Result<()> {
        let _ = start;
        Ok(())
    }

    /// Makes `adapted` generate, which stands on the weights of [`Engine::begin`]. By default loads the parameters as any
    /// others.
    ///
    /// # Errors
    /// See [`Engine::load`].
    fn load_adapted(&mut self, adapted: &Adapted<'_>) -> Result<()> {
        self.load(adapted.parameters)
    }

    /// How its log-probabilities differ from those of training; `None` if they are the same but for rounding.
    fn apart(&self) -> Option<Apart> {
        None
    }

    /// Makes `weights` the ones that generate from now on.
    ///
    /// # Errors
    /// If the engine cannot be reached, has no room for the weights, or is made for a model of another shape.
    fn load(&mut self, weights: &Parameters) -> Result<()>;

    /// Lets go of the loaded weights, so that training can change them in place; [`Engine::load`] must follow before
    /// anything is generated. By default does nothing, which suits an engine that keeps copies of its own.
    fn unload(&mut self) {}

    /// Answers to `questions`: `[questions][num_samples]`, in the order of the questions. Each has its token ids, the end
    /// token included if one was reached, and, for each id, its log-probability in nats under the model itself, before
    /// temperature or any cut of `sampling`.
    ///
    /// # Errors
    /// If no weights are loaded, the model's logits are not finite, a question does not fit the model, or the engine
    /// stops answering. Answers are all there or none is: a caller never gets some of them.
    fn generate(
        &self,
        questions: &[Question],
        num_samples: usize,
        sampling: &Sampling,
        seed: Seed,
    ) -> Result<Vec<Vec<Generated>>>;
}

/// The error of an engine that is asked before weights were loaded.
pub(crate) fn without_weights() -> Hinted {
    hint!("an engine was asked before weights were loaded", "this is a fault of the suite")
}

/// Answers to `questions` as text: those to one question stand together, in the order of the questions.
///
/// # Errors
/// See [`Engine::generate`].
pub fn completions(
    engine: &dyn Engine,
    tokenizer: &Tokenizer,
    questions: &[Question],
    num_samples: usize,
    sampling: &Sampling,
    seed: Seed,
) -> Result<Vec<Completion>> {
    let generated = engine.generate(questions, num_samples, sampling, seed)?;
    let mut out = Vec::with_capacity(questions.len() * num_samples);
    for (question, answers) in questions.iter().zip(generated) {
        out.extend(answers.into_iter().zip(0..).map(|(answer, k)| {
            let (text, num_tokens) = (tokenizer.decode(&answer.ids), answer.ids.len() as u32);
            Completion::new(&question.sample, k, text, num_tokens, answer.finished)
        }));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{KlPlace, ObjectivePreset, ObjectiveSpec, TrainingSpec};
    use crate::train::algorithm::{Draws, Reference, StageInputs};
    use crate::train::fixture::{BASE, compute, grpo_spec, optimizer, questions};
    use crate::train::grpo::Grpo;
    use crate::train::pool::{Files, Pool};
    use crate::train::rollout::LocalEngine;
    use crate::train::{Context, StepFigures, Trainer};
    use anyhow::ensure;
    use std::path::Path;
    use synergy_benchmarks::datasets::mapped::{self, Mapping};

    #[test]
    fn a_question_that_cannot_be_asked_is_named_with_its_file_and_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        image::RgbImage::new(1, 201).save(path("thin.png")).unwrap();
        image::RgbImage::new(40, 30).save(path("whole.jpg")).unwrap();
        let whole = std::fs::read(path("whole.jpg")).unwrap();
        std::fs::write(path("cut.jpg"), &whole[..whole.len() - 20]).unwrap();
        let spec = "benchmark = \"mine\"\nquestion = \"q\"\nanswer = \"a\"\n\
                    pictures = [{ column = \"p\", kind = \"path\" }]\n";
        let mapping = Mapping::parse(spec, Path::new("map.toml")).unwrap();
        for (picture, text, named, cause) in [
            ("thin.png", "What?", "picture `", "1 x 201 pixels is too thin"),
            ("cut.jpg", "What?", "failed to read picture `", "the file is cut short"),
            ("whole.jpg", "<|image_pad|>?", "its text holds", "its text holds `<|image_pad|>`"),
        ] {
            let row = |picture: &str, q: &str| {
                serde_json::json!({ "q": q, "a": "4", "p": picture }).to_string() + "\n"
            };
            let rows = row("whole.jpg", "Who?") + &row(picture, text);
            std::fs::write(path("rows.jsonl"), rows).unwrap();
            let samples = mapped::open(&mapping, &path("rows.jsonl")).unwrap();
            let ask = |sample: Result<Sample>| Question::new(&BASE.prompter, sample?, true);
            let asked: Vec<Result<Question>> = samples.map(ask).collect();
            assert!(asked[0].is_ok());
            let message = synergy_hint::text(asked[1].as_ref().unwrap_err());
            let (line, hint) = message.split_once('\n').unwrap();
            assert!(
                line.starts_with("question `mine/000002` (`")
                    && line.contains(&format!("): {named}"))
                    && line.contains(cause),
                "{message}"
            );
            assert!(
                line.contains("rows.jsonl`, row 2)") && hint.starts_with("hint: "),
                "{message}"
            );
        }
    }

    /// Plays back answers that were recorded before, by the ids of their questions.
    struct RecordedEngine {
        answers: BTreeMap<String, Vec<Generated>>,
        num_loads: usize,
        is_loaded: bool,
        apart: Option<Apart>,
    }

    impl RecordedEngine {
        /// Records what the base answers.
        fn new(questions: &[Question], num_samples: usize, sampling: &Sampling) -> RecordedEngine {
            let compute = compute();
            let mut local = LocalEngine::new(&BASE.prompter.config, &compute, ComputeDtype::F32);
            local.load(&BASE.parameters).unwrap();
            let answers = local.generate(questions, num_samples, sampling, seed()).unwrap();
            let ids = questions.iter().map(|question| question.sample.id.clone());
            let answers = ids.zip(answers).collect();
            RecordedEngine { answers, num_loads: 0, is_loaded: false, apart: None }
        }
    }

    impl Engine for RecordedEngine {
        fn load(&mut self, _: &Parameters) -> Result<()> {
            self.num_loads += 1;
            self.is_loaded = true;
            Ok(())
        }

        fn unload(&mut self) {
            self.is_loaded = false;
        }

        fn apart(&self) -> Option<Apart> {
            self.apart
        }

        fn generate(
            &self,
            questions: &[Question],
            num_samples: usize,
            _: &Sampling,
            _: Seed,
        ) -> Result<Vec<Vec<Generated>>> {
            ensure!(self.is_loaded, "no weights are loaded");
            let recorded = |question: &Question| self.answers[&question.sample.id].clone();
            let answers: Vec<Vec<Generated>> = questions.iter().map(recorded).collect();
            assert!(answers.iter().all(|samples| samples.len() == num_samples));
            Ok(answers)
        }
    }

    /// What the first step of GRPO draws its rollouts from.
    fn seed() -> Seed {
        Seed::root(9).fold_in("rollouts").at(0)
    }

    fn step(engine: &mut dyn Engine) -> (Parameters, Result<StepFigures>) {
        step_by(ObjectivePreset::GrpoStudy.objective(), engine)
    }

    fn step_by(
        objective: ObjectiveSpec,
        engine: &mut dyn Engine,
    ) -> (Parameters, Result<StepFigures>) {
        let (compute, spec) = (compute(), grpo_spec(objective));
        let training: &TrainingSpec = &spec.training;
        let context = Context::new(&BASE.prompter, &compute, training);
        let start = &BASE.parameters;
        let mut trainer = Trainer::new(training, &optimizer(), 10, start, Seed::root(1)).unwrap();
        let reference = Reference { parameters: start, features: None, scorer: None };
        let pool = Pool { files: &Files::default(), run_seed: 1 };
        let draws = Draws { pool, stage: Seed::root(9) };
        let grpo = Grpo::new(&spec, StageInputs::default(), draws).unwrap();
        let figures = grpo.step(&mut trainer, engine, &context, reference, &questions(), 0);
        (trainer.parameters, figures)
    }

    fn sampling() -> Sampling {
        let spec = grpo_spec(ObjectivePreset::GrpoStudy.objective());
        Sampling {
            temperature: spec.temperature,
            ..BASE.prompter.greedy(spec.max_completion_tokens)
        }
    }

    #[test]
    fn grpo_learns_the_same_from_recorded_answers_as_from_those_of_this_process() {
        let compute = compute();
        let mut local = LocalEngine::new(&BASE.prompter.config, &compute, ComputeDtype::F32);
        let mut recorded = RecordedEngine::new(&questions(), 3, &sampling());
        let [(own, figures), (other, others)] = [step(&mut local), step(&mut recorded)];
        assert_eq!(figures.unwrap(), others.unwrap());
        assert_eq!(own.to_bytes(), other.to_bytes());
        // The weights of the step are loaded before its rollouts, and free again when they are changed.
        assert_eq!((recorded.num_loads, recorded.is_loaded), (1, false));
    }

    /// A step on recorded answers that an engine gave which finds the tokens of each first answer less likely by `nats` and
    /// is `apart`; all that answers earn is their likelihood.
    fn step_apart(nats: f32, apart: Option<Apart>) -> (Parameters, Result<StepFigures>) {
        let mut recorded = RecordedEngine::new(&questions(), 3, &sampling());
        let first = recorded.answers.values_mut().map(|answers| &mut answers[0]);
        first.for_each(|answer| answer.log_probs.iter_mut().for_each(|x| *x -= nats));
        recorded.apart = apart;
        let objective = ObjectiveSpec {
            kl_in: KlPlace::Reward,
            beta: 1.0,
            ..ObjectivePreset::GrpoStudy.objective()
        };
        step_by(objective, &mut recorded)
    }

    #[test]
    fn what_another_engine_thinks_of_its_answers_changes_nothing_without_correction() {
        let half = Apart { dtype: ComputeDtype::Bf16, correction: None };
        let [(own, figures), (other, others)] =
            [0.0, 0.05].map(|nats| step_apart(nats, Some(half)));
        let (figures, others) = (figures.unwrap(), others.unwrap());
        assert_eq!(own.to_bytes(), other.to_bytes());
        assert!(figures["engine_gap_nats"] < 1e-5, "{figures:?}");
        // A third of the answers, if not quite of their tokens.
        assert!((others["engine_gap_nats"] - 0.05 / 3.0).abs() < 1e-3, "{others:?}");
        // They are compared with the answers' own log-probabilities.
        assert!(others["log_prob_gap"] < 1e-5, "{others:?}");
        // In f32 so much is no rounding.
        let whole = Apart { dtype: ComputeDtype::F32, correction: None };
        let error = synergy_hint::text(&step_apart(0.05, Some(whole)).1.unwrap_err());
        assert!(error.contains(" % of sampled tokens") && error.contains("\nhint: "), "{error}");
    }

    #[test]
    fn log_probabilities_of_another_model_stop_grpo() {
        let mut recorded = RecordedEngine::new(&questions(), 3, &sampling());
        let answers = recorded.answers.values_mut().flatten();
        answers.for_each(|answer| answer.log_probs.iter_mut().for_each(|x| *x -= 0.1));
        let error = synergy_hint::text(&step(&mut recorded).1.unwrap_err());
        assert!(error.contains("100.00 % of tokens") && error.contains("\nhint: "), "{error}");
    }

    #[test]
    fn completions_are_the_text_of_what_the_engine_answers() {
        let questions = questions();
        let mut recorded = RecordedEngine::new(&questions, 2, &sampling());
        recorded.load(&BASE.parameters).unwrap();
        let tokenizer = &BASE.prompter.tokenizer;
        let texts =
            completions(&recorded, tokenizer, &questions, 2, &sampling(), Seed::root(9)).unwrap();
        assert_eq!(texts.len(), 2 * questions.len());
        for (place, completion) in texts.iter().enumerate() {
            let question = &questions[place / 2].sample;
            let answer = &recorded.answers[&question.id][place % 2];
            assert_eq!(completion.sample_id, question.id);
            assert_eq!(completion.sample as usize, place % 2);
            assert_eq!(completion.text, tokenizer.decode(&answer.ids));
        }
    }

    #[test]
    fn an_engine_without_weights_answers_nothing() {
        let compute = compute();
        let mut local = LocalEngine::new(&BASE.prompter.config, &compute, ComputeDtype::F32);
        let ask =
            |engine: &LocalEngine<'_>| engine.generate(&questions(), 1, &sampling(), Seed::root(1));
        assert!(synergy_hint::text(&ask(&local).unwrap_err()).contains("\nhint: "));
        local.load(&BASE.parameters).unwrap();
        ask(&local).unwrap();
        local.unload();
        ask(&local).unwrap_err();
    }
}
