//! Files of training data: as the trainers read them, bad rows, large ones, any conversation.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Layout, open};
use crate::sample::{ImageSource, Sample};
use crate::stored::Stored;

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

/// What is wrong, with the file's folder left out.
fn wrong(layout: Layout, path: &Path) -> String {
    let message = format!("{:#}", read(layout, path).unwrap_err());
    message.replace(&format!("{}/", path.parent().unwrap().display()), "")
}

/// Checks what is said of `row` as the second of a file, in every kind of JSON.
#[track_caller]
fn refused(layout: Layout, row: &Json, want: &str) {
    let good = match layout {
        Layout::ShareGpt => json!({"conversations": said("q", "r"), "images": []}),
        Layout::Trl => json!({"prompt": "q", "answer": 1}),
        Layout::EasyR1 => json!({"problem": "q", "answer": "1"}),
        Layout::Verl => {
            json!({"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": "1"}})
        }
        Layout::MmEureka => {
            json!({"message": "[{\"role\": \"user\", \"content\": \"q\"}]", "answer": "1"})
        }
        Layout::VlmR1 => json!({"conversations": said("q", "1")}),
        Layout::Mmk12 => json!({"question": "q", "answer": "1"}),
        Layout::S1kDeepSeek => s1k("deepseek"),
        Layout::S1kGemini => s1k("gemini"),
    };
    let files = [
        ("set.json", format!("[{good}, {row}]")),
        ("set.json", format!("{good}\n{row}\n")),
        ("set.jsonl", format!("{good}\n{row}\n")),
    ];
    for (name, text) in files {
        let (_folder, path) = file(name, text.as_bytes());
        let want = format!("failed to read `{name}`, row 2, column {want}");
        assert_eq!(wrong(layout, &path), want);
        let mut reader = open(layout, &path, "set").unwrap().skip_bad(true);
        assert_eq!(reader.by_ref().count(), 1);
        assert_eq!(reader.skipped()[0].row, 2);
    }
}

/// A conversation of ShareGPT.
fn said(question: &str, response: &str) -> Json {
    json!([{"from": "human", "value": question}, {"from": "gpt", "value": response}])
}

/// A row of s1K with one trace.
fn s1k(by: &str) -> Json {
    let [trajectory, attempt] =
        ["thinking_trajectory", "attempt"].map(|part| format!("{by}_{part}"));
    json!({"question": "q", "solution": "1", trajectory: "t", attempt: "r"})
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
                "verbose": sample.verbose,
                "images": images,
            });
            assert_eq!(&found, wanted, "{path}");
            assert_eq!(sample.benchmark, "set");
            assert!(sample.choices.is_empty() && sample.terse.is_empty());
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
    let of = |path: &str| Layout::of(&fixtures().join(path)).map_err(|error| format!("{error:#}"));
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
    let (_folder, path) = file("set.jsonl", s1k("gemini").to_string().as_bytes());
    assert_eq!(Layout::of(&path).unwrap(), Layout::S1kGemini);
    let (_folder, path) = file("set.jsonl", b"{\"text\": \"x\"}\n");
    let message = format!("{:#}", Layout::of(&path).unwrap_err());
    assert!(message.contains("has the columns of no layout of training data; it has `text`\nhint: there are sharegpt, trl, "));
    let (_folder, path) = file("set.json", b"[");
    let message = format!("{:#}", Layout::of(&path).unwrap_err());
    assert!(message.ends_with("row 1: the file ends in the array\nhint: it may be cut off"));
}

#[test]
fn a_bad_conversation_is_an_error_with_file_row_and_column() {
    let row = |conversation: Json| json!({"conversations": conversation, "images": ["a.png"]});
    let check = |conversation: Json, want: &str| {
        refused(Layout::ShareGpt, &row(conversation), &format!("`conversations`: {want}"));
    };
    check(said("<image>q", " \n"), "the response is empty");
    check(said(" ", "r"), "the question is empty");
    check(
        said("<image>q", "see <image>"),
        "the response has a `<image>`\nhint: pictures belong to the question",
    );
    check(json!([{"from": "human", "value": "<image>q"}]), "there is no response");
    check(json!([]), "there is no question");
    check(
        json!([{"from": "gpt", "value": "r"}, {"from": "human", "value": "q"}]),
        "turn 1 is by the assistant, where the user belongs",
    );
    check(
        json!([{"from": "human", "value": "q"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}]),
        "turn 2 is by the user, where the assistant belongs",
    );
    check(
        json!([{"from": "human", "value": "q"}, {"from": "system", "value": "s"}, {"from": "gpt", "value": "r"}]),
        "turn 2 is by the system, where the assistant belongs",
    );
    let mut two = said("<image>q", "r");
    two.as_array_mut().unwrap().extend(said("and?", "s").as_array().unwrap().clone());
    check(
        two,
        "the conversation has 2 questions and 2 responses\n\
         hint: only conversations of one question are training examples here",
    );
    check(
        json!([{"from": "observation", "value": "q"}]),
        "turn 1 is by `observation`\nhint: a training example has a system, a user and an assistant",
    );
    check(json!([{"value": "q"}]), "turn 1 has neither `role` nor `from`");
    check(json!([{"from": "human"}]), "turn 1 has neither `content` nor `value`");
    check(json!(["q"]), "turn 1 is text, not a message");
    check(json!("q"), "the cell is text, not a list");
    check(Json::Null, "there is no such column and no `messages`");
}

#[test]
fn bad_parts_are_errors_too() {
    let check = |content: Json, want: &str| {
        let row = json!({"prompt": [message("user", content)], "answer": "1"});
        refused(Layout::Trl, &row, want);
    };
    let in_part = |want: &str| format!("`prompt`: turn 1 has a part that {want}");
    check(json!([{"type": "video"}]), &in_part("is `video`"));
    check(json!([{"text": "q"}]), &in_part("has no `type`"));
    check(json!([{"type": "text"}]), &in_part("is text and has no `text`"));
    check(json!(["q"]), &in_part("has no `type`"));
    check(
        json!([{"type": "text", "text": "<im"}, {"type": "text", "text": "age>"}]),
        "`prompt`: turn 1 has a `<image>` that begins in one part and ends in another",
    );
    check(
        json!([{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}]),
        "`prompt`: the picture is at `https://x.org/a.png`\n\
         hint: nothing is fetched: pictures are files beside the file",
    );
    check(
        json!([{"type": "image"}, {"type": "text", "text": "q"}]),
        "`images`: the question has 1 mark `<image>` for 0 pictures",
    );
}

#[test]
fn every_mark_has_its_picture() {
    let check = |question: &str, images: Json, want: &str| {
        let row = json!({"conversations": said(question, "r"), "images": images});
        refused(Layout::ShareGpt, &row, want);
        let row = json!({"problem": question, "answer": "1", "images": images});
        refused(Layout::EasyR1, &row, want);
    };
    let marks = |marks: &str, pictures: &str| {
        format!("`images`: the question has {marks} `<image>` for {pictures}")
    };
    check("<image><image>q", json!(["a.png"]), &marks("2 marks", "1 picture"));
    check("q", json!(["a.png"]), &marks("0 marks", "1 picture"));
    check("<image>q", json!([]), &marks("1 mark", "0 pictures"));
    check("<image>q", json!(["a.png", null]), "`images`: element 2 of the list is no picture");
    check("<image>q", json!([["a.png"]]), "`images`: the list holds a list, not pictures");
    check("<image>q", json!([7]), "`images`: the cell is a number, not a picture as bytes");
    let long = "A".repeat(5000);
    check(
        "<image>q",
        json!([long]),
        &format!(
            "`images`: `{}...` is no path of a picture\n\
             hint: base64 has `data:image/png;base64,` before it",
            "A".repeat(40)
        ),
    );
    // TRL, VLM-R1 and MMK12 show pictures first, but marks count where there are any.
    let row = json!({"prompt": "<image>q", "answer": "1", "images": ["a.png", "a.png"]});
    refused(Layout::Trl, &row, &marks("1 mark", "2 pictures"));
    let row = json!({"conversations": said("<image><image>q", "1"), "image": "a.png"});
    refused(Layout::VlmR1, &row, "`image`: the question has 2 marks `<image>` for 1 picture");
    let row = json!({"question": "<image><image>q", "answer": "1", "image": "a.png"});
    refused(Layout::Mmk12, &row, "`image`: the question has 2 marks `<image>` for 1 picture");
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
}

#[test]
fn what_a_layout_needs_is_asked_for() {
    let both = json!({"prompt": "q", "messages": [message("user", "q")], "answer": "1"});
    let prompt = json!([message("user", "q"), message("assistant", "r")]);
    let neither = "there is neither a response nor a target\n\
                   hint: a target is `answer`, `solution` or `ground_truth`, a response `completion` or a message";
    let assistant = "turn 2 is by the assistant, who says nothing in a prompt here";
    let without = |by: &str, column: &str, cell: &str| {
        let mut row = s1k(by);
        row[column] = cell.into();
        row
    };
    let rows: [(Layout, Json, &str); 25] = [
        (Layout::Trl, json!({"prompt": "q"}), &format!("`prompt`: {neither}")),
        (Layout::Trl, both, "`messages`: there is `prompt` too"),
        (Layout::Trl, json!({"prompt": prompt}), &format!("`prompt`: {assistant}")),
        (
            Layout::Trl,
            json!({"prompt": "q", "completion": ""}),
            "`completion`: the response is empty",
        ),
        (
            Layout::Trl,
            json!({"prompt": "q", "completion": [message("user", "r")]}),
            "`completion`: turn 2 is by the user, where the assistant belongs",
        ),
        (
            Layout::Trl,
            json!({"prompt": "q", "answer": 1, "image": "a.png", "images": ["a.png"]}),
            "`image`: there is `images` too",
        ),
        (
            Layout::Trl,
            json!({"prompt": "q", "answer": [1]}),
            "`answer`: the cell is a list, not text",
        ),
        (
            Layout::ShareGpt,
            json!({"text": "q"}),
            "`conversations`: there is no such column and no `messages`",
        ),
        (
            Layout::ShareGpt,
            json!({"system": "s", "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}]}),
            "`system`: `conversations` has a system's text too",
        ),
        (
            Layout::ShareGpt,
            json!({"conversations": said("q", "r"), "videos": ["a.mp4"]}),
            "`videos`: videos are not read",
        ),
        (Layout::EasyR1, json!({"problem": "q", "answer": " "}), "`answer`: the cell is empty"),
        (Layout::EasyR1, json!({"answer": "1"}), "`problem`: the cell is empty"),
        (
            Layout::Verl,
            json!({"prompt": [message("user", "q")], "reward_model": {"style": "rule"}}),
            "`reward_model`: there is no `ground_truth`",
        ),
        (
            Layout::MmEureka,
            json!({"message": "[{\"role\": \n]", "answer": "1"}),
            "`message`: the text is no JSON: expected value at its line 2, character 1",
        ),
        (
            Layout::MmEureka,
            json!({"message": "{}", "answer": "1"}),
            "`message`: the cell is a struct, not a list",
        ),
        (
            Layout::VlmR1,
            json!({"conversations": said("q", "<answer> </answer>")}),
            "`conversations`: the target is empty",
        ),
        (Layout::Mmk12, json!({"question": "q"}), "`answer`: the cell is empty"),
        (Layout::Mmk12, json!({"answer": "1"}), "`question`: the cell is empty"),
        (
            Layout::S1kDeepSeek,
            without("deepseek", "deepseek_thinking_trajectory", ""),
            "`deepseek_thinking_trajectory`: the cell is empty",
        ),
        (
            Layout::S1kDeepSeek,
            without("deepseek", "deepseek_attempt", " \n"),
            "`deepseek_attempt`: the cell is empty",
        ),
        (Layout::S1kDeepSeek, s1k("gemini"), "`deepseek_thinking_trajectory`: the cell is empty"),
        (
            Layout::S1kGemini,
            without("gemini", "gemini_thinking_trajectory", " "),
            "`gemini_thinking_trajectory`: the cell is empty",
        ),
        (
            Layout::S1kGemini,
            without("gemini", "gemini_attempt", ""),
            "`gemini_attempt`: the cell is empty",
        ),
        (Layout::S1kGemini, without("gemini", "solution", ""), "`solution`: the cell is empty"),
        (
            Layout::S1kGemini,
            without("gemini", "question", "<image>q"),
            "`question`: the question has 1 mark `<image>` for 0 pictures",
        ),
    ];
    for (layout, row, want) in rows {
        refused(layout, &row, want);
    }
}

#[test]
fn a_row_that_is_no_json_is_an_error_and_the_next_is_read() {
    let good = json!({"problem": "q", "answer": "1"});
    let text = format!("[{good},\n {{\"problem\" \"q\"}}, {good}]");
    let (_folder, path) = file("set.json", text.as_bytes());
    assert_eq!(
        wrong(Layout::EasyR1, &path),
        "failed to read `set.json`, row 2: the row is no JSON: expected `:` at its line 1, character 12\n\
         hint: the row begins at byte 32"
    );
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
        let message = format!("{:#}", last.unwrap().unwrap_err());
        assert!(message.contains(": row ") && message.ends_with("it may be cut off"), "{message}");
    }
    let (_folder, path) = file("set.json", whole.as_bytes());
    assert_eq!(read(Layout::ShareGpt, &path).unwrap().len(), 3);
}

#[test]
fn files_that_are_none_are_refused_when_they_are_opened() {
    let open =
        |layout, path: &Path, name: &str| format!("{:#}", open(layout, path, name).err().unwrap());
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
    assert!(message.starts_with("the name of training data is a part of ids, `my/set` is not"));
    for (name, text) in [("set.json", "[]"), ("set.json", " "), ("set.jsonl", "")] {
        let (_folder, path) = file(name, text.as_bytes());
        assert_eq!(wrong(Layout::Trl, &path), "there is no row to read");
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
        let [ImageSource::Cell(cell)] = sample.images.as_slice() else { panic!("{sample:?}") };
        assert!(matches!(cell.stored, Stored::Base64 { .. }), "{cell:?}");
        assert_eq!(sample.load_images().unwrap()[0].dimensions(), (5, 2));
    }
    for (layout, path) in [(Layout::Trl, "trl-messages.parquet"), (Layout::Verl, "verl.parquet")] {
        for image in read(layout, &fixtures().join(path)).unwrap().iter().flat_map(|s| &s.images) {
            let ImageSource::Cell(cell) = image else { panic!("{image:?}") };
            assert!(matches!(cell.stored, Stored::Parquet { .. }), "{cell:?}");
        }
    }
    // Escaped within `message`, so it does not stand in the file as it is.
    let content = json!([message("user", json!([{"type": "image", "image": picture}]))]);
    let row = json!({"message": content.to_string(), "answer": "1"});
    let (_folder, path) = file("set.jsonl", format!("{row}\n").as_bytes());
    let sample = read(Layout::MmEureka, &path).unwrap().remove(0);
    assert_eq!(sample.question, "<image>");
    assert_eq!(sample.load_images().unwrap()[0].dimensions(), (5, 2));
}

#[test]
fn a_picture_within_a_message_of_parquet_is_refused() {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::writer::SerializedFileWriter;
    let schema = "message schema {
        optional group prompt (LIST) { repeated group list { optional group element {
            optional binary role (UTF8);
            optional group content (LIST) { repeated group list { optional group element {
                optional binary type (UTF8); optional binary image; } } } } } }
        optional binary answer (UTF8); }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let (_folder, path) = file("set.parquet", b"");
    let file = fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let values = [("user", 4), ("image", 7), ("a picture", 7), ("1", 1)];
    for (value, level) in values {
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        let repetitions: Option<&[i16]> = (level > 1).then_some(&[0]);
        typed.write_batch(&[ByteArray::from(value)], Some(&[level]), repetitions).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
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
            let (json, verbose) = match form {
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
            want.push((question, number.to_string(), verbose, pieces.len() - 1));
        }
        let layout = [Layout::ShareGpt, Layout::Trl, Layout::Trl, Layout::MmEureka][usize::from(form)];
        let lines: String = jsons.iter().map(|json| format!("{json}\n")).collect();
        let array = Json::from(jsons);
        for (name, text) in [("set.jsonl", lines), ("set.json", array.to_string()), ("set.json", format!("{array:#}"))] {
            let (_folder, path) = file(name, text.as_bytes());
            let found: Vec<_> = read(layout, &path)
                .unwrap()
                .into_iter()
                .map(|sample| (sample.question, sample.answer, sample.verbose, sample.images.len()))
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
