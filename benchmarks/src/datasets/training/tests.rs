//! Files of training data: as the trainers read them, bad rows, large ones, any conversation.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Layout, open};
use crate::datasets::tests::write_parquet;
use crate::sample::{ImageSource, Sample};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/parity/datasets/training")
}

/// A file `name` with `bytes` in a folder with the picture `a.png`.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    image::RgbImage::new(2, 3).save(folder.path().join("a.png")).unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(layout: Layout, path: &Path) -> Result<Vec<Sample>> {
    open(layout, path, "set")?.collect()
}

/// Returns what is wrong, with the file's folder left out.
fn wrong(layout: Layout, path: &Path) -> String {
    let message = synergy_hint::text(&read(layout, path).unwrap_err());
    // The general hint is not repeated in every expectation.
    let message = message.replace("\nhint: mend the row, or skip it with --skip-bad", "");
    message.replace(&format!("{}/", path.parent().unwrap().display()), "")
}

/// A conversation of ShareGPT.
fn said(question: &str, response: &str) -> Json {
    json!([{"from": "human", "value": question}, {"from": "gpt", "value": response}])
}

fn message(role: &str, content: impl Into<Json>) -> Json {
    json!({"role": role, "content": content.into()})
}

#[test]
fn files_in_the_trainers_layouts_are_read_as_the_reference_reads_them() {
    let expected = fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: Json = serde_json::from_str(&expected).unwrap();
    let cases = expected["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 14);
    for (path, case) in cases {
        let layout = Layout::from_name(case["layout"].as_str().unwrap()).unwrap();
        let samples = read(layout, &fixtures().join(path)).unwrap();
        let wanted = case["samples"].as_array().unwrap();
        assert_eq!(samples.len(), wanted.len(), "{path}");
        for (sample, wanted) in samples.iter().zip(wanted) {
            let pictures = wanted["images"].as_array().unwrap().iter();
            let images: Vec<Json> = sample
                .load_images()
                .unwrap()
                .iter()
                .zip(pictures.chain(std::iter::repeat(&Json::Null)))
                .map(|(image, wanted)| {
                    let pixels: String =
                        image.as_raw().iter().map(|b| format!("{b:02x}")).collect();
                    // Of a JPEG picture the decoders agree on the size only.
                    let pixels =
                        if wanted["pixels"].is_null() { Json::Null } else { pixels.into() };
                    json!({ "size": [image.width(), image.height()], "pixels": pixels })
                })
                .collect();
            let found = json!({
                "id": sample.id,
                "question": sample.question,
                "answer": sample.answer,
                "response": sample.response,
                "images": images,
            });
            assert_eq!(&found, wanted, "{path}");
            assert_eq!(sample.benchmark, "set");
            assert!(sample.choices.is_empty() && sample.solution.is_none());
        }
    }
}

#[test]
fn every_layout_has_a_name_that_finds_it() {
    for layout in Layout::ALL {
        assert_eq!(Layout::from_name(layout.name()), Some(layout));
    }
    assert_eq!(Layout::from_name("TRL"), None);
}

#[test]
fn columns_tell_a_layout_or_between_which_to_choose() {
    let of =
        |path: &str| Layout::of(&fixtures().join(path)).map_err(|error| synergy_hint::text(&error));
    assert_eq!(of("sharegpt.json"), Ok(Layout::ShareGpt));
    assert_eq!(of("trl-prompt.jsonl"), Ok(Layout::Trl));
    assert_eq!(of("trl-messages.jsonl"), Ok(Layout::Trl));
    assert_eq!(of("trl-grpo"), Ok(Layout::Trl));
    assert_eq!(of("easyr1.parquet"), Ok(Layout::EasyR1));
    assert_eq!(of("easyr1.json"), Ok(Layout::EasyR1));
    assert_eq!(of("verl.parquet"), Ok(Layout::Verl));
    assert_eq!(of("mm-eureka.jsonl"), Ok(Layout::MmEureka));
    assert_eq!(of("vlm-r1.jsonl"), Ok(Layout::VlmR1));
    assert_eq!(of("mmk12.parquet"), Ok(Layout::Mmk12));
    for (path, names) in [
        ("sharegpt.jsonl", "sharegpt, trl"),
        ("trl-messages.parquet", "sharegpt, trl"),
        ("s1k.parquet", "s1k-deepseek, s1k-gemini"),
    ] {
        let message = of(path).unwrap_err();
        let want = format!("are those of several layouts\nhint: name one of {names}");
        assert!(message.ends_with(&want), "{message}");
    }
    let row = json!({"question": "q", "solution": "1", "gemini_thinking_trajectory": "t", "gemini_attempt": "r"});
    let (_folder, path) = file("set.jsonl", row.to_string().as_bytes());
    assert_eq!(Layout::of(&path).unwrap(), Layout::S1kGemini);
    let (_folder, path) = file("set.jsonl", b"{\"text\": \"x\"}\n");
    let message = synergy_hint::text(&Layout::of(&path).unwrap_err());
    assert!(message.contains("has the columns of no layout of training data; it has `text`\nhint: there are sharegpt, trl, "));
    let (_folder, path) = file("set.json", b"[");
    let message = synergy_hint::text(&Layout::of(&path).unwrap_err());
    assert!(message.ends_with("row 1: the file ends in the array\nhint: it may be cut off"));
}

/// The rows of `refused_training_rows.jsonl`: of each layout a good one, then bad ones with what is said of them.
#[test]
fn a_bad_row_is_an_error_with_file_row_and_column_in_every_kind_of_json() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/refused_training_rows.jsonl");
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (bad, good): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["want"].is_string());
    assert_eq!((good.len(), bad.len()), (Layout::ALL.len(), 64));
    for line in bad {
        let (row, want) = (&line["row"], line["want"].as_str().unwrap());
        let good = &good.iter().find(|good| good["layout"] == line["layout"]).unwrap()["row"];
        let layout = Layout::from_name(line["layout"].as_str().unwrap()).unwrap();
        let lines = format!("{good}\n{row}\n");
        for (name, text) in [
            ("set.json", format!("[{good}, {row}]")),
            ("set.json", lines.clone()),
            ("set.jsonl", lines.clone()),
        ] {
            let (_folder, path) = file(name, text.as_bytes());
            let want = format!("failed to read `{name}`, row 2, column {want}");
            assert_eq!(wrong(layout, &path), want);
            let mut reader = open(layout, &path, "set").unwrap().skip_bad(true);
            assert_eq!(reader.by_ref().count(), 1);
            assert_eq!(reader.skipped()[0].row, 2);
        }
    }
}

#[test]
fn a_missing_picture_is_named_with_file_row_and_column() {
    let rows = [
        (
            Layout::ShareGpt,
            "images",
            json!({"conversations": said("<image>q", "r"), "images": ["b.png"]}),
        ),
        (Layout::Trl, "image", json!({"prompt": "q", "answer": "1", "image": "b.png"})),
        (Layout::VlmR1, "image", json!({"conversations": said("q", "1"), "image": ["b.png"]})),
        (Layout::Mmk12, "image", json!({"question": "q", "answer": "1", "image": "b.png"})),
        (
            Layout::MmEureka,
            "message",
            json!({"answer": "1", "message": "[{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"image\": \"file://b.png\"}]}]"}),
        ),
    ];
    for (layout, column, row) in rows {
        let (_folder, path) = file("set.jsonl", format!("{row}\n").as_bytes());
        let message = wrong(layout, &path);
        let want = format!(
            "failed to read `set.jsonl`, row 1, column `{column}`: the picture `b.png` is missing\n\
             hint: paths begin at `"
        );
        assert!(message.starts_with(&want), "{message}");
    }
    let row = json!({"problem": "<image>q", "answer": "1", "images": ["A".repeat(5000)]});
    let (_folder, path) = file("set.jsonl", row.to_string().as_bytes());
    assert!(wrong(Layout::EasyR1, &path).contains("A...` is not the path of a picture\nhint: "));
}

#[test]
fn a_row_that_is_not_json_is_an_error_and_in_an_array_the_last_row() {
    let good = json!({"problem": "q", "answer": "1"});
    let rows = [good.to_string(), "{\"problem\" \"q\"}".to_owned(), good.to_string()];
    let (_folder, path) = file("set.json", format!("[{}]", rows.join(",\n ")).as_bytes());
    assert_eq!(
        wrong(Layout::EasyR1, &path),
        "failed to read `set.json`: row 2: the row is not valid JSON: expected `:` at its line 1, character 12\n\
         hint: the row begins at byte 32"
    );
    let (_folder, path) = file("set.jsonl", rows.join("\n").as_bytes());
    let mut reader = open(Layout::EasyR1, &path, "set").unwrap().skip_bad(true);
    let ids: Vec<String> = reader.by_ref().map(|sample| sample.unwrap().id).collect();
    assert_eq!(ids, ["set/train/000001", "set/train/000003"]);
    assert_eq!(reader.num_rows(), 3);
}

#[test]
fn an_array_that_is_cut_off_is_an_error_however_it_is_read() {
    let whole = fs::read_to_string(fixtures().join("sharegpt.json")).unwrap();
    let whole = whole.trim_end().replace("images/", &format!("{}/images/", fixtures().display()));
    for length in (1..whole.len()).filter(|length| whole.is_char_boundary(*length)) {
        let (_folder, path) = file("set.json", &whole.as_bytes()[..length]);
        let last = open(Layout::ShareGpt, &path, "set").unwrap().skip_bad(true).last();
        let message = synergy_hint::text(&last.unwrap().unwrap_err());
        assert!(message.contains(": row ") && message.ends_with("it may be cut off"), "{message}");
    }
    let (_folder, path) = file("set.json", whole.as_bytes());
    assert_eq!(read(Layout::ShareGpt, &path).unwrap().len(), 3);
}

#[test]
fn files_that_are_none_are_refused_when_they_are_opened() {
    let open = |layout, path: &Path, name: &str| {
        synergy_hint::text(&open(layout, path, name).err().unwrap())
    };
    let (folder, path) = file("set.tsv", b"problem\tanswer\nq\t1\n");
    let message = open(Layout::EasyR1, &path, "set");
    assert!(
        message.ends_with("is unknown\nhint: names end in .json, .jsonl or .parquet"),
        "{message}"
    );
    fs::write(folder.path().join("dataset_info.json"), "{}").unwrap();
    let message = open(Layout::EasyR1, folder.path(), "set");
    assert!(message.ends_with("; a .json is read by its own name only"), "{message}");
    let message = open(Layout::Verl, &fixtures().join("easyr1.parquet"), "set");
    assert!(
        message.ends_with(
            "has no column `prompt`, as verl has; it has `images`, `problem`, `answer`\n\
             hint: is it another layout?"
        ),
        "{message}"
    );
    let message = open(Layout::EasyR1, &fixtures().join("easyr1.json"), "my/set");
    assert!(message.starts_with(
        "`my/set` cannot be the name of training data, which is a part of ids\nhint: "
    ));
    for (name, text) in [("set.json", "[]"), ("set.json", " "), ("set.jsonl", "")] {
        let (_folder, path) = file(name, text.as_bytes());
        assert!(wrong(Layout::Trl, &path).starts_with("there is no row to read\nhint: "));
    }
}

#[test]
fn ids_are_the_files_own_and_come_once() {
    let row = |id: Json| json!({"id": id, "problem": "q", "answer": "1"});
    let (_folder, path) = file(
        "set.json",
        json!([row(json!("a")), row(json!(7)), row(Json::Null)]).to_string().as_bytes(),
    );
    let ids: Vec<String> =
        read(Layout::EasyR1, &path).unwrap().into_iter().map(|sample| sample.id).collect();
    assert_eq!(ids, ["set/train/a", "set/train/7", "set/train/000003"]);
    let (_folder, path) =
        file("set.json", json!([row(json!("a")), row(json!("a"))]).to_string().as_bytes());
    assert_eq!(
        wrong(Layout::EasyR1, &path),
        "failed to read `set.json`, row 2, column `id`: the id `set/train/a` is already that of row 1"
    );
}

#[test]
fn pictures_stay_where_they_are_until_they_are_asked_for() {
    let picture = {
        let mut file = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(5, 2).write_to(&mut file, image::ImageFormat::Png).unwrap();
        format!("data:image/png;base64,{}", BASE64_STANDARD.encode(file.into_inner()))
    };
    let row = json!({"conversations": said("<image>q", "r"), "images": [picture]});
    for (name, text) in [("set.json", format!("[\n{row:#}]")), ("set.jsonl", format!("\n{row}\n"))]
    {
        let (_folder, path) = file(name, text.as_bytes());
        let sample = read(Layout::ShareGpt, &path).unwrap().remove(0);
        assert!(matches!(sample.images.as_slice(), [ImageSource::Cell(_)]), "{sample:?}");
        assert_eq!(sample.load_images().unwrap()[0].dimensions(), (5, 2));
    }
    // Within JSON that stands in a text.
    let content = json!([message("user", json!([{"type": "image", "image": picture}]))]);
    let row = json!({"message": content.to_string(), "answer": "1"});
    let (_folder, path) = file("set.jsonl", format!("{row}\n").as_bytes());
    let sample = read(Layout::MmEureka, &path).unwrap().remove(0);
    assert_eq!(sample.question, "<image>");
    assert_eq!(sample.load_images().unwrap()[0].dimensions(), (5, 2));
}

#[test]
fn a_picture_within_a_message_of_parquet_is_refused() {
    let schema = "message schema {
        optional group prompt (LIST) { repeated group list { optional group element {
            optional binary role (UTF8);
            optional group content (LIST) { repeated group list { optional group element {
                optional binary type (UTF8); optional binary image; } } } } } }
        optional binary answer (UTF8); }";
    let (_folder, path) = file("set.parquet", b"");
    let columns = [("user", 4), ("image", 7), ("a picture", 7), ("1", 1)].map(|(value, level)| {
        (vec![value.into()], Some(vec![level]), (level > 1).then(|| vec![0]))
    });
    write_parquet(&path, schema, columns.into());
    assert_eq!(
        wrong(Layout::Trl, &path),
        "failed to read `set.parquet`, row 1, column `prompt`: turn 1 has a part that holds a picture as bytes\n\
         hint: in parquet pictures are read from a column of their own"
    );
}

/// About a second: 120 MB are written and read.
#[cfg(target_os = "linux")]
#[test]
fn a_large_array_is_read_in_little_memory() {
    use crate::datasets::tests::memory_bytes_max;
    use std::io::Write as _;
    const ROWS: usize = 120;
    const RESPONSE: usize = 1_000_000;
    let (_folder, path) = file("set.json", b"[");
    let mut out = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let row = json!({"conversations": said("q", &"x\n".repeat(RESPONSE / 3))}).to_string();
    for number in 0..ROWS {
        write!(out, "{}{row}", if number == 0 { "" } else { ",\n" }).unwrap();
    }
    write!(out, "]").unwrap();
    let before = memory_bytes_max();
    let reader = open(Layout::ShareGpt, &path, "set").unwrap();
    assert_eq!(reader.filter(Result::is_ok).count(), ROWS);
    let grown = memory_bytes_max() - before;
    assert!(grown < 16_000_000, "{grown} bytes more for rows of {RESPONSE}");
}

/// Pieces of a question: texts between which pictures stand.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[^<>]{0,8}", 1..4).prop_map(|mut pieces| {
        pieces[0].push('?');
        pieces
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        rows in prop::collection::vec((pieces(), "[^<>{}]{0,12}", prop::option::of("[^<>]{0,8}")), 1..4),
        form in 0..4_u8,
    ) {
        let question = |pieces: &[String]| pieces.join("<image>");
        let parts = |pieces: &[String], picture: Option<&str>| -> Json {
            let image = match picture {
                Some(path) => json!({"type": "image", "image": path}),
                None => json!({"type": "image", "text": null}),
            };
            let mut parts = Vec::new();
            for (place, text) in pieces.iter().enumerate() {
                parts.extend((place > 0).then(|| image.clone()));
                parts.push(json!({"type": "text", "text": text}));
            }
            parts.into()
        };
        let images = |pieces: &[String]| vec!["a.png"; pieces.len() - 1];
        let (mut jsons, mut want) = (Vec::new(), Vec::new());
        for (number, (pieces, text, system)) in rows.iter().enumerate() {
            let response = format!("{text}.\\boxed{{{number}}}");
            let mut said: Vec<Json> =
                system.iter().map(|system| message("system", system.as_str())).collect();
            let user = |content: Json| message("user", content);
            let assistant = message("assistant", response.as_str());
            let (json, response) = match form {
                0 => {
                    said.push(user(question(pieces).into()));
                    let rename = |turn: &Json| json!({"from": turn["role"], "value": turn["content"]});
                    said.push(assistant);
                    let said: Vec<Json> = said.iter().map(rename).collect();
                    (json!({"conversations": said, "images": images(pieces)}), response)
                }
                1 => {
                    said.push(user(parts(pieces, None)));
                    said.push(assistant);
                    (json!({"messages": said, "images": images(pieces)}), response)
                }
                2 => {
                    said.push(user(parts(pieces, None)));
                    (json!({"prompt": said, "images": images(pieces), "completion": [assistant]}), response)
                }
                _ => {
                    said.push(user(parts(pieces, Some("file://a.png"))));
                    let text = Json::from(said).to_string();
                    (json!({"message": text, "answer": number}), String::new())
                }
            };
            jsons.push(json);
            let system = system.as_deref().filter(|system| !system.trim().is_empty());
            let question = match system {
                Some(system) => format!("{system}\n\n{}", question(pieces)),
                None => question(pieces),
            };
            want.push((question, number.to_string(), response, pieces.len() - 1));
        }
        let layout = [Layout::ShareGpt, Layout::Trl, Layout::Trl, Layout::MmEureka][usize::from(form)];
        let lines: String = jsons.iter().map(|json| format!("{json}\n")).collect();
        let array = Json::from(jsons);
        for (name, text) in [("set.jsonl", lines), ("set.json", array.to_string()), ("set.json", format!("{array:#}"))] {
            let (_folder, path) = file(name, text.as_bytes());
            let found: Vec<_> = read(layout, &path)
                .unwrap()
                .into_iter()
                .map(|sample| (sample.question, sample.answer, sample.response, sample.images.len()))
                .collect();
            prop_assert_eq!(&found, &want);
        }
    }

    #[test]
    fn a_mark_stands_for_each_picture_whatever_the_row(text in "(<image>|<im|age>|\"|\\\\|[a-z]){0,6}", count in 0..3_usize) {
        let images = vec!["a.png"; count];
        let parts = json!([{"type": "text", "text": text}, {"type": "image"}, {"type": "text", "text": text}]);
        for layout in Layout::ALL {
            let row = json!({
                "prompt": [message("user", parts.clone())],
                "problem": text, "question": text, "image": images.first(),
                "conversations": said(&text, "r"),
                "message": json!([message("user", parts.clone())]).to_string(),
                "answer": "1", "reward_model": {"ground_truth": "1"}, "images": images,
                "solution": "1", "deepseek_thinking_trajectory": "t", "deepseek_attempt": "r",
                "gemini_thinking_trajectory": "t", "gemini_attempt": "r",
            });
            let (_folder, path) = file("set.jsonl", format!("{row}\n").as_bytes());
            if let Ok(samples) = read(layout, &path) {
                prop_assert_eq!(samples[0].question.matches("<image>").count(), samples[0].images.len());
            }
        }
    }
}
