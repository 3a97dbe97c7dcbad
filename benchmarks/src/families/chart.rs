//! Chart: how often the bar rises along the reading order.
//!
//! This module does not know how bars are drawn.
//! Asks for one cell more than there are hops, because the first bar has none before it.
//! Rises of independent heights crowd around hops / 2, so every picture has its own tendency to
//! rise: short rises and deep falls, or the other way round.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::solution::Way;
use super::walk::{Seen, Step, Walk};
use super::{Asked, Cell, NUM_CELLS, choose, choose_other, range, run};

pub(super) const HEIGHTS: [u8; 6] = [1, 2, 3, 4, 5, 6];
const HEIGHT_MAX: u8 = 6;

/// How often the bars of a picture rise.
const TENDENCIES: [f64; 4] = [0.15, 0.3, 0.7, 0.85];

pub(super) fn cells(rng: &mut ChaCha8Rng) -> [Cell; NUM_CELLS] {
    let tendency = choose(&TENDENCIES, rng);
    let mut height = choose(&HEIGHTS, rng);
    let mut cells = [Cell::Bar(height); NUM_CELLS];
    for cell in &mut cells[1..] {
        height = next(height, tendency, rng);
        *cell = Cell::Bar(height);
    }
    cells
}

/// Returns the height after `height` in a picture that rises with probability `tendency`.
///
/// Moves in the likely direction are short and begin at the far end, so that many of them fit
/// between the lowest and the highest bar. The shares are a trade: shorter moves spread the
/// answers more, longer ones make fewer pictures equal (1 in 500 now). No number of rises takes
/// half of the questions from two hops on.
fn next(height: u8, tendency: f64, rng: &mut ChaCha8Rng) -> u8 {
    let rising = tendency > 0.5;
    match (rising, rng.random_bool(tendency)) {
        (true, true) if height == HEIGHT_MAX => rng.random_range(1..=3),
        (true, true) => (height + weighted([0.0, 0.7, 0.2, 0.1], rng)).min(HEIGHT_MAX),
        (true, false) => rng.random_range(1..=height),
        (false, true) if height == HEIGHT_MAX => choose(&HEIGHTS, rng),
        (false, true) => rng.random_range(height + 1..=HEIGHT_MAX),
        (false, false) if height == 1 && rng.random_bool(0.3) => choose(&HEIGHTS, rng),
        (false, false) => height.saturating_sub(weighted([0.6, 0.25, 0.15, 0.0], rng)).max(1),
    }
}

/// 0 to 3 units, with these probabilities.
fn weighted(shares: [f64; 4], rng: &mut ChaCha8Rng) -> u8 {
    let draw: f64 = rng.random();
    let mut below = 0.0;
    let reached = shares.into_iter().take_while(|share| {
        below += share;
        below <= draw
    });
    reached.count().min(3) as u8
}

pub(super) fn ask(cells: &[Cell; NUM_CELLS], hops: usize, rng: &mut ChaCha8Rng) -> Asked {
    let start = rng.random_range(0..NUM_CELLS);
    let num_cells = hops + 1;
    let mut before = None;
    let mut rises = 0;
    let steps = run(start, num_cells)
        .map(|at| {
            let height = height(cells[at]);
            let after = |seen: u8| rises + usize::from(before.is_some_and(|before| before < seen));
            let look =
                |seen: u8| Seen { percept: seen.to_string(), state: after(seen).to_string() };
            let step = Step {
                cell: at,
                seen: look(height),
                slip: look(choose_other(&HEIGHTS, height, rng)),
            };
            rises = after(height);
            before = Some(height);
            step
        })
        .collect();
    Asked {
        text: format!("How often does the bar rise {}?", range(start, num_cells)),
        answer: rises.to_string(),
        hops,
        way: Way::Walk(Walk { steps, end: None }),
    }
}

fn height(cell: Cell) -> u8 {
    let Cell::Bar(height) = cell else { panic!("{cell:?} is not a bar") };
    height
}
