//! Questions to train on, by their place in a pool: drawn from the families, or read from files.
//!
//! Does not know what is trained. Every stage of a seed draws from one pool, as the study's SFT and RL share their
//! questions. Files are read once in a process, their pictures when a question is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use synergy_benchmarks::datasets::training::{self, Layout};
use synergy_benchmarks::families::Split;
use synergy_benchmarks::sample::{ImageSource, Sample};

use crate::key::{Key, hash_file, listed};
use crate::recipe::{FAMILIES, FilesSpec, QuestionsSpec, Source};

/// The `index`-th question of the pool that `spec` names, for a run of `run_seed`; files have the same for every seed.
///
/// # Errors
/// If a file cannot be read or has fewer questions.
pub fn sample(spec: &QuestionsSpec, run_seed: u64, index: u64) -> Result<Sample> {
    match spec.source() {
        Source::Families { split, hops } => Ok(drawn(run_seed, index, split, hops)),
        Source::Files(files) => {
            let samples = opened(files)?;
            let sample = usize::try_from(index).ok().and_then(|index| samples.get(index));
            sample.cloned().with_context(|| {
                format!(
                    "`{}` has {} questions, the recipe asks for {}\nhint: lower `num_questions`",
                    files.path.display(),
                    samples.len(),
                    spec.about()
                )
            })
        }
    }
}

/// How many questions the pool that `spec` names has.
///
/// # Errors
/// If a file cannot be read.
pub fn num_questions(spec: &QuestionsSpec) -> Result<usize> {
    match (&spec.files, spec.num_questions) {
        (_, Some(count)) => Ok(count),
        (Some(files), None) => Ok(opened(files)?.len()),
        (None, None) => unreachable!("checked when the recipe was read"),
    }
}

/// The `index`-th question that is drawn: families in turn, hops cycling within each.
pub fn drawn(run_seed: u64, index: u64, split: Split, hops: [usize; 2]) -> Sample {
    let family = FAMILIES[index as usize % FAMILIES.len()];
    let within = index / FAMILIES.len() as u64;
    Sample::procedural(family, run_seed, split, within, hops[0]..=hops[1])
}

/// All questions of `files`, read at the first call.
///
/// # Errors
/// If one cannot be read.
pub fn opened(files: &FilesSpec) -> Result<Arc<Vec<Sample>>> {
    type Opened = Mutex<BTreeMap<(String, PathBuf), Arc<Vec<Sample>>>>;
    static OPENED: Opened = Mutex::new(BTreeMap::new());
    let key = (files.layout.clone(), files.path.clone());
    let mut opened = OPENED.lock().expect("no thread panics with it");
    if let Some(samples) = opened.get(&key) {
        return Ok(Arc::clone(samples));
    }
    let layout = Layout::from_name(&files.layout).context("checked when the recipe was read")?;
    let samples = training::open(layout, &files.path, &files.name)?.collect::<Result<Vec<_>>>()?;
    let samples = Arc::new(samples);
    opened.insert(key, Arc::clone(&samples));
    Ok(samples)
}

/// Hash of the rows in `path`, a file or the files of a folder.
///
/// # Errors
/// If one cannot be read.
pub fn hash(path: &Path) -> Result<Key> {
    let mut hasher = blake3::Hasher::new();
    let paths = if path.is_dir() {
        let mut paths = listed(path).with_context(|| unreadable(path))?;
        paths.retain(|path| path.is_file());
        ensure!(
            !paths.is_empty(),
            "`{}` is empty\nhint: `cargo xtask fetch` gets the data",
            path.display()
        );
        paths
    } else {
        vec![path.to_owned()]
    };
    for path in paths {
        hash_file(&mut hasher, &path).with_context(|| unreadable(&path))?;
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
        hash_file(&mut hasher, path).with_context(|| unreadable(path))?;
    }
    Ok(Key::of(&serde_json::json!(hasher.finalize().to_hex().as_str())))
}

fn unreadable(path: &Path) -> String {
    format!(
        "failed to read the questions `{}`\n\
         hint: paths start at the project's root; `cargo xtask fetch` gets what others have published",
        path.display()
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
        QuestionsSpec { split: None, num_questions: None, hops: None, files: Some(files) }
    }

    #[test]
    fn questions_of_files_are_asked_by_their_row_whatever_the_seed() {
        let dir = tempfile::tempdir().unwrap();
        let spec = files(dir.path(), 3);
        let second = sample(&spec, 1, 1).unwrap();
        assert_eq!((second.question.as_str(), second.answer.as_str()), ("What is 1?", "1"));
        assert_eq!(sample(&spec, 2, 1).unwrap(), second);
        assert_eq!(num_questions(&spec).unwrap(), 3);
        let error = sample(&spec, 1, 3).unwrap_err().to_string();
        assert!(error.contains("has 3 questions, the recipe asks for 3\nhint: "), "{error}");
    }

    #[test]
    fn a_hash_is_of_rows_and_of_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let of = |rows| hash(&files(dir.path(), rows).files.unwrap().path).unwrap();
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
        assert!(hash(&gone).unwrap_err().to_string().contains("\nhint: "));
    }
}
