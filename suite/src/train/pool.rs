//! Questions by their place in a pool: drawn from the families, or read from files.
//!
//! Does not know what is trained. Every stage of a seed draws from one pool, as the study's SFT and RL share their
//! questions. Files are read once, their pictures when a question is asked.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use synergy_benchmarks::datasets::training::{self, Layout};
use synergy_benchmarks::datasets::{self, spread};
use synergy_benchmarks::families::Split;
use synergy_benchmarks::sample::{ImageSource, Sample};
use synergy_hint::{Explain as _, Hinted, hint};

use crate::key::{Key, hash_file, listed};
use crate::recipe::{BenchmarkSpec, FAMILIES, FilesSpec, QuestionsSpec};

/// Questions that are on disk; each set is read when it is first needed.
#[derive(Debug, Default)]
pub struct Files {
    training: Read<FilesSpec>,
    benchmarks: Read<BenchmarkSpec>,
}

/// Sets of questions that have been read.
#[derive(Debug)]
struct Read<Spec>(Mutex<Vec<(Spec, Arc<Vec<Sample>>)>>);

impl<Spec> Default for Read<Spec> {
    fn default() -> Read<Spec> {
        Read(Mutex::default())
    }
}

impl<Spec: Clone + PartialEq> Read<Spec> {
    /// The questions of `spec`, which `read` reads at the first call.
    fn get(
        &self,
        spec: &Spec,
        read: impl FnOnce() -> Result<Vec<Sample>>,
    ) -> Result<Arc<Vec<Sample>>> {
        let mut sets = self.0.lock().expect("no thread panics with it");
        if let Some((_, samples)) = sets.iter().find(|(known, _)| known == spec) {
            return Ok(Arc::clone(samples));
        }
        let samples = Arc::new(read()?);
        sets.push((spec.clone(), Arc::clone(&samples)));
        Ok(samples)
    }
}

impl Files {
    /// All questions of a set of training data.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn training(&self, spec: &FilesSpec) -> Result<Arc<Vec<Sample>>> {
        self.training.get(spec, || {
            let layout =
                Layout::from_name(&spec.layout).context("checked when the recipe was read")?;
            training::open(layout, &spec.path, &spec.name)?.collect()
        })
    }

    /// The questions that a recipe asks of a published benchmark, each with its level.
    ///
    /// # Errors
    /// If a file cannot be read, or a question has no level.
    pub fn benchmark(&self, spec: &BenchmarkSpec) -> Result<Arc<Vec<Sample>>> {
        self.benchmarks.get(spec, || {
            let path = spec.path.display();
            let samples = datasets::open(&spec.name, &spec.path)?.collect::<Result<Vec<_>>>()?;
            let samples = datasets::of_split(samples, spec.split.as_deref())
                .with_context(|| format!("failed to choose questions of `{path}`"))?;
            let num_unleveled = samples.iter().filter(|s| s.details.level.is_none()).count();
            ensure!(
                num_unleveled == 0,
                hint!(
                    (
                        "{num_unleveled} of {} questions in `{path}` have no published level",
                        samples.len()
                    ),
                    ("`cargo xtask fetch {}-levels` gets the files that have them", spec.name)
                )
            );
            Ok(spread(samples, spec.num_questions.unwrap_or(usize::MAX)))
        })
    }
}

/// The training questions of one run.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// Questions on disk, which are the same for every seed.
    pub files: &'a Files,
    /// Seed of the questions that are drawn from the families.
    pub run_seed: u64,
}

impl Pool<'_> {
    /// The question at `index` of the pool that `spec` names.
    ///
    /// # Errors
    /// If a file cannot be read or has fewer questions.
    pub fn sample(&self, spec: &QuestionsSpec, index: u64) -> Result<Sample> {
        match spec {
            QuestionsSpec::Drawn { split, hops, .. } => {
                Ok(drawn(self.run_seed, index, *split, *hops))
            }
            QuestionsSpec::Files { files, .. } => {
                let samples = self.files.training(files)?;
                let sample = usize::try_from(index).ok().and_then(|index| samples.get(index));
                sample.cloned().explain(|| {
                    hint!(
                        (
                            "`{}` has {} questions, the recipe asks for {}",
                            files.path.display(),
                            samples.len(),
                            spec.about()
                        ),
                        "lower `num_questions`"
                    )
                })
            }
        }
    }

    /// The number of questions in the pool that `spec` names.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn num_questions(&self, spec: &QuestionsSpec) -> Result<usize> {
        match spec {
            QuestionsSpec::Drawn { num_questions, .. }
            | QuestionsSpec::Files { num_questions: Some(num_questions), .. } => Ok(*num_questions),
            QuestionsSpec::Files { num_questions: None, files } => {
                Ok(self.files.training(files)?.len())
            }
        }
    }
}

/// The question at `index` of those drawn for `run_seed`: families in turn, hops cycling within each.
pub fn drawn(run_seed: u64, index: u64, split: Split, hops: [usize; 2]) -> Sample {
    let family = FAMILIES[index as usize % FAMILIES.len()];
    let within = index / FAMILIES.len() as u64;
    Sample::procedural(family, run_seed, split, within, hops[0]..=hops[1])
}

/// A hash of the rows in `path`, a file or the files of a folder; part of every key that depends on them. Pictures that
/// the rows name by their paths are not read for it.
///
/// # Errors
/// If a file cannot be read.
pub fn hash(path: &Path) -> Result<Key> {
    let mut hasher = blake3::Hasher::new();
    let paths = if path.is_dir() {
        let mut paths = listed(path).explain(|| unreadable(path))?;
        paths.retain(|path| path.is_file());
        ensure!(
            !paths.is_empty(),
            hint!(("`{}` is empty", path.display()), "`cargo xtask fetch` gets the data")
        );
        paths
    } else {
        vec![path.to_owned()]
    };
    for path in paths {
        hash_file(&mut hasher, &path).explain(|| unreadable(&path))?;
    }
    Ok(Key::of(&serde_json::json!(hasher.finalize().to_hex().as_str())))
}

/// Hash of the picture files that `samples` name: rows hold only their paths.
///
/// # Errors
/// If one cannot be read.
pub fn hash_pictures(samples: &[Sample]) -> Result<Key> {
    // Several questions may be asked about one picture.
    let mut paths = BTreeSet::new();
    for image in samples.iter().flat_map(|sample| &sample.images) {
        if let ImageSource::File(path) = image {
            paths.insert(path);
        }
    }
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        hash_file(&mut hasher, path).explain(|| unreadable(path))?;
    }
    Ok(Key::of(&serde_json::json!(hasher.finalize().to_hex().as_str())))
}

fn unreadable(path: &Path) -> Hinted {
    hint!(
        ("failed to read the questions `{}`", path.display()),
        "paths start at the project's root; `cargo xtask fetch` gets what others have published"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path, rows: usize) -> QuestionsSpec {
        let row = |i: usize| {
            format!("{{\"problem\": \"What is {i}?\", \"answer\": \"{i}\", \"images\": []}}\n")
        };
        let path = dir.join("rows.jsonl");
        std::fs::write(&path, (0..rows).map(row).collect::<String>()).unwrap();
        let files = FilesSpec {
            layout: "easyr1".into(),
            path,
            name: "mine".into(),
            answer_tokens: 20.0,
            about_questions: rows,
        };
        QuestionsSpec::Files { num_questions: None, files }
    }

    #[test]
    fn questions_of_files_are_asked_by_their_row_whatever_the_seed() {
        let dir = tempfile::tempdir().unwrap();
        let spec = files(dir.path(), 3);
        let files = Files::default();
        let pool = |run_seed| Pool { files: &files, run_seed };
        let second = pool(1).sample(&spec, 1).unwrap();
        assert_eq!((second.question.as_str(), second.answer.as_str()), ("What is 1?", "1"));
        assert_eq!(pool(2).sample(&spec, 1).unwrap(), second);
        assert_eq!(pool(1).num_questions(&spec).unwrap(), 3);
        let error = synergy_hint::text(&pool(1).sample(&spec, 3).unwrap_err());
        assert!(error.contains("has 3 questions, the recipe asks for 3\nhint: "), "{error}");
    }

    #[test]
    fn files_are_read_once_and_one_that_has_failed_again() {
        let dir = tempfile::tempdir().unwrap();
        let spec = files(dir.path(), 3).files().unwrap().clone();
        let files = Files::default();
        let kept = std::fs::read(&spec.path).unwrap();
        std::fs::remove_file(&spec.path).unwrap();
        files.training(&spec).unwrap_err();
        std::fs::write(&spec.path, kept).unwrap();
        let first = files.training(&spec).unwrap();
        std::fs::remove_file(&spec.path).unwrap();
        assert!(Arc::ptr_eq(&first, &files.training(&spec).unwrap()));
        // Under another name its questions have other ids.
        files.training(&FilesSpec { name: "other".into(), ..spec }).unwrap_err();
    }

    #[test]
    fn a_hash_is_of_rows_and_of_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let of = |rows| hash(&files(dir.path(), rows).files().unwrap().path).unwrap();
        let (three, four) = (of(3), of(4));
        assert_ne!(three, four);
        assert_eq!(of(3), three);
        let picture = |bytes: &[u8]| {
            let path = dir.path().join("picture.png");
            std::fs::write(&path, bytes).unwrap();
            let mut sample = drawn(1, 0, Split::Train, [1, 1]);
            sample.images = vec![ImageSource::File(path)];
            hash_pictures(&[sample.clone(), sample]).unwrap()
        };
        assert_ne!(picture(b"a"), picture(b"b"));
        assert_eq!(picture(b"a"), picture(b"a"));
        let gone = dir.path().join("none.jsonl");
        assert!(synergy_hint::text(&hash(&gone).unwrap_err()).contains("\nhint: "));
    }
}
