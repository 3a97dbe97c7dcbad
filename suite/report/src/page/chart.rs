//! Charts as SVG: axes, intervals as thin bars, lines, markers. Pure.
//!
//! This module does not know what is drawn, nor any color: a series carries classes, and the style sheet has the colors of
//! both themes. Markers distinguish series in addition to colors. A series is three paths however many points it has, since
//! a page holds thousands of points.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::html::{coordinate, escaped};
use crate::statistics::Interval;

/// A linear scale with round ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

/// One point: its position along x (0 to 1), and its value, with an interval if it has a width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: Interval,
}

impl Point {
    /// A value without an interval.
    pub(super) fn exact(x: f64, y: f64) -> Point {
        Point { x, y: Interval { mean: y, low: y, high: y } }
    }
}

/// The middle of the `place`-th of `of` equal parts of the x axis, 0 to 1.
pub(super) fn center(place: usize, of: usize) -> f64 {
    (place as f64 + 0.5) / of as f64
}

/// Points of one row.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Classes that color it and show or hide it.
    pub(super) classes: String,
    /// `None`: a line without markers.
    pub(super) marker: Option<usize>,
    /// Shown while the pointer is over it.
    pub(super) title: String,
    pub(super) points: Vec<Point>,
    /// Where two points are farther apart along x, the line breaks: something between them is missing.
    pub(super) gap_max: f64,
}

/// One chart.
#[derive(Debug)]
pub(super) struct Panel<'a> {
    /// Unique in the page.
    pub(super) id: String,
    pub(super) title: String,
    /// A description for readers who do not see the chart.
    pub(super) description: String,
    /// Width and height; text keeps its size, so this is how large the chart is meant to be seen.
    pub(super) size: (f64, f64),
    /// Position (0 to 1) and one or two lines of text.
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) axis: &'a Axis,
    pub(super) unit: &'static str,
    /// True if values carry their sign and zero is a line to read from.
    pub(super) is_difference: bool,
    /// Shaded: from x to x, and from low to high.
    pub(super) bands: Vec<(f64, f64, Interval)>,
    pub(super) series: Vec<Series>,
}

const LEFT: f64 = 48.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 42.0;

impl Axis {
    /// From the least to the greatest of `values`, out to round numbers; zero is always on it.
    pub(super) fn covering(values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (0.0_f64, 0.0_f64);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        let span = if high > low { high - low } else { 1.0 };
        let rough = span / 5.0;
        let power = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(rough);
        // Ends at half steps: a whole one more would often be empty.
        let half = step / 2.0;
        let high = high.max(low + span);
        Axis { low: (low / half).floor() * half, high: (high / half).ceil() * half, step }
    }

    /// Where a value lies from the low end (0) to the high one (1); what is beyond an end lies on it.
    pub(super) fn place(&self, value: f64) -> f64 {
        (value.clamp(self.low, self.high) - self.low) / (self.high - self.low)
    }

    /// Tells whether a tick is at zero.
    pub(super) fn is_zero(&self, value: f64) -> bool {
        value.abs() < self.step / 1e3
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let near = |value: f64| (value * 1e6).round() / 1e6;
        let first = near(self.low / self.step).ceil() as i32;
        let last = near(self.high / self.step).floor() as i32;
        (first..=last).map(|i| f64::from(i) * self.step)
    }

    pub(super) fn label(&self, value: f64, signed: bool) -> String {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        let scale = 10.0_f64.powi(i32::try_from(decimals).unwrap_or(0));
        let value = (value * scale).round() / scale + 0.0;
        if signed && value != 0.0 {
            format!("{value:+.decimals$}")
        } else {
            format!("{value:.decimals$}")
        }
    }
}

/// Describes every series, for readers who do not see the chart.
pub(super) fn described<'a>(series: impl IntoIterator<Item = &'a Series>) -> String {
    let titles: Vec<String> = series.into_iter().map(|one| format!("{}.", one.title)).collect();
    titles.join(" ")
}

/// The chart as one `svg` element in its box.
pub(super) fn draw(panel: &Panel<'_>) -> Markup {
    // A wide chart is enlarged more than the others.
    let (class, radius) = if panel.size.0 > 500.0 { ("panel large", 3.3) } else { ("panel", 4.0) };
    html! { div class=(class) { (PreEscaped(svg(panel, radius))) } }
}

fn svg(panel: &Panel<'_>, radius: f64) -> String {
    let (width, height) = panel.size;
    let axis = panel.axis;
    let x = |share: f64| LEFT + share * (width - LEFT - RIGHT);
    // A series that is hidden until it is asked for may leave the scale.
    let y = |value: f64| TOP + (1.0 - axis.place(value)) * (height - TOP - BOTTOM);
    let id = &panel.id;
    let mut svg = format!(
        "<svg id=\"{id}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\n",
        coordinate(width),
        coordinate(height),
        escaped(&panel.title),
        escaped(&panel.description),
    );
    let _ = write!(
        svg,
        "<text class=\"head\" x=\"4\" y=\"16\">{}</text><text class=\"unit\" x=\"{}\" y=\"16\" text-anchor=\"end\">{}</text>",
        escaped(panel.title.rsplit(": ").next().unwrap_or_default()),
        coordinate(width - RIGHT),
        escaped(panel.unit),
    );
    for value in axis.ticks() {
        let zero = if axis.is_zero(value) { " zero" } else { "" };
        let at = coordinate(y(value));
        let _ = write!(
            svg,
            "<path class=\"grid{zero}\" d=\"M{} {at}H{}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            coordinate(LEFT),
            coordinate(width - RIGHT),
            coordinate(LEFT - 6.0),
            coordinate(y(value) + 4.0),
            axis.label(value, panel.is_difference),
        );
    }
    for (share, text) in &panel.ticks {
        for (line, text) in text.split('\n').enumerate() {
            let class = if line == 0 { "" } else { " class=\"sub\"" };
            let _ = write!(
                svg,
                "<text{class} x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                coordinate(x(*share)),
                coordinate(height - BOTTOM + 17.0 + 15.0 * line as f64),
                escaped(text),
            );
        }
    }
    for (from, to, interval) in &panel.bands {
        let (top, bottom) = (y(interval.high), y(interval.low));
        let _ = write!(
            svg,
            "<path class=\"band\" d=\"M{} {}H{}V{}H{}z\"/>",
            coordinate(x(*from)),
            coordinate(top),
            coordinate(x(*to)),
            coordinate(bottom),
            coordinate(x(*from)),
        );
    }
    svg.push('\n');
    for series in &panel.series {
        draw_series(&mut svg, series, radius, &x, &y);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_series(
    svg: &mut String,
    series: &Series,
    radius: f64,
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let (mut line, mut bars, mut markers) = (String::new(), String::new(), String::new());
    for (index, point) in series.points.iter().enumerate() {
        let (px, py) = (x(point.x), y(point.y.mean));
        let before = index.checked_sub(1).map(|before| series.points[before].x);
        let follows = before.is_some_and(|before| point.x - before <= series.gap_max);
        let command = if follows { 'L' } else { 'M' };
        let _ = write!(line, "{command}{} {}", coordinate(px), coordinate(py));
        if point.y.high > point.y.low {
            let (low, high) = (y(point.y.low), y(point.y.high));
            let _ = write!(bars, "M{} {}V{}", coordinate(px), coordinate(low), coordinate(high));
        }
        if let Some(kind) = series.marker {
            markers.push_str(&marker(kind, px, py, radius));
        }
    }
    let _ = write!(
        svg,
        "<g class=\"s {}\"><title>{}</title><path class=\"l\" d=\"{line}\"/>",
        series.classes,
        escaped(&series.title)
    );
    if !bars.is_empty() {
        let _ = write!(svg, "<path class=\"b\" d=\"{bars}\"/>");
    }
    if !markers.is_empty() {
        let _ = write!(svg, "<path class=\"m\" d=\"{markers}\"/>");
    }
    svg.push_str("</g>\n");
}

/// The outline of a marker around a point; there are eight shapes.
pub(super) fn marker(kind: usize, x: f64, y: f64, radius: f64) -> String {
    let at = |dx: f64, dy: f64| {
        format!("{} {}", coordinate(x + dx * radius), coordinate(y + dy * radius))
    };
    let polygon = |points: &[f64]| {
        let points: Vec<String> = points.chunks(2).map(|point| at(point[0], point[1])).collect();
        format!("M{}z", points.join("L"))
    };
    // Square, triangle, diamond, triangle, oblique and upright cross, pentagon.
    const POLYGONS: [&[f64]; 7] = [
        &[-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.9, 0.9],
        &[0.0, -1.2, 1.15, 0.85, -1.15, 0.85],
        &[0.0, -1.3, 1.3, 0.0, 0.0, 1.3, -1.3, 0.0],
        &[0.0, 1.2, 1.15, -0.85, -1.15, -0.85],
        &[
            -1.1, -0.6, -0.6, -1.1, 0.0, -0.5, 0.6, -1.1, 1.1, -0.6, 0.5, 0.0, 1.1, 0.6, 0.6, 1.1,
            0.0, 0.5, -0.6, 1.1, -1.1, 0.6, -0.5, 0.0,
        ],
        &[
            -0.4, -1.2, 0.4, -1.2, 0.4, -0.4, 1.2, -0.4, 1.2, 0.4, 0.4, 0.4, 0.4, 1.2, -0.4, 1.2,
            -0.4, 0.4, -1.2, 0.4, -1.2, -0.4, -0.4, -0.4,
        ],
        &[0.0, -1.2, 1.15, -0.4, 0.7, 1.0, -0.7, 1.0, -1.15, -0.4],
    ];
    match (kind % 8).checked_sub(1) {
        Some(place) => polygon(POLYGONS[place]),
        None => {
            let (r, left) = (coordinate(radius), at(-1.0, 0.0));
            format!("M{left}A{r} {r} 0 1 0 {}A{r} {r} 0 1 0 {left}z", at(1.0, 0.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_round_numbers_and_holds_zero() {
        let axis = Axis::covering([-7.3, 48.9].into_iter());
        assert_eq!(axis, Axis { low: -10.0, high: 50.0, step: 20.0 });
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [0.0, 20.0, 40.0]);
        assert_eq!(axis.label(20.0, true), "+20");
        let small = Axis::covering([0.07].into_iter());
        assert_eq!(
            (small.label(0.02, false), small.label(0.0, true)),
            ("0.02".into(), "0.00".into())
        );
    }

    #[test]
    fn an_axis_of_nothing_or_of_infinities_is_still_drawn() {
        let axis = Axis::covering([f64::NEG_INFINITY, f64::NAN].into_iter());
        assert!(axis.high > axis.low && axis.ticks().count() > 1);
    }
}
