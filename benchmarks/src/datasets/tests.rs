//! Whole files through the readers: as the owners' tools read them, broken ones, large ones.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};
use synergy_grade::answer::Outcome;
use synergy_grade::{Grader, grade};
use tempfile::TempDir;

use crate::datasets::training::{self, Layout};
use crate::datasets::{Reader, Skipped, names, of_split, open};
use crate::difficulty::Level;
use crate::families::{Family, Split};
use crate::sample::Sample;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/parity/datasets")
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
    picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

fn cell(width: u32) -> String {
    BASE64_STANDARD.encode(png(width, 2))
}

const HEADER: &str = "index\timage\tquestion\tA\tB\tanswer\tcategory\n";

/// A table `MMStar.tsv` of these rows under the header above.
fn table(rows: &str) -> (TempDir, PathBuf) {
    file("MMStar.tsv", format!("{HEADER}{rows}").as_bytes())
}

fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Returns what is wrong, with the file's folder left out.
fn wrong(name: &str, path: &Path) -> String {
    let samples = open(name, path).and_then(Iterator::collect::<anyhow::Result<Vec<Sample>>>);
    let message = synergy_hint::text(&samples.unwrap_err());
    // The general hint is not repeated in every expectation.
    let message = message.replace("\nhint: mend the row, or skip it with --skip-bad", "");
    message.replace(&format!("{}/", path.parent().unwrap().display()), "")
}

#[track_caller]
fn refused(rows: &str, want: &str) {
    let (_folder, path) = table(rows);
    assert_eq!(wrong("mmstar", &path), format!("failed to read `MMStar.tsv`{want}"));
}

/// A sample as the script records it.
fn recorded(sample: &Sample) -> Json {
    let images: Vec<Json> = sample
        .load_images()
        .unwrap()
        .iter()
        .map(|image| {
            let pixels: String = image.as_raw().iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "size": [image.width(), image.height()], "pixels": pixels })
        })
        .collect();
    let details = &sample.details;
    json!({
        "id": sample.id,
        "question": sample.question,
        "choices": sample.choices,
        "answer": sample.answer,
        "images": images,
        "details": {
            "category": details.category,
            "precision": details.precision,
            "unit": details.unit,
            "level": details.level,
            "pass_rate": details.pass_rate,
            "version": details.version,
        },
    })
}

#[test]
fn files_in_the_owners_layouts_are_read_as_the_reference_reads_them() {
    let expected = fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: Json = serde_json::from_str(&expected).unwrap();
    let cases = expected["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 16);
    for (path, case) in cases {
        let mut reader = open(case["name"].as_str().unwrap(), &fixtures().join(path)).unwrap();
        for wanted in case["samples"].as_array().unwrap() {
            let sample = reader.next().unwrap().unwrap();
            let mut found = recorded(&sample);
            // Of a JPEG picture the decoders agree on the size only.
            let pictures = wanted["images"].as_array().unwrap().iter().enumerate();
            for (place, _) in pictures.filter(|(_, picture)| picture["pixels"].is_null()) {
                found["images"][place]["pixels"] = Json::Null;
            }
            assert_eq!(&found, wanted, "{path}");
        }
        assert!(reader.next().is_none(), "{path}");
    }
}

#[test]
fn the_stand_in_of_a_full_profile_is_read() {
    let hub = fixtures().join("../stand-in/datasets");
    let read = |reader: Reader| -> Vec<Sample> {
        let samples: Vec<Sample> = reader.map(Result::unwrap).collect();
        assert!(samples.iter().all(|sample| sample.load_images().is_ok()));
        samples
    };
    for title in ["MathVerse", "MathVision", "MathVista", "MMMU", "MMStar"] {
        let path = hub.join(format!("JierunChen/{title}_with_difficulty_level/data"));
        let samples = read(open(title, &path).unwrap());
        let levels: Vec<_> = samples.iter().map(|sample| sample.details.level.unwrap()).collect();
        assert_eq!(levels, [Level::ALL, Level::ALL].concat(), "{title}");
    }
    for (layout, path, count) in [
        (Layout::ShareGpt, "JierunChen/Eureka-Distill/train.json", 16),
        (Layout::ShareGpt, "JierunChen/Eureka-Distill/val.json", 4),
        (Layout::Mmk12, "FanqingM/MMK12/data/train-00000-of-00001.parquet", 16),
        (Layout::S1kDeepSeek, "simplescaling/s1K-1.1/data", 16),
        (Layout::S1kGemini, "simplescaling/s1K-1.1/data", 16),
    ] {
        let samples = read(training::open(layout, &hub.join(path), "set").unwrap());
        assert_eq!(samples.len(), count, "{path}");
        assert!(samples.iter().all(|sample| sample.answer.parse::<u32>().is_ok()), "{path}");
    }
}

#[test]
fn the_reference_files_are_small() {
    let mut folders = vec![fixtures()];
    let mut size = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                size += metadata.len();
            }
        }
    }
    assert!((20_000..90_000).contains(&size), "{size}");
}

#[test]
fn a_name_that_is_none_is_refused_with_those_that_are() {
    let message = synergy_hint::text(&open("mathvisoin", &fixtures()).err().unwrap());
    assert!(
        message.starts_with("there is no benchmark `mathvisoin`\nhint: there are mathvision, ")
    );
    assert_eq!(names().count(), 5);
    assert!(open("MathVision_with_difficulty_level", &fixtures().join("mathvision")).is_ok());
}

#[test]
fn a_file_of_another_benchmark_is_refused_when_it_is_opened() {
    let open_error = |name: &str, path: &str| {
        let error = open(name, &fixtures().join(path)).err().unwrap();
        synergy_hint::text(&error).replace(&format!("{}/", fixtures().display()), "")
    };
    let message = open_error("mathvision", "MMStar.tsv");
    assert!(
        message.starts_with(
            "`MMStar.tsv` has no column `choices`, as MathVision by VLMEvalKit has; it has `index`, "
        ),
        "{message}"
    );
    assert!(message.contains("\nhint: is it another benchmark?"), "{message}");
    let message = open_error("mmmu", "mmstar");
    assert!(message.contains(" has no column `id`, as MMMU by its owners has"), "{message}");
    let message = open_error("mmmu", "one.png");
    assert_eq!(
        message,
        "the kind of `one.png` is unknown\nhint: names end in .tsv, .jsonl or .parquet"
    );
    assert!(open_error("mmmu", "absent.tsv").starts_with("failed to read `absent.tsv`: "));
    let (_folder, path) = file("mmstar.jsonl", b"{}\n");
    assert!(wrong("mmstar", &path).starts_with("MMStar is read from .tsv and .parquet, not from"));
    let (folder, path) = file("a.tsv", b"index\n");
    fs::write(folder.path().join("b.parquet"), "").unwrap();
    let message = synergy_hint::text(&open("mmstar", path.parent().unwrap()).err().unwrap());
    assert!(message.ends_with("are of two kinds\nhint: name one of them"), "{message}");
}

#[test]
fn a_bad_cell_is_an_error_with_file_row_and_column() {
    let good = format!("1\t{}\tWhich?\tone\ttwo\tA\tmath\n", cell(9));
    let bad = cell(9).replacen("AA", "A!", 1);
    refused(
        &format!("{good}2\t{bad}\tWhich?\tone\ttwo\tA\tmath\n"),
        &format!(
            ", row 2, column `image`: the cell is not base64: `!` at character {}",
            bad.find('!').unwrap() + 1
        ),
    );
    let text =
        BASE64_STANDARD.encode("no picture at all, but long enough not to be the name of a row");
    refused(
        &format!("2\t{text}\tWhich?\tone\ttwo\tA\tmath\n"),
        ", row 1, column `image`: the cell is not a picture: it begins neither as PNG nor as JPEG",
    );
    refused(
        &format!("{good}2\t\tWhich?\tone\ttwo\tA\tmath\n"),
        ", row 2, column `image`: there is no picture",
    );
    refused(
        &format!("{good}1\t{}\tWhat?\tone\ttwo\tA\tmath\n", cell(9)),
        ", row 2, column `index`: the id `mmstar/val/1` is already that of row 1",
    );
    refused(&good.replace("\tA\tmath", "\t\tmath"), ", row 1, column `answer`: the cell is empty");
    refused(
        &good.replace("\tone\ttwo", "\t\ttwo"),
        ", row 1, column `A`: the choice is empty, but not the later `B`",
    );
    let list = format!("['{}' '{}']", cell(9), cell(9));
    refused(
        &format!("1\t{list}\tWhich?\tone\ttwo\tA\tmath\n"),
        &format!(
            ", row 1, column `image`: the cell is not a Python literal: expected `,` or `]` at character {}, found `'`",
            cell(9).len() + 5
        ),
    );
}

#[test]
fn a_key_that_lists_right_values_accepts_each() {
    let path = fixtures().join("MMMU_DEV_VAL.tsv");
    let listed = |sample: &Sample| sample.answer == "['1/8', '0.125']";
    let sample = open("mmmu", &path).unwrap().map(Result::unwrap).find(listed).unwrap();
    for (text, boxed, own) in [
        (r"\boxed{0.125}", Outcome::Correct, Outcome::Correct),
        (r"\boxed{1/8}", Outcome::Correct, Outcome::Correct),
        (r"\boxed{\frac{2}{16}}", Outcome::Wrong, Outcome::Correct),
        (r"\boxed{1/8, 0.125}", Outcome::Wrong, Outcome::Wrong),
        (r"\boxed{0.13}", Outcome::Wrong, Outcome::Wrong),
    ] {
        let judged = |grader| grade(grader, &sample.target(), text, true).outcome;
        assert_eq!((judged(Grader::Boxed1), judged(Grader::Synergy1)), (boxed, own), "{text}");
    }
    let table = |key: &str| {
        let header = "index\timage\tquestion\tA\tanswer\tcategory\tsplit\n";
        let row = format!("1\t{}\tHow many?\t\t{key}\tMath\tvalidation\n", cell(9));
        let (folder, path) = file("MMMU_DEV_VAL.tsv", format!("{header}{row}").as_bytes());
        let message = open("mmmu", &path).unwrap().next().unwrap().err();
        (folder, message.map(|error| synergy_hint::text(&error)))
    };
    for key in ["['7', 'seven']", "[0, 1)", "7", "[7, 8]"] {
        assert_eq!(table(key).1, None, "{key}");
    }
    for key in ["['7' 'seven']", "['7', 'seven'", "[]", "['7', '']"] {
        let message = table(key).1.unwrap();
        assert!(message.contains("row 1, column `answer`: "), "{message}");
    }
}

#[test]
fn a_reference_needs_a_row_with_a_picture() {
    let hint =
        "\nhint: a cell of at most 64 characters is the `index` of the row that has the picture";
    let good = format!("1\t{}\tWhich?\tone\ttwo\tA\tmath\n", cell(9));
    refused(
        &format!("{good}2\t7\tWhich?\tone\ttwo\tA\tmath\n"),
        &format!(", row 2, column `image`: the cell names row `7`, which is not there{hint}"),
    );
    refused(
        "1\t2\tWhich?\tone\ttwo\tA\tmath\n2\t\tWhich?\tone\ttwo\tA\tmath\n",
        &format!(", row 1, column `image`: row `2`, which the cell names, has no picture{hint}"),
    );
    // Rows that name each other.
    refused(
        "1\t2\tWhich?\tone\ttwo\tA\tmath\n2\t1\tWhich?\tone\ttwo\tA\tmath\n",
        &format!(
            ", row 1, column `image`: the cell names row `2`, which leads to no picture{hint}"
        ),
    );
    // A row that names one which is named in turn, before and behind it.
    let rows = [("1", "2"), ("2", "3"), ("3", &cell(9)), ("4", "1")]
        .map(|(index, image)| format!("{index}\t{image}\tWhich?\tone\ttwo\tA\tmath\n"));
    let (_folder, path) = table(&rows.concat());
    let samples: Vec<Sample> = open("mmstar", &path).unwrap().map(Result::unwrap).collect();
    for sample in samples {
        assert_eq!(sample.load_images().unwrap()[0].dimensions(), (9, 2));
    }
}

#[test]
fn a_file_that_is_cut_off_is_an_error_however_it_is_read() {
    let good = format!("1\t{}\tWhich?\tone\ttwo\tA\tmath\n", cell(9));
    let cut = format!("{good}2\t\"{}", &cell(9)[..30]);
    let start = HEADER.len() + good.len();
    refused(
        &cut,
        &format!(
            ": row 2: in the row that begins at byte {start} the last cell has no closing quote: the file is cut off\n\
             hint: fetch the file again"
        ),
    );
    let (_folder, path) = table(&cut);
    let last = open("mmstar", &path).unwrap().skip_bad(true).last().unwrap();
    assert!(last.is_err(), "lost rows are no bad rows");
    refused(
        &format!("{good}2\t{}", cell(9)),
        ", row 2, column `question`: the row has 2 cells, the header 7, and the file ends in it\n\
         hint: the file may be cut off, or a tab in a cell may lack its quotes",
    );

    let whole = fs::read(fixtures().join("mathvision/test-00000-of-00001.parquet")).unwrap();
    for length in [0, 3, 100, whole.len() / 2, whole.len() - 1] {
        let (_folder, path) = file("test-00000-of-00001.parquet", &whole[..length]);
        let message = wrong("mathvision", &path);
        assert!(message.starts_with("failed to read `test-00000-of-00001.parquet`: "), "{message}");
        assert!(
            message
                .ends_with("\nhint: a parquet file ends with its schema: this one may be cut off")
        );
    }
    let (_folder, path) = table("");
    assert!(wrong("mmstar", &path).starts_with("there is no row to read"));
}

#[test]
fn a_broken_byte_in_parquet_is_an_error_or_another_value_but_no_panic() {
    let whole = fs::read(fixtures().join("mathvision/test-00000-of-00001.parquet")).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let (_folder, path) = file("test-00000-of-00001.parquet", &bytes);
        if let Ok(reader) = open("mathvision", &path) {
            for sample in reader.flatten() {
                let _ = sample.load_images();
            }
        }
    }
}

#[test]
fn bad_rows_are_skipped_only_by_wish_and_listed() {
    let good = |index: u32| format!("{index}\t{}\tWhich?\tone\ttwo\tA\tmath\n", cell(9));
    let rows = format!("{}2\t\tWhich?\tone\ttwo\tA\tmath\n3\n{}{}", good(1), good(4), good(1));
    let (_folder, path) = table(&rows);

    let mut strict = open("mmstar", &path).unwrap();
    assert!(strict.next().unwrap().is_ok());
    assert!(strict.next().unwrap().is_err());
    assert!(strict.next().is_none(), "the first bad row is the end");

    let mut reader = open("mmstar", &path).unwrap().skip_bad(true);
    let ids: Vec<String> = reader.by_ref().map(|sample| sample.unwrap().id).collect();
    assert_eq!(ids, ["mmstar/val/1", "mmstar/val/4"]);
    let skipped: Vec<(u64, &str)> =
        reader.skipped().iter().map(|row| (row.row, row.column.as_str())).collect();
    assert_eq!(skipped, [(2, "image"), (3, "image"), (5, "index")]);
    assert_eq!(reader.num_rows(), 5);
    let Skipped { cause, hint, .. } = &reader.skipped()[1];
    assert_eq!(cause, "the row has 1 cells, the header 7");
    assert!(!cause.contains('\n') && !hint.contains('\n'));
    assert!(
        reader.skipped()[1].to_string().contains("MMStar.tsv`, row 3, column `image`: the row")
    );
}

#[test]
fn a_picture_is_checked_before_it_takes_memory_and_named_when_it_is_broken() {
    let bomb = {
        let mut file = std::io::Cursor::new(Vec::new());
        image::GrayImage::new(40_000, 1_001).write_to(&mut file, image::ImageFormat::Png).unwrap();
        BASE64_STANDARD.encode(file.into_inner())
    };
    let whole = png(300, 2);
    let cut = BASE64_STANDARD.encode(&whole[..whole.len() - 60]);
    let rows =
        format!("1\t{bomb}\tWhich?\tone\ttwo\tA\tmath\n2\t{cut}\tWhich?\tone\ttwo\tA\tmath\n");
    let (_folder, path) = table(&rows);
    let samples: Vec<Sample> = open("mmstar", &path).unwrap().map(Result::unwrap).collect();
    let limit = "more than 32768 pixels on a side";
    for (row, (sample, want)) in samples.iter().zip([limit, ""]).enumerate() {
        let message = synergy_hint::text(&sample.load_images().unwrap_err());
        let place = format!(
            "failed to read the picture in `{}`, row {}, column `image`: ",
            path.display(),
            row + 1
        );
        assert!(message.starts_with(&place) && message.contains(want), "{message}");
    }
    fs::write(&path, HEADER).unwrap();
    let message = synergy_hint::text(&samples[1].load_images().unwrap_err());
    assert!(message.ends_with("the file has become shorter since it was read"), "{message}");
    // Another file under the same name, as long as the one that was read.
    let other = format!("3\t{cut}\tWhich?\tone\n").repeat(1 + rows.len() / cut.len());
    fs::write(&path, format!("{HEADER}{other}")).unwrap();
    let message = synergy_hint::text(&samples[1].load_images().unwrap_err());
    assert!(message.contains("the file is not the one that was read: the row has "), "{message}");
}

/// A column of a parquet file: its values, and levels of definition and repetition where it has them.
pub(super) type Column = (Vec<Vec<u8>>, Option<Vec<i16>>, Option<Vec<i16>>);

/// Writes a parquet file of one group with these columns of bytes.
pub(super) fn write_parquet(path: &Path, schema: &str, columns: Vec<Column>) {
    use parquet::data_type::{ByteArray, ByteArrayType};
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer =
        parquet::file::writer::SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (values, levels, repetitions) in columns {
        let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, levels.as_deref(), repetitions.as_deref()).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// A parquet file of one row whose columns are numbers, or bytes of a fixed length.
fn parquet_of_numbers(path: &Path, schema: &str, row: &[Vec<u8>]) {
    use parquet::column::writer::ColumnWriter;
    use parquet::data_type::{ByteArray, FixedLenByteArray};
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer =
        parquet::file::writer::SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for bytes in row {
        let mut column = group.next_column().unwrap().unwrap();
        let bytes = bytes.as_slice();
        match column.untyped() {
            ColumnWriter::Int32ColumnWriter(writer) => {
                let value = i32::from_le_bytes(bytes.try_into().unwrap());
                writer.write_batch(&[value], None, None).unwrap();
            }
            ColumnWriter::Int64ColumnWriter(writer) => {
                let value = i64::from_le_bytes(bytes.try_into().unwrap());
                writer.write_batch(&[value], None, None).unwrap();
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(writer) => {
                let value = FixedLenByteArray::from(ByteArray::from(bytes));
                writer.write_batch(&[value], None, None).unwrap();
            }
            _ => panic!("another type"),
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn dates_and_decimals_of_parquet_are_written_as_an_answer_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    // 2020-01-31, and half past noon of that day, in seconds.
    let (day, noon) = (1_580_428_800_i64, 1_580_428_800_i64 + 45_000);
    let long = |value: i64| value.to_le_bytes().to_vec();
    let big = |value: i64| {
        let mut bytes = vec![if value < 0 { 0xff } else { 0 }; 24];
        bytes.extend(value.to_be_bytes());
        bytes
    };
    let cells: [(&str, Vec<u8>, &str); 12] = [
        ("int64 {} (TIMESTAMP(MICROS,true))", long(day * 1_000_000), "2020-01-31"),
        ("int64 {} (TIMESTAMP(MILLIS,true))", long(day * 1000), "2020-01-31"),
        ("int64 {} (TIMESTAMP(NANOS,false))", long(day * 1_000_000_000), "2020-01-31"),
        ("int64 {} (TIMESTAMP(MICROS,true))", long(noon * 1_000_000), "2020-01-31 12:30:00"),
        ("int64 {} (TIMESTAMP(MILLIS,true))", long(noon * 1000 + 250), "2020-01-31 12:30:00.25"),
        ("int64 {} (TIMESTAMP(NANOS,true))", long(-1_000_000_000), "1969-12-31 23:59:59"),
        ("int32 {} (DATE)", 18_292_i32.to_le_bytes().to_vec(), "2020-01-31"),
        ("int32 {} (TIME(MILLIS,true))", 45_000_000_i32.to_le_bytes().to_vec(), "12:30:00"),
        ("fixed_len_byte_array(32) {} (DECIMAL(70,0))", big(4), "4"),
        ("fixed_len_byte_array(32) {} (DECIMAL(70,0))", big(-40), "-40"),
        ("fixed_len_byte_array(32) {} (DECIMAL(70,2))", big(400), "4.00"),
        ("int64 {}", long(day * 1_000_000_000), "1580428800000000000"),
    ];
    let columns: String = cells
        .iter()
        .enumerate()
        .map(|(i, (kind, ..))| format!("required {};", kind.replace("{}", &format!("c{i}"))))
        .collect();
    let row: Vec<Vec<u8>> = cells.iter().map(|(_, bytes, _)| bytes.clone()).collect();
    parquet_of_numbers(&path, &format!("message schema {{ {columns} }}"), &row);
    let mut rows = crate::datasets::parquet::Parquet::open(&path).unwrap();
    let read = crate::datasets::value::Rows::next(&mut rows).unwrap().unwrap();
    for ((kind, _, want), value) in cells.iter().zip(read.values) {
        assert_eq!(value, crate::datasets::value::Value::Number((*want).to_owned()), "{kind}");
    }
}

/// A parquet file with `q`, `a` and a list of pictures as structs of bytes and path.
fn parquet_of_lists(path: &Path, rows: &[&[Option<&[u8]>]]) {
    let schema = "message schema {
        required binary q (UTF8); required binary a (UTF8);
        optional group p (LIST) { repeated group list { optional group element {
            optional binary bytes; optional binary path (UTF8); } } } }";
    let texts: Column = (vec![b"text".to_vec(); rows.len()], None, None);
    let mut columns = vec![texts.clone(), texts];
    for is_path in [false, true] {
        let (mut values, mut levels, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            if row.is_empty() {
                levels.push(1);
                repetitions.push(0);
            }
            for (place, bytes) in row.iter().enumerate() {
                repetitions.push(i16::from(place > 0));
                let value = bytes.filter(|_| !is_path);
                levels.push(if value.is_some() { 4 } else { 3 });
                values.extend(value.map(<[u8]>::to_vec));
            }
        }
        columns.push((values, Some(levels), Some(repetitions)));
    }
    write_parquet(path, schema, columns);
}

#[test]
fn pictures_in_a_list_of_parquet_are_found_again_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.parquet");
    let mapping = "benchmark = \"mine\"\nquestion = \"q\"\nanswer = \"a\"\n\
                   pictures = [{ column = \"p\", kind = \"bytes\" }]\n";
    let mapping = crate::datasets::mapped::Mapping::parse(mapping, Path::new("map.toml")).unwrap();
    let read = |rows: &[&[Option<&[u8]>]]| -> anyhow::Result<Vec<Vec<u32>>> {
        parquet_of_lists(&path, rows);
        let reader: Reader = crate::datasets::mapped::open(&mapping, &path).unwrap();
        let samples = reader.collect::<anyhow::Result<Vec<_>>>()?;
        let widths = |sample: &Sample| {
            sample.load_images().unwrap().iter().map(image::RgbImage::width).collect()
        };
        // In any order, as threads ask for them.
        let mut backwards: Vec<Vec<u32>> = samples.iter().rev().map(widths).collect();
        backwards.reverse();
        let forwards: Vec<Vec<u32>> = samples.iter().map(widths).collect();
        assert_eq!(forwards, backwards);
        Ok(forwards)
    };
    let pictures: Vec<Vec<u8>> = (1..6).map(|width| png(width, 2)).collect();
    let some = |place: usize| Some(pictures[place].as_slice());
    let rows: &[&[_]] = &[&[some(0), some(1)], &[some(2)], &[some(3), some(4), some(0)]];
    assert_eq!(read(rows).unwrap(), [vec![1, 2], vec![3], vec![4, 5, 1]]);
    let refused: [(&[&[_]], &str); 3] = [
        (
            &[&[some(0)], &[None, some(1)]],
            "row 2, column `p`: element 1 of the list is not a picture",
        ),
        (&[&[some(0)], &[]], "row 2, column `p`: there is no picture"),
        (
            &[&[Some(b"GIF89a")]],
            "row 1, column `p`: the picture is GIF, only PNG and JPEG are read",
        ),
    ];
    for (rows, want) in refused {
        let message = synergy_hint::text(&read(rows).unwrap_err());
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn parquet_is_read_in_every_codec_that_pyarrow_writes() {
    let mapping = "benchmark = \"mine\"\nquestion = \"q\"\nanswer = \"a\"\n\
                   pictures = [{ column = \"p\", kind = \"bytes\" }]\n";
    let mapping = crate::datasets::mapped::Mapping::parse(mapping, Path::new("map.toml")).unwrap();
    let folder = fixtures().join("codecs");
    let picture = synergy_picture::read(&fixtures().join("one.png")).unwrap();
    for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"] {
        let path = folder.join(codec).with_extension("parquet");
        let samples = crate::datasets::mapped::open(&mapping, &path).unwrap();
        let samples: Vec<Sample> = samples.map(Result::unwrap).collect();
        assert_eq!(samples.len(), 12, "{codec}");
        for (i, sample) in samples.iter().enumerate() {
            assert_eq!(sample.question, format!("How many apples are {i} apples and {i} apples?"));
            assert_eq!(sample.answer, (2 * i).to_string(), "{codec}");
        }
        assert_eq!(samples[11].load_images().unwrap()[0], picture, "{codec}");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 6);
}

/// Returns the most memory that the process ever held, in bytes.
#[cfg(target_os = "linux")]
pub(super) fn memory_bytes_max() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// About a second: 120 MB are written and read.
#[cfg(target_os = "linux")]
#[test]
fn a_large_table_is_read_in_little_memory() {
    const ROWS: u32 = 80;
    const CELL: usize = 1_500_000;
    let (_folder, path) = table("");
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let mut picture = BASE64_STANDARD.encode(png(9, 2)).trim_end_matches('=').to_owned();
    picture.truncate(picture.len() / 4 * 4);
    picture.extend(std::iter::repeat_n('A', CELL / 4 * 4 - picture.len()));
    for index in 0..ROWS {
        writeln!(file, "{index}\t{picture}\tWhich?\tone\ttwo\tA\tmath").unwrap();
    }
    // The last row names the first one's picture.
    writeln!(file, "{ROWS}\t0\tWhich?\tone\ttwo\tA\tmath").unwrap();
    drop(picture);
    let before = memory_bytes_max();
    let samples: Vec<Sample> = open("mmstar", &path).unwrap().map(Result::unwrap).collect();
    assert_eq!(samples.len(), ROWS as usize + 1);
    assert_eq!(samples[0].images, samples[ROWS as usize].images);
    let grown = memory_bytes_max() - before;
    assert!(grown < 16_000_000, "{grown} bytes more for cells of {CELL}");
}

#[test]
fn a_split_must_be_named_where_there_are_several() {
    let with_id = |id: &str| {
        let mut sample = Sample::procedural(Family::Sum, 1, Split::Test, 0, 1..=1);
        sample.id = id.to_owned();
        sample
    };
    let ids = ["mmmu/dev/1", "mmmu/validation/1", "mmmu/validation/2"].map(with_id).to_vec();
    assert_eq!(of_split(ids.clone(), Some("validation")).unwrap().len(), 2);
    let error = synergy_hint::text(&of_split(ids.clone(), None).unwrap_err());
    assert!(
        error.ends_with("hint: name one of dev (1 questions), validation (2 questions)"),
        "{error}"
    );
    let error = synergy_hint::text(&of_split(ids, Some("test")).unwrap_err());
    assert!(error.starts_with("the files hold no split `test`\nhint: there are dev"), "{error}");
}
