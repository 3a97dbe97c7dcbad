//! The study's own Figure 1 and averages, to compare ours with: published figures of models of seven billion parameters.
//!
//! This module does not know our results. The gains were read off the study's figure (arXiv 2507.07562, Figure 1), whose markers
//! hide each other in places: such a value is left out. The averages are its Table 6.

use maud::{Markup, html};
use synergy_benchmarks::difficulty::Level;

use super::chart::{self, Axis, Panel, Point, Series};
use super::figures;
use super::html::numbers;
use super::lines::Line;
use crate::text::terminal::{Grid, NOTHING};

const SIZE: (f64, f64) = (340.0, 240.0);

/// The study's regimes: our name and its own.
const REGIMES: [(&str, &str); 7] = [
    ("sft", "SFT"),
    ("rl", "RL"),
    ("two_stage", "Two-stage"),
    ("interleaved", "Interleaved"),
    ("progressive", "Progressive"),
    ("data_mixing", "Data mixing"),
    ("merge_linear_25", "Merging"),
];

/// A value that no marker shows.
const HIDDEN: f64 = f64::NAN;

/// Gain over base in points, `[regime][level]`.
type Gains = [[f64; 5]; 7];

/// Benchmark and gains.
const GAINS: [(&str, Gains); 5] = [
    (
        "MathVision",
        [
            [-11.1, -3.3, -2.1, 8.7, 9.1],
            [-2.5, 3.8, 2.3, 5.4, 3.6],
            [-11.4, -6.2, -0.7, 7.7, 9.1],
            [-6.0, 2.0, HIDDEN, HIDDEN, 5.4],
            [-2.8, 4.5, 2.7, 5.9, 5.0],
            [-1.3, 3.6, 2.3, 4.2, 4.5],
            [-1.8, 5.0, 1.5, 6.1, 4.4],
        ],
    ),
    (
        "MathVerse",
        [
            [-8.5, 2.0, 10.8, 18.9, 9.8],
            [-1.0, 14.5, 19.0, 22.9, 7.4],
            [-7.7, 1.5, 9.9, 18.0, 9.7],
            [-4.0, 9.1, 13.0, 17.5, 6.7],
            [-0.1, 10.9, 17.8, HIDDEN, 7.0],
            [-1.4, 13.0, 17.5, 20.8, 7.1],
            [-1.0, 9.7, 14.5, 19.1, 7.6],
        ],
    ),
    (
        "MathVista",
        [
            [-7.6, 0.0, 10.9, 16.8, 12.0],
            [1.3, 14.9, 21.1, 24.4, 5.1],
            [-7.8, 2.4, 14.3, 21.3, 13.3],
            [-1.1, 18.8, 17.3, 23.4, 9.1],
            [1.0, 16.9, 15.8, 21.9, 7.4],
            [1.1, 17.3, 15.5, 17.1, 7.2],
            [0.6, 11.6, 20.4, 20.1, 6.6],
        ],
    ),
    (
        "MMMU",
        [
            [-11.2, -1.7, 1.1, 15.0, 14.4],
            [-3.6, 7.8, 6.3, 8.6, 5.7],
            [-11.3, -5.3, 0.0, 15.0, 16.7],
            [-5.2, -4.5, 9.5, 6.1, 10.9],
            [-3.1, 8.6, 3.6, 9.5, HIDDEN],
            [-3.9, 6.3, 6.8, 7.2, 6.4],
            [-4.1, 3.0, 1.6, 7.0, 6.6],
        ],
    ),
    (
        "MMStar",
        [
            [-15.0, -8.2, 9.9, 16.6, 24.2],
            [-4.5, 2.7, 15.7, 16.1, 15.9],
            [-16.2, -4.7, 15.8, 15.9, 24.5],
            [HIDDEN, -1.6, 9.4, 7.9, 13.1],
            [-2.9, 0.2, HIDDEN, HIDDEN, 12.6],
            [-11.2, -3.0, 14.0, 14.1, 20.5],
            [-5.1, 2.8, 11.9, 14.7, 18.1],
        ],
    ),
];

/// Accuracy over the five benchmarks, of the base and of every regime.
const AVERAGES: [(&str, f64); 8] = [
    ("base", 50.3),
    ("SFT", 51.4),
    ("RL", 55.1),
    ("Two-stage", 51.4),
    ("Interleaved", 53.6),
    ("Progressive", 54.9),
    ("Data mixing", 54.0),
    ("Merging", 54.3),
];

/// A panel for each benchmark and the numbers, in the colors of our lines of the same regimes.
pub(super) fn figure(lines: &[Line]) -> Markup {
    let all = GAINS.iter().flat_map(|(_, gains)| gains.iter().flatten().copied());
    let axis = Axis::covering(all);
    let panel = |(benchmark, gains): &(&str, Gains)| {
        let series: Vec<Series> =
            gains.iter().enumerate().map(|(regime, gains)| series(lines, regime, gains)).collect();
        chart::draw(&Panel {
            id: format!("published-{}", benchmark.to_lowercase()),
            title: format!("Gain over base by level as published, 7B: {benchmark}"),
            description: chart::described(&series),
            size: SIZE,
            ticks: Level::ALL
                .into_iter()
                .enumerate()
                .map(|(place, level)| (figures::center(place), level.to_string()))
                .collect(),
            axis: &axis,
            unit: "points, published",
            is_difference: true,
            bands: Vec::new(),
            series,
        })
    };
    let caption = "The study's gains in points, as published";
    html! {
        div.panels { @for published in &GAINS { (panel(published)) } }
        (numbers("The numbers of this figure", caption, &grid()))
    }
}

fn series(lines: &[Line], regime: usize, gains: &[f64; 5]) -> Series {
    let (ours, name) = REGIMES[regime];
    let offset = (regime as f64 - 3.0) * 0.014;
    let mut values = Vec::new();
    let mut points = Vec::new();
    for (place, &gain) in gains.iter().enumerate().filter(|(_, gain)| gain.is_finite()) {
        values.push(format!("{} {gain:+.1}", Level::ALL[place]));
        points.push(Point::exact(figures::center(place) + offset, gain));
    }
    let line = lines.iter().find(|line| line.name == ours);
    Series {
        // A regime that this run lacks is drawn all the same.
        classes: line.map_or_else(|| format!("plain c{regime}"), Line::classes),
        marker: Some(line.map_or(regime, |line| line.marker)),
        title: format!("{name}: {}", values.join(", ")),
        points,
        gap_max: 1.5 / Level::ALL.len() as f64,
    }
}

fn grid() -> Grid {
    let mut header =
        ["regime", "ours", "average accuracy in %", "benchmark"].map(str::to_owned).to_vec();
    header.extend(Level::ALL.map(|level| level.to_string()));
    let mut rows = Vec::new();
    for (benchmark, gains) in &GAINS {
        for ((ours, name), gains) in REGIMES.iter().zip(gains) {
            let average = AVERAGES.iter().find(|(other, _)| other == name);
            let average = average.map_or_else(|| NOTHING.to_owned(), |(_, a)| format!("{a:.1}"));
            let mut row =
                vec![(*name).to_owned(), (*ours).to_owned(), average, (*benchmark).to_owned()];
            let shown = |gain: &f64| {
                if gain.is_finite() { format!("{gain:+.1}") } else { NOTHING.to_owned() }
            };
            row.extend(gains.iter().map(shown));
            rows.push(row);
        }
    }
    Grid { header, rows }
}

/// The study's averages in one line.
pub(super) fn averages() -> Markup {
    let shown: Vec<String> =
        AVERAGES.iter().map(|(name, average)| format!("{name} {average:.1}")).collect();
    html! { p { "Published averages over the five benchmarks, in percent: " (shown.join(", ")) "." } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_studys_findings_are_in_its_figures() {
        let of = |regime: &str, level: usize| -> Vec<f64> {
            let regime = REGIMES.iter().position(|(name, _)| *name == regime).unwrap();
            GAINS.iter().map(|(_, gains)| gains[regime][level]).collect()
        };
        // C3: SFT loses on L1 and is above RL on L5, on five of five benchmarks.
        assert!(of("sft", 0).iter().all(|gain| *gain < 0.0));
        assert!(of("sft", 4).iter().zip(of("rl", 4)).all(|(sft, rl)| *sft > rl));
        // C4: RL gains on L2 to L5, 20 of 20 cells.
        assert!((1..5).all(|level| of("rl", level).iter().all(|gain| *gain > 0.0)));
        // C13: no regime's average exceeds RL's.
        let rl = AVERAGES.iter().find(|(name, _)| *name == "RL").unwrap().1;
        assert!(AVERAGES.iter().all(|(_, average)| *average <= rl));
    }
}
