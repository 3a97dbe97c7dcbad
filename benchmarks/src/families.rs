//! The procedural families: a picture of 4 x 4 cells and a question that walks through them.
//!
//! Knows no files, no tokens and no grader. Five families are chains `cell -> percept -> state`, the
//! sixth is a search with dead ends; in each one knob, the number of hops, makes a question longer without changing
//! what must be perceived.
//! A scene is content plus the seed of its looks; the content's hash alone decides its split, so
//! no picture can be shared between splits, whatever the seeds. Swap's discs are hashed without
//! their order, a maze without its star: a mirrored disc asks for the same solution, a moved star for one through the
//! same corridors, and neither must cross a split.

mod canvas;
mod chart;
mod count;
mod maze;
mod path;
mod search;
mod sheet;
mod solution;
mod sum;
mod swap;
mod walk;

use std::str::FromStr;

use anyhow::{Error, bail};
use image::RgbImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumCount, IntoStaticStr, VariantArray};
use synergy_hint::hint;

pub use sheet::contact_sheet;
pub use solution::Solution;

use self::canvas::Board;
use self::solution::Way;
use crate::seed::Seed;

/// The most steps a question may ask for.
pub const MAX_HOPS: usize = 15;

/// The number of cells in a picture.
pub const NUM_CELLS: usize = 16;

const NUM_COLUMNS: usize = 4;

/// The cells' names in reading order.
const NAMES: [&str; NUM_CELLS] = [
    "a1", "b1", "c1", "d1", "a2", "b2", "c2", "d2", "a3", "b3", "c3", "d3", "a4", "b4", "c4", "d4",
];

/// A procedural benchmark.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumCount,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Family {
    Path,
    Sum,
    Count,
    Chart,
    Swap,
    Maze,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; Family::COUNT] =
        *Family::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the name in ids, recipes and records.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns what the family measures, in a sentence or two: the section of that name in its page.
    pub fn about(self) -> String {
        let page = match self {
            Family::Path => include_str!("../families/path.md"),
            Family::Sum => include_str!("../families/sum.md"),
            Family::Count => include_str!("../families/count.md"),
            Family::Chart => include_str!("../families/chart.md"),
            Family::Swap => include_str!("../families/swap.md"),
            Family::Maze => include_str!("../families/maze.md"),
        };
        let section = page.split("## ").find_map(|part| part.strip_prefix("What it measures\n"));
        section.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Draws a scene of this family that belongs to `split`.
    ///
    /// Contents are drawn at `seed.at(0)`, `seed.at(1)`, … until one hashes into the split.
    pub fn scene(self, seed: Seed, split: Split) -> Scene {
        self.drawn(seed, split, |_| true)
    }

    /// Draws a scene of this family that belongs to `split` and in which some question takes exactly `hops` steps, as in
    /// every scene of the families that are chains.
    ///
    /// # Panics
    /// If `hops` is not in `1..=MAX_HOPS`.
    pub fn scene_of(self, seed: Seed, split: Split, hops: usize) -> Scene {
        assert!((1..=MAX_HOPS).contains(&hops), "{hops} hops are not in 1..={MAX_HOPS}");
        self.drawn(seed, split, |cells| self != Family::Maze || maze::has(cells, hops))
    }

    fn drawn(
        self,
        seed: Seed,
        split: Split,
        is_wanted: impl Fn(&[Cell; NUM_CELLS]) -> bool,
    ) -> Scene {
        let mut attempt = 0;
        loop {
            let node = seed.at(attempt);
            let cells = self.cells(&mut node.fold_in("content").rng());
            let scene = Scene { family: self, cells, style: node.fold_in("style") };
            if scene.split() == split && is_wanted(&scene.cells) {
                return scene;
            }
            attempt += 1;
        }
    }

    fn cells(self, rng: &mut ChaCha8Rng) -> [Cell; NUM_CELLS] {
        match self {
            Family::Path => path::cells(rng),
            Family::Sum => sum::cells(rng),
            Family::Count => count::cells(rng),
            Family::Chart => chart::cells(rng),
            Family::Swap => swap::cells(rng),
            Family::Maze => maze::cells(rng),
        }
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(name: &str) -> Result<Family, Error> {
        let Some(family) = Family::ALL.into_iter().find(|family| family.name() == name) else {
            bail!(hint!(
                "unknown family `{name}`",
                ("{}", Family::ALL.map(Family::name).join(", "))
            ));
        };
        Ok(family)
    }
}

/// A part of all possible scenes; no scene is in two of them.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumCount,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Split {
    Pretrain,
    Train,
    Validation,
    Test,
}

impl Split {
    /// Every split.
    pub const ALL: [Split; Split::COUNT] =
        *Split::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the name in ids, recipes and records.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Path: where to go next, drawn in a color.
    Arrow { direction: Direction, color: Color },
    /// Sum: a digit, 0 to 4.
    Digit(u8),
    /// Count: a shape, drawn in a color.
    Shape { shape: Shape, color: Color },
    /// Chart: a bar's height in units, 1 to 6.
    Bar(u8),
    /// Swap: the colors of the two halves of a disc, which differ.
    Pair { left: Color, right: Color },
    /// Maze: the directions in which the cell is open, a bit each, and whether the star lies in it.
    Corridor { open: u8, star: bool },
}

impl Cell {
    /// Returns four bytes that say what must be perceived, and nothing about how it looks.
    fn canonical(self) -> [u8; 4] {
        match self {
            Cell::Arrow { direction, color } => [0, direction as u8, color as u8, 0],
            Cell::Digit(digit) => [1, digit, 0, 0],
            Cell::Shape { shape, color } => [2, shape as u8, color as u8, 0],
            Cell::Bar(height) => [3, height, 0, 0],
            Cell::Pair { left, right } => {
                [4, (left as u8).min(right as u8), (left as u8).max(right as u8), 0]
            }
            Cell::Corridor { open, .. } => [5, open, 0, 0],
        }
    }

    /// Draws content of the same kind that differs in every part; a corridor, which no eye takes for another, stays.
    fn other(self, rng: &mut ChaCha8Rng) -> Cell {
        match self {
            Cell::Arrow { direction, color } => Cell::Arrow {
                direction: choose_other(&Direction::ALL, direction, rng),
                color: choose_other(&Color::ALL, color, rng),
            },
            Cell::Digit(digit) => Cell::Digit(choose_other(&sum::DIGITS, digit, rng)),
            Cell::Shape { shape, color } => Cell::Shape {
                shape: choose_other(&Shape::ALL, shape, rng),
                color: choose_other(&Color::ALL, color, rng),
            },
            Cell::Bar(height) => Cell::Bar(choose_other(&chart::HEIGHTS, height, rng)),
            Cell::Pair { left, right } => Cell::Pair {
                left: choose_other(&Color::ALL, left, rng),
                right: choose_other(&Color::ALL, right, rng),
            },
            Cell::Corridor { .. } => self,
        }
    }

    /// Returns the words for the cell's whole content.
    fn percept(self) -> String {
        match self {
            Cell::Arrow { direction, color } => format!("{direction} {color}"),
            Cell::Digit(number) | Cell::Bar(number) => number.to_string(),
            Cell::Shape { shape, color } => format!("{color} {shape}"),
            Cell::Pair { left, right } => format!("{left} {right}"),
            Cell::Corridor { open, star } => {
                format!(
                    "{}{}",
                    search::list(&maze::openings(open)),
                    if star { " star" } else { "" }
                )
            }
        }
    }
}

/// The color of a mark. Five that stay apart under jitter, on dark and on light ground.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumCount,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum Color {
    Red,
    Green,
    Blue,
    Yellow,
    Purple,
}

impl Color {
    /// Every color.
    pub const ALL: [Color; Color::COUNT] =
        *Color::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the word in questions, traces and answers.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Where an arrow points.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumCount,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum Direction {
    Up,
    Right,
    Down,
    Left,
}

impl Direction {
    /// Every direction, clockwise.
    pub const ALL: [Direction; Direction::COUNT] =
        *Direction::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the word in traces.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The outline of a mark.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Display,
    EnumCount,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; Shape::COUNT] =
        *Shape::VARIANTS.first_chunk().expect("a variant for each of the count");

    /// Returns the word in questions and traces.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A picture before it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    pub family: Family,
    /// The content, in reading order.
    pub cells: [Cell; NUM_CELLS],
    /// The seed of all that may differ between two pictures of the same content.
    pub style: Seed,
}

/// A question about a scene, with its target and a solution that reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub text: String,
    pub answer: String,
    pub hops: usize,
    pub solution: Solution,
}

/// A question as a family asks it, with the way that solves it.
struct Asked {
    text: String,
    answer: String,
    hops: usize,
    way: Way,
}

impl Scene {
    /// Draws the picture: 112 x 112 pixels, a pure function of the scene.
    pub fn render(&self) -> RgbImage {
        let mut board = Board::new(self.style);
        for (at, cell) in self.cells.into_iter().enumerate() {
            board.draw(at, cell);
        }
        board.finish()
    }

    /// Asks a question that takes `hops` steps; where it starts is drawn from `rng`. In a maze that has none of so many
    /// ([`Family::scene_of`] draws those that have), it takes as nearly as many as there are.
    ///
    /// The same `rng` state starts at the same cell for any number of hops, but in a maze.
    ///
    /// # Panics
    /// If `hops` is not in `1..=MAX_HOPS`.
    pub fn ask(&self, hops: usize, rng: &mut ChaCha8Rng) -> Question {
        assert!((1..=MAX_HOPS).contains(&hops), "{hops} hops are not in 1..={MAX_HOPS}");
        let Asked { text, answer, hops, way } = match self.family {
            Family::Path => path::ask(&self.cells, hops, rng),
            Family::Sum => sum::ask(&self.cells, hops, rng),
            Family::Count => count::ask(&self.cells, hops, rng),
            Family::Chart => chart::ask(&self.cells, hops, rng),
            Family::Swap => swap::ask(&self.cells, hops, rng),
            Family::Maze => maze::ask(&self.cells, hops, rng),
        };
        let solution = Solution::new(way, &answer, Seed::root(rng.random()));
        Question { text, answer, hops, solution }
    }

    /// Returns the scene as a careless eye sees it: each cell is taken for another with probability `rate`.
    ///
    /// A question asked of it has a solution that goes on from the mistake, as in a person's
    /// text. Nothing is drawn from `rng` if `rate` is zero.
    pub fn misread(&self, rate: f64, rng: &mut ChaCha8Rng) -> Scene {
        let mut scene = self.clone();
        if rate > 0.0 {
            for cell in &mut scene.cells {
                if rng.random_bool(rate) {
                    *cell = cell.other(rng);
                }
            }
        }
        scene
    }

    /// Asks for `num_cells` cells to be read out from `from` on: (prompt, response).
    ///
    /// # Panics
    /// If `from` is no cell or `num_cells` is not in `1..=NUM_CELLS`.
    pub fn read(&self, from: usize, num_cells: usize) -> (String, String) {
        assert!(from < NUM_CELLS, "there is no cell {from}");
        assert!((1..=NUM_CELLS).contains(&num_cells), "cannot read {num_cells} cells");
        let response: Vec<String> = run(from, num_cells)
            .map(|at| format!("{} {}", NAMES[at], self.cells[at].percept()))
            .collect();
        (format!("Read the cells {}.", range(from, num_cells)), response.join(" "))
    }

    /// Returns the split that the content belongs to: half pretrain, 6/16 train, 1/16 each of the others.
    pub fn split(&self) -> Split {
        let content: Vec<u8> = self.cells.into_iter().flat_map(Cell::canonical).collect();
        match blake3::hash(&content).as_bytes()[0] / 16 {
            0 => Split::Test,
            1 => Split::Validation,
            2..=7 => Split::Train,
            _ => Split::Pretrain,
        }
    }
}

/// Returns the name of the cell at `at` in reading order, from `a1` over `b1` to `d4`.
///
/// # Panics
/// If `at` is not below [`NUM_CELLS`].
pub fn cell_name(at: usize) -> &'static str {
    NAMES[at]
}

/// Returns the `num_cells` cells from `from` on in reading order; after the last comes the first.
fn run(from: usize, num_cells: usize) -> impl Iterator<Item = usize> {
    (from..from + num_cells).map(|at| at % NUM_CELLS)
}

/// Returns the words for that run of cells.
fn range(from: usize, num_cells: usize) -> String {
    format!("from {} to {}", NAMES[from], NAMES[(from + num_cells - 1) % NUM_CELLS])
}

/// Returns one of `all`, each as likely.
fn choose<T: Copy>(all: &[T], rng: &mut ChaCha8Rng) -> T {
    all[rng.random_range(0..all.len())]
}

/// Returns one of `all` but not `this`, each as likely: what a slip of the eye sees.
///
/// One draw whatever `this` is, so that the content of a cell never moves the stream of its looks.
fn choose_other<T: Copy + PartialEq>(all: &[T], this: T, rng: &mut ChaCha8Rng) -> T {
    let at = all.iter().position(|value| *value == this).expect("`this` is one of `all`");
    all[(at + rng.random_range(1..all.len())) % all.len()]
}

#[cfg(test)]
mod tests;
