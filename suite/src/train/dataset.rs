//! Data sets: questions of the training pool with an answer to learn each, and how often a model was right.
//!
//! Does not know models. A data set is an artifact: `examples.jsonl`, and after sampling `asked.jsonl`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use rand::RngExt as _;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::seed::Seed;
use synergy_hint::hint;

use crate::recipe::{MixSpec, QuestionsSpec, RegistersSpec, TeacherSpec};
use crate::train::pool::Pool;
use crate::train::register::{reasoned, without_thought, written};

/// A question of the training pool and an answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// The question's id.
    pub sample_id: String,
    /// The question's place in the pool of `questions`.
    pub index: u64,
    /// The pool.
    pub questions: QuestionsSpec,
    /// What the model is to write after the prompt.
    pub answer: String,
}

impl Example {
    /// Reads its question.
    ///
    /// # Errors
    /// See [`Pool::sample`].
    pub fn sample(&self, pool: Pool<'_>) -> Result<Sample> {
        pool.sample(&self.questions, self.index)
    }
}

/// A question that a model was asked several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The question's id.
    pub sample_id: String,
    /// Number of right answers.
    pub num_correct: usize,
    /// Number of answers.
    pub num_generations: usize,
}

/// What a stage of data leaves behind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    /// Questions with an answer to learn each.
    pub examples: Vec<Example>,
    /// After sampling: every question, whether anything of it was kept or not.
    pub asked: Vec<Asked>,
}

impl Dataset {
    /// Writes the data set as files of an artifact.
    ///
    /// # Errors
    /// None that the types allow.
    pub fn to_files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        Ok(BTreeMap::from([
            ("examples.jsonl".to_owned(), to_lines(&self.examples)?),
            ("asked.jsonl".to_owned(), to_lines(&self.asked)?),
        ]))
    }

    /// Reads the data set from the files of an artifact.
    ///
    /// # Errors
    /// If a file is missing, or a line of it cannot be read.
    pub fn from_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Dataset> {
        Ok(Dataset {
            examples: from_lines(files, "examples.jsonl")?,
            asked: from_lines(files, "asked.jsonl")?,
        })
    }

    /// Finds the first answer to each question, by the question's id.
    pub fn answers(&self) -> BTreeMap<&str, &str> {
        let mut answers = BTreeMap::new();
        for example in &self.examples {
            answers.entry(example.sample_id.as_str()).or_insert(example.answer.as_str());
        }
        answers
    }

    /// Finds the questions that were answered right every time.
    pub fn solved(&self) -> BTreeSet<&str> {
        let all = self.asked.iter().filter(|a| a.num_correct == a.num_generations);
        all.map(|a| a.sample_id.as_str()).collect()
    }

    /// Finds the questions that were never answered right.
    fn unsolved(&self) -> BTreeSet<&str> {
        let none = self.asked.iter().filter(|a| a.num_correct == 0);
        none.map(|a| a.sample_id.as_str()).collect()
    }
}

/// Writes the families' own solutions of questions of `pool`, or takes the answers of files, word for word; `seed` draws
/// how many statements a brief one has.
///
/// # Errors
/// See [`Pool::sample`]; if a file has questions alone, or a family is asked without `registers`.
pub fn teacher(
    spec: &TeacherSpec,
    pool: Pool<'_>,
    registers: Option<&RegistersSpec>,
    seed: Seed,
) -> Result<Dataset> {
    let questions: &QuestionsSpec = &spec.questions;
    let examples = (0..pool.num_questions(questions)? as u64).map(|index| {
        let sample = pool.sample(questions, index)?;
        let answer = match (questions, &sample.solution) {
            (QuestionsSpec::Files { files, .. }, _) => {
                ensure!(
                    !sample.response.is_empty(),
                    hint!(
                        (
                            "question `{}` of `{}` has no answer to learn",
                            sample.id,
                            files.path.display()
                        ),
                        "a layout with responses, as sharegpt or trl"
                    )
                );
                sample.response.clone()
            }
            (QuestionsSpec::Drawn { .. }, solution) => {
                let solution = solution.as_ref().context("a family solves its questions")?;
                let registers = registers.context("a recipe with registers has a table of them")?;
                let rng = &mut seed.fold_in("statements").at(index).rng();
                reasoned(&written(solution, spec.trace, registers, rng), &sample.answer)
            }
        };
        Ok(Example { sample_id: sample.id, index, questions: questions.clone(), answer })
    });
    Ok(Dataset { examples: examples.collect::<Result<_>>()?, asked: Vec::new() })
}

/// Joins the parts of `spec`, whole or by share; `data` has the data sets of [`crate::recipe::StageSpec::data`], in its
/// order, and `seed` draws what a share takes.
///
/// # Errors
/// If nothing is left, of the mix or of a part that is limited to questions with answers of others.
pub fn mix(spec: &MixSpec, data: &[Dataset], seed: Seed) -> Result<Dataset> {
    let mut data = data.iter();
    let mut next = || data.next().context("a data set for each that the mix names");
    let mut parts: Vec<Vec<&Example>> = Vec::new();
    for part in &spec.parts {
        let whole = next()?;
        let unsolved =
            part.unsolved_by.as_ref().map(|_| next().map(Dataset::unsolved)).transpose()?;
        let answered: Vec<BTreeMap<&str, &str>> = part
            .solved_by
            .iter()
            .flatten()
            .map(|_| next().map(Dataset::answers))
            .collect::<Result<_>>()?;
        let wanted = |e: &&Example| {
            let id = e.sample_id.as_str();
            unsolved.as_ref().is_none_or(|unsolved| unsolved.contains(id))
                && answered.iter().all(|answers| answers.contains_key(id))
        };
        let taken: Vec<&Example> = whole.examples.iter().filter(wanted).collect();
        ensure!(
            !taken.is_empty() || answered.is_empty(),
            hint!(
                (
                    "no question of `{}` has an answer in each of `solved_by` ({})",
                    part.data,
                    part.solved_by.iter().flatten().cloned().collect::<Vec<_>>().join(", ")
                ),
                "the stages must answer the same questions; more answers to each leave more of them"
            )
        );
        parts.push(taken);
    }
    let shares = || spec.parts.iter().map(|part| part.share);
    let most = |(share, part): (Option<f64>, &Vec<_>)| share.map(|s| part.len() as f64 / s);
    // As large as the part that runs out first allows.
    if let Some(total) = shares().zip(&parts).filter_map(most).reduce(f64::min) {
        for (i, (share, part)) in shares().zip(&mut parts).enumerate() {
            part.shuffle(&mut seed.fold_in("share").at(i as u64).rng());
            part.truncate((total * share.unwrap_or_default()).round() as usize);
        }
    }
    let mut examples: Vec<Example> = parts.into_iter().flatten().cloned().collect();
    if let Some(share) = spec.empty_thoughts {
        let rng = &mut seed.fold_in("thoughts").rng();
        for example in &mut examples {
            if rng.random::<f64>() < share {
                example.answer = without_thought(&example.answer);
            }
        }
    }
    ensure!(
        !examples.is_empty(),
        hint!("no example is left of the mix", "look at the filters of its parts")
    );
    Ok(Dataset { examples, asked: Vec::new() })
}

fn to_lines<T: Serialize>(items: &[T]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for item in items {
        serde_json::to_writer(&mut out, item).context("plain data")?;
        out.push(b'\n');
    }
    Ok(out)
}

fn from_lines<T: DeserializeOwned>(
    files: &BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Result<Vec<T>> {
    let bytes = files.get(name).with_context(|| format!("a data set lacks `{name}`"))?;
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|l| serde_json::from_slice(l).with_context(|| format!("a line of `{name}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{MixPart, Named, Trace};
    use crate::train::fixture::registers;
    use crate::train::pool::Files;
    use synergy_benchmarks::families::Split;

    fn spec(trace: Trace, num_questions: usize) -> TeacherSpec {
        let questions = QuestionsSpec::Drawn { split: Split::Train, num_questions, hops: [1, 4] };
        TeacherSpec { trace, questions: Named::new("few", questions) }
    }

    fn made(trace: Trace, num_questions: usize) -> Dataset {
        let files = Files::default();
        let pool = Pool { files: &files, run_seed: 1 };
        teacher(&spec(trace, num_questions), pool, Some(&registers()), Seed::root(1)).unwrap()
    }

    fn part(unsolved_by: Option<&str>) -> MixPart {
        let unsolved_by = unsolved_by.map(str::to_owned);
        MixPart { data: "any".into(), share: None, unsolved_by, solved_by: None }
    }

    fn mixed(parts: Vec<MixPart>, data: &[Dataset]) -> Result<Dataset> {
        mix(&MixSpec { parts, empty_thoughts: None }, data, Seed::root(1))
    }

    #[test]
    fn shares_are_kept_whichever_part_runs_out_first() {
        let (many, few) = (made(Trace::Long, 30), made(Trace::Shallow, 6));
        let share = |share| MixPart { share: Some(share), ..part(None) };
        let data = mixed(vec![share(0.75), share(0.25)], &[many.clone(), few.clone()]).unwrap();
        let own = data.examples.iter().filter(|e| few.examples.contains(e)).count();
        assert_eq!((data.examples.len(), own), (24, 6));
        // Drawn, not the first ones.
        assert_ne!(data.examples[..18], many.examples[..18]);
    }

    #[test]
    fn a_share_of_the_thoughts_is_taken_out() {
        let data = [made(Trace::Long, 400)];
        let with = |empty_thoughts| {
            let spec = MixSpec { parts: vec![part(None)], empty_thoughts };
            mix(&spec, &data, Seed::root(1)).unwrap().examples
        };
        let half = with(Some(0.5));
        let is_empty = |example: &&Example| example.answer.contains("<think></think>");
        let num = half.iter().filter(is_empty).count();
        assert!((160..240).contains(&num), "{num} of 400");
        for (example, before) in half.iter().zip(&data[0].examples) {
            let end = |e: &Example| e.answer.split("</think>").last().map(str::to_owned);
            assert_eq!((&example.sample_id, end(example)), (&before.sample_id, end(before)));
            assert!(is_empty(&example) || example == before);
        }
        assert_eq!(with(None), data[0].examples);
        assert!(with(Some(1.0)).iter().all(|example| is_empty(&example)));
    }

    #[test]
    fn a_data_set_is_read_back_as_it_was_written() {
        let mut data = made(Trace::Long, 6);
        let sample_id = data.examples[2].sample_id.clone();
        data.asked.push(Asked { sample_id, num_correct: 1, num_generations: 8 });
        assert_eq!(Dataset::from_files(&data.to_files().unwrap()).unwrap(), data);
        assert_eq!(data.answers().len(), 6);
    }

    #[test]
    fn a_mix_takes_whole_sets_and_what_was_never_solved() {
        let (long, mut own) = (made(Trace::Long, 4), made(Trace::Dense, 3));
        own.asked = (0..4)
            .map(|i| {
                let sample_id = long.examples[i].sample_id.clone();
                Asked { sample_id, num_correct: if i == 3 { 0 } else { 8 }, num_generations: 8 }
            })
            .collect();
        let parts = vec![part(None), part(Some("own"))];
        let data = mixed(parts, &[own.clone(), long.clone(), own.clone()]).unwrap();
        let want: Vec<&Example> = own.examples.iter().chain(&long.examples[3..]).collect();
        assert_eq!(data.examples.iter().collect::<Vec<_>>(), want);
        assert_eq!(own.solved().len(), 3);
        own.asked.iter_mut().for_each(|a| a.num_correct = 8);
        let parts = vec![part(Some("own"))];
        let nothing = synergy_hint::text(&mixed(parts, &[long, own]).unwrap_err());
        assert!(nothing.starts_with("no example is left of the mix\nhint: "), "{nothing}");
    }
    #[test]
    fn a_mix_asks_only_what_every_named_source_answers() {
        let (traces, few, fewer) =
            (made(Trace::Long, 8), made(Trace::Dense, 6), made(Trace::Dense, 3));
        let both =
            MixPart { solved_by: Some(vec!["few".to_owned(), "fewer".to_owned()]), ..part(None) };
        let data = [traces.clone(), few.clone(), fewer.clone()];
        let mixed_traces = mixed(vec![both.clone()], &data).unwrap();
        assert_eq!(mixed_traces.examples, traces.examples[..3]);
        // The same list asks the same questions of another source, whichever of its stages answers least.
        let data = [few.clone(), few.clone(), fewer.clone()];
        let own = mixed(vec![both.clone()], &data).unwrap();
        let ids =
            |data: &Dataset| data.examples.iter().map(|e| e.sample_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&own), ids(&mixed_traces));
        // Beside `unsolved_by`, both have to let a question through.
        let mut asked = fewer.clone();
        asked.asked = few.examples[..4]
            .iter()
            .enumerate()
            .map(|(i, example)| Asked {
                sample_id: example.sample_id.clone(),
                num_correct: i % 2,
                num_generations: 1,
            })
            .collect();
        let either = MixPart { unsolved_by: Some("asked".to_owned()), ..both.clone() };
        let data = [traces.clone(), asked, few.clone(), few.clone()];
        let left = mixed(vec![either], &data).unwrap();
        assert_eq!(left.examples, [0, 2].map(|i| traces.examples[i].clone()));

        let nothing = mixed(vec![part(None), both], &[few, traces, fewer, Dataset::default()]);
        let said = synergy_hint::text(&nothing.unwrap_err());
        assert!(
            said.starts_with(
                "no question of `any` has an answer in each of `solved_by` (few, fewer)\nhint: "
            ),
            "{said}"
        );
    }
}
