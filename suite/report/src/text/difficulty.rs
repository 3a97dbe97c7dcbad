//! Difficulty in other cuts, several answers taken together, and models token by token, as tables and sections. Pure.
//!
//! This module does not know where a table is shown. Numbers are rounded here and nowhere before.

use std::fmt::Write as _;

use synergy_benchmarks::difficulty::Level;

use crate::score::cuts::{ByOthers, by_knob, by_others, steps};
use crate::score::passes::{PartPasses, RowPasses, passes};
use crate::score::spread::{SpreadPart, TokenMeans, over_seeds};
use crate::score::{Cell, Results, all_and_levels, level_name};
use crate::statistics::Interval;
use crate::text::markdown::{markdown_table, section};
use crate::text::terminal::{self as table, Grid, NOTHING, percent};

/// What [`knob`] shows, in one sentence.
pub const KNOB: &str = "Accuracy in percent over fifths of each family's knob, from few steps to many, with the gain over \
                        base in points below it. No model cuts this difficulty.";

/// What [`others`] shows, in one sentence.
pub const OTHERS: &str = "A check on the levels: each regime on levels cut on the answers of all other regimes that share \
                          no training with it, so that neither its own errors nor the base's select. Its accuracy on L5 \
                          stands beside what it answers there to another question's picture.";

/// What [`together`] shows, in one sentence.
pub const TOGETHER: &str = "Several answers to a question taken together, in percent: the chance that one of k is right \
                            (pass@k, Chen et al. 2021, without bias), and the majority vote of all, where ties are drawn. \
                            The last columns are the base's vote where it may spend as many tokens on a question as one \
                            answer of the row has, and how many of its answers that is.";

/// What [`tokens`] shows, in one sentence.
pub const TOKENS: &str = "Entropy of a row's model along its own answers, and below it its KL divergence from the base, in \
                          nats per token: of all tokens, of those in which one of the study's pivotal words begins (first, \
                          then, wait, …), and of the tenth at which the base is least sure (after Wang et al. 2025). Answers \
                          are read again, not written.";

/// Every row over the fifths of the knob; `None` where no question has one.
pub fn knob(results: &Results) -> Option<Grid> {
    let cut = by_knob(results);
    let (_, first) = cut.first()?;
    let mut header = vec!["accuracy".to_owned()];
    for (fifth, cells) in &cut {
        let (low, high) = steps(results, *fifth)?;
        let num = cells.iter().map(|cell| cell.num_questions).max().unwrap_or(0);
        header.push(format!("fifth {}\n{low} to {high} steps\nn {num}", fifth + 1));
    }
    let is_asked = |name: &str| first.iter().any(|cell| cell.row == name);
    let rows = table::ordered_rows(results).into_iter().filter(|row| is_asked(&row.name));
    let line = |row| {
        let row: &crate::score::ResultRow = row;
        let of = |(_, cells): &'_ (usize, Vec<Cell>)| cells.iter().position(|c| c.row == row.name);
        let cells: Vec<Option<&Cell>> =
            cut.iter().map(|fifth| of(fifth).map(|place| &fifth.1[place])).collect();
        let mut line = vec![table::label(row, &cells)];
        line.extend(cells.into_iter().map(|cell| table::accuracy_and_gain(row, cell)));
        line
    };
    Some(Grid { header, rows: rows.map(line).collect() })
}

/// Every regime on levels that others have cut; `None` without any.
pub fn others(results: &Results) -> Option<Grid> {
    let cut = by_others(results);
    let header = ["row".to_owned()].into_iter().chain(Level::ALL.map(|level| level.to_string()));
    let header = header.chain(["L5, other picture", "cut by"].map(str::to_owned)).collect();
    let line = |cut: &ByOthers| {
        let of = |level: Level| cut.levels.iter().find(|found| found.level == level);
        let mut line = vec![format!("{}\n  gain\n  n", cut.row)];
        line.extend(Level::ALL.map(|level| {
            of(level).map_or_else(
                || NOTHING.to_owned(),
                |found| {
                    let row = results.row(&cut.row).expect("a row of the results is cut");
                    let shown = table::accuracy_and_gain(row, Some(&found.cell));
                    format!("{shown}\n{}", found.cell.num_questions)
                },
            )
        }));
        let shuffled = of(Level::L5).and_then(|found| found.shuffled.as_ref());
        line.push(table::shown(shuffled, |cell| table::plus_minus(cell.accuracy.scaled(100.0))));
        line.push(match cut.others.len() {
            0..4 => cut.others.join(", "),
            num => format!("{num} rows"),
        });
        line
    };
    (!cut.is_empty()).then(|| Grid { header, rows: cut.iter().map(line).collect() })
}

/// A share in percent with its interval.
fn shown(share: Option<Interval>) -> String {
    share.map_or_else(|| NOTHING.to_owned(), |share| table::plus_minus(share.scaled(100.0)))
}

/// pass@k with its gain over the base, majority, and the base at equal tokens of every row, over all questions.
pub fn together(told: &[RowPasses]) -> Grid {
    let most = told.iter().filter_map(|row| row.parts.first()).map(|part| &part.pass_at);
    let ks: Vec<usize> = most
        .max_by_key(|all| all.len())
        .map_or_else(Vec::new, |all| all.iter().map(|at| at.k).collect());
    let mut header = vec!["row".to_owned()];
    header.extend(ks.iter().map(|k| format!("pass@{k}")));
    header.extend(["majority", "base, equal tokens", "its answers"].map(str::to_owned));
    let line = |row: &RowPasses| {
        let all = row.parts.first()?;
        let has_gain = all.pass_at.iter().any(|at| at.gain.is_some());
        let mut line =
            vec![if has_gain { format!("{}\n  gain", row.row) } else { row.row.clone() }];
        line.extend(ks.iter().map(|k| {
            let at = all.pass_at.iter().find(|at| at.k == *k);
            let gain = at.and_then(|at| at.gain).map(|gain| gain.scaled(100.0));
            let gain = gain
                .map_or_else(String::new, |gain| format!("\n{}", table::plus_minus_signed(gain)));
            format!("{}{gain}", shown(at.map(|at| at.share)))
        }));
        line.push(shown(all.majority));
        let equal = all.base_at_equal_tokens;
        line.push(equal.map_or_else(|| NOTHING.to_owned(), |equal| percent(equal.accuracy)));
        line.push(equal.map_or_else(
            || NOTHING.to_owned(),
            |equal| {
                let more = if equal.short > 0.0 {
                    format!("\n{} % short", percent(equal.short))
                } else {
                    String::new()
                };
                format!("{:.1}{more}", equal.num_answers)
            },
        ));
        Some(line)
    };
    Grid { header, rows: told.iter().filter_map(line).collect() }
}

/// pass@k of as many answers as a row has, its majority and the base's at equal tokens, over fifths and levels.
pub fn together_by_part(told: &[RowPasses]) -> Grid {
    let parts: Vec<&PartPasses> =
        told.first().map_or_else(Vec::new, |row| row.parts.iter().collect());
    let mut header = vec!["row".to_owned()];
    header.extend(parts.iter().map(|part| part.part.to_string()));
    let line = |row: &RowPasses| {
        let mut line = vec![format!(
            "{}\n  pass@{}\n  majority\n  base, equal tokens",
            row.row, row.num_samples
        )];
        line.extend(parts.iter().map(|part| {
            let Some(own) = row.parts.iter().find(|own| own.part == part.part) else {
                return NOTHING.to_owned();
            };
            let last = own.pass_at.iter().find(|at| at.k == row.num_samples);
            let first = own.pass_at.first().map(|at| at.share);
            let equal = own.base_at_equal_tokens.map(|equal| percent(equal.accuracy));
            let shares = [first, last.map(|at| at.share), own.majority].map(shown);
            let equal = equal.unwrap_or_else(|| NOTHING.to_owned());
            shares.into_iter().chain([equal]).collect::<Vec<_>>().join("\n")
        }));
        line
    };
    Grid { header, rows: told.iter().map(line).collect() }
}

/// Entropy and KL of every row that was scored, by level and by kind of token; `None` without any.
pub fn tokens(results: &Results) -> Option<Grid> {
    type Means = fn(&SpreadPart) -> Option<TokenMeans>;
    let kinds: [(&str, Means); 3] = [
        ("all tokens", |part| Some(part.all)),
        ("pivotal words", |part| part.words),
        ("base unsure", |part| part.unsure),
    ];
    let mut header = ["row", "tokens"].map(str::to_owned).to_vec();
    header.extend(all_and_levels().map(level_name));
    let mut rows = Vec::new();
    for row in table::ordered_rows(results) {
        let parts = over_seeds(&results.spreads, &row.name);
        for (kind, means) in kinds {
            let cell = |level: Option<Level>| {
                let part = parts.iter().find(|part| part.level == level)?;
                let TokenMeans { entropy_nats, kl_nats, .. } = means(part)?;
                Some(format!("{entropy_nats:.3}\n{kl_nats:.3}"))
            };
            let cells: Vec<Option<String>> = all_and_levels().map(cell).collect();
            if cells.iter().any(Option::is_some) {
                let mut line = vec![format!("{}\n  KL", row.name), kind.to_owned()];
                line.extend(cells.into_iter().map(|c| c.unwrap_or_else(|| NOTHING.to_owned())));
                rows.push(line);
            }
        }
    }
    (!rows.is_empty()).then_some(Grid { header, rows })
}

/// Writes accuracy over the knob.
pub fn write_knob(text: &mut String, results: &Results) {
    if let Some(grid) = knob(results) {
        section(text, "Accuracy by the knob", KNOB);
        markdown_table(text, &grid);
    }
}

/// Writes the check on levels, several answers together, and the models token by token.
pub fn write_others(text: &mut String, results: &Results) {
    if let Some(grid) = others(results) {
        section(text, "Levels cut by others", OTHERS);
        markdown_table(text, &grid);
    }
    let told = passes(results);
    if told.iter().any(|row| row.num_samples > 1) {
        section(text, "Several answers together", TOGETHER);
        markdown_table(text, &together(&told));
        let _ =
            writeln!(text, "\nBy fifths of the knob and by level; one answer in the first line:\n");
        markdown_table(text, &together_by_part(&told));
    }
    if let Some(grid) = tokens(results) {
        section(text, "Entropy and KL along the answers", TOKENS);
        markdown_table(text, &grid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::study;
    use crate::score::spread::{TokenSpread, spread};

    #[test]
    fn the_sections_read() {
        let mut results = study(20, &[1, 2]);
        let kept = ["base", "sft", "sft/shuffled", "rl"];
        results.rows.retain(|row| kept.contains(&row.name.as_str()));
        let token = |entropy| TokenSpread {
            entropy,
            base_entropy: 0.5 * entropy,
            kl: 0.25,
            begins_pivotal_word: entropy > 0.4,
        };
        let answers = [(Level::L1, vec![token(0.1); 9]), (Level::L5, vec![token(0.5); 3])];
        results.spreads = spread("sft", 1, &answers).into_iter().collect();
        let mut text = String::new();
        write_knob(&mut text, &results);
        write_others(&mut text, &results);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_older_results_do_not_hold_is_not_shown() {
        let mut results = study(20, &[1]);
        results.questions.iter_mut().for_each(|q| (q.hops, q.answers) = (0, Vec::new()));
        for seed in results.rows.iter_mut().flat_map(|row| &mut row.seeds) {
            seed.answers = Vec::new();
            for letters in &mut seed.outcomes {
                letters.truncate(1);
            }
        }
        let mut text = String::new();
        write_knob(&mut text, &results);
        write_others(&mut text, &results);
        assert!(
            !text.contains("knob") && !text.contains("Several") && !text.contains("Entropy"),
            "{text}"
        );
    }
}
