//! Maze: how many steps is it from a cell to the star, through the corridors of a maze without circles?
//!
//! This module does not know how corridors are drawn or how a search is put in words.
//! The knob is the number of cells that a depth-first search enters before it stands on the star, dead ends included:
//! what a solver who looks at one cell at a time must do. The answer is the length of the way itself, at most as long.
//! Mazes are spanning trees of the 4 x 4 cells, each as likely (Wilson 1996, "Generating random spanning trees more
//! quickly than the cover time", section 2). The split follows from the corridors alone, so that a maze with the star
//! moved stays in its split.

use std::array;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::search::{Kind, Look, Search};
use super::solution::Way;
use super::{Asked, Cell, Direction, NAMES, NUM_CELLS, NUM_COLUMNS, choose};

pub(super) fn cells(rng: &mut ChaCha8Rng) -> [Cell; NUM_CELLS] {
    let mut open = [0_u8; NUM_CELLS];
    let mut inside = [false; NUM_CELLS];
    inside[rng.random_range(0..NUM_CELLS)] = true;
    while let Some(first) = inside.iter().position(|inside| !inside) {
        // The last direction taken from each cell: a walk that comes back has forgotten its loop.
        let mut taken = [Direction::Up; NUM_CELLS];
        let mut at = first;
        while !inside[at] {
            let direction = choose(&Direction::ALL, rng);
            if let Some(next) = neighbor(at, direction) {
                taken[at] = direction;
                at = next;
            }
        }
        at = first;
        while !inside[at] {
            inside[at] = true;
            let next = neighbor(at, taken[at]).expect("a step that was taken stays on the board");
            open[at] |= bit(taken[at]);
            open[next] |= bit(opposite(taken[at]));
            at = next;
        }
    }
    let star = rng.random_range(0..NUM_CELLS);
    array::from_fn(|at| Cell::Corridor { open: open[at], star: at == star })
}

/// Asks from a cell whose search enters `hops` cells, or as nearly as many as there is a start for.
pub(super) fn ask(cells: &[Cell; NUM_CELLS], hops: usize, rng: &mut ChaCha8Rng) -> Asked {
    let searches: Vec<(usize, Search)> =
        starts(cells).map(|start| (start, search(cells, start))).collect();
    let distance = |search: &Search| num_entered(search).abs_diff(hops);
    let nearest = searches.iter().map(|(_, search)| distance(search)).min();
    let searches: Vec<&(usize, Search)> =
        searches.iter().filter(|(_, search)| Some(distance(search)) == nearest).collect();
    let (start, search) = choose(&searches, rng);
    let goal = search.looks.last().expect("a search has a goal");
    Asked {
        text: format!("How many steps is it from {} to the star?", NAMES[*start]),
        answer: goal.depth.to_string(),
        hops: num_entered(search),
        way: Way::Search(search.clone()),
    }
}

/// Tells whether from some cell the search enters exactly `hops` others.
pub(super) fn has(cells: &[Cell; NUM_CELLS], hops: usize) -> bool {
    starts(cells).any(|start| num_entered(&search(cells, start)) == hops)
}

/// Returns the directions in which a cell with the bits `open` is open, clockwise from above.
pub(super) fn openings(open: u8) -> Vec<Direction> {
    Direction::ALL.into_iter().filter(|direction| open & bit(*direction) != 0).collect()
}

fn bit(direction: Direction) -> u8 {
    1 << direction as u8
}

/// Returns the cells where a question may start: all but the star's.
fn starts(cells: &[Cell; NUM_CELLS]) -> impl Iterator<Item = usize> {
    (0..NUM_CELLS).filter(|&at| !corridor(cells[at]).1)
}

/// Searches depth first from `start`, openings in the order up, right, down, left.
fn search(cells: &[Cell; NUM_CELLS], start: usize) -> Search {
    let enter = |cell: usize, depth: usize, from: Option<(usize, Direction)>| {
        let (open, star) = corridor(cells[cell]);
        let mut left = openings(open);
        if let Some((_, direction)) = from {
            left.retain(|other| *other != opposite(direction));
        }
        let kind = if star { Kind::Goal } else { Kind::Enter };
        Look { cell, depth, from: from.map(|(cell, _)| cell), left, kind }
    };
    let mut stack = vec![enter(start, 0, None)];
    let mut looks = stack.clone();
    while let Some(here) = stack.last_mut() {
        let next = if here.left.is_empty() {
            stack.pop();
            let back = stack.last_mut().expect("the star is in the maze, and not behind the start");
            back.kind = Kind::Return;
            back.clone()
        } else {
            let direction = here.left.remove(0);
            let next = neighbor(here.cell, direction).expect("corridors stay on the board");
            let look = enter(next, here.depth + 1, Some((here.cell, direction)));
            stack.push(look.clone());
            look
        };
        let found = next.kind == Kind::Goal;
        looks.push(next);
        if found {
            break;
        }
    }
    Search { looks }
}

fn num_entered(search: &Search) -> usize {
    // The start is entered by nobody.
    search.looks.iter().filter(|look| look.kind != Kind::Return).count() - 1
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Up => Direction::Down,
        Direction::Right => Direction::Left,
        Direction::Down => Direction::Up,
        Direction::Left => Direction::Right,
    }
}

/// Returns the cell next to `at`, if the board does not end there.
fn neighbor(at: usize, direction: Direction) -> Option<usize> {
    let (row, column) = (at / NUM_COLUMNS, at % NUM_COLUMNS);
    match direction {
        Direction::Up => row.checked_sub(1).map(|_| at - NUM_COLUMNS),
        Direction::Right => (column + 1 < NUM_COLUMNS).then_some(at + 1),
        Direction::Down => (at + NUM_COLUMNS < NUM_CELLS).then_some(at + NUM_COLUMNS),
        Direction::Left => column.checked_sub(1).map(|_| at - 1),
    }
}

fn corridor(cell: Cell) -> (u8, bool) {
    let Cell::Corridor { open, star } = cell else { panic!("{cell:?} is not in a maze") };
    (open, star)
}
