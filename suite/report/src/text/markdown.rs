//! Pieces of Markdown that several texts share.

use std::fmt::Write as _;

use crate::text::terminal::Grid;

/// Starts a section of a report with one sentence.
pub fn section(text: &mut String, heading: &str, sentence: &str) {
    let _ = write!(text, "\n## {heading}\n\n{sentence}\n\n");
}

/// Appends `grid` as a table, its first column to the left and all others to the right.
pub fn markdown_table(text: &mut String, grid: &Grid) {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| cell.split('\n').map(inline).collect::<Vec<_>>().join("<br>"))
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    text.push_str(&line(&grid.header));
    text.push_str("| --- |");
    text.push_str(&" ---: |".repeat(grid.header.len().saturating_sub(1)));
    text.push('\n');
    for row in &grid.rows {
        text.push_str(&line(row));
    }
}

/// Text on one line that Markdown shows as it is.
pub fn inline(text: &str) -> String {
    let text: Vec<char> = text.trim().chars().collect();
    let mut escaped = String::with_capacity(text.len());
    for (index, &c) in text.iter().enumerate() {
        // An underscore inside a word, as in `two_stage`, means nothing to Markdown.
        let neighbors = [index.wrapping_sub(1), index + 1].map(|i| text.get(i));
        let inside = neighbors.iter().all(|c| c.is_some_and(|c| c.is_alphanumeric()));
        match c {
            '\n' | '\r' => escaped.push(' '),
            '_' if inside => escaped.push(c),
            '|' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}
