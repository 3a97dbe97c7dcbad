//! Which rows the figures show, in which group, color and marker, and the legend that shows and hides them.
//!
//! This module does not know any regime: groups follow from the names' form and from which regimes are merges. A study has
//! thirty regimes and a chart carries seven lines, so the figures start with the plain ways and the legend adds
//! the others; it works by the style sheet alone, without script.

use maud::{Markup, PreEscaped, html};

use super::PageData;
use super::chart;
use crate::rows::CLONE;
use crate::score::{BASE, Results, RowKind};
use crate::text::terminal as table;

/// The controls that a figure can show: what sharpening alone would be, chance alone, and another base. The others do not measure gains.
const CONTROLS: [&str; 3] = ["greedy", "null", CLONE];

/// The part of the legend that a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// The base and a control of it.
    Reference,
    /// A way of post-training.
    Plain,
    /// A regime whose name goes on from another's: `rl_kl0`.
    Variant,
    Merge,
}

/// A row as the figures show it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) note: String,
    pub(super) group: Group,
    /// True if it is shown before anybody asks.
    pub(super) is_shown: bool,
    /// Index among all lines, which names its classes.
    pub(super) index: usize,
    color: usize,
    pub(super) marker: usize,
}

impl Line {
    /// The classes of everything that belongs to the line.
    pub(super) fn classes(&self) -> String {
        let kind = match self.group {
            Group::Reference => "ref",
            Group::Plain => "plain",
            Group::Variant => "variant",
            Group::Merge => "merge",
        };
        let color = match self.group {
            Group::Reference => String::new(),
            _ => format!(" c{}", self.color % 8),
        };
        format!("r{} {kind}{color}", self.index)
    }

    /// A small picture of its line.
    fn swatch(&self) -> Markup {
        // Without the class that hides: the swatch stays when its line goes.
        swatch(self.classes().split_once(' ').map_or("", |(_, rest)| rest), self.marker)
    }
}

/// A small picture of the line with these classes.
pub(super) fn swatch(classes: &str, marker: usize) -> Markup {
    PreEscaped(format!(
        "<svg class=\"swatch\" viewBox=\"0 0 28 14\" aria-hidden=\"true\"><g class=\"s {classes}\">\
         <path class=\"l\" d=\"M1 7H27\"/><path class=\"m\" d=\"{}\"/></g></svg>",
        chart::marker(marker, 14.0, 7.0, 4.0)
    ))
}

/// The rows that figures can show, the base first.
pub(super) fn lines(results: &Results, data: &PageData) -> Vec<Line> {
    let rows = table::ordered_rows(results);
    let is_merge = |name: &str| data.merges.iter().any(|merge| merge.regime == name);
    let regimes: Vec<&str> = rows
        .iter()
        .filter(|row| row.kind == RowKind::Regime && !is_merge(&row.name))
        .map(|row| row.name.as_str())
        .collect();
    // The longest other name that this one goes on from.
    let parent = |name: &str| {
        let goes_on =
            |other: &&&str| name.strip_prefix(**other).is_some_and(|rest| rest.starts_with('_'));
        regimes.iter().filter(goes_on).max_by_key(|other| other.len()).copied()
    };
    let mut methods: Vec<&str> = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    let mut num_plain = 0;
    let mut siblings = 0;
    for row in rows {
        let name = row.name.as_str();
        let (group, color, marker) = if name == BASE {
            (Group::Reference, 0, 0)
        } else if row.kind == RowKind::Control {
            let Some(place) = CONTROLS.iter().position(|known| *known == name) else { continue };
            (Group::Reference, 0, 1 + place)
        } else if let Some(merge) = data.merges.iter().find(|merge| merge.regime == name) {
            if !methods.contains(&merge.method.as_str()) {
                methods.push(&merge.method);
            }
            let method = methods.iter().position(|m| *m == merge.method).unwrap_or(0);
            (Group::Merge, method, (merge.share * 8.0).round() as usize)
        } else if let Some(parent) = parent(name) {
            let known = lines.iter().find(|line| line.name == parent);
            siblings += 1;
            let color = known.map_or(siblings, |line| line.color);
            (Group::Variant, color, known.map_or(0, |line| line.marker) + 1 + siblings)
        } else {
            num_plain += 1;
            (Group::Plain, num_plain - 1, num_plain - 1)
        };
        let is_shown = group == Group::Plain || name == BASE || name == CONTROLS[0];
        let (name, note) = (row.name.clone(), row.note.clone());
        lines.push(Line { name, note, group, is_shown, index: lines.len(), color, marker });
    }
    lines
}

/// The rules by which the legend's boxes show and hide lines without script.
pub(super) fn rules(lines: &[Line]) -> String {
    lines
        .iter()
        .map(|line| {
            let i = line.index;
            format!("body:has(#show-{i}:not(:checked)) .r{i}{{display:none}}\n")
        })
        .collect()
}

/// The legend, which is also how a reader chooses the lines.
pub(super) fn legend(lines: &[Line]) -> Markup {
    let groups = [
        (Group::Plain, "Regimes", true),
        (Group::Reference, "Base and its controls", true),
        (Group::Variant, "Variants and controls of regimes", false),
        (Group::Merge, "Merges", false),
    ];
    let members = |group: Group| lines.iter().filter(move |line| line.group == group);
    let boxes = |group: Group, name: &str| {
        html! {
            fieldset {
                legend { (name) }
                @for line in members(group) {
                    label title=(line.note) {
                        input type="checkbox" id={ "show-" (line.index) } name="row" value=(line.name)
                            checked=[line.is_shown.then_some("checked")];
                        (line.swatch())
                        span { (line.name) }
                    }
                }
            }
        }
    };
    html! {
        form.legend aria-label="Rows shown in the figures" {
            p.legend-title { "Shown in every figure" }
            @for (group, name, is_open) in groups {
                @let count = members(group).count();
                @if count > 0 && is_open {
                    (boxes(group, name))
                } @else if count > 0 {
                    details { summary { (name) " (" (count) ")" } (boxes(group, name)) }
                }
            }
            p.js-only {
                @for (show, text) in [("default", "As at first"), ("all", "All"), ("none", "None")] {
                    button type="button" data-show=(show) { (text) }
                    " "
                }
            }
        }
    }
}
