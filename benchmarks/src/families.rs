//! The procedural families: a picture of 4 x 4 cells and a question that walks through them.
//!
//! Knows no files, no tokens and no grader. Every family is a chain `cell -> percept -> state`, so
//! one knob, the number of hops, makes a question longer without changing what must be perceived.
//! A scene is content plus the seed of its looks; the content's hash alone decides its split, so
//! no picture can be shared between splits, whatever the seeds. Swap's discs are hashed without
//! their order: a mirrored disc asks for the same solution and must not cross a split.

mod chart;
mod count;
mod path;
mod picture;
mod sheet;
mod sum;
mod swap;
mod trace;

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};
use image::RgbImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use sheet::contact_sheet;

use self::picture::Board;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    Path,
    Sum,
    Count,
    Chart,
    Swap,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 5] =
        [Family::Path, Family::Sum, Family::Count, Family::Chart, Family::Swap];

    /// The name in ids, recipes and records.
    pub fn name(self) -> &'static str {
        match self {
            Family::Path => "path",
            Family::Sum => "sum",
            Family::Count => "count",
            Family::Chart => "chart",
            Family::Swap => "swap",
        }
    }

    /// Draws a scene of this family that belongs to `split`.
    ///
    /// Contents are drawn at `seed.at(0)`, `seed.at(1)`, … until one hashes into the split.
    pub fn scene(self, seed: Seed, split: Split) -> Scene {
        let mut attempt = 0;
        loop {
            let node = seed.at(attempt);
            let cells = self.cells(&mut node.fold_in("content").rng());
            let scene = Scene { family: self, cells, style: node.fold_in("style") };
            if scene.split() == split {
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
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(name: &str) -> Result<Family, Error> {
        let Some(family) = Family::ALL.into_iter().find(|family| family.name() == name) else {
            bail!("unknown family `{name}`\nhint: {}", Family::ALL.map(Family::name).join(", "));
        };
        Ok(family)
    }
}

/// A part of all possible scenes; no scene is in two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Pretrain,
    Train,
    Validation,
    Test,
}

impl Split {
    /// Every split.
    pub const ALL: [Split; 4] = [Split::Pretrain, Split::Train, Split::Validation, Split::Test];

    /// The name in ids, recipes and records.
    pub fn name(self) -> &'static str {
        match self {
            Split::Pretrain => "pretrain",
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
}

impl Cell {
    /// Four bytes that say what must be perceived, and nothing about how it looks.
    fn canonical(self) -> [u8; 4] {
        match self {
            Cell::Arrow { direction, color } => [0, direction as u8, color as u8, 0],
            Cell::Digit(digit) => [1, digit, 0, 0],
            Cell::Shape { shape, color } => [2, shape as u8, color as u8, 0],
            Cell::Bar(height) => [3, height, 0, 0],
            Cell::Pair { left, right } => {
                [4, (left as u8).min(right as u8), (left as u8).max(right as u8), 0]
            }
        }
    }

    /// Content of the same kind that differs in every part.
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
        }
    }

    /// The words for the cell's whole content.
    fn percept(self) -> String {
        match self {
            Cell::Arrow { direction, color } => format!("{direction} {color}"),
            Cell::Digit(number) | Cell::Bar(number) => number.to_string(),
            Cell::Shape { shape, color } => format!("{color} {shape}"),
            Cell::Pair { left, right } => format!("{left} {right}"),
        }
    }
}

/// The color of a mark. Five that stay apart under jitter, on dark and on light ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Color {
    Red,
    Green,
    Blue,
    Yellow,
    Purple,
}

impl Color {
    /// Every color.
    pub const ALL: [Color; 5] =
        [Color::Red, Color::Green, Color::Blue, Color::Yellow, Color::Purple];

    /// The word in questions, traces and answers.
    pub fn name(self) -> &'static str {
        match self {
            Color::Red => "red",
            Color::Green => "green",
            Color::Blue => "blue",
            Color::Yellow => "yellow",
            Color::Purple => "purple",
        }
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an arrow points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Up,
    Right,
    Down,
    Left,
}

impl Direction {
    /// Every direction, clockwise.
    pub const ALL: [Direction; 4] =
        [Direction::Up, Direction::Right, Direction::Down, Direction::Left];

    /// The word in traces.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Right => "right",
            Direction::Down => "down",
            Direction::Left => "left",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The outline of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; 4] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Star];

    /// The word in questions and traces.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Circle => "circle",
            Shape::Square => "square",
            Shape::Triangle => "triangle",
            Shape::Star => "star",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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

/// A question about a scene, with its target and two traces that reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub text: String,
    pub answer: String,
    pub hops: usize,
    /// `cell percept state` for every step; words stand one space apart.
    pub terse: String,
    /// The same steps as sentences, each checked again, some with a slip that is corrected.
    pub verbose: String,
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

    /// Asks a question that takes `hops` steps; where it starts is drawn from `rng`.
    ///
    /// The same `rng` state starts at the same cell for any number of hops.
    ///
    /// # Panics
    /// If `hops` is not in `1..=MAX_HOPS`.
    pub fn ask(&self, hops: usize, rng: &mut ChaCha8Rng) -> Question {
        assert!((1..=MAX_HOPS).contains(&hops), "{hops} hops are not in 1..={MAX_HOPS}");
        let walk = match self.family {
            Family::Path => path::ask(&self.cells, hops, rng),
            Family::Sum => sum::ask(&self.cells, hops, rng),
            Family::Count => count::ask(&self.cells, hops, rng),
            Family::Chart => chart::ask(&self.cells, hops, rng),
            Family::Swap => swap::ask(&self.cells, hops, rng),
        };
        Question {
            hops,
            terse: walk.terse(),
            verbose: walk.verbose(rng),
            text: walk.text,
            answer: walk.answer,
        }
    }

    /// The scene as a careless eye sees it: each cell is taken for another with probability `rate`.
    ///
    /// A question asked of it has traces that go on from the mistake, as they would in a person's
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

    /// The split that the content belongs to: half pretrain, 6/16 train, 1/16 each of the others.
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

/// The name of the cell at `at` in reading order, from `a1` over `b1` to `d4`.
///
/// # Panics
/// If `at` is not below [`NUM_CELLS`].
pub fn cell_name(at: usize) -> &'static str {
    NAMES[at]
}

/// The `num_cells` cells from `from` on in reading order; after the last comes the first.
fn run(from: usize, num_cells: usize) -> impl Iterator<Item = usize> {
    (from..from + num_cells).map(|at| at % NUM_CELLS)
}

/// The words for that run of cells.
fn range(from: usize, num_cells: usize) -> String {
    format!("from {} to {}", NAMES[from], NAMES[(from + num_cells - 1) % NUM_CELLS])
}

/// One of `all`, each as likely.
fn choose<T: Copy>(all: &[T], rng: &mut ChaCha8Rng) -> T {
    all[rng.random_range(0..all.len())]
}

/// One of `all` but not `this`, each as likely: what a slip of the eye sees.
///
/// One draw whatever `this` is, so that the content of a cell never moves the stream of its looks.
fn choose_other<T: Copy + PartialEq>(all: &[T], this: T, rng: &mut ChaCha8Rng) -> T {
    let at = all.iter().position(|value| *value == this).expect("`this` is one of `all`");
    all[(at + rng.random_range(1..all.len())) % all.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::time::Instant;

    use super::*;

    /// Scenes and questions at consecutive addresses, apart from those of `Sample`.
    fn questions(
        family: Family,
        hops: usize,
        count: u64,
    ) -> impl Iterator<Item = (Scene, Question)> {
        (0..count).map(move |index| {
            let node = Seed::root(11).fold_in(family.name()).at(index);
            let scene = family.scene(node, Split::Pretrain);
            let question = scene.ask(hops, &mut node.fold_in("question").rng());
            (scene, question)
        })
    }

    fn name_to_cell(name: &str) -> usize {
        NAMES.iter().position(|known| *known == name).unwrap()
    }

    /// An independent solver: reads only the question's text and the scene, and tells every state
    /// that a verbose trace must name, the answer last.
    fn solve(scene: &Scene, text: &str) -> Vec<String> {
        let words: Vec<&str> =
            text.split([' ', '.', '?']).filter(|word| !word.is_empty()).collect();
        let cells: Vec<Cell> = match words.iter().position(|word| *word == "to") {
            Some(to) => {
                let (from, to) = (name_to_cell(words[to - 1]), name_to_cell(words[to + 1]));
                let end = if to < from { to + 16 } else { to };
                (from..=end).map(|at| scene.cells[at % 16]).collect()
            }
            None => Vec::new(),
        };
        let numbers: Vec<u32> = cells
            .iter()
            .filter_map(|cell| match cell {
                Cell::Digit(number) | Cell::Bar(number) => Some(u32::from(*number)),
                _ => None,
            })
            .collect();
        match scene.family {
            Family::Path => {
                let start = name_to_cell(words[2]) as i32;
                let (mut column, mut row) = (start % 4, start / 4);
                let here = |column: i32, row: i32| scene.cells[(row * 4 + column) as usize];
                let mut states = Vec::new();
                for _ in 0..words[5].parse::<u32>().unwrap() {
                    let percept = here(column, row).percept();
                    match percept.split(' ').next().unwrap() {
                        "up" => row -= 1,
                        "down" => row += 1,
                        "left" => column -= 1,
                        "right" => column += 1,
                        other => panic!("{other} is no direction"),
                    }
                    (row, column) = (row & 3, column & 3);
                    states.push(format!("{}{}", ["a", "b", "c", "d"][column as usize], row + 1));
                }
                states.push(here(column, row).percept().split(' ').nth(1).unwrap().to_owned());
                states
            }
            Family::Sum => (1..=numbers.len())
                .map(|n| (numbers[..n].iter().sum::<u32>() % 5).to_string())
                .collect(),
            Family::Count => (1..=cells.len())
                .map(|n| {
                    let hit = |cell: &&Cell| cell.percept().split(' ').any(|word| word == words[2]);
                    cells[..n].iter().filter(hit).count().to_string()
                })
                .collect(),
            Family::Chart => (1..=numbers.len())
                .map(|n| numbers[..n].windows(2).filter(|w| w[0] < w[1]).count().to_string())
                .collect(),
            Family::Swap => {
                let mut order: Vec<String> = Color::ALL.map(|color| color.to_string()).to_vec();
                let ball = order.iter().position(|color| color == words[4]).unwrap();
                cells
                    .iter()
                    .map(|cell| {
                        let Cell::Pair { left, right } = cell else { panic!() };
                        for color in &mut order {
                            if *color == left.name() {
                                *color = right.to_string();
                            } else if *color == right.name() {
                                *color = left.to_string();
                            }
                        }
                        order[ball].clone()
                    })
                    .collect()
            }
        }
    }

    #[test]
    fn formats_are_exactly_these() {
        let show = |family: Family| {
            let (scene, question) = questions(family, 2, 1).next().unwrap();
            let (prompt, response) = scene.read(14, 2);
            format!("{}\n{}\n{prompt} {response}", question.text, question.terse)
        };
        insta::assert_snapshot!(Family::ALL.map(show).join("\n"), @r"
        Start at c1 and follow 2 arrows. Which color is the last cell?
        c1 right 1 d1 down 2 last d2 blue
        Read the cells from c4 to d4. c4 up yellow d4 right red
        Add the digits from c1 to d1 and divide by 5. What is the remainder?
        c1 0 0 d1 last 0 0
        Read the cells from c4 to d4. c4 3 d4 1
        How many yellow cells are there from d1 to a2?
        d1 blue 0 a2 last red 0
        Read the cells from c4 to d4. c4 blue triangle d4 yellow triangle
        How often does the bar rise from d2 to b3?
        d2 3 0 a3 3 0 b3 last 4 1
        Read the cells from c4 to d4. c4 1 d4 1
        A ball is under blue. Follow the swaps from a3 to b3. Where is the ball?
        a3 green blue green b3 last blue yellow green
        Read the cells from c4 to d4. c4 purple green d4 blue green
        ");
    }

    #[test]
    fn verbose_formats_are_exactly_these() {
        let show =
            |family| questions(family, 2, 1).next().unwrap().1.verbose.replace(" . ", " .\n");
        insta::assert_snapshot!([Family::Path, Family::Chart].map(show).join("\n"), @r"
        let us go step by step .
        step 1 c1 is right so d1 .
        wait check c1 right yes .
        step 2 last d1 is down so d2 .
        wait check d1 down yes .
        now d2 is blue .
        let me verify d2 blue yes .
        so the answer is blue .
        let us go step by step .
        step 1 d2 is 3 so 0 .
        however check d2 3 again yes .
        step 2 a3 is 1 so 0 .
        wait check a3 3 no mistake .
        a3 is 3 so 0 .
        step 3 b3 last is 4 so 1 .
        however check b3 4 again yes .
        so the answer is 1 .
        ");
    }

    #[test]
    fn traces_executed_on_the_scene_give_the_answer() {
        for family in Family::ALL {
            for hops in 1..=MAX_HOPS {
                for (scene, question) in questions(family, hops, 60) {
                    let states = solve(&scene, &question.text);
                    assert_eq!(states.last(), Some(&question.answer), "{question:?}");

                    let all: Vec<&str> = question.terse.split(' ').collect();
                    let terse: Vec<&str> = all.iter().copied().filter(|w| *w != "last").collect();
                    assert_eq!(all.len(), terse.len() + 1, "{question:?}");
                    let wide = if family == Family::Swap { 4 } else { 3 };
                    for (i, step) in terse.chunks(wide).enumerate() {
                        let cell = scene.cells[name_to_cell(step[0])].percept();
                        if family == Family::Swap {
                            assert_eq!(cell, step[1..3].join(" "));
                        } else {
                            assert!(cell.split(' ').any(|word| word == step[1]), "{question:?}");
                        }
                        match family {
                            Family::Path if step.len() == 2 => assert_eq!(step[1], states[i]),
                            Family::Path => {
                                assert_eq!(step[2], (i + 1).to_string());
                                assert_eq!(terse[(i + 1) * 3], states[i]);
                            }
                            _ => assert_eq!(step[wide - 1], states[i]),
                        }
                    }
                    assert_eq!(terse.len().div_ceil(wide), states.len());
                    // `last` follows the word that the question ends on, in both traces.
                    let ends_on = match family {
                        Family::Path => hops.to_string(),
                        _ => {
                            let (_, after) = question.text.split_once(" to ").unwrap();
                            after.split([' ', '.', '?']).next().unwrap().to_owned()
                        }
                    };
                    let marked = format!(" {ends_on} last ");
                    assert!(format!(" {}", question.terse).contains(&marked), "{question:?}");
                    assert_eq!(question.verbose.matches(&marked).count(), 1, "{question:?}");
                }
            }
        }
    }

    #[test]
    fn verbose_traces_tell_the_same_states_and_correct_their_slips() {
        let mut num_slips = 0;
        for family in Family::ALL {
            for (scene, question) in questions(family, 7, 200) {
                let mut states = Vec::new();
                let sentences: Vec<&str> = question.verbose.split(" .").map(str::trim).collect();
                assert_eq!(sentences[0], "let us go step by step");
                for sentence in &sentences[1..] {
                    match sentence.split_once(" so ") {
                        Some((_, state)) => states.push(state.to_owned()),
                        None if sentence.ends_with("no mistake") => {
                            num_slips += 1;
                            states.pop();
                        }
                        None => {}
                    }
                }
                let end = format!("so the answer is {}", question.answer);
                assert_eq!(sentences[sentences.len() - 2..], [end.as_str(), ""]);
                let mut expected = solve(&scene, &question.text);
                if family == Family::Path {
                    expected.pop();
                }
                assert_eq!(states, expected, "{question:?}");
            }
        }
        // 5 families x 200 traces x 7 steps (8 of chart) / 12.
        assert!((480..=720).contains(&num_slips), "{num_slips} slips");
    }

    #[test]
    fn words_stand_one_space_apart_and_are_few() {
        let mut vocabulary = HashSet::new();
        for family in Family::ALL {
            for hops in 1..=MAX_HOPS {
                for (scene, question) in questions(family, hops, 50) {
                    let (prompt, response) = scene.read(hops, hops);
                    for text in [question.text, question.terse, question.verbose, prompt, response]
                    {
                        assert!(text.split(' ').all(|word| !word.is_empty()), "{text:?}");
                        vocabulary.extend(text.split(' ').map(str::to_owned));
                    }
                }
            }
        }
        assert!(vocabulary.len() < 170, "{} words: {vocabulary:?}", vocabulary.len());
    }

    #[test]
    fn a_question_names_its_start_and_longer_ones_start_there_too() {
        for family in Family::ALL {
            for (scene, question) in questions(family, 3, 50) {
                let start = question.terse.split(' ').next().unwrap();
                assert!(question.text.contains(start), "{question:?}");
                let node = Seed::root(5);
                let short = scene.ask(2, &mut node.rng());
                let long = scene.ask(9, &mut node.rng());
                assert_ne!(short.text, long.text);
                // But for the mark of the last step and, in path, the end that is only looked at.
                let (steps, _) = short.terse.split_once(" last").unwrap();
                assert!(long.terse.starts_with(steps), "{short:?}\n{long:?}");
            }
        }
    }

    #[test]
    fn no_two_arrows_point_at_each_other() {
        for index in 0..100 {
            let scene = Family::Path.scene(Seed::root(index), Split::Test);
            for start in NAMES {
                let text = format!("Start at {start} and follow 2 arrows.");
                assert_ne!(solve(&scene, &text)[1], start);
            }
        }
    }

    #[test]
    fn more_hops_change_the_answer() {
        for family in Family::ALL {
            let few = questions(family, 2, 400).map(|(_, question)| question.answer);
            let many = questions(family, 8, 400).map(|(_, question)| question.answer);
            let num_same = few.zip(many).filter(|(few, many)| few == many).count();
            assert!(num_same < 160, "{family}: {num_same} of 400 answers do not depend on hops");
        }
    }

    #[test]
    fn no_answer_can_be_guessed_half_of_the_time() {
        for family in Family::ALL {
            let mut shares = Vec::new();
            for hops in 1..=MAX_HOPS {
                let mut counts = BTreeMap::new();
                for (_, question) in questions(family, hops, 2000) {
                    *counts.entry(question.answer).or_insert(0) += 1;
                }
                let share = f64::from(*counts.values().max().unwrap()) / 2000.0;
                assert!(hops == 1 || share < 0.5, "{family} at {hops} hops: {counts:?}");
                shares.push(format!("{share:.2}"));
            }
            println!(
                "{family}: most frequent answer at 1 to {MAX_HOPS} hops: {}",
                shares.join(" ")
            );
        }
    }

    #[test]
    fn the_ball_moves_often_and_rarely_stays_where_the_question_puts_it() {
        for hops in 1..=MAX_HOPS {
            let (mut num_moves, mut num_stays) = (0, 0);
            for (scene, question) in questions(Family::Swap, hops, 2000) {
                let ball = question.text.split([' ', '.']).nth(4).unwrap().to_owned();
                num_stays += usize::from(ball == question.answer);
                let states = solve(&scene, &question.text);
                let before = std::iter::once(&ball).chain(&states);
                num_moves += before.zip(&states).filter(|(before, after)| before != after).count();
            }
            let moves = num_moves as f64 / (2000 * hops) as f64;
            let stays = num_stays as f64 / 2000.0;
            println!("swap at {hops} hops: moves {moves:.2} a step, ends at its start {stays:.2}");
            // A ball under a random color would move in two of five steps.
            assert!(moves > 0.43 && stays < 0.4, "{hops} hops: moves {moves}, stays {stays}");
        }
    }

    #[test]
    fn a_careless_eye_misreads_as_many_cells_as_it_is_told_to() {
        for family in Family::ALL {
            let mut num_misread = 0;
            for index in 0..200 {
                let scene = family.scene(Seed::root(9).at(index), Split::Pretrain);
                let mut rng = Seed::root(10).at(index).rng();
                assert_eq!(scene.misread(0.0, &mut rng), scene);
                let seen = scene.misread(0.1, &mut rng);
                let pairs = scene.cells.iter().zip(&seen.cells);
                num_misread += pairs.filter(|(cell, seen)| cell != seen).count();
            }
            // 3200 cells: 320 with a deviation of 17.
            assert!((250..390).contains(&num_misread), "{family}: {num_misread} of 3200");
        }
    }

    #[test]
    fn no_content_is_in_two_splits() {
        for family in Family::ALL {
            let mut seen: BTreeMap<Split, HashSet<[[u8; 4]; NUM_CELLS]>> = BTreeMap::new();
            for split in Split::ALL {
                for index in 0..200 {
                    let scene = family.scene(Seed::root(index), split);
                    assert_eq!(scene.split(), split);
                    seen.entry(split).or_default().insert(scene.cells.map(Cell::canonical));
                }
            }
            for (a, in_a) in &seen {
                assert!(in_a.len() >= 198, "{family}: only {} of 200 differ", in_a.len());
                for (b, in_b) in &seen {
                    assert!(a == b || in_a.is_disjoint(in_b));
                }
            }
        }
    }

    #[test]
    fn looks_and_mirrored_discs_do_not_change_the_split() {
        for index in 0..200 {
            let scene = Family::Swap.scene(Seed::root(index), Split::Train);
            let cells = scene.cells.map(|cell| match cell {
                Cell::Pair { left, right } => Cell::Pair { left: right, right: left },
                other => other,
            });
            let mirrored = Scene { cells, style: Seed::root(0), ..scene.clone() };
            assert_ne!(mirrored, scene);
            assert_eq!(mirrored.split(), Split::Train);
        }
    }

    #[test]
    fn splits_have_the_shares_that_they_promise() {
        let mut counts = BTreeMap::new();
        for index in 0..4000 {
            let cells = Family::Sum.cells(&mut Seed::root(index).rng());
            let scene = Scene { family: Family::Sum, cells, style: Seed::root(0) };
            *counts.entry(scene.split()).or_insert(0) += 1;
        }
        // Within five standard deviations of 2000, 1500, 250 and 250.
        assert!((1842..2158).contains(&counts[&Split::Pretrain]), "{counts:?}");
        assert!((1347..1653).contains(&counts[&Split::Train]), "{counts:?}");
        assert!((174..326).contains(&counts[&Split::Validation]), "{counts:?}");
        assert!((174..326).contains(&counts[&Split::Test]), "{counts:?}");
    }

    #[test]
    fn names_of_families_and_splits_agree_everywhere() {
        for family in Family::ALL {
            assert_eq!(serde_json::to_string(&family).unwrap(), format!("\"{family}\""));
            assert_eq!(family.to_string().parse::<Family>().unwrap(), family);
        }
        for split in Split::ALL {
            assert_eq!(serde_json::to_string(&split).unwrap(), format!("\"{split}\""));
        }
        let message = "maze".parse::<Family>().unwrap_err().to_string();
        assert_eq!(message, "unknown family `maze`\nhint: path, sum, count, chart, swap");
    }

    #[test]
    fn the_picture_is_a_function_of_content_and_style() {
        for family in Family::ALL {
            let scene = family.scene(Seed::root(3), Split::Test);
            let picture = scene.render();
            assert_eq!(picture.dimensions(), (112, 112));
            assert_eq!(scene.render(), picture);
            assert_ne!(Scene { style: Seed::root(4), ..scene.clone() }.render(), picture);
        }
    }

    #[test]
    fn a_changed_cell_changes_its_own_pixels_and_leaves_its_name_alone() {
        for family in Family::ALL {
            let scene = family.scene(Seed::root(3), Split::Test);
            let mut other = scene.clone();
            other.cells[9] = match scene.cells[9] {
                Cell::Arrow { direction, color } => Cell::Arrow {
                    direction: if direction == Direction::Up {
                        Direction::Down
                    } else {
                        Direction::Up
                    },
                    color,
                },
                Cell::Digit(digit) => Cell::Digit((digit + 1) % 5),
                Cell::Shape { shape, color } => Cell::Shape {
                    shape: if shape == Shape::Star { Shape::Square } else { Shape::Star },
                    color,
                },
                Cell::Bar(height) => Cell::Bar(height % 6 + 1),
                Cell::Pair { left, right } => Cell::Pair { left: right, right: left },
            };
            let (before, after) = (scene.render(), other.render());
            let (mut num_changed, mut num_of_name) = (0, 0);
            for (x, y, pixel) in before.enumerate_pixels() {
                if pixel != after.get_pixel(x, y) {
                    num_changed += 1;
                    let (x, y) = (x as usize, y as usize);
                    assert_eq!(y / 28 * 4 + x / 28, 9, "{family}: ({x}, {y}) is another cell's");
                    num_of_name += usize::from(x % 28 < 14 && y % 28 < 11);
                }
            }
            assert_eq!(num_of_name, 0, "{family}: pixels of the name");
            assert!(num_changed > 20, "{family}: only {num_changed} pixels tell the cells apart");
        }
    }

    #[test]
    fn drawing_a_picture_takes_a_fraction_of_a_millisecond() {
        for family in Family::ALL {
            let scenes: Vec<Scene> =
                (0..64).map(|i| family.scene(Seed::root(i), Split::Train)).collect();
            // The fastest of several rounds: the machine may be busy with something else.
            let fastest_s = (0..8)
                .map(|_| {
                    let start = Instant::now();
                    for scene in &scenes {
                        std::hint::black_box(scene.render());
                    }
                    start.elapsed().as_secs_f64() / scenes.len() as f64
                })
                .fold(f64::INFINITY, f64::min);
            println!("{family}: {:.3} ms a picture", fastest_s * 1e3);
            // About 0.1 ms where this was written; rasterizing the marks anew takes far longer.
            assert!(fastest_s < 1e-3, "{family}: {fastest_s} s a picture");
        }
    }
}
