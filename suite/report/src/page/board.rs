//! The table of all rows by family and level, which can be sorted and filtered.
//!
//! This module does not sort or filter: without script it is a table, families one below the other. A row of the table
//! is a row of results in one family, its columns are levels.

use maud::{Markup, html};
use strum::VariantArray as _;
use synergy_benchmarks::difficulty::Level;
use synergy_grade::style::REASONING_WORDS;

use super::html::scroller;
use crate::score::{Cell, Metrics, ResultRow, Results, RowKind, all_and_levels, level_name};
use crate::text::terminal::{self as table, NOTHING};

/// The filters, the table, and the figures to read an external benchmark by.
pub(super) fn board(results: &Results, metrics: &Metrics) -> Markup {
    let external = results.external_benchmarks();
    let families: Vec<Option<&str>> =
        std::iter::once(None).chain(results.families().into_iter().map(Some)).collect();
    let table = html! {
        table #board .sortable {
            caption { "Every row by family and level: " (table::legend().replace('\n', " ")) }
            thead {
                tr {
                    th scope="col" { "row" }
                    th scope="col" { "kind" }
                    th scope="col" { "family" }
                    th scope="col" class="l-all" { "all levels" }
                    @for (level, count, share) in results.level_shares() {
                        th scope="col" class={ "l-" (level) } {
                            (level) br; (table::percent(share)) " % n " (count)
                        }
                    }
                    @for benchmark in &external { th scope="col" { (benchmark) } }
                    @for name in ["length", "truncated", "unparsed", REASONING_WORDS[0]] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody {
                @for family in families {
                    @for row in table::ordered_rows(results) {
                        (board_row(row, family, &external, metrics))
                    }
                }
            }
        }
    };
    let lines = external.iter().map(|benchmark| table::external_line(results, metrics, benchmark));
    let unanswered = table::unanswered(results);
    html! {
        (filters(results))
        (scroller("Accuracy of every row by family and level", &table))
        @for line in table::text_only_line(results).into_iter().chain(lines) {
            p.external { (line) "." }
        }
        @if !unanswered.is_empty() {
            details.external {
                summary { (table::unanswered_title(unanswered.len())) }
                ul { @for line in &unanswered { li { (line) } } }
            }
        }
    }
}

fn board_row(
    row: &ResultRow,
    family: Option<&str>,
    external: &[&str],
    metrics: &Metrics,
) -> Markup {
    let Some(whole) = metrics.cell(&row.name, family, None) else { return Markup::default() };
    let (kind, family_name) = (row.kind.name(), family.unwrap_or("all"));
    // A benchmark of its own is not part of a family.
    let of_external =
        |name: &&str| metrics.cell(&row.name, Some(name), None).filter(|_| family.is_none());
    html! {
        tr data-row=(row.name) data-kind=(kind) data-family=(family_name) {
            th scope="row" { (row.name) }
            td { (kind) }
            td { (family_name) }
            @for level in all_and_levels() {
                (value(row, metrics.cell(&row.name, family, level), Some(format!("l-{}", level_name(level)))))
            }
            @for name in external { (value(row, of_external(name), None)) }
            td data-v=(format!("{:.2}", whole.length.mean)) { (table::plus_minus(whole.length)) }
            @for share in [whole.truncated, whole.unparsed] {
                td data-v=(format!("{share:.5}")) { (table::percent(share)) }
            }
            td { (format!("{:.2}", whole.words_per_answer[0])) }
        }
    }
}

/// Accuracy and, below it, the gain; both can be sorted by.
fn value(row: &ResultRow, cell: Option<&Cell>, class: Option<String>) -> Markup {
    let Some(cell) = cell else { return html! { td class=[class] { (NOTHING) } } };
    let text = table::accuracy_and_gain(row, Some(cell));
    let (accuracy, gain) = text.split_once('\n').unwrap_or((&text, ""));
    let interval = cell.gain.filter(|_| !gain.is_empty());
    // An interval that leaves zero out is shown by weight, not by color.
    let is_clear = interval.is_some_and(|gain| gain.low > 0.0 || gain.high < 0.0);
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    html! {
        td class=[class] data-v=(percent(cell.accuracy.mean)) data-g=[interval.map(|gain| percent(gain.mean))] {
            (accuracy)
            @if interval.is_some() { small class=[is_clear.then_some("clear")] { (gain) } }
        }
    }
}

fn filters(results: &Results) -> Markup {
    html! {
        form .controls .js-only aria-label="Filter the table" {
            label { "Row " input type="search" id="filter-row" placeholder="part of a name"; }
            label {
                "Kind "
                select #filter-kind {
                    option value="" { "all" }
                    @for kind in RowKind::VARIANTS { option { (kind.name()) } }
                }
            }
            label {
                "Family "
                select #filter-family {
                    option value="" { "each" }
                    option value="all" selected="selected" { "all together" }
                    @for family in results.families() { option { (family) } }
                }
            }
            label {
                "Level "
                select #filter-level {
                    option value="" { "each" }
                    option value="all" { "all together" }
                    @for level in Level::ALL { option { (level) } }
                }
            }
            label {
                "Sort by "
                select #sort-measure {
                    option value="v" { "accuracy" }
                    option value="g" { "gain" }
                }
            }
        }
        p #board-status .js-only .status role="status" {}
    }
}
