//! The dilemma as two charts: what a combination keeps of each half, and what it spends on the easy one.
//!
//! This module does not judge: every row comes with its verdict. A row is drawn in the color and with the marker that it
//! has in every other figure, and shown or hidden by the same legend.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::chart::{Axis, marker};
use super::html::{coordinate, escaped, numbers};
use super::lines::Line;
use crate::dilemma::{Dilemma, Outcome, Split, Standing};
use crate::factorial::FactorEffect;
use crate::statistics::Interval;
use crate::text::standings;
use crate::text::terminal::plus_minus_signed;

const SIZE: (f64, f64) = (640.0, 420.0);
const LEFT: f64 = 54.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// Height of a label and width of one of its characters.
const LABEL: (f64, f64) = (10.5, 5.0);

/// A row in a chart.
struct Mark<'a> {
    line: &'a Line,
    standing: &'a Standing,
    x: Interval,
    y: Interval,
}

/// A chart of rows in two directions.
struct Scatter<'a> {
    id: String,
    title: &'a str,
    x_name: &'a str,
    y_name: &'a str,
    /// Tells whether x carries its sign.
    is_signed: bool,
    /// The least x and y of the region that is shaded, with its name.
    region: Option<(f64, f64, &'a str)>,
    marks: Vec<Mark<'a>>,
}

/// Both charts of every split, and the numbers.
pub(super) fn figure(dilemma: &Dilemma, lines: &[Line]) -> Markup {
    html! {
        @for (place, split) in dilemma.splits.iter().enumerate() {
            @let body = charts(split, dilemma.margin, lines);
            @if place == 0 { (body) } @else { (super::html::folded(standings::split_name(split), &body)) }
        }
    }
}

fn charts(split: &Split, margin: f64, lines: &[Line]) -> Markup {
    let mut rows: Vec<(&Standing, &Line)> = Vec::new();
    for standing in &split.rows {
        let line = lines.iter().find(|line| line.name == standing.row);
        rows.extend(line.map(|line| (standing, line)));
    }
    let kept = Scatter {
        id: format!("dilemma-{}", split.by),
        title: "What is kept of each half, against the better parent there",
        x_name: "easy half, points against the better parent",
        y_name: "hard half, points",
        is_signed: true,
        region: Some((-margin, -margin, "keeps both halves")),
        marks: marks(&rows, |standing| standing.easy.effect, |standing| standing.hard.effect),
    };
    let spent = Scatter {
        id: format!("dilemma-tokens-{}", split.by),
        title: "What the easy half costs",
        x_name: "tokens on the easy half, times the base's",
        y_name: "easy half, points against the better parent",
        is_signed: false,
        region: None,
        marks: marks(&rows, |standing| standing.tokens_to_base, |standing| standing.easy.effect),
    };
    let name = standings::split_name(split);
    let caption = format!(
        "{name}: gains in points against the better parent of each part, with half of the 95 % interval"
    );
    html! {
        div.panel.large { (PreEscaped(svg(&kept))) }
        div.panel.large { (PreEscaped(svg(&spent))) }
        (numbers("The dilemma as a table", &caption, &standings::dilemma(split)))
    }
}

/// Rows at two of their values.
fn marks<'a>(
    rows: &[(&'a Standing, &'a Line)],
    x: fn(&Standing) -> Interval,
    y: fn(&Standing) -> Interval,
) -> Vec<Mark<'a>> {
    let mark = |&(standing, line): &(&'a Standing, &'a Line)| Mark {
        line,
        standing,
        x: x(standing),
        y: y(standing),
    };
    rows.iter().map(mark).collect()
}

/// The effects of the factorial.
pub(super) fn factorial(effects: &[FactorEffect]) -> Markup {
    let caption =
        "Points of accuracy with half of the 95 % interval; each factor is averaged over the other";
    super::html::grid_table(&standings::factorial(effects), caption)
}

/// Where values lie in the picture.
struct Frame {
    x: Axis,
    y: Axis,
}

impl Frame {
    /// Holds the intervals of the rows that are shown at first, and the means of those others that are not far off: one
    /// row that has lost everything would leave no room for the rest, and is drawn at the edge.
    fn of(scatter: &Scatter<'_>) -> Frame {
        let axis = |value: fn(&Mark<'_>) -> Interval, also: Option<f64>| {
            let shown = scatter.marks.iter().filter(|mark| mark.line.is_shown).map(value);
            let ends: Vec<f64> = shown.flat_map(|interval| [interval.low, interval.high]).collect();
            let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
            let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let half = (high - low) / 2.0;
            let near = (low - half)..=(high + half);
            let means = scatter.marks.iter().map(|mark| value(mark).mean);
            let near = means.filter(|mean| ends.is_empty() || near.contains(mean));
            Axis::covering(ends.iter().copied().chain(near).chain(also.map(|least| least - 1.0)))
        };
        let [x, y] = [scatter.region.map(|region| region.0), scatter.region.map(|region| region.1)];
        Frame { x: axis(|mark| mark.x, x), y: axis(|mark| mark.y, y) }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (SIZE.0 - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        SIZE.1 - BOTTOM - self.y.place(value) * (SIZE.1 - TOP - BOTTOM)
    }
}

fn svg(scatter: &Scatter<'_>) -> String {
    let (id, frame) = (&scatter.id, Frame::of(scatter));
    let mut svg = format!(
        "<svg id=\"{id}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\n",
        coordinate(SIZE.0),
        coordinate(SIZE.1),
        escaped(scatter.title),
        escaped(&description(scatter)),
    );
    let _ = write!(svg, "<text class=\"head\" x=\"4\" y=\"16\">{}</text>", escaped(scatter.title));
    if let Some((x, y, name)) = scatter.region {
        let (left, bottom) = (coordinate(frame.x(x)), coordinate(frame.y(y)));
        let (right, top) = (coordinate(SIZE.0 - RIGHT), coordinate(TOP));
        let _ = write!(
            svg,
            "<path class=\"band\" d=\"M{left} {bottom}H{right}V{top}H{left}z\"/>\
             <text class=\"sub\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            coordinate(SIZE.0 - RIGHT - 6.0),
            coordinate(TOP + 13.0),
            escaped(name),
        );
    }
    axes(&mut svg, scatter, &frame);
    svg.push('\n');
    for (mark, label) in scatter.marks.iter().zip(labels(scatter, &frame)) {
        draw(&mut svg, mark, &frame, label);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Grid, ticks and the names of both axes.
fn axes(svg: &mut String, scatter: &Scatter<'_>, frame: &Frame) {
    for value in frame.y.ticks() {
        let zero = if frame.y.is_zero(value) { " zero" } else { "" };
        let at = frame.y(value);
        let _ = write!(
            svg,
            "<path class=\"grid{zero}\" d=\"M{} {}H{}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            coordinate(LEFT),
            coordinate(at),
            coordinate(SIZE.0 - RIGHT),
            coordinate(LEFT - 6.0),
            coordinate(at + 4.0),
            frame.y.label(value, true),
        );
    }
    for value in frame.x.ticks() {
        let zero = if frame.x.is_zero(value) { " zero" } else { "" };
        let at = coordinate(frame.x(value));
        let _ = write!(
            svg,
            "<path class=\"grid{zero}\" d=\"M{at} {}V{}\"/><text x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            coordinate(TOP),
            coordinate(SIZE.1 - BOTTOM),
            coordinate(SIZE.1 - BOTTOM + 14.0),
            frame.x.label(value, scatter.is_signed),
        );
    }
    let middle = (SIZE.1 - BOTTOM + TOP) / 2.0;
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(12 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        coordinate((LEFT + SIZE.0 - RIGHT) / 2.0),
        coordinate(SIZE.1 - 12.0),
        escaped(scatter.x_name),
        coordinate(middle),
        escaped(scatter.y_name),
    );
}

fn draw(svg: &mut String, mark: &Mark<'_>, frame: &Frame, (label_x, label_y): (f64, f64)) {
    let (x, y) = (frame.x(mark.x.mean), frame.y(mark.y.mean));
    let mut bars = String::new();
    if mark.x.high > mark.x.low {
        let (low, high) = (frame.x(mark.x.low), frame.x(mark.x.high));
        let _ = write!(bars, "M{} {}H{}", coordinate(low), coordinate(y), coordinate(high));
    }
    if mark.y.high > mark.y.low {
        let (low, high) = (frame.y(mark.y.low), frame.y(mark.y.high));
        let _ = write!(bars, "M{} {}V{}", coordinate(x), coordinate(low), coordinate(high));
    }
    let Standing { row, verdict, is_parent, .. } = mark.standing;
    let radius = if *is_parent { 5.5 } else { 3.6 };
    let _ = writeln!(
        svg,
        "<g class=\"s {}\"><title>{}</title><path class=\"b\" d=\"{bars}\"/><path class=\"m\" d=\"{}\"/>\
         <text class=\"name\" x=\"{}\" y=\"{}\">{}</text></g>",
        mark.line.classes(),
        escaped(&format!("{row}: {}", verdict.name())),
        marker(mark.line.marker, x, y, radius),
        coordinate(label_x),
        coordinate(label_y),
        escaped(&label(mark.standing)),
    );
}

/// The name beside a marker: parents, and rows that test nothing, say so.
fn label(standing: &Standing) -> String {
    let row = &standing.row;
    match standing.verdict {
        Outcome::Parent => format!("{row} (parent)"),
        Outcome::NotTestable => format!("{row} (brief)"),
        _ => row.clone(),
    }
}

/// Where each label starts: beside its marker, moved up or down where another stands there. Rows that are shown at first
/// choose first.
fn labels(scatter: &Scatter<'_>, frame: &Frame) -> Vec<(f64, f64)> {
    let mut order: Vec<usize> = (0..scatter.marks.len()).collect();
    order.sort_by_key(|place| !scatter.marks[*place].line.is_shown);
    let (height, wide) = LABEL;
    // Left end, width and line of what is there: markers first.
    let of_mark = |mark: &Mark<'_>| (frame.x(mark.x.mean) - 5.0, 10.0, frame.y(mark.y.mean) + 4.0);
    let shown = scatter.marks.iter().filter(|mark| mark.line.is_shown);
    let mut taken: Vec<(f64, f64, f64)> = shown.map(of_mark).collect();
    let mut labels = vec![(0.0, 0.0); scatter.marks.len()];
    for place in order {
        let mark = &scatter.marks[place];
        let (x, y) = (frame.x(mark.x.mean), frame.y(mark.y.mean));
        let width = wide * label(mark.standing).chars().count() as f64;
        let is_free = |&(left, line): &(f64, f64)| {
            let inside =
                left > LEFT && left + width < SIZE.0 && line > TOP && line < SIZE.1 - BOTTOM;
            let apart = |(other, length, at): &(f64, f64, f64)| {
                (line - at).abs() >= height || left > other + length || left + width < *other
            };
            inside && taken.iter().all(apart)
        };
        let beside = [x + 8.0, x - 8.0 - width];
        let steps = (0..12).flat_map(|step| {
            let away = f64::from(step) * height;
            [-4.0 - away, 10.0 + away]
        });
        let places = steps.flat_map(|step| beside.map(|left| (left, y + step)));
        let chosen = places.into_iter().find(is_free).unwrap_or((beside[0], y - 4.0));
        taken.push((chosen.0, width, chosen.1));
        labels[place] = chosen;
    }
    labels
}

fn description(scatter: &Scatter<'_>) -> String {
    let of_mark = |mark: &Mark<'_>| {
        let x =
            if scatter.is_signed { plus_minus_signed(mark.x) } else { standings::ratio(mark.x) };
        let (row, y) = (&mark.standing.row, plus_minus_signed(mark.y));
        format!("{row}: {x} and {y}, {}.", mark.standing.verdict.name())
    };
    let shown = scatter.marks.iter().filter(|mark| mark.line.is_shown);
    let marks: Vec<String> = shown.map(of_mark).collect();
    format!("Across: {}; up: {}. {}", scatter.x_name, scatter.y_name, marks.join(" "))
}
