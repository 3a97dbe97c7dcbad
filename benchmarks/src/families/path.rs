//! Path: follow arrows on a torus and name the color of the cell where they end.
//!
//! This module does not know how arrows are drawn.
//! No two arrows point at each other: on independent arrows a walk soon bounces between two cells
//! (4.3 different cells in ten hops instead of 7.1), where ten hops ask nothing that two do not.
//! Longer circles remain. The answer is even over the five colors at every number of hops.

use std::array;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::solution::Way;
use super::walk::{End, Seen, Step, Walk};
use super::{Asked, Cell, Color, Direction, NAMES, NUM_CELLS, NUM_COLUMNS, choose, choose_other};

pub(super) fn cells(rng: &mut ChaCha8Rng) -> [Cell; NUM_CELLS] {
    // About one board in fifteen is kept, and every board without a bounce is equally likely.
    let directions = loop {
        let drawn: [Direction; NUM_CELLS] = array::from_fn(|_| choose(&Direction::ALL, rng));
        let next = |at: usize| neighbor(at, drawn[at]);
        if (0..NUM_CELLS).all(|at| next(next(at)) != at) {
            break drawn;
        }
    };
    directions.map(|direction| Cell::Arrow { direction, color: choose(&Color::ALL, rng) })
}

pub(super) fn ask(cells: &[Cell; NUM_CELLS], hops: usize, rng: &mut ChaCha8Rng) -> Asked {
    let start = rng.random_range(0..NUM_CELLS);
    let mut at = start;
    let mut steps = Vec::with_capacity(hops);
    for _ in 0..hops {
        let (direction, _) = arrow(cells[at]);
        let mistaken = choose_other(&Direction::ALL, direction, rng);
        steps.push(Step { cell: at, seen: look(at, direction), slip: look(at, mistaken) });
        at = neighbor(at, direction);
    }
    let color = arrow(cells[at]).1;
    let slip = choose_other(&Color::ALL, color, rng).to_string();
    let end = Some(End { cell: at, percept: color.to_string(), slip });
    Asked {
        text: format!(
            "Start at {} and follow {hops} arrows. Which color is the last cell?",
            NAMES[start]
        ),
        answer: color.to_string(),
        hops,
        way: Way::Walk(Walk { steps, end }),
    }
}

fn look(at: usize, direction: Direction) -> Seen {
    Seen { percept: direction.to_string(), state: NAMES[neighbor(at, direction)].to_owned() }
}

/// Returns the cell next to `at`; the board has no edge.
fn neighbor(at: usize, direction: Direction) -> usize {
    let num_rows = NUM_CELLS / NUM_COLUMNS;
    let (row, column) = (at / NUM_COLUMNS, at % NUM_COLUMNS);
    let (row, column) = match direction {
        Direction::Up => ((row + num_rows - 1) % num_rows, column),
        Direction::Right => (row, (column + 1) % NUM_COLUMNS),
        Direction::Down => ((row + 1) % num_rows, column),
        Direction::Left => (row, (column + NUM_COLUMNS - 1) % NUM_COLUMNS),
    };
    row * NUM_COLUMNS + column
}

fn arrow(cell: Cell) -> (Direction, Color) {
    let Cell::Arrow { direction, color } = cell else { panic!("{cell:?} is not an arrow") };
    (direction, color)
}
