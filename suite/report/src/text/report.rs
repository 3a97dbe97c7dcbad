//! Results as what others read: the leaderboard's JSON and a report in Markdown. Pure.
//!
//! Does not know where the files go (the caller writes them, whole or not at all) nor how the
//! numbers came about. The JSON follows `golden/schema/leaderboard.schema.json`; a change of its
//! meaning raises [`LEADERBOARD_VERSION`] and the schema with it.
//! Shares stay shares in JSON and become percent only where a person reads them.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use synergy_benchmarks::answer::Outcome;
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::style::REASONING_WORDS;

use crate::analysis::{Analyses, grids, written};
use crate::claims::{self, ClaimVerdict, Finding, ledger};
use crate::completion::Completion;
use crate::cost::{Budget, Cost};
use crate::score::{Cell, Metrics, ResultRow, Results};
use crate::statistics::Interval;
use crate::text::markdown::{inline, markdown_table, section};
use crate::text::terminal::{self as table, Grid};

/// Version of the leaderboard's JSON.
pub const LEADERBOARD_VERSION: u32 = 2;

/// A completion to show in the report.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleCompletion {
    pub regime: String,
    pub completion: Completion,
    pub outcome: Outcome,
    /// The question's text.
    pub question: String,
}

/// Whether `leaderboard` satisfies `golden/schema/leaderboard.schema.json`: what does not is not
/// published.
///
/// # Errors
/// With every place that does not.
pub fn check(leaderboard: &Value) -> Result<()> {
    let schema = include_str!("../../../../golden/schema/leaderboard.schema.json");
    let schema = serde_json::from_str(schema).context("the schema is JSON")?;
    let validator = jsonschema::draft202012::new(&schema).context("the schema is a schema")?;
    let faults: Vec<String> =
        validator.iter_errors(leaderboard).map(|e| format!("{}: {e}", e.instance_path())).collect();
    ensure!(faults.is_empty(), "leaderboard breaks its schema: {}", faults.join(", "));
    Ok(())
}

/// The leaderboard of one run as JSON: provenance, levels and, per row, cells with intervals.
pub fn leaderboard(results: &Results, metrics: &Metrics) -> Value {
    let provenance = &results.provenance;
    let levels: Vec<Value> = results
        .level_shares()
        .into_iter()
        .map(|(level, count, share)| {
            json!({ "level": level, "num_questions": count, "share": rounded(share) })
        })
        .collect();
    let rows: Vec<Value> = table::ordered_rows(results)
        .into_iter()
        .map(|row| row_json(row, results, metrics))
        .collect();
    let external: Vec<Value> = results
        .external
        .iter()
        .map(|external| {
            json!({
                "benchmark": external.benchmark,
                "row": external.row,
                "accuracy": rounded(external.accuracy),
            })
        })
        .collect();
    let training: Vec<Value> = results
        .training
        .iter()
        .map(|stage| {
            json!({
                "regime": stage.regime,
                "seed": stage.seed,
                "stage": stage.stage,
                "cost": cost_json(&stage.cost),
                "summary": stage
                    .summary
                    .iter()
                    .map(|(name, value)| (name.clone(), rounded(*value)))
                    .collect::<serde_json::Map<_, _>>(),
            })
        })
        .collect();
    json!({
        "schema_version": LEADERBOARD_VERSION,
        "profile": results.profile,
        "recipe_hash": results.recipe_hash,
        "grader": results.grader,
        "provenance": {
            "date": provenance.date,
            "commit": provenance.commit,
            "dirty": provenance.dirty,
            "command": provenance.command,
            "machine": { "cpu": provenance.machine.cpu, "cores": provenance.machine.cores },
            "backend": provenance.backend,
            "rustc": provenance.rustc,
            "wall_time_s": rounded(provenance.wall_time_s),
        },
        "base": {
            "hash": provenance.base_hash,
            "provisional": provenance.base_provisional,
            "note": provenance.base_note,
        },
        "levels": levels,
        "families": results.families(),
        "external_benchmarks": results.external_benchmarks(),
        "external": external,
        "training": training,
        "claims": ledger(results).iter().map(claim_json).collect::<Vec<_>>(),
        "rows": rows,
    })
}

fn claim_json(finding: &Finding) -> Value {
    json!({
        "id": finding.id,
        "claim": finding.claim,
        "measured": finding.measured,
        "verdict": finding.verdict,
        "effect": finding.effect.map(interval_json),
        "minimum_detectable_effect": finding.minimum_detectable_effect.map(rounded),
        "explained_by": finding.explained_by,
        "published": finding.published,
        "note": finding.note,
    })
}

fn cost_json(cost: &Cost) -> Value {
    json!({
        "tokens_generated": cost.tokens_generated,
        "tokens_trained": cost.tokens_trained,
        "tokens_forward": cost.tokens_forward,
        "optimizer_steps": cost.optimizer_steps,
        "flops": cost.flops.round(),
        "wall_time_s": rounded(cost.wall_time_s),
    })
}

fn row_json(row: &ResultRow, results: &Results, metrics: &Metrics) -> Value {
    let budgets = results.budgets.iter().filter(|budget| budget.regime == row.name);
    let cells: Vec<Value> =
        metrics.cells.iter().filter(|cell| cell.row == row.name).map(cell_json).collect();
    json!({
        "name": row.name,
        "kind": row.kind,
        "note": row.note,
        "seeds": row.seeds.iter().map(|seed| seed.seed).collect::<Vec<_>>(),
        "budget": budgets.map(|budget| cost_json(&budget.cost)).collect::<Vec<_>>(),
        "cells": cells,
    })
}

fn cell_json(cell: &Cell) -> Value {
    let wrong = 1.0 - cell.accuracy.mean - cell.truncated - cell.unparsed;
    let words: serde_json::Map<String, Value> = REASONING_WORDS
        .iter()
        .zip(cell.words_per_1000_tokens)
        .map(|(word, rate)| ((*word).to_owned(), rounded(rate)))
        .collect();
    json!({
        "benchmark": cell.benchmark.as_deref().unwrap_or("all"),
        "level": cell.level.map_or_else(|| "all".to_owned(), |level| level.to_string()),
        "num_questions": cell.num_questions,
        "accuracy": interval_json(cell.accuracy),
        "gain": cell.gain.map(interval_json),
        "length": interval_json(cell.length),
        "outcomes": {
            "correct": rounded(cell.accuracy.mean),
            "wrong": rounded(wrong.max(0.0)),
            "truncated": rounded(cell.truncated),
            "unparsed": rounded(cell.unparsed),
        },
        "formatted": rounded(cell.formatted),
        "words_per_1000_tokens": words,
    })
}

fn interval_json(interval: Interval) -> Value {
    json!({
        "mean": rounded(interval.mean),
        "low": rounded(interval.low),
        "high": rounded(interval.high),
    })
}

/// Six decimals: finer than any interval, and the same text on every machine.
fn rounded(value: f64) -> Value {
    // Adding 0 turns -0 into 0.
    json!((value * 1e6).round() / 1e6 + 0.0)
}

/// The report: the table by level, then families, controls, length, outcomes, style, training
/// and sample completions.
pub fn report_markdown(
    results: &Results,
    metrics: &Metrics,
    analyses: Option<&Analyses>,
    samples: &[SampleCompletion],
) -> String {
    let mut text = format!("# Synergy, profile {}\n\n", inline(&results.profile));
    let _ = writeln!(text, "{}.", inline(&table::title(results)));
    if let Some(warning) = table::provisional(results) {
        let _ = writeln!(text, "\n> **Note:** {}", inline(&warning));
    }
    section(&mut text, "Accuracy by level", &table::legend().replace('\n', " "));
    markdown_table(&mut text, &table::levels_grid(results, metrics));
    section(
        &mut text,
        "Accuracy by family",
        "In percent, with the gain over base in points below it.",
    );
    markdown_table(&mut text, &families_grid(results, metrics));
    if let Some(line) = table::text_only_line(results) {
        let _ = writeln!(text, "\n{}.", inline(&line));
    }
    for benchmark in results.external_benchmarks() {
        let line = table::external_line(results, metrics, benchmark);
        let _ = writeln!(text, "\n{}.", inline(&line));
    }
    section(&mut text, "What the rows are", "Read every gain beside its controls.");
    for row in table::ordered_rows(results) {
        let _ = writeln!(text, "- `{}`: {}", row.name, inline(&row.note));
    }
    section(
        &mut text,
        "The study's claims",
        "Ours beside the study's own figures, which are of a 7B model.",
    );
    markdown_table(&mut text, &claims_grid(results));
    let _ = writeln!(text, "\n{}", claims::RULE);
    section(&mut text, "Length by level", "Mean tokens per answer.");
    markdown_table(&mut text, &by_level(results, metrics, |cell| table::plus_minus(cell.length)));
    section(&mut text, "Outcomes", "In percent of all answers.");
    markdown_table(&mut text, &outcomes_grid(results, metrics));
    section(&mut text, "Style", "Reasoning words per 1000 tokens.");
    markdown_table(&mut text, &style_grid(results, metrics));
    if let Some(analyses) = analyses {
        let rows = analyses.rows.iter();
        let all = rows.filter_map(|row| Some((row.row.clone(), row.groups.first()?)));
        written::style(&mut text, &grids::style("row", all));
        written::budgets(&mut text, &analyses.rows);
        written::graders(&mut text, &analyses.agreement);
        let _ = writeln!(text, "\nEvery row under each, in percent:\n");
        markdown_table(&mut text, &grids::rows(analyses));
    }
    if !results.budgets.is_empty() {
        section(
            &mut text,
            "Budget",
            "What each regime has cost with all it stands on; operations are 2 for each of the decoder's \
             parameters and token forward, and twice as many backward.",
        );
        markdown_table(&mut text, &budget_grid(results, metrics));
    }
    if !results.training.is_empty() {
        section(&mut text, "Training", "Figures of each training stage.");
        markdown_table(&mut text, &training_grid(results));
    }
    if !samples.is_empty() {
        section(&mut text, "Sample completions", "Whole answers, as they were graded.");
        for (index, sample) in samples.iter().enumerate() {
            text.push_str(if index > 0 { "\n" } else { "" });
            sample_markdown(&mut text, sample);
        }
    }
    section(&mut text, "Provenance", "Where these figures come from.");
    provenance_markdown(&mut text, results);
    text
}

fn families_grid(results: &Results, metrics: &Metrics) -> Grid {
    let families = results.families();
    let external = results.external_benchmarks();
    let mut header = vec!["row".to_owned(), "avg".to_owned()];
    header.extend(families.iter().chain(&external).map(|name| (*name).to_owned()));
    let rows = table::ordered_rows(results)
        .into_iter()
        .map(|row| {
            let benchmarks = families.iter().chain(&external).map(|name| Some(*name));
            let cells: Vec<Option<&Cell>> = std::iter::once(None)
                .chain(benchmarks)
                .map(|benchmark| metrics.cell(&row.name, benchmark, None))
                .collect();
            let mut line = vec![table::label(row, &cells)];
            line.extend(cells.into_iter().map(|cell| table::accuracy_and_gain(row, cell)));
            line
        })
        .collect();
    Grid { header, rows }
}

fn by_level(results: &Results, metrics: &Metrics, show: impl Fn(&Cell) -> String) -> Grid {
    let mut header = vec!["row".to_owned(), "all".to_owned()];
    header.extend(Level::ALL.map(|level| level.to_string()));
    let rows = table::ordered_rows(results)
        .into_iter()
        .map(|row| {
            let levels = std::iter::once(None).chain(Level::ALL.map(Some));
            let cells = levels.map(|level| metrics.cell(&row.name, None, level));
            let mut line = vec![row.name.clone()];
            line.extend(cells.map(|cell| table::shown(cell, &show)));
            line
        })
        .collect();
    Grid { header, rows }
}

/// One line per row with values of its cell over all questions.
fn averages(
    results: &Results,
    metrics: &Metrics,
    names: &[&str],
    values: impl Fn(&Cell) -> Vec<String>,
) -> Grid {
    let header = std::iter::once("row").chain(names.iter().copied()).map(str::to_owned).collect();
    let rows = table::ordered_rows(results)
        .into_iter()
        .filter_map(|row| {
            let cell = metrics.average(&row.name)?;
            Some(std::iter::once(row.name.clone()).chain(values(cell)).collect())
        })
        .collect();
    Grid { header, rows }
}

fn claims_grid(results: &Results) -> Grid {
    let rows = ledger(results)
        .into_iter()
        .map(|f| {
            let verdict = match (f.verdict, &f.explained_by) {
                (ClaimVerdict::Holds, Some(_)) => "explained by control".to_owned(),
                (verdict, _) => verdict.name().to_owned(),
            };
            let because = f.explained_by.unwrap_or(f.note);
            vec![
                f.id.to_owned(),
                f.claim.to_owned(),
                verdict,
                f.measured,
                f.effect.map_or_else(|| table::NOTHING.to_owned(), table::plus_minus_signed),
                f.minimum_detectable_effect
                    .map_or_else(|| table::NOTHING.to_owned(), |effect| format!("{effect:.1}")),
                because,
                f.published.to_owned(),
            ]
        })
        .collect();
    let header =
        ["", "claim", "verdict", "decided by", "effect", "detectable", "note", "published (7B)"];
    Grid { header: header.map(str::to_owned).to_vec(), rows }
}

fn outcomes_grid(results: &Results, metrics: &Metrics) -> Grid {
    let names = ["correct", "wrong", "truncated", "unparsed", "in the form asked for"];
    averages(results, metrics, &names, |cell| {
        let correct = cell.accuracy.mean;
        let wrong = (1.0 - correct - cell.truncated - cell.unparsed).max(0.0);
        [correct, wrong, cell.truncated, cell.unparsed, cell.formatted].map(table::percent).to_vec()
    })
}

fn style_grid(results: &Results, metrics: &Metrics) -> Grid {
    averages(results, metrics, &REASONING_WORDS, |cell| {
        cell.words_per_1000_tokens.map(|rate| format!("{rate:.2}")).to_vec()
    })
}

fn budget_grid(results: &Results, metrics: &Metrics) -> Grid {
    let millions = |count: u64| format!("{:.2} M", count as f64 / 1e6);
    let rows = results
        .budgets
        .iter()
        .map(|Budget { regime, seed, cost }| {
            vec![
                regime.clone(),
                seed.to_string(),
                millions(cost.tokens_generated),
                millions(cost.tokens_trained),
                cost.optimizer_steps.to_string(),
                format!("{:.1}", cost.flops / 1e12),
                format!("{:.0}", cost.wall_time_s),
                table::shown(metrics.average(regime), |cell| {
                    cell.gain.map_or_else(String::new, table::points)
                }),
            ]
        })
        .collect();
    let header = ["regime", "seed", "generated", "trained", "updates", "TFLOP", "seconds", "gain"];
    Grid { header: header.map(str::to_owned).to_vec(), rows }
}

fn training_grid(results: &Results) -> Grid {
    let rows = results
        .training
        .iter()
        .map(|stage| {
            let figures: Vec<String> =
                stage.summary.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
            vec![
                stage.regime.clone(),
                stage.stage.clone(),
                stage.seed.to_string(),
                format!("{:.0}", stage.cost.wall_time_s),
                figures.join(", "),
            ]
        })
        .collect();
    let header = ["regime", "stage", "seed", "seconds", "figures"].map(str::to_owned).to_vec();
    Grid { header, rows }
}

fn sample_markdown(text: &mut String, sample: &SampleCompletion) {
    let completion = &sample.completion;
    let outcome = match sample.outcome {
        Outcome::Correct => "correct",
        Outcome::Wrong => "wrong",
        Outcome::Truncated => "truncated",
        Outcome::Unparsed => "unparsed",
    };
    let _ =
        writeln!(text, "### {}, `{}`: {outcome}\n", inline(&sample.regime), completion.sample_id);
    let _ = writeln!(text, "{}", inline(&sample.question));
    let _ = writeln!(
        text,
        "Target `{}`, {} tokens.\n",
        completion.answer.replace('`', "'"),
        completion.num_tokens
    );
    // A fence longer than any run of backticks inside cannot be closed by the model.
    let longest = completion.text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    let _ = writeln!(text, "{fence}text\n{}\n{fence}", completion.text);
}

fn provenance_markdown(text: &mut String, results: &Results) {
    let provenance = &results.provenance;
    let dirty = if provenance.dirty { ", with changes" } else { "" };
    let lines = [
        ("date", provenance.date.clone()),
        ("command", provenance.command.clone()),
        ("commit", format!("{}{dirty}", provenance.commit)),
        ("recipe", results.recipe_hash.clone()),
        ("grader", results.grader.clone()),
        ("base", provenance.base_hash.clone()),
        ("backend", provenance.backend.clone()),
        ("rustc", provenance.rustc.clone()),
        ("machine", format!("{}, {} cores", provenance.machine.cpu, provenance.machine.cores)),
        ("wall time", format!("{:.0} s", provenance.wall_time_s)),
    ];
    for (what, value) in lines {
        let _ = writeln!(text, "- {what}: {}", inline(&value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::study;

    fn example() -> Value {
        let results = study(20, &[1, 2]);
        leaderboard(&results, &Metrics::of(&results))
    }

    #[test]
    fn the_leaderboard_satisfies_its_schema() {
        check(&example()).unwrap();
    }

    #[test]
    fn the_schema_refuses_what_is_wrong() {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut value = example();
            change(&mut value);
            assert!(check(&value).is_err());
        };
        refused(&|v| v["schema_version"] = 1.into());
        refused(&|v| v["extra"] = 1.into());
        refused(&|v| v["rows"][0]["cells"][0]["accuracy"]["mean"] = Value::Null);
        refused(&|v| v["rows"][0]["cells"][0]["accuracy"]["mean"] = json!(45.5));
        refused(&|v| v["rows"][0]["cells"][0]["level"] = "L6".into());
        refused(&|v| v["rows"][0]["kind"] = "other".into());
        refused(&|v| {
            v["provenance"].as_object_mut().unwrap().remove("commit");
        });
        refused(&|v| v["levels"] = json!([]));
    }

    #[test]
    fn the_outcomes_of_a_cell_sum_to_one() {
        for row in example()["rows"].as_array().unwrap() {
            for cell in row["cells"].as_array().unwrap() {
                let outcomes = cell["outcomes"].as_object().unwrap();
                let sum: f64 = outcomes.values().filter_map(Value::as_f64).sum();
                assert!((sum - 1.0).abs() < 1e-5, "{cell}");
            }
        }
    }

    fn sample(text: &str) -> SampleCompletion {
        SampleCompletion {
            regime: "sft".to_owned(),
            completion: Completion {
                sample_id: "path/test/1/00001".to_owned(),
                benchmark: "path".to_owned(),
                hops: 2,
                sample: 0,
                answer: "red".to_owned(),
                choices: Vec::new(),
                precision: None,
                text: text.to_owned(),
                num_tokens: 12,
                finished: true,
            },
            outcome: Outcome::Wrong,
            question: "Start at b2 | follow 2 arrows.\nWhich color?".to_owned(),
        }
    }

    #[test]
    fn a_completion_cannot_break_out_of_the_report() {
        let results = study(20, &[1]);
        let text = "<think> ```\n# heading\n```` </think> | x";
        let report = report_markdown(&results, &Metrics::of(&results), None, &[sample(text)]);
        assert!(report.contains(&format!("`````text\n{text}\n`````\n")));
        assert!(report.contains("Start at b2 \\| follow 2 arrows. Which color?"));
    }

    #[test]
    fn every_row_of_a_markdown_table_has_the_headers_width() {
        let results = study(20, &[1]);
        let report = report_markdown(&results, &Metrics::of(&results), None, &[]);
        let mut width = None;
        for line in report.lines() {
            if !line.starts_with('|') {
                width = None;
                continue;
            }
            let cells = line.matches(" |").count();
            assert_eq!(*width.get_or_insert(cells), cells, "{line}");
        }
    }

    #[test]
    fn the_report_reads() {
        let mut results = study(20, &[1]);
        results
            .rows
            .retain(|row| ["base", "null", "sft", "sft/shuffled"].contains(&row.name.as_str()));
        let text = "<think> step 1 b2 is up so b1 . wait check </think> \\boxed{ blue }";
        let report = report_markdown(&results, &Metrics::of(&results), None, &[sample(text)]);
        insta::assert_snapshot!(report, @r#"
        # Synergy, profile small

        small: 100 questions, 1 seed, 2026-01-31, commit 0123456789ab, flex.

        > **Note:** provisional, the base has not passed its gate: verbose accuracy .81 on sum, .9 needed

        ## Accuracy by level

        accuracy in % ± half of its 95 % interval; below it the gain over base in points; length in tokens; truncated answers in %; `wait` per answer

        | accuracy | avg | L1<br>35.0 %<br>n 35 | L2<br>20.0 %<br>n 20 | L3<br>15.0 %<br>n 15 | L4<br>15.0 %<br>n 15 | L5<br>15.0 %<br>n 15 | length | trunc | wait |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | base | 51.7 ±7.1 | 88.6 ±5.4 | 56.2 ±11.2 | 35.0 ±13.3 | 16.7 ±8.3 | 11.7 ±6.7 | 17.9 ±0.2 | 1.0 | 0.00 |
        | null<br>gain | 54.2 ±6.6<br>+2.5 ±5.8 | 86.4 ±5.0<br>-2.1 ±8.2 | 67.5 ±11.2<br>+11.3 ±15.6 | 40.0 ±9.2<br>+5.0 ±19.2 | 25.0 ±10.0<br>+8.3 ±13.3 | 5.0 ±6.7<br>-6.7 ±10.0 | 17.9 ±0.1 | 0.0 | 0.00 |
        | sft<br>gain | 47.5 ±5.6<br>-4.2 ±6.4 | 64.3 ±8.2<br>-24.3 ±10.4 | 50.0 ±10.0<br>-6.3 ±12.5 | 46.7 ±14.2<br>+11.7 ±15.8 | 36.7 ±13.3<br>+20.0 ±12.5 | 16.7 ±8.4<br>+5.0 ±13.3 | 60.0 ±0.1 | 5.8 | 4.00 |
        | /shuffled | 18.8 ±3.8 | 15.0 ±5.0 | 20.0 ±7.5 | 23.3 ±10.8 | 20.0 ±10.8 | 20.0 ±11.7 | 60.0 ±0.1 | 6.0 | 4.00 |

        ## Accuracy by family

        In percent, with the gain over base in points below it.

        | row | avg | chart | count | path | sum | swap | easy_vqa |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | base | 51.7 ±7.1 | 60.0 ±16.2 | 46.2 ±14.4 | 46.2 ±15.0 | 50.0 ±15.0 | 56.2 ±17.5 | 82.5 ±11.2 |
        | null<br>gain | 54.2 ±6.6<br>+2.5 ±5.8 | 60.0 ±15.0<br>+0.0 ±10.0 | 50.0 ±16.2<br>+3.7 ±15.6 | 46.2 ±13.8<br>+0.0 ±12.5 | 58.8 ±14.4<br>+8.8 ±12.5 | 56.2 ±16.9<br>+0.0 ±11.9 | – |
        | sft<br>gain | 47.5 ±5.6<br>-4.2 ±6.4 | 46.2 ±9.4<br>-13.7 ±15.0 | 42.5 ±12.5<br>-3.8 ±16.9 | 51.2 ±12.5<br>+5.0 ±16.9 | 50.0 ±16.3<br>+0.0 ±11.9 | 47.5 ±12.5<br>-8.8 ±11.2 | 72.5 ±13.8<br>-10.0 ±20.0 |
        | /shuffled | 18.8 ±3.8 | 20.0 ±7.5 | 25.0 ±9.4 | 18.8 ±9.4 | 17.5 ±8.8 | 12.5 ±6.9 | – |

        The best guess from the text alone, in %: chart 29.7, count 28.3, path 20.0, sum 20.5, swap 23.4; only what is above it saw the picture.

        easy_vqa, 40 questions, accuracy in %: base 82.5 ±11.2, sft 72.5 ±13.8, question only 67.1.

        ## What the rows are

        Read every gain beside its controls.

        - `base`: The untuned base model, measured on samples that did not cut the levels.
        - `null`: The base once more on fresh samples: its gain is what chance alone shows.
        - `sft`: A regime.
        - `sft/shuffled`: The regime shown another question's picture: its chance, given the text.

        ## The study's claims

        Ours beside the study's own figures, which are of a 7B model.

        |  | claim | verdict | decided by | effect | detectable | note | published (7B) |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | C1 | A few deep traces teach more than many self-distilled answers. | not testable here |  | – | – | needs row \`sft_deep_few\` | 1k traces of R1 52.5, 34k self-distilled 51.4 on average |
        | C2 | Long output alone does not help: traces that lengthen without depth lose accuracy. | not testable here |  | – | – | needs row \`sft_verbose_shallow\` | s1-Gemini2: 8 to 15 times as long, 48.7 against 50.3 |
        | C3 | SFT loses on easy questions and gains more than RL on the hardest. | not testable here |  | – | – | needs row \`rl\` | L1 -7.6 to -15.0 on five of five benchmarks; L5 9.1 to 24.2 against RL's 3.6 to 15.9 |
        | C4 | RL gains at every level. | not testable here |  | – | – | needs row \`rl\` | L2 to L5 20 of 20 cells above zero; L1 -2.5, -1.0, +1.3, -3.6, -4.5 |
        | C5 | RL stays as brief as the base and reflects no more; SFT grows verbose. | not testable here |  | – | – | needs row \`rl\` | RL 337 tokens on average, SFT more than ten times base and RL; \`wait\` 0, 249 091, 0 |
        | C6 | RL needs its KL term. | not testable here |  | – | – | needs row \`rl\` | 55.1 with it, 52.9 without, collapse after some 300 steps |
        | C7 | RL needs the easiest questions, though they have no advantage. | not testable here |  | – | – | needs row \`rl\` | 55.1 with them, 52.8 without |
        | C8 | RL after long-CoT SFT adds nothing, and neither does starting from an early SFT. | not testable here |  | – | – | needs row \`two_stage\` | 51.4 after, 51.4 before; RL alone 55.1 |
        | C9 | Interleaved training lies between SFT and RL. | not testable here |  | – | – | needs row \`interleaved\` | 53.6 between 51.4 and 55.1, and between them on five of five benchmarks |
        | C10 | Progressive training is the best hybrid and still not better than RL. | not testable here |  | – | – | needs row \`progressive\` | 54.9; interleaved 53.6, data mixing 54.0, merging 54.3, two-stage 51.4, RL 55.1 |
        | C11 | Data mixing does not teach when to think long: it is longer than RL and loses on easy questions. | not testable here |  | – | – | needs row \`data_mixing\` | 753 tokens against 337; L1 of MMStar -11.2; 54.0 against 55.1 |
        | C12 | Merging interpolates between SFT and RL, and TIES fails. | not testable here |  | – | – | needs row \`merge_linear_25\` | linear .25 54.3 between 51.4 and 55.1; "compatibility issues" with TIES |
        | C13 | The dilemma: no combination beats RL on average. | not testable here |  | – | – | needs row \`two_stage\` | at most 54.9 against 55.1; on L5 all but two-stage stay near RL |

        A claim is a list of comparisons of rows, each wanted above zero, below zero, or within a band.
        An effect is the difference of two rows over the same questions, with a 95 % interval from its standard
        error over questions and seeds. Wanted above zero: holds if the interval lies above, fails if it lies below,
        else undecided. Within a band: holds if the interval lies within, fails if it lies outside, else undecided.
        A claim holds if all its comparisons hold, fails if one fails, else is undecided; where rows are missing it
        is not testable here. The comparison shown is the one that decided. The minimum detectable effect is what a
        power of 80 % needs. A control explains a claim that holds if the control shows the same effect.

        ## Length by level

        Mean tokens per answer.

        | row | all | L1 | L2 | L3 | L4 | L5 |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: |
        | base | 17.9 ±0.2 | 18.1 ±0.3 | 18.0 ±0.3 | 17.6 ±0.4 | 17.7 ±0.3 | 18.0 ±0.4 |
        | null | 17.9 ±0.1 | 18.0 ±0.2 | 17.9 ±0.3 | 17.7 ±0.3 | 18.1 ±0.3 | 17.8 ±0.4 |
        | sft | 60.0 ±0.1 | 60.1 ±0.2 | 60.1 ±0.3 | 59.7 ±0.3 | 59.8 ±0.3 | 59.9 ±0.4 |
        | sft/shuffled | 60.0 ±0.1 | 60.0 ±0.2 | 60.0 ±0.2 | 60.0 ±0.3 | 60.3 ±0.3 | 59.9 ±0.3 |

        ## Outcomes

        In percent of all answers.

        | row | correct | wrong | truncated | unparsed | in the form asked for |
        | --- | ---: | ---: | ---: | ---: | ---: |
        | base | 51.7 | 47.0 | 1.0 | 0.2 | 99.5 |
        | null | 54.2 | 44.8 | 0.0 | 1.0 | 99.0 |
        | sft | 47.5 | 46.8 | 5.8 | 0.0 | 100.0 |
        | sft/shuffled | 18.8 | 75.2 | 6.0 | 0.0 | 100.0 |

        ## Style

        Reasoning words per 1000 tokens.

        | row | wait | check | mistake | alternative | however |
        | --- | ---: | ---: | ---: | ---: | ---: |
        | base | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 |
        | null | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 |
        | sft | 66.72 | 66.72 | 0.00 | 0.00 | 0.00 |
        | sft/shuffled | 66.62 | 66.62 | 0.00 | 0.00 | 0.00 |

        ## Budget

        What each regime has cost with all it stands on; operations are 2 for each of the decoder's parameters and token forward, and twice as many backward.

        | regime | seed | generated | trained | updates | TFLOP | seconds | gain |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | rl | 1 | 0.82 M | 1.10 M | 200 | 6.2 | 178 | – |

        ## Training

        Figures of each training stage.

        | regime | stage | seed | seconds | figures |
        | --- | ---: | ---: | ---: | ---: |
        | rl | grpo | 1 | 178 | reward_end 0.660, reward_start 0.520 |

        ## Sample completions

        Whole answers, as they were graded.

        ### sft, `path/test/1/00001`: wrong

        Start at b2 \| follow 2 arrows. Which color?
        Target `red`, 12 tokens.

        ```text
        <think> step 1 b2 is up so b1 . wait check </think> \boxed{ blue }
        ```

        ## Provenance

        Where these figures come from.

        - date: 2026-01-31
        - command: synergy reproduce --profile small
        - commit: 0123456789abcdef
        - recipe: 5f1d0c2a
        - grader: boxed-1
        - base: abcdef
        - backend: flex
        - rustc: 1.95.0
        - machine: made-up, 2 cores
        - wall time: 1234 s
        "#);
    }
}
