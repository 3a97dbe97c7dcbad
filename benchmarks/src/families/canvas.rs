//! The drawing board: from the content of cells to 112 x 112 noisy pixels.
//!
//! This module does not know questions, splits or families.
//! A cell is 28 x 28 px, one visual token of the model (2 x 2 patches of 14 px). The model has no
//! learned positions at the decoder's input, so every cell carries its own name in its top-left
//! patch; the content stays clear of it. Marks are rasterized once, with anti-aliasing, into masks
//! of coverage; a picture then only blends masks and adds noise from a table, which takes a small
//! fraction of a millisecond. All variety comes from one stream, in one order.
//! Some cells are printed twice: another content shows through, at most as strong as the right one.
//! Such a cell is uncertain in itself, so pass rates spread over all levels; without them a model
//! is sure of every cell, right or wrong, and no question is of middle difficulty (golden/LOG.md).

use std::array;
use std::f32::consts::{PI, TAU};
use std::ops::{Range, RangeInclusive};
use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use image::RgbImage;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use tiny_skia::{FillRule, Mask, Path, PathBuilder, Transform};

use super::{Cell, Color, Direction, NAMES, NUM_CELLS, NUM_COLUMNS, Shape, maze};
use crate::seed::Seed;

/// The side of a picture.
pub(super) const PICTURE_PX: u32 = 112;

const CELL_PX: usize = PICTURE_PX as usize / NUM_COLUMNS;

/// The side of a mark; its box starts at `MARK_AT_PX` of the cell before the shift.
const MARK_PX: usize = 17;
const MARK_AT_PX: i32 = 10;

/// The box of a name, at (1, 2) of the cell.
const NAME_WIDTH_PX: usize = 14;
const NAME_HEIGHT_PX: usize = 10;
/// A name stands on a tab, half in its column's color and half in its row's, as a person would mark
/// a sheet: the smallest model then finds a cell long before it can read letters.
const TAB_WIDTH_PX: i32 = 14;
const TAB_HEIGHT_PX: i32 = 11;
const TABS: [Rgb; NUM_COLUMNS] = [[140, 30, 30], [20, 100, 30], [30, 40, 160], [16, 16, 16]];
/// Font sizes (em) for names and digits: two letters fit 14 px, a digit stays clear of them.
const NAME_EM_PX: f32 = 11.6;
const DIGIT_EM_PX: f32 = 19.0;

/// A bar's unit is 4 px, so that six of them fill the cell's right half.
const UNIT_PX: i32 = 4;
const BAR_AT_PX: i32 = 17;
const BAR_WIDTH_PX: i32 = 7;
const BAR_FOOT_PX: i32 = 26;
const NUM_UNITS: i32 = 6;

/// A corridor runs through the middle of the marks' box, clear of the name.
const CORRIDOR_AT_PX: i32 = 16;
const CORRIDOR_WIDTH_PX: i32 = 5;

/// The gray of the ground and the near white of names, digits and lines.
const GROUND: RangeInclusive<i16> = 100..=132;
const INK: Rgb = [248; 3];

const SHIFT_PX: i32 = 1;
const NOISE_SD: f64 = 6.0;
/// How much a channel of a mark, of a picture's ground and of a cell's ground may stray.
const MARK_JITTER: i16 = 14;
const TINT_JITTER: i16 = 10;
const CELL_JITTER: i16 = 5;

/// How often a cell is printed twice, and the weight of the second print in 256ths. Below two
/// fifths even the nano model tells the prints apart; nearer to one half than 126 the jitter of the
/// marks hides which print is the stronger, and no training helps (golden/LOG.md, attempts 10 and 14).
const GHOST_SHARE: f64 = 0.5;
const GHOST_WEIGHT: RangeInclusive<u16> = 104..=124;

type Rgb = [i16; 3];

/// A picture being drawn.
pub(super) struct Board {
    pixels: Vec<u8>,
    /// The color of names, digits and lines: far from the ground.
    ink: Rgb,
    /// The color of the bars, one for the whole picture.
    bar: Color,
    rng: ChaCha8Rng,
}

impl Board {
    /// Draws an empty board with ground, borders and names.
    pub(super) fn new(style: Seed) -> Board {
        let mut rng = style.rng();
        // A middle gray: after the processor's normalization it is near zero, so a patch is its
        // marks. Grounds from black to white drowned the names (golden/LOG.md, attempt 1).
        let gray = rng.random_range(GROUND);
        let ground = jitter([gray; 3], TINT_JITTER, &mut rng);
        let ink = INK;
        let bar = super::choose(&Color::ALL, &mut rng);
        let side = PICTURE_PX as usize;
        let mut board = Board { pixels: vec![0; side * side * 3], ink, bar, rng };
        for at in 0..NUM_CELLS {
            let cell_ground = jitter(ground, CELL_JITTER, &mut board.rng);
            let size = CELL_PX as i32;
            board.fill(at, (0, 0), (size, size), cell_ground, 255);
            board.fill(at, (0, 0), (size, 1), ink, 70);
            board.fill(at, (0, 1), (1, size - 1), ink, 70);
            let (column, row) = (at % NUM_COLUMNS, at / NUM_COLUMNS);
            board.fill(at, (1, 1), (TAB_WIDTH_PX / 2, TAB_HEIGHT_PX), TABS[column], 255);
            board.fill(
                at,
                (1 + TAB_WIDTH_PX / 2, 1),
                (TAB_WIDTH_PX / 2, TAB_HEIGHT_PX),
                TABS[row],
                255,
            );
            board.stamp(at, (1, 2), &sprites().names[at], ink);
        }
        board
    }

    /// Draws the content of the cell at `at`, with another showing through in some.
    pub(super) fn draw(&mut self, at: usize, cell: Cell) {
        let shift = array::from_fn(|_| self.rng.random_range(-SHIFT_PX..=SHIFT_PX));
        // A corridor is plain: what is hard in a maze is the search.
        if matches!(cell, Cell::Corridor { .. }) || !self.rng.random_bool(GHOST_SHARE) {
            return self.print(at, cell, shift);
        }
        let empty = self.cell(at);
        let ghost = cell.other(&mut self.rng);
        let weight = self.rng.random_range(GHOST_WEIGHT);
        self.print(at, ghost, shift);
        let ghost = self.cell(at);
        for (row, empty) in self.rows(at).zip(empty.chunks_exact(CELL_PX * 3)) {
            self.pixels[row].copy_from_slice(empty);
        }
        self.print(at, cell, shift);
        for (row, ghost) in self.rows(at).zip(ghost.chunks_exact(CELL_PX * 3)) {
            for (value, ghost) in self.pixels[row].iter_mut().zip(ghost) {
                let mixed = u16::from(*value) * (256 - weight) + u16::from(*ghost) * weight;
                *value = ((mixed + 128) / 256) as u8;
            }
        }
    }

    /// Returns where the rows of the cell at `at` lie among the pixels.
    fn rows(&self, at: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (left, top) = (at % NUM_COLUMNS * CELL_PX, at / NUM_COLUMNS * CELL_PX);
        (top..top + CELL_PX).map(move |y| {
            let start = (y * PICTURE_PX as usize + left) * 3;
            start..start + CELL_PX * 3
        })
    }

    /// Returns a copy of the cell at `at`, row by row.
    fn cell(&self, at: usize) -> Vec<u8> {
        self.rows(at).flat_map(|row| self.pixels[row].iter().copied()).collect()
    }

    fn print(&mut self, at: usize, cell: Cell, shift: [i32; 2]) {
        match cell {
            Cell::Arrow { direction, color } => {
                self.mark(at, shift, &sprites().arrows[direction as usize], paint(color));
            }
            Cell::Digit(digit) => {
                self.mark(at, shift, &sprites().digits[usize::from(digit)], self.ink);
            }
            Cell::Shape { shape, color } => {
                self.mark(at, shift, &sprites().shapes[shape as usize], paint(color));
            }
            Cell::Bar(height) => self.bar(at, shift, i32::from(height)),
            Cell::Pair { left, right } => {
                for (half, color) in sprites().halves.iter().zip([left, right]) {
                    self.mark(at, shift, half, paint(color));
                }
            }
            Cell::Corridor { open, star } => {
                self.corridor(at, open);
                if star {
                    let star = &sprites().shapes[Shape::Star as usize];
                    self.mark(at, shift, star, paint(Color::Red));
                }
            }
        }
    }

    /// Adds the noise and gives the picture away.
    pub(super) fn finish(mut self) -> RgbImage {
        let table = noise_table();
        let mut indices = vec![0; self.pixels.len()];
        self.rng.fill_bytes(&mut indices);
        for (value, index) in self.pixels.iter_mut().zip(indices) {
            *value = (i16::from(*value) + table[usize::from(index)]).clamp(0, 255) as u8;
        }
        RgbImage::from_raw(PICTURE_PX, PICTURE_PX, self.pixels)
            .expect("the board has three bytes a pixel")
    }

    fn mark(&mut self, at: usize, [right, down]: [i32; 2], sprite: &Sprite, color: Rgb) {
        let color = jitter(color, MARK_JITTER, &mut self.rng);
        self.stamp(at, (MARK_AT_PX + right, MARK_AT_PX + down), sprite, color);
    }

    /// Draws a pipe from the middle of the marks to every side that is open: pipes of neighbors meet.
    fn corridor(&mut self, at: usize, open: u8) {
        let (first, last) = (CORRIDOR_AT_PX, CORRIDOR_AT_PX + CORRIDOR_WIDTH_PX);
        let size = CELL_PX as i32;
        self.fill(at, (first, first), (CORRIDOR_WIDTH_PX, CORRIDOR_WIDTH_PX), self.ink, 255);
        for direction in maze::openings(open) {
            let (corner, extent) = match direction {
                Direction::Up => ((first, 0), (CORRIDOR_WIDTH_PX, first)),
                Direction::Right => ((last, first), (size - last, CORRIDOR_WIDTH_PX)),
                Direction::Down => ((first, last), (CORRIDOR_WIDTH_PX, size - last)),
                Direction::Left => ((0, first), (first, CORRIDOR_WIDTH_PX)),
            };
            self.fill(at, corner, extent, self.ink, 255);
        }
    }

    /// Draws a bar of `height` units on faint lines, one a unit, that move with it.
    fn bar(&mut self, at: usize, [right, down]: [i32; 2], height: i32) {
        let color = jitter(paint(self.bar), MARK_JITTER, &mut self.rng);
        let (x, foot) = (BAR_AT_PX + right, BAR_FOOT_PX + down);
        for unit in 0..=NUM_UNITS {
            self.fill(at, (x - 2, foot - unit * UNIT_PX), (BAR_WIDTH_PX + 4, 1), self.ink, 60);
        }
        let height_px = height * UNIT_PX;
        self.fill(at, (x, foot - height_px), (BAR_WIDTH_PX, height_px), color, 255);
    }

    /// Blends a rectangle at (x, y) of the cell with opacity `alpha` of 255.
    fn fill(
        &mut self,
        at: usize,
        (x, y): (i32, i32),
        (width, height): (i32, i32),
        color: Rgb,
        alpha: u8,
    ) {
        for row in y..y + height {
            for column in x..x + width {
                self.blend(at, column, row, color, alpha);
            }
        }
    }

    /// Blends a sprite whose corner is at (x, y) of the cell.
    fn stamp(&mut self, at: usize, (x, y): (i32, i32), sprite: &Sprite, color: Rgb) {
        for (row, line) in (y..).zip(sprite.coverage.chunks_exact(sprite.width)) {
            for (column, &alpha) in (x..).zip(line) {
                if alpha > 0 {
                    self.blend(at, column, row, color, alpha);
                }
            }
        }
    }

    fn blend(&mut self, at: usize, x: i32, y: i32, color: Rgb, alpha: u8) {
        let x = at % NUM_COLUMNS * CELL_PX + x as usize;
        let y = at / NUM_COLUMNS * CELL_PX + y as usize;
        let i = (y * PICTURE_PX as usize + x) * 3;
        let alpha = i32::from(alpha);
        for (value, target) in self.pixels[i..i + 3].iter_mut().zip(color) {
            let mixed = i32::from(*value) * (255 - alpha) + i32::from(target) * alpha;
            *value = ((mixed + 127) / 255) as u8;
        }
    }
}

/// Returns the color before jitter: strong, so that it stands out on gray.
fn paint(color: Color) -> Rgb {
    match color {
        Color::Red => [222, 34, 34],
        Color::Green => [24, 160, 52],
        Color::Blue => [38, 98, 238],
        Color::Yellow => [240, 210, 24],
        Color::Purple => [176, 44, 196],
    }
}

fn jitter(color: Rgb, most: i16, rng: &mut ChaCha8Rng) -> Rgb {
    color.map(|value| (value + rng.random_range(-most..=most)).clamp(0, 255))
}

/// Returns the 256 evenly spaced quantiles of the rounded normal distribution: a random byte indexes one.
///
/// One byte a value makes the noise as cheap as the bytes. The tails end at 2.9 deviations.
fn noise_table() -> &'static [i16; 256] {
    static TABLE: OnceLock<[i16; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let most = (4.0 * NOISE_SD) as i16;
        let density = |x: i16| (-0.5 * (f64::from(x) / NOISE_SD).powi(2)).exp();
        let total: f64 = (-most..=most).map(density).sum();
        let mut value = -most;
        let mut below = density(value);
        array::from_fn(|i| {
            while below < total * (i as f64 + 0.5) / 256.0 {
                value += 1;
                below += density(value);
            }
            value
        })
    })
}

/// How much of each pixel a mark covers, 0 to 255, row by row.
struct Sprite {
    width: usize,
    coverage: Vec<u8>,
}

struct Sprites {
    names: [Sprite; NUM_CELLS],
    arrows: [Sprite; Direction::ALL.len()],
    digits: [Sprite; 5],
    shapes: [Sprite; Shape::ALL.len()],
    /// Left and right half of a disc.
    halves: [Sprite; 2],
}

fn sprites() -> &'static Sprites {
    static SPRITES: OnceLock<Sprites> = OnceLock::new();
    SPRITES.get_or_init(|| Sprites {
        names: NAMES.map(|name| text(name, NAME_EM_PX, NAME_WIDTH_PX, NAME_HEIGHT_PX)),
        arrows: Direction::ALL.map(|direction| outline(&arrow(direction))),
        digits: ["0", "1", "2", "3", "4"].map(|digit| text(digit, DIGIT_EM_PX, MARK_PX, MARK_PX)),
        shapes: Shape::ALL.map(|shape| outline(&figure(shape))),
        // A quarter turn from straight up, either way; a gap of a pixel between the halves.
        halves: [(PI, -0.5), (0.0, 0.5)].map(|(turn, gap)| {
            outline(&polygon((0..=24).map(|i| {
                let (x, y) = ray(7.0, turn + PI * i as f32 / 24.0);
                (x + gap, y)
            })))
        }),
    })
}

/// Rasterizes one line of text, centered left to right, standing on the box's floor.
fn text(text: &str, em_px: f32, width: usize, height: usize) -> Sprite {
    let font = FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR)
        .expect("the embedded font is whole");
    let units_per_em = font.units_per_em().expect("the embedded font says its units");
    let scale = PxScale::from(em_px * font.height_unscaled() / units_per_em);
    let advance = font.as_scaled(scale).h_advance(font.glyph_id('0'));
    let left = (width as f32 - advance * text.len() as f32) / 2.0;
    let mut coverage = vec![0.0_f32; width * height];
    for (i, character) in text.chars().enumerate() {
        let at = point(left + advance * i as f32, height as f32 - 1.0);
        let glyph = font.glyph_id(character).with_scale_and_position(scale, at);
        let Some(outlined) = font.outline_glyph(glyph) else { continue };
        let corner = outlined.px_bounds().min;
        outlined.draw(|x, y, amount| {
            let (x, y) = (corner.x as i32 + x as i32, corner.y as i32 + y as i32);
            if (0..width as i32).contains(&x) && (0..height as i32).contains(&y) {
                let pixel = &mut coverage[y as usize * width + x as usize];
                *pixel = (*pixel + amount).min(1.0);
            }
        });
    }
    Sprite {
        width,
        coverage: coverage.into_iter().map(|amount| (amount * 255.0).round() as u8).collect(),
    }
}

/// Rasterizes a path given around the center of a mark's box.
fn outline(path: &Path) -> Sprite {
    let mut mask = Mask::new(MARK_PX as u32, MARK_PX as u32).expect("the box is not empty");
    let center = MARK_PX as f32 / 2.0;
    mask.fill_path(path, FillRule::Winding, true, Transform::from_translate(center, center));
    Sprite { width: MARK_PX, coverage: mask.take() }
}

fn figure(shape: Shape) -> Path {
    match shape {
        Shape::Circle => polygon((0..48).map(|i| ray(7.0, TAU * i as f32 / 48.0))),
        Shape::Square => polygon([(-6.5, -6.5), (6.5, -6.5), (6.5, 6.5), (-6.5, 6.5)]),
        Shape::Triangle => polygon([(0.0, -7.5), (8.0, 6.5), (-8.0, 6.5)]),
        Shape::Star => {
            polygon((0..10).map(|i| ray(if i % 2 == 0 { 8.5 } else { 3.4 }, TAU * i as f32 / 10.0)))
        }
    }
}

fn arrow(direction: Direction) -> Path {
    let up =
        [(0.0, -8.0), (7.0, 0.0), (2.5, 0.0), (2.5, 8.0), (-2.5, 8.0), (-2.5, 0.0), (-7.0, 0.0)];
    polygon(up.map(|(x, y)| match direction {
        Direction::Up => (x, y),
        Direction::Right => (-y, x),
        Direction::Down => (-x, -y),
        Direction::Left => (y, -x),
    }))
}

/// Returns the point at `radius` and `turn` clockwise from straight up; y grows downwards.
fn ray(radius: f32, turn: f32) -> (f32, f32) {
    (radius * turn.sin(), -radius * turn.cos())
}

fn polygon(corners: impl IntoIterator<Item = (f32, f32)>) -> Path {
    let mut builder = PathBuilder::new();
    for (i, (x, y)) in corners.into_iter().enumerate() {
        if i == 0 {
            builder.move_to(x, y);
        } else {
            builder.line_to(x, y);
        }
    }
    builder.close();
    builder.finish().expect("a polygon has an area")
}
