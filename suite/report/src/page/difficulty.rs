//! Accuracy over the knob, pass@k, and entropy and KL along the answers.
//!
//! This module does not know how any of it is counted.

use maud::{Markup, html};

use super::chart::{self, Axis, Panel, Point, Series};
use super::html::{grid_table, numbers};
use super::lines::Line;
use crate::score::Results;
use crate::score::cuts::{by_knob, steps};
use crate::score::passes::RowPasses;
use crate::statistics::Interval;
use crate::text::difficulty;

const SIZE: (f64, f64) = (640.0, 340.0);
/// How much of a fifth's width its points take.
const SPREAD: f64 = 0.62;

/// Accuracy of every row by fifths of the knob, and what levels cut by others say.
pub(super) fn knob(results: &Results, lines: &[Line]) -> Markup {
    let cut = by_knob(results);
    let value = |row: &str, place: usize| -> Option<Interval> {
        let cell = cut[place].1.iter().find(|cell| cell.row == row)?;
        Some(cell.accuracy.scaled(100.0))
    };
    let rows =
        lines.iter().map(|line| (line, (0..cut.len()).map(|i| value(&line.name, i)).collect()));
    let rows: Vec<(&Line, Vec<Option<Interval>>)> = rows.collect();
    let ticks = cut.iter().enumerate().map(|(place, (fifth, _))| {
        let (low, high) = steps(results, *fifth).unwrap_or_default();
        (chart::center(place, cut.len()), format!("fifth {}\n{low} to {high} steps", fifth + 1))
    });
    let panel =
        panel("knob-all", "Accuracy by fifths of the knob: all families", ticks.collect(), &rows);
    html! {
        (chart::draw(&panel.of(&panel.axis())))
        @if let Some(grid) = difficulty::knob(results) {
            (numbers("The numbers of this figure", difficulty::KNOB, &grid))
        }
        @if let Some(grid) = difficulty::others(results) {
            (numbers("Levels cut by others", difficulty::OTHERS, &grid))
        }
    }
}

/// pass@k over k, and the tables of several answers together.
pub(super) fn together(told: &[RowPasses], lines: &[Line]) -> Markup {
    let of = |line: &Line| told.iter().find(|row| row.row == line.name)?.parts.first();
    let ks = lines.iter().filter_map(of).map(|all| &all.pass_at).max_by_key(|all| all.len());
    let ks: Vec<usize> = ks.map_or_else(Vec::new, |all| all.iter().map(|at| at.k).collect());
    let value = |line: &Line, k: usize| {
        let at = of(line)?.pass_at.iter().find(|at| at.k == k)?;
        Some(at.share.scaled(100.0))
    };
    let rows = lines.iter().filter(|line| of(line).is_some());
    let rows: Vec<(&Line, Vec<Option<Interval>>)> =
        rows.map(|line| (line, ks.iter().map(|k| value(line, *k)).collect())).collect();
    let ticks = ks.iter().enumerate().map(|(place, k)| {
        let unit = if place == ks.len() / 2 { "\nanswers" } else { "" };
        (chart::center(place, ks.len()), format!("{k}{unit}"))
    });
    let panel = panel(
        "pass-all",
        "Chance that one of k answers is right: all questions",
        ticks.collect(),
        &rows,
    );
    html! {
        (chart::draw(&panel.of(&panel.axis())))
        (grid_table(&difficulty::together(told), "Several answers together, in percent"))
        (numbers(
            "By fifths of the knob and by level",
            "One answer, pass@k of all there are, majority vote, and the base's vote at equal tokens",
            &difficulty::together_by_part(told),
        ))
    }
}

/// Entropy and KL along the answers.
pub(super) fn tokens(results: &Results) -> Option<Markup> {
    let grid = difficulty::tokens(results)?;
    Some(grid_table(
        &grid,
        "Entropy in nats per token, and the KL divergence from the base below it",
    ))
}

/// A chart of shares in percent before it has its axis.
struct Shares {
    id: &'static str,
    title: &'static str,
    ticks: Vec<(f64, String)>,
    series: Vec<Series>,
    values: Vec<f64>,
    description: String,
}

fn panel(
    id: &'static str,
    title: &'static str,
    ticks: Vec<(f64, String)>,
    rows: &[(&Line, Vec<Option<Interval>>)],
) -> Shares {
    let num = ticks.len().max(1);
    let mut values = Vec::new();
    let series: Vec<Series> = rows
        .iter()
        .enumerate()
        .map(|(slot, (line, row))| {
            let dodge = ((slot as f64 + 0.5) / rows.len() as f64 - 0.5) * SPREAD / num as f64;
            let mut points = Vec::new();
            let mut told = Vec::new();
            for (place, value) in row.iter().enumerate() {
                let Some(y) = *value else { continue };
                values.extend([y.low, y.high]);
                points.push(Point { x: chart::center(place, num) + dodge, y });
                let tick = ticks[place].1.split('\n').next().unwrap_or_default();
                told.push(format!("{tick} {:.1}", y.mean));
            }
            Series {
                classes: line.classes(),
                marker: Some(line.marker),
                title: format!("{}: {}", line.name, told.join(", ")),
                points,
                gap_max: 1.5 / num as f64,
            }
        })
        .collect();
    let shown = rows.iter().zip(&series).filter(|((line, _), _)| line.is_shown);
    let description = chart::described(shown.map(|(_, series)| series));
    Shares { id, title, ticks, series, values, description }
}

impl Shares {
    fn axis(&self) -> Axis {
        Axis::covering(self.values.iter().copied())
    }

    fn of<'a>(&self, axis: &'a Axis) -> Panel<'a> {
        Panel {
            id: self.id.to_owned(),
            title: self.title.to_owned(),
            description: self.description.clone(),
            size: SIZE,
            ticks: self.ticks.clone(),
            axis,
            unit: "%",
            is_difference: false,
            bands: Vec::new(),
            series: self.series.clone(),
        }
    }
}
