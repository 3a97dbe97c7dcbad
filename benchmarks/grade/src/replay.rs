//! Replays the cases of `conformance/` and the verdicts of peers in `golden/parity/fixtures`.
//!
//! This module does not know rules: what it compares was written by hand there and by the peers' own code here.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization as _;

use crate::answer::Outcome;
use crate::{Benchmark, Grader, Target, grade};

#[path = "../examples/fuzz_grade/pieces.rs"]
mod pieces;

/// At least so many cases are written down.
const CASES_MIN: usize = 1700;
/// Each emulation agrees with its peer on at least this share of the rows.
const AGREEMENT_MIN: f64 = 0.99;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    gold: String,
    response: String,
    choices: Option<Vec<String>>,
    precision: Option<u32>,
    benchmark: Option<String>,
    verdict: Outcome,
    why: String,
    finished: Option<bool>,
}

fn manifest(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn cases() -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(manifest("conformance"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        for line in fs::read_to_string(&file).unwrap().lines() {
            cases
                .push(serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")));
        }
    }
    cases
}

#[test]
fn every_case_gets_the_verdict_that_is_written_beside_it() {
    let cases = cases();
    assert!(cases.len() >= CASES_MIN, "{}", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        let choices = case.choices.clone().unwrap_or_default();
        let (gold, precision) = (case.gold.as_str(), case.precision);
        let benchmark = Benchmark::from(case.benchmark.as_deref().unwrap_or_default());
        let target = Target { gold, choices: &choices, precision, benchmark };
        let found = grade(Grader::Synergy1, &target, &case.response, case.finished.unwrap_or(true));
        if found.outcome != case.verdict {
            failed.push(format!(
                "{:?} wanted, {:?} found ({}): {gold} | {} | {:?}",
                case.verdict, found.outcome, case.why, case.response, found.extracted
            ));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[derive(Deserialize)]
struct Fixture {
    peers: Vec<String>,
    benchmarks: Vec<String>,
    options: Vec<Vec<String>>,
    rows: Vec<(String, String, i64, Option<u32>, usize, String)>,
}

/// `peer row` of every line of the list that names one.
fn listed() -> BTreeSet<(String, usize)> {
    let text =
        fs::read_to_string(manifest("../../golden/parity/graders-disagreements.md")).unwrap();
    let cell = |line: &str, at: usize| line.split('|').nth(at).map(|cell| cell.trim().to_owned());
    text.lines().filter_map(|line| Some((cell(line, 1)?, cell(line, 2)?.parse().ok()?))).collect()
}

#[test]
fn emulations_agree_with_the_peers_of_the_reference_but_for_the_listed_rows() {
    let text = fs::read_to_string(manifest("../../golden/parity/fixtures/graders.json")).unwrap();
    let fixture: Fixture = serde_json::from_str(&text).unwrap();
    let mut differing = BTreeSet::new();
    let mut lines = Vec::new();
    let mut low = false;
    for (place, name) in fixture.peers.iter().enumerate() {
        let grader = Grader::from_name(name).unwrap();
        for (index, (gold, response, options, precision, benchmark, verdicts)) in
            fixture.rows.iter().enumerate()
        {
            let choices = usize::try_from(*options).map_or(&[][..], |at| &fixture.options[at]);
            let benchmark = Benchmark::from(fixture.benchmarks[*benchmark].as_str());
            let target = Target { gold, choices, precision: *precision, benchmark };
            let found = grade(grader, &target, response, true).outcome;
            let wanted = Outcome::from_code(verdicts.chars().nth(place).unwrap()).unwrap();
            if found != wanted {
                differing.insert((name.clone(), index));
                lines.push(format!(
                    "| {name} | {index} | {wanted:?} | {found:?} | `{gold}` | `{response}` | {benchmark:?} {options}"
                ));
            }
        }
        let count = differing.iter().filter(|(peer, _)| peer == name).count();
        let agreement = 1.0 - count as f64 / fixture.rows.len() as f64;
        lines.push(format!("{name}: {:.2} %", 100.0 * agreement));
        low |= agreement < AGREEMENT_MIN;
    }
    println!("{}", lines.join("\n"));
    assert!(!low, "\n{}", lines.join("\n"));
    assert_eq!(differing, listed(), "\n{}", lines.join("\n"));
}

/// Text that is dense in what graders look for.
fn markup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(pieces::PIECES.clone());
    prop::collection::vec(prop_oneof![4 => piece.prop_map(str::to_owned), 1 => ".{0,3}"], 0..40)
        .prop_map(|pieces| pieces.concat())
}

#[test]
fn markup_around_the_key_counts_as_little_as_around_the_answer() {
    for (a, b) in [("\\text{f'(x)}", "(f'(x))"), ("\\text{5 cm}", "5 cm"), ("$x^2$", "x^2")] {
        assert_eq!([verdict(a, b), verdict(b, a)], [Outcome::Correct; 2], "{a} and {b}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_grader_panic(
        response in markup(),
        gold in markup(),
        choices in prop::collection::vec(markup(), 0..5),
        precision in prop::option::of(0u32..4),
        benchmark in prop::sample::select(pieces::BENCHMARKS.to_vec()),
        finished: bool,
    ) {
        let benchmark = Benchmark::from(benchmark);
        let target = Target { gold: &gold, choices: &choices, precision, benchmark };
        for grader in Grader::ALL {
            let judgement = grade(grader, &target, &response, finished);
            prop_assert_eq!(judgement.outcome == Outcome::Truncated, !finished);
        }
    }

    #[test]
    fn an_answer_is_the_same_as_itself(gold in "[ -~]{1,20}") {
        prop_assume!(!gold.trim().is_empty() && !gold.contains(['{', '}', '\\']));
        let target = Target { gold: &gold, ..Target::default() };
        let judgement = grade(Grader::Synergy1, &target, &format!("\\boxed{{{gold}}}"), true);
        prop_assert_eq!(judgement.outcome, Outcome::Correct);
    }
}

/// An answer that is a number, a list, a unit, a date, a matrix or words.
fn answers() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "-?[0-9]{1,3}",
        "[0-9]{18,45}",
        "[0-9]\\.[0-9]{1,6}",
        "[0-9]{1,2}/[1-9]",
        "[0-9]{1,2}%",
        "[0-9]-[0-9]",
        "[0-9]!",
        Just("1.\\overline{3}".to_owned()),
        Just("0.5\\%".to_owned()),
        Just("x²".to_owned()),
        Just("x^{2}".to_owned()),
        Just("\\frac{n!}{2}".to_owned()),
        Just("\\sqrt[3]{x}".to_owned()),
        Just("x>1".to_owned()),
        Just("red".to_owned()),
        Just("f'(x)".to_owned()),
        Just("\\pm 3".to_owned()),
        Just("1\\mp\\sqrt{2}".to_owned()),
        Just("x\\in A".to_owned()),
        Just("$5".to_owned()),
        Just("五十".to_owned()),
        Just("n!".to_owned()),
        Just("2\\pi".to_owned()),
    ];
    let unit = prop::sample::select(vec![
        "",
        "",
        "",
        " cm",
        "厘米",
        "%",
        "^\\circ",
        "℃",
        "元",
        " apples",
        " mA",
        " MA",
        "千",
        "打",
        " squared",
        " km north",
    ]);
    let quantity = (number, unit).prop_map(|(number, unit)| number + unit);
    let joined = prop::sample::select(vec![
        ", ", " and ", " or ", "，", "或", " \\cup ", "=", " & ", " \\\\ ", " \\lor ", " \\land ",
        " \\in ", "-",
    ]);
    let bracket = prop::sample::select(vec![
        ("", ""),
        ("", ""),
        ("(", ")"),
        ("[", ")"),
        ("\\{", "\\}"),
        ("{", "}"),
        ("\\text{", "}"),
        ("\\begin{pmatrix}", "\\end{pmatrix}"),
    ]);
    let list = (prop::collection::vec(quantity, 1..4), joined, bracket);
    list.prop_map(|(items, joined, (open, close))| format!("{open}{}{close}", items.join(joined)))
}

/// The verdict on a box that holds an answer.
fn verdict(gold: &str, answer: &str) -> Outcome {
    let target = Target { gold, ..Target::default() };
    grade(Grader::Synergy1, &target, &format!("\\boxed{{{answer}}}"), true).outcome
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn equality_goes_both_ways(a in answers(), b in answers()) {
        prop_assert_eq!(verdict(&a, &b), verdict(&b, &a));
        prop_assert_eq!(verdict(&a, &a), Outcome::Correct);
    }

    #[test]
    fn no_normal_form_changes_a_verdict(gold in "[a-z0-9é가-힣Ａ-Ｚ０-９（），：％㎝㎏℃]{1,12}") {
        let forms: [String; 4] =
            [gold.nfc().collect(), gold.nfd().collect(), gold.nfkc().collect(), gold.nfkd().collect()];
        for form in &forms {
            prop_assert_eq!(verdict(&gold, form), verdict(&gold, &gold));
        }
    }
}

#[test]
fn deep_and_long_texts_take_little_time() {
    let choices = ["1", "2"].map(str::to_owned);
    let pieces = "\\boxed{~(~{~\\frac{~\\sqrt{~-~$~answer is ~answer~1,~|~[ ~A ~\\text{~\\boxed{1} or ~1 + ~=~so ~\n~\\pm ~^~选~答案~（~5.1~\\text{(~{{~0.12..~\\begin{matrix} ~\\\\ ~!";
    for piece in pieces.split('~') {
        let text = piece.repeat(20_000 / piece.len());
        for choices in [&choices[..], &[]] {
            let benchmark = Benchmark::Mmmu;
            let target = Target { gold: "1", choices, precision: None, benchmark };
            for grader in Grader::ALL {
                let started = std::time::Instant::now();
                grade(grader, &target, &text, true);
                grade(grader, &target, &format!("\\boxed{{{text}}}"), true);
                assert!(started.elapsed().as_secs() < 20, "{} {piece}", grader.name());
            }
        }
    }
}

#[test]
fn graders_are_known_by_their_names() {
    for grader in Grader::ALL {
        assert_eq!(Grader::from_name(grader.name()), Some(grader));
    }
    assert_eq!(Grader::from_name("synergy"), None);
}
