//! Pieces of HTML that several parts of a page share: escaping, tables, folded parts.
//!
//! This module does not know what is shown. Mark-up is written with [`maud::html`], which escapes every text; only SVG
//! is put together by hand and escapes with [`escaped`].

use maud::{Markup, html};

use crate::text::terminal::Grid;

/// Number of characters of an answer above which its middle is left out.
const TEXT_MAX: usize = 1100;
/// Number of these that belong to its end, where the box is.
const TEXT_END: usize = 400;

/// Escapes `text` for use between tags and in attributes; characters that HTML forbids are replaced.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Leaves out the middle of a long text, so that no answer makes the page heavy.
pub(super) fn shortened(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let (start, end) = (TEXT_MAX - TEXT_END, chars.len() - TEXT_END);
    let head: String = chars[..start].iter().collect();
    let tail: String = chars[end..].iter().collect();
    format!("{head}\n[… {} characters left out …]\n{tail}", end - start)
}

/// Formats a number for coordinates: one decimal, no trailing zero, never `-0`.
pub(super) fn coordinate(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0 + 0.0;
    if rounded.fract() == 0.0 { format!("{rounded:.0}") } else { format!("{rounded:.1}") }
}

/// A part of the page that opens when its summary is chosen.
pub(super) fn folded(summary: &str, body: &Markup) -> Markup {
    html! { details.fold { summary { (summary) } (body) } }
}

/// The numbers behind a figure as a table, folded away.
pub(super) fn numbers(summary: &str, caption: &str, grid: &Grid) -> Markup {
    folded(summary, &grid_table(grid, caption))
}

/// A grid as a table that scrolls by itself where it is wide; its first column names the rows.
pub(super) fn grid_table(grid: &Grid, caption: &str) -> Markup {
    let table = html! {
        table.sortable {
            caption { (caption) }
            thead { tr { @for cell in &grid.header { th scope="col" { (lines(cell)) } } } }
            tbody {
                @for row in &grid.rows {
                    tr {
                        @for (column, cell) in row.iter().enumerate() {
                            @if column == 0 { th scope="row" { (lines(cell)) } }
                            @else { td { (lines(cell)) } }
                        }
                    }
                }
            }
        }
    };
    scroller(caption, &table)
}

/// A box that scrolls and that a keyboard reaches.
pub(super) fn scroller(label: &str, content: &Markup) -> Markup {
    html! { div.scroll role="region" tabindex="0" aria-label=(label) { (content) } }
}

/// Names and values, one below the other.
pub(crate) fn facts(class: Option<&str>, facts: &[(&str, String)]) -> Markup {
    html! {
        dl class=[class] {
            @for (what, value) in facts {
                dt { (what) } dd { (value) }
            }
        }
    }
}

fn lines(cell: &str) -> Markup {
    html! {
        @for (index, line) in cell.split('\n').enumerate() {
            @if index > 0 { br; }
            (line.trim())
        }
    }
}

/// Replaces the characters that HTML forbids, which model output may contain.
pub(crate) fn without_controls(page: &str) -> String {
    let allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    page.chars().map(|c| if allowed(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            escaped("<a href=\"x\">&'</script>\u{0}\n"),
            "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/script&gt;\u{fffd}\n"
        );
    }

    #[test]
    fn a_long_text_keeps_its_start_and_its_end() {
        let text = format!("start {} \\boxed{{ red }}", "é".repeat(5000));
        let short = shortened(&text);
        assert!(short.starts_with("start é") && short.ends_with("\\boxed{ red }"));
        assert!(short.chars().count() < TEXT_MAX + 60);
        assert_eq!(shortened("whole"), "whole");
    }

    #[test]
    fn coordinates_are_short() {
        for (value, want) in
            [(0.0, "0"), (-0.01, "0"), (12.34, "12.3"), (5.0, "5"), (-1.25, "-1.3")]
        {
            assert_eq!(coordinate(value), want);
        }
    }
}
