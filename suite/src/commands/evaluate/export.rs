//! An evaluation in other programs' formats: lm-eval's results and samples with a sub-task for each level, the Hub's
//! evaluation results and model index, VLMEvalKit's prediction table. Pure.
//!
//! This module does not know our own formats' readers. Field names are theirs; what they ask for and we do not have is left out or
//! null, never made up.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use synergy_benchmarks::sample::Sample;
use synergy_grade::answer::Outcome;
use synergy_report::completion::Completion;
use synergy_report::statistics::Interval;

use super::Answered;
use super::judge::Report;

/// The Hub's names of the sets: benchmark, data set, split. Whether the Hub has registered each as a benchmark, which it
/// asks for, is not known here.
const HUB: [(&str, &str, &str); 5] = [
    ("mathvision", "MathLLMs/MathVision", "test"),
    ("mathvista", "AI4Math/MathVista", "testmini"),
    ("mathverse", "CaraJ/MathVerse-lmmseval", "testmini"),
    ("mmmu", "lmms-lab/MMMU", "validation"),
    ("mmstar", "Lin-Chen/MMStar", "val"),
];

/// Returns the exported files by their path in the folder of exports; `outcomes` are those of the chosen grader, `now` as `2026-01-31T12:34:56`.
///
/// # Errors
/// Never in practice: plain data always serializes.
pub(super) fn files(
    report: &Report,
    answered: &Answered,
    completions: &[Completion],
    outcomes: &[Outcome],
    now: &str,
) -> Result<Vec<(String, String)>> {
    let model = sanitized(&report.answerer.id);
    let time = now.replace(':', "-");
    let mut files = vec![(
        format!("lm-eval/{model}/results_{time}.json"),
        serde_json::to_string_pretty(&lm_eval_results(report, now)).context("plain data")? + "\n",
    )];
    for (task, lines) in lm_eval_samples(report, answered, completions, outcomes)? {
        files.push((format!("lm-eval/{model}/samples_{task}_{time}.jsonl"), lines));
    }
    files.push((
        format!("vlmevalkit/{model}_{}.tsv", report.benchmark),
        predictions(answered, completions),
    ));
    files.push(("model-index.yaml".to_owned(), model_index(report)));
    if let Some(text) = eval_results(report) {
        files.push((format!("eval_results/{}.yaml", report.benchmark), text));
    }
    Ok(files)
}

/// Writes a model's name as lm-eval writes it in a path.
fn sanitized(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.chars().map(keep).collect()
}

/// The task of each part: the benchmark itself, then a sub-task for each level.
fn tasks(report: &Report) -> Vec<(String, Interval, usize)> {
    let whole = (report.benchmark.clone(), report.accuracy, report.num_questions);
    let level = |part: &super::judge::Part| {
        (format!("{}_{}", report.benchmark, part.name), part.accuracy, part.num_questions)
    };
    [whole].into_iter().chain(report.levels.iter().map(level)).collect()
}

fn lm_eval_results(report: &Report, now: &str) -> Value {
    let tasks = tasks(report);
    let object = |value: &dyn Fn(&(String, Interval, usize)) -> Value| -> Map<String, Value> {
        tasks.iter().map(|task| (task.0.clone(), value(task))).collect()
    };
    let names: Vec<&String> = tasks.iter().skip(1).map(|task| &task.0).collect();
    let drawing = &report.drawing;
    json!({
        "results": object(&|(name, accuracy, count)| json!({
            "alias": name,
            "sample_len": count,
            "acc,none": accuracy.mean,
            // Half of a 95 % interval is 1.96 standard errors.
            "acc_stderr,none": accuracy.half_width() / 1.959_963_984_540_054,
        })),
        "groups": {},
        "group_subtasks": { report.benchmark.as_str(): names },
        "configs": object(&|(name, _, _)| json!({"task": name, "output_type": "generate_until"})),
        "versions": object(&|_| json!(report.grader)),
        "n-shot": object(&|_| json!(0)),
        "higher_is_better": object(&|_| json!({"acc": true})),
        "n-samples": object(&|(_, _, count)| json!({"original": count, "effective": count})),
        "config": {
            "model": report.answerer.backend,
            "model_args": format!("model={}", report.answerer.id),
            "model_revision": report.answerer.revision,
            "gen_kwargs": {
                "temperature": drawing.temperature, "top_p": drawing.top_p, "top_k": drawing.top_k,
                "max_gen_toks": drawing.max_new_tokens, "repeats": report.num_samples,
            },
            "random_seed": drawing.seed,
            "limit": null,
        },
        "git_hash": report.provenance.commit,
        "date": now,
        "model_source": report.answerer.backend,
        "model_name": report.answerer.id,
        "model_name_sanitized": sanitized(&report.answerer.id),
        "system_instruction": null,
        "fewshot_as_multiturn": false,
    })
}

/// Lines of each task's samples file.
fn lm_eval_samples(
    report: &Report,
    answered: &Answered,
    completions: &[Completion],
    outcomes: &[Outcome],
) -> Result<BTreeMap<String, String>> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let asked = &answered.asked;
    let num_samples = report.num_samples.max(1);
    for (doc_id, (sample, text)) in asked.samples.iter().zip(&asked.texts).enumerate() {
        let own = doc_id * num_samples..(doc_id + 1) * num_samples;
        let texts: Vec<&str> = completions[own.clone()].iter().map(|c| c.text.as_str()).collect();
        let accuracy = outcomes[own].iter().filter(|outcome| **outcome == Outcome::Correct).count()
            as f64
            / num_samples as f64;
        let row = json!({
            "doc_id": doc_id,
            "doc": {
                "id": sample.id, "question": sample.question, "choices": sample.choices,
                "answer": sample.answer, "category": sample.details.category,
                "level": sample.details.level, "pass_rate": sample.details.pass_rate,
            },
            "target": sample.answer,
            "arguments": {"gen_args_0": {"arg_0": text, "arg_1": {
                "temperature": report.drawing.temperature,
                "max_gen_toks": report.drawing.max_new_tokens,
            }}},
            "resps": [texts],
            "filtered_resps": texts,
            "filter": "none",
            "metrics": ["acc"],
            "doc_hash": hash(&sample.id),
            "prompt_hash": hash(text),
            "target_hash": hash(&sample.answer),
            "acc": accuracy,
        });
        let line = serde_json::to_string(&row).context("plain data")? + "\n";
        let level = sample.details.level.map(|level| format!("{}_{level}", report.benchmark));
        for task in [Some(report.benchmark.clone()), level].into_iter().flatten() {
            files.entry(task).or_default().push_str(&line);
        }
    }
    Ok(files)
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// VLMEvalKit's prediction table: the columns of its input without pictures, and `prediction`; a row for each answer.
fn predictions(answered: &Answered, completions: &[Completion]) -> String {
    let samples = &answered.asked.samples;
    let num_choices = samples.iter().map(|s| s.choices.len()).max().unwrap_or(0).min(26);
    let letters: Vec<String> = ('A'..='Z').take(num_choices).map(String::from).collect();
    let mut header = vec!["index".to_owned(), "question".to_owned()];
    header.extend(letters);
    header.extend(["answer", "category", "prediction"].map(str::to_owned));
    let mut text = header.join("\t") + "\n";
    let by_id: BTreeMap<&str, &Sample> = samples.iter().map(|s| (s.id.as_str(), s)).collect();
    for completion in completions {
        let Some(sample) = by_id.get(completion.sample_id.as_str()) else { continue };
        let mut row = vec![cell(&sample.id), cell(&sample.question)];
        row.extend(
            (0..num_choices).map(|i| cell(sample.choices.get(i).map_or("", String::as_str))),
        );
        row.push(cell(&sample.answer));
        row.push(cell(sample.details.category.as_deref().unwrap_or("")));
        row.push(cell(&completion.text));
        let _ = writeln!(text, "{}", row.join("\t"));
    }
    text
}

/// A cell of a TSV: in quotes where it holds what would end it.
fn cell(text: &str) -> String {
    if text.contains(['\t', '\n', '\r', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Says in one line how accuracy was measured.
fn notes(report: &Report) -> String {
    format!(
        "{} rule grader, no judge model; temperature {}, {} tokens, {} answers each; 95 % interval {:.1} to {:.1}",
        report.grader,
        report.drawing.temperature,
        report.drawing.max_new_tokens,
        report.num_samples,
        100.0 * report.accuracy.low,
        100.0 * report.accuracy.high
    )
}

/// The text of `.eval_results/<benchmark>.yaml` in a model's repository; `None` for a set that the Hub does not have.
fn eval_results(report: &Report) -> Option<String> {
    let (_, dataset, _) = HUB.into_iter().find(|(name, _, _)| *name == report.benchmark)?;
    Some(format!(
        "- dataset: {{id: {dataset}, task_id: default}}\n  value: {:.1}\n  date: {}\n  notes: {}\n",
        100.0 * report.accuracy.mean,
        quoted(&report.provenance.date),
        quoted(&notes(report))
    ))
}

/// The front matter of a model card, an entry for the whole and one for each level.
fn model_index(report: &Report) -> String {
    let known = HUB.into_iter().find(|(name, _, _)| *name == report.benchmark);
    let (dataset, split) = known.map_or((report.benchmark.as_str(), "test"), |(_, d, s)| (d, s));
    let mut text = format!("model-index:\n- name: {}\n  results:\n", quoted(&report.answerer.id));
    for (task, accuracy, count) in tasks(report) {
        let level = task.strip_prefix(&format!("{}_", report.benchmark));
        let name = level.map_or_else(|| "acc".to_owned(), |level| format!("acc@{level}"));
        let _ = write!(
            text,
            "  - task: {{type: visual-question-answering}}\n    dataset: {{type: {}, name: {}, split: {split}}}\n    \
             metrics:\n    - {{type: accuracy, value: {:.1}, name: {}, args: {{grader: {}, questions: {count}}}}}\n",
            quoted(dataset),
            quoted(&report.benchmark),
            100.0 * accuracy.mean,
            quoted(&name),
            quoted(&report.grader)
        );
    }
    text
}

/// A string of YAML, which takes those of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
