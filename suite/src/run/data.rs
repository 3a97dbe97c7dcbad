//! One stage that makes data: the teacher's traces, a model's own answers, a mix of others.
//!
//! Does not know what is trained on them.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use synergy_benchmarks::seed::Seed;
use synergy_grade::answer::Outcome;
use synergy_grade::grade;
use synergy_models::generate::{Generated, Sampling};
use synergy_report::cost::{Cost, StepFigures};

use crate::device::Compute;
use crate::limits::{QUESTIONS_PER_CHUNK, forward_flops};
use crate::plan::PlannedStage;
use crate::recipe::{Keep, QuestionsSpec, SampleSpec, StageSpec};
use crate::run::artifact::{Summary, checkpoint, file};
use crate::run::base::Base;
use crate::run::chunks::{Chunks, forget};
use crate::run::engines::Engines;
use crate::run::event::Events;
use crate::run::store::Store;
use crate::train::dataset::{Asked, Dataset, Example, mix, teacher};
use crate::train::engine::{Engine, Question};
use crate::train::pool::{Files, Pool};
use crate::train::sequence::Prompter;

/// Makes the data of `planned`, which the store lacks, and stores it.
///
/// # Errors
/// If a model cannot be read, nothing is left, or somebody asked to stop; what was sampled until then is stored.
pub fn run(
    planned: &PlannedStage,
    base: &Base,
    (compute, engines): (&Compute, &Engines<'_>),
    store: &Store,
    files: &Files,
    events: &Events,
) -> Result<Summary> {
    let clock = Instant::now();
    let pool = Pool { files, run_seed: planned.seed };
    let made = match &planned.spec {
        StageSpec::Teacher(spec) => {
            let registers = base.prompter.prompt.registers.as_ref();
            Piece::of(teacher(spec, pool, registers, planned.seed())?, clock)
        }
        StageSpec::Mix(spec) => {
            Piece::of(mix(spec, &inputs(planned, store)?, planned.seed())?, clock)
        }
        StageSpec::Sample(spec) => {
            sample(spec, planned, pool, base, (compute, engines), store, events)?
        }
        _ => bail!("stage `{}` makes no data", planned.name),
    };
    let (data, summary) = made.finish(forward_flops(&base.prompter.config));
    let mut files = data.to_files()?;
    let bytes = serde_json::to_vec_pretty(&summary).context("a summary is plain data")?;
    files.insert("summary.json".into(), bytes);
    store.put(&planned.key, &planned.depends_on, &files)?;
    forget(&store.journal(&planned.key))?;
    Ok(summary)
}

/// Reads the data sets that `planned` names, in the order in which it names them.
///
/// # Errors
/// If one is missing or damaged.
pub fn inputs(planned: &PlannedStage, store: &Store) -> Result<Vec<Dataset>> {
    let read = |key| {
        let files = store
            .get(key)?
            .with_context(|| format!("data `{}` is not in the store", key.as_str()))?;
        file(&files, "examples.jsonl")?;
        Dataset::from_files(&files)
    };
    planned.data.iter().map(read).collect()
}

/// Samples a model's own answers, chunk by chunk, and counts how often each question was answered right.
fn sample(
    spec: &SampleSpec,
    planned: &PlannedStage,
    pool: Pool<'_>,
    base: &Base,
    (compute, engines): (&Compute, &Engines<'_>),
    store: &Store,
    events: &Events,
) -> Result<Piece> {
    let prompter = &base.prompter;
    let from = planned.from.as_ref().context("a sampling stage names its model")?;
    let dtype = spec.dtype.unwrap_or_default();
    let parameters = checkpoint(store, from, base, &compute.device, Some(dtype))?;
    let mut engine = engines.engine(&prompter.config, dtype, None);
    engine.load(&parameters)?;
    let sampling = Sampling {
        temperature: spec.temperature,
        top_p: spec.top_p,
        top_k: spec.top_k,
        ..prompter.greedy(spec.max_new_tokens)
    };
    let seed = planned.seed().fold_in("rollouts");
    let sampler = Sampler { spec, planned, pool, prompter, engine: &*engine, sampling, seed };
    let chunks = Chunks {
        title: format!("{} (seed {})", planned.name, planned.seed),
        doing: format!("sampling for `{}`", planned.name),
        chunk_size: QUESTIONS_PER_CHUNK,
        journal: Some(store.journal(&planned.key)),
        events,
    };
    let indices: Vec<u64> = (0..pool.num_questions(&spec.questions)? as u64).collect();
    let mut num_kept = 0;
    let pieces = chunks.run(
        &indices,
        |indices| sampler.piece(indices),
        |piece: &Piece| {
            num_kept += piece.examples.len();
            format!("{num_kept} answers kept")
        },
    )?;
    Ok(pieces.into_iter().fold(Piece::default(), Piece::plus))
}

/// Everything that the chunks of one sampling stage share.
struct Sampler<'a> {
    spec: &'a SampleSpec,
    planned: &'a PlannedStage,
    pool: Pool<'a>,
    prompter: &'a Prompter,
    engine: &'a dyn Engine,
    sampling: Sampling,
    seed: Seed,
}

impl Sampler<'_> {
    /// Asks the questions at `indices` of the pool and keeps those answers that the recipe wants.
    fn piece(&self, indices: &[u64]) -> Result<Piece> {
        let clock = Instant::now();
        let Sampler { spec, pool, prompter, .. } = self;
        let ask = |&index: &u64| {
            let sample = pool.sample(&spec.questions, index)?;
            match spec.register {
                Some(register) => {
                    let text = prompter.text_in(&sample, register)?;
                    Question::of_text(prompter, sample, &text)
                }
                None => Question::new(prompter, sample, true),
            }
        };
        let questions: Vec<Question> = indices.iter().map(ask).collect::<Result<_>>()?;
        let num = spec.num_generations;
        let generated = self.engine.generate(&questions, num, &self.sampling, self.seed)?;
        let mut piece = Piece::default();
        for ((&index, question), answers) in indices.iter().zip(&questions).zip(generated) {
            let num_tokens: usize = answers.iter().map(|a| a.ids.len()).sum();
            piece.tokens_generated += num_tokens;
            piece.tokens_forward += question.input_ids.len() + num_tokens;
            let (num_correct, kept) = self.keep(question, &answers);
            let sample_id = &question.sample.id;
            piece.asked.push(Asked {
                sample_id: sample_id.clone(),
                num_correct,
                num_generations: num,
            });
            piece.examples.extend(kept.into_iter().map(|answer| Example {
                sample_id: sample_id.clone(),
                index,
                questions: QuestionsSpec::clone(&spec.questions),
                answer,
            }));
        }
        piece.wall_time_s = clock.elapsed().as_secs_f64();
        Ok(piece)
    }

    /// The number of right answers to `question`, and the texts of those answers that are kept.
    fn keep(&self, question: &Question, answers: &[Generated]) -> (usize, Vec<String>) {
        let (grader, target) = (self.planned.grader, question.sample.target());
        let text = |a: &Generated| self.prompter.tokenizer.decode(&a.ids);
        let (right, wrong): (Vec<_>, Vec<_>) =
            answers.iter().map(|a| (a, text(a))).partition(|(answer, text)| {
                grade(grader, &target, text, answer.finished).outcome == Outcome::Correct
            });
        let num_correct = right.len();
        let [low, high] = self.spec.pass_rate;
        let pass_rate = num_correct as f64 / self.spec.num_generations as f64;
        if !(low..=high).contains(&pass_rate) {
            return (num_correct, Vec::new());
        }
        let kept: Vec<_> = match self.spec.keep {
            Keep::Correct => right,
            Keep::OneCorrect => right.into_iter().take(1).collect(),
            Keep::Any => right.into_iter().chain(wrong).collect(),
            // The first of the shortest.
            Keep::ShortestCorrect => {
                right.into_iter().min_by_key(|(answer, _)| answer.ids.len()).into_iter().collect()
            }
        };
        (num_correct, kept.into_iter().map(|(_, text)| text).collect())
    }
}

/// Data and what it took to make it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Piece {
    asked: Vec<Asked>,
    examples: Vec<Example>,
    tokens_generated: usize,
    tokens_forward: usize,
    wall_time_s: f64,
}

impl Piece {
    /// Data that no model made, since `clock` was started.
    fn of(Dataset { asked, examples }: Dataset, clock: Instant) -> Piece {
        let wall_time_s = clock.elapsed().as_secs_f64();
        Piece { asked, examples, wall_time_s, ..Piece::default() }
    }

    fn plus(mut self, other: Piece) -> Piece {
        self.asked.extend(other.asked);
        self.examples.extend(other.examples);
        Piece {
            tokens_generated: self.tokens_generated + other.tokens_generated,
            tokens_forward: self.tokens_forward + other.tokens_forward,
            wall_time_s: self.wall_time_s + other.wall_time_s,
            ..self
        }
    }

    /// The data, and the summary of a stage whose model takes `forward_flops` for each token.
    fn finish(self, forward_flops: f64) -> (Dataset, Summary) {
        let num_examples = self.examples.len() as f64;
        let mut figures = StepFigures::from([("examples".to_owned(), num_examples)]);
        if !self.asked.is_empty() {
            let right: usize = self.asked.iter().map(|a| a.num_correct).sum();
            let all: usize = self.asked.iter().map(|a| a.num_generations).sum();
            let never = self.asked.iter().filter(|a| a.num_correct == 0).count();
            figures.insert("accuracy".into(), right as f64 / all as f64);
            figures.insert("never_right".into(), never as f64 / self.asked.len() as f64);
        }
        let tokens = StepFigures::from([
            ("tokens_generated".to_owned(), self.tokens_generated as f64),
            ("tokens_forward".to_owned(), self.tokens_forward as f64),
        ]);
        let cost = Cost::of(&[tokens], 0, forward_flops, self.wall_time_s);
        let data = Dataset { examples: self.examples, asked: self.asked };
        (data, Summary { cost, figures })
    }
}
