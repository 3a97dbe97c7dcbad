//! The study's Figure 1 from our numbers, and the same for length and reasoning words; merges by share.
//!
//! This module does not know how a cell's interval came about, except that of the words, which no cell has: it is computed
//! here as those of the cells are. Panels of one figure share their scale, so that families can be compared.

use std::collections::BTreeMap;

use maud::{Markup, html};
use synergy_benchmarks::difficulty::Level;

use super::PageData;
use super::chart::{self, Axis, Panel, Point, Series};
use super::html::numbers;
use super::lines::{Group, Line, swatch};
use crate::score::{
    Effects, Lineage, Metrics, Quantity as Quantified, Question, Results, all_and_levels,
    level_name,
};
use crate::statistics::Interval;
use crate::text::terminal::{self as table, Grid, NOTHING};

/// Width and height of the panel over all families, and of one family's.
const LARGE: (f64, f64) = (640.0, 340.0);
const SMALL: (f64, f64) = (340.0, 240.0);
/// Fewer questions than this are not drawn: their interval often has no width and would seem exact.
const QUESTIONS_MIN: usize = 3;
/// How much of a level's width its points take.
const SPREAD: f64 = 0.62;

/// A quantity by row, family and level.
pub(super) struct Quantity {
    /// Part of the charts' ids.
    pub(super) key: &'static str,
    /// Part of the charts' titles, such as `Gain over base`.
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) is_difference: bool,
    values: BTreeMap<Address, Interval>,
}

/// A method of merging and its parents: one line of [`merges`].
type Method<'a> = (&'a str, &'a [String; 2]);

/// Row, family and level; `None` for all of them.
type Address = (String, Option<String>, Option<Level>);

impl Quantity {
    /// Gain over the base in points.
    pub(super) fn gain(metrics: &Metrics) -> Quantity {
        let values = metrics.cells.iter().filter_map(|cell| {
            let address = (cell.row.clone(), cell.benchmark.clone(), cell.level);
            Some((address, cell.gain?.scaled(100.0)))
        });
        Quantity {
            key: "gain",
            name: "Gain over base",
            unit: "points of accuracy",
            is_difference: true,
            values: values.collect(),
        }
    }

    /// Tokens per answer.
    pub(super) fn length(metrics: &Metrics) -> Quantity {
        let values = metrics
            .cells
            .iter()
            .map(|cell| ((cell.row.clone(), cell.benchmark.clone(), cell.level), cell.length));
        Quantity {
            key: "length",
            name: "Length",
            unit: "tokens per answer",
            is_difference: false,
            values: values.collect(),
        }
    }

    /// All reasoning words per answer, with intervals as every cell's.
    pub(super) fn words(results: &Results, lines: &[Line]) -> Quantity {
        let mut values = BTreeMap::new();
        let lineage = Lineage::of(results);
        let families = results.families();
        let families: Vec<Option<&str>> =
            std::iter::once(None).chain(families.into_iter().map(Some)).collect();
        for family in families {
            for level in all_and_levels() {
                let belongs = |index: &usize| {
                    let question = &results.questions[*index];
                    question.level.is_some()
                        && family.is_none_or(|family| family == question.benchmark)
                        && level.is_none_or(|level| question.level == Some(level))
                };
                let questions: Vec<usize> = (0..results.questions.len()).filter(belongs).collect();
                if questions.is_empty() {
                    continue;
                }
                let words = Effects::of(results, &lineage, &questions, Quantified::Words);
                for line in lines {
                    let address = (line.name.clone(), family.map(str::to_owned), level);
                    values.extend(words.level(&line.name).map(|value| (address, value)));
                }
            }
        }
        Quantity {
            key: "words",
            name: "Reasoning words",
            unit: "words per answer",
            is_difference: false,
            values,
        }
    }

    /// The values of one line to draw, with the places of their levels.
    fn drawn(&self, results: &Results, row: &str, family: Option<&str>) -> Vec<(usize, Interval)> {
        let levels = Level::ALL.into_iter().enumerate();
        levels
            .filter(|(_, level)| num_questions(results, family, *level) >= QUESTIONS_MIN)
            .filter_map(|(place, level)| Some((place, self.value(row, family, Some(level))?)))
            .collect()
    }

    fn value(&self, row: &str, family: Option<&str>, level: Option<Level>) -> Option<Interval> {
        self.values.get(&(row.to_owned(), family.map(str::to_owned), level)).copied()
    }

    fn shown(&self, value: Option<Interval>) -> String {
        value.map_or_else(
            || NOTHING.to_owned(),
            // Points are given as shares of one, as in every other table.
            |value| match self.is_difference {
                true => table::points(value.scaled(0.01)),
                false => table::plus_minus(value),
            },
        )
    }
}

/// A panel over all families, one of each family, and the numbers.
pub(super) fn figure(quantity: &Quantity, results: &Results, lines: &[Line]) -> Markup {
    let families = results.families();
    let drawn: Vec<&Line> = lines
        .iter()
        // The base gains nothing over itself, and chance alone is the band behind the lines.
        .filter(|line| quantity.value(&line.name, None, None).is_some())
        .filter(|line| !(quantity.is_difference && line.name == "null"))
        .collect();
    let scale = |families: &[Option<&str>]| {
        let mut values: Vec<f64> = Vec::new();
        for line in &drawn {
            for family in families {
                let drawn = quantity.drawn(results, &line.name, *family);
                values.extend(drawn.iter().flat_map(|(_, value)| [value.low, value.high]));
            }
        }
        Axis::covering(values.into_iter())
    };
    let of_families: Vec<Option<&str>> = families.iter().map(|name| Some(*name)).collect();
    let (of_all, of_each) = (scale(&[None]), scale(&of_families));
    let panel = |family: Option<&str>, size, axis| {
        let title = family.unwrap_or("all families");
        chart::draw(&Panel {
            id: format!("{}-{}", quantity.key, family.unwrap_or("all")),
            title: format!("{} by level, {}: {title}", quantity.name, quantity.unit),
            description: description(quantity, &drawn, family),
            size,
            ticks: ticks(results, family),
            axis,
            unit: quantity.unit,
            is_difference: quantity.is_difference,
            bands: if quantity.is_difference {
                chance(quantity, results, family)
            } else {
                Vec::new()
            },
            series: series(quantity, results, &drawn, family),
        })
    };
    let caption =
        format!("{} by level: {}, with half of the 95 % interval", quantity.name, quantity.unit);
    html! {
        (panel(None, LARGE, &of_all))
        div.panels { @for family in &families { (panel(Some(family), SMALL, &of_each)) } }
        (numbers("The numbers of this figure", &caption, &grid(quantity, results, lines)))
    }
}

fn ticks(results: &Results, family: Option<&str>) -> Vec<(f64, String)> {
    let tick = |(place, level): (usize, Level)| {
        (center(place), format!("{level}\nn {}", num_questions(results, family, level)))
    };
    Level::ALL.into_iter().enumerate().map(tick).collect()
}

fn num_questions(results: &Results, family: Option<&str>, level: Level) -> usize {
    let has_level = |question: &&Question| {
        question.level == Some(level) && family.is_none_or(|family| family == question.benchmark)
    };
    results.questions.iter().filter(has_level).count()
}

/// The position of a level along x, 0 to 1.
pub(super) fn center(place: usize) -> f64 {
    chart::center(place, Level::ALL.len())
}

/// The gain of the base over itself, as bands behind the lines.
fn chance(
    quantity: &Quantity,
    results: &Results,
    family: Option<&str>,
) -> Vec<(f64, f64, Interval)> {
    let half = 0.45 / Level::ALL.len() as f64;
    let drawn = quantity.drawn(results, "null", family).into_iter();
    drawn.map(|(place, value)| (center(place) - half, center(place) + half, value)).collect()
}

/// Lines side by side within a level, so that no interval hides another. Those that are shown at first get
/// even places; the others are drawn between them.
fn series(
    quantity: &Quantity,
    results: &Results,
    drawn: &[&Line],
    family: Option<&str>,
) -> Vec<Series> {
    let num_shown = drawn.iter().filter(|line| line.is_shown).count().max(1);
    let (mut shown, mut hidden) = (0, 0);
    let mut all: Vec<Series> = Vec::new();
    for line in drawn {
        let slot = if line.is_shown {
            shown += 1;
            shown as f64 - 0.5
        } else {
            hidden += 1;
            (hidden % num_shown) as f64
        };
        let offset = (slot / num_shown as f64 - 0.5) * SPREAD / Level::ALL.len() as f64;
        let mut points = Vec::new();
        let mut values = Vec::new();
        for (place, y) in quantity.drawn(results, &line.name, family) {
            points.push(Point { x: center(place) + offset, y });
            values.push(format!("{} {}", Level::ALL[place], quantity.shown(Some(y))));
        }
        all.push(Series {
            classes: line.classes(),
            marker: Some(line.marker),
            title: format!("{}: {}", line.name, values.join(", ")),
            points,
            gap_max: 1.5 / Level::ALL.len() as f64,
        });
    }
    all
}

fn description(quantity: &Quantity, drawn: &[&Line], family: Option<&str>) -> String {
    let of_line = |line: &&&Line| {
        let values: Vec<String> = Level::ALL
            .into_iter()
            .filter_map(|level| {
                let value = quantity.value(&line.name, family, Some(level))?;
                Some(format!("{level} {}", quantity.shown(Some(value))))
            })
            .collect();
        format!("{}: {}.", line.name, values.join(", "))
    };
    let shown: Vec<String> =
        drawn.iter().filter(|line| line.is_shown).map(|line| of_line(&line)).collect();
    format!("{} The table below the figure has every number.", shown.join(" "))
}

fn grid(quantity: &Quantity, results: &Results, lines: &[Line]) -> Grid {
    let mut header = ["row", "family"].map(str::to_owned).to_vec();
    header.extend(all_and_levels().map(level_name));
    let families = results.families();
    let families = std::iter::once(None).chain(families.into_iter().map(Some));
    let mut rows = Vec::new();
    for family in families {
        for line in lines {
            let values: Vec<Option<Interval>> =
                all_and_levels().map(|level| quantity.value(&line.name, family, level)).collect();
            if values.iter().all(Option::is_none) {
                continue;
            }
            let mut row = vec![line.name.clone(), family.unwrap_or("all").to_owned()];
            row.extend(values.into_iter().map(|value| quantity.shown(value)));
            rows.push(row);
        }
    }
    Grid { header, rows }
}

/// Gain against the share of the first parent, a line per method, from the second parent's own gain to the first's.
pub(super) fn merges(data: &PageData, quantity: &Quantity, lines: &[Line]) -> Markup {
    let mut curves: Vec<Method<'_>> = Vec::new();
    for merge in &data.merges {
        let curve = (merge.method.as_str(), &merge.parents);
        if !curves.contains(&curve) {
            curves.push(curve);
        }
    }
    let rows = curves.iter().flat_map(|curve| members(data, curve));
    let value = |(_, row): (f64, &str)| {
        let of_row = all_and_levels().filter_map(|level| quantity.value(row, None, level));
        of_row.flat_map(|value| [value.low, value.high]).collect::<Vec<_>>()
    };
    let axis = Axis::covering(rows.flat_map(value));
    let panel = |level: Option<Level>| {
        let what = level.map_or_else(|| "all levels".to_owned(), |level| level.to_string());
        let series: Vec<Series> = (0..curves.len())
            .map(|place| merge_series(data, quantity, level, &curves, place))
            .collect();
        let ticks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|s| (share_place(s), tick(s, &curves)));
        chart::draw(&Panel {
            id: format!("merge-{}", level_name(level)),
            title: format!("Gain over base of merges by share: {what}"),
            description: chart::described(&series),
            size: SMALL,
            ticks: ticks.to_vec(),
            axis: &axis,
            unit: quantity.unit,
            is_difference: true,
            bands: Vec::new(),
            series,
        })
    };
    let caption = "Gain of merges in points, with half of the 95 % interval";
    html! {
        ul.key {
            @for (place, curve) in curves.iter().enumerate() {
                li { (swatch(&format!("plain c{}", place % 8), place)) (curve_name(curve)) }
            }
        }
        div.panels { @for level in all_and_levels() { (panel(level)) } }
        (numbers("The numbers of this figure", caption, &merge_grid(data, quantity, lines)))
    }
}

/// One method on one level; the methods are drawn side by side, so that no interval hides another.
fn merge_series(
    data: &PageData,
    quantity: &Quantity,
    level: Option<Level>,
    curves: &[Method<'_>],
    place: usize,
) -> Series {
    let dodge = (place as f64 - curves.len() as f64 / 2.0 + 0.5) * 0.018;
    let mut values = Vec::new();
    let mut points = Vec::new();
    for (share, row) in members(data, &curves[place]) {
        let Some(y) = quantity.value(row, None, level) else { continue };
        values.push(format!("{share} {}", quantity.shown(Some(y))));
        points.push(Point { x: share_place(share) + dodge, y });
    }
    Series {
        classes: format!("plain c{}", place % 8),
        marker: Some(place),
        title: format!("{}: {}", curve_name(&curves[place]), values.join(", ")),
        points,
        gap_max: 1.0,
    }
}

/// The position of a share along x.
fn share_place(share: f64) -> f64 {
    0.08 + 0.84 * share
}

fn merge_grid(data: &PageData, quantity: &Quantity, lines: &[Line]) -> Grid {
    let mut header = ["merge", "method", "share"].map(str::to_owned).to_vec();
    header.extend(all_and_levels().map(level_name));
    let row = |line: &Line| {
        let merge = data.merges.iter().find(|merge| merge.regime == line.name)?;
        let mut row = vec![line.name.clone(), merge.method.clone(), format!("{:.2}", merge.share)];
        row.extend(
            all_and_levels().map(|level| quantity.shown(quantity.value(&line.name, None, level))),
        );
        Some(row)
    };
    let merged = lines.iter().filter(|line| line.group == Group::Merge);
    Grid { header, rows: merged.filter_map(row).collect() }
}

/// The points of one line, by share: the regimes, the parents at the ends.
fn members<'a>(data: &'a PageData, curve: &Method<'a>) -> Vec<(f64, &'a str)> {
    let (method, parents) = *curve;
    let mut points = vec![(0.0, parents[1].as_str()), (1.0, parents[0].as_str())];
    let of_curve = data.merges.iter().filter(|m| m.method == method && m.parents == *parents);
    points.extend(of_curve.map(|merge| (merge.share, merge.regime.as_str())));
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// A share, with the parents' names at the two ends where they are the same for all.
fn tick(share: f64, curves: &[Method<'_>]) -> String {
    let end = match share {
        s if s < 0.01 => Some(1),
        s if s > 0.99 => Some(0),
        _ => None,
    };
    let Some(end) = end else { return format!("{share}") };
    let first = &curves.first().map(|curve| curve.1[end].clone()).unwrap_or_default();
    let same = curves.iter().all(|curve| curve.1[end] == *first);
    if same { format!("{share}\n{first}") } else { format!("{share}") }
}

fn curve_name((method, parents): &Method<'_>) -> String {
    format!("{method}, {} into {}", parents[0], parents[1])
}
