//! Merging as a person meets it: two folders become a third, or nothing is left and a line says why.
//!
//! Does not know formulas: those are tested beside them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use synergy_tests::{Finished, Project, Stop};

use crate::{assert_refused, project, refusal, succeed};

const WRITTEN: &str = "golden/parity/fixtures/written";
const SHARD: &str = "model-00002-of-00003.safetensors";

/// A project with the checkpoint `base`, and `a` and `b` that were trained from it.
fn family() -> Project {
    let project = project();
    for name in ["base", "a", "b"] {
        project.copy(WRITTEN, name);
    }
    train(&project, "a", 3, 0x05);
    train(&project, "b", 2, 0x0b);
    project
}

/// Changes every `every`th number of a model in its last digits.
fn train(project: &Project, model: &str, every: usize, bits: u8) {
    for (path, mut bytes) in project.files(model) {
        if path.ends_with(".safetensors") {
            let start = data_start(&bytes);
            // Two bytes a number, the last digits first.
            bytes[start..].iter_mut().step_by(2 * every).for_each(|byte| *byte ^= bits);
            project.write(&format!("{model}/{path}"), bytes);
        }
    }
}

/// Changes a word wherever it stands in the header of a file of weights.
fn edit_header(project: &Project, path: &str, from: &str, to: &str) {
    let bytes = fs::read(project.path(path)).expect("the file can be read");
    let end = data_start(&bytes);
    let header = std::str::from_utf8(&bytes[8..end]).expect("a header is text");
    assert!(header.contains(from), "{header}");
    let header = header.replace(from, to);
    let length = (header.len() as u64).to_le_bytes();
    project.write(path, [&length, header.as_bytes(), &bytes[end..]].concat());
}

/// Where the numbers begin in a file of weights.
fn data_start(bytes: &[u8]) -> usize {
    let length = bytes[..8].try_into().expect("eight bytes");
    8 + u64::from_le_bytes(length) as usize
}

fn merge(project: &Project, options: &str, more: &[&str]) -> Finished {
    let words: Vec<&str> = options.split_whitespace().collect();
    project.run(&[&["merge"], &words[..], more].concat())
}

/// A merge that cannot be done and leaves nothing.
#[track_caller]
fn refused(project: &Project, options: &str, more: &[&str]) -> Finished {
    let finished = merge(project, options, more);
    assert!(!project.path("out").exists() && !project.path("out.part").exists());
    finished
}

const LINEAR: &str = "--method linear --share 0.5";
const FOLDERS: [&str; 3] = ["a", "b", "out"];

#[test]
fn help_of_merge_names_every_option() {
    insta::assert_snapshot!("help_merge", succeed(&project(), &["merge", "--help"]).stdout);
}

#[test]
fn every_method_gives_a_model_that_can_be_asked() {
    let project = family();
    for (options, described) in [
        ("linear", "linear, share 0.5: 81 tensors, "),
        ("slerp", "slerp, share 0.5: 81 tensors, "),
        ("ties --base base", "ties, share 0.5, density 1, lambda 1, normalize true: 81"),
        (
            "dare_linear --base base --density 0.5",
            "dare_linear, share 0.5, density 0.5, lambda 1, rescale l1, seed 1: 81 tensors",
        ),
        (
            "dare_ties --base base --density 0.5 --rescale inv_density --seed 7 --lambda -0.5",
            "dare_ties, share 0.5, density 0.5, lambda -0.5, normalize false, rescale inv_density, \
             seed 7: 81",
        ),
    ] {
        let out = options.split(' ').next().unwrap();
        let run = |out: &str| {
            merge(&project, &format!("--share 0.5 --method {options}"), &["a", "b", out])
        };
        let finished = run(out);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        assert!(finished.stderr.starts_with(described), "{}", finished.stderr);
        let parents = ["a", "b", "base"].map(|model| project.files(model));
        let (first, files) = (&parents[0], project.files(out));
        let names = |files: &BTreeMap<String, Vec<u8>>| {
            files.keys().filter(|name| *name != "merge_report.json").cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&files), names(first));
        for (name, bytes) in files.iter().filter(|(name, _)| *name != "merge_report.json") {
            let is_weights = name.ends_with(".safetensors");
            assert_eq!(parents.iter().all(|p| p[name] != *bytes), is_weights, "{out}/{name}");
        }
        succeed(&project, &["chat", "--model", out, "--max-new-tokens", "3", "What?"]);
        // Again, it is the same to the byte.
        assert_eq!(run("again").code, 0);
        assert!(project.files("again") == files);
        fs::remove_dir_all(project.path("again")).unwrap();
    }
}

#[test]
fn a_share_of_all_is_the_parent_to_the_byte() {
    let project = family();
    for (share, parent) in [("1", "a"), ("0", "b")] {
        for method in ["linear", "slerp", "ties", "dare_linear", "dare_ties"] {
            let options = format!("--method {method} --share {share} --base base");
            let finished = merge(&project, &options, &["a", "b", "out"]);
            assert_eq!(finished.code, 0, "{}", finished.stderr);
            let (got, want) = (project.files("out"), project.files(parent));
            for (name, bytes) in want {
                assert!(got[&name] == bytes, "{method} {share}: {name}");
            }
            fs::remove_dir_all(project.path("out")).unwrap();
        }
    }
}

#[test]
fn the_report_is_a_table_a_file_and_json() {
    let project = family();
    let options = "--method ties --share 0.25 --base base --density 0.5 --dtype f32";
    let finished = merge(&project, options, &FOLDERS);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    // Floats are another processor's at the last digit.
    insta::with_settings!({ filters => [(r"\d+\.\d+", "[n]"), (r" +", " ")] }, {
        insta::assert_snapshot!(finished.stdout, @r"
         tensors numbers norm a norm b merged a to b a to base b to base cosine overlap conflicts
        embeddings 2 71424 [n] [n] [n] [n] [n] [n] [n] [n]% [n]%
        attention 28 49664 [n] [n] [n] [n] [n] [n] [n] [n]% [n]%
        mlp 12 122880 [n] [n] [n] [n] [n] [n] [n] [n]% [n]%
        norms 9 576 [n] [n] [n] [n] [n] [n] [n] [n]% [n]%
        vision 30 153040 [n] [n] [n] [n] [n] [n] [n] [n]% [n]%
        all 81 397584 [n] [n] [n] [n] [n] [n] [n] [n]% [n]%
        distances: a to b by the mean of their norms, to base by its norm
        cosine of both differences from base; overlap: numbers that both changed; conflicts: those of them with opposite signs
        out/merge_report.json
        ");
    });
    let report = project.json("out/merge_report.json");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&report),
        ["sources", "spec", "dtype", "differences", "num_copied", "all", "groups"]
    );
    assert_eq!(report["sources"], json!({"a": "a", "b": "b", "base": "base"}));
    assert_eq!(
        report["spec"],
        json!({
            "method": "ties", "share": 0.25, "density": 0.5, "normalize": true, "lambda": 1.0,
            "rescale": "none", "seed": 1
        })
    );
    assert_eq!(report["dtype"], "f32");
    assert_eq!(keys(&report["groups"]), ["embeddings", "attention", "mlp", "norms", "vision"]);
    for summary in report["groups"].as_object().unwrap().values().chain([&report["all"]]) {
        let from_base = &summary["from_base"];
        let figure = |value: &Value| value.as_f64().unwrap();
        // Every third and every second number was changed: every sixth by both.
        assert!((figure(&from_base["overlap"]) - 1.0 / 6.0).abs() < 0.02, "{summary}");
        for name in ["distance_a", "distance_b"] {
            assert!((1e-4..0.1).contains(&figure(&from_base[name])), "{summary}");
        }
        let parents = [figure(&summary["norm_a"]), figure(&summary["norm_b"])];
        assert!((figure(&summary["norm_merged"]) / parents[0] - 1.0).abs() < 0.1, "{summary}");
        assert!((parents[0] / parents[1] - 1.0).abs() < 0.1, "{summary}");
    }

    fs::remove_dir_all(project.path("out")).unwrap();
    let said = merge(&project, "--method linear --share 0.25 --json", &FOLDERS);
    let printed: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(printed, project.json("out/merge_report.json"));
    assert_eq!(printed["all"]["from_base"], Value::Null);
    assert_eq!(printed["dtype"], Value::Null);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let project = family();
    assert_refused!(refused(&project, "--method linear --share 1.5", &FOLDERS), @r"
    error: share 1.5 is outside its range
    hint: give a number from 0 to 1
    ");
    for share in ["-0.5", "nan"] {
        refusal(&refused(&project, &format!("--method linear --share {share}"), &FOLDERS));
    }
    let ties = "--method ties --base base --share 0.5";
    assert_refused!(refused(&project, &format!("{ties} --density 0"), &FOLDERS), @r"
    error: density 0 is outside its range
    hint: give a number above 0 and at most 1
    ");
    assert_refused!(refused(&project, &format!("{ties} --density 1.01"), &FOLDERS), @r"
    error: density 1.01 is outside its range
    hint: give a number above 0 and at most 1
    ");
    assert_refused!(refused(&project, &format!("{ties} --lambda inf"), &FOLDERS), @r"
    error: lambda inf is not finite
    hint: 1 leaves the merged difference as it is
    ");
    assert_refused!(refused(&project, &format!("{LINEAR} --density 0.5"), &FOLDERS), @r"
    error: --density has no effect with method linear
    hint: leave it out, or choose a method that uses it
    ");
    assert_refused!(refused(&project, &format!("{ties} --seed 3"), &FOLDERS), @r"
    error: --seed has no effect with method ties
    hint: leave it out, or choose a method that uses it
    ");
    let finished = refused(&project, "--method mean --share 0.5", &FOLDERS);
    assert!(finished.stderr.contains("expected one of `linear`, `slerp`, "), "{}", finished.stderr);
    assert_eq!(finished.code, 2);
}

#[test]
fn a_method_that_needs_a_base_and_has_none_is_refused() {
    let project = family();
    assert_refused!(refused(&project, "--method ties --share 0.5", &FOLDERS), @r"
    error: the method merges differences from a base, and no base is given
    hint: --base DIR, the model that both were trained from
    ");
    for method in ["dare_linear", "dare_ties"] {
        let said = refusal(&refused(&project, &format!("--method {method} --share 0.5"), &FOLDERS));
        assert!(said.contains("no base is given\nhint: --base DIR"), "{said}");
    }
}

#[test]
fn folders_that_are_none_are_refused() {
    let project = family();
    assert_refused!(refused(&project, LINEAR, &["c", "b", "out"]), @r"
    error: `c` is not a folder
    hint: name the folder of a checkpoint
    ");
    assert_refused!(refused(&project, LINEAR, &["a", "b/config.json", "out"]), @r"
    error: `b/config.json` is not a folder
    hint: name the folder of a checkpoint
    ");
    refusal(&refused(&project, LINEAR, &["a", "b", "out", "--base", "c"]));
    fs::create_dir(project.path("empty")).unwrap();
    assert_refused!(refused(&project, LINEAR, &["a", "empty", "out"]), @r"
    error: `empty` has no weights: no `model.safetensors`
    hint: name the folder of a checkpoint
    ");
    project.write("pickled/config.json", "{}");
    project.write("pickled/optimizer.pt", "\u{80}");
    project.write("pickled/pytorch_model.bin", "\u{80}");
    assert_refused!(refused(&project, LINEAR, &["pickled", "b", "out"]), @r"
    error: `pickled` has its weights in pickles (`pytorch_model.bin`), which can run code and are not read
    hint: fetch or save it as safetensors (`safe_serialization=True` in transformers)
    ");
    project.write("adapter/adapter_model.safetensors", "");
    assert_refused!(refused(&project, LINEAR, &["adapter", "b", "out"]), @r"
    error: `adapter` holds an adapter, not a model
    hint: `synergy export --model BASE --adapter adapter --out DIR` makes a model of it
    ");
    project.write("loose/consolidated.safetensors", "");
    assert_refused!(refused(&project, LINEAR, &["loose", "b", "out"]), @r"
    error: `loose` has `consolidated.safetensors`, but neither `model.safetensors` nor `model.safetensors.index.json`
    hint: fetch the checkpoint again, all of its files
    ");
}

#[test]
fn a_folder_that_is_there_is_never_written_over() {
    let project = family();
    assert_refused!(merge(&project, LINEAR, &["a", "b", "a"]), @r"
    error: `a` is there already
    hint: choose a new folder
    ");
    assert_refused!(merge(&project, LINEAR, &["a", "b", "a/config.json"]), @r"
    error: `a/config.json` is there already
    hint: choose a new folder
    ");
    // Whoever made it, it is not ours: it may even be what is merged.
    fs::rename(project.path("b"), project.path("out.part")).unwrap();
    let before = project.files("out.part");
    assert_refused!(merge(&project, LINEAR, &["a", "out.part", "out"]), @r"
    error: `out.part` exists: another program is writing `out`, or was killed while it did
    hint: remove it, or choose another folder
    ");
    assert!(project.files("out.part") == before);
}

#[test]
fn models_of_other_names_or_shapes_are_refused_by_name() {
    let project = family();
    let path = format!("b/{SHARD}");
    let name = "model.layers.1.self_attn.q_proj.weight";
    let header = |from: &str, to: &str| edit_header(&project, &path, from, to);
    header(name, "model.layers.1.self_attn.w_proj.weight");
    assert_refused!(refused(&project, LINEAR, &FOLDERS), @r"
    error: only `a` has `model.layers.1.self_attn.q_proj.weight`, only `b` has `model.layers.1.self_attn.w_proj.weight`
    hint: merge models of one architecture and size, trained from one base
    ");
    header("model.layers.1.self_attn.w_proj.weight", name);
    header("[64,160]", "[160,64]");
    assert_refused!(refused(&project, LINEAR, &FOLDERS), @r"
    error: `model.layers.2.mlp.down_proj.weight` has shape [64, 160] in `a` and [160, 64] in `b`, `model.layers.3.mlp.down_proj.weight` has shape [64, 160] in `a` and [160, 64] in `b`
    hint: merge models of one architecture and size, trained from one base
    ");
}

#[test]
fn a_head_that_only_one_has_is_refused_as_tied_embeddings() {
    let project = project();
    for name in ["a", "b"] {
        project.copy("golden/parity/fixtures/model-untied", name);
    }
    edit_header(&project, "b/model.safetensors", "lm_head.weight", "model.nobody.w");
    let said = refusal(&refused(&project, LINEAR, &FOLDERS));
    assert!(
        said.starts_with("error: only `a` has `lm_head.weight`, only `b` has `model.n"),
        "{said}"
    );
    let bytes = fs::read(project.path("a/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept = tensors.iter().filter(|(name, _)| *name != "lm_head.weight");
    project.write("b/model.safetensors", safetensors::serialize(kept, None).unwrap());
    assert_refused!(refused(&project, LINEAR, &FOLDERS), @r"
    error: `a` stores `lm_head.weight` and `b` does not: only the second ties its embeddings
    hint: save the first without its head if its config.json says `tie_word_embeddings` too (`synergy export` does); else the two cannot be merged
    ");
    for others in [&["b", "a", "out"][..], &["a", "a", "out", "--base", "b"]] {
        let said = refusal(&refused(&project, LINEAR, others));
        assert!(
            said.starts_with("error: `a` stores `lm_head.weight` and `b` does not: "),
            "{said}"
        );
    }
}

#[test]
fn damaged_files_are_refused_and_leave_nothing() {
    let project = family();
    let path = format!("b/{SHARD}");
    let whole = fs::read(project.path(&path)).unwrap();
    project.write(&path, &whole[..whole.len() / 2]);
    assert_refused!(refused(&project, LINEAR, &FOLDERS), @r"
    error: unusable `b/model-00002-of-00003.safetensors`: not a whole safetensors file: incomplete metadata, file not fully covered
    hint: fetch or train the checkpoint again
    ");
    fs::remove_file(project.path(&path)).unwrap();
    assert_refused!(refused(&project, LINEAR, &FOLDERS), @r"
    error: index `b/model.safetensors.index.json` names shard `model-00002-of-00003.safetensors`, which is not there
    hint: fetch the checkpoint again, all of its files
    ");
    // An infinite number is found only when it is read, and then much is written already.
    let last = whole.len() - 2;
    project.write(&path, [&whole[..last], &[0x80, 0x7f]].concat());
    assert_refused!(refused(&project, LINEAR, &FOLDERS), @r"
    error: in `visual.merger.mlp.0.bias` of `b/model-00002-of-00003.safetensors`: numbers that are not finite
    hint: the file is damaged; fetch or train it again
    ");

    project.write(&path, &whole);
    let index = "a/model.safetensors.index.json";
    let text = project.read(index);
    project.write(index, text.replace("lm_head.weight", "lm_head.height"));
    assert_refused!(refused(&project, LINEAR, &FOLDERS), @r"
    error: index `a/model.safetensors.index.json` names `lm_head.height` in shard `model-00001-of-00003.safetensors`, which does not hold it
    hint: fetch the checkpoint again, all of its files
    ");
    project.write(index, text.replace("\"metadata\": {", "\"metadata\": 3, \"more\": {"));
    let said = refusal(&refused(&project, LINEAR, &FOLDERS));
    assert!(said.contains("index `a/model.safetensors.index.json` lacks a map of weights, or its metadata is not a map"), "{said}");
    project.write(index, &text[..text.len() / 2]);
    let said = refusal(&refused(&project, LINEAR, &FOLDERS));
    assert!(said.contains("failed to parse index `a/model.safetensors.index.json`"), "{said}");
}

#[test]
fn a_full_disk_leaves_nothing() {
    let project = family();
    let finished = project.run_with_short_files(
        100,
        &["merge", "--method", "linear", "--share", "0.5", "a", "b", "x/out"],
    );
    assert_refused!(finished, @r"
    error: failed to write `x/out.part/model-00001-of-00003.safetensors`: File too large
    hint: is the folder writable and the disk not full?
    ");
    assert!(!project.path("x").exists());
}

#[test]
fn parents_whose_settings_differ_are_refused_or_told() {
    let project = family();
    let config = project.read("b/config.json");
    assert!(config.contains("\"rms_norm_eps\": 1e-6"), "{config}");
    project.write("b/config.json", config.replace("1e-6", "1e-5"));
    let finished = merge(&project, LINEAR, &FOLDERS);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let line = "config.json of `b` differs in `rms_norm_eps`; the merge has that of `a`";
    assert!(finished.stderr.contains(line), "{}", finished.stderr);
    assert_eq!(project.json("out/merge_report.json")["differences"], json!([line]));
    fs::remove_dir_all(project.path("out")).unwrap();

    project.write("b/config.json", config.replace("1000000.0", "10000.0"));
    assert_refused!(refused(&project, LINEAR, &FOLDERS), @r"
    error: `rope_theta` is 1000000.0 in `a` and 10000.0 in `b`
    hint: the same numbers mean something else in the other model; merge models that were trained from one base with its settings
    ");
    project.write("b/config.json", &config);
    let tokenizer = project.read("b/tokenizer.json");
    let swapped = tokenizer.replace("\"a\":", "\"?\":").replace("\"b\":", "\"a\":");
    project.write("b/tokenizer.json", swapped.replace("\"?\":", "\"b\":"));
    let said = refusal(&refused(&project, LINEAR, &FOLDERS));
    assert!(said.contains("`a` and `b` number their tokens differently: `a` is token "), "{said}");
}

#[test]
fn an_interrupted_merge_leaves_nothing() {
    let project = project();
    // Large enough to be met at work; zeros that no disk stores.
    let (num_tensors, num_bytes) = (200, 4 << 20);
    let mut header = serde_json::Map::new();
    for i in 0..num_tensors {
        let offsets = [i * num_bytes, (i + 1) * num_bytes];
        let tensor = json!({"dtype": "F32", "shape": [1024, 1024], "data_offsets": offsets});
        header.insert(format!("w{i}"), tensor);
    }
    let header = Value::Object(header).to_string();
    for model in ["a", "b"] {
        let path = format!("{model}/model.safetensors");
        let start = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        project.write(&path, &start);
        let file = fs::File::options().write(true).open(project.path(&path)).unwrap();
        file.set_len((start.len() + num_tensors * num_bytes) as u64).unwrap();
    }
    let arguments =
        ["merge", "--method", "dare_ties", "--base", "a", "--share", "0.5", "a", "b", "out"];
    let finished = project.run_until("200 tensors", Stop::Interrupt, &arguments);
    assert_eq!(finished.code, 130, "{}", finished.stderr);
    let said = "error: stopped before the merge was complete\nhint: nothing was written; ";
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
    assert!(!project.path("out").exists() && !project.path("out.part").exists());
}
