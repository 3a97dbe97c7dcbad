//! Text to HTML: escaping, numbers in attributes, tables.
//!
//! Does not know what is shown. Everything that comes from outside goes through [`escaped`], whether it stands
//! between tags or in an attribute; every element is closed, so that a test can check it without a parser of HTML.

use std::fmt::Write as _;

use crate::text::terminal::Grid;

/// How many characters of an answer are shown before its middle is left out.
const TEXT_MAX: usize = 1100;
/// Of these, how many are its end, where the box stands.
const TEXT_END: usize = 400;

/// `text` as it stands between tags and in attributes. Characters that HTML forbids are replaced.
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

/// `text` with its middle left out where it is long, so that no answer makes the page heavy.
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

/// A number for coordinates: one decimal, no trailing zero, never `-0`.
pub(super) fn coordinate(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0 + 0.0;
    if rounded.fract() == 0.0 { format!("{rounded:.0}") } else { format!("{rounded:.1}") }
}

/// Starts a section with its heading and one paragraph; the caller closes it.
pub(super) fn section(page: &mut String, id: &str, heading: &str, lead: &str) {
    let _ = writeln!(
        page,
        "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{}</h2>\n<p class=\"lead\">{}</p>",
        escaped(heading),
        escaped(lead),
    );
}

/// A folded part of the page.
pub(super) fn folded(summary: &str, body: &str) -> String {
    format!("<details class=\"fold\"><summary>{}</summary>\n{body}</details>\n", escaped(summary))
}

/// A grid as a table that scrolls by itself where it is wide; its first column names the rows.
pub(super) fn grid_table(grid: &Grid, caption: &str, classes: &str) -> String {
    let mut out = scroller(caption);
    let _ = write!(out, "<table class=\"{classes}\"><caption>{}</caption>", escaped(caption));
    out.push_str("<thead><tr>");
    for cell in &grid.header {
        let _ = write!(out, "<th scope=\"col\">{}</th>", lines(cell));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in &grid.rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = match column {
                0 => write!(out, "<th scope=\"row\">{}</th>", lines(cell.trim())),
                _ => write!(out, "<td>{}</td>", lines(cell)),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// Opens a box that scrolls and that a keyboard reaches; the caller closes the `div`.
pub(super) fn scroller(label: &str) -> String {
    format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\">",
        escaped(label)
    )
}

fn lines(cell: &str) -> String {
    cell.split('\n').map(|line| escaped(line.trim())).collect::<Vec<_>>().join("<br/>")
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
