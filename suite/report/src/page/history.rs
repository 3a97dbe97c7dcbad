//! Golden results over time: a drift of many accepted runs, each the same as the last within chance, shows here only.
//!
//! Does not know how results become golden.

use super::chart::{self, Axis, Panel, Point, Series};
use super::html;
use super::lines::Line;
use crate::golden::{Average, Record};
use crate::text::terminal::Grid;

const SIZE: (f64, f64) = (480.0, 260.0);

/// A quantity of [`Average`]: key, title, unit and value.
type Quantity = (&'static str, &'static str, &'static str, fn(&Average) -> f64);

const QUANTITIES: [Quantity; 2] = [
    ("accuracy", "Accuracy", "%", |average| 100.0 * average.accuracy),
    ("length", "Length", "tokens per answer", |average| average.length),
];

/// Accuracy and length of every row in every golden of the profile, oldest first.
pub(super) fn figure(records: &[Record], lines: &[Line]) -> String {
    let mut out = String::from("<div class=\"panels\">\n");
    for (key, title, unit, value) in QUANTITIES {
        let all = records.iter().flat_map(|record| &record.rows).map(value);
        let axis = Axis::covering(all);
        let series: Vec<Series> = lines
            .iter()
            .map(|line| series(records, line, value))
            .filter(|series| !series.points.is_empty())
            .collect();
        let told: Vec<String> = series.iter().map(|series| format!("{}.", series.title)).collect();
        let tick = |(place, record): (usize, &Record)| {
            let commit = record.commit.get(..7).unwrap_or(&record.commit);
            (chart::center(place, records.len()), format!("{}\n{commit}", record.date))
        };
        // More would stand on each other.
        let every = records.len().div_ceil(5);
        let svg = chart::draw(&Panel {
            id: format!("history-{key}"),
            title: format!("Golden results over time: {title}"),
            description: told.join(" "),
            size: SIZE,
            ticks: records.iter().enumerate().step_by(every.max(1)).map(tick).collect(),
            axis: &axis,
            unit,
            is_difference: false,
            bands: Vec::new(),
            series,
        });
        out.push_str(&format!("<div class=\"panel\">{svg}</div>\n"));
    }
    out.push_str("</div>\n");
    let table = html::grid_table(&grid(records), "Every accepted run of this profile", "sortable");
    out.push_str(&html::folded("The runs of this figure", &table));
    out
}

fn series(records: &[Record], line: &Line, value: fn(&Average) -> f64) -> Series {
    let mut points = Vec::new();
    let mut told = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let Some(average) = record.rows.iter().find(|row| row.name == line.name) else { continue };
        let y = value(average);
        told.push(format!("{} {y:.1}", record.date));
        points.push(Point::exact(chart::center(place, records.len()), y));
    }
    Series {
        classes: line.classes(),
        marker: Some(line.marker),
        title: format!("{}: {}", line.name, told.join(", ")),
        points,
        gap_max: 1.0,
    }
}

fn grid(records: &[Record]) -> Grid {
    let header =
        ["date", "commit", "seeds", "questions", "seconds", "base", "best", "replaced for"];
    let row = |record: &Record| {
        let seeds: Vec<String> = record.seeds.iter().map(u64::to_string).collect();
        let told = |row: Option<&Average>| {
            row.map_or_else(
                || crate::text::terminal::NOTHING.to_owned(),
                |row| format!("{} {:.1} %", row.name, 100.0 * row.accuracy),
            )
        };
        let best = record.rows.iter().max_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
        vec![
            record.date.clone(),
            record.commit.clone(),
            seeds.join(", "),
            record.num_questions.to_string(),
            format!("{:.0}", record.wall_time_s),
            told(record.rows.iter().find(|row| row.name == crate::score::BASE)),
            told(best),
            record.replaced.clone().unwrap_or_default(),
        ]
    };
    Grid { header: header.map(str::to_owned).to_vec(), rows: records.iter().map(row).collect() }
}
