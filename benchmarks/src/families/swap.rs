//! Swap: a ball lies under a color, every cell swaps two colors, where does the ball end?
//!
//! This module does not know how discs are drawn.
//! A cell swaps two of five colors, so it moves two of five possible balls whatever is drawn: the
//! ball moves more often only if question and picture agree. So a picture swaps mostly within
//! three of the colors, and the question mostly starts under a color of its first cell. The share
//! of both is chosen so that the start tells nothing about the end after one hop and little later.

use std::array;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::solution::Way;
use super::walk::{Seen, Step, Walk};
use super::{Asked, Cell, Color, NUM_CELLS, choose, choose_other, range, run};

/// How often a cell swaps two of the picture's three busy colors without a draw.
const BUSY: f64 = 0.6;
/// How often the ball starts under a color of the first cell without a draw. The ball then moves
/// at the first cell with probability 2/3 + 1/3 * 2/5 = 4/5: all five ends are equally likely.
const START_MOVES: (u32, u32) = (2, 3);

pub(super) fn cells(rng: &mut ChaCha8Rng) -> [Cell; NUM_CELLS] {
    // Leaving out two different colors leaves a busy set of three.
    let [first, second] = pair(&Color::ALL, rng);
    let busy: Vec<Color> =
        Color::ALL.into_iter().filter(|color| ![first, second].contains(color)).collect();
    array::from_fn(|_| {
        let among = if rng.random_bool(BUSY) { &busy } else { &Color::ALL[..] };
        let [left, right] = pair(among, rng);
        Cell::Pair { left, right }
    })
}

pub(super) fn ask(cells: &[Cell; NUM_CELLS], hops: usize, rng: &mut ChaCha8Rng) -> Asked {
    let start = rng.random_range(0..NUM_CELLS);
    let ball = if rng.random_ratio(START_MOVES.0, START_MOVES.1) {
        choose(&swapped(cells[start]), rng)
    } else {
        choose(&Color::ALL, rng)
    };
    let mut state = ball;
    let steps = run(start, hops)
        .map(|at| {
            let pair = swapped(cells[at]);
            let step =
                Step { cell: at, seen: look(state, pair), slip: look(state, mistake(pair, rng)) };
            state = swap(state, pair);
            step
        })
        .collect();
    Asked {
        text: format!(
            "A ball is under {ball}. Follow the swaps {}. Where is the ball?",
            range(start, hops)
        ),
        answer: state.to_string(),
        hops,
        way: Way::Walk(Walk { steps, end: None }),
    }
}

fn look(state: Color, pair: [Color; 2]) -> Seen {
    let [left, right] = pair;
    Seen { percept: format!("{left} {right}"), state: swap(state, pair).to_string() }
}

/// Returns where a ball under `state` lies after `pair` is swapped.
fn swap(state: Color, [left, right]: [Color; 2]) -> Color {
    if state == left {
        right
    } else if state == right {
        left
    } else {
        state
    }
}

/// Returns the pair with one of its colors mistaken for a third.
fn mistake([left, right]: [Color; 2], rng: &mut ChaCha8Rng) -> [Color; 2] {
    loop {
        let third = choose(&Color::ALL, rng);
        if third != left && third != right {
            return if rng.random_bool(0.5) { [third, right] } else { [left, third] };
        }
    }
}

/// Draws two different colors of `among`, in either order.
fn pair(among: &[Color], rng: &mut ChaCha8Rng) -> [Color; 2] {
    let left = choose(among, rng);
    [left, choose_other(among, left, rng)]
}

fn swapped(cell: Cell) -> [Color; 2] {
    let Cell::Pair { left, right } = cell else { panic!("{cell:?} is not a pair") };
    [left, right]
}
