//! A run's results as a report in Markdown. Pure.
//!
//! This module does not know where the report goes nor how the numbers came about.

use std::fmt::Write as _;

use synergy_grade::answer::Outcome;
use synergy_grade::style::REASONING_WORDS;

use crate::analysis::{Analyses, grids, written};
use crate::claims::{self, ledger};
use crate::compare;
use crate::completion::Completion;
use crate::cost::Budget;
use crate::dilemma::{self, Dilemma};
use crate::evidence::Study;
use crate::factorial::factorial;
use crate::score::{Cell, Lineage, Metrics, Results, all_and_levels, level_name, outcome_name};
use crate::text::difficulty;
use crate::text::markdown::{inline, markdown_table, section};
use crate::text::partial::partial;
use crate::text::standings;
use crate::text::terminal::{self as table, Grid};

/// A completion to show in the report.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleCompletion {
    /// Name of the row that answered.
    pub regime: String,
    /// Seed of the row: other seeds answer the same questions.
    pub seed: u64,
    /// The answer.
    pub completion: Completion,
    /// How the answer turned out.
    pub outcome: Outcome,
    /// The question's text.
    pub question: String,
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
    if let Some(found) = table::verdict(results, metrics) {
        let _ = writeln!(text, "\n{}.", inline(&found));
    }
    if let Some(warning) = table::provisional(results) {
        let _ = writeln!(text, "\n> **Note:** {}", inline(&warning));
    }
    if let Some(line) = partial(results, usize::MAX) {
        let _ = writeln!(text, "\n> **Note:** {}", inline(&line));
    }
    difficulty::write_knob(&mut text, results);
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
    difficulty::write_others(&mut text, results);
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
    standings_markdown(&mut text, results);
    section(&mut text, "Length by level", "Mean tokens per answer.");
    markdown_table(&mut text, &by_level(results, metrics, |cell| table::plus_minus(cell.length)));
    section(
        &mut text,
        "Long answers by level",
        "Share in percent: answers with a reasoning word and more than twice the base's mean tokens on the level.",
    );
    markdown_table(&mut text, &by_level(results, metrics, |cell| table::percent(cell.long)));
    section(&mut text, "Outcomes", "In percent of all answers.");
    markdown_table(&mut text, &outcomes_grid(results, metrics));
    unanswered_markdown(&mut text, results);
    section(&mut text, "Style", "Reasoning words per 1000 tokens.");
    markdown_table(&mut text, &style_grid(results, metrics));
    if let Some(analyses) = analyses {
        analyses_markdown(&mut text, analyses);
    }
    training_markdown(&mut text, results, metrics);
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

/// Writes style, budgets and graders.
fn analyses_markdown(text: &mut String, analyses: &Analyses) {
    let rows = analyses.rows.iter();
    let all = rows.filter_map(|row| Some((row.row.clone(), row.groups.first()?)));
    written::style(text, &grids::style("row", all));
    written::budgets(text, &analyses.rows);
    written::graders(text, &analyses.agreement);
    let _ = writeln!(text, "\nEvery row under each, in percent:\n");
    markdown_table(text, &grids::rows(analyses));
}

/// What training has cost and shown, each where the run has it.
fn training_markdown(text: &mut String, results: &Results, metrics: &Metrics) {
    let by_others = Lineage::of(results).by_others(results);
    if !results.budgets.is_empty() || !by_others.is_empty() {
        section(
            text,
            "Budget",
            "What each regime has cost with every stage it builds on; operations are 2 for each of the decoder's \
             parameters and token forward, and twice as many backward.",
        );
        if !results.budgets.is_empty() {
            markdown_table(text, &budget_grid(results, metrics));
        }
        if let Some(line) = not_known(&by_others) {
            let _ = writeln!(text, "\n{line}");
        }
    }
    if !results.training.is_empty() {
        section(text, "Training", "Figures of each training stage.");
        markdown_table(text, &training_grid(results));
    }
}

/// The dilemma, what demonstrations are worth, and what the gate could find, each where the run has it.
fn standings_markdown(text: &mut String, results: &Results) {
    let lineage = Lineage::of(results);
    let study = Study::of(results, &lineage);
    if let Some(dilemma) = Dilemma::of(&study) {
        section(
            text,
            "The dilemma",
            "Accuracy of each combination against the better parent, in points, and what it spends on easy questions.",
        );
        for split in &dilemma.splits {
            let _ = writeln!(text, "{}:\n", standings::split_name(split));
            markdown_table(text, &standings::dilemma(split));
            text.push('\n');
        }
        let _ = writeln!(text, "{}", dilemma::RULE);
    }
    if let Some(effects) = factorial(&study) {
        section(
            text,
            "What long demonstrations are worth",
            "Steps, words and source of the demonstrations, same questions and same updates, each averaged over the \
             other factor, in points.",
        );
        markdown_table(text, &standings::factorial(&effects));
    }
    let regimes = results.rows.iter().filter(|row| row.kind != crate::score::RowKind::Control);
    let powers = compare::powers(&[results], compare::usual_alpha(regimes.count()));
    if !powers.is_empty() {
        section(
            text,
            "Noise of training",
            "How far the seeds of a row differ in accuracy, pooled over rows trained alike; in what share of runs the \
             regression gate finds a loss of five points, and with how many seeds on both sides it does in four of five.",
        );
        markdown_table(text, &standings::powers(&powers));
        let own = study.noisy();
        if !own.is_empty() {
            let _ = writeln!(
                text,
                "\nSeeds that differ far more than those of rows trained alike have a noise of their own, which is pooled with \
                 no other (Cochran's test of the largest variance): {}.",
                own.join(", ")
            );
        }
    }
}

/// Lists the questions with answers that never came, if there are any.
fn unanswered_markdown(text: &mut String, results: &Results) {
    let unanswered = table::unanswered(results);
    if unanswered.is_empty() {
        return;
    }
    let title = table::unanswered_title(unanswered.len());
    let _ = writeln!(text, "\n{title}; their causes are in the completions:\n");
    for line in unanswered {
        let _ = writeln!(text, "- {}", inline(&line));
    }
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
    let header =
        std::iter::once("row".to_owned()).chain(all_and_levels().map(level_name)).collect();
    let rows = table::ordered_rows(results)
        .into_iter()
        .map(|row| {
            let cells = all_and_levels().map(|level| metrics.cell(&row.name, None, level));
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
    let nothing = || table::NOTHING.to_owned();
    let rows = ledger(results).into_iter().map(|f| {
        let decided = f.decided();
        vec![
            f.id.clone(),
            f.claim.clone(),
            f.verdict_name().to_owned(),
            decided.map_or_else(String::new, crate::evidence::Compared::describe),
            decided.map_or_else(nothing, |decided| table::plus_minus_signed(decided.effect)),
            f.p_holm.map_or_else(nothing, table::probability),
            decided.map_or_else(nothing, |decided| format!("{:.1}", decided.detectable)),
            f.explained_by.clone().unwrap_or_else(|| f.note.clone()),
            f.published.clone(),
        ]
    });
    let header = [
        "",
        "claim",
        "verdict",
        "decided by",
        "effect",
        "p (Holm)",
        "detectable",
        "note",
        "published (7B)",
    ];
    Grid::new(header, rows)
}

fn outcomes_grid(results: &Results, metrics: &Metrics) -> Grid {
    let mut names = vec!["correct", "wrong", "truncated", "unparsed", "in the form asked for"];
    let some_never_came = metrics.cells.iter().any(|cell| cell.unanswered > 0.0);
    names.extend(some_never_came.then_some("unanswered"));
    averages(results, metrics, &names, |cell| {
        let Cell { accuracy, truncated, unparsed, formatted, unanswered, .. } = cell;
        let mut shares = vec![accuracy.mean, cell.wrong(), *truncated, *unparsed, *formatted];
        shares.extend(some_never_came.then_some(*unanswered));
        shares.into_iter().map(table::percent).collect()
    })
}

fn style_grid(results: &Results, metrics: &Metrics) -> Grid {
    averages(results, metrics, &REASONING_WORDS, |cell| {
        cell.words_per_1000_tokens.map(|rate| format!("{rate:.2}")).to_vec()
    })
}

fn budget_grid(results: &Results, metrics: &Metrics) -> Grid {
    let millions = |count: u64| format!("{:.2} M", count as f64 / 1e6);
    let rows = results.budgets.iter().map(|Budget { regime, seed, cost }| {
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
    });
    let header = ["regime", "seed", "generated", "trained", "updates", "TFLOP", "seconds", "gain"];
    Grid::new(header, rows)
}

/// A line about the rows whose cost is not known; nothing where there are none.
pub(crate) fn not_known(by_others: &[&str]) -> Option<String> {
    (!by_others.is_empty()).then(|| {
        format!(
            "The cost of {} is not known: others have trained the models that they are or stand on.",
            by_others.join(", ")
        )
    })
}

fn training_grid(results: &Results) -> Grid {
    let rows = results.training.iter().map(|stage| {
        let figures: Vec<String> =
            stage.summary.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
        let (seconds, figures) = match &stage.published {
            None => (format!("{:.0}", stage.cost.wall_time_s), figures.join(", ")),
            Some(ways) => {
                let ways: Vec<&str> = ways.iter().map(|way| way.name()).collect();
                let how =
                    if ways.is_empty() { String::new() } else { format!(": {}", ways.join(", ")) };
                ("not known".to_owned(), format!("trained by others{how}"))
            }
        };
        let (regime, seed) = (stage.regime.clone(), stage.seed.to_string());
        vec![regime, stage.stage.clone(), seed, seconds, figures]
    });
    Grid::new(["regime", "stage", "seed", "seconds", "figures"], rows)
}

fn sample_markdown(text: &mut String, sample: &SampleCompletion) {
    let completion = &sample.completion;
    let (regime, outcome) = (inline(&sample.regime), outcome_name(sample.outcome));
    let (id, seed) = (&completion.sample_id, sample.seed);
    let _ = writeln!(text, "### {regime}, seed {seed}, `{id}`: {outcome}\n");
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
    use crate::completion::tests::completion;
    use crate::score::fixture::study;

    fn sample(text: &str) -> SampleCompletion {
        SampleCompletion {
            regime: "sft".to_owned(),
            seed: 2,
            completion: Completion {
                sample_id: "path/test/1/00001".to_owned(),
                num_tokens: 12,
                ..completion(text)
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
    fn answers_that_never_came_have_a_column_and_a_list() {
        let mut results = study(20, &[1]);
        let whole = report_markdown(&results, &Metrics::of(&results), None, &[]);
        assert!(!whole.contains("never came") && !whole.contains("unanswered"));
        results.rows[0].seeds[0].outcomes[2].replace_range(.., "nnnn");
        let report = report_markdown(&results, &Metrics::of(&results), None, &[]);
        assert!(report.contains("| in the form asked for | unanswered |"), "{report}");
        assert!(report.contains("| 1.0 |\n"), "{report}");
        let line = format!("\n- {}: base (4 of 4)\n", results.questions[2].id);
        assert!(report.contains(&line), "{line} in {report}");
    }

    #[test]
    fn no_heading_stands_twice() {
        let results = study(20, &[1]);
        let samples = [1, 2, 3].map(|seed| SampleCompletion { seed, ..sample("\\boxed{a}") });
        let report = report_markdown(&results, &Metrics::of(&results), None, &samples);
        let headings: Vec<&str> = report.lines().filter(|line| line.starts_with('#')).collect();
        let different: std::collections::BTreeSet<&&str> = headings.iter().collect();
        assert_eq!(headings.len(), different.len(), "{headings:?}");
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

        Of 1 regime, 0 gain over the base, 0 lose and 1 is undecided, by the 95 % intervals of their accuracy in points.

        > **Note:** provisional, the base has not passed its gate: verbose accuracy .81 on sum, .9 needed

        ## Accuracy by the knob

        Accuracy in percent over fifths of each family's knob, from few steps to many, with the gain over base in points below it. No model cuts this difficulty.

        | accuracy | fifth 1<br>1 to 2 steps<br>n 20 | fifth 2<br>3 to 4 steps<br>n 20 | fifth 3<br>5 to 6 steps<br>n 20 | fifth 4<br>7 to 8 steps<br>n 20 | fifth 5<br>9 to 10 steps<br>n 20 |
        | --- | ---: | ---: | ---: | ---: | ---: |
        | base | 70.0 ±14.5 | 58.8 ±17.5 | 56.2 ±16.9 | 41.2 ±19.1 | 32.5 ±14.3 |
        | null<br>gain | 67.5 ±13.7<br>-2.5 ±16.1 | 65.0 ±12.2<br>+6.3 ±13.1 | 57.5 ±18.2<br>+1.3 ±13.4 | 45.0 ±18.0<br>+3.8 ±13.3 | 36.2 ±17.2<br>+3.8 ±15.8 |
        | sft<br>gain | 56.2 ±15.1<br>-13.8 ±20.6 | 52.5 ±11.9<br>-6.3 ±16.0 | 51.2 ±12.9<br>-5.0 ±14.5 | 45.0 ±14.5<br>+3.8 ±15.8 | 32.5 ±13.2<br>+0.0 ±12.0 |
        | /shuffled | 13.8 ±7.1 | 22.5 ±10.0 | 22.5 ±10.0 | 18.8 ±10.0 | 16.2 ±8.7 |

        ## Accuracy by level

        accuracy in % ± half of its 95 % interval (+ or -: its only side); below it the gain over base in points; length in tokens; truncated answers in %; `wait` per answer

        | accuracy | avg | L1<br>35.0 %<br>n 35 | L2<br>20.0 %<br>n 20 | L3<br>15.0 %<br>n 15 | L4<br>15.0 %<br>n 15 | L5<br>15.0 %<br>n 15 | length | trunc | wait |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | base | 51.7 ±7.4 | 88.6 ±6.0 | 56.2 ±13.1 | 35.0 ±14.6 | 16.7 ±10.0 | 11.7 ±7.1 | 17.9 ±0.2 | 1.0 | 0.00 |
        | null<br>gain | 54.2 ±7.1<br>+2.5 ±6.0 | 86.4 ±5.2<br>-2.1 ±8.7 | 67.5 ±12.1<br>+11.3 ±18.0 | 40.0 ±10.2<br>+5.0 ±21.1 | 25.0 ±11.7<br>+8.3 ±15.4 | 5.0 ±6.4<br>-6.7 ±11.1 | 17.9 ±0.1 | 0.0 | 0.00 |
        | sft<br>gain | 47.5 ±5.9<br>-4.3 ±6.8 | 64.3 ±8.9<br>-24.3 ±10.9 | 50.0 ±11.4<br>-6.3 ±14.6 | 46.7 ±16.4<br>+11.7 ±18.8 | 36.7 ±14.7<br>+20.0 ±14.0 | 16.7 ±10.0<br>+5.0 ±14.0 | 60.0 ±0.1 | 5.8 | 4.00 |
        | /shuffled | 18.8 ±3.9 | 15.0 ±5.6 | 20.0 ±8.1 | 23.3 ±12.2 | 20.0 ±13.0 | 20.0 ±13.0 | 60.0 ±0.1 | 6.0 | 4.00 |

        ## Accuracy by family

        In percent, with the gain over base in points below it.

        | row | avg | chart | count | path | sum | swap | easy_vqa |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | base | 51.7 ±7.4 | 60.0 ±18.4 | 46.2 ±16.2 | 46.2 ±16.7 | 50.0 ±16.5 | 56.2 ±19.7 | 82.5 ±12.3 |
        | null<br>gain | 54.2 ±7.1<br>+2.5 ±6.0 | 60.0 ±16.7<br>+0.0 ±10.7 | 50.0 ±18.2<br>+3.8 ±17.1 | 46.2 ±15.3<br>+0.0 ±14.7 | 58.8 ±15.8<br>+8.8 ±14.8 | 56.2 ±18.2<br>+0.0 ±13.7 | – |
        | sft<br>gain | 47.5 ±5.9<br>-4.3 ±6.8 | 46.2 ±10.2<br>-13.8 ±15.9 | 42.5 ±14.3<br>-3.8 ±19.1 | 51.2 ±13.4<br>+5.0 ±18.4 | 50.0 ±17.8<br>+0.0 ±12.6 | 47.5 ±13.6<br>-8.8 ±12.7 | 72.5 ±14.5<br>-10.0 ±21.5 |
        | /shuffled | 18.8 ±3.9 | 20.0 ±8.1 | 25.0 ±10.7 | 18.8 ±10.0 | 17.5 ±9.4 | 12.5 ±7.1 | – |

        The best guess from the text alone, in %: chart 29.7, count 28.3, path 20.0, sum 20.5, swap 23.4; only what is above it saw the picture.

        easy_vqa, 40 questions, accuracy in %: base 82.5 ±12.3, sft 72.5 ±14.5, question only 67.1.

        ## Several answers together

        Several answers to a question taken together, in percent: the chance that one of k is right (pass@k, Chen et al. 2021, without bias), and the majority vote of all, where ties are drawn. The last columns are the base's vote where it may spend as many tokens on a question as one answer of the row has, and how many of its answers that is.

        | row | pass@1 | pass@2 | pass@4 | majority | base, equal tokens | its answers |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: |
        | base | 51.7 ±7.4 | 66.8 ±7.6 | 81.0 ±7.8 | 51.0 ±9.5 | – | – |
        | sft<br>gain | 47.5 ±5.9<br>-4.3 ±6.8 | 69.2 ±6.8<br>+2.3 ±7.6 | 86.0 ±6.9<br>+5.0 ±9.5 | 50.5 ±8.9 | 51.2 | 3.0 |

        By fifths of the knob and by level; one answer in the first line:

        | row | all | fifth 1 | fifth 2 | fifth 3 | fifth 4 | fifth 5 | L1 | L2 | L3 | L4 | L5 |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | base<br>pass@4<br>majority<br>base, equal tokens | 51.7 ±7.4<br>81.0 ±7.8<br>51.0 ±9.5<br>– | 70.0 ±14.5<br>90.0 ±12.2<br>80.0 ±17.6<br>– | 58.8 ±17.5<br>90.0 ±12.2<br>55.0 ±22.6<br>– | 56.2 ±16.9<br>90.0 ±12.2<br>52.5 ±22.1<br>– | 41.2 ±19.1<br>60.0 ±23.5<br>45.0 ±23.9<br>– | 32.5 ±14.3<br>75.0 ±20.8<br>22.5 ±17.8<br>– | 88.6 ±6.0<br>100.0 -9.9<br>95.7 ±5.4<br>– | 56.2 ±13.1<br>95.0 ±7.7<br>60.0 ±20.9<br>– | 35.0 ±14.6<br>80.0 ±21.5<br>30.0 ±22.9<br>– | 16.7 ±10.0<br>53.3 ±28.6<br>6.7 ±8.2<br>– | 11.7 ±7.1<br>46.7 ±28.6<br>0.0 +20.4<br>– |
        | sft<br>pass@4<br>majority<br>base, equal tokens | 47.5 ±5.9<br>86.0 ±6.9<br>50.5 ±8.9<br>51.2 | 56.2 ±15.1<br>90.0 ±12.2<br>62.5 ±22.6<br>80.0 | 52.5 ±11.9<br>95.0 ±7.7<br>55.0 ±19.9<br>56.2 | 51.2 ±12.9<br>90.0 ±12.2<br>57.5 ±20.5<br>52.5 | 45.0 ±14.5<br>85.0 ±16.1<br>47.5 ±22.1<br>45.0 | 32.5 ±13.2<br>70.0 ±22.0<br>30.0 ±17.6<br>22.5 | 64.3 ±8.9<br>94.3 ±6.9<br>75.7 ±12.8<br>95.7 | 50.0 ±11.4<br>95.0 ±7.7<br>55.0 ±19.9<br>60.0 | 46.7 ±16.4<br>93.3 ±10.5<br>40.0 ±23.9<br>31.7 | 36.7 ±14.7<br>80.0 ±21.5<br>36.7 ±24.5<br>6.7 | 16.7 ±10.0<br>53.3 ±28.6<br>10.0 ±12.8<br>0.0 |

        ## What the rows are

        Read every gain beside its controls.

        - `base`: The untuned base model, measured on samples that did not cut the levels.
        - `null`: The base once more on fresh samples: its gain is what chance alone shows.
        - `sft`: A regime.
        - `sft/shuffled`: The regime shown another question's picture: its chance, given the text.

        ## The study's claims

        Ours beside the study's own figures, which are of a 7B model.

        |  | claim | verdict | decided by | effect | p (Holm) | detectable | note | published (7B) |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | C1 | A few deep traces teach more than many self-distilled answers. | not testable here |  | – | – | – | needs row \`sft_deep_few\` | 1k traces of R1 52.5, 34k self-distilled 51.4 on average |
        | C2 | Long output alone does not help: traces that lengthen without depth gain nothing. | not testable here |  | – | – | – | needs row \`sft_shallow\` | s1-Gemini2: 8 to 15 times as long, 48.7 against 50.3 |
        | C3 | SFT loses on easy questions and gains more than RL on the hardest. | not testable here |  | – | – | – | needs row \`rl\` | L1 -7.6 to -15.0 on five of five benchmarks; L5 9.1 to 24.2 against RL's 3.6 to 15.9 |
        | C4 | RL gains at every level above the easiest, where it loses little. | not testable here |  | – | – | – | needs row \`rl\` | L2 to L5 20 of 20 cells above zero; L1 -2.5, -1.0, +1.3, -3.6, -4.5 |
        | C5 | RL stays as brief as the base and reflects no more; SFT grows verbose. | not testable here |  | – | – | – | needs row \`rl\` | RL 337 tokens on average, SFT more than ten times base and RL; \`wait\` 0, 249 091, 0 |
        | C6 | RL needs its KL term. | not testable here |  | – | – | – | needs row \`rl\` | 55.1 with it, 52.9 without, collapse after some 300 steps |
        | C7 | RL needs the easiest questions, though they have no advantage. | not testable here |  | – | – | – | needs row \`rl\` | 55.1 with them, 52.8 without |
        | C8 | RL after long-CoT SFT adds nothing and stays below RL alone, from an early SFT too. | not testable here |  | – | – | – | needs row \`two_stage\` | 51.4 after, 51.4 before; RL alone 55.1 |
        | C9 | Interleaved training lies between SFT and RL. | not testable here |  | – | – | – | needs row \`interleaved\` | 53.6 between 51.4 and 55.1, and between them on five of five benchmarks |
        | C10 | Progressive training is as good as any other hybrid and still not better than RL. | not testable here |  | – | – | – | needs row \`progressive\` | 54.9; interleaved 53.6, data mixing 54.0, merging 54.3, two-stage 51.4, RL 55.1 |
        | C11 | Data mixing does not teach when to think long: it is longer than RL, loses on easy questions and gains nothing over RL. | not testable here |  | – | – | – | needs row \`data_mixing\` | 753 tokens against 337; L1 of MMStar -11.2; 54.0 against 55.1 |
        | C12 | Merging interpolates between SFT and RL, and TIES does worse than the mean. | not testable here |  | – | – | – | needs row \`merge_linear_25\` | linear .25 54.3 between 51.4 and 55.1; "compatibility issues" with TIES |
        | C13 | The dilemma: every combination loses on the hard half or on the easy half against the better parent, or is not above it on the whole. | not testable here |  | – | – | – | needs row \`rl\` | averages of at most 54.9 against 55.1; on L5 all but two-stage stay near RL |

        A claim is a list of comparisons of two rows over the same questions, each wanted above or below a margin, within it, or
        not above or not below it; and of conditions without which the claim says nothing about these rows.
        A comparison has one-sided p-values of what is wanted and of its opposite, by Student's t over questions and training
        seeds. A claim holds if all its comparisons hold, so its p-value is the largest of theirs; it fails if one of them is
        refuted, so the smallest p-value counts against it, times the number of comparisons. All claims that can be tested are one
        family: their p-values are corrected by Holm, and 5 % decide, half on each side. A claim whose rows are missing or whose
        conditions are not met is not testable here. The comparison shown is the one that decided. The minimum detectable effect
        is what a power of 80 % needs. A control explains a claim that holds if the row is shown to be no better than it.

        ## Length by level

        Mean tokens per answer.

        | row | all | L1 | L2 | L3 | L4 | L5 |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: |
        | base | 17.9 ±0.2 | 18.1 ±0.3 | 18.0 ±0.3 | 17.6 ±0.5 | 17.7 ±0.3 | 18.0 ±0.4 |
        | null | 17.9 ±0.1 | 18.0 ±0.2 | 17.9 ±0.3 | 17.7 ±0.4 | 18.1 ±0.4 | 17.8 ±0.4 |
        | sft | 60.0 ±0.1 | 60.1 ±0.2 | 60.1 ±0.3 | 59.7 ±0.3 | 59.8 ±0.4 | 59.9 ±0.4 |
        | sft/shuffled | 60.0 ±0.1 | 60.0 ±0.2 | 60.0 ±0.3 | 60.0 ±0.4 | 60.3 ±0.3 | 59.9 ±0.4 |

        ## Long answers by level

        Share in percent: answers with a reasoning word and more than twice the base's mean tokens on the level.

        | row | all | L1 | L2 | L3 | L4 | L5 |
        | --- | ---: | ---: | ---: | ---: | ---: | ---: |
        | base | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
        | null | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |
        | sft | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 |
        | sft/shuffled | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 |

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

        What each regime has cost with every stage it builds on; operations are 2 for each of the decoder's parameters and token forward, and twice as many backward.

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

        ### sft, seed 2, `path/test/1/00001`: wrong

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
