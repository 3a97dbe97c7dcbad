//! Models, and all that a profile needs, from the server on loopback.
//!
//! The lock is the repository's own, so the ids, the kinds and the patterns are those that a person gets. What is in
//! the repositories is made up.

use super::*;
use crate::fetch::lock::tests::unlocked;
use crate::fetch::model::tests::weights;

const MODEL: &str = "qwen2.5-vl-3b";
const MODEL_ID: &str = "Qwen/Qwen2.5-VL-3B-Instruct";
const NAMES: [&str; 9] = [
    MODEL,
    "eureka-distill",
    "mmk12",
    "s1k",
    "mathvision-levels",
    "mathverse-levels",
    "mathvista-levels",
    "mmmu-levels",
    "mmstar-levels",
];
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

/// A model: settings, an index, two shards, and what must not come.
fn checkpoint() -> BTreeMap<String, Vec<u8>> {
    let tensors = |shard: usize| (0..40).map(move |at| format!("model.layers.{at}.weight.{shard}"));
    let entries = |shard: usize, file: &'static str| {
        tensors(shard).map(move |name| format!("\"{name}\":\"{file}\""))
    };
    let map: Vec<_> = entries(1, FIRST).chain(entries(2, SECOND)).collect();
    let index =
        format!("{{\"metadata\":{{\"total_size\":640}},\"weight_map\":{{{}}}}}", map.join(","));
    let shard = |number| {
        let names: Vec<_> = tensors(number).collect();
        weights(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut files = BTreeMap::from([
        (model::INDEX.to_owned(), index.into_bytes()),
        (FIRST.to_owned(), shard(1)),
        (SECOND.to_owned(), shard(2)),
    ]);
    for name in [
        CARD,
        "LICENSE",
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.json",
        // Nobody asks for these.
        "pytorch_model.bin",
        "model-00001-of-00002.safetensors.pt",
        "consolidated.00.pth",
        "modeling_qwen.py",
        ".gitattributes",
    ] {
        files.insert(name.to_owned(), format!("{{\"of\":\"{name}\"}}").into_bytes());
    }
    files
}

/// Reads the files below `folder`, by their paths from there.
fn read_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |file: String| (file.clone(), fs::read(folder.join(file)).unwrap());
    below(folder).unwrap().into_iter().map(read).collect()
}

impl Place {
    /// A server that has all of full-3b.
    fn with_profile(name: &str) -> Place {
        let place = Place::new(name);
        fs::write(place.dir.0.join("datasets.lock"), unlocked()).unwrap();
        let lock = unlocked();
        let mut state = place.server.state();
        for name in NAMES {
            let repository = Repository::read(&lock, name).unwrap();
            if repository.is_model() {
                state.others.insert(repository.hub, checkpoint());
                continue;
            }
            let file = |name: &str, length: usize| {
                (name.to_owned(), (0..length).map(|at| (at % 249) as u8).collect::<Vec<_>>())
            };
            let mut files = BTreeMap::from([(CARD.to_owned(), b"license: x".to_vec())]);
            files.extend(match name {
                "eureka-distill" => vec![
                    file("train.json", 5_000),
                    file("images/1.png", 300),
                    file("images/2.PNG", 10),
                    file(".cache/x.json", 10),
                    file("model.pkl", 300),
                    file("load.py", 300),
                ],
                "mmk12" => vec![
                    file("data/train-00000-of-00001.parquet", 7_000),
                    file("data/test-00000-of-00001.parquet", 300),
                ],
                "s1k" => vec![file("data/train-00000-of-00001.parquet", 600)],
                _ => vec![file("data/test-00000-of-00001.parquet", 2_000)],
            });
            state.others.insert(format!("datasets/{}", repository.hub), files);
        }
        drop(state);
        place
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.0.join("datasets.lock")
    }

    fn fetch_model(&self) -> anyhow::Result<()> {
        self.fetch_with(&self.hub(None, 1), MODEL)
    }

    fn fetch_all(&self) -> anyhow::Result<()> {
        items::fetch(&self.hub(None, 1), &self.lock_path(), &self.data(), "full-3b", &NAMES)
    }

    fn are_whole(&self, names: &[&str]) -> bool {
        items::are_whole(&self.lock_path(), &self.data(), "full-3b", names).unwrap()
    }

    fn model(&self) -> PathBuf {
        self.data().join(model::FOLDER).join(MODEL)
    }

    /// Changes a file of the model on the hub.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
        change(self.server.state().others.get_mut(MODEL_ID).unwrap());
    }

    /// The error of a fetch of the model, which must leave no model and no lock.
    #[track_caller]
    fn model_refused(&self) -> String {
        let lock = self.lock();
        let error = self.fetch_model().unwrap_err();
        assert!(synergy_hint::hint_of(&error).is_some(), "{error:#}");
        let error = synergy_hint::text(&error);
        assert_eq!(self.lock(), lock);
        assert!(
            !self.model().exists()
                && !self.model().with_file_name(format!("{MODEL}.partial")).exists()
        );
        error
    }
}

#[test]
fn a_model_comes_whole_and_is_locked_and_no_pickle_comes() {
    let place = Place::with_profile("model");
    place.fetch_model().unwrap();
    let want = [
        "LICENSE",
        CARD,
        "chat_template.json",
        "config.json",
        "generation_config.json",
        FIRST,
        SECOND,
        model::INDEX,
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&place.model()), want);
    for request in place.server.requests() {
        let is_ours = request.starts_with("/api/models/") || !request.contains("/api/");
        assert!(is_ours && !is_unsafe(request.split(' ').next().unwrap()), "{request}");
    }
    let lock = place.lock();
    assert!(lock.contains(&format!("\n[\"{MODEL}\".sha256]\n")), "{lock}");
    let pinned = Repository::read(&lock, MODEL).unwrap().pinned.unwrap();
    assert_eq!(pinned.revision, REVISION);
    assert_eq!(pinned.sha256.keys().map(String::as_str).collect::<Vec<_>>(), want);

    place.fetch_model().unwrap();
    assert!(place.are_whole(&[MODEL]));
    assert_eq!(place.server.requests(), [""; 0]);
    assert_eq!(place.lock(), lock);
}

#[test]
fn a_model_that_was_changed_is_seen() {
    let place = Place::with_profile("changed-model");
    place.fetch_model().unwrap();
    let changes: [&dyn Fn(); 4] = [
        &|| fs::remove_file(place.model().join(SECOND)).unwrap(),
        &|| fs::write(place.model().join("pytorch_model.bin"), "x").unwrap(),
        &|| fs::write(place.model().join("model-00003-of-00002.safetensors"), "x").unwrap(),
        // Cut off, and a new file: the old one has a second name in the cache.
        &|| {
            let path = place.model().join(FIRST);
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        },
    ];
    for change in changes {
        change();
        assert!(!place.are_whole(&[MODEL]));
        place.fetch_model().unwrap();
        assert!(place.are_whole(&[MODEL]));
    }
}

#[test]
fn a_shard_that_is_cut_off_on_the_hub_is_refused() {
    let place = Place::with_profile("cut");
    place.change(|files| assert!(files.get_mut(SECOND).unwrap().pop().is_some()));
    let error = place.model_refused();
    assert!(error.starts_with(&format!("`{SECOND}` is cut off: ")), "{error}");
    // Once it is whole there, it comes.
    place.change(|files| files.clone_from(&checkpoint()));
    place.fetch_model().unwrap();
    assert!(place.are_whole(&[MODEL]));
}

#[test]
fn a_shard_that_only_the_index_knows_is_told_before_the_others_come() {
    let place = Place::with_profile("lost");
    place.change(|files| drop(files.remove(SECOND)));
    let error = place.model_refused();
    assert!(
        error.contains(&format!("names `{SECOND}`, which `{MODEL_ID}` does not have")),
        "{error}"
    );
    let requests = place.server.requests();
    let came = |name: &str| {
        requests.iter().any(|r| r.contains(&format!("{name} bytes=0-")) && !r.ends_with("0-0"))
    };
    assert!(came(model::INDEX) && !came(FIRST), "{requests:?}");
}

#[test]
fn a_repository_without_a_whole_checkpoint_is_refused() {
    let place = Place::with_profile("pickle-only");
    place.change(|files| files.retain(|name, _| !name.ends_with(".safetensors")));
    let error = place.model_refused();
    assert!(
        error.contains("no safetensors file") && error.contains("pickles are never fetched"),
        "{error}"
    );
    place.change(|files| files.clone_from(&checkpoint()));
    place.change(|files| drop(files.remove("tokenizer.json")));
    assert!(
        place.model_refused().contains("not a whole checkpoint: `tokenizer.json` is not there")
    );
    // A tensor that the index has and its file has not.
    place.change(|files| files.clone_from(&checkpoint()));
    place.change(|files| drop(files.insert(SECOND.to_owned(), weights(&["other"]))));
    assert!(place.model_refused().contains("has no tensor `model.layers.0.weight.2`"));
}

#[test]
fn a_pickle_is_not_taken_whatever_the_lock_says() {
    let lock = unlocked().replace("config.json gen", "*.bin *.pt * config.json gen");
    let repository = Repository::read(&lock, MODEL).unwrap();
    for name in ["pytorch_model.bin", "a/x.PT", "x.pth", "x.pkl", "x.ckpt", "x.npy", "setup.py"] {
        assert!(!repository.wants(name), "{name}");
    }
    assert!(repository.wants("config.json") && repository.wants("anything.txt"));
    let pinned = format!(
        "revision = \"{REVISION}\"\n\n[\"{MODEL}\".sha256]\n\"x.bin\" = \"{}\"\n",
        "0".repeat(64)
    );
    let lock = format!(
        "[\"{MODEL}\"]\nkind = \"model\"\nhub = \"a/b\"\nfiles = \"*\"\nlicense = \"x\"\n{pinned}"
    );
    let error = Repository::read(&lock, MODEL).unwrap_err().to_string();
    assert!(error.contains("`x.bin` in the lock is of a kind that is refused"), "{error}");
    let unknown = lock.replace("\"model\"", "\"pickle\"");
    assert!(
        Repository::read(&unknown, MODEL)
            .unwrap_err()
            .to_string()
            .contains("unknown variant `pickle`")
    );
}

#[test]
fn all_of_a_profile_comes_though_it_breaks_and_then_the_hub_is_not_asked() {
    let place = Place::with_profile("profile");
    assert!(!place.are_whole(&NAMES));
    // The largest file of the model breaks off; the rest comes.
    place.server.state().breaks = vec![700];
    let error = synergy_hint::text(&place.fetch_all().unwrap_err());
    assert!(error.starts_with("1 of 9 of full-3b did not come (qwen2.5-vl-3b); "), "{error}");
    assert!(error.contains("it resumes where it broke"), "{error}");
    assert!(!place.model().exists() && !place.are_whole(&NAMES) && place.are_whole(&NAMES[1..]));
    place.server.requests();

    place.fetch_all().unwrap();
    let requests = place.server.requests();
    assert!(requests.iter().any(|request| request.ends_with(" bytes=700-")), "{requests:?}");
    // What was there is not asked for again.
    assert!(requests.iter().all(|request| request.contains(MODEL_ID)), "{requests:?}");
    assert!(place.are_whole(&NAMES));
    let eureka = place.data().join("eureka-distill");
    assert_eq!(names(&eureka), [CARD, "images", "train.json"]);
    assert_eq!(names(&eureka.join("images")), ["1.png", "2.PNG"]);
    assert_eq!(names(&place.data().join("mmk12")), [CARD, "train-00000-of-00001.parquet"]);

    let lock = place.lock();
    for name in NAMES {
        assert!(Repository::read(&lock, name).unwrap().pinned.is_some(), "{name}");
    }
    place.fetch_all().unwrap();
    assert!(place.are_whole(&NAMES));
    assert_eq!(place.server.requests(), [""; 0]);
    assert_eq!(place.lock(), lock);

    // From the lock and an empty disk again, at the locked revision.
    for folder in ["data", "cache"] {
        fs::remove_dir_all(place.dir.0.join(folder)).unwrap();
    }
    place.server.state().newest = "f".repeat(40);
    place.fetch_all().unwrap();
    assert!(place.are_whole(&NAMES));
    assert!(!place.server.requests().iter().any(|request| request.contains("/api/")));
}

#[test]
fn all_of_a_profile_comes_from_the_stand_in_and_no_pickle() {
    let place = Place::new("stand-in");
    fs::write(place.lock_path(), unlocked()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let stand_in = root.join("golden/parity/stand-in");
    for name in NAMES {
        let repository = Repository::read(&unlocked(), name).unwrap();
        let (kind, id) = if repository.is_model() {
            ("models", repository.hub.clone())
        } else {
            ("datasets", format!("datasets/{}", repository.hub))
        };
        let files = read_below(&stand_in.join(kind).join(&repository.hub));
        place.server.state().others.insert(id, files);
    }
    place.fetch_all().unwrap();
    assert!(place.are_whole(&NAMES));
    assert_eq!(names(&place.data().join("s1k")), [CARD, "train-00000-of-00001.parquet"]);
    for (there, came) in [
        (format!("models/{MODEL_ID}/pytorch_model.bin"), place.model()),
        (
            "datasets/JierunChen/Eureka-Distill/optimizer.pt".to_owned(),
            place.data().join("eureka-distill"),
        ),
    ] {
        let path = stand_in.join(there);
        assert!(path.is_file() && !came.join(path.file_name().unwrap()).exists());
    }
}

#[test]
fn what_is_refused_is_told_with_its_page_and_the_rest_comes() {
    for (status, says) in [
        (
            "401 Unauthorized",
            "HF_TOKEN to a token of an account that has accepted the license on the page of",
        ),
        ("403 Forbidden", "accept the owners' terms on the page of"),
    ] {
        let place = Place::with_profile("gated");
        place.server.state().refused.insert(MODEL_ID.to_owned(), status);
        let error = synergy_hint::text(&place.fetch_all().unwrap_err());
        assert!(error.contains(&format!("{says} `{MODEL_ID}`")), "{error}");
        assert!(error.contains("HF_TOKEN") && !error.contains("http"), "{error}");
        assert!(place.are_whole(&NAMES[1..]) && !place.model().exists());
    }
}

#[test]
fn a_profile_that_does_not_fit_is_refused_before_anything_comes() {
    let place = Place::with_profile("room");
    let size = 1 << 60;
    place.server.state().wrong_sizes.insert(format!("{MODEL_ID}/{SECOND}"), size);
    let error = synergy_hint::text(&place.fetch_all().unwrap_err());
    assert!(error.contains(" are needed\nhint: make room"), "{error}");
    assert_eq!(names(&place.data()), [""; 0]);
    assert_eq!(place.lock(), unlocked());
    let asked = place.server.requests();
    let is_question =
        |request: &String| request.ends_with("bytes=0-0") || request.contains("/api/");
    assert!(asked.iter().all(is_question), "{asked:?}");
}

#[test]
fn a_table_tells_all_before_anything_comes() {
    let place = Place::with_profile("table");
    let hub = place.hub(None, 1);
    place.fetch_with(&hub, "mmk12").unwrap();
    place.server.state().refused.insert(MODEL_ID.to_owned(), "401 Unauthorized");
    let entries = items::look(&hub, &place.lock_path(), &place.data(), &NAMES[..3]).unwrap();
    let table = items::table(&entries);
    let lines: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split("  ").filter(|c| !c.is_empty()).map(str::trim).collect())
        .collect();
    assert_eq!(lines[0], ["name", "hub", "revision", "files", "size", "there", "license"]);
    assert_eq!(lines[1][..6], [MODEL, MODEL_ID, "not locked yet", "-", "-", "not available"]);
    assert!(lines[1][6].starts_with("Qwen RESEARCH LICENSE"), "{table}");
    let there = ["JierunChen/Eureka-Distill", "not locked yet", "4", "5.3 kB", "nothing"];
    assert_eq!(lines[2][..6], [&["eureka-distill"], &there[..]].concat());
    assert_eq!(lines[3][..6], ["mmk12", "FanqingM/MMK12", &REVISION[..12], "2", "7.0 kB", "whole"]);
    assert_eq!(lines[4], ["total", "6", "12.3 kB", "7.0 kB"]);
}
