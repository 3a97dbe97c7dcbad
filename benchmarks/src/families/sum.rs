//! Sum: add digits along the reading order and give the remainder by five.
//!
//! This module does not know how digits are drawn.
//! Digits are 0 to 4 and the total is kept modulo five: a one-million-parameter model learns this
//! table of 25 entries, while modulo ten it stayed at chance. The total is even over 0 to 4 at
//! every number of hops.

use std::array;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::solution::Way;
use super::walk::{Seen, Step, Walk};
use super::{Asked, Cell, NUM_CELLS, choose, choose_other, range, run};

pub(super) const DIGITS: [u8; 5] = [0, 1, 2, 3, 4];
const MODULUS: u8 = 5;

pub(super) fn cells(rng: &mut ChaCha8Rng) -> [Cell; NUM_CELLS] {
    array::from_fn(|_| Cell::Digit(choose(&DIGITS, rng)))
}

pub(super) fn ask(cells: &[Cell; NUM_CELLS], hops: usize, rng: &mut ChaCha8Rng) -> Asked {
    let start = rng.random_range(0..NUM_CELLS);
    let mut total = 0;
    let steps = run(start, hops)
        .map(|at| {
            let digit = digit(cells[at]);
            let mistaken = choose_other(&DIGITS, digit, rng);
            let step = Step { cell: at, seen: look(total, digit), slip: look(total, mistaken) };
            total = (total + digit) % MODULUS;
            step
        })
        .collect();
    Asked {
        text: format!(
            "Add the digits {} and divide by {MODULUS}. What is the remainder?",
            range(start, hops)
        ),
        answer: total.to_string(),
        hops,
        way: Way::Walk(Walk { steps, end: None }),
    }
}

fn look(total: u8, digit: u8) -> Seen {
    Seen { percept: digit.to_string(), state: ((total + digit) % MODULUS).to_string() }
}

fn digit(cell: Cell) -> u8 {
    let Cell::Digit(digit) = cell else { panic!("{cell:?} is not a digit") };
    digit
}
