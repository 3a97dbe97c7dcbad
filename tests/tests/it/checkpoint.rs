//! Checkpoints as a person meets them: good ones that are asked, bad ones that are refused.
//!
//! Does not know numbers: those are compared in `parity`.

use std::fs;

use serde_json::{Value, json};
use synergy_tests::{Finished, Project};

use crate::{assert_refused, project, succeed};

const WRITTEN: &str = "golden/parity/fixtures/written";
const SHARD: &str = "model/model-00002-of-00003.safetensors";

/// A project with a checkpoint in `model` and a picture.
fn with_model() -> Project {
    let project = project();
    project.copy(WRITTEN, "model");
    project.copy("golden/parity/fixtures/processor", "pictures");
    project
}

fn inspect(project: &Project, more: &[&str]) -> Finished {
    project.run(&[&["inspect", "--model", "model", "--prompt", "What?"], more].concat())
}

#[test]
fn the_receipt_reads_well() {
    let project = with_model();
    let words = ["inspect", "--model", "model", "--image", "pictures/wide.png"];
    let said = succeed(&project, &[&words[..], &["--prompt", "What is red?"]].concat());
    // No floats in a snapshot: they are another processor's at the last digit.
    let (receipt, next) = said.stdout.split_once("next\n").expect("next tokens come last");
    assert_eq!(next.lines().count(), 5);
    insta::assert_snapshot!("receipt", receipt);
}

#[test]
fn json_has_the_documented_keys() {
    let words = ["inspect", "--model", "model", "--prompt", "What?", "--top", "3", "--json"];
    let said = succeed(&with_model(), &words);
    let receipt: Value = serde_json::from_str(&said.stdout).unwrap();
    let keys: Vec<&String> = receipt.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["images", "prompt", "input_ids", "rope_index", "top"]);
    assert_eq!(receipt["top"].as_array().unwrap().len(), 3);
    let keys: Vec<&String> = receipt["top"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "token", "log_prob"]);
    assert_eq!(receipt["rope_index"].as_array().unwrap().len(), 3);
}

#[test]
fn a_conversation_comes_from_standard_input_and_a_seed_repeats_it() {
    let project = with_model();
    let ask = |seed: &str| {
        let arguments =
            ["chat", "--model", "model", "--temperature", "1", "--max-new-tokens", "12"];
        let finished = project.run_with_input(
            &[&arguments[..], &["--seed", seed]].concat(),
            "What is a1?\n\nAnd b2?\n",
        );
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.stdout
    };
    let first = ask("1");
    assert_eq!(first, ask("1"));
    assert_ne!(first, ask("2"));
    assert!(first.lines().count() >= 2, "{first}");
}

#[test]
fn damaged_weights_are_refused() {
    let project = with_model();
    let whole = fs::read(project.path(SHARD)).unwrap();
    let (half, last) = (whole.len() / 2, whole.len() - 2);
    let refused = |bytes: Vec<u8>| {
        project.write(SHARD, bytes);
        inspect(&project, &[])
    };
    assert_refused!(refused(whole[..half].to_vec()), @r"
    error: unusable `model/model-00002-of-00003.safetensors`: not a whole safetensors file: incomplete metadata, file not fully covered
    hint: fetch or train the checkpoint again
    ");
    // A bit of the header's length.
    assert_refused!(refused([&whole[..6], &[whole[6] ^ 4], &whole[7..]].concat()), @r"
    error: unusable `model/model-00002-of-00003.safetensors`: not a whole safetensors file: header too large
    hint: fetch or train the checkpoint again
    ");
    // Infinity.
    assert_refused!(refused([&whole[..last], &[0x80, 0x7f]].concat()), @r"
    error: unusable weights in `model`: in `visual.merger.mlp.0.bias` of `model/model-00002-of-00003.safetensors`: numbers that are not finite
    hint: the file is damaged; fetch or train it again
    ");
    fs::remove_file(project.path(SHARD)).unwrap();
    assert_refused!(inspect(&project, &[]), @r"
    error: index `model/model.safetensors.index.json` names shard `model-00002-of-00003.safetensors`, which is not there
    hint: fetch the checkpoint again, all of its files
    ");
}

#[test]
fn a_config_or_template_that_does_not_fit_is_refused_by_name() {
    let project = with_model();
    let config = project.read("model/config.json");
    let with = |field: &str, value: Value| {
        let mut fields: Value = serde_json::from_str(&config).unwrap();
        fields[field] = value;
        project.write("model/config.json", fields.to_string());
        inspect(&project, &[])
    };
    let said = crate::refusal(&with("num_hidden_layers", json!(2)));
    assert!(said.contains("unused `model.layers.2.input_layernorm.weight`, unused `"), "{said}");
    assert_refused!(with("model_type", json!("llava")), @r"
    error: unusable model config `model/config.json`: model type is `llava`
    hint: this suite runs `qwen2_5_vl`
    ");
    assert_refused!(with("rope_scaling", json!({"type": "yarn", "mrope_section": [2, 3, 3]})), @r"
    error: unusable model config `model/config.json`: `rope_scaling.type` `yarn` is not implemented
    hint: `mrope` or `default` is
    ");
    assert_refused!(with("attention_sink", json!(4)), @r"
    error: unusable model config `model/config.json`: unknown field `attention_sink`: what it would change is not implemented
    hint: remove what changes nothing; a quantized or modified model does not run here
    ");
    project.write("model/config.json", &config);
    project.write("model/chat_template.jinja", "{% for message in messages %}{{ message.role }");
    assert_refused!(inspect(&project, &[]), @r"
    error: chat template in `model/chat_template.jinja` does not parse: syntax error: unexpected `}`, expected end of variable block (in chat:1)
    hint: take the template from the published checkpoint
    ");
}

#[test]
fn an_invalid_or_damaged_picture_is_refused() {
    let project = with_model();
    project.write("pictures/no.png", "GIF89a and so on");
    assert_refused!(inspect(&project, &["--image", "pictures/no.png"]), @r"
    error: failed to read picture `pictures/no.png`: Gif pictures are not supported
    hint: convert it to PNG
    ");
    project.write("pictures/text.png", "once upon a time");
    assert_refused!(inspect(&project, &["--image", "pictures/text.png"]), @r"
    error: failed to read picture `pictures/text.png`: the content is not a picture
    hint: pictures are PNG or JPEG files
    ");
    assert_refused!(inspect(&project, &["--image", "pictures/none.png"]), @r"
    error: failed to read picture `pictures/none.png`: No such file or directory
    hint: check the path and its permissions
    ");
    assert_refused!(inspect(&project, &["--image", "pictures/rgb.png", "--image", "pictures"]), @r"
    error: failed to read picture `pictures`: Is a directory
    hint: check the path and its permissions
    ");
    let bytes = fs::read(project.path("pictures/wide.png")).unwrap();
    project.write("pictures/wide.png", &bytes[..bytes.len() / 2]);
    assert_refused!(inspect(&project, &["--image", "pictures/wide.png"]), @r"
    error: failed to read picture `pictures/wide.png`: unexpected end of file
    hint: copy or export it again
    ");
}

#[test]
fn more_places_than_pictures_are_refused() {
    let project = with_model();
    let ask =
        |arguments: &[&str]| project.run(&[&["inspect", "--model", "model"], arguments].concat());
    assert_refused!(ask(&["--prompt", "<image> and <image>", "--image", "pictures/rgb.png"]), @r"
    error: question has 2 `<image>`, pictures given: 1
    hint: give one picture for each mark, or leave the marks out
    ");
    assert_refused!(ask(&["--prompt", "<|vision_start|><|image_pad|><|vision_end|>", "--raw"]), @r"
    error: prompt has 1 `<|image_pad|>`, pictures given: 0
    hint: give one picture for each `<|image_pad|>`, or take it out of the text
    ");
    assert_refused!(ask(&["--prompt", "what?", "--raw", "--image", "pictures/rgb.png"]), @r"
    error: prompt has 0 `<|image_pad|>`, pictures given: 1
    hint: put `<|vision_start|><|image_pad|><|vision_end|>` where the picture belongs
    ");
    let chat = ["chat", "--model", "model", "<image> and <image>?"];
    assert_refused!(project.run(&chat), @r"
    error: question has 2 `<image>`, pictures given: 0
    hint: give one picture for each mark, or leave the marks out
    ");
}

#[test]
fn a_folder_that_is_no_checkpoint_is_refused() {
    let project = project();
    assert_refused!(inspect(&project, &[]), @r"
    error: failed to read model config `model/config.json`: No such file or directory
    hint: name the folder of a checkpoint
    ");
    fs::create_dir(project.path("model")).unwrap();
    assert_refused!(inspect(&project, &[]), @r"
    error: failed to read model config `model/config.json`: No such file or directory
    hint: name the folder of a checkpoint
    ");
}

#[test]
fn an_export_is_never_written_over_and_leaves_nothing_when_it_fails() {
    let project = with_model();
    assert_refused!(project.run(&["export", "--model", "model", "--out", "model"]), @r"
    error: `model` is there already
    hint: choose a new folder
    ");
    fs::remove_file(project.path("model/tokenizer.json")).unwrap();
    assert_refused!(project.run(&["export", "--model", "model", "--out", "out"]), @r"
    error: failed to read `model/tokenizer.json`: No such file or directory
    hint: copy all tokenizer files of the checkpoint
    ");
    assert!(!project.path("out").exists());
    assert_refused!(project.run(&["export", "--profile", "tiny", "--regime", "sft", "--out", "out"]), @r"
    error: regime `sft` has not been trained with these sources
    hint: cargo xtask reproduce --profile tiny
    ");
    assert_refused!(project.run(&["export", "--profile", "tiny", "--regime", "fst", "--out", "out"]), @r"
    error: unknown regime `fst`
    hint: regimes are base, sft, rl, two_stage, progressive, data_mixing, merged
    ");
}

#[test]
fn a_trained_regime_can_be_exported_and_asked() {
    let project = project();
    succeed(&project, &["reproduce", "--profile", "tiny"]);
    succeed(&project, &["export", "--profile", "tiny", "--regime", "sft", "--out", "sft"]);
    succeed(&project, &["export", "--profile", "tiny", "--regime", "base", "--out", "base"]);
    let weights = |dir: &str| fs::read(project.path(dir).join("model.safetensors")).unwrap();
    assert!(weights("sft") != weights("base"));
    succeed(&project, &["chat", "--model", "sft", "--max-new-tokens", "3", "What?"]);
}
