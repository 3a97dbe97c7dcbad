//! Golden results over time: a drift over many accepted runs, each the same as the last within chance, shows only here.
//!
//! This module does not know how results become golden.

use maud::{Markup, html};

use super::chart::{self, Axis, Panel, Point, Series};
use super::html::numbers;
use super::lines::Line;
use crate::golden::{Average, Record};
use crate::score::BASE;
use crate::text::terminal::{Grid, NOTHING};

const SIZE: (f64, f64) = (480.0, 260.0);

/// A quantity of [`Average`]: key, title, unit and value.
type Quantity = (&'static str, &'static str, &'static str, fn(&Average) -> f64);

const QUANTITIES: [Quantity; 2] = [
    ("accuracy", "Accuracy", "%", |average| 100.0 * average.accuracy),
    ("length", "Length", "tokens per answer", |average| average.length),
];

/// Accuracy and length of every row in every golden of the profile, oldest first.
pub(super) fn figure(records: &[Record], lines: &[Line]) -> Markup {
    let panel = |(key, title, unit, value): Quantity| {
        let all = records.iter().flat_map(|record| &record.rows).map(value);
        let axis = Axis::covering(all);
        let series: Vec<Series> = lines
            .iter()
            .map(|line| series(records, line, value))
            .filter(|series| !series.points.is_empty())
            .collect();
        let tick = |(place, record): (usize, &Record)| {
            let commit = record.commit.get(..7).unwrap_or(&record.commit);
            (chart::center(place, records.len()), format!("{}\n{commit}", record.date))
        };
        // More labels would overlap.
        let every = records.len().div_ceil(5);
        chart::draw(&Panel {
            id: format!("history-{key}"),
            title: format!("Golden results over time: {title}"),
            description: chart::described(&series),
            size: SIZE,
            ticks: records.iter().enumerate().step_by(every.max(1)).map(tick).collect(),
            axis: &axis,
            unit,
            is_difference: false,
            bands: Vec::new(),
            series,
        })
    };
    let caption = "Every accepted run of this profile";
    html! {
        div.panels { @for quantity in QUANTITIES { (panel(quantity)) } }
        (numbers("The runs of this figure", caption, &grid(records)))
    }
}

fn series(records: &[Record], line: &Line, value: fn(&Average) -> f64) -> Series {
    let mut points = Vec::new();
    let mut values = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let Some(average) = record.rows.iter().find(|row| row.name == line.name) else { continue };
        let y = value(average);
        values.push(format!("{} {y:.1}", record.date));
        points.push(Point::exact(chart::center(place, records.len()), y));
    }
    Series {
        classes: line.classes(),
        marker: Some(line.marker),
        title: format!("{}: {}", line.name, values.join(", ")),
        points,
        gap_max: 1.0,
    }
}

fn grid(records: &[Record]) -> Grid {
    let header =
        ["date", "commit", "seeds", "questions", "seconds", "base", "best", "replaced for"];
    let row = |record: &Record| {
        let seeds: Vec<String> = record.seeds.iter().map(u64::to_string).collect();
        let shown = |row: Option<&Average>| {
            let text = |row: &Average| format!("{} {:.1} %", row.name, 100.0 * row.accuracy);
            row.map_or_else(|| NOTHING.to_owned(), text)
        };
        let best = record.rows.iter().max_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
        vec![
            record.date.clone(),
            record.commit.clone(),
            seeds.join(", "),
            record.num_questions.to_string(),
            format!("{:.0}", record.wall_time_s),
            shown(record.rows.iter().find(|row| row.name == BASE)),
            shown(best),
            record.replaced.clone().unwrap_or_default(),
        ]
    };
    Grid::new(header, records.iter().map(row))
}
