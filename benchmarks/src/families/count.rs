//! Count: how many cells along the reading order have a color or a shape.
//!
//! This module does not know how shapes are drawn.
//! With even colors and shapes nearly every count would be hops / 5 and could be guessed; so a
//! picture leans to one color and one shape, and questions lean to asking for those.

use std::array;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::solution::Way;
use super::walk::{Seen, Step, Walk};
use super::{Asked, Cell, Color, NUM_CELLS, Shape, choose, choose_other, range, run};

/// How often a cell takes the picture's dominant value without a draw.
const DOMINANCE: f64 = 0.4;
/// How often a question asks for the dominant value without a draw.
const ASK_DOMINANT: f64 = 0.6;

pub(super) fn cells(rng: &mut ChaCha8Rng) -> [Cell; NUM_CELLS] {
    let dominant_color = choose(&Color::ALL, rng);
    let dominant_shape = choose(&Shape::ALL, rng);
    array::from_fn(|_| Cell::Shape {
        shape: lean(DOMINANCE, dominant_shape, &Shape::ALL, rng),
        color: lean(DOMINANCE, dominant_color, &Color::ALL, rng),
    })
}

pub(super) fn ask(cells: &[Cell; NUM_CELLS], hops: usize, rng: &mut ChaCha8Rng) -> Asked {
    let start = rng.random_range(0..NUM_CELLS);
    if rng.random_bool(0.5) {
        count(cells.map(|cell| shape(cell).1), &Color::ALL, Color::name, start, hops, rng)
    } else {
        count(cells.map(|cell| shape(cell).0), &Shape::ALL, Shape::name, start, hops, rng)
    }
}

/// Returns the same question for either attribute: `values` are the cells', `all` the possible ones.
fn count<T: Copy + PartialEq>(
    values: [T; NUM_CELLS],
    all: &[T],
    name: fn(T) -> &'static str,
    start: usize,
    hops: usize,
    rng: &mut ChaCha8Rng,
) -> Asked {
    let target = lean(ASK_DOMINANT, most_frequent(&values, all), all, rng);
    let mut hits = 0;
    let steps = run(start, hops)
        .map(|at| {
            let look = |value: T| Seen {
                percept: name(value).to_owned(),
                state: (hits + usize::from(value == target)).to_string(),
            };
            let step = Step {
                cell: at,
                seen: look(values[at]),
                slip: look(choose_other(all, values[at], rng)),
            };
            hits += usize::from(values[at] == target);
            step
        })
        .collect();
    Asked {
        text: format!("How many {} cells are there {}?", name(target), range(start, hops)),
        answer: hits.to_string(),
        hops,
        way: Way::Walk(Walk { steps, end: None }),
    }
}

/// `dominant` with probability `p`, else any of `all`.
fn lean<T: Copy>(p: f64, dominant: T, all: &[T], rng: &mut ChaCha8Rng) -> T {
    if rng.random_bool(p) { dominant } else { choose(all, rng) }
}

/// Returns the value that most cells have; of several such the first in `all`.
fn most_frequent<T: Copy + PartialEq>(values: &[T; NUM_CELLS], all: &[T]) -> T {
    let mut best = (0, all[0]);
    for &value in all {
        let frequency = values.iter().filter(|&&other| other == value).count();
        if frequency > best.0 {
            best = (frequency, value);
        }
    }
    best.1
}

fn shape(cell: Cell) -> (Shape, Color) {
    let Cell::Shape { shape, color } = cell else { panic!("{cell:?} is not a shape") };
    (shape, color)
}
