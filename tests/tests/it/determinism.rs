//! A run is a function of recipe, code, input files and backend: not of threads or where it starts.
//!
//! Does not compare across machines: invariant 1 promises the same bits on one.

use std::collections::BTreeMap;

use synergy_tests::{Project, TINY};

use crate::{kept_base, project, succeed};

/// Everything in the store that holds a result; times are in the other files.
fn results_in_store(project: &Project) -> BTreeMap<String, Vec<u8>> {
    let mut files = project.files("runs/store");
    files.retain(|path, _| !path.ends_with("summary.json") && !path.ends_with("manifest.json"));
    files
}

#[test]
fn one_thread_and_two_give_the_same_bytes() {
    // 16 samples of a question make two shards of its evaluation and of its rollouts.
    let edits = [
        ("level_num_samples = 2", "level_num_samples = 16"),
        ("num_generations = 2", "num_generations = 72"),
    ];
    let [one, two] = ["1", "2"].map(|threads| {
        let project = project();
        project.recipe(TINY, "tiny", &edits);
        succeed(&project, &["reproduce", "--profile", "tiny", "--threads", threads]);
        project
    });
    let (left, right) = (results_in_store(&one), results_in_store(&two));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    let count = |end: &str| left.keys().filter(|path| path.ends_with(end)).count();
    assert_eq!([count("model.safetensors"), count("completions.jsonl")], [6, 18]);
    for (path, bytes) in &left {
        assert!(*bytes == right[path], "`{path}` depends on the number of threads");
    }
    assert_eq!(one.questions_and_rows("tiny"), two.questions_and_rows("tiny"));
}

#[test]
fn a_base_from_scratch_is_the_kept_one_and_shares_what_was_made_from_it() {
    let project = project();
    kept_base(&project, "400");
    let base_hash = |arguments: &[&str]| {
        succeed(&project, arguments);
        project.json("runs/kept/results.json")["provenance"]["base_hash"].clone()
    };
    let kept = base_hash(&["reproduce", "--profile", "kept"]);
    let rows = project.questions_and_rows("kept");
    let scratch = base_hash(&["reproduce", "--profile", "kept", "--from-scratch"]);
    assert_eq!(kept, scratch);
    assert_eq!(rows, project.questions_and_rows("kept"));
}
