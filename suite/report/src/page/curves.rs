//! Training curves: one chart per figure, a thin line per seed.
//!
//! This module does not know stages or algorithms: it draws whichever of [`FIGURES`] a curve recorded. Long curves are thinned
//! to means over windows, which also takes the noise of single steps away; the caption says so.

use maud::{Markup, html};

use super::PageData;
use super::chart::{self, Axis, Panel, Point, Series};
use super::html::numbers;
use super::lines::Line;
use crate::cost::StepFigures;
use crate::text::terminal::{Grid, NOTHING};

/// The figures that are drawn: the name in the record, the title, the unit, and a factor to that unit. Those of a name that
/// ends in `_max` are the largest of a window, all others its mean. What stands beside the reward are what its noise comes
/// from: one large update, or a policy that has nothing left to try.
const FIGURES: [(&str, &str, &str, f64); 6] = [
    ("reward", "reward", "mean of a step", 1.0),
    (
        "gradient_norm_max",
        "largest gradient norm",
        "of all updates of a window, before clipping",
        1.0,
    ),
    ("entropy_nats", "entropy", "nats per token", 1.0),
    ("length", "length", "tokens per rollout", 1.0),
    ("kl_nats", "KL to the start", "nats per token", 1.0),
    ("truncated", "truncated share", "% of rollouts", 100.0),
];
const SIZE: (f64, f64) = (340.0, 240.0);
/// The most points of a line.
const POINTS_MAX: usize = 60;

/// The figures that a training stage recorded, step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The regime whose line it belongs to.
    pub regime: String,
    /// Name of the stage.
    pub stage: String,
    /// Training seed.
    pub seed: u64,
    /// The figures of each step, by name.
    pub steps: Vec<StepFigures>,
}

/// A curve, the line it belongs to, and its points: step and value.
type Drawn<'a> = (&'a Curve, &'a Line, Vec<(usize, f64)>);

/// The charts and their numbers; empty where no curve has any of the figures.
pub(super) fn charts(data: &PageData, lines: &[Line]) -> Markup {
    let mut charts = Vec::new();
    for (key, title, unit, factor) in FIGURES {
        let drawn: Vec<Drawn<'_>> = data
            .curves
            .iter()
            .filter_map(|curve| {
                let line = lines.iter().find(|line| line.name == curve.regime)?;
                let points = thinned(curve, key, factor);
                (!points.is_empty()).then_some((curve, line, points))
            })
            .collect();
        if drawn.is_empty() {
            continue;
        }
        let axis =
            Axis::covering(drawn.iter().flat_map(|(_, _, points)| points.iter().map(|p| p.1)));
        let last = drawn.iter().map(|(curve, _, _)| curve.steps.len()).max().unwrap_or(1).max(2);
        let description: Vec<String> = drawn
            .iter()
            .filter(|(_, line, _)| line.is_shown)
            .map(|(curve, _, points)| {
                let [first, last] = [points.first(), points.last()].map(|p| p.map_or(0.0, |p| p.1));
                format!("{}, seed {}: from {first:.3} to {last:.3}.", curve.stage, curve.seed)
            })
            .collect();
        let series = drawn
            .iter()
            .map(|(curve, line, points)| Series {
                classes: format!("thin {}", line.classes()),
                marker: None,
                title: format!("{}, stage {}, seed {}", curve.regime, curve.stage, curve.seed),
                points: points
                    .iter()
                    .map(|(step, y)| Point::exact(*step as f64 / (last - 1) as f64, *y))
                    .collect(),
                gap_max: 1.0,
            })
            .collect();
        let tick = |share: f64| (share, format!("{:.0}", share * (last - 1) as f64 + 1.0));
        charts.push(chart::draw(&Panel {
            id: format!("curve-{key}"),
            title: format!("Training curves: {title}"),
            description: description.join(" "),
            size: SIZE,
            ticks: vec![tick(0.0), (0.5, format!("{}\nstep", tick(0.5).1)), tick(1.0)],
            axis: &axis,
            unit,
            is_difference: false,
            bands: Vec::new(),
            series,
        }));
    }
    if charts.is_empty() {
        return html! { p { "No stage of this run recorded these figures." } };
    }
    let caption = "First, middle and last value of every curve as drawn";
    html! {
        div.panels { @for chart in charts { (chart) } }
        (numbers("The numbers of these figures", caption, &first_middle_last(data)))
    }
}

/// Step and value, as means over windows where there are many; of a largest figure the largest.
fn thinned(curve: &Curve, key: &str, factor: f64) -> Vec<(usize, f64)> {
    let values: Vec<(usize, f64)> = curve
        .steps
        .iter()
        .enumerate()
        .filter_map(|(step, figures)| Some((step, factor * figures.get(key)?)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    let window = values.len().div_ceil(POINTS_MAX).max(1);
    let is_largest = key.ends_with("_max");
    let one = |chunk: &[(usize, f64)]| {
        let values = chunk.iter().map(|(_, value)| *value);
        let value = match is_largest {
            true => values.fold(f64::NEG_INFINITY, f64::max),
            false => values.sum::<f64>() / chunk.len() as f64,
        };
        (chunk[chunk.len() / 2].0, value)
    };
    values.chunks(window).map(one).collect()
}

/// First, middle and last value of every curve.
fn first_middle_last(data: &PageData) -> Grid {
    let mut header = ["stage", "regime", "seed", "steps"].map(str::to_owned).to_vec();
    header.extend(FIGURES.map(|(_, title, unit, _)| format!("{title}\n{unit}")));
    let row = |curve: &Curve| {
        let mut row = vec![
            curve.stage.clone(),
            curve.regime.clone(),
            curve.seed.to_string(),
            curve.steps.len().to_string(),
        ];
        let mut has_any = false;
        for (key, _, _, factor) in FIGURES {
            let points = thinned(curve, key, factor);
            let at = |index: usize| points.get(index).map_or(0.0, |point| point.1);
            row.push(if points.is_empty() {
                NOTHING.to_owned()
            } else {
                has_any = true;
                let last = points.len() - 1;
                format!("{:.3}, {:.3}, {:.3}", at(0), at(last / 2), at(last))
            });
        }
        has_any.then_some(row)
    };
    Grid { header, rows: data.curves.iter().filter_map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_to_means() {
        let steps = (0..1000).map(|i| [("reward".to_owned(), f64::from(i))].into()).collect();
        let curve = Curve { regime: "rl".into(), stage: "grpo".into(), seed: 1, steps };
        let points = thinned(&curve, "reward", 1.0);
        assert!(points.len() <= POINTS_MAX && points.len() > POINTS_MAX / 2);
        assert!((points[0].1 - 8.0).abs() < 1e-12 && points[0].0 == 8);
        assert_eq!(thinned(&curve, "kl_nats", 1.0), []);
    }

    #[test]
    fn the_largest_norm_of_a_window_is_not_averaged_away() {
        let norm = |i: u32| if i == 501 { 300.0 } else { 0.5 };
        let steps = (0..1000).map(|i| [("gradient_norm_max".to_owned(), norm(i))].into()).collect();
        let curve = Curve { regime: "rl".into(), stage: "grpo".into(), seed: 1, steps };
        let points = thinned(&curve, "gradient_norm_max", 1.0);
        assert!(points.len() <= POINTS_MAX);
        let large: Vec<f64> = points.iter().map(|p| p.1).filter(|norm| *norm > 1.0).collect();
        assert_eq!(large, [300.0]);
    }
}
