//! Golden results over time: which run may become golden, the history of accepted runs, and a comparison as Markdown.
//!
//! This module does not know the rule of the comparison, which is in `compare`.
//!
//! Decisions:
//! - A run of a tree with changes never becomes golden: nobody could repeat it. Neither does a part of a recipe.
//! - Fewer seeds or questions than before make every later comparison blunter, so they need a reason,
//!   which is recorded. The previous golden results may have another version: only their size is looked at.
//! - The history holds one line for each accepted run, so that a slow drift over many of them, each
//!   the same as the last within chance, can be seen.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use synergy_hint::{Explain as _, hint};

use crate::compare::{Comparison, describe_power};
use crate::score::{Metrics, Results, RowKind};
use crate::text::markdown::{inline, markdown_table};
use crate::text::partial::{FEW, partial};
use crate::text::terminal::{counts, differences};

/// How much golden results hold, whatever their version.
#[derive(Debug, Deserialize)]
struct Extent {
    questions: Vec<IgnoredAny>,
    rows: Vec<ExtentRow>,
}

#[derive(Debug, Deserialize)]
struct ExtentRow {
    name: String,
    seeds: Vec<IgnoredAny>,
}

/// Checks that `run` may replace the golden results with the text `before`.
///
/// # Errors
/// If its tree had changes, it was asked other questions than the test's, it is not its recipe's whole run, or it holds less than `before` and `replace` gives no reason.
pub fn admit(before: Option<&str>, run: &Results, replace: Option<&str>) -> Result<()> {
    let provenance = &run.provenance;
    ensure!(
        !provenance.dirty,
        hint!(
            ("the tree of the run had changes that commit `{}` does not have", provenance.commit),
            "commit them and run again"
        )
    );
    if let Some(split) = run.split {
        bail!(hint!(
            ("the run was asked {split} questions, on which choices are made"),
            "golden results are of test questions: leave `split` out of [evaluation] and run again"
        ));
    }
    if let Some(lacks) = partial(run, FEW) {
        bail!(hint!(
            ("the run is not its recipe's: {lacks}"),
            ("cargo xtask reproduce --profile {}, without --only and --seeds", run.profile)
        ));
    }
    if let Some(reason) = replace {
        ensure!(
            !reason.trim().is_empty() && !reason.contains(['\n', '\r']),
            hint!(
                "the reason after --replace is empty or has several lines",
                "--replace \"one sentence\""
            )
        );
        return Ok(());
    }
    let Some(before) = before else { return Ok(()) };
    let hint = "--replace \"why this is enough\" records it, with the reason";
    let Ok(before) = serde_json::from_str::<Extent>(before) else {
        bail!(hint!(
            "the previous golden results cannot be read, so what would be lost is unknown",
            "{hint}"
        ));
    };
    let mut less = Vec::new();
    if run.questions.len() < before.questions.len() {
        less.push(format!("{} questions, {} before", run.questions.len(), before.questions.len()));
    }
    for row in &before.rows {
        let seeds = run.row(&row.name).map_or(0, |row| row.seeds.len());
        if seeds < row.seeds.len() {
            less.push(format!("{seeds} seeds of `{}`, {} before", row.name, row.seeds.len()));
        }
    }
    ensure!(
        less.is_empty(),
        hint!(
            ("the run holds less than the previous golden results: {}", less.join("; ")),
            "{hint}"
        )
    );
    Ok(())
}

/// One accepted run: a line of `golden/history.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Day of the run, as `2026-01-31`.
    pub date: String,
    /// Name of the recipe.
    pub profile: String,
    /// Commit of the suite.
    pub commit: String,
    /// Hash of the recipe.
    pub recipe_hash: String,
    /// Training seeds of the regimes.
    pub seeds: Vec<u64>,
    /// Questions of the evaluation.
    pub num_questions: usize,
    /// Wall time of the run in seconds.
    pub wall_time_s: f64,
    /// The reason for replacing golden results that held more.
    pub replaced: Option<String>,
    /// The base and every regime, over all questions.
    pub rows: Vec<Average>,
}

/// A row in two figures, over all questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Average {
    /// Name of the row.
    pub name: String,
    /// Share of correct answers, 0 to 1.
    pub accuracy: f64,
    /// Tokens per answer.
    pub length: f64,
}

impl Record {
    /// Summarizes results that become golden.
    pub fn of(results: &Results, replaced: Option<&str>) -> Record {
        let metrics = Metrics::of(results);
        let gated = || results.rows.iter().filter(|row| row.kind != RowKind::Control);
        let seeds: BTreeSet<u64> = gated()
            .filter(|row| row.kind == RowKind::Regime)
            .flat_map(|row| row.seeds.iter().map(|seed| seed.seed))
            .collect();
        let rounded = |value: f64| (value * 1e6).round() / 1e6;
        let average = |name: &String| {
            metrics.average(name).map(|cell| Average {
                name: name.clone(),
                accuracy: rounded(cell.accuracy.mean),
                length: rounded(cell.length.mean),
            })
        };
        Record {
            date: results.provenance.date.clone(),
            profile: results.profile.clone(),
            commit: results.provenance.commit.clone(),
            recipe_hash: results.recipe_hash.clone(),
            seeds: seeds.into_iter().collect(),
            num_questions: results.questions.len(),
            wall_time_s: rounded(results.provenance.wall_time_s),
            replaced: replaced.map(|reason| reason.trim().to_owned()),
            rows: gated().filter_map(|row| average(&row.name)).collect(),
        }
    }

    /// The record as a line of the history, with its end.
    pub fn line(&self) -> String {
        format!("{}\n", serde_json::to_string(self).expect("plain data"))
    }

    fn validate(&self) -> Result<()> {
        let digits = |at: usize, byte: u8| {
            if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() }
        };
        let date = self.date.as_bytes();
        ensure!(
            date.len() == 10 && date.iter().enumerate().all(|(at, byte)| digits(at, *byte)),
            "`{}` is not a date like 2026-01-31",
            self.date
        );
        for (what, text) in [
            ("profile", &self.profile),
            ("commit", &self.commit),
            ("recipe_hash", &self.recipe_hash),
        ] {
            ensure!(!text.is_empty(), "`{what}` is empty");
        }
        ensure!(
            self.wall_time_s >= 0.0,
            "wall_time_s is {}, allowed is at least 0",
            self.wall_time_s
        );
        ensure!(!self.rows.is_empty(), "the record has no row");
        let mut names = BTreeSet::new();
        for Average { name, accuracy, length } in &self.rows {
            ensure!(names.insert(name), "two rows are named `{name}`");
            ensure!(
                (0.0..=1.0).contains(accuracy),
                "accuracy of `{name}` is {accuracy}, allowed is 0 to 1"
            );
            ensure!(*length >= 0.0, "length of `{name}` is {length}, allowed is at least 0");
        }
        Ok(())
    }
}

/// Reads the lines of the history.
///
/// # Errors
/// If the text is cut off or a line is not a valid record; the error names the first such line.
pub fn read_history(text: &str) -> Result<Vec<Record>> {
    let hint = "the history only grows: take the file back from the last commit";
    ensure!(text.is_empty() || text.ends_with('\n'), hint!("the last line is cut off", "{hint}"));
    let read = |(index, line): (usize, &str)| -> Result<Record> {
        let wrong = || hint!(("line {}", index + 1), "{hint}");
        let record: Record = serde_json::from_str(line).explain(wrong)?;
        record.validate().explain(wrong)?;
        Ok(record)
    };
    text.lines().enumerate().map(read).collect()
}

/// Returns `log` with a line about `record` for people at its end.
pub fn logged(log: &str, record: &Record) -> String {
    let rows: Vec<String> = record
        .rows
        .iter()
        .map(|row| {
            format!(
                "{} {:.1} % at {:.0} tokens",
                inline(&row.name),
                100.0 * row.accuracy,
                row.length
            )
        })
        .collect();
    let seeds = match record.seeds.len() {
        1 => "1 seed".to_owned(),
        seeds => format!("{seeds} seeds"),
    };
    let why = record.replaced.as_ref().map_or_else(String::new, |reason| {
        format!(" Replaces the previous golden results: {}.", inline(reason.trim_end_matches('.')))
    });
    let last = log.lines().next_back().unwrap_or("");
    // A list goes on; after anything else a new one begins.
    let gap = if log.is_empty() || last.is_empty() || last.starts_with("- ") { "" } else { "\n" };
    let end = if log.is_empty() || log.ends_with('\n') { "" } else { "\n" };
    format!(
        "{log}{end}{gap}- {}, golden `{}`: commit {}, recipe {}, {seeds}, {} questions, {:.0} s: {}.{why}\n",
        record.date,
        record.profile,
        record.commit,
        record.recipe_hash,
        record.num_questions,
        record.wall_time_s,
        rows.join(", "),
    )
}

/// Formats a comparison for a page that shows Markdown: the verdict, every cell that is not the same, the rule.
pub fn comparison_markdown(comparison: &Comparison, profile: &str) -> String {
    let word = match (&comparison.partial, comparison.fails()) {
        (_, true) => "failed",
        (Some(_), false) => "partial",
        (None, false) => "passed",
    };
    let mut text = format!("## Profile {}: {word}\n\n", inline(profile));
    let _ = writeln!(text, "{}.", counts(comparison));
    if let Some(line) = &comparison.partial {
        let _ = writeln!(text, "\n{}.", inline(line));
    }
    let grid = differences(comparison);
    text.push('\n');
    if grid.rows.is_empty() {
        text.push_str("Everything is the same within chance.\n");
    } else {
        markdown_table(&mut text, &grid);
    }
    if !comparison.notes.is_empty() || !comparison.power.is_empty() {
        text.push('\n');
    }
    for note in &comparison.notes {
        let _ = writeln!(text, "- note: {}", inline(note));
    }
    for line in describe_power(&comparison.power) {
        let _ = writeln!(text, "- power: {}", inline(&line));
    }
    let _ = write!(
        text,
        "\n<details><summary>The rule; {} tests</summary>\n\n```text\n{}\n```\n\n</details>\n",
        comparison.num_tests, comparison.rule
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::GATE;
    use crate::compare::{compare, rule};
    use crate::score::Missing;
    use crate::score::fixture::study;
    use synergy_benchmarks::families::Split;

    fn text(results: &Results) -> String {
        results.to_json().unwrap()
    }

    #[track_caller]
    fn refused(before: Option<&str>, run: &Results, replace: Option<&str>) -> String {
        synergy_hint::text(&admit(before, run, replace).unwrap_err())
    }

    #[test]
    fn a_run_of_a_changed_tree_never_becomes_golden() {
        let mut run = study(20, &[1]);
        admit(None, &run, None).unwrap();
        run.provenance.dirty = true;
        for replace in [None, Some("needed")] {
            let said = refused(None, &run, replace);
            assert!(
                said.starts_with("the tree of the run had changes that commit `0123456789abcdef`"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_run_on_validation_questions_never_becomes_golden() {
        let mut run = study(20, &[1]);
        run.split = Some(Split::Validation);
        let back = Results::from_json(&text(&run), "x").unwrap();
        assert_eq!(back.split, Some(Split::Validation));
        for replace in [None, Some("needed")] {
            let said = refused(None, &back, replace);
            assert!(said.starts_with("the run was asked validation questions"), "{said}");
            assert!(said.contains("\nhint: golden results are of test questions"), "{said}");
        }
        run.split = None;
        assert!(!text(&run).contains("split"));
    }

    #[test]
    fn a_part_of_a_recipe_never_becomes_golden() {
        let mut run = study(20, &[1]);
        run.missing = Missing::of([("data_mixing", 1), ("rl", 2)]);
        for replace in [None, Some("needed")] {
            assert_eq!(
                refused(None, &run, replace),
                "the run is not its recipe's: partial, missing: data_mixing (seed 1); rl (seed 2)\n\
                 hint: cargo xtask reproduce --profile small, without --only and --seeds"
            );
        }
        run.missing.clear();
        run.extra_seeds = vec![1];
        assert!(refused(None, &run, None).contains("seed 1 is not the recipe's"));
    }

    #[test]
    fn fewer_seeds_or_questions_need_a_reason() {
        let (small, large) = (study(4, &[1]), study(20, &[1, 2]));
        admit(Some(&text(&small)), &large, None).unwrap();
        admit(Some(&text(&large)), &large, None).unwrap();
        let said = refused(Some(&text(&large)), &small, None);
        let want = "the run holds less than the previous golden results: 60 questions, 140 before; 1 seeds of `sft`, 2 \
                    before; 1 seeds of `rl`, 2 before; 1 seeds of `two_stage`, 2 before\nhint: ";
        assert!(said.starts_with(want), "{said}");
        admit(Some(&text(&large)), &small, Some("half the time")).unwrap();
        for reason in ["", " ", "two\nlines"] {
            assert!(refused(Some(&text(&large)), &small, Some(reason)).contains("--replace"));
        }
    }

    #[test]
    fn a_row_that_is_gone_has_no_seed_and_another_version_is_measured_all_the_same() {
        let before =
            text(&study(20, &[1])).replace("\"schema_version\": 2", "\"schema_version\": 1");
        let mut run = study(20, &[1]);
        admit(Some(&before), &run, None).unwrap();
        run.rows.retain(|row| row.name != "rl");
        let said = refused(Some(&before), &run, None);
        assert!(said.contains("0 seeds of `rl`, 1 before"), "{said}");
        assert!(refused(Some("{"), &run, None).contains("cannot be read"));
    }

    #[test]
    fn the_history_is_read_as_it_was_written_and_a_changed_line_is_found() {
        let record = Record::of(&study(20, &[1, 2]), Some("fewer are enough"));
        assert_eq!(record.seeds, [1, 2]);
        let names: Vec<&str> = record.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["base", "sft", "rl", "two_stage"]);
        let text = record.line() + &record.line();
        assert_eq!(read_history(&text).unwrap(), [record.clone(), record.clone()]);
        assert_eq!(read_history("").unwrap(), []);
        let changed = |from: &str, to: &str, want: &str| {
            assert!(text.contains(from), "{text}");
            let said = synergy_hint::text(&read_history(&text.replacen(from, to, 1)).unwrap_err());
            assert!(said.starts_with(want) && said.contains("\nhint: "), "{said}");
        };
        changed("2026-01-31", "31.01.2026", "line 1: `31.01.2026` is not a date");
        changed("\"accuracy\":0.5", "\"accuracy\":1.5", "line 1: accuracy of `base` is 1.5");
        changed("\"profile\"", "\"recipe\"", "line 1: unknown field `recipe`");
        changed("\"name\":\"sft\"", "\"name\":\"base\"", "line 1: two rows are named `base`");
        changed("\n", "\n\n", "line 2: EOF");
        let cut = synergy_hint::text(&read_history(&text[..text.len() - 1]).unwrap_err());
        assert!(cut.starts_with("the last line is cut off"), "{cut}");
    }

    #[test]
    fn the_history_of_this_repository_is_whole() {
        read_history(include_str!("../../../golden/history.jsonl")).unwrap();
    }

    #[test]
    fn the_log_gets_one_line_whatever_it_ended_with() {
        let mut record = Record::of(&study(20, &[1]), None);
        record.rows.truncate(1);
        record.rows[0] = Average { name: "base".to_owned(), accuracy: 0.5168, length: 17.9 };
        let line = "- 2026-01-31, golden `small`: commit 0123456789abcdef, recipe 5f1d0c2a, 1 seed, 140 \
                    questions, 1234 s: base 51.7 % at 18 tokens.\n";
        assert_eq!(logged("", &record), line);
        assert_eq!(logged("# Log\n\nText.\n", &record), format!("# Log\n\nText.\n\n{line}"));
        assert_eq!(logged("Text.", &record), format!("Text.\n\n{line}"));
        assert_eq!(logged(line, &record), format!("{line}{line}"));
        record.replaced = Some("half the time".to_owned());
        let want = "Replaces the previous golden results: half the time.\n";
        assert!(logged("", &record).ends_with(want));
    }

    #[test]
    fn a_comparison_reads_as_markdown() {
        let golden = study(20, &[1]);
        let mut run = golden.clone();
        run.recipe_hash = "other".to_owned();
        run.rows.retain(|row| row.name != "two_stage");
        let text = comparison_markdown(&compare(&golden, &run, &GATE), "small");
        insta::assert_snapshot!(text.replace(&rule(&GATE), "[rule]"), @r"
        ## Profile small: failed

        720 cells and a figure of training: 180 missing, 541 same.

        | row | cell | metric | n | golden | run | effect | verdict |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | two_stage | every cell | every metric | 100 | – | – | – | missing |

        - note: the recipe differs: golden \`5f1d0c2a\`, run \`other\`
        - note: one training seed on both sides: the noise of training is not known, only that of questions and sampling

        <details><summary>The rule; 0 tests</summary>

        ```text
        [rule]
        ```

        </details>
        ");
        let same = comparison_markdown(&compare(&golden, &golden, &GATE), "small");
        assert!(
            same.starts_with("## Profile small: passed\n")
                && same.contains("Everything is the same")
        );
    }
}
