//! The dilemma, the factorial of demonstrations and the noise of training as tables.
//!
//! This module does not know how any of it is judged.

use crate::compare::Power;
use crate::dilemma::{Split, Standing};
use crate::evidence::Compared;
use crate::factorial::FactorEffect;
use crate::statistics::Interval;
use crate::text::terminal::{Grid, percent, plus_minus_signed};

/// What a split's halves are, in words.
pub fn split_name(split: &Split) -> &'static str {
    match split.by.as_str() {
        "knob" => "Halves by the number of steps",
        _ => "L4 and L5 against L1 to L3",
    }
}

/// Every row of a split: its gains against the better parent in points, and its tokens on the easy half.
pub fn dilemma(split: &Split) -> Grid {
    let against = |compared: &Compared| {
        if compared.row == compared.less {
            return "is the better parent".to_owned();
        }
        format!("{}\nto {}", plus_minus_signed(compared.effect), compared.less)
    };
    let row = |standing: &Standing| {
        vec![
            standing.row.clone(),
            percent(standing.long),
            against(&standing.hard),
            against(&standing.easy),
            against(&standing.whole),
            ratio(standing.tokens_to_base),
            ratio(standing.tokens_to_parent),
            standing.verdict.name().to_owned(),
        ]
    };
    let header = [
        "row",
        "long answers %,\nmost on a level",
        "hard half",
        "easy half",
        "whole",
        "tokens, easy half,\n× base",
        "tokens, easy half,\n× better parent",
        "verdict",
    ];
    Grid::new(header, split.rows.iter().map(row))
}

/// A ratio with its interval.
pub fn ratio(Interval { mean, low, high }: Interval) -> String {
    format!("{mean:.2} [{low:.2}, {high:.2}]")
}

/// The three effects over all questions and each half, in points.
pub fn factorial(effects: &[FactorEffect]) -> Grid {
    let mut parts: Vec<&str> = Vec::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for effect in effects {
        if !parts.contains(&effect.part.as_str()) {
            parts.push(&effect.part);
        }
        if rows.last().is_none_or(|row| row[0] != effect.factor) {
            rows.push(vec![effect.factor.clone(), effect.what.clone()]);
        }
        if let Some(row) = rows.last_mut() {
            row.push(plus_minus_signed(effect.effect));
        }
    }
    let mut header = vec!["factor".to_owned(), "what".to_owned()];
    header.extend(parts.into_iter().map(str::to_owned));
    Grid { header, rows }
}

/// What seeds differ by, and how many of them a loss of five points needs.
pub fn powers(powers: &[Power]) -> Grid {
    let row = |power: &Power| {
        vec![
            power.trained.clone(),
            power.rows.len().to_string(),
            format!("{:.2}", 100.0 * power.deviation),
            format!("{:.0}", power.degrees),
            power.num_seeds.to_string(),
            format!("{:.0}", 100.0 * power.power),
            power.seeds_needed.map_or_else(|| "over 1000".to_owned(), |seeds| seeds.to_string()),
        ]
    };
    let header = [
        "trained",
        "rows",
        "points between seeds",
        "degrees of freedom",
        "seeds",
        "found, %",
        "seeds needed",
    ];
    Grid::new(header, powers.iter().map(row))
}
