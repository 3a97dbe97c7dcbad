//! The table of all rows by family and level, to be sorted and filtered.
//!
//! Does not know how: without script it is a table, families one below the other; the script adds sorting and
//! filters. A row of the table is a row of results in one family, its columns are levels.

use std::fmt::Write as _;

use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::style::REASONING_WORDS;

use super::html::{escaped, scroller};
use crate::score::{Cell, Metrics, ResultRow, Results, RowKind};
use crate::text::terminal::{self as table, NOTHING};

/// The filters, the table, and what stands beside the external benchmarks.
pub(super) fn board(results: &Results, metrics: &Metrics) -> String {
    let mut out = filters(results);
    let external = results.external_benchmarks();
    let caption = format!("Every row by family and level: {}", table::legend().replace('\n', " "));
    out.push_str(&scroller("Accuracy of every row by family and level"));
    let _ = write!(
        out,
        "<table id=\"board\" class=\"sortable\"><caption>{}</caption>",
        escaped(&caption)
    );
    out.push_str(
        "<thead><tr><th scope=\"col\">row</th><th scope=\"col\">kind</th><th scope=\"col\">family</th>\
         <th scope=\"col\" class=\"l-all\">all levels</th>",
    );
    for (level, count, share) in results.level_shares() {
        let _ = write!(
            out,
            "<th scope=\"col\" class=\"l-{level}\">{level}<br/>{} % n {count}</th>",
            table::percent(share)
        );
    }
    for benchmark in &external {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(benchmark));
    }
    for name in ["length", "truncated", "unparsed", REASONING_WORDS[0]] {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    let families = results.families();
    for family in std::iter::once(None).chain(families.into_iter().map(Some)) {
        for row in table::ordered_rows(results) {
            board_row(&mut out, row, family, &external, metrics);
        }
    }
    out.push_str("</tbody></table></div>\n");
    if let Some(line) = table::text_only_line(results) {
        let _ = writeln!(out, "<p class=\"external\">{}.</p>", escaped(&line));
    }
    for benchmark in external {
        let line = table::external_line(results, metrics, benchmark);
        let _ = writeln!(out, "<p class=\"external\">{}.</p>", escaped(&line));
    }
    out
}

fn board_row(
    out: &mut String,
    row: &ResultRow,
    family: Option<&str>,
    external: &[&str],
    metrics: &Metrics,
) {
    let Some(whole) = metrics.cell(&row.name, family, None) else { return };
    let name = escaped(&row.name);
    let kind = match row.kind {
        RowKind::Baseline => "baseline",
        RowKind::Control => "control",
        RowKind::Regime => "regime",
    };
    let family_name = escaped(family.unwrap_or("all"));
    let _ = write!(
        out,
        "<tr data-row=\"{name}\" data-kind=\"{kind}\" data-family=\"{family_name}\"><th scope=\"row\">{name}</th>\
         <td>{kind}</td><td>{family_name}</td>"
    );
    let levels = std::iter::once(None).chain(Level::ALL.map(Some));
    for level in levels {
        let class = level.map_or_else(|| "all".to_owned(), |level| level.to_string());
        value(out, row, metrics.cell(&row.name, family, level), &format!(" class=\"l-{class}\""));
    }
    for benchmark in external {
        // A benchmark of its own is no part of a family.
        let cell = metrics.cell(&row.name, Some(benchmark), None).filter(|_| family.is_none());
        value(out, row, cell, "");
    }
    let _ = writeln!(
        out,
        "<td data-v=\"{:.2}\">{}</td><td data-v=\"{:.5}\">{}</td><td data-v=\"{:.5}\">{}</td><td>{:.2}</td></tr>",
        whole.length.mean,
        table::plus_minus(whole.length),
        whole.truncated,
        table::percent(whole.truncated),
        whole.unparsed,
        table::percent(whole.unparsed),
        whole.words_per_answer[0],
    );
}

/// Accuracy and, below it, the gain; both can be sorted by.
fn value(out: &mut String, row: &ResultRow, cell: Option<&Cell>, attributes: &str) {
    let Some(cell) = cell else {
        let _ = write!(out, "<td{attributes}>{NOTHING}</td>");
        return;
    };
    let text = table::accuracy_and_gain(row, Some(cell));
    let accuracy = 100.0 * cell.accuracy.mean;
    let _ = match (text.split_once('\n'), cell.gain) {
        (Some((shown, gain)), Some(interval)) => write!(
            out,
            "<td{attributes} data-v=\"{accuracy:.2}\" data-g=\"{:.2}\">{}<small{}>{}</small></td>",
            100.0 * interval.mean,
            escaped(shown),
            // An interval that leaves zero out is said by weight, not by color.
            if interval.low > 0.0 || interval.high < 0.0 { " class=\"clear\"" } else { "" },
            escaped(gain)
        ),
        _ => write!(out, "<td{attributes} data-v=\"{accuracy:.2}\">{}</td>", escaped(&text)),
    };
}

fn filters(results: &Results) -> String {
    let mut out = String::from(
        "<form class=\"controls js-only\" aria-label=\"Filter the table\">\
         <label>Row <input type=\"search\" id=\"filter-row\" placeholder=\"part of a name\"/></label>\
         <label>Kind <select id=\"filter-kind\"><option value=\"\">all</option><option>baseline</option>\
         <option>control</option><option>regime</option></select></label>\
         <label>Family <select id=\"filter-family\"><option value=\"\">each</option>\
         <option value=\"all\" selected=\"selected\">all together</option>",
    );
    for family in results.families() {
        let _ = write!(out, "<option>{}</option>", escaped(family));
    }
    out.push_str("</select></label><label>Level <select id=\"filter-level\"><option value=\"\">each</option><option value=\"all\">all together</option>");
    for level in Level::ALL {
        let _ = write!(out, "<option>{level}</option>");
    }
    out.push_str(
        "</select></label><label>Sort by <select id=\"sort-measure\"><option value=\"v\">accuracy</option>\
         <option value=\"g\">gain</option></select></label></form>\n\
         <p class=\"js-only status\" id=\"board-status\" role=\"status\"></p>\n",
    );
    out
}
